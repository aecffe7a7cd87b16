//! ## What it sees
//! A host asks for names that nobody chose: members of a known generator's set, or runs of names that do not exist and
//! look drawn letter by letter, or one label tried under several dynamic-DNS suffixes.
//!
//! ## Why it matters
//! A bot that computes its meeting points cannot be cut off by taking one of them away (ATT&CK T1568.002). The names it
//! tries in vain are seen even when every meeting point is dead.
//!
//! ## How it decides
//! *Exact*: the name is a member of the Kraken v1 or v2 set; a second distinct member adds to it. A random
//! label of 7 letters falls into the v2 set with a chance of at most 6.8·10⁻⁷. *Generic*: within an hour at least 10 distinct
//! first-time names that do not exist (or more than 15 within 15 minutes), of which at least 5 can be scored, and the sum of
//! their log-likelihood ratios (uniform letters against the bigrams of chosen names) is at least 8.0 nats, which the
//! sum of five chosen names exceeds in 0.1 % of draws (measured, see `bigrams`). *Walk*: the same label under at least 3
//! dynamic-DNS suffixes within 600 s.
//!
//! ## What else looks like this
//! Browsers' probes (single labels, three at a time), search-suffix expansion, blocklist and reputation look-ups, content
//! delivery hashes, one dead name asked again and again, resolvers (role).
//!
//! ## Blind spots
//! Names made of words; encrypted DNS; a resolver outside of the capture.
//!
//! ## Options
//! `names` (5), `nxdomains` (10) in `window` (1h), `burst` (15) in `burst_window` (15m), `nats` (8.0).
//!
//! ## References
//! J. Bader (2015); M. Antonakakis et al., "From Throw-Away Traffic to Bots", USENIX Security 2012; ATT&CK T1568.002.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Dns, Evidence, FlowId, PacketId, Record, Role, Stage, Timestamp, human_count, names, tally};
use serde::{Deserialize, Serialize};

use crate::kraken_names::{Generator, generator_of};
use crate::table::{SeededSet, hash_of};
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic,
    Wants, bigrams, domains,
};

/// Names that do not exist, remembered of one host.
const MAX_NAMES: usize = 256;
/// Labels shorter than this say too little.
const MIN_LABEL: usize = 6;
/// Dynamic-DNS suffixes of one label that make a walk (*assumed*).
const WALK: usize = 3;
const WALK_WINDOW: Duration = Duration::from_mins(10);

