//! pcap and pcapng, read leniently: what can be read is given, then the error names the place.
//!
//! Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

use record::Timestamp;

use crate::CaptureError;
use crate::source::{Block, Window, read_error};
use crate::unpack::Packing;

/// What is kept of a packet at most: the snap length of capturing programs.
const MAX_NETWORK_PACKET: u32 = 262_144;
/// Buses and others have; beyond this a length is broken whatever the link.
const MAX_BLOCK: u32 = 128 << 20;
/// Blocks that describe (sections, interfaces, statistics) are short; a longer one is broken.
const MAX_DESCRIPTION: u32 = 1 << 20;
/// Interfaces that a section may have: each is kept, and real ones have a few dozen.
const MAX_INTERFACES: usize = 65_536;

/// The largest length that a packet of a link type may claim. Of a longer packet than [`MAX_NETWORK_PACKET`] the first bytes are kept, as
/// capturing programs do at that snap length.
const fn max_packet(link: u32) -> u32 {
    match link {
        // Ethernet and IP, where such a length is a broken file.
        0 | 1 | 9 | 12 | 14 | 50 | 51 | 101 | 105 | 108 | 113 | 127 | 228 | 229 | 276 => {
            16 * MAX_NETWORK_PACKET
        }
        _ => MAX_BLOCK,
    }
}

/// Bytes of a packet block around a packet of the largest length that is kept: its headers and some options.
const ROOM: usize = 4096;

/// What a capture begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    Pcap { big: bool },
    Pcapng,
}

impl Magic {
    /// The kind of capture that first bytes announce, if any.
    pub fn of(head: &[u8]) -> Option<Self> {
        Some(match head {
            [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0xa1, 0xb2, 0xcd, 0x34, ..] => {
                Self::Pcap { big: true }
            }
            [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] | [0x34, 0xcd, 0xb2, 0xa1, ..] => {
                Self::Pcap { big: false }
            }
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Self::Pcapng,
            _ => return None,
        })
    }
}

/// How much of a packet is kept.
fn kept(captured: u32) -> u32 {
    captured.min(MAX_NETWORK_PACKET)
}

/// A packet as it lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPacket {
    pub ts: Timestamp,
    /// Link type number of the interface.
    pub link: u32,
    /// Where it begins in the reader's block.
    pub offset: usize,
    pub captured: u32,
    pub original: u32,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    snaplen: u32,
    ticks: Ticks,
    offset_secs: i64,
}

/// How a tick count becomes nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ticks {
    Times(u64),
    Divided(u64),
    Binary(u32),
}

impl Ticks {
    /// From `if_tsresol`: a power of ten, or with the highest bit set a power of two.
    fn of_resolution(byte: u8) -> Self {
        let exponent = u32::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            Self::Binary(exponent.min(63))
        } else if exponent <= 9 {
            Self::Times(10u64.pow(9 - exponent))
        } else {
            Self::Divided(10u64.saturating_pow((exponent - 9).min(19)))
        }
    }

    #[inline]
    fn nanos(self, ticks: u64, offset_secs: i64) -> Timestamp {
        // The usual: decimal ticks of a time that fits.
        if let (Self::Times(m), Ok(t)) = (self, i64::try_from(ticks))
            && let Some(ns) = t.checked_mul(m.cast_signed())
        {
            return Timestamp(ns.saturating_add(offset_secs.saturating_mul(1_000_000_000)));
        }
        self.odd_nanos(ticks, offset_secs)
    }

    #[cold]
    fn odd_nanos(self, ticks: u64, offset_secs: i64) -> Timestamp {
        let of = |ticks: i128| match self {
            Self::Times(m) => ticks * i128::from(m),
            Self::Divided(d) => ticks / i128::from(d.max(1)),
            Self::Binary(bits) => (ticks * 1_000_000_000) >> bits,
        };
        // What is too large for a time is a negative one, as some writers have it of moments before 1970.
        let ns = i64::try_from(of(i128::from(ticks)))
            .or_else(|_| i64::try_from(of(i128::from(ticks.cast_signed()))))
            .unwrap_or(i64::MAX);
        Timestamp(ns.saturating_add(offset_secs.saturating_mul(1_000_000_000)))
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unknown,
    Pcap { big: bool, nanos: bool, link: u32, extra: usize },
    Pcapng { big: bool },
    Ended,
}

