//! Packets of the days past, while it is listened: the first bytes of every flow, in a folder of captures of which the oldest go.
//!
//! Most bytes of a network are the later part of few flows (Kornexl et al., *Building a Time Machine for Efficient Recording and Retrieval of High-Volume
//! Network Traffic*, IMC 2005), and what proves something stands mostly at the beginning.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use capture::{Batch, LINKTYPE_ETHERNET, PcapngWriter};
use record::Timestamp;

use crate::budget::ByteSize;
use crate::taken::{FlowsTaken, Holds};

/// What is handed over at a time, in bytes, or how long packets wait for it.
const AT_ONCE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(1);
/// Hand-overs that wait for the disk: beyond them packets are not kept, and nobody waits.
const WAITING: usize = 16;
/// A file is a part of the folder's size, within bounds.
const PARTS: u64 = 64;
const SMALLEST_FILE: u64 = 1 << 20;
const LARGEST_FILE: u64 = 256 << 20;
/// How long a file goes on, so that times are found by names.
const LONGEST_FILE: Duration = Duration::from_hours(1);
/// How long after a failure it is tried again.
const TRIED_AGAIN: Duration = Duration::from_secs(10);
/// How files begin and end that are ours.
const NAME: (&str, &str) = ("packets-", ".pcapng");

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The folder, which is made where there is none.
    pub folder: PathBuf,
    /// The most that the folder may hold.
    pub most: ByteSize,
    /// What is kept of each flow, beside the packets that open and end it; none for all of it.
    pub of_flow: Option<ByteSize>,
}

/// How it goes.
#[derive(Debug, Default)]
pub struct Kept {
    /// Packets that were written.
    pub packets: AtomicU64,
    /// Packets that were not, because the disk was too slow or refused them.
    pub lost: AtomicU64,
    /// Bytes in the folder.
    pub bytes: AtomicU64,
    news: Mutex<Vec<String>>,
    /// Why packets are not kept now.
    trouble: Mutex<Option<String>>,
}

impl Kept {
    /// Why packets are not kept now, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packets are not kept, or are again: said when it begins and ends.
    fn stands(&self, why: Option<String>, again: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match (&*trouble, &why) {
            (None, Some(why)) => Some(why.clone()),
            (Some(_), None) => Some(again.to_owned()),
            _ => None,
        };
        *trouble = why;
        drop(trouble);
        if let Some(what) = what {
            self.say(what);
        }
    }

    /// What happened since it was asked last.
    pub fn news(&self) -> Vec<String> {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, what: String) {
        const MOST: usize = 16;
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.len() < MOST {
            news.push(what);
        }
    }
}

/// Packets that wait to be written.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    packets: Vec<(Timestamp, u32, u32, u32)>,
}

/// Keeps packets.
pub struct PacketKeeper {
    keeping: Keeping,
    flows: FlowsTaken,
    waiting: Waiting,
    hand: Option<(SyncSender<Waiting>, JoinHandle<()>)>,
    kept: Arc<Kept>,
    /// When the disk was too slow last, in packet time.
    slow: Option<Timestamp>,
}

