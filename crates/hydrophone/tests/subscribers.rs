//! Subscribers behind one address, and one subscriber behind several: each is one host, under a pseudonym, and the desk finds whom it is.

mod common;

use std::path::Path;

use common::{host, read_json, run};
use pipeline::RunOptions;
use serde_json::Value;
use testkit::isp::{self, Kind};
use testkit::{BOT, Script, scenarios};

const OUTSIDE: [u8; 4] = [203, 0, 113, 13];
const BOTS: [u8; 4] = [10, 20, 0, 13];
const READERS: [u8; 4] = [10, 20, 0, 60];
/// What the reader's ports are moved by, so that no two have one.
const MOVED: u16 = 20_000;
const LIST: &str = "\
subscriber,address,ports,since,until
reader-60,203.0.113.13,29000-29999,,
bot-13,203.0.113.13,0-28999,,
bot-13,203.0.113.13,49152-65535,,
";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Adjusts a checksum to words that changed (RFC 1624).
fn adjust(frame: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let words =
        |of: &[u8]| of.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).collect::<Vec<_>>();
    let was = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut sum = u32::from(!was);
    for (old, new) in words(old).into_iter().zip(words(new)) {
        sum += (!old & 0xffff) + new;
    }
    while sum >> 16 > 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// What a NAT makes of a frame of IPv4 over Ethernet: the inner address becomes the outer one, and its ports are moved down.
fn translated(inner: [u8; 4], moved: u16) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    move |frame| {
        let mut out = frame.to_vec();
        if frame.len() < 38 || frame[12..14] != [8, 0] {
            return vec![out];
        }
        let checksum = match frame[23] {
            6 => 34 + 16,
            17 => 34 + 6,
            _ => return vec![out],
        };
        for (address, port) in [(26, 34), (30, 36)] {
            if frame[address..address + 4] != inner {
                continue;
            }
            let own = (u16::from_be_bytes([frame[port], frame[port + 1]]) - moved).to_be_bytes();
            out[address..address + 4].copy_from_slice(&OUTSIDE);
            out[port..port + 2].copy_from_slice(&own);
            adjust(&mut out, 24, &inner, &OUTSIDE);
            if out[checksum..checksum + 2] != [0, 0] {
                adjust(&mut out, checksum, &inner, &OUTSIDE);
                adjust(&mut out, checksum, &frame[port..port + 2], &own);
            }
        }
        vec![out]
    }
}

fn scenario(name: &str) -> Script {
    let (_, make) = scenarios::ALL.iter().find(|(n, _)| *n == name).expect(name);
    make()
}

/// A bot and somebody who reads news, behind one address; and the list of who had which ports of it.
fn behind_one_address(dir: &Path) -> [String; 3] {
    let bot = scenario("kraken-new").retold(translated(BOTS, 0));
    let reader = scenario("clean-browser-news").retold(translated(READERS, MOVED));
    let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let all = [path("nat.pcapng"), path("list.csv"), path("key")];
    for (path, content) in all.iter().zip([&bot.and(reader).pcapng(), LIST.as_bytes(), KEY.as_bytes()]) {
        std::fs::write(path, content).expect("written");
    }
    all
}

#[test]
fn behind_one_address_each_is_judged_by_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let [capture, list, key] = behind_one_address(dir.path());
    let together = read_json(&[&capture, "--home", "203.0.113.13"]);
    assert_eq!(together.iter().filter(|l| l["type"] == "host").count(), 1, "by addresses they are one");
    let lines = read_json(&[&capture, "--subscribers", &list, "--subscribers-key", &key]);
    let hosts: Vec<&Value> = lines.iter().filter(|l| l["type"] == "host").collect();
    let verdicts: Vec<&str> = hosts.iter().filter_map(|h| h["verdict"].as_str()).collect();
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    assert!(verdicts[0] == "infected" && matches!(verdicts[1], "quiet" | "inconclusive"), "{verdicts:?}");
    let all = lines.iter().map(ToString::to_string).collect::<String>();
    assert!(!all.contains("203.0.113.13"), "nobody's address is told");
    let other = read_json(&[&capture, "--subscribers", &list]);
    assert_ne!(other[1]["host"], hosts[0]["host"], "another key, another pseudonym");
}

#[test]
fn addresses_come_and_go_and_the_subscriber_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let list = dir.path().join("list.csv");
    let capture = common::sample("kraken-new.pcapng");
    let capture = capture.to_str().expect("UTF-8");
    let plain = read_json(&[capture]);
    let bot = host(&plain, BOT);
    std::fs::write(&list, format!("subscriber,address\nS,{BOT}\n")).expect("written");
    let list = list.to_str().expect("UTF-8");
    let told = read_json(&[capture, "--subscribers", list, "--home", "10.20.0.0/16"]);
    let found = told
        .iter()
        .find(|l| l["host"].as_str().is_some_and(|h| h.starts_with("fd48:")))
        .expect("a subscriber");
    assert_eq!(
        (&found["verdict"], &found["level_db"], found["evidence"].as_array().map(Vec::len)),
        (&bot["verdict"], &bot["level_db"], bot["evidence"].as_array().map(Vec::len))
    );
    // In the middle of it the address is another's.
    let middle = bot["evidence"][3]["ts"].as_str().expect("a time");
    std::fs::write(list, format!("subscriber,address,since,until\nS,{BOT},,{middle}\nT,{BOT},{middle},\n"))
        .expect("written");
    let told = read_json(&[capture, "--subscribers", list, "--home", "10.20.0.0/16"]);
    let subscribers = told.iter().filter(|l| l["host"].as_str().is_some_and(|h| h.starts_with("fd48:")));
    assert_eq!(subscribers.count(), 2);
    // Nobody had it before: that is said.
    std::fs::write(list, format!("subscriber,address,since\nS,{BOT},{middle}\n")).expect("written");
    let (_, said, _) = run(&["read", capture, "--subscribers", list, "--quiet"]);
    assert!(said.contains("that nobody had then"), "{said}");
    std::fs::write(list, "subscriber,address\nS,192.0.2.1\n").expect("written");
    let (_, said, _) = run(&["read", capture, "--subscribers", list, "--quiet"]);
    assert!(said.contains("is it the list of this network and time?"), "{said}");
}

