use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use record::{Conn, FlowId, Mac, Record, Tuple};
use serde::{Deserialize, Serialize};

use crate::table::{SeededMap, SeededSet};

/// The local networks: whose hosts are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    networks: Vec<IpNet>,
    /// The same as (network, mask), because every record is asked about.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Home {
    /// Exactly these networks.
    pub fn of(networks: Vec<IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in &networks {
            match network {
                IpNet::V4(n) => v4.push((u32::from(n.network()), u32::from(n.netmask()))),
                IpNet::V6(n) => v6.push((u128::from(n.network()), u128::from(n.netmask()))),
            }
        }
        Self { networks, v4, v6 }
    }

    /// The private ranges: RFC 1918, shared address space (RFC 6598), unique local (RFC 4193). Link-local addresses say nothing: every
    /// machine has them, on any network.
    pub fn private() -> Self {
        const RANGES: [&str; 5] =
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
        Self::of(RANGES.iter().filter_map(|r| r.parse().ok()).collect())
    }

    /// These networks as well.
    fn and(&self, more: impl IntoIterator<Item = IpNet>) -> Self {
        let mut networks = self.networks.clone();
        networks.extend(more);
        Self::of(networks)
    }

    /// The networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    fn covers(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.iter().any(|(net, mask)| u32::from(ip) & mask == *net),
            IpAddr::V6(ip) => self.v6.iter().any(|(net, mask)| u128::from(ip) & mask == *net),
        }
    }

    /// Whether a host with this address is local.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.covers(ip) && !is_nobody(ip)
    }

    /// Whether an address is somewhere else: neither local nor a group nor nobody's.
    pub fn is_external(&self, ip: IpAddr) -> bool {
        !self.covers(ip) && !is_nobody(ip) && !ip.is_loopback() && !is_link_local(ip)
    }

    /// Whether both ends of a flow are somewhere else, so that it speaks of no host that is judged.
    pub fn is_outside(&self, tuple: &Tuple) -> bool {
        self.is_external(tuple.orig.ip) && self.is_external(tuple.resp.ip)
    }
}

/// Reads a local network as people write it: an address, or a network in CIDR notation whose host bits need not be zero.
///
/// # Errors
/// Names the entry and what was expected.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let entry = text.trim();
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    entry.parse::<IpNet>().map(|n| n.trunc()).map_err(|_| {
        format!("{entry:?} is neither an address (192.0.2.7) nor a network (192.0.2.0/24, 2001:db8::/48)")
    })
}

/// Multicast, broadcast, unspecified.
fn is_nobody(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    }
}

/// 169.254.0.0/16 and fe80::/10.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether an address says something of where home is.
fn says_something(ip: IpAddr) -> bool {
    !is_nobody(ip) && !ip.is_loopback() && !is_link_local(ip)
}

/// Networks (/24, /64) that one Ethernet address may speak for before it is taken for a router's (*assumed*: a host has an address in one
/// or two, and privacy addresses share their /64).
const ROUTER_SPEAKS_FOR: usize = 3;

/// What an Ethernet address was seen to speak for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Spoken {
    networks: BTreeSet<IpNet>,
    /// It also sent from a private or unique local address.
    private: bool,
}

/// Infers the local networks from who talks to whom, when nobody said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HomeGuess {
    /// The private ranges.
    private: Home,
    /// Whether any end has a private address.
    has_private: bool,
    /// Flows by their ends, where both say something, and how many.
    ends: SeededMap<(IpAddr, IpAddr), u64>,
    known: SeededSet<FlowId>,
    stations: BTreeMap<Mac, Spoken>,
    /// Global IPv6 networks, by the Ethernet addresses that opened flows from within.
    openers: BTreeMap<IpNet, BTreeSet<Mac>>,
}

/// The share of flows that the inferred networks must have a part in.
const COVERAGE: f64 = 0.9;
/// The share of those that they must open: a host that many knock at is at home where the capture was made, a server that everybody uses is not
/// (*assumed*).
const OPENED: f64 = 0.25;

impl Default for HomeGuess {
    fn default() -> Self {
        Self {
            private: Home::private(),
            has_private: false,
            ends: SeededMap::default(),
            known: SeededSet::default(),
            stations: BTreeMap::new(),
            openers: BTreeMap::new(),
        }
    }
}

