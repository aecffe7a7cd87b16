//! What the people who run the network expect of their hosts: who may do what, why, on whose word, until when.

use std::net::IpAddr;

use ipnet::IpNet;
use record::{Evidence, FactValue, Mac, Timestamp};
use serde::{Deserialize, Serialize};

use crate::intel::{MAX_OF_RANGE, range_of};

/// One expectation of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// What to call it, once in a file.
    pub name: String,
    /// Hosts: addresses, networks, Ethernet addresses, names a host gives itself; any of them. Empty: every host.
    #[serde(default)]
    pub who: Vec<String>,
    /// Behaviours by name; empty: every one.
    #[serde(default)]
    pub behaviours: Vec<String>,
    /// Remotes: addresses, networks, names (with all below them); any of them. Empty: every remote.
    #[serde(default)]
    pub remotes: Vec<String>,
    /// Remote ports; empty: every port.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Paths of requests, whole or up to a `*` at the end; empty: every path, and what has none.
    #[serde(default, alias = "path")]
    pub paths: Vec<String>,
    /// Who opens the flow; nothing: either.
    #[serde(default)]
    pub direction: Option<Way>,
    /// Why it is expected.
    pub why: String,
    /// Who says so.
    pub owner: String,
    /// The first day on which it is no longer expected, `YYYY-MM-DD`.
    pub until: String,
}

/// Which way a flow goes, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The host opens it.
    Out,
    /// The host answers it.
    In,
}

impl Way {
    /// The word in the file and in evidence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// Flows that a declared host may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Who opens the flow; nothing: either.
    #[serde(default)]
    pub direction: Option<Way>,
    /// Remotes: addresses, networks, names (with all below them); any of them. Empty: every remote.
    #[serde(default)]
    pub remotes: Vec<String>,
    /// Ports of the responder; empty: every port.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// What hosts are for: a role that is learned of others, all that they may do, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// What to call it, once in a file.
    pub name: String,
    /// Hosts, as in [`Expectation::who`]; at least one.
    pub who: Vec<String>,
    /// The role, in the words of the verdict: `mail server`, `resolver`, `monitor` …
    #[serde(default)]
    pub role: Option<String>,
    /// All that it does; what is not among them is evidence. Empty: anything.
    #[serde(default)]
    pub only: Vec<Allowed>,
    /// Why.
    pub why: String,
    /// Who says so.
    pub owner: String,
    /// The first day on which it no longer holds, `YYYY-MM-DD`.
    pub until: String,
}

/// The file: `[[expect]]` and `[[role]]`, again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// The expectations, in the order of the file; the first that holds is named.
    #[serde(default, rename = "expect")]
    pub list: Vec<Expectation>,
    /// What hosts are for.
    #[serde(default, rename = "role")]
    pub roles: Vec<Declaration>,
}

/// What a host is called beside its address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Called {
    /// Ethernet addresses, lower case with colons.
    pub macs: Vec<String>,
    /// Names it gave itself, lower case.
    pub names: Vec<String>,
}

crate::held!(Called: macs, names);

/// Facts of evidence that name remotes, and the one that holds a request's path. Each is compared with its own kind alone.
const NAMES: &[&str] = &[
    "name",
    "names",
    "host",
    "target",
    "domain",
    "domains",
    "pages",
    "server_name",
    "asked_for",
    "indicator",
    "remote",
    "through_a_proxy",
];
const PATH: &str = "path";
/// The fact that holds those names of remotes that the host alone says.
pub const OWN_WORD: &str = "own_word";
/// The fact that holds what the host itself was called then.
pub const CALLED: &str = "called";
/// Those of [`NAMES`] by which a host itself says with whom it speaks; the others are what DNS was asked for.
const SAID: &[&str] = &["name", "host", "pages", "server_name", "indicator", "remote"];

/// The names and addresses in facts of evidence, each fact's for itself: without scheme, port and path.
fn names_in<'a>(e: &'a Evidence, keys: &'a [&'a str]) -> impl Iterator<Item = Vec<&'a str>> {
    let of_kind = e.facts.iter().filter(|(key, _)| keys.contains(&key.as_ref()));
    of_kind.map(|(_, value)| match value {
        FactValue::Text(text) => text.split([',', ' ']).map(bare).filter(|n| !n.is_empty()).collect(),
        FactValue::List(all) => all.iter().map(|n| bare(n)).filter(|n| !n.is_empty()).collect(),
        _ => Vec::new(),
    })
}

