//! Records that the tests of the store share.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use record::{
    Alert, Conn, ConnPhase, ConnState, Dns, DnsAnswer, Endpoint, FlowId, Head, Health, History, KeyPackets,
    PacketId, Record, Segment, Service, Timestamp, Transport, Tuple,
};
use store::{Reader, Span, StoredInput, Writer, Written};

pub const START: i64 = 1_700_000_000;

pub fn is_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10)
}

fn head(n: u64, orig: [u8; 4], resp: [u8; 4], port: u16, transport: Transport) -> Head {
    let ts = Timestamp(START * 1_000_000_000 + n as i64 * 250_000_000);
    let end = |ip: [u8; 4], port| Endpoint { ip: ip.into(), port };
    Head {
        ts,
        known: ts.plus(Duration::from_millis(100)),
        site: 0,
        segment: n.is_multiple_of(7).then_some(Segment::Vlan(12)),
        flow: FlowId { packet: PacketId::new(0, n + 1), layer: 0 },
        tuple: Tuple { orig: end(orig, 40_000 + (n % 20_000) as u16), resp: end(resp, port), transport },
    }
}

/// The `n`th record: flows, questions and alerts of a hundred hosts.
pub fn record(n: u64) -> Record {
    let host = [10, 0, (n % 100 / 50) as u8, (n % 50) as u8 + 1];
    let far = [198, 18, (n / 7 % 200) as u8, (n % 200) as u8];
    let packets = vec![PacketId::new((n % 3) as u32, n + 1)];
    match n % 5 {
        0 => Record::Dns(Box::new(Dns {
            head: head(n, host, [10, 0, 0, 200], 53, Transport::Udp),
            id: n as u16,
            query: format!("www{}.example", n % 997),
            qtype: Dns::A,
            rcode: Some(0),
            recursion_desired: true,
            answers: vec![DnsAnswer { rtype: 1, ttl: 60, addr: Some(IpAddr::from(far)), name: None }],
            rtt: Some(Duration::from_millis(3)),
            response_len: 60,
            packets,
        })),
        1 if n % 25 == 1 => Record::Alert(Box::new(Alert {
            head: head(n, host, far, 80, Transport::Tcp),
            sensor: "suricata".into(),
            rule: Some(n),
            signature: "ET MALWARE something".into(),
            category: "A Network Trojan was detected".into(),
            severity: 1,
            packets,
        })),
        _ => {
            let mut history = History::default();
            "ShADadFf".bytes().for_each(|l| history.push(l));
            let head = head(n, host, far, 443, Transport::Tcp);
            Record::Conn(Conn {
                phase: if n.is_multiple_of(2) { ConnPhase::Closed } else { ConnPhase::Classified },
                head,
                last: head.ts.plus(Duration::from_secs(1)),
                via: None,
                service: Service::Tls,
                state: ConnState::SF,
                history,
                packets: [5 + n % 9, 6],
                bytes: [300, 4000 + n],
                frame_bytes: [900, 5000],
                missed_bytes: [0, 0],
                start_seen: true,
                syn_retransmits: 0,
                first_payload: [None, None],
                first_speaker: None,
                first_lengths: [517, -1400, 0, 0, 0, 0, 0, 0],
                beats: Vec::new(),
                payload_packets: [2, 3],
                turns: 3,
                mac: [None, None],
                tunnel_depth: 0,
                orig_ttl: 64,
                key_packets: packets.into_iter().collect::<KeyPackets>(),
            })
        }
    }
}

pub fn inputs() -> Vec<StoredInput> {
    let of = |n: u32| StoredInput {
        path: format!("/captures/{n}.pcap"),
        size: Some(1),
        sha256: None,
        log: None,
        times: store::Times::default(),
    };
    (0..3).map(of).collect()
}

/// Writes records into a store, in small pieces.
pub fn write(root: &Path, numbers: std::ops::Range<u64>) {
    written(root, numbers);
}

/// The same, and what comes of it.
pub fn written(root: &Path, numbers: std::ops::Range<u64>) -> Written {
    let mut writer = Writer::begin(root, &[], is_local).unwrap().in_pieces_of(100, 1000);
    numbers.for_each(|n| writer.record(&record(n)));
    let health = Health { packets: 7, ..Health::default() };
    writer.finish(inputs(), true, vec!["said".into()], Vec::new(), health).unwrap()
}

/// The files below a folder that end so.
pub fn files(root: &Path, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub fn read(root: &Path, span: Span) -> (Vec<Record>, Reader) {
    let mut reader = Reader::open(root, span, 0).unwrap();
    let mut all = Vec::new();
    while let Some(record) = reader.next(None) {
        all.push(record);
    }
    (all, reader)
}
