//! ## What it sees
//! A program, not a person, talks by HTTP with a remote in the way of a bot that checks in: it posts without ever having
//! fetched a page, to an address instead of a name, with a body or a reply that is not what it says it is, again and again.
//!
//! ## Why it matters
//! Most bots of the last twenty years are commanded by HTTP (ATT&CK T1071.001): it leaves every network. What they send can
//! change at will, but a bot has no page, no form and no reader, and hardly ever takes the trouble to forge them.
//!
//! ## How it decides
//! Who made a request: a *browser* sends `Accept-Language`; who claims to be one and does not is a *false browser*; who says
//! nothing is *nameless*; everything else is a *program*. Requests to publishers' update services (where somebody beside the
//! host says that it is theirs), certificate checks and connectivity checks do not count. One of these must hold (the strongest counts):
//! *gate*, a POST of a false browser to a remote from which it never fetched anything, without `Referer` and `Origin`, or
//! with a `Referer` on the very remote from which nothing was fetched; *gate_nameless*, the same of a nameless program, unless it is a call of a programming
//! interface by its type or has a type of its own (`application/` and anything but octets, forms and archives; requests of nameless programs that are declared calls of an interface, or ask for nothing else, and get such an answer, or to a call in clear, or a reading of at most 64 bytes, one of at most 64 bytes, count for no path; what a nameless program reports as a sensor does counts neither for a path nor for a gate: a form or a query of two numbers or more, one with a point, beside at most one word, answered in at most 1 kB; nor count for a path those of a false browser that say nothing, neither by a query nor a body, and get such an answer or one of a type of its own, nor those of a nameless program that say nothing and get words in clear or a page); *same_path_many_names*, the same path asked of at least 3 registrable domains within the hour by a
//! false browser or nameless program; *body_in_get*, a GET with a body of at least 16 bytes; *opaque_page*, a reply of at
//! least 64 bytes to one of them that calls itself text and is opaque; *calls*, at least 3 requests of them for the same path of one address or
//! dynamic name; *tells_a_mac*, a query of no browser that holds an Ethernet address, by which a host is told from all others; *coded_query*, at least 2 whose query, or path without one, holds a code of 64 hexadecimal digits or 100 letters of base64. To it are added: an address instead of a name; an opaque reply; a small reply that calls itself a page and
//! holds none; an opaque body sent; a body that no form makes (`Content-Type` missing or of octets); a `Referer` to what was
//! never fetched; at least 3 such requests (for one path, unless one was a *gate*); at least 3 for one path that were refused (status 400 and above, but for 401, 407 and 429, which ask for something) and made again all the same (*unmoved*); a
//! query that holds an Ethernet address or a GUID (*names_itself*); a form of one field of 100 letters of code or more (*coded*); a dynamic-DNS name; a name that looks drawn at random (not one that a provider gives its customers, nor one in other letters than Latin); at least 5 domains; at least two remotes; a false browser that claims another Windows than
//! the system's own certificate checks do, or another system than it claimed before.
//!
//! ## What else looks like this
//! Applications that borrow a browser's name for their statistics and updates (game launchers, mobile applications,
//! anti-virus); they speak to names, post little and get pages or JSON back.
//!
//! ## Blind spots
//! HTTPS; a bot that sends every header a browser sends and fetches a page first; one that drives the browser itself;
//! control through a large service that everybody uses.
//!
//! ## Options
//! `calls` (3), `names` (3), `window` (1h), `body` (16).
//!
//! ## References
//! ATT&CK T1071.001; R. Perdisci et al., "Behavioral Clustering of HTTP-Based Malware", NSDI 2010; WHATWG Fetch §4.5.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    BodyFacts, Evidence, FlowId, Http, Magic, PacketId, Record, RequestHeaders, Stage, Timestamp, clean,
    defang, human_count, request_path,
};
use serde::{Deserialize, Serialize};

use crate::context::ASKED_BY;
use crate::requests::{self, Maker};
use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants, bigrams,
    domains,
};

/// Remotes remembered of one host.
const MAX_REMOTES: usize = 256;
/// Paths remembered of one host.
const MAX_PATHS: usize = 512;
/// A reply that calls itself a page and is this small, in bytes, is looked at (*assumed*).
const NO_PAGE: u64 = 1024;
/// What whoever is told something by an interface's call may say back in a word or two, in bytes (*assumed*).
const SHORT_ANSWER: u64 = 64;
/// Proofs kept of one remote.
const MAX_PROOFS: usize = 16;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Requests for one path that count as repeated, ≥ 2 (*assumed*).
    pub calls: usize,
    /// Registrable domains asked for the same path, ≥ 2 (*assumed*).
    pub names: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Bytes of a body that a GET should not have (*assumed*).
    pub body: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { calls: 3, names: 3, window: Duration::from_hours(1), body: 16 }
    }
}

