//! The money of one host: bets by stage and day.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use behaviour::{Excuse, HostState, are_other_requests, entry};
use record::{Evidence, FlowId, Stage, Timestamp};
use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, STAKE, gain};
use crate::prior::Prior;
use crate::roles::RoleSeen;
use crate::story::{DayLevel, Discount, Item, ScoredEvidence, StageScore, Verdict, WouldChange};

const DAY: Duration = Duration::from_hours(24);
/// A probe that nothing joins within this time is forgotten (DETECTION §2).
const PROBE_MEMORY: Duration = Duration::from_hours(2);
/// Exact generated names are remembered a week (DETECTION §2).
const NAME_MEMORY: Duration = Duration::from_hours(7 * 24);
/// What a host did on an earlier day is its habit for so long, and a verdict stands for so long after what it rests on was seen last.
const HABIT_MEMORY: Duration = Duration::from_hours(7 * 24);
/// Pieces of evidence kept of one host.
const MAX_EVIDENCE: usize = 256;
/// Days of the calendar of which a host's level is remembered: the last.
pub const CALENDAR_DAYS: usize = 400;
/// Changes of terms that are remembered: as many as evidence.
const MAX_TERMS: usize = MAX_EVIDENCE;
/// What a telling stage must bring, at least one of two (DETECTION §2).
const TELLING_DB: f64 = behaviour::Fired::TELLING_DB;

/// What counts of evidence whose flows are bet on in another stage already (*assumed*).
const SHARED: f64 = 0.3;

/// What counts of evidence whose remote is widely used (*assumed*).
const PREVALENT: f64 = 0.3;

type ItemKey = (Stage, Cow<'static, str>, Cow<'static, str>);

/// The state of the bets at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub at: Timestamp,
    pub verdict: Verdict,
    pub level_db: f64,
    pub carried_db: f64,
    /// What one believes of the host before looking, in decibans.
    pub prior_db: f64,
    /// The bets of the day.
    pub stages: BTreeMap<Stage, StageScore>,
    /// What the verdict remembers of each stage, whether or not a bet was placed on it today.
    pub memory: BTreeMap<Stage, StageScore>,
}

/// What a host did on an earlier day.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Habit {
    /// The most that it was worth, in decibans.
    db: f64,
    /// When it did so last.
    last: Timestamp,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    day: Option<Timestamp>,
    carried_db: f64,
    /// The strongest evidence of each key; those of the day before are kept for the verdict's memory, not for the level.
    items: BTreeMap<ItemKey, Evidence>,
    remembered: BTreeMap<ItemKey, Evidence>,
    /// What it did on earlier days: no bet is placed on that again.
    habits: BTreeMap<ItemKey, Habit>,
    evidence: Vec<Evidence>,
    suppressed: Vec<Evidence>,
    dropped: u64,
    /// The strongest state reached, while what it rests on is seen again and again; what that is, and when it was seen last.
    best: Option<Snapshot>,
    grounds: BTreeSet<ItemKey>,
    recurred: Timestamp,
    /// When the strongest state ended, if it did.
    ended: Option<(Verdict, Timestamp)>,
    reached: BTreeMap<Verdict, Timestamp>,
    /// Where it stood on each day on which something was told of it, in time order.
    calendar: Vec<DayLevel>,
    terms: Terms,
    /// The stages on which no bet was placed, since when: what they were at a time is what they were then.
    unplaced: Vec<(Timestamp, BTreeSet<Stage>)>,
}

/// On what terms is bet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// What one believes of the host before looking, in decibans.
    pub prior_db: f64,
    /// Stages in which nothing of the host could fire, on this day or in what is told of it: no bet is placed on their silence.
    pub unplaced: BTreeSet<Stage>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { prior_db: Prior::default().db(), unplaced: BTreeSet::new() }
    }
}

/// One decimal: what is shown adds up.
fn tenths(db: f64) -> f64 {
    (db * 10.0).round() / 10.0
}

impl Ledger {
    /// An empty one on these terms.
    pub fn on(terms: Terms) -> Self {
        Self { terms, ..Self::default() }
    }

    /// Says on what terms is bet from `now` on.
    pub fn set_terms(&mut self, terms: Terms, now: Timestamp) {
        self.terms = terms;
        if self.unplaced.last().is_none_or(|(_, stages)| *stages != self.terms.unplaced) {
            if self.unplaced.len() >= MAX_TERMS {
                self.unplaced.remove(0);
            }
            self.unplaced.push((now, self.terms.unplaced.clone()));
        }
    }

    /// On what terms was bet at a time.
    fn terms_at(&self, at: Timestamp) -> Terms {
        let then = self.unplaced.iter().rev().find(|(since, _)| *since <= at).or(self.unplaced.first());
        let unplaced = then.map(|(_, stages)| stages.clone()).unwrap_or_default();
        Terms { unplaced, ..self.terms }
    }

    /// An empty one on the same terms.
    fn anew(&self) -> Self {
        Self::on(self.terms.clone())
    }

    /// Takes evidence and settles the bets anew.
    pub fn add(&mut self, evidence: Evidence, first_seen: Timestamp, roles: &[RoleSeen]) {
        if evidence.expected.is_some() {
            if self.suppressed.len() < MAX_EVIDENCE {
                self.suppressed.push(evidence);
            } else {
                self.dropped += 1;
            }
            return;
        }
        let now = evidence.ts;
        self.advance(first_seen, now, roles);
        let key = (evidence.stage, evidence.behaviour.clone(), evidence.key.clone());
        let calibration = Calibration::in_use();
        let worth = |e: &Evidence| calibration.payoff(e).db;
        // The order of the story is what it is now, not what it once seemed.
        let replaces = evidence.stage == Stage::Order;
        if self.grounds.contains(&key) {
            self.recurred = self.recurred.max(now);
        }
        let news = match self.items.get(&key) {
            Some(old) if !replaces && worth(old) >= worth(&evidence) => false,
            _ => {
                self.items.insert(key, evidence.clone());
                true
            }
        };
        self.keep(evidence);
        // What is no stronger than what stands can change no verdict.
        if news || !self.calendar.iter().rev().any(|d| d.day == now.day()) {
            let level = if news { self.settle(now, roles) } else { self.snapshot(now, roles).level_db };
            self.note_day(now, level);
        }
        if let Some(today) = self.calendar.iter_mut().rev().find(|d| d.day == now.day()) {
            today.evidence = today.evidence.saturating_add(1);
        }
    }

