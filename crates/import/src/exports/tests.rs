use record::{Endpoint, Head, Tuple};

use super::*;

const NOW: i64 = 1_700_000_000;

fn exporter(n: u8) -> Endpoint {
    Endpoint { ip: [192, 0, 2, n].into(), port: 40_000 }
}

fn export(at: i64, from: u8, datagram: Vec<u8>) -> Export {
    let ts = Timestamp::from_secs(at);
    let tuple = Tuple { orig: exporter(from), resp: exporter(200), transport: Transport::Udp };
    let head = Head { ts, known: ts, site: 0, segment: None, flow: record::FlowId::default(), tuple };
    Export { head, exporter: exporter(from), datagram, packets: vec![PacketId::new(0, at.cast_unsigned())] }
}

fn be16(n: u16) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn be32(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// One way of a flow: addresses' last bytes and ports, protocol, flags, packets, octets, milliseconds of the exporter's clock.
#[derive(Clone, Copy)]
struct Row {
    from: (u8, u16),
    to: (u8, u16),
    protocol: u8,
    flags: u8,
    said: (u32, u32),
    times: (u32, u32),
}

const WEB: Row =
    Row { from: (5, 40_001), to: (80, 80), protocol: 6, flags: 0x1b, said: (10, 1000), times: (1000, 3000) };

fn back(r: Row, said: (u32, u32), flags: u8) -> Row {
    Row { from: r.to, to: r.from, said, flags, ..r }
}

/// NetFlow 5, sent `uptime` milliseconds after the exporter began.
fn v5(at: i64, uptime: u32, sequence: u32, interval: u16, rows: &[Row]) -> Vec<u8> {
    let mut d = [
        be16(5),
        be16(rows.len() as u16),
        be32(uptime),
        be32(at as u32),
        be32(0),
        be32(sequence),
        be16(0),
        be16(interval),
    ]
    .concat();
    for r in rows {
        d.extend([10, 0, 0, r.from.0, 10, 0, 0, r.to.0, 0, 0, 0, 0, 0, 1, 0, 2]);
        d.extend(
            [be32(r.said.0), be32(r.said.1), be32(r.times.0), be32(r.times.1), be16(r.from.1), be16(r.to.1)]
                .concat(),
        );
        d.extend([0, r.flags, r.protocol, 0, 0, 0, 0, 0, 24, 24, 0, 0]);
    }
    d
}

fn set(id: u16, content: &[u8]) -> Vec<u8> {
    [&be16(id)[..], &be16(content.len() as u16 + 4), content].concat()
}

fn v9(at: i64, uptime: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    [be16(9), be16(sets.len() as u16), be32(uptime), be32(at as u32), be32(sequence), be32(7), sets.concat()]
        .concat()
}

fn ipfix(at: i64, sequence: u32, domain: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    [be16(10), be16(sets.len() as u16 + 16), be32(at as u32), be32(sequence), be32(domain), sets].concat()
}

/// Elements and their lengths, as a template; with the enterprise's bit those of RFC 5103.
fn template(kind: u16, id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut t = [be16(id), be16(fields.len() as u16)].concat();
    for (element, length) in fields {
        t.extend([be16(*element), be16(*length)].concat());
        if element & 0x8000 != 0 {
            t.extend(be32(29305));
        }
    }
    set(kind, &t)
}

const FIELDS: [(u16, u16); 9] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (2, 4), (1, 4), (22, 4)];

fn row(r: Row) -> Vec<u8> {
    [
        vec![10, 0, 0, r.from.0, 10, 0, 0, r.to.0],
        be16(r.from.1),
        be16(r.to.1),
        vec![r.protocol, r.flags],
        be32(r.said.0),
        be32(r.said.1),
        be32(r.times.0),
    ]
    .concat()
}

