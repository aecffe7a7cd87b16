//! What an analyst remembers, at rest: one file, so that tomorrow's capture is judged with what was seen today.
//!
//! A line that names form and version, then everything that is known as postcard under zstd, then the SHA-256 of all of that: what was damaged is
//! never read. A file takes the place of the one before in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use behaviour::{read_back, write_down};
use capture::Source;
use import::Position;
use record::{Health, Timestamp};
use report::AccountsLine;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use verdict::{Analysts, Prior, ResumeError, SaveError};

use crate::run::{Input, RunError, RunOptions, Sensed};

/// How the line begins that every version has.
const NAME: &str = "hydrophone state ";
/// The form that is written and read. Another one is refused by name.
pub const VERSION: u32 = 17;
/// Bytes of the checksum at the end.
const SUM: u64 = 32;
/// The longest first line.
const LONGEST_LINE: u64 = 64;

/// Failures that are remembered.
const MOST_FAILURES: usize = 256;

/// What earlier runs read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Past {
    /// The inputs, in the order of packet ids.
    pub inputs: Vec<Input>,
    /// The first packet's time, and the last's.
    pub first: Option<Timestamp>,
    /// See `first`.
    pub last: Option<Timestamp>,
    /// The shares that the network is analysed in.
    pub shares: u32,
    /// Whether each segment of the network has hosts of its own.
    pub segments_apart: bool,
    /// What was believed of a host before looking.
    pub prior: Prior,
    /// How far logs were read that were followed.
    pub positions: Vec<Position>,
    /// What captures and logs were worth that were read.
    pub health: Health,
    /// Those of them that failed or ended early.
    pub failures: Vec<String>,
}

impl Past {
    /// What was read is worth what all of it is worth: this run's, and that of earlier ones, which read so many inputs.
    pub(crate) fn weigh(&mut self, sensed: &mut Sensed, earlier: usize) {
        let accounts = AccountsLine::of(&sensed.health.accounts);
        if accounts.nothing_followed() && self.health.packets > 0 {
            sensed.failures.push("nothing of what was read last could be followed".to_owned());
        }
        self.health.merge(&sensed.health);
        // What was broken and has been read since, whole, is broken no more.
        let read: BTreeSet<PathBuf> = self.inputs[earlier..].iter().map(|i| PathBuf::from(&i.path)).collect();
        let of = |failure: &str| std::path::absolute(failure.split_once(": ")?.0).ok();
        let now: Vec<PathBuf> = sensed.failures.iter().filter_map(|f| of(f)).collect();
        self.failures.retain(|f| of(f).is_none_or(|path| !read.contains(&path) || now.contains(&path)));
        for failure in sensed.failures.drain(..) {
            if !self.failures.contains(&failure) && self.failures.len() < MOST_FAILURES {
                self.failures.push(failure);
            }
        }
        (sensed.health, sensed.failures) = (self.health.clone(), self.failures.clone());
    }

    /// Makes sure before reading that nothing is read a second time, as far as names and sizes tell.
    pub(crate) fn refuse(&self, state: &Path, options: &RunOptions) -> Result<(), RunError> {
        let absolute = |p: &Path| std::path::absolute(p).unwrap_or_else(|_| p.to_owned());
        for source in &options.inputs {
            let Source::Path(path) = source else { continue };
            let size = path.metadata().ok().filter(Metadata::is_file).map(|m| m.len());
            let same = |i: &&Input| size.is_some() && i.size == size && Path::new(&i.path) == absolute(path);
            if self.inputs.iter().any(|i| same(&i)) {
                return Err(RunError::Config(format!(
                    "{} was read into {} already: its packets would count twice",
                    path.display(),
                    state.display()
                )));
            }
        }
        Ok(())
    }

    /// Logs were read this far; of others what is known stays.
    pub(crate) fn stand_at(&mut self, positions: Vec<Position>) {
        let all = self.positions.drain(..).chain(positions).map(|p| (p.path.clone(), p));
        let latest: BTreeMap<PathBuf, Position> = all.collect();
        self.positions = latest.into_values().collect();
    }

    /// Adds what was read now; says what about it is not as it should be.
    pub(crate) fn learn(&mut self, state: &Path, sensed: &mut Sensed) -> Vec<String> {
        let mut told = Vec::new();
        let before = self.inputs.len();
        if before > 0 {
            let inputs = if before == 1 { "1 input".to_owned() } else { format!("{before} inputs") };
            let until =
                self.last.map_or_else(String::new, |t| format!(", the last packet of which came at {t}"));
            told.push(format!("goes on from {}: {inputs} read before{until}", state.display()));
        }
        if let (Some(first), Some(last)) = (sensed.health.first, self.last)
            && first < last
        {
            told.push(format!(
                "the inputs begin at {first}, before those read earlier end: what came first is not known"
            ));
        }
        for input in &mut sensed.inputs {
            let again = |i: &Input| i.sha256.is_some() && i.sha256 == input.sha256;
            if let Some(same) = self.inputs[..before].iter().find(|i| again(i)) {
                sensed.failures.push(format!(
                    "{} is {}, which was read before, so that its packets count twice: {} is left as it was",
                    input.path,
                    same.path,
                    state.display()
                ));
                sensed.repeated = true;
            }
            // It may be read from somewhere else next time.
            if input.size.is_some()
                && let Ok(path) = std::path::absolute(&input.path)
            {
                input.path = path.display().to_string();
            }
        }
        self.inputs.append(&mut sensed.inputs);
        self.stand_at(std::mem::take(&mut sensed.positions));
        self.first = [self.first, sensed.health.first].into_iter().flatten().min();
        self.last = self.last.max(sensed.health.last);
        told
    }
}

