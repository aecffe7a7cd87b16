//! Brings in order what killed runs left.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;

use crate::place::{Place, files_of, remove_file};
use crate::segment::{close, recovered};
use crate::{
    Segment, StoreError, all_runs, all_segments, begin_run, counts, joinings, replaced, run_key, segment_key,
};

/// Bytes that the beginning of a hot segment has at most, before its rows (*assumed*: it has about five thousand).
const HEADER: u64 = 16 << 10;

/// Closes what killed runs left hot, if nobody writes; says what was found.
///
/// # Errors
/// The store cannot be written, or is being written.
pub fn settle(place: &Place) -> Result<Vec<String>, StoreError> {
    if !place.may_be_unsettled()? {
        return Ok(Vec::new());
    }
    let _lock = place.lock()?;
    repair(place)
}

/// Closes what killed runs left hot, and removes what does not count. Whoever calls it holds the lock.
pub fn repair(place: &Place) -> Result<Vec<String>, StoreError> {
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
                told.push(format!(
                    "{run}: {} is damaged, and put aside: none of its rows can be read",
                    aside.display()
                ));
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
    sweep(place)?;
    Ok(told)
}

/// Removes what does not count: runs that others have taken the place of, segments of joinings that did not come to their end, and files that no
/// segment names. While somebody reads, or something cannot be read, it all stays. Whoever calls it holds the lock.
pub fn sweep(place: &Place) -> Result<(), StoreError> {
    let (all, bad) = all_segments(place)?;
    let runs = all_runs(place)?;
    // What a damaged one named is not known.
    if !bad.is_empty() || runs.iter().any(|(_, run)| run.is_err()) {
        return Ok(());
    }
    let Some(_alone) = place.nobody_reads() else { return Ok(()) };
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
    for file in place.tables()?.iter().filter(|file| !named.contains(file.as_str())) {
        place.remove_table(file)?;
    }
    for name in order.iter().filter(|name| runs.iter().any(|(run, _)| run == *name)) {
        place.remove(&run_key(name))?;
    }
    Ok(())
}
