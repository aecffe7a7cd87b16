//! `hydrophone tell`: sinks are told of hosts that turned; and how `listen` hands them over to it.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::RunOptions;
use report::Line;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tell::{Config, Message, Report, Teller};
use verdict::{Turn, Verdict};

use crate::args::Tell;
use crate::{Exit, Failure, rights, say, selftest};

/// The most bytes that wait for the process of the sinks. It takes everything at once and never waits for a sink, so that more means that it hangs.
const MOST_WAITING: usize = 64 << 20;

/// Said when everything that a sink needs is there.
const READY: &str = "ready";
/// Said when so many lines in all are written down as owed.
const TAKEN: &str = "taken ";
/// Said of a line that could not be written down.
const UNTAKEN: &str = "untaken ";
/// Said of what should be known of a sink.
const SAID: &str = "said ";
/// What a sensor could not hand over, in the spool.
const UNTOLD: &str = "untold";
/// How long the process of the sinks may take for a line (*assumed*: it writes it down, and waits for nobody).
const TAKEN_IN: Duration = Duration::from_mins(1);
/// How often it is looked whether something should end.
const LOOK_UP: Duration = Duration::from_millis(200);
/// So often it is looked whether the sinks have ended: three quarters of a minute.
const PATIENCE: u32 = 225;

pub fn run(args: &Tell) -> Result<Exit, Failure> {
    let mut config = Config::file(&args.sinks).map_err(Failure::usage)?;
    // What root may stays with root, for whoever sends mail; what a sensor may is not for sinks.
    if args.user.is_some() || !rights::is_root() {
        rights::step_down(args.user.as_deref()).map_err(Failure::usage)?;
    }
    let of_test = if args.test { Some(tempfile::tempdir()?) } else { None };
    if let Some(dir) = &of_test {
        // What nobody takes of a test is owed to nobody.
        dir.path().clone_into(&mut config.spool);
    }
    // Who is listened to is asked to read lists anew, or how it goes, and this one is not.
    let (ends, deaf) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    for (signal, heard) in [(SIGTERM, &ends), (SIGINT, &deaf), (SIGHUP, &deaf), (SIGUSR1, &deaf)] {
        signal_hook::flag::register(signal, heard.clone()).map_err(Failure::usage)?;
    }
    // Whoever handed lines over is told of them, and of the sinks.
    let of_sensor = args.of_sensor;
    let answer = move |line: &str| {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}", report::clean(line)).and_then(|()| out.flush());
    };
    let report: Arc<Report> = Arc::new(Box::new(move |what: &str| {
        say(what);
        if of_sensor {
            answer(&format!("{SAID}{what}"));
        }
    }));
    let cannot = || format!("the spool {} cannot be used", config.spool.display());
    let teller = Teller::begin(&config, &report).with_context(cannot).map_err(Failure::usage)?;
    let tell = |message: &Message| {
        let told = teller.tell(message);
        if let Err(e) = &told {
            report(&format!("what is owed cannot be written down: {e}"));
        }
        told.is_ok()
    };
    if args.test {
        tell(&a_test().map_err(Failure::input)?);
    } else {
        // Turns that a process before this one was never handed.
        untold(&config.spool, &tell).with_context(cannot).map_err(Failure::usage)?;
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
        let lines = lines_of_input();
        let mut n = 0u64;
        loop {
            // What was handed over already is taken, also when it should end.
            let line = match lines.recv_timeout(LOOK_UP) {
                Ok(line) => line,
                // A sensor says by the end of its lines that it has no more: it may still find something while it ends.
                Err(RecvTimeoutError::Timeout) if !of_sensor && ends.load(Ordering::Relaxed) => break,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            n += 1;
            let mut owed = true;
            match Message::of_line(&String::from_utf8_lossy(&line)) {
                Ok(Some(message)) => owed = tell(&message),
                Ok(None) => {}
                Err(e) => report(&format!("line {n} is none of `listen --json`: {e}")),
            }
            if of_sensor {
                answer(&format!("{}{n}", if owed { TAKEN } else { UNTAKEN }));
            }
        }
    }
    let mut owed = 0;
    for done in teller.end() {
        owed += done.owed;
        if args.test || done.owed + done.aside > 0 {
            let why = done.why.map(|why| format!(": {why}")).unwrap_or_default();
            let aside = if done.aside > 0 { format!(", {} put aside", done.aside) } else { String::new() };
            say(&format!("sink {}: {} told, {} not told{aside}{why}", done.name, done.told, done.owed));
        }
    }
    Ok(if owed > 0 { Exit::Partial } else { Exit::Done })
}

