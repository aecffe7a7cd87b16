//! Suricata's EVE: an object a line, of which several may tell of one flow.

use std::borrow::Cow;
use std::net::IpAddr;

use record::{
    Alert, BodyFacts, ConnState, Dhcp, Direction, Dns, DnsAnswer, FileInfo, FlowId, Head, History, Http,
    Magic, PacketId, Quic, Record, RequestHeaders, Service, Ssh, Timestamp, Tls, Transport, Tuple,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Mail;
use crate::exports::{ACK, FIN, RST, SYN};
use crate::values::{self, domain, name};
use crate::zeek::{certificate, owner, tls_version};

/// A row that was understood: its time, what kind it is, and what it tells.
pub type Row<T> = (Timestamp, Cow<'static, str>, T);

/// What of a line is read; the rest is passed over.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    flow_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "event_type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    src_ip: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "port")]
    src_port: u16,
    #[serde(borrow, default)]
    dest_ip: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "port")]
    dest_port: u16,
    #[serde(borrow, default)]
    proto: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    app_proto: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    direction: Option<Cow<'a, str>>,
    #[serde(default)]
    vlan: Option<Value>,
    #[serde(default)]
    ether: Option<Value>,
    #[serde(borrow, default)]
    flow: Option<Flow<'a>>,
    #[serde(borrow, default)]
    tcp: Option<Tcp<'a>>,
    #[serde(default)]
    dns: Option<Value>,
    #[serde(default)]
    http: Option<Value>,
    #[serde(default)]
    tls: Option<Value>,
    #[serde(default)]
    smtp: Option<Value>,
    #[serde(default)]
    ssh: Option<Value>,
    #[serde(default)]
    quic: Option<Value>,
    #[serde(default)]
    dhcp: Option<Value>,
    #[serde(default)]
    alert: Option<Value>,
    #[serde(default)]
    anomaly: Option<Value>,
    #[serde(borrow, default)]
    netflow: Option<NetFlow<'a>>,
    #[serde(default)]
    fileinfo: Option<Value>,
    /// Which of the flow's transactions it is about.
    #[serde(default)]
    tx_id: u64,
}

/// One way of a flow.
#[derive(Deserialize)]
struct NetFlow<'a> {
    #[serde(default)]
    pkts: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(borrow, default)]
    start: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    end: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Flow<'a> {
    #[serde(default)]
    pkts_toserver: u64,
    #[serde(default)]
    pkts_toclient: u64,
    #[serde(default)]
    bytes_toserver: u64,
    #[serde(default)]
    bytes_toclient: u64,
    #[serde(borrow, default)]
    start: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    end: Option<Cow<'a, str>>,
    /// Who began the flow, where the event itself is of a packet of the other side.
    #[serde(borrow, default)]
    src_ip: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Tcp<'a> {
    #[serde(default)]
    syn: bool,
    #[serde(default)]
    fin: bool,
    #[serde(default)]
    rst: bool,
    #[serde(default)]
    ack: bool,
    #[serde(borrow, default)]
    state: Option<Cow<'a, str>>,
}

/// A port as a number, as its text, or as nothing.
fn port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(whole(&value).and_then(|p| u16::try_from(p).ok()).unwrap_or(0))
}

/// A whole number as such, as its text, or with a fraction of nothing.
fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64);
    value.as_u64().or_else(float).or_else(|| value.as_str()?.parse().ok())
}

/// What a line tells.
pub enum Told {
    /// Records, each known when its head says.
    Records(Vec<Record>),
    /// A DNS question, to be joined with its answer: the sensor's name for the flow, the transaction.
    Asked(u64, Box<Dns>),
    /// The answer, or one of the lines that it has; whether further lines of it may follow.
    Answered(u64, Box<Dns>, bool),
    /// A flow as a whole, by the sensor's name for it: what was told of its ways is told with it.
    Whole(u64, Vec<Record>),
    /// One way of a flow, by the sensor's name for it.
    Way(u64, Box<Way>),
    /// A request, and what its bodies are called in other lines.
    Request(u64, Box<Http>),
    /// What a body is: what it is called, who sent it, and the line.
    Body(Option<(u64, IpAddr, Magic, PacketId)>, Option<Box<FileInfo>>),
    /// Something strange, by name.
    Strange(String),
    /// Nothing that is taken.
    Nothing,
}

