//! SMB 1 (MS-CIFS, MS-SMB).

use record::{Direction, SmbOddity};

use super::{Asked, Book, MAX_NAME, What};
use crate::cutter::{le16, le32, upto};
use crate::ntlm::{self, Login, utf16};
use crate::outbox::{ParseContext, text};

/// The header (MS-CIFS §2.2.3.1).
const HEADER: usize = 32;
/// Commands in one message (AndX): clients put two or three together.
const MAX_CHAIN: usize = 4;
/// `SMB_FLAGS_REPLY`, `SMB_FLAGS2_NT_STATUS`, `SMB_FLAGS2_UNICODE`.
const REPLY: u8 = 0x80;
const NT_STATUS: u16 = 0x4000;
const UNICODE: u16 = 0x8000;
/// What is told where a server answers with an error of DOS (MS-ERREF §2.3.1, `STATUS_UNSUCCESSFUL`).
const UNSUCCESSFUL: u32 = 0xc000_0001;
/// The reserved function of `SMB_COM_TRANSACTION2` (§2.2.6.15).
const SESSION_SETUP: u16 = 0x000e;
/// Functions of pipes (§2.2.5.5, §2.2.5.6).
const PEEK_NMPIPE: u16 = 0x0023;
const TRANSACT_NMPIPE: u16 = 0x0026;

const CLOSE: u8 = 0x04;
const WRITE: u8 = 0x0b;
const TRANSACTION: u8 = 0x25;
const TRANSACTION_SECONDARY: u8 = 0x26;
const OPEN_ANDX: u8 = 0x2d;
const READ_ANDX: u8 = 0x2e;
const WRITE_ANDX: u8 = 0x2f;
const TRANSACTION2: u8 = 0x32;
const TRANSACTION2_SECONDARY: u8 = 0x33;
const TREE_DISCONNECT: u8 = 0x71;
const NEGOTIATE: u8 = 0x72;
const SESSION_SETUP_ANDX: u8 = 0x73;
const TREE_CONNECT_ANDX: u8 = 0x75;
const NT_TRANSACT: u8 = 0xa0;
const NT_TRANSACT_SECONDARY: u8 = 0xa1;
const NT_CREATE_ANDX: u8 = 0xa2;

/// What a header says.
struct Header {
    status: u32,
    unicode: bool,
    tree: u32,
    /// Who asked, and its number for it.
    id: u64,
}

impl Header {
    /// The key of a question: commands of one message share a number.
    fn key(&self, command: u8) -> u64 {
        u64::from(command) << 32 | self.id
    }
}

/// One command: its words, and where its bytes begin in the message.
struct Block<'a> {
    message: &'a [u8],
    words: &'a [u8],
    bytes_at: usize,
}

impl<'a> Block<'a> {
    fn at(message: &'a [u8], at: usize) -> Option<Self> {
        let count = usize::from(*message.get(at)?);
        let words_at = at.checked_add(1)?;
        let words = message.get(words_at..)?.get(..count.checked_mul(2)?)?;
        Some(Self { message, words, bytes_at: words_at.checked_add(words.len())?.checked_add(2)? })
    }

    fn u16(&self, at: usize) -> Option<u16> {
        le16(self.words, at)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        le32(self.words, at)
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.words.get(at).copied()
    }

    /// What lies at an offset from the message's header.
    fn data(&self, offset: u16, length: usize) -> &'a [u8] {
        upto(self.message, offset.into(), length)
    }

    /// A string at so many bytes behind the words, and where it ends; UTF-16 begins at an even place (§2.2.1.1).
    fn string(&self, skip: usize, unicode: bool) -> (String, usize) {
        let mut at = self.bytes_at.saturating_add(skip);
        if unicode {
            at = at.saturating_add(at & 1);
            let bytes = upto(self.message, at, MAX_NAME);
            let name = utf16(bytes);
            let units = name.encode_utf16().count().saturating_add(1);
            (name, at.saturating_add(units.saturating_mul(2)).saturating_sub(self.bytes_at))
        } else {
            let bytes = upto(self.message, at, MAX_NAME);
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            let name = text(bytes.get(..end).unwrap_or_default(), MAX_NAME);
            (name, at.saturating_add(end).saturating_add(1).saturating_sub(self.bytes_at))
        }
    }
}

