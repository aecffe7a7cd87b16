//! ## What it sees
//! A host holds one connection in a protocol that nobody knows, on which hardly anything is said but the same short message, again and again, by the clock.
//!
//! ## Why it matters
//! Remote-control tools hold a line to whoever controls them and wait; a heartbeat tells either side that the other is still there (ATT&CK T1095, T1571). What is
//! said is encrypted and changes with each version; that it is always as long, and comes by the clock, does not.
//!
//! ## How it decides
//! A TCP connection to somewhere else, whose beginning was seen, in no known protocol, held for at least a minute. A *beat* is what breaks a silence of at least 5 s. *held*: one side broke it at least 5 times
//! with messages of one length, at least four fifths of all its beats, and at least four fifths of the times between them are within 15 % of their median. Added: an address whose name was never asked for; a dynamic-DNS name;
//! *both_fixed*: the other side replies within 3 s, with at least four fifths of its replies of at most two lengths. Of a flow the last 24 beats are known, and it is judged while it lasts.
//!
//! ## What else looks like this
//! Push services, messengers, games, chat servers, remote desktops and agents keep lines alive in the same way (so that a line alone accuses nobody: by itself it brings its stage at most 12 dB, *assumed*, and nothing is built on it): those whose protocols are known are not looked at, and those that are not
//! mostly have a name. A verified peer-to-peer application within the hour discounts it.
//!
//! ## Blind spots
//! Padding and jitter; heartbeats that come more often than every 5 s; a known protocol around it; UDP.
//!
//! ## Options
//! `beats` (5), `held` (1m).
//!
//! ## References
//! ATT&CK T1095, T1571; S. García et al., "An empirical comparison of botnet detection methods", Computers & Security 2014 (channels that are held).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Beat, Conn, ConnPhase, Direction, Evidence, Record, Service, Stage, Transport, human_duration, tally,
};
use serde::{Deserialize, Serialize};

use crate::words::Word;
use crate::{
    About, Alike, Application, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States,
    Traffic, Wants,
};

/// Lines remembered of one host.
const MAX_LINES: usize = 256;
/// Four fifths of the beats, times and replies are alike (*assumed*).
const MOST: f64 = 0.8;
/// How far from their median times may be, as a part of it (*assumed*).
const STEADY: f64 = 0.15;
/// The longest message that is a heartbeat, in bytes (*assumed*).
const LONGEST: u32 = 600;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Messages of one length, ≥ 3 (*assumed*).
    pub beats: usize,
    /// How long the line is held, at least (*assumed*).
    #[serde(with = "humantime_serde")]
    pub held: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { beats: 5, held: Duration::from_mins(1) }
    }
}

/// What is remembered of one host: what was told of each remote.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    #[serde(with = "crate::words")]
    reported: BTreeMap<(IpAddr, u16), Vec<Word>>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

/// What one side says to keep a line.
#[derive(Debug, PartialEq)]
struct Heartbeat {
    from: Direction,
    length: u32,
    count: usize,
    every: Duration,
    /// Lengths of replies, at most two, where nearly all are of these.
    replies: Option<Vec<u32>>,
}

/// The commonest first, each with its number.
fn counted(all: impl Iterator<Item = u32>) -> Vec<(u32, usize)> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

