//! What the user typed. What it means is decided in `config`.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use case::TriageState;
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;
use pipeline::ByteSize;
use record::Timestamp;
use verdict::{Prior, Verdict};

/// Which of my hosts is a bot, and how do you know?
///
/// Hydrophone reads captures, logs and flow exports, or listens to interfaces; it tells per local host what it did in order,
/// how sure that is, and which packets prove it. It sends nothing to those it listens to.
#[derive(Debug, Parser)]
#[command(name = "hydrophone", version = env!("HYDROPHONE_VERSION"), propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read captures and judge every local host (the main job)
    Read(Box<Read>),
    /// Listen to interfaces as a sensor does, and tell when a host turns (Linux; needs CAP_NET_RAW)
    Listen(Box<Listen>),
    /// Say what `listen` with the same options would do, and what stands in its way
    Check(Box<Listen>),
    /// Say how a running `listen --control SOCKET` goes
    Status(Status),
    /// Tell sinks (files, syslog, mail, webhooks, programs) of hosts that turned: reads the lines of `listen --json`
    Tell(Tell),
    /// Say of a host that a running sensor tells of that it is known or closed, so that it tells no more of it; or list what was said
    Triage(Triage),
    /// Say who met an address, network, name, URL, fingerprint or certificate in a store, when and how often
    Find(Find),
    /// Look after a store: join its small files, forget its old days
    Store {
        /// What to do
        #[command(subcommand)]
        what: Store,
    },
    /// Say why, and why not: the complete arithmetic of one host of a case
    Explain(Explain),
    /// Look into a case with a browser: hosts, stories, flows, packets
    Serve(Serve),
    /// Cut out the packets that prove a host's story, and make sure that they tell it again
    Carve(Carve),
    /// Make a zip file to hand over: packets, report, STIX, XARF, mail, indicators, hashes
    Bundle(Bundle),
    /// For an abuse desk: one verdict a subscriber and day, and reports by the addresses that they had
    Desk(Desk),
    /// Check every file of a bundle against its manifest
    Verify {
        /// The bundle
        bundle: PathBuf,
    },
    /// Say what changed between two cases: new peers and ports, stages gained and lost, cadence
    Diff {
        /// The older case
        before: PathBuf,
        /// The newer case
        after: PathBuf,
    },
    /// List the behaviours, or print the manual page of one
    Behaviours {
        /// The behaviour
        name: Option<String>,
    },
    /// Analyse built-in captures: the bots must be found, the clean ones must stay below likely
    Selftest {
        /// Instead, give up what `listen` gives up, and make sure that it is gone: files elsewhere, sockets, programs
        #[arg(long)]
        sandbox: bool,
        /// Where it is tried
        #[arg(long, hide = true, requires = "sandbox")]
        within: Option<PathBuf>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page (roff)
    Man {
        /// Write a page for each command into this folder instead, as packages have them
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

/// A level for `--fail-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Anything but quiet: also a host that could not be judged
    Inconclusive,
    /// At least 10 dB, or a stage at its cap
    Suspicious,
    /// At least 30 dB and two stages
    Likely,
    /// At least 40 dB and two telling stages
    Infected,
}

impl Level {
    /// Whether a host of this verdict is at the level, or above it.
    pub fn is_reached(self, verdict: Verdict) -> bool {
        match self {
            Self::Inconclusive => verdict != Verdict::Quiet,
            Self::Suspicious => verdict >= Verdict::Suspicious,
            Self::Likely => verdict >= Verdict::Likely,
            Self::Infected => verdict >= Verdict::Infected,
        }
    }
}

/// A form in which a run is written for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The program's own lines
    Jsonl,
    /// Suricata's EVE
    Eve,
    /// The Elastic Common Schema
    Ecs,
    /// OCSF
    Ocsf,
    /// A table
    Csv,
    /// Zeek's logs
    Zeek,
}

impl Format {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

/// A form, and where it is written: `eve=alerts.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The form.
    pub format: Format,
    /// The file, or for Zeek the folder; none for standard output.
    pub path: Option<PathBuf>,
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').map_or((text, None), |(name, path)| (name, Some(path)));
        let format = Format::from_str(name, false).map_err(|_| {
            let all: Vec<String> = Format::value_variants().iter().map(|f| f.name()).collect();
            format!("{name:?} is no format [possible values: {}]", all.join(", "))
        })?;
        let path = match path {
            Some("") => return Err(format!("no file is named behind {name}=")),
            Some("-") | None => None,
            Some(path) => Some(PathBuf::from(path)),
        };
        Ok(Self { format, path })
    }
}

