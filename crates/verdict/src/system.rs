//! Which system a host seems to run, by what it says, and by how its packets begin. Any of it can be pretended.

use serde::{Deserialize, Serialize};

/// A system, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum System {
    /// The program that asks for the host's address calls itself so.
    Dhcp(String),
    /// An SSH program's banner.
    Banner(String),
    /// What programs that ask by HTTP call themselves.
    Agent(String),
    /// What the host told somebody in an unknown protocol.
    Reported(String),
    /// The time to live of its packets is one that this kind of system begins with.
    Ttl(String),
}

impl System {
    /// The system's name.
    pub fn name(&self) -> String {
        match self {
            Self::Dhcp(name)
            | Self::Banner(name)
            | Self::Agent(name)
            | Self::Reported(name)
            | Self::Ttl(name) => name.clone(),
        }
    }

    /// What says so.
    pub const fn by(&self) -> &'static str {
        match self {
            Self::Dhcp(_) => "its DHCP client",
            Self::Banner(_) => "its SSH banner",
            Self::Agent(_) => "its User-Agents",
            Self::Reported(_) => "what it told an unknown server",
            Self::Ttl(_) => "the time to live of its packets",
        }
    }

    /// How far the word is trusted, the most first: a program that has no reason to pretend, then what says most.
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Dhcp(_) => 0,
            Self::Banner(_) => 1,
            Self::Agent(_) => 2,
            Self::Reported(_) => 3,
            Self::Ttl(_) => 4,
        }
    }
}

/// By the vendor class of its DHCP client: what Windows, Android, dhcpcd, BusyBox and systemd send.
pub fn of_dhcp(vendor: &str) -> Option<System> {
    let name = match vendor {
        v if v.starts_with("MSFT") => "Windows",
        v if v.starts_with("android-dhcp") => "Android",
        v if v.starts_with("AAPL") => "macOS",
        v if v.contains("Linux") || v.starts_with("systemd") => "Linux",
        v if v.starts_with("udhcp") => "Linux with BusyBox",
        v if v.starts_with("Cisco") => "network equipment",
        _ => return None,
    };
    Some(System::Dhcp(name.to_owned()))
}

/// By an SSH banner, which distributions sign.
pub fn of_banner(banner: &str) -> Option<System> {
    const NAMES: [(&str, &str); 9] = [
        ("OpenSSH_for_Windows", "Windows"),
        ("Debian", "Debian Linux"),
        ("Ubuntu", "Ubuntu Linux"),
        ("Raspbian", "Raspberry Pi OS"),
        ("FreeBSD", "FreeBSD"),
        ("NetBSD", "NetBSD"),
        ("Cisco", "network equipment"),
        ("ROSSSH", "network equipment"),
        ("dropbear", "Linux (embedded)"),
    ];
    let found = NAMES.iter().find(|(word, _)| banner.contains(word))?;
    Some(System::Banner(found.1.to_owned()))
}

/// By a `User-Agent`: what browsers and the systems' own programs say.
pub fn of_agent(agent: &str) -> Option<System> {
    const WINDOWS: [(&str, &str); 8] = [
        ("10.0", "Windows 10 or 11"),
        ("6.3", "Windows 8.1"),
        ("6.2", "Windows 8"),
        ("6.1", "Windows 7"),
        ("6.0", "Windows Vista"),
        ("5.2", "Windows XP x64 or Server 2003"),
        ("5.1", "Windows XP"),
        ("5.0", "Windows 2000"),
    ];
    const NAMES: [(&str, &str); 14] = [
        ("Android", "Android"),
        ("Dalvik", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iPadOS"),
        ("CFNetwork", "macOS or iOS"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Debian APT", "Debian or Ubuntu Linux"),
        ("Ubuntu", "Ubuntu Linux"),
        ("Fedora", "Fedora Linux"),
        ("Linux", "Linux"),
        ("Microsoft-CryptoAPI", "Windows"),
        ("Microsoft BITS", "Windows"),
        ("Windows-Update-Agent", "Windows"),
    ];
    // CryptoAPI says the version of the system behind its name.
    let version = agent
        .split_once("Windows NT ")
        .or_else(|| agent.split_once("Microsoft-CryptoAPI/"))
        .map(|(_, rest)| rest);
    let windows = version.and_then(|v| WINDOWS.iter().find(|(number, _)| v.starts_with(number)));
    let found = windows.or_else(|| NAMES.iter().find(|(word, _)| agent.contains(word)))?;
    Some(System::Agent(found.1.to_owned()))
}

/// By what it told somebody in an unknown protocol, up to what is no part of a system's name.
pub fn of_report(system: &str) -> Option<System> {
    let ends =
        system.find(|c: char| !(c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_' | '(' | ')')));
    let name = system.get(..ends.unwrap_or(system.len())).unwrap_or_default().trim();
    (!name.is_empty()).then(|| System::Reported(name.to_owned()))
}

/// By the time to live that its packets still had: systems begin with 64 (Unix), 128 (Windows) or 255 (network equipment), and a local host
/// is a few hops away.
pub fn of_ttl(ttl: u8) -> Option<System> {
    let name = match ttl {
        57..=64 => "Linux, macOS, Android or iOS",
        121..=128 => "Windows",
        248..=255 => "network equipment or Solaris",
        _ => return None,
    };
    Some(System::Ttl(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_by_what_is_said() {
        let agent = |a: &str| of_agent(a).map(|s| s.name());
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537.36";
        assert_eq!(agent(edge).as_deref(), Some("Windows 10 or 11"));
        assert_eq!(agent("Microsoft-CryptoAPI/6.1").as_deref(), Some("Windows 7"));
        assert_eq!(agent("Mozilla/5.0 (Linux; Android 13; Pixel 7)").as_deref(), Some("Android"));
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X)";
        assert_eq!(agent(iphone).as_deref(), Some("iOS"));
        assert_eq!(agent("curl/8.5.0"), None);
        assert_eq!(of_dhcp("MSFT 5.0").map(|s| s.name()).as_deref(), Some("Windows"));
        assert_eq!(of_dhcp("dhcpcd-9.4.1:Linux-6.1.0:x86_64").map(|s| s.name()).as_deref(), Some("Linux"));
        assert_eq!(of_dhcp("something else"), None);
        let banner = of_banner("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2").map(|s| s.name());
        assert_eq!(banner.as_deref(), Some("Debian Linux"));
        let told = of_report("Windows XP Service Pack 2~!996413747~!0").map(|s| s.name());
        assert_eq!(told.as_deref(), Some("Windows XP Service Pack 2"));
        assert_eq!(of_ttl(128).map(|s| s.name()).as_deref(), Some("Windows"));
        assert_eq!(of_ttl(40), None, "who is far away, or sets it on purpose");
    }
}
