//! The same packets in every wrapper, on every link and in captures with faults: the same story, or one that is no worse.

mod common;

use std::path::Path;

use common::{host, hydrophone, read_json};
use serde_json::Value;
use testkit::{BOT, Script, scenarios, wrappings};

fn bot() -> Script {
    scenarios::kraken(&scenarios::Variant::newer())
}

fn written(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

/// Behaviours and keys that fired for a host, and its verdict.
fn told(lines: &[Value], ip: &str) -> (String, Vec<String>) {
    let story = host(lines, ip);
    let mut evidence: Vec<String> = story["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .map(|e| format!("{}/{}", e["behaviour"].as_str().unwrap_or(""), e["key"].as_str().unwrap_or("")))
        .collect();
    evidence.sort();
    evidence.dedup();
    (story["verdict"].as_str().expect("a verdict").to_owned(), evidence)
}

#[test]
fn every_wrapper_and_link_tells_the_same_story() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = told(&read_json(&[&written(dir.path(), "plain.pcapng", &bot().pcapng())]), BOT);
    assert_eq!(plain.0, "infected");
    let key = written(dir.path(), "key", "00112233445566778899aabbccddeeff".repeat(2).as_bytes());
    for (n, wrapping) in wrappings::ALL.iter().enumerate() {
        let path = written(dir.path(), &format!("{n}.pcapng"), &bot().pcapng_in(wrapping));
        let lines = read_json(&[&path]);
        assert!(lines.iter().any(|l| l["host"] == BOT), "{}: {}", wrapping.0, lines[0]);
        assert_eq!(told(&lines, BOT), plain, "{}", wrapping.0);
        let accounts = &lines[0]["accounts"];
        assert_eq!(accounts["followed"], lines[0]["packets"], "{}: {accounts}", wrapping.0);
        // The proof can be cut out of it, and under other names too.
        let case = dir.path().join(format!("case-{n}"));
        let case = case.to_str().expect("UTF-8");
        let slice = dir.path().join("slice.pcapng");
        let slice = slice.to_str().expect("UTF-8");
        let run = |args: &[&str]| {
            let (code, out, err) = common::run(args);
            assert_eq!(code, Some(0), "{}: {args:?}: {err}", wrapping.0);
            out
        };
        run(&["read", &path, "-o", case, "--quiet"]);
        for more in [&[][..], &["--pseudonymise", &key]] {
            let told = run(&[&["carve", case, BOT, "-w", slice], more].concat());
            assert!(told.contains("the evidence is the same"), "{} {more:?}: {told}", wrapping.0);
        }
        let shown = std::fs::read(slice).expect("a slice");
        let bot = [10u8, 20, 0, 13];
        assert!(!shown.windows(4).any(|w| w == bot), "{}: the address is still there", wrapping.0);
    }
}

#[test]
fn what_was_not_read_is_said_first_and_clears_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let none: wrappings::Wrapping = ("a bus", 227, <[u8]>::to_vec);
    let path = written(dir.path(), "bus.pcapng", &bot().pcapng_in(&none));
    let out = hydrophone().args(["read", &path]).output().expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(3), "{text}");
    assert!(
        text.contains("NOTHING WAS FOLLOWED") && text.contains("link type CAN_SOCKETCAN (227)"),
        "{text}"
    );
    assert!(text.contains("no host was seen, and none is cleared"), "{text}");
    // A part of it: no host is quiet.
    let quiet = scenarios::newsreader;
    let encrypted: wrappings::Wrapping = ("mixed", 1, |f| {
        // One in eight is hidden by MACsec.
        if f[f.len() - 1] & 7 == 0 {
            [&f[..12], &[0x88, 0xe5, 0x2c, 0, 0, 0, 0, 1], &f[12..]].concat()
        } else {
            f.to_vec()
        }
    });
    let lines = read_json(&[&written(dir.path(), "mixed.pcapng", &quiet().pcapng_in(&encrypted))]);
    let story = host(&lines, "10.20.0.70");
    assert_eq!(story["verdict"], "inconclusive", "{}", story["unseen"]);
    assert!(story["unseen"].to_string().contains("MACsec"), "{}", story["unseen"]);
}

