//! Where do test captures come from?
//!
//! A small script language: hosts and conversations become frames with right lengths and checksums, and the frames a
//! capture file. Nothing is ever sent anywhere. What stands for command and control in the scenarios is random bytes.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod adversary;
pub mod bots;
mod conversation;
pub mod costly;
pub mod evaluate;
pub mod evasions;
pub mod floods;
mod frame;
pub mod isp;
pub mod office;
pub mod protocols;
pub mod scenarios;
mod script;
pub mod shares;
pub mod wrappings;

pub use conversation::Tcp;
pub use evasions::Evasion;
pub use scenarios::MakeScript;
pub use script::{End, Script};

/// The host that the bot lives on in every scenario.
pub const BOT: &str = "10.20.0.13";
