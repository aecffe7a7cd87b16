use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Conn, ConnPhase, Dhcp, Dns, Evidence, Record, Service, Timestamp, Transport};

use crate::Home;
use crate::domains;
use crate::expectations::{Called, Declaration, Expectation, Expectations, Way};
use crate::intel::Intel;
use crate::leases::{Lease, Leases};
use crate::table::{HostKey, HostTable, SeededMap, SeededSet};

/// How long a name stays known for an address (DETECTION §4.5: "never resolved by DNS in 24 h").
const NAME_MEMORY: Duration = Duration::from_hours(24);
/// MX questions remembered of one host.
const MAX_MX: usize = 512;
/// Names remembered of one address.
const MAX_NAMES: usize = 4;
/// Hosts remembered that asked for one name.
const MAX_ASKERS: usize = 8;
/// Resolvers remembered.
const MAX_RESOLVERS: usize = 256;
/// Other local hosts that use a remote, where nobody was seen to say what it is called, before it is what it says (*assumed*).
const OTHERS: usize = 2;
/// Local hosts remembered of one remote: enough to tell a popular one.
const MAX_USERS: usize = 64;

/// What a user runs that explains odd traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Application {
    /// BitTorrent, eDonkey, Gnutella.
    P2p,
    /// Calls.
    Voip,
    /// A tunnel.
    Vpn,
}

#[derive(Debug, Default)]
struct HostLore {
    mx: VecDeque<(Timestamp, String)>,
    applications: BTreeMap<Application, Timestamp>,
    called: Called,
    /// Until when its name is the one that a DHCP server took.
    lease_ends: Timestamp,
    /// Resolvers that it asks, at most two.
    asks: Vec<IpAddr>,
    /// Whether a question of its was seen with its answer.
    heard: bool,
    /// Connections that were seen with both sides and most of what they said, and those that were not.
    whole: u64,
    partial: u64,
}

#[derive(Debug)]
struct Named {
    ts: Timestamp,
    name: String,
    /// Who asked for it.
    askers: Vec<IpAddr>,
    /// Who answered; nobody where a proxy was asked for the name, which means the name and nothing else.
    resolver: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct RemoteLore {
    names: VecDeque<Named>,
    users: Vec<IpAddr>,
}

/// What is known of hosts, names and applications, for every behaviour.
#[derive(Debug)]
pub struct Lore {
    home: Home,
    hosts: HostTable<HostLore>,
    remotes: HostTable<RemoteLore>,
    /// Local hosts, and when the first flow of each began.
    locals: SeededMap<HostKey, Timestamp>,
    most_locals: usize,
    first_contact: bool,
    expectations: Expectations,
    intel: Intel,
    leases: Leases,
    leased: Option<Lease>,
    /// Resolvers that DHCP servers hand out.
    given: SeededSet<IpAddr>,
    /// Local hosts that each resolver answers, at most two.
    resolvers: SeededMap<IpAddr, Vec<IpAddr>>,
}

impl Lore {
    /// Knows nothing but where home is; keeps at most `hosts` local hosts and eight times as many remotes.
    pub fn new(home: Home, hosts: usize) -> Self {
        Self {
            home,
            hosts: HostTable::new(hosts),
            remotes: HostTable::new(hosts.saturating_mul(8)),
            locals: SeededMap::default(),
            most_locals: hosts,
            first_contact: false,
            expectations: Expectations::default(),
            intel: Intel::default(),
            leases: Leases::default(),
            leased: None,
            given: SeededSet::default(),
            resolvers: SeededMap::default(),
        }
    }

    /// Takes what the people who run the network expect.
    pub fn expect(&mut self, expectations: Expectations) {
        self.expectations = expectations;
    }

    /// Takes the user's lists of indicators.
    pub fn inform(&mut self, intel: Intel) {
        self.intel = intel;
    }

    /// The user's lists of indicators.
    pub const fn intel(&self) -> &Intel {
        &self.intel
    }

