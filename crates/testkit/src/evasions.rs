//! A capture told in other packets: the same conversations as one who wants to be missed would send them, or as odd networks
//! deliver them. What the hosts understood is the same, so the story must be.
//!
//! The techniques are those of Ptacek and Newsham, "Insertion, Evasion, and Denial of Service" (1998), and of later tools of
//! network testers. They are applied to frames that are written to files.

use std::net::Ipv4Addr;

use crate::frame::{self, Segment};
use crate::script::Script;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// A way of telling a capture in other packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evasion {
    /// Every TCP payload in segments of seven bytes.
    TinySegments,
    /// The same, each pair of segments swapped.
    ReorderedSegments,
    /// Every segment sent again with the one before it: overlaps with equal data.
    OverlappingSegments,
    /// Behind every segment another with other bytes under the same numbers.
    ConflictingSegments,
    /// Every IP packet in fragments of 24 bytes, the last one first.
    TinyFragments,
    /// Before every segment a decoy with a wrong checksum and other bytes.
    DecoyChecksum,
    /// Before every segment a decoy that will not live to arrive.
    DecoyTtl,
    /// Behind every handshake a reset that no stack takes: its number lies far outside of the window.
    DecoyReset,
    /// In every segment of some length one byte out of band.
    Urgent,
    /// The client's first bytes ride on its SYN and again behind the handshake, as where fast open is refused.
    SynWithData,
    /// Both sides send SYNs that cross.
    SimultaneousOpen,
    /// Sequence numbers that wrap within the first bytes of each side.
    SequenceWrap,
    /// Every client port used for one connection after the other.
    PortReuse,
    /// Every SYN three times.
    RetransmittedSyns,
    /// Everything over IPv6 behind a chain of extension headers.
    Ipv6Extensions,
    /// Everything inside GRE inside IP in IP inside VLANs.
    NestedTunnels,
    /// Every packet twice, as a span port hears it.
    Duplicates,
    /// Checksums that the card was to fill in.
    Offload,
    /// Without any handshake: the capture began later than the connections.
    Midstream,
}

