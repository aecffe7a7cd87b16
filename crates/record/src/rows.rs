use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use sha2::Digest;

use crate::{
    Conn, DceRpc, Direction, Endpoint, FileInfo, FlowId, Framing, Mac, PacketId, PayloadFacts, Segment,
    SelfReport, Service, Smb, Timestamp, Tuple,
};
use serde::{Deserialize, Serialize};

/// What every record begins with: when, where and between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// When what it tells of began, in packet time.
    pub ts: Timestamp,
    /// When it became known, in packet time: never before `ts`, and what analysts see records by.
    pub known: Timestamp,
    /// Which of the run's sites saw it, from 0.
    pub site: u16,
    /// The segment of that site's network, where frames name one.
    pub segment: Option<Segment>,
    /// The flow's name.
    pub flow: FlowId,
    /// Both ends.
    pub tuple: Tuple,
}

/// Where a record stands in the order that every analyst sees: by the time it became known, then site, then flow, then turn within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    /// When the record became known, in packet time.
    pub known: Timestamp,
    /// Who saw it.
    pub site: u16,
    /// The flow that it is about.
    pub flow: FlowId,
    /// The order in which the flow's shard made its records.
    pub turn: u64,
}

impl RecordKey {
    /// That of a record which another sensor's row tells: rows come in order.
    pub const fn of_row(record: &Record) -> Self {
        let head = record.head();
        Self { known: head.known, site: head.site, flow: head.flow, turn: 0 }
    }
}

/// One observation of the sensor half.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum Record {
    /// A flow: classified, still open, or closed. Two of three records are these, so they are not worth a box.
    Conn(Conn),
    /// A DNS question with its answer.
    Dns(Box<Dns>),
    /// An SMTP session.
    Smtp(Box<Smtp>),
    /// An HTTP request with its response.
    Http(Box<Http>),
    /// A TLS handshake.
    Tls(Box<Tls>),
    /// A QUIC Initial that was read.
    Quic(Box<Quic>),
    /// A line of IRC that matters.
    Irc(Box<Irc>),
    /// An SSH banner.
    Ssh(Box<Ssh>),
    /// A host named itself to a DHCP server.
    Dhcp(Box<Dhcp>),
    /// A payload that may be a Kraken frame.
    Frame(Box<FrameCandidate>),
    /// A proxy was asked to talk with somebody.
    Relay(Box<Relay>),
    /// Another sensor's rule was met.
    Alert(Box<Alert>),
    /// A datagram in which an exporter tells of flows.
    Export(Box<Export>),
    /// Something that was done in an SMB session.
    Smb(Box<Smb>),
    /// A remote call.
    DceRpc(Box<DceRpc>),
    /// A client told what it runs on, or passwords.
    SelfReport(Box<SelfReport>),
    /// A file that passed.
    File(Box<FileInfo>),
    /// How messages begin in a protocol that nobody knows.
    Framing(Box<Framing>),
    /// A host told its neighbours its name.
    Naming(Box<Naming>),
}

impl Record {
    /// When, where and between whom, whoever made the record.
    pub const fn head(&self) -> &Head {
        match self {
            Self::Conn(r) => &r.head,
            Self::Dns(r) => &r.head,
            Self::Smtp(r) => &r.head,
            Self::Http(r) => &r.head,
            Self::Tls(r) => &r.head,
            Self::Quic(r) => &r.head,
            Self::Irc(r) => &r.head,
            Self::Ssh(r) => &r.head,
            Self::Dhcp(r) => &r.head,
            Self::Frame(r) => &r.head,
            Self::Relay(r) => &r.head,
            Self::Alert(r) => &r.head,
            Self::Export(r) => &r.head,
            Self::Smb(r) => &r.head,
            Self::DceRpc(r) => &r.head,
            Self::SelfReport(r) => &r.head,
            Self::File(r) => &r.head,
            Self::Framing(r) => &r.head,
            Self::Naming(r) => &r.head,
        }
    }

    /// Its proof: the packets or lines that tell it.
    pub fn packets(&self) -> &[PacketId] {
        match self {
            Self::Conn(r) => &r.key_packets,
            Self::Dns(r) => &r.packets,
            Self::Smtp(r) => &r.packets,
            Self::Http(r) => &r.packets,
            Self::Tls(r) => &r.packets,
            Self::Quic(r) => &r.packets,
            Self::Irc(r) => &r.packets,
            Self::Ssh(r) => &r.packets,
            Self::Dhcp(r) => &r.packets,
            Self::Frame(r) => &r.packets,
            Self::Relay(r) => &r.packets,
            Self::Alert(r) => &r.packets,
            Self::Export(r) => &r.packets,
            Self::Smb(r) => &r.packets,
            Self::DceRpc(r) => &r.packets,
            Self::SelfReport(r) => &r.packets,
            Self::File(r) => &r.packets,
            Self::Framing(r) => &r.packets,
            Self::Naming(r) => &r.packets,
        }
    }