/// A remote's name or address, of a URL, of a name with its port, or as it stands.
fn bare(text: &str) -> &str {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((address, _)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        return address;
    }
    match text.split_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => text,
    }
}

/// The names that evidence says its remotes have, and that nobody says but the host itself: `vouches` asks of a remote and a name.
pub fn own_word(e: &Evidence, vouches: impl Fn(IpAddr, &str) -> bool) -> Vec<String> {
    let said: Vec<&str> = names_in(e, SAID).flatten().filter(|n| n.parse::<IpAddr>().is_err()).collect();
    if said.is_empty() || e.remotes.is_empty() {
        return Vec::new();
    }
    // Each remote must have one of the names, and each name a remote.
    let each = e.remotes.iter().all(|ip| said.iter().any(|n| vouches(*ip, n)));
    let mut own: Vec<String> = said
        .iter()
        .filter(|n| !each || !e.remotes.iter().any(|ip| vouches(*ip, n)))
        .map(|n| n.to_ascii_lowercase())
        .collect();
    own.sort();
    own.dedup();
    own
}

fn is_or_holds(entry: &str, ip: IpAddr) -> bool {
    entry.parse::<IpNet>().is_ok_and(|n| n.contains(&ip)) || entry.parse::<IpAddr>().is_ok_and(|a| a == ip)
}

/// Whether `name` is `entry` or below it.
fn is_below(name: &str, entry: &str) -> bool {
    let (name, entry) = (name.to_ascii_lowercase(), entry.to_ascii_lowercase());
    name == entry || name.strip_suffix(&entry).is_some_and(|r| r.ends_with('.'))
}

/// Whether a host is one of those of a list; an empty list holds nobody.
fn is_among(who: &[String], host: IpAddr, called: &Called) -> bool {
    who.iter().any(|w| {
        let lower = w.to_ascii_lowercase();
        is_or_holds(w, host)
            || called.macs.iter().any(|m| *m == lower.replace('-', ":"))
            || called.names.contains(&lower)
    })
}

/// An address, a network, or a range of addresses (`first-last`, as networks); `None` where it is none of these and does not look like one.
fn addresses(entry: &str) -> Option<Result<Vec<String>, String>> {
    if entry.parse::<IpAddr>().is_ok() {
        return Some(Ok(vec![entry.to_owned()]));
    }
    if let Ok(net) = entry.parse::<IpNet>() {
        return Some(Ok(vec![net.trunc().to_string()]));
    }
    if let Some((first, last)) = entry.split_once('-')
        && let (Ok(first), Ok(last)) = (first.trim().parse::<IpAddr>(), last.trim().parse::<IpAddr>())
    {
        return Some(match range_of(first, last) {
            Some(nets) => Ok(nets.iter().map(ToString::to_string).collect()),
            None if first > last || first.is_ipv4() != last.is_ipv4() => {
                Err("is no range: its last address lies before its first".to_owned())
            }
            None => Err(format!("needs more than {MAX_OF_RANGE} networks: write them as networks")),
        });
    }
    // Digits and points, or a mask behind: an address was meant.
    let head = entry.split('/').next().unwrap_or_default();
    let like = head.contains('.') && head.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'*'));
    if like || (entry.contains('/') && head.parse::<IpAddr>().is_ok()) {
        let meant = match head.strip_suffix(".*").map(|h| (h, h.matches('.').count())) {
            Some((net, 2)) => format!(": write {net}.0/24"),
            Some((net, 1)) => format!(": write {net}.0.0/16"),
            _ => String::new(),
        };
        return Some(Err(format!("is no address and no network, and can match nothing{meant}")));
    }
    None
}

