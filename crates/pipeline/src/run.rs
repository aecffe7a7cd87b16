//! The whole way, from paths to stories.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use behaviour::{Expectations, Home, Intel, Settings};
use capture::{Batch, CaptureError, CaptureSet, InputFile, Live, Opening, Source, Window};
use import::{Followed, LogFile, LogSet, Position};
use ipnet::IpNet;
use record::{Accounts, Anomaly, Health, Record, RecordKey, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Analysed, Span, StoreError};
use verdict::{Analyst, Analysts, CaptureFacts, HostStory, NetworkFacts, Outside, Prior, Teller};

use crate::activity::Activity;
use crate::budget::{Budget, ByteSize};
use crate::decode::Defragmenter;
use crate::feed::Feed;
use crate::others::{Others, Told};
use crate::packets::PacketKeeper;
use crate::scheduler::{self, Step};
use crate::sensor::Sensor;
use crate::shed::Shedder;
use crate::state::{self, Past, StateError};
use crate::subscribers::{Renamed, Subscribers};
use crate::watch::{Heard, Held, Watch, catch_up};

/// Shards of the sensor. Fixed, whatever the number of threads: what a full table forgets must not depend on it.
const SHARDS: u32 = 16;

/// The part of the memory that rows of logs may take while they wait.
const LOGS_PART: usize = 8;
/// Rows of logs between two words of progress.
const TOLD_EVERY: u64 = 16_384;
/// And between two looks at the hosts while it is read what followed logs hold already.
const PAUSED_EVERY: u64 = 4_096;

/// Proxies that are told of.
const SHOWN_PROXIES: usize = 3;

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to read.
    pub inputs: Vec<Source>,
    /// Logs of other sensors, and folders of them, that are followed while it is listened.
    pub follow: Vec<PathBuf>,
    /// Local networks; `None` to find out.
    pub home: Option<Vec<IpNet>>,
    /// Threads, ≥ 1; each does whatever is to be done next.
    pub threads: usize,
    /// The memory budget.
    pub memory: ByteSize,
    /// Settings of the behaviours.
    pub settings: Settings,
    /// What one believes of a host before looking, in decibans.
    pub prior: Prior,
    /// What is expected of hosts.
    pub expectations: Expectations,
    /// The user's lists of indicators.
    pub intel: Intel,
    /// How inputs are opened; its flag is set from outside to stop early.
    pub opening: Opening,
    /// Shares that the network is analysed in: 1, 2, 4 … 64. What a share knows of the network is what its own hosts' records tell.
    pub shares: u32,
    /// Whether addresses repeat in the segments of the network (VLANs, overlays), so that each has hosts of its own.
    pub segments_apart: bool,
    /// Whether files in transfer are hashed.
    pub hashes: bool,
    /// Which part of stores is wanted; of captures and logs everything is.
    pub span: Span,
    /// Who had which address: then hosts are subscribers, by their pseudonyms, and the local networks must hold [`PSEUDONYMS`](crate::PSEUDONYMS).
    pub subscribers: Option<Arc<Subscribers>>,
    /// Where what is remembered rests between runs, if it does: read first where there is such a file, written at the end.
    pub state: Option<PathBuf>,
}

/// How far reading has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Packets.
    pub packets: u64,
    /// Bytes of input.
    pub bytes: u64,
    /// Packets that are known to have been lost.
    pub dropped: u64,
    /// Packets that were left out because more came than can be followed.
    pub shed: u64,
    /// Flows that were forgotten for want of memory.
    pub forgotten: u64,
    /// Packet time.
    pub clock: Option<Timestamp>,
}

/// An input of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Its path.
    pub path: String,
    /// Its size in bytes; `None` for streams.
    pub size: Option<u64>,
    /// SHA-256 of the file as it was read, if it was wanted.
    pub sha256: Option<String>,
    /// Which sensor's log it is, if it is one: its numbers are lines.
    pub log: Option<String>,
}

