use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use behaviour::{Home, HostFiles, HostState, States};
use record::{Conn, ConnPhase, Dns, Record, Role, Smtp, Timestamp, Transport};
use serde::{Deserialize, Serialize};

/// Accepted transactions that make a mail server (DETECTION §3).
const DELIVERIES: u64 = 20;
/// Share of its transactions that a mail server gets accepted (DETECTION §3).
const DELIVERY_SHARE: f64 = 0.9;
/// Clients or upstream servers that make a resolver (*assumed*).
const RESOLVER_PEERS: usize = 3;
/// Contacts with one service that show a period (*assumed*).
const MONITOR_CONTACTS: usize = 8;
/// Kinds of hosts behind an address that translates (DETECTION §3).
const STACKS: usize = 3;
/// Connections that show a kind (*assumed*).
const STACK_FLOWS: u64 = 3;
/// Times that a proxy is asked, before it is one (*assumed*).
const RELAYED: u64 = 3;
/// Times to live below this are set on purpose (*assumed*).
const LEAST_TTL: u8 = 32;
/// Local services other than mail that a monitor calls with a period, at least (*assumed*).
const MONITOR_SERVICES: usize = 3;
/// Relative deviation of a monitor's period, at most (*assumed*).
const MONITOR_JITTER: f64 = 0.05;

/// A role and why it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleSeen {
    /// The role.
    pub role: Role,
    /// When it was first clear.
    pub since: Timestamp,
    /// What showed it.
    pub because: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct HostRoles {
    seen: BTreeMap<Role, RoleSeen>,
    accepted: u64,
    refused: u64,
    clients: BTreeSet<IpAddr>,
    upstreams: BTreeSet<IpAddr>,
    contacts: BTreeMap<(IpAddr, u16), VecDeque<Timestamp>>,
    /// Local services that were called with a period.
    periodic: BTreeSet<(IpAddr, u16)>,
    /// Time-to-live of the TCP flows it opened, and how many had each.
    hops: BTreeMap<u8, u64>,
    /// How often it was asked as a proxy.
    relayed: u64,
}

/// Where what a host is for stands in its file.
pub const ROLES: u8 = HostFiles::BESIDE + 1;

/// Learns from a record.
pub fn learn(hosts: &mut States<'_, HostRoles>, record: &Record, home: &Home, now: Timestamp) {
    match record {
        Record::Smtp(s) => learn_smtp(hosts, s, home, now),
        Record::Dns(d) => learn_dns(hosts, d, home, now),
        Record::Conn(c) => learn_conn(hosts, c, home, now),
        Record::Relay(r) if home.contains(r.head.tuple.resp.ip) => {
            let host = hosts.of(r.head.tuple.resp.ip, now);
            host.relayed += 1;
            if host.relayed >= RELAYED {
                let how = r.kind.name();
                host.gain(Role::Nat, now, || format!("is asked as a proxy ({how})"));
            }
        }
        _ => {}
    }
}

fn learn_smtp(hosts: &mut States<'_, HostRoles>, s: &Smtp, home: &Home, now: Timestamp) {
    let server = s.head.tuple.resp.ip;
    if home.contains(server) && s.banner_code == Some(220) && s.head.tuple.resp.port == 25 {
        let host = hosts.of(server, now);
        host.gain(Role::MailServer, now, || "accepts mail on port 25 with 220".into());
    }
    let client = s.head.tuple.orig.ip;
    // What goes on under TLS is not seen; a server that takes it to TLS has taken the client for a mail server, and bots do not ask.
    let encrypted = s.starttls_used && s.head.tuple.resp.port == 25;
    if home.contains(client) && !home.contains(server) && (s.mail_count > 0 || encrypted) && !s.auth {
        let host = hosts.of(client, now);
        if s.accepted_count > 0 || encrypted {
            host.accepted += 1;
        } else if !s.missing[1] && (s.rejects == 0 || s.deferrals < s.rejects) {
            // Where words of the server are missing, its consent may be among them.
            host.refused += 1;
        }
        let share = host.accepted as f64 / (host.accepted + host.refused).max(1) as f64;
        if host.accepted >= DELIVERIES && share >= DELIVERY_SHARE {
            let (n, all) = (host.accepted, host.accepted + host.refused);
            host.gain(Role::MailSender, now, || format!("{n} of {all} deliveries accepted"));
        } else if share < DELIVERY_SHARE {
            host.seen.remove(&Role::MailSender);
        }
    }
}

