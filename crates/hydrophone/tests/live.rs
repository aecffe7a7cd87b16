//! `listen` in network namespaces that the test makes itself: what it tells of a replay is what `read` tells of the file that tcpdump writes beside it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::unnecessary_debug_formatting)] // Real interfaces have real time; TOML quotes as Rust does.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{host, sample, skipped};
use serde_json::Value;

/// Two interfaces that lead to each other, `va` and `vb`, in a namespace of their own: nothing leaves it.
struct Net {
    name: String,
    dir: tempfile::TempDir,
}

impl Net {
    /// None where the machine does not let us: that is told.
    fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        for tool in ["ip", "tcpdump", "tcpreplay"] {
            if Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_err()
            {
                skipped(&format!("no {tool}"));
                return None;
            }
        }
        let name = format!("hydrophone-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        if !made.status.success() {
            skipped(&format!("no network namespace: {}", String::from_utf8_lossy(&made.stderr).trim()));
            return None;
        }
        let net = Self { name, dir: tempfile::tempdir().unwrap() };
        // Nothing of the machine's own speaks.
        net.run(
            "sysctl",
            &["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
        );
        net.pair("va", "vb");
        Some(net)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(args).env_remove("NO_COLOR");
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let out = self.command(program, args).output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }

    fn pair(&self, a: &str, b: &str) {
        self.run("ip", &["link", "add", "name", a, "type", "veth", "peer", "name", b]);
        for name in [a, b] {
            self.run("ip", &["link", "set", name, "mtu", "9000", "up"]);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Begins a program whose words go to files, and waits until it has said something.
    fn begin(&self, name: &str, program: &str, args: &[&str], says: &str) -> Running {
        let file = |end: &str| std::fs::File::create(self.path(&format!("{name}.{end}"))).unwrap();
        let child = self.command(program, args).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        let running = Running { child, name: name.to_owned() };
        self.wait(&format!("{name}.err"), says);
        running
    }

    fn listen(&self, interfaces: &[&str], more: &[&str]) -> Running {
        let mut args = vec!["listen", "--json"];
        for interface in interfaces {
            args.extend(["-i", interface]);
        }
        args.extend(more);
        let program = assert_cmd::cargo::cargo_bin!("hydrophone");
        self.begin("listen", program.to_str().unwrap(), &args, "listens to")
    }

    /// tcpdump, which writes what it sees at an interface.
    fn dump(&self, interface: &str) -> Running {
        let file = self.path("seen.pcap").display().to_string();
        let nano = "--time-stamp-precision=nano";
        self.begin(
            "tcpdump",
            "tcpdump",
            &["-i", interface, nano, "-B", "65536", "-U", "-w", &file],
            "listening on",
        )
    }

    fn replay(&self, interface: &str, speed: &str, file: &Path, more: &[&str]) {
        let mut args = vec!["-q", "-i", interface, speed];
        args.extend(more);
        args.push(file.to_str().unwrap());
        self.run("tcpreplay", &args);
    }

    /// Waits until a file holds some words.
    fn wait(&self, file: &str, says: &str) {
        let begun = Instant::now();
        while !self.text(file).contains(says) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{file} does not say {says:?}: {}",
                self.text(file)
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends a listener, and gives its lines: who turned, then the end.
    fn end(&self, running: Running) -> (Vec<Value>, Vec<Value>) {
        running.end("TERM");
        let lines: Vec<Value> =
            self.text("listen.out").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        lines.into_iter().partition(|l| l["type"] == "turn")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// `ip netns exec` becomes the program, so that its number is the program's.
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn end(mut self, signal: &str) {
        self.signal(signal);
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{} ended with {ended}", self.name);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What tcpdump wrote, when it has written all that it saw.
fn dumped(net: &Net, dump: Running) -> PathBuf {
    // It is told of packets when the kernel's buffer is full, or after a second.
    sleep(Duration::from_millis(1500));
    dump.end("INT");
    let said = net.text("tcpdump.err");
    assert!(said.contains("0 packets dropped by kernel"), "{said}");
    net.path("seen.pcap")
}

/// A host without what moves by the microseconds that lie between the stamps of two sockets.
fn told(host: &Value) -> Value {
    // Each piece as it stood at the end: in which steps it grew depends on whose clock stamped the packets around a tick, and two programs that listen stamp
    // them some microseconds apart.
    let whole = |n: usize, e: &Value, all: &[Value]| {
        let same = |l: &Value, keys: &[&str]| keys.iter().all(|k| l[k] == e[k]);
        // What is about stages alone has no packets, and begins anew with each.
        let is_of_stages = e["packets"].as_array().is_none_or(Vec::is_empty);
        let later =
            |l: &Value| same(l, &["behaviour", "key"]) && (is_of_stages || l["started"] == e["started"]);
        !all[n + 1..].iter().any(later)
    };
    let all = host["evidence"].as_array().unwrap();
    let evidence: Vec<Value> = all
        .iter()
        .enumerate()
        .filter(|(n, e)| whole(*n, e, all))
        .map(|(_, e)| serde_json::json!([e["behaviour"], e["remotes"], e["packets"], e["db"]]))
        .collect();
    let profile: Vec<&Value> = ["agents", "uses", "offers", "ja4"]
        .iter()
        .flat_map(|k| host["profile"][k].as_array().into_iter().flatten())
        .map(|w| w.get("value").unwrap_or(&w["bytes"]))
        .collect();
    serde_json::json!({
        "host": host["host"], "verdict": host["verdict"], "level": host["level_db"], "flows": host["flows"],
        "evidence": evidence, "profile": profile, "roles": host["roles"].as_array().map(Vec::len),
    })
}

const HOME: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16";

/// Makes sure that the end of a listener says what `read` says of a capture.
fn same_as_read(listened: &[Value], capture: &Path) {
    let read = common::read_json(&["--home", HOME, capture.to_str().unwrap()]);
    assert_eq!(listened.len(), read.len());
    assert_eq!(listened[0]["packets"], read[0]["packets"]);
    assert_eq!(listened[0]["bytes"], read[0]["bytes"]);
    assert_eq!(listened[0]["flows"], read[0]["flows"]);
    assert_eq!(listened[0]["accounts"], read[0]["accounts"]);
    for (ours, theirs) in listened.iter().zip(&read).skip(1) {
        assert_eq!(told(ours), told(theirs));
    }
}

#[test]
fn a_replay_is_told_as_its_capture_is() {
    let Some(net) = Net::new() else { return };
    let dump = net.dump("vb");
    let listener = net.listen(&["vb"], &["--home", HOME]);
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &[]);
    let capture = dumped(&net, dump);
    let (turns, end) = net.end(listener);
    same_as_read(&end, &capture);
    assert_eq!(end[0]["dropped_by_capture"], 0);
    assert_eq!(end[0]["inputs"][0]["path"], "vb");
    // It was told when it rose, and nobody else was.
    assert!(!turns.is_empty() && turns.iter().all(|t| t["story"]["host"] == "10.20.0.13"), "{turns:?}");
    let last = turns.last().unwrap();
    assert_eq!(
        (&turns[0]["before"], &last["story"]["verdict"]),
        (&"quiet".into(), &host(&end, "10.20.0.13")["verdict"])
    );
}

#[test]
fn what_tcpdump_writes_to_a_pipe_is_told_as_its_file_is() {
    let Some(net) = Net::new() else { return };
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let (seen, out) =
        (net.path("seen.pcap").display().to_string(), net.path("listen.out").display().to_string());
    let line = format!(
        "tcpdump -i vb --time-stamp-precision=nano -B 65536 -U -w - | tee {seen} | {program} listen --json --home {HOME} --pipe - > {out}"
    );
    let mut piped = net.begin("pipe", "sh", &["-c", &line], "listening on");
    net.wait("pipe.err", "listens to standard input");
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &[]);
    // A bot is told of while it goes on.
    net.wait("listen.out", "\"infected\"");
    sleep(Duration::from_millis(1500));
    net.run("pkill", &["-INT", "-f", "tcpdump -i vb --time-stamp-precision=nano -B 65536 -U -w -$"]);
    assert!(piped.child.wait().unwrap().success(), "{}", net.text("pipe.err"));
    let lines = net.text("listen.out");
    let lines = lines.lines().map(|l| serde_json::from_str(l).unwrap());
    let (turns, end): (Vec<Value>, Vec<Value>) = lines.partition(|l: &Value| l["type"] == "turn");
    assert!(!turns.is_empty());
    same_as_read(&end, Path::new(&seen));
}

#[test]
fn at_its_true_speed_a_sample_is_told_while_it_lasts() {
    let Some(net) = Net::new() else { return };
    let dump = net.dump("vb");
    let listener = net.listen(&["vb"], &["--home", HOME]);
    // Its beginning.
    net.replay("va", "--multiplier=1", &sample("kraken-new.pcapng"), &["--limit=45"]);
    let capture = dumped(&net, dump);
    let (_, end) = net.end(listener);
    same_as_read(&end, &capture);
}

#[test]
fn as_fast_as_it_goes_every_packet_is_seen_or_said_to_be_lost() {
    let Some(net) = Net::new() else { return };
    let office = net.path("office.pcapng");
    let packed = std::fs::read(sample("office-day.pcapng.zst")).unwrap();
    std::fs::write(&office, zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let packets = common::read_json(&[office.to_str().unwrap()])[0]["packets"].as_u64().unwrap();
    for ring in ["256MiB", "1MiB"] {
        let listener = net.listen(&["vb"], &["--home", HOME, "--ring", ring]);
        net.replay("va", "--topspeed", &office, &["--loop=3", "--preload-pcap"]);
        let (_, end) = net.end(listener);
        let (seen, dropped) = (&end[0]["packets"], &end[0]["dropped_by_capture"]);
        let sum = seen.as_u64().unwrap() + dropped.as_u64().unwrap();
        assert_eq!(sum, 3 * packets, "a ring of {ring}: {seen} seen, {dropped} dropped");
        if ring == "256MiB" {
            assert_eq!(dropped.as_u64(), Some(0));
        }
    }
}

#[test]
fn what_is_too_much_is_left_out_by_rule() {
    let Some(net) = Net::new() else { return };
    let socket = net.path("control").display().to_string();
    let more = ["--home", HOME, "--ring", "16MiB", "--threads", "1", "--control", &socket];
    let listener = net.listen(&["vb"], &more);
    // It is held up, as on a machine that has too much to do.
    listener.signal("STOP");
    let long = sample("clean-bittorrent-vpn.pcapng");
    let packets = common::read_json(&[long.to_str().unwrap()])[0]["packets"].as_u64().unwrap();
    net.replay("va", "--topspeed", &long, &["--loop=40", "--preload-pcap"]);
    listener.signal("CONT");
    net.wait("listen.err", "all packets are followed again");
    // And then as everything is.
    net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
    sleep(Duration::from_secs(2));
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let status = net.run(&program, &["status", "--json", "--control", &socket]).stdout;
    let status: Value = serde_json::from_slice(&status).unwrap();
    let (_, end) = net.end(listener);
    let capture = &end[0];
    let shed: u64 = capture["accounts"]["unread"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|u| u["kind"] == "shed")
        .map(|u| u["packets"].as_u64().unwrap())
        .sum();
    assert!(shed > 0 && status["shed"] == shed, "{shed} left out, {} told", status["shed"]);
    let blocked = common::read_json(&[sample("kraken-blocked.pcapng").to_str().unwrap()]);
    let sent = 40 * packets + blocked[0]["packets"].as_u64().unwrap();
    let (seen, dropped) = (&capture["packets"], &capture["dropped_by_capture"]);
    assert_eq!(seen.as_u64().unwrap() + dropped.as_u64().unwrap(), sent, "{seen} seen, {dropped} dropped");
    assert_eq!(host(&end, testkit::BOT)["verdict"], host(&blocked, testkit::BOT)["verdict"]);
    let said = net.text("listen.err");
    assert!(said.contains("of long flows their first 64 KiB are"), "{said}");
}

#[test]
fn tags_are_seen_and_filters_are_kept_to() {
    let Some(net) = Net::new() else { return };
    let tagged = net.path("tagged.pcap").display().to_string();
    let from = sample("kraken-blocked.pcapng").display().to_string();
    let add = ["--enet-vlan=add", "--enet-vlan-tag=12", "--enet-vlan-cfi=0", "--enet-vlan-pri=0"];
    net.run("tcprewrite", &[&add[..], &["--infile", &from, "--outfile", &tagged]].concat());
    let dump = net.dump("vb");
    let listener = net.listen(&["vb"], &["--home", HOME, "--separate-segments"]);
    net.replay("va", "--multiplier=60", Path::new(&tagged), &[]);
    let capture = dumped(&net, dump);
    let (turns, end) = net.end(listener);
    assert!(end[1..].iter().all(|h| h["segment"] == "vlan12"), "{}", end[1]["segment"]);
    assert!(turns.iter().all(|t| t["story"]["segment"] == "vlan12"));
    let read = common::read_json(&["--home", HOME, "--separate-segments", capture.to_str().unwrap()]);
    assert_eq!(
        end.iter().skip(1).map(told).collect::<Vec<_>>(),
        read.iter().skip(1).map(told).collect::<Vec<_>>()
    );

    let program = net.run("tcpdump", &["-ddd", "-y", "EN10MB", "udp port 53"]).stdout;
    let file = net.path("dns.bpf");
    std::fs::write(&file, program).unwrap();
    let dns = |lines: &[Value]| {
        let flows = &lines[0]["flows"];
        assert!(flows["udp"].as_u64().unwrap() > 0 && flows["tcp"] == 0, "{flows}");
        lines[0]["packets"].as_u64().unwrap()
    };
    let mut heard = Vec::new();
    for filter in [["--bpf-file", file.to_str().unwrap()], ["--filter", "udp port 53"]] {
        let listener = net.listen(&["vb"], &[&["--home", HOME], &filter[..]].concat());
        net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
        heard.push(dns(&net.end(listener).1));
    }
    assert_eq!(heard[0], heard[1]);
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let wrong = net.command(&program, &["listen", "-i", "vb", "-f", "udp prt 53"]).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("cannot be compiled"), "{said}");
    let wrong = net.command(&program, &["listen", "-i", "vx"]).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(3) && said.contains("vx: there is no such interface"), "{said}");
}

#[test]
fn two_interfaces_are_put_in_one_order() {
    let Some(net) = Net::new() else { return };
    net.pair("vc", "vd");
    let (there, back, both) =
        (net.path("there.pcap"), net.path("back.pcap"), sample("kraken-blocked.pcapng"));
    // A tap gives each direction on a line of its own.
    let part = |filter: &str, to: &Path| {
        net.run("tcpdump", &["-r", both.to_str().unwrap(), "-w", to.to_str().unwrap(), filter]);
    };
    part("src net 10.0.0.0/8", &there);
    part("not src net 10.0.0.0/8", &back);
    let listener = net.listen(&["vb", "vd"], &["--home", HOME]);
    let (a, b) = (net.name.clone(), net.name.clone());
    let play = |net: String, interface: &'static str, file: PathBuf| {
        std::thread::spawn(move || {
            let exec = ["netns", "exec", &net, "tcpreplay", "-q", "-i", interface, "--multiplier=30"];
            assert!(Command::new("ip").args(exec).arg(file).output().unwrap().status.success());
        })
    };
    for player in [play(a, "va", there), play(b, "vc", back)] {
        player.join().unwrap();
    }
    let (turns, end) = net.end(listener);
    let whole = common::read_json(&["--home", HOME, both.to_str().unwrap()]);
    assert_eq!(end[0]["packets"], whole[0]["packets"]);
    assert_eq!(end[0]["backward_jumps"], 0);
    assert_eq!(end[0]["inputs"].as_array().map(Vec::len), Some(2));
    // Each half alone tells of connections that nobody answers.
    assert_eq!(end[0]["one_sided_tcp_flows"], whole[0]["one_sided_tcp_flows"]);
    assert!(turns.iter().all(|t| t["story"]["host"] == whole[1]["host"]));
}

#[test]
fn an_interface_goes_down_comes_up_and_is_made_anew() {
    let Some(net) = Net::new() else { return };
    let listener = net.listen(&["vb"], &["--home", HOME]);
    let play = || net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
    let packets = common::read_sample("kraken-blocked.pcapng")[0]["packets"].as_u64().unwrap();
    play();
    net.run("ip", &["link", "set", "vb", "down"]);
    sleep(Duration::from_millis(300));
    net.run("ip", &["link", "set", "vb", "up"]);
    play();
    net.run("ip", &["link", "del", "vb"]);
    sleep(Duration::from_millis(300));
    net.pair("va", "vb");
    // It is looked for once a second.
    sleep(Duration::from_millis(1500));
    play();
    net.run("ip", &["link", "set", "vb", "name", "vz"]);
    play();
    let (_, end) = net.end(listener);
    let notices = end[0]["notices"].to_string();
    assert!(notices.contains("vb stopped") && notices.contains("vb was made anew"), "{notices}");
    assert_eq!(end[0]["packets"], 4 * packets, "{notices}");
    assert!(notices.contains("vb is heard again"), "{notices}");
}

#[test]
fn what_is_not_heard_stands_there_as_long_as_it_is_so() {
    let Some(net) = Net::new() else { return };
    let socket = net.path("control").display().to_string();
    let listener = net.listen(&["vb"], &["--home", HOME, "--control", &socket]);
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let troubles = || -> Value {
        let out = net.run(&program, &["status", "--json", "--control", &socket]).stdout;
        serde_json::from_slice::<Value>(&out).unwrap()["troubles"].clone()
    };
    net.run("ip", &["link", "set", "vb", "down"]);
    net.wait("listen.err", "vb stopped");
    sleep(Duration::from_millis(300));
    assert!(
        troubles()["interface vb"].as_str().unwrap().starts_with("stopped (Network is down"),
        "{}",
        troubles()
    );
    // It is up again, and silent.
    net.run("ip", &["link", "set", "vb", "up"]);
    net.wait("listen.err", "vb is heard again");
    sleep(Duration::from_millis(300));
    assert_eq!(troubles(), serde_json::json!({}));
    net.end(listener);

    // What somebody else has there stays.
    let notes = net.path("notes");
    std::fs::write(&notes, "precious").unwrap();
    let wrong = net
        .command(&program, &["listen", "-i", "vb", "--control", notes.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("something else lies there"), "{said}");
    assert_eq!(std::fs::read(&notes).unwrap(), b"precious");
}

#[test]
fn datagrams_that_find_no_room_are_counted() {
    let Some(net) = Net::new() else { return };
    net.run("ip", &["link", "set", "lo", "up"]);
    let listener = net.listen(&[], &["--netflow", "127.0.0.1:2055", "--home", HOME]);
    listener.signal("STOP");
    let send = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor n in range(20000): s.sendto(b'x' * 1400, ('127.0.0.1', 2055))";
    net.run("python3", &["-c", send]);
    listener.signal("CONT");
    sleep(Duration::from_secs(3));
    let (_, end) = net.end(listener);
    let (seen, dropped) =
        (end[0]["packets"].as_u64().unwrap(), end[0]["dropped_by_capture"].as_u64().unwrap());
    assert!(dropped > 0, "{seen} of 20000 found room");
    assert_eq!(seen + dropped, 20_000);
}

#[test]
fn what_the_process_of_the_sinks_did_not_take_is_told_by_the_next_one() {
    let Some(net) = Net::new() else { return };
    let (config, turned) = (net.path("tell.toml"), net.path("turned.jsonl"));
    let spool = net.path("spool");
    let sinks = format!("spool = {spool:?}\n[[sink]]\nname = \"a\"\nkind = \"file\"\npath = {turned:?}\n");
    std::fs::write(&config, sinks).unwrap();
    let more = ["--home", HOME, "--tell", config.to_str().unwrap()];
    let listener = net.listen(&["vb"], &more);
    // It hangs, is handed a turn, and is killed.
    let of = net.run("pgrep", &["-P", &listener.child.id().to_string()]).stdout;
    let of = String::from_utf8(of).unwrap().trim().to_owned();
    net.run("kill", &["-STOP", &of]);
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &["--limit=700"]);
    net.wait("listen.out", "\"infected\"");
    net.run("kill", &["-KILL", &of]);
    net.wait("listen.err", "the process of the sinks is gone");
    let (turns, _) = net.end(listener);
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    assert!(!turns.is_empty() && lines(&turned) == 0);
    assert_eq!(lines(&spool.join("untold")), turns.len());
    let again = net.listen(&["vb"], &more);
    net.end(again);
    assert_eq!(lines(&turned), turns.len());
    assert!(!spool.join("untold").exists());

    // Both are killed at once.
    let mut both = net.listen(&["vb"], &more);
    let of = net.run("pgrep", &["-P", &both.child.id().to_string()]).stdout;
    let of = String::from_utf8(of).unwrap().trim().to_owned();
    net.run("kill", &["-STOP", &of]);
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &["--limit=700"]);
    net.wait("listen.out", "\"infected\"");
    net.run("kill", &["-KILL", &of, &both.child.id().to_string()]);
    both.child.wait().unwrap();
    let again = net.listen(&["vb"], &more);
    net.end(again);
    assert!(lines(&turned) > turns.len(), "{} lines", lines(&turned));
}

#[test]
fn a_real_program_is_seen_while_it_works() {
    let Some(net) = Net::new() else { return };
    for tool in ["curl", "python3"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skipped(&format!("no {tool}"));
        }
    }
    // A server at the other end of the line, in a namespace of its own.
    let Some(far) = Net::new() else { return };
    far.run("ip", &["link", "del", "va"]);
    net.run("ip", &["link", "set", "vb", "netns", &far.name]);
    net.run("ip", &["addr", "add", "10.9.0.2/24", "dev", "va"]);
    far.run("ip", &["addr", "add", "10.9.0.1/24", "dev", "vb"]);
    far.run("ip", &["link", "set", "vb", "up"]);
    std::fs::write(far.path("index.html"), "<html>hello</html>").unwrap();
    let dir = far.dir.path().display().to_string();
    let server = ["-u", "-m", "http.server", "8000", "--bind", "10.9.0.1", "--directory", &dir];
    let _server = {
        let file = |end: &str| std::fs::File::create(far.path(&format!("server.{end}"))).unwrap();
        let child = far.command("python3", &server).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        far.wait("server.out", "Serving HTTP");
        Running { child, name: "server".to_owned() }
    };
    let listener = net.listen(&["va"], &["--home", "10.9.0.2"]);
    let page = net.run("curl", &["-s", "http://10.9.0.1:8000/index.html"]).stdout;
    assert_eq!(page, b"<html>hello</html>");
    let (turns, end) = net.end(listener);
    assert!(turns.is_empty(), "{turns:?}");
    let client = host(&end, "10.9.0.2");
    assert!(
        client["profile"]["agents"][0]["value"].as_str().unwrap().starts_with("curl/"),
        "{}",
        client["profile"]
    );
    assert!(client["profile"]["uses"].to_string().contains("http"), "{}", client["profile"]["uses"]);
}

