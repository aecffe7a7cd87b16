//! Logs of other sensors lead to the story that their packets lead to, as far as they tell it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{host, read_json, run, skipped};
use serde_json::Value;
use testkit::{BOT, bots, scenarios};

/// Writes Zeek's logs of a capture.
fn zeek(capture: &str, dir: &str) {
    let (code, _, err) = run(&["read", "--quiet", capture, "--format", &format!("zeek={dir}")]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

fn scenario(name: &str) -> testkit::Script {
    (scenarios::ALL.iter().find(|(n, _)| *n == name).expect("a scenario").1)()
}

fn behaviours(host: &Value) -> BTreeSet<String> {
    let all = host["evidence"].as_array().expect("evidence").iter();
    all.map(|e| e["behaviour"].as_str().expect("a name").to_owned()).collect()
}

/// A capture's host, by its packets and by Zeek's logs of them; none of a capture that is about others.
fn both(script: testkit::Script) -> Option<(Value, Value)> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (capture, logs) = (path("x.pcapng"), path("zeek"));
    std::fs::write(&capture, script.pcapng()).expect("written");
    zeek(&capture, &logs);
    let of = |path: &str| read_json(&[path]).into_iter().find(|l| l["host"] == BOT);
    of(&capture).zip(of(&logs))
}

/// Behaviours that see what logs of flows, names, mail and requests tell.
const TOLD: [&str; 12] = [
    "smtp_probe",
    "generated_names",
    "hidden_service",
    "generated_contact",
    "dns_tunnel",
    "beacon",
    "mail_exchanger_lookups",
    "horizontal_scan",
    "vertical_scan",
    "login_guessing",
    "spam_run",
    "address_echo",
];

#[test]
fn what_logs_tell_is_seen_in_them_and_nothing_that_packets_do_not_show() {
    let told: BTreeSet<&str> = TOLD.into_iter().collect();
    let mut seen: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (name, make) in scenarios::ALL.iter().chain(bots::ALL) {
        let Some((packets, logs)) = both(make()) else { continue };
        let (from_packets, from_logs) = (behaviours(&packets), behaviours(&logs));
        let more: Vec<&String> = from_logs.difference(&from_packets).collect();
        assert!(more.is_empty(), "{name}: logs show {more:?}, and packets do not");
        for behaviour in from_packets.iter().filter(|b| told.contains(b.as_str())) {
            let count = seen.entry(behaviour.clone()).or_default();
            count[0] += 1;
            count[1] += usize::from(from_logs.contains(behaviour));
        }
    }
    // What needs a payload's length or first words besides is missed here and there.
    for (behaviour, [packets, logs]) in &seen {
        assert!(logs * 2 >= *packets, "{behaviour}: in {packets} captures, and in {logs} logs of them");
    }
    assert!(seen.len() >= 10, "{seen:?}");
}

#[test]
fn where_logs_tell_of_flows_alone_nobody_is_quiet() {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = dir.path().join("zeek");
    let path = logs.to_str().expect("UTF-8");
    zeek(concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/clean-browser-news.pcapng"), path);
    let of_browser = || read_json(&[path]).into_iter().find(|l| l["host"] == "10.20.0.60").expect("a host");
    assert_eq!(of_browser()["verdict"], "quiet", "{}", of_browser()["unseen"]);
    let level = |host: &Value| host["level_db"].as_f64().expect("a level");
    let heard = level(&of_browser());
    std::fs::remove_file(logs.join("dns.log")).expect("a log of DNS");
    let unseen = |host: &Value| host["unseen"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(of_browser()["verdict"], "inconclusive");
    assert_eq!(
        unseen(&of_browser()),
        "not looked at: DNS questions; the logs that were read tell of these flows, and none tells what they carry"
    );
    // No bet is placed on the names that it did not ask for.
    assert!((level(&of_browser()) - heard - 1.0).abs() < 1e-9, "{heard} {}", of_browser()["level_db"]);
    std::fs::remove_file(logs.join("ssl.log")).expect("a log of TLS");
    let told = unseen(&of_browser());
    assert!(told.starts_with("not looked at: DNS questions, TLS handshakes;"), "{told}");
}

#[test]
fn a_row_is_a_proof_that_can_be_looked_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("x.pcapng"), scenario("kraken-new").pcapng()).expect("written");
    zeek(&path("x.pcapng"), &path("zeek"));
    let (code, told, _) = run(&["read", "--quiet", &path("zeek"), "-o", &path("case")]);
    assert_eq!(code, Some(0));
    assert!(told.contains("INFECTED") && told.contains("  lines "), "{told}");
    assert!(told.contains("! read from logs: ") && !told.contains(" packets 1"), "{told}");
    let (_, why, _) = run(&["explain", &path("case"), BOT]);
    let check = why.lines().find_map(|l| l.trim().strip_prefix("check: ")).expect("a command");
    let shown = std::process::Command::new("sh").args(["-c", check]).output().expect("it runs");
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(shown.lines().count() > 0 && shown.contains(BOT), "{check}\n{shown}");
}

#[test]
fn a_log_that_breaks_off_gives_what_it_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("x.pcapng"), scenario("kraken-new").pcapng()).expect("written");
    zeek(&path("x.pcapng"), &path("zeek"));
    let text = std::fs::read(path("zeek/conn.log")).expect("read");
    // Several blocks, of which the first are whole.
    let packed = zstd::encode_all(&text.repeat(80)[..], 3).expect("packed");
    std::fs::write(path("conn.log.zst"), &packed[..packed.len() - 8]).expect("written");
    let (code, told, err) = run(&["read", &path("conn.log.zst")]);
    assert_eq!(code, Some(3), "{told}{err}");
    assert!(told.contains("PARTIAL") && told.contains("cannot be read on from byte"), "{told}");
    assert!(read_json(&[&path("conn.log.zst")]).len() > 1, "hosts are told all the same");
}

