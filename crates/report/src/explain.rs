//! Why, and why not: the complete arithmetic of one host.

use std::fmt::Write;

use std::collections::BTreeMap;

use behaviour::{CATALOGUE, entry};
use record::{FactValue, IN_ARRAY, PacketId};
use verdict::{HostStory, Verdict, probable};

use crate::lines::CaptureLine;
use crate::prose::{both_stories, describe};
use crate::terminal::{Dates, identity, suppressed, trimmed};
use record::{clean, defang_words};

/// What the host is and does, whether or not any of it speaks against it.
fn profile(out: &mut String, s: &HostStory) {
    let known = crate::profile::facts(s);
    let p = &s.profile;
    if known.is_empty() && p.remotes.is_empty() && p.files.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nWhat it is and does every day:");
    for (what, values) in &known {
        for (n, value) in values.iter().enumerate() {
            let _ = writeln!(out, "  {:<24}{value}", if n == 0 { what } else { "" });
        }
    }
    for (n, r) in p.remotes.iter().enumerate() {
        let what = if n == 0 { "speaks most with" } else { "" };
        let _ = writeln!(out, "  {what:<24}{}", crate::profile::talk(s, r));
    }
    for (n, f) in p.files.iter().enumerate() {
        let _ = writeln!(out, "  {:<24}{}", if n == 0 { "files" } else { "" }, crate::profile::file(f));
    }
    if p.more_files > 0 {
        let _ = writeln!(out, "  {:<24}and {} more that were not kept", "", p.more_files);
    }
}

/// Explains a host: every stage's bet with its items, payoffs, discounts and caps, the sum, what would change it, the
/// nearest miss of each silent behaviour, and what could not be seen.
pub fn explain(capture: &CaptureLine, s: &HostStory) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}  {:+.1} dB", s.label(), s.verdict.name().to_uppercase(), s.level_db);
    for line in identity(s, &[], Dates::Day) {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(
        out,
        "\nThe bets against \"this host is clean\" (decibans; payoffs are {}):",
        clean(&capture.calibration)
    );
    if s.carried_db > 0.0 {
        let _ = writeln!(out, "  carried over from earlier days  {:+.1}", s.carried_db);
    }
    for (stage, score) in &s.stages {
        let capped = if score.raw_db > score.cap_db {
            format!(", capped at {:.1}", score.cap_db)
        } else {
            String::new()
        };
        let habits = !score.items.is_empty() && score.items.iter().all(|i| i.habit);
        let sum = if habits {
            "   no bet: it did all of this on an earlier day".to_owned()
        } else if score.is_unplaced() {
            "   no bet: in what was read of the host that day nothing could have shown it".to_owned()
        } else {
            format!("   = 10·log10(0.8 + Σ gains) = {:+.2}{capped}", score.raw_db)
        };
        let _ = writeln!(out, "\n  {:<10} {:+.1}{sum}", stage.name(), score.db);
        if score.items.is_empty() && !score.is_unplaced() {
            let _ = writeln!(out, "      nothing fired: the stake of one fifth is lost");
        }
        for item in &score.items {
            let parts: Vec<String> =
                item.parts.iter().map(|(n, db)| format!("{} {:+.1}", n.replace('_', " "), db)).collect();
            let _ = writeln!(
                out,
                "      {} ({}): {} = {:+.1} dB",
                item.behaviour,
                item.key,
                parts.join(", "),
                item.payoff_db
            );
            for d in &item.discounts {
                let _ = writeln!(out, "        × {} because {}", d.factor, clean(&d.because));
            }
            if item.habit {
                let _ = writeln!(out, "        a habit: it did as much on an earlier day within a week");
            }
            let _ = writeln!(
                out,
                "        gain {:.3}; a clean host does this in a day with P0 = {:.2e} ({})",
                item.gain,
                item.p0,
                clean(&item.p0_source)
            );
        }
    }
    let terms: Vec<String> =
        s.stages.iter().map(|(stage, score)| format!("{stage} {:+.1}", score.db)).collect();
    let carried = if s.carried_db > 0.0 { format!("carried {:+.1} ", s.carried_db) } else { String::new() };
    let _ = writeln!(out, "\n  level {:+.1} = {carried}{}", s.level_db, terms.join(" "));
    let _ = writeln!(
        out,
        "  starting from {} ({:+.1} dB): {} probable ({:+.1} dB)",
        s.prior(),
        s.prior().db(),
        probable(s.posterior_db),
        s.posterior_db
    );
    waterfall(&mut out, s);
    let _ = writeln!(out, "\nWhat was seen, in time order:");
    for e in &s.evidence {
        let v = &e.evidence;
        let _ = writeln!(out, "  {}  {:<10} {:+.1} dB  {}", v.started, v.stage.name(), e.db, describe(v));
        let _ = writeln!(
            out,
            "      {}: {} {} against {} ({})",
            v.behaviour,
            trimmed(v.value),
            clean(&v.unit),
            trimmed(v.threshold),
            clean(&v.source)
        );
        let numbers: Vec<String> = v.packets.iter().map(ToString::to_string).collect();
        if !numbers.is_empty() {
            let _ = writeln!(out, "      {} {}", capture.proof_word(&v.packets), numbers.join(" "));
        }
        for check in checks(capture, &v.packets) {
            let _ = writeln!(out, "      check: {check}");
        }
        for (name, value) in &v.facts {
            let _ = writeln!(out, "      {name}: {}", fact(value));
        }
    }
    if s.evidence.is_empty() {
        let _ = writeln!(out, "  nothing");
    }
    if s.evidence_dropped > 0 {
        let _ = writeln!(out, "  and {} more that were not kept", s.evidence_dropped);
    }
    if !s.suppressed.is_empty() {
        let _ = writeln!(out, "\nWhat was seen and is expected (it counts for nothing):");
        for line in suppressed(s) {
            let _ = writeln!(out, "  {line}");
        }
        for e in &s.suppressed {
            let _ = writeln!(out, "  {}  {:<10} {}", e.started, e.stage.name(), describe(e));
        }
    }
    let _ = writeln!(out, "\nWhen each verdict was first reached:");
    for (verdict, at) in &s.reached {
        let _ = writeln!(out, "  {verdict:<10} {at}");
    }
    if s.reached.is_empty() {
        let _ = writeln!(out, "  none was");
    }
    let _ = writeln!(out, "\nWhat would change it:");
    for c in s.would_change.iter().filter(|c| c.level_db <= s.level_db) {
        let _ = writeln!(out, "  without {}: {:+.1} dB, {}", c.without, c.level_db, c.verdict);
    }
    if let Some(c) = &s.without_lists {
        let _ = writeln!(out, "  without {}: {:+.1} dB, {}", c.without, c.level_db, c.verdict);
    }
    why_not(&mut out, s);
    benign(&mut out, s);
    let _ = writeln!(out, "\nWhat could not be seen:");
    for reason in &s.unseen {
        let _ = writeln!(out, "  {}", clean(reason));
    }
    if s.unseen.is_empty() {
        let _ = writeln!(out, "  nothing that would matter is known to be missing");
    }
    profile(&mut out, s);
    out
}

