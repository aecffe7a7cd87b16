//! A host that turned, in a line: for terminals, logs and messages.

use std::fmt::Write;

use record::{clean, human_count};
use verdict::{Turn, Verdict};

use crate::prose::describe;
use crate::terminal::{Dates, clock, sentence, standing};

/// Pieces of evidence that a line names.
const SHOWN: usize = 3;

/// What is told of a host that turned, in one line: `2008-04-08 10:22:00Z  pc-03 (10.20.0.13) is infected since …: …`.
pub fn turn(t: &Turn) -> String {
    let s = &t.story;
    let at = clock(t.at, Dates::Year);
    if t.is_end() {
        let who = sentence(s, Dates::Year);
        return format!("{at}  {who} It was {}.", standing(t.before));
    }
    let mut out = format!("{at}  {}", sentence(s, Dates::Year));
    match (t.before, t.found.as_slice()) {
        (before, _) if before >= Verdict::Suspicious && before != s.verdict => {
            let _ = write!(out, " Before, it was {}.", standing(before));
        }
        (before, [_, ..]) if before == s.verdict => {
            let found: Vec<String> = t.found.iter().map(|kind| clean(kind)).collect();
            let _ = write!(out, " New is: {}.", found.join(", "));
        }
        _ => {}
    }
    let mut strongest: Vec<_> = s.evidence.iter().filter(|e| e.db > 0.0).collect();
    strongest.sort_by(|a, b| b.db.total_cmp(&a.db).then(a.evidence.started.cmp(&b.evidence.started)));
    let mut seen: Vec<&str> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for e in strongest {
        // What grew is told once.
        if told.len() < SHOWN && !seen.contains(&&*e.evidence.behaviour) {
            seen.push(&e.evidence.behaviour);
            told.push(describe(&e.evidence));
        }
    }
    if !told.is_empty() {
        let _ = write!(out, " {:+.1} dB. Why: {}", s.level_db, told.join("; "));
        let more = s.evidence.len().saturating_sub(told.len());
        if more > 0 {
            let _ = write!(out, "; and {} more", human_count(more as u64));
        }
        out.push('.');
    }
    out
}
