use std::net::IpAddr;

use record::{
    Chunk, Conn, ConnPhase, ConnState, Direction, FlowFacts, PacketId, Progress, Segment, Service, Timestamp,
    Transport,
};
use wire::{Checksum, Packet, TcpFlags, TcpInfo};

use crate::{Arrival, FlowTable, Limits, Sessions};

/// Keeps all text of both sides and never has enough.
#[derive(Default)]
struct Listener {
    conns: Vec<Conn>,
    text: Vec<(Direction, Vec<u8>)>,
    gaps: u64,
}

impl Sessions for Listener {
    type Session = ();
    fn begin(&mut self) {}
    fn data(&mut self, _: &FlowFacts, (): &mut (), chunk: Chunk<'_>) -> Progress {
        self.text.push((chunk.from, chunk.bytes.to_vec()));
        let service = (chunk.bytes == b"hello").then_some(Service::Telnet);
        Progress { service, wants_more: true, remote: None }
    }
    fn gap(
        &mut self,
        _: &FlowFacts,
        (): &mut (),
        _: Direction,
        bytes: u64,
        _: Timestamp,
        _: PacketId,
    ) -> Progress {
        self.gaps += bytes;
        Progress { service: None, wants_more: true, remote: None }
    }
    fn end(&mut self, _: &FlowFacts, (): &mut (), _: Timestamp) -> Option<Service> {
        None
    }
    fn conn(&mut self, conn: Conn) {
        self.conns.push(conn);
    }
    fn weight(&self, (): &()) -> usize {
        0
    }
}

const CLIENT: (&str, u16) = ("10.0.0.1", 4000);
const SERVER: (&str, u16) = ("10.0.0.2", 80);
const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const SYNACK: TcpFlags = TcpFlags(0x12);
const FINACK: TcpFlags = TcpFlags(0x11);
const RSTACK: TcpFlags = TcpFlags(0x14);

struct Wire {
    table: FlowTable<()>,
    listener: Listener,
    number: u64,
    now: i64,
    ttl: u8,
    checksum: Checksum,
    print: u32,
    segment: Option<Segment>,
    /// Whether the clock is looked at before each packet.
    looks: bool,
}

impl Wire {
    fn new(limits: Limits) -> Self {
        Self {
            table: FlowTable::new(limits),
            listener: Listener::default(),
            number: 0,
            now: 1000,
            ttl: 64,
            checksum: Checksum::Right,
            print: 0,
            segment: None,
            looks: true,
        }
    }

    fn roomy() -> Self {
        Self::new(Limits { flow_bytes: 1 << 20, waiting_bytes: 1 << 20, ordering_bytes: 1 << 20 })
    }

    fn send(
        &mut self,
        from: (&str, u16),
        to: (&str, u16),
        transport: Transport,
        tcp: TcpInfo,
        payload: &[u8],
    ) {
        self.number += 1;
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let packet = Packet {
            src: ip(from.0),
            dst: ip(to.0),
            transport,
            sport: from.1,
            dport: to.1,
            tcp,
            payload_at: 0,
            payload_captured: payload.len() as u32,
            payload_len: payload.len() as u32,
            frame_len: payload.len() as u32 + 54,
            ttl: self.ttl,
            layer: 0,
            mac: None,
            segment: self.segment,
            carries: None,
            checksum: self.checksum,
            print: self.print,
        };
        let ts = Timestamp::from_secs(self.now);
        if self.looks {
            self.table.advance(ts, &mut self.listener);
        }
        let arrival = Arrival { packet: &packet, payload, ts, clock: ts, id: PacketId::new(0, self.number) };
        self.table.packets(1, |_| arrival, &mut self.listener);
    }

    fn tcp(&mut self, client: bool, flags: TcpFlags, seq: u32, ack: u32, payload: &[u8]) {
        let (from, to) = if client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        self.send(from, to, Transport::Tcp, TcpInfo { seq, ack, flags, window: 1000, urgent: 0 }, payload);
    }

    fn closed(&mut self) -> Vec<Conn> {
        self.table.finish(Timestamp::from_secs(self.now), &mut self.listener);
        assert!(self.table.is_empty());
        self.listener.conns.iter().filter(|c| c.phase == ConnPhase::Closed).cloned().collect()
    }
}

