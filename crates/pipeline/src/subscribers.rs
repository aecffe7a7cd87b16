//! Subscribers: who had which address, and which of its ports, when. Records are told of subscribers and not of addresses, so that whoever gets another address
//! every day, or shares one with a hundred others (RFC 6888), is one host, and goes by a pseudonym wherever it is judged, written and kept. What was said is left as it is: names, and addresses within messages, may still tell who it is.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use record::{Record, Timestamp, Transport};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The network of subscribers' pseudonyms: unique local addresses (RFC 4193), whose global identifier is `Hydro`.
pub const PSEUDONYMS: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd48, 0x7964, 0x726f, 0, 0, 0, 0, 0), 48);

/// A row of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    subscriber: String,
    address: String,
    #[serde(default)]
    ports: Option<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
}

/// Who had a block of ports of a network, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    since: Timestamp,
    until: Timestamp,
    who: u32,
    line: u64,
}

/// Whose an address and port are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A subscriber's, by number.
    Is(u32),
    /// The list knows the address, and nobody had it then.
    Nobody,
    /// The list does not know it.
    Unlisted,
}

/// The first and the last port.
type Ports = (u16, u16);
const ALL_PORTS: Ports = (0, u16::MAX);

/// What a subscriber had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Had {
    /// The address, or the network.
    pub network: IpNet,
    /// Of its ports these, where it is shared.
    pub ports: Option<(u16, u16)>,
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// Records that are told of subscribers.
    pub told: u64,
    /// Records of addresses in the list that nobody had then: they stand under these.
    pub nobodys: u64,
}

impl Renamed {
    /// What must be told of it.
    pub fn said(self, subscribers: usize) -> Vec<String> {
        let mut said = Vec::new();
        if self.told == 0 {
            said.push(format!(
                "no record is of an address that one of the {subscribers} subscribers had then: is it the list of this network and time?"
            ));
        }
        if self.nobodys > 0 {
            said.push(format!(
                "{} records are of addresses in the list of subscribers that nobody had then: they stand under their addresses",
                self.nobodys
            ));
        }
        said
    }
}

/// Who had which address when.
#[derive(Clone, Debug, Default)]
pub struct Subscribers {
    names: Vec<String>,
    pseudonyms: Vec<Ipv6Addr>,
    by_pseudonym: BTreeMap<Ipv6Addr, u32>,
    /// Networks by their length, the longest first.
    lengths: Vec<(u8, bool)>,
    blocks: BTreeMap<IpNet, Vec<(Ports, Vec<Held>)>>,
    /// What each had, for who asks the other way round.
    networks: BTreeMap<u32, Vec<IpNet>>,
}

fn ports_of(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (ports.0 <= ports.1).then_some(ports)
}

fn network_of(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))?;
    Some(network.trunc())
}

fn moment(text: Option<&str>, otherwise: Timestamp) -> Option<Timestamp> {
    match text.map(str::trim) {
        None | Some("") => Some(otherwise),
        Some(text) => Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z"))),
    }
}

/// The number of the line that a row stands in; it is told from where the one before ended.
fn line_of(text: &str, at: &csv::Position) -> u64 {
    let rest = usize::try_from(at.byte()).ok().and_then(|byte| text.get(byte..)).unwrap_or_default();
    let passed = rest.lines().take_while(|line| line.trim().is_empty());
    at.line().saturating_add(passed.count() as u64)
}

/// Whether this line is the last one, and has no end.
fn is_unended(text: &str, line: u64) -> bool {
    !text.ends_with('\n') && text.lines().count() as u64 == line
}

impl Subscribers {
    /// Reads a list: CSV whose first line names the columns `subscriber`, `address` (or network), and where they are needed `ports` (`1024-2047`), `since` and
    /// `until` (RFC 3339 in UTC, or a day). `key` is mixed into the pseudonyms, so that who knows what a subscriber is called cannot tell its pseudonym.
    ///
    /// # Errors
    /// A line is none, or two lines give the same to two subscribers; it says which.
    pub fn parse(text: &str, key: &[u8; 32]) -> Result<Self, String> {
        // A remark; a subscriber may be called `#4711`.
        let is_remark = |line: &str| line.trim_end() == "#" || line.starts_with("# ");
        let text: String =
            text.split_inclusive('\n').map(|line| if is_remark(line) { "\n" } else { line }).collect();
        let text = text.as_str();
        let mut reader = csv::ReaderBuilder::new();
        let mut reader = reader.trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let head = reader.headers().map_err(|e| e.to_string())?.clone();
        let mut made = Self::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        for row in reader.records() {
            let row = row.map_err(|e| e.to_string())?;
            let line = row.position().map_or(0, |at| line_of(text, at));
            // What stands beyond what the first line names would be passed over.
            if row.len() > head.len() {
                return Err(format!(
                    "line {line}: it has {} fields, and the first line names {}",
                    row.len(),
                    head.len()
                ));
            }
            if row.len() < head.len() && is_unended(text, line) {
                return Err(format!(
                    "line {line}: it is cut: it has {} of {} fields, and no end of a line",
                    row.len(),
                    head.len()
                ));
            }
            let row: Row = row.deserialize(Some(&head)).map_err(|e| format!("line {line}: {e}"))?;
            made.add(&row, line, &mut known, key).map_err(|e| format!("line {line}: {e}"))?;
        }
        if made.names.is_empty() {
            return Err("nobody is in it: a line says subscriber,address[,ports][,since][,until]".into());
        }
        made.settle()?;
        Ok(made)
    }

