//! What each sink still owes: in a file of its own until it was delivered.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
/// Messages that a sink holds in memory: what is beyond lies in its file until these are delivered (a host's story has 30 kB, and three times that in memory).
const MOST_HELD: usize = 256;

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
    sinks: Vec<(SinkConfig, Arc<Account>, JoinHandle<Delivery>)>,
    /// The spool is this one's while it lives.
    _lock: File,
}

impl Teller {
    /// Begins, with what is owed from before.
    ///
    /// # Errors
    /// The spool cannot be written in.
    pub fn begin(config: &Config, report: &Arc<Report>) -> io::Result<Self> {
        fs::create_dir_all(&config.spool)?;
        let lock = File::create(config.spool.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::other("another process tells the sinks of this spool"))?;
        for (name, owed) in owed_to_others(config) {
            let turns = if owed == 1 { "1 turn is".to_owned() } else { format!("{owed} turns are") };
            report(&format!(
                "{turns} owed to {name}, which is no sink any more: give a sink that name, or delete {}",
                config.spool.join(format!("{name}.owed")).display()
            ));
        }
        let mut sinks = Vec::new();
        for sink in &config.sinks {
            let (debts, unread) = Debts::open(&config.spool, &sink.name)?;
            if unread > 0 {
                let place = debts.aside.display();
                report(&format!(
                    "sink {}: {unread} lines that nobody can read, of another version, are put aside in {place}",
                    sink.name
                ));
            }
            let account = Arc::new(Account { debts: Mutex::new(debts), news: Condvar::new() });
            let postman = Postman {
                sink: Sink::new(sink.kind.clone()),
                config: sink.clone(),
                account: account.clone(),
                sent: VecDeque::new(),
                wait: Duration::ZERO,
                done: Delivery { name: sink.name.clone(), ..Delivery::default() },
                report: report.clone(),
            };
            let thread = std::thread::Builder::new().name(sink.name.clone()).spawn(|| postman.serve())?;
            sinks.push((sink.clone(), account, thread));
        }
        Ok(Self { sinks, _lock: lock })
    }

    /// Tells everybody whom it concerns; waits for nobody. When this returns, it is written down that it is owed.
    ///
    /// # Errors
    /// It could not be written down; it is told all the same.
    pub fn tell(&self, message: &Message) -> io::Result<()> {
        let mut written = Ok(());
        for (config, account, _) in &self.sinks {
            if config.wants(message) {
                let owed = account.debts().owe(message.clone());
                written = written.and(owed);
                account.news.notify_all();
            }
        }
        written
    }

    /// Ends: gives what came of each.
    pub fn end(self) -> Vec<Delivery> {
        for (_, account, _) in &self.sinks {
            account.debts().closed = Some(Instant::now());
            account.news.notify_all();
        }
        let ended = |(config, _, thread): (SinkConfig, _, JoinHandle<Delivery>)| {
            thread.join().unwrap_or(Delivery { name: config.name, ..Delivery::default() })
        };
        self.sinks.into_iter().map(ended).collect()
    }
}

/// Names in the spool that no sink has any more, and how many turns each is owed, as far as that can be read.
fn owed_to_others(config: &Config) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for path in fs::read_dir(&config.spool).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let is_owed = path.extension().is_some_and(|e| e == "owed") && path.is_file();
        if !is_owed || config.sinks.iter().any(|s| s.name == name) {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        found.push((name, lines.filter(|line| !line.is_empty()).count()));
    }
    found.retain(|(_, turns)| *turns > 0);
    found.sort();
    found
}

/// What one sink is owed, between who owes it and who delivers it.
struct Account {
    debts: Mutex<Debts>,
    news: Condvar,
}

