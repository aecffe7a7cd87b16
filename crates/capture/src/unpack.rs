//! Compressed streams: gzip, zstd, LZ4, xz and bzip2, one member behind another, and none without bounds.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lz4_flex::frame::FrameDecoder;

/// A stream may unpack to this much whatever its ratio.
pub const BOMB_FREE: u64 = 256 << 20;
/// Beyond that, the most bytes out per byte in. Real captures pack 2–20 to 1, floods of equal packets up to about 100 to 1 (*assumed*).
pub const BOMB_RATIO: u64 = 250;
/// The dictionary of an xz stream, in KiB: `xz -9` uses 64 MiB, and a stream may ask for 4 GiB.
const XZ_MEMORY: u32 = 192 << 10;
/// What is read of a packed stream at a time.
const BUFFER: usize = 64 << 10;
/// Bytes that say how a stream is packed.
pub const LONGEST_MAGIC: usize = 6;

/// How a stream is packed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Lz4,
    Xz,
    Bzip2,
    /// A frame that zstd and LZ4 step over; what follows says which it is.
    Skippable,
}

impl Packing {
    /// The packing that first bytes announce, if any.
    pub fn of(first: &[u8]) -> Option<Self> {
        Some(match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Skippable,
            _ => return None,
        })
    }
}

/// A reader that counts what was read through it.
struct Counted {
    inner: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// A buffer over the packed stream that can be looked into further than the next byte.
struct Packed {
    inner: Counted,
    buffer: Box<[u8]>,
    /// `from <= to <= buffer.len()`: what was read and not taken.
    from: usize,
    to: usize,
}

impl Packed {
    fn new(inner: Counted) -> Self {
        Self { inner, buffer: vec![0; BUFFER].into_boxed_slice(), from: 0, to: 0 }
    }

    /// Looks at the next `n` bytes, at most [`BUFFER`], without taking them; fewer come only at the end.
    fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.to - self.from < n {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            while self.to < n {
                match self.inner.read(&mut self.buffer[self.to..]) {
                    Ok(0) => break,
                    Ok(read) => self.to += read,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(&self.buffer[self.from..self.to.min(self.from + n)])
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.from == self.to {
            (self.from, self.to) = (0, self.inner.read(&mut self.buffer)?);
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn consume(&mut self, n: usize) {
        self.from = (self.from + n).min(self.to);
    }
}

impl Read for Packed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

/// One member of a stream on its way.
enum Member {
    Between(Packed),
    Gzip(Box<flate2::bufread::GzDecoder<Packed>>),
    Zstd(zstd::stream::read::Decoder<'static, Packed>),
    Lz4(Box<FrameDecoder<Packed>>),
    /// These two know their own members.
    Xz(Box<lzma_rust2::XzReader<Packed>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<Packed>),
    Ended,
}

/// Members one behind another, read as one stream.
struct Members {
    packing: Packing,
    member: Member,
    first: bool,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Members {
    /// Begins the next member; `Ended` where the stream ends, or only zeros follow (tapes and some archivers fill up).
    fn begin(&mut self, mut from: Packed) -> io::Result<Member> {
        loop {
            let magic = from.peek(LONGEST_MAGIC)?;
            if magic.is_empty() {
                return Ok(Member::Ended);
            }
            let packing = Packing::of(magic);
            let zeros = magic.iter().all(|b| *b == 0);
            if packing == Some(Packing::Skippable) && self.packing != Packing::Gzip {
                skip_frame(&mut from)?;
                continue;
            }
            return match (packing, self.packing) {
                (Some(Packing::Gzip), Packing::Gzip) => {
                    Ok(Member::Gzip(Box::new(flate2::bufread::GzDecoder::new(from))))
                }
                (Some(Packing::Zstd), Packing::Zstd | Packing::Skippable) => {
                    Ok(Member::Zstd(zstd::stream::read::Decoder::with_buffer(from)?.single_frame()))
                }
                (Some(Packing::Lz4), Packing::Lz4 | Packing::Skippable) => {
                    Ok(Member::Lz4(Box::new(FrameDecoder::new(from))))
                }
                (Some(Packing::Xz), Packing::Xz) if self.first => {
                    Ok(Member::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, XZ_MEMORY))))
                }
                (Some(Packing::Bzip2), Packing::Bzip2) if self.first => {
                    Ok(Member::Bzip2(bzip2::bufread::MultiBzDecoder::new(from)))
                }
                _ if !self.first && zeros => {
                    only_zeros(&mut from)?;
                    Ok(Member::Ended)
                }
                _ => Err(invalid("behind the last compressed member stands something that is none")),
            };
        }
    }

    /// Takes back the reader of a member that has ended.
    fn ended(&mut self) -> Option<Packed> {
        match std::mem::replace(&mut self.member, Member::Ended) {
            Member::Gzip(d) => Some(d.into_inner()),
            Member::Zstd(d) => Some(d.finish()),
            Member::Lz4(d) => Some(d.into_inner()),
            Member::Between(from) => Some(from),
            Member::Xz(_) | Member::Bzip2(_) | Member::Ended => None,
        }
    }
}

impl Read for Members {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.member {
                Member::Between(_) => 0,
                Member::Gzip(d) => d.read(buf)?,
                Member::Zstd(d) => d.read(buf)?,
                Member::Lz4(d) => d.read(buf)?,
                Member::Xz(d) => d.read(buf)?,
                Member::Bzip2(d) => d.read(buf)?,
                Member::Ended => return Ok(0),
            };
            if read > 0 || buf.is_empty() {
                return Ok(read);
            }
            let Some(from) = self.ended() else { return Ok(0) };
            self.member = self.begin(from)?;
            self.first = false;
        }
    }
}

/// Steps over a skippable frame: magic, length in little-endian order, so many bytes.
fn skip_frame(from: &mut Packed) -> io::Result<()> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let len = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
    match io::copy(&mut from.by_ref().take(len), &mut io::sink())? {
        n if n == len => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a skippable frame ends early")),
    }
}

fn only_zeros(from: &mut Packed) -> io::Result<()> {
    loop {
        let block = from.fill_buf()?;
        match block.len() {
            0 => return Ok(()),
            _ if block.iter().any(|b| *b != 0) => {
                return Err(invalid("behind the last compressed member stands something that is none"));
            }
            n => from.consume(n),
        }
    }
}

/// Counts what a compressed stream takes and gives, and stops a bomb.
struct Guarded {
    inner: Members,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl Read for Guarded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.given += n as u64;
        check(self.given, self.taken.load(Ordering::Relaxed))?;
        Ok(n)
    }
}

