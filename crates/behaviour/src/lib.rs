//! Did this host do that?
//!
//! One file per behaviour. A [`Detector`] observes records and, when its condition holds, fires [`record::Evidence`]:
//! numbers and packets, never prose and never decibans, which are the verdict's. The head of each file is the manual
//! page that `hydrophone behaviours NAME` prints.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod address_echo;
pub mod beacon;
pub mod bigrams;
mod catalogue;
mod chains;
pub mod click_run;
pub mod dns_tunnel;
pub mod domains;
pub mod exfiltration;
mod expectations;
mod files;
pub mod flood;
pub mod front_pages;
pub mod generated_contact;
pub mod generated_names;
mod held;
mod home;
pub mod horizontal_scan;
pub mod http_control;
mod intel;
pub mod irc_control;
pub mod known_indicator;
pub mod kraken_frames;
pub mod kraken_names;
mod leases;
pub mod login_guessing;
mod lore;
pub mod mail_exchanger_lookups;
pub mod mining;
pub mod module_download;
pub mod payload_download;
pub mod peer_walk;
pub mod port_imposter;
pub mod proxying;
pub mod quick_succession;
pub mod raw_control;
mod requests;
pub mod role_deviation;
pub mod same_remote_chain;
mod scene;
pub mod smtp_probe;
pub mod spam_run;
pub mod spam_update_cycle;
pub mod story_order;
mod table;
pub mod tls_control;
pub mod vertical_scan;

pub use catalogue::{ATTACK_VERSION, Behaviour, CATALOGUE, Settings, detectors};
pub use expectations::{Called, Declaration, Expectation, Expectations, Way, day};
pub use files::{HostFiles, HostState, States};
pub use held::Held;
pub use home::{Home, HomeGuess, parse_network};
pub use intel::{Intel, Kind, Origin, PassedOver, host_name};
pub use leases::Lease;
pub use lore::{Application, Lore};
pub use scene::{AtWork, Chronicle, Detector, Fire, NearMisses, Scene, Wants, outbound};
pub use table::{HostTable, SeededMap, SeededSet};

#[cfg(test)]
mod testing;
