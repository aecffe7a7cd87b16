//! The story for people who would rather look: one self-contained page, without script, without network.

mod activity;
mod brief;
mod calendar;
mod card;
mod proof;
mod swimlane;
mod waterfall;

use std::collections::BTreeSet;

use base64::Engine;
use behaviour::ATTACK_VERSION;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use record::{Evidence, HostId, PacketId, Stage, Timestamp};
use sha2::{Digest, Sha256};
use verdict::{HostStory, Machine, Note, Prior, Verdict, probable};

use crate::explain::looks_alike;
use crate::indicators::indicators;
use crate::lines::CaptureLine;
use crate::prose::{both_stories, false_alarms, told};
use crate::terminal::{Dates, clock, identity, in_order, note, second_story, suppressed, trimmed, warnings};
use record::{clean, defang, human_bytes, human_count, human_duration};

pub use activity::activity;
pub use calendar::{COLUMNS, calendar, columns_until, date, days_of};
pub use swimlane::{swimlane, window};
pub use waterfall::waterfall;

/// The style of report and console.
pub const STYLE: &str = include_str!("style.css");
/// Hosts that are told in full; the others stand on the board.
const IN_FULL: usize = 200;
/// Hosts told in full that are not folded.
const UNFOLDED: usize = 20;
/// Hosts on the board of the page.
const ON_BOARD: usize = 2_000;
/// Quiet hosts that are named in a sentence.
const NAMED: usize = 20;
/// Packets shown of a line.
const PACKETS: usize = 12;

/// What a policy must allow so that the style is applied: the hash of `style`.
pub fn style_source(style: &str) -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    format!("'sha256-{hash}'")
}

/// The whole report.
pub fn html(capture: &CaptureLine, stories: &[HostStory]) -> String {
    // A page is handed on: where its captures lie is for nobody else.
    let capture = &capture.without_paths();
    let days = Dates::of(capture);
    let machines = Machine::all(stories);
    let told = machines.iter().filter(|m| m.strongest.verdict >= Verdict::Suspicious);
    let told: Vec<&Machine<'_>> = told.collect();
    let in_full: BTreeSet<HostId> = told.iter().take(IN_FULL).map(|m| m.strongest.id()).collect();
    let policy = format!(
        "default-src 'none'; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        style_source(STYLE)
    );
    let none = |_: &Evidence| None;
    let nowhere = |_: &str| None;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "Hydrophone: " (inputs(capture)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top { h1 { "Which hosts are bots in " (inputs(capture)) "?" } }
                main {
                    (brief::brief(capture, &machines, &|s| in_full.contains(&s.id())))
                    (health(capture))
                    div.deep { (activity::activity(capture, &machines)) }
                    (board(&machines, &|s| in_full.contains(&s.id()).then(|| format!("#{}", anchor(s)))))
                    @for (n, m) in told.iter().take(IN_FULL).enumerate() {
                        @let s = m.strongest;
                        @if n < UNFOLDED { (host(capture, m, days, &none, &nowhere)) }
                        @else { details { summary { (s.label()) " " (s.verdict) " " (format!("{:+.1} dB", s.level_db)) } (host(capture, m, days, &none, &nowhere)) } }
                    }
                    @if told.len() > IN_FULL { p.warn { "The " (IN_FULL) " strongest hosts are told in full; " (human_count((told.len() - IN_FULL) as u64)) " more that are suspicious or above stand on the board, and in the case." } }
                    (still(&machines))
                    (method(capture))
                }
                footer.end { "Hydrophone " (capture.version) ". All times are UTC. Names are written so that no program makes links of them." }
            }
        }
    };
    page.into_string()
}

/// A moment that a console may show in another time zone; as text it is UTC.
pub fn moment(t: Timestamp, days: Dates) -> Markup {
    html! { time datetime=(t) data-form=(days.form()) { (clock(t, days)) } }
}

/// A moment with its date, to the microsecond.
pub fn full(t: Timestamp) -> Markup {
    html! { time datetime=(t) data-form="full" { (t) } }
}