/// One way of a flow: Suricata's `netflow` events tell each by itself, that of who began first.
pub struct Way {
    /// Of this way: who sends is the originator.
    head: Head,
    last: Timestamp,
    service: Service,
    packets: u64,
    frame_bytes: u64,
    /// Flags of TCP, of all its packets.
    flags: u8,
    /// When it was written.
    at: Timestamp,
    line: PacketId,
}

impl Way {
    /// The line that tells it.
    pub const fn line(&self) -> PacketId {
        self.line
    }

    /// When it was written.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether another is its way back.
    pub fn is_answered_by(&self, other: &Self) -> bool {
        let (a, b) = (self.head.tuple, other.head.tuple);
        a.orig == b.resp && a.resp == b.orig && a.transport == b.transport
    }

    /// The flow, with its way back if that was told.
    pub fn told(self, back: Option<Self>) -> Vec<Record> {
        let tcp = self.head.tuple.transport == Transport::Tcp;
        let ways = [Some(&self), back.as_ref()];
        let packets = ways.map(|w| w.map_or(0, |w| w.packets));
        let frame_bytes = ways.map(|w| w.map_or(0, |w| w.frame_bytes));
        let flags = ways.map(|w| w.map_or(0, |w| w.flags));
        let told_flags = flags != [0, 0];
        let started = !tcp || !told_flags || flags[0] & SYN != 0;
        let bytes = payloads(frame_bytes, packets, &self.head.tuple);
        let state = if tcp {
            crate::exports::state(flags, packets, started, told_flags)
        } else if packets[1] > 0 {
            ConnState::SF
        } else {
            ConnState::S0
        };
        let mut history = History::default();
        let letters = [
            (tcp && flags[0] & SYN != 0, b'S'),
            (tcp && flags[1] & SYN != 0, b'h'),
            (bytes[0] > 0, b'D'),
            (bytes[1] > 0, b'd'),
        ];
        letters.into_iter().filter(|(is, _)| *is).for_each(|(_, letter)| history.push(letter));
        let head =
            Head { ts: back.as_ref().map_or(self.head.ts, |b| b.head.ts.min(self.head.ts)), ..self.head };
        crate::Flow {
            head: Head { known: head.ts, ..head },
            last: back.as_ref().map_or(self.last, |b| b.last.max(self.last)),
            service: if tcp && bytes == [0, 0] { Service::Unknown } else { self.service },
            state,
            history,
            packets,
            bytes,
            frame_bytes,
            missed: 0,
            start_seen: started,
            first_speaker: None,
            mac: [None, None],
            rows: std::iter::once(self.line).chain(back.map(|b| b.line)).collect(),
        }
        .told()
    }
}

/// Bytes of an Ethernet header, which Suricata counts with a packet's.
const ETHERNET: u64 = 14;

/// Payload of each side. What is sent to who does not answer by TCP carries none.
fn payloads(frame_bytes: [u64; 2], packets: [u64; 2], tuple: &Tuple) -> [u64; 2] {
    if tuple.transport == Transport::Tcp && packets[1] == 0 {
        return [0, 0];
    }
    [0, 1].map(|i| {
        let octets = frame_bytes[i].saturating_sub(packets[i].saturating_mul(ETHERNET));
        crate::payload(octets, packets[i], tuple.orig.ip.is_ipv6(), tuple.transport)
    })
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(|t| crate::cut(t.to_owned())).filter(|t| !t.is_empty())
}

fn number(value: &Value, key: &str) -> Option<u64> {
    Some(whole(value.get(key)?)?.min(crate::MOST))
}

/// Takes a line: what kind it says it is, when that was, and what it tells.
///
/// # Errors
/// It cannot be read; why.
pub fn take(line: &[u8], number: PacketId) -> Result<Option<Row<Told>>, &'static str> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let event: Event<'_> = serde_json::from_slice(line).map_err(|_| "it is no event of Suricata's")?;
    // What a log of lines that came by a socket begins with tells of nothing.
    if event.kind == crate::OWN_EVENT {
        return Ok(None);
    }
    let ts = values::time(&event.timestamp).ok_or("no time")?;
    let told = event.told(ts, number)?;
    Ok(Some((ts, kind(event.kind), told)))
}

