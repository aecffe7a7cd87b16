//! Whose an address is, and when it went from one machine to another.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use behaviour::SeededMap;
use record::{Mac, Segment, Timestamp};
use serde::{Deserialize, Serialize};

use crate::identity::ChangedHands;

/// An address is another machine's when that was seen with it for so long while the one before was silent (*assumed*).
const STAY: Duration = Duration::from_mins(3);
/// IPv4 addresses of which an Ethernet address may have spoken for and still stand for one machine; a repeater speaks for itself and for those
/// behind it (*assumed*). An IPv6 host has several addresses at once, and new ones every day.
const MOST_V4: usize = 2;
const MOST_V6: usize = 16;
/// Ethernet addresses of which it is known whom they speak for.
const MAX_NEIGHBOURS: usize = 1 << 16;

/// The Ethernet addresses of the network, each with the first addresses that it spoke for: who speaks for many is a router, and proves nothing.
#[derive(Default, Serialize, Deserialize)]
pub struct Neighbours(SeededMap<Mac, Spoken>);

/// Whom an Ethernet address spoke for.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Spoken {
    /// The first IPv4 addresses; how many, one more than are kept where there were more.
    v4: [u32; MOST_V4],
    many_v4: u8,
    /// The last IPv6 addresses, and how many came that were none of them.
    v6: [Option<Ipv6Addr>; 4],
    many_v6: u8,
    /// Whether it spoke for an address that is somewhere else.
    outside: bool,
}

impl Neighbours {
    /// A frame came from `mac` for `ip`, which is somewhere else or not.
    pub fn learn(&mut self, mac: Mac, ip: IpAddr, outside: bool) {
        if self.0.len() >= MAX_NEIGHBOURS && !self.0.contains_key(&mac) {
            return;
        }
        let spoken = self.0.entry(mac).or_default();
        spoken.outside |= outside;
        match ip {
            // What a host gives itself before it has an address says nothing.
            IpAddr::V4(ip) if ip.is_unspecified() || ip.is_link_local() => {}
            IpAddr::V4(ip) => {
                let known = usize::from(spoken.many_v4).min(MOST_V4);
                if usize::from(spoken.many_v4) <= MOST_V4 && !spoken.v4[..known].contains(&ip.to_bits()) {
                    if let Some(free) = spoken.v4.get_mut(known) {
                        *free = ip.to_bits();
                    }
                    spoken.many_v4 += 1;
                }
            }
            IpAddr::V6(ip) => {
                if !spoken.v6.contains(&Some(ip)) {
                    spoken.v6.rotate_right(1);
                    spoken.v6[0] = Some(ip);
                    spoken.many_v6 = spoken.many_v6.saturating_add(1);
                }
            }
        }
    }

    /// Those that carry what comes from elsewhere, as routers do.
    pub fn routers(&self) -> impl Iterator<Item = Mac> {
        self.0.iter().filter(|(_, spoken)| spoken.outside).map(|(mac, _)| *mac)
    }

    /// Whether it says nothing of a machine: it speaks for many, or it is no machine's address but a group's or a filled-in one.
    fn proves_nothing(&self, mac: Mac) -> bool {
        let is_none = mac.0 == [0; 6] || mac.0[0] & 1 != 0;
        is_none
            || self.0.get(&mac).is_none_or(|spoken| {
                usize::from(spoken.many_v4) > MOST_V4 || usize::from(spoken.many_v6) > MOST_V6
            })
    }
}

/// The machine that has an address, as far as Ethernet and DHCP tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Holder {
    mac: Option<Mac>,
    last: Timestamp,
    /// The segment of the network that it was seen in.
    segment: Option<Segment>,
    /// Two segments in which the address was used at once.
    repeated: Option<[Option<Segment>; 2]>,
    /// Who may have it now, since when.
    next: Option<(Mac, Timestamp)>,
    /// Whom a server gave it to last.
    leased: Option<Mac>,
    /// Whom a server gave it to while another was seen with it, and when: it is that one's as soon as it speaks.
    promised: Option<(Mac, Timestamp)>,
}

behaviour::held!(Holder);

impl Holder {
    /// A machine spoke from the address between two moments; gives the change of hands that this proves.
    pub fn spoke(
        &mut self,
        mac: Mac,
        (from, to): (Timestamp, Timestamp),
        segment: Option<Segment>,
        neighbours: &Neighbours,
    ) -> Option<ChangedHands> {
        if neighbours.proves_nothing(mac) {
            return None;
        }
        let Some(holder) = self.mac.filter(|m| !neighbours.proves_nothing(*m)) else {
            (self.mac, self.last, self.segment, self.next) = (Some(mac), to, segment, None);
            return None;
        };
        if holder == mac {
            if self.next.is_some_and(|(_, since)| to >= since) {
                self.next = None;
            }
            if self.promised.is_some_and(|(_, at)| to > at) {
                self.promised = None;
            }
            self.last = self.last.max(to);
            return None;
        }
        if let Some((_, at)) = self.promised.filter(|(promised, at)| *promised == mac && to >= *at) {
            (self.mac, self.last, self.next, self.promised) = (Some(mac), to, None, None);
            self.segment = segment;
            return Some(ChangedHands { from: holder.to_string(), to: mac.to_string(), at });
        }
        // Two at once are a bond, or a fight.
        if from <= self.last {
            // In two segments they are two machines.
            if segment != self.segment {
                self.repeated.get_or_insert([self.segment, segment]);
            }
            self.next = None;
            return None;
        }
        let since = self.next.filter(|(next, _)| *next == mac).map_or(from, |(_, since)| since.min(from));
        self.next = Some((mac, since));
        if to.since(since) < STAY {
            return None;
        }
        (self.mac, self.last, self.segment, self.next) = (Some(mac), to, segment, None);
        Some(ChangedHands { from: holder.to_string(), to: mac.to_string(), at: since })
    }