fn learn_dns(hosts: &mut States<'_, HostRoles>, d: &Dns, home: &Home, now: Timestamp) {
    let (client, server) = (d.head.tuple.orig.ip, d.head.tuple.resp.ip);
    if d.head.tuple.resp.port != 53 {
        return;
    }
    if home.contains(server) && d.rcode.is_some() {
        let host = hosts.of(server, now);
        if host.clients.len() < RESOLVER_PEERS {
            host.clients.insert(client);
        }
        // Answering alone may be an authoritative server; asking others makes it a resolver either way.
        if host.clients.len() >= RESOLVER_PEERS || !host.upstreams.is_empty() {
            let n = host.clients.len();
            host.gain(Role::Resolver, now, || format!("answers DNS questions of {n} or more hosts"));
        }
    }
    if home.contains(client) && !home.contains(server) && !d.recursion_desired {
        let host = hosts.of(client, now);
        if host.upstreams.len() <= RESOLVER_PEERS {
            host.upstreams.insert(server);
        }
        if host.upstreams.len() >= RESOLVER_PEERS {
            host.gain(Role::Resolver, now, || "asks authoritative servers without recursion".into());
        }
    }
}

fn learn_conn(hosts: &mut States<'_, HostRoles>, c: &Conn, home: &Home, now: Timestamp) {
    if c.phase == ConnPhase::Interim {
        return;
    }
    let both = c.packets[0] > 0 && c.packets[1] > 0;
    let application = match c.service {
        s if s.is_p2p() => Some(Role::P2pUser),
        s if s.is_vpn() => Some(Role::VpnUser),
        record::Service::Sip | record::Service::Rtp | record::Service::Stun => Some(Role::VoipUser),
        _ => None,
    };
    if let Some(role) = application.filter(|_| both) {
        for ip in [c.head.tuple.orig.ip, c.head.tuple.resp.ip] {
            if home.contains(ip) {
                let host = hosts.of(ip, now);
                host.gain(role, now, || format!("{} with {}", c.service, c.head.tuple.resp));
            }
        }
    }
    if c.phase == ConnPhase::Closed
        && c.head.tuple.transport == Transport::Tcp
        && c.start_seen
        && c.answered()
        && c.orig_ttl >= LEAST_TTL
        && home.contains(c.head.tuple.orig.ip)
    {
        hosts.of(c.head.tuple.orig.ip, now).stack(c.orig_ttl, now);
    }
    let client = c.head.tuple.orig.ip;
    if c.phase == ConnPhase::Closed
        && c.head.tuple.transport == Transport::Tcp
        && (c.head.tuple.resp.port == 25 || home.contains(c.head.tuple.resp.ip))
        && home.contains(client)
    {
        let host = hosts.of(client, now);
        host.period((c.head.tuple.resp.ip, c.head.tuple.resp.port), c.head.ts, now);
    }
}

/// The roles of a host.
pub fn roles(files: &HostFiles, host: IpAddr) -> Vec<RoleSeen> {
    let roles: Option<&HostRoles> = files.get(ROLES, host);
    roles.map(|h| h.seen.values().cloned().collect()).unwrap_or_default()
}

impl HostRoles {
    fn gain(&mut self, role: Role, now: Timestamp, because: impl Fn() -> String) {
        self.seen.entry(role).or_insert_with(|| RoleSeen { role, since: now, because: because() });
    }

    /// One host sends with one time-to-live; what a router passes on has as many as there are kinds of hosts and paths behind it.
    fn stack(&mut self, ttl: u8, now: Timestamp) {
        *self.hops.entry(ttl).or_default() += 1;
        let kinds = || self.hops.iter().filter(|(_, n)| **n >= STACK_FLOWS).map(|(ttl, _)| ttl);
        if self.seen.contains_key(&Role::Nat) || kinds().count() < STACKS {
            return;
        }
        let kinds: Vec<String> = kinds().map(ToString::to_string).collect();
        self.gain(Role::Nat, now, || format!("opens connections with times to live of {}", kinds.join(", ")));
    }

