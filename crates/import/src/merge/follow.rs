//! Logs that are followed as they grow.
//!
//! What lies there is read first, in the order of time as any log is. From then on a row waits for [`LAG`] after it was written, or after what it tells of if that
//! is later, so that rows of several logs come in their order. A sensor exchanges its logs: whatever it wrote to the old file is read before the new one is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use capture::{CaptureError, Window};
use record::{Health, Record, Timestamp};
use serde::{Deserialize, Serialize};

use super::{ANSWERED, Kind, LOOKED_AT, Log, LogFile, LogSet, called, recognise};
use crate::lines::Lines;

/// How long a row waits for rows of other logs that tell of something earlier (*assumed*: Zeek and Suricata write within a second or two).
const LAG: Duration = Duration::from_secs(5);
/// How long nothing may lie in the place of a log that was rotated (*assumed*: its sensor begins the next one within seconds, or with its first row).
const GONE: Duration = Duration::from_mins(1);
/// How it begins what is said of a log that lies there.
const UNREAD: &str = "cannot be read: ";
/// How often files are read on, and folders looked into.
const READ: Duration = Duration::from_millis(250);
const LOOKED_FOR: Duration = Duration::from_secs(2);
/// Logs that are followed.
const MOST: usize = 256;
/// What logs are called by at the end.
const ENDINGS: [&str; 4] = ["log", "json", "ndjson", "labeled"];

/// Which file lies somewhere: another one may lie there later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(lies: &Metadata) -> Self {
        Self { device: lies.dev(), inode: lies.ino() }
    }
}

/// How far a log was read when it was followed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Where it lies.
    pub path: PathBuf,
    /// The number by which it is called in proofs.
    pub number: u32,
    file: FileId,
    /// Its lines that were read, all of which were told
    lines: u64,
    /// but these, which waited for others.
    untold: Vec<u64>,
    /// Lines of the files that lay there before.
    before: u64,
    /// Where the next line begins, and a hash of what stands before it: a file that was cut, or made anew in the same place, has something else there.
    offset: u64,
    mark: Option<u64>,
}

impl Position {
    /// Whether a file still holds what was read of it.
    fn is_in(&self, path: &Path) -> bool {
        // None is of one that was gone when this was written down: what lies in its place is another.
        self.mark.is_some() && mark_of(path, self.offset) == self.mark
    }
}

/// Bytes before a place that tell whether it is the same as before (*assumed*: a row or two, which hold times).
const MARK: u64 = 1024;

/// A hash of what stands before a place of a file; none where it does not reach that far, or cannot be read.
fn mark_of(path: &Path, offset: u64) -> Option<u64> {
    let from = offset.saturating_sub(MARK);
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut held = vec![0; (offset - from) as usize];
    file.read_exact(&mut held).ok()?;
    Some(record::fnv1a(&held))
}

/// Files that were put aside, by which file it is and when it was written to last.
type Done = BTreeSet<(SystemTime, FileId)>;

/// A log of which the end is read.
struct Tail {
    path: PathBuf,
    file: FileId,
    /// Lines of the files that lay there before.
    before: u64,
    /// It was seen without anything in it, or with something else, though something had been read.
    emptied: bool,
    /// How far it was read when it was looked at last, and a hash of what stands before that.
    mark: Option<(u64, u64)>,
    /// It could not be read, and nothing was said of it since.
    troubled: bool,
    /// It was told that a line cannot be read.
    spoiled: bool,
    /// Files that lay there one after the other since: they are read first.
    between: VecDeque<PathBuf>,
    /// Files that were put aside and are done with, by when they were written to last: another one may have its number later.
    done: Done,
    /// Since when nothing lies in its place.
    gone: Option<Timestamp>,
}

/// Logs that are followed.
pub struct Followed {
    set: LogSet,
    /// Files and folders, as they were named.
    named: Vec<PathBuf>,
    /// Of each log of the set, in its order, where its end is.
    tails: Vec<Tail>,
    /// The number of the next log.
    next: u32,
    /// Logs below this number were followed before.
    first: u32,
    /// Files that are none, or are read under another name; and how long they were.
    passed: BTreeMap<FileId, u64>,
    /// How far they were read before.
    positions: Vec<Position>,
    /// Whether somebody goes on later where this stops.
    remembered: bool,
    read: Option<Timestamp>,
    looked: Option<Timestamp>,
    /// Whether what lay there at the beginning was read.
    begun: bool,
    /// Whether it was said that there are more logs than can be followed.
    is_full: bool,
    /// Whether two of them may tell of the same.
    repeats: bool,
    /// Files that are called as logs and hold none, which was said.
    no_logs: BTreeSet<PathBuf>,
    /// Logs and folders that cannot be read now, and why; and whether that changed since it was told.
    troubles: BTreeMap<String, String>,
    changed: bool,
    /// Folders in which there were logs and are none, and since when.
    empty: BTreeMap<PathBuf, Timestamp>,
    news: Vec<String>,
}

