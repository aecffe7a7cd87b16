//! Whether a message tells of the machine that it comes from: the name of its system in words, as programs write it, or the structure in which
//! Windows tells its version; or lists of passwords, as those who steal them make. In clear, in base 64, or packed by zlib behind a short header.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::{Decompress, FlushDecompress};
use memchr::memmem;
use record::{FlowFacts, PacketId, Record, SelfReport, Service, Timestamp};

use crate::outbox::Outbox;

/// The leading bytes of a message that are looked at.
pub const LOOKED_AT: usize = 2048;
/// Where a packed part begins at the latest: behind a word, two lengths and a type (*assumed*).
const LONGEST_HEADER: usize = 32;
/// The bytes of a packed part that are unpacked.
const UNPACKED: usize = 4096;
/// A shorter run of letters of base 64 is a word.
const SHORTEST_CODED: usize = 64;
/// The shortest first line of what is longer; mail breaks it after 76 (RFC 2045 §6.8).
const SHORTEST_LINE: usize = 40;
/// Pairs of a name and a password from which on they are a list (*assumed*: who is sent one is sent a new one).
const LIST: u32 = 2;
/// The longest name of a system.
const LONGEST_NAME: usize = 48;
/// Characters of readable text that are kept.
const LONGEST_TEXT: usize = 256;
/// Sizes of `OSVERSIONINFO` and `OSVERSIONINFOEX`, with letters of one and of two bytes (Microsoft, `sysinfoapi.h`).
const VERSION_STRUCTURES: [u32; 4] = [148, 156, 276, 284];

/// What a message tells.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    system: Option<String>,
    passwords: u32,
    own_address: bool,
    unpacked: bool,
    text: String,
}

/// Tells what a message of the client's tells of its machine, if it does; gives whether it does.
pub fn report(
    flow: &FlowFacts,
    within: Service,
    message: &[u8],
    (ts, at): (Timestamp, Timestamp),
    packet: PacketId,
    out: &mut Outbox,
) -> bool {
    let told = told(message, flow.tuple.orig.ip);
    told.map(|told| out.records.push(told.record(flow, within, (ts, at), packet))).is_some()
}

/// Tells what a request of HTTP that no page led to says of its machine, in its `User-Agent` or its body: which edition of Windows it runs, which no browser
/// says, and no page can know. Gives whether it does.
pub fn of_request(
    flow: &FlowFacts,
    said: &[u8],
    (ts, at): (Timestamp, Timestamp),
    packet: PacketId,
    out: &mut Outbox,
) -> bool {
    let told = told_by_request(said, flow.tuple.orig.ip);
    told.map(|told| out.records.push(told.record(flow, Service::Http, (ts, at), packet))).is_some()
}

impl Told {
    fn record(
        self,
        flow: &FlowFacts,
        within: Service,
        (ts, at): (Timestamp, Timestamp),
        packet: PacketId,
    ) -> Record {
        Record::SelfReport(Box::new(SelfReport {
            head: flow.head(ts, at),
            within,
            system: self.system,
            passwords: self.passwords,
            own_address: self.own_address,
            unpacked: self.unpacked,
            text: self.text,
            packets: vec![packet],
        }))
    }
}

fn told_by_request(said: &[u8], own: IpAddr) -> Option<Told> {
    let said = said.get(..LOOKED_AT).unwrap_or(said);
    // A form writes a space in one of two ways.
    let coded = ["Windows+", "Windows%20"].iter().any(|word| memmem::find(said, word.as_bytes()).is_some());
    let spaced = coded.then(|| String::from_utf8_lossy(said).replace("%20", " ").replace('+', " "));
    let system = edition(spaced.as_ref().map_or(said, String::as_bytes))?;
    // A form may hold what its user typed, whatever its fields are called.
    let lower = String::from_utf8_lossy(said).to_ascii_lowercase();
    let secret = ["pass", "pwd"].iter().any(|word| lower.contains(word));
    let text = if secret { String::new() } else { readable(said) };
    Some(Told {
        system: Some(system),
        passwords: 0,
        own_address: tells_address(said, own),
        unpacked: false,
        text,
    })
}

