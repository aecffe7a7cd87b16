//! `hydrophone listen`: the same street and the same analyst as `read`, at an interface.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;
use behaviour::Home;
use capture::{Filter, Listening, Live, now};
use pipeline::{
    ByteSize, Heard, Keeping, Listened, Moment, PacketKeeper, SMALLEST, Subscribers, capture_line,
};
use record::{ConnPhase, Record, Timestamp, Transport};
use report::{CaptureLine, Detail, FlowCounts, InputLine, Line};
use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook::flag;
use verdict::{Analysts, Calibration, CaptureFacts, Knowledge, Prior, Teller};

use crate::args::{Judging, Listen};
use crate::config::Config;
use crate::daily::Days;
use crate::geo::Geo;
use crate::inbox::{self, Inbox, Taken};
use crate::keep::Keeper;
use crate::notify::Manager;
use crate::read::{Prepared, choice, exit, failed, prepare, print_lines, print_story};
use crate::rights::{self, Needs};
use crate::status::{Board, Doors, Status};
use crate::tell::Sinks;
use crate::voice::Voice;
use crate::{Exit, Failure, knowledge, say};

/// The part of the memory budget in which the kernel may keep packets.
const RING_PART: u64 = 8;
/// The least that a ring needs.
const SMALLEST_RING: ByteSize = ByteSize(1 << 20);
/// Flows after which it can be said that home is somewhere else (*assumed*).
const ENOUGH_FLOWS: u64 = 200;
/// What is not known of a sensor that goes on.
const GOES_ON: &str =
    "the sensor goes on: gaps, cut packets and flows seen from one side alone are told when it ends";
/// How far what is told may be ahead of the clock of the machine (*assumed*, as in `capture`: clocks of a network differ by less).
const AHEAD: Duration = Duration::from_mins(1);
/// How often hosts are counted, and the process of the sinks is looked after.
const COUNTED: Duration = Duration::from_secs(1);

