//! What is seen of a body or a file as it passes: its first bytes, its length, and the hash of what is worth one. Nothing of it is kept.

use record::{Direction, FileInfo, Magic, PacketId, PayloadFacts, Record, Service, Timestamp};
use ring::digest::{Context, SHA256};

use crate::outbox::{Packets, ParseContext, text};
use crate::protocol::{Protocol, Step};

/// First bytes kept to see what it is.
const MAX_LOOK: usize = 512;
/// Bytes below which what nobody recognises is no file (*assumed*).
const SMALLEST: u64 = 1024;
/// Bytes below which nothing is: the header of a program alone has as many.
const LEAST: u64 = 64;
/// A file's name is at most 255 bytes on the usual file systems.
const MAX_NAME: usize = 255;

/// What the packets take that are remembered of it.
const KEPT_PACKETS: usize = 64;

/// Whether it is hashed. `ring` has SHA-256 in the words of each processor, which matters where much is downloaded.
enum Sum {
    /// It is not known yet what it is.
    Waits,
    Taken(Box<Context>),
    /// It is no file, or nobody wants hashes, or a part of it is missing or encoded.
    Left,
}

/// What is seen of something as it passes.
#[derive(Debug)]
pub struct Content {
    look: Vec<u8>,
    len: u64,
    missing: bool,
    sum: Sum,
    began: Option<Timestamp>,
    packets: Packets,
    last: Option<PacketId>,
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waits => "Waits",
            Self::Taken(_) => "Taken",
            Self::Left => "Left",
        })
    }
}

impl Content {
    /// Of which nothing has come; hashed if it is wanted.
    pub fn new(hash: bool) -> Self {
        let sum = if hash { Sum::Waits } else { Sum::Left };
        Self {
            look: Vec::new(),
            len: 0,
            missing: false,
            sum,
            began: None,
            packets: Packets::default(),
            last: None,
        }
    }