impl Input {
    pub(crate) fn of(file: &InputFile) -> Self {
        let path = file.path.display().to_string();
        Self { path, size: file.size, sha256: file.sha256.clone(), log: None }
    }

    pub(crate) fn of_log(log: LogFile) -> Self {
        let path = log.path.display().to_string();
        Self { path, size: log.size, sha256: log.sha256, log: Some(log.kind) }
    }
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The inputs, in the order of packet ids.
    pub inputs: Vec<Input>,
    /// The stories of all local hosts, strongest first.
    pub stories: Vec<HostStory>,
    /// Counters.
    pub health: Health,
    /// What must be told, of the inputs first.
    pub notices: Vec<String>,
    /// How many of these are of the inputs, and not of what was judged.
    pub of_inputs: usize,
    /// Inputs that failed or ended early, each with its reason.
    pub failures: Vec<String>,
    /// The local networks.
    pub home: Vec<String>,
    /// How they were chosen.
    pub home_chosen: String,
    /// What went on when, of all hosts together.
    pub activity: Activity,
    /// Flows without a local end.
    pub outside: Outside,
    /// Host states forgotten for want of memory.
    pub hosts_forgotten: u64,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
    /// Shares that the network was analysed in.
    pub shares: u32,
    /// Whether each segment of the network has hosts of its own.
    pub segments_apart: bool,
    /// What was believed of a host before looking.
    pub prior: Prior,
}

