//! The story as a picture: one lane per stage, time from left to right.

use maud::{Markup, html};
use record::{Stage, Timestamp};
use verdict::HostStory;

use crate::lines::CaptureLine;
use crate::prose::describe;
use record::human_count;

/// Width of the picture in its own units, of which the lanes take what the labels leave.
pub(super) const WIDTH: f64 = 1100.0;
pub(super) const LEFT: f64 = 96.0;
pub(super) const RIGHT: f64 = 44.0;
const LANE: f64 = 30.0;
/// Marks in one lane; more would hide each other.
const MARKS: usize = 400;
/// Ticks of the axis, at most.
const TICKS: f64 = 9.0;
/// Steps between ticks, in seconds.
const STEPS: [i64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
    604_800,
];

/// Where moments lie between left and right.
pub(super) struct Scale {
    pub from: Timestamp,
    /// Seconds.
    pub span: f64,
}

impl Scale {
    pub fn x(&self, t: Timestamp) -> f64 {
        let share = t.since(self.from).as_secs_f64() / self.span;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }
}

/// Moments of the axis, and whether they need a date.
pub(super) fn ticks(from: Timestamp, to: Timestamp) -> (Vec<Timestamp>, bool) {
    let span = to.since(from).as_secs_f64();
    let step = STEPS.into_iter().find(|s| span / *s as f64 <= TICKS);
    let step = step.unwrap_or_else(|| (span / TICKS / 604_800.0).ceil().max(1.0) as i64 * 604_800);
    let nanos = step * 1_000_000_000;
    let mut at = from.0.div_euclid(nanos).saturating_mul(nanos);
    let mut all = Vec::new();
    while at <= to.0 && all.len() < 32 {
        if at >= from.0 {
            all.push(Timestamp(at));
        }
        let Some(next) = at.checked_add(nanos) else { break };
        at = next;
    }
    (all, step >= 43_200 || from.to_string().get(..10) != to.to_string().get(..10))
}

/// The time that a picture of a story covers: that of its evidence with a margin of a twentieth, or else that of the host's flows.
pub fn window(s: &HostStory) -> Option<(Timestamp, Timestamp)> {
    let evidence = || s.evidence.iter().map(|e| &e.evidence);
    match (evidence().map(|e| e.started).min(), evidence().map(|e| e.ts).max()) {
        (Some(a), Some(b)) => {
            let margin = b.since(a) / 20;
            let low = s.first.map_or(a, |f| f.min(a));
            let high = s.last.map_or(b, |l| l.max(b));
            Some((a.minus(margin).max(low), b.plus(margin).min(high)))
        }
        _ => Some((s.first?, s.last?)),
    }
}

/// The picture. `link` gives where a mark leads, if anywhere.
pub fn swimlane(
    capture: &CaptureLine,
    s: &HostStory,
    link: &dyn Fn(&record::Evidence) -> Option<String>,
) -> Markup {
    let lanes: Vec<Stage> = Stage::STORY
        .into_iter()
        .filter(|st| s.stages.contains_key(st) || s.verdict > verdict::Verdict::Quiet)
        .collect();
    let Some((from, to)) = window(s) else { return html! {} };
    let scale = Scale { from, span: to.since(from).as_secs_f64().max(0.001) };
    let height = LANE * lanes.len() as f64 + 34.0;
    let (marks, dated) = ticks(from, to);
    let last = to.to_string();
    // A picture may not hold links.
    let role = if s.evidence.iter().any(|e| link(&e.evidence).is_some()) { "group" } else { "img" };
    html! {
        div.chart.scroll tabindex="0" role="group" aria-label={ "Swimlanes of " (s.label()) } {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) data-from=(from.0) data-to=(to.0) data-left=(LEFT) data-right=(WIDTH - RIGHT) role=(role) aria-label={ "Stages of " (s.label()) " from " (from) " to " (last) } {
                @for (a, b) in &capture.gaps {
                    @if *b > from && *a < to {
                        rect.gap x=(px(scale.x(*a))) y="0" width=(px(scale.x(*b) - scale.x(*a))) height=(px(height - 34.0)) { title { "no packet came from " (a) " to " (b) } }
                    }
                }
                @for (row, stage) in lanes.iter().enumerate() {
                    @let y = LANE * row as f64;
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(y + LANE)) y2=(px(y + LANE)) {}
                    text x="0" y=(px(y + 20.0)) { (stage) }
                    @for e in s.evidence.iter().filter(|e| e.evidence.stage == *stage).take(MARKS) {
                        (mark(&scale, y, &e.evidence, link))
                    }
                }
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(height - 34.0)) y2=(px(height - 34.0)) {}
                @for t in &marks {
                    line.axis x1=(px(scale.x(*t))) x2=(px(scale.x(*t))) y1=(px(height - 34.0)) y2=(px(height - 28.0)) {}
                    text.soft x=(px(scale.x(*t))) y=(px(height - 14.0)) text-anchor="middle" data-t=(t) data-form=(if dated { "minute" } else { "time" }) { (label(*t, dated)) }
                }
            }
        }
    }
}

pub(super) fn label(t: Timestamp, dated: bool) -> String {
    let full = t.to_string();
    if dated {
        full.get(5..16).unwrap_or_default().replace('T', " ")
    } else {
        full.get(11..19).unwrap_or_default().to_owned()
    }
}

/// A length with one decimal, so that the same story gives the same bytes.
pub(super) fn px(v: f64) -> String {
    format!("{v:.1}")
}

/// A bar as long as the evidence took, and a disc as large as it has packets.
fn mark(
    scale: &Scale,
    y: f64,
    e: &record::Evidence,
    link: &dyn Fn(&record::Evidence) -> Option<String>,
) -> Markup {
    let (a, b) = (scale.x(e.started), scale.x(e.ts));
    let radius = 4.0 + (e.packets.len().max(1) as f64).log2().min(5.0);
    let drawn = html! {
        @if b - a > 1.0 { rect class={ "bar " (e.stage.name()) } x=(px(a)) y=(px(y + 13.0)) width=(px(b - a)) height="4" fill-opacity=".45" {} }
        circle class={ "m " (e.stage.name()) } cx=(px(a)) cy=(px(y + 15.0)) r=(px(radius)) {
            title { (e.started) " " (describe(e)) " · " (human_count(e.packets.len() as u64)) " packets named" }
        }
    };
    match link(e) {
        Some(to) => html! { a href=(to) aria-label=(describe(e)) { (drawn) } },
        None => drawn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let of = |secs: i64| {
            ticks(Timestamp::from_secs(1_207_000_003), Timestamp::from_secs(1_207_000_003 + secs))
        };
        for secs in [1, 59, 1_700, 86_400 * 3, 86_400 * 400] {
            let (all, _) = of(secs);
            assert!((1..=10).contains(&all.len()), "{secs}: {}", all.len());
        }
        assert_eq!(label(of(1_700).0[0], false), "21:50:00");
        assert!(of(86_400 * 3).1 && !of(1_700).1);
    }
}
