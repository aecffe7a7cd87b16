//! The flows of a case, and what was said in them, in one SQLite file that answers in pages.
//!
//! Columns are called as in Zeek where Zeek has them; times are nanoseconds since 1970 UTC, durations seconds.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use behaviour::{bigrams, domains};
use ipnet::IpNet;
use record::{CommunityId, Conn, ConnPhase, Direction, Endpoint, Head, Record, Timestamp};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params, params_from_iter};
use serde::Serialize;

/// Names remembered of addresses while a case is written.
const MAX_NAMES: usize = 500_000;
/// Rows written before they are committed.
const TRANSACTION: u64 = 200_000;

/// Rows that are given at once, at most.
pub const MOST_ROWS: u64 = 100_000;

/// Characters of a search.
const LONGEST_SEARCH: usize = 500;
/// Words of a search.
const MOST_WORDS: usize = 24;

const SCHEMA: &str = "
CREATE TABLE flow (id INTEGER PRIMARY KEY, ts INTEGER, duration REAL, orig TEXT, orig_p INTEGER, resp TEXT, resp_p INTEGER,
  proto TEXT, service TEXT, state TEXT, history TEXT, orig_bytes INTEGER, resp_bytes INTEGER, orig_pkts INTEGER, resp_pkts INTEGER,
  missed_bytes INTEGER, opaque TEXT, ones REAL, printable REAL, name TEXT, community_id TEXT, flow TEXT, segment TEXT);
CREATE TABLE dns (id INTEGER PRIMARY KEY, ts INTEGER, host TEXT, server TEXT, query TEXT, qtype INTEGER, rcode INTEGER, answers TEXT,
  score REAL, flow TEXT, packet TEXT, segment TEXT);
CREATE TABLE web (id INTEGER PRIMARY KEY, ts INTEGER, host TEXT, remote TEXT, port INTEGER, kind TEXT, name TEXT, detail TEXT,
  agent TEXT, bytes INTEGER, flow TEXT, packet TEXT, segment TEXT);
CREATE TABLE mail (id INTEGER PRIMARY KEY, ts INTEGER, host TEXT, remote TEXT, helo TEXT, mails INTEGER, recipients INTEGER,
  messages INTEGER, accepted INTEGER, rejects INTEGER, last_code INTEGER, bytes INTEGER, encrypted INTEGER, flow TEXT, packet TEXT, segment TEXT);
";

/// The form of these tables, which the file names; one of another form is refused.
const FORM: i64 = 2;

const INDICES: &str = "
CREATE INDEX flow_ts ON flow(ts); CREATE INDEX flow_orig ON flow(orig, ts); CREATE INDEX flow_resp ON flow(resp, ts); CREATE INDEX flow_name ON flow(flow);
CREATE INDEX dns_host ON dns(host, ts); CREATE INDEX web_host ON web(host, ts); CREATE INDEX mail_host ON mail(host, ts);
";

/// Writes the flows of a run.
pub struct FlowWriter {
    db: Connection,
    names: HashMap<IpAddr, String>,
    rows: u64,
    failed: Option<rusqlite::Error>,
}

