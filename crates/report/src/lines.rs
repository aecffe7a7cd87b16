use std::borrow::Cow;
use std::collections::BTreeMap;

use record::{Accounts, Health, PacketId, Timestamp, Transport, clean};
use serde::{Deserialize, Serialize};
use verdict::{HostStory, Prior, Turn};

use crate::day::DayLine;

/// An input of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputLine {
    /// Its path.
    pub path: String,
    /// The same from the root of the file system; only in cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<String>,
    /// Its size in bytes; absent for streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of its bytes as they lie in the file; only in cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Which sensor's log it is (`zeek conn`, `suricata`), if it is no capture: then numbers are those of its lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// Closed flows by what carried them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowCounts {
    /// TCP.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
    /// Everything else.
    pub other: u64,
}

/// What became of the packets: each is counted once, so that the numbers add up to `packets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountsLine {
    /// Packets of flows, read down to their innermost header.
    pub followed: u64,
    /// Pieces of IP datagrams, but for those that completed one.
    pub fragments: u64,
    /// Packets that are understood and are not IP, by protocol.
    pub not_ip: BTreeMap<String, u64>,
    /// Packets cut before their headers end.
    pub cut: u64,
    /// Packets whose headers contradict themselves.
    pub damaged: u64,
    /// Packets that were not read, with the reason, most frequent first.
    pub unread: Vec<UnreadLine>,
}

/// Packets that were not read for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnreadLine {
    /// `link_type`, `ether_type`, `llc`, `ppp`, `ip_protocol`, `tunnel` or `encrypted`.
    pub kind: String,
    /// Which, in words.
    pub what: String,
    /// How many.
    pub packets: u64,
}

impl AccountsLine {
    /// What was counted, in words.
    pub fn of(a: &Accounts) -> Self {
        let mut unread: Vec<UnreadLine> = a
            .unread
            .iter()
            .map(|(why, n)| UnreadLine { kind: why.kind().to_owned(), what: why.to_string(), packets: *n })
            .collect();
        unread.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.what.cmp(&b.what)));
        Self {
            followed: a.followed,
            fragments: a.fragments,
            not_ip: a.not_ip.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect(),
            cut: a.cut,
            damaged: a.damaged,
            unread,
        }
    }

    /// All packets that were not read.
    pub fn unread_packets(&self) -> u64 {
        self.unread.iter().map(|u| u.packets).sum()
    }

    /// Whether there were packets that should have told something, and none did.
    pub fn nothing_followed(&self) -> bool {
        self.followed == 0 && self.unread_packets() + self.cut + self.damaged + self.fragments > 0
    }
}

/// Flows without a local end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutsideFlows {
    /// Flows both of whose ends are somewhere else.
    pub flows: u64,
    /// Flows between hosts, in all.
    pub of: u64,
    /// Whether they are so many that no host is called quiet.
    pub is_much: bool,
    /// What to do about it.
    #[serde(default)]
    pub advice: String,
}

/// What went on when: bytes of payload of each group of protocols, of all hosts together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivityLine {
    /// When the first column begins.
    pub start: Timestamp,
    /// How many seconds a column is wide; 0 where there is none.
    pub column_s: u64,
    /// The groups, in the order of their bytes.
    pub groups: Vec<String>,
    /// A list for each column: bytes by group.
    pub bytes: Vec<Vec<u64>>,
}

/// How much of a protocol there was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceLine {
    /// The protocol by content, as Zeek calls it.
    pub service: String,
    /// Closed flows.
    pub flows: u64,
    /// Bytes of payload that those who began sent.
    pub out: u64,
    /// Bytes that were answered.
    pub back: u64,
}

/// The capture as a whole: health and counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureLine {
    /// The program's version.
    pub version: String,
    /// The version of this format; it changes when the meaning of a field does.
    pub schema: u32,
    /// The inputs; evidence names packets of the first by number, of others as `"index:number"`.
    pub inputs: Vec<InputLine>,
    /// Whether all of them were read to their end.
    pub complete: bool,
    /// Inputs that failed or ended early, each with its reason.
    pub failures: Vec<String>,
    /// What else must be told of them.
    pub notices: Vec<String>,
    /// The local networks.
    pub home: Vec<String>,
    /// How they were chosen.
    pub home_chosen: String,
    /// Earliest packet.
    pub first: Option<Timestamp>,
    /// Latest packet.
    pub last: Option<Timestamp>,
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Bytes captured.
    pub captured_bytes: u64,
    /// Packets cut by the snap length.
    pub cut_packets: u64,
    /// What became of the packets: each is counted once.
    #[serde(default)]
    pub accounts: AccountsLine,
    /// IP headers understood, those inside tunnels too.
    pub ip_packets: u64,
    /// Packets by what carried them.
    pub by_transport: BTreeMap<String, u64>,
    /// Closed flows.
    pub flows: FlowCounts,
    /// What went on when.
    #[serde(default)]
    pub activity: ActivityLine,
    /// Flows and bytes by protocol, most bytes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceLine>,
    /// TCP flows begun before they were seen.
    pub midstream_tcp_flows: u64,
    /// TCP flows with data of which one side was seen.
    pub one_sided_tcp_flows: u64,
    /// Stream bytes that existed and were not captured.
    pub missed_bytes: u64,
    /// Packets the capturing side dropped.
    pub dropped_by_capture: u64,
    /// Steps back in packet time.
    pub backward_jumps: u64,
    /// The largest of them, in seconds.
    pub largest_backward_s: f64,
    /// Pauses of more than a minute.
    pub pauses: u64,
    /// The longest of them, in seconds.
    pub longest_pause_s: f64,
    /// Last packet before and first after each of them, at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<(Timestamp, Timestamp)>,
    /// Closed flows between hosts, and those of them without a local end: of these nobody is judged.
    #[serde(default)]
    pub outside_flows: OutsideFlows,
    /// Host states forgotten for want of memory.
    pub hosts_forgotten: u64,
    /// Everything strange, by name.
    pub anomalies: BTreeMap<String, u64>,
    /// Local hosts by verdict.
    pub hosts: BTreeMap<String, u64>,
    /// Where the payoffs come from.
    pub calibration: String,
    /// Shares that the network was analysed in: what is said of a host rests on what the hosts of its share show of the network.
    #[serde(default = "one")]
    pub shares: u32,
    /// Whether each segment of the network (VLAN, overlay) has hosts of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub segments_apart: bool,
    /// What was believed of a host before looking, in decibans.
    #[serde(default = "usual")]
    pub prior_db: f64,
}

