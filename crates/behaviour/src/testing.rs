//! Makes records for the tests of behaviours.
#![allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use record::{
    BodyFacts, Conn, ConnPhase, ConnState, Direction, Dns, DnsAnswer, Endpoint, Evidence, FlowId,
    FrameCandidate, Head, Http, NearMiss, PacketId, PayloadFacts, Record, RequestHeaders, Service, Smtp,
    SmtpCommandForm, Stage, Timestamp, Tls, Transport, Tuple,
};

use crate::{AtWork, Behaviour, Context, Entry, Home, HostFiles, Network, Raised, Wants, outbound};

pub const HOST: &str = "10.0.0.5";
pub const REMOTE: &str = "198.51.100.7";

pub fn at(secs: f64) -> Timestamp {
    Timestamp((secs * 1e9) as i64)
}

/// Runs one detector over records.
pub struct Bench {
    pub network: Network,
    pub evidence: Vec<Evidence>,
    pub files: HostFiles,
    raised: Raised,
    stirred: BTreeSet<IpAddr>,
    detector: Box<dyn AtWork>,
    entry: &'static Entry,
    ticked: Timestamp,
}

impl Bench {
    pub fn new(behaviour: &'static str, detector: impl Behaviour + 'static) -> Self {
        let entry = crate::entry(behaviour).unwrap();
        Self {
            network: Network::new(Home::private(), 1000),
            evidence: Vec::new(),
            files: HostFiles::new(64 << 20),
            raised: Raised::default(),
            stirred: BTreeSet::new(),
            detector: Box::new(detector),
            entry,
            ticked: Timestamp::MIN,
        }
    }

    /// Something else fired before.
    pub fn fired(&mut self, stage: Stage, behaviour: &'static str, started: f64, ended: f64) {
        self.fired_with(stage, behaviour, started, ended, &[]);
    }

    /// The same with a grade of the behaviour's own.
    pub fn fired_as(
        &mut self,
        stage: Stage,
        behaviour: &'static str,
        grade: &'static str,
        started: f64,
        ended: f64,
    ) {
        self.fire(stage, behaviour, grade, [started, ended], &[]);
    }

    pub fn fired_with(
        &mut self,
        stage: Stage,
        behaviour: &'static str,
        started: f64,
        ended: f64,
        remotes: &[&str],
    ) {
        self.fire(stage, behaviour, "x", [started, ended], remotes);
    }

    fn fire(
        &mut self,
        stage: Stage,
        behaviour: &'static str,
        grade: &'static str,
        [started, ended]: [f64; 2],
        remotes: &[&str],
    ) {
        let mut dropped = Vec::new();
        let mut entry = *crate::entry(behaviour).unwrap_or(&crate::CATALOGUE[0]);
        entry.about.stage = stage;
        let mut context = Context {
            now: at(ended),
            network: &self.network,
            raised: &mut self.raised,
            evidence: &mut dropped,
            stirred: &mut self.stirred,
            outbound: None,
            index: 0,
            entry: &entry,
            payoff: assumed,
        };
        context.fire(crate::Fire {
            host: HOST.parse().unwrap(),
            key: "x".into(),
            grades: vec![(grade, 1)],
            started: at(started),
            value: 1.0,
            threshold: 1.0,
            unit: "x",
            source: "test",
            packets: vec![],
            flows: vec![],
            remotes: remotes.iter().map(|r| r.parse().unwrap()).collect(),
            facts: vec![],
        });
        context.settle(&mut self.files);
    }

