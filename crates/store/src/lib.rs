//! How do records rest?
//!
//! A store is a folder: what the sensor half told, so that it can be asked again by tomorrow's detectors, by `find`, and by any program that reads Parquet.
//!
//! - `hot/RUN-N.arrows`: the segment that is being written, an Arrow IPC stream whose batches are on the disk before they count.
//! - `kind=…/day=…/site=…/RUN-N.parquet`: closed segments, sorted by bucket, host, `known` and `seq`.
//! - `segments/RUN-N.json`: what a closed segment consists of. It is written last, by rename: a file that none of these names does not count.
//! - `runs/RUN.json`: what a run read, and how well.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod compact;
mod find;
mod late;
mod merge;
mod prune;
mod read;
mod row;
mod segment;
mod settle;
mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use record::{Health, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use compact::{Compacted, compact};
pub use find::{Found, Indicator, Search, Sought, find};
pub use late::Analysed;
pub use prune::{Keep, Pruned, PrunedDay, prune};
pub use read::{Reader, Span};
pub use write::{Writer, Written};

/// The form that is written and read. Another one is refused by name.
pub const VERSION: u32 = 1;
/// What says that a folder is a store.
const MARK: &str = "store.json";
/// A run's facts.
const RUNS: &str = "runs";
/// What segments consist of.
const SEGMENTS: &str = "segments";
/// What is being written.
const HOT: &str = "hot";
/// Who writes holds this.
const LOCK: &str = "writer.lock";
/// Who reads holds this together with others; who removes files holds it alone.
const READERS: &str = "readers.lock";

/// Why a store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system's fault.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no store that hydrophone wrote: `read --store` makes one in an empty or a new folder", .0.display())]
    Other(PathBuf),
    /// Another version wrote it.
    #[error("{} is a store of form {found}, and this version knows form {VERSION}: {}", path.display(), advice(*found, by.as_deref()))]
    Version {
        /// The store.
        path: PathBuf,
        /// Its form.
        found: u32,
        /// The version of the program that made it, where it says so.
        by: Option<String>,
    },
    /// Somebody else writes into it.
    #[error("{} is being written by another run: wait for it, or name another store", .0.display())]
    Busy(PathBuf),
    /// Somebody reads what would have to be removed.
    #[error("{} is being read by another run: wait for it", .0.display())]
    Read(PathBuf),
    /// What writes has ended by a fault of the program's own, or has failed before.
    #[error("nothing more is written into the store, because writing failed before")]
    Stopped,
    /// What stands in a file is not what was written.
    #[error("{} is damaged ({why}); everything else of the store is there", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}

/// What can be done with a store of another form.
fn advice(found: u32, by: Option<&str>) -> String {
    let wrote = by.map_or_else(
        || "the version that wrote it".to_owned(),
        |by| format!("hydrophone {by}, which made it"),
    );
    if found > VERSION {
        format!("read it with {wrote}, or a newer one")
    } else {
        format!(
            "read it with {wrote}, or read what it was made of (runs/*.json name the captures and logs) into a new one"
        )
    }
}

impl StoreError {
    fn io(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path: path.clone(), source }
    }

    fn damaged(path: &Path, why: &impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }
}

/// What says that a folder is a store, and of which form.
#[derive(Serialize, Deserialize)]
struct Mark {
    hydrophone_store: u32,
    /// The version of the program that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
}

/// An input of a run, of which the order is that of its packet ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInput {
    /// Its path.
    pub path: String,
    /// Its size in bytes; `None` for streams.
    pub size: Option<u64>,
    /// SHA-256 of it, if it was taken.
    pub sha256: Option<String>,
    /// Which sensor's log it is, if it is one.
    pub log: Option<String>,
}

/// What a run was: one `read --store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it read.
    pub inputs: Vec<StoredInput>,
    /// Whether it came to its end; otherwise it was killed, and all that was on the disk by then is there.
    pub complete: bool,
    /// Rows of all segments.
    pub rows: u64,
    /// What was said about the inputs.
    pub notices: Vec<String>,
    /// Inputs that failed or ended early.
    pub failures: Vec<String>,
    /// What the capture is worth.
    pub health: Health,
}

impl Run {
    /// What is to be said of one that was killed.
    const KILLED: &str = "what was not on the disk by then is missing";

    /// Whether it ended without a word.
    const fn was_killed(&self) -> bool {
        !self.complete && self.failures.is_empty()
    }
}

/// A run as it rests: health is no JSON, for its keys are no words.
#[derive(Serialize, Deserialize)]
struct RestedRun {
    inputs: Vec<StoredInput>,
    complete: bool,
    rows: u64,
    notices: Vec<String>,
    failures: Vec<String>,
    /// Postcard, in hexadecimal digits.
    health: String,
    /// Runs that this one is made of: from the moment that this file is there, they do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaces: Vec<String>,
}

/// A run, and the runs that it takes the place of.
struct Rested {
    run: Run,
    replaces: Vec<String>,
}

/// Whether a folder is a store.
pub fn is_store(path: &Path) -> bool {
    path.join(MARK).is_file()
}

/// Makes sure that it is a store of this form.
fn check(path: &Path) -> Result<(), StoreError> {
    let mark = path.join(MARK);
    if !mark.is_file() {
        return Err(StoreError::Other(path.to_owned()));
    }
    let Mark { hydrophone_store: found, made_by: by } = read_json(&mark)?;
    if found != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found, by });
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = std::fs::read(path).map_err(StoreError::io("read", path))?;
    serde_json::from_slice(&text).map_err(|e| StoreError::damaged(path, &e))
}

