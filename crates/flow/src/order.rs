//! Packets that wait for those that must have come before them.
//!
//! Two taps, two queues of a card or two capture processes stamp the directions of a flow by clocks of their own, and a mirror may send an
//! answer before its question. What the numbers say is put right within a window of packet time: an acknowledgement waits for what it
//! acknowledges, a flow whose first packet is none waits for its SYN, an answer for its question. A packet that need not wait is never
//! touched. What waits is bounded, in bytes over all flows and in packets of each; beyond that everything of a flow goes on as it came,
//! which is counted.
//!
//! Copies are told here too, by what a packet holds and where it goes: a mirror that hears both sides of a router sends everything twice, and
//! other packets come in between.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;

use record::{Anomaly, Direction, PacketId, Timestamp, Transport};
use wire::{Checksum, Packet, TcpFlags};

use crate::key::{Key, opener};
use crate::state::{Cold, Flags, Hot};
use crate::table::{Arrival, FlowTable, Sessions};

/// How long a packet waits for those before it: clocks of two taps, and queues of a card, are seldom further apart (*assumed*).
pub const WINDOW: Duration = Duration::from_millis(250);
/// Over IPv6, which has no identification, a packet that is sent again looks like a copy: only what a switch and a router take between
/// them tells the two apart (*assumed*). Of IPv4 without one nothing is taken for a copy.
const SOON: Duration = Duration::from_millis(5);
/// Packets of one flow that wait: acknowledgements of a quarter of a second at some hundred megabits a second.
const MAX_PACKETS: usize = 2048;
/// Packets remembered to know their copies: so many places, of which each holds the last that fell on it.
const REMEMBERED: usize = 4096;
/// Bytes of payload that tell a copy where no checksum does.
const TELLING: usize = 64;
/// A jump of numbers beyond this is another connection's (as in `stream`).
const MAX_HOLE: u32 = 1 << 26;
/// Numbers this far from a SYN's belong to its connection: windows in use seldom go beyond (*assumed*).
const NEAR: u32 = 1 << 20;
/// Entries of the lobby's order whose flows wait no more, before they are taken out.
const STALE: usize = 1024;

/// A packet that waits, with its bytes.
#[derive(Debug)]
pub struct Held {
    packet: Packet,
    payload: Box<[u8]>,
    ts: Timestamp,
    id: PacketId,
    copy: bool,
    /// When it goes on at the latest.
    until: Timestamp,
}

impl Held {
    fn of(arrival: &Arrival<'_>, copy: bool) -> Self {
        Self {
            packet: *arrival.packet,
            payload: arrival.payload.into(),
            ts: arrival.ts,
            id: arrival.id,
            copy,
            until: arrival.clock.plus(WINDOW),
        }
    }

    /// Bytes that its waiting takes: a queue has up to twice the room it needs, and a flow's first needs places in the lobby too.
    fn cost(&self) -> usize {
        2 * (size_of::<(u32, Self)>() + size_of::<(Key, Waits)>() + size_of::<(Timestamp, Key)>())
            + self.payload.len()
    }

    fn arrives(&self, clock: Timestamp) -> Arrival<'_> {
        Arrival { packet: &self.packet, payload: &self.payload, ts: self.ts, clock, id: self.id }
    }
}

/// What waits of one flow.
#[derive(Debug, Default)]
pub struct Waits {
    /// Packets from the key's high end and from its low end, each with its turn among both.
    sides: [VecDeque<(u32, Held)>; 2],
    turn: u32,
}

impl Waits {
    /// When the first of them has waited long enough.
    pub fn until(&self) -> Timestamp {
        let fronts = self.sides.iter().filter_map(|side| side.front());
        fronts.map(|(_, held)| held.until).min().unwrap_or(Timestamp::MAX)
    }

