//! Flows, DNS, web and mail in pages.

use std::net::IpAddr;

use axum::http::StatusCode;
use case::{Cell, FlowError, Kind, Local, MOST_ROWS, Page, Query, Span};
use maud::{Markup, html};
use record::{Timestamp, no_formula, shortened, visible};
use report::html::full;
use report::{clean, human_count, number};
use serde_json::Value;
use verdict::HostStory;

use crate::pages::{marked, page, pager, span, tabs};
use crate::{Ask, Console, Reply, encoded, file_name};

/// Rows of a page.
const ROWS: u64 = 100;
/// Characters of a cell.
const LONGEST: usize = 90;

/// What an answer is called, as in Zeek.
fn rcode(code: i64) -> String {
    match code {
        0 => "NOERROR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        5 => "REFUSED".into(),
        n => n.to_string(),
    }
}

fn qtype(n: i64) -> String {
    match n {
        1 => "A".into(),
        2 => "NS".into(),
        5 => "CNAME".into(),
        12 => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        33 => "SRV".into(),
        65 => "HTTPS".into(),
        n => n.to_string(),
    }
}

/// A table of one host.
pub fn of_host(console: &Console, s: &HostStory, kind: &str, ask: &Ask) -> Reply {
    table(console, Some(s), kind, ask)
}

/// A table of everybody.
pub fn all(console: &Console, kind: &str, ask: &Ask) -> Reply {
    table(console, None, kind, ask)
}

/// A table as a page, or for other programs where its name ends in `.csv` or `.json`.
fn table(console: &Console, s: Option<&HostStory>, name: &str, ask: &Ask) -> Reply {
    let (kind, form) = name.split_once('.').map_or((name, None), |(kind, form)| (kind, Some(form)));
    let form = match form {
        None => Ok(None),
        Some("csv") => Ok(Some(Form::Csv)),
        Some("json") => Ok(Some(Form::Json)),
        Some(_) => Err(()),
    };
    match (Kind::named(kind), form) {
        (Some(kind), Ok(None)) => show(console, s, kind, ask),
        (Some(kind), Ok(Some(form))) => download(console, s, kind, form, ask),
        _ => Reply::Wrong(StatusCode::NOT_FOUND, "there is no such table".into()),
    }
}

/// How a table is written for other programs.
#[derive(Clone, Copy)]
enum Form {
    Csv,
    Json,
}

