//! A network in shares: each host belongs to one of 64 buckets, and a share is so many of them, with an analyst of its own.

use std::io::{Read, Write};
use std::net::IpAddr;

use record::{Record, Timestamp};

use crate::analyst::{Analyst, Outside, ResumeError, SaveError, stories};
use crate::story::{CaptureFacts, HostStory};

/// Buckets that hosts are spread over, and so the most shares.
const BUCKETS: u32 = 64;

/// The bucket of a host, 0–63: FNV-1a of its 16 bytes (RFC 4291 §2.5.5.2 for IPv4), the same on every machine and in every version.
pub fn bucket(host: IpAddr) -> u32 {
    let ip = match host {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = ip.octets().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    // The low bits of FNV-1a know little of the high ones.
    ((hash >> 32) ^ hash) as u32 % BUCKETS
}

/// One of the shares of a network: the hosts whose bucket falls to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which, from 0.
    number: u32,
    /// Of how many: 1, 2, 4 … 64.
    of: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Share {
    /// The whole network.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Every share of so many.
    ///
    /// # Errors
    /// `of` is none of 1, 2, 4 … 64.
    pub fn all(of: u32) -> Result<Vec<Self>, String> {
        if !of.is_power_of_two() || of > BUCKETS {
            return Err(format!("a network is analysed in 1, 2, 4, 8, 16, 32 or 64 shares, not in {of}"));
        }
        Ok((0..of).map(|number| Self { number, of }).collect())
    }

    /// Whether it is the whole.
    pub const fn is_whole(self) -> bool {
        self.of == 1
    }

    /// Whether a host falls to it.
    pub fn has(self, host: IpAddr) -> bool {
        self.is_whole() || bucket(host) * self.of / BUCKETS == self.number
    }
}

/// The analysts of all shares of a network. Each knows of the network what the records of its hosts tell; in one share that is everything.
pub struct Analysts(Vec<Analyst>);

impl Analysts {
    /// An analyst for each of so many shares, made by `make`.
    ///
    /// # Errors
    /// See [`Share::all`].
    pub fn new(shares: u32, make: impl Fn() -> Analyst) -> Result<Self, String> {
        Ok(Self(Share::all(shares)?.into_iter().map(|share| make().of_share(share)).collect()))
    }

    /// In how many shares.
    pub const fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// Whether there is none; never.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// See [`Analyst::observe`].
    pub fn observe(&mut self, record: &Record, at: Timestamp) {
        self.0.iter_mut().for_each(|a| a.observe(record, at));
    }

    /// See [`Analyst::settle`].
    pub fn settle(&mut self, last: Option<Timestamp>) {
        self.0.iter_mut().for_each(|a| a.settle(last));
    }

    /// See [`Analyst::stories`].
    pub fn stories(&self, capture: &CaptureFacts) -> Vec<HostStory> {
        stories(&self.0, capture)
    }

    /// See [`Analyst::save`]; one after the other.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn save(&self, out: &mut dyn Write) -> Result<(), SaveError> {
        self.0.iter().try_for_each(|a| a.save(out))
    }

    /// See [`Analyst::resume`].
    ///
    /// # Errors
    /// `from` was not written by so many analysts, or is of other local networks.
    pub fn resume(&mut self, from: &mut dyn Read) -> Result<(), ResumeError> {
        self.0.iter_mut().try_for_each(|a| a.resume(from))
    }

    /// See [`Analyst::home`]; every analyst has the same.
    pub fn home(&mut self) -> (Vec<String>, String) {
        self.0.first_mut().map(Analyst::home).unwrap_or_default()
    }

    /// See [`Analyst::outside`]; every analyst counts all.
    pub fn outside(&self) -> Outside {
        self.0.first().map(Analyst::outside).unwrap_or_default()
    }

    /// See [`Analyst::proxies`]; every analyst counts all.
    pub fn proxies(&self) -> Vec<(IpAddr, u64, u64)> {
        self.0.first().map(Analyst::proxies).unwrap_or_default()
    }

    /// See [`Analyst::forgotten`].
    pub fn forgotten(&self) -> u64 {
        self.0.iter().map(Analyst::forgotten).sum()
    }

    /// See [`Analyst::forgotten_with_evidence`].
    pub fn forgotten_with_evidence(&self) -> u64 {
        self.0.iter().map(Analyst::forgotten_with_evidence).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_the_same_for_ever() {
        let of = |ip: &str| bucket(ip.parse().unwrap());
        // Shares of other machines and versions stand on these.
        assert_eq!(
            [of("10.0.0.1"), of("10.0.0.2"), of("192.168.1.77"), of("2001:db8::1"), of("::ffff:10.0.0.1")],
            [49, 4, 25, 35, 49]
        );
    }

    #[test]
    fn every_host_falls_to_one_share_and_they_are_even() {
        for of in [1, 2, 4, 8, 16, 32, 64] {
            let all = Share::all(of).unwrap();
            let mut hosts = vec![0; of as usize];
            for i in 0..6400u32 {
                let host = IpAddr::from((0x0a00_0000 + i).to_be_bytes());
                let mine: Vec<usize> = (0..all.len()).filter(|s| all[*s].has(host)).collect();
                assert_eq!(mine.len(), 1);
                hosts[mine[0]] += 1;
            }
            let even = 6400 / of;
            assert!(hosts.iter().all(|n| *n > even / 2 && *n < even * 2), "{of}: {hosts:?}");
        }
        assert!(Share::all(3).is_err() && Share::all(128).is_err() && Share::all(0).is_err());
    }

    #[test]
    fn more_shares_divide_those_of_fewer() {
        for i in 0..1000u32 {
            let host = IpAddr::from((0xc0a8_0000 + i).to_be_bytes());
            let number = |of: u32| Share::all(of).unwrap().iter().position(|s| s.has(host)).unwrap();
            assert_eq!(number(16) / 4, number(4));
        }
    }
}