    /// Notes the level of the calendar's day, and the verdict that stands.
    fn note_day(&mut self, now: Timestamp, level_db: f64) {
        let verdict = self.best.as_ref().map_or(Verdict::Quiet, |b| b.verdict);
        let at = self.calendar.partition_point(|d| d.day < now.day());
        match self.calendar.get_mut(at).filter(|d| d.day == now.day()) {
            Some(today) => {
                today.verdict = today.verdict.max(verdict);
                today.level_db = today.level_db.max(level_db);
            }
            None => self.calendar.insert(at, DayLevel { day: now.day(), verdict, level_db, evidence: 0 }),
        }
        if self.calendar.len() > CALENDAR_DAYS {
            self.calendar.remove(0);
        }
    }

    /// Brings what is shown up to what was counted by now: of each item the strongest, which is told for all of it, and the last. Those between say what
    /// was known then.
    pub fn count_up(&mut self, totals: impl Fn(&mut Evidence)) {
        let calibration = Calibration::in_use();
        let mut told: BTreeMap<_, (usize, (f64, f64), usize)> = BTreeMap::new();
        for (n, e) in self.evidence.iter().enumerate() {
            let worth = (calibration.payoff(e).db, e.value);
            let (strongest, most, last) =
                told.entry((e.behaviour.clone(), e.key.clone())).or_insert((n, worth, n));
            *last = n;
            if worth > *most {
                (*strongest, *most) = (n, worth);
            }
        }
        let which: BTreeSet<usize> =
            told.into_values().flat_map(|(strongest, _, last)| [strongest, last]).collect();
        for n in which {
            totals(&mut self.evidence[n]);
        }
    }

    /// Keeps evidence to be shown: of what says the same of the same remotes on one day the first and the last.
    fn keep(&mut self, evidence: Evidence) {
        let day = self.day.unwrap_or(evidence.ts);
        let same = |e: &Evidence| {
            let what = (e.stage, &e.behaviour, &e.key, &e.grades, &e.remotes);
            what == (evidence.stage, &evidence.behaviour, &evidence.key, &evidence.grades, &evidence.remotes)
                && e.ts >= day
        };
        let mut before = self.evidence.iter_mut().filter(|e| same(e));
        if let (Some(_), Some(last)) = (before.next(), before.next()) {
            *last = evidence;
        } else if self.evidence.len() < MAX_EVIDENCE {
            self.evidence.push(evidence);
        } else {
            self.dropped += 1;
        }
    }

    /// The bets of two machines that had the address one after the other: what began before `at`, and what began then.
    pub fn split(&self, first_seen: Timestamp, at: Timestamp, roles: &[RoleSeen]) -> [Self; 2] {
        let later = |e: &Evidence| e.started >= at;
        // What is kept to be shown is not all that there was: where nothing is the later machine's, the bets stay as they are.
        if !self.items.values().chain(&self.evidence).chain(&self.suppressed).any(later) {
            return [self.clone(), self.anew()];
        }
        let mut both = [self.anew(), self.anew()];
        let mut all: Vec<&Evidence> = self.evidence.iter().chain(&self.suppressed).collect();
        all.sort_by_key(|e| e.ts);
        for e in all {
            let (first, roles) = if later(e) { (at, &[][..]) } else { (first_seen, roles) };
            both[usize::from(later(e))].set_terms(self.terms_at(e.ts), e.ts);
            both[usize::from(later(e))].add(e.clone(), first, roles);
        }
        both[0].dropped += self.dropped;
        both
    }

    /// The bets as they would have been had these roles been known from the beginning; nothing where that changes no discount, or where evidence is missing
    /// that was bet on.
    pub fn with_hindsight(&self, first_seen: Timestamp, roles: &[RoleSeen]) -> Option<Self> {
        let best = self.best.as_ref().filter(|_| self.dropped == 0 && !roles.is_empty())?;
        let excused = |e: &Evidence| {
            let now = discounts(e, roles);
            let items = best.memory.values().chain(best.stages.values()).flat_map(|s| &s.items);
            let mut mine = items.filter(|i| i.behaviour == e.behaviour && i.key == e.key);
            mine.any(|i| now.iter().any(|d| !i.discounts.contains(d)))
        };
        if !self.evidence.iter().any(excused) {
            return None;
        }
        let mut anew = self.anew();
        let mut all: Vec<&Evidence> = self.evidence.iter().chain(&self.suppressed).collect();
        all.sort_by_key(|e| e.ts);
        for e in all {
            anew.set_terms(self.terms_at(e.ts), e.ts);
            anew.add(e.clone(), first_seen, roles);
        }
        // Of what is told again and again the first and the last are kept: how often that was stays as it was counted.
        for (day, before) in anew.calendar.iter_mut().zip(&self.calendar).filter(|(a, b)| a.day == b.day) {
            day.evidence = before.evidence;
        }
        Some(anew)
    }

    /// Whether nothing was told of the host.
    pub fn is_empty(&self) -> bool {
        self.evidence.is_empty() && self.suppressed.is_empty()
    }

