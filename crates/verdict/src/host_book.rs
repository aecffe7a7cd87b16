//! Who the local hosts are, and how well each was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use behaviour::{CATALOGUE, Home, HostFiles, HostState, Lease, States, Traffic};
use record::{Conn, ConnPhase, Head, Mac, Record, Segment, Stage, Timestamp, Transport};
use serde::{Deserialize, Serialize};

use crate::hands::{Holder, Neighbours};
use crate::identity::ChangedHands;
use crate::story::Names;

/// Ethernet addresses and names remembered of one host.
const MAX_NAMES: usize = 8;
/// Changes of hands that are told of one address: the last.
const MAX_HANDS: usize = 8;
/// Spans of days on which a host was heard: of more the first are forgotten.
const MAX_SPANS: usize = 64;
const DAY_SECS: u64 = 24 * 60 * 60;

/// What a flow that another sensor saw carries and may be left out of what is told: exporters tell of flows alone, and a folder may lack a log. By its
/// service, or by its port where the sensor knows none.
fn content(c: &Conn) -> Option<Traffic> {
    let by_service = Traffic::of(c).find(|t| t.content().is_some());
    by_service.or(match c.head.tuple.resp.port {
        _ if c.service.is_recognised() => None,
        53 => Some(Traffic::Dns),
        80 => Some(Traffic::Http),
        443 => Some(Traffic::Tls),
        _ => None,
    })
}

/// Flows that other sensors told of, and records of what they carried.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    pub flows: u64,
    pub records: u64,
}

/// One local host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostPage {
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    pub macs: BTreeMap<Mac, (Timestamp, Timestamp)>,
    pub names: BTreeMap<String, (Timestamp, Timestamp)>,
    /// What it called itself before its neighbours: shown, and never asked who it is.
    pub claims: BTreeMap<String, (Timestamp, Timestamp)>,
    pub flows: u64,
    /// Days since its first packet on which it said something, and the last of them.
    pub days: u32,
    day: u64,
    /// Days of the calendar on which its flows began, as spans, in time order.
    pub heard: Vec<[Timestamp; 2]>,
    /// Days on which it showed each kind of traffic, and the last of them, counted from 1.
    exposed: [(u32, u64); Traffic::ALL.len()],
    pub tcp: u64,
    pub one_sided: u64,
    pub midstream: u64,
    pub bytes: u64,
    pub missed: u64,
    pub packets: u64,
    /// Packets that it sent.
    pub sent: u64,
    /// Packets of encrypted tunnels and of protocols over IP that are not read.
    pub hidden: u64,
    pub cut: u64,
    pub with_payload: u64,
    /// What other sensors told of flows that it opened, by what these carry.
    pub told: [Told; Traffic::ALL.len()],
    /// When text of a message that it sent first flowed.
    pub first_spam: Option<Timestamp>,
    /// Whose the address is, and the times at which it became another's.
    holder: Holder,
    pub hands: Vec<ChangedHands>,
    /// Since when it is this machine's, where it was another's before.
    pub since: Option<Timestamp>,
    /// Until when it was, where it is another's now.
    pub until: Option<Timestamp>,
}

behaviour::held!(ChangedHands: from, to);
behaviour::held!(Told);
behaviour::held!(HostPage: macs, names, claims, hands, heard);
impl HostState for HostPage {}

/// Where a host's page stands in its file.
pub const PAGE: u8 = HostFiles::BESIDE;

/// Learns from a record. Gives the ends of a flow that was another machine's, which had the address before.
pub fn learn(pages: &mut States<'_, HostPage>, record: &Record, home: &Home) -> [bool; 2] {
    match record {
        Record::Conn(c) if c.phase == ConnPhase::Closed => return learn_conn(pages, c, home),
        Record::Smtp(s)
            if home.contains(s.head.tuple.orig.ip) && home.is_external(s.head.tuple.resp.ip) && !s.auth =>
        {
            if let Some(t) = s.first_data_at {
                let page = pages.of(s.head.tuple.orig.ip, s.head.known);
                page.first_spam = Some(page.first_spam.map_or(t, |f| f.min(t)));
            }
        }
        Record::Dns(d) => learn_content(pages, &d.head, Traffic::Dns, home),
        Record::Http(h) => learn_content(pages, &h.head, Traffic::Http, home),
        Record::Tls(t) => learn_content(pages, &t.head, Traffic::Tls, home),
        Record::Quic(q) => learn_content(pages, &q.head, Traffic::Tls, home),
        Record::Naming(n) if home.contains(n.head.tuple.orig.ip) => {
            let page = pages.of(n.head.tuple.orig.ip, n.head.known);
            if page.claims.len() < MAX_NAMES || page.claims.contains_key(&n.name) {
                page.claims.entry(n.name.clone()).or_insert((n.head.ts, n.head.ts)).1 = n.head.ts;
            }
        }
        Record::Conn(c) if c.packets[0] > 0 && home.contains(c.wire_tuple().orig.ip) => {
            pages.of(c.wire_tuple().orig.ip, c.head.known).show(c.head.ts, Traffic::of(c));
        }
        _ => {}
    }
    [false; 2]
}

