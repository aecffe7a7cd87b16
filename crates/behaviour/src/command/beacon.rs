//! ## What it sees
//! A host calls the same remote again and again at regular intervals, saying about as much each time.
//!
//! ## Why it matters
//! A bot that waits for orders asks for them by the clock (ATT&CK T1071, T1029). Jitter blurs the clock but does not stop it.
//!
//! ## How it decides
//! Per host and remote (by name where one is known, so that many addresses of one name count together; else by address and port), the
//! score of RITA v5 in 0–1, the mean of four: regularity of intervals and of bytes sent (each by Bowley skewness and
//! median absolute deviation), how evenly contacts fill a histogram of the time the host was seen (of its last day, where they began later), and how much of that time they span.
//! *regular* at 6 contacts and a score of 0.80, *steady* at 10 and 0.85, *clockwork* at 30 and 0.90, each with a median interval of at least 5 s (1 s for *clockwork*: no page opens thirty connections one a second). Protocols
//! that keep time by themselves (DNS, NTP, mail collection, calls, tunnels, file sharing, discovery) and the publishers' own
//! update and connectivity services do not count. *named_by_nobody* is added for a remote never resolved by DNS.
//!
//! ## What else looks like this
//! Every application that polls: chat, mail over the web, telemetry, monitors, page refreshes. A remote that many local
//! hosts use is discounted, a monitor too.
//!
//! ## Blind spots
//! Random intervals over orders of magnitude; fewer than six contacts; one connection held open.
//!
//! ## Options
//! `contacts` (6), `score` (0.8), `steady_contacts` (10), `steady_score` (0.85), `clockwork_contacts` (30), `clockwork_score` (0.9), `shortest` (5s).
//!
//! ## References
//! ATT&CK T1071, T1029; Active Countermeasures, RITA v5 (beacon scoring); X. Hu et al., "BAYWATCH", DSN 2016.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, FlowId, PacketId, Record, Role, Service, Stage, Timestamp, Transport, defang,
    human_count,
};
use serde::{Deserialize, Serialize};

use crate::table::hash_of;
use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic,
    Wants, domains,
};

/// Remotes remembered of one host.
const MAX_REMOTES: usize = 128;
/// Contacts remembered of one remote.
const MAX_CONTACTS: usize = 96;
/// Names remembered that DNS did not tell.
const MAX_NAMES: usize = 64;
/// Parts into which the time of a host is divided (RITA: the hours of a day).
const BINS: usize = 24;

/// The span over which contacts are judged, where they are many (RITA v5).
const DAY: Duration = Duration::from_hours(24);

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Contacts for *regular*, ≥ 4 (RITA's least; 6 *assumed*).
    pub contacts: usize,
    /// Score for it, 0–1 (*assumed*).
    pub score: f64,
    /// Contacts for *steady* (*assumed*).
    pub steady_contacts: usize,
    /// Score for it (*assumed*).
    pub steady_score: f64,
    /// Contacts for *clockwork* (*assumed*).
    pub clockwork_contacts: usize,
    /// Score for it (*assumed*).
    pub clockwork_score: f64,
    /// The median interval, at least: a page opens several connections at once (*assumed*).
    #[serde(with = "humantime_serde")]
    pub shortest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            contacts: 6,
            score: 0.8,
            steady_contacts: 10,
            steady_score: 0.85,
            clockwork_contacts: 30,
            clockwork_score: 0.9,
            shortest: Duration::from_secs(5),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    /// The name's hash; the name itself stands with the remote.
    Name(u64),
    End(IpAddr, u16, Transport),
}

#[derive(Serialize, Deserialize)]
struct Contact {
    ts: Timestamp,
    sent: u64,
    flow: FlowId,
    packet: PacketId,
}

#[derive(Default, Serialize, Deserialize)]
struct Remote {
    /// Its name; empty where nobody gave it one.
    name: String,
    /// Keeps time by its trade: an update service or the like.
    listed: bool,
    contacts: VecDeque<Contact>,
    seen: usize,
    #[serde(with = "crate::words")]
    reported: Option<Word>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    first: Option<Timestamp>,
    remotes: BTreeMap<Key, Remote>,
    /// What was said to be a remote's name where DNS did not tell.
    names: BTreeMap<IpAddr, String>,
}

/// Forgets the half of the remotes that was silent longest.
fn forget(remotes: &mut BTreeMap<Key, Remote>) {
    let last = |r: &Remote| r.contacts.back().map(|k| k.ts);
    let mut order: Vec<Option<Timestamp>> = remotes.values().map(last).collect();
    order.sort_unstable();
    let middle = order.get(order.len() / 2).copied().flatten();
    remotes.retain(|_, r| last(r) > middle);
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// The parts of a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Regularity of intervals.
    pub intervals: f64,
    /// Regularity of bytes sent.
    pub sizes: f64,
    /// Evenness over the time the host was seen.
    pub histogram: f64,
    /// How much of that time the contacts span.
    pub span: f64,
    /// The median interval in seconds.
    pub median: f64,
}

