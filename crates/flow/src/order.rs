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
use std::time::Duration;

use record::{Anomaly, Direction, PacketId, Timestamp, Transport};
use wire::{Checksum, Packet, TcpFlags};

use crate::key::{Key, opener};
use crate::state::{Cold, Flags, Hot};
use crate::table::{Arrival, FlowTable, Sessions};

/// How long a packet waits for those before it: clocks of two taps, and queues of a card, are seldom further apart (*assumed*).
pub const WINDOW: Duration = Duration::from_millis(250);
/// Without an identification of its own (IPv6, or set to zero), a packet that is sent again looks like a copy: only what a switch and a
/// router take between them tells the two apart (*assumed*).
const SOON: Duration = Duration::from_millis(5);
/// Packets of one flow that wait. A window of 64 segments is more than one direction sends before an answer.
const MAX_PACKETS: usize = 64;
/// Packets remembered to know their copies: so many places, of which each holds the last that fell on it.
const REMEMBERED: usize = 1024;
/// Bytes of payload that tell a copy where no checksum does.
const TELLING: usize = 64;
/// A jump of numbers beyond this is another connection's (as in `stream`).
const MAX_HOLE: u32 = 1 << 26;
/// Numbers this far from a SYN's belong to its connection: windows in use seldom go beyond (*assumed*).
const NEAR: u32 = 1 << 20;

/// A packet that waits, with its bytes.
#[derive(Debug)]
pub struct Held {
    packet: Packet,
    payload: Box<[u8]>,
    ts: Timestamp,
    id: PacketId,
    copy: bool,
}

impl Held {
    fn of(arrival: &Arrival<'_>, copy: bool) -> Self {
        Self {
            packet: *arrival.packet,
            payload: arrival.payload.into(),
            ts: arrival.ts,
            id: arrival.id,
            copy,
        }
    }

    fn cost(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }

    fn arrives(&self, clock: Timestamp) -> Arrival<'_> {
        Arrival { packet: &self.packet, payload: &self.payload, ts: self.ts, clock, id: self.id }
    }
}

/// What waits of one flow, until when at the latest.
#[derive(Debug)]
pub struct Waits {
    pub until: Timestamp,
    packets: VecDeque<Held>,
}

/// Flows whose first packet waits for one before it, and when each has waited long enough.
#[derive(Debug, Default)]
pub struct Lobby {
    flows: hashbrown::HashMap<Key, Waits, foldhash::fast::FixedState>,
    order: VecDeque<(Timestamp, Key)>,
}

impl Lobby {
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

/// The packets seen last, by what tells their copies.
#[derive(Debug)]
pub struct Copies(Box<[(u64, Timestamp)]>);

impl Copies {
    pub fn new() -> Self {
        Self(vec![(0, Timestamp::MIN); REMEMBERED].into_boxed_slice())
    }

