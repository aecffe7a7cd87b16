//! What a host is and does every day: its system, programs, services, remotes and files.

use maud::{Markup, html};
use record::{defang_text, human_bytes, human_count, shortened};
use verdict::{FileSeen, HostStory};

use super::full;
use crate::profile::{facts, file_remote, kind, place, remote};

/// Characters of a file's name.
const LONGEST_NAME: usize = 60;

/// The card. `link` leads to what else is known of a remote.
pub(super) fn card(s: &HostStory, link: &dyn Fn(&str) -> Option<String>) -> Markup {
    let known = facts(s);
    html! {
        @if !known.is_empty() {
            h3 { "What it is" }
            dl.facts.card {
                @for (what, values) in &known { dt { (what) } dd { @for v in values { div { (v) } } } }
            }
        }
        (files(s))
        @if !s.profile.remotes.is_empty() {
            details.deep {
                summary { "With whom it speaks most" }
                div.scroll tabindex="0" role="group" aria-label="Remotes" {
                    table {
                        thead { tr { th { "remote" } th.n { "flows" } th.n { "out" } th.n { "back" } th { "first" } th { "last" } } }
                        tbody {
                            @for r in &s.profile.remotes {
                                tr {
                                    td.w { @if let Some(to) = link(&r.address.to_string()) { a href=(to) { (remote(s, r)) } } @else { (remote(s, r)) } }
                                    td.n { (human_count(r.flows)) }
                                    td.n { (human_bytes(r.bytes[0])) }
                                    td.n { (human_bytes(r.bytes[1])) }
                                    td.t { (full(r.first)) }
                                    td.t { (full(r.last)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Files that came and went: what can be run first.
fn files(s: &HostStory) -> Markup {
    html! {
        @if !s.profile.files.is_empty() {
            h3 { "Files" }
            div.scroll tabindex="0" role="group" aria-label="Files" {
                table {
                    thead { tr { th { "time" } th { "way" } th { "with" } th { "name" } th { "what it is" } th.n { "size" } th { "SHA-256" } } }
                    tbody { @for f in &s.profile.files { (file(s, f)) } }
                }
            }
            @if s.profile.more_files > 0 { p { "And " (human_count(s.profile.more_files)) " more that were not kept." } }
            p.soft.legend { "Programs, archives, documents and what nobody recognises, in HTTP; what can be run, is packed or is a document also alone on a connection. Pages, pictures and text are left out." }
        }
    }
}

fn file(s: &HostStory, f: &FileSeen) -> Markup {
    let said = f.declared.as_deref().map(|d| format!(", said to be {}", defang_text(d))).unwrap_or_default();
    html! {
        tr {
            td.t { (full(f.ts)) }
            td { (if f.sent { "sent" } else { "received" }) }
            td.mono { (file_remote(f)) @if let Some(p) = f.remote.and_then(|ip| s.places.get(&ip)) { " " span.soft { (place(p)) } } }
            td.w { @if let Some(n) = &f.name { (shortened(&defang_text(n), LONGEST_NAME)) } @if f.carrier == "unknown" { span.soft { " alone on a connection" } } @if f.times > 1 { span.soft { " " (human_count(f.times)) " times" } } }
            td { (kind(f)) span.soft { (said) } }
            td.n { (human_bytes(f.len)) }
            td.mono.sum { @if let Some(sum) = &f.sha256 { (sum) } @else if f.whole { span.soft { "not taken" } } @else { span.soft { "not all of it was seen" } } }
        }
    }
}
