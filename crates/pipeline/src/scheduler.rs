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

/// What the one who judges is told, in order.
pub enum Step<'a> {
    /// A record, and its place in the whole.
    Record(RecordKey, &'a Record),
    /// A batch is over: all that was known until then has been told.
    Until {
        /// How far time has passed.
        clock: Timestamp,
        /// Whether nothing came that tells of it.
        idle: bool,
    },
    /// Something that whoever runs it should know now.
    News(String),
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
    fn new(threads: usize, shards: usize) -> Self {
        Self {
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
        }
    }

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
    mut sink: impl FnMut(Step<'_>) + Send,
) -> Health {
    let shards = sensors.len();
    let scheduler = Scheduler {
        queue: Mutex::new(Queue::new(threads, shards)),
        news: Condvar::new(),
        read: Mutex::new(&mut read as &mut (dyn FnMut(&mut Batch) -> bool + Send)),
        defragmenter: Mutex::new(defragmenter),
        sensors: sensors.into_iter().map(Mutex::new).collect(),
        judge: Mutex::new(Judge {
            sink: &mut sink as &mut (dyn FnMut(Step<'_>) + Send),
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
    lock(&scheduler.defragmenter).finish(&mut health);
    health.accounts.settle();
    health
}

impl<R, S> Scheduler<'_, R, S>
where
    R: FnMut(&mut Batch) -> bool + ?Sized,
    S: FnMut(Step<'_>) + ?Sized,
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
            sink(Step::Record(*key, &work.told[*list as usize][*at as usize].1));
        }
        let decoded = match work.stage {
            Stage::Ready(decoded) => Some(decoded),
            _ => None,
        };
        if let Some(decoded) = &decoded {
            health.merge(&decoded.health);
            if let Some(clock) = decoded.clock {
                sink(Step::Until { clock, idle: decoded.packets.is_empty() });
            }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::time::Duration;

    use capture::{Block, CaptureSet, Opening, PacketMeta, Source};
    use record::PacketId;

    use super::*;

    const SHARDS: u32 = 16;
    const KRAKEN: &[u8] = include_bytes!("../../../samples/kraken-new.pcapng");

    fn followed(
        threads: usize,
        read: impl FnMut(&mut Batch) -> bool + Send,
        mut sink: impl FnMut(RecordKey, &Record) + Send,
    ) -> Health {
        let sensors = (0..SHARDS).map(|s| Sensor::new(s, flow::Limits::of_budget(1 << 20), false)).collect();
        run(threads, read, Defragmenter::new(SHARDS, 1 << 20), sensors, |step| {
            if let Step::Record(key, record) = step {
                sink(key, record);
            }
        })
    }

    /// Hands batches out and then ends; it must not be asked again.
    fn reader(batches: Vec<Batch>) -> impl FnMut(&mut Batch) -> bool + Send {
        let (mut batches, mut ended) = (batches.into_iter(), false);
        move |batch| {
            assert!(!ended, "asked again behind the end");
            match batches.next() {
                Some(next) => *batch = next,
                None => ended = true,
            }
            !ended
        }
    }

    fn told(threads: usize, batches: Vec<Batch>) -> (Vec<(RecordKey, Record)>, Health) {
        let mut told = Vec::new();
        let health = followed(threads, reader(batches), |key, record| told.push((key, record.clone())));
        (told, health)
    }

    /// The packets of a sample, so many a batch.
    fn sample(size: usize) -> Vec<Batch> {
        let mut set = CaptureSet::open(&[Source::Memory("kraken-new", KRAKEN)], &Opening::default()).unwrap();
        let (mut all, mut batch) = (Vec::new(), Batch::default());
        while set.next_batch(&mut batch) {
            let part = |packets: &[PacketMeta]| Batch {
                blocks: batch.blocks.clone(),
                packets: packets.to_vec(),
                idle: None,
            };
            all.extend(batch.packets.chunks(size).map(part));
        }
        all
    }

    /// A host's question at second `n`, and its answer: one record of DNS, known within the batch.
    fn question(n: u8) -> Batch {
        const NAME: &[u8] = b"\x01a\x07example\0\0\x01\0\x01";
        let ends = [[10, 0, 0, n, 198, 51, 100, 7], [198, 51, 100, 7, 10, 0, 0, n]];
        let mut batch = Batch::default();
        for (i, (ends, ports)) in ends.iter().zip([[16, 0, 0, 53], [0, 53, 16, 0]]).enumerate() {
            let ip = [&[0x45, 0, 0, 59, 0, 0, 0, 0, 64, 17, 0, 0][..], ends].concat();
            let dns = [0, n, if i == 0 { 1 } else { 0x81 }, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let frame = [&ip[..], &ports, &[0, 39, 0, 0], &dns, NAME].concat();
            let ts = Timestamp::from_secs(i64::from(n));
            let (id, size) = (PacketId::new(0, 2 * u64::from(n) + i as u64 + 1), frame.len() as u32);
            batch.blocks.push(Block::from(frame));
            let (block, offset) = (i as u32, 0);
            batch.packets.push(PacketMeta {
                ts,
                clock: ts,
                id,
                link: 101,
                block,
                offset,
                captured: size,
                original: size,
            });
        }
        batch
    }

    /// What a run that panics says; one that never ends is told from it.
    fn panics(run: impl FnOnce() + Send + 'static) -> String {
        let (told, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let why = ended.err().and_then(|why| why.downcast_ref::<&str>().map(ToString::to_string));
            told.send(why)
        });
        heard.recv_timeout(Duration::from_mins(1)).expect("it ends").expect("it panics with its own words")
    }

    #[test]
    fn any_number_of_threads_tells_the_same_in_one_order() {
        for size in [16, 5] {
            let (first, counted) = told(1, sample(size));
            assert!(first.len() > 300, "{} records", first.len());
            assert_eq!(
                counted.accounts.followed,
                sample(size).iter().map(|b| b.packets.len() as u64).sum::<u64>()
            );
            assert!(first.is_sorted_by(|a, b| a.0 < b.0), "the order of keys, batch after batch");
            for threads in [2, 3, 8] {
                let (again, health) = told(threads, sample(size));
                assert!(again == first, "{threads} threads, batches of {size}");
                assert_eq!(health, counted);
            }
        }
    }

    #[test]
    fn one_thread_takes_a_batch_all_the_way_before_it_reads_the_next() {
        let questions = AtomicUsize::new(0);
        let (mut read, mut reader) = (0, reader((0..9).map(question).collect()));
        let read = |batch: &mut Batch| {
            assert_eq!(questions.load(SeqCst), read);
            read += 1;
            reader(batch)
        };
        followed(1, read, |_, record| {
            questions.fetch_add(usize::from(matches!(record, Record::Dns(_))), SeqCst);
        });
        assert_eq!(questions.into_inner(), 9);
    }

    #[test]
    fn reading_waits_when_judging_is_slow() {
        for threads in [2, 4] {
            let (told, mut read, mut ahead) = (AtomicUsize::new(0), 0, 0);
            let mut reader = reader((0..60).map(question).collect());
            let read = |batch: &mut Batch| {
                ahead = ahead.max(read - told.load(SeqCst));
                read += 1;
                reader(batch)
            };
            followed(threads, read, |_, record| {
                if matches!(record, Record::Dns(_)) {
                    told.fetch_add(1, SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            assert_eq!(told.into_inner(), 60);
            assert!(ahead <= threads + SPARE_BATCHES, "{ahead} batches on their way at {threads} threads");
        }
    }

    #[test]
    fn what_is_open_ends_by_the_clock_of_the_last_batch() {
        for threads in [1, 2, 8] {
            assert!(told(threads, Vec::new()).0.is_empty());
            // An empty batch has no clock, and what a reader leaves behind at the end is none.
            let mut batches = vec![question(7), question(9), Batch::default()].into_iter();
            let read = |batch: &mut Batch| {
                let next = batches.next();
                let more = next.is_some();
                *batch = next.unwrap_or_else(|| question(7));
                more
            };
            let mut ends = Vec::new();
            followed(threads, read, |key, record| {
                if let Record::Conn(conn) = record {
                    ends.push((conn.phase, key.known));
                }
            });
            assert_eq!(ends, [(record::ConnPhase::Closed, Timestamp::from_secs(9)); 2]);
        }
    }

    #[test]
    fn a_panic_ends_every_thread_and_reaches_the_caller() {
        for threads in [1, 2, 8] {
            let mut all = (0..20).map(question);
            let read = move |batch: &mut Batch| {
                *batch = all.next().expect("more than are read");
                assert!(batch.packets[0].ts < Timestamp::from_secs(10), "bad input");
                true
            };
            assert_eq!(panics(move || _ = followed(threads, read, |_, _| ())), "bad input");
            let sink = |key: RecordKey, _: &Record| assert!(key.known < Timestamp::from_secs(10), "bad sink");
            let batches = (0..20).map(question).collect();
            assert_eq!(panics(move || _ = followed(threads, reader(batches), sink)), "bad sink");
        }
    }

    #[test]
    fn a_panic_of_another_thread_than_the_callers_reaches_the_caller_too() {
        let told = panics(|| {
            let (caller, other) = (std::thread::current().id(), AtomicBool::new(false));
            let elsewhere = || {
                if std::thread::current().id() != caller {
                    other.store(true, SeqCst);
                    panic!("elsewhere");
                }
            };
            let mut reader = reader((0..20).map(question).collect());
            let read = |batch: &mut Batch| {
                elsewhere();
                reader(batch)
            };
            followed(2, read, |_, _| {
                elsewhere();
                while !other.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
        assert_eq!(told, "elsewhere");
    }

    fn work(stage: Stage, left: usize) -> Work {
        Work { stage, told: Vec::new(), left }
    }

    #[test]
    fn what_is_nearest_to_the_end_comes_first() {
        let mut queue = Queue::new(4, 6);
        let ready = || Stage::Ready(Arc::default());
        queue.works = VecDeque::from([
            work(ready(), 0),
            work(ready(), 6),
            work(Stage::Decoded(Arc::default()), 6),
            work(Stage::Read(Batch::default()), 6),
        ]);
        queue.shards.iter_mut().for_each(|shard| shard.next = 1);
        queue.joined = 2;
        let names = std::iter::from_fn(|| queue.next_job(0)).map(|job| match job {
            Job::Judge(_) => "judge".to_owned(),
            Job::Follow { shards, seq, .. } => format!("{} shards through {seq}", shards.len()),
            Job::Join { seq, .. } => format!("join {seq}"),
            Job::Decode { seq, .. } => format!("decode {seq}"),
            Job::Read { .. } => "read".to_owned(),
        });
        let want = ["judge", "4 shards through 1", "2 shards through 1", "join 2", "decode 3", "read"];
        assert_eq!(names.collect::<Vec<_>>(), want, "each is one thread's at a time");
        // What was decoded early waits to be joined in its turn.
        let mut queue = Queue::new(4, 6);
        queue.works = VecDeque::from([work(Stage::Away, 6), work(Stage::Decoded(Arc::default()), 6)]);
        assert!(matches!(queue.next_job(0), Some(Job::Read { .. })));
    }

    #[test]
    fn another_thread_takes_over_only_when_a_second_batch_waits() {
        let mine = Duty { busy: false, last: Some(0) };
        let mut queue = Queue::new(2, 1);
        (queue.judging, queue.shards[0], queue.reading) = (mine, Shard { next: 1, duty: mine }, mine);
        queue.joined = 9;
        let ready = |left| work(Stage::Ready(Arc::default()), left);
        queue.works = VecDeque::from([ready(0), ready(1)]);
        queue.read_all = true;
        assert!(queue.next_job(1).is_none(), "one batch to judge, one to follow: they are the other's");
        queue.works.push_back(ready(1));
        assert!(matches!(queue.next_job(1), Some(Job::Follow { seq: 1, .. })));
        queue.works[1].left = 0;
        assert!(matches!(queue.next_job(1), Some(Job::Judge(_))));
        let mut queue = Queue::new(2, 1);
        queue.reading = mine;
        queue.most = 1;
        assert!(queue.next_job(1).is_none() && matches!(queue.next_job(0), Some(Job::Read { .. })));
        queue.reading = mine;
        queue.most = 2;
        assert!(matches!(queue.next_job(1), Some(Job::Read { .. })), "two are wanted");
    }
}
