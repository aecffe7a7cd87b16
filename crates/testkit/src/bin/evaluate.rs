//! Prints the evaluation over the corpus as Markdown: `cargo run --release -p hydrophone-testkit --bin evaluate > docs/evaluation.md`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use testkit::evaluate::{Row, corpus, table};
use verdict::Verdict;

fn cell(v: Option<(Verdict, f64)>) -> String {
    v.map_or_else(|| "–".to_owned(), |(v, db)| format!("{v} {db:+.1}"))
}

fn main() -> anyhow::Result<()> {
    let corpus = corpus().context("no corpus: set HYDROPHONE_CORPUS")?;
    let rows = table(&corpus, &["bot", "tool", "clean"])?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", include_str!("evaluation-head.md").trim_end())?;
    let of = |kind: &str| rows.iter().filter(|r| r.of.kind == kind).cloned().collect::<Vec<Row>>();
    let (bots, tools, clean) = (of("bot"), of("tool"), of("clean"));
    let at = |rows: &[Row], v: Verdict| rows.iter().filter(|r| r.labelled.is_some_and(|l| l.0 >= v)).count();
    let any = |rows: &[Row], v: Verdict| {
        rows.iter().filter(|r| [r.labelled, r.others].into_iter().flatten().any(|l| l.0 >= v)).count()
    };
    let hosts: usize = clean.iter().map(|r| r.hosts).sum();
    writeln!(out, "\n| | captures | infected | likely | suspicious |\n|---|---|---|---|---|")?;
    writeln!(
        out,
        "| bots: labelled host found at least | {} | {} | {} | {} |",
        bots.len(),
        at(&bots, Verdict::Infected),
        at(&bots, Verdict::Likely),
        at(&bots, Verdict::Suspicious)
    )?;
    writeln!(
        out,
        "| bots: another host accused at least | {} | {} | {} | {} |",
        bots.len(),
        bots.iter().filter(|r| r.others.is_some_and(|l| l.0 >= Verdict::Infected)).count(),
        bots.iter().filter(|r| r.others.is_some_and(|l| l.0 >= Verdict::Likely)).count(),
        bots.iter().filter(|r| r.others.is_some_and(|l| l.0 >= Verdict::Suspicious)).count()
    )?;
    writeln!(
        out,
        "| tools: labelled host at least | {} | {} | {} | {} |",
        tools.len(),
        at(&tools, Verdict::Infected),
        at(&tools, Verdict::Likely),
        at(&tools, Verdict::Suspicious)
    )?;
    writeln!(
        out,
        "| clean: any host accused at least ({hosts} hosts) | {} | {} | {} | {} |",
        clean.len(),
        any(&clean, Verdict::Infected),
        any(&clean, Verdict::Likely),
        any(&clean, Verdict::Suspicious)
    )?;
    writeln!(
        out,
        "\n## How often each behaviour fires\n\n| behaviour | bot captures | tool captures | clean captures |\n|---|---|---|---|"
    )?;
    let mut fires: BTreeMap<&str, [usize; 3]> =
        behaviour::CATALOGUE.iter().map(|b| (b.name, [0; 3])).collect();
    for (i, rows) in [&bots, &tools, &clean].into_iter().enumerate() {
        for name in rows.iter().flat_map(|r| &r.behaviours) {
            if let Some(n) = fires.get_mut(name.as_str()) {
                n[i] += 1;
            }
        }
    }
    for b in behaviour::CATALOGUE {
        let [x, y, z] = fires[b.name];
        writeln!(out, "| {} | {x} | {y} | {z} |", b.name)?;
    }
    for (title, rows) in [("Bots", &bots), ("Tools", &tools)] {
        writeln!(
            out,
            "\n## {title}, capture by capture\n\n| capture | family | labelled host | strongest other | behaviours |\n|---|---|---|---|---|"
        )?;
        for r in rows {
            let name = r.of.file.rsplit('/').next().unwrap_or_default();
            writeln!(
                out,
                "| {name} | {} | {} | {} | {} |",
                r.of.family.replace('|', "/"),
                cell(r.labelled),
                cell(r.others),
                r.behaviours.join(", ")
            )?;
        }
    }
    writeln!(
        out,
        "\n## Clean captures in which anything fired\n\n| capture | strongest host | behaviours |\n|---|---|---|"
    )?;
    for r in clean.iter().filter(|r| !r.behaviours.is_empty()) {
        let name = r.of.file.rsplit('/').next().unwrap_or_default();
        writeln!(
            out,
            "| {name} | {} | {} |",
            cell(r.others.max_by_level(r.labelled)),
            r.behaviours.join(", ")
        )?;
    }
    Ok(())
}

trait Stronger {
    fn max_by_level(self, other: Self) -> Self;
}

impl Stronger for Option<(Verdict, f64)> {
    fn max_by_level(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if (b.0, b.1) > (a.0, a.1) { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}
