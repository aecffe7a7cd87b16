//! What a behaviour says of itself without running: its stage, what its grades are worth, what excuses it, what it shows.

use std::collections::BTreeSet;

use record::{Conn, Evidence, Role, Service, Stage, Transport, Tuple};
use serde::{Deserialize, Serialize};

use crate::honest::Alike;

/// What is known of a behaviour beside its name and how it decides.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The stage that it belongs to.
    pub stage: Stage,
    /// ATT&CK techniques.
    pub attack: &'static [&'static str],
    /// What each of its grades is worth.
    pub grades: &'static [GradeWorth],
    /// Traffic of which a host must show some before it can fire; none where any host can.
    pub needs: &'static [Traffic],
    /// Stages that came before it by its own definition.
    pub follows: &'static [Stage],
    /// Whether one of its grades is bet on at a time, each at odds of its own.
    pub exclusive: bool,
    /// The most that its stage may bring when nothing else fired in it, in decibans.
    pub alone: Option<f64>,
    /// Whether it tells of control by what is said, not by when it is said.
    pub control: bool,
    /// Whether it tells who brought a program.
    pub brings: bool,
    /// Whether who is part of it commands the host: who is called regularly, and who brings a program, does not by that.
    pub commands: bool,
    /// What makes it count for less.
    pub excuses: &'static [Excuse],
    /// Honest kinds of host and program that it may be taken for.
    pub alike: &'static [Alike],
    /// What it shows beside the verdict.
    pub finding: Option<Shows>,
    /// What a host that does it can do, in XARF's words (`bot_capabilities`).
    pub capability: Option<&'static str>,
    /// How it is commanded, in XARF's words (`c2_protocol`).
    pub protocol: Option<&'static str>,
    /// Whether it repeats what a list of the user's says.
    pub listed: bool,
}

impl About {
    /// A behaviour of which no more is said than its stage, techniques and grades.
    pub const fn new(stage: Stage, attack: &'static [&'static str], grades: &'static [GradeWorth]) -> Self {
        Self {
            stage,
            attack,
            grades,
            needs: &[],
            follows: &[],
            exclusive: false,
            alone: None,
            control: false,
            brings: false,
            commands: matches!(stage, Stage::Command | Stage::Update),
            excuses: &[],
            alike: &[],
            finding: None,
            capability: None,
            protocol: None,
            listed: false,
        }
    }

    /// How many bets its share is split among: its bases, and what adds to them by each key that it may add to.
    pub fn bets(&self) -> usize {
        if self.exclusive {
            return 1;
        }
        let keys: BTreeSet<&str> = self.grades.iter().filter(|g| g.base).map(|g| g.key).collect();
        let bets = |g: &GradeWorth| if g.base || !g.key.is_empty() { 1 } else { keys.len() };
        self.grades.iter().map(bets).sum()
    }

    /// What a grade is worth.
    pub fn grade(&self, name: &str) -> Option<&GradeWorth> {
        self.grades.iter().find(|g| g.name == name)
    }

    /// Whether what evidence says of itself makes it count for less.
    pub fn is_excused(&self, evidence: &Evidence) -> bool {
        evidence.flag("prevalent") || self.excuses.iter().any(|excuse| excuse.of(evidence).is_some())
    }
}

/// Kinds of traffic that behaviours need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// DNS.
    Dns,
    /// HTTP in clear.
    Http,
    /// TLS, QUIC too.
    Tls,
    /// Mail handed over, by what is said or by the port: whether a server answers or not.
    Mail,
    /// Alerts of other sensors: no flow shows whether there could have been one.
    Alerts,
}

