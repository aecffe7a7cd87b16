//! Real captures: everything is read, counted as `capinfos` and `tshark` count, and nobody clean is called infected.
//! Without the corpus (`HYDROPHONE_CORPUS` or `../shared/corpus`) or without the tools these tests say "skipped".

#![allow(clippy::print_stderr)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
        common::skipped("no corpus of real captures");
        return None;
    };
    let all = manifest(&dir)
        .expect("a manifest")
        .into_iter()
        .filter(|l| !matches!(l.kind.as_str(), "zeek-log" | "eve"))
        .collect();
    Some((dir, all))
}

fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        common::skipped(&format!("no {tool}"));
    }
    found
}

/// What people read of a capture that would lead them to a remote with a click: its address or name as it is, or a URL.
fn leads_somewhere(stories: &[verdict::HostStory]) -> Option<String> {
    let capture = report::CaptureLine::default();
    let told: Vec<verdict::HostStory> =
        stories.iter().filter(|s| s.verdict >= Verdict::Suspicious).cloned().collect();
    let words = [
        report::terminal(&capture, &told, report::Detail::Each, true, None),
        report::html::html(&capture, &told),
        report::markdown(&capture, &told, true),
    ];
    let is_free =
        |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '[' | '/' | '='));
    let stands = |text: &str, value: &str| {
        text.match_indices(value).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let mut after = text[at + value.len()..].chars();
            let (next, behind) = (after.next(), after.next());
            let goes_on = next == Some('.') && behind.is_some_and(char::is_alphanumeric);
            is_free(before) && before != Some('.') && (is_free(next) || next == Some('/')) && !goes_on
        })
    };
    for story in &told {
        let named = report::indicators(story).into_iter().map(|i| i.value);
        let met = story.profile.remotes.iter().flat_map(|r| [Some(r.address.to_string()), r.name.clone()]);
        for value in named.chain(met.flatten()) {
            // Who lives here may be named: private addresses lead nobody anywhere.
            if value.parse().is_ok_and(|ip| !record::leads_somewhere(ip)) || !value.contains('.') {
                continue;
            }
            if let Some(n) = words.iter().position(|text| stands(text, &value)) {
                return Some(format!("{}: {value} in {}", story.host, ["terminal", "page", "Markdown"][n]));
            }
        }
    }
    words.iter().any(|t| t.contains("http://") || t.contains("https://")).then(|| "a URL".to_owned())
}

/// What reading a capture gave.
struct Read {
    packets: u64,
    bytes: u64,
    infected: Option<std::net::IpAddr>,
    /// What leads somewhere with a click.
    live: Option<String>,
}

/// Every capture, read once for all tests that ask.
fn all_read(dir: &Path, all: &[Labelled]) -> &'static [Read] {
    static READ: OnceLock<Vec<Read>> = OnceLock::new();
    READ.get_or_init(|| {
        common::of_each(all, |of| {
            let outcome =
                analyse(Source::Path(dir.join(&of.file)), 1).unwrap_or_else(|e| panic!("{}: {e}", of.file));
            let infected = outcome.stories.iter().find(|s| s.verdict >= Verdict::Infected).map(|s| s.host);
            let (packets, bytes) = (outcome.health.packets, outcome.health.bytes);
            Read { packets, bytes, infected, live: leads_somewhere(&outcome.stories) }
        })
    })
}

#[test]
fn every_file_is_read_and_no_clean_capture_says_infected() {
    let Some((dir, all)) = captures() else { return };
    let read = all_read(&dir, &all);
    let both = || all.iter().zip(read);
    let infected = both().filter(|(of, _)| of.kind == "clean");
    let infected: Vec<_> = infected.filter_map(|(of, r)| Some((&of.file, r.infected?))).collect();
    assert!(infected.is_empty(), "called infected: {infected:#?}");
    let lives: Vec<_> = both().filter_map(|(of, r)| Some((&of.file, r.live.as_ref()?))).collect();
    assert!(lives.is_empty(), "{lives:#?}");
    let read = read.iter().filter(|r| r.packets > 0).count();
    note!("{read} of {} captures hold packets", all.len());
    assert!(read > 800 || all.len() < 800);
}

