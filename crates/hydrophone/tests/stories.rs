//! From a capture to a story: the samples and what must be said of them.

mod common;

use std::collections::BTreeMap;

use common::{host, read_json, read_sample, sample};
use serde_json::Value;
use testkit::{BOT, End, Script, office, scenarios};

/// The first time of each stage that something was seen in.
fn stages(host: &Value) -> BTreeMap<String, String> {
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for e in host["evidence"].as_array().expect("evidence") {
        // It tells how close the others lie, not of a stage of its own.
        if e["behaviour"] == "quick_succession" {
            continue;
        }
        let stage = e["stage"].as_str().expect("a stage").to_owned();
        let started = e["started"].as_str().expect("a time").to_owned();
        let known = first.entry(stage).or_insert_with(|| started.clone());
        if started < *known {
            *known = started;
        }
    }
    first
}

/// The stages of the story appear in this order, each with packets.
fn check_order(host: &Value, order: &[&str]) {
    let first = stages(host);
    let times: Vec<&String> =
        order.iter().map(|s| first.get(*s).unwrap_or_else(|| panic!("no {s}"))).collect();
    assert!(times.is_sorted(), "{order:?}: {times:?}");
    for stage in order {
        let proven = host["evidence"]
            .as_array()
            .expect("evidence")
            .iter()
            .any(|e| e["stage"] == *stage && !e["packets"].as_array().expect("packets").is_empty());
        assert!(proven, "{stage} has packets");
    }
}

fn level_adds_up(host: &Value) {
    let sum: f64 = host["stages"]
        .as_object()
        .expect("stages")
        .values()
        .map(|s| s["db"].as_f64().expect("db"))
        .sum::<f64>()
        + host["carried_db"].as_f64().expect("carried");
    let level = host["level_db"].as_f64().expect("level");
    assert!((sum - level).abs() < 0.051, "{sum} is not {level}");
}

#[test]
fn old_new_and_fallback_are_infected_with_the_whole_story_in_order() {
    for (name, grade) in [("old", "transfer_447"), ("new", "post_80"), ("fallback", "fallback_from_80")] {
        let lines = read_sample(&format!("kraken-{name}.pcapng"));
        let bot = host(&lines, BOT);
        assert_eq!(bot["verdict"], "infected", "{name}");
        check_order(bot, &["probe", "rendezvous", "command", "update", "act", "cycle"]);
        level_adds_up(bot);
        assert!(bot["evidence"].to_string().contains(grade), "{name}: {grade}");
        let before =
            bot["notes"].as_array().expect("notes").iter().any(|n| n["note"] == "before_first_message");
        assert!(before, "{name}: the verdict stood before the first message");
    }
}

#[test]
fn the_old_bot_s_frames_are_shown_as_far_as_they_hold() {
    let lines = read_sample("kraken-old.pcapng");
    let bot = host(&lines, BOT);
    let frames = bot["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .find(|e| e["behaviour"] == "kraken_frames" && e["key"] == "frames")
        .expect("frames");
    assert_eq!(frames["facts"]["level"], "L2");
    assert!(!frames.to_string().contains("decrypt"));
}

#[test]
fn the_mutated_bot_is_at_least_likely() {
    let lines = read_sample("kraken-mutated.pcapng");
    let verdict = host(&lines, BOT)["verdict"].as_str().expect("a verdict");
    assert!(["likely", "infected"].contains(&verdict), "{verdict}");
    assert!(
        !lines.iter().any(|l| l["findings"].to_string().contains("Kraken")),
        "nothing of its names or frames is left"
    );
}

#[test]
fn the_blocked_bot_is_suspected_and_no_spam_is_expected_of_it() {
    let lines = read_sample("kraken-blocked.pcapng");
    let bot = host(&lines, BOT);
    assert!(["suspicious", "likely", "infected"].contains(&bot["verdict"].as_str().expect("a verdict")));
    assert!(bot["notes"].as_array().expect("notes").iter().any(|n| n["note"] == "port_blocked"));
    assert!(!stages(bot).contains_key("act"));
}

#[test]
fn clean_look_alikes_stay_below_likely() {
    for (name, _) in scenarios::ALL.iter().filter(|(n, _)| n.starts_with("clean-")) {
        for line in read_sample(&format!("{name}.pcapng")).iter().filter(|l| l["type"] == "host") {
            let verdict = line["verdict"].as_str().expect("a verdict");
            assert!(!["likely", "infected"].contains(&verdict), "{name}: {} {verdict}", line["host"]);
            level_adds_up(line);
        }
    }
}

#[test]
fn roles_are_seen() {
    for (name, ip, role) in [
        ("clean-mail-server", "10.20.0.25", "mail_server"),
        ("clean-newsletter", "10.20.0.30", "mail_sender"),
        ("clean-monitor", "10.20.0.40", "monitor"),
        ("clean-bittorrent-vpn", "10.20.0.50", "p2p_user"),
        ("clean-bittorrent-vpn", "10.20.0.50", "vpn_user"),
    ] {
        let lines = read_sample(&format!("{name}.pcapng"));
        let roles = host(&lines, ip)["roles"].to_string();
        assert!(roles.contains(role), "{name}: {roles}");
    }
}

#[test]
fn in_the_office_exactly_the_bot_is_named_before_its_first_message() {
    let lines = read_sample("office-day.pcapng.zst");
    let accused: Vec<&str> = lines
        .iter()
        .filter(|l| l["type"] == "host" && l["verdict"] != "quiet")
        .map(|l| l["host"].as_str().expect("an address"))
        .collect();
    assert_eq!(accused, [BOT]);
    let bot = host(&lines, BOT);
    let note = bot["notes"]
        .as_array()
        .expect("notes")
        .iter()
        .find(|n| n["note"] == "before_first_message")
        .expect("in time");
    assert!(note["likely_at"].as_str() < note["first_message_at"].as_str());
    assert_eq!(bot["names"]["host_names"][0], "pc-03");
}

#[test]
fn an_office_without_a_bot_accuses_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("office.pcapng");
    std::fs::write(&path, office::day(None).0.pcapng()).expect("written");
    let lines = common::read_json(&[path.to_str().expect("UTF-8")]);
    assert!(lines.iter().filter(|l| l["type"] == "host").all(|l| l["verdict"] == "quiet"));
    assert!(lines.len() > 50);
}

