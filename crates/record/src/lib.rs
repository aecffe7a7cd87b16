//! The words of Hydrophone: what every other room speaks, and nothing that reads or writes.
//!
//! Records are the narrow waist of the street. The sensor half (capture, wire, flow, proto) makes them, the
//! analyst half (behaviour, verdict) reads them, and neither knows the other.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod anomaly;
mod community_id;
mod conn;
mod evidence;
mod file;
mod framing;
mod health;
mod net;
mod payload;
mod plain;
mod role;
mod rows;
mod self_report;
mod service;
mod smb;
mod stream;
mod time;
mod unread;

pub use anomaly::{Anomaly, AnomalyCounts};
pub use community_id::CommunityId;
pub use conn::{Beat, Conn, ConnPhase, ConnState, History, KeyPackets};
pub use evidence::{Evidence, FactValue, Grade, NearMiss, Stage};
pub use file::FileInfo;
pub use framing::{Framing, SameStart, Start};
pub use health::Health;
pub use net::{
    BUCKETS, Direction, Endpoint, FlowId, HostId, IN_ARRAY, Mac, PacketId, Segment, Transport, Tuple, bucket,
    fnv1a,
};
pub use payload::{PayloadFacts, Plainness};
pub use plain::{
    at_least, clean, defang, defang_addresses, defang_text, defang_words, human_bytes, human_count,
    human_duration, leads_somewhere, names, no_formula, request_path, shortened, tally, visible,
};
pub use role::Role;
pub use rows::{
    Alert, BodyFacts, Certificate, Dhcp, Dns, DnsAnswer, Ends, Export, FrameCandidate, Head, Http, Irc,
    KeyProof, Magic, Naming, Quic, Record, RecordKey, Relay, RelayKind, RequestHeaders, Smtp,
    SmtpCommandForm, Ssh, Tls, are_readings, hex,
};
pub use self_report::SelfReport;
pub use service::Service;
pub use smb::{DceRpc, Smb, SmbAct, SmbOddity, Uuid};
pub use stream::{Chunk, FlowFacts, Progress};
pub use time::Timestamp;
pub use unread::{Accounts, Fate, Unread};
