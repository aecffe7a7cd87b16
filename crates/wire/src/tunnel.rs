//! Tunnels and mirrors: IP in IP (RFC 2003, 4213), GRE (RFC 2784, 2637) with ERSPAN, WCCP, NVGRE and EoIP, EtherIP (RFC 3378), L2TP (RFC 2661,
//! 3931), VXLAN (RFC 7348, with group policy and the generic extension), Geneve (RFC 8926), NSH (RFC 8300), TZSP, CAPWAP data (RFC 5415), MPLS
//! in UDP (RFC 7510), GRE in UDP (RFC 8086), LISP (RFC 9300), GTP-U (3GPP TS 29.281), Teredo (RFC 4380).
//!
//! A tunnel over UDP is believed only on its port and with a header that holds together, because what is taken for a
//! tunnel is not looked at as anything else. Optional parts are skipped by their length.

use record::{Anomaly, Service, Unread};

use crate::layer::Layer;
use crate::{Context, IpInfo, Sink, ethernet, ip, link, ppp, transport, wifi};

/// GTP-U extension headers that are followed; there is rarely more than one.
const MAX_GTP_EXTENSIONS: usize = 8;
/// Tags of a TZSP header and entries of a GRE source route that are stepped over.
const MAX_TAGS: usize = 64;

/// IPv4 or IPv6 directly over IP.
pub fn ip_in_ip(body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    ip::any(body, context.tunnelled(), sink);
}