impl Followed {
    /// Follows these files, and the logs in these folders: those there, and those that come. The first log is called by this number in proofs. Those read before go on at their `positions`; `remembered` says whether
    /// somebody goes on later where this stops, and until when all is known that was told before: what comes is known later; what waits may take so many `bytes`.
    ///
    /// # Errors
    /// There is no such file or folder, it cannot be read, or a file that is named is no log.
    pub fn open(
        named: &[PathBuf],
        positions: Vec<Position>,
        (remembered, last): (bool, Option<Timestamp>),
        first: u32,
        bytes: usize,
    ) -> Result<Self, CaptureError> {
        let set = LogSet {
            given: last.map_or(Timestamp::MIN, |last| last.plus(Duration::from_nanos(1))),
            now: capture::now(),
            most_bytes: bytes,
            follows: true,
            ..LogSet::default()
        };
        let mut made = Self {
            set,
            named: named.to_vec(),
            tails: Vec::new(),
            next: first,
            first,
            passed: BTreeMap::new(),
            positions,
            remembered,
            read: None,
            looked: None,
            begun: false,
            is_full: false,
            repeats: false,
            no_logs: BTreeSet::new(),
            troubles: BTreeMap::new(),
            changed: false,
            empty: BTreeMap::new(),
            news: Vec::new(),
        };
        for path in named {
            let fail = |source| CaptureError::Open { path: path.display().to_string(), source };
            let lies = std::fs::metadata(path).map_err(fail)?;
            if lies.is_dir() {
                let before = made.tails.len();
                for path in logs_in(path).map_err(fail)? {
                    if let Err(e) = made.find(&path) {
                        made.news.push(format!("{}: {e}; it is tried again", path.display()));
                    }
                }
                if made.tails.len() == before {
                    made.news.push(format!(
                        "there is no log in {} yet: those that come are followed",
                        path.display()
                    ));
                }
            } else {
                made.find(path).map_err(fail)?;
                let is_empty = lies.len() == 0;
                if !is_empty && !made.tails.iter().any(|t| t.path == *path) {
                    return Err(CaptureError::Unsupported {
                        path: path.display().to_string(),
                        what: "no log of Zeek or Suricata that can be followed: what is whole, or packed, is read by `hydrophone read`".into(),
                    });
                }
            }
        }
        Ok(made)
    }

