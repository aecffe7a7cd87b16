//! Who may ask: the token, the name of the address, and where the question comes from.

use std::net::SocketAddr;

use anyhow::Context;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

/// The name of the cookie; cookies do not know ports, so that several consoles take each other's place.
const COOKIE: &str = "hydrophone";

/// What the printed address carries.
pub struct Token(String);

impl Token {
    /// 128 random bits in hexadecimal.
    pub(crate) fn random() -> anyhow::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
        Ok(Self(record::hex(&bytes)))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn cookie(&self) -> String {
        format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", self.0)
    }

    /// Whether it is this one, in a time that does not tell how much of it was right.
    fn is(&self, text: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), text.as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
    }
}

/// How somebody came in.
pub enum Entry {
    /// With the token in the address: it becomes a cookie.
    WithToken,
    /// With the cookie.
    WithCookie,
}

/// Whether `host` names the address that is listened at.
fn is_here(host: &str, address: SocketAddr) -> bool {
    let named = format!("localhost:{}", address.port());
    host == address.to_string() || host == named
}

/// Lets in or says why not.
pub fn check(
    token: &Token,
    address: SocketAddr,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Entry, (StatusCode, &'static str)> {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    // Another name means another site's page in the browser of somebody on this machine (DNS rebinding).
    if !text(header::HOST).is_some_and(|h| is_here(h, address)) {
        return Err((StatusCode::MISDIRECTED_REQUEST, "open the address that was printed"));
    }
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST"));
    }
    let origin = text(header::ORIGIN);
    let from_here = origin.and_then(|o| o.strip_prefix("http://")).is_some_and(|o| is_here(o, address));
    if (origin.is_some() || *method == Method::POST) && !from_here {
        return Err((StatusCode::FORBIDDEN, "this must come from a page of the console"));
    }
    let given = uri.query().unwrap_or_default().split('&').find_map(|p| p.strip_prefix("token="));
    if given.is_some_and(|t| token.is(t)) && *method != Method::POST {
        return Ok(Entry::WithToken);
    }
    let cookies = text(header::COOKIE).unwrap_or_default();
    let kept = cookies.split(';').filter_map(|c| c.trim().strip_prefix("hydrophone="));
    if kept.into_iter().any(|t| token.is(t)) {
        return Ok(Entry::WithCookie);
    }
    Err((StatusCode::UNAUTHORIZED, "open the address that was printed: it carries the token"))
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

    fn asked(method: &Method, path: &str, with: &[(&'static str, &str)]) -> Result<(), u16> {
        let token = Token("0123456789abcdef".into());
        let address: SocketAddr = "127.0.0.1:4470".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in with {
            headers.insert(*name, value.parse().unwrap());
        }
        let uri: Uri = path.parse().unwrap();
        check(&token, address, method, &uri, &headers).map(|_| ()).map_err(|e| e.0.as_u16())
    }

    #[test]
    fn only_who_has_the_token_and_comes_from_here() {
        const HOST: (&str, &str) = ("host", "127.0.0.1:4470");
        const KEPT: (&str, &str) = ("cookie", "a=b; hydrophone=0123456789abcdef");
        const HERE: (&str, &str) = ("origin", "http://127.0.0.1:4470");
        let get = |path: &str, with: &[(&'static str, &str)]| asked(&Method::GET, path, with);
        assert_eq!(get("/", &[HOST]), Err(401));
        assert_eq!(get("/?token=0123456789abcdef", &[HOST]), Ok(()));
        assert_eq!(get("/?token=0123456789abcdee", &[HOST]), Err(401));
        assert_eq!(get("/", &[HOST, KEPT]), Ok(()));
        assert_eq!(get("/", &[("host", "evil.example"), KEPT]), Err(421), "rebinding");
        assert_eq!(get("/", &[("host", "localhost:4470"), KEPT]), Ok(()));
        assert_eq!(get("/", &[HOST, KEPT, ("origin", "http://evil.example")]), Err(403));
        let post = |with: &[(&'static str, &str)]| asked(&Method::POST, "/host/10.0.0.1/triage", with);
        assert_eq!(post(&[HOST, KEPT]), Err(403), "no origin");
        assert_eq!(post(&[HOST, KEPT, HERE]), Ok(()));
        assert_eq!(post(&[HOST, HERE]), Err(401));
        assert_eq!(asked(&Method::DELETE, "/", &[HOST, KEPT]), Err(405));
    }
}
