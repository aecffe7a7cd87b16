//! The whole street, from paths to stories.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use behaviour::{Home, Settings};
use capture::{Batch, CaptureError, CaptureSet, Notice, Source};
use crossbeam_channel::{Receiver, Sender, bounded};
use ipnet::IpNet;
use record::{Health, Record, RecordKey, Timestamp};
use verdict::{Analyst, CaptureFacts, HostStory};

use crate::budget::{Budget, ByteSize};
use crate::decode::{Decoded, Decoder};
use crate::sensor::Sensor;

/// Shards of the sensor. Fixed, whatever the number of threads: what a full table forgets must not depend on it.
const SHARDS: u32 = 16;
/// Batches on their way to a worker: enough to keep it busy, few enough to bound memory.
const IN_FLIGHT: usize = 4;

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to read.
    pub inputs: Vec<Source>,
    /// Local networks; `None` to find out.
    pub home: Option<Vec<IpNet>>,
    /// Threads, ≥ 1: one reads, decodes and judges, the others follow flows; with one it does everything.
    pub threads: usize,
    /// The memory budget.
    pub memory: ByteSize,
    /// Settings of the behaviours.
    pub settings: Settings,
    /// What one believes of a host before looking, in decibans.
    pub prior_db: f64,
    /// Set from outside to stop early.
    pub stop: Arc<AtomicBool>,
}

/// How far reading has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Packets.
    pub packets: u64,
    /// Bytes of input.
    pub bytes: u64,
    /// Packet time.
    pub clock: Option<Timestamp>,
}

/// An input of the run.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its path.
    pub path: String,
    /// Its size in bytes; `None` for streams.
    pub size: Option<u64>,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The inputs, in the order of packet ids.
    pub inputs: Vec<Input>,
    /// The stories of all local hosts, strongest first.
    pub stories: Vec<HostStory>,
    /// Counters.
    pub health: Health,
    /// What must be told about the inputs.
    pub notices: Vec<String>,
    /// Inputs that failed or ended early, each with its reason.
    pub failures: Vec<String>,
    /// The local networks.
    pub home: Vec<String>,
    /// How they were chosen.
    pub home_chosen: String,
    /// Host states forgotten for want of memory.
    pub hosts_forgotten: u64,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
}

impl Outcome {
    /// Whether all input was read to its end.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && !self.interrupted
    }
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The input's fault.
    #[error(transparent)]
    Input(#[from] CaptureError),
    /// The configuration's fault.
    #[error("{0}")]
    Config(String),
}

type Keyed = Vec<(RecordKey, Record)>;

/// What the sensor half counted, and what must be told of its inputs.
#[derive(Debug)]
pub struct Sensed {
    /// The inputs, in the order of packet ids.
    pub inputs: Vec<Input>,
    /// Counters.
    pub health: Health,
    /// What must be told about the inputs.
    pub notices: Vec<String>,
    /// Inputs that failed or ended early, each with its reason.
    pub failures: Vec<String>,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
}

/// Runs the sensor half alone: every record goes to `sink`, in order. `progress` is called about once a batch.
///
/// # Errors
/// A directory cannot be listed, or the options contradict themselves. Inputs that fail are part of the outcome.
pub fn sense(
    options: &RunOptions,
    mut progress: impl FnMut(Progress),
    mut sink: impl FnMut(RecordKey, Record),
) -> Result<Sensed, RunError> {
    let budget = options.budget()?;
    let mut set = CaptureSet::open(&options.inputs)?;
    let mut decoder = Decoder::new(SHARDS, budget.fragments);
    let sensors: Vec<Sensor> = (0..SHARDS).map(|s| Sensor::new(s, budget.flows)).collect();
    let mut interrupted = false;
    let mut sink = |keyed: Keyed| {
        for (key, record) in keyed {
            sink(key, record);
        }
    };
    let mut feed = |decoded: &mut dyn FnMut(Decoded)| {
        let mut batch = Batch::default();
        while set.next_batch(&mut batch) {
            let made = decoder.decode(&batch);
            progress(Progress { packets: set.packets(), bytes: set.offset(), clock: made.clock });
            decoded(made);
            if options.stop.load(Ordering::Relaxed) {
                interrupted = true;
                break;
            }
        }
        set.health().last
    };
    let mut health = if options.threads == 1 {
        alone(sensors, &mut feed, &mut sink)
    } else {
        together(options.threads - 1, sensors, &mut feed, &mut sink)
    };
    health.merge(&decoder.health);
    health.merge(&set.health());
    let (mut notices, mut failures) = (Vec::new(), Vec::new());
    for notice in set.notices() {
        match notice {
            Notice::Failed(e) => failures.push(e.to_string()),
            Notice::PassedOver(e) => notices.push(format!("passed over: {e}")),
            Notice::Overlap { earlier, later, at } => {
                let (earlier, later) = (earlier.display(), later.display());
                notices.push(format!(
                    "{later} begins at {at}, while {earlier} still goes on: merged by packet time"
                ));
            }
        }
    }
    let inputs =
        set.files().iter().map(|f| Input { path: f.path.display().to_string(), size: f.size }).collect();
    Ok(Sensed { inputs, health, notices, failures, interrupted })
}

