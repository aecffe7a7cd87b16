use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use behaviour::{
    AtWork, CATALOGUE, Context, Expectations, Held, Home, HomeGuess, HostFiles, Intel, Network, Raised,
    SavedFile, SeededMap, Settings, StateKind, Traffic, Wants, WriteDownError, detectors, form, outbound,
    read_back, write_down,
};
use record::{
    CommunityId, Conn, ConnPhase, Evidence, FlowId, NearMiss, Record, Role, Segment, Service, Stage,
    Timestamp, Tuple, human_bytes,
};
use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::hands::Neighbours;
use crate::host_book::{self, HostPage, PAGE};
use crate::identity::ChangedHands;
use crate::ledger::{Ledger, Terms};
use crate::profile::{self, HostProfile, PROFILE, Profile};
use crate::roles::{self, HostRoles, ROLES, RoleSeen};
use crate::shares::Share;
use crate::story::{CaptureFacts, HostStory, Note, Verdict, findings, second_story};
use crate::told::{HostTold, ShareFacts, ShareTold, stories};

/// Records held back until it is known where home is.
const HELD_BACK: usize = 20_000;
/// What a record with words in it counts for there: their limits let it take a few kilobytes.
const TOLD_WEIGHT: usize = 8;
/// Share of the flows that may have no local end, before nothing can be said of the hosts that are known (*assumed*).
const OUTSIDE_SHARE: f64 = 0.05;
/// Share of the packets, of all or of a host's, that may be unread before "quiet" cannot be said (*assumed*).
const UNREAD_SHARE: f64 = 0.05;
/// How often detectors may decide what was waiting.
const TICK: Duration = Duration::from_secs(1);
/// A minute in nanoseconds.
const MINUTE: i64 = 60_000_000_000;
/// So many minutes after its last record a share's clock goes through one by one: a day is what is remembered longest of a story that goes on, and an hour more.
const MOST_MINUTES: i64 = 25 * 60;
/// A capture shorter than this shows no window of ten minutes, which most behaviours need.
const SHORTEST: Duration = Duration::from_mins(10);
/// Flows of a host below which nothing can be said of it (*assumed*).
const FEWEST_FLOWS: u64 = 3;
/// Share of a host's TCP flows that may be one-sided, begun before the capture, or cut, before "quiet" cannot be said (*assumed*).
const BLIND_SHARE: f64 = 0.5;
/// A step back in packet time beyond this mixes up what came first: the shortest window of a behaviour (*assumed*).
const BACKWARD: Duration = Duration::from_mins(1);
/// Share of all flows that may be forgotten, most of them a flood's (*assumed*).
const FORGOTTEN_SHARE: f64 = 0.5;
/// Share of its bytes that may be missing (*assumed*).
const MISSING_SHARE: f64 = 0.1;

/// Where a host's bets stand in its file.
const LEDGER: u8 = HostFiles::BESIDE + 2;

/// What stands in files behind the behaviours' places.
const BESIDE: [StateKind; 4] = [
    StateKind::of::<HostPage>("page"),
    StateKind::of::<HostRoles>("roles"),
    StateKind::of::<Ledger>("ledger"),
    StateKind::of::<HostProfile>("profile"),
];

/// Why what an analyst remembers could not be written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SaveError(#[from] WriteDownError);

/// Why an analyst could not go on where another stopped.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It is nothing that an analyst wrote.
    #[error(transparent)]
    Damaged(#[from] WriteDownError),
    /// What another version remembers has another form.
    #[error("what it remembers has another form: another version wrote it")]
    Form,
    /// It is of other local networks.
    #[error("it is of the local networks {saved}, and --home says {given}")]
    Home {
        /// The networks that it is of.
        saved: String,
        /// Those that were given now.
        given: String,
    },
}

/// How much the analyst may hold.
#[derive(Clone, Copy, Debug)]
pub struct AnalystLimits {
    /// Bytes that the files of hosts may hold.
    pub bytes: usize,
    /// Local hosts whose names and partners are known, and an eighth of the remotes.
    pub hosts: usize,
}

impl AnalystLimits {
    /// The part of each of so many analysts.
    #[must_use]
    pub const fn shared(self, among: u32) -> Self {
        let among = if among == 0 { 1 } else { among as usize };
        Self { bytes: self.bytes / among, hosts: self.hosts / among }
    }
}

/// What the user knows beside the records, and how he wants behaviours to be seen.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Settings of the behaviours.
    pub settings: Settings,
    /// What is expected of hosts.
    pub expectations: Expectations,
    /// Lists of indicators.
    pub intel: Intel,
}

/// The analyst half: records in, stories out.
pub struct Analyst {
    given_home: Option<Home>,
    settings: Settings,
    limits: AnalystLimits,
    prior_db: f64,
    /// A stage whose behaviours look at nothing.
    without: Option<Stage>,
    expectations: Expectations,
    intel: Intel,
    share: Share,
    /// Whether it is remembered on whom something fired.
    attending: bool,
    /// Among how many analysts is divided what is counted and not weighed: records held back, flows remembered.
    among: usize,
    seen: Seen,
}

/// What an analyst has learned from records, and all that it remembers of them.
#[derive(Default, Serialize, Deserialize)]
struct Seen {
    guess: HomeGuess,
    held: Vec<Record>,
    held_back: usize,
    analysis: Option<Analysis>,
}

