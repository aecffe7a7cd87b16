//! Captures that are made to cost as much as they can: what nobody may slow the listener down with.

use crate::BOT;
use crate::frame::{self, Segment};
use crate::protocols::{self, Answer, Delivery, Dialect};
use crate::script::{End, Script};

const SERVER: &str = "198.18.44.4";
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;

/// A capture: its name, and how it is made.
pub type Costly = (&'static str, fn() -> Script);

/// All of them.
pub const ALL: &[Costly] = &[
    ("answers without a connection", || answers_first(8_000)),
    ("acknowledgements of what never comes", || ahead(8_000)),
    ("names of pointers to pointers", || pointers(4_000)),
    ("names that do not exist", || names(4_000)),
    ("a header in segments of a byte", || bytes_alone(8_000)),
    ("requests of eighteen bytes, many to a segment", || repeated(80, b"GET / HTTP/1.0\r\n\r\n", 2_000)),
    ("chunks of a byte", || chunks(2_000)),
    ("commands of a letter", || repeated(25, b"A\r\n", 2_000)),
    ("records without content", || empty_records(2_000)),
    ("first packets of QUIC", || quic(4_000)),
    ("segments from the last to the first", || backwards(1_500)),
    ("the smallest fragments", || fragments(8_000)),
    ("a peer a packet", || peers(8_000)),
    ("a host scanned a packet", || scan(8_000)),
    ("mail to everybody", || mail(400)),
    ("the same small request for ever", || calls(1_500)),
    ("tunnels in tunnels", || tunnels(4_000)),
];

fn script() -> Script {
    Script::new(1_700_000_000, 99)
}

fn outside(i: u32) -> String {
    let n = i.wrapping_mul(40_503) & 0x1_ffff;
    format!("198.{}.{}.{}", 18 + (n >> 16), (n >> 8) & 0xff, n & 0xff)
}

fn segment(s: &mut Script, at: f64, (from, to): (End, End), segment: Segment, payload: &[u8]) {
    let ident = s.ident();
    s.put(at, frame::tcp((from.ip, from.port), (to.ip, to.port), ident, segment, payload));
}

fn answers_first(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let ends = (End::new(&outside(i), 80), End::new(BOT, 2_000 + (i % 60_000) as u16));
        let answer = Segment { seq: 1_000, ack: 2_000 + i, flags: SYN_ACK };
        segment(&mut s, f64::from(i) * 0.0001, ends, answer, &[]);
    }
    s
}

fn ahead(n: u32) -> Script {
    let mut s = script();
    let (client, server) = (End::new(BOT, 3_000), End::new(SERVER, 80));
    segment(&mut s, 0.0, (client, server), Segment { seq: 999, ack: 0, flags: 2 }, &[]);
    segment(&mut s, 0.01, (server, client), Segment { seq: 4_999, ack: 1_000, flags: SYN_ACK }, &[]);
    for i in 0..n {
        let ack = Segment { seq: 1_000 + i, ack: 5_000 + 2_000 * (n - i), flags: ACK };
        segment(&mut s, 0.02 + f64::from(i) * 0.0001, (client, server), ack, b"x");
    }
    s
}

fn pointers(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let (from, to) = (s.client(BOT), End::new("10.20.0.2", 53));
        let mut m = vec![(i >> 8) as u8, i as u8, 0x81, 0x80, 0, 1, 0, 200, 0, 0, 0, 0];
        m.extend(b"\x01a\x07example\0\0\x01\0\x01");
        // Each name points at the one before it.
        let mut last = 12u16;
        while m.len() < 1_300 {
            let here = m.len() as u16;
            m.extend((0xc000 | last).to_be_bytes());
            m.extend([0, 5, 0, 1, 0, 0, 0, 60, 0, 2]);
            m.extend((0xc000 | last).to_be_bytes());
            last = here;
        }
        s.udp(f64::from(i) * 0.01, to, from, &m);
    }
    s
}

fn names(n: u32) -> Script {
    let mut s = script();
    for i in 0..n / 2 {
        let label: String = s.random(24).iter().map(|b| char::from(b'a' + b % 26)).collect();
        protocols::dns(&mut s, f64::from(i) * 0.05, BOT, &format!("{label}.example"), Answer::NxDomain);
    }
    s
}

fn bytes_alone(n: u32) -> Script {
    let mut s = script();
    let client = s.client(BOT);
    let mut tcp = s.tcp(0.0, client, End::new(SERVER, 80)).open().client(b"GET / HTTP/1.1\r\nX: ");
    for _ in 0..n {
        tcp = tcp.unacknowledged(b"x");
    }
    s
}

/// Segments full of the same word.
fn repeated(port: u16, word: &[u8], segments: usize) -> Script {
    let mut s = script();
    let client = s.client(BOT);
    let full: Vec<u8> = word.iter().copied().cycle().take(1_440 * segments).collect();
    let _ = s.tcp(0.0, client, End::new(SERVER, port)).open().server(b"220 ready\r\n").client(&full);
    s
}

