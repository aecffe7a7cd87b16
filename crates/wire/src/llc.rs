//! 802.2 LLC with SNAP, and the links whose frames begin with it or with its kin: token ring, FDDI, ATM, frame relay.
//!
//! Sources: IEEE 802.2, 802.5; ANSI X3.139 (FDDI); RFC 1042, 1390, 2427 (frame relay), 2684 (ATM).

use record::{Anomaly, Unread};

use crate::layer::Layer;
use crate::{Context, Header, Sink, ethernet, ip, ppp};

/// Network layer protocol identifier of IPv4.
const NLPID_IPV4: u8 = 0xcc;
/// Of IPv6.
const NLPID_IPV6: u8 = 0x8e;

/// Destination and source service access points, control, and what they announce.
pub fn header(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes {
        [0xaa | 0xab, 0xaa | 0xab, 3, ..] => snap(layer.skip(3), context, sink),
        // IP has a service access point of its own.
        [6, 6, 3, ..] => ip::any(layer.skip(3), context, sink),
        [0xfe, 0xfe, 3, NLPID_IPV4 | NLPID_IPV6, ..] => ip::any(layer.skip(4), context, sink),
        [0xfe, 0xfe, 3, 0xcf, ..] => ppp::packet(layer.skip(4), context, sink),
        [0xfe, 0xfe, ..] => sink.not_ip("osi"),
        [0x42, 0x42 | 0x43, ..] => sink.not_ip("stp"),
        [0xe0, 0xe0, ..] | [0xff, 0xff, ..] => sink.not_ip("ipx"),
        [0xf0, 0xf0 | 0xf1, ..] => sink.not_ip("netbeui"),
        [4 | 8 | 12, 4 | 5 | 8 | 9 | 12 | 13, ..] => sink.not_ip("sna"),
        // Null and global access points: a link's own words (XID, TEST).
        [0, ..] | [0xaa | 0xab | 6 | 0xff, _, _, ..] => sink.not_ip("llc"),
        [sap, _, _, ..] => sink.unread(Unread::Llc(*sap)),
        _ => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// An organisation and its protocol number.
fn snap(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[o0, o1, o2, p0, p1]) = layer.head::<5>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let (protocol, body) = (u16::from_be_bytes([p0, p1]), layer.skip(5));
    match [o0, o1, o2] {
        // EtherTypes, and the same over a bridge that cannot know better.
        [0, 0, 0] | [0, 0, 0xf8] => ethernet::by_type(protocol, body, context, sink),
        // Bridged frames, RFC 2427: with or without check sequence.
        [0, 0x80, 0xc2] => match protocol {
            1 | 7 => ethernet::inside(body, context, sink),
            0x0e | 0x0f => sink.not_ip("stp"),
            _ => sink.unread(Unread::Llc(0xaa)),
        },
        [0, 0, 0x0c] => sink.not_ip(match protocol {
            0x2000 => "cdp",
            0x2003 => "vtp",
            0x2004 => "dtp",
            0x0111 => "udld",
            0x0104 => "pagp",
            0x010b | 0x010c => "stp",
            _ => "cisco",
        }),
        // Cisco's access points among themselves.
        [0, 0x40, 0x96] => sink.not_ip("wlccp"),
        [8, 0, 7] => sink.not_ip("appletalk"),
        _ => sink.unread(Unread::Llc(0xaa)),
    }
}

/// Token ring: access control, frame control, addresses, a route if the source says so, LLC.
pub fn token_ring(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, control, _, _, _, _, _, _, source, _, _, _, _, _]) = layer.head::<14>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    if control & 0xc0 != 0x40 {
        return sink.not_ip("token_ring_mac");
    }
    sink.header(Header::Mac { at: layer.base.saturating_add(2) });
    sink.header(Header::Mac { at: layer.base.saturating_add(8) });
    let body = layer.skip(14);
    let route = match body.bytes.first() {
        Some(length) if source & 0x80 != 0 => usize::from(length & 0x1f),
        _ => 0,
    };
    header(body.skip(route), context, sink);
}

/// FDDI: frame control, addresses, LLC. The addresses are not kept: some systems store them with their bits reversed, and the file
/// does not say which.
pub fn fddi(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&control) = layer.bytes.first() else { return sink.stop(Anomaly::TruncatedHeader) };
    if control & 0x70 != 0x50 {
        return sink.not_ip("fddi_mac");
    }
    sink.header(Header::Mac { at: layer.base.saturating_add(1) });
    sink.header(Header::Mac { at: layer.base.saturating_add(7) });
    header(layer.skip(13), context, sink);
}

/// ATM adaptation layer 5 (RFC 2684): LLC, or a packet as it is.
pub fn atm(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes.first() {
        Some(first) if ip::is_plausible(layer.bytes) && matches!(first >> 4, 4 | 6) => {
            ip::any(layer, context, sink);
        }
        _ => header(layer, context, sink),
    }
}

/// SunATM: direction and kind, path, channel; then what the kind says.
pub fn sun_atm(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match layer.bytes.first().map(|kind| kind & 0x0f) {
        // LAN emulation: a header of two bytes, then Ethernet.
        Some(1) => ethernet::frame(layer.skip(6), context, sink),
        Some(5 | 6) => sink.not_ip("atm_signalling"),
        Some(_) => atm(layer.skip(4), context, sink),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// Frame relay: an address of two to four bytes whose last has its lowest bit set, then control and a protocol identifier, or with
/// Cisco's encapsulation an EtherType.
pub fn frame_relay(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let address = layer.bytes.iter().take(4).position(|b| b & 1 == 1);
    let Some(last) = address else { return sink.stop(Anomaly::TruncatedHeader) };
    let body = layer.skip(last.saturating_add(1));
    match body.bytes {
        // Padding may stand between control and identifier.
        [3, 0, rest @ ..] | [3, rest @ ..] => {
            let at = body.bytes.len().saturating_sub(rest.len());
            let inner = body.skip(at).skip(1);
            match rest.first() {
                Some(&(NLPID_IPV4 | NLPID_IPV6)) => ip::any(inner, context, sink),
                Some(0x80) => snap(inner, context, sink),
                Some(0xcf) => ppp::packet(inner, context, sink),
                Some(8) => sink.not_ip("q933"),
                Some(0x81..=0x83) => sink.not_ip("osi"),
                Some(other) => sink.unread(Unread::Llc(*other)),
                None => sink.stop(Anomaly::TruncatedHeader),
            }
        }
        [t0, t1, ..] if u16::from_be_bytes([*t0, *t1]) > 1500 => ethernet::typed(body, context, sink),
        [_, _, ..] => sink.not_ip("frame_relay_management"),
        _ => sink.stop(Anomaly::TruncatedHeader),
    }
}
