//! Evidence as other programs' events: for Suricata's readers (EVE), the Elastic Common Schema, OCSF, spreadsheets, and Zeek's.
//!
//! All of them are made of the same [`Event`], so that they say the same of a piece of evidence. Numbers stay numbers and texts stay texts in every
//! line, what is not known is absent, and text from the wire is cleaned as it is for people.

mod ecs;
mod ends;
mod eve;
mod ocsf;
mod table;
mod zeek;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;

use behaviour::{Entry, Technique};
use record::{Endpoint, Evidence, FlowId, Stage, Timestamp, Transport, clean, fnv1a};
use report::{CaptureLine, describe};
use serde::Serialize;
use verdict::{HostStory, Verdict};

use crate::own;
pub use ends::{Ended, Ends};
pub use zeek::ZeekLogs;

/// What rules of ours begin their numbers with: the range that Suricata's users have for themselves, under a generator of our own.
const FIRST_RULE: u64 = 1_000_000;

/// A form in which evidence is written as lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventForm {
    /// Suricata's EVE, a line of JSON for each piece.
    Eve,
    /// The Elastic Common Schema, a line of JSON for each piece.
    Ecs,
    /// OCSF: a line of JSON for each host and each of the flows that prove something.
    Ocsf,
    /// A table with a head, a row for each piece.
    Csv,
}

/// What came out of a run.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The capture as a whole.
    pub capture: &'a CaptureLine,
    /// The hosts.
    pub stories: &'a [HostStory],
    /// Between whom flows went.
    pub ends: &'a Ends,
    /// Whether hosts that are not suspicious are told of too.
    pub all: bool,
}

impl<'a> Told<'a> {
    /// The hosts that are told of.
    fn hosts(self) -> impl Iterator<Item = &'a HostStory> {
        self.stories.iter().filter(move |s| self.all || s.verdict >= Verdict::Suspicious)
    }

    /// What the hosts did, in the order of time.
    fn events(self) -> Vec<Event<'a>> {
        let of = |story: &'a HostStory| {
            let pieces = story.evidence.iter();
            pieces.map(move |e| Event::of(self, story, &e.evidence, e.db))
        };
        let mut all: Vec<Event<'a>> = self.hosts().flat_map(of).collect();
        all.sort_by_key(|e| (e.evidence.ts, e.evidence.started));
        all
    }

    /// How many pieces of evidence name flows of which none is remembered: they are told of without ports.
    pub fn without_ends(self) -> usize {
        self.events().iter().filter(|e| e.flow.is_none() && !e.evidence.flows.is_empty()).count()
    }

    /// Writes lines of a form.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(self, form: EventForm, out: &mut dyn Write) -> io::Result<()> {
        match form {
            EventForm::Eve => self.events().iter().try_for_each(|e| line(out, &eve::Line::of(e))),
            EventForm::Ecs => self.events().iter().try_for_each(|e| line(out, &ecs::Line::of(e))),
            EventForm::Ocsf => ocsf::write(self, out),
            EventForm::Csv => table::write(&self.events(), out),
        }
    }
}

/// Writes an object as a line.
fn line(out: &mut dyn Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

/// A piece of evidence, with what is said of its host and of one of its flows.
struct Event<'a> {
    capture: &'a CaptureLine,
    story: &'a HostStory,
    evidence: &'a Evidence,
    /// What it alone brings its stage.
    db: f64,
    /// The first of its flows that is remembered.
    flow: Option<(FlowId, &'a Ended)>,
    about: Option<&'static Entry>,
}

impl<'a> Event<'a> {
    fn of(told: Told<'a>, story: &'a HostStory, evidence: &'a Evidence, db: f64) -> Self {
        let mut flows = evidence.flows.iter();
        let flow = flows.find_map(|f| Some((*f, told.ends.of(*f)?)));
        let about = behaviour::entry(&evidence.behaviour);
        Self { capture: told.capture, story, evidence, db, flow, about }
    }

    /// A name for it alone: the same on every run over the same traffic.
    fn id(&self) -> String {
        let e = self.evidence;
        let named =
            [&self.story.id().to_string(), e.behaviour.as_ref(), e.key.as_ref(), &e.ts.to_string()].join("|");
        own(&format!("event|{named}")).to_string()
    }

    /// What it says, in a sentence.
    fn sentence(&self) -> String {
        visible(&describe(self.evidence))
    }

    /// Who opened the flow that it is told with, and to whom; where none is remembered, the host and its first remote, without ports.
    fn ends(&self) -> (IpAddr, Option<u16>, Option<IpAddr>, Option<u16>) {
        if let Some((_, ended)) = self.flow {
            let (a, b) = (ended.tuple.orig, ended.tuple.resp);
            let port = |end: Endpoint| self.has_ports().then_some(end.port);
            return (a.ip, port(a), Some(b.ip), port(b));
        }
        let mut remotes = self.evidence.remotes.iter().copied();
        (self.evidence.host, None, remotes.find(|ip| !Endpoint::is_stand_in(*ip)), None)
    }

    fn transport(&self) -> Option<Transport> {
        self.flow.map(|(_, ended)| ended.tuple.transport)
    }

    fn has_ports(&self) -> bool {
        matches!(self.transport(), Some(Transport::Tcp | Transport::Udp | Transport::Sctp))
    }

    /// The Community ID of the flow that it is told with.
    fn community_id(&self) -> Option<String> {
        let known = self.flow.map(|(_, ended)| ended.community_id());
        known.or_else(|| self.evidence.community_ids.first().cloned())
    }

    /// Its techniques.
    fn techniques(&self) -> Vec<&'static Technique> {
        let all = self.about.map_or(&[][..], |b| b.about.attack);
        all.iter().filter_map(|id| Technique::of(id)).collect()
    }

    fn own(&self) -> Own<'a> {
        let e = self.evidence;
        let files: BTreeSet<u32> = e.packets.iter().map(|p| p.file()).collect();
        let name = |file: u32| self.capture.inputs.get(file as usize).map(|i| visible(&i.path));
        Own {
            host: self.story.host,
            segment: self.story.segment.map(|s| s.to_string()),
            verdict: self.story.verdict.name(),
            level_db: finite(self.story.level_db),
            evidence: e.id(),
            behaviour: clean(&e.behaviour),
            key: clean(&e.key),
            stage: e.stage.name(),
            grades: e.grades.iter().map(|g| clean(&g.name)).collect(),
            db: finite(self.db),
            value: finite(e.value),
            threshold: finite(e.threshold),
            unit: clean(&e.unit),
            sentence: self.sentence(),
            started: e.started,
            packets: e.packets.iter().map(ToString::to_string).collect(),
            files: files.into_iter().filter_map(name).collect(),
            remotes: e.remotes.iter().copied().filter(|ip| !Endpoint::is_stand_in(*ip)).collect(),
            community_ids: &e.community_ids,
        }
    }
}