/// Of cases that do not say.
fn usual() -> f64 {
    Prior::default().db()
}

const fn one() -> u32 {
    1
}

impl CaptureLine {
    /// The current version of the format.
    pub const SCHEMA: u32 = 1;

    /// Takes the counters over.
    pub fn with_health(mut self, h: &Health) -> Self {
        self.first = h.first;
        self.last = h.last;
        self.packets = h.packets;
        self.bytes = h.bytes;
        self.captured_bytes = h.captured_bytes;
        self.cut_packets = h.cut_packets;
        self.accounts = AccountsLine::of(&h.accounts);
        self.ip_packets = h.ip_packets;
        self.by_transport =
            h.by_transport.iter().map(|(p, n)| (Transport::of_number(*p).to_string(), *n)).collect();
        self.flows = FlowCounts { tcp: h.flows.0, udp: h.flows.1, other: h.flows.2 };
        self.midstream_tcp_flows = h.midstream_tcp;
        self.one_sided_tcp_flows = h.one_sided_tcp;
        self.missed_bytes = h.missed_bytes;
        self.dropped_by_capture = h.dropped_by_capture;
        self.backward_jumps = h.backward_jumps;
        self.largest_backward_s = h.largest_backward_ns as f64 / 1e9;
        self.pauses = h.pauses;
        self.longest_pause_s = h.longest_pause_ns as f64 / 1e9;
        self.gaps.clone_from(&h.gaps);
        self.anomalies = h.anomalies.seen().map(|(a, n)| (a.name().to_owned(), n)).collect();
        self
    }

    /// What the numbers in a proof are numbers of.
    pub fn proof_word(&self, proof: &[PacketId]) -> &'static str {
        let is_row = |p: &PacketId| self.inputs.get(p.file() as usize).is_some_and(|i| i.log.is_some());
        match (proof.iter().any(is_row), proof.iter().all(is_row)) {
            (false, _) => "packets",
            (true, true) => "lines",
            (true, false) => "packets and lines",
        }
    }

    /// The same without what tells of this machine: of each input its name alone, also in what is told of it.
    #[must_use]
    pub fn without_paths(&self) -> Self {
        let mut made = self.clone();
        for (n, input) in made.inputs.iter_mut().enumerate() {
            let name = std::path::Path::new(&input.path).file_name();
            let name =
                name.map_or_else(|| format!("capture-{}", n + 1), |n| n.to_string_lossy().into_owned());
            for told in made.notices.iter_mut().chain(&mut made.failures) {
                *told = told.replace(&input.path, &name);
            }
            input.path = name;
            input.absolute = None;
        }
        made
    }

    /// Counts the verdicts.
    pub fn with_hosts(mut self, stories: &[HostStory]) -> Self {
        for story in stories {
            *self.hosts.entry(story.verdict.name().to_owned()).or_default() += 1;
        }
        self
    }
}

/// A line of the output: the capture first, then each host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line<'a> {
    /// The capture.
    Capture(Cow<'a, CaptureLine>),
    /// A host.
    Host(Cow<'a, HostStory>),
    /// A host that turned while it was listened to.
    Turn(Box<Cow<'a, Turn>>),
    /// A day on which it was listened.
    Day(Cow<'a, DayLine>),
}

impl Line<'_> {
    /// The line as JSON, without a newline.
    ///
    /// # Errors
    /// A number that JSON cannot write; none of ours is.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Reads lines back.
///
/// # Errors
/// Names the first line that is not one of ours.
pub fn parse_lines(text: &str) -> Result<Vec<Line<'static>>, String> {
    // Only a line of the capture names the form; those of hosts alone are taken as they are.
    #[derive(Deserialize)]
    struct Form {
        schema: Option<u32>,
        version: Option<String>,
    }
    let form = text.lines().next().and_then(|l| serde_json::from_str::<Form>(l).ok());
    if let Some(Form { schema: Some(found), version }) = form
        && found != CaptureLine::SCHEMA
    {
        let by = version.map(|v| format!(" by hydrophone {}", clean(&v))).unwrap_or_default();
        return Err(format!(
            "it was written in form {found}{by}, and this version reads form {}",
            CaptureLine::SCHEMA
        ));
    }
    text.lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
        .map(|(i, l)| serde_json::from_str(l).map_err(|e| format!("line {}: {e}", i + 1)))
        .collect()
}