/// A version of Windows with its edition; not what a product says in a comment behind its name, as some players and updaters do.
fn edition(said: &[u8]) -> Option<String> {
    const EDITIONS: [&[u8]; 10] = [
        b"Professional",
        b"Pro",
        b"Home",
        b"Enterprise",
        b"Ultimate",
        b"Education",
        b"Starter",
        b"Standard",
        b"Datacenter",
        b"Essentials",
    ];
    let is_version =
        |w: &[u8]| w.first().is_some_and(u8::is_ascii_digit) || matches!(w, b"XP" | b"Vista" | b"R2");
    let (at, rest) = found(said, "Windows ").find(|(_, rest)| {
        let words = rest.split(|b| !b.is_ascii_alphanumeric() && *b != b'.').filter(|w| *w != b"Server");
        let mut words = words.peekable();
        let versioned = words.peek().is_some_and(|w| is_version(w));
        versioned && words.find(|w| !is_version(w)).is_some_and(|w| EDITIONS.contains(&w))
    })?;
    let before = said.get(..at).unwrap_or_default();
    let count = |sign| memchr::memchr_iter(sign, before).count();
    if count(b'(') > count(b')') {
        return None;
    }
    let ends = |b: &u8| !(0x20..0x7f).contains(b) || b"|;,<>\"'&\\/{}[]".contains(b);
    let name = rest.split(ends).next().unwrap_or_default();
    let name = name.get(..LONGEST_NAME).unwrap_or(name);
    Some(format!("Windows {}", String::from_utf8_lossy(name).trim()))
}

/// What a message of `own`'s tells of its machine, if it names the system or lists passwords.
fn told(message: &[u8], own: IpAddr) -> Option<Told> {
    let message = message.get(..LOOKED_AT).unwrap_or(message);
    of_plain(message, own, false)
        .or_else(|| of_plain(&decoded(message)?, own, false))
        .or_else(|| of_plain(&unpack(message)?, own, true))
}

/// The longest run of base 64, decoded; lines may end within.
fn decoded(message: &[u8]) -> Option<Vec<u8>> {
    let is_code = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'\r' | b'\n');
    let run = message.split(|b| !is_code(b)).max_by_key(|run| run.len())?;
    // Words before it, such as the name of the code, stand in lines of their own.
    let lines = run.split(|b| matches!(b, b'\r' | b'\n')).skip_while(|line| line.len() < SHORTEST_LINE);
    let mut code: Vec<u8> = lines.flatten().copied().collect();
    if code.len() < SHORTEST_CODED {
        return None;
    }
    code.truncate(code.len() & !3);
    STANDARD_NO_PAD.decode(code).ok()
}

fn of_plain(bytes: &[u8], own: IpAddr, unpacked: bool) -> Option<Told> {
    // Letters of two bytes have a zero beside each.
    let narrow: Vec<u8>;
    let (text, named) = match named(bytes) {
        None if bytes.contains(&0) => {
            narrow = bytes.iter().copied().filter(|b| *b != 0).collect();
            (&*narrow, named(&narrow))
        }
        named => (bytes, named),
    };
    let system = named.or_else(|| version_structure(bytes));
    let passwords = passwords(text);
    if system.is_none() && passwords < LIST {
        return None;
    }
    // Whose passwords they are is nobody's business; that they go out is.
    let secret = SECRETS.iter().any(|w| memmem::find(text, w.as_bytes()).is_some());
    let text = if secret { String::new() } else { readable(text) };
    Some(Told { system, passwords, own_address: tells_address(bytes, own), unpacked, text })
}

