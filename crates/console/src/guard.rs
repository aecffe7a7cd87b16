//! Who may ask: by which name, from where, and with what: the token of the printed address, a password, or the word of a proxy that has asked for one.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use ipnet::IpNet;

use crate::secure::Certificate;
use crate::users::{Asked, Users};

/// The name of the cookie; cookies do not know ports, so that several consoles take each other's place.
const COOKIE: &str = "hydrophone";
/// Ports that browsers leave out.
const USUAL: [u16; 2] = [80, 443];
/// Longest name of somebody, bytes: as long as the form takes it.
const LONGEST_NAME: usize = 100;

/// What the printed address carries.
pub struct Token(String);

impl Token {
    /// 128 random bits in hexadecimal.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> anyhow::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
        Ok(Self(record::hex(&bytes)))
    }

    /// Whether it is this one, in a time that does not tell how much of it was right.
    fn is(&self, text: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), text.as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
    }
}

/// What lets somebody in.
pub enum Keys {
    /// The printed address: for one person on this machine.
    Token(Token),
    /// A name and a password of a file.
    Users(Users),
    /// The word of a proxy, which has asked who it is.
    Proxy {
        /// The header in which it names the user.
        header: HeaderName,
        /// Where proxies are: nobody else is believed.
        from: Vec<IpNet>,
    },
}

/// How somebody came in.
pub enum Entry {
    /// With the token in the address: it becomes a cookie.
    WithToken,
    /// As somebody who may see everything; by name, where one is known.
    As(Option<String>),
}

/// Connections from one address: several browsers (*assumed*).
const MOST_OF_ONE: usize = 64;

/// Why somebody stays outside.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub why: &'static str,
    /// Whether a name and a password would help.
    pub asks: bool,
}

const fn refused<T>(status: StatusCode, why: &'static str) -> Result<T, Refused> {
    Err(Refused { status, why, asks: false })
}

/// Where a console is, and who is let in.
pub struct Door {
    address: SocketAddr,
    /// What a browser may call it, in small letters.
    hosts: Vec<String>,
    keys: Keys,
    certificate: Option<Certificate>,
}

impl Door {
    /// A console that listens at `address`, and is called by that and by these names ([`parse_name`]); with a certificate it speaks TLS alone.
    pub fn new(
        address: SocketAddr,
        names: &[Authority],
        keys: Keys,
        certificate: Option<Certificate>,
    ) -> Self {
        let port = address.port();
        let usual = if certificate.is_some() { 443 } else { 80 };
        let bare = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let local = address.ip().is_loopback().then(|| "localhost".to_owned());
        let mut hosts = Vec::new();
        for name in names {
            let (host, given) = (name.host(), name.port_u16());
            hosts.push(format!("{host}:{}", given.unwrap_or(port)));
            // What stands before it may be at a port that goes without saying.
            hosts.extend(given.is_none_or(|port| USUAL.contains(&port)).then(|| host.to_owned()));
        }
        for name in [bare].into_iter().chain(local) {
            hosts.push(format!("{name}:{port}"));
            hosts.extend((port == usual).then_some(name));
        }
        for host in &mut hosts {
            host.make_ascii_lowercase();
        }
        Self { address, hosts, keys, certificate }
    }

    /// Whether connections from there are answered at all, and how many at once.
    pub(crate) fn room_for(&self, from: IpAddr) -> usize {
        match &self.keys {
            Keys::Proxy { from: proxies, .. } if is_among(proxies, from) => usize::MAX,
            Keys::Proxy { .. } => 0,
            _ => MOST_OF_ONE,
        }
    }

