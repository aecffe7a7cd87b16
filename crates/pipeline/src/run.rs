//! The whole way, from paths to stories.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use behaviour::{Expectations, Home, Intel, Settings};
use capture::{Batch, CaptureError, CaptureSet, InputFile, Live, Opening, Source, Window};
use import::{Exports, LogSet};
use ipnet::IpNet;
use record::{Accounts, Anomaly, Health, Record, RecordKey, Service, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Analysed, Reader, Span, StoreError};
use verdict::{Analyst, Analysts, CaptureFacts, HostStory, Outside, Prior, Teller, Turn};

use crate::activity::Activity;
use crate::budget::{Budget, ByteSize};
use crate::decode::Defragmenter;
use crate::feed::Feed;
use crate::scheduler::{self, Step};
use crate::sensor::Sensor;
use crate::state::{self, Past, StateError};

/// Shards of the sensor. Fixed, whatever the number of threads: what a full table forgets must not depend on it.
const SHARDS: u32 = 16;

/// The part of the memory that rows of logs may take while they wait.
const LOGS_PART: usize = 8;
/// Rows of logs between two words of progress.
const TOLD_EVERY: u64 = 16_384;

/// Proxies that are told of.
const SHOWN_PROXIES: usize = 3;

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to read.
    pub inputs: Vec<Source>,
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
    fn of(file: &InputFile) -> Self {
        let path = file.path.display().to_string();
        Self { path, size: file.size, sha256: file.sha256.clone(), log: None }
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
}

