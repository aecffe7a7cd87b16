//! Scenarios of other bots' behaviours: one small capture each, in which [`BOT`] does just that.
//!
//! Nothing in them is any bot's protocol: what stands for one is random bytes, and every address is from the ranges for
//! tests (RFC 2544, RFC 5737).

use crate::protocols::{Answer, dns, http_get, tls};
use crate::scenarios::MakeScript;
use crate::script::{End, Script};
use crate::{BOT, Tcp, shares};

const START: i64 = 1_600_000_000;
const CONTROLLER: &str = "198.18.77.7";
/// Random bytes, none of which makes a zero of the words that it is put over.
const KEY: [u8; 40] = [
    0xc5, 0xd7, 0x14, 0x84, 0xf8, 0xcf, 0x9b, 0xf4, 0xb7, 0x6f, 0x47, 0x90, 0x47, 0x30, 0x80, 0x4b, 0x9e,
    0x32, 0x25, 0xa9, 0xf1, 0x33, 0xb5, 0xde, 0xa1, 0x68, 0xf4, 0xe2, 0x85, 0x1f, 0x07, 0x2f, 0xcc, 0x00,
    0xfc, 0xaa, 0x7c, 0xa6, 0x20, 0x61,
];
/// A browser's name, as programs borrow it.
const FALSE_BROWSER: &str = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1)";

/// Behaviours with a scenario that shows them.
pub const ALL: &[(&str, MakeScript)] = &[
    ("address_echo", address_echo),
    ("generated_contact", generated_contact),
    ("beacon", || beacon(0.1)),
    ("irc_control", irc_control),
    ("http_control", || http_control(0)),
    ("tls_control", tls_control),
    ("hidden_service", hidden_service),
    ("raw_control", raw_control),
    ("held_line", held_line),
    ("check_in", || check_in(0)),
    ("dns_tunnel", dns_tunnel),
    ("proxying", proxying),
    ("payload_download", payload_download),
    ("horizontal_scan", horizontal_scan),
    ("udp_sweep", || udp_sweep(0.05)),
    ("vertical_scan", vertical_scan),
    ("login_guessing", login_guessing),
    ("flood", flood),
    ("mining", mining),
    ("click_run", click_run),
    ("exfiltration", exfiltration),
    ("lateral_movement", || lateral_movement(0)),
];

/// Names drawn at random are asked for one after the other, until one is there and is called.
fn generated_contact() -> Script {
    let mut s = begin(41);
    let draw = |s: &mut Script| -> String {
        (0..12).map(|_| char::from(b'a' + s.range(0, 25) as u8)).collect::<String>() + ".com"
    };
    for i in 0..24 {
        let name = draw(&mut s);
        dns(&mut s, 100.0 + 3.0 * f64::from(i), BOT, &name, Answer::NxDomain);
    }
    let name = draw(&mut s);
    dns(&mut s, 180.0, BOT, &name, Answer::Address(CONTROLLER));
    http_get(&mut s, 180.2, BOT, CONTROLLER, &name, "/", 300);
    s
}

/// A host that posts to a gate; wherever it can choose words it says `text`, once at full length (`long` times).
pub fn words(text: &str, long: usize) -> Script {
    let mut s = begin(42);
    crate::office::dhcp(&mut s, 1.0, BOT, text.get(..text.len().min(60)).unwrap_or("pc"));
    for i in 0..4 {
        let host = if i == 3 { text.repeat(long) } else { text.to_owned() };
        let headers = format!("Host: {host}\r\nUser-Agent: {FALSE_BROWSER} {text}\r\n");
        let (body, reply) = (s.random(120), s.random(200));
        let line = format!("POST /{}", text.replace(' ', "_"));
        let r = Request { line: &line, headers: &headers, body: &body, declared: text, reply: &reply };
        request(&mut s, 60.0 + 120.0 * f64::from(i), CONTROLLER, &r);
    }
    let program = [b"MZ", s.random(40_000).as_slice()].concat();
    let headers = format!("Host: {text}\r\nUser-Agent: {FALSE_BROWSER}\r\n");
    let r = Request { line: "GET /a.exe", headers: &headers, body: b"", declared: text, reply: &program };
    request(&mut s, 700.0, CONTROLLER, &r);
    s
}

