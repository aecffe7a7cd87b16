//! Writing a run's records down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow_array::RecordBatch;
use ipnet::IpNet;
use record::{Health, Record};

use crate::late;
use crate::place::{Lock, Place, remove_file};
use crate::row::Row;
use crate::segment::{Hot, batch, close};
use crate::settle::{Settled, repair};
use crate::{MARK, Mark, Run, StoreError, StoredInput, VERSION, begin_run, check, segment_name, write_run};

/// Rows that are written at a time: so many are lost when the machine stops at once.
pub const BATCH: usize = 8_192;
/// The most rows of a segment.
pub const SEGMENT: usize = 131_072;
/// What a row takes in memory until its segment is closed, in bytes, while it waits and while it is written (*assumed*: most are flows).
const ROW: usize = 1_200;
/// Records that go to the thread together.
const PIECE: usize = 1_024;
/// The part of a segment's rows that may wait for the thread besides. Closing a segment takes longest, and whoever tells records should go on meanwhile.
const WAITING: usize = 4;

/// Which addresses are local.
type IsLocal = Box<dyn Fn(IpAddr) -> bool + Send>;

/// Writes one run into a store: on a thread of its own, so that whoever tells records waits for the disk only where that cannot keep up.
pub struct Writer {
    state: State,
    /// Records that go to the thread together with the next ones.
    piece: Vec<Record>,
    notices: Vec<String>,
}

/// The thread is there from the first record on.
enum State {
    Idle(Box<Pen>),
    Writing {
        orders: SyncSender<Order>,
        thread: JoinHandle<Option<Result<Written, StoreError>>>,
    },
    /// There could be no thread.
    Failed(Option<StoreError>),
}

/// What the thread is told.
enum Order {
    Take(Vec<Record>),
    /// Puts what it has on the disk, and says when it is there.
    Flush(SyncSender<Result<(), StoreError>>),
    Finish(Box<Ending>),
}

/// What a run has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Records, each once.
    pub records: u64,
    /// What has to be told of it, if anything has.
    pub notice: Option<String>,
}

/// What is written down of a run at its end.
struct Ending {
    inputs: Vec<StoredInput>,
    complete: bool,
    notices: Vec<String>,
    failures: Vec<String>,
    health: Health,
}

impl Writer {
    /// Begins a run, whose rows are filed by the local ends of records: of these networks, which `is_local` knows. Makes the store where there is none. What a killed run left is brought in order first.
    ///
    /// # Errors
    /// It is no store, another version's, or somebody else writes into it.
    pub fn begin(
        root: &Path,
        home: &[IpNet],
        is_local: impl Fn(IpAddr) -> bool + Send + 'static,
    ) -> Result<Self, StoreError> {
        let place = Place::of(root)?;
        if !place.has(MARK)? {
            if !place.is_empty()? {
                return Err(StoreError::Other(place.name()));
            }
            let made_by = Some(env!("CARGO_PKG_VERSION").to_owned());
            place.write_json(MARK, &Mark { hydrophone_store: VERSION, made_by })?;
        }
        check(&place)?;
        place.make_hot()?;
        let lock = place.lock()?;
        let Settled { mut notices, failures, .. } = repair(&place)?;
        notices.extend(failures);
        let run = begin_run(&place, Some(home.to_vec()))?;
        let pen = Pen {
            place,
            run,
            number: 0,
            home: home.to_vec(),
            is_local: Box::new(is_local),
            hot: None,
            rows: Vec::new(),
            batches: Vec::new(),
            held: 0,
            seq: 0,
            days: BTreeMap::new(),
            failed: None,
            instead: Vec::new(),
            is_behind: false,
            ends: false,
            sizes: (BATCH, SEGMENT),
            _lock: lock,
        };
        Ok(Self { state: State::Idle(Box::new(pen)), piece: Vec::new(), notices })
    }

