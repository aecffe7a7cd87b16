//! Zeek's logs, as tab-separated columns and as JSON.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use record::{
    Alert, BodyFacts, Certificate, ConnState, Dhcp, Direction, Dns, DnsAnswer, Endpoint, FileInfo, FlowId,
    Head, History, Http, Irc, Magic, PacketId, Quic, Record, RequestHeaders, Service, Smtp, Ssh, Timestamp,
    Tls, Transport, Tuple,
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Mail;
use crate::values::{self, domain, end, name, unescaped};

/// Answers, domains and the like that are taken of one row.
const MOST: usize = 32;

/// A kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Conn,
    Dns,
    Http,
    Ssl,
    X509,
    Smtp,
    Irc,
    Dhcp,
    Ssh,
    Quic,
    Notice,
    Weird,
    Tunnel,
    Files,
    /// One of which nothing is taken.
    Other,
}

impl Kind {
    const NAMED: [(&'static str, Self); 14] = [
        ("conn", Self::Conn),
        ("dns", Self::Dns),
        ("http", Self::Http),
        ("ssl", Self::Ssl),
        ("x509", Self::X509),
        ("smtp", Self::Smtp),
        ("irc", Self::Irc),
        ("dhcp", Self::Dhcp),
        ("ssh", Self::Ssh),
        ("quic", Self::Quic),
        ("notice", Self::Notice),
        ("weird", Self::Weird),
        ("tunnel", Self::Tunnel),
        ("files", Self::Files),
    ];

    /// By the name that Zeek has for it.
    pub fn named(path: &str) -> Self {
        Self::NAMED.iter().find(|(n, _)| *n == path).map_or(Self::Other, |(_, kind)| *kind)
    }

    /// The name that Zeek has for it.
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, k)| *k == self).map_or("other", |(n, _)| n)
    }

    /// By how a file is called: `conn.log`, `smtp.00:00:00-01:00:00.log.gz`, `network__dns.log.labeled`.
    pub fn of_file(name: &str) -> Option<Self> {
        let own = name.rsplit("__").next().unwrap_or(name);
        let word = own.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        Some(Self::named(word)).filter(|k| *k != Self::Other)
    }

    /// By the columns that only it has; JSON as it is written to files does not say.
    pub fn of_columns(has: impl Fn(&str) -> bool) -> Self {
        const OWN: [(&str, Kind); 21] = [
            ("tunnel_type", Kind::Tunnel),
            ("seen_bytes", Kind::Files),
            // SIP has much of what HTTP has.
            ("call_id", Kind::Other),
            ("request_path", Kind::Other),
            ("conn_state", Kind::Conn),
            ("qtype_name", Kind::Dns),
            ("rejected", Kind::Dns),
            ("helo", Kind::Smtp),
            ("last_reply", Kind::Smtp),
            ("nick", Kind::Irc),
            ("auth_success", Kind::Ssh),
            ("auth_attempts", Kind::Ssh),
            ("client_initial_dcid", Kind::Quic),
            ("request_body_len", Kind::Http),
            ("status_code", Kind::Http),
            ("certificate.subject", Kind::X509),
            ("cert_chain_fps", Kind::Ssl),
            ("cert_chain_fuids", Kind::Ssl),
            ("established", Kind::Ssl),
            ("assigned_addr", Kind::Dhcp),
            ("note", Kind::Notice),
        ];
        OWN.iter().find(|(column, _)| has(column)).map_or(Self::Other, |(_, kind)| *kind)
    }
}

macro_rules! columns {
    ($($field:ident $name:literal)*) => {
        /// A column that something is taken of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column { $($field),* }

        /// How many there are.
        const COLUMNS: usize = [$($name),*].len();

        impl Column {
            /// By its name in the header.
            fn named(name: &str) -> Option<Self> {
                Some(match name {
                    $($name => Self::$field,)*
                    _ => return None,
                })
            }
        }
    };
}

