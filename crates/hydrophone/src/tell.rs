//! `hydrophone tell`: sinks are told of hosts that turned; and how `listen` hands them over to it.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

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
/// What a sensor could not hand over, in the spool.
const UNTOLD: &str = "untold";
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
    let report: Arc<Report> = Arc::new(Box::new(say));
    let cannot = || format!("the spool {} cannot be used", config.spool.display());
    let teller = Teller::begin(&config, &report).with_context(cannot).map_err(Failure::usage)?;
    let tell = |message: &Message| {
        if let Err(e) = teller.tell(message) {
            say(&format!("what is owed cannot be written down: {e}"));
        }
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
                Err(RecvTimeoutError::Timeout) if ends.load(Ordering::Relaxed) => break,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            n += 1;
            match Message::of_line(&String::from_utf8_lossy(&line)) {
                Ok(Some(message)) => tell(&message),
                Ok(None) => {}
                Err(e) => say(&format!("line {n} is none of `listen --json`: {e}")),
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
fn untold(spool: &Path, tell: &impl Fn(&Message)) -> std::io::Result<()> {
    let path = spool.join(UNTOLD);
    let Ok(file) = std::fs::File::open(&path) else { return Ok(()) };
    let mut unread = Vec::new();
    for line in std::io::BufReader::new(file).split(b'\n') {
        let line = line?;
        match Message::of_line(&String::from_utf8_lossy(&line)) {
            Ok(Some(message)) => tell(&message),
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
    std::fs::remove_file(path)
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

/// The process of the sinks, which is handed lines and never waited for.
pub struct Sinks {
    child: Child,
    way: Option<ChildStdin>,
    waiting: VecDeque<u8>,
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
        command.arg("tell").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        let mut child = command.spawn()?;
        let mut ready = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut ready)?;
        }
        if ready.trim_end() != READY {
            let _ = child.wait();
            return Err(Failure::usage(anyhow::anyhow!("the sinks of {} cannot be told", file.display())));
        }
        let way = child.stdin.take();
        if let Some(way) = &way {
            unblocked(way)?;
        }
        Ok(Self { child, way, waiting: VecDeque::new(), spool: config.spool, lost: 0 })
    }

    /// The folder of what is owed.
    pub fn spool(&self) -> &Path {
        &self.spool
    }

    /// Hands a line over, as soon as it can be taken.
    pub fn tell(&mut self, line: &str) {
        if self.way.is_none() || self.waiting.len() + line.len() > MOST_WAITING {
            self.write_down(format!("{line}\n").as_bytes());
            return;
        }
        self.waiting.extend(line.bytes().chain([b'\n']));
        self.hand_over();
    }

    /// Looks whether it is still there, and hands over what can be taken now.
    pub fn look_after(&mut self) {
        if self.way.is_some() && matches!(self.child.try_wait(), Ok(Some(_))) {
            self.is_gone("it has ended");
        }
        self.hand_over();
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
        let place = self.spool.join(UNTOLD);
        say(&format!(
            "the process of the sinks is gone ({why}): nobody is told until it is begun again, by a restart; what is to be told is written down in {}",
            place.display()
        ));
        self.way = None;
        let waiting: Vec<u8> = self.waiting.drain(..).collect();
        self.write_down(&waiting);
    }

    /// What cannot be handed over is told by the next process.
    fn write_down(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let place = self.spool.join(UNTOLD);
        let file = OpenOptions::new().create(true).append(true).open(place);
        if file.and_then(|mut file| file.write_all(lines)).is_err() {
            self.lost += lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count() as u64;
        }
    }

    /// Hands over what is left, and waits until it has ended, not for ever; says how many turns nobody will be told of.
    pub fn end(mut self) -> u64 {
        for waited in 0..PATIENCE {
            self.look_after();
            if self.waiting.is_empty() {
                self.way = None;
            }
            if self.way.is_none() && matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return self.lost;
            }
            if waited == 10 {
                say("waits for the sinks");
            }
            std::thread::sleep(LOOK_UP);
        }
        say("the sinks do not end: what they are owed is told by the next run");
        let waiting: Vec<u8> = self.waiting.drain(..).collect();
        self.write_down(&waiting);
        // Who has given its rights up may not end it: what it is not handed any more, it waits for no longer.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
        self.lost
    }
}

/// Nobody waits for who reads this.
fn unblocked(way: &ChildStdin) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(way)? | rustix::fs::OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(way, flags)?)
}
