//! `hydrophone find`: who met this, when and how often?

use std::io::Write;

use behaviour::{Intel, Kind};
use record::{clean, defang, human_count};
use serde::Serialize;
use store::{Found, Indicator, Sought, Span, StoreError, StoredInput};

use crate::args::Find;
use crate::{Exit, Failure, knowledge, say};

/// Indicators that nobody met are named up to so many; more are counted.
const NAMED: usize = 20;
/// Packets that are shown of the first meeting.
const PACKETS: usize = 4;

pub fn run(args: &Find) -> Result<Exit, Failure> {
    if case::is_case(&args.store) {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is a case, and stores are asked: `hydrophone read CAPTURE --store STORE` makes one",
            args.store.display()
        )));
    }
    let (intel, mut passed_over) = knowledge::intel(&args.intel)?;
    let mut asked: Vec<(String, Indicator)> = Vec::new();
    for text in &args.indicators {
        match Indicator::of(text) {
            Some(indicator) => asked.push((text.clone(), indicator)),
            None => asked.extend(in_words_of_lists(text)?),
        }
    }
    let (listed, unasked) = of_lists(&intel);
    asked.extend(listed);
    if let Some(first) = unasked.first() {
        let many = human_count(unasked.len() as u64);
        passed_over.push(format!(
            "{many} of the lists' indicators cannot be looked for in a store, for example {first}"
        ));
    }
    let indicators: Vec<Indicator> = asked.iter().map(|(_, i)| i.clone()).collect();
    let span = Span { since: args.since, until: args.until, sites: args.site.clone() };
    let sought = store::find(&args.store, &indicators, &span).map_err(failure)?;
    let words: Vec<&str> = asked.iter().map(|(text, _)| text.as_str()).collect();
    if args.json {
        json(&words, &sought)?;
    } else {
        text(&words, &sought, args.explain)?;
    }
    for told in passed_over.iter().chain(&sought.notices).chain(&sought.failures) {
        say(told);
    }
    Ok(if sought.failures.is_empty() { Exit::Done } else { Exit::Partial })
}

/// What lists name; also what of it cannot be looked for.
fn of_lists(intel: &Intel) -> (Vec<(String, Indicator)>, Vec<String>) {
    let (mut asked, mut unasked) = (Vec::new(), Vec::new());
    for (kind, text) in intel.indicators() {
        let indicator = match kind {
            // A list's name stands for everything below it.
            Kind::Name => Some(Indicator::Below(text.clone())),
            _ => Indicator::of(&text),
        };
        match indicator {
            Some(indicator) => asked.push((text, indicator)),
            None => unasked.push(text),
        }
    }
    (asked, unasked)
}

/// What is written as in a list: a range.
fn in_words_of_lists(text: &str) -> Result<Vec<(String, Indicator)>, Failure> {
    let mut intel = Intel::default();
    // A word with spaces around it is no line of a list.
    let _ = intel.add("", text.as_bytes());
    let named = of_lists(&intel).0;
    if named.is_empty() {
        let forms = "an address, network, range, name, *.NAME, URL, JA4, SHA-256, Community ID, or ua:TEXT for a user agent";
        return Err(Failure::usage(anyhow::anyhow!("{text:?} is no indicator: {forms}")));
    }
    Ok(named)
}

/// An indicator as people read it; networks are no links, and what was given defanged is none either.
fn shown(word: &str) -> String {
    if word.parse::<ipnet::IpNet>().is_ok() || word.contains("[.]") { clean(word) } else { defang(word) }
}

/// Whose fault it is.
pub fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Other(_)
        | StoreError::Named { .. }
        | StoreError::Version { .. }
        | StoreError::Busy(_)
        | StoreError::Held { .. }
        | StoreError::Read(_) => Failure::usage(error),
        _ => Failure::input(error),
    }
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    indicator: &'a str,
    host: &'a str,
    remote: &'a str,
    first: record::Timestamp,
    last: record::Timestamp,
    records: &'a std::collections::BTreeMap<String, u64>,
    uid: &'a str,
    input: Option<&'a str>,
    packets: &'a [record::PacketId],
}

fn json(words: &[&str], sought: &Sought) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for f in &sought.found {
        let line = Line {
            r#type: "found",
            indicator: words.get(f.indicator).copied().unwrap_or_default(),
            host: &f.host,
            remote: &f.remote,
            first: f.first,
            last: f.last,
            records: &f.records,
            uid: &f.uid,
            input: input(f, &sought.inputs).map(|i| i.path.as_str()),
            packets: &f.proof,
        };
        let text = serde_json::to_string(&line).map_err(Failure::input)?;
        writeln!(out, "{text}")?;
    }
    out.flush()?;
    Ok(())
}

/// Where the first meeting is proved.
fn input<'a>(found: &Found, inputs: &'a [StoredInput]) -> Option<&'a StoredInput> {
    inputs.get(found.proof.first()?.file() as usize)
}

fn text(words: &[&str], sought: &Sought, explain: bool) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let mut nobody = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let of: Vec<&Found> = sought.found.iter().filter(|f| f.indicator == n).collect();
        if of.is_empty() {
            nobody.push(shown(word));
            continue;
        }
        let hosts = if of.len() == 1 {
            "1 host".to_owned()
        } else {
            format!("{} hosts", human_count(of.len() as u64))
        };
        writeln!(out, "{}: met by {hosts}", shown(word))?;
        for f in of {
            let records: Vec<String> =
                f.records.iter().map(|(kind, n)| format!("{} {kind}", human_count(*n))).collect();
            let span =
                if f.first == f.last { f.first.to_string() } else { format!("{} to {}", f.first, f.last) };
            writeln!(out, "  {}  {span}  {}", f.host, records.join(", "))?;
            if let Some(input) = input(f, &sought.inputs) {
                let numbers: Vec<String> =
                    f.proof.iter().take(PACKETS).map(|p| p.number().to_string()).collect();
                let what = if input.log.is_some() { "lines" } else { "packets" };
                writeln!(out, "    first: {} {what} {}", clean(&input.path), numbers.join(" "))?;
            }
        }
    }
    if nobody.len() > NAMED {
        writeln!(out, "met by nobody: {} indicators", human_count(nobody.len() as u64))?;
    } else if !nobody.is_empty() {
        writeln!(out, "met by nobody: {}", nobody.join(", "))?;
    }
    let s = &sought.search;
    if s.in_span == 0 {
        writeln!(
            out,
            "nothing was looked at: the store holds nothing of the times and sites that were asked for"
        )?;
    }
    if s.further > 0 {
        writeln!(out, "{} further meetings are of more hosts than can be told", human_count(s.further))?;
    }
    if explain {
        writeln!(
            out,
            "looked at: {} of {} files lie in the span; {} of their {} groups of rows may hold it, with {} rows; of the others, statistics and filters say that it is not there",
            s.in_span,
            s.files,
            s.read,
            s.groups,
            human_count(s.rows)
        )?;
    }
    Ok(())
}
