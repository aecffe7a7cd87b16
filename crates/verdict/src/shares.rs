//! A network in shares: each host belongs to one of 64 buckets, and a share is so many of them, with an analyst of its own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::IpAddr;

use behaviour::{read_back, write_down};
use record::{BUCKETS, HostId, Record, Segment, Timestamp, bucket};

use crate::analyst::{Analyst, AnalystLimits, Knowledge, Outside, ResumeError, SaveError};
use crate::story::{CaptureFacts, HostStory};
use crate::told::{NetworkFacts, ShareFacts, by_strength, stories};

/// Divides a whole among parts that hold so much each: what is free falls to all of them equally; where they hold more than the whole, each has its part of it.
fn parts(whole: usize, held: &[usize]) -> Vec<usize> {
    let sum: usize = held.iter().sum();
    let n = held.len().max(1);
    match whole.checked_sub(sum) {
        Some(free) => held.iter().map(|h| h + free / n).collect(),
        None => held.iter().map(|h| (*h as u128 * whole as u128 / sum.max(1) as u128) as usize).collect(),
    }
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

/// Parts in which addresses mean hosts of their own: a site, and of it a segment where those are apart.
pub type Scope = (u16, Option<Segment>);

/// VLANs that have analysts of their own, and overlays, of which anybody can name as many as he likes; what further ones hold is judged together (*assumed*: what one link
/// carries is fewer).
const MAX_OF_A_KIND: usize = 64;
/// Records after which memory is divided anew among scopes.
const REBALANCED: u32 = 4096;

/// An analyst for each share of one scope.
struct Team {
    scope: Scope,
    analysts: Vec<Analyst>,
}

impl Team {
    /// Flows without a local end.
    fn outside(&self) -> Outside {
        self.analysts.iter().fold(Outside::default(), |all, a| all.and(a.outside()))
    }
}

/// Makes an analyst that has seen nothing.
type Make = Box<dyn Fn() -> Analyst + Send>;

/// The analysts of a network: of every segment, where these are apart, and of every share. Each knows of the network what the records of its hosts
/// tell; in one share of a network without segments that is everything.
pub struct Analysts {
    teams: Vec<Team>,
    /// The one that was asked last.
    last: usize,
    shares: Vec<Share>,
    apart: bool,
    make: Make,
    /// What analysts know that begin now, where it is something else than `make` gives them.
    known: Option<Knowledge>,
    limits: AnalystLimits,
    /// Records of segments beyond those that have analysts.
    beyond: u64,
    /// Records until memory is divided anew.
    until: u32,
}

impl Analysts {
    /// An analyst for each of so many shares, and of each segment if these are `apart`, made by `make`, within `limits` together.
    ///
    /// # Errors
    /// See [`Share::all`].
    pub fn new(
        shares: u32,
        apart: bool,
        limits: AnalystLimits,
        make: impl Fn() -> Analyst + Send + 'static,
    ) -> Result<Self, String> {
        let shares = Share::all(shares)?;
        let mut all = Self {
            teams: Vec::new(),
            last: 0,
            shares,
            apart,
            make: Box::new(make),
            known: None,
            limits,
            beyond: 0,
            until: REBALANCED,
        };
        if !apart {
            all.begin((0, None));
        }
        Ok(all)
    }

    /// In how many shares.
    pub const fn shares(&self) -> u32 {
        self.shares.len() as u32
    }

    /// Whether segments are apart.
    pub const fn segments_apart(&self) -> bool {
        self.apart
    }

    fn begin(&mut self, scope: Scope) -> usize {
        let analysts = self.shares.iter().map(|share| {
            let mut analyst = (self.make)().of_share(*share);
            if let Some(known) = &self.known {
                analyst.know(known.clone());
            }
            analyst
        });
        let analysts = analysts.collect();
        self.teams.push(Team { scope, analysts });
        self.divide();
        self.teams.len() - 1
    }

    /// Divides what there is among the scopes, by what each of them holds; within a scope its shares have equal parts, whatever they hold.
    fn divide(&mut self) {
        let held = |of: fn(&Analyst) -> usize| -> Vec<usize> {
            self.teams.iter().map(|t| t.analysts.iter().map(of).sum()).collect()
        };
        let bytes = parts(self.limits.bytes, &held(Analyst::held));
        let hosts = parts(self.limits.hosts, &held(Analyst::known));
        // Sites are few, and what one remembers of its flows hangs on no other.
        let among = if self.apart { self.teams.len() } else { 1 };
        let shares = self.shares.len() as u32;
        for (team, (bytes, hosts)) in self.teams.iter_mut().zip(bytes.into_iter().zip(hosts)) {
            let part = AnalystLimits { bytes, hosts }.shared(shares);
            team.analysts.iter_mut().for_each(|a| a.limit(part, among));
        }
    }

    fn all(&self) -> impl Iterator<Item = &Analyst> {
        self.teams.iter().flat_map(|t| &t.analysts)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Analyst> {
        self.teams.iter_mut().flat_map(|t| &mut t.analysts)
    }

    fn team(&mut self, scope: Scope) -> usize {
        if self.teams.get(self.last).is_some_and(|t| t.scope == scope) {
            return self.last;
        }
        let known = |teams: &[Team], scope| teams.iter().position(|t| t.scope == scope);
        let kind = std::mem::discriminant(&scope.1.unwrap_or(Segment::Untagged));
        let of_kind = |t: &&Team| t.scope.1.is_some_and(|s| std::mem::discriminant(&s) == kind);
        self.last = match known(&self.teams, scope) {
            Some(at) => at,
            None if self.teams.iter().filter(of_kind).count() < MAX_OF_A_KIND => self.begin(scope),
            None => {
                self.beyond += 1;
                let rest = (scope.0, Some(Segment::Others));
                match known(&self.teams, rest) {
                    Some(at) => at,
                    None => self.begin(rest),
                }
            }
        };
        self.last
    }

    /// See [`Analyst::observe`].
    pub fn observe(&mut self, record: &Record) {
        let head = record.head();
        let segment = self.apart.then(|| head.segment.unwrap_or(Segment::Untagged));
        let team = self.team((head.site, segment));
        if self.apart {
            self.until -= 1;
            if self.until == 0 {
                self.until = REBALANCED;
                self.divide();
            }
        }
        self.teams[team].analysts.iter_mut().for_each(|a| a.observe(record));
    }

    /// See [`Analyst::settle`].
    pub fn settle(&mut self, last: Option<Timestamp>) {
        if self.teams.is_empty() {
            self.begin((0, None));
        }
        self.all_mut().for_each(|a| a.settle(last));
    }

    /// See [`Analyst::stories`].
    pub fn stories(&self, capture: &CaptureFacts) -> Vec<HostStory> {
        let mut all: Vec<HostStory> = Vec::new();
        for team in &self.teams {
            let told: Vec<_> = team.analysts.iter().map(Analyst::told).collect();
            all.extend(stories(&told, team.scope.1, capture));
        }
        by_strength(&mut all);
        all
    }

    /// See [`Analyst::know`].
    pub fn know(&mut self, knowledge: Knowledge) {
        self.all_mut().for_each(|a| a.know(knowledge.clone()));
        self.known = Some(knowledge);
    }

    /// See [`Analyst::pass`].
    pub fn pass(&mut self, at: Timestamp) {
        self.all_mut().for_each(|a| a.pass(at));
    }

    /// The stories of hosts on which something fired since this was asked last, of so many at most ([`Analyst::attending`]), and without what only all of them
    /// together tell: which addresses are one machine's.
    pub fn fired(&mut self, capture: &CaptureFacts, most: usize) -> Vec<HostStory> {
        let mut all = Vec::new();
        for team in &mut self.teams {
            let outside = team.outside();
            for analyst in &mut team.analysts {
                let hosts = analyst.fired(most - all.len());
                let told = hosts.into_iter().filter_map(|host| analyst.story(host, capture, outside));
                all.extend(told.map(|s| HostStory { segment: team.scope.1, ..s }));
            }
        }
        by_strength(&mut all);
        all
    }

    /// The stories of these hosts as they stand, where they still have their addresses; as [`Self::fired`] tells them.
    pub fn stories_of(&self, hosts: &BTreeSet<HostId>, capture: &CaptureFacts) -> Vec<HostStory> {
        let mut all = Vec::new();
        for team in &self.teams {
            let mine = hosts.iter().filter(|h| h.segment == team.scope.1);
            let outside = team.outside();
            let told =
                mine.filter_map(|h| team.analysts.iter().find_map(|a| a.story(h.address, capture, outside)));
            all.extend(told.map(|s| HostStory { segment: team.scope.1, ..s }));
        }
        all
    }

    /// See [`Analyst::save`]; one after the other.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn save(&self, out: &mut dyn Write) -> Result<(), SaveError> {
        let scopes: Vec<Scope> = self.teams.iter().map(|t| t.scope).collect();
        write_down(&(scopes, self.beyond), out)?;
        self.all().try_for_each(|a| a.save(out))
    }

    /// See [`Analyst::resume`].
    ///
    /// # Errors
    /// `from` was not written by so many analysts, or is of other local networks.
    pub fn resume(&mut self, from: &mut dyn Read) -> Result<(), ResumeError> {
        let (scopes, beyond) = read_back::<(Vec<Scope>, u64)>(from)?;
        self.beyond = beyond;
        self.teams.clear();
        for scope in scopes.into_iter().take(2 * MAX_OF_A_KIND + 2) {
            self.begin(scope);
        }
        self.all_mut().try_for_each(|a| a.resume(from))
    }

    /// See [`Analyst::home`]; of all scopes.
    pub fn home(&mut self) -> (Vec<String>, String) {
        let mut homes =
            self.teams.iter_mut().filter_map(|t| Some((t.scope.1, t.analysts.first_mut()?.home())));
        let Some((_, (mut networks, mut how))) = homes.next() else { return Default::default() };
        for (segment, (more, other)) in homes {
            let new = more.into_iter().filter(|n| !networks.contains(n)).collect::<Vec<_>>();
            if let Some(segment) = segment
                && other != how
                && !new.is_empty()
            {
                how = format!("{how}; {segment}: {other}");
            }
            networks.extend(new);
        }
        (networks, how)
    }

    /// What belongs to no one host.
    pub fn facts(&self) -> NetworkFacts {
        let facts: Vec<ShareFacts> = self.all().map(Analyst::facts).collect();
        NetworkFacts::of(&facts)
    }

    /// Flows without a local end, so far.
    pub fn outside(&self) -> Outside {
        self.teams.iter().fold(Outside::default(), |all, team| all.and(team.outside()))
    }

    /// Bytes that the files of hosts hold, of all of them.
    pub fn held(&self) -> usize {
        self.all().map(Analyst::held).sum()
    }

    /// Hosts that were forgotten for want of memory, so far.
    pub fn forgotten(&self) -> u64 {
        self.all().map(Analyst::forgotten).sum()
    }

    /// Records of segments beyond those that are judged each for itself.
    pub const fn beyond(&self) -> u64 {
        self.beyond
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
    fn parts_are_never_more_than_the_whole() {
        assert_eq!(parts(100, &[0]), [100]);
        assert_eq!(parts(100, &[80, 0]), [90, 10], "who holds much keeps it");
        assert_eq!(parts(100, &[150, 50]), [75, 25]);
        for held in [vec![0; 7], vec![1000; 3], vec![5, 900, 0]] {
            assert!(parts(100, &held).iter().sum::<usize>() <= 100);
        }
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
