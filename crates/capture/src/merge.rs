//! Several inputs as one: merged by packet time, with one clock that never goes back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use record::{Health, PacketId, Timestamp};

use crate::format::{RawPacket, Reader};
use crate::source::{self, Block, Opening, Seal};
use crate::{CaptureError, archive};

/// The latest moment that timers run by: the year 2116.
const LATEST: Timestamp = Timestamp(i64::MAX / 2);
/// A pause that may be a gap in the capture.
const PAUSE: Duration = Duration::from_mins(1);
/// Packets in a batch: enough that handing one over costs nothing per packet, few enough to stay in the cache.
const BATCH: usize = 1024;

/// Captures of archives that are held open from the first look on, so that they are unpacked once (*assumed*: each has a block and a file).
const MAX_HELD: usize = 16;

/// Bytes in a batch: packets of the usual size reach the other limit first, and of the largest a few make one.
const BATCH_BYTES: usize = 4 << 20;

/// Where one packet lies, and when it came.
#[derive(Clone, Copy, Debug)]
pub struct PacketMeta {
    /// The time the capture gives.
    pub ts: Timestamp,
    /// The latest time given so far in the run: the clock that timers run by.
    pub clock: Timestamp,
    /// File and number.
    pub id: PacketId,
    /// Link type number (LINKTYPE_…).
    pub link: u32,
    /// Index of the block in the batch.
    pub block: u32,
    /// Where in the block it begins.
    pub offset: usize,
    /// Bytes captured.
    pub captured: u32,
    /// Bytes on the wire.
    pub original: u32,
}

/// Packets in order, with the memory they lie in.
#[derive(Debug, Default)]
pub struct Batch {
    /// The memory.
    pub blocks: Vec<Block>,
    /// The packets.
    pub packets: Vec<PacketMeta>,
    /// How far time has passed, where no packet tells.
    pub idle: Option<Timestamp>,
}

impl Batch {
    /// The captured bytes of a packet of this batch.
    pub fn frame(&self, meta: &PacketMeta) -> &[u8] {
        self.blocks
            .get(meta.block as usize)
            .and_then(|b| b.get(meta.offset..meta.offset + meta.captured as usize))
            .unwrap_or_default()
    }

    /// The clock at the end of the batch; `None` when it is empty and nothing is known of the time.
    pub fn clock(&self) -> Option<Timestamp> {
        self.packets.last().map(|p| p.clock).max(self.idle)
    }

    /// Whoever took packets out says how far time had gone with them.
    pub const fn pass(&mut self, clock: Option<Timestamp>) {
        if clock.is_some() {
            self.idle = clock;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.packets.clear();
        self.idle = None;
    }

    /// Whether it holds as much as a batch should, with so many bytes of packets in it.
    #[inline]
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.packets.len() >= BATCH || bytes >= BATCH_BYTES
    }
}

/// Where an input comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, a directory, or `-` for standard input.
    Path(PathBuf),
    /// A file that was found in a directory, and may be something else than a capture.
    Found(PathBuf),
    /// A capture that is in memory, and its name.
    Memory(&'static str, &'static [u8]),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) | Self::Found(path) => write!(f, "{}", path.display()),
            Self::Memory(name, _) => f.write_str(name),
        }
    }
}

/// One input of the run.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Its path as it was given or found; `-` is standard input. A capture in a zip archive stands in it as in a folder.
    pub path: PathBuf,
    /// Its size in bytes, of a capture in an archive the archive's; `None` for streams.
    pub size: Option<u64>,
    /// SHA-256 of the file (or of its archive), taken while it was read; `None` where nobody asked, for streams, and where it could not be
    /// read to its end.
    pub sha256: Option<String>,
}

