//! The flow table.

use std::hint::black_box;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use record::{
    Anomaly, Beat, Chunk, Conn, ConnPhase, Direction, FlowFacts, FlowId, Health, PacketId, PayloadFacts,
    Progress, Segment, Service, Timestamp, Transport,
};
use wire::{Checksum, Packet, TcpFlags};

use crate::history::{Done, note};
use crate::key::{Key, opener};
use crate::order::{Copies, Lobby, Waits};
use crate::state::{Cold, Flags, Hot, LAST_WORD, cost};
use crate::tcp;
use crate::timer::{Wake, Wheel};

/// How often a long flow tells of itself (DESIGN §4).
const INTERIM: Duration = Duration::from_mins(5);
/// How many flows are looked at to find the one to evict.
const EVICTION_SAMPLE: usize = 24;
/// A time-to-live that ends within a few hops: enough to pass a sensor at the edge, not enough to reach a host behind routers
/// (*assumed*; route changes move it by one or two).
const NEARLY_USED_UP: u8 = 4;
/// Segments with wrong checksums one behind another, after which a side's checksums are no longer usually right (*assumed*).
const MANY_WRONG: u8 = 4;
/// Packets whose flows are fetched from memory at once: as many misses as a core keeps under way, and some more.
const GROUP: usize = 32;

/// How much a table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of flows and what hangs on them.
    pub flow_bytes: usize,
    /// Bytes that wait for reassembly, over all flows.
    pub waiting_bytes: usize,
    /// Bytes of packets that wait for those before them, over all flows.
    pub ordering_bytes: usize,
}

impl Limits {
    /// Divides a budget in bytes: four fifths for flows, of the last one three quarters for reassembly and one for order.
    pub const fn of_budget(bytes: usize) -> Self {
        Self { flow_bytes: bytes / 5 * 4, waiting_bytes: bytes / 20 * 3, ordering_bytes: bytes / 20 }
    }
}

/// A packet on its way into the table.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// What the headers say.
    pub packet: &'a Packet,
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
    fn begin(&mut self) -> Self::Session;
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
    /// About how many bytes of memory hang on a session.
    fn weight(&self, session: &Self::Session) -> usize;
}

/// The flows of one shard.
pub struct FlowTable<S> {
    index: HashTable<u32>,
    pub(crate) seed: RandomState,
    pub(crate) lobby: Lobby,
    copies: Copies,
    /// Bytes of packets that wait for those before them.
    pub(crate) ordering_bytes: usize,
    /// The clock up to which everything was told.
    pub(crate) told: Timestamp,
    /// Flows that only their segment tells apart from others.
    split: bool,
    /// Whether all of them are told apart by it.
    apart: bool,
    /// The hot and the cold part of a flow stand at the same place.
    pub(crate) hot: Vec<Hot>,
    pub(crate) cold: Vec<Cold<S>>,
    free: Vec<u32>,
    pub(crate) wheel: Wheel,
    woken: Vec<(u32, Wake)>,
    pub(crate) limits: Limits,
    pub(crate) waiting_bytes: usize,
    /// What open flows are charged with.
    charged: usize,
    hand: usize,
    pub(crate) health: Health,
}

