//! Other names for local hosts, the same everywhere for the same key, so that a case can be shown to others.
//!
//! Addresses keep their prefixes in common (J. Xu et al., "Prefix-Preserving IP Address Anonymization", ICNP 2002) and stay within their
//! local network, so that everything still knows what is local. Names and whatever else is replaced keep their length: streams stay
//! what they were. Remotes keep their addresses and names: they are what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use anyhow::{Context, ensure};
use ipnet::IpNet;
use record::Timestamp;
use report::CaptureLine;
use serde_json::Value;
use sha2::{Digest, Sha256};
use verdict::HostStory;

/// Names shorter than this are too likely to be parts of words.
const SHORTEST: usize = 4;
/// Ports of services that tell the names of neighbours, known ones and others; their packets are left out.
const NEIGHBOURS: [u16; 9] = [67, 68, 137, 138, 546, 547, 1900, 5353, 5355];
/// Ports of services whose messages hold raw addresses.
const RAW: [u16; 1] = [53];

/// Fields of a story that hold words and numbers of this program: a host may be called as they are.
const OWN: [&str; 12] = [
    "sha256",
    "verdict",
    "stage",
    "behaviour",
    "grades",
    "parts",
    "unit",
    "note",
    "role",
    "segment",
    "packets",
    "flows",
];

/// Gives local hosts other names.
pub struct Pseudonyms {
    cipher: Aes128,
    pad: [u8; 16],
    home: Vec<IpNet>,
    /// Local names, lower case, longest first, and what they become.
    names: Vec<(String, String)>,
    /// Local hosts whose raw addresses may stand in messages.
    hosts: BTreeSet<IpAddr>,
    /// Written forms of their addresses, longest first, and what they become at the same length.
    texts: Vec<(String, String)>,
}

/// What a frame became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rewritten {
    /// It can be shown.
    Done,
    /// It must be left out, for this reason.
    LeftOut(&'static str),
}

/// A key for other names, from its text: 64 hexadecimal digits.
///
/// # Errors
/// It is none.
pub fn key_of(text: &str) -> anyhow::Result<[u8; 32]> {
    let digits = text.trim();
    ensure!(
        digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "the key must be 64 hexadecimal digits, as `openssl rand -hex 32` prints"
    );
    let mut bytes = [0u8; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16)?;
    }
    Ok(bytes)
}

impl Pseudonyms {
    /// From a key of 32 bytes in hexadecimal, for a case.
    ///
    /// # Errors
    /// The key is none, or the case does not say what is local.
    pub fn new(key: &str, capture: &CaptureLine, stories: &[HostStory]) -> anyhow::Result<Self> {
        let bytes = key_of(key)?;
        let (cipher, pad) = bytes.split_at(16);
        let cipher = Aes128::new_from_slice(cipher).ok().context("a key of 16 bytes")?;
        let home: Vec<IpNet> = capture.home.iter().filter_map(|n| n.parse().ok()).collect();
        ensure!(!home.is_empty(), "the case does not say which networks are local");
        let mut made = Self {
            pad: crypt(&cipher, pad.try_into()?),
            cipher,
            home,
            names: Vec::new(),
            hosts: stories.iter().map(|s| s.host).collect(),
            texts: Vec::new(),
        };
        let names: BTreeSet<String> = stories
            .iter()
            .flat_map(|s| &s.names.host_names)
            .map(|n| n.to_ascii_lowercase())
            .filter(|n| n.len() >= SHORTEST)
            .collect();
        made.names = names.into_iter().map(|n| (made.name(&n), n)).map(|(to, from)| (from, to)).collect();
        made.names.sort_by_key(|(n, _)| (std::cmp::Reverse(n.len()), n.clone()));
        let texts: BTreeMap<String, String> = made
            .hosts
            .iter()
            .map(|h| (h.to_string(), made.ip(*h).to_string()))
            .map(|(from, to)| {
                let hidden = from.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
                let to = if to.len() == from.len() { to } else { hidden };
                (from, to)
            })
            .collect();
        made.texts = texts.into_iter().collect();
        made.texts.sort_by_key(|(t, _)| (std::cmp::Reverse(t.len()), t.clone()));
        Ok(made)
    }

