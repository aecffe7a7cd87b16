//! Evidence in a sentence: the behaviour's own, and what is to be said of the name that its remote goes by.

use record::{Evidence, clean, defang, tally};

/// What the evidence says, in one sentence without a full stop.
pub fn describe(e: &Evidence) -> String {
    let said = match behaviour::entry(&e.behaviour) {
        Some(entry) => (entry.sentence)(e),
        None => format!("{}: {} {}", clean(&e.behaviour), tally(e.value), clean(&e.unit)),
    };
    // A publisher's name that only the host says excuses nothing, and that is told.
    match (e.text("claims"), e.text("dns_says")) {
        ("", _) => said,
        (claims, "") => {
            format!("{said}; nobody but the host itself says that this is {}", defang(claims))
        }
        (claims, dns) => format!("{said}; it says {}, and DNS says {}", defang(claims), defang(dns)),
    }
}
