//! SMB (MS-CIFS, MS-SMB, MS-SMB2) over TCP (MS-SMB2 §2.1) or NetBIOS sessions (RFC 1002 §4.3): who logs on, which shares, files and pipes are
//! opened, what is moved and what it begins with. What a transfer carries is skipped by its length.

mod smb1;
mod smb2;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use record::{Direction, Magic, PacketId, Record, Smb, SmbAct, SmbOddity, Timestamp};

use crate::cutter::{Cut, Cutter};
use crate::dcerpc::Conversation;
use crate::ntlm::Login;
use crate::outbox::{Packets, ParseContext};
use crate::protocol::{Protocol, Step};

/// The header of a session's packet: its type, and three bytes of length.
const HEADER: usize = 4;
/// Bytes kept of a message: every request but the data of a transfer, and some of that.
const MAX_KEPT: usize = 4096;
/// Shares, files, pipes and questions remembered of one connection; Windows lets a client ask some hundred at once, of which few open something.
const MAX_TREES: usize = 64;
const MAX_FILES: usize = 128;
const MAX_PIPES: usize = 16;
const MAX_ASKED: usize = 128;
/// What is told of one connection, beside programs that are moved; and those.
const MAX_TOLD: usize = 256;
const MAX_PROGRAMS: usize = 256;
/// Bytes of a name that are read: 260 characters (MAX_PATH) of UTF-16.
const MAX_NAME: usize = 520;
/// About what a file, a share or a question takes with its names.
const ENTRY: usize = 320;
/// An answer that is none yet (MS-ERREF §2.3.1).
const STATUS_PENDING: u32 = 0x0000_0103;
const STATUS_MORE_PROCESSING_REQUIRED: u32 = 0xc000_0016;

/// A file that is open, or that a client asks to open.
#[derive(Debug)]
struct File {
    share: Option<String>,
    name: String,
    ts: Timestamp,
    status: Option<u32>,
    moved: [u64; 2],
    begins: [Magic; 2],
    packets: Packets,
}

/// What a client asked for.
#[derive(Debug)]
enum What {
    LogOn(Option<Login>),
    Tree(String),
    /// A file or pipe, and whether it is to be closed at once.
    Create(Box<File>, bool),
    /// The next bytes of a file, from an offset.
    Read(u128, u64),
    /// The answer of a pipe.
    Pipe(u128),
    /// A transaction of SMB1, and whether its function is one that nobody implements.
    Transaction(bool),
}

#[derive(Debug)]
struct Asked {
    what: What,
    ts: Timestamp,
    packet: PacketId,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Book {
    dialect: u16,
    user: Option<String>,
    workstation: Option<String>,
    trees: BTreeMap<u32, String>,
    files: BTreeMap<u128, File>,
    pipes: BTreeMap<u128, Conversation>,
    asked: BTreeMap<u64, Asked>,
    told: usize,
    programs: usize,
    once: BTreeSet<SmbAct>,
    /// Bytes of it were not captured: what was not seen may have been asked.
    missing: bool,
}

impl Book {
    fn row(&self, act: SmbAct, ts: Timestamp, context: &ParseContext<'_>) -> Box<Smb> {
        Box::new(Smb {
            head: context.flow.head(ts, context.at),
            dialect: self.dialect,
            act,
            user: self.user.clone(),
            workstation: None,
            share: None,
            name: None,
            status: None,
            moved: [0; 2],
            begins: [Magic::None; 2],
            packets: Vec::new(),
        })
    }

    fn tell(&mut self, row: Box<Smb>, context: &mut ParseContext<'_>) {
        let program = row.begins.iter().any(|m| m.is_executable());
        let (count, most) =
            if program { (&mut self.programs, MAX_PROGRAMS) } else { (&mut self.told, MAX_TOLD) };
        if *count < most {
            *count = count.saturating_add(1);
            context.out.records.push(Record::Smb(row));
        }
    }

