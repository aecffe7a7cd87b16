//! Several logs in one order of time.
//!
//! A sensor writes a flow when it is over, and other logs as things happen, so that rows of one moment lie far apart. What a row tells becomes known at its
//! own time; a row waits until no file can tell of anything earlier, or until too many wait.

mod follow;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capture::{CaptureError, Opening, Seal, Window};
use record::{Certificate, ConnPhase, Dns, Health, Http, IN_ARRAY, Magic, PacketId, Record, Timestamp, Tls};

use crate::eve::{self, Row};
use crate::lines::{Lines, objects};
use crate::queue::Queue;
use crate::wrap::Wrap;
use crate::zeek::{self, Form, Kind, Names};

pub use follow::{Followed, Position};

/// How much later than what it tells of a row may be written: Zeek and Suricata hold a silent flow for five to ten minutes.
const LATE: Duration = Duration::from_mins(10);
/// Rows that wait for earlier ones (*assumed*: ten minutes of a network with 300 flows a second).
const MOST_WAITING: usize = 400_000;
/// What a record takes while it waits, beside its text (*assumed*).
const RECORD: usize = 640;
/// Rows read of a file at a time.
const AT_ONCE: usize = 256;
/// Certificates and questions that wait for what belongs to them.
const MOST_HELD: usize = 65_536;
/// Flows of which it is remembered that they were told as a whole: Suricata writes all lines of a flow that is over behind one another.
const MOST_WHOLE: usize = 64;
/// A question whose answer did not come within this time was not answered: resolvers give up earlier.
const ANSWERED: Duration = Duration::from_secs(30);
/// Bytes that are looked at to tell what a file is.
const LOOKED_AT: usize = 1 << 20;
/// Bytes of a capture's header, of which some are zero: its version or its zone.
const HEADER: usize = 24;
/// Bytes in which the first line of a header ends.
const HEADED: usize = 4096;
/// What some programs put before text in UTF-8.
const BYTE_ORDER: &[u8] = b"\xef\xbb\xbf";
/// A row whose time lies further than this from that of those before it is believed when the next one agrees.
const JUMP: Duration = Duration::from_hours(24);
const OUT_OF_TIME: &str = "its time lies a day or more from that of those around it";

/// A log of the run.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes as it lies there.
    pub size: Option<u64>,
    /// SHA-256 of it, if it was wanted.
    pub sha256: Option<String>,
    /// What it is: `zeek conn`, `suricata`.
    pub kind: String,
}

enum Syntax {
    Zeek(Form),
    Eve,
}

/// How a file is read.
struct Reading {
    syntax: Syntax,
    wrap: Wrap,
    /// Whether its events are members of a JSON array, and no lines.
    array: bool,
}

/// Lines that are looked at to tell what a file is.
const LOOKED_LINES: usize = 20;

/// What a file is, by its first lines; nothing if it is no log that is read.
fn recognise(head: &[u8], name: &str) -> Option<Reading> {
    const COLUMNS: [&[u8]; 7] =
        [b"#separator ", b"#set_separator", b"#empty_field", b"#unset_field", b"#path", b"#open", b"#fields"];
    let head = head.strip_prefix(BYTE_ORDER).unwrap_or(head);
    if COLUMNS.iter().any(|h| head.starts_with(h)) {
        // Lines of another age end in a carriage return alone: that is one line, and no log.
        let begins = &head[..head.len().min(HEADED)];
        if begins.contains(&b'\r') && !begins.contains(&b'\n') {
            return None;
        }
        return Some(Reading { syntax: Syntax::Zeek(Form::columns()), wrap: Wrap::Nothing, array: false });
    }
    // A time between brackets may stand before an object, too.
    let behind = head.trim_ascii_start().strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    let array = behind.is_some_and(|members| members.is_empty() || members.starts_with(b"{"));
    let wrapped = |event: &[u8]| {
        [Wrap::Nothing, Wrap::Envelope, Wrap::Prefix].into_iter().find_map(|wrap| {
            let syntax = object(&wrap.event(event).ok()??, name)?;
            Some(Reading { syntax, wrap, array })
        })
    };
    // One line may be cut, or somebody else's.
    if array {
        return objects(head).take(LOOKED_LINES).find_map(wrapped);
    }
    head.split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|l| !l.is_empty())
        .take(LOOKED_LINES)
        .find_map(wrapped)
}