    pub fn feed(&mut self, record: Record, now: f64) {
        let now = at(now);
        self.network.learn(&record, &mut self.files, now);
        let mut context = Context {
            now,
            network: &self.network,
            raised: &mut self.raised,
            evidence: &mut self.evidence,
            stirred: &mut self.stirred,
            outbound: outbound(self.network.home(), record.tuple()),
            index: 0,
            entry: self.entry,
            payoff: assumed,
        };
        if now.since(self.ticked).as_secs() >= 1 {
            self.detector.tick(&mut self.files, &mut context);
            self.ticked = now;
        }
        // As the analyst does: what it did not ask for it does not see.
        if self.detector.wants().has(Wants::kind_of(&record), context.outbound.is_some()) {
            self.detector.observe(&record, &mut self.files, &mut context);
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: f64) {
        let mut context = Context {
            now: at(now),
            network: &self.network,
            raised: &mut self.raised,
            evidence: &mut self.evidence,
            stirred: &mut self.stirred,
            outbound: None,
            index: 0,
            entry: self.entry,
            payoff: assumed,
        };
        self.detector.tick(&mut self.files, &mut context);
        for host in std::mem::take(context.stirred) {
            self.detector.stirred(host, &mut self.files, &mut context);
        }
    }

    /// How near the host came to what did not fire.
    pub fn near(&self) -> Vec<NearMiss> {
        let card = self.files.card(HOST.parse().unwrap());
        card.into_iter().flat_map(|card| card.near.iter().cloned()).collect()
    }

    /// The grades of the last evidence, as text.
    pub fn grades(&self) -> Vec<String> {
        self.evidence
            .last()
            .map(|e| e.grades.iter().map(|g| g.name.to_string()).collect())
            .unwrap_or_default()
    }
}

fn end(ip: &str, port: u16) -> Endpoint {
    Endpoint { ip: ip.parse().unwrap(), port }
}

pub fn payload(bytes: &[u8]) -> Option<PayloadFacts> {
    Some(PayloadFacts::of(bytes, bytes.len() as u32))
}

/// `n` random-looking bytes, different for each `seed`.
pub fn random(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A closed flow of the host at `secs`, one second long, to `remote:port`.
pub fn conn(secs: f64, transport: Transport, remote: &str, port: u16) -> Conn {
    let sport = 1024 + (secs * 10.0) as u16 % 60_000;
    Conn {
        phase: ConnPhase::Closed,
        head: Head {
            ts: at(secs),
            known: at(secs + 1.0),
            site: 0,
            segment: None,
            flow: FlowId { packet: PacketId::new(0, (secs * 1000.0) as u64 + 1), layer: 0 },
            tuple: Tuple { orig: end(HOST, sport), resp: end(remote, port), transport },
        },
        last: at(secs + 1.0),
        via: None,
        service: Service::Unknown,
        state: ConnState::SF,
        history: record::History::default(),
        packets: [3, 3],
        bytes: [0, 0],
        frame_bytes: [0, 0],
        missed_bytes: [0, 0],
        start_seen: true,
        syn_retransmits: 0,
        first_payload: [None, None],
        first_speaker: None,
        first_lengths: [0; 8],
        beats: Vec::new(),
        payload_packets: [0, 0],
        turns: 0,
        mac: [None, None],
        tunnel_depth: 0,
        orig_ttl: 64,
        key_packets: [PacketId::new(0, (secs * 1000.0) as u64 + 1)].into_iter().collect(),
    }
}

pub fn record(conn: Conn) -> Record {
    Record::Conn(conn)
}

/// A question of the host and its answer.
pub fn dns(secs: f64, query: &str, qtype: u16, rcode: u8, addr: Option<&str>) -> Record {
    let base = conn(secs, Transport::Udp, "10.0.0.1", 53);
    Record::Dns(Box::new(Dns {
        head: Head { known: at(secs), ..base.head },
        id: 1,
        query: query.to_owned(),
        qtype,
        rcode: Some(rcode),
        recursion_desired: true,
        answers: addr
            .map(|a| DnsAnswer { rtype: 1, ttl: 60, addr: Some(a.parse().unwrap()), name: None })
            .into_iter()
            .collect(),
        rtt: Some(Duration::from_millis(20)),
        response_len: 60,
        packets: base.key_packets.to_vec(),
    }))
}

/// A request of the host.
pub fn http(secs: f64, remote: &str, method: &str, host: Option<&str>, path: &str) -> Http {
    let base = conn(secs, Transport::Tcp, remote, 80);
    Http {
        head: Head { known: at(secs), ..base.head },
        depth: 0,
        method: method.to_owned(),
        host: host.map(str::to_owned),
        path: path.to_owned(),
        status: Some(200),
        user_agent: None,
        referer: None,
        cookie: false,
        headers: RequestHeaders::default(),
        location: None,
        request: BodyFacts::default(),
        response: BodyFacts::default(),
        packets: base.key_packets.to_vec(),
    }
}

/// A TLS handshake of the host.
pub fn tls(secs: f64, remote: &str, sni: &str) -> Record {
    let base = conn(secs, Transport::Tcp, remote, 443);
    Record::Tls(Box::new(Tls {
        head: Head { known: at(secs), ..base.head },
        version: 0x0304,
        sni: Some(sni.to_owned()),
        alpn: None,
        ja4: None,
        cipher: None,
        certificate: None,
        packets: base.key_packets.to_vec(),
    }))
}

/// An SMTP session of the host that delivers one message.
pub fn smtp(secs: f64, remote: &str) -> Smtp {
    let base = conn(secs, Transport::Tcp, remote, 25);
    Smtp {
        head: Head { known: at(secs), ..base.head },
        banner_code: Some(220),
        banner: Some("mx".into()),
        hello: SmtpCommandForm::Ehlo,
        helo: Some("mail.example.com".into()),
        esmtp_offered: true,
        starttls_offered: false,
        starttls_used: false,
        auth: false,
        mail_count: 1,
        rcpt_count: 1,
        rcpt_accepted: 1,
        sender_domains: vec!["example.com".into()],
        recipient_domains: vec!["example.net".into()],
        data_count: 1,
        accepted_count: 1,
        rejects: 0,
        deferrals: 0,
        last_code: Some(221),
        message_bytes: 2000,
        first_data_at: Some(at(secs)),
        quit: true,
        odd_message_id: false,
        missing: [false; 2],
        client_bytes: 2300,
        packets: base.key_packets.to_vec(),
    }
}

/// A frame of 24 random bytes.
pub fn frame(
    secs: f64,
    remote: &str,
    transport: Transport,
    port: u16,
    from: Direction,
    bytes: &[u8],
) -> Record {
    let base = conn(secs, transport, remote, port);
    Record::Frame(Box::new(FrameCandidate {
        head: Head { known: at(secs), ..base.head },
        from,
        position: 0,
        facts: PayloadFacts::of(bytes, bytes.len() as u32),
        packets: base.key_packets.to_vec(),
    }))
}

/// What evidence is assumed to bring, where nothing was measured.
fn assumed(evidence: &Evidence) -> f64 {
    let of = |grade: &record::Grade| {
        let worth = crate::entry(&evidence.behaviour)?.about.grade(&grade.name)?;
        let all = worth.db * f64::from(grade.times);
        Some(worth.most.map_or(all, |most| all.min(most)))
    };
    evidence.grades.iter().filter_map(of).sum()
}