    /// Begins with the log that lies there, if it is one that is not followed yet.
    fn find(&mut self, path: &Path) -> io::Result<()> {
        if self.tails.iter().any(|t| t.path == path) {
            return Ok(());
        }
        if self.tails.len() >= MOST {
            if !std::mem::replace(&mut self.is_full, true) {
                self.news.push(format!(
                    "only {MOST} logs are followed: {} and later ones are not",
                    path.display()
                ));
            }
            return Ok(());
        }
        let lies = std::fs::metadata(path)?;
        let file = FileId::of(&lies);
        let is_known = self.tails.iter().any(|t| t.file == file);
        if !lies.is_file()
            || is_known
            || self.passed.get(&file).is_some_and(|len| *len == lies.len() || *len >= LOOKED_AT as u64)
        {
            return Ok(());
        }
        let kept = LogFile { path: path.to_owned(), size: None, sha256: None, kind: String::new() };
        // One that was read before may lie beside its successor.
        let before = self.positions.iter().find(|p| p.path == path).cloned();
        let (number, lines) = before.as_ref().map_or((self.next, 0), |p| (p.number, p.before));
        let mut log = Log { grows: true, ..Log::new(kept, number) };
        let holds = |p: &&Position, path: &Path| p.is_in(path);
        let older = before
            .as_ref()
            .filter(|p| p.file != file)
            .and_then(|p| beside(path, p.file).filter(|at| holds(&p, at)));
        let (mut between, mut done) = (VecDeque::new(), Done::new());
        let (from, file) = match (&before, older) {
            (Some(p), Some(older)) => {
                between = self.put_aside_since(path, &older, &mut done);
                (older, p.file)
            }
            _ => (path.to_owned(), file),
        };
        let other = before.as_ref().filter(|p| p.file != file || !holds(p, &from));
        if let Some(p) = before.as_ref().filter(|_| other.is_none()) {
            log.judged = lines + p.lines;
            log.untold.extend(&p.untold);
        }
        // Lines are counted on, whichever file they stand in.
        let lines = lines + other.map_or(0, |p| p.lines);
        if begin(&mut log, &from, lines)? {
            LogSet::look_at_first(&mut log);
            begin(&mut log, &from, lines)?;
            if let Some(p) = other {
                self.news.push(format!(
                    "{} is another file than the one that was read to line {}: what was written to that one behind it was not read",
                    path.display(),
                    p.lines
                ));
            }
            self.next += u32::from(number == self.next);
            self.tails.push(Tail {
                path: path.to_owned(),
                file,
                before: lines,
                emptied: false,
                mark: None,
                troubled: false,
                spoiled: false,
                between,
                done,
                gone: None,
            });
            self.set.logs.push(log);
            self.repeats = self.set.may_repeat();
            self.set.is_first_known = false;
        } else {
            self.passed.insert(file, lies.len());
            // Folders hold others' files, too; but what is called as a log that is read should be one.
            let name = called(path);
            let is_called_log = Kind::of_file(&name).is_some() || name.starts_with("eve");
            if is_called_log
                && self.no_logs.len() < MOST
                && has_line(path)
                && self.no_logs.insert(path.to_owned())
            {
                self.news.push(format!(
                    "{} is called as a log, holds none that is read, and is not followed",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    /// What lay there at the beginning, in its order; none when all of it was told, which is asked once.
    pub fn earlier(&mut self) -> Option<Record> {
        while !self.begun {
            match self.set.next(None) {
                None => self.begun = true,
                earlier => return earlier,
            }
        }
        None
    }

    /// Reads what was written since, at `now`; looks for logs that came, and for files that others took the place of.
    pub fn come(&mut self, now: Timestamp) {
        let is_due = |at: Option<Timestamp>, every| at.is_none_or(|at| now.since(at) >= every || at > now);
        if !is_due(self.read, READ) {
            return;
        }
        (self.read, self.begun) = (Some(now), true);
        self.set.now = now;
        if is_due(self.looked, LOOKED_FOR) {
            self.looked = Some(now);
            self.look_for_more();
        }
        for n in 0..self.tails.len() {
            if !self.is_written_anew(n) {
                self.read_on(n);
            }
            let path = self.tails[n].path.clone();
            match self.exchange(n) {
                Err(e) => self.trouble(&path, Some(format!("{UNREAD}{e}"))),
                Ok(())
                    if self
                        .troubles
                        .get(&*path.to_string_lossy())
                        .is_some_and(|what| what.starts_with(UNREAD)) =>
                {
                    self.trouble(&path, None);
                }
                Ok(()) => {}
            }
            self.mark(n);
        }
        self.set.give_up(now.minus(ANSWERED));
    }

    /// Files that were put aside after this one, before the one that lies there now, in the order in which they were written to last; but those that are done with, as this one is then. What was packed meanwhile is told.
    fn put_aside_since(&mut self, path: &Path, older: &Path, done: &mut Done) -> VecDeque<PathBuf> {
        let Ok(this) = written(older) else { return VecDeque::new() };
        done.retain(|(at, _)| *at >= this.0);
        done.insert(this);
        let is_its = |at: &PathBuf| at != path && at != older && is_put_aside(&called(at), &called(path));
        let entries = std::fs::read_dir(folder_of(path)).into_iter().flatten().flatten().map(|e| e.path());
        let mut since: Vec<_> = entries
            .filter(|at| at.is_file() && is_its(at))
            .filter_map(|at| Some((written(&at).ok()?, at)))
            .filter(|(file, _)| file.0 >= this.0 && !done.contains(file))
            .collect();
        since.sort();
        let (packed, whole): (Vec<_>, Vec<_>) = since.into_iter().partition(|(_, at)| capture::is_packed(at));
        for (file, at) in packed {
            done.insert(file);
            self.news
                .push(format!("{} was packed before it was read: `hydrophone read` reads it", at.display()));
        }
        whole.into_iter().map(|(_, at)| at).collect()
    }

    fn look_for_more(&mut self) {
        for named in self.named.clone() {
            let found = match logs_in(&named) {
                Ok(found) => {
                    let had = self.tails.iter().any(|t| t.path.parent() == Some(&*named));
                    let now = self.set.now;
                    let since =
                        (had && found.is_empty()).then(|| *self.empty.entry(named.clone()).or_insert(now));
                    if since.is_none() {
                        self.empty.remove(&named);
                    }
                    let since = since.filter(|since| now.since(*since) >= GONE);
                    self.trouble(&named, since.map(|since| format!("holds no log since {since}")));
                    found
                }
                // A file.
                Err(e) if e.kind() == io::ErrorKind::NotADirectory => vec![named],
                // One whose successor comes is looked after where it is read.
                Err(_) if self.tails.iter().any(|t| t.path == named) => continue,
                Err(e) => {
                    self.trouble(&named, Some(format!("{UNREAD}{e}")));
                    continue;
                }
            };
            for path in found {
                if self.tails.iter().any(|t| t.path == path) {
                    continue;
                }
                let before = self.tails.len();
                // What cannot be read now may be read later.
                let failed = self.find(&path).err().filter(|e| e.kind() != io::ErrorKind::NotFound);
                self.trouble(&path, failed.map(|e| format!("{UNREAD}{e}")));
                if self.tails.len() > before {
                    self.news.push(format!("follows {} as well", path.display()));
                }
            }
        }
    }

    /// A log or a folder cannot be read now, or can be again: said once each time, and stands as long as it does.
    fn trouble(&mut self, path: &Path, what: Option<String>) {
        let of = path.display().to_string();
        match what {
            Some(what) => {
                if self.troubles.get(&of) != Some(&what) && self.troubles.len() < MOST {
                    self.news.push(format!("{of} {what}; it is tried again"));
                    self.troubles.insert(of, what);
                    self.changed = true;
                }
            }
            None => {
                if self.troubles.remove(&of).is_some() {
                    self.news.push(format!("{of} is read again"));
                    self.changed = true;
                }
            }
        }
    }

    /// The logs and folders that cannot be read now, and why: all of them, where something changed since it was asked last.
    pub fn troubles(&mut self) -> Option<BTreeMap<String, String>> {
        std::mem::take(&mut self.changed).then(|| self.troubles.clone())
    }

    /// What could not be read at the end; what is gone was read until then.
    pub fn untold(&self) -> impl Iterator<Item = String> {
        let unread = self.troubles.iter().filter(|(_, what)| what.starts_with(UNREAD));
        unread.map(|(of, what)| format!("{of} {what}"))
    }

    /// Whether something else stands in its place than what was read of it, though it is as long.
    fn is_written_anew(&mut self, n: usize) -> bool {
        let Some((_, lines)) = &self.set.logs[n].reading else { return false };
        let (offset, tail) = (lines.offset(), &mut self.tails[n]);
        if tail.emptied {
            return true;
        }
        let lies = std::fs::metadata(&tail.path).ok().filter(|lies| FileId::of(lies) == tail.file);
        // Nothing came, or another file lies there.
        if lies.is_none_or(|lies| lies.len() <= offset) {
            return false;
        }
        // What cannot be read now is read by whoever has it open.
        let differs =
            |(at, mark): (u64, u64)| at == offset && mark_of(&tail.path, at).is_some_and(|lies| lies != mark);
        tail.emptied = tail.mark.is_some_and(differs);
        tail.emptied
    }

    /// Remembers what stands before the place up to which a log was read.
    fn mark(&mut self, n: usize) {
        let Some((_, lines)) = &self.set.logs[n].reading else { return };
        let (offset, tail) = (lines.offset(), &mut self.tails[n]);
        if tail.mark.is_none_or(|(at, _)| at != offset) {
            let lies = std::fs::metadata(&tail.path).is_ok_and(|lies| FileId::of(&lies) == tail.file);
            tail.mark = lies.then(|| mark_of(&tail.path, offset)).flatten().map(|mark| (offset, mark));
        }
    }

    /// Reads a log to its end, as long as there is room; gives whether it can be read.
    fn read_on(&mut self, n: usize) -> bool {
        let failures = self.set.failures.len();
        self.set.logs[n].over = false;
        while !self.set.logs[n].over && !self.set.crowded() {
            self.set.read(n);
        }
        // It is tried again, and said once.
        let troubled = self.set.failures.len() > failures;
        if troubled {
            let before = std::mem::replace(&mut self.tails[n].troubled, true);
            self.news.extend(self.set.failures.last().filter(|_| !before).cloned());
            self.set.failures.truncate(failures + usize::from(!before));
        }
        // The first line that cannot be read is told at once, and how many there were at the end.
        if self.set.logs[n].bad > 0 && !std::mem::replace(&mut self.tails[n].spoiled, true) {
            self.news.extend(self.set.logs[n].spoiled());
        }
        !troubled
    }

    /// Goes on with the file that took a log's place, once that holds something and the old one was read to its end.
    fn exchange(&mut self, n: usize) -> io::Result<()> {
        let tail = &self.tails[n];
        let lies = match std::fs::metadata(&tail.path) {
            // Its successor comes, in a moment.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (path, now) = (tail.path.clone(), self.set.now);
                let since = *self.tails[n].gone.get_or_insert(now);
                // Sensors begin a log with its first row: of a folder's one may be away for long.
                if now.since(since) >= GONE && self.named.contains(&path) {
                    self.trouble(&path, Some(format!("is gone since {since}")));
                }
                return Ok(());
            }
            lies => lies?,
        };
        if self.tails[n].gone.take().is_some() {
            let path = self.tails[n].path.clone();
            self.trouble(&path, None);
        }
        let (tail, log) = (&self.tails[n], &self.set.logs[n]);
        let file = FileId::of(&lies);
        let read = log.reading.as_ref().map_or(0, |(_, lines)| lines.offset());
        let is_cut = file == tail.file && (tail.emptied || lies.len() < read);
        self.tails[n].emptied = is_cut;
        let tail = &self.tails[n];
        if (file == tail.file && !is_cut) || lies.len() == 0 || !log.over {
            return Ok(());
        }
        let current = tail.path.clone();
        if !is_cut {
            // Whoever wrote to the old one has begun the new one, so that nothing more comes to it.
            if let Some((_, lines)) = &mut self.set.logs[n].reading {
                lines.stop_growing();
            }
            // There is no room now, or its rest cannot be read now.
            if !self.read_on(n) || !self.set.logs[n].over {
                return Ok(());
            }
        }
        // It may have been exchanged more than once since it was looked at.
        if self.tails[n].between.is_empty()
            && let Some(older) = beside(&current, self.tails[n].file).filter(|_| !is_cut)
        {
            let mut done = std::mem::take(&mut self.tails[n].done);
            self.tails[n].between = self.put_aside_since(&current, &older, &mut done);
            self.tails[n].done = done;
        }
        let between = &mut self.tails[n].between;
        let path = between.front().cloned().unwrap_or(current);
        // What was put aside is whole: what is no log now never will be.
        let put_aside = between.pop_front();
        let file = std::fs::metadata(&path).map_or(file, |lies| FileId::of(&lies));
        let log = &mut self.set.logs[n];
        let lines = log.reading.as_ref().map_or(0, |(_, lines)| lines.number());
        let is_log = begin(log, &path, lines);
        match (is_log, put_aside) {
            (Ok(true), _) => {}
            // What it is shows when its first line is whole.
            (Ok(false), None) => return Ok(()),
            (Err(e), None) => return Err(e),
            (is_log, Some(path)) => {
                let why = is_log.err().map_or_else(|| "it holds no log".to_owned(), |e| e.to_string());
                self.news.push(format!("{} was put aside and is not read: {why}", path.display()));
                self.tails[n].done.extend(written(&path));
                return Ok(());
            }
        }
        let log = &mut self.set.logs[n];
        if is_cut {
            let (path, len) = (path.display(), lies.len());
            let how =
                if len < read { format!("was cut to {len} bytes") } else { "was written anew".to_owned() };
            self.news.push(format!(
                "{path} {how} when {read} bytes had been read, and is read from its beginning"
            ));
        }
        log.judged = 0;
        log.untold.clear();
        let tail = &mut self.tails[n];
        (tail.file, tail.before, tail.emptied, tail.troubled) = (file, lines, false, false);
        tail.mark = None;
        self.read_on(n);
        Ok(())
    }

    /// The next record that is due; all that wait, the earliest first, when `now` is as late as can be.
    pub fn due(&mut self, now: Timestamp) -> Option<Record> {
        let next = self.set.waiting.earliest()?;
        if next.plus(LAG) <= now || self.set.crowded() { self.set.give() } else { None }
    }

    /// All that was written and was not told, at the end.
    pub fn rest(&mut self, now: Timestamp) -> Vec<Record> {
        // What lies there and was not read to its end is read again.
        if self.remembered && !self.begun {
            return Vec::new();
        }
        self.read = None;
        self.come(now);
        if !self.remembered {
            self.set.give_up(Timestamp::MAX);
        }
        self.all_that_waits()
    }

    /// What comes from now on is known later than this.
    pub fn pass(&mut self, at: Timestamp) {
        self.set.given = self.set.given.max(at.plus(Duration::from_nanos(1)));
    }

    /// Everything that was read, whether others may tell of something earlier or not: then all but what waits for what belongs to it was told, and it can be gone on from.
    pub fn all_that_waits(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.set.give()).collect()
    }

    /// Whether two logs may tell of the same: they are of two sensors, or of one kind.
    pub const fn may_repeat(&self) -> bool {
        self.repeats
    }

    /// Whether what lay there at the beginning was read.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// When the last that was given became known.
    pub const fn given(&self) -> Timestamp {
        self.set.given
    }

    /// How long what was written waits before it is told.
    pub const fn lag() -> Duration {
        LAG
    }

    /// How far each log was read, [`Self::all_that_waits`] having been told; none of them while what lay there is read in the order of time, when they are not read to the same moment.
    pub fn positions(&self) -> Vec<Position> {
        if !self.begun {
            return Vec::new();
        }
        let of = |(n, tail): (usize, &Tail)| {
            let log = &self.set.logs[n];
            let (lines, offset) =
                log.reading.as_ref().map_or((0, 0), |(_, lines)| (lines.number(), lines.offset()));
            let lies = std::fs::metadata(&tail.path).ok().filter(|lies| FileId::of(lies) == tail.file);
            let path = lies.map(|_| tail.path.clone()).or_else(|| beside(&tail.path, tail.file));
            Position {
                path: tail.path.clone(),
                number: log.number,
                file: tail.file,
                lines: lines.saturating_sub(tail.before),
                untold: self.set.untold(log.number),
                before: tail.before,
                offset,
                mark: path.and_then(|path| mark_of(&path, offset)),
            }
        };
        self.tails.iter().enumerate().map(of).collect()
    }

    /// What happened since it was asked last.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// The logs that were not followed before, in the order of their numbers.
    pub fn files(&self) -> Vec<LogFile> {
        let fresh = self.set.logs.iter().filter(|l| l.number >= self.first);
        fresh.map(|l| l.file.clone()).collect()
    }

    /// What was counted.
    pub const fn health(&self) -> &Health {
        self.set.health()
    }

    /// Lines that could not be read.
    pub fn unread(&self) -> u64 {
        self.set.unread()
    }

    /// What must be told of them.
    pub fn notices(&self) -> Vec<String> {
        let mut told: Vec<String> = self.set.logs.iter().filter_map(Log::spoiled).collect();
        told.extend(self.set.notices());
        told
    }

    /// Logs that could not be read on.
    pub fn failures(&self) -> &[String] {
        &self.set.failures
    }
}

/// Opens a log's file; its first line is numbered behind `lines`. Gives whether it is a log: `log` is left as it was where it is none.
fn begin(log: &mut Log, path: &Path, lines: u64) -> io::Result<bool> {
    let mut window = Window::growing(File::open(path)?);
    window.ensure(LOOKED_AT);
    if let Some(e) = window.take_failure() {
        return Err(e);
    }
    let Some(reading) = recognise(window.rest(), &called(path)).filter(|r| !r.array) else {
        return Ok(false);
    };
    log.reading = Some((reading, Lines::of(window, false).behind(lines)));
    Ok(true)
}

/// Whether a whole line stands at a file's beginning.
fn has_line(path: &Path) -> bool {
    let mut held = vec![0; 4096];
    File::open(path).and_then(|mut f| f.read(&mut held)).is_ok_and(|n| held[..n].contains(&b'\n'))
}

/// When a file was written to last, and which it is.
fn written(at: &Path) -> io::Result<(SystemTime, FileId)> {
    let lies = std::fs::metadata(at)?;
    Ok((lies.modified()?, FileId::of(&lies)))
}

/// Where a file lies.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file is called as one that was put aside of another: its name with numbers and dates in it or behind it.
fn is_put_aside(name: &str, current: &str) -> bool {
    let stem = current.rsplit_once('.').map_or(current, |(stem, _)| stem);
    let Some(rest) = name.strip_prefix(stem).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    else {
        return false;
    };
    // What packed it stands at the end.
    let rest = match rest.rsplit_once('.') {
        Some((rest, _)) if capture::is_packed(Path::new(name)) => rest,
        _ => rest,
    };
    let numbers = |part: &str| part.chars().all(|c| c.is_ascii_digit() || "-_:TZ".contains(c));
    !is_current(name) && rest.split('.').all(|part| ENDINGS.contains(&part) || numbers(part))
}

/// The file of this name's folder that has this identity.
fn beside(path: &Path, file: FileId) -> Option<PathBuf> {
    let is_it = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|lies| FileId::of(&lies) == file);
    let entries = std::fs::read_dir(folder_of(path)).ok()?;
    entries.filter_map(|e| Some(e.ok()?.path())).find(is_it)
}

/// Files of a folder that are called as logs are which are written to.
fn logs_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if is_current(&called(&path)) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is called as a log that is written to: what was put aside has a date in its name, or an ending behind its own.
fn is_current(name: &str) -> bool {
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let numbers = || stem.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    ENDINGS.contains(&ending)
        && !name.starts_with('.')
        && numbers().count() < 3
        && numbers().all(|run| run.len() < 6)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    const HEAD: &str = "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\tresp_pkts\n";

    fn row(at: u32) -> String {
        format!("{at}.0\tC{at}\t10.0.0.5\t1001\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\n")
    }

    fn asked(at: u32) -> String {
        format!(
            r#"{{"timestamp":"1970-01-01T00:{:02}:{:02}.000000+0000","flow_id":{at},"event_type":"http","src_ip":"10.0.0.5","src_port":1001,"dest_ip":"198.51.100.7","dest_port":80,"proto":"TCP","http":{{"hostname":"a.example","url":"/{at}","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":5}}}}"#,
            at / 60,
            at % 60
        ) + "\n"
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The seconds at which what is due then was begun, and the lines that say so.
    fn due(of: &mut Followed, now: i64) -> Vec<(i64, String)> {
        let now = Timestamp::from_secs(now);
        of.come(now);
        std::iter::from_fn(|| of.due(now)).map(|r| told(&r)).collect()
    }

    fn told(record: &Record) -> (i64, String) {
        let line = match record {
            Record::Conn(c) => c.key_packets.to_vec()[0].to_string(),
            Record::Http(h) => h.packets[0].to_string(),
            _ => String::new(),
        };
        (record.head().ts.0 / 1_000_000_000, line)
    }

    fn earlier(of: &mut Followed) -> Vec<i64> {
        std::iter::from_fn(|| of.earlier()).map(|r| told(&r).0).collect()
    }

    fn follow(dir: &Path, positions: Vec<Position>) -> Followed {
        Followed::open(&[dir.to_owned()], positions, (true, None), 0, 64 << 20).unwrap()
    }

    /// A log with rows of these seconds, all of which were told; how far it was read.
    fn told_before(dir: &Path, rows: &[u32]) -> (PathBuf, Vec<Position>) {
        let conn = dir.join("conn.log");
        append(&conn, &format!("{HEAD}{}", rows.iter().map(|at| row(*at)).collect::<String>()));
        let mut logs = follow(dir, Vec::new());
        assert_eq!(earlier(&mut logs).len(), rows.len());
        (conn, logs.positions())
    }

    fn said(all: &[(i64, &str)]) -> Vec<(i64, String)> {
        all.iter().map(|(at, line)| (*at, (*line).to_owned())).collect()
    }

    #[test]
    fn logs_that_are_gone_are_said_to_be_until_they_are_back() {
        let dir = tempfile::tempdir().unwrap();
        let conn = dir.path().join("conn.log");
        append(&conn, &format!("{HEAD}{}", row(100)));
        let mut logs = follow(dir.path(), Vec::new());
        assert_eq!(earlier(&mut logs), [100]);
        due(&mut logs, 110);
        std::fs::remove_file(&conn).unwrap();
        due(&mut logs, 120);
        assert!(logs.news().is_empty() && logs.troubles().is_none(), "its successor may come");
        due(&mut logs, 190);
        assert!(matches!(&logs.news()[..], [one] if one.contains("holds no log since")));
        assert_eq!((logs.troubles().map(|all| all.len()), logs.untold().count()), (Some(1), 0));
        std::fs::remove_dir(dir.path()).unwrap();
        due(&mut logs, 260);
        assert!(logs.news().iter().any(|what| what.contains("cannot be read: No such file")));
        due(&mut logs, 330);
        assert!(logs.news().is_empty(), "it is said once");
        assert_eq!((logs.troubles().map(|all| all.len()), logs.untold().count()), (Some(1), 1));
        std::fs::create_dir(dir.path()).unwrap();
        append(&conn, &format!("{HEAD}{}", row(340)));
        due(&mut logs, 400);
        assert_eq!(logs.news().iter().filter(|what| what.ends_with("is read again")).count(), 1);
        assert_eq!(logs.troubles(), Some(BTreeMap::new()));
        // One of several begins with its next row; one that was named by itself is missed.
        append(&dir.path().join("dns.log"), "");
        std::fs::remove_file(&conn).unwrap();
        append(&dir.path().join("eve.json"), &asked(410));
        due(&mut logs, 420);
        due(&mut logs, 600);
        assert!(!logs.news().iter().any(|what| what.contains("gone") || what.contains("no log since")));
        let mut one =
            Followed::open(&[dir.path().join("eve.json")], Vec::new(), (true, None), 0, 64 << 20).unwrap();
        assert_eq!(earlier(&mut one), [410]);
        std::fs::remove_file(dir.path().join("eve.json")).unwrap();
        due(&mut one, 700);
        due(&mut one, 800);
        assert!(matches!(&one.news()[..], [gone] if gone.contains("eve.json is gone since")));
    }

    #[test]
    fn what_lies_there_comes_first_and_then_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, eve) = (dir.path().join("conn.log"), dir.path().join("eve.json"));
        append(&conn, &format!("{HEAD}{}{}", row(100), row(300)));
        append(&eve, &asked(200));
        let mut logs = follow(dir.path(), Vec::new());
        assert_eq!(earlier(&mut logs), [100, 200, 300], "in the order of time");
        // A line is taken when it is whole.
        let whole = row(400);
        append(&conn, &whole[..20]);
        assert!(due(&mut logs, 402).is_empty());
        append(&conn, &whole[20..]);
        assert!(due(&mut logs, 403).is_empty(), "it waits for others");
        append(&eve, &asked(399));
        assert_eq!(due(&mut logs, 407), said(&[(399, "1:2"), (400, "6")]), "and comes in its order");
        // Whoever is late is known when he comes, and whose clock runs ahead is not waited for.
        append(&eve, &format!("{}{}", asked(200), asked(3_000)));
        let now = Timestamp::from_secs(450);
        logs.come(now);
        let all: Vec<Record> = std::iter::from_fn(|| logs.due(now.plus(LAG))).collect();
        assert_eq!(all.iter().map(|r| r.head().known.0 / 1_000_000_000).collect::<Vec<_>>(), [401, 450]);
        assert!(logs.failures().is_empty(), "{:?}", logs.failures());
        // What cannot be read costs itself, and is told.
        append(&eve, &format!("{{\"timestamp\":7}}\n{}", asked(460)));
        assert_eq!(due(&mut logs, 480), said(&[(460, "1:6")]));
        let notices = logs.notices();
        assert!(notices.iter().any(|n| n.contains("eve.json: 1 line could not be read")), "{notices:?}");
        assert!(
            logs.news().iter().any(|n| n.contains("eve.json: 1 line could not be read")),
            "it is said at once"
        );
    }

    #[test]
    fn a_log_whose_place_another_takes_is_read_to_its_end_first() {
        let dir = tempfile::tempdir().unwrap();
        let conn = dir.path().join("conn.log");
        append(&conn, &format!("{HEAD}{}", row(100)));
        let mut logs = follow(dir.path(), Vec::new());
        assert_eq!(earlier(&mut logs), [100]);
        assert!(due(&mut logs, 101).is_empty());
        // As Zeek does: the last rows, another name, a new file when there is something to be written.
        append(&conn, &row(110));
        std::fs::rename(&conn, dir.path().join("conn.2026-11-28-10-00-00.log")).unwrap();
        assert_eq!(due(&mut logs, 120), said(&[(110, "5")]));
        append(&conn, &format!("{HEAD}{}", row(130)));
        assert_eq!(due(&mut logs, 140), said(&[(130, "9")]), "lines are counted on");
        // As logrotate does: an empty file lies there while the sensor writes to the old one.
        let aside = dir.path().join("conn.log.1");
        std::fs::rename(&conn, &aside).unwrap();
        append(&conn, "");
        append(&aside, &row(150));
        assert_eq!(due(&mut logs, 160), said(&[(150, "10")]));
        append(&aside, row(151).trim_end());
        append(&conn, &format!("{HEAD}{}", row(170)));
        let last = "the last line is one without an end, too";
        assert_eq!(due(&mut logs, 180), said(&[(151, "11"), (170, "15")]), "{last}");
        // One that is cut is told.
        std::fs::rename(&conn, dir.path().join("conn.log.2")).unwrap();
        append(&dir.path().join("conn.log.2"), &row(171)[..9]);
        append(&conn, &format!("{HEAD}{}", row(172)));
        assert_eq!(due(&mut logs, 183), said(&[(172, "20")]));
        let notices = logs.notices();
        assert!(notices.iter().any(|n| n.contains("1 line could not be read")), "{notices:?}");
        // Twice before it is looked again: the one in between is read, too, and those before it are not read again.
        let sensor = |at: &str, when: u32| {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::rename(&conn, dir.path().join(at)).unwrap();
            append(&conn, &format!("{HEAD}{}", row(when)));
        };
        sensor("conn.log.3", 185);
        sensor("conn.log.4", 186);
        let mut told: Vec<(i64, String)> = due(&mut logs, 192);
        told.extend(due(&mut logs, 193));
        told.extend(due(&mut logs, 194));
        assert_eq!(told, said(&[(185, "24"), (186, "28")]));
        // And as it does with copytruncate.
        File::create(&conn).unwrap();
        assert!(due(&mut logs, 196).is_empty());
        append(&conn, &format!("{HEAD}{}", row(197)));
        assert!(due(&mut logs, 198).is_empty());
        append(&conn, &row(199));
        assert_eq!(due(&mut logs, 206).len(), 2);
        // One that was written anew is as long as before, or longer.
        assert_eq!(logs.news().len(), 2);
        std::fs::write(&conn, format!("{HEAD}{}{}{}", row(210), row(211), row(212))).unwrap();
        assert_eq!(due(&mut logs, 220).len(), 3);
        assert!(matches!(&logs.news()[..], [one] if one.contains("was written anew")));
        assert_eq!(logs.files().len(), 1, "what was put aside is no other log");
        assert!(logs.failures().is_empty(), "{:?}", logs.failures());
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, positions) = told_before(dir.path(), &[100, 110]);
        append(&conn, &row(120));
        let mut logs = follow(dir.path(), positions);
        assert_eq!(earlier(&mut logs), [120]);
        let positions = logs.positions();
        drop(logs);
        // Exchanged in between: what was written to the old one is read as well, where it lies beside.
        append(&conn, &row(130));
        std::fs::rename(&conn, dir.path().join("conn.log.1")).unwrap();
        append(&conn, &format!("{HEAD}{}", row(140)));
        let mut logs = follow(dir.path(), positions.clone());
        assert_eq!(earlier(&mut logs), [130]);
        assert_eq!(due(&mut logs, 150), said(&[(140, "11")]));
        assert!(logs.news().is_empty());
        drop(logs);
        // Where it does not, that is said.
        std::fs::remove_file(dir.path().join("conn.log.1")).unwrap();
        let mut logs = follow(dir.path(), positions);
        assert_eq!(earlier(&mut logs), [140]);
        let news = logs.news();
        assert!(
            matches!(&news[..], [one] if one.contains("another file") && one.contains("line 6")),
            "{news:?}"
        );
    }