    /// Whether a packet was seen before, and remembers it.
    #[inline]
    pub fn knows(&mut self, arrival: &Arrival<'_>, key: &Key, forward: bool) -> bool {
        let p = arrival.packet;
        let ident = p.print >> 16;
        let span = match ident {
            0 if p.src.is_ipv6() && p.payload_len > 0 => SOON,
            0 => return false,
            _ => WINDOW,
        };
        let mut print = key.fold() ^ u64::from(p.print) << 1 ^ u64::from(forward);
        print = mixed(print, u64::from(p.tcp.seq) << 32 | u64::from(p.tcp.ack));
        print = mixed(
            print,
            u64::from(p.payload_len) << 32 | u64::from(p.tcp.flags.0) << 16 | u64::from(p.layer),
        );
        // A card fills in later what would tell payloads apart, or nobody did.
        if p.print & 0xffff == 0 || p.checksum == Checksum::Wrong {
            for word in arrival.payload.get(..TELLING).unwrap_or(arrival.payload).chunks(8) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                print = mixed(print, u64::from_le_bytes(bytes));
            }
        }
        let place = &mut self.0[print as usize % REMEMBERED];
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
    waits.packets.iter().any(|held| {
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
        let known = if self.lobby.is_empty() { None } else { self.lobby.flows.remove(&key) };
        let Some(waits) = known else {
            if !expects_another(p) {
                return false;
            }
            let until = arrival.clock.plus(WINDOW);
            let held = Held::of(arrival, copy);
            self.ordering_bytes += held.cost();
            self.lobby.flows.insert(key, Waits { until, packets: VecDeque::from([held]) });
            self.lobby.order.push_back((until, key));
            while self.ordering_bytes > self.limits.ordering_bytes {
                let Some((_, oldest)) = self.lobby.order.pop_front() else { break };
                if let Some(waits) = self.lobby.flows.remove(&oldest) {
                    self.health.anomalies.add(Anomaly::ReorderCut);
                    self.let_in(oldest, waits, arrival.clock, sessions);
                }
            }
            return true;
        };
        let syn = p.transport == Transport::Tcp
            && p.tcp.flags.has(TcpFlags::SYN)
            && !p.tcp.flags.has(TcpFlags::ACK);
        let question = p.transport == Transport::Udp && opener(p).0 == Direction::Orig;
        if waits.until <= arrival.clock || (syn && !begins(p, &waits)) || waits.packets.len() >= MAX_PACKETS {
            let at = waits.until.min(arrival.clock).max(self.told);
            self.let_in(key, waits, at, sessions);
            // What was let in is a flow now: the packet is one of its.
            self.enter(arrival, copy, key, forward, hash, sessions);
            return true;
        }
        if syn || question {
            let slot = self.open(key, hash, forward, arrival, sessions);
            self.follow(slot, forward, arrival, copy, sessions);
            for held in waits.packets {
                self.ordering_bytes -= held.cost();
                let (_, forward) = Key::of(&held.packet);
                self.enter(&held.arrives(arrival.clock), held.copy, key, forward, hash, sessions);
            }
            return true;
        }
        let held = Held::of(arrival, copy);
        self.ordering_bytes += held.cost();
        let mut waits = waits;
        waits.packets.push_back(held);
        self.lobby.flows.insert(key, waits);
        true
    }

    /// Lets packets in that waited in vain: the flow begins with them.
    fn let_in<H: Sessions<Session = S>>(&mut self, key: Key, waits: Waits, at: Timestamp, sessions: &mut H) {
        let hash = key.hash(&self.seed);
        for held in waits.packets {
            self.ordering_bytes -= held.cost();
            let (_, forward) = Key::of(&held.packet);
            let arrival = held.arrives(at);
            let slot = match self.find(hash, &key) {
                Some(slot) => slot,
                None => self.open(key, hash, forward, &arrival, sessions),
            };
            self.hot[slot as usize].flags.set(Flags::ONE_SIDED, true);
            self.follow(slot, forward, &arrival, held.copy, sessions);
        }
    }

    /// Lets everything in whose time has come.
    pub(crate) fn open_the_door<H: Sessions<Session = S>>(&mut self, clock: Timestamp, sessions: &mut H) {
        while let Some(&(until, key)) = self.lobby.order.front() {
            if until > clock {
                return;
            }
            self.lobby.order.pop_front();
            // The same ends may wait anew by now.
            if self.lobby.flows.get(&key).is_some_and(|w| w.until == until)
                && let Some(waits) = self.lobby.flows.remove(&key)
            {
                self.let_in(key, waits, until.max(self.told).min(clock), sessions);
            }
        }
    }

    /// Keeps a packet of the flow at `slot` until what it acknowledges has come.
    pub(crate) fn hold(&mut self, slot: u32, arrival: &Arrival<'_>, copy: bool) {
        let held = Held::of(arrival, copy);
        self.ordering_bytes += held.cost();
        let until = arrival.clock.plus(WINDOW);
        let cold = &mut self.cold[slot as usize];
        match &mut cold.rare().waits {
            Some(waits) => waits.packets.push_back(held),
            none => {
                *none = Some(Waits { until, packets: VecDeque::from([held]) });
                let hot = &self.hot[slot as usize];
                cold.wake = self.wheel.schedule(slot, until.min(hot.deadline));
            }
        }
    }

    /// Whether a packet of side `from` must wait, for what it acknowledges or behind others of its side that do.
    pub(crate) fn must_wait(&self, slot: u32, from: Direction, p: &Packet) -> bool {
        let (hot, cold) = (&self.hot[slot as usize], &self.cold[slot as usize]);
        let behind = cold
            .waits()
            .is_some_and(|w| w.packets.iter().any(|held| hot.direction(Key::of(&held.packet).1) == from));
        behind || is_ahead(hot, cold, from, p)
    }

    /// Something came: lets everything on that need wait no more, in order.
    pub(crate) fn settle_waits<H: Sessions<Session = S>>(
        &mut self,
        slot: u32,
        clock: Timestamp,
        sessions: &mut H,
    ) {
        loop {
            let (hot, cold) = (&self.hot[slot as usize], &mut self.cold[slot as usize]);
            let Some(waits) = cold.take_waits() else { return };
            let full = waits.packets.len() > MAX_PACKETS || self.ordering_bytes > self.limits.ordering_bytes;
            if full {
                self.health.anomalies.add(Anomaly::ReorderCut);
                cold.rare().waits = Some(waits);
                return self.release(slot, clock, sessions);
            }
            // The first of each side: what stands behind it waits with it.
            let mut blocked = [false; 2];
            let ready = waits.packets.iter().position(|held| {
                let from = hot.direction(Key::of(&held.packet).1);
                let first = !std::mem::replace(&mut blocked[from.index()], true);
                first && !is_ahead(hot, cold, from, &held.packet)
            });
            let mut waits = waits;
            let held = ready.and_then(|at| waits.packets.remove(at));
            if !waits.packets.is_empty() {
                cold.rare().waits = Some(waits);
            }
            let Some(held) = held else { return };
            self.ordering_bytes -= held.cost();
            let (_, forward) = Key::of(&held.packet);
            self.follow(slot, forward, &held.arrives(clock), held.copy, sessions);
        }
    }

    /// Lets everything of a flow on that waited in vain, as it came.
    pub(crate) fn release<H: Sessions<Session = S>>(&mut self, slot: u32, at: Timestamp, sessions: &mut H) {
        let Some(waits) = self.cold[slot as usize].take_waits() else { return };
        for held in waits.packets {
            self.ordering_bytes -= held.cost();
            let (_, forward) = Key::of(&held.packet);
            let hot = &mut self.hot[slot as usize];
            let other = hot.direction(forward).reversed();
            if self.cold[slot as usize].numbers[other.index()].next().is_none() {
                hot.flags.set(Flags::ONE_SIDED, true);
            }
            self.follow(slot, forward, &held.arrives(at), held.copy, sessions);
        }
    }
}
