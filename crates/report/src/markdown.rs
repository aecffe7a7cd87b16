//! The story for a ticket.

use std::fmt::Write;

use verdict::{HostStory, Machine, Verdict, probable};

use crate::html::summary;
use crate::indicators::indicators;
use crate::lines::CaptureLine;
use crate::prose::told;
use crate::terminal::{Dates, clock, identity, in_order, note, second_story, warnings};
use record::{Timestamp, clean, defang, human_count};

/// Inputs that are named.
const INPUTS: usize = 20;
/// Hosts told in full.
const MOST: usize = 50;

/// Text that Markdown takes as text: marks that would begin something are escaped.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '~' | '@' | '&'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Writes the story of every suspicious host as Markdown.
pub fn markdown(capture: &CaptureLine, stories: &[HostStory], all: bool) -> String {
    let capture = &capture.without_paths();
    let mut out = String::new();
    let days = Dates::of(capture);
    let machines = Machine::all(stories);
    let _ = writeln!(out, "{}\n", plain(&summary(capture, &machines)));
    let moment = |t: Option<Timestamp>| t.map_or_else(|| "?".to_owned(), |t| t.to_string());
    let by = &capture.version;
    let _ = writeln!(
        out,
        "Captured {} to {}; told by Hydrophone {by} of:\n",
        moment(capture.first),
        moment(capture.last)
    );
    for input in capture.inputs.iter().take(INPUTS) {
        let sum = input.sha256.as_ref().map_or_else(String::new, |sum| format!(", SHA-256 {sum}"));
        let _ = writeln!(out, "- {}{}", plain(&input.path), plain(&sum));
    }
    if capture.inputs.len() > INPUTS {
        let _ = writeln!(out, "- and {} more", capture.inputs.len() - INPUTS);
    }
    out.push('\n');
    for w in warnings(capture) {
        let _ = writeln!(out, "> {}\n", plain(&w));
    }
    let told: Vec<&Machine<'_>> =
        machines.iter().filter(|m| m.strongest.verdict >= Verdict::Suspicious).collect();
    for machine in told.iter().take(MOST) {
        let s = machine.strongest;
        let name = s.names.host_names.first().or(s.names.macs.first());
        let name = name.map(|n| format!(" ({})", plain(n))).unwrap_or_default();
        let _ = writeln!(out, "## {}{name}: {}, {:+.1} dB\n", s.label(), s.verdict, s.level_db);
        let _ = writeln!(
            out,
            "Starting from {}: {} probable (10 dB are ten times the odds).\n",
            s.prior(),
            probable(s.posterior_db)
        );
        table(&mut out, s, days);
        for n in &s.notes {
            let _ = writeln!(out, "- {}", plain(&note(n, days)));
        }
        for f in &s.findings {
            let _ = writeln!(out, "- also: {} since {}", plain(&f.kind), clock(f.since, days));
        }
        for c in s.would_change.iter().take(1) {
            let _ =
                writeln!(out, "- without {} it is {:+.1} dB, {}", plain(&c.without), c.level_db, c.verdict);
        }
        if let Some(line) = second_story(s) {
            let _ = writeln!(out, "- {}", plain(&line));
        }
        for reason in &s.unseen {
            let _ = writeln!(out, "- not seen: {}", plain(reason));
        }
        let found = indicators(s);
        if !found.is_empty() {
            let shown: Vec<String> = found.iter().take(20).map(|i| plain(&defang(&i.value))).collect();
            let more = found.len().saturating_sub(20);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(out, "- indicators: {}{more}", shown.join(", "));
        }
        for line in identity(s, &machine.others, days) {
            let _ = writeln!(out, "- {}", plain(&line));
        }
        let _ = writeln!(out);
        for other in machine.others.iter().filter(|o| !o.evidence.is_empty()) {
            let _ = writeln!(
                out,
                "As {}, {} {:+.1} dB:\n",
                plain(&other.id().to_string()),
                other.verdict,
                other.level_db
            );
            table(&mut out, other, days);
        }
    }
    if told.len() > MOST {
        let _ =
            writeln!(out, "{} more hosts are suspicious or above.", human_count((told.len() - MOST) as u64));
    }
    let others: Vec<&HostStory> =
        machines.iter().map(|m| m.strongest).filter(|s| s.verdict < Verdict::Suspicious).collect();
    let of = |verdict: Verdict| others.iter().filter(|s| s.verdict == verdict).count();
    let counted: Vec<String> = [Verdict::Inconclusive, Verdict::Quiet]
        .into_iter()
        .filter(|verdict| of(*verdict) > 0)
        .map(|verdict| format!("{} {verdict}", human_count(of(verdict) as u64)))
        .collect();
    if !counted.is_empty() {
        let _ = writeln!(out, "Other hosts: {}.\n", counted.join(", "));
    }
    if all && !others.is_empty() {
        let _ = writeln!(out, "| host | verdict | dB |\n|---|---|---|");
        for s in others {
            let _ = writeln!(out, "| {} | {} | {:+.1} |", plain(&s.label()), s.verdict, s.level_db);
        }
        out.push('\n');
    }
    out
}

/// Packets that are named as proof of a sentence.
const PROOFS: usize = 6;

/// What a host did, a row for each sentence.
fn table(out: &mut String, s: &HostStory, days: Dates) {
    let _ = writeln!(out, "| since | stage | dB | what | packets |\n|---|---|---|---|---|");
    for (first, stage, all) in in_order(s) {
        for (i, e) in all.iter().enumerate() {
            let mut packets: Vec<String> =
                e.evidence.packets.iter().take(PROOFS).map(ToString::to_string).collect();
            if e.evidence.packets.len() > PROOFS {
                packets.push(format!("… (+{})", e.evidence.packets.len() - PROOFS));
            }
            let db = s.stages.get(&stage).map_or(0.0, |x| x.db);
            let lead = if i == 0 {
                format!("{} | {stage} | {db:+.1}", clock(first, days))
            } else {
                " | | ".to_owned()
            };
            let _ = writeln!(out, "| {lead} | {} | {} |", plain(&told(s, e)), packets.join(" "));
        }
    }
    let _ = writeln!(out);
}
