//! The user's own lists of indicators. None is shipped, and nothing depends on one.
//!
//! `lists` knows the forms that lists come in; here is what an indicator is, in the one form in which list and traffic meet: names lower case,
//! in ASCII and without a trailing dot; URLs without scheme, default port, fragment and trailing slash.

mod lists;

pub use lists::{MAX_OF_RANGE, range_of};

use std::net::IpAddr;

use ipnet::IpNet;
use record::Timestamp;

use crate::table::{SeededMap, SeededSet};

/// What an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address or network, perhaps with a port.
    Address,
    /// A host name, with everything below it.
    Name,
    /// A URL.
    Url,
    /// A JA4 fingerprint.
    Ja4,
    /// A certificate's SHA-1 or SHA-256.
    Certificate,
    /// A file's SHA-256.
    File,
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

/// What of a list could not be taken, or says itself that it is not for detection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The list, by its file's name.
    pub list: String,
    /// Why, in words that follow "are".
    pub why: &'static str,
    /// How many lines or entries.
    pub count: u64,
    /// The first of them.
    pub example: String,
}

/// What a list says of an address: of all its ports, or of some.
#[derive(Clone, Debug, Default)]
struct Listed {
    whole: Option<u32>,
    ports: Vec<(u16, u32)>,
}

/// All lists together.
#[derive(Clone, Debug, Default)]
pub struct Intel {
    origins: Vec<Origin>,
    known_origins: SeededMap<(String, Option<Timestamp>, u64), u32>,
    exact: SeededMap<(Kind, String), u32>,
    addresses: SeededMap<IpAddr, Listed>,
    networks: SeededMap<IpNet, u32>,
    lengths: SeededSet<(bool, u8)>,
    /// What was not taken, by list and reason.
    pub passed_over: Vec<PassedOver>,
}

/// A host name as it is compared: lower case, in ASCII (RFC 5891), without a trailing dot.
pub fn host_name(name: &str) -> String {
    let bare = name.trim_end_matches('.');
    if bare.is_ascii() {
        return bare.to_ascii_lowercase();
    }
    idna::domain_to_ascii(bare).unwrap_or_else(|_| bare.to_lowercase())
}

/// A URL as it is compared, from its parts: host, port unless it is the scheme's own, path and query.
fn url_of(host: &str, port: Option<u16>, path: &str) -> String {
    let port = port.filter(|p| !matches!(p, 80 | 443)).map(|p| format!(":{p}")).unwrap_or_default();
    let path = path.split('#').next().unwrap_or_default().trim_end_matches('/');
    format!("{}{port}{path}", host_name(host))
}

impl Intel {
    /// Reads a list: lines, CSV as abuse.ch writes it and others, Zeek's intelligence files, MISP and STIX as JSON, hosts files, filter lists.
    /// Gives how many indicators are new.
    ///
    /// # Errors
    /// Nothing in it is an indicator: says so, and what forms are read.
    pub fn add(&mut self, list: &str, bytes: &[u8]) -> Result<usize, String> {
        let before = self.len();
        let read = lists::read(self, list, &lists::text(bytes));
        let added = self.len() - before;
        if read.taken == 0 && read.lines > 0 {
            let example = read.example.map(|e| format!(", for example {e:?}")).unwrap_or_default();
            return Err(format!(
                "{list}: no address, network, name, URL, JA4 or hash (SHA-256 of a file, SHA-1 or SHA-256 of a certificate) among its {} entries{example} (read are lines, CSV, \
                 Zeek intel, STIX 2.1, MISP, hosts and filter lists)",
                read.lines
            ));
        }
        Ok(added)
    }

    /// Indicators in all.
    pub fn len(&self) -> usize {
        let of_address = |l: &Listed| usize::from(l.whole.is_some()) + l.ports.len();
        self.exact.len() + self.networks.len() + self.addresses.values().map(of_address).sum::<usize>()
    }

    /// All of them in words, in order: addresses and networks without their ports.
    pub fn indicators(&self) -> Vec<(Kind, String)> {
        let mut all: Vec<(Kind, String)> = self.exact.keys().cloned().collect();
        all.extend(self.addresses.keys().map(|ip| (Kind::Address, ip.to_string())));
        all.extend(self.networks.keys().map(|net| (Kind::Address, net.to_string())));
        all.sort();
        all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.addresses.is_empty() && self.networks.is_empty()
    }

