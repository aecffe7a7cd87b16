//! What records and evidence are in each log. What no record tells (a set of flags, the names of files) is unset.

use record::{
    Certificate, Conn, Direction, Dns, FileInfo, FlowId, Head, Http, Magic, RequestHeaders, Service, Smtp,
    Tls, Transport, Tuple, fnv1a,
};
use verdict::HostStory;

use super::super::Event;
use super::log::Value;

/// Names and types of columns.
pub(super) type Columns = [(&'static str, &'static str)];

macro_rules! columns {
    ($name:ident: $($rest:literal $kind:literal)*) => {
        pub(super) const $name: [(&str, &str); count!($($rest)*) + 6] = [
            ("ts", "time"),
            ("uid", "string"),
            ("id.orig_h", "addr"),
            ("id.orig_p", "port"),
            ("id.resp_h", "addr"),
            ("id.resp_p", "port"),
            $(($rest, $kind),)*
        ];
    };
}

macro_rules! count {
    ($($one:literal)*) => { [$($one),*].len() };
}

columns! { CONN:
    "proto" "enum" "service" "string" "duration" "interval" "orig_bytes" "count" "resp_bytes" "count" "conn_state" "string"
    "local_orig" "bool" "local_resp" "bool" "missed_bytes" "count" "history" "string" "orig_pkts" "count" "orig_ip_bytes" "count"
    "resp_pkts" "count" "resp_ip_bytes" "count" "tunnel_parents" "set[string]" "orig_l2_addr" "string" "resp_l2_addr" "string"
    "community_id" "string"
}

columns! { DNS:
    "proto" "enum" "trans_id" "count" "rtt" "interval" "query" "string" "qclass" "count" "qclass_name" "string" "qtype" "count"
    "qtype_name" "string" "rcode" "count" "rcode_name" "string" "AA" "bool" "TC" "bool" "RD" "bool" "RA" "bool" "Z" "count"
    "answers" "vector[string]" "TTLs" "vector[interval]" "rejected" "bool"
}

columns! { HTTP:
    "trans_depth" "count" "method" "string" "host" "string" "uri" "string" "referrer" "string" "version" "string" "user_agent" "string"
    "origin" "string" "request_body_len" "count" "response_body_len" "count" "status_code" "count" "status_msg" "string"
    "info_code" "count" "info_msg" "string" "tags" "set[enum]" "username" "string" "password" "string" "proxied" "set[string]"
    "orig_fuids" "vector[string]" "orig_filenames" "vector[string]" "orig_mime_types" "vector[string]" "resp_fuids" "vector[string]"
    "resp_filenames" "vector[string]" "resp_mime_types" "vector[string]"
}

columns! { SSL:
    "version" "string" "cipher" "string" "curve" "string" "server_name" "string" "resumed" "bool" "last_alert" "string"
    "next_protocol" "string" "established" "bool" "subject" "string" "issuer" "string" "ja4" "string"
}

columns! { SMTP:
    "trans_depth" "count" "helo" "string" "mailfrom" "string" "rcptto" "set[string]" "date" "string" "from" "string" "to" "set[string]"
    "cc" "set[string]" "reply_to" "string" "msg_id" "string" "in_reply_to" "string" "subject" "string" "x_originating_ip" "addr"
    "first_received" "string" "second_received" "string" "last_reply" "string" "path" "vector[addr]" "user_agent" "string" "tls" "bool"
    "fuids" "vector[string]"
}

