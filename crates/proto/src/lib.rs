//! Which protocol is this really, whatever the port?
//!
//! A [`Session`] belongs to one flow. It first *recognises* the protocol by content (`recognise`), then hands the
//! bytes to that protocol's parser, and puts what it understands into the [`Outbox`] as records. Parsers are pure and
//! lenient: they return what they understood and name the anomaly. Nothing here panics on any bytes.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod content;
mod cursor;
mod cutter;
mod dcerpc;
mod dhcp;
mod dns;
mod exports;
mod framing;
mod http;
mod irc;
mod keystream;
mod lines;
mod names;
mod ntlm;
mod outbox;
mod protocol;
mod quic;
mod recognise;
mod relay;
mod self_report;
mod session;
mod smb;
mod smtp;
mod ssh;
mod starttls;
mod tls;

pub use outbox::Outbox;
pub use session::{Session, fuzz_protocol, fuzz_session};

#[cfg(test)]
mod tests;