    fn put_address(&mut self, origin: u32, ip: IpAddr, port: Option<u16>) {
        let listed = self.addresses.entry(ip).or_default();
        match port {
            None => {
                listed.whole.get_or_insert(origin);
            }
            Some(port) if listed.ports.iter().all(|(p, _)| *p != port) => listed.ports.push((port, origin)),
            Some(_) => {}
        }
    }

    fn put_network(&mut self, origin: u32, net: IpNet) {
        if net.prefix_len() == net.max_prefix_len() {
            return self.put_address(origin, net.addr(), None);
        }
        self.networks.entry(net.trunc()).or_insert(origin);
        self.lengths.insert((net.addr().is_ipv4(), net.prefix_len()));
    }

    fn put_exact(&mut self, origin: u32, kind: Kind, text: String) {
        self.exact.entry((kind, text)).or_insert(origin);
    }

    fn origin(&mut self, list: &str, date: Option<Timestamp>, trust: f64) -> u32 {
        let trust = trust.clamp(0.0, 1.0);
        let next = self.origins.len() as u32;
        let at = *self.known_origins.entry((list.to_owned(), date, trust.to_bits())).or_insert(next);
        if at == next {
            self.origins.push(Origin { list: list.to_owned(), date, trust });
        }
        at
    }

    /// Where an address stands, itself with this port or any, or by its network; and how it stands there.
    pub fn address(&self, ip: IpAddr, port: u16) -> Option<(String, &Origin)> {
        if let Some(listed) = self.addresses.get(&ip) {
            let of_port = listed.ports.iter().find(|(p, _)| *p == port);
            if let Some((_, at)) = of_port {
                let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                return Some((format!("{ip}:{port}"), self.origins.get(*at as usize)?));
            }
            if let Some(at) = listed.whole {
                return Some((ip.to_string(), self.origins.get(at as usize)?));
            }
        }
        let mut lengths: Vec<&(bool, u8)> =
            self.lengths.iter().filter(|(v4, _)| *v4 == ip.is_ipv4()).collect();
        lengths.sort_unstable();
        lengths.into_iter().rev().find_map(|(_, len)| {
            let net = IpNet::new(ip, *len).ok()?.trunc();
            let at = self.networks.get(&net)?;
            Some((net.to_string(), self.origins.get(*at as usize)?))
        })
    }

    /// Where a name stands, itself or by a parent, and which of them.
    pub fn name(&self, name: &str) -> Option<(String, &Origin)> {
        let mut rest = host_name(name);
        loop {
            if let Some(found) = self.of(Kind::Name, &rest) {
                return Some((rest, found));
            }
            let (label, _) = rest.split_once('.')?;
            rest.drain(..=label.len());
        }
    }

    /// Where a URL stands: host, port and path, with its query or without; and how it stands there.
    pub fn url(&self, host: &str, port: u16, path: &str) -> Option<(String, &Origin)> {
        let bare = path.split(['?', '#']).next().unwrap_or(path);
        [path, bare].into_iter().find_map(|p| {
            let url = url_of(host, Some(port), p);
            self.of(Kind::Url, &url).map(|origin| (url, origin))
        })
    }

