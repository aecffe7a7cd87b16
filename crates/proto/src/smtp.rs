//! SMTP (RFC 5321): a session as far as it is in clear.

use std::collections::VecDeque;

use record::{Direction, PacketId, Record, Service, Smtp, SmtpCommandForm};

use crate::lines::Lines;
use crate::outbox::{Packets, ParseContext, text};
use crate::protocol::{KEPT, Protocol, Step};
use crate::self_report::{self, LOOKED_AT};
use crate::starttls::Upgradable;

/// Commands that wait for their replies; pipelining clients send a few dozen.
const MAX_PENDING: usize = 128;
/// Domains kept of senders and of recipients.
const MAX_DOMAINS: usize = 16;
const MAX_BANNER: usize = 200;
/// A domain has at most 255 bytes.
const MAX_DOMAIN: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Banner,
    Hello,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The final dot; of LMTP one for each recipient.
    EndOfData,
    /// A chunk, and whether it is the last of its message.
    Bdat(bool),
    Quit,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Commands,
    /// DATA was sent; message text follows when the server says 354.
    AwaitingData,
    /// Message headers, then body, up to a line with a single dot.
    Headers,
    Body,
    /// A BDAT chunk with so many bytes to come.
    Chunk(u64),
    /// The login's lines are not commands.
    Auth,
    /// TLS has begun.
    Hidden,
}

pub struct SmtpSession {
    lines: [Lines; 2],
    mode: Mode,
    pending: VecDeque<Command>,
    server_spoke: bool,
    /// LMTP (RFC 2033): the final dot is answered once for each recipient.
    lmtp: bool,
    /// Recipients accepted since the last message.
    recipients: u32,
    /// A chunk of the message in hand was seen, so that it is counted; and one was refused, so that it is not accepted.
    chunked: bool,
    refused: bool,
    /// The message in hand was accepted for somebody, so that it is counted once.
    counted: bool,
    /// What the message in hand begins with, where somebody logged on in clear to hand it in; lines that are broken softly are whole again.
    said: Vec<u8>,
    row: Smtp,
    packets: Packets,
    last_packet: PacketId,
}

impl SmtpSession {
    pub fn new(context: &ParseContext<'_>) -> Self {
        Self {
            lines: [Lines::default(), Lines::default()],
            mode: Mode::Commands,
            pending: VecDeque::from([Command::Banner]),
            server_spoke: false,
            lmtp: false,
            recipients: 0,
            chunked: false,
            refused: false,
            counted: false,
            said: Vec::new(),
            row: Smtp {
                head: context.flow.head(context.flow.ts, context.at),
                banner_code: None,
                banner: None,
                hello: SmtpCommandForm::None,
                helo: None,
                esmtp_offered: false,
                starttls_offered: false,
                starttls_used: false,
                auth: false,
                mail_count: 0,
                rcpt_count: 0,
                rcpt_accepted: 0,
                sender_domains: Vec::new(),
                recipient_domains: Vec::new(),
                data_count: 0,
                accepted_count: 0,
                rejects: 0,
                deferrals: 0,
                last_code: None,
                message_bytes: 0,
                first_data_at: None,
                quit: false,
                odd_message_id: false,
                missing: [false; 2],
                client_bytes: 0,
                packets: Vec::new(),
            },
            packets: Packets::default(),
            last_packet: context.packet,
        }
    }
}