    /// Tells of the same packets where so many files more come before their own.
    pub fn renumber(&mut self, files: u32) {
        let head = self.head_mut();
        head.flow = head.flow.behind(files);
        let packets = match self {
            Self::Conn(r) => {
                r.key_packets = r.key_packets.iter().map(|p| p.behind(files)).collect();
                return;
            }
            Self::Dns(r) => &mut r.packets,
            Self::Smtp(r) => &mut r.packets,
            Self::Http(r) => &mut r.packets,
            Self::Tls(r) => &mut r.packets,
            Self::Quic(r) => &mut r.packets,
            Self::Irc(r) => &mut r.packets,
            Self::Ssh(r) => &mut r.packets,
            Self::Dhcp(r) => &mut r.packets,
            Self::Frame(r) => &mut r.packets,
            Self::Relay(r) => &mut r.packets,
            Self::Alert(r) => &mut r.packets,
            Self::Export(r) => &mut r.packets,
            Self::Smb(r) => &mut r.packets,
            Self::DceRpc(r) => &mut r.packets,
            Self::SelfReport(r) => &mut r.packets,
            Self::File(r) => &mut r.packets,
            Self::Framing(r) => &mut r.packets,
            Self::Naming(r) => &mut r.packets,
        };
        for packet in packets {
            *packet = packet.behind(files);
        }
    }

    /// The same, to be changed.
    pub const fn head_mut(&mut self) -> &mut Head {
        match self {
            Self::Conn(r) => &mut r.head,
            Self::Dns(r) => &mut r.head,
            Self::Smtp(r) => &mut r.head,
            Self::Http(r) => &mut r.head,
            Self::Tls(r) => &mut r.head,
            Self::Quic(r) => &mut r.head,
            Self::Irc(r) => &mut r.head,
            Self::Ssh(r) => &mut r.head,
            Self::Dhcp(r) => &mut r.head,
            Self::Frame(r) => &mut r.head,
            Self::Relay(r) => &mut r.head,
            Self::Alert(r) => &mut r.head,
            Self::Export(r) => &mut r.head,
            Self::Smb(r) => &mut r.head,
            Self::DceRpc(r) => &mut r.head,
            Self::SelfReport(r) => &mut r.head,
            Self::File(r) => &mut r.head,
            Self::Framing(r) => &mut r.head,
            Self::Naming(r) => &mut r.head,
        }
    }

    /// The flow's tuple.
    pub const fn tuple(&self) -> &Tuple {
        &self.head().tuple
    }

    /// Whom it tells of, first whose own it is: its local ends, who began before who answered, and a local proxy that it went through on its way. Where
    /// none of them is local, who began.
    pub fn ends(&self, is_local: impl Fn(IpAddr) -> bool) -> Ends {
        let tuple = self.tuple();
        let mut ends = Ends::default();
        ends.add(tuple.orig.ip, &is_local);
        ends.add(tuple.resp.ip, &is_local);
        if let Self::Conn(c) = self
            && let Some(via) = c.via
        {
            ends.add(via.ip, &is_local);
        }
        if ends.0[0].is_none() {
            ends.0[0] = Some(tuple.orig.ip);
        }
        ends
    }
}

/// Whom a record tells of: one address at least, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends([Option<IpAddr>; 3]);

impl Ends {
    fn add(&mut self, ip: IpAddr, is_local: impl Fn(IpAddr) -> bool) {
        if is_local(ip)
            && !self.0.contains(&Some(ip))
            && let Some(free) = self.0.iter_mut().find(|end| end.is_none())
        {
            *free = Some(ip);
        }
    }

    /// All of them, first whose own the record is.
    pub fn all(self) -> impl Iterator<Item = IpAddr> {
        self.0.into_iter().flatten()
    }
}

/// How a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RelayKind {
    /// A request whose target is a whole URL.
    Http,
    /// `CONNECT`, granted.
    Connect,
    /// SOCKS 4, 4a or 5, granted.
    Socks,
    /// The PROXY protocol's header.
    ProxyProtocol,
}

impl RelayKind {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Connect => "connect",
            Self::Socks => "socks",
            Self::ProxyProtocol => "proxy_protocol",
        }
    }
}

/// A proxy was asked to talk with somebody: what the flow carries from now on, or this request, is meant for that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// `ts` is when it was asked, or granted it; `tuple` has the client and the proxy, as packets have them.
    pub head: Head,
    /// How.
    pub kind: RelayKind,
    /// Whom: an address, or one that stands for `name`.
    pub destination: Endpoint,
    /// The name that was asked for, lower case.
    pub name: Option<String>,
    /// The packet that says so.
    pub packets: Vec<PacketId>,
}

/// One answer of a DNS response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// Record type.
    pub rtype: u16,
    /// Time to live in seconds.
    pub ttl: u32,
    /// The address, for A and AAAA.
    pub addr: Option<IpAddr>,
    /// The name, for CNAME, NS, MX and PTR.
    pub name: Option<String>,
}

/// A DNS question and, if one was seen, its answer. `orig` is the asking side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// `ts` is when the question was asked; when only the answer was seen, that.
    pub head: Head,
    /// Transaction id.
    pub id: u16,
    /// The name asked for: lower case, no trailing dot, unprintable bytes as `\ddd`.
    pub query: String,
    /// The type asked for.
    pub qtype: u16,
    /// Response code; `None` if no answer was seen.
    pub rcode: Option<u8>,
    /// Whether recursion was desired.
    pub recursion_desired: bool,
    /// The answers, at most 32.
    pub answers: Vec<DnsAnswer>,
    /// Time from question to answer.
    pub rtt: Option<Duration>,
    /// Length of the whole response in bytes.
    pub response_len: u32,
    /// Question's and answer's packets.
    pub packets: Vec<PacketId>,
}

