//! What the tests of cases and of what shows them share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use capture::{Opening, Source};
use case::CaseWriter;
use pipeline::{RunOptions, run_with};
use record::Record;
use report::{CaptureLine, InputLine};
use verdict::HostStory;

pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name)
}

/// What reading a capture gives a case.
#[derive(Clone)]
pub struct Run {
    pub records: Vec<Record>,
    pub capture: CaptureLine,
    pub stories: Vec<HostStory>,
}

impl Run {
    pub fn of(path: &Path) -> Self {
        let opening = Opening { hashed: true, ..Opening::default() };
        let options = RunOptions { opening, ..RunOptions::of(vec![Source::Path(path.to_owned())]) };
        let mut records = Vec::new();
        let outcome = run_with(&options, |_| (), |r| records.push(r.clone())).expect("it runs");
        let input = |i: &pipeline::Input| InputLine {
            log: i.log.clone(),
            path: i.path.clone(),
            absolute: Some(i.path.clone()),
            size: i.size,
            sha256: i.sha256.clone(),
        };
        let capture = CaptureLine {
            schema: CaptureLine::SCHEMA,
            inputs: outcome.inputs.iter().map(input).collect(),
            home: outcome.home.clone(),
            ..CaptureLine::default()
        };
        let capture = capture.with_health(&outcome.health).with_hosts(&outcome.stories);
        Self { records, capture, stories: outcome.stories }
    }

    pub fn begin(&self, dir: &Path) -> anyhow::Result<CaseWriter> {
        let mut writer = CaseWriter::begin(dir)?;
        self.records.iter().for_each(|r| writer.record(r));
        Ok(writer)
    }

    pub fn write(&self, dir: &Path) -> anyhow::Result<Vec<String>> {
        self.begin(dir)?.finish(&self.capture, &self.stories)
    }
}
