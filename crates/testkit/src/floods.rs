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
