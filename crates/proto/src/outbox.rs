use record::{Anomaly, AnomalyCounts, FlowFacts, PacketId, Record, Timestamp};

use crate::tls::Digests;

/// Takes what sessions understood.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Records in the order they were made; whoever empties it gives them their place in the whole.
    pub records: Vec<Record>,
    /// What was strange.
    pub anomalies: AnomalyCounts,
    /// Whether files are left without hashes.
    pub unhashed: bool,
    /// Hashes that fingerprints are made of.
    pub(crate) digests: Digests,
}

impl Outbox {
    pub(crate) fn strange(&mut self, anomaly: Anomaly) {
        self.anomalies.add(anomaly);
    }
}

/// The first packets of something, at most `MAX`.
#[derive(Clone, Debug, Default)]
pub struct Packets(Vec<PacketId>);

impl Packets {
    const MAX: usize = 8;

    pub fn add(&mut self, packet: PacketId) {
        if self.0.len() < Self::MAX && self.0.last() != Some(&packet) {
            self.0.push(packet);
        }
    }

    pub fn take(&mut self) -> Vec<PacketId> {
        std::mem::take(&mut self.0)
    }
}

/// What every parser is told with each piece of a flow.
pub struct ParseContext<'a> {
    pub flow: &'a FlowFacts,
    pub ts: Timestamp,
    pub at: Timestamp,
    pub packet: PacketId,
    pub out: &'a mut Outbox,
}

/// Text from the wire as a string: UTF-8 where it is, replacement characters elsewhere, at most `max` bytes.
pub fn text(bytes: &[u8], max: usize) -> String {
    String::from_utf8_lossy(bytes.get(..max).unwrap_or(bytes)).into_owned()
}