impl<S> FlowTable<S> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            index: HashTable::new(),
            seed: RandomState::default(),
            lobby: Lobby::default(),
            copies: Copies::new(),
            ordering_bytes: 0,
            told: Timestamp::MIN,
            split: false,
            apart: false,
            hot: Vec::new(),
            cold: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(),
            woken: Vec::new(),
            limits,
            waiting_bytes: 0,
            charged: 0,
            hand: 0,
            health: Health::default(),
        }
    }

    /// Whether the same ends in two segments of the network are two flows, whatever their packets say.
    #[must_use]
    pub const fn segments_apart(mut self, apart: bool) -> Self {
        self.apart = apart;
        self
    }

    /// Bytes that an open flow takes at least: one of which no payload was seen.
    pub const fn flow_cost() -> usize {
        cost::<S>()
    }

    /// Bytes that it is charged with at least: what it takes, and room for its last record.
    pub const fn least_charge() -> usize {
        cost::<S>() + LAST_WORD
    }

    /// Flows that are open now.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no flow is open.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes that the open flows are charged with.
    pub fn charged(&self) -> usize {
        self.charged
    }

    /// What was counted so far: flows, midstream pickups, gaps, evictions.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Takes `n` packets in order; `arrival` gives each.
    pub fn packets<'a, H: Sessions<Session = S>>(
        &mut self,
        n: usize,
        arrival: impl Fn(usize) -> Arrival<'a>,
        sessions: &mut H,
    ) {
        for start in (0..n).step_by(GROUP) {
            let len = GROUP.min(n - start);
            let group: [_; GROUP] = std::array::from_fn(|i| {
                let arrival = arrival(start + i.min(len - 1));
                let (mut key, forward) = Key::of(arrival.packet);
                if self.apart
                    && let Some(segment) = arrival.packet.segment
                {
                    key = key.within(segment);
                }
                let place = Copies::place(&arrival, &key);
                (arrival, key, forward, key.hash(&self.seed), place)
            });
            // Whichever flow has a hash's place: nearly always the packet's own.
            let slots =
                group.map(|(.., hash, _)| self.index.find(hash, |_| true).copied().unwrap_or(u32::MAX));
            self.fetch(slots.into_iter());
            black_box(group.iter().fold(0, |touched, g| touched ^ self.copies.peek(g.4)));
            for (arrival, key, forward, hash, place) in &group[..len] {
                self.wheel.begin(arrival.clock);
                let copy = self.copies.knows(arrival, *place, *hash, *forward);
                self.enter(arrival, copy, *key, *forward, *hash, sessions);
            }
        }
    }

    /// Touches some flows, so that the processor waits for their memory all at once and not one after another.
    fn fetch(&self, slots: impl Iterator<Item = u32>) {
        let mut touched = 0u64;
        for slot in slots {
            if let (Some(hot), Some(cold)) = (self.hot.get(slot as usize), self.cold.get(slot as usize)) {
                // A word of each line.
                touched ^= hot.deadline.0.cast_unsigned() ^ u64::from(hot.flags.has(Flags::OPEN));
                touched ^= cold.payload_packets[0];
            }
        }
        black_box(touched);
    }

    /// The flow of a key, if it is open.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &Key) -> Option<u32> {
        self.index.find(hash, |&slot| self.hot[slot as usize].key == *key).copied()
    }

    /// Takes a packet to its flow, or lets it wait.
    pub(crate) fn enter<H: Sessions<Session = S>>(
        &mut self,
        arrival: &Arrival<'_>,
        copy: bool,
        mut key: Key,
        forward: bool,
        mut hash: u64,
        sessions: &mut H,
    ) {
        let mut found = self.find(hash, &key);
        if let Some(segment) = arrival.packet.segment
            && !self.apart
        {
            let own = key.within(segment);
            let own_hash = || own.hash(&self.seed);
            // Once a flow has been told apart, another of its ends may be over while it goes on.
            let apart = if self.split { self.find(own_hash(), &own) } else { None };
            let other = |slot| self.is_of_another_network(slot, forward, segment, arrival.packet);
            if apart.is_some() || found.is_some_and(other) {
                (key, hash, found) = (own, own_hash(), apart);
                self.split = true;
            }
        }
        let slot = match found {
            Some(slot) => {
                self.expire(slot, arrival.clock, sessions);
                if self.is_over(slot, forward, arrival) {
                    let at = self.hot[slot as usize].deadline.min(arrival.clock);
                    self.close(slot, at, sessions);
                    if self.at_the_door(arrival, copy, (key, forward, hash), sessions) {
                        return;
                    }
                    self.open(key, hash, forward, arrival, sessions)
                } else {
                    slot
                }
            }
            None if self.at_the_door(arrival, copy, (key, forward, hash), sessions) => return,
            None => self.open(key, hash, forward, arrival, sessions),
        };
        if self.must_wait(slot, forward, arrival.packet) {
            self.hold(slot, forward, arrival, copy);
        } else {
            self.follow(slot, forward, arrival, copy, sessions);
        }
        if self.cold[slot as usize].waits().is_some() {
            self.settle_waits(slot, arrival.clock, sessions);
        }
    }

    /// Whether a packet has the ends of an open flow and is of another network all the same: its segment is not that of its side, and its numbers
    /// are far from that side's. Where two segments carry the same addresses, both are used at once.
    fn is_of_another_network(&self, slot: u32, forward: bool, segment: Segment, p: &Packet) -> bool {
        let (hot, cold) = (&self.hot[slot as usize], &self.cold[slot as usize]);
        if p.transport != Transport::Tcp {
            return false;
        }
        let side = hot.direction(forward).index();
        let mine = cold.segment[side];
        mine.is_some_and(|mine| mine != segment)
            && hot.sides[side].packets > 0
            && !cold.numbers[side].is_near(p.tcp.seq)
    }

    /// Ends every flow whose time has come by `clock`, and lets long ones tell of themselves.
    pub fn advance<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        self.open_the_door(clock, clock, sessions);
        let mut woken = std::mem::take(&mut self.woken);
        self.wheel.due(clock, &mut woken);
        for group in woken.chunks(GROUP) {
            self.fetch(group.iter().map(|(slot, _)| *slot));
            for (slot, wake) in group {
                self.wake(*slot, *wake, clock, sessions);
            }
        }
        woken.clear();
        self.woken = woken;
        self.told = self.told.max(clock);
    }

    /// Looks at a flow whose time may have come.
    fn wake<H: Sessions<Session = S>>(&mut self, slot: u32, wake: Wake, clock: Timestamp, sessions: &mut H) {
        let (hot, cold) = (&self.hot[slot as usize], &self.cold[slot as usize]);
        // An entry that a later one has replaced, or of a flow that is gone.
        if !hot.flags.has(Flags::OPEN) || cold.wake != wake {
            return;
        }
        self.expire(slot, clock, sessions);
        let (hot, cold) = (&mut self.hot[slot as usize], &mut self.cold[slot as usize]);
        while cold.interim < hot.deadline && cold.interim <= clock {
            let at = cold.interim;
            cold.interim = at.plus(INTERIM);
            // A flow that is silent since its last word has nothing to add.
            if hot.last.plus(INTERIM) >= at {
                sessions.conn(cold.tell(hot, ConnPhase::Interim, at));
            }
        }
        if hot.deadline <= clock {
            let at = hot.deadline;
            self.close(slot, at, sessions);
        } else {
            let until = cold.waits().map_or(Timestamp::MAX, Waits::until);
            cold.wake = self.wheel.schedule(slot, hot.deadline.min(cold.interim).min(until));
        }
    }

    /// The input ended: ends every flow.
    pub fn finish<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        self.open_the_door(Timestamp::MAX, clock, sessions);
        for slot in 0..self.hot.len() as u32 {
            let hot = &self.hot[slot as usize];
            if hot.flags.has(Flags::OPEN) {
                self.close(slot, hot.deadline.min(clock), sessions);
            }
        }
    }

    /// Whether a packet of this key begins another flow: the old one timed out, or a new SYN says so.
    fn is_over(&self, slot: u32, forward: bool, arrival: &Arrival<'_>) -> bool {
        let hot = &self.hot[slot as usize];
        if hot.deadline <= arrival.clock {
            return true;
        }
        let p = arrival.packet;
        let flags = p.tcp.flags;
        if p.transport != Transport::Tcp || !flags.has(TcpFlags::SYN) {
            return false;
        }
        let from = hot.direction(forward);
        let (side, cold) = (from.index(), &self.cold[slot as usize]);
        if flags.has(TcpFlags::ACK) {
            // The receiver's word on a SYN that was taken for a decoy.
            return cold
                .rare
                .as_ref()
                .and_then(|r| r.doubted_syn)
                .is_some_and(|isn| isn.wrapping_add(1) == p.tcp.ack);
        }
        // Retransmitted: the same initial number. A simultaneous open: this side said nothing yet.
        let silent = hot.sides[side].packets == 0;
        let again = hot.done[side].has(Done::SYN) && cold.isn[side] == p.tcp.seq;
        !silent && !again && doubt(hot, cold, from, p).is_none()
    }

    pub(crate) fn open<H: Sessions<Session = S>>(
        &mut self,
        key: Key,
        hash: u64,
        forward: bool,
        arrival: &Arrival<'_>,
        sessions: &mut H,
    ) -> u32 {
        while self.charged + Self::least_charge() > self.limits.flow_bytes && !self.index.is_empty() {
            self.evict(arrival.clock, sessions);
        }
        let p = arrival.packet;
        let (direction, start_seen) = opener(p);
        if !start_seen && p.transport == Transport::Tcp {
            self.health.midstream_tcp += 1;
            self.health.anomalies.add(Anomaly::MidstreamPickup);
        }
        let mut flags = Flags::of(Flags::OPEN);
        flags.set(Flags::ORIG_IS_LOW, forward == (direction == Direction::Orig));
        flags.set(Flags::START_SEEN, start_seen);
        flags.set(Flags::WANTS_MORE, p.carries.is_none());
        flags.set(Flags::CLASSIFIED, p.carries.is_some());
        let mut hot = Hot {
            key,
            last: arrival.ts,
            flags,
            service: p.carries.unwrap_or(Service::Unknown),
            last_packet: arrival.id,
            ..Hot::default()
        };
        // Also of one whose first packet waits for those before it.
        hot.deadline = arrival.clock.plus(hot.patience());
        let mut cold = Cold::new(sessions.begin(), FlowId { packet: arrival.id, layer: p.layer }, arrival.ts);
        cold.interim = arrival.clock.plus(INTERIM);
        cold.charged = Self::least_charge() as u32;
        self.charged += Self::least_charge();
        let first_deadline = hot.deadline.min(cold.interim);
        let slot = self.free.pop().unwrap_or(self.hot.len() as u32);
        cold.wake = self.wheel.schedule(slot, first_deadline);
        if (slot as usize) < self.hot.len() {
            self.hot[slot as usize] = hot;
            self.cold[slot as usize] = cold;
        } else {
            self.hot.push(hot);
            self.cold.push(cold);
        }
        let (flows, seed) = (&self.hot, &self.seed);
        self.index.insert_unique(hash, slot, |&s| flows[s as usize].key.hash(seed));
        slot
    }

    pub(crate) fn follow<H: Sessions<Session = S>>(
        &mut self,
        slot: u32,
        forward: bool,
        arrival: &Arrival<'_>,
        again: bool,
        sessions: &mut H,
    ) {
        let hot = &mut self.hot[slot as usize];
        let p = arrival.packet;
        let from = hot.direction(forward);
        let side = from.index();
        let silence = arrival.ts.since(hot.last);
        hot.last = hot.last.max(arrival.ts);
        hot.last_packet = arrival.id;
        let volume = &mut hot.sides[side];
        volume.packets += 1;
        volume.bytes += u64::from(p.payload_len);
        volume.frame_bytes += u64::from(p.frame_len);
        let first = volume.packets == 1;
        if again && !first {
            // It counts for volumes, as whoever else counts packets would; nothing was said or tried a second time.
            self.health.anomalies.add(Anomaly::DuplicatePacket);
            hot.deadline = arrival.clock.plus(hot.patience());
            return;
        }
        if first {
            let cold = &mut self.cold[slot as usize];
            cold.mac[side] = p.mac;
            cold.segment[side] = p.segment;
            cold.ttl[side] = p.ttl;
            hot.flags.set(Flags::right(from), p.checksum == Checksum::Right);
        }
        let doubt = doubt(hot, &self.cold[slot as usize], from, p);
        if let Some(doubt) = doubt {
            self.health.anomalies.add(doubt);
            let known = hot.done[side].has(Done::SYN) && self.cold[slot as usize].isn[side] == p.tcp.seq;
            if p.tcp.flags.has(TcpFlags::SYN) && !known {
                self.cold[slot as usize].rare().doubted_syn = Some(p.tcp.seq);
            }
        }
        match p.checksum {
            Checksum::Wrong => {
                self.health.anomalies.add(Anomaly::BadTransportChecksum);
                let cold = &mut self.cold[slot as usize];
                note(&mut cold.history, &mut hot.done[side], from, Done::BAD_CHECKSUM);
                cold.wrongs[side] = cold.wrongs[side].saturating_add(1);
                if cold.wrongs[side] >= MANY_WRONG {
                    hot.flags.set(Flags::right(from), false);
                }
            }
            Checksum::Right if !hot.flags.has(Flags::right(from)) => {
                // One that happens to be right is none that usually is.
                let cold = &mut self.cold[slot as usize];
                cold.wrongs[side] = cold.wrongs[side].saturating_sub(1);
                hot.flags.set(Flags::right(from), cold.wrongs[side] == 0);
            }
            Checksum::Right => self.cold[slot as usize].wrongs[side] = 0,
            Checksum::Unknown => {}
        }
        if p.payload_len > 0 {
            spoke(hot, &mut self.cold[slot as usize], from, arrival, doubt.is_some());
        }
        if p.transport == Transport::Tcp {
            if p.payload_len > 0 && (silence >= Beat::SILENCE || hot.flags.has(Flags::BEAT)) {
                beat(hot, &mut self.cold[slot as usize], from, arrival, silence);
                self.charge(slot, sessions);
            }
            tcp::follow(self, slot, from, arrival, doubt.is_some(), sessions);
        } else {
            hot.deadline = arrival.clock.plus(hot.patience());
            if hot.flags.has(Flags::WANTS_MORE) && p.payload_len > 0 {
                let cold = &mut self.cold[slot as usize];
                let facts = cold.facts(hot);
                let spoken = cold.spoken.as_ref().filter(|_| first);
                let chunk = Chunk {
                    from,
                    bytes: arrival.payload,
                    wire_len: p.payload_len,
                    ts: arrival.ts,
                    at: arrival.clock,
                    packet: arrival.id,
                    facts: spoken.and_then(|s| s.facts[side].as_ref()),
                };
                let progress = sessions.data(&facts, &mut cold.session, chunk);
                settle(hot, cold, progress, arrival.clock, sessions);
                self.charge(slot, sessions);
            } else if first && p.payload_len > 0 {
                self.charge(slot, sessions);
            }
        }
    }

    /// Charges a flow with what hangs on it now.
    pub(crate) fn charge<H: Sessions<Session = S>>(&mut self, slot: u32, sessions: &H) {
        let cold = &mut self.cold[slot as usize];
        let now = Self::least_charge() + cold.hanging() + sessions.weight(&cold.session);
        self.charged = self.charged + now - cold.charged as usize;
        cold.charged = now as u32;
    }

    fn close<H: Sessions<Session = S>>(&mut self, slot: u32, at: Timestamp, sessions: &mut H) {
        self.release(slot, at, sessions);
        let (hot, cold) = (&mut self.hot[slot as usize], &mut self.cold[slot as usize]);
        let hash = hot.key.hash(&self.seed);
        if let Ok(entry) = self.index.find_entry(hash, |&s| s == slot) {
            entry.remove();
        }
        self.free.push(slot);
        self.waiting_bytes -= cold.held();
        self.charged -= cold.charged as usize;
        let facts = cold.facts(hot);
        if let Some(service) = sessions.end(&facts, &mut cold.session, at) {
            settle(
                hot,
                cold,
                Progress { service: Some(service), wants_more: false, remote: None },
                at,
                sessions,
            );
        }
        let conn = cold.tell(hot, ConnPhase::Closed, at);
        hot.flags.set(Flags::OPEN, false);
        cold.streams = None;
        cold.spoken = None;
        cold.rare = None;
        cold.session = sessions.begin();
        match conn.head.tuple.transport {
            Transport::Tcp => self.health.flows.0 += 1,
            Transport::Udp => self.health.flows.1 += 1,
            _ => self.health.flows.2 += 1,
        }
        self.health.missed_bytes += conn.missed_bytes.iter().sum::<u64>();
        if conn.head.tuple.transport == Transport::Tcp && conn.packets.contains(&0) && conn.bytes != [0, 0] {
            self.health.one_sided_tcp += 1;
        }
        sessions.conn(conn);
    }

    /// Ends one flow to make room: among those looked at, one that nobody answered, and of these the longest silent.
    fn evict<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        let mut best: Option<((bool, bool, Timestamp), u32)> = None;
        let (mut looked, mut steps) = (0, 0);
        while looked < EVICTION_SAMPLE && steps < self.hot.len() {
            let slot = self.hand % self.hot.len();
            self.hand = slot + 1;
            steps += 1;
            let hot = &self.hot[slot];
            if !hot.flags.has(Flags::OPEN) {
                continue;
            }
            looked += 1;
            let rank = (
                hot.answered() && !hot.flags.has(Flags::CLOSING),
                hot.flags.has(Flags::CLASSIFIED),
                hot.last,
            );
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

/// Why a segment may not be taken by its receiver, if so. Where the receiver's own packets are not seen, it is not taken.
fn doubt<S>(hot: &Hot, cold: &Cold<S>, from: Direction, p: &Packet) -> Option<Anomaly> {
    if p.transport != Transport::Tcp {
        return None;
    }
    // A card that fills in checksums later does so for all of a side's packets.
    if p.checksum == Checksum::Wrong && hot.flags.has(Flags::right(from)) {
        return Some(Anomaly::DoubtfulChecksum);
    }
    let usual = cold.ttl[from.index()];
    (p.ttl <= NEARLY_USED_UP && usual >= 4 * NEARLY_USED_UP).then_some(Anomaly::DoubtfulTtl)
}

/// Notes what is said after a silence, and what is replied; of known protocols nobody asks for it. A segment that was sent again breaks no silence.
#[cold]
fn beat<S>(hot: &mut Hot, cold: &mut Cold<S>, from: Direction, arrival: &Arrival<'_>, silence: Duration) {
    let unknown = matches!(hot.service, Service::Unknown | Service::Opaque | Service::Unrecognised);
    let awaited = hot.flags.has(Flags::BEAT);
    hot.flags.set(Flags::BEAT, false);
    if !unknown || !cold.numbers[from.index()].is_next(arrival.packet.tcp.seq) {
        return;
    }
    let len = arrival.packet.payload_len;
    let at = arrival.ts.since(cold.ts);
    if silence >= Beat::SILENCE {
        // The first words of a flow break no silence.
        if cold.payload_packets.iter().sum::<u64>() > 1
            && let Ok(at) = u32::try_from(at.as_millis())
        {
            let beats = &mut cold.rare().beats;
            if beats.len() >= Beat::MOST {
                beats.remove(0);
            }
            beats.push(Beat { at, from, length: len, reply: 0 });
            hot.flags.set(Flags::BEAT, true);
        }
    } else if awaited && let Some(last) = cold.rare().beats.last_mut() {
        if last.from == from {
            last.length = last.length.saturating_add(len);
            hot.flags.set(Flags::BEAT, true);
        } else if at.saturating_sub(Duration::from_millis(last.at.into())) <= Beat::SOON {
            last.reply = len;
        }
    }
}

/// Notes that a side sent payload.
fn spoke<S>(hot: &mut Hot, cold: &mut Cold<S>, from: Direction, arrival: &Arrival<'_>, doubtful: bool) {
    let (side, len) = (from.index(), arrival.packet.payload_len);
    cold.payload_packets[side] += 1;
    let anybody = hot.flags.has(Flags::spoke(Direction::Orig) | Flags::spoke(Direction::Resp));
    let from_resp = from == Direction::Resp;
    let seq = arrival.packet.tcp.seq;
    // The same numbers again, this time without a doubt: the first was a decoy.
    let same = || cold.spoken.as_ref().is_some_and(|s| s.seq[side] == seq);
    let instead = hot.flags.has(Flags::doubted(from)) && !doubtful && same();
    if !hot.flags.has(Flags::spoke(from)) || instead {
        hot.flags.set(Flags::doubted(from), doubtful);
        let spoken = cold.spoken.get_or_insert_default();
        spoken.seq[side] = seq;
        spoken.facts[side] = Some(PayloadFacts::of(arrival.payload, len));
        spoken.packets[side] = arrival.id;
        hot.flags.set(Flags::spoke(from), true);
        if !anybody {
            hot.flags.set(Flags::RESP_FIRST, from_resp);
        }
    }
    if hot.flags.has(Flags::RESP_LAST) != from_resp {
        cold.turns += u32::from(anybody);
        hot.flags.set(Flags::RESP_LAST, from_resp);
    }
    if let Some(slot) = cold.first_lengths.get_mut(usize::from(cold.lengths)) {
        let len = len.min(i32::MAX as u32) as i32;
        *slot = if from_resp { -len } else { len };
        cold.lengths += 1;
    }
}

/// Takes in what a session made of its bytes.
pub(crate) fn settle<H: Sessions>(
    hot: &mut Hot,
    cold: &mut Cold<H::Session>,
    progress: Progress,
    at: Timestamp,
    sessions: &mut H,
) {
    if !progress.wants_more {
        hot.flags.set(Flags::WANTS_MORE, false);
    }
    if let Some(remote) = progress.remote
        && cold.remote() != Some(remote)
    {
        // What a proxy relays is a protocol of its own, with somebody else: it is told anew.
        cold.rare().remote = Some(remote);
        hot.flags.set(Flags::CLASSIFIED, false);
    }
    if let Some(service) = progress.service {
        hot.service = service;
        if !hot.flags.has(Flags::CLASSIFIED) {
            hot.flags.set(Flags::CLASSIFIED, true);
            // Of a flow of DNS its questions tell, with their answers.
            if service != Service::Dns {
                sessions.conn(cold.tell(hot, ConnPhase::Classified, at));
            }
        }
    }
}
