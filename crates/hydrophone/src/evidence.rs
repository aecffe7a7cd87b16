//! `hydrophone carve`, `bundle` and `verify`: the packets that prove a story, and what is handed over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use capture::{Captures, PcapngWriter, Source};
use case::Case;
use export::{Pseudonyms, Rewritten};
use ipnet::IpNet;
use pipeline::{Frame, PSEUDONYMS, RunOptions, Wanted, Within, walk};
use record::{Evidence, PacketId, Segment, Stage};
use report::describe;
use verdict::HostStory;

use crate::args::{Bundle, Carve};
use crate::{Exit, Failure, opened};

/// A slice, and what came of telling the story again from it alone.
struct Slice {
    bytes: Vec<u8>,
    packets: u64,
    /// What must be told about it.
    notes: Vec<String>,
}

pub fn carve(args: &Carve) -> Result<Exit, Failure> {
    let opened = opened::open(&args.case, &args.read)?;
    let case = &opened.case;
    let story = case.host(&args.host).map_err(Failure::usage)?;
    case.may_write(&args.write).map_err(Failure::usage)?;
    let others = pseudonyms(args.pseudonymise.as_deref(), case)?;
    let captures = case.captures(args.captures.as_deref(), &args.zip_password).map_err(Failure::input)?;
    let slice = slice(case, &captures, story, args.evidence.as_deref(), others.as_ref())?;
    std::fs::write(&args.write, &slice.bytes)
        .with_context(|| format!("cannot write {}", args.write.display()))
        .map_err(Failure::input)?;
    told(&format!("{}: {} packets", args.write.display(), slice.packets), &slice.notes)?;
    Ok(Exit::Done)
}

pub fn bundle(args: &Bundle) -> Result<Exit, Failure> {
    if !args.contact.contains('@') {
        return Err(Failure::usage(anyhow::anyhow!("--contact {:?} is no mail address", args.contact)));
    }
    let opened = opened::open(&args.case, &args.read)?;
    let case = &opened.case;
    let story = case.host(&args.host).map_err(Failure::usage)?;
    case.may_write(&args.output).map_err(Failure::usage)?;
    let others = pseudonyms(args.pseudonymise.as_deref(), case)?;
    let captures = case.captures(args.captures.as_deref(), &args.zip_password).map_err(Failure::input)?;
    let slice = slice(case, &captures, story, None, others.as_ref())?;
    let by = export::Reporter {
        org: args.org.clone(),
        contact: args.contact.clone(),
        source: args.source,
        anyway: args.anyway,
        is_renamed: others.is_some(),
        asks_source: true,
    };
    let shown = match &others {
        Some(others) => others.story(&case.capture, story),
        None => Ok((case.capture.clone(), story.clone())),
    };
    let (capture, story) = shown.map_err(Failure::input)?;
    let made =
        export::bundle(&capture, &story, &slice.bytes, &by, slice.notes.clone()).map_err(Failure::input)?;
    std::fs::write(&args.output, &made)
        .with_context(|| format!("cannot write {}", args.output.display()))
        .map_err(Failure::input)?;
    told(
        &format!("{}: {} bytes, {} packets in the slice", args.output.display(), made.len(), slice.packets),
        &slice.notes.into_iter().chain(by.refuses(&story)).collect::<Vec<_>>(),
    )?;
    Ok(Exit::Done)
}

pub fn verify(path: &Path) -> Result<Exit, Failure> {
    let bundle = std::fs::File::open(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Failure::input)?;
    let checked = export::verify(std::io::BufReader::new(bundle))
        .with_context(|| {
            format!(
                "{} is no bundle that can be read (`hydrophone bundle CASE HOST` makes one)",
                path.display()
            )
        })
        .map_err(Failure::input)?;
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", report::clean(&checked.about))?;
    for name in &checked.good {
        writeln!(out, "  {}: unchanged", report::clean(name))?;
    }
    for what in &checked.wrong {
        writeln!(out, "  WRONG {}", report::clean(what))?;
    }
    Ok(if checked.wrong.is_empty() { Exit::Done } else { Exit::Partial })
}