    /// The name of the expectation that evidence fulfils, if it does.
    pub fn expected(&self, evidence: &Evidence) -> Option<String> {
        if self.expectations.is_empty() {
            return None;
        }
        let called = self.called(evidence.host, evidence.ts);
        // A name that the host alone says, and DNS says otherwise, fulfils nothing.
        let vouched = |name: &str| {
            evidence.remotes.iter().all(|remote| {
                self.names_of(*remote, evidence.ts).is_empty()
                    || self.vouches(evidence.host, *remote, name, evidence.ts)
            })
        };
        self.expectations.of_vouched(evidence, &called, vouched).map(Expectation::told)
    }

    /// Whether anything is declared of any host.
    pub const fn declares(&self) -> bool {
        !self.expectations.roles.is_empty()
    }

    fn called(&self, host: IpAddr, at: Timestamp) -> Cow<'_, Called> {
        match self.hosts.get(host) {
            None => Cow::Owned(Called::default()),
            Some(h) if at < h.lease_ends => Cow::Borrowed(&h.called),
            Some(h) => Cow::Owned(Called { names: Vec::new(), ..h.called.clone() }),
        }
    }

    /// What is declared of a host at a time.
    pub fn declared(&self, host: IpAddr, at: Timestamp) -> Vec<&Declaration> {
        if !self.declares() {
            return Vec::new();
        }
        self.expectations.declared(host, &self.called(host, at), at).collect()
    }

    /// The name of the declaration that does not allow a flow of `host` with a remote, by the responder's port.
    pub fn forbids(
        &self,
        host: IpAddr,
        way: Way,
        remote: IpAddr,
        port: u16,
        at: Timestamp,
    ) -> Option<String> {
        let names = self.names_of(remote, at);
        let called = self.called(host, at);
        let by = self.expectations.forbids(host, &called, way, (remote, &names), port, at)?;
        Some(by.name.clone())
    }

    /// The local networks.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Learns from a record.
    pub fn learn(&mut self, record: &Record, now: Timestamp) {
        self.first_contact = false;
        self.leased = None;
        match record {
            Record::Dns(dns) => self.learn_dns(dns, now),
            Record::Conn(conn) => self.learn_conn(conn, now),
            // Whom a proxy is asked for by name stands under an address that means that name alone.
            Record::Relay(r) => {
                if let Some(name) = &r.name {
                    self.learn_name(r.destination.ip, name, (r.tuple.orig.ip, None), r.ts, now);
                }
            }
            Record::Dhcp(d) => self.learn_dhcp(d, now),
            _ => {}
        }
    }

    fn learn_dhcp(&mut self, d: &Dhcp, now: Timestamp) {
        if d.server.is_some() {
            for resolver in &d.resolvers {
                if self.given.len() < MAX_RESOLVERS {
                    self.given.insert(*resolver);
                }
            }
        }
        self.leased = self.leases.learn(d);
        if let Some(lease) = &self.leased {
            let host = self.hosts.of(lease.ip, now);
            host.called.mac(lease.mac);
            // Who held the address before is no longer called by it.
            host.called.names.clear();
            host.lease_ends = lease.until;
            if let Some(name) = &lease.name {
                host.called.name(name);
            }
        }
    }

    /// The lease that the record learned last acknowledges.
    pub const fn leased(&self) -> Option<&Lease> {
        self.leased.as_ref()
    }

    /// Who answers a host's questions.
    fn learn_resolver(&mut self, host: IpAddr, resolver: IpAddr, now: Timestamp) {
        if !self.home.contains(host) {
            return;
        }
        let asks = &mut self.hosts.of(host, now).asks;
        // Two are enough to say that there is not only one.
        if asks.len() < 2 && !asks.contains(&resolver) {
            asks.push(resolver);
        }
        if self.resolvers.len() < MAX_RESOLVERS || self.resolvers.contains_key(&resolver) {
            let users = self.resolvers.entry(resolver).or_default();
            if users.len() < 2 && !users.contains(&host) {
                users.push(host);
            }
        }
    }

    /// Whether a host's questions were seen with their answers: what nobody was seen to answer may have been answered elsewhere.
    pub fn hears(&self, host: IpAddr) -> bool {
        self.hosts.get(host).is_some_and(|h| h.heard)
    }

    /// Whether of most connections of a host one side or most of what they said is not in the capture, so that what others answered it, and
    /// what it is for, is unknown.
    pub fn is_blind(&self, host: IpAddr) -> bool {
        self.hosts.get(host).is_some_and(|h| h.partial > h.whole)
    }

