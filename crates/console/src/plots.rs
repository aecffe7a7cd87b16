//! Pictures of one host: how regular its calls are, how much mail it sends, whom it talks with.

use std::net::IpAddr;

use axum::http::StatusCode;
use case::{Peer, Span};
use maud::{Markup, html};
use record::Timestamp;
use report::html::full;
use report::{clean, defang, human_bytes, human_count, number};
use verdict::HostStory;

use crate::pages::{marked, only, page, span, tabs};
use crate::{Ask, Console, Reply, encoded};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;
/// Room for labels.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 24.0;
/// Bars of a histogram.
const BARS: usize = 40;
/// Remotes offered for a plot, and drawn in a graph.
const OFFERED: u32 = 200;
const DRAWN: usize = 24;

fn px(v: f64) -> String {
    format!("{v:.1}")
}

fn no_flows(console: &Console) -> Reply {
    Reply::Wrong(StatusCode::CONFLICT, console.why_no_flows())
}

/// Points over time, from the first to the last.
fn points(name: &str, unit: &str, all: &[(i64, f64)]) -> Markup {
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        return html! { p.soft { "Nothing to show." } };
    };
    let span = ((last.0 - first.0) as f64).max(1.0);
    let high = all.iter().map(|p| p.1).fold(1e-9, f64::max);
    let step = (all.len() / 4_000).max(1);
    html! {
        figure { figcaption { (name) } div.chart.scroll tabindex="0" role="group" aria-label=(name) {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + BOTTOM) } width=(WIDTH) height=(HEIGHT + BOTTOM) role="img" aria-label={ (name) ": " (all.len()) " values, at most " (number(high)) " " (unit) } {
                line.axis x1=(LEFT) x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
                text.soft x="0" y="14" { (number(high)) } text.soft x="0" y=(HEIGHT) { "0 " (unit) }
                @for (t, v) in all.iter().step_by(step) {
                    circle.m.command cx=(px(LEFT + (t - first.0) as f64 / span * (WIDTH - LEFT - 6.0))) cy=(px(HEIGHT - v / high * (HEIGHT - 14.0))) r="2.5" {}
                }
                text.soft x=(LEFT) y=(HEIGHT + 18.0) data-t=(Timestamp(first.0)) data-form="full" { (Timestamp(first.0)) }
                text.soft x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" data-t=(Timestamp(last.0)) data-form="full" { (Timestamp(last.0)) }
            }
        } }
    }
}

/// How often which value.
fn histogram(name: &str, unit: &str, values: &[f64]) -> Markup {
    let high = values.iter().copied().fold(0.0, f64::max);
    if values.is_empty() {
        return html! { p.soft { "Nothing to show." } };
    }
    let mut bars = [0usize; BARS];
    for v in values {
        bars[((v / high.max(1e-9) * (BARS as f64 - 1.0)) as usize).min(BARS - 1)] += 1;
    }
    let most = bars.iter().copied().max().unwrap_or(1).max(1);
    let width = (WIDTH - LEFT) / BARS as f64;
    html! {
        figure { figcaption { (name) } div.chart.scroll tabindex="0" role="group" aria-label=(name) {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + BOTTOM) } width=(WIDTH) height=(HEIGHT + BOTTOM) role="img" aria-label={ (name) ": " (values.len()) " values from 0 to " (number(high)) " " (unit) } {
                line.axis x1=(LEFT) x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
                text.soft x="0" y="14" { (most) }
                @for (i, n) in bars.iter().enumerate() {
                    @if *n > 0 {
                        @let h = *n as f64 / most as f64 * (HEIGHT - 14.0);
                        rect class="bar update" x=(px(LEFT + i as f64 * width)) y=(px(HEIGHT - h)) width=(px(width - 1.0)) height=(px(h)) { title { (n) " about " (number(high * i as f64 / (BARS as f64 - 1.0))) " " (unit) } }
                    }
                }
                text.soft x=(LEFT) y=(HEIGHT + 18.0) { "0" } text.soft x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" { (number(high)) " " (unit) }
            }
        } }
    }
}

