//! Messages that state their own length, in a protocol that nobody knows.

use serde::{Deserialize, Serialize};

use crate::{Head, PacketId};

/// Both sides of a TCP connection speak in messages that begin with their own length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framing {
    /// `ts` is when the connection began.
    pub head: Head,
    /// Messages of each side so far.
    pub messages: [u32; 2],
    /// Bytes of a message that stand before its length.
    pub before: u8,
    /// The packets in which it begins, and in which it showed.
    pub packets: Vec<PacketId>,
}

impl Framing {
    /// Messages of both sides together that show it (*assumed*).
    pub const LEAST: u32 = 4;
}
