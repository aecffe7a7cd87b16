//! What happens beside judging while it is listened: who turned is told, what is remembered is written down, and what a kill left is made up for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capture::Live;
use import::Followed;
use record::{Record, Timestamp};
use store::{Reader, Span, StoreError};
use verdict::{Analysts, Teller, TellerKnows, Turn};

use crate::run::{Input, RunOptions};
use crate::state::{self, Past, StateError};
use crate::subscribers::Subscribers;

/// How often what is remembered is written down while it is listened.
const SAVED: Duration = Duration::from_hours(1);
/// And when that failed.
const TRIED_AGAIN: Duration = Duration::from_mins(5);

/// Where it stands, all that was known until then having been told.
pub struct Moment<'a> {
    /// Until when.
    pub clock: Timestamp,
    /// Who judges.
    pub analysts: &'a mut Analysts,
    /// Who told of hosts that turned.
    pub teller: &'a Teller,
    /// Who has which address, where hosts are subscribers.
    pub subscribers: &'a mut Option<Arc<Subscribers>>,
}

/// What whoever listens is told, in order.
pub enum Heard<'a> {
    /// A record.
    Record(&'a Record),
    /// A host turned.
    Turn(&'a Turn),
    /// Something happened that is to be said at once.
    News(String),
    /// The logs that are followed and cannot be read now, and why: all of them.
    Troubles(BTreeMap<String, String>),
    /// What was told until now is about to be remembered, and will not be told again: whoever keeps it must have it on the disk first, and says so where it is not.
    Remembering(&'a mut bool),
    /// All that was known until then has been told, and something may be known anew.
    Until(Moment<'a>),
}

/// Judges what a store holds beyond what is remembered: what of it could not be read.
pub fn catch_up(store: &Path, past: &mut Past, analysts: &mut Analysts) -> Result<Vec<String>, StoreError> {
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

/// Records in a store, of those behind what is remembered: logs tell them once more, and each is known again by its kind, its time and its ends, as often as it is there. When it
/// became known is another moment the second time, and its line another number where a file is gone.
#[derive(Default)]
pub struct Held {
    places: HashMap<u64, u32>,
    /// As they lie there, so that the oldest go where they are too many.
    in_order: VecDeque<u64>,
}

/// Records of a store that are known again (*assumed*: an hour of a network with 300 flows a second, of which two records tell each; a third of 100 MB).
const MOST_HELD: usize = 2 << 20;

/// What tells a record of a log from others.
fn place(record: &Record) -> u64 {
    let mut place = DefaultHasher::new();
    discriminant(record).hash(&mut place);
    let head = record.head();
    (head.ts, head.tuple).hash(&mut place);
    if let Record::Conn(c) = record {
        discriminant(&c.phase).hash(&mut place);
    }
    place.finish()
}

impl Held {
    /// Looks into a store.
    pub fn in_store(store: &Path, since: Option<Timestamp>) -> Result<Self, StoreError> {
        let mut held = Self::default();
        if store::is_store(store) {
            let mut kept = Reader::open(store, Span { since, ..Span::default() }, 0)?;
            while let Some(record) = kept.next(None) {
                let place = place(&record);
                *held.places.entry(place).or_default() += 1;
                held.in_order.push_back(place);
                if held.in_order.len() > MOST_HELD
                    && let Some(oldest) = held.in_order.pop_front()
                {
                    held.take(oldest);
                }
            }
        }
        held.in_order = VecDeque::new();
        Ok(held)
    }

    fn take(&mut self, place: u64) -> bool {
        let Some(left) = self.places.get_mut(&place) else { return false };
        *left -= 1;
        if *left == 0 {
            self.places.remove(&place);
        }
        true
    }

    /// Whether it holds this record, which is told once more; it is known again once.
    pub fn has(&mut self, record: &Record) -> bool {
        !self.places.is_empty() && self.take(place(record))
    }
}

/// Who looks at the hosts while it is listened.
pub struct Watch {
    teller: Teller,
    /// Where it is written down of whom it was told since the state was written.
    journal: Option<Journal>,
    /// Where what is remembered rests, and what was read when it is written.
    state: Option<(PathBuf, Past)>,
    /// Inputs of earlier runs, and interfaces: those before the logs that are followed.
    interfaces: usize,
    saved: Option<Timestamp>,
    /// Records that came since.
    taken: usize,
    clock: Option<Timestamp>,
}

impl Watch {
    pub fn begin(
        options: &RunOptions,
        past: &Past,
        live: &Live,
        mut teller: Teller,
    ) -> Result<Self, StateError> {
        let mut past = past.clone();
        past.inputs.extend(live.files().iter().map(Input::of));
        let journal = options.state.as_deref().map(|state| Journal::open(state, &mut teller)).transpose()?;
        Ok(Self {
            teller,
            journal,
            interfaces: past.inputs.len(),
            state: options.state.clone().map(|path| (path, past)),
            saved: None,
            taken: 0,
            clock: None,
        })
    }

    /// Whether what is remembered is written down at the next moment.
    pub fn is_due(&self, clock: Timestamp, followed: Option<&Followed>) -> bool {
        // What lies there is read again where it was not read to its end: the logs stand at different moments.
        let is_long_ago = self.saved.is_none_or(|saved| clock.since(saved) >= SAVED);
        self.state.is_some()
            // What came since is all known again after a kill.
            && (is_long_ago || self.taken >= MOST_HELD / 2)
            && followed.is_none_or(Followed::has_begun)
    }

    /// A record came.
    pub const fn takes(&mut self) {
        self.taken += 1;
    }

    /// Until when all has been told: no record that became known by then comes again.
    pub const fn clock(&self) -> Option<Timestamp> {
        self.clock
    }

    /// All that was known until then has been told.
    pub fn until(
        &mut self,
        clock: Timestamp,
        idle: bool,
        mut followed: Option<&mut Followed>,
        (analysts, subscribers): (&mut Analysts, &mut Option<Arc<Subscribers>>),
        on: &mut impl FnMut(Heard<'_>),
    ) {
        self.clock = Some(clock);
        if idle {
            analysts.pass(clock);
        }
        let is_due = self.is_due(clock, followed.as_deref());
        let again = self.tell(clock, analysts, is_due, on);
        for news in followed.as_mut().map(|f| f.news()).unwrap_or_default().into_iter().chain(again) {
            on(Heard::News(news));
        }
        if let Some(troubles) = followed.as_mut().and_then(|f| f.troubles()) {
            on(Heard::Troubles(troubles));
        }
        on(Heard::Until(Moment { clock, analysts, teller: &self.teller, subscribers }));
        if let Some((path, past)) = self.state.as_mut().filter(|_| is_due) {
            (self.saved, self.taken) = (Some(clock), 0);
            past.first.get_or_insert(clock);
            past.last = past.last.max(Some(clock));
            if let Some(followed) = followed {
                // What was told is behind what comes, by a nanosecond at least.
                past.last = past.last.max(Some(followed.given()));
                followed.pass(past.last.unwrap_or(clock));
                past.inputs.truncate(self.interfaces);
                past.inputs.extend(followed.files().into_iter().map(Input::of_log));
                past.stand_at(followed.positions());
            }
            let mut kept = true;
            on(Heard::Remembering(&mut kept));
            // What could not be kept is read again by whoever goes on from what was remembered before.
            let written = if kept { state::save(path, past, analysts).map(|()| true) } else { Ok(false) };
            match written {
                Ok(true) => self.is_remembered(),
                failed => {
                    self.saved = Some(clock.minus(SAVED.saturating_sub(TRIED_AGAIN)));
                    if let Err(e) = failed {
                        on(Heard::News(e.to_string()));
                    }
                }
            }
        }
    }

    /// What was told stands in the state.
    pub fn is_remembered(&mut self) {
        self.journal.iter_mut().for_each(Journal::begin_anew);
    }

    /// The same at the end, when nobody is asked a second time.
    pub fn tell_all(&mut self, at: Timestamp, analysts: &mut Analysts, on: &mut impl FnMut(Heard<'_>)) {
        if let Some(failed) = self.tell(at, analysts, true, on) {
            on(Heard::News(failed));
        }
    }

    /// Tells of who turned; gives what could not be written down of that.
    fn tell(
        &mut self,
        at: Timestamp,
        analysts: &mut Analysts,
        all: bool,
        on: &mut impl FnMut(Heard<'_>),
    ) -> Option<String> {
        let turns = if all { self.teller.look_at_all(analysts, at) } else { self.teller.look(analysts, at) };
        for turn in &turns {
            on(Heard::Turn(turn));
        }
        // A sensor that is killed in between tells it again, rather than never.
        let failed = self.journal.as_mut().filter(|_| !turns.is_empty()).and_then(|j| j.write(&turns).err());
        failed.map(|e| {
            format!("of whom it was told cannot be written down, and may be told again after a kill: {e}")
        })
    }
}

/// Of whom it was told since the state was written: whoever is killed goes on from the state, and does not tell it again.
struct Journal {
    file: File,
}

impl Journal {
    /// Opens that beside a state, and lets the teller know of whom it was told.
    fn open(state: &Path, teller: &mut Teller) -> Result<Self, StateError> {
        let mut name = state.as_os_str().to_owned();
        name.push(".told");
        let path = PathBuf::from(name);
        let io = |source| StateError::Io { what: "write", path: path.clone(), source };
        // Without the state it is of another beginning.
        let mut held = match std::fs::read(&path) {
            Ok(held) if state.exists() => held,
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(StateError::Io { what: "read", path: path.clone(), source: e });
            }
            _ => Vec::new(),
        };
        held.truncate(held.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
        for told in held.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            teller.remember(told);
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        // A line that was not written to its end is of a host that was not told of.
        file.set_len(held.len() as u64).map_err(io)?;
        Ok(Self { file })
    }

    fn write(&mut self, turns: &[Turn]) -> std::io::Result<()> {
        for turn in turns {
            let mut line = serde_json::to_vec(&TellerKnows::of(turn))?;
            line.push(b'\n');
            self.file.write_all(&line)?;
        }
        self.file.sync_data()
    }

    /// The state tells all that it tells.
    fn begin_anew(&mut self) {
        // What stays in it says nothing else.
        let _ = self.file.set_len(0);
    }
}
