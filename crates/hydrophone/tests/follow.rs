//! `listen --follow`: what it tells of logs that grow is what `read` tells of them when they are whole, whatever is rotated, stopped or killed in between.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Logs that grow do so in real time.

mod common;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{host, read_json, run, sample, until};
use serde_json::Value;

/// Zeek's logs of a sample, whose last rows are to be written yet.
struct Zeek {
    /// What stands above the rows.
    heads: BTreeMap<String, String>,
    /// When a row is written, seconds since 1970; its log; itself. The latest first.
    rows: Vec<(f64, String, String)>,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

impl Zeek {
    /// So many of the rows of samples, the last of which is written `ahead` seconds from now.
    fn of(samples: &[&str], kept: usize, ahead: f64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let to = format!("zeek={}", dir.path().display());
        let samples: Vec<String> = samples.iter().map(|s| sample(s).display().to_string()).collect();
        let mut args = vec!["read", "-q", "--format", &to];
        args.extend(samples.iter().map(String::as_str));
        assert_eq!(run(&args).0, Some(0));
        let (mut heads, mut rows) = (BTreeMap::new(), Vec::new());
        for name in ["conn.log", "dns.log", "http.log", "smtp.log"] {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            let (above, below): (Vec<&str>, Vec<&str>) =
                text.lines().filter(|l| !l.starts_with("#close")).partition(|l| l.starts_with('#'));
            heads.insert(name.to_owned(), above.join("\n") + "\n");
            for row in below {
                let fields: Vec<&str> = row.split('\t').collect();
                let (ts, rest) = row.split_once('\t').unwrap();
                let ts: f64 = ts.parse().unwrap();
                // A flow is written when it is over.
                let took = if name == "conn.log" { fields[8].parse().unwrap_or(0.0) } else { 0.0 };
                rows.push((ts + took, ts, name.to_owned(), rest.to_owned()));
            }
        }
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        rows.truncate(kept);
        let shift = now() + ahead - rows.last().unwrap().0;
        let moved = |(end, ts, name, rest): (f64, f64, String, String)| {
            (end + shift, name, format!("{:.6}\t{rest}\n", ts + shift))
        };
        let mut rows: Vec<_> = rows.into_iter().map(moved).collect();
        rows.reverse();
        Self { heads, rows }
    }