/// Reads a message.
pub fn read(book: &mut Book, from: Direction, body: &[u8], context: &mut ParseContext<'_>) -> Option<()> {
    let flags2 = le16(body, 10)?;
    let status = le32(body, 5)?;
    let header = Header {
        status: if flags2 & NT_STATUS != 0 || status == 0 { status } else { UNSUCCESSFUL },
        unicode: flags2 & UNICODE != 0,
        tree: le16(body, 24)?.into(),
        id: u64::from(le16(body, 26)?) << 16 | u64::from(le16(body, 30)?),
    };
    let reply = *body.get(9)? & REPLY != 0;
    if reply != (from == Direction::Resp) {
        return None;
    }
    let (mut command, mut at) = (*body.get(4)?, HEADER);
    for _ in 0..MAX_CHAIN {
        // A server that refuses sends no words.
        let block = Block::at(body, at)?;
        // A command that is cut tells nothing.
        let _ = if reply {
            answer(book, command, &header, &block, context)
        } else {
            request(book, command, &header, &block, context)
        };
        let chained = matches!(
            command,
            OPEN_ANDX | READ_ANDX | WRITE_ANDX | SESSION_SETUP_ANDX | TREE_CONNECT_ANDX | NT_CREATE_ANDX
        );
        let (next, offset) = (block.u8(0)?, block.u16(2)?);
        if !chained || next == 0xff || usize::from(offset) <= at {
            break;
        }
        (command, at) = (next, offset.into());
    }
    Some(())
}

fn request(
    book: &mut Book,
    command: u8,
    h: &Header,
    b: &Block<'_>,
    context: &mut ParseContext<'_>,
) -> Option<()> {
    let key = h.key(command);
    match command {
        SESSION_SETUP_ANDX => book.ask(key, What::LogOn(login(h, b)), context),
        TREE_CONNECT_ANDX => {
            let (path, _) = b.string(b.u16(6)?.into(), h.unicode);
            book.ask(key, What::Tree(path), context);
        }
        TREE_DISCONNECT => {
            book.trees.remove(&h.tree);
        }
        NT_CREATE_ANDX | OPEN_ANDX => book.create(key, Some(h.tree), b.string(0, h.unicode).0, context),
        CLOSE => book.close(b.u16(0)?.into(), context),
        READ_ANDX => book.ask(key, What::Read(b.u16(4)?.into(), b.u32(6)?.into()), context),
        WRITE_ANDX => {
            let length = u32::from(b.u16(18)?) << 16 | u32::from(b.u16(20)?);
            let high = u64::from(b.u32(24).unwrap_or(0)) << 32;
            let offset = high | u64::from(b.u32(6)?);
            let data = b.data(b.u16(22)?, length as usize);
            book.passes(Direction::Orig, b.u16(4)?.into(), offset, data, length.into(), context);
        }
        WRITE => {
            // The bytes begin with their format and length (§2.2.4.12.1).
            let length = b.u16(2)?;
            let data = upto(b.message, b.bytes_at.checked_add(3)?, length.into());
            book.passes(Direction::Orig, b.u16(0)?.into(), b.u32(4)?.into(), data, length.into(), context);
        }
        TRANSACTION => {
            let (function, handle) = (b.u16(28), b.u16(30).map(u128::from));
            match (function, handle) {
                (Some(TRANSACT_NMPIPE), Some(handle)) => {
                    let length = b.u16(22)?;
                    let data = b.data(b.u16(24)?, length.into());
                    book.calls(Direction::Orig, handle, data, length.into(), context);
                    book.ask(key, What::Pipe(handle), context);
                }
                (Some(PEEK_NMPIPE), Some(handle)) => {
                    if context.flow.start_seen && !book.missing && !book.pipes.contains_key(&handle) {
                        book.odd(SmbOddity::PeekUnopened, Some(h.tree), context);
                    }
                    book.ask(key, What::Transaction(false), context);
                }
                _ => book.ask(key, What::Transaction(false), context),
            }
        }
        TRANSACTION2 => {
            let reserved = b.u8(26)? > 0 && b.u16(28)? == SESSION_SETUP;
            if reserved {
                book.odd(SmbOddity::ReservedFunction, Some(h.tree), context);
            }
            book.ask(key, What::Transaction(reserved), context);
        }
        NT_TRANSACT => book.ask(key, What::Transaction(false), context),
        TRANSACTION_SECONDARY | TRANSACTION2_SECONDARY | NT_TRANSACT_SECONDARY => {
            let own = command.saturating_sub(1);
            let others = [TRANSACTION, TRANSACTION2, NT_TRANSACT].into_iter().filter(|c| *c != own);
            let goes_on = |c: u8| book.asked.contains_key(&h.key(c));
            if !goes_on(own) && others.into_iter().any(goes_on) {
                book.odd(SmbOddity::MixedTransaction, Some(h.tree), context);
            }
        }
        _ => {}
    }
    Some(())
}