    /// The bits of an address below its network, each turned or not by what stands before it.
    fn bits(&self, bits: u128, width: u32, keep: u32) -> u128 {
        let mut out = bits;
        for at in keep..width {
            let before = if at == 0 { 0 } else { bits >> (width - at) << (128 - at) };
            let rest = if at == 0 { u128::MAX } else { u128::MAX >> at };
            let block = (before | (u128::from_be_bytes(self.pad) & rest)).to_be_bytes();
            let turn = u128::from(crypt(&self.cipher, block)[0] >> 7);
            out ^= turn << (width - 1 - at);
        }
        out
    }

    /// The other address of a local one; any other stays.
    pub fn ip(&self, ip: IpAddr) -> IpAddr {
        if let IpAddr::V6(v6) = ip
            && let Some(v4) = v6.to_ipv4_mapped()
            && let IpAddr::V4(other) = self.ip(v4.into())
        {
            return other.to_ipv6_mapped().into();
        }
        let Some(net) = self.home.iter().filter(|n| n.contains(&ip)).max_by_key(|n| n.prefix_len()) else {
            return ip;
        };
        let keep = u32::from(net.prefix_len());
        match ip {
            IpAddr::V4(v4) => Ipv4Addr::from(self.bits(u128::from(v4.to_bits()), 32, keep) as u32).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(self.bits(v6.to_bits(), 128, keep)).into(),
        }
    }

    /// The other Ethernet address of a host's; groups stay. It is marked as locally administered.
    fn mac(&self, mac: [u8; 6]) -> [u8; 6] {
        if mac[0] & 1 == 1 || mac == [0; 6] {
            return mac;
        }
        let mut block = [0xa5; 16];
        block[..6].copy_from_slice(&mac);
        let made = crypt(&self.cipher, block);
        // Token ring says with the highest bit of a source that its route follows.
        [made[0] & 0x7c | mac[0] & 0x80 | 2, made[1], made[2], made[3], made[4], made[5]]
    }

    /// The other name of a local host: as long, with letters for letters and digits, and marks where they were.
    fn name(&self, name: &str) -> String {
        let lower = name.to_ascii_lowercase();
        let hash = Sha256::digest([self.pad.as_slice(), lower.as_bytes()].concat());
        lower
            .bytes()
            .enumerate()
            .map(|(i, b)| {
                let h = hash[i % 32].wrapping_add((i / 32) as u8);
                if b.is_ascii_alphanumeric() {
                    char::from(b'a' + h % 26)
                } else {
                    char::from(if b.is_ascii() { b } else { b'x' })
                }
            })
            .collect()
    }

