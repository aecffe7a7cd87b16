//! What a datagram of NetFlow or IPFIX tells, whatever its version: one part of a flow a row.

use std::net::IpAddr;

use netflow_parser::static_versions::{v5, v7};
use netflow_parser::variable_versions::ipfix::FlowSetBody as Body;
use netflow_parser::variable_versions::ipfix::lookup::{
    IANAIPFixField as Iana, IPFixField, ReverseInformationElement as Reverse, YafIPFixField as Yaf,
};
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldValue, NetflowPacket};
use record::{Endpoint, Mac, Timestamp, Transport};

/// What one side said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub packets: u64,
    /// Bytes of whole IP packets.
    pub octets: u64,
    /// TCP's flags of all its packets together, where they are told.
    pub flags: Option<u8>,
}

/// A row: a part of a flow, one way or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub transport: Transport,
    pub first: Timestamp,
    pub last: Timestamp,
    pub there: Said,
    /// What came back, where a row tells both ways.
    pub back: Option<Said>,
    /// Why the row was written: 1 nobody spoke, 2 the flow goes on, 3 it ended, 4 and 5 the exporter had to.
    pub reason: Option<u8>,
    /// Whether a firewall refused it.
    pub denied: bool,
    pub vlan: Option<u16>,
    pub mac: [Option<Mac>; 2],
}

/// A datagram's rows, and what else it tells.
#[derive(Debug, Default)]
pub struct Rows {
    pub parts: Vec<Part>,
    /// The number that it bears.
    pub sequence: u32,
    /// By how much the numbers grow with it: before it, or, as some count, after it.
    pub counted: u32,
    /// One in so many packets is looked at, where it says so.
    pub sampling: Option<u64>,
    /// When the exporter started, in milliseconds since 1970, where it says so.
    pub started: Option<u64>,
    /// Sets whose template is not known yet.
    pub unknown: u64,
    /// Rows that told no flow: without addresses, without a time.
    pub useless: u64,
}

/// The clock of an exporter: what it was at when it sent.
#[derive(Clone, Copy)]
struct Clock {
    sent: Timestamp,
    /// Milliseconds since it started; none where it does not say.
    uptime: Option<u32>,
    /// When it started, in milliseconds since 1970, where it says that instead.
    started: Option<u64>,
}

impl Clock {
    const fn new(secs: u32, nanos: u32, uptime: Option<u32>) -> Self {
        Self { sent: Timestamp(secs as i64 * 1_000_000_000 + nanos as i64), uptime, started: None }
    }

    /// When its milliseconds were at this number, which begins again after 49 days.
    fn at(self, uptime: u32) -> Option<Timestamp> {
        if let Some(started) = self.started {
            let millis = i64::try_from(started).ok()?.checked_add(i64::from(uptime))?;
            return Some(Timestamp(millis.checked_mul(1_000_000)?));
        }
        let ago = self.uptime?.wrapping_sub(uptime).cast_signed();
        Some(Timestamp(self.sent.0.checked_sub(i64::from(ago) * 1_000_000)?))
    }
}

/// Its version, and the domain or source that it is of.
pub fn domain(packet: &NetflowPacket) -> (u16, u32) {
    match packet {
        NetflowPacket::V5(p) => (5, u32::from(p.header.engine_type) << 8 | u32::from(p.header.engine_id)),
        NetflowPacket::V7(_) => (7, 0),
        NetflowPacket::V9(p) => (9, p.header.source_id),
        NetflowPacket::IPFix(p) => (10, p.header.observation_domain_id),
        _ => (0, 0),
    }
}

/// Takes the rows of a version that knows no templates: their fields have the same names, and types of their own.
macro_rules! take_old {
    ($rows:ident, $clock:expr, $sets:expr) => {
        for f in $sets {
            let there =
                Said { packets: f.d_pkts.into(), octets: f.d_octets.into(), flags: Some(f.tcp_flags) };
            let ends = ((f.src_addr.into(), f.src_port), (f.dst_addr.into(), f.dst_port));
            $rows.add($clock, Fields::old(ends.0, ends.1, f.protocol_number, (f.first, f.last), there));
        }
    };
}

