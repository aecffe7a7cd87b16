use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::{Digest, Sha1};

use crate::{FlowId, PacketId, Timestamp};

/// A part of a bot's story. The first five stand in the order in which a bot lives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Connectivity test and front pages.
    Probe,
    /// Names and peers are looked for.
    Rendezvous,
    /// A command-and-control channel.
    Command,
    /// A program or module comes in.
    Update,
    /// Spam, scan, flood: what the bot is for.
    Act,
    /// Update and act take turns.
    Cycle,
    /// The stages came in the order of the story.
    Order,
}

impl Stage {
    /// Every stage, in the order of the story.
    pub const ALL: [Self; 7] =
        [Self::Probe, Self::Rendezvous, Self::Command, Self::Update, Self::Act, Self::Cycle, Self::Order];

    /// The stages that a bot lives one after another; `Cycle` and `Order` are about how these lie in time.
    pub const STORY: [Self; 5] = [Self::Probe, Self::Rendezvous, Self::Command, Self::Update, Self::Act];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Rendezvous => "rendezvous",
            Self::Command => "command",
            Self::Update => "update",
            Self::Act => "act",
            Self::Cycle => "cycle",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that a behaviour found, by the name under which its payoff is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// The grade's name within its behaviour.
    pub name: Cow<'static, str>,
    /// How many times it counts (1 for most).
    pub times: u32,
}

/// A value that belongs to a piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, remote = "Self")]
pub enum FactValue {
    /// A yes or no.
    Flag(bool),
    /// A count.
    Count(u64),
    /// A measured number.
    Number(f64),
    /// Text from the wire; hostile.
    Text(String),
    /// Several texts from the wire; hostile.
    List(Vec<String>),
}

/// The same with its kind beside it, for formats that nobody reads.
#[derive(Serialize, Deserialize)]
enum Tagged<'a> {
    Flag(bool),
    Count(u64),
    Number(f64),
    Text(Cow<'a, str>),
    List(Cow<'a, [String]>),
}

impl Serialize for FactValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        match self {
            Self::Flag(flag) => Tagged::Flag(*flag),
            Self::Count(n) => Tagged::Count(*n),
            Self::Number(x) => Tagged::Number(*x),
            Self::Text(text) => Tagged::Text(Cow::Borrowed(text)),
            Self::List(all) => Tagged::List(Cow::Borrowed(all)),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FactValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        Ok(match Tagged::deserialize(deserializer)? {
            Tagged::Flag(flag) => Self::Flag(flag),
            Tagged::Count(n) => Self::Count(n),
            Tagged::Number(x) => Self::Number(x),
            Tagged::Text(text) => Self::Text(text.into_owned()),
            Tagged::List(all) => Self::List(all.into_owned()),
        })
    }
}

impl From<u64> for FactValue {
    fn from(v: u64) -> Self {
        Self::Count(v)
    }
}
impl From<usize> for FactValue {
    fn from(v: usize) -> Self {
        Self::Count(v as u64)
    }
}
impl From<f64> for FactValue {
    fn from(v: f64) -> Self {
        Self::Number(v)
    }
}
impl From<bool> for FactValue {
    fn from(v: bool) -> Self {
        Self::Flag(v)
    }
}
impl From<String> for FactValue {
    fn from(v: String) -> Self {
        Self::Text(v)
    }
}
impl From<&str> for FactValue {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}
impl From<Vec<String>> for FactValue {
    fn from(v: Vec<String>) -> Self {
        Self::List(v)
    }
}

/// What a behaviour saw a host do: numbers and packets, never prose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Evidence {
    /// The host that did it.
    pub host: IpAddr,
    /// The stage of the story it belongs to.
    pub stage: Stage,
    /// The behaviour that saw it.
    pub behaviour: Cow<'static, str>,
    /// Two items of one behaviour with the same key are the same item, grown: the stronger one counts.
    pub key: Cow<'static, str>,
    /// What was found, by the names under which payoffs are kept; the first is the base, others add to it.
    pub grades: Vec<Grade>,
    /// When the first of its packets came.
    pub started: Timestamp,
    /// When the evidence was complete.
    pub ts: Timestamp,
    /// The value that was compared.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// What both are counted in.
    pub unit: Cow<'static, str>,
    /// Where the threshold comes from.
    pub source: Cow<'static, str>,
    /// The packets that prove it, at most 32, in time order.
    pub packets: Vec<PacketId>,
    /// The flows that prove it, at most 32.
    pub flows: Vec<FlowId>,
    /// Their Community IDs, to join with other tools' records; distinct, in the order of `flows`.
    #[serde(default)]
    pub community_ids: Vec<String>,
    /// The remotes that it is about, at most 64.
    pub remotes: Vec<IpAddr>,
    /// Further values for a reader.
    pub facts: BTreeMap<Cow<'static, str>, FactValue>,
    /// The expectation that it fulfils; then it counts for nothing, and is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

