//! Real captures: everything is read, counted as `capinfos` and `tshark` count, and nobody clean is called infected.
//! Without the corpus (`HYDROPHONE_CORPUS` or `../shared/corpus`) or without the tools these tests say "skipped".

#![allow(clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use capture::Source;
use testkit::evaluate::{Labelled, analyse, corpus, manifest};
use verdict::Verdict;

/// Says something to whoever runs the tests with `--nocapture`.
macro_rules! note {
    ($($arg:tt)*) => {
        eprintln!($($arg)*)
    };
}

fn captures() -> Option<(PathBuf, Vec<Labelled>)> {
    let Some(dir) = corpus() else {
        note!("skipped: no corpus of real captures");
        return None;
    };
    let all = manifest(&dir).expect("a manifest").into_iter().filter(|l| l.kind != "zeek-log").collect();
    Some((dir, all))
}

fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        note!("skipped: no {tool}");
    }
    found
}

#[test]
fn every_file_is_read_and_no_clean_capture_says_infected() {
    let Some((dir, all)) = captures() else { return };
    let mut read = 0;
    for of in &all {
        let outcome =
            analyse(Source::Path(dir.join(&of.file)), 1).unwrap_or_else(|e| panic!("{}: {e}", of.file));
        read += u64::from(outcome.health.packets > 0);
        if of.kind == "clean" {
            for story in &outcome.stories {
                assert!(story.verdict < Verdict::Infected, "{}: {} is called infected", of.file, story.host);
            }
        }
    }
    note!("{read} of {} captures hold packets", all.len());
    assert!(read > 800 || all.len() < 800);
}

#[test]
fn every_file_is_read_with_every_97th_byte_changed() {
    let Some((dir, all)) = captures() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    let mut packets = 0;
    for of in &all {
        let mut bytes = std::fs::read(dir.join(&of.file)).expect("a file");
        bytes.iter_mut().step_by(97).skip(1).for_each(|b| *b ^= 0xff);
        std::fs::write(&copy, bytes).expect("written");
        let mut options = options(&copy);
        options.memory = pipeline::ByteSize(64 << 20);
        let outcome = pipeline::run(&options, |_| ()).unwrap_or_else(|e| panic!("{}: {e}", of.file));
        packets += outcome.health.packets;
    }
    note!("{packets} packets of damaged captures");
    assert!(packets > 1000 || all.len() < 800);
}

/// Where `capinfos` counts otherwise: it believes a length of 524,501 bytes in a file of 239 bytes.
const COUNTED_OTHERWISE: &[&str] = &["parse/nDPI__fuzz-2021-10-13.pcap"];

#[test]
fn packets_and_bytes_are_those_of_capinfos() {
    let Some((dir, all)) = captures() else { return };
    if !have("capinfos") {
        return;
    }
    let mut theirs: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for some in all.chunks(100) {
        let paths = some.iter().map(|l| dir.join(&l.file));
        let out = Command::new("capinfos")
            .args(["-c", "-d", "-M", "-T", "-m", "-r"])
            .args(paths)
            .output()
            .expect("capinfos runs");
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let mut fields = line.split(',').map(|f| f.trim_matches('"'));
            if let (Some(path), Some(packets), Some(bytes)) = (fields.next(), fields.next(), fields.next()) {
                let parsed = (packets.parse().unwrap_or(0), bytes.parse().unwrap_or(0));
                theirs.insert(path.to_owned(), parsed);
            }
        }
    }
    let mut compared = 0;
    for of in all.iter().filter(|l| !COUNTED_OTHERWISE.contains(&l.file.as_str())) {
        let path = dir.join(&of.file);
        let Some(want) = theirs.get(&path.display().to_string()) else { continue };
        let outcome = analyse(Source::Path(path), 1).unwrap_or_else(|e| panic!("{}: {e}", of.file));
        assert_eq!((outcome.health.packets, outcome.health.bytes), *want, "{}", of.file);
        compared += 1;
    }
    note!("{compared} captures count as capinfos counts");
    assert!(compared > 800 || all.len() < 800);
}

