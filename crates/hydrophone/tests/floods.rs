//! Bounded: under floods memory stays within the budget, what was lost is counted, and the bot is still found.
//! Sizes are what a small machine bears; the same floods at full size are for the benchmarks.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::{BOT, Script, floods};

const BUDGET_MIB: u64 = 64;
/// What may stand beside the budget: the program, buffers, pages of the map.
const BESIDE_MIB: u64 = 64;

/// The peak of resident memory in MiB, read until the process ends, and what it printed.
fn run(name: &str, script: Script) -> (u64, Vec<Value>) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(format!("{name}.pcapng"));
    std::fs::write(&path, script.pcapng()).expect("written");
    let out = std::fs::File::create(dir.path().join("out")).expect("a file");
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
        .args(["read", "--json", "--quiet", "--memory", &format!("{BUDGET_MIB}MiB")])
        .arg(&path)
        .stdout(Stdio::from(out))
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = high.and_then(|h| h.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) / 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    let lines = std::fs::read_to_string(dir.path().join("out")).expect("output");
    (peak, lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect())
}

fn check(name: &str, script: Script, lost: Option<&str>) {
    let (peak, lines) = run(name, script);
    assert!(peak > 0 || !cfg!(target_os = "linux"), "{name}: no peak was read");
    assert!(peak <= BUDGET_MIB + BESIDE_MIB, "{name}: {peak} MiB");
    assert_eq!(common::host(&lines, BOT)["verdict"], "infected", "{name}");
    if let Some(what) = lost {
        let counted = lines[0]["anomalies"][what].as_u64().unwrap_or(0)
            + lines[0]["hosts_forgotten"].as_u64().unwrap_or(0);
        assert!(counted > 0, "{name}: {what} is counted: {}", lines[0]["anomalies"]);
    }
}

#[test]
fn a_syn_flood() {
    check("syn", floods::syn(400_000), Some("flow_evicted"));
}

#[test]
fn a_flood_of_names() {
    check("names", floods::names(120_000), None);
}

#[test]
fn more_hosts_than_fit() {
    check("hosts", floods::hosts(120_000), Some("hosts_forgotten"));
}

#[test]
fn more_hosts_with_evidence_than_fit() {
    let (peak, lines) = run("odd", floods::odd_hosts(100_000));
    assert!(peak <= BUDGET_MIB + BESIDE_MIB, "{peak} MiB");
    assert_eq!(common::host(&lines, BOT)["verdict"], "infected");
    let told = lines[0]["notices"].to_string();
    assert!(told.contains("on which something had fired were forgotten"), "{told}");
}

#[test]
fn many_hosts_on_many_days() {
    check("days", floods::many_days(4_000, 30), None);
}

#[test]
fn hosts_that_give_much_to_remember() {
    check("busy", floods::busy_hosts(400, 200), Some("hosts_forgotten"));
}

#[test]
fn a_flood_of_fragments() {
    check("fragments", floods::fragments(300_000), Some("fragment_incomplete"));
}

#[test]
fn datagrams_that_are_never_whole() {
    check("datagrams", floods::datagrams(2_000), Some("fragment_dropped"));
}

#[test]
fn streams_full_of_holes() {
    check("holes", floods::holes(30_000), None);
}