#[test]
fn the_desk_gets_a_digest_and_reports() {
    let dir = tempfile::tempdir().expect("a folder");
    let [capture, list, key] = behind_one_address(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (case, out) = (path("case"), path("desk"));
    let (code, _, said) =
        run(&["read", &capture, "--subscribers", &list, "--subscribers-key", &key, "-o", &case, "--quiet"]);
    assert_eq!(code, Some(0), "{said}");
    let desk = |key: &str, out: &str| {
        run(&[
            "desk",
            &case,
            "--subscribers",
            &list,
            "--subscribers-key",
            key,
            "-o",
            out,
            "--org",
            "ISP",
            "--contact",
            "abuse@isp.example",
        ])
    };
    let (code, told, said) = desk(&key, &out);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains("subscribers seen: 2, at least suspicious: 1, reported: 1"), "{told}");
    let digest = std::fs::read_to_string(dir.path().join("desk/digest.csv")).expect("a digest");
    let bot = digest.lines().find(|l| l.contains("bot-13")).expect("its day");
    assert!(
        bot.contains(",infected,")
            && bot.contains("203.0.113.13 ports 0-28999; 203.0.113.13 ports 49152-65535"),
        "{bot}"
    );
    let report = bot.rsplit(',').next().expect("a report");
    let xarf = std::fs::read(dir.path().join(format!("desk/{report}.xarf.json"))).expect("it is there");
    let xarf: Value = serde_json::from_slice(&xarf).expect("JSON");
    assert_eq!(xarf["source_identifier"], "203.0.113.13");
    assert!(dir.path().join(format!("desk/{report}.eml")).is_file());
    assert!(!xarf.to_string().contains("bot-13"), "who it is stands in the digest alone");
    // Of whom no desk can be told is said.
    let inside = path("inside.csv");
    std::fs::write(&inside, LIST.replace("203.0.113.13", BOT)).expect("written");
    let (sample, kept) = (common::sample("kraken-new.pcapng"), path("kept"));
    run(&["read", sample.to_str().expect("UTF-8"), "--subscribers", &inside, "-o", &kept, "--quiet"]);
    let (code, told, _) = run(&["desk", &kept, "--subscribers", &inside, "-o", &path("nobody")]);
    assert!(
        code == Some(0) && told.contains("reported: 0") && told.contains("no desk knows 10.20.0.13"),
        "{told}"
    );
    // Not over what is there, not of another list, and no packets by pseudonyms.
    let (code, _, said) = desk(&key, &out);
    assert!(code == Some(2) && said.contains("is not empty"), "{said}");
    std::fs::write(&key, KEY.replace('0', "1")).expect("written");
    let (code, _, said) = desk(&key, &path("other"));
    assert!(code == Some(2) && said.contains("none of its hosts is a subscriber of this list"), "{said}");
    let pseudonym = bot.split(',').nth(2).expect("a pseudonym");
    let (code, _, said) = run(&["carve", &case, pseudonym, "-w", &path("slice.pcapng")]);
    assert!(code == Some(2) && said.contains("a subscriber's pseudonym"), "{said}");
}

#[test]
fn wrong_lists_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let [capture, list, key] = behind_one_address(dir.path());
    std::fs::write(&key, "short").expect("written");
    let (code, _, said) = run(&["read", &capture, "--subscribers", &list, "--subscribers-key", &key]);
    assert!(code == Some(2) && said.contains("64 hexadecimal digits"), "{said}");
    std::fs::write(&list, "subscriber,address\nA,10.0.0.1\nB,10.0.0.1\n").expect("written");
    let (code, _, said) = run(&["read", &capture, "--subscribers", &list]);
    assert!(code == Some(2) && said.contains("lines 2 and 3: both had 10.0.0.1/32 at a time"), "{said}");
    let (code, _, said) = run(&["read", &capture, "--subscribers", "/nowhere.csv"]);
    assert!(code == Some(2) && said.contains("cannot read the list of subscribers /nowhere.csv"), "{said}");
}

#[test]
fn a_provider_s_flows_show_who_has_a_bot() {
    let whole = isp::judge(4_000, 1, RunOptions::MEMORY).expect("it is judged");
    let honest = whole[&Kind::Honest];
    assert!(honest[0] == honest[1] && honest[2] == 0, "nobody honest is accused: {honest:?}");
    assert_eq!(whole[&Kind::Sharer][3], 0, "nor who shares files called likely: {whole:?}");
    for kind in [Kind::Spammer, Kind::Scanner] {
        assert_eq!(whole[&kind][2], whole[&kind][0], "{kind:?}: {whole:?}");
    }
    // Where one in a thousand packets is looked at, less is seen, and nobody is accused for it.
    let little = isp::judge(4_000, 1_000, RunOptions::MEMORY).expect("it is judged");
    assert!(little[&Kind::Honest][1] < honest[1] && little[&Kind::Honest][2] == 0, "{little:?}");
}
