//! `hydrophone selftest`: built-in captures with known answers.

use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use capture::Source;
use pipeline::{RunOptions, run as run_pipeline};
use verdict::Verdict;

use crate::rights::{self, Needs};
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

/// A capture of a bot, and its host.
pub const A_BOT: (Source, &str) =
    (Source::Memory("kraken-new.pcapng", include_bytes!("../../../samples/kraken-new.pcapng")), BOT);

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

/// Has a process of its own give up what `listen` gives up, and try what must not be possible any more.
pub fn sandbox(within: Option<&Path>) -> Result<Exit, Failure> {
    let program = std::env::current_exe()?;
    let Some(dir) = within else {
        // Who has no rights cannot tidy up.
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("named"))?;
        let mut tried = Command::new(program);
        let done = tried.args(["selftest", "--sandbox", "--within"]).arg(dir.path()).status()?;
        return Ok(if done.success() { Exit::Done } else { Exit::Partial });
    };
    let named = dir.join("named");
    let inside = named.join("state");
    // In the place of a socket at which it is listened.
    let mut ear = std::fs::File::create(named.join("ear"))?;
    let needs = Needs { writes: vec![named], mute: vec![ear.as_raw_fd()], ..Needs::default() };
    let mut kept = rights::step_down(None).map_err(Failure::input)?;
    kept.extend(rights::give_up(&needs).map_err(Failure::input)?);
    let written = std::fs::write(&inside, b"state").and_then(|()| std::fs::read(&inside));
    let tried = [
        ("writes and reads in a folder that was named", written.is_ok()),
        ("reads no other file", std::fs::read(&program).is_err()),
        ("writes no other file", std::fs::write(dir.join("other"), b"x").is_err()),
        ("opens no socket of IP", UdpSocket::bind("127.0.0.1:0").is_err()),
        ("opens no socket of this machine", UnixDatagram::unbound().is_err()),
        ("sends nothing where it listens", ear.write(b"x").is_err() && ear.try_clone().is_err()),
        ("runs no program", Command::new(&program).arg("--version").output().is_err()),
    ];
    let mut out = anstream::stdout().lock();
    for (what, holds) in tried {
        writeln!(out, "{}  {what}", if holds { "ok   " } else { "WRONG" })?;
    }
    for why in &kept {
        writeln!(out, "note   {why}")?;
    }
    Ok(if tried.iter().all(|(_, holds)| *holds) { Exit::Done } else { Exit::Partial })
}
