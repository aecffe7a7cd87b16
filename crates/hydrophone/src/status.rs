//! How a running sensor goes: told to `hydrophone status` over a socket of the file system, and to Prometheus over loopback.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use capture::now;
use case::{Case, Stood, Triage, TriageEntry, TriageState};
use record::Timestamp;
use report::{Detail, human_bytes, human_count, human_duration};
use serde::{Deserialize, Serialize};
use verdict::{Turn, Verdict};

use crate::args::{Colour, Status as StatusArgs};
use crate::read::print_stories;
use crate::{Exit, Failure};

/// How long whoever asks may take to say what.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long whoever asks for stories waits until it is told.
const TOLD_IN: Duration = Duration::from_secs(20);
/// Who may ask at one time.
const GUESTS: usize = 16;
/// The longest question: a note of four thousand characters, as JSON may write them.
const LONGEST: usize = 64 << 10;
/// So much of what was said is remembered.
const REMEMBERED: usize = 8;
/// How often `--watch` asks.
const AGAIN: Duration = Duration::from_secs(2);

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// What is listened to.
    pub interfaces: Vec<String>,
    /// When it began, by the machine's clock.
    pub begun: Timestamp,
    /// When this was told, by the machine's clock.
    pub now: Timestamp,
    /// How far packet time has come, and been judged.
    pub clock: Option<Timestamp>,
    /// How far that is behind, in seconds.
    pub lag_s: f64,
    /// Packets.
    pub packets: u64,
    /// Bytes captured.
    pub bytes: u64,
    /// Packets that found no room in the ring.
    pub dropped: u64,
    /// Packets that were left out because more came than can be followed.
    pub shed: u64,
    /// Records.
    pub records: u64,
    /// Turns of hosts that were told.
    pub turns: u64,
    /// Turns of hosts that are known or closed, which were not.
    #[serde(default)]
    pub turns_settled: u64,
    /// What people said of hosts, so many things.
    #[serde(default)]
    pub said_of_hosts: u64,
    /// Hosts that stand at each level now.
    pub hosts: BTreeMap<String, u64>,
    /// Hosts that were forgotten for want of memory.
    pub hosts_forgotten: u64,
    /// Bytes that the files of hosts take.
    pub hosts_bytes: u64,
    /// Bytes of memory that the process has.
    pub resident: u64,
    /// And may have.
    pub budget: u64,
    /// The store that records are kept in.
    pub store: Option<String>,
    /// The state's file.
    pub state: Option<String>,
    /// The folder that packets are kept in.
    pub keeps_packets: Option<String>,
    /// Packets that were kept there.
    pub packets_kept: u64,
    /// Packets that should have been, and were not.
    pub packets_not_kept: u64,
    /// Bytes in that folder.
    pub kept_bytes: u64,
    /// Records that should have been kept in the store, and were not.
    #[serde(default)]
    pub records_not_kept: u64,
    /// Lines of EVE that were not kept, and not judged.
    #[serde(default)]
    pub eve_not_kept: u64,
    /// Flows that were forgotten for want of memory before they were over.
    #[serde(default)]
    pub flows_forgotten: u64,
    /// Turns that the process of the sinks has not taken yet.
    #[serde(default)]
    pub turns_waiting: u64,
    /// What stands in its way now, and since when: an interface that is down, a disk that is full.
    #[serde(default)]
    pub troubles: BTreeMap<String, String>,
    /// What was said of it last, the latest at the end.
    pub said: VecDeque<String>,
    /// How much was said of it in all.
    pub said_in_all: u64,
}

/// Lines that are asked for, and who judges answers when he comes to it: whoever asked until then has the same answer.
#[derive(Default)]
struct Wanted {
    /// How often it was asked, and how many of these are answered.
    asked: u64,
    answered: u64,
    answer: Arc<String>,
}

/// Where it is written what goes on, and read by who asks.
#[derive(Clone)]
pub struct Board {
    status: Arc<Mutex<Status>>,
    stories: Arc<(Mutex<Wanted>, Condvar)>,
    /// What came of reading files anew: why nothing was, or nothing.
    reloads: Arc<(Mutex<Wanted>, Condvar)>,
    /// What people said of hosts, and the state beside which that is kept.
    triage: Arc<Mutex<Triage>>,
    keeps: Arc<Mutex<()>>,
    state: Option<PathBuf>,
    /// The kernel's word for the memory of the process, opened while that could be.
    memory: Option<Arc<File>>,
}

