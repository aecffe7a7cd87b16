//! How the level comes about, stage by stage, as a picture.

use maud::{Markup, html};
use verdict::{HostStory, Verdict};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 96.0;
const ROW: f64 = 24.0;
/// Room for the last number.
const RIGHT: f64 = 120.0;

/// The picture: bars from where the sum stood to where it stands, to the last tenth.
pub fn waterfall(s: &HostStory) -> Markup {
    let mut steps: Vec<(&str, f64)> = Vec::new();
    if s.carried_db > 0.0 {
        steps.push(("carried", s.carried_db));
    }
    steps.extend(s.stages.iter().map(|(stage, score)| (stage.name(), score.db)));
    let mut sum = 0.0;
    let rows: Vec<(&str, f64, f64, f64)> = steps
        .into_iter()
        .map(|(name, db)| {
            let before = sum;
            sum = tenths(sum + db);
            (name, db, before, sum)
        })
        .collect();
    let low = rows.iter().map(|r| r.3).fold(0.0, f64::min);
    let high = rows.iter().map(|r| r.3).fold(10.0, f64::max);
    let x = |db: f64| LEFT + (db - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let height = ROW * (rows.len() + 1) as f64 + 8.0;
    let least = |v: Verdict| v.level_db(s.prior().db()).filter(|db| *db > 0.0).map(|db| (db, v.name()));
    let marks: Vec<(f64, &str)> =
        [Verdict::Suspicious, Verdict::Likely, Verdict::Infected].into_iter().filter_map(least).collect();
    html! {
        div.chart.scroll tabindex="0" role="group" aria-label={ "Waterfall of " (s.label()) } {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) role="img" aria-label={ "How " (s.label()) " comes to " (format!("{:+.1}", s.level_db)) " decibans" } {
                @for mark in [0.0].into_iter().chain(marks.iter().map(|m| m.0)) {
                    @if mark >= low && mark <= high { line.level x1=(px(x(mark))) x2=(px(x(mark))) y1="0" y2=(px(height - ROW)) { title { (mark) " dB" } } }
                }
                @for (row, (name, db, before, after)) in rows.iter().enumerate() {
                    @let y = ROW * row as f64;
                    text x="0" y=(px(y + 16.0)) { (name) }
                    rect class={ "bar " (if *db < 0.0 { "minus" } else { *name }) } x=(px(x(before.min(*after)))) y=(px(y + 5.0)) width=(px((x(*after) - x(*before)).abs().max(1.0))) height="14" {}
                    text x=(px(x(before.max(*after)) + 6.0)) y=(px(y + 16.0)) { (format!("{db:+.1}")) tspan.soft { (format!(" → {after:+.1}")) } }
                }
                text x="0" y=(px(ROW * rows.len() as f64 + 18.0)) font-weight="700" { "level " (format!("{:+.1} dB", s.level_db)) }
                @for (mark, name) in marks.iter().copied() {
                    @if mark <= high && (name != "likely" || high < 90.0) { text.soft x=(px(x(mark) + 3.0)) y=(px(ROW * rows.len() as f64 + 18.0)) { (mark) @if high < 60.0 { " " (name) } } }
                }
            }
        }
    }
}

fn tenths(v: f64) -> f64 {
    (v * 10.0).round() / 10.0 + 0.0
}

fn px(v: f64) -> String {
    format!("{v:.1}")
}