/// Lines of standard input, from a thread: whoever waits for one does not hear that it should end.
fn lines_of_input() -> Receiver<Vec<u8>> {
    let (told, heard) = sync_channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { return };
            if told.send(line).is_err() {
                return;
            }
        }
    });
    heard
}

/// Tells what a sensor could not hand over, because the process of the sinks was gone.
fn untold(spool: &Path, tell: &impl Fn(&Message) -> bool) -> std::io::Result<()> {
    let path = spool.join(UNTOLD);
    let Ok(file) = std::fs::File::open(&path) else { return Ok(()) };
    let (mut unread, mut owed) = (Vec::new(), true);
    for line in std::io::BufReader::new(file).split(b'\n') {
        let line = line?;
        match Message::of_line(&String::from_utf8_lossy(&line)) {
            Ok(Some(message)) => owed &= tell(&message),
            Ok(None) => {}
            Err(_) => unread.extend(line.into_iter().chain([b'\n'])),
        }
    }
    if !unread.is_empty() {
        let aside = spool.join(UNTOLD).with_extension("aside");
        let kept = OpenOptions::new().create(true).append(true).open(&aside);
        kept.and_then(|mut kept| kept.write_all(&unread))?;
        say(&format!("what nobody can read of {} is put aside in {}", path.display(), aside.display()));
    }
    // What could not be written down stays, and may be told twice.
    if owed { std::fs::remove_file(path) } else { Ok(()) }
}

/// A host that turned, and is none.
fn a_test() -> anyhow::Result<Message> {
    let (capture, bot) = selftest::A_BOT;
    let outcome = pipeline::run(&RunOptions::of(vec![capture]), |_| ())?;
    let found = outcome.stories.into_iter().find(|s| s.host.to_string() == bot);
    let mut story = found.context("the built-in capture has no bot")?;
    story.names.host_names = vec!["a-test-of-hydrophone".to_owned()];
    let at = story.last.unwrap_or_default();
    let turn = Turn { at, before: Verdict::Quiet, found: Vec::new(), story };
    let mut line = serde_json::to_value(Line::Turn(Box::new(std::borrow::Cow::Owned(turn))))?;
    // Who acts upon it can see that it is none.
    line["test"] = true.into();
    Message::of_line(&line.to_string())?.context("a turn is one")
}

/// A line that was handed over, or waits for it.
struct Handed {
    line: String,
    /// Whether it stands in the file of what is untold.
    noted: bool,
}

/// The process of the sinks, which is handed lines and never waited for.
pub struct Sinks {
    child: Child,
    way: Option<ChildStdin>,
    waiting: VecDeque<u8>,
    /// What it says of them.
    answers: ChildStdout,
    /// What of that is no whole line yet.
    half: Vec<u8>,
    /// Lines that were handed over, or wait for it, and of which it did not say that they are owed; and how many it has taken.
    unowed: VecDeque<Handed>,
    /// Lines that it could not write down, and which sinks may or may not be told of.
    untaken: Vec<String>,
    /// How long the file of what is untold was when it began, and whether something was written behind that.
    begins: u64,
    noted: bool,
    /// Whether it is gone: what lies there is for the next one.
    left: bool,
    taken: u64,
    /// When the first of them came to stand there.
    since: Instant,
    /// What is to be said.
    news: Vec<String>,
    gone: Option<String>,
    /// The folder of what is owed, where it is written down what cannot be handed over.
    spool: PathBuf,
    /// Turns that were neither handed over nor written down.
    lost: u64,
}

