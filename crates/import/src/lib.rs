//! What did other people's sensors see?
//!
//! Logs of Zeek (columns or JSON) and of Suricata (EVE) and flows that routers export (NetFlow, IPFIX) become records, in the order of time, as the packets
//! of a capture would. What they do not tell is unknown, and no "no": payloads, most headers of requests, who spoke first.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod eve;
mod exports;
mod lines;
mod merge;
mod queue;
mod values;
mod wrap;
mod zeek;

use record::{
    Conn, ConnPhase, ConnState, Direction, Head, Health, History, KeyPackets, Mac, PacketId, Record, Service,
    Smtp, SmtpCommandForm, Timestamp, Transport,
};

pub use exports::Exports;
pub use lines::LONGEST as LONGEST_LINE;
pub use merge::{Followed, LogFile, LogSet, Position, holds_log, is_log};

/// The most that a count of one row may be: 4 TiB of a flow.
const MOST: u64 = 1 << 42;
/// The kind of an event that begins a log of this program's own, and tells of nothing.
pub const OWN_EVENT: &str = "hydrophone";
/// The longest text of a row that is kept, in bytes.
const LONGEST_TEXT: usize = 1024;

/// At most so much of a text as is kept.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let mut end = LONGEST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// What a log tells of a message on its way, or of a session without one.
#[derive(Default)]
struct Mail {
    helo: Option<String>,
    from: Option<String>,
    /// Domains of the recipients, one each.
    rcpt: Vec<String>,
    /// The server's last reply.
    code: Option<u16>,
    tls: bool,
}

impl Mail {
    /// As a session.
    fn told(self, head: Head, packets: Vec<PacketId>) -> Smtp {
        let Self { helo, from, rcpt, code, tls } = self;
        // A message that was taken is written down at the reply that took it. Where the last word is the farewell, none was, though somebody and somebody's recipients were named.
        let said_farewell = code.is_some_and(|c| matches!(c, 220 | 221));
        let accepted = from.is_some() && code.is_some_and(|c| matches!(c, 200..=299)) && !said_farewell;
        let sender = from.as_deref().and_then(values::domain);
        let refused = said_farewell && sender.is_some() && !rcpt.is_empty();
        let mut recipient_domains = rcpt.clone();
        recipient_domains.sort_unstable();
        recipient_domains.dedup();
        recipient_domains.truncate(16);
        let many = u32::try_from(rcpt.len()).unwrap_or(u32::MAX);
        Smtp {
            // Who was told a name has greeted before.
            banner_code: helo.as_ref().map(|_| 220),
            banner: None,
            // Logs do not say which word it was.
            hello: if helo.is_some() { SmtpCommandForm::Ehlo } else { SmtpCommandForm::None },
            esmtp_offered: false,
            starttls_offered: tls,
            starttls_used: tls,
            // Who submits mail for delivery logs in; logs do not say so.
            auth: matches!(head.tuple.resp.port, 587 | 465),
            mail_count: u32::from(from.is_some()),
            rcpt_count: many,
            rcpt_accepted: if accepted { many } else { 0 },
            sender_domains: sender.into_iter().collect(),
            recipient_domains,
            data_count: u32::from(accepted),
            accepted_count: u32::from(accepted),
            rejects: u32::from(refused || code.is_some_and(|c| c >= 400)),
            deferrals: u32::from(code.is_some_and(|c| matches!(c, 400..=499))),
            last_code: code,
            message_bytes: 0,
            first_data_at: accepted.then_some(head.ts),
            // Whether it took its leave is not told: it did, as far as anybody knows.
            quit: true,
            odd_message_id: false,
            client_bytes: 0,
            // What the server said last is told, or nothing of it.
            missing: [true, code.is_none()],
            helo,
            head,
            packets,
        }
    }
}

/// Bytes of IP and TCP or UDP headers: without options, so at least these.
const fn headers(v6: bool, transport: Transport) -> u64 {
    let ip = if v6 { 40 } else { 20 };
    ip + match transport {
        Transport::Tcp => 20,
        _ => 8,
    }
}