/// The one log whose second column is not its connection's name.
pub(super) const FILES: [(&str, &str); 27] = [
    ("ts", "time"),
    ("fuid", "string"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("source", "string"),
    ("depth", "count"),
    ("analyzers", "set[string]"),
    ("mime_type", "string"),
    ("filename", "string"),
    ("duration", "interval"),
    ("local_orig", "bool"),
    ("is_orig", "bool"),
    ("seen_bytes", "count"),
    ("total_bytes", "count"),
    ("missing_bytes", "count"),
    ("overflow_bytes", "count"),
    ("timedout", "bool"),
    ("parent_fuid", "string"),
    ("md5", "string"),
    ("sha1", "string"),
    ("sha256", "string"),
    ("extracted", "string"),
    ("extracted_cutoff", "bool"),
    ("extracted_size", "count"),
];

columns! { NOTICE:
    "fuid" "string" "file_mime_type" "string" "file_desc" "string" "proto" "enum" "note" "enum" "msg" "string" "sub" "string"
    "src" "addr" "dst" "addr" "p" "port" "n" "count" "peer_descr" "string" "actions" "set[enum]" "email_dest" "set[string]"
    "suppress_for" "interval" "remote_location.country_code" "string" "remote_location.region" "string" "remote_location.city" "string"
    "remote_location.latitude" "double" "remote_location.longitude" "double"
}

/// Our own log: a row for each host.
pub(super) const HOSTS: [(&str, &str); 8] = [
    ("ts", "time"),
    ("host", "addr"),
    ("segment", "string"),
    ("host_names", "vector[string]"),
    ("verdict", "string"),
    ("level_db", "double"),
    ("flows", "count"),
    ("findings", "vector[string]"),
];

use Value::{List, Plain, Text, Unset};

/// Zeek's kind of name for a flow: C and a number of the base 62, here of a hash of ours.
fn uid(flow: FlowId) -> String {
    base62('C', &flow.to_string())
}

/// A letter for what it is, and a number of the base 62 by its name.
fn base62(letter: char, name: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let half = |salt: &str| u128::from(fnv1a(format!("{salt}{name}").as_bytes()));
    let mut number = (half("uid") << 64) | half("flow");
    let mut text = letter.to_string();
    for _ in 0..17 {
        text.push(char::from(DIGITS[(number % 62) as usize]));
        number /= 62;
    }
    text
}

/// The columns that each log begins with.
fn begin(head: &Head, ends: &Tuple) -> Vec<Value> {
    let plain = |t: String| Plain(t);
    vec![
        Value::time(head.ts),
        plain(uid(head.flow)),
        plain(ends.orig.ip.to_string()),
        plain(ends.orig.port.to_string()),
        plain(ends.resp.ip.to_string()),
        plain(ends.resp.port.to_string()),
    ]
}

/// What Zeek calls the three protocols whose connections it logs.
const fn proto(transport: Transport) -> Option<&'static str> {
    match transport {
        Transport::Tcp => Some("tcp"),
        Transport::Udp => Some("udp"),
        Transport::Icmp | Transport::Icmp6 => Some("icmp"),
        Transport::Sctp | Transport::Other(_) => None,
    }
}

fn word(word: &str) -> Value {
    Plain(word.to_owned())
}

/// A flow; none of a protocol that Zeek has no connections of.
pub(super) fn conn(c: &Conn) -> Option<Vec<Value>> {
    let ends = c.wire_tuple();
    let proto = proto(ends.transport)?;
    let known = !matches!(c.service, Service::Unknown | Service::Opaque | Service::Unrecognised);
    let count = |n: u64| Plain(n.to_string());
    let mut row = begin(&c.head, &ends);
    row.extend([
        word(proto),
        if known { word(c.service.name()) } else { Unset },
        Value::interval(Some(c.duration())),
        count(c.bytes[0]),
        count(c.bytes[1]),
        word(c.state.name()),
        Unset,
        Unset,
        count(c.missed_bytes[0].saturating_add(c.missed_bytes[1])),
        if c.history.as_str().is_empty() { Unset } else { word(c.history.as_str()) },
        count(c.packets[0]),
        // Frames were counted with what is around their IP headers.
        Unset,
        count(c.packets[1]),
        Unset,
        Unset,
        Value::plain(c.mac[0]),
        Value::plain(c.mac[1]),
        word(&record::CommunityId::of(&ends).to_string()),
    ]);
    Some(row)
}

/// What Zeek calls a type of DNS (`base/protocols/dns/consts.zeek`), the usual ones.
fn qtype(number: u16) -> String {
    let known = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        46 => "RRSIG",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "*",
        other => return format!("query-{other}"),
    };
    known.to_owned()
}

fn rcode(number: u8) -> String {
    const NAMES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
        "NOTAUTH", "NOTZONE",
    ];
    NAMES.get(usize::from(number)).map_or_else(|| format!("rcode-{number}"), |n| (*n).to_owned())
}

pub(super) fn dns(d: &Dns, ends: &Tuple) -> Vec<Value> {
    let answer = |a: &record::DnsAnswer| match (a.addr, &a.name) {
        (Some(ip), _) => ip.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => format!("<unknown type={}>", a.rtype),
    };
    let (mut answers, mut ttls) = (Unset, Unset);
    if !d.answers.is_empty() {
        answers = List(d.answers.iter().map(answer).collect());
        ttls = List(d.answers.iter().map(|a| format!("{}.000000", a.ttl)).collect());
    }
    let mut row = begin(&d.head, ends);
    row.extend([
        Value::plain(proto(ends.transport)),
        Plain(d.id.to_string()),
        Value::interval(d.rtt),
        Text(d.query.clone()),
        Unset,
        Unset,
        Plain(d.qtype.to_string()),
        Plain(qtype(d.qtype)),
        Value::plain(d.rcode),
        Value::plain(d.rcode.map(rcode)),
        Unset,
        Unset,
        Value::flag(d.recursion_desired),
        Unset,
        Unset,
        answers,
        ttls,
        Value::flag(d.rcode == Some(5)),
    ]);
    row
}