/// Flows whose ends are remembered, so that evidence can name their Community IDs: at least this many, at most twice. As many
/// as fill a table of 32,768 places.
const REMEMBERED_FLOWS: usize = 28_672;

/// The ends of the flows seen last.
#[derive(Default, Serialize, Deserialize)]
struct FlowMemory {
    young: SeededMap<FlowId, Tuple>,
    old: SeededMap<FlowId, Tuple>,
    /// One of so many memories.
    #[serde(skip)]
    among: usize,
}

impl FlowMemory {
    /// Learns the ends of a flow when they are first told: when it is classified, or at its end.
    fn learn(&mut self, record: &Record) {
        let end = match record {
            Record::Conn(c) if c.phase != ConnPhase::Interim && c.may_be_new() => {
                Some((c.head.flow, c.wire_tuple()))
            }
            Record::Dns(d) => Some((d.head.flow, d.head.tuple)),
            _ => None,
        };
        if let Some((flow, tuple)) = end {
            self.young.insert(flow, tuple);
            if self.young.len() >= REMEMBERED_FLOWS / self.among.max(1) {
                std::mem::swap(&mut self.young, &mut self.old);
                self.young.clear();
            }
        }
    }

    /// The Community IDs of flows, each once; flows that were forgotten have none, but for the one that `now` tells of.
    fn ids(&self, flows: &[FlowId], now: Option<&Conn>) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        let tuple = |f: &FlowId| match now {
            Some(c) if c.head.flow == *f => Some(c.wire_tuple()),
            _ => self.young.get(f).or_else(|| self.old.get(f)).copied(),
        };
        for tuple in flows.iter().filter_map(tuple) {
            let id = CommunityId::of(&tuple).to_string();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

/// Everything that needs to know where home is.
#[derive(Serialize, Deserialize)]
struct Analysis {
    how: String,
    network: Network,
    #[serde(skip)]
    detectors: Vec<Box<dyn AtWork>>,
    /// Kept one by one, behind all else.
    #[serde(skip)]
    files: HostFiles,
    /// Which detectors want what: by kind of record, and whether a local host opened its flow to somewhere else.
    #[serde(skip)]
    plan: [[Vec<u8>; 2]; Wants::KINDS],
    /// Hosts of which a stage was first seen, or seen earlier than known, since time passed last.
    stirred: BTreeSet<IpAddr>,
    /// Machines that had an address before the one that has it now.
    before: Vec<Machine>,
    /// Bytes that they hold, and may hold.
    before_bytes: usize,
    #[serde(skip)]
    most_before: usize,
    /// The hosts that it is asked about.
    #[serde(skip)]
    share: Share,
    #[serde(skip)]
    prior_db: f64,
    /// Hosts on which something fired since somebody asked, if somebody will.
    #[serde(skip)]
    fired: Option<BTreeSet<IpAddr>>,
    forgotten_before: u64,
    neighbours: Neighbours,
    #[serde(skip)]
    raised: Raised,
    #[serde(skip)]
    fresh: Vec<Evidence>,
    flows: FlowMemory,
    first: Option<Timestamp>,
    ticked: Timestamp,
    /// When its last record became known.
    own: Timestamp,
    outside: Outside,
    /// Flows that went through each proxy, and those of the web in all.
    proxies: BTreeMap<IpAddr, u64>,
    web: u64,
}

/// Hosts on which something fired, and of which that is to be told (*assumed*: an outbreak, not a flood).
const MAX_FIRED: usize = 65_536;
/// The part of what hosts' files may hold that machines may that had their addresses before.
const BEFORE_PART: usize = 8;
/// Proxies that are counted.
const MAX_PROXIES: usize = 256;

/// Flows that closed, and those of them that speak of no host that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Flows between hosts, in all: those of groups, links and the machine itself left out.
    pub of: u64,
    /// Flows both of whose ends are somewhere else.
    pub flows: u64,
    /// Whether somebody said where home is.
    pub given: bool,
}

impl Outside {
    /// Of two parts of a network.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { of: self.of + other.of, flows: self.flows + other.flows, given: self.given || other.given }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        if self.given { "--home lacks a network" } else { "say --home" }
    }

    /// Whether so many flows have no local end that home is probably somewhere else.
    pub fn is_much(self) -> bool {
        self.flows as f64 > OUTSIDE_SHARE * self.of as f64
    }

    /// Their share in per cent.
    pub fn percent(self) -> f64 {
        100.0 * self.flows as f64 / self.of.max(1) as f64
    }
}

impl Analyst {
    /// An analyst who knows where home is, or will find out. `prior_db` is what one believes of a host before looking.
    pub fn new(home: Option<Home>, settings: Settings, limits: AnalystLimits, prior_db: f64) -> Self {
        Self {
            given_home: home,
            settings,
            limits,
            prior_db,
            without: None,
            expectations: Expectations::default(),
            intel: Intel::default(),
            share: Share::WHOLE,
            attending: false,
            among: 1,
            seen: Seen::default(),
        }
    }

    /// The same analyst, who knows what is expected of hosts and has the user's lists of indicators.
    #[must_use]
    pub fn knowing(mut self, expectations: Expectations, intel: Intel) -> Self {
        self.expectations = expectations;
        self.intel = intel;
        self
    }