/// Reads packets one after another.
pub struct Reader {
    window: Window,
    path: String,
    kind: Kind,
    interfaces: Vec<Interface>,
    last: Timestamp,
    dropped: u64,
    section_drops: Vec<u64>,
    /// What its packets' blocks say.
    packet_drops: u64,
    /// Bytes behind the packet handed out last that are not wanted.
    behind: u64,
}

#[inline]
fn u32_at(b: &[u8], at: usize, big: bool) -> u32 {
    let raw: [u8; 4] = b[at..at + 4].try_into().unwrap_or_default();
    if big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
}

#[inline]
fn u16_at(b: &[u8], at: usize, big: bool) -> u16 {
    let raw: [u8; 2] = b[at..at + 2].try_into().unwrap_or_default();
    if big { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) }
}

fn u64_at(b: &[u8], at: usize, big: bool) -> u64 {
    let raw: [u8; 8] = b[at..at + 8].try_into().unwrap_or_default();
    if big { u64::from_be_bytes(raw) } else { u64::from_le_bytes(raw) }
}

// Errors are boxed where they are made: results are handed on for every packet, and errors once a file.
#[allow(clippy::unnecessary_box_returns)]
impl Reader {
    pub fn new(window: Window, path: String) -> Self {
        Self {
            window,
            path,
            kind: Kind::Unknown,
            interfaces: Vec::new(),
            last: Timestamp(0),
            dropped: 0,
            section_drops: Vec::new(),
            packet_drops: 0,
            behind: 0,
        }
    }

    pub fn block(&self) -> &Block {
        self.window.block()
    }

    pub fn generation(&self) -> u64 {
        self.window.generation()
    }

