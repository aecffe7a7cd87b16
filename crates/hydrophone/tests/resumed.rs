//! What an analyst remembers is written down and read back: who goes on from there tells the story of who never stopped.

mod common;

use behaviour::{Expectations, Home, Intel, Settings};
use capture::Source;
use common::{host, hydrophone};
use pipeline::{ByteSize, RunOptions, sense};
use record::{Record, RecordKey};
use serde_json::Value;
use testkit::{BOT, Script, bots, scenarios};
use verdict::{Analyst, AnalystLimits, CaptureFacts, Prior};

const LIMITS: AnalystLimits = AnalystLimits { bytes: 64 << 20, hosts: 10_000 };

fn analyst(home: bool) -> Analyst {
    Analyst::new(home.then(Home::private), Settings::default(), LIMITS, Prior::default().db())
        .knowing(Expectations::default(), Intel::default())
}

/// The records of a capture, and what a verdict must know of it.
fn records(capture: Vec<u8>) -> (Vec<(RecordKey, Record)>, CaptureFacts) {
    let source = Source::Memory("a scenario", capture.leak());
    let options = RunOptions { memory: ByteSize(128 << 20), ..RunOptions::of(vec![source]) };
    let mut all = Vec::new();
    let sensed = sense(&options, |_| (), |key, record| all.push((key, record.clone()))).expect("it is read");
    (all, sensed.facts())
}

fn told(mut analyst: Analyst, facts: &CaptureFacts) -> String {
    analyst.settle(facts.last);
    serde_json::to_string(&analyst.stories(facts)).expect("JSON")
}

/// Sees `records`, but is written down and read back by another before each of `cuts`.
fn with_cuts(records: &[(RecordKey, Record)], facts: &CaptureFacts, home: bool, cuts: &[usize]) -> String {
    let mut now = analyst(home);
    for (i, (_, record)) in records.iter().enumerate() {
        if cuts.contains(&i) {
            let mut written = Vec::new();
            now.save(&mut written).expect("it can be written");
            now = analyst(home);
            now.resume(&mut written.as_slice()).expect("it can be read");
        }
        now.observe(record);
    }
    told(now, facts)
}

fn unchanged(name: &str, script: Script, every: usize) {
    let (records, facts) = records(script.pcapng());
    let n = records.len();
    for home in [true, false] {
        let whole = with_cuts(&records, &facts, home, &[]);
        assert!(home || whole.len() > 2, "{name}");
        // The first and the last, and places that differ from scenario to scenario.
        let step = (n / every).max(1);
        let cuts: Vec<usize> = [0, 1, n - 1].into_iter().chain((n % 7..n).step_by(step)).collect();
        for cut in &cuts {
            let resumed = with_cuts(&records, &facts, home, &[*cut]);
            assert!(resumed == whole, "{name}, before record {cut} of {n}, home {home}");
        }
        assert!(with_cuts(&records, &facts, home, &cuts) == whole, "{name}, at all of them, home {home}");
    }
}

#[test]
fn every_scenario_goes_on_as_if_nothing_had_happened() {
    for (name, script) in scenarios::ALL.iter().chain(bots::ALL) {
        unchanged(name, script(), 6);
    }
}

#[test]
fn so_does_a_bot_of_six_days() {
    unchanged("kraken-new", scenarios::kraken(&scenarios::Variant::newer()).on_days(&[0, 1, 2, 5]), 24);
    unchanged("camera", bots::camera(6), 12);
}

#[test]
fn stories_can_be_asked_at_any_time() {
    let (records, facts) = records(scenarios::kraken(&scenarios::Variant::newer()).pcapng());
    let mut asked = analyst(true);
    for (_, record) in &records {
        asked.observe(record);
        let _ = asked.stories(&facts);
    }
    let never = with_cuts(&records, &facts, true, &[]);
    assert!(told(asked, &facts) == never);
}

/// A capture of a bot on one day, and a state to be.
struct Days {
    dir: tempfile::TempDir,
}

