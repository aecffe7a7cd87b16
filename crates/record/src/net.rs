use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::time::Timestamp;

/// The place of a packet in the input: which file of the run (from 0) and its number there (from 1, as in Wireshark).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(u64);

/// The end of what a log is called in which a [`PacketId`] counts the members of a JSON array, and no lines.
pub const IN_ARRAY: &str = " in an array";

impl PacketId {
    const NUMBER_BITS: u32 = 40;

    /// Names packet `number` (from 1) of file `file` (from 0).
    pub const fn new(file: u32, number: u64) -> Self {
        Self(((file as u64) << Self::NUMBER_BITS) | (number & ((1 << Self::NUMBER_BITS) - 1)))
    }

    /// The index of the file in the run, from 0.
    pub const fn file(self) -> u32 {
        (self.0 >> Self::NUMBER_BITS) as u32
    }

    /// The number of the packet in its file, from 1.
    pub const fn number(self) -> u64 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }

    /// The same packet where so many files more come before its own.
    pub const fn behind(self, files: u32) -> Self {
        Self::new(self.file() + files, self.number())
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file() == 0 {
            write!(f, "{}", self.number())
        } else {
            write!(f, "{}:{}", self.file(), self.number())
        }
    }
}

impl PacketId {
    /// From its text; `None` too for numbers that no packet can have.
    pub fn parse(text: &str) -> Option<Self> {
        let (file, number) = text.split_once(':').unwrap_or(("0", text));
        let (file, number) = (file.parse().ok()?, number.parse().ok()?);
        let id = Self::new(file, number);
        (id.file() == file && id.number() == number).then_some(id)
    }
}

/// The number alone in the first file, as in Wireshark; `"file:number"` in the others. One number where nobody reads it.
impl Serialize for PacketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_u64(self.0);
        }
        if self.file() == 0 { serializer.serialize_u64(self.number()) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for PacketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        match Either::deserialize(deserializer)? {
            Either::Number(n) => Ok(Self::new(0, n)),
            Either::Text(t) => {
                Self::parse(&t).ok_or_else(|| D::Error::custom(format!("not a packet: {t:?}")))
            }
        }
    }
}

/// A flow's name: its first packet, and which layer of that packet carried it (0 outermost). The same input gives the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// The first packet of the flow.
    pub packet: PacketId,
    /// How many tunnels the flow's packets were inside of.
    pub layer: u8,
}

impl FlowId {
    /// The layer of flows that another sensor has a name for: no packet of theirs is known.
    const NAMED: u8 = u8::MAX;

    /// A flow that another sensor names, by a hash of that name.
    pub const fn of_name(hash: u64) -> Self {
        Self { packet: PacketId(hash), layer: Self::NAMED }
    }

    /// The same flow where so many files more come before its own.
    pub const fn behind(self, files: u32) -> Self {
        if self.is_named() { self } else { Self { packet: self.packet.behind(files), layer: self.layer } }
    }

    /// Whether another sensor saw the flow, and named it.
    pub const fn is_named(self) -> bool {
        self.layer == Self::NAMED
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layer == 0 {
            write!(f, "{}", self.packet)
        } else {
            write!(f, "{}/{}", self.packet, self.layer)
        }
    }
}

/// As its text: the first packet, and behind a slash the tunnels around it. As both numbers where nobody reads it.
impl Serialize for FlowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (self.packet, self.layer).serialize(serializer);
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FlowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <(PacketId, u8)>::deserialize(deserializer).map(|(packet, layer)| Self { packet, layer });
        }
        let text = String::deserialize(deserializer)?;
        let (packet, layer) = text.split_once('/').unwrap_or((&text, "0"));
        match (PacketId::parse(packet), layer.parse()) {
            (Some(packet), Ok(layer)) => Ok(Self { packet, layer }),
            _ => Err(D::Error::custom(format!("not a flow: {text:?}"))),
        }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A part of a network in which addresses may repeat: what frames say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum Segment {
    /// The VLAN identifier of the outermost tag (IEEE 802.1Q), 0–4095.
    Vlan(u16),
    /// The virtual network identifier of the innermost overlay: VXLAN (RFC 7348) or GENEVE (RFC 8926), 24 bits.
    Vni(u32),
    /// What has no tag, where segments are told apart.
    Untagged,
    /// What is judged together, where there are too many segments to tell apart.
    Others,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vlan(id) => write!(f, "vlan{id}"),
            Self::Vni(id) => write!(f, "vni{id}"),
            Self::Untagged => f.write_str("untagged"),
            Self::Others => f.write_str("others"),
        }
    }
}