    pub fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// Packets that the capturing side says it dropped, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.section_drops.iter().sum::<u64>().max(self.packet_drops)
    }

    /// What was dropped in a section: its statistics say so at its end, its packets one by one.
    fn take_drops(&mut self) -> u64 {
        self.section_drops.drain(..).sum::<u64>().max(std::mem::take(&mut self.packet_drops))
    }

    /// The next packet; `None` at a clean end. After an error there is nothing more. Errors are boxed because the result is
    /// handed on for every packet.
    #[inline]
    pub fn next_packet(&mut self) -> Result<Option<RawPacket>, Box<CaptureError>> {
        if self.behind > 0 {
            let wanted = std::mem::take(&mut self.behind);
            let skipped = self.window.skip(wanted);
            if skipped < wanted {
                self.kind = Kind::Ended;
                let at = self.window.offset() - skipped;
                return Err(self.truncated_at(at, "a packet longer than is kept", wanted - skipped));
            }
        }
        loop {
            let got = match self.kind {
                Kind::Unknown => match self.begin() {
                    Ok(()) => continue,
                    Err(e) => Err(e),
                },
                Kind::Pcap { big, nanos, link, extra } => self.next_pcap(big, nanos, link, extra),
                Kind::Pcapng { big } => self.next_pcapng(big),
                Kind::Ended => Ok(None),
            };
            // Another capture begins there.
            if matches!((&got, &self.kind), (Ok(None), Kind::Unknown)) {
                continue;
            }
            if !matches!(got, Ok(Some(_))) {
                self.kind = Kind::Ended;
            }
            return got;
        }
    }

    fn begin(&mut self) -> Result<(), Box<CaptureError>> {
        let have = self.window.ensure(24);
        let head = self.window.rest();
        let big = match Magic::of(head) {
            None if head.is_empty() => {
                return Err(self.unsupported_or_failed("is empty: no capture header"));
            }
            None => return Err(self.unsupported_or_failed(&foreign(head))),
            Some(Magic::Pcap { big }) => big,
            Some(Magic::Pcapng) => {
                self.kind = Kind::Pcapng { big: false };
                return Ok(());
            }
        };
        if have < 24 {
            return Err(self.truncated(0, "the pcap header", 24));
        }
        let magic = u32_at(head, 0, big);
        let link = u32_at(head, 20, big) & 0xffff;
        let snaplen = u32_at(head, 16, big);
        let records = self.window.rest().get(24..).unwrap_or_default();
        let extra = match magic {
            0xa1b2_cd34 => least_faulty(&[8, 12], records, big, link, snaplen),
            0xa1b2_c3d4 => least_faulty(&[0, 8, 4], records, big, link, snaplen),
            _ => 0,
        };
        self.kind = Kind::Pcap { big, nanos: magic == 0xa1b2_3c4d, link, extra };
        self.window.advance(24);
        Ok(())
    }

    fn next_pcap(
        &mut self,
        big: bool,
        nanos: bool,
        link: u32,
        extra: usize,
    ) -> Result<Option<RawPacket>, Box<CaptureError>> {
        let header = 16 + extra;
        let have = self.window.ensure(header);
        if have == 0 {
            return self.ended();
        }
        if have < header {
            return Err(self.truncated(have, "a packet header", header));
        }
        let b = self.window.rest();
        if is_another(b) || is_section(b) {
            self.kind = Kind::Unknown;
            return Ok(None);
        }
        let (secs, fraction) = (u32_at(b, 0, big), u32_at(b, 4, big));
        let (captured, original) = (u32_at(b, 8, big), u32_at(b, 12, big));
        let most = max_packet(link);
        if captured > most {
            return Err(self.broken(format!("a packet of {captured} bytes (no more than {most} can be)")));
        }
        let want = header + kept(captured) as usize;
        let have = self.window.ensure(want);
        if have < want {
            return Err(self.truncated(have, "a packet", want));
        }
        let nanos = if nanos { u64::from(fraction) } else { u64::from(fraction) * 1000 };
        let ts = Timestamp((u64::from(secs) * 1_000_000_000 + nanos).cast_signed());
        let offset = self.window.position() + header;
        let packet = RawPacket { ts, link, offset, captured: kept(captured), original };
        self.behind = u64::from(captured - kept(captured));
        let packet = on_the_wire(packet, &self.window.rest()[header..want]);
        self.window.advance(want);
        Ok(Some(packet))
    }

    fn next_pcapng(&mut self, mut big: bool) -> Result<Option<RawPacket>, Box<CaptureError>> {
        loop {
            let have = self.window.ensure(12);
            if have == 0 {
                return self.ended();
            }
            if have < 12 {
                return Err(self.truncated(have, "a block header", 12));
            }
            let b = self.window.rest();
            if is_another(b) {
                self.dropped += self.take_drops();
                self.kind = Kind::Unknown;
                return Ok(None);
            }
            let section = b[..4] == [0x0a, 0x0d, 0x0d, 0x0a];
            if section {
                big = match b[8..12] {
                    [0x1a, 0x2b, 0x3c, 0x4d] => true,
                    [0x4d, 0x3c, 0x2b, 0x1a] => false,
                    _ => return Err(self.broken("a section header without byte-order magic".into())),
                };
                self.kind = Kind::Pcapng { big };
                self.interfaces.clear();
                self.dropped += self.take_drops();
            }
            let b = self.window.rest();
            let (kind, written) = (u32_at(b, 0, big), u32_at(b, 4, big));
            // Some writers do not count the padding, which is there all the same; Wireshark reads them alike.
            let total = written.checked_next_multiple_of(4).filter(|total| *total >= 12);
            let Some(total) = total else { return Err(self.broken(format!("a block of {written} bytes"))) };
            let len = total as usize;
            // Blocks of no interest are stepped over, however long; the others must be in memory whole.
            if !section && !matches!(kind, 1..=3 | 5 | 6) {
                let skipped = self.window.skip(u64::from(total));
                if skipped < u64::from(total) {
                    return Err(self.truncated_at(
                        self.window.offset() - skipped,
                        "a block",
                        u64::from(total) - skipped,
                    ));
                }
                continue;
            }
            let packets = matches!(kind, 2 | 3 | 6) && !section;
            if total > if packets { MAX_BLOCK } else { MAX_DESCRIPTION } {
                return Err(self.broken(format!("a block of {total} bytes")));
            }
            if packets && len > MAX_NETWORK_PACKET as usize + ROOM {
                return self.long_packet(kind, len, big);
            }
            let have = self.window.ensure(len);
            if have < len {
                return Err(self.truncated(have, "a block", len));
            }
            let block = &self.window.rest()[..len];
            if u32_at(block, len - 4, big) != written {
                return Err(self.broken("a block whose two lengths differ".into()));
            }
            let body = &block[8..len - 4];
            let packet = match kind {
                1 => {
                    let Some(interface) = interface(body, big) else {
                        return Err(self.broken("an interface block too short".into()));
                    };
                    if self.interfaces.len() >= MAX_INTERFACES {
                        return Err(
                            self.broken(format!("more than {MAX_INTERFACES} interfaces in a section"))
                        );
                    }
                    self.interfaces.push(interface);
                    self.section_drops.push(0);
                    None
                }
                2 | 6 => Some(enhanced(body, body.len(), big, kind == 2, &self.interfaces)),
                3 => Some(simple(body, body.len(), big, &self.interfaces, self.last)),
                5 => {
                    if let Some(drops) = drops(body, big)
                        && let Some(slot) = self.section_drops.get_mut(u32_at(body, 0, big) as usize)
                    {
                        *slot = drops;
                    }
                    None
                }
                _ => None,
            };
            match packet {
                None => self.window.advance(len),
                Some(Err(what)) => return Err(self.broken(what)),
                Some(Ok(mut packet)) => {
                    let lost = lost_before(kind, body, &packet, big);
                    self.packet_drops = self.packet_drops.saturating_add(lost);
                    packet.captured = kept(packet.captured);
                    let mut packet = on_the_wire(packet, &body[packet.offset..][..packet.captured as usize]);
                    packet.offset += self.window.position() + 8;
                    self.last = packet.ts;
                    self.window.advance(len);
                    return Ok(Some(packet));
                }
            }
        }
    }

    /// A packet block so long that it is not held whole: its header and what is kept of the packet.
    #[cold]
    fn long_packet(
        &mut self,
        kind: u32,
        len: usize,
        big: bool,
    ) -> Result<Option<RawPacket>, Box<CaptureError>> {
        let held = MAX_NETWORK_PACKET as usize + ROOM;
        let have = self.window.ensure(held);
        if have < held {
            return Err(self.truncated(have, "a block", len));
        }
        // Everything in it is as long as the block says; only what is kept need be there.
        let body = &self.window.rest()[8..held];
        let whole = len - 12;
        let packet = match kind {
            3 => simple(body, whole, big, &self.interfaces, self.last),
            _ => enhanced(body, whole, big, kind == 2, &self.interfaces),
        };
        let mut packet = packet.map_err(|what| self.broken(what))?;
        packet.captured = kept(packet.captured);
        packet = on_the_wire(packet, &body[packet.offset..][..packet.captured as usize]);
        packet.offset += self.window.position() + 8;
        self.last = packet.ts;
        self.window.advance(held);
        self.behind = (len - held) as u64;
        Ok(Some(packet))
    }

    /// The input is used up: a clean end, unless the stream failed.
    fn ended(&mut self) -> Result<Option<RawPacket>, Box<CaptureError>> {
        match self.window.take_failure() {
            Some(e) => Err(read_error(&self.path, self.window.offset(), e)),
            None => Ok(None),
        }
    }

    fn truncated(&mut self, have: usize, what: &'static str, want: usize) -> Box<CaptureError> {
        if let Some(e) = self.window.take_failure() {
            return read_error(&self.path, self.window.offset() + have as u64, e);
        }
        let offset = self.window.offset();
        Box::new(CaptureError::Truncated {
            path: self.path.clone(),
            offset,
            end: offset + have as u64,
            what,
            missing: (want - have) as u64,
        })
    }

    fn truncated_at(&mut self, offset: u64, what: &'static str, missing: u64) -> Box<CaptureError> {
        if let Some(e) = self.window.take_failure() {
            return read_error(&self.path, self.window.offset(), e);
        }
        let (path, end) = (self.path.clone(), self.window.offset());
        Box::new(CaptureError::Truncated { path, offset, end, what, missing })
    }

    fn broken(&self, what: String) -> Box<CaptureError> {
        Box::new(CaptureError::Broken { path: self.path.clone(), offset: self.window.offset(), what })
    }

    fn unsupported_or_failed(&mut self, what: &str) -> Box<CaptureError> {
        match self.window.take_failure() {
            Some(e) => read_error(&self.path, self.window.offset(), e),
            None => Box::new(CaptureError::Unsupported { path: self.path.clone(), what: what.to_owned() }),
        }
    }
}