/// An alert of Suricata about what 10.20.0.13 opened.
fn alert(secs: u32, to: &str, signature: &str, category: &str) -> String {
    format!(
        concat!(
            r#"{{"timestamp":"2020-01-01T00:{:02}:{:02}.000000+0000","flow_id":{},"event_type":"alert","src_ip":"10.20.0.13","src_port":1000,"#,
            r#""dest_ip":"{}","dest_port":80,"proto":"TCP","alert":{{"signature_id":1,"signature":"{}","category":"{}","severity":1}}}}"#,
            "\n"
        ),
        secs / 60,
        secs % 60,
        secs,
        to,
        signature,
        category
    )
}

#[test]
fn alerts_are_bet_on_by_what_they_speak_of_once_a_day() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("eve.json");
    let read = |lines: &[String]| {
        std::fs::write(&path, lines.concat()).expect("written");
        let told = read_json(&[path.to_str().expect("UTF-8")]);
        told.into_iter().find(|l| l["host"] == BOT)
    };
    let (kit, check_in) = ("ET EXPLOIT_KIT RIG", "ET MALWARE Ramnit Checkin");
    let trojan = "A Network Trojan was detected";
    let story = [
        alert(10, "198.51.100.7", kit, "Exploit Kit Activity Detected"),
        alert(60, "198.51.100.8", check_in, trojan),
        alert(90, "198.51.100.8", check_in, trojan),
        alert(120, "10.20.0.77", "ET SCAN Potential VNC Scan", "Attempted Information Leak"),
        alert(130, "198.51.100.9", "ET POLICY curl User-Agent Outbound", "Attempted Information Leak"),
    ];
    let host = read(&story).expect("the host");
    let seen: Vec<&str> = host["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .filter_map(|e| e["behaviour"].as_str())
        .collect();
    let of = |name: &str| seen.iter().filter(|b| **b == name).count();
    assert_eq!([of("delivery_alert"), of("sensor_alert"), of("attack_alert")], [1, 1, 1], "{seen:?}");
    assert_eq!(host["verdict"], "suspicious");
    // One alert makes nobody suspicious, and what speaks of nothing makes no evidence.
    let alone = read(&story[1..2]).expect("the host");
    assert!(alone["level_db"].as_f64() < Some(10.0) && alone["verdict"] != "suspicious");
    assert!(read(&story[4..]).is_none_or(|h| h["evidence"].as_array().is_some_and(Vec::is_empty)));
}

/// What is said of the hosts, but for the numbers of lines.
fn told_of_hosts(lines: &[Value]) -> Vec<(Value, Value, Value)> {
    let hosts = lines.iter().filter(|l| l["type"] == "host");
    hosts.map(|h| (h["host"].clone(), h["verdict"].clone(), h["level_db"].clone())).collect()
}