    /// Notes what is to be read, so that it is known also if the run is killed, and takes the place of earlier runs from now on, of which nothing counts any more:
    /// those that began to read the same. It is said before the first record.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn reading(mut self, planned: Vec<StoredInput>, instead: Vec<String>) -> Result<Self, StoreError> {
        if let State::Idle(pen) = &mut self.state {
            let run = Run { planned, ends: true, ..Run::empty(false, Some(pen.home.clone())) };
            write_run(&pen.place, &pen.run, &run, &instead)?;
            pen.instead = instead;
            pen.ends = true;
        }
        Ok(self)
    }

    /// Closes a segment before its rows take more than so many bytes; a batch is the least.
    #[must_use]
    pub fn within(self, bytes: usize) -> Self {
        self.in_pieces_of(BATCH, (bytes / ROW).clamp(BATCH, SEGMENT))
    }

    /// Writes so many rows at a time, and closes a segment after so many: less is held in memory and lost when the machine stops, and more files are made.
    /// It is said before the first record.
    #[must_use]
    pub fn in_pieces_of(mut self, batch: usize, segment: usize) -> Self {
        if let State::Idle(pen) = &mut self.state {
            pen.sizes = (batch, segment);
        }
        self
    }

    /// What was brought in order at the beginning.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Takes a record; waits where the disk cannot keep up. What fails is told at the end.
    pub fn record(&mut self, record: &Record) {
        self.piece.push(record.clone());
        if self.piece.len() >= PIECE {
            self.hand_over();
        }
    }

    /// Gives the thread what was taken.
    fn hand_over(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if let Some(orders) = self.orders() {
            // A thread that is gone says why at the end.
            let _ = orders.send(Order::Take(piece));
        }
    }

    /// The way to the thread, which begins with the first order.
    fn orders(&mut self) -> Option<&SyncSender<Order>> {
        if let State::Idle(_) = &self.state
            && let State::Idle(pen) = std::mem::replace(&mut self.state, State::Failed(None))
        {
            let hot = pen.place.hot();
            let (orders, taken) = sync_channel((pen.sizes.1 / WAITING / PIECE).max(1));
            let thread = std::thread::Builder::new().name("store".into()).spawn(move || pen.serve(&taken));
            self.state = match thread {
                Ok(thread) => State::Writing { orders, thread },
                Err(e) => State::Failed(Some(StoreError::io("begin to write", &hot)(e))),
            };
        }
        if let State::Writing { orders, .. } = &self.state { Some(orders) } else { None }
    }

    /// Puts what was taken on the disk: when this returns, no kill of the process loses it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.hand_over();
        let (done, said) = sync_channel(1);
        let sent = self.orders().is_some_and(|orders| orders.send(Order::Flush(done)).is_ok());
        match said.recv() {
            Ok(said) if sent => said,
            _ => Err(StoreError::Stopped),
        }
    }

    /// Ends the run with what it read; says what it wrote.
    ///
    /// # Errors
    /// Something could not be written, now or before.
    pub fn finish(
        mut self,
        inputs: Vec<StoredInput>,
        complete: bool,
        notices: Vec<String>,
        failures: Vec<String>,
        health: Health,
    ) -> Result<Written, StoreError> {
        self.hand_over();
        let ending = Box::new(Ending { inputs, complete, notices, failures, health });
        if let Some(orders) = self.orders() {
            let _ = orders.send(Order::Finish(ending));
        }
        self.join().unwrap_or(Err(StoreError::Stopped))
    }

    /// Waits for the end of the thread, which ends when nothing more can be said to it.
    fn join(&mut self) -> Option<Result<Written, StoreError>> {
        match std::mem::replace(&mut self.state, State::Failed(None)) {
            State::Idle(_) => None,
            State::Failed(why) => why.map(Err),
            State::Writing { orders, thread } => {
                drop(orders);
                // Its fault takes nothing from whoever told it records.
                thread.join().ok().flatten()
            }
        }
    }
}

/// Who is dropped without an end leaves what a kill would leave, and nobody writes into the store any more.
impl Drop for Writer {
    fn drop(&mut self) {
        self.join();
    }
}

