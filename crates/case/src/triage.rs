//! What people said of a host: acknowledged, noted, escalated, known, closed; by whom and when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use verdict::{HostStory, Verdict};

use crate::whole::WholeFile;

pub(crate) const FILE: &str = "triage.json";
/// Held while somebody writes.
pub(crate) const LOCK: &str = ".triage.lock";
/// What was said over other captures, in a case that took the place of theirs.
pub const ASIDE: &str = "triage-before.json";
/// Characters of a name.
const LONGEST_NAME: usize = 100;
/// Characters of a note.
const LONGEST: usize = 4_000;
/// Entries of a host.
const MOST: usize = 1_000;

/// Where a host stands with the people who look after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriageState {
    /// Somebody has seen it.
    Acknowledged,
    /// Something was noted, nothing else changed.
    Noted,
    /// Somebody else must look.
    Escalated,
    /// What it does is known, for good: a sensor tells of it no more, unless it is found to be more than that.
    Known,
    /// Nothing more is to be done: a sensor tells of it no more, unless it is found to be more than that, or turns again when it was quiet.
    Closed,
    /// A sensor tells of it again.
    Open,
}

impl TriageState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Acknowledged, Self::Noted, Self::Escalated, Self::Known, Self::Closed, Self::Open];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Noted => "noted",
            Self::Escalated => "escalated",
            Self::Known => "known",
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

impl std::str::FromStr for TriageState {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of {}", known()))
    }
}

/// Where a host stood when something was said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// Its verdict.
    pub verdict: Verdict,
    /// What it was found to be.
    pub findings: Vec<String>,
}

impl Stood {
    /// Where it stands in its story.
    pub fn of(story: &HostStory) -> Self {
        Self { verdict: story.verdict, findings: story.findings.iter().map(|f| f.kind.clone()).collect() }
    }

    /// Whether a host is more than that now: its verdict is higher, or it was found to be something else besides.
    fn is_exceeded(&self, story: &HostStory) -> bool {
        story.verdict > self.verdict || story.findings.iter().any(|f| !self.findings.contains(&f.kind))
    }
}

/// One thing that somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriageEntry {
    /// What.
    pub state: TriageState,
    /// In which words.
    #[serde(default)]
    pub note: String,
    /// Who.
    pub who: String,
    /// When, RFC 3339 UTC: the time of the desk, not of the packets.
    pub when: String,
    /// Where the host stood then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Stood>,
}

/// Everything that was said, by host, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triage {
    hosts: BTreeMap<String, Vec<TriageEntry>>,
}

impl Triage {
    /// Reads what was said; nothing, if nobody has said anything.
    ///
    /// # Errors
    /// The file is there and cannot be read or is none of ours.
    pub fn read(case: &Path) -> anyhow::Result<Self> {
        Self::of_file(&case.join(FILE))
    }

