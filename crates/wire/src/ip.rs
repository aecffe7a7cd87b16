//! IPv4 (RFC 791) and IPv6 (RFC 8200) with options, fragments and extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::{Anomaly, Mac, Segment, Transport, Unread};

use crate::layer::Layer;
use crate::{Context, Header, Sink, checksum, ethernet, icmp, transport, tunnel};

/// How many IPv6 extension headers are followed; RFC 8200 expects each kind once.
const MAX_EXTENSIONS: usize = 10;

/// What the IP header says about the payload behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpInfo {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time-to-live or hop limit.
    pub ttl: u8,
    /// How many tunnels it is inside of.
    pub layer: u8,
    /// IPv4's identification; 0 for IPv6.
    pub ident: u16,
}

/// A piece of a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPiece {
    /// The header it came under.
    pub info: IpInfo,
    /// The identification that all pieces share.
    pub ident: u32,
    /// Where in the datagram it belongs, in bytes.
    pub offset: u32,
    /// Whether others follow it.
    pub more: bool,
    /// Whether the capture kept all of it.
    pub complete: bool,
    /// Bytes of the frame on the wire.
    pub frame_len: u32,
    /// Source Ethernet address.
    pub mac: Option<Mac>,
    /// Its segment of the network.
    pub segment: Option<Segment>,
}

/// IP of the version that the first nibble says.
pub fn any(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(context) = context.deeper() else { return sink.stop(Anomaly::TooManyLayers) };
    match layer.bytes.first().map(|b| b >> 4) {
        Some(4) => v4(layer, context, sink),
        Some(6) => v6(layer, context, sink),
        Some(_) => sink.stop(Anomaly::BadLength),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// An IPv4 packet.
pub fn v4(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[vihl, _, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3]) =
        layer.head::<20>()
    else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let header = usize::from(vihl & 0x0f).saturating_mul(4);
    if vihl >> 4 != 4 || header < 20 {
        return sink.stop(Anomaly::BadLength);
    }
    sink.ip();
    sink.header(Header::Ip { at: layer.base, v6: false });
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let body = if total == 0 {
        // Segmentation offload: the card was to fill it in. The frame's own length is the truth.
        sink.anomaly(Anomaly::OffloadedLength);
        layer.skip(header)
    } else if total < header {
        return sink.stop(Anomaly::BadLength);
    } else {
        let mut packet = layer.limit(total);
        if total > layer.wire {
            // A capture that was cut without saying so: the header knows how long the packet was.
            sink.anomaly(Anomaly::BadLength);
            packet.wire = total;
        }
        packet.skip(header)
    };
    if layer.bytes.get(..header).is_some_and(|h| checksum::fold(checksum::sum(h)) != 0xffff) {
        sink.anomaly(Anomaly::BadIpChecksum);
    }
    let info = IpInfo {
        src: IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)),
        dst: IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3)),
        protocol,
        ttl,
        layer: context.layer,
        ident: u16::from_be_bytes([i0, i1]),
    };
    let flags = u16::from_be_bytes([f0, f1]);
    let (offset, more) = (u32::from(flags & 0x1fff).saturating_mul(8), flags & 0x2000 != 0);
    if offset > 0 || more {
        return fragment(body, info, u32::from(info.ident), offset, more, context, sink);
    }
    payload(body, info, context, sink);
}

/// An IPv6 packet with its extension headers.
pub fn v6(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[v, _, _, _, l0, l1, next, hops]) = layer.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let Some(addresses) = layer.skip(8).head::<32>() else { return sink.stop(Anomaly::TruncatedHeader) };
    if v >> 4 != 6 {
        return sink.stop(Anomaly::BadLength);
    }
    sink.ip();
    sink.header(Header::Ip { at: layer.base, v6: true });
    let (src, dst) = addresses.split_at(16);
    let address = |b: &[u8]| <[u8; 16]>::try_from(b).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from);
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let mut body = layer.skip(40);
    if length > 0 {
        if length > body.wire {
            sink.anomaly(Anomaly::BadLength);
        }
        body = body.limit(length);
    } else if body.wire > 0 && next != 59 {
        sink.anomaly(Anomaly::OffloadedLength);
    }
    let info = IpInfo {
        src: IpAddr::V6(address(src)),
        dst: IpAddr::V6(address(dst)),
        protocol: next,
        ttl: hops,
        layer: context.layer,
        ident: 0,
    };
    payload(body, info, context, sink);
}