columns! {
    Ts "ts" Uid "uid" OrigH "id.orig_h" OrigP "id.orig_p" RespH "id.resp_h" RespP "id.resp_p" Proto "proto" Path "_path"
    Service "service" Duration "duration" OrigBytes "orig_bytes" RespBytes "resp_bytes" ConnState "conn_state" MissedBytes "missed_bytes"
    History "history" OrigPkts "orig_pkts" OrigIpBytes "orig_ip_bytes" RespPkts "resp_pkts" RespIpBytes "resp_ip_bytes"
    OrigMac "orig_l2_addr" RespMac "resp_l2_addr"
    TransId "trans_id" Rtt "rtt" Query "query" Qtype "qtype" QtypeName "qtype_name" Rcode "rcode" Rd "RD" Answers "answers" Ttls "TTLs"
    TransDepth "trans_depth" Method "method" Host "host" Uri "uri" Referrer "referrer" HttpVersion "version" UserAgent "user_agent"
    RequestLen "request_body_len" ResponseLen "response_body_len" StatusCode "status_code" OrigMime "orig_mime_types" RespMime "resp_mime_types"
    HeaderNames "client_header_names"
    ServerName "server_name" NextProtocol "next_protocol" Ja4 "ja4" Established "established" Subject "subject" Issuer "issuer"
    ChainFuids "cert_chain_fuids" ChainFps "cert_chain_fps"
    Id "id" Fuid "fuid" Fingerprint "fingerprint" CertSubject "certificate.subject" CertIssuer "certificate.issuer"
    NotBefore "certificate.not_valid_before" NotAfter "certificate.not_valid_after" SanDns "san.dns"
    Helo "helo" MailFrom "mailfrom" RcptTo "rcptto" LastReply "last_reply" TlsUsed "tls"
    Nick "nick" Command "command" Value "value" Addl "addl"
    Mac "mac" AssignedIp "assigned_ip" AssignedAddr "assigned_addr" ClientAddr "client_addr" RequestedAddr "requested_addr" ServerAddr "server_addr"
    HostName "host_name" LeaseTime "lease_time" MsgTypes "msg_types"
    Client "client" Server "server"
    Note "note" Msg "msg" Src "src" Dst "dst" P "p"
    Name "name"
    TunnelType "tunnel_type" Action "action" SeenBytes "seen_bytes"
    MissingBytes "missing_bytes" TotalBytes "total_bytes" TimedOut "timedout" MimeType "mime_type" FileName "filename" IsOrig "is_orig" Source "source" Sha256 "sha256"
    TxHosts "tx_hosts" RxHosts "rx_hosts" ConnUids "conn_uids"
    CallId "call_id" RequestPath "request_path" Rejected "rejected" QuicId "client_initial_dcid" AuthSuccess "auth_success" AuthAttempts "auth_attempts"
}

/// A row's values by column; nothing where it is unset.
struct Row<'a> {
    values: Vec<Cow<'a, str>>,
    /// Where each column's value stands, from 1; 0 where it has none.
    at: [u8; COLUMNS],
    line: PacketId,
    /// What stands between the members of a list.
    between: char,
}

impl<'a> Row<'a> {
    fn new(line: PacketId, between: char, values: usize) -> Self {
        Self { values: Vec::with_capacity(values), at: [0; COLUMNS], line, between }
    }

    /// Takes a column's value; of several the first.
    fn take(&mut self, column: Column, value: Cow<'a, str>) {
        if self.at[column as usize] == 0
            && let Ok(at) = u8::try_from(self.values.len() + 1)
        {
            self.values.push(value);
            self.at[column as usize] = at;
        }
    }

    fn get(&self, column: Column) -> Option<&str> {
        let at = usize::from(self.at[column as usize]).checked_sub(1)?;
        self.values.get(at).map(AsRef::as_ref)
    }

    fn text(&self, column: Column) -> Option<String> {
        self.get(column).map(|v| crate::cut(unescaped(v).into_owned())).filter(|v| !v.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, column: Column) -> Option<T> {
        let text = self.get(column)?;
        // JSON may write counts with a fraction.
        text.parse().ok().or_else(|| text.strip_suffix(".0")?.parse().ok())
    }

    /// A count; what nothing on a network reaches is taken for that much, so that sums stay numbers.
    fn count(&self, column: Column) -> u64 {
        self.number(column).unwrap_or(0).min(crate::MOST)
    }

    /// A count that has to be one where it is told: what cannot be read is not nothing.
    fn counted(&self, column: Column) -> Result<u64, &'static str> {
        let Some(text) = self.get(column) else { return Ok(0) };
        let Ok(count) = text.parse::<u64>() else {
            let text = text.trim();
            let number = text.parse::<f64>().ok().filter(|n| *n >= 0.0);
            let count = number.or(text.is_empty().then_some(0.0)).ok_or("a count is no number")?;
            return Ok((count as u64).min(crate::MOST));
        };
        Ok(count.min(crate::MOST))
    }

    /// How long something took, where that is told.
    fn took(&self) -> Result<Duration, &'static str> {
        let text = self.get(Column::Duration).filter(|text| !text.is_empty());
        text.map_or(Ok(Duration::ZERO), |text| {
            values::duration(text).ok_or("a duration is no number of seconds")
        })
    }

    fn flag(&self, column: Column) -> bool {
        matches!(self.get(column), Some("T" | "true"))
    }

    fn list(&self, column: Column) -> impl Iterator<Item = Cow<'_, str>> {
        let all = self.get(column).into_iter().flat_map(|v| v.split(self.between));
        all.filter(|v| !v.is_empty() && *v != "-").take(MOST).map(unescaped)
    }

    fn ts(&self) -> Option<Timestamp> {
        values::time(self.get(Column::Ts)?)
    }

    fn head(&self, transport: Option<Transport>) -> Result<Head, &'static str> {
        let ts = self.ts().ok_or("no time")?;
        let ip = |column: Column| self.get(column).and_then(|text| text.parse::<IpAddr>().ok());
        let orig = ip(Column::OrigH).ok_or("no originator")?;
        let resp = ip(Column::RespH).ok_or("no responder")?;
        let told = self.get(Column::Proto).and_then(values::transport);
        let transport = told.or(transport).ok_or("no transport")?;
        let port = |column: Column| match self.get(column) {
            Some(_) => self.number::<u16>(column).ok_or("a port is no number up to 65535"),
            None if matches!(transport, Transport::Tcp | Transport::Udp) => Err("a port is missing"),
            None => Ok(0),
        };
        let orig = Endpoint { ip: orig, port: port(Column::OrigP)? };
        let resp = Endpoint { ip: resp, port: port(Column::RespP)? };
        let flow = self.get(Column::Uid).map_or_else(|| FlowId { packet: self.line, layer: 0 }, values::flow);
        Ok(Head { ts, known: ts, site: 0, segment: None, flow, tuple: Tuple { orig, resp, transport } })
    }

    fn proof(&self) -> Vec<PacketId> {
        vec![self.line]
    }
}