/// Other names by the key of a file, if there is one.
fn pseudonyms(key: Option<&Path>, case: &Case) -> Result<Option<Pseudonyms>, Failure> {
    let Some(path) = key else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the key {}", path.display()))
        .map_err(Failure::usage)?;
    let made =
        Pseudonyms::new(&text, &case.capture, &case.stories).with_context(|| path.display().to_string());
    made.map(Some).map_err(Failure::usage)
}

fn told(done: &str, notes: &[String]) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{done}")?;
    for note in notes {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

/// The slice of a case's host that the console hands out.
pub fn slice_of(
    case: &Case,
    captures: &Captures,
    story: &HostStory,
    evidence: Option<&str>,
) -> anyhow::Result<(Vec<u8>, Vec<String>)> {
    slice(case, captures, story, evidence, None).map(|s| (s.bytes, s.notes)).map_err(|f| f.error)
}

/// Cuts the slice: first the flows that the evidence names with all that went between the host and the remotes; if the story is not told
/// again from them, everything the host said.
fn slice(
    case: &Case,
    captures: &Captures,
    story: &HostStory,
    only: Option<&str>,
    others: Option<&Pseudonyms>,
) -> Result<Slice, Failure> {
    if matches!(story.host, IpAddr::V6(v6) if PSEUDONYMS.contains(&v6)) {
        let why = format!(
            "{} is a subscriber's pseudonym, and packets are under addresses: cut them out of a case that was read without --subscribers",
            story.host
        );
        return Err(Failure::usage(anyhow::anyhow!(why)));
    }
    // What is written of the story, under other names if there are any; evidence stands at the same places.
    let other = others.map(|o| o.story(&case.capture, story)).transpose().map_err(Failure::input)?;
    let shown = other.as_ref().map_or(story, |(_, story)| story);
    let pairs = story.evidence.iter().zip(&shown.evidence).map(|(e, o)| (&e.evidence, &o.evidence));
    let (chosen, told): (Vec<&Evidence>, Vec<&Evidence>) =
        pairs.filter(|(e, _)| only.is_none_or(|id| e.id() == id)).unzip();
    if chosen.is_empty() {
        let what = only.map_or_else(
            || format!("{} did nothing that could be proved", story.label()),
            |id| format!("{} has no evidence {id:?}: ids stand in the report", story.label()),
        );
        return Err(Failure::usage(anyhow::anyhow!(what)));
    }
    let narrow = Wanted::of(
        story.host,
        chosen.iter().flat_map(|e| e.remotes.iter().copied()),
        chosen.iter().flat_map(|e| e.flows.iter().copied()),
    );
    let narrow = narrow.within(Within::of(story.segment));
    let whole = narrow.clone().whole();
    let mut best: Option<(Slice, usize)> = None;
    for (wanted, how) in [(narrow, None), (whole, Some("everything that the host said is in it"))] {
        let (bytes, packets, failures) = cut(captures, wanted, &told, others).map_err(Failure::input)?;
        let mut notes: Vec<String> = failures;
        notes.extend(how.map(str::to_owned));
        let missing = replay(case, shown, &bytes, &told, only.is_some()).map_err(Failure::input)?;
        let count = missing.len();
        if missing.is_empty() {
            notes.push("told again from these packets alone, the evidence is the same".to_owned());
        } else {
            notes.push(format!(
                "told again from these packets alone, this is missing: {}",
                missing.join(", ")
            ));
        }
        if best.as_ref().is_none_or(|b| count < b.1) {
            best = Some((Slice { bytes, packets, notes }, count));
        }
        if count == 0 {
            break;
        }
    }
    best.map(|b| b.0).ok_or_else(|| Failure::input(anyhow::anyhow!("nothing was cut")))
}

/// Writes the wanted frames; those that prove something say what.
fn cut(
    captures: &Captures,
    mut wanted: Wanted,
    told: &[&Evidence],
    others: Option<&Pseudonyms>,
) -> anyhow::Result<(Vec<u8>, u64, Vec<String>)> {
    let mut comments: BTreeMap<PacketId, String> = BTreeMap::new();
    for e in told {
        for p in &e.packets {
            let comment = comments.entry(*p).or_default();
            let text = format!("{} {} {}: {}", e.id(), e.stage, e.behaviour, describe(e));
            if !comment.contains(&text) {
                if !comment.is_empty() {
                    comment.push('\n');
                }
                comment.push_str(&text);
            }
        }
    }
    let named: BTreeSet<PacketId> = comments.keys().copied().collect();
    let mut writer: Option<PcapngWriter<Vec<u8>>> = None;
    let (mut packets, mut failed) = (0u64, None);
    let mut left_out: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = walk(captures, |frame: &Frame<'_>| {
        if !wanted.has(frame) && !named.contains(&frame.id) {
            return true;
        }
        let mut bytes = std::borrow::Cow::Borrowed(frame.bytes);
        if let Some(others) = others
            && let Rewritten::LeftOut(why) = others.frame(bytes.to_mut(), frame.link, frame.original)
        {
            *left_out.entry(why).or_default() += 1;
            return true;
        }
        packets += 1;
        let link = frame.link as u16;
        let written = (|| {
            let out = match &mut writer {
                Some(out) => out,
                none => none.insert(PcapngWriter::new(Vec::new(), link, "hydrophone carve")?),
            };
            out.packet_on(link, frame.ts, &bytes, frame.original, comments.get(&frame.id).map(String::as_str))
        })();
        failed = written.err();
        failed.is_none()
    })?;
    if let Some(e) = failed {
        return Err(e.into());
    }
    if others.is_some() && !failures.is_empty() {
        // Where captures lie is not for others.
        failures = vec!["not every capture could be read to its end".to_owned()];
    }
    failures.extend(
        left_out
            .iter()
            .map(|(why, n)| format!("left out, since they cannot be given other names: {n} packets {why}")),
    );
    let writer = writer.with_context(|| {
        if left_out.is_empty() {
            return "none of the packets is in the captures any more".to_owned();
        }
        let all: Vec<String> = left_out.iter().map(|(why, n)| format!("{n} {why}")).collect();
        format!("nothing can be shown: the packets cannot be given other names ({})", all.join(", "))
    })?;
    Ok((writer.into_inner(), packets, failures))
}