    /// Tells something that is told once of a connection.
    fn tell_once(&mut self, act: SmbAct, tree: Option<u32>, context: &mut ParseContext<'_>) {
        if self.once.insert(act) {
            let mut row = self.row(act, context.ts, context);
            row.share = tree.and_then(|t| self.trees.get(&t).cloned());
            row.packets = vec![context.packet];
            context.out.records.push(Record::Smb(row));
        }
    }

    fn odd(&mut self, oddity: SmbOddity, tree: Option<u32>, context: &mut ParseContext<'_>) {
        self.tell_once(SmbAct::Odd(oddity), tree, context);
    }

    fn ask(&mut self, key: u64, what: What, context: &ParseContext<'_>) {
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&key) {
            self.asked.pop_first();
        }
        self.asked.insert(key, Asked { what, ts: context.ts, packet: context.packet });
    }

    /// The client wants to open something.
    fn create(&mut self, key: u64, tree: Option<u32>, name: String, context: &ParseContext<'_>) {
        let mut file = File {
            share: tree.and_then(|t| self.trees.get(&t).cloned()),
            name,
            ts: context.ts,
            status: None,
            moved: [0; 2],
            begins: [Magic::None; 2],
            packets: Packets::default(),
        };
        file.packets.add(context.packet);
        self.ask(key, What::Create(Box::new(file), false), context);
    }

    /// The server opened it under a handle, or did not.
    fn created(
        &mut self,
        file: File,
        closes: bool,
        handle: Option<u128>,
        status: u32,
        context: &mut ParseContext<'_>,
    ) {
        let file = File { status: Some(status), ..file };
        let Some(handle) = handle.filter(|_| !closes && status >> 30 != 3) else {
            self.tell_file(file, context);
            return;
        };
        let is_pipe = file.share.as_deref().is_some_and(is_pipes);
        if is_pipe {
            self.open_pipe(handle, Some(file.name.clone()), context);
            self.tell_file(file, context);
            return;
        }
        if self.files.len() >= MAX_FILES
            && !self.files.contains_key(&handle)
            && let Some((_, oldest)) = self.files.pop_first()
        {
            self.tell_file(oldest, context);
        }
        if let Some(before) = self.files.insert(handle, file) {
            self.tell_file(before, context);
        }
    }

    fn open_pipe(&mut self, handle: u128, name: Option<String>, context: &mut ParseContext<'_>) {
        if self.pipes.len() >= MAX_PIPES
            && !self.pipes.contains_key(&handle)
            && let Some((_, mut oldest)) = self.pipes.pop_first()
        {
            oldest.end(context);
        }
        if let Some(mut before) = self.pipes.insert(handle, Conversation::new(name, self.user.clone())) {
            before.end(context);
        }
    }

    fn tell_file(&mut self, mut file: File, context: &mut ParseContext<'_>) {
        let act = if file.moved == [0, 0] { SmbAct::Open } else { SmbAct::Transfer };
        let row = Smb {
            share: file.share,
            name: Some(file.name),
            status: file.status,
            moved: file.moved,
            begins: file.begins,
            packets: file.packets.take(),
            ..*self.row(act, file.ts, context)
        };
        self.tell(Box::new(row), context);
    }

    /// A handle is closed.
    fn close(&mut self, handle: u128, context: &mut ParseContext<'_>) {
        if let Some(file) = self.files.remove(&handle) {
            self.tell_file(file, context);
        }
        if let Some(mut pipe) = self.pipes.remove(&handle) {
            pipe.end(context);
        }
    }

    /// Bytes of a file or pipe pass; `whole` of them, of which these were kept, from an offset.
    fn passes(
        &mut self,
        from: Direction,
        handle: u128,
        offset: u64,
        kept: &[u8],
        whole: u64,
        context: &mut ParseContext<'_>,
    ) {
        if let Some(pipe) = self.pipes.get_mut(&handle) {
            pipe.data(from, kept, context);
            let rest = whole.saturating_sub(kept.len() as u64);
            if rest > 0 {
                pipe.gap(from, rest);
            }
        } else if let Some(file) = self.files.get_mut(&handle) {
            file.passes(from, offset, kept, whole, context.packet);
        }
    }