impl Board {
    /// A board that begins with this.
    ///
    /// # Errors
    /// What people said cannot be read.
    pub fn new(mut status: Status, state: Option<&Path>) -> anyhow::Result<Self> {
        status.begun = now();
        let said = state.map(Triage::of_sensor).transpose()?;
        Ok(Self {
            status: Arc::new(Mutex::new(status)),
            stories: Arc::default(),
            reloads: Arc::default(),
            triage: Arc::new(Mutex::new(said.unwrap_or_default())),
            keeps: Arc::default(),
            state: state.map(Path::to_owned),
            memory: File::open("/proc/self/status").ok().map(Arc::new),
        })
    }

    /// What people said of hosts, by their ids.
    fn triage(&self) -> MutexGuard<'_, Triage> {
        self.triage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody is to be told of this: the host is known or closed, and no more than it was then. One that was closed is open again when it stands nowhere.
    pub fn settles(&self, turn: &Turn) -> bool {
        let host = turn.story.id().to_string();
        if !self.triage().settles(&host, &turn.story) {
            return false;
        }
        if turn.is_end() && self.triage().is(&host, TriageState::Closed) {
            let entry = TriageEntry {
                state: TriageState::Open,
                note: "nothing stands against it any more: it is told of again if that changes".to_owned(),
                who: "hydrophone".to_owned(),
                when: desk_time(),
                stood: Some(Stood::of(&turn.story)),
            };
            if let Err(e) = self.keep(&host, entry) {
                self.say(&format!("{host} stays closed: {e:#}"));
            }
        }
        self.write().turns_settled += 1;
        true
    }

    fn keep(&self, host: &str, entry: TriageEntry) -> anyhow::Result<()> {
        let state =
            self.state.as_ref().context("what is said is kept beside the state: listen with --state")?;
        // One after the other; who judges does not wait for the disk.
        let _alone = self.keeps.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Triage::add_beside(state, host, entry)?;
        *self.triage() = kept;
        Ok(())
    }

    /// Keeps what somebody says of a host that stands somewhere now; gives the host's id.
    fn say_of(&self, said: &SaidOf) -> anyhow::Result<String> {
        ensure!(!said.who.trim().is_empty(), "say who you are");
        let lines = self.stories().context("who judges did not come to it")?;
        let standing = Case::of_lines(&lines)?;
        let is_known = !self.triage().of(&said.host).is_empty();
        let (host, stood) = match standing.host(&said.host) {
            Ok(story) => (story.id().to_string(), Some(Stood::of(story))),
            // Of one that stands nowhere it can be taken back that it is known.
            Err(_) if is_known && said.state == TriageState::Open => (said.host.clone(), None),
            Err(e) => return Err(e.context(format!("of {} nothing is told now", said.host))),
        };
        let (state, who, when) = (said.state, said.who.clone(), desk_time());
        let entry = TriageEntry { state, note: said.note.clone(), who, when, stood };
        self.keep(&host, entry)?;
        Ok(host)
    }

