//! Reading records back, in the order in which they were seen.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, UInt64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use record::{Health, Record, Timestamp};

use crate::write::settle;
use crate::{RUNS, Run, Segment, StoreError, StoredInput, check, names, read_run, segments};

/// Which part of a store is wanted.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// What became known before it is left out.
    pub since: Option<Timestamp>,
    /// What became known at it or after it is left out.
    pub until: Option<Timestamp>,
    /// The sites that are wanted; all of them if there are none.
    pub sites: Vec<u16>,
}

impl Span {
    /// Whether it leaves anything out.
    pub const fn is_whole(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.sites.is_empty()
    }

    /// Whether something that became known then is wanted.
    pub fn has(&self, known: Timestamp) -> bool {
        self.since.is_none_or(|s| known >= s) && self.until.is_none_or(|u| known < u)
    }

    /// Whether a file may hold what is wanted.
    pub(crate) fn meets(&self, site: u16, first: Timestamp, last: Timestamp) -> bool {
        (self.sites.is_empty() || self.sites.contains(&site))
            && self.since.is_none_or(|s| last >= s)
            && self.until.is_none_or(|u| first < u)
    }
}

/// One run's records, segment by segment.
struct Stream {
    /// The number that its first input has in the whole store.
    first_input: u32,
    segments: VecDeque<Segment>,
    /// Those of the segment that is read, in order.
    ready: VecDeque<(u64, Record)>,
}

