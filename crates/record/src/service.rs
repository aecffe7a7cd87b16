use serde::{Deserialize, Serialize};
/// Defines the services with their Zeek-style names in one place.
macro_rules! services {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The protocol of a flow, recognised by content on whatever port.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Service {
            $($(#[$doc])* $variant,)*
        }

        /// Nothing is known yet.
        impl Default for Service {
            fn default() -> Self {
                Self::Unknown
            }
        }

        impl Service {
            /// Every service, in the order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in records, lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

services! {
    /// Nothing was recognised yet, or nothing was said.
    Unknown = "unknown",
    /// Both sides may have spoken, no protocol fits, and the bytes look random.
    Opaque = "opaque",
    /// Something plain that is not recognised.
    Unrecognised = "unrecognised",
    /// DNS over UDP or TCP.
    Dns = "dns",
    /// Multicast DNS.
    Mdns = "mdns",
    /// Link-local multicast name resolution.
    Llmnr = "llmnr",
    /// NetBIOS name and datagram service.
    Netbios = "netbios",
    /// SMTP.
    Smtp = "smtp",
    /// HTTP/1.
    Http = "http",
    /// HTTP/2 without TLS.
    Http2 = "http2",
    /// TLS over TCP.
    Tls = "ssl",
    /// The SSLv2 hello.
    Ssl2 = "sslv2",
    /// QUIC.
    Quic = "quic",
    /// IRC.
    Irc = "irc",
    /// SSH.
    Ssh = "ssh",
    /// DHCP or BOOTP.
    Dhcp = "dhcp",
    /// DHCPv6.
    Dhcp6 = "dhcpv6",
    /// BitTorrent peer wire or tracker over TCP.
    BitTorrent = "bittorrent",
    /// uTP, BitTorrent's transport over UDP.
    Utp = "utp",
    /// BitTorrent's distributed hash table (also Mozi's).
    Dht = "dht",
    /// eDonkey and Kad.
    Kad = "kad",
    /// Gnutella.
    Gnutella = "gnutella",
    /// Bitcoin's peers, and of the currencies that took its messages over.
    Bitcoin = "bitcoin",
    /// Levin, which the peers of Monero and its kin speak.
    Levin = "levin",
    /// FTP control.
    Ftp = "ftp",
    /// IMAP.
    Imap = "imap",
    /// POP3.
    Pop3 = "pop3",
    /// NNTP, the newsreader's protocol.
    Nntp = "nntp",
    /// RDP.
    Rdp = "rdp",
    /// SMB over TCP or NetBIOS session.
    Smb = "smb",
    /// Distributed computing environment RPC.
    DceRpc = "dce_rpc",
    /// Kerberos.
    Kerberos = "krb",
    /// LDAP.
    Ldap = "ldap",
    /// NTP.
    Ntp = "ntp",
    /// SNMP.
    Snmp = "snmp",
    /// Syslog.
    Syslog = "syslog",
    /// TFTP.
    Tftp = "tftp",
    /// MQTT.
    Mqtt = "mqtt",
    /// CoAP.
    Coap = "coap",
    /// SIP.
    Sip = "sip",
    /// SOCKS 4 or 5.
    Socks = "socks",
    /// DRDA/DDM, the legitimate owner of ports 446–448.
    Drda = "drda",
    /// Telnet.
    Telnet = "telnet",
    /// Stratum mining.
    Stratum = "stratum",
    /// STUN or TURN.
    Stun = "stun",
    /// RTP.
    Rtp = "rtp",
    /// RTCP.
    Rtcp = "rtcp",
    /// DTLS.
    Dtls = "dtls",
    /// WireGuard.
    WireGuard = "wireguard",
    /// OpenVPN.
    OpenVpn = "openvpn",
    /// ISAKMP, IKE and ESP in UDP.
    Ipsec = "ipsec",
    /// L2TP.
    L2tp = "l2tp",
    /// PPTP control.
    Pptp = "pptp",
    /// Teredo.
    Teredo = "teredo",
    /// VXLAN, with group policy or another payload (GPE) too.
    Vxlan = "vxlan",
    /// Geneve.
    Geneve = "geneve",
    /// TaZmen Sniffer Protocol: packets that a router mirrors.
    Tzsp = "tzsp",
    /// CAPWAP: what an access point and its controller exchange.
    Capwap = "capwap",
    /// MPLS in UDP.
    MplsUdp = "mpls_udp",
    /// GRE in UDP.
    GreUdp = "gre_udp",
    /// The Locator/ID Separation Protocol's data.
    Lisp = "lisp",
    /// GTP, user plane.
    GtpU = "gtp_u",
    /// Valve's Source and Steam queries.
    Source = "source",
    /// RakNet games.
    RakNet = "raknet",
    /// SSDP.
    Ssdp = "ssdp",
    /// WS-Discovery.
    WsDiscovery = "ws_discovery",
    /// NetFlow or IPFIX export.
    NetFlow = "netflow",
    /// MySQL.
    MySql = "mysql",
    /// PostgreSQL.
    Postgres = "postgres",
    /// Microsoft SQL Server.
    Tds = "tds",
    /// Redis.
    Redis = "redis",
    /// VNC's remote frame buffer.
    Vnc = "vnc",
    /// XMPP.
    Xmpp = "xmpp",
    /// RTSP.
    Rtsp = "rtsp",
    /// RTMP.
    Rtmp = "rtmp",
    /// RADIUS.
    Radius = "radius",
    /// BGP.
    Bgp = "bgp",
    /// ICMP echo and errors.
    Icmp = "icmp",
    /// Zabbix's agents, proxies and servers.
    Zabbix = "zabbix",
    /// AMQP, the message brokers' protocol.
    Amqp = "amqp",
    /// MongoDB.
    MongoDb = "mongodb",
    /// NATS.
    Nats = "nats",
    /// Fox, which Niagara's stations speak (building automation).
    Fox = "fox",
    /// Lumberjack, by which Beats ship logs to Logstash.
    Lumberjack = "lumberjack",
    /// What Splunk's forwarders send.
    Splunk = "splunk",
    /// ZeroMQ's messages (Salt speaks them).
    Zmtp = "zmtp",
    /// IEC 60870-5-104, of substations.
    Iec104 = "iec104",
    /// Gearman's job servers.
    Gearman = "gearman",
    /// Tarantool.
    Tarantool = "tarantool",
    /// Munin's nodes.
    Munin = "munin",
    /// TP-Link's Kasa, of plugs and lamps.
    Kasa = "kasa",
    /// rsync's daemon.
    Rsync = "rsync",
    /// Network block devices.
    Nbd = "nbd",
    /// Distributed compilation.
    Distcc = "distcc",
    /// SPICE, of virtual machines' screens.
    Spice = "spice",
    /// Ceph.
    Ceph = "ceph",
    /// Subversion.
    Svn = "svn",
    /// Git's own protocol.
    Git = "git",
    /// HL7 over MLLP, of hospitals.
    Hl7 = "hl7",
    /// FIX, of exchanges.
    Fix = "fix",
    /// OPC UA, of plants.
    OpcUa = "opcua",
    /// DNP3, of utilities.
    Dnp3 = "dnp3",
    /// EtherNet/IP, of plants.
    EtherNetIp = "enip",
    /// Beckhoff's ADS, of plants.
    Ams = "ams",
    /// Modbus/TCP, of plants.
    Modbus = "modbus",
    /// ONC RPC (NFS and its kin).
    SunRpc = "sunrpc",
    /// Diameter.
    Diameter = "diameter",
    /// SMPP, of short messages.
    Smpp = "smpp",
    /// Android's debug bridge.
    Adb = "adb",
    /// Java's remote method invocation.
    Rmi = "rmi",
    /// Bolt (Neo4j).
    Bolt = "bolt",
    /// Trackers of vehicles: Teltonika, GT06, H02.
    GpsTracker = "gps_tracker",
    /// APRS-IS, of radio amateurs.
    AprsIs = "aprs_is",
    /// Thrift.
    Thrift = "thrift",
    /// Cassandra's native protocol.
    Cassandra = "cassandra",
    /// Kafka.
    Kafka = "kafka",
    /// ZooKeeper.
    ZooKeeper = "zookeeper",
    /// STOMP, the message brokers' text protocol.
    Stomp = "stomp",
    /// ClickHouse's own protocol.
    ClickHouse = "clickhouse",
    /// memcached's text protocol.
    Memcached = "memcached",
    /// Graphite's metrics, as lines or pickled.
    Graphite = "graphite",
    /// Bacula's and Bareos' daemons.
    Bacula = "bacula",
    /// X11.
    X11 = "x11",
    /// Minecraft (Java edition).
    Minecraft = "minecraft",
    /// Freeciv.
    Freeciv = "freeciv",
    /// ISO transport over TCP, above which plants speak S7 or MMS.
    Cotp = "cotp",
    /// Erlang's nodes and their port mapper (RabbitMQ's and ejabberd's clusters).
    Erlang = "erlang",
    /// tinc's meta connections.
    Tinc = "tinc",
}

impl Service {
    /// Whether the protocol of the flow is known by content.
    pub const fn is_recognised(self) -> bool {
        !matches!(self, Self::Unknown | Self::Opaque | Self::Unrecognised)
    }

    /// Whether it is a peer-to-peer application that a user chose to run.
    pub const fn is_p2p(self) -> bool {
        matches!(
            self,
            Self::BitTorrent
                | Self::Utp
                | Self::Dht
                | Self::Kad
                | Self::Gnutella
                | Self::Bitcoin
                | Self::Levin
        )
    }

    /// Whether it is a tunnel that a user or the house set up.
    pub const fn is_vpn(self) -> bool {
        matches!(
            self,
            Self::WireGuard
                | Self::OpenVpn
                | Self::Ipsec
                | Self::L2tp
                | Self::Pptp
                | Self::Teredo
                | Self::Tinc
        )
    }

    /// Whether it carries calls.
    pub const fn is_voip(self) -> bool {
        matches!(self, Self::Sip | Self::Rtp | Self::Rtcp | Self::Stun)
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