/// The heartbeat of a side, if it has one.
fn heartbeat(beats: &[Beat], from: Direction, least: usize) -> Option<Heartbeat> {
    let mine: Vec<&Beat> = beats.iter().filter(|b| b.from == from).collect();
    let (length, count) = *counted(mine.iter().map(|b| b.length)).first()?;
    let enough = |n: usize, of: usize| n as f64 >= MOST * of as f64;
    if count < least || !enough(count, mine.len()) || length > LONGEST {
        return None;
    }
    let same: Vec<&&Beat> = mine.iter().filter(|b| b.length == length).collect();
    let mut gaps: Vec<u32> = same.windows(2).map(|w| w[1].at.saturating_sub(w[0].at)).collect();
    gaps.sort_unstable();
    let median = f64::from(gaps[gaps.len() / 2]);
    let steady = gaps.iter().filter(|g| (f64::from(**g) - median).abs() <= STEADY * median).count();
    if !enough(steady, gaps.len()) {
        return None;
    }
    let replied = counted(same.iter().map(|b| b.reply).filter(|r| *r > 0));
    let two: usize = replied.iter().take(2).map(|(_, n)| n).sum();
    let short = replied.iter().take(2).all(|(len, _)| *len <= LONGEST);
    let replies =
        (enough(two, same.len()) && short).then(|| replied.iter().take(2).map(|(len, _)| *len).collect());
    Some(Heartbeat { from, length, count, every: Duration::from_millis(median as u64), replies })
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn line(&self, states: &mut States<'_, Host>, host: IpAddr, c: &Conn, context: &mut Context<'_>) {
        let least = self.settings.beats.max(3);
        let sides = [Direction::Orig, Direction::Resp];
        let found = sides.iter().filter_map(|side| heartbeat(&c.beats, *side, least)).max_by_key(|h| h.count);
        let Some(found) = found else {
            let most = sides.iter().filter_map(|side| {
                counted(c.beats.iter().filter(|b| b.from == *side).map(|b| b.length)).first().map(|(_, n)| *n)
            });
            if let Some(n) = most.max().filter(|n| *n > 1) {
                context.near(host, n as f64, least as f64, "heartbeats of one length on a held line");
            }
            return;
        };
        let end = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
        // A line that is held for days was named when it began.
        let (name, dynamic) = context.network.called(host, end.0, c.head.ts);
        let mut grades = vec![("held", 1)];
        let mut add = |holds: bool, grade: &'static str| {
            if holds {
                grades.push((grade, 1));
            }
        };
        add(name.is_none(), "unnamed");
        add(dynamic, "dynamic_name");
        add(found.replies.is_some(), "both_fixed");
        let names: Vec<&'static str> = grades.iter().map(|g| g.0).collect();
        let (state, card) = states.open(host, context.now);
        if state.reported.len() > MAX_LINES {
            state.reported.clear();
        }
        if state.reported.insert(end, names.clone()).is_some_and(|reported| reported == names) {
            return;
        }
        let p2p = context.runs(card, Application::P2p);
        let name = name.unwrap_or_default().to_owned();
        let by_host = (found.from == Direction::Orig) == (c.head.tuple.orig.ip == host);
        let replies: Vec<String> = found.replies.iter().flatten().map(ToString::to_string).collect();
        context.fire(Fire {
            host,
            key: "held".into(),
            grades,
            started: c.head.ts,
            value: found.count as f64,
            threshold: least as f64,
            unit: "heartbeats of one length on a held line",
            source: "assumed",
            packets: c.key_packets.to_vec(),
            flows: vec![c.head.flow],
            remotes: vec![end.0],
            facts: vec![
                ("port", u64::from(end.1).into()),
                ("name", name.into()),
                ("length", u64::from(found.length).into()),
                ("by_host", by_host.into()),
                ("every_s", found.every.as_secs_f64().into()),
                ("replies", replies.into()),
                ("held_s", c.duration().as_secs_f64().into()),
                ("application_within_hour", p2p.into()),
                ("prevalent", context.prevalent(end.0).into()),
            ],
        });
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Calls),
            Alike::to(Honest::Tunnel),
            Alike::to(Honest::Device),
            Alike::to(Honest::FileSharing),
            Alike::to(Honest::Mining),
            Alike::to(Honest::Administration).unless(&["dynamic_name"]),
        ],
        needs: &[Traffic::Tcp],
        control: true,
        alone: Some(12.0),
        excuses: &[Excuse::Fact("application_within_hour", "a P2P application ran within the hour", 0.3)],
        ..About::new(
            Stage::Command,
            &["T1095", "T1571"],
            &[
                GradeWorth::base("held", 9.0).weak(),
                GradeWorth::add("unnamed", 4.0),
                GradeWorth::add("dynamic_name", 4.0),
                GradeWorth::add("both_fixed", 1.0),
            ],
        )
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OPEN).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let (Some(host), Record::Conn(c)) = (context.outbound(), record) else { return };
        if c.phase == ConnPhase::Classified
            || c.beats.is_empty()
            || c.head.tuple.transport != Transport::Tcp
            || !c.start_seen
            || !matches!(c.service, Service::Opaque | Service::Unrecognised)
            || c.duration() < self.settings.held
        {
            return;
        }
        self.line(states, host, c, context);
    }

    fn sentence(e: &Evidence) -> String {
        let who = if e.flag("by_host") { "it" } else { "the other side" };
        let every = human_duration(Duration::from_secs_f64(e.number("every_s").max(0.0)));
        format!(
            "held a line in an unknown protocol to {} port {}, on which {who} said {} bytes {} times, every {every}",
            e.remote(),
            e.count("port"),
            e.count("length"),
            tally(e.value)
        )
    }
}

