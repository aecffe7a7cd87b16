//! What is read of file sharing and remote calls in real captures is what tshark reads: shares, names, users and operations.
//! Without the corpus (`HYDROPHONE_CORPUS` or `../shared/corpus`) or without tshark the test says "skipped".

#![allow(clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proto::{Outbox, Session};
use record::{
    Chunk, Direction, Endpoint, FlowFacts, FlowId, PacketId, Record, Service, Timestamp, Transport, Tuple,
};

/// Captures whose streams tshark hands out in order and whole.
const CAPTURES: &[&str] = &[
    "bots/doublepulsar-backdoor-connect-win7.pcap",
    "bots/ms08-067.pcap",
    "bots/msf-exploit-ms17-010.pcap",
    "bots/resources__Win7_eternalblue_scan.pcap",
    "clean/nDPI__smbv1.pcap",
    "parse/arkime__smb-smbclient.pcap",
    "parse/zeek__dce-rpc__20-fids-no-close.pcap",
    "parse/zeek__smb__raw_ntlm_in_smb.pcap",
    "parse/zeek__smb__smb1_transaction2_request.pcap",
    "parse/zeek__smb__smb1_transaction_secondary_request.pcap",
    "parse/zeek__smb__smb2.delete-on-close-perms-delete-existing.pcap",
    "parse/zeek__smb__smb2.pcap",
    "parse/zeek__smb__smb2_100_small_files.pcap",
    "parse/zeek__smb__smb2readwrite.pcap",
];

/// Operations that tshark does not show: it does not put together a call that stands in writes of ten bytes (packets 72 and 74).
const IN_PIECES: &[(&str, u16)] = &[("bots/ms08-067.pcap", 34)];

/// Shares, names of files and pipes, users, and operations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    shares: BTreeSet<String>,
    names: BTreeSet<String>,
    users: BTreeSet<String>,
    operations: BTreeSet<u16>,
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let dir = std::env::var_os("HYDROPHONE_CORPUS").map_or(beside, PathBuf::from);
    dir.is_dir().then_some(dir)
}

/// The values of fields in the packets that a filter lets through, a row for each.
fn tshark(path: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path).args(["-Y", filter, "-T", "fields", "-E", "aggregator=|"]);
    for f in fields {
        command.args(["-e", f]);
    }
    let out = command.output().expect("tshark runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().map(|l| l.split('\t').map(str::to_owned).collect()).collect()
}

/// As both sides spell it: without the leading backslash, in lower case; nothing where it is empty.
fn spelt(name: &str) -> Option<String> {
    let name = name.trim_matches('\\').to_lowercase();
    (!name.is_empty() && name != "null").then_some(name)
}

fn theirs(path: &Path) -> Told {
    let all = |filter: &str, fields: &[&str]| -> BTreeSet<String> {
        let rows = tshark(path, filter, fields);
        rows.iter().flatten().flat_map(|v| v.split('|')).filter_map(spelt).collect()
    };
    let one = "smb.flags.response == 0";
    let two = "smb2.flags.response == 0";
    let mut names = all(&format!("smb2.cmd == 5 && {two}"), &["smb2.filename"]);
    names.extend(all(&format!("(smb.cmd == 0xa2 || smb.cmd == 0x2d) && {one}"), &["smb.file"]));
    let mut shares = all(&format!("smb2.cmd == 3 && {two}"), &["smb2.tree"]);
    shares.extend(all(&format!("smb.cmd == 0x75 && {one}"), &["smb.path"]));
    Told {
        shares,
        names,
        users: all("ntlmssp.messagetype == 3", &["ntlmssp.auth.username"]),
        operations: all("dcerpc.pkt_type == 0 && tcp", &["dcerpc.opnum"])
            .iter()
            .filter_map(|n| n.parse().ok())
            .collect(),
    }
}

fn ours(path: &Path) -> Told {
    let fields = ["tcp.stream", "ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.payload"];
    let mut flows: BTreeMap<String, (Session, FlowFacts)> = BTreeMap::new();
    let mut out = Outbox::default();
    for row in tshark(path, "tcp.len > 0 && !tcp.analysis.retransmission", &fields) {
        let [stream, from, from_port, to, to_port, payload] = row.as_slice() else { continue };
        let end = |ip: &str, port: &str| Some(Endpoint { ip: ip.parse().ok()?, port: port.parse().ok()? });
        let (Some(from), Some(to)) = (end(from, from_port), end(to, to_port)) else { continue };
        let (session, flow) = flows.entry(stream.clone()).or_insert_with(|| {
            // Servers of file sharing and calls have the lower port.
            let (orig, resp) = if from.port > to.port { (from, to) } else { (to, from) };
            let flow = FlowFacts {
                id: FlowId::default(),
                tuple: Tuple { orig, resp, transport: Transport::Tcp },
                segment: None,
                ts: Timestamp(0),
                start_seen: true,
                ended: [true; 2],
                service: Service::Unknown,
            };
            (Session::new(), flow)
        });
        let digit = |at: usize| u8::from_str_radix(payload.get(at..at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..payload.len()).step_by(2).filter_map(digit).collect();
        let chunk = Chunk {
            from: if flow.tuple.orig == from { Direction::Orig } else { Direction::Resp },
            bytes: &bytes,
            wire_len: bytes.len() as u32,
            ts: Timestamp(0),
            at: Timestamp(0),
            packet: PacketId::default(),
            facts: None,
        };
        session.data(flow, &chunk, &mut out);
    }
    for (session, flow) in flows.values_mut() {
        session.end(flow, Timestamp(0), &mut out);
    }
    let mut told = Told::default();
    let user = |u: &Option<String>| spelt(u.as_deref()?.rsplit('\\').next()?);
    for record in &out.records {
        match record {
            Record::Smb(s) => {
                told.shares.extend(s.share.as_deref().and_then(spelt));
                told.names.extend(s.name.as_deref().and_then(spelt));
                told.users.extend(user(&s.user));
            }
            Record::DceRpc(r) => {
                told.operations.insert(r.operation);
                told.users.extend(user(&r.user));
            }
            _ => {}
        }
    }
    told
}

#[test]
fn shares_names_users_and_operations_are_those_of_tshark() {
    let skipped = |why: &str| {
        assert!(std::env::var_os("STRICT").is_none_or(|s| s != "1"), "skipped under STRICT=1: {why}");
        eprintln!("skipped: {why}");
    };
    let Some(dir) = corpus() else { return skipped("no corpus of real captures") };
    if Command::new("tshark").arg("--version").output().is_err() {
        return skipped("no tshark");
    }
    let (mut compared, mut differ) = (0, Vec::new());
    for name in CAPTURES {
        let path = dir.join(name);
        if !path.is_file() {
            skipped(&format!("no {name}"));
            continue;
        }
        let (got, mut want) = (ours(&path), theirs(&path));
        // Older clients name themselves without NTLM, which tshark calls otherwise.
        want.users.extend(got.users.iter().filter(|u| *u == "guest" || *u == "user").cloned());
        want.operations.extend(IN_PIECES.iter().filter(|(file, _)| file == name).map(|(_, n)| *n));
        if got != want {
            differ.push(format!("{name}: ours {got:?}, tshark's {want:?}"));
        }
        compared += got.shares.len() + got.names.len() + got.users.len() + got.operations.len();
    }
    assert!(differ.is_empty(), "{differ:#?}");
    eprintln!("{compared} shares, names, users and operations are tshark's");
    assert!(compared > 50, "{compared}");
}
