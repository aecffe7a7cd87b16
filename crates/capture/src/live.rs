//! Interfaces and pipes that are listened to: what arrives, in one order, with one clock that never goes back.
//!
//! The kernel fills a ring for each interface. Its packets are copied out block by block, which costs less than holding the kernel's memory, and several interfaces are merged
//! by time: what one has waits until the others cannot have anything earlier. Packets give the time; the clock of the machine is asked only where
//! nothing arrives, and where only pipes are listened to, it says no more than how long that is: what another machine captured has another's time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use record::{Health, PacketId, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::filter::Filter;
use crate::inlet::{self, Inlet};
use crate::listening::{Frame, Listening, Setup};
use crate::merge::{Clock, InputFile, instant, now};
use crate::pipe::{Pipe, Told};
use crate::ring::Ring;
use crate::source::BLOCK;
use crate::{Batch, Block, CaptureError, PacketMeta};

/// How long a packet may wait for others in its block of the ring.
const PATIENCE_MS: u32 = 50;
/// By then what came at a moment can be read: the kernel hands out a block at the latest at the second ring of its timer.
const BEHIND: Duration = Duration::from_millis(2 * PATIENCE_MS as u64 + 20);
/// The same of a pipe (*assumed*: tcpdump is told of packets by then, which has waited for a second, and they have come here).
const PIPE_BEHIND: Duration = Duration::from_millis(1_500);
/// How long nothing may come until the clock of the machine is asked (*assumed*: nobody waits longer for what is due, and a link that is used never asks).
const SILENCE: Duration = Duration::from_secs(1);
/// How often an interface that is gone is looked for, and losses are asked for.
const LOOK: Duration = Duration::from_secs(1);
/// How far the clock of the machine may be behind what it said before (*assumed*).
const SET_BACK: Duration = Duration::from_mins(1);
/// Blocks that are copied ahead of the others' time, of each interface.
const AHEAD: usize = 8;
/// Blocks whose memory is used again.
const POOL: usize = 64;
/// Events of interfaces that are told one by one.
const MAX_EVENTS: usize = 64;
/// No network has frames of this size: the network card, or the kernel, put packets together (GRO, LRO). Jumbo frames have up to 9,216 bytes and a tag.
const JUMBO: u32 = 9_216 + 22;
/// Kinds of interface (`ARPHRD_…` of `linux/if_arp.h`) with the link type of their frames (LINKTYPE_…).
const LINKS: [(u16, u32); 7] = [(1, 1), (772, 1), (512, 9), (519, 101), (803, 127), (801, 105), (65534, 101)];
/// The loopback interface, which gives each packet twice.
const LOOPBACK: u16 = 772;

/// Packets that were copied out of a block of the ring.
struct Piece {
    block: Block,
    packets: Vec<PacketMeta>,
    /// The first that was not handed on.
    at: usize,
    /// Which block of the batch in hand it is.
    registered: Option<u32>,
    /// When it came, by the clock of the machine.
    taken: Instant,
}

impl Piece {
    fn next(&self) -> Option<&PacketMeta> {
        self.packets.get(self.at)
    }
}

/// Where packets come from.
enum Inflow {
    Ring(Ring),
    Inlet(Inlet),
    Pipe(Pipe),
}

impl Inflow {
    fn socket(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Ring(ring) => Some(ring.socket()),
            Self::Inlet(inlet) => Some(inlet.socket()),
            Self::Pipe(_) => None,
        }
    }

    /// The ring, if it is an interface's.
    const fn ring(&self) -> Option<&Ring> {
        match self {
            Self::Ring(ring) => Some(ring),
            Self::Inlet(_) | Self::Pipe(_) => None,
        }
    }

    /// The pipe, if it is one.
    const fn pipe(&self) -> Option<&Pipe> {
        match self {
            Self::Pipe(pipe) => Some(pipe),
            Self::Ring(_) | Self::Inlet(_) => None,
        }
    }

    /// By then what came at a moment can be read.
    const fn behind(&self) -> Duration {
        match self {
            Self::Ring(_) | Self::Inlet(_) => BEHIND,
            Self::Pipe(_) => PIPE_BEHIND,
        }
    }

    /// Whether nothing more comes in.
    fn is_over(&self) -> bool {
        self.pipe().is_some_and(Pipe::is_over)
    }

    fn take(&mut self, each: impl FnMut(Frame<'_>)) -> bool {
        match self {
            Self::Ring(ring) => ring.take(each),
            Self::Inlet(inlet) => inlet.take(each),
            Self::Pipe(pipe) => pipe.take(each),
        }
    }
}

