//! What is handed over of a bot: STIX, XARF, the mail and the bundle, and what a bundle says when it is touched.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine;
use capture::Source;
use export::{Pseudonyms, Reporter, Rewritten, arf, bundle, indicators_csv, stix, verify, xarf};
use pipeline::RunOptions;
use record::{Stage, Timestamp};
use report::{CaptureLine, indicators};
use serde_json::Value;
use uuid::Uuid;
use verdict::{Finding, HostStory, Verdict};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/kraken-new.pcapng")
}

/// The capture and the bot in it.
static KRAKEN: LazyLock<(CaptureLine, HostStory)> = LazyLock::new(|| {
    let outcome = pipeline::run(&RunOptions::of(vec![Source::Path(sample())]), |_| ()).expect("it runs");
    let capture =
        CaptureLine { schema: CaptureLine::SCHEMA, home: outcome.home.clone(), ..CaptureLine::default() };
    (capture.with_health(&outcome.health), outcome.stories[0].clone())
});

fn desk() -> Reporter {
    Reporter {
        org: "Example".into(),
        contact: "abuse@example.org".into(),
        source: Some(std::net::Ipv4Addr::new(203, 0, 113, 9).into()),
        anyway: false,
        is_renamed: false,
        asks_source: true,
    }
}

fn objects(bundle: &Value) -> Vec<&Value> {
    bundle["objects"].as_array().unwrap().iter().collect()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_else(|| panic!("no {field} in {object}"))
}

#[test]
fn stix_objects_have_what_the_standard_asks_of_them() {
    let made = stix(&KRAKEN.1);
    let uuid = |id: &str| Uuid::parse_str(id.rsplit_once("--").unwrap().1).unwrap().get_version_num();
    assert_eq!((text(&made, "type"), uuid(text(&made, "id"))), ("bundle", 5));
    let ids: BTreeSet<&str> = objects(&made).into_iter().map(|o| text(o, "id")).collect();
    assert_eq!(ids.len(), objects(&made).len(), "each once");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for object in objects(&made) {
        let kind = text(object, "type");
        *kinds.entry(kind).or_default() += 1;
        assert!(text(object, "id").starts_with(&format!("{kind}--")) && uuid(text(object, "id")) == 5);
        assert_eq!(text(object, "spec_version"), "2.1");
        let required: &[&str] = match kind {
            "ipv4-addr" | "ipv6-addr" | "domain-name" => &["value"],
            "identity" => &["created", "modified", "name"],
            "indicator" => {
                &["created", "modified", "pattern", "pattern_type", "valid_from", "indicator_types"]
            }
            "malware" => &["created", "modified", "is_family", "name", "malware_types"],
            "attack-pattern" => &["created", "modified", "name", "external_references"],
            "relationship" => &["created", "modified", "relationship_type", "source_ref", "target_ref"],
            "observed-data" => {
                &["created", "modified", "first_observed", "last_observed", "number_observed", "object_refs"]
            }
            "report" => &["created", "modified", "name", "published", "object_refs", "report_types"],
            other => panic!("{other} is nothing that is promised"),
        };
        for field in required {
            assert!(!object[*field].is_null(), "{kind} without {field}");
        }
        for field in ["created", "modified", "valid_from", "first_observed", "last_observed", "published"] {
            let Some(at) = object[field].as_str() else { continue };
            assert!(at.len() == 24 && at.ends_with('Z') && Timestamp::parse(at).is_some(), "{field} {at}");
        }
        let listed = object["object_refs"].as_array().into_iter().flatten();
        for to in ["created_by_ref", "source_ref", "target_ref"].map(|f| &object[f]).into_iter().chain(listed)
        {
            assert!(
                to.is_null() || ids.contains(to.as_str().unwrap()),
                "{to} of {kind} is not in the bundle"
            );
        }
    }
    let n = indicators(&KRAKEN.1).len();
    assert!(
        n > 5 && kinds["indicator"] == n && kinds["ipv4-addr"] + kinds["domain-name"] == n + 1,
        "{kinds:?}"
    );
    assert_eq!((kinds["malware"], kinds["report"], kinds["observed-data"], kinds["identity"]), (1, 1, 1, 1));
    assert_eq!(kinds["relationship"], kinds["indicator"] + kinds["attack-pattern"]);
    let suspicious = HostStory { verdict: Verdict::Suspicious, ..KRAKEN.1.clone() };
    let made = stix(&suspicious);
    assert!(
        objects(&made).iter().all(|o| !["malware", "relationship"].contains(&text(o, "type"))),
        "from likely on"
    );
}