/// A line in no known protocol: the server breaks each silence with 32 bytes, the client replies at once.
fn beating(pause: i64, times: u32) -> Wire {
    let mut w = Wire::roomy();
    w.tcp(true, SYN, 100, 0, b"");
    w.tcp(false, SYNACK, 500, 101, b"");
    w.tcp(true, ACK, 101, 501, &[1; 95]);
    w.tcp(false, ACK, 501, 196, &[2; 27]);
    for i in 0..times {
        w.now += pause;
        w.tcp(false, ACK, 528 + 32 * i, 196 + 54 * i, &[3; 32]);
        w.now += 1;
        w.tcp(true, ACK, 196 + 54 * i, 560 + 32 * i, &[4; 54]);
    }
    w
}

#[test]
fn what_is_said_after_silence_is_kept() {
    let beats = |mut w: Wire| w.closed().remove(0).beats;
    let six = beats(beating(20, 6));
    assert_eq!(six.len(), 6);
    for (i, b) in (1..).zip(&six) {
        assert_eq!((b.from, b.length, b.reply, b.at), (Direction::Resp, 32, 54, i * 21_000 - 1_000));
    }
    assert!(beats(beating(3, 6)).is_empty(), "no silence");
    let many = beats(beating(20, 40));
    assert_eq!((many.len(), many[0].at), (record::Beat::MOST, 17 * 21_000 - 1_000), "the last of them");
    // Sent again, it breaks no silence; nor does a probe of a byte that was said before.
    let mut again = beating(20, 2);
    for _ in 0..5 {
        again.now += 10;
        again.tcp(false, ACK, 560, 304, &[3; 32]);
        again.tcp(true, ACK, 303, 592, &[4; 1]);
    }
    assert_eq!(beats(again).len(), 2);
}

#[test]
fn a_whole_connection() {
    let mut w = Wire::roomy();
    w.tcp(true, SYN, 100, 0, b"");
    w.tcp(false, SYNACK, 500, 101, b"");
    w.tcp(true, ACK, 101, 501, b"");
    w.tcp(true, ACK, 101, 501, b"hello");
    w.tcp(false, ACK, 501, 106, b"world!");
    w.tcp(true, FINACK, 106, 507, b"");
    w.tcp(false, FINACK, 507, 107, b"");
    w.tcp(true, ACK, 107, 508, b"");
    let conns = w.closed();
    assert_eq!(conns.len(), 1);
    let c = &conns[0];
    assert_eq!((c.packets, c.bytes, c.state), ([5, 3], [5, 6], ConnState::SF));
    assert_eq!((c.history.as_str(), c.service, c.start_seen), ("ShADdFf", Service::Telnet, true));
    assert_eq!(c.first_lengths[..3], [5, -6, 0]);
    assert_eq!(
        w.listener.text,
        [(Direction::Orig, b"hello".to_vec()), (Direction::Resp, b"world!".to_vec())]
    );
    assert_eq!(w.listener.conns.iter().filter(|c| c.phase == ConnPhase::Classified).count(), 1);
}

#[test]
fn how_connections_end() {
    type Steps = &'static [(bool, TcpFlags)];
    let cases: &[(Steps, ConnState)] = &[
        (&[(true, SYN)], ConnState::S0),
        (&[(true, SYN), (false, RSTACK)], ConnState::Rej),
        (&[(true, SYN), (true, RSTACK)], ConnState::RstOS0),
        (&[(true, SYN), (false, SYNACK)], ConnState::S1),
        (&[(true, SYN), (false, SYNACK), (true, RSTACK)], ConnState::RstO),
        (&[(true, SYN), (false, SYNACK), (false, RSTACK)], ConnState::RstR),
        (&[(true, SYN), (false, SYNACK), (true, FINACK)], ConnState::S2),
        (&[(true, SYN), (false, SYNACK), (false, FINACK)], ConnState::S3),
        (&[(false, SYNACK), (false, RSTACK)], ConnState::RstRH),
        (&[(true, ACK), (false, ACK)], ConnState::Oth),
    ];
    for (steps, state) in cases {
        let mut w = Wire::roomy();
        for (client, flags) in *steps {
            w.tcp(*client, *flags, if *client { 100 } else { 500 }, 0, b"");
        }
        let conns = w.closed();
        assert_eq!(conns.len(), 1, "{state:?}");
        assert_eq!(conns[0].state, *state);
        assert_eq!(conns[0].head.tuple.orig.port, 4000, "{state:?}: the client is the originator");
    }
}