/// Exact names kept of one host.
const MAX_EXACT: usize = 32;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Scored distinct names, ≥ 2. Five separate nearly perfectly (measured on draws).
    pub names: usize,
    /// Distinct names that do not exist within `window` (*assumed*).
    pub nxdomains: usize,
    /// That window.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// More than this many within `burst_window` fire at once (*assumed*).
    pub burst: usize,
    /// That window.
    #[serde(with = "humantime_serde")]
    pub burst_window: Duration,
    /// The sum of scores in nats (measured: 0.1 % false positives for five chosen names).
    pub nats: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names: 5,
            nxdomains: 10,
            window: Duration::from_hours(1),
            burst: 15,
            burst_window: Duration::from_mins(15),
            nats: 8.0,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Missing {
    ts: Timestamp,
    name: String,
    score: Option<f64>,
    flow: FlowId,
    packets: Vec<PacketId>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    exact: Vec<(String, Generator, Timestamp, PacketId, FlowId)>,
    /// Those of them that were asked for today.
    exact_today: BTreeSet<String>,
    missing: VecDeque<Missing>,
    /// Hashes of the names that were counted.
    known: SeededSet<u64>,
    walks: VecDeque<(Timestamp, String, String, PacketId)>,
    /// Since when names were asked for that do not exist, with no pause as long as the window, and how many by now.
    run: Option<(Timestamp, u64)>,
    /// Distinct names when the generic grade last fired: told again when they have doubled.
    reported: usize,
    walked: bool,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

/// Names that are made up for reasons of their own: reverse look-ups, service discovery, blocklists, single labels.
fn is_special(name: &str) -> bool {
    let numeric = name.split('.').take(4).filter(|l| l.bytes().all(|b| b.is_ascii_digit())).count();
    record::Endpoint::is_name_of_the_house(name)
        || numeric >= 4
        || name.contains('_')
        || [".arpa", ".test", ".invalid"].iter().any(|s| name.ends_with(s))
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Resolver),
            Alike::to(Honest::Crawler).unless(&["exact_name", "second_exact_name"]),
        ],
        needs: &[Traffic::Dns],
        excuses: &[Excuse::Role(&[Role::Resolver], 0.2)],
        finding: Some(Shows { by: |e| e.key == "exact", ..Shows::all("Kraken (Oderoor/Bobax, 2008)") }),
        ..About::new(
            Stage::Rendezvous,
            &["T1568.002"],
            &[
                GradeWorth::base("exact_name", 39.0).key("exact").cap(52.0),
                GradeWorth::add("second_exact_name", 13.0).key("exact"),
                GradeWorth::base("generic_names", 13.0).key("generic"),
                GradeWorth::base("suffix_walk", 4.0).key("walk"),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::DNS
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Dns(dns) = record else { return };
        let host = dns.head.tuple.orig.ip;
        if !context.network.home().contains(host) || !matches!(dns.qtype, Dns::A | Dns::AAAA | Dns::MX | 255)
        {
            return;
        }
        if let Some(generator) = generator_of(&dns.query) {
            exact(host, states.of(host, context.now), dns, generator, context);
        }
        if let Some((label, suffix)) = domains::dynamic_parts(&dns.query) {
            walk(host, states.of(host, context.now), dns, label, suffix, context);
        }
        if dns.is_nxdomain() && !is_special(&dns.query) {
            let state = states.of(host, context.now);
            if state.known.insert(hash_of(&dns.query)) {
                if state.known.len() > 4 * MAX_NAMES {
                    // Whichever may still count are kept, the others begin anew.
                    state.known = state.missing.iter().map(|m| hash_of(&m.name)).collect();
                    state.known.insert(hash_of(&dns.query));
                }
                missing(&self.settings, host, state, dns, context);
            }
        }
    }

    fn totals(e: &mut Evidence, state: &Host) {
        // What began anew since is another run.
        if let Some((_, names)) = state.run.filter(|(since, _)| e.started >= *since) {
            e.count_up("nxdomains", names);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let three = names(e.list("names"), 3);
        match e.key.as_ref() {
            "exact" => {
                let (two, generator) = (names(e.list("names"), 2), e.text("generator"));
                format!("asked for {two}: made by Kraken's name generator {generator}")
            }
            "walk" => format!("tried one label under {} dynamic-DNS suffixes: {three}", tally(e.value)),
            _ => {
                let n = human_count(e.count("nxdomains"));
                format!("asked for {n} names that do not exist and look random ({three})")
            }
        }
    }
}

fn exact(host: IpAddr, state: &mut Host, dns: &Dns, generator: Generator, context: &mut Context<'_>) {
    if state.exact_today.len() >= MAX_EXACT || !state.exact_today.insert(dns.query.clone()) {
        return;
    }
    if !state.exact.iter().any(|(n, ..)| *n == dns.query) {
        if state.exact.len() >= MAX_EXACT {
            return;
        }
        let packet = dns.packets.first().copied().unwrap_or_default();
        state.exact.push((dns.query.clone(), generator, dns.head.ts, packet, dns.head.flow));
    }
    let mut grades = vec![("exact_name", 1)];
    if state.exact.len() > 1 {
        grades.push(("second_exact_name", 1));
    }
    let names: Vec<String> = state.exact.iter().map(|(n, ..)| n.clone()).collect();
    let which = if generator == Generator::V1 { "v1" } else { "v2" };
    context.fire(Fire {
        host,
        key: "exact".into(),
        grades,
        started: state.exact.iter().map(|e| e.2).min().unwrap_or(dns.head.ts),
        value: state.exact.len() as f64,
        threshold: 1.0,
        unit: "names of the Kraken sets",
        source: "KRAKEN §4: chance of a random label ≤ 6.8e-7",
        packets: state.exact.iter().map(|e| e.3).collect(),
        flows: state.exact.iter().map(|e| e.4).collect(),
        remotes: dns.answers.iter().filter_map(|a| a.addr).collect(),
        facts: vec![("names", names.into()), ("generator", which.into())],
    });
}

fn walk(host: IpAddr, state: &mut Host, dns: &Dns, label: &str, suffix: &str, context: &mut Context<'_>) {
    state.walks.retain(|(t, ..)| dns.head.ts.since(*t) <= WALK_WINDOW);
    if state.walked || state.walks.iter().any(|(_, l, s, _)| l == label && s == suffix) {
        return;
    }
    let packet = dns.packets.first().copied().unwrap_or_default();
    state.walks.push_back((dns.head.ts, label.to_owned(), suffix.to_owned(), packet));
    if state.walks.len() > MAX_NAMES {
        state.walks.pop_front();
    }
    let same: Vec<_> = state.walks.iter().filter(|(_, l, ..)| l == label).collect();
    if same.len() < WALK {
        return;
    }
    state.walked = true;
    context.fire(Fire {
        host,
        key: "walk".into(),
        grades: vec![("suffix_walk", 1)],
        started: same[0].0,
        value: same.len() as f64,
        threshold: WALK as f64,
        unit: "dynamic-DNS suffixes of one label",
        source: "assumed",
        packets: same.iter().map(|s| s.3).collect(),
        flows: vec![dns.head.flow],
        remotes: vec![],
        facts: vec![("names", same.iter().map(|(_, l, s, _)| format!("{l}.{s}")).collect::<Vec<_>>().into())],
    });
}

fn missing(settings: &Settings, host: IpAddr, state: &mut Host, dns: &Dns, context: &mut Context<'_>) {
    let label = match domains::dynamic_parts(&dns.query) {
        Some((label, _)) => Some(label),
        None => domains::chosen_label(&dns.query),
    };
    let score = label
        .filter(|l| l.len() >= MIN_LABEL && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        .map(bigrams::score);
    state.missing.push_back(Missing {
        ts: dns.head.ts,
        name: dns.query.clone(),
        score,
        flow: dns.head.flow,
        packets: dns.packets.clone(),
    });
    while state.missing.len() > MAX_NAMES
        || state.missing.front().is_some_and(|m| dns.head.ts.since(m.ts) > settings.window)
    {
        state.missing.pop_front();
    }
    state.run = match state.run {
        Some((since, names)) if state.missing.len() > 1 => Some((since, names + 1)),
        _ => Some((dns.head.ts, 1)),
    };
    let scores = state.missing.iter().filter_map(|m| m.score);
    let (scored, sum) = scores.fold((0usize, 0.0), |(n, sum), score| (n + 1, sum + score));
    if scored < settings.names || sum < settings.nats {
        if scored >= settings.names {
            context.near(host, sum.max(0.0), settings.nats, "nats of randomness");
        } else {
            context.near(host, scored as f64, settings.names as f64, "scored names that do not exist");
        }
        return;
    }
    let recent = state.missing.iter().filter(|m| dns.head.ts.since(m.ts) <= settings.burst_window).count();
    if state.missing.len() < settings.nxdomains && recent <= settings.burst {
        context.near(host, state.missing.len() as f64, settings.nxdomains as f64, "names that do not exist");
        return;
    }
    if state.reported > 0 && state.missing.len() < state.reported * 2 {
        return;
    }
    state.reported = state.missing.len();
    context.fire(Fire {
        host,
        key: "generic".into(),
        grades: vec![("generic_names", 1)],
        started: state.missing[0].ts,
        value: sum,
        threshold: settings.nats,
        unit: "nats of randomness",
        source: "measured: 0.1 % of five chosen names",
        packets: state.missing.iter().filter_map(|m| m.packets.first().copied()).collect(),
        flows: state.missing.iter().map(|m| m.flow).collect(),
        remotes: vec![],
        facts: vec![
            ("names", state.missing.iter().take(8).map(|m| m.name.clone()).collect::<Vec<_>>().into()),
            ("nxdomains", state.missing.len().into()),
            ("scored", scored.into()),
        ],
    });
}

crate::held!(Generator);
crate::held!(Missing: name, packets);
crate::held!(Host: exact, exact_today, missing, known, walks);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.exact_today.clear();
        self.run = None;
        self.reported = 0;
        self.walked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn bench() -> Bench {
        Bench::new("generated_names", Watcher::new(Settings::default()))
    }

    fn drawn(i: u64) -> String {
        random(10, i + 1).iter().map(|b| char::from(b'a' + b % 26)).collect()
    }

    #[test]
    fn members_of_the_sets_fire_by_themselves() {
        let mut b = bench();
        b.feed(dns(1.0, "ibbwnhgh.mooo.com", Dns::A, 3, None), 1.0);
        assert_eq!(b.grades(), ["exact_name"]);
        b.feed(dns(2.0, "ibbwnhgh.mooo.com", Dns::A, 3, None), 2.0);
        assert_eq!(b.evidence.len(), 1, "the same name again is nothing new");
        b.feed(dns(3.0, "lvctmusxcyz.tv", Dns::A, 0, Some(REMOTE)), 3.0);
        assert_eq!(b.grades(), ["exact_name", "second_exact_name"]);
    }

    #[test]
    fn ten_drawn_names_fire_and_nine_do_not() {
        let mut b = bench();
        for i in 0..9 {
            b.feed(dns(i as f64, &format!("{}.com", drawn(i)), Dns::A, 3, None), i as f64);
        }
        assert!(b.evidence.is_empty());
        assert!(b.near().iter().any(|n| n.value == 9.0 && n.threshold == 10.0));
        b.feed(dns(9.0, &format!("{}.com", drawn(9)), Dns::A, 3, None), 9.0);
        assert_eq!(b.grades(), ["generic_names"]);
    }

    #[test]
    fn chosen_names_single_labels_and_blocklists_are_not_it() {
        let mut b = bench();
        let chosen = [
            "oldnewspaper",
            "summerholiday",
            "kitchenstore",
            "musicarchive",
            "carpenters",
            "weatherstation",
            "bookreview",
            "gardening",
            "streetview",
            "homepages",
            "theatertickets",
            "schoolbus",
        ];
        for (i, name) in chosen.iter().enumerate() {
            b.feed(dns(i as f64, &format!("{name}.com"), Dns::A, 3, None), i as f64);
        }
        for i in 0..40u64 {
            let t = 20.0 + i as f64;
            b.feed(dns(t, &drawn(i), Dns::A, 3, None), t);
            b.feed(dns(t, &format!("4.3.2.{i}.zen.spamhaus.org"), Dns::A, 3, None), t);
            b.feed(dns(t, "deadname.example.com", Dns::A, 3, None), t);
            b.feed(dns(t, &format!("{}.lan", drawn(i)), Dns::A, 3, None), t);
        }
        assert!(b.evidence.is_empty(), "{:?}", b.evidence);
    }

    #[test]
    fn a_walk_needs_three_suffixes() {
        let mut b = bench();
        for (i, suffix) in ["no-ip.org", "duckdns.org"].iter().enumerate() {
            b.feed(dns(i as f64, &format!("qwxzkj.{suffix}"), Dns::A, 0, None), i as f64);
        }
        assert!(b.evidence.is_empty());
        b.feed(dns(3.0, "qwxzkj.hopto.org", Dns::A, 0, None), 3.0);
        assert_eq!(b.grades(), ["suffix_walk"]);
    }
}
