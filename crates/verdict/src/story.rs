use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use behaviour::{CATALOGUE, Called, Expectation, Expectations, Traffic};
use record::{Evidence, HostId, NearMiss, Segment, Stage, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RoleSeen;
use crate::alternative::{Alternative, alternatives};
use crate::identity::{ChangedHands, SameHost};
use crate::ledger::{Ledger, Snapshot, Terms};
use crate::prior::Prior;
use crate::profile::Profile;

/// The verdict in words, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The capture cannot support the word "quiet".
    Inconclusive,
    /// Nothing that speaks for a bot, in a capture that would have shown it.
    Quiet,
    /// Odds of 1:100 (10 dB under the default prior), or one stage at its cap.
    Suspicious,
    /// Even odds (30 dB) and two stages, one of rendezvous, command and update (or an act that tells by itself) at 9 dB or more.
    Likely,
    /// Odds of 10:1 (40 dB) and two telling stages, one of them as for `Likely`; or two exact generated names.
    Infected,
}

impl Verdict {
    /// Every verdict, weakest first.
    pub const ALL: [Self; 5] =
        [Self::Inconclusive, Self::Quiet, Self::Suspicious, Self::Likely, Self::Infected];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inconclusive => "inconclusive",
            Self::Quiet => "quiet",
            Self::Suspicious => "suspicious",
            Self::Likely => "likely",
            Self::Infected => "infected",
        }
    }
}

impl Verdict {
    /// The least that is believed of a host that is called so, in decibans: odds of 1:100, 1:1 and 10:1 (DETECTION §1). None for what is no accusation.
    pub const fn belief_db(self) -> Option<f64> {
        match self {
            Self::Suspicious => Some(-20.0),
            Self::Likely => Some(0.0),
            Self::Infected => Some(10.0),
            Self::Inconclusive | Self::Quiet => None,
        }
    }

    /// The least level of it under a prior, in decibans.
    pub fn level_db(self, prior_db: f64) -> Option<f64> {
        self.belief_db().map(|belief| belief - prior_db)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why an item counts for less than its payoff.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Discount {
    /// The reason.
    pub because: String,
    /// The factor in 0–1 that the decibans were multiplied by.
    pub factor: f64,
    /// The item that the same flows are bet on by, as behaviour/key: without that one this is no reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_with: Option<String>,
}

/// As [`Evidence`]: all of it where nobody reads it.
impl Serialize for Discount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        (&self.because, self.factor, &self.shared_with).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Discount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        let (because, factor, shared_with) = Deserialize::deserialize(deserializer)?;
        Ok(Self { because, factor, shared_with })
    }
}

/// One item of a stage's bet: the strongest evidence of one key of one behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Item {
    /// The behaviour.
    pub behaviour: String,
    /// The key.
    pub key: String,
    /// Grade by grade, decibans.
    pub parts: Vec<(String, f64)>,
    /// The payoff alone, in decibans.
    pub payoff_db: f64,
    /// How often a clean host may do it in a day.
    pub p0: f64,
    /// Where that comes from.
    pub p0_source: String,
    /// What makes it less.
    pub discounts: Vec<Discount>,
    /// The payoff with its discounts, in decibans.
    pub db: f64,
    /// Whether the host did as much on an earlier day within a week: then no bet is placed on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub habit: bool,
    /// What it adds to the stage's `e`.
    pub gain: f64,
    /// When.
    pub ts: Timestamp,
}

/// As [`Evidence`]: all of it where nobody reads it.
impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        let i = self;
        let what = (&i.behaviour, &i.key, &i.parts, i.payoff_db, i.p0, &i.p0_source);
        (what, &i.discounts, i.db, i.habit, i.gain, i.ts).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        let (what, discounts, db, habit, gain, ts) = Deserialize::deserialize(deserializer)?;
        let (behaviour, key, parts, payoff_db, p0, p0_source) = what;
        Ok(Self { behaviour, key, parts, payoff_db, p0, p0_source, discounts, db, habit, gain, ts })
    }
}

impl Item {
    /// What it is called by: behaviour/key.
    pub fn name(&self) -> String {
        format!("{}/{}", self.behaviour, self.key)
    }
}

/// A stage's bet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageScore {
    /// What it brings the level, in decibans: the rounded `raw_db`, capped.
    pub db: f64,
    /// 10·log10(0.8 + Σ gains); 0 where all items are habits, and where there is none because nothing of the stage could have been seen.
    pub raw_db: f64,
    /// The cap.
    pub cap_db: f64,
    /// The items.
    pub items: Vec<Item>,
}

