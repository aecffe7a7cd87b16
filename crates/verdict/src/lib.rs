//! What does it add up to?
//!
//! Each behaviour that fires wins a bet against "this host is clean". The payoffs are in decibans, are what
//! behaviours say of themselves, bound by what `calibration.toml` measured, and add up exactly: what is shown for a host is its level.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod alternative;
mod analyst;
mod calibration;
mod hands;
mod host_book;
mod identity;
mod ledger;
mod prior;
mod profile;
mod roles;
mod shares;
mod story;
mod system;
mod telling;
mod told;

pub use alternative::{Alternative, Left};
pub use analyst::{Analyst, AnalystLimits, Knowledge, Outside, ResumeError, SaveError};
pub use calibration::{Calibration, Counts, ENOUGH, Exposure, Measured, NETWORK_DAYS, clopper_pearson};
pub use identity::{ChangedHands, SameHost};
pub use ledger::CALENDAR_DAYS;
pub use prior::{Prior, probability, probable};
pub use profile::{FileSeen, Profile, RemoteSeen, ServiceSeen, SystemSeen, Word};
pub use record::Role;
pub use roles::RoleSeen;
pub use shares::{Analysts, Share};
pub use story::{
    CaptureFacts, DayLevel, Discount, Finding, HostStory, Item, Machine, Names, Note, Place, ScoredEvidence,
    StageScore, Verdict, WouldChange,
};
pub use telling::{Teller, TellerKnows, Turn};
pub use told::{HostTold, NetworkFacts, ShareFacts, ShareTold, by_strength, stories};
