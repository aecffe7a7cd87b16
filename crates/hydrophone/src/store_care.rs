//! `hydrophone store`: fewer files, no older days than are wanted, and whether all is as it was written.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use record::{Timestamp, human_bytes, human_count};
use store::{Keep, PrunedDay};

use crate::args::{Prune, Store};
use crate::find::failure;
use crate::{Exit, Failure, say};

pub fn run(what: &Store) -> Result<Exit, Failure> {
    match what {
        Store::Compact { store } => compact(store),
        Store::Prune(args) => prune(args),
        Store::Check { store } => check(store),
    }
}

fn check(root: &Path) -> Result<Exit, Failure> {
    let done = store::check_files(root).map_err(failure)?;
    let mut out = anstream::stdout().lock();
    let good = if done.failures.is_empty() { ", all of it as it was written" } else { "" };
    writeln!(out, "looked at: {}, {}{good}", many(done.files, "file"), human_bytes(done.bytes))?;
    if done.unsummed > 0 {
        let of = many(done.unsummed, "file");
        writeln!(out, "of {of} only the size could be compared: an older version wrote no checksum")?;
    }
    for failure in &done.failures {
        say(failure);
    }
    Ok(if done.failures.is_empty() { Exit::Done } else { Exit::Partial })
}

fn compact(root: &Path) -> Result<Exit, Failure> {
    let done = store::compact(root).map_err(failure)?;
    let mut out = anstream::stdout().lock();
    let (runs, files, bytes) = (done.runs, done.files, done.bytes);
    if (runs.0, files.0) == (runs.1, files.1) {
        writeln!(out, "nothing to join: {} in {}", many(files.0, "file"), many(runs.0, "run"))?;
        return Ok(Exit::Done);
    }
    writeln!(
        out,
        "joined: {} in {} are now {} in {}, {} instead of {}",
        many(files.0, "file"),
        many(runs.0, "run"),
        many(files.1, "file"),
        many(runs.1, "run"),
        human_bytes(bytes.1),
        human_bytes(bytes.0)
    )?;
    Ok(Exit::Done)
}

fn prune(args: &Prune) -> Result<Exit, Failure> {
    let keep = match (args.keep_days, args.keep_bytes) {
        (Some(days), _) => Keep::DaysUntil(days, tomorrow()),
        (None, Some(size)) => Keep::Bytes(size.0),
        (None, None) => {
            return Err(Failure::usage(anyhow::anyhow!("say what to keep: --keep-days or --keep-bytes")));
        }
    };
    let done = store::prune(&args.store, keep, args.dry_run).map_err(failure)?;
    let mut out = anstream::stdout().lock();
    let what = if args.dry_run { "would remove" } else { "removed" };
    for day in &done.days {
        writeln!(out, "{what} {}", line(day))?;
    }
    if done.days.is_empty() {
        writeln!(out, "nothing to remove")?;
    }
    if done.waits {
        say(
            "somebody reads: what `hydrophone-cluster analyse` told of days that are gone lies in analyses/ still, and goes when this is asked again",
        );
    }
    if done.runs > 0 {
        writeln!(out, "{what} {} of which nothing is left", many(done.runs, "run"))?;
    }
    if let (Some(first), Some(last)) = (done.left.first(), done.left.last()) {
        let (rows, bytes) = done.left.iter().fold((0, 0), |(r, b), d| (r + d.rows, b + d.bytes));
        let span = if first == last { first.day.clone() } else { format!("{} to {}", first.day, last.day) };
        let days = many(done.left.len() as u64, "day");
        writeln!(out, "kept {span}: {days}, {}, {}", many(rows, "row"), human_bytes(bytes))?;
        if let Keep::Bytes(most) = keep
            && bytes > most
        {
            writeln!(out, "the last day alone takes more than {}", human_bytes(most))?;
        }
    }
    Ok(Exit::Done)
}

/// By this machine's clock, at the edge: days that it has not seen come are a capture's mistake, by which no others are forgotten.
fn tomorrow() -> Timestamp {
    capture::now().plus(Duration::from_hours(24))
}

fn line(day: &PrunedDay) -> String {
    format!("{}: {}, {}", day.day, many(day.rows, "row"), human_bytes(day.bytes))
}

fn many(n: u64, what: &str) -> String {
    format!("{} {what}{}", human_count(n), if n == 1 { "" } else { "s" })
}