/// It is told what a flow carried.
fn learn_content(pages: &mut States<'_, HostPage>, head: &Head, content: Traffic, home: &Home) {
    let host = head.tuple.orig.ip;
    if home.contains(host) {
        let page = pages.of(host, head.known);
        page.show(head.ts, Traffic::carrier(&head.tuple).into_iter().chain([content]));
        page.told[content as usize].records += u64::from(head.flow.is_named());
    }
}

/// A DHCP server gave a host its address, under the name that it has for itself.
pub fn lease(pages: &mut States<'_, HostPage>, lease: &Lease, home: &Home) {
    let Some(name) = lease.name.as_ref().filter(|_| home.contains(lease.ip)) else { return };
    let page = pages.of(lease.ip, lease.from);
    if page.names.len() < MAX_NAMES || page.names.contains_key(name) {
        page.names.entry(name.clone()).or_insert((lease.from, lease.from)).1 = lease.from;
    }
}

/// The addresses that a record shows to be another machine's now.
pub fn hands(
    pages: &mut States<'_, HostPage>,
    neighbours: &mut Neighbours,
    record: &Record,
    lease: Option<&Lease>,
    home: &Home,
) -> Vec<(IpAddr, ChangedHands)> {
    let mut found = Vec::new();
    // Who was given an address has not said anything yet.
    if let Some(lease) = lease.filter(|l| home.contains(l.ip))
        && let Some(page) = pages.get_mut(lease.ip)
    {
        neighbours.learn(lease.mac, lease.ip, false);
        found.extend(page.holder.given(lease.mac, lease.from, neighbours).map(|c| (lease.ip, c)));
    }
    let Record::Conn(c) = record else { return found };
    if c.phase != ConnPhase::Closed {
        return found;
    }
    let ends = c.wire_tuple();
    for (side, ip) in [ends.orig.ip, ends.resp.ip].into_iter().enumerate() {
        let Some(mac) = c.mac[side].filter(|_| c.packets[side] > 0) else { continue };
        neighbours.learn(mac, ip, home.is_external(ip));
        if home.contains(ip) {
            let page = match pages.get_mut(ip) {
                Some(page) => page,
                None => pages.of(ip, c.head.known),
            };
            let spoke = page.holder.spoke(mac, (c.head.ts, c.last), c.head.segment, neighbours);
            found.extend(spoke.map(|change| (ip, change)));
        }
    }
    found
}

fn learn_conn(pages: &mut States<'_, HostPage>, c: &Conn, home: &Home) -> [bool; 2] {
    let ends = c.wire_tuple();
    let mut before = [false; 2];
    for (side, ip) in [ends.orig.ip, ends.resp.ip].into_iter().enumerate() {
        // Being called by somebody makes no host: it must have said something.
        if !home.contains(ip) || c.packets[side] == 0 {
            continue;
        }
        let page = pages.of(ip, c.head.known);
        if page.since.is_some_and(|since| c.head.ts < since) {
            before[side] = true;
        } else {
            page.count(c, side);
        }
    }
    before
}

impl HostPage {
    /// Notes a day of the calendar on which a flow of it began.
    fn hear(&mut self, day: Timestamp) {
        const NEXT: Duration = Duration::from_secs(DAY_SECS);
        // Flows are told when they end, so that a day can come after the one behind it.
        let at = self.heard.partition_point(|[_, last]| last.plus(NEXT) < day);
        match self.heard.get_mut(at) {
            Some([first, last]) if *first <= day.plus(NEXT) => {
                (*first, *last) = ((*first).min(day), (*last).max(day));
                let (first, last) = (*first, *last);
                if self.heard.get(at + 1).is_some_and(|[next, _]| *next <= last.plus(NEXT)) {
                    let [_, end] = self.heard.remove(at + 1);
                    self.heard[at] = [first, end];
                }
            }
            _ => self.heard.insert(at, [day, day]),
        }
        if self.heard.len() > MAX_SPANS {
            self.heard.remove(0);
        }
    }