#[test]
fn ids_are_derived_from_content() {
    assert_eq!(stix(&KRAKEN.1), stix(&KRAKEN.1));
    // The example of STIX 2.1, §2.9, and what other programs make of a name.
    let mut story = KRAKEN.1.clone();
    story.host = "198.51.100.3".parse().unwrap();
    let facts =
        &mut story.evidence.iter_mut().find(|e| e.evidence.stage == Stage::Command).unwrap().evidence.facts;
    facts.insert("host".into(), "example.com".into());
    let made = stix(&story);
    let id_of = |value: &str| text(objects(&made).into_iter().find(|o| o["value"] == value).unwrap(), "id");
    assert_eq!(id_of("198.51.100.3"), "ipv4-addr--28bb3599-77cd-5a82-a950-b5bc3caf07c4");
    assert_eq!(id_of("example.com"), "domain-name--bedb4899-d24b-5401-bc86-8f6b4cc18ec7");
    // Another host's objects are others, but for what both saw.
    let before = stix(&KRAKEN.1);
    let ids = |made: &Value, observed: bool| -> BTreeSet<String> {
        let all = objects(made)
            .into_iter()
            .filter(|o| o["value"].is_null() != observed && o["value"] != story.host.to_string());
        all.map(|o| text(o, "id").to_owned()).collect()
    };
    assert!(ids(&made, false).is_disjoint(&ids(&before, false)));
    assert!(ids(&made, true).intersection(&ids(&before, true)).count() > 5);
}

#[test]
fn xarf_says_who_what_and_when() {
    let made = xarf(&KRAKEN.1, &desk());
    for (field, value) in [
        ("xarf_version", "4.0.0"),
        ("category", "infrastructure"),
        ("type", "botnet"),
        ("source_identifier", "203.0.113.9"),
        ("evidence_source", "traffic_analysis"),
        ("malware_family", "Kraken (Oderoor/Bobax, 2008)"),
    ] {
        assert_eq!(text(&made, field), value);
    }
    assert!(
        Uuid::parse_str(text(&made, "report_id")).is_ok()
            && Timestamp::parse(text(&made, "timestamp")).is_some()
    );
    for who in ["reporter", "sender"] {
        let who = &made[who];
        assert_eq!(
            (text(who, "org"), text(who, "contact"), text(who, "domain")),
            ("Example", "abuse@example.org", "example.org")
        );
    }
    assert!((0.0..=1.0).contains(&made["confidence"].as_f64().unwrap()));
    let part = &made["evidence"][0];
    let payload = base64::engine::general_purpose::STANDARD.decode(text(part, "payload")).unwrap();
    assert_eq!(
        (payload.len() as u64, part["size"].as_u64()),
        (payload.len() as u64, Some(payload.len() as u64))
    );
    assert_eq!(String::from_utf8(payload).unwrap(), text(&made, "compromise_evidence"));
    assert!(
        indicators(&KRAKEN.1)
            .iter()
            .any(|i| i.stage == Stage::Command && i.value == text(&made, "c2_server"))
    );
    assert!(made["bot_capabilities"].as_array().unwrap().iter().any(|c| c == "spam"), "{made}");
    let nothing =
        HostStory { evidence: Vec::new(), findings: Vec::new(), verdict: Verdict::Quiet, ..KRAKEN.1.clone() };
    let made = xarf(&nothing, &desk());
    for field in ["bot_capabilities", "c2_server", "c2_protocol", "malware_family"] {
        assert!(made[field].is_null(), "{field} of a host that did nothing");
    }
}