/// Takes datagrams, each when it came, and gives what is told.
fn all(datagrams: &[Export]) -> (Vec<Conn>, Exports) {
    let mut exports = Exports::new(1 << 20);
    let mut told = Vec::new();
    for d in datagrams {
        while let Some(r) = exports.next(Some(d.head.known)) {
            told.push(r);
        }
        exports.take(d);
    }
    while let Some(r) = exports.next(None) {
        told.push(r);
    }
    let conns = told.into_iter().map(|r| match r {
        Record::Conn(c) => c,
        other => panic!("{other:?}"),
    });
    (conns.collect(), exports)
}

fn ends(c: &Conn) -> String {
    format!("{} {}", c.head.tuple.orig, c.head.tuple.resp)
}

#[test]
fn both_ways_of_a_flow_are_one() {
    let d = v5(NOW, 10_000, 0, 0, &[back(WEB, (8, 9000), 0x1b), WEB]);
    let (conns, exports) = all(&[export(NOW, 1, d)]);
    let [c] = &conns[..] else { panic!("{conns:?}") };
    assert_eq!(ends(c), "10.0.0.5:40001 10.0.0.80:80");
    assert_eq!((c.state, c.packets, c.frame_bytes), (ConnState::SF, [10, 8], [1000, 9000]));
    assert!(c.bytes[0] > 0 && c.bytes[0] < 1000 && c.bytes[1] > 8000, "{:?}", c.bytes);
    // Nine seconds before it was sent, and seven.
    assert_eq!((c.head.ts, c.last), (Timestamp::from_secs(NOW - 9), Timestamp::from_secs(NOW - 7)));
    assert_eq!(c.failed(), Some(false));
    let health = exports.health();
    assert_eq!((health.packets, health.first, health.last), (0, Some(c.head.ts), Some(c.last)));
    assert!(
        exports.notices()[0].contains("1 flows were told by 1 exporter (NetFlow 5) in 1 datagrams"),
        "{:?}",
        exports.notices()
    );
}

#[test]
fn who_was_not_answered_and_who_was_refused() {
    let syn = Row { flags: 0x02, said: (3, 180), ..WEB };
    let refused = Row { from: (5, 40_002), ..syn };
    let answered = Row { from: (5, 40_003), ..WEB };
    let rows = [syn, refused, back(refused, (3, 120), 0x14), answered, back(answered, (9, 900), 0x1b)];
    let (conns, _) = all(&[export(NOW, 1, v5(NOW, 10_000, 0, 0, &rows))]);
    let told: Vec<_> = conns.iter().map(|c| (c.head.tuple.orig.port, c.state, c.failed())).collect();
    let mut sorted = told.clone();
    sorted.sort_by_key(|t| t.0);
    assert_eq!(
        sorted,
        [
            (40_001, ConnState::S0, Some(true)),
            (40_002, ConnState::Rej, Some(true)),
            (40_003, ConnState::SF, Some(false))
        ]
    );
}

#[test]
fn an_exporter_of_one_way_says_nothing_of_answers() {
    let dns =
        Row { from: (5, 40_004), to: (53, 53), protocol: 17, flags: 0, said: (1, 60), times: (1000, 1000) };
    let (conns, _) = all(&[export(NOW, 1, v5(NOW, 10_000, 0, 0, &[WEB, dns]))]);
    assert!(conns.iter().all(|c| c.failed().is_none()), "{conns:?}");
    // What a server says is an answer to a client.
    let (conns, _) = all(&[export(NOW, 1, v5(NOW, 10_000, 0, 0, &[back(WEB, (8, 9000), 0x1b)]))]);
    assert_eq!(ends(&conns[0]), "10.0.0.5:40001 10.0.0.80:80");
}