    /// The address to open; with the token, if that is what lets in.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        match &self.keys {
            Keys::Token(token) => format!("{scheme}://{}/?token={}", self.address, token.0),
            Keys::Users(_) => format!("{scheme}://{}/", self.hosts[0]),
            Keys::Proxy { .. } => format!("{scheme}://{}/", self.address),
        }
    }

    pub(crate) const fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// What a browser keeps that came with the token.
    pub(crate) fn cookie(&self) -> Option<HeaderValue> {
        let Keys::Token(token) = &self.keys else { return None };
        let secure = if self.certificate.is_some() { "; Secure" } else { "" };
        HeaderValue::try_from(format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/{secure}", token.0)).ok()
    }

    /// Whether `host` is a name of this console.
    fn is_here(&self, host: &str) -> bool {
        self.hosts.iter().any(|h| h.eq_ignore_ascii_case(host))
    }

    /// Whether a page of this console, as it is called by who asks, has led here: another port of it is another page's.
    fn is_from_here(&self, origin: &str, host: &str) -> bool {
        let (secure, clear) = (origin.strip_prefix("https://"), origin.strip_prefix("http://"));
        // What stands before it may speak TLS to browsers, and in clear to us.
        let from = if self.certificate.is_some() { secure } else { secure.or(clear) };
        from.is_some_and(|from| from.eq_ignore_ascii_case(host))
    }

    /// Lets in or says why not.
    pub(crate) async fn let_in(
        &self,
        from: IpAddr,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Entry, Refused> {
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        // Another name means another site's page in the browser of somebody who may come in (DNS rebinding).
        let Some(host) = text(&header::HOST).filter(|h| self.is_here(h)) else {
            let why = match &self.keys {
                Keys::Token(_) => "open the address that was printed",
                _ => {
                    "that is none of its names: --name gives it one, and a proxy has to pass on what browsers call it"
                }
            };
            return refused(StatusCode::MISDIRECTED_REQUEST, why);
        };
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST");
        }
        let origin = text(&header::ORIGIN);
        if (origin.is_some() || *method == Method::POST)
            && !origin.is_some_and(|o| self.is_from_here(o, host))
        {
            return refused(StatusCode::FORBIDDEN, "this must come from a page of the console");
        }
        match &self.keys {
            Keys::Token(token) => {
                let given = uri.query().unwrap_or_default().split('&').find_map(|p| p.strip_prefix("token="));
                if given.is_some_and(|t| token.is(t)) && *method != Method::POST {
                    return Ok(Entry::WithToken);
                }
                let cookies = text(&header::COOKIE).unwrap_or_default();
                let mut kept = cookies.split(';').filter_map(|c| c.trim().strip_prefix("hydrophone="));
                if kept.any(|t| token.is(t)) {
                    return Ok(Entry::As(None));
                }
                refused(StatusCode::UNAUTHORIZED, "open the address that was printed: it carries the token")
            }
            Keys::Users(users) => {
                let given = text(&header::AUTHORIZATION).unwrap_or_default();
                match users.who(given, from).await {
                    Asked::Is(name) => Ok(Entry::As(Some(name))),
                    Asked::Nobody => Err(Refused {
                        status: StatusCode::UNAUTHORIZED,
                        why: "say who you are, and your password",
                        asks: true,
                    }),
                    Asked::Later => refused(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "too many passwords are being tried: try again in a while",
                    ),
                }
            }
            Keys::Proxy { header, from: proxies } => {
                if !is_among(proxies, from) {
                    return refused(StatusCode::FORBIDDEN, "only the proxy may ask here: open its address");
                }
                let mut named = headers.get_all(header).iter();
                // Two of them mean that the proxy passes on what its client says.
                match (named.next().map(|v| std::str::from_utf8(v.as_bytes()).map(str::trim)), named.next()) {
                    (Some(Ok(name)), None) if (1..=LONGEST_NAME).contains(&name.len()) => {
                        Ok(Entry::As(Some(name.to_owned())))
                    }
                    (Some(Err(_)), None) => {
                        refused(StatusCode::UNAUTHORIZED, "the name that the proxy gives you is no UTF-8")
                    }
                    (Some(Ok(name)), None) if !name.is_empty() => {
                        refused(StatusCode::UNAUTHORIZED, "the name that the proxy gives you is too long")
                    }
                    _ => refused(StatusCode::UNAUTHORIZED, "the proxy names nobody: have it ask who it is"),
                }
            }
        }
    }
}

