//! The page's first words: for who has a minute. How many hosts are what, what became of each that is accused, and what to do.

use maud::{Markup, html};
use record::human_count;
use verdict::{HostStory, Machine, Verdict};

use super::{anchor, chip, summary};
use crate::lines::CaptureLine;
use crate::terminal::{Dates, sentence};

/// Hosts that are named one by one.
const NAMED: usize = 10;

/// The section. `is_told` says whether a host has a story on the page.
pub(super) fn brief(
    capture: &CaptureLine,
    machines: &[Machine<'_>],
    is_told: &dyn Fn(&HostStory) -> bool,
) -> Markup {
    let days = Dates::of(capture);
    let of = |v: Verdict| machines.iter().filter(|m| m.strongest.verdict == v).count();
    let accused: Vec<&HostStory> =
        machines.iter().map(|m| m.strongest).filter(|s| s.verdict >= Verdict::Suspicious).collect();
    html! {
        section.brief aria-label="In short" {
            ul.tiles {
                @for v in [Verdict::Infected, Verdict::Likely, Verdict::Suspicious, Verdict::Quiet, Verdict::Inconclusive] {
                    li class={ "tile " (v.name()) @if of(v) == 0 { " none" } } { strong { (human_count(of(v) as u64)) } " " (v) }
                }
            }
            p.lead { (summary(capture, machines)) }
            @if !accused.is_empty() {
                ul.answers {
                    @for s in accused.iter().take(NAMED) {
                        li { (chip(s.verdict)) " " @if is_told(s) { a href={ "#" (anchor(s)) } { (sentence(s, days)) } } @else { (sentence(s, days)) } }
                    }
                }
                @if accused.len() > NAMED { p { (human_count((accused.len() - NAMED) as u64)) " more stand below." } }
            }
            ul.plain { @for line in advice(&accused, of(Verdict::Inconclusive)) { li { (line) } } }
        }
    }
}

/// What is to be done next, by the gravest that there is.
fn advice(accused: &[&HostStory], open: usize) -> Vec<&'static str> {
    let has = |v: Verdict| accused.iter().any(|s| s.verdict == v);
    [
        (
            has(Verdict::Infected),
            "Infected: take it off the network, keep its memory and disk for whoever examines it, and change the passwords that were used on it. What to block stands under \"Indicators\".",
        ),
        (
            has(Verdict::Likely),
            "Likely: the odds are at least even. Keep it from the rest of the network until somebody has looked at the machine itself.",
        ),
        (
            has(Verdict::Suspicious),
            "Suspicious: read what it did, and beside it what it would be if it were honest, before anything is done to it.",
        ),
        (
            accused.is_empty() && open > 0,
            "Who could not be judged is not cleared: each such host says what was missing.",
        ),
    ]
    .into_iter()
    .filter_map(|(holds, what)| holds.then_some(what))
    .collect()
}