/// As its text; kind and number where nobody reads it.
impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            Self::serialize(self, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Segment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "untagged" => return Ok(Self::Untagged),
            "others" => return Ok(Self::Others),
            _ => {}
        }
        let number = |prefix: &str| text.strip_prefix(prefix)?.parse::<u32>().ok();
        match (number("vlan"), number("vni")) {
            (Some(id @ 0..=0xfff), _) => Ok(Self::Vlan(id as u16)),
            (_, Some(id @ 0..=0xff_ffff)) => Ok(Self::Vni(id)),
            _ => Err(format!("{text:?} is no segment: vlan12, vni5001, untagged")),
        }
    }
}

/// A host as people and files name it: `10.0.0.5`; where segments of the network are apart, `10.0.0.5@vlan12`; and where the address was several
/// machines', `10.0.0.5@2008-04-08T09:00:00Z`, the one that had it then. Both at once are parted by a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId {
    /// The address.
    pub address: IpAddr,
    /// The segment that it is in.
    pub segment: Option<Segment>,
    /// A time at which it was this machine's.
    pub at: Option<Timestamp>,
}

impl From<IpAddr> for HostId {
    fn from(address: IpAddr) -> Self {
        Self { address, segment: None, at: None }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match (self.segment, self.at) {
            (None, None) => Ok(()),
            (Some(segment), None) => write!(f, "@{segment}"),
            (None, Some(at)) => write!(f, "@{at}"),
            (Some(segment), Some(at)) => write!(f, "@{segment},{at}"),
        }
    }
}

impl FromStr for HostId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, rest) = text.split_once('@').map_or((text, None), |(host, rest)| (host, Some(rest)));
        let address: IpAddr = address.parse().map_err(|e| format!("{address:?}: {e}"))?;
        let mut id = Self::from(address);
        for part in rest.into_iter().flat_map(|r| r.split(',')) {
            if let Ok(segment) = part.parse() {
                id.segment = Some(segment);
            } else if let Some(at) = Timestamp::parse(part) {
                id.at = Some(at);
            } else {
                return Err(format!(
                    "{part:?} is neither a time nor a segment of the network: write 2008-04-08T09:00:00Z, vlan12 or vni5001"
                ));
            }
        }
        Ok(id)
    }
}

impl Serialize for HostId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The protocol over IP that carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// TCP, 6.
    Tcp,
    /// UDP, 17 (and UDP-Lite, 136).
    Udp,
    /// ICMP, 1; ports are type and code.
    Icmp,
    /// ICMPv6, 58; ports are type and code.
    Icmp6,
    /// SCTP, 132.
    Sctp,
    /// Any other protocol number; ports are 0.
    Other(u8),
}