const NO_TIME: &str = "it has no time that can be read";

/// What a row tells.
pub enum Told {
    /// Records, each known when its head says.
    Records(Vec<Record>),
    /// A certificate, by what other logs call it.
    Certificate(String, Box<Certificate>),
    /// A handshake, and what its certificate is called in another log.
    Handshake(Box<Tls>, String),
    /// Something strange, by name.
    Strange(String),
    /// A tunnel of this kind.
    Tunnel(String),
    /// Nothing that is taken.
    Nothing,
}

/// How a file's rows are written.
pub enum Form {
    /// Columns between separators, under a header.
    Columns {
        separator: u8,
        between: char,
        unset: Vec<u8>,
        empty: Vec<u8>,
        columns: Vec<Option<Column>>,
        kind: Option<Kind>,
        /// What it says of itself, and rows of it of which nothing is taken.
        path: String,
        unused: u64,
    },
    /// An object a line; which log it is may stand in each.
    Json { kind: Option<Kind>, names: Names },
}

impl Form {
    /// Before the first line.
    pub fn columns() -> Self {
        let (unset, empty) = (b"-".to_vec(), b"(empty)".to_vec());
        Self::Columns {
            separator: b'\t',
            between: ',',
            unset,
            empty,
            columns: Vec::new(),
            kind: None,
            path: String::new(),
            unused: 0,
        }
    }

    /// Whether each row is an object.
    pub const fn is_json(&self) -> bool {
        matches!(self, Self::Json { .. })
    }

    /// Rows of a log of which nothing is taken, under its name.
    pub fn unused(&self) -> Option<(String, u64)> {
        let Self::Columns { path, unused, .. } = self else { return None };
        let name = if path.is_empty() { "other" } else { path };
        (*unused > 0).then(|| (name.to_owned(), *unused))
    }

    /// Takes a line: what it tells, and when that was.
    ///
    /// # Errors
    /// It is none that can be read; why.
    pub fn take(
        &mut self,
        line: &[u8],
        number: PacketId,
    ) -> Result<Option<(Timestamp, Kind, Told)>, &'static str> {
        if line.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Columns { .. } if line[0] == b'#' => {
                self.header(line);
                Ok(None)
            }
            Self::Columns { separator, between, unset, empty, columns, kind, unused, .. } => {
                if columns.is_empty() {
                    return Err("no header (#fields) stands before it");
                }
                let Some(kind) = kind.filter(|k| *k != Kind::Other) else {
                    *unused += 1;
                    return Ok(None);
                };
                let mut row = Row::new(number, *between, columns.len());
                // Most lines are text as a whole, of which each field then is.
                let text = std::str::from_utf8(line).ok();
                let mut ends = memchr::memchr_iter(*separator, line).chain([line.len()]);
                let mut from = 0;
                for column in columns.iter() {
                    let Some(end) = ends.next() else {
                        return Err("fewer columns than its header names");
                    };
                    let (begins, value) = (from, &line[from..end]);
                    from = end + 1;
                    if let Some(column) = column
                        && value != unset.as_slice()
                    {
                        let whole = text.and_then(|t| t.get(begins..end)).map(Cow::Borrowed);
                        let value = if value == empty.as_slice() {
                            Cow::Borrowed("")
                        } else {
                            whole.unwrap_or_else(|| String::from_utf8_lossy(value))
                        };
                        row.take(*column, value);
                    }
                }
                // What a tool has put behind the last column without naming it may be empty.
                if line.get(from..).is_some_and(|rest| !rest.trim_ascii().is_empty()) {
                    return Err("more columns than its header names");
                }
                let told = told(kind, &row)?;
                Ok(Some((row.ts().ok_or(NO_TIME)?, kind, told)))
            }
            Self::Json { kind, names } => {
                let mut row = Row::new(number, ',', 24);
                let mut reader = serde_json::Deserializer::from_slice(line);
                names.at = 0;
                Fields { row: &mut row, names, prefix: "" }
                    .deserialize(&mut reader)
                    .map_err(|_| "it is no JSON object")?;
                // What it says itself, then what only such rows have: a file may be called anything.
                let own = row.get(Column::Path).map(Kind::named);
                let has = |name: &str| Column::named(name).is_some_and(|c| row.get(c).is_some());
                let shown = || Some(Kind::of_columns(has)).filter(|kind| *kind != Kind::Other);
                let kind = own.or_else(shown).or(*kind).unwrap_or(Kind::Other);
                let ts = row.ts().ok_or(NO_TIME)?;
                let told = if kind == Kind::Other { Told::Nothing } else { told(kind, &row)? };
                Ok(Some((ts, kind, told)))
            }
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Self::Columns { separator, between, unset, empty, columns, kind, path, .. } = self else {
            return;
        };
        let line = String::from_utf8_lossy(line);
        if let Some(escaped) = line.strip_prefix("#separator ") {
            let one = unescaped(escaped);
            *separator = one.bytes().next().unwrap_or(b'\t');
            return;
        }
        let mut values = line.split(char::from(*separator));
        let Some(what) = values.next() else { return };
        match what {
            "#fields" => {
                let names: Vec<&str> = values.collect();
                *columns = names.iter().map(|n| Column::named(n)).collect();
                // Logs that name themselves are what they say, and nothing else.
                kind.get_or_insert_with(|| Kind::of_columns(|name| names.contains(&name)));
            }
            "#set_separator" => {
                *between = values.next_back().and_then(|v| unescaped(v).chars().next()).unwrap_or(',');
            }
            "#path" => {
                let name = values.next_back();
                *kind = name.map(Kind::named);
                *path = name.unwrap_or_default().chars().take(64).collect();
            }
            "#unset_field" => *unset = values.next_back().unwrap_or("-").as_bytes().to_vec(),
            "#empty_field" => *empty = values.next_back().unwrap_or("").as_bytes().to_vec(),
            _ => {}
        }
    }
}