    /// Settings, what is expected of hosts, and the user's lists are these from now on: what was told before stands, and nothing that was seen is forgotten.
    pub fn know(&mut self, knowledge: Knowledge) {
        (self.settings, self.expectations, self.intel) =
            (knowledge.settings, knowledge.expectations, knowledge.intel);
        if let Some(analysis) = &mut self.seen.analysis {
            analysis.network.expect(std::mem::take(&mut self.expectations));
            analysis.network.inform(std::mem::take(&mut self.intel));
            analysis.detectors = detectors(&self.settings);
            analysis.plan = plan(&analysis.detectors, self.without);
        }
    }

    /// The same analyst for the hosts of one share of the network alone: of other hosts' records it learns where home is, and nothing else.
    #[must_use]
    pub const fn of_share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// The same analyst, who remembers on whom something fired until [`Self::fired`] asks.
    #[must_use]
    pub const fn attending(mut self) -> Self {
        self.attending = true;
        self
    }

    /// The same analyst blind to one stage: what a verdict owes to it (an ablation).
    #[must_use]
    pub const fn without(mut self, stage: Stage) -> Self {
        self.without = Some(stage);
        self
    }

    /// May hold so much from now on, as one of so many analysts.
    pub(crate) fn limit(&mut self, limits: AnalystLimits, among: usize) {
        self.limits = limits;
        self.among = among.max(1);
        if let Some(analysis) = &mut self.seen.analysis {
            analysis.limit(limits, self.among);
        }
    }

    /// Looks at a record. They come in the order in which they became known.
    pub fn observe(&mut self, record: &Record) {
        if let Some(analysis) = &mut self.seen.analysis {
            analysis.observe(record);
            return;
        }
        if self.given_home.is_none() {
            self.seen.guess.learn(record);
            if self.seen.held_back < HELD_BACK / self.among {
                self.seen.held_back +=
                    if matches!(record, Record::Conn(_) | Record::File(_)) { 1 } else { TOLD_WEIGHT };
                self.seen.held.push(record.clone());
                return;
            }
        }
        self.begin().observe(record);
    }

    /// Where home is, is known now: goes through what was held back.
    fn begin(&mut self) -> &mut Analysis {
        let outside = Outside { given: self.given_home.is_some(), ..Outside::default() };
        let (home, how) = match self.given_home.take() {
            Some(home) => (home, "as given".to_owned()),
            None => self.seen.guess.home(),
        };
        let network = Network::new(home, self.limits.hosts);
        let mut analysis = Analysis {
            how,
            network,
            plan: Default::default(),
            detectors: Vec::new(),
            files: HostFiles::default(),
            stirred: BTreeSet::new(),
            before: Vec::new(),
            before_bytes: 0,
            most_before: 0,
            share: self.share,
            prior_db: self.prior_db,
            fired: None,
            forgotten_before: 0,
            neighbours: Neighbours::default(),
            raised: Raised::default(),
            fresh: Vec::new(),
            flows: FlowMemory::default(),
            first: None,
            ticked: Timestamp::MIN,
            own: Timestamp::MIN,
            outside,
            proxies: BTreeMap::new(),
            web: 0,
        };
        self.equip(&mut analysis);
        for record in self.seen.held.drain(..) {
            analysis.observe(&record);
        }
        self.seen.analysis.insert(analysis)
    }

    /// Gives an analysis what no record teaches: behaviours by their settings, what is expected, lists, and how much it may hold.
    fn equip(&mut self, analysis: &mut Analysis) {
        analysis.network.expect(std::mem::take(&mut self.expectations));
        analysis.network.inform(std::mem::take(&mut self.intel));
        analysis.detectors = detectors(&self.settings);
        analysis.plan = plan(&analysis.detectors, self.without);
        analysis.files = HostFiles::default();
        analysis.limit(self.limits, self.among);
        analysis.share = self.share;
        analysis.prior_db = self.prior_db;
        analysis.fired = self.attending.then(BTreeSet::new);
    }