#[test]
fn logs_come_by_any_door_and_tell_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("x.pcapng"), scenario("kraken-new").pcapng()).expect("written");
    zeek(&path("x.pcapng"), &path("zeek"));
    let direct = read_json(&[&path("zeek")]);
    let expected = told_of_hosts(&direct);
    assert!(expected.iter().any(|(host, verdict, _)| host == BOT && verdict == "infected"), "{expected:?}");

    // A zip archive, with a password too, and packed within; what else lies in it takes nothing away.
    let names = ["conn.log", "dns.log", "smtp.log"];
    for password in [None, Some("infected")] {
        let file = std::fs::File::create(path("logs.zip")).expect("made");
        let mut archive = zip::ZipWriter::new(file);
        let mut options = zip::write::SimpleFileOptions::default();
        if let Some(password) = password {
            options = options.with_aes_encryption(zip::AesMode::Aes256, password);
        }
        for entry in std::fs::read_dir(path("zeek")).expect("listed") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let content = std::fs::read(entry.path()).expect("read");
            if name == "conn.log" {
                archive.start_file("a/conn.log.zst", options).expect("begun");
                archive.write_all(&zstd::encode_all(&content[..], 3).expect("packed")).expect("written");
            } else {
                archive.start_file(format!("a/{name}"), options).expect("begun");
                archive.write_all(&content).expect("written");
            }
        }
        archive.start_file("a/README", options).expect("begun");
        archive.write_all(b"logs of a bot").expect("written");
        archive.finish().expect("written");
        let zipped = read_json(&[&path("logs.zip")]);
        assert_eq!(told_of_hosts(&zipped), expected, "{password:?}");
        assert_eq!(zipped[0]["complete"], true, "{}", zipped[0]["failures"]);
    }
    let (code, _, err) = run(&["read", "--quiet", &path("logs.zip"), "-o", &path("case")]);
    assert_eq!(code, Some(0), "{err}");
    let (_, why, _) = run(&["explain", &path("case"), BOT]);
    let checks: Vec<&str> = why.lines().filter_map(|l| l.trim().strip_prefix("check: ")).collect();
    assert!(checks.iter().any(|c| c.starts_with("unzip -p '") && c.contains("' 'a/")), "{checks:?}");
    assert!(names.iter().any(|n| checks.iter().any(|c| c.contains(n))), "{checks:?}");

    // Standard input.
    for (name, packed) in [("conn.log", false), ("conn.log", true)] {
        let content = std::fs::read(path(&format!("zeek/{name}"))).expect("read");
        let content = if packed { zstd::encode_all(&content[..], 3).expect("packed") } else { content };
        let out = common::hydrophone().args(["read", "-", "--json", "--quiet"]).write_stdin(content).output();
        let out = out.expect("it runs");
        let lines: Vec<Value> = String::from_utf8(out.stdout)
            .expect("UTF-8")
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect();
        assert_eq!(told_of_hosts(&lines), told_of_hosts(&read_json(&[&path("zeek/conn.log")])));
        assert_eq!(
            (&lines[0]["inputs"][0]["path"], &lines[0]["inputs"][0]["log"]),
            (&"-".into(), &"zeek conn".into())
        );
    }
    // And beside it a capture is one still.
    let capture = std::fs::read(path("x.pcapng")).expect("read");
    let out = common::hydrophone()
        .args(["read", "-", "--json", "--quiet"])
        .write_stdin(capture)
        .output()
        .expect("it runs");
    let from_input: Vec<&str> = std::str::from_utf8(&out.stdout).expect("UTF-8").lines().skip(1).collect();
    let from_file = common::hydrophone()
        .args(["read", &path("x.pcapng"), "--json", "--quiet"])
        .output()
        .expect("it runs");
    assert_eq!(
        from_input,
        std::str::from_utf8(&from_file.stdout).expect("UTF-8").lines().skip(1).collect::<Vec<_>>()
    );
}

#[test]
fn the_proof_in_an_array_can_be_looked_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let lines = [
        alert(10, "198.51.100.7", "ET EXPLOIT_KIT RIG", "Exploit Kit Activity Detected"),
        alert(60, "198.51.100.8", "ET MALWARE Ramnit Checkin", "A Network Trojan was detected"),
    ];
    let events: Vec<&str> = lines.iter().map(|l| l.trim()).collect();
    std::fs::write(path("eve.json"), format!("[{}]", events.join(","))).expect("written");
    let (code, told, err) = run(&["read", "--quiet", &path("eve.json"), "-o", &path("case")]);
    assert_eq!((code, told.contains("SUSPICIOUS") || told.contains(BOT)), (Some(0), true), "{told}{err}");
    let (_, why, _) = run(&["explain", &path("case"), BOT]);
    assert!(why.lines().any(|l| l.contains("eve.json' | jq -c '.[1]'")), "{why}");
}

