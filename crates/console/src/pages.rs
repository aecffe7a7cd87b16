//! The board of hosts, a host's story, its evidence, and what people say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use behaviour::Expectations;
use case::{Stood, Triage, TriageEntry, TriageState};
use maud::{DOCTYPE, Markup, html};
use record::{Evidence, Stage, Timestamp};
use report::html::{COLUMNS, calendar as days_of_hosts, columns_until, date, days_of};
use report::html::{also, called, chip, full, host as told, moment, other_addresses, stage_dots, summary};
use report::{clean, defang, describe, human_count, indicators};
use verdict::{HostStory, Machine, Verdict};

use crate::{Ask, Console, Reply, encoded};

/// Hosts on a page of the board.
const ON_PAGE: usize = 100;

/// A whole page: everything around `body`.
pub fn page(console: &Console, title: &str, body: &Markup) -> String {
    let made = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Hydrophone" }
                link rel="stylesheet" href="/static/report.css";
                link rel="stylesheet" href="/static/console.css";
                link rel="icon" href="data:,";
                script src="/static/console.js" defer {}
            }
            body {
                a.skip href="#main" { "To the content" }
                header.bar {
                    a.home href="/" { "Hydrophone" }
                    span.soft { (inputs(console)) }
                    nav aria-label="Everything" {
                        @if console.sensor.is_none() { a href="/table/flow" { "flows" } a href="/table/dns" { "DNS" } a href="/table/web" { "web" } a href="/table/mail" { "mail" } }
                        @if covers_several_days(console) { a href="/calendar" { "days" } }
                    }
                    label.zone { "times in " select id="zone" aria-label="Time zone" { option value="UTC" { "UTC" } } }
                    a href="/help" { "keys" }
                }
                @if let Some((_, goes)) = &console.sensor { p.goes { span id="goes" role="status" data-mark=(goes.mark) { (clean(&goes.line)) } " " a id="anew" href="" hidden { "something changed: show it" } } }
                main id="main" { (body) }
                dialog id="keys" aria-label="Keys" { (keys()) form method="dialog" { button { "Close" } } }
                p.live id="said" role="status" {}
            }
        }
    };
    made.into_string()
}

fn inputs(console: &Console) -> String {
    let name = |p: &str| clean(p.rsplit('/').next().unwrap_or(p));
    match console.case.capture.inputs.as_slice() {
        [] => String::new(),
        [one] => name(&one.path),
        [one, rest @ ..] => format!("{} and {} more", name(&one.path), rest.len()),
    }
}

/// A page that says what went wrong; it needs no console.
pub fn wrong(status: u16, why: &str) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width, initial-scale=1"; title { (status) " · Hydrophone" } }
            body { main { h1 { (status) } p.lead { (clean(why)) } p { a href="/" { "To the board" } } } }
        }
    }
    .into_string()
}