    /// The highest level so far, in decibans.
    pub fn highest(&self) -> f64 {
        self.best.as_ref().map_or(0.0, |b| b.level_db)
    }

    /// Goes on to `now`: begins new days until it lies in the current one, and gives up a verdict that nothing was seen of for a week.
    fn advance(&mut self, first_seen: Timestamp, now: Timestamp, roles: &[RoleSeen]) {
        self.turn_days(first_seen, now, roles);
        if self.best.is_some() && now.since(self.recurred) > HABIT_MEMORY {
            self.ended = self.end();
            self.best = None;
            self.carried_db = 0.0;
            self.grounds.clear();
            self.habits.clear();
            self.settle(now, roles);
        }
    }

    /// The verdict that stood, and until when without anything more that it rests on.
    fn end(&self) -> Option<(Verdict, Timestamp)> {
        let stood = self.best.as_ref().map(|b| b.verdict).filter(|v| *v >= Verdict::Suspicious);
        stood.map(|v| (v, self.recurred.plus(HABIT_MEMORY))).or(self.ended)
    }

    fn turn_days(&mut self, first_seen: Timestamp, now: Timestamp, roles: &[RoleSeen]) {
        let day = *self.day.get_or_insert(first_seen.min(now));
        let days = now.since(day).as_secs() / DAY.as_secs();
        if days == 0 {
            return;
        }
        let end = day.plus(DAY);
        let level = self.snapshot(end, roles).level_db;
        let lost = -10.0 * (1.0 - STAKE).log10() * 6.0 * (days - 1) as f64;
        self.carried_db = tenths((level.max(0.0) - lost).max(0.0));
        self.day = Some(Timestamp(day.0.saturating_add((days as i64).saturating_mul(DAY.as_nanos() as i64))));
        let calibration = Calibration::in_use();
        for (key, e) in &self.items {
            let db = calibration.payoff(e).db;
            let habit = self.habits.entry(key.clone()).or_insert(Habit { db, last: e.ts });
            *habit = Habit { db: db.max(habit.db), last: e.ts.max(habit.last) };
        }
        self.habits.retain(|_, h| now.since(h.last) <= HABIT_MEMORY);
        self.remembered.append(&mut self.items);
        self.remembered.retain(|(stage, ..), e| {
            let memory = if *stage == Stage::Rendezvous && e.key == "exact" { NAME_MEMORY } else { DAY };
            now.since(e.ts) <= memory
        });
    }

    /// Settles the bets as they stand at `now`, and gives their level.
    fn settle(&mut self, now: Timestamp, roles: &[RoleSeen]) -> f64 {
        let snapshot = self.snapshot(now, roles);
        let level = snapshot.level_db;
        for verdict in [Verdict::Suspicious, Verdict::Likely, Verdict::Infected] {
            if snapshot.verdict >= verdict {
                self.reached.entry(verdict).or_insert(now);
            }
        }
        let better = self
            .best
            .as_ref()
            .is_none_or(|b| (snapshot.verdict, snapshot.level_db) > (b.verdict, b.level_db));
        if better {
            // How stages lie in time is no ground of its own.
            let own = |s: &Stage| Stage::STORY.contains(s);
            let keys = |(stage, score): (&Stage, &StageScore)| {
                let key = |i: &Item| (*stage, i.behaviour.clone().into(), i.key.clone().into());
                score.items.iter().filter(|i| i.payoff_db > 0.0).map(key).collect::<Vec<ItemKey>>()
            };
            self.grounds.extend(snapshot.memory.iter().filter(|(s, _)| own(s)).flat_map(keys));
            self.recurred = now;
            self.best = Some(snapshot);
        }
        level
    }

    /// The bets as they stand at `now`.
    fn snapshot(&self, now: Timestamp, roles: &[RoleSeen]) -> Snapshot {
        let live = || self.items.iter().filter(|(_, e)| self.is_live(e, now));
        let stages = score(live(), roles, &self.habits, &self.terms.unplaced);
        let level_db = tenths(self.carried_db.max(0.0) + stages.values().map(|s| s.db).sum::<f64>());
        let prior_db = self.terms.prior_db;
        // On a first day the verdict remembers what is bet on.
        if self.habits.is_empty() && self.remembered.is_empty() {
            let (memory, carried_db) = (stages.clone(), self.carried_db);
            let verdict = judge(level_db, prior_db, &memory, &stages);
            return Snapshot { at: now, verdict, level_db, carried_db, prior_db, stages, memory };
        }
        // Where it did the same on both days, today's counts.
        let old = self.remembered.iter().filter(|(key, e)| {
            !self.items.contains_key(*key) && self.is_live(e, now) && now.since(e.ts) <= NAME_MEMORY
        });
        let memory = score(live().chain(old), roles, &BTreeMap::new(), &self.terms.unplaced);
        let verdict = judge(level_db, prior_db, &memory, &stages);
        Snapshot { at: now, verdict, level_db, carried_db: self.carried_db, prior_db, stages, memory }
    }

    /// A probe alone is forgotten after two hours.
    fn is_live(&self, e: &Evidence, now: Timestamp) -> bool {
        if e.stage != Stage::Probe || now.since(e.ts) <= PROBE_MEMORY {
            return true;
        }
        let other = |o: &Evidence| {
            !matches!(o.stage, Stage::Probe | Stage::Order)
                && o.started.0.abs_diff(e.ts.0) <= PROBE_MEMORY.as_nanos() as u64
        };
        self.items.values().chain(self.remembered.values()).any(other)
    }