/// The names of a log's members, in the order in which the last lines had them: most lines have the same ones in the same order.
#[derive(Default)]
pub struct Names {
    seen: Vec<(String, Option<Column>)>,
    at: usize,
}

impl Names {
    /// Names that are remembered.
    const MOST: usize = 96;
    /// How many may be missing of a line in one place, before a name is looked up.
    const AHEAD: usize = 8;

    /// The column that a name is, in an object that stands under `prefix`.
    fn column(&mut self, prefix: &str, key: &str) -> Option<Column> {
        let is = |name: &str| match prefix {
            "" => name == key,
            prefix => name.strip_prefix(prefix).and_then(|n| n.strip_prefix('.')) == Some(key),
        };
        let next = self.seen.iter().enumerate().skip(self.at).take(Self::AHEAD);
        if let Some((at, (_, column))) = next.into_iter().find(|(_, (name, _))| is(name)) {
            self.at = at + 1;
            return *column;
        }
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        let column = Column::named(&name);
        if self.seen.len() < Self::MOST && !self.seen.iter().any(|(seen, _)| *seen == name) {
            let at = self.at.min(self.seen.len());
            self.seen.insert(at, (name, column));
            self.at = at + 1;
        }
        column
    }
}

/// Takes a JSON object's members into a row: those of nested objects under both names, those of lists between commas.
struct Fields<'r, 'a> {
    row: &'r mut Row<'a>,
    names: &'r mut Names,
    prefix: &'r str,
}

impl<'de> Fields<'_, 'de> {
    fn member(&mut self, key: &str, column: Option<Column>, raw: &'de str) -> Result<(), serde_json::Error> {
        if raw.starts_with('{') {
            // Zeek nests nothing deeper.
            if self.prefix.is_empty() && matches!(key, "id" | "certificate" | "san") {
                let mut reader = serde_json::Deserializer::from_str(raw);
                let within = Fields { row: self.row, names: self.names, prefix: key };
                within.deserialize(&mut reader)?;
            }
            return Ok(());
        }
        if let (Some(column), Some(value)) = (column, plain(raw)?) {
            self.row.take(column, value);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Fields<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Name)? {
            let column = self.names.column(self.prefix, &key);
            if column.is_none() && !matches!(key.as_ref(), "id" | "certificate" | "san") {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&'de RawValue>()?.get();
            self.member(&key, column, raw).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// A member's name, as it stands in the line where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
}

/// A value as columns have it; none of `null` and of objects.
fn plain(raw: &str) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    Ok(match raw.as_bytes().first() {
        Some(b'"') => Some(match raw.get(1..raw.len() - 1) {
            Some(text) if !text.contains('\\') => Cow::Borrowed(text),
            _ => Cow::Owned(serde_json::from_str(raw)?),
        }),
        Some(b't') => Some(Cow::Borrowed("T")),
        Some(b'f') => Some(Cow::Borrowed("F")),
        Some(b'[') => {
            let members: Vec<&RawValue> = serde_json::from_str(raw)?;
            let mut all = String::new();
            // Lists of lists are none of Zeek's.
            for member in members.iter().filter(|m| !m.get().starts_with('[')) {
                if let Some(one) = plain(member.get())? {
                    if !all.is_empty() {
                        all.push(',');
                    }
                    all.push_str(&one.replace(',', "\\x2c"));
                }
            }
            Some(Cow::Owned(all))
        }
        Some(b'n' | b'{') | None => None,
        // Counts may have passed through a database; microseconds are what Zeek writes.
        Some(_) if raw.contains(['e', 'E']) => {
            let number: f64 = serde_json::from_str(raw)?;
            let text = if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.6}") };
            Some(Cow::Owned(text))
        }
        Some(_) => Some(Cow::Borrowed(raw)),
    })
}

