//! Recognition of UDP datagrams.

use record::{Direction, FlowFacts, Service};

use super::{Probe, on_port};
use crate::{dhcp, dns, exports, quic};

/// Datagrams of both sides after which nothing new is expected.
const ENOUGH: u8 = 4;

/// What a flow is, by a datagram and those before it (each side's first, and how many came in all).
pub fn datagram(
    flow: &FlowFacts,
    from: Direction,
    b: &[u8],
    wire_len: u32,
    earlier: [&[u8]; 2],
    count: u8,
) -> Probe {
    if let Some(service) = alone(flow, b, wire_len) {
        return Probe::Is(service);
    }
    let [orig, resp] = earlier;
    let (mine, other) = if from == Direction::Orig { (orig, resp) } else { (resp, orig) };
    if let Some(service) = together(b, mine, other) {
        return Probe::Is(service);
    }
    let both = !other.is_empty();
    let pending = is_rtp_like(b) || is_utp_like(b);
    if count >= ENOUGH || (both && !pending) { Probe::No } else { Probe::Maybe }
}

/// What one datagram shows by itself.
fn alone(flow: &FlowFacts, b: &[u8], wire_len: u32) -> Option<Service> {
    let whole = b.len() == wire_len as usize;
    let len = wire_len as usize;
    Some(match b {
        _ if on_port(flow, 5353) && dns::parse(b).is_some() => Service::Mdns,
        [_, _, _, _, 0, _, ..] if on_port(flow, 5353) => Service::Mdns,
        _ if on_port(flow, 5355) && dns::parse(b).is_some() => Service::Llmnr,
        _ if on_port(flow, 137) && is_netbios_name(b) => Service::Netbios,
        [0x10..=0x16, 0..=0x1f, ..] if flow.tuple.orig.port == 138 && flow.tuple.resp.port == 138 => {
            Service::Netbios
        }
        _ if is_dns(flow, b, whole) => Service::Dns,
        _ if dhcp::is_dhcp(b) => Service::Dhcp,
        [1..=13, _, _, _, 0, _, ..] if on_port(flow, 547) && on_port(flow, 546) => Service::Dhcp6,
        _ if quic::is_quic(b, wire_len) => Service::Quic,
        _ if is_stun(b, len) => Service::Stun,
        // DTLS: type, version, epoch, sequence, a length that fits.
        [0x14..=0x1a, 0xfe, 0xff | 0xfd | 0xfc, _, _, _, _, _, _, _, _, l0, l1, ..]
            if usize::from(u16::from_be_bytes([*l0, *l1])).saturating_add(13) <= len =>
        {
            Service::Dtls
        }
        _ if is_rtcp(b, len) => Service::Rtcp,
        _ if is_ntp(flow, b, len) => Service::Ntp,
        // SNMP: sequence, version 0, 1 or 3, then community or header.
        [0x30, _, 2, 1, 0 | 1, 4, ..]
        | [0x30, _, 2, 1, 3, 0x30, ..]
        | [0x30, 0x81, _, 2, 1, 0 | 1, 4, ..]
        | [0x30, 0x82, _, _, 2, 1, 0 | 1, 4, ..] => Service::Snmp,
        // CLDAP: sequence, message id, search request or its answers.
        [0x30, _, 2, 1, _, 0x63..=0x65, ..] | [0x30, 0x84, _, _, _, _, 2, 1..=2, ..]
            if on_port(flow, 389) =>
        {
            Service::Ldap
        }
        [0x6a | 0x6b | 0x6c | 0x6d | 0x7e, 0x81 | 0x82 | 0x10..=0x7f, ..] if on_port(flow, 88) => {
            Service::Kerberos
        }
        [b'<', b'0'..=b'9', ..] if is_syslog(b) => Service::Syslog,
        [0, 1 | 2, rest @ ..] if is_tftp(rest) => Service::Tftp,
        // uTP SYN: type 4 version 1, no time difference yet, sequence 1.
        [0x41, 0..=2, _, _, _, _, _, _, 0, 0, 0, 0, _, _, _, _, 0, 1, ..] => Service::Utp,
        [b'd', b'1' | b'2', b':', ..]
            if has(b, b"1:y1:") || b.starts_with(b"d1:ad2:id20:") || b.starts_with(b"d1:rd2:id20:") =>
        {
            Service::Dht
        }
        _ if is_kad(b, len) => Service::Kad,
        [b'G', b'N', b'D', _, ..] | [b'G', b'N', b'U', b'T', b'E', b'L', b'L', b'A', ..] => Service::Gnutella,
        // WireGuard: type, three zeros, and the length of that type.
        [1, 0, 0, 0, ..] if len == 148 => Service::WireGuard,
        [2, 0, 0, 0, ..] if len == 92 => Service::WireGuard,
        [3, 0, 0, 0, ..] if len == 64 => Service::WireGuard,
        [4, 0, 0, 0, ..] if len >= 32 && len.is_multiple_of(16) => Service::WireGuard,
        _ if whole && is_openvpn_reset(b) => Service::OpenVpn,
        _ if is_ike(b, len) => Service::Ipsec,
        [0, 0, 0, 0, ike @ ..] if on_port(flow, 4500) && is_ike(ike, len.saturating_sub(4)) => Service::Ipsec,
        // ESP in UDP and its keep-alive have no marks: the port must agree, and the sequence be small.
        [0xff] if on_port(flow, 4500) => Service::Ipsec,
        [s0, _, _, _, 0, q1, _, _, ..] if on_port(flow, 4500) && *s0 != 0 && *q1 < 16 && len >= 32 => {
            Service::Ipsec
        }
        [flags, version, l0, l1, ..]
            if on_port(flow, 1701)
                && version & 0x0f == 2
                && flags & 0xc0 == 0xc0
                && usize::from(u16::from_be_bytes([*l0, *l1])) == len =>
        {
            Service::L2tp
        }
        // Source engine, Steam, Quake: out-of-band marker and a letter or known word.
        [0xff, 0xff, 0xff, 0xff, b'a'..=b'z' | b'A'..=b'Z', ..]
        | [0xff, 0xff, 0xff, 0xff, 0x21, 0x4c, 0x5f, 0xa0, ..]
        | [b'V', b'S', b'0', b'1', ..] => Service::Source,
        _ if has(b.get(..48).unwrap_or(b), &RAKNET) => Service::RakNet,
        _ if starts(b, &["M-SEARCH *", "NOTIFY *", "HTTP/1.1 200 OK"]) => Service::Ssdp,
        _ if on_port(flow, 3702) && starts(b, &["<?xml", "<soap", "<s:Env"]) => Service::WsDiscovery,
        _ if exports::is_export(b, len) => Service::NetFlow,
        [first, _, _, _, ..]
            if (on_port(flow, 5683) || on_port(flow, 5684)) && first >> 6 == 1 && first & 0x0f <= 8 =>
        {
            Service::Coap
        }
        _ if is_sip(b) => Service::Sip,
        [1..=5 | 11..=13 | 40..=45, _, l0, l1, ..]
            if usize::from(u16::from_be_bytes([*l0, *l1])) == len
                && [1812, 1813, 1645, 1646, 3799].iter().any(|p| on_port(flow, *p)) =>
        {
            Service::Radius
        }
        _ => return None,
    })
}

