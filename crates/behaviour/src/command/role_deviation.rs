//! ## What it sees
//! A host does what the people who run the network said it does not do.
//!
//! ## Why it matters
//! A camera, a till or a server does few things, and who put it there can write them down. What it does beyond that
//! needs no statistics to be odd: a new remote, a new port, a service that it offers all of a sudden (ATT&CK T1571 where
//! it is a bot's). The file of expectations holds such declarations (`[[role]]` with `only`); none, and this behaviour
//! is silent.
//!
//! ## How it decides
//! Every flow of a declared host that was answered is held against all that its declarations allow, by direction, remote
//! (address, network, name) and port of the responder. What none allows fires: *elsewhere*, a flow that it opened to a
//! host that is not local; *within*, one to a local host; *offers*, a flow from anywhere that it answered. It counts
//! more from 3 remotes on. Declarations that have ended allow and forbid nothing.
//!
//! ## What else looks like this
//! Declarations that are wrong or too old: a new time server, an update from another address, an administrator at work.
//!
//! ## Blind spots
//! What is done through an allowed remote; flows that nobody answered.
//!
//! ## Options
//! `remotes` (3).
//!
//! ## References
//! E. Lear et al., "Manufacturer Usage Description Specification", RFC 8520 (2019).

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::{Conn, Evidence, FlowId, PacketId, Record, Stage, Timestamp, clean, tally};
use serde::{Deserialize, Serialize};

use crate::expectations::Way;
use crate::words::Word;
use crate::{About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Wants};

/// Deviations remembered of one host.
const MAX_REMEMBERED: usize = 256;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Remotes that count more (*assumed*).
    pub remotes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { remotes: 3 }
    }
}

/// The first flow of a deviation.
#[derive(Serialize, Deserialize)]
struct Seen {
    ts: Timestamp,
    flow: FlowId,
    packets: Vec<PacketId>,
}