impl AsFd for Inflow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ring(ring) => ring.as_fd(),
            Self::Inlet(inlet) => inlet.as_fd(),
            Self::Pipe(pipe) => pipe.as_fd(),
        }
    }
}

/// An interface, a socket of exporters, or a pipe.
struct Port {
    name: String,
    inflow: Inflow,
    link: u32,
    loopback: bool,
    file: u32,
    number: u64,
    pieces: VecDeque<Piece>,
    /// Everything that came until then has been copied.
    known: Timestamp,
    down: bool,
    /// Packets that found no room in the ring.
    dropped: u64,
    /// Packets that somebody put together, and whether that was said.
    large: u64,
    large_said: bool,
    /// It is of a kind that cannot be listened to, until it is made anew.
    unreadable: bool,
}

/// What stands against being heard, as long as it does: whose it is, and since when.
pub type Standing = Arc<Mutex<BTreeMap<String, String>>>;

/// The interfaces of a run.
pub struct Live {
    ports: Vec<Port>,
    files: Vec<InputFile>,
    clock: Clock,
    notices: Vec<String>,
    failures: Vec<String>,
    events: usize,
    news: Arc<Mutex<Vec<String>>>,
    standing: Standing,
    stop: Arc<AtomicBool>,
    /// Nothing more comes in: what is left is handed on.
    closing: bool,
    ended: bool,
    /// Whether it ends with its last pipe.
    ends: bool,
    pool: Vec<Block>,
    /// When it was looked after interfaces last.
    looked: Instant,
    /// When the last packet was handed on, by the clock of the machine, and how late it was by that of the packets.
    heard: (Instant, Timestamp),
    /// When it began, by the clock of the machine.
    begun: Timestamp,
    /// Whether the clock of the machine is behind what packets said.
    set_back: bool,
}

impl Live {
    /// Begins to listen; ends when `stop` is set. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// There is no such interface, it carries what cannot be read, or the right to listen is missing.
    pub fn open(listening: &Listening, stop: Arc<AtomicBool>) -> Result<Self, CaptureError> {
        let blocks = listening.ring / BLOCK / listening.interfaces.len().max(1);
        let setup = Setup {
            block: BLOCK,
            blocks: blocks.max(4),
            patience_ms: PATIENCE_MS,
            promiscuous: listening.promiscuous,
        };
        let mut ports = Vec::new();
        for (file, (name, filter)) in (0..).zip(&listening.interfaces) {
            ports.push(Port::open(name, file, &setup, filter)?);
        }
        for at in &listening.exporters {
            ports.push(Port::at(*at, ports.len() as u32)?);
        }
        for path in &listening.pipes {
            ports.push(Port::of_pipe(path, ports.len() as u32, &stop)?);
        }
        let file = |p: &Port| InputFile { path: p.name.clone().into(), size: None, sha256: None };
        let (at, begun) = (now(), instant());
        let files: Vec<InputFile> = ports.iter().map(file).collect();
        let down: Vec<usize> = (0..ports.len()).filter(|n| ports[*n].down).collect();
        let mut live = Self {
            files,
            ports,
            clock: Clock::default(),
            notices: Vec::new(),
            failures: Vec::new(),
            events: 0,
            news: Arc::default(),
            standing: Arc::default(),
            stop,
            closing: false,
            ended: false,
            ends: listening.ends,
            pool: Vec::new(),
            looked: begun,
            heard: (begun, Timestamp::MIN),
            begun: at,
            set_back: false,
        };
        for n in down {
            live.is_down(n, "is down, and heard as soon as it is up");
        }
        Ok(live)
    }