/// Why a state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
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
    /// Another run has it.
    #[error("{} is used by another run, which would take the place of what this one remembers", .0.display())]
    Busy(PathBuf),
    /// It is something else.
    #[error("{} is no state that hydrophone wrote: give --state another name", .0.display())]
    Other(PathBuf),
    /// Another version wrote it.
    #[error(
        "{} is a state of form {found}, and this version reads form {VERSION}: read the captures again into a new file, or use the version that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: String,
    },
    /// What stands in it is not what was written.
    #[error("{} is damaged ({why}): take a copy of it, or read the captures again into a new file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// It is of another number of shares.
    #[error("{} is of a network in {found} shares: say --shares {found}", path.display())]
    Shares {
        /// The file.
        path: PathBuf,
        /// Its shares.
        found: u32,
    },
    /// Segments of the network are apart in it, or they are not.
    #[error("{} is of {}", path.display(), if *apart { "segments apart: say --separate-segments" } else { "a network as one: leave --separate-segments out" })]
    Segments {
        /// The file.
        path: PathBuf,
        /// Whether they are.
        apart: bool,
    },
    /// Its verdicts were given under another prior.
    #[error("the verdicts in {} were given under a prior of {found}: say --prior {}", path.display(), String::from(*found))]
    Prior {
        /// The file.
        path: PathBuf,
        /// Its prior.
        found: Prior,
    },
    /// It cannot be gone on from.
    #[error("cannot go on from {}: {source}", path.display())]
    Resume {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ResumeError,
    },
    /// It could not be written down.
    #[error("cannot write {}: {source}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SaveError,
    },
}

/// Writes what comes through to the file and into the checksum.
struct Summed<W> {
    to: W,
    sum: Sha256,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.sum.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Holds a state for one run: of two that went on from it, the last would take the other's place.
///
/// # Errors
/// Another one has it.
pub fn lock(path: &Path) -> Result<File, StateError> {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".lock");
    let io = |source| StateError::Io { what: "lock", path: path.to_owned(), source };
    let file =
        File::options().create(true).truncate(false).write(true).open(PathBuf::from(name)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::Busy(path.to_owned())),
        Err(TryLockError::Error(e)) => Err(io(e)),
    }
}

/// Writes what the analysts remember, and what it was learned from.
///
/// # Errors
/// It cannot be written; what stood there before stays.
pub fn save(path: &Path, past: &Past, analysts: &Analysts) -> Result<(), StateError> {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".part");
    let fresh = PathBuf::from(name);
    let io = |source| StateError::Io { what: "write", path: path.to_owned(), source };
    let written = (|| {
        let file = File::create(&fresh).map_err(io)?;
        let mut out = Summed { to: BufWriter::new(file), sum: Sha256::new() };
        writeln!(out, "{NAME}{VERSION}").map_err(io)?;
        let mut packed = zstd::Encoder::new(&mut out, 1).map_err(io)?;
        write_down(past, &mut packed)
            .map_err(|e| StateError::Save { path: path.to_owned(), source: e.into() })?;
        analysts.save(&mut packed).map_err(|source| StateError::Save { path: path.to_owned(), source })?;
        packed.finish().map_err(io)?;
        let Summed { mut to, sum } = out;
        to.write_all(&sum.finalize()).map_err(io)?;
        let file = to.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&fresh, path).map_err(io)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// Reads a state into analysts that have seen nothing yet; gives what it was learned from.
///
/// # Errors
/// It is no state, another version's, damaged, or of other local networks.
pub fn resume(path: &Path, analysts: &mut Analysts, prior: Prior) -> Result<Past, StateError> {
    let io = |source| StateError::Io { what: "read", path: path.to_owned(), source };
    let damaged = |why: String| StateError::Damaged { path: path.to_owned(), why };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut line = Vec::new();
    io::BufRead::read_until(&mut (&mut file).take(LONGEST_LINE), b'\n', &mut line).map_err(io)?;
    let version = std::str::from_utf8(&line).ok().and_then(|l| l.strip_prefix(NAME)?.strip_suffix('\n'));
    let Some(version) = version else { return Err(StateError::Other(path.to_owned())) };
    if version != VERSION.to_string() {
        let found = version.chars().filter(|c| !c.is_control()).collect();
        return Err(StateError::Version { path: path.to_owned(), found });
    }
    let begin = line.len() as u64;
    let whole = file.get_ref().metadata().map_err(io)?.len();
    let content =
        whole.checked_sub(SUM).filter(|end| *end >= begin).ok_or_else(|| damaged("it ends early".into()))?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut sum = Summed { to: io::sink(), sum: Sha256::new() };
    io::copy(&mut (&mut file).take(content), &mut sum).map_err(io)?;
    let mut expected = Vec::new();
    file.read_to_end(&mut expected).map_err(io)?;
    if expected != sum.sum.finalize().as_slice() {
        return Err(damaged("its checksum does not fit".into()));
    }
    file.seek(SeekFrom::Start(begin)).map_err(io)?;
    let packed = zstd::Decoder::new((&mut file).take(content - begin)).map_err(io)?;
    let mut packed = BufReader::new(packed);
    let past = read_back::<Past>(&mut packed).map_err(|e| damaged(e.to_string()))?;
    if past.shares != analysts.shares() {
        return Err(StateError::Shares { path: path.to_owned(), found: past.shares });
    }
    if past.segments_apart != analysts.segments_apart() {
        return Err(StateError::Segments { path: path.to_owned(), apart: past.segments_apart });
    }
    if past.prior != prior {
        return Err(StateError::Prior { path: path.to_owned(), found: past.prior });
    }
    analysts.resume(&mut packed).map_err(|source| StateError::Resume { path: path.to_owned(), source })?;
    Ok(past)
}
