//! What went on when, of all hosts together: bytes of each group of protocols over time, and how much of each protocol there was.

use std::collections::BTreeMap;
use std::time::Duration;

use record::{ConnPhase, Record, Service, Timestamp};
use serde::{Deserialize, Serialize};

/// Columns over the whole time: when they are used up, two become one.
const MOST: usize = 192;
/// The width of a column to begin with, in nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// A group of protocols, as people ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// HTTP, TLS, QUIC.
    Web,
    /// DNS and what neighbours call each other.
    Names,
    /// Mail.
    Mail,
    /// File sharing and transfer, and remote calls beside it.
    Files,
    /// Remote shells and desktops.
    Remote,
    /// Peer-to-peer applications.
    P2p,
    /// Tunnels.
    Tunnels,
    /// Whatever else is recognised.
    Other,
    /// Nothing that is known, and bytes that look random.
    Opaque,
    /// Nothing that is known.
    Unrecognised,
}

impl Group {
    /// Every group, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Web,
        Self::Names,
        Self::Mail,
        Self::Files,
        Self::Remote,
        Self::P2p,
        Self::Tunnels,
        Self::Other,
        Self::Opaque,
        Self::Unrecognised,
    ];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Names => "names",
            Self::Mail => "mail",
            Self::Files => "files",
            Self::Remote => "remote work",
            Self::P2p => "peer to peer",
            Self::Tunnels => "tunnels",
            Self::Other => "other",
            Self::Opaque => "opaque",
            Self::Unrecognised => "not recognised",
        }
    }

    /// That of a protocol.
    pub const fn of(service: Service) -> Self {
        match service {
            Service::Http | Service::Http2 | Service::Tls | Service::Ssl2 | Service::Quic => Self::Web,
            Service::Dns | Service::Mdns | Service::Llmnr | Service::Netbios => Self::Names,
            Service::Smtp | Service::Imap | Service::Pop3 => Self::Mail,
            Service::Ftp | Service::Tftp | Service::Smb | Service::DceRpc | Service::Nntp => Self::Files,
            Service::Ssh | Service::Rdp | Service::Vnc | Service::Telnet => Self::Remote,
            Service::Opaque => Self::Opaque,
            Service::Unknown | Service::Unrecognised => Self::Unrecognised,
            s if s.is_p2p() => Self::P2p,
            s if s.is_vpn() => Self::Tunnels,
            _ => Self::Other,
        }
    }
}

/// How much of a protocol there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Flows.
    pub flows: u64,
    /// Bytes of payload that those who began sent.
    pub out: u64,
    /// Bytes that were answered.
    pub back: u64,
}

/// What went on when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// When the first column begins.
    start: Timestamp,
    /// How many seconds a column is wide.
    secs: u32,
    /// Bytes of each group, by column.
    columns: Vec<[u64; Group::ALL.len()]>,
    /// By protocol.
    services: BTreeMap<Service, Volume>,
}

impl Activity {
    /// When the first column begins, how wide each is, and the bytes of each group in each, in the order of [`Group::ALL`]. A flow's bytes are
    /// spread evenly over the time that it took.
    pub fn columns(&self) -> (Timestamp, Duration, &[[u64; Group::ALL.len()]]) {
        (self.start, Duration::from_secs(u64::from(self.secs)), &self.columns)
    }

    /// How much of each protocol there was, most bytes first.
    pub fn services(&self) -> Vec<(Service, Volume)> {
        let mut all: Vec<(Service, Volume)> = self.services.iter().map(|(s, v)| (*s, *v)).collect();
        all.sort_by_key(|(s, v)| (std::cmp::Reverse((v.out.saturating_add(v.back), v.flows)), *s));
        all
    }

    /// Learns from a record: flows that ended count.
    pub fn learn(&mut self, record: &Record) {
        if let Record::Conn(c) = record
            && c.phase == ConnPhase::Closed
        {
            self.add(c.service, [c.head.ts, c.last.max(c.head.ts)], c.bytes);
        }
    }

    /// Counts a flow: from when to when it went, and its bytes each way.
    fn add(&mut self, service: Service, [from, to]: [Timestamp; 2], [out, back]: [u64; 2]) {
        let volume = self.services.entry(service).or_default();
        volume.flows += 1;
        volume.out = volume.out.saturating_add(out);
        volume.back = volume.back.saturating_add(back);
        let bytes = out.saturating_add(back);
        // The end may make columns wider, and the beginning may put new ones in front: both are there when they are asked for again.
        self.column(from);
        let last = self.column(to);
        let first = self.column(from);
        let wide = (last - first + 1) as u64;
        let (each, rest) = (bytes / wide, bytes % wide);
        let group = Group::of(service) as usize;
        for (n, column) in self.columns[first..=last].iter_mut().enumerate() {
            column[group] = column[group].saturating_add(each + u64::from((n as u64) < rest));
        }
    }

    /// The column of a moment, made if it was not there.
    fn column(&mut self, at: Timestamp) -> usize {
        if self.columns.is_empty() {
            (self.start, self.secs) = (Timestamp(at.0.saturating_sub(at.0.rem_euclid(SECOND))), 1);
            self.columns.push([0; Group::ALL.len()]);
        }
        loop {
            let width = i64::from(self.secs).saturating_mul(SECOND);
            let place = at.0.saturating_sub(self.start.0).div_euclid(width);
            let before = usize::try_from(place.saturating_neg()).unwrap_or(0);
            let needed = match usize::try_from(place) {
                Ok(place) => place.saturating_add(1),
                Err(_) => before.saturating_add(self.columns.len()),
            };
            if needed > MOST {
                self.join();
                continue;
            }
            if before > 0 {
                self.start = Timestamp(self.start.0.saturating_sub(width.saturating_mul(before as i64)));
                self.columns.splice(..0, std::iter::repeat_n([0; Group::ALL.len()], before));
                return 0;
            }
            let place = needed - 1;
            if self.columns.len() <= place {
                self.columns.resize(place + 1, [0; Group::ALL.len()]);
            }
            return place;
        }
    }

    /// Makes one of each two columns.
    fn join(&mut self) {
        let pairs = self.columns.chunks(2).map(|pair| {
            std::array::from_fn(|group| pair.iter().fold(0u64, |all, c| all.saturating_add(c[group])))
        });
        self.columns = pairs.collect();
        self.secs = self.secs.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_grow_wide_and_lose_nothing() {
        let mut a = Activity::default();
        let mut all = 0u64;
        // Forwards, backwards, far away; long and short.
        for (from, secs, bytes) in
            [(1_000, 0, 10), (1_500, 300, 1_003), (200, 5, 7), (90_000, 60, 64), (1_000, 80_000, 999_999)]
        {
            let span = [Timestamp::from_secs(from), Timestamp::from_secs(from + secs)];
            a.add(Service::Http, span, [bytes / 3, bytes - bytes / 3]);
            all += bytes;
        }
        let (start, width, columns) = a.columns();
        assert!(columns.len() <= MOST && width.as_secs() >= 400, "{width:?}");
        assert!(start <= Timestamp::from_secs(200));
        assert_eq!(columns.iter().flatten().sum::<u64>(), all);
        assert_eq!(
            a.services().first().map(|(s, v)| (*s, v.flows, v.out + v.back)),
            Some((Service::Http, 5, all))
        );
    }
}
