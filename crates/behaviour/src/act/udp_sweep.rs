//! ## What it sees
//! A host sends the same to one UDP port of many addresses that nobody named, and hardly anybody answers.
//!
//! ## Why it matters
//! Some bots tell whole ranges of addresses that they are there, so that nobody knows which of them listens; others try lists of peers that have long gone, or look for devices to
//! take over or to reflect floods (ATT&CK T1046, T1595.001, T1008). Who speaks with somebody by UDP knows him, by name or because he answers.
//!
//! ## How it decides
//! Datagrams in no known protocol to addresses elsewhere, whose names this network never asked for, by the port that they go to: at least 30 addresses within 10 min, of which at most one in 20
//! answered, and at least 70 % of the first datagrams of one length. *sweep* at 30, *wide* at 50, *very_wide* at 150; *burst* is added at a hundred within a minute.
//!
//! ## What else looks like this
//! Nodes of peer-to-peer networks whose lists of peers are old and whose port is the same everywhere (Ethereum, ZeroTier, Tailscale behind a firewall; so it accuses nobody by itself but for a burst; a recognised application within the hour discounts it), games and their lists of servers (these answer),
//! scanners by trade (declare them), a host whose line is down.
//!
//! ## Blind spots
//! Other ports for each peer (`peer_walk`); datagrams of varied lengths; sweeps slower than three addresses a minute; protocols that are known.
//!
//! ## Options
//! `remotes` (30), `wide` (50), `very_wide` (150), `window` (10m).
//!
//! ## References
//! ATT&CK T1046, T1595.001, T1008; C. Rossow, "Amplification Hell", NDSS 2014.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, FlowId, PacketId, Record, Service, Stage, Timestamp, Transport, at_least,
    human_count,
};
use serde::{Deserialize, Serialize};

use crate::table::SeededSet;
use crate::words::Word;
use crate::{
    About, Alike, Application, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, Shows,
    States, Traffic, Wants,
};

/// First datagrams remembered of one host.
const FIRSTS: usize = 32;
/// Ports remembered of one host.
const MAX_PORTS: usize = 32;
/// Addresses remembered of one port.
const MAX_REMOTES: usize = 1024;
/// Lengths that are counted of one port.
const MAX_LENGTHS: usize = 16;
/// One in so many may answer (*assumed*).
const ANSWERED: usize = 20;
/// So many in ten datagrams are of one length (*assumed*).
const ALIKE: usize = 7;
/// So many within a minute are no node's that looks for its peers (*assumed*).
const BURST: usize = 100;
const BURST_WINDOW: Duration = Duration::from_mins(1);
/// Packets and flows that are shown.
const PROOFS: usize = 32;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Addresses, at least (*assumed*).
    pub remotes: usize,
    /// So many count more (*assumed*).
    pub wide: usize,
    /// So many more still (*assumed*).
    pub very_wide: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { remotes: 30, wide: 50, very_wide: 150, window: Duration::from_mins(10) }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Sweep {
    known: SeededSet<IpAddr>,
    answered: usize,
    /// How many began with each length.
    lengths: BTreeMap<i32, usize>,
    /// First datagrams, oldest first and newest last.
    from: Option<Timestamp>,
    last: Option<Timestamp>,
    /// When the last of them were sent, and whether ever so many within a minute.
    recent: VecDeque<Timestamp>,
    burst: bool,
    proofs: Vec<(PacketId, FlowId, IpAddr)>,
    #[serde(with = "crate::words")]
    reported: Option<Word>,
}

impl Sweep {
    /// Counts an address; gives whether it is news.
    fn learn(&mut self, seen: &First, window: Duration) -> bool {
        // What began long before tells of another time: who is spoken with for long is told of late.
        if self.from.is_some_and(|from| from.since(seen.ts) > window) {
            return false;
        }
        // Another window begins when this one is over.
        if self.from.is_some_and(|from| seen.ts.since(from) > window) {
            let reported = self.reported.take();
            *self = Self { reported, ..Self::default() };
        }
        if self.known.len() >= MAX_REMOTES || !self.known.insert(seen.remote) {
            return false;
        }
        self.from.get_or_insert(seen.ts);
        self.recent.push_back(seen.ts);
        if self.recent.len() > BURST {
            self.recent.pop_front();
        }
        let span = self.recent.back().zip(self.recent.front()).map(|(to, from)| to.since(*from));
        self.burst |= self.recent.len() == BURST && span.is_some_and(|span| span <= BURST_WINDOW);
        self.last = self.last.max(Some(seen.ts));
        self.answered += usize::from(seen.answered);
        if self.lengths.len() < MAX_LENGTHS || self.lengths.contains_key(&seen.length) {
            *self.lengths.entry(seen.length).or_default() += 1;
        }
        if self.proofs.len() < PROOFS {
            self.proofs.push((seen.packet, seen.flow, seen.remote));
        }
        true
    }
}

