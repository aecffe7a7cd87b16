//! What a live flow costs: bytes of resident memory and time per packet, for ten thousand to ten million flows at once.
//! `cargo run --release -p hydrophone-benches --bin cost -- [MOST]`
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // This measures the clock and prints what it measured.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::Context;
use flow::{Arrival, FlowTable, Limits, Sessions};
use proto::Session;
use record::{Chunk, Conn, Direction, FlowFacts, PacketId, Progress, Service, Timestamp, Transport};
use wire::{Checksum, Packet, TcpFlags, TcpInfo};

struct Quiet;

impl Sessions for Quiet {
    type Session = Session;
    fn begin(&mut self) -> Session {
        Session::new()
    }
    fn data(&mut self, _: &FlowFacts, _: &mut Session, _: Chunk<'_>) -> Progress {
        Progress { service: None, wants_more: false, remote: None }
    }
    fn gap(
        &mut self,
        _: &FlowFacts,
        _: &mut Session,
        _: Direction,
        _: u64,
        _: Timestamp,
        _: PacketId,
    ) -> Progress {
        Progress { service: None, wants_more: false, remote: None }
    }
    fn end(&mut self, _: &FlowFacts, _: &mut Session, _: Timestamp) -> Option<Service> {
        None
    }
    fn conn(&mut self, _: Conn) {}
    fn weight(&self, session: &Session) -> usize {
        session.weight()
    }
}

fn resident() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("only on Linux")?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has two numbers")?.parse()?;
    Ok(pages * 4096)
}

/// Packet `i` of its round: a handshake's first two, then data of both sides.
fn packet(i: u32, round: u32) -> Packet {
    let client = (IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | i >> 8)), 1024 + (i & 255) as u16 * 200);
    let server = (IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 | i.wrapping_mul(2_654_435_761) >> 15)), 443);
    let back = round % 2 == 1;
    let ((src, sport), (dst, dport)) = if back { (server, client) } else { (client, server) };
    let len = if round < 2 { 0 } else { 100 };
    Packet {
        src,
        dst,
        transport: Transport::Tcp,
        sport,
        dport,
        tcp: TcpInfo {
            seq: if round < 2 { 0 } else { 1 + (round / 2 - 1) * 100 },
            ack: u32::from(round != 0),
            flags: TcpFlags([2, 0x12].get(round as usize).copied().unwrap_or(0x18)),
            ..TcpInfo::default()
        },
        payload_at: 0,
        payload_captured: len,
        payload_len: len,
        frame_len: 54 + len,
        ttl: 64,
        layer: 0,
        mac: None,
        segment: None,
        carries: None,
        checksum: Checksum::Right,
        print: 0,
    }
}

fn main() -> anyhow::Result<()> {
    const PAYLOAD: [u8; 100] = [0xa5; 100];
    let most: u32 = std::env::args().nth(1).map_or(Ok(10_000_000), |n| n.parse()).context("a number")?;
    println!(
        "| live flows | bytes a flow, handshake seen | bytes a flow, both spoke | ns a packet, opening | ns a packet, following |"
    );
    println!("|---|---|---|---|---|");
    for flows in [10_000u32, 100_000, 1_000_000, 10_000_000].into_iter().filter(|n| *n <= most) {
        let limits = Limits {
            flow_bytes: usize::MAX / 2,
            waiting_bytes: usize::MAX / 2,
            ordering_bytes: usize::MAX / 2,
        };
        let mut table = FlowTable::new(limits);
        let before = resident()?;
        let mut bytes = Vec::new();
        let mut times = Vec::new();
        for round in 0..6 {
            let begun = Instant::now();
            let payload = if round < 2 { &[][..] } else { &PAYLOAD[..] };
            for start in (0..flows).step_by(1000) {
                let packets: Vec<Packet> =
                    (start..flows.min(start + 1000)).map(|i| packet(i, round)).collect();
                let at = Timestamp::from_secs(1_000 + i64::from(round));
                let arrival = |i: usize| Arrival {
                    packet: &packets[i],
                    payload,
                    ts: at,
                    clock: at,
                    id: PacketId::new(0, u64::from(start) + 1),
                };
                table.packets(packets.len(), arrival, &mut Quiet);
            }
            times.push(begun.elapsed().as_nanos() as f64 / f64::from(flows));
            bytes.push((resident()?.saturating_sub(before)) as f64 / f64::from(flows));
        }
        assert_eq!(table.len(), flows as usize, "every flow is open");
        println!("| {flows} | {:.0} | {:.0} | {:.0} | {:.0} |", bytes[1], bytes[3], times[0], times[5]);
    }
    Ok(())
}
