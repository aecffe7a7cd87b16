//! ## What it sees
//! What comes into a host by one connection goes out by another, byte for byte, at the same time.
//!
//! ## Why it matters
//! Bots are rented as relays: for other bots' controllers, for spam, for logins that should look local (ATT&CK T1090).
//!
//! ## How it decides
//! Two TCP flows of one host, one that somebody outside the host opened to it and one that it opened to a host elsewhere, that overlap in time, the second begun within 5 s of the
//! first or later, with volumes that agree both ways within 2 % or 200 bytes (a relay's own header), at least 2,000 bytes each way: a pair. *relay* at 3 pairs
//! within an hour.
//! *socks* is a base of its own where the inbound side is SOCKS by content and comes from elsewhere.
//!
//! ## What else looks like this
//! Proxies, load balancers, mail relays and gateways, which are known as such: declare them.
//!
//! ## Blind spots
//! Relays that change what they carry (compression, padding, one tunnel for all); UDP.
//!
//! ## Options
//! `pairs` (3), `window` (1h), `bytes` (2000), `share` (0.02), `within` (5s).
//!
//! ## References
//! ATT&CK T1090.002; Y. Zhang, V. Paxson, "Detecting Stepping Stones", USENIX Security 2000; X. Mi et al., "Resident Evil:
//! Understanding Residential IP Proxy as a Dark Service", IEEE S&P 2019.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Evidence, FlowId, PacketId, Record, Service, Stage, Timestamp, Transport, tally,
};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
};

