//! ## What it sees
//! The stages of a host came in the order in which a bot lives them.
//!
//! ## Why it matters
//! Clean coincidences come in any order. A bot tests its connection, finds its peers, is commanded, updated, and only then
//! acts (ATT&CK T1104).
//!
//! ## How it decides
//! First times of the k ≥ 3 stages seen within 24 h. Coincidences fall into the order probe < rendezvous < command <
//! update < act once in as many times as there are orders that the definitions of what fired leave open (k! where none needs another), so the bet in order pays `e = 0.8 + 0.2·n!`
//! for the largest n! that is no more than those; out of order it costs what every lost bet
//! costs. Below three stages, or six open orders, no bet is placed. Stages seen in one packet or flow count once.
//!
//! ## What else looks like this
//! Nothing: it adds to what other behaviours saw.
//!
//! ## Blind spots
//! A capture that begins after the first stages.
//!
//! ## Options
//! `stages` (3), `window` (1d).
//!
//! ## References
//! G. Gu et al., "BotHunter", USENIX Security 2007.

use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, Record, Role, Stage, Timestamp, tally};
use serde::{Deserialize, Serialize};

use crate::{About, Began, Behaviour, Context, Excuse, Fire, GradeWorth, HostState, States, Wants};

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Stages seen before a bet is placed, 3–5.
    pub stages: usize,
    /// The window of first times.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { stages: 3, window: Duration::from_hours(24) }
    }
}

/// Stages whose order was reported.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    reported: usize,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host of which something fired.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

/// In how many orders the stages could have come, as far as the definitions of what fired leave that open.
fn open_orders(story: &[&Began]) -> usize {
    fn count(story: &[&Began], used: u32) -> usize {
        let is_used = |i: usize| used >> i & 1 != 0;
        if (0..story.len()).all(is_used) {
            return 1;
        }
        let may_come = |i: usize| {
            let waits = |(j, other): (usize, &&Began)| !is_used(j) && story[i].follows.contains(&other.stage);
            !is_used(i) && !story.iter().enumerate().any(waits)
        };
        (0..story.len()).filter(|i| may_come(*i)).map(|i| count(story, used | 1 << i)).sum()
    }
    count(story, 0)
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        // Each is bet on alone, at the odds of its own orders.
        exclusive: true,
        excuses: &[
            // What different hosts do says nothing about one of them.
            Excuse::Role(&[Role::Nat], 0.5),
        ],
        ..About::new(
            Stage::Order,
            &["T1104"],
            &[
                GradeWorth::base("three_in_order", 3.0103),
                GradeWorth::base("four_in_order", 7.4819),
                GradeWorth::base("five_in_order", 13.9445),
                GradeWorth::base("out_of_order", -0.9691),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::STAGES
    }

    fn observe(&self, _: &Record, _: &mut States<'_, Host>, _: &mut Context<'_>) {}

    fn stirred(&self, host: IpAddr, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (state, card) = states.open(host, context.now);
        let mut story: Vec<&Began> = card.fired.story(context.now);
        let Some(newest) = story.last().map(|b| b.ts) else { return };
        story.retain(|b| newest.since(b.ts) <= self.settings.window);
        story.sort_by_key(|b| b.stage);
        let open = open_orders(&story);
        let stages: Vec<(Stage, Timestamp)> = story.iter().map(|b| (b.stage, b.ts)).collect();
        if stages.len() < self.settings.stages {
            if stages.len() > 1 {
                context.near(host, stages.len() as f64, self.settings.stages as f64, "stages in order");
            }
            return;
        }
        // The bet is as large as the orders that were open allow.
        let Some(grade) = [(120, "five_in_order"), (24, "four_in_order"), (6, "three_in_order")]
            .into_iter()
            .find_map(|(orders, grade)| (open >= orders).then_some(grade))
        else {
            return;
        };
        if stages.len() == state.reported {
            return;
        }
        state.reported = stages.len();
        // `stages` is sorted by the stages' order, so the times must rise too.
        let in_order = stages.is_sorted_by_key(|s| s.1);
        let grade = if in_order { grade } else { "out_of_order" };
        let names: Vec<String> = stages.iter().map(|s| s.0.name().to_owned()).collect();
        let started = stages.iter().map(|s| s.1).min().unwrap_or(newest);
        context.fire(Fire {
            host,
            key: "order".into(),
            grades: vec![(grade, 1)],
            started,
            value: stages.len() as f64,
            threshold: self.settings.stages as f64,
            unit: "stages",
            source: "k! orders of k stages",
            packets: vec![],
            flows: vec![],
            remotes: vec![],
            facts: vec![
                ("stages", names.into()),
                ("in_order", in_order.into()),
                ("open_orders", (open as u64).into()),
            ],
        });
    }

    fn sentence(e: &Evidence) -> String {
        let came = if e.flag("in_order") { "came" } else { "did not come" };
        format!("the {} stages {came} in the order in which a bot lives them", tally(e.value))
    }
}

crate::held!(Host: reported);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn run(stages: &[(Stage, f64)]) -> Bench {
        let mut b = Bench::new("story_order", Watcher::new(Settings::default()));
        for (stage, t) in stages {
            b.fired(*stage, "x", *t, *t);
            b.tick(*t);
        }
        b
    }

    #[test]
    fn three_in_order_win_the_bet_and_out_of_order_lose_it() {
        use Stage::{Act, Command, Probe, Rendezvous, Update};
        assert_eq!(run(&[(Probe, 1.0), (Command, 2.0), (Act, 3.0)]).grades(), ["three_in_order"]);
        assert_eq!(run(&[(Act, 1.0), (Command, 2.0), (Probe, 3.0)]).grades(), ["out_of_order"]);
        assert!(run(&[(Probe, 1.0), (Command, 2.0)]).evidence.is_empty());
        assert_eq!(
            run(&[(Probe, 1.0), (Rendezvous, 2.0), (Command, 3.0), (Update, 4.0), (Act, 5.0)]).grades(),
            ["five_in_order"]
        );
    }

    #[test]
    fn stages_a_day_apart_are_not_one_story() {
        use Stage::{Act, Command, Probe};
        assert!(run(&[(Probe, 1.0), (Command, 2.0), (Act, 86_403.0)]).evidence.is_empty());
        assert!(!run(&[(Probe, 3.0), (Command, 4.0), (Act, 86_403.0)]).evidence.is_empty());
    }
}