#[test]
fn every_file_is_read_with_every_97th_byte_changed() {
    let Some((dir, all)) = captures() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let packets = common::of_each(&all, |of| {
        let copy = folder.path().join(of.file.replace('/', "_"));
        let mut bytes = std::fs::read(dir.join(&of.file)).expect("a file");
        bytes.iter_mut().step_by(97).skip(1).for_each(|b| *b ^= 0xff);
        std::fs::write(&copy, bytes).expect("written");
        let mut options = options(&copy);
        options.memory = pipeline::ByteSize(64 << 20);
        let outcome = pipeline::run(&options, |_| ()).unwrap_or_else(|e| panic!("{}: {e}", of.file));
        std::fs::remove_file(&copy).expect("removed");
        outcome.health.packets
    });
    let packets: u64 = packets.into_iter().sum();
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
    for (of, read) in all.iter().zip(all_read(&dir, &all)) {
        let want = theirs.get(&dir.join(&of.file).display().to_string());
        let Some(want) = want.filter(|_| !COUNTED_OTHERWISE.contains(&of.file.as_str())) else { continue };
        assert_eq!((read.packets, read.bytes), *want, "{}", of.file);
        compared += 1;
    }
    note!("{compared} captures count as capinfos counts");
    assert!(compared > 800 || all.len() < 800);
}

