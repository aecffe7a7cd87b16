//! Names that hosts give themselves, as far as a DHCP server took them: from its acknowledgement, for the same Ethernet address, for the lease.

use std::net::IpAddr;
use std::time::Duration;

use record::{Dhcp, Mac, Timestamp};

use crate::table::SeededMap;

/// Clients whose name waits for the server's word.
const MAX_ASKING: usize = 4096;
/// A lease that says no length: a day, as most servers give (*assumed*).
const USUAL: u32 = 86_400;
/// The type of an acknowledgement.
const ACK: u8 = 5;

/// An address that a server gave to a host that called itself something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub ip: IpAddr,
    /// The host's Ethernet address.
    pub mac: Mac,
    /// What it called itself.
    pub name: Option<String>,
    /// Since when, and until when.
    pub from: Timestamp,
    /// See `from`.
    pub until: Timestamp,
}

/// Pairs what clients say of themselves with what servers acknowledge.
#[derive(Debug, Default)]
pub struct Leases {
    asking: SeededMap<Mac, String>,
}

impl Leases {
    /// Learns from a message; gives the lease that it acknowledges. What a host acknowledges to itself is no server's word.
    pub fn learn(&mut self, d: &Dhcp) -> Option<Lease> {
        let Some(server) = d.server else {
            if let Some(name) = &d.host_name
                && (self.asking.len() < MAX_ASKING || self.asking.contains_key(&d.mac))
            {
                self.asking.insert(d.mac, name.clone());
            }
            return None;
        };
        let ip = d.ip.filter(|ip| d.kind == ACK && *ip != server)?;
        let name = self.asking.remove(&d.mac).or_else(|| d.host_name.clone());
        let lasts = Duration::from_secs(u64::from(d.lease.unwrap_or(USUAL)));
        Some(Lease { ip, mac: d.mac, name, from: d.ts, until: d.ts.plus(lasts) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Endpoint, FlowId, Transport, Tuple};

    fn message(kind: u8, ip: &str, name: Option<&str>, server: Option<&str>) -> Dhcp {
        let end = |port| Endpoint { ip: "0.0.0.0".parse().unwrap(), port };
        Dhcp {
            ts: Timestamp::from_secs(100),
            at: Timestamp::from_secs(100),
            flow: FlowId::default(),
            tuple: Tuple { orig: end(68), resp: end(67), transport: Transport::Udp },
            mac: Mac([2, 0, 0, 0, 0, 1]),
            ip: Some(ip.parse().unwrap()),
            host_name: name.map(str::to_owned),
            kind,
            server: server.map(|s| s.parse().unwrap()),
            resolvers: Vec::new(),
            lease: Some(60),
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
    }
}