impl PacketKeeper {
    /// Makes sure that packets can be kept there.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn open(keeping: Keeping) -> io::Result<Self> {
        std::fs::create_dir_all(&keeping.folder)?;
        let kept = Arc::new(Kept::default());
        kept.bytes.store(held(&keeping.folder)?.iter().map(|(_, size)| size).sum(), Ordering::Relaxed);
        // Whether a file can be made shows when one is.
        let probe = keeping.folder.join(".hydrophone");
        File::create(&probe).and_then(|_| std::fs::remove_file(&probe))?;
        Ok(Self {
            keeping,
            flows: FlowsTaken::default(),
            waiting: Waiting::default(),
            hand: None,
            kept,
            slow: None,
        })
    }

    /// How it goes, for whoever asks.
    pub fn kept(&self) -> Arc<Kept> {
        self.kept.clone()
    }

    /// Takes what of a batch is kept. Nobody waits for the disk.
    pub fn batch(&mut self, batch: &Batch) {
        for meta in &batch.packets {
            let frame = batch.frame(meta);
            if self.is_wanted(frame, meta.link, meta.original, meta.clock) {
                self.waiting.packets.push((meta.ts, meta.link, meta.captured, meta.original));
                self.waiting.bytes.extend_from_slice(frame);
            }
        }
        let first = self.waiting.packets.first().map(|(ts, ..)| *ts);
        if self.waiting.bytes.len() >= AT_ONCE
            || first.zip(batch.clock()).is_some_and(|(first, now)| now.since(first) >= PATIENCE)
        {
            self.hand_over();
        }
    }

    fn is_wanted(&mut self, frame: &[u8], link: u32, original: u32, now: Timestamp) -> bool {
        let Some(most) = self.keeping.of_flow else { return true };
        let holds = Holds::of(frame, link, original);
        // What is of no flow is little.
        let Some(flow) = holds.flow else { return true };
        self.flows.take(flow, original, now) < most.0 || holds.edge
    }

    fn hand_over(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.packets.is_empty() {
            return;
        }
        let at = waiting.packets.last().map(|(ts, ..)| *ts);
        let (keeping, kept) = (&self.keeping, &self.kept);
        let (hand, _) = self.hand.get_or_insert_with(|| {
            let (to, from) = sync_channel(WAITING);
            let writer = Writer { keeping: keeping.clone(), kept: kept.clone(), file: None, failed: None };
            (to, std::thread::spawn(move || writer.run(&from)))
        });
        match hand.try_send(waiting) {
            Ok(()) => {
                // A disk at its limit takes one in a while.
                if at.zip(self.slow).is_some_and(|(at, slow)| at.since(slow) >= TRIED_AGAIN) {
                    self.slow = None;
                    self.kept.stands(None, "packets are kept again: the disk has caught up");
                }
            }
            Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) => {
                self.kept.lost.fetch_add(lost.packets.len() as u64, Ordering::Relaxed);
                self.slow = at;
                let folder = self.keeping.folder.display();
                self.kept.stands(Some(format!("packets are not kept in {folder}: the disk is too slow")), "");
            }
        }
    }

    /// Writes what waits, and ends.
    pub fn finish(mut self) {
        self.hand_over();
        if let Some((hand, thread)) = self.hand.take() {
            drop(hand);
            // Who panicked has written no more.
            let _ = thread.join();
        }
    }
}

/// A file that is written, and since when.
struct Open {
    out: PcapngWriter<Counted<BufWriter<File>>>,
    begun: Timestamp,
    /// Bytes of it that were told: all of whole hand-overs.
    told: u64,
    path: PathBuf,
}

impl Open {
    /// Leaves of it what was written whole: nothing, or what can be read.
    fn cut(self) {
        let Self { out, told, path, .. } = self;
        // What it still holds goes first.
        drop(out);
        let _ = if told == 0 {
            std::fs::remove_file(&path)
        } else {
            OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(told))
        };
    }
}

/// Counts what comes through.
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Who writes, on a thread of its own.
struct Writer {
    keeping: Keeping,
    kept: Arc<Kept>,
    file: Option<Open>,
    /// When it failed last, in packet time.
    failed: Option<Timestamp>,
}

impl Writer {
    fn run(mut self, from: &Receiver<Waiting>) {
        for waiting in from {
            let (at, n) =
                (waiting.packets.first().map_or(Timestamp::MIN, |(ts, ..)| *ts), waiting.packets.len());
            if self.failed.is_some_and(|failed| at.since(failed) < TRIED_AGAIN) {
                self.kept.lost.fetch_add(n as u64, Ordering::Relaxed);
                continue;
            }
            match self.write(&waiting, at) {
                Ok(()) => {
                    self.kept.packets.fetch_add(n as u64, Ordering::Relaxed);
                    if self.failed.take().is_some() {
                        self.kept.stands(None, "packets are kept again");
                    }
                }
                Err(e) => {
                    self.file.take().into_iter().for_each(Open::cut);
                    self.kept.lost.fetch_add(n as u64, Ordering::Relaxed);
                    self.failed = Some(at);
                    let folder = self.keeping.folder.display();
                    let why = format!("packets are not kept in {folder}: {e}; it is tried again");
                    self.kept.stands(Some(why), "");
                }
            }
        }
    }

