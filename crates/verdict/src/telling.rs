//! Who turned: what is told of hosts while records still come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use record::{HostId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::shares::Analysts;
use crate::story::{CaptureFacts, HostStory, Verdict};

/// How often hosts on which something fired are looked at (*assumed*: sooner than anybody reads).
const LOOK: Duration = Duration::from_secs(1);
/// How often it is asked whether what was told still holds: verdicts end with days.
const AGAIN: Duration = Duration::from_hours(1);
/// Hosts that are looked at in one go: the others come the next time.
const AT_ONCE: usize = 4096;
/// Hosts of which it is remembered what was told; further ones are told again whenever something fires on them (*assumed*: no network that is still one has as many).
const MAX_TOLD: usize = 65_536;

/// A host's verdict rose, fell or ended, or it was found to be something more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// When it was told, in packet time.
    pub at: Timestamp,
    /// What was told of it before; `Quiet` where nothing was.
    pub before: Verdict,
    /// What it is found to be since then: `spam source`, `scanner`, …
    pub found: Vec<String>,
    /// The host as it stands.
    pub story: HostStory,
}

impl Turn {
    /// Whether nothing stands against the host any more.
    pub fn is_end(&self) -> bool {
        self.story.verdict < Verdict::Suspicious
    }
}

/// What was told of a host.
struct Told {
    verdict: Verdict,
    findings: Vec<String>,
}

/// That it was told of a host, for a teller who goes on after a kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellerKnows {
    id: HostId,
    verdict: Verdict,
    findings: Vec<String>,
}

impl TellerKnows {
    /// What a turn told.
    pub fn of(turn: &Turn) -> Self {
        Self::about(&turn.story)
    }

    fn about(story: &HostStory) -> Self {
        let findings = story.findings.iter().map(|f| f.kind.clone()).collect();
        Self { id: story.id(), verdict: level(story.verdict), findings }
    }
}

/// Tells of every host once when its verdict rises, again when it changes, and when it ends.
#[derive(Default)]
pub struct Teller {
    told: BTreeMap<HostId, Told>,
    looked: Option<Timestamp>,
    again: Option<Timestamp>,
}

/// Less than suspicious is all the same here.
fn level(verdict: Verdict) -> Verdict {
    if verdict < Verdict::Suspicious { Verdict::Quiet } else { verdict }
}

impl Teller {
    /// Who goes on from earlier runs, which told all that stands now.
    pub fn going_on(analysts: &Analysts) -> Self {
        let mut teller = Self::default();
        for story in analysts.stories(&CaptureFacts::default()) {
            teller.remember(TellerKnows::about(&story));
        }
        teller
    }

    /// Looks who turned, if it is time to; time has passed until `at`.
    pub fn look(&mut self, analysts: &mut Analysts, at: Timestamp) -> Vec<Turn> {
        if self.looked.is_some_and(|looked| at.since(looked) < LOOK) {
            return Vec::new();
        }
        self.look_now(analysts, at)
    }

    /// Looks who turned, whenever it was looked last.
    pub fn look_now(&mut self, analysts: &mut Analysts, at: Timestamp) -> Vec<Turn> {
        self.look_at(analysts, AT_ONCE, at)
    }

    /// The same, at however many: nobody is left on whom something fired.
    pub fn look_at_all(&mut self, analysts: &mut Analysts, at: Timestamp) -> Vec<Turn> {
        self.look_at(analysts, usize::MAX, at)
    }

    fn look_at(&mut self, analysts: &mut Analysts, most: usize, at: Timestamp) -> Vec<Turn> {
        self.looked = Some(at);
        let facts = CaptureFacts { last: Some(at), complete: true, ..CaptureFacts::default() };
        let mut stories = analysts.fired(&facts, most);
        let again = *self.again.get_or_insert(at);
        if at.since(again) >= AGAIN {
            self.again = Some(at);
            let standing = analysts.stories_of(&self.told.keys().copied().collect(), &facts);
            // Who is forgotten, or had the address before, is told of no more.
            let ids: BTreeSet<HostId> = standing.iter().map(HostStory::id).collect();
            self.told.retain(|id, _| ids.contains(id));
            stories.extend(standing);
        }
        stories.into_iter().filter_map(|story| self.turn(story, at)).collect()
    }

    /// The hosts of which it told, and that still stand where it said.
    pub fn told(&self) -> BTreeSet<HostId> {
        self.told.keys().copied().collect()
    }

    /// How many hosts stand at each level.
    pub fn standing(&self) -> BTreeMap<Verdict, u64> {
        let mut counted = BTreeMap::new();
        for told in self.told.values() {
            *counted.entry(told.verdict).or_default() += 1;
        }
        counted
    }

    fn turn(&mut self, story: HostStory, at: Timestamp) -> Option<Turn> {
        let told = self.told.get(&story.id());
        let before = told.map_or(Verdict::Quiet, |t| t.verdict);
        let is_new = |kind: &String| told.is_none_or(|t| !t.findings.contains(kind));
        let verdict = level(story.verdict);
        let mut found: Vec<String> = story.findings.iter().map(|f| f.kind.clone()).filter(is_new).collect();
        if verdict == Verdict::Quiet {
            found.clear();
        }
        if verdict == before && found.is_empty() {
            return None;
        }
        self.remember(TellerKnows::about(&story));
        Some(Turn { at, before, found, story })
    }

    /// Somebody was told of a host.
    pub fn remember(&mut self, told: TellerKnows) {
        let TellerKnows { id, verdict, findings } = told;
        if verdict == Verdict::Quiet {
            self.told.remove(&id);
        } else if self.told.len() < MAX_TOLD || self.told.contains_key(&id) {
            self.told.insert(id, Told { verdict, findings });
        }
    }
}