#[test]
fn who_is_killed_goes_on_where_it_stopped() {
    let Some(net) = Net::new() else { return };
    let (state, store) = (net.path("state").display().to_string(), net.path("store").display().to_string());
    let begin = || net.listen(&["vb"], &["--home", HOME, "--state", &state, "--store", &store]);
    let mut listener = begin();
    let name = net.name.clone();
    // Half a minute.
    let player = std::thread::spawn(move || {
        let exec = ["netns", "exec", &name, "tcpreplay", "-q", "-i", "va", "--multiplier=60"];
        assert!(
            Command::new("ip").args(exec).arg(sample("kraken-new.pcapng")).output().unwrap().status.success()
        );
    });
    let mut turns = Vec::new();
    let told = |net: &Net| -> Vec<Value> {
        net.text("listen.out").lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    for after in [13_000, 11_500] {
        sleep(Duration::from_millis(after));
        listener.signal("KILL");
        assert!(!listener.child.wait().unwrap().success());
        turns.extend(told(&net));
        listener = begin();
    }
    player.join().unwrap();
    let (last, end) = net.end(listener);
    turns.extend(last);
    let bot = host(&end, "10.20.0.13");
    assert_eq!(bot["verdict"], "infected");
    // What was heard before the first kill, hours of it ago in the bot's life, still stands.
    for stage in ["probe", "rendezvous", "command", "act"] {
        assert_ne!(bot["stages"][stage]["items"].as_array().map(Vec::len), Some(0), "{stage}");
    }
    let told: Vec<[&Value; 3]> =
        turns.iter().map(|t| [&t["at"], &t["before"], &t["story"]["verdict"]]).collect();
    let rises = turns.iter().filter(|t| t["before"] == "quiet").count();
    assert_eq!(rises, 1, "it is told once, however often who tells is killed: {told:?}");
    assert!(end[0]["notices"].to_string().contains("nothing was heard between"), "{}", end[0]["notices"]);
    let kept = common::read_json(&["--home", HOME, &store]);
    assert_eq!(host(&kept, "10.20.0.13")["verdict"], "infected");
}

#[test]
fn who_listens_gives_its_rights_up() {
    let (code, said, _) = common::run(&["selftest", "--sandbox"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().filter(|l| l.starts_with("ok")).count(), 7, "{said}");
    let Some(net) = Net::new() else { return };
    // A user who may write in one folder, and into no other.
    let dir = net.path("var");
    std::fs::create_dir(&dir).unwrap();
    net.run("chmod", &["755", net.dir.path().to_str().unwrap()]);
    net.run("chown", &["nobody", dir.to_str().unwrap()]);
    let (state, store) = (dir.join("state").display().to_string(), dir.join("store").display().to_string());
    let listener =
        net.listen(&["vb"], &["--home", HOME, "--user", "nobody", "--state", &state, "--store", &store]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", listener.child.id())).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(field("Uid:").split_whitespace().all(|id| id == "65534"), "{status}");
    assert_eq!(
        (field("CapEff:").as_str(), field("CapPrm:").as_str()),
        ("0000000000000000", "0000000000000000")
    );
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
    let (_, end) = net.end(listener);
    assert_eq!(end[0]["packets"], common::read_sample("kraken-blocked.pcapng")[0]["packets"]);
    let kept = common::read_json(&["--home", HOME, &store]);
    assert_eq!(kept.len(), end.len());
    assert!(std::fs::metadata(&state).unwrap().len() > 0);
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let wrong = net.command(&program, &["listen", "-i", "vb", "--user", "no-such-user"]).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("there is no such user"), "{said}");
}

#[test]
fn what_is_expected_is_read_anew_and_statistics_are_told() {
    let Some(net) = Net::new() else { return };
    let expect = net.path("expect.toml");
    let expectation = r#"
[[expect]]
name = "a test of bots"
who = ["10.20.0.13"]
behaviours = []
why = "a test"
owner = "the laboratory"
until = "2099-01-01"
"#;
    std::fs::write(&expect, "").unwrap();
    let listener = net.listen(&["vb"], &["--home", HOME, "--expect", expect.to_str().unwrap()]);
    // An editor's way: a new file in the place of the old one.
    let fresh = net.path("expect.new");
    std::fs::write(&fresh, expectation).unwrap();
    std::fs::rename(&fresh, &expect).unwrap();
    listener.signal("HUP");
    net.wait("listen.err", "were read anew");
    net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
    listener.signal("USR1");
    net.wait("listen.err", "found no room in the ring");
    std::fs::write(&expect, "nonsense = 2\n").unwrap();
    listener.signal("HUP");
    net.wait("listen.err", "nothing was read anew");
    let (turns, end) = net.end(listener);
    assert!(turns.is_empty(), "what is expected is told of nobody");
    let bot = host(&end, "10.20.0.13");
    assert!(bot["suppressed"].as_array().is_some_and(|s| !s.is_empty()), "{}", bot["verdict"]);
}

#[test]
fn sinks_are_told_and_a_manager_hears_that_it_lives() {
    let Some(net) = Net::new() else { return };
    let (config, turned) = (net.path("tell.toml"), net.path("turned.jsonl"));
    let sinks = format!(
        "spool = {:?}\n[[sink]]\nname = \"a\"\nkind = \"file\"\npath = {turned:?}\n",
        net.path("spool")
    );
    std::fs::write(&config, sinks).unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(net.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // As a manager does, it reads what it is told at once.
    let heard = std::thread::spawn(move || {
        let (mut words, mut word) = (Vec::new(), [0; 4096]);
        while words.last().is_none_or(|w| w != "STOPPING=1") {
            let n = manager.recv(&mut word).unwrap();
            words.push(String::from_utf8_lossy(&word[..n]).into_owned());
        }
        words
    });
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let notify = format!("NOTIFY_SOCKET={}", net.path("notify").display());
    let listen = ["listen", "-i", "vb", "--json", "--home", HOME, "--tell", config.to_str().unwrap()];
    let args = [&[&notify, "WATCHDOG_USEC=900000", &program][..], &listen[..]].concat();
    let listener = net.begin("listen", "env", &args, "listens to");
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &["--limit=700"]);
    let (turns, _) = net.end(listener);
    let told: Vec<Value> =
        std::fs::read_to_string(&turned).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(!turns.is_empty());
    assert_eq!(told, turns);
    let words = heard.join().unwrap();
    assert!(words.contains(&"READY=1".to_owned()), "{words:?}");
    assert!(words.iter().filter(|w| *w == "WATCHDOG=1").count() > 5, "{words:?}");
    assert!(words.iter().any(|w| w.starts_with("STATUS=")), "{words:?}");
}

#[test]
fn who_asks_hears_how_it_goes() {
    let Some(net) = Net::new() else { return };
    net.run("ip", &["link", "set", "lo", "up"]);
    let socket = net.path("control").display().to_string();
    let more = ["--home", HOME, "--control", &socket, "--metrics", "127.0.0.1:9477"];
    let listener = net.listen(&["vb"], &more);
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &["--limit=700"]);
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let status = |more: &[&str]| {
        let out = net.run(&program, &[&["status", "--control", &socket], more].concat());
        String::from_utf8(out.stdout).unwrap()
    };
    // What came last is handed out by the kernel within a tenth of a second, and time goes on after one.
    sleep(Duration::from_millis(1500));
    let told: Value = serde_json::from_str(&status(&["--json"])).unwrap();
    assert_eq!((&told["packets"], &told["dropped"]), (&700.into(), &0.into()), "{told}");
    assert_eq!(told["hosts"]["infected"], 1, "{told}");
    assert!(told["lag_s"].as_f64().unwrap() < 5.0 && told["resident"].as_u64().unwrap() > 1 << 20, "{told}");
    assert!(told["records"].as_u64().unwrap() > 10 && told["hosts_bytes"].as_u64().unwrap() > 0, "{told}");
    let screen = status(&[]);
    assert!(screen.contains("1 infected; ") && screen.contains("listens to vb since "), "{screen}");
    let page = net.run("curl", &["-s", "http://127.0.0.1:9477/metrics"]).stdout;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("\nhydrophone_packets_total 700\n"), "{page}");
    assert!(page.contains("\nhydrophone_hosts{verdict=\"infected\"} 1\n"), "{page}");
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("hydrophone_") && value.parse::<f64>().is_ok(), "{line}");
    }
    // A page whose name was made to lead here is told nothing.
    let other = [
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "Host: evil.example",
        "http://127.0.0.1:9477/metrics",
    ];
    assert_eq!(net.run("curl", &other).stdout, b"403");
    assert!(status(&["--reload"]).contains("\"done\":\"reload\""));
    assert!(net.text("listen.err").contains("were read anew"), "{}", net.text("listen.err"));
    net.end(listener);
    assert!(!Path::new(&socket).exists());
    let gone = net.command(&program, &["status", "--control", &socket]).output().unwrap();
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(gone.status.code() == Some(3) && said.contains("nobody answers at "), "{said}");
    let wrong =
        net.command(&program, &["listen", "-i", "vb", "--metrics", "10.0.0.1:9477"]).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("on loopback alone"), "{said}");
}

