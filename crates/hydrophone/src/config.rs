//! What the arguments and the configuration file mean together.

use std::path::Path;

use anyhow::{Context, ensure};
use behaviour::Settings;
use ipnet::IpNet;
use pipeline::{ByteSize, CONFIG_VERSION as VERSION, MAX_LOSS_PERCENT, PSEUDONYMS, RunOptions};
use serde::{Deserialize, Serialize};
use verdict::Prior;

use crate::Failure;
use crate::args::Judging;

/// The configuration, as the file has it and `--print-config` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The version of this form.
    pub version: u32,
    /// Local networks; empty to find out.
    #[serde(deserialize_with = "networks")]
    pub home: Vec<IpNet>,
    /// Threads, ≥ 1.
    pub threads: usize,
    /// The memory budget.
    pub memory: String,
    /// Shares that the network is analysed in: 1, 2, 4 … 64.
    pub shares: u32,
    /// Whether each VLAN and overlay has hosts of its own.
    pub separate_segments: bool,
    /// How many hosts are thought to be infected before one looks.
    pub prior: Prior,
    /// Forgotten flows, in percent of all, beyond which the exit code is 4.
    pub max_loss_percent: f64,
    /// Settings of the behaviours.
    pub behaviour: Settings,
}

/// What the entries of the file's first part mean.
const MEANS: [(&str, &str); 8] = [
    ("version", "The version of this file's form."),
    (
        "home",
        "Local networks (\"10.0.0.0/8\", \"192.0.2.7\"), whose hosts are judged; empty: they are found out.",
    ),
    ("threads", "Threads, from 1 on."),
    (
        "memory",
        "The budget of flows, streams and hosts: what is beyond is forgotten, the least telling first, and told.",
    ),
    ("shares", "Shares that the network is analysed in, as several machines would: 1, 2, 4 … 64."),
    (
        "separate_segments",
        "Whether each VLAN and overlay has hosts of its own, where their addresses repeat.",
    ),
    ("prior", "How many hosts are thought to be infected before one looks."),
    ("max_loss_percent", "Forgotten flows, in percent of all, beyond which the exit code is 4."),
];

/// Networks in the file are read as on the command line.
fn networks<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let entries = Vec::<String>::deserialize(from)?;
    entries.iter().map(|e| behaviour::parse_network(e).map_err(serde::de::Error::custom)).collect()
}

impl Default for Config {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            version: VERSION,
            home: Vec::new(),
            threads: processors.min(2),
            memory: RunOptions::MEMORY.to_string(),
            shares: 1,
            separate_segments: false,
            prior: Prior::default(),
            max_loss_percent: MAX_LOSS_PERCENT,
            behaviour: Settings::default(),
        }
    }
}

impl Config {
    /// The file, if there is one, with the arguments over it.
    pub fn of(args: &Judging) -> Result<Self, Failure> {
        let mut config = match &args.config {
            Some(path) => Self::from_file(path).map_err(Failure::usage)?,
            None => Self::default(),
        };
        if !args.home.is_empty() {
            config.home.clone_from(&args.home);
        }
        if args.subscribers.is_some() {
            config.home.retain(|n| *n != PSEUDONYMS.into());
            config.home.push(PSEUDONYMS.into());
        }
        if let Some(threads) = args.threads {
            config.threads = threads;
        }
        if let Some(memory) = args.memory {
            config.memory = memory.to_string();
        }
        if let Some(shares) = args.shares {
            config.shares = shares;
        }
        if let Some(prior) = args.prior {
            config.prior = prior;
        }
        config.separate_segments |= args.separate_segments;
        config.memory().map_err(Failure::usage)?;
        Ok(config)
    }

    fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let table = text.parse::<toml::Table>().unwrap_or_default();
        ensure!(
            !table.contains_key("prior_db"),
            "{}: prior_db is now prior, a share of hosts: -30 is prior = \"1/1000\"",
            path.display()
        );
        let form: Option<i64> = table.get("version").and_then(toml::Value::as_integer);
        ensure!(
            form.is_none_or(|v| v == i64::from(VERSION)),
            "{} is a configuration of version {}, and this hydrophone reads version {VERSION}: compare with --print-config",
            path.display(),
            form.unwrap_or_default()
        );
        toml::from_str(&text)
            .with_context(|| format!("{} is not a configuration (see --print-config)", path.display()))
    }

    /// The file that says all of it, with what each entry means.
    pub fn shown(&self) -> Result<String, toml::ser::Error> {
        let mut out = String::new();
        let mut in_first = true;
        for line in toml::to_string(self)?.lines() {
            in_first &= !line.starts_with('[');
            let table = line.strip_prefix("[behaviour.").and_then(|rest| rest.strip_suffix(']'));
            if let Some(b) = table.and_then(behaviour::entry) {
                let page = b.manual();
                let sees = page.lines().skip(1).take_while(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
                let first = sees.split_inclusive(". ").next().unwrap_or_default().trim();
                out.push_str(&format!("# {first} More: hydrophone behaviours {}\n", b.name));
            }
            let key = line.split(" = ").next().unwrap_or_default();
            if let Some((_, means)) = MEANS.iter().find(|(of, _)| in_first && *of == key) {
                out.push_str(&format!("# {means}\n"));
            }
            out.push_str(line);
            out.push('\n');
        }
        Ok(out)
    }

    /// Names of the entries beside the behaviours' that say something else than in another.
    pub fn unlike(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            self.version != other.version,
            self.home != other.home,
            self.threads != other.threads,
            self.memory != other.memory,
            self.shares != other.shares,
            self.separate_segments != other.separate_segments,
            self.prior != other.prior,
            self.max_loss_percent.to_bits() != other.max_loss_percent.to_bits(),
        ];
        MEANS.iter().zip(differs).filter(|(_, differs)| *differs).map(|((name, _), _)| *name).collect()
    }

    /// The memory budget.
    pub fn memory(&self) -> anyhow::Result<ByteSize> {
        self.memory.parse().map_err(|e| anyhow::anyhow!("memory: {e}"))
    }
}
