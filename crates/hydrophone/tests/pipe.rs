//! `listen --pipe`: what is told of a capture that somebody writes while it goes on is what `read` tells of the file.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Real pipes have real time.

mod common;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::{read_json, sample, until};
use serde_json::Value;

const HOME: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16";

fn listener(more: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"));
    command.args(["listen", "--json", "--home", HOME]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a listener tells at its end of what is written to its standard input in pieces, its exit code, and what it said.
fn of_standard_input(pieces: &[&[u8]], more: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let mut child = listener(&[&["--pipe", "-"], more].concat()).stdin(Stdio::piped()).spawn().unwrap();
    let mut writer = child.stdin.take().unwrap();
    let (out, code, said) = std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in pieces {
                // Whose reader is gone writes no more.
                let _ = writer.write_all(piece).and_then(|()| writer.flush());
                sleep(Duration::from_millis(30));
            }
        });
        let out = child.wait_with_output().unwrap();
        (out.stdout, out.status.code(), String::from_utf8(out.stderr).unwrap())
    });
    let lines = String::from_utf8(out).unwrap();
    let lines = lines.lines().map(|l| serde_json::from_str(l).unwrap());
    (lines.filter(|l: &Value| l["type"] != "turn").collect(), code, said)
}

/// Hosts as they are judged; which step of a piece of evidence was told when depends on when a batch ended.
fn hosts(lines: &[Value]) -> Vec<Value> {
    let of = |l: &Value| serde_json::json!([l["host"], l["verdict"], l["level_db"], l["flows"], l["roles"]]);
    lines.iter().filter(|l| l["type"] == "host").map(of).collect()
}

fn same_as_read(told: &[Value], file: &Path) {
    let read = read_json(&["--home", HOME, file.to_str().unwrap()]);
    for key in ["packets", "bytes", "first", "last", "flows", "accounts", "cut_packets", "backward_jumps"] {
        assert_eq!(told[0][key], read[0][key], "{key}");
    }
    assert_eq!(hosts(told), hosts(&read));
}

/// A named pipe, and a listener at it.
struct Named {
    dir: tempfile::TempDir,
    child: Child,
    errors: ChildStderr,
    said: String,
}

impl Named {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut child = listener(&["--pipe", pipe.to_str().unwrap()]).spawn().unwrap();
        let errors = child.stderr.take().unwrap();
        let mut named = Self { dir, child, errors, said: String::new() };
        named.says("listens to");
        named
    }

    fn pipe(&self) -> PathBuf {
        self.dir.path().join("pipe")
    }

    /// Waits until it says so.
    fn says(&mut self, what: &str) {
        let mut byte = [0];
        while !self.said.contains(what) {
            assert!(self.errors.read(&mut byte).unwrap() > 0, "{what:?} is not said: {}", self.said);
            self.said.push(char::from(byte[0]));
        }
        self.said.clear();
    }

    fn write(&self, bytes: &[u8]) {
        OpenOptions::new().write(true).open(self.pipe()).unwrap().write_all(bytes).unwrap();
    }

    fn end(mut self) -> (Vec<Value>, Option<i32>) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let lines = out.lines().map(|l| serde_json::from_str(l).unwrap());
        (lines.filter(|l: &Value| l["type"] != "turn").collect(), self.child.wait().unwrap().code())
    }
}

#[test]
fn standard_input_is_told_as_the_file_is_and_ends_it() {
    let file = sample("kraken-blocked.pcapng");
    let bytes = std::fs::read(&file).unwrap();
    // Cut anywhere, as pipes do.
    let pieces: Vec<&[u8]> = bytes.chunks(bytes.len() / 7 + 1).collect();
    let (told, code, said) = of_standard_input(&pieces, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("listens to standard input"), "{said}");
    same_as_read(&told, &file);
    // As somebody packs it who sends it over a slow line.
    let packed = zstd::encode_all(&bytes[..], 1).unwrap();
    let (told, code, said) = of_standard_input(&[&packed], &[]);
    assert_eq!(code, Some(0), "{said}");
    same_as_read(&told, &file);
}