impl Rows {
    /// Takes a datagram's content; `started` is when the exporter began, if it said so before.
    pub fn of(packet: &NetflowPacket, started: Option<u64>) -> Self {
        match packet {
            NetflowPacket::V5(p) => Self::v5(p),
            NetflowPacket::V7(p) => Self::v7(p),
            NetflowPacket::V9(p) => Self::v9(p),
            NetflowPacket::IPFix(p) => Self::ipfix(p, started),
            _ => Self::default(),
        }
    }

    fn v5(p: &v5::V5) -> Self {
        let h = &p.header;
        let clock = Clock::new(h.unix_secs, h.unix_nsecs, Some(h.sys_up_time));
        // Fourteen bits, and two that say how.
        let interval = u64::from(h.sampling_interval & 0x3fff);
        let mut rows = Self {
            sequence: h.flow_sequence,
            counted: u32::from(h.count),
            sampling: (interval > 1).then_some(interval),
            ..Self::default()
        };
        take_old!(rows, &clock, &p.flowsets);
        rows
    }

    fn v7(p: &v7::V7) -> Self {
        let h = &p.header;
        let clock = Clock::new(h.unix_secs, h.unix_nsecs, Some(h.sys_up_time));
        let mut rows = Self { sequence: h.flow_sequence, counted: u32::from(h.count), ..Self::default() };
        take_old!(rows, &clock, &p.flowsets);
        rows
    }

    fn v9(p: &v9::V9) -> Self {
        let h = &p.header;
        let clock = Clock::new(h.unix_secs, 0, Some(h.sys_up_time));
        let mut rows = Self { sequence: h.sequence_number, counted: 1, ..Self::default() };
        for set in &p.flowsets {
            match &set.body {
                v9::FlowSetBody::Data(data) => {
                    for row in &data.fields {
                        rows.add(&clock, numbered(row.iter().map(|(f, v)| (u16::from(*f), v))));
                    }
                }
                v9::FlowSetBody::OptionsData(data) => {
                    for row in &data.fields {
                        rows.option(&numbered(row.options_fields.iter().map(|(f, v)| (u16::from(*f), v))));
                    }
                }
                v9::FlowSetBody::NoTemplate(_) => rows.unknown += 1,
                _ => {}
            }
        }
        rows
    }

    fn ipfix(p: &ipfix::IPFix, started: Option<u64>) -> Self {
        let h = &p.header;
        let sent = Clock::new(h.export_time, 0, None);
        let mut rows = Self { sequence: h.sequence_number, started, ..Self::default() };
        // It counts rows.
        let mut told = 0u32;
        for set in &p.flowsets {
            let clock = Clock { started: rows.started, ..sent };
            let of = |row: &[(IPFixField, FieldValue)]| {
                let mut fields = Fields::default();
                for (f, v) in row {
                    fields.take(number(*f), v);
                }
                fields
            };
            match &set.body {
                Body::Data(data) => {
                    told += data.fields.len() as u32;
                    data.fields.iter().for_each(|row| rows.add(&clock, of(row)));
                }
                Body::OptionsData(data) => {
                    told += data.fields.len() as u32;
                    data.fields.iter().for_each(|row| rows.option(&of(row)));
                }
                Body::V9Data(data) => {
                    told += data.fields.len() as u32;
                    for row in &data.fields {
                        rows.add(&clock, numbered(row.iter().map(|(f, v)| (u16::from(*f), v))));
                    }
                }
                Body::NoTemplate(_) => rows.unknown += 1,
                _ => {}
            }
        }
        rows.counted = told;
        rows
    }