/// Records that a variant is tried on.
const TRIED: usize = 3;

/// How many bytes the packet headers have beyond sixteen. Some systems wrote longer ones under the standard magic (patched libpcap of 1999: 8
/// bytes of interface and protocol, or 12; Nokia: 4): the variant under which the first records contradict themselves least, the earlier of
/// equals, as Wireshark decides. Looks at what is in memory only, so that a stream is not waited for.
fn least_faulty(variants: &[usize], records: &[u8], big: bool, link: u32, snaplen: u32) -> usize {
    let faults = |extra: usize| {
        let (mut rest, mut faults) = (records, 0u32);
        for _ in 0..TRIED {
            let Some(header) = rest.get(..16 + extra) else { break };
            let (fraction, captured, original) =
                (u32_at(header, 4, big), u32_at(header, 8, big), u32_at(header, 12, big));
            faults += u32::from(fraction >= 1_000_000)
                + u32::from(snaplen > 0 && captured > snaplen)
                + u32::from(original > MAX_BLOCK)
                + u32::from(captured > original);
            if extra == 8 {
                let protocol = u16_at(header, 20, big);
                let plausible = matches!(protocol, 0..=0x17 | 0x60 | 0x200 | 0x400 | 0x600..);
                faults += u32::from(u32_at(header, 16, big) > 10_000)
                    + u32::from(header[22] > 4)
                    + u32::from(!plausible);
            }
            if captured > max_packet(link) {
                faults += 1;
                break;
            }
            match rest.get(16 + extra + captured as usize..) {
                Some(behind) => rest = behind,
                None => break,
            }
        }
        faults
    };
    variants.iter().copied().min_by_key(|extra| faults(*extra)).unwrap_or(0)
}

