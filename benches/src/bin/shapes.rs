//! Writes captures of one shape for end-to-end measurements, and the floods at full size:
//! `cargo run --release -p hydrophone-benches --bin shapes -- SHAPE N FILE`.

use anyhow::{Context, bail};
use testkit::protocols::{Answer, Delivery, Dialect, dns, smtp};
use testkit::{End, Script, floods};

/// When every capture begins.
const START: i64 = 1_700_000_000;
/// The time that a capture covers, in seconds.
const SPAN: f64 = 1_800.0;

fn host(i: u32) -> String {
    format!("10.20.{}.{}", i / 250 % 4, i % 250 + 1)
}

fn outside(i: u32) -> String {
    format!("198.{}.{}.{}", 18 + (i >> 16 & 1), i >> 8 & 255, i & 255)
}

/// `n` flows of two packets: DNS and a scan that is refused, in turn.
fn small(n: u32) -> Script {
    let mut s = Script::new(START, 1);
    for i in 0..n {
        let at = SPAN * f64::from(i) / f64::from(n);
        if i % 2 == 0 {
            let name = format!("host{}.example{}.com", i % 5_000, i % 97);
            dns(&mut s, at, &host(i / 7), &name, Answer::Address("198.18.7.9"));
        } else {
            let (from, to) = (s.client(&host(i / 9)), End::new(&outside(i), 445));
            s.tcp(at, from, to).refused();
        }
    }
    s
}

/// Eight downloads over TLS, one after the other, of `n` packets in all.
fn fat(n: u32) -> Script {
    let mut s = Script::new(START, 2);
    let each = n as usize / 8 * 1_460 * 2 / 3;
    for i in 0..8u32 {
        let server = End::new(&outside(i * 77), 443);
        let at = SPAN * f64::from(i) / 8.0;
        testkit::protocols::tls(&mut s, at, &host(i), server, "files.example.com", each);
    }
    s
}

/// `n` deliveries of mail, half of them refused.
fn mail(n: u32) -> Script {
    let mut s = Script::new(START, 3);
    for i in 0..n {
        let d = Dialect { helo: "mail.example.org", ehlo: true, quit: true, from: "news@example.org" };
        let outcome = if i % 2 == 0 { Delivery::Accepted } else { Delivery::Refused };
        let at = SPAN * f64::from(i) / f64::from(n);
        smtp(&mut s, at, &host(i / 50), &outside(i), d, "you@example.net", outcome);
    }
    s
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [shape, n, file] = args.as_slice() else {
        bail!(
            "usage: shapes small|fat|mail|flood-syn|flood-names|flood-hosts|flood-days|flood-fragments|flood-datagrams|flood-holes N FILE"
        )
    };
    let n: u32 = n.parse().context("N is a number")?;
    let script = match shape.as_str() {
        "small" => small(n),
        "fat" => fat(n),
        "mail" => mail(n),
        "flood-syn" => floods::syn(n),
        "flood-names" => floods::names(n),
        "flood-hosts" => floods::hosts(n),
        "flood-days" => floods::many_days(n, 30),
        "flood-fragments" => floods::fragments(n),
        "flood-datagrams" => floods::datagrams(n),
        "flood-holes" => floods::holes(n),
        other => bail!("{other}: no such shape"),
    };
    std::fs::write(file, script.pcapng()).with_context(|| file.clone())
}
