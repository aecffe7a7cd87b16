//! Bytes of an input: a memory-mapped file or a stream that is read in large blocks, decompressed on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, UncheckedAdvice};

use crate::CaptureError;

/// How much a stream is read at a time. Large enough that the copied remainder (less than one packet) is small change.
const BLOCK: usize = 1 << 20;
/// A stream may unpack to this much whatever its ratio.
const BOMB_FREE: u64 = 256 << 20;
/// Beyond that, the most bytes out per byte in. Real captures pack 2–20 to 1, floods of equal packets up to about 100 to 1 (*assumed*).
const BOMB_RATIO: u64 = 250;

/// How far behind the reader the pages of a map are kept: more than all batches in flight reach back.
const KEPT: usize = 16 << 20;
/// Advice is given for whole pages; a multiple of every page size in use.
const PAGE: usize = 64 << 10;

/// A map as shared bytes.
struct MapBytes(Arc<Mmap>);

impl AsRef<[u8]> for MapBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A part of the input that is in memory, and how to get more.
pub struct Window {
    /// The map behind `bytes`, if it is one, and up to where its pages were let go.
    map: Option<(Arc<Mmap>, usize)>,
    bytes: Bytes,
    pos: usize,
    /// Offset of `bytes[0]` in the input.
    base: u64,
    more: Option<Box<dyn Read + Send>>,
    generation: u64,
    failure: Option<io::Error>,
}

impl Window {
    /// A window over bytes that are all there.
    pub fn whole(bytes: Bytes) -> Self {
        Self { map: None, bytes, pos: 0, base: 0, more: None, generation: 0, failure: None }
    }

    /// A window over a memory-mapped file.
    fn mapped(map: Mmap) -> Self {
        let map = Arc::new(map);
        Self { map: Some((map.clone(), 0)), ..Self::whole(Bytes::from_owner(MapBytes(map))) }
    }

    /// Lets the pages go that were read a while ago, so that a long file does not fill the memory. They stay readable:
    /// whoever still looks at them brings them back from the file.
    #[allow(unsafe_code)]
    pub fn release(&mut self) {
        let Some((map, released)) = &mut self.map else { return };
        if self.pos.saturating_sub(*released) < 2 * KEPT {
            return;
        }
        let until = (self.pos - KEPT) / PAGE * PAGE;
        // SAFETY: the map is private, read-only and backed by a file. For such a map MADV_DONTNEED only drops the
        // resident pages; the next access reads the same bytes from the file again (madvise(2)). Nothing was ever
        // written to it that could be lost.
        let _ =
            unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, *released, until - *released) };
        *released = until;
    }

    /// A window over a stream.
    pub fn stream(more: Box<dyn Read + Send>) -> Self {
        Self {
            map: None,
            bytes: Bytes::new(),
            pos: 0,
            base: 0,
            more: Some(more),
            generation: 0,
            failure: None,
        }
    }

    /// Makes the next `n` bytes available and returns how many are there: fewer only at the input's end.
    #[inline]
    pub fn ensure(&mut self, n: usize) -> usize {
        let have = self.bytes.len() - self.pos;
        if have >= n || self.more.is_none() { have } else { self.refill(n) }
    }

    #[cold]
    fn refill(&mut self, n: usize) -> usize {
        let rest = self.bytes.slice(self.pos..);
        let mut block = Vec::with_capacity(rest.len() + n.max(BLOCK));
        block.extend_from_slice(&rest);
        if let Some(more) = self.more.as_mut() {
            // Grown by what really arrives, so that a length field alone never allocates.
            while block.len() < n {
                let before = block.len();
                match more.by_ref().take((BLOCK - before % BLOCK) as u64).read_to_end(&mut block) {
                    Ok(0) => {
                        self.more = None;
                        break;
                    }
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        self.failure = Some(e);
                        self.more = None;
                        break;
                    }
                }
            }
        }
        self.base += self.pos as u64;
        self.pos = 0;
        self.bytes = Bytes::from(block);
        self.generation += 1;
        self.bytes.len()
    }

    /// The bytes from here on that are in memory.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.pos..]
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

    /// The buffer in memory; packets point into it.
    pub fn buffer(&self) -> &Bytes {
        &self.bytes
    }

    /// Where in [`Self::buffer`] the next byte lies.
    #[inline]
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Changes whenever [`Self::buffer`] is another one.
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

