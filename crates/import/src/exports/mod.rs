//! Flows that routers and probes export, in captures of what they send: NetFlow 5, 7, 9 and IPFIX.
//!
//! A row tells one way of a flow, or a part of it. Both ways, and the parts that an active timeout cut, are joined here; what is told is a flow, as the packets
//! themselves would tell it, known when it was over: who writes down in a minute what happened in a week sends all of it at once.

mod parts;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netflow_parser::{AutoScopedParser, NetflowParser, PendingFlowsConfig};
use record::{
    Conn, ConnPhase, ConnState, Endpoint, Export, Head, Health, History, KeyPackets, Mac, PacketId, Record,
    Segment, Service, Timestamp, Transport, Tuple,
};

use self::parts::{Part, Rows, Said};
use crate::values;

/// How long after one way of a flow the other may be told: exporters write down what is silent after 15 to 60 seconds.
const PAIRED: Duration = Duration::from_mins(1);
/// How long the next part of a flow that goes on may take: the longest usual active timeout is 30 minutes.
const NEXT_PART: Duration = Duration::from_mins(31);
/// A flow whose last packet was so recent when it was told goes on: silent ones are told 15 seconds later at the earliest.
const RECENT: Duration = Duration::from_secs(10);
/// How long a flow that is over waits for others that were over before it.
const WAITS: Duration = Duration::from_mins(2);
/// An open flow is told again after so long, as one in a capture is.
const TOLD_AGAIN: Duration = Duration::from_mins(5);
/// What an open flow takes, in bytes, and what is told of one while it waits (*assumed*).
const OPEN: usize = 512 + 768;
/// Originators of the capture's own that are kept.
const ORIGINATORS: usize = 65_536;
/// Exporters whose templates are kept.
const EXPORTERS: usize = 256;
/// Kinds of sets that wait for their template, and their bytes, of one exporter's domain.
const PENDING_SETS: usize = 64;
const PENDING_BYTES: usize = 128 << 10;
/// Templates that are kept of one exporter's domain (*assumed*: routers have a few).
const TEMPLATES: usize = 256;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// A flow, whoever of its ends comes first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    transport: Transport,
    ends: [Endpoint; 2],
}

impl Key {
    /// A flow's key, and which of its ends sends.
    fn of(part: &Part) -> (Self, usize) {
        let port = |e: Endpoint| {
            if matches!(part.transport, Transport::Icmp | Transport::Icmp6) {
                Endpoint { port: 0, ..e }
            } else {
                e
            }
        };
        let (source, destination) = (port(part.source), port(part.destination));
        let first = usize::from(source > destination);
        let ends = if first == 0 { [source, destination] } else { [destination, source] };
        (Self { transport: part.transport, ends }, first)
    }
}

/// One way of a flow, as far as it was told.
#[derive(Clone, Default)]
struct Way {
    said: Option<Said>,
    first: Option<Timestamp>,
    /// Which exporter tells of it; another tells the same again.
    teller: Option<u32>,
    last_part: Option<(Timestamp, Timestamp, Said)>,
    mac: Option<Mac>,
}

/// A flow that is not over yet.
struct Open {
    ways: [Way; 2],
    /// Ports as they were told, which ICMP has its type in.
    ports: [u16; 2],
    first: Timestamp,
    last: Timestamp,
    /// When it was told last while it went on.
    told: Timestamp,
    segment: Option<Segment>,
    denied: bool,
    sampled: bool,
    /// Which way was told first.
    told_first: usize,
    packets: KeyPackets,
    deadline: (Timestamp, u64),
}

/// What is known of one exporter's domain.
#[derive(Default)]
struct Domain {
    /// The number of its last datagram, and how much it counted.
    before: Option<(u32, u32)>,
    /// One in so many packets is looked at.
    sampling: u64,
    /// When it started, in milliseconds since 1970.
    started: Option<u64>,
    /// Whether it ever told what came back of a connection.
    both_ways: bool,
}