    /// The strongest state that stands at `now`; the empty bets when nothing ever fired.
    pub fn best(&self, first_seen: Timestamp, now: Timestamp, roles: &[RoleSeen]) -> Snapshot {
        let Some(best) = &self.best else {
            let stages = score(std::iter::empty(), &[], &BTreeMap::new(), &self.terms.unplaced);
            let level_db = tenths(stages.values().map(|s| s.db).sum());
            let (at, carried_db) = (Timestamp::MIN, 0.0);
            return Snapshot {
                at,
                verdict: Verdict::Quiet,
                level_db,
                carried_db,
                prior_db: self.terms.prior_db,
                memory: stages.clone(),
                stages,
            };
        };
        if now.since(self.recurred) <= HABIT_MEMORY {
            return best.clone();
        }
        let mut later = self.clone();
        later.advance(first_seen, now, roles);
        later.snapshot(now, roles)
    }

    /// When a verdict ended that stood until nothing of it was seen for a week, if none like it stands at `now`.
    pub fn ended(&self, now: Timestamp) -> Option<(Verdict, Timestamp)> {
        let stands = self.best.as_ref().is_some_and(|b| b.verdict >= Verdict::Suspicious);
        if stands && now.since(self.recurred) <= HABIT_MEMORY { None } else { self.end() }
    }

    pub fn reached(&self) -> &BTreeMap<Verdict, Timestamp> {
        &self.reached
    }

    /// Where it stood on each day on which something was told of it; `quiet` is what quiet is called.
    pub fn calendar(&self, quiet: Verdict) -> Vec<DayLevel> {
        let called = |v| if v == Verdict::Quiet { quiet } else { v };
        self.calendar.iter().map(|d| DayLevel { verdict: called(d.verdict), ..*d }).collect()
    }

    /// What was seen and is expected.
    pub fn suppressed(&self) -> &[Evidence] {
        &self.suppressed
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All evidence with its worth, in time order.
    pub fn evidence(&self, roles: &[RoleSeen]) -> Vec<ScoredEvidence> {
        let mut all: Vec<ScoredEvidence> = self
            .evidence
            .iter()
            .map(|e| ScoredEvidence { db: tenths(item(e, roles, None, None).db), evidence: e.clone() })
            .collect();
        all.sort_by_key(|e| (e.evidence.started, e.evidence.ts));
        all
    }

    /// What the verdict would be without some items; what shared its flows with one of them stands alone then.
    pub fn without(snapshot: &Snapshot, name: String, gone: impl Fn(Stage, &Item) -> bool) -> WouldChange {
        let left = |stages: &BTreeMap<Stage, StageScore>| {
            let goes = |(stage, score): (&Stage, &StageScore)| {
                score.items.iter().filter(|i| gone(*stage, i)).map(Item::name).collect::<Vec<_>>()
            };
            let going: Vec<String> = stages.iter().flat_map(goes).collect();
            let alone = |i: &Item| {
                i.discounts.iter().any(|d| d.shared_with.as_ref().is_some_and(|w| going.contains(w)))
            };
            let mut stages = stages.clone();
            for (stage, score) in &mut stages {
                if score.items.iter().any(|i| gone(*stage, i) || alone(i)) {
                    let stays = score.items.iter().filter(|i| !gone(*stage, i)).cloned();
                    let left = stays.map(|i| if alone(&i) { unshared(i) } else { i }).collect();
                    *score = total(*stage, left, false);
                }
            }
            stages
        };
        let (stages, memory) = (left(&snapshot.stages), left(&snapshot.memory));
        let level_db = tenths(snapshot.carried_db + stages.values().map(|s| s.db).sum::<f64>());
        let verdict = judge(level_db, snapshot.prior_db, &memory, &stages);
        WouldChange { without: name, level_db, verdict }
    }

    /// Where it would stand without the user's lists of indicators, if they count.
    pub fn without_lists(snapshot: &Snapshot) -> Option<WouldChange> {
        let listed = |_: Stage, i: &Item| entry(&i.behaviour).is_some_and(|e| e.about.listed);
        let any = snapshot.stages.iter().any(|(s, score)| score.items.iter().any(|i| listed(*s, i)));
        any.then(|| Self::without(snapshot, "lists of indicators".into(), listed))
    }

    /// What the verdict would be without each of the three strongest items.
    pub fn would_change(snapshot: &Snapshot) -> Vec<WouldChange> {
        let mut items: Vec<(Stage, &Item)> =
            snapshot.stages.iter().flat_map(|(s, score)| score.items.iter().map(move |i| (*s, i))).collect();
        items.sort_by(|a, b| b.1.db.total_cmp(&a.1.db).then(a.0.cmp(&b.0)));
        let strongest = items.into_iter().take(3).filter(|(_, i)| i.db > 0.0);
        strongest
            .map(|(stage, gone)| {
                let name = gone.name();
                let same = |i: &Item| i.behaviour == gone.behaviour && i.key == gone.key;
                Self::without(snapshot, name, |s, i| s == stage && same(i))
            })
            .collect()
    }
}

/// Every stage's bet on the evidence that stands, but for what the host did on an earlier day.
fn score<'a>(
    live: impl Iterator<Item = (&'a ItemKey, &'a Evidence)>,
    roles: &[RoleSeen],
    habits: &BTreeMap<ItemKey, Habit>,
    unplaced: &BTreeSet<Stage>,
) -> BTreeMap<Stage, StageScore> {
    let all: Vec<(&ItemKey, &Evidence)> = live.collect();
    let shared = shared(&all);
    let mut items: BTreeMap<Stage, Vec<Item>> = BTreeMap::new();
    for ((key, e), shared) in all.into_iter().zip(shared) {
        items.entry(e.stage).or_default().push(item(e, roles, habits.get(key), shared));
    }
    // Below three stages no bet is placed on their order.
    let placed = |stage: &Stage| *stage != Stage::Order || items.contains_key(stage);
    let stages: Vec<Stage> = Stage::ALL.into_iter().filter(placed).collect();
    let of = |s: Stage| (s, total(s, items.remove(&s).unwrap_or_default(), unplaced.contains(&s)));
    stages.into_iter().map(of).collect()
}