/// Counts what a compressed stream takes and gives, and stops a bomb.
struct Guarded<R, C> {
    inner: R,
    taken: C,
    given: u64,
}

impl<R: Read, C: Fn() -> u64> Read for Guarded<R, C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.given += n as u64;
        if self.given > BOMB_FREE && self.given / BOMB_RATIO > (self.taken)() {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, Bomb));
        }
        Ok(n)
    }
}

/// The mark by which a bomb is told from other failures.
#[derive(Debug)]
struct Bomb;
impl std::fmt::Display for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("decompression bomb")
    }
}
impl std::error::Error for Bomb {}

/// Turns a failure of the stream into an error that names the place.
pub fn read_error(path: &str, offset: u64, source: io::Error) -> CaptureError {
    let path = path.to_owned();
    if matches!(source.get_ref(), Some(e) if e.is::<Bomb>()) {
        CaptureError::Bomb { path, offset, ratio: BOMB_RATIO }
    } else {
        CaptureError::Read { path, offset, source }
    }
}

/// A reader that counts what was read through it.
struct Counted<R> {
    inner: R,
    count: Arc<std::sync::atomic::AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(n)
    }
}

fn decompressed(first: &[u8], raw: Box<dyn Read + Send>) -> io::Result<Option<Box<dyn Read + Send>>> {
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = count.clone();
    let taken = move || seen.load(std::sync::atomic::Ordering::Relaxed);
    let counted = Counted { inner: raw, count };
    Ok(Some(match first {
        [0x1f, 0x8b, ..] => {
            Box::new(Guarded { inner: flate2::read::MultiGzDecoder::new(counted), taken, given: 0 })
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Guarded { inner: zstd::stream::read::Decoder::new(counted)?, taken, given: 0 })
        }
        [0x04, 0x22, 0x4d, 0x18, ..] => {
            Box::new(Guarded { inner: lz4_flex::frame::FrameDecoder::new(counted), taken, given: 0 })
        }
        _ => return Ok(None),
    }))
}

fn is_compressed(first: &[u8]) -> bool {
    matches!(
        first,
        [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
            | [0x04, 0x22, 0x4d, 0x18, ..]
    )
}

/// Opens a file (memory-mapped where it can be) or, for `-`, standard input.
///
/// # Errors
/// The input cannot be opened.
#[allow(unsafe_code)]
pub fn open(path: &Path) -> Result<Window, CaptureError> {
    let name = path.display().to_string();
    let fail = |source| CaptureError::Open { path: name.clone(), source };
    if path.as_os_str() == "-" {
        return stream(Box::new(io::stdin())).map_err(fail);
    }
    let file = File::open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() {
        return stream(Box::new(file)).map_err(fail);
    }
    if meta.len() == 0 {
        return Ok(Window::whole(Bytes::new()));
    }
    // SAFETY: the map is read-only and private to this process's view of the file. If another process shortens the
    // file while it is read, the kernel raises SIGBUS and the run ends; no memory of ours is affected. Contents that
    // change under the map are hostile bytes like any other: every parser bounds-checks each access anew.
    let map = unsafe { Mmap::map(&file) };
    match map {
        Ok(map) => {
            let _ = map.advise(Advice::Sequential);
            let first = &map[..map.len().min(4)];
            if is_compressed(first) {
                return stream(Box::new(file)).map_err(fail);
            }
            Ok(Window::mapped(map))
        }
        Err(_) => stream(Box::new(file)).map_err(fail),
    }
}

/// A window over a stream, decompressed if its first bytes say so.
fn stream(mut raw: Box<dyn Read + Send>) -> io::Result<Window> {
    let mut first = Vec::with_capacity(4);
    raw.by_ref().take(4).read_to_end(&mut first)?;
    let whole: Box<dyn Read + Send> = Box::new(io::Cursor::new(first.clone()).chain(raw));
    if is_compressed(&first) {
        match decompressed(&first, whole)? {
            Some(d) => Ok(Window::stream(d)),
            None => Err(io::Error::other("compression not recognised")),
        }
    } else {
        Ok(Window::stream(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(read_error("x", skipped, failure), CaptureError::Bomb { .. }));

        let packed = zstd::stream::encode_all(&vec![7u8; 100_000][..], 1).unwrap();
        let mut window = stream(Box::new(io::Cursor::new(packed))).unwrap();
        assert_eq!(window.skip(u64::MAX), 100_000);
        assert!(window.take_failure().is_none());
    }
}