    /// Bytes of it came.
    pub fn take(&mut self, bytes: &[u8], at: (Timestamp, PacketId)) {
        if bytes.is_empty() {
            return;
        }
        let (ts, packet) = at;
        self.began.get_or_insert(ts);
        self.packets.add(packet);
        self.last = Some(packet);
        self.len = self.len.saturating_add(bytes.len() as u64);
        let room = MAX_LOOK.saturating_sub(self.look.len());
        let (first, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.look.extend_from_slice(first);
        if matches!(self.sum, Sum::Waits) && self.look.len() >= MAX_LOOK {
            self.settle();
        } else if let Sum::Taken(sum) = &mut self.sum {
            sum.update(first);
        }
        if let Sum::Taken(sum) = &mut self.sum {
            sum.update(rest);
        }
    }

    /// It is clear by its first bytes what it is.
    fn settle(&mut self) {
        self.sum = if self.magic().is_file() {
            let mut sum = Context::new(&SHA256);
            sum.update(&self.look);
            Sum::Taken(Box::new(sum))
        } else {
            Sum::Left
        };
    }

    /// So many bytes of it are missing; of none, it is not known which are its own.
    pub fn gap(&mut self, n: u64) {
        self.len = self.len.saturating_add(n);
        (self.missing, self.sum) = (true, Sum::Left);
    }

    pub const fn len(&self) -> u64 {
        self.len
    }

    /// What it begins with.
    pub fn magic(&self) -> Magic {
        Magic::of(&self.look)
    }

    /// Facts of its first bytes.
    pub fn facts(&self) -> Option<PayloadFacts> {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        (!self.look.is_empty()).then(|| PayloadFacts::of(&self.look, len))
    }

    /// Bytes that hang on it.
    pub fn weight(&self) -> usize {
        let sum = if let Sum::Taken(_) = self.sum { size_of::<Context>() } else { 0 };
        self.look.capacity().saturating_add(sum).saturating_add(KEPT_PACKETS)
    }

    /// It ends: tells of it, if it is a file. `whole` says that nothing is missing behind what came.
    pub fn tell(&mut self, of: &Told<'_>, context: &mut ParseContext<'_>) {
        let magic = self.magic();
        // Of what is packed on its way its declared type says whether it is a page's.
        let is_packed = of.encoded && matches!(magic, Magic::Gzip | Magic::None);
        let magic = if is_packed { Magic::None } else { magic };
        let is_hidden = is_packed && of.declared.is_none_or(FileInfo::is_of_page);
        let least = if magic == Magic::None { SMALLEST } else { LEAST };
        let is_part = magic == Magic::None && of.declared.is_some_and(FileInfo::is_part_of_page);
        if is_hidden || is_part || !magic.is_file() || self.look.is_empty() || self.len < least {
            return;
        }
        if matches!(self.sum, Sum::Waits) {
            self.settle();
        }
        let whole = of.whole && !self.missing;
        let sum = std::mem::replace(&mut self.sum, Sum::Left);
        let sha256 = match sum {
            Sum::Taken(sum) if whole && !of.encoded => sum.finish().as_ref().try_into().ok(),
            _ => None,
        };
        let mut packets = self.packets.take();
        packets.extend(self.last.filter(|last| packets.last() != Some(last)));
        let name = of.name.map(|n| text(n.as_bytes(), MAX_NAME)).filter(|n| !n.is_empty());
        let mut head = context.flow.head(self.began.unwrap_or(context.ts), context.at);
        head.tuple.resp = of.remote.unwrap_or(head.tuple.resp);
        context.out.records.push(Record::File(Box::new(FileInfo {
            head,
            from: of.from,
            carrier: of.carrier,
            name,
            declared: of.declared.map(str::to_owned),
            magic,
            len: self.len,
            whole,
            sha256,
            packets,
        })));
    }
}

/// What is known of a file beside its bytes.
pub struct Told<'a> {
    pub from: Direction,
    pub carrier: Service,
    pub name: Option<&'a str>,
    pub declared: Option<&'a str>,
    /// Whether the bytes are compressed on their way, and not the file's own.
    pub encoded: bool,
    /// Whether nothing is missing behind what came.
    pub whole: bool,
    /// With whom a proxy in between was asked to speak.
    pub remote: Option<record::Endpoint>,
}

/// Whether a side that speaks alone sends a file: by what it begins with. What is packed alone (gzip) may be a message.
pub fn is_bare_file(heads: [&[u8]; 2]) -> bool {
    let ([bytes, []] | [[], bytes]) = heads else { return false };
    let magic = Magic::of(bytes);
    let packed = magic.is_archive() && magic != Magic::Gzip;
    magic.is_executable()
        || packed
        || matches!(magic, Magic::Pdf | Magic::Rtf | Magic::Flash | Magic::Firmware | Magic::Shortcut)
}

/// A file alone on a connection, as FTP's data connections have it, and whoever sends one without a word.
pub struct BareFile {
    content: Content,
    from: Option<Direction>,
}

impl BareFile {
    pub fn new(context: &ParseContext<'_>) -> Self {
        Self { content: Content::new(!context.out.unhashed && context.flow.start_seen), from: None }
    }
}

impl Protocol for BareFile {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        // Who answers speaks a protocol.
        if *self.from.get_or_insert(from) != from {
            return Step::Over;
        }
        self.content.take(bytes, (context.ts, context.packet));
        Step::More
    }

    fn gap(&mut self, from: Direction, bytes: u64, _: &mut ParseContext<'_>) -> Step {
        if self.from == Some(from) {
            self.content.gap(bytes);
        }
        Step::More
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        let Some(from) = self.from else { return };
        let [orig, resp] = context.flow.ended;
        let whole = context.flow.start_seen && if from == Direction::Orig { orig } else { resp };
        let of = Told {
            from,
            carrier: Service::Unknown,
            name: None,
            declared: None,
            encoded: false,
            whole,
            remote: None,
        };
        self.content.tell(&of, context);
    }

    fn weight(&self) -> usize {
        self.content.weight()
    }
}