/// What a person does beside: a few pages, so that the host is not silent otherwise.
fn person(s: &mut Script) {
    for i in 0..12 {
        let t = 5.0 + 70.0 * f64::from(i) + f64::from(i * i % 11);
        let (name, ip) = (format!("www.site{i}.example"), format!("198.18.{}.80", 20 + i));
        dns(s, t, BOT, &name, Answer::Address(&ip));
        http_get(s, t + 0.1, BOT, &ip, &name, "/", 9_000 + 700 * i as usize);
    }
}

/// A person at the bot's machine on some days, on each at another pace, and no bot.
pub fn honest(days: impl Iterator<Item = u32>) -> Script {
    let day = |d: u32| begin(43).stretched(1.0 + 0.07 * f64::from(d)).on_days(&[i64::from(d)]);
    days.map(day).fold(Script::new(START, 43), Script::and)
}

/// A camera that calls its maker's cloud every ten minutes for some days.
pub fn camera(days: u32) -> Script {
    let mut s = Script::new(START, 45);
    for i in 0..days * 144 {
        if i % 24 == 0 {
            dns(&mut s, 1.0 + 600.0 * f64::from(i), BOT, "cloud.camera.example", Answer::Address(CONTROLLER));
        }
        let (ask, answer) = (s.random(180), s.random(90));
        let at = 60.0 + 600.0 * f64::from(i) + s.share();
        call(&mut s, at, CONTROLLER, 8443).client(&ask).server(&answer).close();
    }
    s
}

/// Forty questions for mail exchangers within ten seconds, by a host that serves no mail.
pub fn mx_burst() -> Script {
    let mut s = begin(44);
    for i in 0..40 {
        let domain = format!("victim{i}.example");
        dns(&mut s, 300.0 + 0.2 * f64::from(i), BOT, &domain, Answer::Exchanger("mx.victim.example"));
    }
    s
}

fn begin(seed: u64) -> Script {
    let mut s = Script::new(START, seed);
    person(&mut s);
    s
}

/// A conversation of the bot with `remote`.
fn call<'a>(s: &'a mut Script, at: f64, remote: &str, port: u16) -> Tcp<'a> {
    let from = s.client(BOT);
    s.tcp(at, from, End::new(remote, port)).open()
}

/// A request with these headers and body, and what answers it.
struct Request<'a> {
    line: &'a str,
    headers: &'a str,
    body: &'a [u8],
    declared: &'a str,
    reply: &'a [u8],
}

fn request(s: &mut Script, at: f64, remote: &str, r: &Request<'_>) -> f64 {
    let length =
        if r.body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", r.body.len()) };
    let head = format!("{} HTTP/1.1\r\n{}{length}\r\n", r.line, r.headers);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        r.declared,
        r.reply.len()
    );
    call(s, at, remote, 80)
        .client(&[head.as_bytes(), r.body].concat())
        .server(&[answer.as_bytes(), r.reply].concat())
        .close()
}

fn address_echo() -> Script {
    let mut s = begin(101);
    dns(&mut s, 60.0, BOT, "api.ipify.org", Answer::Address("198.18.60.1"));
    let headers = "Host: api.ipify.org\r\n";
    let r = Request { line: "GET /", headers, body: b"", declared: "text/plain", reply: b"192.0.2.1" };
    request(&mut s, 60.2, "198.18.60.1", &r);
    s
}

/// Calls by the clock, off by up to `jitter` (0–1) of the minute between them.
pub fn beacon(jitter: f64) -> Script {
    let mut s = begin(102);
    for i in 0..40 {
        let off = (s.share() * 2.0 - 1.0) * jitter;
        let (ask, answer) = (s.random(180), s.random(90));
        call(&mut s, 60.0 * (f64::from(i) + 1.0 + off).max(0.1), CONTROLLER, 8080)
            .client(&ask)
            .server(&answer)
            .close();
    }
    s
}

fn irc_control() -> Script {
    let mut s = begin(103);
    call(&mut s, 60.0, CONTROLLER, 6667)
        .server(b":irc.example NOTICE AUTH :*** Looking up your hostname\r\n")
        .client(b"NICK [DEU|XP|48213]\r\nUSER a b c :d\r\n")
        .server(b":irc.example 001 [DEU|XP|48213] :Welcome\r\n")
        .client(b"JOIN #rx secret\r\n")
        .server(b":irc.example 332 [DEU|XP|48213] #rx :.scan 445 100\r\n")
        .wait(300.0)
        .close();
    s
}

