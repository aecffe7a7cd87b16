use std::collections::BTreeMap;
use std::sync::OnceLock;

use behaviour::{CATALOGUE, Entry, GradeWorth, entry};
use record::{Evidence, Stage};
use serde::{Deserialize, Serialize};

/// The part of the money that each stage's bet takes (DETECTION §1).
pub const STAKE: f64 = 0.2;

/// How often a grade fired, as the evaluation counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Clean host-days.
    pub clean: u64,
    /// Infected hosts.
    pub bots: u64,
}

/// What the evaluation measured, and on what: `calibration.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The corpus.
    pub corpus: String,
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// The version that was measured.
    pub version: String,
    /// Host-days and hosts looked at.
    pub of: Counts,
    /// By behaviour and grade; what is missing never fired.
    pub behaviour: BTreeMap<String, BTreeMap<String, Counts>>,
}

impl Measured {
    /// How often a grade of a behaviour fired.
    pub fn counts(&self, behaviour: &str, grade: &str) -> Counts {
        self.behaviour.get(behaviour).and_then(|g| g.get(grade)).copied().unwrap_or_default()
    }
}

/// Clean host-days from which on a measurement replaces an assumption (DETECTION §1).
pub const ENOUGH: u64 = 1000;

/// The upper (`0.95`) or lower (`0.05`) one-sided bound of a rate of which `n` of `of` were seen (Clopper and Pearson 1934).
pub fn clopper_pearson(n: u64, of: u64, confidence: f64) -> f64 {
    if of == 0 {
        return if confidence > 0.5 { 1.0 } else { 0.0 };
    }
    let (n, of, upper) = (n.min(of), of, confidence > 0.5);
    if (upper && n == of) || (!upper && n == 0) {
        return if upper { 1.0 } else { 0.0 };
    }
    // P(X <= k) for X of `of` trials at rate p.
    let below = |k: u64, p: f64| {
        let (mut log, mut sum) = (of as f64 * (1.0 - p).ln(), 0.0);
        for i in 0..=k {
            sum += log.exp();
            log += ((of - i) as f64 / (i + 1) as f64).ln() + (p / (1.0 - p)).ln();
        }
        sum
    };
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..60 {
        let mid = f64::midpoint(low, high);
        let too_low =
            if upper { below(n, mid) > 1.0 - confidence } else { 1.0 - below(n - 1, mid) < confidence };
        if too_low { low = mid } else { high = mid }
    }
    f64::midpoint(low, high)
}

/// What is lost where nothing fired, and the most that a stage may bring, in decibans (DETECTION §4).
const CAPS: [(Stage, f64); 7] = [
    (Stage::Probe, 20.0),
    (Stage::Rendezvous, 13.0),
    (Stage::Command, 20.0),
    (Stage::Update, 26.0),
    (Stage::Act, 30.0),
    (Stage::Cycle, 13.0),
    (Stage::Order, 9.0),
];

