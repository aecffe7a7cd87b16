//! The evaluation as pages and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::halves;
use anyhow::Context;
use behaviour::CATALOGUE;
use capture::Source;
use record::{Stage, Timestamp};
use testkit::evaluate::{Ablation, HostRow, Labelled, Row, row, table};
use testkit::{BOT, MakeScript, Script, adversary, bots, office, scenarios};
use verdict::{Calibration, Exposure, Measured, NETWORK_DAYS, Verdict, clopper_pearson};

/// Everything that was measured.
struct Evaluation {
    bots: Vec<Row>,
    tools: Vec<Row>,
    clean: Vec<Row>,
    /// Honest hosts that run real programs in a laboratory: they count as false alarms, and calibrate nothing.
    lab: Vec<Row>,
    /// Scenarios by name: the bot host of each.
    scenarios: Vec<(&'static str, Row)>,
    office_clean: Row,
    office_bot: Row,
}

fn scripted(name: &str, kind: &str, script: Script) -> anyhow::Result<Row> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("scenario.pcapng");
    std::fs::write(&path, script.pcapng())?;
    let of = Labelled {
        file: name.to_owned(),
        kind: kind.to_owned(),
        hosts: vec![BOT.to_owned()],
        family: "scenario".into(),
        repo: String::new(),
    };
    Ok(row(&of, Source::Path(path)))
}

/// Measures and writes everything: pages under `docs`, rates under `crates/verdict`.
pub fn write(manifest: &Path, project: &Path) -> anyhow::Result<()> {
    let rows = table(manifest, &["bot", "tool", "clean", "lab"])
        .with_context(|| format!("{}: no manifest can be read there", manifest.display()))?;
    let of = |kind: &str| rows.iter().filter(|r| r.of.kind == kind).cloned().collect::<Vec<Row>>();
    let mut made = Vec::new();
    for (name, make) in bots::ALL.iter().chain(scenarios::ALL.iter().filter(|s| s.0.starts_with("kraken"))) {
        let make: MakeScript = *make;
        made.push((*name, scripted(name, "tool", make())?));
    }
    let e = Evaluation {
        bots: of("bot"),
        tools: of("tool"),
        clean: of("clean"),
        lab: of("lab"),
        scenarios: made,
        office_clean: scripted("office day", "tool", office::day(None).0)?,
        office_bot: scripted(
            "office day with a bot",
            "tool",
            office::day(Some(&scenarios::Variant::newer())).0,
        )?,
    };
    let docs = project.join("docs");
    let corpus = if manifest.is_dir() { manifest } else { manifest.parent().unwrap_or(manifest) };
    let page = page(&e, manifest)? + &crate::logs::section(corpus)?;
    std::fs::write(docs.join("evaluation.md"), page)?;
    std::fs::write(docs.join("evaluation.csv"), csv(&rows))?;
    std::fs::write(docs.join("blind-spots.md"), blind_spots()?)?;
    let measured = toml::to_string(&measured(&e.bots, &e.clean, manifest))?;
    let head = "# Written by `cargo run --release -p hydrophone-testkit -- evaluate MANIFEST`: how often each grade fired. Not to be edited.\n";
    std::fs::write(project.join("crates/verdict/calibration.toml"), format!("{head}{measured}"))?;
    Ok(())
}

/// Clean host-days: every host of every clean capture, each begun day once.
fn host_days(rows: &[Row]) -> u64 {
    rows.iter().flat_map(|r| &r.others).map(|h| h.days).sum()
}

/// The named hosts; of those that the capture shows not at all, nothing is counted.
pub fn infected(rows: &[Row]) -> impl Iterator<Item = &HostRow> {
    rows.iter().filter_map(Row::best)
}

fn others(rows: &[Row]) -> impl Iterator<Item = &HostRow> {
    rows.iter().flat_map(|r| &r.others)
}

