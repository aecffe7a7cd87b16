//! Which addresses are one host, how sure that is, and when an address changed hands.
//!
//! Nothing is added up across addresses: each keeps its own level, and the reader is told which belong together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::{Mac, Timestamp};
use serde::{Deserialize, Serialize};

use crate::host_book::HostPage;
use crate::story::Verdict;

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
    /// What is said of that address: a machine is what the worst of its addresses is, and their levels are not added up.
    #[serde(default = "nothing")]
    pub verdict: Verdict,
}

const fn nothing() -> Verdict {
    Verdict::Inconclusive
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

/// Which other addresses are probably one machine's, for each page in their order: one page an address and machine. Each with the place of its page.
pub fn identities(pages: &[(IpAddr, &HostPage)]) -> Vec<Vec<(usize, SameHost)>> {
    let mut by_mac: BTreeMap<Mac, Vec<usize>> = BTreeMap::new();
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (_, page)) in pages.iter().enumerate() {
        for mac in page.macs.keys() {
            by_mac.entry(*mac).or_default().push(i);
        }
        for name in page.names.keys() {
            by_name.entry(name).or_default().push(i);
        }
    }
    let mut found: Vec<Vec<(usize, SameHost)>> = vec![Vec::new(); pages.len()];
    let mut add = |a: usize, b: usize, because: String, confidence: f64| {
        for (one, other) in [(a, b), (b, a)] {
            let host = pages[other].0;
            if host != pages[one].0 && !found[one].iter().any(|(_, s)| s.host == host) {
                let same = SameHost { host, because: because.clone(), confidence, verdict: nothing() };
                found[one].push((other, same));
            }
        }
    };
    for (mac, hosts) in &by_mac {
        let of = |v4: bool| hosts.iter().filter(|i| pages[**i].0.is_ipv4() == v4).count();
        if of(true) > MOST_ADDRESSES || of(false) > 2 * MOST_ADDRESSES {
            continue;
        }
        for (i, a) in hosts.iter().enumerate() {
            for b in &hosts[i + 1..] {
                let families = pages[*a].0.is_ipv4() != pages[*b].0.is_ipv4();
                let apart = !families && {
                    let seen = |i: &usize| pages[*i].1.macs.get(mac).copied();
                    // One after the other is a lease that changed; at once is an alias.
                    seen(a).zip(seen(b)).is_some_and(|(x, y)| x.1 < y.0 || y.1 < x.0)
                };
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
        let pages: Vec<(IpAddr, &HostPage)> = list.iter().map(|(ip, p)| (ip.parse().unwrap(), p)).collect();
        let found = identities(&pages);
        let alone = |same: Vec<(usize, SameHost)>| same.into_iter().map(|(_, s)| s).collect::<Vec<_>>();
        let found = pages.iter().map(|p| p.0).zip(found.into_iter().map(alone));
        found.filter(|(_, same)| !same.is_empty()).collect()
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
}
