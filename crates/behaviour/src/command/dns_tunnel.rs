//! ## What it sees
//! A host asks for a great many different, long names below one domain: data travel in the names, and answers bring data back.
//!
//! ## Why it matters
//! DNS leaves nearly every network, if only through the resolver (ATT&CK T1071.004, T1572). Bots and tunnels use it as a
//! channel when nothing else is open.
//!
//! ## How it decides
//! Per host, registrable domain and hour, distinct names below the domain, of which the part below is at least 20 characters
//! long on average: *names* at 100, *some_names* at 30 when the average is 30 or more, or the types asked for carry data
//! (TXT, NULL, CNAME, MX, SRV, private) in at least half the questions. Added: *data_types* when that is so; *many_names* from 500 on; *several_domains*, when another domain is used so too; *straight*, when
//! it asks such names of a server outside that is not the one it asks for other names. Names with fewer than nine characters below their last two labels, reverse look-ups and a shipped list of domains whose
//! business is to be asked long names (block lists, file reputation, content networks) do not count; nor does a domain whose answers bring nothing back: the names do not exist, or have one of
//! a few addresses, as in a block list. Where answers are not in the capture, that is not known.
//!
//! *many_domains*: one label that is no word (at least six characters, drawn letters or digits between letters) directly below at least three registrable domains within ten minutes, asked for by at least three types that clients
//! do not ask for by themselves (CNAME, SOA, NULL, MX, TXT, SRV, private): whoever listens behind the resolver has several names and takes whatever type gets through.
//!
//! ## What else looks like this
//! Anti-virus reputation, mail block lists, content networks' numbered hosts, telemetry in names; DNS-SD.
//!
//! ## Blind spots
//! What travels in names alone, to a server that answers nothing; few, short names over days; DNS over HTTPS; a new domain for each hour; names that are asked of a caching resolver and not seen.
//!
//! ## Options
//! `names` (100), `some_names` (30), `many_names` (500), `length` (20), `long` (30), `window` (1h).
//!
//! ## References
//! ATT&CK T1071.004; C. Dietrich et al., "On Botnets that use DNS for Command and Control", EC2ND 2011; A. Nadler et al.,
//! "Detection of Malicious and Low Throughput Data Exfiltration Over the DNS Protocol", Computers & Security 2019.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Dns, Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, clean, defang, names, tally};
use serde::{Deserialize, Serialize};

use crate::table::{SeededSet, hash_of};
use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic,
    Wants, bigrams, domains,
};

/// Domains remembered of one host.
const MAX_DOMAINS: usize = 128;
/// Characters below the last two labels that a name must have to be counted (*assumed*).
const LEAST_BELOW: usize = 9;
/// Registrable domains below which one label is asked for, and types that it is asked for by (*assumed*).
const WALKED: usize = 3;
const WALK_TYPES: usize = 3;
/// In which time (*assumed*).
const WALK_WINDOW: Duration = Duration::from_mins(10);
/// Labels of this kind remembered of one host.
const MAX_LABELS: usize = 64;
/// Characters of a label that can be told from a word.
const LEAST_LABEL: usize = 6;
/// Addresses that a list has for its answers, at most: its codes (RFC 5782 §2.1; *assumed*).
const FEW_ANSWERS: usize = 16;
/// Names counted of one domain; more are not told apart.
const MAX_NAMES: usize = 2048;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Distinct names below one domain (DETECTION §5).
    pub names: usize,
    /// Distinct names when they are long or carry data by type (*assumed*).
    pub some_names: usize,
    /// So many count more (*assumed*).
    pub many_names: usize,
    /// Characters below the domain, on average (*assumed*).
    pub length: f64,
    /// Characters below the domain that are long (*assumed*).
    pub long: f64,
    /// In which time (DETECTION §5).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names: 100,
            some_names: 30,
            many_names: 500,
            length: 20.0,
            long: 30.0,
            window: Duration::from_hours(1),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Domain {
    began: Option<Timestamp>,
    names: SeededSet<u64>,
    characters: u64,
    data_types: u64,
    questions: u64,
    answer_bytes: u64,
    /// Questions that were answered, those of them with something in the answer that is no address, and the first addresses.
    answered: u64,
    told: u64,
    addresses: BTreeSet<IpAddr>,
    servers: Vec<IpAddr>,
    packets: Vec<PacketId>,
    #[serde(with = "crate::words")]
    reported: Vec<Word>,
    fired: bool,
}

