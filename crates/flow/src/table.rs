//! The flow table.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use record::{
    Anomaly, Chunk, Conn, ConnPhase, Direction, Endpoint, FlowFacts, FlowId, Health, Mac, PacketId,
    PayloadFacts, Progress, Service, Timestamp, Transport, Tuple,
};
use wire::{Packet, TcpFlags};

use crate::history::{Done, note, state};
use crate::key::{Key, opener};
use crate::stream::{Fit, Piece, Stream};
use crate::timer::Wheel;

/// A TCP connection with nothing to say; longer than the keep-alive pings of IRC and its kin (2–5 min), shorter than RFC 1122's two hours of TCP keep-alive, to bound memory (*assumed*).
const TCP_IDLE: Duration = Duration::from_mins(30);
/// A SYN that nobody answers: beyond the last retransmission of current systems' first five tries (1+2+4+8+16 s).
const TCP_HALF_OPEN: Duration = Duration::from_mins(1);
/// After FIN or RST, so that what trails behind is no new flow.
const TCP_LINGER: Duration = Duration::from_secs(5);
/// UDP and the rest: Zeek's `udp_inactivity_timeout`.
const OTHER_IDLE: Duration = Duration::from_mins(1);
/// How often a long flow tells of itself (DESIGN §4).
const INTERIM: Duration = Duration::from_mins(5);
/// What a flow costs, with its share of table, wheel and session: used to turn the budget into a number of flows.
pub const FLOW_COST: usize = 1400;
/// How many flows are looked at to find the one to evict.
const EVICTION_SAMPLE: usize = 24;
/// Packets named in a flow's record.
const KEY_PACKETS: usize = 6;

/// How much a table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows.
    pub flows: usize,
    /// Bytes that wait for reassembly, over all flows.
    pub waiting_bytes: usize,
}

impl Limits {
    /// Divides a budget in bytes: four fifths for flows, one for reassembly; at least 64 flows.
    pub const fn of_budget(bytes: usize) -> Self {
        let flows = bytes / 5 * 4 / FLOW_COST;
        Self { flows: if flows < 64 { 64 } else { flows }, waiting_bytes: bytes / 5 }
    }
}

/// A packet on its way into the table.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// What the headers say.
    pub packet: Packet,
    /// The captured payload.
    pub payload: &'a [u8],
    /// The time the capture gives.
    pub ts: Timestamp,
    /// The clock, which never goes back.
    pub clock: Timestamp,
    /// Its place in the input.
    pub id: PacketId,
}