    /// The sockets: nothing is ever written to them, and who forbids that by their numbers has to keep these.
    pub fn sockets(&self) -> Vec<Arc<OwnedFd>> {
        self.ports.iter().filter_map(|p| p.inflow.socket()).collect()
    }

    /// Where it is put down at once what happens to interfaces: whoever takes it has told it.
    pub fn news(&self) -> Arc<Mutex<Vec<String>>> {
        self.news.clone()
    }

    /// Where it stands what is not heard now.
    pub fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Packets of the first interface are called by this number from now on.
    pub fn number_from(&mut self, first: u32) {
        for (file, port) in (first..).zip(&mut self.ports) {
            port.file = file;
        }
    }

    /// Earlier runs heard the last packet at `last`: what lies between is a gap.
    pub fn go_on_from(&mut self, last: Timestamp) {
        self.clock.goes_on_from(last);
        // What comes out of a pipe says itself when it was.
        self.put_down(if self.are_pipes() {
            format!("nothing was heard between {last} and the first packet of now")
        } else {
            format!("nothing was heard between {last} and {}", self.begun)
        });
    }

    /// The interfaces, in the order of [`PacketId::file`].
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Those of them at which exporters are heard, and nobody else, by their numbers.
    pub fn inlets(&self) -> Vec<u32> {
        let is_inlet = |p: &&Port| matches!(p.inflow, Inflow::Inlet(_));
        self.ports.iter().filter(is_inlet).map(|p| p.file).collect()
    }

    /// What could not be read, so far.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Whether only pipes are listened to, and no logs are followed: then packets alone say when it is.
    fn are_pipes(&self) -> bool {
        self.ends && !self.ports.is_empty() && self.ports.iter().all(|p| p.inflow.pipe().is_some())
    }

    /// What a reader must be told, so far.
    pub fn notices(&self) -> Vec<String> {
        let mut told = self.notices.clone();
        if self.events > told.len() {
            told.push(format!(
                "{} further events of interfaces, losses and clocks",
                self.events - told.len()
            ));
        }
        told.extend(self.ports.iter().filter(|p| p.large > 0).map(Port::put_together));
        told
    }

    /// Packets handed on so far.
    pub fn packets(&self) -> u64 {
        self.clock.counters.packets
    }

    /// Bytes captured so far.
    pub fn captured(&self) -> u64 {
        self.clock.counters.captured_bytes
    }

    /// Packets that found no room so far.
    pub fn dropped(&self) -> u64 {
        self.ports.iter().map(|p| p.dropped).sum()
    }

    /// How full the fullest ring is, from 0 to 1.
    pub fn fullness(&self) -> f64 {
        self.ports.iter().filter_map(|p| p.inflow.ring()).map(Ring::fullness).fold(0.0, f64::max)
    }

    /// Says something at once, and in the report.
    pub fn say(&mut self, what: &str) {
        self.put_down(format!("{what} ({})", now()));
    }

    /// What was counted so far: packets, bytes, times, drops.
    pub fn health(&self) -> Health {
        let mut health = self.clock.counters.clone();
        health.dropped_by_capture += self.dropped();
        health
    }