/// Something about the inputs that a reader must be told.
#[derive(Debug)]
pub enum Notice {
    /// An input ended early or could not be read. Fatal for the word "complete".
    Failed(CaptureError),
    /// A file of a directory or archive is not a capture, or holds none, and was passed over.
    PassedOver(CaptureError),
    /// Two inputs cover the same time.
    Overlap {
        /// The one that was being read.
        earlier: PathBuf,
        /// The one that began meanwhile.
        later: PathBuf,
        /// When it began.
        at: Timestamp,
    },
}

struct Active {
    reader: Reader,
    file: u32,
    number: u64,
    head: RawPacket,
    /// Block of this reader in the current batch: its index and generation.
    registered: Option<(u32, u64)>,
    dropped: u64,
    offset: u64,
    seal: Option<Seal>,
}

/// The clock of the machine: for the edges, where no packet tells the time.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A clock of the machine that nobody sets.
#[allow(clippy::disallowed_methods)] // How long nothing came is no packet's time.
pub fn instant() -> Instant {
    Instant::now()
}

/// The clock of a run, and what is counted by it.
#[derive(Debug)]
pub struct Clock {
    /// What was counted.
    pub counters: Health,
    /// The latest time given so far.
    latest: Timestamp,
    previous: Option<Timestamp>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { counters: Health::default(), latest: Timestamp::MIN, previous: None }
    }
}

impl Clock {
    /// Counts a packet of this time and of so many bytes captured and on the wire; gives what the clock shows then.
    pub fn count(&mut self, ts: Timestamp, captured: u32, original: u32) -> Timestamp {
        let c = &mut self.counters;
        c.packets += 1;
        c.bytes += u64::from(original);
        c.captured_bytes += u64::from(captured);
        c.cut_packets += u64::from(captured < original);
        c.first = Some(c.first.map_or(ts, |t| t.min(ts)));
        c.last = c.last.max(Some(ts));
        if let Some(previous) = self.previous {
            if ts < previous {
                c.backward_jumps += 1;
                c.largest_backward_ns = c.largest_backward_ns.max(previous.0.abs_diff(ts.0));
            } else if ts.since(previous) > PAUSE {
                c.pauses += 1;
                c.longest_pause_ns = c.longest_pause_ns.max(ts.0.abs_diff(previous.0));
                c.pause(previous, ts);
                if c.gaps.len() < Health::MAX_GAPS {
                    c.gaps.push((previous, ts));
                }
            }
        }
        self.previous = Some(ts);
        self.pass(ts)
    }

    /// A packet came before those that are counted.
    pub const fn goes_on_from(&mut self, last: Timestamp) {
        self.previous = Some(last);
    }

    /// The latest time given so far.
    pub const fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Time has passed, at least until then.
    pub fn pass(&mut self, at: Timestamp) -> Timestamp {
        // A time at the end of what can be written would leave no room for deadlines.
        self.latest = self.latest.max(at.min(LATEST));
        self.latest
    }
}

/// The inputs of a run.
pub struct CaptureSet {
    files: Vec<InputFile>,
    /// Inputs not begun, latest first: their first packet's time and their index.
    pending: Vec<(Timestamp, u32)>,
    /// Readers that cannot be opened twice (streams), with their first packet.
    begun: Vec<Active>,
    active: Vec<Active>,
    heap: BinaryHeap<Reverse<(Timestamp, u32, usize)>>,
    notices: Vec<Notice>,
    clock: Clock,
    opening: Opening,
    /// The archive that was hashed last, and its hash.
    archive: Option<(PathBuf, Option<String>)>,
    /// Bytes of packets in the batch that is being filled.
    in_batch: usize,
    /// Packets of times that are not wanted.
    passed_over: u64,
}

impl CaptureSet {
    /// Plans the run: lists directories and archives, looks at the first packet of every input.
    ///
    /// # Errors
    /// A named input does not exist or cannot be listed. Inputs that are no captures become notices.
    pub fn open(sources: &[Source], opening: &Opening) -> Result<Self, CaptureError> {
        Self::with_input(sources, None, opening)
    }

