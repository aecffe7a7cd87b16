//! What hosts say to one another in the scenarios.

use crate::script::{End, Script};

/// The resolver of the test network.
pub const RESOLVER: &str = "10.20.0.2";

/// What a resolver answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// An address.
    Address(&'a str),
    /// The name does not exist.
    NxDomain,
    /// A mail exchanger.
    Exchanger(&'a str),
}

fn name(out: &mut Vec<u8>, text: &str) {
    for label in text.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
}

/// A question to the resolver and its answer, 15 ms later.
pub fn dns(s: &mut Script, at: f64, client: &str, query: &str, answer: Answer<'_>) {
    let id = s.range(1, 65_536) as u16;
    let qtype: u16 = if matches!(answer, Answer::Exchanger(_)) { 15 } else { 1 };
    let mut question = Vec::new();
    name(&mut question, query);
    question.extend(qtype.to_be_bytes());
    question.extend([0, 1]);
    let head = |flags: u16, answers: u16| {
        let mut h = id.to_be_bytes().to_vec();
        for v in [flags, 1, answers, 0, 0] {
            h.extend(v.to_be_bytes());
        }
        h.extend(&question);
        h
    };
    let from = s.client(client);
    let to = End::new(RESOLVER, 53);
    s.udp(at, from, to, &head(0x0100, 0));
    let mut reply = head(
        if matches!(answer, Answer::NxDomain) { 0x8183 } else { 0x8180 },
        u16::from(!matches!(answer, Answer::NxDomain)),
    );
    let mut data = Vec::new();
    match answer {
        Answer::NxDomain => {}
        Answer::Address(ip) => data.extend(ip.split('.').filter_map(|p| p.parse::<u8>().ok())),
        Answer::Exchanger(host) => {
            data.extend([0, 10]);
            name(&mut data, host);
        }
    }
    if !data.is_empty() {
        reply.extend([0xc0, 12]);
        reply.extend(qtype.to_be_bytes());
        reply.extend([0, 1, 0, 0, 1, 44]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    s.udp(at + 0.015, to, from, &reply);
}

/// A page of `len` bytes over plain HTTP; gives the time when it is over.
pub fn http_get(
    s: &mut Script,
    at: f64,
    client: &str,
    server: &str,
    host: &str,
    path: &str,
    len: usize,
) -> f64 {
    let from = s.client(client);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n");
    let body = page(len);
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    s.tcp(at, from, End::new(server, 80))
        .open()
        .client(request.as_bytes())
        .server(&[response.as_bytes(), &body].concat())
        .close()
}

/// An HTML page of about `n` bytes.
pub fn page(n: usize) -> Vec<u8> {
    b"<!DOCTYPE html><html><head><title>News</title></head><body>"
        .iter()
        .copied()
        .chain(b"<p>All the news. </p>".iter().copied().cycle())
        .take(n)
        .collect()
}

/// A TLS 1.3 ClientHello for `sni`, as a browser sends it.
pub fn client_hello(s: &mut Script, sni: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut add = |kind: u16, data: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend((data.len() as u16).to_be_bytes());
        extensions.extend(data);
    };
    let mut names = ((sni.len() + 3) as u16).to_be_bytes().to_vec();
    names.push(0);
    names.extend((sni.len() as u16).to_be_bytes());
    names.extend(sni.as_bytes());
    add(0, &names);
    add(10, &[0, 4, 0, 29, 0, 23]);
    add(13, &[0, 6, 4, 3, 8, 4, 4, 1]);
    add(16, b"\x00\x0c\x02h2\x08http/1.1");
    add(43, &[4, 3, 4, 3, 3]);
    add(51, &[&[0, 36, 0, 29, 0, 32][..], &s.random(32)].concat());
    let mut body = vec![3, 3];
    body.extend(s.random(32));
    body.push(32);
    body.extend(s.random(32));
    body.extend([0, 8, 0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2f, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(body);
    record(0x16, &handshake)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 3, 3];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

/// A short TLS connection with `down` bytes of application data; gives the time when it is over.
pub fn tls(s: &mut Script, at: f64, client: &str, server: End, sni: &str, down: usize) -> f64 {
    let hello = client_hello(s, sni);
    let mut answer = vec![2, 0, 0, 0x4c, 3, 3];
    answer.extend(s.random(32));
    answer.push(32);
    answer.extend(s.random(32));
    answer.extend([0x13, 1, 0, 0, 6, 0, 0x2b, 0, 2, 3, 4]);
    answer[3] = (answer.len() - 4) as u8;
    let mut flight = record(0x16, &answer);
    flight.extend(record(0x14, &[1]));
    let sealed = s.random(40);
    flight.extend(record(0x17, &sealed));
    let request = s.random(40);
    let data = s.random(down.max(1));
    let from = s.client(client);
    s.tcp(at, from, server)
        .open()
        .client(&hello)
        .server(&flight)
        .client(&record(0x17, &request))
        .server(&data.chunks(8000).flat_map(|d| record(0x17, d)).collect::<Vec<u8>>())
        .close()
}

/// How a mail delivery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The message is taken.
    Accepted,
    /// The recipient is refused.
    Refused,
    /// The connection is refused.
    NoConnection,
    /// Only the greeting: a test of the connection.
    Probe,
}

/// How a client speaks SMTP.
#[derive(Clone, Copy, Debug)]
pub struct Dialect<'a> {
    /// The name it gives.
    pub helo: &'a str,
    /// Whether it says EHLO.
    pub ehlo: bool,
    /// Whether it takes its leave.
    pub quit: bool,
    /// The sender.
    pub from: &'a str,
}

/// A delivery on port 25; gives the time when it is over.
pub fn smtp(
    s: &mut Script,
    at: f64,
    client: &str,
    server: &str,
    d: Dialect<'_>,
    to: &str,
    outcome: Delivery,
) -> f64 {
    let from = s.client(client);
    let server = End::new(server, 25);
    if outcome == Delivery::NoConnection {
        return s.tcp(at, from, server).refused();
    }
    let open = s.tcp(at, from, server).open().server(b"220 mx.example.net ESMTP ready\r\n");
    if outcome == Delivery::Probe {
        return open.client(b"QUIT\r\n").server(b"221 bye\r\n").close();
    }
    let hello = format!("{} {}\r\n", if d.ehlo { "EHLO" } else { "HELO" }, d.helo);
    let offers: &[u8] =
        if d.ehlo { b"250-mx.example.net\r\n250 SIZE 10000000\r\n" } else { b"250 mx.example.net\r\n" };
    let greeted = open
        .client(hello.as_bytes())
        .server(offers)
        .client(format!("MAIL FROM:<{}>\r\n", d.from).as_bytes())
        .server(b"250 ok\r\n")
        .client(format!("RCPT TO:<{to}>\r\n").as_bytes());
    let said = if outcome == Delivery::Refused {
        greeted.server(b"550 5.7.1 no\r\n")
    } else {
        let message = format!(
            "Message-ID: <1@{}>\r\nFrom: <{}>\r\nTo: <{to}>\r\nSubject: Hello\r\n\r\nA message of a test scenario, sent nowhere.\r\n.\r\n",
            d.helo, d.from
        );
        greeted
            .server(b"250 ok\r\n")
            .client(b"DATA\r\n")
            .server(b"354 go ahead\r\n")
            .client(message.as_bytes())
            .server(b"250 queued\r\n")
    };
    if d.quit { said.client(b"QUIT\r\n").server(b"221 bye\r\n").close() } else { said.close() }
}