pub fn run(args: &Listen) -> Result<Exit, Failure> {
    let config = Config::of(&args.judging)?;
    if args.judging.print_config {
        let text = config.shown().map_err(Failure::usage)?;
        anstream::stdout().lock().write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    // From here on nobody who asks for something ends it.
    let signals = Signals::heard().map_err(Failure::usage)?;
    let Prepared { mut options, geo, notices } = prepare(&args.judging, &config)?;
    let budget = options.memory.0;
    let listening = listening(args, options.memory).map_err(Failure::usage)?;
    let live = Live::open(&listening, options.opening.stop.clone()).map_err(Failure::input)?;
    options.memory = ByteSize(options.memory.0.saturating_sub(listening.ring as u64));
    // Nobody waits until it is found out: whoever turns is told at once.
    options.home.get_or_insert_with(|| Home::private().networks().to_vec());
    options.state.clone_from(&args.state);
    options.follow.clone_from(&args.follow);
    let mut manager = Manager::of_environment();
    // Whom it tells is another process's business, whose rights are its own.
    let mut sinks = match &args.tell {
        Some(file) => Some(Sinks::begin(file, args.user.as_deref())?),
        None => None,
    };
    // The interfaces are open: from here on there is nothing more to be opened but what was named.
    let mut untaken = rights::step_down(args.user.as_deref()).map_err(Failure::usage)?;
    let mut keeper = match &args.store {
        Some(dir) => Some(Keeper::begin(dir, &config, options.memory)?),
        None => None,
    };
    let inbox = match (&args.eve_socket, &args.eve_folder) {
        (Some(socket), Some(folder)) => {
            options.follow.push(inbox::log_in(folder));
            Some(Inbox::open(socket, folder, args.eve_size).map_err(Failure::usage)?)
        }
        _ => None,
    };
    let heard: Vec<String> = args
        .interface
        .iter()
        .cloned()
        .chain(args.netflow.iter().map(|at| format!("UDP {at}")))
        .chain(args.pipe.iter().map(|path| named(path)))
        .chain(args.follow.iter().map(|p| p.display().to_string()))
        .chain(args.eve_socket.iter().map(|p| format!("EVE at {}", inbox::socket_of(p).0.display())))
        .collect();
    let packets = match &args.keep_packets {
        Some(folder) => Some(PacketKeeper::open(keeping(args, folder)?).map_err(|e| {
            Failure::usage(anyhow::anyhow!("packets cannot be kept in {}: {e}", folder.display()))
        })?),
        None => None,
    };
    let kept = packets.as_ref().map(PacketKeeper::kept);
    let doors = Doors::open(args.control.as_deref(), args.metrics).map_err(Failure::usage)?;
    let status = Status {
        version: env!("HYDROPHONE_VERSION").to_owned(),
        interfaces: heard.clone(),
        budget,
        store: args.store.as_ref().map(|p| p.display().to_string()),
        state: args.state.as_ref().map(|p| p.display().to_string()),
        keeps_packets: args.keep_packets.as_ref().map(|p| p.display().to_string()),
        ..Status::default()
    };
    let board = Board::new(status, args.state.as_deref()).map_err(Failure::usage)?;
    // Kept to the very end, so that no file gets their numbers.
    let sockets = live.sockets();
    if !args.no_sandbox {
        let mute = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        untaken.extend(
            rights::give_up(&needs(args, doors.is_any() || inbox.is_some(), mute, sinks.as_ref()))
                .map_err(Failure::usage)?,
        );
    }
    for why in untaken.iter().chain(&notices).filter(|_| !args.quiet) {
        say(why);
    }
    let _voice = Voice::begin();
    // Their threads begin when the rights are gone, and have none.
    let _guest = doors.serve(&board, &signals.anew)?;
    let lines = inbox.map(|inbox| inbox.take(&board)).transpose()?;
    let (mut records, mut looked) = (0u64, None::<Timestamp>);
    let (mut begun, mut flows) = (None::<Timestamp>, FlowCounts::default());
    let mut days = Days::ending(args.daily.unwrap_or_default());
    let mut said = Said::new(args.json, choice(args.color));
    let mut may_be_elsewhere = true;
    let is_piped_alone = args.interface.is_empty()
        && args.netflow.is_empty()
        && args.follow.is_empty()
        && args.eve_socket.is_none();
    let goes_on = sinks.is_some()
        || args.store.is_some()
        || args.state.is_some()
        || args.keep_packets.is_some()
        || args.control.is_some()
        || args.metrics.is_some()
        || args.eve_socket.is_some();
    let (stop, gone) = (options.opening.stop.clone(), said.gone.clone());
    let (news, standing) = (live.news(), live.standing());
    keeper.iter_mut().flat_map(Keeper::news).for_each(|what| board.say(&what));
    let (mut begins, mut says, mut remembers_all) = (true, !args.quiet, true);
    let ran = pipeline::listen(
        &options,
        Listened { live, store: args.store.as_deref(), keeper: packets },
        |progress| {
            {
                let mut status = board.write();
                (status.packets, status.bytes) = (progress.packets, progress.bytes);
                (status.dropped, status.shed) = (progress.dropped, progress.shed);
                status.flows_forgotten = progress.forgotten;
            }
            if progress.forgotten > 0 && std::mem::take(&mut remembers_all) {
                board.say("flows are forgotten for want of memory (--memory)");
            }
            let stands = standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
            board.stands("interface ", stands);
            manager.lives(|| board.read().line());
            if let Some(kept) = &kept {
                let mut status = board.write();
                status.packets_kept = kept.packets.load(Ordering::Relaxed);
                status.packets_not_kept = kept.lost.load(Ordering::Relaxed);
                status.kept_bytes = kept.bytes.load(Ordering::Relaxed);
                drop(status);
                kept.news().iter().for_each(|what| board.say(what));
                board.stands("packets", kept.trouble().map(|why| (String::new(), why)));
            }
            for what in news.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                board.say(&what);
            }
            // Where nobody else is told and nothing kept, there is nothing left to do; the last turn may be the one that found nobody.
            if !goes_on && gone.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                stop.store(true, Ordering::Relaxed);
            }
            if std::mem::take(&mut begins) {
                manager.is_ready();
            }
            if std::mem::take(&mut says) {
                say(&format!("listens to {}; end it with Ctrl-C", heard.join(", ")));
            }
        },
        |heard| match heard {
            Heard::Record(record) => {
                records += 1;
                if let Record::Conn(c) = record
                    && c.phase == ConnPhase::Closed
                {
                    match c.head.tuple.transport {
                        Transport::Tcp => flows.tcp += 1,
                        Transport::Udp => flows.udp += 1,
                        _ => flows.other += 1,
                    }
                }
                if let Some(keeper) = &mut keeper {
                    keeper.record(record);
                }
            }
            // Of whom enough was said, nobody is told.
            Heard::Turn(turn) if board.settles(turn) => {}
            Heard::Turn(turn) => {
                board.write().turns += 1;
                let mut turn = Cow::Borrowed(turn);
                if !args.judging.geo.is_empty() {
                    geo.annotate(std::slice::from_mut(&mut turn.to_mut().story));
                }
                let line = Line::Turn(Box::new(Cow::Borrowed(&*turn))).to_json().unwrap_or_default();
                if let Some(sinks) = &mut sinks {
                    sinks.tell(&line);
                }
                said.line(|| report::turn(&turn), &line);
            }
            Heard::News(what) => board.say(&what),
            Heard::Troubles(of_logs) => board.stands("log ", of_logs),
            Heard::Remembering(kept) => {
                if let Some(keeper) = &mut keeper {
                    if let Some(what) = keeper.flush() {
                        board.say(&what);
                    }
                    *kept = keeper.is_writing();
                    board.stands("store", keeper.trouble().map(|why| (String::new(), why.clone())));
                }
            }
            Heard::Until(Moment { clock, analysts, teller, subscribers }) => {
                let mut elsewhere = None;
                let (mut late, mut told_elsewhere, mut news_of_store) = (Vec::new(), Vec::new(), Vec::new());
                let mut status = board.write();
                (status.clock, status.records) = (Some(clock), records);
                begun.get_or_insert(clock);
                // What has to be counted is counted once a second.
                if looked.is_none_or(|at| clock.since(at) >= COUNTED) {
                    looked = Some(clock);
                    // What is due comes by this clock, and so does nothing for as long as it is ahead.
                    let ahead = clock.since(now());
                    // What another machine captured alone has that one's time, and goes on by it.
                    let ahead = (ahead >= AHEAD && !is_piped_alone).then(|| {
                        format!(
                            "what was read or remembered tells of {clock}, {} ahead of this machine's clock: until then nothing is due, and nobody may be told",
                            report::human_duration(ahead)
                        )
                    });
                    late.push(("clock", ahead));
                    if let Some(sinks) = &mut sinks {
                        sinks.look_after();
                        let (news, trouble, waiting) = sinks.news();
                        told_elsewhere.extend(news);
                        late.push(("sinks", trouble));
                        status.turns_waiting = waiting;
                    }
                    if let Some(keeper) = &mut keeper {
                        status.records_not_kept = keeper.unkept();
                        news_of_store.extend(keeper.news());
                    }
                    status.eve_not_kept = lines.as_ref().map_or(0, Taken::lost);
                    late.push(("standard output", said.trouble()));
                    status.hosts =
                        teller.standing().into_iter().map(|(v, n)| (v.name().to_owned(), n)).collect();
                    status.hosts_bytes = analysts.held() as u64;
                    status.hosts_forgotten = analysts.forgotten();
                    let outside = analysts.outside();
                    if std::mem::take(&mut may_be_elsewhere) {
                        may_be_elsewhere = outside.of < ENOUGH_FLOWS || !outside.is_much();
                        if !may_be_elsewhere {
                            elsewhere = Some(format!(
                                "{:.0} % of the flows have no local end, and nobody of theirs is judged: name your networks by --home",
                                outside.percent()
                            ));
                        }
                    }
                }
                // Hosts are counted a little later than they turn.
                let ended = if looked == Some(clock) { days.until(clock, &status) } else { Vec::new() };
                drop(status);
                elsewhere.iter().chain(&news_of_store).for_each(|what| board.say(what));
                // Their process has said it itself.
                for what in &told_elsewhere {
                    board.remember(what);
                }
                for (of, what) in late {
                    board.trouble(of, what);
                }
                for day in ended {
                    let line = Line::Day(Cow::Borrowed(&day)).to_json().unwrap_or_default();
                    if let Some(sinks) = &mut sinks {
                        sinks.tell(&line);
                    }
                    if args.daily.is_some() {
                        said.line(|| report::day(&day), &line);
                    }
                }
                if board.wants_stories() {
                    let first = *begun.get_or_insert(clock);
                    board.tell_stories(stand(
                        &board.read(),
                        (first, clock, flows.clone()),
                        (analysts, teller),
                        config.prior,
                        &geo,
                    ));
                }
                if signals.wants_anew() {
                    let asked = board.reloads_asked();
                    let why_not = match Anew::read(args, &config) {
                        Ok(anew) => {
                            anew.put_in_use(analysts, subscribers, &board);
                            board.stands("reload", None);
                            String::new()
                        }
                        Err(e) => {
                            let why = crate::chain(&e);
                            board.stands("reload", None);
                            board.trouble("reload", Some(format!("nothing was read anew: {why}")));
                            why
                        }
                    };
                    board.tell_reload(asked, why_not);
                }
                if signals.wants_statistics() {
                    say(&board.read().line());
                }
                if let Some(keeper) = &mut keeper {
                    if let Some(what) = keeper.until(clock) {
                        board.say(&what);
                    }
                    board.stands("store", keeper.trouble().map(|why| (String::new(), why.clone())));
                }
            }
        },
    );
    manager.ends();
    let mut outcome = ran.map_err(failed)?;
    if let Some(keeper) = keeper {
        keeper.finish(&mut outcome);
    }
    outcome.notices.extend(notices);
    outcome.notices.extend(knowledge::unused(&options.expectations, &outcome));
    geo.annotate(&mut outcome.stories);
    let capture = capture_line(&outcome, false);
    let is_read = said.end();
    if !args.quiet && is_read {
        if args.json {
            print_lines(&capture, &outcome)?;
        } else {
            print_story(&capture, &outcome, Detail::Summary, args.color)?;
        }
    }
    // What is kept and told here does not wait for them.
    let lost = sinks.map_or(0, Sinks::end);
    let unkept = kept.map_or(0, |kept| kept.lost.load(Ordering::Relaxed));
    if unkept > 0 {
        outcome
            .failures
            .push(format!("{unkept} packets were not kept: the disk was too slow, or refused them"));
    }
    let unwritten = lines.map_or(0, |lines| lines.lost());
    if unwritten > 0 {
        outcome.failures.push(format!("{unwritten} lines of EVE were not kept, and not judged"));
    }
    if lost > 0 {
        outcome.failures.push(format!("of {lost} turns of hosts nobody will be told"));
    }
    match said.gone() {
        Some(ErrorKind::BrokenPipe) => {}
        Some(why) => outcome.failures.push(format!("standard output took no more: {why}")),
        None if !is_read => {
            outcome.failures.push("standard output is not read: the report is not told there".to_owned());
        }
        None => {}
    }
    if said.untold > 0 {
        outcome.failures.push(format!("{} turns of hosts found no room on standard output", said.untold));
    }
    for failure in &outcome.failures {
        say(failure);
    }
    drop(sockets);
    Ok(exit(None, &config, &capture, &outcome))
}