    /// The same, with standard input (`-`) as it was opened, where it is one of them: nothing of it was taken.
    ///
    /// # Errors
    /// As [`CaptureSet::open`].
    pub fn with_input(
        sources: &[Source],
        mut input: Option<source::Window>,
        opening: &Opening,
    ) -> Result<Self, CaptureError> {
        let mut found: Vec<(PathBuf, bool)> = Vec::new();
        let mut memory: Vec<(&'static str, &'static [u8])> = Vec::new();
        for source in sources {
            match source {
                Source::Path(path) if path.as_os_str() != "-" && path.is_dir() => {
                    found.extend(files_in(path)?.into_iter().map(|path| (path, true)));
                }
                Source::Path(path) => found.push((path.clone(), false)),
                Source::Found(path) => found.push((path.clone(), true)),
                Source::Memory(name, bytes) => memory.push((name, bytes)),
            }
        }
        let mut set = Self {
            files: Vec::new(),
            pending: Vec::new(),
            begun: Vec::new(),
            active: Vec::new(),
            heap: BinaryHeap::new(),
            notices: Vec::new(),
            clock: Clock::default(),
            opening: opening.clone(),
            archive: None,
            in_batch: 0,
            passed_over: 0,
        };
        let mut files: Vec<(PathBuf, bool)> = Vec::new();
        for (path, listed) in found {
            if archive::is_archive(&path) {
                match archive::members(&path) {
                    Ok(names) => files.extend(names.into_iter().map(|n| (path.join(n), true))),
                    // Documents and programs are zip archives too.
                    Err(e) if listed && !is_zip(&path) => set.notices.push(Notice::PassedOver(e)),
                    Err(e) => set.notices.push(Notice::Failed(e)),
                }
            } else {
                files.push((path, listed));
            }
        }
        let only = files.len() == 1;
        for (path, listed) in files {
            let file = archive::file_of(&path);
            let within = file != path;
            let size = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
            let seal = set.seal(&path);
            let opened = input.take_if(|_| path.as_os_str() == "-");
            let window = opened.map_or_else(|| source::open(&path, opening, seal.as_ref()), Ok);
            let keep = only || (within && set.begun.len() < MAX_HELD);
            set.look_at(path, size, window, listed, keep, seal);
        }
        for (name, bytes) in memory {
            let window = Ok(source::Window::memory(bytes));
            set.look_at(name.into(), Some(bytes.len() as u64), window, false, true, None);
        }
        set.pending.sort_unstable_by_key(|&(ts, file)| Reverse((ts, file)));
        Ok(set)
    }

    /// Reads an input's first packet; `keep` holds it open, because it cannot be opened twice or is the only one.
    fn look_at(
        &mut self,
        path: PathBuf,
        size: Option<u64>,
        window: Result<source::Window, CaptureError>,
        listed: bool,
        keep: bool,
        seal: Option<Seal>,
    ) {
        // What nobody called a capture may be something else; an empty file is told, and takes nothing away from the others.
        let passes = |e: &CaptureError| {
            listed
                && matches!(e, CaptureError::Unsupported { .. })
                && (!is_called_capture(&path) || size == Some(0))
        };
        let mut reader = match window {
            Ok(window) => Reader::new(window, path.display().to_string()),
            Err(e) if passes(&e) => return self.notices.push(Notice::PassedOver(e)),
            Err(e) => return self.notices.push(Notice::Failed(e)),
        };
        let file = self.files.len() as u32;
        match reader.next_packet() {
            Ok(Some(head)) => {
                self.files.push(InputFile { path, size, sha256: None });
                if size.is_none() || keep {
                    let offset = reader.offset();
                    self.pending.push((head.ts, file));
                    self.begun.push(Active {
                        reader,
                        file,
                        number: 1,
                        head,
                        registered: None,
                        dropped: 0,
                        offset,
                        seal,
                    });
                } else {
                    self.pending.push((head.ts, file));
                }
            }
            Ok(None) => {
                self.clock.counters.dropped_by_capture += reader.dropped();
                let sha256 = self.sealed(&path, seal.as_ref());
                self.files.push(InputFile { path, size, sha256 });
            }
            Err(e) if passes(&e) => self.notices.push(Notice::PassedOver(*e)),
            Err(e) => {
                let sha256 = self.sealed(&path, seal.as_ref());
                self.files.push(InputFile { path, size, sha256 });
                self.notices.push(Notice::Failed(*e));
            }
        }
    }

