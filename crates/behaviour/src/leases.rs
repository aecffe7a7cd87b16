//! Names that hosts give themselves, as far as a DHCP server took them: from its acknowledgement, for the same Ethernet address, for the lease.

use std::net::IpAddr;
use std::time::Duration;

use record::{Dhcp, Mac, Timestamp};
use serde::{Deserialize, Serialize};

use crate::table::SeededMap;

/// Clients whose name waits for the server's word.
const MAX_ASKING: usize = 4096;
/// A lease that says no length: a day, as most servers give (*assumed*).
const USUAL: u32 = 86_400;
/// The type of an acknowledgement.
const ACK: u8 = 5;

/// An address that a server gave to a host that called itself something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub ip: IpAddr,
    /// The host's Ethernet address.
    pub mac: Mac,
    /// What it called itself.
    pub name: Option<String>,
    /// What its DHCP program calls itself.
    pub vendor: Option<String>,
    /// Since when, and until when.
    pub from: Timestamp,
    /// See `from`.
    pub until: Timestamp,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Said {
    name: Option<String>,
    vendor: Option<String>,
}

/// Pairs what clients say of themselves with what servers acknowledge.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Leases {
    /// What each client called itself and its program last, and when.
    asking: SeededMap<Mac, (Timestamp, Said)>,
}

impl Leases {
    /// Learns from a message; gives the lease that it acknowledges. What a host acknowledges to itself is no server's word.
    pub fn learn(&mut self, d: &Dhcp) -> Option<Lease> {
        let Some(server) = d.server else {
            if d.host_name.is_some() || d.vendor.is_some() {
                if self.asking.len() >= MAX_ASKING && !self.asking.contains_key(&d.mac) {
                    self.forget_older_half();
                }
                let (ts, said) = self.asking.entry(d.mac).or_default();
                *ts = d.head.ts;
                said.name = d.host_name.clone().or_else(|| said.name.take());
                said.vendor = d.vendor.clone().or_else(|| said.vendor.take());
            }
            return None;
        };
        let ip = d.ip.filter(|ip| d.kind == ACK && *ip != server)?;
        // A lease is renewed many times, and not each time does a client say its name.
        let said = self.asking.get(&d.mac).map(|(_, said)| said.clone()).unwrap_or_default();
        let name = said.name.or_else(|| d.host_name.clone());
        let lasts = Duration::from_secs(u64::from(d.lease.unwrap_or(USUAL)));
        Some(Lease {
            ip,
            mac: d.mac,
            name,
            vendor: said.vendor,
            from: d.head.ts,
            until: d.head.ts.plus(lasts),
        })
    }

    /// Those that said their names longest ago go, in one sweep for as many that come.
    fn forget_older_half(&mut self) {
        let mut times: Vec<(Timestamp, Mac)> = self.asking.iter().map(|(mac, (ts, _))| (*ts, *mac)).collect();
        times.sort_unstable();
        for (_, mac) in times.iter().take(MAX_ASKING / 2) {
            self.asking.remove(mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Endpoint, FlowId, Head, Transport, Tuple};

    fn message(kind: u8, ip: &str, name: Option<&str>, server: Option<&str>) -> Dhcp {
        let end = |port| Endpoint { ip: "0.0.0.0".parse().unwrap(), port };
        Dhcp {
            head: Head {
                ts: Timestamp::from_secs(100),
                known: Timestamp::from_secs(100),
                site: 0,
                segment: None,
                flow: FlowId::default(),
                tuple: Tuple { orig: end(68), resp: end(67), transport: Transport::Udp },
            },
            mac: Mac([2, 0, 0, 0, 0, 1]),
            ip: Some(ip.parse().unwrap()),
            host_name: name.map(str::to_owned),
            kind,
            server: server.map(|s| s.parse().unwrap()),
            resolvers: Vec::new(),
            lease: Some(60),
            vendor: None,
            packets: Vec::new(),
        }
    }

    #[test]
    fn a_name_counts_from_the_servers_word() {
        let mut leases = Leases::default();
        assert_eq!(leases.learn(&message(3, "10.0.0.5", Some("scanner"), None)), None, "its own word");
        assert_eq!(leases.learn(&message(5, "10.0.0.5", None, Some("10.0.0.5"))), None, "to itself");
        let lease = leases.learn(&message(5, "10.0.0.5", None, Some("10.0.0.1"))).unwrap();
        assert_eq!((lease.name.as_deref(), lease.until), (Some("scanner"), Timestamp::from_secs(160)));
        let renewed = leases.learn(&message(5, "10.0.0.5", None, Some("10.0.0.1"))).unwrap();
        assert_eq!(renewed.name.as_deref(), Some("scanner"));
    }

    #[test]
    fn many_that_ask_keep_nobody_from_being_heard() {
        let mut leases = Leases::default();
        for i in 0..3 * MAX_ASKING as u64 {
            let mut asks = message(3, "10.0.0.5", Some("noise"), None);
            asks.head.ts = Timestamp::from_secs(i as i64);
            asks.mac = Mac([2, 0, (i >> 24) as u8, (i >> 16) as u8, (i >> 8) as u8, i as u8]);
            leases.learn(&asks);
            assert!(leases.asking.len() <= MAX_ASKING);
        }
        let mut asks = message(3, "10.0.0.5", Some("late"), None);
        asks.head.ts = Timestamp::from_secs(1 << 20);
        asks.mac = Mac([4; 6]);
        leases.learn(&asks);
        let mut ack = message(5, "10.0.0.5", None, Some("10.0.0.1"));
        ack.mac = Mac([4; 6]);
        assert_eq!(leases.learn(&ack).unwrap().name.as_deref(), Some("late"));
    }
}