/// A time of day, as what has passed since midnight.
fn time_of_day(text: &str) -> Result<Duration, String> {
    let time: jiff::civil::Time = text.parse().map_err(|_| "write it as 08:00 or 08:00:00".to_owned())?;
    time.duration_since(jiff::civil::Time::midnight()).try_into().map_err(|e: jiff::Error| e.to_string())
}

/// How hosts are judged, whatever is read.
#[derive(Debug, clap::Args)]
pub struct Judging {
    /// Local networks and addresses, for example 192.168.0.0/16,203.0.113.7 (again for more) [default: private ranges, and for `read`
    /// what is found out where they explain too little]
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = behaviour::parse_network)]
    pub home: Vec<IpNet>,
    /// Threads, 1 or more: one reads and judges, the others follow flows [default: 2, or 1 on a single processor]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Memory budget, for example 512MiB or 2GiB; what does not fit is forgotten, counted and told [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// How many hosts are thought to be infected before one looks, for example 1/10 where a machine is suspected already: the verdicts' words move with it [default: 1/1000]
    #[arg(long, value_name = "1/N")]
    pub prior: Option<Prior>,
    /// Analyse the network in so many shares (1, 2, 4 … 64), as several machines would: a host belongs to one of them, by its address [default: 1]
    #[arg(long, value_name = "K")]
    pub shares: Option<u32>,
    /// Each VLAN and overlay (VXLAN, GENEVE) has hosts of its own: for links on which addresses repeat
    #[arg(long)]
    pub separate_segments: bool,
    /// Do not hash files in transfer: quicker where much is downloaded
    #[arg(long)]
    pub no_hashes: bool,
    /// Who had which address and ports when (CSV): hosts are subscribers then, under pseudonyms (see docs/scale.md)
    #[arg(long, value_name = "FILE", conflicts_with = "separate_segments")]
    pub subscribers: Option<PathBuf>,
    /// Key that is mixed into the pseudonyms (64 hexadecimal digits)
    #[arg(long, value_name = "KEYFILE", requires = "subscribers")]
    pub subscribers_key: Option<PathBuf>,
    /// What is expected of hosts (TOML); what fulfils it counts for nothing, and is counted (see docs/manual.md)
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Your own lists of indicators: lines, CSV, STIX 2.1 or MISP JSON; a file or a folder (again for more)
    #[arg(long, value_name = "PATH")]
    pub intel: Vec<PathBuf>,
    /// Say in which country and network (AS) remotes are, by your own databases in MaxMind's form: GeoLite2, DB-IP, IPinfo (again for more)
    #[arg(long, value_name = "FILE.mmdb")]
    pub geo: Vec<PathBuf>,
    /// Payoffs of your own (TOML: a table per behaviour, decibans by grade), in place of the built-in ones (see docs/manual.md)
    #[arg(long, value_name = "FILE")]
    pub payoffs: Option<PathBuf>,
    /// Configuration file (TOML); see --print-config for its form
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration that would be used, as TOML, and do nothing
    #[arg(long)]
    pub print_config: bool,
}

