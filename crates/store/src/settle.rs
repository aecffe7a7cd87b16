//! Brings in order what killed runs left.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;

use crate::place::{Place, files_of, remove_file};
use crate::prune::forgotten_before;
use crate::segment::{End, Recovered, close, recovered};
use crate::{
    Counted, Known, Rested, Run, Segment, StoreError, all_runs, all_segments, begin_run, counted, counts,
    joined_last, joinings, replaced, run_key, run_number, run_of, segment_key, write_run,
};

/// Bytes that the beginning of a hot segment has at most, before its rows (*assumed*: it has about five thousand).
const HEADER: u64 = 16 << 10;

/// What was found.
#[derive(Default)]
pub struct Settled {
    /// Whether somebody may be writing: the last run may be his.
    pub is_written: bool,
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
        // Of a bucket nobody says whether somebody writes into it.
        return Ok(Settled { is_written: true, ..Settled::default() });
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
            let Recovered { batches, end } = recovered(&path)?;
            let torn = if end == End::Clean { "" } else { ", and what came last was torn" };
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            // Whoever was killed leaves a beginning, and what comes last is short.
            if rows == 0 && end == End::Damaged && path.metadata().is_ok_and(|lies| lies.len() > HEADER) {
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
            told.push(format!("{run} was killed: {rows} rows of it were on the disk{torn}"));
            if rows > 0 && counts {
                close(place, run, number, &batches)?;
            } else if rows > 0 {
                // The run was joined or forgotten meanwhile: nobody would read them there.
                let of =
                    runs.iter().find(|(name, _)| name == run).and_then(|(_, rested)| rested.as_ref().ok());
                let home = of.and_then(|rested| rested.run.home.clone());
                close(place, &begin_run(place, home)?, 0, &batches)?;
            }
        }
        remove_file(&path)?;
    }
    let failures = sweep(place)?;
    Ok(Settled { is_written: false, notices: told, failures })
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
        match run_of(file) {
            Some(run) if is_whole && !is_left_over(run, file, &runs, &gone) => {
                unknown.extend([run.to_owned()]);
            }
            Some(_) => place.remove_table(file)?,
            // It is somebody else's.
            None => {}
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
        let why =
            "no segment names tables of it, which are not read: copy the store again, or take them away";
        place.damaged(&run_key(&run), &why).to_string()
    };
    Ok(unknown.into_iter().map(say).collect())
}

/// Whether it is known why no segment names a file of a run: it was forgotten, or others took the run's place, or it is of a joining that did not come to its end, of which
/// what was to be joined is there.
fn is_left_over(run: &str, file: &str, runs: &[Known], gone: &BTreeSet<String>) -> bool {
    let of = |name: &str| runs.iter().find(|(known, _)| known == name);
    match of(run) {
        Some((_, Ok(Rested { run: facts, .. }))) => {
            let day = file.split('/').find_map(|part| part.strip_prefix("day="));
            let is_forgotten = forgotten_before(facts).zip(day).is_some_and(|(first, day)| day < first);
            gone.contains(run) || *facts == Run::empty(true, None) || is_forgotten
        }
        Some((_, Err(_))) => false,
        None => joined_last(run).is_some_and(|last| of(&last).is_some()),
    }
}

/// Removes analyses of a cluster that rest on files which are no more: nobody goes on from them, and what they say of hosts is to be forgotten with the days that it is
/// of. Of those that were not published yet nobody says what they rest on: they go where days were forgotten, and nobody reads. Gives whether some have to wait for who
/// reads. Whoever calls it holds the lock.
///
/// # Errors
/// The store cannot be read, or they cannot be removed.
pub fn forget_analyses(place: &Place, forgot: bool) -> Result<bool, StoreError> {
    /// Where they lie, and what is written last of each.
    const FOLDER: &str = "analyses";
    const MANIFEST: &str = "/MANIFEST.json";
    let all = place.below(FOLDER)?;
    let of = |path: &str| path.split('/').nth(1).map(str::to_owned);
    if all.is_empty() {
        return Ok(false);
    }
    let Counted { segments, bad, .. } = counted(place)?;
    // What cannot be read now may be there.
    if !bad.is_empty() {
        return Ok(false);
    }
    let parts = segments.iter().flat_map(|s| &s.parts);
    let now: BTreeSet<(&str, u64, Option<u32>)> =
        parts.map(|p| (p.path.as_str(), p.bytes, p.crc32)).collect();
    let (mut published, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for manifest in all.iter().filter(|path| path.ends_with(MANIFEST)) {
        published.extend(of(manifest));
        let told: serde_json::Value = match place.read_json(manifest) {
            Ok(told) => told,
            Err(e @ StoreError::Io { .. }) => return Err(e),
            // What says nothing is of no use to anybody.
            Err(_) => serde_json::Value::Null,
        };
        let is_there = |f: &serde_json::Value| {
            let crc32 = f["crc32"].as_u64().map(|sum| sum as u32);
            f["path"]
                .as_str()
                .zip(f["bytes"].as_u64())
                .is_some_and(|(path, bytes)| now.contains(&(path, bytes, crc32)))
        };
        let files = told["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        if (files.is_empty() || !files.iter().all(is_there)) && place.is_past(manifest)? {
            gone.extend(of(manifest));
        }
    }
    // Who analyses a store in a folder reads it; of a bucket nobody says.
    if forgot && matches!(place, Place::Folder(_)) {
        gone.extend(all.iter().filter_map(|path| of(path)).filter(|id| !published.contains(id)));
    }
    if gone.is_empty() {
        return Ok(false);
    }
    let Some(_alone) = place.nobody_reads() else { return Ok(true) };
    let (first, then): (Vec<&String>, Vec<&String>) = all
        .iter()
        .filter(|path| of(path).is_some_and(|id| gone.contains(&id)))
        .partition(|path| path.ends_with(MANIFEST));
    first.into_iter().chain(then).try_for_each(|path| place.remove_table(path))?;
    Ok(false)
}
