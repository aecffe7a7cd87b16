use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Endpoint, Evidence, FactValue, FlowId, Grade, NearMiss, PacketId, Record, Stage,
    Timestamp, Transport, Tuple,
};
use serde::{Deserialize, Serialize};

use crate::expectations::{CALLED, OWN_WORD, own_word};
use crate::files::{Card, HostFiles, HostState, States};
use crate::network::KnownHost;
use crate::table::{SeededMap, SeededSet};
use crate::words::Word;
use crate::{About, Application, Entry, Home, Network, domains};

/// Packets and flows named in a piece of evidence.
const MAX_PROOF: usize = 32;
/// Remotes named in a piece of evidence.
const MAX_REMOTES: usize = 64;
/// Those of them whose names are told.
const MAX_NAMED: usize = 8;
/// Times remembered of one behaviour of one host.
const MAX_EVENTS: usize = 256;
/// Remotes remembered as a host's command channel.
const MAX_COMMANDERS: usize = 1024;

/// Which records a behaviour wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants(u8);

impl Wants {
    /// Flows, at their end.
    pub const CLOSED: Self = Self(1);
    /// Flows, when they are classified and while they last.
    pub const OPEN: Self = Self(1 << 1);
    /// DNS.
    pub const DNS: Self = Self(1 << 2);
    /// HTTP.
    pub const HTTP: Self = Self(1 << 3);
    /// TLS.
    pub const TLS: Self = Self(1 << 4);
    /// Everything else.
    pub const OTHER: Self = Self(1 << 5);
    /// Only what a local host opened to somewhere else.
    pub const OUTBOUND: Self = Self(1 << 6);
    /// Hosts whose stages have changed (see [`Behaviour::stirred`]).
    pub const STAGES: Self = Self(1 << 7);
    /// Nothing: it lives by the clock.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(0b11_1111);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Kinds of records, and the clock.
    pub const KINDS: usize = 8;
    /// The kind that is no record: time has passed, which everybody wants to know.
    pub const CLOCK: usize = 6;
    /// The kind that is no record either: stages of a host have changed.
    pub const STIRRED: usize = 7;

    /// Which kind a record is, below [`Self::CLOCK`].
    pub const fn kind_of(record: &Record) -> usize {
        match record {
            Record::Conn(c) if matches!(c.phase, record::ConnPhase::Closed) => 0,
            Record::Conn(_) => 1,
            Record::Dns(_) => 2,
            Record::Http(_) => 3,
            Record::Tls(_) => 4,
            _ => 5,
        }
    }

    /// Whether a kind is wanted, of a flow that a local host opened to somewhere else or of any other.
    pub const fn has(self, kind: usize, outbound: bool) -> bool {
        kind == Self::CLOCK || (self.0 >> kind & 1 != 0 && (outbound || self.0 & Self::OUTBOUND.0 == 0))
    }
}

/// A behaviour at work.
pub trait Behaviour: Send {
    /// What it says of itself.
    const ABOUT: About;
    /// What it remembers of each host.
    type State: HostState;

    /// Which records it looks at. A record that it did not ask for may be shown to it all the same.
    fn wants(&self) -> Wants {
        Wants::ALL
    }

    /// Looks at a record.
    fn observe(&self, record: &Record, states: &mut States<'_, Self::State>, context: &mut Context<'_>);
    /// Time has passed (at least a second since the last call): what was waiting may be decided now.
    fn tick(&self, states: &mut States<'_, Self::State>, context: &mut Context<'_>) {
        let _ = (states, context);
    }

    /// Stages of a host began, or began earlier than known, since time passed last.
    fn stirred(&self, host: IpAddr, states: &mut States<'_, Self::State>, context: &mut Context<'_>) {
        let _ = (host, states, context);
    }

    /// Brings what evidence counts up to what was counted by now: it fired at a step, and what it tells of may have gone on.
    fn totals(e: &mut Evidence, state: &Self::State)
    where
        Self: Sized,
    {
        let _ = (e, state);
    }

    /// What evidence of it says, in one sentence without a full stop.
    fn sentence(e: &Evidence) -> String
    where
        Self: Sized;
}