/// What was seen of one remote, by its `Host` or address.
#[derive(Default, Serialize, Deserialize)]
struct Remote {
    /// Whether something was fetched from it that a page could stand on.
    fetched: bool,
    requests: u64,
    /// Those of them that are POSTs.
    posts: u64,
    gate: u64,
    gate_nameless: u64,
    body_in_get: u64,
    opaque_page: u64,
    /// Those of them that answer a POST.
    opaque_answer: u64,
    opaque_sent: u64,
    formless: u64,
    no_page: u64,
    coded: u64,
    coded_form: bool,
    tells_a_mac: u64,
    tells_a_guid: bool,
    refused: BTreeMap<String, usize>,
    wrong_system: bool,
    unfetched_referer: u64,
    paths: BTreeMap<String, usize>,
    started: Option<Timestamp>,
    proofs: Vec<(FlowId, PacketId)>,
    addresses: BTreeSet<IpAddr>,
    #[serde(with = "crate::words")]
    reported: Vec<Word>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    remotes: BTreeMap<String, Remote>,
    /// Who was asked for a path, and when last.
    paths: BTreeMap<String, BTreeMap<String, Timestamp>>,
    /// Remotes of which something fired.
    fired: BTreeSet<String>,
    /// The system that the host's certificate checks tell, and those that false browsers claimed.
    system: Option<String>,
    claimed: BTreeSet<String>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// Whether a POST has nothing that leads to it: no page, no script of a page.
fn unled(h: &Http, fetched: bool) -> bool {
    let referred = h.referer.as_deref().and_then(requests::host_of_url);
    if h.headers.has(RequestHeaders::ORIGIN) || h.headers.has(RequestHeaders::SOAP) {
        return false;
    }
    match referred {
        None => true,
        Some(from) => !fetched && h.host.as_deref() == Some(&from),
    }
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Counts a request; gives whose remote it was.
    fn count(&self, states: &mut States<'_, Host>, host: IpAddr, h: &Http, now: Timestamp) -> Option<String> {
        let made = requests::maker(h);
        let state = states.of(host, now);
        let name = h.host.clone().unwrap_or_else(|| h.head.tuple.resp.ip.to_string());
        if state.remotes.len() >= MAX_REMOTES && !state.remotes.contains_key(&name) {
            return None;
        }
        let remote = state.remotes.entry(name.clone()).or_default();
        let machine = matches!(made, Maker::FalseBrowser | Maker::Nameless);
        // Whoever saw it may not have told the types either.
        let untold = !h.headers.types_are_known();
        let has_body = h.request.len >= self.settings.body;
        let opaque = |body: &BodyFacts| body.facts.is_some_and(|f| f.is_opaque());
        let mut counts = false;
        // What a sensor measured, by a form or a query, is answered in a few words.
        let readings = made == Maker::Nameless
            && requests::are_readings(h)
            && h.response.len <= NO_PAGE
            && !opaque(&h.response)
            && !h.response.magic.is_executable();
        if h.method == "POST" && unled(h, remote.fetched) {
            let declared = h.request.declared.as_deref();
            let interface = (untold && declared.is_none())
                || requests::is_interface_call(declared)
                || requests::has_a_type_of_its_own(declared);
            if made == Maker::FalseBrowser {
                remote.gate += 1;
                counts = true;
            } else if made == Maker::Nameless && !interface && !readings && has_body {
                remote.gate_nameless += 1;
                counts = true;
            }
            if machine && h.referer.is_some() {
                remote.unfetched_referer += 1;
            }
            remote.formless += u64::from(machine && requests::is_formless(h));
            let reply = &h.response;
            let page = reply.declared.as_deref() == Some("text/html");
            let plain = !matches!(reply.magic, Magic::Markup) && !reply.encoded;
            // Who has no name expects no page: scripts for devices answer in a word, under whatever type their server gives it.
            let word = made == Maker::Nameless && !opaque(&h.request) && reply.len <= SHORT_ANSWER;
            remote.no_page +=
                u64::from(machine && page && plain && !word && (1..=NO_PAGE).contains(&reply.len));
        }
        if h.method == "GET" && has_body {
            remote.body_in_get += 1;
            counts = true;
        }
        if machine && requests::is_opaque_page(h) && h.response.len >= 64 {
            remote.opaque_page += 1;
            remote.opaque_answer += u64::from(h.method == "POST");
            counts = true;
        }
        let path = requests::bare_path(&h.path);
        // A program without a name that asks an interface and is told what it declares, or what it says in clear, is what libraries and devices are; who asks for
        // what an interface tells, and says nothing by it, is one whatever it calls itself.
        let asks =
            |declared: Option<&str>| requests::is_interface_call(declared) || (untold && declared.is_none());
        let says_nothing = h.method == "GET" && h.request.len == 0 && !h.path.contains('?');
        let check = made == Maker::Nameless && matches!(h.response.magic, Magic::None | Magic::Markup);
        let told = asks(h.response.declared.as_deref())
            || (says_nothing && (check || requests::has_a_type_of_its_own(h.response.declared.as_deref())));
        // A reading that a device reports, in a few words in clear.
        let reading = made == Maker::Nameless && h.request.len <= SHORT_ANSWER && !opaque(&h.request);
        let plain_answer = h.response.len <= SHORT_ANSWER && h.response.magic == Magic::None;
        let ordinary = (made == Maker::Nameless || (made == Maker::FalseBrowser && says_nothing && !untold))
            && (h.request.len == 0 || asks(h.request.declared.as_deref()) || reading)
            && (told || (h.request.len > 0 && !untold && plain_answer && !opaque(&h.request)))
            && !opaque(&h.response)
            && !h.response.magic.is_executable();
        if machine
            && !ordinary
            && !readings
            && path.len() > 1
            && !path.ends_with("/favicon.ico")
            && !path.ends_with("/robots.txt")
        {
            if remote.paths.len() < MAX_PROOFS || remote.paths.contains_key(path) {
                *remote.paths.entry(path.to_owned()).or_default() += 1;
            }
            counts = true;
            if state.paths.len() < MAX_PATHS || state.paths.contains_key(path) {
                let asked = state.paths.entry(path.to_owned()).or_default();
                if let Some(domain) = h.host.as_deref().and_then(domains::registrable) {
                    asked.insert(domain.to_owned(), h.head.ts);
                    let window = self.settings.window;
                    asked.retain(|_, ts| h.head.ts.since(*ts) <= window);
                }
            }
        }
        let (hex, letters) = if machine { requests::coded_run(&h.path) } else { (0, 0) };
        remote.coded += u64::from(hex >= 64 || letters >= 100);
        remote.coded_form |= counts && machine && h.request.magic == Magic::CodedForm;
        if made != Maker::Browser && requests::tells_a_mac(&h.path) {
            remote.tells_a_mac += 1;
            counts = true;
        }
        remote.tells_a_guid |= machine && requests::tells_a_guid(&h.path);
        let refused = h.status.is_some_and(|s| s >= 400 && !matches!(s, 401 | 407 | 429));
        if machine
            && counts
            && refused
            && (remote.refused.len() < MAX_PROOFS || remote.refused.contains_key(path))
        {
            *remote.refused.entry(path.to_owned()).or_default() += 1;
        }
        if made == Maker::FalseBrowser
            && let Some(system) = h.user_agent.as_deref().and_then(requests::system_of)
        {
            let other = |known: &String| *known != system;
            let denied = state.system.as_ref().is_some_and(other) && system.starts_with("Windows");
            remote.wrong_system |= denied || state.claimed.iter().any(other);
            if state.claimed.len() < 8 {
                state.claimed.insert(system);
            }
        }
        if counts {
            remote.requests += 1;
            remote.posts += u64::from(h.method == "POST");
            remote.opaque_sent += u64::from(h.request.facts.is_some_and(|f| f.is_opaque()));
            remote.started = Some(remote.started.map_or(h.head.ts, |s| s.min(h.head.ts)));
            remote.addresses.insert(h.head.tuple.resp.ip);
            if remote.proofs.len() < MAX_PROOFS {
                remote.proofs.extend(h.packets.iter().take(3).map(|p| (h.head.flow, *p)));
            }
        }
        remote.fetched |= h.method == "GET"
            && h.status.is_some_and(|s| (200..400).contains(&s))
            && !requests::is_opaque_page(h);
        counts.then_some(name)
    }

    /// The grades that a remote has reached; the first is the base.
    fn grades(&self, state: &Host, name: &str) -> Vec<(&'static str, u32)> {
        let Some(remote) = state.remotes.get(name) else { return Vec::new() };
        let literal = domains::is_address_literal(name);
        let dynamic = domains::is_dynamic(name);
        let calls = remote.paths.values().copied().max().unwrap_or(0);
        let asked = |p: &String| state.paths.get(p).map_or(0, BTreeMap::len);
        let most_names = remote.paths.keys().map(asked).max().unwrap_or(0);
        let many_names = most_names >= self.settings.names;
        let base = if remote.gate > 0 {
            "gate"
        } else if many_names {
            "same_path_many_names"
        } else if remote.body_in_get > 0 {
            "body_in_get"
        } else if remote.opaque_page > 0 {
            "opaque_page"
        } else if remote.gate_nameless > 0 {
            "gate_nameless"
        } else if calls >= self.settings.calls && (literal || dynamic) {
            "calls"
        } else if remote.tells_a_mac > 0 {
            "tells_a_mac"
        } else if remote.coded > 1 {
            "coded_query"
        } else {
            return Vec::new();
        };
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        add(literal, "to_an_address");
        add(dynamic, "dynamic_name");
        add(remote.opaque_page > 0 && base != "opaque_page", "opaque_reply");
        add(remote.no_page > 0 && remote.opaque_page == 0, "no_page");
        add(remote.opaque_sent > 0, "opaque_body");
        add(remote.formless > 0, "no_form");
        add(remote.coded_form || (remote.coded > 1 && base != "coded_query"), "coded");
        add(remote.wrong_system, "wrong_system");
        add(remote.unfetched_referer > 0, "unfetched_referer");
        let often = if base == "calls" { 2 * self.settings.calls } else { self.settings.calls };
        let talks = remote.gate > 0 && remote.requests >= self.settings.calls as u64;
        add(talks || calls >= often, "repeated");
        add(remote.refused.values().any(|n| *n >= self.settings.calls), "unmoved");
        add((remote.tells_a_mac > 0 && base != "tells_a_mac") || remote.tells_a_guid, "names_itself");
        add(!dynamic && domains::owned_label(name).is_some_and(bigrams::is_drawn), "generated_name");
        add(many_names && base != "same_path_many_names", "many_names");
        add(most_names >= self.settings.names + 2, "five_names");
        add(state.fired.iter().any(|f| f != name), "several_remotes");
        grades
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Agent).unless(&[
                "body_in_get",
                "wrong_system",
                "dynamic_name",
                "generated_name",
                "coded_query",
                "coded",
                "tells_a_mac",
                "unfetched_referer",
                "opaque_body",
            ]),
            Alike::to(Honest::Device).unless(&[
                "wrong_system",
                "generated_name",
                "coded_query",
                "coded",
                "unfetched_referer",
                "dynamic_name",
            ]),
            Alike::to(Honest::Monitor).unless(&[
                "body_in_get",
                "wrong_system",
                "generated_name",
                "coded_query",
                "coded",
                "tells_a_mac",
                "unfetched_referer",
                "opaque_body",
                "opaque_reply",
            ]),
            Alike::to(Honest::Tunnel).unless(&[
                "wrong_system",
                "generated_name",
                "coded_query",
                "coded",
                "tells_a_mac",
            ]),
        ],
        needs: &[Traffic::Http],
        control: true,
        protocol: Some("http"),
        ..About::new(
            Stage::Command,
            &["T1071.001"],
            &[
                GradeWorth::base("gate", 11.0),
                GradeWorth::base("gate_nameless", 7.0),
                GradeWorth::base("same_path_many_names", 11.0),
                GradeWorth::base("body_in_get", 9.0),
                GradeWorth::base("opaque_page", 9.0),
                GradeWorth::base("calls", 7.0),
                GradeWorth::base("coded_query", 7.0),
                GradeWorth::base("tells_a_mac", 6.0).weak(),
                GradeWorth::add("names_itself", 3.0),
                GradeWorth::add("coded", 2.0),
                GradeWorth::add("no_page", 2.0),
                GradeWorth::add("no_form", 3.0),
                GradeWorth::add("wrong_system", 3.0),
                GradeWorth::add("five_names", 3.0),
                GradeWorth::add("to_an_address", 5.0),
                GradeWorth::add("dynamic_name", 3.0),
                GradeWorth::add("unmoved", 2.0),
                GradeWorth::add("generated_name", 3.0),
                GradeWorth::add("opaque_reply", 4.0),
                GradeWorth::add("opaque_body", 3.0),
                GradeWorth::add("unfetched_referer", 2.0),
                GradeWorth::add("repeated", 3.0),
                GradeWorth::add("many_names", 4.0),
                GradeWorth::add("several_remotes", 2.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::HTTP.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Http(h)) = (context.outbound(), record) else { return };
        let agent = h.user_agent.as_deref().unwrap_or_default();
        if agent.starts_with("Microsoft-CryptoAPI/") {
            states.of(host, context.now).system = requests::system_of(agent);
        }
        if requests::is_housekeeping(h, states.card(host), context) {
            return;
        }
        let Some(name) = self.count(states, host, h, context.now) else { return };
        let Some(state) = states.get(host) else { return };
        let grades = self.grades(state, &name);
        if grades.is_empty() {
            let most = state.remotes.get(&name).and_then(|r| r.paths.values().max()).copied().unwrap_or(0);
            context.near(
                host,
                most as f64,
                self.settings.calls as f64 + 1.0,
                "requests of a program for one path of one remote",
            );
            return;
        }
        let names: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        let Some(state) = states.get_mut(host) else { return };
        state.fired.insert(name.clone());
        let Some(remote) = state.remotes.get_mut(&name) else { return };
        if remote.reported == names {
            return;
        }
        remote.reported = names;
        // What a gate is, its POSTs say, but for a page that came for something else.
        let by_posts =
            matches!(grades[0].0, "gate" | "gate_nameless") && remote.opaque_page == remote.opaque_answer;
        let mut facts = vec![
            ("host", name.into()),
            ("method", h.method.clone().into()),
            ("path", h.path.clone().into()),
            ("user_agent", h.user_agent.clone().unwrap_or_default().into()),
            ("requests", remote.requests.into()),
            ("posts", remote.posts.into()),
            ("prevalent", context.prevalent(h.head.tuple.resp.ip).into()),
        ];
        if by_posts {
            facts.push((ASKED_BY, "POST".into()));
        }
        context.fire(Fire {
            host,
            key: "requests".into(),
            grades,
            started: remote.started.unwrap_or(h.head.ts),
            value: remote.requests as f64,
            threshold: 1.0,
            unit: "requests of a program that no page leads to",
            source: "assumed",
            packets: remote.proofs.iter().map(|p| p.1).collect(),
            flows: remote.proofs.iter().map(|p| p.0).collect::<BTreeSet<_>>().into_iter().collect(),
            remotes: remote.addresses.iter().copied().collect(),
            facts,
        });
    }

    fn totals(e: &mut Evidence, state: &Host) {
        if let Some(remote) = state.remotes.get(e.text("host")) {
            e.count_up("requests", remote.requests);
            e.count_up("posts", remote.posts);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let (requests, method) = (e.count("requests"), clean(e.text("method")));
        let are_posts = method == "POST" && e.count("posts") == requests;
        let for_path = match request_path(e.text("path")) {
            None => String::new(),
            Some(path) if requests == 1 => format!(" ({path})"),
            Some(path) if are_posts => format!(" (such as {path})"),
            Some(path) => format!(" (such as {method} {path})"),
        };
        let of = match requests {
            1 => format!("{method} request"),
            _ if are_posts => "POST requests".to_owned(),
            _ => "requests".to_owned(),
        };
        let mut s = format!(
            "non-browser client sent {} {of} to {}{for_path}",
            human_count(requests),
            defang(e.text("host"))
        );
        for (grade, words) in [
            ("body_in_get", ", with a body in a GET"),
            ("opaque_body", ", with an encrypted-looking body"),
            ("coded_query", ", with codes for a query"),
            ("tells_a_mac", ", telling an Ethernet address"),
            ("wrong_system", ", under a browser's name of another system than its own"),
            ("unfetched_referer", ", with a referer that it never fetched"),
            ("unmoved", ", again and again though it was refused"),
            ("many_names", ", with the same path as to other names"),
            ("opaque_reply", "; the replies were not web pages"),
            ("opaque_page", "; the replies were not web pages"),
        ] {
            if e.has(grade) {
                s.push_str(words);
            }
        }
        s
    }
}

crate::held!(Remote: refused, paths, proofs, addresses, reported);
crate::held!(Host: remotes, paths, fired, system, claimed);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.remotes.values_mut().for_each(|r| r.reported.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::BodyFacts;

    const FALSE: &str = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1)";

    fn bench() -> Bench {
        Bench::new("http_control", Watcher::new(Settings::default()))
    }

    fn post(t: f64, host: &str, path: &str) -> Http {
        let mut h = http(t, REMOTE, "POST", Some(host), path);
        h.user_agent = Some(FALSE.into());
        h.request = BodyFacts {
            len: 100,
            declared: Some("application/x-www-form-urlencoded".into()),
            ..BodyFacts::default()
        };
        h
    }

    fn run(all: Vec<Http>) -> Vec<String> {
        let mut b = bench();
        for h in all {
            let t = (h.head.ts.0 as f64) / 1e9;
            b.feed(Record::Http(Box::new(h)), t + 0.5);
        }
        b.grades()
    }

    #[test]
    fn a_post_that_nothing_leads_to() {
        assert_eq!(run(vec![post(10.0, "example.com", "/gate.php")]), ["gate"]);
        assert_eq!(run(vec![post(10.0, "198.51.100.7", "/gate.php")]), ["gate", "to_an_address"]);
        let mut forged = post(10.0, "198.51.100.7", "/a");
        forged.referer = Some("http://198.51.100.7/a".into());
        assert_eq!(run(vec![forged]), ["gate", "to_an_address", "unfetched_referer"]);
        let mut nameless = post(10.0, "example.com", "/gate.php");
        nameless.user_agent = None;
        assert_eq!(run(vec![nameless]), ["gate_nameless"]);
    }

    #[test]
    fn a_gate_rests_on_posts_but_for_a_page_that_came_for_something_else() {
        let noise: Vec<u8> = (0..256u32).map(|i| (i * 167 + 13) as u8).collect();
        let page = |method: &str| {
            let mut h = http(9.0, REMOTE, method, Some("example.com"), "/p");
            h.user_agent = Some(FALSE.into());
            h.status = Some(200);
            h.response = BodyFacts {
                len: 50_000,
                declared: Some("text/html".into()),
                facts: crate::testing::payload(&noise),
                ..BodyFacts::default()
            };
            assert!(requests::is_opaque_page(&h));
            h
        };
        let asked_by = |all: Vec<Http>| {
            let mut b = bench();
            for (i, h) in all.into_iter().enumerate() {
                b.feed(Record::Http(Box::new(h)), 11.0 + i as f64);
            }
            b.evidence.last().unwrap().text(ASKED_BY).to_owned()
        };
        let gate = || post(10.0, "example.com", "/gate.php");
        assert_eq!(asked_by(vec![gate()]), "POST");
        assert_eq!(asked_by(vec![gate(), page("GET")]), "");
        assert_eq!(asked_by(vec![gate(), page("POST")]), "POST");
        assert_eq!(asked_by(vec![page("GET")]), "");
    }

    #[test]
    fn what_a_sensor_reports_is_nobodys_gate() {
        let form = |magic: Magic| {
            let mut h = post(10.0, "198.51.100.7", "/update");
            (h.user_agent, h.request.magic) = (None, magic);
            run(vec![h])
        };
        assert!(form(Magic::Readings).is_empty());
        assert_eq!(form(Magic::Text), ["gate_nameless", "to_an_address"]);
        let query = |path: &str| {
            let get = |t: f64| http(t, REMOTE, "GET", Some("198.51.100.7"), path);
            run((1..=6).map(|i| get(10.0 * f64::from(i))).collect())
        };
        assert!(query("/log?id=ESP-1&t=21.5&h=40").is_empty());
        assert_eq!(query("/log?id=PC-1&user=jo&v=3.50&n=2"), ["calls", "to_an_address", "repeated"]);
    }

    #[test]
    fn a_form_of_code_adds_to_a_gate() {
        let mut coded = post(10.0, "example.com", "/gate.php");
        coded.request.magic = Magic::CodedForm;
        assert_eq!(run(vec![coded.clone()]), ["gate", "coded"]);
        coded.user_agent = Some("okhttp/3.10".into());
        assert!(run(vec![coded]).is_empty(), "a program's token");
    }

    #[test]
    fn what_a_page_leads_to_is_nobodys_gate() {
        let mut page = http(9.0, REMOTE, "GET", Some("example.com"), "/form");
        page.user_agent = Some(FALSE.into());
        let mut led = post(10.0, "example.com", "/send");
        led.referer = Some("http://example.com/form".into());
        assert!(run(vec![page, led]).is_empty());
        let mut origin = post(10.0, "example.com", "/send");
        origin.headers.add(RequestHeaders::ORIGIN);
        assert!(run(vec![origin]).is_empty());
        let mut browser = post(10.0, "example.com", "/send");
        browser.headers.add(RequestHeaders::LANGUAGE);
        assert!(run(vec![browser]).is_empty());
    }

    #[test]
    fn calls_of_programs_and_publishers() {
        let mut json = post(10.0, "api.example.com", "/v1");
        json.user_agent = None;
        json.request.declared = Some("application/json".into());
        assert!(run(vec![json]).is_empty());
        let mut program = post(10.0, "example.com", "/v1");
        program.user_agent = Some("okhttp/3.10".into());
        assert!(run(vec![program]).is_empty());
    }

    #[test]
    fn a_publishers_name_excuses_where_somebody_else_says_it() {
        let name = "update.googleapis.com";
        let reported = |answers: &[(&str, &str)]| {
            let mut b = bench();
            for (t, (query, addr)) in (1..).zip(answers) {
                b.feed(dns(f64::from(t), query, 1, 0, Some(addr)), f64::from(t));
            }
            b.feed(Record::Http(Box::new(post(10.0, name, "/service/update2"))), 10.5);
            b.grades()
        };
        assert!(reported(&[(name, REMOTE)]).is_empty(), "the only resolver that the host asks says so");
        assert_eq!(reported(&[]), ["gate"], "its own word alone");
        assert_eq!(
            reported(&[("c2.evil.example", REMOTE), (name, "203.0.113.250")]),
            ["gate"],
            "DNS says otherwise"
        );
        // A resolver that the host alone uses, beside the network's.
        let mut b = bench();
        let mut forged = dns(1.0, name, 1, 0, Some(REMOTE));
        if let Record::Dns(d) = &mut forged {
            d.head.tuple.resp.ip = "198.51.100.53".parse().unwrap();
        }
        b.feed(dns(1.0, "example.com", 1, 0, Some("203.0.113.1")), 1.0);
        b.feed(forged, 2.0);
        b.feed(Record::Http(Box::new(post(10.0, name, "/service/update2"))), 10.5);
        assert_eq!(b.grades(), ["gate"]);
    }

    #[test]
    fn who_goes_on_when_refused() {
        let refused = |n: usize| {
            run((0..n)
                .map(|i| {
                    let mut h = post(10.0 + i as f64, "example.com", "/pin.php");
                    h.status = Some(404);
                    h
                })
                .collect())
        };
        assert_eq!(refused(2), ["gate"]);
        assert_eq!(refused(3), ["gate", "repeated", "unmoved"]);
        let asked = (0..3).map(|i| {
            let mut h = post(10.0 + f64::from(i), "example.com", "/pin.php");
            h.status = Some(401);
            h
        });
        assert_eq!(run(asked.collect()), ["gate", "repeated"], "asked for a password");
        let elsewhere = (0..3).map(|i| {
            let mut h = post(10.0 + f64::from(i), "example.com", &format!("/{i}"));
            h.status = Some(404);
            h
        });
        assert_eq!(run(elsewhere.collect()), ["gate", "repeated"], "three paths");
    }

    #[test]
    fn three_requests_around_a_gate() {
        let get = |t: f64, path: &str| {
            let mut h = http(t, REMOTE, "GET", Some("example.com"), path);
            h.user_agent = Some(FALSE.into());
            h.status = Some(404);
            h
        };
        let all = vec![get(10.0, "/a"), get(11.0, "/b"), post(12.0, "example.com", "/c")];
        assert_eq!(run(all), ["gate", "repeated"]);
    }

    #[test]
    fn a_drawn_name_and_a_name_for_itself() {
        assert_eq!(run(vec![post(10.0, "db54a845.top", "/a")]), ["gate", "generated_name"]);
        for given in ["d3ag4hukkh62yn.cloudfront.net", "xn--80ak6aa92e.com", "gvt1cdn.com"] {
            assert_eq!(run(vec![post(10.0, given, "/a")]), ["gate"], "{given}");
        }
        let reported = post(10.0, "example.com", "/a?mi=747f3d96%2D68a7%2D43f1%2D8cbe%2De8d6dadd0358&b=64");
        assert!(requests::tells_a_guid("/a?id=%7B747F3D96-68A7-43F1-8CBE-E8D6DADD0358%7D"));
        assert_eq!(run(vec![reported]), ["gate", "names_itself"]);
    }

    #[test]
    fn a_code_that_looks_like_folders() {
        let code = "Ba7/Xq2dF/".repeat(15);
        let get = |t: f64, i: u32| {
            let mut h = http(t, REMOTE, "GET", Some("example.com"), &format!("/images/{code}{i}.avi"));
            h.user_agent = Some(FALSE.into());
            h
        };
        assert!(run(vec![get(10.0, 1)]).is_empty());
        assert_eq!(run(vec![get(10.0, 1), get(20.0, 2)]), ["coded_query"]);
        let article = "/2024/11/how-the-town-council-of-a-small-place-decided-to-build-a-bridge-over-the-river-and-what-came-of-it-17";
        let read = |t: f64| {
            let mut h = http(t, REMOTE, "GET", Some("example.com"), &format!("{article}{t}"));
            h.user_agent = Some(FALSE.into());
            h
        };
        assert!(run(vec![read(10.0), read(20.0)]).is_empty());
    }

    #[test]
    fn the_same_path_of_many_names() {
        let get = |t: f64, name: &str| {
            let mut h = http(t, REMOTE, "GET", Some(name), "/c9c/?id=1");
            h.user_agent = None;
            h
        };
        assert!(run(vec![get(10.0, "a.example.com"), get(20.0, "b.example.net")]).is_empty());
        let three = vec![get(10.0, "a.example.com"), get(20.0, "b.example.net"), get(30.0, "example.org")];
        assert_eq!(run(three), ["same_path_many_names"]);
        let late = vec![get(10.0, "a.example.com"), get(20.0, "b.example.net"), get(3700.0, "example.org")];
        assert!(run(late).is_empty());
    }

    #[test]
    fn bodies_that_are_not_what_they_say() {
        let mut get = http(10.0, REMOTE, "GET", Some("198.51.100.7"), "/index.htm");
        get.user_agent = Some("Opera/9.80 (Windows NT 5.1; U)".into());
        get.request = BodyFacts { len: 164, facts: payload(&random(164, 3)), ..BodyFacts::default() };
        assert_eq!(run(vec![get.clone()]), ["body_in_get", "to_an_address", "opaque_body"]);
        get.request = BodyFacts { len: 15, ..BodyFacts::default() };
        assert!(run(vec![get.clone()]).is_empty());
        get.response = BodyFacts {
            len: 64,
            declared: Some("text/html".into()),
            facts: payload(&random(64, 5)),
            ..BodyFacts::default()
        };
        assert_eq!(run(vec![get.clone()]), ["opaque_page", "to_an_address"]);
        get.response.encoded = true;
        assert!(run(vec![get]).is_empty());
    }

    #[test]
    fn a_body_that_no_form_makes_and_a_page_that_is_none() {
        let mut h = post(10.0, "example.com", "/gate.php");
        h.request.declared = None;
        h.headers.add(RequestHeaders::LANGUAGE);
        h.response = BodyFacts {
            len: 12,
            declared: Some("text/html".into()),
            magic: Magic::Text,
            ..BodyFacts::default()
        };
        assert_eq!(run(vec![h.clone()]), ["gate", "no_page", "no_form"]);
        h.response.magic = Magic::Markup;
        assert_eq!(run(vec![h]), ["gate", "no_form"]);
    }

    #[test]
    fn a_system_that_it_is_not() {
        let mut check = http(1.0, REMOTE, "GET", Some("ocsp.example.com"), "/M");
        check.user_agent = Some("Microsoft-CryptoAPI/10.0".into());
        assert_eq!(run(vec![check, post(10.0, "example.com", "/gate.php")]), ["gate", "wrong_system"]);
        let mut other = post(20.0, "example.com", "/gate.php");
        other.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64)".into());
        assert_eq!(run(vec![post(10.0, "example.com", "/gate.php"), other]), ["gate", "wrong_system"]);
    }

    #[test]
    fn codes_in_queries() {
        let call = |t: f64, n: usize| {
            let mut h = http(t, REMOTE, "GET", Some("example.com"), &format!("/m.php?{}", "0A".repeat(n)));
            h.user_agent = Some(FALSE.into());
            h
        };
        assert_eq!(run(vec![call(1.0, 32), call(2.0, 32)]), ["coded_query"]);
        assert!(run(vec![call(1.0, 31), call(2.0, 31)]).is_empty());
        assert!(run(vec![call(1.0, 32)]).is_empty());
    }

    #[test]
    fn calls_of_one_address() {
        let call = |t: f64| {
            let mut h = http(t, REMOTE, "GET", Some("198.51.100.7"), "/a.gif?x=1");
            h.user_agent = Some(FALSE.into());
            h
        };
        assert!(run(vec![call(1.0), call(2.0)]).is_empty());
        assert_eq!(run(vec![call(1.0), call(2.0), call(3.0)]), ["calls", "to_an_address"]);
    }
}