    fn push(&mut self, forward: bool, held: Held) {
        let side = &mut self.sides[usize::from(forward)];
        if side.capacity() == 0 {
            side.reserve_exact(1);
        }
        side.push_back((self.turn, held));
        self.turn = self.turn.wrapping_add(1);
    }

    fn len(&self) -> usize {
        self.sides.iter().map(VecDeque::len).sum()
    }

    fn front(&self, forward: bool) -> Option<&Held> {
        self.sides[usize::from(forward)].front().map(|(_, held)| held)
    }

    /// Bytes that they take.
    pub fn held(&self) -> usize {
        self.sides.iter().flatten().map(|(_, held)| held.cost()).sum()
    }

    /// Takes out what came first of one side.
    fn pop(&mut self, forward: bool) -> Option<Held> {
        self.sides[usize::from(forward)].pop_front().map(|(_, held)| held)
    }

    /// Whether the next by turn goes forward; `None` when nothing is left.
    fn next_side(&self) -> Option<bool> {
        let turn = |side: usize| self.sides[side].front().map(|(turn, _)| *turn);
        match (turn(0), turn(1)) {
            (None, None) => None,
            (Some(_), None) => Some(false),
            (None, Some(_)) => Some(true),
            (Some(back), Some(forth)) => Some(forth < back),
        }
    }

    /// Everything, as it came, with whether it goes forward.
    fn in_order(mut self) -> impl Iterator<Item = (bool, Held)> {
        std::iter::from_fn(move || {
            let forward = self.next_side()?;
            Some((forward, self.pop(forward)?))
        })
    }
}

/// Flows whose first packet waits for one before it, and when each has waited long enough.
///
/// Found by the same hash as flows, under a seed that whoever sends packets does not know.
#[derive(Debug, Default)]
pub struct Lobby {
    flows: HashTable<(Key, Waits)>,
    order: VecDeque<(Timestamp, Key)>,
}

impl Lobby {
    /// Takes out what waits of a flow, if anything does and `wanted` says so.
    fn take(&mut self, hash: u64, key: &Key, wanted: impl Fn(&Waits) -> bool) -> Option<Waits> {
        if self.flows.is_empty() {
            return None;
        }
        let found = self.flows.find_entry(hash, |(k, waits)| k == key && wanted(waits)).ok()?;
        Some(found.remove().0.1)
    }

    fn put(&mut self, hash: u64, key: Key, waits: Waits, seed: &impl BuildHasher) {
        self.flows.insert_unique(hash, (key, waits), |(k, _)| k.hash(seed));
    }

    /// Bytes that wait.
    pub fn held(&self) -> usize {
        self.flows.iter().map(|(_, waits)| waits.held()).sum()
    }
}

/// The packets seen last, by what tells their copies.
#[derive(Debug)]
pub struct Copies(Box<[(u64, Timestamp)]>);

impl Copies {
    pub fn new() -> Self {
        Self(vec![(0, Timestamp::MIN); REMEMBERED].into_boxed_slice())
    }

    /// A packet's place, the same on every run: what is compared there begins with the seeded hash, so that nobody can send a packet that
    /// makes another look like its copy.
    #[inline]
    pub fn place(arrival: &Arrival<'_>, key: &Key) -> usize {
        let p = arrival.packet;
        let numbers = u64::from(p.tcp.seq) << 32 | u64::from(p.tcp.ack);
        mixed(key.fold() ^ u64::from(p.print), numbers) as usize % REMEMBERED
    }

    /// What stands in a place.
    #[inline]
    pub fn peek(&self, place: usize) -> u64 {
        self.0[place].0
    }