fn object(line: &[u8], name: &str) -> Option<Syntax> {
    if !line.starts_with(b"{") {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
    let has = |key: &str| object.contains_key(key);
    if has("event_type") && has("timestamp") {
        return Some(Syntax::Eve);
    }
    // Several may be in one file: then each row says which.
    let called = Kind::of_file(name).filter(|_| !has("_path"));
    let known = called.or_else(|| Some(Kind::of_columns(|c| has(c) || nested(&object, c))));
    let zeek = has("_path") || (has("ts") && known.is_some_and(|k| k != Kind::Other));
    zeek.then(|| Syntax::Zeek(Form::Json { kind: called, names: Names::default() }))
}

fn nested(object: &serde_json::Map<String, serde_json::Value>, column: &str) -> bool {
    column
        .split_once('.')
        .is_some_and(|(outer, inner)| object.get(outer).is_some_and(|o| o.get(inner).is_some()))
}

/// Whether a file is a log that is read here.
pub fn is_log(path: &Path, opening: &Opening) -> bool {
    let Ok(mut window) = capture::open(path, opening, None) else { return false };
    holds_log(&mut window, &called(path))
}

/// Whether what was opened, and of which nothing was taken, is a log that is read here.
pub fn holds_log(window: &mut Window, name: &str) -> bool {
    // Most files are captures, whose headers hold zeros: they need not be unpacked so far.
    window.ensure(HEADER);
    if window.rest().iter().take(HEADER).any(|b| *b == 0) {
        return false;
    }
    window.ensure(LOOKED_AT);
    recognise(window.rest(), name).is_some()
}

fn called(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A log, read or not yet.
struct Log {
    file: LogFile,
    number: u32,
    /// How it is read, while it is open.
    reading: Option<(Reading, Lines)>,
    /// Whether its numbers are those of an array's members.
    array: bool,
    seal: Option<Seal>,
    /// The latest time that its rows tell; before it was begun that of its first.
    clock: Timestamp,
    over: bool,
    rows: u64,
    /// A row far from the time of those before it, which waits for the next one's word: its line, its time, and what it tells.
    odd: Option<(u64, Timestamp, Cow<'static, str>, Told)>,
    /// Whether rows of it lie days apart.
    is_sparse: bool,
    /// Lines that could not be read, and the first of them with why.
    bad: u64,
    first_bad: Option<(u64, &'static str)>,
    /// Which sensor's it is, and of what kind, by its first row.
    kin: Option<(bool, Cow<'static, str>)>,
    /// Whether its end is only the end for now.
    grows: bool,
    /// Lines up to this one were told by an earlier run,
    judged: u64,
    /// but for these, which waited for others.
    untold: BTreeSet<u64>,
}

impl Log {
    /// One of which nothing was read.
    fn new(file: LogFile, number: u32) -> Self {
        Self {
            file,
            number,
            reading: None,
            array: false,
            seal: None,
            clock: Timestamp::MIN,
            over: false,
            rows: 0,
            odd: None,
            is_sparse: false,
            bad: 0,
            first_bad: None,
            kin: None,
            grows: false,
            judged: 0,
            untold: BTreeSet::new(),
        }
    }

    /// What must be told of lines that could not be read.
    fn spoiled(&self) -> Option<String> {
        let (line, why) = self.first_bad?;
        let (path, what) = (self.file.path.display(), if self.bad == 1 { "line" } else { "lines" });
        Some(format!("{path}: {} {what} could not be read, the first is line {line}: {why}", self.bad))
    }

    /// A line could not be read.
    fn spoil(&mut self, line: u64, why: &'static str) {
        self.bad += 1;
        self.first_bad.get_or_insert((line, why));
    }
}

/// What waits for its turn.
enum What {
    Record(Box<Record>),
    /// A handshake, and what its certificate is called.
    Handshake(Box<Tls>, String),
    /// A request, and what its bodies are called.
    Request(Box<Http>, u64),
}

impl What {
    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        let text = |t: &Option<String>| t.as_ref().map_or(0, String::len);
        let request = |h: &Http| h.path.len() + text(&h.host) + text(&h.user_agent) + text(&h.referer);
        RECORD
            + match self {
                Self::Request(h, _) => request(h),
                Self::Record(r) => match r.as_ref() {
                    Record::Http(h) => request(h),
                    Record::Dns(d) => d.query.len() + 64 * d.answers.len(),
                    Record::Smtp(s) => 64 * (s.recipient_domains.len() + 4),
                    Record::Irc(i) => i.params.len(),
                    Record::Alert(a) => a.signature.len() + a.category.len(),
                    _ => 0,
                },
                Self::Handshake(..) => 0,
            }
    }
}

/// Logs that are read together.
#[derive(Default)]
pub struct LogSet {
    logs: Vec<Log>,
    waiting: Queue<What>,
    /// The file whose turn it is, and its clock, if any is left; and whether that was looked for since one was read.
    first: Option<(usize, Timestamp)>,
    is_first_known: bool,
    /// Questions without an answer so far, by flow and transaction, oldest first.
    asked: HashMap<u64, Box<Dns>>,
    asked_in_order: VecDeque<(Timestamp, u64)>,
    /// An answer of which further lines may come, which stand behind one another (EVE's version 1 of DNS).
    part: Option<(u64, Box<Dns>)>,
    /// Flows of which ways were told, while a line that tells the whole may come; and the order in which they came.
    ways: HashMap<u64, (Box<eve::Way>, Option<Box<eve::Way>>)>,
    ways_in_order: VecDeque<(Timestamp, u64)>,
    /// Flows that were told as a whole last.
    whole: VecDeque<u64>,
    /// What bodies are, by request: who sent each, and the line that says so.
    bodies: HashMap<u64, Vec<(IpAddr, Magic, PacketId)>>,
    bodies_in_order: VecDeque<u64>,
    certificates: HashMap<String, Box<Certificate>>,
    certificates_in_order: VecDeque<String>,
    /// Records of other times than are wanted.
    passed: u64,
    /// What was given last.
    given: Timestamp,
    /// No row tells of anything later.
    now: Timestamp,
    /// Whether they are followed as they grow: then each row comes when it is written.
    follows: bool,
    late: u64,
    /// Bytes that what waits may take, and takes.
    most_bytes: usize,
    bytes: usize,
    health: Health,
    kinds: BTreeMap<String, u64>,
    strange: BTreeMap<String, u64>,
    /// Rows of which nothing was taken, by kind.
    unused: BTreeMap<String, u64>,
    /// Tunnels that the sensor saw, by kind.
    tunnels: BTreeMap<String, u64>,
    /// Hashes of archives that logs lie in.
    archives: BTreeMap<PathBuf, Option<String>>,
    notices: Vec<String>,
    failures: Vec<String>,
    opening: Opening,
}

impl LogSet {
    /// Plans the reading of these files; the first is called by this number in proofs. What waits may take so many `bytes`.
    pub fn open(paths: Vec<PathBuf>, opening: &Opening, first: u32, bytes: usize) -> Self {
        Self::with_input(paths, None, opening, first, bytes)
    }

    /// The same, with standard input (`-`) as it was opened, where it is one of them.
    pub fn with_input(
        paths: Vec<PathBuf>,
        mut input: Option<Window>,
        opening: &Opening,
        first: u32,
        bytes: usize,
    ) -> Self {
        let mut set = Self {
            opening: opening.clone(),
            given: Timestamp::MIN,
            now: Timestamp::MAX,
            most_bytes: bytes,
            ..Self::default()
        };
        let paths = set.once(paths);
        for (path, number) in paths.into_iter().zip(first..) {
            let lies = std::fs::metadata(capture::file_of(&path));
            let size = lies.ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
            let file = LogFile { path, size, sha256: None, kind: String::new() };
            let mut log = Log::new(file, number);
            // Its first time tells when it is its turn; it is opened again then, if it can be.
            let is_input = is_input(&log.file.path);
            match set.begin(&mut log, input.take_if(|_| is_input)) {
                Err(e) => {
                    set.failures.push(e.to_string());
                    log.over = true;
                }
                Ok(()) if !is_input => Self::look_at_first(&mut log),
                Ok(()) => {}
            }
            set.logs.push(log);
        }
        set
    }

    /// Each file once, whatever it is called besides: `current.log` is often another name.
    fn once(&mut self, paths: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut seen = std::collections::BTreeSet::new();
        let (mut kept, mut again) = (Vec::new(), 0u64);
        for path in paths {
            if seen.insert(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                kept.push(path);
            } else {
                again += 1;
            }
        }
        if again > 0 {
            self.notices.push(format!("{again} files are others by another name, and were read once"));
        }
        kept
    }

    fn begin(&self, log: &mut Log, input: Option<Window>) -> Result<(), CaptureError> {
        let path = &log.file.path;
        // What stands in an archive is hashed with it, and what is no file not at all.
        let is_plain = !is_input(path) && log.file.size.is_some() && capture::file_of(path) == *path;
        log.seal = (self.opening.hashed && is_plain).then(Seal::default);
        let mut window = match input {
            Some(window) => window,
            None => capture::open(path, &self.opening, log.seal.as_ref())?,
        };
        window.ensure(LOOKED_AT);
        log.reading = recognise(window.rest(), &called(path)).map(|reading| {
            let array = reading.array;
            log.array = array;
            (reading, Lines::of(window, array))
        });
        Ok(())
    }

    /// Reads until the first time that a file tells, and closes it again.
    fn look_at_first(log: &mut Log) {
        const FEW: usize = 64;
        let Some((mut reading, mut lines)) = log.reading.take() else { return };
        for _ in 0..FEW {
            let Ok(Some((n, line))) = lines.next() else { break };
            if let Some(line) = line
                && let Ok(Some((ts, kind, _))) = taken(&mut reading, line, PacketId::new(log.number, n))
            {
                log.clock = ts;
                log.kin = Some((matches!(reading.syntax, Syntax::Eve), kind));
                break;
            }
        }
    }

    /// Whether some of them tell no segments.
    pub fn are_without_segments(&self) -> bool {
        self.logs.iter().any(|log| matches!(log.kin, Some((false, _))))
    }

    /// Whether two logs may tell of the same: they are of two sensors, or of one kind.
    pub fn may_repeat(&self) -> bool {
        let kin: Vec<_> = self.logs.iter().filter_map(|log| log.kin.as_ref()).collect();
        let zeek = kin.iter().filter(|(is_eve, _)| !is_eve);
        let kinds: BTreeSet<&str> = zeek.clone().map(|(_, kind)| kind.as_ref()).collect();
        let (zeek, eve) = (zeek.count(), kin.iter().filter(|(is_eve, _)| *is_eve).count());
        // Of standard input it is not known before it is read.
        let is_unknown = self.logs.len() > 1 && kin.len() < self.logs.len();
        is_unknown || (zeek > 0 && eve > 0) || eve > 1 || kinds.len() < zeek
    }

    /// The next record that is known until then; none when there is none any more, or only later ones.
    pub fn next(&mut self, until: Option<Timestamp>) -> Option<Record> {
        loop {
            if !self.is_first_known {
                self.look_for_first();
            }
            let first = self.first;
            let ripe = |known: Timestamp| first.is_none_or(|(_, clock)| known.plus(LATE) <= clock);
            match self.waiting.earliest() {
                Some(next) if ripe(next) || self.crowded() => {
                    if until.is_some_and(|until| next > until) {
                        return None;
                    }
                    return self.give();
                }
                None if until.zip(first).is_some_and(|(until, (_, clock))| clock > until.plus(LATE)) => {
                    return None;
                }
                _ => {}
            }
            let (at, clock) = first?;
            self.read(at);
            self.give_up(clock.minus(ANSWERED));
        }
    }

    /// The file that is to be read next, and its clock: it changes when one is read.
    fn look_for_first(&mut self) {
        let first = self.logs.iter().enumerate().filter(|(_, l)| !l.over).min_by_key(|(_, l)| l.clock);
        let first = first.map(|(at, log)| (at, log.clock));
        let is_another = self.first.map(|(at, _)| at) != first.map(|(at, _)| at);
        (self.first, self.is_first_known) = (first, true);
        if is_another {
            self.whole_answer();
        }
        // What is followed may be answered yet.
        if self.first.is_none() && !self.follows {
            self.give_up(Timestamp::MAX);
        }
    }

    /// The lines of a log that were read and that nobody was told of: those that wait for what belongs to them.
    fn untold(&self, number: u32) -> Vec<u64> {
        let asked =
            self.asked_in_order.iter().filter_map(|(_, flow)| self.asked.get(flow)).flat_map(|d| &d.packets);
        let ways = self.ways_in_order.iter().filter_map(|(_, flow)| self.ways.get(flow));
        let ways = ways.flat_map(|(there, back)| [Some(there.line()), back.as_ref().map(|b| b.line())]);
        let part = self.part.iter().flat_map(|(_, answer)| &answer.packets);
        let mut lines: Vec<u64> = asked
            .chain(part)
            .copied()
            .chain(ways.flatten())
            .filter(|line| line.file() == number)
            .map(PacketId::number)
            .collect();
        lines.extend(
            self.logs.iter().filter(|log| log.number == number).filter_map(|log| Some(log.odd.as_ref()?.0)),
        );
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// Whether too much waits.
    fn crowded(&self) -> bool {
        self.waiting.len() > MOST_WAITING || self.bytes > self.most_bytes
    }

    /// Takes the earliest that waits.
    fn give(&mut self) -> Option<Record> {
        let (known, what) = self.waiting.pop()?;
        self.bytes = self.bytes.saturating_sub(what.weight());
        let mut record = match what {
            What::Record(record) => *record,
            What::Handshake(mut tls, id) => {
                if let Some(certificate) = self.certificates.get(&id) {
                    tls.certificate = Some(certificate.clone());
                }
                Record::Tls(tls)
            }
            What::Request(mut http, called) => {
                for (from, magic, line) in self.bodies.remove(&called).unwrap_or_default() {
                    let is_request = from == http.head.tuple.orig.ip;
                    let body = if is_request { &mut http.request } else { &mut http.response };
                    body.magic = magic;
                    http.packets.push(line);
                }
                Record::Http(http)
            }
        };
        // What comes too late is known when it comes.
        self.late += u64::from(known < self.given && !self.follows);
        if self.given != Timestamp::MIN && !self.follows {
            self.health.pause(self.given, known);
        }
        self.given = self.given.max(known);
        record.head_mut().known = self.given;
        Some(record)
    }

    /// Reads some rows of a file.
    fn read(&mut self, at: usize) {
        self.is_first_known = false;
        let mut log = self.logs.swap_remove(at);
        if log.reading.is_none()
            && let Err(e) = self.begin(&mut log, None)
        {
            self.failures.push(e.to_string());
            log.over = true;
        }
        match log.reading.take() {
            Some((mut reading, mut lines)) => {
                self.read_lines(&mut log, &mut reading, &mut lines);
                log.reading = Some((reading, lines));
            }
            None => log.over = true,
        }
        if log.over && !log.grows {
            self.close(&mut log);
        }
        // Where it was.
        self.logs.push(log);
        let last = self.logs.len() - 1;
        self.logs.swap(at, last);
    }

    fn read_lines(&mut self, log: &mut Log, reading: &mut Reading, lines: &mut Lines) {
        for _ in 0..AT_ONCE {
            let (number, line) = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    log.over = true;
                    if !log.grows {
                        self.odd_at_the_end(log);
                    }
                    return;
                }
                Err(e) => {
                    if !log.grows {
                        self.odd_at_the_end(log);
                    }
                    let (path, offset) = (log.file.path.display(), lines.offset());
                    self.failures
                        .push(format!("{path}: cannot be read on from byte {offset} of its content: {e}"));
                    log.over = true;
                    return;
                }
            };
            // Of what was judged, the header is wanted still.
            if number <= log.judged
                && !log.untold.contains(&number)
                && !line.is_some_and(|l| l.starts_with(b"#"))
            {
                continue;
            }
            let proof = PacketId::new(log.number, number);
            if log.file.kind.is_empty() {
                log.file.kind = reading.kind();
            }
            let row = match line {
                Some(line) => taken(reading, line.strip_prefix(BYTE_ORDER).unwrap_or(line), proof),
                None => Err("it is longer than 8 MiB"),
            };
            let row = match row {
                Ok(Some((ts, kind, told))) => Ok(self.in_time(log, number, ts, kind, told)),
                other => other,
            };
            match row {
                Ok(Some((ts, kind, told))) => self.taken_in(log, ts, kind, told),
                Ok(None) => {}
                Err(why) => log.spoil(number, why),
            }
        }
    }

    /// Holds a row back whose time lies far behind that of those before it, and the first one, until the next one does not go back; else it was wrong.
    fn in_time(
        &mut self,
        log: &mut Log,
        number: u64,
        ts: Timestamp,
        kind: Cow<'static, str>,
        told: Told,
    ) -> Option<(Timestamp, Cow<'static, str>, Told)> {
        let far = |a: Timestamp, b: Timestamp| a.since(b) > JUMP || b.since(a) > JUMP;
        if let Some((line, then, what, held)) = log.odd.take() {
            // Whose successor goes back to where time was before was wrong; where time goes on, much or little, both are right.
            if then.since(ts) > JUMP {
                // Before the first row nothing stands, and the second may tell of a flow of days: the third has a word, too.
                if log.rows == 0 {
                    log.odd = Some((line, then, what, held));
                    return Some((ts, kind, told));
                }
                log.spoil(line, OUT_OF_TIME);
                if log.rows == 1 {
                    log.clock = ts;
                }
            } else {
                log.is_sparse |= log.rows > 0 && ts.since(then) > JUMP;
                self.taken_in(log, then, what, held);
            }
        } else if log.rows == 0 && !self.follows {
            // Nothing stands before the first.
            log.odd = Some((number, ts, kind, told));
            return None;
        }
        let before = log.clock;
        // What is written now tells of now: nothing has to agree with that.
        if self.follows && !far(ts, self.now) {
            return Some((ts, kind, told));
        }
        // Flows begin long before they are written; what lies ahead is odd.
        if before != Timestamp::MIN && log.rows > 0 && ts.since(before) > JUMP {
            log.odd = Some((number, ts, kind, told));
            return None;
        }
        Some((ts, kind, told))
    }

    /// Nobody comes after a row that waits for the next one's word: the last one, and one that is alone, are believed where others of the log lie as far apart, and none that tells of what is to come.
    fn odd_at_the_end(&mut self, log: &mut Log) {
        let Some((line, ts, kind, told)) = log.odd.take() else { return };
        if (log.rows > 0 && !log.is_sparse) || ts.since(capture::now()) > JUMP {
            log.spoil(line, OUT_OF_TIME);
        } else {
            self.taken_in(log, ts, kind, told);
        }
    }

    /// Takes a row in.
    fn taken_in(&mut self, log: &mut Log, ts: Timestamp, kind: Cow<'static, str>, told: Told) {
        log.rows += 1;
        self.health.rows += 1;
        log.clock = log.clock.max(ts);
        if log.file.kind.is_empty() {
            log.file.kind = format!("zeek {kind}{}", if log.array { IN_ARRAY } else { "" });
        }
        if matches!(told, Told::Zeek(zeek::Told::Nothing) | Told::Eve(eve::Told::Nothing)) {
            *self.unused.entry(kind.clone().into_owned()).or_default() += 1;
        }
        if let Some(n) = self.kinds.get_mut(kind.as_ref()) {
            *n += 1;
        } else {
            self.kinds.insert(kind.into_owned(), 1);
        }
        // Whose clock runs ahead does not tell how far time has come.
        let at = if self.follows { ts.min(self.now) } else { ts };
        if self.is_wanted(at) {
            self.health.first = [self.health.first, Some(at)].into_iter().flatten().min();
            self.health.last = self.health.last.max(Some(at));
        }
        self.told(told);
    }

    fn told(&mut self, told: Told) {
        if !matches!(told, Told::Eve(eve::Told::Answered(..))) {
            self.whole_answer();
        }
        match told {
            Told::Zeek(zeek::Told::Records(records)) | Told::Eve(eve::Told::Records(records)) => {
                for record in records {
                    self.wait(record);
                }
            }
            Told::Zeek(zeek::Told::Handshake(tls, id)) => {
                let known = tls.head.known;
                self.push(known, What::Handshake(tls, id));
            }
            Told::Zeek(zeek::Told::Certificate(id, certificate)) => {
                if self.certificates.insert(id.clone(), certificate).is_none() {
                    self.certificates_in_order.push_back(id);
                }
                if self.certificates_in_order.len() > MOST_HELD
                    && let Some(old) = self.certificates_in_order.pop_front()
                {
                    self.certificates.remove(&old);
                }
            }
            Told::Eve(eve::Told::Asked(flow, dns)) => {
                let flow = of_file(flow, &dns.packets);
                self.asked_in_order.push_back((dns.head.ts, flow));
                if let Some(before) = self.asked.insert(flow, dns) {
                    self.wait(Record::Dns(before));
                }
                if self.asked.len() > MOST_HELD
                    && let Some((_, old)) = self.asked_in_order.pop_front()
                    && let Some(dns) = self.asked.remove(&old)
                {
                    self.wait(Record::Dns(dns));
                }
            }
            Told::Eve(eve::Told::Answered(flow, mut answer, alone)) => {
                let flow = of_file(flow, &answer.packets);
                if let Some((of, part)) = &mut self.part
                    && *of == flow
                    && alone
                {
                    part.answers.append(&mut answer.answers);
                    part.response_len = part.response_len.saturating_add(answer.response_len);
                    part.packets.append(&mut answer.packets);
                    return;
                }
                self.whole_answer();
                let known = answer.head.ts;
                if let Some(asked) = self.asked.remove(&flow) {
                    answer.rtt = Some(known.since(asked.head.ts));
                    answer.head = record::Head { known, ..asked.head };
                    answer.packets = [asked.packets, answer.packets].concat();
                    // What was asked says the question; a line of an answer is called by whose it is.
                    (answer.query, answer.qtype) = (asked.query, asked.qtype);
                }
                if alone {
                    self.part = Some((flow, answer));
                } else {
                    self.wait(Record::Dns(answer));
                }
            }
            Told::Eve(eve::Told::Request(called, http)) => {
                let known = http.head.known;
                self.push(known, What::Request(http, called));
            }
            Told::Eve(eve::Told::Body(body, file)) => {
                if let Some(file) = file {
                    self.wait(Record::File(file));
                }
                let Some((called, from, magic, line)) = body else { return };
                let of = self.bodies.entry(called).or_default();
                // A request has a body each way.
                if of.len() < 2 {
                    of.push((from, magic, line));
                }
                self.bodies_in_order.push_back(called);
                if self.bodies_in_order.len() > MOST_HELD
                    && let Some(old) = self.bodies_in_order.pop_front()
                {
                    self.bodies.remove(&old);
                }
            }
            Told::Eve(eve::Told::Whole(flow, records)) => {
                // Its ways are told with it, whichever line comes first.
                self.ways.remove(&flow);
                self.whole.push_back(flow);
                if self.whole.len() > MOST_WHOLE {
                    self.whole.pop_front();
                }
                for record in records {
                    self.wait(record);
                }
            }
            Told::Eve(eve::Told::Way(flow, way)) => self.way(flow, way),
            Told::Zeek(zeek::Told::Tunnel(kind)) => {
                const KINDS: usize = 64;
                if self.tunnels.len() < KINDS || self.tunnels.contains_key(&kind) {
                    *self.tunnels.entry(kind).or_default() += 1;
                }
            }
            Told::Zeek(zeek::Told::Strange(name)) | Told::Eve(eve::Told::Strange(name)) => {
                const KINDS: usize = 256;
                if self.strange.len() < KINDS || self.strange.contains_key(&name) {
                    *self.strange.entry(name).or_default() += 1;
                }
            }
            Told::Zeek(zeek::Told::Nothing) | Told::Eve(eve::Told::Nothing) => {}
        }
    }

    /// No more lines come of an answer that has a line for each of its parts.
    fn whole_answer(&mut self) {
        if let Some((_, answer)) = self.part.take() {
            self.wait(Record::Dns(answer));
        }
    }

    /// One way of a flow: it is a flow with the way back, which comes next where there is one. A line of the whole may come as well.
    fn way(&mut self, flow: u64, way: Box<eve::Way>) {
        if self.whole.contains(&flow) {
            return;
        }
        if let Some((there, back)) = self.ways.get_mut(&flow)
            && back.is_none()
            && there.is_answered_by(&way)
        {
            *back = Some(way);
            return;
        }
        // The same name again, or a part of the same way.
        self.told_by_ways(flow);
        self.ways_in_order.push_back((way.at(), flow));
        self.ways.insert(flow, (way, None));
        if self.ways_in_order.len() > MOST_HELD
            && let Some((_, old)) = self.ways_in_order.pop_front()
        {
            self.told_by_ways(old);
        }
    }

    /// Tells a flow of which everything was said that will be.
    fn told_by_ways(&mut self, flow: u64) {
        if let Some((there, back)) = self.ways.remove(&flow) {
            there.told(back.map(|b| *b)).into_iter().for_each(|r| self.wait(r));
        }
    }

    /// Questions asked until then were not answered, and of flows whose ways were told by then no more is told.
    fn give_up(&mut self, until: Timestamp) {
        if self.part.as_ref().is_some_and(|(_, answer)| answer.head.known <= until) {
            self.whole_answer();
        }
        while let Some((at, flow)) = self.ways_in_order.front().copied()
            && at <= until
        {
            self.ways_in_order.pop_front();
            if self.ways.get(&flow).is_some_and(|(there, _)| there.at() == at) {
                self.told_by_ways(flow);
            }
        }
        while let Some((asked, flow)) = self.asked_in_order.front().copied()
            && asked <= until
        {
            self.asked_in_order.pop_front();
            // It may have been answered, and asked again.
            if self.asked.get(&flow).is_some_and(|d| d.head.ts == asked)
                && let Some(dns) = self.asked.remove(&flow)
            {
                self.wait(Record::Dns(dns));
            }
        }
    }

    /// Whether something is of the part that is wanted.
    fn is_wanted(&self, at: Timestamp) -> bool {
        let Opening { since, until, .. } = &self.opening;
        since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
    }

    fn wait(&mut self, record: Record) {
        let known = record.head().known;
        if let Record::Conn(c) = &record
            && c.phase == ConnPhase::Closed
            && self.is_wanted(known)
        {
            crate::count(&mut self.health, c);
        }
        self.push(known, What::Record(Box::new(record)));
    }

    fn push(&mut self, known: Timestamp, what: What) {
        if !self.is_wanted(known) {
            self.passed += 1;
            return;
        }
        // Nobody can tell before it is so, whatever his clock shows.
        let known = known.min(self.now);
        self.bytes = self.bytes.saturating_add(what.weight());
        self.waiting.push(known, what);
    }

    /// A file is read to its end.
    fn close(&mut self, log: &mut Log) {
        if let Some((reading, _)) = log.reading.take()
            && let Some((kind, n)) = reading.unused()
        {
            *self.unused.entry(kind).or_default() += n;
        }
        let path = log.file.path.display();
        if let Some(told) = log.spoiled() {
            // A file of which nothing could be read was not read.
            let of = if log.rows == 0 { &mut self.failures } else { &mut self.notices };
            of.push(told);
        }
        let archive = capture::file_of(&log.file.path);
        if self.opening.hashed && archive != log.file.path {
            log.file.sha256 = self.hash_of(&archive);
        }
        if let Some(seal) = log.seal.take() {
            match seal.whole(&log.file.path) {
                Ok(hash) => log.file.sha256 = Some(hash),
                Err(e) => self.notices.push(format!("{path}: cannot be hashed: {e}")),
            }
        }
    }

    /// The hash of an archive, taken once for all of its members.
    fn hash_of(&mut self, archive: &Path) -> Option<String> {
        if let Some(hash) = self.archives.get(archive) {
            return hash.clone();
        }
        let hash = Seal::default().whole(archive).ok();
        self.archives.insert(archive.to_owned(), hash.clone());
        hash
    }

    /// Whether there is anything to read.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// The logs, in the order of their numbers.
    pub fn files(&self) -> Vec<LogFile> {
        let mut files: Vec<(u32, LogFile)> = self.logs.iter().map(|l| (l.number, l.file.clone())).collect();
        files.sort_by_key(|(number, _)| *number);
        files.into_iter().map(|(_, file)| file).collect()
    }

    /// What was counted: flows, packets, bytes and rows as the logs have them.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Lines that could not be read.
    pub fn unread(&self) -> u64 {
        self.logs.iter().map(|log| log.bad).sum()
    }

    /// Rows that were read, of each kind.
    pub const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// What must be told of them.
    pub fn notices(&self) -> Vec<String> {
        const SHOWN: usize = 4;
        let mut told = self.notices.clone();
        if self.logs.is_empty() {
            return told;
        }
        if self.follows && self.kinds.is_empty() {
            told.push("nothing was written to the logs that are followed".to_owned());
            return told;
        }
        let rows: Vec<String> = self.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        told.push(format!(
            "read from logs: {}",
            if rows.is_empty() { "nothing".to_owned() } else { rows.join(", ") }
        ));
        if self.passed > 0 {
            told.push(format!(
                "{} records of the logs are of other times and were passed over, as --since and --until say",
                self.passed
            ));
        }
        let has = |names: &[&str]| names.iter().any(|n| self.kinds.contains_key(*n));
        let lacking: Vec<&str> = [
            (&["conn", "flow"][..], "flows"),
            (&["dns"], "DNS"),
            (&["http"], "HTTP"),
            (&["ssl", "tls"], "TLS"),
        ]
        .into_iter()
        .filter(|(names, _)| !has(names))
        .map(|(_, what)| what)
        .collect();
        if !lacking.is_empty() {
            told.push(format!(
                "the logs hold no {}: what only these show was not looked at",
                lacking.join(", ")
            ));
        }
        told.push("logs hold no payloads: what only these show was not looked at".to_owned());
        if self.late > 0 {
            told.push(format!(
                "{} more than ten minutes late, and {} taken as known when {}",
                if self.late == 1 { "1 row came".to_owned() } else { format!("{} rows came", self.late) },
                if self.late == 1 { "is" } else { "are" },
                if self.late == 1 { "it came" } else { "they came" },
            ));
        }
        if !self.unused.is_empty() {
            let rows: Vec<String> = self.unused.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            told.push(format!("rows of which nothing is taken: {}", rows.join(", ")));
        }
        if !self.tunnels.is_empty() {
            let all: Vec<String> = self.tunnels.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            told.push(format!(
                "the sensor saw tunnels ({}): flows in them are told as far as conn.log has them, and of flows through proxies whom they reached is not told",
                all.join(", ")
            ));
        }
        if !self.strange.is_empty() {
            let mut all: Vec<(&String, &u64)> = self.strange.iter().collect();
            all.sort_by_key(|(name, n)| (Reverse(**n), *name));
            let shown: Vec<String> = all.iter().take(SHOWN).map(|(name, n)| format!("{n} {name}")).collect();
            let more = if all.len() > SHOWN { ", …" } else { "" };
            told.push(format!("the sensor found strange: {}{more}", shown.join(", ")));
        }
        told
    }

    /// Files that could not be read, or not to their end.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Bytes of content read so far.
    pub fn offset(&self) -> u64 {
        self.logs.iter().filter_map(|l| l.reading.as_ref()).map(|(_, lines)| lines.offset()).sum()
    }
}

/// What a row of either sensor tells.
enum Told {
    Zeek(zeek::Told),
    Eve(eve::Told),
}

fn taken(reading: &mut Reading, line: &[u8], proof: PacketId) -> Result<Option<Row<Told>>, &'static str> {
    let event;
    let line = match reading.wrap {
        Wrap::Nothing => line,
        wrap => {
            event = wrap.event(line)?;
            let Some(event) = &event else { return Ok(None) };
            event
        }
    };
    match &mut reading.syntax {
        Syntax::Zeek(form) => match form.take(line, proof) {
            Ok(row) => Ok(row.map(|(ts, kind, told)| (ts, Cow::Borrowed(kind.name()), Told::Zeek(told)))),
            // Shippers put both into one stream.
            Err(why) if form.is_json() && memchr::memmem::find(line, b"\"event_type\"").is_some() => {
                let row = eve::take(line, proof).map_err(|_| why)?;
                Ok(row.map(|(ts, kind, told)| (ts, kind, Told::Eve(told))))
            }
            Err(why) => Err(why),
        },
        Syntax::Eve => Ok(eve::take(line, proof)?.map(|(ts, kind, told)| (ts, kind, Told::Eve(told)))),
    }
}

impl Reading {
    /// What a log is called where it says so itself, and not each of its rows.
    fn kind(&self) -> String {
        match (&self.syntax, self.array) {
            (Syntax::Eve, false) => "suricata".to_owned(),
            (Syntax::Eve, true) => format!("suricata{IN_ARRAY}"),
            (Syntax::Zeek(_), _) => String::new(),
        }
    }

    /// Rows of a kind of which nothing is taken.
    fn unused(&self) -> Option<(String, u64)> {
        match &self.syntax {
            Syntax::Zeek(form) => form.unused(),
            Syntax::Eve => None,
        }
    }
}

/// What belongs to a flow in one log: a copy of the log tells of another one by the same name.
fn of_file(flow: u64, lines: &[PacketId]) -> u64 {
    let file = lines.first().map_or(0, |line| line.file());
    flow ^ u64::from(file).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whether it is standard input.
fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: &str = "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\tresp_pkts\tnew_column\n";
    const DNS: &str = "#separator \\x09\n#path\tdns\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\trtt\tquery\tqtype\trcode\tRD\tanswers\tTTLs\n";

    fn logs(files: &[(&str, &[u8])]) -> (tempfile::TempDir, LogSet) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| dir.path().join(name)).collect();
        for (path, (_, content)) in paths.iter().zip(files) {
            std::fs::write(path, content).unwrap();
        }
        let set = LogSet::open(paths, &Opening::default(), 0, 64 << 20);
        (dir, set)
    }

    fn all(set: &mut LogSet) -> Vec<Record> {
        std::iter::from_fn(|| set.next(None)).collect()
    }

    /// What each record is, when it became known (seconds), and its proof.
    fn told(records: &[Record]) -> Vec<(&'static str, i64, Vec<String>)> {
        let of = |r: &Record| {
            let (what, packets) = match r {
                Record::Conn(c) if c.phase == ConnPhase::Closed => ("closed", c.key_packets.to_vec()),
                Record::Conn(c) => ("open", c.key_packets.to_vec()),
                Record::Dns(d) => ("dns", d.packets.clone()),
                Record::Http(h) => ("http", h.packets.clone()),
                Record::Tls(t) => ("tls", t.packets.clone()),
                Record::Alert(a) => ("alert", a.packets.clone()),
                _ => ("other", Vec::new()),
            };
            (what, r.head().known.0 / 1_000_000_000, packets.iter().map(ToString::to_string).collect())
        };
        records.iter().map(of).collect()
    }

    #[test]
    fn rows_of_several_logs_come_in_the_order_of_time() {
        // A flow is written when it is over: behind a later one, and behind the question that led to it.
        let conn = format!(
            "{CONN}200.0\tC2\t10.0.0.5\t1001\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n\
             100.5\tC1\t10.0.0.5\t1000\t198.51.100.7\t80\ttcp\thttp\t150.0\t10\t20\tSF\tShADadFf\t5\t4\tx\n#close\t2020\n"
        );
        let dns = format!(
            "{DNS}100.0\tD1\t10.0.0.5\t5353\t10.0.0.1\t53\tudp\t7\t0.5\tExample.COM\t1\t0\tT\talias.example,198.51.100.7\t60.0,60.0\n"
        );
        let (_dir, mut set) = logs(&[("conn.log", conn.as_bytes()), ("dns.log", dns.as_bytes())]);
        let records = all(&mut set);
        let proof = |p: &str| vec![p.to_owned()];
        assert_eq!(
            told(&records),
            [
                ("dns", 100, proof("1:4")),
                ("open", 100, proof("5")),
                ("closed", 201, proof("4")),
                ("closed", 250, proof("5"))
            ]
        );
        let Record::Dns(d) = &records[0] else { panic!() };
        assert_eq!((d.query.as_str(), d.answers.len(), d.rcode), ("example.com", 2, Some(0)));
        assert_eq!(d.answers[1].addr, Some("198.51.100.7".parse().unwrap()));
        let Record::Conn(c) = &records[2] else { panic!() };
        assert_eq!((c.failed(), c.syn_retransmits, c.service), (Some(true), 2, record::Service::Unknown));
        assert_eq!(records[1].head().flow, records[3].head().flow);
        assert_eq!(set.health().flows, (2, 0, 0));
        assert_eq!(set.kinds().len(), 2);
    }

    #[test]
    fn what_is_known_until_then_and_no_more() {
        let row = |ts: f64| {
            format!("{ts}\tC{ts}\t10.0.0.5\t1001\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n")
        };
        let conn = format!("{CONN}{}", (1..200).map(|i| row(f64::from(i) * 10.0)).collect::<String>());
        let (_dir, mut set) = logs(&[("conn.log", conn.as_bytes())]);
        let until = Timestamp::from_secs(105);
        let first: Vec<Record> = std::iter::from_fn(|| set.next(Some(until))).collect();
        assert_eq!(first.len(), 10);
        assert_eq!(all(&mut set).len(), 189);
    }

    #[test]
    fn json_says_what_columns_say() {
        let conn = format!(
            "{CONN}100.5\tC1\t10.0.0.5\t1000\t198.51.100.7\t80\ttcp\thttp\t150.0\t10\t20\tSF\tShADadFf\t5\t4\tx\n"
        );
        let flat = br#"{"ts":100.5,"uid":"C1","id.orig_h":"10.0.0.5","id.orig_p":1000,"id.resp_h":"198.51.100.7","id.resp_p":80,"proto":"tcp","service":"http","duration":150.0,"orig_bytes":10,"resp_bytes":20,"conn_state":"SF","history":"ShADadFf","orig_pkts":5,"resp_pkts":4,"later":{"a":[1]}}"#;
        let iso = br#"{"_path":"conn","ts":"1970-01-01T00:01:40.500000Z","uid":"C1","id":{"orig_h":"10.0.0.5","orig_p":1000,"resp_h":"198.51.100.7","resp_p":80},"proto":"tcp","service":"http","duration":150,"orig_bytes":10,"resp_bytes":20,"conn_state":"SF","history":"ShADadFf","orig_pkts":5,"resp_pkts":4}"#;
        let of = |content: &[u8]| {
            let (_dir, mut set) = logs(&[("x.log", content)]);
            let records = all(&mut set);
            assert_eq!(records.len(), 2, "{:?} {:?}", set.notices(), set.failures());
            let Record::Conn(mut c) = records[1].clone() else { panic!() };
            c.key_packets = record::KeyPackets::default();
            c
        };
        assert_eq!(of(flat), of(conn.as_bytes()));
        assert_eq!(of(iso), of(conn.as_bytes()));
    }

    #[test]
    fn a_bad_line_costs_itself_and_is_told() {
        let good = "200.0\tC2\t10.0.0.5\t1001\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n";
        let bad = "200.0\tC3\t10.0.0.5\nnonsense\n200.0\tC4\tnobody\t1\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n";
        let (_dir, mut set) = logs(&[("conn.log", format!("{CONN}{bad}{good}").as_bytes())]);
        assert_eq!(all(&mut set).len(), 1);
        let notice = set.notices().into_iter().find(|n| n.contains("could not be read")).unwrap();
        assert!(notice.contains("3 lines") && notice.contains("line 4: fewer columns"), "{notice}");
        assert!(set.failures().is_empty());
    }

    #[test]
    fn a_certificate_of_another_log_comes_with_its_handshake() {
        let ssl = "#separator \\x09\n#path\tssl\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tversion\tserver_name\tcert_chain_fuids\tsubject\n\
                   10.0\tC1\t10.0.0.5\t1000\t198.51.100.7\t443\tTLSv12\tA.example\tF1,F2\t-\n";
        let x509 = "#separator \\x09\n#path\tx509\n#fields\tts\tid\tcertificate.subject\tcertificate.issuer\tcertificate.not_valid_before\tcertificate.not_valid_after\tsan.dns\n\
                    10.1\tF1\tCN=NAS,O=Somebody\tCN=NAS,O=Somebody\t0.0\t1000.0\ta.example,b.example\n";
        let (_dir, mut set) = logs(&[("ssl.log", ssl.as_bytes()), ("x509.log", x509.as_bytes())]);
        let records = all(&mut set);
        let [Record::Tls(tls)] = &records[..] else { panic!("{records:?}") };
        let shown = tls.certificate.as_ref().unwrap();
        assert!(shown.self_signed && shown.subject == "NAS" && shown.names.len() == 2);
        assert_eq!((tls.version, tls.sni.as_deref()), (0x0303, Some("a.example")));
    }

    #[test]
    fn lines_of_suricata_are_joined_by_flow() {
        let eve = br#"
{"timestamp":"2020-01-01T00:00:00.100000+0000","flow_id":7,"event_type":"dns","src_ip":"10.0.0.5","src_port":5000,"dest_ip":"10.0.0.1","dest_port":53,"proto":"UDP","dns":{"version":3,"type":"request","id":9,"rd":true,"queries":[{"rrname":"a.example","rrtype":"A"}]}}
{"timestamp":"2020-01-01T00:00:00.200000+0000","flow_id":7,"event_type":"dns","src_ip":"10.0.0.1","src_port":53,"dest_ip":"10.0.0.5","dest_port":5000,"proto":"UDP","dns":{"version":3,"type":"response","id":9,"rd":true,"rcode":"NXDOMAIN","queries":[{"rrname":"a.example","rrtype":"A"}]}}
{"timestamp":"2020-01-01T00:00:01.000000+0000","flow_id":8,"event_type":"dns","src_ip":"10.0.0.5","src_port":5001,"dest_ip":"10.0.0.1","dest_port":53,"proto":"UDP","dns":{"type":"query","id":1,"rrname":"b.example","rrtype":"MX"}}
{"timestamp":"2020-01-01T00:00:02.000000+0000","flow_id":9,"event_type":"alert","src_ip":"198.51.100.7","src_port":80,"dest_ip":"10.0.0.5","dest_port":1000,"proto":"TCP","direction":"to_client","alert":{"signature_id":1,"signature":"ET MALWARE X","category":"A Network Trojan was detected","severity":1},"flow":{"src_ip":"10.0.0.5","start":"2020-01-01T00:00:01.900000+0000"}}
{"timestamp":"2020-01-01T00:02:00.000000+0000","flow_id":9,"event_type":"flow","src_ip":"10.0.0.5","src_port":1000,"dest_ip":"198.51.100.7","dest_port":80,"proto":"TCP","app_proto":"http","flow":{"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":700,"bytes_toclient":900,"start":"2020-01-01T00:00:01.900000+0000","end":"2020-01-01T00:00:03.000000+0000"},"tcp":{"syn":true,"ack":true,"fin":true,"state":"closed"}}
not json
"#;
        let (_dir, mut set) = logs(&[("eve.json", eve)]);
        let records = all(&mut set);
        let kinds: Vec<&str> = told(&records).iter().map(|t| t.0).collect();
        assert_eq!(kinds, ["dns", "dns", "open", "alert", "closed"], "{:?}", set.notices());
        let Record::Dns(d) = &records[0] else { panic!() };
        assert!(d.is_nxdomain() && d.rtt == Some(Duration::from_millis(100)) && d.packets.len() == 2);
        assert_eq!(d.head.tuple.orig.ip, "10.0.0.5".parse::<std::net::IpAddr>().unwrap());
        let Record::Dns(unanswered) = &records[1] else { panic!() };
        assert_eq!((unanswered.rcode, unanswered.qtype), (None, Dns::MX));
        let Record::Alert(alert) = &records[3] else { panic!() };
        assert_eq!(alert.head.tuple.orig.port, 1000, "who opened the flow comes first");
        assert_eq!(alert.head.flow, records[4].head().flow);
        assert!(set.notices().iter().any(|n| n.contains("1 line could not be read")));
    }

    #[test]
    fn what_is_no_row_is_counted() {
        let conn = |ts: &str, port: &str, count: &str| {
            format!(
                "{ts}\tC{ts}\t10.0.0.5\t{port}\t198.51.100.7\t80\ttcp\t-\t1.0\t{count}\t-\tS0\tS\t3\t0\tx\n"
            )
        };
        let good = conn("100.0", "1001", "5");
        let why = |line: &str| {
            let (_dir, mut set) = logs(&[("conn.log", format!("{CONN}{good}{line}").as_bytes())]);
            assert_eq!(all(&mut set).len(), 2, "{line}");
            let notices = set.notices().join(", ");
            assert_eq!(set.unread(), u64::from(notices.contains("could not be read")));
            notices
        };
        for (line, what) in [
            (conn("yesterday", "1001", "5"), "no time"),
            (conn("100.5", "-", "5"), "a port is missing"),
            (conn("100.5", "99999", "5"), "no number up to 65535"),
            (conn("100.5", "1001", "1,234"), "a count is no number"),
            (format!("{}\tand more\n", conn("100.5", "1001", "5").trim_end()), "more columns"),
        ] {
            assert!(why(&line).contains(what), "{line}: {}", why(&line));
        }
        let row = r#""ts":100.0,"uid":"C","id.orig_h":"10.0.0.5","id.orig_p":1,"id.resp_h":"198.51.100.7","id.resp_p":25"#;
        let of = |name: &str, lines: &[&str]| {
            let (_dir, mut set) = logs(&[(name, lines.join("\n").as_bytes())]);
            let n = all(&mut set).len();
            (n, set.unread(), set.kinds().clone())
        };
        let conn = format!(r#"{{{row},"proto":"tcp","conn_state":"SF","duration":1.0}}"#);
        let dns = format!(r#"{{{row},"proto":"udp","query":"a.example","qtype_name":"A","rejected":false}}"#);
        let eve = r#"{"timestamp":"1970-01-01T00:01:41.000000+0000","flow_id":9,"event_type":"alert","src_ip":"10.0.0.5","src_port":1,"dest_ip":"198.51.100.7","dest_port":25,"proto":"TCP","alert":{"signature":"x","category":"y","severity":1}}"#;
        // Somebody else's line, and one of Suricata, among Zeek's.
        let (n, bad, kinds) = of("stream.json", &[&conn, r#"{"level":"info"}"#, eve]);
        assert_eq!((n, bad, kinds["conn"], kinds["alert"]), (2, 1, 1, 1));
        // Columns say what a row is, whatever the file is called.
        let (_, _, kinds) = of("http-sensor1.json", &[&conn, &dns]);
        assert_eq!((kinds["conn"], kinds["dns"], kinds.contains_key("http")), (1, 1, false));
        // A time between brackets makes no array.
        let (n, bad, _) = of("x.json", &[&format!("[1970-01-01T00:01:41] {eve}"), &format!("[then] {eve}")]);
        assert_eq!((n, bad), (2, 0));
        let old = "#separator \\x09\r#path\tconn\r#fields\tts\r1.0\r";
        assert!(recognise(old.as_bytes(), "conn.log").is_none(), "a carriage return ends no line");
    }

    #[test]
    fn a_message_that_was_taken_says_so_itself() {
        const SMTP: &str = "#separator \\x09\n#path\tsmtp\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\thelo\tmailfrom\trcptto\tlast_reply\n";
        let session = |from: &str, to: &str, reply: &str| {
            let row = format!("100.0\tC\t10.0.0.5\t1\t198.51.100.7\t25\tpc\t{from}\t{to}\t{reply}\n");
            let (_dir, mut set) = logs(&[("smtp.log", format!("{SMTP}{row}").as_bytes())]);
            let Record::Smtp(s) = all(&mut set).remove(0) else { panic!() };
            (s.accepted_count, s.rejects)
        };
        assert_eq!(session("a@example.com", "b@example.net", "250 2.0.0 Ok: queued"), (1, 0));
        assert_eq!(session("a@example.com", "b@example.net", "550 no"), (0, 1));
        assert_eq!(
            session("a@example.com", "b@example.net", "221 2.0.0 Bye"),
            (0, 1),
            "it took its leave without"
        );
        assert_eq!(session("<>", "b@example.net", "221 2.0.0 Bye"), (0, 0), "an address was verified");
        assert_eq!(session("-", "-", "221 2.0.0 Bye"), (0, 0));
    }

    #[test]
    fn an_answer_that_has_a_line_for_each_part_is_one() {
        let line = |kind: &str, more: &str| {
            format!(
                r#"{{"timestamp":"2020-01-01T00:00:00.100000+0000","flow_id":7,"event_type":"dns","src_ip":"10.0.0.5","src_port":5000,"dest_ip":"10.0.0.1","dest_port":53,"proto":"UDP","dns":{{"type":"{kind}","id":9,{more}}}}}"#
            )
        };
        let part = |of: &str, kind: &str, data: &str| {
            line(
                "answer",
                &format!(r#""rcode":"NOERROR","rrname":"{of}","rrtype":"{kind}","ttl":60,"rdata":"{data}""#),
            )
        };
        let lines = [
            line("query", r#""rrname":"www.example","rrtype":"A""#),
            part("www.example", "CNAME", "cdn.example"),
            part("cdn.example", "A", "198.51.100.7"),
            part("cdn.example", "A", "198.51.100.8"),
        ];
        let (_dir, mut set) = logs(&[("eve.json", lines.join("\n").as_bytes())]);
        let records = all(&mut set);
        let [Record::Dns(d)] = &records[..] else { panic!("{} records", records.len()) };
        assert_eq!(
            (d.query.as_str(), d.qtype, d.answers.len(), d.packets.len()),
            ("www.example", Dns::A, 3, 4)
        );
    }

    #[test]
    fn a_row_out_of_time_is_left_out_and_a_pause_is_not() {
        const DAY: i64 = 86_400;
        let row = |ts: i64| {
            format!("{ts}.0\tC{ts}\t10.0.0.5\t1001\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n")
        };
        let read = |times: &[i64]| {
            let (_dir, mut set) = logs(&[(
                "conn.log",
                format!("{CONN}{}", times.iter().map(|t| row(*t)).collect::<String>()).as_bytes(),
            )]);
            let n = all(&mut set).len();
            (
                n,
                set.health().last.map(|t| t.0 / 1_000_000_000),
                set.notices().iter().any(|n| n.contains(OUT_OF_TIME)),
            )
        };
        assert_eq!(read(&[100, 101, 80 * DAY, 102, 103]), (4, Some(104), true));
        assert_eq!(read(&[100, 101, 80 * DAY, 80 * DAY + 1]), (4, Some(80 * DAY + 2), false), "a pause");
        assert_eq!(read(&[100, 101, 80 * DAY]), (2, Some(102), true), "nobody else says so");
        let sparse: Vec<i64> = (0..10).map(|n| 100 + 2 * n * DAY).collect();
        assert_eq!(read(&sparse), (10, Some(101 + 18 * DAY), false), "a row each other day");
        assert_eq!(
            read(&[sparse.clone(), vec![60_000 * DAY]].concat()),
            (10, Some(101 + 18 * DAY), true),
            "to come"
        );
        assert_eq!(read(&[80 * DAY, 100, 101, 102]), (3, Some(103), true), "the first one");
        assert_eq!(read(&[80 * DAY, 100, 80 * DAY + 1]).0, 3, "the second one is of a long flow");
        assert_eq!(read(&[100]), (1, Some(101), false), "the only one");
    }

    #[test]
    fn a_log_is_what_its_name_or_its_columns_say() {
        let of = |name: &str, line: &str| {
            let (_dir, mut set) = logs(&[(name, line.as_bytes())]);
            all(&mut set);
            set.kinds().keys().next().cloned()
        };
        let ends = r#""ts":1.0,"uid":"C","id.orig_h":"10.0.0.5","id.orig_p":1,"id.resp_h":"198.51.100.7","id.resp_p":25"#;
        // A session of mail that went on under TLS has no sender.
        let mail = format!("{{{ends},\"trans_depth\":1,\"tls\":true}}");
        assert_eq!(of("smtp.00:00:00-01:00:00.log", &mail).as_deref(), Some("smtp"));
        assert_eq!(of("network__smtp.log.labeled", &mail).as_deref(), Some("smtp"));
        let sip = format!(
            "{{{ends},\"proto\":\"udp\",\"call_id\":\"a\",\"status_code\":200,\"request_body_len\":0}}"
        );
        assert_eq!(of("x.log", &sip), None);
        assert_eq!(
            of("x.log", &format!("{{{ends},\"nick\":\"a\",\"command\":\"JOIN\"}}")).as_deref(),
            Some("irc")
        );
        let long = CONN.replace("#path\tconn\n", "#path\tconn_long\n")
            + "1.0\tC\t10.0.0.5\t1\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n";
        assert_eq!(of("conn_long.log", &long), None, "its flows stand in conn.log too");
    }

    #[test]
    fn the_same_file_is_read_once_and_one_without_a_line_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("conn.log"), dir.path().join("current.log"));
        std::fs::write(
            &path,
            format!("{CONN}1.0\tC\t10.0.0.5\t1\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n"),
        )
        .unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut set = LogSet::open(vec![path, link], &Opening::default(), 0, 64 << 20);
        assert_eq!(all(&mut set).len(), 1);
        assert!(set.notices()[0].contains("read once"));
        let (_dir, mut set) = logs(&[("conn.log", format!("{CONN}nonsense\n").as_bytes())]);
        assert!(all(&mut set).is_empty());
        assert!(set.failures()[0].contains("line 4: fewer columns"), "{:?}", set.failures());
    }

    #[test]
    fn what_waits_takes_no_more_than_it_may() {
        let row = |i: u32| {
            format!(
                "{}.0\tC{i}\t10.0.0.5\t1001\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n",
                i / 1000
            )
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("conn.log");
        std::fs::write(&path, format!("{CONN}{}", (0..20_000).map(row).collect::<String>())).unwrap();
        let mut set = LogSet::open(vec![path], &Opening::default(), 0, 1 << 20);
        let mut most = 0;
        let mut n = 0;
        while set.next(None).is_some() {
            (n, most) = (n + 1, most.max(set.bytes));
        }
        assert_eq!(n, 20_000);
        assert!(most <= (1 << 20) + AT_ONCE * 2 * RECORD, "{most}");
    }

    #[test]
    fn only_logs_are_taken_for_logs() {
        let dir = tempfile::tempdir().unwrap();
        let of = |content: &[u8]| {
            let path = dir.path().join("x");
            std::fs::write(&path, content).unwrap();
            is_log(&path, &Opening::default())
        };
        assert!(
            of(CONN.as_bytes()) && of(br#"{"ts":1.0,"uid":"C","id.orig_h":"10.0.0.5","conn_state":"SF"}"#)
        );
        assert!(of(br#"{"timestamp":"2020-01-01T00:00:00Z","event_type":"stats"}"#));
        for other in
            [&b"{\"type\":\"capture\"}"[..], b"", b"# a text\n", b"{", b"\xd4\xc3\xb2\xa1", b"{\"ts\":1}"]
        {
            assert!(!of(other), "{}", String::from_utf8_lossy(other));
        }
    }

    /// Events of Suricata 7's `netflow` logger: a way each, that of who began first.
    const WAYS: &str = r#"{"timestamp":"2020-01-01T00:02:00.000000+0000","flow_id":9,"event_type":"netflow","src_ip":"10.0.0.5","src_port":1000,"dest_ip":"198.51.100.7","dest_port":80,"proto":"TCP","app_proto":"http","netflow":{"pkts":5,"bytes":700,"start":"2020-01-01T00:00:01.900000+0000","end":"2020-01-01T00:00:03.000000+0000","age":2,"min_ttl":64,"max_ttl":64},"tcp":{"tcp_flags":"1b","syn":true,"fin":true,"psh":true,"ack":true}}
{"timestamp":"2020-01-01T00:02:00.000000+0000","flow_id":9,"event_type":"netflow","src_ip":"198.51.100.7","src_port":80,"dest_ip":"10.0.0.5","dest_port":1000,"proto":"TCP","app_proto":"http","netflow":{"pkts":4,"bytes":900,"start":"2020-01-01T00:00:01.950000+0000","end":"2020-01-01T00:00:03.100000+0000","age":2,"min_ttl":50,"max_ttl":50},"tcp":{"tcp_flags":"1b","syn":true,"fin":true,"psh":true,"ack":true}}
"#;
    /// One that nobody answered.
    const WAY: &str = r#"{"timestamp":"2020-01-01T00:02:30.000000+0000","flow_id":10,"event_type":"netflow","src_ip":"10.0.0.5","src_port":1001,"dest_ip":"198.51.100.8","dest_port":25,"proto":"TCP","netflow":{"pkts":3,"bytes":222,"start":"2020-01-01T00:00:05.000000+0000","end":"2020-01-01T00:00:12.000000+0000","age":7},"tcp":{"tcp_flags":"02","syn":true}}
"#;
    const FLOW: &str = r#"{"timestamp":"2020-01-01T00:02:00.000000+0000","flow_id":9,"event_type":"flow","src_ip":"10.0.0.5","src_port":1000,"dest_ip":"198.51.100.7","dest_port":80,"proto":"TCP","app_proto":"http","flow":{"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":700,"bytes_toclient":900,"start":"2020-01-01T00:00:01.900000+0000","end":"2020-01-01T00:00:03.100000+0000"},"tcp":{"syn":true,"ack":true,"fin":true,"state":"closed"}}
"#;

    fn conns(records: &[Record]) -> Vec<&record::Conn> {
        let mut found = Vec::new();
        for record in records {
            if let Record::Conn(c) = record
                && c.phase == ConnPhase::Closed
            {
                found.push(c);
            }
        }
        found
    }

    #[test]
    fn both_ways_of_a_flow_are_one_flow() {
        let (_dir, mut set) = logs(&[("eve.json", format!("{WAYS}{WAY}").as_bytes())]);
        let records = all(&mut set);
        let [flow, lonely] = conns(&records)[..] else { panic!("{records:?}") };
        assert_eq!((flow.packets, flow.frame_bytes), ([5, 4], [700, 900]));
        assert_eq!((flow.state, flow.service), (record::ConnState::SF, record::Service::Http));
        assert_eq!(flow.head.tuple.orig.port, 1000);
        assert_eq!(flow.last, Timestamp::parse("2020-01-01T00:00:03.100000Z").unwrap());
        assert_eq!(flow.key_packets.iter().map(|p| p.number()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(
            (lonely.failed(), lonely.packets, lonely.state),
            (Some(true), [3, 0], record::ConnState::S0)
        );
        assert_eq!(set.health().flows, (2, 0, 0));
        // The same with its whole, before or behind: it is told once.
        for text in [format!("{FLOW}{WAYS}"), format!("{WAYS}{FLOW}"), format!("{WAY}{FLOW}{WAYS}")] {
            let (_dir, mut set) = logs(&[("eve.json", text.as_bytes())]);
            let records = all(&mut set);
            let of_nine = conns(&records).into_iter().filter(|c| c.head.tuple.orig.port == 1000).count();
            assert_eq!(of_nine, 1, "{text}");
        }
    }

    #[test]
    fn what_a_body_is_comes_from_another_line() {
        let http = r#"{"timestamp":"2020-01-01T00:00:02.000000+0000","flow_id":9,"event_type":"http","src_ip":"10.0.0.5","src_port":1000,"dest_ip":"198.51.100.7","dest_port":80,"proto":"TCP","tx_id":1,"http":{"hostname":"a.example","url":"/x","http_method":"GET","status":200,"length":4096}}
"#;
        let file = |tx: u32, magic: &str| {
            format!(
                r#"{{"timestamp":"2020-01-01T00:00:02.500000+0000","flow_id":9,"event_type":"fileinfo","src_ip":"198.51.100.7","src_port":80,"dest_ip":"10.0.0.5","dest_port":1000,"proto":"TCP","app_proto":"http","tx_id":{tx},"fileinfo":{{"filename":"/x","magic":"{magic}","gaps":false,"state":"CLOSED","stored":false,"size":4096}}}}
"#
            )
        };
        let of = |text: String| {
            let (_dir, mut set) = logs(&[("eve.json", text.as_bytes())]);
            let records = all(&mut set);
            let http = records.iter().find_map(|r| if let Record::Http(h) = r { Some(h) } else { None });
            let file =
                records.iter().find_map(|r| if let Record::File(f) = r { Some(f.clone()) } else { None });
            let h = http.unwrap();
            (h.response.magic, h.request.magic, h.packets.len(), set.notices().join("\n"), file)
        };
        let (response, request, lines, _, told) =
            of(format!("{http}{}", file(1, "PE32 executable (GUI) Intel 80386")));
        assert_eq!((response, request, lines), (Magic::Pe, Magic::None, 2));
        let told = told.unwrap();
        assert_eq!(
            (told.name.as_deref(), told.len, told.whole, told.from),
            (Some("x"), 4096, true, record::Direction::Resp)
        );
        assert_eq!(told.head.tuple.orig.to_string(), "10.0.0.5:1000", "who was sent it began");
        // Of another request, or without a word that says what it is.
        assert_eq!(of(format!("{}{http}", file(0, "PE32 executable"))).0, Magic::None);
        let (response, _, _, told, file) = of(format!("{http}{}", file(1, "data")));
        assert!(response == Magic::None && file.is_none());
        assert!(told.contains("rows of which nothing is taken: 1 fileinfo"), "{told}");
    }

    #[test]
    fn what_shippers_make_of_lines_is_read() {
        let plain: Vec<&str> = FLOW.lines().chain(WAY.lines()).collect();
        let of = |content: String| {
            let (_dir, mut set) = logs(&[("x.json", content.as_bytes())]);
            let mut records = all(&mut set);
            for record in &mut records {
                let Record::Conn(c) = record else { panic!() };
                c.key_packets = record::KeyPackets::default();
            }
            let bad = set.notices().into_iter().find(|n| n.contains("could not be read"));
            (records, set.files().remove(0).kind, bad)
        };
        let (expected, kind, bad) = of(plain.join("\n"));
        assert_eq!((expected.len(), kind.as_str(), bad), (3, "suricata", None));
        let each = |f: &dyn Fn(&str) -> String| plain.iter().map(|l| f(l)).collect::<Vec<_>>();
        let said = |l: &str| serde_json::to_string(l).unwrap();
        let in_message =
            each(&|l| format!(r#"{{"@timestamp":"2026-01-01T00:00:00Z","message":{}}}"#, said(l)));
        let by_syslog = each(&|l| format!("<13>Nov  2 10:00:00 sensor suricata[1]: {l}"));
        for lines in [&in_message, &by_syslog] {
            assert_eq!(of(lines.join("\n")), (expected.clone(), "suricata".to_owned(), None), "{}", lines[0]);
            // A line of somebody else costs itself.
            let other = if lines == &in_message {
                r#"{"message":"hello"}"#
            } else {
                "Nov  2 10:00:01 sensor sshd[2]: hello"
            };
            let (records, _, bad) = of([lines[0].as_str(), other, lines[1].as_str()].join("\n"));
            assert_eq!(records, expected);
            assert!(bad.is_some_and(|b| b.contains("1 line") && b.contains("is line 2")), "{other}");
        }
        let array = ("suricata in an array".to_owned(), None);
        for text in [format!("[{}]", plain.join(",")), format!("[\n{}\n]\n", plain.join(",\n"))] {
            let (records, kind, bad) = of(text);
            assert_eq!((records, (kind, bad)), (expected.clone(), array.clone()));
        }
        let array = format!("[{}]", in_message.join(","));
        assert_eq!(of(array).0, expected);
    }

    #[test]
    fn files_are_told_whoever_names_their_ends() {
        let sum = "ab".repeat(32);
        let new = format!(
            "#separator \\x09\n#path\tfiles\n#fields\tts\tfuid\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tsource\tmime_type\tfilename\tduration\tis_orig\tseen_bytes\tmissing_bytes\tsha256\n\
            1.0\tF1\tC1\t10.0.0.5\t1\t198.51.100.7\t80\tHTTP\tapplication/x-dosexec\ta.exe\t2.0\tF\t900\t0\t{sum}\n\
            1.0\tF2\tC1\t10.0.0.5\t1\t198.51.100.7\t80\tHTTP\timage/png\t-\t2.0\tF\t900\t0\t{sum}\n"
        );
        let old = "#separator \\x09\n#path\tfiles\n#fields\tts\tfuid\ttx_hosts\trx_hosts\tconn_uids\tsource\tmime_type\tis_orig\tseen_bytes\tmissing_bytes\tsha256\n\
            5.0\tF3\t198.51.100.7\t10.0.0.5\tC1\tHTTP\tapplication/zip\tF\t900\t100\t-\n";
        let (_dir, mut set) = logs(&[("files.log", new.as_bytes()), ("files.2.log", old.as_bytes())]);
        let records = all(&mut set);
        let [Record::File(exe), Record::File(zip)] = &records[..] else { panic!("{records:?}") };
        assert_eq!((exe.magic, exe.sha256(), exe.name.as_deref()), (Magic::Pe, Some(sum), Some("a.exe")));
        assert_eq!(
            (exe.head.known, exe.carrier, exe.whole),
            (Timestamp::from_secs(3), record::Service::Http, true)
        );
        assert_eq!((zip.magic, zip.len, zip.whole, zip.sha256()), (Magic::Zip, 1000, false, None));
        assert_eq!(zip.head.tuple.orig.ip.to_string(), "10.0.0.5");
        assert_eq!(zip.head.flow, exe.head.flow, "both were the same connection's");
    }

    #[test]
    fn what_is_read_and_not_used_is_said() {
        let ftp = "#separator \\x09\n#path\tftp\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tuser\n1.0\tC\t10.0.0.5\t1\t198.51.100.7\t21\tx\n";
        let files = "#separator \\x09\n#path\tfiles\n#fields\tts\tfuid\tmime_type\tseen_bytes\tsha256\n1.0\tF1\tapplication/pdf\t5\t-\n";
        let tunnel = "#separator \\x09\n#path\ttunnel\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\ttunnel_type\taction\n\
            1.0\tC\t10.0.0.5\t3544\t198.51.100.7\t3544\tTunnel::TEREDO\tTunnel::DISCOVER\n2.0\tC\t10.0.0.5\t3544\t198.51.100.7\t3544\tTunnel::TEREDO\tTunnel::CLOSE\n";
        let (_dir, mut set) = logs(&[
            ("ftp.log", ftp.as_bytes()),
            ("files.log", files.as_bytes()),
            ("tunnel.log", tunnel.as_bytes()),
        ]);
        assert!(all(&mut set).is_empty() && set.failures().is_empty(), "{:?}", set.failures());
        let told = set.notices().join("\n");
        assert!(told.contains("rows of which nothing is taken: 1 files, 1 ftp"), "{told}");
        assert!(told.contains("the sensor saw tunnels (1 Tunnel::TEREDO)"), "{told}");
    }

    #[test]
    fn standard_input_is_read_once() {
        let text =
            format!("{CONN}1.0\tC\t10.0.0.5\t1\t198.51.100.7\t80\ttcp\t-\t1.0\t-\t-\tS0\tS\t3\t0\tx\n");
        let mut window = Window::memory(text.into_bytes());
        assert!(holds_log(&mut window, "-"));
        let opening = Opening { hashed: true, ..Opening::default() };
        let mut set = LogSet::with_input(vec!["-".into()], Some(window), &opening, 0, 64 << 20);
        assert_eq!(all(&mut set).len(), 1);
        let file = set.files().remove(0);
        assert_eq!((file.size, file.sha256, file.kind.as_str()), (None, None, "zeek conn"));
        assert!(!holds_log(&mut Window::memory(b"\xd4\xc3\xb2\xa1\x02\0\x04\0".to_vec()), "-"));
    }
}