    /// The inputs, in the order of [`PacketId::file`].
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// What a reader must be told, so far.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// What was counted so far: packets, bytes, times, drops.
    pub fn health(&self) -> Health {
        let mut health = self.clock.counters.clone();
        health.dropped_by_capture += self.active.iter().map(|a| a.dropped).sum::<u64>();
        health
    }

    /// Packets so far of times that were not wanted.
    pub const fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Packets read so far.
    pub fn packets(&self) -> u64 {
        self.clock.counters.packets
    }

    /// Bytes of input read so far (of compressed inputs: unpacked).
    pub fn offset(&self) -> u64 {
        self.active.iter().map(|a| a.offset).sum()
    }

    /// Fills `batch` with the next packets; `false` when there are none left.
    pub fn next_batch(&mut self, batch: &mut Batch) -> bool {
        batch.clear();
        for active in &mut self.active {
            active.registered = None;
        }
        self.in_batch = 0;
        while !batch.is_full(self.in_batch) {
            self.begin_due();
            let Some(Reverse((_, _, slot))) = self.heap.pop() else { break };
            self.take(slot, batch);
        }
        !batch.packets.is_empty()
    }

    /// Begins every input whose first packet is due.
    fn begin_due(&mut self) {
        while let Some(&(ts, file)) = self.pending.last() {
            if self.heap.peek().is_some_and(|Reverse((head, _, _))| *head < ts) {
                return;
            }
            self.pending.pop();
            let begun = self.begun.iter().position(|a| a.file == file).map(|at| self.begun.swap_remove(at));
            let Some(active) = begun.or_else(|| self.reopen(file)) else { continue };
            if let Some(other) =
                self.active.iter().find(|a| self.heap.iter().any(|Reverse((_, f, _))| *f == a.file))
            {
                self.notices.push(Notice::Overlap {
                    earlier: self.files[other.file as usize].path.clone(),
                    later: self.files[file as usize].path.clone(),
                    at: ts,
                });
            }
            let slot = self.active.len();
            self.heap.push(Reverse((active.head.ts, file, slot)));
            self.active.push(active);
        }
    }

    fn reopen(&mut self, file: u32) -> Option<Active> {
        let path = self.files[file as usize].path.clone();
        let seal = self.seal(&path);
        let opened = source::open(&path, &self.opening, seal.as_ref()).and_then(|window| {
            let mut reader = Reader::new(window, path.display().to_string());
            reader.next_packet().map(|head| (reader, head)).map_err(|e| *e)
        });
        match opened {
            Ok((reader, Some(head))) => {
                let offset = reader.offset();
                Some(Active { reader, file, number: 1, head, registered: None, dropped: 0, offset, seal })
            }
            Ok((_, None)) => None,
            Err(e) => {
                self.notices.push(Notice::Failed(e));
                None
            }
        }
    }

