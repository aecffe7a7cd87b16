//! Words for people out of numbers and of what the wire says.

use std::fmt::Write;
use std::net::IpAddr;
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

/// A name, URL or address that no program turns into a link: its host is broken, and nothing of the path (`mx.google[.]com`, `hxxp://a[.]example/x.php`,
/// `203.0.113[.]7:80`). Addresses of private networks lead nowhere and stay as they are.
pub fn defang(name: &str) -> String {
    let name = clean(name);
    let (scheme, rest) = match name.split_once("://") {
        Some((scheme, rest)) => (scheme.replacen("http", "hxxp", 1) + "://", rest),
        None => (String::new(), name.as_str()),
    };
    let ends = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(ends);
    let (host, port) = match host.rsplit_once(':') {
        Some((front, port)) if !front.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            (front, format!(":{port}"))
        }
        _ => (host, String::new()),
    };
    let broken = match host.parse() {
        Ok(ip) => broken(ip, host),
        Err(_) => match host.rsplit_once('.') {
            Some((front, last)) => format!("{front}[.]{last}"),
            None => host.to_owned(),
        },
    };
    format!("{scheme}{broken}{port}{path}")
}

/// Whether an address leads somewhere beyond its own network: it is no private, shared (RFC 6598), local or group address.
pub fn leads_somewhere(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let nowhere = v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared;
            !nowhere && !v4.is_multicast() && !v4.is_broadcast() && !v4.is_unspecified()
        }
        IpAddr::V6(v6) => {
            let nowhere = v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback();
            !nowhere && !v6.is_multicast() && !v6.is_unspecified()
        }
    }
}

/// An address, as it was written, that no program takes for one where it leads somewhere.
fn broken(ip: IpAddr, written: &str) -> String {
    let at = if ip.is_ipv4() { '.' } else { ':' };
    match written.rsplit_once(at) {
        Some((front, last)) if leads_somewhere(ip) => format!("{front}[{at}]{last}"),
        _ => written.to_owned(),
    }
}

/// A sentence whose addresses no program turns into links.
pub fn defang_addresses(sentence: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let mut out = String::with_capacity(sentence.len() + 8);
    let mut rest = sentence;
    while let Some(begin) = rest.find(is_part) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (token, after) = from.split_at(end);
        out.push_str(before);
        // What stands within a word is none; a full stop or colon behind it is the sentence's.
        let within = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ']'))
            || after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '['));
        let bare = token.trim_end_matches(['.', ':']);
        let (host, port) = match bare.rsplit_once(':') {
            Some((front, _)) if front.parse::<std::net::Ipv4Addr>().is_ok() => bare.split_at(front.len()),
            _ => (bare, ""),
        };
        match host.parse::<IpAddr>() {
            Ok(ip) if !within => {
                out.push_str(&broken(ip, host));
                out.push_str(port);
            }
            _ => out.push_str(bare),
        }
        out.push_str(&token[bare.len()..]);
        rest = after;
    }
    out.push_str(rest);
    out
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

/// A count of things of which at most so many are remembered: `at least 1,024`.
pub fn at_least(n: u64, most: usize) -> String {
    let bound = if n >= most as u64 { "at least " } else { "" };
    format!("{bound}{}", human_count(n))
}

/// A measured number of things, as a count.
pub fn tally(n: f64) -> String {
    human_count(n as u64)
}

/// A text with its middle left out where it has more characters than so many.
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let front = kept.div_ceil(2);
    let begin: String = text.chars().take(front).collect();
    let end: String = text.chars().skip(count - (kept - front)).collect();
    format!("{begin}…{end}")
}

