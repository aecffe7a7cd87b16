//! Recognition by content, on any port.
//!
//! A recogniser may say yes only on what random bytes say with a chance well below 2⁻¹⁶, because what is recognised
//! is not called opaque any more. Where a protocol's own marks are weaker, its port must agree, and the comment says so.

mod tcp;
mod trades;
mod udp;

use record::{FlowFacts, Service};

pub use tcp::stream;
pub use udp::datagram;

/// What recognition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It is this.
    Is(Service),
    /// It may yet turn out to be something.
    Maybe,
    /// Nothing fits, and more bytes will not help.
    No,
}

/// Whether either end of the flow has `port`.
fn on_port(flow: &FlowFacts, port: u16) -> bool {
    flow.tuple.orig.port == port || flow.tuple.resp.port == port
}

/// Whether it begins with one of these words.
fn starts(b: &[u8], words: &[&str]) -> bool {
    words.iter().any(|w| b.starts_with(w.as_bytes()))
}

/// Whether these bytes stand anywhere in it.
fn has(b: &[u8], needle: &[u8]) -> bool {
    b.windows(needle.len()).any(|w| w == needle)
}