/// Posts to a gate, every two minutes; `care` tells how far it goes to look like a browser: 0 its name only, 1 its headers
/// too, 2 also a page fetched before and named, 3 also by a name instead of an address and with a form's body.
pub fn http_control(care: u32) -> Script {
    let mut s = begin(104);
    let host = if care > 2 { "shop.example" } else { CONTROLLER };
    let mut headers = format!("Host: {host}\r\nUser-Agent: {FALSE_BROWSER}\r\n");
    if care > 0 {
        headers.push_str("Accept: */*\r\nAccept-Language: en-US\r\nAccept-Encoding: gzip\r\n");
    }
    if care > 2 {
        dns(&mut s, 55.0, BOT, host, Answer::Address(CONTROLLER));
        headers.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
    }
    if care > 1 {
        let page = b"<html><body><form action=/gate.php></form></body></html>";
        let r = Request { line: "GET /", headers: &headers, body: b"", declared: "text/html", reply: page };
        request(&mut s, 56.0, CONTROLLER, &r);
        headers.push_str(&format!("Referer: http://{host}/\r\n"));
    }
    for i in 0..8 {
        let body = if care > 2 { format!("id={i}&v=1").into_bytes() } else { s.random(120) };
        let reply = if care > 2 { b"<html>ok</html>".to_vec() } else { s.random(200) };
        let r = Request {
            line: "POST /gate.php",
            headers: &headers,
            body: &body,
            declared: "text/html",
            reply: &reply,
        };
        request(&mut s, 60.0 + 120.0 * f64::from(i), CONTROLLER, &r);
    }
    s
}

/// A certificate that was made for this scenario by `openssl req -x509 -newkey ec -days 40000 -subj "/CN=Test Server CA"`.
const CERTIFICATE: &[u8] = include_bytes!("certificate.der");

fn tls_control() -> Script {
    let mut s = begin(105);
    for i in 0..4 {
        let mut hello = vec![3, 3];
        hello.extend(s.random(32));
        hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0, 0, 8, 0, 10, 0, 4, 0, 2, 0, 29]);
        let mut server = vec![3, 3];
        server.extend(s.random(32));
        server.extend([0, 0xc0, 0x2b, 0]);
        let message =
            |kind: u8, body: &[u8]| [&[kind, 0][..], &(body.len() as u16).to_be_bytes(), body].concat();
        let record = |body: &[u8]| [&[0x16, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat();
        let long = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
        let chain = [long(CERTIFICATE.len() + 3), long(CERTIFICATE.len()), CERTIFICATE.to_vec()].concat();
        let flight = [message(2, &server), message(11, &chain), message(14, &[])].concat();
        call(&mut s, 60.0 + 95.0 * f64::from(i), CONTROLLER, 4782)
            .client(&record(&message(1, &hello)))
            .server(&record(&flight))
            .close();
    }
    s
}

fn raw_control() -> Script {
    let mut s = begin(106);
    for i in 0..12 {
        let (ask, answer) = (s.random(69), s.random(200));
        call(&mut s, 60.0 + 31.0 * f64::from(i) + f64::from(i * 7 % 5), CONTROLLER, 3396)
            .client(&ask)
            .server(&answer)
            .close();
    }
    // And one under a key that begins anew with each message.
    let under = |plain: &str| plain.bytes().zip(KEY).map(|(p, k)| p ^ k).collect::<Vec<u8>>();
    call(&mut s, 700.0, CONTROLLER, 2404)
        .client(&under("[begin]<here is desk 7, what is to do?>"))
        .server(&under("[begin]<wait>"))
        .wait(30.0)
        .client(&under("[begin]<waited>"))
        .server(&under("[begin]<wait>"))
        .close();
    s
}

fn held_line() -> Script {
    let mut s = begin(117);
    let (hello, welcome) = (s.random(95), s.random(27));
    let words: Vec<[Vec<u8>; 2]> = (0..12).map(|_| [s.random(32), s.random(54)]).collect();
    let mut line = call(&mut s, 60.0, CONTROLLER, 2404).client(&hello).server(&welcome);
    for [ask, answer] in &words {
        line = line.wait(20.0).server(ask).client(answer);
    }
    line.close();
    s
}