    /// Writes down all that it remembers, so that another analyst can go on where this one stopped.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn save(&self, out: &mut dyn Write) -> Result<(), SaveError> {
        let analysis = self.seen.analysis.as_ref();
        let counts =
            analysis.map(|a| (a.files.len() as u64, a.files.forgotten(), a.files.forgotten_with_evidence()));
        write_down(&form(&BESIDE), out)?;
        write_down(&self.seen, out)?;
        write_down(&counts, out)?;
        for file in analysis.iter().flat_map(|a| a.files.save(&BESIDE)) {
            write_down(&file.map_err(WriteDownError::from)?, out)?;
        }
        Ok(())
    }

    /// Goes on where another analyst stopped. Settings, lists, payoffs and limits are this one's own; local networks may not be others.
    ///
    /// # Errors
    /// `from` is nothing that an analyst wrote, or of other local networks.
    pub fn resume(&mut self, from: &mut dyn Read) -> Result<(), ResumeError> {
        if read_back::<String>(from)? != form(&BESIDE) {
            return Err(ResumeError::Form);
        }
        let mut seen = read_back::<Seen>(from)?;
        let counts = read_back::<Option<(u64, u64, u64)>>(from)?;
        if let (Some(analysis), Some((files, forgotten, with_evidence))) = (&mut seen.analysis, counts) {
            let home = analysis.network.home();
            if let Some(given) = self.given_home.take()
                && given.networks() != home.networks()
            {
                let told = |home: &Home| {
                    home.networks().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                };
                return Err(ResumeError::Home { saved: told(home), given: told(&given) });
            }
            self.equip(analysis);
            for _ in 0..files {
                let file = read_back::<SavedFile<'_>>(from)?;
                analysis.files.restore(&file, &BESIDE).map_err(WriteDownError::from)?;
            }
            analysis.files.have_forgotten(forgotten, with_evidence);
        }
        self.seen = seen;
        Ok(())
    }

    /// The local networks and how they were chosen.
    pub fn home(&mut self) -> (Vec<String>, String) {
        if self.seen.analysis.is_none() {
            self.begin();
        }
        match &self.seen.analysis {
            Some(analysis) => (
                analysis.network.home().networks().iter().map(ToString::to_string).collect(),
                analysis.how.clone(),
            ),
            None => (Vec::new(), String::new()),
        }
    }

    /// Flows without a local end, of its share.
    pub fn outside(&self) -> Outside {
        self.seen.analysis.as_ref().map_or(Outside::default(), |d| d.outside)
    }

    /// Bytes that the files of its hosts hold.
    pub(crate) fn held(&self) -> usize {
        self.seen.analysis.as_ref().map_or(0, |a| a.files.bytes())
    }

    /// Hosts whose names and partners it knows.
    pub(crate) fn known(&self) -> usize {
        self.seen.analysis.as_ref().map_or(0, |a| a.network.known())
    }

    /// Hosts that were forgotten for want of memory.
    pub(crate) fn forgotten(&self) -> u64 {
        self.seen.analysis.as_ref().map_or(0, |a| a.files.forgotten() + a.forgotten_before)
    }

    /// Records of other shares became known until then.
    pub fn reach(&mut self, at: Timestamp) {
        if let Some(analysis) = &mut self.seen.analysis {
            analysis.reach(at);
        }
    }

    /// All records were seen, the last packet at `last`: what waits for a quiet moment gets it.
    pub fn settle(&mut self, last: Option<Timestamp>) {
        if self.seen.analysis.is_none() {
            self.begin();
        }
        if let (Some(analysis), Some(last)) = (&mut self.seen.analysis, last) {
            analysis.reach(last);
            analysis.tick(last.plus(Duration::from_mins(1)));
        }
    }

    /// The stories of its local hosts as they stand, strongest first, then by address; none before it is known where home is. `capture` tells how
    /// far "quiet" can be said.
    pub fn stories(&self, capture: &CaptureFacts) -> Vec<HostStory> {
        stories(&[self.told()], None, capture)
    }

    /// Time has passed until then, though no record says so.
    pub fn pass(&mut self, at: Timestamp) {
        if let Some(analysis) = &mut self.seen.analysis
            && analysis.ticked != Timestamp::MIN
            && at.since(analysis.ticked) >= TICK
        {
            analysis.tick(at);
        }
    }

    /// Hosts on which something fired since this was asked last, so many at most; the others are told the next time.
    pub fn fired(&mut self, most: usize) -> Vec<IpAddr> {
        let Some(fired) = self.seen.analysis.as_mut().and_then(|a| a.fired.as_mut()) else {
            return Vec::new();
        };
        std::iter::from_fn(|| fired.pop_first()).take(most).collect()
    }

    /// The story of the machine that has an address now, as it stands; `outside` is of all shares.
    pub(crate) fn story(&self, host: IpAddr, capture: &CaptureFacts, outside: Outside) -> Option<HostStory> {
        let analysis = self.seen.analysis.as_ref().filter(|_| self.share.has(host))?;
        let machine = analysis.machine(host);
        machine.is_told().then(|| machine.story(capture, outside, self.prior_db))
    }

    /// What it has to tell of its share, as it stands.
    pub fn told(&self) -> ShareTold<'_> {
        let mine = |host: IpAddr| self.share.has(host);
        let mut hosts: Vec<HostTold<'_>> = Vec::new();
        if let Some(analysis) = &self.seen.analysis {
            let now = analysis.files.hosts(&[PAGE, LEDGER]);
            hosts.reserve_exact(now.len() + analysis.before.len());
            let now =
                now.into_iter().filter(|host| mine(*host)).map(|host| Cow::Owned(analysis.machine(host)));
            let now = now.filter(|m: &Cow<'_, Machine>| !m.page.is_blank() || !m.ledger.is_empty());
            let before = analysis.before.iter().filter(|m| m.is_told() && mine(m.host));
            hosts.extend(now.chain(before.map(Cow::Borrowed)).map(HostTold));
        }
        hosts.sort_by_key(HostTold::who);
        ShareTold { hosts, facts: self.facts() }
    }

    /// What belongs to no one host of its share, as it stands.
    pub fn facts(&self) -> ShareFacts {
        let mut facts = ShareFacts { prior_db: self.prior_db, ..ShareFacts::default() };
        let Some(analysis) = &self.seen.analysis else { return facts };
        facts.outside = analysis.outside;
        facts.proxies.clone_from(&analysis.proxies);
        facts.web = analysis.web;
        facts.routers = analysis.neighbours.routers().collect();
        facts.routers.sort_unstable();
        let mine = |host: &IpAddr| self.share.has(*host);
        for host in analysis.files.hosts(&[PAGE]).into_iter().filter(mine) {
            let Some(page) = analysis.files.get::<HostPage>(PAGE, host) else { continue };
            if page.repeated().is_some() {
                facts.repeated.push(host);
            }
            if let Some(card) = analysis.files.card(host) {
                let leased = page.macs.keys().filter(|mac| card.known.is_leased_to(**mac));
                facts.leases.extend(leased.map(|mac| (host, *mac)));
            }
        }
        facts.forgotten = self.forgotten();
        facts.forgotten_with_evidence = analysis.files.forgotten_with_evidence();
        facts
    }
}

