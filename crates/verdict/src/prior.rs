//! What one believes of a host before looking, and what to believe afterwards.

use std::fmt;
use std::str::FromStr;

use record::human_count;
use serde::{Deserialize, Serialize};

/// How many hosts are thought to be infected before one looks: one in a thousand, where nobody says (DETECTION §1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prior {
    /// The odds, in decibans.
    db: f64,
}

impl Prior {
    /// The odds in decibans, one decimal.
    pub const fn db(self) -> f64 {
        self.db
    }

    /// Of odds in decibans.
    pub const fn of_db(db: f64) -> Self {
        Self { db }
    }

    /// So many hosts of a hundred, or one of so many.
    fn share(self) -> (u64, u64) {
        let probability = probability(self.db);
        let of = 1.0 / probability;
        // Where one in so many is not nearly it, a percentage is.
        if of < 2.5 || (of - of.round()).abs() > 0.03 * of {
            return ((probability * 100.0).round() as u64, 100);
        }
        // Two digits say as much as anybody knows.
        let unit = 10f64.powi(((of.log10().floor()) as i32 - 1).max(0));
        (1, ((of / unit).round() * unit) as u64)
    }
}

impl Default for Prior {
    fn default() -> Self {
        Self { db: -30.0 }
    }
}

impl fmt::Display for Prior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, of) = self.share();
        write!(f, "{hosts} host{} in {}", if hosts == 1 { "" } else { "s" }, human_count(of))
    }
}

/// `1/1000`, `5%` or `0.05`.
impl FromStr for Prior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |t: &str| t.trim().replace(',', "").parse::<f64>().ok();
        let probability = if let Some((hosts, of)) = text.split_once('/') {
            number(hosts).zip(number(of)).map(|(hosts, of)| hosts / of)
        } else if let Some(percent) = text.strip_suffix('%') {
            number(percent).map(|p| p / 100.0)
        } else {
            number(text)
        };
        // Beyond a host in ten million, or all but one in a thousand, no capture says anything.
        match probability.filter(|p| (1e-7..=0.999).contains(p)) {
            Some(p) => Ok(Self { db: (100.0 * (p / (1.0 - p)).log10()).round() / 10.0 }),
            None => {
                Err(format!("{text:?} is no share of hosts: write 1/1000, 1/10 or 5% (at most 999/1000)"))
            }
        }
    }
}

impl TryFrom<String> for Prior {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Prior> for String {
    fn from(prior: Prior) -> Self {
        match prior.share() {
            (1, of) => format!("1/{of}"),
            (hosts, _) => format!("{hosts}%"),
        }
    }
}

/// The probability of odds in decibans.
pub fn probability(db: f64) -> f64 {
    1.0 / (1.0 + 10f64.powf(-db / 10.0))
}

/// How probable it is, for people: `about 77 %`.
pub fn probable(posterior_db: f64) -> String {
    let percent = 100.0 * probability(posterior_db);
    if percent >= 99.95 {
        "over 99.9 %".into()
    } else if percent < 0.1 {
        "under 0.1 %".into()
    } else if (10.0..=90.0).contains(&percent) {
        format!("about {percent:.0} %")
    } else {
        format!("about {percent:.1} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_hosts_is_odds() {
        let of = |text: &str| text.parse::<Prior>().unwrap_or_else(|e| panic!("{e}"));
        for (text, db, words) in [
            ("1/1000", -30.0, "1 host in 1,000"),
            ("1/10", -9.5, "1 host in 10"),
            ("0.1", -9.5, "1 host in 10"),
            ("10%", -9.5, "1 host in 10"),
            ("1/2", 0.0, "50 hosts in 100"),
            ("90%", 9.5, "90 hosts in 100"),
            ("0.4", -1.8, "40 hosts in 100"),
            ("15%", -7.5, "15 hosts in 100"),
            ("1/3", -3.0, "1 host in 3"),
            ("1/33", -15.1, "1 host in 33"),
            ("1/1,000,000", -60.0, "1 host in 1,000,000"),
        ] {
            assert_eq!((of(text).db(), of(text).to_string().as_str()), (db, words), "{text}");
            let again: Prior = of(&String::from(of(text)));
            assert_eq!(again, of(text), "{text}");
        }
        for text in ["", "0", "1", "2/1", "-1/3", "1/0", "often", "nan"] {
            let error = text.parse::<Prior>().map_or_else(|e| e, |p| panic!("{text} is {p}"));
            assert!(error.contains("is no share of hosts"), "{error}");
        }
        assert_eq!(of("1/1000"), Prior::default());
    }

    #[test]
    fn what_is_believed_is_a_probability() {
        for (db, words) in [
            (0.0, "about 50 %"),
            (5.2, "about 77 %"),
            (-20.0, "about 1.0 %"),
            (40.0, "over 99.9 %"),
            (-40.0, "under 0.1 %"),
            (15.0, "about 96.9 %"),
        ] {
            assert_eq!(probable(db), words);
        }
    }
}