/// What two datagrams show together.
fn together(b: &[u8], mine: &[u8], other: &[u8]) -> Option<Service> {
    if let (Some((ssrc, seq)), Some((first_ssrc, first_seq))) = (rtp(b), rtp(mine))
        && ssrc == first_ssrc
        && (1..=8).contains(&seq.wrapping_sub(first_seq))
    {
        return Some(Service::Rtp);
    }
    // uTP: the answer carries the connection id of the question, or the id beside it.
    if let (Some(a), Some(c)) = (utp_id(b), utp_id(other))
        && (a == c || a == c.wrapping_add(1) || c == a.wrapping_add(1))
    {
        return Some(Service::Utp);
    }
    // An OpenVPN answer repeats the client's session id behind its own.
    if let ([0x38 | 0x50, id @ ..], [0x40, rest @ ..]) = (other, b)
        && let Some(id) = id.get(..8)
        && has(rest, id)
    {
        return Some(Service::OpenVpn);
    }
    None
}

const RAKNET: [u8; 16] =
    [0, 0xff, 0xff, 0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfd, 0xfd, 0xfd, 0xfd, 0x12, 0x34, 0x56, 0x78];

fn starts(b: &[u8], words: &[&str]) -> bool {
    words.iter().any(|w| b.starts_with(w.as_bytes()))
}