    fn append(dir: &Path, name: &str, text: &str) {
        let file = OpenOptions::new().append(true).create(true).open(dir.join(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes what is to be written until then, each row at its time.
    fn write(&mut self, dir: &Path, until: f64) -> usize {
        let before = self.rows.len();
        while let Some((at, ..)) = self.rows.last()
            && *at <= until
        {
            sleep(Duration::from_secs_f64((at - now()).max(0.0)));
            let (_, name, row) = self.rows.pop().unwrap();
            if !dir.join(&name).exists() {
                Self::append(dir, &name, &self.heads[&name]);
            }
            Self::append(dir, &name, &row);
        }
        before - self.rows.len()
    }
}

struct Running(Child);

impl Running {
    fn begin(dir: &Path, name: &str, args: &[&str], says: &str) -> Self {
        let file = |end: &str| File::create(dir.join(format!("{name}.{end}"))).unwrap();
        let child = Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
            .args(["listen", "--json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        let (begun, err) = (Instant::now(), dir.join(format!("{name}.err")));
        while !std::fs::read_to_string(&err).unwrap().contains(says) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", std::fs::read_to_string(&err).unwrap());
            sleep(Duration::from_millis(20));
        }
        Self(child)
    }

    fn end(mut self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What follows logs, remembers and keeps.
fn keeping<'a>(current: &'a Path, state: &'a Path, store: &'a Path) -> [&'a str; 6] {
    let [current, state, store] = [current, state, store].map(|p| p.to_str().unwrap());
    ["--follow", current, "--state", state, "--store", store]
}

fn lines(dir: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(format!("{name}.out"))).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// What is believed of a host, and each piece of evidence with its value.
fn believed(lines: &[Value]) -> (Value, f64, Vec<(Value, Value, Value)>) {
    let of = host(lines, "10.20.0.13");
    let evidence = of["evidence"].as_array().unwrap().iter();
    let mut all: Vec<_> =
        evidence.map(|e| (e["behaviour"].clone(), e["key"].clone(), e["value"].clone())).collect();
    all.sort_by_key(|(behaviour, key, _)| (behaviour.to_string(), key.to_string()));
    (of["verdict"].clone(), of["level_db"].as_f64().unwrap(), all)
}

#[test]
fn logs_that_grow_are_told_as_logs_that_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (current, state, store) = (dir.join("current"), dir.join("state"), dir.join("store"));
    std::fs::create_dir(&current).unwrap();
    let mut zeek = Zeek::of(&["kraken-old.pcapng"], 230, 24.0);
    let begun = now();
    let earlier = zeek.write(&current, begun);
    let follow = ["--follow", current.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let kept = [&follow[..], &["--store", store.to_str().unwrap()]].concat();

    // What lies there is told first, and then what comes; a log is rotated as Zeek does it.
    let first = Running::begin(dir, "first", &kept, "listens to");
    let mut live = zeek.write(&current, begun + 5.0);
    std::fs::rename(current.join("smtp.log"), current.join("smtp-26-11-28_10.00.00.log")).unwrap();
    live += zeek.write(&current, begun + 9.0);
    first.end("TERM");
    let turns: Vec<Value> = lines(dir, "first").into_iter().filter(|l| l["type"] == "turn").collect();
    assert!(matches!(&turns[..], [one, ..] if one["story"]["host"] == "10.20.0.13"), "{} turns", turns.len());

    // While nobody follows, rows are written and a log is exchanged.
    live += zeek.write(&current, begun + 10.0);
    std::fs::rename(current.join("conn.log"), current.join("conn-26-11-28_10.00.00.log")).unwrap();
    live += zeek.write(&current, begun + 14.0);
    let second = Running::begin(dir, "second", &kept, "listens to");
    live += zeek.write(&current, begun + 18.0);
    second.end("KILL");
    live += zeek.write(&current, begun + 19.0);
    let third = Running::begin(dir, "third", &kept, "listens to");
    live += zeek.write(&current, f64::MAX);
    third.end("TERM");
    assert!(earlier > 200 && live > 8, "{earlier} rows lay there, {live} came");

    let whole = read_json(&[current.to_str().unwrap()]);
    let told = lines(dir, "third");
    assert_eq!(believed(&told), believed(&whole));
    // Nobody is told of twice.
    let again = |name: &str| lines(dir, name).iter().filter(|l| l["type"] == "turn").count();
    assert_eq!((again("second"), again("third")), (0, 0));
    // What is kept is all of it, once.
    assert_eq!(believed(&read_json(&[store.to_str().unwrap()])), believed(&whole));
}

#[test]
fn who_is_killed_again_and_again_tells_one_story() {
    const KILLS: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (current, state, store) = (dir.join("current"), dir.join("state"), dir.join("store"));
    std::fs::create_dir(&current).unwrap();
    // A day of an office, with a bot in it.
    let mut zeek = Zeek::of(&["office-day.pcapng.zst", "kraken-old.pcapng"], usize::MAX, -1.0);
    let rows = zeek.write(&current, f64::MAX);
    let args = keeping(&current, &state, &store);
    // From one that is killed at once to one that has read everything.
    let (mut turns, mut at) = (Vec::new(), 7u64);
    for n in 0..KILLS {
        let running = Running::begin(dir, "killed", &args, "");
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sleep(Duration::from_millis((at >> 33) % (100 + 100 * n)));
        // One is killed when it has just written down what is remembered: what was kept was on the disk before.
        while n == 0 && !state.exists() {
            sleep(Duration::from_millis(1));
        }
        running.end("KILL");
        let text = std::fs::read_to_string(dir.join("killed.out")).unwrap();
        turns.extend(
            text.lines().filter(|l| l.ends_with('}')).map(|l| serde_json::from_str::<Value>(l).unwrap()),
        );
    }
    let last = Running::begin(dir, "last", &args, "listens to");
    sleep(Duration::from_secs(5));
    last.end("TERM");
    let whole = read_json(&[current.to_str().unwrap()]);
    let told = lines(dir, "last");
    assert_eq!(believed(&told), believed(&whole), "{rows} rows");
    assert_eq!(believed(&read_json(&[store.to_str().unwrap()])), believed(&whole));
    turns.extend(told.into_iter().filter(|l| l["type"] == "turn"));
    let rose = turns.iter().filter(|t| t["story"]["host"] == "10.20.0.13" && t["before"] == "quiet").count();
    assert_eq!(rose, 1, "of {} turns", turns.len());
}

#[test]
fn days_that_end_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (current, spool) = (dir.join("current"), dir.join("spool"));
    std::fs::create_dir(&current).unwrap();
    let mut zeek = Zeek::of(&["kraken-old.pcapng"], 230, 3.0);
    // The day ends a little after all of it was told.
    let end = now() + 12.0;
    let of_day = end as u64 % 86_400;
    let daily = format!("--daily={:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    let sink = |name: &str, more: &str| {
        let to = dir.join(name).display().to_string();
        format!("[[sink]]\nname = \"{name}\"\nkind = \"file\"\npath = \"{to}\"\n{more}")
    };
    let sinks = format!("spool = {spool:?}\n{}{}", sink("every", "daily = true\n"), sink("turns", ""));
    std::fs::write(dir.join("tell.toml"), sinks).unwrap();
    let tell = dir.join("tell.toml").display().to_string();
    let control = dir.join("control").display().to_string();
    let args = [
        &daily,
        "--follow",
        current.to_str().unwrap(),
        "--tell",
        &tell,
        "--control",
        &control,
        "--prior",
        "1/101",
    ];
    let running = Running::begin(dir, "daily", &args, "listens to");
    zeek.write(&current, f64::MAX);
    // What comes is told five seconds later, and so is the end.
    sleep(Duration::from_secs_f64(end + 8.0 - now()));
    let page = dir.join("now.html").display().to_string();
    let (code, stand, err) = run(&["status", "--control", &control, "--stories", "--json", "--html", &page]);
    assert_eq!(code, Some(0), "{err}");
    let stand: Vec<Value> = stand.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((stand[0]["type"].as_str(), stand.len()), (Some("capture"), 2), "{stand:?}");
    assert_eq!(host(&stand, "10.20.0.13")["verdict"], "infected");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(
        page.contains("10.20.0.13") && !page.contains("No capture problems"),
        "what is not known is not promised"
    );
    assert_eq!(stand[0]["prior_db"], -20.0);
    let (_, screen, _) = run(&["status", "--control", &control, "--stories"]);
    assert!(screen.contains("10.20.0.13 is infected"), "{screen}");
    running.end("TERM");
    let told = lines(dir, "daily");
    let of = |kind: &str| told.iter().filter(|l| l["type"] == kind).collect::<Vec<_>>();
    let (days, turns) = (of("day"), of("turn"));
    let [day] = &days[..] else { panic!("{} days, {} turns", days.len(), turns.len()) };
    assert_eq!(
        (&day["hosts"]["infected"], &day["turns"]),
        (&Value::from(1), &Value::from(turns.len())),
        "{day}"
    );
    assert!(day["records"].as_u64() > Some(100), "{day}");
    let read = |name: &str| {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["type"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(read("every").iter().filter(|kind| **kind == "day").count(), days.len());
    assert!(read("turns").iter().all(|kind| kind == "turn"));
}

#[test]
fn all_files_are_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = |name: &str| dir.join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let said = |what: &str| {
        let begun = Instant::now();
        while !std::fs::read_to_string(dir.join("anew.err")).unwrap().contains(what) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{}",
                std::fs::read_to_string(dir.join("anew.err")).unwrap()
            );
            sleep(Duration::from_millis(20));
        }
    };
    let (current, files) = (dir.join("current"), dir.join("etc"));
    std::fs::create_dir(&current).unwrap();
    std::fs::create_dir(&files).unwrap();
    write("etc/config.toml", "[behaviour.spam_run]\nconnections = 1000000\nfirst_contacts = 1000000\n");
    write("etc/payoffs.toml", "[generated_names]\nexact_name = 0.0\n");
    write("etc/list.csv", "subscriber,address\nS-7,10.99.0.1\n");
    let (config, payoffs, list) = (path("etc/config.toml"), path("etc/payoffs.toml"), path("etc/list.csv"));
    let files =
        ["--config", &config, "--payoffs", &payoffs, "--subscribers", &list, "--home", "10.20.0.0/16"];
    let control = path("control");
    let following = ["--follow", current.to_str().unwrap(), "--control", &control];
    let running = Running::begin(dir, "anew", &[&following[..], &files[..]].concat(), "listens to");
    let hup = || {
        let id = running.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    };

    // One file that is wrong, and nothing of the others is used.
    write("etc/config.toml", "memory = \"512MiB\"\n");
    write("etc/payoffs.toml", "[generated_names]\nexact_names = 5.0\n");
    hup();
    said("nothing was read anew: ");
    // Whoever asks for it hears that, and it stands there.
    let status = |more: &str| {
        Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
            .args(["status", "--control", &control, more])
            .output()
            .unwrap()
    };
    let refused = status("--reload");
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(3) && why.contains("exact_names"), "{why}");
    let stands = String::from_utf8(status("--json").stdout).unwrap();
    assert!(stands.contains("\"reload\":\"nothing was read anew"), "{stands}");
    write("etc/payoffs.toml", "[generated_names]\nexact_name = 5.0\n");
    write("etc/list.csv", "subscriber,address\nS-7,10.20.0.13\n");
    hup();
    said("configuration, payoffs, expectations and lists were read anew");
    assert!(String::from_utf8(status("--json").stdout).unwrap().contains("\"troubles\":{}"));
    said("only a restart changes memory");

    Zeek::of(&["kraken-old.pcapng"], usize::MAX, -8.0).write(&current, f64::MAX);
    sleep(Duration::from_secs(6));
    running.end("TERM");
    let (told, whole) = (lines(dir, "anew"), read_json(&[&files[..], &[current.to_str().unwrap()]].concat()));
    let by_pseudonym = |lines: &[Value]| {
        let of =
            lines.iter().find(|l| l["type"] == "host" && l["host"].as_str().unwrap().starts_with("fd48:"));
        let of = of.expect("a subscriber");
        let kinds: std::collections::BTreeSet<String> =
            of["evidence"].as_array().unwrap().iter().map(|e| e["behaviour"].to_string()).collect();
        (of["host"].clone(), of["level_db"].clone(), kinds)
    };
    assert_eq!(by_pseudonym(&told), by_pseudonym(&whole));
    assert!(by_pseudonym(&told).2.contains("\"spam_run\""));
    let with_others = read_json(&[&files[..2], &files[4..], &[current.to_str().unwrap()]].concat());
    assert_ne!(by_pseudonym(&with_others).1, by_pseudonym(&whole).1);
}

/// So many flows of Zeek's, written when each is over or up to 20 seconds later, as sensors do that wait for what may still come.
#[test]
fn rows_that_are_late_are_kept_and_judged_once() {
    const HEAD: &str = "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\tresp_pkts\n";
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (current, state, store) = (dir.join("current"), dir.join("state"), dir.join("store"));
    std::fs::create_dir(&current).unwrap();
    let args = keeping(&current, &state, &store);
    let (mut written, mut flows) = (0u64, 0u64);
    let mut write = |rows: u64| {
        let mut text = if written == 0 { HEAD.to_owned() } else { String::new() };
        for _ in 0..rows {
            written += 1;
            let late = (written * 7919 % 20) as f64;
            text += &format!(
                "{:.6}\tC{written}\t10.20.0.9\t{}\t198.51.100.7\t443\ttcp\t-\t1.0\t10\t10\tSF\tShAdDaFf\t4\t4\n",
                now() - 1.0 - late,
                1024 + written % 60_000
            );
        }
        Zeek::append(&current, "conn.log", &text);
    };
    write(200);
    for (n, signal) in ["KILL", "TERM", "KILL", "KILL", "TERM"].into_iter().enumerate() {
        let running = Running::begin(dir, "late", &args, "listens to");
        for _ in 0..20 + 10 * n {
            write(2);
            sleep(Duration::from_millis(100));
        }
        running.end(signal);
        write(5);
        if signal == "TERM" {
            let told = lines(dir, "late");
            flows = host(&told, "10.20.0.9")["flows"].as_u64().unwrap();
        }
    }
    let last = Running::begin(dir, "late", &args, "listens to");
    sleep(Duration::from_secs(1));
    last.end("TERM");
    let judged = host(&lines(dir, "late"), "10.20.0.9")["flows"].as_u64().unwrap();
    let kept = host(&read_json(&[store.to_str().unwrap()]), "10.20.0.9")["flows"].as_u64().unwrap();
    assert_eq!((judged, kept), (written, written), "{flows} before the last");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (code, _, err) = run(&["listen", "--follow", &path("none")]);
    assert!(code == Some(3) && err.contains("cannot be opened"), "{code:?} {err}");
    std::fs::write(path("words.txt"), "some words\n").unwrap();
    let (code, _, err) = run(&["listen", "--follow", &path("words.txt")]);
    assert!(code == Some(3) && err.contains("no log of Zeek or Suricata"), "{code:?} {err}");
    let empty = Running::begin(dir.path(), "empty", &["--follow", dir.path().to_str().unwrap()], "no log in");
    empty.end("TERM");
}

#[test]
fn what_would_be_done_is_told_with_all_that_stands_in_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(
        path("eve.json"),
        r#"{"timestamp":"2026-11-28T10:00:00.000000+0000","event_type":"stats"}"#,
    )
    .unwrap();
    std::fs::write(
        path("tell.toml"),
        format!(
            "spool = {:?}\n[[sink]]\nname = \"ops\"\nkind = \"file\"\npath = {:?}\n",
            path("spool"),
            path("turned")
        ),
    )
    .unwrap();
    let good = [
        "check",
        "--follow",
        &path("eve.json"),
        "--state",
        &path("state"),
        "--tell",
        &path("tell.toml"),
        "--home",
        "192.0.2.0/24",
    ];
    let (code, out, err) = run(&good);
    assert_eq!(code, Some(0), "{out}{err}");
    for told in [
        "hosts of 192.0.2.0/24 by",
        "eve.json",
        "which it makes",
        "ops (from suspicious on)",
        "nothing stands in its way",
    ] {
        assert!(out.contains(told), "{told}: {out}");
    }
    assert!(!dir.path().join("state").exists() && !dir.path().join("spool").exists(), "nothing is made");
    // What is more than can be followed is told before it is lost.
    let many = dir.path().join("many");
    std::fs::create_dir(&many).unwrap();
    for n in 0..257 {
        std::fs::copy(path("eve.json"), many.join(format!("eve-{n}.json"))).unwrap();
    }
    let (code, out, _) = run(&["check", "--follow", many.to_str().unwrap(), "--home", "192.0.2.0/24"]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("only 256 logs are followed"), "{out}");
    std::fs::write(path("state"), "hydrophone state 1\n").unwrap();
    std::fs::write(path("tell.toml"), "spool = 7\n").unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = socket.local_addr().unwrap().to_string();
    let none = path("none");
    let bad = [
        &good[..],
        &["--netflow", &taken, "--follow", &none, "--metrics", "192.0.2.1:9477", "-i", "no-such0"],
    ]
    .concat();
    let (code, out, _) = run(&bad);
    assert_eq!(code, Some(2), "{out}");
    let (_, way) = out.split_once("what stands in its way:").unwrap();
    for problem in
        ["no-such0", "none: cannot be opened", "state of form 1", "tell.toml", &taken, "loopback alone"]
    {
        assert!(way.contains(problem), "{problem}: {way}");
    }
}

/// What Suricata says of a bot, line by line.
fn eve_of_a_bot() -> Vec<String> {
    let of = |n: u32, category: &str, signature: &str| {
        format!(
            r#"{{"timestamp":"2020-01-01T00:{:02}:00.000000+0000","flow_id":{n},"event_type":"alert","src_ip":"10.20.0.13","src_port":{},"dest_ip":"198.51.100.{n}","dest_port":80,"proto":"TCP","alert":{{"signature_id":{n},"signature":"{signature}","category":"{category}","severity":1}}}}"#,
            n,
            1000 + n
        )
    };
    vec![
        of(1, "A Network Trojan was detected", "ET MALWARE Example Checkin"),
        of(2, "Executable code was detected", "ET MALWARE Example Payload Request"),
        of(3, "Malware Command and Control Activity Detected", "ET MALWARE Example C2 Response"),
        of(4, "Detection of a Network Scan", "ET SCAN Example Outbound Scan"),
    ]
}

#[test]
fn eve_comes_by_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let lines = eve_of_a_bot();
    std::fs::write(dir.join("whole.json"), lines.join("\n") + "\n").unwrap();
    let whole = read_json(&[&path("whole.json")]);
    assert_ne!(believed(&whole).0, "quiet");
    let (socket, state) = (path("eve.sock"), path("state"));
    let args = |named: &str| {
        ["--eve-socket", named, "--eve-folder", &path("eve"), "--state", &state].map(ToOwned::to_owned)
    };
    let begin = |name: &str, named: &str| {
        let args = args(named);
        Running::begin(dir, name, &args.each_ref().map(String::as_str), "listens to")
    };
    let kept = |lines: usize| {
        let begun = Instant::now();
        while std::fs::read_to_string(dir.join("eve/hydrophone-eve.json")).unwrap().lines().count()
            < 1 + lines
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "{lines} lines");
            sleep(Duration::from_millis(10));
        }
    };
    // A stream, whose sender is cut off in the middle of a line; and nobody but owner and group may send.
    let first = begin("first", &socket);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    let mut sender = UnixStream::connect(&socket).unwrap();
    sender.write_all(format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..40]).as_bytes()).unwrap();
    drop(sender);
    kept(2);
    let said = || std::fs::read_to_string(dir.join("first.err")).unwrap();
    let begun = Instant::now();
    while !said().contains("the last line of EVE was cut off") {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", said());
        sleep(Duration::from_millis(10));
    }
    let (code, _, err) = run(&["check", "--eve-socket", &socket, "--eve-folder", &path("eve")]);
    assert_eq!((code, err.as_str()), (Some(2), ""));
    // It is killed: what was kept is not lost, and its socket is in nobody's way. Then datagrams.
    first.end("KILL");
    let second = begin("second", &format!("dgram:{socket}"));
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(&socket).unwrap();
    sender.send(format!("{}\n", lines[2]).as_bytes()).unwrap();
    sender.send(lines[3].as_bytes()).unwrap();
    kept(4);
    second.end("TERM");
    assert_eq!(believed(&self::lines(dir, "second")), believed(&whole));
    assert!(!Path::new(&socket).exists());
    // Something else that lies there stays.
    std::fs::write(&socket, "precious").unwrap();
    let (code, _, err) = run(&["listen", "--eve-socket", &socket, "--eve-folder", &path("eve")]);
    assert!(code == Some(2) && err.contains("--eve-socket"), "{err}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
    let (code, _, err) = run(&["listen", "--eve-socket", &socket]);
    assert!(code == Some(2) && err.contains("--eve-folder"), "{err}");
}

