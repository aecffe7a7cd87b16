//! The story on a terminal: for a tired person, at first glance.

use std::collections::BTreeMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use record::{PacketId, Stage, Timestamp};
use verdict::{HostStory, Machine, Note, Prior, SameHost, ScoredEvidence, Verdict, probable};

use crate::indicators::indicators;
use crate::lines::CaptureLine;
use crate::prose::{describe, strongest, told};
use record::{clean, human_bytes, human_count, human_duration};

/// How much to show of hosts that did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Only their number and first addresses.
    Summary,
    /// A line each, and what was seen of it.
    Each,
}

/// Packets shown of one line.
const PACKETS: usize = 6;
/// Reasons shown why packets were not read.
const REASONS: usize = 4;
/// Addresses shown of hosts that did nothing.
const ADDRESSES: usize = 6;

/// Machines that the answer names; further ones are counted.
const ANSWERS: usize = 3;
/// Notices of one kind that are told one by one.
const ALIKE: usize = 3;
/// Columns from which on lines are broken: on a narrower terminal it does that itself.
const NARROWEST: usize = 40;
/// Stands before a sentence that is told behind a time and a number, until lines are broken.
const SENTENCE: char = '\u{1f}';

/// Columns from which on a terminal is wide enough for a swimlane.
pub const LANES_FROM: usize = 80;
/// Columns that a swimlane takes, at most.
const LANES_TO: usize = 160;

struct Paint(bool);

impl Paint {
    fn with(&self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    fn dim(&self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    fn warn(&self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    fn verdict(&self, verdict: Verdict, text: &str) -> String {
        let style = match verdict {
            Verdict::Infected => AnsiColor::Red.on_default().bold(),
            Verdict::Likely => AnsiColor::Magenta.on_default().bold(),
            Verdict::Suspicious => AnsiColor::Yellow.on_default().bold(),
            Verdict::Quiet => AnsiColor::Green.on_default(),
            Verdict::Inconclusive => Style::new().dimmed(),
        };
        self.with(style, text)
    }
}

/// How much of the date a time needs, so that it is one moment of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// None: all of it is of one day.
    None,
    /// Month and day.
    Day,
    /// The year too.
    Year,
}

impl Dates {
    /// Those of a capture's times, by its first and its last packet.
    pub fn of(capture: &CaptureLine) -> Self {
        let (Some(a), Some(b)) = (capture.first, capture.last) else { return Self::None };
        let (a, b) = (a.to_string(), b.to_string());
        let date = |t: &str| t.find('T').map_or_else(String::new, |at| t[..at].to_owned());
        let (a, b) = (date(&a), date(&b));
        let year = |d: &str| d.get(..d.len().saturating_sub(6)).map(str::to_owned);
        match (a == b, year(&a) == year(&b)) {
            (true, _) => Self::None,
            (false, true) => Self::Day,
            (false, false) => Self::Year,
        }
    }

    /// What a script that writes times anew has to know.
    pub const fn form(self) -> &'static str {
        match self {
            Self::None => "time",
            Self::Day => "day",
            Self::Year => "year",
        }
    }
}

/// The time of day, with as much of the date as is needed.
pub(crate) fn clock(t: Timestamp, days: Dates) -> String {
    let full = t.to_string();
    let at = full.find('T').unwrap_or(0);
    let time = full.get(at + 1..at + 9).unwrap_or("");
    match days {
        Dates::None => format!("{time}Z"),
        Dates::Day => format!("{} {time}Z", full.get(at.saturating_sub(5)..at).unwrap_or("")),
        Dates::Year => format!("{} {time}Z", full.get(..at).unwrap_or("")),
    }
}

/// Writes the whole story. With `colour`, ANSI escapes are used; on a terminal of at least [`LANES_FROM`] columns each host gets its
/// swimlane.
pub fn terminal(
    capture: &CaptureLine,
    stories: &[HostStory],
    detail: Detail,
    colour: bool,
    columns: Option<usize>,
) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    let machines = Machine::all(stories);
    let answer = answer(capture, &machines);
    let shown: Vec<String> = answer.iter().map(|line| paint.bold(line)).collect();
    let _ = writeln!(out, "{}\n", shown.join("\n"));
    head(&mut out, capture, (machines.len(), stories.len()), &paint);
    let days = Dates::of(capture);
    for machine in machines.iter().filter(|m| m.strongest.verdict >= Verdict::Suspicious) {
        host(&mut out, capture, machine, days, &paint);
        if let Some(columns) = columns.filter(|c| *c >= LANES_FROM) {
            lanes(&mut out, capture, machine.strongest, columns.min(LANES_TO), days, &paint);
        }
    }
    if machines.iter().any(|m| m.strongest.verdict >= Verdict::Suspicious) {
        let prior = Prior::of_db(capture.prior_db);
        let words =
            format!("dB: 10 more are ten times the odds that it is a bot, starting from {prior} (--prior)");
        let _ = writeln!(out, "\n{}", paint.dim(&words));
    }
    below(&mut out, &machines, days, &paint);
    for s in stories {
        for line in suppressed(s) {
            let _ = writeln!(out, "  {}  {line}", s.label());
        }
    }
    rest(&mut out, capture, &machines, detail, days, &paint);
    wrapped(&out, columns)
}

