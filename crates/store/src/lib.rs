//! How do records rest?
//!
//! A store is a folder, or a part of a bucket of S3: what the sensor half told, so that it can be asked again by tomorrow's detectors, by `find`, and by any program that reads Parquet.
//!
//! - `hot/RUN-N.arrows`: the segment that is being written, an Arrow IPC stream whose batches are on the disk before they count.
//! - `kind=…/day=…/site=…/RUN-N.parquet`: closed segments, sorted by bucket, host, `known` and `seq`.
//! - `segments/RUN-N.json`: what a closed segment consists of. It is written last, by rename: a file that none of these names does not count.
//! - `runs/RUN.json`: what a run read, and how well.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod catalog;
mod checked;
mod compact;
mod find;
mod late;
mod merge;
mod place;
mod prune;
mod read;
mod row;
mod segment;
mod settle;
mod write;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use arrow_schema::ArrowError;
use bytes::Bytes;
use ipnet::IpNet;
use place::{Place, files_of};
use prune::forgotten_before;
use record::{Health, Timestamp};
use serde::{Deserialize, Serialize};

pub use catalog::{Catalog, Objects, TableFile, columns};
pub use checked::{Checked, check_files};
pub use compact::{Compacted, compact};
pub use find::{Found, Indicator, Search, Sought, find};
pub use late::Analysed;
pub use place::{is_bucket, objects};
pub use prune::{Keep, Pruned, PrunedDay, prune};
pub use read::{Reader, Span};
pub use write::{Writer, Written};

/// The form that is written and read. Another one is refused by name.
pub const VERSION: u32 = 5;
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
    /// The name of a place in a bucket, or what the environment says of it, is wrong.
    #[error("cannot use {url}: {why}")]
    Named {
        /// The name.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Another machine writes into it, or was killed while it did.
    #[error("{url} is being written by {host}: wait for it, or, if nothing runs there any more, remove {}", lock.display())]
    Held {
        /// The store.
        url: String,
        /// The machine's name.
        host: String,
        /// What says so.
        lock: PathBuf,
    },
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

    /// What stood in the way of writing: the disk, or what was to be written.
    fn written(path: &Path) -> impl Fn(ArrowError) -> Self {
        move |e| match e {
            ArrowError::IoError(_, source) => Self::io("write", path)(source),
            other => Self::damaged(path, &other),
        }
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
    /// What times of it were read.
    #[serde(default, skip_serializing_if = "Times::is_all")]
    pub times: Times,
}

/// From when, and until before when; all of it where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The first moment.
    pub since: Option<Timestamp>,
    /// The first moment that is not of it.
    pub until: Option<Timestamp>,
}

impl Times {
    /// Whether nothing is left out.
    pub const fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Whether some moment is of both.
    pub fn meet(&self, other: &Self) -> bool {
        let ends_before =
            |a: &Self, b: &Self| a.until.zip(b.since).is_some_and(|(until, since)| until <= since);
        let is_empty = |a: &Self| ends_before(a, a);
        !(ends_before(self, other) || ends_before(other, self) || is_empty(self) || is_empty(other))
    }

    /// Whether every moment of the other is of it.
    pub fn hold(&self, other: &Self) -> bool {
        let since = self.since.is_none_or(|since| other.since.is_some_and(|other| other >= since));
        since && self.until.is_none_or(|until| other.until.is_some_and(|other| other <= until))
    }
}

/// What a run was: one `read --store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it read.
    pub inputs: Vec<StoredInput>,
    /// What it was to read, which is all that is known of one that was killed.
    pub planned: Vec<StoredInput>,
    /// Whether what it read has an end, which a sensor has not.
    pub ends: bool,
    /// Whether it came to its end; otherwise it was killed, and all that was on the disk by then is there.
    pub complete: bool,
    /// Rows of all segments.
    pub rows: u64,
    /// The local networks that its rows are filed by, where it says so.
    pub home: Option<Vec<IpNet>>,
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

    /// One of which nothing is said but how its rows are filed.
    fn empty(complete: bool, home: Option<Vec<IpNet>>) -> Self {
        Self {
            inputs: Vec::new(),
            planned: Vec::new(),
            ends: false,
            complete,
            rows: 0,
            home,
            notices: Vec::new(),
            failures: Vec::new(),
            health: Health::default(),
        }
    }

    /// Whether it ended without a word.
    pub(crate) const fn was_killed(&self) -> bool {
        !self.complete && self.failures.is_empty()
    }
}