impl Domain {
    /// Takes what a datagram tells of it: how many rows or datagrams are missing before that one.
    fn learn(&mut self, rows: &Rows) -> u64 {
        /// Beyond it began anew.
        const FAR: u32 = 100_000;
        self.sampling = rows.sampling.unwrap_or(self.sampling);
        self.started = rows.started.or(self.started);
        // Of sets that cannot be read yet it is not known how many rows they are.
        let known = rows.unknown == 0 && rows.counted > 0;
        let before = std::mem::replace(&mut self.before, known.then_some((rows.sequence, rows.counted)));
        let Some((sequence, counted)) = before.filter(|_| known) else { return 0 };
        let grown = rows.sequence.wrapping_sub(sequence);
        if grown < FAR { u64::from(grown.saturating_sub(counted.max(rows.counted))) } else { 0 }
    }
}

/// A record that waits: when it became known, its turn, and when it came.
struct Ready {
    known: Timestamp,
    turn: u64,
    came: Timestamp,
    record: Box<Record>,
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        (self.known, self.turn) == (other.known, other.turn)
    }
}
impl Eq for Ready {}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ready {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.known, self.turn).cmp(&(other.known, other.turn))
    }
}

/// Everything that exporters tell, joined to flows.
pub struct Exports {
    parser: AutoScopedParser,
    domains: Vec<Domain>,
    /// Where each is, by exporter, version and its own number.
    known: HashMap<(IpAddr, u16, u32), u32>,
    open: HashMap<Key, Open>,
    deadlines: BTreeMap<(Timestamp, u64), Key>,
    /// What is told and waits for what may have been before it.
    ready: BinaryHeap<Reverse<Ready>>,
    most_open: usize,
    clock: Timestamp,
    turn: u64,
    datagrams: u64,
    flows: u64,
    beyond: u64,
    again: u64,
    useless: u64,
    lost: u64,
    unknown: u64,
    crowded: u64,
    /// Who began flows whose packets are in the capture itself.
    seen: HashSet<IpAddr>,
    told_by_packets: u64,
    bad: u64,
    first_bad: Option<(PacketId, String)>,
    health: Health,
}

impl Exports {
    /// Nothing told yet. Open flows may take so many `bytes`.
    pub fn new(bytes: usize) -> Self {
        let mut pending = PendingFlowsConfig::new(PENDING_SETS);
        pending.max_total_bytes = PENDING_BYTES;
        // Its sizes are all above zero, so they are taken.
        let builder = NetflowParser::builder().with_cache_size(TEMPLATES).with_pending_flows(pending);
        let parser =
            builder.try_multi_source().and_then(|p| p.with_max_sources(EXPORTERS)).unwrap_or_default();
        Self {
            parser,
            domains: Vec::new(),
            known: HashMap::new(),
            open: HashMap::new(),
            deadlines: BTreeMap::new(),
            ready: BinaryHeap::new(),
            most_open: (bytes / OPEN).max(1024),
            clock: Timestamp::MIN,
            turn: 0,
            datagrams: 0,
            flows: 0,
            beyond: 0,
            again: 0,
            useless: 0,
            lost: 0,
            unknown: 0,
            crowded: 0,
            seen: HashSet::new(),
            told_by_packets: 0,
            bad: 0,
            first_bad: None,
            health: Health::default(),
        }
    }

    /// Takes a datagram.
    pub fn take(&mut self, export: &Export) {
        let at = export.head.known;
        self.advance(at);
        self.datagrams += 1;
        let packet = export.packets.first().copied().unwrap_or_default();
        let source = SocketAddr::new(export.exporter.ip, export.exporter.port);
        let parsed = self.parser.parse_from_source(source, &export.datagram);
        if let Some(error) = parsed.error {
            self.bad += 1;
            self.first_bad.get_or_insert_with(|| (packet, error.to_string()));
        }
        for message in &parsed.packets {
            let Some(teller) = self.domain(export.exporter.ip, parts::domain(message)) else { continue };
            let Some(domain) = self.domains.get_mut(teller as usize) else { continue };
            let rows = Rows::of(message, domain.started);
            self.lost += domain.learn(&rows);
            let sampling = domain.sampling;
            self.useless += rows.useless;
            self.unknown += rows.unknown;
            for part in rows.parts {
                self.join(&part, teller, sampling, at, packet);
            }
        }
    }

