//! Bytes of an input, read in blocks that stay in the processor's cache, decompressed on the way.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use record::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use sha2::{Digest, Sha256};

use crate::merge::instant;
use crate::{CaptureError, archive, unpack};

/// How much is read at a time. A block is written by the kernel, walked over and decoded while it lies in the second-level
/// cache (a quarter of the 1 MiB that current cores have); the copied remainder, less than one packet, is small change.
pub const BLOCK: usize = 256 << 10;
/// Blocks kept for reading into again: more than all batches in flight hold, for otherwise new ones are made and dropped.
const POOL: usize = 64;

/// Memory that packets point into: shared, and read into again once nobody looks at it any more.
#[derive(Clone, Debug, Default)]
pub struct Block(Arc<Vec<u8>>);

impl Block {
    /// Its memory, if nobody else looks at it.
    pub(crate) fn alone(&mut self) -> Option<&mut Vec<u8>> {
        Arc::get_mut(&mut self.0)
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Block {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

/// A part of the input that is in memory, and how to get more.
pub struct Window {
    block: Block,
    /// How much of the block was read: `pos <= filled <= block.len()`.
    filled: usize,
    pos: usize,
    /// Offset of the block's first byte in the input.
    base: u64,
    more: Option<Box<dyn Read + Send>>,
    /// Whether its end is only the end for now.
    grows: bool,
    generation: u64,
    failure: Option<io::Error>,
    /// Blocks handed out before, oldest first.
    pool: Vec<Block>,
}

impl Window {
    /// A window over a stream.
    pub fn stream(more: Box<dyn Read + Send>) -> Self {
        Self {
            block: Block::default(),
            filled: 0,
            pos: 0,
            base: 0,
            more: Some(more),
            grows: false,
            generation: 0,
            failure: None,
            pool: Vec::new(),
        }
    }

    /// A window over a file to which others write: where it ends now, more may come.
    pub fn growing(file: File) -> Self {
        Self { grows: true, ..Self::stream(Box::new(file)) }
    }

    /// Whether more may come behind what is its end now.
    pub const fn grows(&self) -> bool {
        self.grows
    }

    /// Nothing more comes to the file: its end is where it ends.
    pub const fn stop_growing(&mut self) {
        self.grows = false;
    }

    /// A window over bytes in memory.
    pub fn memory(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::stream(Box::new(io::Cursor::new(bytes)))
    }

    /// Makes the next `n` bytes available and returns how many are there: fewer only at the input's end.
    #[inline]
    pub fn ensure(&mut self, n: usize) -> usize {
        let have = self.filled - self.pos;
        if have >= n || self.more.is_none() { have } else { self.refill(n) }
    }

    #[cold]
    fn refill(&mut self, n: usize) -> usize {
        let mut next = self.free_block();
        let carried = self.filled - self.pos;
        if let Some(bytes) = Arc::get_mut(&mut next.0) {
            // What is carried over may have grown beyond a block of the pool.
            if bytes.len() < carried {
                bytes.resize(carried, 0);
            }
            bytes[..carried].copy_from_slice(&self.block[self.pos..self.filled]);
            self.base += self.pos as u64;
            self.pos = 0;
            self.filled = carried;
            while self.filled < n {
                if bytes.len() == self.filled {
                    // Grown by what really arrived, so that a length field alone never allocates.
                    let larger = (self.filled * 2).min(n.max(BLOCK));
                    bytes.resize(larger, 0);
                }
                let Some(more) = self.more.as_mut() else { break };
                match more.read(&mut bytes[self.filled..]) {
                    Ok(0) if self.grows => break,
                    Ok(0) => self.more = None,
                    Ok(read) => self.filled += read,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        self.failure = Some(e);
                        if self.grows {
                            break;
                        }
                        self.more = None;
                    }
                }
            }
        }
        let used = std::mem::replace(&mut self.block, next);
        if used.len() == BLOCK && self.pool.len() < POOL {
            self.pool.push(used);
        }
        self.generation += 1;
        self.filled
    }

    /// A block that nobody looks at: an old one, or a new one.
    fn free_block(&mut self) -> Block {
        let free = self.pool.iter_mut().position(|b| Arc::get_mut(&mut b.0).is_some());
        match free {
            Some(at) => self.pool.remove(at),
            None => Block::from(vec![0; BLOCK.max(self.filled - self.pos)]),
        }
    }

    /// The bytes from here on that are in memory.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.block[self.pos..self.filled]
    }

    /// Steps over `n` bytes, which [`Self::ensure`] has promised.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        self.pos += n;
    }

