//! Recognition of TCP streams by their first bytes.

use record::{FlowFacts, Service};

use super::{Probe, has, on_port, starts, trades, udp};
use crate::{dns, http, irc, smtp};

/// Bytes of both sides after which nothing new is expected.
const ENOUGH: usize = 64;

/// What a stream is, by the first bytes of `[originator, responder]`.
pub fn stream(flow: &FlowFacts, heads: [&[u8]; 2]) -> Probe {
    let [client, server] = heads;
    for side in heads {
        if let Some(service) = either_side(flow, side) {
            return Probe::Is(service);
        }
    }
    if let Some(service) = by_client(flow, client).or_else(|| by_server(flow, client, server)) {
        return Probe::Is(service);
    }
    let of_a_trade = heads.into_iter().find_map(trades::either_side).or_else(|| trades::by_client(client));
    if let Some(service) = of_a_trade.or_else(|| trades::both(client, server)) {
        return Probe::Is(service);
    }
    // A text greeting waits for the word that tells which protocol it is.
    if client.is_empty() || server.is_empty() {
        return Probe::Maybe;
    }
    if client.len() >= ENOUGH || server.len() >= ENOUGH || (client.len() >= 8 && server.len() >= 8) {
        return Probe::No;
    }
    Probe::Maybe
}

/// What either side may say first, so that a one-sided or turned-round flow is recognised too.
fn either_side(flow: &FlowFacts, b: &[u8]) -> Option<Service> {
    Some(match b {
        // TLS: a handshake record that holds a hello, or (mid-stream) an alert, a change of cipher or data of sane length.
        [0x16, 3, 0..=4, l0, l1, 1 | 2, 0, ..] if sane_record(*l0, *l1) => Service::Tls,
        [0x14, 3, 1..=3, 0, 1, 1, ..] | [0x15, 3, 1..=3, 0, 2, 1 | 2, ..] => Service::Tls,
        [0x15..=0x17, 3, 1..=3, l0, l1, ..] if !flow.start_seen && sane_record(*l0, *l1) => Service::Tls,
        [b'S', b'S', b'H', b'-', ..] => Service::Ssh,
        [19, b'B', b'i', b't', b'T', b'o', b'r', b'r', b'e', b'n', b't', ..] => Service::BitTorrent,
        [0xff, b'S', b'M', b'B', ..] | [0xfe, b'S', b'M', b'B', ..] => Service::Smb,
        [0, 0 | 1, _, _, 0xfd..=0xff, b'S', b'M', b'B', ..] => Service::Smb,
        _ if is_dce_rpc(b) => Service::DceRpc,
        [
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0,
            ..,
        ] => Service::Bgp,
        [b'R', b'F', b'B', b' ', b'0', b'0', ..] => Service::Vnc,
        [_, _, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, ..] => Service::Pptp,
        _ if is_telnet(b) => Service::Telnet,
        _ if http::is_response(b) => Service::Http,
        _ if is_drda(b) => Service::Drda,
        _ if starts(b, &["GNUTELLA", "GNUTELLA/"]) => Service::Gnutella,
        // A magic number of the currency's own, then the name of the message, filled with zeros (Bitcoin's protocol documentation).
        [_, _, _, _, b'v', b'e', b'r', b's', b'i', b'o', b'n', 0, 0, 0, 0, 0, ..] => Service::Bitcoin,
        // LEVIN_SIGNATURE, little-endian (Monero's levin_base.h).
        [1, 0x21, 1, 1, 1, 1, 1, 1, ..] => Service::Levin,
        // Flags: Zabbix's protocol, packed, long (Zabbix manual, *Header*).
        [b'Z', b'B', b'X', b'D', 1 | 3 | 5 | 7, ..] => Service::Zabbix,
        // Protocol 0 (plain), 2 (TLS) or 3 (SASL), then its version.
        [b'A', b'M', b'Q', b'P', 0 | 2 | 3, 0 | 1, ..] => Service::Amqp,
        // Length, request, no answer to any, OP_QUERY or OP_MSG (MongoDB's wire protocol).
        [_, _, 0, 0, _, _, _, _, 0, 0, 0, 0, 0xd4 | 0xdd, 7, 0, 0, ..] => Service::MongoDb,
        // A window, then its messages (Lumberjack's protocol, versions 1 and 2).
        [v @ (b'1' | b'2'), b'W', 0, 0, _, _, rest @ ..]
            if rest.is_empty() || matches!(rest, [w, b'C' | b'D' | b'J', ..] if w == v) =>
        {
            Service::Lumberjack
        }
        _ if starts(b, &["--splunk-cooked-mode-v"]) => Service::Splunk,
        _ if is_syslog(b) => Service::Syslog,
        _ if starts(b, &["fox a 0 -1 fox hello", "fox a 1 -1 fox hello"]) => Service::Fox,
        _ if starts(b, &["INFO {\"server_id\""]) => Service::Nats,
        _ if starts(b, &["RTSP/1.0 "]) => Service::Rtsp,
        _ if starts(b, &["SIP/2.0 "]) => Service::Sip,
        _ if b.trim_ascii_start().first() == Some(&b'<')
            && (has(b, b"jabber:client")
                || has(b, b"jabber:server")
                || has(b, b"etherx.jabber.org/streams")) =>
        {
            Service::Xmpp
        }
        _ if is_openvpn(b) => Service::OpenVpn,
        _ if is_dns(b) => Service::Dns,
        _ => return None,
    })
}