    /// What stands on it, to be changed.
    pub fn write(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something that whoever runs it should know, and remembers it.
    pub fn say(&self, what: &str) {
        crate::say(what);
        self.remember(what);
    }

    /// Remembers something that was said elsewhere.
    pub fn remember(&self, what: &str) {
        let mut status = self.write();
        status.said_in_all += 1;
        if status.said.len() >= REMEMBERED {
            status.said.pop_front();
        }
        status.said.push_back(what.to_owned());
    }

    /// Something stands in its way as long as it does, or does no more. It is said when it begins, unless it was said already.
    pub fn trouble(&self, of: &str, what: Option<String>) {
        let said = {
            let mut status = self.write();
            let before = match &what {
                Some(what) => status.troubles.get(of).filter(|known| known.starts_with(what)).cloned(),
                None => status.troubles.remove(of),
            };
            match (what, before) {
                (Some(_), Some(_)) | (None, None) => None,
                (Some(what), None) => {
                    status.troubles.insert(of.to_owned(), format!("{what}, since {}", now()));
                    Some(what)
                }
                (None, Some(before)) => Some(format!("over: {before}")),
            }
        };
        if let Some(what) = said {
            self.say(&what);
        }
    }

    /// The same of what was said where it happened: all of a kind that stand now.
    pub fn stands(&self, kind: &str, standing: impl IntoIterator<Item = (String, String)>) {
        let mut status = self.write();
        let before: BTreeMap<String, String> =
            status.troubles.extract_if(.., |of, _| of.starts_with(kind)).collect();
        for (of, what) in standing {
            let of = format!("{kind}{of}");
            let since = before.get(&of).filter(|known| known.starts_with(&what)).cloned();
            let since = since.unwrap_or_else(|| {
                if what.contains(" since ") { what } else { format!("{what}, since {}", now()) }
            });
            status.troubles.insert(of, since);
        }
    }

    /// How it goes now.
    pub fn read(&self) -> Status {
        let mut status = self.write().clone();
        status.now = now();
        status.lag_s = status.clock.map_or(0.0, |clock| status.now.since(clock).as_secs_f64());
        status.resident = self.resident().unwrap_or(0);
        status.said_of_hosts = self.triage().all().map(|(_, entries)| entries.len() as u64).sum();
        status
    }

    /// Whether somebody waits for the stories of hosts.
    pub fn wants_stories(&self) -> bool {
        let wanted = self.stories.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.asked > wanted.answered
    }

    /// Gives them to whoever waits.
    pub fn tell_stories(&self, lines: String) {
        let asked = self.stories.0.lock().unwrap_or_else(PoisonError::into_inner).asked;
        answer(&self.stories, asked, lines);
    }

    /// Asks for them, and waits, not for ever.
    fn stories(&self) -> Option<Arc<String>> {
        await_answer(&self.stories, || ())
    }

    /// How often it was asked to read files anew: whoever asks later means what lies there then.
    pub fn reloads_asked(&self) -> u64 {
        self.reloads.0.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    /// Says to those who had asked what came of it: why nothing was read, or nothing.
    pub fn tell_reload(&self, asked: u64, why_not: String) {
        answer(&self.reloads, asked, why_not);
    }

    /// Asks for that, and waits, not for ever.
    fn reload(&self, anew: &AtomicBool) -> Option<Arc<String>> {
        await_answer(&self.reloads, || anew.store(true, Ordering::Relaxed))
    }

    fn resident(&self) -> Option<u64> {
        let mut text = [0; 4096];
        let n = self.memory.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..n)?).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
    }
}

/// Answers everybody who had asked until then.
fn answer((wanted, news): &(Mutex<Wanted>, Condvar), asked: u64, what: String) {
    let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
    *wanted = Wanted { answered: asked, answer: Arc::new(what), ..*wanted };
    news.notify_all();
}

/// Asks, and waits for an answer, not for ever.
fn await_answer((wanted, news): &(Mutex<Wanted>, Condvar), ask: impl FnOnce()) -> Option<Arc<String>> {
    let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
    wanted.asked += 1;
    let mine = wanted.asked;
    ask();
    let told = news.wait_timeout_while(wanted, TOLD_IN, |wanted| wanted.answered < mine);
    let wanted = told.unwrap_or_else(PoisonError::into_inner).0;
    (wanted.answered >= mine).then(|| wanted.answer.clone())
}

impl Status {
    /// What was left out, if anything was.
    pub fn shed(&self) -> String {
        match self.shed {
            0 => String::new(),
            n => format!("; {} were left out because too much came", human_count(n)),
        }
    }

    /// What was not kept or forgotten, beside packets that found no room: how many, and of what.
    fn missing(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let all = [
            (self.records_not_kept, "records were not kept in the store"),
            (self.eve_not_kept, "lines of EVE were not kept, and not judged"),
            (self.flows_forgotten, "flows were forgotten for want of memory"),
        ];
        all.into_iter().filter(|(n, _)| *n > 0)
    }

    /// For a person, in a line.
    pub fn line(&self) -> String {
        let clock = self.clock.map_or_else(|| "no packet yet".to_owned(), |t| format!("until {t}"));
        format!(
            "{clock}: {} packets, {} ({} packets or {:.2} % found no room in the ring{}), {} records",
            human_count(self.packets),
            human_bytes(self.bytes),
            human_count(self.dropped),
            self.lost(),
            self.shed(),
            human_count(self.records),
        )
    }

