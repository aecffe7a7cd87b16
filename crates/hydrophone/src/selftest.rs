//! `hydrophone selftest`: built-in captures with known answers.

use std::io::Write;

use capture::Source;
use pipeline::{RunOptions, run as run_pipeline};
use verdict::Verdict;

use crate::{Exit, Failure};

/// What a built-in capture must come to.
enum Must {
    /// The bot's host reaches at least this.
    Find(Verdict),
    /// No host reaches this.
    StayBelow(Verdict),
}

/// The host that the bot lives on in every scenario.
const BOT: &str = "10.20.0.13";

macro_rules! sample {
    ($name:literal, $must:expr) => {
        ($name, include_bytes!(concat!("../../../samples/", $name)).as_slice(), $must)
    };
}

const SAMPLES: &[(&str, &[u8], Must)] = &[
    sample!("kraken-old.pcapng", Must::Find(Verdict::Infected)),
    sample!("kraken-new.pcapng", Must::Find(Verdict::Infected)),
    sample!("kraken-fallback.pcapng", Must::Find(Verdict::Infected)),
    sample!("kraken-blocked.pcapng", Must::Find(Verdict::Suspicious)),
    sample!("kraken-mutated.pcapng", Must::Find(Verdict::Likely)),
    sample!("clean-mail-server.pcapng", Must::StayBelow(Verdict::Likely)),
    sample!("clean-newsletter.pcapng", Must::StayBelow(Verdict::Likely)),
    sample!("clean-monitor.pcapng", Must::StayBelow(Verdict::Likely)),
    sample!("clean-bittorrent-vpn.pcapng", Must::StayBelow(Verdict::Likely)),
    sample!("clean-browser-news.pcapng", Must::StayBelow(Verdict::Likely)),
    sample!("clean-newsreader.pcapng", Must::StayBelow(Verdict::Likely)),
];

pub fn run() -> Result<Exit, Failure> {
    let mut out = anstream::stdout().lock();
    let mut failed = 0;
    for (name, bytes, must) in SAMPLES {
        let options = RunOptions::of(vec![Source::Memory(name, bytes)]);
        let outcome = run_pipeline(&options, |_| ()).map_err(Failure::input)?;
        let bot = outcome.stories.iter().find(|s| s.host.to_string() == BOT);
        let worst = outcome.stories.first();
        let (good, what) = match must {
            Must::Find(at_least) => {
                let others =
                    outcome.stories.iter().any(|s| s.host.to_string() != BOT && s.verdict >= Verdict::Likely);
                (
                    bot.is_some_and(|s| s.verdict >= *at_least) && !others,
                    format!("{BOT} at least {at_least}, nobody else likely"),
                )
            }
            Must::StayBelow(limit) => {
                (worst.is_none_or(|s| s.verdict < *limit), format!("everybody below {limit}"))
            }
        };
        failed += usize::from(!good);
        let got = bot.or(worst).map_or_else(
            || "no host".to_owned(),
            |s| format!("{} {} {:+.1} dB", s.host, s.verdict, s.level_db),
        );
        writeln!(out, "{}  {name}: {got} (must be: {what})", if good { "ok    " } else { "FAILED" })?;
    }
    writeln!(out, "{} passed, {failed} failed", SAMPLES.len() - failed)?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Partial })
}