/// A kind of event, which is nearly always one of these.
fn kind(kind: Cow<'_, str>) -> Cow<'static, str> {
    const USUAL: [&str; 8] = ["flow", "dns", "tls", "http", "fileinfo", "alert", "quic", "netflow"];
    match USUAL.iter().find(|u| **u == kind) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(kind.into_owned()),
    }
}

impl Event<'_> {
    fn told(&self, ts: Timestamp, line: PacketId) -> Result<Told, &'static str> {
        let one = |record| Told::Records(vec![record]);
        Ok(match self.kind.as_ref() {
            "flow" => match self.named() {
                Some(name) => Told::Whole(name, self.conn(ts, line)?),
                None => Told::Records(self.conn(ts, line)?),
            },
            "netflow" => {
                let way = self.way(ts, line)?;
                // Without a name nothing says which belong together.
                match self.named() {
                    Some(name) => Told::Way(name, Box::new(way)),
                    None => Told::Records(way.told(None)),
                }
            }
            "fileinfo" => match (self.body(line), self.file(ts, line)) {
                (None, None) => Told::Nothing,
                (body, file) => Told::Body(body, file.map(Box::new)),
            },
            "dns" => self.dns(ts, line)?,
            "http" => {
                let http = Box::new(self.http(ts, line)?);
                match self.transaction() {
                    Some(called) => Told::Request(called, http),
                    None => one(Record::Http(http)),
                }
            }
            "tls" => {
                let tls = Record::Tls(Box::new(self.tls(ts, line)?));
                let from = self.tls.as_ref().and_then(|t| text(t, "from_proto"));
                if from.as_deref() != Some("smtp") {
                    return Ok(one(tls));
                }
                // Mail that goes on under TLS: the server took the client for one to deliver.
                let head = self.head(ts, line)?;
                let mail = Mail { tls: true, ..Mail::default() }.told(head, vec![line]);
                Told::Records(vec![tls, Record::Smtp(Box::new(mail))])
            }
            "smtp" => one(Record::Smtp(Box::new(self.smtp(ts, line)?))),
            "ssh" => {
                let ssh = self.ssh.as_ref().ok_or("no ssh in it")?;
                let of = |side: &str| {
                    let side = ssh.get(side)?;
                    let (version, software) = (text(side, "proto_version")?, text(side, "software_version")?);
                    Some(format!("SSH-{version}-{software}"))
                };
                let (client, server) = (of("client"), of("server"));
                one(Record::Ssh(Box::new(Ssh {
                    head: self.head(ts, line)?,
                    client,
                    server,
                    packets: vec![line],
                })))
            }
            "quic" => {
                let quic = self.quic.as_ref().ok_or("no quic in it")?;
                one(Record::Quic(Box::new(Quic {
                    head: self.head(ts, line)?,
                    version: 1,
                    sni: text(quic, "sni").map(|s| name(&s)),
                    alpn: None,
                    ja4: text(quic, "ja4"),
                    packets: vec![line],
                })))
            }
            "dhcp" => self.dhcp(ts, line).map_or(Told::Nothing, |d| one(Record::Dhcp(Box::new(d)))),
            // What this program wrote is no other sensor's word.
            "alert" if self.generator() == Some(u64::from(Alert::OWN_GENERATOR)) => Told::Nothing,
            "alert" => one(Record::Alert(Box::new(self.alert(ts, line)?))),
            "anomaly" => {
                let event = self.anomaly.as_ref().and_then(|a| text(a, "event"));
                Told::Strange(event.unwrap_or_default())
            }
            _ => Told::Nothing,
        })
    }

    /// The sensor's name for the flow.
    fn named(&self) -> Option<u64> {
        self.flow_id.map(|id| record::fnv1a(id.get().as_bytes()))
    }

    /// What a transaction of a flow is called.
    fn transaction(&self) -> Option<u64> {
        let flow = self.flow_id?.get();
        Some(record::fnv1a(format!("{flow} {}", self.tx_id).as_bytes()))
    }

    /// What the sensor took the flow for; of UDP that it names nothing, what its port says.
    fn service(&self, tuple: &Tuple) -> Service {
        let tcp = tuple.transport == Transport::Tcp;
        match self.app_proto.as_deref() {
            Some("failed") if tcp => Service::Unrecognised,
            Some("failed") | None if !tcp => values::usual(tuple.resp.port).unwrap_or_default(),
            Some(known) => values::service(known).unwrap_or_default(),
            // Suricata looks at what both sides say; where it gives no name it saw too little.
            None => Service::Unknown,
        }
    }

    fn way(&self, ts: Timestamp, line: PacketId) -> Result<Way, &'static str> {
        let way = self.netflow.as_ref().ok_or("no netflow in it")?;
        let at = |t: &Option<Cow<'_, str>>| t.as_deref().and_then(values::time);
        let start = at(&way.start).unwrap_or(ts);
        let head = Head { ts: start, known: start, ..self.head(start, line)? };
        let flags = self.tcp.as_ref().map_or(0, |tcp| {
            [(tcp.syn, SYN), (tcp.fin, FIN), (tcp.rst, RST), (tcp.ack, ACK)]
                .into_iter()
                .filter(|(is, _)| *is)
                .fold(0, |all, (_, flag)| all | flag)
        });
        Ok(Way {
            head,
            last: at(&way.end).unwrap_or(ts).max(start),
            service: self.service(&head.tuple),
            packets: way.pkts.min(crate::MOST),
            frame_bytes: way.bytes.min(crate::MOST),
            flags,
            at: ts,
            line,
        })
    }

    /// What a file of HTTP is, where the sensor has libmagic look at it.
    fn body(&self, line: PacketId) -> Option<(u64, IpAddr, Magic, PacketId)> {
        let magic = magic(&text(self.fileinfo.as_ref()?, "magic")?);
        let from = self.src_ip.as_ref()?.parse().ok()?;
        let is_http = self.app_proto.as_deref() == Some("http") || self.http.is_some();
        (is_http && magic != Magic::None).then_some((self.transaction()?, from, magic, line))
    }

    /// The file, if it is no part of a page and something is known of it: its hash, or its type.
    fn file(&self, ts: Timestamp, line: PacketId) -> Option<FileInfo> {
        let info = self.fileinfo.as_ref()?;
        let magic = text(info, "magic").map_or(Magic::None, |m| magic(&m));
        let sha256 = text(info, "sha256").and_then(|s| values::sha256(&s));
        // Without libmagic the server's word is all that there is.
        let declared = self.http.as_ref().and_then(|h| text(h, "http_content_type"));
        let page = declared.as_deref().is_some_and(FileInfo::is_of_page);
        if !magic.is_file() || (magic == Magic::None && (sha256.is_none() || page)) {
            return None;
        }
        let head = self.head(ts, line).ok()?;
        let sender: IpAddr = self.src_ip.as_ref()?.parse().ok()?;
        let whole = info.get("gaps").and_then(Value::as_bool) == Some(false)
            && text(info, "state").as_deref() == Some("CLOSED");
        let name = text(info, "filename").map(|n| n.rsplit('/').next().unwrap_or_default().to_owned());
        Some(FileInfo {
            head,
            from: if sender == head.tuple.orig.ip { Direction::Orig } else { Direction::Resp },
            carrier: self.service(&head.tuple),
            name: name.filter(|n| !n.is_empty()),
            declared,
            magic,
            len: number(info, "size").unwrap_or(0),
            whole,
            sha256,
            packets: vec![line],
        })
    }

    /// Who is who: an event may be of the server's packet, which then is its source.
    fn turned(&self) -> bool {
        let began = self.flow.as_ref().and_then(|f| f.src_ip.as_deref());
        match (began, self.direction.as_deref()) {
            (Some(began), _) => self.src_ip.as_deref() != Some(began),
            (None, Some("to_client")) => true,
            (None, Some(_)) => false,
            // Older versions say neither: who speaks from a service's port to another answers.
            (None, None) if self.kind == "alert" => self.src_port < 1024 && self.dest_port >= 1024,
            // A file's source is who sent it.
            (None, None) => self.kind == "fileinfo" && self.src_port < self.dest_port,
        }
    }

    fn tuple(&self) -> Result<Tuple, &'static str> {
        let end =
            |ip: &Option<Cow<'_, str>>, port| Some(record::Endpoint { ip: ip.as_ref()?.parse().ok()?, port });
        let orig = end(&self.src_ip, self.src_port).ok_or("no source")?;
        let resp = end(&self.dest_ip, self.dest_port).ok_or("no destination")?;
        let transport = self.proto.as_deref().and_then(values::transport).ok_or("no transport")?;
        let (orig, resp) = if self.turned() { (resp, orig) } else { (orig, resp) };
        Ok(Tuple { orig, resp, transport })
    }

    fn head(&self, ts: Timestamp, line: PacketId) -> Result<Head, &'static str> {
        let named = self.flow_id.map(|id| values::flow(id.get()));
        let flow = named.unwrap_or(FlowId { packet: line, layer: 0 });
        let vlan = self.vlan.as_ref().and_then(|v| whole(v.get(0).unwrap_or(v)));
        let segment = vlan.map(|v| record::Segment::Vlan(v as u16 & 0xfff));
        Ok(Head { ts, known: ts, site: 0, segment, flow, tuple: self.tuple()? })
    }

    fn conn(&self, ts: Timestamp, line: PacketId) -> Result<Vec<Record>, &'static str> {
        let flow = self.flow.as_ref().ok_or("no flow in it")?;
        let at = |t: &Option<Cow<'_, str>>| t.as_deref().and_then(values::time);
        let start = at(&flow.start).unwrap_or(ts);
        let last = at(&flow.end).unwrap_or(ts).max(start);
        let head = Head { ts: start, known: start, ..self.head(start, line)? };
        let tcp = head.tuple.transport == Transport::Tcp;
        let packets = [flow.pkts_toserver, flow.pkts_toclient].map(|n| n.min(crate::MOST));
        let frame_bytes = [flow.bytes_toserver, flow.bytes_toclient].map(|n| n.min(crate::MOST));
        let bytes = payloads(frame_bytes, packets, &head.tuple);
        let state = match &self.tcp {
            Some(tcp) if tcp_says_nothing(tcp) => ConnState::Oth,
            Some(tcp) => tcp_state(tcp, packets),
            None if packets[1] > 0 => ConnState::SF,
            None => ConnState::S0,
        };
        let service = match self.service(&head.tuple) {
            // Who said nothing could not be known for anything.
            Service::Unrecognised if bytes == [0, 0] => Service::Unknown,
            service => service,
        };
        let mut history = History::default();
        let mut letters = Vec::new();
        if tcp && self.tcp.as_ref().is_some_and(|t| t.syn) {
            letters.push(b'S');
            if packets[1] > 0 && state != ConnState::Rej {
                letters.push(b'h');
            }
        }
        letters.extend((bytes[0] > 0).then_some(b'D'));
        letters.extend((bytes[1] > 0).then_some(b'd'));
        for letter in letters {
            history.push(letter);
        }
        let mac = |key: &str| {
            let ether = self.ether.as_ref()?;
            values::mac(
                &text(ether, key)
                    .or_else(|| ether.get(format!("{key}s"))?.get(0)?.as_str().map(str::to_owned))?,
            )
        };
        Ok(crate::Flow {
            head,
            last,
            service,
            state,
            history,
            packets,
            bytes,
            frame_bytes,
            missed: 0,
            start_seen: !tcp || self.tcp.as_ref().is_none_or(|t| t.syn),
            first_speaker: None,
            mac: [mac("src_mac"), mac("dest_mac")],
            rows: std::iter::once(line).collect(),
        }
        .told())
    }

    /// Questions and answers of versions 1 to 3 of the format.
    fn dns(&self, ts: Timestamp, line: PacketId) -> Result<Told, &'static str> {
        let dns = self.dns.as_ref().ok_or("no dns in it")?;
        let asked = dns.get("queries").and_then(|q| q.get(0)).unwrap_or(dns);
        let Some(query) = text(asked, "rrname") else { return Ok(Told::Nothing) };
        let qtype = text(asked, "rrtype").map_or(0, |t| rrtype(&t));
        let is_answer = matches!(text(dns, "type").as_deref(), Some("answer" | "response"));
        let id = number(dns, "id").unwrap_or(0);
        let mut head = self.head(ts, line)?;
        if is_answer && head.tuple.orig.port == 53 && head.tuple.resp.port != 53 {
            // The answer's packet is the server's.
            std::mem::swap(&mut head.tuple.orig, &mut head.tuple.resp);
        }
        let one = |a: &Value| {
            let rtype = text(a, "rrtype").map_or(0, |t| rrtype(&t));
            let data = text(a, "rdata").unwrap_or_default();
            let addr = data.parse().ok();
            let ttl = number(a, "ttl").unwrap_or(0) as u32;
            DnsAnswer { rtype, ttl, addr, name: (addr.is_none() && !data.is_empty()).then(|| name(&data)) }
        };
        let listed = dns.get("answers").and_then(Value::as_array);
        let is_part = is_answer && listed.is_none() && dns.get("rdata").is_some();
        let answers: Vec<DnsAnswer> = match listed {
            Some(all) => all.iter().take(32).map(one).collect(),
            // Version 1 writes an answer a line.
            None if is_part => vec![one(dns)],
            None => grouped(dns),
        };
        let rcode = text(dns, "rcode").map(|r| crate::rcode(&r));
        let told = Box::new(Dns {
            head,
            id: id as u16,
            query: name(&query),
            qtype,
            rcode: rcode.filter(|_| is_answer),
            recursion_desired: dns.get("rd").and_then(Value::as_bool).unwrap_or(false),
            response_len: answers.iter().map(|a| a.name.as_ref().map_or(4, String::len) as u32 + 12).sum(),
            answers,
            rtt: None,
            packets: vec![line],
        });
        // Without a name of the flow its ends are one.
        let key = match self.flow_id {
            Some(flow) => format!("{flow} {id}"),
            None => format!("{} {} {id}", told.head.tuple.orig, told.head.tuple.resp),
        };
        let flow = record::fnv1a(key.as_bytes());
        Ok(if is_answer { Told::Answered(flow, told, is_part) } else { Told::Asked(flow, told) })
    }

    fn http(&self, ts: Timestamp, line: PacketId) -> Result<Http, &'static str> {
        let http = self.http.as_ref().ok_or("no http in it")?;
        let declared = text(http, "http_content_type")
            .map(|t| t.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let mut headers = RequestHeaders::untold();
        let listed = http.get("request_headers").and_then(Value::as_array);
        if let Some(listed) = listed {
            headers = RequestHeaders::default();
            for header in listed {
                if let Some(name) = text(header, "name") {
                    headers.note(name.to_ascii_lowercase().as_bytes());
                }
            }
            if text(http, "protocol").as_deref() == Some("HTTP/1.0") {
                headers.add(RequestHeaders::HTTP_1_0);
            }
        }
        let value = |wanted: &str| {
            let of = |h: &&Value| text(h, "name").is_some_and(|n| n.eq_ignore_ascii_case(wanted));
            listed?.iter().find(of).and_then(|h| text(h, "value"))
        };
        Ok(Http {
            head: self.head(ts, line)?,
            depth: 0,
            method: text(http, "http_method").unwrap_or_default().to_ascii_uppercase(),
            host: text(http, "hostname").map(|h| name(&h)),
            path: text(http, "url").unwrap_or_default().chars().take(1024).collect(),
            status: number(http, "status").map(|s| s as u16),
            user_agent: text(http, "http_user_agent"),
            referer: text(http, "http_refer"),
            cookie: value("cookie").is_some(),
            headers,
            location: text(http, "redirect"),
            request: BodyFacts {
                len: value("content-length").and_then(|l| l.parse().ok()).unwrap_or(0),
                declared: value("content-type").map(|t| t.to_ascii_lowercase()),
                ..BodyFacts::default()
            },
            response: BodyFacts {
                len: number(http, "length").unwrap_or(0),
                declared,
                ..BodyFacts::default()
            },
            packets: vec![line],
        })
    }

    fn tls(&self, ts: Timestamp, line: PacketId) -> Result<Tls, &'static str> {
        let tls = self.tls.as_ref().ok_or("no tls in it")?;
        let at = |key: &str| text(tls, key).and_then(|t| values::time(&t));
        let names = || {
            let all = tls.get("subjectaltname").and_then(Value::as_array)?;
            Some(all.iter().filter_map(Value::as_str).take(32).map(name).collect())
        };
        let shown = text(tls, "subject").zip(text(tls, "issuerdn")).map(|(subject, issuer)| {
            let valid = (at("notbefore").unwrap_or(ts), at("notafter").unwrap_or(ts));
            // Where its names are untold nobody knows that there are none.
            let names = names().unwrap_or_else(|| vec![name(&owner(&subject))]);
            Box::new(certificate(&subject, &issuer, valid, names))
        });
        let first = |key: &str| tls.get(key)?.get(0)?.as_str().map(str::to_owned);
        let ja4 = text(tls, "ja4").or_else(|| text(tls.get("ja4")?, "hash"));
        Ok(Tls {
            head: self.head(ts, line)?,
            version: text(tls, "version").map_or(0x0303, |v| tls_version(&v)),
            sni: text(tls, "sni").map(|s| name(&s)),
            alpn: first("client_alpns"),
            ja4,
            cipher: None,
            certificate: shown,
            packets: vec![line],
        })
    }

    fn smtp(&self, ts: Timestamp, line: PacketId) -> Result<record::Smtp, &'static str> {
        let smtp = self.smtp.as_ref().ok_or("no smtp in it")?;
        let to = smtp.get("rcpt_to").and_then(Value::as_array);
        let rcpt: Vec<String> =
            to.into_iter().flatten().filter_map(Value::as_str).take(16).filter_map(domain).collect();
        // Whether the server took it is not told.
        let mail = Mail { helo: text(smtp, "helo"), from: text(smtp, "mail_from"), rcpt, ..Mail::default() };
        Ok(mail.told(self.head(ts, line)?, vec![line]))
    }

    fn dhcp(&self, ts: Timestamp, line: PacketId) -> Option<Dhcp> {
        let dhcp = self.dhcp.as_ref()?;
        let kind = match text(dhcp, "dhcp_type")?.as_str() {
            "request" => 3,
            "ack" => 5,
            "inform" => 8,
            _ => return None,
        };
        let address = |key: &str| text(dhcp, key).and_then(|a| a.parse::<std::net::IpAddr>().ok());
        let given = |a: &std::net::IpAddr| !a.is_unspecified();
        let ip = ["assigned_ip", "requested_ip", "client_ip"].into_iter().filter_map(address).find(given);
        let head = self.head(ts, line).ok()?;
        Some(Dhcp {
            mac: values::mac(&text(dhcp, "client_mac")?)?,
            ip,
            host_name: text(dhcp, "hostname"),
            kind,
            server: (kind == 5).then_some(if head.tuple.orig.port == 67 {
                head.tuple.orig.ip
            } else {
                head.tuple.resp.ip
            }),
            resolvers: Vec::new(),
            lease: number(dhcp, "lease_time").map(|l| l as u32),
            vendor: text(dhcp, "vendor_class_identifier"),
            packets: vec![line],
            head,
        })
    }

    fn generator(&self) -> Option<u64> {
        number(self.alert.as_ref()?, "gid")
    }

    fn alert(&self, ts: Timestamp, line: PacketId) -> Result<Alert, &'static str> {
        let alert = self.alert.as_ref().ok_or("no alert in it")?;
        Ok(Alert {
            head: self.head(ts, line)?,
            sensor: Cow::Borrowed("suricata"),
            rule: number(alert, "signature_id"),
            signature: text(alert, "signature").unwrap_or_default(),
            category: text(alert, "category").unwrap_or_default(),
            severity: number(alert, "severity").unwrap_or(0) as u8,
            packets: vec![line],
        })
    }
}

