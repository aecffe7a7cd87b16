//! How does a machine, or another desk, see it?
//!
//! STIX 2.1, XARF and ARF for abuse desks, indicators as CSV, and the bundle that holds all of them with the packets. All
//! ids are derived from content, and all times are the packets': the same case gives the same bytes. Evidence for the programs of others: Suricata's
//! EVE, ECS, OCSF, CSV, Zeek's logs.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod bundle;
mod events;
mod pseudonym;
mod stix;
mod xarf;

pub use bundle::{Checked, bundle, verify};
pub use events::{Ended, Ends, EventForm, Told, ZeekLogs};
pub use pseudonym::{Pseudonyms, Rewritten, key_of};
pub use stix::stix;
pub use xarf::{Reporter, arf, xarf};

use report::indicators;
use uuid::Uuid;
use verdict::HostStory;

/// The namespace of our own ids: version 5 of the program's name under the URL namespace.
fn own(name: &str) -> Uuid {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"https://hydrophone.invalid/");
    Uuid::new_v5(&namespace, name.as_bytes())
}

/// The indicators of a host as CSV with a head line: kind, value, stage, behaviours, first, last.
///
/// # Errors
/// None that memory would not give.
pub fn indicators_csv(s: &HostStory) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["type", "indicator", "stage", "behaviours", "first_seen", "last_seen"])?;
    for i in indicators(s) {
        out.write_record([
            i.kind.stix(),
            &i.value,
            i.stage.name(),
            &i.behaviours.join(" "),
            &i.first.to_string(),
            &i.last.to_string(),
        ])?;
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}