impl Sensed {
    /// What a verdict must know of the capture as a whole.
    pub fn facts(&self) -> CaptureFacts {
        let (tcp, udp, other) = self.health.flows;
        CaptureFacts {
            first: self.health.first,
            last: self.health.last,
            dropped: self.health.dropped_by_capture,
            packets: self.health.packets,
            unread: nobodys(&self.health.accounts),
            complete: self.failures.is_empty() && !self.interrupted,
            backward: Duration::from_nanos(self.health.largest_backward_ns),
            forgotten: (self.health.anomalies.of(Anomaly::FlowEvicted), tcp + udp + other),
        }
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
    why.extend([(accounts.cut, "cut within their headers".into()), (accounts.damaged, "damaged".into())]);
    why.retain(|(n, _)| *n > 0);
    why.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    why.truncate(SHOWN);
    let what: Vec<String> = why.into_iter().map(|(_, what)| what).collect();
    (accounts.nobodys(), what.join(", "))
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
    sense_divided(options, divided, None, progress, |step| {
        if let Step::Record(key, record) = step {
            sink(key, record);
        }
    })
}

fn sense_divided(
    options: &RunOptions,
    divided: Divided,
    live: Option<Live>,
    mut progress: impl FnMut(Progress) + Send,
    mut sink: impl FnMut(Step<'_>) + Send,
) -> Result<Sensed, RunError> {
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
    let mut told = Told::of(logs, &stores, first, &options.span)?;
    let mut exports = Exports::new(options.memory.0 as usize / LOGS_PART);
    let sensors = (0..SHARDS)
        .map(|s| Sensor::new(s, budget.flows, options.segments_apart).hashing(options.hashes))
        .collect();
    let defragmenter = Defragmenter::new(SHARDS, budget.fragments).segments_apart(options.segments_apart);
    let mut interrupted = false;
    let stopped = || !endless && options.opening.stop.load(Ordering::Relaxed);
    let read = |batch: &mut Batch| {
        let more = !stopped() && feed.next_batch(batch);
        // It may have been asked while the input was waited for.
        interrupted |= stopped();
        if !more {
            return false;
        }
        progress(Progress {
            packets: feed.packets(),
            bytes: feed.offset(),
            dropped: feed.dropped(),
            clock: batch.clock(),
        });
        true
    };
    // What was given last: what exporters tell may lie before it, and is known then.
    let mut given = Timestamp::MIN;
    let late = |mut record: Record, given: Timestamp| {
        let head = record.head_mut();
        head.known = head.known.max(given);
        record
    };
    let mut health = scheduler::run(options.threads, read, defragmenter, sensors, |step| {
        let Step::Record(key, record) = step else {
            // Where nothing comes, what exporters told is due all the same.
            if let Step::Until { clock, idle: true } = step {
                while let Some(earlier) = exports.next(Some(clock)) {
                    let earlier = late(earlier, given);
                    given = earlier.head().known;
                    sink(Step::Record(RecordKey::of_row(&earlier), &earlier));
                }
            }
            return sink(step);
        };
        while !told.is_empty()
            && !stopped()
            && let Some(earlier) = told.next(Some(key.known))
        {
            given = given.max(earlier.head().known);
            sink(Step::Record(RecordKey::of_row(&earlier), &earlier));
        }
        while let Some(earlier) = exports.next(Some(key.known)) {
            let earlier = late(earlier, given);
            given = earlier.head().known;
            sink(Step::Record(RecordKey::of_row(&earlier), &earlier));
        }
        match record {
            Record::Export(export) => exports.take(export),
            Record::Conn(c) if c.service == Service::NetFlow => exports.hold(record.clone()),
            _ => {
                exports.saw(record.tuple().orig.ip);
                given = given.max(key.known);
                sink(Step::Record(key, record));
            }
        }
    });
    health.merge(&feed.health());
    while let Some(record) = exports.next(None) {
        let record = late(record, given);
        while let Some(earlier) = told.next(Some(record.head().known)) {
            sink(Step::Record(RecordKey::of_row(&earlier), &earlier));
        }
        given = record.head().known;
        sink(Step::Record(RecordKey::of_row(&record), &record));
    }
    health.merge(exports.health());
    // What is left of logs and stores when the captures are over.
    let mut rows = 0u64;
    while !stopped()
        && let Some(record) = told.next(None)
    {
        sink(Step::Record(RecordKey::of_row(&record), &record));
        rows += 1;
        if rows.is_multiple_of(TOLD_EVERY) {
            let (packets, bytes) =
                (health.packets + told.logs.health().packets, feed.offset() + told.logs.offset());
            progress(Progress { packets, bytes, dropped: 0, clock: Some(record.head().known) });
        }
    }
    let Told { logs, stores, .. } = told;
    interrupted |= stopped();
    health.merge(logs.health());
    let (mut notices, mut failures) = (logs.notices(), logs.failures().to_vec());
    notices.extend(exports.notices());
    let (told_of_inputs, failed) = feed.told();
    notices.extend(told_of_inputs);
    failures.extend(failed);
    let mut inputs: Vec<Input> = feed.files().iter().map(Input::of).collect();
    inputs.extend(logs.files().into_iter().map(|log| Input {
        path: log.path.display().to_string(),
        size: log.size,
        sha256: log.sha256,
        log: Some(log.kind),
    }));
    for store in &stores {
        health.merge(&store.health());
        notices.extend(store.notices());
        failures.extend(store.failures().iter().cloned());
        inputs.extend(store.inputs().iter().map(|i| Input {
            path: i.path.clone(),
            size: i.size,
            sha256: i.sha256.clone(),
            log: i.log.clone(),
        }));
    }
    let stored = stores.iter().map(|s| s.analysed().clone()).collect();
    if interrupted {
        let n = health.packets;
        failures.insert(0, format!("interrupted by a signal after {n} packets"));
    }
    if inputs.is_empty() {
        let names: Vec<String> = options.inputs.iter().map(ToString::to_string).collect();
        failures.push(format!("{}: there is no capture and no log in it", names.join(", ")));
    }
    Ok(Sensed { inputs, health, notices, failures, interrupted, repeated: false, stored })
}

/// What was told of before: by logs of other sensors, and by stores.
struct Told {
    logs: LogSet,
    /// The row that comes next, taken out to look at it.
    row: Option<Record>,
    stores: Vec<Reader>,
    /// The record that each store gives next.
    next: Vec<Option<Record>>,
}

impl Told {
    /// Opens stores; the first input of the first is called by this number and so many as there are logs.
    fn of(logs: LogSet, stores: &[PathBuf], first: u32, span: &Span) -> Result<Self, StoreError> {
        let mut first = first + logs.files().len() as u32;
        let mut opened = Vec::new();
        for path in stores {
            let reader = Reader::open(path, span.clone(), first)?;
            first += reader.inputs().len() as u32;
            opened.push(reader);
        }
        let next = opened.iter_mut().map(|r| r.next(None)).collect();
        Ok(Self { logs, row: None, stores: opened, next })
    }

    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.stores.is_empty()
    }

    /// The next record that was known until then.
    fn next(&mut self, until: Option<Timestamp>) -> Option<Record> {
        let known = |r: &Option<Record>| r.as_ref().map(|r| r.head().known);
        let earliest = (0..self.next.len()).filter_map(|n| Some((known(&self.next[n])?, n))).min();
        if self.row.is_none() && !self.logs.is_empty() {
            let until = [until, earliest.map(|(at, _)| at)].into_iter().flatten().min();
            self.row = self.logs.next(until);
        }
        match (known(&self.row), earliest) {
            (Some(row), first) if first.is_none_or(|(at, _)| row <= at) => self.row.take(),
            (_, Some((at, n))) if until.is_none_or(|until| at <= until) => {
                let following = self.stores[n].next(None);
                std::mem::replace(&mut self.next[n], following)
            }
            _ => None,
        }
    }
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
            state: None,
        }
    }

    /// Makes sure that the options do not contradict themselves.
    fn check(&self) -> Result<(), RunError> {
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

/// What whoever listens is told, in order.
pub enum Heard<'a> {
    /// A record.
    Record(&'a Record),
    /// A host turned.
    Turn(&'a Turn),
    /// Something could not be done, and will be tried again.
    Trouble(String),
    /// All that was known until then has been told, and the analysts may be told something.
    Until(Timestamp, &'a mut Analysts, &'a Teller),
}

/// Listens to interfaces until it is stopped, and tells who turned. What is remembered is written down at the beginning and every hour, too; where it is gone on from, records
/// that came later and rest in `store` are judged first, for whoever was killed did not write down the last.
///
/// # Errors
/// As [`sense`].
pub fn listen(
    options: &RunOptions,
    live: Live,
    store: Option<&Path>,
    progress: impl FnMut(Progress) + Send,
    on: impl FnMut(Heard<'_>) + Send,
) -> Result<Outcome, RunError> {
    go(options, Some((live, store)), progress, on)
}

fn go(
    options: &RunOptions,
    listening: Option<(Live, Option<&Path>)>,
    progress: impl FnMut(Progress) + Send,
    mut on: impl FnMut(Heard<'_>) + Send,
) -> Result<Outcome, RunError> {
    options.check()?;
    let mut options = options.clone();
    // Whether a file was read before is told by its hash.
    options.opening.hashed |= options.state.is_some();
    let divided = divide(&options.inputs, &options.opening)?;
    let limits = options.budget(&divided, listening.is_some()).analyst;
    let home = options.home.clone().map(Home::of);
    let (settings, prior) = (options.settings.clone(), options.prior);
    let (expectations, intel) = (options.expectations.clone(), options.intel.clone());
    let attending = listening.is_some();
    let make = move || {
        let analyst = Analyst::new(home.clone(), settings.clone(), limits, prior.db())
            .knowing(expectations.clone(), intel.clone());
        if attending { analyst.attending() } else { analyst }
    };
    let (shares, apart) = (options.shares, options.segments_apart);
    let mut analysts = Analysts::new(shares, apart, limits, make).map_err(RunError::Config)?;
    let mut past = Past { shares, segments_apart: apart, prior, ..Past::default() };
    if let Some(path) = options.state.as_ref().filter(|p| p.exists()) {
        past = state::resume(path, &mut analysts, prior)?;
        past.refuse(path, &options)?;
    }
    options.opening.earlier = past.inputs.len() as u32;
    let mut unheard = Vec::new();
    let live = match listening {
        Some((mut live, store)) => {
            live.number_from(options.opening.earlier);
            // It listens already while what was kept is judged.
            if let (Some(store), true) = (store, past.last.is_some()) {
                unheard = catch_up(store, &mut past, &mut analysts)?;
            }
            if let Some(last) = past.last {
                live.go_on_from(last);
            }
            Some(live)
        }
        None => None,
    };
    let mut activity = Activity::default();
    let mut watch = live.as_ref().map(|live| Watch::begin(&options, &past, live, &analysts));
    let mut sensed = sense_divided(&options, divided, live, progress, |step| match step {
        Step::Record(_, record) => {
            on(Heard::Record(record));
            activity.learn(record);
            analysts.observe(record);
        }
        Step::Until { clock, idle } => {
            if let Some(watch) = &mut watch {
                watch.until(clock, idle, &mut analysts, &mut on);
            }
        }
    })?;
    sensed.failures.extend(unheard);
    let mut facts = sensed.facts();
    if let Some(path) = &options.state {
        let told = past.learn(path, &mut sensed);
        sensed.notices.extend(told);
        (facts.first, facts.last) = (past.first, past.last);
        if sensed.interrupted {
            sensed.notices.push(format!("{} is left as it was, because reading was stopped", path.display()));
        } else if !sensed.repeated {
            match state::save(path, &past, &analysts) {
                // Whoever listened has more to tell, and to write, than this.
                Err(e) if watch.is_some() => sensed.failures.push(e.to_string()),
                saved => saved?,
            }
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
    for (proxy, through, web) in analysts.proxies().into_iter().take(SHOWN_PROXIES) {
        let percent = 100.0 * through as f64 / web.max(1) as f64;
        notices.push(format!("{percent:.0} % of the flows of HTTP and TLS went through a proxy at {proxy}: its clients are judged by whom they asked for"));
    }
    notices.extend(repeated(&analysts));
    let lost = analysts.forgotten_with_evidence();
    if lost > 0 {
        notices.push(format!(
            "{lost} hosts on which something had fired were forgotten to stay within --memory: give more, or fewer hosts with --home"
        ));
    }
    Ok(Outcome {
        stories: analysts.stories(&facts),
        hosts_forgotten: analysts.forgotten(),
        inputs: if options.state.is_some() { past.inputs } else { sensed.inputs },
        health: sensed.health,
        notices,
        of_inputs,
        failures: sensed.failures,
        home,
        home_chosen,
        activity,
        outside: analysts.outside(),
        interrupted: sensed.interrupted,
        shares: options.shares,
        segments_apart: options.segments_apart,
        prior: options.prior,
    })
}

/// Judges what a store holds beyond what is remembered: what of it could not be read.
fn catch_up(store: &Path, past: &mut Past, analysts: &mut Analysts) -> Result<Vec<String>, StoreError> {
    if !store::is_store(store) {
        return Ok(Vec::new());
    }
    let since = past.last.map(|last| last.plus(Duration::from_nanos(1)));
    let mut kept = Reader::open(store, Span { since, ..Span::default() }, 0)?;
    while let Some(record) = kept.next(None) {
        past.last = past.last.max(Some(record.head().known));
        analysts.observe(&record);
    }
    Ok(kept.failures().to_vec())
}

/// How often what is remembered is written down while it is listened.
const SAVED: Duration = Duration::from_hours(1);
/// And when that failed.
const TRIED_AGAIN: Duration = Duration::from_mins(5);

/// Who looks at the hosts while it is listened.
struct Watch {
    teller: Teller,
    /// Where what is remembered rests, and what was read when it is written.
    state: Option<(PathBuf, Past)>,
    saved: Option<Timestamp>,
}

impl Watch {
    fn begin(options: &RunOptions, past: &Past, live: &Live, analysts: &Analysts) -> Self {
        let mut past = past.clone();
        past.inputs.extend(live.files().iter().map(Input::of));
        Self {
            teller: Teller::going_on(analysts),
            state: options.state.clone().map(|path| (path, past)),
            saved: None,
        }
    }

    /// All that was known until then has been told.
    fn until(
        &mut self,
        clock: Timestamp,
        idle: bool,
        analysts: &mut Analysts,
        on: &mut impl FnMut(Heard<'_>),
    ) {
        if idle {
            analysts.pass(clock);
        }
        self.tell(clock, analysts, on);
        on(Heard::Until(clock, analysts, &self.teller));
        if let Some((path, past)) = &mut self.state
            && self.saved.is_none_or(|saved| clock.since(saved) >= SAVED)
        {
            self.saved = Some(clock);
            past.first.get_or_insert(clock);
            past.last = past.last.max(Some(clock));
            if let Err(e) = state::save(path, past, analysts) {
                self.saved = Some(clock.minus(SAVED.saturating_sub(TRIED_AGAIN)));
                on(Heard::Trouble(e.to_string()));
            }
        }
    }

    /// The same at the end, when nobody is asked a second time.
    fn tell_all(&mut self, at: Timestamp, analysts: &mut Analysts, on: &mut impl FnMut(Heard<'_>)) {
        for turn in self.teller.look_now(analysts, at) {
            on(Heard::Turn(&turn));
        }
    }

    fn tell(&mut self, at: Timestamp, analysts: &mut Analysts, on: &mut impl FnMut(Heard<'_>)) {
        for turn in self.teller.look(analysts, at) {
            on(Heard::Turn(&turn));
        }
    }
}

/// What must be told of segments of the network: that addresses repeat in them, or that there are too many.
fn repeated(analysts: &Analysts) -> Vec<String> {
    const SHOWN: usize = 3;
    let repeated = analysts.repeated();
    let mut told = Vec::new();
    if !repeated.is_empty() && !analysts.segments_apart() {
        let shown: Vec<String> = repeated.iter().take(SHOWN).map(ToString::to_string).collect();
        let (n, more) = (repeated.len(), if repeated.len() > SHOWN { ", …" } else { "" });
        let what = if n == 1 { "1 address is".to_owned() } else { format!("{n} addresses are") };
        told.push(format!(
            "{what} used by two machines at once, in two segments of the network ({}{more}): what both did is told as one host's; say --separate-segments",
            shown.join(", ")
        ));
    }
    if analysts.beyond() > 0 {
        told.push(format!(
            "{} records of further segments were judged together (HOST@others): 64 VLANs and 64 overlays have hosts of their own",
            analysts.beyond()
        ));
    }
    told
}