fn by_client(flow: &FlowFacts, b: &[u8]) -> Option<Service> {
    Some(match b {
        // SSLv2 hello: two-byte length with the high bit, hello, version 3.x or 2.
        [first, second, 1, 3, 0..=4, ..] | [first, second, 1, 0, 2, ..]
            if first & 0x80 != 0 && usize::from(*second) >= 9 =>
        {
            Service::Ssl2
        }
        // TPKT with an X.224 connection request, whose first parameter is the size of what follows or a service access point (RFC 1006, RFC 905 §13.3.4):
        // what plants speak above it names both, a screen's client neither.
        [3, 0, 0, len, li, 0xe0, _, _, _, _, _, 0xc0..=0xc2, ..]
            if usize::from(*len) == usize::from(*li).saturating_add(5) =>
        {
            Service::Cotp
        }
        [3, 0, 0, len, li, 0xe0, ..] if usize::from(*len) == usize::from(*li).saturating_add(5) => {
            Service::Rdp
        }
        [0x81, 0, 0, 0x44, 0x20, ..] => Service::Smb,
        // SOCKS 5: so many methods as it says, all of the assigned ones.
        [5, n @ 1..=9, methods @ ..]
            if methods.len() == usize::from(*n) && methods.iter().all(|m| *m <= 9 || *m >= 0x80) =>
        {
            Service::Socks
        }
        // SOCKS 4: connect or bind, port, address, user, NUL.
        [4, 1 | 2, _, _, _, _, _, _, user @ ..]
            if user.last() == Some(&0)
                && user
                    .iter()
                    .take(user.len().saturating_sub(1))
                    .all(|c| (0x20..0x7f).contains(c) || *c == 0) =>
        {
            Service::Socks
        }
        [0x10, rest @ ..]
            if rest.get(1..7) == Some(b"\0\x04MQTT")
                || rest.get(1..9) == Some(b"\0\x06MQIsdp")
                || rest.get(2..8) == Some(b"\0\x04MQTT") =>
        {
            Service::Mqtt
        }
        // PostgreSQL: length, then protocol 3.0 or an SSL request.
        [0, 0, _, len, 0, 3, 0, 0, rest @ ..] if rest.len() >= 8 && usize::from(*len) >= 8 => {
            Service::Postgres
        }
        [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f | 0x30] => Service::Postgres,
        // TDS pre-login: type, last packet, length.
        [0x12, 1, l0, l1, 0, 0, _, 0, 0, ..] if usize::from(u16::from_be_bytes([*l0, *l1])) == b.len() => {
            Service::Tds
        }
        // eDonkey: marker, length, opcode hello.
        [0xe3 | 0xc5, l0, l1, 0, 0, 1, ..] if usize::from(u16::from_le_bytes([*l0, *l1])) >= 16 => {
            Service::Kad
        }
        // RTMP: version 3 and a whole first chunk.
        [3, _, _, _, _, 0, 0, 0, 0, ..] if b.len() >= 1024 => Service::Rtmp,
        // Kerberos over TCP: length, then an AS or TGS request.
        [0, 0, _, _, 0x6a | 0x6c, 0x81 | 0x82, ..] => Service::Kerberos,
        _ if is_ldap(b) => Service::Ldap,
        // BitTorrent with encryption cannot be told; its tracker and its web seeds are HTTP.
        _ if b.starts_with(b"PRI * HTTP/2") => Service::Http2,
        _ if http::is_request(b) => {
            if has(b, b" RTSP/1.0") {
                Service::Rtsp
            } else {
                Service::Http
            }
        }
        _ if starts(b, &["DESCRIBE rtsp", "SETUP rtsp", "OPTIONS rtsp", "PLAY rtsp"]) => Service::Rtsp,
        _ if starts(b, &["INVITE sip:", "REGISTER sip:", "OPTIONS sip:", "SUBSCRIBE sip:"]) => Service::Sip,
        _ if is_stratum(b) => Service::Stratum,
        _ if is_irc_client(b) => Service::Irc,
        _ if starts(b, &["EHLO ", "HELO ", "ehlo ", "helo "]) => Service::Smtp,
        _ if is_resp(b) => Service::Redis,
        _ if starts(b, &["CAPA\r\n"]) || (on_port(flow, 110) && starts(b, &["USER ", "APOP "])) => {
            Service::Pop3
        }
        _ => return None,
    })
}

