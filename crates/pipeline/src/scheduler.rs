//! Batches on their way through the pipeline, at any number of threads.
//!
//! Every thread does whatever is to be done next, and what is nearest to the end comes first: judge the oldest batch whose
//! shards are done, follow some shards' flows through their next batch, join a decoded batch, decode a batch, read one. Reading,
//! joining and judging are done by one thread at a time and in order; a shard meets its batches in order; decoding knows no
//! order. So the records reach the sink in the same order whatever the number of threads, and one thread takes each batch
//! all the way before it reads the next.
//!
//! Whoever did something last goes on with it, because its tables lie in that core's cache; another thread takes it over only
//! when a second batch waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use capture::Batch;
use record::{Health, Record, RecordKey, Timestamp};

use crate::decode::{Decoded, Defragmenter, decode};
use crate::sensor::{Keyed, Sensor};

/// Batches on their way beyond one a thread: enough that nobody waits, few enough to bound memory.
const SPARE_BATCHES: usize = 3;

/// Shards that are followed in one go: few enough that others can help, enough that the lock costs nothing.
const SHARDS_AT_ONCE: usize = 4;
/// The largest list of records whose memory is used again.
const LONGEST_LIST: usize = 1024;

/// How far a batch has come.
enum Stage {
    Read(Batch),
    Decoded(Arc<Decoded>),
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
    Follow { shards: Vec<(usize, Keyed)>, seq: u64, what: Followed },
    Join { seq: u64, decoded: Arc<Decoded> },
    Decode { seq: u64, batch: Batch, room: Arc<Decoded> },
    Read { room: Batch },
}

enum Followed {
    Batch(Arc<Decoded>),
    Finish(Timestamp),
}

/// Something that one thread does at a time.
#[derive(Clone, Copy, Default)]
struct Duty {
    busy: bool,
    /// The thread that did it last.
    last: Option<usize>,
}

impl Duty {
    /// Whether thread `me` may do it now; `urgent` when more than one batch waits for it.
    fn is_free(self, me: usize, urgent: bool) -> bool {
        !self.busy && (urgent || self.last.is_none_or(|last| last == me))
    }

    fn take(&mut self, me: usize) {
        *self = Self { busy: true, last: Some(me) };
    }
}

/// A shard's place in the pipeline.
#[derive(Clone, Copy, Default)]
struct Shard {
    /// The batch that it meets next.
    next: u64,
    duty: Duty,
}

/// Who does what; looked at under one lock.
struct Queue {
    works: VecDeque<Work>,
    /// Number of the first of `works`.
    first: u64,
    shards: Vec<Shard>,
    /// The batch to be joined next.
    joined: u64,
    reading: Duty,
    joining: bool,
    judging: Duty,
    read_all: bool,
    /// The clock of the last batch read.
    clock: Timestamp,
    most: usize,
    /// Threads that wait for news.
    waiting: usize,
    /// A thread has panicked.
    broken: bool,
    /// Old memory, used again.
    batches: Vec<Batch>,
    decoded: Vec<Arc<Decoded>>,
    lists: Vec<Keyed>,
}

impl Queue {
    fn work(&mut self, seq: u64) -> Option<&mut Work> {
        self.works.get_mut(seq.checked_sub(self.first)? as usize)
    }

    fn is_done(&self) -> bool {
        self.broken || (self.read_all && !self.reading.busy && !self.judging.busy && self.works.is_empty())
    }

