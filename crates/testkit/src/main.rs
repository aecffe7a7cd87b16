//! The project's own tools: `cargo run --release -p hydrophone-testkit -- evaluate MANIFEST`.

mod bulk;
mod halves;
mod logs;
mod seeds;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use testkit::{evaluate, office, scenarios};

const USAGE: &str = "usage: testkit evaluate [MANIFEST]   measures, and writes docs/evaluation.md, docs/evaluation.csv,\n\
     \u{20}                                 docs/blind-spots.md and crates/verdict/calibration.toml\n\
     \u{20}      testkit samples FOLDER        writes the captures under samples/\n\
     \u{20}      testkit seeds FOLDER          writes seeds for the fuzz targets\n\
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
            std::io::Write::write_all(&mut std::io::stdout(), row.as_bytes())?;
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
