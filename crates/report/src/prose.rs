//! Evidence in a sentence: the behaviour's own, and what is to be said of the name that its remote goes by.

use record::{Evidence, clean, defang, defang_addresses, human_count, tally};
use verdict::{Alternative, HostStory, Prior, Verdict};

/// How often a clean host is called infected, if the rates hold: Ville's inequality over days, under a prior.
pub fn false_alarms(prior: Prior) -> String {
    let level = Verdict::Infected.level_db(prior.db()).unwrap_or_default().max(0.0);
    let days = 10f64.powf(level / 10.0);
    let often = if days < 2.0 {
        "on any day".to_owned()
    } else {
        format!("at most once in {} days", human_count(days.round() as u64))
    };
    format!(
        "If the rates hold that the payoffs stand for, a clean host reaches {level} dB, where it may be called infected, {often}, at any moment of looking."
    )
}

/// What the evidence says, in one sentence without a full stop.
pub fn describe(e: &Evidence) -> String {
    let told = match behaviour::entry(&e.behaviour) {
        Some(entry) => (entry.sentence)(e),
        None => format!("{}: {} {}", clean(&e.behaviour), tally(e.value), clean(&e.unit)),
    };
    let said = defang_addresses(&told);
    // A publisher's name that only the host says excuses nothing, and that is told.
    match (e.text("claims"), e.text("dns_says")) {
        ("", _) => said,
        (claims, "") => {
            format!("{said}; nobody but the host itself says that this is {}", defang(claims))
        }
        (claims, dns) => format!("{said}; it says {}, and DNS says {}", defang(claims), defang(dns)),
    }
}

/// A row of the two stories: what was seen, what a bot gets for it, and what the honest kind says of it.
pub struct Told {
    /// What was seen.
    pub what: String,
    /// Decibans.
    pub db: f64,
    /// Why the honest kind does not explain it; nothing where it does.
    pub left: Option<String>,
}

/// Both stories of a suspicious host, item by item: that it is a bot, and that it is what else it could best be.
pub fn both_stories(s: &HostStory, honest: &Alternative) -> Vec<Told> {
    let items = s.stages.values().flat_map(|x| &x.items).filter(|i| i.db > 0.0);
    let mut told: Vec<Told> = items
        .map(|item| {
            let shown = s.evidence.iter().map(|e| &e.evidence);
            let mut shown = shown.filter(|e| e.behaviour == item.behaviour && e.key == item.key);
            let what = shown.next_back().map_or_else(|| item.behaviour.replace('_', " "), describe);
            let left = honest.leaves.iter().find(|l| l.item == item.name()).map(|l| {
                let grade = l.grade.as_ref().map(|g| format!("it does not show: {}", g.replace('_', " ")));
                grade.unwrap_or_else(|| "it does nothing of the sort".to_owned())
            });
            Told { what, db: item.db, left }
        })
        .collect();
    told.sort_by(|a, b| b.db.total_cmp(&a.db));
    told
}
