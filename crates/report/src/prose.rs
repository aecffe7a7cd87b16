//! Evidence in a sentence: the behaviour's own, and what is to be said of the name that its remote goes by.

use record::{Evidence, Stage, clean, defang, defang_addresses, human_count, tally};
use verdict::{Alternative, HostStory, Prior, ScoredEvidence, Verdict};

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
    let said = with_names(defang_addresses(&told), e);
    // A publisher's name that only the host says excuses nothing, and that is told.
    match (e.text("claims"), e.text("dns_says")) {
        ("", _) => said,
        (claims, "") => {
            format!("{said}; nobody but the host itself says that this is {}", defang(claims))
        }
        (claims, dns) => format!("{said}; it says {}, and DNS says {}", defang(claims), defang(dns)),
    }
}

/// A sentence in which each address that has a name and is told without it is followed by it.
fn with_names(mut said: String, e: &Evidence) -> String {
    for (ip, name) in e.remotes.iter().filter_map(|ip| Some((ip.to_string(), e.name_of(*ip)?))) {
        let (address, name) = (defang(&ip), defang(name));
        // An address within a longer one, within a URL, or beside the name that it goes by is left alone.
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | ']');
        let is_free = |at: &usize| {
            let (before, after) = (&said[..*at], &said[at + address.len()..]);
            let goes_on = after.starts_with(is_part)
                || after
                    .strip_prefix(':')
                    .is_some_and(|a| a.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':'));
            !before.ends_with(is_part) && !before.ends_with([':', '(']) && !goes_on
        };
        let found = said.match_indices(&address).map(|(at, _)| at).find(is_free);
        let end = found.map(|at| at + address.len());
        let is_within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let told = said.match_indices(&name).any(|(at, _)| {
            !said[..at].ends_with(is_within)
                && !said[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric())
        });
        if let Some(end) = end.filter(|_| !told) {
            said.insert_str(end, &format!(" ({name})"));
        }
    }
    said
}

/// The strongest evidence of each key of a stage.
pub fn strongest(s: &HostStory, stage: Stage) -> Vec<&ScoredEvidence> {
    let mut best: Vec<&ScoredEvidence> = Vec::new();
    for e in s.evidence.iter().filter(|e| e.evidence.stage == stage) {
        let same = |o: &&&ScoredEvidence| {
            o.evidence.behaviour == e.evidence.behaviour && o.evidence.key == e.evidence.key
        };
        match best.iter().find(same).map(|o| (o.db, o.evidence.value)) {
            // The order of the story is what it came to be, not what it once seemed.
            Some(known) if stage != Stage::Order && known >= (e.db, e.evidence.value) => {}
            Some(_) => {
                best.retain(|o| !same(&o));
                best.push(e);
            }
            None => best.push(e),
        }
    }
    best
}

/// What a piece of evidence says, and of whom else the same is to be said: others of its kind with a few remotes each, or on other ports.
pub fn told(s: &HostStory, shown: &ScoredEvidence) -> String {
    /// Remotes that one piece speaks of by name.
    const FEW: usize = 4;
    /// Others that are named.
    const NAMED: usize = 3;
    let e = &shown.evidence;
    let mut others: Vec<String> = Vec::new();
    for o in s.evidence.iter().map(|o| &o.evidence) {
        let is_kin = (&o.behaviour, &o.key, o.stage) == (&e.behaviour, &e.key, e.stage);
        if !is_kin || o.remotes.is_empty() || o.remotes.iter().any(|r| e.remotes.contains(r)) {
            continue;
        }
        let other = match o.text("host") {
            _ if o.remotes.len() > FEW || e.remotes.len() > FEW => {
                let port = o.count("port");
                if port == 0 || port == e.count("port") {
                    continue;
                }
                format!("port {port}")
            }
            "" => defang_addresses(&o.remote()),
            host if host == e.text("host") => continue,
            host => defang(host),
        };
        if !others.contains(&other) {
            others.push(other);
        }
    }
    let mut said = describe(e);
    if !others.is_empty() {
        let more = others.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        others.truncate(NAMED);
        said.push_str(&format!("; the same with {}{more}", others.join(", ")));
    }
    said
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
            let is_of =
                |e: &&ScoredEvidence| e.evidence.behaviour == item.behaviour && e.evidence.key == item.key;
            // As in the story.
            let shown = Stage::ALL.into_iter().flat_map(|stage| strongest(s, stage)).find(is_of);
            let what = shown.map_or_else(|| item.behaviour.replace('_', " "), |e| describe(&e.evidence));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_followed_by_their_names_once() {
        let mut e = Evidence {
            host: [10, 0, 0, 5].into(),
            stage: record::Stage::Command,
            behaviour: "raw_control".into(),
            key: "c".into(),
            grades: vec![],
            started: record::Timestamp(0),
            ts: record::Timestamp(0),
            value: 3.0,
            threshold: 1.0,
            unit: "".into(),
            source: "".into(),
            packets: vec![],
            flows: vec![],
            community_ids: vec![],
            remotes: vec![[9, 9, 9, 4].into(), [8, 8, 8, 8].into()],
            facts: std::collections::BTreeMap::default(),
            expected: None,
        };
        let told = vec!["9.9.9.4 c2.bad.example".to_owned(), "8.8.8.8 dns.example".to_owned()];
        e.facts.insert(Evidence::REMOTE_NAMES.into(), told.into());
        let said = |text: &str| with_names(defang_addresses(text), &e);
        assert_eq!(said("called 9.9.9.4 port 80"), "called 9.9.9[.]4 (c2.bad[.]example) port 80");
        assert_eq!(said("called 9.9.9.45 and 19.9.9.4"), "called 9.9.9[.]45 and 19.9.9[.]4");
        assert_eq!(said("from 9.9.9.4 (/x.php)"), "from 9.9.9[.]4 (c2.bad[.]example) (/x.php)");
        assert_eq!(said("its flow with 9.9.9.4: bad"), "its flow with 9.9.9[.]4 (c2.bad[.]example): bad");
        for left in ["at 9.9.9[.]4:80", "hxxp://9.9.9[.]4/x", "of c2.bad[.]example (9.9.9[.]4)"] {
            assert_eq!(said(left), left);
        }
        assert_eq!(said("c2.bad[.]example at 9.9.9.4"), "c2.bad[.]example at 9.9.9[.]4");
    }
}
