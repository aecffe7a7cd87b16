//! Which packets belong together?
//!
//! A bidirectional flow table whose only clock is packet time. It puts TCP streams back in order within bounds, names
//! overlaps and gaps, marks flows that were picked up in their middle, and tells each flow's life in [`record::Conn`]s.
//! What the bytes mean is somebody else's question: they are handed to a [`Sessions`].
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod fuzz;
mod history;
mod key;
mod order;
mod state;
mod stream;
mod table;
mod tcp;
mod timer;

pub use fuzz::fuzz_follow;
pub use key::{hash_of, shard_of};
pub use table::{Arrival, FlowTable, Limits, Sessions};

#[cfg(test)]
mod tests;