/// What a body is, by libmagic's words for it (the descriptions of file 5.44's magic files).
fn magic(words: &str) -> Magic {
    const WORDS: [(&str, Magic); 29] = [
        ("PE32", Magic::Pe),
        ("MS-DOS executable", Magic::Pe),
        ("ELF ", Magic::Elf),
        ("Mach-O ", Magic::MachO),
        ("Zip archive", Magic::Zip),
        ("Java archive", Magic::Zip),
        ("Microsoft OOXML", Magic::Zip),
        ("gzip compressed", Magic::Gzip),
        ("RAR archive", Magic::Rar),
        ("7-zip archive", Magic::SevenZip),
        ("Microsoft Cabinet", Magic::Cab),
        ("PDF document", Magic::Pdf),
        ("Macromedia Flash", Magic::Flash),
        ("compiled Java class", Magic::JavaClass),
        ("HTML document", Magic::Markup),
        ("XML ", Magic::Markup),
        ("JSON ", Magic::Json),
        ("PNG image", Magic::Image),
        ("JPEG image", Magic::Image),
        ("GIF image", Magic::Image),
        ("Composite Document File", Magic::Ole),
        ("Rich Text Format", Magic::Rtf),
        ("MS Windows shortcut", Magic::Shortcut),
        ("XZ compressed", Magic::Packed),
        ("bzip2 compressed", Magic::Packed),
        ("Zstandard compressed", Magic::Packed),
        ("Debian binary package", Magic::Package),
        ("RPM ", Magic::Package),
        ("Squashfs filesystem", Magic::Firmware),
    ];
    let begins = |(word, _): &&(&str, Magic)| words.starts_with(word);
    match WORDS.iter().find(begins) {
        Some((_, magic)) => *magic,
        None if words.contains("script") && words.contains("text executable") => Magic::Script,
        None if words.contains(" text") => Magic::Text,
        None => Magic::None,
    }
}

