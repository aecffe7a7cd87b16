//! A store in a bucket is what one in a folder is; a writer that is killed loses nothing of it that it had acknowledged.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // What is killed says how far it is, and kills are spread over the time it takes.

mod common;
#[path = "common/s3.rs"]
mod s3;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{is_local, read, record};
use record::Record;
use s3::{BUCKET, Server};
use store::{Indicator, Keep, Span, Writer};

const ROOT: &str = "HYDROPHONE_TEST_BUCKET";
const TASK: &str = "HYDROPHONE_TEST_TASK";
const RECORDS: u64 = 6_000;
const KILLS: u64 = 12;

/// Not a test by itself: what a process of its own does, since the environment says where the bucket is.
#[test]
fn task() {
    let (Some(root), Ok(task)) = (std::env::var_os(ROOT).map(PathBuf::from), std::env::var(TASK)) else {
        return;
    };
    let mut out = std::io::stdout().lock();
    match task.as_str() {
        "write" => {
            let mut writer = Writer::begin(&root, &[], is_local).unwrap().in_pieces_of(200, 1_000);
            for n in 0..RECORDS {
                writer.record(&record(n));
                if n % 100 == 99 {
                    writer.flush().unwrap();
                    writeln!(out, "says {}", n + 1).unwrap();
                    out.flush().unwrap();
                }
            }
            let written =
                writer.finish(common::inputs(), true, Vec::new(), Vec::new(), record::Health::default());
            written.unwrap();
        }
        "more" => common::write(&root, RECORDS..RECORDS + 2_500),
        "read" => {
            let (all, reader) = read(&root, Span::default());
            assert!(reader.failures().is_empty(), "{:?}", reader.failures());
            let first = all.len().min(RECORDS as usize);
            assert!(
                all[..first] == (0..first as u64).map(record).collect::<Vec<Record>>()[..],
                "other records"
            );
            let mut sum = DefaultHasher::new();
            format!("{all:?}{:?}", reader.health()).hash(&mut sum);
            writeln!(out, "says {} {:x}", all.len(), sum.finish()).unwrap();
        }
        "count" => writeln!(out, "says {}", read(&root, Span::default()).0.len()).unwrap(),
        "begin" => {
            let refused = Writer::begin(&root, &[], is_local).map(|_| ()).unwrap_err();
            writeln!(out, "says {refused}").unwrap();
        }
        "find" => {
            let found = store::find(&root, &[Indicator::Address([10, 0, 0, 3].into())], &Span::default());
            let found = found.unwrap();
            assert!(found.failures.is_empty(), "{:?}", found.failures);
            assert!(found.search.read < found.search.groups, "{:?}", found.search);
            writeln!(out, "says {:?}", found.found).unwrap();
        }
        "compact" => writeln!(out, "says {:?}", store::compact(&root).unwrap()).unwrap(),
        "prune" => writeln!(out, "says {:?}", store::prune(&root, Keep::Days(1), true).unwrap()).unwrap(),
        other => panic!("no such task: {other}"),
    }
}

