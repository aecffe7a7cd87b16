//! Brings in order what killed runs left.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;

use crate::place::{Place, files_of, remove_file};
use crate::segment::{close, recovered};
use crate::{
    Known, Rested, Run, Segment, StoreError, all_runs, all_segments, begin_run, counted, counts, joined_last,
    joinings, replaced, run_key, run_number, segment_key, write_run,
};

/// Bytes that the beginning of a hot segment has at most, before its rows (*assumed*: it has about five thousand).
const HEADER: u64 = 16 << 10;

/// What was found.
#[derive(Default)]
pub struct Settled {
    /// What has to be told.
    pub notices: Vec<String>,
    /// What lies there and cannot be read.
    pub failures: Vec<String>,
}

/// Closes what killed runs left hot, if nobody writes; says what was found.
///
/// # Errors
/// The store cannot be written, or is being written.
pub fn settle(place: &Place) -> Result<Settled, StoreError> {
    if !place.may_be_unsettled()? {
        return Ok(Settled::default());
    }
    let _lock = place.lock()?;
    repair(place)
}

/// Closes what killed runs left hot, and removes what does not count. Whoever calls it holds the lock.
pub fn repair(place: &Place) -> Result<Settled, StoreError> {
    let mut told = Vec::new();
    let hot = place.hot();
    let mut left = files_of(&hot)?;
    left.sort_unstable();
    let runs = if left.is_empty() { Vec::new() } else { all_runs(place)? };
    let gone = replaced(&runs);
    for file in left {
        let named = file.strip_suffix(".arrows").and_then(|name| name.rsplit_once('-'));
        let Some((run, number)) = named.and_then(|(run, n)| Some((run, n.parse().ok()?))) else { continue };
        let path = hot.join(&file);
        let counts = runs.iter().any(|(name, _)| name == run) && !gone.contains(run);
        // It was closed, and the run was killed before it could remove this.
        if !counts || !place.has(&segment_key(run, number))? {
            let (batches, torn) = recovered(&path)?;
            let end = if torn { ", and what came last was torn" } else { "" };
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            // Whoever was killed leaves the beginning whole, or nothing behind it.
            if rows == 0 && path.metadata().is_ok_and(|lies| lies.len() > HEADER) {
                let aside = path.with_extension("damaged");
                std::fs::rename(&path, &aside).map_err(StoreError::io("rename", &path))?;
                let why = format!(
                    "{run}: {} is damaged, and put aside: none of its rows can be read",
                    aside.display()
                );
                // It is said whenever the store is read, and not to whoever comes first.
                match runs.iter().find(|(name, _)| name == run) {
                    Some((_, Ok(Rested { run: facts, replaces }))) => {
                        let mut facts = facts.clone();
                        facts.failures.push(why);
                        write_run(place, run, &facts, replaces)?;
                    }
                    _ => told.push(why),
                }
                continue;
            }
            told.push(format!("{run} was killed: {rows} rows of it were on the disk{end}"));
            if rows > 0 && counts {
                close(place, run, number, &batches)?;
            } else if rows > 0 {
                // The run was joined or forgotten meanwhile: nobody would read them there.
                close(place, &begin_run(place, None)?, 0, &batches)?;
            }
        }
        remove_file(&path)?;
    }
    let failures = sweep(place)?;
    Ok(Settled { notices: told, failures })
}

/// Removes what does not count: runs that others have taken the place of, segments of joinings that did not come to their end, what was forgotten, and files that no
/// segment names and of which it is known why. While somebody reads, or something is missing or cannot be read, it all stays. Gives what lies there and
/// belongs to nothing that is known. Whoever calls it holds the lock.
pub fn sweep(place: &Place) -> Result<Vec<String>, StoreError> {
    let (all, _) = all_segments(place)?;
    let runs = all_runs(place)?;
    // What a damaged one named, or one that is gone, is not known.
    if !counted(place)?.bad.is_empty() || runs.iter().any(|(_, run)| run.is_err()) {
        return Ok(Vec::new());
    }
    let Some(_alone) = place.nobody_reads() else { return Ok(Vec::new()) };
    let gone = replaced(&runs);
    let replaces = |of: &str| {
        let run = runs.iter().find(|(name, _)| name == of).and_then(|(_, run)| run.as_ref().ok());
        run.map(|run| run.replaces.clone()).unwrap_or_default()
    };
    let mut past = BTreeSet::new();
    // Those first that others took the place of before: while their file is there, what it took the place of does not count.
    let mut order = Vec::new();
    for (name, _) in runs.iter().filter(|(name, _)| !replaces(name).is_empty()) {
        let mut next = if place.is_past(&run_key(name))? { replaces(name) } else { Vec::new() };
        while let Some(run) = next.pop() {
            if past.insert(run.clone()) {
                next.extend(replaces(&run));
                order.push(run);
            }
        }
    }
    order.sort_by_key(|run| joinings(run));
    let stays =
        |s: &&Segment| counts(&s.run, &runs, &gone) || (gone.contains(&s.run) && !past.contains(&s.run));
    let (kept, dropped): (Vec<&Segment>, Vec<&Segment>) = all.iter().partition(stays);
    // What names files goes before them, and a run after all that is its own.
    for segment in dropped {
        place.remove(&segment_key(&segment.run, segment.number))?;
    }
    let named: BTreeSet<&str> = kept.iter().flat_map(|s| &s.parts).map(|p| p.path.as_str()).collect();
    let mut unknown = BTreeSet::new();
    for file in place.tables()?.iter().filter(|file| !named.contains(file.as_str())) {
        let is_whole = file.ends_with(".parquet");
        match run_of(file).filter(|run| is_whole && !is_left_over(run, &runs)) {
            Some(run) => unknown.extend([run.to_owned()]),
            None => place.remove_table(file)?,
        }
    }
    let is_there = |name: &String| runs.iter().any(|(run, _)| run == name);
    for name in order.iter().filter(|name| is_there(name)) {
        place.remove(&run_key(name))?;
    }
    // Of what was forgotten only the last number stays taken.
    let last = runs.iter().map(|(name, _)| name).max_by_key(|name| (run_number(name), joinings(name)));
    for (name, run) in &runs {
        let Ok(Rested { run, replaces }) = run else { continue };
        if *run == Run::empty(true, None)
            && Some(name) != last
            && !kept.iter().any(|segment| segment.run == *name)
            && !replaces.iter().any(|of| is_there(of) && !order.contains(of))
        {
            place.remove(&run_key(name))?;
        }
    }
    let say = |run: String| {
        let why = "no run and no segment names its tables, which are not read: copy the store again, or take them away";
        place.damaged(&run_key(&run), &why).to_string()
    };
    Ok(unknown.into_iter().map(say).collect())
}

/// The run that wrote a file of a table, by its name.
fn run_of(file: &str) -> Option<&str> {
    let name = file.rsplit('/').next()?.strip_suffix(".parquet")?;
    name.rsplit_once('-').map(|(run, _)| run).filter(|run| run_number(run).is_some())
}

/// Whether it is known why no segment names files of a run, where nothing is missing that counts: they were forgotten, or joined, or are of a joining that did not come to its
/// end, of which what was to be joined is there.
fn is_left_over(run: &str, runs: &[Known]) -> bool {
    let is_there = |name: &str| runs.iter().any(|(known, _)| known == name);
    is_there(run) || joined_last(run).is_some_and(|of| is_there(&of))
}
