//! `read --store` and `listen --store`: what is read or heard is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use behaviour::Home;
use capture::Seal;
use pipeline::{ByteSize, Input, Outcome};
use record::{Record, Timestamp};
use store::{Catalog, Span, StoreError, StoredInput, Times, Writer};

use crate::config::Config;
use crate::{Failure, find};

/// How often records are put on the disk while it is listened: so much is lost when the program is killed.
const FLUSHED: Duration = Duration::from_secs(10);
/// Files that are named where some are read again.
const SHOWN: usize = 3;
/// The part of the memory budget that a segment may take while it is written.
const PART: u64 = 8;

/// Begins to keep records in a store.
pub fn begin(dir: &Path, inputs: &[PathBuf], config: &Config, memory: ByteSize) -> Result<Writer, Failure> {
    let absolute = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_owned());
    if inputs.iter().any(|i| absolute(i) == absolute(dir)) {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is read: name another store to write into",
            dir.display()
        )));
    }
    let home = if config.home.is_empty() { Home::private() } else { Home::of(config.home.clone()) };
    let networks = home.networks().to_vec();
    let writer = Writer::begin(dir, &networks, move |ip| home.contains(ip)).map_err(find::failure)?;
    Ok(writer.within((memory.0 / PART) as usize))
}

/// What a run is to read, and what becomes of runs that read some of it before.
#[derive(Default)]
pub struct Planned {
    files: Vec<StoredInput>,
    /// Runs that began to read the same and did not come to their end.
    instead: Vec<String>,
}

impl Planned {
    /// Lists what is to be read into a store, and of which times. What it holds of these files already would count twice: a file that was read into it before, or that was and has grown since, is
    /// refused; where it was not read to its end, this run takes the place of that one.
    pub fn of(dir: &Path, inputs: &[PathBuf], times: Times) -> Result<Self, Failure> {
        let mut planned = Self { files: files_of(inputs, times)?, instead: Vec::new() };
        if !store::is_store(dir) {
            return Ok(planned);
        }
        let catalog = match Catalog::open(dir, Span::default(), 0) {
            Ok(catalog) => catalog,
            // A bucket with nothing in it yet; what it is else is told by whoever writes into it.
            Err(StoreError::Other(_)) => return Ok(planned),
            Err(e) => return Err(find::failure(e)),
        };
        let mut files = Files::of(&planned.files);
        let mut repeated = Vec::new();
        for (name, run) in catalog.runs() {
            let read = || run.inputs.iter().chain(&run.planned);
            let again: Vec<_> =
                read().map(|input| files.find(input).filter(|_| input.times.meet(&times))).collect();
            let is_held = read().all(|input| times.hold(&input.times));
            if !run.complete && is_held && !again.is_empty() && again.iter().all(Option::is_some) {
                planned.instead.push(name.clone());
                continue;
            }
            for (input, file) in read().zip(again).filter_map(|(input, file)| Some((input, file?))) {
                let how = match (run.complete, input.size == file.size) {
                    (false, _) => "was begun to be read into it, with others",
                    (true, true) => "was read into it before",
                    (true, false) => "was read into it before and has grown since",
                };
                repeated.push(format!("{} {how} ({name}: {})", file.path, input.path));
            }
        }
        if repeated.is_empty() {
            return Ok(planned);
        }
        let more = match repeated.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!("; and {n} more"),
        };
        Err(Failure::usage(anyhow::anyhow!(
            "{}: {}{more}: it would count twice. Leave it out, or write into another store",
            dir.display(),
            repeated[..repeated.len().min(SHOWN)].join("; ")
        )))
    }

    /// Tells a store of it; says what is to be said.
    pub fn begin(self, writer: Writer) -> Result<(Writer, Option<String>), Failure> {
        let said = (!self.instead.is_empty()).then(|| {
            format!(
                "what {} began to read and did not end does not count any more: it is read anew",
                self.instead.join(", ")
            )
        });
        Ok((writer.reading(self.files, self.instead).map_err(find::failure)?, said))
    }
}

/// What is to be read.
fn files_of(inputs: &[PathBuf], times: Times) -> Result<Vec<StoredInput>, Failure> {
    let mut files = Vec::new();
    // Standard input and stores have no size: of these nobody knows whether they are read again.
    let nameless = |path: &Path| StoredInput {
        path: path.display().to_string(),
        size: None,
        sha256: None,
        log: None,
        times,
    };
    let planned = |file: PathBuf| {
        // What cannot be read is told by whoever reads it.
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
        let path = std::path::absolute(&file).unwrap_or(file).display().to_string();
        Some(StoredInput { path, size: Some(size), sha256: None, log: None, times })
    };
    for path in inputs {
        if store::is_store(path) {
            files.push(nameless(path));
        } else if path.is_dir() {
            files.extend(capture::files_in(path).map_err(Failure::input)?.into_iter().filter_map(planned));
        } else {
            files.push(planned(path.clone()).unwrap_or_else(|| nameless(path)));
        }
    }
    Ok(files)
}

/// Files that are to be read, by what tells them again; a hash is taken once, and where it is asked for.
struct Files<'a> {
    all: &'a [StoredInput],
    by_size: BTreeMap<u64, Vec<usize>>,
    by_path: BTreeMap<&'a str, usize>,
    hashes: BTreeMap<(usize, u64), Option<String>>,
}

