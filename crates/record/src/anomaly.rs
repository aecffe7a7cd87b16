use serde::{Deserialize, Serialize};

/// Defines the anomalies with their names in one place.
macro_rules! anomalies {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something on the wire that is not as it should be. Data, never failure: it is counted and named.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Anomaly {
            $($(#[$doc])* $variant,)*
        }

        impl Anomaly {
            /// Every anomaly, in the order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in reports, after Zeek's weirds where there is one.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

anomalies! {
    /// The frame ends before its headers do.
    TruncatedHeader = "truncated_header",
    /// A length field says less than the header it stands in.
    BadLength = "bad_length",
    /// The IPv4 header's checksum is wrong.
    BadIpChecksum = "bad_ip_checksum",
    /// The TCP or UDP checksum is wrong: damage, a decoy, or a card that was to fill it in after the capture.
    BadTransportChecksum = "bad_transport_checksum",
    /// IPv4 total length 0: segmentation offload on the capturing host.
    OffloadedLength = "offloaded_length",
    /// More headers or tunnels inside one another than are followed.
    TooManyLayers = "too_many_layers",
    /// IP fragments overlap with different data.
    FragmentOverlap = "fragment_overlap",
    /// IP fragments that never made a whole datagram.
    FragmentIncomplete = "fragment_incomplete",
    /// A fragment reaches past 65,535 bytes or is absurdly small.
    FragmentBadSize = "fragment_bad_size",
    /// Fragments dropped because the table of unfinished datagrams was full.
    FragmentDropped = "fragment_dropped",
    /// Same sequence numbers, different bytes.
    TcpOverlapDiffers = "tcp_overlap_differs",
    /// The peer acknowledged bytes that the capture never saw.
    TcpAckedUnseen = "tcp_acked_unseen",
    /// A hole in the stream was given up.
    TcpGap = "tcp_gap",
    /// A SYN carries data.
    TcpSynData = "tcp_syn_data",
    /// SYN together with FIN or RST, or no flags at all.
    TcpBadFlags = "tcp_bad_flags",
    /// The urgent pointer is in use.
    TcpUrgent = "tcp_urgent",
    /// A segment with a wrong checksum from a side whose checksums are right: damaged or a decoy, and not taken for the
    /// stream unless the receiver acknowledges it.
    DoubtfulChecksum = "doubtful_checksum",
    /// A segment whose time-to-live is nearly used up from a side that is not far away: it may not arrive, and is not taken
    /// for the stream unless the receiver acknowledges it.
    DoubtfulTtl = "doubtful_ttl",
    /// A reset whose sequence number lies outside of what the other side may accept: not followed.
    TcpResetOutside = "tcp_reset_outside_window",
    /// Packets that waited for those before them went on as they came, because too much waited.
    ReorderCut = "reorder_cut",
    /// The packet was seen before, header by header: a span port that hears it twice.
    DuplicatePacket = "duplicate_packet",
    /// The flow was picked up in its middle.
    MidstreamPickup = "midstream_pickup",
    /// Flow state was evicted because its table was full.
    FlowEvicted = "flow_evicted",
    /// Out-of-order bytes were dropped because the reassembly budget was used up.
    ReassemblyDropped = "reassembly_dropped",
    /// A DNS message that cannot be understood to its end.
    DnsMalformed = "dns_malformed",
    /// An HTTP message that only the lenient reading accepts.
    HttpMalformed = "http_malformed",
    /// An HTTP request that nobody answered, among many in one packet: not told.
    HttpCrowded = "http_crowded",
    /// A TLS record or hello that breaks its own lengths.
    TlsMalformed = "tls_malformed",
    /// A QUIC Initial that does not decrypt.
    QuicUndecryptable = "quic_undecryptable",
    /// QUIC of a version whose keys are not known: its handshake is not read.
    QuicUnknownVersion = "quic_unknown_version",
    /// A line longer than its protocol allows.
    LineTooLong = "line_too_long",
    /// A DHCP message that cannot be understood to its end.
    DhcpMalformed = "dhcp_malformed",
}

/// How often each anomaly was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(String, u64)>", from = "Vec<(String, u64)>")]
pub struct AnomalyCounts([u64; Anomaly::ALL.len()]);

/// By name, so that another version's counts can be read: one that it does not know is left out.
impl From<AnomalyCounts> for Vec<(String, u64)> {
    fn from(counts: AnomalyCounts) -> Self {
        counts.seen().map(|(a, n)| (a.name().to_owned(), n)).collect()
    }
}

impl From<Vec<(String, u64)>> for AnomalyCounts {
    fn from(named: Vec<(String, u64)>) -> Self {
        let mut counts = Self::default();
        for (name, n) in named {
            if let Some(anomaly) = Anomaly::ALL.iter().find(|a| a.name() == name) {
                counts.add_many(*anomaly, n);
            }
        }
        counts
    }
}

impl Default for AnomalyCounts {
    fn default() -> Self {
        Self([0; Anomaly::ALL.len()])
    }
}

impl AnomalyCounts {
    /// Counts one.
    pub fn add(&mut self, anomaly: Anomaly) {
        self.add_many(anomaly, 1);
    }

    /// Counts `n` at once.
    pub fn add_many(&mut self, anomaly: Anomaly, n: u64) {
        self.0[anomaly as usize] += n;
    }

    /// How often `anomaly` was seen.
    pub fn of(&self, anomaly: Anomaly) -> u64 {
        self.0[anomaly as usize]
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The anomalies that were seen, with their counts, in the order of definition.
    pub fn seen(&self) -> impl Iterator<Item = (Anomaly, u64)> + '_ {
        Anomaly::ALL.iter().zip(self.0).filter(|(_, n)| *n > 0).map(|(a, n)| (*a, n))
    }
}