impl FlowWriter {
    /// Begins a file that must not exist.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> rusqlite::Result<Self> {
        let db = Connection::open(path)?;
        db.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;",
        )?;
        db.set_prepared_statement_cache_capacity(16);
        db.execute_batch(SCHEMA)?;
        db.pragma_update(None, "user_version", FORM)?;
        db.execute_batch("BEGIN")?;
        Ok(Self { db, names: HashMap::new(), rows: 0, failed: None })
    }

    /// Takes a record. What goes wrong is told by [`FlowWriter::finish`].
    pub fn record(&mut self, record: &Record) {
        if self.failed.is_none()
            && let Err(e) = self.write(record)
        {
            self.failed = Some(e);
        }
    }

    fn write(&mut self, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::Conn(c) if c.phase == ConnPhase::Closed => self.conn(c)?,
            Record::Conn(_) => return Ok(()),
            Record::Dns(d) => {
                let mut answers = Vec::new();
                for a in &d.answers {
                    if let Some(ip) = a.addr {
                        if self.names.len() < MAX_NAMES || self.names.contains_key(&ip) {
                            self.names.insert(ip, d.query.clone());
                        }
                        answers.push(ip.to_string());
                    } else if let Some(name) = &a.name {
                        answers.push(name.clone());
                    }
                }
                let score = domains::chosen_label(&d.query).map(bigrams::score);
                self.db
                    .prepare_cached("INSERT INTO dns(ts,host,server,query,qtype,rcode,answers,score,flow,packet,segment) VALUES(?,?,?,?,?,?,?,?,?,?,?)")?
                    .execute(params![
                        d.head.ts.0,
                        d.head.tuple.orig.ip.to_string(),
                        d.head.tuple.resp.ip.to_string(),
                        d.query,
                        d.qtype,
                        d.rcode,
                        answers.join(" "),
                        score,
                        d.head.flow.to_string(),
                        d.packets.first().map(ToString::to_string),
                        segment(&d.head)
                    ])?;
            }
            Record::Relay(r) => {
                let name = r.name.clone().unwrap_or_else(|| r.destination.ip.to_string());
                if self.names.len() < MAX_NAMES {
                    self.names.insert(r.destination.ip, name.clone());
                }
                let detail = format!("asked for {}:{} ({})", name, r.destination.port, r.kind.name());
                let packet = r.packets.first().map(ToString::to_string);
                let row = Web {
                    ts: r.head.ts,
                    kind: "proxy",
                    name: Some(&name),
                    detail,
                    agent: None,
                    bytes: 0,
                    packet,
                };
                self.web(&row, record, &r.head.flow.to_string())?;
            }
            Record::Http(h) => self.web(
                &Web {
                    ts: h.head.ts,
                    kind: "http",
                    name: h.host.as_deref(),
                    detail: format!(
                        "{} {} → {}{}",
                        h.method,
                        h.path,
                        h.status.map_or_else(|| "no answer".to_owned(), |s| s.to_string()),
                        h.response.declared.as_deref().map(|d| format!(" {d}")).unwrap_or_default()
                    ),
                    agent: h.user_agent.as_deref(),
                    bytes: h.response.len,
                    packet: h.packets.first().map(ToString::to_string),
                },
                record,
                &h.head.flow.to_string(),
            )?,
            Record::Tls(t) => self.web(
                &Web {
                    ts: t.head.ts,
                    kind: "tls",
                    name: t.sni.as_deref(),
                    detail: format!(
                        "{:#06x} {}{}",
                        t.version,
                        t.ja4.as_deref().unwrap_or("no JA4"),
                        t.certificate
                            .as_ref()
                            .map(|c| format!(" certificate {:?} by {:?}", c.subject, c.issuer))
                            .unwrap_or_default()
                    ),
                    agent: t.alpn.as_deref(),
                    bytes: 0,
                    packet: t.packets.first().map(ToString::to_string),
                },
                record,
                &t.head.flow.to_string(),
            )?,
            Record::Quic(q) => self.web(
                &Web {
                    ts: q.head.ts,
                    kind: "quic",
                    name: q.sni.as_deref(),
                    detail: format!("version {:#x}", q.version),
                    agent: None,
                    bytes: 0,
                    packet: q.packets.first().map(ToString::to_string),
                },
                record,
                &q.head.flow.to_string(),
            )?,
            Record::Smtp(s) => {
                self.db
                    .prepare_cached("INSERT INTO mail(ts,host,remote,helo,mails,recipients,messages,accepted,rejects,last_code,bytes,encrypted,flow,packet,segment) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?
                    .execute(params![
                        s.head.ts.0,
                        s.head.tuple.orig.ip.to_string(),
                        self.shown(s.head.tuple.resp.ip),
                        s.helo,
                        s.mail_count,
                        s.rcpt_count,
                        s.data_count,
                        s.accepted_count,
                        s.rejects,
                        s.last_code,
                        s.message_bytes as i64,
                        s.starttls_used,
                        s.head.flow.to_string(),
                        s.packets.first().map(ToString::to_string),
                        segment(&s.head)
                    ])?;
            }
            _ => return Ok(()),
        }
        self.rows += 1;
        if self.rows.is_multiple_of(TRANSACTION) {
            self.db.execute_batch("COMMIT; BEGIN")?;
        }
        Ok(())
    }

    fn conn(&mut self, c: &Conn) -> rusqlite::Result<()> {
        // As packets have it, so that they are found again: with the proxy, where there is one.
        let ends = c.wire_tuple();
        let side = |d: Direction| c.opaque_first(d);
        let opaque = match (side(Direction::Orig), side(Direction::Resp)) {
            (true, true) => "both",
            (true, false) => "orig",
            (false, true) => "resp",
            (false, false) => "",
        };
        let facts = c.first_payload[0].filter(|p| p.counted > 0 && p.ones > 0);
        let per_byte = |n: u16, of: u16| f64::from(n) / f64::from(of);
        self.db
            .prepare_cached("INSERT INTO flow(ts,duration,orig,orig_p,resp,resp_p,proto,service,state,history,orig_bytes,resp_bytes,orig_pkts,resp_pkts,missed_bytes,opaque,ones,printable,name,community_id,flow,segment) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?
            .execute(params![
                c.head.ts.0,
                c.duration().as_secs_f64(),
                ends.orig.ip.to_string(),
                ends.orig.port,
                ends.resp.ip.to_string(),
                ends.resp.port,
                ends.transport.to_string(),
                c.service.to_string(),
                c.state.name(),
                c.history.as_str(),
                c.bytes[0] as i64,
                c.bytes[1] as i64,
                c.packets[0] as i64,
                c.packets[1] as i64,
                (c.missed_bytes[0] + c.missed_bytes[1]) as i64,
                opaque,
                facts.map(|p| per_byte(p.ones, p.counted)),
                facts.map(|p| per_byte(p.printable, p.counted)),
                self.names.get(&c.head.tuple.resp.ip),
                CommunityId::of(&ends).to_string(),
                c.head.flow.to_string(),
                segment(&c.head)
            ])?;
        Ok(())
    }

    /// An address as it is shown: one that only stands for a name, as that name.
    fn shown(&self, ip: IpAddr) -> String {
        let stand_in = Endpoint::is_stand_in(ip).then(|| self.names.get(&ip)).flatten();
        stand_in.cloned().unwrap_or_else(|| ip.to_string())
    }

    fn web(&mut self, w: &Web<'_>, record: &Record, flow: &str) -> rusqlite::Result<()> {
        let tuple = record.tuple();
        self.db
            .prepare_cached("INSERT INTO web(ts,host,remote,port,kind,name,detail,agent,bytes,flow,packet,segment) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)")?
            .execute(params![
                w.ts.0,
                tuple.orig.ip.to_string(),
                self.shown(tuple.resp.ip),
                tuple.resp.port,
                w.kind,
                w.name,
                w.detail,
                w.agent,
                w.bytes as i64,
                flow,
                w.packet,
                segment(record.head())
            ])?;
        Ok(())
    }

    /// Ends the file and makes it quick to ask.
    ///
    /// # Errors
    /// Something could not be written, now or earlier.
    pub fn finish(mut self) -> rusqlite::Result<()> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        self.db.execute_batch("COMMIT")?;
        self.db.execute_batch(INDICES)?;
        self.db.execute_batch("ANALYZE")?;
        self.db.close().map_err(|e| e.1)
    }
}