/// The hosts that stand at *suspicious* or above, as lines; `heard` is when the first and the last was heard, and how many flows.
fn stand(
    status: &Status,
    heard: (Timestamp, Timestamp, FlowCounts),
    (analysts, teller): (&mut Analysts, &Teller),
    prior: Prior,
    geo: &Geo,
) -> String {
    let facts = CaptureFacts {
        first: Some(heard.0),
        last: Some(heard.1),
        packets: status.packets,
        dropped: status.dropped,
        complete: true,
        ..CaptureFacts::default()
    };
    let mut stories = analysts.stories_of(&teller.told(), &facts);
    geo.annotate(&mut stories);
    let input =
        |path: &String| InputLine { path: path.clone(), absolute: None, size: None, sha256: None, log: None };
    let (home, home_chosen) = analysts.home();
    let capture = CaptureLine {
        version: status.version.clone(),
        schema: CaptureLine::SCHEMA,
        inputs: status.interfaces.iter().map(input).collect(),
        complete: true,
        notices: std::iter::once(GOES_ON.to_owned()).chain(status.said.iter().cloned()).collect(),
        home,
        home_chosen,
        first: facts.first,
        last: facts.last,
        packets: status.packets,
        bytes: status.bytes,
        flows: heard.2,
        dropped_by_capture: status.dropped,
        hosts_forgotten: status.hosts_forgotten,
        hosts: status.hosts.clone(),
        calibration: Calibration::in_use().source(),
        prior_db: prior.db(),
        ..CaptureLine::default()
    };
    let hosts = stories.iter().map(|s| Line::Host(Cow::Borrowed(s)));
    let lines = std::iter::once(Line::Capture(Cow::Borrowed(&capture))).chain(hosts);
    lines.filter_map(|line| line.to_json().ok()).map(|line| line + "\n").collect()
}

