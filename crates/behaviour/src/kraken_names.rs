//! The name sets of Kraken (Oderoor/Bobax, 2008), as recognisers: was this name made by one of its two generators?
//!
//! Source: J. Bader, "Kraken's two Domain Generation Algorithms" (2015) and its example lists; KRAKEN §4. Everything is
//! computed from the formulas; tests hold it against names of the public lists.
//!
//! The second generator throws away all but 15 bits of its state at each weekly step, so every time-dependent label of
//! all time is one of 32,768, and membership needs no date.

use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The second halves of names of the first generator, in its rotation.
pub const V1_SUFFIXES: [&str; 4] = ["dyndns.org", "yi.org", "dynserv.com", "mooo.com"];
/// The second halves of names of the second generator; a transitional version used those of the first.
pub const V2_SUFFIXES: [&str; 4] = ["com", "net", "tv", "cc"];
/// How far the first generator's numbers are followed; the public list has 1,000 (its true upper index is not known).
const V1_NUMBERS: u32 = 5000;
const V1_FIRST: u32 = 1_000_015;
/// How far the second generator's time-independent names are followed; the public list has 1,000.
const V2_NUMBERS: u32 = 1000;
/// Seeds of both sets of the first generator, for a machine that has the marker file and one that has not.
const V1_SEEDS: [(i64, i64); 2] = [(-0x0fcf_bf88, 0x892_4541), (-0x1fcf_bf87, 0x792_4542)];
/// The same for the second.
const V2_SEEDS: [u32; 4] = [24_938_314, 24_938_315, 1_600_000, 1_600_001];

/// Which generator made a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generator {
    /// From about July 2007, below four dynamic-DNS suffixes.
    V1,
    /// Weekly, below com, net, tv, cc.
    V2,
}

/// The generator's state: `1103515245·state + 12435 mod 2³²` (12435, not the usual 12345); output is bits 8 to 22.
struct State(u32);

impl State {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_103_515_245).wrapping_add(12_435);
        (self.0 >> 8) & 0x7fff
    }

    /// A weekly step: the state becomes its own output.
    #[cfg(test)]
    fn discard(&mut self) {
        self.0 = self.next();
    }

    /// A label, packed.
    fn label(&mut self, length: impl Fn(i64, i64, i64) -> i64) -> u64 {
        let [a, b, c] = [(); 3].map(|()| i64::from(self.next()));
        (0..length(a, b, c)).fold(0, |sum, _| sum << 5 | u64::from(self.next() % 26 + 1))
    }
}

/// The label of number `n` of the first generator, packed; its suffix is that of `n mod 4`.
fn v1_label(n: u32, seeds: (i64, i64), marker_file: bool) -> u64 {
    let w = |v: u64| v as u32;
    let n64 = u64::from(n);
    // Products wrap at 32 bits and are divided as signed numbers, toward zero.
    let third = |v: u32| i64::from((v.cast_signed() / 9).cast_unsigned());
    let n32 = n;
    let seed = if marker_file {
        let product = w(n64).wrapping_mul(n32.wrapping_add(7)).wrapping_mul(n32.wrapping_add(12));
        third(product) + i64::from(n32.wrapping_mul(n32.wrapping_add(1))) + seeds.0
    } else {
        let product = n32.wrapping_add(2).wrapping_mul(n32.wrapping_add(7)).wrapping_mul(n32);
        third(product) + i64::from(n32.wrapping_mul(3).wrapping_add(1).wrapping_mul(n32)) + seeds.1
    };
    State(seed as u32).label(|a, b, c| 6 + (a * b - c).rem_euclid(6))
}

fn v2_label(mut state: State) -> u64 {
    state.label(|a, b, c| 7 + (a * b + c) % 6)
}

/// A label of up to twelve letters a–z as one number, exactly: five bits a letter.
fn packed(label: &str) -> Option<u64> {
    if label.len() > 12 || label.is_empty() {
        return None;
    }
    label.bytes().try_fold(0u64, |sum, b| b.is_ascii_lowercase().then(|| sum << 5 | u64::from(b - b'a' + 1)))
}

/// Every label of the first generator, packed, with its suffix; in order.
fn v1() -> &'static [(u64, u8)] {
    static LABELS: OnceLock<Vec<(u64, u8)>> = OnceLock::new();
    LABELS.get_or_init(|| {
        let mut labels = Vec::new();
        for n in V1_FIRST..V1_FIRST + V1_NUMBERS {
            for seeds in V1_SEEDS {
                for marker in [false, true] {
                    labels.push((v1_label(n, seeds, marker), (n % 4) as u8));
                }
            }
        }
        labels.sort_unstable();
        labels.dedup();
        labels
    })
}

/// Every label of the second, packed; in order.
fn v2() -> &'static [u64] {
    static LABELS: OnceLock<Vec<u64>> = OnceLock::new();
    LABELS.get_or_init(|| {
        let mut labels: Vec<u64> = (0..1 << 15).map(|s| v2_label(State(s))).collect();
        for n in (0..V2_NUMBERS).filter(|n| n % 9 == 8) {
            labels.extend(V2_SEEDS.iter().map(|s| v2_label(State(3 * n + s))));
        }
        labels.sort_unstable();
        labels.dedup();
        labels
    })
}