    /// The same of a call: a pipe whose opening was not seen is one all the same.
    fn calls(
        &mut self,
        from: Direction,
        handle: u128,
        kept: &[u8],
        whole: u64,
        context: &mut ParseContext<'_>,
    ) {
        if !self.pipes.contains_key(&handle) {
            self.open_pipe(handle, None, context);
        }
        self.passes(from, handle, 0, kept, whole, context);
    }

    fn logged_on(&mut self, asked: Asked, status: u32, context: &mut ParseContext<'_>) {
        let What::LogOn(login) = asked.what else { return };
        if status == STATUS_MORE_PROCESSING_REQUIRED {
            return;
        }
        let before = self.user.take();
        self.user = login.as_ref().map(Login::account);
        let mut row = self.row(SmbAct::LogOn, asked.ts, context);
        row.workstation = login.map(|l| l.workstation);
        (row.status, row.packets) = (Some(status), vec![asked.packet, context.packet]);
        if status == 0 {
            self.workstation.clone_from(&row.workstation);
        } else {
            self.user = before;
        }
        self.tell(row, context);
    }

    fn connected(&mut self, asked: Asked, tree: u32, status: u32, context: &mut ParseContext<'_>) {
        let What::Tree(path) = asked.what else { return };
        if status >> 30 != 3 && (self.trees.len() < MAX_TREES || self.trees.contains_key(&tree)) {
            self.trees.insert(tree, path.clone());
        }
        let mut row = self.row(SmbAct::Connect, asked.ts, context);
        (row.share, row.status) = (Some(path), Some(status));
        row.packets = vec![asked.packet, context.packet];
        self.tell(row, context);
    }

    /// A whole message, of which the first bytes were kept.
    fn message(&mut self, from: Direction, bytes: &[u8], whole: usize, context: &mut ParseContext<'_>) {
        let (Some((kind, _)), Some(body)) = (bytes.split_first(), bytes.get(HEADER..)) else { return };
        let whole = whole.saturating_sub(HEADER);
        match body {
            // Requests and answers of NetBIOS sessions, and what keeps them alive (RFC 1002 §4.3).
            _ if *kind != 0 || whole == 0 => {}
            [0xff, b'S', b'M', b'B', ..] => {
                smb1::read(self, from, body, context);
            }
            [0xfe, b'S', b'M', b'B', ..] => {
                smb2::read(self, from, body, context);
            }
            [0xfd, b'S', b'M', b'B', ..] => self.tell_once(SmbAct::Encrypted, None, context),
            [0xfc, b'S', b'M', b'B', ..] => smb2::compressed(self, from, body, whole, context),
            _ => self.foreign(from, context),
        }
    }

    /// No message begins where one has to.
    fn foreign(&mut self, from: Direction, context: &mut ParseContext<'_>) {
        if from == Direction::Orig && !self.missing && context.flow.start_seen {
            self.odd(SmbOddity::Foreign, None, context);
        }
        // It is not known what is said from here on.
        self.missing = true;
    }
}

impl File {
    fn passes(&mut self, from: Direction, offset: u64, kept: &[u8], whole: u64, packet: PacketId) {
        let ([to, back], [written, read]) = (&mut self.moved, &mut self.begins);
        let (moved, begins) = if from == Direction::Orig { (to, written) } else { (back, read) };
        *moved = moved.saturating_add(whole);
        if offset == 0 && *begins == Magic::None && !kept.is_empty() {
            *begins = Magic::of(kept);
            self.packets.add(packet);
        }
    }
}

