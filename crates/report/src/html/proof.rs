//! Every piece of evidence, a row each: when, what, with whom, which technique, and how to check it.

use std::collections::BTreeSet;

use behaviour::Technique;
use maud::{Markup, html};
use record::{Evidence, Stage, clean, defang};
use verdict::{HostStory, ScoredEvidence};

use super::{full, numbers};
use crate::explain::{checks, fact};
use crate::lines::CaptureLine;
use crate::profile::place;
use crate::prose::describe;
use crate::terminal::{in_order, trimmed};

/// Pieces that are shown.
const MOST: usize = 200;
/// Remotes that are named of one.
const REMOTES: usize = 3;

/// The names of the techniques that a behaviour shows.
pub(super) fn techniques(e: &Evidence) -> Vec<&'static Technique> {
    let about = behaviour::entry(&e.behaviour).map_or(&[][..], |b| b.about.attack);
    about.iter().filter_map(|id| Technique::of(id)).collect()
}

/// The table, folded: what counts, and below it what only led there.
pub(super) fn proof(
    capture: &CaptureLine,
    s: &HostStory,
    link: &dyn Fn(&Evidence) -> Option<String>,
) -> Markup {
    let counts: BTreeSet<*const ScoredEvidence> =
        in_order(s).into_iter().flat_map(|(.., all)| all).map(std::ptr::from_ref).collect();
    let counts = |e: &&ScoredEvidence| counts.contains(&std::ptr::from_ref(*e));
    let (last, steps): (Vec<&ScoredEvidence>, Vec<&ScoredEvidence>) = s.evidence.iter().partition(counts);
    html! {
        details.deep {
            summary { "Every piece of evidence, with values, thresholds and how to check (" (s.evidence.len()) ")" }
            (table(capture, s, &last, link))
            @if !steps.is_empty() {
                details { summary { "Earlier steps of the same (" (steps.len()) ")" } (table(capture, s, &steps, link)) }
            }
            @if last.len().max(steps.len()) > MOST || s.evidence_dropped > 0 { p.soft { "More stands in the case; " (s.evidence_dropped) " pieces were not kept." } }
        }
    }
}

fn table(
    capture: &CaptureLine,
    s: &HostStory,
    all: &[&ScoredEvidence],
    link: &dyn Fn(&Evidence) -> Option<String>,
) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Evidence" {
            table.evidence {
                thead { tr { th { "time" } th { "stage" } th { "what was seen" } th { "remote" } th { "ATT&CK" } th.n { "alone" } } }
                tbody { @for e in all.iter().take(MOST) { (row(capture, s, e, link)) } }
            }
        }
    }
}

fn row(
    capture: &CaptureLine,
    s: &HostStory,
    e: &ScoredEvidence,
    link: &dyn Fn(&Evidence) -> Option<String>,
) -> Markup {
    let v = &e.evidence;
    html! {
        tr id={ "e-" (v.id()) "-" (v.ts.0) } {
            td.t { (full(v.started)) }
            td { span class={ "stage " (v.stage.name()) } { (v.stage) } }
            td.w {
                @if let Some(to) = link(v) { a href=(to) { (describe(v)) } } @else { (describe(v)) }
                details {
                    summary { "why, and how to check" }
                    p.soft { code { (v.behaviour) "/" (clean(&v.key)) } ": " (trimmed(v.value)) " " (clean(&v.unit)) " against " (trimmed(v.threshold)) " (" (clean(&v.source)) "), grades "
                        (v.grades.iter().map(|g| g.name.replace('_', " ")).collect::<Vec<_>>().join(", ")) ", id " code { (v.id()) }
                        @if !v.packets.is_empty() { "; " (capture.proof_word(&v.packets)) " " (numbers(&v.packets)) } }
                    @for (name, value) in &v.facts { p.soft { (name.replace('_', " ")) ": " (fact(value)) } }
                    @for check in checks(capture, &v.packets) { p { code { (check) } } }
                    @for id in v.community_ids.iter().take(4) { p.soft { "Community ID " code { (id) } } }
                }
            }
            td.w { (remotes(s, v)) }
            td { @for t in techniques(v) { div { (t.name) " " span.soft { (t.id) } } } }
            td.n { (format!("{:+.1} dB", e.db)) }
        }
    }
}

/// Whom it was with: addresses, with what DNS called them and where they are.
fn remotes(s: &HostStory, e: &Evidence) -> Markup {
    html! {
        @if !matches!(e.stage, Stage::Cycle | Stage::Order) {
            @for ip in e.remotes.iter().take(REMOTES) {
                div { span.mono { (defang(&ip.to_string())) } @if let Some(name) = e.name_of(*ip) { " " (defang(name)) } @if let Some(p) = s.places.get(ip) { " " span.soft { (place(p)) } } }
            }
            @if e.remotes.len() > REMOTES { div.soft { "and " (e.remotes.len() - REMOTES) " more" } }
        }
    }
}