/// The detectors that want each kind of record, by their places in the catalogue; those of the stage `without` want nothing.
fn plan(detectors: &[Box<dyn AtWork>], without: Option<Stage>) -> [[Vec<u8>; 2]; Wants::KINDS] {
    std::array::from_fn(|kind| {
        [false, true].map(|outbound| {
            (0..)
                .zip(detectors)
                .zip(CATALOGUE)
                .filter(|((_, d), b)| without != Some(b.about.stage) && d.wants().has(kind, outbound))
                .map(|((index, _), _)| index)
                .collect()
        })
    })
}

impl Analysis {
    fn limit(&mut self, limits: AnalystLimits, among: usize) {
        self.flows.among = among;
        self.files.limit(limits.bytes);
        self.most_before = limits.bytes / BEFORE_PART;
        self.network.limit(limits.hosts);
    }

    fn observe(&mut self, record: &Record) {
        let at = record.head().known;
        self.reach(at);
        let (mine, own) = self.concerns(record);
        if !mine {
            return;
        }
        self.first.get_or_insert(at);
        self.own = self.own.max(at);
        if self.ticked == Timestamp::MIN || at.since(self.ticked) >= TICK {
            self.tick(at);
        }
        if let Record::Conn(c) = record
            && c.phase == ConnPhase::Closed
            && own
        {
            self.count(c);
        }
        self.network.learn(record, &mut self.files, at);
        let mut pages = self.files.states(PAGE);
        let (lease, home) = (self.network.leased(), self.network.home());
        for (host, change) in host_book::hands(&mut pages, &mut self.neighbours, record, lease, home) {
            self.change_hands(host, &change, at);
        }
        roles::learn(&mut self.files.states(ROLES), record, self.network.home(), at);
        let former = host_book::learn(&mut self.files.states(PAGE), record, self.network.home());
        if let Record::Conn(c) = record
            && former != [false; 2]
        {
            self.count_before(c, former);
        }
        profile::learn(&mut self.files.states(PROFILE), record, self.network.home(), former);
        if let Some(lease) = self.network.leased() {
            profile::lease(&mut self.files.states(PROFILE), lease, self.network.home());
            host_book::lease(&mut self.files.states(PAGE), lease, self.network.home());
        }
        self.flows.learn(record);
        let outbound = outbound(self.network.home(), record.tuple());
        let who = Some((Wants::kind_of(record), outbound.is_some()));
        self.each(at, outbound, who, |detector, files, context| detector.observe(record, files, context));
        let conn = match record {
            Record::Conn(c) => Some(c),
            _ => None,
        };
        self.bank(conn);
    }

    /// A share's clock goes by its own records, and through every whole minute between them: what it tells hangs on no other host's records, which
    /// whoever analyses it elsewhere does not see.
    fn reach(&mut self, at: Timestamp) {
        if self.share.is_whole() || self.ticked == Timestamp::MIN {
            return;
        }
        let minute = |t: Timestamp| t.0.div_euclid(MINUTE);
        // After so long nothing waits any more.
        let last = minute(at).min(minute(self.own) + MOST_MINUTES);
        for minute in minute(self.ticked) + 1..=last {
            self.tick(Timestamp(minute * MINUTE));
        }
    }

    /// Whether a record tells of a host of a share, and whether it is that host's own: in all shares it is one's. Leases tell of whoever they are given to.
    fn concerns(&self, record: &Record) -> (bool, bool) {
        if self.share.is_whole() {
            return (true, true);
        }
        let home = self.network.home();
        let mut mine = record.ends(|ip| home.contains(ip)).all().map(|end| self.share.has(end));
        let own = mine.next().unwrap_or(false);
        (own || matches!(record, Record::Dhcp(_)) || mine.any(|mine| mine), own)
    }

    /// Counts a flow that closed: whether it has a local end, and for one of the web whom it went through.
    fn count(&mut self, c: &Conn) {
        let home = self.network.home();
        let ends = c.wire_tuple();
        let known = [ends.orig.ip, ends.resp.ip].iter().any(|ip| home.contains(*ip));
        let outside = !known && home.is_outside(&ends);
        self.outside.of += u64::from(known || outside);
        self.outside.flows += u64::from(outside);
        let proxy = c.via.map(|via| via.ip);
        self.web += u64::from(proxy.is_some() || matches!(c.service, Service::Http | Service::Tls));
        if let Some(proxy) = proxy
            && (self.proxies.len() < MAX_PROXIES || self.proxies.contains_key(&proxy))
        {
            *self.proxies.entry(proxy).or_default() += 1;
        }
    }

    fn tick(&mut self, at: Timestamp) {
        self.ticked = at;
        self.each(at, None, None, |detector, files, context| detector.tick(files, context));
        let stirred = std::mem::take(&mut self.stirred);
        let who = Some((Wants::STIRRED, true));
        self.each(at, None, who, |detector, files, context| {
            for host in &stirred {
                detector.stirred(*host, files, context);
            }
        });
        self.bank(None);
    }