/// Faults that captures have, by name: what becomes of a frame, by its number and bytes.
type Fault = (&'static str, fn(usize, &[u8]) -> Vec<(f64, usize)>);

/// Whether a frame comes from within the scenarios' network.
fn is_from_within(f: &[u8]) -> bool {
    f.get(26..28) == Some(&[10, 20])
}

const FAULTS: &[Fault] = &[
    ("one side out", |_, f| if is_from_within(f) { vec![(0.0, f.len())] } else { vec![] }),
    ("one side in", |_, f| if is_from_within(f) { vec![] } else { vec![(0.0, f.len())] }),
    ("one packet in twenty lost", |n, f| if n % 20 == 7 { vec![] } else { vec![(0.0, f.len())] }),
    ("one packet in three lost", |n, f| if n % 3 == 1 { vec![] } else { vec![(0.0, f.len())] }),
    ("cut at 68 bytes", |_, f| vec![(0.0, f.len().min(68))]),
    ("cut at 96 bytes", |_, f| vec![(0.0, f.len().min(96))]),
    ("answers 60 ms late", |_, f| vec![(if is_from_within(f) { 0.0 } else { 0.06 }, f.len())]),
    ("answers 200 ms late", |_, f| vec![(if is_from_within(f) { 0.0 } else { 0.2 }, f.len())]),
    ("questions 200 ms late", |_, f| vec![(if is_from_within(f) { 0.2 } else { 0.0 }, f.len())]),
    ("jitter of 5 ms", |n, f| vec![((n * 7919 % 50) as f64 / 10_000.0, f.len())]),
    ("everything twice, with others between", |_, f| vec![(0.0, f.len()), (0.003, f.len())]),
    ("the middle alone", |n, f| if n < 200 { vec![] } else { vec![(0.0, f.len())] }),
];

#[test]
fn a_poor_capture_accuses_nobody() {
    let rank = |verdict: &str| {
        ["inconclusive", "quiet", "suspicious", "likely", "infected"].iter().position(|v| *v == verdict)
    };
    let dir = tempfile::tempdir().expect("a folder");
    for (name, make) in scenarios::ALL.iter().filter(|s| s.0.starts_with("clean")) {
        let before = read_json(&[&written(dir.path(), "whole.pcapng", &make().pcapng())]);
        for (fault, of) in FAULTS {
            let lines = read_json(&[&written(dir.path(), "faulty.pcapng", &make().faulty(of).pcapng())]);
            for story in lines.iter().skip(1) {
                let was = before
                    .iter()
                    .find(|l| l["host"] == story["host"])
                    .map_or("quiet", |l| l["verdict"].as_str().expect("a verdict"));
                let is = story["verdict"].as_str().expect("a verdict");
                assert!(
                    rank(is) <= rank(was).max(rank("quiet")),
                    "{name}, {fault}: {} was {was} and is {is}: {:?}",
                    story["host"],
                    story["evidence"].as_array().map(|all| all
                        .iter()
                        .map(|e| format!("{}/{} {} dB", e["behaviour"], e["grades"], e["db"]))
                        .collect::<Vec<_>>())
                );
            }
        }
    }
}

#[test]
fn taps_apart_and_copies_between_others_change_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let whole = told(&read_json(&[&written(dir.path(), "whole.pcapng", &bot().pcapng())]), BOT);
    let harmless = [
        "answers 60 ms late",
        "answers 200 ms late",
        "questions 200 ms late",
        "jitter of 5 ms",
        "everything twice, with others between",
    ];
    for (fault, of) in FAULTS.iter().filter(|f| harmless.contains(&f.0)) {
        let lines = read_json(&[&written(dir.path(), "faulty.pcapng", &bot().faulty(of).pcapng())]);
        let mut expected = whole.clone();
        if *fault == "questions 200 ms late" {
            // Between two ports of UDP that mean nothing, nobody can tell who asked.
            expected.1.retain(|told| told != "generated_contact/contact");
        }
        assert_eq!(told(&lines, BOT), expected, "{fault}");
    }
    // A bot is no more than it was in a capture that shows less of it.
    for (fault, of) in FAULTS.iter().filter(|f| !harmless.contains(&f.0)) {
        let lines = read_json(&[&written(dir.path(), "faulty.pcapng", &bot().faulty(of).pcapng())]);
        let level = |lines: &[Value]| {
            lines.iter().find(|l| l["host"] == BOT).map_or(0.0, |l| l["level_db"].as_f64().unwrap_or(0.0))
        };
        let before = read_json(&[&written(dir.path(), "whole.pcapng", &bot().pcapng())]);
        assert!(level(&lines) <= level(&before) + 0.05, "{fault}: {} of {}", level(&lines), level(&before));
    }
}