    /// Moves the head packet of a reader into the batch and reads its next.
    fn take(&mut self, slot: usize, batch: &mut Batch) {
        loop {
            let active = &mut self.active[slot];
            let raw = active.head;
            if self.opening.wants(raw.ts) {
                let generation = active.reader.generation();
                let block = match active.registered {
                    Some((index, g)) if g == generation => index,
                    _ => {
                        let index = batch.blocks.len() as u32;
                        batch.blocks.push(active.reader.block().clone());
                        active.registered = Some((index, generation));
                        index
                    }
                };
                let clock = self.clock.count(raw.ts, raw.captured, raw.original);
                self.in_batch += raw.captured as usize;
                batch.packets.push(PacketMeta {
                    ts: raw.ts,
                    clock,
                    id: PacketId::new(self.opening.earlier + active.file, active.number),
                    link: raw.link,
                    block,
                    offset: raw.offset,
                    captured: raw.captured,
                    original: raw.original,
                });
            } else {
                self.passed_over += 1;
            }
            let next = active.reader.next_packet();
            active.offset = active.reader.offset();
            let active = &mut self.active[slot];
            match next {
                Ok(Some(head)) => {
                    active.head = head;
                    active.number += 1;
                    let due = |t: Timestamp| t < head.ts;
                    let waits = self.heap.peek().is_some_and(|Reverse((t, _, _))| due(*t))
                        || self.pending.last().is_some_and(|&(t, _)| due(t))
                        || batch.is_full(self.in_batch);
                    if waits {
                        let entry = (head.ts, active.file, slot);
                        self.heap.push(Reverse(entry));
                        return;
                    }
                }
                Ok(None) => return self.finish(slot),
                Err(e) => {
                    self.notices.push(Notice::Failed(*e));
                    return self.finish(slot);
                }
            }
        }
    }

    /// Lets go of a reader's memory and keeps its counts.
    fn finish(&mut self, slot: usize) {
        let active = &mut self.active[slot];
        active.dropped = active.reader.dropped();
        active.reader = Reader::new(source::Window::memory([]), String::new());
        let (file, seal) = (active.file as usize, active.seal.take());
        let path = self.files[file].path.clone();
        self.files[file].sha256 = self.sealed(&path, seal.as_ref());
    }

    /// The hash of a file, or of the archive that it stands in, if it was wanted and can be read.
    fn sealed(&mut self, path: &Path, seal: Option<&Seal>) -> Option<String> {
        let file = archive::file_of(path);
        let seal = seal.filter(|_| file.is_file())?;
        if file == path {
            return seal.whole(&file).ok();
        }
        // One archive holds many.
        if !matches!(&self.archive, Some((known, _)) if *known == file) {
            let hash = seal.whole(&file).ok();
            self.archive = Some((file, hash));
        }
        self.archive.as_ref().and_then(|(_, hash)| hash.clone())
    }

    /// A seal for a file whose hash is wanted: it is empty, and so takes the whole, where the file is an archive's.
    fn seal(&self, path: &Path) -> Option<Seal> {
        (self.opening.hashed && path.as_os_str() != "-").then(Seal::default)
    }
}

/// Whether a file's name says that it is a capture, packed or not.
pub fn is_called_capture(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let bare =
        [".gz", ".zst", ".lz4", ".xz", ".bz2"].iter().find_map(|e| name.strip_suffix(e)).unwrap_or(&name);
    [".pcap", ".pcapng", ".cap"].iter().any(|e| bare.ends_with(e))
}

/// The files of a zip archive, named as if it were a folder; none of any other file, and of one that cannot be listed.
pub fn members_of(path: &Path) -> Vec<PathBuf> {
    if !archive::is_archive(path) {
        return Vec::new();
    }
    archive::members(path).unwrap_or_default().into_iter().map(|name| path.join(name)).collect()
}

/// Whether a file is called what archives of captures are called.
fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"))
}

/// Whether a file is packed, by its name.
pub fn is_packed(path: &Path) -> bool {
    let endings = ["gz", "zst", "lz4", "xz", "bz2", "zip"];
    path.extension().is_some_and(|e| endings.iter().any(|packed| e == *packed))
}

/// The files of a directory and of everything below it, by name: no pipes and devices, and no directory twice, however links lead to it.
///
/// # Errors
/// It cannot be listed.
pub fn files_in(dir: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let mut found = Vec::new();
    list(dir, &mut std::collections::BTreeSet::new(), &mut found)?;
    Ok(found)
}