/// What signals ask for, beside an end.
struct Signals {
    /// SIGHUP.
    anew: Arc<AtomicBool>,
    /// SIGUSR1.
    statistics: Arc<AtomicBool>,
}

impl Signals {
    fn heard() -> std::io::Result<Self> {
        let made = Self { anew: Arc::default(), statistics: Arc::default() };
        flag::register(SIGHUP, made.anew.clone())?;
        flag::register(SIGUSR1, made.statistics.clone())?;
        Ok(made)
    }

    /// Whether the configuration is to be read anew, told once.
    fn wants_anew(&self) -> bool {
        self.anew.swap(false, Ordering::Relaxed)
    }

    /// Whether statistics are wanted, told once.
    fn wants_statistics(&self) -> bool {
        self.statistics.swap(false, Ordering::Relaxed)
    }
}

/// What files say now: all of them are read before anything of them is used.
struct Anew {
    knowledge: Knowledge,
    payoffs: Option<Calibration>,
    subscribers: Option<Subscribers>,
    /// What must be told of them.
    told: Vec<String>,
}

impl Anew {
    /// Reads them; `begun` is the configuration that it began with.
    fn read(args: &Listen, begun: &Config) -> anyhow::Result<Self> {
        let judging = &args.judging;
        let config = Config::of(judging).map_err(|f| f.error)?;
        let payoffs = knowledge::payoffs(judging.payoffs.as_deref()).map_err(|f| f.error)?;
        let expectations = knowledge::expectations(judging.expect.as_deref()).map_err(|f| f.error)?;
        let (intel, mut told) = knowledge::intel(&judging.intel).map_err(|f| f.error)?;
        // What it knows of it stands until it can be read.
        let unread: Vec<&String> = told.iter().filter(|what| knowledge::is_unread(what)).collect();
        ensure!(
            unread.is_empty(),
            "{}",
            unread.iter().map(|what| what.as_str()).collect::<Vec<_>>().join("; ")
        );
        let (list, key) = (judging.subscribers.as_deref(), judging.subscribers_key.as_deref());
        let subscribers = knowledge::subscribers(list, key).map_err(|f| f.error)?;
        let others = config.unlike(begun);
        if !others.is_empty() {
            told.push(format!("only a restart changes {}", others.join(", ")));
        }
        let knowledge = Knowledge { settings: config.behaviour, expectations, intel };
        Ok(Self { knowledge, payoffs, subscribers, told })
    }

