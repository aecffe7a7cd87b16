//! What is told twice: by a copy of a log, by logs of two sensors on one link, by a log and a store that has it. It counts once; what packets tell as well is said.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::time::Duration;

use record::{ConnPhase, FlowId, Health, Record, Segment, Timestamp};

/// How far two sensors' times of one thing may lie apart (*assumed*: their clocks agree to a second or so, and each may have seen another first packet).
const APART: Duration = Duration::from_secs(2);
/// Records that are remembered: the inputs are read in one order of time, so that what tells of one moment lies near (*assumed*: a minute of a network with 300 flows a second).
const MOST: usize = 1 << 16;

/// Who told a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Captures or interfaces, all together.
    Packets,
    /// A log or a store, by the number of its first input.
    Input(u32),
}

/// When, by whom and in which segment something was told.
#[derive(Clone, Copy)]
struct Telling {
    ts: Timestamp,
    teller: Teller,
    segment: Option<Segment>,
}

impl Telling {
    /// Whether this is of the same. A sensor may not tell segments; where two do, and differ, addresses repeat.
    fn is_of(&self, record: &Record) -> bool {
        let head = record.head();
        let far = head.ts.since(self.ts).max(self.ts.since(head.ts));
        let segments = self.segment.zip(head.segment);
        far <= APART && segments.is_none_or(|(a, b)| a == b)
    }
}

/// What is remembered of late, by name.
struct Recent<K, V> {
    by_name: HashMap<K, V>,
    in_order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), in_order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    fn put(&mut self, name: K, value: V) {
        if self.by_name.insert(name, value).is_none() {
            self.in_order.push_back(name);
            if self.in_order.len() > MOST
                && let Some(oldest) = self.in_order.pop_front()
            {
                self.by_name.remove(&oldest);
            }
        }
    }
}

/// What was told of late, and by whom.
#[derive(Default)]
pub struct Twins {
    by_inputs: Recent<u64, Telling>,
    by_packets: Recent<u64, Telling>,
    /// The flow between two ends, and what it is called by whoever told of it first.
    flows_between: Recent<u64, (Telling, FlowId)>,
    /// What a flow is called that somebody else calls otherwise.
    called: Recent<FlowId, FlowId>,
    /// Records that were told again, and the flows among them.
    again: u64,
    flows: Health,
    /// Flows that packets and somebody else told.
    beside_packets: u64,
}

/// What a record tells of, whoever tells it; none of what nobody else would.
fn name(record: &Record) -> Option<u64> {
    let mut name = DefaultHasher::new();
    discriminant(record).hash(&mut name);
    (record.tuple(), record.head().site).hash(&mut name);
    match record {
        // All that is told of a flow is told by whoever told of it first.
        Record::Conn(_) => {}
        Record::Dns(d) => (&d.query, d.qtype).hash(&mut name),
        Record::Http(h) => (&h.method, &h.path, h.depth).hash(&mut name),
        Record::Tls(t) => t.sni.hash(&mut name),
        Record::Smtp(s) => (&s.sender_domains, &s.recipient_domains, s.last_code).hash(&mut name),
        Record::Irc(i) => (&i.command, &i.params).hash(&mut name),
        Record::Alert(a) => (&a.sensor, &a.signature, &a.category).hash(&mut name),
        Record::File(f) => (f.len, &f.name, f.sha256).hash(&mut name),
        Record::Dhcp(d) => d.mac.hash(&mut name),
        Record::Quic(_) | Record::Ssh(_) => {}
        _ => return None,
    }
    Some(name.finish())
}

impl Twins {
    /// Has what logs and stores tell of one flow called alike, whoever tells it: what belongs together is told by flow.
    fn call(&mut self, record: &mut Record, teller: Teller) {
        let flow = record.head().flow;
        if !flow.is_named() {
            return;
        }
        if let Some(called) = self.called.by_name.get(&flow) {
            record.head_mut().flow = *called;
            return;
        }
        let head = record.head();
        let mut ends = DefaultHasher::new();
        (head.tuple, head.site).hash(&mut ends);
        let ends = ends.finish();
        let first = self.flows_between.by_name.get(&ends).filter(|(before, _)| before.is_of(record));
        let called = match first {
            Some((before, called)) if before.teller != teller => *called,
            Some((_, called)) if *called == flow => return,
            _ => {
                let telling = Telling { ts: head.ts, teller, segment: head.segment };
                self.flows_between.put(ends, (telling, flow));
                flow
            }
        };
        self.called.put(flow, called);
        record.head_mut().flow = called;
    }

    /// Whether somebody else has told this, so that it does not count.
    pub fn has(&mut self, record: &mut Record, teller: Teller) -> bool {
        if self.has_told(record, teller) {
            return true;
        }
        self.call(record, teller);
        false
    }

    /// Packets tell this.
    pub fn packets_tell(&mut self, record: &Record) {
        self.has_told(record, Teller::Packets);
    }

    fn has_told(&mut self, record: &Record, teller: Teller) -> bool {
        let Some(name) = name(record) else { return false };
        let head = record.head();
        let ended = matches!(record, Record::Conn(c) if c.phase == ConnPhase::Closed);
        let telling = Telling { ts: head.ts, teller, segment: head.segment };
        let of = |told: &Recent<u64, Telling>| {
            told.by_name.get(&name).filter(|before| before.is_of(record)).copied()
        };
        // Packets and others tell of it at other times, and packets more: neither can stand for the other.
        if teller == Teller::Packets {
            self.beside_packets += u64::from(ended && of(&self.by_inputs).is_some());
            self.by_packets.put(name, telling);
            return false;
        }
        match of(&self.by_inputs) {
            Some(before) if before.teller != teller => {
                self.again += 1;
                if let Record::Conn(c) = record
                    && ended
                {
                    import::count(&mut self.flows, c);
                }
                return true;
            }
            Some(_) => {}
            None => self.by_inputs.put(name, telling),
        }
        self.beside_packets += u64::from(ended && of(&self.by_packets).is_some());
        false
    }

    /// Takes off what was counted twice.
    pub fn correct(&self, health: &mut Health) {
        let twice = &self.flows;
        let less = |n: &mut u64, by: u64| *n = n.saturating_sub(by);
        less(&mut health.flows.0, twice.flows.0);
        less(&mut health.flows.1, twice.flows.1);
        less(&mut health.flows.2, twice.flows.2);
        less(&mut health.packets, twice.packets);
        less(&mut health.bytes, twice.bytes);
        less(&mut health.accounts.followed, twice.accounts.followed);
        less(&mut health.midstream_tcp, twice.midstream_tcp);
        less(&mut health.one_sided_tcp, twice.one_sided_tcp);
        less(&mut health.missed_bytes, twice.missed_bytes);
    }

    /// What must be told of it.
    pub fn notices(&self) -> Vec<String> {
        let (tcp, udp, other) = self.flows.flows;
        let mut told = Vec::new();
        if self.again > 0 {
            told.push(format!(
                "{} records of logs or stores ({} of them flows) are told by two of them, and count once",
                self.again,
                tcp + udp + other
            ));
        }
        if self.beside_packets > 0 {
            told.push(format!(
                "{} flows are told by packets and by a log or store, and COUNT TWICE: regular calls and shares are judged wrongly; read one of them alone",
                self.beside_packets
            ));
        }
        told
    }
}
