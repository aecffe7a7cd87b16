//! Writes the captures under `samples/`: `cargo run --release -p hydrophone-testkit --bin samples -- samples`.

use std::path::Path;

use anyhow::Context;
use testkit::{office, scenarios};

fn main() -> anyhow::Result<()> {
    let dir = std::env::args().nth(1).context("usage: samples FOLDER")?;
    let dir = Path::new(&dir);
    for (name, make) in scenarios::ALL {
        std::fs::write(dir.join(format!("{name}.pcapng")), make().pcapng())?;
    }
    let (script, _) = office::day(Some(&scenarios::Variant::newer()));
    let packed = zstd::stream::encode_all(&script.pcapng()[..], 19)?;
    std::fs::write(dir.join("office-day.pcapng.zst"), packed)?;
    Ok(())
}
