//! Tunnels: IP in IP (RFC 2003, 4213), GRE (RFC 2784, 2637) with ERSPAN, VXLAN (RFC 7348), Geneve (RFC 8926), GTP-U
//! (3GPP TS 29.281), Teredo (RFC 4380).
//!
//! A tunnel over UDP is believed only on its port and with a header that holds together, because what is taken for a
//! tunnel is not looked at as anything else.

use record::{Anomaly, Service};

use crate::layer::Layer;
use crate::{Context, IpInfo, Sink, ip, link, transport};

/// GTP-U extension headers that are followed; there is rarely more than one.
const MAX_GTP_EXTENSIONS: usize = 8;

/// The context inside a tunnel.
pub fn entered(context: Context) -> Context {
    context.tunnelled()
}

/// IPv4 or IPv6 directly over IP.
pub fn ip_in_ip(body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    ip::any(body, context.tunnelled(), sink);
}

/// GRE, with PPTP's version 1 and ERSPAN.
pub fn gre(body: Layer<'_>, info: IpInfo, context: Context, sink: &mut impl Sink) {
    let Some(&[flags, version, t0, t1]) = body.head::<4>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    let Some(context) = context.deeper() else { return sink.anomaly(Anomaly::TooManyLayers) };
    let field = |bit: u8| if flags & bit != 0 { 4usize } else { 0 };
    let protocol = u16::from_be_bytes([t0, t1]);
    let enhanced = version & 7 == 1;
    let mut skip = 4usize.saturating_add(field(0x80)).saturating_add(field(0x20)).saturating_add(field(0x10));
    if enhanced && version & 0x80 != 0 {
        skip = skip.saturating_add(4);
    }
    let inner = body.skip(skip);
    let inside = context.tunnelled();
    match protocol {
        0x0800 | 0x86dd | 0x8847 | 0x8848 => link::by_ether_type(protocol, inner, inside, sink),
        0x6558 => link::ethernet(inner, inside, sink),
        // ERSPAN type II has an 8-byte header when the sequence bit is set; type I has none.
        0x88be => link::ethernet(if flags & 0x10 != 0 { inner.skip(8) } else { inner }, inside, sink),
        0x22eb => link::ethernet(inner.skip(12), inside, sink),
        0x880b => match inner.bytes {
            [0xff, 3, ..] => link::ppp(inner.skip(2), inside, sink),
            [] => {}
            _ => link::ppp(inner, inside, sink),
        },
        _ => transport::other(body, info, context, sink),
    }
}

/// Whether a UDP payload is a tunnel that is followed.
pub fn over_udp(ports: (u16, u16), b: &[u8]) -> Option<Service> {
    let on = |port: u16| ports.0 == port || ports.1 == port;
    match b {
        [flags, 0, 0, 0, _, _, _, 0, ..] if *flags == 8 && (ports.1 == 4789 || ports.1 == 8472) => {
            Some(Service::Vxlan)
        }
        [0..=0x3f, flags, 0x65, 0x58, ..]
        | [0..=0x3f, flags, 0x08, 0x00, ..]
        | [0..=0x3f, flags, 0x86, 0xdd, ..]
            if ports.1 == 6081 && matches!(flags, 0 | 0x40 | 0x80 | 0xc0) =>
        {
            Some(Service::Vxlan)
        }
        [first, 0xff, ..] if on(2152) && first & 0xf0 == 0x30 => Some(Service::GtpU),
        _ if on(3544) => teredo_inner(b).map(|_| Service::Teredo),
        _ => None,
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
pub fn udp_inner(kind: Service, body: Layer<'_>, context: Context, sink: &mut impl Sink) {
    let Some(context) = context.deeper() else { return sink.anomaly(Anomaly::TooManyLayers) };
    let inside = context.tunnelled();
    match kind {
        Service::Vxlan => match body.bytes {
            [8, 0, 0, 0, ..] => link::ethernet(body.skip(8), inside, sink),
            [options, _, t0, t1, ..] => {
                let header = 8usize.saturating_add(usize::from(options & 0x3f).saturating_mul(4));
                match u16::from_be_bytes([*t0, *t1]) {
                    0x6558 => link::ethernet_in_tunnel(body.skip(header), context, sink),
                    kind => link::by_ether_type(kind, body.skip(header), inside, sink),
                }
            }
            _ => {}
        },
        Service::GtpU => gtp_u(body, inside, sink),
        Service::Teredo => {
            if let Some(skip) = teredo_inner(body.bytes) {
                ip::v6(body.skip(skip), inside, sink);
            }
        }
        _ => {}
    }
}

fn gtp_u(body: Layer<'_>, inside: Context, sink: &mut impl Sink) {
    let Some(&[flags, _, l0, l1, _, _, _, _]) = body.head::<8>() else {
        return sink.anomaly(Anomaly::TruncatedHeader);
    };
    let mut inner = body.skip(8).limit(usize::from(u16::from_be_bytes([l0, l1])));
    if flags & 0x07 != 0 {
        let Some(&[_, _, _, next]) = inner.head::<4>() else { return sink.anomaly(Anomaly::TruncatedHeader) };
        inner = inner.skip(4);
        let mut next = if flags & 0x04 != 0 { next } else { 0 };
        for _ in 0..MAX_GTP_EXTENSIONS {
            if next == 0 {
                break;
            }
            let Some(len) = inner.bytes.first().map(|n| usize::from(*n).saturating_mul(4)).filter(|n| *n > 0)
            else {
                return sink.anomaly(Anomaly::BadLength);
            };
            next = inner.bytes.get(len.saturating_sub(1)).copied().unwrap_or(0);
            inner = inner.skip(len);
        }
    }
    ip::any(inner, inside, sink);
}