    /// Fills `batch` with what came, or waits a moment: it may be empty, and then says how far time has gone on where nothing has come for long. `false`
    /// when it was stopped and everything was handed on.
    pub fn next_batch(&mut self, batch: &mut Batch) -> bool {
        batch.clear();
        if self.ended {
            return false;
        }
        if self.stop.load(Ordering::Relaxed) && !self.closing {
            self.close();
        }
        self.look();
        for turn in 0..2 {
            self.gather();
            self.merge(batch);
            if !batch.packets.is_empty() {
                self.heard = (instant(), self.clock.latest());
                return true;
            }
            self.closing |= self.are_pipes() && self.ports.iter().all(|p| p.inflow.is_over());
            // Pipes end when they have handed out what was under way.
            if self.closing && self.ports.iter().all(|p| p.inflow.pipe().is_none() || p.inflow.is_over()) {
                self.ended = true;
                self.count_losses();
                return false;
            }
            if turn == 0 {
                self.wait();
            }
        }
        let silent = instant().duration_since(self.heard.0);
        if silent >= SILENCE
            && let Some(at) = self.passed(silent)
        {
            batch.idle = Some(self.clock.pass(at));
        }
        true
    }

    /// How late it is where nothing has come for so long; pipes that have said nothing yet do not tell.
    fn passed(&self, silent: Duration) -> Option<Timestamp> {
        let behind = self.ports.iter().map(|p| p.inflow.behind()).max().unwrap_or(BEHIND);
        let (_, last) = self.heard;
        if !self.are_pipes() {
            return Some(now().minus(behind));
        }
        (last > Timestamp::MIN).then(|| last.plus(silent).minus(behind))
    }

    /// Lets nothing more in, and waits until the kernel has handed out what it has.
    fn close(&mut self) {
        for ring in self.ports.iter().filter_map(|p| p.inflow.ring()) {
            // A ring that is left open ends when it is empty for the first time.
            let _ = ring.close();
        }
        std::thread::sleep(BEHIND);
        self.closing = true;
    }

    /// Copies what the rings have.
    fn gather(&mut self) {
        let mut heard_again = Vec::new();
        for (n, port) in self.ports.iter_mut().enumerate() {
            // What exporters send has no end.
            if self.closing && matches!(port.inflow, Inflow::Inlet(_)) {
                continue;
            }
            let before = now();
            let mut emptied = false;
            let was_down = port.down;
            while port.pieces.len() < AHEAD && !emptied {
                let mut bytes = room(&mut self.pool);
                let mut packets = Vec::new();
                emptied = !port.inflow.take(|frame| {
                    if frame.outgoing && port.loopback {
                        return;
                    }
                    port.number += 1;
                    port.large += u64::from(frame.original > JUMBO);
                    let link = frame.link.unwrap_or(port.link);
                    packets.push(copy(&frame, PacketId::new(port.file, port.number), link, &mut bytes));
                });
                let block = Block::from(bytes);
                if self.pool.len() < POOL {
                    self.pool.push(block.clone());
                }
                if let Some(last) = packets.last() {
                    port.known = port.known.max(last.ts);
                    port.down = false;
                    port.pieces.push_back(Piece {
                        block,
                        packets,
                        at: 0,
                        registered: None,
                        taken: instant(),
                    });
                }
            }
            // Of what another machine captured nobody knows how late it is there.
            if emptied && port.inflow.pipe().is_none() {
                port.known = port.known.max(before.minus(BEHIND));
            }
            if was_down && !port.down && port.inflow.ring().is_some() {
                heard_again.push(n);
            }
        }
        for n in heard_again {
            self.is_up(n);
        }
        self.ask_pipes();
    }

    /// Asks what happened to pipes.
    fn ask_pipes(&mut self) {
        for n in 0..self.ports.len() {
            let Some(pipe) = self.ports[n].inflow.pipe() else { continue };
            let (told, dropped) = (pipe.told(), pipe.dropped());
            self.ports[n].dropped = dropped;
            for told in told {
                match told {
                    Told::News(what) => self.say(&what),
                    Told::Waits(true) => {
                        self.ports[n].down = true;
                        self.stands(n, "nobody writes to it");
                    }
                    Told::Waits(false) => {
                        self.ports[n].down = false;
                        drop(self.stood(n));
                    }
                    Told::Drains => self.stands(n, "what comes is not read, until its writer is gone"),
                    Told::Failed(what) => {
                        self.tell(format!("{what} ({})", now()));
                        if self.failures.len() < MAX_EVENTS {
                            self.failures.push(what);
                        }
                    }
                }
            }
        }
    }

