//! ## What it sees
//! A host tries many ports of one other host, and most are closed.
//!
//! ## Why it matters
//! Who wants to break in looks for open doors first (ATT&CK T1046), from outside in and, once inside, from host to host.
//!
//! ## How it decides
//! Distinct TCP ports of one host, inside or elsewhere, refused or unanswered within 5 minutes of each other: *ports* at 15, *many_ports* at 100,
//! while at most a third as many ports answered. Of a local host it counts for little: an inventory, or a neighbour's matter.
//!
//! ## What else looks like this
//! Vulnerability scanners and inventories (declare them), passive FTP to a broken server, port mapping tests of games.
//!
//! ## Blind spots
//! One port a minute over hours; UDP; scans from several hosts.
//!
//! ## Options
//! `ports` (15), `many_ports` (100), `window` (5m).
//!
//! ## References
//! ATT&CK T1046; Zeek's scan.zeek (`addr_scan`, 25 in 5 min; `port_scan`, 15 in 5 min).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use record::{Conn, Evidence, FlowId, PacketId, Record, Stage, Timestamp, clean, tally};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic,
    Wants,
};

/// Targets remembered of one host.
const MAX_TARGETS: usize = 64;
/// Ports remembered of one target.
const MAX_PORTS: usize = 512;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Ports that failed (Zeek's scan.zeek).
    pub ports: usize,
    /// So many count more (*assumed*).
    pub many_ports: usize,
    /// In which time (Zeek's scan.zeek).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ports: 15, many_ports: 100, window: Duration::from_mins(5) }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Target {
    failed: BTreeMap<u16, (Timestamp, PacketId, FlowId)>,
    answered: BTreeSet<u16>,
    #[serde(with = "crate::words")]
    reported: Option<Word>,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    targets: BTreeMap<IpAddr, Target>,
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

    fn knock(
        &self,
        states: &mut States<'_, Host>,
        host: IpAddr,
        c: &Conn,
        failed: bool,
        context: &mut Context<'_>,
    ) {
        let (ip, port) = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
        let window = self.settings.window;
        // What answered matters only beside what did not.
        if !failed && !states.get(host).is_some_and(|s| s.targets.contains_key(&ip)) {
            return;
        }
        let state = states.of(host, context.now);
        if state.targets.len() >= MAX_TARGETS && !state.targets.contains_key(&ip) {
            state.targets.pop_first();
        }
        let target = state.targets.entry(ip).or_default();
        if !failed {
            if target.answered.len() < MAX_PORTS {
                target.answered.insert(port);
            }
            return;
        }
        if target.failed.len() < MAX_PORTS || target.failed.contains_key(&port) {
            let packet = c.key_packets.first().copied().unwrap_or_default();
            target.failed.insert(port, (c.head.ts, packet, c.head.flow));
        }
        target.failed.retain(|_, (ts, ..)| ts.0.abs_diff(c.head.ts.0) <= window.as_nanos() as u64);
        let (ports, s) = (target.failed.len(), &self.settings);
        if ports < s.ports || target.answered.len() * 3 > ports {
            if ports > 3 {
                context.near(host, ports as f64, s.ports as f64, "closed ports of one host");
            }
            return;
        }
        let grade = if ports >= s.many_ports { "many_ports" } else { "ports" };
        if target.reported == Some(grade) {
            return;
        }
        target.reported = Some(grade);
        let fire = Fire {
            host,
            key: "target".into(),
            grades: vec![(grade, 1)],
            started: target.failed.values().map(|f| f.0).min().unwrap_or(c.head.ts),
            value: ports as f64,
            threshold: s.ports as f64,
            unit: "closed ports of one host within five minutes",
            source: "Zeek scan.zeek",
            packets: target.failed.values().map(|f| f.1).collect(),
            flows: target.failed.values().map(|f| f.2).collect(),
            remotes: vec![ip],
            facts: vec![
                ("target", ip.to_string().into()),
                ("answered", (target.answered.len() as u64).into()),
                ("local", context.network.home().contains(ip).into()),
            ],
        };
        context.fire(fire);
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Inventory), Alike::to(Honest::Administration)],
        needs: &[Traffic::Tcp],
        finding: Some(Shows::all("port scanner")),
        excuses: &[Excuse::Fact(
            "local",
            "its target is a local host: an inventory, or a neighbour's matter",
            0.3,
        )],
        ..About::new(
            Stage::Act,
            &["T1046"],
            &[GradeWorth::base("ports", 11.0), GradeWorth::base("many_ports", 20.0)],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some((host, c, failed)) = context.attempt(record) else { return };
        self.knock(states, host, c, failed, context);
    }

    fn sentence(e: &Evidence) -> String {
        format!("scanned {} closed ports of {}", tally(e.value), clean(e.text("target")))
    }
}

crate::held!(Target: failed, answered);
crate::held!(Host: targets);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.targets.values_mut().for_each(|t| t.reported = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{ConnState, Transport};

    fn run(n: u16, gap: f64, answered: u16) -> Vec<String> {
        let mut b = Bench::new("vertical_scan", Watcher::new(Settings::default()));
        for i in 0..n + answered {
            let answers = i > 0 && i <= answered;
            let t = 1.0 + gap * f64::from(i);
            let mut c = conn(t, Transport::Tcp, "10.0.0.9", 1000 + i);
            c.state = if answers { ConnState::SF } else { ConnState::Rej };
            b.feed(record(c), t + 1.0);
        }
        b.grades()
    }

    #[test]
    fn closed_doors() {
        assert!(run(14, 1.0, 0).is_empty());
        assert_eq!(run(15, 1.0, 0), ["ports"]);
        assert_eq!(run(100, 1.0, 0), ["many_ports"]);
    }

    #[test]
    fn slowly_or_answered() {
        assert!(run(40, 30.0, 0).is_empty());
        assert!(run(15, 1.0, 6).is_empty());
    }

    #[test]
    fn one_port_again_is_one() {
        let mut b = Bench::new("vertical_scan", Watcher::new(Settings::default()));
        for i in 0..60 {
            let mut c = conn(f64::from(i), Transport::Tcp, REMOTE, 80);
            c.state = ConnState::Rej;
            b.feed(record(c), f64::from(i) + 1.0);
        }
        assert!(b.evidence.is_empty());
    }
}
