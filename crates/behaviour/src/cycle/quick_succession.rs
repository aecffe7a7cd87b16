//! ## What it sees
//! Stages of different kinds begin within minutes of each other.
//!
//! ## Why it matters
//! On a bot one thing leads to another: what was fetched runs, calls home and begins to act (ATT&CK T1104). On a clean host two rare things of
//! one day lie hours apart.
//!
//! ## How it decides
//! Two of the stages probe, rendezvous, command, update and act begin, not with one and the same packet or flow, within 10 minutes of each other (*two_stages*), or three (*three_stages*). If two
//! unrelated things happen in one day of activity, they lie within ten minutes of each other with a probability of 20/1440, or 1.4 %. *telling* is added where two of them, the probe aside, tell by themselves: evidence
//! of each, of its own flows, within ten minutes, brings 9 dB as it was measured, the two are not about servers of one registered name (a maker's program that updates itself and reports), an act is about another remote than what it comes with, nothing excuses it (a remote that many use, an application that explains it), and the later one does not come behind the earlier by its definition (a module, behind a command).
//!
//! ## What else looks like this
//! Nothing by itself: it adds to what other behaviours saw. Things with a common cause, as an installer that reports and fetches, do come together, so that
//! the payoff is far below what the probability would allow. Monitors and mail servers probe and act at once, which is why a probe does not count for *telling*, and what passes mail on for others is discounted.
//!
//! ## Blind spots
//! A bot that waits between its steps.
//!
//! ## Options
//! `window` (10m).
//!
//! ## References
//! ATT&CK T1104; G. Gu et al., "BotHunter", USENIX Security 2007.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use record::{Evidence, Record, Role, Stage, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    About, Began, Behaviour, Context, Excuse, Fire, GradeWorth, HostState, MAIL, States, Wants, domains,
};

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How close the stages begin (*assumed*).
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: Duration::from_mins(10) }
    }
}