    /// Whether a resolver is the network's, for a host: handed out by DHCP, used by others too, or the only one that the host asks.
    fn is_networks(&self, resolver: IpAddr, host: IpAddr) -> bool {
        self.given.contains(&resolver)
            || self.resolvers.get(&resolver).is_some_and(|users| users.len() > 1)
            || self.hosts.get(host).is_some_and(|h| h.asks == [resolver])
    }

    /// Whether anybody but the host itself says that `remote` is called `name`: an answer of the network's resolver, or where none was seen
    /// for that address, other hosts that use it. A host that says so alone may say what it likes.
    pub fn vouches(&self, host: IpAddr, remote: IpAddr, name: &str, now: Timestamp) -> bool {
        let Some(known) = self.remotes.get(remote) else { return false };
        let owner = domains::registrable(name);
        let same = |n: &Named| n.name == name || (owner.is_some() && domains::registrable(&n.name) == owner);
        let mut answers = known.names.iter().filter(|n| now.since(n.ts) <= NAME_MEMORY).peekable();
        if answers.peek().is_none() {
            return known.users.iter().filter(|user| **user != host).count() >= OTHERS;
        }
        answers.any(|n| same(n) && n.resolver.is_none_or(|r| self.is_networks(r, host)))
    }

    fn learn_dns(&mut self, dns: &Dns, now: Timestamp) {
        let spoke = [true, dns.rcode.is_some()];
        self.learn_ends(dns.ts, dns.tuple.orig.ip, dns.tuple.resp.ip, spoke, now);
        if dns.rtt.is_some() && self.home.contains(dns.tuple.orig.ip) {
            self.hosts.of(dns.tuple.orig.ip, now).heard = true;
        }
        if dns.rcode.is_some() {
            self.learn_resolver(dns.tuple.orig.ip, dns.tuple.resp.ip, now);
        }
        for ip in dns.answers.iter().filter_map(|answer| answer.addr) {
            let resolver = Some(dns.tuple.resp.ip);
            self.learn_name(ip, &dns.query, (dns.tuple.orig.ip, resolver), dns.ts, now);
        }
        if dns.qtype == Dns::MX && self.home.contains(dns.tuple.orig.ip) {
            let mx = &mut self.hosts.of(dns.tuple.orig.ip, now).mx;
            mx.push_back((dns.ts, dns.query.clone()));
            if mx.len() > MAX_MX {
                mx.pop_front();
            }
        }
    }

    /// An address has a name, as somebody was told or said.
    fn learn_name(
        &mut self,
        ip: IpAddr,
        name: &str,
        (asker, resolver): (IpAddr, Option<IpAddr>),
        ts: Timestamp,
        now: Timestamp,
    ) {
        let names = &mut self.remotes.of(ip, now).names;
        let known = names.iter().position(|n| n.name == name).and_then(|at| names.remove(at));
        let mut named =
            known.unwrap_or_else(|| Named { ts, name: name.to_owned(), askers: Vec::new(), resolver });
        named.ts = ts;
        // Of several that say so, one of the network is worth most.
        if let (Some(before), Some(now)) = (named.resolver, resolver)
            && before != now
            && !self.given.contains(&before)
        {
            named.resolver = resolver;
        }
        if named.askers.len() < MAX_ASKERS && !named.askers.contains(&asker) {
            named.askers.push(asker);
        }
        names.push_back(named);
        if names.len() > MAX_NAMES {
            names.pop_front();
        }
    }