/// What writes on its thread.
struct Pen {
    place: Place,
    run: String,
    number: u32,
    home: Vec<IpNet>,
    is_local: IsLocal,
    hot: Option<Hot>,
    /// Rows that are not on the disk yet.
    rows: Vec<Row>,
    /// The rows of the segment that are.
    batches: Vec<RecordBatch>,
    /// Rows in these.
    held: usize,
    seq: u64,
    /// Rows of each day that were closed.
    days: BTreeMap<String, u64>,
    failed: Option<StoreError>,
    /// Runs that this one takes the place of.
    instead: Vec<String>,
    /// Whether a segment lies here that the bucket did not take.
    is_behind: bool,
    /// Whether what is read has an end.
    ends: bool,
    /// Rows of a batch, and of a segment.
    sizes: (usize, usize),
    _lock: Lock,
}

impl Pen {
    /// Does what it is told until the run is over: what came of it. None where nobody said that it is over.
    fn serve(mut self, orders: &Receiver<Order>) -> Option<Result<Written, StoreError>> {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Take(records) => records.iter().for_each(|r| self.take(r)),
                Order::Flush(done) => {
                    if self.failed.is_none() {
                        self.failed = self.flush().err();
                    }
                    // Whoever asks is told why; at the end it is told that it did.
                    let said = self.failed.replace(StoreError::Stopped);
                    if said.is_none() {
                        self.failed = None;
                    }
                    let _ = done.send(said.map_or(Ok(()), Err));
                }
                Order::Finish(ending) => return Some(self.finish(*ending)),
            }
        }
        None
    }

    /// Takes a record. What fails is told at the end.
    fn take(&mut self, record: &Record) {
        if self.failed.is_some() {
            return;
        }
        let added = Row::add(record, self.seq, &self.is_local, &mut self.rows);
        self.seq += 1;
        let taken = match added {
            Ok(()) if self.rows.len() >= self.sizes.0 => self.flush(),
            Ok(()) => Ok(()),
            Err(e) => Err(StoreError::damaged(&self.hot_path(), &e)),
        };
        let is_full = self.held + self.rows.len() >= self.sizes.1;
        let done = taken.and_then(|()| if is_full { self.close() } else { Ok(()) });
        self.failed = done.err();
    }

    fn hot_path(&self) -> PathBuf {
        self.place.hot().join(format!("{}.arrows", segment_name(&self.run, self.number)))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let path = self.hot_path();
        let batch = batch(&self.rows).map_err(|e| StoreError::damaged(&path, &e))?;
        let mut hot = match self.hot.take() {
            Some(hot) => hot,
            None => Hot::begin(&path)?,
        };
        hot.append(&path, &batch)?;
        self.hot = Some(hot);
        self.held += self.rows.len();
        self.batches.push(batch);
        self.rows.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if self.batches.is_empty() {
            return Ok(());
        }
        self.hot = None;
        match close(&self.place, &self.run, self.number, &self.batches) {
            Ok(closed) => {
                for (day, rows) in late::rows([&closed]) {
                    *self.days.entry(day).or_default() += rows;
                }
                remove_file(&self.hot_path())?;
            }
            // It is on this machine's disk: the bucket is asked again at the end, or by the next run.
            Err(_) if matches!(self.place, Place::Bucket(_)) => self.is_behind = true,
            Err(e) => return Err(e),
        }
        self.batches.clear();
        (self.held, self.number) = (0, self.number + 1);
        Ok(())
    }

    fn finish(mut self, ending: Ending) -> Result<Written, StoreError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.close()?;
        if self.is_behind {
            repair(&self.place)?;
        }
        let rows = self.seq;
        let Ending { inputs, complete, notices, failures, health } = ending;
        let home = Some(self.home.clone());
        let planned = Vec::new();
        let ends = self.ends;
        let run = Run { inputs, planned, ends, complete, rows, home, notices, failures, health };
        write_run(&self.place, &self.run, &run, &self.instead)?;
        let late = late::among(&self.place, &self.days);
        let notice = (!late.is_empty()).then(|| {
            let name = self.place.name();
            format!(
                "rows came to days of {} that were analysed before: {}; `read` it to have them judged again",
                name.display(),
                late::said(&late)
            )
        });
        Ok(Written { records: rows, notice })
    }
}