/// How often each grade fired on clean hosts that were exposed to it, and on bots.
pub fn measured(bots: &[Row], clean: &[Row], manifest: &Path) -> Measured {
    let mut networks: BTreeMap<&str, Vec<&HostRow>> = BTreeMap::new();
    for row in clean {
        networks.entry(row.of.repo.as_str()).or_default().extend(&row.others);
    }
    let mut made = BTreeMap::new();
    for b in CATALOGUE {
        let mut of = Exposure::default();
        for hosts in networks.values() {
            let days: u64 = hosts.iter().map(|h| h.exposed_to(b)).sum();
            // Hosts of one network do alike.
            let weight = (NETWORK_DAYS / days.max(1) as f64).min(1.0);
            of.days += weight * days as f64;
            of.networks += u64::from(days > 0);
            for (_, grade) in hosts.iter().flat_map(|h| &h.fired).filter(|f| f.0 == b.name) {
                of.grade.entry(grade.clone()).or_default().clean += weight;
            }
        }
        for (_, grade) in infected(bots).flat_map(|h| &h.fired).filter(|f| f.0 == b.name) {
            of.grade.entry(grade.clone()).or_default().bots += 1;
        }
        let hundredths = |x: f64| (x * 100.0).round() / 100.0;
        of.days = hundredths(of.days);
        of.grade.values_mut().for_each(|c| c.clean = hundredths(c.clean));
        made.insert(b.name.to_owned(), of);
    }
    let folder = if manifest.is_dir() { Some(manifest) } else { manifest.parent() };
    let corpus =
        folder.and_then(Path::file_name).map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Measured {
        corpus,
        date: today(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        days: host_days(clean),
        networks: networks.len() as u64,
        bots: bots.len() as u64,
        behaviour: made,
    }
}

/// Today, as `YYYY-MM-DD`: the one place that a calibration is dated.
#[allow(clippy::disallowed_methods)]
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs() as i64).to_string().chars().take(10).collect()
}

fn share(n: usize, of: usize) -> String {
    format!("{n} ({:.0} %)", 100.0 * n as f64 / of.max(1) as f64)
}

/// The family without what stands behind it in brackets.
pub fn family(of: &Labelled) -> String {
    let name = of.family.split_once(": ").map_or(of.family.as_str(), |f| f.1);
    name.split(['(', ',', '/']).next().unwrap_or(name).trim().to_lowercase()
}

/// The mean over families of the share found.
pub fn by_family(rows: &[Row], verdict: Verdict) -> f64 {
    let mut families: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for r in rows {
        let f = families.entry(family(&r.of)).or_default();
        f.0 += usize::from(r.found(verdict));
        f.1 += 1;
    }
    families.values().map(|(n, of)| *n as f64 / *of as f64).sum::<f64>() / families.len().max(1) as f64
}

