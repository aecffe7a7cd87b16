//! Protocols of single trades (databases, queues, plants, trackers, tools of developers), known by how they greet. A bot's own protocol is told from others by what is left
//! when these are known; of each as much is asked for as random bytes hardly ever say, and where lengths are stated they must hold.

use record::Service;

use super::{has, starts};

/// What either side may say first.
pub fn either_side(b: &[u8]) -> Option<Service> {
    Some(match b {
        // ZMTP: a signature of ten bytes (RFC 23/ZMTP, 37/ZMTP; libzmq pads with zeros, peers of 2.x with a length of 1).
        [0xff, 0, 0, 0, 0, 0, 0, 0, 0 | 1, 0x7f, ..] => Service::Zmtp,
        // An U-format frame that starts, stops or tests the transfer, asked for or confirmed (IEC 60870-5-104 §5.3).
        [0x68, 4, 0x07 | 0x0b | 0x13 | 0x23 | 0x43 | 0x83, 0, 0, 0, ..] => Service::Iec104,
        // Request or response, a type of up to 42, its length (Gearman's PROTOCOL).
        [0, b'R', b'E', b'Q' | b'S', 0, 0, 0, 1..=42, ..] => Service::Gearman,
        _ if starts(b, &["Tarantool "]) => Service::Tarantool,
        _ if starts(b, &["# munin node at "]) => Service::Munin,
        // Its length, then JSON under a key that each byte makes for the next, from 171 on: `{"` (python-kasa; softScheck, 2016).
        [0, 0, l0, l1, 0xd0, 0xf2, ..]
            if usize::from(u16::from_be_bytes([*l0, *l1])) == b.len().saturating_sub(4) =>
        {
            Service::Kasa
        }
        _ if starts(b, &["@RSYNCD: "]) => Service::Rsync,
        _ if starts(b, &["NBDMAGIC"]) => Service::Nbd,
        _ if starts(b, &["DIST0000000"]) => Service::Distcc,
        _ if starts(b, &["REDQ"]) => Service::Spice,
        _ if starts(b, &["ceph v"]) => Service::Ceph,
        _ if starts(b, &["( success ( 2 2 ", "( 2 ( edit-pipeline "]) => Service::Svn,
        _ if starts(b, &["\x0bMSH|"]) => Service::Hl7,
        _ if starts(b, &["8=FIX.", "8=FIXT."]) => Service::Fix,
        // A Hello, Acknowledge, Open, Message or Error, final or a chunk, and its length (OPC UA part 6, 7.1.2).
        [_, _, _, _, _, _, 0 | 1, 0, ..]
            if starts(b, &["HELF", "ACKF", "OPNF", "OPNC", "MSGF", "MSGC", "ERRF"]) =>
        {
            Service::OpcUa
        }
        // Start, length, control, destination, source (IEEE 1815 §9.2), and a checksum over them.
        [5, 0x64, 5..=255, _, _, _, _, _, c0, c1, ..] if b.get(..8).map(dnp3_crc) == Some([*c0, *c1]) => {
            Service::Dnp3
        }
        // RegisterSession: command, length 4, no session, no status (ODVA, EtherNet/IP, 2-4.4).
        [0x65, 0, 4, 0, _, _, _, _, 0, 0, 0, 0, ..] => Service::EtherNetIp,
        // AMS/TCP: reserved, length; then who asks whom, a command of nine, state flags, the length of what follows (Beckhoff, ADS specification).
        [0, 0, l0, l1, 0, 0, rest @ ..] if is_ams(usize::from(u16::from_le_bytes([*l0, *l1])), rest) => {
            Service::Ams
        }
        // ONC RPC over TCP: a last fragment, then a call of version 2 (RFC 5531 §9, §11).
        [0x80, 0, _, _, _, _, _, _, 0, 0, 0, 0, 0, 0, 0, 2, 0, ..] => Service::SunRpc,
        // Capabilities-Exchange-Request or -Answer of the base application (RFC 6733 §3, §5.3).
        [1, 0, _, _, 0 | 0x80, 0, 1, 1, 0, 0, 0, 0, ..] => Service::Diameter,
        // Android's debug bridge: CNXN, its version, then the negated command as a magic at the end of the header.
        [b'C', b'N', b'X', b'N', 0 | 1, 0, 0, 1, ..] => Service::Adb,
        [b'J', b'R', b'M', b'I', 0, 1 | 2, 0x4b..=0x4d, ..] => Service::Rmi,
        [0x60, 0x60, 0xb0, 0x17, 0, 0, ..] => Service::Bolt,
        // H02, and its kin: a star, the maker's two letters, the device's number.
        [b'*', b'A'..=b'Z', b'A'..=b'Z', b',', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', ..] => {
            Service::GpsTracker
        }
        // GT06: the log-in of a device by its number, and how it ends.
        [0x78, 0x78, 0x0d, 1, ..] if b.get(16..18) == Some(b"\r\n") => Service::GpsTracker,
        _ if is_thrift(b) => Service::Thrift,
        _ => return None,
    })
}

