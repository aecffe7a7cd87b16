//! `read --store` and `listen --store`: what is read or heard is kept.

use std::path::{Path, PathBuf};

use behaviour::Home;
use pipeline::{ByteSize, Input, Outcome};
use store::{StoredInput, Writer};

use crate::config::Config;
use crate::{Failure, find};

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
    let writer = Writer::begin(dir, move |ip| home.contains(ip)).map_err(find::failure)?;
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