fn fragment(
    body: Layer<'_>,
    info: IpInfo,
    ident: u32,
    offset: u32,
    more: bool,
    context: Context,
    sink: &mut impl Sink,
) {
    let complete = body.bytes.len() == body.wire;
    let piece = FragmentPiece {
        info,
        ident,
        offset,
        more,
        complete,
        frame_len: context.frame_len,
        mac: context.mac,
        segment: context.segment,
    };
    sink.fragment(piece, body.bytes);
}

/// Steps over extension headers, of IPv4 the authentication header alone; `None` where what is behind is not here, which was said.
fn extensions<'a>(
    mut body: Layer<'a>,
    mut info: IpInfo,
    context: Context,
    sink: &mut impl Sink,
) -> Option<(Layer<'a>, IpInfo)> {
    for _ in 0..MAX_EXTENSIONS {
        let len = match info.protocol {
            // Authentication header (RFC 4302): length in 4 bytes without the first two.
            51 => body.head::<2>().map(|[_, len]| usize::from(*len).saturating_add(2).saturating_mul(4)),
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in 8 bytes without the first.
            0 | 43 | 60 | 135 | 139 | 140 if info.src.is_ipv6() => {
                body.head::<2>().map(|[_, len]| usize::from(*len).saturating_add(1).saturating_mul(8))
            }
            44 if info.src.is_ipv6() => {
                let Some(&[next, _, o0, o1, i0, i1, i2, i3]) = body.head::<8>() else {
                    sink.stop(Anomaly::TruncatedHeader);
                    return None;
                };
                let field = u16::from_be_bytes([o0, o1]);
                let (offset, more) = (u32::from(field & 0xfff8), field & 1 == 1);
                // An atomic fragment (RFC 6946) is whole.
                if offset > 0 || more {
                    let ident = u32::from_be_bytes([i0, i1, i2, i3]);
                    let info = IpInfo { protocol: next, ..info };
                    fragment(body.skip(8), info, ident, offset, more, context, sink);
                    return None;
                }
                Some(8)
            }
            _ => return Some((body, info)),
        };
        let (Some(len), Some(next)) = (len, body.bytes.first()) else {
            sink.stop(Anomaly::TruncatedHeader);
            return None;
        };
        info.protocol = *next;
        body = body.skip(len);
    }
    sink.stop(Anomaly::TooManyLayers);
    None
}

/// What an IP header carries, behind its extension headers.
pub fn payload(body: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let (body, info) = match info.protocol {
        // Most of all packets.
        6 | 17 => (body, info),
        _ => match extensions(body, info, context, sink) {
            Some(behind) => behind,
            None => return,
        },
    };
    sink.header(Header::Transport { at: body.base, len: body.bytes.len(), protocol: info.protocol });
    match info.protocol {
        6 => transport::tcp(body, info, context, sink),
        17 | 136 => transport::udp(body, info, context, sink),
        1 | 58 => icmp::decode(body, info, context, sink),
        132 => transport::sctp(body, info, context, sink),
        4 | 41 => tunnel::ip_in_ip(body, context, sink),
        47 => tunnel::gre(body, info, context, sink),
        97 => tunnel::ether_ip(body, context, sink),
        115 => tunnel::l2tp_over_ip(body, info, context, sink),
        137 => match context.deeper() {
            // RFC 4023.
            Some(context) => ethernet::mpls(body, context.tunnelled(), sink),
            None => sink.stop(Anomaly::TooManyLayers),
        },
        103 => tunnel::pim(body, info, context, sink),
        59 => sink.not_ip("ipv6_no_next_header"),
        protocol => {
            transport::other(body, info, context, sink);
            match protocol {
                50 => sink.unread(Unread::Encrypted("ESP")),
                p if Transport::of_number(p).is_read() => {}
                p => sink.unread(Unread::IpProtocol(p)),
            }
        }
    }
}

/// Whether bytes look like an IP packet: for IPv4 with a right checksum, for IPv6 with a next header that is in use.
pub fn is_plausible(b: &[u8]) -> bool {
    match b {
        [vihl, _, l0, l1, ..] if vihl >> 4 == 4 => {
            let header = usize::from(vihl & 15).saturating_mul(4);
            let total = usize::from(u16::from_be_bytes([*l0, *l1]));
            header >= 20
                && (total == 0 || total >= header)
                && b.get(..header).is_some_and(|h| checksum::fold(checksum::sum(h)) == 0xffff)
        }
        [v, _, _, _, _, _, next, hops, ..] if v >> 4 == 6 && b.len() >= 40 => {
            *hops > 0 && matches!(next, 0 | 4 | 6 | 17 | 41 | 43 | 44 | 47 | 50 | 51 | 58 | 59 | 60 | 132)
        }
        _ => false,
    }
}
