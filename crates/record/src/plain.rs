//! Words for people out of numbers and of what the wire says.

use std::fmt::Write;
use std::time::Duration;

/// Makes text from the wire safe for a terminal: control characters, bidirectional overrides, zero-width and other
/// invisible characters appear as `\u{…}`; a newline too. At most 200 characters.
pub fn clean(text: &str) -> String {
    const MOST: usize = 200;
    let mut out = String::with_capacity(text.len());
    for (n, c) in text.chars().enumerate() {
        if n == MOST {
            out.push('…');
            break;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        if hidden {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

/// A name that no program turns into a link: `mx.google[.]com`. Addresses stay as they are.
pub fn defang(name: &str) -> String {
    let name = clean(name);
    // An address, perhaps with its port behind it.
    if name.split(' ').next().is_some_and(|n| n.parse::<std::net::IpAddr>().is_ok()) {
        return name;
    }
    match name.rsplit_once('.') {
        Some((front, last)) => format!("{front}[.]{last}"),
        None => name,
    }
}

/// A count with thousands apart: `1,234,567`.
pub fn human_count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// A measured number of things, as a count.
pub fn tally(n: f64) -> String {
    human_count(n as u64)
}

/// At most so many names, defanged.
pub fn names(all: &[String], most: usize) -> String {
    let mut shown: Vec<String> = all.iter().take(most).map(|n| defang(n)).collect();
    if all.len() > most {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// Bytes in the largest decimal unit that leaves a digit before the point: `118 kB`.
pub fn human_bytes(n: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut at = 0;
    while value >= 1000.0 && at + 1 < units.len() {
        value /= 1000.0;
        at += 1;
    }
    if at == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[at])
    } else {
        format!("{value:.1} {}", units[at])
    }
}

/// A duration in its two largest units: `1 h 12 min`.
pub fn human_duration(d: Duration) -> String {
    let s = d.as_secs();
    let (days, h, m) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    match (days, h, m) {
        (0, 0, 0) if s < 10 => format!("{:.1} s", d.as_secs_f64()),
        (0, 0, 0) => format!("{s} s"),
        (0, 0, m) => format!("{m} min {} s", s % 60),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_neutralised() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{9b}d\u{202e}e"), "a\\u{1b}[31mb\\u{d}\\u{a}c\\u{9b}d\\u{202e}e");
        assert_eq!(clean(&"x".repeat(500)).chars().count(), 201);
        assert_eq!(defang("mx.google.com"), "mx.google[.]com");
        assert_eq!(defang("198.51.100.7"), "198.51.100.7");
        assert_eq!(defang("198.51.100.7 port 80"), "198.51.100.7 port 80");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(human_count(1_234_567), "1,234,567");
        assert_eq!(human_count(12), "12");
        assert_eq!(human_bytes(117_800), "118 kB");
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_duration(Duration::from_mins(72)), "1 h 12 min");
        assert_eq!(human_duration(Duration::from_millis(1500)), "1.5 s");
    }
}