    /// Shows the context as it is now to the detectors that want such a record, or to all of them.
    fn each(
        &mut self,
        now: Timestamp,
        outbound: Option<IpAddr>,
        who: Option<(usize, bool)>,
        mut look: impl FnMut(&mut dyn AtWork, &mut HostFiles, &mut Context<'_>),
    ) {
        let mut context = Context {
            now,
            network: &self.network,
            raised: &mut self.raised,
            evidence: &mut self.fresh,
            stirred: &mut self.stirred,
            outbound,
            index: 0,
            entry: &CATALOGUE[0],
            payoff: |evidence| Calibration::in_use().payoff(evidence).db,
        };
        let wanted =
            who.map_or(&self.plan[Wants::CLOCK][0], |(kind, out)| &self.plan[kind][usize::from(out)]);
        for &index in wanted {
            let Some(entry) = CATALOGUE.get(usize::from(index)) else { continue };
            (context.index, context.entry) = (index, entry);
            if let Some(detector) = self.detectors.get_mut(usize::from(index)) {
                look(detector.as_mut(), &mut self.files, &mut context);
            }
        }
    }

    /// Takes what fired into the ledgers.
    fn bank(&mut self, now: Option<&Conn>) {
        let share = self.share;
        if self.fresh.is_empty() {
            return;
        }
        for mut evidence in self.fresh.drain(..).filter(|e| share.has(e.host)) {
            evidence.community_ids = self.flows.ids(&evidence.flows, now);
            let (host, at) = (evidence.host, evidence.ts);
            let page: Option<&HostPage> = self.files.get(PAGE, host);
            // What began while another machine had the address is that one's.
            if page.and_then(|p| p.since).is_some_and(|since| evidence.started < since) {
                let mine = |m: &&mut Machine| m.host == host && m.page.since <= Some(evidence.started);
                if let Some(machine) = self.before.iter_mut().rev().find(mine) {
                    let first = machine.page.first.unwrap_or(evidence.started);
                    let unplaced = machine.page.unplaced(at);
                    machine.ledger.set_terms(Terms { prior_db: self.prior_db, unplaced }, at);
                    machine.ledger.add(evidence, first, &machine.roles);
                }
                continue;
            }
            let first = page.and_then(|p| p.first).or(self.first).unwrap_or(at);
            let unplaced = page.map(|p| p.unplaced(at)).unwrap_or_default();
            let roles = roles(&self.files, &self.network, host, (first, at));
            let mut ledgers = self.files.states::<Ledger>(LEDGER);
            let ledger = ledgers.of(host, at);
            ledger.set_terms(Terms { prior_db: self.prior_db, unplaced }, at);
            ledger.add(evidence, first, &roles);
            let strength = (ledger.highest() * 10.0) as i32;
            self.files.accuse(host, at, strength);
            if let Some(fired) = self.fired.as_mut().filter(|f| f.len() < MAX_FIRED) {
                fired.insert(host);
            }
        }
    }

    /// The machine that has an address now.
    fn machine(&self, host: IpAddr) -> Machine {
        let page = self.files.get::<HostPage>(PAGE, host).cloned().unwrap_or_default();
        let now = page.last.unwrap_or(Timestamp::MIN);
        let first = page.first.unwrap_or(now);
        let mut ledger = self.files.get::<Ledger>(LEDGER, host).cloned().unwrap_or_default();
        ledger.count_up(|e| {
            let index = CATALOGUE.iter().position(|b| b.name == e.behaviour);
            let index = index.and_then(|at| u8::try_from(at).ok());
            if let Some((index, detector)) =
                index.and_then(|i| Some((i, self.detectors.get(usize::from(i))?)))
            {
                detector.totals(e, &self.files, index);
            }
        });
        let profile = self.files.get::<HostProfile>(PROFILE, host);
        let name =
            |ip, at| self.network.name_for(host, ip, at).or_else(|| self.network.names_of(ip, at).pop());
        Machine {
            host,
            profile: profile.map(|p| p.tell(name)).unwrap_or_default(),
            roles: roles(&self.files, &self.network, host, (first, now)),
            ledger,
            near: self.files.card(host).into_iter().flat_map(|card| card.near.iter().cloned()).collect(),
            page,
        }
    }

    /// An address is another machine's: what was learned of the one before is kept beside, and everything begins anew.
    fn change_hands(&mut self, host: IpAddr, change: &ChangedHands, now: Timestamp) {
        let mut before = self.machine(host);
        let first = before.page.first.unwrap_or(change.at);
        let [old, new] = before.ledger.split(first, change.at, &before.roles);
        before.ledger = old;
        let page = before.page.pass_on(change);
        self.files.close(host);
        self.network.pass_on(host, &mut self.files, now);
        *self.files.states(PAGE).of(host, now) = page;
        if !new.is_empty() {
            let strength = (new.highest() * 10.0) as i32;
            *self.files.states(LEDGER).of(host, now) = new;
            self.files.accuse(host, now, strength);
        }
        // Flows of it that are still open may tell of it yet.
        self.before_bytes += before.held() + size_of::<Machine>();
        self.before.push(before);
        if self.before_bytes > self.most_before {
            self.forget_before();
        }
    }

    /// Counts a flow for the machines that had its ends when it began.
    #[cold]
    fn count_before(&mut self, c: &Conn, sides: [bool; 2]) {
        let ends = c.wire_tuple();
        for (side, ip) in
            [ends.orig.ip, ends.resp.ip].into_iter().enumerate().filter(|(side, _)| sides[*side])
        {
            let then = |m: &&mut Machine| m.host == ip && m.page.since <= Some(c.head.ts);
            if let Some(machine) = self.before.iter_mut().rev().find(then) {
                machine.page.count(c, side);
            }
        }
    }

    /// Of machines that are gone those with least against them are forgotten first, a quarter of the bytes at once.
    fn forget_before(&mut self) {
        let cost = |m: &Machine| m.held() + size_of::<Machine>();
        self.before_bytes = self.before.iter().map(cost).sum();
        self.before.sort_by_key(|m| (Reverse((m.ledger.highest() * 10.0) as i64), Reverse(m.page.until)));
        while self.before_bytes > self.most_before / 4 * 3
            && let Some(least) = self.before.pop()
        {
            self.before_bytes = self.before_bytes.saturating_sub(cost(&least));
            self.forgotten_before += u64::from(least.is_told());
        }
        self.before.sort_by_key(|m| m.page.until);
    }
}

/// What is known of a machine at an address.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) host: IpAddr,
    pub(crate) page: HostPage,
    ledger: Ledger,
    roles: Vec<RoleSeen>,
    near: Vec<NearMiss>,
    profile: Profile,
}