/// The length on the wire where a record's own header says it better than the file: Endace's (big-endian at offset 14).
#[inline]
fn on_the_wire(packet: RawPacket, bytes: &[u8]) -> RawPacket {
    if packet.link != 197 {
        return packet;
    }
    match bytes.get(14..16) {
        Some(&[w0, w1]) => RawPacket { original: u32::from(u16::from_be_bytes([w0, w1])), ..packet },
        _ => packet,
    }
}

/// Names what a file that is not a capture seems to be, and what to do.
fn foreign(head: &[u8]) -> String {
    let convert =
        |name: &str| format!("is a {name} file, not pcap or pcapng; convert it with `editcap -F pcapng`");
    match head {
        [b's', b'n', b'o', b'o', b'p', 0, 0, 0, ..] => convert("snoop"),
        [b'G', b'M', b'B', b'U', ..] | [b'R', b'T', b'S', b'S', ..] => convert("Microsoft Network Monitor"),
        [b'X', b'C', b'P', 0, ..] => convert("NetXRay"),
        [b'T', b'R', b'S', b'N', b'I', b'F', b'F', ..] => convert("Sniffer"),
        _ if Packing::of(head).is_some() => "is compressed twice; unpack it once".to_owned(),
        [b'P', b'K', 3, 4, ..] => "is a zip archive; unpack it first".to_owned(),
        [b'P', b'A', b'R', b'1', ..] => "is a Parquet file, not a capture".to_owned(),
        _ => "is neither a capture (pcap, pcapng) nor a log of Zeek or Suricata (nothing known in its first bytes)".to_owned(),
    }
}

fn options(mut b: &[u8], big: bool) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if b.len() < 4 {
            return None;
        }
        let (code, len) = (u16_at(b, 0, big), usize::from(u16_at(b, 2, big)));
        if code == 0 || b.len() < 4 + len {
            return None;
        }
        let value = &b[4..4 + len];
        b = &b[(4 + len.next_multiple_of(4)).min(b.len())..];
        Some((code, value))
    })
}

fn interface(body: &[u8], big: bool) -> Option<Interface> {
    if body.len() < 8 {
        return None;
    }
    let mut made = Interface {
        link: u32::from(u16_at(body, 0, big)),
        snaplen: u32_at(body, 4, big),
        ticks: Ticks::Times(1000),
        offset_secs: 0,
    };
    for (code, value) in options(&body[8..], big) {
        match (code, value) {
            (9, [resolution, ..]) => made.ticks = Ticks::of_resolution(*resolution),
            (14, value) if value.len() == 8 => made.offset_secs = u64_at(value, 0, big).cast_signed(),
            _ => {}
        }
    }
    Some(made)
}

/// An enhanced packet block or the obsolete packet block, of whose body (`whole` bytes) the beginning is there; the offset is relative to it.
#[inline(always)]
#[allow(clippy::inline_always)]
fn enhanced(
    body: &[u8],
    whole: usize,
    big: bool,
    obsolete: bool,
    interfaces: &[Interface],
) -> Result<RawPacket, String> {
    if body.len() < 20 {
        return Err("a packet block too short".into());
    }
    let id = if obsolete { usize::from(u16_at(body, 0, big)) } else { u32_at(body, 0, big) as usize };
    let Some(interface) = interfaces.get(id) else {
        return Err(format!("a packet of interface {id}, which the section does not have"));
    };
    let ticks = u64::from(u32_at(body, 4, big)) << 32 | u64::from(u32_at(body, 8, big));
    let (captured, original) = (u32_at(body, 12, big), u32_at(body, 16, big));
    if captured as usize > whole - 20 {
        return Err(format!("a packet of {captured} bytes in a block of {}", whole + 12));
    }
    Ok(RawPacket {
        ts: interface.ticks.nanos(ticks, interface.offset_secs),
        link: interface.link,
        offset: 20,
        captured,
        original,
    })
}

