//! What others could look for: the remotes and names of a host's story.

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::{FactValue, Stage, Timestamp};
use verdict::HostStory;

/// What kind of indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndicatorKind {
    /// A name.
    Domain,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

impl IndicatorKind {
    /// The word of STIX for it.
    pub const fn stix(self) -> &'static str {
        match self {
            Self::Domain => "domain-name",
            Self::Ipv4 => "ipv4-addr",
            Self::Ipv6 => "ipv6-addr",
        }
    }
}

/// Something seen that others may see: no claim that it is bad by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// What it is.
    pub kind: IndicatorKind,
    /// It, as it was on the wire; hostile.
    pub value: String,
    /// The stage that it was part of, the earliest in the story.
    pub stage: Stage,
    /// The behaviours that it was part of.
    pub behaviours: Vec<String>,
    /// First time.
    pub first: Timestamp,
    /// Last time.
    pub last: Timestamp,
}

/// Facts that name a remote.
const NAMES: [&str; 6] = ["host", "remote", "domain", "name", "names", "pool"];
/// Indicators of a host, at most.
const MOST: usize = 500;

fn is_name(text: &str) -> bool {
    text.contains('.')
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && text.split('.').next_back().is_some_and(|l| l.bytes().any(|b| b.is_ascii_alphabetic()))
}

/// The indicators of a host: remotes and names of rendezvous, command and update, by kind and value.
pub fn indicators(s: &HostStory) -> Vec<Indicator> {
    let mut all: BTreeMap<(IndicatorKind, String), Indicator> = BTreeMap::new();
    let telling = |stage: Stage| matches!(stage, Stage::Rendezvous | Stage::Command | Stage::Update);
    for e in s.evidence.iter().map(|e| &e.evidence).filter(|e| telling(e.stage)) {
        let mut note = |kind: IndicatorKind, value: String| {
            let known = all.len();
            let entry = all.entry((kind, value.clone()));
            if known >= MOST && matches!(entry, std::collections::btree_map::Entry::Vacant(_)) {
                return;
            }
            let i = entry.or_insert_with(|| Indicator {
                kind,
                value,
                stage: e.stage,
                behaviours: Vec::new(),
                first: e.started,
                last: e.ts,
            });
            i.stage = i.stage.min(e.stage);
            (i.first, i.last) = (i.first.min(e.started), i.last.max(e.ts));
            if !i.behaviours.iter().any(|b| *b == e.behaviour) {
                i.behaviours.push(e.behaviour.to_string());
            }
        };
        for ip in &e.remotes {
            note(if ip.is_ipv4() { IndicatorKind::Ipv4 } else { IndicatorKind::Ipv6 }, ip.to_string());
        }
        for name in NAMES {
            let texts: &[String] = match e.facts.get(name) {
                Some(FactValue::Text(t)) => std::slice::from_ref(t),
                Some(FactValue::List(l)) => l,
                _ => &[],
            };
            for text in texts {
                let lower = text.to_ascii_lowercase();
                if lower.parse::<IpAddr>().is_err() && is_name(&lower) {
                    note(IndicatorKind::Domain, lower);
                }
            }
        }
    }
    all.into_values().collect()
}