impl Score {
    /// The mean of the four.
    pub fn total(&self) -> f64 {
        (self.intervals + self.sizes + self.histogram + self.span) / 4.0
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len().saturating_sub(1)) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * at.fract(),
        _ => 0.0,
    }
}

/// One minus Bowley's skewness, and one minus the median absolute deviation over the median; the mean of both.
fn regularity(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, mid, high) = (quantile(&sorted, 0.25), quantile(&sorted, 0.5), quantile(&sorted, 0.75));
    let skew =
        if high > low && mid > low && mid < high { (high + low - 2.0 * mid) / (high - low) } else { 0.0 };
    let mut off: Vec<f64> = sorted.iter().map(|v| (v - mid).abs()).collect();
    off.sort_by(f64::total_cmp);
    let deviation = quantile(&off, 0.5);
    let spread = if mid > 0.0 { (1.0 - deviation / mid).max(0.0) } else { 0.0 };
    f64::midpoint(1.0 - skew.abs(), spread)
}

/// The score of contacts of a host that was seen from `first` to `now`. `None` for fewer than four.
pub fn score(contacts: &[(Timestamp, u64)], first: Timestamp, now: Timestamp) -> Option<Score> {
    if contacts.len() < 4 {
        return None;
    }
    let mut times: Vec<Timestamp> = contacts.iter().map(|c| c.0).collect();
    times.sort_unstable();
    let gaps: Vec<f64> = times.windows(2).map(|w| w[1].since(w[0]).as_secs_f64()).collect();
    let sizes: Vec<f64> = contacts.iter().map(|c| c.1 as f64).collect();
    let whole = now.since(first).as_secs_f64().max(f64::MIN_POSITIVE);
    let (begin, end) = (times[0], times[times.len() - 1]);
    let span = (end.since(begin).as_secs_f64() / whole).min(1.0);
    // As even as the contacts can be: with fewer contacts than parts, each in a part of its own.
    let mut bins = [0.0f64; BINS];
    let mine = end.since(begin).as_secs_f64().max(f64::MIN_POSITIVE);
    for t in &times {
        let at = (t.since(begin).as_secs_f64() / mine * BINS as f64) as usize;
        bins[at.min(BINS - 1)] += 1.0;
    }
    let mean = times.len() as f64 / BINS as f64;
    let variance = bins.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / BINS as f64;
    let least = if mean < 1.0 { (mean * (1.0 - mean)).sqrt() } else { 0.0 };
    let histogram = (1.0 - (variance.sqrt() - least).max(0.0) / mean.max(1.0)).clamp(0.0, 1.0);
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    Some(Score {
        intervals: regularity(&gaps),
        sizes: regularity(&sizes),
        histogram,
        span,
        median: quantile(&sorted, 0.5),
    })
}

