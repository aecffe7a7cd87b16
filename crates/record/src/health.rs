use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Accounts, AnomalyCounts, Timestamp};

/// What the capture itself says about how far it can be trusted, and what was lost on the way through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Packets read.
    pub packets: u64,
    /// Bytes on the wire (original lengths).
    pub bytes: u64,
    /// Bytes in the files (captured lengths).
    pub captured_bytes: u64,
    /// Packets whose capture is shorter than the packet was.
    pub cut_packets: u64,
    /// Earliest packet time.
    pub first: Option<Timestamp>,
    /// Latest packet time.
    pub last: Option<Timestamp>,
    /// Packets whose time lies before that of the packet read just before it.
    pub backward_jumps: u64,
    /// The largest such step back, in nanoseconds.
    pub largest_backward_ns: u64,
    /// Pauses of more than a minute between consecutive packets: these may be gaps.
    pub pauses: u64,
    /// The longest such pause, in nanoseconds.
    pub longest_pause_ns: u64,
    /// Time in pauses of more than an hour, in nanoseconds: of these nothing is known.
    #[serde(default)]
    pub paused_ns: u64,
    /// Rows of logs that were read,
    #[serde(default)]
    pub rows: u64,
    /// and lines that could not be.
    #[serde(default)]
    pub rows_unread: u64,
    /// Flows that two inputs told, each by its own name: they count twice.
    #[serde(default)]
    pub told_twice: u64,
    /// The first such pauses: last packet before and first after, at most [`Self::MAX_GAPS`].
    pub gaps: Vec<(Timestamp, Timestamp)>,
    /// Packets that the capturing side says it dropped (pcapng interface statistics).
    pub dropped_by_capture: u64,
    /// What became of the packets.
    pub accounts: Accounts,
    /// Packets with an IP header.
    pub ip_packets: u64,
    /// Packets by transport: IANA protocol number to packets.
    pub by_transport: BTreeMap<u8, u64>,
    /// Flows that closed, by what carried them: (tcp, udp, other).
    pub flows: (u64, u64, u64),
    /// TCP flows of which only one direction was seen though it carried data.
    pub one_sided_tcp: u64,
    /// TCP flows whose beginning was not seen.
    pub midstream_tcp: u64,
    /// Payload bytes that TCP sequence numbers say existed and the capture did not hold.
    pub missed_bytes: u64,
    /// Everything strange, by kind.
    pub anomalies: AnomalyCounts,
}

impl Health {
    /// Pauses that are kept one by one.
    pub const MAX_GAPS: usize = 256;
    /// What is longer is no idle network's pause, as far as it can be told: a stray time at one end would stretch any capture (*assumed*).
    pub const LONG_PAUSE: Duration = Duration::from_hours(1);

    /// Nothing came between these.
    pub fn pause(&mut self, from: Timestamp, to: Timestamp) {
        if to.since(from) > Self::LONG_PAUSE {
            self.paused_ns = self.paused_ns.saturating_add(to.0.abs_diff(from.0));
        }
    }

    /// Adds the counts of another part of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.captured_bytes += other.captured_bytes;
        self.cut_packets += other.cut_packets;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.backward_jumps += other.backward_jumps;
        self.largest_backward_ns = self.largest_backward_ns.max(other.largest_backward_ns);
        self.pauses += other.pauses;
        self.longest_pause_ns = self.longest_pause_ns.max(other.longest_pause_ns);
        self.paused_ns = self.paused_ns.saturating_add(other.paused_ns);
        self.rows += other.rows;
        self.rows_unread += other.rows_unread;
        self.told_twice += other.told_twice;
        self.gaps.extend(other.gaps.iter().take(Self::MAX_GAPS.saturating_sub(self.gaps.len())));
        self.dropped_by_capture += other.dropped_by_capture;
        self.accounts.merge(&other.accounts);
        self.ip_packets += other.ip_packets;
        for (proto, n) in &other.by_transport {
            *self.by_transport.entry(*proto).or_default() += n;
        }
        self.flows.0 += other.flows.0;
        self.flows.1 += other.flows.1;
        self.flows.2 += other.flows.2;
        self.one_sided_tcp += other.one_sided_tcp;
        self.midstream_tcp += other.midstream_tcp;
        self.missed_bytes += other.missed_bytes;
        self.anomalies.merge(&other.anomalies);
    }
}