/// Without fields that may be absent where nobody reads it: such formats know places, not names.
impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        let e = self;
        let what = (e.host, e.stage, &e.behaviour, &e.key, &e.grades, e.started, e.ts, e.value);
        let of = (e.threshold, &e.unit, &e.source, &e.packets, &e.flows, &e.community_ids, &e.remotes);
        (what, of, &e.facts, &e.expected).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        let (what, of, facts, expected) = Deserialize::deserialize(deserializer)?;
        let (host, stage, behaviour, key, grades, started, ts, value) = what;
        let (threshold, unit, source, packets, flows, community_ids, remotes) = of;
        Ok(Self {
            host,
            stage,
            behaviour,
            key,
            grades,
            started,
            ts,
            value,
            threshold,
            unit,
            source,
            packets,
            flows,
            community_ids,
            remotes,
            facts,
            expected,
        })
    }
}

impl Evidence {
    /// A name for the item, the same on every run over the same traffic: 10 hexadecimal digits from host, behaviour and key. What
    /// grows keeps its name.
    pub fn id(&self) -> String {
        let mut hash = Sha1::new();
        for part in [self.host.to_string().as_str(), self.behaviour.as_ref(), self.key.as_ref()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        crate::hex(&hash.finalize()[..5])
    }

    /// The fact that holds what DNS called its remotes at the time: `ADDRESS NAME` of each.
    pub const REMOTE_NAMES: &'static str = "remote_names";

    /// What DNS called a remote of it at the time.
    pub fn name_of(&self, remote: IpAddr) -> Option<&str> {
        let named = self.list(Self::REMOTE_NAMES).iter().filter_map(|line| line.split_once(' '));
        named.filter(|(ip, _)| ip.parse() == Ok(remote)).map(|(_, name)| name).next()
    }

    /// Brings a count up to a total, if it has such a fact.
    pub fn count_up(&mut self, fact: &str, total: u64) {
        if let Some(value) = self.facts.get_mut(fact)
            && let FactValue::Count(n) = value
        {
            *n = total.max(*n);
        }
    }

    /// Whether it reached a grade.
    pub fn has(&self, grade: &str) -> bool {
        self.grades.iter().any(|g| g.name == grade)
    }

    /// A fact that is text; empty where it is none.
    pub fn text(&self, fact: &str) -> &str {
        match self.facts.get(fact) {
            Some(FactValue::Text(text)) => text,
            _ => "",
        }
    }

    /// A fact that is several texts; empty where it is none.
    pub fn list(&self, fact: &str) -> &[String] {
        match self.facts.get(fact) {
            Some(FactValue::List(all)) => all,
            _ => &[],
        }
    }

    /// A fact that is a count; 0 where it is none.
    pub fn count(&self, fact: &str) -> u64 {
        match self.facts.get(fact) {
            Some(FactValue::Count(n)) => *n,
            _ => 0,
        }
    }

    /// A fact that is a number; 0 where it is none.
    pub fn number(&self, fact: &str) -> f64 {
        match self.facts.get(fact) {
            Some(FactValue::Number(n)) => *n,
            Some(FactValue::Count(n)) => *n as f64,
            _ => 0.0,
        }
    }

    /// Whether a fact is there and holds.
    pub fn flag(&self, fact: &str) -> bool {
        self.facts.get(fact) == Some(&FactValue::Flag(true))
    }

    /// The first remote that it is about: its address, or the name by which a proxy was asked for it.
    pub fn remote(&self) -> String {
        self.remotes.first().map_or_else(|| self.text("through_a_proxy").to_owned(), ToString::to_string)
    }
}

/// How near a behaviour came to firing without doing so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearMiss {
    /// The stage that stayed silent.
    pub stage: Stage,
    /// The behaviour.
    pub behaviour: Cow<'static, str>,
    /// The best value seen.
    pub value: f64,
    /// What it would have needed.
    pub threshold: f64,
    /// What both are counted in.
    pub unit: Cow<'static, str>,
    /// When.
    pub ts: Timestamp,
}