    fn of_file(path: &Path) -> anyhow::Result<Self> {
        match fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not what this program writes", path.display())),
        }
    }

    /// What was said of a host, by its label.
    pub fn of(&self, host: &str) -> &[TriageEntry] {
        self.hosts.get(host).map_or(&[], Vec::as_slice)
    }

    /// Of every host of which something was said.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[TriageEntry])> {
        self.hosts.iter().map(|(host, entries)| (host.as_str(), entries.as_slice()))
    }

    /// The last that was said of a host, notes aside.
    fn last(&self, host: &str) -> Option<&TriageEntry> {
        self.of(host).iter().rev().find(|entry| entry.state != TriageState::Noted)
    }

    /// Whether nobody is to be told how a host stands now: it is known or closed, and no more than it was when that was said.
    pub fn settles(&self, host: &str, story: &HostStory) -> bool {
        self.last(host).is_some_and(|entry| {
            matches!(entry.state, TriageState::Known | TriageState::Closed)
                && entry.stood.as_ref().is_some_and(|stood| !stood.is_exceeded(story))
        })
    }

    /// Whether this is the last that was said of a host, notes aside.
    pub fn is(&self, host: &str, state: TriageState) -> bool {
        self.last(host).is_some_and(|entry| entry.state == state)
    }

    /// Adds an entry to what is kept in the case, whoever else adds one meanwhile: whole or not at all. Gives everything that is kept then.
    ///
    /// # Errors
    /// It cannot be written, or there are too many.
    pub fn add(case: &Path, host: &str, entry: TriageEntry) -> anyhow::Result<Self> {
        Self::add_to(&case.join(FILE), &case.join(LOCK), host, entry)
    }

    /// The file beside a sensor's state.
    pub fn beside(state: &Path) -> PathBuf {
        let mut name = state.as_os_str().to_owned();
        name.push(".triage");
        name.into()
    }

    /// Reads what was said of the hosts of a sensor, in the file [beside](Self::beside) its state; nothing, if nobody has said anything.
    ///
    /// # Errors
    /// The file is there and cannot be read or is none of ours.
    pub fn of_sensor(state: &Path) -> anyhow::Result<Self> {
        Self::of_file(&Self::beside(state))
    }

    /// Adds an entry to what is kept beside a sensor's state. Gives everything that is kept then.
    ///
    /// # Errors
    /// It cannot be written, or there are too many.
    pub fn add_beside(state: &Path, host: &str, entry: TriageEntry) -> anyhow::Result<Self> {
        let file = Self::beside(state);
        let mut lock = file.clone().into_os_string();
        lock.push(".lock");
        Self::add_to(&file, Path::new(&lock), host, entry)
    }

    fn add_to(path: &Path, lock: &Path, host: &str, mut entry: TriageEntry) -> anyhow::Result<Self> {
        entry.note = entry.note.chars().take(LONGEST).collect();
        entry.who = entry.who.chars().take(LONGEST_NAME).collect();
        let lock = File::create(lock).with_context(|| format!("cannot write {}", lock.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        let mut all = Self::of_file(path)?;
        let entries = all.hosts.entry(host.to_owned()).or_default();
        anyhow::ensure!(entries.len() < MOST, "{host} has {MOST} entries already");
        entries.push(entry);
        let mut file = WholeFile::begin(path)?;
        serde_json::to_writer_pretty(&mut file, &all)?;
        file.finish()?;
        Ok(all)
    }
}

/// Takes what was said over from an older run: as it is where that was of the same captures, or else aside, to what was set aside before.
///
/// # Errors
/// Something was said and cannot be kept.
pub(crate) fn keep(from: &Path, to: &Path, same: bool) -> anyhow::Result<()> {
    let names = if same { &[FILE, ASIDE][..] } else { &[] };
    for name in names {
        let path = from.join(name);
        match fs::copy(&path, to.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot keep {}", path.display()));
            }
            _ => {}
        }
    }
    if same || !(from.join(FILE).exists() || from.join(ASIDE).exists()) {
        return Ok(());
    }
    let mut aside = Triage::of_file(&from.join(ASIDE))?;
    for (host, said) in Triage::of_file(&from.join(FILE))?.hosts {
        let entries = aside.hosts.entry(host).or_default();
        entries.extend(said);
        entries.drain(..entries.len().saturating_sub(MOST));
    }
    let path = to.join(ASIDE);
    fs::write(&path, serde_json::to_string_pretty(&aside)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_who_write_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host = "10.0.0.5@vlan12";
        let say = |n: usize| {
            let note = n.to_string();
            let entry = TriageEntry {
                state: TriageState::Noted,
                note,
                who: "a".into(),
                when: "now".into(),
                stood: None,
            };
            Triage::add(dir.path(), host, entry).unwrap();
        };
        std::thread::scope(|s| {
            for half in 0..2 {
                s.spawn(move || (0..10).for_each(|n| say(2 * n + half)));
            }
        });
        assert_eq!(Triage::read(dir.path()).unwrap().of(host).len(), 20);
    }
}