impl Protocol for SmtpSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        self.last_packet = context.packet;
        if from == Direction::Orig {
            self.row.client_bytes = self.row.client_bytes.saturating_add(bytes.len() as u64);
            self.client(bytes, context);
        } else {
            self.server(bytes, context);
        }
        if self.mode != Mode::Hidden {
            return Step::More;
        }
        // The rest is TLS; what was said before is told now.
        self.end(context);
        Step::Becomes(Box::<Upgradable>::default())
    }

    fn gap(&mut self, from: Direction, n: u64, _: &mut ParseContext<'_>) -> Step {
        let [client, server] = &mut self.row.missing;
        *(if from == Direction::Orig { client } else { server }) = true;
        let [orig, resp] = &mut self.lines;
        match from {
            Direction::Orig => {
                orig.gap();
                match &mut self.mode {
                    Mode::Headers | Mode::Body => {
                        self.row.message_bytes = self.row.message_bytes.saturating_add(n);
                        self.mode = Mode::Body;
                    }
                    Mode::Chunk(left) => *left = left.saturating_sub(n),
                    _ => {}
                }
            }
            // Replies are lost: what waits cannot be matched any more.
            Direction::Resp => {
                resp.gap();
                self.pending.clear();
            }
        }
        Step::More
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        self.report(context);
        self.packets.add(self.last_packet);
        let mut row = self.row.clone();
        row.head.known = context.at;
        row.packets = self.packets.take();
        context.out.records.push(Record::Smtp(Box::new(row)));
    }

    /// Lines in hand.
    fn weight(&self) -> usize {
        self.lines
            .iter()
            .map(Lines::held)
            .fold(KEPT, usize::saturating_add)
            .saturating_add(self.said.capacity())
    }
}

impl SmtpSession {
    fn client(&mut self, mut bytes: &[u8], context: &mut ParseContext<'_>) {
        while !bytes.is_empty() && self.mode != Mode::Hidden {
            if let Mode::Chunk(left) = self.mode {
                let n = left.min(bytes.len() as u64);
                self.row.message_bytes = self.row.message_bytes.saturating_add(n);
                bytes = bytes.get(n as usize..).unwrap_or_default();
                let left = left.saturating_sub(n);
                self.mode = if left == 0 { Mode::Commands } else { Mode::Chunk(left) };
                continue;
            }
            // Without a server's word (a one-sided capture), what follows DATA is the message.
            if self.mode == Mode::AwaitingData && !self.server_spoke {
                self.message_begins(context);
            }
            let [lines, _] = &mut self.lines;
            let Some(line) = lines.next(&mut bytes, context.out) else { return };
            match self.mode {
                Mode::Headers | Mode::Body => self.message_line(&line, context),
                // The server's word is lost: a message tells itself by being no command.
                Mode::AwaitingData if self.row.missing[1] && !is_command(&line) => {
                    self.row.data_count = self.row.data_count.saturating_add(1);
                    self.message_begins(context);
                    self.message_line(&line, context);
                }
                // What the server says ends the login; where it is not seen, the next command does.
                Mode::Auth if is_command(&line) => {
                    self.mode = Mode::Commands;
                    self.command(&line, context);
                }
                Mode::Auth => {
                    if line == b"*" {
                        self.mode = Mode::Commands;
                    }
                }
                _ => self.command(&line, context),
            }
        }
    }

    fn message_begins(&mut self, context: &ParseContext<'_>) {
        self.row.first_data_at.get_or_insert(context.ts);
        self.packets.add(context.packet);
        self.mode = Mode::Headers;
    }

    /// Tells what the message in hand tells of the machine that it comes from, and of passwords.
    fn report(&mut self, context: &mut ParseContext<'_>) {
        let said = std::mem::take(&mut self.said);
        if !said.is_empty() {
            let times = (context.ts, context.at);
            self_report::report(context.flow, Service::Smtp, &said, times, context.packet, context.out);
        }
    }

    fn message_line(&mut self, line: &[u8], context: &mut ParseContext<'_>) {
        if line == b"." {
            self.report(context);
            self.mode = Mode::Commands;
            self.counted = false;
            let replies = if self.lmtp { std::mem::take(&mut self.recipients).max(1) } else { 1 };
            for _ in 0..replies {
                self.wait(Command::EndOfData);
            }
            return;
        }
        self.row.message_bytes = self.row.message_bytes.saturating_add(line.len() as u64).saturating_add(2);
        let room = LOOKED_AT.saturating_sub(self.said.len());
        if self.row.auth && room > 0 {
            // RFC 2045 §6.7: the line goes on.
            let (line, end): (_, &[u8]) = line.strip_suffix(b"=").map_or((line, b"\r\n"), |l| (l, b""));
            self.said.extend_from_slice(line.get(..room).unwrap_or(line));
            self.said.extend_from_slice(end);
        }
        if self.mode == Mode::Headers {
            if line.is_empty() {
                self.mode = Mode::Body;
            }
            self.row.odd_message_id |= line.starts_with(b"Message-Id:");
        }
    }