    /// Hands on what nothing earlier can come before.
    fn merge(&mut self, batch: &mut Batch) {
        let alone = self.ports.len() == 1 || self.closing;
        let of_here = || self.ports.iter().filter(|p| p.inflow.pipe().is_none());
        let until = if alone { None } else { of_here().map(|p| p.known).min() };
        // What comes late through a pipe is waited for, not for long, and not where there is no room to wait in.
        let is_late =
            |p: &Port| p.inflow.pipe().is_some() && p.pieces.is_empty() && !p.down && !p.inflow.is_over();
        let waits = !alone && self.ports.iter().any(is_late);
        let late = instant();
        let has_waited = |p: &Port| {
            let head = p.pieces.front();
            p.pieces.len() >= AHEAD
                || head.is_some_and(|piece| late.duration_since(piece.taken) >= PIPE_BEHIND)
        };
        for piece in self.ports.iter_mut().flat_map(|p| &mut p.pieces) {
            piece.registered = None;
        }
        let mut bytes = 0;
        while !batch.is_full(bytes) {
            let due = |(n, port): (usize, &Port)| Some((port.pieces.front()?.next()?.ts, n));
            let heads = || self.ports.iter().enumerate().filter_map(due);
            let Some((first, n)) = heads().min() else { return };
            let waited = has_waited(&self.ports[n]);
            let until = until.filter(|_| !(waited && self.ports[n].inflow.pipe().is_some()));
            if until.is_some_and(|until| first > until) || (waits && !waited) {
                return;
            }
            // As far as no other has anything earlier.
            let others = heads().filter(|(_, other)| *other != n).map(|(ts, _)| ts);
            let limit = others.chain(until).min().map(|limit| limit.max(first));
            let Some(piece) = self.ports[n].pieces.front_mut() else { return };
            let block = *piece.registered.get_or_insert_with(|| {
                batch.blocks.push(piece.block.clone());
                batch.blocks.len() as u32 - 1
            });
            while let Some(packet) = piece.packets.get(piece.at)
                && limit.is_none_or(|limit| packet.ts <= limit)
                && !batch.is_full(bytes)
            {
                let clock = self.clock.count(packet.ts, packet.captured, packet.original);
                batch.packets.push(PacketMeta { clock, block, ..*packet });
                bytes += packet.captured as usize;
                piece.at += 1;
            }
            if piece.next().is_none() {
                self.ports[n].pieces.pop_front();
            }
        }
    }