impl Dns {
    /// NXDOMAIN: the name does not exist.
    pub const NXDOMAIN: u8 = 3;
    /// Type A.
    pub const A: u16 = 1;
    /// Type MX.
    pub const MX: u16 = 15;
    /// Type TXT.
    pub const TXT: u16 = 16;
    /// Type AAAA.
    pub const AAAA: u16 = 28;

    /// Whether the answer says that the name does not exist.
    pub fn is_nxdomain(&self) -> bool {
        self.rcode == Some(Self::NXDOMAIN)
    }
}

/// How a client said hello to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmtpCommandForm {
    /// It did not.
    None,
    /// `HELO`.
    Helo,
    /// `EHLO`.
    Ehlo,
}

/// An SMTP session, as far as it was in clear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smtp {
    /// `ts` is when the connection began; `tuple` has the client as `orig`.
    pub head: Head,
    /// The server's first reply code, usually 220.
    pub banner_code: Option<u16>,
    /// The server's first line, at most 200 bytes.
    pub banner: Option<String>,
    /// The first form of hello.
    pub hello: SmtpCommandForm,
    /// The name the client gave.
    pub helo: Option<String>,
    /// Whether the banner offered ESMTP.
    pub esmtp_offered: bool,
    /// Whether STARTTLS was offered.
    pub starttls_offered: bool,
    /// Whether STARTTLS was begun; nothing after it is seen.
    pub starttls_used: bool,
    /// Whether the client logged in, which a submission client does and a spam bot does not.
    pub auth: bool,
    /// MAIL commands.
    pub mail_count: u32,
    /// RCPT commands.
    pub rcpt_count: u32,
    /// RCPT commands answered 2xx.
    pub rcpt_accepted: u32,
    /// Domains of the senders given, lower case, at most 16.
    pub sender_domains: Vec<String>,
    /// Domains of the recipients given, lower case, at most 16.
    pub recipient_domains: Vec<String>,
    /// DATA (or BDAT) commands answered 354 or 2xx.
    pub data_count: u32,
    /// Messages that the server accepted.
    pub accepted_count: u32,
    /// 4xx and 5xx replies.
    pub rejects: u32,
    /// Those of them that ask to try again later (4xx), as greylists do.
    pub deferrals: u32,
    /// The last reply code of the server.
    pub last_code: Option<u16>,
    /// Bytes of message text.
    pub message_bytes: u64,
    /// When message text first flowed.
    pub first_data_at: Option<Timestamp>,
    /// Whether the client took its leave.
    pub quit: bool,
    /// Whether a header was spelled `Message-Id`, which an old family did.
    pub odd_message_id: bool,
    /// Bytes the client sent.
    pub client_bytes: u64,
    /// Whether words of the client, and of the server, are missing from the capture: what was not seen of them is unknown.
    pub missing: [bool; 2],
    /// The packets a reader wants to see.
    pub packets: Vec<PacketId>,
}

/// What a body looks like, whatever its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Magic {
    /// Nothing known.
    #[default]
    None,
    /// Windows executable (`MZ`).
    Pe,
    /// Linux executable.
    Elf,
    /// macOS executable.
    MachO,
    /// Zip (also Office, Java, Android).
    Zip,
    /// gzip.
    Gzip,
    /// RAR.
    Rar,
    /// 7-Zip.
    SevenZip,
    /// Microsoft cabinet.
    Cab,
    /// OLE2 compound (old Office, MSI).
    Ole,
    /// PDF.
    Pdf,
    /// An image.
    Image,
    /// Sound or video.
    Media,
    /// HTML or XML.
    Markup,
    /// JSON.
    Json,
    /// A script with `#!`.
    Script,
    /// Text that only PowerShell, a Windows script host or its command shell would run.
    WindowsScript,
    /// Java class.
    JavaClass,
    /// Flash.
    Flash,
    /// Other text.
    Text,
    /// Windows executable under a repeating key.
    SealedPe,
    /// A form of one field, whose value is code: hexadecimal digits, or base64's letters that stand for nothing that can be read.
    CodedForm,
    /// A form whose values are numbers, of which one stands with a point, beside at most one word: what sensors report.
    Readings,
    /// Rich Text Format.
    Rtf,
    /// Windows shortcut ([MS-SHLLINK] §2.1): it runs what it names.
    Shortcut,
    /// xz, bzip2, Zstandard or lzip: what Unix packs.
    Packed,
    /// A package of Debian or RPM.
    Package,
    /// An image of U-Boot, SquashFS or an update of Android: what devices run.
    Firmware,
}