#[test]
fn parts_that_a_timeout_cut_are_one_flow() {
    // A minute each, told as soon as it is over; each way by itself.
    let mut datagrams = Vec::new();
    for minute in 0..10u32 {
        let times = (minute * 60_000 + 1000, minute * 60_000 + 60_000);
        let flags = if minute == 0 { 0x1a } else { 0x18 };
        let part = Row { flags, times, ..WEB };
        let at = NOW + i64::from(minute + 1) * 60;
        let uptime = times.1 + 1000;
        datagrams.push(export(at, 1, v5(at, uptime, minute, 0, &[part, back(part, (5, 500), 0x18)])));
    }
    let (conns, exports) = all(&datagrams);
    let closed: Vec<&Conn> = conns.iter().filter(|c| c.phase == ConnPhase::Closed).collect();
    let [c] = &closed[..] else { panic!("{closed:?}") };
    assert_eq!((c.packets, c.duration()), ([100, 50], Duration::from_secs(599)));
    // While it goes on it is told every five minutes, under one name.
    let interim: Vec<&Conn> = conns.iter().filter(|c| c.phase == ConnPhase::Interim).collect();
    assert!(!interim.is_empty() && interim.iter().all(|i| i.head.flow == c.head.flow), "{interim:?}");
    assert!(exports.notices()[0].starts_with("1 flows were"), "{:?}", exports.notices());
}

#[test]
fn another_flow_of_the_same_ends_is_another() {
    let later = Row { times: (400_000, 401_000), ..WEB };
    let (conns, _) = all(&[
        export(NOW, 1, v5(NOW, 60_000, 0, 0, &[WEB, back(WEB, (8, 9000), 0x1b)])),
        export(NOW + 400, 1, v5(NOW + 400, 460_000, 2, 0, &[later, back(later, (8, 9000), 0x1b)])),
    ]);
    assert_eq!(conns.len(), 2);
    assert_ne!(conns[0].head.flow, conns[1].head.flow);
}

#[test]
fn rows_before_their_template_are_read_when_it_comes() {
    let data = set(256, &[row(WEB), row(back(WEB, (8, 9000), 0x1b))].concat());
    let (conns, exports) = all(&[
        export(NOW, 1, v9(NOW, 10_000, 1, std::slice::from_ref(&data))),
        export(NOW + 1, 1, v9(NOW + 1, 11_000, 2, &[template(0, 256, &FIELDS)])),
    ]);
    assert_eq!(conns.len(), 1, "{:?}", exports.notices());
    assert_eq!((conns[0].packets, conns[0].head.ts), ([10, 8], Timestamp::from_secs(NOW - 9)));
    // It may never come.
    let (conns, exports) = all(&[export(NOW, 1, v9(NOW, 10_000, 1, &[data]))]);
    assert!(conns.is_empty() && exports.notices().iter().any(|n| n.contains("1 sets of flows came before")));
}

#[test]
fn templates_belong_to_their_exporter_and_domain() {
    let swapped = [(12, 4), (8, 4), (11, 2), (7, 2), (4, 1), (6, 1), (2, 4), (1, 4), (22, 4)];
    let data = || set(256, &row(WEB));
    let other = Row { from: (6, 40_001), ..WEB };
    let (conns, _) = all(&[
        export(NOW, 1, v9(NOW, 10_000, 1, &[template(0, 256, &FIELDS), data()])),
        export(NOW, 2, v9(NOW, 10_000, 1, &[template(0, 256, &swapped), set(256, &row(other))])),
        export(NOW + 1, 1, v9(NOW + 1, 11_000, 2, &[set(256, &row(Row { from: (7, 40_007), ..WEB }))])),
    ]);
    let mut told: Vec<String> = conns.iter().map(ends).collect();
    told.sort();
    // The second exporter's row tells of the server: its port is the smaller.
    assert_eq!(
        told,
        ["10.0.0.5:40001 10.0.0.80:80", "10.0.0.6:40001 10.0.0.80:80", "10.0.0.7:40007 10.0.0.80:80"]
    );
}