/// Read captures and judge every local host.
#[derive(Debug, clap::Args)]
pub struct Read {
    /// Captures (pcap, pcapng; plain or .gz .zst .lz4 .xz .bz2, also in .zip), logs of Zeek and Suricata, stores; directories are searched; - is standard input
    #[arg(required_unless_present = "print_config", value_name = "CAPTURE")]
    pub inputs: Vec<PathBuf>,
    /// Password of zip archives, where it is not `infected` (again for more)
    #[arg(long, value_name = "PASSWORD")]
    pub zip_password: Vec<String>,
    /// How hosts are judged
    #[command(flatten)]
    pub judging: Judging,
    /// Print JSON lines instead of the story: the capture first, then one object per host
    #[arg(long)]
    pub json: bool,
    /// Write for other programs: jsonl (as --json), eve, ecs, ocsf, csv, zeek (a folder); to FILE, or one of them instead of the story
    /// (again for more; see docs/formats.md)
    #[arg(long, value_name = "FORMAT[=FILE]")]
    pub format: Vec<To>,
    /// Keep everything in this folder: the JSON lines, the report as HTML, the flows, and the hashes of the inputs
    #[arg(short = 'o', long = "output", value_name = "CASE")]
    pub output: Option<PathBuf>,
    /// Write the report as one HTML page that needs no network and no script
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print Markdown instead of the story, for tickets
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Give a line to every host, also to those that did nothing, with what was seen of it
    #[arg(short, long)]
    pub all: bool,
    /// Go on from what earlier runs remember of every host, and remember for the next: a file, made where there is none
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Keep every record in this store as well, a folder or s3://BUCKET/PREFIX that is made where there is none: `read STORE` and `find STORE` ask it again
    #[arg(long, value_name = "STORE", conflicts_with = "state")]
    pub store: Option<PathBuf>,
    /// Leave out what came before (of stores and logs what became known before), for example 2026-11-01 or 2026-11-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Leave out what came then or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// Of stores, take this site alone (again for more)
    #[arg(long, value_name = "N")]
    pub site: Vec<u16>,
    /// Say which verdicts differ from those of this case, and why: what another version, threshold, list or expectation changes
    #[arg(long, value_name = "CASE", conflicts_with_all = ["json", "markdown"])]
    pub against: Option<PathBuf>,
    /// End with exit code 1 if a host is at this level or above
    #[arg(long, value_name = "LEVEL")]
    pub fail_on: Option<Level>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
}

/// Listen to interfaces, and tell when a host turns.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// Interface to listen to (again for more: what they carry is put in one order)
    #[arg(short, long, value_name = "NAME")]
    pub interface: Vec<String>,
    /// Log of Zeek or Suricata, or folder of logs, to follow as it grows, across rotations (again for more; what lies there already is read first)
    #[arg(long, value_name = "PATH")]
    pub follow: Vec<PathBuf>,
    /// Take EVE that Suricata sends to this socket, a file that is made (`filetype: unix_stream`; write dgram:SOCKET for `unix_dgram`)
    #[arg(long, value_name = "SOCKET", requires = "eve_folder")]
    pub eve_socket: Option<PathBuf>,
    /// Where its lines are kept and read from, as logs of which the oldest go
    #[arg(long, value_name = "FOLDER", requires = "eve_socket")]
    pub eve_folder: Option<PathBuf>,
    /// The most that this folder may hold
    #[arg(long, value_name = "SIZE", default_value = "1GiB", requires = "eve_socket")]
    pub eve_size: ByteSize,
    /// Take a capture that another program writes to this pipe (mkfifo) while it goes on, or to standard input (-): tcpdump -i eth0 -U -w - | hydrophone listen --pipe - (again for more; ends when standard input does and there is nothing else)
    #[arg(long, value_name = "PIPE")]
    pub pipe: Vec<PathBuf>,
    /// Take NetFlow and IPFIX that exporters send to this address, for example 0.0.0.0:2055 (again for more)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub netflow: Vec<SocketAddr>,
    /// Take only what this filter lets through, in tcpdump's words (tcpdump has to be there to compile it)
    #[arg(short, long, value_name = "EXPRESSION", conflicts_with = "bpf_file")]
    pub filter: Option<String>,
    /// The same as a program: what `tcpdump -ddd EXPRESSION` prints
    #[arg(long, value_name = "FILE")]
    pub bpf_file: Option<PathBuf>,
    /// Leave interfaces as they are, and see what is for this machine alone
    #[arg(long)]
    pub no_promiscuous: bool,
    /// Memory in which the kernel may keep packets that wait, a part of --memory [default: an eighth of it]
    #[arg(long, value_name = "SIZE")]
    pub ring: Option<ByteSize>,
    /// How hosts are judged
    #[command(flatten)]
    pub judging: Judging,
    /// Print JSON lines: one for every host that turns, and at the end those of `read --json`
    #[arg(long)]
    pub json: bool,
    /// Go on from what is remembered of every host in this file, and write it there every hour and at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Keep every record in this store, on the disk within seconds; with --state, what was not remembered yet when it was killed is judged again: `read STORE`, `serve STORE` and `find STORE` ask it again
    #[arg(long, value_name = "STORE")]
    pub store: Option<PathBuf>,
    /// Keep packets in this folder, as captures of which the oldest go: `read FOLDER -o CASE` and `carve FOLDER HOST` show them
    #[arg(long, value_name = "FOLDER")]
    pub keep_packets: Option<PathBuf>,
    /// The most that this folder may hold
    #[arg(long, value_name = "SIZE", default_value = "10GiB", requires = "keep_packets")]
    pub keep_size: ByteSize,
    /// What is kept of each flow, beside the packets that open and end it; 0 for all of it
    #[arg(long, value_name = "SIZE", default_value = "64KiB", requires = "keep_packets")]
    pub keep_flow: ByteSize,
    /// Tell the sinks in this file of hosts that turn (TOML; see docs/listen.md): a process of its own does, which is `hydrophone tell`
    #[arg(long, value_name = "FILE")]
    pub tell: Option<PathBuf>,
    /// Print a line also when a day ends: all quiet, or who stands where, and what was missed. TIME is of the day, UTC
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "00:00", value_parser = time_of_day)]
    pub daily: Option<Duration>,
    /// Answer `hydrophone status` at this socket, a file that is made
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,
    /// Answer Prometheus at this address of loopback, for example 127.0.0.1:9477
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Become this user as soon as the interfaces are open (where it is started as root)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Keep the rights to open files and sockets and to run programs, which are given up otherwise
    #[arg(long)]
    pub no_sandbox: bool,
    /// Print nothing but hosts that turn: neither what begins, nor the report at the end
    #[arg(short, long)]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
}