/// A behaviour at work on the files of hosts, whatever it remembers of them.
pub trait AtWork: Send {
    /// See [`Behaviour::wants`].
    fn wants(&self) -> Wants;
    /// See [`Behaviour::observe`].
    fn observe(&self, record: &Record, files: &mut HostFiles, context: &mut Context<'_>);
    /// See [`Behaviour::tick`].
    fn tick(&self, files: &mut HostFiles, context: &mut Context<'_>);
    /// See [`Behaviour::stirred`].
    fn stirred(&self, host: IpAddr, files: &mut HostFiles, context: &mut Context<'_>);
    /// See [`Behaviour::totals`]; `index` is its place in the catalogue.
    fn totals(&self, e: &mut Evidence, files: &HostFiles, index: u8);
}

impl<D: Behaviour> AtWork for D {
    fn wants(&self) -> Wants {
        Behaviour::wants(self)
    }

    fn observe(&self, record: &Record, files: &mut HostFiles, context: &mut Context<'_>) {
        let mut states = files.states(context.index);
        Behaviour::observe(self, record, &mut states, context);
        context.settle(files);
    }

    fn tick(&self, files: &mut HostFiles, context: &mut Context<'_>) {
        let mut states = files.states(context.index);
        Behaviour::tick(self, &mut states, context);
        context.settle(files);
    }

    fn stirred(&self, host: IpAddr, files: &mut HostFiles, context: &mut Context<'_>) {
        let mut states = files.states(context.index);
        Behaviour::stirred(self, host, &mut states, context);
        context.settle(files);
    }

    fn totals(&self, e: &mut Evidence, files: &HostFiles, index: u8) {
        if let Some(state) = files.get::<D::State>(index, e.host) {
            D::totals(e, state);
        }
    }
}

/// What fired, before it is written down as evidence.
#[derive(Debug)]
pub struct Fire {
    /// The host.
    pub host: IpAddr,
    /// Same key, same item: the stronger counts.
    pub key: Cow<'static, str>,
    /// The grades reached; the first is the base.
    pub grades: Vec<(&'static str, u32)>,
    /// First packet of it.
    pub started: Timestamp,
    /// The value compared.
    pub value: f64,
    /// With what.
    pub threshold: f64,
    /// In what unit.
    pub unit: &'static str,
    /// Where the threshold comes from.
    pub source: &'static str,
    /// Packets that prove it.
    pub packets: Vec<PacketId>,
    /// Flows that prove it.
    pub flows: Vec<FlowId>,
    /// Remotes it is about.
    pub remotes: Vec<IpAddr>,
    /// Further values.
    pub facts: Vec<(&'static str, FactValue)>,
}

/// Stages that began longer ago are of another story (DETECTION §4.12).
const STAGE_MEMORY: Duration = Duration::from_hours(24);

/// Remotes of a stage's beginning that are kept.
const MAX_BEGAN: usize = 4;

/// How a stage began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Began {
    /// The stage.
    pub stage: Stage,
    /// When the first of its packets came.
    pub ts: Timestamp,
    /// Stages that came before by the definition of what fired.
    pub follows: Cow<'static, [Stage]>,
    /// Whom it was about, the first few.
    pub remotes: Vec<IpAddr>,
    flows: Vec<FlowId>,
    /// The method of all requests that it rests on, if it does on requests of one.
    asked_by: String,
}

crate::held!(Began: remotes, flows, asked_by);

impl Began {
    /// Whether both were seen in the same packet or flow: then they happened once, unless each rests on requests of a method of its own.
    pub fn is_one_with(&self, other: &Self) -> bool {
        let flow = || self.flows.iter().any(|f| other.flows.contains(f));
        self.ts == other.ts || (flow() && !are_asked_apart(&self.asked_by, &other.asked_by))
    }
}

/// What evidence is called that says by which method all requests were made that it rests on.
pub const ASKED_BY: &str = "asked_by";

/// Requests of two methods are different ones.
fn are_asked_apart(one: &str, other: &str) -> bool {
    !one.is_empty() && !other.is_empty() && one != other
}

/// Whether two pieces of evidence rest on different requests, be it of the same connection.
pub fn are_other_requests(one: &Evidence, other: &Evidence) -> bool {
    are_asked_apart(one.text(ASKED_BY), other.text(ASKED_BY))
}

/// What has fired so far for one host, for behaviours that build on others.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Fired {
    /// Times of each behaviour: first packet and completion.
    #[serde(with = "crate::words")]
    events: BTreeMap<Word, VecDeque<(Timestamp, Timestamp)>>,
    /// First time of each stage in a day, and those that were ever seen.
    stages: BTreeMap<Stage, Began>,
    /// The same of evidence that tells by itself.
    telling: BTreeMap<Stage, Began>,
    ever: BTreeSet<Stage>,
    commanders: SeededSet<IpAddr>,
    /// Remotes of what tells of control: since when, and when it was last told.
    controllers: SeededMap<IpAddr, (Timestamp, Timestamp)>,
    /// Remotes that brought a program, and when they did so last.
    bringers: SeededMap<IpAddr, Timestamp>,
}

crate::held!(Fired: events, stages, telling, ever, commanders, controllers, bringers);

impl Fired {
    /// The name under which [`Self::events`] keeps what tells of control, whichever behaviour saw it.
    pub const CONTROL: &str = "control";

    /// The times at which `behaviour` fired: first packet and completion, oldest first.
    pub fn events(&self, behaviour: &str) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        self.events.get(behaviour).into_iter().flatten().copied()
    }

    /// Whether `behaviour` fired within `span` of `ts`, before or after.
    pub fn near(&self, behaviour: &str, ts: Timestamp, span: Duration) -> bool {
        self.events(behaviour).any(|(start, end)| start.minus(span) <= ts && ts <= end.plus(span))
    }

    /// Stages that ever fired.
    pub fn ever(&self) -> impl Iterator<Item = Stage> + '_ {
        self.ever.iter().copied()
    }

    /// What evidence is assumed to bring at least that tells by itself, in decibans (DETECTION §2).
    pub const TELLING_DB: f64 = 9.0;

    /// When each stage first fired within the day before `now`, by time, without those that were seen in the packets or flows of an earlier one.
    pub fn story(&self, now: Timestamp) -> Vec<&Began> {
        Self::in_order(&self.stages, now)
    }

    /// The same of evidence that tells by itself, and that nothing excuses.
    pub fn telling(&self, now: Timestamp) -> Vec<&Began> {
        Self::in_order(&self.telling, now)
    }

    fn in_order(stages: &BTreeMap<Stage, Began>, now: Timestamp) -> Vec<&Began> {
        let mut all: Vec<&Began> =
            stages.values().filter(|began| now.since(began.ts) <= STAGE_MEMORY).collect();
        all.sort_by_key(|b| b.ts);
        let mut kept: Vec<&Began> = Vec::new();
        for began in all {
            if !kept.iter().any(|k| k.is_one_with(began)) {
                kept.push(began);
            }
        }
        kept
    }

    /// Whether `remote` is part of what fired as the host's command channel or update.
    pub fn commands(&self, remote: IpAddr) -> bool {
        self.commanders.contains(&remote)
    }

    /// Whether `remote` was part of what tells of control (see [`Self::CONTROL`]) within `span` before `ts`.
    pub fn controls(&self, remote: IpAddr, ts: Timestamp, span: Duration) -> bool {
        let told = self.controllers.get(&remote);
        told.is_some_and(|(since, last)| *since <= ts && ts.since(*last) <= span)
    }

    /// Whether `remote` brought a program within `span` before `ts`.
    pub fn brought(&self, remote: IpAddr, ts: Timestamp, span: Duration) -> bool {
        self.bringers.get(&remote).is_some_and(|last| *last <= ts && ts.since(*last) <= span)
    }

    /// Notes what fired, with remotes as packets or proxies have them. Gives whether a stage was first seen, seen earlier than known, or tells by itself since.
    fn note(&mut self, entry: &Entry, evidence: &Evidence, brings: f64, remotes: &[IpAddr]) -> bool {
        let (about, stage) = (&entry.about, entry.about.stage);
        let weak = evidence.grades.first().is_none_or(|g| about.grade(&g.name).is_some_and(|g| g.weak));
        let control = about.control && !weak;
        // Who brings a program by a tool that says who it is has not told anything; that the program then speaks with him would.
        if about.brings && self.bringers.len() < MAX_COMMANDERS {
            self.bringers.extend(remotes.iter().map(|remote| (*remote, evidence.started)));
        }
        // What is weak is told and bet on; nothing is built on it.
        if weak {
            return false;
        }
        for kept in std::iter::once(entry.name).chain(control.then_some(Self::CONTROL)) {
            let events = self.events.entry(kept).or_default();
            if events.back().is_none_or(|last| *last != (evidence.started, evidence.ts)) {
                events.push_back((evidence.started, evidence.ts));
            }
            if events.len() > MAX_EVENTS {
                events.pop_front();
            }
        }
        if control && self.controllers.len() < MAX_COMMANDERS {
            for remote in remotes {
                let told = self.controllers.entry(*remote).or_insert((evidence.started, evidence.ts));
                *told = (evidence.started.min(told.0), evidence.ts.max(told.1));
            }
        }
        if about.commands && self.commanders.len() < MAX_COMMANDERS {
            self.commanders.extend(remotes);
        }
        if !Stage::STORY.contains(&stage) {
            return false;
        }
        self.ever.insert(stage);
        let tells = brings >= Self::TELLING_DB && !about.is_excused(evidence);
        let mut changed = false;
        for (stages, learns) in [(&mut self.stages, true), (&mut self.telling, tells)] {
            stages.retain(|_, began| evidence.started.since(began.ts) <= STAGE_MEMORY);
            if !learns {
                continue;
            }
            if stages.get(&stage).is_none_or(|began| began.ts > evidence.started) {
                let (ts, follows) = (evidence.started, Cow::Borrowed(about.follows));
                let remotes = remotes.iter().take(MAX_BEGAN).copied().collect();
                let (flows, asked_by) = (evidence.flows.clone(), evidence.text(ASKED_BY).to_owned());
                stages.insert(stage, Began { stage, ts, follows, remotes, flows, asked_by });
                changed = true;
            }
        }
        changed
    }
}

/// How near a host came to each behaviour that did not fire.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct NearMisses(Vec<(u8, NearMiss)>);

crate::held!(NearMiss: behaviour, unit);
crate::held!(NearMisses: 0);

impl NearMisses {
    /// The nearest by the same measure is kept; another measure means that another condition is the one that fails now.
    fn learn(&mut self, behaviour: u8, made: NearMiss) {
        let closeness = |n: &NearMiss| n.value / n.threshold.max(f64::MIN_POSITIVE);
        match self.0.binary_search_by_key(&behaviour, |known| known.0) {
            Err(at) => self.0.insert(at, (behaviour, made)),
            Ok(at) => {
                let known = &mut self.0[at].1;
                if made.unit != known.unit || closeness(&made) > closeness(known) {
                    *known = made;
                }
            }
        }
    }