    fn add(
        &mut self,
        row: &Row,
        line: u64,
        known: &mut HashMap<String, u32>,
        key: &[u8; 32],
    ) -> Result<(), String> {
        if row.subscriber.is_empty() {
            return Err("no subscriber is named".into());
        }
        let network = network_of(&row.address)
            .ok_or_else(|| format!("{:?} is no address and no network", row.address))?;
        let text = row.ports.as_deref().unwrap_or_default();
        let ports = if text.is_empty() { Some(ALL_PORTS) } else { ports_of(text) };
        let ports = ports.ok_or_else(|| format!("{text:?} are no ports: write 1024-2047"))?;
        let time = |text: &Option<String>, otherwise| {
            moment(text.as_deref(), otherwise).ok_or_else(|| {
                format!("{:?} is no time: write 2026-11-01T08:00:00Z", text.as_deref().unwrap_or_default())
            })
        };
        let since = time(&row.since, Timestamp(i64::MIN))?;
        let until = time(&row.until, Timestamp(i64::MAX))?;
        if since >= until {
            return Err("it ends before it begins".into());
        }
        let who = if let Some(who) = known.get(&row.subscriber) {
            *who
        } else {
            let who = self.names.len() as u32;
            let digest = Sha256::new().chain_update(key).chain_update(&row.subscriber).finalize();
            let mut bits = u128::from(PSEUDONYMS.network());
            bits |= digest.iter().take(10).fold(0, |bits, b| bits << 8 | u128::from(*b));
            let pseudonym = Ipv6Addr::from(bits);
            self.names.push(row.subscriber.clone());
            self.pseudonyms.push(pseudonym);
            self.by_pseudonym.insert(pseudonym, who);
            known.insert(row.subscriber.clone(), who);
            who
        };
        let blocks = self.blocks.entry(network).or_default();
        let held = Held { since, until, who, line };
        match blocks.iter_mut().find(|(of, _)| *of == ports) {
            Some((_, times)) => times.push(held),
            None => blocks.push((ports, vec![held])),
        }
        let networks = self.networks.entry(who).or_default();
        if !networks.contains(&network) {
            networks.push(network);
        }
        Ok(())
    }