/// Analyses a slice alone: which of the chosen evidence does not fire again?
fn replay(
    case: &Case,
    story: &HostStory,
    bytes: &[u8],
    told: &[&Evidence],
    one_piece: bool,
) -> anyhow::Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("slice.pcapng");
    std::fs::write(&path, bytes)?;
    let home: Vec<IpNet> = case.capture.home.iter().filter_map(|n| n.parse().ok()).collect();
    ensure!(!home.is_empty(), "the case does not say which networks are local");
    let options = RunOptions {
        home: Some(home),
        segments_apart: case.capture.segments_apart,
        ..RunOptions::of(vec![Source::Path(path)])
    };
    let outcome = pipeline::run(&options, |_| ())?;
    let again: BTreeSet<(String, String)> = outcome
        .stories
        .iter()
        .filter(|s| s.host == story.host)
        // Alone it may be one that is told apart.
        .filter(|s| s.segment == story.segment || story.segment == Some(Segment::Others))
        .flat_map(|s| s.evidence.iter().map(|e| &e.evidence).chain(&s.suppressed))
        .map(|e| (e.behaviour.to_string(), e.key.to_string()))
        .collect();
    let mut missing: Vec<String> = told
        .iter()
        // How others lie in time is no packet's matter where only one piece is cut out; a list is the user's.
        .filter(|e| !(one_piece && matches!(e.stage, Stage::Cycle | Stage::Order)))
        .filter(|e| !matches!(e.behaviour.as_ref(), "known_indicator" | "role_deviation"))
        .map(|e| (e.behaviour.to_string(), e.key.to_string()))
        .filter(|e| !again.contains(e))
        .map(|(behaviour, key)| format!("{behaviour}/{}", report::clean(&key)))
        .collect();
    missing.sort();
    missing.dedup();
    Ok(missing)
}
