//! `hydrophone-cluster`: the same analysis of a store, here or on more than one machine.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use behaviour::{Expectations, Settings};
use clap::{Args, Parser, Subcommand};
use datafusion::arrow::csv;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::util::pretty::pretty_format_batches;
use hydrophone_cluster::analysis::{self, Analysed, Asked, Unfinished};
use hydrophone_cluster::engine::Engine;
use hydrophone_cluster::nodes::Address;
use hydrophone_cluster::sql::{self, Answer, Unanswered};
use hydrophone_cluster::{Judging, nodes};
use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use pipeline::{Budget, ByteSize, CONFIG_VERSION, MAX_LOSS_PERCENT, RunOptions, Worth, capture_line, worth};
use report::{CaptureLine, Detail, Line, terminal};
use tokio::signal::unix::{SignalKind, signal};
use verdict::{Calibration, Prior};

/// Analyses a store of records, on this machine or on more than one.
#[derive(Parser)]
#[command(version, name = "hydrophone-cluster")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Analyse a store.
    Analyse(Analyse),
    /// Ask a store by SQL: a table for each kind of record (conn, dns, http …), and hosts and evidence of its newest analysis.
    Sql {
        /// The store.
        store: PathBuf,
        /// The question: "SELECT …".
        question: String,
        /// The scheduler of a cluster: df://HOST:PORT. Without it everything runs here.
        #[arg(long, value_name = "URL")]
        cluster: Option<Address>,
        /// Memory for sorting and joining.
        #[arg(long, default_value = "1GiB")]
        memory: ByteSize,
        /// Seconds that a cluster may take.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        patience: u64,
        /// How the answer is printed.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Serve as scheduler of a cluster. Its port asks nobody who he is: bind it to loopback or a network of its own.
    Scheduler {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:50050")]
        bind: SocketAddr,
    },
    /// Work for a scheduler. Its ports ask nobody who he is, either.
    Executor {
        /// The scheduler.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
        scheduler: Address,
        /// The address to listen at.
        #[arg(long, default_value = "127.0.0.1")]
        bind: IpAddr,
        /// What others call this machine: its address or name; the address that it listens at, or where it listens everywhere its host name.
        #[arg(long)]
        host: Option<String>,
        /// Where rows lie while a job runs.
        #[arg(long, value_name = "FOLDER")]
        work: Option<PathBuf>,
        /// Memory for sorting; the analyst's own stands beside it.
        #[arg(long, default_value = "1GiB")]
        memory: ByteSize,
        /// Payoffs in place of the built-in ones: the same everywhere.
        #[arg(long, value_name = "FILE")]
        payoffs: Option<PathBuf>,
    },
}

/// How an answer is printed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

#[derive(Args)]
struct Analyse {
    /// The store: a folder that every executor reaches by this name, or s3://BUCKET/PREFIX.
    store: PathBuf,
    /// The scheduler of a cluster: df://HOST:PORT. Without it everything runs here.
    #[arg(long, value_name = "URL")]
    cluster: Option<Address>,
    /// Local networks; those that the store is filed by, where none are given.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    home: Vec<IpNet>,
    /// Shares that a site is analysed in, each by itself: 1, 2, 4 … 64 [default: 8].
    #[arg(long)]
    shares: Option<u32>,
    /// Tasks that a site's shares are divided into [default: 4, or as many as there are shares].
    #[arg(long)]
    ranges: Option<u32>,
    /// Tasks that run at a time.
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// Memory: half of it for sorting, and what hosts' files may hold in all shares [default: 1GiB].
    #[arg(long)]
    memory: Option<ByteSize>,
    /// What one believes of a host before looking [default: 1/1000].
    #[arg(long)]
    prior: Option<Prior>,
    /// What is expected of hosts.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Lists of indicators.
    #[arg(long, value_name = "FILE")]
    intel: Vec<PathBuf>,
    /// Payoffs in place of the built-in ones: the same everywhere.
    #[arg(long, value_name = "FILE")]
    payoffs: Option<PathBuf>,
    /// A configuration of `hydrophone read`: how hosts are judged; what is said here goes before it.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do everything again, whatever was published before.
    #[arg(long)]
    anew: bool,
    /// Seconds that an attempt at a task may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    patience: u64,
    /// Attempts at a task.
    #[arg(long, default_value_t = 4)]
    attempts: usize,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// Every host, also those that are quiet.
    #[arg(short, long)]
    all: bool,
}