/// How regular the calls of one remote are.
pub fn beacon(console: &Console, s: &HostStory, ask: &Ask) -> Reply {
    let Some(flows) = console.flows.as_ref().and_then(|f| f.lock().ok()) else { return no_flows(console) };
    let (from, to, on) = span(ask);
    let chosen_time = Span { from: from.unwrap_or(Span::ALL.from), to: to.unwrap_or(Span::ALL.to) };
    let peers = match flows.peers(&console.case.local(s), chosen_time, OFFERED) {
        Ok(peers) => peers,
        Err(e) => return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    let regular = s.evidence.iter().map(|e| &e.evidence).find(|e| e.behaviour == "beacon");
    let marks = marked(s);
    let chosen: Option<IpAddr> = ask
        .text("remote")
        .parse()
        .ok()
        .or_else(|| regular.and_then(|e| e.remotes.first().copied()))
        .or_else(|| peers.iter().find(|p| marks.contains_key(&p.remote)).and_then(|p| p.remote.parse().ok()))
        .or_else(|| peers.first().and_then(|p| p.remote.parse().ok()));
    let calls =
        chosen.and_then(|r| flows.contacts(&console.case.local(s), r, chosen_time).ok()).unwrap_or_default();
    let gaps: Vec<(i64, f64)> =
        calls.iter().zip(calls.iter().skip(1)).map(|(a, b)| (b.0, (b.0 - a.0) as f64 / 1e9)).collect();
    let mut sorted: Vec<f64> = gaps.iter().map(|g| g.1).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let mut off: Vec<f64> = sorted.iter().map(|g| (g - median).abs()).collect();
    off.sort_by(f64::total_cmp);
    let mad = off.get(off.len() / 2).copied().unwrap_or_default();
    let sizes: Vec<f64> = calls.iter().map(|c| c.1 as f64).collect();
    let body = html! {
        (tabs(console, s, "beacon", &on))
        (only(s, "beacon", ask))
        h1 { "Calls of " (s.label()) @if let Some(r) = chosen { " to " (r) } }
        form.search method="get" {
            @if let Some(t) = from { input type="hidden" name="from" value=(t.0); }
            @if let Some(t) = to { input type="hidden" name="to" value=(t.0); }
            label { "remote " select name="remote" {
                @for p in &peers { option value=(p.remote) selected[chosen.is_some_and(|c| c.to_string() == p.remote)] { (p.remote) " " (p.name.as_deref().map(defang).unwrap_or_default()) " (" (p.flows) ")" } }
            } }
            button { "Show" }
        }
        p { (calls.len()) (if calls.len() == 1 { " flow" } else { " flows" }) @if gaps.len() > 1 { "; median interval " strong { (number(median)) " s" } ", median absolute deviation " strong { (number(mad)) " s" } @if median > 0.0 { " (" (format!("{:.0} %", 100.0 * mad / median)) ")" } } "." }
        (points("Intervals over time", "s", &gaps))
        (histogram("How often which interval", "s", &sorted))
        (histogram("How many bytes the host sent", "bytes", &sizes))
    };
    Reply::Page(page(console, &format!("{} beacons", s.label()), &body))
}

/// A minute in nanoseconds.
const MINUTE: i64 = 60_000_000_000;
/// Bars of mail over time, at most.
const MINUTES: i64 = 240;

/// The shortest time that holds nine tenths of what was counted: the first minute of it, and the last.
fn burst(all: &[(i64, f64)]) -> Option<(i64, i64)> {
    let wanted = all.iter().map(|m| m.1).sum::<f64>() * 0.9;
    let (mut from, mut held, mut best) = (0, 0.0, None);
    for (to, minute) in all.iter().enumerate() {
        held += minute.1;
        while from < to && held - all[from].1 >= wanted {
            held -= all[from].1;
            from += 1;
        }
        let span = (all[from].0, minute.0);
        if held >= wanted && best.is_none_or(|(a, b): (i64, i64)| span.1 - span.0 < b - a) {
            best = Some(span);
        }
    }
    best
}

/// Bars over a time: what was counted in each minute of it, or in several where it is long.
fn bars(name: &str, unit: &str, all: &[(i64, f64)], (from, to): (i64, i64)) -> Markup {
    let minutes = ((to - from) / MINUTE + 1).max(1);
    let each = (minutes + MINUTES - 1) / MINUTES;
    let count = ((minutes + each - 1) / each) as usize;
    let mut sums = vec![0.0; count];
    for (at, value) in all.iter().filter(|m| (from..=to).contains(&m.0)) {
        if let Some(sum) = sums.get_mut(((at - from) / MINUTE / each) as usize) {
            *sum += value;
        }
    }
    let high = sums.iter().copied().fold(1.0, f64::max);
    let width = (WIDTH - LEFT) / count as f64;
    let in_each = if each == 1 { "a minute".to_owned() } else { format!("in {each} minutes") };
    html! {
        figure { figcaption { (name) } div.chart.scroll tabindex="0" role="group" aria-label=(name) {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + BOTTOM) } width=(WIDTH) height=(HEIGHT + BOTTOM) role="img" aria-label={ (name) ": at most " (number(high)) " " (unit) " " (in_each) } {
                line.axis x1=(LEFT) x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
                text.soft x="0" y="14" { (number(high)) } text.soft x="0" y="30" { (in_each) } text.soft x="0" y=(HEIGHT) { "0" }
                @for (n, sum) in sums.iter().enumerate().filter(|(_, s)| **s > 0.0) {
                    @let tall = sum / high * (HEIGHT - 14.0);
                    rect class="bar act" x=(px(LEFT + n as f64 * width)) y=(px(HEIGHT - tall)) width=(px((width - 0.6).max(0.6))) height=(px(tall)) { title { (Timestamp(from + n as i64 * each * MINUTE)) " " (number(*sum)) " " (unit) } }
                }
                text.soft x=(LEFT) y=(HEIGHT + 18.0) data-t=(Timestamp(from)) data-form="full" { (Timestamp(from)) }
                text.soft x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" data-t=(Timestamp(to + MINUTE)) data-form="full" { (Timestamp(to + MINUTE)) }
            }
        } }
    }
}

