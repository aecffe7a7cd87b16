//! What people said of a host: acknowledged, noted, escalated, closed; by whom and when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

const FILE: &str = "triage.json";
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
    /// Nothing more is to be done.
    Closed,
}

impl TriageState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Acknowledged, Self::Noted, Self::Escalated, Self::Closed];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Noted => "noted",
            Self::Escalated => "escalated",
            Self::Closed => "closed",
        }
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
}

/// Everything that was said, by host, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triage {
    hosts: BTreeMap<IpAddr, Vec<TriageEntry>>,
}

impl Triage {
    /// Reads what was said; nothing, if nobody has said anything.
    ///
    /// # Errors
    /// The file is there and cannot be read or is none of ours.
    pub fn read(case: &Path) -> anyhow::Result<Self> {
        let path = case.join(FILE);
        match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not what this program writes", path.display())),
        }
    }

    /// What was said of a host.
    pub fn of(&self, host: IpAddr) -> &[TriageEntry] {
        self.hosts.get(&host).map_or(&[], Vec::as_slice)
    }

    /// Adds an entry and keeps it in the case: whole or not at all.
    ///
    /// # Errors
    /// It cannot be written, or there are too many.
    pub fn add(&mut self, case: &Path, host: IpAddr, mut entry: TriageEntry) -> anyhow::Result<()> {
        entry.note = entry.note.chars().take(LONGEST).collect();
        entry.who = entry.who.chars().take(100).collect();
        let entries = self.hosts.entry(host).or_default();
        anyhow::ensure!(entries.len() < MOST, "{host} has {MOST} entries already");
        entries.push(entry);
        let fresh: PathBuf = case.join(format!(".{FILE}.{}", std::process::id()));
        let text = serde_json::to_string_pretty(self)?;
        let written = File::create(&fresh)
            .and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()))
            .and_then(|()| fs::rename(&fresh, case.join(FILE)));
        written.with_context(|| format!("cannot write {}", case.join(FILE).display()))
    }
}

/// Takes what was said over from an older run of the same case.
pub(crate) fn keep(from: &Path, to: &Path) {
    let _ = fs::copy(from.join(FILE), to.join(FILE));
}
