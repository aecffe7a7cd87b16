//! Which addresses are one host, how sure that is, and when an address changed hands.
//!
//! Nothing is added up across addresses: each keeps its own level, and the reader is told which belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use record::{Mac, Timestamp};
use serde::{Deserialize, Serialize};

use crate::host_book::HostPage;
use crate::story::Verdict;

/// An Ethernet address with more local IPv4 addresses than this is a router's (*assumed*).
const MOST_V4: usize = 4;
/// The same of IPv6: a host has several at once, and new ones every day.
const MOST_V6: usize = 16;
/// How sure it must be that two addresses are one machine's to tell of it once (*assumed*).
const SURE: f64 = 0.9;

/// Another address of what is probably the same host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SameHost {
    /// The other address.
    pub host: IpAddr,
    /// Since when it was that machine's, where it was another's before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
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
/// An Ethernet address that `routes` is no machine's; `leased` tells to whom a server gave an address.
pub fn identities(
    pages: &[(IpAddr, &HostPage)],
    routes: impl Fn(Mac) -> bool,
    leased: impl Fn(IpAddr, Mac) -> bool,
) -> Vec<Vec<(usize, SameHost)>> {
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
            if !found[one].iter().any(|(known, _)| *known == other) {
                let (host, page) = pages[other];
                let (since, because) = (page.since, because.clone());
                found[one].push((other, SameHost { host, since, because, confidence, verdict: nothing() }));
            }
        }
    };
    for (mac, mine) in by_mac.iter().filter(|(mac, _)| !routes(**mac)) {
        let of = |v4: bool| {
            let all = mine.iter().map(|i| pages[*i].0).filter(|ip| ip.is_ipv4() == v4);
            all.collect::<BTreeSet<_>>().len()
        };
        if of(true) > MOST_V4 || of(false) > MOST_V6 {
            continue;
        }
        for (i, a) in mine.iter().enumerate() {
            for b in &mine[i + 1..] {
                let (how, confidence) = together(*mac, pages[*a], pages[*b], &leased);
                add(*a, *b, format!("Ethernet address {mac}, {how}"), confidence);
            }
        }
    }
    for (name, mine) in &by_name {
        if mine.len() > MOST_V4 {
            continue;
        }
        for (i, a) in mine.iter().enumerate() {
            for b in mine[i + 1..].iter().filter(|b| pages[**b].0 != pages[*a].0) {
                add(*a, *b, format!("the name {name}, with another Ethernet address"), 0.5);
            }
        }
    }
    found
}

/// How two addresses share an Ethernet address, and how sure it is that they are one machine's.
fn together(
    mac: Mac,
    a: (IpAddr, &HostPage),
    b: (IpAddr, &HostPage),
    leased: impl Fn(IpAddr, Mac) -> bool,
) -> (&'static str, f64) {
    let seen = |page: &HostPage| page.macs.get(&mac).copied();
    // One after the other is a lease that changed, or a router seen little of; at once is an alias.
    let apart = seen(a.1).zip(seen(b.1)).is_some_and(|(x, y)| x.1 < y.0 || y.1 < x.0);
    match (a.0, b.0) {
        (IpAddr::V6(x), IpAddr::V6(y)) if one_link(x, y) => ("as IPv6 addresses of one interface", SURE),
        _ if a.0.is_ipv4() != b.0.is_ipv4() => ("at once, by IPv4 and IPv6", SURE),
        _ if apart && (a.0 == b.0 || leased(a.0, mac) || leased(b.0, mac)) => {
            ("one after the other, as a DHCP server gave them", SURE)
        }
        _ if apart => ("one after the other", 0.8),
        _ => ("at once", 0.7),
    }
}

/// Whether two IPv6 addresses are of one /64, or one of them is of its link alone: a host gives itself several (RFC 8981).
fn one_link(a: Ipv6Addr, b: Ipv6Addr) -> bool {
    a.segments()[..4] == b.segments()[..4] || a.is_unicast_link_local() || b.is_unicast_link_local()
}

/// The machine of each page, as the place of one of its pages: those of which it is sure that they are one have the same.
pub fn machines(same: &[Vec<(usize, SameHost)>]) -> Vec<usize> {
    let mut machine: Vec<Option<usize>> = vec![None; same.len()];
    for first in 0..same.len() {
        let mut waiting = vec![first];
        while let Some(page) = waiting.pop() {
            if machine[page].is_none() {
                machine[page] = Some(first);
                waiting
                    .extend(same[page].iter().filter(|(_, s)| s.confidence >= SURE).map(|(other, _)| *other));
            }
        }
    }
    machine.into_iter().flatten().collect()
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
        let found = identities(&pages, |mac| mac.0[5] == 99, |_, _| false);
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
        assert!(
            of(&[("10.0.0.5", page(&[(99, 0, 9)], &[])), ("fe80::5", page(&[(99, 0, 9)], &[]))]).is_empty()
        );
    }

    #[test]
    fn a_machine_is_all_of_its_addresses_and_no_alias() {
        let list = [
            ("10.0.0.5", page(&[(1, 0, 100)], &[])),
            ("10.0.0.6", page(&[(2, 0, 100)], &["pc7"])),
            ("2001:db8::5", page(&[(1, 50, 300)], &[])),
            ("2001:db8::77", page(&[(1, 90, 300)], &[])),
            ("10.0.0.9", page(&[(3, 0, 100)], &["pc7"])),
            ("10.0.0.8", page(&[(2, 0, 100)], &[])),
            ("10.0.0.20", page(&[(1, 400, 450)], &[])),
            ("10.0.0.21", page(&[(1, 470, 480)], &[])),
            // The same address, had again.
            ("10.0.0.5", page(&[(1, 500, 600)], &[])),
        ];
        let pages: Vec<(IpAddr, &HostPage)> = list.iter().map(|(ip, p)| (ip.parse().unwrap(), p)).collect();
        let leased = |ip: IpAddr, _| ip == pages[6].0;
        let without = machines(&identities(&pages, |_| false, |_, _| false));
        assert_eq!(without, [0, 1, 0, 0, 4, 5, 0, 0, 0], "IPv6 says it too");
        let v4: Vec<(IpAddr, &HostPage)> = pages.iter().filter(|p| p.0.is_ipv4()).copied().collect();
        assert_eq!(machines(&identities(&v4, |_| false, |_, _| false)), [0, 1, 2, 3, 4, 5, 0]);
        assert_eq!(machines(&identities(&v4, |_| false, leased)), [0, 1, 2, 3, 0, 0, 0]);
        assert_eq!(machines(&identities(&pages, |_| false, leased)), [0, 1, 0, 0, 4, 5, 0, 0, 0]);
    }
}