/// Who logs on: by NTLM (MS-SMB §2.2.4.6.1), or by name in the older form (MS-CIFS §2.2.4.53.1).
fn login(h: &Header, b: &Block<'_>) -> Option<Login> {
    let length = usize::from(b.u16(14)?);
    if b.words.len() == 24 {
        return ntlm::login(upto(b.message, b.bytes_at, length));
    }
    if b.words.len() != 26 {
        return None;
    }
    let passwords = length.saturating_add(b.u16(16)?.into());
    let (user, end) = b.string(passwords, h.unicode);
    let (domain, _) = b.string(end, h.unicode);
    Some(Login { domain, user, workstation: String::new() })
}

fn answer(
    book: &mut Book,
    command: u8,
    h: &Header,
    b: &Block<'_>,
    context: &mut ParseContext<'_>,
) -> Option<()> {
    let key = h.key(command);
    if command == NEGOTIATE {
        if h.status == 0 && b.u16(0)? != u16::MAX {
            book.dialect = 1;
        }
        return Some(());
    }
    // A server asks for the rest of a transaction with an answer that says nothing (§3.3.5.2.4).
    let transaction = matches!(command, TRANSACTION | TRANSACTION2 | NT_TRANSACT);
    if transaction && h.status == 0 && b.words.is_empty() && book.asked.contains_key(&key) {
        return None;
    }
    let Some(asked) = book.asked.remove(&key) else {
        let reserved = |a: &Asked| matches!(a.what, What::Transaction(true));
        if command == TRANSACTION2 && book.asked.values().any(reserved) {
            book.odd(SmbOddity::UnaskedAnswer, Some(h.tree), context);
        }
        return None;
    };
    let refused = h.status >> 30 == 3;
    match (command, asked.what) {
        (SESSION_SETUP_ANDX, what) => book.logged_on(Asked { what, ..asked }, h.status, context),
        (TREE_CONNECT_ANDX, what) => book.connected(Asked { what, ..asked }, h.tree, h.status, context),
        (NT_CREATE_ANDX, What::Create(file, closes)) => {
            book.created(*file, closes, b.u16(5).map(u128::from), h.status, context);
        }
        (OPEN_ANDX, What::Create(file, closes)) => {
            book.created(*file, closes, b.u16(4).map(u128::from), h.status, context);
        }
        (READ_ANDX, What::Read(handle, at)) if !refused => {
            let length = u32::from(b.u16(14)?) << 16 | u32::from(b.u16(10)?);
            let data = b.data(b.u16(12)?, length as usize);
            book.passes(Direction::Resp, handle, at, data, length.into(), context);
        }
        (TRANSACTION, What::Pipe(handle)) if !refused => {
            let length = b.u16(12)?;
            let data = b.data(b.u16(14)?, length.into());
            book.passes(Direction::Resp, handle, 0, data, length.into(), context);
        }
        _ => {}
    }
    Some(())
}