impl HomeGuess {
    /// Learns from a record: of each flow once.
    pub fn learn(&mut self, record: &Record) {
        if let Record::Conn(conn) = record {
            self.learn_stations(conn);
        }
        if self.known.insert(record.head().flow) {
            self.learn_flow(record.tuple());
        }
    }

    fn learn_flow(&mut self, tuple: &Tuple) {
        let (orig, resp) = (tuple.orig.ip, tuple.resp.ip);
        if !says_something(orig) {
            return;
        }
        self.has_private |= self.private.contains(orig);
        if says_something(resp) {
            self.has_private |= self.private.contains(resp);
            *self.ends.entry((orig, resp)).or_default() += 1;
        }
    }

    fn learn_stations(&mut self, conn: &Conn) {
        for (side, ip) in [conn.head.tuple.orig.ip, conn.head.tuple.resp.ip].into_iter().enumerate() {
            let Some(mac) = conn.mac[side] else { continue };
            if conn.packets[side] == 0 || !says_something(ip) {
                continue;
            }
            let Some(network) = network(ip, 24, 64) else { continue };
            let spoken = self.stations.entry(mac).or_default();
            if self.private.contains(ip) {
                spoken.private = true;
                continue;
            }
            if spoken.networks.len() <= ROUTER_SPEAKS_FOR {
                spoken.networks.insert(network);
            }
            if side == 0 && ip.is_ipv6() {
                self.openers.entry(network).or_default().insert(mac);
            }
        }
    }

    /// Global IPv6 networks from which stations open flows that also use a private or unique local address and are no routers.
    fn global_networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        let is_host = |mac: &Mac| {
            self.stations.get(mac).is_some_and(|s| {
                let public_v4 = s.networks.iter().any(|n| n.addr().is_ipv4());
                s.private && s.networks.len() <= ROUTER_SPEAKS_FOR && !public_v4
            })
        };
        self.openers.iter().filter(move |(_, macs)| macs.iter().any(is_host)).map(|(network, _)| *network)
    }

    /// Infers the home of IPv4 and of IPv6, each for itself: the private ranges, and global IPv6 networks whose stations use private
    /// addresses too. Where most flows of a kind have no local end, the networks that open connections join. Says how it was chosen.
    pub fn home(&self) -> (Home, String) {
        let global: Vec<IpNet> = self.global_networks().collect();
        let mut home = self.private.and(global.iter().copied());
        let mut how = vec!["private address ranges (default)".to_owned()];
        if !global.is_empty() {
            how.push(format!("{}, whose stations use private addresses too", names(&global)));
        }
        for v4 in [true, false] {
            let of_kind = || self.ends.iter().filter(|((orig, _), _)| orig.is_ipv4() == v4);
            let all: u64 = of_kind().map(|(_, n)| n).sum();
            let outside = |home: &Home| {
                of_kind()
                    .filter(|((o, r), _)| home.is_external(*o) && home.is_external(*r))
                    .map(|(_, n)| n)
                    .sum()
            };
            let left: u64 = outside(&home);
            if left * 2 > all {
                let (more, because) = self.inferred(v4, &home, left);
                home = home.and(more);
                how.push(because);
            }
        }
        if how.len() > 1 && !self.has_private {
            how.remove(0);
        }
        (home, how.join("; "))
    }

    /// The smallest of: one address, one /24 (/64), one /16 (/48) that has a part in nine tenths of the `flows` without a local end and
    /// opens a quarter; failing that, every address that opens more flows than it accepts.
    fn inferred(&self, v4: bool, home: &Home, flows: u64) -> (Vec<IpNet>, String) {
        let mut seen: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
        let mut ends: Vec<_> = self.ends.iter().collect();
        ends.sort_unstable();
        for ((orig, resp), n) in ends {
            if orig.is_ipv4() == v4 && home.is_external(*orig) && home.is_external(*resp) {
                let from = seen.entry(*orig).or_default();
                (from.0, from.1) = (from.0 + n, from.1 + n);
                seen.entry(*resp).or_default().1 += n;
            }
        }
        for (bits4, bits6, what) in
            [(32, 128, "one address"), (24, 64, "one network"), (16, 48, "one network")]
        {
            let mut by_network: BTreeMap<IpNet, (u64, u64)> = BTreeMap::new();
            for (ip, (opened, all)) in &seen {
                if let Some(network) = network(*ip, bits4, bits6) {
                    let entry = by_network.entry(network).or_default();
                    entry.0 += opened;
                    entry.1 += all;
                }
            }
            let best = by_network
                .iter()
                .filter(|(_, (opened, _))| *opened > 0)
                .max_by_key(|(_, (opened, all))| (*all, *opened));
            if let Some((network, (opened, all))) = best
                && *all as f64 >= COVERAGE * flows as f64
                && *opened as f64 >= OPENED * *all as f64
            {
                let how = format!(
                    "inferred: {what} ({network}) has a part in {all} of {flows} flows and opens {opened}"
                );
                return (vec![*network], how);
            }
        }
        let openers: Vec<IpNet> = seen
            .iter()
            .filter(|(_, (opened, all))| opened * 2 > *all)
            .map(|(ip, _)| IpNet::from(*ip))
            .collect();
        let how =
            format!("inferred: the {} addresses that open more connections than they accept", openers.len());
        (openers, how)
    }
}