impl Sinks {
    /// Begins it, before rights are given up; what it cannot do is told at once.
    pub fn begin(file: &Path, user: Option<&str>) -> Result<Self, Failure> {
        let config = Config::file(file).map_err(Failure::usage)?;
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own, so that an interrupt at the terminal ends the sensor first.
        command
            .arg("tell")
            .arg("--of-sensor")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        let mut child = command.spawn()?;
        let cannot = || Failure::usage(anyhow::anyhow!("the sinks of {} cannot be told", file.display()));
        let (Some(mut answers), Some(way)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(cannot());
        };
        let (mut news, mut line) = (Vec::new(), Vec::new());
        // Not a byte more than what it says until it is ready.
        loop {
            let mut byte = [0];
            if answers.read(&mut byte)? == 0 {
                let _ = child.wait();
                return Err(cannot());
            }
            if byte != *b"\n" {
                line.extend(byte);
                continue;
            }
            let said = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
            match said.strip_prefix(SAID) {
                Some(said) => news.push(said.to_owned()),
                None if said == READY => break,
                None => {}
            }
        }
        unblocked(&way)?;
        unblocked(&answers)?;
        Ok(Self {
            child,
            way: Some(way),
            waiting: VecDeque::new(),
            answers,
            half: Vec::new(),
            unowed: VecDeque::new(),
            untaken: Vec::new(),
            begins: std::fs::metadata(config.spool.join(UNTOLD)).map_or(0, |lies| lies.len()),
            noted: false,
            left: false,
            taken: 0,
            since: instant(),
            news,
            gone: None,
            spool: config.spool,
            lost: 0,
        })
    }

    /// The folder of what is owed.
    pub fn spool(&self) -> &Path {
        &self.spool
    }

    /// Hands a line over, as soon as it can be taken.
    pub fn tell(&mut self, line: &str) {
        if self.way.is_none() || self.waiting.len() + line.len() > MOST_WAITING {
            self.lost += u64::from(!self.note(line));
            if self.way.is_some() {
                self.untaken.push(line.to_owned());
            }
            return;
        }
        if self.unowed.is_empty() {
            self.since = instant();
        }
        // Whoever is killed together with it has told nobody: what lies there is told by the next one.
        let noted = self.note(line);
        self.unowed.push_back(Handed { line: line.to_owned(), noted });
        self.waiting.extend(line.bytes().chain([b'\n']));
        self.hand_over();
    }

    /// What is to be said of it; what stands in its way now; and how many lines it has not taken.
    pub fn news(&mut self) -> (Vec<String>, Option<String>, u64) {
        let hangs = !self.unowed.is_empty() && instant().duration_since(self.since) >= TAKEN_IN;
        let hangs = hangs.then(|| {
            "the process of the sinks takes nothing: nobody is told until it goes on, or the sensor is begun again".to_owned()
        });
        (std::mem::take(&mut self.news), self.gone.clone().or(hangs), self.unowed.len() as u64)
    }

    /// Looks whether it is still there, and hands over what can be taken now.
    pub fn look_after(&mut self) {
        self.hear();
        if self.way.is_some() && matches!(self.child.try_wait(), Ok(Some(_))) {
            // What it said last.
            self.hear();
            self.is_gone("it has ended");
        }
        self.hand_over();
    }

    /// Hears what it says.
    fn hear(&mut self) {
        let mut said = [0; 4096];
        while let Ok(n @ 1..) = self.answers.read(&mut said) {
            self.half.extend_from_slice(&said[..n]);
        }
        let Some(end) = self.half.iter().rposition(|b| *b == b'\n') else { return };
        let rest = self.half.split_off(end + 1);
        let lines = std::mem::replace(&mut self.half, rest);
        for line in String::from_utf8_lossy(&lines).lines() {
            if let Some(said) = line.strip_prefix(SAID) {
                self.news.push(said.to_owned());
            } else if let Some(n) = line.strip_prefix(TAKEN).and_then(|n| n.parse::<u64>().ok()) {
                let more = (n.saturating_sub(self.taken) as usize).min(self.unowed.len());
                self.unowed.drain(..more);
                (self.taken, self.since) = (n, instant());
            } else if let Some(n) = line.strip_prefix(UNTAKEN).and_then(|n| n.parse::<u64>().ok()) {
                // Its sinks may be told of it; whether they were, nobody will know when the process is gone.
                let more = (n.saturating_sub(self.taken) as usize).min(self.unowed.len());
                let last = self.unowed.drain(..more).next_back();
                (self.taken, self.since) = (n, instant());
                self.untaken.extend(last.map(|handed| handed.line));
            }
        }
        self.strike();
    }

