//! What routers and probes export leads to the story that the packets lead to, as far as flows tell it.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use capture::Source;
use common::{host, read_json, run, sample, skipped};
use pipeline::RunOptions;
use record::{Conn, ConnPhase, Direction, Record, Timestamp, Transport};
use serde_json::Value;
use testkit::{BOT, End, Script};

/// Who exports and who collects.
const EXPORTER: &str = "192.0.2.1";
const COLLECTOR: &str = "192.0.2.2";
/// Reads of a fifth of a second without a word after which softflowd hangs.
const PATIENCE: u32 = 300;
/// A router writes down what has been silent for so long.
const INACTIVE: Duration = Duration::from_secs(15);

const KRAKEN: [&str; 3] = ["kraken-old", "kraken-new", "kraken-fallback"];
const CLEAN: [&str; 6] = [
    "clean-bittorrent-vpn",
    "clean-browser-news",
    "clean-mail-server",
    "clean-monitor",
    "clean-newsletter",
    "clean-newsreader",
];

fn pcapng(name: &str) -> PathBuf {
    sample(&format!("{name}.pcapng"))
}

fn conns(capture: &Path) -> Vec<Conn> {
    let mut all = Vec::new();
    let options = RunOptions::of(vec![Source::Path(capture.to_owned())]);
    let take = |record: &Record| {
        if let Record::Conn(c) = record
            && c.phase == ConnPhase::Closed
        {
            all.push(c.clone());
        }
    };
    pipeline::run_with(&options, |_| (), take).expect("it is read");
    all
}

/// A row of NetFlow 5: one way of a flow, by a clock that began then.
fn row(c: &Conn, way: Direction, began: Timestamp) -> Vec<u8> {
    let (tuple, i) = (c.wire_tuple(), way.index());
    let (from, to) = if way == Direction::Orig { (tuple.orig, tuple.resp) } else { (tuple.resp, tuple.orig) };
    let letters = if way == Direction::Orig { ['S', 'F', 'R', 'A'] } else { ['h', 'f', 'r', 'a'] };
    let mut flags = 0u8;
    for (letter, bits) in letters.into_iter().zip([0x02, 0x01, 0x04, 0x10]) {
        flags |= if c.history.as_str().contains(letter) { bits } else { 0 };
    }
    let answers = way == Direction::Resp || c.bytes[0] > 0;
    flags |= if answers && c.head.tuple.transport == Transport::Tcp { 0x10 } else { 0 };
    let millis = |t: Timestamp| (t.since(began).as_millis() as u32).to_be_bytes();
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let mut row = [octets(from.ip), octets(to.ip), [0; 4], [0; 4]].concat();
    let told = c.packets[i] * 14;
    row.extend((c.packets[i] as u32).to_be_bytes());
    row.extend((c.frame_bytes[i].saturating_sub(told) as u32).to_be_bytes());
    row.extend([millis(c.head.ts), millis(c.last)].concat());
    row.extend([from.port.to_be_bytes(), to.port.to_be_bytes()].concat());
    row.extend([0, flags, c.head.tuple.transport.number(), 0, 0, 0, 0, 0, 24, 24, 0, 0]);
    row
}

/// The capture of what a router would export of this one.
fn router(capture: &Path) -> Script {
    const MOST: usize = 30;
    let mut all = conns(capture);
    all.retain(|c| c.head.tuple.orig.ip.is_ipv4());
    let began = all.iter().map(|c| c.head.ts).min().expect("flows").minus(Duration::from_secs(100));
    let mut rows: Vec<(Timestamp, Vec<u8>)> = all
        .iter()
        .flat_map(|c| [(c, Direction::Orig), (c, Direction::Resp)])
        .filter(|(c, way)| c.packets[way.index()] > 0)
        .map(|(c, way)| (c.last.plus(INACTIVE), row(c, way, began)))
        .collect();
    rows.sort();
    let secs = began.0 / 1_000_000_000;
    let mut script = Script::new(secs, 1);
    let mut sequence = 0u32;
    while !rows.is_empty() {
        let first = rows[0].0;
        let n = rows.iter().take_while(|(at, _)| at.since(first) < Duration::from_secs(1)).count().min(MOST);
        let sent: Vec<_> = rows.drain(..n).collect();
        let at = sent[n - 1].0.since(began);
        let mut datagram = [5u16.to_be_bytes(), (n as u16).to_be_bytes()].concat();
        let now = began.plus(at);
        datagram.extend((at.as_millis() as u32).to_be_bytes());
        datagram.extend(((now.0 / 1_000_000_000) as u32).to_be_bytes());
        datagram.extend(((now.0 % 1_000_000_000) as u32).to_be_bytes());
        datagram.extend([sequence.to_be_bytes(), [0; 4]].concat());
        sequence += n as u32;
        for (_, row) in sent {
            datagram.extend(row);
        }
        script.udp(at.as_secs_f64(), End::new(EXPORTER, 40_000), End::new(COLLECTOR, 2055), &datagram);
    }
    script
}