crate::held!(Host: reported);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// A line on which the client says `length` bytes at each moment, and the server replies with so many.
    fn line(at_s: &[f64], length: u32, reply: u32) -> Conn {
        let mut c = conn(1.0, Transport::Tcp, REMOTE, 2404);
        c.service = Service::Opaque;
        c.last = at(1.0 + at_s.last().copied().unwrap_or_default() + 10.0);
        c.beats = at_s
            .iter()
            .map(|s| Beat { at: (s * 1000.0) as u32, from: Direction::Orig, length, reply })
            .collect();
        c
    }

    fn run(all: Vec<Record>) -> Vec<String> {
        let mut b = Bench::new("held_line", Watcher::new(Settings::default()));
        for (i, r) in all.into_iter().enumerate() {
            b.feed(r, 5000.0 + i as f64);
        }
        b.grades()
    }

    fn every(secs: f64, n: u32) -> Vec<f64> {
        (1..=n).map(|i| secs * f64::from(i)).collect()
    }

    #[test]
    fn a_heartbeat_and_its_edges() {
        assert_eq!(run(vec![record(line(&every(20.0, 5), 12, 52))]), ["held", "unnamed", "both_fixed"]);
        assert_eq!(run(vec![record(line(&every(20.0, 5), 12, 0))]), ["held", "unnamed"]);
        assert!(run(vec![record(line(&every(20.0, 4), 12, 52))]).is_empty(), "four");
        assert!(run(vec![record(line(&every(5.0, 5), 12, 52))]).is_empty(), "not held");
        assert!(run(vec![record(line(&every(20.0, 5), 601, 52))]).is_empty(), "no heartbeat");
        assert!(
            run(vec![record(line(&[20.0, 40.0, 90.0, 100.0, 180.0, 200.0], 12, 52))]).is_empty(),
            "by hand"
        );
        let mut varied = line(&every(20.0, 10), 12, 52);
        varied.beats.iter_mut().step_by(3).for_each(|b| b.length += 1);
        assert!(run(vec![record(varied)]).is_empty(), "talk");
        let mut known = line(&every(20.0, 10), 12, 52);
        known.service = Service::Mqtt;
        assert!(run(vec![record(known)]).is_empty());
        let mut middle = line(&every(20.0, 10), 12, 52);
        middle.start_seen = false;
        assert!(run(vec![record(middle)]).is_empty());
    }

    #[test]
    fn replies_of_two_lengths_are_fixed_and_of_many_are_not() {
        let replies = |of: &[u32]| {
            let mut c = line(&every(20.0, 10), 12, 0);
            c.beats.iter_mut().zip(of.iter().cycle()).for_each(|(b, r)| b.reply = *r);
            run(vec![record(c)])
        };
        assert_eq!(replies(&[54, 162]), ["held", "unnamed", "both_fixed"]);
        assert_eq!(replies(&[54, 162, 70, 90]), ["held", "unnamed"]);
    }

    #[test]
    fn whoever_beats_and_while_it_lasts() {
        let mut c = line(&every(30.0, 9), 32, 54);
        c.beats.iter_mut().for_each(|b| b.from = Direction::Resp);
        c.phase = ConnPhase::Interim;
        let mut b = Bench::new("held_line", Watcher::new(Settings::default()));
        b.feed(dns(0.5, "a.duckdns.org", 1, 0, Some(REMOTE)), 0.6);
        b.feed(record(c.clone()), 300.0);
        c.phase = ConnPhase::Closed;
        b.feed(record(c), 400.0);
        assert_eq!(b.grades(), ["held", "dynamic_name", "both_fixed"], "once");
    }
}