/// Stages that were reported together.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    /// How many, and whether two of them tell by themselves.
    reported: (usize, bool),
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

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        excuses: &[
            // What different hosts do says nothing about one of them.
            Excuse::Role(&[Role::Nat], 0.5),
            // To knock at mail servers that do not answer, to ask for others, and to hand mail over is one trade.
            Excuse::Role(MAIL, 0.2),
        ],
        ..About::new(
            Stage::Cycle,
            &["T1104"],
            &[
                GradeWorth::base("two_stages", 4.0),
                GradeWorth::base("three_stages", 8.0),
                GradeWorth::add("telling", 6.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::STAGES
    }

    fn observe(&self, _: &Record, _: &mut States<'_, Host>, _: &mut Context<'_>) {}

    fn stirred(&self, host: IpAddr, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (state, card) = states.open(host, context.now);
        let stages: Vec<(Stage, Timestamp)> =
            card.fired.story(context.now).into_iter().map(|b| (b.stage, b.ts)).collect();
        let tells = card.fired.telling(context.now);
        let tells: Vec<_> = tells.iter().filter(|b| b.stage != Stage::Probe).collect();
        // That somebody comes behind another by the definition of what fired tells nothing, and neither does what a host does with one maker's servers, or twice with one remote.
        let makers = |began: &Began| -> BTreeSet<String> {
            let names = began.remotes.iter().filter_map(|r| context.network.name_of(*r, context.now));
            names
                .filter(|name| !domains::is_dynamic(name))
                .filter_map(|name| Some(domains::registrable(name)?.to_owned()))
                .collect()
        };
        let soon = |first: &Began, then: &Began| {
            let acts = first.stage == Stage::Act || then.stage == Stage::Act;
            let one_remote = acts && first.remotes.iter().any(|r| then.remotes.contains(r));
            then.ts.since(first.ts) <= self.settings.window
                && !then.follows.contains(&first.stage)
                && !one_remote
                && makers(first).is_disjoint(&makers(then))
        };
        let telling = (1..tells.len()).any(|n| tells[..n].iter().any(|first| soon(first, tells[n])));
        // The most stages that begin within one window.
        let within = |from: usize| {
            stages[from..].iter().take_while(|s| s.1.since(stages[from].1) <= self.settings.window).count()
        };
        let Some((from, count)) =
            (0..stages.len()).map(|i| (i, within(i))).max_by_key(|(i, n)| (*n, usize::MAX - i))
        else {
            return;
        };
        if count < 2 {
            if stages.len() > 1 {
                context.near(host, 1.0, 2.0, "stages within ten minutes");
            }
            return;
        }
        let together = &stages[from..from + count];
        if state.reported >= (count, telling) {
            return;
        }
        state.reported = (count, telling);
        let mut grades = vec![(if count > 2 { "three_stages" } else { "two_stages" }, 1)];
        if telling {
            grades.push(("telling", 1));
        }
        let names: Vec<String> = together.iter().map(|s| s.0.name().to_owned()).collect();
        let span = together.last().map_or(0.0, |l| l.1.since(together[0].1).as_secs_f64());
        context.fire(Fire {
            host,
            key: "together".into(),
            grades,
            started: together.last().map_or(together[0].1, |l| l.1),
            value: count as f64,
            threshold: 2.0,
            unit: "stages within ten minutes",
            source: "assumed",
            packets: vec![],
            flows: vec![],
            remotes: vec![],
            facts: vec![("stages", names.into()), ("seconds", span.into())],
        });
    }

    fn sentence(e: &Evidence) -> String {
        let stages = match e.list("stages") {
            [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
            all => all.join(", "),
        };
        format!("{stages} began within {:.0} s of each other", e.number("seconds"))
    }
}

crate::held!(Host);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn run(stages: &[(Stage, f64)]) -> Vec<String> {
        let mut b = Bench::new("quick_succession", Watcher::new(Settings::default()));
        for (stage, t) in stages {
            b.fired(*stage, "x", *t, *t);
            b.tick(*t);
        }
        b.grades()
    }

    #[test]
    fn stages_that_begin_together() {
        use Stage::{Act, Command, Update};
        assert_eq!(run(&[(Update, 1.0), (Command, 601.0)]), ["two_stages"]);
        assert_eq!(run(&[(Stage::Probe, 1.0), (Command, 601.0)]), ["two_stages"]);
        assert!(run(&[(Update, 1.0), (Command, 602.0)]).is_empty());
        assert_eq!(run(&[(Update, 1.0), (Command, 300.0), (Act, 600.0)]), ["three_stages"]);
        assert_eq!(run(&[(Update, 1.0), (Command, 300.0), (Act, 5000.0)]), ["two_stages"]);
    }

    #[test]
    fn stages_that_tell_by_themselves() {
        use Stage::{Command, Update};
        let run = |stages: &[(Stage, &'static str, &'static str, f64)]| {
            let mut b = Bench::new("quick_succession", Watcher::new(Settings::default()));
            for (stage, behaviour, grade, t) in stages {
                b.fired_as(*stage, behaviour, grade, *t, *t);
                b.tick(*t);
            }
            b.grades()
        };
        let (gate, fetched) = ((Command, "http_control", "gate"), (Update, "payload_download", "unbidden"));
        let at = |(stage, behaviour, grade), t| (stage, behaviour, grade, t);
        assert_eq!(run(&[at(fetched, 1.0), at(gate, 300.0)]), ["two_stages", "telling"]);
        assert_eq!(run(&[at(fetched, 1.0), (Command, "beacon", "steady", 300.0)]), ["two_stages"]);
        let probe = (Stage::Probe, "smtp_probe", "attempts", 300.0);
        assert_eq!(run(&[at(fetched, 1.0), probe]), ["two_stages"], "a probe is little");
    }

    #[test]
    fn one_stage_twice_and_one_flow_are_nothing() {
        use Stage::{Command, Update};
        assert!(run(&[(Command, 1.0), (Command, 2.0)]).is_empty());
        assert!(run(&[(Update, 1.0), (Command, 1.0)]).is_empty(), "two readings of one flow");
    }
}