    /// The part of the packets that found no room in the ring, in per cent.
    fn lost(&self) -> f64 {
        100.0 * self.dropped as f64 / (self.packets + self.dropped).max(1) as f64
    }

    /// What changes when hosts turn, or when something is said of the sensor.
    pub fn mark(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|(verdict, n)| format!("{verdict} {n}")).collect();
        let counted = [self.turns, self.turns_settled, self.said_in_all, self.said_of_hosts];
        format!("{counted:?} {}", hosts.join(" "))
    }

    /// For a person, on one screen.
    pub fn screen(&self) -> String {
        let lost = self.lost();
        let clock = self
            .clock
            .map_or_else(|| "no packet yet".to_owned(), |at| format!("{at}, {:.1} s behind", self.lag_s));
        let levels = [Verdict::Infected, Verdict::Likely, Verdict::Suspicious];
        let hosts: Vec<String> = levels
            .iter()
            .filter_map(|v| Some(format!("{} {}", human_count(*self.hosts.get(v.name())?), v.name())))
            .collect();
        let hosts = if hosts.is_empty() { "nobody is suspicious".to_owned() } else { hosts.join(", ") };
        let mut out = format!(
            "hydrophone {} listens to {} since {} ({})\n",
            self.version,
            self.interfaces.join(", "),
            self.begun,
            human_duration(self.now.since(self.begun))
        );
        let mut line = |name: &str, what: String| _ = writeln!(out, "{name:<9} {what}");
        let turns = if self.turns == 1 { "turn" } else { "turns" };
        let settled = match self.turns_settled {
            0 => String::new(),
            n => format!(", {} of hosts that are known or closed not", human_count(n)),
        };
        line("hosts", format!("{hosts}; {} {turns} told{settled}", human_count(self.turns)));
        line("packets", format!("{}, {}", human_count(self.packets), human_bytes(self.bytes)));
        line(
            "lost",
            format!(
                "{} packets found no room in the ring ({lost:.2} %){}",
                human_count(self.dropped),
                self.shed()
            ),
        );
        line("clock", clock);
        line(
            "memory",
            format!(
                "{} of {}; {} of it for hosts; {} hosts forgotten",
                human_bytes(self.resident),
                human_bytes(self.budget),
                human_bytes(self.hosts_bytes),
                human_count(self.hosts_forgotten)
            ),
        );
        let kept = self.store.as_ref().map_or_else(|| "not kept".to_owned(), |s| format!("kept in {s}"));
        line("records", format!("{}, {kept}", human_count(self.records)));
        if let Some(folder) = &self.keeps_packets {
            let lost = match self.packets_not_kept {
                0 => String::new(),
                n => format!("; {} packets were not kept", human_count(n)),
            };
            line(
                "kept",
                format!(
                    "{} packets, {} in {folder}{lost}",
                    human_count(self.packets_kept),
                    human_bytes(self.kept_bytes)
                ),
            );
        }
        for (n, what) in self.missing() {
            line("missed", format!("{} {what}", human_count(n)));
        }
        if self.turns_waiting > 0 {
            line(
                "sinks",
                format!("{} turns are not taken yet by their process", human_count(self.turns_waiting)),
            );
        }
        self.troubles.iter().for_each(|(of, what)| line("TROUBLE", format!("{of}: {what}")));
        line("state", self.state.clone().unwrap_or_else(|| "not kept: a restart begins anew".to_owned()));
        self.said.iter().for_each(|what| line("said", what.clone()));
        out
    }

    /// For Prometheus, in its text format (version 0.0.4).
    fn metrics(&self) -> String {
        let mut out = String::new();
        let mut one = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
            let _ = writeln!(out, "# HELP hydrophone_{name} {help}\n# TYPE hydrophone_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(out, "hydrophone_{name}{labels} {value}");
            }
        };
        let plain = |value: f64| [(String::new(), value)];
        one("packets_total", "counter", "Packets that were read.", &plain(self.packets as f64));
        one("captured_bytes_total", "counter", "Bytes of them.", &plain(self.bytes as f64));
        let lost = [("ring", self.dropped), ("shed", self.shed)];
        let lost = lost.map(|(cause, n)| (format!("{{cause=\"{cause}\"}}"), n as f64));
        one("packets_dropped_total", "counter", "Packets that were lost, or left out.", &lost);
        one("records_total", "counter", "Records that were judged.", &plain(self.records as f64));
        let why = "Records that should have been kept in the store, and were not.";
        one("records_not_kept_total", "counter", why, &plain(self.records_not_kept as f64));
        let why = "Lines of EVE that were not kept, and not judged.";
        one("eve_not_kept_total", "counter", why, &plain(self.eve_not_kept as f64));
        let why = "Flows that were forgotten for want of memory.";
        one("flows_forgotten_total", "counter", why, &plain(self.flows_forgotten as f64));
        let why = "Turns that the process of the sinks has not taken yet.";
        one("turns_waiting", "gauge", why, &plain(self.turns_waiting as f64));
        let why = "What stands in its way now, so many things.";
        one("troubles", "gauge", why, &plain(self.troubles.len() as f64));
        if self.keeps_packets.is_some() {
            one("packets_kept_total", "counter", "Packets that were kept.", &plain(self.packets_kept as f64));
            let why = "Packets that should have been kept, and were not.";
            one("packets_not_kept_total", "counter", why, &plain(self.packets_not_kept as f64));
            one(
                "packets_kept_bytes",
                "gauge",
                "Bytes of the packets that are kept.",
                &plain(self.kept_bytes as f64),
            );
        }
        one("turns_total", "counter", "Turns of hosts that were told.", &plain(self.turns as f64));
        let why = "Turns of hosts that are known or closed, which were not told.";
        one("turns_settled_total", "counter", why, &plain(self.turns_settled as f64));
        let levels = [Verdict::Suspicious, Verdict::Likely, Verdict::Infected].map(|v| {
            let n = self.hosts.get(v.name()).copied().unwrap_or(0);
            (format!("{{verdict=\"{}\"}}", v.name()), n as f64)
        });
        one("hosts", "gauge", "Hosts that stand at a level now.", &levels);
        let forgotten = plain(self.hosts_forgotten as f64);
        one("hosts_forgotten_total", "counter", "Hosts that were forgotten for want of memory.", &forgotten);
        one(
            "hosts_bytes",
            "gauge",
            "Memory of what is remembered of hosts.",
            &plain(self.hosts_bytes as f64),
        );
        one("memory_resident_bytes", "gauge", "Memory of the process.", &plain(self.resident as f64));
        one("memory_budget_bytes", "gauge", "What --memory allows.", &plain(self.budget as f64));
        one("lag_seconds", "gauge", "How far judging is behind the clock.", &plain(self.lag_s));
        let begun = self.begun.0 as f64 / 1e9;
        one("start_time_seconds", "gauge", "When it began to listen.", &plain(begun));
        out
    }
}

