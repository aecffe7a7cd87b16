//! What is told twice: by a copy of a log, by logs of two sensors on one link, by a log and a store that has it. It counts once; what packets tell as well is said.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::time::Duration;

use record::{ConnPhase, Health, Record, Timestamp};

/// How far two sensors' times of one thing may lie apart (*assumed*: their clocks agree to a second or so, and each may have seen another first packet).
const APART: Duration = Duration::from_secs(2);
/// Records that are remembered: the inputs are read in one order of time, so that what tells of one moment lies near (*assumed*: minutes of a network with 300 flows a second).
const MOST: usize = 1 << 18;

/// Who told a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Captures or interfaces, all together.
    Packets,
    /// A log or a store, by the number of its first input.
    Input(u32),
}

/// What was told of late, and by whom.
#[derive(Default)]
pub struct Twins {
    told: HashMap<u64, (Timestamp, Teller)>,
    in_order: VecDeque<u64>,
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
    record.tuple().hash(&mut name);
    match record {
        Record::Conn(c) if c.phase == ConnPhase::Closed || c.head.flow.is_named() => {
            discriminant(&c.phase).hash(&mut name);
        }
        Record::Dns(d) => (&d.query, d.qtype).hash(&mut name),
        Record::Http(h) => (&h.method, &h.path, h.depth).hash(&mut name),
        Record::Tls(t) => t.sni.hash(&mut name),
        Record::Smtp(s) => (&s.sender_domains, &s.recipient_domains, s.last_code).hash(&mut name),
        Record::Irc(i) => (&i.command, &i.params).hash(&mut name),
        Record::Alert(a) => (&a.sensor, &a.signature, &a.category).hash(&mut name),
        Record::File(f) => (f.len, &f.name, f.sha256).hash(&mut name),
        Record::Quic(_) | Record::Ssh(_) | Record::Dhcp(_) => {}
        _ => return None,
    }
    Some(name.finish())
}

impl Twins {
    /// Whether somebody else has told this, so that it does not count.
    pub fn has(&mut self, record: &Record, teller: Teller) -> bool {
        let Some(name) = name(record) else { return false };
        let ts = record.head().ts;
        match self.told.get(&name) {
            Some((then, before)) if *before != teller && ts.since(*then).max(then.since(ts)) <= APART => {
                let ended = matches!(record, Record::Conn(c) if c.phase == ConnPhase::Closed);
                if *before == Teller::Packets || teller == Teller::Packets {
                    // They tell of it at other times, and packets more: neither can stand for the other.
                    self.beside_packets += u64::from(ended);
                    return false;
                }
                self.again += 1;
                if let Record::Conn(c) = record
                    && ended
                {
                    import::count(&mut self.flows, c);
                }
                return true;
            }
            _ => {}
        }
        if self.told.insert(name, (ts, teller)).is_none() {
            self.in_order.push_back(name);
            if self.in_order.len() > MOST
                && let Some(oldest) = self.in_order.pop_front()
            {
                self.told.remove(&oldest);
            }
        }
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