/// Whether no flags were kept.
fn tcp_says_nothing(tcp: &Tcp<'_>) -> bool {
    tcp.state.is_none() && !tcp.syn
}

/// How a connection went, by Suricata's states and the flags that were seen.
fn tcp_state(tcp: &Tcp<'_>, packets: [u64; 2]) -> ConnState {
    match tcp.state.as_deref().unwrap_or_default() {
        _ if !tcp.syn => ConnState::Oth,
        _ if packets[1] == 0 => ConnState::S0,
        "syn_sent" if tcp.rst => ConnState::Rej,
        "closed" if tcp.rst && !tcp.fin && !tcp.ack => ConnState::Rej,
        // A refusal answers the first packet, and nothing else was said.
        "closed" if tcp.rst && !tcp.fin && packets[0] <= 3 && packets[1] <= packets[0] => ConnState::Rej,
        "closed" | "last_ack" | "time_wait" if tcp.rst && !tcp.fin => ConnState::RstO,
        "closed" | "last_ack" | "time_wait" | "fin_wait2" | "closing" => ConnState::SF,
        "fin_wait1" => ConnState::S2,
        "close_wait" => ConnState::S3,
        _ => ConnState::S1,
    }
}

/// The number of a record type.
fn rrtype(name: &str) -> u16 {
    match name.to_ascii_uppercase().as_str() {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "NULL" => 10,
        "PTR" => 12,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        "NAPTR" => 35,
        "DS" => 43,
        "DNSKEY" => 48,
        "SVCB" => 64,
        "HTTPS" => 65,
        "ANY" => 255,
        other => other.trim_start_matches("TYPE").parse().unwrap_or(0),
    }
}

/// Answers by type alone.
fn grouped(dns: &Value) -> Vec<DnsAnswer> {
    let Some(groups) = dns.get("grouped").and_then(Value::as_object) else { return Vec::new() };
    let each = groups.iter().flat_map(|(t, all)| {
        let rtype = rrtype(t);
        all.as_array().into_iter().flatten().filter_map(Value::as_str).map(move |data| {
            let addr = data.parse().ok();
            DnsAnswer { rtype, ttl: 0, addr, name: addr.is_none().then(|| name(data)) }
        })
    });
    each.take(32).collect()
}
