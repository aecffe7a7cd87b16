//! ## What it sees
//! Another sensor says that something was delivered to a host: by an exploit kit, or as an executable.
//!
//! ## Why it matters
//! A house that has rules has paid for them: what they say belongs into the same story as what was seen besides, in its order, and no more believed than it is right.
//!
//! ## How it decides
//! An alert of Suricata or a notice of Zeek whose category or signature speaks of delivery (`lists/alerts.tsv`; your own words first, by `means`), about a flow that
//! a local host opened to somewhere else. Once for each rule and day. *alert*: of the worst severity, or of a sensor that gives none; *doubtful*: of any other. Added: *several_rules*, a second rule on
//! the same day.
//!
//! ## What else looks like this
//! Rules that are wrong: ET Open's malware classes alert on 0.4 % of clean captures, anything at all on 9.6 % (measured on 491); so an alert alone makes no host suspicious. Resolvers, proxies and mail servers pass on what others
//! are to answer for (role).
//!
//! ## Blind spots
//! What no rule is written for; sensors whose categories the mapping does not know.
//!
//! ## Options
//! `means` (none): categories, or beginnings of signatures, and what they speak of: `control`, `delivery`, `attack` or `nothing`.
//!
//! ## References
//! Suricata's EVE output and `classification.config`; Zeek's Notice framework. ATT&CK T1105, T1189.

use record::{Evidence, Record, Role, Stage};

use crate::alerts::{self, Host, Speaks};
use crate::{About, Alike, Behaviour, Context, Excuse, GradeWorth, Honest, MAIL, States, Traffic, Wants};

pub use crate::alerts::Settings;

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[Alike::to(Honest::Browsing), Alike::to(Honest::Agent), Alike::to(Honest::Administration)],
        needs: &[Traffic::Alerts],
        excuses: &[Excuse::Role(&[Role::Resolver, Role::Nat], 0.3), Excuse::Role(MAIL, 0.3)],
        ..About::new(
            Stage::Update,
            &["T1105"],
            &[
                GradeWorth::base("alert", 8.0).key("alert"),
                GradeWorth::base("doubtful", 3.0).key("alert").weak(),
                GradeWorth::add("several_rules", 3.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::OTHER
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        if let Record::Alert(alert) = record {
            alerts::observe(alert, Speaks::Delivery, &self.settings, states, context);
        }
    }

    fn sentence(e: &Evidence) -> String {
        alerts::sentence(e)
    }
}
