//! What does it add up to?
//!
//! Each behaviour that fires wins a bet against "this host is clean". The payoffs are in decibans, come from
//! `calibration.toml`, and add up exactly: what is shown for a host is its level.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod analyst;
mod calibration;
mod host_book;
mod ledger;
mod roles;
mod story;

pub use analyst::{Analyst, AnalystLimits};
pub use calibration::{Calibration, GradePayoff};
pub use roles::{Role, RoleSeen};
pub use story::{
    CaptureFacts, Discount, Finding, HostStory, Item, Names, Note, ScoredEvidence, StageScore, Verdict,
    WouldChange,
};
