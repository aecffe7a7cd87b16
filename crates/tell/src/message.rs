//! What is told: a host that turned, a day that ended, or a digest of several.

use std::collections::{BTreeMap, BTreeSet};

use record::HostId;
use report::{DayLine, Line};
use serde_json::Value;
use verdict::{Turn, Verdict};

/// What is told of.
#[derive(Clone, Debug)]
pub enum Told {
    /// A host that turned.
    Turn(Box<Turn>),
    /// A day that ended.
    Day(DayLine),
}

impl Told {
    /// In a line.
    pub fn text(&self) -> String {
        match self {
            Self::Turn(turn) => report::turn(turn),
            Self::Day(day) => report::day(day),
        }
    }
}

/// What goes out together: one turn, those of an outbreak, or a day.
#[derive(Clone, Debug)]
pub struct Message {
    told: Vec<(Told, String)>,
}

/// How it stands with a host whose verdict has ended.
const ENDED: &str = "no longer suspicious";

/// How it stands with a host that turned, in words that follow "is".
fn stands(turn: &Turn) -> &'static str {
    if turn.is_end() { ENDED } else { report::standing(turn.story.verdict) }
}

impl Message {
    /// Reads a line of `listen --json`; none where it is about something else.
    ///
    /// # Errors
    /// It is no line of ours.
    pub fn of_line(line: &str) -> Result<Option<Self>, serde_json::Error> {
        let value: Value = serde_json::from_str(line)?;
        if value["type"] != "turn" && value["type"] != "day" {
            return Ok(None);
        }
        let told = match serde_json::from_value(value)? {
            Line::Turn(turn) => Told::Turn(Box::new(turn.into_owned())),
            Line::Day(day) => Told::Day(day.into_owned()),
            Line::Capture(_) | Line::Host(_) => return Ok(None),
        };
        Ok(Some(Self { told: vec![(told, line.to_owned())] }))
    }

    /// Several as one.
    pub fn digest(messages: impl IntoIterator<Item = Self>) -> Self {
        Self { told: messages.into_iter().flat_map(|m| m.told).collect() }
    }

    /// What is told of, in order.
    pub fn told(&self) -> impl Iterator<Item = &Told> {
        self.told.iter().map(|(told, _)| told)
    }

    /// The turns.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.told().filter_map(|told| match told {
            Told::Turn(turn) => Some(&**turn),
            Told::Day(_) => None,
        })
    }

    /// The days.
    pub fn days(&self) -> impl Iterator<Item = &DayLine> {
        self.told().filter_map(|told| match told {
            Told::Day(day) => Some(day),
            Told::Turn(_) => None,
        })
    }

    /// Each as the line of JSON that it came as.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.told.iter().map(|(_, line)| line.as_str())
    }

    /// The highest verdict in it, also one that has ended.
    pub fn level(&self) -> Verdict {
        self.turns().map(|t| t.story.verdict.max(t.before)).max().unwrap_or(Verdict::Quiet)
    }

    /// A line that says what it is about: `10.20.0.13 is infected (spam source)`, `17 hosts turned: 3 infected, 14 suspicious`.
    pub fn subject(&self) -> String {
        if let Some(day) = self.days().last()
            && self.turns().next().is_none()
        {
            return day.subject();
        }
        if let [(Told::Turn(turn), _)] = self.told.as_slice() {
            let s = &turn.story;
            let kinds: BTreeSet<String> = s.findings.iter().map(|f| record::clean(&f.kind)).collect();
            let kinds: Vec<String> = kinds.into_iter().collect();
            let kinds = if kinds.is_empty() || s.verdict < Verdict::Suspicious {
                String::new()
            } else {
                format!(" ({})", kinds.join(", "))
            };
            let name =
                s.names.host_names.first().map(|n| format!("{} ", record::clean(n))).unwrap_or_default();
            return format!("{name}{} is {}{kinds}", s.label(), stands(turn));
        }
        // As each stood last.
        let hosts: BTreeMap<HostId, &str> = self.turns().map(|t| (t.story.id(), stands(t))).collect();
        let words = [Verdict::Infected, Verdict::Likely, Verdict::Suspicious].map(report::standing);
        let counted: Vec<String> = words
            .into_iter()
            .chain([ENDED])
            .map(|word| (hosts.values().filter(|w| **w == word).count(), word))
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        format!("{} hosts turned: {}", hosts.len(), counted.join(", "))
    }

    /// A line for each.
    pub fn text(&self) -> String {
        self.told().map(Told::text).collect::<Vec<_>>().join("\n")
    }
}
