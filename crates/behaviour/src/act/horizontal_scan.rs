//! ## What it sees
//! A host knocks at one port of many hosts that it never spoke with, and most do not answer.
//!
//! ## Why it matters
//! Worms and bots on routers and cameras spread by guessing addresses (ATT&CK T1046, T1595.001). Who knows whom it wants to
//! speak with mostly gets an answer.
//!
//! ## How it decides
//! A threshold random walk per host and destination port over first contacts by TCP: an answered one speaks for an honest host (it succeeds
//! with probability 0.8, a scanner's with 0.2), an unanswered or refused one against it; so does one that is answered, ends without a word from either side, and whose remote was never resolved by DNS. *scan* when the walk ends at
//! a false-positive probability of 0.01 and at least 10 first contacts failed; *wide* at 50 failed, *very_wide* at 150. A connection that
//! somebody went on with although its answer was not captured is not counted: the capture cannot tell; nor is an IPv6 address that a name
//! led to, since where IPv6 is broken every name does. A walk begins with a failure, and is forgotten after 30 min. Who calls each host twice and
//! more on average has a list of peers that is old, and walks nowhere.
//!
//! ## What else looks like this
//! Monitors and scanners by trade (declare them), file sharing (other ports for each peer; a verified application
//! discounts it, but not at ports by which machines are entered: SSH, Telnet, SMB, RDP and the like), a host whose network is down, a crawler.
//!
//! ## Blind spots
//! Scans below one attempt in some minutes; scans of hosts that all answer; UDP.
//!
//! ## Options
//! `failed` (10), `wide` (50), `very_wide` (150), `memory` (30m).
//!
//! ## References
//! ATT&CK T1046; J. Jung, V. Paxson, A. Berger, H. Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis
//! Testing", IEEE S&P 2004 (θ0 0.8, θ1 0.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use record::{Conn, Evidence, FlowId, PacketId, Record, Stage, Timestamp, at_least, human_count};
use serde::{Deserialize, Serialize};

use crate::table::SeededSet;
use crate::words::Word;
use crate::{
    About, Alike, Application, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, Shows,
    States, Traffic, Wants,
};

/// Ports remembered of one host.
const MAX_PORTS: usize = 64;
/// Where machines are entered, and no file sharing listens: SSH, Telnet, RPC, NetBIOS, SMB, RDP, ADB, VNC, TR-069 (IANA; *assumed* that it is all).
const REMOTE_ACCESS: [u16; 11] = [22, 23, 135, 139, 445, 2222, 2323, 3389, 5555, 5900, 7547];
/// First contacts remembered of one port.
const MAX_REMOTES: usize = 1024;
/// Each failure multiplies the odds by (1 − θ1)/(1 − θ0) = 4, each success divides them: steps of log 4.
/// The walk ends at 0.99/0.01: 3.3 steps, that is 4 more failures than successes.
const END: i64 = 4;

