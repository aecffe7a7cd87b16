//! What of a store counts: which files hold what is wanted, and what is to be told of the runs that wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::FieldRef;
use ipnet::IpNet;
use object_store::ObjectStore;
use object_store::path::Path as Key;
use record::{Health, Timestamp};

use crate::late::{self, Analysed};
use crate::place::Place;
use crate::read::{Past, settled};
use crate::segment::in_files;
use crate::settle::Settled;
use crate::{Counted, Run, Segment, Span, StoreError, StoredInput, counted, open};

/// What of a store counted when it was opened. Its files stay until this is gone.
pub struct Catalog {
    pub(crate) place: Place,
    pub(crate) span: Span,
    pub(crate) segments: Vec<Segment>,
    pub(crate) past: Past,
    pub(crate) failures: Vec<String>,
    notices: Vec<String>,
    /// Rows that came to days after these were analysed.
    late: Vec<(String, u64)>,
    _reading: Option<File>,
}

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    /// Below the store.
    pub path: String,
    /// The kind of record.
    pub kind: String,
    /// The site that saw them.
    pub site: u16,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// The sum of them, if it was taken when they were written.
    pub crc32: Option<u32>,
    /// The place of the run that wrote it among all runs: of records that became known at once an earlier run's come first.
    pub run: u32,
    /// When the first and the last of its rows became known.
    pub known: (Timestamp, Timestamp),
}

/// Where a store's files lie in a bucket, for programs that ask for them by themselves.
#[derive(Clone, Debug)]
pub struct Objects {
    /// What is asked for them.
    pub store: Arc<dyn ObjectStore>,
    /// The bucket: `s3://BUCKET/`.
    pub base: String,
    /// What stands before each path.
    pub prefix: Key,
}

/// The columns of a table's files.
pub fn columns() -> Vec<FieldRef> {
    in_files()
}

impl Catalog {
    /// Opens a store; what a killed run left is brought in order first, if that can be done. Its first input is called by this number.
    ///
    /// # Errors
    /// It is no store, or another version's.
    pub fn open(root: &Path, span: Span, first_input: u32) -> Result<Self, StoreError> {
        let place = open(root)?;
        let Settled { is_written, notices, mut failures } = settled(&place);
        let reading = place.reading();
        let Counted { runs, segments, bad } = counted(&place)?;
        failures.extend(bad.iter().map(ToString::to_string));
        let mut past = Past::of(runs, &segments, first_input, is_written);
        failures.append(&mut past.failures);
        let late = late::late(&place, &segments, &span);
        Ok(Self { place, span, segments, past, failures, notices, late, _reading: reading })
    }

    /// The files that may hold what is wanted, in the order of their runs.
    pub fn files(&self) -> Vec<TableFile> {
        let runs: Vec<&String> = self.past.first_inputs.keys().collect();
        let mut files = Vec::new();
        for segment in &self.segments {
            let Ok(run) = runs.binary_search(&&segment.run) else { continue };
            let wanted = segment.parts.iter().filter(|p| self.span.meets(p.site, p.first, p.last));
            files.extend(wanted.map(|p| TableFile {
                path: p.path.clone(),
                kind: p.kind.clone(),
                site: p.site,
                rows: p.rows,
                bytes: p.bytes,
                crc32: p.crc32,
                run: run as u32,
                known: (p.first, p.last),
            }));
        }
        files
    }

    /// What was read into it, in the order of packet ids.
    pub fn inputs(&self) -> &[StoredInput] {
        &self.past.inputs
    }

    /// The runs that count, by their names.
    pub const fn runs(&self) -> &BTreeMap<String, Run> {
        &self.past.runs
    }

    /// The number of each run's first input: what [`record::Record::renumber`] takes.
    pub fn first_inputs(&self) -> Vec<u32> {
        self.past.first_inputs.values().copied().collect()
    }

    /// The local networks that its rows are filed by, where all runs agree and said so. A run whose note cannot be read is one of the failures.
    pub fn home(&self) -> Option<Vec<IpNet>> {
        let runs: BTreeSet<&String> = self.segments.iter().map(|s| &s.run).collect();
        let mut homes =
            runs.into_iter().filter_map(|run| self.past.runs.get(run)).map(|run| run.home.as_ref());
        let first = homes.next()??;
        homes.all(|home| home == Some(first)).then(|| first.clone())
    }

    /// What the captures were worth.
    pub fn health(&self) -> Health {
        let mut sum = Health::default();
        self.past.runs.values().for_each(|r| sum.merge(&r.health));
        // Runs may be of the same days, and a part of them may be wanted: what paused in all of it is not known.
        sum.paused_ns = 0;
        sum
    }

    /// What has to be told of the runs, and of opening them.
    pub fn notices(&self) -> Vec<String> {
        let mut told: Vec<String> = self.past.runs.values().flat_map(|r| r.notices.iter().cloned()).collect();
        told.extend(self.notices.iter().cloned());
        if !self.late.is_empty() {
            told.push(format!(
                "rows came to days after these were analysed: {}; what was told of them before was without these",
                late::said(&self.late)
            ));
        }
        let killed = self.past.runs.values().filter(|r| r.was_killed()).count();
        if killed > 0 {
            told.push(format!("{killed} runs that wrote it were killed: {}", Run::KILLED));
        }
        told
    }

    /// The days that are analysed as a whole, to be noted when they were.
    pub fn analysed(&self) -> Analysed {
        Analysed::of(&self.place, &self.segments, &self.span)
    }

    /// What could not be read, and inputs that could not be read when it was written.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// How people name a file of it.
    pub fn shown(&self, path: &str) -> String {
        self.place.shown(path).display().to_string()
    }
}
