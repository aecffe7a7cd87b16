//! Honest hosts and programs that do what bots do: what each behaviour may be taken for.

use record::Role;
use serde::{Deserialize, Serialize};

/// A kind of honest host or program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Honest {
    /// It delivers mail for others.
    Mail,
    /// It checks services.
    Monitor,
    /// It looks through the network for those who run it.
    Inventory,
    /// It asks DNS for others.
    Resolver,
    /// It shares files with peers.
    FileSharing,
    /// It carries calls and messages between people.
    Calls,
    /// It keeps a tunnel.
    Tunnel,
    /// It keeps itself up to date and reports to its maker.
    Agent,
    /// A camera, player, hub or machine without a screen.
    Device,
    /// It fetches pages and feeds by itself.
    Crawler,
    /// Somebody browses and downloads.
    Browsing,
    /// Somebody develops or administers.
    Administration,
    /// Somebody mines on purpose.
    Mining,
}

impl Honest {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Mail,
        Self::Monitor,
        Self::Inventory,
        Self::Resolver,
        Self::FileSharing,
        Self::Calls,
        Self::Tunnel,
        Self::Agent,
        Self::Device,
        Self::Crawler,
        Self::Browsing,
        Self::Administration,
        Self::Mining,
    ];

    /// In words, as what a host would be: `a mail server`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Mail => "a mail server",
            Self::Monitor => "monitoring that checks services",
            Self::Inventory => "a scanner that the network's own people run",
            Self::Resolver => "a DNS resolver",
            Self::FileSharing => "file sharing between peers",
            Self::Calls => "calls and messages",
            Self::Tunnel => "a VPN or other tunnel",
            Self::Agent => "software that updates itself and reports to its maker",
            Self::Device => "a device without a screen",
            Self::Crawler => "a crawler or feed reader",
            Self::Browsing => "somebody who browses and downloads",
            Self::Administration => "somebody who develops or administers",
            Self::Mining => "somebody who mines on purpose",
        }
    }

    /// The roles that show it.
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::Mail => &[Role::MailServer, Role::MailSender],
            Self::Monitor => &[Role::Monitor],
            Self::Resolver => &[Role::Resolver],
            Self::FileSharing => &[Role::P2pUser],
            Self::Calls => &[Role::VoipUser],
            Self::Tunnel => &[Role::VpnUser],
            _ => &[],
        }
    }
}

/// That a behaviour may be an honest kind's.
#[derive(Clone, Copy, Debug)]
pub struct Alike {
    /// Whose.
    pub honest: Honest,
    /// Grades of the behaviour that this kind does not show.
    pub unless: &'static [&'static str],
}

impl Alike {
    /// It may be this kind's, whatever its grades.
    pub const fn to(honest: Honest) -> Self {
        Self { honest, unless: &[] }
    }

    /// The same, but for evidence with one of these grades.
    #[must_use]
    pub const fn unless(self, unless: &'static [&'static str]) -> Self {
        Self { unless, ..self }
    }
}