/// Where tshark's streams are others than our flows, and why.
///
/// *late*: packets more than five seconds after the connection ended (retransmitted FINs, RSTs, data and keep-alives, a SYN sent again) are
/// a flow of their own here, because a connection that ended has been told; tshark keeps a stream for ever. *idle*: after 30 minutes of
/// silence (a SYN alone: 90 seconds), or where the recorded time jumps, a connection is told and what follows is picked up mid-stream.
/// *fragments*: packets inside fragments that tshark puts together and we refuse, or the other way round. *signalled*: tshark begins
/// another stream where a protocol announced one between the same ends (SDP, MGCP, HART-IP, SNMP's ports). *joined*: tshark counts the
/// answers of several hosts to one multicast question as one stream. *damaged*: tshark numbers a stream for a segment whose TCP header
/// contradicts itself.
const STREAMS_DIFFER: &[(&str, &str)] = &[
    ("bots/2015-01-02-post-infection.pcap", "late"),
    ("bots/2017-05-02-Hancitor-malspam-traffic.pcap", "late"),
    ("bots/2017-10-31-Hancitor-malspam-traffic-example.pcap", "late"),
    ("bots/PCAPs__cgminer.g0.pcap", "late"),
    ("bots/PracticalPacketAnalysis__ppa-capture-files__evilprogram.pcap", "late"),
    ("bots/ek_to_cryptowall4.pcap", "late"),
    ("bots/hancitor_2021_January_e688ebdab6916fc89610c89ccb94ce16.pcap", "late"),
    ("bots/kelihos.pcap", "late"),
    ("bots/tesla.pcap", "late"),
    ("bots/tijcont.pcap", "late"),
    ("bots/transparent_tribe_2021_June_78a3e4702d9fc13b2ef917211cd65b44.pcap", "late"),
    ("clean/ITI__pcaps__IEC61850__Sample_File_MMS_and_GOOSE.pcap", "signalled"),
    ("clean/ITI__pcaps__hart__hart_ip.pcap", "signalled"),
    (
        "clean/OISF__tests__firewall__ruletype-firewall-54-snmp-v1-trap__public-wiresharkwiki-c06-snmpv1-trap-app-r1-1-12.pcap",
        "signalled",
    ),
    ("clean/OISF__tests__snmp-v3-encrypted__SNMPv3.pcap", "signalled"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__new.pcap", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__dtmf_relay__dtmf_relay_digitdrop.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__dtmf_relay__dtmf_relay_iwrk_standard.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__dtmf_relay__dtmf_relay_no_iwrk.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__fax__fax_t38_nse_sip_ogw.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__mgcp__mgcp_isdn_pri_call.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__sip__sip_hold_transfer.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__sip__sip_prack_do_183.pcapng", "signalled"),
    ("clean/ahmedelemamn__collab_pcap__sip__sip_prack_eo_183.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v1_poll.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v1_trap.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v2c_poll.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v2c_trap.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v3_poll_noauth_nopriv.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v3_poll_sha1_aes128.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v3_poll_sha1_nopriv.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v3_trap_noauth_nopriv.pcapng", "signalled"),
    ("clean/ahmedelemamn__netsrv_pcap__snmp__snmp_v3_trap_sha1_nopriv.pcapng", "signalled"),
    (
        "clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__Asphodel_WMRTCP5135.pcapng",
        "joined",
    ),
    (
        "clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__MagicJack-_short_call.pcap",
        "signalled",
    ),
    (
        "clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__Mobile-Originating-Call_AMR_.pcap",
        "signalled",
    ),
    (
        "clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__Mobile-Terminating-Call_AMR_.pcap",
        "signalled",
    ),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__SIMULCRYPT.pcap", "late"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__Sanaullah.pcap", "signalled"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__SkypeIRC.cap", "late"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__b6300a.cap", "signalled"),
    (
        "clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__dof-short-capture.pcapng",
        "signalled",
    ),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__ejemplo.pcap", "damaged"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__monotone-netsync.cap", "idle"),
    (
        "clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__nb6-telephone.pcap",
        "signalled",
    ),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__sat.pcap", "signalled"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__server-rst.pcap", "late"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__smtp2525-ssl.pcapng", "idle"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__testing.ext.pcap", "signalled"),
    ("clean/cisco__unit_tests__pcaps__tls_sgt.pcap", "late"),
    ("clean/devarship97__CTU-Honeypot-Capture-4-1__2018-09-14-13-40-25-Philips-Hue-Bridge.pcap", "late"),
    ("clean/markofu__PracticalPacketAnalysis__ppa-capture-files__gnutella.pcap", "late"),
    ("clean/nDPI__FAX-Call-t38-CA-TDM-SIP-FB-1.pcap", "signalled"),
    ("clean/nDPI__bt-http.pcapng", "late"),
    ("clean/nDPI__hart_ip.pcap", "signalled"),
    ("clean/nDPI__ip_fragmented_garbage.pcap", "fragments"),
    ("clean/nDPI__rtsp.pcap", "late"),
    ("clean/nDPI__vnc.pcap", "late"),
    ("clean/seladb__Tests__Packet++Test__PacketExamples__Ftp.pcap", "idle"),
    ("clean/seladb__Tests__Packet++Test__PacketExamples__ldap.pcapng", "idle"),
    ("clean/seladb__Tests__Pcap++Test__PcapExamples__pcapng-example.pcapng", "idle"),
];

/// Flows and bytes of one transport.
#[derive(Debug, Default, PartialEq, Eq)]
struct Volume {
    flows: usize,
    bytes: u64,
}

/// What tshark makes of a capture.
struct Theirs {
    /// Frames in which it finds TCP or UDP.
    frames: u64,
    /// Its streams; `None` where a packet has two layers of the same transport.
    streams: Option<[Volume; 2]>,
}