/// What must be said beside, with moments that can be shown in another time zone.
fn noted(n: &Note, days: Dates) -> Markup {
    html! {
        @match n {
            Note::PortBlocked { .. } | Note::Excused { .. } => (note(n, days)),
            Note::Ended { verdict, until } => {
                "was " (verdict) " until " (moment(*until, Dates::Day)) ": nothing that this rested on was seen for a week"
            }
            Note::BeforeFirstMessage { likely_at, first_message_at } => {
                "likely since " (moment(*likely_at, days)) ", " (human_duration(first_message_at.since(*likely_at))) " before its first message"
            }
            Note::AfterFirstMessage { likely_at, first_message_at } => {
                "first message at " (moment(*first_message_at, days)) ", likely only since " (moment(*likely_at, days))
            }
        }
    }
}

pub(crate) fn inputs(c: &CaptureLine) -> String {
    let name = |p: &str| clean(p.rsplit('/').next().unwrap_or(p));
    match c.inputs.as_slice() {
        [] => "nothing".to_owned(),
        [one] => name(&one.path),
        [one, rest @ ..] => format!("{} and {} more", name(&one.path), rest.len()),
    }
}

/// The fragment that names a host's section.
pub fn anchor(s: &HostStory) -> String {
    let since = s.since.map(|t| format!("-{}", t.0 / 1_000_000_000)).unwrap_or_default();
    format!("host-{}{since}", s.label().replace([':', '.', '@'], "-"))
}