    /// All, by the places of their behaviours in the catalogue.
    pub fn iter(&self) -> impl Iterator<Item = &NearMiss> {
        self.0.iter().map(|(_, near)| near)
    }
}

/// What a detector has to tell, until it gives the hosts' files back: then it becomes evidence.
#[derive(Debug, Default)]
pub struct Raised {
    fires: Vec<Fire>,
    near: Vec<(IpAddr, NearMiss)>,
}

/// What a detector sees while it looks: the time, what is known, and where to put what it finds.
pub struct Context<'a> {
    /// Packet time.
    pub now: Timestamp,
    /// What is known of hosts, names and applications.
    pub network: &'a Network,
    /// What fired or came near since the detector began to look.
    pub raised: &'a mut Raised,
    /// What fired.
    pub evidence: &'a mut Vec<Evidence>,
    /// Hosts of which a stage was first seen, or seen earlier than known.
    pub stirred: &'a mut BTreeSet<IpAddr>,
    /// The local host of the record's flow, if it opened it to somewhere else (see [`outbound`]).
    pub outbound: Option<IpAddr>,
    /// The behaviour at work: its place in the catalogue.
    pub index: u8,
    /// What is known of it.
    pub entry: &'a Entry,
    /// What evidence brings as it is bet on, in decibans.
    pub payoff: fn(&Evidence) -> f64,
}

