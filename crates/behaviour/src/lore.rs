use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{Conn, ConnPhase, Dns, Evidence, Record, Service, Timestamp, Transport};

use crate::Home;
use crate::expectations::{Called, Declaration, Expectation, Expectations, Way};
use crate::intel::Intel;
use crate::table::{HostKey, HostTable, SeededMap};

/// How long a name stays known for an address (DETECTION §4.5: "never resolved by DNS in 24 h").
const NAME_MEMORY: Duration = Duration::from_hours(24);
/// MX questions remembered of one host.
const MAX_MX: usize = 512;
/// Names remembered of one address.
const MAX_NAMES: usize = 4;
/// Hosts remembered that asked for one name.
const MAX_ASKERS: usize = 8;
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
}

#[derive(Debug)]
struct Named {
    ts: Timestamp,
    name: String,
    /// Who asked for it.
    askers: Vec<IpAddr>,
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
        self.expectations.of(evidence, self.called(evidence.host)).map(Expectation::told)
    }

    /// Whether anything is declared of any host.
    pub const fn declares(&self) -> bool {
        !self.expectations.roles.is_empty()
    }

    fn called(&self, host: IpAddr) -> &Called {
        static NOBODY: Called = Called { macs: Vec::new(), names: Vec::new() };
        self.hosts.get(host).map_or(&NOBODY, |h| &h.called)
    }

    /// What is declared of a host at a time.
    pub fn declared(&self, host: IpAddr, at: Timestamp) -> Vec<&Declaration> {
        if !self.declares() {
            return Vec::new();
        }
        self.expectations.declared(host, self.called(host), at).collect()
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
        let by = self.expectations.forbids(host, self.called(host), way, (remote, &names), port, at)?;
        Some(by.name.clone())
    }

    /// The local networks.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Learns from a record.
    pub fn learn(&mut self, record: &Record, now: Timestamp) {
        self.first_contact = false;
        match record {
            Record::Dns(dns) => self.learn_dns(dns, now),
            Record::Conn(conn) => self.learn_conn(conn, now),
            // Whom a proxy is asked for by name stands under an address that means that name alone.
            Record::Relay(r) => {
                if let Some(name) = &r.name {
                    self.learn_name(r.destination.ip, name, r.tuple.orig.ip, r.ts, now);
                }
            }
            Record::Dhcp(d) if !self.expectations.is_empty() => {
                if let (Some(ip), Some(name)) = (d.ip, &d.host_name) {
                    let called = &mut self.hosts.of(ip, now).called;
                    called.name(name);
                    called.mac(d.mac);
                }
            }
            _ => {}
        }
    }

    fn learn_dns(&mut self, dns: &Dns, now: Timestamp) {
        let spoke = [true, dns.rcode.is_some()];
        self.learn_ends(dns.ts, dns.tuple.orig.ip, dns.tuple.resp.ip, spoke, now);
        for ip in dns.answers.iter().filter_map(|answer| answer.addr) {
            self.learn_name(ip, &dns.query, dns.tuple.orig.ip, dns.ts, now);
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
    fn learn_name(&mut self, ip: IpAddr, name: &str, asker: IpAddr, ts: Timestamp, now: Timestamp) {
        let names = &mut self.remotes.of(ip, now).names;
        let known = names.iter().position(|n| n.name == name).and_then(|at| names.remove(at));
        let mut named = known.unwrap_or_else(|| Named { ts, name: name.to_owned(), askers: Vec::new() });
        named.ts = ts;
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