/// Two sentences: who is it, and what the capture can support.
pub fn summary(c: &CaptureLine, machines: &[Machine<'_>]) -> String {
    let stories = || machines.iter().map(|m| m.strongest);
    let count = |v: Verdict| stories().filter(|s| s.verdict == v).count();
    let mut found = Vec::new();
    for v in [Verdict::Infected, Verdict::Likely, Verdict::Suspicious] {
        let told = |s: &HostStory| format!("{} ({:+.1} dB)", s.label(), s.level_db);
        let these: Vec<String> = stories().filter(|s| s.verdict == v).take(3).map(told).collect();
        if !these.is_empty() {
            let more = count(v) - these.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            found.push(format!("{v}: {}{more}", these.join(", ")));
        }
    }
    let hosts = human_count(machines.len() as u64);
    let what = if machines.len() == 1 { "local host" } else { "local hosts" };
    let first = crate::terminal::headline(c, machines)
        .unwrap_or_else(|| format!("Of {hosts} {what}, {}.", found.join("; ")));
    let (quiet, inconclusive) = (count(Verdict::Quiet), count(Verdict::Inconclusive));
    let covers = match (c.first, c.last) {
        (Some(a), Some(b)) => human_duration(b.since(a)),
        _ => "nothing".to_owned(),
    };
    let partial = if c.complete { "" } else { ", but was not read to its end" };
    let say = |n: usize, what: &str| format!("{} {what}", human_count(n as u64));
    let rest = match (quiet, inconclusive) {
        (0, 0) => String::new(),
        (q, 0) => format!("; {} can be called quiet", say(q, if q == 1 { "host" } else { "hosts" })),
        (0, u) => format!(
            "; of {} it is not enough to say \"quiet\"",
            say(u, if u == 1 { "other" } else { "others" })
        ),
        (q, u) => format!(
            "; {} can be called quiet, and of {u} it is not enough to say so",
            say(q, if q == 1 { "host" } else { "hosts" })
        ),
    };
    format!("{first} The capture covers {covers}{partial}{rest}.")
}

fn health(c: &CaptureLine) -> Markup {
    let flows = c.flows.tcp + c.flows.udp + c.flows.other;
    let warnings = warnings(c);
    html! {
        h2 id="health" { "What the capture is worth" }
        @for w in &warnings { p.warn { (clean(w)) } }
        @if warnings.is_empty() { p { "No capture problems found: no drops, cuts, missing bytes or clocks that step back."
            @if c.pauses > 0 { " " (human_count(c.pauses)) @if c.pauses == 1 { " pause" } @else { " pauses" } " of more than a minute, when no packet came: an idle network looks like that, and so does a capture that stood still." } } }
        dl.facts {
            @if let (Some(a), Some(b)) = (c.first, c.last) { dt { "from, to" } dd { (full(a)) " to " (full(b)) } }
            dt { "packets" } dd { (human_count(c.packets)) " (" (human_bytes(c.bytes)) ")" }
            dt { "flows" } dd { (human_count(flows)) " (" (human_count(c.flows.tcp)) " TCP, " (human_count(c.flows.udp)) " UDP" @if c.flows.other > 0 { ", " (human_count(c.flows.other)) " other" } ")" }
            dt { "local" } dd { (clean(&c.home_chosen)) ": " (c.home.iter().take(8).cloned().collect::<Vec<_>>().join(", ")) }
        }
        details {
            summary { "Inputs and counters" }
            div.scroll tabindex="0" role="group" aria-label="Inputs" {
                table { thead { tr { th { "#" } th { "input" } th.n { "bytes" } th { "SHA-256" } } } tbody {
                    @for (n, i) in c.inputs.iter().enumerate().take(500) { tr { td.n { (n) } td.w { (clean(&i.path)) } td.n { @if let Some(s) = i.size { (human_count(s)) } } td.mono { (i.sha256.as_deref().unwrap_or("not taken")) } } }
                } }
            }
            dl.facts.deep {
                dt { "dropped by the capturing side" } dd { (human_count(c.dropped_by_capture)) }
                dt { "cut by the snap length" } dd { (human_count(c.cut_packets)) }
                dt { "stream bytes missing" } dd { (human_count(c.missed_bytes)) }
                dt { "TCP flows begun before, one-sided" } dd { (human_count(c.midstream_tcp_flows)) ", " (human_count(c.one_sided_tcp_flows)) }
                dt { "pauses of more than a minute" } dd { (human_count(c.pauses)) ", the longest " (format!("{:.0} s", c.longest_pause_s)) }
                @for (name, n) in &c.anomalies { dt { (name.replace('_', " ")) } dd { (human_count(*n)) } }
            }
        }
    }
}

/// Which of the stages fired, as small marks with letters.
pub fn stage_dots(s: &HostStory) -> Markup {
    html! {
        @for stage in Stage::STORY {
            @let score = s.stages.get(&stage).filter(|x| !x.items.is_empty());
            @let on = score.is_some_and(|x| x.db > 0.0) && s.verdict >= Verdict::Suspicious;
            @let what = score.map_or("nothing".to_owned(), |x| format!("{:+.1} dB", x.db));
            span class={ "dot " (stage.name()) @if on { " on" } @else if score.is_some() { " faint" } } title={ (stage) ": " (what) } {
                (stage.name().chars().next().unwrap_or(' ').to_ascii_uppercase())
            }
        }
    }
}

/// Other findings and roles, each once.
pub fn also(s: &HostStory) -> String {
    let findings: BTreeSet<String> = s.findings.iter().map(|f| clean(&f.kind)).collect();
    let roles = s.roles.iter().map(|r| r.role.to_string());
    findings.into_iter().chain(roles).collect::<Vec<_>>().join(", ")
}

/// The verdict as a mark.
pub fn chip(v: Verdict) -> Markup {
    html! { span class={ "chip " (v.name()) } { (v) } }
}

/// What a host is called beside its address.
pub fn called(s: &HostStory) -> String {
    s.names.host_names.first().or(s.names.macs.first()).map(|n| clean(n)).unwrap_or_default()
}

/// Whether nothing was seen of a machine.
fn is_still(m: &Machine<'_>) -> bool {
    m.strongest.verdict < Verdict::Suspicious && m.addresses().all(|s| s.evidence.is_empty())
}

/// The machines of which something was seen.
fn board(machines: &[Machine<'_>], link: &dyn Fn(&HostStory) -> Option<String>) -> Markup {
    let loud: Vec<&Machine<'_>> = machines.iter().filter(|m| !is_still(m)).collect();
    html! {
        h2 id="hosts" { "Hosts" }
        @if loud.is_empty() { p { "Nothing suspicious was seen of any of them." } }
        @else {
            (rows(&loud[..loud.len().min(ON_BOARD)], link))
            (legend())
        }
        (still_in_short(machines))
        @if loud.len() > ON_BOARD { p.soft { (human_count((loud.len() - ON_BOARD) as u64)) " more hosts stand in the case." } }
    }
}

/// The machines of which nothing was seen, which come after all others.
fn still(machines: &[Machine<'_>]) -> Markup {
    let still: Vec<&Machine<'_>> = machines.iter().filter(|m| is_still(m)).collect();
    html! {
        @if !still.is_empty() {
            div.deep {
                h2 id="still" { "Hosts of which nothing suspicious was seen" }
                details { summary { (human_count(still.len() as u64)) (if still.len() == 1 { " host" } else { " hosts" }) } (rows(&still[..still.len().min(ON_BOARD)], &|_| None)) }
                @if still.len() > ON_BOARD { p.soft { (human_count((still.len() - ON_BOARD) as u64)) " more hosts stand in the case." } }
            }
        }
    }
}

/// The same in a sentence, for print.
fn still_in_short(machines: &[Machine<'_>]) -> Markup {
    let still: Vec<String> = machines.iter().filter(|m| is_still(m)).map(|m| m.strongest.label()).collect();
    html! {
        @if !still.is_empty() {
            p.brief-only { "Nothing suspicious was seen of " (still[..still.len().min(NAMED)].join(", ")) @if still.len() > NAMED { " and " (human_count((still.len() - NAMED) as u64)) " more" } "." }
        }
    }
}

/// What the letters of the stages, their colours and frames mean.
pub fn legend() -> Markup {
    html! {
        p.soft.legend {
            @for stage in Stage::STORY {
                span { span class={ "dot on " (stage.name()) } { (stage.name().chars().next().unwrap_or(' ').to_ascii_uppercase()) } " " (stage) }
            }
            span { span.dot.faint { "P" } " seen; the host is not suspicious" }
            span { span.dot { "P" } " not seen" }
        }
    }
}

/// The other addresses of a machine, as they stand under its strongest.
pub fn other_addresses(machine: &Machine<'_>, link: &dyn Fn(&HostStory) -> Option<String>) -> Markup {
    html! {
        @for o in &machine.others {
            br;
            span.soft title={ (o.verdict) " " (format!("{:+.1} dB", o.level_db)) } {
                @if let Some(to) = link(o) { a href=(to) { (o.label()) } } @else { (o.label()) }
            }
        }
    }
}

fn rows(machines: &[&Machine<'_>], link: &dyn Fn(&HostStory) -> Option<String>) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Board of hosts" {
            table {
                thead { tr { th { "verdict" } th.n { "level" } th { "host" } th { "name" } th { "stages" } th { "also" } th.n { "flows" } } }
                tbody {
                    @for m in machines {
                        @let s = m.strongest;
                        tr {
                            td { (chip(s.verdict)) }
                            td.n { (format!("{:+.1}", s.level_db)) }
                            td.mono { @if let Some(to) = link(s) { a href=(to) { (s.label()) } } @else { (s.label()) } (other_addresses(m, &|_| None)) }
                            td { (called(s)) @if let Some(system) = crate::profile::system(&s.profile) { br; span.soft { (system) } } }
                            td.t { (stage_dots(s)) }
                            td.also { (also(s)) }
                            td.n { (human_count(m.addresses().map(|s| s.flows).sum())) }
                        }
                    }
                }
            }
        }
    }
}

fn numbers(list: &[PacketId]) -> String {
    let mut shown: Vec<String> = list.iter().take(PACKETS).map(ToString::to_string).collect();
    if list.len() > PACKETS {
        shown.push(format!("… (+{})", list.len() - PACKETS));
    }
    shown.join(" ")
}

/// A machine's story with its proof: that of its strongest address, and what else was seen of it at others. `link` gives where a piece of evidence
/// leads, if anywhere, and `remote_link` where an address does.
pub fn host(
    capture: &CaptureLine,
    machine: &Machine<'_>,
    days: Dates,
    link: &dyn Fn(&Evidence) -> Option<String>,
    remote_link: &dyn Fn(&str) -> Option<String>,
) -> Markup {
    let s = machine.strongest;
    html! {
        section.host id=(anchor(s)) {
            header {
                h2 { (s.label()) } (chip(s.verdict)) span.level { (format!("{:+.1} dB", s.level_db)) }
                span.soft { (called(s)) }
            }
            p.soft { "Starting from " (s.prior()) ": " (probable(s.posterior_db)) " probable"
                @for (v, at) in s.reached.iter().filter(|r| *r.0 >= Verdict::Suspicious) { " · " (v) " since " (moment(*at, days)) } }
            @for n in &s.notes { p { (noted(n, days)) } }
            @for f in &s.findings { p { strong { (clean(&f.kind)) } " since " (moment(f.since, days)) } }
            h3 { "When" }
            (swimlane(capture, s, link))
            p.soft.legend { "A disc stands where it began, and is larger where more packets prove it; the bar behind it is how long it took." @if !capture.gaps.is_empty() { " Grey: no packet came for more than a minute." } }
            @if let (Some(a), Some(b)) = (s.first, s.last) { p.soft { "Its flows go from " (moment(a, days)) " to " (moment(b, days)) "." } }
            (calendar::of_machine(machine))
            h3 { "What it did" }
            (story(capture, s, days, link))
            @for o in machine.others.iter().filter(|o| !o.evidence.is_empty()) {
                h3 { "What it did as " (o.label()) ": " (o.verdict) " " (format!("{:+.1} dB", o.level_db)) }
                (story(capture, o, days, &|_| None))
            }
            // In print the answers alone.
            div.brief-only {
                @if let Some(line) = second_story(s) { p { (line) } }
                @for reason in &s.unseen { p { "not seen: " (clean(reason)) } }
            }
            div.deep {
                h3 { "How it adds up" }
                (waterfall(s))
                p.soft.legend { "Bars go from where the sum stood to where it stands. Dashed: 0, and where suspicious, likely and infected begin. 10 dB more are ten times the odds." }
                (why(machine, days))
            }
            div.deep { (card::card(s, remote_link)) }
            (indicator_table(s))
            (proof::proof(capture, s, link))
        }
    }
}

fn story(
    capture: &CaptureLine,
    s: &HostStory,
    days: Dates,
    link: &dyn Fn(&Evidence) -> Option<String>,
) -> Markup {
    html! {
        ol.story {
            @for (first, stage, all) in in_order(s) {
                @for (i, e) in all.iter().enumerate() {
                    li class=[(i + 1 < all.len()).then_some("more")] {
                        span.mono { @if i == 0 { (moment(first, days)) } }
                        span class={ "stage " (stage.name()) } { @if i == 0 { (stage) } }
                        span.mono { @if i == 0 { (format!("{:+.1}", s.stages.get(&stage).map_or(0.0, |x| x.db))) } }
                        span.what {
                            @if let Some(to) = link(&e.evidence) { a href=(to) { (told(s, e)) } } @else { (told(s, e)) }
                            " " span.proof { (format!("{:+.1} dB alone", e.db)) @for t in proof::techniques(&e.evidence) { " · " (t.name) } @if !e.evidence.packets.is_empty() { span.packets { " · " (capture.proof_word(&e.evidence.packets)) " " (numbers(&e.evidence.packets)) } } }
                        }
                    }
                }
            }
            @if s.evidence.is_empty() { li { span.what { "nothing was seen" } } }
        }
    }
}

fn why(machine: &Machine<'_>, days: Dates) -> Markup {
    let s = machine.strongest;
    html! {
        h3 { "What would change it" }
        ul.plain {
            @for c in s.would_change.iter().filter(|c| c.level_db <= s.level_db).take(3) { li { "without " code { (clean(&c.without)) } " it is " (format!("{:+.1} dB", c.level_db)) ", " (c.verdict) } }
            @if let Some(c) = &s.without_lists { li { "without lists of indicators it is " (format!("{:+.1} dB", c.level_db)) ", " (c.verdict) } }
            @for n in s.near.iter().filter(|n| s.stages.get(&n.stage).is_none_or(|x| x.items.is_empty())).take(4) {
                li { "nearest miss: " code { (n.behaviour) } " " (trimmed(n.value)) " of " (trimmed(n.threshold)) " " (clean(&n.unit)) }
            }
        }
        h3 { "If it were honest" }
        (two_stories(s))
        @if let Some((behaviour, looks)) = looks_alike(s) { p { "What else looks like " code { (behaviour) } ": " (looks) } }
        @if s.roles.is_empty() { p.soft { "The host showed no role that would explain it." } }
        @for r in &s.roles { p { "Role: " strong { (r.role) } " since " (moment(r.since, days)) " (" (clean(&r.because)) ")" } }
        @for line in identity(s, &machine.others, days) { p { (line) } }
        @for line in suppressed(s) { p { (line) } }
        h3 { "What could not be seen" }
        @if s.unseen.is_empty() { p.soft { "Nothing that would matter is known to be missing." } }
        ul.plain { @for reason in &s.unseen { li { (clean(reason)) } } }
    }
}

/// That it is a bot, and the best of what else it could be: a column each.
fn two_stories(s: &HostStory) -> Markup {
    html! {
        @if let Some(best) = s.alternatives.first() {
            div.scroll tabindex="0" role="group" aria-label="Two stories" {
                table.stories {
                    thead { tr { th { "what was seen" } th.n { "as a bot" } th { "as " (best.honest.words()) } } }
                    tbody {
                        @for told in both_stories(s, best) {
                            tr { td.w { (told.what) } td.n { (format!("{:+.1} dB", told.db)) } td { @if let Some(why) = told.left { strong { "not explained" } ": " (why) } @else { "explained" } } }
                        }
                    }
                    tfoot { tr { th { "level" } th.n { (format!("{:+.1} dB, {}", s.level_db, s.verdict)) } th { (format!("{:+.1} dB left, {}", best.left_db, best.left_verdict)) } } }
                }
            }
            @for reason in &best.because { p { "For it: " (clean(reason)) } }
            @for reason in &best.lacks { p { "Against it: " (clean(reason)) } }
            @for other in s.alternatives.iter().skip(1) { p.soft { "Or " (other.honest.words()) ": " (format!("{:+.1} dB left, {}", other.left_db, other.left_verdict)) } }
        } @else if s.verdict >= Verdict::Suspicious { p { "No honest kind of host or program is known that would do any of this." } }
    }
}

fn indicator_table(s: &HostStory) -> Markup {
    let all = indicators(s);
    html! {
        @if !all.is_empty() {
            h3 { "Indicators" }
            p.soft { "Seen in rendezvous, command and update; a shared or hacked server may be among them." }
            p.brief-only.mono { (all.iter().take(60).map(|i| defang(&i.value)).collect::<Vec<_>>().join(", ")) }
            div.scroll.deep tabindex="0" role="group" aria-label="Indicators" {
                table { thead { tr { th { "kind" } th { "value" } th { "stage" } th { "seen by" } th { "first" } } } tbody {
                    @for i in all.iter().take(60) {
                        tr { td.t { (i.kind.stix()) } td { span.mono { (defang(&i.value)) } @if let Some(p) = i.value.parse().ok().and_then(|ip: std::net::IpAddr| s.places.get(&ip)) { " " span.soft { (crate::profile::place(p)) } } } td { (i.stage) } td.mono { (i.behaviours.join(", ")) } td.t { (full(i.first)) } }
                    }
                } }
            }
            @if all.len() > 60 { p.soft { (all.len() - 60) " more." } }
        }
    }
}

fn method(capture: &CaptureLine) -> Markup {
    let prior = Prior::of_db(capture.prior_db);
    let least = |verdict: Verdict| match verdict.level_db(prior.db()) {
        Some(db) if db > 0.0 => db.to_string(),
        Some(_) => "more than 0".to_owned(),
        None => String::new(),
    };
    html! {
        p.brief-only { "Printed in short: how each level adds up, every piece of evidence, the method and its limits stand on the page itself." }
        div.deep {
        h2 id="method" { "Method and limits" }
        p { "Every behaviour is a bet against \"this host is clean\" with a payoff set by how rarely clean hosts do it. Levels are decibans (dB): 10 more are ten times the odds that it is a bot. " (false_alarms(prior))
             " What a host did on an earlier day within a week is bet on no more. Starting from " (prior) ", suspicious is " (least(Verdict::Suspicious)) " or a stage at its cap (odds of 1 to 100);
             likely is " (least(Verdict::Likely)) " (even odds) with two stages, one of them a channel (or an act that tells by itself) at 9 or more; infected is " (least(Verdict::Infected)) " (odds of 10 to 1) with two telling stages." }
        p { "Payoffs are " (clean(&capture.calibration)) ". What is encrypted is called opaque, nothing was decrypted, and nothing was sent. A host that is \"inconclusive\" may be a bot: the capture cannot tell." }
        dl.facts { dt { "ATT&CK" } dd { "Enterprise v" (ATTACK_VERSION) } dt { "version" } dd { (capture.version) } dt { "format" } dd { (capture.schema) } }
        }
    }
}