    fn write(&mut self, waiting: &Waiting, at: Timestamp) -> io::Result<()> {
        let longest = (self.keeping.most.0 / PARTS).clamp(SMALLEST_FILE, LARGEST_FILE);
        let is_over = |open: &Open| {
            open.out.get_ref().bytes >= longest || at.since(open.begun) >= LONGEST_FILE || at < open.begun
        };
        if self.file.as_ref().is_none_or(is_over) {
            self.file = None;
            self.make_room(longest + waiting.bytes.len() as u64)?;
            let link = waiting.packets.first().map_or(u32::from(LINKTYPE_ETHERNET), |(_, link, ..)| *link);
            let (file, path) = create(&self.keeping.folder, at)?;
            let out = Counted { to: BufWriter::new(file), bytes: 0 };
            let out = PcapngWriter::new(out, link as u16, "hydrophone listen --keep-packets");
            let out = out.inspect_err(|_| _ = std::fs::remove_file(&path))?;
            self.file = Some(Open { out, begun: at, told: 0, path });
        }
        let Some(open) = &mut self.file else { return Ok(()) };
        let mut from = 0;
        for (ts, link, captured, original) in &waiting.packets {
            let frame = &waiting.bytes[from..from + *captured as usize];
            open.out.packet_on(*link as u16, *ts, frame, *original, None)?;
            from += frame.len();
        }
        open.out.flush()?;
        let written = open.out.get_ref().bytes;
        self.kept.bytes.fetch_add(written - open.told, Ordering::Relaxed);
        open.told = written;
        Ok(())
    }