/// By kind, then by remote and port.
#[derive(Default, Serialize, Deserialize)]
pub struct Host(#[serde(with = "crate::words")] BTreeMap<Word, BTreeMap<(IpAddr, u16), Seen>>);

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn look(&self, states: &mut States<'_, Host>, way: Way, c: &Conn, context: &mut Context<'_>) {
        let (host, remote) = match way {
            Way::Out => (c.head.tuple.orig.ip, c.head.tuple.resp.ip),
            Way::In => (c.head.tuple.resp.ip, c.head.tuple.orig.ip),
        };
        let port = c.head.tuple.resp.port;
        if !context.network.home().contains(host) {
            return;
        }
        let known = states.card(host).map(|card| &card.known);
        let Some(role) = context.network.forbids((host, known), way, remote, port, c.head.ts) else { return };
        let kind = match way {
            Way::In => "offers",
            Way::Out if context.network.home().is_external(remote) => "elsewhere",
            Way::Out => "within",
        };
        let seen = states.of(host, context.now).0.entry(kind).or_default();
        if seen.len() >= MAX_REMEMBERED || seen.contains_key(&(remote, port)) {
            return;
        }
        seen.insert(
            (remote, port),
            Seen {
                ts: c.head.ts,
                flow: c.head.flow,
                packets: c.key_packets.iter().take(2).copied().collect(),
            },
        );
        let mut remotes: Vec<IpAddr> = seen.keys().map(|(ip, _)| *ip).collect();
        remotes.dedup();
        let mut grades = vec![(kind, 1)];
        if remotes.len() >= self.settings.remotes {
            grades.push(("several_remotes", 1));
        }
        let ports: std::collections::BTreeSet<u16> = seen.keys().map(|(_, p)| *p).collect();
        context.fire(Fire {
            host,
            key: kind.into(),
            grades,
            started: seen.values().map(|s| s.ts).min().unwrap_or(c.head.ts),
            value: seen.len() as f64,
            threshold: 1.0,
            unit: "remotes and ports that no declaration allows",
            source: "the file of expectations",
            packets: seen.values().flat_map(|s| s.packets.iter().copied()).collect(),
            flows: seen.values().map(|s| s.flow).collect(),
            facts: vec![
                ("role", role.into()),
                ("direction", way.name().into()),
                ("remote", format!("{remote} port {port}").into()),
                ("remotes", (remotes.len() as u64).into()),
                ("ports", ports.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
            ],
            remotes,
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Administration)],
        ..About::new(
            Stage::Command,
            &["T1571"],
            &[
                GradeWorth::base("elsewhere", 9.0).key("elsewhere"),
                GradeWorth::base("within", 4.0).key("within"),
                GradeWorth::base("offers", 6.0).key("offers"),
                GradeWorth::add("several_remotes", 3.0),
            ],
        )
    };
    fn wants(&self) -> Wants {
        Wants::CLOSED
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Conn(c) = record else { return };
        if context.network.declares() && c.failed() == Some(false) {
            self.look(states, Way::Out, c, context);
            self.look(states, Way::In, c, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        let did = if e.text("direction") == "in" { "was reached from" } else { "opened a flow to" };
        let (remote, role) = (clean(e.text("remote")), clean(e.text("role")));
        format!("{did} {remote}, which '{role}' does not allow ({} such)", tally(e.value))
    }
}

crate::held!(Seen: packets);
crate::held!(Host: 0);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use crate::{Expectations, Home, Network};
    use record::Transport;

    const FILE: &str = r#"
        [[role]]
        name = "till"
        who = ["10.0.0.5"]
        why = "sells"
        owner = "shop"
        until = "2030-01-01"
        only = [
            { direction = "out", remotes = ["198.51.100.0/24"], ports = [443] },
            { direction = "in", remotes = ["10.0.0.0/24"], ports = [22] },
        ]
    "#;

    fn bench(file: &str) -> Bench {
        let mut b = Bench::new("role_deviation", Watcher::new(Settings::default()));
        b.network = Network::new(Home::private(), 1000);
        b.network.expect(Expectations::parse(file).unwrap());
        b
    }

    fn opens(b: &mut Bench, remote: &str, port: u16) {
        b.feed(record(conn(10.0, Transport::Tcp, remote, port)), 11.0);
    }

    #[test]
    fn what_is_allowed_is_silent_and_what_is_not_fires() {
        let mut b = bench(FILE);
        opens(&mut b, "198.51.100.7", 443);
        assert!(b.evidence.is_empty());
        opens(&mut b, "198.51.100.7", 80);
        assert_eq!(b.grades(), ["elsewhere"], "another port");
        opens(&mut b, "203.0.113.1", 443);
        assert_eq!(b.grades(), ["elsewhere"], "another remote");
        opens(&mut b, "203.0.113.2", 443);
        assert_eq!(b.grades(), ["elsewhere", "several_remotes"]);
        opens(&mut b, "10.0.0.9", 445);
        assert_eq!(b.grades(), ["within"]);
    }

    #[test]
    fn what_comes_in_is_held_against_what_may_come_in() {
        let mut b = bench(FILE);
        let mut c = conn(10.0, Transport::Tcp, HOST, 22);
        c.head.tuple.orig.ip = "10.0.0.9".parse().unwrap();
        b.feed(record(c.clone()), 11.0);
        assert!(b.evidence.is_empty());
        c.head.tuple.resp.port = 23;
        b.feed(record(c), 12.0);
        assert_eq!(b.grades(), ["offers"]);
        assert_eq!(b.evidence[0].facts["direction"], "in".to_owned().into());
    }

    #[test]
    fn nothing_is_odd_without_a_declaration_or_after_its_end() {
        for file in [String::new(), FILE.replace("2030", "1970")] {
            let mut b = bench(&file);
            opens(&mut b, "203.0.113.1", 80);
            assert!(b.evidence.is_empty());
        }
        let mut b = bench(FILE);
        let mut c = conn(10.0, Transport::Tcp, "203.0.113.1", 80);
        c.packets = [3, 0];
        b.feed(record(c), 11.0);
        assert!(b.evidence.is_empty(), "nobody answered");
    }

    #[test]
    fn names_are_remotes_too() {
        let mut b = bench(&FILE.replace("198.51.100.0/24", "example.com"));
        b.feed(dns(1.0, "pay.example.com", record::Dns::A, 0, Some(REMOTE)), 1.0);
        opens(&mut b, REMOTE, 443);
        assert!(b.evidence.is_empty());
        b.feed(dns(1.0, "pay.example.net", record::Dns::A, 0, Some("198.51.100.9")), 1.0);
        opens(&mut b, "198.51.100.9", 443);
        assert_eq!(b.grades(), ["elsewhere"]);
    }
}
