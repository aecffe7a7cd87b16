//! ## What it sees
//! Another sensor says that somebody commands a host.
//!
//! ## Why it matters
//! A house that has rules has paid for them: what they say belongs into the same story as what was seen besides, in its order, and no more believed than it is right.
//!
//! ## How it decides
//! An alert of Suricata or a notice of Zeek whose category or signature speaks of control (`lists/alerts.tsv`; your own words first, by `means`), about a flow that
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
//! Suricata's EVE output and `classification.config`; Zeek's Notice framework. ATT&CK T1071.

crate::alerts::alerts!(Command, Control, "T1071", [Agent, Administration]);
