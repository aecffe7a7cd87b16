//! Days that end while it is listened: what is told of each, also when all was quiet.

use std::time::Duration;

use capture::now;
use record::Timestamp;
use report::DayLine;

use crate::status::Status;

/// Of days that ended longer ago nobody is told: logs that lie there already are read from their beginning.
const OLD: Duration = Duration::from_hours(48);
/// What was said meanwhile is told again, so much of it.
const SAID: usize = 5;

/// How long a day is.
const DAY: Duration = Duration::from_hours(24);

/// The day that goes on.
pub struct Days {
    /// How long after midnight (UTC) it ends.
    at: Duration,
    since: Option<Timestamp>,
    /// How it stood when it began.
    before: Status,
}

impl Days {
    /// Days that end so long after midnight (UTC).
    pub fn ending(at: Duration) -> Self {
        Self { at, since: None, before: Status::default() }
    }

    /// When the day ends that goes on then.
    fn end_of(&self, then: Timestamp) -> Timestamp {
        let end = then.day().plus(self.at);
        if end > then { end } else { end.plus(DAY) }
    }

    /// Packet time has come until `clock`, and it stands as `status` says: gives the days that ended.
    pub fn until(&mut self, clock: Timestamp, status: &Status) -> Vec<DayLine> {
        let mut ended = Vec::new();
        // What logs held when it began is of the day on which it began.
        let mut since = *self.since.get_or_insert(clock);
        loop {
            let until = self.end_of(since);
            // A packet, or a log, may tell of a day that is to come.
            if until > clock || until > now() {
                break;
            }
            if now().since(until) < OLD {
                ended.push(self.day(since, until, status));
            }
            // What was heard is told of one day.
            self.before = status.clone();
            since = until;
        }
        self.since = Some(since);
        ended
    }

    fn day(&self, since: Timestamp, until: Timestamp, status: &Status) -> DayLine {
        let more = |of: fn(&Status) -> u64| of(status).saturating_sub(of(&self.before));
        let mut missed = Vec::new();
        for (n, what) in [
            (more(|s| s.dropped), "packets found no room in the ring"),
            (more(|s| s.shed), "packets were left out because too much came"),
            (more(|s| s.packets_not_kept), "packets were not kept"),
            (more(|s| s.hosts_forgotten), "hosts were forgotten for want of memory"),
            (more(|s| s.flows_forgotten), "flows were forgotten for want of memory"),
            (more(|s| s.records_not_kept), "records were not kept in the store"),
            (more(|s| s.eve_not_kept), "lines of EVE were not kept, and not judged"),
        ] {
            if n > 0 {
                missed.push(format!("{} {what}", report::human_count(n)));
            }
        }
        // What began on another day and goes on is missed on this one, too.
        missed.extend(status.troubles.iter().map(|(of, what)| format!("{of}: {what}")));
        // The latest stand there.
        let said = more(|s| s.said_in_all) as usize;
        let shown = said.min(SAID).min(status.said.len());
        missed.extend(status.said.iter().skip(status.said.len() - shown).cloned());
        if said > shown {
            missed.push(format!("and {} more", said - shown));
        }
        DayLine {
            since,
            until,
            hosts: status.hosts.clone(),
            turns: more(|s| s.turns),
            packets: more(|s| s.packets),
            bytes: more(|s| s.bytes),
            records: more(|s| s.records),
            missed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_is_told_of_once() {
        let midnight = now().day();
        let at = |hours: u64| midnight.minus(DAY).plus(Duration::from_hours(hours));
        let mut days = Days::ending(Duration::ZERO);
        let mut status = Status { records: 5, ..Status::default() };
        assert!(days.until(at(3), &status).is_empty());
        status.records = 9;
        status.turns = 2;
        status.dropped = 7;
        status.said_in_all = 9;
        status.said = (0..8).map(|n| format!("news {n}")).collect();
        // What stands in its way is missed each day.
        status.troubles.insert("interface eth1".to_owned(), "is down, since then".to_owned());
        assert!(days.until(at(23), &status).is_empty());
        let told = days.until(at(24), &status);
        let [day] = &told[..] else { panic!("{told:?}") };
        assert_eq!((day.since, day.until, day.records, day.turns), (at(3), at(24), 9, 2));
        let missed = [
            "7 packets found no room in the ring",
            "interface eth1: is down, since then",
            "news 3",
            "news 4",
            "news 5",
            "news 6",
            "news 7",
        ];
        assert_eq!(
            day.missed,
            missed.iter().chain(&["and 4 more"]).map(ToString::to_string).collect::<Vec<_>>()
        );
        // A day that is to come has not ended, whatever a packet says.
        let told = days.until(midnight.plus(DAY * 30), &status);
        assert_eq!(told.len(), 0, "{told:?}");
        let mut mornings = Days::ending(Duration::from_hours(8));
        assert!(mornings.until(at(3), &status).is_empty());
        assert_eq!(mornings.until(at(8), &status).first().map(|d| (d.since, d.until)), Some((at(3), at(8))));
        assert!(mornings.until(at(24), &status).is_empty());
    }

    #[test]
    fn old_days_are_passed_over_and_silent_ones_are_not() {
        let midnight = now().day();
        let mut days = Days::ending(Duration::ZERO);
        let status = Status::default();
        assert!(days.until(midnight.minus(DAY * 90), &status).is_empty());
        let told = days.until(midnight, &status);
        assert!(told.iter().all(|d| d.records == 0 && now().since(d.until) < OLD), "{told:?}");
        assert_eq!(told.last().map(|d| d.until), Some(midnight));
    }
}