fn empty_records(segments: usize) -> Script {
    let mut s = script();
    let client = s.client(BOT);
    let hello = protocols::client_hello(&mut s, "a.example");
    let empty: Vec<u8> = [22, 3, 3, 0, 0].iter().copied().cycle().take(1_440 * segments).collect();
    let _ = s.tcp(0.0, client, End::new(SERVER, 443)).open().client(&hello).client(&empty);
    s
}

fn chunks(segments: usize) -> Script {
    let mut s = script();
    let client = s.client(BOT);
    let body: Vec<u8> = b"1\r\nx\r\n".iter().copied().cycle().take(1_440 * segments).collect();
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = s
        .tcp(0.0, client, End::new(SERVER, 80))
        .open()
        .client(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .server(&[head, &body].concat());
    s
}

fn quic(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let client = s.client(BOT);
        let mut m = vec![0xc0, 0, 0, 0, 1, 8];
        m.extend(s.random(8));
        m.extend([0, 0, 0x44, 0xb0]);
        m.extend(s.random(1_200));
        s.udp(f64::from(i) * 0.01, client, End::new(&outside(i), 443), &m);
    }
    s
}

fn backwards(n: u32) -> Script {
    let mut s = script();
    let (client, server) = (End::new(BOT, 3_000), End::new(SERVER, 80));
    segment(&mut s, 0.0, (client, server), Segment { seq: 999, ack: 0, flags: 2 }, &[]);
    segment(&mut s, 0.01, (server, client), Segment { seq: 4_999, ack: 1_000, flags: SYN_ACK }, &[]);
    for i in 0..n {
        let seq = 1_001 + 2 * (n - i);
        segment(
            &mut s,
            0.02 + f64::from(i) * 0.0001,
            (client, server),
            Segment { seq, ack: 5_000, flags: ACK },
            b"x",
        );
    }
    s
}

fn fragments(n: u32) -> Script {
    let mut s = script();
    for i in 0..n / 100 {
        s.unfinished(f64::from(i) * 0.01, &outside(i), BOT, 100, b"8 bytes!");
    }
    s
}

fn peers(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let payload = s.random(56);
        let port = 20_000 + (i % 40_000) as u16;
        s.udp(f64::from(i) * 0.05, End::new(BOT, 1_447), End::new(&outside(i), port), &payload);
    }
    s
}

fn scan(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let client = s.client(BOT);
        s.tcp(f64::from(i) * 0.05, client, End::new(&outside(i), 23)).unanswered(1);
    }
    s
}

fn mail(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let helo = format!("host{i}.example");
        let dialect = Dialect { helo: &helo, ehlo: false, quit: false, from: "a@b.example" };
        let to = format!("c@d{i}.example");
        let _ = protocols::smtp(
            &mut s,
            f64::from(i) * 2.0,
            BOT,
            &outside(i * 257),
            dialect,
            &to,
            Delivery::Accepted,
        );
    }
    s
}

fn calls(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        let path = format!("/gate.php?id={i}");
        let _ = protocols::http_get(&mut s, f64::from(i) * 10.0, BOT, SERVER, "c.example", &path, 20);
    }
    s
}

fn tunnels(n: u32) -> Script {
    let mut s = script();
    for i in 0..n {
        s.udp(f64::from(i) * 0.01, End::new(BOT, 5_000), End::new(SERVER, 6_000), b"inside");
    }
    // IP in IP, as deep as it goes.
    s.retold(|f| {
        let mut packet = f[14..].to_vec();
        for depth in 0..11 {
            packet =
                frame::ipv4_packet([172, 31, 0, depth].into(), [172, 31, 1, depth].into(), 4, 7, &packet);
        }
        vec![[&f[..14], &packet].concat()]
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use record::{Record, Service};

    #[test]
    fn each_reaches_the_parser_that_it_is_made_for() {
        let made_for = [
            ("names of pointers to pointers", Service::Dns),
            ("names that do not exist", Service::Dns),
            ("requests of eighteen bytes, many to a segment", Service::Http),
            ("chunks of a byte", Service::Http),
            ("commands of a letter", Service::Smtp),
            ("records without content", Service::Tls),
            ("first packets of QUIC", Service::Quic),
            ("mail to everybody", Service::Smtp),
            ("the same small request for ever", Service::Http),
        ];
        for (name, service) in made_for {
            let make = super::ALL.iter().find(|c| c.0 == name).expect(name).1;
            let bytes: &'static [u8] = Box::leak(make().pcapng().into_boxed_slice());
            let options = pipeline::RunOptions::of(vec![capture::Source::Memory("costly", bytes)]);
            let mut found = BTreeSet::new();
            let sink = |_, record: &Record| {
                if let Record::Conn(c) = record {
                    found.insert(c.service);
                }
            };
            pipeline::sense(&options, |_| (), sink).expect("it runs");
            assert!(found.contains(&service), "{name}: {found:?}");
        }
    }
}
