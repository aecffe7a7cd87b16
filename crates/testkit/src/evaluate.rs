//! The evaluation harness: what is found, missed and falsely accused, how soon, and what each part owes to which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use behaviour::{Entry, Settings, Traffic};
use capture::Source;
use pipeline::{ByteSize, Outcome, RunOptions, run, sense};
use record::{Record, Service, Stage, Timestamp};
use verdict::{Analyst, AnalystLimits, HostStory, Note, Prior, Verdict};

/// Hosts that each analyst may watch.
const HOSTS: AnalystLimits = AnalystLimits { bytes: 1 << 30, hosts: 4096 };
const HOUR_NS: i64 = 3_600_000_000_000;

/// Where the corpus of real captures is: `HYDROPHONE_CORPUS`, or `../shared/corpus` beside the project; `None` where there is none.
pub fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("HYDROPHONE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    named.into_iter().chain([beside]).find(|p| p.join("manifest.tsv").is_file())
}

/// A capture of the corpus and what is known of it.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Path relative to the manifest.
    pub file: String,
    /// `bot`, `tool`, `clean`, `parse`, `zeek-log`.
    pub kind: String,
    /// Addresses of the infected hosts.
    pub hosts: Vec<String>,
    /// Family or tool.
    pub family: String,
    /// The repository that it is from, which stands for its network.
    pub repo: String,
}

/// Reads a manifest: tab-separated, a line of headings, then file, kind, hosts, family.
///
/// # Errors
/// It cannot be read.
pub fn manifest(path: &Path) -> std::io::Result<Vec<Labelled>> {
    let path = if path.is_dir() { path.join("manifest.tsv") } else { path.to_owned() };
    let text = std::fs::read_to_string(path)?;
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut f = line.split('\t');
        Some(Labelled {
            file: f.next()?.to_owned(),
            kind: f.next()?.to_owned(),
            hosts: f.next()?.split(',').filter(|h| !h.is_empty()).map(str::to_owned).collect(),
            family: f.next()?.to_owned(),
            repo: f.nth(2).unwrap_or_default().to_owned(),
        })
    });
    Ok(rows.collect())
}

/// Analyses one input with everything at its default.
///
/// # Errors
/// It cannot be opened.
pub fn analyse(source: Source, threads: usize) -> Result<Outcome, pipeline::RunError> {
    let options = RunOptions { threads, memory: ByteSize(256 << 20), ..RunOptions::of(vec![source]) };
    run(&options, |_| ())
}

/// What an analyst is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ablation {
    /// Nothing is left out.
    Nothing,
    /// A stage's behaviours look at nothing.
    Stage(Stage),
    /// No DNS was captured.
    Dns,
    /// The capture began an hour later.
    FirstHour,
}

impl Ablation {
    /// Every ablation.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Nothing];
        all.extend(Stage::ALL.map(Self::Stage));
        all.extend([Self::Dns, Self::FirstHour]);
        all
    }

    /// What to call it.
    pub fn name(self) -> String {
        match self {
            Self::Nothing => "everything".into(),
            Self::Stage(s) => format!("without {s}"),
            Self::Dns => "without DNS".into(),
            Self::FirstHour => "without the first hour".into(),
        }
    }

    fn hides(self, record: &Record, at: Timestamp, first: Timestamp) -> bool {
        match self {
            Self::Nothing | Self::Stage(_) => false,
            Self::Dns => match record {
                Record::Dns(_) => true,
                Record::Conn(c) => c.service == Service::Dns,
                _ => false,
            },
            Self::FirstHour => at.0 - first.0 < HOUR_NS,
        }
    }
}

/// The stories of one capture, each analyst's own.
pub struct Read {
    /// By what was left out.
    pub stories: BTreeMap<Ablation, Vec<HostStory>>,
    /// First and last packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Why it was not read to its end.
    pub failure: Option<String>,
}

/// Reads a capture once, for several analysts.
///
/// # Errors
/// It cannot be opened.
pub fn read(source: Source, ablations: &[Ablation]) -> Result<Read, pipeline::RunError> {
    let options = RunOptions { memory: ByteSize(256 << 20), ..RunOptions::of(vec![source]) };
    let mut analysts: Vec<(Ablation, Analyst)> = ablations
        .iter()
        .map(|a| {
            let made = Analyst::new(None, Settings::default(), HOSTS, Prior::default().db());
            (*a, if let Ablation::Stage(s) = a { made.without(*s) } else { made })
        })
        .collect();
    let mut first = None;
    let sensed = sense(
        &options,
        |_| (),
        |key, record| {
            let first = *first.get_or_insert(key.known);
            for (ablation, analyst) in &mut analysts {
                if !ablation.hides(record, key.known, first) {
                    analyst.observe(record);
                }
            }
        },
    )?;
    let facts = sensed.facts();
    Ok(Read {
        stories: analysts
            .into_iter()
            .map(|(a, mut analyst)| {
                analyst.settle(facts.last);
                (a, analyst.stories(&facts))
            })
            .collect(),
        span: facts.first.zip(facts.last),
        failure: sensed.failures.first().cloned(),
    })
}

/// How one host came off.
#[derive(Clone, Debug)]
pub struct HostRow {
    /// The address.
    pub host: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Its level in decibans.
    pub level_db: f64,
    /// Days on which it said something, at least one.
    pub days: u64,
    /// Days on which it showed each kind of traffic.
    pub exposed: BTreeMap<Traffic, u64>,
    /// Behaviours and grades that fired.
    pub fired: BTreeSet<(String, String)>,
    /// Seconds from its first packet to each verdict.
    pub reached: BTreeMap<Verdict, f64>,
    /// Whether *likely* came before the first message that it sent; `None` if it never sent any.
    pub before_spam: Option<bool>,
    /// The sceptic's e-value at its highest moment, without what was carried over.
    pub e: f64,
    /// What else was said of it.
    pub findings: Vec<String>,
}

