//! TCP (RFC 9293), UDP (RFC 768), SCTP's ports (RFC 9260), and everything else over IP.

use std::ops::BitOr;

use record::{Anomaly, Transport};

use crate::layer::Layer;
use crate::{Context, IpInfo, Packet, Sink, checksum, tunnel};

/// TCP's flag bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: Self = Self(0x01);
    /// SYN.
    pub const SYN: Self = Self(0x02);
    /// RST.
    pub const RST: Self = Self(0x04);
    /// PSH.
    pub const PSH: Self = Self(0x08);
    /// ACK.
    pub const ACK: Self = Self(0x10);
    /// URG.
    pub const URG: Self = Self(0x20);

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// A letter for each flag that is set: `SA`, `PA`, `FA` …
    pub fn letters(self) -> String {
        let all = [
            (Self::SYN, 'S'),
            (Self::FIN, 'F'),
            (Self::RST, 'R'),
            (Self::PSH, 'P'),
            (Self::ACK, 'A'),
            (Self::URG, 'U'),
        ];
        all.into_iter().filter_map(|(flag, letter)| self.has(flag).then_some(letter)).collect()
    }
}

impl BitOr for TcpFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The fields of a TCP header that flows need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer; means something with URG only.
    pub urgent: u16,
}

/// What a transport checksum says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// There is none, or the capture does not hold all that it covers.
    #[default]
    Unknown,
    /// The bytes are as they were sent.
    Right,
    /// Damage, a decoy, or a card that was to fill it in after the capture.
    Wrong,
}

fn packet(
    info: IpInfo,
    transport: Transport,
    ports: (u16, u16),
    payload: Layer<'_>,
    context: Context,
) -> Packet {
    Packet {
        src: info.src,
        dst: info.dst,
        transport,
        sport: ports.0,
        dport: ports.1,
        tcp: TcpInfo::default(),
        payload_at: payload.base,
        payload_captured: payload.bytes.len() as u32,
        payload_len: payload.wire as u32,
        frame_len: context.frame_len,
        ttl: info.ttl,
        layer: info.layer,
        mac: context.mac,
        segment: context.segment,
        carries: None,
        checksum: Checksum::Unknown,
        print: u32::from(info.ident) << 16,
    }
}

/// Checks a segment.
fn verify(layer: Layer<'_>, info: IpInfo) -> Checksum {
    if layer.bytes.len() != layer.wire {
        return Checksum::Unknown;
    }
    let pseudo = checksum::pseudo(info.src, info.dst, info.protocol, layer.wire);
    match checksum::fold(checksum::sum(layer.bytes).wrapping_add(pseudo)) {
        0xffff => Checksum::Right,
        _ => Checksum::Wrong,
    }
}

/// A TCP segment.
pub fn tcp(layer: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(&[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, c0, c1, u0, u1]) =
        layer.head::<20>()
    else {
        // Ports and sequence still tell which flow it is, but not what it did.
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let header = usize::from(offset >> 4).saturating_mul(4);
    if header < 20 || header > layer.wire {
        return sink.stop(Anomaly::BadLength);
    }
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let mut made = packet(info, Transport::Tcp, ports, layer.skip(header), context);
    made.tcp = TcpInfo {
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        flags: TcpFlags(flags),
        window: u16::from_be_bytes([w0, w1]),
        urgent: u16::from_be_bytes([u0, u1]),
    };
    made.checksum = verify(layer, info);
    made.print |= u32::from(u16::from_be_bytes([c0, c1]));
    sink.packet(made);
}

/// A UDP datagram; tunnels inside are followed.
pub fn udp(layer: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(&[s0, s1, d0, d1, l0, l1, c0, c1]) = layer.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    // 0 stands for a jumbogram or an offloaded length; a length past the packet is a lie.
    let body = match length {
        0 => layer.skip(8),
        1..8 => return sink.stop(Anomaly::BadLength),
        n => {
            if n > layer.wire {
                sink.anomaly(Anomaly::BadLength);
            }
            layer.limit(n).skip(8)
        }
    };
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let mut made = packet(info, Transport::Udp, ports, body, context);
    if (c0, c1) != (0, 0) && length == layer.wire {
        made.checksum = verify(layer, info);
    }
    made.print |= u32::from(u16::from_be_bytes([c0, c1]));
    made.carries = tunnel::over_udp(ports, body.bytes);
    sink.packet(made);
    if let Some(kind) = made.carries {
        tunnel::udp_inner(kind, body, info, context, sink);
    }
}

/// An SCTP packet: its ports.
pub fn sctp(layer: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(&[s0, s1, d0, d1, ..]) = layer.head::<12>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    sink.packet(packet(info, Transport::Sctp, ports, layer.skip(12), context));
}

/// Any other protocol over IP.
pub fn other(layer: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    sink.packet(packet(info, Transport::of_number(info.protocol), (0, 0), layer, context));
}

/// An ICMP message, whose ports are given.
pub fn icmp(layer: Layer<'_>, info: IpInfo, ports: (u16, u16), context: Context, sink: &mut impl Sink) {
    sink.packet(packet(info, Transport::of_number(info.protocol), ports, layer, context));
}