/// Say how a running sensor goes.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Where it answers
    #[arg(long, value_name = "SOCKET", default_value = "/run/hydrophone/control")]
    pub control: PathBuf,
    /// Say it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print the stories of hosts that are at least suspicious now, as `read` does (with --json its lines)
    #[arg(long, conflicts_with_all = ["watch", "reload"])]
    pub stories: bool,
    /// Write them as one page for a browser
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "reload"])]
    pub html: Option<PathBuf>,
    /// Have its files read anew instead, as SIGHUP does
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    pub reload: bool,
}

/// Tell sinks of hosts that turned.
#[derive(Debug, clap::Args)]
pub struct Tell {
    /// The sinks (TOML; see docs/listen.md)
    #[arg(value_name = "FILE")]
    pub sinks: PathBuf,
    /// Tell each sink of a host that is none, and say what came of it
    #[arg(long)]
    pub test: bool,
    /// Say to whoever hands lines over what was taken, and end when there are no more
    #[arg(long, hide = true)]
    pub of_sensor: bool,
    /// Become this user first (where it is started as root)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// Say what is to be thought of a host.
#[derive(Debug, clap::Args)]
pub struct Triage {
    /// The host's address, name or id; without one, what was said is listed
    #[arg(value_name = "HOST", requires = "state")]
    pub host: Option<String>,
    /// acknowledged, noted or escalated change nothing; known or closed: it is told of no more unless it is found to be more (closed: or turns again); open: it is told of again
    #[arg(value_name = "STATE")]
    pub state: Option<TriageState>,
    /// Who says so [default: who you are logged in as]
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "host")]
    pub json: bool,
    /// Where the sensor answers
    #[arg(long, value_name = "SOCKET", default_value = "/run/hydrophone/control")]
    pub control: PathBuf,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Say who met an indicator.
#[derive(Debug, clap::Args)]
pub struct Find {
    /// The store: a folder or s3://BUCKET/PREFIX made by `read --store`
    pub store: PathBuf,
    /// Addresses, networks, names (*.example.com for all below), URLs, JA4, SHA-256 of files and certificates, Community IDs, ua:USER-AGENT
    #[arg(required_unless_present = "intel", value_name = "INDICATOR")]
    pub indicators: Vec<String>,
    /// Lists of indicators: lines, CSV, STIX 2.1 or MISP JSON; a file or a folder (again for more)
    #[arg(long, value_name = "PATH")]
    pub intel: Vec<PathBuf>,
    /// Leave out what became known before, for example 2026-11-01 or 2026-11-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Leave out what became known then or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// Take this site alone (again for more)
    #[arg(long, value_name = "N")]
    pub site: Vec<u16>,
    /// Print a JSON object per host and indicator
    #[arg(long)]
    pub json: bool,
    /// Say how much of the store had to be looked at
    #[arg(long)]
    pub explain: bool,
}