impl Transport {
    /// The IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
            Self::Sctp => 132,
            Self::Other(n) => n,
        }
    }

    /// Whether what it carries is read, or is what the network's own devices say to each other (IGMP, GGP, ST, EGP, IGRP, DCCP, RSVP, GRE,
    /// EIGRP, OSPF, PIM, VRRP, PGM, L2TP, IS-IS, HIP, Shim6, ROHC): nothing that a host could hide behind.
    pub const fn is_read(self) -> bool {
        match self {
            Self::Other(n) => matches!(
                n,
                2 | 3
                    | 5
                    | 8
                    | 9
                    | 33
                    | 46
                    | 47
                    | 88
                    | 89
                    | 103
                    | 112
                    | 113
                    | 115
                    | 124
                    | 135
                    | 139
                    | 140
                    | 142
            ),
            _ => true,
        }
    }

    /// The transport of an IANA protocol number.
    pub const fn of_number(n: u8) -> Self {
        match n {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            132 => Self::Sctp,
            n => Self::Other(n),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Icmp6 => f.write_str("icmp6"),
            Self::Sctp => f.write_str("sctp"),
            Self::Other(n) => write!(f, "ip/{n}"),
        }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port; for ICMP the type or code.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint of a name whose address nobody told, as where a proxy looks it up: an address of the discard-only prefix (RFC 6666) that
    /// stands for the name, the same on every run.
    pub fn of_name(name: &str, port: u16) -> Self {
        // Of a hash that nobody can aim: two names that stand under one address would be one remote.
        let hash = Sha256::digest(name.to_ascii_lowercase());
        let mut ip = [0; 16];
        ip[0] = 1;
        ip[8..].copy_from_slice(&hash[..8]);
        let ip = Ipv6Addr::from(ip);
        Self { ip: ip.into(), port }
    }

    /// Whether a name only means something within the house that gives it out: it has no dot, or a suffix for such use (RFC 6762, 8375, ICANN's
    /// reserved `.internal`, and customs).
    pub fn is_name_of_the_house(name: &str) -> bool {
        const HOUSE: [&str; 9] = [
            ".local",
            ".lan",
            ".internal",
            ".home.arpa",
            ".intranet",
            ".corp",
            ".home",
            ".localdomain",
            ".private",
        ];
        !name.contains('.') || HOUSE.iter().any(|s| name.ends_with(s))
    }

    /// Whether an address only stands for a name (see [`Self::of_name`]).
    pub fn is_stand_in(ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V6(ip) if ip.segments()[..4] == [0x100, 0, 0, 0])
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// Both ends of a flow: who opened it, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// The originator.
    pub orig: Endpoint,
    /// The responder.
    pub resp: Endpoint,
    /// What carries the flow.
    pub transport: Transport,
}

/// Which way a packet goes within its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// From the originator to the responder.
    Orig,
    /// From the responder to the originator.
    Resp,
}

impl Direction {
    /// 0 for the originator's side, 1 for the responder's.
    pub const fn index(self) -> usize {
        match self {
            Self::Orig => 0,
            Self::Resp => 1,
        }
    }

    /// The other way.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Orig => Self::Resp,
            Self::Resp => Self::Orig,
        }
    }
}

/// FNV-1a of bytes, the same on every machine and in every version; its low bits know little of the high ones, so both are folded.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) ^ hash
}

/// Buckets that hosts are spread over, and so the most shares of a network.
pub const BUCKETS: u32 = 64;

/// The bucket of a host, 0–63: [`fnv1a`] of its 16 bytes (RFC 4291 §2.5.5.2 for IPv4), the same on every machine and in every version.
pub fn bucket(host: IpAddr) -> u32 {
    let ip = match host {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    fnv1a(&ip.octets()) as u32 % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_id_keeps_file_and_number() {
        let id = PacketId::new(3, 1_000_000);
        assert_eq!((id.file(), id.number()), (3, 1_000_000));
        assert_eq!(id.to_string(), "3:1000000");
        assert_eq!(PacketId::new(0, 7).to_string(), "7");
        assert_eq!(PacketId::parse("3:1000000"), Some(id));
        for none in ["", "x", "1:", "1099511627777", "16777216:1"] {
            assert_eq!(PacketId::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_host_is_called_by_address_segment_and_time() {
        for text in [
            "10.0.0.5",
            "10.0.0.5@vlan12",
            "10.0.0.5@2008-04-08T09:00:00Z",
            "fd00::5@vni5001,2008-04-08T09:00:00Z",
        ] {
            let id: HostId = text.parse().unwrap();
            assert_eq!(id.to_string().parse::<HostId>(), Ok(id), "{text}");
            assert_eq!(
                (id.segment.is_some(), id.at.is_some()),
                (text.contains('v'), text.contains("2008")),
                "{text}"
            );
        }
        for wrong in ["10.0.0", "10.0.0.5@", "10.0.0.5@monday", "10.0.0.5@vlan4096"] {
            assert!(wrong.parse::<HostId>().is_err(), "{wrong}");
        }
    }
}