/// The segment of the network as it is kept: nothing for what had no tag.
fn segment(head: &Head) -> String {
    head.segment.map(|s| s.to_string()).unwrap_or_default()
}

struct Web<'a> {
    ts: Timestamp,
    kind: &'static str,
    name: Option<&'a str>,
    detail: String,
    agent: Option<&'a str>,
    bytes: u64,
    packet: Option<String>,
}

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Flows.
    Flow,
    /// DNS questions.
    Dns,
    /// HTTP requests, TLS and QUIC connections.
    Web,
    /// SMTP sessions.
    Mail,
}

impl Kind {
    /// The name of table and view.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Dns => "dns",
            Self::Web => "web",
            Self::Mail => "mail",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Flow, Self::Dns, Self::Web, Self::Mail].into_iter().find(|k| k.name() == name)
    }

    /// Its columns, in the order in which they are shown.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Flow => &[
                "ts",
                "duration",
                "orig",
                "orig_p",
                "resp",
                "resp_p",
                "proto",
                "service",
                "state",
                "history",
                "orig_bytes",
                "resp_bytes",
                "orig_pkts",
                "resp_pkts",
                "missed_bytes",
                "opaque",
                "ones",
                "printable",
                "name",
                "community_id",
                "flow",
                "segment",
            ],
            Self::Dns => &[
                "ts", "host", "server", "query", "qtype", "rcode", "answers", "score", "flow", "packet",
                "segment",
            ],
            Self::Web => &[
                "ts", "host", "remote", "port", "kind", "name", "detail", "agent", "bytes", "flow", "packet",
                "segment",
            ],
            Self::Mail => &[
                "ts",
                "host",
                "remote",
                "helo",
                "mails",
                "recipients",
                "messages",
                "accepted",
                "rejects",
                "last_code",
                "bytes",
                "encrypted",
                "flow",
                "packet",
                "segment",
            ],
        }
    }

    /// Columns that free words are looked for in.
    const fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Flow => &["orig", "resp", "service", "name", "community_id"],
            Self::Dns => &["host", "query", "answers"],
            Self::Web => &["host", "remote", "name", "detail", "agent"],
            Self::Mail => &["host", "remote", "helo"],
        }
    }

    /// Columns of addresses.
    const fn addresses(self) -> &'static [&'static str] {
        match self {
            Self::Flow => &["orig", "resp"],
            Self::Dns => &["host", "server"],
            Self::Web | Self::Mail => &["host", "remote"],
        }
    }

    /// Columns of ports.
    const fn ports(self) -> &'static [&'static str] {
        match self {
            Self::Flow => &["orig_p", "resp_p"],
            Self::Web => &["port"],
            Self::Dns | Self::Mail => &[],
        }
    }

    /// Columns that hold the host.
    const fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::Flow => &["orig", "resp"],
            Self::Dns | Self::Web | Self::Mail => &["host"],
        }
    }
}