/// Of each piece of evidence, the other stage in which most of its flows are bet on already, by something that pays more: one cause is one bet and a part.
fn shared<'a>(all: &[(&'a ItemKey, &'a Evidence)]) -> Vec<Option<&'a ItemKey>> {
    let calibration = Calibration::in_use();
    let worth: Vec<f64> = all.iter().map(|(_, e)| calibration.payoff(e).db).collect();
    let mut by_flow: BTreeMap<FlowId, Vec<usize>> = BTreeMap::new();
    for (i, (_, e)) in all.iter().enumerate() {
        for flow in &e.flows {
            by_flow.entry(*flow).or_default().push(i);
        }
    }
    let of = |i: usize| {
        let (_, e) = all[i];
        let mut with: BTreeMap<usize, usize> = BTreeMap::new();
        for j in e.flows.iter().filter_map(|f| by_flow.get(f)).flatten() {
            *with.entry(*j).or_default() += 1;
        }
        with.retain(|j, _| !are_other_requests(e, all[*j].1));
        let stronger = |j: usize| worth[j] > worth[i] || (worth[j] == worth[i] && j < i);
        let most = |n: usize| 2 * n >= e.flows.len();
        let mut found =
            with.into_iter().filter(|(j, n)| all[*j].1.stage != e.stage && stronger(*j) && most(*n));
        found.next().map(|(j, _)| all[j].0)
    };
    (0..all.len()).map(of).collect()
}

/// One stage's bet: `e = 0.8 + Σ gains`, capped; 1 where no bet was placed, because all that fired is a habit, or nothing could fire.
fn total(stage: Stage, items: Vec<Item>, unplaced: bool) -> StageScore {
    let calibration = Calibration::in_use();
    let no_bet = if items.is_empty() { unplaced } else { items.iter().all(|i| i.habit) };
    let kept = if no_bet { 1.0 } else { 1.0 - STAKE };
    let e = kept + items.iter().map(|i| i.gain).sum::<f64>();
    let raw_db = 10.0 * e.log10();
    let mut cap_db = calibration.cap(stage);
    for i in &items {
        for worth in calibration.grades(&i.behaviour) {
            if i.parts.iter().any(|(p, _)| p == worth.name) {
                cap_db = cap_db.max(worth.cap.unwrap_or(0.0));
            }
        }
    }
    if let [only] = &items[..]
        && let Some(alone) = entry(&only.behaviour).and_then(|e| e.about.alone)
    {
        cap_db = cap_db.min(alone);
    }
    StageScore { db: tenths(raw_db.min(cap_db)), raw_db, cap_db, items }
}

/// Evidence as an item: its payoff, what takes away from it, and whether the host did as much on an earlier day.
fn item(e: &Evidence, roles: &[RoleSeen], habit: Option<&Habit>, shared: Option<&ItemKey>) -> Item {
    let calibration = Calibration::in_use();
    let payoff = calibration.payoff(e);
    let mut discounts = discounts(e, roles);
    if let Some((stage, behaviour, key)) = shared {
        let because = format!("the same flows are bet on in the stage {stage}");
        discounts.push(Discount { because, factor: SHARED, shared_with: Some(format!("{behaviour}/{key}")) });
    }
    let factor: f64 = discounts.iter().map(|d| d.factor).product();
    let worth = |db: f64| if db > 0.0 { db * factor } else { db };
    let gained = |db: f64| if factor == 0.0 { 0.0 } else { gain(worth(db)) };
    // Of what grew since, the growth alone is bet on.
    let before = habit.map_or(0.0, |h| gained(h.db));
    Item {
        behaviour: e.behaviour.to_string(),
        key: e.key.to_string(),
        parts: payoff.parts,
        payoff_db: payoff.db,
        p0: payoff.p0,
        p0_source: calibration.source_of(&e.behaviour),
        discounts,
        db: worth(payoff.db),
        habit: habit.is_some_and(|h| payoff.db <= h.db),
        gain: (gained(payoff.db) - before).max(0.0),
        ts: e.ts,
    }
}

impl Item {
    /// Whether it tells of control though it is an act, and is believed.
    fn tells(&self) -> bool {
        let grades = Calibration::in_use().grades(&self.behaviour);
        !self.habit
            && self.db >= TELLING_DB
            && grades.iter().any(|g| g.tells && self.parts.iter().any(|(part, _)| part == g.name))
    }
}

/// The same item where nothing else is bet on its flows.
fn unshared(mut item: Item) -> Item {
    item.discounts.retain(|d| d.shared_with.is_none());
    let factor: f64 = item.discounts.iter().map(|d| d.factor).product();
    if item.payoff_db > 0.0 && factor > 0.0 {
        let before = (gain(item.db) - item.gain).max(0.0);
        item.db = item.payoff_db * factor;
        item.gain = (gain(item.db) - before).max(0.0);
    }
    item
}

/// What makes evidence count for less: how widely its remote is used, and what its behaviour says that excuses it.
fn discounts(e: &Evidence, roles: &[RoleSeen]) -> Vec<Discount> {
    let mut found = Vec::new();
    let mut add = |because: &str, factor: f64| {
        found.push(Discount { because: because.to_owned(), factor, shared_with: None });
    };
    if e.flag("prevalent") {
        add("at least 5 % of the local hosts use this remote", PREVALENT);
    }
    for excuse in entry(&e.behaviour).map_or(&[][..], |b| b.about.excuses) {
        match excuse {
            Excuse::Role(any, factor) if roles.iter().any(|r| any.contains(&r.role)) => {
                add(&format!("role: {}", any[0]), *factor);
            }
            excuse => {
                if let Some((because, factor)) = excuse.of(e) {
                    add(because, factor);
                }
            }
        }
    }
    found
}

