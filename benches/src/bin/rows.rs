//! What reading a log costs, without judging: rows a second of one file on one processor.
//! `cargo run --release -p hydrophone-benches --bin rows -- LOG [STORE [SITE]]`, with a log from `testkit logs FORM FLOWS`; with a STORE what keeping it costs as well,
//! as that SITE's.
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // This measures the clock and prints what it measured.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use capture::Opening;
use import::LogSet;
use store::Writer;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(PathBuf::from);
    let path = args.next().context("name a log")?;
    // The generator's hosts.
    let home: ipnet::IpNet = "10.0.0.0/8".parse()?;
    let mut store =
        args.next().map(|root| Writer::begin(&root, &[home], move |ip| home.contains(&ip))).transpose()?;
    let site: u16 = args.next().map_or(Ok(0), |site| site.to_string_lossy().parse())?;
    let size = std::fs::metadata(&path)?.len();
    let begun = Instant::now();
    let mut set = LogSet::open(vec![path], &Opening::default(), 0, 256 << 20);
    let mut records = 0u64;
    while let Some(mut record) = set.next(None) {
        records += 1;
        record.head_mut().site = site;
        if let Some(store) = &mut store {
            store.record(&record);
        }
    }
    let told = begun.elapsed().as_secs_f64();
    if let Some(store) = store {
        store.finish(Vec::new(), true, Vec::new(), Vec::new(), record::Health::default())?;
        println!(
            "all were told after {told:.2} s, and on the disk after {:.2} s",
            begun.elapsed().as_secs_f64()
        );
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