/// Waits until something is so.
#[test]
fn what_is_said_of_hosts_is_kept_and_a_console_shows_a_running_sensor() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let write = |lines: &[String]| {
        let mut log = OpenOptions::new().create(true).append(true).open(dir.join("eve.json")).unwrap();
        log.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    };
    let (log, state, control) = (path("eve.json"), path("state"), path("control"));
    let args = ["--follow", &log, "--state", &state, "--control", &control, "--prior", "1/11"];
    let triage = |what: &[&str]| run(&[&["triage", "--control", &control], what].concat());
    let status = || {
        let (_, told, _) = run(&["status", "--control", &control, "--json"]);
        serde_json::from_str::<Value>(&told).unwrap_or_default()
    };
    let turns = |name: &str| {
        let lines = self::lines(dir, name);
        lines.into_iter().filter(|l| l["type"] == "turn").collect::<Vec<_>>()
    };
    write(&eve_of_a_bot()[..2]);
    let first = Running::begin(dir, "first", &args, "listens to");
    until("it is told of", || status()["turns"] == 1);
    let (code, _, err) = triage(&["10.20.0.99", "closed", "--who", "Ada"]);
    assert!(code == Some(3) && err.contains("10.20.0.99"), "{err}");
    let (code, said, err) = triage(&["10.20.0.13", "closed", "--who", "Ada", "--note", "installed\nanew"]);
    assert_eq!((code, said.as_str()), (Some(0), "10.20.0.13 is closed\n"), "{err}");
    let (_, all, _) = triage(&[]);
    assert!(all.starts_with("10.20.0.13  closed by Ada, 20") && all.lines().count() == 1, "{all}");
    first.end("TERM");
    assert_eq!(turns("first").len(), 1);

    // What was said is there when it goes on.
    let second = Running::begin(dir, "second", &args, "listens to");
    until("it answers", || status()["version"].is_string());
    assert_eq!(triage(&[]).1, all);
    assert_eq!(triage(&["10.20.0.13", "open", "--who", "Ada"]).0, Some(0));

    // A console shows it, says how the sensor goes, and has what is said of it kept.
    let (mut serve, url) = common::serve(&["--port", "0", "--control", &control]);
    let (at, token) = url.trim_start_matches("http://").split_once("/?token=").unwrap();
    let ask = |method: &str, target: &str, body: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {at}\r\norigin: http://{at}\r\ncookie: hydrophone={token}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let answer = |method: &str, target: &str, body: &str| {
        let mut text = String::new();
        ask(method, target, body).read_to_string(&mut text).unwrap();
        text
    };
    let board = answer("GET", "/", "");
    assert!(
        board.contains("10.20.0.13") && board.contains("id=\"goes\"") && board.contains(">open<"),
        "{board}"
    );
    assert!(!board.contains("/table/flow"), "a running sensor shows no flows");
    assert!(answer("GET", "/table/flow", "").contains("409"));
    let mut events = std::io::BufReader::new(ask("GET", "/events", ""));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "no event came");
    }
    assert!(line.contains(" records") && line.contains("suspicious 1"), "{line}");
    let said = answer("POST", "/host/10.20.0.13/triage", "state=known&who=Bob&note=");
    assert!(said.starts_with("HTTP/1.1 303"), "{said}");
    assert!(answer("GET", "/host/10.20.0.13", "").contains("<strong>known</strong> by Bob"));
    // It ends though somebody listens.
    assert!(Command::new("kill").arg(serve.0.id().to_string()).status().unwrap().success());
    assert_eq!(serve.0.wait().unwrap().code(), Some(0));
    second.end("TERM");
    // Without a state nothing can be kept.
    let third = Running::begin(dir, "third", &[&args[..2], &args[4..]].concat(), "listens to");
    until("it is told of", || status()["turns"].as_u64() >= Some(1));
    let (code, _, err) = triage(&["10.20.0.13", "known", "--who", "Ada"]);
    assert!(code == Some(3) && err.contains("--state"), "{err}");
    drop(third);
}