    fn put_in_use(self, analysts: &mut Analysts, subscribers: &mut Option<Arc<Subscribers>>, board: &Board) {
        analysts.know(self.knowledge);
        if let Some(payoffs) = self.payoffs {
            payoffs.put_in_use();
        }
        if let Some(list) = self.subscribers {
            *subscribers = Some(Arc::new(list));
        }
        board.say("configuration, payoffs, expectations and lists were read anew");
        self.told.iter().for_each(|what| board.say(what));
    }
}

/// What it needs when all other rights are given up.
fn needs(args: &Listen, answers: bool, mute: Vec<i32>, sinks: Option<&Sinks>) -> Needs {
    let whole = |p: &PathBuf| std::path::absolute(p).unwrap_or_else(|_| p.clone());
    let folder = |p: &PathBuf| whole(p).parent().map_or_else(|| p.clone(), Path::to_path_buf);
    let store = args.store.as_ref().filter(|s| !store::is_bucket(s)).map(whole);
    // A state takes the place of the one before, which is a change of its folder.
    // And a socket's file is taken away at the end, from its folder.
    let spool = sinks.map(|s| whole(&s.spool().to_owned()));
    let packets = args.keep_packets.as_ref().map(whole);
    let lines = args.eve_folder.as_ref().map(whole);
    let socket = args.eve_socket.as_ref().map(|named| inbox::socket_of(named).0);
    let own = [store, packets, spool, lines].into_iter().flatten();
    let writes = args.state.iter().chain(&args.control).chain(&socket).map(folder).chain(own).collect();
    // Editors put a new file in the place of the old one, which is another file in the same folder.
    // A name may lead elsewhere, and a folder be exchanged as a whole.
    let read = |p: &PathBuf| {
        let real = std::fs::canonicalize(p).unwrap_or_else(|_| whole(p));
        let within = if p.is_dir() { vec![whole(p), real.clone()] } else { Vec::new() };
        [folder(p), folder(&real)].into_iter().chain(within)
    };
    let Judging { config, payoffs, expect, intel, subscribers, subscribers_key, .. } = &args.judging;
    let once = [config, payoffs, expect, subscribers, subscribers_key].into_iter().flatten();
    let reads = once.chain(intel).chain(&args.follow).flat_map(read).collect();
    Needs { writes, reads, answers, mute, asks: args.store.as_ref().is_some_and(|s| store::is_bucket(s)) }
}