/// The zlib stream that begins within the first bytes, unpacked as far as is looked at.
fn unpack(message: &[u8]) -> Option<Vec<u8>> {
    let starts = message.windows(2).take(LONGEST_HEADER).enumerate();
    // RFC 1950: deflate with a window of 32 KiB, and two bytes that 31 divides.
    let is_zlib = |w: &[u8]| matches!(w, [0x78, 0x01 | 0x5e | 0x9c | 0xda]);
    for (at, _) in starts.filter(|(_, w)| is_zlib(w)) {
        let mut plain = Vec::with_capacity(UNPACKED);
        let packed = message.get(at..).unwrap_or_default();
        let read = Decompress::new(true).decompress_vec(packed, &mut plain, FlushDecompress::None);
        // Of a stream that is cut, or longer than the room, the beginning serves.
        if read.is_ok() && plain.len() >= 16 {
            return Some(plain);
        }
    }
    None
}

/// What announces a password.
const SECRETS: &[&str] = &["Password:", "password:", "Password :", "PASS:", "Pass:"];

/// How often both a name and a password are announced.
fn passwords(text: &[u8]) -> u32 {
    let count = |words: &[&str]| {
        words.iter().map(|w| memmem::find_iter(text, w).count()).fold(0usize, usize::saturating_add)
    };
    let secrets = count(SECRETS);
    if secrets == 0 {
        return 0;
    }
    let names =
        count(&["Username:", "User Name:", "User:", "Login:", "Email:", "username:", "Username :", "USER:"]);
    u32::try_from(secrets.min(names)).unwrap_or(u32::MAX)
}

/// The system's name in words.
fn named(bytes: &[u8]) -> Option<String> {
    // What browsers say of themselves is in protocols that pass a request on.
    if memmem::find(bytes, b"Mozilla/").is_some() {
        return None;
    }
    let windows = ["Windows ", "Win "].into_iter().flat_map(|w| found(bytes, w));
    let windows = windows.filter(|(_, rest)| {
        let word = rest.split(|b| !b.is_ascii_alphanumeric() && *b != b'.').next().unwrap_or_default();
        matches!(
            word,
            b"XP"
                | b"NT"
                | b"Vista"
                | b"Server"
                | b"2000"
                | b"2003"
                | b"2008"
                | b"7"
                | b"8"
                | b"8.1"
                | b"10"
                | b"11"
        )
    });
    let others =
        ["Linux ", "Linux version ", "Mac OS X ", "macOS "].into_iter().flat_map(|w| found(bytes, w));
    let others = others.filter(|(_, rest)| matches!(rest, [a, b'.', b, ..] | [a, _, b'.', b, ..] if a.is_ascii_digit() && b.is_ascii_digit()));
    let (at, _) = windows.chain(others).min_by_key(|(at, _)| *at)?;
    let ends = |b: &u8| !(0x20..0x7f).contains(b) || b"|;,<>\"'&\\/{}[]".contains(b);
    let name = bytes.get(at..)?.split(ends).next()?;
    let name = name.get(..LONGEST_NAME).unwrap_or(name);
    Some(String::from_utf8_lossy(name).trim().to_owned())
}

/// Where a word stands by itself, and what follows it.
fn found<'a>(bytes: &'a [u8], word: &'static str) -> impl Iterator<Item = (usize, &'a [u8])> {
    memmem::find_iter(bytes, word).filter_map(move |at| {
        let before = at.checked_sub(1).and_then(|b| bytes.get(b));
        let alone = before.is_none_or(|b| !b.is_ascii_alphabetic());
        Some((at, bytes.get(at.checked_add(word.len())?..)?)).filter(|_| alone)
    })
}

