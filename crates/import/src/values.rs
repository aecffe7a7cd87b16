//! Values as logs write them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use record::{Endpoint, FlowId, Mac, Service, Timestamp, Transport};

/// Seconds that lie three thousand years ahead are milliseconds.
const MILLIS: u64 = 100_000_000_000;

/// A moment: seconds since the epoch with a fraction, or a date and time with its zone.
pub fn time(text: &str) -> Option<Timestamp> {
    if text.contains('T') {
        return date(text);
    }
    if text.contains(':') {
        return date(&text.replacen(' ', "T", 1));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if secs.unsigned_abs() >= MILLIS {
        return Some(Timestamp(secs.checked_mul(1_000_000)?));
    }
    let nanos = nanos(fraction)?;
    let part = if whole.starts_with('-') { -nanos } else { nanos };
    Some(Timestamp(secs.checked_mul(1_000_000_000)?.checked_add(part)?))
}

fn nanos(fraction: &str) -> Option<i64> {
    let digits = fraction.get(..fraction.len().min(9))?;
    if digits.is_empty() {
        return Some(0);
    }
    Some(digits.parse::<u32>().ok().map(i64::from)? * 10i64.pow(9 - digits.len() as u32))
}

/// `2013-02-04T01:30:00.381490+0000`, also with a colon in the zone, with `Z`, or without a zone, which is then UTC.
fn date(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once('T').filter(|(date, _)| date.len() <= "2013-02-04".len())?;
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let base = Timestamp::parse(&format!("{date}T{clock}Z"))?;
    let offset = match zone.trim_start_matches('Z') {
        "" => 0,
        zone => {
            let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
            let (hours, minutes) = (digits.get(..2)?, digits.get(2..4).unwrap_or("0"));
            let secs = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if zone.starts_with('-') { -secs } else { secs }
        }
    };
    Some(Timestamp(base.0.checked_add(nanos(fraction)?)?.checked_sub(offset * 1_000_000_000)?))
}

/// Seconds with a fraction; nothing for what is negative or no number.
pub fn duration(text: &str) -> Option<Duration> {
    let span = time(text)?;
    (span.0 >= 0).then(|| Duration::from_nanos(span.0.cast_unsigned()))
}

/// An Ethernet address.
pub fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0u8; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(bytes))
}

/// A SHA-256 in hex.
pub fn sha256(hex: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = hex.trim().as_bytes().as_chunks::<2>();
    let digit = |b: u8| char::from(b).to_digit(16);
    let bytes = pairs.iter().map(|[hi, lo]| Some((digit(*hi)? << 4 | digit(*lo)?) as u8));
    bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())?.try_into().ok()
}

/// One end, from an address and a port.
pub fn end(ip: &str, port: &str) -> Option<Endpoint> {
    Some(Endpoint { ip: ip.parse::<IpAddr>().ok()?, port: port.parse().ok()? })
}

/// What carries a flow, by name.
pub fn transport(name: &str) -> Option<Transport> {
    // What nearly all rows say, as Zeek and as Suricata write it.
    match name {
        "tcp" | "TCP" => return Some(Transport::Tcp),
        "udp" | "UDP" => return Some(Transport::Udp),
        _ => {}
    }
    Some(match name.to_ascii_lowercase().as_str() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "icmp" => Transport::Icmp,
        "icmp6" | "ipv6-icmp" | "icmpv6" => Transport::Icmp6,
        "sctp" => Transport::of_number(132),
        "igmp" => Transport::of_number(2),
        "gre" => Transport::of_number(47),
        "esp" => Transport::of_number(50),
        number => Transport::of_number(number.parse().ok()?),
    })
}

/// What a flow carries, by the name that Zeek or Suricata has for it; of several the first that is known.
pub fn service(name: &str) -> Option<Service> {
    match name {
        "ssl" | "tls" => Some(Service::Tls),
        "dns" => Some(Service::Dns),
        "http" => Some(Service::Http),
        _ => name.to_ascii_lowercase().split(',').find_map(one_service),
    }
}

