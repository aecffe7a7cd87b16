//! A case to look into: one that lies there, or one made of captures, logs or a store for as long as it is looked into.

use std::ffi::OsString;

use std::path::Path;

use case::Case;
use clap::Parser;
use tempfile::TempDir;

use crate::args::{Args, Command, Read};
use crate::config::Config;
use crate::{Failure, read, say};

/// A case, and where it lies while it is looked into.
pub struct Opened {
    pub case: Case,
    /// Whether everything of it could be read that was analysed for it.
    pub complete: bool,
    _place: Option<TempDir>,
}

/// The options of `read` for an input, with a case at a place; what else stands there is given as people write it.
pub fn options(input: &Path, place: &Path, further: &[OsString]) -> Result<Read, Failure> {
    let words = ["hydrophone".into(), "read".into(), input.into(), "-o".into(), place.into()];
    let words = words.into_iter().chain(further.iter().cloned());
    let parsed = Args::try_parse_from(words.collect::<Vec<OsString>>());
    if let Some(e) = parsed.as_ref().err().filter(|e| !e.use_stderr()) {
        e.exit();
    }
    let parsed = parsed.map_err(|e| Failure::usage(anyhow::anyhow!("behind --: {e}")))?;
    let Command::Read(options) = parsed.command else { unreachable!("the second word is read") };
    Ok(*options)
}

/// Analyses an input into a case; what failed of it is told. Gives whether nothing did.
///
/// # Errors
/// It cannot be analysed, or nothing in it can be read.
pub fn analyse(options: &Read) -> Result<bool, Failure> {
    let done = read::analyse(options, &Config::of(&options.judging)?, false)?;
    if let (Some(first), true) = (done.outcome.failures.first(), done.outcome.stories.is_empty()) {
        return Err(Failure::input(anyhow::anyhow!("{first}")));
    }
    for failure in &done.outcome.failures {
        say(failure);
    }
    Ok(done.outcome.is_complete())
}

/// Opens a case. What is none (a capture, a log, a folder of them, a store) is analysed first, as `read` does with these options.
pub fn open(path: &Path, further: &[OsString]) -> Result<Opened, Failure> {
    let is_input = !case::is_case(path) && (store::is_store(path) || path.exists());
    if !is_input {
        if let Some(option) = further.first().filter(|_| case::is_case(path)) {
            let why = anyhow::anyhow!(
                "{} is a case, which was read already: {} and what follows are for what is read anew",
                path.display(),
                option.display()
            );
            return Err(Failure::usage(why));
        }
        return Ok(Opened { case: Case::read(path).map_err(Failure::input)?, complete: true, _place: None });
    }
    let place = tempfile::tempdir()?;
    let options = options(path, &place.path().join("case"), further)?;
    let complete = analyse(&options)?;
    let case = Case::read(&place.path().join("case")).map_err(Failure::input)?;
    Ok(Opened { case, complete, _place: Some(place) })
}
