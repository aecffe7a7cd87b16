//! What the tests of the binary share.
#![allow(dead_code, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::Command;
use serde_json::Value;

/// What `work` makes of each, in their order; as many at once as there are processors.
pub fn of_each<I: Sync, T: Send>(all: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(of) = all.get(at) else { return done };
            done.push((at, work(of)));
        }
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(take)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
            .collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

/// A test goes without something that is not there: said, or with `STRICT=1` a failure.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("STRICT").is_none_or(|s| s != "1"), "skipped under STRICT=1: {why}");
    eprintln!("skipped: {why}");
}

pub fn hydrophone() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"));
    command.env_remove("NO_COLOR");
    command
}

/// Runs the binary: its exit code, and what it said on standard output and error.
pub fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = hydrophone().args(args).output().expect("it runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name)
}

/// Runs `read --json` and gives the lines.
pub fn read_json(args: &[&str]) -> Vec<Value> {
    let out = hydrophone().arg("read").args(args).args(["--json", "--quiet"]).output().expect("it runs");
    String::from_utf8(out.stdout)
        .expect("JSON is UTF-8")
        .lines()
        .map(|l| serde_json::from_str(l).expect("each line is JSON"))
        .collect()
}

pub fn read_sample(name: &str) -> Vec<Value> {
    read_json(&[sample(name).to_str().expect("a path in UTF-8")])
}

pub fn host<'a>(lines: &'a [Value], ip: &str) -> &'a Value {
    lines.iter().find(|l| l["host"] == ip).unwrap_or_else(|| panic!("no line of {ip}"))
}

/// Writes a script to a file and reads it.
pub fn analyse_script(script: testkit::Script) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scenario.pcapng");
    std::fs::write(&path, script.pcapng()).expect("written");
    read_json(&[path.to_str().expect("UTF-8")])
}