fn by_server(flow: &FlowFacts, client: &[u8], server: &[u8]) -> Option<Service> {
    // MySQL greeting: length, sequence 0, protocol 10, a version with digits.
    if let [_, 0, 0, 0, 10, b'0'..=b'9', b'.' | b'0'..=b'9', ..] = server {
        return Some(Service::MySql);
    }
    if starts(server, &["* OK", "* PREAUTH", "* BYE"]) {
        return Some(Service::Imap);
    }
    // It greets; others say so when they are asked for something.
    let words = ["USER ", "APOP ", "AUTH", "CAPA", "STLS", "QUIT", "STAT", "LIST", "UIDL", "RETR "];
    if starts(server, &["+OK"]) && (client.is_empty() || words.iter().any(|w| has_verb(client, w))) {
        return Some(Service::Pop3);
    }
    if irc_server(server) {
        return Some(Service::Irc);
    }
    let (code, ..) = smtp::reply(server.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_end())?;
    let line = server.to_ascii_uppercase();
    let said = |words: &[&str]| words.iter().any(|w| has(&line, w.as_bytes()));
    let verb: Vec<u8> =
        client.iter().take_while(|b| b.is_ascii_alphabetic()).map(u8::to_ascii_uppercase).collect();
    match (code, verb.as_slice()) {
        // The client's word decides; without one the greeting, then the port.
        (220 | 421 | 450 | 554, b"EHLO" | b"HELO" | b"MAIL" | b"STARTTLS") => Some(Service::Smtp),
        (220 | 120 | 421, b"USER" | b"FEAT" | b"SYST" | b"PASS") => Some(Service::Ftp),
        (
            200 | 201 | 400 | 502,
            b"MODE" | b"GROUP" | b"LIST" | b"ARTICLE" | b"CAPABILITIES" | b"XOVER" | b"HEAD",
        ) => Some(Service::Nntp),
        (220 | 421 | 450 | 521 | 550..=554, _) if said(&["SMTP", " MAIL", "POSTFIX", "EXIM", "SENDMAIL"]) => {
            Some(Service::Smtp)
        }
        (220, _) if said(&["FTP", "FILEZILLA"]) => Some(Service::Ftp),
        (200 | 201, _) if said(&["NNTP", "NEWS", "POSTING"]) => Some(Service::Nntp),
        (220 | 421 | 450 | 521 | 550..=554, b"" | b"QUIT")
            if [25, 465, 587, 2525].iter().any(|p| on_port(flow, *p)) =>
        {
            Some(Service::Smtp)
        }
        (220, b"" | b"QUIT" | b"AUTH") if on_port(flow, 21) => Some(Service::Ftp),
        (200 | 201, b"" | b"QUIT") if on_port(flow, 119) => Some(Service::Nntp),
        _ => None,
    }
}

