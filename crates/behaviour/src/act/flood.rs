//! ## What it sees
//! A host throws packets at one remote faster than anybody answers.
//!
//! ## Why it matters
//! Floods are what many bots are rented for (ATT&CK T1498, T1499).
//!
//! ## How it decides
//! *packets*: a flow by UDP, ICMP or TCP to a host elsewhere with at least 1,000 packets a second over at least 5,000 packets, of which at
//! most one in a hundred is answered, and that is no call or stream by content, nor to a host and port with which the host speaks TCP too, as speed tests and streams agree on theirs. *connections*: at least 1,000 unanswered connection attempts to one remote
//! within 10 seconds.
//!
//! ## What else looks like this
//! One-way video by a protocol that is not known, load tests, backups over UDP.
//!
//! ## Blind spots
//! Floods below the rate (each bot of many); floods of complete requests; forged source addresses.
//!
//! ## Options
//! `rate` (1000), `packets` (5000), `answered` (0.01), `attempts` (1000), `window` (10s).
//!
//! ## References
//! ATT&CK T1498.001, T1499.001; J. Mirkovic, P. Reiher, "A Taxonomy of DDoS Attack and DDoS Defense Mechanisms", CCR 2004.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, PacketId, Record, Service, Stage, Timestamp, Transport, clean, tally,
};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
};

/// Targets remembered of one host.
const MAX_TARGETS: usize = 32;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Packets a second (DETECTION §5).
    pub rate: f64,
    /// Packets in all, at least (*assumed*).
    pub packets: u64,
    /// Share of packets answered, at most (*assumed*).
    pub answered: f64,
    /// Unanswered attempts (*assumed*).
    pub attempts: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rate: 1000.0, packets: 5000, answered: 0.01, attempts: 1000, window: Duration::from_secs(10) }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    attempts: BTreeMap<IpAddr, VecDeque<(Timestamp, PacketId)>>,
    /// Whom it spoke TCP with, and at which port: a stream to the same is between partners, as of a speed test or a camera.
    partners: BTreeSet<(IpAddr, u16)>,
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

    fn fire(
        host: IpAddr,
        grade: &'static str,
        c: &Conn,
        value: (f64, f64, &'static str),
        packets: Vec<PacketId>,
        context: &mut Context<'_>,
    ) {
        context.fire(Fire {
            host,
            key: grade.into(),
            grades: vec![(grade, 1)],
            started: c.head.ts,
            value: value.0,
            threshold: value.1,
            unit: value.2,
            source: "assumed",
            packets,
            flows: vec![c.head.flow],
            remotes: vec![c.head.tuple.resp.ip],
            facts: vec![
                ("target", c.head.tuple.resp.to_string().into()),
                ("transport", c.head.tuple.transport.to_string().into()),
            ],
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Calls).unless(&["connections"]),
            Alike::to(Honest::FileSharing),
            Alike::to(Honest::Administration),
        ],
        needs: &[Traffic::Tcp, Traffic::Udp],
        finding: Some(Shows::all("flooder")),
        capability: Some("ddos"),
        ..About::new(
            Stage::Act,
            &["T1498.001", "T1499.001"],
            &[
                GradeWorth::base("packets", 20.0).key("packets"),
                GradeWorth::base("connections", 20.0).key("connections"),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OPEN).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Conn(c)) = (context.outbound(), record) else { return };
        if c.head.tuple.transport == Transport::Tcp && c.bytes[0] > 0 && c.bytes[1] > 0 {
            let partners = &mut states.of(host, context.now).partners;
            if partners.len() < MAX_TARGETS {
                partners.insert((c.head.tuple.resp.ip, c.head.tuple.resp.port));
            }
        }
        if c.phase == ConnPhase::Classified {
            return;
        }
        let s = &self.settings;
        let secs = c.duration().as_secs_f64().max(1e-3);
        // What nobody has looked into may be anything.
        let stream = !c.tells_payload()
            || c.service.is_vpn()
            || c.service.is_p2p()
            || matches!(c.service, Service::Rtp | Service::Quic | Service::Tls | Service::Dtls);
        if c.packets[0] >= s.packets
            && c.packets[0] as f64 / secs >= s.rate
            && c.packets[1] as f64 <= s.answered * c.packets[0] as f64
            && !stream
            && !states
                .get(host)
                .is_some_and(|h| h.partners.contains(&(c.head.tuple.resp.ip, c.head.tuple.resp.port)))
        {
            let rate = (c.packets[0] as f64 / secs, s.rate, "packets a second, unanswered");
            Self::fire(host, "packets", c, rate, c.key_packets.to_vec(), context);
        }
        if c.phase == ConnPhase::Closed
            && c.head.tuple.transport == Transport::Tcp
            && c.packets[1] == 0
            && c.start_seen
            && c.bytes[0] == 0
        {
            let state = states.of(host, context.now);
            let target = c.head.tuple.resp.ip;
            if state.attempts.len() >= MAX_TARGETS && !state.attempts.contains_key(&target) {
                state.attempts.pop_first();
            }
            let attempts = state.attempts.entry(target).or_default();
            attempts.push_back((c.head.ts, c.key_packets.first().copied().unwrap_or_default()));
            let window = s.window.as_nanos() as u64;
            while attempts.front().is_some_and(|(ts, _)| ts.0.abs_diff(c.head.ts.0) > window) {
                attempts.pop_front();
            }
            if attempts.len() >= s.attempts {
                let packets = attempts.iter().take(32).map(|a| a.1).collect();
                attempts.clear();
                let value = (s.attempts as f64, s.attempts as f64, "unanswered attempts in ten seconds");
                Self::fire(host, "connections", c, value, packets, context);
            }
        }
    }

    fn sentence(e: &Evidence) -> String {
        format!("flooded {} with {} {}", clean(e.text("target")), tally(e.value), e.unit)
    }
}

