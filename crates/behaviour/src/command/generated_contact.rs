//! ## What it sees
//! After a run of names that do not exist and look drawn at random, a host talks with one that does exist and looks the
//! same.
//!
//! ## Why it matters
//! That is how a bot with a name generator finds its controller: it asks for name after name until one is there, and
//! calls it (ATT&CK T1568.002). The names that are missing show the generator; the one that is not shows where the
//! commands come from.
//!
//! ## How it decides
//! `generated_names` fired for the host. Within an hour of it, a flow that the host opened is answered by an address that
//! one of the host's questions resolved, and the label chosen in that name is at least 7 letters long and looks drawn at
//! random by the same bigrams: 3 nats or more, or it is a name of the Kraken sets (*exact_contact*).
//!
//! ## What else looks like this
//! Names of content networks that are drawn at random, where the host also fails to resolve many others.
//!
//! ## Blind spots
//! Names made of words; a resolver that is asked encrypted; a controller found before ten names failed.
//!
//! ## Options
//! `window` (1h), `label` (7), `nats` (3.0).
//!
//! ## References
//! M. Antonakakis et al., "From Throw-Away Traffic to Bots: Detecting the Rise of DGA-Based Malware", USENIX Security 2012;
//! ATT&CK T1568.002.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, FlowId, PacketId, Record, Stage, Timestamp, defang};
use serde::{Deserialize, Serialize};

use crate::kraken_names::generator_of;
use crate::{
    About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants, bigrams,
    domains,
};

/// Flows remembered of one contact, and contacts of one host.
const MAX_REMEMBERED: usize = 16;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long after the run of missing names (*assumed*: the window of `generated_names`).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Letters of the label, at least (*assumed*).
    pub label: usize,
    /// Its score in nats, at least (*assumed*; the run itself needs 8 over five names).
    pub nats: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: Duration::from_hours(1), label: 7, nats: 3.0 }
    }
}

#[derive(Serialize, Deserialize)]
struct Contact {
    first: Timestamp,
    flows: Vec<FlowId>,
    packets: Vec<PacketId>,
}

/// By name.
#[derive(Default, Serialize, Deserialize)]
pub struct Host(BTreeMap<String, Contact>);

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn is_drawn(&self, name: &str) -> bool {
        let label = match domains::dynamic_parts(name) {
            Some((label, _)) => Some(label),
            None => domains::chosen_label(name),
        };
        label.is_some_and(|l| {
            l.len() >= self.settings.label
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && bigrams::score(l) >= self.settings.nats
        })
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::FileSharing).unless(&["exact_contact"]),
            Alike::to(Honest::Resolver).unless(&["exact_contact"]),
        ],
        needs: &[Traffic::Dns],
        follows: &[Stage::Rendezvous],
        control: true,
        ..About::new(
            Stage::Command,
            &["T1568.002"],
            &[GradeWorth::base("contact", 11.0), GradeWorth::base("exact_contact", 17.0)],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Conn(c)) = (context.outbound(), record) else { return };
        if !c.answered() || c.failed() == Some(true) || c.head.tuple.resp.port == 53 {
            return;
        }
        let run = |(start, _): &(Timestamp, Timestamp)| {
            c.head.ts >= *start && c.head.ts.since(*start) <= self.settings.window
        };
        if !states.card(host).is_some_and(|card| card.fired.events("generated_names").any(|e| run(&e))) {
            return;
        }
        let remote: IpAddr = c.head.tuple.resp.ip;
        let names = context.network.names_of(remote, context.now);
        let exact = names.iter().find(|n| generator_of(n).is_some());
        let Some(name) = exact.or_else(|| names.iter().find(|n| self.is_drawn(n))) else { return };
        let (name, exact) = ((*name).to_owned(), exact.is_some());
        let known = &mut states.of(host, context.now).0;
        if known.len() >= MAX_REMEMBERED && !known.contains_key(&name) {
            return;
        }
        let contact = known.entry(name.clone()).or_insert_with(|| Contact {
            first: c.head.ts,
            flows: Vec::new(),
            packets: Vec::new(),
        });
        if !contact.flows.is_empty() {
            return;
        }
        contact.flows.push(c.head.flow);
        contact.packets.extend(c.key_packets.iter().take(3));
        context.fire(Fire {
            host,
            key: "contact".into(),
            grades: vec![(if exact { "exact_contact" } else { "contact" }, 1)],
            started: contact.first,
            value: if exact { 1.0 } else { domains::chosen_label(&name).map_or(0.0, bigrams::score) },
            threshold: if exact { 1.0 } else { self.settings.nats },
            unit: if exact { "names of the Kraken sets" } else { "nats of randomness" },
            source: "assumed",
            packets: contact.packets.clone(),
            flows: contact.flows.clone(),
            remotes: vec![remote],
            facts: vec![("name", name.into()), ("port", u64::from(c.head.tuple.resp.port).into())],
        });
    }

    fn sentence(e: &Evidence) -> String {
        let (name, port) = (defang(e.text("name")), e.count("port"));
        format!("found the made-up name {name} and talked with it on port {port}")
    }
}

crate::held!(Contact: flows, packets);
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
    use record::{ConnState, Dns, Stage, Transport};

    fn run(name: &str, fired: bool, at: f64, state: ConnState) -> Vec<String> {
        let mut b = Bench::new("generated_contact", Watcher::new(Settings::default()));
        if fired {
            b.fired(Stage::Rendezvous, "generated_names", 10.0, 60.0);
        }
        b.feed(dns(70.0, name, Dns::A, 0, Some(REMOTE)), 70.0);
        let mut c = conn(at, Transport::Tcp, REMOTE, 80);
        c.state = state;
        b.feed(record(c), at + 1.0);
        b.grades()
    }

    #[test]
    fn the_one_that_is_there_is_called() {
        assert_eq!(run("xjwqzkvbpf.com", true, 71.0, ConnState::SF), ["contact"]);
        assert_eq!(run("xjwqzkvbpf.com", true, 3610.0, ConnState::SF), ["contact"], "an hour after");
    }

    #[test]
    fn the_edges() {
        assert!(run("xjwqzkvbpf.com", true, 3611.0, ConnState::SF).is_empty(), "later than an hour");
        assert!(run("xjwqzkvbpf.com", false, 71.0, ConnState::SF).is_empty(), "no run before it");
        assert!(run("xjwqzkvbpf.com", true, 71.0, ConnState::Rej).is_empty(), "refused");
        assert!(run("xjwqzk.com", true, 71.0, ConnState::SF).is_empty(), "six letters");
    }

    #[test]
    fn a_name_of_words_is_nothing() {
        for name in ["weatherstation.com", "www.newspaper.org", "mailserver.example.net"] {
            assert!(run(name, true, 71.0, ConnState::SF).is_empty(), "{name}");
        }
    }
}