/// Who understands what flows carry.
pub trait Sessions {
    /// What is kept for each flow.
    type Session;
    /// A flow begins.
    fn begin(&mut self, flow: &FlowFacts) -> Self::Session;
    /// Bytes came.
    fn data(&mut self, flow: &FlowFacts, session: &mut Self::Session, chunk: Chunk<'_>) -> Progress;
    /// `bytes` bytes are missing; `at` is the clock when that became known, by packet `packet`.
    fn gap(
        &mut self,
        flow: &FlowFacts,
        session: &mut Self::Session,
        from: Direction,
        bytes: u64,
        at: Timestamp,
        packet: PacketId,
    ) -> Progress;
    /// The flow ends; the protocol may be settled by that.
    fn end(&mut self, flow: &FlowFacts, session: &mut Self::Session, at: Timestamp) -> Option<Service>;
    /// A flow's record.
    fn conn(&mut self, conn: Conn);
}

struct Side {
    packets: u64,
    bytes: u64,
    frame_bytes: u64,
    payload_packets: u64,
    done: Done,
    isn: u32,
    stream: Stream,
    first_payload: Option<PayloadFacts>,
    mac: Option<Mac>,
}

impl Side {
    fn new() -> Self {
        Self {
            packets: 0,
            bytes: 0,
            frame_bytes: 0,
            payload_packets: 0,
            done: Done::default(),
            isn: 0,
            stream: Stream::default(),
            first_payload: None,
            mac: None,
        }
    }
}

/// What is touched only now and then.
struct Cold<S> {
    session: S,
    sides: [Side; 2],
    history: String,
    first_speaker: Option<Direction>,
    last_speaker: Option<Direction>,
    first_lengths: [i32; 8],
    lengths: u8,
    turns: u32,
    syn_retransmits: u16,
    vlan: Option<u16>,
    orig_ttl: u8,
    tunnel_depth: u8,
    key_packets: Vec<PacketId>,
    last_packet: PacketId,
}

struct Flow<S> {
    key: Key,
    /// Whether the originator is the key's low end.
    orig_is_low: bool,
    start_seen: bool,
    wants_more: bool,
    classified: bool,
    /// FIN or RST was seen: the flow only lingers.
    closing: bool,
    service: Service,
    ts: Timestamp,
    last: Timestamp,
    /// When it ends if nothing comes, by the clock.
    deadline: Timestamp,
    /// When it next tells of itself.
    interim: Timestamp,
    id: FlowId,
    cold: Box<Cold<S>>,
}

/// The flows of one shard.
pub struct FlowTable<S> {
    index: HashTable<u32>,
    seed: RandomState,
    flows: Vec<Option<Flow<S>>>,
    free: Vec<u32>,
    wheel: Wheel,
    woken: Vec<u32>,
    limits: Limits,
    waiting_bytes: usize,
    hand: usize,
    health: Health,
}

impl<S> FlowTable<S> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            index: HashTable::new(),
            seed: RandomState::default(),
            flows: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(),
            woken: Vec::new(),
            limits,
            waiting_bytes: 0,
            hand: 0,
            health: Health::default(),
        }
    }

    /// Flows that are open now.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no flow is open.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What was counted so far: flows, midstream pickups, gaps, evictions.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Takes a packet.
    pub fn packet<H: Sessions<Session = S>>(&mut self, arrival: &Arrival<'_>, sessions: &mut H) {
        self.wheel.begin(arrival.clock);
        let (key, forward) = Key::of(&arrival.packet);
        let hash = self.seed.hash_one(key);
        let found = self.index.find(hash, |&slot| is_key(&self.flows, slot, &key)).copied();
        let slot = match found {
            Some(slot) if !self.is_over(slot, forward, arrival) => slot,
            Some(slot) => {
                let at = self.flows[slot as usize]
                    .as_ref()
                    .map_or(arrival.clock, |f| f.deadline.min(arrival.clock));
                self.close(slot, at, sessions);
                self.open(key, hash, forward, arrival, sessions)
            }
            None => self.open(key, hash, forward, arrival, sessions),
        };
        self.follow(slot, forward, arrival, sessions);
    }

    /// Ends every flow whose time has come by `clock`, and lets long ones tell of themselves.
    pub fn advance<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        let mut woken = std::mem::take(&mut self.woken);
        self.wheel.due(clock, &mut woken);
        for slot in woken.drain(..) {
            let Some(flow) = self.flows[slot as usize].as_mut() else { continue };
            while flow.interim < flow.deadline && flow.interim <= clock {
                let at = flow.interim;
                flow.interim = at.plus(INTERIM);
                // A flow that is silent since its last word has nothing to add.
                if flow.last.plus(INTERIM) >= at {
                    sessions.conn(flow.tell(ConnPhase::Interim, at));
                }
            }
            if flow.deadline <= clock {
                let at = flow.deadline;
                self.close(slot, at, sessions);
            } else {
                let next = flow.deadline.min(flow.interim);
                self.wheel.schedule(slot, next);
            }
        }
        self.woken = woken;
    }

    /// The input ended: ends every flow.
    pub fn finish<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        for slot in 0..self.flows.len() as u32 {
            if let Some(flow) = &self.flows[slot as usize] {
                let at = flow.deadline.min(clock);
                self.close(slot, at, sessions);
            }
        }
    }

    /// Whether a packet of this key begins another flow: the old one timed out, or a new SYN says so.
    fn is_over(&self, slot: u32, forward: bool, arrival: &Arrival<'_>) -> bool {
        let Some(flow) = &self.flows[slot as usize] else { return true };
        if flow.deadline <= arrival.clock {
            return true;
        }
        let flags = arrival.packet.tcp.flags;
        if arrival.packet.transport != Transport::Tcp || !flags.has(TcpFlags::SYN) || flags.has(TcpFlags::ACK)
        {
            return false;
        }
        let side = &flow.cold.sides[flow.direction(forward).index()];
        // Retransmitted: the same initial number. A simultaneous open: this side said nothing yet.
        let silent = side.packets == 0;
        let again = side.done.has(Done::SYN) && side.isn == arrival.packet.tcp.seq;
        !silent && !again
    }

    fn open<H: Sessions<Session = S>>(
        &mut self,
        key: Key,
        hash: u64,
        forward: bool,
        arrival: &Arrival<'_>,
        sessions: &mut H,
    ) -> u32 {
        if self.index.len() >= self.limits.flows {
            self.evict(arrival.clock, sessions);
        }
        let p = &arrival.packet;
        let (direction, start_seen) = opener(p);
        let orig_is_low = forward == (direction == Direction::Orig);
        let id = FlowId { packet: arrival.id, layer: p.layer };
        let facts = FlowFacts {
            id,
            tuple: tuple(&key, orig_is_low),
            ts: arrival.ts,
            start_seen,
            service: p.carries.unwrap_or(Service::Unknown),
        };
        if !start_seen && p.transport == Transport::Tcp {
            self.health.midstream_tcp += 1;
            self.health.anomalies.add(Anomaly::MidstreamPickup);
        }
        let cold = Box::new(Cold {
            session: sessions.begin(&facts),
            sides: [Side::new(), Side::new()],
            history: String::new(),
            first_speaker: None,
            last_speaker: None,
            first_lengths: [0; 8],
            lengths: 0,
            turns: 0,
            syn_retransmits: 0,
            vlan: p.vlan,
            orig_ttl: p.ttl,
            tunnel_depth: p.layer,
            key_packets: Vec::new(),
            last_packet: arrival.id,
        });
        let flow = Flow {
            key,
            orig_is_low,
            start_seen,
            wants_more: p.carries.is_none(),
            classified: p.carries.is_some(),
            closing: false,
            service: facts.service,
            ts: arrival.ts,
            last: arrival.ts,
            deadline: Timestamp::MAX,
            interim: arrival.clock.plus(INTERIM),
            id,
            cold,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.flows[slot as usize] = Some(flow);
            slot
        } else {
            self.flows.push(Some(flow));
            (self.flows.len() - 1) as u32
        };
        let (flows, seed) = (&self.flows, &self.seed);
        self.index
            .insert_unique(hash, slot, |&s| flows[s as usize].as_ref().map_or(0, |f| seed.hash_one(f.key)));
        self.wheel.schedule(slot, arrival.clock.plus(TCP_LINGER));
        slot
    }

    fn follow<H: Sessions<Session = S>>(
        &mut self,
        slot: u32,
        forward: bool,
        arrival: &Arrival<'_>,
        sessions: &mut H,
    ) {
        let Some(flow) = self.flows[slot as usize].as_mut() else { return };
        let p = &arrival.packet;
        let from = flow.direction(forward);
        flow.last = flow.last.max(arrival.ts);
        let cold = flow.cold.as_mut();
        let side = &mut cold.sides[from.index()];
        if side.packets == 0 {
            side.mac = p.mac;
        }
        side.packets += 1;
        side.bytes += u64::from(p.payload_len);
        side.frame_bytes += u64::from(p.frame_len);
        cold.last_packet = arrival.id;
        let first_of_side = p.payload_len > 0 && side.first_payload.is_none();
        if (cold.key_packets.is_empty() || first_of_side) && cold.key_packets.len() < KEY_PACKETS {
            cold.key_packets.push(arrival.id);
        }
        if p.bad_checksum {
            self.health.anomalies.add(Anomaly::BadTransportChecksum);
            note(&mut cold.history, &mut side.done, from, Done::BAD_CHECKSUM);
        }
        if p.payload_len > 0 {
            if first_of_side {
                side.first_payload = Some(PayloadFacts::of(arrival.payload, p.payload_len));
                cold.first_speaker = cold.first_speaker.or(Some(from));
            }
            side.payload_packets += 1;
            if cold.last_speaker != Some(from) {
                cold.turns += u32::from(cold.last_speaker.is_some());
                cold.last_speaker = Some(from);
            }
            if usize::from(cold.lengths) < cold.first_lengths.len() {
                let len = p.payload_len.min(i32::MAX as u32) as i32;
                cold.first_lengths[usize::from(cold.lengths)] =
                    if from == Direction::Orig { len } else { -len };
                cold.lengths += 1;
            }
        }
        if p.transport == Transport::Tcp {
            self.tcp(slot, from, arrival, sessions);
        } else {
            flow.deadline = arrival.clock.plus(OTHER_IDLE);
            if flow.wants_more && p.payload_len > 0 {
                let chunk = Chunk {
                    from,
                    bytes: arrival.payload,
                    wire_len: p.payload_len,
                    ts: arrival.ts,
                    at: arrival.clock,
                    packet: arrival.id,
                };
                let facts = flow.facts();
                let progress = sessions.data(&facts, &mut flow.cold.session, chunk);
                flow.progress(progress, arrival.clock, sessions);
            }
        }
    }

    fn tcp<H: Sessions<Session = S>>(
        &mut self,
        slot: u32,
        from: Direction,
        arrival: &Arrival<'_>,
        sessions: &mut H,
    ) {
        let Some(flow) = self.flows[slot as usize].as_mut() else { return };
        let p = &arrival.packet;
        let flags = p.tcp.flags;
        let anomalies = &mut self.health.anomalies;
        let facts = flow.facts();
        let cold = flow.cold.as_mut();
        let syn = flags.has(TcpFlags::SYN);
        let data_seq = if syn { p.tcp.seq.wrapping_add(1) } else { p.tcp.seq };
        {
            let side = &mut cold.sides[from.index()];
            if syn {
                if side.done.has(Done::SYN | Done::SYN_ACK) {
                    cold.syn_retransmits =
                        cold.syn_retransmits.saturating_add(u16::from(from == Direction::Orig));
                } else {
                    side.isn = p.tcp.seq;
                }
                let what = if flags.has(TcpFlags::ACK) { Done::SYN_ACK } else { Done::SYN };
                note(&mut cold.history, &mut side.done, from, what);
                side.stream.begin(data_seq);
                if p.payload_len > 0 {
                    anomalies.add(Anomaly::TcpSynData);
                }
                if flags.has(TcpFlags::FIN) || flags.has(TcpFlags::RST) {
                    anomalies.add(Anomaly::TcpBadFlags);
                }
            }
            if flags.0 & 0x3f == 0 {
                anomalies.add(Anomaly::TcpBadFlags);
            }
            if flags.has(TcpFlags::URG) && p.payload_len > 0 {
                anomalies.add(Anomaly::TcpUrgent);
            }
            if !syn && p.payload_len == 0 && flags.0 & 0x17 == TcpFlags::ACK.0 {
                note(&mut cold.history, &mut side.done, from, Done::ACK);
            }
        }
        // The other side's bytes before this acknowledgement exist, captured or not.
        let mut pieces = Pieces { flow: facts, arrival, sessions, progress: None };
        let wants = flow.wants_more;
        let mut held = 0isize;
        if flags.has(TcpFlags::ACK) && !syn && !flags.has(TcpFlags::RST) {
            let other = &mut cold.sides[from.reversed().index()];
            let before = other.stream.held();
            let back = from.reversed();
            let missed = other.stream.missed();
            let session = &mut cold.session;
            other.stream.acked(p.tcp.ack, &mut |a| anomalies.add(a), &mut |piece| {
                pieces.give(wants, session, back, &piece);
            });
            if other.stream.missed() > missed {
                note(&mut cold.history, &mut other.done, back, Done::GAP);
            }
            held += other.stream.held().cast_signed() - before.cast_signed();
        }
        if p.payload_len > 0 {
            let side = &mut cold.sides[from.index()];
            let before = side.stream.held();
            let fit = if wants {
                let session = &mut cold.session;
                side.stream.add(
                    data_seq,
                    arrival.payload,
                    p.payload_len,
                    &mut |a| anomalies.add(a),
                    &mut |piece| pieces.give(true, session, from, &piece),
                )
            } else {
                side.stream.pass(data_seq, p.payload_len)
            };
            let what = if fit == Fit::New { Done::DATA } else { Done::RETRANSMIT };
            note(&mut cold.history, &mut side.done, from, what);
            held += side.stream.held().cast_signed() - before.cast_signed();
        }
        let progress = pieces.progress;
        let side = &mut cold.sides[from.index()];
        if flags.has(TcpFlags::FIN) {
            note(&mut cold.history, &mut side.done, from, Done::FIN);
        }
        if flags.has(TcpFlags::RST) {
            note(&mut cold.history, &mut side.done, from, Done::RST);
        }
        let [o, r] = [cold.sides[0].done, cold.sides[1].done];
        let established = cold.sides[0].packets > 0 && cold.sides[1].packets > 0;
        flow.closing = o.has(Done::RST) || r.has(Done::RST) || (o.has(Done::FIN) && r.has(Done::FIN));
        let idle = if flow.closing {
            TCP_LINGER
        } else if established || !flow.start_seen {
            TCP_IDLE
        } else {
            TCP_HALF_OPEN
        };
        flow.deadline = arrival.clock.plus(idle);
        // A shorter deadline than the wheel knows of needs a new entry.
        if flow.closing {
            self.wheel.schedule(slot, flow.deadline);
        }
        if let Some(progress) = progress {
            flow.progress(progress, arrival.clock, sessions);
        }
        if !flow.wants_more {
            for side in &mut flow.cold.sides {
                held -= side.stream.release().cast_signed();
            }
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add_signed(held);
        if self.waiting_bytes > self.limits.waiting_bytes {
            let mut dropped = 0;
            for side in &mut flow.cold.sides {
                dropped += side.stream.release();
            }
            self.waiting_bytes -= dropped;
            self.health.anomalies.add(Anomaly::ReassemblyDropped);
        }
    }

    fn close<H: Sessions<Session = S>>(&mut self, slot: u32, at: Timestamp, sessions: &mut H) {
        let Some(mut flow) = self.flows[slot as usize].take() else { return };
        self.free.push(slot);
        let hash = self.seed.hash_one(flow.key);
        if let Ok(entry) = self.index.find_entry(hash, |&s| s == slot) {
            entry.remove();
        }
        for side in &mut flow.cold.sides {
            self.waiting_bytes -= side.stream.release();
        }
        let facts = flow.facts();
        if let Some(service) = sessions.end(&facts, &mut flow.cold.session, at) {
            flow.progress(Progress { service: Some(service), wants_more: false }, at, sessions);
        }
        let last = flow.cold.last_packet;
        if flow.cold.key_packets.last() != Some(&last) {
            flow.cold.key_packets.push(last);
        }
        let conn = flow.tell(ConnPhase::Closed, at);
        match conn.tuple.transport {
            Transport::Tcp => self.health.flows.0 += 1,
            Transport::Udp => self.health.flows.1 += 1,
            _ => self.health.flows.2 += 1,
        }
        self.health.missed_bytes += conn.missed_bytes.iter().sum::<u64>();
        if conn.tuple.transport == Transport::Tcp && conn.packets.contains(&0) && conn.bytes != [0, 0] {
            self.health.one_sided_tcp += 1;
        }
        sessions.conn(conn);
    }

    /// Ends one flow to make room: among those looked at, one that nobody answered, and of these the longest silent.
    fn evict<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        let mut best: Option<((bool, bool, Timestamp), u32)> = None;
        let (mut looked, mut steps) = (0, 0);
        while looked < EVICTION_SAMPLE && steps < self.flows.len() {
            let slot = self.hand % self.flows.len();
            self.hand = slot + 1;
            steps += 1;
            let Some(flow) = &self.flows[slot] else { continue };
            looked += 1;
            let answered = flow.cold.sides.iter().all(|s| s.packets > 0);
            let rank = (answered && !flow.closing, flow.classified, flow.last);
            if best.is_none_or(|(b, _)| rank < b) {
                best = Some((rank, slot as u32));
            }
        }
        if let Some((_, slot)) = best {
            self.health.anomalies.add(Anomaly::FlowEvicted);
            self.close(slot, clock, sessions);
        }
    }
}

