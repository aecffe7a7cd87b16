//! Forgetting old days.

use std::collections::BTreeMap;
use std::path::Path;

use record::Timestamp;

use crate::row::{DAY, day};
use crate::settle::{forget_analyses, repair, sweep};
use crate::{
    Counted, Rested, Run, Segment, StoreError, all_runs, all_segments, counted, late, open, replaced,
    segment_key, write_run,
};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many days, of which the last is the last that the store has: packets are the only clock. At least one.
    Days(u32),
    /// The same, of which the last is the last that the store has until then, if it has such: what is later is kept, and nothing is forgotten by it (a
    /// capture whose clock was wrong).
    DaysUntil(u32, Timestamp),
    /// The last days whose tables take no more than so many bytes together, and the very last whatever it takes.
    Bytes(u64),
}

/// A day of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedDay {
    /// As partitions have it.
    pub day: String,
    /// Rows of it.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// What was forgotten, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The days that are gone, in their order.
    pub days: Vec<PrunedDay>,
    /// Those that are left.
    pub left: Vec<PrunedDay>,
    /// Runs of which nothing is left.
    pub runs: u64,
    /// Whether analyses of a cluster still tell of days that are gone, because somebody reads.
    pub waits: bool,
}

/// What each run says from then on, but for the day.
const NOTICE: [&str; 2] = ["what became known before ", " was removed from the store"];

fn notice(first: &str) -> String {
    NOTICE.join(first)
}

/// The first day of a run that was not forgotten, if some were.
pub fn forgotten_before(run: &Run) -> Option<&str> {
    let days = run.notices.iter().filter_map(|told| told.strip_prefix(NOTICE[0])?.strip_suffix(NOTICE[1]));
    days.max()
}

/// Removes the oldest days; with `dry` it only says which.
///
/// # Errors
/// It is no store, another version's, somebody else writes into it, or it cannot be written.
pub fn prune(root: &Path, keep: Keep, dry: bool) -> Result<Pruned, StoreError> {
    let place = &open(root)?;
    let _lock = place.lock()?;
    if !dry {
        repair(place)?;
    }
    let Counted { segments: all, bad, .. } = counted(place)?;
    if let Some(bad) = bad.into_iter().next() {
        return Err(bad);
    }
    let mut days: BTreeMap<i64, PrunedDay> = BTreeMap::new();
    for part in all.iter().flat_map(|s| &s.parts) {
        let new = || PrunedDay { day: part.day.clone(), rows: 0, bytes: 0 };
        let of = days.entry(day(part.first.0)).or_insert_with(new);
        of.rows += part.rows;
        of.bytes += part.bytes;
    }
    let Some(first) = first_kept(&days, keep) else {
        // What forgot a day before may have left them.
        let waits = !dry && forget_analyses(place, false)?;
        return Ok(Pruned { waits, ..Pruned::default() });
    };
    let left = days.split_off(&first);
    let mut pruned = Pruned {
        days: days.into_values().collect(),
        left: left.into_values().collect(),
        ..Pruned::default()
    };
    if pruned.days.is_empty() {
        pruned.waits = !dry && forget_analyses(place, false)?;
        return Ok(pruned);
    }
    let name = pruned.left.first().map(|d| d.day.clone()).unwrap_or_default();
    let keeps = |s: &Segment| s.parts.iter().any(|p| day(p.first.0) >= first);
    // Also those that others have taken the place of: without these they would count again.
    let (everything, _) = all_segments(place)?;
    let runs = all_runs(place)?;
    let gone = replaced(&runs);
    for (run, rested) in runs {
        let Rested { run: mut facts, replaces } = rested?;
        let of = || everything.iter().filter(|s| s.run == run);
        let is_touched = of().flat_map(|s| &s.parts).any(|p| day(p.first.0) < first);
        if !is_touched {
            continue;
        }
        let is_left = of().any(keeps);
        pruned.runs += u64::from(!is_left && !gone.contains(&run));
        if dry {
            continue;
        }
        // What is missing is said before it is missing.
        let told = notice(&name);
        if !facts.notices.contains(&told) {
            facts.notices.push(told);
        }
        if is_left {
            let begins = Timestamp(first.saturating_mul(DAY));
            facts.health.first = facts.health.first.map(|f| f.max(begins));
        }
        facts.rows = facts.rows.min(of().filter(|s| keeps(s)).map(|s| s.rows).sum());
        write_run(place, &run, &facts, &replaces)?;
        for segment in of() {
            let key = segment_key(&segment.run, segment.number);
            let mut kept = segment.clone();
            kept.parts.retain(|p| day(p.first.0) >= first);
            if kept.parts.is_empty() {
                place.remove(&key)?;
            } else if kept.parts.len() < segment.parts.len() {
                place.write_json(&key, &kept)?;
            }
        }
        if !is_left {
            // Its note goes with its tables.
            write_run(place, &run, &Run::empty(true, None), &replaces)?;
        }
    }
    if !dry {
        late::forget(place, &name)?;
        sweep(place)?;
        pruned.waits = forget_analyses(place, true)?;
    }
    Ok(pruned)
}

/// The first day that is kept; none where there is no day.
fn first_kept(days: &BTreeMap<i64, PrunedDay>, keep: Keep) -> Option<i64> {
    let until = if let Keep::DaysUntil(_, until) = keep { day(until.0) } else { i64::MAX };
    let last = days.range(..=until).next_back().or_else(|| days.last_key_value());
    let (last, _) = last?;
    Some(match keep {
        Keep::Days(n) | Keep::DaysUntil(n, _) => last.saturating_sub(i64::from(n.max(1)) - 1),
        Keep::Bytes(most) => {
            let (mut sum, mut first) = (0u64, *last);
            for (day, of) in days.iter().rev() {
                sum = sum.saturating_add(of.bytes);
                if sum > most {
                    break;
                }
                first = *day;
            }
            first
        }
    })
}
