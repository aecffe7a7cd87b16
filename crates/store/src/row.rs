//! A record as a row: columns that people and programs ask by, and the record itself.

use std::net::IpAddr;

use record::{CommunityId, Direction, PacketId, Record, Timestamp, Tuple, bucket};
use serde::{Deserialize, Serialize};
use serde_arrow::schema::{SchemaLike, SerdeArrowSchema, TracingOptions};
use serde_bytes::ByteBuf;

/// The columns of every table. What a kind of record does not have is null, and takes no room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which kind of record: a partition, and no column of the files.
    pub kind: String,
    /// Which site saw it: a partition, and no column of the files.
    pub site: u16,
    /// The bucket of the host, 0–63.
    pub bucket: u8,
    /// The local end or proxy, or who began where none is.
    pub host: String,
    /// The other end.
    pub remote: String,
    /// Whether this row is the record's own; where both ends are local, or it went through a local proxy, there are more.
    pub is_primary: bool,
    /// When it became known, nanoseconds since 1970.
    pub known: i64,
    /// The order in which the run's analyst saw it.
    pub seq: u64,
    /// When what it tells of began.
    pub ts: i64,
    /// When the flow's last packet came.
    pub last: Option<i64>,
    /// VLAN or overlay.
    pub segment: Option<String>,
    /// The flow's name in this store.
    pub uid: String,
    pub community_id: String,
    pub proto: String,
    pub orig_h: String,
    pub orig_p: u16,
    pub resp_h: String,
    pub resp_p: u16,
    /// What the flow carries, by content.
    pub service: Option<String>,
    /// Zeek's word for how it went.
    pub conn_state: Option<String>,
    pub history: Option<String>,
    pub orig_pkts: Option<u64>,
    pub resp_pkts: Option<u64>,
    pub orig_bytes: Option<u64>,
    pub resp_bytes: Option<u64>,
    /// What was asked for by name: a DNS question, a Host header, a server's name in TLS, a HELO, a DHCP name.
    pub name: Option<String>,
    pub qtype: Option<u16>,
    pub rcode: Option<u16>,
    /// Addresses and names of an answer, with spaces between.
    pub answers: Option<String>,
    pub method: Option<String>,
    /// Path and query of a request.
    pub uri: Option<String>,
    pub status: Option<u16>,
    pub user_agent: Option<String>,
    pub ja4: Option<String>,
    /// SHA-256 of the server's certificate, or of a file.
    pub certificate: Option<String>,
    /// The rest in words: an alert's signature, a line of IRC, banners, domains of mail.
    pub info: Option<String>,
    /// The packets or lines that prove it.
    pub proof: String,
    /// The record itself: postcard, of the store's form.
    pub record: ByteBuf,
}

/// The columns, as Arrow has them.
pub fn schema() -> SerdeArrowSchema {
    let time = |name: &str, nullable: bool| {
        serde_json::json!({
            "name": name, "data_type": "Timestamp(Nanosecond, Some(\"UTC\"))", "nullable": nullable,
        })
    };
    let options = TracingOptions::default();
    let overwritten = [("known", false), ("ts", false), ("last", true)]
        .into_iter()
        .try_fold(options, |options, (name, nullable)| options.overwrite(name, time(name, nullable)));
    // It depends on the type alone, which the tests trace.
    overwritten.and_then(SerdeArrowSchema::from_type::<Row>).unwrap_or_else(|e| unreachable!("{e}"))
}

/// What a table is called.
const fn kind(record: &Record) -> &'static str {
    match record {
        Record::Conn(_) => "conn",
        Record::Dns(_) => "dns",
        Record::Smtp(_) => "smtp",
        Record::Http(_) => "http",
        Record::Tls(_) => "tls",
        Record::Quic(_) => "quic",
        Record::Irc(_) => "irc",
        Record::Ssh(_) => "ssh",
        Record::Dhcp(_) => "dhcp",
        Record::Frame(_) => "frame",
        Record::Relay(_) => "relay",
        Record::Alert(_) => "alert",
        Record::Export(_) => "export",
        Record::Smb(_) => "smb",
        Record::DceRpc(_) => "dce_rpc",
        Record::SelfReport(_) => "self_report",
        Record::File(_) => "file",
        Record::Framing(_) => "framing",
        Record::Naming(_) => "naming",
    }
}

