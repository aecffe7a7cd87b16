//! The user's own lists of indicators. None is shipped, and nothing depends on one.
//!
//! Read are: one indicator per line; CSV (a column called `indicator`, `ioc`, `value` or `ioc_value`, or else the first);
//! STIX 2.1 bundles (`indicator` objects, comparison patterns); MISP event JSON. In text lists, `# date: YYYY-MM-DD` and
//! `# trust: high|medium|low` say how old and how good a list is.

use std::net::IpAddr;

use ipnet::IpNet;
use record::Timestamp;
use serde_json::Value;

use crate::expectations::day;
use crate::table::{SeededMap, SeededSet};

/// What an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address or network.
    Address,
    /// A host name, with everything below it.
    Name,
    /// A URL.
    Url,
    /// A JA4 fingerprint.
    Ja4,
    /// A certificate's SHA-1 or SHA-256.
    Certificate,
}

/// Where an indicator comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The list, by its file's name.
    pub list: String,
    /// The day of the list or of the indicator.
    pub date: Option<Timestamp>,
    /// How far it is believed, 0–1.
    pub trust: f64,
}

/// All lists together.
#[derive(Clone, Debug, Default)]
pub struct Intel {
    origins: Vec<Origin>,
    exact: SeededMap<(Kind, String), u32>,
    addresses: SeededMap<IpAddr, u32>,
    networks: SeededMap<IpNet, u32>,
    lengths: SeededSet<(bool, u8)>,
    /// What could not be read, by list.
    pub passed_over: Vec<(String, u64)>,
}