/// A local host, as flows know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its address.
    pub host: IpAddr,
    /// Its segment of the network, where these are apart: nothing for what has no tag.
    pub segment: Option<String>,
}

/// HostId rows, in which order.
#[derive(Clone, Debug)]
pub struct Query {
    /// Of what.
    pub kind: Kind,
    /// Of which host only.
    pub local: Option<Local>,
    /// Words and `column:value` pairs, all of which must hold: `*` stands for anything, `column:>5k` and `column:<5` compare, a network holds the
    /// addresses in it, a number is a port where there are ports, and `-` before any of them means that it must not hold.
    pub search: String,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Until this moment.
    pub to: Option<Timestamp>,
    /// The column to sort by; unknown ones sort by time.
    pub sort: String,
    /// Largest first.
    pub descending: bool,
    /// From 0.
    pub page: u64,
    /// Rows of a page.
    pub rows: u64,
}

impl Query {
    /// The first page of a kind, by time.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            local: None,
            search: String::new(),
            from: None,
            to: None,
            sort: "ts".into(),
            descending: false,
            page: 0,
            rows: 100,
        }
    }

    /// The condition and its values; what the search does not understand is told.
    fn condition(&self) -> Result<(String, Vec<Value>), String> {
        let (mut all, mut values): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
        if let Some(local) = &self.local {
            let any: Vec<String> = self.kind.hosts().iter().map(|c| format!("{c} = ?")).collect();
            values.extend(any.iter().map(|_| Value::Text(local.host.to_string())));
            all.push(format!("({})", any.join(" OR ")));
            if let Some(segment) = &local.segment {
                all.push("segment = ?".to_owned());
                values.push(Value::Text(segment.clone()));
            }
        }
        for (op, moment) in [(">=", self.from), ("<=", self.to)] {
            if let Some(t) = moment {
                all.push(format!("ts {op} ?"));
                values.push(Value::Integer(t.0));
            }
        }
        if self.search.len() > LONGEST_SEARCH || self.search.split_whitespace().count() > MOST_WORDS {
            return Err(format!("a search has at most {MOST_WORDS} words and {LONGEST_SEARCH} characters"));
        }
        for word in self.search.split_whitespace() {
            let (wanted, word) = match word.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => (false, rest),
                _ => (true, word),
            };
            let condition = self.kind.term(word, &mut values)?;
            all.push(if wanted { condition } else { format!("NOT IFNULL(({condition}), 0)") });
        }
        let condition = if all.is_empty() { "1".to_owned() } else { all.join(" AND ") };
        Ok((condition, values))
    }
}