/// What only we say, under the one key `hydrophone`.
#[derive(Serialize)]
struct Own<'a> {
    host: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    verdict: &'static str,
    level_db: f64,
    evidence: String,
    behaviour: String,
    key: String,
    stage: &'static str,
    grades: Vec<String>,
    db: f64,
    value: f64,
    threshold: f64,
    unit: String,
    sentence: String,
    started: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remotes: Vec<IpAddr>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    community_ids: &'a [String],
}

/// Text of any length, cleaned as it is for people.
fn visible(text: &str) -> String {
    text.chars().map(|c| clean(c.encode_utf8(&mut [0; 4]))).collect()
}

/// What IANA calls a protocol, in lower case; none of one that has no name here.
const fn iana_name(transport: Transport) -> Option<&'static str> {
    Some(match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Icmp => "icmp",
        Transport::Icmp6 => "ipv6-icmp",
        Transport::Sctp => "sctp",
        Transport::Other(_) => return None,
    })
}

/// A number that JSON can write.
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

/// The number of a behaviour's rule: a hash of its name, so that it stays whatever else is in the catalogue.
fn rule(behaviour: &str) -> u64 {
    FIRST_RULE + fnv1a(behaviour.as_bytes()) % FIRST_RULE
}

/// From 1 (worst) to 4: how much the host's verdict says.
const fn priority(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Infected => 1,
        Verdict::Likely => 2,
        Verdict::Suspicious => 3,
        Verdict::Quiet | Verdict::Inconclusive => 4,
    }
}

/// What an alert is about, in the words of Suricata's `classification.config`: by the techniques where these say more than the stage.
fn category(event: &Event<'_>) -> &'static str {
    let has = |begins: &str| event.techniques().iter().any(|t| t.id.starts_with(begins));
    match event.evidence.stage {
        Stage::Act if has("T1498") || has("T1499") => "Attempted Denial of Service",
        Stage::Act if has("T1496.001") => "Crypto Currency Mining Activity Detected",
        Stage::Act if has("T1046") || has("T1595") => "Detection of a Network Scan",
        Stage::Probe => "Potentially Bad Traffic",
        Stage::Rendezvous => "Domain Observed Used for C2 Detected",
        Stage::Command => "Malware Command and Control Activity Detected",
        Stage::Update | Stage::Act | Stage::Cycle | Stage::Order => "A Network Trojan was detected",
    }
}

#[cfg(test)]
mod tests {
    use behaviour::CATALOGUE;

    use super::*;

    #[test]
    fn a_behaviour_keeps_its_number() {
        let numbers: BTreeSet<u64> = CATALOGUE.iter().map(|b| rule(b.name)).collect();
        assert_eq!(numbers.len(), CATALOGUE.len(), "two behaviours have one number: rename the new one");
        assert!(numbers.iter().all(|n| (1_000_000..2_000_000).contains(n)));
        for (name, number) in
            [("smtp_probe", 1_954_941), ("same_remote_chain", 1_790_445), ("quick_succession", 1_902_816)]
        {
            assert_eq!(rule(name), number, "{name}");
        }
    }
}
