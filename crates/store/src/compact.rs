//! Joining what many small runs left: fewer files, the same records in the same order.
//!
//! What is joined is written as a run of its own, which counts from the moment that its file says whose place it takes; only then are those removed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use arrow_array::RecordBatch;
use record::Health;

use crate::merge::Merge;
use crate::place::Place;
use crate::read::Past;
use crate::row::{Row, day};
use crate::segment::{batch, close};
use crate::settle::{forget_analyses, repair, sweep};
use crate::write::{BATCH, SEGMENT};
use crate::{
    Counted, Run, Segment, Span, StoreError, all_runs, all_segments, counted, counts, joinings, open,
    replaced, run_key, run_number, write_run,
};

/// Rows that may be in memory at a time, where all runs that are joined are of one time.
const MOST_OPEN: u64 = 4 * SEGMENT as u64;
/// Rows of what is joined.
const MOST_ROWS: u64 = 64 * SEGMENT as u64;

/// What joining has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Runs before and after.
    pub runs: (u64, u64),
    /// Files of tables before and after.
    pub files: (u64, u64),
    /// Their bytes before and after.
    pub bytes: (u64, u64),
}

/// What of a run decides whether it is joined with others.
struct Candidate {
    name: String,
    rows: u64,
    /// Those of its largest segment.
    largest: u64,
    files: u64,
    /// Rows of each day, and the tables that they are of.
    days: BTreeMap<String, (u64, BTreeSet<(String, u16)>)>,
}

impl Candidate {
    fn of(name: String, segments: &[Segment]) -> Self {
        let mut of = Self { name, rows: 0, largest: 0, files: 0, days: BTreeMap::new() };
        for segment in segments.iter().filter(|s| s.run == of.name) {
            let rows: u64 = segment.parts.iter().map(|p| p.rows).sum();
            of.rows += rows;
            of.largest = of.largest.max(rows);
            of.files += segment.parts.len() as u64;
            for part in &segment.parts {
                let (rows, tables) = of.days.entry(part.day.clone()).or_default();
                *rows += part.rows;
                tables.insert((part.kind.clone(), part.site));
            }
        }
        of
    }
}

/// Rows of a day, and its tables: kind and site.
type Day<'a> = (u64, BTreeSet<&'a (String, u16)>);

/// Whether joining these saves a quarter of their files or more.
fn is_worth_it(group: &[Candidate]) -> bool {
    let mut days: BTreeMap<&str, Day<'_>> = BTreeMap::new();
    for (day, (rows, tables)) in group.iter().flat_map(|c| &c.days) {
        let (sum, all) = days.entry(day).or_default();
        *sum += rows;
        all.extend(tables);
    }
    let of_day = |(rows, tables): &(u64, BTreeSet<_>)| tables.len() as u64 * rows.div_ceil(SEGMENT as u64);
    let after: u64 = days.values().map(of_day).sum();
    let before: u64 = group.iter().map(|c| c.files).sum();
    after * 4 <= before * 3 && before > 0
}

/// Which runs are joined: those behind one another, none of which holds more than the others together, so that a row is not written again for
/// every few that come.
fn groups(mut all: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let rows: u64 = all.iter().map(|c| c.rows).sum();
    let most = all.iter().map(|c| c.rows).max().unwrap_or(0);
    let fits = all.iter().map(|c| c.largest).sum::<u64>() <= MOST_OPEN && rows <= MOST_ROWS;
    if all.len() == 1 || (fits && most <= rows - most) {
        return if is_worth_it(&all) { vec![all] } else { Vec::new() };
    }
    // Without the largest, or where they are too many in two halves.
    let at = if fits { all.iter().position(|c| c.rows == most).unwrap_or(0) } else { all.len() / 2 };
    let mut behind = all.split_off(at);
    let mut found = Vec::new();
    if fits {
        let alone = behind.remove(0);
        found.extend(groups_of(vec![alone]));
    }
    found.extend(groups_of(all));
    found.extend(groups_of(behind));
    found
}

fn groups_of(all: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    if all.is_empty() { Vec::new() } else { groups(all) }
}

/// Joins small runs into larger ones: a table's rows of a day lie in as few files as there is need of.
///
/// # Errors
/// It is no store, another version's, somebody else writes into it, or something in it cannot be read; then it is as it was.
pub fn compact(root: &Path) -> Result<Compacted, StoreError> {
    let place = &open(root)?;
    let _lock = place.lock()?;
    repair(place)?;
    let before = sums(place)?;
    let Counted { runs: counting, segments: all, bad } = counted(place)?;
    if let Some(bad) = bad.into_iter().next() {
        return Err(bad);
    }
    let runs = all_runs(place)?;
    let gone = replaced(&runs);
    if all_segments(place)?.0.iter().any(|s| !counts(&s.run, &runs, &gone) && !gone.contains(&s.run)) {
        // What a joining left that did not come to its end could not be removed: its names are given again.
        return Err(StoreError::Read(place.name()));
    }
    let (mut rows, mut together) = (Vec::new(), Vec::new());
    for (name, run) in counting {
        // What was not read to its end is read anew one day, and takes the place of its run: it stays by itself.
        let run = run?.run;
        if run.planned.is_empty() && !(run.ends && run.was_killed()) {
            together.push(Candidate::of(name, &all));
        } else {
            rows.push(std::mem::take(&mut together));
        }
    }
    rows.push(together);
    for group in rows.into_iter().flat_map(groups_of) {
        let names: Vec<String> = group.into_iter().map(|c| c.name).collect();
        join(place, &names, &all)?;
        sweep(place)?;
    }
    forget_analyses(place, false)?;
    let after = sums(place)?;
    Ok(Compacted { runs: (before.0, after.0), files: (before.1, after.1), bytes: (before.2, after.2) })
}