impl Account {
    fn debts(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is owed.
struct Owed {
    message: Message,
    since: Instant,
    /// Whether it has a line in the file.
    written: bool,
}

/// What one sink is owed: a file with a line for each turn, the first of which are in memory.
struct Debts {
    path: PathBuf,
    file: File,
    aside: PathBuf,
    queue: VecDeque<Owed>,
    /// Lines of the file that were delivered.
    struck: usize,
    /// Lines behind those in memory.
    beyond: u64,
    /// When it was said that no more comes.
    closed: Option<Instant>,
}

impl Debts {
    /// Gives how many lines could not be read, too.
    fn open(spool: &Path, name: &str) -> io::Result<(Self, u64)> {
        let path = spool.join(format!("{name}.owed"));
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        let aside = spool.join(format!("{name}.aside"));
        let mut made = Self { path, file, aside, queue: VecDeque::new(), struck: 0, beyond: 0, closed: None };
        let unread = made.tidy()?;
        made.load()?;
        Ok((made, unread))
    }

    /// Leaves alone what can be told: the last line of whoever was killed may be cut, and what another version wrote is put aside.
    fn tidy(&mut self) -> io::Result<u64> {
        let fresh = self.path.with_extension("part");
        let mut to = io::BufWriter::new(File::create(&fresh)?);
        let (mut from, mut line, mut unread) = (BufReader::new(File::open(&self.path)?), Vec::new(), 0);
        while from.read_until(b'\n', &mut line)? > 0 {
            if matches!(Message::of_line(&String::from_utf8_lossy(&line)), Ok(Some(_))) {
                to.write_all(line.trim_ascii_end())?;
                to.write_all(b"\n")?;
            } else if line.ends_with(b"\n") && line.len() > 1 {
                OpenOptions::new().create(true).append(true).open(&self.aside)?.write_all(&line)?;
                unread += 1;
            }
            line.clear();
        }
        self.replace(&fresh, to)?;
        Ok(unread)
    }

    /// Puts a file in the place of the one before.
    fn replace(&mut self, fresh: &Path, to: io::BufWriter<File>) -> io::Result<()> {
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(fresh, &self.path)?;
        self.file = OpenOptions::new().append(true).read(true).open(&self.path)?;
        self.struck = 0;
        Ok(())
    }

    /// Takes into memory what it may hold of the file, behind what it has.
    fn load(&mut self) -> io::Result<()> {
        self.beyond = 0;
        let known = self.struck + self.queue.iter().filter(|owed| owed.written).count();
        for line in BufReader::new(File::open(&self.path)?).split(b'\n').skip(known) {
            let line = line?;
            if self.queue.len() >= MOST_HELD {
                self.beyond += 1;
            } else if let Ok(Some(message)) = Message::of_line(&String::from_utf8_lossy(&line)) {
                self.queue.push_back(Owed { message, since: Instant::now(), written: true });
            }
        }
        Ok(())
    }

    fn owe(&mut self, message: Message) -> io::Result<()> {
        let lines: String = message.lines().flat_map(|line| [line, "\n"]).collect();
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // A part of a line is none.
            let _ = self.file.set_len(before);
        }
        if written.is_err() || (self.beyond == 0 && self.queue.len() < MOST_HELD) {
            self.queue.push_back(Owed { message, since: Instant::now(), written: written.is_ok() });
        } else {
            self.beyond += 1;
        }
        written
    }

    /// The first so many are owed no more.
    fn settle(&mut self, first: usize) -> io::Result<()> {
        self.struck += self.queue.drain(..first).filter(|owed| owed.written).count();
        if self.queue.is_empty() && self.beyond == 0 {
            self.struck = 0;
            return self.file.set_len(0);
        }
        // Whoever is killed tells again what was not struck off: not more than is still owed.
        if self.struck >= self.queue.len() {
            self.strike()?;
        }
        if self.queue.is_empty() { self.load() } else { Ok(()) }
    }

    /// Leaves in the file what is still owed alone.
    fn strike(&mut self) -> io::Result<()> {
        if self.struck == 0 {
            return Ok(());
        }
        let fresh = self.path.with_extension("part");
        let mut to = io::BufWriter::new(File::create(&fresh)?);
        for line in BufReader::new(File::open(&self.path)?).split(b'\n').skip(self.struck) {
            to.write_all(&line?)?;
            to.write_all(b"\n")?;
        }
        self.replace(&fresh, to)
    }

    /// What nobody took for too long is kept in a file of its own: how many turns.
    fn put_aside(&mut self, patience: Duration) -> io::Result<usize> {
        let old = self.queue.iter().take_while(|owed| owed.since.elapsed() >= patience).count();
        if old > 0 {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.aside)?;
            for line in self.queue.iter().take(old).flat_map(|owed| owed.message.lines()) {
                writeln!(file, "{line}")?;
            }
            file.sync_all()?;
            self.settle(old)?;
        }
        Ok(old)
    }
}