    fn wait(&mut self, command: Command) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push_back(command);
        }
    }

    fn command(&mut self, line: &[u8], context: &ParseContext<'_>) {
        let end = line.iter().position(|&b| b == b' ' || b == b':').unwrap_or(line.len());
        let (verb, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
        let argument = rest.trim_ascii();
        let row = &mut self.row;
        let command = match verb.to_ascii_uppercase().as_slice() {
            hello @ (b"HELO" | b"EHLO" | b"LHLO") => {
                if row.hello == SmtpCommandForm::None {
                    row.hello = if hello == b"HELO" { SmtpCommandForm::Helo } else { SmtpCommandForm::Ehlo };
                }
                self.lmtp |= hello == b"LHLO";
                row.helo = Some(text(argument, MAX_DOMAIN).to_ascii_lowercase());
                self.packets.add(context.packet);
                Command::Hello
            }
            b"STARTTLS" => Command::StartTls,
            b"AUTH" => {
                row.auth = true;
                // With an initial response most mechanisms are done; where the server is not seen, nobody says so.
                let done = !self.server_spoke && argument.contains(&b' ');
                self.mode = if done { Mode::Commands } else { Mode::Auth };
                Command::Auth
            }
            b"MAIL" => {
                row.mail_count = row.mail_count.saturating_add(1);
                add_domain(&mut row.sender_domains, line);
                self.packets.add(context.packet);
                (self.recipients, self.chunked, self.refused) = (0, false, false);
                Command::Mail
            }
            b"RCPT" => {
                row.rcpt_count = row.rcpt_count.saturating_add(1);
                add_domain(&mut row.recipient_domains, line);
                Command::Rcpt
            }
            b"DATA" => {
                self.mode = Mode::AwaitingData;
                Command::Data
            }
            b"BDAT" => {
                // RFC 3030: so many bytes follow at once, whatever the answer; a message may come in several chunks.
                let argument = text(argument, 40).to_ascii_uppercase();
                let mut words = argument.split_ascii_whitespace();
                let size = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                let last = words.next() == Some("LAST");
                row.first_data_at.get_or_insert(context.ts);
                if !self.chunked {
                    row.data_count = row.data_count.saturating_add(1);
                    (self.chunked, self.refused) = (true, false);
                }
                if last {
                    // A further message of the same transaction is one of its own.
                    (self.chunked, self.counted) = (false, false);
                    // Of LMTP there is an answer for each recipient, of which the last is waited for below.
                    let further = if self.lmtp { std::mem::take(&mut self.recipients).max(1) } else { 1 };
                    for _ in 1..further {
                        self.wait(Command::Bdat(last));
                    }
                }
                if size > 0 {
                    self.mode = Mode::Chunk(size);
                }
                Command::Bdat(last)
            }
            b"QUIT" => {
                row.quit = true;
                Command::Quit
            }
            _ => Command::Other,
        };
        self.wait(command);
    }

    fn server(&mut self, mut bytes: &[u8], context: &mut ParseContext<'_>) {
        self.server_spoke = true;
        loop {
            let [_, lines] = &mut self.lines;
            let Some(line) = lines.next(&mut bytes, context.out) else { return };
            let Some((code, last, rest)) = reply(&line) else { continue };
            self.reply(code, last, rest, context);
            if self.mode == Mode::Hidden {
                return;
            }
        }
    }

    fn reply(&mut self, code: u16, last: bool, rest: &[u8], context: &ParseContext<'_>) {
        // Where words are lost, the code says what it answers: a server is silent until a message has ended.
        let lost = match self.mode {
            _ if !last => Command::Other,
            Mode::AwaitingData if code == 354 => Command::Data,
            Mode::Headers | Mode::Body if self.row.missing[0] && self.pending.is_empty() => {
                (self.mode, self.counted) = (Mode::Commands, false);
                Command::EndOfData
            }
            _ => Command::Other,
        };
        let row = &mut self.row;
        let command = self.pending.front().copied().unwrap_or(lost);
        match command {
            Command::Banner if row.banner.is_none() => {
                row.banner_code = Some(code);
                row.banner = Some(text(rest, MAX_BANNER));
                row.esmtp_offered = rest.windows(5).any(|w| w.eq_ignore_ascii_case(b"ESMTP"));
                self.packets.add(context.packet);
            }
            Command::Hello => {
                row.starttls_offered |=
                    rest.len() >= 8 && rest.get(..8).is_some_and(|r| r.eq_ignore_ascii_case(b"STARTTLS"));
            }
            _ => {}
        }
        if !last {
            return;
        }
        self.pending.pop_front();
        row.last_code = Some(code);
        let ok = (200..300).contains(&code);
        if code >= 400 {
            row.rejects = row.rejects.saturating_add(1);
            row.deferrals = row.deferrals.saturating_add(u32::from(code < 500));
        }
        match command {
            Command::Rcpt if ok => {
                row.rcpt_accepted = row.rcpt_accepted.saturating_add(1);
                self.recipients = self.recipients.saturating_add(1);
            }
            Command::Data if code == 354 => {
                row.data_count = row.data_count.saturating_add(1);
                self.message_begins(context);
            }
            Command::Data => self.mode = Mode::Commands,
            Command::EndOfData if ok && !self.counted => {
                self.row.accepted_count = self.row.accepted_count.saturating_add(1);
                self.counted = true;
                self.packets.add(context.packet);
            }
            // That the last is refused says so of one recipient, where each has an answer.
            Command::Bdat(true) if ok && !self.refused && !self.counted => {
                self.row.accepted_count = self.row.accepted_count.saturating_add(1);
                self.counted = true;
                self.packets.add(context.packet);
            }
            Command::Bdat(false) => self.refused |= !ok,
            Command::StartTls if ok => {
                row.starttls_used = true;
                self.mode = Mode::Hidden;
            }
            // 334 asks for more; anything else ends the login.
            Command::Auth if code == 334 => self.pending.push_front(Command::Auth),
            Command::Auth if self.mode == Mode::Auth => self.mode = Mode::Commands,
            _ => {}
        }
    }
}