/// Where tshark's streams are others than our flows, and why.
///
/// *late*: packets more than five seconds after the connection ended (retransmitted FINs, RSTs and keep-alives) are a
/// flow of their own here, because a connection that ended has been told; tshark keeps a stream for ever. *idle*: after
/// 30 minutes of silence a connection is told and what follows is picked up mid-stream. *fragments*: packets inside
/// fragments that tshark puts together and we refuse, or the other way round. *signalled*: tshark begins another stream
/// where SDP or HART-IP announced one between the same ends. *quoted*: the filter that keeps tshark from counting quoted
/// headers of ICMP also drops packets whose payload (a flow sample, a Teredo packet) has ICMP inside.
const STREAMS_DIFFER: &[(&str, &str)] = &[
    ("bots/PCAPs__cgminer.g0.pcap", "late"),
    ("bots/PracticalPacketAnalysis__ppa-capture-files__evilprogram.pcap", "late"),
    ("bots/hancitor_2021_January_e688ebdab6916fc89610c89ccb94ce16.pcap", "late"),
    ("bots/kelihos.pcap", "late"),
    ("bots/tesla.pcap", "late"),
    ("bots/tijcont.pcap", "late"),
    ("bots/transparent_tribe_2021_June_78a3e4702d9fc13b2ef917211cd65b44.pcap", "late"),
    ("clean/nDPI__bt-http.pcapng", "late"),
    ("clean/nDPI__ip_fragmented_garbage.pcap", "fragments"),
    ("clean/nDPI__rtsp.pcap", "late"),
    ("clean/nDPI__vnc.pcap", "late"),
    ("clean/nDPI__FAX-Call-t38-CA-TDM-SIP-FB-1.pcap", "signalled"),
    ("clean/nDPI__hart_ip.pcap", "signalled"),
    ("clean/nDPI__sflow.pcap", "quoted"),
    ("clean/nDPI__teredo.pcap", "quoted"),
];

/// Flows and bytes of one transport.
#[derive(Debug, Default, PartialEq, Eq)]
struct Volume {
    flows: usize,
    bytes: u64,
}

/// tshark's streams; `None` where a packet has two layers of the same transport.
fn streams(path: &Path) -> Option<[Volume; 2]> {
    let out = Command::new("tshark")
        .arg("-r")
        .arg(path)
        // An ICMP error quotes the packet that it is about; tshark would count it to that packet's stream.
        .args([
            "-Y",
            "!icmp && !icmpv6",
            "-T",
            "fields",
            "-e",
            "tcp.stream",
            "-e",
            "udp.stream",
            "-e",
            "frame.len",
        ])
        .output()
        .expect("tshark runs");
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    let mut volumes = [Volume::default(), Volume::default()];
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [tcp, udp, len] = fields[..] else { continue };
        if tcp.contains(',') || udp.contains(',') || (!tcp.is_empty() && !udp.is_empty()) {
            return None;
        }
        for (i, stream) in [tcp, udp].into_iter().enumerate().filter(|(_, s)| !s.is_empty()) {
            seen[i].insert(stream.to_owned());
            volumes[i].bytes += len.parse::<u64>().unwrap_or(0);
        }
    }
    for (volume, seen) in volumes.iter_mut().zip(seen) {
        volume.flows = seen.len();
    }
    Some(volumes)
}

fn options(path: &Path) -> pipeline::RunOptions {
    pipeline::RunOptions::of(vec![Source::Path(path.to_owned())])
}

/// Our flows; UDP flows of the same ends are one conversation, as in tshark, which knows no timeout.
fn flows(path: &Path) -> [Volume; 2] {
    use record::{ConnPhase, Record, Transport};
    let options = options(path);
    let mut volumes = [Volume::default(), Volume::default()];
    let mut udp = BTreeSet::new();
    let take = |_, record: &Record| {
        let Record::Conn(c) = record else { return };
        if c.phase != ConnPhase::Closed {
            return;
        }
        let bytes: u64 = c.frame_bytes.iter().sum();
        match c.tuple.transport {
            Transport::Tcp => {
                volumes[0].flows += 1;
                volumes[0].bytes += bytes;
            }
            Transport::Udp => {
                let (a, b) = (c.tuple.orig, c.tuple.resp);
                volumes[1].flows += usize::from(udp.insert((a.min(b), a.max(b))));
                volumes[1].bytes += bytes;
            }
            _ => {}
        }
    };
    pipeline::sense(&options, |_| (), take).expect("it reads");
    volumes
}

#[test]
fn flows_and_volumes_are_those_of_tshark() {
    let Some((dir, all)) = captures() else { return };
    if !have("tshark") {
        return;
    }
    let listed =
        all.iter().filter(|l| l.kind != "parse" && !STREAMS_DIFFER.iter().any(|(f, _)| *f == l.file));
    let (mut compared, mut differ) = (0, Vec::new());
    for of in listed {
        let path = dir.join(&of.file);
        let Some(want) = streams(&path) else { continue };
        let got = flows(&path);
        if want[0] != got[0] || want[1] != got[1] {
            differ.push(format!("{}: tshark {want:?}, ours {got:?}", of.file));
        }
        compared += 1;
    }
    note!("{compared} captures have tshark's flows and volumes");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(compared > 250 || all.len() < 800);
}