fn duration(secs: f64) -> String {
    match secs {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn cell(h: Option<&HostRow>) -> String {
    h.map_or_else(|| "–".to_owned(), |h| format!("{} {:+.1}", h.verdict, h.level_db))
}

fn short(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name: String = name.chars().take(60).collect();
    name.replace('|', "/")
}

fn list(of: &BTreeSet<&str>) -> String {
    of.iter().copied().collect::<Vec<_>>().join(", ")
}

/// The honest hosts of the laboratory that are accused, and by what.
fn laboratory(out: &mut String, e: &Evaluation) {
    let _ = writeln!(
        out,
        "\n## Honest programs in a laboratory\n\nReal programs ran for minutes to hours, with clockwork loops; each accused host, the strongest first, with what fired. They calibrate nothing.\n\n\
         | capture | host | verdict | what fired |\n|---|---|---|---|"
    );
    let hosts = e.lab.iter().flat_map(|r| r.labelled.iter().map(move |h| (r, h)));
    let mut accused: Vec<(&Row, &HostRow)> =
        hosts.filter(|(_, h)| h.verdict >= Verdict::Suspicious).collect();
    accused.sort_by(|a, b| b.1.level_db.total_cmp(&a.1.level_db));
    for (r, h) in accused {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            short(&r.of.file),
            h.host,
            cell(Some(h)),
            list(&h.behaviours())
        );
    }
}

fn page(e: &Evaluation, manifest: &Path) -> anyhow::Result<String> {
    let mut out = include_str!("text/evaluation-head.md").to_owned();
    let n = e.bots.len();
    let hosts = host_days(&e.clean);
    let _ = writeln!(out, "\nMeasured on {} with version {}.\n", today(), env!("CARGO_PKG_VERSION"));
    let at = |v: Verdict| e.bots.iter().filter(|r| r.found(v)).count();
    let levels = [Verdict::Suspicious, Verdict::Likely, Verdict::Infected];
    let _ = writeln!(out, "| | of | suspicious | likely | infected |\n|---|---|---|---|---|");
    let line = |out: &mut String, what: &str, of: String, counts: [String; 3]| {
        let _ = writeln!(out, "| {what} | {of} | {} | {} | {} |", counts[0], counts[1], counts[2]);
    };
    line(&mut out, "bots found at least", format!("{n} captures"), levels.map(|v| share(at(v), n)));
    let families: BTreeSet<String> = e.bots.iter().map(|r| family(&r.of)).collect();
    let weighed = levels.map(|v| format!("{:.0} %", 100.0 * by_family(&e.bots, v)));
    line(&mut out, "bots, each family once", format!("{} families", families.len()), weighed);
    let count = |rows: &[Row], f: fn(&Row, Verdict) -> bool| {
        levels.map(|v| rows.iter().filter(|r| f(r, v)).count().to_string())
    };
    line(
        &mut out,
        "other hosts of bot captures accused",
        format!("{n} captures"),
        count(&e.bots, Row::accused),
    );
    line(&mut out, "tools at least", format!("{} captures", e.tools.len()), count(&e.tools, Row::found));
    line(
        &mut out,
        "clean captures with a host accused at least",
        format!("{} captures, {hosts} host-days", e.clean.len()),
        count(&e.clean, Row::accused),
    );
    let honest: Vec<&HostRow> = e.lab.iter().flat_map(|r| &r.labelled).collect();
    let accused = levels.map(|v| share(honest.iter().filter(|h| h.verdict >= v).count(), honest.len()));
    line(&mut out, "honest laboratory hosts accused at least", format!("{} hosts", honest.len()), accused);
    halves::section(&mut out, manifest, &e.bots, &e.clean)?;
    halves::curves(&mut out, &e.bots, &e.clean, &e.lab);
    laboratory(&mut out, e);
    bets(&mut out, e);
    times(&mut out, e);
    ablations(&mut out, e);
    fires(&mut out, e);
    confusion(&mut out, e);
    limits(&mut out, e);
    captures(&mut out, e);
    Ok(out)
}

/// The mean e-value over clean host-days, and per stage what one stage alone does.
fn bets(out: &mut String, e: &Evaluation) {
    let hosts: Vec<&HostRow> = others(&e.clean).collect();
    let mean = hosts.iter().map(|h| h.e).sum::<f64>() / hosts.len().max(1) as f64;
    let worst = hosts.iter().map(|h| h.level_db).fold(f64::MIN, f64::max);
    let _ = writeln!(
        out,
        "\n## The bets\n\nMean of the product of all stages' e-values over clean host-days, each at its highest moment: **{mean:.3}** \
         (must be ≤ 1: then no clean host wins in the long run). The strongest clean host stands at {worst:+.1} dB.\n\n\
         A behaviour contradicts its assumption where even the lower 95 % bound of how often its base fires on clean hosts \
         lies above the P0 that its payoff stands for:"
    );
    let calibration = Calibration::in_use();
    let mut found = false;
    for b in CATALOGUE {
        let of: u64 = others(&e.clean).map(|h| h.exposed_to(b)).sum();
        for worth in calibration.grades(b.name).iter().filter(|w| w.base && w.db > 0.0) {
            let (grade, db) = (worth.name, worth.db);
            let fired =
                others(&e.clean).filter(|h| h.fired.contains(&(b.name.to_owned(), grade.to_owned()))).count();
            let lower = clopper_pearson(fired as u64, of, 0.05);
            if lower > calibration.p0(b.name, db) {
                found = true;
                let _ = writeln!(
                    out,
                    "\n- {} / {grade}: {fired} of {of}, at least {:.2} %, where {db:.1} dB allow {:.2} %",
                    b.name,
                    100.0 * lower,
                    100.0 * calibration.p0(b.name, db)
                );
            }
        }
    }
    if !found {
        let _ = writeln!(out, "\nnone does.");
    }
}

fn times(out: &mut String, e: &Evaluation) {
    let _ = writeln!(
        out,
        "\n## How soon\n\n| | captures | median time from the host's first packet | slowest |\n|---|---|---|---|"
    );
    for v in [Verdict::Suspicious, Verdict::Likely, Verdict::Infected] {
        let mut times: Vec<f64> = infected(&e.bots).filter_map(|h| h.reached.get(&v)).copied().collect();
        times.sort_by(f64::total_cmp);
        let middle = times.get(times.len() / 2).map_or_else(|| "–".into(), |t| duration(*t));
        let last = times.last().map_or_else(|| "–".into(), |t| duration(*t));
        let _ = writeln!(out, "| {v} | {} | {middle} | {last} |", times.len());
    }
    let spam: Vec<&Row> =
        e.bots.iter().filter(|r| r.best().is_some_and(|b| b.before_spam.is_some())).collect();
    let before = spam.iter().filter(|r| r.best().and_then(|b| b.before_spam) == Some(true)).count();
    let _ = writeln!(
        out,
        "\nBots that were likely and sent mail in clear: {} captures, in {before} of them *likely* stood before the first message. \
         In the synthetic office day: {}.",
        spam.len(),
        match e.office_bot.best().and_then(|b| b.before_spam) {
            Some(true) => "before it",
            Some(false) => "after it",
            None => "no message",
        }
    );
}

fn ablations(out: &mut String, e: &Evaluation) {
    let _ = writeln!(
        out,
        "\n## What the verdict owes to which part\n\nOf {} bot captures, how many stay at least at a verdict when a part is left out. \
         Captures shorter than an hour hold nothing when the first hour is missing.\n\n| | suspicious | likely | infected |\n|---|---|---|---|",
        e.bots.len()
    );
    for a in Ablation::all() {
        let at = |v: Verdict| e.bots.iter().filter(|r| r.ablated.get(&a).is_some_and(|x| *x >= v)).count();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            a.name(),
            at(Verdict::Suspicious),
            at(Verdict::Likely),
            at(Verdict::Infected)
        );
    }
    let hour = e.bots.iter().filter(|r| r.span > 3600.0).count();
    let _ = writeln!(
        out,
        "\n({hour} bot captures are longer than an hour.)\n\nLeave one family out: payoffs come from assumptions and clean hosts alone, \
         so no family can bend them; the share of bots found, without each family in turn:"
    );
    let families: BTreeSet<String> = e.bots.iter().map(|r| family(&r.of)).collect();
    for v in [Verdict::Suspicious, Verdict::Likely] {
        let shares: Vec<(f64, &String)> = families
            .iter()
            .map(|f| {
                let rest: Vec<&Row> = e.bots.iter().filter(|r| family(&r.of) != *f).collect();
                let found = rest.iter().filter(|r| r.found(v)).count();
                (found as f64 / rest.len().max(1) as f64, f)
            })
            .collect();
        let least = shares.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let most = shares.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some(least), Some(most)) = (least, most) {
            let _ = writeln!(
                out,
                "\n- {v}: {:.0} % (without {}) to {:.0} % (without {})",
                100.0 * least.0,
                least.1,
                100.0 * most.0,
                most.1
            );
        }
    }
}