    /// Whether nothing is known of the host but what was answered to it: that alone makes no host.
    pub fn is_blank(&self) -> bool {
        let told = self.told.iter().any(|t| t.flows > 0 || t.records > 0);
        self.flows == 0 && self.names.is_empty() && self.first_spam.is_none() && !told
    }

    /// Which of its days a time lies in, from 0.
    fn day_of(&self, at: Timestamp) -> u64 {
        at.since(self.first.unwrap_or(at)).as_secs() / DAY_SECS
    }

    /// It shows such traffic in a flow of its own that began then.
    fn show(&mut self, at: Timestamp, kinds: impl IntoIterator<Item = Traffic>) {
        self.first = Some(self.first.map_or(at, |t| t.min(at)));
        let day = self.day_of(at);
        for kind in kinds {
            let (days, last) = &mut self.exposed[kind as usize];
            if *last <= day {
                (*days, *last) = (*days + 1, day + 1);
            }
        }
    }

    /// Counts a flow that closed, of which it was that side.
    pub fn count(&mut self, c: &Conn, side: usize) {
        self.first = Some(self.first.map_or(c.head.ts, |t| t.min(c.head.ts)));
        self.last = self.last.max(Some(c.last));
        self.flows += 1;
        let day = self.day_of(c.head.ts);
        if self.days == 0 || day > self.day {
            (self.days, self.day) = (self.days + 1, day);
        }
        self.hear(c.head.ts.day());
        if side == 0 {
            if let Some(content) = content(c).filter(|_| c.head.flow.is_named() && c.answered()) {
                self.told[content as usize].flows += 1;
            }
            self.show(c.head.ts, Traffic::of(c));
        }
        self.bytes += c.bytes.iter().sum::<u64>();
        let packets = c.packets.iter().sum::<u64>();
        self.packets += packets;
        self.sent += c.packets[side];
        self.hidden += if c.head.tuple.transport.is_read() { 0 } else { packets };
        self.missed += c.missed_bytes.iter().sum::<u64>();
        if c.head.tuple.transport == Transport::Tcp {
            self.tcp += 1;
            self.midstream += u64::from(!c.start_seen);
            self.one_sided += u64::from(c.is_one_sided());
        }
        let firsts = c.first_payload.iter().flatten();
        self.with_payload += u64::from(c.bytes != [0, 0]);
        self.cut += u64::from(firsts.clone().any(record::PayloadFacts::is_cut));
        if let Some(mac) = c.mac[side]
            && (self.macs.len() < MAX_NAMES || self.macs.contains_key(&mac))
        {
            let seen = self.macs.entry(mac).or_insert((c.head.ts, c.last));
            seen.0 = seen.0.min(c.head.ts);
            seen.1 = seen.1.max(c.last);
        }
    }

    /// The page of the machine that has the address from now on; this one is its predecessor's.
    pub fn pass_on(&mut self, change: &ChangedHands) -> Self {
        // An address may change hands for ever.
        if self.hands.len() >= MAX_HANDS {
            self.hands.remove(0);
        }
        self.hands.push(change.clone());
        self.until = Some(change.at);
        let (holder, hands) = (self.holder.clone(), self.hands.clone());
        // What was said since then the other said.
        let claims = self.claims.iter().filter(|(_, (_, last))| *last >= change.at);
        let claims = claims.map(|(n, (from, last))| (n.clone(), ((*from).max(change.at), *last))).collect();
        self.claims.retain(|_, (from, _)| *from < change.at);
        Self { holder, hands, claims, since: Some(change.at), ..Self::default() }
    }

    /// Days on which it showed each kind of traffic.
    pub fn exposed(&self) -> BTreeMap<Traffic, u32> {
        Traffic::ALL.into_iter().zip(self.exposed).filter(|(_, e)| e.0 > 0).map(|(t, e)| (t, e.0)).collect()
    }

    /// Stages on which no bet is placed while nothing fires in them: on the day of `now` the host has shown nothing in which any of their behaviours could
    /// fire, or none of the flows that would show it was told with what it carried.
    pub fn unplaced(&self, now: Timestamp) -> BTreeSet<Stage> {
        let today = self.day_of(now) + 1;
        let is_unseen = |kind: &Traffic| {
            let told = self.told[*kind as usize];
            let untold = kind.content().is_some() && told.flows > 0 && told.records == 0;
            untold || self.exposed[*kind as usize].1 < today
        };
        let is_unplaced = |stage: &Stage| {
            let of = || CATALOGUE.iter().filter(|b| b.about.stage == *stage).map(|b| b.about.needs);
            let mut of = of().filter(|needs| *needs != [Traffic::Alerts]).peekable();
            of.peek().is_some() && of.all(|needs| !needs.is_empty() && needs.iter().all(is_unseen))
        };
        Stage::STORY.into_iter().filter(is_unplaced).collect()
    }