    #[test]
    fn another_content_in_the_same_place_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, positions) = told_before(dir.path(), &[100, 110]);
        // Cut while nobody followed, and written to as far as before, and further.
        for (rows, told) in [(2, vec![200, 201]), (5, vec![200, 201, 202, 203, 204])] {
            let fresh: String = (200..200 + rows).map(row).collect();
            OpenOptions::new().write(true).truncate(true).open(&conn).unwrap();
            append(&conn, &format!("{HEAD}{fresh}"));
            let mut logs = follow(dir.path(), positions.clone());
            assert_eq!(earlier(&mut logs), told);
            let news = logs.news();
            assert!(matches!(&news[..], [one] if one.contains("another file")), "{news:?}");
        }
    }

    #[test]
    fn all_that_was_put_aside_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        append(&at("connections.log"), "of another program\n");
        let (_, positions) = told_before(dir.path(), &[100]);
        append(&at("conn.log"), &row(110));
        for (n, when) in [(3, 120), (2, 130), (1, 140)] {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::rename(at("conn.log"), at(&format!("conn.log.{n}"))).unwrap();
            append(&at("conn.log"), &format!("{HEAD}{}", row(when)));
        }
        std::fs::write(at("conn.log.0.gz"), [31, 139]).unwrap();
        let mut logs = follow(dir.path(), positions);
        assert_eq!(earlier(&mut logs), [110]);
        let mut told = Vec::new();
        for now in 150..160 {
            told.extend(due(&mut logs, now).into_iter().map(|(at, _)| at));
        }
        assert_eq!(told, [120, 130, 140]);
        let news = logs.news();
        assert!(matches!(&news[..], [one] if one.contains("conn.log.0.gz was packed")), "{news:?}");
    }

    #[test]
    fn what_waits_for_an_answer_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let eve = dir.path().join("eve.json");
        let dns = |kind: &str, at: u32| {
            format!(
                r#"{{"timestamp":"1970-01-01T00:01:{at:02}.000000+0000","flow_id":7,"event_type":"dns","src_ip":"10.0.0.5","src_port":1001,"dest_ip":"198.51.100.7","dest_port":53,"proto":"UDP","dns":{{"type":"{kind}","id":9,"rrname":"a.example","rrtype":"A","rcode":"NOERROR","answers":[{{"rrname":"a.example","rrtype":"A","ttl":60,"rdata":"198.51.100.9"}}]}}}}"#
            ) + "\n"
        };
        append(&eve, &asked(50));
        let mut logs = follow(dir.path(), Vec::new());
        assert_eq!(earlier(&mut logs).len(), 1);
        append(&eve, &format!("{}{}", dns("query", 10), asked(72)));
        logs.come(Timestamp::from_secs(73));
        // Whoever goes on later goes on from here: the row is told, and the question waits for its answer.
        assert_eq!(logs.all_that_waits().len(), 1);
        let positions = logs.positions();
        assert_eq!(positions[0].untold, [2]);
        let rest = logs.rest(Timestamp::from_secs(74));
        assert!(rest.is_empty(), "{rest:?}");
        drop(logs);
        append(&eve, &dns("answer", 15));
        let mut logs = follow(dir.path(), positions);
        let mut all: Vec<Record> = std::iter::from_fn(|| logs.earlier()).collect();
        all.extend(logs.rest(Timestamp::from_secs(90)));
        assert!(matches!(&all[..], [Record::Dns(d)] if d.packets.len() == 2), "{all:?}");
    }

    #[test]
    fn logs_that_come_are_followed_and_what_is_no_log_is_not() {
        let dir = tempfile::tempdir().unwrap();
        append(&dir.path().join("stats.log"), "uptime 7\n");
        let mut logs = follow(dir.path(), Vec::new());
        assert!(earlier(&mut logs).is_empty() && logs.files().is_empty());
        append(&dir.path().join("conn.log"), &HEAD[..30]);
        assert!(due(&mut logs, 100).is_empty());
        append(&dir.path().join("conn.log"), &format!("{}{}", &HEAD[30..], row(101)));
        append(&dir.path().join("eve.json"), &asked(105));
        append(&dir.path().join("eve-2026-11-28.json"), &asked(103));
        assert_eq!(due(&mut logs, 110), said(&[(101, "4"), (105, "1:1")]));
        assert_eq!(logs.news().len(), 3);
        let no_log = Followed::open(&[dir.path().join("stats.log")], Vec::new(), (true, None), 0, 1 << 20);
        assert!(no_log.is_err_and(|e| e.to_string().contains("no log")));
        assert!(Followed::open(&[dir.path().join("none")], Vec::new(), (true, None), 0, 1 << 20).is_err());
    }

    #[test]
    fn names_of_logs_that_were_put_aside() {
        for (name, current) in [
            ("conn.log.1", "conn.log"),
            ("conn.2026-11-28-10-00-00.log", "conn.log"),
            ("conn-26-11-28_10.00.00.log", "conn.log"),
            ("conn.10:00:00-11:00:00.log.gz", "conn.log"),
            ("eve-20261128.json", "eve.json"),
            ("eve.1.json.2", "eve.1.json"),
        ] {
            assert!(is_put_aside(name, current), "{name}");
        }
        for (name, current) in [
            ("conn.log", "conn.log"),
            ("connections.log.1", "conn.log"),
            ("conn-summary.log.1", "conn.log"),
            ("eve.2.json", "eve.json"),
            ("eve.10.json.1", "eve.1.json"),
            ("eve-dns.json.1", "eve.json"),
        ] {
            assert!(!is_put_aside(name, current), "{name}");
        }
    }

    #[test]
    fn names_of_logs_that_are_written_to() {
        for name in ["conn.log", "x509.log", "eve.json", "eve.12.json", "dns_1.log", "conn.log.labeled"] {
            assert!(is_current(name), "{name}");
        }
        for name in [
            "conn.2026-11-28-10-00-00.log",
            "conn-26-11-28_10.00.00.log",
            "eve-20261128.json",
            "eve.json.1",
            "conn.log.gz",
            ".conn.log",
            "log",
        ] {
            assert!(!is_current(name), "{name}");
        }
    }
}
