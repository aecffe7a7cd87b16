//! The project's own tools: `cargo run --release -p hydrophone-testkit -- evaluate MANIFEST`.

mod bulk;
mod halves;
mod logs;
mod seeds;
mod tables;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use testkit::{evaluate, office, scenarios};

const USAGE: &str = "usage: testkit evaluate [MANIFEST]   measures, and writes docs/evaluation.md, docs/evaluation.csv,\n\
     \u{20}                                 docs/blind-spots.md and crates/verdict/calibration.toml\n\
     \u{20}      testkit samples FOLDER        writes the captures under samples/\n\
     \u{20}      testkit seeds FOLDER          writes seeds for the fuzz targets\n\
     \u{20}      testkit isp SUBSCRIBERS [MEM]  judges a synthetic provider's NetFlow, sampled 1:1, 1:100 and 1:1000\n\
     \u{20}      testkit logs FORM FLOWS       writes flows of 100,000 hosts and 30 days as zeek, zeek-json or eve";

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("evaluate") => {
            let manifest = args
                .next()
                .map(PathBuf::from)
                .or_else(evaluate::corpus)
                .context("no corpus: name its manifest, or set HYDROPHONE_CORPUS")?;
            tables::write(&manifest, Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").as_path())
        }
        // One half of the corpus by the rates of the other: what `evaluate` runs.
        Some("half") => {
            let mut path = || args.next().map(PathBuf::from).context(USAGE);
            let (manifest, rates) = (path()?, path()?);
            let which = args.next().context(USAGE)?.parse()?;
            let row = halves::judge(&manifest, &rates, which)?;
            std::io::stdout().write_all(row.as_bytes())?;
            Ok(())
        }
        // Logs as long as months of them, to standard output.
        Some("logs") => {
            let form = args.next().context(USAGE)?;
            let rows = args.next().context(USAGE)?.parse()?;
            bulk::write(
                &form,
                rows,
                &mut std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock()),
            )
        }
        // What is found of a provider's subscribers where one in so many packets is looked at.
        Some("isp") => {
            let subscribers = args.next().context(USAGE)?.parse()?;
            let memory = args.next().as_deref().unwrap_or("1GiB").parse().map_err(anyhow::Error::msg)?;
            let mut out = std::io::stdout().lock();
            writeln!(
                out,
                "| one in | kind | subscribers | seen | suspicious | likely | infected |\n|---|---|---|---|---|---|---|"
            )?;
            for sampling in [1, 100, 1_000] {
                for (kind, [all, seen, suspicious, likely, infected]) in
                    testkit::isp::judge(subscribers, sampling, memory)?
                {
                    writeln!(
                        out,
                        "| {sampling} | {kind:?} | {all} | {seen} | {suspicious} | {likely} | {infected} |"
                    )?;
                }
            }
            Ok(())
        }
        Some("seeds") => seeds::write(Path::new(&args.next().context(USAGE)?)),
        Some("samples") => samples(Path::new(&args.next().context(USAGE)?)),
        _ => bail!(USAGE),
    }
}

fn samples(dir: &Path) -> anyhow::Result<()> {
    for (name, make) in scenarios::ALL {
        std::fs::write(dir.join(format!("{name}.pcapng")), make().pcapng())?;
    }
    let (script, _) = office::day(Some(&scenarios::Variant::newer()));
    let packed = zstd::stream::encode_all(&script.pcapng()[..], 19)?;
    std::fs::write(dir.join("office-day.pcapng.zst"), packed)?;
    Ok(())
}