impl Evasion {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::TinySegments,
        Self::ReorderedSegments,
        Self::OverlappingSegments,
        Self::ConflictingSegments,
        Self::TinyFragments,
        Self::DecoyChecksum,
        Self::DecoyTtl,
        Self::DecoyReset,
        Self::Urgent,
        Self::SynWithData,
        Self::SimultaneousOpen,
        Self::SequenceWrap,
        Self::PortReuse,
        Self::RetransmittedSyns,
        Self::Ipv6Extensions,
        Self::NestedTunnels,
        Self::Duplicates,
        Self::Offload,
        Self::Midstream,
    ];

    /// Tells a script in its own way.
    pub fn apply(self, script: Script) -> Script {
        let mut state = State::default();
        script.retold(|frame| match Tcp::of(frame) {
            Some(tcp) => self.tcp(&tcp, &mut state),
            None => self.other(frame),
        })
    }

    fn other(self, frame: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Self::TinyFragments => fragments(frame),
            Self::NestedTunnels => vec![tunnelled(frame)],
            Self::Ipv6Extensions => vec![over_ipv6(frame)],
            Self::Duplicates => vec![frame.to_vec(); 2],
            _ => vec![frame.to_vec()],
        }
    }

    fn tcp(self, tcp: &Tcp<'_>, state: &mut State) -> Vec<Vec<u8>> {
        let plain = || vec![tcp.frame.to_vec()];
        let said = !tcp.payload.is_empty();
        match self {
            Self::TinySegments => tcp.cut(7),
            Self::ReorderedSegments => {
                let mut all = tcp.cut(7);
                all.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
                all
            }
            Self::OverlappingSegments => {
                let parts: Vec<(usize, usize)> =
                    (0..tcp.payload.len()).step_by(20).map(|at| (at.saturating_sub(20), at + 20)).collect();
                if parts.is_empty() { plain() } else { parts.iter().map(|(a, b)| tcp.part(*a, *b)).collect() }
            }
            Self::ConflictingSegments if said => vec![tcp.frame.to_vec(), tcp.with(Parts::garble)],
            Self::TinyFragments => fragments(tcp.frame),
            Self::DecoyChecksum if said => {
                let mut decoy = tcp.with(Parts::garble);
                decoy[50] ^= 0x55;
                vec![decoy, tcp.frame.to_vec()]
            }
            Self::DecoyTtl if said => {
                let mut decoy = tcp.with(Parts::garble);
                decoy[22] = 2;
                frame::fix_ip_checksum(&mut decoy);
                vec![decoy, tcp.frame.to_vec()]
            }
            Self::DecoyReset if said => {
                let reset = tcp.with(|t| {
                    t.payload.clear();
                    t.segment.flags = RST;
                    t.segment.seq = t.segment.seq.wrapping_add(0x4000_0000);
                });
                vec![reset, tcp.frame.to_vec()]
            }
            Self::Urgent if tcp.payload.len() >= 6 => {
                // A byte more in each such segment, so every number after it moves on.
                let moved = state.moved(tcp);
                let urgent = tcp.with(|t| {
                    moved.apply(t);
                    t.payload.insert(4, b'!');
                    t.segment.flags |= URG;
                    t.urgent = 5;
                });
                state.more(tcp, 1);
                vec![urgent]
            }
            Self::Urgent => {
                let moved = state.moved(tcp);
                vec![tcp.with(|t| moved.apply(t))]
            }
            Self::SynWithData if tcp.flags() & (SYN | ACK) == SYN => {
                vec![tcp.with(|t| t.payload = b"early".to_vec())]
            }
            Self::SimultaneousOpen if tcp.flags() & (SYN | ACK) == SYN | ACK => {
                let syn = tcp.with(|t| {
                    t.segment.flags = SYN;
                    t.segment.ack = 0;
                });
                vec![syn, tcp.frame.to_vec()]
            }
            Self::SequenceWrap => {
                let moved = state.wrapped(tcp);
                vec![tcp.with(|t| moved.apply(t))]
            }
            Self::PortReuse => {
                let port = state.reused(tcp);
                vec![tcp.with(|t| *t.client_port() = port)]
            }
            Self::RetransmittedSyns if tcp.flags() & (SYN | ACK) == SYN => (0..3u16)
                .map(|n| {
                    // Sent again by the stack: another identification.
                    tcp.with(|t| t.ident = t.ident.wrapping_add(0x4000 + n))
                })
                .collect(),
            Self::Ipv6Extensions => vec![over_ipv6(tcp.frame)],
            Self::NestedTunnels => vec![tunnelled(tcp.frame)],
            Self::Duplicates => vec![tcp.frame.to_vec(); 2],
            Self::Offload if tcp.src().octets()[0] == 10 => {
                let mut frame = tcp.frame.to_vec();
                frame[50] ^= 0x12;
                vec![frame]
            }
            Self::Midstream if tcp.flags() & SYN != 0 => vec![],
            _ => plain(),
        }
    }
}

/// How far the numbers of both sides of a segment are moved: (sequence, acknowledgement).
#[derive(Clone, Copy)]
struct Moved(u32, u32);

impl Moved {
    fn apply(self, t: &mut Parts) {
        t.segment.seq = t.segment.seq.wrapping_add(self.0);
        if t.segment.flags & ACK != 0 {
            t.segment.ack = t.segment.ack.wrapping_add(self.1);
        }
    }
}

type Side = (Ipv4Addr, u16, Ipv4Addr, u16);

/// What the tellings remember.
#[derive(Default)]
struct State {
    offsets: std::collections::BTreeMap<Side, u32>,
    ports: std::collections::BTreeMap<(Ipv4Addr, u16), u16>,
    next_port: u16,
}

impl State {
    fn moved(&self, tcp: &Tcp<'_>) -> Moved {
        let of = |side| self.offsets.get(&side).copied().unwrap_or(0);
        Moved(of(tcp.side()), of(tcp.other_side()))
    }