/// What every behaviour says that its grades are worth, bound by what `calibration.toml` measured, which is read at build time.
#[derive(Clone, Debug)]
pub struct Calibration {
    measured: Measured,
    /// By behaviour.
    grades: BTreeMap<&'static str, Vec<GradeWorth>>,
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
        BUILT_IN.get_or_init(|| Self::read(include_str!("../calibration.toml")))
    }

    /// The file is part of the program and a test reads it: if it does not parse, nothing was measured.
    fn read(measured: &str) -> Self {
        let sorted = |entry: &Entry| {
            let mut grades = entry.about.grades.to_vec();
            grades.sort_by_key(|g| g.name);
            (entry.name, grades)
        };
        let grades = CATALOGUE.iter().map(sorted).collect();
        let mut made = Self { measured: toml::from_str(measured).unwrap_or_default(), grades };
        if made.measured.of.clean >= ENOUGH {
            made.bind();
        }
        made
    }

    /// No base pays more than the measured upper bound of its rate allows.
    fn bind(&mut self) {
        for (name, grades) in &mut self.grades {
            let share = entry(name).map_or(1.0, |e| e.share);
            for worth in grades.iter_mut().filter(|g| g.base) {
                let counts = self.measured.counts(name, worth.name);
                let p0 = clopper_pearson(counts.clean, self.measured.of.clean, 0.95);
                let fair = 10.0 * (1.0 - STAKE + STAKE * share / p0).log10();
                worth.db = worth.db.min(fair);
            }
        }
    }

    /// Where the values come from: `assumed`, or the corpus and date of what was measured.
    pub fn source(&self) -> String {
        let m = &self.measured;
        if m.of.clean >= ENOUGH {
            format!("at most what {} clean host-days allow ({}, {})", m.of.clean, m.corpus, m.date)
        } else {
            "assumed".to_owned()
        }
    }

    /// What the evaluation measured.
    pub const fn measured(&self) -> &Measured {
        &self.measured
    }

    /// The cap of a stage in decibans.
    pub fn cap(&self, stage: Stage) -> f64 {
        CAPS.iter().find(|(s, _)| *s == stage).map_or(0.0, |(_, cap)| *cap)
    }

    /// The grades of a behaviour with their payoffs, by name.
    pub fn grades(&self, behaviour: &str) -> &[GradeWorth] {
        self.grades.get(behaviour).map_or(&[], Vec::as_slice)
    }

    /// How often a clean host may reach `db` in a day: `0.2 · share / (10^(db/10) − 0.8)`.
    pub fn p0(&self, behaviour: &str, db: f64) -> f64 {
        let share = entry(behaviour).map_or(1.0, |e| e.share);
        (STAKE * share / gain(db).max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// What evidence is worth.
    pub fn payoff(&self, evidence: &Evidence) -> Payoff {
        let mut payoff = Payoff { cap: self.cap(evidence.stage), ..Payoff::default() };
        let of = self.grades(&evidence.behaviour);
        for grade in &evidence.grades {
            let Some(worth) = of.iter().find(|w| w.name == grade.name) else { continue };
            let each = worth.db * f64::from(grade.times);
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

    #[test]
    fn every_behaviour_is_calibrated_and_the_shares_sum_to_one() {
        let calibration = Calibration::built_in();
        assert_eq!(calibration.source() == "assumed", calibration.measured().of.clean < ENOUGH);
        assert!(!calibration.measured().date.is_empty(), "calibration.toml parses");
        for stage in Stage::ALL {
            let sum: f64 = CATALOGUE.iter().filter(|b| b.about.stage == stage).map(|b| b.share).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{stage}: {sum}");
            assert!(calibration.cap(stage) > 0.0);
        }
        assert!(CATALOGUE.iter().all(|b| !calibration.grades(b.name).is_empty()));
    }

    #[test]
    fn bounds_of_a_rate() {
        // n = 0: 1 − 0.05^(1/N), about 3/N.
        for of in [10u64, 100, 1000] {
            let exact = 1.0 - 0.05f64.powf(1.0 / of as f64);
            assert!((clopper_pearson(0, of, 0.95) - exact).abs() < 1e-9, "{of}");
            assert!(clopper_pearson(0, of, 0.05).abs() < 1e-12);
        }
        // Tables: 5 of 50, one-sided 95 %: 0.0402 to 0.1990.
        assert!((clopper_pearson(5, 50, 0.95) - 0.1990).abs() < 5e-4, "{}", clopper_pearson(5, 50, 0.95));
        assert!((clopper_pearson(5, 50, 0.05) - 0.0402).abs() < 5e-4, "{}", clopper_pearson(5, 50, 0.05));
        assert!((clopper_pearson(50, 50, 0.95) - 1.0).abs() < 1e-12);
        assert!((clopper_pearson(0, 0, 0.95) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn enough_measurement_binds_what_is_assumed() {
        let measured = |clean: u64| {
            format!(
                "corpus = \"x\"\ndate = \"2026-01-01\"\nversion = \"0\"\nof = {{ clean = {clean}, bots = 0 }}\n\
                 [behaviour.smtp_probe]\nattempts = {{ clean = 40, bots = 0 }}"
            )
        };
        let db = |c: &Calibration, b: &str, g: &str| c.grades(b).iter().find(|w| w.name == g).unwrap().db;
        let few = Calibration::read(&measured(ENOUGH - 1));
        let many = Calibration::read(&measured(ENOUGH));
        assert!((db(&few, "smtp_probe", "attempts") - 11.0).abs() < 1e-9);
        assert_eq!(few.source(), "assumed");
        assert!(db(&many, "smtp_probe", "attempts") < 5.0, "40 of 1,000 clean host-days do it");
        assert!(many.source().contains("1000"));
        assert!((db(&many, "port_imposter", "imposter") - 3.0).abs() < 1e-9, "never more than assumed");
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
            for b in CATALOGUE.iter().filter(|b| b.about.stage == stage) {
                let bases = calibration.grades(b.name).iter().filter(|g| g.base);
                let best = bases.map(|g| g.db).fold(0.0, f64::max);
                mean += gain(best) * calibration.p0(b.name, best);
            }
            assert!(mean <= 1.0 + 1e-9, "{stage}: {mean}");
        }
    }
}