impl Magic {
    /// Recognises the first bytes of a body.
    pub fn of(b: &[u8]) -> Self {
        match b {
            [b'M', b'Z', ..] if b.len() >= 64 || b.len() == 2 => Self::Pe,
            [0x7f, b'E', b'L', b'F', ..] => Self::Elf,
            [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => Self::MachO,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => Self::Rar,
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Self::SevenZip,
            [b'M', b'S', b'C', b'F', ..] => Self::Cab,
            [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, ..] => Self::Ole,
            [b'%', b'P', b'D', b'F', ..] => Self::Pdf,
            [0x89, b'P', b'N', b'G', ..]
            | [0xff, 0xd8, 0xff, ..]
            | [b'G', b'I', b'F', b'8', ..]
            | [0, 0, 1, 0, ..] => Self::Image,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Image,
            [b'R', b'I', b'F', b'F', ..]
            | [b'I', b'D', b'3', ..]
            | [b'O', b'g', b'g', b'S', ..]
            | [b'F', b'L', b'V', 1, ..] => Self::Media,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] | [0x1a, 0x45, 0xdf, 0xa3, ..] => Self::Media,
            [0x4c, 0, 0, 0, 1, 0x14, 2, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46, ..] => Self::Shortcut,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [b'L', b'Z', b'I', b'P', 1, ..] => Self::Packed,
            [
                b'!',
                b'<',
                b'a',
                b'r',
                b'c',
                b'h',
                b'>',
                b'\n',
                b'd',
                b'e',
                b'b',
                b'i',
                b'a',
                b'n',
                b'-',
                ..,
            ]
            | [0xed, 0xab, 0xee, 0xdb, ..] => Self::Package,
            [0x27, 5, 0x19, 0x56, ..]
            | [b'h', b's', b'q', b's', ..]
            | [b's', b'q', b's', b'h', ..]
            | [b'C', b'r', b'A', b'U', ..] => Self::Firmware,
            [0xca, 0xfe, 0xba, 0xbe, ..] => Self::JavaClass,
            [b'F' | b'C' | b'Z', b'W', b'S', ..] => Self::Flash,
            [b'#', b'!', b'/', ..] => Self::Script,
            _ if is_sealed_pe(b) => Self::SealedPe,
            _ => Self::of_text(b),
        }
    }

    fn of_text(b: &[u8]) -> Self {
        let b = b.strip_prefix(b"\xef\xbb\xbf").unwrap_or(b);
        let start = b.iter().position(|c| !c.is_ascii_whitespace()).unwrap_or(b.len());
        match &b[start..] {
            [] => Self::None,
            [b'<', c, ..] if c.is_ascii_alphabetic() || *c == b'!' || *c == b'?' => Self::Markup,
            [b'{', b'\\', b'r', b't', b'f', ..] => Self::Rtf,
            [b'{', ..] | [b'[', b'{' | b'"' | b'[', ..] => Self::Json,
            rest => {
                let shown = &rest[..rest.len().min(256)];
                let plain =
                    shown.iter().filter(|&&c| matches!(c, 0x20..=0x7e | b'\t' | b'\r' | b'\n')).count();
                match shown.len() >= 8 && plain == shown.len() {
                    true if speaks_script(rest) => Self::WindowsScript,
                    true if is_coded_form(rest) => Self::CodedForm,
                    true if are_readings(rest) => Self::Readings,
                    true => Self::Text,
                    false => Self::None,
                }
            }
        }
    }

    /// Whether it begins as nothing that anybody knows.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::None | Self::SealedPe)
    }

    /// Whether it can be run as it is.
    pub const fn is_executable(self) -> bool {
        matches!(self, Self::Pe | Self::Elf | Self::MachO | Self::Script)
    }

    /// Whether it is a container that malware travels in as well as other things.
    pub const fn is_archive(self) -> bool {
        matches!(
            self,
            Self::Zip
                | Self::Gzip
                | Self::Rar
                | Self::SevenZip
                | Self::Cab
                | Self::Ole
                | Self::JavaClass
                | Self::Packed
                | Self::Package
        )
    }

    /// Every one.
    const ALL: [Self; 28] = [
        Self::None,
        Self::Pe,
        Self::Elf,
        Self::MachO,
        Self::Zip,
        Self::Gzip,
        Self::Rar,
        Self::SevenZip,
        Self::Cab,
        Self::Ole,
        Self::Pdf,
        Self::Image,
        Self::Media,
        Self::Markup,
        Self::Json,
        Self::Script,
        Self::WindowsScript,
        Self::JavaClass,
        Self::Flash,
        Self::Text,
        Self::SealedPe,
        Self::CodedForm,
        Self::Readings,
        Self::Rtf,
        Self::Shortcut,
        Self::Packed,
        Self::Package,
        Self::Firmware,
    ];

    /// By the name in records.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Whether it is told of as a file: no text or markup, which are pages and their parts, no pictures and no sound.
    pub const fn is_file(self) -> bool {
        !matches!(
            self,
            Self::Markup
                | Self::Json
                | Self::Image
                | Self::Media
                | Self::Text
                | Self::CodedForm
                | Self::Readings
        )
    }

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pe => "pe",
            Self::Elf => "elf",
            Self::MachO => "mach-o",
            Self::Zip => "zip",
            Self::Gzip => "gzip",
            Self::Rar => "rar",
            Self::SevenZip => "7z",
            Self::Cab => "cab",
            Self::Ole => "ole",
            Self::Pdf => "pdf",
            Self::Image => "image",
            Self::Media => "media",
            Self::Markup => "markup",
            Self::Json => "json",
            Self::Script => "script",
            Self::WindowsScript => "windows-script",
            Self::JavaClass => "java-class",
            Self::Flash => "flash",
            Self::Text => "text",
            Self::SealedPe => "sealed-pe",
            Self::CodedForm => "coded-form",
            Self::Readings => "readings",
            Self::Rtf => "rtf",
            Self::Shortcut => "lnk",
            Self::Packed => "packed",
            Self::Package => "package",
            Self::Firmware => "firmware",
        }
    }
}