/// Ethernet over IP: version 3 and reserved bits, then the frame.
pub fn ether_ip(body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    match body.bytes.first() {
        Some(version) if version >> 4 == 3 => {
            ethernet::inside(body.skip(2), context.tunnelled(), sink);
        }
        Some(_) => sink.unread(Unread::IpProtocol(97)),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// PIM (RFC 7761): a Register carries the packet that a source sent.
pub fn pim(body: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    transport::other(body, info, context, sink);
    if let Some(&[0x21, _, _, _, flags, _, _, _]) = body.head::<8>()
        && flags & 0x40 == 0
    {
        ip::any(body.skip(8), context.tunnelled(), sink);
    }
}

/// GRE, with PPTP's version 1.
pub fn gre(body: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(&[flags, version, t0, t1]) = body.head::<4>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let Some(context) = context.deeper() else { return sink.stop(Anomaly::TooManyLayers) };
    let field = |bit: u8| if flags & bit != 0 { 4usize } else { 0 };
    let protocol = u16::from_be_bytes([t0, t1]);
    let enhanced = version & 7 == 1;
    // Checksum and offset stand there also where only a route does (RFC 1701).
    let checksum = if flags & 0xc0 != 0 && !enhanced { 4usize } else { 0 };
    let mut skip = 4usize.saturating_add(checksum).saturating_add(field(0x20)).saturating_add(field(0x10));
    if enhanced && version & 0x80 != 0 {
        skip = skip.saturating_add(4);
    }
    let mut inner = body.skip(skip);
    if flags & 0x40 != 0 && !enhanced {
        for _ in 0..MAX_TAGS {
            let Some(&[f0, f1, _, len]) = inner.head::<4>() else {
                return sink.stop(Anomaly::TruncatedHeader);
            };
            inner = inner.skip(4).skip(usize::from(len));
            if [f0, f1, len] == [0, 0, 0] {
                break;
            }
        }
    }
    let inside = context.tunnelled();
    // Over UDP the datagram has been told already.
    let own = |sink: &mut _| {
        if info.protocol == 47 {
            transport::other(body, info, context, sink);
        }
    };
    match protocol {
        // ERSPAN type II has an 8-byte header when the sequence bit is set; type I has none.
        0x88be => ethernet::frame(if flags & 0x10 != 0 { inner.skip(8) } else { inner }, inside, sink),
        0x22eb => erspan3(inner, inside, sink),
        // Transparent Ethernet (NVGRE too); MikroTik's EoIP, whose key is length and tunnel.
        0x6558 => ethernet::frame(inner, inside, sink),
        0x6400 if enhanced => ethernet::frame(inner, inside, sink),
        0x880b if inner.bytes.is_empty() && inner.wire == 0 => {
            // An acknowledgement of PPTP.
            own(sink);
            sink.not_ip("pptp_acknowledgement");
        }
        0x880b => ppp::framed(inner, inside, sink),
        // WCCP: a redirect header of four bytes, in its second version.
        0x883e => match inner.bytes.first().map(|b| b >> 4) {
            Some(4 | 6) if ip::is_plausible(inner.bytes) => ip::any(inner, inside, sink),
            _ => ip::any(inner.skip(4), inside, sink),
        },
        // Aruba: 802.11 as the access point heard it.
        0x8200..=0x82ff => wifi::frame(inner, inside, sink),
        0 if inner.wire == 0 => {
            own(sink);
            sink.not_ip("gre_keepalive");
        }
        0x0800 | 0x86dd | 0x8847 | 0x8848 | 0x894f | 0x8100 | 0x8909 => {
            ethernet::by_type(protocol, inner, inside, sink);
        }
        _ => {
            own(sink);
            sink.unread(Unread::Tunnel("GRE protocol", protocol));
        }
    }
}

/// ERSPAN type III: 12 bytes, 8 more where the last bit says so; a frame, or a packet alone.
fn erspan3(inner: Layer<'_>, inside: Context, sink: &mut impl Sink) {
    let Some(&[_, _, _, _, _, _, _, _, _, _, kind, options]) = inner.head::<12>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let body = inner.skip(if options & 1 != 0 { 20 } else { 12 });
    match (kind >> 2) & 0x1f {
        0 => ethernet::frame(body, inside, sink),
        2 => ip::any(body, inside, sink),
        other => sink.unread(Unread::Tunnel("ERSPAN frame type", u16::from(other))),
    }
}

/// Network service header: length in words and the next protocol.
pub fn nsh(layer: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[_, length, _, next]) = layer.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let words = usize::from(length & 0x3f);
    if words < 2 {
        return sink.stop(Anomaly::BadLength);
    }
    next_protocol("NSH next protocol", next, layer.skip(words.saturating_mul(4)), context, sink);
}

/// The protocol numbers that NSH and VXLAN's generic extension share.
fn next_protocol(what: &'static str, next: u8, body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(context) = context.deeper() else { return sink.stop(Anomaly::TooManyLayers) };
    match next {
        1 | 2 => ip::any(body, context, sink),
        3 => ethernet::frame(body, context, sink),
        4 => nsh(body, context, sink),
        5 => ethernet::mpls(body, context, sink),
        other => sink.unread(Unread::Tunnel(what, u16::from(other))),
    }
}

/// L2TP version 3 directly over IP: session, a cookie of 0, 4 or 8 bytes that the tunnel's ends have agreed on, then the frame.
pub fn l2tp_over_ip(body: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    transport::other(body, info, context, sink);
    match body.head::<4>() {
        Some([0, 0, 0, 0]) => sink.not_ip("l2tp_control"),
        Some(_) => l2tp3_session(body.skip(4), context, sink),
        None => sink.stop(Anomaly::TruncatedHeader),
    }
}

/// Behind a session's number: how long the cookie is, and whether a sublayer of four bytes follows, only the ends know; the frame tells.
fn l2tp3_session(body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(context) = context.deeper() else { return sink.stop(Anomaly::TooManyLayers) };
    let inside = context.tunnelled();
    for at in [0, 4, 8, 12] {
        let inner = body.skip(at);
        if ethernet::is_plausible(inner.bytes) {
            return ethernet::frame(inner, inside, sink);
        }
        if ip::is_plausible(inner.bytes) {
            return ip::any(inner, inside, sink);
        }
        if matches!(inner.bytes, [0xff, 3, 0, 0x21 | 0x57, ..] | [0x0f | 0x8f, 0, 8, 0, ..]) {
            return ppp::framed(inner, inside, sink);
        }
    }
    sink.unread(Unread::Tunnel("L2TPv3 payload", 0));
}

/// Whether a UDP payload is a tunnel that is followed.
pub fn over_udp(ports: (u16, u16), b: &[u8]) -> Option<Service> {
    let on = |port: u16| ports.0 == port || ports.1 == port;
    match ports.1 {
        4789 | 8472 | 4790 if is_vxlan(ports.1, b) => return Some(Service::Vxlan),
        6081 if is_geneve(b) => return Some(Service::Geneve),
        37_008 if matches!(b, [1, 0 | 1, 0, 1 | 18 | 119 | 127, ..]) => return Some(Service::Tzsp),
        6635 if is_mpls_with_ip(b) => return Some(Service::MplsUdp),
        4754 if matches!(b, [flags, 0, p0, p1, ..] if flags & 0x4f == 0 && is_gre_with_ip([*p0, *p1])) => {
            return Some(Service::GreUdp);
        }
        4341 if b.get(8..).is_some_and(ip::is_plausible) => return Some(Service::Lisp),
        _ => {}
    }
    match b {
        [first, 0xff, ..] if on(2152) && first & 0xf0 == 0x30 => Some(Service::GtpU),
        _ if on(5247) && is_capwap(b) => Some(Service::Capwap),
        [flags, version, ..] if on(1701) && flags & 0x80 == 0 && matches!(version & 15, 2 | 3) => {
            Some(Service::L2tp)
        }
        _ if on(3544) => teredo_inner(b).map(|_| Service::Teredo),
        _ => None,
    }
}

/// Protocols of GRE that a tunnel over UDP is believed with.
const fn is_gre_with_ip(protocol: [u8; 2]) -> bool {
    matches!(
        u16::from_be_bytes(protocol),
        0x0800 | 0x86dd | 0x6558 | 0x8847 | 0x8848 | 0x894f | 0x8100 | 0x8909 | 0x88be | 0x22eb
    )
}

/// The header with the bit that says that its network number is valid. With the other bits at zero nothing more is asked; with a policy, a
/// next protocol or reserved bits, what follows must look like what it says.
fn is_vxlan(port: u16, b: &[u8]) -> bool {
    let Some((&[flags, _, _, next, _, _, _, last], rest)) = b.split_first_chunk::<8>() else { return false };
    if flags & 8 == 0 {
        return false;
    }
    let generic = flags & 4 != 0 && matches!(next, 1..=5);
    match b {
        _ if generic && matches!(next, 1 | 2) => ip::is_plausible(rest),
        _ if generic && next == 3 => ethernet::is_plausible(rest),
        _ if generic => true,
        [8, 0, 0, 0, ..] if last == 0 && port != 4790 => true,
        _ => ethernet::is_plausible(rest),
    }
}

/// Version 0, flags whose reserved bits are ignored, and a protocol that is followed.
fn is_geneve(b: &[u8]) -> bool {
    matches!(
        b,
        [0..=0x3f, _, 0x65, 0x58, ..]
            | [0..=0x3f, _, 0x08, 0x00, ..]
            | [0..=0x3f, _, 0x86, 0xdd, ..]
            | [0..=0x3f, _, 0x89, 0x4f, ..]
            | [0..=0x3f, _, 0x88, 0x47, ..]
    )
}

/// A stack of labels with a packet, or a frame, at its end.
fn is_mpls_with_ip(b: &[u8]) -> bool {
    let bottom = b
        .chunks_exact(4)
        .take(usize::from(crate::MAX_DEPTH))
        .position(|l| matches!(l, [_, _, s, _] if s & 1 == 1));
    bottom.is_some_and(|at| {
        let rest = b.get(at.saturating_add(1).saturating_mul(4)..).unwrap_or_default();
        ip::is_plausible(rest)
            || ethernet::is_plausible(rest)
            || rest.get(4..).is_some_and(ethernet::is_plausible)
    })
}

/// CAPWAP's preamble (version 0; header, or DTLS) with a header that holds together: reserved bits are zero, it is longer than eight bytes
/// where it says that a radio's address or wireless information is in it, and only there; what is native is 802.11.
fn is_capwap(b: &[u8]) -> bool {
    match b {
        [0, length, kind, flags, _, _, _, reserved, ..] => {
            let (words, optional) = (length >> 3, flags & 0x30 != 0);
            words >= 2
                && (words > 2) == optional
                && (flags & 7, reserved & 7) == (0, 0)
                && (kind & 1 == 0 || (kind >> 1) & 0x1f == 1)
        }
        [1, 0, 0, 0, 20..=23 | 25, 0xfe, 0xfd | 0xff, ..] => true,
        _ => false,
    }
}

/// How many bytes of Teredo stand before the IPv6 packet, if there is one.
fn teredo_inner(b: &[u8]) -> Option<usize> {
    let mut skip = 0usize;
    if let [0, 1, id, auth, ..] = b {
        skip = 13usize.saturating_add(usize::from(*id)).saturating_add(usize::from(*auth));
    }
    if let [0, 0, ..] = b.get(skip..)? {
        skip = skip.saturating_add(8);
    }
    match b.get(skip..)? {
        [v, _, _, _, l0, l1, rest @ ..] if v >> 4 == 6 && rest.len() >= 34 => {
            (usize::from(u16::from_be_bytes([*l0, *l1])) <= rest.len().saturating_sub(34)).then_some(skip)
        }
        _ => None,
    }
}

/// Decodes the packet inside a tunnel over UDP.
pub fn udp_inner(kind: Service, body: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(context) = context.deeper() else { return sink.stop(Anomaly::TooManyLayers) };
    let inside = context.tunnelled();
    match kind {
        Service::Vxlan => match body.head::<8>() {
            Some(&[flags, _, _, next @ 1..=5, v0, v1, v2, _]) if flags & 4 != 0 => {
                let inside = inside.within([v0, v1, v2]);
                next_protocol("VXLAN-GPE next protocol", next, body.skip(8), inside, sink);
            }
            // The flag says whether the identifier is one; Cisco's overlay sends it all the same.
            Some(&[.., v0, v1, v2, _]) => {
                ethernet::frame(body.skip(8), inside.within([v0, v1, v2]), sink);
            }
            None => sink.stop(Anomaly::TruncatedHeader),
        },
        Service::Geneve => match body.head::<8>() {
            Some(&[options, _, t0, t1, v0, v1, v2, _]) => {
                let inside = inside.within([v0, v1, v2]);
                let inner = body.skip(8).skip(usize::from(options & 0x3f).saturating_mul(4));
                match u16::from_be_bytes([t0, t1]) {
                    0x6558 => ethernet::frame(inner, inside, sink),
                    kind => ethernet::by_type(kind, inner, inside, sink),
                }
            }
            None => sink.stop(Anomaly::TruncatedHeader),
        },
        Service::Tzsp => tzsp(body, inside, sink),
        Service::Capwap => capwap(body, inside, sink),
        Service::MplsUdp => ethernet::mpls(body, inside, sink),
        Service::GreUdp => gre(body, info, context, sink),
        Service::Lisp => ip::any(body.skip(8), inside, sink),
        Service::L2tp => l2tp(body, context, sink),
        Service::GtpU => gtp_u(body, inside, sink),
        Service::Teredo => {
            if let Some(skip) = teredo_inner(body.bytes) {
                ip::v6(body.skip(skip), inside, sink);
            }
        }
        _ => {}
    }
}

/// TZSP: version, type, encapsulated protocol, then tags up to the one that ends them.
fn tzsp(body: Layer<'_>, inside: Context, sink: &mut impl Sink) {
    let Some(&[_, _, p0, p1]) = body.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
    let mut rest = body.skip(4);
    for _ in 0..MAX_TAGS {
        match rest.bytes {
            [0, ..] => rest = rest.skip(1),
            [1, ..] => {
                let (inner, link) = (rest.skip(1), u16::from_be_bytes([p0, p1]));
                // 18 stands for 802.11 there; the others are the numbers of link types.
                return link::decode(inner, if link == 18 { 105 } else { u32::from(link) }, inside, sink);
            }
            [_, len, ..] => rest = rest.skip(2).skip(usize::from(*len)),
            _ => return sink.stop(Anomaly::TruncatedHeader),
        }
    }
    sink.stop(Anomaly::TooManyLayers);
}

/// CAPWAP data: header length in words, flags; what it carries is 802.3, or 802.11 as the access point heard it.
fn capwap(body: Layer<'_>, inside: Context, sink: &mut impl Sink) {
    let Some(&[preamble, length, kind, flags, _, _, offset, reserved]) = body.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    if preamble & 15 == 1 {
        return sink.unread(Unread::Encrypted("CAPWAP"));
    }
    let inner = body.skip(usize::from(length >> 3).saturating_mul(4));
    if flags & 0x08 != 0 {
        return sink.not_ip("capwap_keepalive");
    }
    // Of a frame in fragments the first has the headers; the others cannot be read alone.
    if flags & 0x80 != 0 && (offset != 0 || reserved & 0xf8 != 0) {
        return sink.unread(Unread::Tunnel("CAPWAP fragment", 0));
    }
    match (kind & 1 != 0, (kind >> 1) & 0x1f) {
        (false, _) => ethernet::frame(inner, inside, sink),
        (true, 1) => wifi::swapped(inner, inside, sink),
        (true, other) => sink.unread(Unread::Tunnel("CAPWAP binding", u16::from(other))),
    }
}

/// L2TP over UDP: flags and version; version 2 carries PPP, version 3 what the session's ends have agreed on.
fn l2tp(body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(&[flags, version]) = body.head::<2>() else { return sink.stop(Anomaly::TruncatedHeader) };
    if version & 15 == 3 {
        return l2tp3_session(body.skip(8), context, sink);
    }
    let field = |bit: u8, len: usize| if flags & bit != 0 { len } else { 0 };
    let mut skip = 6usize.saturating_add(field(0x40, 2)).saturating_add(field(0x08, 4));
    if flags & 2 != 0 {
        let Some(&[o0, o1]) = body.skip(skip).head::<2>() else { return sink.stop(Anomaly::TruncatedHeader) };
        skip = skip.saturating_add(2).saturating_add(usize::from(u16::from_be_bytes([o0, o1])));
    }
    let inner = body.skip(skip);
    if inner.wire == 0 {
        return sink.not_ip("l2tp_control");
    }
    ppp::framed(inner, context.tunnelled(), sink);
}

fn gtp_u(body: Layer<'_>, inside: Context, sink: &mut impl Sink) {
    let Some(&[flags, _, l0, l1, _, _, _, _]) = body.head::<8>() else {
        return sink.stop(Anomaly::TruncatedHeader);
    };
    let mut inner = body.skip(8).limit(usize::from(u16::from_be_bytes([l0, l1])));
    if flags & 0x07 != 0 {
        let Some(&[_, _, _, next]) = inner.head::<4>() else { return sink.stop(Anomaly::TruncatedHeader) };
        inner = inner.skip(4);
        let mut next = if flags & 0x04 != 0 { next } else { 0 };
        for _ in 0..MAX_GTP_EXTENSIONS {
            if next == 0 {
                break;
            }
            let Some(len) = inner.bytes.first().map(|n| usize::from(*n).saturating_mul(4)).filter(|n| *n > 0)
            else {
                return sink.stop(Anomaly::BadLength);
            };
            next = inner.bytes.get(len.saturating_sub(1)).copied().unwrap_or(0);
            inner = inner.skip(len);
        }
    }
    ip::any(inner, inside, sink);
}
