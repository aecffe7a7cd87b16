//! What each sink still owes: in a file of its own until it was delivered.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{Config, SinkConfig};
use crate::message::Message;
use crate::sinks::Sink;

/// How long is waited after the first failure; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// And never longer.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long the end waits for those who have not answered: what is left is told by the next run.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Messages of a digest.
const MOST_AT_ONCE: usize = 1_000;
/// Messages that a sink holds in memory, beyond which they lie in its file alone until the next run.
const MOST_HELD: usize = 50_000;

/// What came of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Its name.
    pub name: String,
    /// Turns that were delivered.
    pub told: u64,
    /// Turns that were put aside, because nobody took them for too long.
    pub aside: u64,
    /// Turns that are still owed.
    pub owed: u64,
    /// Why the last attempt failed, if it did.
    pub why: Option<String>,
}

/// What happened to a sink that somebody should know.
pub type Report = Box<dyn Fn(&str) + Send + Sync>;

/// Everybody who is told, each on a thread.
pub struct Teller {
    sinks: Vec<(SinkConfig, Option<Sender<Message>>, JoinHandle<Delivery>)>,
}

impl Teller {
    /// Begins, with what is owed from before.
    ///
    /// # Errors
    /// The spool cannot be written in.
    pub fn begin(config: &Config, report: &std::sync::Arc<Report>) -> io::Result<Self> {
        fs::create_dir_all(&config.spool)?;
        let mut sinks = Vec::new();
        for sink in &config.sinks {
            let debts = Debts::open(&config.spool, &sink.name)?;
            let (to, from) = channel();
            let postman = Postman {
                sink: Sink::new(sink.kind.clone()),
                config: sink.clone(),
                debts,
                sent: VecDeque::new(),
                done: Delivery { name: sink.name.clone(), ..Delivery::default() },
                report: report.clone(),
            };
            let thread =
                std::thread::Builder::new().name(sink.name.clone()).spawn(move || postman.serve(&from))?;
            sinks.push((sink.clone(), Some(to), thread));
        }
        Ok(Self { sinks })
    }

    /// Tells everybody whom it concerns; waits for nobody.
    pub fn tell(&self, message: &Message) {
        for (config, to, _) in &self.sinks {
            if message.level() >= config.level
                && let Some(to) = to
            {
                let _ = to.send(message.clone());
            }
        }
    }

    /// Ends: gives what came of each.
    pub fn end(mut self) -> Vec<Delivery> {
        for (_, to, _) in &mut self.sinks {
            *to = None;
        }
        let ended = |(config, _, thread): (SinkConfig, _, JoinHandle<Delivery>)| {
            thread.join().unwrap_or(Delivery { name: config.name, ..Delivery::default() })
        };
        self.sinks.into_iter().map(ended).collect()
    }
}

/// The file of what is owed, and that of what was put aside.
struct Debts {
    path: PathBuf,
    file: File,
    aside: PathBuf,
    queue: VecDeque<(Message, Instant)>,
    /// Further ones, which lie in the file alone.
    beyond: u64,
}

impl Debts {
    fn open(spool: &Path, name: &str) -> io::Result<Self> {
        let path = spool.join(format!("{name}.owed"));
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        let mut queue = VecDeque::new();
        for line in BufReader::new(&file).lines() {
            // The last line of whoever was killed may be cut: that turn is in what it read, too.
            if let Ok(Some(message)) = Message::of_line(&line?) {
                queue.push_back((message, Instant::now()));
            }
        }
        Ok(Self { path, file, aside: spool.join(format!("{name}.aside")), queue, beyond: 0 })
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        let lines: String = message.lines().flat_map(|line| [line, "\n"]).collect();
        if self.queue.len() < MOST_HELD {
            self.queue.push_back((message, Instant::now()));
        } else {
            self.beyond += 1;
        }
        self.file.write_all(lines.as_bytes())
    }

    /// The first so many are owed no more.
    fn settle(&mut self, first: usize) -> io::Result<()> {
        self.queue.drain(..first);
        if !self.queue.is_empty() || self.beyond > 0 {
            return Ok(());
        }
        self.file.set_len(0)
    }

    /// What is still owed alone is left in the file.
    fn rest(&self) -> io::Result<()> {
        if self.beyond > 0 {
            return Ok(());
        }
        let fresh = self.path.with_extension("part");
        let mut file = File::create(&fresh)?;
        for line in self.queue.iter().flat_map(|(m, _)| m.lines()) {
            writeln!(file, "{line}")?;
        }
        file.sync_all()?;
        fs::rename(fresh, &self.path)
    }
}

