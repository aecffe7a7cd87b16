//! The same story in other packets: who sends it in pieces, twice, in tunnels or among decoys is found as if he had not, and
//! where tshark understands the packets too, it sees the same mail and the same requests.

#![allow(clippy::print_stderr)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use capture::Source;
use common::{host, read_json};
use record::Record;
use serde_json::Value;
use testkit::scenarios::{Variant, kraken};
use testkit::{BOT, Evasion};

/// What a capture holds of mail and requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    mail_commands: u64,
    http_requests: u64,
    tcp_flows: u64,
}

fn ours(path: &Path) -> Heard {
    let options = pipeline::RunOptions::of(vec![Source::Path(path.to_owned())]);
    let mut heard = Heard::default();
    let take = |_, record: &Record| match record {
        Record::Smtp(s) => heard.mail_commands += u64::from(s.mail_count),
        Record::Http(h) if !h.method.is_empty() => heard.http_requests += 1,
        Record::Conn(c) if c.phase == record::ConnPhase::Closed => {
            heard.tcp_flows += u64::from(c.head.tuple.transport == record::Transport::Tcp);
        }
        _ => {}
    };
    pipeline::sense(&options, |_| (), take).expect("it reads");
    heard
}

fn tsharks(path: &Path) -> Option<Heard> {
    let out = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(["-o", "tcp.reassemble_out_of_order:TRUE", "-o", "tcp.check_checksum:TRUE", "-T", "fields"])
        .args(["-e", "tcp.stream", "-e", "smtp.req.command", "-e", "http.request.method"])
        .output()
        .ok()?;
    let (mut streams, mut heard) = (BTreeSet::new(), Heard::default());
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [stream, commands, methods] = fields[..] else { continue };
        streams.extend((!stream.is_empty()).then(|| stream.to_owned()));
        heard.mail_commands += commands.split(',').filter(|c| c.eq_ignore_ascii_case("MAIL")).count() as u64;
        heard.http_requests += methods.split(',').filter(|m| !m.is_empty()).count() as u64;
    }
    heard.tcp_flows = streams.len() as u64;
    Some(heard)
}

fn behaviours(bot: &Value) -> BTreeSet<String> {
    let all = bot["evidence"].as_array().expect("evidence");
    all.iter().map(|e| e["behaviour"].as_str().expect("a name").to_owned()).collect()
}

/// What is expected of a telling besides the plain one's story.
struct Expected {
    /// Behaviours of the plain story that cannot be said any more, and why.
    inconclusive: &'static [&'static str],
    /// What must be named as strange.
    strange: Option<&'static str>,
    /// Whether tshark, told to reorder and to check checksums, understands the packets as their receiver does.
    tshark: bool,
}

fn expected(evasion: Evasion) -> Expected {
    let plain = Expected { inconclusive: &[], strange: None, tshark: true };
    let named = |strange| Expected { strange: Some(strange), ..plain };
    match evasion {
        Evasion::ConflictingSegments => named("tcp_overlap_differs"),
        Evasion::DecoyChecksum => named("doubtful_checksum"),
        // tshark takes whatever it sees.
        Evasion::DecoyTtl => Expected { tshark: false, ..named("doubtful_ttl") },
        Evasion::DecoyReset => named("tcp_reset_outside_window"),
        // tshark leaves the byte that is out of band within the stream.
        Evasion::Urgent => Expected { tshark: false, ..named("tcp_urgent") },
        // tshark takes what rides on a SYN although nobody acknowledged it.
        Evasion::SynWithData => Expected { tshark: false, ..named("tcp_syn_data") },
        Evasion::Duplicates => named("duplicate_packet"),
        Evasion::Offload => named("bad_transport_checksum"),
        // Without its SYN nothing is an attempt, and nobody knows who was contacted for the first time.
        Evasion::Midstream => {
            Expected { inconclusive: &["smtp_probe", "spam_run"], ..named("midstream_pickup") }
        }
        // The answers in it still tell the old addresses, so that no name belongs to the new ones.
        Evasion::Ipv6Extensions => Expected { inconclusive: &["generated_contact"], ..plain },
        _ => plain,
    }
}

/// Where the bot is found in a telling.
fn bot(evasion: Evasion) -> &'static str {
    if evasion == Evasion::Ipv6Extensions { "fd00::a14:d" } else { BOT }
}

#[test]
fn the_story_is_the_same_in_other_packets() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, script: testkit::Script| {
        let path = dir.path().join(format!("{name}.pcapng"));
        std::fs::write(&path, script.pcapng()).expect("written");
        path
    };
    let plain = write("plain", kraken(&Variant::newer()));
    let lines = read_json(&[plain.to_str().expect("UTF-8")]);
    let (want, heard) = (behaviours(host(&lines, BOT)), ours(&plain));
    assert!(heard.mail_commands > 50 && heard.http_requests > 5, "{heard:?}");
    let compare = tsharks(&plain).is_some();
    if !compare {
        common::skipped("no tshark to compare with");
    }
    for &evasion in Evasion::ALL {
        let path = write("other", evasion.apply(kraken(&Variant::newer())));
        let lines = read_json(&[path.to_str().expect("UTF-8")]);
        let story = host(&lines, bot(evasion));
        let expected = expected(evasion);
        assert_eq!(story["verdict"], "infected", "{evasion:?}");
        let got = behaviours(story);
        let missing: Vec<&str> = want.difference(&got).map(String::as_str).collect();
        assert_eq!(missing, expected.inconclusive, "{evasion:?}: behaviours that are missing");
        let more: Vec<&String> = got.difference(&want).collect();
        assert!(more.is_empty(), "{evasion:?}: {more:?}");
        assert_eq!(ours(&path), heard, "{evasion:?}: mail, requests and flows");
        if let Some(name) = expected.strange {
            let count = lines[0]["anomalies"][name].as_u64().unwrap_or(0);
            assert!(count > 50, "{evasion:?}: {name} in {}", lines[0]["anomalies"]);
        } else {
            let strange = lines[0]["anomalies"].as_object().expect("anomalies");
            assert!(strange.is_empty(), "{evasion:?}: {strange:?}");
        }
        if compare {
            let theirs = tsharks(&path).expect("tshark runs");
            assert_eq!(theirs == heard, expected.tshark, "{evasion:?}: tshark hears {theirs:?}");
        }
    }
}

#[test]
fn a_syn_sent_again_is_no_new_attempt() {
    let dir = tempfile::tempdir().expect("a folder");
    let grades = |name: &str, script: testkit::Script| {
        let path = dir.path().join(name);
        std::fs::write(&path, script.pcapng()).expect("written");
        let lines = read_json(&[path.to_str().expect("UTF-8")]);
        let all = host(&lines, BOT)["evidence"].as_array().expect("evidence").clone();
        let probe = all.iter().find(|e| e["behaviour"] == "smtp_probe").expect("the test of port 25");
        probe["grades"].clone()
    };
    let blocked = || kraken(&Variant::blocked());
    assert_eq!(grades("plain", blocked()), grades("again", Evasion::RetransmittedSyns.apply(blocked())));
}