/// Who tells one sink.
struct Postman {
    sink: Sink,
    config: SinkConfig,
    account: Arc<Account>,
    /// When messages went out last.
    sent: VecDeque<Instant>,
    /// How long is waited after a failure.
    wait: Duration,
    done: Delivery,
    report: Arc<Report>,
}

impl Postman {
    fn serve(mut self) -> Delivery {
        let account = self.account.clone();
        let mut next_try = Instant::now();
        let mut debts = account.debts();
        loop {
            if debts.queue.is_empty() {
                if debts.closed.is_some() {
                    break;
                }
                debts = account.news.wait(debts).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let patience = debts.closed.map(|at| LAST_WORDS.saturating_sub(at.elapsed()));
            if patience.is_some_and(|left| left.is_zero()) {
                break;
            }
            let due = next_try.saturating_duration_since(Instant::now()).max(self.rest_of_limit());
            if !due.is_zero() {
                let left = patience.map_or(due, |left| left.min(due));
                debts = account.news.wait_timeout(debts, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let many = self.most().min(debts.queue.len());
            let message = Message::digest(debts.queue.iter().take(many).map(|owed| owed.message.clone()));
            // Whoever hangs keeps nobody from owing it more.
            drop(debts);
            let told = self.sink.tell(&message).map_err(|e| e.to_string());
            debts = account.debts();
            let settled = match told {
                Ok(()) => self.was_told(many, &mut debts),
                Err(why) => {
                    self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                    next_try = Instant::now() + self.wait;
                    self.was_refused(why, &mut debts)
                }
            };
            if let Err(e) = settled {
                self.say(&format!("what is owed cannot be written down: {e}"));
            }
        }
        if let Err(e) = debts.strike() {
            self.say(&format!("what is owed cannot be written down: {e}"));
        }
        self.done.owed = debts.queue.len() as u64 + debts.beyond;
        self.done
    }

    fn was_told(&mut self, many: usize, debts: &mut Debts) -> io::Result<()> {
        if !self.wait.is_zero() {
            self.say("is reached again");
        }
        self.wait = Duration::ZERO;
        self.done.why = None;
        self.done.told += many as u64;
        if self.config.limit().is_some() {
            self.sent.push_back(Instant::now());
        }
        debts.settle(many)
    }

    fn was_refused(&mut self, why: String, debts: &mut Debts) -> io::Result<()> {
        if self.done.why.as_ref() != Some(&why) {
            self.say(&format!("is not reached, and is tried again: {why}"));
        }
        self.done.why = Some(why);
        let old = debts.put_aside(self.config.patience())?;
        if old > 0 {
            self.done.aside += old as u64;
            self.say(&format!("{old} turns that nobody took are put aside in {}", debts.aside.display()));
        }
        Ok(())
    }

    /// How long it has to wait until it may send something again.
    fn rest_of_limit(&mut self) -> Duration {
        let Some((burst, per)) = self.config.limit() else { return Duration::ZERO };
        while self.sent.front().is_some_and(|at| at.elapsed() >= per) {
            self.sent.pop_front();
        }
        match self.sent.front() {
            Some(first) if self.sent.len() >= burst as usize => per.saturating_sub(first.elapsed()),
            _ => Duration::ZERO,
        }
    }

    /// How many turns the next message may hold: the last of a burst takes all that wait.
    fn most(&self) -> usize {
        match self.config.limit() {
            Some((burst, _)) if self.sent.len() + 1 >= burst as usize => MOST_HELD,
            _ => 1,
        }
    }

    fn say(&self, what: &str) {
        (self.report)(&format!("sink {}: {what}", self.config.name));
    }
}