fn begin(task: &str, root: &str, env: &[(&'static str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "task", "--nocapture", "--test-threads", "1"])
        .env(ROOT, root)
        .env(TASK, task)
        .envs(env.iter().cloned())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a task said last.
fn said(task: &str, root: &str, env: &[(&'static str, String)]) -> String {
    let out = begin(task, root, env).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{task}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text.lines().rev().find_map(|l| l.split_once("says ")).map(|(_, s)| s.to_owned()).unwrap_or_default()
}

fn url(name: &str) -> String {
    format!("s3://{BUCKET}/{name}")
}

/// What the bucket's folder holds below a name.
fn objects(dir: &Path, name: &str, ending: &str) -> usize {
    common::files(&dir.join(BUCKET).join(name), ending).len()
}

#[test]
fn it_is_what_a_folder_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let env = server.env(&dir.path().join("state"));
    let folder = dir.path().join("folder");
    let (here, there) = (folder.to_str().unwrap(), url("months/of it"));
    for task in ["write", "more"] {
        said(task, here, &env);
        said(task, &there, &env);
    }
    for task in ["read", "find", "prune", "compact", "read", "find"] {
        assert_eq!(said(task, here, &env), said(task, &there, &env), "{task}");
    }
    // What was joined stays for who may be reading it; nothing is left of who wrote.
    let (tables, locks) = (objects(dir.path(), "months", ".parquet"), objects(dir.path(), "months", ".lock"));
    assert!(tables > common::files(&folder, ".parquet").len() && locks == 0, "{tables} {locks}");
    // It is written again where it was joined.
    assert_eq!(said("compact", here, &env), said("compact", &there, &env));
}

#[test]
fn what_was_acknowledged_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut kept = Vec::new();
    for kill in 0..KILLS {
        let (state, root) = (dir.path().join(format!("state{kill}")), url(&format!("kill{kill}")));
        let env = server.env(&state);
        let mut child = begin("write", &root, &env);
        let after = kill * RECORDS / 100 / KILLS;
        let (mut acknowledged, mut seen) = (0u64, 0);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            if let Some(n) = line.split_once("says ").and_then(|(_, n)| n.trim().parse().ok()) {
                (acknowledged, seen) = (n, seen + 1);
                if seen == after + 1 {
                    std::thread::sleep(Duration::from_micros(kill * 977 % 12_000));
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        // Looking at it does not give it out of hands: what lies here is not in the bucket yet.
        said("prune", &root, &env);
        // Another machine is told who writes, whatever it is called and wherever its folders lie; this one goes on where it was.
        let whole = acknowledged == RECORDS;
        let away = dir.path().join("away");
        std::fs::rename(&state, &away).unwrap();
        for place in [&state, &dir.path().join("another")] {
            let refused = said("begin", &root, &server.env(place));
            assert!(whole || refused.contains("is being written by"), "kill {kill}: {refused}");
        }
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::rename(&away, &state).unwrap();
        let there = said("read", &root, &env);
        let there: u64 = there.split(' ').next().unwrap().parse().unwrap();
        assert!(there >= acknowledged, "kill {kill}: {there} of {acknowledged}");
        kept.push(there);
    }
    // What a run left of one store is none of another's, whatever they are called.
    let env = server.env(&dir.path().join("state"));
    let mut child = begin("write", &url("a/b"), &env);
    let first = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(first.take_while(|line| !line.contains("says")).count() < 100);
    child.kill().unwrap();
    child.wait().unwrap();
    said("more", &url("a_b"), &env);
    assert!(said("count", &url("a_b"), &env) == "2500" && said("count", &url("a/b"), &env) != "2500");
    assert!(kept.iter().any(|n| *n < RECORDS), "none was killed in time: {kept:?}");
}

#[test]
fn what_was_joined_or_forgotten_meanwhile_is_there_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (env, other) = (server.env(&dir.path().join("state")), server.env(&dir.path().join("other")));
    let root = url("joined");
    let mut child = begin("write", &root, &env);
    let mut acknowledged = 0u64;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        acknowledged =
            line.split_once("says ").and_then(|(_, n)| n.trim().parse().ok()).unwrap_or(acknowledged);
        // A segment is in the bucket, and a part of the next one is not.
        if acknowledged == 3_500 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    // Somebody gives the machine up, and others go on and join what is there.
    std::fs::remove_file(dir.path().join(BUCKET).join("joined/writer.lock")).unwrap();
    (0..2).for_each(|_| _ = said("more", &root, &other));
    let joined = said("compact", &root, &other);
    assert!(joined.contains("runs: (3, 1)"), "{joined}");
    let before: u64 = said("count", &root, &other).parse().unwrap();
    let all: u64 = said("count", &root, &env).parse().unwrap();
    assert!(before >= 3_000 + 5_000 && all >= acknowledged + 5_000, "{before} {all} {acknowledged}");
    assert_eq!(said("count", &root, &other), all.to_string());
}