behaviour::held!(Machine: page, ledger, roles, profile);

impl Machine {
    /// Whether there is anything to tell of it.
    pub(crate) fn is_told(&self) -> bool {
        self.page.flows > 0 || !self.ledger.is_empty()
    }

    pub(crate) fn story(&self, capture: &CaptureFacts, outside: Outside, prior: f64) -> HostStory {
        let (page, roles) = (&self.page, &self.roles);
        // A host that is seen no more has not been seen clean: its verdict stands.
        let now = page.last.unwrap_or(Timestamp::MIN);
        let first = page.first.unwrap_or(now);
        // What a host is for is often clear only after it was judged.
        let mut told = self.ledger.clone();
        told.set_terms(Terms { prior_db: prior, unplaced: page.unplaced(now) }, now);
        let anew = told.with_hindsight(first, roles);
        let ledger = anew.as_ref().unwrap_or(&told);
        let best = ledger.best(first, now, roles);
        let before = anew.as_ref().map(|_| told.best(first, now, roles));
        let evidence = ledger.evidence(roles);
        let unseen = unseen(page, capture, outside);
        let verdict = match best.verdict {
            Verdict::Quiet if !unseen.is_empty() => Verdict::Inconclusive,
            v => v,
        };
        let mut near: Vec<NearMiss> = self
            .near
            .iter()
            .filter(|n| !evidence.iter().any(|e| e.evidence.behaviour == n.behaviour))
            .cloned()
            .collect();
        near.sort_by_key(|n| n.stage);
        HostStory {
            host: self.host,
            segment: None,
            names: page.names(),
            same_as: Vec::new(),
            part_of: None,
            changed_hands: page.hands.clone(),
            since: page.since,
            until: page.until,
            first: page.first,
            last: page.last,
            flows: page.flows,
            days: page.days,
            exposed: page.exposed(),
            verdict,
            level_db: best.level_db,
            level_at: (best.at != Timestamp::MIN).then_some(best.at),
            carried_db: best.carried_db,
            posterior_db: ((best.level_db + prior) * 10.0).round() / 10.0,
            // What a silence showed became known behind the last packet, and is told of the last.
            reached: ledger
                .reached()
                .iter()
                .map(|(verdict, at)| (*verdict, capture.last.map_or(*at, |last| last.min(*at))))
                .collect(),
            calendar: ledger.calendar(if unseen.is_empty() { Verdict::Quiet } else { Verdict::Inconclusive }),
            heard: page.heard.clone(),
            findings: findings(&evidence, roles),
            notes: notes(&evidence, ledger, page, now)
                .into_iter()
                .chain(before.filter(|b| b.verdict > best.verdict && b.verdict >= Verdict::Suspicious).map(
                    |b| {
                        let roles = roles.iter().map(|r| r.role.to_string()).collect();
                        Note::Excused { verdict: b.verdict, level_db: b.level_db, roles }
                    },
                ))
                .collect(),
            would_change: Ledger::would_change(&best),
            alternatives: second_story(&best, roles, &evidence),
            without_lists: Ledger::without_lists(&best),
            stages: best.stages,
            evidence_dropped: ledger.dropped(),
            suppressed: ledger.suppressed().to_vec(),
            evidence,
            roles: roles.clone(),
            profile: Box::new(self.profile.clone()),
            places: BTreeMap::new(),
            near,
            unseen,
        }
    }
}

/// The roles that may excuse, learned and declared: who is commanded by somebody is not taken for a mail server because
/// others take its mail, unless somebody declared it one: that holds from the host's first packet on.
fn roles(
    files: &HostFiles,
    network: &Network,
    host: IpAddr,
    (first, at): (Timestamp, Timestamp),
) -> Vec<RoleSeen> {
    let mut roles = roles::roles(files, host);
    let card = files.card(host);
    let ever = card.into_iter().flat_map(|card| card.fired.ever());
    if ever.into_iter().any(|s| matches!(s, Stage::Rendezvous | Stage::Command | Stage::Update)) {
        roles.retain(|r| r.role != Role::MailSender);
    }
    for declaration in network.declared(host, card.map(|card| &card.known), at) {
        if let Some(role) = declaration.role.as_deref().and_then(Role::named) {
            roles.retain(|r| r.role != role);
            roles.push(RoleSeen { role, since: first, because: declaration.told() });
        }
    }
    roles
}