    fn period(&mut self, service: (IpAddr, u16), ts: Timestamp, now: Timestamp) {
        if self.contacts.len() >= 64 && !self.contacts.contains_key(&service) {
            return;
        }
        let times = self.contacts.entry(service).or_default();
        times.push_back(ts);
        times.make_contiguous().sort_unstable();
        if times.len() > MONITOR_CONTACTS {
            times.pop_front();
        }
        if times.len() < MONITOR_CONTACTS {
            return;
        }
        let gaps: Vec<f64> =
            times.iter().zip(times.iter().skip(1)).map(|(a, b)| b.since(*a).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        if mean >= Duration::from_secs(5).as_secs_f64() && deviation <= MONITOR_JITTER * mean {
            self.periodic.insert(service);
            let of = self.periodic.len();
            if service.1 == 25 || of >= MONITOR_SERVICES {
                self.gain(Role::Monitor, now, || {
                    let more = if of > 1 { format!(", and {} more so", of - 1) } else { String::new() };
                    format!("contacts {}:{} every {mean:.0} s{more}", service.0, service.1)
                });
            }
        }
    }
}

behaviour::held!(RoleSeen: because);
behaviour::held!(HostRoles: seen, clients, upstreams, contacts, periodic, hops);
impl HostState for HostRoles {}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{ConnState, Endpoint, FlowId, Head, History, KeyPackets, PacketId, Service, Tuple};

    fn opened(n: u64, ttl: u8) -> Conn {
        let at = Timestamp::from_secs(n as i64);
        let end = |ip: &str, port| Endpoint { ip: ip.parse().unwrap(), port };
        Conn {
            via: None,
            phase: ConnPhase::Closed,
            head: Head {
                ts: at,
                known: at,
                site: 0,
                segment: None,
                flow: FlowId { packet: PacketId::new(0, n + 1), layer: 0 },
                tuple: Tuple {
                    orig: end("10.0.0.5", 40_000 + n as u16),
                    resp: end("198.51.100.7", 443),
                    transport: Transport::Tcp,
                },
            },
            last: at,
            service: Service::Tls,
            state: ConnState::SF,
            history: History::default(),
            packets: [3, 3],
            bytes: [10, 10],
            frame_bytes: [0, 0],
            missed_bytes: [0, 0],
            start_seen: true,
            syn_retransmits: 0,
            first_payload: [None, None],
            first_speaker: None,
            first_lengths: [0; 8],
            beats: Vec::new(),
            payload_packets: [1, 1],
            turns: 1,
            mac: [None, None],
            tunnel_depth: 0,
            orig_ttl: ttl,
            key_packets: KeyPackets::default(),
        }
    }

    fn roles_of(ttls: &[u8]) -> Vec<Role> {
        let mut files = HostFiles::new(1 << 20);
        let home = Home::private();
        for (n, ttl) in (0..).zip(ttls) {
            let c = opened(n, *ttl);
            learn(&mut files.states(ROLES), &Record::Conn(c.clone()), &home, c.head.known);
        }
        super::roles(&files, "10.0.0.5".parse().unwrap()).into_iter().map(|r| r.role).collect()
    }

    #[test]
    fn a_monitor_calls_several_local_services_with_a_period() {
        let learn = |services: &[&str], jitter: i64| {
            let mut files = HostFiles::new(1 << 20);
            for n in 0..10 {
                for service in services {
                    let mut c = opened(n, 64);
                    c.head.ts = Timestamp::from_secs(n as i64 * 60 + if n % 2 == 0 { jitter } else { 0 });
                    c.head.tuple.resp = Endpoint { ip: service.parse().unwrap(), port: 80 };
                    super::learn(
                        &mut files.states(ROLES),
                        &Record::Conn(c.clone()),
                        &Home::private(),
                        c.head.known,
                    );
                }
            }
            super::roles(&files, "10.0.0.5".parse().unwrap()).into_iter().map(|r| r.role).collect::<Vec<_>>()
        };
        let three = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        assert_eq!(learn(&three, 0), [Role::Monitor]);
        assert!(learn(&three, 20).is_empty(), "no period");
        assert!(learn(&three[..2], 0).is_empty(), "two are a habit");
        assert!(learn(&["198.51.100.1", "198.51.100.2", "198.51.100.3"], 0).is_empty(), "elsewhere");
    }

    #[test]
    fn roles_have_names() {
        assert!(Role::ALL.iter().all(|r| Role::named(&r.to_string()) == Some(*r)));
        assert_eq!(Role::named("janitor"), None);
    }

    #[test]
    fn several_stacks_behind_an_address() {
        assert_eq!(roles_of(&[63, 127, 62, 63, 127, 62, 63, 127, 62]), [Role::Nat]);
        assert!(roles_of(&[64; 30]).is_empty(), "one host");
        assert!(roles_of(&[64, 128, 64, 128, 64, 128, 64, 128]).is_empty(), "two: a host with a guest");
        assert!(roles_of(&[64, 64, 64, 128, 128, 128, 255, 255]).is_empty(), "not often enough");
        assert!(roles_of(&[64, 64, 64, 128, 128, 128, 5, 5, 5]).is_empty(), "a trace of a path");
    }
}