/// The exit code where not everything was read, or analysed.
const PARTIAL: u8 = 3;
/// The exit code where more was forgotten than may be.
const LOSSES: u8 = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Analyse(args) => analyse(&args),
        Command::Sql { store, question, cluster, memory, patience, format } => {
            ask(&store, (&question, patience), cluster.as_ref(), memory, format)
        }
        Command::Scheduler { bind } => serve(nodes::scheduler(bind)).map(|()| ExitCode::SUCCESS),
        Command::Executor { scheduler, bind, host, work, memory, payoffs: given } => {
            payoffs(given.as_deref())
                .and_then(|()| {
                    let work = work.unwrap_or_else(std::env::temp_dir);
                    // It hears signals itself, and ends what it does first.
                    runtime()?.block_on(nodes::executor(nodes::Executor {
                        scheduler,
                        bind,
                        host,
                        work,
                        memory: memory.0,
                    }))
                })
                .map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|e| {
        say(&format!("{e:#}"));
        // Who asked rightly, and got no answer, is told so by another code than who asked wrongly.
        let is_late = e.downcast_ref::<Unfinished>().is_some() || e.downcast_ref::<Unanswered>().is_some();
        ExitCode::from(if is_late { PARTIAL } else { 2 })
    })
}

#[allow(clippy::print_stderr)] // What a person is told.
fn say(what: &str) {
    eprintln!("{}", report::clean(what));
}

/// Serves until a signal: the first process of a container has no other end.
fn serve(node: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut ended = signal(SignalKind::terminate())?;
        tokio::select! {
            served = node => served,
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = ended.recv() => Ok(()),
        }
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn payoffs(path: Option<&std::path::Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = read(path)?;
    let made = Calibration::built_in().giving(&path.display().to_string(), &text);
    made.map_err(anyhow::Error::msg)?.put_in_use();
    Ok(())
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A configuration of `hydrophone read`. What is of captures alone says nothing here, and no other word is passed over.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    version: u32,
    home: Vec<String>,
    #[serde(rename = "threads")]
    _threads: Option<usize>,
    memory: Option<String>,
    shares: Option<u32>,
    separate_segments: bool,
    prior: Option<Prior>,
    max_loss_percent: f64,
    behaviour: Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: CONFIG_VERSION,
            home: Vec::new(),
            _threads: None,
            memory: None,
            shares: None,
            separate_segments: false,
            prior: None,
            max_loss_percent: MAX_LOSS_PERCENT,
            behaviour: Settings::default(),
        }
    }
}

impl Config {
    fn of(args: &Analyse) -> anyhow::Result<Self> {
        let Some(path) = &args.config else { return Ok(Self::default()) };
        let config: Self = toml::from_str(&read(path)?).with_context(|| {
            format!("{} is not a configuration (see hydrophone read --print-config)", path.display())
        })?;
        anyhow::ensure!(
            config.version == CONFIG_VERSION,
            "{} is a configuration of version {}, and this program reads version {CONFIG_VERSION}",
            path.display(),
            config.version
        );
        anyhow::ensure!(
            !config.separate_segments,
            "{}: separate_segments is for `hydrophone read` alone: here the hosts of all VLANs and overlays are judged by their addresses",
            path.display()
        );
        Ok(config)
    }

    fn memory(&self, args: &Analyse) -> anyhow::Result<ByteSize> {
        let given = |text: &String| text.parse().map_err(|e| anyhow::anyhow!("memory: {e}"));
        Ok(match (args.memory, &self.memory) {
            (Some(memory), _) => memory,
            (None, Some(text)) => given(text)?,
            (None, None) => RunOptions::MEMORY,
        })
    }

    fn shares(&self, args: &Analyse) -> u32 {
        args.shares.or(self.shares).unwrap_or(8)
    }
}

fn judging(args: &Analyse, config: &Config) -> anyhow::Result<Judging> {
    payoffs(args.payoffs.as_deref())?;
    let expectations = match &args.expect {
        Some(path) => {
            Expectations::parse(&read(path)?).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?
        }
        None => Expectations::default(),
    };
    let mut intel = Vec::new();
    for path in &args.intel {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        intel.push((name, read(path)?));
    }
    let mut home = args.home.clone();
    if home.is_empty() {
        let networks = config.home.iter().map(|text| behaviour::parse_network(text));
        home = networks.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    }
    let limits = Budget::divide(config.memory(args)?, 1, false).analyst.shared(config.shares(args));
    Ok(Judging {
        home,
        settings: config.behaviour.clone(),
        prior: args.prior.or(config.prior).unwrap_or_default(),
        expectations,
        intel,
        bytes: limits.bytes,
        hosts: limits.hosts,
    })
}

/// Where plans run.
fn engine(cluster: Option<&Address>, memory: ByteSize) -> anyhow::Result<Engine> {
    Ok(match cluster {
        Some(at) => Engine::cluster(at.to_string()),
        None => Engine::Embedded(nodes::runtime(None, Some((memory.0 / 2) as usize))?),
    })
}