/// A run as it rests: health is no JSON, for its keys are no words.
#[derive(Serialize, Deserialize)]
struct RestedRun {
    inputs: Vec<StoredInput>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    planned: Vec<StoredInput>,
    #[serde(default)]
    ends: bool,
    complete: bool,
    rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<Vec<IpNet>>,
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

/// Whether a path is a store: a folder that is one, or the name of a place in a bucket, which only reading tells.
pub fn is_store(path: &Path) -> bool {
    is_bucket(path) || path.join(MARK).is_file()
}

/// Finds a store, and makes sure that it is one of this form.
fn open(path: &Path) -> Result<Place, StoreError> {
    let place = Place::of(path)?;
    check(&place)?;
    Ok(place)
}

/// Makes sure that it is a store of this form.
fn check(place: &Place) -> Result<(), StoreError> {
    if !place.has(MARK)? {
        return Err(StoreError::Other(place.name()));
    }
    let Mark { hydrophone_store: found, made_by: by } = place.read_json(MARK)?;
    if found != VERSION {
        return Err(StoreError::Version { path: place.name(), found, by });
    }
    Ok(())
}

fn run_key(id: &str) -> String {
    format!("{RUNS}/{id}.json")
}

fn write_run(place: &Place, id: &str, run: &Run, replaces: &[String]) -> Result<(), StoreError> {
    let key = run_key(id);
    let health = postcard::to_stdvec(&run.health).map_err(|e| place.damaged(&key, &e))?;
    let Run { inputs, planned, ends, complete, rows, home, notices, failures, health: _ } = run.clone();
    let (health, replaces) = (record::hex(&health), replaces.to_vec());
    let rested =
        RestedRun { inputs, planned, ends, complete, rows, home, notices, failures, health, replaces };
    place.write_json(&key, &rested)
}

fn parse_run(place: &Place, key: &str, text: &[u8]) -> Result<Rested, StoreError> {
    let rested: RestedRun = place.parse(key, text)?;
    let digits = rested.health.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(|| place.damaged(key, &"its health is no number"))?;
    let health = postcard::from_bytes(&bytes).map_err(|e| place.damaged(key, &e))?;
    let RestedRun { inputs, planned, ends, complete, rows, home, notices, failures, health: _, replaces } =
        rested;
    let run = Run { inputs, planned, ends, complete, rows, home, notices, failures, health };
    Ok(Rested { run, replaces })
}

/// A run by its name, or why it cannot be read.
type Known = (String, Result<Rested, StoreError>);

/// All runs in the order of their names, also those that others have taken the place of.
fn all_runs(place: &Place) -> Result<Vec<Known>, StoreError> {
    let names = place.names(RUNS, ".json")?;
    let keys: Vec<String> = names.iter().map(|name| run_key(name)).collect();
    let texts = place.read_all(&keys);
    let parse =
        |(key, text): (&String, Result<_, _>)| text.and_then(|text: Bytes| parse_run(place, key, &text));
    let runs = keys.iter().zip(texts).map(parse);
    Ok(names.iter().cloned().zip(runs).collect())
}

/// The runs that others have taken the place of.
fn replaced(runs: &[Known]) -> BTreeSet<String> {
    runs.iter()
        .filter_map(|(_, run)| run.as_ref().ok())
        .flat_map(|run| run.replaces.iter().cloned())
        .collect()
}

/// Begins a run: its number is taken, whatever becomes of it. Whoever calls it holds the lock.
fn begin_run(place: &Place, home: Option<Vec<IpNet>>) -> Result<String, StoreError> {
    // Also one of which nothing is left but its files: these are not written over.
    let mut taken = place.names(RUNS, ".json")?;
    taken.extend(place.names(SEGMENTS, ".json")?);
    taken.extend(files_of(&place.hot())?);
    taken.extend(place.tables()?.iter().filter_map(|file| run_of(file)).map(str::to_owned));
    let last = taken.iter().filter_map(|r| run_number(r)).max().unwrap_or(0);
    let run = format!("r{:06}", last + 1);
    write_run(place, &run, &Run::empty(false, home), &[])?;
    Ok(run)
}

/// The number that a run was given, also by the name of a segment of it; of one that was joined that of the last of them.
fn run_number(run: &str) -> Option<u32> {
    run.strip_prefix('r')?.split(['c', '-']).next()?.parse().ok()
}

/// The run that wrote a file of a table, by its name, which is of no other form: whatever else lies there is somebody else's.
fn run_of(file: &str) -> Option<&str> {
    let name = file.rsplit('/').next()?;
    let name = name.strip_suffix(".parquet").or_else(|| name.strip_suffix(".part"))?;
    let (run, number) = name.rsplit_once('-')?;
    let named = match joinings(run) {
        0 => format!("r{:06}", run_number(run)?),
        n => format!("r{:06}c{n}", run_number(run)?),
    };
    (named == run && segment_name(run, number.parse().ok()?) == name).then_some(run)
}

/// How many joinings a run has come through.
fn joinings(run: &str) -> u32 {
    run.split_once('c').and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
}

/// Whether a run was joined of others: it counts only when its own file is there.
fn is_joined(run: &str) -> bool {
    run.contains('c')
}

/// The last of the runs that a joined one was made of, as it is named after it.
fn joined_last(run: &str) -> Option<String> {
    let number = run_number(run)?;
    match joinings(run) {
        0 => None,
        1 => Some(format!("r{number:06}")),
        n => Some(format!("r{number:06}c{}", n - 1)),
    }
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
    /// CRC-32 of the file, as in zip; older ones have none.
    #[serde(default)]
    crc32: Option<u32>,
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

/// A segment's name.
fn segment_name(run: &str, number: u32) -> String {
    format!("{run}-{number:05}")
}

fn segment_key(run: &str, number: u32) -> String {
    format!("{SEGMENTS}/{}.json", segment_name(run, number))
}

/// All segments that are there, in the order of their runs and numbers, and those that cannot be read.
fn all_segments(place: &Place) -> Result<(Vec<Segment>, Vec<StoreError>), StoreError> {
    let keys: Vec<String> =
        place.names(SEGMENTS, ".json")?.iter().map(|name| format!("{SEGMENTS}/{name}.json")).collect();
    let (mut all, mut bad) = (Vec::new(), Vec::new());
    for (key, text) in keys.iter().zip(place.read_all(&keys)) {
        match text.and_then(|text| place.parse::<Segment>(key, &text)) {
            Ok(segment) => all.push(segment),
            Err(e) => bad.push(e),
        }
    }
    all.sort_by(|a, b| (&a.run, a.number).cmp(&(&b.run, b.number)));
    Ok((all, bad))
}

/// What counts: runs in the order of their names, their segments, and why others cannot be read.
struct Counted {
    runs: Vec<Known>,
    segments: Vec<Segment>,
    bad: Vec<StoreError>,
}

/// What counts at one moment. Runs are asked first: what is joined meanwhile stays where it was, and what began later is another day's.
fn counted(place: &Place) -> Result<Counted, StoreError> {
    let mut runs = all_runs(place)?;
    // Of whom a joined run takes the place only its file says: where that could not be fetched, all would count twice.
    let unread = |(name, run): &Known| is_joined(name) && matches!(run, Err(StoreError::Io { .. }));
    if let Some(at) = runs.iter().position(unread)
        && let (_, Err(failed)) = runs.swap_remove(at)
    {
        return Err(failed);
    }
    let gone = replaced(&runs);
    let (mut segments, mut bad) = all_segments(place)?;
    // A run that was joined counts when its own file is there, and until then what it was made of is; every other has one from the beginning on.
    let is_there = |name: &str| runs.iter().any(|(known, _)| known == name);
    let lost = |s: &&Segment| !is_there(&s.run) && joined_last(&s.run).is_none_or(|of| !is_there(&of));
    let lost: BTreeSet<&str> = segments.iter().filter(lost).map(|s| s.run.as_str()).collect();
    for run in lost {
        // It may have begun since they were listed.
        if !place.has(&run_key(run))? {
            bad.push(place.damaged(&run_key(run), &"it is gone, and the rows of its run are not read"));
        }
    }
    runs.retain(|(name, _)| !gone.contains(name));
    let known: BTreeSet<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
    segments.retain(|s| known.contains(s.run.as_str()));
    for (name, run) in &runs {
        let Ok(Rested { run, .. }) = run else { continue };
        let of = || segments.iter().filter(|s| s.run == *name);
        let there: u64 = of().map(|s| s.rows).sum();
        if there < run.rows {
            // Older versions forgot days and left the number; others may forget some at this moment.
            let is_older = of().flat_map(|s| &s.parts).all(|p| p.crc32.is_none());
            let rows = || {
                Ok::<_, StoreError>(parse_run(place, &run_key(name), &place.read(&run_key(name))?)?.run.rows)
            };
            if (is_older && forgotten_before(run).is_some()) || rows().is_ok_and(|rows| there >= rows) {
                continue;
            }
            let (of, missing) = (run.rows, run.rows - there);
            let why = format!(
                "{missing} of its {of} records are not there, for no segment names them: copy the store again, or read the same into a new one"
            );
            bad.push(place.damaged(&run_key(name), &why));
        }
    }
    Ok(Counted { runs, segments, bad })
}

/// Whether a run's segments count.
fn counts(run: &str, runs: &[Known], gone: &BTreeSet<String>) -> bool {
    !gone.contains(run) && (!is_joined(run) || runs.iter().any(|(name, _)| name == run))
}
