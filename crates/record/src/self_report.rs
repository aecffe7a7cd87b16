//! What a client tells of the machine that it runs on and of who uses it, in a protocol that nobody knows or in a mail.

use serde::{Deserialize, Serialize};

use crate::{Head, PacketId, Service};

/// A message in which a client names the system that it runs on, or tells passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfReport {
    /// `ts` is when the message came.
    pub head: Head,
    /// What it is told in: SMTP, or anything that nobody knows.
    pub within: Service,
    /// The system, as it puts it (`Windows 7 Professional`) or as a structure of Windows says (`Windows 6.1 build 7601`).
    pub system: Option<String>,
    /// How many pairs of somebody's name and password it lists: so often as both are announced (`User: … Password: …`).
    pub passwords: u32,
    /// Whether its own address stands there too, in words or in four bytes.
    pub own_address: bool,
    /// Whether it stood in what zlib had packed behind a header.
    pub unpacked: bool,
    /// What can be read in the message, at most 256 characters; nothing where it tells passwords.
    pub text: String,
    /// Its packet.
    pub packets: Vec<PacketId>,
}