    /// The number of an exporter's domain; none of one too many.
    fn domain(&mut self, exporter: IpAddr, (version, domain): (u16, u32)) -> Option<u32> {
        // Routers may send from a port of its own each time they start.
        let key = (exporter, version, domain);
        if let Some(number) = self.known.get(&key) {
            return Some(*number);
        }
        if self.domains.len() >= EXPORTERS {
            self.beyond += 1;
            return None;
        }
        self.domains.push(Domain { sampling: 1, ..Domain::default() });
        let number = self.known.len() as u32;
        self.known.insert(key, number);
        Some(number)
    }

    fn join(&mut self, part: &Part, teller: u32, sampling: u64, at: Timestamp, packet: PacketId) {
        let (key, from) = Key::of(part);
        // A later flow of the same ends.
        if let Some(open) = self.open.get(&key)
            && part.first > open.last
            && (open.is_ended() || (part.first.since(open.last) > PAIRED && !open.goes_on(at)))
        {
            self.close(key);
        }
        if self.open.len() >= self.most_open
            && !self.open.contains_key(&key)
            && let Some((_, oldest)) = self.deadlines.first_key_value().map(|(d, k)| (*d, *k))
        {
            self.crowded += 1;
            self.close(oldest);
        }
        let new = || Open {
            ways: [Way::default(), Way::default()],
            ports: if from == 0 {
                [part.source.port, part.destination.port]
            } else {
                [part.destination.port, part.source.port]
            },
            first: part.first,
            last: part.last,
            told: part.first,
            segment: None,
            denied: false,
            sampled: false,
            told_first: from,
            packets: KeyPackets::default(),
            deadline: (Timestamp::MAX, 0),
        };
        let open = self.open.entry(key).or_insert_with(new);
        let told = open.ways[from].teller;
        let twice = open.ways[from].last_part == Some((part.first, part.last, part.there));
        if told.is_some_and(|t| t != teller) || twice {
            // Two routers, or both sides of one, saw the same.
            self.again += 1;
            return;
        }
        open.ways[from].add(part.there, part.first, teller, sampling);
        open.ways[from].last_part = Some((part.first, part.last, part.there));
        if let Some(back) = part.back {
            open.ways[1 - from].add(back, part.first, teller, sampling);
        }
        for (way, mac) in [(from, part.mac[0]), (1 - from, part.mac[1])] {
            open.ways[way].mac = mac.or(open.ways[way].mac);
        }
        open.first = open.first.min(part.first);
        open.last = open.last.max(part.last);
        open.segment = part.vlan.map(Segment::Vlan).or(open.segment);
        open.denied |= part.denied;
        open.sampled |= sampling > 1;
        open.packets.push(packet);
        let both = open.ways.iter().all(|w| w.said.is_some_and(|s| s.packets > 0));
        if both && let Some(domain) = self.domains.get_mut(teller as usize) {
            domain.both_ways = true;
        }
        // Whether it goes on is said, or seen by how recent its last packet is.
        let goes_on = match part.reason {
            Some(reason) => reason == 2,
            None => !open.is_ended() && at.since(part.last) < RECENT,
        };
        let wait = if goes_on { NEXT_PART } else { PAIRED };
        self.turn += 1;
        let deadline = (at.plus(wait), self.turn);
        self.deadlines.remove(&std::mem::replace(&mut open.deadline, deadline));
        self.deadlines.insert(deadline, key);
        if goes_on && at.since(open.told) > TOLD_AGAIN {
            open.told = at;
            let one_way = self.domains.get(teller as usize).is_some_and(|d| !d.both_ways);
            let conn = open.told(key, one_way, false);
            for record in conn {
                self.hold(record);
            }
        }
    }

    /// Flows that nothing more is expected of by then are over.
    fn advance(&mut self, at: Timestamp) {
        self.clock = self.clock.max(at);
        while let Some((deadline, key)) = self.deadlines.first_key_value().map(|(d, k)| (*d, *k))
            && deadline.0 <= self.clock
        {
            self.close(key);
        }
    }

