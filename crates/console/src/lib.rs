//! How does a person dig? A web console over a case, or over what a running sensor tells.
//!
//! Pages are made here and work without script but for what only a script can do (keys, copying, time zones, the brush). Nothing is
//! loaded from elsewhere; who asks must hold the token of the printed address, know a password, or be named by a proxy, must call this address by its name, and come from
//! a page of this console.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod guard;
mod live;
mod packets;
mod pages;
mod plots;
mod remote;
mod secure;
mod tables;
mod users;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use capture::Captures;
use case::{Case, Flows, Triage};
use futures_util::FutureExt;
use tokio::sync::watch;
use verdict::HostStory;

pub use axum::http::HeaderName;
pub use axum::http::uri::Authority;
pub use guard::{Door, Keys, Token, parse_name};
pub use live::{Goes, Sensor};
pub use secure::Certificate;
pub use users::{Tell, Users};

/// Cuts the packets that prove a story, or one piece of its evidence; gives them with what must be told of them.
pub type Slicer = Box<
    dyn Fn(&Case, &Captures, &HostStory, Option<&str>) -> anyhow::Result<(Vec<u8>, Vec<String>)>
        + Send
        + Sync,
>;
/// Makes the bundle of a host.
pub type Bundler = Box<dyn Fn(&Case, &Captures, &HostStory) -> anyhow::Result<Vec<u8>> + Send + Sync>;

/// Bytes of a form.
const LARGEST_FORM: usize = 64 << 10;
/// How long a form may take to come (*assumed*).
const SLOWEST_FORM: Duration = Duration::from_secs(15);

/// What the console shows.
pub struct Console {
    case: Case,
    flows: Option<Mutex<Flows>>,
    /// What must be told on the board.
    warnings: Vec<String>,
    triage: Mutex<Triage>,
    captures: Result<Captures, String>,
    slicer: Slicer,
    bundler: Bundler,
    /// The sensor that the case is of, and how it went when it was asked.
    sensor: Option<(Arc<dyn Sensor>, Goes)>,
}

/// A console that is served: over a case it is the same for every page, of a sensor it is another one.
struct Served {
    console: Arc<Console>,
    door: Arc<Door>,
    sensor: Option<Arc<dyn Sensor>>,
    /// How the sensor goes, and who tells that.
    goes: watch::Receiver<Goes>,
    tells: Weak<watch::Sender<Goes>>,
}

impl Served {
    /// The console that makes this page.
    fn console(&self, path: &str) -> anyhow::Result<Arc<Console>> {
        let Some(sensor) = self.sensor.as_ref().filter(|_| !path.starts_with("/static/")) else {
            return Ok(self.console.clone());
        };
        let made = Console::of_sensor(sensor)?;
        // What this page shows is no news to it.
        if let (Some(tells), Some((_, goes))) = (self.tells.upgrade(), &made.sensor) {
            tells.send_if_modified(|before| std::mem::replace(before, goes.clone()) != *goes);
        }
        Ok(Arc::new(made))
    }
}

/// What is asked for, taken apart.
pub(crate) struct Ask {
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Who asks, where that is known.
    pub who: Option<String>,
}

impl Ask {
    fn of(uri: &Uri, who: Option<String>) -> Self {
        Self { path: decoded(uri.path(), false), query: form(uri.query().unwrap_or_default()), who }
    }