/// What a pipe is called.
pub fn named(pipe: &Path) -> String {
    if Listening::is_standard_input(pipe) { "standard input".to_owned() } else { pipe.display().to_string() }
}

/// What is kept of packets.
pub fn keeping(args: &Listen, folder: &Path) -> Result<Keeping, Failure> {
    /// A file of the smallest size, and what waits for it.
    const LEAST: ByteSize = ByteSize(64 << 20);
    let (most, of_flow) = (args.keep_size, Some(args.keep_flow).filter(|size| size.0 > 0));
    if most < LEAST {
        return Err(Failure::usage(anyhow::anyhow!(
            "--keep-size {most} is too little: at least {LEAST} are needed"
        )));
    }
    Ok(Keeping { folder: folder.to_owned(), most, of_flow })
}

/// What is listened to.
pub fn listening(args: &Listen, memory: ByteSize) -> anyhow::Result<Listening> {
    ensure!(
        !(args.interface.is_empty()
            && args.follow.is_empty()
            && args.netflow.is_empty()
            && args.pipe.is_empty()
            && args.eve_socket.is_none()),
        "nothing is named to listen to: say -i INTERFACE, --pipe PIPE, --follow PATH, --netflow ADDRESS:PORT or --eve-socket SOCKET"
    );
    let ring = args.ring.unwrap_or(ByteSize((memory.0 / RING_PART).max(SMALLEST_RING.0)));
    ensure!(
        ring >= SMALLEST_RING && ring < memory,
        "--ring {ring} has to be at least {SMALLEST_RING} and a part of --memory {memory}"
    );
    for (n, name) in args.interface.iter().enumerate() {
        ensure!(!args.interface[..n].contains(name), "{name} is named twice");
    }
    for (n, path) in args.pipe.iter().enumerate() {
        ensure!(!args.pipe[..n].contains(path), "{} is named twice", path.display());
    }
    ensure!(
        !args.interface.is_empty() || (args.filter.is_none() && args.bpf_file.is_none()),
        "-f and --bpf-file are for interfaces (-i): what comes through a pipe is filtered by who writes to it"
    );
    ensure!(
        memory.0 - ring.0 >= SMALLEST.0,
        "--memory {memory} is too little: the ring takes {ring} of it, and at least {SMALLEST} are needed beside"
    );
    let mut interfaces = Vec::new();
    for name in &args.interface {
        ensure!(name != "any", "interfaces are named one by one: -i eth0 -i eth1 (`ip link` lists them)");
        // Where things stand in a frame depends on what the interface is.
        let filter = match (&args.filter, &args.bpf_file) {
            (Some(expression), _) => Filter::compiled(expression, name)?,
            (None, Some(path)) => Filter::file(path)?,
            (None, None) => Filter::default(),
        };
        interfaces.push((name.clone(), filter));
    }
    Ok(Listening {
        interfaces,
        exporters: args.netflow.clone(),
        pipes: args.pipe.clone(),
        ends: args.follow.is_empty() && args.eve_socket.is_none(),
        ring: ring.0 as usize,
        promiscuous: !args.no_promiscuous,
    })
}