/// The first networks of a list, and how many more there are.
fn names(networks: &[IpNet]) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<String> = networks.iter().take(SHOWN).map(ToString::to_string).collect();
    if networks.len() > SHOWN {
        shown.push(format!("{} more", networks.len() - SHOWN));
    }
    shown.join(", ")
}

fn network(ip: IpAddr, v4: u8, v6: u8) -> Option<IpNet> {
    Some(match ip {
        IpAddr::V4(ip) => Ipv4Net::new(ip, v4).ok()?.trunc().into(),
        IpAddr::V6(ip) => Ipv6Net::new(ip, v6).ok()?.trunc().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Endpoint, Transport};

    fn guess(pairs: &[(&str, &str)]) -> HomeGuess {
        let mut guess = HomeGuess::default();
        for (a, b) in pairs {
            let end = |ip: &str| Endpoint { ip: ip.parse().unwrap(), port: 1 };
            guess.learn_flow(&Tuple { orig: end(a), resp: end(b), transport: Transport::Tcp });
        }
        guess
    }

    fn is_home(home: &Home, ip: &str) -> bool {
        home.contains(ip.parse().unwrap())
    }

    /// A flow whose ends were sent by these stations.
    fn station(guess: &mut HomeGuess, (orig, mac): (&str, u8), (resp, other): (&str, u8)) {
        let end = |ip: &str| Endpoint { ip: ip.parse().unwrap(), port: 1 };
        let tuple = Tuple { orig: end(orig), resp: end(resp), transport: Transport::Udp };
        let mut conn = crate::testing::conn(0.0, Transport::Udp, resp, 1);
        conn.head.tuple = tuple;
        conn.mac = [Some(Mac([2, 0, 0, 0, 0, mac])), Some(Mac([2, 0, 0, 0, 0, other]))];
        conn.packets = [1, 1];
        guess.learn_stations(&conn);
        guess.learn_flow(&tuple);
    }

    #[test]
    fn private_addresses_settle_it() {
        let (home, how) = guess(&[("10.0.0.1", "198.51.100.1")]).home();
        assert_eq!((home, how.contains("default")), (Home::private(), true));
    }

    #[test]
    fn one_public_host_is_found() {
        let (home, how) = guess(&[("24.6.125.19", "198.51.100.1"), ("24.6.125.19", "203.0.113.1")]).home();
        assert!(is_home(&home, "24.6.125.19") && !is_home(&home, "203.0.113.1"), "{how}");
    }

    #[test]
    fn a_host_that_many_knock_at_is_at_home_and_a_server_of_everybody_is_not() {
        let mut knocked = vec![("24.6.125.19", "198.51.100.1"), ("24.6.125.19", "203.0.113.1")];
        knocked.extend([
            ("61.1.1.1", "24.6.125.19"),
            ("62.1.1.1", "24.6.125.19"),
            ("63.1.1.1", "24.6.125.19"),
        ]);
        let (home, how) = guess(&knocked).home();
        assert!(is_home(&home, "24.6.125.19") && !is_home(&home, "61.1.1.1"), "{how}");
        let mut served = vec![("203.0.113.1", "147.32.1.1")];
        served.extend([
            ("147.32.1.1", "203.0.113.1"),
            ("147.32.2.2", "203.0.113.1"),
            ("147.32.3.3", "203.0.113.1"),
        ]);
        served.extend([("147.32.4.4", "203.0.113.1"), ("147.32.5.5", "203.0.113.1")]);
        let (home, how) = guess(&served).home();
        assert!(is_home(&home, "147.32.2.2") && !is_home(&home, "203.0.113.1"), "{how}");
    }

    #[test]
    fn a_public_network_is_found() {
        let (home, how) =
            guess(&[("147.32.1.1", "8.8.8.8"), ("147.32.2.2", "9.9.9.9"), ("147.32.3.3", "1.1.1.1")]).home();
        assert!(is_home(&home, "147.32.200.1"), "{how}");
        assert!(!is_home(&home, "8.8.8.8"));
    }

    #[test]
    fn a_stray_private_or_link_local_address_changes_nothing() {
        let public =
            [("192.0.2.13", "198.51.100.1"), ("192.0.2.13", "198.51.100.2"), ("192.0.2.13", "203.0.113.9")];
        for stray in [("192.168.1.1", "192.168.1.2"), ("fe80::1", "ff02::1"), ("169.254.3.4", "192.0.2.13")] {
            let (home, how) = guess(&[&public[..], &[stray]].concat()).home();
            assert!(is_home(&home, "192.0.2.13") && !is_home(&home, "203.0.113.9"), "{stray:?}: {how}");
        }
        // A private network beside a few flows of others stays what it is.
        let mut mixed = vec![("10.0.0.1", "198.51.100.1"); 9];
        mixed.push(("192.0.2.13", "198.51.100.1"));
        let (home, _) = guess(&mixed).home();
        assert!(is_home(&home, "10.0.0.1") && !is_home(&home, "192.0.2.13"));
    }

    #[test]
    fn each_version_is_inferred_for_itself() {
        let (home, how) = guess(&[
            ("10.0.0.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.2"),
            ("10.0.0.1", "198.51.100.3"),
            ("2001:db8::13", "2606:4700::1"),
        ])
        .home();
        assert!(is_home(&home, "10.0.0.1") && is_home(&home, "2001:db8::13"), "{how}");
        assert!(!is_home(&home, "2606:4700::1"), "{how}");
    }

    #[test]
    fn a_global_prefix_is_home_where_its_stations_use_private_addresses() {
        let mut guess = HomeGuess::default();
        station(&mut guess, ("10.0.0.5", 5), ("198.51.100.1", 1));
        station(&mut guess, ("10.0.0.6", 6), ("198.51.100.2", 1));
        // The router has a private address too, and speaks for everybody outside.
        station(&mut guess, ("10.0.0.5", 5), ("10.0.0.1", 1));
        station(&mut guess, ("fd00::6", 6), ("fd00::1", 1));
        for remote in ["2606:4700::1", "2a00:1450::1", "2620::7", "2001:500::1"] {
            station(&mut guess, ("2001:db8:5::5", 5), (remote, 1));
        }
        // Somebody outside opens a flow as well.
        station(&mut guess, ("2606:4700::1", 1), ("2001:db8:5::5", 5));
        let (home, how) = guess.home();
        assert!(is_home(&home, "2001:db8:5::77") && how.contains("2001:db8:5::/64"), "{how}");
        assert!(!is_home(&home, "2606:4700::1"), "{how}");
    }

    #[test]
    fn groups_and_links_are_nobody() {
        let home = Home::of(vec!["224.0.0.0/3".parse().unwrap()]);
        assert!(!is_home(&home, "239.1.1.1"));
        let private = Home::private();
        assert!(!private.is_external("255.255.255.255".parse().unwrap()));
        assert!(!private.is_external("fe80::1".parse().unwrap()) && !is_home(&private, "fe80::1"));
    }

    #[test]
    fn networks_are_read_as_people_write_them() {
        for (text, want) in [
            (" 192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24 ", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), want);
        }
        for bad in ["", "192.0.2", "10.0.0.0/33", "home"] {
            assert!(parse_network(bad).unwrap_err().contains(&format!("{:?}", bad.trim())));
        }
    }
}