/// Doors through which somebody may ask, opened while that could be.
pub struct Doors {
    /// The socket, its file, and which that is.
    control: Option<(UnixListener, PathBuf, (u64, u64))>,
    metrics: Option<TcpListener>,
}

impl Doors {
    /// Opens what was asked for.
    pub fn open(control: Option<&Path>, metrics: Option<SocketAddr>) -> anyhow::Result<Self> {
        let control = match control {
            Some(path) => {
                if let Ok(lies) = std::fs::symlink_metadata(path) {
                    ensure!(
                        lies.file_type().is_socket(),
                        "--control {}: something else lies there: name a file that is not there",
                        path.display()
                    );
                    // What a killed one left answers nobody.
                    if UnixStream::connect(path).is_err() {
                        let _ = std::fs::remove_file(path);
                    }
                }
                let opened = UnixListener::bind(path)
                    .with_context(|| format!("--control {} cannot be opened", path.display()))?;
                let lies = std::fs::symlink_metadata(path)
                    .with_context(|| format!("--control {} cannot be opened", path.display()))?;
                Some((opened, path.to_owned(), (lies.dev(), lies.ino())))
            }
            None => None,
        };
        let metrics = match metrics {
            Some(at) => {
                ensure!(
                    at.ip().is_loopback(),
                    "--metrics {at}: metrics are told on loopback alone (127.0.0.1:PORT)"
                );
                Some(TcpListener::bind(at).with_context(|| format!("--metrics {at} cannot be opened"))?)
            }
            None => None,
        };
        Ok(Self { control, metrics })
    }