/// Whether text is a form of one field of at least 100 letters of code (*assumed*), as far as it is there.
fn is_coded_form(text: &[u8]) -> bool {
    const LONGEST_NAME: usize = 24;
    const SHORTEST: usize = 100;
    let Some(at) = text.iter().position(|b| *b == b'=').filter(|at| (1..=LONGEST_NAME).contains(at)) else {
        return false;
    };
    let (name, value) = (&text[..at], String::from_utf8_lossy(&text[at + 1..]));
    let value = value.replace("%2B", "+").replace("%2F", "/").replace("%2b", "+").replace("%2f", "/");
    let value = value.trim_end_matches("%3D").trim_end_matches("%3d").trim_end_matches('=');
    // A sign in percent code may be cut.
    let value = value.rfind('%').filter(|at| at + 3 > value.len()).map_or(value, |at| &value[..at]);
    if value.len() < SHORTEST || !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return false;
    }
    let readable =
        |plain: &[u8]| plain.iter().filter(|b| (0x20..0x7f).contains(*b)).count() * 4 > plain.len() * 3;
    let decoded = || {
        let whole = &value[..value.len() & !3];
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, whole)
    };
    value.bytes().all(|b| b.is_ascii_hexdigit())
        || (value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
            && decoded().is_ok_and(|plain| !readable(&plain) && !is_packed_or_wide(&plain)))
}

/// Whether bytes begin as gzip or zlib do (RFC 1950, 1952), or hold letters of two bytes.
fn is_packed_or_wide(plain: &[u8]) -> bool {
    let is_wide = || plain.split(|b| *b == 0).count() * 4 > plain.len();
    matches!(plain, [0x1f, 0x8b, ..] | [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..]) || is_wide()
}

/// Whether the fields of a form or a query are what sensors report: two numbers or more, one of them with a point, and at most one word of up to 64 letters (the sensor's name, or its key) (*assumed*).
pub fn are_readings(fields: &[u8]) -> bool {
    const LONGEST_WORD: usize = 64;
    /// What a program says of itself are numbers as well.
    const OF_A_PROGRAM: [&str; 10] =
        ["v", "vs", "ver", "version", "os", "build", "win", "arch", "bit", "bits"];
    let Ok(fields) = std::str::from_utf8(fields.trim_ascii()) else { return false };
    let (mut numbers, mut words, mut pointed) = (0, 0, false);
    for field in fields.split('&') {
        let Some((name, value)) = field.split_once('=') else { return false };
        if OF_A_PROGRAM.iter().any(|of| name.eq_ignore_ascii_case(of)) || value.len() > LONGEST_WORD {
            return false;
        }
        let digits = value.bytes().all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
        if digits && value.parse::<f64>().is_ok() {
            numbers += 1;
            pointed |= value.contains('.');
        } else {
            words += 1;
        }
    }
    pointed && numbers >= 2 && words <= 1
}

/// Whether a Windows executable stands under a key that repeats (XOR). Bytes 0x1c to 0x3b of its DOS header are zero, so that the key shows there, and its
/// DOS program says what it is (Microsoft, PE Format §MS-DOS Stub).
fn is_sealed_pe(b: &[u8]) -> bool {
    /// A key that shows twice.
    const LONGEST_KEY: usize = 16;
    const ZEROS: std::ops::Range<usize> = 0x1c..0x3c;
    const STUB: &[u8] = b"This program";
    let Some(zeros) = b.get(ZEROS) else { return false };
    let period = (1..=LONGEST_KEY).find(|p| zeros.iter().zip(&zeros[*p..]).all(|(a, again)| a == again));
    let Some(period) = period else { return false };
    let plain = |at: usize| b.get(at).map(|c| c ^ zeros[(at + period * ZEROS.end - ZEROS.start) % period]);
    plain(0) == Some(b'M')
        && plain(1) == Some(b'Z')
        && (0x40..0x80).any(|from| STUB.iter().enumerate().all(|(i, c)| plain(from + i) == Some(*c)))
}

/// Whether text is a script for Windows: it begins with a call of PowerShell and .NET (Microsoft's language reference), of the
/// Windows script host, or an array of bytes by their numbers, or holds two different ones.
fn speaks_script(text: &[u8]) -> bool {
    const WORDS: [&str; 13] = [
        "$env:comspec",
        "[byte[]]",
        "[system.convert]::",
        "[convert]::frombase64string",
        "[system.reflection.assembly]",
        "[reflection.assembly]",
        "[appdomain]::",
        "invoke-expression",
        "new-object net.webclient",
        "new-object system.net.webclient",
        "wscript.shell",
        "scripting.filesystemobject",
        "@echo off",
    ];
    /// Bytes that count as the beginning.
    const BEGINNING: usize = 64;
    let text = text[..text.len().min(512)].to_ascii_lowercase();
    let text = String::from_utf8_lossy(&text);
    let numbers = text.match_indices("@(").find(|(at, _)| {
        let list = text.get(at + 2..).unwrap_or_default().split(',');
        list.take(8).filter(|n| n.trim().parse::<u8>().is_ok()).count() == 8
    });
    let found: Vec<usize> =
        WORDS.iter().filter_map(|w| text.find(w)).chain(numbers.map(|(at, _)| at)).collect();
    found.len() > 1 || found.iter().any(|at| *at < BEGINNING)
}

/// A body of an HTTP message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BodyFacts {
    /// Bytes seen (and bytes that must have been there, where a gap swallowed them).
    pub len: u64,
    /// `Content-Type`, lower case, without parameters.
    pub declared: Option<String>,
    /// Whether `Content-Encoding` or chunked coding says that the bytes are compressed.
    pub encoded: bool,
    /// What the first bytes are.
    pub magic: Magic,
    /// Facts of the first bytes (up to 512).
    pub facts: Option<PayloadFacts>,
}