fn corpus() -> Option<PathBuf> {
    let given = std::env::var_os("HYDROPHONE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let found = given.unwrap_or(beside);
    found.join("zeek").is_dir().then_some(found)
}

#[test]
fn real_logs_of_honest_hosts_accuse_nobody() {
    let Some(corpus) = corpus() else { return skipped("no corpus of logs") };
    let manifest = std::fs::read_to_string(corpus.join("manifest.tsv")).expect("a manifest");
    let mut files = 0;
    for row in manifest.lines().map(|l| l.split('\t').collect::<Vec<_>>()) {
        let [file, kind, _, family, _, notes, ..] = row[..] else { continue };
        let honest = (kind == "zeek-log" && notes.starts_with("tier "))
            || (kind == "eve" && !family.starts_with("real"));
        if !honest {
            continue;
        }
        files += 1;
        let path = corpus.join(file);
        for line in read_json(&[path.to_str().expect("UTF-8")]).iter().filter(|l| l["type"] == "host") {
            let verdict = line["verdict"].as_str().expect("a verdict");
            assert!(matches!(verdict, "quiet" | "inconclusive"), "{file}: {} is {verdict}", line["host"]);
        }
    }
    assert!(files >= 6, "{files} files");
}

#[test]
fn alerts_come_into_the_story() {
    let Some(corpus) = corpus() else { return skipped("no corpus of logs") };
    let eve = corpus.join("eve/2017-06-15-1st-run-Seamless-Rig-EK-sends-Ramnit.eve.json.gz");
    let lines = read_json(&[eve.to_str().expect("UTF-8")]);
    let bot = host(&lines, "10.6.15.101");
    let seen = behaviours(bot);
    assert!(seen.contains("delivery_alert") && seen.contains("sensor_alert"), "{seen:?}");
    assert_eq!(bot["verdict"], "suspicious");
    let (_, told, _) = run(&["read", "--quiet", eve.to_str().expect("UTF-8")]);
    assert!(told.contains("Suricata says of its flow with") && told.contains("Ramnit Checkin"), "{told}");
}

#[test]
fn what_two_inputs_tell_counts_once_or_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let capture = common::sample("kraken-new.pcapng").display().to_string();
    zeek(&capture, &path("a/zeek"));
    std::fs::create_dir_all(dir.path().join("b")).expect("a folder");
    for entry in std::fs::read_dir(dir.path().join("a/zeek")).expect("logs") {
        let entry = entry.expect("a log");
        std::fs::copy(entry.path(), dir.path().join("b").join(entry.file_name())).expect("a copy");
    }
    let one = read_json(&[&path("a")]);
    let two = read_json(&[&path("a"), &path("b")]);
    let belief = |lines: &[Value]| {
        let of = host(lines, BOT);
        let evidence = of["evidence"].as_array().expect("evidence");
        let values: Vec<_> = evidence.iter().map(|e| (e["behaviour"].clone(), e["value"].clone())).collect();
        (of["verdict"].clone(), of["level_db"].clone(), values)
    };
    assert_eq!(belief(&two), belief(&one));
    assert_eq!((&two[0]["flows"], &two[0]["packets"]), (&one[0]["flows"], &one[0]["packets"]));
    let notices = |lines: &[Value]| lines[0]["notices"].to_string();
    assert!(
        notices(&two).contains("count once") && !notices(&one).contains("count once"),
        "{}",
        notices(&two)
    );
    // Another sensor's: other names of flows, and a clock that is now before and now behind.
    for entry in std::fs::read_dir(dir.path().join("b")).expect("logs") {
        let log = entry.expect("a log").path();
        let text = std::fs::read_to_string(&log).expect("a log");
        let of_another = |line: &str| {
            let Some((ts, rest)) = line.split_once('\t').filter(|_| !line.starts_with('#')) else {
                return line.to_owned() + "\n";
            };
            let ahead = rest.bytes().map(u32::from).sum::<u32>() % 3;
            let ts = ts.parse::<f64>().expect("a time") + f64::from(ahead) * 0.001 - 0.001;
            format!("{ts:.6}\tX{}\n", &rest[1..])
        };
        std::fs::write(&log, text.lines().map(of_another).collect::<String>()).expect("written");
    }
    let other = read_json(&[&path("a"), &path("b")]);
    let flows = |lines: &[Value]| {
        lines[0]["flows"].as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>()
    };
    assert_eq!(flows(&other), 2 * flows(&one));
    let said = format!("{} flows are told by two inputs", flows(&one));
    assert!(notices(&other).contains(&said), "{said}: {}", notices(&other));
    assert!(host(&other, BOT)["unseen"].to_string().contains("count twice"));
    // A store that has the logs, and the logs.
    let (code, _, err) = run(&["read", "-q", &path("a"), "--store", &path("store")]);
    assert_eq!(code, Some(0), "{err}");
    let again = read_json(&[&path("store"), &path("b")]);
    assert_eq!(belief(&again).0, belief(&one).0);
    assert!(notices(&again).contains("count once"));
    // Packets tell more than logs: neither stands for the other, and that is said.
    assert!(notices(&read_json(&[&capture, &path("a")])).contains("COUNT TWICE"));
    let (code, _, err) = run(&["read", "-q", &capture, "--store", &path("of packets")]);
    assert_eq!(code, Some(0), "{err}");
    let alone = read_json(&[&path("of packets")]);
    let beside = read_json(&[&path("of packets"), &path("a/zeek/conn.log")]);
    assert!(notices(&beside).contains("COUNT TWICE"));
    let seen = |lines: &[Value]| behaviours(host(lines, BOT));
    assert!(seen(&beside).is_superset(&seen(&alone)), "what packets told is not lost: {:?}", seen(&beside));
}