#[test]
fn what_is_no_capture_or_ends_within_a_packet_is_said() {
    let bytes = std::fs::read(sample("kraken-blocked.pcapng")).unwrap();
    let (told, code, said) = of_standard_input(&[&bytes[..bytes.len() - 30]], &[]);
    assert_eq!(code, Some(3));
    assert!(said.contains("everything before it was read"), "{said}");
    assert!(told[0]["packets"].as_u64().unwrap() > 100 && told[0]["complete"] == false, "{}", told[0]);
    for (bytes, says) in
        [(&b""[..], "is empty"), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "is neither a capture")]
    {
        let (_, code, said) = of_standard_input(&[bytes], &[]);
        assert!(code == Some(3) && said.contains(says), "{code:?} {said}");
    }
    let file = sample("kraken-blocked.pcapng").display().to_string();
    for (args, says) in [
        (&["--pipe", &*file][..], "is no pipe"),
        (&["--pipe", "-", "--pipe", "-"], "named twice"),
        (&["--pipe", "-", "-f", "udp"], "filtered by who writes to it"),
    ] {
        let out = listener(args).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(!out.status.success() && said.contains(says), "{said}");
    }
}

#[test]
fn a_named_pipe_has_one_writer_after_another() {
    let bytes = std::fs::read(sample("kraken-blocked.pcapng")).unwrap();
    let other = std::fs::read(sample("clean-monitor.pcapng")).unwrap();
    let packets = |name: &str| read_json(&[sample(name).to_str().unwrap()])[0]["packets"].as_u64().unwrap();
    let mut named = Named::new();
    named.write(&bytes);
    named.says("the next is waited for");
    named.write(&other);
    named.says("the next is waited for");
    let (told, code) = named.end();
    assert_eq!(code, Some(0));
    assert_eq!(told[0]["packets"], packets("kraken-blocked.pcapng") + packets("clean-monitor.pcapng"));
    assert_eq!(told[0]["complete"], true);

    // Nonsense is one writer's, and said; what comes behind it is nobody's beginning.
    let mut named = Named::new();
    let nonsense = [&b"nonsense, and then what looks like a capture: "[..], &bytes].concat();
    named.write(&nonsense);
    named.says("were not read");
    named.write(&other);
    named.says("the next is waited for");
    let (told, code) = named.end();
    assert_eq!(code, Some(3));
    assert_eq!(
        (&told[0]["packets"], &told[0]["complete"]),
        (&packets("clean-monitor.pcapng").into(), &false.into())
    );
}

#[test]
fn silence_is_told_by_how_long_it_lasts_and_an_end_takes_what_is_under_way() {
    let mut named = Named::new();
    let bytes = std::fs::read(sample("kraken-blocked.pcapng")).unwrap();
    let mut writer = OpenOptions::new().write(true).open(named.pipe()).unwrap();
    writer.write_all(&bytes).unwrap();
    // A capture of years ago: the time now is not its.
    sleep(Duration::from_secs(3));
    let late = std::thread::spawn(move || {
        sleep(Duration::from_millis(50));
        // The same again, as a writer flushes what it has when it is ended.
        writer.write_all(&bytes).unwrap();
    });
    Command::new("kill").arg(named.child.id().to_string()).status().unwrap();
    late.join().unwrap();
    let mut out = String::new();
    named.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let told: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let capture = told.iter().find(|l| l["type"] == "capture").unwrap();
    let read = read_json(&[sample("kraken-blocked.pcapng").to_str().unwrap()]);
    assert_eq!(capture["packets"], 2 * read[0]["packets"].as_u64().unwrap());
    assert_eq!(capture["last"], read[0]["last"]);
    assert_eq!(named.child.wait().unwrap().code(), Some(0));
}