/// Whether an address is of these networks.
fn is_among(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|net| net.contains(&ip.to_canonical()))
}

/// A name by which browsers call a console: `soc.example.org`, `soc.example.org:8443`, `[2001:db8::10]`.
///
/// # Errors
/// It is none.
pub fn parse_name(text: &str) -> Result<Authority, String> {
    let name = text.parse::<Authority>().ok().filter(|name| {
        let host = name.host();
        let port = name.as_str().strip_prefix(host);
        !host.is_empty() && (port == Some("") || name.port_u16().is_some_and(|p| p > 0))
    });
    name.ok_or_else(|| {
        "a name is wanted, as soc.example.org, soc.example.org:8443 or [2001:db8::10]".to_owned()
    })
}

/// What every answer says to the browser.
pub fn harden(headers: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (&str, &str) = ("host", "127.0.0.1:4470");
    const HERE: (&str, &str) = ("origin", "http://127.0.0.1:4470");

    fn door(names: &[&str], keys: Keys) -> Door {
        let names: Vec<Authority> = names.iter().map(|n| parse_name(n).unwrap()).collect();
        Door::new("127.0.0.1:4470".parse().unwrap(), &names, keys, None)
    }

    fn asked(
        door: &Door,
        from: &str,
        method: &Method,
        path: &str,
        with: &[(&'static str, &str)],
    ) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in with {
            headers.append(*name, value.parse().unwrap());
        }
        let uri: Uri = path.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let entry = runtime.block_on(door.let_in(from.parse().unwrap(), method, &uri, &headers));
        match entry {
            Ok(Entry::As(who)) => Ok(who),
            Ok(Entry::WithToken) => Ok(None),
            Err(e) => Err(e.status.as_u16()),
        }
    }

    #[test]
    fn only_who_has_the_token_and_comes_from_here() {
        const KEPT: (&str, &str) = ("cookie", "a=b; hydrophone=0123456789abcdef");
        let door = door(&[], Keys::Token(Token("0123456789abcdef".into())));
        let ask = |method: &Method, path: &str, with: &[(&'static str, &str)]| {
            asked(&door, "127.0.0.1", method, path, with).map(drop)
        };
        let get = |path: &str, with: &[(&'static str, &str)]| ask(&Method::GET, path, with);
        assert_eq!(get("/", &[HOST]), Err(401));
        assert_eq!(get("/?token=0123456789abcdef", &[HOST]), Ok(()));
        assert_eq!(get("/?token=0123456789abcdee", &[HOST]), Err(401));
        assert_eq!(get("/", &[HOST, KEPT]), Ok(()));
        assert_eq!(get("/", &[("host", "evil.example"), KEPT]), Err(421), "rebinding");
        assert_eq!(get("/", &[("host", "localhost:4470"), KEPT]), Ok(()));
        assert_eq!(get("/", &[HOST, KEPT, ("origin", "http://evil.example")]), Err(403));
        let post = |with: &[(&'static str, &str)]| ask(&Method::POST, "/host/10.0.0.1/triage", with);
        assert_eq!(post(&[HOST, KEPT]), Err(403), "no origin");
        assert_eq!(post(&[HOST, KEPT, HERE]), Ok(()));
        assert_eq!(post(&[HOST, HERE]), Err(401));
        assert_eq!(ask(&Method::DELETE, "/", &[HOST, KEPT]), Err(405));
    }

    #[test]
    fn a_proxy_is_believed_where_proxies_are_and_nobody_else() {
        const NAME: (&str, &str) = ("host", "soc.example.org");
        const ANNA: (&str, &str) = ("x-remote-user", "anna");
        let header = HeaderName::from_static("x-remote-user");
        let from = vec!["127.0.0.0/8".parse().unwrap()];
        let door = door(&["soc.example.org"], Keys::Proxy { header, from });
        let get = |from: &str, with: &[(&'static str, &str)]| asked(&door, from, &Method::GET, "/", with);
        assert_eq!(get("127.0.0.1", &[NAME, ANNA]), Ok(Some("anna".into())));
        assert_eq!(get("127.0.0.1", &[("host", "SOC.example.org:4470"), ANNA]), Ok(Some("anna".into())));
        assert_eq!(get("::ffff:127.0.0.1", &[NAME, ANNA]), Ok(Some("anna".into())));
        assert_eq!(get("10.0.0.9", &[NAME, ANNA]), Err(403));
        assert_eq!(get("127.0.0.1", &[NAME]), Err(401));
        assert_eq!(get("127.0.0.1", &[NAME, ("x-remote-user", " ")]), Err(401));
        assert_eq!(get("127.0.0.1", &[NAME, ANNA, ("x-remote-user", "admin")]), Err(401), "passed on");
        assert_eq!(get("127.0.0.1", &[("host", "evil.example"), ANNA]), Err(421));
        let post = |origin: &str| {
            asked(
                &door,
                "127.0.0.1",
                &Method::POST,
                "/host/10.0.0.1/triage",
                &[NAME, ANNA, ("origin", origin)],
            )
        };
        // It speaks TLS to browsers, and to us as it is.
        assert_eq!(post("https://soc.example.org"), Ok(Some("anna".into())));
        for other in [
            "https://soc.example.org.evil.example",
            "https://soc.example.org:4470",
            "http://127.0.0.1:4470",
            "null",
        ] {
            assert_eq!(post(other), Err(403), "{other}: another port is another's page");
        }
        let mut headers = HeaderMap::new();
        headers.insert("host", "soc.example.org".parse().unwrap());
        headers.insert("x-remote-user", HeaderValue::from_bytes("jörg".as_bytes()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let uri = Uri::from_static("/");
        let entry = runtime.block_on(door.let_in("127.0.0.1".parse().unwrap(), &Method::GET, &uri, &headers));
        assert!(matches!(entry, Ok(Entry::As(Some(name))) if name == "jörg"));
        assert_eq!(
            (door.room_for("10.0.0.9".parse().unwrap()), door.room_for("127.0.0.9".parse().unwrap())),
            (0, usize::MAX)
        );
    }

    #[test]
    fn a_port_that_goes_without_saying_need_not_be_said() {
        let token = || Keys::Token(Token("0".into()));
        let door = Door::new("[::1]:80".parse().unwrap(), &[], token(), None);
        assert!(["[::1]", "[::1]:80", "localhost", "localhost:80"].iter().all(|h| door.is_here(h)));
        assert!(!door.is_here("[::1]:443") && !door.is_here("::1"));
        let names = ["a.example:443", "b.example:8443", "[2001:db8::10]"].map(|n| parse_name(n).unwrap());
        let door = Door::new("192.0.2.1:8080".parse().unwrap(), &names, token(), None);
        let here = [
            "192.0.2.1:8080",
            "a.example:443",
            "a.example",
            "b.example:8443",
            "[2001:db8::10]:8080",
            "[2001:db8::10]",
        ];
        assert!(here.iter().all(|h| door.is_here(h)));
        let others = ["192.0.2.1", "localhost:8080", "a.example:8080", "b.example", "b.example:8080"];
        assert!(others.iter().all(|h| !door.is_here(h)));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            " x",
            "https://soc.example.org",
            "soc.example.org/",
            "2001:db8::10",
            "a@b",
            "a:",
            "a:x",
            "a:0",
            "a:70000",
            ":80",
        ] {
            assert!(parse_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn behind_what_speaks_tls_a_password_may_be_asked_for_in_clear() {
        let door = door(&["soc.example.org"], Keys::Token(Token("0".into())));
        let post = |origin: &str| {
            let with = [("host", "soc.example.org"), ("cookie", "hydrophone=0"), ("origin", origin)];
            asked(&door, "127.0.0.1", &Method::POST, "/host/10.0.0.1/triage", &with).map(drop)
        };
        assert_eq!(post("https://soc.example.org"), Ok(()));
        assert_eq!(post("https://soc.example.org:4470"), Err(403));
    }
}
