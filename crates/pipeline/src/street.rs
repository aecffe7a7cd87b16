//! Batches on their way through the street, at any number of threads.
//!
//! Every thread does whatever is to be done next, and what is nearest to the end comes first: judge the oldest batch whose
//! shards are done, follow a shard's flows through its next batch, join a decoded batch, decode a batch, read one. Reading,
//! joining and judging are done by one thread at a time and in order; a shard meets its batches in order; decoding knows no
//! order. So the records reach the sink in the same order whatever the number of threads, and one thread takes each batch
//! all the way before it reads the next.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use capture::Batch;
use record::{Health, Record, RecordKey, Timestamp};

use crate::decode::{Decoded, Joiner, decode};
use crate::sensor::{Keyed, Sensor};

/// Batches on their way beyond one a thread: enough that nobody waits, few enough to bound memory.
const SPARE_BATCHES: usize = 3;

/// The largest list of records whose memory is used again.
const LONGEST_LIST: usize = 1024;

/// How far a batch has come.
enum Stage {
    Read(Batch),
    Decoded(Decoded),
    /// Shards may follow it.
    Ready(Arc<Decoded>),
    /// Somebody has it in hand.
    Away,
    /// Behind the last batch: everything that is open ends.
    Finish(Timestamp),
}

struct Work {
    stage: Stage,
    /// What each shard told of it.
    told: Vec<Keyed>,
    /// Shards that have not been through it.
    left: usize,
}

enum Job {
    Judge(Work),
    Follow { shard: usize, seq: u64, what: Followed, room: Keyed },
    Join { seq: u64, decoded: Decoded },
    Decode { seq: u64, batch: Batch, room: Decoded },
    Read { room: Batch },
}

enum Followed {
    Batch(Arc<Decoded>),
    Finish(Timestamp),
}

/// Who does what; looked at under one lock.
struct Board {
    works: VecDeque<Work>,
    /// Number of the first of `works`.
    first: u64,
    /// The batch that each shard meets next, and whether it is on one now.
    shards: Vec<(u64, bool)>,
    /// The batch to be joined next.
    joined: u64,
    reading: bool,
    joining: bool,
    judging: bool,
    read_all: bool,
    /// The clock of the last batch read.
    clock: Timestamp,
    most: usize,
    /// A thread has panicked.
    broken: bool,
    /// Old memory, used again.
    batches: Vec<Batch>,
    decoded: Vec<Decoded>,
    lists: Vec<Keyed>,
}

impl Board {
    fn work(&mut self, seq: u64) -> Option<&mut Work> {
        self.works.get_mut(seq.checked_sub(self.first)? as usize)
    }

    fn is_done(&self) -> bool {
        self.broken || (self.read_all && !self.reading && !self.judging && self.works.is_empty())
    }

    /// Takes the next job, if there is one.
    fn next_job(&mut self) -> Option<Job> {
        if !self.judging && self.works.front().is_some_and(|w| w.left == 0) {
            self.judging = true;
            self.first += 1;
            return self.works.pop_front().map(Job::Judge);
        }
        if let Some(job) = self.next_shard() {
            return Some(job);
        }
        let joined = self.joined;
        if !self.joining
            && let Some(work) = self.work(joined)
            && matches!(work.stage, Stage::Decoded(_))
            && let Stage::Decoded(decoded) = std::mem::replace(&mut work.stage, Stage::Away)
        {
            self.joining = true;
            return Some(Job::Join { seq: joined, decoded });
        }
        let first = self.first;
        let read = self.works.iter_mut().enumerate().find(|(_, w)| matches!(w.stage, Stage::Read(_)));
        if let Some((at, work)) = read
            && let Stage::Read(batch) = std::mem::replace(&mut work.stage, Stage::Away)
        {
            let room = self.decoded.pop().unwrap_or_default();
            return Some(Job::Decode { seq: first + at as u64, batch, room });
        }
        if !self.reading && !self.read_all && self.works.len() < self.most {
            self.reading = true;
            return Some(Job::Read { room: self.batches.pop().unwrap_or_default() });
        }
        None
    }

    /// The shard that is furthest behind and can go on.
    fn next_shard(&mut self) -> Option<Job> {
        let candidates = self.shards.iter().enumerate().filter(|(_, (_, busy))| !busy);
        let (shard, seq) = candidates
            .filter_map(|(shard, &(seq, _))| {
                let work = self.works.get((seq - self.first) as usize)?;
                matches!(work.stage, Stage::Ready(_) | Stage::Finish(_)).then_some((shard, seq))
            })
            .min_by_key(|&(_, seq)| seq)?;
        let what = match &self.works[(seq - self.first) as usize].stage {
            Stage::Ready(decoded) => Followed::Batch(decoded.clone()),
            Stage::Finish(at) => Followed::Finish(*at),
            _ => return None,
        };
        self.shards[shard].1 = true;
        Some(Job::Follow { shard, seq, what, room: self.lists.pop().unwrap_or_default() })
    }
}

/// What a batch or a shard has been told, so that nothing waits for ever when a thread panics.
struct Alarm<'a>(&'a Mutex<Board>, &'a Condvar);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.0).broken = true;
            self.1.notify_all();
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Who panicked has said so; the others only tidy up.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who hands records on.
struct Judge<'a, S: ?Sized> {
    sink: &'a mut S,
    /// What decoding counted.
    health: Health,
    /// Records of a batch by key: which list, and where in it.
    order: Vec<(RecordKey, u32, u32)>,
}