    /// Whether a packet was seen before, and remembers it.
    #[inline]
    pub fn knows(&mut self, arrival: &Arrival<'_>, place: usize, hash: u64, forward: bool) -> bool {
        let p = arrival.packet;
        let ident = p.print >> 16;
        let span = match ident {
            0 if p.src.is_ipv6() && p.payload_len > 0 => SOON,
            0 => return false,
            _ => WINDOW,
        };
        let numbers = u64::from(p.tcp.seq) << 32 | u64::from(p.tcp.ack);
        let form = u64::from(p.payload_len) << 32 | u64::from(p.tcp.flags.0) << 16 | u64::from(p.layer);
        let mut print = mixed(hash, u64::from(p.print) << 1 | u64::from(forward));
        print = mixed(mixed(print, numbers), form);
        // A card fills in later what would tell payloads apart, or nobody did.
        if p.print & 0xffff == 0 || p.checksum == Checksum::Wrong {
            for word in arrival.payload.get(..TELLING).unwrap_or(arrival.payload).chunks(8) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                print = mixed(print, u64::from_le_bytes(bytes));
            }
        }
        let place = &mut self.0[place];
        let known = place.0 == print && arrival.ts.since(place.1) <= span;
        *place = (print, arrival.ts);
        known
    }
}

/// Folds a word in (the multiply-xorshift of SplitMix64, Steele, Lea, Flood 2014).
#[inline]
const fn mixed(state: u64, word: u64) -> u64 {
    let z = (state ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}

/// Whether a packet of no known flow may have one before it: anything of TCP that expects a connection, and answers over UDP.
fn expects_another(p: &Packet) -> bool {
    match p.transport {
        Transport::Tcp => p.tcp.flags.has(TcpFlags::ACK) && !p.tcp.flags.has(TcpFlags::RST),
        Transport::Udp => opener(p).0 == Direction::Resp,
        _ => false,
    }
}

/// Whether a packet of side `from` acknowledges what the other side has not been seen to send.
pub fn is_ahead<S>(hot: &Hot, cold: &Cold<S>, from: Direction, p: &Packet) -> bool {
    if p.transport != Transport::Tcp
        || !p.tcp.flags.has(TcpFlags::ACK)
        || p.tcp.flags.has(TcpFlags::RST)
        || hot.flags.has(Flags::CLOSING)
    {
        return false;
    }
    let other = from.reversed();
    match cold.numbers[other.index()].next() {
        // A FIN takes a number and is no byte. What is in doubt waits for this very word.
        Some(next) => {
            let doubtful = || cold.streams.as_ref().is_some_and(|s| s[other.index()].doubts());
            (2..MAX_HOLE).contains(&p.tcp.ack.wrapping_sub(next)) && !doubtful()
        }
        // Where one side is not captured, nothing is waited for a second time.
        None => !hot.flags.has(Flags::ONE_SIDED),
    }
}

/// Whether a SYN begins the connection that waiting packets belong to.
fn begins(syn: &Packet, waits: &Waits) -> bool {
    let first = syn.tcp.seq.wrapping_add(1);
    waits.sides.iter().flatten().any(|(_, held)| {
        let number = if held.packet.src == syn.src && held.packet.sport == syn.sport {
            held.packet.tcp.seq
        } else {
            held.packet.tcp.ack
        };
        number.wrapping_sub(first) <= NEAR
    })
}

impl<S> FlowTable<S> {
    /// Takes a packet of a flow that is not known: it may wait, or end the waiting of others. Gives whether it was taken.
    pub(crate) fn at_the_door<H: Sessions<Session = S>>(
        &mut self,
        arrival: &Arrival<'_>,
        copy: bool,
        (key, forward, hash): (Key, bool, u64),
        sessions: &mut H,
    ) -> bool {
        let p = arrival.packet;
        let Some(waits) = self.lobby.take(hash, &key, |_| true) else {
            if !expects_another(p) {
                return false;
            }
            let held = Held::of(arrival, copy);
            self.lobby.order.push_back((held.until, key));
            self.keep(hash, key, Waits::default(), forward, held);
            self.cut_lobby(arrival.clock, sessions);
            return true;
        };
        let syn = p.transport == Transport::Tcp
            && p.tcp.flags.has(TcpFlags::SYN)
            && !p.tcp.flags.has(TcpFlags::ACK);
        let question = p.transport == Transport::Udp && opener(p).0 == Direction::Orig;
        let full = waits.len() >= MAX_PACKETS;
        if full {
            self.health.anomalies.add(Anomaly::ReorderCut);
        }
        if full || waits.until() <= arrival.clock || (syn && !begins(p, &waits)) {
            let at = waits.until().min(arrival.clock).max(self.told);
            self.let_in(key, waits, at, sessions);
            // What was let in is a flow now: the packet is one of its.
            self.enter(arrival, copy, key, forward, hash, sessions);
            return true;
        }
        if syn || question {
            let slot = self.open(key, hash, forward, arrival, sessions);
            self.follow(slot, forward, arrival, copy, sessions);
            for (forward, held) in waits.in_order() {
                self.ordering_bytes -= held.cost();
                self.enter(&held.arrives(arrival.clock), held.copy, key, forward, hash, sessions);
            }
            return true;
        }
        self.keep(hash, key, waits, forward, Held::of(arrival, copy));
        self.cut_lobby(arrival.clock, sessions);
        true
    }

    /// One more packet waits in the lobby.
    fn keep(&mut self, hash: u64, key: Key, mut waits: Waits, forward: bool, held: Held) {
        self.ordering_bytes += held.cost();
        waits.push(forward, held);
        self.lobby.put(hash, key, waits, &self.seed);
    }

    /// Lets in whatever waits longest until the rest has room.
    fn cut_lobby<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        let crowded = |table: &Self| table.lobby.order.len() > 2 * table.lobby.flows.len() + STALE;
        while self.ordering_bytes > self.limits.ordering_bytes || crowded(self) {
            let Some((until, oldest)) = self.lobby.order.pop_front() else { return };
            // The same ends may wait anew by now, or wait no more.
            let hash = oldest.hash(&self.seed);
            let Some(waits) = self.lobby.take(hash, &oldest, |w| w.until() == until) else { continue };
            self.health.anomalies.add(Anomaly::ReorderCut);
            self.let_in(oldest, waits, clock, sessions);
        }
    }

    /// Lets packets in that waited in vain: the flow begins with them.
    fn let_in<H: Sessions<Session = S>>(&mut self, key: Key, waits: Waits, at: Timestamp, sessions: &mut H) {
        let hash = key.hash(&self.seed);
        for (forward, held) in waits.in_order() {
            self.ordering_bytes -= held.cost();
            let arrival = held.arrives(at);
            let slot = match self.find(hash, &key) {
                Some(slot) => slot,
                None => self.open(key, hash, forward, &arrival, sessions),
            };
            self.hot[slot as usize].flags.set(Flags::ONE_SIDED, true);
            self.follow(slot, forward, &arrival, held.copy, sessions);
        }
    }

    /// Lets everything in whose time has come by `due`, and no later than it is.
    pub(crate) fn open_the_door<H: Sessions<Session = S>>(
        &mut self,
        due: Timestamp,
        clock: Timestamp,
        sessions: &mut H,
    ) {
        while let Some(&(until, key)) = self.lobby.order.front() {
            if until > due {
                return;
            }
            self.lobby.order.pop_front();
            // The same ends may wait anew by now.
            let hash = key.hash(&self.seed);
            if let Some(waits) = self.lobby.take(hash, &key, |w| w.until() == until) {
                self.let_in(key, waits, until.max(self.told).min(clock), sessions);
            }
        }
    }

    /// Keeps a packet of the flow at `slot` until what it acknowledges has come.
    pub(crate) fn hold(&mut self, slot: u32, forward: bool, arrival: &Arrival<'_>, copy: bool) {
        let held = Held::of(arrival, copy);
        self.ordering_bytes += held.cost();
        let (hot, cold) = (&self.hot[slot as usize], &mut self.cold[slot as usize]);
        match &mut cold.rare().waits {
            Some(waits) => waits.push(forward, held),
            none => {
                let until = held.until;
                none.insert(Waits::default()).push(forward, held);
                cold.wake = self.wheel.schedule(slot, until.min(hot.deadline).min(cold.interim));
            }
        }
    }

    /// Whether a packet must wait, for what it acknowledges or behind others of its side that do.
    #[inline]
    pub(crate) fn must_wait(&self, slot: u32, forward: bool, p: &Packet) -> bool {
        let (hot, cold) = (&self.hot[slot as usize], &self.cold[slot as usize]);
        let behind = cold.waits().is_some_and(|w| w.front(forward).is_some());
        behind || is_ahead(hot, cold, hot.direction(forward), p)
    }

    /// Something came: lets everything on that need wait no more, in order.
    pub(crate) fn settle_waits<H: Sessions<Session = S>>(
        &mut self,
        slot: u32,
        clock: Timestamp,
        sessions: &mut H,
    ) {
        loop {
            let (hot, cold) = (&self.hot[slot as usize], &self.cold[slot as usize]);
            let Some(waits) = cold.waits() else { return };
            if waits.len() > MAX_PACKETS || self.ordering_bytes > self.limits.ordering_bytes {
                self.health.anomalies.add(Anomaly::ReorderCut);
                return self.release(slot, clock, sessions);
            }
            // The first of each side: what stands behind it waits with it.
            let ready = [true, false].into_iter().find(|forward| {
                let may = |held: &Held| !is_ahead(hot, cold, hot.direction(*forward), &held.packet);
                waits.front(*forward).is_some_and(may)
            });
            let rare = self.cold[slot as usize].rare();
            let held = ready.and_then(|forward| rare.waits.as_mut().and_then(|w| w.pop(forward)));
            if rare.waits.as_ref().is_some_and(|w| w.len() == 0) {
                rare.waits = None;
            }
            let (Some(forward), Some(held)) = (ready, held) else { return };
            self.ordering_bytes -= held.cost();
            self.follow(slot, forward, &held.arrives(clock), held.copy, sessions);
        }
    }

    /// Lets on what has waited in vain by `clock`, each when its time came, and what need wait no more after that.
    pub(crate) fn expire<H: Sessions<Session = S>>(&mut self, slot: u32, clock: Timestamp, sessions: &mut H) {
        loop {
            let waits = self.cold[slot as usize].rare.as_mut().and_then(|r| r.waits.as_mut());
            let Some(waits) = waits.filter(|w| w.until() <= clock) else { return };
            let until = waits.until();
            // The one whose time it is.
            let forward = waits.front(true).is_some_and(|held| held.until == until);
            let Some(held) = waits.pop(forward) else { return };
            if waits.len() == 0 {
                self.cold[slot as usize].rare().waits = None;
            }
            let at = until.max(self.told);
            self.give_up(slot, forward, &held, at, sessions);
            self.settle_waits(slot, at, sessions);
        }
    }

    /// Lets everything of a flow on, as it came.
    pub(crate) fn release<H: Sessions<Session = S>>(&mut self, slot: u32, at: Timestamp, sessions: &mut H) {
        let Some(waits) = self.cold[slot as usize].take_waits() else { return };
        for (forward, held) in waits.in_order() {
            self.give_up(slot, forward, &held, at, sessions);
        }
    }

    /// Lets on a packet that waited in vain.
    fn give_up<H: Sessions<Session = S>>(
        &mut self,
        slot: u32,
        forward: bool,
        held: &Held,
        at: Timestamp,
        sessions: &mut H,
    ) {
        self.ordering_bytes -= held.cost();
        let hot = &mut self.hot[slot as usize];
        let other = hot.direction(forward).reversed();
        if self.cold[slot as usize].numbers[other.index()].next().is_none() {
            hot.flags.set(Flags::ONE_SIDED, true);
        }
        self.follow(slot, forward, &held.arrives(at), held.copy, sessions);
    }
}