/// A simple packet block has no time of its own; it gets that of the packet before it.
fn simple(
    body: &[u8],
    whole: usize,
    big: bool,
    interfaces: &[Interface],
    last: Timestamp,
) -> Result<RawPacket, String> {
    let Some(interface) = interfaces.first() else {
        return Err("a simple packet before any interface".into());
    };
    if body.len() < 4 {
        return Err("a simple packet block too short".into());
    }
    let original = u32_at(body, 0, big);
    let room = (whole - 4) as u32;
    let limit = if interface.snaplen == 0 { room } else { interface.snaplen.min(room) };
    Ok(RawPacket { ts: last, link: interface.link, offset: 4, captured: original.min(limit), original })
}

/// Packets that were lost before this one, as its block says: the obsolete one counts them (65,535 is "not known"), the enhanced one may (`epb_dropcount`).
#[inline]
fn lost_before(kind: u32, body: &[u8], packet: &RawPacket, big: bool) -> u64 {
    if kind == 2 {
        return Some(u16_at(body, 2, big)).filter(|n| *n != u16::MAX).map_or(0, u64::from);
    }
    let behind = packet.offset + (packet.captured as usize).next_multiple_of(4);
    // Most packets have no options.
    if kind != 6 || body.len() < behind + 4 {
        return 0;
    }
    let counted = options(&body[behind..], big).find(|(code, value)| *code == 4 && value.len() == 8);
    counted.map_or(0, |(_, value)| u64_at(value, 0, big))
}

/// Whether another capture begins where a packet should, a pcap: somebody has put files one behind the other. It is of version 2.4, or an older one of the same form; as
/// a packet's time that would be of 2055.
#[inline]
fn is_another(b: &[u8]) -> bool {
    matches!(Magic::of(b), Some(Magic::Pcap { big }) if b.len() >= 8 && u16_at(b, 4, big) == 2 && u16_at(b, 6, big) <= 4)
}

/// The same, a pcapng; within pcapng it is the next section.
#[inline]
fn is_section(b: &[u8]) -> bool {
    matches!(Magic::of(b), Some(Magic::Pcapng))
        && matches!(b.get(8..12), Some([0x1a, 0x2b, 0x3c, 0x4d] | [0x4d, 0x3c, 0x2b, 0x1a]))
}

