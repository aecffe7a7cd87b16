//! Floods with the bot hidden in them: what a full table must survive.

use crate::protocols::{Answer, dns};
use crate::scenarios::{Variant, kraken};
use crate::script::{End, Script};

/// How long the bot's story lasts; floods are spread over it.
const SPAN: f64 = 1_800.0;

fn outside(i: u32) -> String {
    // A walk through the benchmark range that never repeats within 131,072 steps.
    let n = i.wrapping_mul(40_503) & 0x1_ffff;
    format!("198.{}.{}.{}", 18 + (n >> 16), (n >> 8) & 0xff, n & 0xff)
}

/// `n` SYNs from everywhere to one server within ten minutes, none of them completed.
pub fn syn(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for i in 0..n {
        let from = End::new(&outside(i), (1_024 + i % 60_000) as u16);
        s.tcp(300.0 + 600.0 * f64::from(i) / f64::from(n), from, End::new("10.20.0.3", 80)).unanswered(1);
    }
    s
}

/// `n` questions for names that do not exist, from twenty hosts.
pub fn names(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for i in 0..n {
        let label: String = s.random(12).iter().map(|b| char::from(b'a' + b % 26)).collect();
        let client = format!("10.20.1.{}", i % 20 + 1);
        dns(
            &mut s,
            SPAN * f64::from(i) / f64::from(n),
            &client,
            &format!("{label}.flood.example"),
            Answer::NxDomain,
        );
    }
    s
}

/// `n` local hosts that each say one thing.
pub fn hosts(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for i in 0..n {
        let ip = format!("10.{}.{}.{}", 64 + (i >> 16), (i >> 8) & 0xff, i & 0xff);
        let payload = s.random(40);
        s.udp(
            SPAN * f64::from(i) / f64::from(n),
            End::new(&ip, 5_000),
            End::new(&outside(i), 6_000),
            &payload,
        );
    }
    s
}

/// `n` local hosts of which each does one odd thing: it asks for a mail exchanger.
pub fn odd_hosts(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for i in 0..n {
        let ip = format!("10.{}.{}.{}", 64 + (i >> 16), (i >> 8) & 0xff, i & 0xff);
        let at = SPAN * f64::from(i) / f64::from(n);
        dns(&mut s, at, &ip, "customer.example", Answer::Exchanger("mx.customer.example"));
    }
    s
}

/// `n` local hosts on each of so many days, every one with an odd thing a day: half of them ask for a mail exchanger, half for a name that does not exist.
pub fn many_days(n: u32, days: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for day in 0..days {
        for i in 0..n {
            let ip = format!("10.{}.{}.{}", 64 + (i >> 16), (i >> 8) & 0xff, i & 0xff);
            let at = 86_400.0 * (f64::from(day) + f64::from(i) / f64::from(n));
            let answer = if i % 2 == 0 { Answer::Exchanger("mx.customer.example") } else { Answer::NxDomain };
            dns(&mut s, at, &ip, "customer.example", answer);
        }
    }
    s
}

/// `n` local hosts that each give many behaviours much to remember: `each` peers, a quarter of them asked by HTTP, a quarter for mail.
pub fn busy_hosts(n: u32, each: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for j in 0..each {
        for i in 0..n {
            let ip = format!("10.{}.{}.{}", 64 + (i >> 16), (i >> 8) & 0xff, i & 0xff);
            let remote = outside(i.wrapping_mul(7_919).wrapping_add(j));
            let at = SPAN * f64::from(j * n + i) / f64::from(n * each);
            let payload = s.random(40);
            s.udp(at, End::new(&ip, 5_000), End::new(&remote, 6_000), &payload);
            let client = End::new(&ip, 2_000 + j as u16);
            match j % 4 {
                0 => {
                    let ask = format!(
                        "POST /gate{j}.php HTTP/1.1\r\nHost: h{i}.example\r\nContent-Length: 2\r\n\r\nab"
                    );
                    let tcp = s.tcp(at, client, End::new(&remote, 80)).open().client(ask.as_bytes());
                    let _ = tcp.server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").close();
                }
                1 => {
                    let _ = s.tcp(at, client, End::new(&remote, 25)).unanswered(1);
                }
                _ => {}
            }
        }
    }
    s
}

/// `n` first fragments whose others never come.
pub fn fragments(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for i in 0..n {
        let payload = s.random(64);
        s.unfinished(SPAN * f64::from(i) / f64::from(n), &outside(i), "10.20.0.3", 1, &payload);
    }
    s
}

/// `n` datagrams of nearly 64 kB in fragments within five minutes, each without its last: a bomb for whoever puts them together.
pub fn datagrams(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    let payload = s.random(1_400);
    for i in 0..n {
        let at = 300.0 + 300.0 * f64::from(i) / f64::from(n);
        s.unfinished(at, &outside(i), "10.20.0.3", 45, &payload);
    }
    s
}

/// `n` connections that each leave a hole and then send on: everything behind it must wait.
pub fn holes(n: u32) -> Script {
    let mut s = kraken(&Variant::newer());
    for i in 0..n {
        let at = SPAN * f64::from(i) / f64::from(n);
        let from = End::new(&outside(i), (1_024 + i % 60_000) as u16);
        let body = s.random(1_400);
        let mut tcp = s.tcp(at, from, End::new("10.20.0.3", 80)).open().hole(5_000);
        for _ in 0..4 {
            tcp = tcp.unacknowledged(&body);
        }
    }
    s
}