impl HostRow {
    fn of(s: &HostStory) -> Self {
        let first = s.first.unwrap_or(Timestamp::MIN);
        let mut fired = BTreeSet::new();
        for e in &s.evidence {
            for g in &e.evidence.grades {
                fired.insert((e.evidence.behaviour.to_string(), g.name.to_string()));
            }
        }
        let before_spam = s.notes.iter().find_map(|n| match n {
            Note::BeforeFirstMessage { .. } => Some(true),
            Note::AfterFirstMessage { .. } => Some(false),
            Note::PortBlocked { .. } | Note::Ended { .. } | Note::Excused { .. } => None,
        });
        Self {
            host: s.host.to_string(),
            verdict: s.verdict,
            level_db: s.level_db,
            days: u64::from(s.days.max(1)),
            exposed: s.exposed.iter().map(|(t, n)| (*t, u64::from(*n))).collect(),
            fired,
            reached: s.reached.iter().map(|(v, t)| (*v, t.since(first).as_secs_f64())).collect(),
            before_spam,
            e: 10f64.powf((s.level_db - s.carried_db) / 10.0),
            findings: s.findings.iter().map(|f| f.kind.clone()).collect(),
        }
    }

    /// Days on which a behaviour could have fired.
    pub fn exposed_to(&self, b: &Entry) -> u64 {
        match b.about.needs {
            // Their order is bet on where they are.
            [] if b.about.exclusive => u64::from(self.fired.iter().any(|f| f.0 == b.name)),
            [] => self.days,
            needs => needs.iter().filter_map(|n| self.exposed.get(n)).copied().max().unwrap_or(0),
        }
    }

    /// The behaviours that fired.
    pub fn behaviours(&self) -> BTreeSet<&str> {
        self.fired.iter().map(|f| f.0.as_str()).collect()
    }
}

/// One capture's result.
#[derive(Clone, Debug)]
pub struct Row {
    /// The capture.
    pub of: Labelled,
    /// Hosts that the manifest names.
    pub labelled: Vec<HostRow>,
    /// All other local hosts.
    pub others: Vec<HostRow>,
    /// The strongest verdict on a named host, by what was left out.
    pub ablated: BTreeMap<Ablation, Verdict>,
    /// Seconds from the first packet to the last.
    pub span: f64,
    /// Why it was not read to its end.
    pub failure: Option<String>,
}

fn strongest(rows: &[HostRow]) -> Option<&HostRow> {
    rows.iter().max_by(|a, b| {
        (a.verdict, a.level_db).partial_cmp(&(b.verdict, b.level_db)).unwrap_or(std::cmp::Ordering::Equal)
    })
}

impl Row {
    /// The strongest verdict on a named host.
    pub fn best(&self) -> Option<&HostRow> {
        strongest(&self.labelled)
    }

    /// The strongest verdict on any other host.
    pub fn other(&self) -> Option<&HostRow> {
        strongest(&self.others)
    }

    /// Whether a named host has at least this verdict.
    pub fn found(&self, verdict: Verdict) -> bool {
        self.best().is_some_and(|b| b.verdict >= verdict)
    }

    /// Whether any host that is not named has at least this verdict.
    pub fn accused(&self, verdict: Verdict) -> bool {
        self.other().is_some_and(|b| b.verdict >= verdict)
    }
}

/// Evaluates one capture.
pub fn row(of: &Labelled, source: Source) -> Row {
    let infected = of.kind == "bot";
    let ablations = if infected { Ablation::all() } else { vec![Ablation::Nothing] };
    let empty = Row {
        of: of.clone(),
        labelled: vec![],
        others: vec![],
        ablated: BTreeMap::new(),
        span: 0.0,
        failure: None,
    };
    let read = match read(source, &ablations) {
        Ok(read) => read,
        Err(e) => return Row { failure: Some(e.to_string()), ..empty },
    };
    let mine = |s: &HostStory| of.hosts.iter().any(|h| *h == s.host.to_string());
    let mut made = Row {
        span: read.span.map_or(0.0, |(f, l)| l.since(f).as_secs_f64()),
        failure: read.failure.clone(),
        ..empty
    };
    for (ablation, stories) in &read.stories {
        let best = stories.iter().filter(|s| mine(s)).map(|s| s.verdict).max();
        made.ablated.insert(*ablation, best.unwrap_or(Verdict::Inconclusive));
        if *ablation == Ablation::Nothing {
            (made.labelled, made.others) = {
                let (a, b): (Vec<_>, Vec<_>) = stories.iter().partition(|s| mine(s));
                (a.into_iter().map(HostRow::of).collect(), b.into_iter().map(HostRow::of).collect())
            };
        }
    }
    made
}

/// Evaluates every capture of the given kinds that a manifest names, in its order.
///
/// # Errors
/// The manifest cannot be read.
pub fn table(path: &Path, kinds: &[&str]) -> std::io::Result<Vec<Row>> {
    let root = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let wanted = manifest(path)?.into_iter().filter(|l| kinds.contains(&l.kind.as_str()));
    Ok(wanted.map(|of| row(&of, Source::Path(root.join(&of.file)))).collect())
}
