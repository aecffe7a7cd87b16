//! ## What it sees
//! A host takes several parts from a remote that already commands it.
//!
//! ## Why it matters
//! A modular bot fetches template, payload and mail exchangers one by one from its controllers (ATT&CK T1105).
//!
//! ## How it decides
//! At least 2 inbound transfers of 20 kB–2 MB from one remote that is part of what fired as command channel or
//! update (but for who is only called regularly, or brought a program), no two of the same length, each opaque or an executable or archive by its first bytes, each after a small request (at most 4 kB) or a POST.
//! A single program, script or opaque payload is `payload_download`'s.
//!
//! ## What else looks like this
//! Software updates (their type is declared), games, backups.
//!
//! ## Blind spots
//! Modules over TLS; executables inside archives or encrypted.
//!
//! ## Options
//! `transfers` (2), `min` (20000), `max` (2000000), `request` (4000).
//!
//! ## References
//! R. Balupari, McAfee Avert Labs (2008); ATT&CK T1105.

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::{
    Conn, ConnPhase, Direction, Evidence, FlowId, Http, PacketId, Record, Service, Stage, Timestamp,
    Transport, tally,
};
use serde::{Deserialize, Serialize};

use crate::{About, Alike, Behaviour, Context, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants};

/// Remotes with transfers remembered of one host.
const MAX_REMOTES: usize = 256;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Transfers from one remote, ≥ 2 (*assumed*).
    pub transfers: usize,
    /// Inbound bytes of each, at least (*assumed*).
    pub min: u64,
    /// Inbound bytes of each, at most (*assumed*).
    pub max: u64,
    /// Outbound bytes of each, at most, unless a POST (*assumed*).
    pub request: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { transfers: 2, min: 20_000, max: 2_000_000, request: 4_000 }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    transfers: BTreeMap<IpAddr, Vec<(Timestamp, u64, FlowId, PacketId)>>,
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

    fn transfer(
        &self,
        states: &mut States<'_, Host>,
        host: IpAddr,
        remote: IpAddr,
        made: (Timestamp, u64, FlowId, PacketId),
        context: &mut Context<'_>,
    ) {
        let needed = self.settings.transfers;
        let (state, card) = states.open(host, context.now);
        let list = state.transfers.entry(remote).or_default();
        // The same once more is no further part.
        if list.len() < 64 && !list.iter().any(|known| known.1 == made.1) {
            list.push(made);
        }
        let (count, last) = (list.len(), list.clone());
        if state.transfers.len() > MAX_REMOTES {
            state.transfers.pop_first();
        }
        if !card.fired.commands(remote) {
            return;
        }
        if count < needed {
            context.near(host, count as f64, needed as f64, "transfers from a commanding remote");
            return;
        }
        context.fire(Fire {
            host,
            key: "modules".into(),
            grades: vec![("modules", 1)],
            started: made.0,
            value: count as f64,
            threshold: needed as f64,
            unit: "transfers from a commanding remote",
            source: "assumed",
            packets: last.iter().map(|t| t.3).collect(),
            flows: last.iter().map(|t| t.2).collect(),
            remotes: vec![remote],
            facts: vec![
                ("sizes", last.iter().map(|t| t.1.to_string()).collect::<Vec<_>>().into()),
                ("remote", remote.to_string().into()),
            ],
        });
    }

    fn conn(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let inbound = c.bytes[1];
        let first = c.first_speaker.unwrap_or(Direction::Orig);
        if c.service == Service::Opaque
            && c.start_seen
            && c.opaque_first(first)
            && (self.settings.min..=self.settings.max).contains(&inbound)
            && c.bytes[0] <= self.settings.request
        {
            let packet = c.key_packets.first().copied().unwrap_or_default();
            self.transfer(
                states,
                host,
                c.head.tuple.resp.ip,
                (c.head.ts, inbound, c.head.flow, packet),
                context,
            );
        }
    }

    fn http(&self, states: &mut States<'_, Host>, host: IpAddr, h: &Http, context: &mut Context<'_>) {
        let body = &h.response;
        let packet = h.packets.first().copied().unwrap_or_default();
        let opaque = body.facts.is_some_and(|f| f.is_opaque()) && body.magic.is_unknown() && !body.encoded;
        let wanted = opaque || body.magic.is_executable() || body.magic.is_archive();
        if wanted
            && (self.settings.min..=self.settings.max).contains(&body.len)
            && (h.request.len <= self.settings.request || h.method == "POST")
        {
            self.transfer(
                states,
                host,
                h.head.tuple.resp.ip,
                (h.head.ts, body.len, h.head.flow, packet),
                context,
            );
        }
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Agent), Alike::to(Honest::Device)],
        needs: &[Traffic::Tcp],
        follows: &[Stage::Command],
        capability: Some("file_download"),
        ..About::new(Stage::Update, &["T1105"], &[GradeWorth::base("modules", 9.0)])
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::HTTP).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Some(host) = context.outbound() else { return };
        match record {
            Record::Conn(c) if c.phase == ConnPhase::Closed && c.head.tuple.transport == Transport::Tcp => {
                self.conn(states, host, c, context);
            }
            Record::Http(h) => self.http(states, host, h, context),
            _ => {}
        }
    }

    fn sentence(e: &Evidence) -> String {
        format!("made {} downloads from its suspected C2 {}", tally(e.value), e.text("remote"))
    }
}

crate::held!(Host: transfers);

impl HostState for Host {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::Stage;

    fn bench(commands: bool) -> Bench {
        let mut b = Bench::new("module_download", Watcher::new(Settings::default()));
        if commands {
            b.fired_with(Stage::Command, "peer_walk", 1.0, 2.0, &[REMOTE]);
        }
        b
    }

    fn part(t: f64, inbound: u64) -> Record {
        let mut c = conn(t, Transport::Tcp, REMOTE, 4000);
        c.service = Service::Opaque;
        c.bytes = [24, inbound];
        c.first_payload[0] = payload(&random(24, t as u64));
        record(c)
    }

    #[test]
    fn two_parts_fire_and_one_does_not() {
        let mut b = bench(true);
        b.feed(part(10.0, 20_000), 11.0);
        assert!(b.evidence.is_empty() && b.near().len() == 1);
        b.feed(part(20.0, 2_000_000), 21.0);
        assert_eq!(b.grades(), ["modules"]);
    }

    #[test]
    fn the_edges_of_size() {
        for (inbound, fired) in [(19_999, false), (20_000, true), (2_000_000, true), (2_000_001, false)] {
            let mut b = bench(true);
            b.feed(part(10.0, 50_000), 11.0);
            b.feed(part(20.0, inbound), 21.0);
            assert_eq!(!b.evidence.is_empty(), fired, "{inbound}");
        }
    }

    #[test]
    fn a_remote_that_commands_nobody_may_send_what_it_likes() {
        let mut b = bench(false);
        for i in 0..5 {
            b.feed(part(10.0 * f64::from(i + 1), 50_000), 10.0 * f64::from(i + 1) + 1.0);
        }
        assert!(b.evidence.is_empty());
    }
}