/// Look after a store.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Join what many small runs left into fewer and larger files: the same records in the same order
    Compact {
        /// The store: a folder or s3://BUCKET/PREFIX made by `read --store`
        store: PathBuf,
    },
    /// Forget old days, by the time of packets: the last day that is there is the last that counts
    Prune(Prune),
    /// Read every file, and name those that are missing or are not what was written
    Check {
        /// The store: a folder or s3://BUCKET/PREFIX made by `read --store`
        store: PathBuf,
    },
}

/// Forget old days.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("keep").required(true))]
pub struct Prune {
    /// The store: a folder or s3://BUCKET/PREFIX made by `read --store`
    pub store: PathBuf,
    /// Keep so many days, of which the last is the last that the store has; days that have not come yet are kept and forget no others
    #[arg(long, value_name = "N", group = "keep", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_days: Option<u32>,
    /// Keep the last days whose tables take no more than this together, for example 50GiB; the very last always stays
    #[arg(long, value_name = "SIZE", group = "keep")]
    pub keep_bytes: Option<ByteSize>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A moment, or the beginning of a day.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = format!("{text}T00:00:00Z");
    Timestamp::parse(text)
        .or_else(|| Timestamp::parse(&day))
        .ok_or_else(|| format!("{text:?} is no time: write 2026-11-01 or 2026-11-01T08:00:00Z"))
}

/// Look into a case, or into a store, with a browser.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The case: a folder made by `read -o`; or a store (`read --store`), which is analysed first
    #[arg(value_name = "CASE|STORE", required_unless_present = "control")]
    pub case: Option<PathBuf>,
    /// Show what a running sensor tells now, which answers at this socket (`listen --control`)
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["case", "output", "read", "captures", "zip_password"])]
    pub control: Option<PathBuf>,
    /// Where the case of a store is kept, with what people note in it [default: STORE/case]
    #[arg(short = 'o', long = "output", value_name = "CASE")]
    pub output: Option<PathBuf>,
    /// How a store is analysed: options of `read`, for example -- --since 2026-11-01 --expect known.toml
    #[arg(last = true, value_name = "OPTIONS OF READ")]
    pub read: Vec<OsString>,
    /// Where the captures lie now, if they were moved
    #[arg(long, value_name = "FOLDER")]
    pub captures: Option<PathBuf>,
    /// Password of zip archives among them, where it is not `infected` (again for more)
    #[arg(long, value_name = "PASSWORD")]
    pub zip_password: Vec<String>,
    /// Port on 127.0.0.1; 0 takes any that is free
    #[arg(long, value_name = "PORT", default_value_t = 4470)]
    pub port: u16,
    /// Listen here instead: beyond this machine with --users and a certificate, or --proxy-user
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "port")]
    pub listen: Option<SocketAddr>,
    /// A name by which browsers call the console, with :PORT where it is another (again for more)
    #[arg(long, value_name = "NAME", value_parser = console::parse_name)]
    pub name: Vec<console::Authority>,
    /// Who may come in: a file of names and passwords, as `htpasswd -B -C 12` writes it
    #[arg(long, value_name = "FILE", conflicts_with = "proxy_user")]
    pub users: Option<PathBuf>,
    /// Certificates of the console, its own first (PEM); read again when they change
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// A reverse proxy asks who it is, and names the user in this header, for example X-Remote-User
    #[arg(long, value_name = "HEADER", requires = "name")]
    pub proxy_user: Option<String>,
    /// Where that proxy is: addresses or networks; nobody else is believed (again for more) [default: this machine]
    #[arg(long, value_name = "NETWORK", requires = "proxy_user", value_delimiter = ',', value_parser = behaviour::parse_network)]
    pub proxy: Vec<IpNet>,
}