    fn more(&mut self, tcp: &Tcp<'_>, n: u32) {
        let offset = self.offsets.entry(tcp.side()).or_default();
        *offset = offset.wrapping_add(n);
    }

    /// Numbers moved so that each side's begin just below the wrap.
    fn wrapped(&mut self, tcp: &Tcp<'_>) -> Moved {
        if tcp.flags() & SYN != 0 {
            self.offsets.insert(tcp.side(), 0xffff_fff0u32.wrapping_sub(tcp.segment().seq));
        }
        self.moved(tcp)
    }

    /// One of a few ports, each used again and again, one connection after the other.
    fn reused(&mut self, tcp: &Tcp<'_>) -> u16 {
        const PORTS: u16 = 24;
        let client = tcp.client();
        if tcp.flags() & (SYN | ACK) == SYN && !self.ports.contains_key(&client) {
            self.next_port = (self.next_port + 1) % PORTS;
            self.ports.insert(client, 50_000 + self.next_port);
        }
        self.ports.get(&client).copied().unwrap_or(client.1)
    }
}

/// A TCP frame of the testkit's own making: Ethernet, IPv4 and TCP without options.
struct Tcp<'a> {
    frame: &'a [u8],
    payload: &'a [u8],
}

/// What can be changed of it.
struct Parts {
    src: (Ipv4Addr, u16),
    dst: (Ipv4Addr, u16),
    ident: u16,
    segment: Segment,
    urgent: u16,
    payload: Vec<u8>,
}

impl Parts {
    /// Other bytes of the same length that look like something else.
    fn garble(&mut self) {
        for (at, byte) in self.payload.iter_mut().enumerate() {
            *byte = b"NOOP nothing of all this was said\r\n"[at % 35];
        }
    }

    fn client_port(&mut self) -> &mut u16 {
        if self.src.1 >= 1024 && self.dst.1 < 1024 || self.src.1 >= 49_152 {
            &mut self.src.1
        } else {
            &mut self.dst.1
        }
    }
}

impl<'a> Tcp<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        (frame.get(12..14)? == [8, 0] && *frame.get(23)? == 6)
            .then(|| Self { frame, payload: frame.get(54..).unwrap_or_default() })
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.frame[at], self.frame[at + 1]])
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) << 16 | u32::from(self.u16_at(at + 2))
    }

    fn flags(&self) -> u8 {
        self.frame[47]
    }

    fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.u32_at(26))
    }

    fn side(&self) -> Side {
        (self.src(), self.u16_at(34), Ipv4Addr::from_bits(self.u32_at(30)), self.u16_at(36))
    }

    fn other_side(&self) -> Side {
        let (a, b, c, d) = self.side();
        (c, d, a, b)
    }

    fn client(&self) -> (Ipv4Addr, u16) {
        let (src, sport, dst, dport) = self.side();
        if sport >= 1024 && dport < 1024 || sport >= 49_152 { (src, sport) } else { (dst, dport) }
    }

    fn segment(&self) -> Segment {
        Segment { seq: self.u32_at(38), ack: self.u32_at(42), flags: self.flags() }
    }

    /// The frame made anew with something changed.
    fn with(&self, change: impl FnOnce(&mut Parts)) -> Vec<u8> {
        let (src, sport, dst, dport) = self.side();
        let mut parts = Parts {
            src: (src, sport),
            dst: (dst, dport),
            ident: self.u16_at(18),
            segment: self.segment(),
            urgent: 0,
            payload: self.payload.to_vec(),
        };
        change(&mut parts);
        let Parts { src, dst, ident, segment, urgent, payload } = parts;
        frame::tcp_urgent((src.0.into(), src.1), (dst.0.into(), dst.1), ident, segment, urgent, &payload)
    }

    /// The bytes from `from` up to `to` of its payload, as a segment of its own.
    fn part(&self, from: usize, to: usize) -> Vec<u8> {
        let to = to.min(self.payload.len());
        let last = to == self.payload.len();
        self.with(|t| {
            t.payload = self.payload[from..to].to_vec();
            t.segment.seq = t.segment.seq.wrapping_add(from as u32);
            t.ident = t.ident.wrapping_add((from as u16).wrapping_mul(31));
            if !last {
                t.segment.flags &= !(FIN | PSH);
            }
        })
    }

    /// Its payload in parts of `n` bytes.
    fn cut(&self, n: usize) -> Vec<Vec<u8>> {
        if self.payload.len() <= n {
            return vec![self.frame.to_vec()];
        }
        (0..self.payload.len()).step_by(n).map(|at| self.part(at, at + n)).collect()
    }
}