#[test]
fn retransmitted_syns_are_one_attempt_and_new_ones_are_not() {
    let mut w = Wire::roomy();
    for _ in 0..3 {
        w.tcp(true, SYN, 100, 0, b"");
        w.now += 3;
    }
    w.tcp(true, SYN, 9000, 0, b"");
    let conns = w.closed();
    assert_eq!(conns.iter().map(|c| c.syn_retransmits).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn packet_time_ends_flows() {
    let mut w = Wire::roomy();
    w.tcp(true, SYN, 100, 0, b"");
    w.now += 91;
    w.send(("10.0.0.9", 1), ("10.0.0.8", 2), Transport::Udp, TcpInfo::default(), b"x");
    assert_eq!(w.table.len(), 1);
    assert_eq!(
        w.listener.conns[0].head.known,
        Timestamp::from_secs(1090),
        "told at its own deadline, not at the next packet"
    );
    w.now += 59;
    w.send(("10.0.0.8", 2), ("10.0.0.9", 1), Transport::Udp, TcpInfo::default(), b"y");
    assert_eq!(w.table.len(), 1);
    w.now += 60;
    w.send(("10.0.0.8", 2), ("10.0.0.9", 1), Transport::Udp, TcpInfo::default(), b"y");
    let conns = w.closed();
    assert_eq!(conns.len(), 3);
    assert_eq!((conns[1].packets, conns[1].state), ([1, 1], ConnState::SF));
}

#[test]
fn long_flows_tell_of_themselves() {
    let mut w = Wire::roomy();
    for _ in 0..40 {
        w.send(("10.0.0.9", 1), ("10.0.0.8", 2), Transport::Udp, TcpInfo::default(), b"x");
        w.now += 30;
    }
    let interim: Vec<_> = w
        .listener
        .conns
        .iter()
        .filter(|c| c.phase == ConnPhase::Interim)
        .map(|c| c.head.known.0 / 1_000_000_000)
        .collect();
    assert_eq!(interim, [1300, 1600, 1900]);
    assert_eq!(w.closed().len(), 1);
}

#[test]
fn a_flow_from_the_middle_is_marked_and_turned_round() {
    let mut w = Wire::roomy();
    w.tcp(false, ACK, 500, 101, b"from the server");
    let conns = w.closed();
    assert!(!conns[0].start_seen);
    assert_eq!(conns[0].head.tuple.resp.port, 80);
    assert_eq!((conns[0].bytes, w.table.health().midstream_tcp), ([0, 15], 1));
}

#[test]
fn a_full_table_forgets_the_unanswered_first() {
    let mut w = Wire::new(Limits {
        flow_bytes: 20 * FlowTable::<()>::least_charge(),
        waiting_bytes: 1 << 20,
        ordering_bytes: 1 << 20,
    });
    w.tcp(true, SYN, 100, 0, b"");
    w.tcp(false, SYNACK, 500, 101, b"");
    w.tcp(true, ACK, 101, 501, b"hello");
    for port in 1..500 {
        let tcp = TcpInfo { seq: 1, flags: SYN, ..TcpInfo::default() };
        w.send(("10.9.9.9", port), ("10.0.0.3", 80), Transport::Tcp, tcp, b"");
        assert!(w.table.len() <= 20);
    }
    assert!(w.table.health().anomalies.of(record::Anomaly::FlowEvicted) >= 480);
    w.tcp(false, ACK, 501, 106, b"still here");
    let conns = w.closed();
    assert!(conns.iter().any(|c| c.bytes == [5, 10]), "the conversation outlived the flood");
}

#[test]
fn reassembly_is_bounded_over_all_flows() {
    let mut w = Wire::new(Limits { flow_bytes: 1 << 20, waiting_bytes: 10_000, ordering_bytes: 1 << 20 });
    for port in 1..100u16 {
        let from = ("10.9.9.9", port);
        let tcp = |seq, flags| TcpInfo { seq, flags, ..TcpInfo::default() };
        w.send(from, SERVER, Transport::Tcp, tcp(0, SYN), b"");
        w.send(SERVER, from, Transport::Tcp, TcpInfo { ack: 1, ..tcp(0, SYNACK) }, b"");
        for i in 0..5 {
            w.send(from, SERVER, Transport::Tcp, tcp(1000 + i * 200, ACK), &[7; 100]);
        }
    }
    assert!(w.table.health().anomalies.of(record::Anomaly::ReassemblyDropped) > 0);
}

#[test]
fn a_flow_takes_no_more_than_the_design_allows() {
    let cost = FlowTable::<[u64; 3]>::flow_cost();
    assert!(cost <= 400, "{cost} bytes");
}

#[test]
fn the_books_agree_whatever_comes() {
    let mut state = 5u64;
    for round in 0..3_000usize {
        let bytes: Vec<u8> = (0..10 * (round % 60))
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as u8
            })
            .collect();
        crate::fuzz_follow(&bytes);
    }
}