#[test]
fn the_mail_has_its_three_parts_and_nobody_writes_into_its_head() {
    let hostile = Reporter {
        org: "Exam\"ple, Inc.\r\nBcc: all@example.org".into(),
        contact: "a@b.example\r\nX: y".into(),
        ..desk()
    };
    for by in [desk(), hostile] {
        let mail = arf(&KRAKEN.1, &by);
        assert!(mail.is_ascii() && mail.split("\r\n").all(|l| l.len() <= 998 && !l.contains(['\r', '\n'])));
        let (head, rest) = mail.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head.split("\r\n").map(|l| l.split_once(": ").unwrap().0).collect();
        assert_eq!(names, ["From", "Subject", "Message-ID", "Date", "MIME-Version", "Content-Type"]);
        let (kind, boundary) = head.split_once("boundary=\"").unwrap();
        assert!(kind.ends_with("multipart/report; report-type=feedback-report; "), "{kind}");
        let boundary = format!("--{}", boundary.trim_end_matches('"'));
        let parts: Vec<&str> = rest.split(&boundary).skip(1).collect();
        assert_eq!((parts.len(), parts[3]), (4, "--\r\n"));
        let body = |part: &str| {
            let lines: String = part
                .split_once("\r\n\r\n")
                .unwrap()
                .1
                .split("\r\n")
                .inspect(|l| assert!(l.len() <= 76))
                .collect();
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(lines).unwrap()).unwrap()
        };
        assert!(
            parts[0].starts_with("\r\nContent-Type: text/plain")
                && body(parts[0])
                    .starts_with("203.0.113.9: infected (Kraken (Oderoor/Bobax, 2008), spam source), +")
        );
        assert!(parts[1].starts_with("\r\nContent-Type: message/feedback-report\r\n\r\n"));
        for field in [
            "Feedback-Type: virus",
            "User-Agent: Hydrophone/",
            "Version: 1",
            "Source-IP: 203.0.113.9",
            "Arrival-Date: ",
        ] {
            assert!(parts[1].contains(&format!("\r\n{field}")), "{field}");
        }
        let report: Value = serde_json::from_str(&body(parts[2])).expect("JSON");
        assert_eq!(report, xarf(&KRAKEN.1, &by));
        assert!(!body(parts[0]).contains("10.20.0.13"), "what the house calls it is not the desk's");
    }
    // Commas and points part addresses (RFC 5322 §3.4) unless they are quoted.
    let from = |org: &str| {
        arf(&KRAKEN.1, &Reporter { org: org.into(), ..desk() }).lines().next().unwrap().to_owned()
    };
    assert_eq!(from("Example, Inc."), "From: \"Example, Inc.\" <abuse@example.org>");
    assert_eq!(from("a\"b\\c"), "From: \"a\\\"b\\\\c\" <abuse@example.org>");
}

#[test]
fn no_desk_is_told_of_what_it_cannot_know_or_what_is_less_than_likely() {
    let refused = |s: &HostStory, by: &Reporter| by.refuses(s).unwrap_or_default();
    assert_eq!(refused(&KRAKEN.1, &desk()), "");
    let private = Reporter { source: None, ..desk() };
    assert!(refused(&KRAKEN.1, &private).contains("no desk knows 10.20.0.13"));
    let public = HostStory { host: [203, 0, 113, 7].into(), ..KRAKEN.1.clone() };
    assert_eq!(refused(&public, &private), "");
    assert!(refused(&public, &Reporter { is_renamed: true, ..private }).contains("is another's here"));
    let attacks = HostStory { verdict: Verdict::Suspicious, ..KRAKEN.1.clone() };
    assert_eq!(refused(&attacks, &desk()), "", "what attacks others is told whatever else it is");
    let mut mere = HostStory { findings: Vec::new(), ..attacks };
    // What is odd and harms nobody else is no desk's.
    mere.findings.push(Finding { kind: "beacon".into(), since: Timestamp(0), behaviour: "beacon".into() });
    assert!(refused(&mere, &desk()).contains("10.20.0.13 is suspicious"));
    assert_eq!(refused(&mere, &Reporter { anyway: true, ..desk() }), "");
    // The bundle holds no report then, and says why.
    let made = bundle(&KRAKEN.0, &mere, b"packets", &desk(), Vec::new()).unwrap();
    let files = unpacked(&made);
    assert!(
        !files.contains_key("xarf.json")
            && !files.contains_key("abuse.eml")
            && files.contains_key("stix.json")
    );
    // What it did at home, and what it is called there, stays there.
    let mut home = KRAKEN.1.clone();
    home.names.host_names = vec!["mx.google[.]com".into()];
    home.evidence[1].evidence.remotes = vec![[10, 0, 0, 9].into()];
    let told = text(&xarf(&home, &desk()), "compromise_evidence").to_owned();
    assert!(
        told.contains("port 25 of (its name)")
            && !told.contains(&report::describe(&home.evidence[1].evidence)),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&files["manifest.json"]).contains("without a report for abuse desks"));
    assert!(verify(Cursor::new(made)).unwrap().wrong.is_empty());
}

