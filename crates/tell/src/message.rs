//! What is told: a host that turned, or a digest of several.

use std::collections::{BTreeMap, BTreeSet};

use record::HostId;
use serde_json::Value;
use verdict::{Turn, Verdict};

/// Turns that go out together: one, or those of an outbreak.
#[derive(Clone, Debug)]
pub struct Message {
    turns: Vec<(Turn, String)>,
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
        if value["type"] != "turn" {
            return Ok(None);
        }
        let turn: Turn = serde_json::from_value(value)?;
        Ok(Some(Self { turns: vec![(turn, line.to_owned())] }))
    }

    /// Several as one.
    pub fn digest(messages: impl IntoIterator<Item = Self>) -> Self {
        Self { turns: messages.into_iter().flat_map(|m| m.turns).collect() }
    }

    /// The turns.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter().map(|(turn, _)| turn)
    }

    /// Each as the line of JSON that it came as.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.turns.iter().map(|(_, line)| line.as_str())
    }

    /// The highest verdict in it, also one that has ended.
    pub fn level(&self) -> Verdict {
        self.turns().map(|t| t.story.verdict.max(t.before)).max().unwrap_or(Verdict::Quiet)
    }

    /// A line that says what it is about: `10.20.0.13 is infected (spam source)`, `17 hosts turned: 3 infected, 14 suspicious`.
    pub fn subject(&self) -> String {
        if let [(turn, _)] = self.turns.as_slice() {
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

    /// A line for each turn.
    pub fn text(&self) -> String {
        self.turns().map(report::turn).collect::<Vec<_>>().join("\n")
    }
}