/// How the level comes about, stage by stage, to the last tenth.
fn waterfall(out: &mut String, s: &HostStory) {
    let _ = writeln!(out, "\nHow it adds up (each mark is 2 dB):");
    let mut sum = 0.0;
    let mut step = |out: &mut String, what: &str, db: f64| {
        let before = sum;
        sum += db;
        let at = |v: f64| (v.max(0.0) / 2.0).round() as usize;
        let (low, high) = (at(f64::min(before, sum)), at(f64::max(before, sum)));
        let mark = if db < 0.0 { "-" } else { "#" };
        let bar = format!("{}{}", " ".repeat(low), mark.repeat((high - low).max(usize::from(db != 0.0))));
        // Sums of tenths: what floating point leaves behind is not shown.
        let shown = (sum * 10.0).round() / 10.0 + 0.0;
        let _ = writeln!(out, "  {what:<10} {db:+6.1} {shown:+7.1}  {bar}");
    };
    if s.carried_db > 0.0 {
        step(out, "carried", s.carried_db);
    }
    for (stage, score) in &s.stages {
        step(out, stage.name(), score.db);
    }
    let _ = writeln!(out, "  level             {:+7.1}", s.level_db);
}

/// How to see the packets or rows for oneself: a command for each capture or log that they lie in.
pub fn checks(capture: &CaptureLine, packets: &[PacketId]) -> Vec<String> {
    let mut by_file: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for p in packets {
        by_file.entry(p.file()).or_default().push(p.number().to_string());
    }
    by_file
        .into_iter()
        .filter_map(|(file, numbers)| {
            let input = capture.inputs.get(file as usize)?;
            let path = input.absolute.as_ref().unwrap_or(&input.path);
            let quoted = clean(path).replace('\'', "'\\''");
            Some(match &input.log {
                None => format!("tshark -r '{quoted}' -Y 'frame.number in {{{}}}'", numbers.join(",")),
                Some(log) => {
                    let shows = if log.ends_with(IN_ARRAY) {
                        let of: Vec<String> = numbers
                            .iter()
                            .filter_map(|n| Some(format!(".[{}]", n.parse::<u64>().ok()?.checked_sub(1)?)))
                            .collect();
                        format!("jq -c '{}'", of.join(","))
                    } else {
                        format!("sed -n '{}p'", numbers.join("p;"))
                    };
                    format!("{} | {shows}", unpacked(&quoted))
                }
            })
        })
        .collect()
}

