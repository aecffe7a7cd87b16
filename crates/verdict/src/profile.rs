//! What a host is and does every day, whether or not any of it speaks against it: what an analyst asks of it first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use behaviour::{Home, HostFiles, HostState, Lease, SeededMap, States};
use record::{
    Conn, ConnPhase, Direction, Endpoint, FileInfo, Magic, Record, Service, Timestamp, Transport, Tuple,
};
use serde::{Deserialize, Serialize};

use crate::system::{System, of_agent, of_banner, of_dhcp, of_report, of_ttl};

/// Programs, fingerprints, names, users and systems remembered of a host, each.
const MAX_WORDS: usize = 32;
/// Services that it offers.
const MAX_SERVED: usize = 32;
/// Clients counted of one of them.
const MAX_CLIENTS: usize = 16;
/// Remotes counted; when there are more, the half with fewest bytes is forgotten.
const MAX_REMOTES: usize = 128;
/// Files.
const MAX_FILES: usize = 24;
/// What is told of each of these, the most used first.
const SHOWN: usize = 12;

/// Where what a host is stands in its file.
pub const PROFILE: u8 = HostFiles::BESIDE + 3;

/// How often something was seen, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Times {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Times {
    fn add(&mut self, at: Timestamp) {
        self.first = if self.count == 0 { at } else { self.first.min(at) };
        self.last = self.last.max(at);
        self.count += 1;
    }
}

/// A word of a host's, and how often it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word: text from the wire is hostile.
    pub value: String,
    /// How often.
    pub times: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}

/// A system that a host seems to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemSeen {
    /// The system's name.
    pub name: String,
    /// What says so.
    pub by: String,
    /// Whether the host says so, and not only its packets' form.
    pub is_said: bool,
    /// How often.
    pub times: u64,
}

/// What a host uses or offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSeen {
    /// By content, whatever the port, as Zeek calls it.
    pub service: String,
    /// The port that it offers it at; none for what it uses.
    pub port: Option<u16>,
    /// `tcp`, `udp` or another protocol over IP.
    pub transport: String,
    /// Flows.
    pub flows: u64,
    /// Clients that used it, counted up to 16; none for what it uses.
    pub clients: Option<u32>,
    /// Bytes of payload that the host sent, and that came to it.
    pub bytes: [u64; 2],
}

/// With whom a host speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteSeen {
    /// Its address.
    pub address: IpAddr,
    /// The name that DNS gave it when they last spoke.
    pub name: Option<String>,
    /// Flows.
    pub flows: u64,
    /// Bytes of payload that the host sent, and that came to it.
    pub bytes: [u64; 2],
    /// The beginning of the first flow.
    pub first: Timestamp,
    /// The end of the last.
    pub last: Timestamp,
}

/// A file that a host was sent, or sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSeen {
    /// When its first bytes came.
    pub ts: Timestamp,
    /// Whether the host sent it.
    pub sent: bool,
    /// With whom; nothing where a proxy was asked for a name.
    pub remote: Option<IpAddr>,
    /// What carried it; `unknown` where it came alone on a connection.
    pub carrier: String,
    /// What it is called.
    pub name: Option<String>,
    /// What its first bytes are.
    pub kind: String,
    /// The type that it is said to have.
    pub declared: Option<String>,
    /// Bytes.
    pub len: u64,
    /// Whether all of it was seen.
    pub whole: bool,
    /// In hex.
    pub sha256: Option<String>,
    /// How often the same passed.
    pub times: u64,
}

/// What is told of what a host is and does. Nothing of it is a judgement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Systems, by what says so: the most trustworthy word first.
    pub systems: Vec<SystemSeen>,
    /// Names that it gave itself when it logged on somewhere.
    pub workstations: Vec<Word>,
    /// Who logged on from it.
    pub users: Vec<Word>,
    /// `User-Agent`s.
    pub agents: Vec<Word>,
    /// TLS fingerprints.
    pub ja4: Vec<Word>,
    /// Services that it uses, most bytes first.
    pub uses: Vec<ServiceSeen>,
    /// Services that it offers to others.
    pub offers: Vec<ServiceSeen>,
    /// With whom it speaks, most bytes first.
    pub remotes: Vec<RemoteSeen>,
    /// Files that came and went: what can be run or packs something first.
    pub files: Vec<FileSeen>,
    /// Further ones, which were not kept.
    pub more_files: u64,
}

