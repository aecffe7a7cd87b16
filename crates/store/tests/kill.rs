//! A writer that is killed at any moment loses nothing that it had put on the disk, and nothing is there twice.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{is_local, read, record};
use record::Record;
use store::{Span, Writer};

const ROOT: &str = "HYDROPHONE_TEST_STORE";
const RECORDS: u64 = 12_000;
const KILLS: u64 = 40;

/// Not a test by itself: what is killed. It says what it has put on the disk.
#[test]
fn writes_until_it_is_killed() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let mut writer = Writer::begin(Path::new(&root), is_local).unwrap().in_pieces_of(200, 1_000);
    let mut out = std::io::stdout().lock();
    for n in 0..RECORDS {
        writer.record(&record(n));
        if n % 100 == 99 {
            writer.flush().unwrap();
            writeln!(out, "acknowledged {}", n + 1).unwrap();
            out.flush().unwrap();
        }
    }
    writer.finish(common::inputs(), true, Vec::new(), Vec::new(), record::Health::default()).unwrap();
}

#[test]
fn what_was_acknowledged_is_there_once() {
    let mut kept = Vec::new();
    for kill in 0..KILLS {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--nocapture", "--test-threads", "1"])
            .env(ROOT, &root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the run, each a little later within its step than the one before.
        let after = kill * RECORDS / 100 / KILLS;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0u64;
        let mut seen = 0;
        for line in lines {
            let Ok(line) = line else { break };
            if let Some(n) = line.split_once("acknowledged ").and_then(|(_, n)| n.trim().parse().ok()) {
                acknowledged = n;
                seen += 1;
                if seen == after + 1 {
                    std::thread::sleep(Duration::from_micros(kill * 97 % 2_500));
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let (all, reader) = read(&root, Span::default());
        assert!(all.len() as u64 >= acknowledged, "kill {kill}: {} of {acknowledged}", all.len());
        assert_eq!(all, (0..all.len() as u64).map(record).collect::<Vec<Record>>(), "kill {kill}");
        assert!(reader.failures().is_empty(), "{:?}", reader.failures());
        kept.push(all.len());
        // The next run goes on beside it.
        if kill % 10 == 0 {
            common::write(&root, 0..500);
            assert_eq!(read(&root, Span::default()).0.len(), kept[kept.len() - 1] + 500);
        }
    }
    assert!(kept.iter().any(|n| (*n as u64) < RECORDS), "none was killed in time: {kept:?}");
}