/// Whether a share is that of named pipes.
fn is_pipes(share: &str) -> bool {
    let name = share.rsplit('\\').next().unwrap_or_default();
    name.eq_ignore_ascii_case("IPC$")
}

/// The whole length of a session's packet (RFC 1002 §4.3.1; over TCP alone the length has 24 bits, MS-SMB2 §2.1).
fn packet_length(b: &[u8]) -> Option<usize> {
    match b {
        [0, high, a, b, ..] => Some(u32::from_be_bytes([0, *high, *a, *b]) as usize),
        [0x81..=0x85, high @ (0 | 1), a, b, ..] => Some(u32::from_be_bytes([0, *high, *a, *b]) as usize),
        _ => None,
    }
    .map(|n| n.saturating_add(HEADER))
}

/// Where the next message begins in a stream of which a part is missing.
fn resync(bytes: &[u8]) -> &[u8] {
    let begins = |w: &[u8]| matches!(w, [0, _, _, _, 0xfc..=0xff, b'S', b'M', b'B']);
    let at = bytes.windows(8).position(begins);
    at.and_then(|at| bytes.get(at..)).unwrap_or_default()
}

/// One connection.
pub struct SmbSession {
    cutters: [Cutter; 2],
    /// A part of the side's stream is missing, and no message was found since.
    adrift: [bool; 2],
    book: Book,
}

impl Default for SmbSession {
    fn default() -> Self {
        let cutter = || Cutter::new(HEADER, MAX_KEPT);
        Self { cutters: [cutter(), cutter()], adrift: [false; 2], book: Book::default() }
    }
}

impl SmbSession {
    /// A side's cutter, and whether it is adrift.
    fn side(&mut self, from: Direction) -> (&mut Cutter, &mut bool, &mut Book) {
        let ([orig, resp], [orig_adrift, resp_adrift]) = (&mut self.cutters, &mut self.adrift);
        if from == Direction::Orig {
            (orig, orig_adrift, &mut self.book)
        } else {
            (resp, resp_adrift, &mut self.book)
        }
    }
}

impl Protocol for SmbSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        let (cutter, adrift, book) = self.side(from);
        let mut rest = bytes;
        if *adrift {
            rest = resync(rest);
            *adrift = rest.is_empty();
        }
        while let Some(cut) = cutter.next(&mut rest, packet_length) {
            match cut {
                Cut::Message(head, whole) => book.message(from, head, whole, context),
                Cut::Lost => {
                    book.foreign(from, context);
                    rest = resync(rest);
                    *adrift = rest.is_empty();
                }
            }
        }
        Step::More
    }

    fn gap(&mut self, from: Direction, bytes: u64, _: &mut ParseContext<'_>) -> Step {
        let (cutter, adrift, book) = self.side(from);
        book.missing = true;
        if !cutter.gap(bytes) {
            *adrift = true;
        }
        Step::More
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        let book = &mut self.book;
        for (_, asked) in std::mem::take(&mut book.asked) {
            match asked.what {
                What::Create(file, _) => book.tell_file(*file, context),
                What::Tree(path) => {
                    let mut row = book.row(SmbAct::Connect, asked.ts, context);
                    (row.share, row.packets) = (Some(path), vec![asked.packet]);
                    book.tell(row, context);
                }
                _ => {}
            }
        }
        for file in std::mem::take(&mut book.files).into_values() {
            book.tell_file(file, context);
        }
        for mut pipe in std::mem::take(&mut book.pipes).into_values() {
            pipe.end(context);
        }
    }

    fn weight(&self) -> usize {
        let b = &self.book;
        let entries = b.trees.len().saturating_add(b.files.len()).saturating_add(b.asked.len());
        let pipes = b.pipes.values().map(|p| size_of::<Conversation>().saturating_add(p.weight()));
        let heads = self.cutters.iter().map(Cutter::weight);
        pipes.chain(heads).fold(entries.saturating_mul(ENTRY), usize::saturating_add)
    }
}