    pub fn text(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
pub(crate) enum Reply {
    Page(String),
    Asset(&'static str, &'static str),
    File { name: String, kind: &'static str, bytes: Vec<u8> },
    To(String),
    Wrong(StatusCode, String),
}

/// A form or query: `a=b&c=d`.
fn form(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(k, v)| (decoded(k, true), decoded(v, true)))
        .collect()
}

/// Percent-decoding; what is no UTF-8 becomes the replacement character.
fn decoded(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|h| h.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(b)) => {
                out.push(b);
                at += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (b, _) => out.push(b),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encoding for a part of a path or query.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

impl Console {
    /// A console over a case that will listen at `address`; `moved` is a folder that the captures lie in now, `zip_passwords` open archives among them.
    ///
    /// # Errors
    /// The case's notes cannot be read, or the system has no random numbers.
    pub fn new(
        case: Case,
        moved: Option<&Path>,
        zip_passwords: &[String],
        slicer: Slicer,
        bundler: Bundler,
    ) -> anyhow::Result<Self> {
        let flows = case.flows();
        let captures = case.captures(moved, zip_passwords).map_err(|e| format!("{e:#}"));
        let mut warnings: Vec<String> =
            flows.as_ref().err().map(|e| format!("flows cannot be shown: {e:#}")).into_iter().collect();
        warnings.extend(captures.as_ref().err().map(|e| format!("packets cannot be shown: {e}")));
        Ok(Self {
            flows: flows.ok().map(Mutex::new),
            warnings,
            triage: Mutex::new(Triage::read(&case.dir)?),
            captures,
            case,
            slicer,
            bundler,
            sensor: None,
        })
    }

    /// A console over what a running sensor tells now.
    ///
    /// # Errors
    /// The sensor does not answer.
    pub fn of_sensor(sensor: &Arc<dyn Sensor>) -> anyhow::Result<Self> {
        const WHY: &str = "a running sensor has no captures: `carve` and `bundle` take the folder of --keep-packets, `serve` its --store";
        // What changes from here on makes the page an old one.
        let goes = sensor.goes()?;
        let (case, triage) = sensor.now()?;
        Ok(Self {
            flows: None,
            warnings: Vec::new(),
            triage: Mutex::new(triage),
            captures: Err(WHY.to_owned()),
            case,
            slicer: Box::new(|_, _, _, _| anyhow::bail!(WHY)),
            bundler: Box::new(|_, _, _| anyhow::bail!(WHY)),
            sensor: Some((sensor.clone(), goes)),
        })
    }

    /// Why there are no flows to be shown.
    fn why_no_flows(&self) -> String {
        match &self.sensor {
            Some(_) => {
                "a running sensor shows no flows: `hydrophone serve` shows those of its --store".into()
            }
            None => self.warnings.join("; "),
        }
    }

    /// What people's words of a host are kept by.
    fn said_of(&self, s: &HostStory) -> String {
        if self.sensor.is_some() { s.id().to_string() } else { s.label() }
    }

    /// What cannot be shown, and why.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn answer(&self, ask: &Ask) -> Reply {
        let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            [""] => Reply::Page(pages::board(self, ask)),
            ["static", "report.css"] => Reply::Asset("text/css; charset=utf-8", report::html::STYLE),
            ["static", "console.css"] => Reply::Asset("text/css; charset=utf-8", include_str!("console.css")),
            ["static", "console.js"] => {
                Reply::Asset("text/javascript; charset=utf-8", include_str!("console.js"))
            }
            ["favicon.ico"] => Reply::Wrong(StatusCode::NO_CONTENT, String::new()),
            ["calendar"] => Reply::Page(pages::calendar(self, ask)),
            ["help"] => Reply::Page(pages::help(self)),
            ["host", host, rest @ ..] => {
                let story = host.parse().ok().and_then(|which| self.case.story(which).ok());
                match (story, rest) {
                    (None, _) => {
                        Reply::Wrong(StatusCode::NOT_FOUND, format!("{host} is no host of this case"))
                    }
                    (Some(s), []) => Reply::Page(pages::host(self, s, ask)),
                    (Some(s), ["evidence", id]) => pages::evidence(self, s, id),
                    (Some(s), ["beacon"]) => plots::beacon(self, s, ask),
                    (Some(s), ["mail-volume"]) => plots::mail(self, s, ask),
                    (Some(s), ["peers"]) => plots::peers(self, s, ask),
                    (Some(s), ["slice.pcapng"]) => self.slice(s, ask),
                    (Some(s), ["bundle.zip"]) => self.bundle(s),
                    (Some(s), [kind]) => tables::of_host(self, s, kind, ask),
                    _ => Reply::Wrong(StatusCode::NOT_FOUND, "there is no such page".into()),
                }
            }
            ["table", kind] => tables::all(self, kind, ask),
            ["remote", address] => remote::page(self, address),
            ["flow", rest @ .., "slice.pcapng"] => packets::slice(self, &rest.join("/")),
            ["flow", rest @ ..] => packets::flow(self, &rest.join("/"), ask),
            ["packet", id] => packets::packet(self, id),
            _ => Reply::Wrong(StatusCode::NOT_FOUND, "there is no such page".into()),
        }
    }

    fn bundle(&self, s: &HostStory) -> Reply {
        let made = match &self.captures {
            Ok(captures) => (self.bundler)(&self.case, captures, s).map_err(|e| format!("{e:#}")),
            Err(e) => Err(e.clone()),
        };
        match made {
            Ok(bytes) => {
                Reply::File { name: format!("{}.zip", file_name(s)), kind: "application/zip", bytes }
            }
            Err(e) => Reply::Wrong(StatusCode::CONFLICT, e),
        }
    }

    fn slice(&self, s: &HostStory, ask: &Ask) -> Reply {
        let only = Some(ask.text("evidence")).filter(|e| !e.is_empty());
        let made = match &self.captures {
            Ok(captures) => (self.slicer)(&self.case, captures, s, only).map_err(|e| format!("{e:#}")),
            Err(e) => Err(e.clone()),
        };
        match made {
            Ok((bytes, _)) => Reply::File {
                name: format!("{}.pcapng", file_name(s)),
                kind: "application/octet-stream",
                bytes,
            },
            Err(e) => Reply::Wrong(StatusCode::CONFLICT, e),
        }
    }

    fn post(&self, ask: &Ask, body: &str) -> Reply {
        let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["host", host, "triage"] => match host.parse().ok().and_then(|which| self.case.story(which).ok())
            {
                Some(s) => pages::triage(self, s, &form(body), ask.who.as_deref()),
                None => Reply::Wrong(StatusCode::NOT_FOUND, format!("{host} is no host of this case")),
            },
            _ => Reply::Wrong(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here".into()),
        }
    }

    /// Serves whom the door lets in until `stop` is done.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub async fn serve(
        self,
        listener: TcpListener,
        door: Door,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = stop.shared();
        let sensor = self.sensor.as_ref().map(|(sensor, _)| sensor.clone());
        let (tell, goes) = watch::channel(self.sensor.as_ref().map(|s| s.1.clone()).unwrap_or_default());
        let tell = Arc::new(tell);
        let tells = Arc::downgrade(&tell);
        if let Some(sensor) = sensor.clone() {
            tokio::spawn(live::keep_asking(sensor, tell, stop.clone()));
        }
        let door = Arc::new(door);
        let served = Served { console: Arc::new(self), door: door.clone(), sensor, goes, tells };
        let app = Router::new().fallback(handle).with_state(Arc::new(served));
        secure::answer(listener, door, app, stop).await;
        Ok(())
    }
}