    fn add(&mut self, clock: &Clock, fields: Fields) {
        self.sampling = fields.sampling().or(self.sampling);
        // A firewall tells when a flow begins as well.
        if matches!(fields.event, Some(1)) {
            return;
        }
        match fields.part(clock) {
            Some(part) => self.parts.push(part),
            None => self.useless += 1,
        }
    }

    fn option(&mut self, fields: &Fields) {
        self.started = fields.started.or(self.started);
        self.sampling = fields.sampling().or(self.sampling);
    }
}

fn numbered<'a>(row: impl Iterator<Item = (u16, &'a FieldValue)>) -> Fields {
    let mut fields = Fields::default();
    for (f, v) in row {
        fields.take(f, v);
    }
    fields
}

/// Numbers of IANA's registry of information elements; NetFlow 9 has the same up to 127, and Cisco's firewalls beyond.
mod element {
    pub const OCTETS: u16 = 1;
    pub const PACKETS: u16 = 2;
    pub const PROTOCOL: u16 = 4;
    pub const TCP_FLAGS: u16 = 6;
    pub const SOURCE_PORT: u16 = 7;
    pub const SOURCE_V4: u16 = 8;
    pub const DESTINATION_PORT: u16 = 11;
    pub const DESTINATION_V4: u16 = 12;
    pub const LAST_UPTIME: u16 = 21;
    pub const FIRST_UPTIME: u16 = 22;
    pub const OUT_OCTETS: u16 = 23;
    pub const OUT_PACKETS: u16 = 24;
    pub const SOURCE_V6: u16 = 27;
    pub const DESTINATION_V6: u16 = 28;
    pub const ICMP_V4: u16 = 32;
    pub const SAMPLING: u16 = 34;
    pub const RANDOM_SAMPLING: u16 = 50;
    pub const SOURCE_MAC: u16 = 56;
    pub const VLAN: u16 = 58;
    pub const DESTINATION_MAC: u16 = 80;
    pub const TOTAL_OCTETS: u16 = 85;
    pub const TOTAL_PACKETS: u16 = 86;
    pub const END_REASON: u16 = 136;
    pub const ICMP_V6: u16 = 139;
    pub const START_SECONDS: u16 = 150;
    pub const END_SECONDS: u16 = 151;
    pub const START_MILLIS: u16 = 152;
    pub const END_MILLIS: u16 = 153;
    pub const START_MICROS: u16 = 154;
    pub const END_MICROS: u16 = 155;
    pub const START_NANOS: u16 = 156;
    pub const END_NANOS: u16 = 157;
    pub const START_BEFORE: u16 = 158;
    pub const END_BEFORE: u16 = 159;
    pub const SYSTEM_INIT: u16 = 160;
    pub const DURATION_MILLIS: u16 = 161;
    pub const INITIATOR_OCTETS: u16 = 231;
    pub const RESPONDER_OCTETS: u16 = 232;
    pub const FIREWALL_EVENT: u16 = 233;
    pub const DOT1Q_VLAN: u16 = 243;
    pub const INITIATOR_PACKETS: u16 = 298;
    pub const RESPONDER_PACKETS: u16 = 299;
    pub const SAMPLED: u16 = 305;
    pub const SKIPPED: u16 = 306;
    /// Not IANA's: what came back (RFC 5103), beyond its numbers.
    pub const BACK: u16 = 0x8000;
    pub const NONE: u16 = u16::MAX;
}

