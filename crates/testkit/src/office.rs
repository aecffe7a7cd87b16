//! A busy office of 50 hosts for a day, with or without the bot among them.

use crate::protocols::{Answer, Delivery, Dialect, RESOLVER, client_hello, dns, smtp, tls};
use crate::scenarios::{Variant, infect};
use crate::script::{End, Script};

/// 2008-04-09T06:00:00Z.
const START: i64 = 1_207_720_800;
const DAY: f64 = 86_400.0;

/// The office; with a bot, when its first message was delivered (seconds since the start).
pub fn day(bot: Option<&Variant>) -> (Script, Option<f64>) {
    let mut s = Script::new(START, 77);
    for n in 0..50u32 {
        let ip = format!("10.20.0.{}", 10 + n);
        person(&mut s, &ip, n);
    }
    mail_house(&mut s);
    let first = bot.map(|v| infect(&mut s, 4.0 * 3600.0 + 1_234.0, v));
    (s, first)
}

/// One person's day: the clock, mail, pages with what belongs to them, a search here and there.
fn person(s: &mut Script, ip: &str, n: u32) {
    let arrives = 1.5 * 3600.0 + f64::from(s.range(0, 5_400));
    let leaves = arrives + 8.0 * 3600.0 + f64::from(s.range(0, 7_200));
    dhcp(s, arrives - 20.0, ip, &format!("pc-{n:02}"));
    let mut t = arrives;
    while t < leaves.min(DAY) {
        match s.range(0, 10) {
            0 => ntp(s, t, ip),
            1 => submission(s, t, ip),
            2 => {
                // A name typed wrong, and the search domain tried after it.
                dns(s, t, ip, &format!("intranet{n}.house.example"), Answer::NxDomain);
            }
            3 if n.is_multiple_of(7) => call(s, t, ip),
            _ => visit(s, t, ip),
        }
        t += 420.0 + f64::from(s.range(0, 1_900));
    }
}

/// A page: one site, and a few others that belong to it.
fn visit(s: &mut Script, t: f64, ip: &str) {
    let sites = [
        "www.nytimes.com",
        "www.cnn.com",
        "www.google.com",
        "www.wikipedia.org",
        "shop.example",
        "maps.example",
        "bank.example",
    ];
    let pick = s.range(0, sites.len() as u32) as usize;
    let server = format!("198.18.{}.80", 20 + pick);
    dns(s, t, ip, sites[pick], Answer::Address(&server));
    tls(s, t + 0.05, ip, End::new(&server, 443), sites[pick], 90);
    for n in 0..3 {
        let which = s.range(0, 200);
        let name = format!("cdn{which}.example.net");
        let server = format!("198.19.{}.{}", 200 + which / 100, which % 100 + 1);
        let at = t + 0.4 + 0.3 * f64::from(n);
        dns(s, at, ip, &name, Answer::Address(&server));
        tls(s, at + 0.05, ip, End::new(&server, 443), &name, 50);
    }
}

fn ntp(s: &mut Script, t: f64, ip: &str) {
    let mut ask = vec![0x23, 0, 6, 0xec];
    ask.resize(48, 0);
    let mut answer = ask.clone();
    answer[0] = 0x24;
    answer[1] = 2;
    let server = End::new("198.18.1.123", 123);
    s.udp(t, End::new(ip, 123), server, &ask);
    s.udp(t + 0.03, server, End::new(ip, 123), &answer);
}

/// Mail goes to the provider, with STARTTLS.
fn submission(s: &mut Script, t: f64, ip: &str) {
    let hello = client_hello(s, "smtp.provider.example");
    let sealed = s.random(60);
    let from = s.client(ip);
    s.tcp(t, from, End::new("198.18.3.25", 587))
        .open()
        .server(b"220 smtp.provider.example ESMTP\r\n")
        .client(b"EHLO pc.house.example\r\n")
        .server(b"250-smtp.provider.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")
        .client(b"STARTTLS\r\n")
        .server(b"220 go ahead\r\n")
        .client(&hello)
        .server(&sealed)
        .close();
}

/// A call: STUN, then RTP both ways.
fn call(s: &mut Script, t: f64, ip: &str) {
    let (from, to) = (End::new(ip, 40_000), End::new("198.18.4.78", 40_002));
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend(s.random(12));
    s.udp(t, from, to, &stun);
    stun[0] = 1;
    s.udp(t + 0.02, to, from, &stun);
    for n in 0..20u8 {
        let mut rtp = vec![0x80, 0, 0, n, 0, 0, n, 0, 1, 2, 3, 4];
        rtp.extend(s.random(40));
        s.udp(t + 1.0 + 0.02 * f64::from(n), from, to, &rtp);
        s.udp(t + 1.01 + 0.02 * f64::from(n), to, from, &rtp);
    }
}

/// A host asks for its address and says its name, of at most 255 bytes, and the server agrees for half a day.
pub fn dhcp(s: &mut Script, t: f64, ip: &str, name: &str) {
    let octets: Vec<u8> = ip.split('.').filter_map(|p| p.parse().ok()).collect();
    let mut m = vec![1, 1, 6, 0];
    m.extend(s.random(4));
    m.resize(12, 0);
    m.extend(&octets);
    m.resize(28, 0);
    m.extend([2, 0]);
    m.extend(&octets);
    m.resize(236, 0);
    m.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 3, 12, name.len() as u8]);
    m.extend(name.as_bytes());
    m.push(255);
    let (client, server) = (End::new(ip, 68), End::new(RESOLVER, 67));
    s.udp(t, client, server, &m);
    let resolver: Vec<u8> = RESOLVER.split('.').filter_map(|p| p.parse().ok()).collect();
    let mut ack = m;
    ack.truncate(240);
    ack[0] = 2;
    ack[16..20].copy_from_slice(&octets);
    ack.extend([53, 1, 5, 51, 4, 0, 0, 0xa8, 0xc0, 6, 4]);
    ack.extend(resolver);
    ack.push(255);
    s.udp(t + 0.02, server, client, &ack);
}

/// The house's mail server.
fn mail_house(s: &mut Script) {
    let server = "10.20.0.3";
    for i in 0..120u32 {
        let t = 2.0 * 3600.0 + 280.0 * f64::from(i);
        let d = Dialect { helo: "out.partner.example", ehlo: true, quit: true, from: "a@partner.example" };
        smtp(s, t, &format!("198.19.{}.5", i % 120), server, d, "b@house.example", Delivery::Accepted);
        let domain = format!("customer{}.example", i % 50);
        let host = format!("mx.{domain}");
        let ip = format!("198.19.{}.6", i % 120);
        dns(s, t + 40.0, server, &domain, Answer::Exchanger(&host));
        dns(s, t + 40.1, server, &host, Answer::Address(&ip));
        let d = Dialect { helo: "mail.house.example", ehlo: true, quit: true, from: "b@house.example" };
        smtp(s, t + 40.2, server, &ip, d, &format!("c@{domain}"), Delivery::Accepted);
    }
}
