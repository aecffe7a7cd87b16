//! Hostile bytes: a capture cut at every byte and with every byte changed is read to an end, without panic and without loops.

use capture::Source;
use testkit::protocols::{Answer, Delivery, Dialect, dns, http_get, smtp};
use testkit::{Evasion, Script};

/// A little of everything: DNS, a page, mail, and a datagram in fragments.
fn capture() -> Vec<u8> {
    let mut s = Script::new(1_700_000_000, 9);
    dns(&mut s, 0.0, "10.20.0.5", "www.example.com", Answer::Address("198.18.0.1"));
    http_get(&mut s, 1.0, "10.20.0.5", "198.18.0.1", "www.example.com", "/", 300);
    let d = Dialect { helo: "a.example", ehlo: true, quit: true, from: "a@example.org" };
    smtp(&mut s, 2.0, "10.20.0.5", "198.18.0.2", d, "b@example.net", Delivery::Accepted);
    let mut tail = Script::new(1_700_000_010, 10);
    dns(&mut tail, 0.0, "10.20.0.5", "in.several.fragments.example.com", Answer::Address("198.18.0.3"));
    let tail = Evasion::TinyFragments.apply(tail).pcapng();
    // A second section follows the first.
    [s.pcapng(), tail].concat()
}

/// Reads bytes as a capture; gives the packets.
fn read(bytes: Vec<u8>) -> u64 {
    // Inputs in memory live as long as the program; these are small.
    let bytes: &'static [u8] = Box::leak(bytes.into_boxed_slice());
    let options = pipeline::RunOptions {
        memory: pipeline::ByteSize(64 << 20),
        ..pipeline::RunOptions::of(vec![Source::Memory("hostile", bytes)])
    };
    let outcome = pipeline::run(&options, |_| ()).expect("its own failure is no reason to fail");
    assert!(outcome.health.packets <= bytes.len() as u64 / 16, "every packet takes its header");
    outcome.health.packets
}

#[test]
fn a_cut_at_any_byte_loses_only_what_is_behind_it() {
    let whole = capture();
    let all = read(whole.clone());
    assert!(all > 30, "{all}");
    let mut before = 0;
    for cut in 0..whole.len() {
        let packets = read(whole[..cut].to_vec());
        assert!(packets >= before && packets <= all, "{cut}: {packets}");
        before = packets;
    }
}

#[test]
fn any_byte_may_be_changed() {
    let whole = capture();
    for at in 0..whole.len() {
        for flip in [0xff, 0x01] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            read(bytes);
        }
    }
}