/// Flows remembered of one host and direction.
const MAX_FLOWS: usize = 64;
/// What a relay's own header adds, in bytes (SOCKS 5 with a long name and its replies; *assumed*).
const HEADER: u64 = 200;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Pairs of flows (*assumed*).
    pub pairs: usize,
    /// In which time (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Bytes each way, at least (*assumed*).
    pub bytes: u64,
    /// By how much volumes may differ, 0–1 (*assumed*).
    pub share: f64,
    /// How much earlier the way out may begin (*assumed*).
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pairs: 3,
            window: Duration::from_hours(1),
            bytes: 2000,
            share: 0.02,
            within: Duration::from_secs(5),
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Flow {
    began: Timestamp,
    ended: Timestamp,
    bytes: [u64; 2],
    remote: IpAddr,
    id: FlowId,
    packet: PacketId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    inward: VecDeque<Flow>,
    outward: VecDeque<Flow>,
    pairs: VecDeque<(Flow, Flow)>,
    reported: bool,
    socks_told: bool,
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

    fn agree(&self, a: u64, b: u64) -> bool {
        a.abs_diff(b) as f64 <= (self.settings.share * a.max(b) as f64).max(HEADER as f64)
    }

    /// Whether what came in by `inward` went out by `outward`.
    fn is_pair(&self, inward: &Flow, outward: &Flow) -> bool {
        inward.remote != outward.remote
            && outward.began.plus(self.settings.within) >= inward.began
            && outward.began <= inward.ended
            && outward.ended >= inward.began
            && self.agree(inward.bytes[0], outward.bytes[0])
            && self.agree(inward.bytes[1], outward.bytes[1])
    }

    fn flow(
        &self,
        states: &mut States<'_, Host>,
        host: IpAddr,
        c: &Conn,
        inward: bool,
        context: &mut Context<'_>,
    ) {
        let made = Flow {
            began: c.head.ts,
            ended: c.last,
            bytes: c.bytes,
            remote: if inward { c.head.tuple.orig.ip } else { c.head.tuple.resp.ip },
            id: c.head.flow,
            packet: c.key_packets.first().copied().unwrap_or_default(),
        };
        let window = self.settings.window;
        let Some(state) = states.get(host) else {
            let state = states.of(host, context.now);
            if inward { &mut state.inward } else { &mut state.outward }.push_back(made);
            return;
        };
        let other = if inward { &state.outward } else { &state.inward };
        let found =
            other.iter().position(|o| if inward { self.is_pair(&made, o) } else { self.is_pair(o, &made) });
        let needed = self.settings.pairs;
        let state = states.of(host, context.now);
        let other = if inward { &mut state.outward } else { &mut state.inward };
        let Some(twin) = found.and_then(|at| other.remove(at)) else {
            let mine = if inward { &mut state.inward } else { &mut state.outward };
            mine.push_back(made);
            if mine.len() > MAX_FLOWS {
                mine.pop_front();
            }
            return;
        };
        state.pairs.push_back(if inward { (made, twin) } else { (twin, made) });
        state.pairs.retain(|p| p.0.began.0.abs_diff(c.head.ts.0) <= window.as_nanos() as u64);
        let count = state.pairs.len();
        if count < needed {
            context.near(host, count as f64, needed as f64, "pairs of flows in and out of equal volume");
            return;
        }
        if std::mem::replace(&mut state.reported, true) {
            return;
        }
        let pairs = state.pairs.clone();
        context.fire(Fire {
            host,
            key: "pairs".into(),
            grades: vec![("relay", 1)],
            started: pairs.iter().map(|p| p.0.began).min().unwrap_or(c.head.ts),
            value: count as f64,
            threshold: needed as f64,
            unit: "pairs of flows in and out of equal volume",
            source: "assumed",
            packets: pairs.iter().flat_map(|p| [p.0.packet, p.1.packet]).collect(),
            flows: pairs.iter().flat_map(|p| [p.0.id, p.1.id]).collect(),
            remotes: pairs.iter().map(|p| p.0.remote).collect::<BTreeSet<_>>().into_iter().collect(),
            facts: vec![("bytes", pairs.iter().map(|p| p.0.bytes[0] + p.0.bytes[1]).sum::<u64>().into())],
        });
    }

    fn socks(states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        if std::mem::replace(&mut states.of(host, context.now).socks_told, true) {
            return;
        }
        context.fire(Fire {
            host,
            key: "socks".into(),
            grades: vec![("socks", 1)],
            started: c.head.ts,
            value: 1.0,
            threshold: 1.0,
            unit: "SOCKS sessions served to elsewhere",
            source: "content",
            packets: c.key_packets.to_vec(),
            flows: vec![c.head.flow],
            remotes: vec![c.head.tuple.orig.ip],
            facts: vec![("port", u64::from(c.head.tuple.resp.port).into())],
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Tunnel),
            Alike::to(Honest::FileSharing).unless(&["socks"]),
            Alike::to(Honest::Administration),
        ],
        needs: &[Traffic::Tcp],
        finding: Some(Shows::all("relay for others")),
        capability: Some("proxy"),
        ..About::new(
            Stage::Command,
            &["T1090.002"],
            &[GradeWorth::base("relay", 9.0).key("pairs"), GradeWorth::base("socks", 6.0).key("socks")],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Conn(c) = record else { return };
        if c.phase != ConnPhase::Closed || c.head.tuple.transport != Transport::Tcp || !c.start_seen {
            return;
        }
        let home = context.network.home();
        let (orig, resp) = (c.head.tuple.orig.ip, c.head.tuple.resp.ip);
        let inward = home.contains(resp) && home.is_external(orig);
        let outward = home.contains(orig) && home.is_external(resp);
        if inward && c.service == Service::Socks && c.bytes[1] > 0 {
            Self::socks(states, resp, c, context);
        }
        if c.bytes.iter().any(|b| *b < self.settings.bytes) {
            return;
        }
        if inward {
            self.flow(states, resp, c, true, context);
        } else if outward {
            self.flow(states, orig, c, false, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        if e.key == "socks" {
            return format!("served SOCKS to {} on port {}", e.remote(), e.count("port"));
        }
        format!("relayed {} connections between other hosts, byte for byte", tally(e.value))
    }
}

crate::held!(Flow);
crate::held!(Host: inward, outward, pairs);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = false;
        self.socks_told = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn relayed(t: f64, inward: [u64; 2], outward: [u64; 2], gap: f64) -> [Record; 2] {
        let mut a = conn(t, Transport::Tcp, REMOTE, 1080);
        std::mem::swap(&mut a.head.tuple.orig, &mut a.head.tuple.resp);
        (a.bytes, a.last) = (inward, at(t + 30.0));
        let mut b = conn(t + gap, Transport::Tcp, "203.0.113.9", 443);
        (b.bytes, b.last) = (outward, at(t + gap + 20.0));
        [record(a), record(b)]
    }

    fn run(n: usize, inward: [u64; 2], outward: [u64; 2], gap: f64) -> Vec<String> {
        let mut b = Bench::new("proxying", Watcher::new(Settings::default()));
        for i in 0..n {
            let t = 1.0 + 60.0 * i as f64;
            // Flows become known when they end: the way out first.
            let [a, c] = relayed(t, inward, outward, gap);
            b.feed(c, t + 25.0);
            b.feed(a, t + 31.0);
        }
        b.grades()
    }

    #[test]
    fn in_and_out_again() {
        assert_eq!(run(3, [5000, 90_000], [4900, 90_000], 0.2), ["relay"]);
        assert!(run(2, [5000, 90_000], [4900, 90_000], 0.2).is_empty());
    }

    #[test]
    fn other_volumes_or_times_are_no_pair() {
        assert!(run(5, [5000, 90_000], [4799, 90_000], 0.2).is_empty());
        assert!(run(5, [5000, 90_000], [4900, 90_000], 31.0).is_empty(), "after the end");
        assert!(run(5, [1999, 90_000], [1999, 90_000], 0.2).is_empty(), "too little");
    }

    #[test]
    fn socks_served_to_elsewhere() {
        let mut b = Bench::new("proxying", Watcher::new(Settings::default()));
        let [Record::Conn(mut a), _] = relayed(1.0, [300, 300], [0, 0], 1.0) else { unreachable!() };
        a.service = Service::Socks;
        b.feed(record(a), 40.0);
        assert_eq!(b.grades(), ["socks"]);
    }
}