    /// Text with every local address, Ethernet address and name replaced.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let is = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
            let end = rest.find(|c| !is(c)).unwrap_or(rest.len());
            if end > 0 {
                out.push_str(&self.token(&rest[..end]));
                rest = &rest[end..];
            }
            let end = rest.find(is).unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        for (from, to) in &self.names {
            out = replaced(&out, from, to);
        }
        out
    }

    /// An address, perhaps with points or colons around it, or an IPv4 address among numbers between colons, as before a port.
    fn token(&self, token: &str) -> String {
        let bare = token.trim_matches(['.', ':']);
        // "::1" begins with colons of its own.
        if let Ok(ip) = token.parse::<IpAddr>() {
            return self.ip(ip).to_string();
        }
        let made = self.bare(bare).unwrap_or_else(|| {
            let parts = bare.split(':').map(|p| self.bare(p).unwrap_or_else(|| p.to_owned()));
            parts.collect::<Vec<_>>().join(":")
        });
        let from = token.find(bare).unwrap_or(0);
        format!("{}{made}{}", &token[..from], &token[from + bare.len()..])
    }

    /// The other form of an IP or Ethernet address, if it is one.
    fn bare(&self, text: &str) -> Option<String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(self.ip(ip).to_string());
        }
        let pairs = text.split(':').map(|p| (p.len() == 2).then(|| u8::from_str_radix(p, 16).ok())?);
        let mac = <[u8; 6]>::try_from(pairs.collect::<Option<Vec<u8>>>()?).ok()?;
        let made: Vec<String> = self.mac(mac).iter().map(|b| format!("{b:02x}")).collect();
        Some(made.join(":"))
    }

    /// Rewrites texts, but for those that this program reads again; `told` where all of it was told by a host.
    fn value(&self, value: &mut Value, told: bool) {
        match value {
            Value::String(t) if Timestamp::parse(t).is_none() => *t = self.text(t),
            Value::Array(all) => all.iter_mut().for_each(|v| self.value(v, told)),
            Value::Object(all) => {
                for (name, v) in all.iter_mut().filter(|(name, _)| told || !OWN.contains(&name.as_str())) {
                    self.value(v, told || name == "facts");
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A story under other names. What would tell the old ones is left out: Community IDs, hashes and paths of the inputs.
    ///
    /// # Errors
    /// None that is not a fault of this program.
    pub fn story(
        &self,
        capture: &CaptureLine,
        story: &HostStory,
    ) -> anyhow::Result<(CaptureLine, HostStory)> {
        let mut value = serde_json::to_value(story)?;
        self.value(&mut value, false);
        let mut story: HostStory = serde_json::from_value(value)?;
        // As a name of its own a short one can be told from a part of a word.
        for name in story.names.host_names.iter_mut().filter(|n| n.len() < SHORTEST) {
            *name = self.name(name);
        }
        // Who works there is nobody's business elsewhere.
        story.profile.users.clear();
        story.profile.workstations.clear();
        let is_local = |ip: IpAddr| self.home.iter().any(|net| net.contains(&ip));
        for remote in story.profile.remotes.iter_mut().filter(|r| is_local(r.address)) {
            remote.name = None;
        }
        for file in &mut story.profile.files {
            if file.sent || file.remote.is_none_or(is_local) {
                file.name = None;
            }
        }
        story.places.retain(|ip, _| !is_local(*ip));
        for e in &mut story.evidence {
            e.evidence.community_ids.clear();
        }
        for e in &mut story.suppressed {
            e.community_ids.clear();
        }
        let mut capture = capture.clone();
        for (n, input) in capture.inputs.iter_mut().enumerate() {
            *input = report::InputLine {
                path: format!("capture-{}", n + 1),
                absolute: None,
                size: input.size,
                sha256: None,
                log: input.log.clone(),
            };
        }
        for told in capture.notices.iter_mut().chain(&mut capture.failures) {
            *told = self.text(told);
        }
        Ok((capture, story))
    }

    /// Rewrites a frame of any link type that is read, and what is in its tunnels, in place; its length stays. Checksums that were right stay
    /// right, and wrong ones wrong.
    pub fn frame(&self, frame: &mut [u8], link: u32, original: u32) -> Rewritten {
        let mut found = Found::default();
        wire::decode(frame, link, original, &mut found);
        if let Some(why) = found.left_out {
            return Rewritten::LeftOut(why);
        }
        let packets = found.packets();
        // What a checksum of the wrapping says is known before anything within is changed.
        let right: Vec<bool> = packets.iter().map(|p| p.is_right(frame)).collect();
        for at in found.macs {
            if let Some(mac) = frame.get_mut(at..at + 6) {
                let old: [u8; 6] = [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]];
                mac.copy_from_slice(&self.mac(old));
            }
        }
        for at in found.arps {
            if let Some(arp) = frame.get_mut(at..)
                && let left_out @ Rewritten::LeftOut(_) = self.arp(arp)
            {
                return left_out;
            }
        }
        for (n, packet) in packets.iter().enumerate().rev() {
            if packet.may_hold_addresses(frame) {
                return Rewritten::LeftOut("with options of IP, which may hold addresses");
            }
            let sums = self.addresses(frame, packet);
            let Some((at, len, protocol)) = packet.transport else {
                return Rewritten::LeftOut("cut within their headers");
            };
            if packets.get(n + 1).is_some_and(|inner| (at..at + len).contains(&inner.at)) {
                // A wrapper: its bytes have changed within, and its own words name nobody.
                if right[n] {
                    packet.make_right(frame);
                }
            } else if let Some(body) = frame.get_mut(at..at + len)
                && let left_out @ Rewritten::LeftOut(_) = self.transport(body, protocol, sums.0, sums.1)
            {
                return left_out;
            }
        }
        Rewritten::Done
    }

    /// Rewrites the addresses of an IP header; gives their sums before and after.
    fn addresses(&self, frame: &mut [u8], packet: &Wrapped) -> (u64, u64) {
        let Some(b) = frame.get_mut(packet.at..) else { return (0, 0) };
        if packet.v6 {
            if b.len() < 40 {
                return (0, 0);
            }
            let before = sum(&b[8..40]);
            for at in [8, 24] {
                if let Ok(old) = <[u8; 16]>::try_from(&b[at..at + 16])
                    && let IpAddr::V6(new) = self.ip(Ipv6Addr::from(old).into())
                {
                    b[at..at + 16].copy_from_slice(&new.octets());
                }
            }
            return (before, sum(&b[8..40]));
        }
        if b.len() < 20 {
            return (0, 0);
        }
        let before = sum(&b[12..20]);
        self.raw_v4(&mut b[12..16]);
        self.raw_v4(&mut b[16..20]);
        let after = sum(&b[12..20]);
        mend(b, 10, before, after);
        (before, after)
    }

    fn arp(&self, b: &mut [u8]) -> Rewritten {
        if b.len() < 28 || b[4] != 6 || b[5] != 4 {
            return Rewritten::LeftOut("cut within their headers");
        }
        for at in [8, 18] {
            let old: [u8; 6] = [b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5]];
            b[at..at + 6].copy_from_slice(&self.mac(old));
            self.raw_v4(&mut b[at + 6..at + 10]);
        }
        Rewritten::Done
    }

    fn raw_v4(&self, b: &mut [u8]) {
        if let Ok(old) = <[u8; 4]>::try_from(&*b)
            && let IpAddr::V4(new) = self.ip(Ipv4Addr::from(old).into())
        {
            b.copy_from_slice(&new.octets());
        }
    }

    /// Rewrites what is above IP; `before` and `after` are the sums of the addresses, which the checksum covers.
    fn transport(&self, b: &mut [u8], protocol: u8, before: u64, after: u64) -> Rewritten {
        let (check, payload) = match protocol {
            6 if b.len() >= 20 => (16, usize::from(b[12] >> 4) * 4),
            17 if b.len() >= 8 => (6, 8),
            1 if b.len() >= 4 => (2, 4),
            58 if b.len() >= 4 => (2, 4),
            6 | 17 | 1 | 58 => return Rewritten::LeftOut("cut within their headers"),
            _ => return Rewritten::LeftOut("of other transports than TCP, UDP and ICMP"),
        };
        let ports = [u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]])];
        let transport = matches!(protocol, 6 | 17);
        if protocol == 17 && ports.iter().any(|p| NEIGHBOURS.contains(p)) {
            return Rewritten::LeftOut("in which neighbours tell their names");
        }
        let Some(body) = b.get_mut(payload..) else { return Rewritten::LeftOut("cut within their headers") };
        let old = sum_at(body, payload);
        for (from, to) in self.names.iter().chain(&self.texts) {
            overwrite(body, from.as_bytes(), to.as_bytes());
            // As labels of DNS: lengths instead of points.
            if from.contains('.') {
                for (a, z) in from.split('.').zip(to.split('.')).filter(|(a, _)| a.len() >= SHORTEST) {
                    overwrite(body, a.as_bytes(), z.as_bytes());
                }
            }
        }
        if !transport || (protocol == 17 && ports.iter().any(|p| RAW.contains(p))) {
            for at in 0..body.len().saturating_sub(3) {
                let four: [u8; 4] = [body[at], body[at + 1], body[at + 2], body[at + 3]];
                if self.hosts.contains(&Ipv4Addr::from(four).into()) {
                    self.raw_v4(&mut body[at..at + 4]);
                }
            }
        }
        let new = sum_at(body, payload);
        // ICMP's checksum covers no addresses, ICMPv6's does.
        let (old, new) = if protocol == 1 { (old, new) } else { (old + before, new + after) };
        let unset = protocol == 17 && b[check..check + 2] == [0, 0];
        if !unset {
            mend(b, check, old, new);
        }
        Rewritten::Done
    }
}

