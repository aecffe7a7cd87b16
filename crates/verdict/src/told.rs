//! What the analysts of a network's shares have to tell, and the stories that it makes together, wherever each of them was.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::{HostId, Mac, Segment, Timestamp};
use serde::{Deserialize, Serialize};

use crate::analyst::{Machine, Outside};
use crate::host_book::HostPage;
use crate::identity::{SameHost, identities, machines};
use crate::story::{CaptureFacts, HostStory, Verdict};

/// What an analyst has to tell of its share of a network.
#[derive(Clone, Serialize, Deserialize)]
pub struct ShareTold<'a> {
    /// Each machine that has or had an address of it.
    pub hosts: Vec<HostTold<'a>>,
    /// What belongs to no one of them.
    pub facts: ShareFacts,
}

/// What an analyst has to tell of a machine that has or had an address.
#[derive(Clone, Serialize, Deserialize)]
pub struct HostTold<'a>(pub(crate) Cow<'a, Machine>);

impl HostTold<'_> {
    /// The address, and since when it is that machine's, where it was another's before.
    pub fn who(&self) -> (IpAddr, Option<Timestamp>) {
        (self.0.host, self.0.page.since)
    }
}

/// What belongs to no one host of a share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareFacts {
    pub(crate) prior_db: f64,
    pub(crate) outside: Outside,
    /// Flows that went through each proxy, and those of the web in all.
    pub(crate) proxies: BTreeMap<IpAddr, u64>,
    pub(crate) web: u64,
    /// Ethernet addresses that carry what comes from elsewhere.
    pub(crate) routers: Vec<Mac>,
    /// To whom a server gave addresses.
    pub(crate) leases: Vec<(IpAddr, Mac)>,
    pub(crate) repeated: Vec<IpAddr>,
    pub(crate) forgotten: u64,
    pub(crate) forgotten_with_evidence: u64,
}

/// What belongs to no one host of a network: of all its shares together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkFacts {
    /// Flows without a local end.
    pub outside: Outside,
    /// Proxies that were seen through, most used first, each with the flows that went through it and those of the web in all: HTTP, TLS, and whatever went
    /// through a proxy.
    pub proxies: Vec<(IpAddr, u64, u64)>,
    /// Local addresses that machines in two segments of the network used at once, so that what they did is told as one host's.
    pub repeated: Vec<IpAddr>,
    /// Hosts that were forgotten for want of memory.
    pub forgotten: u64,
    /// Those of them on which something had fired.
    pub forgotten_with_evidence: u64,
}

impl NetworkFacts {
    /// Those of all shares.
    pub fn of<'a>(shares: impl IntoIterator<Item = &'a ShareFacts>) -> Self {
        let mut all = Self::default();
        let (mut proxies, mut web) = (BTreeMap::<IpAddr, u64>::new(), 0);
        for share in shares {
            all.outside = all.outside.and(share.outside);
            web += share.web;
            share.proxies.iter().for_each(|(ip, n)| *proxies.entry(*ip).or_default() += n);
            all.repeated.extend(&share.repeated);
            all.forgotten += share.forgotten;
            all.forgotten_with_evidence += share.forgotten_with_evidence;
        }
        all.proxies = proxies.into_iter().map(|(ip, n)| (ip, n, web)).collect();
        all.proxies.sort_by_key(|(ip, n, _)| (Reverse(*n), *ip));
        all
    }
}

/// The stories of the hosts of all shares of a network, or of a segment of it, strongest first, then by address.
pub fn stories(shares: &[ShareTold<'_>], segment: Option<Segment>, capture: &CaptureFacts) -> Vec<HostStory> {
    let outside = NetworkFacts::of(shares.iter().map(|s| &s.facts)).outside;
    let told = || shares.iter().flat_map(|s| s.hosts.iter().map(|HostTold(m)| (m, s.facts.prior_db)));
    let story =
        |(m, prior): (&Cow<'_, Machine>, f64)| HostStory { segment, ..m.story(capture, outside, prior) };
    let mut stories: Vec<HostStory> = told().map(story).collect();
    let pages: Vec<(IpAddr, &HostPage)> = told().map(|(m, _)| (m.host, &m.page)).collect();
    let routers: BTreeSet<Mac> = shares.iter().flat_map(|s| s.facts.routers.iter().copied()).collect();
    let leases: BTreeSet<(IpAddr, Mac)> =
        shares.iter().flat_map(|s| s.facts.leases.iter().copied()).collect();
    let same = identities(&pages, |mac| routers.contains(&mac), |host, mac| leases.contains(&(host, mac)));
    tell_machines(&mut stories, same);
    by_strength(&mut stories);
    stories
}

/// Tells each story of the machine's other addresses.
fn tell_machines(stories: &mut [HostStory], same: Vec<Vec<(usize, SameHost)>>) {
    let machine = machines(&same);
    let mut strongest: BTreeMap<usize, usize> = BTreeMap::new();
    for (story, of) in machine.iter().enumerate() {
        let best = strongest.entry(*of).or_insert(story);
        if order(&stories[story], &stories[*best]).is_lt() {
            *best = story;
        }
    }
    let ids: Vec<(Verdict, HostId)> = stories.iter().map(|s| (s.verdict, s.id())).collect();
    for (i, (story, same)) in stories.iter_mut().zip(same).enumerate() {
        let told = |(other, same): (usize, SameHost)| SameHost { verdict: ids[other].0, ..same };
        story.same_as = same.into_iter().map(told).collect();
        let best = strongest.get(&machine[i]).filter(|best| **best != i);
        story.part_of = best.map(|best| ids[*best].1);
    }
}

/// Strongest first, then by address and segment.
pub fn by_strength(stories: &mut [HostStory]) {
    stories.sort_by(order);
}

fn order(a: &HostStory, b: &HostStory) -> Ordering {
    b.verdict
        .cmp(&a.verdict)
        .then(b.level_db.total_cmp(&a.level_db))
        .then((a.host, a.segment).cmp(&(b.host, b.segment)))
}
