use std::collections::BTreeMap;
use std::sync::OnceLock;

use record::{Evidence, Stage};
use serde::Deserialize;

/// The part of the money that each stage's bet takes (DETECTION §1).
pub const STAKE: f64 = 0.2;

/// What a grade is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradePayoff {
    /// Decibans that it alone brings its stage, if it is a base.
    pub db: Option<f64>,
    /// Decibans that it adds to its base, each time.
    pub add: Option<f64>,
    /// The most that its times may bring together.
    pub most: Option<f64>,
    /// The stage's cap when this grade fired, if it is another.
    pub cap: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct BehaviourPayoffs {
    share: f64,
    alone: Option<f64>,
    #[serde(flatten)]
    grades: BTreeMap<String, GradePayoff>,
}

#[derive(Clone, Debug, Deserialize)]
struct StageCap {
    cap: f64,
}

/// The payoffs, read from `calibration.toml` at build time.
#[derive(Clone, Debug, Deserialize)]
pub struct Calibration {
    source: String,
    stage: BTreeMap<String, StageCap>,
    behaviour: BTreeMap<String, BehaviourPayoffs>,
}

/// What a piece of evidence is worth, and how that came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payoff {
    /// Decibans that it alone would bring its stage.
    pub db: f64,
    /// Grade by grade.
    pub parts: Vec<(String, f64)>,
    /// The cap of its stage while it stands.
    pub cap: f64,
    /// How often a clean host may do it in a day, if the payoff is fair.
    pub p0: f64,
}

impl Calibration {
    /// The calibration that was built in.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Calibration> = OnceLock::new();
        // The file is part of the program and a test reads it: if it does not parse, nothing is worth anything.
        BUILT_IN.get_or_init(|| {
            toml::from_str(include_str!("../calibration.toml")).unwrap_or(Self {
                source: "unreadable".into(),
                stage: BTreeMap::new(),
                behaviour: BTreeMap::new(),
            })
        })
    }

    /// Where the values come from: `assumed`, or a corpus and date.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The cap of a stage in decibans.
    pub fn cap(&self, stage: Stage) -> f64 {
        self.stage.get(stage.name()).map_or(0.0, |s| s.cap)
    }

    /// The most that a stage may bring when only this behaviour fired in it.
    pub fn alone(&self, behaviour: &str) -> Option<f64> {
        self.behaviour.get(behaviour)?.alone
    }

    /// The grades of a behaviour with their payoffs.
    pub fn grades(&self, behaviour: &str) -> impl Iterator<Item = (&str, GradePayoff)> {
        self.behaviour.get(behaviour).into_iter().flat_map(|b| b.grades.iter().map(|(n, g)| (n.as_str(), *g)))
    }

    /// How often a clean host may reach `db` in a day: `0.2 · share / (10^(db/10) − 0.8)`.
    pub fn p0(&self, behaviour: &str, db: f64) -> f64 {
        let share = self.behaviour.get(behaviour).map_or(1.0, |b| b.share);
        (STAKE * share / gain(db).max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// What evidence is worth.
    pub fn payoff(&self, evidence: &Evidence) -> Payoff {
        let mut payoff = Payoff { cap: self.cap(evidence.stage), ..Payoff::default() };
        let Some(of) = self.behaviour.get(evidence.behaviour.as_ref()) else { return payoff };
        for grade in &evidence.grades {
            let Some(worth) = of.grades.get(grade.name.as_ref()) else { continue };
            let each = worth.db.or(worth.add).unwrap_or(0.0) * f64::from(grade.times);
            let brought = worth.most.map_or(each, |most| each.min(most));
            payoff.db += brought;
            payoff.parts.push((grade.name.to_string(), brought));
            payoff.cap = payoff.cap.max(worth.cap.unwrap_or(0.0));
        }
        payoff.p0 = self.p0(&evidence.behaviour, payoff.db);
        payoff
    }
}

/// What a payoff of `db` adds to the stage's `e` beyond the 0.8 that was not staked.
pub fn gain(db: f64) -> f64 {
    (10f64.powf(db / 10.0) - (1.0 - STAKE)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use behaviour::CATALOGUE;

    #[test]
    fn every_behaviour_is_calibrated_and_the_shares_sum_to_one() {
        let calibration = Calibration::built_in();
        assert_eq!(calibration.source(), "assumed");
        for stage in Stage::ALL {
            let sum: f64 = CATALOGUE
                .iter()
                .filter(|b| b.stage == stage)
                .map(|b| calibration.behaviour[b.name].share)
                .sum();
            assert!((sum - 1.0).abs() < 1e-9, "{stage}: {sum}");
            assert!(calibration.cap(stage) > 0.0);
        }
        assert_eq!(calibration.behaviour.len(), CATALOGUE.len());
    }

    #[test]
    fn an_item_alone_brings_its_payoff() {
        for db in [3.0, 11.0, 39.0] {
            let e: f64 = 1.0 - STAKE + gain(db);
            assert!((10.0 * e.log10() - db).abs() < 1e-9);
        }
    }

    #[test]
    fn a_fair_bet_costs_nothing_on_average() {
        // E[e] = 0.8 + Σ gain·P0 ≤ 1 for the grades of a stage fired at their P0.
        let calibration = Calibration::built_in();
        for stage in Stage::ALL {
            let mut mean = 1.0 - STAKE;
            for b in CATALOGUE.iter().filter(|b| b.stage == stage) {
                let best = calibration.grades(b.name).filter_map(|(_, g)| g.db).fold(0.0, f64::max);
                mean += gain(best) * calibration.p0(b.name, best);
            }
            assert!(mean <= 1.0 + 1e-9, "{stage}: {mean}");
        }
    }
}