/// Runs, files and bytes that count.
fn sums(place: &Place) -> Result<(u64, u64, u64), StoreError> {
    let Counted { runs, segments: all, .. } = counted(place)?;
    let parts = || all.iter().flat_map(|s| &s.parts);
    Ok((runs.len() as u64, parts().count() as u64, parts().map(|p| p.bytes).sum()))
}

/// The name of what is joined: it takes the place of the last of them, behind the same ones as before.
fn joined_name(last: &str) -> String {
    format!("r{:06}c{}", run_number(last).unwrap_or(0), joinings(last) + 1)
}

/// Joins runs that stand behind one another.
fn join(place: &Place, names: &[String], segments: &[Segment]) -> Result<(), StoreError> {
    let Some(last) = names.last() else { return Ok(()) };
    let of: Vec<Segment> = segments.iter().filter(|s| names.contains(&s.run)).cloned().collect();
    let past = Past::of(counted(place)?.runs, &of, 0, false);
    let mut joined = Run {
        inputs: Vec::new(),
        planned: Vec::new(),
        ends: false,
        complete: true,
        rows: 0,
        home: None,
        notices: Vec::new(),
        failures: Vec::new(),
        health: Health::default(),
    };
    let mut streams: Vec<(u32, VecDeque<Segment>)> = Vec::new();
    // Runs without rows are filed by nothing.
    let has_rows = |name: &&String| of.iter().any(|s| s.run == **name);
    let mut homes =
        names.iter().filter(has_rows).map(|name| past.runs.get(name).and_then(|r| r.home.clone()));
    let first = homes.next().flatten();
    joined.home = first.filter(|first| homes.all(|home| home.as_ref() == Some(first)));
    for name in names {
        let run = past.runs.get(name).ok_or_else(|| place.damaged(&run_key(name), &"it is gone"))?;
        let first = joined.inputs.len() as u32;
        joined.inputs.extend(past.inputs_of(name).iter().cloned());
        joined.notices.extend(run.notices.iter().cloned());
        joined
            .notices
            .extend(run.was_killed().then(|| format!("a run that wrote it was killed: {}", Run::KILLED)));
        joined.complete &= run.complete || run.was_killed();
        joined.failures.extend(run.failures.iter().cloned());
        joined.health.merge(&run.health);
        streams.push((first, of.iter().filter(|s| s.run == *name).cloned().collect()));
    }
    let mut merge = Merge::of(place, &Span::default(), streams).rows();
    let mut to =
        Joined { place, name: joined_name(last), number: 0, rows: Vec::new(), batches: Vec::new(), held: 0 };
    let mut today = None;
    while let Some(held) = merge.next(None) {
        if let Some(failed) = merge.failures.pop() {
            return Err(failed);
        }
        let (host, is_primary) = held.stands.unwrap_or_default();
        joined.rows += u64::from(is_primary);
        let known = held.record.head().known.0;
        // Both rows of a record are of one segment, and what is forgotten by days is whole segments.
        if is_primary && (today.replace(day(known)) != Some(day(known)) || to.held + to.rows.len() >= SEGMENT)
        {
            to.close()?;
        }
        let seq = joined.rows.saturating_sub(1);
        let row = Row::again(&held.record, seq, &host, is_primary);
        to.take(row.map_err(|e| place.damaged(&run_key(&to.name), &e))?)?;
    }
    if let Some(failed) = merge.failures.pop() {
        return Err(failed);
    }
    to.close()?;
    // From here on it counts, and those do not.
    write_run(place, &to.name, &joined, names)
}

/// What is joined, on its way to the disk.
struct Joined<'a> {
    place: &'a Place,
    name: String,
    number: u32,
    rows: Vec<Row>,
    batches: Vec<RecordBatch>,
    /// Rows in these.
    held: usize,
}

impl Joined<'_> {
    fn take(&mut self, row: Row) -> Result<(), StoreError> {
        self.rows.push(row);
        if self.rows.len() >= BATCH { self.convert() } else { Ok(()) }
    }

    fn convert(&mut self) -> Result<(), StoreError> {
        let damaged = |e| self.place.damaged(&run_key(&self.name), &e);
        self.batches.push(batch(&self.rows).map_err(damaged)?);
        self.held += self.rows.len();
        self.rows.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if !self.rows.is_empty() {
            self.convert()?;
        }
        if !self.batches.is_empty() {
            close(self.place, &self.name, self.number, &self.batches)?;
            self.number += 1;
        }
        self.batches.clear();
        self.held = 0;
        Ok(())
    }
}