impl Traffic {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Tcp, Self::Udp, Self::Dns, Self::Http, Self::Tls, Self::Mail, Self::Alerts];

    /// What flows of it carry that a sensor may leave out when it tells of them.
    pub const fn content(self) -> Option<&'static str> {
        match self {
            Self::Dns => Some("DNS questions"),
            Self::Http => Some("HTTP requests"),
            Self::Tls => Some("TLS handshakes"),
            Self::Tcp | Self::Udp | Self::Mail | Self::Alerts => None,
        }
    }

    /// The kinds that a flow is of.
    pub fn of(c: &Conn) -> impl Iterator<Item = Self> {
        let transport = Self::carrier(&c.head.tuple);
        let service = match c.service {
            Service::Dns => Some(Self::Dns),
            Service::Http | Service::Http2 => Some(Self::Http),
            Service::Tls | Service::Quic => Some(Self::Tls),
            _ => None,
        };
        let mail =
            transport == Some(Self::Tcp) && (c.service == Service::Smtp || c.wire_tuple().resp.port == 25);
        transport.into_iter().chain(service).chain(mail.then_some(Self::Mail))
    }

    /// What carries a flow.
    pub const fn carrier(tuple: &Tuple) -> Option<Self> {
        match tuple.transport {
            Transport::Tcp => Some(Self::Tcp),
            Transport::Udp => Some(Self::Udp),
            _ => None,
        }
    }
}

/// What a grade is worth: as a base it brings its stage so many decibans when it is alone in it, else it adds them to its base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradeWorth {
    /// Its name.
    pub name: &'static str,
    /// The key of the evidence that it is the base of, where its behaviour has several.
    pub key: &'static str,
    /// Whether it is a base.
    pub base: bool,
    /// Decibans, each time; *assumed*.
    pub db: f64,
    /// The most that its times may bring together.
    pub most: Option<f64>,
    /// The stage's cap when it fired, if it is another.
    pub cap: Option<f64>,
    /// Whether this base tells too little by itself to be a host's control.
    pub weak: bool,
    /// Whether an act that shows it tells of control by itself: no program does it for who sits there.
    pub tells: bool,
}

impl GradeWorth {
    /// A base.
    pub const fn base(name: &'static str, db: f64) -> Self {
        Self { name, key: "", base: true, db, most: None, cap: None, weak: false, tells: false }
    }

    /// What adds to a base.
    pub const fn add(name: &'static str, db: f64) -> Self {
        Self { base: false, ..Self::base(name, db) }
    }

    /// The same, of evidence with this key.
    #[must_use]
    pub const fn key(self, key: &'static str) -> Self {
        Self { key, ..self }
    }

    /// The same, whose times bring at most so much.
    #[must_use]
    pub const fn most(self, db: f64) -> Self {
        Self { most: Some(db), ..self }
    }

    /// The same, which raises the stage's cap.
    #[must_use]
    pub const fn cap(self, db: f64) -> Self {
        Self { cap: Some(db), ..self }
    }

    /// The same, which tells of control though it is an act.
    #[must_use]
    pub const fn tells(self) -> Self {
        Self { tells: true, ..self }
    }

    /// The same, which by itself tells too little.
    #[must_use]
    pub const fn weak(self) -> Self {
        Self { weak: true, ..self }
    }
}

/// What makes evidence count for less, and by which factor (*assumed* but for those of DETECTION §4).
#[derive(Clone, Copy, Debug)]
pub enum Excuse {
    /// The host has the role, or one of two that are told as the first.
    Role(&'static [Role], f64),
    /// A fact of the evidence holds; what is told of it.
    Fact(&'static str, &'static str, f64),
    /// A fact of the evidence is the factor, where it is below one; what is told of it.
    Factor(&'static str, &'static str),
}

impl Excuse {
    /// What evidence says itself that excuses it, and by which factor.
    pub fn of(&self, evidence: &Evidence) -> Option<(&'static str, f64)> {
        match *self {
            Self::Fact(fact, because, factor) => evidence.flag(fact).then_some((because, factor)),
            Self::Factor(fact, because) => (evidence.facts.contains_key(fact) && evidence.number(fact) < 1.0)
                .then(|| (because, evidence.number(fact))),
            Self::Role(..) => None,
        }
    }
}

/// Who passes mail on for others.
pub const MAIL: &[Role] = &[Role::MailServer, Role::MailSender];

/// What a behaviour shows beside the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Shows {
    /// In words: `scanner`.
    pub kind: &'static str,
    /// Whether evidence of it shows that.
    pub by: fn(&Evidence) -> bool,
    /// Roles of which it is the work.
    pub unless: &'static [Role],
}

impl Shows {
    /// What all its evidence shows.
    pub const fn all(kind: &'static str) -> Self {
        Self { kind, by: |_| true, unless: &[] }
    }
}
