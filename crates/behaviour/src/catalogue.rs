use record::Evidence;
use serde::{Deserialize, Serialize};

use crate::{About, AtWork, Behaviour, StateKind};
use crate::{act, command, cycle, order, probe, rendezvous, update};

/// A behaviour as it is listed.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in records and on the command line.
    pub name: &'static str,
    /// What it says of itself.
    pub about: About,
    /// The part of its stage's bet that stands on it. What is left of one is for those to come, so that a new one moves nobody's payoff.
    pub share: f64,
    /// What its evidence says, in one sentence without a full stop.
    pub sentence: fn(&Evidence) -> String,
    /// What it remembers of a host.
    pub state: StateKind,
    /// Its source file, whose head is its manual page.
    source: &'static str,
}

impl Entry {
    /// The manual page, as Markdown.
    pub fn manual(&self) -> String {
        let mut page = String::new();
        for line in self.source.lines().map_while(|l| l.strip_prefix("//!")) {
            page.push_str(line.strip_prefix(' ').unwrap_or(line));
            page.push('\n');
        }
        page
    }
}

/// The behaviour of a name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|b| b.name == name)
}

/// Defines the catalogue, the settings and the making of detectors from one list: a new behaviour is a file and a line here.
macro_rules! catalogue {
    ($($stage:ident::$module:ident: $share:literal;)*) => {
        /// Every behaviour, in the order of the story.
        pub const CATALOGUE: &[Entry] = &[$(Entry {
            name: stringify!($module),
            about: <$stage::$module::Watcher as Behaviour>::ABOUT,
            share: $share,
            sentence: <$stage::$module::Watcher as Behaviour>::sentence,
            state: StateKind::of::<<$stage::$module::Watcher as Behaviour>::State>(stringify!($module)),
            source: include_str!(concat!(stringify!($stage), "/", stringify!($module), ".rs")),
        },)*];

        /// The settings of all behaviours.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $(#[doc = concat!("Settings of `", stringify!($module), "`.")]
            pub $module: $stage::$module::Settings,)*
        }

        /// Makes a detector of each behaviour, in the order of the catalogue.
        pub fn detectors(settings: &Settings) -> Vec<Box<dyn AtWork>> {
            vec![$(Box::new($stage::$module::Watcher::new(settings.$module.clone())),)*]
        }
    };
}

// In the folder of its stage, with its share of the stage's bet. Who comes takes its share from what is left of one, or from the largest; orders are bet on alone.
catalogue! {
    probe::smtp_probe: 0.45;
    probe::front_pages: 0.225;
    probe::address_echo: 0.225;
    rendezvous::generated_names: 0.9;
    rendezvous::hidden_service: 0.05;
    command::kraken_frames: 0.05;
    command::peer_walk: 0.09;
    command::port_imposter: 0.045;
    command::beacon: 0.09;
    command::irc_control: 0.09;
    command::http_control: 0.09;
    command::tls_control: 0.09;
    command::raw_control: 0.045;
    command::held_line: 0.045;
    command::check_in: 0.045;
    command::dns_tunnel: 0.09;
    command::generated_contact: 0.045;
    command::proxying: 0.045;
    command::known_indicator: 0.045;
    command::role_deviation: 0.045;
    command::sensor_alert: 0.05;
    update::same_remote_chain: 0.45;
    update::module_download: 0.18;
    update::payload_download: 0.27;
    update::delivery_alert: 0.05;
    act::mail_exchanger_lookups: 0.135;
    act::spam_run: 0.225;
    act::horizontal_scan: 0.09;
    act::vertical_scan: 0.045;
    act::udp_sweep: 0.045;
    act::login_guessing: 0.09;
    act::flood: 0.09;
    act::mining: 0.045;
    act::click_run: 0.045;
    act::exfiltration: 0.045;
    act::attack_alert: 0.05;
    act::lateral_movement: 0.09;
    cycle::spam_update_cycle: 0.45;
    cycle::quick_succession: 0.45;
    order::story_order: 1.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manual_page_has_its_headings_in_order() {
        for behaviour in CATALOGUE {
            let page = behaviour.manual();
            let mut at = 0;
            for heading in [
                "## What it sees",
                "## Why it matters",
                "## How it decides",
                "## What else looks like this",
                "## Blind spots",
                "## Options",
                "## References",
            ] {
                let found = page[at..].find(heading);
                assert!(found.is_some(), "{}: {heading}", behaviour.name);
                at += found.unwrap_or(0);
            }
        }
    }
}
