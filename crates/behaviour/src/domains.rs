//! Names: what is registered, what is below it, and which lists it stands on.

use std::net::IpAddr;
use std::sync::OnceLock;

use crate::table::SeededSet;

/// The registrable domain of a name (`www.bbc.co.uk` → `bbc.co.uk`); `None` for a suffix, a single label, an address.
pub fn registrable(name: &str) -> Option<&str> {
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let domain = psl::domain(name.as_bytes())?;
    if !domain.suffix().is_known() && !name.contains('.') {
        return None;
    }
    std::str::from_utf8(domain.as_bytes()).ok()
}

/// The last two labels of a name: what its registrable domain ends with, told without the list of suffixes.
pub fn tail(name: &str) -> &str {
    let mut dots = name.bytes().enumerate().rev().filter(|(_, b)| *b == b'.').map(|(at, _)| at);
    dots.next();
    dots.next().map_or(name, |at| &name[at + 1..])
}

/// The label that somebody chose when registering: the first of the registrable domain.
pub fn chosen_label(name: &str) -> Option<&str> {
    registrable(name)?.split('.').next()
}

/// The same of a name that was registered with a registry, not given by a provider to a customer, in Latin letters.
pub fn owned_label(name: &str) -> Option<&str> {
    let owned = psl::domain(name.as_bytes())?.suffix().typ() == Some(psl::Type::Icann);
    chosen_label(name).filter(|label| owned && !label.starts_with("xn--"))
}

/// A list file as a set: one entry per line, `#` begins a comment.
fn set_of(text: &'static str) -> SeededSet<&'static str> {
    text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect()
}

/// Whether a name stands on a list, itself or by a parent domain.
fn is_below(set: &SeededSet<&'static str>, name: &str) -> bool {
    let mut rest = name;
    loop {
        if set.contains(rest) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, parent)) => rest = parent,
            None => return false,
        }
    }
}

macro_rules! list {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        list!($(#[$doc])* $name, $file, is_below);
    };
    ($(#[$doc:meta])* $name:ident, $file:literal, $how:expr) => {
        $(#[$doc])*
        pub fn $name(name: &str) -> bool {
            static SET: OnceLock<SeededSet<&'static str>> = OnceLock::new();
            $how(SET.get_or_init(|| set_of(include_str!(concat!("../lists/", $file)))), name)
        }
    };
}

list!(
    /// Whether a name is one of a mail exchanger that bots probe.
    is_probe_target, "probe_targets.txt"
);
list!(
    /// Whether a name belongs to a news site or portal.
    is_front_page, "front_pages.txt"
);
list!(
    /// Whether a name is asked by operating systems and browsers to see whether they are online.
    is_connectivity_check, "connectivity_checks.txt"
);
list!(
    /// Whether a name is a service that tells a caller its own address.
    is_address_echo, "address_echo.txt"
);
list!(
    /// Whether a name is a drop box, or a chat service's interface for programs.
    is_drop_service, "drop_services.txt"
);
list!(
    /// Whether a name is one from which widespread programs fetch their own updates.
    is_software_update, "software_updates.txt"
);
list!(
    /// Whether names below it carry data, or number hosts, as its owner's business.
    has_data_in_names, "data_in_names.txt"
);
list!(
    /// Whether a name is a dynamic-DNS suffix itself.
    is_dynamic_suffix, "dynamic_dns.txt", |set: &SeededSet<&'static str>, name: &str| set.contains(name)
);

/// Whether a name lies below a dynamic-DNS suffix, or is one.
pub fn is_dynamic(name: &str) -> bool {
    is_dynamic_suffix(name) || dynamic_parts(name).is_some()
}

/// Splits a dynamic-DNS name into the label before its suffix (the shortest on the list) and the suffix.
pub fn dynamic_parts(name: &str) -> Option<(&str, &str)> {
    let mut end = name.len();
    while let Some(dot) = name[..end].rfind('.') {
        let suffix = &name[dot + 1..];
        if is_dynamic_suffix(suffix) {
            let before = &name[..dot];
            return Some((before.rsplit('.').next().unwrap_or(before), suffix));
        }
        end = dot;
    }
    None
}

/// Whether a `Host` is an address, as a bot's often is and a person's hardly ever.
pub fn is_address_literal(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(registrable("www.bbc.co.uk"), Some("bbc.co.uk"));
        assert_eq!(registrable("localhost"), None);
        assert_eq!(registrable("10.0.0.1"), None);
        assert_eq!(chosen_label("a.b.example.com"), Some("example"));
        assert_eq!(dynamic_parts("rbqdxflojkj.mooo.com"), Some(("rbqdxflojkj", "mooo.com")));
        assert_eq!(dynamic_parts("example.com"), None);
        assert!(is_front_page("www.nytimes.com") && !is_front_page("times.com"));
        assert!(is_probe_target("mx.google.com") && !is_probe_target("google.com"));
        assert!(is_connectivity_check("www.msftconnecttest.com"));
        assert!(is_address_echo("api.ipify.org") && is_software_update("au.download.windowsupdate.com"));
        assert!(is_address_literal("[2001:db8::1]") && !is_address_literal("a.b"));
    }
}