    /// Takes the next job for thread `me`, if there is one.
    fn next_job(&mut self, me: usize) -> Option<Job> {
        let judged = self.works.iter().take(2).take_while(|w| w.left == 0).count();
        if judged > 0 && self.judging.is_free(me, judged > 1) {
            self.judging.take(me);
            self.first += 1;
            return self.works.pop_front().map(Job::Judge);
        }
        if let Some(job) = self.next_shards(me) {
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
        let room = self.most - self.works.len().min(self.most);
        if !self.read_all && room > 0 && self.reading.is_free(me, room > 1) {
            self.reading.take(me);
            return Some(Job::Read { room: self.batches.pop().unwrap_or_default() });
        }
        None
    }

    /// Some shards that stand before the same batch: the one that is furthest behind decides which.
    fn next_shards(&mut self, me: usize) -> Option<Job> {
        let can_go = |queue: &Self, seq: u64| {
            let work = queue.works.get((seq - queue.first) as usize);
            work.is_some_and(|w| matches!(w.stage, Stage::Ready(_) | Stage::Finish(_)))
        };
        let free = |queue: &Self, shard: &Shard| {
            can_go(queue, shard.next) && shard.duty.is_free(me, can_go(queue, shard.next + 1))
        };
        let seq = self.shards.iter().filter(|shard| free(self, shard)).map(|shard| shard.next).min()?;
        let what = match &self.works[(seq - self.first) as usize].stage {
            Stage::Ready(decoded) => Followed::Batch(decoded.clone()),
            Stage::Finish(at) => Followed::Finish(*at),
            _ => return None,
        };
        let mine: Vec<usize> = (0..self.shards.len())
            .filter(|&i| self.shards[i].next == seq && free(self, &self.shards[i]))
            .take(SHARDS_AT_ONCE)
            .collect();
        let mut shards = Vec::with_capacity(mine.len());
        for i in mine {
            self.shards[i].duty.take(me);
            shards.push((i, self.lists.pop().unwrap_or_default()));
        }
        Some(Job::Follow { shards, seq, what })
    }
}

/// Tells the others when a thread panics, so that nobody waits for ever.
struct Alarm<'a>(&'a Mutex<Queue>, &'a Condvar);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.0).broken = true;
            self.1.notify_all();
        }
    }
}

/// A batch that no shard has seen yet, and which so belongs to nobody else.
fn alone(decoded: &mut Arc<Decoded>) -> &mut Decoded {
    Arc::get_mut(decoded).expect("batches are shared only once they are ready")
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
struct Scheduler<'a, R: ?Sized, S: ?Sized> {
    queue: Mutex<Queue>,
    news: Condvar,
    read: Mutex<&'a mut R>,
    defragmenter: Mutex<Defragmenter>,
    sensors: Vec<Mutex<Sensor>>,
    judge: Mutex<Judge<'a, S>>,
}