impl StageScore {
    /// Whether no bet was placed, because in what was told of the host that day nothing of it could have been seen.
    pub fn is_unplaced(&self) -> bool {
        self.items.is_empty() && self.raw_db == 0.0
    }
}

/// Evidence with its worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredEvidence {
    /// What was seen.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What it alone would bring its stage, in decibans, discounts counted.
    pub db: f64,
}

/// Something worth telling that is not "bot".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// `spam source`, `Kraken (Oderoor/Bobax, 2008)`, …
    pub kind: String,
    /// Since when.
    pub since: Timestamp,
    /// The behaviour that shows it.
    pub behaviour: String,
}

/// What must be said about a host beside its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "note")]
pub enum Note {
    /// Its connectivity test failed: no spam is to be expected of it.
    PortBlocked {
        /// What it tried to reach.
        target: String,
    },
    /// The verdict stood before the first message.
    BeforeFirstMessage {
        /// When it was likely.
        likely_at: Timestamp,
        /// When message text first flowed.
        first_message_at: Timestamp,
    },
    /// A verdict stands no more: nothing that it rested on was seen for a week in which the host was.
    Ended {
        /// The verdict.
        verdict: Verdict,
        /// Until when it stood.
        until: Timestamp,
    },
    /// It would have been more, until it was clear what the host is for.
    Excused {
        /// The verdict that stood before.
        verdict: Verdict,
        /// At which level.
        level_db: f64,
        /// What it is for.
        roles: Vec<String>,
    },
    /// The first message came before the verdict.
    AfterFirstMessage {
        /// When it was likely.
        likely_at: Timestamp,
        /// When message text first flowed.
        first_message_at: Timestamp,
    },
}

/// How the verdict would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WouldChange {
    /// Without this item …
    pub without: String,
    /// … the level would be this many decibans …
    pub level_db: f64,
    /// … and the verdict this.
    pub verdict: Verdict,
}

/// How a host is called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// Ethernet addresses.
    pub macs: Vec<String>,
    /// Names it gave itself.
    pub host_names: Vec<String>,
}

/// Where a host stood on a day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayLevel {
    /// When the day began, UTC.
    pub day: Timestamp,
    /// The verdict that stood: that of an earlier day too, while what it rests on is seen again.
    pub verdict: Verdict,
    /// The highest level of the day, in decibans: what was bet on that day, and what was carried.
    pub level_db: f64,
    /// How often something was told of it.
    pub evidence: u32,
}

/// Where an address is, by the user's own databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The country's two letters (ISO 3166-1).
    pub country: Option<String>,
    /// The number of the autonomous system that announces it.
    pub asn: Option<u32>,
    /// Who runs that.
    pub organisation: Option<String>,
}

/// Everything that is said of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostStory {
    /// Its address.
    pub host: IpAddr,
    /// The segment of the network that it is in, where segments are apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// How it is called.
    pub names: Names,
    /// Other addresses of what is probably the same host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_as: Vec<SameHost>,
    /// Of the addresses that are surely one machine's all but the strongest name that one, by its [`id`](Self::id): the machine is what
    /// that one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<HostId>,
    /// When the address went from one host to another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_hands: Vec<ChangedHands>,
    /// Since when the address is this machine's, where it was another's before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when it was, where it is another's now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// First and last packet of its flows.
    pub first: Option<Timestamp>,
    /// See `first`.
    pub last: Option<Timestamp>,
    /// Flows it had a part in.
    pub flows: u64,
    /// Days, counted from its first packet, on which it said something.
    pub days: u32,
    /// Days on which it showed each kind of traffic: what behaviours could have seen.
    #[serde(default)]
    pub exposed: BTreeMap<Traffic, u32>,
    /// The verdict in words.
    pub verdict: Verdict,
    /// The level in decibans: the highest reached while it stands, and the sum of the stages and what was carried.
    pub level_db: f64,
    /// When that was reached.
    pub level_at: Option<Timestamp>,
    /// Carried over from earlier days, in decibans.
    pub carried_db: f64,
    /// Level plus prior, in decibans: what to believe of it.
    pub posterior_db: f64,
    /// When each verdict was first reached.
    pub reached: BTreeMap<Verdict, Timestamp>,
    /// The days of the calendar (UTC) on which something was seen of it that counts, with where it stood: the last [`crate::CALENDAR_DAYS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendar: Vec<DayLevel>,
    /// The days (UTC) on which flows of it began, as spans: the first and the last day of each; the last 64 spans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<[Timestamp; 2]>,
    /// The bets.
    pub stages: BTreeMap<Stage, StageScore>,
    /// What was seen, in time order.
    pub evidence: Vec<ScoredEvidence>,
    /// Evidence beyond the number that is kept.
    pub evidence_dropped: u64,
    /// What was seen and is expected: it counts for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<Evidence>,
    /// Where it would stand without the user's lists of indicators, if they count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_lists: Option<WouldChange>,
    /// Other findings.
    pub findings: Vec<Finding>,
    /// Roles.
    pub roles: Vec<RoleSeen>,
    /// What it is and does, whether or not any of it speaks against it.
    #[serde(default, skip_serializing_if = "Profile::is_empty")]
    pub profile: Box<Profile>,
    /// Where the remotes are that its evidence and its profile name, where the user's databases know it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<IpAddr, Place>,
    /// What must be said beside.
    pub notes: Vec<Note>,
    /// The nearest miss of each behaviour that stayed silent.
    pub near: Vec<NearMiss>,
    /// What would change the verdict.
    pub would_change: Vec<WouldChange>,
    /// What a suspicious host would be if it were honest, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// Why nothing can be said, or what could not be seen.
    pub unseen: Vec<String>,
}

