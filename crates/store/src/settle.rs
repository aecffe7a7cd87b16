//! Brings in order what killed runs left.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;

use crate::segment::{close, recovered};
use crate::{
    HOT, LOCK, StoreError, all_runs, all_segments, counts, names, nobody_reads, replaced, run_path,
    segment_path,
};

/// Takes the store for oneself.
pub fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK);
    let file =
        File::options().create(true).append(true).open(&path).map_err(StoreError::io("write", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Busy(root.to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Err(StoreError::io("lock", &path)(e)),
    }
}

/// Closes what killed runs left hot, if nobody writes; says what was found.
///
/// # Errors
/// The store cannot be written, or is being written.
pub fn settle(root: &Path) -> Result<Vec<String>, StoreError> {
    let _lock = lock(root)?;
    repair(root)
}

/// Closes what killed runs left hot, and removes what does not count. Whoever calls it holds the lock.
pub fn repair(root: &Path) -> Result<Vec<String>, StoreError> {
    let mut told = Vec::new();
    let hot = root.join(HOT);
    for name in names(&hot, ".arrows")? {
        let path = hot.join(format!("{name}.arrows"));
        let Some((run, number)) = name.rsplit_once('-').and_then(|(r, n)| Some((r, n.parse().ok()?))) else {
            continue;
        };
        // It was closed, and the run was killed before it could remove this.
        let closed = segment_path(root, run, number).is_file();
        if !closed {
            let (batches, torn) = recovered(&path)?;
            let end = if torn { ", and what came last was torn" } else { "" };
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            told.push(format!("{run} was killed: {rows} rows of it were on the disk{end}"));
            if rows > 0 {
                close(root, run, number, &batches)?;
            }
        }
        remove(&path)?;
    }
    sweep(root)?;
    Ok(told)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes what does not count: runs that others have taken the place of, segments of joinings that did not come to their end, and files that no
/// segment names. While somebody reads, or something cannot be read, it all stays. Whoever calls it holds the lock.
pub fn sweep(root: &Path) -> Result<(), StoreError> {
    let (all, bad) = all_segments(root)?;
    let runs = all_runs(root)?;
    // What a damaged one named is not known.
    if !bad.is_empty() || runs.iter().any(|(_, run)| run.is_err()) {
        return Ok(());
    }
    let Some(_alone) = nobody_reads(root) else { return Ok(()) };
    let gone = replaced(&runs);
    let (kept, dropped): (Vec<_>, Vec<_>) = all.iter().partition(|s| counts(&s.run, &runs, &gone));
    // What names files goes before them, and a run after all that is its own.
    for segment in dropped {
        remove(&segment_path(root, &segment.run, segment.number))?;
    }
    let named: BTreeSet<&str> = kept.iter().flat_map(|s| &s.parts).map(|p| p.path.as_str()).collect();
    for orphan in unnamed(root, &named)? {
        remove(&orphan)?;
        // Folders that hold nothing any more; others stay.
        for folder in orphan.ancestors().skip(1).take_while(|f| *f != root) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    for (name, _) in runs.iter().filter(|(name, _)| gone.contains(name)) {
        remove(&run_path(root, name))?;
    }
    Ok(())
}

/// Files of tables that no segment names: their run was killed before they counted.
fn unnamed(root: &Path, named: &BTreeSet<&str>) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in root.read_dir().map_err(StoreError::io("read", root))? {
        let entry = entry.map_err(StoreError::io("read", root))?;
        if entry.file_name().to_string_lossy().starts_with("kind=") && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().map_err(StoreError::io("read", &folder))? {
            let path = entry.map_err(StoreError::io("read", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let ours = path.extension().is_some_and(|e| e == "parquet" || e == "part");
            if ours && !named.contains(below.as_str()) {
                found.push(path);
            }
        }
    }
    Ok(found)
}