impl Domain {
    /// Whether what came back could say no more than yes or no, whoever runs the zone: such names do not exist, or have one of a few addresses.
    fn carries_nothing_back(&self) -> bool {
        let seen = self.answered * 2 >= self.questions;
        seen && self.told * 10 <= self.answered && self.addresses.len() <= FEW_ANSWERS
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    domains: BTreeMap<String, Domain>,
    /// How often each server was asked.
    servers: BTreeMap<IpAddr, u64>,
    /// Labels that are no words, asked for by types that clients do not ask for.
    labels: VecDeque<Labelled>,
    walked: bool,
}

#[derive(Serialize, Deserialize)]
struct Labelled {
    ts: Timestamp,
    label: String,
    domain: String,
    qtype: u16,
    packet: PacketId,
    flow: FlowId,
}

/// Whether a label is no word: letters that look drawn, or digits between letters; numbers at the end are machines' (`mail01`).
fn is_coded(label: &str) -> bool {
    let plain = label.bytes().all(|b| b.is_ascii_alphanumeric());
    let word = label.trim_end_matches(|c: char| c.is_ascii_digit());
    let mixed = word.bytes().any(|b| b.is_ascii_digit());
    plain && word.len() >= LEAST_LABEL && (mixed || bigrams::score(word) > 0.0)
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// Types whose answers carry what their owner likes.
const fn carries_data(qtype: u16) -> bool {
    matches!(qtype, 5 | 10 | 15 | 16 | 33 | 65280..=65535)
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn grades(s: &Settings, d: &Domain, other_server: bool) -> Vec<(&'static str, u32)> {
        let names = d.names.len();
        let length = d.characters as f64 / names.max(1) as f64;
        let data = d.data_types * 2 >= d.questions;
        let base = if names >= s.names && length >= s.length {
            "names"
        } else if names >= s.some_names && (length >= s.long || (data && length >= s.length / 2.0)) {
            "some_names"
        } else {
            return Vec::new();
        };
        let mut grades = vec![(base, 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        add(data, "data_types");
        add(names >= s.many_names, "many_names");
        add(other_server, "straight");
        grades
    }

    /// One label tried below many domains, by whatever type gets through.
    fn walk(states: &mut States<'_, Host>, host: IpAddr, q: &Dns, context: &mut Context<'_>) {
        // What carries data, and SOA; the others are asked by clients (A, AAAA, HTTPS), or by who looks after mail and names (NS, PTR, NAPTR, TLSA, CAA, SPF).
        if !carries_data(q.qtype) && q.qtype != 6 {
            return;
        }
        let Some((label, domain)) = q.query.split_once('.') else { return };
        if !is_coded(label) || domains::registrable(&q.query) != Some(domain) {
            return;
        }
        let state = states.of(host, context.now);
        if state.walked {
            return;
        }
        state.labels.retain(|l| q.head.ts.since(l.ts) <= WALK_WINDOW);
        state.labels.push_back(Labelled {
            ts: q.head.ts,
            label: label.to_owned(),
            domain: domain.to_owned(),
            qtype: q.qtype,
            packet: q.packets.first().copied().unwrap_or_default(),
            flow: q.head.flow,
        });
        if state.labels.len() > MAX_LABELS {
            state.labels.pop_front();
        }
        let same: Vec<&Labelled> = state.labels.iter().filter(|l| l.label == label).collect();
        let domains: BTreeSet<&str> = same.iter().map(|l| l.domain.as_str()).collect();
        let types: BTreeSet<u16> = same.iter().map(|l| l.qtype).collect();
        if domains.len() < WALKED || types.len() < WALK_TYPES {
            return;
        }
        let fire = Fire {
            host,
            key: "walk".into(),
            grades: vec![("many_domains", 1)],
            started: same.iter().map(|l| l.ts).min().unwrap_or(q.head.ts),
            value: domains.len() as f64,
            threshold: WALKED as f64,
            unit: "domains below which one label is asked for",
            source: "assumed",
            packets: same.iter().map(|l| l.packet).collect(),
            flows: same.iter().map(|l| l.flow).collect(),
            remotes: vec![],
            facts: vec![
                ("label", label.into()),
                ("domains", domains.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>().into()),
                ("types", types.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
            ],
        };
        state.walked = true;
        context.fire(fire);
    }

    fn question(&self, states: &mut States<'_, Host>, host: IpAddr, q: &Dns, context: &mut Context<'_>) {
        let server = q.head.tuple.resp.ip;
        let window = self.settings.window;
        // Most names have nothing to hide in: told before the list of suffixes is asked.
        if q.query.len() < domains::tail(&q.query).len() + LEAST_BELOW {
            return;
        }
        let Some(domain) = domains::registrable(&q.query) else { return };
        let below = q.query.len().saturating_sub(domain.len() + 1);
        let state = states.of(host, context.now);
        if state.servers.len() < 16 || state.servers.contains_key(&server) {
            *state.servers.entry(server).or_default() += 1;
        }
        if below == 0 || domain.rsplit('.').next() == Some("arpa") || domains::has_data_in_names(&q.query) {
            return;
        }
        if state.domains.len() >= MAX_DOMAINS && !state.domains.contains_key(domain) {
            let oldest = state.domains.iter().min_by_key(|(_, d)| d.began).map(|(n, _)| n.clone());
            oldest.map(|n| state.domains.remove(&n));
        }
        let d = state.domains.entry(domain.to_owned()).or_default();
        if d.began.is_none_or(|b| q.head.ts.since(b) > window) {
            *d = Domain {
                began: Some(q.head.ts),
                reported: std::mem::take(&mut d.reported),
                fired: d.fired,
                ..Domain::default()
            };
        }
        d.questions += 1;
        d.data_types += u64::from(carries_data(q.qtype));
        d.answer_bytes += u64::from(q.response_len);
        d.answered += u64::from(q.rcode.is_some());
        d.told += u64::from(q.answers.iter().any(|a| a.addr.is_none()));
        let room = (FEW_ANSWERS + 1).saturating_sub(d.addresses.len());
        d.addresses.extend(q.answers.iter().filter_map(|a| a.addr).take(room));
        let hash = hash_of(&q.query);
        if d.names.len() < MAX_NAMES && d.names.insert(hash) {
            d.characters += below as u64;
            if d.packets.len() < 32 {
                d.packets.extend(q.packets.first());
            }
        }
        if d.servers.len() < 4 && !d.servers.contains(&server) {
            d.servers.push(server);
        }
        let names = d.names.len();
        if names < self.settings.some_names || d.carries_nothing_back() {
            return;
        }
        let some = self.settings.some_names;
        let several = state.domains.iter().any(|(n, o)| n != domain && o.names.len() >= some && o.fired);
        let d = &state.domains[domain];
        let asked = state.servers.get(&server).copied().unwrap_or(0);
        let other = state.servers.iter().any(|(s, n)| *s != server && *n >= 3)
            && asked <= d.questions
            && context.network.home().is_external(server);
        let mut grades = Self::grades(&self.settings, d, other);
        if grades.is_empty() {
            context.near(host, names as f64, self.settings.names as f64, "long names below one domain");
            return;
        }
        if several {
            grades.push(("several_domains", 1));
        }
        let reported: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        if d.reported == reported {
            return;
        }
        let length = d.characters as f64 / names as f64;
        context.fire(Fire {
            host,
            key: "domain".into(),
            grades,
            started: d.began.unwrap_or(q.head.ts),
            value: names as f64,
            threshold: self.settings.some_names as f64,
            unit: "long names below one domain in an hour",
            source: "assumed",
            packets: d.packets.clone(),
            flows: vec![q.head.flow],
            remotes: d.servers.clone(),
            facts: vec![
                ("domain", domain.into()),
                ("mean_length", length.into()),
                ("questions", d.questions.into()),
                ("data_type_questions", d.data_types.into()),
                ("answer_bytes", d.answer_bytes.into()),
            ],
        });
        if let Some(d) = states.get_mut(host).and_then(|s| s.domains.get_mut(domain)) {
            (d.reported, d.fired) = (reported, true);
        }
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Resolver),
            Alike::to(Honest::Mail).unless(&["data_types"]),
            Alike::to(Honest::Tunnel),
            Alike::to(Honest::Agent).unless(&["data_types", "straight"]),
        ],
        needs: &[Traffic::Dns],
        excuses: &[Excuse::Role(&[Role::Resolver], 0.2)],
        finding: Some(Shows::all("DNS tunnel")),
        ..About::new(
            Stage::Command,
            &["T1071.004", "T1572"],
            &[
                GradeWorth::base("names", 17.0).key("domain"),
                GradeWorth::base("some_names", 11.0).key("domain"),
                GradeWorth::base("many_domains", 15.0).key("walk"),
                GradeWorth::add("data_types", 3.0).key("domain"),
                GradeWorth::add("many_names", 3.0).key("domain"),
                GradeWorth::add("several_domains", 3.0).key("domain"),
                GradeWorth::add("straight", 2.0).key("domain"),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::DNS
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Dns(q) = record else { return };
        let host = q.head.tuple.orig.ip;
        if context.network.home().contains(host)
            && q.head.tuple.resp.port != 5353
            && q.head.tuple.resp.port != 5355
        {
            self.question(states, host, q, context);
            Self::walk(states, host, q, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        if e.key == "walk" {
            let (label, domains) = (clean(e.text("label")), names(e.list("domains"), 3));
            return format!(
                "asked for {label} below {} domains, by types that clients do not ask for: {domains}",
                tally(e.value)
            );
        }
        let (length, domain) = (e.number("mean_length"), defang(e.text("domain")));
        format!("asked for {} names of {length:.0} characters on average below {domain}", tally(e.value))
    }
}

crate::held!(Domain: names, addresses, servers, packets, reported);
crate::held!(Labelled: label, domain);
crate::held!(Host: domains, servers, labels);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.walked = false;
        self.domains.values_mut().for_each(|d| d.reported.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::DnsAnswer;

    /// Each question has an answer of its own.
    fn run(n: usize, gap: f64, qtype: u16, name: impl Fn(usize) -> String) -> Vec<String> {
        answered(n, gap, qtype, name, |i| {
            let ip = IpAddr::from([10, 9, (i / 250) as u8, (i % 250) as u8]);
            (Some(0), vec![DnsAnswer { rtype: 1, ttl: 60, addr: Some(ip), name: None }])
        })
    }

    fn answered(
        n: usize,
        gap: f64,
        qtype: u16,
        name: impl Fn(usize) -> String,
        answer: impl Fn(usize) -> (Option<u8>, Vec<DnsAnswer>),
    ) -> Vec<String> {
        let mut b = Bench::new("dns_tunnel", Watcher::new(Settings::default()));
        for i in 0..n {
            let t = 1.0 + gap * i as f64;
            let Record::Dns(mut q) = dns(t, &name(i), qtype, 0, None) else { unreachable!() };
            (q.rcode, q.answers) = answer(i);
            b.feed(Record::Dns(q), t);
        }
        b.grades()
    }

    #[test]
    fn a_channel_carries_something_back() {
        let text = || vec![DnsAnswer { rtype: 16, ttl: 60, addr: None, name: None }];
        let code = |i: usize| {
            vec![DnsAnswer { rtype: 1, ttl: 60, addr: Some([127, 0, 0, (i % 16) as u8].into()), name: None }]
        };
        let zone =
            |rcode, of: &dyn Fn(usize) -> Vec<DnsAnswer>| answered(300, 1.0, 1, short, |i| (rcode, of(i)));
        assert!(zone(Some(3), &|_| vec![]).is_empty(), "nobody is listed");
        assert!(zone(Some(0), &code).is_empty(), "a block list's codes");
        assert_eq!(zone(None, &|_| vec![]), ["names"], "answers are not in the capture");
        assert_eq!(answered(300, 1.0, 16, short, |_| (Some(0), text())), ["names", "data_types"]);
        let seldom = |i: usize| if i.is_multiple_of(5) { text() } else { vec![] };
        assert!(!zone(Some(0), &seldom).is_empty(), "an order now and then");
    }

    #[test]
    fn one_label_below_many_domains() {
        let walk = |asked: &[(&str, u16)], gap: f64| {
            let mut b = Bench::new("dns_tunnel", Watcher::new(Settings::default()));
            for (i, (name, qtype)) in asked.iter().enumerate() {
                let t = 1.0 + gap * i as f64;
                b.feed(dns(t, name, *qtype, 3, None), t);
            }
            b.grades()
        };
        let coded = [("cnjihhhc.example.com", 6), ("cnjihhhc.example.net", 15), ("cnjihhhc.example.org", 16)];
        assert_eq!(walk(&coded, 10.0), ["many_domains"]);
        assert!(walk(&coded[..2], 10.0).is_empty(), "two domains");
        assert!(walk(&coded, 301.0).is_empty(), "not within ten minutes");
        let one_type: Vec<(&str, u16)> = coded.iter().map(|(name, _)| (*name, 16)).collect();
        assert!(walk(&one_type, 10.0).is_empty(), "one type");
        let two_types: Vec<(&str, u16)> = coded.iter().zip([15, 16, 16]).map(|((n, _), t)| (*n, t)).collect();
        assert!(walk(&two_types, 10.0).is_empty(), "two types, as a mail filter asks");
        let numbered = [("mail01.example.com", 15), ("mail01.example.net", 16), ("mail01.example.org", 6)];
        assert!(walk(&numbered, 10.0).is_empty(), "a machine with a number");
        let clients: Vec<(&str, u16)> = coded.iter().zip([1, 28, 257]).map(|((n, _), t)| (*n, t)).collect();
        assert!(walk(&clients, 10.0).is_empty(), "what clients ask for");
        let word = [
            ("autodiscover.example.com", 5),
            ("autodiscover.example.net", 33),
            ("autodiscover.example.org", 15),
        ];
        assert!(walk(&word, 10.0).is_empty(), "a word");
        let key = [
            ("s1024._domainkey.example.com", 16),
            ("s1024._domainkey.example.net", 5),
            ("s1024._domainkey.example.org", 16),
        ];
        assert!(walk(&key, 10.0).is_empty(), "a key of mail's");
    }

    fn short(i: usize) -> String {
        format!("{i:020}.t.example.com")
    }

    #[test]
    fn a_hundred_long_names() {
        assert!(run(99, 1.0, 1, short).is_empty());
        assert_eq!(run(100, 1.0, 1, short), ["names"]);
        assert!(run(100, 40.0, 1, short).is_empty(), "not within the hour");
        assert_eq!(run(500, 1.0, 1, short), ["names", "many_names"]);
    }

    #[test]
    fn fewer_when_they_are_long_or_carry_data() {
        let long = |i: usize| format!("{i:040}.example.com");
        assert!(run(29, 1.0, 1, long).is_empty());
        assert_eq!(run(30, 1.0, 1, long), ["some_names"]);
        assert_eq!(run(30, 1.0, 16, short), ["some_names", "data_types"]);
    }

    #[test]
    fn several_domains_of_one_tunnel() {
        let turn = |i: usize| format!("{i:040}.{}", ["example.com", "example.net"][i % 2]);
        assert_eq!(run(60, 1.0, 1, turn), ["some_names", "several_domains"]);
        assert_eq!(run(59, 1.0, 1, turn), ["some_names"]);
    }

    #[test]
    fn the_same_name_again_is_one() {
        assert!(run(500, 1.0, 16, |_| short(1)).is_empty());
    }

    #[test]
    fn domains_that_are_asked_long_names() {
        assert!(run(300, 1.0, 16, |i| format!("{i:040}.zen.spamhaus.org")).is_empty());
        assert!(run(300, 1.0, 12, |i| format!("{i}.{i}.1.10.in-addr.arpa")).is_empty());
        assert!(run(300, 1.0, 1, |i| format!("www{i}.example.com")).is_empty());
    }
}