/// Undoes the usual defanging.
fn refang(text: &str) -> String {
    let text = text.trim().trim_matches(['"', '\'']);
    text.replace("[.]", ".").replace("(.)", ".").replace("hxxp", "http").replace("[:]", ":")
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What a piece of text names, by its form.
fn kind_of(text: &str) -> Option<Kind> {
    let ja4 =
        text.len() == 36 && text.as_bytes().get(10) == Some(&b'_') && text.as_bytes().get(23) == Some(&b'_');
    if text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok() {
        Some(Kind::Address)
    } else if text.contains("://") {
        Some(Kind::Url)
    } else if ja4 {
        Some(Kind::Ja4)
    } else if is_hex(text, 40) || is_hex(text, 64) {
        Some(Kind::Certificate)
    } else if text.contains('.')
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    {
        Some(Kind::Name)
    } else {
        None
    }
}

impl Intel {
    /// Reads a list.
    ///
    /// # Errors
    /// Nothing in it is an indicator: says so, and what forms are read.
    pub fn add(&mut self, list: &str, text: &str) -> Result<usize, String> {
        let before = self.len();
        let mut lost = 0;
        let json = serde_json::from_str::<Value>(text).ok().filter(|j| j.is_object() || j.is_array());
        if let Some(json) = json {
            self.add_json(list, &json, &mut lost);
        } else {
            self.add_lines(list, text, &mut lost);
        }
        if lost > 0 {
            self.passed_over.push((list.to_owned(), lost));
        }
        let added = self.len() - before;
        if added == 0 && before == self.len() && !text.trim().is_empty() {
            return Err(format!(
                "{list}: no address, network, name, URL, JA4 or certificate hash in it (read are lines, CSV, STIX 2.1, MISP JSON)"
            ));
        }
        Ok(added)
    }

    /// Indicators in all.
    pub fn len(&self) -> usize {
        self.exact.len() + self.addresses.len() + self.networks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, origin: u32, text: &str) -> bool {
        let text = refang(text);
        let Some(kind) = kind_of(&text) else { return false };
        match kind {
            Kind::Address => {
                if let Ok(ip) = text.parse::<IpAddr>() {
                    self.addresses.entry(ip).or_insert(origin);
                } else if let Ok(net) = text.parse::<IpNet>() {
                    self.networks.entry(net.trunc()).or_insert(origin);
                    self.lengths.insert((net.addr().is_ipv4(), net.prefix_len()));
                }
            }
            Kind::Url => {
                let rest = text.split_once("://").map_or(text.as_str(), |p| p.1);
                self.exact.entry((kind, rest.trim_end_matches('/').to_owned())).or_insert(origin);
            }
            _ => {
                let lower = text.trim_end_matches('.').to_ascii_lowercase();
                self.exact.entry((kind, lower)).or_insert(origin);
            }
        }
        true
    }

    fn origin(&mut self, list: &str, date: Option<Timestamp>, trust: f64) -> u32 {
        let made = Origin { list: list.to_owned(), date, trust: trust.clamp(0.0, 1.0) };
        if let Some(at) = self.origins.iter().position(|o| *o == made) {
            return at as u32;
        }
        self.origins.push(made);
        self.origins.len() as u32 - 1
    }

    fn add_lines(&mut self, list: &str, text: &str, lost: &mut u64) {
        let said = |what: &str| {
            text.lines().filter_map(|l| l.strip_prefix('#')).find_map(|l| {
                let (name, value) = l.split_once(':')?;
                name.trim().eq_ignore_ascii_case(what).then(|| value.trim().to_ascii_lowercase())
            })
        };
        let date = said("date").as_deref().and_then(day);
        let trust = match said("trust").as_deref() {
            Some("high") => 1.0,
            Some("low") => 0.3,
            _ => 0.7,
        };
        let origin = self.origin(list, date, trust);
        let mut column = None;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let fields: Vec<&str> = line.split([',', ';', '\t']).map(str::trim).collect();
            if column.is_none() {
                let heads = ["indicator", "ioc", "value", "ioc_value", "dst_ip", "host", "domain", "url"];
                let bare = |f: &str| f.trim_matches('"').to_ascii_lowercase();
                column = Some(fields.iter().position(|f| heads.contains(&bare(f).as_str())));
                if column != Some(None) {
                    continue;
                }
            }
            let wanted = column.flatten().and_then(|at| fields.get(at).copied());
            let taken = match wanted {
                Some(field) => self.put(origin, field),
                None => fields.iter().any(|f| self.put(origin, f)),
            };
            *lost += u64::from(!taken);
        }
    }

    fn add_json(&mut self, list: &str, json: &Value, lost: &mut u64) {
        let of = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).map(str::to_owned);
        let date_of = |v: &Value, names: &[&str]| {
            names.iter().find_map(|n| of(v, n)).and_then(|d| day(d.get(..10).unwrap_or_default()))
        };
        for object in json.get("objects").and_then(Value::as_array).into_iter().flatten() {
            if of(object, "type").as_deref() != Some("indicator") {
                continue;
            }
            let trust = object.get("confidence").and_then(Value::as_f64).map_or(0.7, |c| c / 100.0);
            let origin = self.origin(list, date_of(object, &["modified", "valid_from"]), trust);
            // A comparison pattern holds its values between apostrophes.
            let pattern = of(object, "pattern").unwrap_or_default();
            let mut taken = false;
            for value in pattern.split('\'').skip(1).step_by(2) {
                taken |= self.put(origin, value);
            }
            *lost += u64::from(!taken);
        }
        let event = json.get("Event").unwrap_or(json);
        let trust = match of(event, "threat_level_id").as_deref() {
            Some("1") => 1.0,
            Some("3" | "4") => 0.4,
            _ => 0.7,
        };
        let lists =
            std::iter::once(event).chain(event.get("Object").and_then(Value::as_array).into_iter().flatten());
        for attribute in
            lists.flat_map(|o| o.get("Attribute").and_then(Value::as_array).into_iter().flatten())
        {
            let origin = self.origin(list, date_of(event, &["date"]), trust);
            let value = of(attribute, "value").unwrap_or_default();
            // "domain|ip" and "ip-dst|port" hold two values.
            let taken = value.split('|').any(|v| self.put(origin, v));
            *lost += u64::from(!taken);
        }
    }

    /// Where an address stands.
    pub fn address(&self, ip: IpAddr) -> Option<&Origin> {
        let within = |(v4, len): &(bool, u8)| {
            (*v4 == ip.is_ipv4())
                .then(|| IpNet::new(ip, *len).ok().and_then(|n| self.networks.get(&n.trunc())))
                .flatten()
        };
        let mut lengths: Vec<&(bool, u8)> = self.lengths.iter().collect();
        lengths.sort_unstable();
        let at = self.addresses.get(&ip).or_else(|| lengths.into_iter().rev().find_map(within))?;
        self.origins.get(*at as usize)
    }

    /// Where a name stands, itself or by a parent.
    pub fn name(&self, name: &str) -> Option<&Origin> {
        let mut rest = name.to_ascii_lowercase();
        loop {
            if let Some(found) = self.of(Kind::Name, &rest) {
                return Some(found);
            }
            rest = rest.split_once('.')?.1.to_owned();
        }
    }

    /// Where a URL stands: host and path, with its query or without.
    pub fn url(&self, host: &str, path: &str) -> Option<&Origin> {
        let whole = format!("{host}{path}");
        let bare = whole.split(['?', '#']).next().unwrap_or(&whole).trim_end_matches('/').to_owned();
        self.of(Kind::Url, whole.trim_end_matches('/')).or_else(|| self.of(Kind::Url, &bare))
    }

    /// Where a fingerprint or a certificate's hash stands.
    pub fn of(&self, kind: Kind, text: &str) -> Option<&Origin> {
        let at = self.exact.get(&(kind, text.to_owned()))?;
        self.origins.get(*at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Intel {
        let mut made = Intel::default();
        made.add("list", text).unwrap();
        made
    }

    #[test]
    fn one_per_line() {
        let i = read(
            "# date: 2026-11-01\n# trust: high\n198.51.100.7\n203.0.113.0/24\nEvil.Example.com.\nhxxp://bad[.]example/gate.php\n\
             t13d1516h2_8daaf6152771_e5627efa2ab1\n0123456789abcdef0123456789abcdef01234567\nnot an indicator\n",
        );
        assert_eq!(i.len(), 6);
        let of = i.address("198.51.100.7".parse().unwrap()).unwrap();
        assert_eq!((of.list.as_str(), of.date, of.trust), ("list", day("2026-11-01"), 1.0));
        assert!(i.address("203.0.113.200".parse().unwrap()).is_some());
        assert!(i.address("203.0.114.1".parse().unwrap()).is_none());
        assert!(i.name("www.evil.example.com").is_some() && i.name("example.com").is_none());
        assert!(i.url("bad.example", "/gate.php?id=1").is_some() && i.url("bad.example", "/").is_none());
        assert!(i.of(Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1").is_some());
        assert!(i.of(Kind::Certificate, "0123456789abcdef0123456789abcdef01234567").is_some());
        assert_eq!(i.passed_over, [("list".to_owned(), 1)]);
    }

    #[test]
    fn csv_with_and_without_a_heading() {
        let i = read("first_seen,ioc_value,tag\n2026-01-01,198.51.100.7,x\n2026-01-02,evil.example.com,y\n");
        assert!(i.len() == 2 && i.name("evil.example.com").is_some());
        let i = read("\"198.51.100.7\",\"c2\"\n");
        assert_eq!(i.len(), 1);
    }

    #[test]
    fn stix_and_misp() {
        let i = read(
            r#"{"type":"bundle","objects":[{"type":"indicator","pattern":"[ipv4-addr:value = '198.51.100.7' OR domain-name:value = 'evil.example.com']",
               "modified":"2026-10-01T00:00:00Z","confidence":50},{"type":"malware"}]}"#,
        );
        let of = i.name("evil.example.com").unwrap();
        assert!(i.len() == 2 && (of.trust - 0.5).abs() < 1e-9 && of.date == day("2026-10-01"));
        let i = read(
            r#"{"Event":{"date":"2026-09-01","threat_level_id":"1","Attribute":[{"type":"ip-dst|port","value":"198.51.100.7|443"}],
               "Object":[{"Attribute":[{"type":"domain","value":"evil.example.com"}]}]}}"#,
        );
        assert!(i.len() == 2 && (i.name("evil.example.com").unwrap().trust - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_holds_nothing_is_said() {
        let mut i = Intel::default();
        assert!(i.add("x", "hello there\nnothing\n").unwrap_err().contains("STIX"));
        assert!(i.add("x", "{\"a\": 1}").is_err());
    }
}