    fn learn_conn(&mut self, conn: &Conn, now: Timestamp) {
        let (orig, resp) = (conn.tuple.orig.ip, conn.tuple.resp.ip);
        if conn.may_be_new() && conn.tuple.transport != Transport::Icmp {
            self.learn_ends(conn.ts, orig, resp, conn.packets.map(|n| n > 0), now);
        }
        if !self.expectations.is_empty()
            && self.home.contains(orig)
            && let Some(mac) = conn.mac[0]
        {
            self.hosts.of(orig, now).called.mac(mac);
        }
        if conn.phase == ConnPhase::Closed && conn.tuple.transport == Transport::Tcp {
            let [said, missed] = [conn.bytes, conn.missed_bytes].map(|b| b[0].saturating_add(b[1]));
            let partial = conn.is_one_sided() || missed > said / 2;
            let whole = !partial && conn.packets[0] > 0 && conn.packets[1] > 0;
            for ip in [orig, resp] {
                if (partial || whole) && self.home.contains(ip) {
                    let host = self.hosts.of(ip, now);
                    host.partial += u64::from(partial);
                    host.whole += u64::from(whole);
                }
            }
        }
        // An application is verified when both sides speak it.
        if conn.phase == ConnPhase::Interim || (conn.packets[0] == 0 || conn.packets[1] == 0) {
            return;
        }
        let application = match conn.service {
            s if s.is_p2p() => Application::P2p,
            s if s.is_vpn() => Application::Vpn,
            Service::Sip | Service::Rtp | Service::Stun => Application::Voip,
            _ => return,
        };
        for ip in [orig, resp] {
            if self.home.contains(ip) {
                self.hosts.of(ip, now).applications.insert(application, now);
            }
        }
    }

    /// Who talks with whom, since when.
    fn learn_ends(&mut self, ts: Timestamp, orig: IpAddr, resp: IpAddr, spoke: [bool; 2], now: Timestamp) {
        let local = [self.home.contains(orig), self.home.contains(resp)];
        for (ip, side) in [orig, resp].into_iter().zip(0..) {
            // Being called by somebody makes no host: it must have said something.
            if !local[side] || !spoke[side] {
                continue;
            }
            if let Some(since) = self.locals.get_mut(&HostKey(ip)) {
                *since = ts.min(*since);
            } else if self.locals.len() < self.most_locals {
                self.locals.insert(HostKey(ip), ts);
            }
        }
        if local[0] && !local[1] && self.home.is_external(resp) {
            let users = &mut self.remotes.of(resp, now).users;
            self.first_contact = !users.contains(&orig);
            if self.first_contact && users.len() < MAX_USERS {
                users.push(orig);
            }
        }
    }

    /// Whether the record learned last tells of a local host's first contact with a remote; of a remote that many use, each
    /// record may be.
    pub const fn first_contact(&self) -> bool {
        self.first_contact
    }

    /// When the first flow of a local host began, as far as was told.
    pub fn since(&self, host: IpAddr) -> Option<Timestamp> {
        self.locals.get(&HostKey(host)).copied()
    }

    /// The name last resolved to `ip` within a day.
    pub fn name_of(&self, ip: IpAddr, now: Timestamp) -> Option<&str> {
        let last = self.remotes.get(ip)?.names.back()?;
        (now.since(last.ts) <= NAME_MEMORY).then_some(last.name.as_str())
    }

    /// The name of `ip` that `host` itself last asked for within a day.
    pub fn name_for(&self, host: IpAddr, ip: IpAddr, now: Timestamp) -> Option<&str> {
        let asked = |n: &&Named| n.askers.contains(&host) && now.since(n.ts) <= NAME_MEMORY;
        self.remotes.get(ip)?.names.iter().rev().find(asked).map(|n| n.name.as_str())
    }

    /// All names resolved to `ip` within a day, newest last, at most four.
    pub fn names_of(&self, ip: IpAddr, now: Timestamp) -> Vec<&str> {
        let names = self.remotes.get(ip).map(|r| r.names.iter());
        names
            .into_iter()
            .flatten()
            .filter(|n| now.since(n.ts) <= NAME_MEMORY)
            .map(|n| n.name.as_str())
            .collect()
    }

    /// Whether `host` asked for mail exchangers within `span` before `ts`.
    pub fn asked_mx(&self, host: IpAddr, ts: Timestamp, span: Duration) -> bool {
        self.hosts.get(host).is_some_and(|h| h.mx.iter().any(|(t, _)| *t <= ts && ts.since(*t) <= span))
    }

    /// When `host` was last seen to use an application.
    pub fn last_used(&self, host: IpAddr, application: Application) -> Option<Timestamp> {
        self.hosts.get(host)?.applications.get(&application).copied()
    }

    /// Local hosts that used `remote`, and local hosts in all.
    pub fn prevalence(&self, remote: IpAddr) -> (usize, usize) {
        (self.remotes.get(remote).map_or(0, |r| r.users.len()), self.locals.len())
    }
}