    fn close(&mut self, key: Key) {
        let Some(open) = self.open.remove(&key) else { return };
        self.deadlines.remove(&open.deadline);
        let teller = open.ways.iter().find_map(|w| w.teller);
        let one_way = teller.and_then(|t| self.domains.get(t as usize)).is_some_and(|d| !d.both_ways);
        self.flows += 1;
        for record in open.told(key, one_way, true) {
            if let Record::Conn(c) = &record
                && c.phase == ConnPhase::Closed
            {
                let health = &mut self.health;
                health.first = [health.first, Some(c.head.ts)].into_iter().flatten().min();
                health.last = health.last.max(Some(c.last));
            }
            self.hold(record);
        }
    }

    /// Keeps a record until it is its turn: what is told of the exports' own flow as well, which may lie days from what they tell of.
    pub fn hold(&mut self, record: Record) {
        self.turn += 1;
        let known = record.head().known;
        self.ready.push(Reverse(Ready {
            known,
            turn: self.turn,
            came: self.clock,
            record: Box::new(record),
        }));
    }

    /// The next record that nothing can come before, as it is then; with no time, of everything that is left.
    pub fn next(&mut self, now: Option<Timestamp>) -> Option<Record> {
        match now {
            Some(now) => self.advance(now),
            None => {
                while let Some((_, key)) = self.deadlines.first_key_value().map(|(d, k)| (*d, *k)) {
                    self.close(key);
                }
            }
        }
        loop {
            let Reverse(first) = self.ready.peek()?;
            let ripe =
                now.is_none() || self.clock.since(first.came) >= WAITS || self.ready.len() > self.most_open;
            if !ripe {
                return None;
            }
            let Reverse(ready) = self.ready.pop()?;
            let head = ready.record.head();
            // Whose packets are here is judged by them.
            let ends = [head.tuple.orig.ip, head.tuple.resp.ip];
            if head.flow.is_named() && ends.iter().any(|ip| self.seen.contains(ip)) {
                let over = matches!(&*ready.record, Record::Conn(c) if c.phase == ConnPhase::Closed);
                self.told_by_packets += u64::from(over);
                continue;
            }
            return Some(*ready.record);
        }
    }

    /// Takes note of who begins flows in the capture itself: what an exporter tells of the same hosts would be told twice.
    pub fn saw(&mut self, originator: IpAddr) {
        if self.seen.len() < ORIGINATORS {
            self.seen.insert(originator);
        }
    }

    /// From when to when what was told lies. Packets and bytes are those of the exports themselves, which whoever reads packets has counted.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// What must be told of them.
    pub fn notices(&self) -> Vec<String> {
        let mut told = Vec::new();
        if self.datagrams == 0 {
            return told;
        }
        let mut exporters: Vec<IpAddr> = self.known.keys().map(|(ip, ..)| *ip).collect();
        exporters.sort_unstable();
        exporters.dedup();
        let mut versions: Vec<u16> = self.known.keys().map(|(_, version, _)| *version).collect();
        versions.sort_unstable();
        versions.dedup();
        let versions: Vec<String> = versions
            .iter()
            .map(|v| if *v == 10 { "IPFIX".to_owned() } else { format!("NetFlow {v}") })
            .collect();
        let (n, many) = (exporters.len(), if exporters.len() == 1 { "" } else { "s" });
        told.push(format!(
            "{} flows were told by {n} exporter{many} ({}) in {} datagrams: who they are about is judged, without payloads, names and headers",
            self.flows,
            versions.join(", "),
            self.datagrams
        ));
        if let Some(most) = self.domains.iter().map(|d| d.sampling).max().filter(|n| *n > 1) {
            told.push(format!("one in {most} packets was looked at by an exporter: short flows are missing, and what failed is not known"));
        }
        if let Some((packet, why)) = &self.first_bad {
            told.push(format!(
                "{} datagrams of exporters could not be read, the first is packet {packet}: {why}",
                self.bad
            ));
        }
        let v9 = self.parser.v9_info().into_iter().map(|(_, i)| i.v9.pending_flow_count);
        let ipfix = self.parser.ipfix_info().into_iter().map(|(_, i)| i.ipfix.pending_flow_count);
        let unknown = self.unknown + v9.chain(ipfix).sum::<usize>() as u64;
        if unknown > 0 {
            told.push(format!("{unknown} sets of flows came before what says how they are to be read; the exporter says so every few minutes"));
        }
        if self.lost > 0 {
            told.push(format!("{} rows or datagrams of exporters are missing by their own count", self.lost));
        }
        if self.useless > 0 {
            told.push(format!("{} rows of exporters name no addresses", self.useless));
        }
        if self.again > 0 {
            told.push(format!(
                "{} rows were told by two exporters, or twice, and are counted once",
                self.again
            ));
        }
        if self.beyond > 0 {
            told.push(format!(
                "{} datagrams of further exporters were not read: {EXPORTERS} are told apart",
                self.beyond
            ));
        }
        if self.told_by_packets > 0 {
            told.push(format!(
                "{} of these flows are of hosts whose packets are in the capture itself, and were left out",
                self.told_by_packets
            ));
        }
        if self.crowded > 0 {
            told.push(format!(
                "{} exported flows were told before they were over, to stay within --memory",
                self.crowded
            ));
        }
        told
    }
}