/// The number of an element of IPFIX; what came back has its own.
const fn number(field: IPFixField) -> u16 {
    use element as e;
    match field {
        IPFixField::IANA(field) => match field {
            Iana::OctetDeltaCount => e::OCTETS,
            Iana::PacketDeltaCount => e::PACKETS,
            Iana::ProtocolIdentifier => e::PROTOCOL,
            Iana::TcpControlBits => e::TCP_FLAGS,
            Iana::SourceTransportPort => e::SOURCE_PORT,
            Iana::SourceIpv4address => e::SOURCE_V4,
            Iana::DestinationTransportPort => e::DESTINATION_PORT,
            Iana::DestinationIpv4address => e::DESTINATION_V4,
            Iana::FlowEndSysUpTime => e::LAST_UPTIME,
            Iana::FlowStartSysUpTime => e::FIRST_UPTIME,
            Iana::PostOctetDeltaCount => e::OUT_OCTETS,
            Iana::PostPacketDeltaCount => e::OUT_PACKETS,
            Iana::SourceIpv6address => e::SOURCE_V6,
            Iana::DestinationIpv6address => e::DESTINATION_V6,
            Iana::IcmpTypeCodeIpv4 => e::ICMP_V4,
            Iana::SamplingInterval => e::SAMPLING,
            Iana::SamplerRandomInterval => e::RANDOM_SAMPLING,
            Iana::SourceMacaddress => e::SOURCE_MAC,
            Iana::VlanId => e::VLAN,
            Iana::DestinationMacaddress => e::DESTINATION_MAC,
            Iana::OctetTotalCount => e::TOTAL_OCTETS,
            Iana::PacketTotalCount => e::TOTAL_PACKETS,
            Iana::FlowEndReason => e::END_REASON,
            Iana::IcmpTypeCodeIpv6 => e::ICMP_V6,
            Iana::FlowStartSeconds => e::START_SECONDS,
            Iana::FlowEndSeconds => e::END_SECONDS,
            Iana::FlowStartMilliseconds => e::START_MILLIS,
            Iana::FlowEndMilliseconds => e::END_MILLIS,
            Iana::FlowStartMicroseconds => e::START_MICROS,
            Iana::FlowEndMicroseconds => e::END_MICROS,
            Iana::FlowStartNanoseconds => e::START_NANOS,
            Iana::FlowEndNanoseconds => e::END_NANOS,
            Iana::FlowStartDeltaMicroseconds => e::START_BEFORE,
            Iana::FlowEndDeltaMicroseconds => e::END_BEFORE,
            Iana::SystemInitTimeMilliseconds => e::SYSTEM_INIT,
            Iana::FlowDurationMilliseconds => e::DURATION_MILLIS,
            Iana::InitiatorOctets => e::INITIATOR_OCTETS,
            Iana::ResponderOctets => e::RESPONDER_OCTETS,
            Iana::FirewallEvent => e::FIREWALL_EVENT,
            Iana::Dot1qVlanId => e::DOT1Q_VLAN,
            Iana::InitiatorPackets => e::INITIATOR_PACKETS,
            Iana::ResponderPackets => e::RESPONDER_PACKETS,
            Iana::SamplingPacketInterval => e::SAMPLED,
            Iana::SamplingPacketSpace => e::SKIPPED,
            _ => e::NONE,
        },
        IPFixField::ReverseInformationElement(field) => match field {
            Reverse::ReverseOctetDeltaCount | Reverse::ReverseOctetTotalCount => e::BACK | e::OCTETS,
            Reverse::ReversePacketDeltaCount | Reverse::ReversePacketTotalCount => e::BACK | e::PACKETS,
            Reverse::ReverseTcpControlBits => e::BACK | e::TCP_FLAGS,
            _ => e::NONE,
        },
        // YAF tells the flags of the first packet and of all others.
        IPFixField::Yaf(Yaf::InitialTCPFlags | Yaf::UnionTCPFlags) => e::TCP_FLAGS,
        IPFixField::Yaf(Yaf::ReverseInitialTCPFlags | Yaf::ReverseUnionTCPFlags) => e::BACK | e::TCP_FLAGS,
        _ => e::NONE,
    }
}

