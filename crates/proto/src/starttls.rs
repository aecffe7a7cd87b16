//! Protocols that turn into TLS on request: IMAP, POP3, NNTP, FTP, XMPP, LDAP, RDP and databases.
//!
//! Their words are not read; what is watched for is the hello that begins a piece of the client's stream.

use record::Direction;

/// Pieces of a stream after which nobody turns to TLS any more; logins take fewer (*assumed*).
const MAX_PIECES: u8 = 32;

/// A protocol that may turn into TLS.
#[derive(Debug, Default)]
pub struct Upgradable {
    pieces: u8,
}

impl Upgradable {
    /// Looks at a piece: whether TLS begins with it, and whether it is worth looking further.
    pub fn data(&mut self, from: Direction, bytes: &[u8]) -> (bool, bool) {
        self.pieces = self.pieces.saturating_add(1);
        let hello = from == Direction::Orig && is_hello(bytes);
        (hello, self.pieces < MAX_PIECES)
    }
}

/// A handshake record that holds a client's hello.
pub fn is_hello(b: &[u8]) -> bool {
    matches!(b, [0x16, 3, 0..=4, l0, l1, 1, 0, ..] if (4..=16_384).contains(&u16::from_be_bytes([*l0, *l1])))
}