/// What keeps time by itself, or is told by its own behaviour.
const fn is_counted(c: &Conn) -> bool {
    matches!(
        c.service,
        Service::Http
            | Service::Http2
            | Service::Tls
            | Service::Quic
            | Service::Opaque
            | Service::Unrecognised
            | Service::Irc
    ) || (matches!(c.head.tuple.transport, Transport::Tcp) && matches!(c.service, Service::Unknown))
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn name(states: &mut States<'_, Host>, host: IpAddr, remote: IpAddr, name: &str, context: &Context<'_>) {
        if context.network.name_of(remote, context.now).is_none() {
            let names = &mut states.of(host, context.now).names;
            if names.len() >= MAX_NAMES {
                names.pop_first();
            }
            names.entry(remote).or_insert_with(|| name.to_owned());
        }
    }

    fn contact(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let end = c.head.tuple.resp;
        let (state, card) = states.open(host, context.now);
        let name = context
            .network
            .name_of(end.ip, context.now)
            .or_else(|| state.names.get(&end.ip).map(String::as_str))
            .filter(|n| !domains::is_address_literal(n));
        let named = name.is_some();
        let key = name.map_or(Key::End(end.ip, end.port, c.head.tuple.transport), |n| Key::Name(hash_of(n)));
        if state.remotes.len() >= MAX_REMOTES && !state.remotes.contains_key(&key) {
            forget(&mut state.remotes);
        }
        let first = state.first.unwrap_or(c.head.ts);
        let remote = state.remotes.entry(key.clone()).or_insert_with(|| {
            let name = name.unwrap_or_default();
            Remote {
                name: name.to_owned(),
                listed: domains::is_software_update(name)
                    || domains::is_connectivity_check(name)
                    || domains::has_data_in_names(name),
                ..Remote::default()
            }
        });
        if remote.listed && context.vouches(Some(card), host, end.ip, &remote.name) {
            return;
        }
        remote.contacts.push_back(Contact {
            ts: c.head.ts,
            sent: c.bytes[0],
            flow: c.head.flow,
            packet: c.key_packets.first().copied().unwrap_or_default(),
        });
        if remote.contacts.len() > MAX_CONTACTS {
            remote.contacts.pop_front();
        }
        remote.seen += 1;
        let seen = remote.seen;
        // Each second contact is looked at while they are few; later every eighth.
        if seen < self.settings.contacts || !seen.is_multiple_of(if seen > 16 { 8 } else { 2 }) {
            return;
        }
        let contacts: Vec<(Timestamp, u64)> = remote.contacts.iter().map(|k| (k.ts, k.sent)).collect();
        // RITA looks at a day.
        let from = first.max(context.now.minus(DAY)).min(contacts[0].0);
        let Some(made) = score(&contacts, from, context.now) else { return };
        let total = made.total();
        let s = &self.settings;
        let grade = if made.median < 1.0 {
            None
        } else if seen >= s.clockwork_contacts && total >= s.clockwork_score {
            Some("clockwork")
        } else if made.median < s.shortest.as_secs_f64() {
            None
        } else if seen >= s.steady_contacts && total >= s.steady_score {
            Some("steady")
        } else if total >= s.score {
            Some("regular")
        } else {
            None
        };
        let Some(grade) = grade else {
            context.near(host, total, s.score, "beacon score of contacts with one remote");
            return;
        };
        let rank = |g: &str| ["regular", "steady", "clockwork"].iter().position(|x| *x == g);
        if remote.reported.is_some_and(|reported| rank(reported) >= rank(grade)) {
            return;
        }
        remote.reported = Some(grade);
        let mut grades = vec![(grade, 1)];
        if !named {
            grades.push(("named_by_nobody", 1));
        }
        let called = match &key {
            Key::Name(_) => remote.name.clone(),
            Key::End(ip, port, _) => format!("{ip} port {port}"),
        };
        let fire = Fire {
            host,
            key: "calls".into(),
            grades,
            started: contacts.iter().map(|k| k.0).min().unwrap_or(c.head.ts),
            value: total,
            threshold: s.score,
            unit: "beacon score",
            source: "RITA v5; thresholds assumed",
            packets: remote.contacts.iter().map(|k| k.packet).collect(),
            flows: remote.contacts.iter().map(|k| k.flow).collect(),
            remotes: vec![end.ip],
            facts: vec![
                ("remote", called.into()),
                ("contacts", (seen as u64).into()),
                ("median_interval", made.median.into()),
                ("intervals", made.intervals.into()),
                ("sizes", made.sizes.into()),
                ("histogram", made.histogram.into()),
                ("span", made.span.into()),
                ("prevalent", context.prevalent(end.ip).into()),
            ],
        };
        context.fire(fire);
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Monitor),
            Alike::to(Honest::Agent),
            Alike::to(Honest::Device),
            Alike::to(Honest::Crawler).unless(&["named_by_nobody"]),
            Alike::to(Honest::Calls),
            Alike::to(Honest::Tunnel),
            Alike::to(Honest::Mining),
        ],
        needs: &[Traffic::Tcp],
        commands: false,
        excuses: &[Excuse::Role(&[Role::Monitor], 0.2)],
        finding: Some(Shows {
            // A single regular caller is no finding, a clockwork is.
            by: |e| e.has("clockwork"),
            ..Shows::all("beacon")
        }),
        ..About::new(
            Stage::Command,
            &["T1071", "T1029"],
            &[
                GradeWorth::base("regular", 2.0).weak(),
                GradeWorth::base("steady", 5.0),
                GradeWorth::base("clockwork", 8.0),
                GradeWorth::add("named_by_nobody", 1.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::HTTP).and(Wants::TLS).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some(host) = context.outbound() else { return };
        match record {
            Record::Conn(c) => {
                if c.phase != ConnPhase::Closed {
                    return;
                }
                let first = &mut states.of(host, context.now).first;
                *first = Some(first.map_or(c.head.ts, |f| f.min(c.head.ts)));
                if is_counted(c) && c.start_seen {
                    self.contact(states, host, c, context);
                }
            }
            Record::Tls(t) => {
                if let Some(name) = &t.sni {
                    Self::name(states, host, t.head.tuple.resp.ip, name, context);
                }
            }
            Record::Http(h) if h.depth == 0 => {
                if let Some(name) = &h.host {
                    Self::name(states, host, h.head.tuple.resp.ip, name, context);
                }
            }
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        format!(
            "made {} calls to {}, one every {:.0} s or so (beacon score {:.2})",
            human_count(e.count("contacts")),
            defang(e.text("remote")),
            e.number("median_interval"),
            e.value
        )
    }
}

crate::held!(Key);
crate::held!(Contact);
crate::held!(Remote: name, contacts);
crate::held!(Host: remotes, names);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.remotes.values_mut().for_each(|r| r.reported = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn call(t: f64, sent: u64) -> Record {
        let mut c = conn(t, Transport::Tcp, REMOTE, 8080);
        c.service = Service::Opaque;
        c.bytes = [sent, 10];
        record(c)
    }

    fn run(times: impl Iterator<Item = f64>, sent: impl Fn(usize) -> u64) -> Vec<String> {
        let mut b = Bench::new("beacon", Watcher::new(Settings::default()));
        for (i, t) in times.enumerate() {
            b.feed(call(t, sent(i)), t + 1.0);
        }
        b.grades()
    }

    #[test]
    fn by_the_clock() {
        let every = |n: usize| (0..n).map(|i| 10.0 + 60.0 * i as f64);
        assert!(run(every(5), |_| 100).is_empty());
        assert_eq!(run(every(6), |_| 100), ["regular", "named_by_nobody"]);
        assert_eq!(run(every(10), |_| 100), ["steady", "named_by_nobody"]);
        assert_eq!(run(every(40), |_| 100), ["clockwork", "named_by_nobody"]);
    }

    #[test]
    fn jitter_blurs_and_does_not_stop_it() {
        let jittered = |share: f64| {
            (0..40)
                .map(move |i| 10.0 + 60.0 * (f64::from(i) + share * (f64::from((i * 37) % 20) / 10.0 - 1.0)))
        };
        assert!(!run(jittered(0.1), |_| 100).is_empty());
        assert!(!run(jittered(0.3), |i| 100 + (i as u64 * 7) % 20).is_empty());
    }

    #[test]
    fn people_come_and_go() {
        let visits = [1.0, 4.0, 9.0, 300.0, 305.0, 900.0, 2000.0, 2003.0, 2100.0, 5000.0, 9000.0, 9001.0];
        assert!(run(visits.into_iter(), |i| 100 << (i % 7)).is_empty());
        let burst = (0..30).map(|i| 10.0 + f64::from(i) * 0.5);
        assert!(run(burst, |_| 100).is_empty(), "a page's connections");
    }

    #[test]
    fn what_keeps_time_by_itself() {
        let mut b = Bench::new("beacon", Watcher::new(Settings::default()));
        for i in 0..40 {
            let t = 10.0 + 60.0 * f64::from(i);
            let mut c = conn(t, Transport::Udp, REMOTE, 123);
            c.service = Service::Ntp;
            b.feed(record(c), t + 1.0);
        }
        assert!(b.evidence.is_empty());
        b.feed(dns(3000.0, "update.microsoft.com", 1, 0, Some(REMOTE)), 3000.0);
        for i in 0..40 {
            let t = 3010.0 + 60.0 * f64::from(i);
            b.feed(call(t, 100), t + 1.0);
        }
        assert!(b.evidence.is_empty());
    }

    #[test]
    fn one_name_with_many_addresses() {
        let mut b = Bench::new("beacon", Watcher::new(Settings::default()));
        for i in 0..12u32 {
            let t = 10.0 + 60.0 * f64::from(i);
            let remote = format!("198.51.100.{}", i + 1);
            b.feed(dns(t, "c.example.com", 1, 0, Some(&remote)), t);
            let mut c = conn(t + 0.1, Transport::Tcp, &remote, 443);
            c.service = Service::Tls;
            c.bytes = [500, 900];
            b.feed(record(c), t + 1.0);
        }
        assert_eq!(b.grades(), ["steady"]);
    }

    #[test]
    fn the_parts_are_shares() {
        let calls: Vec<_> = (0..24).map(|i| (at(f64::from(i) * 60.0), 100)).collect();
        let s = score(&calls, at(0.0), at(1440.0)).unwrap();
        for part in [s.intervals, s.sizes, s.histogram, s.span, s.total()] {
            assert!((0.0..=1.0).contains(&part), "{s:?}");
        }
        assert!(s.total() > 0.95, "{s:?}");
        assert!(score(&calls[..3], at(0.0), at(1440.0)).is_none());
    }
}