/// The fields of a row.
#[derive(Default)]
struct Fields {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    ports: [u16; 2],
    /// ICMP's type and code.
    icmp: Option<u16>,
    protocol: Option<u8>,
    there: Said,
    back: Option<Said>,
    /// Milliseconds of the exporter's clock.
    uptimes: [Option<u32>; 2],
    times: [Option<Timestamp>; 2],
    /// Microseconds before the datagram was sent.
    before: [Option<u32>; 2],
    started: Option<u64>,
    duration: Option<u64>,
    reason: Option<u8>,
    event: Option<u8>,
    vlan: Option<u16>,
    mac: [Option<Mac>; 2],
    interval: Option<u64>,
    sampled: [Option<u64>; 2],
}

impl Fields {
    /// Those of the versions that know no templates.
    fn old(
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
        protocol: u8,
        times: (u32, u32),
        there: Said,
    ) -> Self {
        Self {
            source: Some(source.0),
            destination: Some(destination.0),
            ports: [source.1, destination.1],
            icmp: matches!(protocol, 1 | 58).then_some(destination.1),
            protocol: Some(protocol),
            there,
            uptimes: [Some(times.0), Some(times.1)],
            ..Self::default()
        }
    }

    fn take(&mut self, field: u16, value: &FieldValue) {
        use element as e;
        if field == e::NONE {
            return;
        }
        let mut raw = Vec::with_capacity(16);
        if value.write_be_bytes(&mut raw).is_err() {
            return;
        }
        let n = || raw.iter().rev().take(8).rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let count = || n().min(crate::MOST);
        let port = || n() as u16;
        let secs = || Some(Timestamp(i64::try_from(n()).ok()?.checked_mul(1_000_000_000)?));
        let millis = || Some(Timestamp(i64::try_from(n()).ok()?.checked_mul(1_000_000)?));
        let address = || match raw[..] {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(&raw[..]).ok()?)),
        };
        let mac = || Some(Mac(raw[..].try_into().ok()?));
        match field {
            e::OCTETS | e::TOTAL_OCTETS | e::INITIATOR_OCTETS => {
                self.there.octets = self.there.octets.max(count());
            }
            e::PACKETS | e::TOTAL_PACKETS | e::INITIATOR_PACKETS => {
                self.there.packets = self.there.packets.max(count());
            }
            // What left the router, where it tells nothing else.
            e::OUT_OCTETS if self.there.octets == 0 => self.there.octets = count(),
            e::OUT_PACKETS if self.there.packets == 0 => self.there.packets = count(),
            e::RESPONDER_OCTETS | 0x8001 => self.back.get_or_insert_default().octets = count(),
            e::RESPONDER_PACKETS | 0x8002 => self.back.get_or_insert_default().packets = count(),
            e::TCP_FLAGS => self.there.flags = Some(self.there.flags.unwrap_or(0) | n() as u8),
            0x8006 => {
                let back = self.back.get_or_insert_default();
                back.flags = Some(back.flags.unwrap_or(0) | n() as u8);
            }
            e::PROTOCOL => self.protocol = Some(n() as u8),
            e::SOURCE_PORT => self.ports[0] = port(),
            e::DESTINATION_PORT => self.ports[1] = port(),
            // An exporter of both families leaves the other's address zero.
            e::SOURCE_V4 | e::SOURCE_V6 => {
                self.source = address().filter(|a| !a.is_unspecified()).or(self.source);
            }
            e::DESTINATION_V4 | e::DESTINATION_V6 => {
                self.destination = address().filter(|a| !a.is_unspecified()).or(self.destination);
            }
            e::ICMP_V4 | e::ICMP_V6 => self.icmp = Some(port()),
            e::FIRST_UPTIME => self.uptimes[0] = Some(n() as u32),
            e::LAST_UPTIME => self.uptimes[1] = Some(n() as u32),
            e::START_SECONDS => self.times[0] = self.times[0].or_else(secs),
            e::END_SECONDS => self.times[1] = self.times[1].or_else(secs),
            e::START_MILLIS => self.times[0] = millis(),
            e::END_MILLIS => self.times[1] = millis(),
            e::START_MICROS | e::START_NANOS => self.times[0] = ntp(&raw),
            e::END_MICROS | e::END_NANOS => self.times[1] = ntp(&raw),
            e::START_BEFORE => self.before[0] = Some(n() as u32),
            e::END_BEFORE => self.before[1] = Some(n() as u32),
            e::SYSTEM_INIT => self.started = Some(n()),
            e::DURATION_MILLIS => self.duration = Some(n()),
            e::END_REASON => self.reason = Some(n() as u8),
            e::FIREWALL_EVENT => self.event = Some(n() as u8),
            e::VLAN | e::DOT1Q_VLAN => self.vlan = Some(n() as u16 & 0xfff).filter(|v| *v != 0),
            e::SOURCE_MAC => self.mac[0] = mac(),
            e::DESTINATION_MAC => self.mac[1] = mac(),
            e::SAMPLING | e::RANDOM_SAMPLING => self.interval = Some(count()),
            e::SAMPLED => self.sampled[0] = Some(count()),
            e::SKIPPED => self.sampled[1] = Some(count()),
            _ => {}
        }
    }

    /// One in how many packets is looked at, where it says so.
    fn sampling(&self) -> Option<u64> {
        let spaced = || {
            let [taken, skipped] = self.sampled;
            let (taken, skipped) = (taken?.max(1), skipped?);
            Some((taken + skipped) / taken)
        };
        self.interval.or_else(spaced).filter(|n| *n > 0)
    }

    fn part(self, clock: &Clock) -> Option<Part> {
        let transport = Transport::of_number(self.protocol?);
        let is_icmp = matches!(transport, Transport::Icmp | Transport::Icmp6);
        let [mut source, mut destination] = self.ports;
        if is_icmp {
            let icmp = self.icmp.unwrap_or(destination);
            (source, destination) = (icmp >> 8, icmp & 0xff);
        }
        let at = |i: usize| {
            let clock = Clock { started: self.started.or(clock.started), ..*clock };
            let by_uptime = || clock.at(self.uptimes[i]?);
            let before = || Some(Timestamp(clock.sent.0.checked_sub(i64::from(self.before[i]?) * 1000)?));
            self.times[i].or_else(by_uptime).or_else(before)
        };
        let span = self.duration.map(|ms| std::time::Duration::from_millis(ms.min(crate::MOST)));
        let (first, last) = match (at(0), at(1)) {
            (Some(first), Some(last)) => (first, last.max(first)),
            (Some(first), None) => (first, span.map_or(first, |s| first.plus(s))),
            (None, Some(last)) => (span.map_or(last, |s| last.minus(s)), last),
            // When it was sent is about when it was.
            (None, None) => (clock.sent, clock.sent),
        };
        let mut there = self.there;
        there.packets = there.packets.max(u64::from(there.octets > 0));
        // Firewalls tell bytes and no packets.
        let back = self.back.map(|b| Said { packets: b.packets.max(u64::from(b.octets > 0)), ..b });
        Some(Part {
            source: Endpoint { ip: self.source?, port: source },
            destination: Endpoint { ip: self.destination?, port: destination },
            transport,
            first,
            last,
            there,
            back,
            reason: self.reason.or_else(|| (self.event == Some(2)).then_some(3)),
            denied: self.event == Some(3),
            vlan: self.vlan,
            mac: self.mac,
        })
    }
}

/// Seconds since 1900 and their fraction.
fn ntp(raw: &[u8]) -> Option<Timestamp> {
    const TO_1970: i64 = 2_208_988_800;
    let (secs, fraction) = raw.split_first_chunk::<4>()?;
    let fraction = u32::from_be_bytes(*fraction.first_chunk::<4>()?);
    let nanos = (u64::from(fraction) * 1_000_000_000) >> 32;
    let secs = i64::from(u32::from_be_bytes(*secs)) - TO_1970;
    Some(Timestamp(secs.checked_mul(1_000_000_000)?.checked_add(nanos as i64)?))
}
