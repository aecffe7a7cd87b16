//! SMB 2 and 3 (MS-SMB2).

use record::{Direction, SmbOddity};

use super::{Book, File, MAX_NAME, STATUS_PENDING, What};
use crate::cutter::{le16, le32, le64, upto};
use crate::ntlm::{self, utf16};
use crate::outbox::ParseContext;

/// The length of a header, which says so itself (§2.2.1).
const HEADER: usize = 64;
/// Messages in one: clients put three or four together.
const MAX_COMPOUND: usize = 16;
/// The handle of what the message before in the same compound opened (§3.3.5.2.7.2).
const RELATED: u128 = u128::MAX;
/// `FSCTL_PIPE_TRANSCEIVE` (§2.2.31).
const PIPE_TRANSCEIVE: u32 = 0x0011_c017;
/// The dialect of a negotiation that goes on (§2.2.4).
const WILDCARD: u16 = 0x02ff;

/// One command of a message, as far as it was kept: offsets count from its header (§2.2).
struct Command<'a> {
    bytes: &'a [u8],
    key: u64,
    tree: Option<u32>,
    status: u32,
}

impl<'a> Command<'a> {
    /// A field of the body.
    fn u16(&self, at: usize) -> Option<u16> {
        le16(self.bytes, HEADER.checked_add(at)?)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        le32(self.bytes, HEADER.checked_add(at)?)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        le64(self.bytes, HEADER.checked_add(at)?)
    }

    fn handle(&self, at: usize) -> Option<u128> {
        let bytes = self.bytes.get(HEADER.checked_add(at)?..)?.first_chunk()?;
        Some(u128::from_le_bytes(*bytes))
    }

    /// What lies at an offset from the header.
    fn at(&self, offset: u32, length: u32) -> &'a [u8] {
        upto(self.bytes, offset as usize, length as usize)
    }

    fn name(&self, offset: u16, length: u16) -> String {
        utf16(self.at(offset.into(), u32::from(length).min(MAX_NAME as u32)))
    }
}

/// Reads a message.
pub fn read(book: &mut Book, from: Direction, body: &[u8], context: &mut ParseContext<'_>) -> Option<()> {
    let (mut rest, mut created) = (body, None);
    for _ in 0..MAX_COMPOUND {
        if le16(rest, 4)? != HEADER as u16 {
            if from == Direction::Orig {
                book.odd(SmbOddity::BrokenHeader, None, context);
            }
            return None;
        }
        let next = le32(rest, 20)? as usize;
        let (command, flags) = (le16(rest, 12)?, le32(rest, 16)?);
        let is_async = flags & 2 != 0;
        let c = Command {
            bytes: if next == 0 { rest } else { upto(rest, 0, next) },
            key: le64(rest, 24)?,
            tree: if is_async { None } else { le32(rest, 36) },
            status: le32(rest, 8)?,
        };
        // A command that is cut or that contradicts itself tells nothing; the next has a header of its own.
        let _ = match (from, flags & 1) {
            (Direction::Orig, 0) => request(book, command, &c, &mut created, context),
            (Direction::Resp, 1) => answer(book, command, &c, context),
            _ => None,
        };
        if next == 0 {
            break;
        }
        rest = rest.get(next..)?;
    }
    Some(())
}

/// The file of a handle, or the one that is being opened in the same compound.
fn pending(book: &mut Book, created: Option<u64>) -> Option<(&mut File, &mut bool)> {
    match &mut book.asked.get_mut(&created?)?.what {
        What::Create(file, closes) => Some((file, closes)),
        _ => None,
    }
}

