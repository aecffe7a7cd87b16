//! What rests on what was looked at: rates fitted on half of the families and repositories and judged on the other, and verdicts at every level.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use behaviour::CATALOGUE;
use capture::Source;
use record::fnv1a;
use testkit::evaluate::{HostRow, Labelled, Row, manifest, row};
use verdict::{Calibration, Measured, Verdict};

use crate::tables::{by_family, family, infected, measured};

/// The levels of the curves, in decibans.
const LEVELS: [f64; 10] = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0];
/// How often ET Open's malware classes alert on clean captures, as a share of them (the measurement with Suricata 8 on 491).
const ET_OPEN: f64 = 0.004;

/// Which half a name falls to: by the lowest bit of its hash.
fn half(name: &str) -> usize {
    (fnv1a(name.as_bytes()) & 1) as usize
}

/// Bots fall to halves by family, clean captures by repository, those of the laboratory each for itself.
fn half_of(of: &Labelled) -> usize {
    match of.kind.as_str() {
        "bot" => half(&family(of)),
        "lab" => half(&of.file),
        _ => half(&of.repo),
    }
}

/// Judges one half of a corpus by rates that stand in a file; gives the row of a table.
pub fn judge(path: &Path, rates: &Path, which: usize) -> anyhow::Result<String> {
    let rates: Measured = toml::from_str(&std::fs::read_to_string(rates)?)?;
    Calibration::of(rates).put_in_use();
    let root = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for of in manifest(path)?.into_iter().filter(|l| half_of(l) == which) {
        if ["bot", "clean", "lab"].contains(&of.kind.as_str()) {
            let made = row(&of, Source::Path(root.join(&of.file)));
            rows.entry(of.kind).or_default().push(made);
        }
    }
    let of = |kind: &str| rows.get(kind).map_or(&[][..], Vec::as_slice);
    let (bots, clean, lab) = (of("bot"), of("clean"), of("lab"));
    let families: BTreeSet<String> = bots.iter().map(|r| family(&r.of)).collect();
    let honest: Vec<&HostRow> = lab.iter().flat_map(|r| &r.labelled).collect();
    let accused = |v| clean.iter().filter(|r| r.accused(v)).count();
    let hosts = |v| honest.iter().filter(|h| h.verdict >= v).count();
    Ok(format!(
        "{} | {} | {:.0} % | {:.0} % | {} / {} of {} | {} / {} of {}",
        bots.len(),
        families.len(),
        100.0 * by_family(bots, Verdict::Suspicious),
        100.0 * by_family(bots, Verdict::Likely),
        accused(Verdict::Suspicious),
        accused(Verdict::Likely),
        clean.len(),
        hosts(Verdict::Suspicious),
        hosts(Verdict::Likely),
        honest.len()
    ))
}

/// Each half judged by the rates of the other, and the facts that help one half alone.
pub fn section(out: &mut String, manifest: &Path, bots: &[Row], clean: &[Row]) -> anyhow::Result<()> {
    out.push_str(include_str!("text/halves.md"));
    let in_half = |rows: &[Row], n: usize| -> Vec<Row> {
        rows.iter().filter(|r| half_of(&r.of) == n).cloned().collect()
    };
    for (fitted, judged) in [(1, 0), (0, 1)] {
        let dir = tempfile::tempdir()?;
        let rates = dir.path().join("rates.toml");
        std::fs::write(
            &rates,
            toml::to_string(&measured(&in_half(bots, fitted), &in_half(clean, fitted), manifest))?,
        )?;
        // The calibration is one for a process.
        let child = Command::new(std::env::current_exe()?)
            .arg("half")
            .args([manifest, &rates])
            .arg(judged.to_string())
            .output()
            .context("the other half cannot be judged")?;
        ensure!(child.status.success(), "half {judged}: {}", String::from_utf8_lossy(&child.stderr));
        let _ = writeln!(out, "| {} | {} |", ["A", "B"][judged], String::from_utf8(child.stdout)?.trim());
    }
    let _ = writeln!(
        out,
        "\nGrades that only families of one half show, three or more of them: what they find on families of the other kind nobody has seen.\n\n| behaviour | grade | families of A | of B |\n|---|---|---|---|"
    );
    for b in CATALOGUE {
        for grade in Calibration::in_use().grades(b.name) {
            let key = (b.name.to_owned(), grade.name.to_owned());
            let [one, other] = [0, 1].map(|n| {
                let of = bots.iter().filter(|r| half_of(&r.of) == n);
                let shown = of.filter(|r| infected(std::slice::from_ref(r)).any(|h| h.fired.contains(&key)));
                shown.map(|r| family(&r.of)).collect::<BTreeSet<String>>().len()
            });
            if one.min(other) == 0 && one.max(other) >= 3 {
                let _ = writeln!(out, "| {} | {} | {one} | {other} |", b.name, grade.name);
            }
        }
    }
    Ok(())
}

/// The share of each kind at every level.
pub fn curves(out: &mut String, bots: &[Row], clean: &[Row], lab: &[Row]) {
    let _ = writeln!(
        out,
        "\n## At every level\n\nShare of bots (each family once), of clean captures and of networks with a host, and of laboratory hosts, that stand at least at a level; *likely* and *infected* also ask for stages.\n\n\
         | level | bots | clean captures | networks | laboratory |\n|---|---|---|---|---|"
    );
    let at_least = |h: &HostRow, db: f64| !h.fired.is_empty() && h.level_db >= db;
    let bots_at = |db: f64| {
        let mut families: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for r in bots {
            let f = families.entry(family(&r.of)).or_default();
            f.0 += f64::from(r.best().is_some_and(|h| at_least(h, db)));
            f.1 += 1.0;
        }
        families.values().map(|(n, of)| n / of).sum::<f64>() / families.len().max(1) as f64
    };
    let clean_at = |db: f64| clean.iter().filter(|r| r.others.iter().any(|h| at_least(h, db))).count();
    let networks: BTreeSet<&str> = clean.iter().map(|r| r.of.repo.as_str()).collect();
    let honest: Vec<&HostRow> = lab.iter().flat_map(|r| &r.labelled).collect();
    for db in LEVELS {
        let of_networks: BTreeSet<&str> = clean
            .iter()
            .filter(|r| r.others.iter().any(|h| at_least(h, db)))
            .map(|r| r.of.repo.as_str())
            .collect();
        let _ = writeln!(
            out,
            "| {db:.0} dB | {:.0} % | {} of {} | {} of {} | {} of {} |",
            100.0 * bots_at(db),
            clean_at(db),
            clean.len(),
            of_networks.len(),
            networks.len(),
            honest.iter().filter(|h| at_least(h, db)).count(),
            honest.len()
        );
    }
    let allowed = (ET_OPEN * clean.len() as f64).floor() as usize;
    let tenths = (0..600).map(|n| f64::from(n) / 10.0).find(|db| clean_at(*db) <= allowed);
    if let Some(db) = tenths {
        let _ = writeln!(
            out,
            "\nET Open's malware classes alert on 0.4 % of clean captures. So seldom, on {allowed} of {}, would who stands at {db:.1} dB be accused: {:.0} % of the families.",
            clean.len(),
            100.0 * bots_at(db)
        );
    }
}
