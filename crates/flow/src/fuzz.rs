//! Arbitrary packets of a few flows, and what must hold of the table after each.

use std::net::{IpAddr, Ipv4Addr};

use record::{Chunk, Conn, Direction, FlowFacts, PacketId, Progress, Service, Timestamp, Transport};
use wire::{Checksum, Packet, TcpFlags, TcpInfo};

use crate::order::Waits;
use crate::state::Flags;
use crate::{Arrival, FlowTable, Limits, Sessions};

/// Takes everything, and says so in weight.
#[derive(Default)]
struct Listener {
    conns: u64,
    opened: u64,
}

impl Sessions for Listener {
    type Session = u64;

    fn begin(&mut self) -> u64 {
        self.opened += 1;
        0
    }

    fn data(&mut self, _: &FlowFacts, seen: &mut u64, chunk: Chunk<'_>) -> Progress {
        *seen += chunk.bytes.len() as u64;
        Progress { service: (*seen > 64).then_some(Service::Telnet), wants_more: *seen < 4096, remote: None }
    }

    fn gap(
        &mut self,
        _: &FlowFacts,
        seen: &mut u64,
        _: Direction,
        bytes: u64,
        _: Timestamp,
        _: PacketId,
    ) -> Progress {
        assert!(bytes > 0 && bytes < 1 << 32, "a gap of {bytes} bytes");
        *seen += 1;
        Progress { service: None, wants_more: true, remote: None }
    }

    fn end(&mut self, _: &FlowFacts, _: &mut u64, _: Timestamp) -> Option<Service> {
        None
    }

    fn conn(&mut self, conn: Conn) {
        assert!(conn.last >= conn.head.ts || conn.packets.iter().sum::<u64>() > 0);
        self.conns += 1;
    }

    fn weight(&self, seen: &u64) -> usize {
        (*seen % 1000) as usize
    }
}

/// Follows packets that the bytes describe and checks the table's books after each: what is charged and held is what the
/// flows have, and limits are kept. A fuzz function; the target is a shim.
pub fn fuzz_follow(data: &[u8]) {
    const BYTES: &[u8] = &[0x5a; 256];
    let limits = Limits {
        flow_bytes: 6 * FlowTable::<u64>::least_charge(),
        waiting_bytes: 2_000,
        ordering_bytes: 6_000,
    };
    let (mut table, mut listener) = (FlowTable::<u64>::new(limits), Listener::default());
    let mut clock = Timestamp(0);
    for (number, step) in (1..).zip(data.chunks_exact(10)) {
        let &[ends, flags, s0, s1, a0, a1, len, cut, time, odd] = step else { return };
        let end = |n: u8| (IpAddr::V4(Ipv4Addr::new(10, 0, 0, n & 1)), 1000 + u16::from(n >> 1 & 3));
        let ((src, sport), (dst, dport)) = (end(ends), end(ends >> 3));
        // Numbers near each other and near the wrap, so that they meet.
        let near = |hi: u8, lo: u8| u32::from(u16::from_be_bytes([hi & 3, lo])).wrapping_sub(300);
        let payload = &BYTES[..usize::from(len.min(cut))];
        let packet = Packet {
            src,
            dst,
            transport: if ends & 0x40 == 0 { Transport::Tcp } else { Transport::Udp },
            sport,
            dport,
            tcp: TcpInfo {
                seq: near(s0, s1),
                ack: near(a0, a1),
                flags: TcpFlags(flags),
                window: 1000,
                urgent: u16::from(odd & 15),
            },
            payload_at: 0,
            payload_captured: payload.len() as u32,
            payload_len: u32::from(len),
            frame_len: 54 + u32::from(len),
            ttl: if odd & 0x10 == 0 { 64 } else { 2 },
            layer: 0,
            mac: None,
            segment: None,
            carries: None,
            checksum: if odd & 0x20 == 0 { Checksum::Right } else { Checksum::Wrong },
            print: u32::from(odd >> 6) << 16 | u32::from(odd),
        };
        clock = clock.plus(std::time::Duration::from_millis(u64::from(time) * u64::from(time)));
        let arrival = Arrival { packet: &packet, payload, ts: clock, clock, id: PacketId::new(0, number) };
        table.packets(1, |_| arrival, &mut listener);
        if odd & 0x80 != 0 {
            table.advance(clock, &mut listener);
        }
        table.check();
    }
    table.finish(clock, &mut listener);
    assert!(table.is_empty() && table.charged() == 0 && table.waiting_bytes == 0);
    assert_eq!((table.ordering_bytes, table.lobby.held()), (0, 0));
}

impl<S> FlowTable<S> {
    /// Checks the books.
    fn check(&self) {
        let open = || self.hot.iter().zip(&self.cold).filter(|(hot, _)| hot.flags.has(Flags::OPEN));
        assert_eq!(open().count(), self.len());
        assert_eq!(open().map(|(_, cold)| cold.charged as usize).sum::<usize>(), self.charged());
        assert_eq!(open().map(|(_, cold)| cold.held()).sum::<usize>(), self.waiting_bytes);
        assert!(self.waiting_bytes <= self.limits.waiting_bytes);
        let waits = open().filter_map(|(_, cold)| cold.waits()).map(Waits::held).sum::<usize>();
        assert_eq!(waits + self.lobby.held(), self.ordering_bytes);
        assert!(self.ordering_bytes <= self.limits.ordering_bytes);
        // The flow that came last may have grown beyond.
        assert!(self.charged() <= self.limits.flow_bytes + 2 * Self::least_charge() + 4_000);
    }
}
