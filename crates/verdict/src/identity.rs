//! Which addresses are one host, how sure that is, and when an address changed hands.
//!
//! Nothing is added up across addresses: each keeps its own level, and the reader is told which belong together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::{Mac, Timestamp};
use serde::{Deserialize, Serialize};

use crate::host_book::HostPage;

/// An Ethernet address with more local addresses than this of one family is a router's (*assumed*).
const MOST_ADDRESSES: usize = 4;

/// Another address of what is probably the same host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SameHost {
    /// The other address.
    pub host: IpAddr,
    /// What they share.
    pub because: String,
    /// How sure it is, 0–1 (*assumed*).
    pub confidence: f64,
}

/// An address went from one host to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedHands {
    /// Whose it was.
    pub from: String,
    /// Whose it is.
    pub to: String,
    /// When the latter was first seen with it.
    pub at: Timestamp,
}

/// What is known of every local address, by address.
pub fn identities(pages: &BTreeMap<IpAddr, &HostPage>) -> BTreeMap<IpAddr, Vec<SameHost>> {
    let mut by_mac: BTreeMap<Mac, Vec<IpAddr>> = BTreeMap::new();
    let mut by_name: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for (ip, page) in pages {
        for mac in page.macs.keys() {
            by_mac.entry(*mac).or_default().push(*ip);
        }
        for name in page.names.keys() {
            by_name.entry(name).or_default().push(*ip);
        }
    }
    let mut found: BTreeMap<IpAddr, Vec<SameHost>> = BTreeMap::new();
    let mut add = |a: IpAddr, b: IpAddr, because: String, confidence: f64| {
        for (one, other) in [(a, b), (b, a)] {
            let known = found.entry(one).or_default();
            if !known.iter().any(|s| s.host == other) {
                known.push(SameHost { host: other, because: because.clone(), confidence });
            }
        }
    };
    for (mac, hosts) in &by_mac {
        let of = |v4: bool| hosts.iter().filter(|h| h.is_ipv4() == v4).count();
        if of(true) > MOST_ADDRESSES || of(false) > 2 * MOST_ADDRESSES {
            continue;
        }
        for (i, a) in hosts.iter().enumerate() {
            for b in &hosts[i + 1..] {
                let apart = a.is_ipv4() == b.is_ipv4() && {
                    let seen = |ip| pages.get(ip).and_then(|p| p.macs.get(mac)).copied();
                    // One after the other is a lease that changed; at once is an alias.
                    seen(a).zip(seen(b)).is_some_and(|(x, y)| x.1 < y.0 || y.1 < x.0)
                };
                let families = a.is_ipv4() != b.is_ipv4();
                let (how, confidence) = match (families, apart) {
                    (true, _) => ("at once, by IPv4 and IPv6", 0.9),
                    (false, true) => ("one after the other", 0.9),
                    (false, false) => ("at once", 0.7),
                };
                add(*a, *b, format!("Ethernet address {mac}, {how}"), confidence);
            }
        }
    }
    for (name, hosts) in &by_name {
        if hosts.len() > MOST_ADDRESSES {
            continue;
        }
        for (i, a) in hosts.iter().enumerate() {
            for b in &hosts[i + 1..] {
                add(*a, *b, format!("the name {name}, with another Ethernet address"), 0.5);
            }
        }
    }
    found
}

/// When an address went from one Ethernet address to another: their times do not overlap.
pub fn changes(page: &HostPage) -> Vec<ChangedHands> {
    let mut order: Vec<(&Mac, &(Timestamp, Timestamp))> = page.macs.iter().collect();
    order.sort_by_key(|(_, seen)| seen.0);
    order
        .windows(2)
        .filter(|w| w[0].1.1 < w[1].1.0)
        .map(|w| ChangedHands { from: w[0].0.to_string(), to: w[1].0.to_string(), at: w[1].1.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(macs: &[(u8, i64, i64)], names: &[&str]) -> HostPage {
        let mut page = HostPage::default();
        for (mac, from, to) in macs {
            let seen = (Timestamp::from_secs(*from), Timestamp::from_secs(*to));
            page.macs.insert(Mac([2, 0, 0, 0, 0, *mac]), seen);
        }
        for name in names {
            page.names.insert((*name).to_owned(), (Timestamp::from_secs(0), Timestamp::from_secs(0)));
        }
        page
    }

    fn of(list: &[(&str, HostPage)]) -> BTreeMap<IpAddr, Vec<SameHost>> {
        identities(&list.iter().map(|(ip, p)| (ip.parse().unwrap(), p)).collect())
    }

    #[test]
    fn one_host_with_two_addresses() {
        let same = of(&[
            ("10.0.0.5", page(&[(1, 0, 100)], &[])),
            ("10.0.0.9", page(&[(1, 200, 300)], &[])),
            ("fe80::5", page(&[(1, 0, 300)], &[])),
            ("10.0.0.7", page(&[(2, 0, 300)], &[])),
        ]);
        let mine = &same[&"10.0.0.5".parse().unwrap()];
        assert_eq!(mine.len(), 2);
        assert!(mine.iter().any(|s| s.host.is_ipv4() && s.because.contains("one after the other")));
        assert!(mine.iter().any(|s| s.host.is_ipv6() && s.confidence > 0.8));
        assert!(!same.contains_key(&"10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn a_router_is_nobodys_twin_and_a_name_is_a_hint() {
        let many: Vec<(String, HostPage)> =
            (0..9).map(|i| (format!("10.0.1.{i}"), page(&[(1, 0, 9)], &[]))).collect();
        let many: Vec<(&str, HostPage)> = many.iter().map(|(ip, p)| (ip.as_str(), p.clone())).collect();
        assert!(of(&many).is_empty());
        let named =
            of(&[("10.0.0.5", page(&[(1, 0, 9)], &["pc7"])), ("10.0.0.6", page(&[(2, 0, 9)], &["pc7"]))]);
        assert!((named[&"10.0.0.5".parse().unwrap()][0].confidence - 0.5).abs() < 1e-9);
    }

    #[test]
    fn an_address_that_changed_hands() {
        let told = changes(&page(&[(1, 0, 100), (2, 200, 300)], &[]));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].from.as_str(), told[0].at), ("02:00:00:00:00:01", Timestamp::from_secs(200)));
        assert!(
            changes(&page(&[(1, 0, 250), (2, 200, 300)], &[])).is_empty(),
            "two at once: a bond, or a fight"
        );
    }
}
