//! What happens beside judging while it is listened: who turned is told, what is remembered is written down, and what a kill left is made up for.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capture::Live;
use import::Followed;
use record::{Record, Timestamp};
use store::{Reader, Span, StoreError};
use verdict::{Analysts, Teller, Turn};

use crate::run::{Input, RunOptions};
use crate::state::{self, Past};
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
    /// What was told until now is about to be remembered, and will not be told again: whoever keeps it must have it on the disk first.
    Remembering,
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

/// When the last record of each kind in a store became known, of those behind what is remembered: whoever is killed leaves more of one kind than of another.
pub struct Held(HashMap<Discriminant<Record>, Timestamp>);

impl Held {
    /// Looks into a store.
    pub fn in_store(store: &Path, since: Option<Timestamp>) -> Result<Self, StoreError> {
        let mut held = HashMap::new();
        if store::is_store(store) {
            let mut kept = Reader::open(store, Span { since, ..Span::default() }, 0)?;
            while let Some(record) = kept.next(None) {
                let last = held.entry(discriminant(&record)).or_insert(Timestamp::MIN);
                *last = record.head().known.max(*last);
            }
        }
        Ok(Self(held))
    }

    /// Until when it was told who turned, before it was killed.
    pub fn last(&self) -> Option<Timestamp> {
        self.0.values().max().copied()
    }

    /// Whether it holds this record, which is told once more.
    pub fn has(&self, record: &Record) -> bool {
        self.0.get(&discriminant(record)).is_some_and(|last| record.head().known <= *last)
    }
}

/// Who looks at the hosts while it is listened.
pub struct Watch {
    teller: Teller,
    /// Who turned until then was told by the run before.
    told: Option<Timestamp>,
    /// Where what is remembered rests, and what was read when it is written.
    state: Option<(PathBuf, Past)>,
    /// Inputs of earlier runs, and interfaces: those before the logs that are followed.
    interfaces: usize,
    saved: Option<Timestamp>,
    clock: Option<Timestamp>,
}

impl Watch {
    pub fn begin(
        options: &RunOptions,
        past: &Past,
        live: &Live,
        held: Option<&Held>,
        analysts: &Analysts,
    ) -> Self {
        let mut past = past.clone();
        past.inputs.extend(live.files().iter().map(Input::of));
        Self {
            teller: Teller::going_on(analysts),
            told: held.and_then(Held::last),
            interfaces: past.inputs.len(),
            state: options.state.clone().map(|path| (path, past)),
            saved: None,
            clock: None,
        }
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
        self.tell(clock, analysts, on);
        for news in followed.as_mut().map(|f| f.news()).unwrap_or_default() {
            on(Heard::News(news));
        }
        on(Heard::Until(Moment { clock, analysts, teller: &self.teller, subscribers }));
        if let Some((path, past)) = &mut self.state
            && self.saved.is_none_or(|saved| clock.since(saved) >= SAVED)
        {
            self.saved = Some(clock);
            past.first.get_or_insert(clock);
            past.last = past.last.max(Some(clock));
            if let Some(followed) = followed {
                past.inputs.truncate(self.interfaces);
                past.inputs.extend(followed.files().into_iter().map(Input::of_log));
                past.positions = followed.positions();
            }
            on(Heard::Remembering);
            if let Err(e) = state::save(path, past, analysts) {
                self.saved = Some(clock.minus(SAVED.saturating_sub(TRIED_AGAIN)));
                on(Heard::News(e.to_string()));
            }
        }
    }

    /// The same at the end, when nobody is asked a second time.
    pub fn tell_all(&mut self, at: Timestamp, analysts: &mut Analysts, on: &mut impl FnMut(Heard<'_>)) {
        for turn in self.teller.look_now(analysts, at) {
            on(Heard::Turn(&turn));
        }
    }

    fn tell(&mut self, at: Timestamp, analysts: &mut Analysts, on: &mut impl FnMut(Heard<'_>)) {
        let again = self.told.is_some_and(|told| at <= told);
        for turn in self.teller.look(analysts, at) {
            if !again {
                on(Heard::Turn(&turn));
            }
        }
    }
}
