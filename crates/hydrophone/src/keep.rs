//! `read --store` and `listen --store`: what is read or heard is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use behaviour::Home;
use pipeline::{ByteSize, Input, Outcome};
use record::{Record, Timestamp};
use store::{StoredInput, Writer};

use crate::config::Config;
use crate::{Failure, find};

/// How often records are put on the disk while it is listened: so much is lost when the program is killed.
const FLUSHED: Duration = Duration::from_secs(10);
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

/// Ends what is kept with what was read. What could not be kept is a failure of the run, and takes nothing from its story.
pub fn finish(keeper: Writer, outcome: &mut Outcome) {
    let settled = keeper.notices().to_vec();
    let inputs = outcome.inputs.iter().map(stored).collect();
    let notices = outcome.notices.iter().take(outcome.of_inputs).cloned().collect();
    let (complete, failures) = (outcome.is_complete(), outcome.failures.clone());
    match keeper.finish(inputs, complete, notices, failures, outcome.health.clone()) {
        Ok(written) => outcome.notices.extend(written.notice),
        Err(e) => outcome.failures.push(format!("not all of it was kept: {e}")),
    }
    outcome.notices.extend(settled);
}

/// An input as a store has it: it may be read again from another folder.
fn stored(input: &Input) -> StoredInput {
    let path = match std::path::absolute(&input.path) {
        Ok(path) if input.size.is_some() => path.display().to_string(),
        _ => input.path.clone(),
    };
    StoredInput { path, size: input.size, sha256: input.sha256.clone(), log: input.log.clone() }
}

/// A store that is written for months: what stands in its way is told, and tried again.
pub struct Keeper<'a> {
    dir: &'a Path,
    config: &'a Config,
    memory: ByteSize,
    writer: Option<Writer>,
    flushed: Option<Timestamp>,
    /// Records that nobody wrote down.
    unkept: u64,
}

impl<'a> Keeper<'a> {
    /// Begins to keep records.
    pub fn begin(dir: &'a Path, config: &'a Config, memory: ByteSize) -> Result<Self, Failure> {
        let writer = Some(begin(dir, &[], config, memory)?);
        Ok(Self { dir, config, memory, writer, flushed: None, unkept: 0 })
    }

    /// Takes a record.
    pub fn record(&mut self, record: &Record) {
        match &mut self.writer {
            Some(writer) => writer.record(record),
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
        self.writer = Some(begin(self.dir, &[], self.config, self.memory).ok()?);
        Some(format!("records are kept again; {} were not", self.unkept))
    }

    /// Puts what was taken on the disk; gives what is to be said.
    pub fn flush(&mut self) -> Option<String> {
        let e = self.writer.as_mut()?.flush().err()?;
        // What it wrote lies there as after a kill.
        self.writer = None;
        Some(format!("records are not kept: {e}; it is tried again"))
    }

    /// Ends what is kept.
    pub fn finish(self, outcome: &mut Outcome) {
        if let Some(writer) = self.writer {
            finish(writer, outcome);
        }
        if self.unkept > 0 {
            outcome.failures.push(format!("{} records were not kept", self.unkept));
        }
    }
}