fn keys() -> Markup {
    html! {
        h2 { "Keys" }
        dl.facts {
            dt { kbd { "j" } " " kbd { "k" } } dd { "next and previous row" }
            dt { kbd { "Enter" } } dd { "open the row" }
            dt { kbd { "/" } } dd { "search" }
            dt { kbd { "b" } } dd { "back to the board" }
            dt { kbd { "Esc" } } dd { "leave the search, close this" }
            dt { kbd { "?" } } dd { "these keys" }
        }
        p { "Drag over the lanes of a story to look at that time alone; everything below follows." }
        h2 { "Search" }
        p { "Words must all be found. On the board: " code { "verdict:likely" } ", " code { "stage:act" } ", " code { "name:*mail*" } ", " code { "finding:scanner" } ", " code { "behaviour:beacon" } ", " code { "state:closed" } ".
             In tables " code { "column:value" } " with " code { "*" } " for anything, " code { "column:>5" } " or " code { "column:<5k" } " for numbers, " code { "443" } " for a port, " code { "198.51.100.0/24" } " for a network, and " code { "-" } " before any of them for what must not hold." }
    }
}

pub fn help(console: &Console) -> String {
    page(console, "Keys", &keys())
}

/// Whether a text fits a pattern in which `*` stands for anything; without one it must be found in it. Case is ignored.
fn fits(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    if !pattern.contains('*') {
        return text.contains(&pattern);
    }
    let mut rest = text.as_str();
    let parts: Vec<&str> = pattern.split('*').collect();
    for (i, part) in parts.iter().enumerate() {
        let found = if i == 0 { rest.starts_with(part).then_some(0) } else { rest.find(part) };
        let Some(at) = found else { return false };
        if i + 1 == parts.len() && !part.is_empty() {
            return rest.ends_with(part);
        }
        rest = &rest[at + part.len()..];
    }
    true
}

/// Whether a host fits a search; what it does not understand is told.
fn found(console: &Console, s: &HostStory, search: &str) -> Result<bool, String> {
    for word in search.split_whitespace() {
        let names = || {
            s.names.host_names.iter().chain(&s.names.macs).any(|n| fits(n, word.trim_start_matches("name:")))
        };
        let fired = |stage: &str| s.stages.iter().any(|(st, x)| st.name() == stage && !x.items.is_empty());
        let holds = match word.split_once(':') {
            Some(("verdict", v)) => {
                if !Verdict::ALL.iter().any(|known| known.name() == v) {
                    return Err(format!("no verdict is called {v:?}"));
                }
                s.verdict.name() == v
            }
            Some(("stage", v)) => {
                if !Stage::ALL.iter().any(|st| st.name() == v) {
                    return Err(format!("no stage is called {v:?}"));
                }
                fired(v)
            }
            Some(("name", _)) => names(),
            Some(("finding", v)) => s.findings.iter().any(|f| fits(&f.kind, v)),
            Some(("behaviour", v)) => s.evidence.iter().any(|e| fits(&e.evidence.behaviour, v)),
            Some(("role", v)) => s.roles.iter().any(|r| fits(&r.role.to_string(), v)),
            Some(("state", v)) => state(console, s).is_some_and(|e| e.state.name() == v),
            // Addresses have colons too, and only hexadecimal digits before them.
            Some((what, _)) if what.bytes().any(|b| b.is_ascii_lowercase() && !b.is_ascii_hexdigit()) => {
                return Err(format!("{what:?} is nothing to search for: see the keys"));
            }
            _ => s.label().contains(word) || names(),
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn state(console: &Console, s: &HostStory) -> Option<TriageEntry> {
    console.triage.lock().ok()?.of(&console.said_of(s)).last().cloned()
}

/// The machines that fit a search, and what it does not understand.
fn searched<'a>(
    console: &Console,
    machines: &'a [Machine<'a>],
    search: &str,
) -> (Vec<&'a Machine<'a>>, Option<String>) {
    let mut error = None;
    let mut fits = |s: &HostStory| {
        found(console, s, search).unwrap_or_else(|e| {
            error = Some(e);
            false
        })
    };
    let hosts = machines.iter().filter(|m| m.addresses().any(&mut fits)).collect();
    (hosts, error)
}

fn search_form(to: &str, search: &str, error: Option<&String>) -> Markup {
    html! {
        form.search role="search" method="get" action=(to) {
            input id="search" type="search" name="q" value=(search) placeholder="verdict:likely stage:act name:*mail*" aria-label="Search hosts";
            button { "Search" }
        }
        @if let Some(e) = error { p.warn role="alert" { (e) } }
    }
}

/// Whether anything was heard on more than one day of the calendar.
fn covers_several_days(console: &Console) -> bool {
    days_of(&console.case.stories).is_some_and(|[first, last]| first < last)
}

/// Hosts over days: those of which something was told, strongest first; each day leads to the host's story of that day.
pub fn calendar(console: &Console, ask: &Ask) -> String {
    const DAY: Duration = Duration::from_hours(24);
    let machines = Machine::all(&console.case.stories);
    let (mut hosts, error) = searched(console, &machines, ask.text("q"));
    let found = hosts.len();
    hosts.retain(|m| m.addresses().any(|s| !s.calendar.is_empty()));
    // Days on which something was told, which is what one looks for.
    let told: BTreeSet<Timestamp> =
        hosts.iter().flat_map(|m| m.addresses()).flat_map(|s| s.calendar.iter().map(|d| d.day)).collect();
    let n: usize = ask.text("page").parse().unwrap_or(0);
    let shown: Vec<&Machine<'_>> =
        hosts.iter().skip(n.saturating_mul(ON_PAGE)).take(ON_PAGE).copied().collect();
    let span = days_of(&console.case.stories);
    let until = ask.text("until").parse::<i64>().ok().map(Timestamp);
    let link = |s: &HostStory, day: Option<Timestamp>| {
        let of = |d: Timestamp| format!("?from={}&to={}", d.0, d.plus(DAY).0 - 1);
        Some(format!("/host/{}{}", s.id(), day.map(of).unwrap_or_default()))
    };
    let to = |until: Timestamp| format!("/calendar?q={}&until={}", encoded(ask.text("q")), until.0);
    let body = html! {
        h1 { "Which hosts were bots, and on which days?" }
        (search_form("/calendar", ask.text("q"), error.as_ref()))
        @if let Some([first, last]) = span {
            @let shown_last = until.or(told.last().copied()).unwrap_or(last).clamp(first, last);
            @let [from, to_day] = columns_until(shown_last);
            @let from = from.max(first);
            @let earlier = told.range(..from).next_back();
            @let later = told.range(to_day.plus(DAY)..).next();
            p.soft { (human_count(hosts.len() as u64)) " of " (human_count(found as u64)) " hosts, of which something was told; " (date(from)) " to " (date(to_day)) ". Of the others nothing was." }
            @if earlier.is_some() || later.is_some() {
                nav.pager aria-label="Days" {
                    @if let Some(day) = earlier { a href=(to(*day)) rel="prev" { "earlier days" } }
                    @if let Some(day) = later { a href=(to(day.plus(DAY * (COLUMNS as u32 - 1)))) rel="next" { "later days" } }
                }
            }
            (days_of_hosts(&shown, [from, to_day], &link))
        } @else { p { "Nothing was heard on any day." } }
        (pager(&format!("/calendar?q={}&until={}", encoded(ask.text("q")), encoded(ask.text("until"))), n as u64, hosts.len() as u64, ON_PAGE as u64))
    };
    page(console, "Days", &body)
}

/// The board: ranked hosts.
pub fn board(console: &Console, ask: &Ask) -> String {
    let search = ask.text("q");
    let machines = Machine::all(&console.case.stories);
    let (mut hosts, error) = searched(console, &machines, search);
    let descending = ask.text("desc") != "0";
    let flows = |m: &Machine<'_>| m.addresses().map(|s| s.flows).sum::<u64>();
    let first = |m: &Machine<'_>| m.addresses().filter_map(|s| s.first).min();
    match ask.text("sort") {
        "level" => hosts.sort_by(|a, b| b.strongest.level_db.total_cmp(&a.strongest.level_db)),
        "host" => hosts.sort_by_key(|m| std::cmp::Reverse((m.strongest.host, m.strongest.segment))),
        "flows" => hosts.sort_by_key(|m| std::cmp::Reverse(flows(m))),
        "first" => hosts.sort_by_key(|m| std::cmp::Reverse(first(m))),
        _ => {}
    }
    if !descending {
        hosts.reverse();
    }
    let n: usize = ask.text("page").parse().unwrap_or(0);
    let shown: Vec<&Machine<'_>> =
        hosts.iter().skip(n.saturating_mul(ON_PAGE)).take(ON_PAGE).copied().collect();
    let head = |name: &str, label: &str, class: &str| {
        let flip = if ask.text("sort") == name && descending { "0" } else { "1" };
        html! { th class=(class) aria-sort=[(ask.text("sort") == name).then_some(if descending { "descending" } else { "ascending" })] { a href={ "/?q=" (encoded(search)) "&sort=" (name) "&desc=" (flip) } { (label) } } }
    };
    let body = html! {
        h1 { "Which hosts are bots?" }
        p.lead { (summary(&console.case.capture, &machines)) }
        @for w in &console.warnings { p.warn { (clean(w)) } }
        @for f in console.case.capture.failures.iter().chain(&console.case.capture.notices).take(5) { p.warn { (clean(f)) } }
        details { summary { "The network over time" } (report::html::activity(&console.case.capture, &machines)) }
        (search_form("/", search, error.as_ref()))
        p.soft { (human_count(hosts.len() as u64)) (if hosts.len() == 1 { " host" } else { " hosts" }) }
        div.scroll tabindex="0" role="group" aria-label="Board of hosts" {
            table.rows {
                thead { tr { (head("verdict", "verdict", "")) (head("level", "level", "n")) (head("host", "host", "")) th { "name" } th { "stages" } th { "also" } (head("flows", "flows", "n")) (head("first", "first seen", "")) th { "state" } } }
                tbody {
                    @for m in &shown {
                        @let s = m.strongest;
                        tr data-row {
                            td { (chip(s.verdict)) }
                            td.n { (format!("{:+.1}", s.level_db)) }
                            td.mono { a href={ "/host/" (s.id()) } { (s.label()) } (other_addresses(m, &|o| Some(format!("/host/{}", o.id())))) }
                            td { (called(s)) }
                            td.t { (stage_dots(s)) }
                            td.also { (also(s)) }
                            td.n { (human_count(flows(m))) }
                            td.t { @if let Some(t) = first(m) { (full(t)) } }
                            td { @if let Some(e) = state(console, s) { (e.state.name()) } }
                        }
                    }
                }
            }
        }
        (pager(&format!("/?q={}&sort={}&desc={}", encoded(search), encoded(ask.text("sort")), encoded(ask.text("desc"))), n as u64, hosts.len() as u64, ON_PAGE as u64))
    };
    page(console, "Hosts", &body)
}

/// Links to the pages before and after.
pub fn pager(base: &str, page: u64, total: u64, rows: u64) -> Markup {
    let last = total.saturating_sub(1) / rows.max(1);
    html! {
        @if last > 0 {
            nav.pager aria-label="Pages" {
                @if page > 0 { a href={ (base) "&page=" (page - 1) } rel="prev" { "previous" } }
                span { "page " (page.saturating_add(1)) " of " (last + 1) }
                @if page < last { a href={ (base) "&page=" (page + 1) } rel="next" { "next" } }
            }
        }
    }
}

/// The time that was chosen, as it goes on in addresses.
pub fn span(ask: &Ask) -> (Option<Timestamp>, Option<Timestamp>, String) {
    let of = |name: &str| ask.text(name).parse::<i64>().ok().map(Timestamp);
    let (from, to) = (of("from"), of("to"));
    let on = match (from, to) {
        (None, None) => String::new(),
        (a, b) => format!(
            "?from={}&to={}",
            a.map(|t| t.0.to_string()).unwrap_or_default(),
            b.map(|t| t.0.to_string()).unwrap_or_default()
        ),
    };
    (from, to, on)
}

/// Says that only a chosen time is shown, if one is, and how to leave it.
pub fn only(s: &HostStory, view: &str, ask: &Ask) -> Markup {
    let (from, to, on) = span(ask);
    html! {
        @if !on.is_empty() {
            p.warn { "Only from " @if let Some(t) = from { (full(t)) } " to " @if let Some(t) = to { (full(t)) } ". " a href={ "/host/" (s.id()) "/" (view) } { "Everything" } }
        }
    }
}

/// The views of a host.
pub fn tabs(console: &Console, s: &HostStory, here: &str, on: &str) -> Markup {
    let to = |name: &str| {
        if name.is_empty() { format!("/host/{}{on}", s.id()) } else { format!("/host/{}/{name}{on}", s.id()) }
    };
    // A running sensor has its stories alone.
    if console.sensor.is_some() {
        return html! { @if !here.is_empty() { nav.tabs aria-label="Views of the host" { a href=(to("")) { "story" } } } };
    }
    html! {
        nav.tabs aria-label="Views of the host" {
            @for (name, label) in [("", "story"), ("flow", "flows"), ("dns", "DNS"), ("web", "web"), ("mail", "mail"), ("beacon", "beacons"), ("mail-volume", "mail volume"), ("peers", "peers")] {
                a href=(to(name)) aria-current=[(name == here).then_some("page")] { (label) }
            }
            @if !s.evidence.is_empty() {
                a href={ "/host/" (s.id()) "/slice.pcapng" } download { "slice" }
                a href={ "/host/" (s.id()) "/bundle.zip" } download { "bundle" }
            }
        }
    }
}

/// A host's story, with the time that was chosen alone if one was.
pub fn host(console: &Console, s: &HostStory, ask: &Ask) -> String {
    let (from, to, on) = span(ask);
    let mut story = s.clone();
    if from.is_some() || to.is_some() {
        story.evidence.retain(|e| {
            from.is_none_or(|t| e.evidence.ts >= t) && to.is_none_or(|t| e.evidence.started <= t)
        });
    }
    let part = |o: &&HostStory| o.part_of.as_ref() == Some(&s.id());
    let machine = Machine { strongest: &story, others: console.case.stories.iter().filter(part).collect() };
    let days = report::Dates::of(&console.case.capture);
    let link = |e: &Evidence| Some(format!("/host/{}/evidence/{}", s.id(), e.id()));
    let remote = |address: &str| console.sensor.is_none().then(|| format!("/remote/{}", encoded(address)));
    let body = html! {
        (tabs(console, s, "", &on))
        @if !on.is_empty() {
            p.warn { "Only from " @if let Some(t) = from { (full(t)) } " to " @if let Some(t) = to { (full(t)) } ": " (story.evidence.len()) " of " (s.evidence.len()) " pieces of evidence; verdict and sums are of the whole. "
                a href={ "/host/" (s.id()) } { "Everything" } }
        }
        div.brush data-brush={ "/host/" (s.id()) } { (told(&console.case.capture, &machine, days, &link, &remote)) }
        (triaged(console, s, ask.who.as_deref()))
    };
    page(console, &s.label(), &body)
}

fn triaged(console: &Console, s: &HostStory, who: Option<&str>) -> Markup {
    let entries = console.triage.lock().map(|t| t.of(&console.said_of(s)).to_vec()).unwrap_or_default();
    html! {
        section.host id="triage" {
            h3 { "What people said" }
            @if entries.is_empty() { p.soft { "Nobody has said anything yet." } }
            ul.plain { @for e in &entries { li { strong { (e.state.name()) } " by " (clean(&e.who)) ", " time datetime=(e.when) data-form="full" { (e.when) } @if !e.note.is_empty() { ": " (e.note.lines().map(clean).collect::<Vec<_>>().join(" / ")) } } } }
            form.triage method="post" action={ "/host/" (s.id()) "/triage" } {
                label { "who " input name="who" required maxlength="100" autocomplete="username" value=[who] readonly[who.is_some()]; }
                label { "what " select name="state" { @for state in TriageState::ALL { option value=(state.name()) { (state.name()) } } } }
                label.wide { "note " textarea name="note" rows="2" maxlength="4000" {} }
                button { "Keep" }
            }
        }
    }
}

/// Keeps what somebody said; who that is says the form only where nobody has asked for it.
pub fn triage(console: &Console, s: &HostStory, form: &BTreeMap<String, String>, who: Option<&str>) -> Reply {
    let text = |name: &str| form.get(name).map_or("", |t| t.trim());
    let state = match text("state").parse() {
        Ok(state) => state,
        Err(e) => return Reply::Wrong(StatusCode::BAD_REQUEST, e),
    };
    let who = who.unwrap_or_else(|| text("who"));
    if who.is_empty() {
        return Reply::Wrong(StatusCode::BAD_REQUEST, "say who you are".into());
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let stood = Some(Stood::of(s));
    let entry = TriageEntry { state, note: text("note").to_owned(), who: who.to_owned(), when: now, stood };
    if let Some((sensor, _)) = &console.sensor {
        return match sensor.say_of(s, entry) {
            Ok(()) => Reply::To(format!("/host/{}#triage", s.id())),
            Err(e) => Reply::Wrong(StatusCode::CONFLICT, format!("{e:#}")),
        };
    }
    match Triage::add(&console.case.dir, &s.label(), entry) {
        Ok(all) => {
            if let Ok(mut known) = console.triage.lock() {
                *known = all;
            }
            Reply::To(format!("/host/{}#triage", s.id()))
        }
        Err(e) => Reply::Wrong(StatusCode::CONFLICT, format!("{e:#}")),
    }
}

/// A piece of evidence with its flows and packets.
pub fn evidence(console: &Console, s: &HostStory, id: &str) -> Reply {
    let all: Vec<&Evidence> = s.evidence.iter().map(|e| &e.evidence).filter(|e| e.id() == id).collect();
    let Some(e) = all.last() else {
        return Reply::Wrong(StatusCode::NOT_FOUND, format!("{} has no evidence {id:?}", s.label()));
    };
    let days = report::Dates::of(&console.case.capture);
    let score = s.stages.get(&e.stage);
    let item = score.and_then(|x| x.items.iter().find(|i| i.behaviour == e.behaviour && i.key == e.key));
    let manual = behaviour::entry(&e.behaviour).map(behaviour::Entry::manual);
    let is_live = console.sensor.is_some();
    let body = html! {
        (tabs(console, s, "evidence", ""))
        h1 { span class={ "stage " (e.stage.name()) } { (e.stage) } ": " (describe(e)) }
        p { (chip(s.verdict)) " " a href={ "/host/" (s.id()) } { (s.label()) } ", " (moment(e.started, days)) " to " (moment(e.ts, days)) }
        dl.facts {
            dt { "behaviour" } dd { code { (e.behaviour) "/" (clean(&e.key)) } }
            dt { "value" } dd { (report::number(e.value)) " " (clean(&e.unit)) ", threshold " (report::number(e.threshold)) " (" (clean(&e.source)) ")" }
            @if let Some(i) = item {
                dt { "worth" } dd { @for (name, db) in &i.parts { (name.replace('_', " ")) " " (format!("{db:+.1}")) " · " } "= " (format!("{:+.1} dB", i.db)) @for d in &i.discounts { " × " (d.factor) " because " (clean(&d.because)) } }
                dt { "a clean host" } dd { "does this in a day with P0 = " (format!("{:.1e}", i.p0)) " (" (clean(&i.p0_source)) ")" }
            }
            dt { "id" } dd { code { (id) } " " @if !is_live { a href={ "/host/" (s.id()) "/slice.pcapng?evidence=" (id) } download { "its packets" } } }
            @for (name, value) in &e.facts { dt { (name.replace('_', " ")) } dd { (report::fact(value)) } }
            @if !e.remotes.is_empty() { dt { "remotes" } dd {  @if is_live { @for r in e.remotes.iter().take(24) { (r) " " } } @else { @for r in e.remotes.iter().take(24) { a href={ "/host/" (s.id()) "/flow?q=" (encoded(&format!("resp:{r}"))) } { (r) } " (" a href={ "/remote/" (encoded(&r.to_string())) } { "who else" } ") " } } } }
        }
        (expect_this(s, e))
        h3 { "Flows" }
        ul.plain { @for e in &all { @for f in &e.flows { li { @if is_live { "flow " (f) } @else { a data-row href={ "/flow/" (f) } { "flow " (f) } } } } } }
        @if all.iter().all(|e| e.flows.is_empty()) { p.soft { "It is about how other evidence lies in time; no flow of its own." } }
        h3 { "Packets" }
        p.mono { @for e in &all { @for p in &e.packets { @if is_live { (p) } @else { a href={ "/packet/" (p) } { (p) } } " " } } }
        @for check in report::checks(&console.case.capture, &e.packets) { p { code { (check) } " " button data-copy=(check) { "copy" } } }
        @if let Some(text) = manual { details { summary { "The manual page of " (e.behaviour) } pre { (text) } } }
    };
    Reply::Page(page(console, &format!("{} {}", s.label(), e.behaviour), &body))
}

/// What to write into the file of expectations where this is known and wanted, and what the host would be then.
fn expect_this(s: &HostStory, e: &Evidence) -> Markup {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    /// Remotes that are named; who has more is not held to them.
    const REMOTES: usize = 8;
    let quoted = |all: &mut dyn Iterator<Item = String>| {
        all.map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", ")
    };
    let remotes = match e.remotes.len() {
        0 => String::new(),
        n if n > REMOTES => String::new(),
        _ => format!("remotes = [{}]\n", quoted(&mut e.remotes.iter().map(ToString::to_string))),
    };
    let until = e.ts.plus(YEAR).to_string();
    let text = format!(
        "[[expect]]\nname = \"{} of {} ({})\"\nwho = [{}]\nbehaviours = [\"{}\"]\n{remotes}why = \"…\"\nowner = \"…\"\nuntil = \"{}\"\n",
        e.behaviour,
        s.host,
        e.id(),
        quoted(&mut std::iter::once(s.host.to_string())),
        e.behaviour,
        until.get(..10).unwrap_or(&until),
    );
    // Some evidence says how other evidence lies: that is not expected by itself.
    let then = match e.stage {
        Stage::Cycle | Stage::Order => None,
        _ => Expectations::parse(&text).ok().map(|all| s.expecting_too(&all)),
    };
    html! {
        @if let Some(then) = then {
            details {
                summary { "Expect this" }
                p { "Where somebody knows that this is wanted, let them write so into the file of expectations (" code { "--expect" } "), with their reason and their name. Such evidence is still shown and counted, and is no bet any more."
                    @if remotes.is_empty() { " Nothing here says with whom: it holds for every remote." } @if s.segment.is_some() { " It holds for this address in every segment." } }
                pre { (text) }
                p { button data-copy=(text) { "copy" } }
                p { "With it " (s.label()) " would be " (chip(then.verdict)) " " (format!("{:+.1} dB", then.level_db)) " instead of " (chip(s.verdict)) " " (format!("{:+.1} dB", s.level_db)) "." }
            }
        }
    }
}

/// Remotes of a host that its evidence names, defanged, for pages that mark them.
pub fn marked(s: &HostStory) -> BTreeMap<String, String> {
    let told =
        indicators(s).into_iter().map(|i| (i.value.clone(), format!("{}: {}", i.stage, defang(&i.value))));
    if s.verdict >= Verdict::Suspicious { told.collect() } else { BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        assert!(fits("mail-7.house.example", "*mail*") && fits("Mail", "mail") && fits("pc-mail", "*mail"));
        assert!(!fits("mailer", "*mail") && !fits("amail", "mail*") && fits("a", "*"));
    }
}