    /// Puts everything in order, and finds who was given what another one has.
    fn settle(&mut self) -> Result<(), String> {
        for (network, blocks) in &mut self.blocks {
            blocks.sort_unstable_by_key(|(ports, _)| *ports);
            for (_, times) in &mut *blocks {
                times.sort_unstable_by_key(|h| (h.since, h.line));
                // What a subscriber is said to have had twice it had once.
                times.dedup_by(|next, last| {
                    let same = next.who == last.who && next.since <= last.until;
                    last.until = if same { last.until.max(next.until) } else { last.until };
                    same
                });
            }
            for (i, (ports, times)) in blocks.iter().enumerate() {
                let same = times.windows(2).filter_map(|w| match w {
                    [a, b] => Some((a, b)),
                    _ => None,
                });
                let across =
                    blocks.iter().skip(i.saturating_add(1)).take_while(|(other, _)| other.0 <= ports.1);
                let across = across
                    .flat_map(|(_, others)| times.iter().flat_map(|a| others.iter().map(move |b| (a, b))));
                if let Some((a, b)) =
                    same.chain(across).find(|(a, b)| a.who != b.who && a.until > b.since && b.until > a.since)
                {
                    return Err(format!(
                        "lines {} and {}: both had {network} at a time",
                        a.line.min(b.line),
                        a.line.max(b.line)
                    ));
                }
            }
        }
        let mut lengths: Vec<(u8, bool)> =
            self.blocks.keys().map(|n| (n.prefix_len(), matches!(n, IpNet::V4(_)))).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths.reverse();
        self.lengths = lengths;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nobody is in the list; a list that was read has somebody.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Who had an address and port.
    /// Without a port it asks who had all of it.
    fn who(&self, ip: IpAddr, port: Option<u16>, at: Timestamp) -> Owner {
        let mut is_known = false;
        for &(length, v4) in &self.lengths {
            if v4 != ip.is_ipv4() {
                continue;
            }
            let Ok(network) = IpNet::new(ip, length) else { continue };
            let Some(blocks) = self.blocks.get(&network.trunc()) else { continue };
            is_known = true;
            let holds = |ports: &Ports| match port {
                Some(port) => (ports.0..=ports.1).contains(&port),
                None => *ports == ALL_PORTS,
            };
            for (_, times) in blocks.iter().filter(|(ports, _)| holds(ports)) {
                let before = times.partition_point(|h| h.since <= at);
                let last = before.checked_sub(1).and_then(|i| times.get(i));
                if let Some(held) = last.filter(|h| at < h.until) {
                    return Owner::Is(held.who);
                }
            }
        }
        if is_known { Owner::Nobody } else { Owner::Unlisted }
    }

    /// A record that tells of subscribers instead of addresses.
    pub fn renamed(&self, record: &Record, count: &mut Renamed) -> Record {
        let mut record = record.clone();
        let head = record.head_mut();
        let (mut told, mut nobodys) = (false, false);
        // What ICMP has in the place of ports is none.
        let has_ports = matches!(head.tuple.transport, Transport::Tcp | Transport::Udp);
        for end in [&mut head.tuple.orig, &mut head.tuple.resp] {
            match self.who(end.ip, has_ports.then_some(end.port), head.ts) {
                Owner::Is(who) => {
                    if let Some(pseudonym) = self.pseudonyms.get(who as usize) {
                        end.ip = IpAddr::V6(*pseudonym);
                        told = true;
                    }
                }
                Owner::Nobody => nobodys = true,
                Owner::Unlisted => {}
            }
        }
        let at = head.ts;
        // Who has a pseudonym has no Ethernet address either.
        if let (Record::Conn(c), true) = (&mut record, told) {
            c.mac = [None; 2];
        }
        // A lease is of a whole address.
        if let Record::Dhcp(lease) = &mut record
            && let Some(Owner::Is(who)) = lease.ip.map(|ip| self.who(ip, None, at))
        {
            lease.ip = self.pseudonyms.get(who as usize).copied().map(IpAddr::V6);
        }
        count.told += u64::from(told);
        count.nobodys += u64::from(nobodys);
        record
    }

    /// Whose pseudonym it is.
    pub fn name(&self, pseudonym: IpAddr) -> Option<&str> {
        let IpAddr::V6(pseudonym) = pseudonym else { return None };
        self.names.get(*self.by_pseudonym.get(&pseudonym)? as usize).map(String::as_str)
    }

    /// What who goes by a pseudonym had at a time in this span, in order.
    pub fn had(&self, pseudonym: IpAddr, from: Timestamp, until: Timestamp) -> Vec<Had> {
        let who = match pseudonym {
            IpAddr::V6(v6) => self.by_pseudonym.get(&v6),
            IpAddr::V4(_) => None,
        };
        let Some(who) = who else { return Vec::new() };
        let mut all = Vec::new();
        for network in self.networks.get(who).into_iter().flatten() {
            for (ports, times) in self.blocks.get(network).into_iter().flatten() {
                if times.iter().any(|h| h.who == *who && h.since < until && h.until > from) {
                    all.push(Had { network: *network, ports: (*ports != ALL_PORTS).then_some(*ports) });
                }
            }
        }
        all.sort_unstable_by_key(|h| (h.network, h.ports));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn list(text: &str) -> Result<Subscribers, String> {
        Subscribers::parse(text, &KEY)
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn who<'a>(all: &'a Subscribers, ip: &str, port: u16, when: &str) -> Option<&'a str> {
        match all.who(ip.parse().expect(ip), (port > 0).then_some(port), at(when)) {
            Owner::Is(who) => Some(all.names[who as usize].as_str()),
            Owner::Nobody => Some("nobody"),
            Owner::Unlisted => None,
        }
    }

    const LIST: &str = "\
# who had what
subscriber, address, ports, since, until
A-1, 198.51.100.7, , 2026-11-01, 2026-11-02T12:00:00Z
A-2, 198.51.100.7, , 2026-11-02T12:00:00Z,
B-1, 203.0.113.4, 1024-2047
B-2, 203.0.113.4, 2048-3071,,
C-1, 2001:db8:7::/56
C-2, 2001:db8:7:1::/64
A-1, 198.51.100.9, , 2026-11-02T12:00:00Z, 2026-11-05
A-1, 198.51.100.9, , 2026-11-03, 2026-11-04
";

    #[test]
    fn an_address_is_whose_it_was_then() {
        let all = list(LIST).expect("a list");
        assert_eq!(all.len(), 6);
        let noon = "2026-11-02T12:00:00Z";
        for (ip, port, when, want) in [
            ("198.51.100.7", 50_000, "2026-11-02T11:59:59Z", Some("A-1")),
            ("198.51.100.7", 50_000, noon, Some("A-2")),
            ("198.51.100.7", 50_000, "2026-10-31T23:00:00Z", Some("nobody")),
            ("198.51.100.9", 1, noon, Some("A-1")),
            ("198.51.100.9", 1, "2026-11-04T23:00:00Z", Some("A-1")),
            ("198.51.100.9", 1, "2026-11-05T00:00:00Z", Some("nobody")),
            ("203.0.113.4", 1024, noon, Some("B-1")),
            ("203.0.113.4", 2048, noon, Some("B-2")),
            ("203.0.113.4", 3072, noon, Some("nobody")),
            // No port: whoever had all of it, and nobody of what is shared.
            ("203.0.113.4", 0, noon, Some("nobody")),
            ("198.51.100.7", 0, noon, Some("A-2")),
            ("2001:db8:7:2::1", 9, noon, Some("C-1")),
            ("2001:db8:7:1::1", 9, noon, Some("C-2")),
            ("192.0.2.1", 9, noon, None),
        ] {
            assert_eq!(who(&all, ip, port, when), want, "{ip} {port} {when}");
        }
    }

    #[test]
    fn pseudonyms_tell_nothing_and_lead_back() {
        let all = list(LIST).expect("a list");
        let other = Subscribers::parse(LIST, &[8; 32]).expect("a list");
        for (i, pseudonym) in all.pseudonyms.iter().enumerate() {
            assert!(PSEUDONYMS.contains(pseudonym));
            assert_eq!(all.name(IpAddr::V6(*pseudonym)), Some(all.names[i].as_str()));
            assert_eq!(other.name(IpAddr::V6(*pseudonym)), None, "another key");
        }
        let first = IpAddr::V6(all.pseudonyms[0]);
        let had = |from, until| {
            let all = all.had(first, at(from), at(until));
            all.iter().map(|h| h.network.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(had("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"), ["198.51.100.7/32"]);
        assert_eq!(
            had("2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"),
            ["198.51.100.7/32", "198.51.100.9/32"]
        );
        assert!(had("2026-12-01T00:00:00Z", "2026-12-03T00:00:00Z").is_empty());
        let shared =
            all.had(IpAddr::V6(all.pseudonyms[3]), at("2026-11-01T00:00:00Z"), at("2026-11-02T00:00:00Z"));
        assert_eq!(shared.first().and_then(|h| h.ports), Some((2048, 3071)));
    }

    #[test]
    fn what_is_no_list_is_refused_by_its_line() {
        for (text, why) in [
            ("", "nobody is in it"),
            ("subscriber,address\n", "nobody is in it"),
            ("subscriber,address\nA,nowhere\n", "line 2: \"nowhere\" is no address"),
            ("subscriber,address\n,10.0.0.1\n", "line 2: no subscriber"),
            ("who,address\nA,10.0.0.1\n", "line 2: "),
            ("subscriber,address\n#4711,10.0.0.1,,2026-01-01\n", "line 2: it has 4 fields"),
            ("subscriber,address,ports\nA,10.0.0.1\nB,10.0.0.2", "line 3: it is cut"),
            ("subscriber,address,ports\nA,10.0.0.1,9-1\n", "line 2: \"9-1\" are no ports"),
            ("subscriber,address,since\nA,10.0.0.1,soon\n", "line 2: \"soon\" is no time"),
            ("subscriber,address,since,until\nA,10.0.0.1,2026-01-02,2026-01-01\n", "line 2: it ends before"),
            ("subscriber,address\nA,10.0.0.1\nB,10.0.0.1\n", "lines 2 and 3: both had 10.0.0.1/32"),
            ("subscriber,address,ports\nA,10.0.0.1,1-9\n\nB,10.0.0.1,9-12\n", "lines 2 and 4: both had"),
        ] {
            let said = list(text).map(|_| ()).expect_err(text);
            assert!(said.starts_with(why), "{text:?}: {said}");
        }
    }
}