/// The steps of one connection with a question and its answer.
const TALK: [(bool, TcpFlags, u32, u32, &[u8]); 5] = [
    (true, SYN, 100, 0, b""),
    (false, SYNACK, 500, 101, b""),
    (true, ACK, 101, 501, b"hello"),
    (false, ACK, 501, 106, b"world!"),
    (true, ACK, 106, 507, b""),
];

#[test]
fn every_order_within_the_window_is_the_same_connection() {
    let said = |order: &[usize]| {
        let mut w = Wire::roomy();
        for (n, step) in order.iter().enumerate() {
            let (client, flags, seq, ack, payload) = TALK[*step];
            w.print = 0x1234_0000 + (n as u32) * 0x1_0000;
            w.tcp(client, flags, seq, ack, payload);
        }
        let conns = w.closed();
        let text = std::mem::take(&mut w.listener.text);
        (
            conns.iter().map(|c| (c.head.tuple, c.packets, c.bytes, c.state)).collect::<Vec<_>>(),
            text,
            w.listener.gaps,
        )
    };
    let right = said(&[0, 1, 2, 3, 4]);
    assert_eq!(right.1.len(), 2);
    // All of one second of this table's clock, in every order in which a side's own packets keep theirs: two taps, two clocks.
    for order in [
        [1, 0, 2, 3, 4],
        [1, 3, 0, 2, 4],
        [0, 2, 1, 3, 4],
        [0, 2, 4, 1, 3],
        [1, 0, 3, 2, 4],
        [0, 1, 3, 2, 4],
        [0, 2, 1, 4, 3],
    ] {
        assert_eq!(said(&order), right, "{order:?}");
    }
}

#[test]
fn what_waits_in_vain_goes_on_when_its_time_has_come() {
    let mut w = Wire::roomy();
    w.tcp(true, SYN, 100, 0, b"");
    w.tcp(false, SYNACK, 500, 101, b"");
    // The client acknowledges what nobody saw.
    w.tcp(true, ACK, 101, 600, b"hello");
    assert!(w.listener.text.is_empty(), "it waits");
    w.now += 1;
    w.tcp(true, ACK, 106, 600, b" there");
    assert!(!w.listener.text.is_empty(), "no longer than the window");
    let conns = w.closed();
    assert_eq!((conns.len(), conns[0].bytes[0]), (1, 11));
    assert_eq!(w.table.health().anomalies.of(record::Anomaly::ReorderCut), 0);
}

#[test]
fn waiting_is_bounded_and_its_end_is_told() {
    let mut w = Wire::new(Limits { flow_bytes: 1 << 20, waiting_bytes: 1 << 20, ordering_bytes: 4000 });
    for port in 0..100u16 {
        // Answers without questions, of a hundred connections.
        let tcp = TcpInfo { seq: 500, ack: 101, flags: SYNACK, window: 1, urgent: 0 };
        w.send(SERVER, (CLIENT.0, 5000 + port), Transport::Tcp, tcp, b"");
    }
    assert!(w.table.health().anomalies.of(record::Anomaly::ReorderCut) > 50);
    assert_eq!(w.closed().len(), 100, "none is lost");
}