/// The version in a structure of Windows: its own size, major and minor version, build and platform, each of four bytes.
fn version_structure(bytes: &[u8]) -> Option<String> {
    bytes.windows(20).find_map(|w| {
        let (words, _) = w.as_chunks::<4>();
        let [size, major, minor, build, platform] = *words else { return None };
        let [size, major, minor, build, platform] =
            [size, major, minor, build, platform].map(u32::from_le_bytes);
        let sane = VERSION_STRUCTURES.contains(&size)
            && matches!(major, 4..=6 | 10)
            && matches!(minor, 0..=4 | 10 | 90)
            && (900..100_000).contains(&(build & 0xffff))
            && matches!(platform, 1 | 2);
        sane.then(|| format!("Windows {major}.{minor} build {}", build & 0xffff))
    })
}

fn tells_address(bytes: &[u8], own: IpAddr) -> bool {
    let in_words = memmem::find(bytes, own.to_string().as_bytes()).is_some();
    in_words || matches!(own, IpAddr::V4(v4) if memmem::find(bytes, &v4.octets()).is_some())
}

/// What can be read: runs of at least four printable characters.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.split(|b| !(0x20..0x7f).contains(b)).filter(|run| run.len() >= 4) {
        if text.len() >= LONGEST_TEXT {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&String::from_utf8_lossy(run));
    }
    text.truncate(LONGEST_TEXT);
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 20, 0, 13));

    fn system(message: &[u8]) -> Option<String> {
        told(message, OWN).and_then(|t| t.system)
    }

    #[test]
    fn systems_are_named_in_words() {
        for (message, want) in [
            (&b"new|0017|PC-03|admin|Windows 7 Professional|x64"[..], "Windows 7 Professional"),
            (b"\x01\x02Microsoft Windows XP [Version 5.1.2600]\r\n", "Windows XP"),
            (b"PC/jo/Win 10 Pro/yes", "Win 10 Pro"),
            (b"up pc-03 Linux 5.10.0-8-amd64 #1 SMP", "Linux 5.10.0-8-amd64 #1 SMP"),
            (b"<os>Mac OS X 10.14.6</os>", "Mac OS X 10.14.6"),
        ] {
            assert_eq!(system(message).as_deref(), Some(want), "{}", String::from_utf8_lossy(message));
        }
        for message in [
            &b"ReWindows 7"[..],
            b"close all Windows now",
            b"Windows of opportunity",
            b"Linux is fun",
            b"GET-BY-PROXY Mozilla/5.0 (Windows NT 6.1; Windows 7)",
            b"",
        ] {
            assert_eq!(system(message), None, "{}", String::from_utf8_lossy(message));
        }
        let wide: Vec<u8> = b"id Windows 10 Home".iter().flat_map(|b| [*b, 0]).collect();
        assert_eq!(system(&wide).as_deref(), Some("Windows 10 Home"));
    }

    fn structure(size: u32, version: [u32; 4]) -> Vec<u8> {
        let words = [size, version[0], version[1], version[2], version[3]];
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.extend_from_slice(b"Service Pack 1");
        bytes.resize(size as usize, 0);
        bytes
    }

    #[test]
    fn what_a_form_says_of_its_user_is_not_kept() {
        let told = |said: &str| told_by_request(said.as_bytes(), OWN).map(|t| (t.system.unwrap(), t.text));
        let system = || "Windows 10 Pro".to_owned();
        for said in ["user=ann&Password=hunter2&os=Windows 10 Pro", "pwd=hunter2&os=Windows+10+Pro"] {
            assert_eq!(told(said), Some((system(), String::new())), "{said}");
        }
        assert_eq!(told("id=7&os=Windows 10 Pro"), Some((system(), "id=7&os=Windows 10 Pro".to_owned())));
        assert_eq!(told("id=7&os=none"), None);
    }

    #[test]
    fn requests_tell_editions_of_windows() {
        for (said, told) in [
            (
                "hworm<|>PC-7<|>ann<|>Microsoft Windows 7 Professional <|>plus<|>nan-av",
                Some("Windows 7 Professional"),
            ),
            ("id=7&os=Windows+10+Pro&av=none", Some("Windows 10 Pro")),
            ("id=7&os=Windows%208.1%20Enterprise%20N", Some("Windows 8.1 Enterprise N")),
            ("{\"os\":\"Windows Server 2016 Standard\"}", Some("Windows Server 2016 Standard")),
            ("Windows XP Professional", Some("Windows XP Professional")),
            (
                "iTunes/12.1 (Windows; Microsoft Windows 7 x64 Home Premium Edition (Build 7601)) AppleWebKit",
                None,
            ),
            ("Player/4 (Windows 10 Pro 19045)", None),
            ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)", None),
            ("Windows Professional", None),
            ("os=Windows+7&edition=Professional", None),
            ("Windows 11 proved to be slow", None),
        ] {
            let spaced = said.replace("%20", " ").replace('+', " ");
            assert_eq!(edition(spaced.as_bytes()).as_deref(), told, "{said}");
        }
    }

    #[test]
    fn a_version_structure_is_read_packed_or_not() {
        let mut plain = b"\x07".to_vec();
        plain.extend(structure(156, [6, 1, 7601, 2]));
        plain.extend([10, 20, 0, 13]);
        plain.extend_from_slice(b"PC-03\0\0");
        let open = told(&plain, OWN);
        let want = Told {
            system: Some("Windows 6.1 build 7601".to_owned()),
            passwords: 0,
            own_address: true,
            unpacked: false,
            text: "Service Pack 1 PC-03".to_owned(),
        };
        assert_eq!(open.as_ref().map(|t| (&t.system, t.own_address)), Some((&want.system, true)));
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(&plain).expect("packed");
        let packed = [b"Tag__\x5f\0\0\0\xe0\0\0\0", &*packer.finish().expect("packed")].concat();
        let packed = told(&packed, OWN);
        assert_eq!(packed.as_ref().map(|t| (t.unpacked, t.own_address)), Some((true, true)));
        assert_eq!(packed.map(|t| t.system), open.map(|t| t.system));
        for wrong in [
            structure(157, [6, 1, 7601, 2]),
            structure(156, [7, 1, 7601, 2]),
            structure(156, [6, 1, 12, 2]),
            structure(156, [6, 1, 7601, 3]),
        ] {
            assert_eq!(system(&wrong), None);
        }
    }

    #[test]
    fn lists_of_passwords_are_counted_in_clear_and_in_base_64() {
        let list = b"<hr>Host: https://a.example/<br>Username: jo<br>Password: 1<br><hr>Host: b.example<br>Username: jo<br>Password: 2<br>";
        let passwords = |message: &[u8]| told(message, OWN).map(|t| t.passwords);
        assert_eq!(passwords(list), Some(2));
        assert_eq!(told(list, OWN).map(|t| t.text), Some(String::new()), "they are not passed on");
        let lone = told(b"Windows 7 Professional|Password: x", OWN);
        assert_eq!(
            lone.map(|t| (t.passwords, t.text)),
            Some((0, String::new())),
            "nor is one without a name"
        );
        let code = STANDARD_NO_PAD.encode(list);
        let lines: Vec<&[u8]> = code.as_bytes().chunks(76).collect();
        let mail = [b"Content-Transfer-Encoding: base64\r\n\r\n", &*lines.join(&b"\r\n"[..])].concat();
        assert_eq!(passwords(&mail), Some(2));
        assert_eq!(passwords(b"Welcome! Username: jo, Password: x. Never tell anybody your password."), None);
        assert_eq!(passwords(b"Password: Password: Password:"), None);
    }

    #[test]
    fn what_is_packed_is_unpacked_no_further_than_is_looked_at() {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(&vec![b'a'; 1 << 20]).expect("packed");
        packer.write_all(b"Windows 7 Professional").expect("packed");
        let bomb = packer.finish().expect("packed");
        assert!(bomb.len() < LOOKED_AT);
        assert_eq!(unpack(&bomb).map(|p| p.len()), Some(UNPACKED));
        assert_eq!(system(&bomb), None);
    }
}
