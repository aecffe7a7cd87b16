//! What is listened to, and how.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::filter::Filter;

/// What is listened to, and how.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The interfaces, by name, and what the kernel leaves out of each.
    pub interfaces: Vec<(String, Filter)>,
    /// Where exporters of flows send to.
    pub exporters: Vec<SocketAddr>,
    /// Pipes that captures are written to: named ones, and standard input (`-`), which has one writer.
    pub pipes: Vec<PathBuf>,
    /// Whether it ends where only pipes are listened to and none has a writer any more.
    pub ends: bool,
    /// Bytes of the rings of all interfaces together.
    pub ring: usize,
    /// Whether frames for others are wanted.
    pub promiscuous: bool,
}

impl Listening {
    /// Whether a pipe is standard input.
    pub fn is_standard_input(path: &Path) -> bool {
        path.as_os_str() == "-"
    }
}

/// How a ring is set up.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // Where there is none.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Bytes of a block: a multiple of the page, and room for the largest packet.
    pub block: usize,
    /// Blocks.
    pub blocks: usize,
    /// How long a packet waits for others in its block, in milliseconds.
    pub patience_ms: u32,
    /// Whether frames for others are wanted.
    pub promiscuous: bool,
}

/// A packet that came in.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Nanoseconds since 1970.
    pub ns: i64,
    /// Bytes on the wire, without the tag that was taken out.
    pub original: u32,
    /// The VLAN tag that the kernel took out: type and contents.
    pub vlan: Option<[u16; 2]>,
    /// Whether this machine sent it.
    pub outgoing: bool,
    /// Its link type (LINKTYPE_…), where it has one of its own.
    pub link: Option<u32>,
    /// What was captured.
    pub bytes: &'a [u8],
}
