//! A remote: what it is called, where it is, and which hosts exchanged what with it.

use std::net::IpAddr;

use axum::http::StatusCode;
use case::Partner;
use maud::html;
use record::{Segment, Timestamp, human_bytes, human_count};
use report::html::{chip, full, moment};
use report::{Dates, clean, defang, describe};
use verdict::HostStory;

use crate::pages::page as whole;
use crate::{Console, Reply, encoded};

/// Hosts that are listed.
const MOST: u32 = 1_000;
/// Pieces of evidence that are listed.
const EVIDENCE: usize = 200;

/// Everything about one remote.
pub fn page(console: &Console, address: &str) -> Reply {
    let Ok(remote) = address.parse::<IpAddr>() else {
        return Reply::Wrong(StatusCode::NOT_FOUND, format!("{address:?} is no address"));
    };
    let Some(flows) = &console.flows else {
        return Reply::Wrong(StatusCode::CONFLICT, console.why_no_flows());
    };
    let Ok(flows) = flows.lock() else {
        return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, "the flows cannot be reached".into());
    };
    let apart = console.case.capture.segments_apart;
    let (partners, names) = match (flows.partners(remote, apart, MOST), flows.names_of(remote)) {
        (Ok(partners), Ok(names)) => (partners, names),
        (Err(e), _) | (_, Err(e)) => return Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    drop(flows);
    let stories = &console.case.stories;
    // As a network of one address: a word would be looked for within longer ones.
    let exact = format!("{remote}/{}", if remote.is_ipv4() { 32 } else { 128 });
    // Of several machines that had an address, that which had it when it first met the remote.
    let of = |p: &Partner| {
        let ip: Option<IpAddr> = p.host.parse().ok();
        let mine = || stories.iter().filter(|s| Some(s.host) == ip && s.is_of(Timestamp(p.first)));
        let named = if p.segment.is_empty() { Segment::Untagged.to_string() } else { p.segment.clone() };
        let is_in = |s: &&HostStory| s.segment.is_none_or(|known| !apart || known.to_string() == named);
        mine().find(is_in).or_else(|| mine().find(|s| s.segment == Some(Segment::Others)))
    };
    let place = stories.iter().find_map(|s| s.places.get(&remote)).map(report::place);
    let named = |s: &HostStory| {
        let these: Vec<_> =
            s.evidence.iter().map(|e| &e.evidence).filter(|e| e.remotes.contains(&remote)).cloned().collect();
        (!these.is_empty()).then(|| (s.clone(), these))
    };
    let evidence: Vec<_> = stories.iter().filter_map(named).collect();
    let days = Dates::of(&console.case.capture);
    let body = html! {
        h1 { "Who met " (defang(&remote.to_string())) "?" }
        dl.facts {
            @if !names.is_empty() { dt { "names" } dd { @for n in &names { div { (defang(&clean(n))) } } } }
            @if let Some(place) = place { dt { "where" } dd { (place) } }
            dt { "flows" } dd { a href={ "/table/flow?q=" (encoded(&exact)) } { "all of them" } " · " a href={ "/table/web?q=" (encoded(&exact)) } { "web" } }
        }
        h2 { "Hosts" }
        @if partners.is_empty() { p { "No flow of the case has this address." } }
        @else {
            div.scroll tabindex="0" role="group" aria-label="Hosts" {
                table.rows.dense {
                    thead { tr { th { "host" } th { "verdict" } th.n { "flows" } th.n { "of these begun by it" } th.n { "sent" } th.n { "came back" } th { "first" } th { "last" } } }
                    tbody {
                        @for p in &partners {
                            @let story = of(p);
                            tr data-row {
                                td.mono { @if let Some(s) = story { a href={ "/host/" (s.id()) "/flow?q=" (encoded(&exact)) } { (s.label()) } } @else { (clean(&p.host)) } }
                                td { @if let Some(s) = story { a href={ "/host/" (s.id()) } { (chip(s.verdict)) } } }
                                td.n { (human_count(p.flows.unsigned_abs())) } td.n { (human_count(p.begun.unsigned_abs())) }
                                td.n { (human_bytes(p.out.unsigned_abs())) } td.n { (human_bytes(p.back.unsigned_abs())) }
                                td.t { (full(Timestamp(p.first))) } td.t { (full(Timestamp(p.last))) }
                            }
                        }
                    }
                }
            }
            @if partners.len() as u32 >= MOST { p.soft { "The first " (MOST) " of them." } }
        }
        h2 { "Evidence that names it" }
        @if evidence.is_empty() { p { "None." } }
        ul.plain {
            @for (s, e) in evidence.iter().flat_map(|(s, all)| all.iter().map(move |e| (s, e))).take(EVIDENCE) {
                li { (moment(e.started, days)) " " a href={ "/host/" (s.id()) } { (s.label()) } ": " a href={ "/host/" (s.id()) "/evidence/" (e.id()) } { (describe(e)) } }
            }
        }
    };
    Reply::Page(whole(console, &format!("Remote {remote}"), &body))
}