fn theirs(path: &Path) -> Theirs {
    let out = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(path)
        // An ICMP error quotes the packet that it is about; tshark would count it to that packet's stream.
        .args([
            "-Y",
            "!(icmp.type in {3,4,5,11,12}) && !(icmpv6.type in {1,2,3,4,137})",
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
    let (mut frames, mut layered) = (0, false);
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [tcp, udp, len] = fields[..] else { continue };
        frames += u64::from(!tcp.is_empty() || !udp.is_empty());
        layered |= tcp.contains(',') || udp.contains(',') || (!tcp.is_empty() && !udp.is_empty());
        for (i, stream) in [tcp, udp].into_iter().enumerate().filter(|(_, s)| !s.is_empty()) {
            seen[i].insert(stream.to_owned());
            volumes[i].bytes += len.parse::<u64>().unwrap_or(0);
        }
    }
    for (volume, seen) in volumes.iter_mut().zip(seen) {
        volume.flows = seen.len();
    }
    Theirs { frames, streams: (!layered).then_some(volumes) }
}

fn options(path: &Path) -> pipeline::RunOptions {
    pipeline::RunOptions::of(vec![Source::Path(path.to_owned())])
}

/// Our flows; UDP flows of the same ends are one conversation, as in tshark, which knows no timeout. And what became of the packets.
fn flows(path: &Path) -> ([Volume; 2], record::Accounts) {
    use record::{ConnPhase, Record, Transport};
    let options = options(path);
    let mut volumes = [Volume::default(), Volume::default()];
    let mut udp = BTreeSet::new();
    let take = |_, record: &Record| {
        // What an exporter in the capture tells of is not in its packets.
        let Record::Conn(c) = record else { return };
        if c.head.flow.is_named() {
            return;
        }
        if c.phase != ConnPhase::Closed {
            return;
        }
        let bytes: u64 = c.frame_bytes.iter().sum();
        match c.head.tuple.transport {
            Transport::Tcp => {
                volumes[0].flows += 1;
                volumes[0].bytes += bytes;
            }
            Transport::Udp => {
                let (a, b) = (c.head.tuple.orig, c.head.tuple.resp);
                volumes[1].flows += usize::from(udp.insert((a.min(b), a.max(b))));
                volumes[1].bytes += bytes;
            }
            _ => {}
        }
    };
    let sensed = pipeline::sense(&options, |_| (), take).expect("it reads");
    assert_eq!(
        sensed.health.accounts.all(),
        sensed.health.packets,
        "{}: every packet is accounted for",
        path.display()
    );
    (volumes, sensed.health.accounts)
}

/// Where tshark finds TCP or UDP in frames that we do not follow, and why.
///
/// *inside*: tshark counts the tunnel's own UDP; what is inside cannot be read (ESP, cut), and is named. *damaged*: the TCP header contradicts
/// itself. *depth*: more headers inside one another than are followed.
const FRAMES_DIFFER: &[(&str, &str)] = &[
    ("clean/nDPI__ipv6_in_gtp.pcap", "inside"),
    ("clean/ajbanjara__uploads____moin_import____attachments__SampleCaptures__ejemplo.pcap", "damaged"),
    ("parse/nDPI__reasm_crash_anon.pcapng", "damaged"),
    ("parse/zeek__pbb-recursive-frames.pcapng", "depth"),
    ("parse/zeek__tunnels__geneve-truncated.pcapng", "inside"),
];

#[test]
fn flows_and_volumes_are_those_of_tshark() {
    let Some((dir, all)) = captures() else { return };
    if !have("tshark") {
        return;
    }
    let is_in = |list: &[(&str, &str)], file: &str| list.iter().any(|(f, _)| *f == file);
    let both = common::of_each(&all, |of| {
        let path = dir.join(&of.file);
        let (got, accounts) = flows(&path);
        let followed = accounts.followed + accounts.fragments;
        // More than all frames nobody can find TCP or UDP in.
        let asked = of.kind != "parse" || followed < accounts.all();
        asked.then(|| (theirs(&path), got, accounts, followed))
    });
    let (mut compared, mut differ) = (0, Vec::new());
    for (of, (want, got, accounts, followed)) in
        all.iter().zip(both).filter_map(|(of, both)| Some((of, both?)))
    {
        if want.frames > followed && !is_in(FRAMES_DIFFER, &of.file) {
            differ.push(format!("{}: tshark follows {} frames, ours {accounts:?}", of.file, want.frames));
        }
        let Some(want) = want.streams.filter(|_| of.kind != "parse" && !is_in(STREAMS_DIFFER, &of.file))
        else {
            continue;
        };
        if want != got {
            differ.push(format!("{}: tshark {want:?}, ours {got:?}", of.file));
        }
        compared += 1;
    }
    note!("{compared} captures have tshark's flows and volumes, {} its frames", all.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(compared > 250 || all.len() < 800);
}