#[test]
fn what_an_exporter_sends_is_heard() {
    let Some(net) = Net::new() else { return };
    if Command::new("softflowd").arg("-h").output().is_err() {
        return skipped("no softflowd");
    }
    net.run("ip", &["link", "set", "lo", "up"]);
    // Somebody takes it, so that nobody answers that nobody does.
    let sink = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 2055)); print('takes', file=sys.stderr, flush=True)\nwhile True: s.recv(65535)";
    let taker = net.begin("taker", "python3", &["-c", sink], "takes");
    let dump = net.dump("lo");
    let listener = net.listen(&["lo"], &["--home", HOME]);
    let from = sample("kraken-old.pcapng").display().to_string();
    let pid = net.path("pid").display().to_string();
    let exporter = ["-a", "-d", "-c", "none", "-r", &from, "-v", "9", "-n", "127.0.0.1:2055", "-p", &pid];
    net.run("softflowd", &exporter);
    let capture = dumped(&net, dump);
    let (turns, end) = net.end(listener);
    drop(taker);
    same_as_read(&end, &capture);
    assert!(turns.iter().any(|t| t["story"]["host"] == "10.20.0.13"), "{turns:?}");
}

#[test]
fn exporters_may_send_to_it() {
    let Some(net) = Net::new() else { return };
    if Command::new("softflowd").arg("-h").output().is_err() {
        return skipped("no softflowd");
    }
    net.run("ip", &["link", "set", "lo", "up"]);
    let dump = net.dump("lo");
    let listener = net.listen(&[], &["--netflow", "127.0.0.1:2055", "--home", HOME]);
    let from = sample("kraken-old.pcapng").display().to_string();
    let pid = net.path("pid").display().to_string();
    let exporter = ["-a", "-d", "-c", "none", "-r", &from, "-v", "10", "-n", "127.0.0.1:2055", "-p", &pid];
    net.run("softflowd", &exporter);
    let capture = dumped(&net, dump);
    let (turns, end) = net.end(listener);
    // A socket does not tell of the frames in which datagrams came.
    let read = common::read_json(&["--home", HOME, capture.to_str().unwrap()]);
    assert_eq!(end[0]["packets"], read[0]["packets"]);
    assert_eq!(told(host(&end, "10.20.0.13")), told(host(&read, "10.20.0.13")));
    assert!(turns.iter().any(|t| t["story"]["host"] == "10.20.0.13"), "{} turns", turns.len());
}