/// An IP header of a frame, and what it carries.
#[derive(Clone, Copy, Debug)]
struct Wrapped {
    at: usize,
    v6: bool,
    /// Where, how long, and the protocol's number.
    transport: Option<(usize, usize, u8)>,
}

impl Wrapped {
    /// Whether between header and payload stands what may hold addresses: options of IPv4 (routes, timestamps), routing headers and destination
    /// options of IPv6 (segment lists, home addresses).
    fn may_hold_addresses(&self, frame: &[u8]) -> bool {
        let byte = |at: usize| frame.get(at).copied().unwrap_or_default();
        if !self.v6 {
            return byte(self.at) & 0x0f > 5;
        }
        let (mut next, mut at) = (byte(self.at + 6), self.at + 40);
        while self.transport.is_some_and(|(payload, ..)| at < payload) {
            let words = usize::from(byte(at + 1));
            let len = match next {
                0 => (words + 1) * 8,
                44 => 8,
                51 => (words + 2) * 4,
                _ => return true,
            };
            (next, at) = (byte(at), at + len);
        }
        false
    }

    /// The sum of a UDP datagram with its pseudo-header, where there is a checksum.
    fn udp_sum(&self, frame: &[u8]) -> Option<u64> {
        let (at, len, 17) = self.transport? else { return None };
        let body = frame.get(at..at + len)?;
        let addresses = if self.v6 { self.at + 8..self.at + 40 } else { self.at + 12..self.at + 20 };
        (len >= 8 && body[6..8] != [0, 0])
            .then(|| Some(sum(frame.get(addresses)?) + sum(body) + 17 + len as u64))?
    }

