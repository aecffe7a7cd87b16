//! What the parser of a protocol has to do, and the list of those that are read.

use record::{Direction, Endpoint, Service, Transport};

use crate::dcerpc::RpcSession;
use crate::dhcp::DhcpSession;
use crate::dns::DnsSession;
use crate::exports::ExportSession;
use crate::http::HttpSession;
use crate::irc::IrcSession;
use crate::names::NameSession;
use crate::outbox::ParseContext;
use crate::quic::QuicSession;
use crate::relay::{Relayed, SocksSession};
use crate::smb::SmbSession;
use crate::smtp::SmtpSession;
use crate::ssh::SshSession;
use crate::starttls::Upgradable;
use crate::tls::TlsSession;

/// What a parser is charged with for what it keeps on average (*assumed*; its own limits bound the worst).
pub const KEPT: usize = 512;

/// The parser of one flow.
pub trait Protocol: Send {
    /// Bytes of one side came: a piece of a stream, in order, or a datagram.
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step;

    /// So many bytes of one side are missing from the stream here.
    fn gap(&mut self, from: Direction, bytes: u64, context: &mut ParseContext<'_>) -> Step {
        let _ = (from, bytes, context);
        Step::More
    }

    /// The flow ends before the parser did: its last word.
    fn end(&mut self, context: &mut ParseContext<'_>) {
        let _ = context;
    }

    /// About how many bytes hang on it, beside itself.
    fn weight(&self) -> usize;

    /// With whom the flow goes on from here where a proxy in between was asked for somebody: said once.
    fn take_remote(&mut self) -> Option<Endpoint> {
        None
    }
}

/// How a flow goes on.
pub enum Step {
    /// As it is.
    More,
    /// Nothing more is to be learnt, and the last word is said.
    Over,
    /// As another protocol, from the next byte on.
    Becomes(Box<dyn Protocol>),
    /// As another protocol, which these bytes begin.
    Begins(Box<dyn Protocol>),
    /// As what a proxy relays, which is recognised anew.
    Relayed(Relayed),
}

impl Step {
    /// As it is, if it `wants` more.
    pub const fn more(wants: bool) -> Self {
        if wants { Self::More } else { Self::Over }
    }
}

type Begin = fn(&ParseContext<'_>) -> Box<dyn Protocol>;

/// A protocol that is read: what it is recognised as, what carries it, a port that it is usual on, and its parser.
pub struct Reader(pub Service, pub Transport, pub u16, pub Begin);

use Transport::{Tcp, Udp};

/// Every protocol that is read; of those that may turn into TLS only that is.
pub const READERS: &[Reader] = &[
    Reader(Service::Dns, Udp, 53, |_| Box::<DnsSession>::default()),
    Reader(Service::Dns, Tcp, 53, |_| Box::<DnsSession>::default()),
    Reader(Service::Smtp, Tcp, 25, |context| Box::new(SmtpSession::new(context))),
    Reader(Service::Http, Tcp, 80, |_| Box::<HttpSession>::default()),
    Reader(Service::Tls, Tcp, 443, |_| Box::<TlsSession>::default()),
    Reader(Service::Quic, Udp, 443, |_| Box::<QuicSession>::default()),
    Reader(Service::Irc, Tcp, 6667, |_| Box::<IrcSession>::default()),
    Reader(Service::Ssh, Tcp, 22, |_| Box::<SshSession>::default()),
    Reader(Service::Dhcp, Udp, 67, |_| Box::new(DhcpSession)),
    Reader(Service::Netbios, Udp, 137, |_| Box::new(NameSession::new(Service::Netbios))),
    Reader(Service::Mdns, Udp, 5353, |_| Box::new(NameSession::new(Service::Mdns))),
    Reader(Service::NetFlow, Udp, 2055, |_| Box::new(ExportSession)),
    Reader(Service::Socks, Tcp, 1080, |_| Box::<SocksSession>::default()),
    Reader(Service::Imap, Tcp, 143, upgradable),
    Reader(Service::Pop3, Tcp, 110, upgradable),
    Reader(Service::Nntp, Tcp, 119, upgradable),
    Reader(Service::Ftp, Tcp, 21, upgradable),
    Reader(Service::Xmpp, Tcp, 5222, upgradable),
    Reader(Service::Ldap, Tcp, 389, upgradable),
    Reader(Service::Rdp, Tcp, 3389, upgradable),
    Reader(Service::MySql, Tcp, 3306, upgradable),
    Reader(Service::Postgres, Tcp, 5432, upgradable),
    Reader(Service::Smb, Tcp, 445, |_| Box::<SmbSession>::default()),
    Reader(Service::DceRpc, Tcp, 135, |_| Box::<RpcSession>::default()),
];

fn upgradable(_: &ParseContext<'_>) -> Box<dyn Protocol> {
    Box::<Upgradable>::default()
}

/// The parser of a protocol, where it is read.
pub fn begin(service: Service, context: &ParseContext<'_>) -> Option<Box<dyn Protocol>> {
    let transport = context.flow.tuple.transport;
    let reader = READERS.iter().find(|r| r.0 == service && r.1 == transport)?;
    Some(reader.3(context))
}