    /// Where a fingerprint, or a certificate's or a file's hash stands.
    pub fn of(&self, kind: Kind, text: &str) -> Option<&Origin> {
        let at = self.exact.get(&(kind, text.to_owned()))?;
        self.origins.get(*at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectations::day;

    fn read(text: &str) -> Intel {
        let mut made = Intel::default();
        made.add("list", text.as_bytes()).unwrap();
        made
    }

    fn ip(intel: &Intel, ip: &str, port: u16) -> Option<String> {
        intel.address(ip.parse().unwrap(), port).map(|f| f.0)
    }

    fn passed(intel: &Intel) -> Vec<(&'static str, u64, &str)> {
        intel.passed_over.iter().map(|p| (p.why, p.count, p.example.as_str())).collect()
    }

    #[test]
    fn one_per_line() {
        let i = read(
            "\u{feff}# date: 2026-11-01\r\n# trust: high\r\n198.51.100.7\r\n203.0.113.0/24 ; SBL1\nEvil.Example.com.\nhxxps://bad[.]example/gate.php # x\n\
             t13d1516h2_8daaf6152771_e5627efa2ab1\n0123456789abcdef0123456789abcdef01234567\nnot an indicator\n198.51.100.16-198.51.100.19\n\
             [2001:db8::1]:443\n*.wild.example\n.dot.example\nhttp://b\u{fc}cher.example/x\n",
        );
        let (_, of) = i.address("198.51.100.7".parse().unwrap(), 1).unwrap();
        assert_eq!((of.list.as_str(), of.date, of.trust), ("list", day("2026-11-01"), 1.0));
        assert_eq!(ip(&i, "203.0.113.200", 1).as_deref(), Some("203.0.113.0/24"));
        assert_eq!(ip(&i, "203.0.114.1", 1), None);
        assert_eq!(ip(&i, "198.51.100.18", 1).as_deref(), Some("198.51.100.16/30"));
        assert_eq!(ip(&i, "2001:db8::1", 443).as_deref(), Some("[2001:db8::1]:443"));
        assert_eq!(ip(&i, "2001:db8::1", 80), None);
        assert_eq!(i.name("www.evil.example.com").map(|f| f.0).as_deref(), Some("evil.example.com"));
        assert!(i.name("example.com").is_none());
        assert!(i.name("a.wild.example.").is_some() && i.name("DOT.example").is_some());
        assert!(
            i.url("bad.example", 443, "/gate.php?id=1").is_some() && i.url("bad.example", 443, "/").is_none()
        );
        assert!(i.url("xn--bcher-kva.example", 80, "/x").is_some());
        assert!(i.of(Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1").is_some());
        assert!(i.of(Kind::Certificate, "0123456789abcdef0123456789abcdef01234567").is_some());
        assert_eq!(passed(&i), [("not understood", 1, "not an indicator")]);
    }

    #[test]
    fn urls_are_compared_with_port_and_case() {
        let i = read(
            "http://203.0.113.6:8080/bin.sh\nhttp://Upper.Example/Path/A.bin\nhttps://evil.example:443/\n",
        );
        assert!(
            i.url("203.0.113.6", 8080, "/bin.sh").is_some() && i.url("203.0.113.6", 80, "/bin.sh").is_none()
        );
        assert!(i.url("upper.example", 80, "/Path/A.bin").is_some());
        assert!(i.url("upper.example", 80, "/path/a.bin").is_none(), "paths have case");
        assert!(i.url("evil.example", 443, "/").is_some());
    }

    #[test]
    fn csv_takes_the_right_column_by_header_and_type() {
        let threatfox = "################\n# \"first_seen_utc\",\"ioc_id\",\"ioc_value\",\"ioc_type\",\"threat_type\",\"confidence_level\",\"reference\"\n\
            \"2026-01-01 10:00:00\", \"111\", \"203.0.113.8:443\", \"ip:port\", \"botnet_cc\", \"75\", \"https://www.abuse.ch/\"\n\
            \"2026-01-02 10:00:00\", \"112\", \"evil.example\", \"domain\", \"botnet_cc\", \"100\", \"https://ref.example/\"\n\
            \"2026-01-03 10:00:00\", \"113\", \"0123456789abcdef0123456789abcdef01234567\", \"sha1_hash\", \"payload\", \"100\", \"\"\n";
        let i = read(threatfox);
        assert_eq!(
            (i.len(), ip(&i, "203.0.113.8", 443).is_some(), ip(&i, "203.0.113.8", 80)),
            (2, true, None)
        );
        let (_, of) = i.address("203.0.113.8".parse().unwrap(), 443).unwrap();
        assert!((of.trust - 0.75).abs() < 1e-9 && of.date == day("2026-01-01"));
        assert!(i.name("www.abuse.ch").is_none() && i.name("ref.example").is_none());
        assert!(passed(&i)[0].0.contains("hashes of files other than SHA-256"));
        let urlhaus = "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n\
            \"1\",\"2026-01-01 00:00:00\",\"http://203.0.113.6:8080/bin.sh\",\"online\",\"\",\"malware_download\",\"x,y\",\"https://urlhaus.abuse.ch/url/1/\",\"a\"\n";
        let i = read(urlhaus);
        assert!(i.len() == 1 && i.url("203.0.113.6", 8080, "/bin.sh").is_some());
        let feodo = "\"first_seen_utc\",\"dst_ip\",\"dst_port\",\"c2_status\",\"last_online\",\"malware\"\n\"2026-01-01\",\"203.0.113.9\",\"447\",\"online\",\"\",\"x\"\n";
        let i = read(feodo);
        assert_eq!((ip(&i, "203.0.113.9", 447).is_some(), ip(&i, "203.0.113.9", 80)), (true, None));
        let sslbl = "# Listingdate,SHA1,Listingreason\n2026-01-01 00:00:00,0123456789ABCDEF0123456789abcdef01234567,Dridex C&C\n";
        assert!(read(sslbl).of(Kind::Certificate, "0123456789abcdef0123456789abcdef01234567").is_some());
        let ioc = "Indicator_type,Data,Notes\nIPV4ADDR,203.0.113.1,seen at cdn.example\nFQDN,evil.example,\n";
        let i = read(ioc);
        assert!(i.len() == 2 && i.name("cdn.example").is_none());
        let i = read("first_seen;ioc_value;tag\n2026-01-01;198.51.100.7;x\n2026-01-02;evil.example.com;y\n");
        assert!(i.len() == 2 && i.name("evil.example.com").is_some());
        assert_eq!(read("\"198.51.100.7\",\"c2\"\n").len(), 1);
    }

    #[test]
    fn headings_are_words_before_the_data() {
        // A sentence that names columns, a row that looks like headings, and a remark between rows.
        let i = read(
            "# see the url, host and ip of each, below\nevil.example,domain\n# url,host\nbad.example,domain\n203.0.113.9,ip\n",
        );
        assert!(i.name("evil.example").is_some() && i.name("bad.example").is_some());
        assert!(ip(&i, "203.0.113.9", 1).is_some() && i.len() == 3);
        let i = read("host,ip,comment\nevil.example,203.0.113.9,see other.example\n");
        assert!(i.name("other.example").is_none() && i.len() == 2);
    }

    #[test]
    fn of_hashes_of_files_those_that_are_computed_are_taken() {
        let bazaar = "# \"first_seen_utc\",\"sha256_hash\",\"md5_hash\",\"sha1_hash\",\"reporter\"\n\"2026-01-01\",\
            \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"0123456789abcdef0123456789abcdef\",\
            \"0123456789abcdef0123456789abcdef01234567\",\"x\"\n";
        let i = read(bazaar);
        let sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert!(i.len() == 1 && i.of(Kind::File, sum).is_some() && passed(&i).is_empty());
        let i = read(&format!("{}\n", sum.to_uppercase()));
        assert!(
            i.of(Kind::File, sum).is_some() && i.of(Kind::Certificate, sum).is_some(),
            "of whichever it is"
        );
        let misp = format!(
            r#"[{{"type":"filename|sha256","value":"a.exe|{sum}"}},{{"type":"md5","value":"0123456789abcdef0123456789abcdef"}}]"#
        );
        let i = read(&misp);
        assert!(
            i.len() == 1 && i.of(Kind::File, sum).is_some() && passed(&i)[0].0.contains("other than SHA-256")
        );
        let old = bazaar.replace("sha256_hash", "sha3_384_hash").replace(sum, "");
        let error = Intel::default().add("bazaar.csv", old.as_bytes()).unwrap_err();
        assert!(error.contains("bazaar.csv") && error.contains("0123456789abcdef"), "{error}");
    }

    #[test]
    fn zeek_hosts_dshield_and_filter_lists() {
        let zeek = "#separator \\x09\n#fields\tindicator\tindicator_type\tmeta.source\tmeta.url\n203.0.113.6:8080/bin.sh\tIntel::URL\tabuse.ch\thttps://abuse.ch/feed\n\
            203.0.113.8\tIntel::ADDR\tabuse.ch\t-\n198.51.100.0/24\tIntel::SUBNET\tx\t-\nevil.example\tIntel::DOMAIN\tx\t-\n\
            0123456789abcdef0123456789abcdef01234567\tIntel::CERT_HASH\tx\t-\na@evil.example\tIntel::EMAIL\tx\t-\n";
        let i = read(zeek);
        assert!(i.url("203.0.113.6", 8080, "/bin.sh").is_some() && i.name("abuse.ch").is_none());
        assert!(ip(&i, "203.0.113.8", 9).is_some() && ip(&i, "198.51.100.9", 9).is_some());
        assert!(i.of(Kind::Certificate, "0123456789abcdef0123456789abcdef01234567").is_some());
        assert_eq!((i.len(), passed(&i)[0].1), (5, 1));
        let hosts = "127.0.0.1 localhost\n0.0.0.0\tevil.example  worse.example # note\n::1 ip6-localhost\n0.0.0.0 0.0.0.0\n";
        let i = read(hosts);
        assert!(i.len() == 2 && i.name("worse.example").is_some() && ip(&i, "0.0.0.0", 1).is_none());
        let dshield = "# DShield\nStart\tEnd\tNetmask\tAttacks\tName\n198.51.100.0\t198.51.100.255\t24\t1200\tEXAMPLE\n";
        assert_eq!(ip(&read(dshield), "198.51.100.9", 1).as_deref(), Some("198.51.100.0/24"));
        let adblock = "[Adblock Plus 2.0]\n! Title: x\n||evil.example^\n||bad.example^$third-party\n@@||good.example^\n##.banner\n";
        let i = read(adblock);
        assert!(i.len() == 2 && i.name("bad.example").is_some() && i.name("good.example").is_none());
    }

    #[test]
    fn stix_in_its_shapes() {
        let indicator = r#"{"type":"indicator","pattern":"[ipv4-addr:value = '198.51.100.7' OR domain-name:value = 'evil.example.com' OR file:hashes.'SHA-1' = '0123456789abcdef0123456789abcdef01234567']",
               "pattern_type":"stix","modified":"2026-10-01T00:00:00Z","confidence":50}"#;
        for text in [
            format!(r#"{{"type":"bundle","objects":[{indicator},{{"type":"malware"}}]}}"#),
            indicator.to_owned(),
            format!("[{indicator}]"),
        ] {
            let i = read(&text);
            let (_, of) = i.name("evil.example.com").unwrap();
            assert!(i.len() == 2 && (of.trust - 0.5).abs() < 1e-9 && of.date == day("2026-10-01"));
        }
        let revoked = indicator.replace("\"confidence\"", "\"revoked\":true,\"confidence\"");
        let i = read(&format!("[{indicator},{}]", revoked.replace("198.51.100.7", "198.51.100.8")));
        assert_eq!(ip(&i, "198.51.100.8", 1), None);
        let net = indicator
            .replace("ipv4-addr:value = '198.51.100.7'", "ipv4-addr:value ISSUBSET '198.51.100.0/24'");
        assert!(ip(&read(&net), "198.51.100.77", 1).is_some());
    }

    #[test]
    fn misp_in_its_shapes_and_only_what_is_for_detection() {
        let attributes = r#"[{"type":"ip-dst|port","to_ids":true,"value":"198.51.100.7|443"},{"type":"ip-dst","to_ids":false,"value":"203.0.113.8"},
            {"type":"link","value":"http://cdn.example/"},{"type":"comment","value":"cdn.example"},{"type":"domain","deleted":true,"value":"gone.example"}]"#;
        let object = r#"[{"Attribute":[{"type":"domain","to_ids":true,"value":"evil.example.com"}]}]"#;
        let event = format!(
            r#"{{"Event":{{"date":"2026-09-01","threat_level_id":"1","Attribute":{attributes},"Object":{object}}}}}"#
        );
        for text in [event.clone(), format!("[{event}]"), format!(r#"{{"response":[{event}]}}"#)] {
            let i = read(&text);
            assert!(
                i.len() == 2 && (i.name("evil.example.com").unwrap().1.trust - 1.0).abs() < 1e-9,
                "{text}"
            );
            assert_eq!((ip(&i, "203.0.113.8", 1), ip(&i, "198.51.100.7", 443).is_some()), (None, true));
            assert!(i.name("cdn.example").is_none() && i.name("gone.example").is_none());
        }
        assert_eq!(read(&format!(r#"{{"response":{{"Attribute":{attributes}}}}}"#)).len(), 1);
        let none = r#"{"Event":{"Attribute":[{"type":"ip-dst","to_ids":false,"value":"203.0.113.8"}]}}"#;
        assert!(Intel::default().add("x", none.as_bytes()).unwrap_err().contains("203.0.113.8"));
    }

    #[test]
    fn what_holds_nothing_is_said() {
        let mut i = Intel::default();
        assert!(i.add("x", b"hello there\nnothing\n").unwrap_err().contains("STIX"));
        assert!(i.add("x", b"{\"a\": 1}").is_err());
        assert_eq!(i.add("x", b"# nothing today\n"), Ok(0), "an empty feed is a feed");
    }
}