/// Takes everything that `read` gives through the pipeline; records go to `sink` in order. Gives what was counted on the way.
pub fn run(
    threads: usize,
    mut read: impl FnMut(&mut Batch) -> bool + Send,
    defragmenter: Defragmenter,
    sensors: Vec<Sensor>,
    mut sink: impl FnMut(RecordKey, &Record) + Send,
) -> Health {
    let shards = sensors.len();
    let scheduler = Scheduler {
        queue: Mutex::new(Queue {
            works: VecDeque::new(),
            first: 0,
            shards: vec![Shard::default(); shards],
            joined: 0,
            reading: Duty::default(),
            joining: false,
            judging: Duty::default(),
            read_all: false,
            clock: Timestamp::default(),
            most: if threads == 1 { 1 } else { threads + SPARE_BATCHES },
            waiting: 0,
            broken: false,
            batches: Vec::new(),
            decoded: Vec::new(),
            lists: Vec::new(),
        }),
        news: Condvar::new(),
        read: Mutex::new(&mut read as &mut (dyn FnMut(&mut Batch) -> bool + Send)),
        defragmenter: Mutex::new(defragmenter),
        sensors: sensors.into_iter().map(Mutex::new).collect(),
        judge: Mutex::new(Judge {
            sink: &mut sink as &mut (dyn FnMut(RecordKey, &Record) + Send),
            health: Health::default(),
            order: Vec::new(),
        }),
    };
    std::thread::scope(|scope| {
        let hands: Vec<_> = (1..threads)
            .map(|me| {
                scope.spawn({
                    let scheduler = &scheduler;
                    move || scheduler.work(me)
                })
            })
            .collect();
        scheduler.work(0);
        for hand in hands {
            if let Err(panic) = hand.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut health = scheduler.judge.into_inner().unwrap_or_else(PoisonError::into_inner).health;
    for sensor in &scheduler.sensors {
        health.merge(&lock(sensor).health());
    }
    health
}

impl<R, S> Scheduler<'_, R, S>
where
    R: FnMut(&mut Batch) -> bool + ?Sized,
    S: FnMut(RecordKey, &Record) + ?Sized,
{
    fn work(&self, me: usize) {
        let _alarm = Alarm(&self.queue, &self.news);
        loop {
            let mut queue = lock(&self.queue);
            if queue.waiting > 0 {
                // What was done last is news to them.
                self.news.notify_all();
            }
            let job = loop {
                if queue.is_done() {
                    return;
                }
                if let Some(job) = queue.next_job(me) {
                    break job;
                }
                queue.waiting += 1;
                queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.waiting -= 1;
            };
            drop(queue);
            self.perform(job);
        }
    }

    fn perform(&self, job: Job) {
        match job {
            Job::Read { room } => self.read(room),
            Job::Decode { seq, mut batch, room } => {
                let mut decoded = room;
                decode(&mut batch, self.sensors.len() as u32, alone(&mut decoded));
                let mut queue = lock(&self.queue);
                queue.batches.push(batch);
                if let Some(work) = queue.work(seq) {
                    work.stage = Stage::Decoded(decoded);
                }
            }
            Job::Join { seq, mut decoded } => {
                lock(&self.defragmenter).join(alone(&mut decoded));
                let mut queue = lock(&self.queue);
                queue.joining = false;
                queue.joined = seq + 1;
                if let Some(work) = queue.work(seq) {
                    work.stage = Stage::Ready(decoded);
                }
            }
            Job::Follow { mut shards, seq, what } => {
                for (shard, list) in &mut shards {
                    // Records of an older batch: freed here, where the next are made.
                    list.clear();
                    let room = std::mem::take(list);
                    let mut sensor = lock(&self.sensors[*shard]);
                    *list = match &what {
                        Followed::Batch(decoded) => sensor.batch(decoded, room),
                        Followed::Finish(at) => sensor.finish(*at),
                    };
                }
                drop(what);
                let mut queue = lock(&self.queue);
                for (shard, keyed) in shards {
                    queue.shards[shard].next = seq + 1;
                    queue.shards[shard].duty.busy = false;
                    if let Some(work) = queue.work(seq) {
                        work.told.push(keyed);
                        work.left -= 1;
                    }
                }
            }
            Job::Judge(work) => self.judge(work),
        }
    }

    fn read(&self, mut batch: Batch) {
        let more = lock(&self.read)(&mut batch);
        let shards = self.sensors.len();
        let mut queue = lock(&self.queue);
        queue.reading.busy = false;
        let stage = if more {
            queue.clock = batch.clock().unwrap_or(queue.clock);
            Stage::Read(batch)
        } else {
            queue.read_all = true;
            Stage::Finish(queue.clock)
        };
        queue.works.push_back(Work { stage, told: Vec::with_capacity(shards), left: shards });
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
            Stage::Ready(decoded) => Some(decoded),
            _ => None,
        };
        if let Some(decoded) = &decoded {
            health.merge(&decoded.health);
        }
        drop(judge);
        let mut queue = lock(&self.queue);
        queue.judging.busy = false;
        // What a flood has blown up is not kept.
        queue.lists.extend(work.told.into_iter().filter(|list| list.capacity() <= LONGEST_LIST));
        if let Some(mut decoded) = decoded
            && let Some(inner) = Arc::get_mut(&mut decoded)
        {
            // The memory that it points into is to be read into again.
            inner.blocks.clear();
            queue.decoded.push(decoded);
        }
    }
}
