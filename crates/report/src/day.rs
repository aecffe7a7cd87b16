//! A day on which it was listened, in a line: for whoever wants to hear also when all is quiet.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use record::{Timestamp, clean, human_bytes, human_count};
use serde::{Deserialize, Serialize};
use verdict::Verdict;

/// A day that ended while it was listened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayLine {
    /// From when on it was listened that day (packet time).
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Hosts that stand at each level at its end, from *suspicious* on.
    pub hosts: BTreeMap<String, u64>,
    /// Turns of hosts that were told that day.
    pub turns: u64,
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records: what packets, logs and exports told.
    pub records: u64,
    /// What could not be seen, or was not kept, in words.
    pub missed: Vec<String>,
}

impl DayLine {
    /// Its date: that of its last moment (UTC).
    pub fn date(&self) -> String {
        self.until.minus(Duration::from_nanos(1)).to_string().chars().take_while(|c| *c != 'T').collect()
    }

    /// Whether something was heard, nobody turned, and nobody is suspicious.
    pub fn is_quiet(&self) -> bool {
        self.records > 0 && self.turns == 0 && self.hosts.values().all(|n| *n == 0)
    }

    /// What it comes to: `2026-11-28: all quiet`, `2026-11-28: 1 host infected, 2 suspicious`.
    pub fn subject(&self) -> String {
        let levels = [Verdict::Infected, Verdict::Likely, Verdict::Suspicious];
        let mut hosts: Vec<String> = Vec::new();
        for (n, v) in levels.iter().filter_map(|v| Some((*self.hosts.get(v.name()).filter(|n| **n > 0)?, v)))
        {
            let unit = match (hosts.is_empty(), n) {
                (true, 1) => " host",
                (true, _) => " hosts",
                (false, _) => "",
            };
            hosts.push(format!("{}{unit} {}", human_count(n), v.name()));
        }
        let what = match (self.records, hosts.is_empty(), self.turns) {
            (0, true, _) => "nothing was heard".to_owned(),
            (0, false, _) => format!("nothing was heard; from before, {}", hosts.join(", ")),
            (_, true, 0) => "all quiet".to_owned(),
            (_, true, _) => "nobody is suspicious any more".to_owned(),
            _ => hosts.join(", "),
        };
        format!("{}: {what}", self.date())
    }
}

/// What is told of a day, in one line.
pub fn day(d: &DayLine) -> String {
    let mut out = format!("{}.", d.subject());
    if d.records > 0 {
        let turned = match d.turns {
            0 => "No host turned".to_owned(),
            1 => "One host turned".to_owned(),
            n => format!("Hosts turned {} times", human_count(n)),
        };
        let _ = write!(out, " {turned}");
        if d.packets > 0 {
            let _ = write!(out, "; {} packets ({}) were heard", human_count(d.packets), human_bytes(d.bytes));
        } else {
            let _ = write!(out, "; {} records were read", human_count(d.records));
        }
        out.push('.');
    }
    if d.until.since(d.since) < Duration::from_hours(24) {
        let at = d.since.to_string();
        let _ = write!(out, " Listening began at {}Z.", at.get(11..19).unwrap_or_default());
    }
    if d.missed.is_empty() {
        out.push_str(" Nothing is known to have been missed.");
    } else {
        let missed: Vec<String> = d.missed.iter().map(|what| clean(what)).collect();
        let _ = write!(out, " What was missed, or said: {}.", missed.join("; "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_day() -> DayLine {
        let until = Timestamp::from_secs(1_764_374_400);
        DayLine {
            since: until.minus(Duration::from_hours(24)),
            until,
            hosts: BTreeMap::new(),
            turns: 0,
            packets: 12_400_000,
            bytes: 4_900_000_000,
            records: 1_400_000,
            missed: Vec::new(),
        }
    }

    #[test]
    fn a_quiet_day_says_so() {
        let told = day(&a_day());
        assert_eq!(
            told,
            "2025-11-28: all quiet. No host turned; 12,400,000 packets (4.9 GB) were heard. Nothing is known to have been missed."
        );
    }

    #[test]
    fn what_stands_and_what_was_missed_is_said() {
        let hosts = BTreeMap::from([("infected".to_owned(), 1), ("suspicious".to_owned(), 2)]);
        let missed = vec!["7 packets found no room in the ring".to_owned()];
        let since = a_day().since.plus(Duration::from_mins(61));
        let told = day(&DayLine { hosts, missed, since, turns: 3, ..a_day() });
        assert_eq!(
            told,
            "2025-11-28: 1 host infected, 2 suspicious. Hosts turned 3 times; 12,400,000 packets (4.9 GB) were heard. Listening began at 01:01:00Z. What was missed, or said: 7 packets found no room in the ring."
        );
        let standing = DayLine { records: 0, hosts: BTreeMap::from([("infected".to_owned(), 1)]), ..a_day() };
        assert!(day(&standing).starts_with("2025-11-28: nothing was heard; from before, 1 host infected."));
        let silent = DayLine { packets: 0, bytes: 0, records: 0, ..a_day() };
        assert!(day(&silent).starts_with("2025-11-28: nothing was heard.") && !silent.is_quiet());
    }
}