impl Way {
    fn add(&mut self, said: Said, first: Timestamp, teller: u32, sampling: u64) {
        let sum = self.said.get_or_insert_default();
        let times = |n: u64| n.saturating_mul(sampling).min(crate::MOST);
        sum.packets = sum.packets.saturating_add(times(said.packets)).min(crate::MOST);
        sum.octets = sum.octets.saturating_add(times(said.octets)).min(crate::MOST);
        sum.flags = match (sum.flags, said.flags) {
            (Some(a), Some(b)) => Some(a | b),
            (a, b) => a.or(b),
        };
        self.first = Some(self.first.map_or(first, |f| f.min(first)));
        self.teller = Some(teller);
    }

    fn flags(&self) -> u8 {
        self.said.and_then(|s| s.flags).unwrap_or(0)
    }

    fn packets(&self) -> u64 {
        self.said.map_or(0, |s| s.packets)
    }
}

impl Open {
    /// Whether its next part is waited for.
    fn goes_on(&self, at: Timestamp) -> bool {
        self.deadline.0.since(at) > PAIRED
    }

    /// Whether both sides of a connection took their leave, or one broke it off.
    fn is_ended(&self) -> bool {
        let [a, b] = [self.ways[0].flags(), self.ways[1].flags()];
        (a | b) & RST != 0 || (a & b & FIN != 0)
    }

    /// Which end began it.
    fn originator(&self, key: &Key) -> usize {
        let [a, b] = &self.ways;
        if self.denied || a.packets() == 0 || b.packets() == 0 {
            let from = match (a.packets() > 0, b.packets() > 0) {
                (true, false) => 0,
                (false, true) => 1,
                _ => self.told_first,
            };
            let [own, other] = [self.ports[from], self.ports[1 - from]];
            let opens = key.transport == Transport::Tcp && self.ways[from].flags() & (SYN | ACK) == SYN;
            let answers = !opens && !self.denied && own < 1024 && other >= 1024;
            return if answers { 1 - from } else { from };
        }
        match (a.first, b.first) {
            (Some(x), Some(y)) if x < y => 0,
            (Some(x), Some(y)) if y < x => 1,
            // Exporters that join both ways give them one time: services have the smaller port.
            _ => usize::from(self.ports[1] > self.ports[0]),
        }
    }