/// All rows that fit the search, in the order that is shown; of more than [`MOST_ROWS`] the first, which its name says.
fn download(console: &Console, s: Option<&HostStory>, kind: Kind, form: Form, ask: &Ask) -> Reply {
    let Some(flows) = &console.flows else {
        return Reply::Wrong(StatusCode::CONFLICT, console.why_no_flows());
    };
    let query = asked(console, s, kind, ask);
    let Ok(flows) = flows.lock() else {
        return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, "the flows cannot be reached".into());
    };
    let found = match flows.all(&query) {
        Ok(found) => found,
        Err(FlowError::Search(e)) => return Reply::Wrong(StatusCode::BAD_REQUEST, e),
        Err(e) => return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    drop(flows);
    let (ending, kind_of_file, bytes) = match form {
        Form::Csv => ("csv", "text/csv; charset=utf-8", as_csv(&found)),
        Form::Json => ("json", "application/json", as_json(&found)),
    };
    let whose = s.map_or_else(|| "hydrophone".to_owned(), file_name);
    let part = if found.total > MOST_ROWS {
        format!("-first-{MOST_ROWS}-of-{}", found.total)
    } else {
        String::new()
    };
    match bytes {
        Ok(bytes) => {
            Reply::File { name: format!("{whose}-{}{part}.{ending}", kind.name()), kind: kind_of_file, bytes }
        }
        Err(e) => Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

/// A cell for other programs: moments as everywhere (RFC 3339, UTC).
fn value(cell: &Cell, column: &str) -> Value {
    match cell {
        Cell::Whole(n) if column == "ts" => Value::String(Timestamp(*n).to_string()),
        Cell::Whole(n) => (*n).into(),
        Cell::Number(x) => (*x).into(),
        Cell::Text(t) => Value::String(t.clone()),
        Cell::None => Value::Null,
    }
}

fn as_json(found: &Page) -> anyhow::Result<Vec<u8>> {
    let row = |row: &Vec<Cell>| -> serde_json::Map<String, Value> {
        found
            .columns
            .iter()
            .zip(row)
            .map(|(column, cell)| ((*column).to_owned(), value(cell, column)))
            .collect()
    };
    Ok(serde_json::to_vec(&found.rows.iter().map(row).collect::<Vec<_>>())?)
}

fn as_csv(found: &Page) -> anyhow::Result<Vec<u8>> {
    let text = |value: Value| match value {
        Value::Null => String::new(),
        Value::String(t) => no_formula(t),
        other => other.to_string(),
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&found.columns)?;
    for row in &found.rows {
        writer.write_record(found.columns.iter().zip(row).map(|(column, cell)| text(value(cell, column))))?;
    }
    writer.into_inner().map_err(|e| anyhow::anyhow!("{e}"))
}

/// What is asked for.
fn asked(console: &Console, s: Option<&HostStory>, kind: Kind, ask: &Ask) -> Query {
    let (from, to, _) = span(ask);
    Query {
        local: s.map(|s| console.case.local(s)),
        search: ask.text("q").to_owned(),
        from,
        to,
        sort: ask.text("sort").to_owned(),
        descending: ask.text("desc") == "1",
        page: ask.text("page").parse().unwrap_or(0),
        rows: ROWS,
        ..Query::of(kind)
    }
}

fn show(console: &Console, s: Option<&HostStory>, kind: Kind, ask: &Ask) -> Reply {
    let Some(flows) = &console.flows else {
        return Reply::Wrong(StatusCode::CONFLICT, console.why_no_flows());
    };
    let (from, to, on) = span(ask);
    let query = asked(console, s, kind, ask);
    let Ok(flows) = flows.lock() else {
        return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, "the flows cannot be reached".into());
    };
    let (found, error) = match flows.page(&query) {
        Ok(found) => (Some(found), None),
        Err(FlowError::Search(e)) => (None, Some(e)),
        Err(e) => return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    // Whether what a name resolved to was contacted later.
    let contacted = |row: &[Cell]| -> Option<bool> {
        let (host, answers) = (row.get(1)?.text()?, row.get(6)?.text()?);
        let segment = row.get(10).and_then(Cell::text).filter(|_| console.case.capture.segments_apart);
        let local = Local { host: host.parse().ok()?, segment: segment.map(str::to_owned) };
        let mut ips = answers.split(' ').filter_map(|a| a.parse::<IpAddr>().ok()).peekable();
        ips.peek()?;
        Some(ips.take(8).any(|ip| flows.contacts(&local, ip, Span::ALL).is_ok_and(|c| !c.is_empty())))
    };
    let base =
        s.map_or_else(|| format!("/table/{}", kind.name()), |s| format!("/host/{}/{}", s.id(), kind.name()));
    let stay = format!(
        "{base}?q={}&from={}&to={}",
        encoded(&query.search),
        encoded(ask.text("from")),
        encoded(ask.text("to"))
    );
    let marks = s.map(marked).unwrap_or_default();
    let extra = match kind {
        Kind::Flow => "copy",
        Kind::Dns => "contacted later",
        Kind::Web | Kind::Mail => "",
    };
    let body = html! {
        @if let Some(s) = s { (tabs(console, s, kind.name(), &on)) h1 { (title(kind)) " of " (s.label()) } } @else { h1 { (title(kind)) } }
        @if !on.is_empty() { p.warn { "Only from " @if let Some(t) = from { (full(t)) } " to " @if let Some(t) = to { (full(t)) } ". " a href=(base) { "Everything" } } }
        form.search role="search" method="get" action=(base) {
            input id="search" type="search" name="q" value=(query.search) placeholder=(example(kind)) aria-label="Search the table";
            @if let Some(t) = from { input type="hidden" name="from" value=(t.0); }
            @if let Some(t) = to { input type="hidden" name="to" value=(t.0); }
            button { "Search" }
        }
        @if let Some(e) = &error { p.warn role="alert" { (clean(e)) } }
        @if let Some(found) = &found {
            p.soft { (human_count(found.total)) " rows"
                @for form in ["csv", "json"] { " · " a href=(stay.replacen(&base, &format!("{base}.{form}"), 1) + &format!("&sort={}&desc={}", encoded(&query.sort), u8::from(query.descending))) download { (form.to_uppercase()) } } }
            div.scroll tabindex="0" role="group" aria-label="Table" {
                table.rows.dense {
                    thead { tr {
                        @for column in &found.columns {
                            @let mine = query.sort == *column;
                            th class=[numeric(column).then_some("n")] aria-sort=[mine.then_some(if query.descending { "descending" } else { "ascending" })] {
                                a href={ (stay) "&sort=" (column) "&desc=" (if mine && !query.descending { "1" } else { "0" }) } { (column) }
                            }
                        }
                        @if !extra.is_empty() { th { (extra) } }
                    } }
                    tbody {
                        @for row in &found.rows {
                            tr data-row class=[row.iter().any(|c| c.text().is_some_and(|t| marks.contains_key(t))).then_some("marked")] {
                                @for (cell, column) in row.iter().zip(&found.columns) { (shown(cell, column)) }
                                @if kind == Kind::Flow { td { button data-copy=(filter(row)) title="copy as a tshark filter" { "filter" } } }
                                @if kind == Kind::Dns { td { @match contacted(row) { Some(true) => "yes", Some(false) => "no", None => "" } } }
                            }
                        }
                    }
                }
            }
            (pager(&format!("{stay}&sort={}&desc={}", encoded(&query.sort), u8::from(query.descending)), query.page, found.total, ROWS))
        }
    };
    let title = s.map_or_else(|| kind.name().to_owned(), |s| format!("{} {}", s.label(), kind.name()));
    Reply::Page(page(console, &title, &body))
}

const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Flow => "Flows",
        Kind::Dns => "DNS",
        Kind::Web => "Web",
        Kind::Mail => "Mail",
    }
}

const fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Flow => "service:unknown resp_bytes:>5000 name:*example*",
        Kind::Dns => "rcode:3 score:>3",
        Kind::Web => "kind:http detail:POST*",
        Kind::Mail => "messages:>0 helo:*",
    }
}

fn numeric(column: &str) -> bool {
    !matches!(
        column,
        "ts" | "orig"
            | "resp"
            | "proto"
            | "service"
            | "state"
            | "history"
            | "opaque"
            | "name"
            | "community_id"
            | "flow"
            | "host"
            | "server"
            | "query"
            | "answers"
            | "packet"
            | "remote"
            | "kind"
            | "detail"
            | "agent"
            | "helo"
            | "qtype"
            | "rcode"
    )
}

fn shown(cell: &Cell, column: &str) -> Markup {
    let text = |t: &str| clean(t);
    match (cell, column) {
        (Cell::Whole(n), "ts") => html! { td.t { (full(Timestamp(*n))) } },
        (Cell::Whole(n), "rcode") => html! { td { (rcode(*n)) } },
        (Cell::Whole(n), "qtype") => html! { td { (qtype(*n)) } },
        (Cell::Whole(n), "orig_p" | "resp_p" | "port" | "last_code") => html! { td.n { (n) } },
        (Cell::Whole(n), "encrypted") => html! { td { (if *n == 0 { "no" } else { "yes" }) } },
        (Cell::Whole(n), _) => html! { td.n { (human_count(n.unsigned_abs())) } },
        (Cell::Number(x), _) => html! { td.n { (number(*x)) } },
        (Cell::Text(t), "flow") => html! { td.mono { a href={ "/flow/" (t) } { (text(t)) } } },
        (Cell::Text(t), "packet") => html! { td.mono { a href={ "/packet/" (t) } { (text(t)) } } },
        (Cell::Text(t), "remote" | "resp" | "server") if t.parse::<IpAddr>().is_ok() => {
            html! { td.mono.t { a href={ "/remote/" (encoded(t)) } { (text(t)) } } }
        }
        (Cell::Text(t), "orig" | "resp" | "host" | "remote" | "server" | "community_id" | "history") => {
            html! { td.mono.t { (text(t)) } }
        }
        // What is longer is whole where one points at it, and where it is copied from.
        (Cell::Text(t), _) if t.chars().count() > LONGEST => {
            let whole = visible(t);
            html! { td title=(whole) { (shortened(&whole, LONGEST)) " " button data-copy=(whole) { "copy" } } }
        }
        (Cell::Text(t), _) => html! { td { (text(t)) } },
        (Cell::None, _) => html! { td {} },
    }
}

/// The flow as a display filter.
pub fn filter(row: &[Cell]) -> String {
    let text = |i: usize| row.get(i).and_then(Cell::text).unwrap_or_default();
    let port = |i: usize| row.get(i).and_then(Cell::whole).unwrap_or_default();
    let (orig, resp, proto) = (text(2), text(4), text(6));
    let ip = if orig.contains(':') { "ipv6" } else { "ip" };
    let ends = format!("{ip}.addr == {orig} && {ip}.addr == {resp}");
    match proto {
        "tcp" | "udp" | "sctp" => {
            format!("{ends} && {proto}.port == {} && {proto}.port == {}", port(3), port(5))
        }
        _ => ends,
    }
}