    /// Steps over `n` bytes that need not be in memory; returns how many were there.
    pub fn skip(&mut self, mut n: u64) -> u64 {
        let wanted = n;
        while n > 0 {
            let have = self.ensure(n.min(BLOCK as u64) as usize) as u64;
            if have == 0 {
                break;
            }
            let step = have.min(n);
            self.pos += step as usize;
            n -= step;
        }
        wanted - n
    }

    /// The block in memory; packets point into it.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Where in [`Self::block`] the next byte lies.
    #[inline]
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Changes whenever [`Self::block`] is another one.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Offset of the next byte in the input.
    pub fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// What stopped the stream, if it was not its end.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

/// Turns a failure of the stream into an error that names the place.
#[allow(clippy::unnecessary_box_returns)]
pub fn read_error(path: &str, offset: u64, source: io::Error) -> Box<CaptureError> {
    let path = path.to_owned();
    Box::new(if unpack::is_bomb(&source) {
        CaptureError::Bomb { path, offset, ratio: unpack::BOMB_RATIO }
    } else {
        CaptureError::Read { path, offset, source }
    })
}

/// How often who waits looks whether it is to stop.
pub const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A stream that may have nothing to say for a long time: waiting ends when somebody asks to stop.
pub struct Patient<R> {
    inner: R,
    stop: Arc<AtomicBool>,
    /// How long what is under way is still read then.
    grace: Duration,
    stopped: Option<Instant>,
}

impl<R> Patient<R> {
    pub const fn new(inner: R, stop: Arc<AtomicBool>, grace: Duration) -> Self {
        Self { inner, stop, grace, stopped: None }
    }

    /// Whether it is to stop, and since when it knows.
    fn is_stopped(&mut self) -> Option<Duration> {
        if !self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let at = instant();
        Some(at.duration_since(*self.stopped.get_or_insert(at)))
    }
}

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let stopped = self.is_stopped();
            if stopped.is_some_and(|since| since >= self.grace) {
                return Ok(0);
            }
            let mut ready = [PollFd::new(&self.inner, PollFlags::IN)];
            match rustix::event::poll(&mut ready, Some(&LOOK_UP)) {
                Ok(0) if stopped.is_some() => return Ok(0),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => match self.inner.read(buf) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                },
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// How inputs are opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Streams end when it is set.
    pub stop: Arc<AtomicBool>,
    /// Passwords to try on zip archives, before the one that is customary.
    pub passwords: Vec<String>,
    /// Whether the SHA-256 of files is taken while they are read.
    pub hashed: bool,
    /// Packets before it are passed over.
    pub since: Option<Timestamp>,
    /// Packets at it and later are passed over.
    pub until: Option<Timestamp>,
    /// Inputs of earlier runs, whose packets keep their names: the first file of this one is called by their number.
    pub earlier: u32,
}

impl Opening {
    /// Whether a packet of this time is wanted.
    #[inline]
    pub fn wants(&self, ts: Timestamp) -> bool {
        self.since.is_none_or(|since| ts >= since) && self.until.is_none_or(|until| ts < until)
    }
}

/// Captures that are read again, in the order of packet numbers, and how they are opened.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    /// Where they lie.
    pub paths: Vec<std::path::PathBuf>,
    /// How.
    pub opening: Opening,
}

/// The SHA-256 of what was read of a file so far, and how much that was.
#[derive(Clone, Default)]
pub struct Seal(Arc<Mutex<(Sha256, u64)>>);

impl Seal {
    fn add(&self, bytes: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.update(bytes);
        inner.1 += bytes.len() as u64;
    }

    /// The hash of the whole file in hexadecimal: what reading has not come to is read now.
    ///
    /// # Errors
    /// The rest cannot be read.
    pub fn whole(&self, path: &Path) -> io::Result<String> {
        let (hash, read) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut file = File::open(path)?;
        file.seek(io::SeekFrom::Start(read))?;
        Self::all_of(hash, file)
    }