#[test]
fn every_bot_is_found_inside_the_busy_office() {
    use scenarios::Variant;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, variant, at_least) in [
        ("old", Variant::old(), "infected"),
        ("fallback", Variant::fallback(), "infected"),
        ("blocked", Variant::blocked(), "suspicious"),
        ("mutated", Variant::mutated(), "likely"),
    ] {
        let path = dir.path().join(format!("{name}.pcapng"));
        std::fs::write(&path, office::day(Some(&variant)).0.pcapng()).expect("written");
        let lines = common::read_json(&[path.to_str().expect("UTF-8")]);
        let rank = |v: &Value| {
            ["inconclusive", "quiet", "suspicious", "likely", "infected"]
                .iter()
                .position(|x| v == x)
                .expect("a verdict")
        };
        for line in lines.iter().filter(|l| l["type"] == "host") {
            if line["host"] == BOT {
                assert!(
                    rank(&line["verdict"]) >= rank(&Value::from(at_least)),
                    "{name}: {}",
                    line["verdict"]
                );
            } else {
                assert_eq!(line["verdict"], "quiet", "{name}: {}", line["host"]);
            }
        }
    }
}

#[test]
fn the_samples_are_what_the_testkit_makes() {
    let mut total = 0;
    for (name, make) in scenarios::ALL {
        let committed = std::fs::read(sample(&format!("{name}.pcapng"))).expect("a sample");
        total += committed.len();
        assert!(
            committed == make().pcapng(),
            "{name}: run `cargo run --release -p hydrophone-testkit -- samples samples`"
        );
    }
    let office = std::fs::read(sample("office-day.pcapng.zst")).expect("a sample");
    total += office.len();
    let unpacked = zstd::stream::decode_all(&office[..]).expect("zstd");
    assert!(unpacked == office::day(Some(&scenarios::Variant::newer())).0.pcapng(), "office-day");
    assert!(total <= 8_000_000, "{total} bytes");
}

#[test]
fn the_story_on_the_terminal() {
    let out = common::hydrophone()
        .args(["read", "samples/kraken-new.pcapng", "--color", "never"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("it runs");
    insta::assert_snapshot!(String::from_utf8(out.stdout).expect("UTF-8"));
}

#[test]
fn a_host_is_called_as_it_tells_its_neighbours_unless_a_server_took_its_name() {
    // What a machine registers (RFC 1002 §4.2.2), and what it announces (RFC 6762 §8.3), for an address.
    let registers = |address: [u8; 4]| {
        let name = b"DESK-7         \0".iter().flat_map(|b| [b'A' + (b >> 4), b'A' + (b & 15)]);
        let head = [0x81, 2, 0x29, 0x10, 0, 1, 0, 0, 0, 0, 0, 1, 32];
        let record = [0, 0, 0x20, 0, 1, 0xc0, 12, 0, 0x20, 0, 1, 0, 4, 0x93, 0xe0, 0, 6, 0, 0];
        head.into_iter().chain(name).chain(record).chain(address).collect::<Vec<u8>>()
    };
    let announces = |address: [u8; 4]| {
        let head = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        [&head[..], b"\x04lamp\x05local\0", &[0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4], &address].concat()
    };
    let called = |leased: bool, address: [u8; 4]| {
        let mut s = Script::new(1_700_000_000, 9);
        if leased {
            office::dhcp(&mut s, 0.5, BOT, "pc-03");
        }
        s.udp(1.0, End::new(BOT, 137), End::new("10.20.0.255", 137), &registers(address));
        s.udp(2.0, End::new(BOT, 5353), End::new("224.0.0.251", 5353), &announces(address));
        // What is answered to one alone is between those two.
        s.udp(3.0, End::new(BOT, 5353), End::new("10.20.0.9", 5353), &announces(address));
        let dir = tempfile::tempdir().expect("a folder");
        let capture = dir.path().join("names.pcapng");
        std::fs::write(&capture, s.pcapng()).expect("written");
        let lines = read_json(&[capture.to_str().expect("UTF-8")]);
        host(&lines, BOT)["names"]["host_names"].clone()
    };
    let own = BOT.parse::<std::net::Ipv4Addr>().expect("an address").octets();
    assert_eq!(called(false, own), serde_json::json!(["DESK-7", "lamp"]));
    assert_eq!(called(true, own), serde_json::json!(["pc-03", "DESK-7", "lamp"]));
    assert_eq!(called(false, [10, 20, 0, 9]), serde_json::json!([]), "another's address");
}
