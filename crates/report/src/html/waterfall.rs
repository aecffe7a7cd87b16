//! How the level comes about, stage by stage, as a picture.

use maud::{Markup, html};
use verdict::{HostStory, Verdict};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 96.0;
const ROW: f64 = 24.0;
/// Room for the last number.
const RIGHT: f64 = 120.0;
/// A letter's width, in the same units.
const LETTER: f64 = 7.0;

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
    let labels = labels(&marks, high, x);
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
                @for (at, label) in &labels { text.soft x=(px(*at)) y=(px(ROW * rows.len() as f64 + 18.0)) { (label) } }
            }
        }
    }
}

/// Where the thresholds' names stand: beside each as many words as there is room for before the next, and none where there is room for none.
fn labels(marks: &[(f64, &str)], high: f64, x: impl Fn(f64) -> f64) -> Vec<(f64, String)> {
    // What stands before all is the level itself.
    let mut free = LEFT + 40.0;
    let shown: Vec<&(f64, &str)> = marks.iter().filter(|(mark, _)| *mark <= high).collect();
    let mut placed = Vec::new();
    for (n, (mark, name)) in shown.iter().enumerate() {
        let at = x(*mark) + 3.0;
        let next = shown.get(n + 1).map_or(WIDTH, |(mark, _)| x(*mark));
        let both = [format!("{mark} {name}"), (*name).to_owned(), mark.to_string()];
        let fits = |text: &&String| at >= free && at + LETTER * text.len() as f64 <= next;
        if let Some(text) = both.iter().find(fits) {
            free = at + LETTER * text.len() as f64;
            placed.push((at, text.clone()));
        }
    }
    placed
}

fn tenths(v: f64) -> f64 {
    (v * 10.0).round() / 10.0 + 0.0
}

fn px(v: f64) -> String {
    format!("{v:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_as_many_words_as_there_is_room_for() {
        let marks = [(10.0, "suspicious"), (30.0, "likely"), (40.0, "infected")];
        let at = |high: f64| move |db: f64| LEFT + db / high * (WIDTH - LEFT - RIGHT);
        let of =
            |high: f64| -> Vec<String> { labels(&marks, high, at(high)).into_iter().map(|l| l.1).collect() };
        assert_eq!(of(50.0), ["10 suspicious", "30 likely", "40 infected"]);
        assert_eq!(of(300.0).last().map(String::as_str), Some("40 infected"), "the last has room");
        assert!(of(300.0).len() < 3);
        for high in [50.0, 120.0, 200.0, 300.0] {
            let all = labels(&marks, high, at(high));
            assert!(
                all.windows(2).all(|w| w[0].0 + LETTER * w[0].1.len() as f64 <= w[1].0),
                "{high}: {all:?}"
            );
        }
    }
}