impl Kind {
    /// The condition of one word of a search, whose values it adds; what it does not understand is told.
    fn term(self, word: &str, values: &mut Vec<Value>) -> Result<String, String> {
        let known = self.columns();
        let any = |conditions: Vec<String>| format!("({})", conditions.join(" OR "));
        match word.split_once(':') {
            Some((column, "")) if known.contains(&column) => {
                Err(format!("{column}: says no value; write {column}:VALUE"))
            }
            Some((column, value)) if known.contains(&column) => Self::holds(column, value, values),
            // Addresses have colons too, and only hexadecimal digits before them.
            Some((column, _))
                if column.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    && !column.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Err(format!("{column:?} is no column here; these are: {}", known.join(", ")))
            }
            _ if word.parse::<IpNet>().is_ok() => {
                let each = self.addresses().iter().map(|c| Self::holds(c, word, values));
                Ok(any(each.collect::<Result<_, _>>()?))
            }
            // A number is a port where there are ports.
            _ if !self.ports().is_empty() && word.parse::<u16>().is_ok() => {
                let each = self.ports().iter().map(|c| Self::holds(c, word, values));
                Ok(any(each.collect::<Result<_, _>>()?))
            }
            _ => {
                values.extend(self.texts().iter().map(|_| Value::Text(like(&format!("*{word}*")))));
                Ok(any(self.texts().iter().map(|c| format!("{c} LIKE ? ESCAPE '\\'")).collect()))
            }
        }
    }

    /// The condition that a column holds what is asked of it: a comparison, a network, a pattern or a value.
    fn holds(column: &str, value: &str, values: &mut Vec<Value>) -> Result<String, String> {
        if let Some((op, number)) = comparison(value).map_err(|why| format!("{column}:{value}: {why}"))? {
            values.push(Value::Real(number));
            return Ok(format!("{column} {op} ?"));
        }
        if value.parse::<IpNet>().is_ok() {
            values.push(Value::Text(value.to_owned()));
            return Ok(format!("{IN_NETWORK}({column}, ?)"));
        }
        if value.contains('*') {
            values.push(Value::Text(like(value)));
            return Ok(format!("{column} LIKE ? ESCAPE '\\'"));
        }
        // Numbers and texts compare by the column's own kind.
        values.push(Value::Text(value.to_owned()));
        Ok(format!("{column} = ?"))
    }
}

/// The function that says whether an address lies in a network.
const IN_NETWORK: &str = "in_network";

/// Teaches a database [`IN_NETWORK`]. What is no address lies in none.
fn teach_networks(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function(IN_NETWORK, 2, flags, |ctx| {
        let address = ctx.get_raw(0).as_str().ok().and_then(|a| a.parse::<IpAddr>().ok());
        let network = ctx
            .get_or_create_aux(1, |v| -> Result<IpNet, Box<dyn std::error::Error + Send + Sync>> {
                Ok(v.as_str()?.parse()?)
            })?;
        Ok(address.is_some_and(|a| network.contains(&a)))
    })
}