    /// The hash of the first so many bytes of a file, as [`Self::whole`] gives it.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn of_first(bytes: u64, path: &Path) -> io::Result<String> {
        Self::all_of(Sha256::new(), File::open(path)?.take(bytes))
    }

    fn all_of(mut hash: Sha256, mut from: impl Read) -> io::Result<String> {
        let mut block = vec![0; BLOCK];
        loop {
            match from.read(&mut block)? {
                0 => return Ok(record::hex(&hash.finalize())),
                n => hash.update(&block[..n]),
            }
        }
    }
}

/// A file that is sealed while it is read.
struct Sealed {
    file: File,
    seal: Seal,
}

impl Read for Sealed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.seal.add(&buf[..n]);
        Ok(n)
    }
}

/// Opens a file or, for `-`, standard input, which ends when asked to stop. `seal` takes the hash of what is read of a file.
///
/// # Errors
/// The input cannot be opened.
pub fn open(path: &Path, opening: &Opening, seal: Option<&Seal>) -> Result<Window, CaptureError> {
    let fail = |source| CaptureError::Open { path: path.display().to_string(), source };
    let stop = opening.stop.clone();
    if path.as_os_str() == "-" {
        // Its own descriptor, because the standard library's has a buffer that polling does not know of.
        let inner = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(fail)?);
        return stream(Box::new(Patient::new(inner, stop, Duration::ZERO))).map_err(fail);
    }
    if let Some((archive, member)) = archive::split(path) {
        let file = archive::unpacked(&archive, &member, &opening.passwords)?;
        return stream(Box::new(file)).map_err(fail);
    }
    let file = File::open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return stream(Box::new(Patient::new(file, stop, Duration::ZERO))).map_err(fail);
    }
    match seal {
        Some(seal) => stream(Box::new(Sealed { file, seal: seal.clone() })).map_err(fail),
        None => stream(Box::new(file)).map_err(fail),
    }
}

/// A window over a stream, decompressed if its first bytes say so.
pub fn stream(mut raw: Box<dyn Read + Send>) -> io::Result<Window> {
    let mut first = Vec::with_capacity(unpack::LONGEST_MAGIC);
    raw.by_ref().take(unpack::LONGEST_MAGIC as u64).read_to_end(&mut first)?;
    let packing = unpack::Packing::of(&first);
    let whole: Box<dyn Read + Send> = Box::new(io::Cursor::new(first).chain(raw));
    Ok(Window::stream(match packing {
        Some(packing) => unpack::unpacked(packing, whole),
        None => whole,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::{BOMB_FREE, BOMB_RATIO};

    #[test]
    fn a_stream_window_keeps_what_was_not_used() {
        let data: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let mut window = Window::stream(Box::new(io::Cursor::new(data.clone())));
        let mut at = 0usize;
        while window.ensure(1000) > 0 {
            let n = window.rest().len().min(777);
            assert_eq!(&window.rest()[..n], &data[at..at + n]);
            window.advance(n);
            at += n;
            assert_eq!(window.offset(), at as u64);
        }
        assert_eq!(at, data.len());
    }

    #[test]
    fn a_length_field_alone_allocates_nothing() {
        let mut window = Window::stream(Box::new(io::Cursor::new(vec![1; 10])));
        assert_eq!(window.ensure(BLOCK), 10);
    }

    #[test]
    fn a_bomb_is_stopped_and_a_normal_stream_is_not() {
        let zeros = io::repeat(0).take(BOMB_FREE + (64 << 20));
        let packed = zstd::stream::encode_all(zeros, 1).unwrap();
        let ratio = (BOMB_FREE + (64 << 20)) / packed.len() as u64;
        assert!(ratio > BOMB_RATIO, "{ratio}");
        let mut window = stream(Box::new(io::Cursor::new(packed))).unwrap();
        let skipped = window.skip(u64::MAX);
        assert!(skipped <= BOMB_FREE + (32 << 20));
        let failure = window.take_failure().unwrap();
        assert!(matches!(*read_error("x", skipped, failure), CaptureError::Bomb { .. }));

        let packed = zstd::stream::encode_all(&vec![7u8; 100_000][..], 1).unwrap();
        let mut window = stream(Box::new(io::Cursor::new(packed))).unwrap();
        assert_eq!(window.skip(u64::MAX), 100_000);
        assert!(window.take_failure().is_none());
    }
}
