//! Between whom the flows went that evidence names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use record::{CommunityId, ConnPhase, ConnState, FlowId, Record, Service, Timestamp, Tuple};

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// Both ends as packets have them: with the proxy, where there is one.
    pub tuple: Tuple,
    /// When its first packet came.
    pub first: Timestamp,
    /// When its last packet came.
    pub last: Timestamp,
    /// Payload bytes, the originator's and the responder's.
    pub bytes: [u64; 2],
    /// Packets, the originator's and the responder's; none where only an alert tells of the flow.
    pub packets: [u64; 2],
    /// How it went.
    pub state: Option<ConnState>,
    /// The protocol by content.
    pub service: Service,
}

impl Ended {
    /// Its Community ID.
    pub fn community_id(&self) -> String {
        CommunityId::of(&self.tuple).to_string()
    }
}

/// The ends of a run's flows. Which of them evidence will name is not known before the run is over, so that all are remembered up to a limit:
/// the first half of the room is for any, the second for those that were answered, of which floods have few.
#[derive(Debug)]
pub struct Ends {
    flows: HashMap<FlowId, Ended>,
    most: usize,
    forgotten: u64,
}

impl Ends {
    /// Bytes that a flow takes, with its share of the table's empty places.
    const FLOW: usize = 2 * (size_of::<FlowId>() + size_of::<Ended>());

    /// With room for as many flows as fit into so many bytes.
    pub fn within(bytes: u64) -> Self {
        let most = usize::try_from(bytes).unwrap_or(usize::MAX) / Self::FLOW;
        Self { flows: HashMap::new(), most, forgotten: 0 }
    }

    /// Takes a record of the run.
    pub fn learn(&mut self, record: &Record) {
        let (flow, ended) = match record {
            Record::Conn(c) if c.phase == ConnPhase::Closed => {
                let ended = Ended {
                    tuple: c.wire_tuple(),
                    first: c.head.ts,
                    last: c.last,
                    bytes: c.bytes,
                    packets: c.packets,
                    state: Some(c.state),
                    service: c.service,
                };
                (c.head.flow, ended)
            }
            // Logs of alerts alone tell of no flow's end.
            Record::Alert(a) if !self.flows.contains_key(&a.head.flow) => {
                let (first, last) = (a.head.ts, a.head.ts);
                let (bytes, packets) = ([0, 0], [0, 0]);
                let service = Service::Unknown;
                (
                    a.head.flow,
                    Ended { tuple: a.head.tuple, first, last, bytes, packets, state: None, service },
                )
            }
            _ => return,
        };
        let held = self.flows.len();
        match self.flows.entry(flow) {
            Entry::Occupied(mut known) => *known.get_mut() = ended,
            Entry::Vacant(_) if held >= self.most || (held >= self.most / 2 && ended.packets[1] == 0) => {
                self.forgotten += 1;
            }
            Entry::Vacant(free) => {
                free.insert(ended);
            }
        }
    }

    /// What is remembered of a flow.
    pub fn of(&self, flow: FlowId) -> Option<&Ended> {
        self.flows.get(&flow)
    }

    /// Flows for which there was no room.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use record::{Alert, Endpoint, Head, PacketId, Transport};

    use super::*;

    fn alert(n: u64) -> Record {
        let end = |port| Endpoint { ip: [192, 0, 2, 1].into(), port };
        let ts = Timestamp::from_secs(1);
        let tuple = Tuple { orig: end(1), resp: end(2), transport: Transport::Tcp };
        let flow = FlowId { packet: PacketId::new(0, n), layer: 0 };
        Record::Alert(Box::new(Alert {
            head: Head { ts, known: ts, site: 0, segment: None, flow, tuple },
            sensor: "suricata".into(),
            rule: None,
            signature: "x".into(),
            category: String::new(),
            severity: 1,
            packets: Vec::new(),
        }))
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut ends = Ends::within(10 * Ends::FLOW as u64);
        for n in 0..30 {
            ends.learn(&alert(n));
        }
        assert_eq!((ends.flows.len(), ends.forgotten()), (5, 25));
        // What docs/formats.md says of a sixteenth of 1 GiB.
        assert!((250_000..350_000).contains(&Ends::within(1 << 26).most));
        assert!(ends.of(FlowId { packet: PacketId::new(0, 4), layer: 0 }).is_some());
        assert!(ends.of(FlowId { packet: PacketId::new(0, 29), layer: 0 }).is_none());
    }
}