/// Which generator makes this name (lower case, without a final dot), if one does.
pub fn generator_of(name: &str) -> Option<Generator> {
    let (label, suffix) = name.split_once('.')?;
    let v1_suffix = V1_SUFFIXES.iter().position(|s| *s == suffix);
    let known = v1_suffix.is_some() || V2_SUFFIXES.contains(&suffix);
    let label = packed(known.then_some(label)?)?;
    if let Some(at) = v1_suffix
        && v1().binary_search(&(label, at as u8)).is_ok()
    {
        return Some(Generator::V1);
    }
    v2().binary_search(&label).is_ok().then_some(Generator::V2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the public v1 list (seed set a; without and with the marker file in turn): its beginning, middle and end.
    const V1: &str = "ibbwnhgh.mooo.com rbqdxflojkj.mooo.com smhburg.dyndns.org bltjhzqp.dyndns.org clwafrfuuxq.yi.org \
        cffxugijxn.yi.org ivxcxbj.dynserv.com etllejr.dynserv.com otpxmk.mooo.com ejfjyd.mooo.com ggwypum.dyndns.org \
        mnkzof.dyndns.org xirlum.yi.org adhbtib.yi.org ihjenegy.dynserv.com vqsqul.dynserv.com gbegntymac.dynserv.com \
        xnphog.dynserv.com mzwwuqlw.mooo.com wotpunuda.mooo.com fyttky.dyndns.org imwejbrknwg.dyndns.org zcxbifnnji.yi.org \
        ocwrabioc.yi.org wpdkinv.dynserv.com pehehy.dynserv.com oypuhupk.dyndns.org akpshf.dyndns.org vhtjegkgeo.yi.org \
        faepjbjvvwp.yi.org yesfizvpkh.dynserv.com kllgnr.dynserv.com";
    /// Lines of the public v2 list, made in the week of 2015-12-21 (405 steps).
    const V2: &str = "xpdbwuimwag.com nwpegpjtx.com smmyuhxlt.net xjvyvnzivvt.net lvctmusxcyz.tv lvctmusxcyz.tv cjuszcfwo.cc \
        egbmbdey.cc wjxaprgne.com vxbuggxhrgi.com lvctmusxcyz.net qxfbduci.net ehvadgttl.tv oyebgolrk.tv";

    /// The label of number `n` of the second generator after `steps` weekly steps.
    fn v2_name(n: u32, seed: u32, steps: u32) -> String {
        let mut state = State(3 * n + seed);
        let steps = match n % 9 {
            6 | 7 => steps - 1,
            8 => 0,
            _ => steps,
        };
        for _ in 0..steps {
            state.discard();
        }
        format!("{}.{}", unpacked(v2_label(state)), V2_SUFFIXES[n as usize % 4])
    }

    fn unpacked(label: u64) -> String {
        let letters = (0..12).rev().map(|i| (label >> (5 * i)) & 31).filter(|l| *l > 0);
        letters.map(|l| char::from(b'a' + l as u8 - 1)).collect()
    }

    #[test]
    fn the_first_generator_makes_the_public_list() {
        let listed: Vec<&str> = V1.split_whitespace().collect();
        for (i, name) in listed.iter().take(16).enumerate() {
            let n = V1_FIRST + i as u32 / 2;
            let label = unpacked(v1_label(n, V1_SEEDS[0], i % 2 == 1));
            assert_eq!(format!("{label}.{}", V1_SUFFIXES[n as usize % 4]), *name, "line {}", i + 1);
        }
        assert!(listed.iter().all(|n| generator_of(n) == Some(Generator::V1)));
    }

    #[test]
    fn the_second_generator_makes_the_public_list() {
        for (i, name) in V2.split_whitespace().enumerate() {
            // The list names the machine without the marker file first.
            let seed = V2_SEEDS[1 - i % 2];
            assert_eq!(v2_name(i as u32 / 2, seed, 405), name, "line {}", i + 1);
            assert_eq!(generator_of(name), Some(Generator::V2));
        }
    }

    #[test]
    fn five_labels_for_ever_are_known_under_every_suffix() {
        for label in ["egbmbdey", "zoipmnwr", "lvctmusxcyz", "smmyuhxlt", "iuhqhbmq"] {
            for suffix in V2_SUFFIXES.iter().chain(&V1_SUFFIXES) {
                assert!(generator_of(&format!("{label}.{suffix}")).is_some(), "{label}.{suffix}");
            }
        }
    }

    #[test]
    fn the_state_space_collapses_as_the_facts_say() {
        let reachable = |steps: u32| {
            let mut states: Vec<u32> = (0..1 << 15).collect();
            for _ in 0..steps {
                for s in &mut states {
                    let mut state = State(*s);
                    state.discard();
                    *s = state.0;
                }
                states.sort_unstable();
                states.dedup();
            }
            states.len()
        };
        assert_eq!((reachable(1), reachable(10), reachable(50)), (28_365, 12_951, 4_008));
    }

    #[test]
    fn the_sets_have_the_sizes_of_the_facts() {
        let distinct_v1 = v1().len();
        assert_eq!(distinct_v1, 19_988);
        assert!(v2().len() <= 32_768 + 444 && v2().len() > 32_000, "{}", v2().len());
    }

    #[test]
    fn other_names_are_not_members() {
        for name in [
            "google.com",
            "nytimes.com",
            "mx.google.com",
            "mooo.com",
            "wikipedia.org",
            "egbmbdey.org",
            "ibbwnhgh.yi.org",
            "a.ibbwnhgh.mooo.com",
        ] {
            assert_eq!(generator_of(name), None, "{name}");
        }
    }
}