/// Drops in an interface statistics block: by the interface (`isb_ifdrop`) and by the system (`isb_osdrop`).
fn drops(body: &[u8], big: bool) -> Option<u64> {
    let mut total = None;
    for (code, value) in options(body.get(12..)?, big) {
        if matches!(code, 5 | 7) && value.len() == 8 {
            total = Some(total.unwrap_or(0u64).saturating_add(u64_at(value, 0, big)));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> (Vec<RawPacket>, Option<String>) {
        let mut reader = Reader::new(Window::memory(data.to_vec()), "test".into());
        let mut packets = Vec::new();
        loop {
            match reader.next_packet() {
                Ok(Some(p)) => packets.push(p),
                Ok(None) => return (packets, None),
                Err(e) => return (packets, Some(e.to_string())),
            }
        }
    }

    fn pcap(big: bool, nanos: bool) -> Vec<u8> {
        let magic = if nanos { 0xa1b2_3c4du32 } else { 0xa1b2_c3d4 };
        let w = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut out = Vec::new();
        for v in [magic, 0x0004_0002, 0, 0, 65535, 1] {
            out.extend(w(v));
        }
        for (secs, frac, data) in [(100u32, 5u32, b"abcd".as_slice()), (101, 6, b"efghij")] {
            for v in [secs, frac, data.len() as u32, 60] {
                out.extend(w(v));
            }
            out.extend(data);
        }
        out
    }

    #[test]
    fn pcap_of_every_kind_reads_alike() {
        for big in [false, true] {
            for nanos in [false, true] {
                let (packets, error) = read(&pcap(big, nanos));
                assert_eq!(error, None);
                let unit = if nanos { 1 } else { 1000 };
                assert_eq!(
                    packets.iter().map(|p| (p.ts.0, p.captured, p.original)).collect::<Vec<_>>(),
                    [(100_000_000_000 + 5 * unit, 4, 60), (101_000_000_000 + 6 * unit, 6, 60)]
                );
            }
        }
    }

    #[test]
    fn a_cut_file_gives_what_it_holds_and_names_the_place() {
        let whole = pcap(false, false);
        let (packets, error) = read(&whole[..whole.len() - 2]);
        assert_eq!(packets.len(), 1);
        assert_eq!(
            error.unwrap(),
            "test: ends at offset 64 inside a packet that began at offset 44 (2 bytes are missing); everything before it was read"
        );
        for cut in 0..whole.len() {
            let (packets, _) = read(&whole[..cut]);
            assert!(packets.len() <= 2);
        }
    }

    fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
        let w = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut padded = body.to_vec();
        padded.resize(body.len().next_multiple_of(4), 0);
        let total = padded.len() as u32 + 12;
        [&w(kind)[..], &w(total), &padded, &w(total)].concat()
    }

    fn section(big: bool) -> Vec<u8> {
        let mut body = if big { vec![0x1a, 0x2b, 0x3c, 0x4d] } else { vec![0x4d, 0x3c, 0x2b, 0x1a] };
        body.extend(if big { [0, 1, 0, 0] } else { [1, 0, 0, 0] });
        body.extend([0xff; 8]);
        block(0x0a0d_0d0a, &body, big)
    }

    fn interface_block(big: bool, link: u16, options: &[u8]) -> Vec<u8> {
        let l = if big { link.to_be_bytes() } else { link.to_le_bytes() };
        let body = [&l[..], &[0, 0], &[0, 0, 0, 0], options].concat();
        block(1, &body, big)
    }

    fn enhanced_block(big: bool, id: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
        let w = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let body = [
            &w(id)[..],
            &w((ticks >> 32) as u32),
            &w(ticks as u32),
            &w(data.len() as u32),
            &w(data.len() as u32),
            data,
        ]
        .concat();
        block(6, &body, big)
    }

    #[test]
    fn files_that_were_put_one_behind_the_other_are_read_to_the_end() {
        let ng = [section(false), interface_block(false, 1, &[]), enhanced_block(false, 0, 1, b"x")].concat();
        let all = [pcap(false, false), pcap(false, true), ng.clone(), pcap(false, true)].concat();
        let (packets, error) = read(&all);
        assert_eq!((packets.len(), error), (7, None));
        let (packets, error) = read(&[ng.clone(), ng, pcap(false, true)].concat());
        assert_eq!((packets.len(), error), (4, None));
        // However many there are.
        let heads = [&pcap(false, false)[..24].repeat(1_000_000), &pcap(false, false)[..]].concat();
        assert_eq!(read(&heads).0.len(), 2);
    }

    #[test]
    fn what_blocks_of_packets_say_was_lost_is_counted() {
        let mut lost = enhanced_block(false, 0, 2, b"abcde");
        let options = [&[4, 0, 8, 0][..], &7u64.to_le_bytes(), &[0, 0, 0, 0]].concat();
        let body = [&lost[8..lost.len() - 4], &options[..]].concat();
        lost = block(6, &body, false);
        let mut old = vec![0, 0, 5, 0];
        old.extend([0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'o', b'k']);
        let unknown = [&[0, 0, 0xff, 0xff][..], &old[4..]].concat();
        let blocks = [lost, block(2, &old, false), block(2, &unknown, false)].concat();
        let file = [section(false), interface_block(false, 1, &[]), blocks].concat();
        let mut reader = Reader::new(Window::memory(file), "test".into());
        while let Ok(Some(_)) = reader.next_packet() {}
        assert_eq!(reader.dropped(), 12);
    }

    #[test]
    fn pcapng_sections_interfaces_and_clocks() {
        let mut file = Vec::new();
        file.extend(section(false));
        file.extend(interface_block(
            false,
            1,
            &[9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0],
        ));
        file.extend(interface_block(false, 113, &[9, 0, 1, 0, 0x8a, 0, 0, 0]));
        file.extend(block(0x0bad_cafe, &[1, 2, 3, 4, 5], false));
        file.extend(enhanced_block(false, 0, 7_000_000_001, b"x"));
        file.extend(enhanced_block(false, 1, 2048, b"yy"));
        file.extend(section(true));
        file.extend(interface_block(true, 101, &[]));
        file.extend(enhanced_block(true, 0, 3_000_001, b"zzz"));
        file.extend(block(3, &[0, 0, 0, 2, 9, 9], true));
        let (packets, error) = read(&file);
        assert_eq!(error, None);
        let got: Vec<_> = packets.iter().map(|p| (p.ts.0, p.link, p.captured)).collect();
        assert_eq!(
            got,
            [
                (17_000_000_001, 1, 1),
                (2_000_000_000, 113, 2),
                (3_000_001_000, 101, 3),
                (3_000_001_000, 101, 2)
            ]
        );
        assert_eq!(&file[packets[2].offset..packets[2].offset + 3], b"zzz");
    }

    #[test]
    fn drops_are_read_from_the_statistics() {
        let mut file = section(false);
        file.extend(interface_block(false, 1, &[]));
        let mut body = vec![0; 12];
        body.extend([5, 0, 8, 0, 42, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(block(5, &body, false));
        let mut reader = Reader::new(Window::memory(file), "test".into());
        assert!(reader.next_packet().unwrap().is_none());
        assert_eq!(reader.dropped(), 42);
    }

    #[test]
    fn of_a_packet_longer_than_any_snap_length_the_beginning_is_kept() {
        let long = vec![7u8; 400_000];
        let mut file = section(false);
        file.extend(interface_block(false, 1, &[]));
        file.extend(enhanced_block(false, 0, 7, &long));
        file.extend(enhanced_block(false, 0, 8, b"behind"));
        let mut plain = pcap(false, false);
        plain.extend([1u32, 0, 400_000, 400_000].iter().flat_map(|w| w.to_le_bytes()));
        plain.extend(&long);
        plain.extend([2u32, 0, 3, 3].iter().flat_map(|w| w.to_le_bytes()));
        plain.extend(b"end");
        for file in [file, plain] {
            let (packets, error) = read(&file);
            let lengths: Vec<u32> = packets.iter().map(|p| p.captured).collect();
            assert!(
                lengths.contains(&262_144) && lengths.last().is_some_and(|l| *l < 10),
                "{lengths:?} {error:?}"
            );
            assert_eq!(error, None);
        }
    }

    #[test]
    fn descriptions_are_bounded() {
        let mut file = section(false);
        file.extend(1u32.to_le_bytes());
        file.extend((2u32 << 20).to_le_bytes());
        file.extend(vec![0; 100]);
        assert!(read(&file).1.unwrap().contains("a block of 2097152 bytes"));
    }

    #[test]
    fn lengths_that_do_not_count_the_padding_are_read() {
        let mut file = section(false);
        file.extend(interface_block(false, 1, &[]));
        for payload in [&b"x"[..], b"ab", b"abcd"] {
            let mut block = enhanced_block(false, 0, 7, payload);
            let short = (32 + payload.len() as u32).to_le_bytes();
            let end = block.len();
            block[4..8].copy_from_slice(&short);
            block[end - 4..].copy_from_slice(&short);
            file.extend(block);
        }
        let (packets, error) = read(&file);
        assert_eq!((packets.iter().map(|p| p.captured).collect::<Vec<_>>(), error), (vec![1, 2, 4], None));
    }

    #[test]
    fn broken_blocks_are_named() {
        let mut file = section(false);
        let at = file.len();
        file.extend(enhanced_block(false, 3, 0, b"x"));
        let (packets, error) = read(&file);
        assert!(packets.is_empty());
        assert!(error.unwrap().contains(&format!("offset {at}: a packet of interface 3")));
        let (_, error) = read(b"snoop\0\0\0\0\0\0\x02\0\0\0\x04");
        assert!(error.unwrap().contains("editcap"));
        let (_, error) = read(b"");
        assert!(error.unwrap().contains("empty"));
    }

    #[test]
    fn flipping_any_byte_of_a_packed_capture_never_panics() {
        let zstd = zstd::stream::encode_all(&pcap(true, false)[..], 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &pcap(false, true)).unwrap();
        for (choice, packed) in [(0, gzip.finish().unwrap()), (1, zstd)] {
            for at in 4..packed.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bad = [&[choice], &packed[4..]].concat();
                    bad[at - 3] ^= flip;
                    crate::fuzz_unpack(&bad);
                }
            }
        }
    }

    #[test]
    fn flipping_any_byte_never_panics() {
        let mut file = section(false);
        file.extend(interface_block(false, 1, &[9, 0, 1, 0, 9, 0, 0, 0]));
        file.extend(enhanced_block(false, 0, 7, b"hello world"));
        for data in [file, pcap(true, false)] {
            for at in 0..data.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bad = data.clone();
                    bad[at] ^= flip;
                    crate::fuzz_read(&bad);
                }
            }
        }
    }
}
