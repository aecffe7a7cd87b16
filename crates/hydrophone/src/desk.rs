//! `hydrophone desk`: what an abuse desk needs of a case of subscribers: one verdict a subscriber and day, and reports by the addresses that they had.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use case::WholeFile;
use export::Reporter;
use pipeline::{Had, Subscribers};
use record::Timestamp;
use serde::Serialize;
use verdict::{HostStory, Verdict};

use crate::args::Desk;
use crate::{Exit, Failure, knowledge, opened};

/// The nanoseconds of a day.
const DAY: i64 = 86_400_000_000_000;

/// A line of the digest.
#[derive(Serialize)]
struct Line<'a> {
    day: String,
    subscriber: &'a str,
    pseudonym: IpAddr,
    verdict: &'static str,
    level_db: f64,
    evidence: u32,
    /// The addresses of that day, with their ports where these are shared.
    had: String,
    /// The file of its report, if there is one.
    report: &'a str,
}

fn written(had: &Had) -> String {
    let place = if had.network.prefix_len() == had.network.max_prefix_len() {
        had.network.addr().to_string()
    } else {
        had.network.to_string()
    };
    match had.ports {
        Some((first, last)) => format!("{place} ports {first}-{last}"),
        None => place,
    }
}

fn until(day: Timestamp) -> Timestamp {
    Timestamp(day.0.saturating_add(DAY))
}

pub fn desk(args: &Desk) -> Result<Exit, Failure> {
    if !args.contact.contains('@') {
        return Err(Failure::usage(anyhow::anyhow!("--contact {:?} is no mail address", args.contact)));
    }
    let subscribers =
        knowledge::subscribers(Some(&args.subscribers), args.subscribers_key.as_deref())?.unwrap_or_default();
    let opened = opened::open(&args.case, &[])?;
    let stories = &opened.case.stories;
    let known = stories.iter().filter(|s| subscribers.name(s.host).is_some()).count();
    let why =
        "none of its hosts is a subscriber of this list: was it read with --subscribers, and with this key?";
    if known == 0 {
        return Err(Failure::usage(anyhow::anyhow!("{}: {why}", args.case.display())));
    }
    empty(&args.output).map_err(Failure::usage)?;
    let (mut reports, mut accused, mut digest) = (0, 0, csv::Writer::from_writer(Vec::new()));
    let mut unreported = Vec::new();
    for story in stories {
        let Some(subscriber) = subscribers.name(story.host) else { continue };
        let report = reported(args, &subscribers, story).map_err(Failure::input)?;
        if let (Err(why), true) = (&report, story.verdict >= Verdict::Likely) {
            unreported.push(format!("{}: {why}", story.label()));
        }
        let report = report.ok();
        reports += usize::from(report.is_some());
        accused += usize::from(story.verdict >= Verdict::Suspicious);
        for day in &story.calendar {
            let had = subscribers.had(story.host, day.day, until(day.day));
            let line = Line {
                day: day.day.to_string().chars().take(10).collect(),
                subscriber,
                pseudonym: story.host,
                verdict: day.verdict.name(),
                level_db: (day.level_db * 10.0).round() / 10.0,
                evidence: day.evidence,
                had: had.iter().map(written).collect::<Vec<_>>().join("; "),
                report: report.as_deref().unwrap_or_default(),
            };
            digest.serialize(line).map_err(Failure::input)?;
        }
    }
    let text = digest.into_inner().map_err(|e| Failure::input(anyhow::anyhow!("{e}")))?;
    write(&args.output.join("digest.csv"), &text).map_err(Failure::input)?;
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "{}: subscribers seen: {known}, at least suspicious: {accused}, reported: {reports}",
        args.output.display()
    )?;
    for why in &unreported {
        writeln!(out, "  {why}")?;
    }
    Ok(Exit::Done)
}

/// Writes the reports of whom a desk can be told, by the first address that it had when its verdict was reached; gives their name, or why there are none.
fn reported(
    args: &Desk,
    subscribers: &Subscribers,
    story: &HostStory,
) -> anyhow::Result<Result<String, String>> {
    // What it had when the last of what led there began: it may be known after the address has gone to another.
    let reached = story.level_at.or(story.last).unwrap_or(Timestamp::MAX);
    let began = story.evidence.iter().map(|e| e.evidence.started).filter(|t| *t <= reached).max();
    let Some(at) = began.or(story.last) else { return Ok(Err("nothing was seen of it".to_owned())) };
    let had = subscribers.had(story.host, at, Timestamp(at.0.saturating_add(1)));
    let Some(source) = had.first().map(|h| h.network.addr()) else {
        return Ok(Err(format!("without a report: by the list it had no address at {at}")));
    };
    let by = Reporter {
        org: args.org.clone(),
        contact: args.contact.clone(),
        source: Some(source),
        anyway: args.anyway,
        is_renamed: true,
        asks_source: false,
    };
    if let Some(why) = by.refuses(story) {
        return Ok(Err(why));
    }
    let name = story.host.to_string().replace(':', "-");
    let mut xarf = serde_json::to_vec_pretty(&export::xarf(story, &by))?;
    xarf.push(b'\n');
    write(&args.output.join(format!("{name}.xarf.json")), &xarf)?;
    write(&args.output.join(format!("{name}.eml")), export::arf(story, &by).as_bytes())?;
    Ok(Ok(name))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut file = WholeFile::begin(path)?;
    file.write_all(content)?;
    file.finish()
}

/// Makes an empty folder, or takes one: what stands in it may be of other subscribers.
fn empty(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    ensure!(entries.next().is_none(), "{} is not empty: name a new folder by -o", dir.display());
    Ok(())
}