/// Makes sure that so many bytes out of so many in are no bomb.
///
/// # Errors
/// They are.
pub fn check(given: u64, taken: u64) -> io::Result<()> {
    if given > BOMB_FREE && given / BOMB_RATIO > taken {
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, Bomb));
    }
    Ok(())
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

/// Whether a failure is that of a bomb.
pub fn is_bomb(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(e) if e.is::<Bomb>())
}

/// The stream that a packed one holds.
pub fn unpacked(packing: Packing, raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    let taken = Arc::<AtomicU64>::default();
    let from = Packed::new(Counted { inner: raw, count: taken.clone() });
    let inner = Members { packing, member: Member::Between(from), first: true };
    Box::new(Guarded { inner, taken, given: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn lz4(data: &[u8]) -> Vec<u8> {
        let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(data, 1).unwrap()
    }

    fn skippable(n: usize) -> Vec<u8> {
        [&[0x53, 0x2a, 0x4d, 0x18][..], &(n as u32).to_le_bytes(), &vec![7; n]].concat()
    }

    /// `printf hello | xz --check=crc32` and `printf world | xz`, one behind the other, by xz 5.4.1.
    const XZ: &str = "fd377a585a0000016922de360200210116000000742fe5a301000468656c6c6f0000000086a6103600011905bce8eccb90\
                      42990d010000000001595afd377a585a000004e6d6b4460200210116000000742fe5a3010004776f726c6400000000f8\
                      58e154fafc103e00011d05b82d80af1fb6f37d010000000004595a";

    #[test]
    fn xz_streams_follow_each_other() {
        let hex = |at: usize| u8::from_str_radix(&XZ[at..at + 2], 16).unwrap();
        let data: Vec<u8> = (0..XZ.len()).step_by(2).map(hex).collect();
        assert_eq!(read(&data).unwrap(), b"helloworld");
        assert!(read(&data[..data.len() - 9]).is_err());
    }

    #[test]
    fn a_hundred_thousand_members_are_one_stream() {
        let one = gzip(b"x");
        assert_eq!(read(&one.repeat(100_000)).unwrap(), vec![b'x'; 100_000]);
    }

    fn read(data: &[u8]) -> io::Result<Vec<u8>> {
        let packing = Packing::of(data).expect("packed");
        let mut out = Vec::new();
        unpacked(packing, Box::new(io::Cursor::new(data.to_vec()))).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn members_follow_each_other() {
        let (a, b) = (vec![1u8; 100_000], vec![2u8; 70_001]);
        let both = [a.clone(), b.clone()].concat();
        for pack in [gzip, lz4, bzip2, zstd] {
            assert_eq!(read(&[pack(&a), pack(&b)].concat()).unwrap(), both);
            assert_eq!(
                read(&[pack(&a), pack(&b), pack(&a)].concat()).unwrap(),
                [both.clone(), a.clone()].concat()
            );
        }
        for pack in [lz4, zstd] {
            let skipped = [skippable(3), pack(&a), skippable(100_000), skippable(0), pack(&b), skippable(5)];
            assert_eq!(read(&skipped.concat()).unwrap(), both);
        }
    }

    #[test]
    fn zeros_may_follow_and_nothing_else() {
        let a = vec![1u8; 1000];
        for n in [1, 3, 8, 70_000] {
            assert_eq!(read(&[gzip(&a), vec![0; n]].concat()).unwrap(), a);
        }
        for pack in [gzip, lz4, zstd] {
            let mut out = Vec::new();
            let data = [pack(&a), b"garbage".to_vec()].concat();
            let packing = Packing::of(&data).unwrap();
            let failed = unpacked(packing, Box::new(io::Cursor::new(data))).read_to_end(&mut out);
            assert!(failed.is_err() && out == a, "what came before is read");
        }
    }

    #[test]
    fn a_cut_stream_gives_what_it_holds_and_fails() {
        let a: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for pack in [gzip, lz4, bzip2, zstd] {
            let whole = pack(&a);
            let mut out = Vec::new();
            let cut = whole[..whole.len() / 2].to_vec();
            let packing = Packing::of(&cut).unwrap();
            assert!(unpacked(packing, Box::new(io::Cursor::new(cut))).read_to_end(&mut out).is_err());
            assert!(a.starts_with(&out));
        }
    }

    #[test]
    fn a_reader_of_single_bytes_changes_nothing() {
        struct Slow(io::Cursor<Vec<u8>>);
        impl Read for Slow {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let n = buf.len().min(1);
                self.0.read(&mut buf[..n])
            }
        }
        let data = [lz4(b"hello "), skippable(2), lz4(b"world")].concat();
        let mut out = String::new();
        unpacked(Packing::Lz4, Box::new(Slow(io::Cursor::new(data)))).read_to_string(&mut out).unwrap();
        assert_eq!(out, "hello world");
    }
}