impl Days {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for day in 0..3 {
            let script = scenarios::kraken(&scenarios::Variant::newer()).on_days(&[day]);
            std::fs::write(dir.path().join(format!("day{day}.pcapng")), script.pcapng()).expect("written");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Reads captures; gives the exit code, the lines and what was said beside.
    fn read(&self, captures: &[&str], more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
        let captures = captures.iter().map(|c| self.path(c));
        let out = hydrophone()
            .args(["read", "--json", "--quiet"])
            .args(captures)
            .args(more)
            .output()
            .expect("runs");
        let lines = String::from_utf8(out.stdout).expect("UTF-8");
        let lines = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        (out.status.code(), lines, String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

#[test]
fn tomorrow_is_judged_with_what_was_seen_today() {
    let days = Days::new();
    let state = days.path("state");
    let resumed = |day: &str| days.read(&[day], &["--state", &state]);
    let (_, first, _) = resumed("day0.pcapng");
    assert_eq!(first, days.read(&["day0.pcapng"], &["--state", &days.path("other")]).1);
    resumed("day1.pcapng");
    let (code, last, _) = resumed("day2.pcapng");
    assert_eq!(code, Some(0));
    let (_, whole, _) = days.read(&["day0.pcapng", "day1.pcapng", "day2.pcapng"], &[]);
    let (resumed, whole) = (host(&last, BOT), host(&whole, BOT));
    for field in ["verdict", "level_db", "days", "first", "last", "flows", "reached", "evidence", "stages"] {
        assert_eq!(resumed[field], whole[field], "{field}");
    }
    let inputs = last[0]["inputs"].as_array().expect("inputs");
    assert_eq!(inputs.len(), 3, "packets of each keep their names");
    assert!(last[0]["notices"].to_string().contains("2 inputs read before"), "{}", last[0]["notices"]);
}

#[test]
fn what_cannot_be_gone_on_from_is_said_and_stays_as_it_was() {
    let days = Days::new();
    let state = days.path("state");
    let with = |more: &[&str]| days.read(&["day1.pcapng"], &[&["--state", &state], more].concat());
    days.read(&["day0.pcapng"], &["--state", &state]);
    let written = std::fs::read(&state).expect("a state");
    assert!(written.starts_with(format!("hydrophone state {}\n", pipeline::STATE_VERSION).as_bytes()));

    let home = days.path("home");
    days.read(&["day0.pcapng"], &["--state", &home, "--home", "10.0.0.0/8"]);
    let (code, _, said) = days.read(&["day1.pcapng"], &["--state", &home, "--home", "192.0.2.0/24"]);
    assert!(code == Some(3) && said.contains("of the local networks 10.0.0.0/8"), "{code:?} {said}");

    let (code, _, said) = days.read(&["day0.pcapng"], &["--state", &state]);
    assert!(code == Some(2) && said.contains("would count twice"), "{code:?} {said}");

    std::fs::copy(days.path("day0.pcapng"), days.path("copy.pcapng")).expect("copied");
    let (code, _, said) = days.read(&["copy.pcapng"], &["--state", &state]);
    assert!(code == Some(3) && said.contains("was read before"), "{code:?} {said}");
    assert_eq!(std::fs::read(&state).expect("a state"), written, "it is left as it was");

    for (name, bytes) in [
        ("is no state", b"GIF89a, or whatever".to_vec()),
        ("of form 1,", b"hydrophone state 1\nwhat it may be".to_vec()),
        ("it ends early", written[..24].to_vec()),
        ("checksum", written[..written.len() - 9].to_vec()),
        ("checksum", written.iter().enumerate().map(|(i, b)| if i == 200 { b ^ 1 } else { *b }).collect()),
    ] {
        std::fs::write(&state, &bytes).expect("written");
        let (code, lines, said) = with(&[]);
        assert!(code == Some(3) && lines.is_empty() && said.contains(name), "{name}: {code:?} {said}");
        assert_eq!(std::fs::read(&state).expect("a state"), bytes);
    }
}
