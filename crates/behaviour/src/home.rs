use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use record::Tuple;

/// The local networks: whose hosts are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// The private ranges: RFC 1918, shared address space (RFC 6598), link-local, unique local (RFC 4193).
    pub fn private() -> Self {
        const RANGES: [&str; 7] = [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ];
        Self::of(RANGES.iter().filter_map(|r| r.parse().ok()).collect())
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
        self.covers(ip) && !is_group(ip)
    }

    /// Whether an address is somewhere else: neither local nor a group nor nobody's.
    pub fn is_external(&self, ip: IpAddr) -> bool {
        !self.covers(ip) && !is_group(ip) && !ip.is_loopback()
    }
}

/// Multicast, broadcast, unspecified.
fn is_group(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    }
}

/// Infers the local networks from who talks to whom, when nobody said.
#[derive(Clone, Debug, Default)]
pub struct HomeGuess {
    /// Flows by address: opened, and in all.
    seen: BTreeMap<IpAddr, (u64, u64)>,
    flows: u64,
    private: bool,
}

/// The share of flows that the inferred networks must have a part in.
const COVERAGE: f64 = 0.9;

impl HomeGuess {
    /// Learns from a flow.
    pub fn learn(&mut self, tuple: &Tuple) {
        let private = Home::private();
        if is_group(tuple.orig.ip) {
            return;
        }
        self.private |= private.contains(tuple.orig.ip) || private.contains(tuple.resp.ip);
        self.flows += 1;
        let orig = self.seen.entry(tuple.orig.ip).or_default();
        orig.0 += 1;
        orig.1 += 1;
        if !is_group(tuple.resp.ip) {
            self.seen.entry(tuple.resp.ip).or_default().1 += 1;
        }
    }

    /// Whether private addresses occur, so that nothing needs to be inferred.
    pub fn has_private(&self) -> bool {
        self.private
    }

    /// The smallest of: one address, one /24 (/64), one /16 (/48) that has a part in nine tenths of the flows and opens some;
    /// failing that, every address that opens more flows than it accepts. Says how it was chosen.
    pub fn home(&self) -> (Home, String) {
        if self.private || self.flows == 0 {
            return (Home::private(), "private address ranges (default)".to_owned());
        }
        for (v4, v6, what) in [(32, 128, "one address"), (24, 64, "one network"), (16, 48, "one network")] {
            let mut by_network: BTreeMap<IpNet, (u64, u64)> = BTreeMap::new();
            for (ip, (opened, all)) in &self.seen {
                if let Some(network) = network(*ip, v4, v6) {
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
                && *all as f64 >= COVERAGE * self.flows as f64
                && opened * 2 >= *all
            {
                let how = format!(
                    "inferred: {what} ({network}) has a part in {all} of {} flows and opens {opened}",
                    self.flows
                );
                return (Home::of(vec![*network]), how);
            }
        }
        let openers: Vec<IpNet> = self
            .seen
            .iter()
            .filter(|(_, (opened, all))| opened * 2 > *all)
            .map(|(ip, _)| IpNet::from(*ip))
            .collect();
        let how =
            format!("inferred: the {} addresses that open more connections than they accept", openers.len());
        (Home::of(openers), how)
    }
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
            guess.learn(&Tuple { orig: end(a), resp: end(b), transport: Transport::Tcp });
        }
        guess
    }

    #[test]
    fn private_addresses_settle_it() {
        let (home, how) = guess(&[("10.0.0.1", "198.51.100.1")]).home();
        assert_eq!((home, how.contains("default")), (Home::private(), true));
    }

    #[test]
    fn one_public_host_is_found() {
        let (home, how) = guess(&[("24.6.125.19", "198.51.100.1"), ("24.6.125.19", "203.0.113.1")]).home();
        assert!(
            home.contains("24.6.125.19".parse().unwrap()) && !home.contains("203.0.113.1".parse().unwrap()),
            "{how}"
        );
    }

    #[test]
    fn a_public_network_is_found() {
        let (home, how) =
            guess(&[("147.32.1.1", "8.8.8.8"), ("147.32.2.2", "9.9.9.9"), ("147.32.3.3", "1.1.1.1")]).home();
        assert!(home.contains("147.32.200.1".parse().unwrap()), "{how}");
        assert!(!home.contains("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn groups_are_nobody() {
        let home = Home::of(vec!["224.0.0.0/3".parse().unwrap()]);
        assert!(!home.contains("239.1.1.1".parse().unwrap()));
        assert!(!Home::private().is_external("255.255.255.255".parse().unwrap()));
    }
}
