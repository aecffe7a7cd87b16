//! A writer that is killed at any moment loses nothing that it had put on the disk, and nothing is there twice; nor is it after a kill of what joins or forgets.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // What is killed says how far it is, and kills are spread over the time it takes.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{is_local, read, record};
use record::Record;
use store::{Span, Writer};

/// The store of what joins, and of what forgets.
const JOINED: &str = "HYDROPHONE_TEST_JOINED";
const PRUNED: &str = "HYDROPHONE_TEST_PRUNED";
const ROOT: &str = "HYDROPHONE_TEST_STORE";
const RECORDS: u64 = 12_000;
const KILLS: u64 = 40;

/// Not a test by itself: what is killed. It says what it has put on the disk.
#[test]
fn writes_until_it_is_killed() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let mut writer = Writer::begin(Path::new(&root), &[], is_local).unwrap().in_pieces_of(200, 1_000);
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

/// A copy of a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Not a test by itself: what is killed.
#[test]
fn joins_until_it_is_killed() {
    let Some(root) = std::env::var_os(JOINED) else { return };
    println!("begins");
    store::compact(Path::new(&root)).unwrap();
    println!("done");
}

/// Not a test by itself: what is killed.
#[test]
fn forgets_until_it_is_killed() {
    let Some(root) = std::env::var_os(PRUNED) else { return };
    println!("begins");
    store::prune(Path::new(&root), store::Keep::Days(2), false).unwrap();
    println!("done");
}

/// Runs what is killed, and kills it so long after it began, if it is told to: whether it came to its end, and how long that took.
fn run(what: &str, variable: &str, root: &Path, after: Option<Duration>) -> (bool, Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", what, "--nocapture", "--test-threads", "1"])
        .env(variable, root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut begun = std::time::Instant::now();
    let mut ended = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        if line.contains("begins") {
            begun = std::time::Instant::now();
            if let Some(after) = after {
                std::thread::sleep(after);
                child.kill().unwrap();
            }
        } else if line.contains("done") {
            ended = Some(begun.elapsed());
        }
    }
    child.wait().unwrap();
    (ended.is_some(), ended.unwrap_or_default())
}

#[test]
fn what_is_joined_is_there_once_whenever_it_is_killed() {
    const RUNS: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    for n in 0..RUNS {
        common::write(&original, n * 400..n * 400 + 450);
    }
    let expected = read(&original, Span::default()).0;
    let whole = dir.path().join("whole");
    copy(&original, &whole);
    let (ended, took) = run("joins_until_it_is_killed", JOINED, &whole, None);
    assert!(ended && !took.is_zero());
    let files = |root: &Path| common::files(root, ".parquet").len();
    assert!(files(&whole) < files(&original) / 2);
    let (mut before, mut behind) = (0, 0);
    for kill in 0..KILLS {
        let root = dir.path().join(format!("store{kill}"));
        copy(&original, &root);
        let after = took.mul_f64(kill as f64 / KILLS as f64);
        let (ended, _) = run("joins_until_it_is_killed", JOINED, &root, Some(after));
        // As it lies there, before anybody puts it in order.
        let runs = common::files(&root.join("runs"), ".json");
        let counted = runs.iter().any(|p| p.file_name().is_some_and(|n| n.to_string_lossy().contains('c')));
        before += u64::from(!ended && !counted);
        behind += u64::from(!ended && counted);
        let (all, reader) = read(&root, Span::default());
        assert!(all == expected, "kill {kill}: {} of {}", all.len(), expected.len());
        assert!(reader.failures().is_empty(), "{:?}", reader.failures());
        drop(reader);
        // What it began is done by the next one.
        store::compact(&root).unwrap();
        assert!(read(&root, Span::default()).0 == expected, "kill {kill}");
        assert_eq!(files(&root), files(&whole), "kill {kill}");
        std::fs::remove_dir_all(&root).unwrap();
    }
    assert!(before > 0, "{before} were killed before it counted, {behind} behind");
}

#[test]
fn what_is_kept_is_there_whenever_forgetting_is_killed() {
    const DAY: u64 = 4 * 86_400;
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    for day in 0..6 {
        common::write(&original, 30_000 + day * DAY..31_000 + day * DAY);
    }
    // Inputs of runs that are gone have no number any more; no two records are of one moment.
    let when = |all: Vec<Record>| all.iter().map(|r| r.head().known).collect::<Vec<_>>();
    let expected = when(read(&original, Span::default()).0);
    let whole = dir.path().join("whole");
    copy(&original, &whole);
    let (_, took) = run("forgets_until_it_is_killed", PRUNED, &whole, None);
    let mut killed = 0;
    for kill in 0..KILLS / 2 {
        let root = dir.path().join(format!("store{kill}"));
        copy(&original, &root);
        let after = took.mul_f64(kill as f64 / (KILLS / 2) as f64);
        killed += u64::from(!run("forgets_until_it_is_killed", PRUNED, &root, Some(after)).0);
        let (all, reader) = read(&root, Span::default());
        assert!(reader.failures().is_empty(), "{:?}", reader.failures());
        drop(reader);
        let all = when(all);
        let kept = expected.len() - 2_000;
        assert!(all.len() >= 2_000 && expected.ends_with(&all[all.len() - 2_000..]), "kill {kill}");
        // Of what goes there may be a part still, in its order.
        let mut rest = expected[..kept].iter();
        assert!(all[..all.len() - 2_000].iter().all(|r| rest.any(|e| e == r)), "kill {kill}");
        store::prune(&root, store::Keep::Days(2), false).unwrap();
        assert!(when(read(&root, Span::default()).0) == expected[kept..], "kill {kill}");
        std::fs::remove_dir_all(&root).unwrap();
    }
    assert!(killed > 0);
}