#[test]
fn nobody_waits_for_who_reads_what_is_said() {
    let mut child = listener(&["--pipe", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut writer = child.stdin.take().unwrap();
    writer.write_all(&std::fs::read(sample("kraken-blocked.pcapng")).unwrap()).unwrap();
    // Far more than a pipe holds; standard error is not read.
    for n in 0..4_000 {
        Command::new("kill").args(["-USR1", &child.id().to_string()]).status().unwrap();
        if n % 100 == 0 {
            sleep(Duration::from_millis(60));
        }
    }
    drop(writer);
    let begun = std::time::Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it waits for who reads standard error");
        sleep(Duration::from_millis(50));
    };
    assert_eq!(ended.code(), Some(0));
}

/// A listener at two named pipes, with more, and where it answers.
fn two(dir: &Path, more: &[&str]) -> (Child, Vec<PathBuf>, String) {
    let pipes: Vec<PathBuf> = ["one", "two"].iter().map(|name| dir.join(name)).collect();
    let control = dir.join("control").display().to_string();
    let mut args = vec!["--control", &control];
    for pipe in &pipes {
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        args.extend(["--pipe", pipe.to_str().unwrap()]);
    }
    args.extend(more);
    let mut command = listener(&args);
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    (child, pipes, control)
}

fn status(control: &str, more: &str) -> std::process::Output {
    Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
        .args(["status", "--control", control, more])
        .output()
        .unwrap()
}

#[test]
fn a_pipe_that_is_silent_or_of_another_time_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, pipes, control) = two(dir.path(), &[]);
    let told = || serde_json::from_slice::<Value>(&status(&control, "--json").stdout).unwrap_or_default();
    until("nobody is said to write", || told()["troubles"].as_object().is_some_and(|t| t.len() == 2));
    // An old capture through one, and nothing through the other.
    std::fs::write(&pipes[0], std::fs::read(sample("kraken-blocked.pcapng")).unwrap()).unwrap();
    let packets = read_json(&[sample("kraken-blocked.pcapng").to_str().unwrap()])[0]["packets"].clone();
    until("it waits for the other", || told()["packets"] == packets);
    // Whoever writes no more is waited for as long as there is room, and not a second and a half for every 2 MiB.
    let mut writer = OpenOptions::new().write(true).open(&pipes[1]).unwrap();
    writer.write_all(&std::fs::read(sample("kraken-blocked.pcapng")).unwrap()).unwrap();
    let much = std::fs::read(sample("clean-bittorrent-vpn.pcapng")).unwrap();
    let in_it =
        read_json(&[sample("clean-bittorrent-vpn.pcapng").to_str().unwrap()])[0]["packets"].as_u64().unwrap();
    let times = (60 << 20) / much.len() as u64;
    let mut to = OpenOptions::new().write(true).open(&pipes[0]).unwrap();
    let write = std::thread::spawn(move || (0..times).for_each(|_| to.write_all(&much).unwrap()));
    let all = 2 * packets.as_u64().unwrap() + times * in_it;
    until("it waits for who writes no more", || told()["packets"] == all);
    write.join().unwrap();
    drop(writer);
    // One that is there before the last one's end was seen would go on with what that wrote.
    until("its writer is not gone", || told()["troubles"].as_object().is_some_and(|t| t.len() == 2));
    // What is no capture is said while its writer goes on.
    let mut writer = OpenOptions::new().write(true).open(&pipes[1]).unwrap();
    writer.write_all(b"this is no capture, and more of it comes").unwrap();
    until("nonsense is not said", || {
        told()["troubles"]["interface ".to_owned() + pipes[1].to_str().unwrap()]
            .as_str()
            .is_some_and(|what| what.starts_with("what comes is not read"))
    });
    drop(writer);
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn beside_logs_a_pipe_stops_no_clock_and_a_pipe_that_is_over_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("eve.json");
    std::fs::write(&log, "").unwrap();
    let (mut child, pipes, control) = two(dir.path(), &["--follow", log.to_str().unwrap(), "--pipe", "-"]);
    until("it does not answer", || dir.path().join("control").exists());
    // Nobody writes to any, and still it does what is asked.
    let reload = status(&control, "--reload");
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    drop(pipes);
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // Standard input is over: it waits, and does not spin.
    let before = ticks();
    sleep(Duration::from_secs(2));
    let used = ticks() - before;
    assert!(used < 60, "{used} hundredths of a second of 200");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
}