/// DCE/RPC, connection-oriented: version 5.0 or 5.1, a type, any flags, the sender's byte order, character set and floats (two bytes that
/// are zero), and lengths that hold together in that order (C706 §12.6).
fn is_dce_rpc(b: &[u8]) -> bool {
    match b {
        [5, 0 | 1, 0..=20, _, order @ (0x00 | 0x01 | 0x10 | 0x11), 0..=3, 0, 0, f0, f1, a0, a1, ..] => {
            let read = if order & 0x10 != 0 { u16::from_le_bytes } else { u16::from_be_bytes };
            let (fragment, auth) = (read([*f0, *f1]), read([*a0, *a1]));
            fragment >= 16 && auth < fragment
        }
        _ => false,
    }
}

/// LDAP (RFC 4511): a sequence whose length, in any of BER's forms, holds a message id of one to four bytes and an operation.
fn is_ldap(b: &[u8]) -> bool {
    fn length(b: &[u8]) -> Option<(usize, &[u8])> {
        let (first, rest) = b.split_first()?;
        match first {
            0..=0x7f => Some((usize::from(*first), rest)),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                Some((bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest))
            }
            _ => None,
        }
    }
    let inner = b.strip_prefix(&[0x30]).and_then(length);
    let Some((len, [2, n @ 1..=4, id @ ..])) = inner else { return false };
    let Some((_, [operation, after @ ..])) = id.split_at_checked(usize::from(*n)) else { return false };
    let Some((inner_len, _)) = length(after) else { return false };
    // Bind, unbind, search, modify, add, delete, rename, compare, abandon, their answers, extended operations.
    let known = matches!(operation, 0x42 | 0x4a | 0x50 | 0x60 | 0x61 | 0x63..=0x6f | 0x73 | 0x77 | 0x78);
    let header = usize::from(*n).saturating_add(3);
    known && (7..1 << 24).contains(&len) && inner_len.saturating_add(header) <= len
}

fn sane_record(l0: u8, l1: u8) -> bool {
    let len = u16::from_be_bytes([l0, l1]);
    (1..=(1 << 14) + 2048).contains(&len)
}

/// A priority in brackets (RFC 5424 §6.2.1), behind the message's length where that is counted (RFC 6587 §3.4.1).
fn is_syslog(b: &[u8]) -> bool {
    let digits = b.iter().take_while(|c| c.is_ascii_digit()).count();
    let message = match b.get(digits..) {
        Some([b' ', rest @ ..]) if digits > 0 => rest,
        _ => b,
    };
    message.first() == Some(&b'<') && udp::is_syslog(message)
}

/// Whether it begins with a word, in whatever letters.
fn has_verb(b: &[u8], word: &str) -> bool {
    b.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
}

/// Telnet: at least two option negotiations one after another.
fn is_telnet(b: &[u8]) -> bool {
    matches!(b, [0xff, 0xfb..=0xfe, 0..=50, 0xff, 0xfa..=0xfe, 0..=50, ..])
        || matches!(
            b,
            [0xff, 0xfb..=0xfe, 0..=50] | [0xff, 0xfb..=0xfe, 0..=50, b'\r' | b'\n' | b' '..=b'~', ..]
        )
}

