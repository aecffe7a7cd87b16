//! Protocols that turn into TLS on request: IMAP, POP3, NNTP, FTP, XMPP, LDAP, RDP and databases.
//!
//! Their words are not read; what is watched for is the hello that begins a piece of the client's stream.

use record::Direction;

use crate::outbox::ParseContext;
use crate::protocol::{Protocol, Step};
use crate::tls::TlsSession;

/// Pieces of a stream after which nobody turns to TLS any more; logins take fewer (*assumed*).
const MAX_PIECES: u8 = 32;

/// A protocol that may turn into TLS.
#[derive(Debug, Default)]
pub struct Upgradable {
    pieces: u8,
}

impl Protocol for Upgradable {
    fn data(&mut self, from: Direction, bytes: &[u8], _: &mut ParseContext<'_>) -> Step {
        self.pieces = self.pieces.saturating_add(1);
        if from == Direction::Orig && is_hello(bytes) {
            return Step::Begins(Box::<TlsSession>::default());
        }
        Step::more(self.pieces < MAX_PIECES)
    }

    fn weight(&self) -> usize {
        0
    }
}

/// A handshake record that holds a client's hello.
pub fn is_hello(b: &[u8]) -> bool {
    matches!(b, [0x16, 3, 0..=4, l0, l1, 1, 0, ..] if (4..=16_384).contains(&u16::from_be_bytes([*l0, *l1])))
}