impl Profile {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The system that most speaks for, if any does.
    pub fn system(&self) -> Option<&SystemSeen> {
        self.systems.first()
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Talk {
    flows: u64,
    bytes: [u64; 2],
    first: Timestamp,
    last: Timestamp,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Served {
    flows: u64,
    bytes: [u64; 2],
    clients: Vec<IpAddr>,
}

/// What is remembered of a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostProfile {
    systems: BTreeMap<System, u64>,
    workstations: BTreeMap<String, Times>,
    users: BTreeMap<String, Times>,
    agents: BTreeMap<String, Times>,
    ja4: BTreeMap<String, Times>,
    uses: BTreeMap<(Service, Transport), Talk>,
    offers: BTreeMap<(Service, Transport, u16), Served>,
    remotes: SeededMap<IpAddr, Talk>,
    files: Vec<FileSeen>,
    more_files: u64,
}

behaviour::held!(Times, Talk);
impl behaviour::Held for System {
    fn held(&self) -> usize {
        self.name().len()
    }
}
behaviour::held!(Served: clients);
behaviour::held!(FileSeen: carrier, name, kind, declared, sha256);
behaviour::held!(SystemSeen: name, by);
behaviour::held!(Word: value);
behaviour::held!(ServiceSeen: service, transport);
behaviour::held!(RemoteSeen: name);
behaviour::held!(HostProfile: systems, workstations, users, agents, ja4, uses, offers, remotes, files);
behaviour::held!(Profile: systems, workstations, users, agents, ja4, uses, offers, remotes, files);
impl HostState for HostProfile {}

/// Counts a word.
fn count(words: &mut BTreeMap<String, Times>, word: &str, at: Timestamp) {
    if let Some(seen) = words.get_mut(word) {
        seen.add(at);
    } else if words.len() < MAX_WORDS && !word.is_empty() {
        words.entry(word.to_owned()).or_default().add(at);
    }
}

/// Learns from a lease that a server gave.
pub fn lease(hosts: &mut States<'_, HostProfile>, lease: &Lease, home: &Home) {
    if let Some(system) = lease.vendor.as_deref().and_then(of_dhcp).filter(|_| home.contains(lease.ip)) {
        hosts.of(lease.ip, lease.from).system(Some(system));
    }
}

/// Learns from a record; `former` says of which ends of a flow another machine had the address when it began.
pub fn learn(hosts: &mut States<'_, HostProfile>, record: &Record, home: &Home, former: [bool; 2]) {
    let head = record.head();
    let (orig, resp, now) = (head.tuple.orig.ip, head.tuple.resp.ip, head.known);
    match record {
        Record::Conn(c) if c.phase == ConnPhase::Closed => learn_conn(hosts, c, home, former),
        Record::File(f) => {
            for (host, remote, sent) in
                [(orig, resp, f.from == Direction::Orig), (resp, orig, f.from == Direction::Resp)]
            {
                if home.contains(host) {
                    hosts.of(host, now).file(f, remote, sent);
                }
            }
        }
        Record::Ssh(s) => {
            for (host, banner) in [(orig, &s.client), (resp, &s.server)] {
                if let Some(system) = banner.as_deref().and_then(of_banner).filter(|_| home.contains(host)) {
                    hosts.of(host, now).system(Some(system));
                }
            }
        }
        _ if !home.contains(orig) => {}
        Record::Http(h) => {
            if let Some(agent) = &h.user_agent {
                let host = hosts.of(orig, now);
                count(&mut host.agents, agent, h.head.ts);
                host.system(of_agent(agent));
            }
        }
        Record::Tls(t) => {
            if let Some(ja4) = &t.ja4 {
                count(&mut hosts.of(orig, now).ja4, ja4, t.head.ts);
            }
        }
        Record::Quic(q) => {
            if let Some(ja4) = &q.ja4 {
                count(&mut hosts.of(orig, now).ja4, ja4, q.head.ts);
            }
        }
        Record::Smb(s) if s.user.is_some() || s.workstation.is_some() => {
            let host = hosts.of(orig, now);
            if let Some(user) = &s.user {
                count(&mut host.users, user, s.head.ts);
            }
            // Null sessions say so.
            if let Some(name) = s.workstation.as_ref().filter(|n| !n.eq_ignore_ascii_case("NULL")) {
                count(&mut host.workstations, name, s.head.ts);
            }
        }
        Record::SelfReport(r) => {
            if let Some(system) = &r.system {
                hosts.of(orig, now).system(of_report(system));
            }
        }
        _ => {}
    }
}

fn learn_conn(hosts: &mut States<'_, HostProfile>, c: &Conn, home: &Home, former: [bool; 2]) {
    let Tuple { orig, resp, transport } = c.head.tuple;
    let (flows, first, last) = (1, c.head.ts, c.last);
    // Who answers nobody, or is not answered, uses and offers nothing; whom it called stands among its remotes.
    if home.contains(orig.ip) && c.packets[0] > 0 && !former[0] {
        let host = hosts.of(orig.ip, c.head.known);
        let talk = Talk { flows, bytes: c.bytes, first, last };
        // An address that only stands for a name is never shown.
        if !Endpoint::is_stand_in(resp.ip) {
            host.remote(resp.ip, talk);
        }
        if c.answered() {
            host.uses.entry((c.service, transport)).or_default().add(talk);
        }
        if c.tunnel_depth == 0 && transport == Transport::Tcp {
            host.system(of_ttl(c.orig_ttl));
        }
    }
    if home.contains(resp.ip) && c.packets[1] > 0 && c.answered() && !former[1] {
        let host = hosts.of(resp.ip, c.head.known);
        let [to, back] = c.bytes;
        host.remote(orig.ip, Talk { flows, bytes: [back, to], first, last });
        // Whom an FTP server connects to for data offers nothing.
        let is_offer = c.start_seen && (orig.port, transport) != (20, Transport::Tcp);
        if is_offer && !matches!(transport, Transport::Icmp | Transport::Icmp6) {
            host.offered((c.service, transport, resp.port), orig.ip, [back, to]);
        }
    }
}

impl Talk {
    fn add(&mut self, other: Self) {
        self.first = if self.flows == 0 { other.first } else { self.first.min(other.first) };
        self.last = self.last.max(other.last);
        self.flows += other.flows;
        for (all, one) in self.bytes.iter_mut().zip(other.bytes) {
            *all = all.saturating_add(one);
        }
    }

    const fn all_bytes(&self) -> u64 {
        self.bytes[0].saturating_add(self.bytes[1])
    }
}

/// What is shown first of files: what can be run, then what packs something.
const fn rank(magic: Magic) -> u8 {
    match magic {
        m if m.is_executable() => 0,
        Magic::WindowsScript | Magic::JavaClass | Magic::Flash | Magic::SealedPe | Magic::Shortcut => 0,
        m if m.is_archive() => 1,
        Magic::Pdf | Magic::Rtf => 2,
        _ => 3,
    }
}

impl HostProfile {
    fn system(&mut self, system: Option<System>) {
        let Some(system) = system else { return };
        if self.systems.len() < MAX_WORDS || self.systems.contains_key(&system) {
            *self.systems.entry(system).or_default() += 1;
        }
    }

    fn remote(&mut self, remote: IpAddr, talk: Talk) {
        if self.remotes.len() >= MAX_REMOTES && !self.remotes.contains_key(&remote) {
            let mut all: Vec<(u64, IpAddr)> =
                self.remotes.iter().map(|(ip, t)| (t.all_bytes(), *ip)).collect();
            all.sort_unstable();
            for (_, ip) in &all[..all.len() / 2] {
                self.remotes.remove(ip);
            }
        }
        self.remotes.entry(remote).or_default().add(talk);
    }

    fn offered(&mut self, what: (Service, Transport, u16), client: IpAddr, bytes: [u64; 2]) {
        if self.offers.len() >= MAX_SERVED && !self.offers.contains_key(&what) {
            return;
        }
        let served = self.offers.entry(what).or_default();
        served.flows += 1;
        for (all, one) in served.bytes.iter_mut().zip(bytes) {
            *all = all.saturating_add(one);
        }
        if served.clients.len() < MAX_CLIENTS && !served.clients.contains(&client) {
            served.clients.push(client);
        }
    }

    fn file(&mut self, f: &FileInfo, remote: IpAddr, sent: bool) {
        let sha256 = f.sha256();
        let told_remote = Some(remote).filter(|ip| !Endpoint::is_stand_in(*ip));
        let same = |known: &FileSeen| {
            known.sent == sent
                && known.len == f.len
                && known.sha256 == sha256
                && known.name == f.name
                && known.kind == f.magic.name()
                // Without a hash, who sent it has to be the same too.
                && (sha256.is_some() || (known.remote == told_remote && known.carrier == f.carrier.name()))
        };
        if let Some(known) = self.files.iter_mut().find(|k| same(k)) {
            known.times += 1;
            return;
        }
        let rank_of = |kind: &str| Magic::named(kind).map_or(u8::MAX, rank);
        if self.files.len() >= MAX_FILES {
            self.more_files += 1;
            let last = self.files.iter().enumerate().max_by_key(|(at, k)| (rank_of(&k.kind), *at));
            let Some((at, _)) = last.filter(|(_, k)| rank_of(&k.kind) > rank(f.magic)) else { return };
            self.files.remove(at);
        }
        self.files.push(FileSeen {
            ts: f.head.ts,
            sent,
            remote: told_remote,
            carrier: f.carrier.name().to_owned(),
            name: f.name.clone(),
            kind: f.magic.name().to_owned(),
            declared: f.declared.clone(),
            len: f.len,
            whole: f.whole,
            sha256,
            times: 1,
        });
    }

    /// What is told of it. `name` gives the name that an address had at a time.
    pub fn tell<'a>(&self, name: impl Fn(IpAddr, Timestamp) -> Option<&'a str>) -> Profile {
        let words = |all: &BTreeMap<String, Times>| {
            let mut all: Vec<Word> = all
                .iter()
                .map(|(value, seen)| Word {
                    value: value.clone(),
                    times: seen.count,
                    first: seen.first,
                    last: seen.last,
                })
                .collect();
            all.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.value.cmp(&b.value)));
            all.truncate(SHOWN);
            all
        };
        let mut systems: Vec<(&System, &u64)> = self.systems.iter().collect();
        systems.sort_by_key(|(system, times)| (system.rank(), std::cmp::Reverse(**times), *system));
        let systems = systems.into_iter().take(SHOWN);
        let mut uses: Vec<ServiceSeen> = self
            .uses
            .iter()
            .map(|((service, transport), t)| ServiceSeen {
                service: service.name().to_owned(),
                port: None,
                transport: transport.to_string(),
                flows: t.flows,
                clients: None,
                bytes: t.bytes,
            })
            .collect();
        uses.sort_by_key(|s| std::cmp::Reverse((s.bytes[0].saturating_add(s.bytes[1]), s.flows)));
        let mut offers: Vec<ServiceSeen> = self
            .offers
            .iter()
            .map(|((service, transport, port), s)| ServiceSeen {
                service: service.name().to_owned(),
                port: Some(*port),
                transport: transport.to_string(),
                flows: s.flows,
                clients: Some(s.clients.len() as u32),
                bytes: s.bytes,
            })
            .collect();
        offers.sort_by_key(|s| std::cmp::Reverse((s.clients, s.flows)));
        let mut remotes: Vec<(&IpAddr, &Talk)> = self.remotes.iter().collect();
        remotes.sort_by_key(|(ip, t)| (std::cmp::Reverse((t.all_bytes(), t.flows)), **ip));
        let remotes = remotes.into_iter().take(SHOWN).map(|(ip, t)| RemoteSeen {
            address: *ip,
            name: name(*ip, t.last).map(str::to_owned),
            flows: t.flows,
            bytes: t.bytes,
            first: t.first,
            last: t.last,
        });
        let mut files = self.files.clone();
        files.sort_by_key(|f| (Magic::named(&f.kind).map_or(u8::MAX, rank), f.ts));
        for all in [&mut uses, &mut offers] {
            all.truncate(SHOWN);
        }
        Profile {
            systems: systems
                .map(|(system, times)| SystemSeen {
                    name: system.name(),
                    by: system.by().to_owned(),
                    is_said: !matches!(system, System::Ttl(_)),
                    times: *times,
                })
                .collect(),
            workstations: words(&self.workstations),
            users: words(&self.users),
            agents: words(&self.agents),
            ja4: words(&self.ja4),
            uses,
            offers,
            remotes: remotes.collect(),
            files,
            more_files: self.more_files,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_can_be_kept() {
        let mut host = HostProfile::default();
        let at = Timestamp::from_secs(7);
        count(&mut host.agents, "curl/8.5.0", at);
        count(&mut host.agents, "curl/8.5.0", Timestamp::from_secs(5));
        host.system(Some(System::Reported("Windows 7".to_owned())));
        let remote: IpAddr = [198, 51, 100, 7].into();
        host.remote(remote, Talk { flows: 1, bytes: [3, 4], first: at, last: at });
        let told = host.tell(|_, _| Some("a.example"));
        assert_eq!((told.agents[0].times, told.agents[0].first), (2, Timestamp::from_secs(5)));
        // A machine that had an address before is kept with what is told of it.
        let mut bytes = Vec::new();
        behaviour::write_down(&(&host, &told), &mut bytes).expect("it has a form");
        let (kept, again): (HostProfile, Profile) =
            behaviour::read_back(&mut bytes.as_slice()).expect("what was written");
        assert_eq!(again, told);
        assert_eq!(kept.tell(|_, _| Some("a.example")), told);
    }

    #[test]
    fn of_many_remotes_those_with_most_bytes_stay() {
        let mut host = HostProfile::default();
        let at = Timestamp::from_secs(1);
        let talk = |bytes| Talk { flows: 1, bytes: [bytes, 0], first: at, last: at };
        for n in 0..5_000u32 {
            host.remote(std::net::Ipv4Addr::from(n).into(), talk(u64::from(n % 7)));
            if n == 100 {
                host.remote([198, 51, 100, 7].into(), talk(1_000_000));
            }
        }
        let told = host.tell(|_, _| None);
        assert!(host.remotes.len() <= MAX_REMOTES && told.remotes.len() == SHOWN);
        assert_eq!(told.remotes[0].address, IpAddr::from([198, 51, 100, 7]));
    }
}