/// Behaviour by scenario, real captures and clean rate.
fn fires(out: &mut String, e: &Evaluation) {
    let _ = writeln!(
        out,
        "\n## Every behaviour and grade\n\nThe scenario that shows it (made by `testkit`); bot and tool captures in which it fired on a named host; clean \
         host-days on which it fired, of those on which it could have, with Clopper and Pearson's upper 95 % bound; the payoff that is assumed and, where these days lower it, what it is now; the synthetic office day of {} hosts without and with a \
         bot, which calibrates nothing. \"–\" under bots means that no capture of the corpus holds it.\n\n\
         | behaviour | grade | payoff | scenario | bots | tools | clean, of exposed | at most | office | with bot |\n|---|---|---|---|---|---|---|---|---|---|",
        e.office_clean.others.len() + e.office_clean.labelled.len()
    );
    let calibration = Calibration::in_use();
    for b in CATALOGUE {
        let of: u64 = others(&e.clean).map(|h| h.exposed_to(b)).sum();
        for worth in calibration.grades(b.name) {
            let grade = worth.name;
            let key = (b.name.to_owned(), grade.to_owned());
            let has = |h: &&HostRow| h.fired.contains(&key);
            let shown = e
                .scenarios
                .iter()
                .find(|(_, r)| r.labelled.iter().any(|h| h.fired.contains(&key)))
                .map_or("unit test only", |s| s.0);
            let n = |c: usize| if c == 0 { "–".to_owned() } else { c.to_string() };
            let clean = others(&e.clean).filter(has).count();
            let bent = calibration.bent(b.name, grade, worth.db);
            let now = if worth.base && (bent - worth.db).abs() >= 0.05 {
                format!(", {bent:.1}")
            } else {
                String::new()
            };
            let worth =
                if worth.base { format!("{:.1}{now}", worth.db) } else { format!("+{:.1}", worth.db) };
            let office =
                |r: &Row| n(r.labelled.iter().chain(&r.others).filter(|h| h.fired.contains(&key)).count());
            let _ = writeln!(
                out,
                "| {} | {grade} | {worth} | {shown} | {} | {} | {clean} of {of} | {:.2} % | {} | {} |",
                b.name,
                n(infected(&e.bots).filter(has).count()),
                n(infected(&e.tools).filter(has).count()),
                100.0 * clopper_pearson(clean as u64, of, 0.95),
                office(&e.office_clean),
                office(&e.office_bot)
            );
        }
    }
}

