//! Every sentence that a reader may see: one for each grade of each behaviour, from facts of its kind, to be read when they change.

use std::collections::BTreeSet;

use behaviour::{CATALOGUE, GradeWorth};
use record::{Evidence, FactValue, Grade, Timestamp};

/// Facts as behaviours tell them.
fn facts() -> Vec<(&'static str, FactValue)> {
    let list = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>().into();
    vec![
        ("answered", 2u64.into()),
        ("asked_for", "login.example.com".into()),
        ("bytes", 151_200u64.into()),
        ("contacts", 48u64.into()),
        ("days_valid", 3_650u64.into()),
        ("declared", "image/gif".into()),
        ("direction", "out".into()),
        ("domain", "t.example.com".into()),
        ("domains", list(&["a.example", "b.example", "c.example", "d.example"])),
        ("encrypted_sessions", 3u64.into()),
        ("every_s", 30.0.into()),
        ("exchangers", 108u64.into()),
        ("failed", 164u64.into()),
        ("failures", 36u64.into()),
        ("first_contacts", 108u64.into()),
        ("first_lengths", list(&["12", "64"])),
        ("generator", "v1".into()),
        ("host", "update.example.com".into()),
        ("how", "a letter to a mailbox at mail.example.com".into()),
        ("in_order", true.into()),
        ("inbound_frames", 4u64.into()),
        ("indicator", "bad.example.com".into()),
        ("is", "a Windows program".into()),
        ("issuer", "CN=localhost".into()),
        ("label", "x7f3".into()),
        ("length", 24u64.into()),
        ("level", "header".into()),
        ("list", "house.csv".into()),
        ("list_date", "2026-11-01".into()),
        ("mean_length", 52.4.into()),
        ("median_interval", 60.2.into()),
        ("messages", 72u64.into()),
        ("method", "POST".into()),
        ("name", "qxkzvwpj.dyndns.example".into()),
        ("names", list(&["qxkzvwpj.com", "bnmzzkpt.com", "vjwqkkrt.net", "lqpzzxwv.org"])),
        ("neighbours", 3u64.into()),
        ("networks", 90u64.into()),
        ("nick", "USA|XP|4711".into()),
        ("nxdomains", 1_001u64.into()),
        ("oddities", list(&["helo_changes", "many_senders"])),
        ("orders", list(&[".scan"])),
        ("own_name", "PC-03".into()),
        ("pages", list(&["nytimes.com", "cnn.com", "reuters.com"])),
        ("path", "/images/gate.php?id=12".into()),
        ("pool", "pool.example.com".into()),
        ("port", 447u64.into()),
        ("recipients", 90u64.into()),
        ("recurring_length", 56u64.into()),
        ("remote", "198.51.100.7".into()),
        ("remote_names", list(&["198.51.100.7 c2.example.net"])),
        ("posts", 5u64.into()),
        ("requests", 5u64.into()),
        ("role", "printer".into()),
        ("sensor", "suricata".into()),
        ("seconds", 105.0.into()),
        ("seconds_after_udp", 68.0.into()),
        ("service", "ip.example.com".into()),
        ("signature", "ET TROJAN Example Checkin".into()),
        ("sites", 4u64.into()),
        ("smtp_open", true.into()),
        ("stages", list(&["probe", "command", "act"])),
        ("subject", "CN=localhost".into()),
        ("system", "Windows XP".into()),
        ("taken_by", "10.0.0.9".into()),
        ("target", "mx.example.com".into()),
        ("udp_before", true.into()),
        ("unanswered_share", 0.33.into()),
        ("unnamed_share", 0.89.into()),
        ("what", list(&["peek_unopened"])),
        ("with_probe", true.into()),
    ]
}

/// Facts that a grade has of its own.
fn of_grade(behaviour: &str, grades: &[&str], e: &mut Evidence) {
    let mut set = |fact: &'static str, value: FactValue| e.facts.insert(fact.into(), value);
    match behaviour {
        "raw_control" => set("dead", grades.contains(&"dead_remote").into()),
        "port_imposter" => set("is", "opaque".into()),
        "payload_download" => set("is", "elf".into()),
        "login_guessing" => {
            e.unit = "short login sessions with one host".into();
            set("service", "ssh".into())
        }
        "flood" => {
            e.unit = "packets a second, unanswered".into();
            set("target", "198.51.100.7".into())
        }
        "vertical_scan" => set("target", "198.51.100.7".into()),
        "exfiltration" => set("how", "POST".into()),
        "mining" => set("pool", "198.51.100.7:3333".into()),
        "beacon" => set("remote", "198.51.100.7 port 443".into()),
        _ => None,
    };
}

fn evidence(entry: &'static behaviour::Entry, key: &'static str, grades: &[&'static str]) -> Evidence {
    let mut e = Evidence {
        host: [10, 0, 0, 5].into(),
        stage: entry.about.stage,
        behaviour: entry.name.into(),
        key: key.into(),
        grades: grades.iter().map(|name| Grade { name: (*name).into(), times: 1 }).collect(),
        started: Timestamp::from_secs(1_207_645_205),
        ts: Timestamp::from_secs(1_207_645_265),
        value: 12.0,
        threshold: 3.0,
        unit: "things".into(),
        source: "assumed".into(),
        packets: vec![],
        flows: vec![],
        community_ids: vec![],
        remotes: vec![[198, 51, 100, 7].into()],
        facts: facts().into_iter().map(|(k, v)| (k.into(), v)).collect(),
        expected: None,
    };
    of_grade(entry.name, grades, &mut e);
    e
}

#[test]
fn every_grade_has_a_sentence_that_was_read() {
    let mut all = String::new();
    for entry in CATALOGUE {
        let grades = entry.about.grades;
        let mut last = String::new();
        for grade in grades {
            // What adds to a base stands beside one.
            let is_of = |g: &&GradeWorth| g.base && (grade.key.is_empty() || g.key == grade.key);
            let base = if grade.base { grade } else { grades.iter().find(is_of).expect("a base") };
            let with: Vec<&str> = BTreeSet::from([base.name, grade.name]).into_iter().collect();
            let said = report::describe(&evidence(entry, base.key, &with));
            assert!(!said.is_empty() && !said.ends_with(['.', ' ', ',']) && !said.contains("  "), "{said:?}");
            assert!(!said.contains('_') && !said.contains("()"), "{}/{}: {said}", entry.name, grade.name);
            let shown = if said == last { "  \"".to_owned() } else { format!("  {said}") };
            all.push_str(&format!("{}/{}\n{shown}\n", entry.name, grade.name));
            last = said;
        }
    }
    insta::assert_snapshot!("sentences", all);
}
