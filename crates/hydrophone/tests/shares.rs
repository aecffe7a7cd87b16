//! A network in shares: whoever analyses them, and wherever, says the same.

mod common;

use std::time::Duration;

use behaviour::{Home, Settings};
use capture::Source;
use common::{host, hydrophone, read_json, sample};
use pipeline::{ByteSize, RunOptions, sense};
use record::{Record, RecordKey};
use testkit::BOT;
use verdict::{
    Analyst, AnalystLimits, Analysts, CaptureFacts, NetworkFacts, Prior, Share, ShareTold, stories,
};

const LIMITS: AnalystLimits = AnalystLimits { bytes: 64 << 20, hosts: 10_000 };

fn analyst(home: bool) -> Analyst {
    Analyst::new(home.then(Home::private), Settings::default(), LIMITS, Prior::default().db())
}

fn office() -> (Vec<(RecordKey, Record)>, CaptureFacts) {
    let options = RunOptions {
        memory: ByteSize(128 << 20),
        ..RunOptions::of(vec![Source::Path(sample("office-day.pcapng.zst"))])
    };
    let mut all = Vec::new();
    let sensed = sense(&options, |_| (), |key, record| all.push((key, record.clone()))).expect("it is read");
    (all, sensed.facts())
}

#[test]
fn analysts_that_know_nothing_of_each_other_say_what_one_run_says() {
    let (records, facts) = office();
    for home in [true, false] {
        for of in [1, 2, 4, 64] {
            let mut one_run = Analysts::new(of, false, LIMITS, move || analyst(home)).expect("shares");
            for (_, record) in &records {
                one_run.observe(record);
            }
            one_run.settle(facts.last);
            let alone = |share| {
                let mut analyst = analyst(home).of_share(share);
                for (_, record) in &records {
                    analyst.observe(record);
                }
                analyst.settle(facts.last);
                analyst
            };
            let apart: Vec<Analyst> = Share::all(of).expect("shares").into_iter().map(alone).collect();
            let told: Vec<ShareTold<'_>> = apart.iter().map(Analyst::told).collect();
            let (together, whole) = (stories(&told, None, &facts), one_run.stories(&facts));
            assert_eq!(together, whole, "{of} shares, home {home}");
            let mut hosts: Vec<_> = whole.iter().map(|s| s.host).collect();
            let n = hosts.len();
            hosts.sort_unstable();
            hosts.dedup();
            assert!(n > 20 && hosts.len() == n, "each host once");
        }
    }
}

/// Whoever analyses a share on another machine sees no record but its hosts' own, and has what the analysts say carried to him.
#[test]
fn analysts_that_see_their_own_records_alone_say_what_one_run_says() {
    let (mut records, mut facts) = office();
    // Some go on for days while the others are silent.
    let later: Vec<_> = records.iter().rev().take(40).rev().cloned().collect();
    for day in 1..4 {
        records.extend(later.iter().cloned().map(|(key, mut record)| {
            let head = record.head_mut();
            let by = Duration::from_hours(30 * day);
            (head.ts, head.known) = (head.ts.plus(by), head.known.plus(by));
            (key, record)
        }));
    }
    let known = records.iter().map(|(_, r)| r.head().known).max().expect("records");
    facts.last = Some(known);
    let home = Home::private();
    for of in [2, 16, 64] {
        let mut one_run = Analysts::new(of, false, LIMITS, || analyst(true)).expect("shares");
        for (_, record) in &records {
            one_run.observe(record);
        }
        one_run.settle(facts.last);
        let mut carried = Vec::new();
        let mut seen = 0;
        for share in Share::all(of).expect("shares") {
            let mut analyst = analyst(true).of_share(share);
            for (_, record) in &records {
                let mine = record.ends(|ip| home.contains(ip)).all().any(|end| share.has(end));
                if mine || matches!(record, Record::Dhcp(_)) {
                    analyst.observe(record);
                    seen += 1;
                }
            }
            analyst.reach(known);
            analyst.settle(facts.last);
            carried.push(postcard::to_stdvec(&analyst.told()).expect("it is written down"));
        }
        assert!(seen < 2 * records.len(), "{seen} of {}", records.len());
        let told: Vec<ShareTold<'_>> =
            carried.iter().map(|bytes| postcard::from_bytes(bytes).expect("it is read back")).collect();
        assert_eq!(stories(&told, None, &facts), one_run.stories(&facts), "{of} shares");
        let network = NetworkFacts::of(told.iter().map(|t| &t.facts));
        assert_eq!(network, one_run.facts(), "{of} shares");
        assert!(network.outside.of > 100, "{network:?}");
    }
}

#[test]
fn what_is_said_of_a_bot_does_not_hang_on_its_share() {
    let path = sample("office-day.pcapng.zst");
    let path = path.to_str().expect("UTF-8");
    let whole = read_json(&[path]);
    assert_eq!(whole[0]["shares"], 1);
    for shares in ["2", "8", "64"] {
        let lines = read_json(&[path, "--shares", shares]);
        assert_eq!(lines[0]["shares"].to_string(), shares);
        assert_eq!(lines.len(), whole.len());
        assert_eq!(lines[0]["home"], whole[0]["home"]);
        assert_eq!(lines[0]["outside_flows"], whole[0]["outside_flows"]);
        assert_eq!(host(&lines, BOT)["verdict"], host(&whole, BOT)["verdict"]);
        for line in &lines[1..] {
            let before = host(&whole, line["host"].as_str().expect("an address"));
            assert_eq!(line["flows"], before["flows"], "{}", line["host"]);
            assert_eq!(line["verdict"], before["verdict"], "{}", line["host"]);
        }
    }
}

#[test]
fn a_number_that_does_not_divide_is_refused() {
    let run = |args: &[&str]| {
        let out =
            hydrophone().arg("read").arg(sample("kraken-new.pcapng")).args(args).output().expect("it runs");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = run(&["--shares", "3"]);
    assert!(code == Some(2) && said.contains("1, 2, 4, 8, 16, 32 or 64 shares, not in 3"), "{code:?} {said}");
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    let state = state.to_str().expect("UTF-8");
    assert_eq!(run(&["--shares", "4", "--state", state]).0, Some(0));
    let (code, said) = run(&["--state", state]);
    assert!(code == Some(3) && said.contains("say --shares 4"), "{code:?} {said}");
}