/// A comparison with a number, which may end in k, M or G (thousands, millions, thousands of millions); nothing for what is none.
fn comparison(value: &str) -> Result<Option<(&'static str, f64)>, String> {
    for (mark, op) in [(">=", ">="), ("<=", "<="), (">", ">"), ("<", "<")] {
        if let Some(number) = value.strip_prefix(mark) {
            let (digits, times) = match number.as_bytes().last() {
                Some(b'k' | b'K') => (&number[..number.len() - 1], 1e3),
                Some(b'M') => (&number[..number.len() - 1], 1e6),
                Some(b'G') => (&number[..number.len() - 1], 1e9),
                _ => (number, 1.0),
            };
            let parsed: f64 = digits.parse().map_err(|_| format!("{number:?} is no number"))?;
            return Ok(Some((op, parsed * times)));
        }
    }
    Ok(None)
}

/// `*` for anything, everything else as it stands.
fn like(pattern: &str) -> String {
    let mut out = String::new();
    for c in pattern.chars() {
        match c {
            '*' => out.push('%'),
            '%' | '_' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// From when to when, both within.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first moment.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
}

impl Span {
    /// All time.
    pub const ALL: Self = Self { from: Timestamp::MIN, to: Timestamp::MAX };
}

/// A cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Nothing.
    None,
    /// A count or a moment.
    Whole(i64),
    /// A measure.
    Number(f64),
    /// Text; what came from the wire is hostile.
    Text(String),
}

impl Cell {
    fn of(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(match row.get::<_, Value>(at)? {
            Value::Null | Value::Blob(_) => Self::None,
            Value::Integer(n) => Self::Whole(n),
            Value::Real(x) => Self::Number(x),
            Value::Text(t) => Self::Text(t),
        })
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The count, if it is one.
    pub const fn whole(&self) -> Option<i64> {
        match self {
            Self::Whole(n) => Some(*n),
            _ => None,
        }
    }
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The columns.
    pub columns: Vec<&'static str>,
    /// The rows, a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// Rows that fit the query, on all pages.
    pub total: u64,
}

/// Why rows cannot be given.
#[derive(Debug)]
pub enum FlowError {
    /// The search is not understood.
    Search(String),
    /// The file cannot be read.
    Store(rusqlite::Error),
}

impl std::fmt::Display for FlowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Search(e) => f.write_str(e),
            Self::Store(e) => write!(f, "the case's flows cannot be read: {e}"),
        }
    }
}

impl std::error::Error for FlowError {}

impl From<rusqlite::Error> for FlowError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Store(e)
    }
}

/// The flows of a case, to be asked.
pub struct Flows(Connection);

