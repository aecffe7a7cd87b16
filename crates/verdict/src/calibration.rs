use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use behaviour::{CATALOGUE, Entry, GradeWorth};
use record::{Evidence, Stage};
use serde::{Deserialize, Serialize};

/// The part of the money that each stage's bet takes (DETECTION §1).
pub const STAKE: f64 = 0.2;

/// How often a grade fired, as the evaluation counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Clean host-days, weighed: a network counts for at most [`NETWORK_DAYS`].
    pub clean: f64,
    /// Infected hosts.
    pub bots: u64,
}

/// How often a behaviour could have fired, and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exposure {
    /// Clean host-days with traffic in which it could have fired, weighed as [`Counts::clean`].
    pub days: f64,
    /// Networks that they are of.
    pub networks: u64,
    /// By grade; what is missing never fired.
    #[serde(default)]
    pub grade: BTreeMap<String, Counts>,
}

/// What the evaluation measured, and on what: `calibration.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The corpus.
    pub corpus: String,
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// The version that was measured.
    pub version: String,
    /// Clean host-days looked at, and the networks that they are of.
    pub days: u64,
    /// See `days`.
    pub networks: u64,
    /// Infected hosts looked at.
    pub bots: u64,
    /// By behaviour.
    pub behaviour: BTreeMap<String, Exposure>,
}

impl Measured {
    /// How often a grade of a behaviour fired.
    pub fn counts(&self, behaviour: &str, grade: &str) -> Counts {
        self.behaviour.get(behaviour).and_then(|b| b.grade.get(grade)).copied().unwrap_or_default()
    }

    /// Weighed clean host-days on which a behaviour could have fired.
    pub fn days(&self, behaviour: &str) -> f64 {
        self.behaviour.get(behaviour).map_or(0.0, |b| b.days)
    }
}

/// Exposed clean host-days from which on a rate is called measured, no longer assumed (DETECTION §1).
pub const ENOUGH: f64 = 1000.0;
/// Host-days that one network counts for at most: hosts of one network do alike (DETECTION §1).
pub const NETWORK_DAYS: f64 = 20.0;

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

/// What every behaviour says that its grades are worth, bent by what `calibration.toml` measured, which is read at build time.
#[derive(Clone, Debug)]
pub struct Calibration {
    measured: Measured,
    /// By behaviour, by name.
    grades: BTreeMap<&'static str, Vec<GradeWorth>>,
    /// The part of its stage's bet that each bet of a behaviour has.
    stakes: BTreeMap<&'static str, f64>,
    /// The file of the user's that gave some of the payoffs.
    given: Option<String>,
}

