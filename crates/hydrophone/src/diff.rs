//! `hydrophone diff`: what changed between two cases.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use case::{Case, Flows, Local, Span};
use record::{FactValue, HostId, Stage};
use verdict::{HostStory, Verdict};

use crate::{Exit, Failure};

/// Peers and ports named of one host.
const NAMED: usize = 12;
/// A cadence has changed when it is this many times as long or as short.
const CADENCE: f64 = 1.25;

pub fn run(before: &Path, after: &Path) -> Result<Exit, Failure> {
    let (a, b) = (Case::read(before).map_err(Failure::input)?, Case::read(after).map_err(Failure::input)?);
    let flows = a.flows().and_then(|before| Ok((before, b.flows()?)));
    let text = worth(&a, before) + &worth(&b, after) + &diff(&a, &b, flows.as_ref().ok())?;
    anstream::stdout().lock().write_all(text.as_bytes())?;
    if let Err(error) = flows {
        writeln!(anstream::stderr().lock(), "hydrophone: peers and ports were not compared: {error:#}")?;
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// What must be known of a side before what it lacks is believed to be gone.
fn worth(case: &Case, path: &Path) -> String {
    let capture = &case.capture;
    let why = match (capture.complete, capture.failures.first()) {
        (true, _) => return String::new(),
        (false, Some(failure)) => report::clean(failure),
        (false, None) => "it was interrupted".to_owned(),
    };
    format!("! {} is PARTIAL ({why}): what it lacks may only not have been read\n", path.display())
}

fn stages(s: &HostStory) -> BTreeSet<Stage> {
    s.stages.iter().filter(|(_, x)| !x.items.is_empty()).map(|(stage, _)| *stage).collect()
}

/// How often it calls whom, in seconds.
fn cadences(s: &HostStory) -> BTreeMap<String, f64> {
    let beats = s.evidence.iter().map(|e| &e.evidence).filter(|e| e.behaviour == "beacon");
    beats
        .filter_map(|e| match (e.facts.get("remote"), e.facts.get("median_interval")) {
            (Some(FactValue::Text(remote)), Some(FactValue::Number(secs))) => Some((remote.clone(), *secs)),
            _ => None,
        })
        .collect()
}

fn remotes(s: &HostStory) -> BTreeSet<IpAddr> {
    s.evidence.iter().flat_map(|e| e.evidence.remotes.iter().copied()).collect()
}

/// Whom a host talked with, and on which ports.
struct Peers {
    remotes: BTreeSet<String>,
    ports: BTreeSet<i64>,
}

/// By all its flows.
fn peers(flows: &Flows, host: &Local) -> Result<Peers, Failure> {
    let peers = flows.peers(host, Span::ALL, 100_000).map_err(Failure::input)?;
    let ports = flows.ports(host).map_err(Failure::input)?;
    Ok(Peers { remotes: peers.into_iter().map(|p| p.remote).collect(), ports })
}

fn named<T: ToString>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<String> = all.map(|t| report::defang(&t.to_string())).collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
}

/// Stories by address and segment, whoever had the address when.
fn by_host(stories: &[HostStory]) -> BTreeMap<HostId, &HostStory> {
    stories.iter().map(|s| (HostId { at: None, ..s.id() }, s)).collect()
}

/// Hosts whose verdict, stages, peers, ports or cadence changed, strongest first; peers and ports only where both cases have flows.
fn diff(a: &Case, b: &Case, flows: Option<&(Flows, Flows)>) -> Result<String, Failure> {
    let old = by_host(&a.stories);
    let new = by_host(&b.stories);
    let mut hosts: Vec<HostId> = old.keys().chain(new.keys()).copied().collect();
    let level = |h: &HostId| {
        let of = |m: &BTreeMap<HostId, &HostStory>| m.get(h).map_or(f64::MIN, |s| s.level_db);
        of(&old).max(of(&new))
    };
    hosts.sort_by(|x, y| level(y).total_cmp(&level(x)).then(x.cmp(y)));
    hosts.dedup();
    let mut out = String::new();
    let (mut same, mut fresh, mut gone) = (0usize, 0usize, 0usize);
    for host in hosts {
        let mut lines = Vec::new();
        match (old.get(&host), new.get(&host)) {
            (Some(was), Some(is)) => {
                changed(&mut lines, was, is);
                let telling = was.verdict.max(is.verdict) >= Verdict::Suspicious || !lines.is_empty();
                if telling && let Some((before, after)) = flows {
                    let (p, q) = (peers(before, &a.local(was))?, peers(after, &b.local(is))?);
                    let remotes: Vec<&String> = q.remotes.difference(&p.remotes).collect();
                    if !remotes.is_empty() {
                        lines.push(format!("new peers: {}", named(remotes.into_iter())));
                    }
                    let ports: Vec<&i64> = q.ports.difference(&p.ports).collect();
                    if !ports.is_empty() {
                        lines.push(format!("new ports: {}", named(ports.into_iter())));
                    }
                    let lost: Vec<&i64> = p.ports.difference(&q.ports).collect();
                    if !lost.is_empty() {
                        lines.push(format!("ports no more: {}", named(lost.into_iter())));
                    }
                    let lost = p.remotes.difference(&q.remotes).count();
                    if lost > 0 {
                        lines.push(format!("peers no more: {lost}"));
                    }
                }
            }
            (None, Some(is)) if is.verdict >= Verdict::Suspicious => {
                lines.push(format!("new: {}, {:+.1} dB", is.verdict, is.level_db));
                lines.push(format!("stages: {}", named(stages(is).iter())));
                lines.push(format!("peers in evidence: {}", named(remotes(is).iter())));
            }
            (Some(was), None) if was.verdict >= Verdict::Suspicious => {
                lines.push(format!("gone; it was {}, {:+.1} dB", was.verdict, was.level_db));
            }
            (None, _) => {
                fresh += 1;
                continue;
            }
            (_, None) => {
                gone += 1;
                continue;
            }
        }
        if lines.is_empty() {
            same += 1;
            continue;
        }
        out.push_str(&format!("{host}\n"));
        for line in lines {
            out.push_str(&format!("  {line}\n"));
        }
    }
    for (n, what) in [
        (fresh, "new, and not suspicious"),
        (gone, "gone, and was not suspicious"),
        (same, "nothing changed that matters"),
    ] {
        if n > 0 {
            out.push_str(&format!("{n} {}: {what}\n", if n == 1 { "host" } else { "hosts" }));
        }
    }
    Ok(out)
}

fn changed(lines: &mut Vec<String>, was: &HostStory, is: &HostStory) {
    if was.verdict != is.verdict {
        lines
            .push(format!("{} {:+.1} dB → {} {:+.1} dB", was.verdict, was.level_db, is.verdict, is.level_db));
    } else if (was.level_db - is.level_db).abs() >= 3.0 {
        lines.push(format!("still {}, {:+.1} → {:+.1} dB", is.verdict, was.level_db, is.level_db));
    }
    let (a, b) = (stages(was), stages(is));
    for (what, set) in [("gained", b.difference(&a)), ("lost", a.difference(&b))] {
        let set: Vec<&Stage> = set.collect();
        if !set.is_empty() {
            lines.push(format!("stages {what}: {}", named(set.into_iter())));
        }
    }
    let (a, b) = (cadences(was), cadences(is));
    for (remote, secs) in &b {
        match a.get(remote) {
            None => lines.push(format!("calls {} every {secs:.0} s or so, new", report::defang(remote))),
            Some(before) if secs / before > CADENCE || before / secs > CADENCE => lines.push(format!(
                "calls {} every {secs:.0} s or so, before every {before:.0} s",
                report::defang(remote)
            )),
            Some(_) => {}
        }
    }
    for remote in a.keys().filter(|r| !b.contains_key(*r)) {
        lines.push(format!("calls {} no more", report::defang(remote)));
    }
    let (a, b) = (remotes(was), remotes(is));
    let fresh: Vec<&IpAddr> = b.difference(&a).collect();
    if !fresh.is_empty() {
        lines.push(format!("new in evidence: {}", named(fresh.into_iter())));
    }
}

/// What the same records say today, beside what a case said of them: verdicts that differ, and why.
pub fn against(case: &Path, stories: &[HostStory]) -> Result<String, Failure> {
    let before = Case::read(case).map_err(Failure::input)?;
    let (old, new) = (by_host(&before.stories), by_host(stories));
    let mut hosts: Vec<HostId> = old.keys().chain(new.keys()).copied().collect();
    hosts.sort();
    hosts.dedup();
    let (mut out, mut differ) = (String::new(), 0usize);
    for host in &hosts {
        let verdict = |of: Option<&&HostStory>| of.map_or(Verdict::Quiet, |s| s.verdict);
        let (was, is) = (old.get(host), new.get(host));
        if verdict(was) == verdict(is) {
            continue;
        }
        differ += 1;
        let said = |of: Option<&&HostStory>| match of {
            Some(s) => format!("{} {:+.1} dB", s.verdict, s.level_db),
            None => "not there".to_owned(),
        };
        out.push_str(&format!("{host}  {} → {}\n", said(was), said(is)));
        for line in because(was.copied(), is.copied()) {
            out.push_str(&format!("  {line}\n"));
        }
    }
    let of = hosts.len();
    Ok(format!("against {}: {differ} of {of} verdicts differ\n{out}", case.display()))
}

/// Why two verdicts of one host differ: behaviours that fire now, or no more, and those that count for more or less.
fn because(was: Option<&HostStory>, is: Option<&HostStory>) -> Vec<String> {
    let (a, b) = (strongest(was), strongest(is));
    let mut lines = Vec::new();
    for (name, db) in &b {
        match a.get(name) {
            None => lines.push(format!("new: {name} {db:+.1} dB")),
            Some(before) if (before - db).abs() >= 0.05 => {
                lines.push(format!("counts otherwise: {name} {before:+.1} → {db:+.1} dB"));
            }
            Some(_) => {}
        }
    }
    lines.extend(
        a.iter().filter(|(n, _)| !b.contains_key(*n)).map(|(n, db)| format!("no more: {n} {db:+.1} dB")),
    );
    let expected = |of: Option<&HostStory>| of.map_or(0, |s| s.suppressed.len());
    let (before, now) = (expected(was), expected(is));
    if before != now {
        lines.push(format!("counts for nothing because it is expected: {before} → {now} pieces of evidence"));
    }
    lines
}

/// What the strongest evidence of each behaviour brings, in decibans.
fn strongest(story: Option<&HostStory>) -> BTreeMap<&str, f64> {
    let mut all = BTreeMap::new();
    for e in story.iter().flat_map(|s| &s.evidence) {
        let best: &mut f64 = all.entry(e.evidence.behaviour.as_ref()).or_insert(0.0);
        *best = best.max(e.db);
    }
    all
}