/// The answer, which stands first: a sentence for each machine that is at least suspicious, or that none is; and before it what makes it less than an answer.
fn answer(c: &CaptureLine, machines: &[Machine<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    if !c.complete {
        lines.push("PARTIAL: not all input was read.".to_owned());
    }
    lines.extend(headline(c, machines));
    let days = Dates::of(c);
    let mut accused: Vec<&Machine<'_>> =
        machines.iter().filter(|m| m.strongest.verdict >= Verdict::Suspicious).collect();
    accused.sort_by_key(|m| std::cmp::Reverse(m.strongest.verdict));
    lines.extend(accused.iter().take(ANSWERS).map(|m| sentence(m.strongest, days)));
    let further = accused.len().saturating_sub(ANSWERS);
    if further > 0 {
        lines.push(format!(
            "{} more {} at least suspicious.",
            human_count(further as u64),
            if further == 1 { "host is" } else { "hosts are" }
        ));
    }
    lines
}

/// How it stands with a host, in words that follow "is".
pub fn standing(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Infected => "infected",
        Verdict::Likely => "likely infected",
        Verdict::Suspicious => "suspicious",
        Verdict::Quiet | Verdict::Inconclusive => "not suspicious",
    }
}

/// What became of a host, in a sentence: `pc-03 (10.20.0.13) is infected since 10:22:00Z: Kraken; 13 addresses and names to block.`
pub fn sentence(s: &HostStory, days: Dates) -> String {
    let who = match s.names.host_names.first() {
        Some(name) => format!("{} ({})", clean(name), s.label()),
        None => s.label(),
    };
    let verdict = standing(s.verdict);
    let since =
        s.reached.get(&s.verdict).map(|at| format!(" since {}", clock(*at, days))).unwrap_or_default();
    let mut kinds: Vec<String> = Vec::new();
    for kind in s.findings.iter().filter(|_| s.verdict >= Verdict::Suspicious).map(|f| clean(&f.kind)) {
        // Several behaviours may find the same.
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    let remotes = indicators(s).len();
    let block = match remotes {
        _ if s.verdict < Verdict::Likely => String::new(),
        0 => String::new(),
        1 => "; 1 address or name to block".to_owned(),
        n => format!("; {} addresses and names to block", human_count(n as u64)),
    };
    format!("{who} is {verdict}{since}{kinds}{block}.")
}

/// Units stay with their numbers.
const UNITS: [&str; 16] =
    ["%", "dB", "B", "kB", "MB", "GB", "TB", "ms", "s", "min", "h", "d", "k", "M", "hosts", "packets"];

/// Breaks lines at a terminal's width, between words: what goes on stands under where the sentence began. Numbers stay with their units.
fn wrapped(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns.filter(|c| *c >= NARROWEST) else { return text.replace(SENTENCE, "") };
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let line = line.trim_end_matches('\n');
        let begins = line.find(SENTENCE);
        let mut plain = line.replace(SENTENCE, "");
        let lead = textwrap::core::display_width(
            begins.map_or_else(|| &line[..line.len() - line.trim_start().len()], |at| &line[..at]),
        );
        let hang = " ".repeat(if begins.is_some() { lead.min(columns / 3) } else { lead + 2 });
        if let Some(at) = begins.filter(|at| line[..*at].trim().is_empty()) {
            plain = format!("{hang}{}", &plain[at..]);
        }
        if textwrap::core::display_width(&plain) <= columns {
            out.push_str(&plain);
        } else {
            let mut words: Vec<String> = Vec::new();
            for word in plain.split(' ') {
                let is_unit = UNITS.contains(&word.trim_end_matches([',', '.', ';', ')', ':']));
                match words.last_mut() {
                    Some(before)
                        if (is_unit && before.ends_with(|c: char| c.is_ascii_digit()))
                            || (before == "port" && word.starts_with(|c: char| c.is_ascii_digit())) =>
                    {
                        before.push('\u{a0}');
                        before.push_str(word);
                    }
                    _ => words.push(word.to_owned()),
                }
            }
            let options = textwrap::Options::new(columns)
                .subsequent_indent(&hang)
                .word_separator(textwrap::WordSeparator::AsciiSpace)
                .word_splitter(textwrap::WordSplitter::NoHyphenation)
                .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
            out.push_str(&textwrap::fill(&words.join(" "), options).replace('\u{a0}', " "));
        }
        out.push('\n');
    }
    out
}