/// The type that Zeek finds in such a body; none where it would look further than at its first bytes.
const fn mime(magic: Magic) -> Option<&'static str> {
    Some(match magic {
        Magic::Pe => "application/x-dosexec",
        Magic::Elf => "application/x-executable",
        Magic::MachO => "application/x-mach-o-executable",
        Magic::Zip => "application/zip",
        Magic::Gzip => "application/x-gzip",
        Magic::Rar => "application/x-rar",
        Magic::SevenZip => "application/x-7z-compressed",
        Magic::Cab => "application/vnd.ms-cab-compressed",
        Magic::Ole => "application/msword",
        Magic::Pdf => "application/pdf",
        Magic::Markup => "text/html",
        Magic::Json => "text/json",
        Magic::Script => "text/x-shellscript",
        Magic::JavaClass => "application/x-java-applet",
        Magic::Flash => "application/x-shockwave-flash",
        Magic::Rtf => "text/rtf",
        Magic::Shortcut => "application/x-ms-shortcut",
        Magic::Text | Magic::WindowsScript | Magic::CodedForm | Magic::Readings => "text/plain",
        Magic::Image
        | Magic::Media
        | Magic::SealedPe
        | Magic::Packed
        | Magic::Package
        | Magic::Firmware
        | Magic::None => return None,
    })
}

pub(super) fn http(h: &Http, ends: &Tuple) -> Vec<Value> {
    let types = |magic| mime(magic).map_or(Unset, |m| List(vec![m.to_owned()]));
    let version = if h.headers.has(RequestHeaders::HTTP_1_0) { "1.0" } else { "1.1" };
    let mut row = begin(&h.head, ends);
    row.extend([
        Plain((u64::from(h.depth) + 1).to_string()),
        Text(h.method.clone()),
        Value::text(h.host.as_deref()),
        Text(h.path.clone()),
        Value::text(h.referer.as_deref()),
        if h.headers.are_known() { word(version) } else { Unset },
        Value::text(h.user_agent.as_deref()),
        Unset,
        Plain(h.request.len.to_string()),
        Plain(h.response.len.to_string()),
        Value::plain(h.status),
    ]);
    row.extend(std::iter::repeat_with(|| Unset).take(3));
    row.push(List(Vec::new()));
    row.extend(std::iter::repeat_with(|| Unset).take(5));
    row.push(types(h.request.magic));
    row.extend([Unset, Unset]);
    row.push(types(h.response.magic));
    row
}

/// A file. Bytes that are missing are counted with those that were seen, since it is not kept which they were.
pub(super) fn file(f: &FileInfo, ends: &Tuple) -> Vec<Value> {
    let name = format!(
        "{} {} {:?} {:?} {} {:?}",
        f.head.flow,
        f.head.ts,
        f.packets.first(),
        f.name,
        f.len,
        f.sha256
    );
    let mut row = begin(&f.head, ends);
    row.insert(1, Plain(base62('F', &name)));
    let analyzers = if f.sha256.is_some() { vec!["SHA256".to_owned()] } else { Vec::new() };
    row.extend([
        if f.carrier.is_recognised() { Plain(f.carrier.name().to_ascii_uppercase()) } else { Unset },
        Plain("0".to_owned()),
        List(analyzers),
        Value::plain(mime(f.magic)),
        Value::text(f.name.as_deref()),
        Unset,
        Unset,
        Value::flag(f.from == Direction::Orig),
        Plain(f.len.to_string()),
        Value::plain(f.whole.then_some(f.len)),
        Value::plain(f.whole.then_some(0)),
        Plain("0".to_owned()),
        Value::flag(false),
        Unset,
        Unset,
        Unset,
        Value::plain(f.sha256()),
        Unset,
        Unset,
        Unset,
    ]);
    row
}

fn tls_version(number: u16) -> String {
    match number {
        0x0002 => "SSLv2".to_owned(),
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv10".to_owned(),
        0x0302 => "TLSv11".to_owned(),
        0x0303 => "TLSv12".to_owned(),
        0x0304 => "TLSv13".to_owned(),
        other => format!("unknown-{other}"),
    }
}