/// Which headers a request had: a browser sends a fixed set, and who only claims to be one often does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeaders {
    bits: u16,
    /// How many headers there were.
    pub count: u8,
}

impl RequestHeaders {
    /// `Accept`.
    pub const ACCEPT: u16 = 1;
    /// `Accept-Language`.
    pub const LANGUAGE: u16 = 1 << 1;
    /// `Accept-Encoding`.
    pub const ENCODING: u16 = 1 << 2;
    /// `Origin`.
    pub const ORIGIN: u16 = 1 << 3;
    /// `Cache-Control` or `Pragma`.
    pub const CACHE: u16 = 1 << 4;
    /// `Authorization` or `Proxy-Authorization`.
    pub const AUTHORIZATION: u16 = 1 << 5;
    /// `X-Requested-With`.
    pub const REQUESTED_WITH: u16 = 1 << 6;
    /// `Range` or `If-…`.
    pub const CONDITION: u16 = 1 << 7;
    /// `Sec-…`.
    pub const SEC: u16 = 1 << 8;
    /// `Connection`.
    pub const CONNECTION: u16 = 1 << 9;
    /// `SOAPAction`.
    pub const SOAP: u16 = 1 << 10;
    /// `Via` or `X-Forwarded-For`: a proxy passed it on.
    pub const FORWARDED: u16 = 1 << 11;
    /// No header: the request line says HTTP/1.0.
    pub const HTTP_1_0: u16 = 1 << 12;
    /// `X-Flash-Version`: a plug-in of the browser asks, with fewer headers than its page.
    pub const PLUGIN: u16 = 1 << 13;

    /// No header: whoever saw the request did not tell its headers.
    const UNTOLD: u16 = 1 << 15;

    /// No header: nor was told of which type the bodies are said to be.
    const UNTYPED: u16 = 1 << 14;

    /// Headers that nobody told, nor the types of bodies.
    pub const fn untold() -> Self {
        Self { bits: Self::UNTOLD | Self::UNTYPED, count: 0 }
    }

    /// The same headers, of a request of which nobody told the types of bodies.
    #[must_use]
    pub const fn untyped(self) -> Self {
        Self { bits: self.bits | Self::UNTYPED, count: self.count }
    }

    /// Whether a body without a declared type was declared to be none.
    pub const fn types_are_known(self) -> bool {
        self.bits & Self::UNTYPED == 0
    }

    /// Whether it is known which there were.
    pub const fn are_known(self) -> bool {
        self.bits & Self::UNTOLD == 0
    }

    /// Notes a header by its name in lower case; whether it is one of those.
    pub const fn note(&mut self, lower: &[u8]) -> bool {
        let bit = match lower {
            b"accept" => Self::ACCEPT,
            b"accept-language" => Self::LANGUAGE,
            b"accept-encoding" => Self::ENCODING,
            b"origin" => Self::ORIGIN,
            b"cache-control" | b"pragma" => Self::CACHE,
            b"authorization" | b"proxy-authorization" => Self::AUTHORIZATION,
            b"x-requested-with" => Self::REQUESTED_WITH,
            b"range" | [b'i', b'f', b'-', ..] => Self::CONDITION,
            b"connection" => Self::CONNECTION,
            b"x-flash-version" => Self::PLUGIN,
            b"soapaction" => Self::SOAP,
            b"via" | b"x-forwarded-for" => Self::FORWARDED,
            [b's', b'e', b'c', b'-', ..] => Self::SEC,
            _ => return false,
        };
        self.add(bit);
        true
    }

    /// Notes a header.
    pub const fn add(&mut self, bit: u16) {
        self.bits |= bit;
    }

    /// Whether all of `bits` were there.
    pub const fn has(self, bits: u16) -> bool {
        self.bits & bits == bits
    }
}