/// What the evidence shows beside the verdict, by the order of the behaviours: since the first of each that shows it.
pub(crate) fn findings(evidence: &[ScoredEvidence], roles: &[RoleSeen]) -> Vec<Finding> {
    let found = CATALOGUE.iter().filter_map(|b| {
        let shows = b.about.finding?;
        if roles.iter().any(|r| shows.unless.contains(&r.role)) {
            return None;
        }
        let mut of = evidence.iter().map(|e| &e.evidence).filter(|e| e.behaviour == b.name);
        let first = of.find(|e| (shows.by)(e))?;
        Some(Finding { kind: shows.kind.into(), since: first.started, behaviour: b.name.into() })
    });
    found.collect()
}

/// What a suspicious host would be if it were honest.
pub(crate) fn second_story(
    best: &Snapshot,
    roles: &[RoleSeen],
    evidence: &[ScoredEvidence],
) -> Vec<Alternative> {
    if best.verdict < Verdict::Suspicious { Vec::new() } else { alternatives(best, roles, evidence) }
}

impl HostStory {
    /// What was believed of it before looking.
    pub fn prior(&self) -> Prior {
        Prior::of_db(((self.posterior_db - self.level_db) * 10.0).round() / 10.0)
    }

    /// What it is asked for by: its address, its segment where these are apart, and where the address was several machines' a time at which it
    /// was this one's.
    pub fn id(&self) -> HostId {
        let at = self.since.or(self.first).filter(|_| self.since.is_some() || self.until.is_some());
        HostId { address: self.host, segment: self.segment, at }
    }

    /// How it is called where everybody can see it: its address, and its segment where these are apart.
    pub fn label(&self) -> String {
        HostId { at: None, ..self.id() }.to_string()
    }

