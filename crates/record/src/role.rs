use std::fmt;

use serde::{Deserialize, Serialize};

/// What a host is for, as far as its traffic shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It accepts mail on port 25.
    MailServer,
    /// It delivers mail, and nearly all of it is accepted.
    MailSender,
    /// It answers DNS questions, or asks authoritative servers itself.
    Resolver,
    /// It calls the same services with a strict period.
    Monitor,
    /// Several hosts speak from its address: a router that translates, or a proxy.
    Nat,
    /// It runs a peer-to-peer application.
    P2pUser,
    /// It makes calls.
    VoipUser,
    /// It uses a tunnel.
    VpnUser,
}

impl Role {
    /// Every role, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::MailServer,
        Self::MailSender,
        Self::Resolver,
        Self::Monitor,
        Self::Nat,
        Self::P2pUser,
        Self::VoipUser,
        Self::VpnUser,
    ];

    /// The role of a name, as it is shown.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.to_string().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MailServer => "mail server",
            Self::MailSender => "mail sender",
            Self::Resolver => "resolver",
            Self::Monitor => "monitor",
            Self::Nat => "NAT or proxy",
            Self::P2pUser => "P2P user",
            Self::VoipUser => "VoIP user",
            Self::VpnUser => "VPN user",
        })
    }
}