impl Flows {
    /// Opens the file, to read only.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.execute_batch("PRAGMA query_only = 1; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;")?;
        db.set_prepared_statement_cache_capacity(64);
        teach_networks(&db)?;
        let form: i64 = db.pragma_query_value(None, "user_version", |r| r.get(0))?;
        if form != FORM {
            let why =
                format!("of form {form}, and this version reads form {FORM}: read the capture again with -o");
            return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
        }
        // What is no database, or a part of one, is told now.
        for kind in [Kind::Flow, Kind::Dns, Kind::Web, Kind::Mail] {
            db.query_row(
                &format!("SELECT count(*) FROM (SELECT id FROM {} ORDER BY id DESC LIMIT 1)", kind.name()),
                [],
                |r| r.get::<_, i64>(0),
            )?;
        }
        Ok(Self(db))
    }

    /// A page of what is asked for.
    ///
    /// # Errors
    /// The search is not understood, or the file cannot be read.
    pub fn page(&self, q: &Query) -> Result<Page, FlowError> {
        self.rows(q, 1_000)
    }

    /// All rows of what is asked for, on whatever page, up to [`MOST_ROWS`].
    ///
    /// # Errors
    /// The search is not understood, or the file cannot be read.
    pub fn all(&self, q: &Query) -> Result<Page, FlowError> {
        self.rows(&Query { page: 0, rows: MOST_ROWS, ..q.clone() }, MOST_ROWS)
    }

    fn rows(&self, q: &Query, most: u64) -> Result<Page, FlowError> {
        let (condition, values) = q.condition().map_err(FlowError::Search)?;
        let columns = q.kind.columns();
        let sort = columns.iter().find(|c| **c == q.sort).copied().unwrap_or("ts");
        let order = if q.descending { "DESC" } else { "ASC" };
        let table = q.kind.name();
        let total: i64 = self
            .0
            .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE {condition}"))?
            .query_row(params_from_iter(values.iter()), |r| r.get(0))?;
        let text = format!(
            "SELECT {} FROM {table} WHERE {condition} ORDER BY {sort} {order}, id LIMIT {} OFFSET {}",
            columns.join(","),
            q.rows.min(most),
            q.rows.saturating_mul(q.page).min(i64::MAX as u64)
        );
        let rows = self
            .0
            .prepare_cached(&text)?
            .query_map(params_from_iter(values.iter()), |row| {
                (0..columns.len()).map(|i| Cell::of(row, i)).collect::<rusqlite::Result<Vec<_>>>()
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Page { columns: columns.to_vec(), rows, total: total as u64 })
    }

    /// One flow by its name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn flow(&self, name: &str) -> Result<Option<Vec<Cell>>, FlowError> {
        let columns = Kind::Flow.columns();
        let text = format!("SELECT {} FROM flow WHERE flow = ? ORDER BY id LIMIT 1", columns.join(","));
        let mut statement = self.0.prepare_cached(&text)?;
        let mut rows = statement.query([name])?;
        Ok(match rows.next()? {
            Some(row) => Some((0..columns.len()).map(|i| Cell::of(row, i)).collect::<rusqlite::Result<_>>()?),
            None => None,
        })
    }

    /// Moments (ns) and bytes from the originator of the flows from a host to `remote`, oldest first, at most 20,000.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn contacts(&self, local: &Local, remote: IpAddr, span: Span) -> Result<Vec<(i64, i64)>, FlowError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ts, orig_bytes FROM flow WHERE orig = ?1 AND resp = ?2 AND ts BETWEEN ?3 AND ?4 AND (?5 IS NULL OR segment = ?5) ORDER BY ts LIMIT 20000",
        )?;
        let rows = statement.query_map(
            params![local.host.to_string(), remote.to_string(), span.from.0, span.to.0, local.segment],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The remotes of a host: address, name, flows, bytes out and in, first and last moment; most flows first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn peers(&self, local: &Local, span: Span, most: u32) -> Result<Vec<Peer>, FlowError> {
        let mut statement = self.0.prepare_cached(
            "SELECT resp, max(name), count(*), sum(orig_bytes), sum(resp_bytes), min(ts), max(ts) FROM flow WHERE orig = ?1 AND ts BETWEEN ?2 AND ?3
             AND (?5 IS NULL OR segment = ?5) GROUP BY resp ORDER BY count(*) DESC, resp LIMIT ?4",
        )?;
        let rows = statement.query_map(
            params![local.host.to_string(), span.from.0, span.to.0, most, local.segment],
            |r| {
                Ok(Peer {
                    remote: r.get(0)?,
                    name: r.get(1)?,
                    flows: r.get(2)?,
                    out: r.get(3)?,
                    back: r.get(4)?,
                    first: r.get(5)?,
                    last: r.get(6)?,
                })
            },
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The hosts that exchanged flows with a remote, whoever began: most flows first; a host in each segment where these are `apart`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn partners(&self, remote: IpAddr, apart: bool, most: u32) -> Result<Vec<Partner>, FlowError> {
        let mut statement = self.0.prepare_cached(
            "SELECT host, CASE WHEN ?3 THEN segment ELSE '' END AS part, count(*), sum(begun), sum(out), sum(back), min(ts), max(ts) FROM (
               SELECT orig AS host, segment, 1 AS begun, orig_bytes AS out, resp_bytes AS back, ts FROM flow WHERE resp = ?1
               UNION ALL
               SELECT resp AS host, segment, 0 AS begun, resp_bytes AS out, orig_bytes AS back, ts FROM flow WHERE orig = ?1)
             GROUP BY host, part ORDER BY count(*) DESC, host, part LIMIT ?2",
        )?;
        let rows = statement.query_map(params![remote.to_string(), most, apart], |r| {
            Ok(Partner {
                host: r.get(0)?,
                segment: r.get(1)?,
                flows: r.get(2)?,
                begun: r.get(3)?,
                out: r.get(4)?,
                back: r.get(5)?,
                first: r.get(6)?,
                last: r.get(7)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The names by which a remote was known, most used first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn names_of(&self, remote: IpAddr) -> Result<Vec<String>, FlowError> {
        let mut statement = self.0.prepare_cached(
            "SELECT name FROM flow WHERE resp = ?1 AND name IS NOT NULL GROUP BY name ORDER BY count(*) DESC, name LIMIT 8",
        )?;
        let rows = statement.query_map(params![remote.to_string()], |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The ports that a host opened flows to.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ports(&self, local: &Local) -> Result<BTreeSet<i64>, FlowError> {
        let mut statement = self.0.prepare_cached(
            "SELECT DISTINCT resp_p FROM flow WHERE orig = ?1 AND (?2 IS NULL OR segment = ?2)",
        )?;
        let rows = statement.query_map(params![local.host.to_string(), local.segment], |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Mail of a host by minute: minute (ns), sessions, messages, refusals.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn mail_by_minute(&self, local: &Local, span: Span) -> Result<Vec<(i64, i64, i64, i64)>, FlowError> {
        let mut statement = self.0.prepare_cached(
            "SELECT ts / 60000000000 * 60000000000 AS m, count(*), sum(messages), sum(rejects) FROM mail WHERE host = ?1 AND ts BETWEEN ?2 AND ?3 AND (?4 IS NULL OR segment = ?4) GROUP BY m ORDER BY m",
        )?;
        let rows = statement
            .query_map(params![local.host.to_string(), span.from.0, span.to.0, local.segment], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
            })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// A host that exchanged flows with a remote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Partner {
    /// Its address.
    pub host: String,
    /// Its segment of the network; nothing for what had no tag.
    pub segment: String,
    /// Flows.
    pub flows: i64,
    /// Those of them that it began.
    pub begun: i64,
    /// Bytes that it sent.
    pub out: i64,
    /// Bytes that came to it.
    pub back: i64,
    /// First moment, ns.
    pub first: i64,
    /// Last first packet of a flow, ns.
    pub last: i64,
}

/// A remote of a host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    /// Its address.
    pub remote: String,
    /// A name that resolved to it.
    pub name: Option<String>,
    /// Flows.
    pub flows: i64,
    /// Bytes that the host sent.
    pub out: i64,
    /// Bytes that came back.
    pub back: i64,
    /// First moment, ns.
    pub first: i64,
    /// Last first packet of a flow, ns.
    pub last: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(search: &str) -> Result<(String, Vec<Value>), String> {
        Query { search: search.into(), ..Query::of(Kind::Flow) }.condition()
    }

    #[test]
    fn searches_become_conditions_with_values_apart() {
        let (text, values) = condition("service:http resp_bytes:>5000 name:*mail*").unwrap();
        assert_eq!(text, "service = ? AND resp_bytes > ? AND name LIKE ? ESCAPE '\\'");
        assert_eq!(values[2], Value::Text("%mail%".into()));
        let (text, values) = condition("10.0_%'; DROP TABLE flow").unwrap();
        assert!(
            !text.contains("DROP") && values[0] == Value::Text("%10.0\\_\\%';%".into()),
            "{text} {values:?}"
        );
        assert!(condition("nonsense:1").unwrap_err().contains("no column"));
        assert!(condition("fe80::1").is_ok(), "an address is no column");
    }
}