#[test]
fn addresses_that_repeat_are_not_told_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let flow = |vlan: u32, n: u32| {
        format!(
            r#"{{"timestamp":"2020-01-01T00:{:02}:{:02}.000000+0000","flow_id":{},"event_type":"flow","src_ip":"192.168.1.10","src_port":123,"dest_ip":"198.51.100.7","dest_port":123,"proto":"UDP","vlan":[{vlan}],"app_proto":"ntp","flow":{{"pkts_toserver":1,"pkts_toclient":1,"bytes_toserver":90,"bytes_toclient":90,"start":"2020-01-01T00:{:02}:{:02}.000000+0000"}}}}"#,
            n / 60,
            n % 60,
            vlan * 1000 + n,
            n / 60,
            n % 60
        ) + "\n"
    };
    for vlan in [10, 20] {
        let lines: String = (0..30).map(|n| flow(vlan, n * 64)).collect();
        std::fs::write(path(&format!("{vlan}.json")), lines).expect("written");
    }
    for apart in [&["--separate-segments"][..], &[]] {
        let lines = read_json(&[&[path("10.json").as_str(), path("20.json").as_str()], apart].concat());
        assert_eq!(lines[0]["flows"]["udp"], 60, "{apart:?}");
        let hosts = lines.iter().filter(|l| l["type"] == "host").count();
        assert_eq!(hosts, if apart.is_empty() { 1 } else { 2 });
    }
}

#[test]
fn who_cannot_read_most_of_a_log_calls_nobody_quiet() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("conn.log");
    let head = "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\tresp_pkts\n";
    let row = |n: u32| {
        format!(
            "{}.0\tC{n}\t10.0.0.5\t{}\t198.51.100.{}\t443\ttcp\tssl\t1.0\t100\t200\tSF\tShADadFf\t5\t6\n",
            1_700_000_000 + 60 * n,
            1000 + n % 5000,
            n % 200
        )
    };
    let unread = |of: &dyn Fn(u32) -> String| {
        std::fs::write(&path, head.to_owned() + &(0..40).map(of).collect::<String>()).expect("written");
        host(&read_json(&[path.to_str().expect("UTF-8")]), "10.0.0.5")["unseen"].to_string()
    };
    assert!(!unread(&row).contains("could not be read"));
    let spoiled = |n: u32| if n.is_multiple_of(4) { row(n) } else { "spoiled\n".to_owned() };
    assert!(unread(&spoiled).contains("75 % of the lines of logs could not be read"), "{}", unread(&spoiled));
    // A stray time at one end stretches nothing: what is covered is what is between the pauses.
    let strays = |n: u32| match n {
        0..3 => row(n),
        3 => row(100_000) + &row(200_000),
        _ => String::new(),
    };
    assert!(unread(&strays).contains("beside pauses of more than an hour"), "{}", unread(&strays));
}
