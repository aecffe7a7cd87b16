//! Who is told, and what if nobody answers?
//!
//! Hosts that turned, as `listen --json` gives them, are handed to sinks: files, syslog, mail, webhooks, programs. Each sink has a thread and a
//! file of what it still owes: whoever hangs or fails keeps nobody else waiting, and what was not delivered is delivered later, also by the next run.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
// Who is to be told, and how long ago it was tried, is measured by the machine's clock: nothing of it gets back to the analysis.
#![allow(clippy::disallowed_methods)]

mod config;
mod message;
mod owed;
mod sinks;
mod syslog;

pub use config::{Config, ConfigError, Form, Kind, SinkConfig};
pub use message::{Message, Told};
pub use owed::{Delivery, Report, Teller};
pub use sinks::{Sink, SinkError};
pub use syslog::Tls;
