//! The whole network over time: how much of which protocols there was, and when hosts were found out.

use maud::{Markup, html};
use record::{Timestamp, human_bytes, human_count};
use verdict::{HostStory, Machine, Verdict};

use super::swimlane::{LEFT, RIGHT, Scale, WIDTH, label, px, ticks};
use crate::lines::CaptureLine;

/// Height of the bars.
const BARS: f64 = 120.0;
/// Room above them for what was found.
const ABOVE: f64 = 26.0;
/// Hosts that are marked.
const MARKED: usize = 12;
/// Protocols in the table.
const PROTOCOLS: usize = 20;

/// When a host first was as much as it is.
fn found(s: &HostStory) -> Option<Timestamp> {
    s.reached.get(&s.verdict).copied().filter(|_| s.verdict >= Verdict::Suspicious)
}

/// The picture with its legend, and the protocols in numbers.
pub fn activity(capture: &CaptureLine, machines: &[Machine<'_>]) -> Markup {
    let a = &capture.activity;
    let sum = |column: &Vec<u64>| column.iter().fold(0u64, |all, n| all.saturating_add(*n));
    let most = a.bytes.iter().map(sum).max().unwrap_or(0);
    html! {
        @if most > 0 && a.column_s > 0 {
            h2 id="activity" { "The network over time" }
            (picture(capture, machines, most))
            (legend(capture))
        }
        @if !capture.services.is_empty() {
            details.deep {
                summary { "Protocols in numbers (" (capture.services.len()) ")" }
                div.scroll tabindex="0" role="group" aria-label="Protocols" {
                    table {
                        thead { tr { th { "protocol" } th.n { "flows" } th.n { "sent by who began" } th.n { "answered" } } }
                        tbody {
                            @for s in capture.services.iter().take(PROTOCOLS) {
                                tr { td { (crate::profile::named(&s.service)) } td.n { (human_count(s.flows)) } td.n { (human_bytes(s.out)) } td.n { (human_bytes(s.back)) } }
                            }
                        }
                    }
                }
                p.soft { "By content, whatever the port; bytes of payload." @if capture.services.len() > PROTOCOLS { " " (capture.services.len() - PROTOCOLS) " more stand in the JSON lines." } }
            }
        }
    }
}

fn picture(capture: &CaptureLine, machines: &[Machine<'_>], most: u64) -> Markup {
    let a = &capture.activity;
    let secs = a.column_s as f64;
    let end = a.start.plus(std::time::Duration::from_secs(a.column_s.saturating_mul(a.bytes.len() as u64)));
    let scale = Scale { from: a.start, span: end.since(a.start).as_secs_f64().max(0.001) };
    let wide = (WIDTH - LEFT - RIGHT) / a.bytes.len().max(1) as f64;
    let (marks, dated) = ticks(a.start, end);
    let height = ABOVE + BARS + 34.0;
    let floor = ABOVE + BARS;
    let tall = |bytes: u64| bytes as f64 / most as f64 * BARS;
    let seen = |t: &Timestamp| *t >= a.start && *t <= end;
    let marked =
        machines.iter().map(|m| m.strongest).filter_map(|s| Some((found(s).filter(seen)?, s))).take(MARKED);
    html! {
        div.chart.scroll tabindex="0" role="group" aria-label="The network over time" {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) role="img" aria-label={ "Bytes of each group of protocols from " (a.start) " to " (end) } {
                @for (from, to) in capture.gaps.iter().filter(|(from, to)| to.since(*from).as_secs() > a.column_s) {
                    rect.gap x=(px(scale.x(*from))) y=(px(ABOVE)) width=(px(scale.x(*to) - scale.x(*from))) height=(px(BARS)) { title { "no packet came from " (from) " to " (to) } }
                }
                text.soft x="0" y=(px(ABOVE + 12.0)) { (human_bytes(most)) }
                text.soft x="0" y=(px(ABOVE + 28.0)) { "in " (record::human_duration(std::time::Duration::from_secs(a.column_s))) }
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(ABOVE)) y2=(px(ABOVE)) {}
                @for (n, column) in a.bytes.iter().enumerate() {
                    @let x = LEFT + wide * n as f64;
                    @let begins = a.start.plus(std::time::Duration::from_secs_f64(secs * n as f64));
                    g { title { (label(begins, dated)) @for (group, bytes) in a.groups.iter().zip(column).filter(|(_, b)| **b > 0) { " · " (group) " " (human_bytes(*bytes)) } }
                        @for (group, below, bytes) in stacked(column) {
                            rect class={ "bar g" (group) } x=(px(x)) y=(px(floor - tall(below) - tall(bytes))) width=(px((wide - 0.4).max(0.4))) height=(px(tall(bytes))) {}
                        }
                    }
                }
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(floor)) y2=(px(floor)) {}
                @for t in &marks {
                    line.axis x1=(px(scale.x(*t))) x2=(px(scale.x(*t))) y1=(px(floor)) y2=(px(floor + 6.0)) {}
                    text.soft x=(px(scale.x(*t))) y=(px(floor + 20.0)) text-anchor="middle" data-t=(t) data-form=(if dated { "minute" } else { "time" }) { (label(*t, dated)) }
                }
                @for (at, s) in marked {
                    @let x = scale.x(at);
                    path class={ "found " (s.verdict.name()) } d={ "M" (px(x)) " " (px(ABOVE)) "l-6 -12h12z" } { title { (s.label()) " is " (s.verdict) " since " (at) } }
                    line class={ "found " (s.verdict.name()) } x1=(px(x)) x2=(px(x)) y1=(px(ABOVE)) y2=(px(floor)) {}
                }
            }
        }
    }
}

/// The groups of a column that have bytes, each with what lies below it.
fn stacked(column: &[u64]) -> Vec<(usize, u64, u64)> {
    let mut below = 0u64;
    let mut all = Vec::new();
    for (group, bytes) in column.iter().enumerate().filter(|(_, b)| **b > 0) {
        all.push((group, below, *bytes));
        below = below.saturating_add(*bytes);
    }
    all
}

fn legend(capture: &CaptureLine) -> Markup {
    let a = &capture.activity;
    let of = |group: usize| {
        a.bytes.iter().filter_map(|c| c.get(group)).fold(0u64, |all, n| all.saturating_add(*n))
    };
    html! {
        p.soft.legend {
            @for (n, group) in a.groups.iter().enumerate() {
                @if of(n) > 0 { span { span class={ "key g" (n) } {} " " (group) " " (human_bytes(of(n))) } }
            }
        }
        p.soft.legend { "A triangle stands where one of the strongest hosts became what it is called; point at it for which." }
    }
}