impl Context<'_> {
    /// Tells what fired.
    pub fn fire(&mut self, fire: Fire) {
        self.raised.fires.push(fire);
    }

    /// Writes down what the detector at work has told, in the files of its hosts and as evidence.
    #[inline]
    pub fn settle(&mut self, files: &mut HostFiles) {
        // Nearly always it has told nothing.
        if !self.raised.fires.is_empty() || !self.raised.near.is_empty() {
            self.write_all_down(files);
        }
    }

    #[cold]
    fn write_all_down(&mut self, files: &mut HostFiles) {
        for (host, near) in self.raised.near.drain(..) {
            files.card_mut(host, self.now).near.learn(self.index, near);
        }
        for fire in std::mem::take(&mut self.raised.fires) {
            self.write_down(fire, files);
        }
    }

    fn write_down(&mut self, mut fire: Fire, files: &mut HostFiles) {
        let card = files.card_mut(fire.host, self.now);
        fire.packets.sort_unstable();
        fire.packets.dedup();
        fire.packets.truncate(MAX_PROOF);
        fire.flows.truncate(MAX_PROOF);
        fire.remotes.truncate(MAX_REMOTES);
        let mut evidence = Evidence {
            host: fire.host,
            stage: self.entry.about.stage,
            behaviour: Cow::Borrowed(self.entry.name),
            key: fire.key,
            grades: fire
                .grades
                .into_iter()
                .map(|(name, times)| Grade { name: Cow::Borrowed(name), times })
                .collect(),
            started: fire.started,
            ts: self.now.max(fire.started),
            value: fire.value,
            threshold: fire.threshold,
            unit: Cow::Borrowed(fire.unit),
            source: Cow::Borrowed(fire.source),
            packets: fire.packets,
            flows: fire.flows,
            community_ids: Vec::new(),
            remotes: fire.remotes,
            facts: fire.facts.into_iter().map(|(k, v)| (Cow::Borrowed(k), v)).collect(),
            expected: None,
        };
        self.tell_claims(&mut evidence, &card.known);
        let called = card.known.called(evidence.ts);
        if !called.names.is_empty() {
            evidence.facts.insert(Cow::Borrowed(CALLED), called.names.clone().into());
        }
        let named = |ip: &&IpAddr| !Endpoint::is_stand_in(**ip);
        let named = evidence.remotes.iter().filter(named).filter_map(|ip| {
            let network = &self.network;
            let own = network.name_for(evidence.host, *ip, self.now);
            Some(format!("{ip} {}", own.or_else(|| network.name_of(*ip, self.now))?))
        });
        let named: Vec<String> = named.take(MAX_NAMED).collect();
        if !named.is_empty() {
            evidence.facts.insert(Cow::Borrowed(Evidence::REMOTE_NAMES), named.into());
        }
        // What is told is what an expectation is compared with, now and whenever the story is judged again.
        let remotes = evidence.remotes.clone();
        self.name_stand_ins(&mut evidence);
        evidence.expected = self.network.expected(&evidence, &called);
        // What is expected leads to nothing.
        if evidence.expected.is_none()
            && card.fired.note(self.entry, &evidence, (self.payoff)(&evidence), &remotes)
        {
            self.stirred.insert(evidence.host);
        }
        self.evidence.push(evidence);
    }

    /// Where the name that would have excused a remote is only the host's own word, that is told, with what DNS says.
    fn tell_claims(&self, evidence: &mut Evidence, known: &KnownHost) {
        let vouches = |ip, name: &str| self.network.vouches(evidence.host, Some(known), ip, name, self.now);
        let mut own = own_word(evidence, vouches);
        // Of whom a proxy was asked for the name will be told.
        for ip in evidence.remotes.iter().filter(|ip| Endpoint::is_stand_in(**ip)) {
            if let Some(name) = self.network.name_of(*ip, self.now)
                && !vouches(*ip, name)
                && !own.iter().any(|o| o == name)
            {
                own.push(name.to_owned());
            }
        }
        if !own.is_empty() {
            evidence.facts.insert(Cow::Borrowed(OWN_WORD), own.into());
        }
        let named = ["host", "name"].iter().find_map(|key| match evidence.facts.get(*key) {
            Some(FactValue::Text(name)) => Some(name.clone()),
            _ => None,
        });
        let listed = |n: &String| domains::is_software_update(n) || domains::is_connectivity_check(n);
        let (Some(name), Some(remote)) = (named.filter(listed), evidence.remotes.first()) else { return };
        if self.network.vouches(evidence.host, Some(known), *remote, &name, self.now) {
            return;
        }
        let dns = self.network.names_of(*remote, self.now).last().copied().unwrap_or_default().to_owned();
        evidence.facts.insert(Cow::Borrowed("claims"), name.into());
        evidence.facts.insert(Cow::Borrowed("dns_says"), dns.into());
    }

    /// Remotes that a proxy looked up are told by name: their addresses only stand for it.
    fn name_stand_ins(&self, evidence: &mut Evidence) {
        if !evidence.remotes.iter().any(|ip| Endpoint::is_stand_in(*ip)) {
            return;
        }
        let (stand_ins, remotes) = evidence.remotes.iter().partition(|ip| Endpoint::is_stand_in(**ip));
        evidence.remotes = remotes;
        let stand_ins: Vec<IpAddr> = stand_ins;
        for ip in stand_ins {
            let name = self.network.name_of(ip, self.now).unwrap_or("a name behind a proxy").to_owned();
            let shown = ip.to_string();
            for value in evidence.facts.values_mut() {
                match value {
                    FactValue::Text(text) => *text = text.replace(&shown, &name),
                    FactValue::List(all) => all.iter_mut().for_each(|t| *t = t.replace(&shown, &name)),
                    _ => {}
                }
            }
            if evidence.key.contains(&ip.to_string()) {
                evidence.key = Cow::Owned(evidence.key.replace(&ip.to_string(), &name));
            }
            let through =
                evidence.facts.entry(Cow::Borrowed("through_a_proxy")).or_insert_with(|| name.clone().into());
            if let FactValue::Text(names) = through
                && !names.split(", ").any(|n| n == name)
                && names.len() < 256
            {
                names.push_str(", ");
                names.push_str(&name);
            }
        }
    }

    /// Notes how near it came: the nearest by the same measure is kept; another measure means that another condition is
    /// the one that fails now.
    pub fn near(&mut self, host: IpAddr, value: f64, threshold: f64, unit: &'static str) {
        let made = NearMiss {
            stage: self.entry.about.stage,
            behaviour: Cow::Borrowed(self.entry.name),
            value,
            threshold,
            unit: Cow::Borrowed(unit),
            ts: self.now,
        };
        self.raised.near.push((host, made));
    }

    /// Whether a remote is used by at least 5 % of the local hosts, and by 3 of at least 20 (DETECTION §4.6): too few hosts
    /// have no customs.
    pub fn prevalent(&self, remote: IpAddr) -> bool {
        let (users, hosts) = self.network.prevalence(remote);
        hosts >= 20 && users >= 3 && users * 20 >= hosts
    }

    /// Whether anybody but a host itself says that `remote` is called `name` (see [`Network::vouches`]).
    pub fn vouches(&self, card: Option<&Card>, host: IpAddr, remote: IpAddr, name: &str) -> bool {
        self.network.vouches(host, card.map(|card| &card.known), remote, name, self.now)
    }

    /// Whether a host was seen with an application within the hour (DETECTION §4.5).
    pub fn runs(&self, card: &Card, application: Application) -> bool {
        let used = card.known.last_used(application);
        used.is_some_and(|t| self.now.since(t) <= Duration::from_hours(1))
    }

    /// A TCP connection that a local host opened and that is over: by whom, and whether it failed, where that can be told.
    pub fn attempt<'r>(&self, record: &'r Record) -> Option<(IpAddr, &'r Conn, bool)> {
        let Record::Conn(c) = record else { return None };
        let host = c.head.tuple.orig.ip;
        let over = c.phase == ConnPhase::Closed && c.head.tuple.transport == Transport::Tcp;
        (over && self.network.home().contains(host)).then_some((host, c, c.failed()?))
    }

    /// The local host of the record's flow, if it opened it to somewhere else.
    pub const fn outbound(&self) -> Option<IpAddr> {
        self.outbound
    }
}

/// The local host of a flow that it opened to somewhere else.
pub fn outbound(home: &Home, tuple: &Tuple) -> Option<IpAddr> {
    (home.contains(tuple.orig.ip) && home.is_external(tuple.resp.ip)).then_some(tuple.orig.ip)
}
