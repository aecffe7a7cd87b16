//! Reading records back, in the order in which they were seen.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use record::{Health, Record, Timestamp};

use crate::catalog::Catalog;
use crate::late::Analysed;
use crate::merge::Merge;
use crate::place::Place;
use crate::settle::{Settled, settle};
use crate::{Known, Rested, Run, Segment, StoreError, StoredInput, Times, run_number};

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

/// Reads a store.
pub struct Reader {
    catalog: Catalog,
    records: Merge,
    failures: Vec<String>,
    rows: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    analysed: Analysed,
}

impl Reader {
    /// Opens a store; what a killed run left is brought in order first, if that can be done. Its first input is called by this number.
    ///
    /// # Errors
    /// It is no store, or another version's.
    pub fn open(root: &Path, span: Span, first_input: u32) -> Result<Self, StoreError> {
        let catalog = Catalog::open(root, span, first_input)?;
        let (place, span, all) = (&catalog.place, &catalog.span, &catalog.segments);
        let of = |name: &String| all.iter().filter(|s| s.run == *name).cloned().collect();
        let streams = catalog.past.first_inputs.iter().map(|(name, first)| (*first, of(name))).collect();
        Ok(Self {
            records: Merge::of(place, span, streams),
            analysed: catalog.analysed(),
            failures: catalog.failures.clone(),
            catalog,
            rows: 0,
            first: None,
            last: None,
        })
    }

    /// The next record that became known until then, and when; nothing where all of them became known later, or none is left.
    pub fn next(&mut self, until: Option<Timestamp>) -> Option<Record> {
        let next = self.records.next(until);
        self.failures.extend(self.records.failures.drain(..).map(|e| e.to_string()));
        let record = next?.record;
        let known = record.head().known;
        self.rows += 1;
        self.first.get_or_insert(known);
        self.last = self.last.max(Some(known));
        Some(record)
    }

    /// What was read into it, in the order of packet ids.
    pub fn inputs(&self) -> &[StoredInput] {
        self.catalog.inputs()
    }

    /// What the captures were worth.
    pub fn health(&self) -> Health {
        let mut sum = self.catalog.health();
        if !self.catalog.span.is_whole() {
            (sum.first, sum.last) = (self.first, self.last);
        }
        sum
    }

    /// What has to be told: of the runs, and of reading them.
    pub fn notices(&self) -> Vec<String> {
        let mut told = self.catalog.notices();
        if !self.catalog.span.is_whole() {
            told.push(format!("{} records of the store were in the span that was asked for", self.rows));
        }
        told
    }

    /// What is to be noted when all of it was judged.
    pub const fn analysed(&self) -> &Analysed {
        &self.analysed
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
    /// Those that can be read.
    pub runs: BTreeMap<String, Run>,
    pub inputs: Vec<StoredInput>,
    /// The number of each run's first input.
    pub first_inputs: BTreeMap<String, u32>,
    /// Which of the inputs are a run's.
    of: BTreeMap<String, Range<usize>>,
    pub failures: Vec<String>,
}

impl Past {
    /// Reads what the runs say of themselves; the first input of all is called by this number. Where somebody may be writing, the last may be his.
    pub fn of(runs: Vec<Known>, segments: &[Segment], first_input: u32, is_written: bool) -> Self {
        let mut past = Self {
            runs: BTreeMap::new(),
            inputs: Vec::new(),
            first_inputs: BTreeMap::new(),
            of: BTreeMap::new(),
            failures: Vec::new(),
        };
        let last = runs.iter().map(|(name, _)| name).max_by_key(|name| run_number(name)).cloned();
        for (name, run) in runs {
            let before = past.inputs.len();
            match run {
                Ok(Rested { run, .. }) => {
                    past.failures.extend(run.failures.iter().cloned());
                    // A sensor goes on after a kill, and only what was on its way is missing; who read files has not read them to the end.
                    let may_go_on = is_written && last.as_ref() == Some(&name);
                    if run.was_killed() && (run.ends || !run.planned.is_empty()) && !may_go_on {
                        past.failures.push(killed(&name, &run));
                    }
                    past.inputs.extend(run.inputs.iter().cloned());
                    past.runs.insert(name.clone(), run);
                }
                Err(e) => past.failures.push(e.to_string()),
            }
            // Of a run that was killed it is known how many inputs it had read, and not which.
            let many = segments.iter().filter(|s| s.run == name).map(|s| s.last_input as usize + 1).max();
            while past.inputs.len() < before + many.unwrap_or(0) {
                past.inputs.push(unknown(&name, past.runs.get(&name)));
            }
            past.first_inputs.insert(name.clone(), first_input + before as u32);
            past.of.insert(name, before..past.inputs.len());
        }
        past
    }

    /// A run's inputs.
    pub fn inputs_of(&self, run: &str) -> &[StoredInput] {
        self.of.get(run).and_then(|of| self.inputs.get(of.clone())).unwrap_or_default()
    }
}

/// Brings in order what killed runs left, if that can be done: what has to be told.
pub fn settled(place: &Place) -> Settled {
    let notice = match settle(place) {
        Ok(settled) => return settled,
        Err(StoreError::Busy(_) | StoreError::Held { .. }) => {
            format!(
                "{} is being written: what its last segment holds is not read yet",
                place.name().display()
            )
        }
        // It may lie where only reading is allowed.
        Err(e) => format!("what killed runs left was not looked at: {e}"),
    };
    Settled { is_written: true, notices: vec![notice], failures: Vec::new() }
}

/// What is missing of a run that was killed.
fn killed(name: &str, run: &Run) -> String {
    // What has no name can be had again by nobody.
    if run.planned.is_empty() || run.planned.iter().any(|input| input.size.is_none()) {
        return format!("{name} was killed while it read: {}; read the same into a new store", Run::KILLED);
    }
    let paths: Vec<&str> = run.planned.iter().take(3).map(|input| input.path.as_str()).collect();
    let more = if run.planned.len() > paths.len() { ", …" } else { "" };
    format!(
        "{name} was killed while it read {}{more}: {}; what it can, a `read` of the same into the store makes good",
        paths.join(", "),
        Run::KILLED
    )
}

/// An input of a run that was killed: the one that it was to read, or one of several.
fn unknown(name: &str, run: Option<&Run>) -> StoredInput {
    if let Some([alone]) = run.map(|run| run.planned.as_slice()) {
        return alone.clone();
    }
    let path = format!("an input of the run {name}, which was killed");
    StoredInput { path, size: None, sha256: None, log: None, times: Times::default() }
}