impl<'a> Files<'a> {
    fn of(files: &'a [StoredInput]) -> Self {
        let mut by_size: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            by_size.entry(file.size.unwrap_or_default()).or_default().push(at);
        }
        let by_path = files.iter().enumerate().map(|(at, file)| (file.path.as_str(), at)).collect();
        Self { all: files, by_size, by_path, hashes: BTreeMap::new() }
    }

    /// The file that is what was read, or a log that goes on where it ended. Of what was planned and killed no hash is known: the path tells, where it is no shorter.
    fn find(&mut self, read: &StoredInput) -> Option<&'a StoredInput> {
        let (size, files) = (read.size?, self.all);
        let named = self.by_path.get(read.path.as_str()).copied();
        let Some(sha256) = &read.sha256 else {
            return named.map(|at| &files[at]).filter(|file| file.size >= read.size);
        };
        let grown = named.filter(|at| read.log.is_some() && files[*at].size > read.size);
        let same = self.by_size.get(&size).into_iter().flatten().copied();
        let hashes = &mut self.hashes;
        let mut is_it = |at: &usize| {
            let first = || Seal::of_first(size, Path::new(&files[*at].path)).ok();
            hashes.entry((*at, size)).or_insert_with(first).as_ref() == Some(sha256)
        };
        same.chain(grown).find(|at| is_it(at)).map(|at| &files[at])
    }
}

/// Ends what is kept with what was read. What could not be kept is a failure of the run, and takes nothing from its story.
pub fn finish(keeper: Writer, mut times: Times, outcome: &mut Outcome) {
    // A part that goes to the end goes to what was the end then, to the microsecond that is written down.
    if outcome.is_complete() && times.since.is_some() && times.until.is_none() {
        let behind = |last: Timestamp| Timestamp((last.0.div_euclid(1000) + 1).saturating_mul(1000));
        times.until = outcome.health.last.map(behind).or(times.since);
    }
    let settled = keeper.notices().to_vec();
    let inputs = outcome.inputs.iter().map(|input| stored(input, times)).collect();
    let notices = outcome.notices.iter().take(outcome.of_inputs).cloned().collect();
    let (complete, failures) = (outcome.is_complete(), outcome.failures.clone());
    match keeper.finish(inputs, complete, notices, failures, outcome.health.clone()) {
        Ok(written) => outcome.notices.extend(written.notice),
        Err(e) => outcome.failures.push(format!("not all of it was kept: {e}")),
    }
    outcome.notices.extend(settled);
}

/// An input as a store has it: it may be read again from another folder.
fn stored(input: &Input, times: Times) -> StoredInput {
    let path = match std::path::absolute(&input.path) {
        Ok(path) if input.size.is_some() => path.display().to_string(),
        _ => input.path.clone(),
    };
    StoredInput { path, size: input.size, sha256: input.sha256.clone(), log: input.log.clone(), times }
}

/// A store that is written for months: what stands in its way is told, and tried again.
pub struct Keeper<'a> {
    dir: &'a Path,
    config: &'a Config,
    memory: ByteSize,
    writer: Option<Writer>,
    flushed: Option<Timestamp>,
    /// Records that nobody wrote down, and those that are not on the disk yet.
    unkept: u64,
    taken: u64,
    /// Why nothing is kept now.
    trouble: Option<String>,
    /// What the store says of itself.
    news: Vec<String>,
}

impl<'a> Keeper<'a> {
    /// Begins to keep records.
    pub fn begin(dir: &'a Path, config: &'a Config, memory: ByteSize) -> Result<Self, Failure> {
        let writer = begin(dir, &[], config, memory)?;
        let news = writer.notices().to_vec();
        let writer = Some(writer);
        Ok(Self { dir, config, memory, writer, flushed: None, unkept: 0, taken: 0, trouble: None, news })
    }

    /// Records that were not kept.
    pub const fn unkept(&self) -> u64 {
        self.unkept
    }

    /// Why nothing is kept now, if that is so.
    pub const fn trouble(&self) -> Option<&String> {
        self.trouble.as_ref()
    }

    /// What the store says of itself, once.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// Takes a record.
    pub fn record(&mut self, record: &Record) {
        match &mut self.writer {
            Some(writer) => {
                writer.record(record);
                self.taken += 1;
            }
            None => self.unkept += 1,
        }
    }

    /// Time has passed: puts what was taken on the disk, if it is time to; gives what is to be said.
    pub fn until(&mut self, clock: Timestamp) -> Option<String> {
        if clock.since(*self.flushed.get_or_insert(clock)) < FLUSHED {
            return None;
        }
        self.flushed = Some(clock);
        if self.writer.is_some() {
            return self.flush();
        }
        let writer = begin(self.dir, &[], self.config, self.memory).ok()?;
        self.news.extend(writer.notices().iter().cloned());
        (self.writer, self.trouble) = (Some(writer), None);
        Some(format!("records are kept again; {} were not", self.unkept))
    }

    /// Whether what comes is kept.
    pub const fn is_writing(&self) -> bool {
        self.writer.is_some()
    }

    /// Puts what was taken on the disk; gives what is to be said.
    pub fn flush(&mut self) -> Option<String> {
        let flushed = self.writer.as_mut()?.flush();
        let taken = std::mem::take(&mut self.taken);
        let e = flushed.err()?;
        // What it wrote lies there as after a kill.
        self.writer = None;
        self.unkept += taken;
        let why = format!("records are not kept: {e}; it is tried again");
        self.trouble = Some(why.clone());
        Some(why)
    }

    /// Ends what is kept.
    pub fn finish(self, outcome: &mut Outcome) {
        if let Some(writer) = self.writer {
            finish(writer, Times::default(), outcome);
        }
        if self.unkept > 0 {
            outcome.failures.push(format!("{} records were not kept", self.unkept));
        }
    }
}
