//! `hydrophone tell`: sinks are told of hosts that turned; and how `listen` hands them over to it.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use pipeline::RunOptions;
use report::Line;
use signal_hook::consts::{SIGINT, SIGTERM};
use tell::{Config, Message, Report, Teller};
use verdict::{Turn, Verdict};

use crate::args::Tell;
use crate::{Exit, Failure, rights, selftest};

/// The most bytes that wait for the process of the sinks. It takes everything at once and never waits for a sink, so that more means that it hangs.
const MOST_WAITING: usize = 64 << 20;

fn say(what: &str) {
    let _ = writeln!(anstream::stderr().lock(), "hydrophone: {what}");
}

pub fn run(args: &Tell) -> Result<Exit, Failure> {
    let mut config = Config::file(&args.sinks).map_err(Failure::usage)?;
    let of_test = tempfile::tempdir()?;
    if args.test {
        // What nobody takes of a test is owed to nobody.
        of_test.path().clone_into(&mut config.spool);
    }
    if args.user.is_some() {
        rights::step_down(args.user.as_deref()).map_err(Failure::usage)?;
    }
    // Whoever is listened to ends it: what was said last is told, too.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::<AtomicBool>::default()).map_err(Failure::usage)?;
    }
    let report: Arc<Report> = Arc::new(Box::new(say));
    let cannot = || format!("the spool {} cannot be used", config.spool.display());
    let teller = Teller::begin(&config, &report).with_context(cannot).map_err(Failure::usage)?;
    if args.test {
        teller.tell(&a_test().map_err(Failure::input)?)?;
    } else {
        for (n, line) in (1..).zip(std::io::stdin().lock().lines()) {
            match Message::of_line(&line?) {
                Ok(Some(message)) => {
                    if let Err(e) = teller.tell(&message) {
                        say(&format!("what is owed cannot be written down: {e}"));
                    }
                }
                Ok(None) => {}
                Err(e) => say(&format!("line {n} is none of `listen --json`: {e}")),
            }
        }
    }
    let mut owed = 0;
    for done in teller.end() {
        owed += done.owed;
        if args.test || done.owed > 0 {
            let why = done.why.map(|why| format!(": {why}")).unwrap_or_default();
            say(&format!("sink {}: {} told, {} not told{why}", done.name, done.told, done.owed));
        }
    }
    Ok(if owed > 0 { Exit::Partial } else { Exit::Done })
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
    let line = Line::Turn(Box::new(std::borrow::Cow::Owned(turn))).to_json()?;
    Message::of_line(&line)?.context("a turn is one")
}

/// The process of the sinks, which is handed lines and never waited for.
pub struct Sinks {
    child: Child,
    way: Option<ChildStdin>,
    waiting: VecDeque<u8>,
    /// Turns that were lost to it, because it was gone.
    lost: u64,
}

impl Sinks {
    /// Begins it, before rights are given up; a wrong file is told at once.
    pub fn begin(file: &Path, user: Option<&str>) -> Result<Self, Failure> {
        Config::file(file).map_err(Failure::usage)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("tell").arg(file).stdin(Stdio::piped()).stdout(Stdio::null());
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        let mut child = command.spawn()?;
        let way = child.stdin.take();
        if let Some(way) = &way {
            unblocked(way)?;
        }
        Ok(Self { child, way, waiting: VecDeque::new(), lost: 0 })
    }

    /// Hands a line over, as soon as it can be taken.
    pub fn tell(&mut self, line: &str) {
        if self.way.is_none() || self.waiting.len() + line.len() > MOST_WAITING {
            self.lost += 1;
            return;
        }
        self.waiting.extend(line.bytes().chain([b'\n']));
        self.hand_over();
    }

    /// Hands over what can be taken now.
    pub fn hand_over(&mut self) {
        while let (Some(way), false) = (&mut self.way, self.waiting.is_empty()) {
            let (first, _) = self.waiting.as_slices();
            match way.write(first) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    say(&format!(
                        "the process of the sinks is gone ({e}): hosts that turn are told here alone"
                    ));
                    self.lost += self.waiting.iter().filter(|b| **b == b'\n').count() as u64;
                    self.waiting.clear();
                    self.way = None;
                }
            }
        }
    }

    /// Waits until everything was handed over, and until it has ended; says how many turns it was never told of.
    pub fn end(mut self) -> u64 {
        if let Some(way) = &self.way {
            // From here on there is nothing else to do.
            let _ = blocked(way);
        }
        self.hand_over();
        self.way = None;
        let _ = self.child.wait();
        self.lost
    }
}

#[cfg(target_os = "linux")]
fn unblocked(way: &ChildStdin) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(way)? | rustix::fs::OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(way, flags)?)
}

#[cfg(target_os = "linux")]
fn blocked(way: &ChildStdin) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(way)? - rustix::fs::OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(way, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn unblocked(_: &ChildStdin) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn blocked(_: &ChildStdin) -> std::io::Result<()> {
    Ok(())
}