/// The command that shows what is in a file; what lies in a zip archive is named as if that were a folder.
fn unpacked(quoted: &str) -> String {
    let lower = quoted.to_ascii_lowercase();
    match lower.find(".zip/") {
        Some(at) => {
            let (archive, member) = (&quoted[..at + 4], &quoted[at + 5..]);
            let then = unpacker(member);
            let then = if then == "cat" { String::new() } else { format!(" | {then}") };
            format!("unzip -p '{archive}' '{member}'{then}")
        }
        None => format!("{} '{quoted}'", unpacker(quoted)),
    }
}

/// The command that unpacks a file, by how it is called.
fn unpacker(path: &str) -> &'static str {
    let ending = path.rsplit('.').next().unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "gz" => "zcat",
        "zst" => "zstdcat",
        "xz" => "xzcat",
        "bz2" => "bzcat",
        "lz4" => "lz4cat",
        _ => "cat",
    }
}

fn why_not(out: &mut String, s: &HostStory) {
    let _ = writeln!(out, "\nWhy not more (the nearest miss of each silent behaviour):");
    for b in CATALOGUE {
        if s.evidence.iter().any(|e| e.evidence.behaviour == b.name) {
            continue;
        }
        let _ = match s.near.iter().find(|n| n.behaviour == b.name) {
            Some(n) => writeln!(
                out,
                "  {:<10} {:<24} {} {}, needs {} (at {})",
                b.about.stage.name(),
                b.name,
                trimmed(n.value),
                clean(&n.unit),
                trimmed(n.threshold),
                n.ts
            ),
            None => writeln!(out, "  {:<10} {:<24} nothing like it was seen", b.about.stage.name(), b.name),
        };
    }
}

/// The behaviour of the strongest item and what else looks like it, for hosts that are suspicious.
pub(crate) fn looks_alike(s: &HostStory) -> Option<(&'static str, String)> {
    let strongest = s.stages.values().flat_map(|x| &x.items).max_by(|a, b| a.db.total_cmp(&b.db));
    let item = strongest.filter(|_| s.verdict >= Verdict::Suspicious)?;
    let b = entry(&item.behaviour)?;
    let manual = b.manual();
    let looks = manual
        .split("## What else looks like this")
        .nth(1)
        .and_then(|t| t.split("## ").next())
        .unwrap_or_default();
    let one_line: Vec<&str> = looks.split_whitespace().collect();
    Some((b.name, one_line.join(" ")))
}

/// The two stories beside each other: that it is a bot, and the best of what else it could be.
fn benign(out: &mut String, s: &HostStory) {
    if let Some((behaviour, looks)) = looks_alike(s) {
        let _ = writeln!(out, "\nWhat else looks like {behaviour}: {looks}");
    }
    let Some(best) = s.alternatives.first() else {
        if s.verdict >= Verdict::Suspicious {
            let _ = writeln!(out, "\nNo honest kind of host or program is known that would do any of this.");
        }
        return;
    };
    let words = best.honest.words();
    let _ = writeln!(out, "\nIf it is a bot, or if it is {words}:");
    for told in both_stories(s, best) {
        let honest = told.left.map_or_else(|| "explained".to_owned(), |why| format!("NOT explained: {why}"));
        let _ = writeln!(out, "  {:+5.1} dB  {}\n            {honest}", told.db, told.what);
    }
    let (level, verdict) = (s.level_db, s.verdict);
    let _ = writeln!(
        out,
        "  as a bot {level:+.1} dB, {verdict}; what {words} leaves unexplained: {:+.1} dB, {}",
        best.left_db, best.left_verdict
    );
    for (sign, reasons) in [("for", &best.because), ("against", &best.lacks)] {
        for reason in reasons {
            let _ = writeln!(out, "  {sign} it: {}", clean(reason));
        }
    }
    for other in s.alternatives.iter().skip(1) {
        let (words, left) = (other.honest.words(), other.left_db);
        let _ = writeln!(out, "  or {words}: {left:+.1} dB left, {}", other.left_verdict);
    }
}

/// A further value of evidence as text that is safe to show.
pub fn fact(value: &FactValue) -> String {
    match value {
        FactValue::Flag(b) => if *b { "yes" } else { "no" }.to_owned(),
        FactValue::Count(n) => n.to_string(),
        FactValue::Number(v) => trimmed(*v),
        FactValue::Text(t) => defang_words(t),
        FactValue::List(l) => l.iter().map(|t| defang_words(t)).collect::<Vec<_>>().join(", "),
    }
}