    /// Whether the checksum of a UDP datagram is right.
    fn is_right(&self, frame: &[u8]) -> bool {
        self.udp_sum(frame).is_some_and(|s| folded(s) == 0xffff)
    }

    /// Makes it right again.
    fn make_right(&self, frame: &mut [u8]) {
        let (Some(now), Some((at, ..))) = (self.udp_sum(frame), self.transport) else { return };
        let own = u64::from(u16::from_be_bytes([frame[at + 6], frame[at + 7]]));
        let made = !(folded(now - own) as u16);
        let made = if made == 0 { 0xffff } else { made };
        frame[at + 6..at + 8].copy_from_slice(&made.to_be_bytes());
    }
}

/// What decoding a frame finds that names somebody, or why it cannot be shown.
#[derive(Default)]
struct Found {
    macs: Vec<usize>,
    arps: Vec<usize>,
    headers: Vec<wire::Header>,
    left_out: Option<&'static str>,
}

impl Found {
    fn packets(&self) -> Vec<Wrapped> {
        let mut packets: Vec<Wrapped> = Vec::new();
        for header in &self.headers {
            match *header {
                wire::Header::Ip { at, v6 } => packets.push(Wrapped { at, v6, transport: None }),
                wire::Header::Transport { at, len, protocol } => {
                    if let Some(last) = packets.last_mut() {
                        last.transport = Some((at, len, protocol));
                    }
                }
                wire::Header::Mac { .. } | wire::Header::Arp { .. } => {}
            }
        }
        packets
    }
}

impl wire::Sink for Found {
    fn packet(&mut self, _: wire::Packet) {}

    fn fragment(&mut self, _: wire::FragmentPiece, _: &[u8]) {
        self.left_out = Some("that are fragments");
    }

    fn anomaly(&mut self, _: record::Anomaly) {}

    fn stop(&mut self, _: record::Anomaly) {
        self.left_out = Some("cut within their headers, or damaged there");
    }

    fn header(&mut self, header: wire::Header) {
        match header {
            wire::Header::Mac { at } => self.macs.push(at),
            wire::Header::Arp { at } => self.arps.push(at),
            other => self.headers.push(other),
        }
    }

    fn not_ip(&mut self, what: &'static str) {
        if what != "arp" {
            self.left_out = Some("of other protocols than IP and ARP");
        }
    }

    fn unread(&mut self, why: record::Unread) {
        self.left_out = Some(match why {
            record::Unread::Link(_) => "of a link type that is not read",
            record::Unread::Encrypted(_) => "that are encrypted as a whole",
            _ => "of a protocol or wrapper that is not read",
        });
    }
}

fn crypt(cipher: &Aes128, block: [u8; 16]) -> [u8; 16] {
    let mut block = aes::Block::from(block);
    cipher.encrypt_block(&mut block);
    block.into()
}

/// The sum of words, the first of which begins at an even place.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|c| u64::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]))).sum()
}

/// The sum of bytes that begin at a place of the whole, which may be odd.
fn sum_at(bytes: &[u8], at: usize) -> u64 {
    if at.is_multiple_of(2) {
        sum(bytes)
    } else {
        bytes.first().map_or(0, |b| u64::from(*b)) + sum(&bytes[1.min(bytes.len())..])
    }
}

/// A sum in ones' complement, of 16 bits.
const fn folded(mut sum: u64) -> u64 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Brings a checksum from one sum to another (RFC 1624).
fn mend(b: &mut [u8], at: usize, before: u64, after: u64) {
    if folded(before) == folded(after) {
        return;
    }
    let old = !u16::from_be_bytes([b[at], b[at + 1]]);
    let new = folded(u64::from(old) + (0xffff - folded(before)) + folded(after));
    b[at..at + 2].copy_from_slice(&(!(new as u16)).to_be_bytes());
}

