//! What the user knows beside the packets: expectations and lists of indicators.

use std::path::{Path, PathBuf};

use anyhow::Context;
use behaviour::{Expectations, Intel};
use pipeline::{Outcome, Subscribers};
use verdict::{Calibration, Role};

use crate::Failure;

/// The user's payoffs, if there are any.
pub fn payoffs(path: Option<&Path>) -> Result<Option<Calibration>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the payoffs {}", path.display()))
        .map_err(Failure::usage)?;
    let name = path.display().to_string();
    Calibration::built_in().giving(&name, &text).map(Some).map_err(|e| Failure::usage(anyhow::anyhow!(e)))
}

/// Reads the file of expectations, if there is one.
pub fn expectations(path: Option<&Path>) -> Result<Expectations, Failure> {
    let Some(path) = path else { return Ok(Expectations::default()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the expectations {}", path.display()))
        .map_err(Failure::usage)?;
    let wrong = |what: String| Failure::usage(anyhow::anyhow!("{}: {what}", path.display()));
    let made = Expectations::parse(&text).map_err(wrong)?;
    for declaration in &made.roles {
        if let Some(role) = declaration.role.as_deref().filter(|r| Role::named(r).is_none()) {
            let known: Vec<String> = Role::ALL.iter().map(ToString::to_string).collect();
            return Err(wrong(format!(
                "role {:?}: no role is called {role:?}: write one of {}",
                declaration.name,
                known.join(", ")
            )));
        }
    }
    Ok(made)
}

/// Reads the list of subscribers, if there is one; what stands in the key's file is mixed into their pseudonyms.
pub fn subscribers(path: Option<&Path>, key: Option<&Path>) -> Result<Option<Subscribers>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let text = |path: &Path, what: &str| {
        std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the {what} {}", path.display()))
            .map_err(Failure::usage)
    };
    let key = match key {
        Some(key) => export::key_of(&text(key, "key")?)
            .with_context(|| key.display().to_string())
            .map_err(Failure::usage)?,
        None => [0; 32],
    };
    let made = Subscribers::parse(&text(path, "list of subscribers")?, &key);
    made.map(Some).map_err(|e| Failure::usage(anyhow::anyhow!("{}: {e}", path.display())))
}

/// Whether it is said of a list, or of a folder of lists, that nothing is known of it now.
pub fn is_unread(told: &str) -> bool {
    told.starts_with(NOT_USED) || told.ends_with(NO_LIST)
}

/// What is said of a list that cannot be read.
const NOT_USED: &str = "list of indicators not used: ";
/// What is said of a folder without one.
const NO_LIST: &str = ": no list of indicators lies in it";

/// Reads lists of indicators, of folders every file; gives them with what must be told of them.
pub fn intel(paths: &[PathBuf]) -> Result<(Intel, Vec<String>), Failure> {
    let (mut files, mut told) = (Vec::new(), Vec::new());
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path)
                .with_context(|| format!("cannot list {}", path.display()))
                .map_err(Failure::usage)?;
            let before = files.len();
            files.extend(entries.flatten().map(|e| e.path()).filter(|p| p.is_file()));
            if files.len() == before {
                told.push(format!("{}{NO_LIST}", path.display()));
            }
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    let mut intel = Intel::default();
    let mut good = 0;
    for file in &files {
        let read = std::fs::read(file).map_err(|e| format!("{}: cannot be read: {e}", file.display()));
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match read.and_then(|bytes| intel.add(&name, &bytes)) {
            Ok(added) => {
                good += 1;
                if added == 0 {
                    told.push(format!(
                        "{}: adds no indicator: it is empty, or other lists hold them all",
                        file.display()
                    ));
                }
            }
            // One bad list takes nothing away from the others.
            Err(e) => told.push(format!("{NOT_USED}{e}")),
        }
    }
    if good == 0 && !files.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!(told.join("; "))));
    }
    told.extend(intel.passed_over.iter().map(|p| {
        let entries = if p.count == 1 { "entry is" } else { "entries are" };
        format!("{}: {} {entries} {}, for example {:?}", p.list, p.count, p.why, p.example)
    }));
    Ok((intel, told))
}

/// Expectations that have ended, and those that nothing fulfilled.
pub fn unused(expectations: &Expectations, outcome: &Outcome) -> Vec<String> {
    let mut told = Vec::new();
    for e in &expectations.list {
        let used = |s: &verdict::HostStory| {
            s.suppressed.iter().any(|x| x.expected.as_deref() == Some(e.told().as_str()))
        };
        if outcome.health.last.is_some_and(|last| last >= e.ends()) {
            told.push(format!(
                "the expectation '{}' of {} ended on {}: renew or remove it",
                e.name, e.owner, e.until
            ));
        } else if !outcome.stories.iter().any(used) {
            told.push(format!("nothing fulfilled the expectation '{}' of {}", e.name, e.owner));
        }
    }
    for d in &expectations.roles {
        if outcome.health.last.is_some_and(|last| last >= d.ends()) {
            told.push(format!(
                "the role '{}' by {} ended on {}: renew or remove it",
                d.name, d.owner, d.until
            ));
        }
    }
    told
}