/// A command of Redis' protocol: how many words, then the length of the first.
fn is_resp(b: &[u8]) -> bool {
    fn counted(b: &[u8], mark: u8) -> Option<&[u8]> {
        let rest = b.strip_prefix(&[mark])?;
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        rest.get(digits..)?.strip_prefix(b"\r\n").filter(|_| (1..=5).contains(&digits))
    }
    counted(b, b'*').and_then(|rest| counted(rest, b'$')).is_some()
}

/// A DSS header of DRDA: big-endian length, magic 0xD0, format 1–5 with flags, then a DDM object of just
/// the length that is left.
/// Source: The Open Group, DRDA V3.
pub fn is_drda(b: &[u8]) -> bool {
    match b {
        // The code points of the first commands and replies begin with 0x10–0x24.
        [l0, l1, 0xd0, format, _, _, d0, d1, 0x10..=0x24, ..] => {
            let (dss, ddm) = (u16::from_be_bytes([*l0, *l1]), u16::from_be_bytes([*d0, *d1]));
            matches!(format & 0x0f, 1..=5) && ddm >= 4 && u32::from(ddm).saturating_add(6) == u32::from(dss)
        }
        _ => false,
    }
}

/// OpenVPN over TCP: a length, then a hard reset of the client with empty acknowledgements at its end.
fn is_openvpn(b: &[u8]) -> bool {
    match b {
        [l0, l1, packet @ ..] => {
            usize::from(u16::from_be_bytes([*l0, *l1])) == packet.len()
                && super::udp::is_openvpn_reset(packet)
        }
        _ => false,
    }
}

/// DNS over TCP: a length and a message that is understood whole.
fn is_dns(b: &[u8]) -> bool {
    match b {
        [l0, l1, message @ ..] => {
            let len = usize::from(u16::from_be_bytes([*l0, *l1]));
            len >= 17
                && len <= message.len()
                && dns::parse(message.get(..len).unwrap_or_default())
                    .is_some_and(|m| !m.malformed && !m.query.is_empty())
        }
        _ => false,
    }
}

/// Stratum and its Ethereum and Monero kin: JSON-RPC with a mining method.
fn is_stratum(b: &[u8]) -> bool {
    b.first() == Some(&b'{')
        && (has(b, b"\"mining.")
            || has(b, b"\"eth_submitLogin")
            || has(b, b"\"eth_login")
            || has(b, b"eth_getWork")
            || (has(b, b"\"login\"") && (has(b, b"\"agent\"") || has(b, b"\"pass\""))))
}

fn is_irc_client(b: &[u8]) -> bool {
    let Some(line) = b.split(|c| *c == b'\n').next() else { return false };
    let whole = line.len() < b.len();
    match irc::split(line) {
        Some((b"NICK", params)) => whole && !params.trim_ascii_end().is_empty() && params.len() <= 64,
        // USER name mode unused :real name — FTP's and POP3's USER have one word.
        Some((b"USER", params)) => {
            whole && params.split(|c| *c == b' ').filter(|w| !w.is_empty()).count() >= 4
        }
        Some((b"CAP", params)) => whole && (params.starts_with(b"LS") || params.starts_with(b"REQ")),
        Some((b"PASS", _)) => {
            let mut rest = b.split(|c| *c == b'\n').skip(1);
            rest.next().is_some_and(|l| l.starts_with(b"NICK ") || l.starts_with(b"USER "))
        }
        Some((b"JOIN" | b"PRIVMSG", params)) => whole && params.starts_with(b"#"),
        _ => false,
    }
}

fn irc_server(b: &[u8]) -> bool {
    if starts(b, &["NOTICE AUTH :", "ERROR :Closing Link", "PING :"]) {
        return true;
    }
    let Some(line) = b.split(|c| *c == b'\n').next() else { return false };
    b.first() == Some(&b':')
        && line.len() < b.len()
        && matches!(
            irc::split(line),
            Some((b"NOTICE" | b"001" | b"002" | b"020" | b"433" | b"451" | b"421" | b"PRIVMSG" | b"JOIN", _))
        )
}