impl RunOptions {
    fn budget(&self) -> Result<Budget, RunError> {
        if self.threads == 0 {
            return Err(RunError::Config("--threads must be at least 1".into()));
        }
        let smallest = crate::budget::SMALLEST;
        if self.memory < smallest {
            return Err(RunError::Config(format!(
                "--memory {} is too little: at least {smallest} are needed",
                self.memory
            )));
        }
        Ok(Budget::divide(self.memory, SHARDS))
    }
}

/// Reads everything and judges every host. `progress` is called about once a batch.
///
/// # Errors
/// As [`sense`].
pub fn run(options: &RunOptions, progress: impl FnMut(Progress)) -> Result<Outcome, RunError> {
    let limits = options.budget()?.analyst;
    let home = options.home.clone().map(Home::of);
    let mut analyst = Analyst::new(home, options.settings.clone(), limits, options.prior_db);
    let sensed = sense(options, progress, |key, record| analyst.observe(record, key.at))?;
    let facts = CaptureFacts {
        first: sensed.health.first,
        last: sensed.health.last,
        dropped: sensed.health.dropped_by_capture,
        packets: sensed.health.packets,
        complete: sensed.failures.is_empty() && !sensed.interrupted,
    };
    let (home, home_chosen) = analyst.home();
    Ok(Outcome {
        stories: analyst.stories(&facts),
        hosts_forgotten: analyst.forgotten(),
        inputs: sensed.inputs,
        health: sensed.health,
        notices: sensed.notices,
        failures: sensed.failures,
        home,
        home_chosen,
        interrupted: sensed.interrupted,
    })
}

/// Puts the records of all shards into the one order.
fn in_order(mut keyed: Keyed) -> Keyed {
    keyed.sort_by_key(|(key, _)| *key);
    keyed
}

type Feed<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Decoded)) -> Option<Timestamp>;

/// Everything on one thread.
fn alone(mut sensors: Vec<Sensor>, feed: Feed<'_>, sink: &mut dyn FnMut(Keyed)) -> Health {
    let last = feed(&mut |decoded| {
        let keyed = sensors.iter_mut().flat_map(|s| s.batch(&decoded)).collect();
        sink(in_order(keyed));
    });
    let end = last.unwrap_or_default();
    sink(in_order(sensors.iter_mut().flat_map(|s| s.finish(end)).collect()));
    let mut health = Health::default();
    for sensor in &sensors {
        health.merge(&sensor.health());
    }
    health
}

/// The shards are spread over `workers` threads; records come back batch by batch.
fn together(workers: usize, sensors: Vec<Sensor>, feed: Feed<'_>, sink: &mut dyn FnMut(Keyed)) -> Health {
    let mut crews: Vec<Vec<Sensor>> = (0..workers.min(SHARDS as usize)).map(|_| Vec::new()).collect();
    let n = crews.len();
    for (i, sensor) in sensors.into_iter().enumerate() {
        crews[i % n].push(sensor);
    }
    std::thread::scope(|scope| {
        let mut lines: Vec<(Sender<Arc<Decoded>>, Receiver<Keyed>)> = Vec::new();
        let mut hands = Vec::new();
        for mut crew in crews {
            let (work_in, work_out) = bounded::<Arc<Decoded>>(IN_FLIGHT);
            let (done_in, done_out) = bounded::<Keyed>(IN_FLIGHT + 2);
            lines.push((work_in, done_out));
            hands.push(scope.spawn(move || {
                for batch in work_out {
                    let keyed: Keyed = crew.iter_mut().flat_map(|s| s.batch(&batch)).collect();
                    if done_in.send(keyed).is_err() {
                        break;
                    }
                }
                crew
            }));
        }
        let mut on_the_way = 0usize;
        let collect = |sink: &mut dyn FnMut(Keyed)| {
            let keyed = lines.iter().filter_map(|(_, done)| done.recv().ok()).flatten().collect();
            sink(in_order(keyed));
        };
        let last = feed(&mut |decoded| {
            let batch = Arc::new(decoded);
            for (work, _) in &lines {
                // A worker that is gone has panicked; joining it will say so.
                let _ = work.send(batch.clone());
            }
            on_the_way += 1;
            if on_the_way > IN_FLIGHT {
                collect(sink);
                on_the_way -= 1;
            }
        });
        while on_the_way > 0 {
            collect(sink);
            on_the_way -= 1;
        }
        drop(lines);
        let end = last.unwrap_or_default();
        let mut health = Health::default();
        let mut keyed = Keyed::new();
        for hand in hands {
            match hand.join() {
                Ok(mut crew) => {
                    for sensor in &mut crew {
                        keyed.extend(sensor.finish(end));
                        health.merge(&sensor.health());
                    }
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sink(in_order(keyed));
        health
    })
}
