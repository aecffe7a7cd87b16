//! State per host, bounded: the longest silent host is forgotten first.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

use foldhash::fast::{FixedState, RandomState};

use record::Timestamp;
use serde::{Deserialize, Serialize};

/// A map under a hash that is cheap and seeded anew on each run: packets choose the keys, and every record asks.
pub type SeededMap<K, V> = HashMap<K, V, RandomState>;
/// A set under the same hash.
pub type SeededSet<K> = HashSet<K, RandomState>;

/// A hash that is the same on every run, for what is only compared: a name, say.
pub fn hash_of(what: &(impl Hash + ?Sized)) -> u64 {
    FixedState::default().hash_one(what)
}

/// An address under a hash of one step: that of `IpAddr` itself takes kind, length and bytes one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey(pub IpAddr);

impl Hash for HostKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpAddr::V4(ip) => state.write_u32(ip.to_bits()),
            IpAddr::V6(ip) => state.write_u128(ip.to_bits()),
        }
    }
}

/// A map from hosts to state that holds at most so many.
#[derive(Debug, Serialize, Deserialize)]
pub struct HostTable<T> {
    hosts: SeededMap<HostKey, (Timestamp, T)>,
    most: usize,
    forgotten: u64,
}

impl<T: Default> HostTable<T> {
    /// Keeps at most `most` hosts.
    pub fn new(most: usize) -> Self {
        Self { hosts: SeededMap::default(), most: most.max(16), forgotten: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Keeps at most `most` hosts from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most.max(16);
        while self.hosts.len() > self.most {
            self.forget();
        }
    }

    /// The state of a host, made if it was not there.
    pub fn of(&mut self, host: IpAddr, now: Timestamp) -> &mut T {
        let host = HostKey(host);
        if self.hosts.len() >= self.most && !self.hosts.contains_key(&host) {
            self.forget();
        }
        let entry = self.hosts.entry(host).or_insert_with(|| (now, T::default()));
        entry.0 = entry.0.max(now);
        &mut entry.1
    }

    /// The state of a host, if it is there.
    pub fn get(&self, host: IpAddr) -> Option<&T> {
        self.hosts.get(&HostKey(host)).map(|(_, t)| t)
    }

    /// The state of a host, if it is there, to be changed.
    pub fn get_mut(&mut self, host: IpAddr) -> Option<&mut T> {
        self.hosts.get_mut(&HostKey(host)).map(|(_, t)| t)
    }

    /// Forgets a host.
    pub fn remove(&mut self, host: IpAddr) {
        self.hosts.remove(&HostKey(host));
    }

    /// Every host, in the order of addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.hosts.keys().map(|k| k.0).collect();
        all.sort_unstable();
        all
    }

    /// Hosts that were forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets an eighth, the longest silent; ties by address, so that every run forgets the same.
    fn forget(&mut self) {
        let mut order: Vec<(Timestamp, IpAddr)> =
            self.hosts.iter().map(|(k, (seen, _))| (*seen, k.0)).collect();
        order.sort_unstable();
        for (_, ip) in order.into_iter().take((self.most / 8).max(1)) {
            self.hosts.remove(&HostKey(ip));
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_is_forgotten_first() {
        let mut table: HostTable<u32> = HostTable::new(16);
        for i in 0..100u8 {
            *table.of(IpAddr::from([10, 0, 0, i]), Timestamp::from_secs(i64::from(i))) += 1;
            assert!(table.hosts.len() <= 16);
        }
        assert!(table.get(IpAddr::from([10, 0, 0, 99])).is_some());
        assert!(table.get(IpAddr::from([10, 0, 0, 1])).is_none());
        assert!(table.forgotten() >= 84);
    }
}