/// What a client may say first.
pub fn by_client(b: &[u8]) -> Option<Service> {
    Some(match b {
        // APRS-IS: log-in with a pass code (aprs-is.net, *Connecting*).
        _ if starts(b, &["user "]) && first_line(b).is_some_and(|l| has(l, b" pass ")) => Service::AprsIs,
        // Teltonika: two bytes of length, the device's number of fifteen digits.
        [0, 15, imei @ ..] if imei.len() == 15 && imei.iter().all(u8::is_ascii_digit) => Service::GpsTracker,
        // A packet line that asks for a repository (gitprotocol-pack).
        _ if is_git(b) => Service::Git,
        // A node's name, by which the port mapper is asked for it or told of it.
        [0, len, b'z', name @ ..] if is_erlang(usize::from(*len), 1, name) => Service::Erlang,
        // A handshake of OTP 23 and later: flags, creation, the length of the node's name, the name.
        [0, len, b'N', _, _, _, _, _, _, _, _, _, _, _, _, 0, _, name @ ..]
            if name.contains(&b'@') && is_erlang(usize::from(*len), 15, name) =>
        {
            Service::Erlang
        }
        _ if has_head(b, 40, b"CQL_VERSION") && matches!(b, [3..=5 | 0x42, ..]) => Service::Cassandra,
        // OPTIONS without a body (Cassandra's native protocol, §2, §4.1.3).
        [3..=5, 0, 0, 0, 5, 0, 0, 0, 0] => Service::Cassandra,
        // ApiVersions: length, key 18, a version of few, a correlation number; it is the first that clients send (Kafka's protocol).
        [0, 0, l0, l1, 0, 18, 0, 0..=4, 0, 0, ..]
            if usize::from(u16::from_be_bytes([*l0, *l1])).checked_add(4) == Some(b.len()) =>
        {
            Service::Kafka
        }
        // ConnectRequest of protocol version 0 (ZooKeeper's jute).
        [0, 0, 0, 44 | 45, 0, 0, 0, 0, 0, 0, 0, 0, ..] => Service::ZooKeeper,
        _ if starts(b, &["CONNECT\n", "STOMP\n", "CONNECT\r\n", "STOMP\r\n"])
            && has(b, b"accept-version:") =>
        {
            Service::Stomp
        }
        _ if has_head(b, 24, b"ClickHouse ") && matches!(b, [0, ..]) => Service::ClickHouse,
        // Bind as transmitter, receiver or transceiver, status 0 (SMPP 3.4 §4.1).
        [0, 0, l0, l1, 0, 0, 0, 1 | 2 | 9, 0, 0, 0, 0, ..]
            if usize::from(u16::from_be_bytes([*l0, *l1])) == b.len() =>
        {
            Service::Smpp
        }
        // X11: byte order, protocol 11.0.
        [b'l', 0, 11, 0, 0, 0, ..] | [b'B', 0, 0, 11, 0, 0, ..] => Service::X11,
        // Hello of Bacula's and Bareos' daemons.
        [0, 0, _, _, rest @ ..] if starts(rest, &["Hello "]) && has(rest, b" calling") => Service::Bacula,
        _ if is_minecraft(b) => Service::Minecraft,
        _ if is_graphite(b) => Service::Graphite,
        // A list of metrics, pickled (carbon's receiver): length, then protocol 2 to 5.
        [0, 0, l0, l1, 0x80, 2..=5, b']' | 0x95, ..]
            if usize::from(u16::from_be_bytes([*l0, *l1])).saturating_add(4) >= b.len() =>
        {
            Service::Graphite
        }
        _ if is_freeciv(b) => Service::Freeciv,
        _ if is_tinc(b) => Service::Tinc,
        _ => return None,
    })
}

/// What both sides say first, in protocols whose marks are too weak on one of them.
pub fn both(client: &[u8], server: &[u8]) -> Option<Service> {
    if is_modbus(client) && is_modbus_answer(client, server) {
        return Some(Service::Modbus);
    }
    if starts(client, &["get ", "gets ", "set ", "add ", "version\r\n", "stats\r\n", "delete ", "incr "])
        && starts(server, &["VALUE ", "END\r\n", "STORED\r\n", "VERSION ", "STAT ", "DELETED\r\n", "NOT_"])
    {
        return Some(Service::Memcached);
    }
    None
}

fn has_head(b: &[u8], most: usize, needle: &[u8]) -> bool {
    has(b.get(..most.min(b.len())).unwrap_or_default(), needle)
}

fn first_line(b: &[u8]) -> Option<&[u8]> {
    b.split(|c| *c == b'\n').next().filter(|l| l.len() < b.len())
}