    /// The segments of the network in which two machines used its address at once.
    pub const fn repeated(&self) -> Option<[Option<Segment>; 2]> {
        self.holder.repeated()
    }

    /// First the names that a DHCP server took, then those that it told its neighbours and that say more, the first of them first.
    fn host_names(&self) -> Vec<String> {
        /// NetBIOS has room for no more letters, and programs cut what is longer.
        const CUT: usize = 15;
        let bare = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let mut claims: Vec<(&Timestamp, &String)> =
            self.claims.iter().map(|(n, (from, _))| (from, n)).collect();
        claims.sort_unstable();
        let is_longer = |name: &str, other: &String| {
            let other = bare(other);
            name.len() == CUT && other.len() > CUT && other.starts_with(name)
        };
        let mut said: BTreeSet<String> = self.names.keys().map(|name| bare(name)).collect();
        let mut all: Vec<String> = self.names.keys().cloned().collect();
        for (_, name) in claims {
            let own = bare(name);
            let known = self.names.keys().chain(self.claims.keys()).any(|other| is_longer(&own, other));
            if !known && said.insert(own) {
                all.push(name.clone());
            }
        }
        all
    }

    pub fn names(&self) -> Names {
        Names { macs: self.macs.keys().map(ToString::to_string).collect(), host_names: self.host_names() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(days: &[i64]) -> Vec<[i64; 2]> {
        let mut page = HostPage::default();
        for d in days {
            page.hear(Timestamp::from_secs(d * DAY_SECS as i64));
        }
        let day = |t: Timestamp| t.0 / (DAY_SECS as i64 * 1_000_000_000);
        page.heard.iter().map(|[a, b]| [day(*a), day(*b)]).collect()
    }

    #[test]
    fn a_host_is_called_as_a_server_took_it_and_as_it_says_itself() {
        let at = |secs: i64| (Timestamp::from_secs(secs), Timestamp::from_secs(secs));
        let mut page = HostPage::default();
        page.claims.extend(
            [("DESK-7", 3), ("zulu", 1), ("CONFERENCE-ROOM", 2), ("conference-room-pc", 4)]
                .map(|(name, secs)| (name.to_owned(), at(secs))),
        );
        assert_eq!(page.names().host_names, ["zulu", "DESK-7", "conference-room-pc"]);
        page.names.insert("desk-7.example".into(), at(9));
        assert_eq!(page.names().host_names, ["desk-7.example", "zulu", "conference-room-pc"]);
        let change = ChangedHands { from: "one".into(), to: "another".into(), at: Timestamp::from_secs(3) };
        let next = page.pass_on(&change);
        assert_eq!(next.names().host_names, ["DESK-7", "conference-room-pc"]);
        assert_eq!(page.claims.len(), 2, "what it said before");
    }

    #[test]
    fn a_bet_is_placed_from_the_first_flow_in_which_it_could_be_won() {
        let at = Timestamp::from_secs;
        let mut page = HostPage::default();
        assert!(page.unplaced(at(1)).contains(&Stage::Act), "who showed nothing can do nothing");
        page.show(at(1), [Traffic::Tcp]);
        assert_eq!(page.unplaced(at(2)), [Stage::Probe, Stage::Rendezvous].into());
        page.show(at(3), [Traffic::Udp, Traffic::Dns]);
        assert_eq!(page.unplaced(at(4)), [Stage::Probe].into());
        page.show(at(5), [Traffic::Tcp, Traffic::Mail]);
        assert!(page.unplaced(at(6)).is_empty());
        // Another day, another bet.
        assert!(page.unplaced(at(6 + DAY_SECS as i64)).contains(&Stage::Update));
        assert!(page.is_blank(), "what it asked for alone makes no host");
    }

    #[test]
    fn days_that_touch_are_one_span_in_whatever_order_they_come() {
        assert_eq!(heard(&[1, 1, 2, 3, 7]), [[1, 3], [7, 7]]);
        assert_eq!(heard(&[5, 1, 3, 2, 4, 9]), [[1, 5], [9, 9]]);
        assert_eq!(heard(&[10, 8, 9]), [[8, 10]]);
        let every_other: Vec<i64> = (0..200).map(|n| n * 2).collect();
        assert_eq!(heard(&every_other).len(), MAX_SPANS, "the first are forgotten");
        assert_eq!(heard(&every_other).last(), Some(&[398, 398]));
    }
}