fn one_service(name: &str) -> Option<Service> {
    let bare = name.strip_prefix("spicy_").unwrap_or(name);
    let bare = bare.strip_suffix("_tcp").or_else(|| bare.strip_suffix("_udp")).unwrap_or(bare);
    Some(match bare {
        "tls" => Service::Tls,
        "krb5" | "krb" => Service::Kerberos,
        "bittorrent-dht" => Service::Dht,
        "bittorrenttracker" => Service::BitTorrent,
        "ikev2" | "ike" | "ipsec" => Service::Ipsec,
        "dcerpc" => Service::DceRpc,
        "pgsql" | "postgresql" | "postgres" => Service::Postgres,
        "doh2" => Service::Http2,
        "websocket" => Service::Http,
        "irc-data" => Service::Irc,
        "ftp-data" => Service::Ftp,
        known => *Service::ALL.iter().find(|s| s.name() == known)?,
    })
}

/// What UDP on a port is that nobody else uses so, where the sensor names nothing: IANA's registry, and WireGuard's and OpenVPN's own.
pub fn usual(port: u16) -> Option<Service> {
    Some(match port {
        123 => Service::Ntp,
        137 | 138 => Service::Netbios,
        443 => Service::Quic,
        500 | 4500 => Service::Ipsec,
        1194 => Service::OpenVpn,
        3478..=3481 | 19302..=19309 => Service::Stun,
        5353 => Service::Mdns,
        5355 => Service::Llmnr,
        51820 => Service::WireGuard,
        _ => return None,
    })
}

/// A flow, by the name that its sensor gave it: the same name in another log of the sensor is the same flow.
pub fn flow(name: &str) -> FlowId {
    FlowId::of_name(record::fnv1a(name.as_bytes()))
}

/// A name as records have it: lower case, without a dot at its end.
pub fn name(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// The domain of an address of mail.
pub fn domain(address: &str) -> Option<String> {
    let domain = address.rsplit_once('@')?.1.trim_end_matches(['>', ' ']);
    (!domain.is_empty()).then(|| name(domain))
}

/// Text without Zeek's escapes (`\x2c`).
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains("\\x") {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let digits = rest.get(at + 2..at + 4).and_then(|d| u8::from_str_radix(d, 16).ok());
        let taken = if let Some(byte) = digits {
            bytes.push(byte);
            4
        } else {
            bytes.extend_from_slice(b"\\x");
            2
        };
        rest = &rest[at + taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_every_form() {
        let at = |text: &str| time(text).map(|t| t.0);
        assert_eq!(at("1359941400.381490"), Some(1_359_941_400_381_490_000));
        assert_eq!(at("67.012943"), Some(67_012_943_000));
        for same in [
            "2013-02-04T01:30:00.381490+0000",
            "2013-02-04T01:30:00.38149Z",
            "2013-02-04T03:30:00.381490+02:00",
        ] {
            assert_eq!(at(same), Some(1_359_941_400_381_490_000), "{same}");
        }
        assert_eq!(at("2026-11-26T13:32:07"), at("2026-11-26T13:32:07Z"));
        assert_eq!(at("1359941400381"), Some(1_359_941_400_381_000_000));
        assert_eq!(at("2013-02-04 01:30:00"), Some(1_359_941_400_000_000_000));
        for none in [
            "",
            "-",
            "yesterday",
            "2013-02-04T",
            "1e99",
            "99999999999999999999",
            "-9223372036854775808",
            "9999999-01-01T00:00:00Z",
        ] {
            assert_eq!(at(none), None, "{none}");
        }
    }

    #[test]
    fn words_of_other_sensors() {
        assert_eq!(service("ssl,http"), Some(Service::Tls));
        assert_eq!(service("failed"), None);
        assert_eq!(transport("IPv6-ICMP"), Some(Transport::Icmp6));
        assert_eq!(unescaped("a\\x2cb\\xc3\\xbc \\xzz"), "a,bü \\xzz");
        assert_eq!(domain("<dev@Kettle.example>"), Some("kettle.example".into()));
        assert_eq!(mac("00:0c:29:8f:d5:6d"), Some(Mac([0, 12, 41, 143, 213, 109])));
        assert_eq!(mac("00:0c"), None);
        assert_ne!(flow("CVPZ0Q"), flow("CVPZ0R"));
    }
}
