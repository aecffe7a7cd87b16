//! Did this host do that?
//!
//! One file per behaviour. A [`Behaviour`] observes records and, when its condition holds, fires [`record::Evidence`]:
//! numbers and packets, never prose and never decibans, which are the verdict's. The head of each file is the manual
//! page that `hydrophone behaviours NAME` prints.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod about;
mod alerts;
mod attack;
pub mod bigrams;
mod catalogue;
mod chains;
mod context;
pub mod domains;
mod expectations;
mod files;
mod held;
mod home;
mod honest;
mod intel;
pub mod kraken_names;
mod leases;
mod network;
mod requests;
mod table;
mod words;

/// Behaviours of the stage probe.
pub mod probe {
    pub mod address_echo;
    pub mod front_pages;
    pub mod smtp_probe;
}
/// Behaviours of the stage rendezvous.
pub mod rendezvous {
    pub mod generated_names;
    pub mod hidden_service;
}
/// Behaviours of the stage command.
pub mod command {
    pub mod beacon;
    pub mod check_in;
    pub mod dns_tunnel;
    pub mod generated_contact;
    pub mod held_line;
    pub mod http_control;
    pub mod irc_control;
    pub mod known_indicator;
    pub mod kraken_frames;
    pub mod peer_walk;
    pub mod port_imposter;
    pub mod proxying;
    pub mod raw_control;
    pub mod role_deviation;
    pub mod sensor_alert;
    pub mod tls_control;
}
/// Behaviours of the stage update.
pub mod update {
    pub mod delivery_alert;
    pub mod module_download;
    pub mod payload_download;
    pub mod same_remote_chain;
}
/// Behaviours of the stage act.
pub mod act {
    pub mod attack_alert;
    pub mod click_run;
    pub mod exfiltration;
    pub mod flood;
    pub mod horizontal_scan;
    pub mod lateral_movement;
    pub mod login_guessing;
    pub mod mail_exchanger_lookups;
    pub mod mining;
    pub mod spam_run;
    pub mod udp_sweep;
    pub mod vertical_scan;
}
/// Behaviours of the stage cycle.
pub mod cycle {
    pub mod quick_succession;
    pub mod spam_update_cycle;
}
/// Behaviours of the stage order.
pub mod order {
    pub mod story_order;
}

pub use about::{About, Excuse, GradeWorth, MAIL, Shows, Traffic};
pub use alerts::Speaks;
pub use attack::{ATTACK_VERSION, Technique};
pub use catalogue::{CATALOGUE, Entry, Settings, detectors, entry};
pub use context::{
    ASKED_BY, AtWork, Began, Behaviour, Context, Fire, Fired, NearMisses, Raised, Wants, are_other_requests,
    outbound,
};
pub use expectations::{Called, Declaration, Expectation, Expectations, Way, day};
pub use files::{
    Card, HostFiles, HostState, SavedFile, StateKind, States, WriteDownError, form, read_back, write_down,
};
pub use held::Held;
pub use home::{Home, HomeGuess, parse_network};
pub use honest::{Alike, Honest};
pub use intel::{Intel, Kind, Origin, PassedOver, host_name};
pub use leases::Lease;
pub use network::{Application, KnownHost, Network};
pub use table::{HostTable, SeededMap, SeededSet};

#[cfg(test)]
mod testing;
