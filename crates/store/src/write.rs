//! Writing a run's records down.

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use record::{Health, Record};

use crate::row::Row;
use crate::segment::{Hot, close, recovered};
use crate::{
    HOT, LOCK, MARK, Mark, RUNS, Run, SEGMENTS, StoreError, StoredInput, VERSION, check, is_store, names,
    segments, write_json, write_run,
};

/// Rows that are written at a time: so many are lost when the machine stops at once.
const BATCH: usize = 8_192;
/// The most rows of a segment.
const SEGMENT: usize = 131_072;
/// What a row takes in memory until its segment is closed, in bytes (*assumed*: most are flows).
const ROW: usize = 1_200;

/// Which addresses are local.
type IsLocal = Box<dyn Fn(IpAddr) -> bool + Send>;

/// Writes one run into a store.
pub struct Writer {
    root: PathBuf,
    run: String,
    number: u32,
    is_local: IsLocal,
    hot: Option<Hot>,
    /// The rows of the segment.
    rows: Vec<Row>,
    /// How many of them are on the disk.
    written: usize,
    seq: u64,
    failed: Option<StoreError>,
    /// Rows of a batch, and of a segment.
    sizes: (usize, usize),
    notices: Vec<String>,
    _lock: File,
}

impl Writer {
    /// Begins a run; makes the store where there is none. What a killed run left is brought in order first.
    ///
    /// # Errors
    /// It is no store, another version's, or somebody else writes into it.
    pub fn begin(
        root: &Path,
        is_local: impl Fn(IpAddr) -> bool + Send + 'static,
    ) -> Result<Self, StoreError> {
        let make = |folder: &Path| std::fs::create_dir_all(folder).map_err(StoreError::io("make", folder));
        if !is_store(root) {
            let is_empty = !root.exists() || root.read_dir().is_ok_and(|mut d| d.next().is_none());
            if !is_empty {
                return Err(StoreError::Other(root.to_owned()));
            }
            make(root)?;
            write_json(&root.join(MARK), &Mark { hydrophone_store: VERSION })?;
        }
        check(root)?;
        for folder in [RUNS, SEGMENTS, HOT] {
            make(&root.join(folder))?;
        }
        let lock = lock(root)?;
        let notices = repair(root)?;
        let runs = names(&root.join(RUNS), ".json")?;
        let last = runs.iter().filter_map(|r| r.strip_prefix('r')?.parse::<u32>().ok()).max().unwrap_or(0);
        let run = format!("r{:06}", last + 1);
        // Its number is taken, whatever becomes of it.
        let begun = Run {
            inputs: Vec::new(),
            complete: false,
            rows: 0,
            notices: Vec::new(),
            failures: Vec::new(),
            health: Health::default(),
        };
        write_run(root, &run, &begun)?;
        Ok(Self {
            root: root.to_owned(),
            run,
            number: 0,
            is_local: Box::new(is_local),
            hot: None,
            rows: Vec::new(),
            written: 0,
            seq: 0,
            failed: None,
            sizes: (BATCH, SEGMENT),
            notices,
            _lock: lock,
        })
    }

    /// Closes a segment before its rows take more than so many bytes; a batch is the least.
    #[must_use]
    pub fn within(self, bytes: usize) -> Self {
        self.in_pieces_of(BATCH, (bytes / ROW).clamp(BATCH, SEGMENT))
    }

    /// Writes so many rows at a time, and closes a segment after so many: less is held in memory and lost when the machine stops, and more files are made.
    #[must_use]
    pub const fn in_pieces_of(mut self, batch: usize, segment: usize) -> Self {
        self.sizes = (batch, segment);
        self
    }

    /// What was brought in order at the beginning.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Takes a record. What fails is told at the end.
    pub fn record(&mut self, record: &Record) {
        if self.failed.is_some() {
            return;
        }
        let added = Row::add(record, self.seq, &self.is_local, &mut self.rows);
        self.seq += 1;
        let taken = match added {
            Ok(()) if self.rows.len() - self.written >= self.sizes.0 => self.flush(),
            Ok(()) => Ok(()),
            Err(e) => Err(StoreError::damaged(&self.hot_path(), &e)),
        };
        let done = taken.and_then(|()| if self.rows.len() >= self.sizes.1 { self.close() } else { Ok(()) });
        self.failed = done.err();
    }

    fn hot_path(&self) -> PathBuf {
        self.root.join(HOT).join(format!("{}-{:05}.arrows", self.run, self.number))
    }

    /// Puts what was taken on the disk: when this returns, no kill of the process loses it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.written == self.rows.len() {
            return Ok(());
        }
        let path = self.hot_path();
        if self.hot.is_none() {
            self.hot = Some(Hot::begin(&path)?);
        }
        if let Some(hot) = &mut self.hot {
            hot.append(&path, &self.rows[self.written..])?;
        }
        self.written = self.rows.len();
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.flush()?;
        self.hot = None;
        close(&self.root, &self.run, self.number, &self.rows)?;
        self.rows.clear();
        let path = self.hot_path();
        std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        (self.written, self.number) = (0, self.number + 1);
        Ok(())
    }

    /// Ends the run with what it read; says how many records it wrote.
    ///
    /// # Errors
    /// Something could not be written, now or before.
    pub fn finish(
        mut self,
        inputs: Vec<StoredInput>,
        complete: bool,
        notices: Vec<String>,
        failures: Vec<String>,
        health: Health,
    ) -> Result<u64, StoreError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.close()?;
        let rows = self.seq;
        let run = Run { inputs, complete, rows, notices, failures, health };
        write_run(&self.root, &self.run, &run)?;
        Ok(rows)
    }
}

/// Takes the store for oneself.
fn lock(root: &Path) -> Result<File, StoreError> {
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

/// Closes what killed runs left hot, and removes files that no segment names.
fn repair(root: &Path) -> Result<Vec<String>, StoreError> {
    let mut told = Vec::new();
    let hot = root.join(HOT);
    for name in names(&hot, ".arrows")? {
        let path = hot.join(format!("{name}.arrows"));
        let Some((run, number)) = name.rsplit_once('-').and_then(|(r, n)| Some((r, n.parse().ok()?))) else {
            continue;
        };
        // It was closed, and the run was killed before it could remove this.
        let closed = root.join(SEGMENTS).join(format!("{name}.json")).is_file();
        if !closed {
            let (rows, torn) = recovered(&path)?;
            let end = if torn { ", and what came last was torn" } else { "" };
            told.push(format!("{run} was killed: {} rows of it were on the disk{end}", rows.len()));
            if !rows.is_empty() {
                close(root, run, number, &rows)?;
            }
        }
        std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
    }
    let (all, bad) = segments(root)?;
    // What a damaged one named is not known: nothing is removed.
    if !bad.is_empty() {
        return Ok(told);
    }
    let named: std::collections::BTreeSet<&str> =
        all.iter().flat_map(|s| &s.parts).map(|p| p.path.as_str()).collect();
    for orphan in unnamed(root, &named)? {
        std::fs::remove_file(&orphan).map_err(StoreError::io("remove", &orphan))?;
    }
    Ok(told)
}

/// Files of tables that no segment names: their run was killed before they counted.
fn unnamed(root: &Path, named: &std::collections::BTreeSet<&str>) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in root.read_dir().map_err(StoreError::io("read", root))? {
        let entry = entry.map_err(StoreError::io("read", root))?;
        if entry.file_name().to_string_lossy().starts_with("kind=") {
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