/// A host: an address, network or range, an Ethernet address, or a name that a host gives itself.
fn host_entry(entry: &str) -> Result<Vec<String>, String> {
    let entry = entry.trim();
    if let Some(known) = addresses(entry) {
        return known;
    }
    let pairs: Vec<&str> = entry.split([':', '-']).collect();
    let is_mac = pairs.len() == 6 && pairs.iter().all(|p| p.len() == 2 && u8::from_str_radix(p, 16).is_ok());
    if is_mac {
        return Ok(vec![entry.to_ascii_lowercase().replace('-', ":")]);
    }
    if entry.is_empty() || entry.contains(['/', '*', ' ', ':']) {
        return Err(
            "is no address, network, Ethernet address or name of a host, and can match nothing".to_owned()
        );
    }
    Ok(vec![entry.to_ascii_lowercase()])
}

/// A remote: an address, network or range, or a name with everything below it, also written `*.name`, `.name` or `name.`.
fn remote_entry(entry: &str) -> Result<Vec<String>, String> {
    let entry = entry.trim();
    if let Some(known) = addresses(entry) {
        return known;
    }
    if let Some((_, rest)) = entry.split_once("://") {
        let host = rest.split(['/', '?', ':']).next().unwrap_or_default();
        return Err(format!(
            "is a URL, and remotes are names and addresses: write {host:?}, and its path in `paths`"
        ));
    }
    let bare = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')).unwrap_or(entry);
    let name = crate::host_name(bare);
    let label =
        |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.is_empty() || !name.split('.').all(label) {
        return Err("is no address, network or name, and can match nothing".to_owned());
    }
    Ok(vec![name])
}

/// A path: it begins with a slash.
fn path_entry(entry: &str) -> Result<Vec<String>, String> {
    match entry.trim() {
        path if path.starts_with('/') && !path.trim_end_matches('*').contains('*') => {
            Ok(vec![path.to_owned()])
        }
        _ => Err("is no path: write /update, or /update/* for all below it".to_owned()),
    }
}

/// The moment a day begins, from `YYYY-MM-DD`.
pub fn day(text: &str) -> Option<Timestamp> {
    let mut parts = text.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (y, m, d) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&y) || !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    // Days since 1970-01-01 of a Gregorian date (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * m + 2) / 5 + d - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(Timestamp::from_secs(days * 86_400))
}

impl Expectation {
    /// How evidence that fulfils it names it.
    pub fn told(&self) -> String {
        format!("'{}' of {}, until {}", self.name, self.owner, self.until)
    }

    /// When it ends.
    pub fn ends(&self) -> Timestamp {
        day(&self.until).unwrap_or(Timestamp::MIN)
    }

    fn is_of(&self, host: IpAddr, called: &Called) -> bool {
        self.who.is_empty() || is_among(&self.who, host, called)
    }

    fn is_about(&self, e: &Evidence) -> bool {
        // A name that the host alone says fulfils nothing: it may say what it likes.
        let own = match e.facts.get(OWN_WORD) {
            Some(FactValue::List(all)) => all.as_slice(),
            _ => &[],
        };
        let vouched = |name: &str| !own.iter().any(|o| o.eq_ignore_ascii_case(name));
        // Several names in one fact must all be expected.
        let named = |names: Vec<&str>| {
            let expected = |name: &str| match name.parse() {
                // An address in a request is the client's word, unless the request went there.
                Ok(ip) => {
                    (e.remotes.is_empty() || e.remotes.contains(&ip))
                        && self.remotes.iter().any(|r| is_or_holds(r, ip))
                }
                Err(_) => self.remotes.iter().any(|r| is_below(name, r)) && vouched(name),
            };
            !names.is_empty() && names.into_iter().all(expected)
        };
        let path = self.paths.is_empty()
            || matches!(e.facts.get(PATH), Some(FactValue::Text(path)) if {
                let bare = path.split(['?', '#']).next().unwrap_or_default();
                self.paths.iter().any(|p| match p.strip_suffix('*') {
                    Some(begin) => bare.starts_with(begin),
                    None => bare == p,
                })
            });
        // Every remote of the evidence must be expected, or its name; of those behind a proxy the name is all there is.
        let remote = self.remotes.is_empty()
            || names_in(e, NAMES).any(named)
            || (!e.remotes.is_empty()
                && !e.facts.contains_key("through_a_proxy")
                && e.remotes.iter().all(|ip| self.remotes.iter().any(|r| is_or_holds(r, *ip))));
        let port = self.ports.is_empty()
            || matches!(e.facts.get("port"), Some(FactValue::Count(p)) if self.ports.iter().any(|x| u64::from(*x) == *p));
        // Evidence is about what the host opened, unless it says otherwise.
        let inbound = e.facts.get("direction") == Some(&FactValue::Text("in".to_owned()));
        let way = self.direction.is_none_or(|w| (w == Way::In) == inbound);
        let behaviour = self.behaviours.is_empty() || self.behaviours.iter().any(|b| *b == e.behaviour);
        behaviour && remote && port && path && way
    }
}