fn has(b: &[u8], needle: &[u8]) -> bool {
    b.windows(needle.len()).any(|w| w == needle)
}

/// A DNS message that is understood: to its end, on the usual port as far as it goes.
fn is_dns(flow: &FlowFacts, b: &[u8], whole: bool) -> bool {
    let Some(m) = dns::parse(b) else { return false };
    if on_port(flow, 53) {
        return true;
    }
    whole
        && !m.malformed
        && (m.query.contains('.') || m.response)
        && (m.qtype <= 65 || matches!(m.qtype, 99 | 250..=257))
}

/// NetBIOS name service: DNS framing with a first label of 32 letters A–P.
fn is_netbios_name(b: &[u8]) -> bool {
    b.get(12) == Some(&32) && b.get(13..45).is_some_and(|l| l.iter().all(|c| (b'A'..=b'P').contains(c)))
}

/// STUN (RFC 5389 by its cookie; RFC 3489 by attributes that fill the message exactly).
fn is_stun(b: &[u8], len: usize) -> bool {
    match b {
        [0..=3, _, l0, l1, 0x21, 0x12, 0xa4, 0x42, ..] => {
            usize::from(u16::from_be_bytes([*l0, *l1])).saturating_add(20) == len
        }
        [0 | 1, 1 | 0x11, l0, l1, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, attributes @ ..] => {
            let body = usize::from(u16::from_be_bytes([*l0, *l1]));
            body.saturating_add(20) == len && body == attributes.len() && body > 0 && {
                let mut c = crate::cursor::Cursor::new(attributes);
                let mut good = true;
                while good && !c.is_empty() {
                    let kind = c.u16();
                    good = kind.is_some_and(|k| (1..=0x24).contains(&k) || (0x8000..=0x80ff).contains(&k))
                        && c.vec16().is_some();
                }
                good
            }
        }
        _ => false,
    }
}

/// RTCP: packets of types 200–207 that fill the datagram exactly.
fn is_rtcp(b: &[u8], len: usize) -> bool {
    let (mut at, mut packets) = (0usize, 0u8);
    while let Some([first, kind, l0, l1]) = b.get(at..).and_then(|r| r.first_chunk::<4>()) {
        if first >> 6 != 2 || !(200..=207).contains(kind) {
            return false;
        }
        at = at
            .saturating_add(usize::from(u16::from_be_bytes([*l0, *l1])).saturating_add(1).saturating_mul(4));
        packets = packets.saturating_add(1);
        if packets > 8 || at > len {
            return false;
        }
    }
    at == len && packets > 0 && len >= 8
}

/// SSRC and sequence number of what may be RTP: version 2 and a payload type that is in use.
fn rtp(b: &[u8]) -> Option<(u32, u16)> {
    match b {
        [first, kind, s0, s1, _, _, _, _, a, b, c, d, ..]
            if first >> 6 == 2 && matches!(kind & 0x7f, 0..=34 | 96..=127) && first & 0x0f <= 2 =>
        {
            Some((u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*s0, *s1])))
        }
        _ => None,
    }
}

fn is_rtp_like(b: &[u8]) -> bool {
    rtp(b).is_some()
}

/// The connection id of what may be uTP: type 0–4, version 1, a known first extension.
fn utp_id(b: &[u8]) -> Option<u16> {
    match b {
        [first, 0..=2, c0, c1, rest @ ..] if first & 0x0f == 1 && first >> 4 <= 4 && rest.len() >= 16 => {
            Some(u16::from_be_bytes([*c0, *c1]))
        }
        _ => None,
    }
}

fn is_utp_like(b: &[u8]) -> bool {
    utp_id(b).is_some()
}