/// Overwrites every place where `from` stands, whatever the case of its letters.
fn overwrite(body: &mut [u8], from: &[u8], to: &[u8]) {
    if from.is_empty() || from.len() != to.len() {
        return;
    }
    let mut at = 0;
    while at + from.len() <= body.len() {
        if body[at..at + from.len()].eq_ignore_ascii_case(from) {
            body[at..at + from.len()].copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
}

/// The same in text.
fn replaced(text: &str, from: &str, to: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    overwrite(&mut bytes, from.as_bytes(), to.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn made() -> Pseudonyms {
        let capture =
            CaptureLine { home: vec!["10.0.0.0/8".into(), "fd00::/8".into()], ..CaptureLine::default() };
        Pseudonyms::new(KEY, &capture, &[]).unwrap()
    }

    #[test]
    fn addresses_keep_what_they_have_in_common() {
        let p = made();
        let ip = |t: &str| p.ip(t.parse().unwrap()).to_string();
        assert_eq!(ip("198.51.100.7"), "198.51.100.7", "a remote");
        let all: BTreeSet<String> = (0..=255).map(|n| ip(&format!("10.1.2.{n}"))).collect();
        assert_eq!(all.len(), 256, "no two become one");
        let prefix = |t: String| t.rsplit_once('.').map(|(a, _)| a.to_owned()).unwrap();
        assert_eq!(
            all.iter().map(|t| prefix(t.clone())).collect::<BTreeSet<_>>().len(),
            1,
            "one network stays one"
        );
        assert!(ip("10.1.2.3").starts_with("10.") && ip("10.1.2.3") != "10.1.2.3");
        assert_ne!(prefix(ip("10.1.2.3")), prefix(ip("10.1.3.3")));
        assert!(ip("fd00::1").starts_with("fd") && ip("fd00::1") != "fd00::1");
    }

    #[test]
    fn text_is_rewritten_where_it_names_somebody_local() {
        let mut p = made();
        p.names = vec![("pc-03".into(), p.name("pc-03"))];
        let other = p.ip("10.1.2.3".parse().unwrap());
        let text = p.text("10.1.2.3: PC-03 called 198.51.100.7 (02:00:0a:00:00:01) at 10:22:43.");
        assert!(text.starts_with(&format!("{other}: ")), "{text}");
        assert!(!text.to_lowercase().contains("pc-03") && !text.contains("02:00:0a:00:00:01"), "{text}");
        assert!(text.contains("198.51.100.7") && text.ends_with("at 10:22:43."), "{text}");
        let text = p.text("calls 10.1.2.3:80 every 60 s, ip:10.1.2.3, [fd00::1]:443, ::1, 2:104");
        assert!(
            !text.contains("10.1.2.3") && !text.contains("fd00::1") && text.contains(&format!("{other}:80")),
            "{text}"
        );
        assert!(text.ends_with("::1, 2:104"), "{text}");
    }

    #[test]
    fn headers_that_may_hold_addresses_are_left_out() {
        let p = made();
        let frame = |head: &[u8]| {
            let mut frame = [head, &[0x12, 0x34, 0x56, 0x78, 0, 8, 0, 0]].concat();
            let size = frame.len() as u32;
            p.frame(&mut frame, 101, size)
        };
        let v4 = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 198, 51, 100, 7];
        assert_eq!(frame(&v4), Rewritten::Done);
        // A route that is recorded: pointer, and the address that the packet came by.
        let mut routed = [&v4[..], &[7, 7, 4, 10, 0, 0, 9, 0]].concat();
        (routed[0], routed[3]) = (0x47, 36);
        assert!(matches!(frame(&routed), Rewritten::LeftOut(_)));
        let v6 = |next: u8, extension: &[u8]| {
            let ends = [&[0xfd; 16][..], &[0x20; 16]].concat();
            [&[0x60, 0, 0, 0, 0, 8 + extension.len() as u8, next, 64][..], &ends, extension].concat()
        };
        assert_eq!(frame(&v6(17, &[])), Rewritten::Done);
        assert_eq!(frame(&v6(0, &[17, 0, 5, 2, 0, 0, 1, 0])), Rewritten::Done, "a router alert");
        let segments = [&[17, 2, 4, 1, 0, 0, 0, 0][..], &[0xfd; 16]].concat();
        assert!(matches!(frame(&v6(43, &segments)), Rewritten::LeftOut(_)));
    }

    #[test]
    fn a_wrong_key_is_said_to_be_one() {
        for key in ["", "00", &"z".repeat(64)] {
            assert!(Pseudonyms::new(key, &CaptureLine::default(), &[]).is_err());
        }
    }
}