/// DETECTION §2.
fn judge(
    level: f64,
    prior: f64,
    memory: &BTreeMap<Stage, StageScore>,
    today: &BTreeMap<Stage, StageScore>,
) -> Verdict {
    // Whatever one believed before, something must speak for it.
    let reaches =
        |verdict: Verdict| verdict.level_db(prior).is_some_and(|least| level >= least && level > 0.0);
    let fired = |stage: &Stage| memory.get(stage).map(|s| s.db).filter(|db| *db > 0.0);
    let two_names = memory.values().flat_map(|s| &s.items).any(|i| i.key == "exact" && i.parts.len() > 1);
    let telling: Vec<f64> =
        [Stage::Rendezvous, Stage::Command, Stage::Update, Stage::Act].iter().filter_map(fired).collect();
    let stages = Stage::STORY.iter().filter_map(fired).count();
    // An act says what a host does, not what it is: without a telling channel of command it stays a finding of its own, unless nobody who sits there does it.
    let channels = [Stage::Rendezvous, Stage::Command, Stage::Update];
    let tells = channels.iter().filter_map(fired).any(|db| db >= TELLING_DB)
        || memory.get(&Stage::Act).is_some_and(|s| s.items.iter().any(Item::tells));
    // What the act adds is withheld, and no more.
    let act = [memory, today].map(|of| of.get(&Stage::Act).map_or(0.0, |s| s.db.max(0.0)));
    let beside = level - act[0].max(act[1]);
    let three = stages - usize::from(fired(&Stage::Act).is_some()) >= 3;
    let without_act = three && Verdict::Likely.level_db(prior).is_some_and(|least| beside >= least);
    let at_cap =
        today.iter().any(|(stage, s)| !s.items.is_empty() && s.db >= Calibration::in_use().cap(*stage));
    if reaches(Verdict::Infected)
        && (two_names || (tells && telling.len() >= 2 && telling.iter().any(|db| *db >= TELLING_DB)))
    {
        Verdict::Infected
    } else if reaches(Verdict::Likely) && ((stages >= 2 && tells) || without_act) {
        Verdict::Likely
    } else if reaches(Verdict::Suspicious) || at_cap {
        Verdict::Suspicious
    } else {
        Verdict::Quiet
    }
}

behaviour::held!(Verdict);
behaviour::held!(Discount: because);
behaviour::held!(Item: behaviour, key, parts, p0_source, discounts);
behaviour::held!(StageScore: items);
behaviour::held!(Snapshot: stages, memory);
behaviour::held!(Habit);
behaviour::held!(DayLevel);
behaviour::held!(Ledger: items, remembered, habits, grounds, evidence, suppressed, best, reached, calendar, terms, unplaced);
behaviour::held!(Terms: unplaced);
impl HostState for Ledger {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use record::{Grade, Role};