#[test]
fn indicators_are_a_table_of_what_others_could_see() {
    let table = indicators_csv(&KRAKEN.1).unwrap();
    let mut lines = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(
        lines.headers().unwrap(),
        vec!["type", "indicator", "stage", "behaviours", "first_seen", "last_seen"]
    );
    let rows: Vec<csv::StringRecord> = lines.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), indicators(&KRAKEN.1).len());
    for row in &rows {
        assert!(["rendezvous", "command", "update"].contains(&&row[2]), "{row:?}");
        assert!(Timestamp::parse(&row[4]).unwrap() <= Timestamp::parse(&row[5]).unwrap(), "{row:?}");
    }
}

/// The files of a bundle.
type Files = BTreeMap<String, Vec<u8>>;

fn unpacked(bytes: &[u8]) -> Files {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = zip.file_names().map(|n| n.unwrap().to_string()).collect();
    let read = |name: &String| {
        let mut bytes = Vec::new();
        zip.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        (name.clone(), bytes)
    };
    names.iter().map(read).collect()
}

fn packed(files: &Files) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_bundle_tells_of_every_kind_of_change() {
    const FILES: [&str; 8] = [
        "abuse.eml",
        "indicators.csv",
        "report.html",
        "slice.pcapng",
        "stix.json",
        "story.jsonl",
        "story.md",
        "xarf.json",
    ];
    let (capture, story) = &*KRAKEN;
    let make = || bundle(capture, story, b"packets", &desk(), vec!["a note".into()]).unwrap();
    assert_eq!(make(), make());
    let files = unpacked(&make());
    let good = verify(Cursor::new(make())).unwrap();
    assert_eq!((good.about.as_str(), good.good), ("10.20.0.13: infected", FILES.map(str::to_owned).to_vec()));
    assert!(good.wrong.is_empty());
    let wrong = |change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        verify(Cursor::new(packed(&files)))
            .map(|c| (c.wrong.join("; "), c.good.len()))
            .map_err(|e| format!("{e:#}"))
    };
    for name in FILES {
        let byte = wrong(&|files| files.get_mut(name).unwrap()[3] ^= 1);
        assert_eq!(byte, Ok((format!("{name}: changed"), 7)));
        let longer = wrong(&|files| files.get_mut(name).unwrap().push(b'\n'));
        assert_eq!(longer, Ok((format!("{name}: changed"), 7)));
        let (told, good) = wrong(&|files| _ = files.remove(name)).unwrap();
        assert!(told.starts_with(&format!("{name}: ")) && good == 7, "{told}");
    }
    let added = wrong(&|files| _ = files.insert("run me.exe".into(), b"MZ".to_vec()));
    assert_eq!(added, Ok(("run me.exe: not in the manifest".into(), 8)));
    // The manifest itself: a hash, a name, the form, what is no manifest, none.
    let manifest = |from: &str, to: &str| {
        wrong(&|files| {
            let text = String::from_utf8(files["manifest.json"].clone()).unwrap();
            assert!(text.contains(from), "{text}");
            files.insert("manifest.json".into(), text.replacen(from, to, 1).into_bytes());
        })
    };
    assert_eq!(
        manifest("\"slice.pcapng\": \"", "\"slice.pcapng\": \"0"),
        Ok(("slice.pcapng: changed".into(), 7))
    );
    let (told, _) = manifest("\"stix.json\"", "\"sticks.json\"").unwrap();
    assert!(told.contains("sticks.json: ") && told.contains("stix.json: not in the manifest"), "{told}");
    assert!(manifest("\"schema\": 1", "\"schema\": 2").unwrap_err().contains("written in form 2"));
    assert!(manifest("{", "[").unwrap_err().contains("manifest.json is not understood"));
    assert!(
        wrong(&|files| _ = files.remove("manifest.json")).unwrap_err().contains("it has no manifest.json")
    );
    // Any byte of the file as it lies: what is packed in it is never told to be as it was and other than it was.
    let whole = make();
    for at in (0..whole.len()).step_by(61) {
        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        let Ok(checked) = verify(Cursor::new(&changed)) else { continue };
        if checked.wrong.is_empty() {
            assert!(unpacked(&changed) == files, "byte {at}");
        }
    }
    assert!(verify(Cursor::new(&whole[..whole.len() / 2])).is_err() && verify(Cursor::new(b"")).is_err());
}