fn request(
    book: &mut Book,
    command: u16,
    c: &Command<'_>,
    created: &mut Option<u64>,
    context: &mut ParseContext<'_>,
) -> Option<()> {
    match command {
        // SESSION_SETUP (§2.2.5).
        1 => {
            let login = ntlm::login(c.at(c.u16(12)?.into(), c.u16(14)?.into()));
            book.ask(c.key, What::LogOn(login), context);
        }
        // TREE_CONNECT (§2.2.9).
        3 => book.ask(c.key, What::Tree(c.name(c.u16(4)?, c.u16(6)?)), context),
        // TREE_DISCONNECT (§2.2.11).
        4 => {
            book.trees.remove(&c.tree?);
        }
        // CREATE (§2.2.13).
        5 => {
            *created = Some(c.key);
            book.create(c.key, c.tree, c.name(c.u16(44)?, c.u16(46)?), context);
        }
        // CLOSE (§2.2.15).
        6 => match c.handle(8)? {
            RELATED => *pending(book, *created)?.1 = true,
            handle => book.close(handle, context),
        },
        // READ (§2.2.19).
        8 => book.ask(c.key, What::Read(c.handle(16)?, c.u64(8)?), context),
        // WRITE (§2.2.21).
        9 => {
            let (offset, length, at, handle) = (c.u16(2)?, c.u32(4)?, c.u64(8)?, c.handle(16)?);
            let data = c.at(offset.into(), length);
            if handle == RELATED {
                let packet = context.packet;
                pending(book, *created)?.0.passes(Direction::Orig, at, data, length.into(), packet);
            } else {
                book.passes(Direction::Orig, handle, at, data, length.into(), context);
            }
        }
        // IOCTL (§2.2.31).
        11 if c.u32(4)? == PIPE_TRANSCEIVE => {
            let (handle, offset, length) = (c.handle(8)?, c.u32(24)?, c.u32(28)?);
            book.calls(Direction::Orig, handle, c.at(offset, length), length.into(), context);
            book.ask(c.key, What::Pipe(handle), context);
        }
        _ => {}
    }
    Some(())
}

fn answer(book: &mut Book, command: u16, c: &Command<'_>, context: &mut ParseContext<'_>) -> Option<()> {
    if command == 0 {
        // NEGOTIATE (§2.2.4).
        let dialect = c.u16(4)?;
        if c.status == 0 && dialect != WILDCARD {
            book.dialect = dialect;
        }
        return Some(());
    }
    if c.status == STATUS_PENDING {
        return None;
    }
    let asked = book.asked.remove(&c.key)?;
    let refused = c.status >> 30 == 3;
    match (command, asked.what) {
        (1, what @ What::LogOn(_)) => book.logged_on(super::Asked { what, ..asked }, c.status, context),
        (3, what @ What::Tree(_)) => {
            book.connected(super::Asked { what, ..asked }, c.tree?, c.status, context);
        }
        (5, What::Create(file, closes)) => book.created(*file, closes, c.handle(64), c.status, context),
        (8, What::Read(handle, at)) if !refused => {
            let (offset, length) = (*c.bytes.get(HEADER.checked_add(2)?)?, c.u32(4)?);
            book.passes(Direction::Resp, handle, at, c.at(offset.into(), length), length.into(), context);
        }
        (11, What::Pipe(handle)) if !refused => {
            let (offset, length) = (c.u32(32)?, c.u32(36)?);
            book.passes(Direction::Resp, handle, 0, c.at(offset, length), length.into(), context);
        }
        _ => {}
    }
    Some(())
}

/// Looks at the header of a compressed message (§2.2.42): its data cannot begin behind its end.
pub fn compressed(
    book: &mut Book,
    from: Direction,
    body: &[u8],
    whole: usize,
    context: &mut ParseContext<'_>,
) {
    // Chained payloads have a length there (§2.2.42.2).
    let chained = le16(body, 10).is_some_and(|flags| flags & 1 != 0);
    let Some(offset) = le32(body, 12).filter(|_| !chained) else { return };
    if from == Direction::Orig && offset as usize > whole.saturating_sub(16) {
        book.odd(SmbOddity::BrokenHeader, None, context);
    }
}
