//! What did other people's sensors see?
//!
//! Logs of Zeek (columns or JSON) and of Suricata (EVE) become records, in the order of time, as the packets of a capture would. What a log does not
//! tell is unknown, and no "no": payloads, most headers of requests, who spoke first.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod eve;
mod lines;
mod merge;
mod values;
mod zeek;

use record::{Head, PacketId, Smtp, SmtpCommandForm};

pub use merge::{LogFile, LogSet, is_log};

/// The most that a count of one row may be: 4 TiB of a flow.
const MOST: u64 = 1 << 42;
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
        let accepted = self.from.is_some() && self.code.is_some_and(|c| matches!(c, 200..=299));
        let Self { helo, from, rcpt, code, tls } = self;
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
            sender_domains: from.as_deref().and_then(values::domain).into_iter().collect(),
            recipient_domains,
            data_count: u32::from(accepted),
            accepted_count: u32::from(accepted),
            rejects: u32::from(code.is_some_and(|c| c >= 400)),
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

/// The lengths of a flow's first messages, where all that was said is one.
fn only_length(packets: [u64; 2], bytes: [u64; 2]) -> [i32; 8] {
    let mut lengths = [0; 8];
    if packets == [1, 0] || (packets == [1, 1] && bytes[0] > 0) {
        lengths[0] = i32::try_from(bytes[0]).unwrap_or(i32::MAX);
    }
    lengths
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