fn file_name(s: &HostStory) -> String {
    format!("hydrophone-{}", s.id().to_string().replace([':', '.', '@', ','], "-"))
}

async fn handle(
    State(served): State<Arc<Served>>,
    Extension(secure::Peer(peer)): Extension<secure::Peer>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let (method, uri) = (head.method, head.uri);
    let who = match served.door.let_in(peer.ip(), &method, &uri, &head.headers).await {
        Ok(guard::Entry::As(who)) => who,
        Ok(guard::Entry::WithToken) => {
            let to = uri.path().to_owned();
            let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
            if let Some(cookie) = served.door.cookie() {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            guard::harden(response.headers_mut());
            return response;
        }
        Err(refused) => {
            let mut response = finish(Reply::Wrong(refused.status, refused.why.to_owned()));
            if refused.asks {
                let realm = HeaderValue::from_static("Basic realm=\"Hydrophone\", charset=\"UTF-8\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
            }
            return response;
        }
    };
    if uri.path() == "/events" && served.sensor.is_some() && method == Method::GET {
        let mut response = live::events(served.goes.clone());
        guard::harden(response.headers_mut());
        return response;
    }
    // Only who was let in is listened to for long.
    let body = match tokio::time::timeout(SLOWEST_FORM, to_bytes(body, LARGEST_FORM)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return finish(Reply::Wrong(StatusCode::PAYLOAD_TOO_LARGE, "that is too much".into())),
        Err(_) => return finish(Reply::Wrong(StatusCode::REQUEST_TIMEOUT, "that took too long".into())),
    };
    // Captures and flows are read, and sensors asked, on threads made for waiting.
    let reply = tokio::task::spawn_blocking(move || {
        let ask = Ask::of(&uri, who);
        match (served.console(uri.path()), method) {
            (Err(e), _) => Reply::Wrong(StatusCode::BAD_GATEWAY, format!("{e:#}")),
            (Ok(console), Method::POST) => console.post(&ask, &String::from_utf8_lossy(&body)),
            (Ok(console), _) => console.answer(&ask),
        }
    })
    .await
    .unwrap_or_else(|_| Reply::Wrong(StatusCode::INTERNAL_SERVER_ERROR, "a page could not be made".into()));
    finish(reply)
}

fn finish(reply: Reply) -> Response {
    let mut response = match reply {
        Reply::Page(text) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        Reply::Asset(kind, text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Reply::File { name, kind, bytes } => (
            [
                (header::CONTENT_TYPE, kind.to_owned()),
                (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
            ],
            bytes,
        )
            .into_response(),
        Reply::To(path) => (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response(),
        Reply::Wrong(StatusCode::NO_CONTENT, _) => StatusCode::NO_CONTENT.into_response(),
        Reply::Wrong(status, why) => (
            status,
            [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
            pages::wrong(status.as_u16(), &why),
        )
            .into_response(),
    };
    guard::harden(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        for text in ["a b", "fe80::1", "1:7/2", "ä&=?%", "x+y"] {
            assert_eq!(decoded(&encoded(text), true), text);
        }
        assert_eq!(decoded("a%zz%+1%4", false), "a%zz%+1%4", "what is no code stays");
        assert_eq!(
            form("a=1&b=x+y&c"),
            BTreeMap::from([
                ("a".into(), "1".into()),
                ("b".into(), "x y".into()),
                ("c".into(), String::new())
            ])
        );
    }
}