/// Everything the threads share.
struct Street<'a, R: ?Sized, S: ?Sized> {
    board: Mutex<Board>,
    news: Condvar,
    read: Mutex<&'a mut R>,
    joiner: Mutex<Joiner>,
    sensors: Vec<Mutex<Sensor>>,
    judge: Mutex<Judge<'a, S>>,
}

/// Takes everything that `read` gives through the street; records go to `sink` in order. Gives what was counted on the way.
pub fn run(
    threads: usize,
    mut read: impl FnMut(&mut Batch) -> bool + Send,
    joiner: Joiner,
    sensors: Vec<Sensor>,
    mut sink: impl FnMut(RecordKey, &Record) + Send,
) -> Health {
    let shards = sensors.len();
    let street = Street {
        board: Mutex::new(Board {
            works: VecDeque::new(),
            first: 0,
            shards: vec![(0, false); shards],
            joined: 0,
            reading: false,
            joining: false,
            judging: false,
            read_all: false,
            clock: Timestamp::default(),
            most: if threads == 1 { 1 } else { threads + SPARE_BATCHES },
            broken: false,
            batches: Vec::new(),
            decoded: Vec::new(),
            lists: Vec::new(),
        }),
        news: Condvar::new(),
        read: Mutex::new(&mut read as &mut (dyn FnMut(&mut Batch) -> bool + Send)),
        joiner: Mutex::new(joiner),
        sensors: sensors.into_iter().map(Mutex::new).collect(),
        judge: Mutex::new(Judge {
            sink: &mut sink as &mut (dyn FnMut(RecordKey, &Record) + Send),
            health: Health::default(),
            order: Vec::new(),
        }),
    };
    std::thread::scope(|scope| {
        let hands: Vec<_> = (1..threads).map(|_| scope.spawn(|| street.work())).collect();
        street.work();
        for hand in hands {
            if let Err(panic) = hand.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut health = street.judge.into_inner().unwrap_or_else(PoisonError::into_inner).health;
    for sensor in &street.sensors {
        health.merge(&lock(sensor).health());
    }
    health
}

impl<R, S> Street<'_, R, S>
where
    R: FnMut(&mut Batch) -> bool + ?Sized,
    S: FnMut(RecordKey, &Record) + ?Sized,
{
    fn work(&self) {
        let _alarm = Alarm(&self.board, &self.news);
        loop {
            let mut board = lock(&self.board);
            let job = loop {
                if board.is_done() {
                    return;
                }
                if let Some(job) = board.next_job() {
                    break job;
                }
                board = self.news.wait(board).unwrap_or_else(PoisonError::into_inner);
            };
            drop(board);
            self.perform(job);
            self.news.notify_all();
        }
    }

    fn perform(&self, job: Job) {
        match job {
            Job::Read { room } => self.read(room),
            Job::Decode { seq, mut batch, room } => {
                let decoded = decode(&mut batch, self.sensors.len() as u32, room);
                let mut board = lock(&self.board);
                board.batches.push(batch);
                if let Some(work) = board.work(seq) {
                    work.stage = Stage::Decoded(decoded);
                }
            }
            Job::Join { seq, mut decoded } => {
                lock(&self.joiner).join(&mut decoded);
                let mut board = lock(&self.board);
                board.joining = false;
                board.joined = seq + 1;
                if let Some(work) = board.work(seq) {
                    work.stage = Stage::Ready(Arc::new(decoded));
                }
            }
            Job::Follow { shard, seq, what, mut room } => {
                // Of the batch before last, or older: freed here, where the next are made.
                room.clear();
                let mut sensor = lock(&self.sensors[shard]);
                let keyed = match what {
                    Followed::Batch(decoded) => sensor.batch(&decoded, room),
                    Followed::Finish(at) => sensor.finish(at),
                };
                drop(sensor);
                let mut board = lock(&self.board);
                board.shards[shard] = (seq + 1, false);
                if let Some(work) = board.work(seq) {
                    work.told.push(keyed);
                    work.left -= 1;
                }
            }
            Job::Judge(work) => self.judge(work),
        }
    }

    fn read(&self, mut batch: Batch) {
        let more = lock(&self.read)(&mut batch);
        let shards = self.sensors.len();
        let mut board = lock(&self.board);
        board.reading = false;
        board.clock = batch.clock().unwrap_or(board.clock);
        let stage = if more {
            Stage::Read(batch)
        } else {
            board.read_all = true;
            Stage::Finish(board.clock)
        };
        board.works.push_back(Work { stage, told: Vec::with_capacity(shards), left: shards });
    }

    /// Hands the records of a batch to the sink, in order.
    fn judge(&self, work: Work) {
        let mut judge = lock(&self.judge);
        let Judge { sink, health, order } = &mut *judge;
        order.clear();
        order.shrink_to(LONGEST_LIST);
        for (list, keyed) in (0..).zip(&work.told) {
            order.extend((0..).zip(keyed).map(|(at, (key, _))| (*key, list, at)));
        }
        order.sort_unstable();
        for (key, list, at) in order.iter() {
            sink(*key, &work.told[*list as usize][*at as usize].1);
        }
        let decoded = match work.stage {
            Stage::Ready(decoded) => Arc::into_inner(decoded),
            _ => None,
        };
        if let Some(decoded) = &decoded {
            health.merge(&decoded.health);
        }
        drop(judge);
        let mut board = lock(&self.board);
        board.judging = false;
        // What a flood has blown up is not kept.
        board.lists.extend(work.told.into_iter().filter(|list| list.capacity() <= LONGEST_LIST));
        if let Some(mut decoded) = decoded {
            // The memory that it points into is to be read into again.
            decoded.blocks.clear();
            board.decoded.push(decoded);
        }
    }
}