    /// Waits until something comes, not for long.
    fn wait(&mut self) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(PATIENCE_MS) * 1_000_000 };
        let mut ready: Vec<PollFd<'_>> =
            self.ports.iter().map(|p| PollFd::new(&p.inflow, PollFlags::IN)).collect();
        let polled = rustix::event::poll(&mut ready, Some(&timeout));
        let troubled: Vec<bool> = ready
            .iter()
            .map(|r| polled.is_ok() && r.revents().intersects(PollFlags::ERR | PollFlags::HUP))
            .collect();
        for (n, _) in troubled.iter().enumerate().filter(|(_, t)| **t) {
            if let Some(why) = self.ports[n].inflow.ring().and_then(Ring::trouble)
                && !self.ports[n].down
            {
                self.ports[n].down = true;
                self.is_down(n, &format!("stopped ({why})"));
            }
        }
    }

    /// Looks after losses, lost interfaces and the machine's clock once in a while, however much comes.
    fn look(&mut self) {
        let at = instant();
        if at.duration_since(self.looked) < LOOK {
            return;
        }
        self.looked = at;
        self.count_losses();
        self.look_for_lost();
        let behind = self.clock.latest().since(now());
        if behind < SET_BACK {
            self.set_back = false;
        } else if !std::mem::replace(&mut self.set_back, true) {
            let secs = behind.as_secs_f64();
            // What another machine captured has another's time.
            self.put_down(if self.are_pipes() {
                format!("packets come from a clock that is {secs:.0} s ahead of this machine's: what is written down is of that time")
            } else {
                format!(
                    "the clock of this machine was set back by {secs:.0} s at {}: until it has caught up, nothing is due, told or written down where no packet says so",
                    now()
                )
            });
        }
    }

    /// Asks the kernel for packets that found no room.
    fn count_losses(&mut self) {
        let mut said = Vec::new();
        for port in &mut self.ports {
            port.dropped += match &mut port.inflow {
                Inflow::Ring(ring) => ring.statistics().map_or(0, |(_, dropped)| dropped),
                Inflow::Inlet(inlet) => inlet.dropped(),
                Inflow::Pipe(_) => 0,
            };
            if port.large > 0 && !std::mem::replace(&mut port.large_said, true) {
                said.push(port.put_together());
            }
        }
        // It stands among the notices with how many there were.
        for what in said {
            self.tell(what);
        }
    }

    /// An interface is heard again.
    fn is_up(&mut self, n: usize) {
        if self.stood(n).is_some() {
            self.event(n, "is heard again");
        }
    }

    /// Something stands against being heard.
    fn stands(&self, n: usize, what: &str) {
        let (name, what) = (self.ports[n].name.clone(), format!("{what}, since {}", now()));
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).insert(name, what);
    }

    /// Nothing does any more; gives what did.
    fn stood(&self, n: usize) -> Option<String> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.ports[n].name)
    }

    /// An interface is not heard now.
    fn is_down(&mut self, n: usize, what: &str) {
        self.stands(n, what);
        self.event(n, what);
    }

    /// An interface that was removed may be made anew under its name.
    fn look_for_lost(&mut self) {
        for n in 0..self.ports.len() {
            let port = &mut self.ports[n];
            let Inflow::Ring(ring) = &mut port.inflow else { continue };
            let Ok(index) = ring.index_of(&port.name) else { continue };
            if index == ring.index() {
                if port.down && !port.unreadable && ring.is_up(&port.name).unwrap_or(false) {
                    port.down = false;
                    self.is_up(n);
                }
                continue;
            }
            if ring.bind(index).is_err() {
                continue;
            }
            // It may be another kind of interface.
            let link = ring.kind().ok().and_then(|kind| Some((kind, link_of(kind)?)));
            (port.down, port.unreadable) = (link.is_none(), link.is_none());
            if let Some((kind, link)) = link {
                (port.link, port.loopback) = (link, kind == LOOPBACK);
                drop(self.stood(n));
                self.event(n, "was made anew, and is listened to again");
            } else {
                self.is_down(n, "was made anew as a kind that cannot be listened to");
            }
        }
    }

    fn event(&mut self, n: usize, what: &str) {
        self.put_down(format!("{} {what} at {}", self.ports[n].name, now()));
    }

    fn put_down(&mut self, told: String) {
        self.events += 1;
        self.tell(told.clone());
        if self.notices.len() < MAX_EVENTS {
            self.notices.push(told);
        }
    }

    /// Says something at once.
    fn tell(&self, what: String) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.len() < MAX_EVENTS {
            news.push(what);
        }
    }
}

