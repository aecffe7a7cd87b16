//! Hosts over days: a row for each host, a column for each day of the calendar (UTC).

use std::time::Duration;

use maud::{Markup, html};
use record::Timestamp;
use verdict::{CALENDAR_DAYS, DayLevel, HostStory, Machine, Verdict};

use super::anchor;

const DAY: Duration = Duration::from_hours(24);
/// Days that stand side by side.
pub const COLUMNS: usize = 35;

/// The first and the last day on which hosts were heard or something was told of them; `None` where there is none.
pub fn days_of<'a>(hosts: impl IntoIterator<Item = &'a HostStory>) -> Option<[Timestamp; 2]> {
    let days = |s: &'a HostStory| s.heard.iter().flatten().copied().chain(s.calendar.iter().map(|d| d.day));
    let join = |span: Option<[Timestamp; 2]>, day: Timestamp| {
        Some(span.map_or([day; 2], |[a, b]| [a.min(day), b.max(day)]))
    };
    hosts.into_iter().flat_map(days).fold(None, join)
}

/// The date of a day: `2008-04-08`.
pub fn date(day: Timestamp) -> String {
    day.to_string().chars().take(10).collect()
}

/// As many days as stand side by side, of which `last` is the last.
pub fn columns_until(last: Timestamp) -> [Timestamp; 2] {
    [last.minus(DAY * (COLUMNS as u32 - 1)).day(), last.day()]
}

/// A table of machines over the days of a span; where a machine has several addresses, a day is that of the one of which most was told. `link` gives
/// where a day of a host leads, and `None` for the host as a whole; nothing where it leads nowhere.
pub fn calendar(
    machines: &[&Machine<'_>],
    [first, last]: [Timestamp; 2],
    link: &dyn Fn(&HostStory, Option<Timestamp>) -> Option<String>,
) -> Markup {
    let days: Vec<Timestamp> = std::iter::successors(Some(first.day()), |d| Some(d.plus(DAY)))
        .take_while(|d| *d <= last)
        .take(COLUMNS)
        .collect();
    html! {
        div.scroll tabindex="0" role="group" aria-label="Hosts over days" {
            table.days {
                thead { tr { th scope="col" { "host" } @for d in &days { th scope="col" title=(date(*d)) { (date(*d).get(5..).unwrap_or_default()) } } } }
                tbody {
                    @for m in machines {
                        @let s = m.strongest;
                        @let name = if s.since.is_some() { s.id().to_string() } else { s.label() };
                        tr data-row {
                            th scope="row" { @if let Some(to) = link(s, None) { a href=(to) { (name) } } @else { (name) } }
                            @for d in &days { (cell(m, *d, link)) }
                        }
                    }
                }
            }
        }
        p.soft { "I infected, L likely, S suspicious, with the highest level of the day in dB; a verdict stands on the days after while what it rests on is seen again. · heard, and nothing told. Empty: not heard, or longer ago than is kept. Days are UTC." }
    }
}

fn cell<'a>(
    m: &Machine<'a>,
    day: Timestamp,
    link: &dyn Fn(&HostStory, Option<Timestamp>) -> Option<String>,
) -> Markup {
    let of = |s: &'a HostStory| s.calendar.iter().find(|d| d.day == day).map(|d| (d, s));
    let mut told: Vec<(&DayLevel, &HostStory)> = m.addresses().filter_map(of).collect();
    // Of equals the strongest address, which is the first.
    told.sort_by(|(a, _), (b, _)| b.verdict.cmp(&a.verdict).then(b.level_db.total_cmp(&a.level_db)));
    let Some((d, s)) = told.first().copied() else {
        let kept = |s: &HostStory| {
            s.calendar.len() < CALENDAR_DAYS || s.calendar.first().is_some_and(|d| d.day < day)
        };
        let heard = |s: &HostStory| s.heard.iter().any(|[a, b]| (*a..=*b).contains(&day));
        let silent = m.addresses().any(heard) && m.addresses().all(kept);
        return html! { td { @if silent { span title={ (date(day)) ": heard, nothing told" } { "·" } } } };
    };
    let text = format!("{}{:+.0}", letter(d), d.level_db);
    let title = format!(
        "{}: {}, up to {:+.1} dB; evidence was told {}",
        date(day),
        d.verdict,
        d.level_db,
        if d.evidence == 1 { "once".to_owned() } else { format!("{} times", d.evidence) },
    );
    html! { td class=(d.verdict.name()) { @if let Some(to) = link(s, Some(day)) { a href=(to) title=(title) { (text) } } @else { span title=(title) { (text) } } } }
}

const fn letter(d: &DayLevel) -> &'static str {
    match d.verdict {
        Verdict::Infected => "I ",
        Verdict::Likely => "L ",
        Verdict::Suspicious => "S ",
        Verdict::Quiet | Verdict::Inconclusive => "",
    }
}

/// A machine's own days, the last of them, where it was heard on more than one.
pub(super) fn of_machine(m: &Machine<'_>) -> Markup {
    let Some([first, last]) = days_of(m.addresses()).filter(|[first, last]| first < last) else {
        return html! {};
    };
    let [from, _] = columns_until(last);
    html! {
        h3 { "By day" }
        @if from > first { p.soft { "The last " (COLUMNS) " days; it was first heard on " (date(first)) "." } }
        (calendar(&[m], [first.max(from), last], &|s, day| day.is_none().then(|| format!("#{}", anchor(s)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> Timestamp {
        Timestamp::from_secs(n * 86_400)
    }

    #[test]
    fn a_window_ends_with_its_day() {
        let [a, b] = columns_until(day(100).plus(Duration::from_hours(5)));
        assert_eq!((a, b), (day(100 - 34), day(100)));
        assert_eq!(date(day(0)), "1970-01-01");
    }
}