fn confusion(out: &mut String, e: &Evaluation) {
    let _ = writeln!(
        out,
        "\n## By family\n\n| family | captures | infected | likely | suspicious | quiet | inconclusive |\n|---|---|---|---|---|---|---|"
    );
    let mut families: BTreeMap<String, BTreeMap<Verdict, usize>> = BTreeMap::new();
    for r in &e.bots {
        let v = r.best().map_or(Verdict::Inconclusive, |b| b.verdict);
        *families.entry(family(&r.of)).or_default().entry(v).or_default() += 1;
    }
    for (name, counts) in families {
        let n = |v: Verdict| counts.get(&v).map_or_else(|| "–".to_owned(), ToString::to_string);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            name.replace('|', "/"),
            counts.values().sum::<usize>(),
            n(Verdict::Infected),
            n(Verdict::Likely),
            n(Verdict::Suspicious),
            n(Verdict::Quiet),
            n(Verdict::Inconclusive)
        );
    }
}

/// Stages of the story that a host showed, without what only tells how they follow each other.
fn stages(h: &HostRow) -> BTreeSet<Stage> {
    let fired = h.behaviours();
    let told = CATALOGUE.iter().filter(|b| fired.contains(b.name)).map(|b| b.about.stage);
    told.filter(|s| Stage::STORY.contains(s)).collect()
}

/// What no verdict above *suspicious* can rest on: captures that hold one stage, or none.
fn limits(out: &mut String, e: &Evaluation) {
    let _ = writeln!(
        out,
        "\n## What was there to be seen\n\n*Likely* asks for two stages. How many stages the infected host shows to the detectors, and what became of it:\n\n\
         | stages seen | captures | suspicious | likely | infected | which, if not likely |\n|---|---|---|---|---|---|"
    );
    let kind = |r: &&Row| {
        let seen: Vec<Stage> = r.best().map(stages).unwrap_or_default().into_iter().collect();
        match &seen[..] {
            [] => "none",
            [Stage::Update] => "only a download",
            [_] => "another one",
            _ => "two or more",
        }
    };
    for name in ["none", "only a download", "another one", "two or more"] {
        let of: Vec<&Row> = e.bots.iter().filter(|r| kind(r) == name).collect();
        let at = |v: Verdict| share(of.iter().filter(|r| r.found(v)).count(), of.len());
        let missed: Vec<String> =
            of.iter().filter(|r| !r.found(Verdict::Likely)).map(|r| short(&r.of.file)).collect();
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} |",
            of.len(),
            at(Verdict::Suspicious),
            at(Verdict::Likely),
            at(Verdict::Infected),
            missed.join(", ")
        );
    }
}

