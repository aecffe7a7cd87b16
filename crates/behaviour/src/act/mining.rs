//! ## What it sees
//! A host speaks Stratum, the protocol of mining pools.
//!
//! ## Why it matters
//! Mining on somebody else's machine is the plainest way to make money of it (ATT&CK T1496.001). The protocol says so itself.
//!
//! ## How it decides
//! Stratum by content, on any port, with a host elsewhere that answered. *unusual_port* is added where TLS, the web or mail live: a pool that hides.
//! The finding is "mining"; whether its owner wants it cannot be seen.
//!
//! ## What else looks like this
//! Nothing; but people mine of their own will.
//!
//! ## Blind spots
//! Stratum over TLS; proxies; other pool protocols.
//!
//! ## Options
//! None.
//!
//! ## References
//! ATT&CK T1496.001; V. Veselý, M. Žádník, "How to detect cryptocurrency miners? By traffic forensics!", Digital
//! Investigation 2019.

use std::collections::BTreeSet;
use std::net::IpAddr;

use record::{ConnPhase, Evidence, Record, Service, Stage, defang, human_bytes};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, Shows, States, Traffic, Wants,
};

/// There is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

/// Pools remembered of one host.
const MAX_POOLS: usize = 64;

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    pools: BTreeSet<IpAddr>,
}

/// The detector.
pub struct Watcher {}

impl Watcher {
    /// Watches every host.
    pub fn new(_settings: Settings) -> Self {
        Self {}
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Mining)],
        needs: &[Traffic::Tcp],
        finding: Some(Shows::all("mining")),
        capability: Some("cryptocurrency_mining"),
        ..About::new(
            Stage::Act,
            &["T1496.001"],
            &[GradeWorth::base("stratum", 13.0), GradeWorth::add("unusual_port", 3.0)],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OPEN).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Conn(c)) = (context.outbound(), record) else { return };
        if c.service != Service::Stratum || c.phase == ConnPhase::Classified || c.bytes[1] == 0 {
            return;
        }
        let pools = &mut states.of(host, context.now).pools;
        if pools.len() >= MAX_POOLS || !pools.insert(c.head.tuple.resp.ip) {
            return;
        }
        let port = c.head.tuple.resp.port;
        let mut grades = vec![("stratum", 1)];
        if matches!(port, 25 | 53 | 80 | 110 | 143 | 443 | 465 | 587 | 993 | 995 | 8080 | 8443) {
            grades.push(("unusual_port", 1));
        }
        context.fire(Fire {
            host,
            key: "pool".into(),
            grades,
            started: c.head.ts,
            value: c.bytes[0] as f64,
            threshold: 1.0,
            unit: "bytes sent to a pool",
            source: "content",
            packets: c.key_packets.to_vec(),
            flows: vec![c.head.flow],
            remotes: vec![c.head.tuple.resp.ip],
            facts: vec![
                ("pool", c.head.tuple.resp.to_string().into()),
                (
                    "name",
                    context.network.name_of(c.head.tuple.resp.ip, context.now).unwrap_or_default().into(),
                ),
            ],
        });
    }

    fn sentence(e: &Evidence) -> String {
        format!("mined at {} ({} sent)", defang(e.text("pool")), human_bytes(e.value as u64))
    }
}

crate::held!(Host: pools);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.pools.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::Transport;

    fn run(service: Service, port: u16, answered: u64) -> Vec<String> {
        let mut b = Bench::new("mining", Watcher::new(Settings {}));
        let mut c = conn(1.0, Transport::Tcp, REMOTE, port);
        (c.service, c.bytes) = (service, [300, answered]);
        b.feed(record(c), 3.0);
        b.grades()
    }

    #[test]
    fn a_pool_that_answers() {
        assert_eq!(run(Service::Stratum, 3333, 100), ["stratum"]);
        assert_eq!(run(Service::Stratum, 443, 100), ["stratum", "unusual_port"]);
    }

    #[test]
    fn a_pool_is_told_once() {
        let mut b = Bench::new("mining", Watcher::new(Settings {}));
        for t in 1..5 {
            let mut c = conn(f64::from(t), Transport::Tcp, REMOTE, 3333);
            (c.service, c.bytes) = (Service::Stratum, [300, 100]);
            b.feed(record(c), f64::from(t) + 2.0);
        }
        assert_eq!(b.evidence.len(), 1);
    }

    #[test]
    fn a_pool_that_does_not_answer_and_other_protocols() {
        assert!(run(Service::Stratum, 3333, 0).is_empty());
        assert!(run(Service::Unrecognised, 3333, 100).is_empty());
    }
}