crate::held!(Host: attempts, partners);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::ConnState;

    fn stream(packets: [u64; 2], secs: f64, service: Service) -> Vec<String> {
        let mut b = Bench::new("flood", Watcher::new(Settings::default()));
        let mut c = conn(1.0, Transport::Udp, REMOTE, 80);
        (c.packets, c.service, c.last) = (packets, service, at(1.0 + secs));
        b.feed(record(c), 2.0 + secs);
        b.grades()
    }

    #[test]
    fn faster_than_anybody_answers() {
        assert_eq!(stream([10_000, 0], 10.0, Service::Unrecognised), ["packets"]);
        assert!(stream([9_990, 0], 10.0, Service::Unrecognised).is_empty());
        assert!(stream([4_999, 0], 1.0, Service::Unrecognised).is_empty());
        assert!(stream([10_000, 101], 10.0, Service::Unrecognised).is_empty());
    }

    #[test]
    fn streams_by_content_are_not_meant() {
        for service in [Service::Rtp, Service::Quic, Service::WireGuard] {
            assert!(stream([100_000, 0], 10.0, service).is_empty(), "{service}");
        }
    }

    #[test]
    fn partners_of_a_test_agree_over_tcp() {
        let run = |port: u16| {
            let mut b = Bench::new("flood", Watcher::new(Settings::default()));
            let mut control = conn(1.0, Transport::Tcp, REMOTE, port);
            (control.bytes, control.phase) = ([200, 300], ConnPhase::Classified);
            b.feed(record(control), 1.5);
            let mut c = conn(2.0, Transport::Udp, REMOTE, 5201);
            (c.packets, c.service, c.last) = ([10_000, 0], Service::Unrecognised, at(12.0));
            b.feed(record(c), 13.0);
            b.grades()
        };
        assert!(run(5201).is_empty());
        assert_eq!(run(80), ["packets"], "a page of the victim's");
    }

    #[test]
    fn a_flood_of_connections() {
        let run = |n: usize, gap: f64| {
            let mut b = Bench::new("flood", Watcher::new(Settings::default()));
            for i in 0..n {
                let mut c = conn(1.0 + gap * i as f64, Transport::Tcp, REMOTE, 80);
                (c.state, c.packets) = (ConnState::S0, [1, 0]);
                b.feed(record(c), 2.0 + gap * i as f64);
            }
            b.grades()
        };
        assert_eq!(run(1000, 0.005), ["connections"]);
        assert!(run(999, 0.005).is_empty());
        assert!(run(1500, 0.02).is_empty(), "too slow");
    }
}