/// The checksum of a DNP3 block (IEEE 1815 §9.2.4.1: x¹⁶+x¹³+x¹²+x¹¹+x¹⁰+x⁸+x⁶+x⁵+x²+1, complemented), as it is sent.
fn dnp3_crc(block: &[u8]) -> [u8; 2] {
    let crc = block.iter().fold(0u16, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xa6bc } else { crc >> 1 })
    });
    (!crc).to_le_bytes()
}

/// The header behind AMS/TCP's own: 16 bytes of addresses, a command, flags, and how much follows of the `len` bytes that were stated.
fn is_ams(len: usize, rest: &[u8]) -> bool {
    let Some((_, [c0, c1, f0, 0, d0, d1, 0, 0, ..])) = rest.split_at_checked(16) else { return false };
    let (command, data) = (u16::from_le_bytes([*c0, *c1]), usize::from(u16::from_le_bytes([*d0, *d1])));
    (1..=9).contains(&command) && f0 & 4 == 4 && data.checked_add(32) == Some(len)
}

/// Thrift's binary protocol, strict, framed or not: version 1, a kind of message of four, a method's name with its length (thrift-binary-protocol).
fn is_thrift(b: &[u8]) -> bool {
    let message = match b {
        [0x80, 1, ..] => b,
        [0, _, _, _, message @ ..] => message,
        _ => return false,
    };
    match message {
        [0x80, 1, 0, 1..=4, 0, 0, 0, len @ 1..=64, name @ ..] => {
            let name = name.get(..usize::from(*len)).unwrap_or(name);
            !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
        }
        _ => false,
    }
}

/// Whether a name of Erlang's ends where its message of `len` bytes does, of which `before` stand before it.
fn is_erlang(len: usize, before: usize, name: &[u8]) -> bool {
    name.len() >= 3 && name.len().checked_add(before) == Some(len) && name.iter().all(u8::is_ascii_graphic)
}

fn is_git(b: &[u8]) -> bool {
    b.split_at_checked(4).is_some_and(|(len, asked)| {
        len.iter().all(u8::is_ascii_hexdigit) && starts(asked, &["git-upload-pack ", "git-receive-pack "])
    })
}

/// Minecraft's handshake: length, packet 0, the protocol's number, the server's name as the client has it, its port, and what comes next.
fn is_minecraft(b: &[u8]) -> bool {
    let [len, 0, rest @ ..] = b else { return false };
    let number = rest.iter().take_while(|c| **c & 0x80 != 0).count().saturating_add(1);
    let Some((_, [n, rest @ ..])) = rest.split_at_checked(number) else { return false };
    let Some((name, [_, _, 1..=3, ..])) = rest.split_at_checked(usize::from(*n)) else { return false };
    let whole = number.saturating_add(name.len()).saturating_add(5);
    number <= 5
        && name.len() >= 4
        && whole == usize::from(*len)
        && name.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b':'))
}

/// A line of Graphite's plain text: a metric's path, its value, the time in seconds.
fn is_graphite(b: &[u8]) -> bool {
    let words: Vec<&[u8]> =
        first_line(b).unwrap_or_default().trim_ascii_end().split(|c| *c == b' ').collect();
    let [path, value, time] = words.as_slice() else { return false };
    let number = |w: &[u8]| std::str::from_utf8(w).is_ok_and(|w| w.parse::<f64>().is_ok());
    path.contains(&b'.')
        && path.iter().all(|c| c.is_ascii_alphanumeric() || b"._-;=:/".contains(c))
        && number(value)
        && time.len() >= 10
        && number(time)
}

/// Freeciv's request to join: length, packet 4, the player's name, the capabilities of his version.
fn is_freeciv(b: &[u8]) -> bool {
    matches!(b, [_, _, 4, b' '..=b'~', ..]) && has_head(b, 96, b"Freeciv-")
}

/// tinc's ID: request 0, a name, protocol 17.
fn is_tinc(b: &[u8]) -> bool {
    let words: Vec<&[u8]> = first_line(b).unwrap_or_default().split(|c| *c == b' ').collect();
    matches!(words.as_slice(), [b"0", name, protocol] if !name.is_empty() && protocol.starts_with(b"17"))
}

/// Modbus/TCP: any transaction, protocol 0, the length of a unit, a function and its data, which ends the request (Modbus Messaging on TCP/IP, 3.1.3).
fn is_modbus(b: &[u8]) -> bool {
    const FUNCTIONS: [u8; 19] = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43];
    match b {
        [_, _, 0, 0, 0, len @ 2..=254, _, function, ..] => {
            FUNCTIONS.contains(function) && b.len() >= usize::from(*len).saturating_add(6)
        }
        _ => false,
    }
}

/// The same transaction, unit and function, which has failed where its first bit is set.
fn is_modbus_answer(asked: &[u8], answer: &[u8]) -> bool {
    match (asked, answer) {
        ([t0, t1, _, _, _, _, unit, function, ..], [a0, a1, 0, 0, 0, 2..=254, of, done, ..]) => {
            (t0, t1, unit) == (a0, a1, of) && *function == done & 0x7f
        }
        _ => false,
    }
}