    /// Strikes off what is owed by now.
    fn strike(&mut self) {
        if self.left || !self.noted || !self.unowed.is_empty() {
            return;
        }
        let place = self.spool.join(UNTOLD);
        let cut = OpenOptions::new().write(true).open(&place).and_then(|file| file.set_len(self.begins));
        if cut.is_err() {
            return;
        }
        self.noted = false;
        for line in self.untaken.clone() {
            self.note(&line);
        }
        if self.begins == 0 && self.untaken.is_empty() {
            let _ = std::fs::remove_file(&place);
        }
    }

    fn hand_over(&mut self) {
        while let (Some(way), false) = (&mut self.way, self.waiting.is_empty()) {
            let (first, _) = self.waiting.as_slices();
            match way.write(first) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => self.is_gone(&e.to_string()),
            }
        }
    }

    fn is_gone(&mut self, why: &str) {
        // What it took it said before.
        self.hear();
        let place = self.spool.join(UNTOLD);
        self.gone = Some(format!(
            "the process of the sinks is gone ({why}): nobody is told until it is begun again, by a restart; what is to be told is written down in {}",
            place.display()
        ));
        self.way = None;
        self.waiting.clear();
        // It may have told some of them, and not have said so: twice is better than never.
        self.leave();
    }

    /// What was not taken is told by the next process, as far as it can be written down.
    fn leave(&mut self) {
        // From here on nothing is struck off.
        self.left = true;
        for handed in std::mem::take(&mut self.unowed) {
            let written = handed.noted || self.note(&handed.line);
            self.lost += u64::from(!written);
        }
    }

    /// Writes a line down that the next process tells, unless this one says that it is owed; gives whether it could be.
    fn note(&mut self, line: &str) -> bool {
        let place = self.spool.join(UNTOLD);
        let written = OpenOptions::new().create(true).append(true).open(place).and_then(|mut file| {
            let before = file.metadata()?.len();
            file.write_all(format!("{line}\n").as_bytes()).inspect_err(|_| {
                // A part of a line would spoil the next one.
                let _ = file.set_len(before);
            })
        });
        self.noted |= written.is_ok();
        written.is_ok()
    }

    /// Hands over what is left, and waits until it has ended, not for ever; says how many turns nobody will be told of.
    pub fn end(mut self) -> u64 {
        for waited in 0..PATIENCE {
            self.look_after();
            if self.waiting.is_empty() && self.gone.is_none() {
                self.way = None;
            }
            if self.way.is_none() && matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                self.hear();
                self.leave();
                return self.lost;
            }
            if waited == 10 {
                say("waits for the sinks");
            }
            std::thread::sleep(LOOK_UP);
        }
        say("the sinks do not end: what they are owed is told by the next run");
        self.hear();
        self.leave();
        // Who has given its rights up may not end it: what it is not handed any more, it waits for no longer.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
        self.lost
    }
}

impl Drop for Sinks {
    /// However it ends, what was not taken is told by the next process.
    fn drop(&mut self) {
        self.hear();
        self.leave();
    }
}

/// A clock that nobody sets: how long a process takes is no packet's time.
#[allow(clippy::disallowed_methods)]
fn instant() -> Instant {
    Instant::now()
}

/// Nobody waits for who reads this.
fn unblocked(way: impl AsFd) -> std::io::Result<()> {
    let way = way.as_fd();
    let flags = rustix::fs::fcntl_getfl(way)? | rustix::fs::OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(way, flags)?)
}
