//! The command line: arguments → checked configuration → pipeline → exit code.

mod args;
mod check;
mod config;
mod daily;
mod desk;
mod diff;
mod evidence;
mod explain;
mod find;
mod formats;
mod geo;
mod inbox;
mod keep;
mod knowledge;
mod listen;
mod manual;
mod notify;
mod opened;
mod read;
mod rights;
mod room;
mod selftest;
mod serve;
mod status;
mod store_care;
mod tell;
mod triage;
mod voice;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use clap::Parser;
use clap::error::ErrorKind;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{Args, Command};
/// Says something to whoever runs the program, beside what it prints.
use crate::voice::say;

/// What one thread allocates another frees, and memory must go back after a flood; measured against the system's allocator
/// and mimalloc in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the exit code says (DESIGN §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Done = 0,
    /// `--fail-on` was given and a host is at that level.
    Found = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Input unreadable or ended early; what was read is printed and says so.
    Partial = 3,
    /// More was lost than the limit allows.
    Losses = 4,
}

/// An error with the exit code that it deserves.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// The user's fault: arguments or configuration.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }

    /// Nothing, where it is only that nobody reads any more.
    pub fn unless_nobody_reads(self) -> Result<(), Self> {
        if is_broken_pipe(&self.error) { Ok(()) } else { Err(self) }
    }

    /// The input's fault.
    pub fn input(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Partial, error: error.into() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::input(error)
    }
}

/// Whether an error is only that nobody reads any more, which is success.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// What is set when somebody interrupts or ends the program (SIGINT, SIGTERM): whoever works looks at it, and comes to an end. The second time ends
/// it at once. No thread waits for it, so that rights that are given up are given up by all there is.
fn interrupted() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let listen = || {
        let flag = Arc::<AtomicBool>::default();
        for signal in [SIGINT, SIGTERM] {
            // Without a handler an interrupt ends the program, which loses what was not written and nothing else.
            let _ = flag::register_conditional_shutdown(signal, Exit::Partial as i32, flag.clone());
            let _ = flag::register(signal, flag.clone());
        }
        flag
    };
    FLAG.get_or_init(listen).clone()
}

/// What somebody meant who wrote a capture where a command stands, as other programs have it: `hydrophone FILE`, `hydrophone -r FILE`.
fn meant(error: &clap::Error) -> Option<String> {
    let mut words = std::env::args_os().skip(1);
    let first = words.next()?;
    let input = match error.kind() {
        ErrorKind::InvalidSubcommand => first,
        ErrorKind::UnknownArgument if first == "-r" || first == "--read" => words.next()?,
        _ => return None,
    };
    let is_input = store::is_bucket(Path::new(&input)) || Path::new(&input).exists();
    is_input.then(|| format!("hydrophone: to read {0}, write: hydrophone read {0}", input.to_string_lossy()))
}

/// An error with its causes, each once: some say what theirs say.
fn chain(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            if let Some(meant) = meant(&e) {
                let _ = writeln!(anstream::stderr().lock(), "{}", report::clean(&meant));
                return ExitCode::from(Exit::Usage as u8);
            }
            e.exit()
        }
    };
    let done = match args.command {
        Command::Read(read) => read::run(&read),
        Command::Listen(listen) => listen::run(&listen),
        Command::Check(listen) => check::run(&listen),
        Command::Status(status) => status::run(&status),
        Command::Tell(tell) => tell::run(&tell),
        Command::Triage(triage) => triage::run(&triage),
        Command::Find(find) => find::run(&find),
        Command::Store { what } => store_care::run(&what),
        Command::Explain(explain) => explain::run(&explain),
        Command::Serve(serve) => serve::run(&serve),
        Command::Carve(carve) => evidence::carve(&carve),
        Command::Bundle(bundle) => evidence::bundle(&bundle),
        Command::Desk(args) => desk::desk(&args),
        Command::Verify { bundle } => evidence::verify(&bundle),
        Command::Diff { before, after } => diff::run(&before, &after),
        Command::Behaviours { name } => manual::behaviours(name.as_deref()),
        Command::Selftest { sandbox: true, within } => selftest::sandbox(within.as_deref()),
        Command::Selftest { .. } => selftest::run(),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { to: None } => manual::man(),
        Command::Man { to: Some(folder) } => manual::pages(&folder),
    };
    match done {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) if is_broken_pipe(&failure.error) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&chain(&failure.error));
            ExitCode::from(failure.exit as u8)
        }
    }
}