    /// Whether it is of the machine that had the address at a time.
    pub fn is_of(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// The same host under other expectations: what is expected now is taken out of the arithmetic, what is no longer is taken in. How
    /// close stages lay and in which order they came is not known anew; where anything changes, those two bets are off.
    #[must_use]
    pub fn expecting(&self, expectations: &Expectations) -> Self {
        self.under(|e, called| {
            // What a role forbade is no deviation once nobody declares that role.
            let undeclared =
                (e.behaviour == "role_deviation").then(|| undeclared(e, expectations, called)).flatten();
            undeclared.or_else(|| expectations.of(e, called).map(Expectation::told))
        })
    }

    /// The same host where this is expected too, beside what is already.
    #[must_use]
    pub fn expecting_too(&self, expectations: &Expectations) -> Self {
        self.under(|e, called| {
            e.expected.clone().or_else(|| expectations.of(e, called).map(Expectation::told))
        })
    }

    /// Judged anew by who is asked of each piece of evidence whether it is expected.
    fn under(&self, expected: impl Fn(&Evidence, &Called) -> Option<String>) -> Self {
        let before: Vec<&Evidence> =
            self.evidence.iter().map(|e| &e.evidence).chain(&self.suppressed).collect();
        let mut after: Vec<Evidence> = before.iter().copied().cloned().collect();
        let mut changed = false;
        for e in &mut after {
            let called = Called::of(e, &self.names.macs);
            let now = expected(e, &called);
            changed |= now.is_some() != e.expected.is_some();
            e.expected = now;
        }
        if !changed {
            let mut same = self.clone();
            same.suppressed = after.into_iter().filter(|e| e.expected.is_some()).collect();
            return same;
        }
        after.retain(|e| e.stage != Stage::Order && e.behaviour != "quick_succession");
        after.sort_by_key(|e| e.ts);
        let unplaced = self.stages.iter().filter(|(_, score)| score.is_unplaced()).map(|(stage, _)| *stage);
        let prior = self.prior().db();
        let mut ledger = Ledger::on(Terms { prior_db: prior, unplaced: unplaced.collect() });
        let now = self.last.or_else(|| after.last().map(|e| e.ts)).unwrap_or(Timestamp::MIN);
        let first = self.first.or_else(|| after.first().map(|e| e.started)).unwrap_or(now);
        for e in after {
            ledger.add(e, first, &self.roles);
        }
        let best = ledger.best(first, now, &self.roles);
        let evidence = ledger.evidence(&self.roles);
        Self {
            verdict: match best.verdict {
                Verdict::Quiet if !self.unseen.is_empty() => Verdict::Inconclusive,
                v => v,
            },
            level_db: best.level_db,
            level_at: (best.at != Timestamp::MIN).then_some(best.at),
            carried_db: best.carried_db,
            posterior_db: ((best.level_db + prior) * 10.0).round() / 10.0,
            reached: ledger.reached().clone(),
            calendar: ledger.calendar(if self.unseen.is_empty() {
                Verdict::Quiet
            } else {
                Verdict::Inconclusive
            }),
            findings: findings(&evidence, &self.roles),
            would_change: Ledger::would_change(&best),
            alternatives: second_story(&best, &self.roles, &evidence),
            without_lists: Ledger::without_lists(&best),
            suppressed: ledger.suppressed().to_vec(),
            stages: best.stages,
            evidence,
            ..self.clone()
        }
    }
}

/// A machine: what is said of the strongest of its addresses, and of the others.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// What the machine is.
    pub strongest: &'a HostStory,
    /// Its other addresses, strongest first.
    pub others: Vec<&'a HostStory>,
}

impl<'a> Machine<'a> {
    /// The machines of these stories, in their order. A story whose strongest one is not among them is a machine of its own.
    pub fn all(stories: impl IntoIterator<Item = &'a HostStory>) -> Vec<Self> {
        let (parts, whole): (Vec<_>, Vec<_>) = stories.into_iter().partition(|s| s.part_of.is_some());
        let alone = |strongest| Self { strongest, others: Vec::new() };
        let mut machines: Vec<Self> = whole.into_iter().map(alone).collect();
        if parts.is_empty() {
            return machines;
        }
        let ids = machines.iter().map(|m| m.strongest.id()).zip(0..);
        let places: BTreeMap<HostId, usize> = ids.collect();
        for part in parts {
            match part.part_of.as_ref().and_then(|of| places.get(of)) {
                Some(place) => machines[*place].others.push(part),
                None => machines.push(alone(part)),
            }
        }
        machines
    }

    /// What is said of each of its addresses, the strongest first.
    pub fn addresses(&self) -> impl Iterator<Item = &'a HostStory> {
        std::iter::once(self.strongest).chain(self.others.iter().copied())
    }
}

/// What is told of a deviation from a role that is declared no more.
fn undeclared(e: &Evidence, expectations: &Expectations, called: &Called) -> Option<String> {
    let role = e.text("role");
    let stands = expectations.declared(e.host, called, e.ts).any(|d| d.name == role);
    (!stands && !role.is_empty()).then(|| format!("role '{role}' is declared no more"))
}

/// What the verdict must know of the capture as a whole.
#[derive(Clone, Debug, Default)]
pub struct CaptureFacts {
    /// First packet.
    pub first: Option<Timestamp>,
    /// Last packet.
    pub last: Option<Timestamp>,
    /// Time of that in pauses of more than an hour.
    pub paused: Duration,
    /// Rows of logs that were read, and lines that could not be.
    pub rows: [u64; 2],
    /// Flows that two inputs told, of so many.
    pub twice: [u64; 2],
    /// Packets that the capturing side dropped.
    pub dropped: u64,
    /// Packets.
    pub packets: u64,
    /// Whether all input was read.
    pub complete: bool,
    /// Packets of which it is not known whose they are, because they were not read, and the most frequent reasons.
    pub unread: (u64, String),
    /// The largest step back in packet time.
    pub backward: Duration,
    /// Flows that were forgotten for want of memory, and all flows.
    pub forgotten: (u64, u64),
}