/// Reads a store.
pub struct Reader {
    root: PathBuf,
    span: Span,
    runs: Vec<Run>,
    inputs: Vec<StoredInput>,
    streams: Vec<Stream>,
    notices: Vec<String>,
    failures: Vec<String>,
    rows: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Reader {
    /// Opens a store; what a killed run left is brought in order first, if that can be done. Its first input is called by this number.
    ///
    /// # Errors
    /// It is no store, or another version's.
    pub fn open(root: &Path, span: Span, first_input: u32) -> Result<Self, StoreError> {
        check(root)?;
        let notices = settled(root);
        let (all, bad) = segments(root)?;
        let mut failures: Vec<String> = bad.iter().map(ToString::to_string).collect();
        let past = Past::of(root, &all, first_input)?;
        failures.extend(past.failures);
        let of = |name: &String| all.iter().filter(|s| s.run == *name).cloned().collect();
        let streams = past
            .first_inputs
            .iter()
            .map(|(name, first)| Stream { first_input: *first, segments: of(name), ready: VecDeque::new() })
            .collect();
        let (runs, inputs) = (past.runs, past.inputs);
        let (root, rows) = (root.to_owned(), 0);
        Ok(Self { root, span, runs, inputs, streams, notices, failures, rows, first: None, last: None })
    }

    /// The next record that became known until then, and when; nothing where all of them became known later, or none is left.
    pub fn next(&mut self, until: Option<Timestamp>) -> Option<Record> {
        let mut first: Option<(Timestamp, usize)> = None;
        for n in 0..self.streams.len() {
            self.fill(n);
            if let Some((_, record)) = self.streams[n].ready.front() {
                let known = record.head().known;
                if first.is_none_or(|(earliest, _)| known < earliest) {
                    first = Some((known, n));
                }
            }
        }
        let (known, n) = first?;
        if until.is_some_and(|until| known > until) {
            return None;
        }
        let (_, mut record) = self.streams[n].ready.pop_front()?;
        record.renumber(self.streams[n].first_input);
        self.rows += 1;
        self.first.get_or_insert(known);
        self.last = self.last.max(Some(known));
        Some(record)
    }

    /// Reads a run's next segment, if what was read of it is used up.
    fn fill(&mut self, n: usize) {
        while self.streams[n].ready.is_empty()
            && let Some(segment) = self.streams[n].segments.pop_front()
        {
            let mut records = Vec::new();
            for part in &segment.parts {
                if !self.span.meets(part.site, part.first, part.last) {
                    continue;
                }
                if let Err(e) = read_part(&self.root.join(&part.path), &self.span, &mut records) {
                    self.failures.push(e.to_string());
                }
            }
            records.sort_by_key(|(seq, _)| *seq);
            self.streams[n].ready = records.into();
        }
    }

    /// What was read into it, in the order of packet ids.
    pub fn inputs(&self) -> &[StoredInput] {
        &self.inputs
    }

    /// What the captures were worth.
    pub fn health(&self) -> Health {
        let mut sum = Health::default();
        self.runs.iter().for_each(|r| sum.merge(&r.health));
        if !self.span.is_whole() {
            (sum.first, sum.last) = (self.first, self.last);
        }
        sum
    }

    /// What has to be told: of the runs, and of reading them.
    pub fn notices(&self) -> Vec<String> {
        let mut told: Vec<String> = self.runs.iter().flat_map(|r| r.notices.iter().cloned()).collect();
        told.extend(self.notices.iter().cloned());
        let killed = self.runs.iter().filter(|r| !r.complete && r.failures.is_empty()).count();
        if killed > 0 {
            told.push(format!(
                "{killed} runs that wrote it were killed: what they had not put on the disk is missing"
            ));
        }
        if !self.span.is_whole() {
            told.push(format!("{} records of the store were in the span that was asked for", self.rows));
        }
        told
    }

    /// What could not be read, then or now.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Records given so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }
}

/// What the runs of a store read, and how their inputs are numbered.
pub struct Past {
    pub runs: Vec<Run>,
    pub inputs: Vec<StoredInput>,
    /// The number of each run's first input.
    pub first_inputs: BTreeMap<String, u32>,
    pub failures: Vec<String>,
}

impl Past {
    /// Reads what the runs say of themselves; the first input of all is called by this number.
    pub fn of(root: &Path, segments: &[Segment], first_input: u32) -> Result<Self, StoreError> {
        let mut past = Self {
            runs: Vec::new(),
            inputs: Vec::new(),
            first_inputs: BTreeMap::new(),
            failures: Vec::new(),
        };
        for name in names(&root.join(RUNS), ".json")? {
            let before = past.inputs.len();
            match read_run(&root.join(RUNS).join(format!("{name}.json"))) {
                Ok(run) => {
                    past.failures.extend(run.failures.iter().cloned());
                    past.inputs.extend(run.inputs.iter().cloned());
                    past.runs.push(run);
                }
                Err(e) => past.failures.push(e.to_string()),
            }
            // Of a run that was killed it is known how many inputs it had read, and not which.
            let many = segments.iter().filter(|s| s.run == name).map(|s| s.last_input as usize + 1).max();
            while past.inputs.len() < before + many.unwrap_or(0) {
                past.inputs.push(unknown(&name));
            }
            past.first_inputs.insert(name, first_input + before as u32);
        }
        Ok(past)
    }
}

/// Brings in order what killed runs left, if that can be done: what has to be told.
pub fn settled(root: &Path) -> Vec<String> {
    match settle(root) {
        Ok(told) => told,
        Err(StoreError::Busy(_)) => {
            vec![format!("{} is being written: what its last segment holds is not read yet", root.display())]
        }
        // It may lie where only reading is allowed.
        Err(e) => vec![format!("what killed runs left was not looked at: {e}")],
    }
}

fn unknown(run: &str) -> StoredInput {
    let path = format!("an input of the run {run}, which was killed");
    StoredInput { path, size: None, sha256: None, log: None }
}

/// Reads the records of a file that are wanted, each once.
fn read_part(path: &Path, span: &Span, into: &mut Vec<(u64, Record)>) -> Result<(), StoreError> {
    let damaged = |e: &dyn std::fmt::Display| StoreError::damaged(path, &e);
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let wanted = ["known", "seq", "is_primary", "record"];
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).build().map_err(|e| damaged(&e))?;
    let before = into.len();
    let done = take(path, reader, span, into);
    if done.is_err() {
        // Of a file that is damaged nothing is believed.
        into.truncate(before);
    }
    done
}

fn take(
    path: &Path,
    reader: ParquetRecordBatchReader,
    span: &Span,
    into: &mut Vec<(u64, Record)>,
) -> Result<(), StoreError> {
    let damaged = |e: &dyn std::fmt::Display| StoreError::damaged(path, &e);
    for batch in reader {
        let batch = batch.map_err(|e| damaged(&e))?;
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| damaged(&format!("it has no column {name}")))
        };
        let known = column("known")?.as_primitive_opt::<TimestampNanosecondType>();
        let seq = column("seq")?.as_primitive_opt::<UInt64Type>();
        let (primary, record) =
            (column("is_primary")?.as_boolean_opt(), column("record")?.as_binary_opt::<i64>());
        let (Some(known), Some(seq), Some(primary), Some(record)) = (known, seq, primary, record) else {
            return Err(damaged(&"its columns are of other types"));
        };
        for i in 0..batch.num_rows() {
            if primary.value(i) && span.has(Timestamp(known.value(i))) {
                let told = postcard::from_bytes(record.value(i)).map_err(|e| damaged(&e))?;
                into.push((seq.value(i), told));
            }
        }
    }
    Ok(())
}