/// The first datagram to a port.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct First {
    port: u16,
    remote: IpAddr,
    ts: Timestamp,
    length: i32,
    answered: bool,
    packet: PacketId,
    flow: FlowId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    ports: BTreeMap<u16, Sweep>,
    /// First datagrams to ports, by the port's lowest bits.
    firsts: Vec<Option<First>>,
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

    fn datagram(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        if !c.tells_lengths() {
            return;
        }
        let port = c.head.tuple.resp.port;
        let seen = First {
            port,
            remote: c.head.tuple.resp.ip,
            ts: c.head.ts,
            length: c.first_lengths[0],
            answered: c.answered(),
            packet: c.key_packets.first().copied().unwrap_or_default(),
            flow: c.head.flow,
        };
        let (state, card) = states.open(host, context.now);
        // Most ports are of one address alone.
        if !state.ports.contains_key(&port) {
            let place = usize::from(port) % FIRSTS;
            if state.firsts.is_empty() {
                state.firsts.resize(FIRSTS, None);
            }
            let before = state.firsts[place].replace(seen);
            let Some(before) = before.filter(|b| b.port == port && b.remote != seen.remote) else { return };
            state.firsts[place] = None;
            if state.ports.len() >= MAX_PORTS {
                let oldest = state.ports.iter().min_by_key(|(_, s)| s.last).map(|(p, _)| *p);
                oldest.map(|p| state.ports.remove(&p));
            }
            state.ports.entry(port).or_default().learn(&before, self.settings.window);
        }
        let Some(sweep) = state.ports.get_mut(&port) else { return };
        if !sweep.learn(&seen, self.settings.window) {
            return;
        }
        let (s, n) = (&self.settings, sweep.known.len());
        let (length, alike) =
            sweep.lengths.iter().max_by_key(|(_, n)| **n).map_or((0, 0), |(len, n)| (*len, *n));
        if n < s.remotes || ANSWERED * sweep.answered > n || 10 * alike < ALIKE * n {
            if n > 4 && ANSWERED * sweep.answered <= n {
                context.near(host, n as f64, s.remotes as f64, "silent addresses at one UDP port");
            }
            return;
        }
        let grade = match n {
            n if n >= s.very_wide => "very_wide",
            n if n >= s.wide => "wide",
            _ => "sweep",
        };
        let told = match (grade, sweep.burst) {
            (grade, false) => grade,
            ("very_wide", true) => "very_wide, burst",
            (_, true) => "burst",
        };
        if sweep.reported.replace(told) == Some(told) {
            return;
        }
        let mut grades = vec![(grade, 1)];
        if sweep.burst {
            grades.push(("burst", 1));
        }
        let p2p = context.runs(card, Application::P2p);
        context.fire(Fire {
            host,
            key: "sweep".into(),
            grades,
            started: sweep.from.unwrap_or(c.head.ts),
            value: n as f64,
            threshold: s.remotes as f64,
            unit: "silent addresses at one UDP port",
            source: "assumed",
            packets: sweep.proofs.iter().map(|p| p.0).collect(),
            flows: sweep.proofs.iter().map(|p| p.1).collect(),
            remotes: sweep.proofs.iter().map(|p| p.2).collect::<BTreeSet<_>>().into_iter().collect(),
            facts: vec![
                ("port", u64::from(port).into()),
                ("addresses", (n as u64).into()),
                ("answered", (sweep.answered as u64).into()),
                ("length", (length.max(0) as u64).into()),
                ("application_within_hour", p2p.into()),
            ],
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Inventory),
            Alike::to(Honest::FileSharing),
            Alike::to(Honest::Calls).unless(&["wide", "very_wide"]),
        ],
        needs: &[Traffic::Udp],
        excuses: &[Excuse::Fact("application_within_hour", "a P2P application ran within the hour", 0.3)],
        finding: Some(Shows::all("scanner")),
        ..About::new(
            Stage::Act,
            &["T1046", "T1595.001", "T1008"],
            &[
                GradeWorth::base("sweep", 7.0),
                GradeWorth::base("wide", 11.0),
                GradeWorth::base("very_wide", 13.0),
                GradeWorth::add("burst", 4.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Conn(c)) = (context.outbound(), record) else { return };
        if c.phase != ConnPhase::Closed
            || c.head.tuple.transport != Transport::Udp
            || !matches!(c.service, Service::Unknown | Service::Opaque | Service::Unrecognised)
            || c.bytes[0] == 0
            || context.network.name_of(c.head.tuple.resp.ip, context.now).is_some()
        {
            return;
        }
        self.datagram(states, host, c, context);
    }

    fn totals(e: &mut Evidence, state: &Host) {
        let port = u16::try_from(e.count("port")).ok();
        // What began anew since is another sweep.
        if let Some(sweep) = port.and_then(|p| state.ports.get(&p)).filter(|s| s.from == Some(e.started)) {
            e.count_up("addresses", sweep.known.len() as u64);
            e.count_up("answered", sweep.answered as u64);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let addresses = e.count("addresses").max(e.value as u64);
        format!(
            "sent datagrams of {} bytes to UDP port {} of {} addresses that nobody named; {} answered",
            e.count("length"),
            e.count("port"),
            at_least(addresses, MAX_REMOTES),
            human_count(e.count("answered"))
        )
    }
}

crate::held!(Sweep: known, lengths, recent, proofs);
crate::held!(First);
crate::held!(Host: ports, firsts);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.ports.values_mut().for_each(|s| s.reported = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn sent(t: f64, n: usize, port: u16, answered: bool) -> Conn {
        let mut c = conn(t, Transport::Udp, &format!("198.51.{}.{}", n / 250, n % 250 + 1), port);
        c.service = Service::Unrecognised;
        (c.first_lengths[0], c.bytes) = (27, [27, 0]);
        c.packets = [1, u64::from(answered)];
        c
    }

    fn run(all: impl IntoIterator<Item = Conn>) -> Vec<String> {
        let mut b = Bench::new("udp_sweep", Watcher::new(Settings::default()));
        for c in all {
            let t = c.head.ts.0 as f64 / 1e9;
            b.feed(record(c), t + 60.0);
        }
        b.grades()
    }

    #[test]
    fn how_wide() {
        let many = |n: usize| run((0..n).map(|i| sent(1.0 + i as f64 / 2.0, i, 6892, false)));
        assert!(many(29).is_empty());
        assert_eq!(many(30), ["sweep"]);
        assert_eq!(many(50), ["wide"]);
        assert_eq!(many(150), ["very_wide", "burst"]);
        assert_eq!(
            run((0..150).map(|i| sent(1.0 + i as f64, i, 6892, false))),
            ["very_wide"],
            "one a second"
        );
    }

    #[test]
    fn who_is_answered_knows_somebody() {
        let answers = |one_in: usize| run((0..60).map(|i| sent(1.0 + i as f64, i, 30303, i % one_in == 0)));
        assert!(answers(10).is_empty());
        assert!(!answers(40).is_empty());
    }

    #[test]
    fn peers_that_live_hide_no_sweep() {
        let mut all: Vec<Conn> = (0..200).map(|i| sent(1000.0 + i as f64, i, 6892, false)).collect();
        for i in 0..9 {
            all.insert(20 * i, sent(1.0, 900 + i, 6892, true));
        }
        assert_eq!(run(all), ["very_wide"]);
    }

    #[test]
    fn each_on_its_own_port_or_of_its_own_length_or_slowly() {
        assert!(run((0..200).map(|i| sent(1.0 + i as f64, i, 2000 + i as u16, false))).is_empty());
        let varied = (0..200).map(|i| Conn {
            first_lengths: [20 + i as i32 % 12, 0, 0, 0, 0, 0, 0, 0],
            ..sent(1.0 + i as f64, i, 6892, false)
        });
        assert!(run(varied).is_empty());
        assert!(run((0..200).map(|i| sent(1.0 + 21.0 * i as f64, i, 6892, false))).is_empty());
        let known = (0..200).map(|i| Conn { service: Service::Ntp, ..sent(1.0 + i as f64, i, 123, false) });
        assert!(run(known).is_empty());
    }
}
