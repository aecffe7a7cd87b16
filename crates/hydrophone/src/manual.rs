//! Manual pages: of behaviours, of the program, for shells.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use behaviour::{ATTACK_VERSION, CATALOGUE, entry};
use clap::CommandFactory;
use clap_complete::Shell;
use verdict::{Calibration, ENOUGH, NETWORK_DAYS, clopper_pearson};

use crate::args::Args;
use crate::{Exit, Failure};

/// The list of behaviours, or the page of one.
pub fn behaviours(name: Option<&str>) -> Result<Exit, Failure> {
    let mut out = anstream::stdout().lock();
    let calibration = Calibration::in_use();
    let Some(name) = name else {
        for b in CATALOGUE {
            let manual = b.manual();
            let sees: Vec<&str> = manual.lines().skip(1).take_while(|l| !l.is_empty()).collect();
            let sees = sees.join(" ");
            let first = sees.split_inclusive(". ").next().unwrap_or_default().trim();
            writeln!(
                out,
                "{:<24} {:<10} {:<22} {first}",
                b.name,
                b.about.stage.name(),
                b.about.attack.join(" ")
            )?;
        }
        return Ok(Exit::Done);
    };
    let Some(b) = entry(name) else {
        let known: Vec<&str> = CATALOGUE.iter().map(|b| b.name).collect();
        return Err(Failure::usage(anyhow::anyhow!(
            "no behaviour is called {name:?}; there are: {}",
            known.join(", ")
        )));
    };
    writeln!(
        out,
        "# {}\n\nStage: {} · ATT&CK v{ATTACK_VERSION}: {}\n",
        b.name,
        b.about.stage,
        b.about.attack.join(", ")
    )?;
    writeln!(out, "{}", b.manual())?;
    writeln!(
        out,
        "## Payoffs\n\nStage cap {:.1} dB. All values: {}.\n",
        calibration.cap(b.about.stage),
        calibration.source()
    )?;
    for worth in calibration.grades(b.name) {
        let most = worth.most.map(|m| format!(", at most {m:.1} dB together")).unwrap_or_default();
        let (grade, db) = (worth.name, worth.db);
        if !worth.base {
            writeln!(out, "- {grade}: adds {db:+.1} dB{most}")?;
        } else if db > 0.0 {
            let bent = calibration.bent(b.name, grade, db);
            let now = if (bent - db).abs() < 0.05 { String::new() } else { format!(", now {bent:+.1} dB") };
            writeln!(
                out,
                "- {grade}: {db:+.1} dB{most}, P0 = {:.2e} a day{now}",
                calibration.p0(b.name, db)
            )?;
        } else {
            writeln!(out, "- {grade}: {db:+.1} dB")?;
        }
    }
    let measured = calibration.measured();
    writeln!(
        out,
        "\n## Measured\n\nOn {} clean host-days of {} networks and {} infected hosts ({}, {}, version {}). It could have fired on {:.0} of these days, each\nnetwork counted for at most {NETWORK_DAYS}. The bound is Clopper and Pearson's upper 95 %. A rate stays assumed until {ENOUGH} such days; what was seen\nlowers a payoff at once.\n",
        measured.days,
        measured.networks,
        measured.bots,
        measured.corpus,
        measured.date,
        measured.version,
        measured.days(b.name)
    )?;
    let of = measured.days(b.name);
    for worth in calibration.grades(b.name) {
        let (grade, n) = (worth.name, measured.counts(b.name, worth.name));
        let bound = 100.0 * clopper_pearson(n.clean.ceil() as u64, of.floor() as u64, 0.95);
        writeln!(
            out,
            "- {grade}: {:.1} of {of:.0} exposed clean host-days (at most {bound:.2} %), {} of {} infected hosts",
            n.clean, n.bots, measured.bots
        )?;
    }
    Ok(Exit::Done)
}

/// Completions for a shell.
pub fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "hydrophone", &mut text);
    std::io::stdout().lock().write_all(&text)?;
    Ok(Exit::Done)
}

/// The manual page.
pub fn man() -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut text)?;
    for sub in Args::command().get_subcommands() {
        clap_mangen::Man::new(sub.clone().disable_help_subcommand(true)).render(&mut text)?;
        for below in sub.get_subcommands() {
            let name = format!("{}-{}", sub.get_name(), below.get_name());
            let page = below.clone().display_name(name).disable_help_subcommand(true);
            clap_mangen::Man::new(page).render(&mut text)?;
        }
    }
    std::io::stdout().lock().write_all(&text)?;
    Ok(Exit::Done)
}

/// A manual page for each command, in a folder.
pub fn pages(folder: &Path) -> Result<Exit, Failure> {
    let named = || format!("cannot write manual pages into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named).map_err(Failure::usage)?;
    clap_mangen::generate_to(Args::command(), folder).with_context(named).map_err(Failure::usage)?;
    Ok(Exit::Done)
}
