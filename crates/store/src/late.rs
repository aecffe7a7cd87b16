//! Which days were analysed, and with how many rows: what comes to them later marks them.

use std::collections::BTreeMap;

use record::{Timestamp, human_count};
use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::row::{DAY, day};
use crate::{Segment, Span, StoreError};

/// What was analysed.
const FILE: &str = "analysed.json";
/// Days that are named; further ones are counted.
const SHOWN: usize = 5;

/// Rows by day, as partitions have it.
type Rows = BTreeMap<String, u64>;

#[derive(Default, Serialize, Deserialize)]
struct Rested {
    /// Rows of each day when it was analysed last.
    days: Rows,
}

fn rested(place: &Place) -> Result<Rested, StoreError> {
    match place.read_json(FILE) {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Rested::default())
        }
        read => read,
    }
}

/// Rows that came to days after these were analysed.
pub fn late(place: &Place, segments: &[Segment], span: &Span) -> Vec<(String, u64)> {
    // It says something about the store and is none of what it holds: without it no day is marked.
    let analysed = rested(place).unwrap_or_default().days;
    let now = rows(segments.iter().filter(|s| s.parts.iter().any(|p| span.meets(p.site, p.first, p.last))));
    let more = |(day, now): (String, u64)| {
        let then = analysed.get(&day)?;
        (now > *then).then(|| (day, now - then))
    };
    // A day that a span only touches counts with all of its rows, as it did when it was analysed.
    let all = rows(segments);
    now.into_keys().filter_map(|day| all.get(&day).map(|n| (day, *n))).filter_map(more).collect()
}

/// Of what a run has written, the rows of days that were analysed before.
pub fn among(place: &Place, written: &Rows) -> Vec<(String, u64)> {
    // It says something about the store and is none of what it holds: without it no day is marked.
    let analysed = rested(place).unwrap_or_default().days;
    written.iter().filter(|(day, _)| analysed.contains_key(*day)).map(|(d, n)| (d.clone(), *n)).collect()
}

/// Rows of each day.
pub fn rows<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Rows {
    let mut days = Rows::new();
    for part in segments.into_iter().flat_map(|s| &s.parts) {
        *days.entry(part.day.clone()).or_default() += part.rows;
    }
    days
}

/// Days with what came to them, for people.
pub fn said(late: &[(String, u64)]) -> String {
    let shown = late.iter().take(SHOWN).map(|(day, n)| format!("{day} ({})", human_count(*n)));
    let shown: Vec<String> = shown.collect();
    let further = late.len().saturating_sub(SHOWN);
    let more = if further > 0 { format!(" and {further} further days") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The days of a store that a run analyses as a whole, with their rows: to be noted when it has done so.
#[derive(Clone, Debug)]
pub struct Analysed {
    place: Place,
    days: Rows,
}

impl Analysed {
    pub(crate) fn of(place: &Place, segments: &[Segment], span: &Span) -> Self {
        let mut days = rows(segments);
        let starts: BTreeMap<&str, i64> =
            segments.iter().flat_map(|s| &s.parts).map(|p| (p.day.as_str(), day(p.first.0))).collect();
        let is_whole = |name: &str| {
            starts.get(name).is_some_and(|day| {
                let first = day.saturating_mul(DAY);
                span.has(Timestamp(first)) && span.has(Timestamp(first.saturating_add(DAY - 1)))
            })
        };
        days.retain(|name, _| span.sites.is_empty() && is_whole(name));
        Self { place: place.clone(), days }
    }

    /// Notes that these days were analysed with these rows.
    ///
    /// # Errors
    /// The store cannot be written, or is being written.
    pub fn note(&self) -> Result<(), StoreError> {
        let mut all = rested(&self.place)?;
        if self.days.iter().all(|(day, rows)| all.days.get(day) == Some(rows)) {
            return Ok(());
        }
        let _lock = self.place.lock()?;
        all = rested(&self.place)?;
        all.days.extend(self.days.clone());
        self.place.write_json(FILE, &all)
    }
}

/// Forgets that days before this one were analysed. Whoever calls it holds the lock.
pub fn forget(place: &Place, first: &str) -> Result<(), StoreError> {
    let mut all = rested(place)?;
    let before = all.days.len();
    all.days.retain(|day, _| day.as_str() >= first);
    if all.days.len() < before { place.write_json(FILE, &all) } else { Ok(()) }
}