/// Who calls tells its system: packed (0), packed behind a longer header (1), or encrypted (2). What stands for a tool's words is made up, but for the
/// structure in which any program has its version from Windows.
pub fn check_in(care: u32) -> Script {
    let mut s = begin(119);
    crate::office::dhcp(&mut s, 1.0, BOT, "accounting-7");
    let mut told: Vec<u8> = [156, 6, 1, 7601, 2u32].iter().flat_map(|w| w.to_le_bytes()).collect();
    told.resize(156, 0);
    told.extend_from_slice(b"accounting-7");
    let header: &[u8] = if care == 1 { &[7; 40] } else { b"hello\0\0\0" };
    let mut packer = flate2::write::ZlibEncoder::new(header.to_vec(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, &told).expect("memory takes it");
    let said = match care {
        0 | 1 => packer.finish().expect("memory takes it"),
        _ => s.random(120),
    };
    let answer = s.random(27);
    call(&mut s, 60.0, CONTROLLER, 8004).client(&said).server(&answer).wait(30.0).close();
    s
}

fn hidden_service() -> Script {
    let mut s = begin(118);
    for (i, gateway) in ["onion.example.com", "onion.example.net", "example.org"].iter().enumerate() {
        let name = format!("hrfgd74nckhcxcdt.{gateway}");
        dns(&mut s, 60.0 + 20.0 * i as f64, BOT, &name, Answer::NxDomain);
    }
    s
}

fn dns_tunnel() -> Script {
    let mut s = begin(107);
    for i in 0..200 {
        let code: String = s.random(40).iter().map(|b| char::from(b'a' + b % 16)).collect();
        // What comes back travels in addresses that are none.
        let [a, b, c] = [s.range(1, 224), s.range(0, 256), s.range(0, 256)];
        let back = format!("{a}.{b}.{c}.{}", i % 250);
        dns(&mut s, 60.0 + 2.0 * f64::from(i), BOT, &format!("{code}.t.example.com"), Answer::Address(&back));
    }
    s
}

fn proxying() -> Script {
    let mut s = begin(108);
    for i in 0..5u32 {
        let (up, down) = (s.random(3_000 + 500 * i as usize), s.random(40_000 + 9_000 * i as usize));
        let t = 60.0 + 100.0 * f64::from(i);
        let outside = End::new(&format!("198.19.7.{}", 9 + i), 40_000);
        s.tcp(t, outside, End::new(BOT, 7_777)).open().client(&up).server(&down).wait(2.0).close();
        call(&mut s, t + 0.1, &format!("198.18.90.{}", 1 + i), 443).client(&up).server(&down).close();
    }
    s
}

fn payload_download() -> Script {
    let mut s = begin(109);
    let mut program = b"MZ".to_vec();
    program.extend(s.random(60_000));
    let headers = "Host: 198.18.77.7\r\n";
    let r = Request { line: "GET /a.jpg", headers, body: b"", declared: "image/jpeg", reply: &program };
    request(&mut s, 60.0, CONTROLLER, &r);
    s
}

fn horizontal_scan() -> Script {
    let mut s = begin(110);
    for i in 0..120u32 {
        let to = End::new(&format!("198.{}.{}.{}", 18 + i % 2, i, 1 + i), 23);
        let from = s.client(BOT);
        let knock = s.tcp(60.0 + 0.7 * f64::from(i), from, to);
        if i % 5 == 0 {
            knock.refused()
        } else {
            knock.unanswered(1)
        };
    }
    s
}

/// The same word to 200 addresses, one every so many seconds.
pub fn udp_sweep(every: f64) -> Script {
    let mut s = begin(116);
    let word = s.random(27);
    for i in 0..200u32 {
        let to = End::new(&format!("198.18.{}.{}", 64 + i / 250, 1 + i % 250), 6_892);
        let from = s.client(BOT);
        s.udp(60.0 + every * f64::from(i), from, to, &word);
    }
    // The last of them is over when something else is heard of.
    let from = s.client(BOT);
    s.udp(300.0 + 200.0 * every, from, End::new("10.20.0.1", 53), &[0]);
    s
}

fn vertical_scan() -> Script {
    let mut s = begin(111);
    for port in 1..=60 {
        let from = s.client(BOT);
        s.tcp(60.0 + 0.3 * f64::from(port), from, End::new(CONTROLLER, port)).refused();
    }
    s
}

fn login_guessing() -> Script {
    let mut s = begin(112);
    for i in 0..40 {
        let (ask, answer) = (s.random(300), s.random(500));
        call(&mut s, 60.0 + 4.0 * f64::from(i), CONTROLLER, 22)
            .server(b"SSH-2.0-OpenSSH_9.6\r\n")
            .client(b"SSH-2.0-libssh_0.9\r\n")
            .client(&ask)
            .server(&answer)
            .close();
    }
    s
}

fn flood() -> Script {
    let mut s = begin(113);
    let from = s.client(BOT);
    for i in 0..8_000 {
        let junk = s.random(64);
        s.udp(60.0 + 0.0005 * f64::from(i), from, End::new(CONTROLLER, 80), &junk);
    }
    s
}

fn mining() -> Script {
    let mut s = begin(114);
    call(&mut s, 60.0, CONTROLLER, 3333)
        .client(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"x/1.0\"]}\n")
        .server(b"{\"id\":1,\"result\":[[\"mining.notify\",\"a\"],\"b\",4],\"error\":null}\n")
        .wait(120.0)
        .server(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"1\"]}\n")
        .close();
    s
}

fn click_run() -> Script {
    let mut s = begin(115);
    for i in 0..150u32 {
        let headers = format!(
            "Host: ads.shop{}.example\r\nUser-Agent: {FALSE_BROWSER}\r\nReferer: http://www.blog{}.example/\r\n",
            i % 30,
            i % 40
        );
        let r = Request {
            line: "GET /click",
            headers: &headers,
            body: b"",
            declared: "text/html",
            reply: b"<html></html>",
        };
        request(&mut s, 60.0 + 2.0 * f64::from(i), &format!("198.18.100.{}", 1 + i % 30), &r);
    }
    s
}

fn exfiltration() -> Script {
    let mut s = begin(116);
    tls(&mut s, 50.0, BOT, End::new("198.18.60.1", 443), "api.ipify.org", 300);
    call(&mut s, 60.0, CONTROLLER, 587)
        .server(b"220 mail.example.net ESMTP\r\n")
        .client(b"EHLO user-pc\r\n")
        .server(b"250-mail.example.net\r\n250 AUTH LOGIN\r\n")
        .client(b"AUTH LOGIN dXNlcg==\r\n")
        .server(b"334 UGFzc3dvcmQ6\r\n")
        .client(b"cGFzcw==\r\n")
        .server(b"235 ok\r\n")
        .client(b"MAIL FROM:<a@example.net>\r\n")
        .server(b"250 ok\r\n")
        .client(b"RCPT TO:<a@example.net>\r\n")
        .server(b"250 ok\r\n")
        .client(b"DATA\r\n")
        .server(b"354 go ahead\r\n")
        .client(b"Subject: PW_user-pc\r\n\r\nA message of a test scenario, sent nowhere.\r\n.\r\n")
        .server(b"250 queued\r\n")
        .close();
    s
}

/// A neighbour pushes a program to the host, which pushes it on to four others, each copy longer by up to so many bytes; two of them call it back.
pub fn lateral_movement(padded: u32) -> Script {
    let mut s = begin(119);
    let worm = shares::program(&mut s, 50_000);
    shares::push(&mut s, 60.0, ("10.20.0.40", BOT), &worm, true);
    for i in 0..4u32 {
        let neighbour = format!("10.20.0.{}", 41 + i);
        let padding = if padded == 0 { 0 } else { s.range(1, padded + 1) as usize };
        let worm = [worm.clone(), s.random(padding)].concat();
        let done = shares::push(&mut s, 200.0 + 60.0 * f64::from(i), (BOT, &neighbour), &worm, true);
        if i % 2 == 0 {
            let (hello, order, from) = (s.random(60), s.random(90), s.client(&neighbour));
            s.tcp(done + 3.0, from, End::new(BOT, 9_443)).open().client(&hello).server(&order).close();
        }
    }
    s
}