impl Port {
    fn open(name: &str, file: u32, setup: &Setup, filter: &Filter) -> Result<Self, CaptureError> {
        let fail = |source: io::Error| CaptureError::Open { path: name.to_owned(), source };
        let ring = Ring::open(name, setup, filter).map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => CaptureError::Unsupported {
                path: name.to_owned(),
                what: "to listen takes the right CAP_NET_RAW: start as root, or once as root: setcap cap_net_raw+ep $(command -v hydrophone)".into(),
            },
            Some(libc::ENODEV) => CaptureError::Unsupported {
                path: name.to_owned(),
                what: "there is no such interface (`ip link` lists them)".into(),
            },
            _ if e.kind() == io::ErrorKind::Unsupported => CaptureError::Unsupported {
                path: name.to_owned(),
                what: format!("interfaces are listened to on Linux alone: tcpdump -i {name} -U -w - | hydrophone listen --pipe -"),
            },
            _ => fail(e),
        })?;
        let kind = ring.kind().map_err(fail)?;
        let Some(link) = link_of(kind) else {
            return Err(CaptureError::Unsupported {
                path: name.to_owned(),
                what: format!(
                    "its kind ({kind}) cannot be listened to: tcpdump -i {name} -U -w - | hydrophone listen --pipe -"
                ),
            });
        };
        // What is down says so when it is bound.
        let down = ring.trouble().is_some();
        let loopback = kind == LOOPBACK;
        Ok(Self { loopback, down, ..Self::of(name.to_owned(), Inflow::Ring(ring), link, file) })
    }

    /// What is said of packets that somebody put together.
    fn put_together(&self) -> String {
        let interface =
            if self.inflow.ring().is_some() { &*self.name } else { "INTERFACE, where it was captured" };
        format!(
            "{} packets of {} are larger than any frame: the network card puts packets together, so that sizes and copies are not seen as they were (ethtool -K {interface} gro off lro off)",
            self.large, self.name
        )
    }

    /// A socket to which exporters send.
    fn at(address: SocketAddr, file: u32) -> Result<Self, CaptureError> {
        let name = format!("udp:{address}");
        match Inlet::open(address) {
            Ok(inlet) => Ok(Self::of(name, Inflow::Inlet(inlet), inlet::LINK, file)),
            Err(source) => Err(CaptureError::Open { path: name, source }),
        }
    }

    /// A pipe that a capture is written to, each of whose packets has its link type.
    fn of_pipe(path: &Path, file: u32, stop: &Arc<AtomicBool>) -> Result<Self, CaptureError> {
        let pipe = Pipe::open(path, stop.clone())?;
        Ok(Self::of(path.display().to_string(), Inflow::Pipe(pipe), 0, file))
    }

    const fn of(name: String, inflow: Inflow, link: u32, file: u32) -> Self {
        Self {
            name,
            inflow,
            link,
            loopback: false,
            file,
            number: 0,
            pieces: VecDeque::new(),
            known: Timestamp::MIN,
            down: false,
            dropped: 0,
            large: 0,
            large_said: false,
            unreadable: false,
        }
    }
}

/// The link type of a kind of interface.
fn link_of(kind: u16) -> Option<u32> {
    LINKS.iter().find(|(k, _)| *k == kind).map(|(_, link)| *link)
}

/// Memory for a block: an old one's that nobody looks at, or new.
fn room(pool: &mut Vec<Block>) -> Vec<u8> {
    let free = pool.iter_mut().position(|b| b.alone().is_some());
    let mut bytes = match free {
        Some(at) => pool.swap_remove(at).alone().map(std::mem::take).unwrap_or_default(),
        None => Vec::with_capacity(BLOCK),
    };
    bytes.clear();
    bytes
}

/// Copies a packet, with its tag where it was on the wire.
fn copy(frame: &Frame<'_>, id: PacketId, link: u32, bytes: &mut Vec<u8>) -> PacketMeta {
    /// Where a tag stands: behind the two Ethernet addresses.
    const TAG_AT: usize = 12;
    let offset = bytes.len();
    let mut original = frame.original;
    match frame.vlan.and_then(|tag| Some((tag, frame.bytes.split_at_checked(TAG_AT)?))) {
        Some(([of, contents], (addresses, rest))) => {
            bytes.extend_from_slice(addresses);
            bytes.extend_from_slice(&of.to_be_bytes());
            bytes.extend_from_slice(&contents.to_be_bytes());
            bytes.extend_from_slice(rest);
            original += 4;
        }
        None => bytes.extend_from_slice(frame.bytes),
    }
    let (ts, captured) = (Timestamp(frame.ns), (bytes.len() - offset) as u32);
    PacketMeta { ts, clock: ts, id, link, block: 0, offset, captured, original: original.max(captured) }
}