    /// Whether anybody may ask.
    pub const fn is_any(&self) -> bool {
        self.control.is_some() || self.metrics.is_some()
    }

    /// Answers, on threads of their own; `anew` is set where somebody asks to have lists read anew.
    pub fn serve(self, board: &Board, anew: &Arc<AtomicBool>) -> io::Result<Open> {
        let file = self.control.as_ref().map(|(_, path, which)| (path.clone(), *which));
        if let Some((door, ..)) = self.control {
            let (board, anew) = (board.clone(), anew.clone());
            std::thread::Builder::new().name("control".into()).spawn(move || {
                let guests = Arc::new(AtomicUsize::new(0));
                for guest in door.incoming().flatten() {
                    // Who asks for stories waits, and nobody behind him.
                    if guests.fetch_add(1, Ordering::Relaxed) >= GUESTS {
                        guests.fetch_sub(1, Ordering::Relaxed);
                        continue;
                    }
                    let (board, anew, here) = (board.clone(), anew.clone(), guests.clone());
                    let answers = std::thread::Builder::new().name("control".into()).spawn(move || {
                        // Whoever hangs up has heard enough.
                        let _ = control(guest, &board, &anew);
                        here.fetch_sub(1, Ordering::Relaxed);
                    });
                    if answers.is_err() {
                        guests.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            })?;
        }
        if let Some(door) = self.metrics {
            let board = board.clone();
            std::thread::Builder::new().name("metrics".into()).spawn(move || {
                for guest in door.incoming().flatten() {
                    let _ = metrics(guest, &board);
                }
            })?;
        }
        Ok(Open { file })
    }
}

/// Doors that are open: that of the file system is taken away at the end.
pub struct Open {
    file: Option<(PathBuf, (u64, u64))>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some((path, which)) = &self.file else { return };
        // Somebody else may have put something in its place.
        if std::fs::symlink_metadata(path).is_ok_and(|lies| (lies.dev(), lies.ino()) == *which) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Reads until a question ends, not for long; answers are written as to a file, which needs no right to send.
fn question(mut from: impl Read, ends: &[u8]) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut part = [0; 512];
    while said.len() < LONGEST && !said.windows(ends.len()).any(|w| w == ends) {
        match from.read(&mut part)? {
            0 => break,
            n => said.extend_from_slice(&part[..n]),
        }
    }
    Ok(said)
}

fn control(guest: UnixStream, board: &Board, anew: &AtomicBool) -> io::Result<()> {
    guest.set_read_timeout(Some(PATIENCE))?;
    guest.set_write_timeout(Some(PATIENCE))?;
    let said = question(&guest, b"\n")?;
    let wrong = |e: String| serde_json::json!({ "error": e }).to_string();
    let answer = match serde_json::from_slice::<Ask>(&said) {
        Ok(Ask { ask: What::Status, .. }) => serde_json::to_string(&board.read())?,
        Ok(Ask { ask: What::Stories, .. }) => match board.stories() {
            Some(lines) => lines.trim_end().to_owned(),
            None => wrong("who judges did not come to it".to_owned()),
        },
        Ok(Ask { ask: What::Reload, .. }) => match board.reload(anew) {
            Some(why) if why.is_empty() => "{\"done\":\"reload\"}".to_owned(),
            Some(why) => wrong((*why).clone()),
            None => wrong("who judges did not come to it".to_owned()),
        },
        Ok(Ask { ask: What::Triage, of: None }) => serde_json::to_string(&*board.triage())?,
        Ok(Ask { ask: What::Triage, of: Some(of) }) => match board.say_of(&of) {
            Ok(host) => serde_json::json!({ "done": "triage", "host": host }).to_string(),
            Err(e) => wrong(format!("{e:#}")),
        },
        Err(e) => wrong(e.to_string()),
    };
    let mut file = File::from(OwnedFd::from(guest));
    writeln!(file, "{answer}")
}

/// What may be asked: `{"ask":"status"}`, `{"ask":"stories"}`, `{"ask":"reload"}`, `{"ask":"triage"}`, and
/// `{"ask":"triage","of":{"host":"10.0.0.5","state":"closed","who":"Ada","note":"installed anew"}}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    ask: What,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<SaidOf>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Status,
    Stories,
    Reload,
    Triage,
}

/// What somebody says of a host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaidOf {
    /// Its address, name or id.
    pub host: String,
    /// What it is.
    pub state: TriageState,
    /// Who says so.
    pub who: String,
    /// In which words.
    #[serde(default)]
    pub note: String,
}

