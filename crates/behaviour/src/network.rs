use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Conn, ConnPhase, Dhcp, Dns, Endpoint, Evidence, Mac, Record, Relay, Service, Timestamp, Tls, Transport,
};
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::chains::Checks;
use crate::context::outbound;
use crate::domains;
use crate::expectations::{Called, Declaration, Expectation, Expectations, Way};
use crate::files::HostFiles;
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
/// Destinations remembered that a host had its own proxy talk with; of further ones nothing is taken on their names.
const MAX_STRAYED: usize = 1024;

/// TLS fingerprints remembered, and hosts that show any.
const MAX_JA4: usize = 4096;
/// Those remembered that one host speaks with.
const MAX_PARTNERS: usize = 1024;

/// What a user runs that explains odd traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Application {
    /// BitTorrent, eDonkey, Gnutella.
    P2p,
    /// Calls.
    Voip,
    /// A tunnel.
    Vpn,
}

/// What is known of a local host, beside what it did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct KnownHost {
    mx: VecDeque<(Timestamp, String)>,
    applications: BTreeMap<Application, Timestamp>,
    called: Called,
    /// Until when its name is the one that a DHCP server took.
    lease_ends: Timestamp,
    /// Resolvers that it asks, at most two.
    asks: Vec<IpAddr>,
    /// Whether a question of its was seen with its answer.
    heard: bool,
    /// With whom it speaks TCP, and of how many the first connection was seen without a side or most of what was said.
    partners: SeededSet<HostKey>,
    partial: usize,
    /// With whom a proxy talks for it that nobody else uses: what it says of names is the host's own word.
    strayed: SeededSet<IpAddr>,
    lease_mac: Option<Mac>,
    /// With whom it speaks FTP: what goes beside is files.
    file_servers: SeededSet<IpAddr>,
}

crate::held!(Application);
crate::held!(KnownHost: mx, applications, called, asks, partners, strayed, file_servers);