    /// Lets the oldest files go until so many bytes more find room.
    fn make_room(&self, more: u64) -> io::Result<()> {
        let files = held(&self.keeping.folder)?;
        let mut bytes: u64 = files.iter().map(|(_, size)| size).sum();
        for (path, size) in files {
            if bytes.saturating_add(more) <= self.keeping.most.0 {
                break;
            }
            std::fs::remove_file(path)?;
            bytes -= size;
        }
        self.kept.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// A new file, whose name says since when it goes; nobody else may read it.
fn create(folder: &Path, at: Timestamp) -> io::Result<(File, PathBuf)> {
    let (begins, ends) = NAME;
    let at = at.to_string().replace(':', "-");
    let mut n = 0;
    loop {
        let again = if n == 0 { String::new() } else { format!("-{n}") };
        let path = folder.join(format!("{begins}{at}{again}{ends}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => n += 1,
            opened => return opened.map(|file| (file, path)),
        }
    }
}

/// The files of a folder that are ours with their sizes, oldest first.
fn held(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let (begins, ends) = NAME;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(begins) && name.ends_with(ends) {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use capture::{CaptureSet, Opening, Source};

    use super::*;

    #[test]
    fn what_was_not_written_whole_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let begin = || {
            let (file, path) = create(dir.path(), Timestamp::from_secs(1)).unwrap();
            let out = Counted { to: BufWriter::new(file), bytes: 0 };
            let out = PcapngWriter::new(out, LINKTYPE_ETHERNET, "a test").unwrap();
            Open { out, begun: Timestamp::from_secs(1), told: 0, path }
        };
        let mut open = begin();
        let path = open.path.clone();
        open.out.packet_on(LINKTYPE_ETHERNET, Timestamp::from_secs(1), &[7; 60], 60, None).unwrap();
        open.out.flush().unwrap();
        open.told = open.out.get_ref().bytes;
        let whole = open.told;
        // A hand-over of which the disk took a part.
        open.out.packet_on(LINKTYPE_ETHERNET, Timestamp::from_secs(2), &[8; 9000], 9000, None).unwrap();
        open.cut();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        let nothing = begin();
        let path = nothing.path.clone();
        nothing.cut();
        assert!(!path.exists());
    }

    /// Gives all packets of a sample to a keeper, `times` over.
    fn keep(dir: &Path, most: u64, of_flow: Option<u64>, times: usize) -> Arc<Kept> {
        let (folder, of_flow) = (dir.to_owned(), of_flow.map(ByteSize));
        let mut keeper = PacketKeeper::open(Keeping { folder, most: ByteSize(most), of_flow }).unwrap();
        let kept = keeper.kept();
        for _ in 0..times {
            let mut set = sample();
            let mut batch = Batch::default();
            while set.next_batch(&mut batch) {
                keeper.batch(&batch);
                // The disk of a test is never too slow.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        keeper.finish();
        kept
    }

    fn sample() -> CaptureSet {
        let bytes = include_bytes!("../../../samples/kraken-old.pcapng");
        CaptureSet::open(&[Source::Memory("kraken-old.pcapng", bytes)], &Opening::default()).unwrap()
    }

    /// Every packet: when, its flow, its length on the wire, its bytes.
    fn packets(mut set: CaptureSet) -> Vec<(Timestamp, Option<u64>, u32, Vec<u8>)> {
        let (mut batch, mut all) = (Batch::default(), Vec::new());
        while set.next_batch(&mut batch) {
            for meta in &batch.packets {
                let holds = Holds::of(batch.frame(meta), meta.link, meta.original);
                all.push((meta.ts, holds.flow, meta.original, batch.frame(meta).to_vec()));
            }
        }
        all
    }

    fn of(dir: &Path) -> Vec<(Timestamp, Option<u64>, u32, Vec<u8>)> {
        packets(CaptureSet::open(&[Source::Path(dir.to_owned())], &Opening::default()).unwrap())
    }

    #[test]
    fn all_of_it_where_all_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let kept = keep(dir.path(), 1 << 30, None, 1);
        let (all, there) = (packets(sample()), of(dir.path()));
        assert_eq!(there.len(), all.len());
        assert!(there == all, "packets are kept as they came");
        assert_eq!(kept.packets.load(Ordering::Relaxed), all.len() as u64);
        assert_eq!(kept.lost.load(Ordering::Relaxed), 0);
        let files = held(dir.path()).unwrap();
        assert_eq!(files.iter().map(|(_, size)| size).sum::<u64>(), kept.bytes.load(Ordering::Relaxed));
        let name = files[0].0.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("packets-2008-04-08T09-"), "{name}");
    }

    #[test]
    fn of_a_flow_its_first_bytes_and_how_it_ends() {
        const MOST: u64 = 2_000;
        let dir = tempfile::tempdir().unwrap();
        keep(dir.path(), 1 << 30, Some(MOST), 1);
        let (all, there) = (packets(sample()), of(dir.path()));
        let mut expected = Vec::new();
        let mut taken = std::collections::BTreeMap::<u64, u64>::new();
        for packet in &all {
            let holds = Holds::of(&packet.3, 1, packet.2);
            let bytes = taken.entry(packet.1.unwrap_or_default()).or_default();
            if packet.1.is_none() || *bytes < MOST || holds.edge {
                expected.push(packet.clone());
            }
            *bytes += u64::from(packet.2);
        }
        assert!(there == expected, "{} of {}", there.len(), expected.len());
        assert!(there.len() < all.len() * 9 / 10);
    }

    #[test]
    fn the_oldest_go() {
        const MOST: u64 = 8 << 20;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.pcapng"), "somebody's own").unwrap();
        let once: u64 = packets(sample()).iter().map(|p| p.3.len() as u64).sum();
        let kept = keep(dir.path(), MOST, None, (3 * MOST / once) as usize);
        let files = held(dir.path()).unwrap();
        let bytes: u64 = files.iter().map(|(_, size)| size).sum();
        assert!(bytes <= MOST && bytes > MOST / 2, "{bytes} bytes in {} files", files.len());
        assert_eq!(kept.bytes.load(Ordering::Relaxed), bytes);
        assert!(dir.path().join("mine.pcapng").exists(), "what is not ours stays");
        // A run goes on where another ended.
        keep(dir.path(), MOST, None, 1);
        assert!(held(dir.path()).unwrap().iter().map(|(_, size)| size).sum::<u64>() <= MOST);
    }

    #[test]
    fn a_folder_that_goes_away_costs_packets_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("packets");
        let keeping = Keeping { folder: folder.clone(), most: ByteSize(1 << 30), of_flow: None };
        let mut keeper = PacketKeeper::open(keeping).unwrap();
        let kept = keeper.kept();
        std::fs::remove_dir(&folder).unwrap();
        let (mut set, mut batch) = (sample(), Batch::default());
        while set.next_batch(&mut batch) {
            keeper.batch(&batch);
        }
        keeper.finish();
        assert!(kept.lost.load(Ordering::Relaxed) > 0 && kept.packets.load(Ordering::Relaxed) == 0);
        let news = kept.news();
        assert!(matches!(&news[..], [one] if one.contains("are not kept")), "{news:?}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let keeping = Keeping { folder: dir.path().join("file"), most: ByteSize(1 << 30), of_flow: None };
        assert!(PacketKeeper::open(keeping).is_err());
    }
}