fn told(kind: Kind, row: &Row<'_>) -> Result<Told, &'static str> {
    let one = |record| Told::Records(vec![record]);
    Ok(match kind {
        Kind::Conn => Told::Records(conn(row)?),
        Kind::Dns => dns(row)?.map_or(Told::Nothing, |d| one(Record::Dns(Box::new(d)))),
        Kind::Http => one(Record::Http(Box::new(http(row)?))),
        Kind::Ssl => ssl(row)?,
        Kind::X509 => x509(row).map_or(Told::Nothing, |(id, c)| Told::Certificate(id, Box::new(c))),
        Kind::Smtp => one(Record::Smtp(Box::new(smtp(row)?))),
        Kind::Irc => one(Record::Irc(Box::new(irc(row)?))),
        Kind::Dhcp => dhcp(row).map_or(Told::Nothing, |d| one(Record::Dhcp(Box::new(d)))),
        Kind::Ssh => one(Record::Ssh(Box::new(Ssh {
            head: row.head(Some(Transport::Tcp))?,
            client: row.text(Column::Client),
            server: row.text(Column::Server),
            packets: row.proof(),
        }))),
        Kind::Quic => one(Record::Quic(Box::new(Quic {
            head: row.head(Some(Transport::Udp))?,
            version: 1,
            sni: row.get(Column::ServerName).map(name),
            alpn: None,
            ja4: None,
            packets: row.proof(),
        }))),
        Kind::Notice => notice(row)?.map_or(Told::Nothing, |a| one(Record::Alert(Box::new(a)))),
        Kind::Weird => Told::Strange(row.text(Column::Name).unwrap_or_default()),
        Kind::Tunnel if row.get(Column::Action).is_none_or(|a| a == "Tunnel::DISCOVER") => {
            Told::Tunnel(row.text(Column::TunnelType).unwrap_or_default())
        }
        Kind::Files => file(row)?.map_or(Told::Nothing, |f| one(Record::File(Box::new(f)))),
        // That it ended was told when it began.
        Kind::Tunnel | Kind::Other => Told::Nothing,
    })
}

/// How a connection went, by Zeek's word for it.
fn state(word: &str) -> Option<ConnState> {
    use ConnState::{Oth, Rej, RstO, RstOS0, RstR, RstRH, S0, S1, S2, S3, SF, Sh, ShR};
    [S0, S1, SF, Rej, RstO, RstR, RstOS0, RstRH, Sh, ShR, S2, S3, Oth].into_iter().find(|s| s.name() == word)
}

/// A flow twice: when it began, so that what is told of it later is about a known flow, and at its end.
fn conn(row: &Row<'_>) -> Result<Vec<Record>, &'static str> {
    let head = row.head(None)?;
    let last = head.ts.plus(row.took()?);
    let bytes = [row.counted(Column::OrigBytes)?, row.counted(Column::RespBytes)?];
    let told_packets = row.get(Column::OrigPkts).is_some() || row.get(Column::RespPkts).is_some();
    let mut packets = [row.counted(Column::OrigPkts)?, row.counted(Column::RespPkts)?];
    let written = row.get(Column::History).unwrap_or_default();
    let mut history = History::default();
    // A caret says that Zeek has turned the flow round.
    written.bytes().filter(u8::is_ascii_alphabetic).for_each(|b| history.push(b));
    let tcp = head.tuple.transport == Transport::Tcp;
    let told = row.get(Column::ConnState).and_then(state);
    if !told_packets {
        // Whoever left the columns out may have left the state.
        let answered = bytes[1] > 0 || told.is_some_and(|s| !s.is_failure() && s != ConnState::Oth);
        packets = [1, u64::from(answered)];
    }
    let answered = packets[1] > 0 || bytes[1] > 0;
    let state = told.unwrap_or(if answered { ConnState::SF } else { ConnState::S0 });
    let begun = !matches!(state, ConnState::Oth | ConnState::ShR | ConnState::RstRH);
    let named = row.get(Column::Service).is_some_and(|s| !s.is_empty());
    let service = match row.get(Column::Service).and_then(values::service) {
        Some(service) => service,
        // Zeek looked at what was said and recognised nothing in it; of UDP it knows few.
        None if tcp && bytes != [0, 0] && !named => Service::Unrecognised,
        None if !tcp && bytes != [0, 0] => values::usual(head.tuple.resp.port).unwrap_or_default(),
        None => Service::Unknown,
    };
    let speaker = written.bytes().find(|b| matches!(b, b'D' | b'd'));
    let first_speaker = match speaker {
        Some(b'D') => Some(Direction::Orig),
        Some(_) => Some(Direction::Resp),
        None => None,
    };
    Ok(crate::Flow {
        head,
        last,
        service,
        state,
        history,
        packets,
        bytes,
        frame_bytes: [row.counted(Column::OrigIpBytes)?, row.counted(Column::RespIpBytes)?],
        missed: row.counted(Column::MissedBytes)?,
        start_seen: !tcp || begun || written.contains('S'),
        first_speaker,
        mac: [Column::OrigMac, Column::RespMac].map(|c| row.get(c).and_then(values::mac)),
        rows: std::iter::once(row.line).collect(),
    }
    .told())
}

fn dns(row: &Row<'_>) -> Result<Option<Dns>, &'static str> {
    let head = row.head(Some(Transport::Udp))?;
    let Some(query) = row.get(Column::Query) else { return Ok(None) };
    let qtype: u16 = row.number(Column::Qtype).unwrap_or(0);
    let rtt = row.get(Column::Rtt).and_then(values::duration);
    let ttls: Vec<u32> = row.list(Column::Ttls).map(|t| t.parse::<f64>().map_or(0, |t| t as u32)).collect();
    let answer = |(i, text): (usize, Cow<'_, str>)| {
        let ttl = ttls.get(i).copied().unwrap_or(0);
        match text.parse() {
            Ok(addr) => {
                let rtype = if std::net::IpAddr::is_ipv4(&addr) { Dns::A } else { Dns::AAAA };
                DnsAnswer { rtype, ttl, addr: Some(addr), name: None }
            }
            // Zeek does not say of which type each answer is: what is no address is a name on the way, or what was asked for.
            Err(_) if matches!(qtype, Dns::A | Dns::AAAA) => {
                DnsAnswer { rtype: 5, ttl, addr: None, name: Some(name(&text)) }
            }
            Err(_) => DnsAnswer { rtype: qtype, ttl, addr: None, name: Some(name(&text)) },
        }
    };
    let answers: Vec<DnsAnswer> = row.list(Column::Answers).enumerate().map(answer).collect();
    let told: usize = row.list(Column::Answers).map(|a| a.len() + 12).sum();
    Ok(Some(Dns {
        head: Head { known: head.ts.plus(rtt.unwrap_or_default()), ..head },
        id: row.number(Column::TransId).unwrap_or(0),
        query: name(&unescaped(query)),
        qtype,
        rcode: row.number(Column::Rcode),
        recursion_desired: row.flag(Column::Rd),
        answers,
        rtt,
        response_len: told as u32,
        packets: row.proof(),
    }))
}

/// What a body is, by the type that Zeek found in it.
fn magic(mime: &str) -> Magic {
    match mime {
        "application/x-dosexec" | "application/vnd.microsoft.portable-executable" => Magic::Pe,
        "application/x-executable" | "application/x-sharedlib" | "application/x-elf" => Magic::Elf,
        "application/x-mach-o-executable" => Magic::MachO,
        "application/zip" | "application/java-archive" | "application/vnd.android.package-archive" => {
            Magic::Zip
        }
        "application/gzip" | "application/x-gzip" => Magic::Gzip,
        "application/x-rar" | "application/x-rar-compressed" => Magic::Rar,
        "application/x-7z-compressed" => Magic::SevenZip,
        "application/vnd.ms-cab-compressed" => Magic::Cab,
        "application/pdf" => Magic::Pdf,
        "text/rtf" | "application/rtf" => Magic::Rtf,
        "application/x-ms-shortcut" => Magic::Shortcut,
        "application/x-xz" | "application/x-bzip2" | "application/x-lzip" | "application/zstd" => {
            Magic::Packed
        }
        "application/vnd.debian.binary-package" | "application/x-rpm" => Magic::Package,
        "application/x-shockwave-flash" => Magic::Flash,
        "application/x-java-applet" => Magic::JavaClass,
        "text/html" | "application/xml" | "text/xml" => Magic::Markup,
        "text/json" | "application/json" => Magic::Json,
        "text/x-shellscript" | "text/x-perl" | "text/x-python" | "text/x-ruby" => Magic::Script,
        other if other.starts_with("image/") => Magic::Image,
        other if other.starts_with("video/") || other.starts_with("audio/") => Magic::Media,
        other if other.starts_with("application/vnd.openxmlformats") => Magic::Zip,
        other if other.starts_with("application/msword") || other.starts_with("application/vnd.ms-") => {
            Magic::Ole
        }
        other if other.starts_with("text/") => Magic::Text,
        _ => Magic::None,
    }
}

/// A file, if it is none of those that are parts of pages; pictures, certificates and the like are left out.
fn file(row: &Row<'_>) -> Result<Option<FileInfo>, &'static str> {
    let mime = row.get(Column::MimeType).unwrap_or_default();
    let magic = magic(mime);
    let sha256 = row.get(Column::Sha256).and_then(values::sha256);
    let is_certificate = mime.contains("x509") || mime.contains("ocsp");
    let is_certificate = is_certificate || FileInfo::is_part_of_page(mime);
    if !magic.is_file() || is_certificate || (magic == Magic::None && sha256.is_none()) {
        return Ok(None);
    }
    let sent_by_client = row.flag(Column::IsOrig);
    let head = if let Ok(head) = row.head(Some(Transport::Tcp)) {
        head
    } else {
        // Zeek before version 5.1 names who sent and who received, and their connections.
        let ts = row.ts().ok_or("no time")?;
        let host = |column| {
            let ip = row.list(column).next()?.parse().ok()?;
            Some(Endpoint { ip, port: 0 })
        };
        let (Some(from), Some(to)) = (host(Column::TxHosts), host(Column::RxHosts)) else {
            return Ok(None);
        };
        let (orig, resp) = if sent_by_client { (from, to) } else { (to, from) };
        let of = row.list(Column::ConnUids).next().map(|uid| values::flow(&uid));
        let flow = of.unwrap_or(FlowId { packet: row.line, layer: 0 });
        let tuple = Tuple { orig, resp, transport: Transport::Tcp };
        Head { ts, known: ts, site: 0, segment: None, flow, tuple }
    };
    let known = head.ts.plus(row.get(Column::Duration).and_then(values::duration).unwrap_or_default());
    let (told_missing, total) =
        (row.number::<u64>(Column::MissingBytes), row.number::<u64>(Column::TotalBytes));
    let (missing, seen) = (row.count(Column::MissingBytes), row.count(Column::SeenBytes));
    let timed_out = row.flag(Column::TimedOut);
    Ok(Some(FileInfo {
        head: Head { known, ..head },
        from: if sent_by_client { Direction::Orig } else { Direction::Resp },
        carrier: row
            .get(Column::Source)
            .and_then(|s| values::service(&s.to_ascii_lowercase()))
            .unwrap_or_default(),
        name: row.text(Column::FileName),
        declared: None,
        magic,
        len: seen.saturating_add(missing),
        whole: told_missing == Some(0) && !timed_out && total.is_none_or(|n| n == seen),
        sha256,
        packets: row.proof(),
    }))
}

/// The headers that a policy has Zeek write down; untold without it.
fn headers(row: &Row<'_>) -> RequestHeaders {
    if row.get(Column::HeaderNames).is_none() {
        return RequestHeaders::untold();
    }
    let mut headers = RequestHeaders::default();
    for header in row.list(Column::HeaderNames) {
        headers.note(header.to_ascii_lowercase().as_bytes());
    }
    if row.get(Column::HttpVersion) == Some("1.0") {
        headers.add(RequestHeaders::HTTP_1_0);
    }
    // Their names alone.
    headers.untyped()
}

fn http(row: &Row<'_>) -> Result<Http, &'static str> {
    let head = row.head(Some(Transport::Tcp))?;
    let body = |len, mime| {
        let found = row.list(mime).next();
        // Zeek finds certificates' business by what is declared, everything else by what is there.
        let declared = found.as_ref().filter(|m| m.contains("ocsp") || m.contains("pkix"));
        BodyFacts {
            len: row.count(len),
            declared: declared.map(ToString::to_string),
            magic: found.as_ref().map_or(Magic::None, |m| magic(m)),
            ..BodyFacts::default()
        }
    };
    let host = row.get(Column::Host).map(unescaped);
    let bare = host.as_ref().map(|h| match h.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !bare.contains(':') => name(bare),
        _ => name(h),
    });
    Ok(Http {
        head,
        depth: row.number::<u32>(Column::TransDepth).unwrap_or(1).saturating_sub(1),
        method: row.text(Column::Method).unwrap_or_default().to_ascii_uppercase(),
        host: bare,
        path: row.text(Column::Uri).unwrap_or_default().chars().take(1024).collect(),
        status: row.number(Column::StatusCode),
        user_agent: row.text(Column::UserAgent),
        referer: row.text(Column::Referrer),
        cookie: false,
        headers: headers(row),
        location: None,
        request: body(Column::RequestLen, Column::OrigMime),
        response: body(Column::ResponseLen, Column::RespMime),
        packets: row.proof(),
    })
}

/// The number of a version of TLS, by any sensor's word.
pub fn tls_version(text: &str) -> u16 {
    match text.replace(' ', "").as_str() {
        "SSLv2" => 0x0002,
        "SSLv3" => 0x0300,
        "TLSv10" | "TLSv1" | "TLS1.0" | "TLSv1.0" => 0x0301,
        "TLSv11" | "TLSv1.1" | "TLS1.1" => 0x0302,
        "TLSv13" | "TLSv1.3" | "TLS1.3" => 0x0304,
        _ => 0x0303,
    }
}

/// What a distinguished name calls its owner: the common name, or else the organisation.
pub fn owner(distinguished: &str) -> String {
    let part = |key: &str| {
        let mut parts = distinguished.split([',', '/']).map(str::trim);
        parts.find_map(|p| p.strip_prefix(key)).map(str::to_owned)
    };
    part("CN=").or_else(|| part("O=")).unwrap_or_else(|| distinguished.to_owned())
}

/// A certificate of which only names and times are told.
pub fn certificate(
    subject: &str,
    issuer: &str,
    valid: (Timestamp, Timestamp),
    names: Vec<String>,
) -> Certificate {
    Certificate {
        subject: owner(subject),
        issuer: owner(issuer),
        self_signed: subject == issuer,
        not_before: valid.0,
        not_after: valid.1,
        names,
        der: Vec::new(),
        chain: Vec::new(),
        proof: None,
    }
}

fn ssl(row: &Row<'_>) -> Result<Told, &'static str> {
    let head = row.head(Some(Transport::Tcp))?;
    let told = |c| row.text(c).filter(|t| !t.is_empty());
    let named = told(Column::Subject).zip(told(Column::Issuer));
    let valid = (head.ts, head.ts);
    let tls = Tls {
        head,
        version: row.get(Column::HttpVersion).map_or(0x0303, tls_version),
        sni: row.get(Column::ServerName).map(name),
        alpn: row.text(Column::NextProtocol),
        ja4: row.text(Column::Ja4),
        cipher: None,
        // The names that it stands for are in another log: of those nobody knows that there are none.
        certificate: named.map(|(s, i)| {
            let names = vec![name(&owner(&s))];
            Box::new(certificate(&s, &i, valid, names))
        }),
        packets: row.proof(),
    };
    let chain = row.list(Column::ChainFps).next().or_else(|| row.list(Column::ChainFuids).next());
    Ok(match chain {
        Some(id) => Told::Handshake(Box::new(tls), id.into_owned()),
        None => Told::Records(vec![Record::Tls(Box::new(tls))]),
    })
}

fn x509(row: &Row<'_>) -> Option<(String, Certificate)> {
    let id =
        row.text(Column::Fingerprint).or_else(|| row.text(Column::Id)).or_else(|| row.text(Column::Fuid))?;
    let (subject, issuer) = (row.text(Column::CertSubject)?, row.text(Column::CertIssuer)?);
    let at = |c| row.get(c).and_then(values::time);
    let valid = (at(Column::NotBefore)?, at(Column::NotAfter)?);
    let told: Vec<String> = row.list(Column::SanDns).map(|n| name(&n)).collect();
    let names = if told.is_empty() { vec![name(&owner(&subject))] } else { told };
    Some((id, certificate(&subject, &issuer, valid, names)))
}

/// A session in which one message went; of one with several there are as many rows.
fn smtp(row: &Row<'_>) -> Result<Smtp, &'static str> {
    let head = row.head(Some(Transport::Tcp))?;
    let mail = Mail {
        helo: row.text(Column::Helo),
        from: row.text(Column::MailFrom),
        rcpt: row.list(Column::RcptTo).filter_map(|r| domain(&r)).collect(),
        code: row.get(Column::LastReply).and_then(|r| r.get(..3)?.parse().ok()),
        tls: row.flag(Column::TlsUsed),
    };
    Ok(mail.told(head, row.proof()))
}

fn irc(row: &Row<'_>) -> Result<Irc, &'static str> {
    let words = [row.text(Column::Value), row.text(Column::Addl)];
    let params: Vec<String> = words.into_iter().flatten().collect();
    Ok(Irc {
        head: row.head(Some(Transport::Tcp))?,
        // Zeek writes what clients say.
        from: Direction::Orig,
        command: row.text(Column::Command).unwrap_or_default().to_ascii_uppercase(),
        params: params.join(" "),
        packets: row.proof(),
    })
}

fn dhcp(row: &Row<'_>) -> Option<Dhcp> {
    let ts = row.ts()?;
    let address = |c| row.get(c).and_then(|a| a.parse::<std::net::IpAddr>().ok());
    let ip = address(Column::AssignedAddr)
        .or_else(|| address(Column::AssignedIp))
        .or_else(|| address(Column::ClientAddr))
        .or_else(|| address(Column::RequestedAddr));
    let server = address(Column::ServerAddr);
    let acknowledged =
        row.list(Column::MsgTypes).any(|m| m == "ACK") || row.get(Column::AssignedIp).is_some();
    let (client, lease) =
        (ip?, row.get(Column::LeaseTime).and_then(values::duration).map(|d| d.as_secs() as u32));
    let unknown = std::net::IpAddr::from([0, 0, 0, 0]);
    let tuple = Tuple {
        orig: record::Endpoint { ip: client, port: 68 },
        resp: record::Endpoint { ip: server.unwrap_or(unknown), port: 67 },
        transport: Transport::Udp,
    };
    let flow = FlowId { packet: row.line, layer: 0 };
    Some(Dhcp {
        head: Head { ts, known: ts, site: 0, segment: None, flow, tuple },
        mac: values::mac(row.get(Column::Mac)?)?,
        ip: Some(client),
        host_name: row.text(Column::HostName),
        kind: if acknowledged { 5 } else { 3 },
        server: server.filter(|_| acknowledged),
        resolvers: Vec::new(),
        lease,
        vendor: None,
        packets: row.proof(),
    })
}

/// A notice about somebody.
fn notice(row: &Row<'_>) -> Result<Option<Alert>, &'static str> {
    let Some(note) = row.text(Column::Note) else { return Err("no note") };
    let head = if let Ok(head) = row.head(Some(Transport::Tcp)) {
        head
    } else {
        let (Some(ts), Some(src)) = (row.ts(), row.get(Column::Src)) else { return Ok(None) };
        let Some(orig) = end(src, "0") else { return Ok(None) };
        let port = row.get(Column::P).unwrap_or("0");
        let resp = row.get(Column::Dst).and_then(|d| end(d, port)).unwrap_or(orig);
        let flow = FlowId { packet: row.line, layer: 0 };
        let tuple = Tuple { orig, resp, transport: Transport::Tcp };
        Head { ts, known: ts, site: 0, segment: None, flow, tuple }
    };
    Ok(Some(Alert {
        head,
        sensor: Cow::Borrowed("zeek"),
        rule: None,
        category: note.clone(),
        signature: row.text(Column::Msg).unwrap_or(note),
        severity: 0,
        packets: row.proof(),
    }))
}