#[test]
fn a_row_of_both_ways_and_times_of_its_own() {
    let fields = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (2, 4),
        (1, 4),
        (0x8002, 4),
        (0x8001, 4),
        (152, 8),
        (153, 8),
        (136, 1),
    ];
    let data = [
        vec![10, 0, 0, 5, 198, 51, 100, 9],
        be16(50_000),
        be16(447),
        vec![17],
        be32(4),
        be32(400),
        be32(3),
        be32(300),
        (NOW as u64 * 1000 - 5000).to_be_bytes().to_vec(),
        (NOW as u64 * 1000 - 4000).to_be_bytes().to_vec(),
        vec![1],
    ]
    .concat();
    let sets = [template(2, 300, &fields), set(300, &data)];
    let (conns, _) = all(&[export(NOW, 1, ipfix(NOW, 0, 3, &sets))]);
    let [c] = &conns[..] else { panic!("{conns:?}") };
    assert_eq!((c.packets, c.frame_bytes, c.state), ([4, 3], [400, 300], ConnState::SF));
    assert_eq!((c.head.ts, c.last), (Timestamp::from_secs(NOW - 5), Timestamp::from_secs(NOW - 4)));
    assert_eq!(c.bytes, [400 - 4 * 28, 300 - 3 * 28]);
}

#[test]
fn of_a_sample_nothing_failed_for_sure() {
    let lonely = Row { protocol: 17, to: (80, 9000), ..WEB };
    let rows = [Row { flags: 0x02, said: (1, 60), ..WEB }, lonely];
    // Packet sampling of one in a hundred.
    let (conns, exports) = all(&[export(NOW, 1, v5(NOW, 10_000, 0, 0x4064, &rows))]);
    assert!(conns.iter().all(|c| c.failed().is_none()), "{conns:?}");
    assert_eq!(conns.iter().map(|c| c.packets[0]).max(), Some(1000));
    assert!(exports.notices().iter().any(|n| n.contains("one in 100 packets")));
}

#[test]
fn what_two_exporters_saw_counts_once() {
    let rows = [WEB, back(WEB, (8, 9000), 0x1b)];
    let (conns, exports) = all(&[
        export(NOW, 1, v5(NOW, 10_000, 0, 0, &rows)),
        export(NOW, 2, v5(NOW, 10_000, 0, 0, &rows)),
        // And the first says it once more, for the way out.
        export(NOW, 1, v5(NOW, 10_000, 2, 0, &rows)),
    ]);
    assert_eq!(conns.iter().map(|c| c.packets).collect::<Vec<_>>(), [[10, 8]]);
    assert!(
        exports.notices().iter().any(|n| n.contains("4 rows were told by two exporters")),
        "{:?}",
        exports.notices()
    );
}

#[test]
fn what_is_missing_or_broken_is_told() {
    let rows = [WEB, back(WEB, (8, 9000), 0x1b)];
    let mut broken = v9(NOW, 10_000, 3, &[template(0, 256, &FIELDS)]);
    broken.truncate(23);
    let (_, exports) = all(&[
        export(NOW, 1, v5(NOW, 10_000, 0, 0, &rows)),
        export(NOW + 1, 1, v5(NOW + 1, 11_000, 7, 0, &rows[..1])),
        export(NOW + 2, 1, broken),
        export(NOW + 2, 1, vec![0, 6, 0, 0]),
    ]);
    let told = exports.notices().join("\n");
    assert!(told.contains("5 rows or datagrams of exporters are missing by their own count"), "{told}");
    assert!(told.contains("of exporters could not be read, the first is packet"), "{told}");
}

#[test]
fn whose_packets_are_in_the_capture_is_not_told_twice() {
    let other = Row { from: (6, 40_002), ..WEB };
    let rows = [WEB, back(WEB, (8, 9000), 0x1b), other, back(other, (8, 9000), 0x1b)];
    let mut exports = Exports::new(1 << 20);
    exports.take(&export(NOW, 1, v5(NOW, 10_000, 0, 0, &rows)));
    exports.saw([10, 0, 0, 6].into());
    let told: Vec<Record> = std::iter::from_fn(|| exports.next(None)).collect();
    assert_eq!(told.iter().map(|r| r.tuple().orig.port).collect::<Vec<_>>(), [40_001]);
    assert!(exports.notices().iter().any(|n| n.contains("1 of these flows are of hosts whose packets")));
}

