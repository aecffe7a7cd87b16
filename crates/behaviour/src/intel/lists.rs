//! The forms that lists come in.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use record::Timestamp;
use serde_json::Value;

use super::{Intel, Kind, PassedOver, host_name, url_of};
use crate::expectations::day;

/// How far a list is believed that does not say.
const TRUST: f64 = 0.7;
/// Networks that a range of addresses may need; a sensible one needs a few.
pub const MAX_OF_RANGE: usize = 256;

const NOT_UNDERSTOOD: &str = "not understood";
const FILE_HASH: &str = "hashes of files other than SHA-256, which are not computed";
const OTHER_KIND: &str = "of a kind that packets do not show";
const NOT_FOR_DETECTION: &str = "not meant for detection (to_ids, revoked, exceptions)";

/// What came of reading a list.
#[derive(Debug, Default)]
pub struct Read {
    /// Entries that gave an indicator.
    pub taken: u64,
    /// Entries that should have given one.
    pub lines: u64,
    /// One that gave none.
    pub example: Option<String>,
}

/// What a column's heading or an entry's type says that a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    /// Its form decides.
    Any,
    Address,
    Name,
    Url,
    Ja4,
    Certificate,
    File,
    /// Something else: why it is passed over.
    Not(&'static str),
}

/// The text of a file: with or without a byte order mark, as UTF-8 or as Windows exports it.
pub fn text(bytes: &[u8]) -> String {
    let wide = |bytes: &[u8], of: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|c| of([c[0], c[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Reads a list into `intel`.
pub fn read(intel: &mut Intel, list: &str, text: &str) -> Read {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader { intel, list, read: Read::default(), date: None, trust: TRUST };
    let json = serde_json::from_str::<Value>(text).ok().filter(|j| j.is_object() || j.is_array());
    match json {
        Some(json) => reader.json(&json),
        None => reader.lines(text),
    }
    reader.read
}

/// A word as headings and types are compared: lower case, with one kind of mark.
fn bare(word: &str) -> String {
    let word = word.trim().trim_matches(['"', '\'', '#']).trim().to_ascii_lowercase();
    let word = word.strip_prefix("intel::").unwrap_or(&word);
    word.replace([' ', '-', '.'], "_")
}

/// What a type's name says: those of ThreatFox, MISP, Zeek, STIX and OpenIOC.
fn hint_of_type(name: &str) -> Hint {
    match bare(name).as_str() {
        "ip" | "ipv4" | "ipv6" | "addr" | "address" | "ip_address" | "ip:port" | "ip_port" | "ip_src"
        | "ip_dst" | "ip_dst|port" | "ip_src|port" | "ipv4_addr" | "ipv6_addr" | "ipv4addr" | "ipv6addr"
        | "ipv4_address" | "ipv6_address" | "subnet" | "cidr" | "network" | "netblock" | "ip_range"
        | "remote_ip" => Hint::Address,
        "domain" | "hostname" | "host" | "fqdn" | "domain_name" | "dns" | "hostname|port" | "domain|ip" => {
            Hint::Name
        }
        "url" | "uri" | "urls" => Hint::Url,
        "ja4" | "ja4_fingerprint" => Hint::Ja4,
        "cert_hash"
        | "certificate"
        | "x509_certificate"
        | "x509_fingerprint_sha1"
        | "x509_fingerprint_sha256"
        | "ssl_cert_sha1"
        | "cert_sha1"
        | "cert_sha256" => Hint::Certificate,
        "md5" | "sha1" | "sha256" | "sha512" | "md5_hash" | "sha1_hash" | "sha256_hash" | "sha3_384_hash"
        | "file_hash" | "filename|md5" | "filename|sha1" | "filename|sha256" | "imphash" | "ssdeep"
        | "tlsh" | "file" | "hash" => Hint::File,
        "" | "unknown" | "other" => Hint::Any,
        _ => Hint::Not(OTHER_KIND),
    }
}

/// What a column's heading says that its values are; `None` where they are no indicators.
fn hint_of_heading(heading: &str, certificates: bool) -> Option<Hint> {
    Some(match heading {
        "indicator" | "ioc" | "value" | "ioc_value" | "indicator_value" | "observable" | "data" => Hint::Any,
        "ip" | "dst_ip" | "dstip" | "src_ip" | "ip_address" | "ipaddress" | "address" | "c2_ip" | "cidr"
        | "network" => Hint::Address,
        "host" | "hostname" | "domain" | "fqdn" | "domain_name" => Hint::Name,
        "url" | "uri" => Hint::Url,
        "ja4" => Hint::Ja4,
        "sha1" | "sha1_fingerprint" | "sha256_fingerprint" if certificates => Hint::Certificate,
        "md5_hash" | "sha1_hash" | "sha256_hash" | "sha3_384_hash" | "md5" | "sha1" | "sha256" => Hint::File,
        _ => return None,
    })
}

const TYPE_HEADINGS: [&str; 6] =
    ["ioc_type", "indicator_type", "type", "observable_type", "ioctype", "indicatortype"];
const PORT_HEADINGS: [&str; 4] = ["dst_port", "dstport", "port", "c2_port"];
const DATE_HEADINGS: [&str; 9] = [
    "first_seen_utc",
    "first_seen",
    "firstseen",
    "firstseen_utc",
    "dateadded",
    "date_added",
    "date",
    "listingdate",
    "created",
];
const TRUST_HEADINGS: [&str; 2] = ["confidence_level", "confidence"];

/// Which column is what.
#[derive(Clone, Debug, Default)]
struct Columns {
    values: Vec<(usize, Hint)>,
    kind: Option<usize>,
    port: Option<usize>,
    date: Option<usize>,
    trust: Option<usize>,
}

impl Columns {
    /// Of a line of headings; `None` where it is none.
    fn of(fields: &[String]) -> Option<Self> {
        let heads: Vec<String> = fields.iter().map(|f| bare(f)).collect();
        let at = |names: &[&str]| heads.iter().position(|h| names.contains(&h.as_str()));
        let certificates = heads.iter().any(|h| h == "listingreason");
        let mut made = Self {
            values: Vec::new(),
            kind: at(&TYPE_HEADINGS),
            port: at(&PORT_HEADINGS),
            date: at(&DATE_HEADINGS),
            trust: at(&TRUST_HEADINGS),
        };
        for (at, head) in heads.iter().enumerate() {
            if let Some(hint) = hint_of_heading(head, certificates) {
                made.values.push((at, hint));
            }
        }
        // A column for every kind goes before those of one.
        if let Some(any) = made.values.iter().find(|(_, h)| *h == Hint::Any).copied() {
            made.values = vec![any];
        }
        let telling =
            heads.len() > 1 || fields.iter().all(|f| f.chars().all(|c| c.is_ascii_alphabetic() || c == '_'));
        (!made.values.is_empty() && telling).then_some(made)
    }
}

/// Splits a line at a separator, with quotes.
fn fields(line: &str, separator: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(separator)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(
            // A blank behind a separator keeps the quote from being one.
            line.replace(", \"", ",\"").into_bytes().as_slice(),
        )
        .into_byte_records()
        .flatten()
        .next()
        .map(|r| r.iter().map(|f| String::from_utf8_lossy(f).trim().to_owned()).collect::<Vec<_>>());
    reader.take().unwrap_or_default()
}

/// The separator of a line: the first of tab, semicolon and comma that is in it.
fn separator(line: &str) -> u8 {
    [b'\t', b';', b','].into_iter().find(|s| line.as_bytes().contains(s)).unwrap_or(b',')
}

/// Undoes the usual defanging.
fn refang(text: &str) -> String {
    let text = text.trim().trim_matches(['"', '\'', '<', '>', '`']);
    let mut text = text.to_owned();
    for (from, to) in [
        ("[.]", "."),
        ("(.)", "."),
        ("{.}", "."),
        ("[dot]", "."),
        ("[:]", ":"),
        ("[://]", "://"),
        ("[:", ":"),
    ] {
        text = text.replace(from, to);
    }
    for (from, to) in [("hxxp", "http"), ("hXXp", "http"), ("HXXP", "http"), ("meow://", "http://")] {
        if let Some(rest) = text.strip_prefix(from) {
            text = format!("{to}{rest}");
        }
    }
    text
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_ja4(text: &str) -> bool {
    text.len() == 36 && text.as_bytes().get(10) == Some(&b'_') && text.as_bytes().get(23) == Some(&b'_')
}

/// A host name in the form in which it is compared: labels of letters, digits, hyphens and underscores, the last with a letter.
fn name(text: &str) -> Option<String> {
    let text = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    let name = host_name(text);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let good =
        name.contains('.') && name.split('.').all(label) && last.bytes().any(|b| b.is_ascii_alphabetic());
    good.then_some(name)
}

/// An address with or without a port (`|` stands in MISP's).
fn address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return Some((ip, None));
    }
    let (ip, port) = text.rsplit_once([':', '|'])?;
    let ip = ip.trim_matches(['[', ']']).parse().ok()?;
    // Zero stands for any.
    Some((ip, port.parse().ok().filter(|p| *p > 0)))
}

/// A range `first-last` as networks.
fn range(text: &str) -> Option<Vec<IpNet>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse::<IpAddr>().ok()?, last.trim().parse::<IpAddr>().ok()?);
    range_of(first, last)
}

/// The networks of a range of addresses; `None` where it ends before it begins or needs too many.
pub fn range_of(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    let nets: Vec<IpNet> = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => {
            Ipv4Subnets::new(a, b, 0).take(MAX_OF_RANGE + 1).map(IpNet::V4).collect()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => {
            Ipv6Subnets::new(a, b, 0).take(MAX_OF_RANGE + 1).map(IpNet::V6).collect()
        }
        _ => return None,
    };
    (nets.len() <= MAX_OF_RANGE).then_some(nets)
}

/// Whether a text is an indicator by its looks.
fn is_one(text: &str) -> bool {
    let text = refang(text);
    address(&text).is_some()
        || text.parse::<IpNet>().is_ok()
        || range(&text).is_some()
        || name(&text).is_some()
        || is_ja4(&text)
        || (text.contains("://") && url(&text).is_some())
        || [32, 40, 64].iter().any(|len| is_hex(&text, *len))
}

/// A URL's host, port and the rest; with a scheme or, where the list says that it is one, without.
fn url(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let authority = authority.rsplit_once('@').map_or(authority, |a| a.1);
    let (host, port) = match address(authority) {
        Some((ip, port)) => (ip.to_string(), port),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (name(host)?, Some(port.parse().ok()?)),
            None => (name(authority)?, None),
        },
    };
    Some(url_of(&host, port, path))
}

