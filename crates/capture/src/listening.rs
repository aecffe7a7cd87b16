//! What is listened to, and how.

use std::net::SocketAddr;

use crate::filter::Filter;

/// What is listened to, and how.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The interfaces, by name, and what the kernel leaves out of each.
    pub interfaces: Vec<(String, Filter)>,
    /// Where exporters of flows send to.
    pub exporters: Vec<SocketAddr>,
    /// Bytes of the rings of all interfaces together.
    pub ring: usize,
    /// Whether frames for others are wanted.
    pub promiscuous: bool,
}