/// About how many bytes so many packets carried that have so many `octets` with their IP headers. Options are counted with the headers: twenty bytes of a
/// SYN, twelve of every other segment, where a host uses them.
fn payload(octets: u64, packets: u64, v6: bool, transport: Transport) -> u64 {
    let options = if transport == Transport::Tcp { packets.saturating_mul(12).saturating_add(8) } else { 0 };
    octets.saturating_sub(packets.saturating_mul(headers(v6, transport))).saturating_sub(options)
}

/// Counts a flow that is over, as a log tells it.
pub fn count(health: &mut Health, c: &Conn) {
    let (tcp, udp, other) = &mut health.flows;
    *match c.head.tuple.transport {
        Transport::Tcp => tcp,
        Transport::Udp => udp,
        _ => other,
    } += 1;
    let packets = c.packets[0].saturating_add(c.packets[1]);
    health.packets = health.packets.saturating_add(packets);
    health.accounts.followed = health.accounts.followed.saturating_add(packets);
    health.bytes = health.bytes.saturating_add(c.frame_bytes[0]).saturating_add(c.frame_bytes[1]);
    health.midstream_tcp += u64::from(!c.start_seen);
    health.one_sided_tcp += u64::from(c.is_one_sided());
    health.missed_bytes = health.missed_bytes.saturating_add(c.missed_bytes[1]);
    health.first = [health.first, Some(c.head.ts)].into_iter().flatten().min();
    health.last = health.last.max(Some(c.last));
}

/// What a log tells of a flow.
struct Flow {
    head: Head,
    last: Timestamp,
    service: Service,
    state: ConnState,
    history: History,
    packets: [u64; 2],
    bytes: [u64; 2],
    frame_bytes: [u64; 2],
    /// Bytes of the responder's stream that the sensor lacks.
    missed: u64,
    start_seen: bool,
    first_speaker: Option<Direction>,
    mac: [Option<Mac>; 2],
    /// Where it is told: lines, or packets of exports.
    rows: KeyPackets,
}

impl Flow {
    /// Twice where its protocol is known: when it began, so that what is told of it later is about a known flow, and at its end.
    fn told(self) -> Vec<Record> {
        let Self { head, packets, bytes, .. } = self;
        let unanswered = head.tuple.transport == Transport::Tcp && self.state == ConnState::S0;
        let syns = if unanswered { packets[0].saturating_sub(1) } else { 0 };
        // Where all that was said is one message, its length is told.
        let mut first_lengths = [0; 8];
        if packets == [1, 0] || (packets == [1, 1] && bytes[0] > 0) {
            first_lengths[0] = i32::try_from(bytes[0]).unwrap_or(i32::MAX);
        }
        let closed = Conn {
            phase: ConnPhase::Closed,
            head: Head { known: self.last, ..head },
            last: self.last,
            via: None,
            service: self.service,
            state: self.state,
            history: self.history,
            packets,
            bytes,
            frame_bytes: self.frame_bytes,
            missed_bytes: [0, self.missed],
            start_seen: self.start_seen,
            syn_retransmits: u16::try_from(syns).unwrap_or(u16::MAX),
            first_payload: [None, None],
            first_speaker: self.first_speaker,
            first_lengths,
            beats: Vec::new(),
            payload_packets: bytes.map(|b| u64::from(b > 0)),
            turns: 0,
            mac: self.mac,
            tunnel_depth: 0,
            orig_ttl: 0,
            key_packets: self.rows,
        };
        if matches!(closed.service, Service::Unknown | Service::Dns) {
            return vec![Record::Conn(closed)];
        }
        let begun = Conn { phase: ConnPhase::Classified, head, last: head.ts, ..closed.clone() };
        vec![Record::Conn(begun), Record::Conn(closed)]
    }
}

/// The number of a DNS response code.
fn rcode(name: &str) -> u8 {
    const NAMES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
        "NOTAUTH", "NOTZONE",
    ];
    let known = NAMES.iter().position(|n| n.eq_ignore_ascii_case(name)).map(|n| n as u8);
    known.or_else(|| name.parse().ok()).unwrap_or(2)
}