fn ask(
    store: &std::path::Path,
    (question, patience): (&str, u64),
    cluster: Option<&Address>,
    memory: ByteSize,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let catalog = analysis::open(store)?;
    let place = analysis::Place::of(store)?;
    let engine = engine(cluster, memory)?;
    let tables = nodes::runtime(None, Some((memory.0 / 2) as usize))?;
    let asked = (question, Duration::from_secs(patience));
    let Answer { rows: answer, of } =
        runtime()?.block_on(sql::ask(&catalog, &place, &engine, tables, asked))?;
    let mut failures = catalog.failures().to_vec();
    if let Some(of) = of {
        say(&of.said);
        failures.extend(of.failures);
    }
    catalog.notices().iter().chain(&failures).for_each(|what| say(what));
    let mut text = Vec::new();
    match format {
        Format::Table => text = pretty_format_batches(&answer)?.to_string().into_bytes(),
        Format::Csv => {
            let mut writer = csv::Writer::new(&mut text);
            answer.iter().try_for_each(|batch| writer.write(batch))?;
        }
        Format::Json => {
            let mut writer = LineDelimitedWriter::new(&mut text);
            writer.write_batches(&answer.iter().collect::<Vec<_>>())?;
            writer.finish()?;
        }
    }
    let mut out = std::io::stdout().lock();
    let lines = String::from_utf8_lossy(&text);
    unless_nobody_reads(lines.lines().try_for_each(|line| writeln!(out, "{}", report::clean(line))))?;
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PARTIAL) })
}

/// Who reads no further has read enough: what there is to be said besides is said all the same.
fn unless_nobody_reads(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn analyse(args: &Analyse) -> anyhow::Result<ExitCode> {
    let config = Config::of(args)?;
    let (judging, shares) = (judging(args, &config)?, config.shares(args));
    let catalog = analysis::open(&args.store)?;
    let engine = engine(args.cluster.as_ref(), config.memory(args)?)?;
    let asked = Asked {
        store: args.store.clone(),
        shares,
        ranges: args.ranges.unwrap_or_else(|| shares.min(4)),
        parallel: args.parallel,
        judging,
        anew: args.anew,
        patience: Duration::from_secs(args.patience),
        attempts: args.attempts,
    };
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} rows ETA {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    let progress = |rows: u64, of: u64| {
        bar.set_length(of);
        bar.set_position(rows);
    };
    let run = analysis::analyse(&asked, &catalog, &engine, progress);
    let done = runtime()?.block_on(async {
        let mut ended = signal(SignalKind::terminate())?;
        let done = tokio::select! {
            done = run => return done,
            _ = tokio::signal::ctrl_c() => "interrupted: what is done stays done, and the same command goes on from there",
            _ = ended.recv() => "ended: what is done stays done, and the same command goes on from there",
        };
        engine.give_up().await;
        Err(anyhow::anyhow!(done).context(Unfinished))
    });
    bar.finish_and_clear();
    let Analysed { outcome, records, folder, from, before, retried } = done?;
    for what in &retried {
        say(&format!("tried again: {what}"));
    }
    let capture = capture_line(&outcome, false);
    let printed = print(args, &capture, &outcome);
    for failure in &outcome.failures {
        say(failure);
    }
    // What comes to these days from now on is said to have come late.
    if outcome.failures.is_empty()
        && let Err(e) = catalog.analysed().note()
    {
        say(&format!("that these days were analysed could not be noted: {e}"));
    }
    let mut told =
        format!("{records} records were analysed; what was found is in {}/{folder}", args.store.display());
    if engine.largest_plan() > 0 {
        let bytes = report::human_bytes(engine.largest_plan() as u64);
        told += &format!("; the largest plan that was sent had {bytes}");
    }
    if before > 0 {
        told += &format!("; {before} tasks were done before");
    }
    if let Some(from) = from {
        told += &format!("; it goes on from {from}");
    }
    say(&told);
    unless_nobody_reads(printed)?;
    Ok(match worth(&capture, &outcome, config.max_loss_percent) {
        Worth::Whole => ExitCode::SUCCESS,
        Worth::Partial => ExitCode::from(PARTIAL),
        Worth::Lossy => ExitCode::from(LOSSES),
    })
}

fn print(args: &Analyse, capture: &CaptureLine, outcome: &pipeline::Outcome) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    if args.json {
        let hosts = outcome.stories.iter().map(|s| Line::Host(std::borrow::Cow::Borrowed(s)));
        for line in std::iter::once(Line::Capture(std::borrow::Cow::Borrowed(capture))).chain(hosts) {
            writeln!(out, "{}", line.to_json().map_err(std::io::Error::other)?)?;
        }
    } else {
        let detail = if args.all { Detail::Each } else { Detail::Summary };
        out.write_all(terminal(capture, &outcome.stories, detail, true, None).as_bytes())?;
    }
    out.flush()
}