#[test]
fn packets_that_are_kept_show_what_was_told() {
    let Some(net) = Net::new() else { return };
    let (folder, socket) =
        (net.path("packets").display().to_string(), net.path("control").display().to_string());
    let more = ["--home", HOME, "--keep-packets", &folder, "--keep-flow", "0", "--control", &socket];
    let listener = net.listen(&["vb"], &more);
    net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
    sleep(Duration::from_secs(3));
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let status = String::from_utf8(net.run(&program, &["status", "--control", &socket]).stdout).unwrap();
    assert!(
        status.contains("kept ") && status.contains(&folder) && !status.contains("not kept;"),
        "{status}"
    );
    let (_, end) = net.end(listener);
    let bot = host(&end, testkit::BOT);
    // The same story, from the folder alone; and the packets that prove it.
    let again = common::read_json(&["--home", HOME, &folder]);
    assert_eq!(again[0]["packets"], end[0]["packets"]);
    assert_eq!(told(host(&again, testkit::BOT)), told(bot));
    let carved = net.path("carved.pcapng").display().to_string();
    let (code, _, err) = common::run(&["carve", &folder, testkit::BOT, "-w", &carved]);
    assert!(code == Some(0) && std::fs::metadata(&carved).unwrap().len() > 1_000, "{code:?} {err}");
    // Of the time before nothing is there.
    let (code, out, _) = common::run(&["read", &folder, "--until", "2020-01-01", "--json", "-q"]);
    assert!(out.contains("were passed over") && !out.contains(r#""type":"host""#), "{code:?}");
}

#[test]
fn what_cannot_be_told_or_written_costs_nothing_else() {
    let Some(net) = Net::new() else { return };
    let (config, turned, spool) = (net.path("tell.toml"), net.path("turned.jsonl"), net.path("spool"));
    let sinks = format!("spool = {spool:?}\n[[sink]]\nname = \"a\"\nkind = \"file\"\npath = {turned:?}\n");
    std::fs::write(&config, sinks).unwrap();
    let held = net.path("held");
    std::fs::create_dir(&held).unwrap();
    let (state, store) = (held.join("state").display().to_string(), net.path("store").display().to_string());
    let more = ["--home", HOME, "--tell", config.to_str().unwrap(), "--state", &state, "--store", &store];
    let mut listener = net.listen(&["vb"], &more);
    // The process of the sinks hears what is asked of the sensor, and dies.
    let sinks = net.run("pgrep", &["-P", &listener.child.id().to_string()]).stdout;
    let sinks = String::from_utf8(sinks).unwrap().trim().to_owned();
    net.run("kill", &["-HUP", &sinks]);
    net.run("kill", &["-USR1", &sinks]);
    sleep(Duration::from_millis(300));
    assert!(!net.text("listen.err").contains("is gone"), "{}", net.text("listen.err"));
    net.run("kill", &["-KILL", &sinks]);
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &["--limit=700"]);
    net.wait("listen.err", "the process of the sinks is gone");
    // Where the state lay there is nothing any more.
    std::fs::remove_dir_all(&held).unwrap();
    listener.signal("TERM");
    assert_eq!(listener.child.wait().unwrap().code(), Some(3));
    let said = net.text("listen.err");
    assert!(said.contains("cannot write ") && said.contains("state"), "{said}");
    let lines: Vec<Value> =
        net.text("listen.out").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let turns: Vec<&Value> = lines.iter().filter(|l| l["type"] == "turn").collect();
    // The report is there, the store is whole, and who was not told is told by the next.
    assert_eq!(host(&lines, "10.20.0.13")["verdict"], "infected");
    assert_eq!(host(&common::read_json(&["--home", HOME, &store]), "10.20.0.13")["verdict"], "infected");
    let program = assert_cmd::cargo::cargo_bin!("hydrophone").display().to_string();
    let mut next = net.command(&program, &["tell", config.to_str().unwrap()]);
    assert!(next.stdin(Stdio::null()).status().unwrap().success());
    let told = std::fs::read_to_string(&turned).unwrap();
    assert!(!turns.is_empty());
    assert_eq!(told.lines().count(), turns.len());
    // Sinks that cannot be told are no beginning.
    std::fs::write(
        &config,
        format!("spool = {turned:?}\n[[sink]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\n"),
    )
    .unwrap();
    let wrong =
        net.command(&program, &["listen", "-i", "vb", "--tell", config.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("cannot be told"), "{said}");
    let err = net.path("full.err");
    let words = format!("exec {program} listen -i vb --home {HOME} >/dev/full 2>{}", err.display());
    let mut full = net.command("sh", &["-c", &words]).spawn().unwrap();
    net.wait("full.err", "listens to");
    net.replay("va", "--multiplier=60", &sample("kraken-new.pcapng"), &["--limit=300"]);
    assert_eq!(full.wait().unwrap().code(), Some(3), "it does not go on where nobody is told");
}

#[test]
fn where_nobody_is_at_home_it_says_so_at_once() {
    let Some(net) = Net::new() else { return };
    let listener = net.listen(&["vb"], &["--home", "192.0.2.0/24"]);
    let office = net.path("office.pcapng");
    let packed = std::fs::read(sample("office-day.pcapng.zst")).unwrap();
    std::fs::write(&office, zstd::decode_all(&packed[..]).unwrap()).unwrap();
    net.replay("va", "--pps=4000", &office, &["--limit=20000"]);
    net.wait("listen.err", "name your networks by --home");
    net.end(listener);
}

#[test]
fn who_is_ended_and_begun_again_counts_nothing_twice() {
    let Some(net) = Net::new() else { return };
    let (state, store) = (net.path("state").display().to_string(), net.path("store").display().to_string());
    let begin = || net.listen(&["vb"], &["--home", HOME, "--state", &state, "--store", &store]);
    let listener = begin();
    net.replay("va", "--multiplier=60", &sample("kraken-blocked.pcapng"), &[]);
    // What is open ends by the clock of the machine, after the last packet.
    sleep(Duration::from_millis(2500));
    let (_, first) = net.end(listener);
    let (_, again) = net.end(begin());
    let told = |lines: &[Value]| -> Vec<Value> { lines.iter().skip(1).map(told).collect() };
    assert_eq!(told(&again), told(&first));
}