impl Outcome {
    /// Whether all input was read to its end.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && !self.interrupted
    }
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The input's fault.
    #[error(transparent)]
    Input(#[from] CaptureError),
    /// The configuration's fault.
    #[error("{0}")]
    Config(String),
    /// What is remembered could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the sensor half counted, and what must be told of its inputs.
#[derive(Debug)]
pub struct Sensed {
    /// The inputs, in the order of packet ids.
    pub inputs: Vec<Input>,
    /// Counters.
    pub health: Health,
    /// What must be told about the inputs.
    pub notices: Vec<String>,
    /// Inputs that failed or ended early, each with its reason.
    pub failures: Vec<String>,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
    /// Whether something was read a second time that is remembered from before.
    pub(crate) repeated: bool,
    /// Days of stores that were read as a whole.
    pub(crate) stored: Vec<Analysed>,
    /// How far logs were read that were followed.
    pub(crate) positions: Vec<Position>,
    /// Whether what lay in these was not read to its end.
    pub(crate) has_more: bool,
    /// When the last that was given became known.
    pub(crate) given: Timestamp,
}

impl Sensed {
    /// What a verdict must know of the capture as a whole.
    pub fn facts(&self) -> CaptureFacts {
        facts(&self.health, self.failures.is_empty() && !self.interrupted)
    }
}

/// What a verdict must know of what was read as a whole.
pub fn facts(health: &Health, complete: bool) -> CaptureFacts {
    let (tcp, udp, other) = health.flows;
    CaptureFacts {
        first: health.first,
        last: health.last,
        paused: Duration::from_nanos(health.paused_ns),
        rows: [health.rows, health.rows_unread],
        twice: [health.told_twice, tcp + udp + other],
        dropped: health.dropped_by_capture,
        packets: health.packets,
        unread: nobodys(&health.accounts),
        complete,
        backward: Duration::from_nanos(health.largest_backward_ns),
        forgotten: (health.anomalies.of(Anomaly::FlowEvicted), tcp + udp + other),
    }
}

/// Packets of which it is not known whose they are, and the most frequent reasons.
fn nobodys(accounts: &Accounts) -> (u64, String) {
    const SHOWN: usize = 3;
    let mut why: Vec<(u64, String)> = accounts
        .unread
        .iter()
        .filter(|(why, _)| !why.has_hosts())
        .map(|(why, n)| (*n, why.to_string()))
        .collect();
    why.push((accounts.fragments, "fragments of which others never came".into()));
    why.extend([(accounts.cut, "cut within their headers".into()), (accounts.damaged, "damaged".into())]);
    why.retain(|(n, _)| *n > 0);
    why.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    why.truncate(SHOWN);
    let what: Vec<String> = why.into_iter().map(|(_, what)| what).collect();
    (accounts.nobodys(), what.join(", "))
}

/// How far a state may be ahead of the clock of the machine (*assumed*: clocks are set by less).
const AHEAD: Duration = Duration::from_mins(1);

/// What is attended to while it happens: interfaces, and logs that grow.
#[derive(Default)]
struct Attended {
    live: Option<Live>,
    followed: Option<Followed>,
    keeper: Option<PacketKeeper>,
}

/// Runs the sensor half alone: every record goes to `sink`, in order. `progress` is called about once a batch. Either may be
/// called on any thread, one call at a time.
///
/// # Errors
/// A directory cannot be listed, or the options contradict themselves. Inputs that fail are part of the outcome.
pub fn sense(
    options: &RunOptions,
    progress: impl FnMut(Progress) + Send,
    mut sink: impl FnMut(RecordKey, &Record) + Send,
) -> Result<Sensed, RunError> {
    options.check()?;
    let divided = divide(&options.inputs, &options.opening)?;
    sense_divided(options, divided, Attended::default(), progress, |step, _| {
        if let Step::Record(key, record) = step {
            sink(key, record);
        }
    })
}

fn sense_divided(
    options: &RunOptions,
    divided: Divided,
    attended: Attended,
    mut progress: impl FnMut(Progress) + Send,
    mut sink: impl FnMut(Step<'_>, Option<&mut Followed>) + Send,
) -> Result<Sensed, RunError> {
    let Attended { live, followed, mut keeper } = attended;
    let budget = options.budget(&divided, live.is_some());
    let Divided { captures, logs, stores, standard, standard_is_log } = divided;
    let (of_logs, of_captures) = if standard_is_log { (standard, None) } else { (None, standard) };
    let mut feed = match live {
        Some(live) => Feed::Live(Box::new(live)),
        None => Feed::Files(Box::new(CaptureSet::with_input(&captures, of_captures, &options.opening)?)),
    };
    let endless = feed.is_endless();
    let first = options.opening.earlier + feed.files().len() as u32;
    // What waits for earlier rows is a part of the memory, as it is for packets.
    let logs =
        LogSet::with_input(logs, of_logs, &options.opening, first, options.memory.0 as usize / LOGS_PART);
    let others = Others::new(
        Told::of(logs, &stores, first, &options.span)?,
        followed,
        options.memory.0 as usize / LOGS_PART,
    );
    let mut others = others.hearing_exporters(feed.inlets());
    // What lies there already is told before anything is heard.
    let mut rows = 0u64;
    while !options.opening.stop.load(Ordering::Relaxed) && others.earlier(&mut sink) {
        rows += 1;
        if rows.is_multiple_of(PAUSED_EVERY) {
            let dropped = feed.dropped();
            progress(Progress { packets: 0, bytes: 0, dropped, shed: 0, forgotten: 0, clock: None });
            others.pause(&mut sink);
        }
    }
    let forgotten = Arc::<AtomicU64>::default();
    let sensors = (0..SHARDS)
        .map(|s| {
            let sensor = Sensor::new(s, budget.flows, options.segments_apart).hashing(options.hashes);
            sensor.counting_forgotten(forgotten.clone())
        })
        .collect();
    let defragmenter = Defragmenter::new(SHARDS, budget.fragments).segments_apart(options.segments_apart);
    let mut shedder = Shedder::default();
    let mut interrupted = false;
    let stopped = || !endless && options.opening.stop.load(Ordering::Relaxed);
    let read = |batch: &mut Batch| {
        let more = !stopped() && feed.next_batch(batch);
        // It may have been asked while the input was waited for.
        interrupted |= stopped();
        if !more {
            return false;
        }
        if endless && let Some(what) = shedder.batch(batch, feed.fullness()) {
            feed.say(&what);
        }
        if let Some(keeper) = &mut keeper {
            keeper.batch(batch);
        }
        progress(Progress {
            packets: feed.packets(),
            bytes: feed.offset(),
            dropped: feed.dropped(),
            shed: shedder.all(),
            forgotten: forgotten.load(Ordering::Relaxed),
            clock: batch.clock(),
        });
        true
    };
    let mut health = scheduler::run(options.threads, read, defragmenter, sensors, |step| match step {
        Step::Record(key, record) => others.beside(key, record, stopped, &mut sink),
        Step::Until { clock, idle } => others.until(clock, idle, &mut sink),
        Step::News(_) => {}
    });
    if let Some(keeper) = keeper {
        keeper.finish();
    }
    health.merge(&feed.health());
    shedder.account(&mut health.accounts);
    // What is left of what others tell when the captures are over.
    others.rest_of_others(capture::now(), &mut sink);
    rows = 0;
    while !stopped() && others.rest(&mut sink) {
        rows += 1;
        if rows.is_multiple_of(TOLD_EVERY) {
            let (packets, bytes) =
                (health.packets + others.logs().health().packets, feed.offset() + others.logs().offset());
            let clock = Some(others.given());
            progress(Progress { packets, bytes, dropped: 0, shed: 0, forgotten: 0, clock });
        }
    }
    interrupted |= stopped();
    let (mut notices, mut failures, mut inputs) = others.told(&mut health);
    let (told_of_inputs, failed) = feed.told();
    notices.extend(told_of_inputs);
    if options.segments_apart && others.logs().are_without_segments() {
        notices.push(
            "Zeek's logs tell no segments but in conn.log's column of VLANs, which is not read: their hosts are judged as untagged, in one".to_owned(),
        );
    }
    failures.extend(failed);
    inputs.splice(..0, feed.files().iter().map(Input::of));
    let (stored, positions, has_more) = (others.analysed(), others.positions(), others.has_more());
    let given = others.given();
    if interrupted {
        let n = health.packets;
        failures.insert(0, format!("interrupted by a signal after {n} packets"));
    }
    if inputs.is_empty() && !endless {
        let names: Vec<String> = options.inputs.iter().map(ToString::to_string).collect();
        failures.push(format!("{}: there is no capture and no log in it", names.join(", ")));
    }
    Ok(Sensed {
        inputs,
        health,
        notices,
        failures,
        interrupted,
        repeated: false,
        stored,
        positions,
        has_more,
        given,
    })
}

/// What a run reads: what a file or folder is, it says itself.
#[derive(Default)]
struct Divided {
    captures: Vec<Source>,
    /// Logs of other sensors.
    logs: Vec<PathBuf>,
    stores: Vec<PathBuf>,
    /// Standard input, which was opened to see what it is.
    standard: Option<Window>,
    /// Whether that is a log.
    standard_is_log: bool,
}

fn divide(inputs: &[Source], opening: &Opening) -> Result<Divided, CaptureError> {
    let mut all = Divided::default();
    for input in inputs {
        match input {
            Source::Path(path) if path.as_os_str() == "-" => {
                let mut standard = capture::open(path, opening, None)?;
                all.standard_is_log = import::holds_log(&mut standard, "-");
                all.standard = Some(standard);
                if all.standard_is_log {
                    all.logs.push(path.clone());
                } else {
                    all.captures.push(input.clone());
                }
            }
            Source::Path(place) if store::is_store(place) => all.stores.push(place.clone()),
            Source::Path(dir) if dir.is_dir() => {
                for path in capture::files_in(dir)? {
                    all.file(Source::Found(path.clone()), path, opening);
                }
            }
            Source::Path(path) if path.is_file() => all.file(input.clone(), path.clone(), opening),
            other => all.captures.push(other.clone()),
        }
    }
    Ok(all)
}

impl Divided {
    /// A file is a log, a capture, or an archive of both.
    fn file(&mut self, source: Source, path: PathBuf, opening: &Opening) {
        let members = capture::members_of(&path);
        let is_log = |p: &PathBuf| !capture::is_called_capture(p) && import::is_log(p, opening);
        let (logs, others): (Vec<PathBuf>, Vec<PathBuf>) = members.into_iter().partition(is_log);
        if !logs.is_empty() {
            self.logs.extend(logs);
            self.captures.extend(others.into_iter().map(Source::Found));
        } else if import::is_log(&path, opening) {
            self.logs.push(path);
        } else {
            self.captures.push(source);
        }
    }
}

impl RunOptions {
    /// The memory budget when nobody gives one.
    pub const MEMORY: ByteSize = ByteSize(1 << 30);

    /// Reads these inputs on one thread, with everything else at its default.
    pub fn of(inputs: Vec<Source>) -> Self {
        Self {
            inputs,
            follow: Vec::new(),
            home: None,
            threads: 1,
            memory: Self::MEMORY,
            settings: Settings::default(),
            prior: Prior::default(),
            expectations: Expectations::default(),
            intel: Intel::default(),
            opening: Opening::default(),
            shares: 1,
            segments_apart: false,
            hashes: true,
            span: Span::default(),
            subscribers: None,
            state: None,
        }
    }

    /// Makes sure that the options do not contradict themselves.
    ///
    /// # Errors
    /// They do.
    pub fn check(&self) -> Result<(), RunError> {
        if self.threads == 0 {
            return Err(RunError::Config("--threads must be at least 1".into()));
        }
        let smallest = crate::budget::SMALLEST;
        if self.memory < smallest {
            return Err(RunError::Config(format!(
                "--memory {} is too little: at least {smallest} are needed",
                self.memory
            )));
        }
        Ok(())
    }

    /// Analysts as these options have them, with what is remembered.
    fn remembered(&self, divided: &Divided, attending: bool) -> Result<(Analysts, Past), RunError> {
        let limits = self.budget(divided, attending).analyst;
        let home = self.home.clone().map(Home::of);
        let (settings, prior) = (self.settings.clone(), self.prior);
        let (expectations, intel) = (self.expectations.clone(), self.intel.clone());
        let make = move || {
            let analyst = Analyst::new(home.clone(), settings.clone(), limits, prior.db())
                .knowing(expectations.clone(), intel.clone());
            if attending { analyst.attending() } else { analyst }
        };
        let (shares, apart) = (self.shares, self.segments_apart);
        let mut analysts = Analysts::new(shares, apart, limits, make).map_err(RunError::Config)?;
        let mut past = Past { shares, segments_apart: apart, prior, ..Past::default() };
        if let Some(path) = self.state.as_ref().filter(|p| p.exists()) {
            past = state::resume(path, &mut analysts, prior)?;
            past.refuse(path, self)?;
        }
        Ok((analysts, past))
    }

    /// What listening with these options would go on from, if there is anything.
    ///
    /// # Errors
    /// The options contradict themselves, or what is remembered cannot be read.
    pub fn goes_on_from(&self) -> Result<Option<Past>, RunError> {
        self.check()?;
        let (_, past) = self.remembered(&Divided::default(), true)?;
        Ok(Some(past).filter(|past| past.last.is_some()))
    }

    fn budget(&self, inputs: &Divided, live: bool) -> Budget {
        Budget::divide(self.memory, SHARDS, live || !inputs.captures.is_empty())
    }
}

/// Reads everything and judges every host. `progress` is called about once a batch.
///
/// # Errors
/// As [`sense`].
pub fn run(options: &RunOptions, progress: impl FnMut(Progress) + Send) -> Result<Outcome, RunError> {
    run_with(options, progress, |_| ())
}

/// The same, and every record goes to `tap` as well, in order.
///
/// # Errors
/// As [`sense`].
pub fn run_with(
    options: &RunOptions,
    progress: impl FnMut(Progress) + Send,
    mut tap: impl FnMut(&Record) + Send,
) -> Result<Outcome, RunError> {
    go(options, None, progress, |heard| {
        if let Heard::Record(record) = heard {
            tap(record);
        }
    })
}

/// What is listened to, and what is kept of it.
pub struct Listened<'a> {
    /// Interfaces, and sockets of exporters.
    pub live: Live,
    /// Where every record is kept.
    pub store: Option<&'a Path>,
    /// Who keeps packets.
    pub keeper: Option<PacketKeeper>,
}

/// Listens to interfaces, and follows logs, until it is stopped, and tells who turned. What is remembered is written down at the beginning and every hour, too; where it is gone on from, records
/// that came later and rest in its store are judged first, for whoever was killed did not write down the last.
///
/// # Errors
/// As [`sense`].
pub fn listen(
    options: &RunOptions,
    listening: Listened<'_>,
    progress: impl FnMut(Progress) + Send,
    on: impl FnMut(Heard<'_>) + Send,
) -> Result<Outcome, RunError> {
    go(options, Some(listening), progress, on)
}

/// What is to be said of the state that a sensor begins from.
fn begins_from(state: &Path, past: &Past, live: &Live) -> Vec<String> {
    let shown = state.display();
    let Some(last) = past.last else {
        let beside = |ending: &str| {
            let mut name = state.as_os_str().to_owned();
            name.push(ending);
            std::fs::metadata(&name).is_ok_and(|lies| lies.len() > 0)
        };
        let was_there = !state.exists() && (beside(".told") || beside(".triage"));
        let lost = format!(
            "there is no {shown}, though what belongs to it lies beside it: nothing is remembered, and everything begins anew"
        );
        return if was_there { vec![lost] } else { Vec::new() };
    };
    let mut said = vec![format!("goes on from {shown}, which knows everything until {last}")];
    let ahead = last.since(capture::now());
    if ahead >= AHEAD {
        said.push(format!(
            "{shown} tells of {last}, {} s ahead of this machine's clock, until when nothing is due: if the clock is right now, the one that it was written by was not, and it should be taken away",
            ahead.as_secs()
        ));
    }
    let were: Vec<&str> = past.inputs.iter().filter(|i| i.size.is_none()).map(|i| i.path.as_str()).collect();
    let is_known = |file: &InputFile| were.contains(&&*file.path.display().to_string());
    if !live.files().is_empty() && !were.is_empty() && !live.files().iter().any(is_known) {
        let mut were = were;
        were.sort_unstable();
        were.dedup();
        said.push(format!("{shown} is of a sensor that listened to {}", were.join(", ")));
    }
    said
}

fn go(
    options: &RunOptions,
    listening: Option<Listened<'_>>,
    progress: impl FnMut(Progress) + Send,
    mut on: impl FnMut(Heard<'_>) + Send,
) -> Result<Outcome, RunError> {
    options.check()?;
    let mut options = options.clone();
    // Whether a file was read before is told by its hash.
    options.opening.hashed |= options.state.is_some();
    let divided = divide(&options.inputs, &options.opening)?;
    let _alone = options.state.as_deref().map(state::lock).transpose()?;
    let (mut analysts, mut past) = options.remembered(&divided, listening.is_some())?;
    options.opening.earlier = past.inputs.len() as u32;
    let mut unheard = Vec::new();
    let mut attended = Attended::default();
    let mut held = None;
    // What was told before is what was remembered; of what came later somebody has to be told still.
    let teller = listening.is_some().then(|| Teller::going_on(&analysts));
    let mut skips = false;
    if let (Some(listened), Some(state)) = (&listening, &options.state) {
        for what in begins_from(state, &past, &listened.live) {
            on(Heard::News(what));
        }
    }
    if let Some(Listened { mut live, store, keeper }) = listening {
        attended.keeper = keeper;
        live.number_from(options.opening.earlier);
        // It listens already while what was kept is judged.
        let remembered = past.last;
        let only_logs = live.files().is_empty();
        if let Some(store) = store {
            // Logs tell it again, all of it and in its order; what is kept is not kept twice.
            if !options.follow.is_empty() {
                held = Some(Held::in_store(store, remembered)?);
            }
            // What packets told, and logs that are gone, is not told again: it is judged from there, and what logs tell of it is left out.
            if remembered.is_some() {
                skips = true;
                unheard = catch_up(store, &mut past, &mut analysts)?;
                for what in &unheard {
                    on(Heard::News(what.clone()));
                }
            }
        }
        if let Some(last) = past.last.filter(|_| !only_logs) {
            live.go_on_from(last);
        }
        if !options.follow.is_empty() {
            let first = options.opening.earlier + live.files().len() as u32;
            let (positions, bytes) = (past.positions.clone(), options.memory.0 as usize / LOGS_PART);
            let remembers = (options.state.is_some(), past.last);
            attended.followed = Some(Followed::open(&options.follow, positions, remembers, first, bytes)?);
        }
        attended.live = Some(live);
    }
    let mut activity = Activity::default();
    let mut watch = match (attended.live.as_ref(), teller) {
        (Some(live), Some(teller)) => Some(Watch::begin(&options, &past, live, teller)?),
        _ => None,
    };
    let mut subscribers = options.subscribers.clone();
    let mut taken = Taken { held, skips, renamed: Renamed::default() };
    let mut sensed = sense_divided(&options, divided, attended, progress, |step, followed| match step {
        Step::Record(_, record) => {
            watch.iter_mut().for_each(Watch::takes);
            taken.take(record, subscribers.as_deref(), &mut activity, &mut analysts, &mut on);
        }
        Step::News(what) => on(Heard::News(what)),
        Step::Until { clock, idle } => {
            let Some(watch) = &mut watch else { return };
            let mut followed = followed;
            // What is remembered is all that was read: nothing of it waits.
            let waits = followed.as_mut().filter(|f| watch.is_due(clock, Some(&***f)));
            for mut record in waits.map(|f| f.all_that_waits()).unwrap_or_default() {
                let head = record.head_mut();
                head.known = head.known.max(clock);
                taken.take(&record, subscribers.as_deref(), &mut activity, &mut analysts, &mut on);
            }
            watch.until(clock, idle, followed, (&mut analysts, &mut subscribers), &mut on);
        }
    })?;
    sensed.failures.extend(unheard);
    let mut facts = sensed.facts();
    if let Some(path) = &options.state {
        let told = past.learn(path, &mut sensed);
        sensed.notices.extend(told);
        // A sensor says of itself what it was worth, and goes on.
        if watch.is_none() {
            past.weigh(&mut sensed, options.opening.earlier as usize);
            facts = sensed.facts();
        }
        if let Some(watch) = &watch {
            past.last = past.last.max(watch.clock()).max(Some(sensed.given));
        }
        (facts.first, facts.last) = (past.first, past.last);
        let mut kept = true;
        if sensed.interrupted {
            sensed.notices.push(format!("{} is left as it was, because reading was stopped", path.display()));
        } else if sensed.has_more {
            sensed.notices.push(format!(
                "{} is left as it was, because what lay in the logs was not read to its end: the next run reads it again",
                path.display()
            ));
        } else if !sensed.repeated {
            // Of whom nobody was told yet, he is told before that is remembered.
            if let (Some(watch), Some(last)) = (&mut watch, facts.last) {
                watch.tell_all(last, &mut analysts, &mut on);
            }
            on(Heard::Remembering(&mut kept));
            match kept.then(|| state::save(path, &past, &analysts)).transpose() {
                // Whoever listened has more to tell, and to write, than this.
                Err(e) if watch.is_some() => sensed.failures.push(e.to_string()),
                saved => {
                    if let (Some(()), Some(watch)) = (saved?, &mut watch) {
                        watch.is_remembered();
                    }
                }
            }
        }
        if !kept {
            sensed.failures.push(format!(
                "{} is left as it was, because records could not be kept: the next run reads them again, where logs tell them",
                path.display()
            ));
        }
    }
    analysts.settle(facts.last);
    if let (Some(watch), Some(last)) = (&mut watch, facts.last) {
        watch.tell_all(last, &mut analysts, &mut on);
    }
    if sensed.failures.is_empty() {
        for stored in &sensed.stored {
            if let Err(e) = stored.note() {
                sensed.notices.push(format!("that these days were analysed could not be noted: {e}"));
            }
        }
    }
    let (home, home_chosen) = analysts.home();
    let mut notices = sensed.notices;
    let of_inputs = notices.len();
    if let Some(subscribers) = &subscribers {
        notices.extend(taken.renamed.said(subscribers.len()));
    }
    let network = analysts.facts();
    notices.extend(told_of_network(&network, analysts.segments_apart()));
    if analysts.beyond() > 0 {
        notices.push(format!(
            "{} records of further segments were judged together (HOST@others): 64 VLANs and 64 overlays have hosts of their own",
            analysts.beyond()
        ));
    }
    Ok(Outcome {
        stories: analysts.stories(&facts),
        hosts_forgotten: network.forgotten,
        inputs: if options.state.is_some() { past.inputs } else { sensed.inputs },
        health: sensed.health,
        notices,
        of_inputs,
        failures: sensed.failures,
        home,
        home_chosen,
        activity,
        outside: network.outside,
        interrupted: sensed.interrupted,
        shares: options.shares,
        segments_apart: options.segments_apart,
        prior: options.prior,
    })
}

/// What becomes of a record.
struct Taken {
    /// Records that a store holds already, and that logs tell once more.
    held: Option<Held>,
    /// Whether these were judged from there.
    skips: bool,
    renamed: Renamed,
}

impl Taken {
    /// Keeps and judges it, once each.
    fn take(
        &mut self,
        record: &Record,
        subscribers: Option<&Subscribers>,
        activity: &mut Activity,
        analysts: &mut Analysts,
        on: &mut impl FnMut(Heard<'_>),
    ) {
        let record = match subscribers {
            Some(subscribers) => &subscribers.renamed(record, &mut self.renamed),
            None => record,
        };
        let is_kept = self.held.as_mut().is_some_and(|held| held.has(record));
        if !is_kept {
            on(Heard::Record(record));
        }
        if !is_kept || !self.skips {
            activity.learn(record);
            analysts.observe(record);
        }
    }
}

/// What must be told of a network as a whole; `apart` says whether each of its segments has hosts of its own.
pub fn told_of_network(network: &NetworkFacts, apart: bool) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut told = Vec::new();
    for &(proxy, through, web) in network.proxies.iter().take(SHOWN_PROXIES) {
        let percent = 100.0 * through as f64 / web.max(1) as f64;
        told.push(format!("{percent:.0} % of the flows of HTTP and TLS went through a proxy at {proxy}: its clients are judged by whom they asked for"));
    }
    let repeated = &network.repeated;
    if !repeated.is_empty() && !apart {
        let shown: Vec<String> = repeated.iter().take(SHOWN).map(ToString::to_string).collect();
        let (n, more) = (repeated.len(), if repeated.len() > SHOWN { ", …" } else { "" });
        let what = if n == 1 { "1 address is".to_owned() } else { format!("{n} addresses are") };
        told.push(format!(
            "{what} used by two machines at once, in two segments of the network ({}{more}): what both did is told as one host's; say --separate-segments",
            shown.join(", ")
        ));
    }
    let lost = network.forgotten_with_evidence;
    if lost > 0 {
        told.push(format!(
            "{lost} hosts on which something had fired were forgotten to stay within --memory: give more, or fewer hosts with --home"
        ));
    }
    told
}