/// Writes a file whole or not at all: what has its name is on the disk.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let fresh = path.with_extension("part");
    let io = StoreError::io("write", path);
    let mut file = File::create(&fresh).map_err(&io)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(&io)?;
    publish(&fresh, path)
}

/// Gives a file that is on the disk its name, and makes sure that the name is there as well.
fn publish(fresh: &Path, path: &Path) -> Result<(), StoreError> {
    let io = StoreError::io("write", path);
    std::fs::rename(fresh, path).map_err(&io)?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|f| f.sync_all()).map_err(&io)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| StoreError::damaged(path, &e))?;
    write_whole(path, &text)
}

fn run_path(root: &Path, id: &str) -> PathBuf {
    root.join(RUNS).join(format!("{id}.json"))
}

fn write_run(root: &Path, id: &str, run: &Run, replaces: &[String]) -> Result<(), StoreError> {
    let path = run_path(root, id);
    let health = postcard::to_stdvec(&run.health).map_err(|e| StoreError::damaged(&path, &e))?;
    let Run { inputs, complete, rows, notices, failures, health: _ } = run.clone();
    let (health, replaces) = (record::hex(&health), replaces.to_vec());
    write_json(&path, &RestedRun { inputs, complete, rows, notices, failures, health, replaces })
}

fn read_run(path: &Path) -> Result<Rested, StoreError> {
    let rested: RestedRun = read_json(path)?;
    let digits = rested.health.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(|| StoreError::damaged(path, &"its health is no number"))?;
    let health = postcard::from_bytes(&bytes).map_err(|e| StoreError::damaged(path, &e))?;
    let RestedRun { inputs, complete, rows, notices, failures, health: _, replaces } = rested;
    Ok(Rested { run: Run { inputs, complete, rows, notices, failures, health }, replaces })
}

/// A run by its name, or why it cannot be read.
type Known = (String, Result<Rested, StoreError>);

/// All runs in the order of their names, also those that others have taken the place of.
fn all_runs(root: &Path) -> Result<Vec<Known>, StoreError> {
    let read = |name: String| {
        let run = read_run(&run_path(root, &name));
        (name, run)
    };
    Ok(names(&root.join(RUNS), ".json")?.into_iter().map(read).collect())
}

/// The runs that others have taken the place of.
fn replaced(runs: &[Known]) -> BTreeSet<String> {
    runs.iter()
        .filter_map(|(_, run)| run.as_ref().ok())
        .flat_map(|run| run.replaces.iter().cloned())
        .collect()
}

/// The runs that count, in the order of their names.
fn runs(root: &Path) -> Result<Vec<Known>, StoreError> {
    let mut all = all_runs(root)?;
    let gone = replaced(&all);
    all.retain(|(name, _)| !gone.contains(name));
    Ok(all)
}

/// The number that a run was given; of one that was joined that of the last of them.
fn run_number(run: &str) -> Option<u32> {
    run.strip_prefix('r')?.split('c').next()?.parse().ok()
}

/// Whether a run was joined of others: it counts only when its own file is there.
fn is_joined(run: &str) -> bool {
    run.contains('c')
}

/// Keeps files where they are while they are read; nothing where that cannot be said.
fn reading(root: &Path) -> Option<File> {
    let file = File::options().create(true).append(true).open(root.join(READERS)).ok()?;
    // Who removes files is done soon.
    file.lock_shared().ok()?;
    Some(file)
}

/// Makes sure that nobody reads, for as long as it is held; nothing where somebody does.
fn nobody_reads(root: &Path) -> Option<File> {
    let file = File::options().create(true).append(true).open(root.join(READERS)).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// A file of a closed segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    /// Below the store.
    path: String,
    kind: String,
    day: String,
    site: u16,
    rows: u64,
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
}

/// A closed segment: it counts as a whole, or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Segment {
    run: String,
    number: u32,
    /// Records, when it was closed.
    rows: u64,
    /// The highest number of an input that its packets are of.
    last_input: u32,
    parts: Vec<Part>,
}

/// The names of files in a folder that end so, in order; none where there is no such folder.
fn names(folder: &Path, ending: &str) -> Result<Vec<String>, StoreError> {
    let io = StoreError::io("read", folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(&io)?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(ending).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// A segment's name.
fn segment_name(run: &str, number: u32) -> String {
    format!("{run}-{number:05}")
}

fn segment_path(root: &Path, run: &str, number: u32) -> PathBuf {
    root.join(SEGMENTS).join(format!("{}.json", segment_name(run, number)))
}

/// All segments that are there, in the order of their runs and numbers, and those that cannot be read.
fn all_segments(root: &Path) -> Result<(Vec<Segment>, Vec<StoreError>), StoreError> {
    let folder = root.join(SEGMENTS);
    let (mut all, mut bad) = (Vec::new(), Vec::new());
    for name in names(&folder, ".json")? {
        match read_json::<Segment>(&folder.join(format!("{name}.json"))) {
            Ok(segment) => all.push(segment),
            Err(e) => bad.push(e),
        }
    }
    all.sort_by(|a, b| (&a.run, a.number).cmp(&(&b.run, b.number)));
    Ok((all, bad))
}

/// The segments that count.
fn segments(root: &Path) -> Result<(Vec<Segment>, Vec<StoreError>), StoreError> {
    let (mut all, bad) = all_segments(root)?;
    let runs = all_runs(root)?;
    let gone = replaced(&runs);
    all.retain(|s| counts(&s.run, &runs, &gone));
    Ok((all, bad))
}

/// Whether a run's segments count.
fn counts(run: &str, runs: &[Known], gone: &BTreeSet<String>) -> bool {
    !gone.contains(run) && (!is_joined(run) || runs.iter().any(|(name, _)| name == run))
}
