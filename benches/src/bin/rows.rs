//! What reading a log costs, without judging: rows a second of one file on one processor.
//! `cargo run --release -p hydrophone-benches --bin rows -- LOG`, with a log from `testkit logs FORM FLOWS`.
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // This measures the clock and prints what it measured.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use capture::Opening;
use import::LogSet;

fn main() -> anyhow::Result<()> {
    let path = PathBuf::from(std::env::args().nth(1).context("name a log")?);
    let size = std::fs::metadata(&path)?.len();
    let begun = Instant::now();
    let mut set = LogSet::open(vec![path], &Opening::default(), 0, 256 << 20);
    let mut records = 0u64;
    while set.next(None).is_some() {
        records += 1;
    }
    let took = begun.elapsed().as_secs_f64();
    let rows: u64 = set.kinds().values().sum();
    println!(
        "{rows} rows, {records} records in {took:.2} s: {:.2} million rows a second, {:.0} MB a second",
        rows as f64 / took / 1e6,
        size as f64 / took / 1e6
    );
    Ok(())
}