/// The time of the desk, RFC 3339 to the second.
fn desk_time() -> String {
    Timestamp::from_secs(now().0.div_euclid(1_000_000_000)).to_string().replace(".000000", "")
}

fn metrics(guest: TcpStream, board: &Board) -> io::Result<()> {
    guest.set_read_timeout(Some(PATIENCE))?;
    guest.set_write_timeout(Some(PATIENCE))?;
    let said = question(&guest, b"\r\n\r\n")?;
    let said = String::from_utf8_lossy(&said);
    // A page in a browser may have the name of its own site lead here.
    let host = said.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    });
    let host = host.unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    let (code, body) = match said.lines().next().unwrap_or_default().split(' ').collect::<Vec<_>>()[..] {
        _ if !["127.0.0.1", "localhost", "[::1]"].contains(&name) => ("403 Forbidden", String::new()),
        ["GET", "/metrics" | "/", _] => ("200 OK", board.read().metrics()),
        ["GET", ..] => ("404 Not Found", String::new()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let mut file = File::from(OwnedFd::from(guest));
    write!(
        file,
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A running sensor that answers.
pub struct Sensor<'a>(pub &'a Path);

impl Sensor<'_> {
    fn ask(&self, what: What, of: Option<SaidOf>) -> anyhow::Result<String> {
        let connected = UnixStream::connect(self.0).with_context(|| {
            format!("nobody answers at {} (hydrophone listen --control {0})", self.0.display())
        });
        let mut door = connected?;
        door.set_read_timeout(Some(TOLD_IN + 5 * PATIENCE))?;
        writeln!(door, "{}", serde_json::to_string(&Ask { ask: what, of })?)?;
        let mut answer = String::new();
        door.read_to_string(&mut answer)?;
        ensure!(answer.ends_with('\n'), "{} answers nothing: too many ask", self.0.display());
        Ok(answer)
    }

    fn something_else<E: std::fmt::Display>(&self) -> impl Fn(E) -> anyhow::Error {
        move |e| anyhow::anyhow!("{} answers something else: {e}", self.0.display())
    }

    /// How it goes.
    pub fn status(&self) -> anyhow::Result<Status> {
        serde_json::from_str(&self.ask(What::Status, None)?).map_err(self.something_else())
    }

    /// The hosts that stand somewhere now, as lines and as a case that lies nowhere.
    pub fn standing(&self) -> anyhow::Result<(String, Case)> {
        let answer = self.ask(What::Stories, None)?;
        let case = Case::of_lines(&answer).map_err(self.something_else())?;
        Ok((answer, case))
    }

    /// What people said of its hosts, by their ids.
    pub fn triage(&self) -> anyhow::Result<Triage> {
        serde_json::from_str(&self.ask(What::Triage, None)?).map_err(self.something_else())
    }

    /// Says something of a host that stands somewhere now; gives its id.
    pub fn say_of(&self, of: SaidOf) -> anyhow::Result<String> {
        let answer = self.ask(What::Triage, Some(of))?;
        let answer: serde_json::Value = serde_json::from_str(&answer).map_err(self.something_else())?;
        match (&answer["host"], &answer["error"]) {
            (serde_json::Value::String(host), _) => Ok(host.clone()),
            (_, serde_json::Value::String(why)) => Err(anyhow::anyhow!("{why}")),
            _ => Err(self.something_else()(answer)),
        }
    }
}

/// Hosts that stand somewhere, as the sensor tells them.
fn stories(args: &StatusArgs) -> Result<Exit, Failure> {
    let (answer, Case { capture, stories: hosts, .. }) =
        Sensor(&args.control).standing().map_err(Failure::input)?;
    if let Some(path) = &args.html {
        let mut file = case::WholeFile::begin(path).map_err(Failure::input)?;
        file.write_all(report::html::html(&capture, &hosts).as_bytes())?;
        file.finish().map_err(Failure::input)?;
    }
    if args.json {
        let mut out = io::stdout().lock();
        out.write_all(answer.as_bytes())?;
        out.flush()?;
    } else if args.stories {
        print_stories(&capture, &hosts, Detail::Summary, Colour::Auto)?;
    }
    Ok(Exit::Done)
}

/// `hydrophone status`.
pub fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    if args.stories || args.html.is_some() {
        return stories(args);
    }
    let stop = crate::interrupted();
    loop {
        let what = if args.reload { What::Reload } else { What::Status };
        let sensor = Sensor(&args.control);
        let mut out = anstream::stdout().lock();
        if args.json || args.reload {
            let answer = sensor.ask(what, None).map_err(Failure::input)?;
            let why = serde_json::from_str::<serde_json::Value>(&answer).ok();
            if let Some(why) = why.as_ref().and_then(|a| a["error"].as_str()).filter(|_| args.reload) {
                return Err(Failure::input(anyhow::anyhow!("nothing was read anew: {why}")));
            }
            out.write_all(answer.as_bytes())?;
        } else {
            let status = sensor.status().map_err(Failure::input)?;
            let clear = if args.watch { "\u{1b}[H\u{1b}[2J" } else { "" };
            write!(out, "{clear}{}", status.screen())?;
        }
        out.flush()?;
        drop(out);
        if !args.watch || args.reload {
            return Ok(Exit::Done);
        }
        for _ in 0..20 {
            if stop.load(Ordering::Relaxed) {
                return Ok(Exit::Done);
            }
            std::thread::sleep(AGAIN / 20);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest;

    #[test]
    fn who_is_closed_is_told_of_when_it_is_more_or_turns_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (capture, bot) = selftest::A_BOT;
        let outcome = pipeline::run(&pipeline::RunOptions::of(vec![capture]), |_| ()).unwrap();
        let story = outcome.stories.into_iter().find(|s| s.host.to_string() == bot).unwrap();
        let turn = |verdict: Verdict, findings: usize| {
            let mut story = story.clone();
            story.verdict = verdict;
            story.findings.truncate(findings);
            Turn { at: now(), before: Verdict::Quiet, found: Vec::new(), story }
        };
        let board = Board::new(Status::default(), Some(&state)).unwrap();
        let say = |state: TriageState, of: &Turn| {
            let (who, when, note) = ("Ada".to_owned(), desk_time(), String::new());
            let entry = TriageEntry { state, note, who, when, stood: Some(Stood::of(&of.story)) };
            board.keep(&of.story.id().to_string(), entry).unwrap();
        };
        let [quiet, suspicious, likely] =
            [Verdict::Quiet, Verdict::Suspicious, Verdict::Likely].map(|verdict| turn(verdict, 1));
        assert!(!board.settles(&likely));
        for state in [TriageState::Known, TriageState::Closed] {
            say(state, &likely);
            say(TriageState::Noted, &likely);
            assert!(board.settles(&suspicious) && board.settles(&likely), "{state:?}");
            assert!(!board.settles(&turn(Verdict::Infected, 1)), "it is more: {state:?}");
            assert!(!board.settles(&turn(Verdict::Likely, 2)), "it is something else: {state:?}");
        }
        // What was closed and is over is open; what is known is known for good.
        assert!(board.settles(&quiet));
        assert!(!board.settles(&suspicious));
        say(TriageState::Known, &likely);
        assert!(board.settles(&quiet) && board.settles(&suspicious));
        say(TriageState::Escalated, &likely);
        assert!(!board.settles(&likely));
        assert_eq!(board.read().turns_settled, 7);
        // All of it is there for who goes on.
        let again = Board::new(Status::default(), Some(&state)).unwrap();
        assert_eq!(*again.triage(), *board.triage());
        assert!(
            Board::new(Status::default(), None)
                .unwrap()
                .keep(
                    "10.0.0.5",
                    TriageEntry {
                        state: TriageState::Known,
                        note: String::new(),
                        who: "Ada".into(),
                        when: desk_time(),
                        stood: None,
                    }
                )
                .is_err()
        );
    }
}