#[test]
fn who_sends_a_weeks_flows_at_once_is_heard_in_their_order() {
    let day =
        |d: u32| Row { from: (5, 40_000 + d as u16), times: (d * 86_400_000, d * 86_400_000 + 1000), ..WEB };
    // The latest first.
    let rows: Vec<Row> = (0..7).rev().map(day).collect();
    let (conns, _) = all(&[export(NOW, 1, v5(NOW, 7 * 86_400_000, 0, 0, &rows))]);
    assert_eq!(conns.len(), 7);
    assert!(conns.is_sorted_by_key(|c| c.head.known));
    assert_eq!(conns[6].head.known.since(conns[0].head.known), Duration::from_hours(6 * 24));
}

#[test]
fn a_firewall_tells_a_flow_when_it_is_over_or_denied() {
    let fields = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (233, 1), (323, 8), (231, 4), (232, 4)];
    let event = |port: u16, kind: u8, octets: (u32, u32)| {
        [
            vec![10, 0, 0, 5, 198, 51, 100, 9],
            be16(port),
            be16(25),
            vec![6, kind],
            (NOW as u64 * 1000).to_be_bytes().to_vec(),
            be32(octets.0),
            be32(octets.1),
        ]
        .concat()
    };
    let rows = [event(50_001, 1, (0, 0)), event(50_001, 2, (700, 900)), event(50_002, 3, (0, 0))].concat();
    let (conns, _) = all(&[export(NOW, 1, v9(NOW, 0, 0, &[template(0, 260, &fields), set(260, &rows)]))]);
    let mut told: Vec<_> = conns.iter().map(|c| (c.head.tuple.orig.port, c.state, c.frame_bytes)).collect();
    told.sort_by_key(|t| t.0);
    assert_eq!(told, [(50_001, ConnState::SF, [700, 900]), (50_002, ConnState::Rej, [0, 0])]);
}

#[test]
fn open_flows_take_no_more_than_they_may() {
    let mut exports = Exports::new(0);
    for i in 0..200u32 {
        let rows: Vec<Row> = (0..30)
            .map(|k| Row {
                from: (5, (i * 30 + k) as u16),
                protocol: 17,
                to: (9, 9),
                times: (9000, 9000),
                ..WEB
            })
            .collect();
        exports.take(&export(NOW, 1, v5(NOW, 10_000, i * 30, 0, &rows)));
        while exports.next(Some(Timestamp::from_secs(NOW))).is_some() {}
        assert!(exports.open.len() <= 1024 && exports.ready.len() <= 1024);
    }
    assert!(exports.notices().iter().any(|n| n.contains("to stay within --memory")));
}

#[test]
fn whatever_an_exporter_sends_is_survived() {
    let fields = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (2, 4),
        (1, 4),
        (0x8002, 4),
        (152, 8),
        (153, 65_535),
        (136, 1),
    ];
    let rows = [WEB, back(WEB, (8, 9000), 0x1b)];
    let seeds = [
        v5(NOW, 10_000, 0, 10, &rows),
        v9(NOW, 10_000, 1, &[template(0, 256, &FIELDS), set(256, &row(WEB)), template(1, 257, &FIELDS)]),
        ipfix(NOW, 0, 3, &[template(2, 300, &fields), set(300, &row(WEB)), template(3, 301, &FIELDS)]),
    ];
    let mut state = 1u64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut exports = Exports::new(1 << 16);
    for i in 0..20_000i64 {
        let mut datagram = seeds[random(seeds.len())].clone();
        for _ in 0..random(6) {
            let at = random(datagram.len());
            datagram[at] = random(256) as u8;
        }
        if random(4) == 0 {
            datagram.truncate(random(datagram.len()));
        }
        exports.take(&export(NOW + i, random(3) as u8, datagram));
        while let Some(record) = exports.next(Some(Timestamp::from_secs(NOW + i))) {
            assert!(record.head().known >= record.head().ts);
        }
    }
    while exports.next(None).is_some() {}
    assert!(exports.open.is_empty() && exports.deadlines.is_empty());
}