/// Why "quiet" cannot be said of a host.
fn unseen(page: &HostPage, capture: &CaptureFacts, outside: Outside) -> Vec<String> {
    let mut reasons = Vec::new();
    let share = |n: u64, of: u64| n as f64 / of.max(1) as f64;
    if !capture.complete {
        reasons.push("the input ended early or could not be read to its end".to_owned());
    }
    let (unread, what) = &capture.unread;
    if share(*unread, capture.packets) > UNREAD_SHARE {
        let percent = 100.0 * share(*unread, capture.packets);
        reasons.push(format!("{percent:.0} % of the packets were not read ({what})"));
    }
    let [rows, bad] = capture.rows;
    if share(bad, rows + bad) > UNREAD_SHARE {
        let percent = 100.0 * share(bad, rows + bad);
        reasons.push(format!("{percent:.0} % of the lines of logs could not be read"));
    }
    let [twice, flows] = capture.twice;
    if share(twice, flows) > UNREAD_SHARE {
        reasons.push(format!("{twice} of {flows} flows are told by two inputs, and count twice"));
    }
    if share(page.hidden, page.packets) > UNREAD_SHARE {
        let percent = 100.0 * share(page.hidden, page.packets);
        reasons.push(format!(
            "{percent:.0} % of its packets are encrypted tunnels or protocols that are not read"
        ));
    }
    if outside.is_much() {
        let percent = outside.percent();
        reasons.push(format!("{percent:.0} % of the flows have no local end: {}", outside.advice()));
    }
    if let (Some(first), Some(last)) = (capture.first, capture.last)
        && last.since(first).saturating_sub(capture.paused) < SHORTEST
    {
        let secs = last.since(first).saturating_sub(capture.paused).as_secs();
        let pauses = if capture.paused.is_zero() { "" } else { " beside pauses of more than an hour" };
        reasons.push(format!(
            "the capture covers {secs} s{pauses}, and most behaviours need windows of {} s",
            SHORTEST.as_secs()
        ));
    }
    if capture.dropped > 0 && share(capture.dropped, capture.packets + capture.dropped) > 0.01 {
        reasons.push(format!("the capturing side dropped {} packets", capture.dropped));
    }
    if capture.backward > BACKWARD {
        let secs = capture.backward.as_secs();
        reasons.push(format!(
            "packet time steps back by up to {secs} s, so that no window of time can be trusted"
        ));
    }
    let (forgotten, flows) = capture.forgotten;
    if share(forgotten, flows) > FORGOTTEN_SHARE {
        reasons.push(format!("{forgotten} of {flows} flows were forgotten for want of memory"));
    }
    if let Some([a, b]) = page.repeated() {
        reasons.push(format!(
            "two machines use the address at once, one {} and one {}: say --separate-segments",
            named(a),
            named(b)
        ));
    }
    if page.sent == 0 && page.flows > 0 {
        reasons.push("nothing came from it: nobody may be there".to_owned());
    }
    if page.flows < FEWEST_FLOWS {
        let what = if page.flows == 1 { "flow" } else { "flows" };
        reasons.push(format!(
            "only {} {what} of it {} seen",
            page.flows,
            if page.flows == 1 { "was" } else { "were" }
        ));
    }
    if share(page.one_sided, page.tcp) > BLIND_SHARE {
        reasons
            .push(format!("{} of its {} TCP flows were seen from one side only", page.one_sided, page.tcp));
    }
    if share(page.midstream, page.tcp) > BLIND_SHARE {
        reasons.push(format!(
            "{} of its {} TCP flows had begun before they were seen",
            page.midstream, page.tcp
        ));
    }
    if share(page.missed, page.bytes + page.missed) > MISSING_SHARE {
        reasons.push(format!("{} of its TCP streams are missing from the capture", human_bytes(page.missed)));
    }
    let untold = |kind: &Traffic| {
        let told = page.told[*kind as usize];
        told.flows > told.records && share(told.flows - told.records, told.flows) > BLIND_SHARE
    };
    let untold: Vec<&str> = Traffic::ALL.into_iter().filter(untold).filter_map(Traffic::content).collect();
    if !untold.is_empty() {
        reasons.push(format!(
            "not looked at: {}; the logs that were read tell of these flows, and none tells what they carry",
            untold.join(", ")
        ));
    }
    if share(page.cut, page.with_payload) > BLIND_SHARE {
        reasons.push(format!(
            "payloads of {} of its {} flows were cut by the snap length",
            page.cut, page.with_payload
        ));
    }
    reasons
}

fn named(segment: Option<Segment>) -> String {
    segment.map_or_else(|| "without a tag".to_owned(), |s| format!("in {s}"))
}

fn notes(evidence: &[crate::ScoredEvidence], ledger: &Ledger, page: &HostPage, now: Timestamp) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some((verdict, until)) = ledger.ended(now) {
        notes.push(Note::Ended { verdict, until });
    }
    let probes = || evidence.iter().filter(|e| e.evidence.behaviour == "smtp_probe");
    if !probes().any(|e| e.evidence.flag("smtp_open"))
        && let Some(blocked) = probes().next_back()
        && let target = blocked.evidence.text("target")
        && !target.is_empty()
    {
        notes.push(Note::PortBlocked { target: target.to_owned() });
    }
    if let (Some(likely), Some(message)) = (ledger.reached().get(&Verdict::Likely), page.first_spam) {
        let (likely_at, first_message_at) = (*likely, message);
        notes.push(if likely_at <= first_message_at {
            Note::BeforeFirstMessage { likely_at, first_message_at }
        } else {
            Note::AfterFirstMessage { likely_at, first_message_at }
        });
    }
    notes
}