/// Who tells one sink.
struct Postman {
    sink: Sink,
    config: SinkConfig,
    debts: Debts,
    /// When messages went out last.
    sent: VecDeque<Instant>,
    done: Delivery,
    report: std::sync::Arc<Report>,
}

impl Postman {
    fn serve(mut self, from: &Receiver<Message>) -> Delivery {
        let (mut wait, mut open) = (Duration::ZERO, true);
        let mut since_end: Option<Instant> = None;
        let mut next_try = Instant::now();
        loop {
            let left = next_try.saturating_duration_since(Instant::now());
            let heard = if self.debts.queue.is_empty() && open {
                from.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if open {
                from.recv_timeout(left)
            } else {
                std::thread::sleep(left.min(Duration::from_millis(50)));
                Err(RecvTimeoutError::Timeout)
            };
            match heard {
                Ok(message) => {
                    if let Err(e) = self.debts.take(message) {
                        self.say(&format!("what is owed cannot be written down: {e}"));
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    since_end = Some(Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let over = since_end.is_some_and(|at| at.elapsed() >= LAST_WORDS);
            if !open && (self.debts.queue.is_empty() || over) {
                break;
            }
            if next_try > Instant::now() {
                continue;
            }
            match self.attempt() {
                Ok(()) => {
                    if !wait.is_zero() {
                        self.say("is reached again");
                    }
                    wait = Duration::ZERO;
                    self.done.why = None;
                    next_try = Instant::now();
                }
                Err(why) => {
                    if self.done.why.as_ref() != Some(&why) {
                        self.say(&format!("is not reached, and is tried again: {why}"));
                    }
                    self.done.why = Some(why);
                    wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                    next_try = Instant::now() + wait;
                    self.put_aside();
                }
            }
        }
        if let Err(e) = self.debts.rest() {
            self.say(&format!("what is owed cannot be written down: {e}"));
        }
        self.done.owed = self.debts.queue.len() as u64 + self.debts.beyond;
        self.done
    }

    /// Delivers what is due: one message, or where too many went out already, all of them as one when it is time.
    fn attempt(&mut self) -> Result<(), String> {
        let many = match self.config.limit() {
            Some((burst, per)) => {
                let now = Instant::now();
                while self.sent.front().is_some_and(|at| now.duration_since(*at) >= per) {
                    self.sent.pop_front();
                }
                // The last of a burst takes all that wait.
                if self.sent.len() + 1 < burst as usize {
                    1
                } else if self.sent.len() < burst as usize {
                    MOST_AT_ONCE
                } else {
                    let first =
                        self.sent.front().map_or(per, |at| per.saturating_sub(now.duration_since(*at)));
                    std::thread::sleep(first.min(Duration::from_millis(200)));
                    return Ok(());
                }
            }
            None => 1,
        };
        let many = many.min(self.debts.queue.len());
        if many == 0 {
            return Ok(());
        }
        let message = Message::digest(self.debts.queue.iter().take(many).map(|(m, _)| m.clone()));
        self.sink.tell(&message).map_err(|e| e.to_string())?;
        if self.config.limit().is_some() {
            self.sent.push_back(Instant::now());
        }
        self.done.told += many as u64;
        self.debts.settle(many).map_err(|e| format!("what was told cannot be struck off: {e}"))
    }

    /// What nobody took for too long is kept in a file of its own.
    fn put_aside(&mut self) {
        let patience = self.config.patience();
        let old = self.debts.queue.iter().take_while(|(_, at)| at.elapsed() >= patience).count();
        if old == 0 {
            return;
        }
        let written =
            OpenOptions::new().create(true).append(true).open(&self.debts.aside).and_then(|mut file| {
                for line in self.debts.queue.iter().take(old).flat_map(|(m, _)| m.lines()) {
                    writeln!(file, "{line}")?;
                }
                file.sync_all()
            });
        match written.and_then(|()| self.debts.settle(old)) {
            Ok(()) => {
                self.done.aside += old as u64;
                self.say(&format!("{old} turns nobody took are put aside in {}", self.debts.aside.display()));
            }
            Err(e) => self.say(&format!("what nobody takes cannot be put aside: {e}")),
        }
    }

    fn say(&self, what: &str) {
        (self.report)(&format!("sink {}: {what}", self.config.name));
    }
}
