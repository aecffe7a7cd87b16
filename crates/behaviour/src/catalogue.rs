use record::Stage;
use serde::{Deserialize, Serialize};

use crate::AtWork;
use crate::{
    address_echo, beacon, click_run, dns_tunnel, exfiltration, flood, front_pages, generated_contact,
    generated_names, horizontal_scan, http_control, irc_control, known_indicator, kraken_frames,
    login_guessing, mail_exchanger_lookups, mining, module_download, payload_download, peer_walk,
    port_imposter, proxying, quick_succession, raw_control, role_deviation, same_remote_chain, smtp_probe,
    spam_run, spam_update_cycle, story_order, tls_control, vertical_scan,
};

/// The version of MITRE ATT&CK Enterprise whose technique numbers the behaviours name.
pub const ATTACK_VERSION: &str = "18";

/// What is known of a behaviour without running it.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Its name in records and on the command line.
    pub name: &'static str,
    /// The stage that it belongs to.
    pub stage: Stage,
    /// ATT&CK techniques.
    pub attack: &'static [&'static str],
    /// Its source file, whose head is its manual page.
    source: &'static str,
}

impl Behaviour {
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

/// Defines the catalogue, the settings and the making of detectors from one list: a new behaviour is a file and a line here.
macro_rules! catalogue {
    ($($module:ident: $stage:ident, $attack:expr;)*) => {
        /// Every behaviour, in the order of the story.
        pub const CATALOGUE: &[Behaviour] = &[$(Behaviour {
            name: stringify!($module),
            stage: Stage::$stage,
            attack: $attack,
            source: include_str!(concat!(stringify!($module), ".rs")),
        },)*];

        /// The settings of all behaviours.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $(#[doc = concat!("Settings of `", stringify!($module), "`.")]
            pub $module: $module::Settings,)*
        }

        /// Makes a detector of each behaviour, in the order of the catalogue.
        pub fn detectors(settings: &Settings) -> Vec<Box<dyn AtWork>> {
            vec![$(Box::new($module::Watcher::new(settings.$module.clone())),)*]
        }
    };
}

catalogue! {
    smtp_probe: Probe, &["T1016.001"];
    front_pages: Probe, &["T1016.001"];
    address_echo: Probe, &["T1016"];
    generated_names: Rendezvous, &["T1568.002"];
    kraken_frames: Command, &["T1095", "T1571", "T1573.001"];
    peer_walk: Command, &["T1095", "T1571"];
    port_imposter: Command, &["T1571", "T1001.003"];
    beacon: Command, &["T1071", "T1029"];
    irc_control: Command, &["T1071", "T1571"];
    http_control: Command, &["T1071.001"];
    tls_control: Command, &["T1573.002", "T1587.003"];
    raw_control: Command, &["T1095", "T1059.003"];
    dns_tunnel: Command, &["T1071.004", "T1572"];
    generated_contact: Command, &["T1568.002"];
    proxying: Command, &["T1090.002"];
    known_indicator: Command, &["T1071"];
    role_deviation: Command, &["T1571"];
    same_remote_chain: Update, &["T1105", "T1008", "T1104", "T1071.001"];
    module_download: Update, &["T1105"];
    payload_download: Update, &["T1105", "T1036.008"];
    mail_exchanger_lookups: Act, &["T1071.003"];
    spam_run: Act, &["T1071.003", "T1496.002"];
    horizontal_scan: Act, &["T1046", "T1595.001"];
    vertical_scan: Act, &["T1046"];
    login_guessing: Act, &["T1110.001"];
    flood: Act, &["T1498.001", "T1499.001"];
    mining: Act, &["T1496.001"];
    click_run: Act, &["T1496"];
    exfiltration: Act, &["T1048.003", "T1041"];
    spam_update_cycle: Cycle, &["T1104"];
    quick_succession: Cycle, &["T1104"];
    story_order: Order, &["T1104"];
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