struct Reader<'a> {
    intel: &'a mut Intel,
    list: &'a str,
    read: Read,
    date: Option<Timestamp>,
    trust: f64,
}

impl Reader<'_> {
    fn pass(&mut self, why: &'static str, example: &str) {
        const LONGEST: usize = 120;
        let example: String = example.trim().chars().take(LONGEST).collect();
        self.read.example.get_or_insert_with(|| example.clone());
        let list = self.list;
        match self.intel.passed_over.iter_mut().find(|p| p.list == list && p.why == why) {
            Some(known) => known.count += 1,
            None => {
                self.intel.passed_over.push(PassedOver { list: list.to_owned(), why, count: 1, example });
            }
        }
    }

    /// Takes a value; `Err` says why not.
    fn put(&mut self, value: &str, hint: Hint, port: Option<u16>) -> Result<(), &'static str> {
        if let Hint::Not(why) = hint {
            return Err(why);
        }
        let text = refang(value);
        let origin = self.intel.origin(self.list, self.date, self.trust);
        let wants = |h: Hint| hint == Hint::Any || hint == h;
        if hint == Hint::Url
            && let Some(url) = url(&text)
        {
            self.intel.put_exact(origin, Kind::Url, url);
            return Ok(());
        }
        if wants(Hint::Address) {
            if let Some((ip, own)) = address(&text) {
                self.intel.put_address(origin, ip, own.or(port));
                return Ok(());
            }
            if let Ok(net) = text.parse::<IpNet>() {
                self.intel.put_network(origin, net);
                return Ok(());
            }
            if let Some(nets) = range(&text) {
                for net in nets {
                    self.intel.put_network(origin, net);
                }
                return Ok(());
            }
        }
        if hint == Hint::Any
            && text.contains("://")
            && let Some(url) = url(&text)
        {
            self.intel.put_exact(origin, Kind::Url, url);
            return Ok(());
        }
        if wants(Hint::Ja4) && is_ja4(&text) {
            self.intel.put_exact(origin, Kind::Ja4, text.to_ascii_lowercase());
            return Ok(());
        }
        if hint == Hint::File {
            // "filename|sha256" names the file first.
            let hex = text.rsplit('|').next().unwrap_or_default().to_ascii_lowercase();
            if !is_hex(&hex, 64) {
                return Err(FILE_HASH);
            }
            self.intel.put_exact(origin, Kind::File, hex);
            return Ok(());
        }
        if wants(Hint::Certificate) {
            let hex = text.replace(':', "").to_ascii_lowercase();
            if hint == Hint::Any && is_hex(&hex, 64) {
                self.intel.put_exact(origin, Kind::File, hex.clone());
            }
            if is_hex(&hex, 40) || is_hex(&hex, 64) {
                self.intel.put_exact(origin, Kind::Certificate, hex);
                return Ok(());
            }
        }
        if wants(Hint::Name) {
            // "domain|ip" and "hostname|port" name a host first.
            let first = text.split('|').next().unwrap_or_default();
            if let Some(name) = name(first) {
                self.intel.put_exact(origin, Kind::Name, name);
                return Ok(());
            }
        }
        Err(NOT_UNDERSTOOD)
    }

    /// Takes an entry that should be an indicator, and counts what came of it.
    fn entry(&mut self, value: &str, hint: Hint, port: Option<u16>) {
        self.read.lines += 1;
        match self.put(value, hint, port) {
            Ok(()) => self.read.taken += 1,
            Err(why) => self.pass(why, value),
        }
    }

    fn lines(&mut self, text: &str) {
        let said = |what: &str| {
            text.lines().filter_map(|l| l.strip_prefix(['#', '!', ';'])).find_map(|l| {
                let (name, value) = l.split_once(':')?;
                name.trim().eq_ignore_ascii_case(what).then(|| value.trim().to_ascii_lowercase())
            })
        };
        self.date = said("date").as_deref().and_then(|d| day(d.get(..10).unwrap_or(d)));
        self.trust = match said("trust").as_deref() {
            Some("high") => 1.0,
            Some("low") => 0.3,
            _ => TRUST,
        };
        let (list_date, list_trust) = (self.date, self.trust);
        let filters = text.lines().any(|l| l.starts_with("||") || l.starts_with("[Adblock"));
        let mut columns: Option<(Columns, u8)> = None;
        // Headings stand before the data; in a comment they are words and no sentences.
        let mut first = true;
        let is_word = |f: &String| !f.is_empty() && !f.contains([' ', '\t']);
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            if let Some(comment) = line.strip_prefix('#').filter(|_| !line.starts_with("##")) {
                // abuse.ch writes its headings, and Zeek its fields, as a comment.
                let zeek = comment.trim().strip_prefix("fields");
                let heads = zeek.unwrap_or(comment).trim();
                let separator = separator(heads);
                let heads = fields(heads, separator);
                if heads.len() > 1
                    && (zeek.is_some() || (first && heads.iter().all(is_word)))
                    && let Some(made) = Columns::of(&heads)
                {
                    columns = Some((made, separator));
                }
                continue;
            }
            if line.starts_with(';') || line.starts_with("//") || line.starts_with("##") && !filters {
                continue;
            }
            if filters {
                self.filter(line);
                continue;
            }
            if std::mem::take(&mut first) && columns.is_none() {
                let separator = separator(line);
                let heads = fields(line, separator);
                if heads.first().is_some_and(|h| bare(h) == "start") {
                    columns = None;
                    continue;
                }
                // "evil.example,domain" is a row already.
                if let Some(made) = Columns::of(&heads).filter(|_| !heads.first().is_some_and(|h| is_one(h)))
                {
                    columns = Some((made, separator));
                    continue;
                }
            }
            match &columns {
                Some((columns, separator)) => {
                    let row = fields(line, *separator);
                    (self.date, self.trust) = (list_date, list_trust);
                    self.row(columns, &row, line);
                }
                None => self.plain(line),
            }
        }
    }

    /// A row under headings.
    fn row(&mut self, columns: &Columns, row: &[String], line: &str) {
        let of = |at: Option<usize>| at.and_then(|at| row.get(at)).map(String::as_str);
        if let Some(date) = of(columns.date).and_then(|d| day(d.get(..10).unwrap_or(d))) {
            self.date = Some(date);
        }
        if let Some(percent) = of(columns.trust).and_then(|t| t.parse::<f64>().ok()) {
            self.trust = (percent / 100.0).clamp(0.0, 1.0);
        }
        let typed = of(columns.kind).map_or(Hint::Any, hint_of_type);
        let port = of(columns.port).and_then(|p| p.parse().ok()).filter(|p| *p > 0);
        self.read.lines += 1;
        let mut why = NOT_UNDERSTOOD;
        let mut taken = false;
        for (at, hint) in &columns.values {
            let Some(value) = row.get(*at).filter(|v| !v.is_empty() && v.as_str() != "-") else { continue };
            let hint = if *hint == Hint::Any { typed } else { *hint };
            match self.put(value, hint, port) {
                Ok(()) => taken = true,
                Err(reason) => why = reason,
            }
        }
        if taken {
            self.read.taken += 1;
        } else {
            self.pass(why, line);
        }
    }

    /// A line without headings: an indicator with something behind it, a line of a hosts file, or a range in columns.
    fn plain(&mut self, line: &str) {
        let line = [" #", "\t#", " ;", " //"]
            .iter()
            .filter_map(|c| line.find(c))
            .min()
            .map_or(line, |at| &line[..at]);
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [ip, names @ ..] = &words[..]
            && !names.is_empty()
            && ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified() || ip.is_loopback())
        {
            for name in names.iter().filter(|n| n.contains('.') && n.parse::<IpAddr>().is_err()) {
                if !matches!(*name, "localhost.localdomain" | "local") {
                    self.entry(name, Hint::Name, None);
                }
            }
            return;
        }
        if let [first, last, bits, ..] = &words[..]
            && let (Ok(first), Ok(last), Ok(_)) =
                (first.parse::<IpAddr>(), last.parse::<IpAddr>(), bits.parse::<u8>())
        {
            self.read.lines += 1;
            match range_of(first, last) {
                Some(nets) => {
                    self.read.taken += 1;
                    let origin = self.intel.origin(self.list, self.date, self.trust);
                    for net in nets {
                        self.intel.put_network(origin, net);
                    }
                }
                None => self.pass(NOT_UNDERSTOOD, line),
            }
            return;
        }
        self.read.lines += 1;
        let mut parts = fields(line, separator(line));
        if parts.len() < 2 {
            parts.extend(words.iter().map(|w| (*w).to_owned()));
        }
        if parts.iter().any(|part| self.put(part, Hint::Any, None).is_ok()) {
            self.read.taken += 1;
        } else {
            self.pass(NOT_UNDERSTOOD, line);
        }
    }

    /// A line of a filter list: `||name^`, with options behind it.
    fn filter(&mut self, line: &str) {
        if line.starts_with(['!', '[']) {
            return;
        }
        if line.starts_with("@@") {
            return self.pass(NOT_FOR_DETECTION, line);
        }
        let rule = line.split('$').next().unwrap_or_default();
        match rule.strip_prefix("||").map(|r| r.trim_end_matches(['^', '|'])) {
            Some(name) if !name.contains(['/', '*', '^']) => self.entry(name, Hint::Name, None),
            Some(_) | None => self.pass(OTHER_KIND, line),
        }
    }

    fn json(&mut self, json: &Value) {
        match json {
            Value::Array(all) => all.iter().for_each(|one| self.json(one)),
            Value::Object(fields) => {
                if let Some(response) = fields.get("response") {
                    self.json(response);
                } else if let Some(objects) = fields.get("objects") {
                    self.json(objects);
                } else if let Some(event) = fields.get("Event") {
                    self.event(event);
                } else if fields.contains_key("Attribute") {
                    self.event(json);
                } else if fields.contains_key("pattern") {
                    self.indicator(json);
                } else if fields.contains_key("value") {
                    self.attribute(json);
                } else if !fields.contains_key("type") {
                    self.read.lines += 1;
                    self.pass(NOT_UNDERSTOOD, &json.to_string());
                }
            }
            _ => {}
        }
    }

    /// A STIX indicator: the comparisons of its pattern that say what something is.
    fn indicator(&mut self, object: &Value) {
        let of = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let pattern = of("pattern");
        self.read.lines += 1;
        if object.get("revoked").and_then(Value::as_bool) == Some(true) {
            return self.pass(NOT_FOR_DETECTION, pattern);
        }
        if !matches!(of("pattern_type"), "" | "stix") {
            return self.pass(OTHER_KIND, pattern);
        }
        self.trust = object.get("confidence").and_then(Value::as_f64).map_or(TRUST, |c| c / 100.0);
        self.date = ["modified", "valid_from", "created"].iter().find_map(|n| day(of(n).get(..10)?));
        let mut why = NOT_UNDERSTOOD;
        let mut taken = false;
        let mut before = String::new();
        // Values stand between apostrophes; what stands before one says of what it is.
        for (n, part) in pattern.split('\'').enumerate() {
            if n % 2 == 0 {
                before.push_str(part);
                continue;
            }
            let path = before.rsplit(['[', '(', ' ']).find(|w| w.contains(':')).unwrap_or_default();
            let operator = before.rsplit([':', '.']).next().unwrap_or_default().to_ascii_uppercase();
            // The name of a hash stands between apostrophes too: hashes.'SHA-1' = '…'.
            if before.ends_with("hashes.") {
                before.push_str(part);
                continue;
            }
            let negated = ["!=", "NOT", "LIKE", "MATCHES"].iter().any(|o| operator.contains(o));
            let hint = match path.split(':').next().unwrap_or_default() {
                _ if negated => Hint::Not(OTHER_KIND),
                "ipv4-addr" | "ipv6-addr" | "network-traffic" => Hint::Address,
                "domain-name" => Hint::Name,
                "url" => Hint::Url,
                "x509-certificate" => Hint::Certificate,
                "file" => Hint::File,
                _ => Hint::Not(OTHER_KIND),
            };
            match self.put(part, hint, None) {
                Ok(()) => taken = true,
                Err(reason) => why = reason,
            }
            before.clear();
        }
        if taken {
            self.read.taken += 1;
        } else {
            self.pass(why, pattern);
        }
    }

    /// A MISP event, or an answer that holds attributes alone.
    fn event(&mut self, event: &Value) {
        let of = |name: &str| event.get(name).and_then(Value::as_str);
        self.date = of("date").and_then(|d| day(d.get(..10).unwrap_or(d)));
        self.trust = match of("threat_level_id") {
            Some("1") => 1.0,
            Some("3" | "4") => 0.4,
            _ => TRUST,
        };
        let objects = event.get("Object").and_then(Value::as_array).into_iter().flatten();
        let lists: Vec<&Value> =
            std::iter::once(event).chain(objects).filter_map(|o| o.get("Attribute")).collect();
        for attribute in lists.into_iter().filter_map(Value::as_array).flatten() {
            self.attribute(attribute);
        }
    }

    fn attribute(&mut self, attribute: &Value) {
        let of = |name: &str| attribute.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| attribute.get(name).and_then(Value::as_bool);
        let value = of("value");
        if flag("to_ids") == Some(false) || flag("deleted") == Some(true) {
            self.read.lines += 1;
            return self.pass(NOT_FOR_DETECTION, value);
        }
        self.entry(value, hint_of_type(of("type")), None);
    }
}
