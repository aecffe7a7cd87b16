//! The evaluation harness: what is found, missed and falsely accused, per capture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use capture::Source;
use pipeline::{ByteSize, Outcome, RunOptions, run};
use verdict::Verdict;

/// Where the corpus of real captures is: `HYDROPHONE_CORPUS`, or `../shared/corpus` beside the project; `None` where there is none.
pub fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("HYDROPHONE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    named.into_iter().chain([beside]).find(|p| p.join("manifest.tsv").is_file())
}

/// A capture of the corpus and what is known of it.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Path relative to the corpus.
    pub file: String,
    /// `bot`, `tool`, `clean`, `parse`, `zeek-log`.
    pub kind: String,
    /// Addresses of the infected hosts.
    pub hosts: Vec<String>,
    /// Family or tool.
    pub family: String,
}

/// Reads the corpus's manifest.
///
/// # Errors
/// It cannot be read.
pub fn manifest(corpus: &Path) -> std::io::Result<Vec<Labelled>> {
    let text = std::fs::read_to_string(corpus.join("manifest.tsv"))?;
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut f = line.split('\t');
        Some(Labelled {
            file: f.next()?.to_owned(),
            kind: f.next()?.to_owned(),
            hosts: f.next()?.split(',').filter(|h| !h.is_empty()).map(str::to_owned).collect(),
            family: f.next()?.to_owned(),
        })
    });
    Ok(rows.collect())
}

/// Analyses one input with everything at its default.
///
/// # Errors
/// It cannot be opened.
pub fn analyse(source: Source, threads: usize) -> Result<Outcome, pipeline::RunError> {
    let options = RunOptions { threads, memory: ByteSize(256 << 20), ..RunOptions::of(vec![source]) };
    run(&options, |_| ())
}

/// One capture's result.
#[derive(Clone, Debug)]
pub struct Row {
    /// The capture.
    pub of: Labelled,
    /// Strongest verdict on a labelled host, with its level.
    pub labelled: Option<(Verdict, f64)>,
    /// Strongest verdict on any other local host.
    pub others: Option<(Verdict, f64)>,
    /// Local hosts.
    pub hosts: usize,
    /// Behaviours that fired on labelled hosts (for clean captures: on any).
    pub behaviours: Vec<String>,
    /// Why it was not read to its end.
    pub failure: Option<String>,
}

/// Analyses every capture of the given kinds.
///
/// # Errors
/// The manifest cannot be read.
pub fn table(corpus: &Path, kinds: &[&str]) -> std::io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for of in manifest(corpus)?.into_iter().filter(|l| kinds.contains(&l.kind.as_str())) {
        let outcome = match analyse(Source::Path(corpus.join(&of.file)), 1) {
            Ok(outcome) => outcome,
            Err(e) => {
                let failure = Some(e.to_string());
                rows.push(Row { of, labelled: None, others: None, hosts: 0, behaviours: vec![], failure });
                continue;
            }
        };
        let mine = |ip: &str| of.hosts.iter().any(|h| h == ip);
        let clean = of.kind == "clean";
        let (mut labelled, mut others) = (None, None);
        let mut behaviours: BTreeSet<String> = BTreeSet::new();
        for story in &outcome.stories {
            let is_mine = mine(&story.host.to_string());
            let slot = if is_mine { &mut labelled } else { &mut others };
            let this = (story.verdict, story.level_db);
            if slot.is_none_or(|s: (Verdict, f64)| this.0 > s.0 || (this.0 == s.0 && this.1 > s.1)) {
                *slot = Some(this);
            }
            if is_mine || clean {
                behaviours.extend(story.evidence.iter().map(|e| e.evidence.behaviour.to_string()));
            }
        }
        rows.push(Row {
            of,
            labelled,
            others,
            hosts: outcome.stories.len(),
            behaviours: behaviours.into_iter().collect(),
            failure: outcome.failures.first().cloned(),
        });
    }
    Ok(rows)
}