/// A distinguished name (RFC 4514) of the one name that is kept of it.
fn distinguished(name: &str) -> String {
    format!("CN={}", name.replace(',', "\\,"))
}

pub(super) fn ssl(t: &Tls, ends: &Tuple) -> Vec<Value> {
    let certificate = t.certificate.as_deref();
    let named = |of: fn(&Certificate) -> &String| certificate.map_or(Unset, |c| Text(distinguished(of(c))));
    let mut row = begin(&t.head, ends);
    row.extend([
        Plain(tls_version(t.version)),
        Value::plain(t.cipher.map(|c| format!("unknown-{c}"))),
        Unset,
        Value::text(t.sni.as_deref()),
        Unset,
        Unset,
        Value::text(t.alpn.as_deref()),
        Unset,
        named(|c| &c.subject),
        named(|c| &c.issuer),
        Value::text(t.ja4.as_deref()),
    ]);
    row
}

/// A session is one row: which of its messages went to whom is not kept.
pub(super) fn smtp(s: &Smtp, ends: &Tuple) -> Vec<Value> {
    // Of addresses their domains alone are kept.
    let address = |domain: &String| format!("@{domain}");
    let to: Vec<String> = s.recipient_domains.iter().map(address).collect();
    let mut row = begin(&s.head, ends);
    row.extend([
        Plain("1".to_owned()),
        Value::text(s.helo.as_deref()),
        s.sender_domains.first().map_or(Unset, |d| Text(address(d))),
        if to.is_empty() { Unset } else { List(to) },
    ]);
    row.extend(std::iter::repeat_with(|| Unset).take(11));
    // Zeek writes a message down at the reply that took it, and not when the session ends.
    let last = if s.accepted_count > 0 { Some(250) } else { s.last_code };
    row.extend([Value::plain(last), Unset, Unset, Value::flag(s.starttls_used), Unset]);
    row
}

/// `Hydrophone::Same_Remote_Chain`, as scripts call their notices.
fn note(behaviour: &str) -> String {
    let capital = |w: &str| match w.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    };
    format!("Hydrophone::{}", behaviour.split('_').map(capital).collect::<Vec<_>>().join("_"))
}

pub(super) fn notice(event: &Event<'_>) -> Vec<Value> {
    let (e, own) = (event.evidence, event.own());
    let (_, _, dst, port) = event.ends();
    let mut row = vec![Value::time(e.ts)];
    match event.flow {
        Some((flow, ended)) => {
            let (a, b) = (ended.tuple.orig, ended.tuple.resp);
            row.push(Plain(uid(flow)));
            row.extend([
                Plain(a.ip.to_string()),
                Plain(a.port.to_string()),
                Plain(b.ip.to_string()),
                Plain(b.port.to_string()),
            ]);
        }
        None => row.extend(std::iter::repeat_with(|| Unset).take(5)),
    }
    row.extend([Unset, Unset, Unset]);
    row.extend([
        Value::plain(event.transport().and_then(proto)),
        Text(note(&own.behaviour)),
        Text(own.sentence.clone()),
        Text(format!("{} {:+.1} dB, {} {:+.1} dB", own.verdict, own.level_db, own.stage, own.db)),
        Plain(e.host.to_string()),
        Value::plain(dst),
        Value::plain(port),
        Unset,
        Unset,
        List(vec!["Notice::ACTION_LOG".to_owned()]),
        List(Vec::new()),
        Plain("0.000000".to_owned()),
    ]);
    row.extend(std::iter::repeat_with(|| Unset).take(5));
    row
}

pub(super) fn host(s: &HostStory) -> Vec<Value> {
    let names = &s.names.host_names;
    vec![
        Value::time(s.first.unwrap_or_default()),
        Plain(s.host.to_string()),
        Value::plain(s.segment),
        if names.is_empty() { Unset } else { List(names.clone()) },
        word(s.verdict.name()),
        Plain(format!("{:.1}", s.level_db)),
        Plain(s.flows.to_string()),
        List(s.findings.iter().map(|f| f.kind.clone()).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_zeeks_kind() {
        let flow = |n| FlowId { packet: record::PacketId::new(0, n), layer: 0 };
        let name = uid(flow(1));
        assert_eq!((name.len(), name.starts_with('C')), (18, true));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(name, uid(flow(2)));
        assert_eq!(note("same_remote_chain"), "Hydrophone::Same_Remote_Chain");
        assert_eq!(distinguished("Kettle, Inc."), "CN=Kettle\\, Inc.");
    }
}