#[test]
fn a_copy_counts_once_though_others_come_between() {
    let mut w = Wire::roomy();
    for copy in [false, true] {
        for (n, (client, flags, seq, ack, payload)) in TALK.into_iter().enumerate() {
            w.print = 0x5555_0000 + (n as u32) * 0x1_0000 + 0x77;
            w.ttl = if copy { 63 } else { 64 };
            w.tcp(client, flags, seq, ack, payload);
        }
    }
    assert_eq!(w.table.health().anomalies.of(record::Anomaly::DuplicatePacket), 5);
    assert_eq!(w.listener.text.len(), 2, "it is told once");
    assert_eq!(w.closed().len(), 1);
}

#[test]
fn a_decoy_with_a_wrong_checksum_ends_nothing() {
    for flags in [SYN, FINACK, RSTACK] {
        let mut w = Wire::roomy();
        for (client, flags, seq, ack, payload) in TALK {
            w.tcp(client, flags, seq, ack, payload);
        }
        w.checksum = Checksum::Wrong;
        w.tcp(true, flags, if flags == SYN { 90_000 } else { 106 }, 507, b"");
        w.checksum = Checksum::Right;
        w.tcp(true, ACK, 106, 507, b"more");
        w.tcp(false, ACK, 507, 110, b"");
        let conns = w.closed();
        assert_eq!((conns.len(), conns[0].bytes[0], conns[0].state), (1, 9, ConnState::S1), "{flags:?}");
    }
}

#[test]
fn a_decoy_of_the_syn_itself_splits_nothing() {
    let mut w = Wire::roomy();
    for (n, (client, flags, seq, ack, payload)) in TALK.into_iter().enumerate() {
        w.tcp(client, flags, seq, ack, payload);
        if n == 0 {
            w.checksum = Checksum::Wrong;
            w.tcp(client, flags, seq, ack, payload);
            w.checksum = Checksum::Right;
        }
    }
    let conns = w.closed();
    assert_eq!((conns.len(), conns[0].state, w.listener.text.len()), (1, ConnState::S1, 2));
}

#[test]
fn networks_that_repeat_addresses_stay_apart_when_one_of_two_flows_is_over() {
    let mut w = Wire::roomy();
    let far = 1_000_000_000;
    for (vlan, from) in [(5, 0), (6, far)] {
        w.segment = Some(Segment::Vlan(vlan));
        for (client, flags, seq, ack, payload) in TALK {
            let ack = if flags.has(ACK) { ack + from } else { 0 };
            w.tcp(client, flags, seq + from, ack, payload);
        }
    }
    // The first ends, and is forgotten; the second goes on.
    w.segment = Some(Segment::Vlan(5));
    w.tcp(true, FINACK, 106, 507, b"");
    w.tcp(false, FINACK, 507, 107, b"");
    w.tcp(true, ACK, 107, 508, b"");
    w.now += 10;
    w.segment = Some(Segment::Vlan(6));
    w.tcp(true, ACK, 106 + far, 507 + far, b"more");
    w.tcp(false, ACK, 507 + far, 110 + far, b"");
    let conns = w.closed();
    assert_eq!(conns.len(), 2);
    let mut said: Vec<u64> = conns.iter().map(|c| c.bytes[0]).collect();
    said.sort_unstable();
    assert_eq!(said, [5, 9]);
    assert!(conns.iter().all(|c| c.start_seen));
}

#[test]
fn a_connection_that_goes_on_after_a_long_silence_is_one_more_and_not_one_a_packet() {
    let mut w = Wire::roomy();
    w.tcp(true, SYN, 100, 0, b"");
    w.tcp(false, SYNACK, 500, 101, b"");
    w.tcp(true, ACK, 101, 501, b"hello");
    // Nobody looks at the clock in between, as within a batch.
    w.now += 7200;
    w.looks = false;
    for n in 0..10 {
        w.tcp(true, ACK, 106 + n, 501 + n, b"a");
        w.tcp(false, ACK, 501 + n, 107 + n, b"b");
    }
    w.looks = true;
    let conns = w.closed();
    assert_eq!(conns.len(), 2);
    assert_eq!(conns[1].packets, [10, 10]);
}