impl KnownHost {
    /// What it is called at a time: its Ethernet addresses, and for the lease the name that a DHCP server took.
    pub fn called(&self, at: Timestamp) -> Cow<'_, Called> {
        if at < self.lease_ends {
            return Cow::Borrowed(&self.called);
        }
        Cow::Owned(Called { names: Vec::new(), ..self.called.clone() })
    }

    /// Whether it speaks FTP with a remote.
    pub fn exchanges_files_with(&self, remote: IpAddr) -> bool {
        self.file_servers.contains(&remote)
    }

    /// Whether it was to this Ethernet address that a server last gave the host's address.
    pub fn is_leased_to(&self, mac: Mac) -> bool {
        self.lease_mac == Some(mac)
    }

    /// Whether a question of its was seen with its answer: what nobody was seen to answer may have been answered elsewhere.
    pub const fn hears(&self) -> bool {
        self.heard
    }

    /// Whether with most of those that it speaks with one side or most of what was said is not in the capture: what they answered it, and
    /// what it is for, is unknown. Each counts once, so that repetition blinds nobody.
    pub fn is_blind(&self) -> bool {
        2 * self.partial > self.partners.len()
    }

    /// Whether it asked for mail exchangers within `span` before `ts`.
    pub fn asked_mx(&self, ts: Timestamp, span: Duration) -> bool {
        self.mx.iter().any(|(t, _)| *t <= ts && ts.since(*t) <= span)
    }

    /// When it was last seen to use an application.
    pub fn last_used(&self, application: Application) -> Option<Timestamp> {
        self.applications.get(&application).copied()
    }

    fn learn_lease(&mut self, lease: &Lease) {
        self.called.mac(lease.mac);
        // Who held the address before is no longer called by it; who renews its lease is.
        if self.lease_mac.replace(lease.mac) != Some(lease.mac) || lease.name.is_some() {
            self.called.names.clear();
        }
        self.lease_ends = lease.until;
        if let Some(name) = &lease.name {
            self.called.name(name);
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Named {
    ts: Timestamp,
    name: String,
    /// Who asked for it.
    askers: Vec<IpAddr>,
    /// Whether something hangs on the name: a publisher's, or one that is expected.
    matters: bool,
    /// Who answered; none where a proxy was asked for the name, which means the name and nothing else.
    resolver: Option<IpAddr>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct KnownRemote {
    names: VecDeque<Named>,
    /// Local hosts that it answered, enough to tell whether others use it.
    answered: Vec<IpAddr>,
    /// Names that it has shown certificates for, when that was checked, and whether a public authority stands behind it.
    proven: VecDeque<(Timestamp, String, bool)>,
    users: Vec<IpAddr>,
}

impl KnownRemote {
    /// It answered a local host: who knocks and is not heard, or says that he is somebody else, does not use it.
    fn answers(&mut self, host: IpAddr) {
        if self.answered.len() <= OTHERS && !self.answered.contains(&host) {
            self.answered.push(host);
        }
    }
}

/// What a host is called at a time.
fn called(known: Option<&KnownHost>, at: Timestamp) -> Cow<'_, Called> {
    known.map_or_else(|| Cow::Owned(Called::default()), |known| known.called(at))
}

/// What is known across hosts: names of addresses and who vouches for them, who uses which remote, fingerprints, resolvers, lists.
#[derive(Debug, Serialize, Deserialize)]
pub struct Network {
    home: Home,
    remotes: HostTable<KnownRemote>,
    /// Local hosts, and when the first flow of each began.
    locals: SeededMap<HostKey, Timestamp>,
    most_locals: usize,
    first_contact: bool,
    #[serde(skip)]
    expectations: Expectations,
    #[serde(skip)]
    intel: Intel,
    leases: Leases,
    leased: Option<Lease>,
    /// Resolvers that DHCP servers hand out.
    given: SeededSet<IpAddr>,
    /// Local hosts that each resolver answers, at most two.
    resolvers: SeededMap<IpAddr, Vec<IpAddr>>,
    /// Local hosts that showed each TLS fingerprint to somebody outside, at most two, and those that showed any.
    fingerprints: SeededMap<String, Vec<IpAddr>>,
    speakers: SeededSet<IpAddr>,
    checks: Checks,
}

impl Network {
    /// Knows nothing but where home is; keeps at most `hosts` local hosts and eight times as many remotes.
    pub fn new(home: Home, hosts: usize) -> Self {
        Self {
            home,
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
            fingerprints: SeededMap::default(),
            speakers: SeededSet::default(),
            checks: Checks::default(),
        }
    }

    /// Local hosts that it knows, or an eighth of the remotes, whichever is more.
    pub fn known(&self) -> usize {
        self.locals.len().max(self.remotes.len().div_ceil(8))
    }

    /// Keeps at most so many local hosts from now on, and eight times as many remotes.
    pub fn limit(&mut self, hosts: usize) {
        self.remotes.limit(hosts.saturating_mul(8));
        self.most_locals = hosts;
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
    pub fn expected(&self, evidence: &Evidence, called: &Called) -> Option<String> {
        if self.expectations.is_empty() {
            return None;
        }
        self.expectations.of(evidence, called).map(Expectation::told)
    }

    /// Whether anything is declared of any host.
    pub const fn declares(&self) -> bool {
        !self.expectations.roles.is_empty()
    }

    /// What is declared of a host at a time.
    pub fn declared(&self, host: IpAddr, known: Option<&KnownHost>, at: Timestamp) -> Vec<&Declaration> {
        if !self.declares() {
            return Vec::new();
        }
        self.expectations.declared(host, &called(known, at), at).collect()
    }

    /// The name of the declaration that does not allow a flow of `host` with a remote, by the responder's port.
    pub fn forbids(
        &self,
        (host, known): (IpAddr, Option<&KnownHost>),
        way: Way,
        remote: IpAddr,
        port: u16,
        at: Timestamp,
    ) -> Option<String> {
        let names = self.names_of(remote, at);
        let called = called(known, at);
        let by = self.expectations.forbids(host, &called, way, (remote, &names), port, at)?;
        Some(by.name.clone())
    }

    /// The local networks.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Learns from a record, of hosts into their files.
    pub fn learn(&mut self, record: &Record, files: &mut HostFiles, now: Timestamp) {
        self.first_contact = false;
        self.leased = None;
        self.checks.record();
        match record {
            Record::Dns(dns) => self.learn_dns(dns, files, now),
            Record::Conn(conn) => self.learn_conn(conn, files, now),
            Record::Relay(r) => self.learn_relay(r, files, now),
            Record::Dhcp(d) => self.learn_dhcp(d, files, now),
            Record::Tls(t) => {
                self.learn_fingerprint(t);
                self.learn_certificate(t, files, now);
            }
            _ => {}
        }
    }

    /// Whom a proxy is asked for by name stands under an address that means that name alone. A proxy of the network, or one that others use
    /// too, talks with whom it says; one that a host has found for itself may be its master, and say anything.
    fn learn_relay(&mut self, r: &Relay, files: &mut HostFiles, now: Timestamp) {
        let (host, proxy) = (r.head.tuple.orig.ip, r.head.tuple.resp.ip);
        if let Some(name) = &r.name {
            self.learn_name(r.destination.ip, name, (host, None), r.head.ts, now);
        }
        let others = self.remotes.get(proxy).map_or(0, |p| p.answered.iter().filter(|u| **u != host).count());
        if !self.home.contains(proxy) && others < OTHERS && self.home.contains(host) {
            let strayed = &mut files.card_mut(host, now).known.strayed;
            if strayed.len() < MAX_STRAYED {
                strayed.insert(r.destination.ip);
            }
        }
    }

    fn learn_fingerprint(&mut self, t: &Tls) {
        let Some(host) = outbound(&self.home, &t.head.tuple) else { return };
        if self.speakers.len() < MAX_JA4 {
            self.speakers.insert(host);
        }
        let Some(ja4) = &t.ja4 else { return };
        if self.fingerprints.len() < MAX_JA4 || self.fingerprints.contains_key(ja4) {
            let shown = self.fingerprints.entry(ja4.clone()).or_default();
            if shown.len() < 2 && !shown.contains(&host) {
                shown.push(host);
            }
        }
    }

    /// Whether of at least `hosts` local hosts only `host` shows this TLS fingerprint.
    pub fn is_lonely(&self, host: IpAddr, ja4: Option<&str>, hosts: usize) -> bool {
        let shown = ja4.and_then(|ja4| self.fingerprints.get(ja4));
        self.speakers.len() >= hosts && shown.is_some_and(|s| s.as_slice() == [host])
    }

    /// Where a name would excuse its remote, or is expected, a certificate for it that chains to a public root says that it is the remote's.
    fn learn_certificate(&mut self, t: &Tls, files: &HostFiles, now: Timestamp) {
        let (Some(name), Some(certificate)) = (&t.sni, &t.certificate) else { return };
        let matters = certificate.proof.is_some() && self.matters(name);
        let (host, remote) = (t.head.tuple.orig.ip, t.head.tuple.resp.ip);
        let known = |r: &KnownRemote| {
            r.proven.iter().any(|(ts, n, _)| n == name && t.head.ts.since(*ts) <= NAME_MEMORY)
        };
        // A signature costs as much as many packets: it is asked where nobody else has said it.
        if !matters
            || self.remotes.get(remote).is_some_and(known)
            || self.vouches(host, files.card(host).map(|card| &card.known), remote, name, now)
        {
            return;
        }
        let Some(holds) = self.checks.say(certificate, name, t.head.ts) else { return };
        let proven = &mut self.remotes.of(remote, now).proven;
        proven.retain(|(_, n, _)| n != name);
        proven.push_back((t.head.ts, name.clone(), holds));
        if proven.len() > MAX_NAMES {
            proven.pop_front();
        }
    }

    fn learn_dhcp(&mut self, d: &Dhcp, files: &mut HostFiles, now: Timestamp) {
        if d.server.is_some() {
            for resolver in &d.resolvers {
                if self.given.len() < MAX_RESOLVERS {
                    self.given.insert(*resolver);
                }
            }
        }
        if let Some(lease) = self.leases.learn(d) {
            files.card_mut(lease.ip, now).known.learn_lease(&lease);
            self.leased = Some(lease);
        }
    }

    /// An address is another machine's now, whose file was just begun: of the one before nothing is known but the lease that says so.
    pub fn pass_on(&self, host: IpAddr, files: &mut HostFiles, now: Timestamp) {
        if let Some(lease) = self.leased.as_ref().filter(|l| l.ip == host) {
            files.card_mut(host, now).known.learn_lease(lease);
        }
    }

    /// The lease that the record learned last acknowledges.
    pub const fn leased(&self) -> Option<&Lease> {
        self.leased.as_ref()
    }

    /// Who answers a host's questions.
    fn learn_resolver(&mut self, host: IpAddr, resolver: IpAddr, asks: &mut Vec<IpAddr>) {
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

    /// Whether a resolver is the network's, for a host: handed out by DHCP, used by others too, or the only one that the host asks.
    fn is_networks(&self, resolver: IpAddr, host: Option<&KnownHost>) -> bool {
        self.given.contains(&resolver)
            || self.resolvers.get(&resolver).is_some_and(|users| users.len() > 1)
            || host.is_some_and(|h| h.asks == [resolver])
    }

    /// Whether anybody but the host itself says that `remote` is called `name`: a certificate that chains to a public root, an answer of the
    /// network's resolver, or where none was seen for that address, other hosts that use it. A host that says so alone may say what it likes.
    pub fn vouches(
        &self,
        host: IpAddr,
        of_host: Option<&KnownHost>,
        remote: IpAddr,
        name: &str,
        now: Timestamp,
    ) -> bool {
        let Some(known) = self.remotes.get(remote) else { return false };
        let strays = |h: &KnownHost| {
            let full = h.strayed.len() >= MAX_STRAYED && Endpoint::is_stand_in(remote);
            full || h.strayed.contains(&remote)
        };
        if of_host.is_some_and(strays) {
            return false;
        }
        if known.proven.iter().any(|(ts, n, holds)| *holds && n == name && now.since(*ts) <= NAME_MEMORY) {
            return true;
        }
        let owner = domains::registrable(name);
        let same = |n: &Named| n.name == name || (owner.is_some() && domains::registrable(&n.name) == owner);
        let mut answers = known.names.iter().filter(|n| now.since(n.ts) <= NAME_MEMORY).peekable();
        if answers.peek().is_none() {
            return known.answered.iter().filter(|user| **user != host).count() >= OTHERS;
        }
        answers.any(|n| same(n) && n.resolver.is_none_or(|r| self.is_networks(r, of_host)))
    }

    fn learn_dns(&mut self, dns: &Dns, files: &mut HostFiles, now: Timestamp) {
        let (host, resolver) = (dns.head.tuple.orig.ip, dns.head.tuple.resp.ip);
        let spoke = [true, dns.rcode.is_some()];
        self.learn_ends(dns.head.ts, host, resolver, spoke, now);
        if self.home.contains(host) {
            let known = &mut files.card_mut(host, now).known;
            known.heard |= dns.rtt.is_some();
            if dns.rcode.is_some() {
                self.learn_resolver(host, resolver, &mut known.asks);
            }
            if dns.qtype == Dns::MX {
                known.mx.push_back((dns.head.ts, dns.query.clone()));
                if known.mx.len() > MAX_MX {
                    known.mx.pop_front();
                }
            }
        }
        for ip in dns.answers.iter().filter_map(|answer| answer.addr) {
            self.learn_name(ip, &dns.query, (host, Some(resolver)), dns.head.ts, now);
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
        let matters = |name: &str| self.matters(name);
        let known = self.remotes.get(ip).is_some_and(|r| r.names.iter().any(|n| n.name == name));
        let matters = !known && matters(name);
        let names = &mut self.remotes.of(ip, now).names;
        let known = names.iter().position(|n| n.name == name).and_then(|at| names.remove(at));
        let mut named = known.unwrap_or_else(|| Named {
            ts,
            name: name.to_owned(),
            askers: Vec::new(),
            matters,
            resolver,
        });
        named.ts = ts;
        // Of several that say so, one of the network is worth most.
        if let (Some(before), Some(now)) = (named.resolver, resolver)
            && before != now
            && !self.given.contains(&before)
            && self.resolvers.get(&before).is_none_or(|users| users.len() < 2)
        {
            named.resolver = resolver;
        }
        if named.askers.len() < MAX_ASKERS && !named.askers.contains(&asker) {
            named.askers.push(asker);
        }
        names.push_back(named);
        if names.len() > MAX_NAMES {
            // Many names may share an address: those that something hangs on are kept.
            let least = names.iter().position(|n| !n.matters).unwrap_or(0);
            names.remove(least);
        }
    }

    /// Whether something hangs on what a remote is called: a name that would excuse it, or that is expected.
    fn matters(&self, name: &str) -> bool {
        domains::is_software_update(name)
            || domains::is_connectivity_check(name)
            || self.expectations.names_remote(name)
    }

    fn learn_conn(&mut self, conn: &Conn, files: &mut HostFiles, now: Timestamp) {
        let (orig, resp) = (conn.head.tuple.orig.ip, conn.head.tuple.resp.ip);
        if conn.may_be_new() && conn.head.tuple.transport != Transport::Icmp {
            self.learn_ends(conn.head.ts, orig, resp, conn.packets.map(|n| n > 0), now);
        } else if conn.phase == ConnPhase::Closed
            && conn.head.tuple.transport == Transport::Udp
            && conn.packets[1] > 0
            && self.home.contains(orig)
            && self.home.is_external(resp)
        {
            // A datagram is known for what it is before it is answered.
            self.remotes.of(resp, now).answers(orig);
        }
        if !self.expectations.is_empty()
            && self.home.contains(orig)
            && let Some(mac) = conn.mac[0]
        {
            files.card_mut(orig, now).known.called.mac(mac);
        }
        if conn.phase == ConnPhase::Closed && conn.head.tuple.transport == Transport::Tcp {
            let [said, missed] = [conn.bytes, conn.missed_bytes].map(|b| b[0].saturating_add(b[1]));
            let partial = conn.is_one_sided() || missed > said / 2;
            let whole = !partial && conn.packets[0] > 0 && conn.packets[1] > 0;
            for (ip, other) in [(orig, resp), (resp, orig)] {
                if (partial || whole) && self.home.contains(ip) {
                    let host = &mut files.card_mut(ip, now).known;
                    if host.partners.len() < MAX_PARTNERS && host.partners.insert(HostKey(other)) {
                        host.partial += usize::from(partial);
                    }
                }
            }
        }
        if conn.service == Service::Ftp && self.home.contains(orig) {
            let servers = &mut files.card_mut(orig, now).known.file_servers;
            if servers.len() < MAX_PARTNERS {
                servers.insert(resp);
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
                files.card_mut(ip, now).known.applications.insert(application, now);
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
            let remote = self.remotes.of(resp, now);
            self.first_contact = !remote.users.contains(&orig);
            if self.first_contact && remote.users.len() < MAX_USERS {
                remote.users.push(orig);
            }
            if spoke[1] {
                remote.answers(orig);
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

    /// How a remote is called, if anybody asked for it by name within a day, and whether `host` itself did by a dynamic one.
    pub fn called(&self, host: IpAddr, remote: IpAddr, now: Timestamp) -> (Option<&str>, bool) {
        let dynamic = self.name_for(host, remote, now).is_some_and(domains::is_dynamic);
        (self.name_of(remote, now), dynamic)
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

    /// Local hosts that used `remote`, and local hosts in all.
    pub fn prevalence(&self, remote: IpAddr) -> (usize, usize) {
        (self.remotes.get(remote).map_or(0, |r| r.users.len()), self.locals.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::{Head, RelayKind, Tuple};

    /// A network, and the files of its hosts.
    struct Known(Network, HostFiles);

    impl Known {
        fn learn(&mut self, record: &Record, now: Timestamp) {
            self.0.learn(record, &mut self.1, now);
        }

        fn vouches(&self, host: IpAddr, remote: IpAddr, name: &str, now: Timestamp) -> bool {
            self.0.vouches(host, self.1.card(host).map(|card| &card.known), remote, name, now)
        }

        fn host(&self) -> &KnownHost {
            &self.1.card(ip(HOST)).unwrap().known
        }
    }

    fn network() -> Known {
        Known(Network::new(Home::of(vec!["10.0.0.0/8".parse().unwrap()]), 100), HostFiles::new(1 << 20))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn head(secs: f64, tuple: Tuple) -> Head {
        Head { ts: at(secs), known: at(secs), tuple, ..conn(secs, Transport::Udp, HOST, 1).head }
    }

    fn relay(host: &str, proxy: &str, name: &str) -> Record {
        let tuple = Tuple {
            orig: Endpoint { ip: ip(host), port: 40_000 },
            resp: Endpoint { ip: ip(proxy), port: 3128 },
            transport: Transport::Tcp,
        };
        Record::Relay(Box::new(Relay {
            head: head(1.0, tuple),
            kind: RelayKind::Connect,
            destination: Endpoint::of_name(name, 443),
            name: Some(name.into()),
            packets: vec![],
        }))
    }

    fn uses(network: &mut Known, host: &str, remote: &str) {
        let mut c = conn(1.0, Transport::Tcp, remote, 3128);
        c.head.tuple.orig.ip = ip(host);
        network.learn(&record(c), at(1.0));
    }

    #[test]
    fn who_is_not_answered_vouches_for_nobody() {
        let mut network = network();
        for host in ["10.0.0.7", "10.0.0.8", "10.0.0.9"] {
            let mut c = conn(1.0, Transport::Tcp, REMOTE, 80);
            (c.head.tuple.orig.ip, c.packets) = (ip(host), [1, 0]);
            network.learn(&record(c), at(1.0));
        }
        assert!(!network.vouches(ip(HOST), ip(REMOTE), "update.microsoft.com", at(2.0)));
        for host in ["10.0.0.7", "10.0.0.8"] {
            uses(&mut network, host, REMOTE);
        }
        assert!(network.vouches(ip(HOST), ip(REMOTE), "update.microsoft.com", at(2.0)));
        // QUIC is known by its first datagram, and answered after that.
        let quic = "198.51.100.8";
        for host in ["10.0.0.7", "10.0.0.8"] {
            let mut c = conn(1.0, Transport::Udp, quic, 443);
            (c.head.tuple.orig.ip, c.service) = (ip(host), Service::Quic);
            (c.phase, c.packets) = (ConnPhase::Classified, [1, 0]);
            network.learn(&record(c.clone()), at(1.0));
            assert!(!network.vouches(ip(HOST), ip(quic), "update.microsoft.com", at(1.0)));
            (c.phase, c.packets) = (ConnPhase::Closed, [5, 5]);
            network.learn(&record(c), at(2.0));
        }
        assert!(network.vouches(ip(HOST), ip(quic), "update.microsoft.com", at(3.0)));
    }

    #[test]
    fn a_publishers_name_is_not_crowded_out_of_an_address() {
        let mut network = network();
        network.learn(&dns(1.0, "update.microsoft.com", 1, 0, Some(REMOTE)), at(1.0));
        for i in 0..20 {
            network.learn(&dns(2.0, &format!("n{i}.site{i}.example"), 1, 0, Some(REMOTE)), at(2.0));
        }
        assert!(network.vouches(ip(HOST), ip(REMOTE), "update.microsoft.com", at(3.0)));
        assert_eq!(network.0.names_of(ip(REMOTE), at(3.0)).len(), MAX_NAMES);
    }

    #[test]
    fn a_proxy_that_one_host_has_for_itself_vouches_for_nothing() {
        let name = "update.microsoft.com";
        let remote = Endpoint::of_name(name, 443).ip;
        let mut network = network();
        uses(&mut network, HOST, REMOTE);
        network.learn(&relay(HOST, REMOTE, name), at(2.0));
        assert!(!network.vouches(ip(HOST), remote, name, at(3.0)), "its own");
        assert_eq!(network.0.name_of(remote, at(3.0)), Some(name), "and still it is told what it said");
        network.learn(&relay("10.0.0.6", "10.0.0.3", name), at(3.0));
        assert!(network.vouches(ip("10.0.0.6"), remote, name, at(4.0)), "the network's");
        assert!(!network.vouches(ip(HOST), remote, name, at(4.0)), "whoever else reached it otherwise");
        // A proxy elsewhere that several use is no one host's.
        for host in ["10.0.0.7", "10.0.0.8", "10.0.0.9"] {
            uses(&mut network, host, "203.0.113.3");
        }
        network.learn(&relay("10.0.0.7", "203.0.113.3", name), at(5.0));
        assert!(network.vouches(ip("10.0.0.7"), remote, name, at(6.0)));
    }

    #[test]
    fn blindness_counts_whom_one_speaks_with_and_not_how_often() {
        let mut network = network();
        let speaks = |network: &mut Known, remote: &str, one_sided: bool| {
            let mut c = conn(1.0, Transport::Tcp, remote, 25);
            if one_sided {
                c.packets = [3, 0];
                b"SAD".iter().for_each(|letter| c.history.push(*letter));
            }
            network.learn(&record(c), at(1.0));
        };
        speaks(&mut network, "198.51.100.1", false);
        for _ in 0..50 {
            speaks(&mut network, "198.51.100.3", true);
        }
        assert!(!network.host().is_blind(), "the same again and again");
        speaks(&mut network, "198.51.100.5", true);
        assert!(network.host().is_blind());
    }

    #[test]
    fn a_renewed_lease_keeps_its_name_and_another_host_has_none() {
        let mut network = network();
        let file =
            "[[expect]]\nname = \"x\"\nwho = [\"scanner\"]\nwhy = \"\"\nowner = \"\"\nuntil = \"2030-01-01\"";
        network.0.expect(Expectations::parse(file).unwrap());
        let mut says = |t: f64, mac: u8, name: Option<&str>, server: Option<&str>| {
            let end = |text, port| Endpoint { ip: ip(text), port };
            let tuple = Tuple {
                orig: end("0.0.0.0", 68),
                resp: end("255.255.255.255", 67),
                transport: Transport::Udp,
            };
            let message = Dhcp {
                head: head(t, tuple),
                mac: Mac([2, 0, 0, 0, 0, mac]),
                ip: Some(ip(HOST)),
                host_name: name.map(str::to_owned),
                kind: if server.is_some() { 5 } else { 3 },
                server: server.map(ip),
                resolvers: vec![],
                lease: Some(600),
                vendor: None,
                packets: vec![],
            };
            network.learn(&Record::Dhcp(Box::new(message)), at(t));
            let known = network.1.card(ip(HOST)).map(|card| &card.known);
            called(known, at(t)).names.clone()
        };
        says(1.0, 1, Some("scanner"), None);
        assert_eq!(says(2.0, 1, None, Some("10.0.0.1")), ["scanner"]);
        assert_eq!(says(300.0, 1, None, Some("10.0.0.1")), ["scanner"], "renewed without a name");
        assert!(says(700.0, 2, None, Some("10.0.0.1")).is_empty(), "another host has the address");
    }
}