/// Mail per minute.
pub fn mail(console: &Console, s: &HostStory, ask: &Ask) -> Reply {
    let Some(flows) = console.flows.as_ref().and_then(|f| f.lock().ok()) else { return no_flows(console) };
    let (from, to, on) = span(ask);
    let chosen_time = Span { from: from.unwrap_or(Span::ALL.from), to: to.unwrap_or(Span::ALL.to) };
    let minutes = match flows.mail_by_minute(&console.case.local(s), chosen_time) {
        Ok(minutes) => minutes,
        Err(e) => return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    let of = |value: fn(&(i64, i64, i64, i64)) -> i64| {
        minutes.iter().map(|m| (m.0, value(m) as f64)).collect::<Vec<_>>()
    };
    let whole = ask.text("all") == "1";
    let sessions = of(|m| m.1);
    let all_of_it = sessions.first().zip(sessions.last()).map(|(a, b)| (a.0, b.0));
    let zoomed = if whole { all_of_it } else { burst(&sessions) };
    let here = format!(
        "/host/{}/mail-volume{}",
        s.id(),
        if on.is_empty() { "?".to_owned() } else { format!("{on}&") }
    );
    let sum = |value: fn(&(i64, i64, i64, i64)) -> i64| minutes.iter().map(value).sum::<i64>().unsigned_abs();
    let body = html! {
        (tabs(console, s, "mail-volume", &on))
        (only(s, "mail-volume", ask))
        h1 { "Mail of " (s.label()) }
        p { (human_count(sum(|m| m.1))) " sessions, " (human_count(sum(|m| m.2))) " messages, " (human_count(sum(|m| m.3))) " refusals. " a href={ "/host/" (s.id()) "/mail" } { "Every session" } }
        @match zoomed {
            None => p.soft { "Nothing to show." },
            Some(time) => {
                @if !whole { p { "Nine tenths of the sessions went from " (full(Timestamp(time.0))) " to " (full(Timestamp(time.1 + MINUTE))) ", which is what is shown. " a href={ (here) "all=1" } { "All of the time" } } }
                @else { p { a href=(here.trim_end_matches(['?', '&'])) { "The time of most of it alone" } } }
                (bars("Sessions", "sessions", &of(|m| m.1), time))
                (bars("Messages", "messages", &of(|m| m.2), time))
                (bars("Refusals (4xx and 5xx)", "refusals", &of(|m| m.3), time))
            }
        }
    };
    Reply::Page(page(console, &format!("{} mail volume", s.label()), &body))
}

/// Whom a host talks with.
pub fn peers(console: &Console, s: &HostStory, ask: &Ask) -> Reply {
    let Some(flows) = console.flows.as_ref().and_then(|f| f.lock().ok()) else { return no_flows(console) };
    let (from, to, on) = span(ask);
    let chosen_time = Span { from: from.unwrap_or(Span::ALL.from), to: to.unwrap_or(Span::ALL.to) };
    let peers = match flows.peers(&console.case.local(s), chosen_time, OFFERED) {
        Ok(peers) => peers,
        Err(e) => return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    let marks = marked(s);
    let body = html! {
        (tabs(console, s, "peers", &on))
        (only(s, "peers", ask))
        h1 { "Whom " (s.label()) " talks with" }
        div.scroll tabindex="0" role="group" aria-label="Peers" {
            table.rows.dense {
                thead { tr { th { "remote" } th { "name" } th.n { "flows" } th.n { "sent" } th.n { "came back" } th { "first" } th { "last" } th { "in evidence" } } }
                tbody {
                    @for p in &peers {
                        tr data-row class=[marks.contains_key(&p.remote).then_some("marked")] {
                            td.mono { a href={ "/host/" (s.id()) "/flow?q=" (encoded(&format!("resp:{}", p.remote))) } { (p.remote) } " " a href={ "/remote/" (encoded(&p.remote)) } title="who else spoke with it" { "others" } }
                            td { (p.name.as_deref().map(defang).unwrap_or_default()) }
                            td.n { (p.flows) } td.n { (human_bytes(p.out.unsigned_abs())) } td.n { (human_bytes(p.back.unsigned_abs())) }
                            td.t { (full(Timestamp(p.first))) } td.t { (full(Timestamp(p.last))) }
                            td { (marks.get(&p.remote).map(|m| clean(m)).unwrap_or_default()) }
                        }
                    }
                }
            }
        }
        h2 { "The foremost of them" }
        (graph(s, &peers, &|p| marks.contains_key(&p.remote)))
    };
    Reply::Page(page(console, &format!("{} peers", s.label()), &body))
}

/// The host in the middle and its remotes around it; the wider the line, the more flows.
fn graph(s: &HostStory, peers: &[Peer], marked: &dyn Fn(&Peer) -> bool) -> Markup {
    // Those in evidence first: they are why one looks.
    let mut shown: Vec<&Peer> = peers.iter().collect();
    shown.sort_by_key(|p| (!marked(p), std::cmp::Reverse(p.flows)));
    shown.truncate(DRAWN);
    let (w, h) = (WIDTH, 420.0);
    let most = shown.iter().map(|p| p.flows).max().unwrap_or(1).max(1) as f64;
    html! {
        div.chart.scroll tabindex="0" role="group" aria-label="Graph of peers" {
            svg viewBox={ "0 0 " (w) " " (h) } width=(w) height=(h) role="img" aria-label={ "The " (shown.len()) " foremost remotes of " (s.label()) } {
                @for (i, p) in shown.iter().enumerate() {
                    @let angle = i as f64 / shown.len() as f64 * std::f64::consts::TAU;
                    // Near top and bottom neighbours stand at two heights, so that their labels do not meet.
                    @let reach = if angle.cos().abs() < 0.5 && i % 2 == 0 { 140.0 } else { 180.0 };
                    @let (x, y) = (w / 2.0 + angle.cos() * 300.0, h / 2.0 + angle.sin() * reach);
                    line.edge x1=(px(w / 2.0)) y1=(px(h / 2.0)) x2=(px(x)) y2=(px(y)) stroke-width=(px(1.0 + (p.flows as f64).ln_1p() / most.ln_1p() * 5.0)) {}
                    circle class=(if marked(p) { "m act" } else { "m order" }) cx=(px(x)) cy=(px(y)) r="6" { title { (p.remote) " " (p.flows) " flows" } }
                    text x=(px(x + if angle.cos() < 0.0 { -10.0 } else { 10.0 })) y=(px(y + 4.0)) text-anchor=(if angle.cos() < 0.0 { "end" } else { "start" }) { (p.remote) }
                }
                circle class="m command" cx=(px(w / 2.0)) cy=(px(h / 2.0)) r="9" {}
                text x=(px(w / 2.0)) y=(px(h / 2.0 - 14.0)) text-anchor="middle" font-weight="700" { (s.label()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MINUTE, burst};

    #[test]
    fn a_burst_is_the_shortest_time_of_most_of_it() {
        let at = |minute: i64, n: f64| (minute * MINUTE, n);
        // A trickle of a day, and a run in the middle of it.
        let mut all: Vec<(i64, f64)> = (0..24).map(|h| at(h * 60, 1.0)).collect();
        all.extend((0..30).map(|m| at(601 + m, 50.0)));
        all.sort_by_key(|m| m.0);
        let (from, to) = burst(&all).unwrap();
        assert!(
            from >= 601 * MINUTE && to <= 630 * MINUTE && to - from >= 25 * MINUTE,
            "{} {}",
            from / MINUTE,
            to / MINUTE
        );
        assert_eq!(burst(&[at(7, 3.0)]), Some((7 * MINUTE, 7 * MINUTE)));
        assert_eq!(burst(&[]), None);
    }
}