/// Cut out the packets that prove a host's story.
#[derive(Debug, clap::Args)]
pub struct Carve {
    /// The case: a folder made by `read -o`; or captures, which are analysed first (of logs and stores there are no packets)
    pub case: PathBuf,
    /// The host's address or name; HOST@TIME where several machines had it, HOST@vlan12 where segments are apart
    pub host: String,
    /// How what is no case yet is read: options of `read`, for example -- --home 203.0.113.0/24
    #[arg(last = true, value_name = "OPTIONS OF READ")]
    pub read: Vec<OsString>,
    /// Where the captures lie now, if they were moved
    #[arg(long, value_name = "FOLDER")]
    pub captures: Option<PathBuf>,
    /// Password of zip archives among them, where it is not `infected` (again for more)
    #[arg(long, value_name = "PASSWORD")]
    pub zip_password: Vec<String>,
    /// Only the packets of this piece of evidence (its id stands in report and console)
    #[arg(long, value_name = "ID")]
    pub evidence: Option<String>,
    /// Give local hosts other addresses and names, by the key in this file (64 hexadecimal digits)
    #[arg(long, value_name = "KEYFILE")]
    pub pseudonymise: Option<PathBuf>,
    /// Where to write them (pcapng; each packet that proves something says what in its comment)
    #[arg(short, long, value_name = "FILE")]
    pub write: PathBuf,
}

/// Make a zip file to hand over.
#[derive(Debug, clap::Args)]
pub struct Bundle {
    /// The case: a folder made by `read -o`; or captures, which are analysed first (of logs and stores there are no packets)
    pub case: PathBuf,
    /// The host's address or name; HOST@TIME where several machines had it, HOST@vlan12 where segments are apart
    pub host: String,
    /// How what is no case yet is read: options of `read`, for example -- --home 203.0.113.0/24
    #[arg(last = true, value_name = "OPTIONS OF READ")]
    pub read: Vec<OsString>,
    /// Where the captures lie now, if they were moved
    #[arg(long, value_name = "FOLDER")]
    pub captures: Option<PathBuf>,
    /// Password of zip archives among them, where it is not `infected` (again for more)
    #[arg(long, value_name = "PASSWORD")]
    pub zip_password: Vec<String>,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Give local hosts other addresses and names in all of it, by the key in this file (64 hexadecimal digits)
    #[arg(long, value_name = "KEYFILE")]
    pub pseudonymise: Option<PathBuf>,
    /// Who reports: an organisation, for XARF and mail
    #[arg(long, value_name = "NAME", default_value = "unnamed")]
    pub org: String,
    /// Who reports: a mail address
    #[arg(long, value_name = "ADDRESS", default_value = "nobody@invalid.example")]
    pub contact: String,
    /// The public address that the host was behind, which an abuse desk knows; needed where its own is private
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<IpAddr>,
    /// Write the report for abuse desks also of what is less than likely and attacks nobody
    #[arg(long)]
    pub anyway: bool,
}

/// What an abuse desk needs of a case of subscribers.
#[derive(Debug, clap::Args)]
pub struct Desk {
    /// The case: a folder made by `read --subscribers FILE -o`
    pub case: PathBuf,
    /// Who had which address and ports when (CSV): the list that the case was read with
    #[arg(long, value_name = "FILE")]
    pub subscribers: PathBuf,
    /// Key that was mixed into the pseudonyms
    #[arg(long, value_name = "KEYFILE")]
    pub subscribers_key: Option<PathBuf>,
    /// Where to write: a new or an empty folder
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Who reports: an organisation, for XARF and mail
    #[arg(long, value_name = "NAME", default_value = "unnamed")]
    pub org: String,
    /// Who reports: a mail address
    #[arg(long, value_name = "ADDRESS", default_value = "nobody@invalid.example")]
    pub contact: String,
    /// Write reports also of who is less than likely and attacks nobody
    #[arg(long)]
    pub anyway: bool,
}

/// Say why, and why not.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The case: a folder made by `read -o`; or captures, logs or a store, which are analysed first
    pub case: PathBuf,
    /// The host's address or name; HOST@TIME where several machines had it, HOST@vlan12 where segments are apart
    pub host: String,
    /// How what is no case yet is read: options of `read`, for example -- --home 203.0.113.0/24
    #[arg(last = true, value_name = "OPTIONS OF READ")]
    pub read: Vec<OsString>,
    /// Judge anew under these expectations (TOML), without reading the capture again
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
}