fn list(
    dir: &Path,
    seen: &mut std::collections::BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), CaptureError> {
    let fail = |source| CaptureError::Open { path: dir.display().to_string(), source };
    if !seen.insert(std::fs::canonicalize(dir).map_err(fail)?) {
        return Ok(());
    }
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        names.push(entry.map_err(fail)?.path());
    }
    names.sort();
    for path in names {
        if path.is_dir() {
            list(&path, seen, found)?;
        } else if path.is_file() || (path.is_symlink() && !path.exists()) {
            // What leads nowhere is told when it is opened.
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PcapngWriter;

    fn file(dir: &Path, name: &str, times: &[i64]) -> PathBuf {
        let path = dir.join(name);
        let mut writer = PcapngWriter::new(Vec::new(), crate::LINKTYPE_ETHERNET, "test").unwrap();
        for t in times {
            writer.packet(Timestamp(*t), &t.to_be_bytes(), 8).unwrap();
        }
        std::fs::write(&path, writer.into_inner()).unwrap();
        path
    }

    fn open(paths: &[PathBuf]) -> Result<CaptureSet, CaptureError> {
        let sources: Vec<Source> = paths.iter().cloned().map(Source::Path).collect();
        CaptureSet::open(&sources, &Opening::default())
    }

    fn times(set: &mut CaptureSet) -> Vec<i64> {
        let mut batch = Batch::default();
        let mut out = Vec::new();
        while set.next_batch(&mut batch) {
            for meta in &batch.packets {
                assert_eq!(batch.frame(meta), meta.ts.0.to_be_bytes());
                out.push(meta.ts.0);
            }
        }
        out
    }

    #[test]
    fn what_came_between_keeps_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let paths =
            [file(dir.path(), "a.pcapng", &[10, 20, 30, 40]), file(dir.path(), "b.pcapng", &[25, 50])];
        let opening =
            Opening { since: Some(Timestamp(20)), until: Some(Timestamp(40)), ..Opening::default() };
        let mut set = CaptureSet::open(&paths.map(Source::Path), &opening).unwrap();
        let (mut batch, mut all) = (Batch::default(), Vec::new());
        while set.next_batch(&mut batch) {
            all.extend(batch.packets.iter().map(|p| (p.ts.0, p.id.to_string())));
        }
        assert_eq!(all, [(20, "2".to_owned()), (25, "1:1".to_owned()), (30, "3".to_owned())]);
        assert_eq!((set.packets(), set.passed_over()), (3, 3));
        assert_eq!((set.health().first, set.health().last), (Some(Timestamp(20)), Some(Timestamp(30))));
    }

    #[test]
    fn files_are_merged_by_time_and_overlaps_are_named() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "b.pcapng", &[20, 30, 50]);
        file(dir.path(), "a.pcapng", &[10, 40, 60]);
        file(dir.path(), "c.pcapng", &[70]);
        std::fs::write(dir.path().join("README"), "not a capture").unwrap();
        let mut set = open(&[dir.path().to_owned()]).unwrap();
        assert_eq!(times(&mut set), [10, 20, 30, 40, 50, 60, 70]);
        let overlaps = set.notices().iter().filter(|n| matches!(n, Notice::Overlap { .. })).count();
        let passed = set.notices().iter().filter(|n| matches!(n, Notice::PassedOver(_))).count();
        assert_eq!((overlaps, passed), (1, 1));
    }

    #[test]
    fn a_step_back_is_counted_and_the_clock_stands_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a.pcapng", &[10, 40, 30, 50]);
        let mut set = open(&[path]).unwrap();
        let mut batch = Batch::default();
        assert!(set.next_batch(&mut batch));
        assert_eq!(batch.packets.iter().map(|p| p.clock.0).collect::<Vec<_>>(), [10, 40, 40, 50]);
        assert_eq!((set.health().backward_jumps, set.health().largest_backward_ns), (1, 10));
    }

    #[test]
    fn more_packets_than_a_batch_holds() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<i64> = (0..5000).collect();
        let path = file(dir.path(), "a.pcapng", &all);
        assert_eq!(times(&mut open(std::slice::from_ref(&path)).unwrap()), all);
        let packed = dir.path().join("a.zst");
        std::fs::write(&packed, zstd::stream::encode_all(&std::fs::read(&path).unwrap()[..], 1).unwrap())
            .unwrap();
        let mut both = open(&[path, packed]).unwrap();
        let twice: Vec<i64> = (0..10_000).map(|i| i / 2).collect();
        assert_eq!(times(&mut both), twice);
        assert_eq!(both.packets(), 10_000);
    }

    /// A zip archive of files, encrypted if there is a password, by ZipCrypto or AES.
    fn zip(path: &Path, files: &[(&str, Vec<u8>)], password: Option<(&str, bool)>) {
        use std::io::Write;
        use zip::unstable::write::FileOptionsExt;
        let mut out = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        for (name, bytes) in files {
            let mut options =
                zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
            options = match password {
                Some((password, true)) => options.with_aes_encryption(zip::AesMode::Aes256, password),
                Some((password, false)) => options.with_deprecated_encryption(password.as_bytes()).unwrap(),
                None => options,
            };
            out.start_file(*name, options).unwrap();
            out.write_all(bytes).unwrap();
        }
        out.finish().unwrap();
    }

    #[test]
    fn archives_are_folders_and_passwords_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let one = std::fs::read(file(dir.path(), "a.pcapng", &[10, 30])).unwrap();
        let two = std::fs::read(file(dir.path(), "b.pcapng", &[20, 40])).unwrap();
        let files = [("x/a.pcapng", one), ("b.pcapng", two), ("README", b"hello".to_vec())];
        let path = dir.path().join("sample.zip");
        let opening =
            |password: &str| Opening { passwords: vec![password.into()], hashed: true, ..Opening::default() };
        let encrypted =
            [None, Some(("infected", true)), Some(("infected", false)), Some(("infected_20240101", true))];
        for password in encrypted {
            zip(&path, &files, password);
            let mut set =
                CaptureSet::open(&[Source::Path(path.clone())], &opening("infected_20240101")).unwrap();
            assert_eq!(times(&mut set), [10, 20, 30, 40], "{password:?}");
            assert_eq!(set.files()[0].path, path.join("x/a.pcapng"));
            assert_eq!(set.files()[0].sha256, Seal::default().whole(&path).ok());
            assert!(
                set.notices()
                    .iter()
                    .any(|n| matches!(n, Notice::PassedOver(e) if e.path().ends_with("README")))
            );
            // A case names the capture in it.
            let again = &[Source::Path(path.join("b.pcapng"))];
            assert_eq!(times(&mut CaptureSet::open(again, &opening("infected_20240101")).unwrap()), [20, 40]);
        }
        zip(&path, &files, Some(("secret", true)));
        let set = CaptureSet::open(&[Source::Path(path)], &Opening::default()).unwrap();
        let failed: Vec<String> = set
            .notices()
            .iter()
            .filter_map(|n| match n {
                Notice::Failed(e) | Notice::PassedOver(e) => Some(e.to_string()),
                Notice::Overlap { .. } => None,
            })
            .collect();
        assert!(failed.len() == 3 && failed[0].contains("--zip-password"), "{failed:?}");
    }

    #[test]
    fn names_in_an_archive_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let outside = file(dir.path(), "outside.pcapng", &[99]);
        let of = |t: i64| std::fs::read(file(dir.path(), "member.pcapng", &[t])).unwrap();
        let absolute = outside.display().to_string();
        let files = [
            (absolute.as_str(), of(1)),
            ("../outside.pcapng", of(2)),
            ("./outside.pcapng", of(3)),
            ("a//../outside.pcapng", of(4)),
            ("..", of(5)),
        ];
        let path = dir.path().join("sample.zip");
        zip(&path, &files, None);
        let mut set = open(std::slice::from_ref(&path)).unwrap();
        assert_eq!(times(&mut set), [1, 2, 3, 4, 5]);
        assert!(set.notices().is_empty());
        for f in set.files() {
            assert!(f.path.starts_with(&path) && !f.path.components().any(|c| c.as_os_str() == ".."));
            // What a case names is found again.
            assert_eq!(times(&mut open(std::slice::from_ref(&f.path)).unwrap()).len(), 1);
        }
    }

    #[test]
    fn an_archive_of_many_holds_few_open_and_a_document_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..100).map(|i| format!("{i:03}.pcapng")).collect();
        let one = |i: i64| std::fs::read(file(dir.path(), "x.pcapng", &[i, i + 1])).unwrap();
        let files: Vec<(&str, Vec<u8>)> = names.iter().map(String::as_str).zip((0..).map(one)).collect();
        let path = dir.path().join("many.zip");
        zip(&path, &files, None);
        let mut set = open(&[path]).unwrap();
        assert_eq!(set.begun.len(), MAX_HELD);
        assert_eq!(times(&mut set).len(), 200);

        let documents = tempfile::tempdir().unwrap();
        file(documents.path(), "a.pcapng", &[10]);
        zip(&documents.path().join("a.docx"), &[("word/document.xml", b"<w:document/>".to_vec())], None);
        zip(&documents.path().join("b.docx"), &[("secret.xml", b"<x/>".to_vec())], Some(("nobody's", true)));
        std::fs::write(documents.path().join("c.docx"), b"PK\x03\x04 and no archive").unwrap();
        let mut set = open(&[documents.path().to_owned()]).unwrap();
        assert_eq!(times(&mut set), [10]);
        let passed = |n: &&Notice| matches!(n, Notice::PassedOver(_));
        assert_eq!((set.notices().len(), set.notices().iter().filter(passed).count()), (3, 3));
    }

    #[test]
    fn an_empty_file_spoils_nothing_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "a.pcapng", &[10]);
        std::fs::write(dir.path().join("b.pcap"), "").unwrap();
        let mut set = open(&[dir.path().to_owned()]).unwrap();
        assert_eq!(times(&mut set), [10]);
        assert!(matches!(set.notices(), [Notice::PassedOver(e)] if e.path().ends_with("b.pcap")));
        let alone = open(&[dir.path().join("b.pcap")]).unwrap();
        assert!(matches!(alone.notices(), [Notice::Failed(_)]));
    }

    #[test]
    fn hashes_are_of_the_whole_file_however_far_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a.pcapng", &(0..5000).collect::<Vec<_>>());
        let mut bytes = std::fs::read(&path).unwrap();
        let cut = dir.path().join("cut.pcapng");
        bytes.truncate(bytes.len() - 3);
        bytes.resize(bytes.len() + 300_000, 0xff);
        std::fs::write(&cut, &bytes).unwrap();
        let opening = Opening { hashed: true, ..Opening::default() };
        let mut set =
            CaptureSet::open(&[Source::Path(path.clone()), Source::Path(cut.clone())], &opening).unwrap();
        while set.next_batch(&mut Batch::default()) {}
        for f in set.files() {
            assert_eq!(f.sha256, Seal::default().whole(&f.path).ok());
        }
        assert!(set.files()[0].sha256.is_some() && set.files()[0].sha256 != set.files()[1].sha256);
    }

    #[test]
    fn times_before_1970_survive_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("early.pcapng");
        let mut writer = PcapngWriter::new(Vec::new(), crate::LINKTYPE_ETHERNET, "test").unwrap();
        let all = [-7_000_000_000_000_000_001i64, -1, 0, 5];
        for t in all {
            writer.packet(Timestamp(t), &t.to_be_bytes(), 8).unwrap();
        }
        std::fs::write(&path, writer.into_inner()).unwrap();
        assert_eq!(times(&mut open(&[path]).unwrap()), all);
    }

    #[test]
    fn a_missing_file_is_a_notice_with_its_name() {
        let set = open(&["/nonexistent/x.pcap".into()]).unwrap();
        assert!(matches!(&set.notices()[0], Notice::Failed(e) if e.path().contains("x.pcap")));
    }
}