/// An IPv4 frame in fragments of 24 bytes, the last one first; one that is short enough stays whole.
fn fragments(frame: &[u8]) -> Vec<Vec<u8>> {
    const SIZE: usize = 24;
    if frame.get(12..14) != Some(&[8, 0]) || frame.len() <= 34 + SIZE {
        return vec![frame.to_vec()];
    }
    let (head, body) = frame.split_at(34);
    let pieces: Vec<&[u8]> = body.chunks(SIZE).collect();
    let mut made: Vec<Vec<u8>> = pieces
        .iter()
        .enumerate()
        .map(|(i, piece)| {
            let mut out = [head, piece].concat();
            out[16..18].copy_from_slice(&((20 + piece.len()) as u16).to_be_bytes());
            let more = if i + 1 < pieces.len() { 0x2000 } else { 0 };
            out[20..22].copy_from_slice(&((i * SIZE / 8) as u16 | more).to_be_bytes());
            frame::fix_ip_checksum(&mut out);
            out
        })
        .collect();
    made.reverse();
    made
}

/// A frame inside two VLANs, IP in IP and GRE.
fn tunnelled(frame: &[u8]) -> Vec<u8> {
    if frame.get(12..14) != Some(&[8, 0]) {
        return frame.to_vec();
    }
    let inner = &frame[14..];
    let (a, b) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
    let gre = [&[0, 0, 8, 0][..], inner].concat();
    let middle = frame::ipv4_packet(a, b, 47, 7, &gre);
    let outer = frame::ipv4_packet(b, a, 4, 9, &middle);
    [&frame[..12], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0], &outer].concat()
}

/// The IPv6 address that stands for an IPv4 address: unique local for those of the house, documentation range for the others.
fn ipv6(ip: [u8; 4]) -> [u8; 16] {
    let mut made = [0; 16];
    if ip[0] == 10 {
        made[0] = 0xfd;
    } else {
        made[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    }
    // The third byte first: where IPv4 has another /24, IPv6 has another /48.
    let (at, order) = if ip[0] == 10 { (12, [0, 1, 2, 3]) } else { (4, [2, 1, 0, 3]) };
    for (to, from) in made[at..].iter_mut().zip(order) {
        *to = ip[from];
    }
    made
}

/// An IPv4 frame of TCP or UDP told over IPv6 behind hop-by-hop, routing and destination options; DNS answers keep the
/// addresses that they have, so names are not known there.
fn over_ipv6(frame: &[u8]) -> Vec<u8> {
    let protocol = frame.get(23).copied().unwrap_or(0);
    let plain = frame.get(12..14) == Some(&[8, 0]) && matches!(protocol, 6 | 17);
    let (Some(src), Some(dst)) = (frame.get(26..30), frame.get(30..34)) else { return frame.to_vec() };
    if !plain || dst == [255; 4] {
        return frame.to_vec();
    }
    let address = |b: &[u8]| ipv6([b[0], b[1], b[2], b[3]]);
    let (src, dst) = (address(src), address(dst));
    let segment = frame::checked_ipv6(src, dst, protocol, &frame[34..]);
    let mut out = frame[..12].to_vec();
    out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    out.extend(((24 + segment.len()) as u16).to_be_bytes());
    out.extend([0, 64]);
    out.extend(src);
    out.extend(dst);
    // Hop-by-hop, routing (an experimental type, no segments left), destination options; each padded to eight bytes.
    out.extend([43, 0, 1, 4, 0, 0, 0, 0]);
    out.extend([60, 0, 253, 0, 0, 0, 0, 0]);
    out.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
    out.extend(segment);
    out
}