fn proof(packets: &[PacketId]) -> String {
    packets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> Option<String> {
    let all: Vec<String> = all.into_iter().map(|t| t.to_string()).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

impl Row {
    /// Adds the record's rows: one for each of its [ends](Record::ends).
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn add(
        record: &Record,
        seq: u64,
        is_local: impl Fn(IpAddr) -> bool,
        rows: &mut Vec<Self>,
    ) -> Result<(), postcard::Error> {
        let row = Self::told(record, seq)?;
        let mut primary = true;
        for host in record.ends(is_local).all() {
            rows.push(row.clone().standing(host, record.tuple(), primary));
            primary = false;
        }
        Ok(())
    }

    /// A row as it was added before: of the end that is called so.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn again(record: &Record, seq: u64, host: &str, is_primary: bool) -> Result<Self, postcard::Error> {
        let row = Self::told(record, seq)?;
        let host = host.parse().unwrap_or(record.tuple().orig.ip);
        Ok(row.standing(host, record.tuple(), is_primary))
    }

    /// The row of an end; the other one is who answered, or who began.
    fn standing(mut self, host: IpAddr, tuple: &Tuple, is_primary: bool) -> Self {
        let remote = if host == tuple.orig.ip { tuple.resp.ip } else { tuple.orig.ip };
        (self.host, self.remote) = (host.to_string(), remote.to_string());
        self.bucket = bucket(host) as u8;
        self.is_primary = is_primary;
        self
    }

    fn told(record: &Record, seq: u64) -> Result<Self, postcard::Error> {
        let head = record.head();
        let tuple = head.tuple;
        let mut row = Self {
            kind: kind(record).to_owned(),
            site: head.site,
            bucket: 0,
            host: String::new(),
            remote: String::new(),
            is_primary: true,
            known: head.known.0,
            seq,
            ts: head.ts.0,
            last: None,
            segment: head.segment.map(|s| s.to_string()),
            uid: head.flow.to_string(),
            community_id: CommunityId::of(&tuple).to_string(),
            proto: tuple.transport.to_string(),
            orig_h: tuple.orig.ip.to_string(),
            orig_p: tuple.orig.port,
            resp_h: tuple.resp.ip.to_string(),
            resp_p: tuple.resp.port,
            service: None,
            conn_state: None,
            history: None,
            orig_pkts: None,
            resp_pkts: None,
            orig_bytes: None,
            resp_bytes: None,
            name: None,
            qtype: None,
            rcode: None,
            answers: None,
            method: None,
            uri: None,
            status: None,
            user_agent: None,
            ja4: None,
            certificate: None,
            info: None,
            proof: String::new(),
            record: ByteBuf::from(postcard::to_stdvec(record)?),
        };
        row.fill(record);
        Ok(row)
    }

    fn fill(&mut self, record: &Record) {
        match record {
            Record::Conn(c) => {
                self.last = Some(c.last.0);
                self.service = Some(c.service.name().to_owned());
                self.conn_state = Some(c.state.name().to_owned());
                self.history = Some(c.history.to_string());
                [self.orig_pkts, self.resp_pkts] = c.packets.map(Some);
                [self.orig_bytes, self.resp_bytes] = c.bytes.map(Some);
                self.info = Some(format!("{:?}", c.phase).to_lowercase());
                self.proof = proof(&c.key_packets);
            }
            Record::Dns(d) => {
                self.name = Some(d.query.clone());
                self.qtype = Some(d.qtype);
                self.rcode = d.rcode.map(u16::from);
                let of = |a: &record::DnsAnswer| a.addr.map(|ip| ip.to_string()).or_else(|| a.name.clone());
                self.answers = words(d.answers.iter().filter_map(of));
                self.proof = proof(&d.packets);
            }
            Record::Smtp(s) => {
                self.name.clone_from(&s.helo);
                self.status = s.last_code;
                self.info = words(s.sender_domains.iter().chain(&s.recipient_domains));
                self.proof = proof(&s.packets);
            }
            Record::Http(h) => {
                self.name.clone_from(&h.host);
                self.method = Some(h.method.clone());
                self.uri = Some(h.path.clone());
                self.status = h.status;
                self.user_agent.clone_from(&h.user_agent);
                self.info.clone_from(&h.referer);
                self.proof = proof(&h.packets);
            }
            Record::Tls(t) => {
                self.name.clone_from(&t.sni);
                self.ja4.clone_from(&t.ja4);
                self.certificate = t.certificate.as_ref().filter(|c| !c.der.is_empty()).map(|c| c.sha256());
                self.info = t.certificate.as_ref().map(|c| c.subject.clone());
                self.proof = proof(&t.packets);
            }
            Record::Quic(q) => {
                self.name.clone_from(&q.sni);
                self.ja4.clone_from(&q.ja4);
                self.proof = proof(&q.packets);
            }
            Record::Irc(i) => {
                self.method = Some(i.command.clone());
                self.info = Some(i.params.clone());
                self.proof = proof(&i.packets);
            }
            Record::Ssh(s) => {
                self.info = words(s.client.iter().chain(&s.server));
                self.proof = proof(&s.packets);
            }
            Record::Dhcp(d) => {
                self.name.clone_from(&d.host_name);
                self.answers = d.ip.map(|ip| ip.to_string());
                self.info = Some(d.mac.to_string());
                self.proof = proof(&d.packets);
            }
            Record::Frame(f) => {
                self.info = Some(if f.from == Direction::Orig { "orig" } else { "resp" }.to_owned());
                self.proof = proof(&f.packets);
            }
            Record::Relay(r) => {
                self.name.clone_from(&r.name);
                self.answers = Some(r.destination.to_string());
                self.proof = proof(&r.packets);
            }
            Record::Alert(a) => {
                self.info = Some(a.signature.clone());
                self.proof = proof(&a.packets);
            }
            Record::Export(e) => self.proof = proof(&e.packets),
            Record::Smb(s) => {
                self.method = Some(s.act.name().to_owned());
                self.name.clone_from(&s.share);
                self.uri.clone_from(&s.name);
                self.info.clone_from(&s.user);
                self.proof = proof(&s.packets);
            }
            Record::DceRpc(r) => {
                let operation = r.operation_name().map_or_else(|| r.operation.to_string(), str::to_owned);
                self.method = Some(operation);
                let uuid = || r.interface.map(|i| i.to_string());
                self.name = r.interface_name().map(str::to_owned).or_else(uuid);
                self.uri.clone_from(&r.pipe);
                self.info.clone_from(&r.user);
                self.proof = proof(&r.packets);
            }
            Record::SelfReport(r) => {
                self.info = Some(r.text.clone());
                self.proof = proof(&r.packets);
            }
            Record::Framing(f) => self.proof = proof(&f.packets),
            Record::Naming(n) => {
                self.name = Some(n.name.clone());
                self.service = Some(n.within.name().to_owned());
                self.proof = proof(&n.packets);
            }
            Record::File(f) => {
                self.service = Some(f.carrier.name().to_owned());
                self.uri.clone_from(&f.name);
                self.method = Some(f.magic.name().to_owned());
                *(if f.from == Direction::Orig { &mut self.orig_bytes } else { &mut self.resp_bytes }) =
                    Some(f.len);
                self.certificate = f.sha256();
                self.proof = proof(&f.packets);
            }
        }
    }
}

/// The highest number of an input that packets or lines, as the column `proof` has them, are of.
pub fn last_input(proof: &str) -> u32 {
    proof.split(' ').filter_map(PacketId::parse).map(PacketId::file).max().unwrap_or(0)
}

/// The day of a moment (nanoseconds), in days since 1970.
pub const fn day(known: i64) -> i64 {
    known.div_euclid(DAY)
}

/// A day in nanoseconds.
pub const DAY: i64 = 86_400_000_000_000;

/// A day as partitions have it.
pub fn day_name(day: i64) -> String {
    let mut text = Timestamp(day.saturating_mul(DAY)).to_string();
    text.truncate("2008-04-08".len());
    text
}