    pub fn evidence(
        stage: Stage,
        behaviour: &'static str,
        key: &'static str,
        grades: &[&'static str],
        secs: i64,
    ) -> Evidence {
        Evidence {
            host: "10.0.0.5".parse().unwrap(),
            stage,
            behaviour: behaviour.into(),
            key: key.into(),
            grades: grades.iter().map(|g| Grade { name: (*g).into(), times: 1 }).collect(),
            started: Timestamp::from_secs(secs),
            ts: Timestamp::from_secs(secs),
            value: 1.0,
            threshold: 1.0,
            unit: "x".into(),
            source: "test".into(),
            packets: vec![],
            flows: vec![],
            community_ids: vec![],
            remotes: vec![],
            facts: BTreeMap::new(),
            expected: None,
        }
    }

    #[test]
    fn what_shared_its_flows_with_what_is_taken_out_counts_whole() {
        let flow = |n| FlowId { packet: record::PacketId::new(0, n), layer: 0 };
        let of = |mut e: Evidence| {
            e.flows = vec![flow(1), flow(2)];
            e
        };
        let mut ledger = Ledger::default();
        let gate = evidence(Stage::Command, "http_control", "gate", &["gate"], 5);
        let upload = evidence(Stage::Act, "exfiltration", "upload", &["upload"], 6);
        for e in [of(gate), of(upload)] {
            ledger.add(e, Timestamp::from_secs(1), &[]);
        }
        let best = ledger.best(Timestamp::from_secs(1), Timestamp::from_secs(9), &[]);
        let act = &best.stages[&Stage::Act].items[0];
        assert!(
            act.db < act.payoff_db && act.discounts[0].shared_with.as_deref() == Some("http_control/gate")
        );
        let without =
            Ledger::would_change(&best).into_iter().find(|w| w.without == "http_control/gate").unwrap();
        let mut alone = Ledger::default();
        alone.add(
            of(evidence(Stage::Act, "exfiltration", "upload", &["upload"], 6)),
            Timestamp::from_secs(1),
            &[],
        );
        let alone = alone.best(Timestamp::from_secs(1), Timestamp::from_secs(9), &[]);
        assert!((without.level_db - alone.level_db).abs() < 0.05, "{} {}", without.level_db, alone.level_db);
    }

    #[test]
    fn requests_of_two_methods_are_causes_of_their_own() {
        let shared = |methods: [&str; 2]| {
            let mut ledger = Ledger::default();
            let gate = evidence(Stage::Command, "http_control", "gate", &["gate"], 5);
            let download = evidence(Stage::Update, "payload_download", "executable", &["executable"], 6);
            for (mut e, method) in [gate, download].into_iter().zip(methods) {
                e.flows = vec![FlowId { packet: record::PacketId::new(0, 1), layer: 0 }];
                e.facts.insert(behaviour::ASKED_BY.into(), method.to_owned().into());
                ledger.add(e, Timestamp::from_secs(1), &[]);
            }
            let best = ledger.best(Timestamp::from_secs(1), Timestamp::from_secs(9), &[]);
            let mut items = best.stages.values().flat_map(|s| &s.items);
            items.any(|i| i.discounts.iter().any(|d| d.shared_with.is_some()))
        };
        assert!(!shared(["POST", "GET"]), "on one connection");
        assert!(shared(["POST", "POST"]), "the download may answer what the gate is");
        assert!(shared(["", "GET"]), "nobody knows");
    }

    #[test]
    fn of_what_is_said_again_the_first_and_the_last_are_kept() {
        let mut ledger = Ledger::default();
        for secs in [10, 20, 30, 40] {
            ledger.add(
                evidence(Stage::Act, "mining", "pool", &["stratum"], secs),
                Timestamp::from_secs(1),
                &[],
            );
        }
        let mut elsewhere = evidence(Stage::Act, "mining", "pool", &["stratum"], 50);
        elsewhere.remotes.push("198.51.100.7".parse().unwrap());
        ledger.add(elsewhere, Timestamp::from_secs(1), &[]);
        ledger.add(
            evidence(Stage::Act, "mining", "pool", &["stratum"], 86_500),
            Timestamp::from_secs(1),
            &[],
        );
        let kept: Vec<i64> = ledger.evidence.iter().map(|e| e.ts.0 / 1_000_000_000).collect();
        assert_eq!(kept, [10, 40, 50, 86_500]);
        assert_eq!(ledger.dropped, 0);
    }

    fn probe(secs: i64) -> Evidence {
        evidence(Stage::Probe, "smtp_probe", "probe", &["attempts", "no_mx_question", "known_target"], secs)
    }

    fn walk(secs: i64) -> Evidence {
        evidence(
            Stage::Command,
            "peer_walk",
            "walk",
            &["walk", "many_peers", "unanswered", "equal_lengths"],
            secs,
        )
    }

    fn post(secs: i64) -> Evidence {
        evidence(Stage::Update, "same_remote_chain", "chain", &["post_80"], secs)
    }

    impl Ledger {
        /// The strongest state of the last evidence's time.
        fn state(&self) -> Snapshot {
            let last = self.evidence.last().map_or(Timestamp(0), |e| e.ts);
            self.best(Timestamp(0), last, &[])
        }
    }

    fn run(all: Vec<Evidence>) -> Ledger {
        let mut ledger = Ledger::default();
        for e in all {
            ledger.add(e, Timestamp::from_secs(0), &[]);
        }
        ledger
    }

    #[test]
    fn the_numbers_add_up_to_the_level() {
        for all in [vec![], vec![probe(10)], vec![probe(10), walk(20), post(30)]] {
            let best = run(all).state();
            let sum: f64 = best.stages.values().map(|s| s.db).sum::<f64>() + best.carried_db;
            assert!((sum - best.level_db).abs() < 1e-9, "{sum} {}", best.level_db);
        }
    }

    #[test]
    fn an_empty_day_loses_every_bet() {
        let best = Ledger::default().state();
        assert_eq!((best.level_db, best.verdict), (-6.0, Verdict::Quiet));
    }

    #[test]
    fn the_silence_of_what_cannot_be_seen_costs_nothing() {
        let mut ledger = Ledger::default();
        ledger.set_terms(Terms { unplaced: [Stage::Rendezvous].into(), ..Terms::default() }, Timestamp::MIN);
        let best = ledger.state();
        assert!(best.stages[&Stage::Rendezvous].is_unplaced() && !best.stages[&Stage::Probe].is_unplaced());
        assert_eq!((best.stages[&Stage::Rendezvous].db, best.level_db), (0.0, -5.0));
        // What fires there is bet on as ever.
        for e in [probe(10), walk(20)] {
            ledger.add(e, Timestamp::from_secs(1), &[]);
        }
        let before = run(vec![probe(10), walk(20)]).state();
        assert!((ledger.state().level_db - before.level_db - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_words_move_with_the_prior() {
        let verdict = |prior_db: f64| {
            let mut ledger = Ledger::on(Terms { prior_db, ..Terms::default() });
            for e in [probe(10), walk(20)] {
                ledger.add(e, Timestamp::from_secs(1), &[]);
            }
            let best = ledger.state();
            (best.level_db, best.verdict)
        };
        let (level, word) = verdict(Prior::default().db());
        assert!((10.0..30.0).contains(&level) && word == Verdict::Suspicious, "{level}");
        assert_eq!(verdict(-10.0), (level, Verdict::Likely), "one host in ten");
        // What only many stages can say is not said by a prior.
        assert_eq!(verdict(10.0), (level, Verdict::Likely));
        assert_eq!(verdict(-60.0), (level, Verdict::Suspicious), "its first stage is at its cap");
    }

    #[test]
    fn caps_hold() {
        let best = run(vec![probe(10), walk(20)]).state();
        assert_eq!(best.stages[&Stage::Probe].db, 20.0, "26 dB of grades, capped at 20");
        assert_eq!(best.stages[&Stage::Command].db, 11.0, "a walk alone brings at most 11");
        let imposter = evidence(Stage::Command, "port_imposter", "imposter", &["imposter"], 30);
        let both = run(vec![walk(20), imposter]).state();
        assert!(both.stages[&Stage::Command].db > 11.0);
        let names =
            evidence(Stage::Rendezvous, "generated_names", "exact", &["exact_name", "second_exact_name"], 5);
        assert_eq!(run(vec![names]).state().stages[&Stage::Rendezvous].db, 52.0);
    }

    #[test]
    fn verdicts_in_words() {
        assert_eq!(run(vec![probe(10)]).state().verdict, Verdict::Suspicious);
        let infected = run(vec![probe(10), walk(20), post(30)]).state();
        assert_eq!(infected.verdict, Verdict::Infected, "{infected:?}");
        let acts = evidence(Stage::Act, "spam_run", "volume", &["volume", "rate"], 40);
        let mut burst = evidence(Stage::Act, "spam_run", "outcomes", &["failed_first_contacts_db"], 40);
        burst.grades[0].times = 40;
        let mx = evidence(Stage::Act, "mail_exchanger_lookups", "mx", &["burst"], 40);
        let spam = run(vec![probe(10), acts, burst, mx]).state();
        assert!(
            spam.level_db >= 30.0 && spam.verdict == Verdict::Suspicious,
            "an act alone is no bot: {spam:?}"
        );
        let names =
            evidence(Stage::Rendezvous, "generated_names", "exact", &["exact_name", "second_exact_name"], 5);
        assert_eq!(run(vec![names]).state().verdict, Verdict::Infected);
    }

    #[test]
    fn who_does_nothing_is_no_mere_actor() {
        let echo = || {
            evidence(
                Stage::Probe,
                "address_echo",
                "asked",
                &["asked", "unnamed_program", "then_reported"],
                10,
            )
        };
        let called = || evidence(Stage::Command, "http_control", "requests", &["gate_nameless"], 20);
        let fetched = || evidence(Stage::Update, "payload_download", "archive", &["archive"], 30);
        let soon = || evidence(Stage::Cycle, "quick_succession", "together", &["three_stages"], 40);
        let quiet = run(vec![echo(), called(), fetched(), soon()]).state();
        assert!(quiet.level_db >= 30.0 && quiet.verdict == Verdict::Likely, "{quiet:?}");
        let acts = evidence(Stage::Act, "exfiltration", "mail", &["mail"], 50);
        let acting = run(vec![echo(), called(), fetched(), soon(), acts]).state();
        assert_eq!(acting.verdict, Verdict::Likely, "what it does takes nothing away: {acting:?}");
        let two = run(vec![
            echo(),
            called(),
            soon(),
            evidence(Stage::Act, "spam_run", "volume", &["volume", "rate"], 50),
        ]);
        assert!(
            two.state().level_db >= 30.0 && two.state().verdict == Verdict::Suspicious,
            "{:?}",
            two.state()
        );
    }

    #[test]
    fn an_act_that_nobody_does_for_himself_tells() {
        let theft = |grades: &[&'static str]| {
            let echo = evidence(
                Stage::Rendezvous,
                "address_echo",
                "asked",
                &["asked", "unnamed_program", "then_sent"],
                10,
            );
            let sent = evidence(Stage::Act, "exfiltration", "mail", grades, 60);
            let soon = evidence(Stage::Cycle, "quick_succession", "together", &["two_stages"], 60);
            run(vec![echo, sent, soon]).state()
        };
        let list = theft(&["mail", "passwords", "many_passwords"]);
        assert!(list.level_db >= 30.0 && list.verdict == Verdict::Likely, "{list:?}");
        let words = theft(&["mail", "several_remotes", "to_controller"]);
        assert_eq!(words.verdict, Verdict::Suspicious, "{words:?}");
        let alone = run(vec![evidence(
            Stage::Act,
            "exfiltration",
            "mail",
            &["mail", "passwords", "many_passwords"],
            60,
        )])
        .state();
        assert_eq!(alone.verdict, Verdict::Suspicious, "one stage is one stage: {alone:?}");
    }

    #[test]
    fn a_probe_that_nothing_joins_is_forgotten() {
        let joined = run(vec![probe(0), walk(7000)]).state();
        assert_eq!(joined.stages[&Stage::Probe].db, 20.0);
        let mut late = Ledger::default();
        late.add(probe(0), Timestamp(0), &[]);
        late.add(walk(7300), Timestamp(0), &[]);
        let now = late.snapshot(Timestamp::from_secs(7300), &[]);
        assert_eq!(now.stages[&Stage::Probe].db, -1.0);
    }

    #[test]
    fn the_level_of_yesterday_is_carried_and_never_negative() {
        let mut ledger = run(vec![probe(0), walk(100), post(200)]);
        let first = ledger.state().level_db;
        ledger.add(walk(86_500), Timestamp(0), &[]);
        assert!((ledger.carried_db - first).abs() < 1e-9);
        let mut quiet = Ledger::default();
        quiet.add(
            evidence(Stage::Command, "port_imposter", "imposter", &["imposter"], 10),
            Timestamp(0),
            &[],
        );
        quiet.add(walk(3 * 86_400), Timestamp(0), &[]);
        assert_eq!(quiet.carried_db, 0.0);
    }

    #[test]
    fn roles_discount_and_are_shown() {
        let role = RoleSeen { role: Role::MailServer, since: Timestamp(0), because: "test".into() };
        let mut ledger = Ledger::default();
        ledger.add(probe(10), Timestamp(0), std::slice::from_ref(&role));
        let best = ledger.state();
        let item = &best.stages[&Stage::Probe].items[0];
        assert!((item.db - 26.0 * 0.2).abs() < 1e-9 && item.discounts[0].because.contains("mail server"));
        let role = RoleSeen { role: Role::VpnUser, since: Timestamp(0), because: "test".into() };
        let mut ledger = Ledger::default();
        let echo = evidence(Stage::Probe, "address_echo", "asked", &["asked", "then_reported"], 10);
        ledger.add(echo, Timestamp(0), std::slice::from_ref(&role));
        let best = ledger.state();
        let item = &best.stages[&Stage::Probe].items[0];
        assert!((item.db - 13.0 * 0.3).abs() < 1e-9 && item.discounts[0].because.contains("VPN"));
    }
}