/// Hands stream pieces to the session and keeps what it last said.
struct Pieces<'a, 'b, H> {
    flow: FlowFacts,
    arrival: &'a Arrival<'b>,
    sessions: &'a mut H,
    progress: Option<Progress>,
}

impl<H: Sessions> Pieces<'_, '_, H> {
    fn give(&mut self, wanted: bool, session: &mut H::Session, from: Direction, piece: &Piece<'_>) {
        if !wanted || self.progress.is_some_and(|p| !p.wants_more) {
            return;
        }
        let progress = match *piece {
            Piece::Data(bytes) => {
                let chunk = Chunk {
                    from,
                    bytes,
                    wire_len: bytes.len() as u32,
                    ts: self.arrival.ts,
                    at: self.arrival.clock,
                    packet: self.arrival.id,
                };
                self.sessions.data(&self.flow, session, chunk)
            }
            Piece::Gap(n) => {
                self.sessions.gap(&self.flow, session, from, n, self.arrival.clock, self.arrival.id)
            }
        };
        let service = progress.service.or(self.progress.and_then(|p| p.service));
        if let Some(service) = service {
            self.flow.service = service;
        }
        self.progress = Some(Progress { service, wants_more: progress.wants_more });
    }
}

fn is_key<S>(flows: &[Option<Flow<S>>], slot: u32, key: &Key) -> bool {
    flows[slot as usize].as_ref().is_some_and(|f| f.key == *key)
}