#[test]
fn pseudonyms_are_the_same_everywhere_and_tell_nothing() {
    let (capture, bot) = &*KRAKEN;
    let mut bot = bot.clone();
    // Names that are words of this program as well, a short one, and an address in the form of the other family.
    bot.names.host_names = ["update", "likely", "pc7", "PC-03.house.example"].map(str::to_owned).to_vec();
    let told = "update asked pc-03.house.example, ::ffff:10.20.0.13 and [10.20.0.13]:25";
    bot.evidence[0].evidence.facts.insert("note".into(), told.into());
    let mut capture = capture.clone();
    capture.inputs = vec![report::InputLine {
        log: None,
        path: "/home/ada/10.20.0.13.pcap".into(),
        absolute: Some("/home/ada/10.20.0.13.pcap".into()),
        size: Some(1),
        sha256: Some("ab".repeat(32)),
    }];
    capture.failures = vec!["10.20.0.13 was cut".into()];
    let names = |key: &str| Pseudonyms::new(key, &capture, std::slice::from_ref(&bot)).unwrap();
    let others = names(KEY);
    let (shown, story) = others.story(&capture, &bot).unwrap();
    let made = bundle(&shown, &story, b"", &desk(), Vec::new()).unwrap();
    let mac = &bot.names.macs[0];
    for (file, bytes) in unpacked(&made) {
        let text = String::from_utf8(bytes).unwrap().to_lowercase();
        for old in ["10.20.0.13", "pc-03", "\"pc7\"", mac, "/home/ada", &"ab".repeat(32), "\"1:"] {
            assert!(!text.contains(old), "{file} tells {old}");
        }
    }
    assert_eq!(story.host, others.ip(bot.host), "the same in story and packets");
    assert_eq!(
        (story.verdict, story.level_db, story.stages.len()),
        (bot.verdict, bot.level_db, bot.stages.len())
    );
    for (new, old) in story.evidence.iter().zip(&bot.evidence) {
        let what = |e: &record::Evidence| {
            (e.stage, e.behaviour.clone(), e.ts.0 / 1_000, e.remotes.clone(), e.packets.clone())
        };
        assert_eq!(what(&new.evidence), what(&old.evidence), "what is shown stays");
        assert!(new.evidence.community_ids.is_empty(), "from which addresses could be guessed");
    }
    assert!(
        story.names.host_names.iter().zip(&bot.names.host_names).all(|(n, o)| n.len() == o.len() && n != o)
    );
    assert_eq!(names(KEY).story(&capture, &bot).unwrap().1, story);
    let other = names(&KEY.replace('0', "f"));
    assert_ne!(other.ip(bot.host), story.host, "another key, other names");
}

/// A sum of words in ones' complement.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum: u32 =
        bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Whether the checksums of IPv4 and of TCP or UDP in an Ethernet frame are right.
fn right(frame: &[u8]) -> (bool, bool) {
    let ip = &frame[14..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))];
    let pseudo = [&ip[12..20], &[0, ip[9]], &(ip.len() as u16 - 20).to_be_bytes(), &ip[20..]].concat();
    (sum(&ip[..20]) == 0xffff, sum(&pseudo) == 0xffff)
}

#[test]
fn frames_keep_their_length_and_what_their_checksums_were() {
    let (capture, bot) = &*KRAKEN;
    let others = Pseudonyms::new(KEY, capture, std::slice::from_ref(bot)).unwrap();
    let captures = capture::Captures { paths: vec![sample()], ..capture::Captures::default() };
    let mut seen = 0;
    let failures = pipeline::walk(&captures, |frame| {
        if frame.bytes[12..14] != [8, 0] {
            return true;
        }
        for wrong in [None, Some(14 + 10), Some(14 + 20 + if frame.bytes[23] == 6 { 16 } else { 6 })] {
            let mut bytes = frame.bytes.to_vec();
            if let Some(at) = wrong {
                bytes[at] ^= 0x5a;
            }
            let before = right(&bytes);
            assert_eq!(others.frame(&mut bytes, frame.link, frame.original), Rewritten::Done);
            assert_eq!((bytes.len(), right(&bytes)), (frame.bytes.len(), before), "{} {wrong:?}", frame.id);
            assert!(!bytes.windows(4).any(|w| w == [10, 20, 0, 13]), "{}", frame.id);
            assert!(wrong.is_some() || before == (true, true), "{}", frame.id);
        }
        seen += 1;
        true
    });
    assert!(failures.unwrap().is_empty() && seen > 500, "{seen}");
}