/// A cell that a spreadsheet takes for text: what would begin a formula there gets an apostrophe before it (OWASP, "CSV Injection").
pub fn no_formula(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

/// What was asked for of a server, as a sentence has it: without the query, and short; `None` where it is the front page.
pub fn request_path(path: &str) -> Option<String> {
    const MOST: usize = 40;
    let (bare, query) = path.split_once('?').map_or((path, ""), |(bare, _)| (bare, "?…"));
    // What is asked of a proxy names the host, and a path may hold a URL.
    let whole = if bare.starts_with('/') { clean(bare) } else { defang(bare) };
    let said = shortened(&whole.replace("http://", "hxxp://").replace("https://", "hxxps://"), MOST);
    (!matches!(bare, "" | "/")).then(|| format!("{said}{query}"))
}

/// A text in which no word becomes a link: names and addresses of hosts, and URLs, are broken wherever they stand.
pub fn defang_words(text: &str) -> String {
    let text = clean(text);
    let is_host = |word: &str| {
        let host = word.split(['/', ':', '?']).next().unwrap_or_default();
        let last = host.rsplit_once('.').map_or("", |(_, last)| last);
        let is_label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_name =
            last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic()) && host.chars().all(is_label);
        is_name || host.parse::<IpAddr>().is_ok() || word.parse::<IpAddr>().is_ok()
    };
    let word = |word: &str| {
        if word.contains("://") || is_host(word.trim_end_matches([',', ';', '.', ')'])) {
            defang(word)
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Text from the wire in which nothing becomes a link, whatever stands around names, addresses and URLs: `bot (evil[.]example)`,
/// `+hxxp[://]evil[.]example/x`.
pub fn defang_text(text: &str) -> String {
    let schemes =
        [("http://", "hxxp://"), ("https://", "hxxps://"), ("HTTP://", "HXXP://"), ("HTTPS://", "HXXPS://")];
    let text = schemes
        .iter()
        .fold(clean(text), |text, (live, told)| text.replace(live, told))
        .replace("://", "[://]");
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.as_str();
    while let Some(begin) = rest.find(is_part) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (token, after) = from.split_at(end);
        out.push_str(before);
        let bare = token.trim_end_matches(['.', ':', '-']);
        // A port, or a word behind a colon, is no part of a host.
        let (host, port) = match bare.split_once(':') {
            Some((host, _)) if bare.parse::<IpAddr>().is_err() => bare.split_at(host.len()),
            _ => (bare, ""),
        };
        match host.parse::<IpAddr>() {
            // Behind a slash four numbers are a program's version.
            Ok(ip) if !(ip.is_ipv4() && before.ends_with('/') && !before.ends_with("[://]/")) => {
                out.push_str(&broken(ip, host));
            }
            Ok(_) => out.push_str(host),
            Err(_) => match host.rsplit_once('.') {
                Some((front, last)) if last.chars().any(char::is_alphabetic) && !front.is_empty() => {
                    out.push_str(front);
                    out.push_str("[.]");
                    out.push_str(last);
                }
                _ => out.push_str(host),
            },
        }
        out.push_str(port);
        out.push_str(&token[bare.len()..]);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Text from the wire whole, with what cannot be seen made visible: to be copied, not read.
pub fn visible(text: &str) -> String {
    let mut left = text;
    let mut out = String::new();
    while let Some((at, _)) = left.char_indices().nth(200) {
        out.push_str(&clean(&left[..at]));
        left = &left[at..];
    }
    out + &clean(left)
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
    fn what_was_asked_for_is_short_and_leads_nowhere() {
        assert_eq!(request_path("/"), None);
        assert_eq!(request_path("/gate.php?id=1").as_deref(), Some("/gate.php?…"));
        assert_eq!(request_path("/p/http://a.example/x").as_deref(), Some("/p/hxxp://a.example/x"));
        assert_eq!(defang_words("198.51.100.7 c2.example.net"), "198.51.100[.]7 c2.example[.]net");
        assert_eq!(defang_words("/gate.php"), "/gate.php");
        assert_eq!(
            defang_words("Mozilla/4.0 (MSIE 6.0; http://x.example/y)"),
            "Mozilla/4.0 (MSIE 6.0; hxxp://x[.]example/y)"
        );
        assert_eq!(request_path("http://a.example/x").as_deref(), Some("hxxp://a[.]example/x"));
        let long = format!("/{}/end", "x".repeat(80));
        let short = request_path(&long).expect("a path");
        assert!(
            short.chars().count() == 40 && short.starts_with("/xxx") && short.ends_with("xxx/end"),
            "{short}"
        );
    }

    #[test]
    fn hostile_text_is_neutralised() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{9b}d\u{202e}e"), "a\\u{1b}[31mb\\u{d}\\u{a}c\\u{9b}d\\u{202e}e");
        assert_eq!(clean(&"x".repeat(500)).chars().count(), 201);
        assert_eq!(defang("mx.google.com"), "mx.google[.]com");
        assert_eq!(defang("198.51.100.7"), "198.51.100[.]7");
        assert_eq!(defang("198.51.100.7 port 80"), "198.51.100[.]7 port 80");
        assert_eq!(defang("10.20.0.13:8080"), "10.20.0.13:8080", "it leads nowhere");
        assert_eq!(defang("2001:db8::7"), "2001:db8:[:]7");
        assert_eq!(defang("http://a.example:81/x.php?y=b.c"), "hxxp://a[.]example:81/x.php?y=b.c");
        assert_eq!(defang("https://a.example"), "hxxps://a[.]example");
        assert_eq!(defang("localhost/a.b"), "localhost/a.b");
    }

    #[test]
    fn addresses_in_a_sentence_are_broken_and_nothing_else() {
        for (said, told) in [
            ("sent 1 POST to 198.18.52.11; all well", "sent 1 POST to 198.18.52[.]11; all well"),
            (
                "to 198.18.52.11:443, 10.0.0.1 and 2001:db8::5.",
                "to 198.18.52[.]11:443, 10.0.0.1 and 2001:db8:[:]5.",
            ),
            ("at 198.18.52[.]11 since 09:01:52Z", "at 198.18.52[.]11 since 09:01:52Z"),
            ("version 1.2.3 of ab:cd, 99.5 % of 1,234: bad", "version 1.2.3 of ab:cd, 99.5 % of 1,234: bad"),
            ("Agent/1.2.3.4 and 1.2.3.4-beta", "Agent/1.2.3[.]4 and 1.2.3.4-beta"),
            ("…, 198.18.1.1 → 198.18.1.2", "…, 198.18.1[.]1 → 198.18.1[.]2"),
        ] {
            assert_eq!(defang_addresses(said), told);
        }
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

    #[test]
    fn nothing_in_a_text_leads_anywhere() {
        for (text, told) in [
            ("Googlebot/2.1 (+www.evil.example/bot.html)", "Googlebot/2.1 (+www.evil[.]example/bot[.]html)"),
            ("bot (evil.example)", "bot (evil[.]example)"),
            ("x/1;evil.example", "x/1;evil[.]example"),
            ("me@evil.example:8080", "me@evil[.]example:8080"),
            ("curl/8 (198.51.100.7)", "curl/8 (198.51.100[.]7)"),
            ("+http://a.example/r?u=http://b.example/x", "+hxxp[://]a[.]example/r?u=hxxp[://]b[.]example/x"),
            ("evil.xn--p1ai", "evil[.]xn--p1ai"),
            ("2001:db8::7,", "2001:db8:[:]7,"),
            ("Amazon.com, Inc.", "Amazon[.]com, Inc."),
            ("Debian APT-HTTP/1.3 (2.2.4)", "Debian APT-HTTP/1.3 (2.2.4)"),
            ("Chrome/120.0.0.0 Safari/537.36", "Chrome/120.0.0.0 Safari/537.36"),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"),
        ] {
            assert_eq!(defang_text(text), told);
        }
        let long = "a".repeat(450);
        assert_eq!(visible(&long), long);
        assert_eq!(visible("a\u{202e}b"), "a\\u{202e}b");
    }
}