/// Connections with each host from which on they are retries (*assumed*).
const RETRIES: usize = 2;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// First contacts that failed, at least (*assumed*).
    pub failed: usize,
    /// So many count more (*assumed*).
    pub wide: usize,
    /// So many more still (*assumed*).
    pub very_wide: usize,
    /// How long a walk goes on in silence (Jung 2004).
    #[serde(with = "humantime_serde")]
    pub memory: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failed: 10, wide: 50, very_wide: 150, memory: Duration::from_mins(30) }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Walk {
    known: SeededSet<IpAddr>,
    /// Connections, those to hosts known already too.
    attempts: usize,
    steps: i64,
    failed: usize,
    answered: usize,
    started: Option<Timestamp>,
    last: Option<Timestamp>,
    proofs: Vec<(PacketId, FlowId, IpAddr)>,
    #[serde(with = "crate::words")]
    reported: Option<Word>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    ports: BTreeMap<u16, Walk>,
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

    fn contact(
        &self,
        states: &mut States<'_, Host>,
        host: IpAddr,
        c: &Conn,
        failed: bool,
        context: &mut Context<'_>,
    ) {
        let (remote, port) = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
        let memory = self.settings.memory;
        // A walk begins with a failure: most ports of most hosts never have one.
        if !failed && !states.get(host).is_some_and(|s| s.ports.contains_key(&port)) {
            return;
        }
        let (state, card) = states.open(host, context.now);
        if state.ports.len() >= MAX_PORTS && !state.ports.contains_key(&port) {
            let oldest = state.ports.iter().min_by_key(|(_, w)| w.last).map(|(p, _)| *p);
            oldest.map(|p| state.ports.remove(&p));
        }
        let walk = state.ports.entry(port).or_default();
        if walk.last.is_some_and(|last| c.head.ts.since(last) > memory) {
            *walk = Walk::default();
        }
        walk.attempts += 1;
        if walk.known.len() >= MAX_REMOTES || !walk.known.insert(remote) {
            return;
        }
        walk.last = Some(walk.last.map_or(c.head.ts, |l| l.max(c.head.ts)));
        walk.started = Some(walk.started.map_or(c.head.ts, |s| s.min(c.head.ts)));
        if failed {
            walk.steps += 1;
            walk.failed += 1;
            if walk.proofs.len() < 64 {
                walk.proofs.push((c.key_packets.first().copied().unwrap_or_default(), c.head.flow, remote));
            }
        } else {
            // The walk cannot fall below the point where honesty is accepted.
            walk.steps = (walk.steps - 1).max(-END);
            walk.answered += 1;
        }
        let s = &self.settings;
        if walk.steps < END || walk.failed < s.failed {
            // Where more answered than failed, nothing is near.
            if walk.failed >= s.failed && walk.steps > 0 {
                let unit = "failed first contacts at one port more than answered ones";
                context.near(host, walk.steps as f64, END as f64, unit);
            } else if walk.failed > 1 && walk.failed < s.failed {
                context.near(host, walk.failed as f64, s.failed as f64, "failed first contacts at one port");
            }
            return;
        }
        let grade = match walk.failed {
            n if n >= s.very_wide => "very_wide",
            n if n >= s.wide => "wide",
            _ => "scan",
        };
        // Who calls the same few again and again has a list of peers that is old.
        if walk.reported == Some(grade) || walk.attempts >= RETRIES * walk.known.len() {
            return;
        }
        walk.reported = Some(grade);
        let p2p = context.runs(card, Application::P2p) && !REMOTE_ACCESS.contains(&port);
        let (failed, answered) = (walk.failed as u64, walk.answered as u64);
        context.fire(Fire {
            host,
            key: "walk".into(),
            grades: vec![(grade, 1)],
            started: walk.started.unwrap_or(c.head.ts),
            value: failed as f64,
            threshold: s.failed as f64,
            unit: "failed first contacts at one port",
            source: "Jung et al. 2004; least number assumed",
            packets: walk.proofs.iter().map(|p| p.0).collect(),
            flows: walk.proofs.iter().map(|p| p.1).collect(),
            remotes: walk.proofs.iter().map(|p| p.2).collect::<BTreeSet<_>>().into_iter().collect(),
            facts: vec![
                ("port", u64::from(port).into()),
                ("failed", failed.into()),
                ("answered", answered.into()),
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
            Alike::to(Honest::Monitor).unless(&["very_wide"]),
            Alike::to(Honest::FileSharing),
            Alike::to(Honest::Administration).unless(&["wide", "very_wide"]),
        ],
        needs: &[Traffic::Tcp],
        excuses: &[Excuse::Fact("application_within_hour", "a P2P application ran within the hour", 0.3)],
        finding: Some(Shows::all("scanner")),
        ..About::new(
            Stage::Act,
            &["T1046", "T1595.001"],
            &[
                GradeWorth::base("scan", 9.0),
                GradeWorth::base("wide", 17.0),
                GradeWorth::base("very_wide", 20.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some((host, c, failed)) = context.attempt(record) else { return };
        // Other sensors' logs may lack the questions.
        let asked = !c.head.flow.is_named() || states.card(host).is_some_and(|card| card.known.hears());
        let silent = asked
            && c.bytes == [0, 0]
            && context.network.name_of(c.head.tuple.resp.ip, context.now).is_none();
        let failed = failed || (silent && c.missed_bytes == [0, 0]);
        // A host whose IPv6 leads nowhere fails at every name that it asks for, by IPv4, and goes on by that.
        let remote = c.head.tuple.resp.ip;
        if failed && remote.is_ipv6() && context.network.name_of(remote, context.now).is_some() {
            return;
        }
        self.contact(states, host, c, failed, context);
    }

    fn totals(e: &mut Evidence, state: &Host) {
        let port = u16::try_from(e.count("port")).ok();
        // What began anew since is another walk.
        if let Some(walk) = port.and_then(|p| state.ports.get(&p)).filter(|w| w.started == Some(e.started)) {
            e.count_up("failed", walk.failed as u64);
            e.count_up("answered", walk.answered as u64);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let (failed, answered) = (e.count("failed"), e.count("answered"));
        let all = at_least(failed + answered, MAX_REMOTES);
        let (failed, answered) = (human_count(failed), human_count(answered));
        format!("scanned port {} on {all} hosts: {failed} in vain, {answered} answered", e.count("port"))
    }
}

crate::held!(Walk: known, proofs);
crate::held!(Host: ports);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.ports.values_mut().for_each(|w| w.reported = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{ConnState, Transport};

    fn knock(t: f64, remote: &str, port: u16, state: ConnState) -> Conn {
        let mut c = conn(t, Transport::Tcp, remote, port);
        c.state = state;
        if state == ConnState::S0 {
            c.packets = [1, 0];
            c.history.push(b'S');
        }
        c
    }

    fn with(bytes: [u64; 2], mut c: Conn) -> Conn {
        c.bytes = bytes;
        c
    }

    fn run(all: Vec<Conn>) -> Vec<String> {
        let mut b = Bench::new("horizontal_scan", Watcher::new(Settings::default()));
        for c in all {
            let t = c.head.ts.0 as f64 / 1e9;
            b.feed(record(c), t + 1.0);
        }
        b.grades()
    }

    fn many(n: usize, state: ConnState) -> Vec<Conn> {
        (0..n)
            .map(|i| {
                let bytes = if state == ConnState::SF { [100, 100] } else { [0, 0] };
                with(bytes, knock(1.0 + i as f64, &format!("198.51.{}.{}", i / 250, i % 250 + 1), 23, state))
            })
            .collect()
    }

    #[test]
    fn who_fails_by_ipv6_at_every_name_scans_nothing() {
        let run = |named: bool| {
            let mut b = Bench::new("horizontal_scan", Watcher::new(Settings::default()));
            for i in 1..20 {
                let (ip, t) = (format!("2001:db8::{i}"), f64::from(i));
                if named {
                    b.feed(dns(t, &format!("www{i}.example"), record::Dns::AAAA, 0, Some(&ip)), t);
                }
                b.feed(record(knock(t + 0.5, &ip, 443, ConnState::S0)), t + 0.6);
            }
            b.grades()
        };
        assert!(!run(false).is_empty());
        assert!(run(true).is_empty());
    }

    #[test]
    fn file_sharing_explains_no_walk_to_where_machines_are_entered() {
        let run = |port: u16| {
            let mut b = Bench::new("horizontal_scan", Watcher::new(Settings::default()));
            let mut peer = conn(0.5, Transport::Udp, REMOTE, 6881);
            peer.service = record::Service::BitTorrent;
            b.feed(record(peer), 0.6);
            for mut c in many(12, ConnState::S0) {
                c.head.tuple.resp.port = port;
                let t = c.head.ts.0 as f64 / 1e9;
                b.feed(record(c), t + 1.0);
            }
            b.evidence.last().map(|e| e.flag("application_within_hour"))
        };
        assert_eq!(run(51_413), Some(true));
        assert_eq!(run(23), Some(false));
    }

    #[test]
    fn an_old_list_of_peers_is_no_walk() {
        let again = |times: usize| {
            let mut all = Vec::new();
            for c in many(12, ConnState::S0) {
                all.extend((0..times).map(|i| {
                    let mut c = c.clone();
                    c.head.ts = c.head.ts.plus(Duration::from_millis(100 * i as u64));
                    c
                }));
            }
            run(all)
        };
        assert_eq!(again(1), ["scan"]);
        assert!(again(3).is_empty(), "each is called again and again");
    }

    #[test]
    fn how_wide() {
        assert!(run(many(9, ConnState::S0)).is_empty());
        assert_eq!(run(many(10, ConnState::Rej)), ["scan"]);
        assert_eq!(run(many(50, ConnState::S0)), ["wide"]);
        assert_eq!(run(many(150, ConnState::S0)), ["very_wide"]);
    }

    #[test]
    fn who_gets_answers_is_honest() {
        let mut all = many(60, ConnState::SF);
        for (i, c) in all.iter_mut().enumerate() {
            if i % 3 == 0 {
                c.state = ConnState::S0;
            }
        }
        assert!(run(all).is_empty());
    }

    #[test]
    fn one_host_again_and_again_is_no_scan() {
        assert!(
            run((0..99).map(|i| knock(1.0 + f64::from(i), REMOTE, 6000, ConnState::Rej)).collect())
                .is_empty()
        );
        let ports = (0..99u16)
            .map(|i| knock(1.0 + f64::from(i), &format!("198.51.100.{}", i + 1), 2000 + i, ConnState::S0));
        assert!(run(ports.collect()).is_empty(), "peers each on its own port");
    }

    #[test]
    fn a_capture_of_one_side_tells_nothing() {
        let all = many(60, ConnState::S0).into_iter().map(|mut c| {
            c.history.push(b'A');
            c
        });
        assert!(run(all.collect()).is_empty());
    }

    #[test]
    fn connecting_without_a_word() {
        let silent = |n| many(n, ConnState::SF).into_iter().map(|c| with([0, 0], c)).collect();
        assert_eq!(run(silent(10)), ["scan"]);
    }

    #[test]
    fn silence_ends_a_walk() {
        let all = (0..40)
            .map(|i| knock(1.0 + 1900.0 * f64::from(i), &format!("198.51.100.{}", i + 1), 23, ConnState::S0));
        assert!(run(all.collect()).is_empty());
    }
}
