//! What a bot's author may change, at rising strength (DETECTION §6): how far each goes before the verdict breaks.

use crate::bots;
use crate::scenarios::{Variant, kraken};
use crate::script::Script;

/// One way to change a bot.
pub struct Mutation {
    /// What is changed.
    pub name: &'static str,
    /// In what the strengths are counted.
    pub unit: &'static str,
    /// From nothing to a great deal.
    pub strengths: &'static [f64],
    /// Makes the capture.
    pub make: fn(f64) -> Script,
}

/// Every mutation.
pub const ALL: &[Mutation] = &[
    Mutation {
        name: "old bot, frames of 24 bytes padded",
        unit: "random bytes added, at most",
        strengths: &[0.0, 1.0, 8.0, 64.0, 400.0],
        make: |n| kraken(&Variant::old().padded(n as u32)),
    },
    Mutation {
        name: "new bot, datagrams padded",
        unit: "random bytes added, at most",
        strengths: &[0.0, 8.0, 64.0, 400.0],
        make: |n| kraken(&Variant::newer().padded(n as u32)),
    },
    Mutation {
        name: "ports, sizes, names and order changed (mutated bot), datagrams padded",
        unit: "random bytes added, at most",
        strengths: &[0.0, 64.0, 400.0],
        make: |n| kraken(&Variant::mutated().padded(n as u32)),
    },
    Mutation {
        name: "a TLS record's first bytes before each opaque transfer (0 no, 1 fallback, 2 mutated)",
        unit: "variant",
        strengths: &[0.0, 1.0, 2.0],
        make: |n| {
            kraken(&match n as u32 {
                0 => Variant::fallback(),
                1 => Variant::fallback().disguised(),
                _ => Variant::mutated().disguised(),
            })
        },
    },
    Mutation {
        name: "new bot, everything slower",
        unit: "times as slow (50 spreads it over 24 h)",
        strengths: &[1.0, 3.0, 10.0, 25.0, 50.0],
        make: |n| kraken(&Variant::newer()).stretched(n),
    },
    Mutation {
        name: "mutated bot, everything slower",
        unit: "times as slow (50 spreads it over 24 h)",
        strengths: &[1.0, 3.0, 10.0, 25.0, 50.0],
        make: |n| kraken(&Variant::mutated()).stretched(n),
    },
    Mutation {
        name: "new bot, the capture begins late",
        unit: "seconds missing",
        strengths: &[0.0, 60.0, 150.0, 300.0, 600.0],
        make: |n| kraken(&Variant::newer()).only(|t| t >= n),
    },
    Mutation {
        name: "beacon, jitter",
        unit: "share of the interval",
        strengths: &[0.0, 0.1, 0.2, 0.3, 0.5, 0.8],
        make: bots::beacon,
    },
    Mutation {
        name: "packed check-in, care to say less",
        unit: "0 packed, 1 behind a longer header, 2 encrypted",
        strengths: &[0.0, 1.0, 2.0],
        make: |n| bots::check_in(n as u32),
    },
    Mutation {
        name: "UDP sweep, slower",
        unit: "seconds between datagrams",
        strengths: &[0.05, 1.0, 10.0, 60.0],
        make: bots::udp_sweep,
    },
    Mutation {
        name: "worm on file shares, copies that differ",
        unit: "random bytes added to each copy, at most",
        strengths: &[0.0, 8.0, 1000.0, 20000.0],
        make: |n| bots::lateral_movement(n as u32),
    },
    Mutation {
        name: "HTTP controller, care to look like a browser",
        unit: "0 name, 1 headers, 2 page and referer, 3 name and form",
        strengths: &[0.0, 1.0, 2.0, 3.0],
        make: |n| bots::http_control(n as u32),
    },
];
