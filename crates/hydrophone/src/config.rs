//! What the arguments and the configuration file mean together.

use std::path::Path;

use anyhow::{Context, ensure};
use behaviour::Settings;
use ipnet::IpNet;
use pipeline::{ByteSize, RunOptions};
use serde::{Deserialize, Serialize};
use verdict::Prior;

use crate::Failure;
use crate::args::Read;

/// Losses beyond this share of flows end with exit code 4.
const MAX_LOSS_PERCENT: f64 = 1.0;

/// The version of the form that is read and written.
const VERSION: u32 = 1;

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
    pub fn of(args: &Read) -> Result<Self, Failure> {
        let mut config = match &args.config {
            Some(path) => Self::from_file(path).map_err(Failure::usage)?,
            None => Self::default(),
        };
        if !args.home.is_empty() {
            config.home.clone_from(&args.home);
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

    /// The memory budget.
    pub fn memory(&self) -> anyhow::Result<ByteSize> {
        self.memory.parse().map_err(|e| anyhow::anyhow!("memory: {e}"))
    }
}