    /// Two segments of the network in which machines used the address at once.
    pub const fn repeated(&self) -> Option<[Option<Segment>; 2]> {
        self.repeated
    }

    /// A server gave the address to a machine; gives the change of hands that this proves. Where the machine that has it is seen, a server's word
    /// alone proves nothing, since anybody can say it: the other must speak, and this one no more.
    pub fn given(&mut self, mac: Mac, at: Timestamp, neighbours: &Neighbours) -> Option<ChangedHands> {
        let before = self.leased.replace(mac);
        match self.mac.filter(|m| !neighbours.proves_nothing(*m)) {
            Some(seen) => {
                self.promised = (seen != mac).then_some((mac, at));
                None
            }
            None => before.filter(|before| *before != mac).map(|before| ChangedHands {
                from: before.to_string(),
                to: mac.to_string(),
                at,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn known() -> Neighbours {
        let mut neighbours = Neighbours::default();
        for mac in [A, B] {
            neighbours.learn(mac, "10.0.0.5".parse().unwrap(), false);
        }
        neighbours
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Each machine with the moments of a flow.
    fn run(flows: &[(Mac, i64, i64)], neighbours: &Neighbours) -> Vec<i64> {
        let mut holder = Holder::default();
        let spoke =
            |(mac, from, to): &(Mac, i64, i64)| holder.spoke(*mac, (at(*from), at(*to)), None, neighbours);
        flows.iter().filter_map(spoke).map(|c| c.at.0 / 1_000_000_000).collect()
    }

    #[test]
    fn who_stays_while_the_other_is_silent_has_it() {
        let n = known();
        assert_eq!(run(&[(A, 0, 10), (B, 100, 110), (B, 200, 300)], &n), [100]);
        assert!(run(&[(A, 0, 10), (B, 100, 110), (B, 200, 270)], &n).is_empty(), "not long enough");
        assert!(run(&[(A, 0, 10), (B, 100, 110), (A, 150, 160), (B, 200, 300)], &n).is_empty(), "both");
        assert!(run(&[(A, 0, 500), (B, 100, 400)], &n).is_empty(), "at once");
        assert_eq!(run(&[(A, 0, 10), (B, 100, 300), (A, 400, 700)], &n), [100, 400], "and back");
    }

    #[test]
    fn a_router_proves_nothing() {
        let mut n = known();
        for i in 0..9 {
            n.learn(B, IpAddr::from([198, 51, 100, i]), true);
        }
        assert!(run(&[(A, 0, 10), (B, 100, 900)], &n).is_empty());
        assert!(run(&[(B, 0, 10), (A, 100, 900)], &n).is_empty());
        let filled = Mac([0; 6]);
        n.learn(filled, "10.0.0.5".parse().unwrap(), false);
        assert!(run(&[(filled, 0, 10), (A, 100, 900)], &n).is_empty());
    }

    #[test]
    fn who_had_no_address_yet_is_no_router() {
        let mut n = known();
        for ip in ["0.0.0.0", "169.254.1.7", "169.254.9.9"] {
            n.learn(B, ip.parse().unwrap(), false);
        }
        assert_eq!(run(&[(A, 0, 10), (B, 100, 300)], &n), [100]);
    }

    #[test]
    fn a_server_says_whose_it_is() {
        let n = known();
        let mut holder = Holder::default();
        assert!(holder.given(A, at(1), &n).is_none(), "the first");
        assert!(holder.spoke(A, (at(2), at(3)), None, &n).is_none());
        assert!(holder.given(A, at(50), &n).is_none(), "renewed");
        assert!(holder.given(B, at(60), &n).is_none(), "anybody can say so");
        assert!(holder.spoke(A, (at(61), at(62)), None, &n).is_none(), "and whoever has it goes on");
        assert!(holder.spoke(B, (at(63), at(64)), None, &n).is_none());
        assert!(holder.given(B, at(70), &n).is_none());
        assert_eq!(holder.spoke(B, (at(71), at(72)), None, &n).map(|c| c.at), Some(at(70)));
        assert!(holder.spoke(B, (at(73), at(900)), None, &n).is_none(), "known already");
        let mut hidden = Holder::default();
        assert!(hidden.given(A, at(1), &n).is_none());
        assert_eq!(
            hidden.given(B, at(9), &n).map(|c| c.at),
            Some(at(9)),
            "behind a router a server's word is all"
        );
    }
}
