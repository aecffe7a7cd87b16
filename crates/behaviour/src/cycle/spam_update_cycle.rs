//! ## What it sees
//! Batches of spam with an update between them.
//!
//! ## Why it matters
//! A template bot asks for new work after each batch (ATT&CK T1104). A mail server never does.
//!
//! ## How it decides
//! A batch is at least 5 messages handed to mail servers, in sessions less than 300 s apart. A cycle is a batch with an update event
//! (`same_remote_chain`, `module_download`) in the pause of at least 300 s before it, or at most 300 s before its beginning.
//! Two cycles fire; three count more.
//!
//! ## What else looks like this
//! Nothing known.
//!
//! ## Blind spots
//! A bot whose updates are not seen as such; one that sends without pause.
//!
//! ## Options
//! `pause` (5m), `messages` (5), `cycles` (2).
//!
//! ## References
//! R. Balupari, McAfee Avert Labs (2008): batches, then update, then spam again.

use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, FlowId, PacketId, Record, Stage, Timestamp, tally};
use serde::{Deserialize, Serialize};

use crate::{
    About, Alike, Behaviour, Card, Context, Excuse, Fire, GradeWorth, Honest, HostState, MAIL, States,
    Traffic, Wants,
};

/// Batches remembered of one host.
const MAX_BATCHES: usize = 64;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What separates batches (*assumed*).
    #[serde(with = "humantime_serde")]
    pub pause: Duration,
    /// Messages of a batch, at least (*assumed*).
    pub messages: u32,
    /// Cycles, ≥ 2 (*assumed*).
    pub cycles: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pause: Duration::from_mins(5), messages: 5, cycles: 2 }
    }
}

#[derive(Serialize, Deserialize)]
struct Batch {
    first: Timestamp,
    last: Timestamp,
    messages: u32,
    flow: FlowId,
    packet: PacketId,
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    batches: Vec<Batch>,
    reported: usize,
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
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Mail)],
        needs: &[Traffic::Tcp],
        excuses: &[Excuse::Role(MAIL, 0.2)],
        ..About::new(
            Stage::Cycle,
            &["T1104"],
            &[GradeWorth::base("two_cycles", 9.0), GradeWorth::base("three_cycles", 13.0)],
        )
    };

    fn wants(&self) -> Wants {
        Wants::OTHER.and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Smtp(s) = record else { return };
        let Some(host) = context.outbound().filter(|_| (s.data_count > 0 || s.starttls_used) && !s.auth)
        else {
            return;
        };
        // What STARTTLS hides counts as one message.
        let messages = s.data_count.max(1);
        let (state, card) = states.open(host, context.now);
        let near = |b: &&mut Batch| s.head.ts.0.abs_diff(b.last.0) < self.settings.pause.as_nanos() as u64;
        if let Some(batch) = state.batches.iter_mut().rev().find(near) {
            batch.last = batch.last.max(s.head.ts);
            batch.first = batch.first.min(s.head.ts);
            batch.messages += messages;
        } else {
            let packet = s.packets.first().copied().unwrap_or_default();
            state.batches.push(Batch {
                first: s.head.ts,
                last: s.head.ts,
                messages: s.data_count,
                flow: s.head.flow,
                packet,
            });
            if state.batches.len() > MAX_BATCHES {
                state.batches.remove(0);
            }
        }
        judge(&self.settings, host, (state, card), context);
    }

    fn sentence(e: &Evidence) -> String {
        format!("sent {} batches of spam, each after an update", tally(e.value))
    }
}

fn judge(settings: &Settings, host: IpAddr, (state, card): (&mut Host, &Card), context: &mut Context<'_>) {
    let mut updates: Vec<Timestamp> = ["same_remote_chain", "module_download"]
        .iter()
        .flat_map(|b| card.fired.events(b))
        .map(|(start, _)| start)
        .collect();
    updates.sort_unstable();
    let mut before: Option<Timestamp> = None;
    let mut cycles: Vec<&Batch> = Vec::new();
    for batch in state.batches.iter().filter(|b| b.messages >= settings.messages) {
        let earliest =
            before.unwrap_or(batch.first.minus(settings.pause)).min(batch.first.minus(settings.pause));
        if updates.iter().any(|u| *u >= earliest && *u <= batch.first) {
            cycles.push(batch);
        }
        before = Some(batch.last);
    }
    if cycles.len() < settings.cycles {
        if !state.batches.is_empty() {
            context.near(
                host,
                cycles.len() as f64,
                settings.cycles as f64,
                "batches of spam with an update before",
            );
        }
        return;
    }
    if cycles.len() <= state.reported {
        return;
    }
    state.reported = cycles.len();
    let fire = Fire {
        host,
        key: "cycle".into(),
        grades: vec![if cycles.len() >= 3 { ("three_cycles", 1) } else { ("two_cycles", 1) }],
        started: cycles[0].first,
        value: cycles.len() as f64,
        threshold: settings.cycles as f64,
        unit: "batches of spam with an update before",
        source: "field study 2008: batches with an update between",
        packets: cycles.iter().map(|b| b.packet).collect(),
        flows: cycles.iter().map(|b| b.flow).collect(),
        remotes: vec![],
        facts: vec![("messages", cycles.iter().map(|b| b.messages.to_string()).collect::<Vec<_>>().into())],
    };
    context.fire(fire);
}

crate::held!(Batch);
crate::held!(Host: batches);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = 0;
        // The last may go on.
        let before = self.batches.len().saturating_sub(1);
        self.batches.drain(..before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::Stage;

    fn run(updates: &[f64], batches: &[f64], sessions: u32) -> Bench {
        let mut b = Bench::new("spam_update_cycle", Watcher::new(Settings::default()));
        for u in updates {
            b.fired(Stage::Update, "same_remote_chain", *u, *u + 1.0);
        }
        for start in batches {
            for i in 0..sessions {
                let t = start + 10.0 * f64::from(i);
                b.feed(Record::Smtp(Box::new(smtp(t, REMOTE))), t);
            }
        }
        b
    }

    #[test]
    fn two_cycles_fire_and_one_does_not() {
        assert!(run(&[900.0], &[1000.0], 6).evidence.is_empty());
        assert_eq!(run(&[900.0, 1500.0], &[1000.0, 2000.0], 6).grades(), ["two_cycles"]);
        assert_eq!(run(&[900.0, 1500.0, 2500.0], &[1000.0, 2000.0, 3000.0], 6).grades(), ["three_cycles"]);
    }

    #[test]
    fn a_mail_server_without_updates_has_no_cycle() {
        assert!(run(&[], &[1000.0, 2000.0, 3000.0], 6).evidence.is_empty());
    }

    #[test]
    fn the_edges() {
        assert!(
            run(&[900.0, 1500.0], &[1000.0, 2000.0], 4).evidence.is_empty(),
            "four messages are no batch"
        );
        assert!(
            run(&[699.0, 1500.0], &[1000.0, 2000.0], 6).evidence.is_empty(),
            "301 s before the first batch"
        );
        assert!(
            !run(&[700.0, 1500.0], &[1000.0, 2000.0], 6).evidence.is_empty(),
            "300 s before the first batch"
        );
        assert!(run(&[900.0, 1200.0], &[1000.0, 1340.0], 6).evidence.is_empty(), "290 s apart is one batch");
        assert!(!run(&[900.0, 1200.0], &[1000.0, 1350.0], 6).evidence.is_empty(), "300 s apart are two");
    }
}