/// An HTTP request and, if one was seen, its response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Http {
    /// `ts` is when the request began; `tuple` has the client as `orig`.
    pub head: Head,
    /// Which request of the connection, from 0.
    pub depth: u32,
    /// The method, upper case.
    pub method: String,
    /// The `Host` header without port, lower case.
    pub host: Option<String>,
    /// The request target, at most 1,024 bytes.
    pub path: String,
    /// The response's status.
    pub status: Option<u16>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Referer`.
    pub referer: Option<String>,
    /// Whether a cookie was sent.
    pub cookie: bool,
    /// Which headers the request had.
    pub headers: RequestHeaders,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// What the client sent.
    pub request: BodyFacts,
    /// What the server sent.
    pub response: BodyFacts,
    /// Request's and response's packets.
    pub packets: Vec<PacketId>,
}

/// A server's certificate, as TLS up to 1.2 sends it in clear. Nothing of it is checked here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The subject's common name, or else its organisation.
    pub subject: String,
    /// The issuer's common name, or else its organisation.
    pub issuer: String,
    /// Whether subject and issuer are one.
    pub self_signed: bool,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Names that it is for, lower case, at most 32.
    pub names: Vec<String>,
    /// The whole certificate, as it was sent.
    pub der: Vec<u8>,
    /// The certificates that were sent with it, at most [`Self::MAX_CHAIN`], where the server also proved that the key is its own.
    pub chain: Vec<Vec<u8>>,
    /// That proof.
    pub proof: Option<KeyProof>,
}

/// What a server signed with its certificate's key in this handshake (RFC 5246 §7.4.3): whoever replays a certificate cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProof {
    /// The number of the signature's scheme (RFC 8446 §4.2.3).
    pub scheme: u16,
    /// What was signed: both sides' random bytes and the key exchange's parameters.
    pub signed: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Certificate {
    /// Certificates kept beside it; servers send one to three.
    pub const MAX_CHAIN: usize = 4;

    /// SHA-1 of the whole certificate in hex, as indicator lists name it.
    pub fn sha1(&self) -> String {
        hex(&sha1::Sha1::digest(&self.der))
    }

    /// SHA-256 of the whole certificate in hex.
    pub fn sha256(&self) -> String {
        hex(&sha2::Sha256::digest(&self.der))
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat()
}

/// A TLS handshake, as far as it is in clear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// `ts` is when the ClientHello came; `tuple` has the client as `orig`.
    pub head: Head,
    /// The version the server chose, or the highest the client offered.
    pub version: u16,
    /// Server name, lower case.
    pub sni: Option<String>,
    /// The first protocol the client offered.
    pub alpn: Option<String>,
    /// JA4 fingerprint of the ClientHello.
    pub ja4: Option<String>,
    /// The cipher suite the server chose.
    pub cipher: Option<u16>,
    /// The server's certificate, where it was in clear and could be read.
    pub certificate: Option<Box<Certificate>>,
    /// The hello's packets.
    pub packets: Vec<PacketId>,
}

/// A QUIC connection whose Initial was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quic {
    /// `ts` is when the first Initial came; `tuple` has the client as `orig`.
    pub head: Head,
    /// QUIC version number.
    pub version: u32,
    /// Server name, lower case.
    pub sni: Option<String>,
    /// The first protocol the client offered.
    pub alpn: Option<String>,
    /// JA4 fingerprint of the ClientHello.
    pub ja4: Option<String>,
    /// The packets that held it.
    pub packets: Vec<PacketId>,
}

/// A line of IRC that tells what a client does or is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Irc {
    /// `ts` is when the line came; `tuple` has the client as `orig`.
    pub head: Head,
    /// Who said it.
    pub from: Direction,
    /// `NICK`, `USER`, `JOIN`, `PRIVMSG`, `TOPIC`, `332`, …
    pub command: String,
    /// The parameters, at most 400 bytes.
    pub params: String,
    /// The line's packet.
    pub packets: Vec<PacketId>,
}

/// SSH banners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ssh {
    /// `ts` is when the first banner came; `tuple` has the client as `orig`.
    pub head: Head,
    /// The client's software.
    pub client: Option<String>,
    /// The server's software.
    pub server: Option<String>,
    /// The banners' packets.
    pub packets: Vec<PacketId>,
}

/// A DHCP client's identity, from a request or an acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dhcp {
    /// `ts` is when the message came.
    pub head: Head,
    /// The client's Ethernet address.
    pub mac: Mac,
    /// The address the client has or was given.
    pub ip: Option<IpAddr>,
    /// The name the client gave itself.
    pub host_name: Option<String>,
    /// DHCP message type: 3 REQUEST, 5 ACK, 8 INFORM.
    pub kind: u8,
    /// Who sent a server's message; `None` for a client's.
    pub server: Option<IpAddr>,
    /// Resolvers that a server hands out, at most eight.
    pub resolvers: Vec<IpAddr>,
    /// How long the address is the client's, in seconds.
    pub lease: Option<u32>,
    /// What the client's DHCP program calls itself (vendor class, RFC 2132 §9.13), at most 255 bytes.
    pub vendor: Option<String>,
    /// The message's packet.
    pub packets: Vec<PacketId>,
}

/// A host told its neighbours what it is called. `orig` is the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Naming {
    /// `ts` is when it did.
    pub head: Head,
    /// By which protocol: NetBIOS or multicast DNS.
    pub within: Service,
    /// The name: of NetBIOS as it stands there, of multicast DNS lower case and without `.local`.
    pub name: String,
    /// The message's packet.
    pub packets: Vec<PacketId>,
}

/// An alert of Suricata, or a notice of Zeek.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `ts` is when the rule was met.
    pub head: Head,
    /// Who says so: `suricata`, `zeek`.
    pub sensor: Cow<'static, str>,
    /// The rule's number there, if it has one.
    pub rule: Option<u64>,
    /// What it is called.
    pub signature: String,
    /// What kind of thing it is about, in the sensor's words; empty where it does not say.
    pub category: String,
    /// From 1 (worst) on; 0 where it does not say.
    pub severity: u8,
    /// The log's row.
    pub packets: Vec<PacketId>,
}

impl Alert {
    /// The generator (`gid`) of alerts that this program writes in Suricata's form: not 1, which is that of rules, so that its numbers are no rule's.
    /// Read again, they tell nothing that was not known.
    pub const OWN_GENERATOR: u32 = 4470;
}

/// A datagram of NetFlow or IPFIX, as it is: what is in it needs templates that other datagrams bring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// `ts` is when it was sent.
    pub head: Head,
    /// Who exports.
    pub exporter: Endpoint,
    /// Its bytes, as far as they were captured.
    pub datagram: Vec<u8>,
    /// The packet.
    pub packets: Vec<PacketId>,
}

/// A payload of the length and look of a Kraken frame: at most level L1 of KRAKEN §3.4 is claimed of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameCandidate {
    /// `ts` is when it came.
    pub head: Head,
    /// Which way it went.
    pub from: Direction,
    /// Which payload of its side it is, from 0.
    pub position: u32,
    /// Its numbers and first bytes.
    pub facts: PayloadFacts,
    /// Its packet.
    pub packets: Vec<PacketId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_code_is_told_from_other_forms() {
        let hex = "0f05f2393c1a354ad6e57d984568037e".repeat(4);
        let code = "D/BSk8GjVK1uV9mEVoA3+efgcMrpIRzcD18bBlSEz2fmBUk4dwabvMa36uho".repeat(2);
        let words = "SGVsbG8gV29ybGQsIHRoaXMgaXMgcGxhaW4gdGV4dC4g".repeat(3);
        let percent = format!("data={}", code.replace('/', "%2F").replace('+', "%2B"));
        for text in [
            format!("o={hex}"),
            format!("data={code}"),
            percent.clone(),
            format!("{percent}%3D%3D"),
            format!("{percent}%2"),
        ] {
            assert_eq!(Magic::of(text.as_bytes()), Magic::CodedForm, "{text}");
        }
        for text in [
            format!("id={}", &hex[..96]),
            format!("id={hex}&v=1"),
            format!("text={words}"),
            hex.clone(),
            format!("a b={hex}"),
        ] {
            assert_eq!(Magic::of(text.as_bytes()), Magic::Text, "{text}");
        }
    }

    #[test]
    fn documents_shortcuts_and_what_unix_and_devices_are_given() {
        let shortcut = b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46\x9b\0\x08\0";
        for (begins, magic) in [
            (&b"{\\rtf1\\ansi{\\object\\objocx"[..], Magic::Rtf),
            (b"{\\\"rtf\": 1}", Magic::Json),
            (shortcut, Magic::Shortcut),
            (&shortcut[..19], Magic::None),
            (b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46", Magic::Packed),
            (b"BZh91AY&SY\xd8r\x01", Magic::Packed),
            (b"BZhao Wei wrote this", Magic::Text),
            (b"\x28\xb5\x2f\xfd\x04\0", Magic::Packed),
            (b"!<arch>\ndebian-binary   1", Magic::Package),
            (b"!<arch>\nmain.o/         1", Magic::Text),
            (b"\x27\x05\x19\x56\x12\x34", Magic::Firmware),
            (b"hsqs\x07\0\0\0", Magic::Firmware),
        ] {
            assert_eq!(Magic::of(begins), magic, "{}", begins.escape_ascii());
        }
        assert!(Magic::ALL.iter().all(|m| Magic::named(m.name()) == Some(*m)));
    }

    #[test]
    fn readings_are_told_from_other_forms() {
        for text in ["temp=21.5&hum=40", "id=ESP-1A2B&t=-3.25&h=55&p=1013.2", "field1=7&field2=0.5\r\n"] {
            assert_eq!(Magic::of(text.as_bytes()), Magic::Readings, "{text}");
        }
        for text in [
            "id=152138533219&vs=3.50&sd=a7b9&os=9&bi=1&pc=PC-03&un=jo",
            "temp=21&hum=40",
            "temperature=21.5",
            "id=7F3A&ver=1.2&os=10",
            "t=1.5&h=2&word",
        ] {
            assert_eq!(Magic::of(text.as_bytes()), Magic::Text, "{text}");
        }
    }

    #[test]
    fn a_program_shows_through_a_key_that_repeats() {
        let mut plain = vec![0u8; 256];
        plain[..4].copy_from_slice(b"MZ\x90\0");
        plain[0x3c] = 0x80;
        plain[0x4e..0x74].copy_from_slice(b"This program cannot be run in DOS mode");
        let under =
            |key: &[u8]| -> Vec<u8> { plain.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect() };
        for key in [
            &b"\x9c"[..],
            b"01hdutnf",
            b"bsip",
            b"\xde\xad\xbe\xef\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b",
        ] {
            assert_eq!(Magic::of(&under(key)), Magic::SealedPe, "{}", key.escape_ascii());
        }
        let mut other = under(b"bsip");
        other[0x50] ^= 1;
        assert_eq!(Magic::of(&other), Magic::None, "it must say what it is");
        assert_eq!(Magic::of(&[0x9c; 256]), Magic::None);
    }

    #[test]
    fn scripts_are_told_from_other_text() {
        for script in [
            "$shE=@(91,66,121,116,101,91,93,93,36,115)",
            ".( $Env:comsPEC[4,15,25]-jOiN'') (1010000)",
            "@echo off\r\necho.\r\n",
            "Set s = CreateObject(\"WScript.Shell\")",
        ] {
            assert_eq!(Magic::of(script.as_bytes()), Magic::WindowsScript, "{script}");
        }
        assert_eq!(Magic::of(b"#!/bin/sh\nwget"), Magic::Script);
        for text in [
            "Dear all, please send your report @(the usual place), thanks.",
            "a { width: 10px } @media (min-width: 800px) { a { width: 20px } }",
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
            "var x = [1,2,3,4,5,6,7,8,9,10];",
            "To use it behind a proxy, open a window of PowerShell as you always do and set $env:HTTP_PROXY = 'http://proxy'.",
            "Notes on scripts that you had better not run: whatever hands its input to Invoke-Expression, for one.",
        ] {
            assert_eq!(Magic::of(text.as_bytes()), Magic::Text, "{text}");
        }
    }
}