impl Allowed {
    fn holds(&self, way: Way, remote: IpAddr, names: &[&str], port: u16) -> bool {
        self.direction.is_none_or(|w| w == way)
            && (self.ports.is_empty() || self.ports.contains(&port))
            && (self.remotes.is_empty()
                || self
                    .remotes
                    .iter()
                    .any(|r| is_or_holds(r, remote) || names.iter().any(|n| is_below(n, r))))
    }
}

impl Declaration {
    /// How it is named in what is told.
    pub fn told(&self) -> String {
        format!("declared as '{}' by {}, until {}", self.name, self.owner, self.until)
    }

    /// When it ends.
    pub fn ends(&self) -> Timestamp {
        day(&self.until).unwrap_or(Timestamp::MIN)
    }

    /// Whether it speaks of a host at a time.
    pub fn is_of(&self, host: IpAddr, called: &Called, at: Timestamp) -> bool {
        at < self.ends() && is_among(&self.who, host, called)
    }
}

impl Expectations {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no such file, or an entry is wrong: names the entry and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut made: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        made.understand(text)?;
        let made = made;
        let mut names: Vec<&str> = Vec::new();
        for e in &made.list {
            let wrong = |what: String| Err(format!("expectation {:?}: {what}", e.name));
            if names.contains(&e.name.as_str()) {
                return wrong("there are two of this name: give each its own".into());
            }
            names.push(&e.name);
            if day(&e.until).is_none() {
                return wrong(format!("until = {:?} is no date: write YYYY-MM-DD", e.until));
            }
            if let Some(b) = e.behaviours.iter().find(|b| !crate::CATALOGUE.iter().any(|c| c.name == **b)) {
                return wrong(format!("no behaviour is called {b:?}: see `hydrophone behaviours`"));
            }
            if e.who.is_empty() && e.behaviours.is_empty() && e.remotes.is_empty() && e.ports.is_empty() {
                return wrong("it would expect everything of everybody: say who or what".into());
            }
        }
        for d in &made.roles {
            let wrong = |what: String| Err(format!("role {:?}: {what}", d.name));
            if names.contains(&d.name.as_str()) {
                return wrong("there are two of this name: give each its own".into());
            }
            names.push(&d.name);
            if day(&d.until).is_none() {
                return wrong(format!("until = {:?} is no date: write YYYY-MM-DD", d.until));
            }
            if d.who.is_empty() {
                return wrong("it says of nobody: name hosts in `who`".into());
            }
            if d.role.is_none() && d.only.is_empty() {
                return wrong("it says nothing: give it a `role`, or what it does in `only`".into());
            }
        }
        Ok(made)
    }

    /// Puts every entry in the one form in which it is compared.
    fn understand(&mut self, text: &str) -> Result<(), String> {
        // Where an entry stands, for whoever has to mend it.
        let line = |entry: &str| {
            let at = text.lines().position(|l| l.contains(&format!("\"{entry}\"")));
            at.map(|at| format!("line {}: ", at + 1)).unwrap_or_default()
        };
        let all = |entries: &mut Vec<String>, of: fn(&str) -> Result<Vec<String>, String>| {
            let mut made = Vec::with_capacity(entries.len());
            for entry in entries.iter() {
                made.extend(of(entry).map_err(|what| format!("{}{entry:?} {what}", line(entry)))?);
            }
            *entries = made;
            Ok::<(), String>(())
        };
        for e in &mut self.list {
            let wrong = |what| format!("expectation {:?}: {what}", e.name);
            all(&mut e.who, host_entry).map_err(wrong)?;
            all(&mut e.remotes, remote_entry).map_err(wrong)?;
            all(&mut e.paths, path_entry).map_err(wrong)?;
        }
        for d in &mut self.roles {
            let wrong = |what| format!("role {:?}: {what}", d.name);
            all(&mut d.who, host_entry).map_err(wrong)?;
            for allowed in &mut d.only {
                all(&mut allowed.remotes, remote_entry).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// The declarations that speak of a host at a time.
    pub fn declared(
        &self,
        host: IpAddr,
        called: &Called,
        at: Timestamp,
    ) -> impl Iterator<Item = &Declaration> {
        self.roles.iter().filter(move |d| d.is_of(host, called, at))
    }

    /// Who forbids a flow: the first of a host's declarations with a list of what it does, if none of their lists holds the flow.
    pub fn forbids(
        &self,
        host: IpAddr,
        called: &Called,
        way: Way,
        (remote, names): (IpAddr, &[&str]),
        port: u16,
        at: Timestamp,
    ) -> Option<&Declaration> {
        let mut lists = self.declared(host, called, at).filter(|d| !d.only.is_empty()).peekable();
        let first = lists.peek().copied()?;
        let allowed = lists.any(|d| d.only.iter().any(|a| a.holds(way, remote, names, port)));
        (!allowed).then_some(first)
    }

    /// The first expectation that evidence fulfils; an expectation is none after its end.
    pub fn of(&self, e: &Evidence, called: &Called) -> Option<&Expectation> {
        self.list.iter().find(|x| e.ts < x.ends() && x.is_of(e.host, called) && x.is_about(e))
    }

    /// Whether an expectation names a remote by `name` or what it is below.
    pub fn names_remote(&self, name: &str) -> bool {
        self.list.iter().any(|e| e.remotes.iter().any(|r| is_below(name, r)))
    }

    /// Whether nothing is expected and nothing declared.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.roles.is_empty()
    }
}

impl Called {
    /// What a host with these Ethernet addresses was called when evidence was written down.
    pub fn of(e: &Evidence, macs: &[String]) -> Self {
        let names = match e.facts.get(CALLED) {
            Some(FactValue::List(names)) => names.clone(),
            _ => Vec::new(),
        };
        Self { macs: macs.to_vec(), names }
    }

    /// Learns an Ethernet address.
    pub fn mac(&mut self, mac: Mac) {
        let text = mac.to_string();
        if self.macs.len() < 8 && !self.macs.contains(&text) {
            self.macs.push(text);
        }
    }

    /// Learns a name.
    pub fn name(&mut self, name: &str) {
        let lower = name.to_ascii_lowercase();
        if self.names.len() < 8 && !self.names.contains(&lower) {
            self.names.push(lower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Stage;
    use std::collections::BTreeMap;

    const FILE: &str = r#"
        [[expect]]
        name = "nightly scan"
        who = ["10.0.0.5", "02:00:0a:00:00:09", "scanner"]
        behaviours = ["horizontal_scan"]
        remotes = ["198.51.100.0/24"]
        ports = [22]
        why = "inventory"
        owner = "ops"
        until = "2027-01-01"
    "#;

    fn evidence(behaviour: &'static str, remote: &str, port: u64) -> Evidence {
        Evidence {
            host: "10.0.0.5".parse().unwrap(),
            stage: Stage::Act,
            behaviour: behaviour.into(),
            key: "x".into(),
            grades: vec![],
            started: Timestamp::from_secs(0),
            ts: day("2026-12-31").unwrap(),
            value: 1.0,
            threshold: 1.0,
            unit: "x".into(),
            source: "test".into(),
            packets: vec![],
            flows: vec![],
            community_ids: vec![],
            remotes: vec![remote.parse().unwrap()],
            facts: BTreeMap::from([("port".into(), port.into()), ("host".into(), "a.example.com".into())]),
            expected: None,
        }
    }

    #[test]
    fn dates_are_days() {
        assert_eq!(day("1970-01-01"), Some(Timestamp::from_secs(0)));
        assert_eq!(day("2000-03-01").unwrap().to_string(), "2000-03-01T00:00:00.000000Z");
        assert_eq!(day("2026-11-24").unwrap().to_string(), "2026-11-24T00:00:00.000000Z");
        for wrong in ["2026-13-01", "tomorrow", "2026-11", ""] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_what_and_until_when() {
        let all = Expectations::parse(FILE).unwrap();
        let nobody = Called::default();
        let good = evidence("horizontal_scan", "198.51.100.9", 22);
        assert_eq!(all.of(&good, &nobody).map(|e| e.name.as_str()), Some("nightly scan"));
        assert!(all.of(&evidence("vertical_scan", "198.51.100.9", 22), &nobody).is_none());
        assert!(all.of(&evidence("horizontal_scan", "203.0.113.9", 22), &nobody).is_none());
        assert!(all.of(&evidence("horizontal_scan", "198.51.100.9", 23), &nobody).is_none());
        let mut late = good.clone();
        late.ts = day("2027-01-01").unwrap();
        assert!(all.of(&late, &nobody).is_none(), "expired");
        let mut other = good;
        other.host = "10.0.0.77".parse().unwrap();
        assert!(all.of(&other, &nobody).is_none());
        let named = Called { names: vec!["scanner".into()], ..Called::default() };
        let mac = Called { macs: vec!["02:00:0a:00:00:09".into()], ..Called::default() };
        assert!(all.of(&other, &named).is_some() && all.of(&other, &mac).is_some());
    }

    #[test]
    fn remotes_by_name() {
        let all = Expectations::parse(&FILE.replace("198.51.100.0/24", "example.com")).unwrap();
        assert!(all.of(&evidence("horizontal_scan", "203.0.113.9", 22), &Called::default()).is_some());
        let all = Expectations::parse(&FILE.replace("198.51.100.0/24", "xample.com")).unwrap();
        assert!(all.of(&evidence("horizontal_scan", "203.0.113.9", 22), &Called::default()).is_none());
    }

    #[test]
    fn either_direction_or_one() {
        let file =
            |way: &str| Expectations::parse(&FILE.replace("ports", &format!("direction = \"{way}\"\nports")));
        let mut e = evidence("horizontal_scan", "198.51.100.9", 22);
        let nobody = Called::default();
        assert!(
            file("out").unwrap().of(&e, &nobody).is_some() && file("in").unwrap().of(&e, &nobody).is_none()
        );
        e.facts.insert("direction".into(), "in".to_owned().into());
        assert!(
            file("out").unwrap().of(&e, &nobody).is_none() && file("in").unwrap().of(&e, &nobody).is_some()
        );
        assert!(file("sideways").is_err());
    }

    #[test]
    fn entries_are_read_as_people_write_them() {
        let nobody = Called::default();
        let remote = |entry: &str| Expectations::parse(&FILE.replace("198.51.100.0/24", entry));
        let named = evidence("horizontal_scan", "203.0.113.9", 22);
        for entry in ["*.example.com", ".example.com", "example.com.", "EXAMPLE.com"] {
            assert!(remote(entry).unwrap().of(&named, &nobody).is_some(), "{entry}");
        }
        assert!(remote("203.0.113.1-203.0.113.20").unwrap().of(&named, &nobody).is_some());
        for (entry, meant) in [
            ("http://beacon.example.com/", "\"beacon.example.com\""),
            ("198.51.100.0/33", "no network"),
            ("198.51.100.300", "no address"),
            ("198.51.100.*", "198.51.100.0/24"),
            ("example..com", "match nothing"),
        ] {
            let error = remote(entry).unwrap_err();
            assert!(error.contains(meant) && error.contains(entry) && error.contains("line 6"), "{error}");
        }
        let who = |entry: &str| Expectations::parse(&FILE.replace("10.0.0.5", entry));
        assert!(
            who("10.0.0.1-10.0.0.9")
                .unwrap()
                .of(&evidence("horizontal_scan", "198.51.100.9", 22), &nobody)
                .is_some()
        );
        for entry in ["10.0.0.*", "10.0.0.300", "10.0.0.0/40", "scan/ner"] {
            assert!(who(entry).unwrap_err().contains("line 4"), "{entry}");
        }
    }

    #[test]
    fn each_field_is_compared_with_its_own_kind() {
        let nobody = Called::default();
        let mut e = evidence("horizontal_scan", "203.0.113.9", 22);
        e.facts = BTreeMap::from([
            ("port".into(), 22u64.into()),
            ("user_agent".into(), "example.com".into()),
            ("path".into(), "/gate.php?x".into()),
        ]);
        let by = |entry: &str| Expectations::parse(&FILE.replace("198.51.100.0/24", entry)).unwrap();
        assert!(by("example.com").of(&e, &nobody).is_none(), "a program's name is no remote's");
        let paths = |path: &str| {
            Expectations::parse(
                &FILE.replace("remotes = [\"198.51.100.0/24\"]", &format!("paths = [\"{path}\"]")),
            )
        };
        assert!(paths("/gate.php").unwrap().of(&e, &nobody).is_some());
        assert!(
            paths("/ga*").unwrap().of(&e, &nobody).is_some()
                && paths("/gate").unwrap().of(&e, &nobody).is_none()
        );
        assert!(paths("gate.php").is_err());
        // What the host alone says of its remote.
        e.facts.insert("host".into(), "A.example.com:8080".into());
        let all = by("example.com");
        assert!(all.of(&e, &nobody).is_some());
        assert_eq!(own_word(&e, |_, name| name == "A.example.com"), [""; 0]);
        let own = own_word(&e, |_, _| false);
        assert_eq!(own, ["a.example.com"]);
        e.facts.insert(OWN_WORD.into(), own.into());
        assert!(all.of(&e, &nobody).is_none());
        // Names are looked for in every fact that holds them, addresses and URLs too.
        for (key, value) in [
            ("indicator", "http://b.example.com:8080/gate?x"),
            ("target", "203.0.113.9:25"),
            ("asked_for", "example.com"),
        ] {
            e.facts = BTreeMap::from([("port".into(), 22u64.into()), (key.into(), value.into())]);
            let entry = if key == "target" { "203.0.113.0/28" } else { "example.com" };
            assert!(by(entry).of(&e, &nobody).is_some(), "{key}");
        }
        // An address in a request is the client's word: the request went elsewhere.
        let elsewhere =
            BTreeMap::from([("port".into(), 22u64.into()), ("host".into(), "198.51.100.7".into())]);
        let claims = Evidence { facts: elsewhere, ..e.clone() };
        assert!(by("198.51.100.0/24").of(&claims, &nobody).is_none());
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        e.facts.insert("domains".into(), list(&["a.example.com", "b.other"]).into());
        e.facts.remove("asked_for");
        assert!(by("example.com").of(&e, &nobody).is_none(), "all of them");
    }

    #[test]
    fn the_facts_that_are_compared_are_those_that_behaviours_give() {
        let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let folders = Stage::ALL.map(|s| src.join(s.name()));
        let all: String = std::iter::once(&src)
            .chain(&folders)
            .flat_map(|folder| std::fs::read_dir(folder).unwrap())
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "rs") && !p.ends_with("expectations.rs"))
            .map(|p| std::fs::read_to_string(p).unwrap())
            .collect();
        for key in NAMES.iter().chain([&PATH]) {
            let given = [format!("(\"{key}\", "), format!("Borrowed(\"{key}\")")];
            assert!(given.iter().any(|g| all.contains(g)), "{key}");
        }
        assert!(SAID.iter().all(|key| NAMES.contains(key)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, told) in [
            ("2027-01-01", "soon", "YYYY-MM-DD"),
            ("\"horizontal_scan\"", "\"horizontal_skan\"", "horizontal_skan"),
            ("owner", "ovner", "ovner"),
        ] {
            let err = Expectations::parse(&FILE.replace(from, to)).unwrap_err();
            assert!(err.contains(told), "{err}");
        }
        assert!(Expectations::parse(&format!("{FILE}{FILE}")).unwrap_err().contains("two of this name"));
        let role = |rest: &str| {
            let text =
                format!("[[role]]\nname = \"r\"\nwhy = \"\"\nowner = \"\"\nuntil = \"2030-01-01\"\n{rest}");
            Expectations::parse(&text)
        };
        assert!(role("who = []\nrole = \"monitor\"").unwrap_err().contains("nobody"));
        assert!(role("who = [\"a\"]").unwrap_err().contains("says nothing"));
        assert!(role("who = [\"a\"]\nrole = \"monitor\"").is_ok());
        let everything = "[[expect]]\nname = \"x\"\nwhy = \"\"\nowner = \"\"\nuntil = \"2027-01-01\"";
        assert!(Expectations::parse(everything).unwrap_err().contains("everybody"));
    }
}