/// Where hosts that turn are told: on a thread of its own, so that nobody waits for who reads it.
struct Said {
    json: bool,
    hand: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    gone: Arc<Mutex<Option<ErrorKind>>>,
    /// Turns that found no room, and whether the last one did not.
    untold: u64,
    stalled: bool,
}

impl Said {
    fn new(json: bool, colour: anstream::ColorChoice) -> Self {
        /// Lines that wait for who reads them.
        const WAITING: usize = 1024;
        let (hand, lines) = sync_channel::<String>(WAITING);
        let gone = Arc::new(Mutex::new(None));
        let thread = std::thread::spawn({
            let gone = gone.clone();
            move || {
                for line in lines {
                    let mut out = anstream::AutoStream::new(std::io::stdout(), colour).lock();
                    let written = writeln!(out, "{line}").and_then(|()| out.flush());
                    let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
                    // A disk that was full may have room again; whoever hung up does not come back.
                    if written.is_ok() && *gone != Some(ErrorKind::BrokenPipe) {
                        *gone = None;
                    }
                    let Err(e) = written else { continue };
                    *gone = Some(e.kind());
                }
            }
        });
        Self { json, hand: Some(hand), thread: Some(thread), gone, untold: 0, stalled: false }
    }

    fn line(&mut self, text: impl FnOnce() -> String, json: &str) {
        let line = if self.json { json.to_owned() } else { text() };
        if let Some(Err(TrySendError::Full(_))) = self.hand.as_ref().map(|hand| hand.try_send(line)) {
            (self.untold, self.stalled) = (self.untold + 1, true);
        } else {
            self.stalled = false;
        }
    }

    /// What stands in its way now.
    fn trouble(&self) -> Option<String> {
        let why = self.gone().map(|why| format!("standard output takes no more ({why})"));
        why.or_else(|| self.stalled.then(|| "standard output is not read".to_owned()))
            .map(|why| format!("{why}: hosts that turn are not told there"))
    }

    /// Why nobody reads any more.
    fn gone(&self) -> Option<ErrorKind> {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all of it is said, not for ever; gives whether more may be said.
    fn end(&mut self) -> bool {
        const LOOKS: u32 = 50;
        self.hand = None;
        let Some(thread) = self.thread.take() else { return false };
        for _ in 0..LOOKS {
            if thread.is_finished() {
                return self.gone().is_none();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }
}