/// What softflowd exports of a capture, by this version: all of it at once.
fn softflowd(capture: &Path, version: &[&str]) -> Option<Script> {
    let collector = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
    collector.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let dir = tempfile::tempdir().expect("a folder");
    let to = collector.local_addr().expect("an address").to_string();
    let mut daemon = Command::new("softflowd")
        .args(["-n", &to, "-v"])
        .args(version)
        .args(["-a", "-d", "-c", "none", "-r"])
        .arg(capture)
        .arg("-p")
        .arg(dir.path().join("pid"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut script = Script::new(1_700_000_000, 1);
    let (mut buffer, mut n, mut silent) = (vec![0; 65_536], 0u32, 0u32);
    loop {
        match collector.recv(&mut buffer) {
            Ok(len) => {
                let at = f64::from(n) * 0.001;
                script.udp(at, End::new(EXPORTER, 40_000), End::new(COLLECTOR, 2055), &buffer[..len]);
                n += 1;
            }
            Err(_) if daemon.try_wait().expect("its state").is_some() => break,
            Err(_) if silent >= PATIENCE => {
                daemon.kill().expect("it ends");
                panic!("softflowd hangs");
            }
            Err(_) => silent += 1,
        }
    }
    Some(script)
}

fn read(script: Script) -> Vec<Value> {
    common::analyse_script(script)
}

fn behaviours(host: &Value) -> BTreeSet<&str> {
    let evidence = host["evidence"].as_array().expect("evidence");
    evidence.iter().filter_map(|e| e["behaviour"].as_str()).collect()
}

fn accused(lines: &[Value]) -> Vec<String> {
    let of = |l: &Value| !matches!(l["verdict"].as_str(), Some("quiet" | "inconclusive") | None);
    lines
        .iter()
        .filter(|l| l["type"] == "host" && of(l))
        .map(|l| format!("{} {}", l["host"], l["verdict"]))
        .collect()
}

fn bot_is_found(name: &str, lines: &[Value]) {
    let bot = host(lines, BOT);
    assert!(bot["level_db"].as_f64().is_some_and(|db| db >= 20.0), "{name}: {}", bot["level_db"]);
    let seen = behaviours(bot);
    assert!(seen.is_superset(&BTreeSet::from(["smtp_probe", "spam_run"])), "{name}: {seen:?}");
    assert_eq!(accused(lines).len(), 1, "{name}");
}

#[test]
fn a_router_that_exports_tells_the_bot_from_the_others() {
    for name in KRAKEN {
        bot_is_found(name, &read(router(&pcapng(name))));
    }
    for name in CLEAN {
        assert_eq!(accused(&read(router(&pcapng(name)))), [""; 0], "{name}");
    }
}

#[test]
fn softflowd_tells_the_bot_from_the_others() {
    // The last tells both ways in one row, by times of its own.
    let versions: [&[&str]; 4] = [&["5"], &["9"], &["10"], &["10", "-b", "-A", "milli"]];
    for version in versions {
        for name in KRAKEN {
            let Some(script) = softflowd(&pcapng(name), version) else {
                return skipped("softflowd is not installed");
            };
            bot_is_found(&format!("{name}, version {version:?}"), &read(script));
        }
        for name in CLEAN {
            let Some(script) = softflowd(&pcapng(name), version) else { return };
            assert_eq!(accused(&read(script)), [""; 0], "{name}, version {version:?}");
        }
    }
}

#[test]
fn the_flows_of_an_exporter_are_those_of_the_packets() {
    let capture = pcapng("kraken-new");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("exports.pcapng");
    std::fs::write(&path, router(&capture).pcapng()).expect("written");
    let tell = |c: &Conn| {
        let t = c.wire_tuple();
        (t.orig, t.resp, c.packets, c.head.ts.0 / 1_000_000)
    };
    let (mut packets, mut exported) = (conns(&capture), conns(&path));
    packets.retain(|c| c.head.tuple.orig.ip.is_ipv4());
    exported.retain(|c| c.head.flow.is_named());
    let sums = |all: &[Conn]| all.iter().fold([0, 0], |[a, b], c| [a + c.packets[0], b + c.packets[1]]);
    assert_eq!(sums(&packets), sums(&exported));
    let told: BTreeSet<_> = packets.iter().map(tell).collect();
    let again: BTreeSet<_> = exported.iter().map(tell).collect();
    let missing: Vec<_> = told.difference(&again).collect();
    // Datagrams of one pair of ends within a minute are one flow to an exporter; the packets tell flows apart by what they say.
    assert!(missing.len() * 10 <= told.len(), "{} of {}: {:?}", missing.len(), told.len(), missing.first());
}

#[test]
fn it_is_said_what_exports_are_and_what_they_do_not_tell() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("exports.pcapng");
    std::fs::write(&path, router(&pcapng("kraken-old")).pcapng()).expect("written");
    let path = path.to_str().expect("UTF-8");
    let (_, out, err) = run(&["read", path, "--quiet"]);
    let said = format!("{out}{err}");
    assert!(said.contains("told by 1 exporter (NetFlow 5)") && said.contains("without payloads"), "{said}");
    // The proof is the packet in which the exporter says so.
    let lines = read_json(&[path]);
    let evidence = &host(&lines, BOT)["evidence"][0];
    assert!(evidence["packets"].as_array().is_some_and(|p| !p.is_empty()), "{evidence}");
    // Of a datagram that the capture cut nothing is believed, and it is said.
    let cut = dir.path().join("cut.pcapng");
    std::fs::write(&cut, router(&pcapng("kraken-old")).faulty(|_, _| vec![(0.0, 100)]).pcapng())
        .expect("written");
    let (_, out, err) = run(&["read", cut.to_str().expect("UTF-8"), "--quiet"]);
    let said = format!("{out}{err}");
    assert!(said.contains("datagrams of exporters could not be read, the first is packet"), "{said}");
}