/// Whether a line is a command: of these words, what an answer to a login means in base64 is no name and no password that anybody types.
fn is_command(line: &[u8]) -> bool {
    let upper = line.get(..10).unwrap_or(line).to_ascii_uppercase();
    [&b"MAIL FROM:"[..], b"RCPT TO:", b"EHLO ", b"HELO ", b"LHLO "].iter().any(|w| upper.starts_with(w))
        || matches!(upper.as_slice(), b"QUIT" | b"RSET" | b"NOOP" | b"DATA" | b"STARTTLS")
}

/// Splits a reply line: code, whether it is the last, text.
pub fn reply(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let mut code = 0u16;
    for d in digits {
        code = code.checked_mul(10)?.checked_add(u16::from(char::from(*d).to_digit(10)? as u8))?;
    }
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

/// The domain of `<user@domain>`.
fn add_domain(domains: &mut Vec<String>, line: &[u8]) {
    let Some(at) = line.iter().rposition(|&b| b == b'@') else { return };
    let rest = line.get(at.saturating_add(1)..).unwrap_or_default();
    let end = rest.iter().position(|&b| matches!(b, b'>' | b' ')).unwrap_or(rest.len());
    let domain = text(rest.get(..end).unwrap_or_default(), MAX_DOMAIN).to_ascii_lowercase();
    if domains.len() < MAX_DOMAINS && !domain.is_empty() && !domains.contains(&domain) {
        domains.push(domain);
    }
}