/// NTP: 48 bytes (more with keys) whose version, mode, stratum and poll make sense; control messages need the port.
fn is_ntp(flow: &FlowFacts, b: &[u8], len: usize) -> bool {
    match b {
        [first, stratum, poll, ..] => {
            let (version, mode) = ((first >> 3) & 7, first & 7);
            let port = on_port(flow, 123);
            let client_or_server = matches!(mode, 1..=5) && (1..=4).contains(&version);
            (len >= 48 && client_or_server && *stratum <= 16 && *poll <= 17 && (port || len == 48))
                || (port && (1..=4).contains(&version) && mode >= 1 && len >= 8)
        }
        _ => false,
    }
}

pub fn is_syslog(b: &[u8]) -> bool {
    let end = b.iter().take(5).position(|c| *c == b'>');
    end.is_some_and(|e| e >= 2 && b.get(1..e).is_some_and(|d| d.iter().all(u8::is_ascii_digit)))
}

/// TFTP: file name, NUL, mode, NUL.
fn is_tftp(b: &[u8]) -> bool {
    let mut parts = b.split(|c| *c == 0);
    let name = parts.next().unwrap_or_default();
    let mode = parts.next().unwrap_or_default().to_ascii_lowercase();
    !name.is_empty()
        && name.iter().all(|c| (0x20..0x7f).contains(c))
        && matches!(mode.as_slice(), b"octet" | b"netascii" | b"mail")
}

/// Kad and eDonkey over UDP: marker, opcode, and the length that opcode has. Source: aMule, `opcodes.h`.
fn is_kad(b: &[u8], len: usize) -> bool {
    match b {
        [0xe4, 0x00 | 0x01 | 0x60, ..] if len == 2 => true,
        [0xe4, 0x20 | 0x21, ..] => len == 35,
        [0xe4, 0x61, ..] => len == 4,
        [0xe4, 0x11 | 0x19 | 0x22, ..] => {
            (21..=300).contains(&len) && b.get(18..20).is_some_and(|p| p != [0, 0])
        }
        // Answers list contacts of 25 bytes each.
        [0xe4, 0x29, ..] => len >= 19 && len.saturating_sub(19).is_multiple_of(25),
        [0xe4, 0x09, ..] => len >= 23 && len.saturating_sub(23).is_multiple_of(25),
        [0xe4, 0x28, ..] => len >= 19 && len.saturating_sub(19).is_multiple_of(25),
        // Compressed: a zlib header follows.
        [0xe5, 0x08..=0x29 | 0x43 | 0x4b, 0x78, 0x9c | 0xda, ..] => true,
        [0xe3, 0x96, ..] => len == 6,
        [0xe3, 0x97, ..] => (18..=64).contains(&len),
        _ => false,
    }
}

/// A hard reset of an OpenVPN client or server without earlier acknowledgements: opcode, session id, and at the end an
/// empty list and packet id 0.
pub fn is_openvpn_reset(b: &[u8]) -> bool {
    matches!(b, [0x38 | 0x50, ..]) && (14..=120).contains(&b.len()) && b.ends_with(&[0; 5])
}

/// IKE: initiator's id, version 1.0 or 2.0, a known exchange, the datagram's length.
fn is_ike(b: &[u8], len: usize) -> bool {
    match b.first_chunk::<28>() {
        Some([i @ .., v, x, _, _, _, _, _, l0, l1, l2, l3]) => {
            i.iter().take(8).any(|c| *c != 0)
                && matches!(v, 0x10 | 0x20)
                && matches!(x, 2 | 4 | 5 | 6 | 32..=43)
                && u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize == len
        }
        None => false,
    }
}

fn is_sip(b: &[u8]) -> bool {
    starts(
        b,
        &[
            "SIP/2.0 ",
            "INVITE sip",
            "REGISTER sip",
            "OPTIONS sip",
            "BYE sip",
            "ACK sip",
            "CANCEL sip",
            "SUBSCRIBE sip",
            "NOTIFY sip",
            "PUBLISH sip",
            "INFO sip",
            "MESSAGE sip",
        ],
    )
}