fn captures(out: &mut String, e: &Evaluation) {
    for (title, rows) in [("Bots", &e.bots), ("Tools", &e.tools)] {
        let _ = writeln!(
            out,
            "\n## {title}, capture by capture\n\n| capture | family | length | named host | likely after | infected after | what fired | also said | strongest other |\n|---|---|---|---|---|---|---|---|---|"
        );
        for r in rows {
            let best = r.best();
            let after = |v: Verdict| {
                best.and_then(|b| b.reached.get(&v)).map_or_else(|| "–".into(), |t| duration(*t))
            };
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                short(&r.of.file),
                r.of.family.replace('|', "/"),
                duration(r.span),
                cell(best),
                after(Verdict::Likely),
                after(Verdict::Infected),
                best.map_or_else(String::new, |b| list(&b.behaviours())),
                best.map_or_else(String::new, |b| b.findings.join(", ")),
                cell(r.other())
            );
        }
    }
    let _ = writeln!(
        out,
        "\n## Clean captures in which anything fired\n\n| capture | strongest host | what fired |\n|---|---|---|"
    );
    for r in &e.clean {
        let fired: BTreeSet<&str> = r.others.iter().flat_map(HostRow::behaviours).collect();
        if !fired.is_empty() {
            let _ = writeln!(out, "| {} | {} | {} |", short(&r.of.file), cell(r.other()), list(&fired));
        }
    }
    let failed: Vec<&Row> =
        e.bots.iter().chain(&e.tools).chain(&e.clean).filter(|r| r.failure.is_some()).collect();
    if !failed.is_empty() {
        let _ = writeln!(out, "\n## Not read to their end\n");
        for r in failed {
            let _ = writeln!(out, "- {}: {}", short(&r.of.file), r.failure.as_deref().unwrap_or_default());
        }
    }
}

fn csv(rows: &[Row]) -> String {
    let mut out = String::from(
        "file,kind,family,host,named,verdict,level_db,days,seconds_to_suspicious,seconds_to_likely,seconds_to_infected,likely_before_spam,fired,findings\n",
    );
    let quoted = |t: &str| format!("\"{}\"", t.replace('"', "\"\""));
    for r in rows {
        for (h, named) in r.labelled.iter().map(|h| (h, true)).chain(r.others.iter().map(|h| (h, false))) {
            let after = |v: Verdict| h.reached.get(&v).map_or_else(String::new, |t| format!("{t:.3}"));
            let fired: Vec<String> = h.fired.iter().map(|(b, g)| format!("{b}/{g}")).collect();
            let _ = writeln!(
                out,
                "{},{},{},{},{named},{},{:.1},{},{},{},{},{},{},{}",
                quoted(&r.of.file),
                r.of.kind,
                quoted(&r.of.family),
                h.host,
                h.verdict,
                h.level_db,
                h.days,
                after(Verdict::Suspicious),
                after(Verdict::Likely),
                after(Verdict::Infected),
                h.before_spam.map_or_else(String::new, |b| b.to_string()),
                quoted(&fired.join(" ")),
                quoted(&h.findings.join(", "))
            );
        }
    }
    out
}

fn blind_spots() -> anyhow::Result<String> {
    let mut out = include_str!("text/blind-spots-head.md").to_owned();
    for m in adversary::ALL {
        let _ = writeln!(out, "\n## {}\n\n| {} | verdict | what fired |\n|---|---|---|", m.name, m.unit);
        let mut broken = None;
        for strength in m.strengths {
            let row = scripted(m.name, "tool", (m.make)(*strength))?;
            let best = row.best();
            if broken.is_none() && best.is_none_or(|b| b.verdict < Verdict::Likely) {
                broken = Some(*strength);
            }
            let fired = best.map_or_else(String::new, |b| list(&b.behaviours()));
            let _ = writeln!(out, "| {strength} | {} | {fired} |", cell(best));
        }
        let _ = match broken {
            Some(s) => writeln!(out, "\nBelow *likely* from {s} on."),
            None => writeln!(out, "\nNever below *likely*."),
        };
    }
    Ok(out)
}