/// The first words where no host is suspicious: what was found, and of how many hosts nothing can be said.
pub(crate) fn headline(c: &CaptureLine, machines: &[Machine<'_>]) -> Option<String> {
    let mut all = machines.iter().map(|m| m.strongest);
    if all.clone().any(|s| s.verdict >= Verdict::Suspicious) {
        return None;
    }
    if c.accounts.nothing_followed() {
        return Some("Nothing could be followed: no host was seen, and none is cleared.".to_owned());
    }
    if machines.is_empty() {
        return Some("No local host was seen.".to_owned());
    }
    // What a host does is told, whatever it is not called.
    let mut does = all.clone().filter_map(|s| Some((s, s.findings.first()?))).map(|(s, f)| {
        let of = s.evidence.iter().filter(|e| e.evidence.behaviour == f.behaviour);
        let shown = of.max_by(|a, b| a.db.total_cmp(&b.db));
        let what = shown.map_or_else(|| clean(&f.kind), |e| describe(&e.evidence));
        format!("{} ({what})", s.label())
    });
    if let Some(first) = does.next() {
        let more = does.count();
        let more = if more > 0 { format!(" and {} more", human_count(more as u64)) } else { String::new() };
        return Some(format!("No host is suspicious; worth a look: {first}{more}."));
    }
    // What comes nearest to it.
    let near = all
        .clone()
        .filter(|s| s.verdict < Verdict::Suspicious && s.level_db > 0.0)
        .max_by(|a, b| a.level_db.total_cmp(&b.level_db))
        .and_then(|s| {
            let strongest = s.evidence.iter().max_by(|a, b| a.db.total_cmp(&b.db))?;
            Some(format!("{}, stands at {:+.1} dB: {}", s.label(), s.level_db, describe(&strongest.evidence)))
        });
    let open: Vec<&HostStory> = all.clone().filter(|s| s.verdict == Verdict::Inconclusive).collect();
    let found = near.map(|near| format!(" The strongest, {near}.")).unwrap_or_default();
    // Of several the one that did most is told why.
    let busiest = open.iter().max_by_key(|s| s.flows).filter(|s| !s.unseen.is_empty());
    if let Some(busiest) = busiest {
        let why = busiest.unseen.iter().map(|r| clean(r)).collect::<Vec<_>>().join("; ");
        return Some(format!(
            "No host is suspicious, and {} of {} could not be judged ({}: {why}).{found}",
            human_count(open.len() as u64),
            human_count(machines.len() as u64),
            busiest.label(),
        ));
    }
    let seen = all.any(|s| !s.evidence.is_empty());
    Some(if seen {
        format!("No host is suspicious.{found}")
    } else {
        "No host did anything that a bot does.".to_owned()
    })
}

/// `hosts` are counted twice: as machines, and as their addresses.
fn head(out: &mut String, c: &CaptureLine, hosts: (usize, usize), paint: &Paint) {
    let inputs: Vec<String> = c.inputs.iter().take(3).map(|i| clean(&i.path)).collect();
    let more = c.inputs.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = writeln!(out, "{}{more}", paint.bold(&inputs.join(", ")));
    if let (Some(first), Some(last)) = (c.first, c.last) {
        let flows = c.flows.tcp + c.flows.udp + c.flows.other;
        let _ = writeln!(
            out,
            "{} to {} ({}) · {} packets · {} · {} flow{}",
            first.to_string().get(..19).unwrap_or_default().to_owned() + "Z",
            last.to_string().get(..19).unwrap_or_default().to_owned() + "Z",
            human_duration(last.since(first)),
            human_count(c.packets),
            human_bytes(c.bytes),
            human_count(flows),
            if flows == 1 { "" } else { "s" }
        );
    } else {
        let _ = writeln!(out, "no packets");
    }
    let networks = if c.home.len() > 4 { String::new() } else { format!(": {}", c.home.join(", ")) };
    let (machines, addresses) = hosts;
    let at = if addresses == machines {
        String::new()
    } else {
        format!(" with {} addresses", human_count(addresses as u64))
    };
    let _ = writeln!(
        out,
        "local: {}{networks} · {} {}{at}",
        clean(&c.home_chosen),
        human_count(machines as u64),
        if machines == 1 { "host" } else { "hosts" }
    );
    for warning in warnings(c) {
        let _ = writeln!(out, "{}", paint.warn(&format!("! {}", clean(&warning))));
    }
}

/// A share, so that a little is not called nothing.
fn percent(n: u64, of: u64) -> String {
    match 100.0 * n as f64 / of.max(1) as f64 {
        p if p < 0.1 => format!("{} ({p:.2} %)", human_count(n)),
        p if p < 10.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

/// Notices; of many that differ in names and numbers alone the first, and how many more there are.
fn grouped(notices: &[String]) -> Vec<String> {
    let kind = |notice: &String| {
        let plain = |word: &str| {
            if word.contains('/') || word.contains(|c: char| c.is_ascii_digit()) {
                "*".to_owned()
            } else {
                word.to_owned()
            }
        };
        notice.split(' ').map(plain).collect::<Vec<String>>()
    };
    let mut kinds: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for notice in notices {
        *kinds.entry(kind(notice)).or_default() += 1;
    }
    let mut told = Vec::new();
    for notice in notices {
        match kinds.remove(&kind(notice)) {
            Some(n) if n > ALIKE => told
                .push(format!("{notice} (and {} more like it: --json has them)", human_count(n as u64 - 1))),
            Some(n) => {
                kinds.insert(kind(notice), n);
                told.push(notice.clone());
            }
            None => {}
        }
    }
    told
}

/// What speaks against taking the capture at its word.
pub(crate) fn warnings(c: &CaptureLine) -> Vec<String> {
    let mut all = Vec::new();
    let share = |n: u64, of: u64| n as f64 / of.max(1) as f64;
    if !c.complete {
        all.push("PARTIAL: not all input was read".to_owned());
    }
    all.extend(c.failures.iter().cloned());
    all.extend(grouped(&c.notices));
    let mut say = |holds: bool, text: String| {
        if holds {
            all.push(text);
        }
    };
    say(
        c.dropped_by_capture > 0,
        format!("the capturing side dropped {} packets", human_count(c.dropped_by_capture)),
    );
    say(
        share(c.cut_packets, c.packets) > 0.01,
        format!("{} packets were cut by the snap length", human_count(c.cut_packets)),
    );
    let accounts = &c.accounts;
    say(
        accounts.nothing_followed(),
        "NOTHING WAS FOLLOWED: no packet of this capture could be read down to a flow".to_owned(),
    );
    let unread = accounts.unread_packets();
    let reasons: Vec<String> = accounts
        .unread
        .iter()
        .take(REASONS)
        .map(|u| format!("{} {}", percent(u.packets, c.packets), u.what))
        .collect();
    let more = accounts.unread.len().saturating_sub(REASONS);
    let more = if more > 0 { format!(" and {more} more kinds") } else { String::new() };
    say(
        unread > 0,
        format!("{} of the packets were not read: {}{more}", percent(unread, c.packets), reasons.join(", ")),
    );
    say(
        accounts.fragments > 0,
        format!(
            "{} of the packets are fragments whose others never came: what they carried is not known",
            percent(accounts.fragments, c.packets)
        ),
    );
    say(
        accounts.damaged > 0,
        format!(
            "{} of the packets have headers that contradict themselves",
            percent(accounts.damaged, c.packets)
        ),
    );
    say(
        accounts.cut > 0,
        format!("{} of the packets were cut before their headers end", percent(accounts.cut, c.packets)),
    );
    let outside = &c.outside_flows;
    say(
        outside.flows > 0,
        format!(
            "{} of the flows have no local end{}{}",
            percent(outside.flows, outside.of),
            if outside.is_much { ": " } else { "" },
            if outside.is_much { outside.advice.as_str() } else { "" }
        ),
    );
    say(
        share(c.one_sided_tcp_flows, c.flows.tcp) > 0.2,
        format!(
            "{} of {} TCP flows were seen from one side only",
            human_count(c.one_sided_tcp_flows),
            human_count(c.flows.tcp)
        ),
    );
    say(
        share(c.midstream_tcp_flows, c.flows.tcp) > 0.2,
        format!(
            "{} of {} TCP flows had begun before they were seen",
            human_count(c.midstream_tcp_flows),
            human_count(c.flows.tcp)
        ),
    );
    say(
        share(c.missed_bytes, c.bytes) > 0.01,
        format!("{} of TCP streams are missing from the capture", human_bytes(c.missed_bytes)),
    );
    say(
        c.backward_jumps > 0 && c.largest_backward_s > 1.0,
        format!("packet time jumps back {} times, by up to {:.0} s", c.backward_jumps, c.largest_backward_s),
    );
    say(
        c.longest_pause_s > 3_600.0,
        format!(
            "nothing came for {} at a time: an idle network, or gaps in the capture",
            human_duration(std::time::Duration::from_secs_f64(c.longest_pause_s))
        ),
    );
    let strange = |name: &str| c.anomalies.get(name).copied().unwrap_or(0);
    let twice = strange("duplicate_packet");
    say(
        share(twice, c.packets) > 0.01,
        format!(
            "{} packets were seen twice, as by a span port; what they say counts once",
            human_count(twice)
        ),
    );
    let offloaded = strange("bad_transport_checksum").saturating_sub(strange("doubtful_checksum"));
    say(
        share(offloaded, c.packets) > 0.05,
        format!(
            "{} packets have wrong checksums from their sender's first one on, as where the card fills them in later",
            human_count(offloaded)
        ),
    );
    let doubtful = strange("doubtful_checksum") + strange("doubtful_ttl");
    say(
        doubtful > 0,
        format!(
            "{} TCP {} may be damage or decoys (checksum, time-to-live): only what was acknowledged is believed",
            human_count(doubtful),
            if doubtful == 1 { "segment" } else { "segments" }
        ),
    );
    let unknown = strange("quic_unknown_version");
    say(
        unknown > 0,
        format!(
            "{} QUIC connections are of an unknown version: nothing in them is read",
            human_count(unknown)
        ),
    );
    let anomaly = |name: &str| c.anomalies.get(name).copied().unwrap_or(0);
    say(
        anomaly("reorder_cut") > 0,
        format!(
            "{} packets could not wait for those that belong before them, to stay within --memory",
            human_count(anomaly("reorder_cut"))
        ),
    );
    say(
        anomaly("http_crowded") > 0,
        format!(
            "{} requests of packets full of them were not told one by one",
            human_count(anomaly("http_crowded"))
        ),
    );
    let lost: u64 = ["flow_evicted", "reassembly_dropped", "fragment_dropped"]
        .iter()
        .filter_map(|a| c.anomalies.get(*a))
        .sum();
    say(
        lost + c.hosts_forgotten > 0,
        format!(
            "{} flows, streams or hosts were forgotten to stay within --memory",
            human_count(lost + c.hosts_forgotten)
        ),
    );
    all
}

fn packets(capture: &CaptureLine, list: &[PacketId]) -> String {
    let mut shown: Vec<String> = list.iter().take(PACKETS).map(ToString::to_string).collect();
    if list.len() > PACKETS {
        shown.push(format!("… (+{})", list.len() - PACKETS));
    }
    if shown.is_empty() { String::new() } else { format!("{} {}", capture.proof_word(list), shown.join(" ")) }
}

/// What a machine did: the story of its strongest address, then what else was seen of it at others.
fn host(out: &mut String, capture: &CaptureLine, machine: &Machine<'_>, days: Dates, paint: &Paint) {
    let s = machine.strongest;
    let name = s
        .names
        .host_names
        .first()
        .or(s.names.macs.first())
        .map(|n| format!("  {}", clean(n)))
        .unwrap_or_default();
    let title = s.verdict.name().to_uppercase();
    let _ = writeln!(
        out,
        "\n{}  {}{}  {}",
        paint.verdict(s.verdict, &title),
        paint.bold(&s.label()),
        paint.dim(&name),
        paint.bold(&format!("{:+.1} dB, {} probable", s.level_db, probable(s.posterior_db)))
    );
    stages(out, capture, s, days, paint);
    let silent: Vec<String> = s
        .stages
        .iter()
        .filter(|(_, score)| score.items.is_empty() && !score.is_unplaced())
        .map(|(stage, score)| format!("{stage} {:+.1}", score.db))
        .collect();
    if !silent.is_empty() {
        let _ = writeln!(out, "  {}", paint.dim(&format!("silent: {}", silent.join(" · "))));
    }
    for note in &s.notes {
        let _ = writeln!(out, "  {}", self::note(note, days));
    }
    for finding in &s.findings {
        let _ = writeln!(out, "  also: {} since {}", clean(&finding.kind), clock(finding.since, days));
    }
    if !s.roles.is_empty() {
        let roles: Vec<String> =
            s.roles.iter().map(|r| format!("{} ({})", r.role, clean(&r.because))).collect();
        let _ = writeln!(out, "  role: {}", roles.join(", "));
    }
    if let Some(without) = &s.without_lists {
        let _ =
            writeln!(out, "  without lists of indicators: {:+.1} dB, {}", without.level_db, without.verdict);
    }
    for line in identity(s, &machine.others, days) {
        let _ = writeln!(out, "  {line}");
    }
    for change in s.would_change.iter().take(1) {
        let still = if change.verdict == s.verdict { "still " } else { "" };
        let _ = writeln!(
            out,
            "  what would change it: without {} it is {:+.1} dB, {still}{}",
            change.without.split('/').next().unwrap_or_default(),
            change.level_db,
            change.verdict
        );
    }
    if let Some(line) = second_story(s) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(near) = s.near.iter().find(|n| s.stages.get(&n.stage).is_some_and(|x| x.items.is_empty())) {
        let _ = writeln!(
            out,
            "  nearest miss: {} {} of {} {}",
            near.behaviour,
            trimmed(near.value),
            trimmed(near.threshold),
            clean(&near.unit)
        );
    }
    for reason in &s.unseen {
        let _ = writeln!(out, "  {}", paint.dim(&format!("not seen: {}", clean(reason))));
    }
    for other in machine.others.iter().filter(|o| !o.evidence.is_empty()) {
        let _ = writeln!(
            out,
            "  as {}, {} {:+.1} dB:",
            other.id(),
            paint.verdict(other.verdict, other.verdict.name()),
            other.level_db
        );
        stages(out, capture, other, days, paint);
    }
}

/// A line for each stage, by the time it began; what else showed it stands below.
fn stages(out: &mut String, capture: &CaptureLine, s: &HostStory, days: Dates, paint: &Paint) {
    for (first, stage, all) in &in_order(s) {
        let db = s.stages.get(stage).map_or(0.0, |score| score.db);
        for (i, e) in all.iter().enumerate() {
            let lead = if i == 0 {
                format!("{}  {:<10} {:>+6.1}", clock(*first, days), stage.name(), db)
            } else {
                " ".repeat(clock(*first, days).len() + 19)
            };
            let proof = packets(capture, &e.evidence.packets);
            let proof = if proof.is_empty() { proof } else { format!("  {}", paint.dim(&proof)) };
            let _ = writeln!(out, "  {lead}  {SENTENCE}{}{proof}", told(s, e));
        }
    }
}

/// The swimlane: a row for each stage of the story, time from left to right; `░` where no packet came for more than a minute.
fn lanes(out: &mut String, c: &CaptureLine, s: &HostStory, columns: usize, days: Dates, paint: &Paint) {
    let width = columns - 16;
    let Some((from, to)) = crate::html::window(s) else { return };
    let span = to.since(from).as_secs_f64().max(0.001);
    let at = |t: Timestamp| ((t.since(from).as_secs_f64() / span * width as f64) as usize).min(width - 1);
    let _ = writeln!(out);
    for stage in Stage::STORY {
        let mut row = vec!['·'; width];
        for (a, b) in c.gaps.iter().filter(|(a, b)| *b > from && *a < to) {
            row[at(*a)..=at(*b)].fill('░');
        }
        for e in s.evidence.iter().map(|e| &e.evidence).filter(|e| e.stage == stage) {
            let (a, b) = (at(e.started), at(e.ts));
            for cell in row[a..=b.max(a)].iter_mut().filter(|c| !matches!(c, '●' | '•')) {
                *cell = '─';
            }
            row[a] = if e.packets.len() > 4 { '●' } else { '•' };
        }
        let row: String = row.into_iter().collect();
        let fired = s.stages.get(&stage).is_some_and(|x| !x.items.is_empty());
        let row = if fired { paint.verdict(s.verdict, &row) } else { paint.dim(&row) };
        let _ = writeln!(out, "  {:<11}{row}", stage.name());
    }
    let (a, b) = (clock(from, days), clock(to, days));
    let _ = writeln!(out, "  {:<11}{}", "", paint.dim(&format!("{a}{b:>w$}", w = width - a.len())));
}

/// A number without a needless point.
pub fn trimmed(v: f64) -> String {
    if v.fract() == 0.0 { format!("{v:.0}") } else { format!("{v:.2}") }
}

/// The stages that fired, by the time each began; those about how others lie in time come last. Of each the strongest evidence of
/// every key, strongest first.
pub(crate) fn in_order(s: &HostStory) -> Vec<(Timestamp, Stage, Vec<&ScoredEvidence>)> {
    let mut stages: Vec<(Timestamp, Stage, Vec<&ScoredEvidence>)> = Vec::new();
    for stage in Stage::ALL {
        let mut all: Vec<&ScoredEvidence> = strongest(s, stage);
        all.sort_by(|a, b| b.db.total_cmp(&a.db).then(a.evidence.started.cmp(&b.evidence.started)));
        if let Some(first) =
            s.evidence.iter().filter(|e| e.evidence.stage == stage).map(|e| e.evidence.started).min()
        {
            stages.push((first, stage, all));
        }
    }
    stages.sort_by_key(|(t, stage, _)| (matches!(stage, Stage::Cycle | Stage::Order), *t, *stage));
    stages
}

pub(crate) fn note(n: &Note, days: Dates) -> String {
    match n {
        Note::Ended { verdict, until } => format!(
            "was {verdict} until {}: nothing that this rested on was seen for a week",
            clock(*until, Dates::Day)
        ),
        Note::Excused { verdict, level_db, roles } => format!(
            "was {verdict} at {level_db:+.1} dB until it was clear what it is for: {}",
            roles.join(", ")
        ),
        Note::PortBlocked { target } => format!(
            "port 25 of {} did not open to it: no spam is to be expected, and its absence speaks for nobody",
            record::defang(target)
        ),
        Note::BeforeFirstMessage { likely_at, first_message_at } => format!(
            "likely since {}, {} before its first message",
            clock(*likely_at, days),
            human_duration(first_message_at.since(*likely_at))
        ),
        Note::AfterFirstMessage { likely_at, first_message_at } => format!(
            "first message at {}, likely only since {}",
            clock(*first_message_at, days),
            clock(*likely_at, days)
        ),
    }
}

/// Hosts of which something was seen that is not enough: a line each.
fn below(out: &mut String, machines: &[Machine<'_>], days: Dates, paint: &Paint) {
    let not_told = machines.iter().filter(|m| m.strongest.verdict < Verdict::Suspicious);
    let these: Vec<&HostStory> =
        not_told.flat_map(Machine::addresses).filter(|s| !s.evidence.is_empty()).collect();
    if !these.is_empty() {
        let _ = writeln!(out, "\nseen, and not enough to be suspicious:");
    }
    for s in these.iter().take(ADDRESSES) {
        let what: Vec<String> =
            in_order(s).into_iter().flat_map(|(.., all)| all).map(|e| describe(&e.evidence)).collect();
        let excused = s.notes.iter().filter(|n| matches!(n, Note::Excused { .. })).map(|n| note(n, days));
        let findings =
            s.findings.iter().map(|f| format!("{} since {}", clean(&f.kind), clock(f.since, days)));
        let also: Vec<String> = findings.chain(excused).collect();
        let also = if also.is_empty() { String::new() } else { format!(" · {}", also.join(", ")) };
        let _ =
            writeln!(out, "  {}  {:+.1} dB  {}{also}", s.label(), s.level_db, paint.dim(&what.join("; ")));
    }
    if these.len() > ADDRESSES {
        let _ = writeln!(out, "  … ({} more; --all shows them)", these.len() - ADDRESSES);
    }
}

/// Which other addresses are this machine's, or probably, and when the address changed hands.
pub(crate) fn identity(s: &HostStory, others: &[&HostStory], days: Dates) -> Vec<String> {
    let is_other = |o: &SameHost| others.iter().any(|m| (m.host, m.since) == (o.host, o.since));
    let why = |o: &HostStory| s.same_as.iter().find(|same| (same.host, same.since) == (o.host, o.since));
    let sure = others.iter().map(|o| {
        let because = why(o).map_or_else(|| "by way of another address".to_owned(), |w| clean(&w.because));
        format!("the same machine: {}, {} ({because})", o.id(), o.verdict)
    });
    let same = s.same_as.iter().filter(|o| !is_other(o)).map(|o| {
        let worse = if o.verdict > s.verdict { ", which the machine then is" } else { "" };
        format!(
            "probably one machine with {}, {}{worse} ({}; {:.0} %)",
            o.host,
            o.verdict,
            clean(&o.because),
            o.confidence * 100.0
        )
    });
    let changed = s.changed_hands.iter().map(|c| {
        format!("the address went from {} to {} by {}", clean(&c.from), clean(&c.to), clock(c.at, days))
    });
    let span = match (s.since, s.until) {
        (None, None) => None,
        (from, to) => {
            let from = from.map(|t| format!(" from {}", clock(t, days))).unwrap_or_default();
            let to = to.map(|t| format!(" until {}", clock(t, days))).unwrap_or_default();
            Some(format!("what is told here is of the machine that had the address{from}{to} ({})", s.id()))
        }
    };
    sure.chain(same).chain(changed).chain(span).collect()
}

/// What it would best be if it were honest, and what that leaves.
pub(crate) fn second_story(s: &HostStory) -> Option<String> {
    let best = s.alternatives.first()?;
    let (words, left, verdict) = (best.honest.words(), best.left_db, best.left_verdict);
    if verdict == s.verdict {
        return Some(format!(
            "no honest explanation fits: {words} would come nearest, and leaves {left:+.1} dB, still {verdict}"
        ));
    }
    let seen = if best.because.is_empty() { " (nothing else speaks for it)" } else { "" };
    Some(format!("best honest explanation: {words}{seen}; it would leave {left:+.1} dB, {verdict}"))
}

/// What is expected, counted by expectation.
pub(crate) fn suppressed(s: &HostStory) -> Vec<String> {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for e in &s.suppressed {
        *counts.entry(e.expected.as_deref().unwrap_or_default()).or_default() += 1;
    }
    counts.into_iter().map(|(by, n)| format!("{n} suppressed by {}", clean(by))).collect()
}

fn rest(
    out: &mut String,
    capture: &CaptureLine,
    machines: &[Machine<'_>],
    detail: Detail,
    days: Dates,
    paint: &Paint,
) {
    for verdict in [Verdict::Quiet, Verdict::Inconclusive] {
        // Of whom something was found, that stands above.
        let is_clear =
            |s: &&HostStory| s.verdict == verdict && (detail == Detail::Each || s.findings.is_empty());
        let these: Vec<&HostStory> = machines.iter().map(|m| m.strongest).filter(is_clear).collect();
        if these.is_empty() {
            continue;
        }
        out.push('\n');
        if detail == Detail::Each {
            for s in these {
                let why = s.unseen.first().map(|r| format!("  {}", clean(r))).unwrap_or_default();
                let role = s.roles.first().map(|r| format!("  {}", r.role)).unwrap_or_default();
                let _ = writeln!(
                    out,
                    "{}  {}  {:+.1} dB{role}{}",
                    paint.verdict(verdict, verdict.name()),
                    s.label(),
                    s.level_db,
                    paint.dim(&why)
                );
                stages(out, capture, s, days, paint);
            }
            continue;
        }
        let mut shown: Vec<String> = these.iter().take(ADDRESSES).map(|s| s.label()).collect();
        if these.len() > ADDRESSES {
            shown.push(format!("… ({} more; --all shows them)", these.len() - ADDRESSES));
        }
        let what = if these.len() == 1 { "host" } else { "hosts" };
        let _ = writeln!(
            out,
            "{}: {} {what}: {}",
            paint.verdict(verdict, verdict.name()),
            these.len(),
            shown.join(", ")
        );
        if verdict == Verdict::Inconclusive
            && let Some(reason) = these
                .iter()
                .filter(|s| !s.unseen.is_empty())
                .max_by_key(|s| s.flows)
                .and_then(|s| s.unseen.first())
        {
            let _ = writeln!(out, "  not enough to say \"quiet\": {}", clean(reason));
        }
    }
}
