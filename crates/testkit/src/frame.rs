//! Frames with right lengths and checksums.

use std::net::{IpAddr, Ipv4Addr};

/// Adds 16-bit words in network order.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]))).sum()
}

fn fold(mut s: u32) -> u16 {
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    !(s as u16)
}

/// The Ethernet address of a test host: local hosts have their own, everybody else is behind the router.
fn mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    if a == 10 { [0x02, 0, a, b, c, d] } else { [0x02, 0, 0, 0, 0, 0xfe] }
}

/// An IPv4 packet.
pub fn ipv4_packet(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ident: u16, segment: &[u8]) -> Vec<u8> {
    let total = (20 + segment.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend(ident.to_be_bytes());
    header.extend([0x40, 0, 64, protocol, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let check = fold(sum(&header));
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header.extend(segment);
    header
}

/// An IPv4 frame over Ethernet.
fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ident: u16, segment: &[u8]) -> Vec<u8> {
    let mut frame = mac(dst).to_vec();
    if dst.is_broadcast() {
        frame = vec![0xff; 6];
    }
    frame.extend(mac(src));
    frame.extend([8, 0]);
    frame.extend(ipv4_packet(src, dst, protocol, ident, segment));
    frame
}

/// Makes the header checksum of an untagged IPv4 frame right again.
pub fn fix_ip_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let check = fold(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&check.to_be_bytes());
}

/// A fragment of a UDP datagram that is not the last: its bytes from `offset` (in eights) on.
pub fn fragment(src: IpAddr, dst: IpAddr, ident: u16, offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ipv4(v4(src), v4(dst), 17, ident, payload);
    frame[20..22].copy_from_slice(&(0x2000 | offset).to_be_bytes());
    fix_ip_checksum(&mut frame);
    frame
}

fn checked(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, segment: Vec<u8>, at: usize) -> Vec<u8> {
    with_checksum(sum(&src.octets()) + sum(&dst.octets()), protocol, segment, at)
}

/// A TCP or UDP segment with the checksum that it has over IPv6.
pub fn checked_ipv6(src: [u8; 16], dst: [u8; 16], protocol: u8, segment: &[u8]) -> Vec<u8> {
    let (mut segment, at) = (segment.to_vec(), if protocol == 6 { 16 } else { 6 });
    segment[at..at + 2].fill(0);
    with_checksum(sum(&src) + sum(&dst), protocol, segment, at)
}

fn with_checksum(addresses: u32, protocol: u8, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
    let pseudo = addresses + u32::from(protocol) + segment.len() as u32;
    let check = fold(pseudo + sum(&segment));
    // A UDP checksum of zero means none.
    let check = if protocol == 17 && check == 0 { 0xffff } else { check };
    segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
    segment
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// A UDP datagram in its frame.
pub fn udp(src: (IpAddr, u16), dst: (IpAddr, u16), ident: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = src.1.to_be_bytes().to_vec();
    segment.extend(dst.1.to_be_bytes());
    segment.extend(((8 + payload.len()) as u16).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    let (a, b) = (v4(src.0), v4(dst.0));
    ipv4(a, b, 17, ident, &checked(a, b, 17, segment, 6))
}

/// The fields of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
}

/// A TCP segment in its frame.
pub fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16), ident: u16, s: Segment, payload: &[u8]) -> Vec<u8> {
    tcp_urgent(src, dst, ident, s, 0, payload)
}

/// The same with an urgent pointer.
pub fn tcp_urgent(
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    ident: u16,
    s: Segment,
    urgent: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = src.1.to_be_bytes().to_vec();
    segment.extend(dst.1.to_be_bytes());
    segment.extend(s.seq.to_be_bytes());
    segment.extend(s.ack.to_be_bytes());
    segment.extend([0x50, s.flags, 0xff, 0xff, 0, 0]);
    segment.extend(urgent.to_be_bytes());
    segment.extend(payload);
    let (a, b) = (v4(src.0), v4(dst.0));
    ipv4(a, b, 6, ident, &checked(a, b, 6, segment, 16))
}