fn tuple(key: &Key, orig_is_low: bool) -> Tuple {
    let (orig, resp): (Endpoint, Endpoint) =
        if orig_is_low { (key.low, key.high) } else { (key.high, key.low) };
    Tuple { orig, resp, transport: key.transport }
}

impl<S> Flow<S> {
    fn direction(&self, forward: bool) -> Direction {
        if forward == self.orig_is_low { Direction::Orig } else { Direction::Resp }
    }

    fn facts(&self) -> FlowFacts {
        FlowFacts {
            id: self.id,
            tuple: tuple(&self.key, self.orig_is_low),
            ts: self.ts,
            start_seen: self.start_seen,
            service: self.service,
        }
    }

    fn progress<H: Sessions<Session = S>>(&mut self, progress: Progress, at: Timestamp, sessions: &mut H) {
        self.wants_more &= progress.wants_more;
        if let Some(service) = progress.service {
            self.service = service;
            if !self.classified {
                self.classified = true;
                sessions.conn(self.tell(ConnPhase::Classified, at));
            }
        }
    }

    fn tell(&self, phase: ConnPhase, at: Timestamp) -> Conn {
        let cold = &*self.cold;
        let [o, r] = &cold.sides;
        let each = |f: fn(&Side) -> u64| [f(o), f(r)];
        Conn {
            phase,
            ts: self.ts,
            last: self.last,
            at,
            flow: self.id,
            tuple: tuple(&self.key, self.orig_is_low),
            service: self.service,
            state: state(self.key.transport, [o.done, r.done], [o.packets, r.packets]),
            history: cold.history.clone(),
            packets: each(|s| s.packets),
            bytes: each(|s| s.bytes),
            frame_bytes: each(|s| s.frame_bytes),
            missed_bytes: each(|s| s.stream.missed()),
            start_seen: self.start_seen,
            syn_retransmits: cold.syn_retransmits,
            first_payload: [o.first_payload, r.first_payload],
            first_speaker: cold.first_speaker,
            first_lengths: cold.first_lengths,
            payload_packets: each(|s| s.payload_packets),
            turns: cold.turns,
            mac: [o.mac, r.mac],
            vlan: cold.vlan,
            tunnel_depth: cold.tunnel_depth,
            orig_ttl: cold.orig_ttl,
            key_packets: cold.key_packets.clone(),
        }
    }
}
