//! What others tell of the same network beside the packets: logs of sensors, stores, exported flows, and logs that are followed. All of it goes into one order.

use std::path::PathBuf;

use import::{Exports, Followed, LogSet, Position};
use record::{Conn, ConnPhase, Health, Record, RecordKey, Service, Timestamp};
use store::{Analysed, Reader, Span, StoreError};

use crate::run::Input;
use crate::scheduler::Step;
use crate::twins::{Teller, Twins};

/// What was told of before: by logs of other sensors, and by stores.
pub struct Told {
    logs: LogSet,
    /// The row that comes next, taken out to look at it.
    row: Option<Record>,
    stores: Vec<Reader>,
    /// The record that each store gives next.
    next: Vec<Option<Record>>,
}

impl Told {
    /// Opens stores; the first input of the first is called by this number and so many as there are logs.
    /// # Errors
    /// A store cannot be opened.
    pub fn of(logs: LogSet, stores: &[PathBuf], first: u32, span: &Span) -> Result<Self, StoreError> {
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

    /// Whether something may be told twice: by copies of a log, by two sensors, by logs and a store.
    fn may_repeat(&self) -> bool {
        self.logs.may_repeat() || !self.stores.is_empty()
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

/// What others tell, beside what packets tell.
pub struct Others {
    told: Told,
    exports: Exports,
    followed: Option<Followed>,
    /// What was told of late, where several may tell it.
    twins: Option<Twins>,
    /// Inputs at which exporters are heard, and nobody else; datagrams that came there and are no exports.
    inlets: Vec<u32>,
    no_exports: u64,
    /// What was given last: what exporters and followed logs tell may lie before it, and is known then.
    given: Timestamp,
}

/// Whoever takes a step, and may ask the logs that are followed.
pub trait Sink: FnMut(Step<'_>, Option<&mut Followed>) {}
impl<F: FnMut(Step<'_>, Option<&mut Followed>)> Sink for F {}

impl Others {
    /// What waits of exported flows may take so many `bytes`.
    pub fn new(told: Told, followed: Option<Followed>, bytes: usize) -> Self {
        let twins = told.may_repeat().then(Twins::default);
        let (inlets, no_exports) = (Vec::new(), 0);
        let exports = Exports::new(bytes);
        Self { told, exports, followed, twins, inlets, no_exports, given: Timestamp::MIN }
    }

    /// The same, where exporters are heard at these inputs.
    #[must_use]
    pub fn hearing_exporters(self, inlets: Vec<u32>) -> Self {
        Self { inlets, ..self }
    }

    /// What came to a port of exporters and is no export is nobody's traffic, and is said once.
    fn no_export(&mut self, c: &Conn, sink: &mut impl Sink) {
        if c.phase != ConnPhase::Closed {
            return;
        }
        if self.no_exports == 0 {
            let why = format!(
                "{} sends what is no NetFlow or IPFIX to the port of exporters (sFlow is not read): it is counted, and not judged",
                c.head.tuple.orig.ip
            );
            sink(Step::News(why), self.followed.as_mut());
        }
        self.no_exports += c.packets[0] + c.packets[1];
    }

    /// Gives what a log or store tells, if nobody else has told it.
    fn give_told(&mut self, record: Record, sink: &mut impl Sink) {
        let teller = Teller::of(&record);
        if !self.twins.as_mut().is_some_and(|twins| twins.has(&record, teller, true)) {
            self.give(record, sink);
        }
    }

    /// The same of a followed log: others may have come since the beginning.
    fn give_followed(&mut self, record: Record, sink: &mut impl Sink) {
        if self.followed.as_ref().is_some_and(Followed::may_repeat) {
            self.twins.get_or_insert_default();
        }
        self.give_told(record, sink);
    }

    /// Gives what comes from elsewhere: it is known now, if it tells of something earlier.
    fn give(&mut self, mut record: Record, sink: &mut impl Sink) {
        let head = record.head_mut();
        head.known = head.known.max(self.given);
        self.given = head.known;
        sink(Step::Record(RecordKey::of_row(&record), &record), self.followed.as_mut());
    }

    /// Gives a record of those that followed logs held at the beginning; `false` when there are no more.
    pub fn earlier(&mut self, sink: &mut impl Sink) -> bool {
        let Some(record) = self.followed.as_mut().and_then(Followed::earlier) else { return false };
        self.give_followed(record, sink);
        true
    }

    /// All that was given until now became known by then.
    pub fn pause(&mut self, sink: &mut impl Sink) {
        self.until_then(self.given, false, sink);
    }

    fn until_then(&mut self, clock: Timestamp, idle: bool, sink: &mut impl Sink) {
        sink(Step::Until { clock, idle }, self.followed.as_mut());
        // Whoever was told then may have asked for what waited.
        self.given = self.given.max(self.followed.as_ref().map_or(Timestamp::MIN, Followed::given));
    }

    /// Takes what packets tell; whatever was known before it goes first.
    pub fn beside(
        &mut self,
        key: RecordKey,
        record: &Record,
        stopped: impl Fn() -> bool,
        sink: &mut impl Sink,
    ) {
        while !self.told.is_empty()
            && !stopped()
            && let Some(earlier) = self.told.next(Some(key.known))
        {
            self.give_told(earlier, sink);
        }
        self.tell_beside(record, Teller::Packets);
        self.exported(Some(key.known), sink);
        match record {
            Record::Export(export) => self.exports.take(export),
            Record::Conn(c) if c.service == Service::NetFlow => self.exports.hold(record.clone()),
            _ if self.inlets.contains(&record.head().flow.packet.file()) => {
                if let Record::Conn(c) = record {
                    self.no_export(c, sink);
                }
            }
            _ => {
                self.exports.saw(record.tuple().orig.ip);
                self.given = self.given.max(key.known);
                sink(Step::Record(key, record), self.followed.as_mut());
            }
        }
    }

    /// Time has passed; where nothing comes, what exporters told is due all the same.
    pub fn until(&mut self, mut clock: Timestamp, idle: bool, sink: &mut impl Sink) {
        if idle {
            self.exported(Some(clock), sink);
        }
        if let Some(followed) = &mut self.followed {
            followed.come(clock);
            while let Some(record) = self.followed.as_mut().and_then(|f| f.due(clock)) {
                self.give_followed(record, sink);
            }
            if idle {
                // What was written since then has not been told.
                clock = clock.minus(Followed::lag());
            }
            clock = clock.max(self.given);
            self.given = clock;
        }
        self.until_then(clock, idle, sink);
    }

    /// Whoever else tells of flows, where logs or stores do.
    fn tell_beside(&mut self, record: &Record, teller: Teller) {
        if !self.told.is_empty() || self.followed.is_some() {
            self.twins.get_or_insert_default().tells(record, teller, true);
        }
    }

    fn exported(&mut self, until: Option<Timestamp>, sink: &mut impl Sink) {
        while let Some(earlier) = self.exports.next(until) {
            self.tell_beside(&earlier, Teller::Exporters);
            self.give(earlier, sink);
        }
    }

    /// Gives what exporters and followed logs told and nobody was given yet, when there are no packets any more.
    pub fn rest_of_others(&mut self, now: Timestamp, sink: &mut impl Sink) {
        while let Some(record) = self.exports.next(None) {
            self.tell_beside(&record, Teller::Exporters);
            while let Some(earlier) = self.told.next(Some(record.head().known.max(self.given))) {
                self.give_told(earlier, sink);
            }
            self.give(record, sink);
        }
        for record in self.followed.as_mut().map(|f| f.rest(now)).unwrap_or_default() {
            self.give_followed(record, sink);
        }
    }

    /// Gives a record of those that are left of logs and stores; `false` when there are no more.
    pub fn rest(&mut self, sink: &mut impl Sink) -> bool {
        let Some(record) = self.told.next(None) else { return false };
        self.give_told(record, sink);
        true
    }

    /// The logs that are read.
    pub const fn logs(&self) -> &LogSet {
        &self.told.logs
    }

    /// When what was given last became known.
    pub const fn given(&self) -> Timestamp {
        self.given
    }

    /// What must be told of all of them, what failed, and the inputs; counters are added to `health`.
    pub fn told(&self, health: &mut Health) -> (Vec<String>, Vec<String>, Vec<Input>) {
        let Told { logs, stores, .. } = &self.told;
        let (mut notices, mut failures) = (logs.notices(), logs.failures().to_vec());
        notices.extend(self.exports.notices());
        if self.no_exports > 0 {
            notices.push(format!(
                "{} datagrams at ports of exporters are no NetFlow or IPFIX (sFlow is not read): nothing is known of what they tell",
                self.no_exports
            ));
        }
        health.merge(self.exports.health());
        // Where one of them paused, another may have gone on.
        let mut paused = None::<u64>;
        let mut pauses = |of: &Health| {
            if of.packets > 0 || of.rows > 0 {
                paused = Some(paused.map_or(of.paused_ns, |least| least.min(of.paused_ns)));
            }
        };
        pauses(health);
        pauses(logs.health());
        health.merge(logs.health());
        health.rows_unread += logs.unread();
        let mut inputs: Vec<Input> = logs.files().into_iter().map(Input::of_log).collect();
        if let Some(followed) = &self.followed {
            pauses(followed.health());
            health.merge(followed.health());
            health.rows_unread += followed.unread();
            notices.extend(followed.notices());
            failures.extend(followed.failures().iter().cloned());
            failures.extend(followed.untold());
            inputs.extend(followed.files().into_iter().map(Input::of_log));
        }
        for store in stores {
            let of = store.health();
            pauses(&of);
            health.merge(&of);
            notices.extend(store.notices());
            failures.extend(store.failures().iter().cloned());
            inputs.extend(store.inputs().iter().map(|i| Input {
                path: i.path.clone(),
                size: i.size,
                sha256: i.sha256.clone(),
                log: i.log.clone(),
            }));
        }
        health.paused_ns = paused.unwrap_or(0);
        if let Some(twins) = &self.twins {
            twins.found().correct(health);
            notices.extend(twins.found().notices());
        }
        (notices, failures, inputs)
    }

    /// Days of stores that were read as a whole.
    pub fn analysed(&self) -> Vec<Analysed> {
        self.told.stores.iter().map(|s| s.analysed().clone()).collect()
    }

    /// Whether logs that are followed were not read to the end of what lay there.
    pub fn has_more(&self) -> bool {
        self.followed.as_ref().is_some_and(|f| !f.has_begun())
    }

    /// How far logs were read that are followed.
    pub fn positions(&self) -> Vec<Position> {
        self.followed.as_ref().map(Followed::positions).unwrap_or_default()
    }
}
