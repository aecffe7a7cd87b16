//! Logs of other sensors lead to the story that their packets lead to, as far as they tell it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use capture::Source;
use common::{host, read_json, run, skipped};
use pipeline::RunOptions;
use record::{Conn, ConnPhase, Dns, Http, Record, Service, Smtp, Timestamp, Tls, Transport};
use serde_json::Value;
use testkit::{BOT, bots, scenarios};

/// Zeek's logs of what our own sensor saw.
#[derive(Default)]
struct Zeek {
    logs: BTreeMap<&'static str, Vec<(Timestamp, String)>>,
}

const ENDS: &str = "ts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p";

impl Zeek {
    fn of(capture: &Path) -> Self {
        let mut made = Self::default();
        let options = RunOptions::of(vec![Source::Path(capture.to_owned())]);
        pipeline::run_with(&options, |_| (), |record| made.take(record)).expect("it is read");
        made
    }

    fn row(&mut self, log: &'static str, record: &Record, written: Timestamp, rest: &str) {
        let (head, secs) = (record.head(), |t: Timestamp| {
            format!("{}.{:06}", t.0 / 1_000_000_000, t.0 % 1_000_000_000 / 1000)
        });
        let (a, b) = (head.tuple.orig, head.tuple.resp);
        let uid = format!("C{}", head.flow);
        let row = format!("{}\t{uid}\t{}\t{}\t{}\t{}\t{rest}\n", secs(head.ts), a.ip, a.port, b.ip, b.port);
        self.logs.entry(log).or_default().push((written, row));
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Conn(c) if c.phase == ConnPhase::Closed => self.conn(record, c),
            Record::Dns(d) => self.dns(record, d),
            Record::Http(h) => self.http(record, h),
            Record::Tls(t) => self.tls(record, t),
            Record::Smtp(s) => self.smtp(record, s),
            _ => {}
        }
    }

    fn conn(&mut self, record: &Record, c: &Conn) {
        let proto = match c.head.tuple.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            _ => "icmp",
        };
        let known = !matches!(c.service, Service::Unknown | Service::Opaque | Service::Unrecognised);
        let service = if known { c.service.name() } else { "-" };
        let ([out, back], [sent, got]) = (c.bytes, c.packets);
        let (took, state) = (c.duration().as_secs_f64(), c.state.name());
        let rest =
            format!("{proto}\t{service}\t{took:.6}\t{out}\t{back}\t{state}\t{}\t{sent}\t{got}", c.history);
        self.row("conn", record, c.last, &rest);
    }

    fn dns(&mut self, record: &Record, d: &Dns) {
        let of = |a: &record::DnsAnswer| {
            a.addr.map_or_else(|| a.name.clone().unwrap_or_default(), |ip| ip.to_string())
        };
        let answers: Vec<String> = d.answers.iter().map(of).collect();
        let ttls: Vec<String> = d.answers.iter().map(|a| format!("{}.0", a.ttl)).collect();
        let or_unset = |v: Vec<String>| if v.is_empty() { "-".to_owned() } else { v.join(",") };
        let rcode = d.rcode.map_or_else(|| "-".to_owned(), |r| r.to_string());
        let rtt = d.rtt.map_or_else(|| "-".to_owned(), |r| format!("{:.6}", r.as_secs_f64()));
        let asked = if d.recursion_desired { "T" } else { "F" };
        let rest = format!(
            "udp\t{}\t{rtt}\t{}\t{}\t{rcode}\t{asked}\t{}\t{}",
            d.id,
            d.query,
            d.qtype,
            or_unset(answers),
            or_unset(ttls)
        );
        self.row("dns", record, d.head.known, &rest);
    }

    fn http(&mut self, record: &Record, h: &Http) {
        let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".to_owned());
        let status = h.status.map_or_else(|| "-".to_owned(), |s| s.to_string());
        let rest = format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{status}",
            h.depth + 1,
            h.method,
            text(&h.host),
            h.path,
            text(&h.referer),
            text(&h.user_agent),
            h.request.len,
            h.response.len
        );
        self.row("http", record, h.head.known, &rest);
    }

    fn tls(&mut self, record: &Record, t: &Tls) {
        let of = |c: &Option<Box<record::Certificate>>, subject: bool| {
            c.as_ref().map_or_else(
                || "-".to_owned(),
                |c| format!("CN={}", if subject { &c.subject } else { &c.issuer }),
            )
        };
        let rest = format!(
            "TLSv12\t{}\t{}\t{}",
            t.sni.clone().unwrap_or_else(|| "-".to_owned()),
            of(&t.certificate, true),
            of(&t.certificate, false)
        );
        self.row("ssl", record, t.head.known, &rest);
    }

    fn smtp(&mut self, record: &Record, s: &Smtp) {
        let code = s.last_code.map_or_else(|| "-".to_owned(), |c| format!("{c} told"));
        let rest = format!(
            "{}\t{}\t{}\t{code}",
            s.helo.clone().unwrap_or_else(|| "-".to_owned()),
            s.sender_domains.first().map_or_else(|| "-".to_owned(), |d| format!("somebody@{d}")),
            s.recipient_domains.iter().map(|d| format!("somebody@{d}")).collect::<Vec<_>>().join(",")
        );
        self.row("smtp", record, s.head.known, &rest);
    }

    fn write(mut self, dir: &Path) {
        let columns = [
            (
                "conn",
                "proto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\tresp_pkts",
            ),
            ("dns", "proto\ttrans_id\trtt\tquery\tqtype\trcode\tRD\tanswers\tTTLs"),
            (
                "http",
                "trans_depth\tmethod\thost\turi\treferrer\tuser_agent\trequest_body_len\tresponse_body_len\tstatus_code",
            ),
            ("ssl", "version\tserver_name\tsubject\tissuer"),
            ("smtp", "helo\tmailfrom\trcptto\tlast_reply"),
        ];
        std::fs::create_dir_all(dir).expect("a folder");
        for (log, rest) in columns {
            let Some(mut rows) = self.logs.remove(log) else { continue };
            rows.sort();
            let mut text = String::new();
            let _ =
                writeln!(text, "#separator \\x09\n#set_separator\t,\n#path\t{log}\n#fields\t{ENDS}\t{rest}");
            text.extend(rows.into_iter().map(|(_, row)| row));
            std::fs::write(dir.join(format!("{log}.log")), text).expect("written");
        }
    }
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
    let capture = dir.path().join("x.pcapng");
    std::fs::write(&capture, script.pcapng()).expect("written");
    let logs = dir.path().join("zeek");
    Zeek::of(&capture).write(&logs);
    let of = |path: &Path| {
        let lines = read_json(&[path.to_str().expect("UTF-8")]);
        lines.into_iter().find(|l| l["host"] == BOT)
    };
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
fn a_row_is_a_proof_that_can_be_looked_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("x.pcapng"), scenario("kraken-new").pcapng()).expect("written");
    Zeek::of(Path::new(&path("x.pcapng"))).write(Path::new(&path("zeek")));
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
    Zeek::of(Path::new(&path("x.pcapng"))).write(Path::new(&path("zeek")));
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