    /// What it tells so far, or in all.
    fn told(&self, key: Key, one_way: bool, over: bool) -> Vec<Record> {
        let from = self.originator(&key);
        let ways = [&self.ways[from], &self.ways[1 - from]];
        let end = |i: usize| Endpoint { ip: key.ends[i].ip, port: self.ports[i] };
        let tuple = Tuple { orig: end(from), resp: end(1 - from), transport: key.transport };
        let (tcp, v6) = (key.transport == Transport::Tcp, tuple.orig.ip.is_ipv6());
        let packets = ways.map(Way::packets);
        let octets = ways.map(|w| w.said.map_or(0, |s| s.octets));
        let mut bytes = [0, 1].map(|i| crate::payload(octets[i], packets[i], v6, key.transport));
        let flags = ways.map(Way::flags);
        // Packets that nobody looked at may have said anything.
        let unsure = self.sampled || (one_way && packets.contains(&0) && !self.denied);
        let told_flags = ways.iter().any(|w| w.said.is_some_and(|s| s.flags.is_some_and(|f| f != 0)));
        let started = !tcp
            || flags[0] & SYN != 0
            || (!told_flags && (packets[1] > 0 || (packets[0] <= 6 && octets[0] <= packets[0] * 60)));
        let state = match () {
            () if self.sampled => ConnState::Oth,
            () if self.denied => ConnState::Rej,
            () if tcp => state(flags, packets, started, told_flags),
            () if packets[1] > 0 => ConnState::SF,
            () => ConnState::S0,
        };
        if state.is_failure() && tcp {
            bytes = [0, 0];
        }
        let mut history = History::default();
        if tcp && !self.denied {
            let [o, r] = flags;
            let failed = state.is_failure();
            let mut letter = |is: bool, l: u8| {
                if is {
                    history.push(l);
                }
            };
            letter(o & SYN != 0, b'S');
            letter(r & SYN != 0, b'h');
            letter((o & ACK != 0 && !failed) || unsure || (!told_flags && !failed), b'A');
            letter(bytes[0] > 0, b'D');
            letter(bytes[1] > 0, b'd');
            letter(o & FIN != 0, b'F');
            letter(r & FIN != 0 && !failed, b'f');
            letter(o & RST != 0, b'R');
            letter(r & RST != 0, b'r');
        }
        let name = format!("{} {} {}", tuple.orig, tuple.resp, self.first.0);
        let usual = if tcp { None } else { values::usual(tuple.resp.port) };
        let service = match tuple.resp.port {
            53 if !tcp => Service::Dns,
            _ => usual.unwrap_or_default(),
        };
        let flow = crate::Flow {
            head: Head {
                ts: self.first,
                known: self.first,
                site: 0,
                segment: self.segment,
                flow: values::flow(&name),
                tuple,
            },
            last: self.last,
            service,
            state,
            history,
            packets,
            bytes,
            frame_bytes: octets,
            missed: 0,
            start_seen: started && !unsure,
            first_speaker: None,
            mac: ways.map(|w| w.mac),
            rows: self.packets,
        };
        let mut records = flow.told();
        for record in &mut records {
            if let Record::Conn(Conn { phase, .. }) = record
                && !over
                && *phase == ConnPhase::Closed
            {
                *phase = ConnPhase::Interim;
            }
        }
        records
    }
}

/// How a connection went, by the flags of each side.
pub fn state(flags: [u8; 2], packets: [u64; 2], started: bool, told_flags: bool) -> ConnState {
    let [o, r] = flags;
    if !started {
        return ConnState::Oth;
    }
    if packets[1] == 0 {
        // Who goes on was answered by somebody.
        return match () {
            () if told_flags && o & ACK != 0 => ConnState::Oth,
            () if o & RST != 0 => ConnState::RstOS0,
            () if o & FIN != 0 => ConnState::Sh,
            () => ConnState::S0,
        };
    }
    if !told_flags {
        return ConnState::SF;
    }
    if r & RST != 0 && r & SYN == 0 {
        return ConnState::Rej;
    }
    match (o & RST != 0, r & RST != 0, o & FIN != 0, r & FIN != 0) {
        (_, true, ..) => ConnState::RstR,
        (true, ..) => ConnState::RstO,
        (_, _, true, true) => ConnState::SF,
        (_, _, true, false) => ConnState::S2,
        (_, _, false, true) => ConnState::S3,
        _ => ConnState::S1,
    }
}
