//! What is told twice. A copy of a log, or a store that has the log, tells the same rows by the same names of flows: these count once. Two sensors on one link, or packets beside a log,
//! tell the same flows by other names, at other times and with other facts, so that neither can stand for the other: that is counted, and said.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::time::Duration;

use record::{ConnPhase, FlowId, Health, Record, Segment, Timestamp};
use serde::{Deserialize, Serialize};

/// How far two sensors' times of one flow may lie apart (*assumed*: their clocks agree to a second or so, and each may have seen another first packet).
const APART: Duration = Duration::from_secs(2);
/// Records that are remembered, and so many before them: the inputs are read in one order of time, so that what tells of one moment lies near (*assumed*: a minute of a network with 300 flows a second).
const MOST: usize = 1 << 16;
/// From so many on, flows are said to be told by two: ports are used again within seconds now and then (*assumed*). What part of all they are is asked where hosts are called quiet.
const FEW: u64 = 20;

/// Who told a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Captures or interfaces, all together.
    Packets,
    /// Exporters of flows.
    Exporters,
    /// A log, or an input of a store, by its number.
    Input(u32),
}

impl Teller {
    /// Who told a record of a log or a store: one of its inputs.
    pub fn of(record: &Record) -> Self {
        Self::Input(record.packets().first().map_or(0, |line| line.file()))
    }
}

/// What is remembered of late, by name: what is newer, and what was before that.
struct Recent<V> {
    newer: HashMap<u64, V>,
    older: HashMap<u64, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { newer: HashMap::new(), older: HashMap::new() }
    }
}

impl<V> Recent<V> {
    fn get(&self, name: u64) -> Option<&V> {
        self.newer.get(&name).or_else(|| self.older.get(&name))
    }

    fn put(&mut self, name: u64, value: V) {
        if self.newer.len() >= MOST {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(name, value);
    }
}

/// A flow that is over, as somebody told it.
struct Flow {
    ts: Timestamp,
    teller: Teller,
    called: FlowId,
    segment: Option<Segment>,
}

/// What was told of late, and by whom.
#[derive(Default)]
pub struct Twins {
    rows: Recent<Teller>,
    flows: Recent<Flow>,
    found: Doubles,
}

/// What was told twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubles {
    /// Records that were told again, and the flows among them.
    again: u64,
    left_out: Health,
    /// Flows that two told by other names.
    twice: u64,
}

/// A row's name: its flow, its time, and what it tells of that; none of a flow that nobody named.
fn row(record: &Record) -> Option<u64> {
    let head = record.head();
    if !head.flow.is_named() {
        return None;
    }
    let mut name = DefaultHasher::new();
    discriminant(record).hash(&mut name);
    (head.flow, head.ts, head.tuple, head.site, head.segment).hash(&mut name);
    match record {
        Record::Conn(c) => (discriminant(&c.phase), c.packets, c.bytes, c.last).hash(&mut name),
        Record::Dns(d) => (&d.query, d.qtype, d.id).hash(&mut name),
        Record::Http(h) => (&h.method, &h.path, h.depth).hash(&mut name),
        Record::Tls(t) => t.sni.hash(&mut name),
        Record::Smtp(s) => (&s.sender_domains, &s.recipient_domains, s.last_code).hash(&mut name),
        Record::Irc(i) => (&i.command, &i.params).hash(&mut name),
        Record::Alert(a) => (&a.signature, &a.category).hash(&mut name),
        Record::File(f) => (f.len, &f.name, f.sha256).hash(&mut name),
        Record::Dhcp(d) => d.mac.hash(&mut name),
        _ => {}
    }
    Some(name.finish())
}

impl Twins {
    /// What was found so far.
    pub const fn found(&self) -> &Doubles {
        &self.found
    }

    /// Whether another input has told this row, so that it does not count; `counts` where it is to be counted that it did.
    pub fn has(&mut self, record: &Record, teller: Teller, counts: bool) -> bool {
        if let Some(name) = row(record) {
            match self.rows.get(name) {
                Some(before) if *before != teller => {
                    self.found.again += u64::from(counts);
                    if let Record::Conn(c) = record
                        && c.phase == ConnPhase::Closed
                        && counts
                    {
                        import::count(&mut self.found.left_out, c);
                    }
                    return true;
                }
                Some(_) => {}
                None => self.rows.put(name, teller),
            }
        }
        self.tells(record, teller, counts);
        false
    }

    /// Notes a flow that is over, and whether somebody else has told it by another name; `counts` as for [`Self::has`].
    pub fn tells(&mut self, record: &Record, teller: Teller, counts: bool) {
        let Record::Conn(c) = record else { return };
        if c.phase != ConnPhase::Closed {
            return;
        }
        let head = &c.head;
        let mut name = DefaultHasher::new();
        (head.tuple, head.site).hash(&mut name);
        let name = name.finish();
        let is_its = |before: &&Flow| {
            let far = head.ts.since(before.ts).max(before.ts.since(head.ts));
            let segments = before.segment.zip(head.segment);
            before.teller != teller
                && before.called != head.flow
                && far <= APART
                && segments.is_none_or(|(a, b)| a == b)
        };
        self.found.twice += u64::from(counts && self.flows.get(name).as_ref().is_some_and(is_its));
        self.flows.put(name, Flow { ts: head.ts, teller, called: head.flow, segment: head.segment });
    }
}

impl Doubles {
    /// Adds what was found elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.again += other.again;
        self.left_out.merge(&other.left_out);
        self.twice += other.twice;
    }

    /// Takes off what was told again, and says what counts twice.
    pub fn correct(&self, health: &mut Health) {
        let again = &self.left_out;
        let less = |n: &mut u64, by: u64| *n = n.saturating_sub(by);
        less(&mut health.flows.0, again.flows.0);
        less(&mut health.flows.1, again.flows.1);
        less(&mut health.flows.2, again.flows.2);
        less(&mut health.packets, again.packets);
        less(&mut health.bytes, again.bytes);
        less(&mut health.accounts.followed, again.accounts.followed);
        less(&mut health.midstream_tcp, again.midstream_tcp);
        less(&mut health.one_sided_tcp, again.one_sided_tcp);
        less(&mut health.missed_bytes, again.missed_bytes);
        health.told_twice += self.twice;
    }

    /// What must be told of it.
    pub fn notices(&self) -> Vec<String> {
        let (tcp, udp, other) = self.left_out.flows;
        let mut told = Vec::new();
        if self.again > 0 {
            told.push(format!(
                "{} records of logs or stores ({} of them flows) are told by two of them, and count once",
                self.again,
                tcp + udp + other
            ));
        }
        if self.twice >= FEW {
            told.push(format!(
                "{} flows are told by two inputs (packets and a log, or two sensors), and COUNT TWICE: regular calls and shares are judged wrongly; read one of them alone, and of the other what only it has, as alerts",
                self.twice
            ));
        }
        told
    }
}
