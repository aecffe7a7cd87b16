//! `hydrophone listen`: the same street and the same analyst as `read`, at an interface.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use anyhow::ensure;
use behaviour::Home;
use capture::{Filter, Listening};
use pipeline::{ByteSize, Heard};
use record::Timestamp;
use report::{Detail, Line};
use verdict::Turn;

use crate::args::Listen;
use crate::config::Config;
use crate::read::{Prepared, capture_line, choice, exit, failed, prepare, print_lines, print_story};
use crate::{Exit, Failure, keep};

/// The part of the memory budget in which the kernel may keep packets.
const RING_PART: u64 = 8;
/// The least that a ring needs.
const SMALLEST_RING: ByteSize = ByteSize(1 << 20);
/// How often a store's records are put on the disk: so much is lost when the program is killed.
const FLUSHED: Duration = Duration::from_secs(10);

pub fn run(args: &Listen) -> Result<Exit, Failure> {
    let config = Config::of(&args.judging)?;
    if args.judging.print_config {
        let text = config.shown().map_err(Failure::usage)?;
        anstream::stdout().lock().write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    let Prepared { mut options, geo, passed_over } = prepare(&args.judging, &config)?;
    let listening = listening(args, options.memory).map_err(Failure::usage)?;
    options.memory = ByteSize(options.memory.0.saturating_sub(listening.ring as u64));
    // Nobody waits until it is found out: whoever turns is told at once.
    options.home.get_or_insert_with(|| Home::private().networks().to_vec());
    options.state.clone_from(&args.state);
    let mut keeper = match &args.store {
        Some(dir) => Some(keep::begin(dir, &[], &config, options.memory)?),
        None => None,
    };
    let mut flushed: Option<Timestamp> = None;
    let mut said = Said { json: args.json, colour: choice(args.color), gone: false };
    let stop = options.opening.stop.clone();
    let mut begins = !args.quiet;
    let ran = pipeline::listen(
        &options,
        &listening,
        args.store.as_deref(),
        |_| {
            if std::mem::take(&mut begins) {
                let names = args.interface.join(", ");
                let _ =
                    writeln!(anstream::stderr().lock(), "hydrophone: listens to {names}; end it with Ctrl-C");
            }
        },
        |heard| match heard {
            Heard::Record(record) => {
                if let Some(keeper) = &mut keeper {
                    keeper.record(record);
                }
            }
            Heard::Turn(turn) => {
                let mut turn = Cow::Borrowed(turn);
                if !args.judging.geo.is_empty() {
                    geo.annotate(std::slice::from_mut(&mut turn.to_mut().story));
                }
                said.turn(&turn);
                // Nobody reads any more: what is remembered is written down all the same.
                if said.gone {
                    stop.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            }
            Heard::Trouble(why) => {
                let _ = writeln!(anstream::stderr().lock(), "hydrophone: {why}");
            }
            Heard::Until(clock) => {
                let last = *flushed.get_or_insert(clock);
                if let Some(keeper) = &mut keeper
                    && clock.since(last) >= FLUSHED
                {
                    flushed = Some(clock);
                    if let Err(e) = keeper.flush() {
                        let _ = writeln!(anstream::stderr().lock(), "hydrophone: records are not kept: {e}");
                    }
                }
            }
        },
    );
    let mut outcome = ran.map_err(failed)?;
    if let Some(keeper) = keeper {
        keep::finish(keeper, &mut outcome);
    }
    outcome.notices.extend(passed_over);
    outcome.notices.extend(crate::knowledge::unused(&options.expectations, &outcome));
    geo.annotate(&mut outcome.stories);
    let capture = capture_line(&outcome, false);
    if !args.quiet && !said.gone {
        if args.json {
            print_lines(&capture, &outcome)?;
        } else {
            print_story(&capture, &outcome, Detail::Summary, args.color)?;
        }
    }
    for failure in &outcome.failures {
        let _ = writeln!(anstream::stderr().lock(), "hydrophone: {failure}");
    }
    Ok(exit(None, &config, &capture, &outcome))
}

/// What is listened to.
fn listening(args: &Listen, memory: ByteSize) -> anyhow::Result<Listening> {
    let ring = args.ring.unwrap_or(ByteSize(memory.0 / RING_PART));
    ensure!(
        ring >= SMALLEST_RING && ring < memory,
        "--ring {ring} has to be at least {SMALLEST_RING} and a part of --memory {memory}"
    );
    for (n, name) in args.interface.iter().enumerate() {
        ensure!(!args.interface[..n].contains(name), "{name} is named twice");
    }
    let filter = match (&args.filter, &args.bpf_file) {
        (Some(expression), _) => Filter::compiled(expression, &args.interface[0])?,
        (None, Some(path)) => Filter::file(path)?,
        (None, None) => Filter::default(),
    };
    Ok(Listening {
        interfaces: args.interface.clone(),
        ring: ring.0 as usize,
        promiscuous: !args.no_promiscuous,
        filter,
    })
}

/// Where hosts that turn are told.
struct Said {
    json: bool,
    colour: anstream::ColorChoice,
    /// Nobody reads any more.
    gone: bool,
}

impl Said {
    fn turn(&mut self, turn: &Turn) {
        let line = if self.json {
            Line::Turn(Box::new(Cow::Borrowed(turn))).to_json().unwrap_or_default()
        } else {
            report::turn(turn)
        };
        let mut out = anstream::AutoStream::new(std::io::stdout(), self.colour).lock();
        self.gone |= writeln!(out, "{line}").and_then(|()| out.flush()).is_err();
    }
}