static IN_USE: RwLock<Option<&'static Calibration>> = RwLock::new(None);

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
    /// The calibration in use: the one that was built in, unless another was put in its place.
    pub fn in_use() -> &'static Self {
        if let Some(calibration) = *IN_USE.read().unwrap_or_else(PoisonError::into_inner) {
            return calibration;
        }
        let mut in_use = IN_USE.write().unwrap_or_else(PoisonError::into_inner);
        in_use.get_or_insert_with(|| Box::leak(Box::new(Self::built_in())))
    }

    /// The calibration that was built in. The file is part of the program and a test reads it: if it does not parse, nothing was measured.
    pub fn built_in() -> Self {
        Self::of(toml::from_str(include_str!("../calibration.toml")).unwrap_or_default())
    }

    /// One that rests on other measurements.
    pub fn of(measured: Measured) -> Self {
        let sorted = |entry: &Entry| {
            let mut grades = entry.about.grades.to_vec();
            grades.sort_by_key(|g| g.name);
            (entry.name, grades)
        };
        let stake = |entry: &Entry| (entry.name, entry.share / entry.about.bets() as f64);
        Self {
            measured,
            grades: CATALOGUE.iter().map(sorted).collect(),
            stakes: CATALOGUE.iter().map(stake).collect(),
            given: None,
        }
    }

    /// The same with payoffs that the user gives: TOML with a table per behaviour, in it decibans by grade.
    ///
    /// # Errors
    /// It is no such file, or names a behaviour or grade that does not exist, or gives what is no payoff.
    pub fn giving(mut self, name: &str, text: &str) -> Result<Self, String> {
        let given: BTreeMap<String, BTreeMap<String, f64>> =
            toml::from_str(text).map_err(|e| format!("{name}: {e}"))?;
        for (behaviour, grades) in given {
            let Some(of) = self.grades.get_mut(behaviour.as_str()) else {
                return Err(format!(
                    "{name}: no behaviour is called {behaviour:?}; `hydrophone behaviours` lists them"
                ));
            };
            for (grade, db) in grades {
                let Some(worth) = of.iter_mut().find(|w| w.name == grade) else {
                    let known: Vec<&str> = of.iter().map(|w| w.name).collect();
                    return Err(format!(
                        "{name}: {behaviour} has no grade {grade:?}; it has {}",
                        known.join(", ")
                    ));
                };
                if !(0.0..=MOST_DB).contains(&db) {
                    return Err(format!("{name}: {behaviour}.{grade} = {db}: a payoff is 0 to {MOST_DB} dB"));
                }
                worth.db = db;
            }
        }
        self.given = Some(name.to_owned());
        Ok(self)
    }

    /// Puts this calibration in use, in the place of another if there is one: what fires, and what is added up, from now on has its payoffs. It is kept for as long as the
    /// program runs (some 20 kB), since whoever is adding up may still look at it.
    pub fn put_in_use(self) {
        *IN_USE.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::leak(Box::new(self)));
    }

    /// Where the values come from.
    pub fn source(&self) -> String {
        let m = &self.measured;
        let given = self.given.as_ref().map(|f| format!("given in {f}, else ")).unwrap_or_default();
        format!(
            "{given}assumed, lowered where {} clean host-days of {} networks showed more ({}, {})",
            m.days, m.networks, m.corpus, m.date
        )
    }

    /// Where the rate of a behaviour comes from.
    pub fn source_of(&self, behaviour: &str) -> String {
        let (days, networks) =
            self.measured.behaviour.get(behaviour).map_or((0.0, 0), |b| (b.days, b.networks));
        let how = if days >= ENOUGH { "measured" } else { "assumed" };
        format!("{how}; seen on {days:.0} exposed clean host-days of {networks} networks")
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

    fn stake(&self, behaviour: &str) -> f64 {
        self.stakes.get(behaviour).copied().unwrap_or(1.0)
    }

    /// How often a clean host may reach `db` in a day, if all bets of its behaviour are to be fair: `0.2 · share / bets / (10^(db/10) − 0.8)`.
    pub fn p0(&self, behaviour: &str, db: f64) -> f64 {
        (STAKE * self.stake(behaviour) / gain(db).max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// What a grade pays that is assumed to bring its item to `db`, bent by how often it was seen.
    pub fn bent(&self, behaviour: &str, grade: &str, db: f64) -> f64 {
        self.bend(behaviour, self.measured.counts(behaviour, grade).clean, db)
    }

    /// What is assumed to pay `db` and was seen on `n` exposed clean host-days: the assumed rate counts as one event, and what was seen
    /// bends it, `P0 = max(P0, (n + 1) / (N + 1/P0))`. A payoff can only fall.
    fn bend(&self, behaviour: &str, n: f64, db: f64) -> f64 {
        if n == 0.0 || db <= 0.0 {
            return db;
        }
        let assumed = self.p0(behaviour, db);
        let p0 = assumed.max((n + 1.0) / (self.measured.days(behaviour) + 1.0 / assumed)).min(1.0);
        10.0 * (1.0 - STAKE + STAKE * self.stake(behaviour) / p0).log10()
    }

    /// What evidence is worth: its base and what adds to it, together bent by how often the rarest of them was seen on clean hosts, because all
    /// of them at once were seen no more often than that.
    pub fn payoff(&self, evidence: &Evidence) -> Payoff {
        let mut payoff = Payoff { cap: self.cap(evidence.stage), ..Payoff::default() };
        let of = self.grades(&evidence.behaviour);
        let mut rarest = f64::INFINITY;
        for grade in &evidence.grades {
            let Some(worth) = of.iter().find(|w| w.name == grade.name) else { continue };
            let each = worth.db * f64::from(grade.times);
            let brought = worth.most.map_or(each, |most| each.min(most));
            payoff.db += brought;
            payoff.parts.push((grade.name.to_string(), brought));
            payoff.cap = payoff.cap.max(worth.cap.unwrap_or(0.0));
            rarest = rarest.min(self.measured.counts(&evidence.behaviour, worth.name).clean);
        }
        let bent = self.bend(&evidence.behaviour, rarest, payoff.db);
        // What is lost is the base's.
        if let Some((_, base)) = payoff.parts.first_mut() {
            *base += bent - payoff.db;
        }
        payoff.db = bent;
        payoff.p0 = self.p0(&evidence.behaviour, payoff.db);
        payoff
    }
}

/// The most that a payoff may be given as, in decibans: the strongest built-in cap.
const MOST_DB: f64 = 52.0;

/// What a payoff of `db` adds to the stage's `e` beyond the 0.8 that was not staked.
pub fn gain(db: f64) -> f64 {
    (10f64.powf(db / 10.0) - (1.0 - STAKE)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Grade;

    #[test]
    fn every_behaviour_is_calibrated_and_no_stage_bets_more_than_its_stake() {
        let calibration = Calibration::built_in();
        assert!(!calibration.measured().date.is_empty(), "calibration.toml parses");
        for stage in Stage::ALL {
            let sum: f64 = CATALOGUE.iter().filter(|b| b.about.stage == stage).map(|b| b.share).sum();
            assert!(sum > 0.5 && sum <= 1.0 + 1e-9, "{stage}: {sum}");
            assert!(calibration.cap(stage) > 0.0);
        }
        assert!(CATALOGUE.iter().all(|b| !calibration.grades(b.name).is_empty()));
        let known = |(b, m): (&String, &Exposure)| {
            let of = calibration.grades(b);
            m.grade.keys().all(|g| of.iter().any(|w| w.name == g))
        };
        assert!(calibration.measured().behaviour.iter().all(known), "what was measured is still there");
    }

    /// Every bet of a behaviour: each base under its key, and under each key whatever adds to its strongest base.
    fn bets(b: &Entry, calibration: &Calibration) -> Vec<f64> {
        let grades = calibration.grades(b.name);
        let of = |w: &GradeWorth, base: f64| {
            let db = base + w.most.unwrap_or(w.db);
            calibration.bent(b.name, w.name, db)
        };
        let mut all = Vec::new();
        let mut keys: Vec<&str> = grades.iter().filter(|g| g.base).map(|g| g.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let bases: Vec<&GradeWorth> = grades.iter().filter(|g| g.base && g.key == key).collect();
            let strongest = bases.iter().map(|g| g.db).fold(0.0, f64::max);
            all.extend(bases.iter().map(|g| of(g, 0.0)));
            let adds = grades.iter().filter(|g| !g.base && (g.key.is_empty() || g.key == key));
            all.extend(adds.map(|g| of(g, strongest)));
        }
        all
    }

    #[test]
    fn a_clean_host_does_not_win_whatever_it_does_at_the_rates_that_the_payoffs_stand_for() {
        // E[e] = 0.8 + Σ gain·P0 ≤ 1, every bet of every behaviour of a stage firing exactly at its P0; of bets that exclude each other the best.
        let plain = Calibration::of(Measured::default());
        for calibration in [plain, Calibration::built_in()] {
            for stage in Stage::ALL {
                let mut mean = 1.0 - STAKE;
                for b in CATALOGUE.iter().filter(|b| b.about.stage == stage) {
                    let each =
                        bets(b, &calibration).into_iter().map(|db| gain(db) * calibration.p0(b.name, db));
                    mean += if b.about.exclusive { each.fold(0.0, f64::max) } else { each.sum() };
                }
                assert!(mean <= 1.0 + 1e-9, "{stage}: {mean}");
                assert!(mean > 0.9, "{stage}: {mean} leaves the stake unused");
            }
        }
    }

    #[test]
    fn each_bet_alone_brings_what_it_pays() {
        let calibration = Calibration::of(Measured::default());
        for b in CATALOGUE {
            assert!(bets(b, &calibration).len() >= b.about.bets(), "{}", b.name);
            for w in b.about.grades.iter().filter(|w| w.base && w.db > 0.0) {
                let e: f64 = 1.0 - STAKE + STAKE * calibration.stake(b.name) / calibration.p0(b.name, w.db);
                assert!((10.0 * e.log10() - w.db).abs() < 1e-9, "{}/{}", b.name, w.name);
            }
        }
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

    fn measured(n: f64, days: f64) -> Calibration {
        let grade = BTreeMap::from([("attempts".to_owned(), Counts { clean: n, bots: 0 })]);
        let exposure = Exposure { days, networks: 9, grade };
        let behaviour = BTreeMap::from([("smtp_probe".to_owned(), exposure)]);
        Calibration::of(Measured { behaviour, ..Measured::default() })
    }

    #[test]
    fn what_was_seen_bends_what_is_assumed_smoothly_and_only_down() {
        let bent = |n: f64, days: f64| measured(n, days).bent("smtp_probe", "attempts", 11.0);
        assert!((bent(0.0, 5000.0) - 11.0).abs() < 1e-9, "never seen: as assumed");
        assert!(
            bent(1.0, 100.0) < 9.0 && bent(1.0, 100.0) > 8.0,
            "one event beside the assumed one: about half"
        );
        assert!(bent(2.0, 100.0) < bent(1.0, 100.0));
        assert!((bent(0.01, 100.0) - 11.0).abs() < 0.1, "no cliff");
        assert!((bent(1.0, 999.0) - bent(1.0, 1001.0)).abs() < 0.01, "nor at 1,000");
        assert!(bent(1.0, 1e9) <= 11.0, "never more than assumed");
        assert!(bent(1000.0, 1000.0) < 0.0, "what everybody does is worth nothing");
    }

    #[test]
    fn adds_are_bound_with_their_base() {
        let evidence = |grades: &[&'static str]| Evidence {
            grades: grades.iter().map(|g| Grade { name: (*g).into(), times: 1 }).collect(),
            ..crate::ledger::tests::evidence(Stage::Probe, "smtp_probe", "probe", &[], 1)
        };
        let seen = |counts: &[(&str, f64)]| {
            let count = |(g, n): &(&str, f64)| ((*g).to_owned(), Counts { clean: *n, bots: 0 });
            let exposure = Exposure { days: 100.0, networks: 9, grade: counts.iter().map(count).collect() };
            let behaviour = BTreeMap::from([("smtp_probe".to_owned(), exposure)]);
            Calibration::of(Measured { behaviour, ..Measured::default() })
        };
        let c = seen(&[("attempts", 5.0)]);
        let (base, both) =
            (c.payoff(&evidence(&["attempts"])), c.payoff(&evidence(&["attempts", "known_target"])));
        assert!(base.db < 5.0, "{base:?}");
        assert!((both.db - 20.0).abs() < 1e-9, "both were never seen: {both:?}");
        let c = seen(&[("attempts", 5.0), ("known_target", 5.0)]);
        let both = c.payoff(&evidence(&["attempts", "known_target"]));
        assert!(both.db > 10.0 && both.db < 14.0, "{both:?}");
        let sum: f64 = both.parts.iter().map(|p| p.1).sum();
        assert!((sum - both.db).abs() < 1e-9, "what is shown adds up");
    }

    #[test]
    fn payoffs_can_be_given_and_a_broken_file_is_an_error() {
        let given = |text: &str| Calibration::built_in().giving("mine.toml", text);
        let ok = given("[http_control]\ngate = 5.5").unwrap();
        let db = ok.grades("http_control").iter().find(|w| w.name == "gate").unwrap().db;
        assert!((db - 5.5).abs() < 1e-9 && ok.source().contains("given in mine.toml"));
        for (text, told) in [
            ("[http_controll]\ngate = 5", "http_controll"),
            ("[http_control]\ngait = 5", "gate, "),
            ("[http_control]\ngate = 99", "0 to 52"),
            ("[http_control]\ngate = nan", "0 to 52"),
            ("[http_control\ngate = 5", "mine.toml"),
        ] {
            let err = given(text).unwrap_err();
            assert!(err.contains(told) && err.contains("mine.toml"), "{err}");
        }
    }
}
