//! Who made an HTTP request: a person's browser, or a program, perhaps one that says it is a browser?

use record::{Http, Magic, PayloadFacts, RequestHeaders};
use serde::{Deserialize, Serialize};

use crate::{Card, Context, domains};

/// Who made a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Maker {
    /// It says that it is a browser, and sends what browsers send.
    Browser,
    /// A program that says what it is, or something that is no browser on a desk.
    Program,
    /// It says nothing about itself.
    Nameless,
    /// It says that it is a browser, without `Accept-Language`, which every browser sends with a page, form or script's
    /// request (WHATWG Fetch §4.5; the browsers' own documentation). Windows' URL moniker, which borrows Internet Explorer's
    /// name for any program that asks, leaves it out, and so does nearly all hand-made code. Or it posts what neither a form
    /// nor a script could ([`is_formless`]), or speaks HTTP/1.0, which no browser that is still called one does by itself
    /// (RFC 2068 is of 1997; proxies do, and say so).
    FalseBrowser,
}

/// Devices whose built-in players and applications send a browser's name and nothing else of it.
const NOT_A_DESK: [&str; 15] = [
    "PowerShell",
    "Android",
    "iPhone",
    "iPad",
    "iPod",
    "Mobile",
    "Dalvik",
    "CFNetwork",
    "Darwin",
    "Windows Phone",
    "TV",
    "PlayStation",
    "Xbox",
    "Nintendo",
    "http",
];

/// Systems of desks, as browsers name them.
const SYSTEMS: [&str; 5] = ["Win", "Macintosh", "X11", "Linux", "CrOS"];

/// What browsers on desks call themselves and their parts.
const BROWSERS: [&str; 35] = [
    "AppleWebKit",
    "Brave",
    "Camino",
    "Chrome",
    "Chromium",
    "Edg",
    "Edge",
    "Epiphany",
    "Fedora",
    "Firefox",
    "Gecko",
    "Iceweasel",
    "Iron",
    "KHTML",
    "Konqueror",
    "LBBROWSER",
    "Maxthon",
    "MetaSr",
    "Minefield",
    "Mozilla",
    "Namoroka",
    "Navigator",
    "Netscape",
    "OPR",
    "Opera",
    "PaleMoon",
    "Presto",
    "QQBrowser",
    "Safari",
    "SeaMonkey",
    "SE",
    "Ubuntu",
    "Version",
    "Vivaldi",
    "YaBrowser",
];

/// The products that a `User-Agent` names beside its comments, without their versions, which begin with a digit (RFC 9110 §10.1.5).
fn products(agent: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0u32;
    let outside = agent.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return depth > 0 || c.is_whitespace(),
        }
        true
    });
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    outside
        .filter_map(|word| word.split_once('/'))
        .filter(move |(name, version)| is_name(name) && version.starts_with(|c: char| c.is_ascii_digit()))
        .map(|(name, _)| name)
}

/// Whether a `User-Agent` claims a browser on a desk. "Mozilla/5.0" alone names no browser, and crawlers give an address. Every browser names its system; who borrows
/// Internet Explorer's name and gives a word of its own in that place ("compatible; MSIE 6.0; DynGate"), or another product's name behind a browser's parts
/// ("(KHTML, like Gecko) speedtest-cli/2.1.3"), says who it is.
fn claims_browser(agent: &str) -> bool {
    let starts = agent.starts_with("Mozilla/") || agent.starts_with("Opera/");
    let Some((_, comment)) = agent.split_once('(').filter(|_| starts) else { return false };
    if products(agent).any(|p| !BROWSERS.iter().any(|b| b.eq_ignore_ascii_case(p))) {
        return false;
    }
    let words: Vec<&str> = comment.split(')').next().unwrap_or(comment).split(';').map(str::trim).collect();
    let system = words.iter().any(|w| SYSTEMS.iter().any(|s| w.starts_with(s)));
    let own_name = words.len() == 3 && words[1].starts_with("MSIE") && !words[2].is_empty() && !system;
    !own_name && !NOT_A_DESK.iter().any(|d| agent.contains(d))
}

/// Who made `request`.
pub fn maker(request: &Http) -> Maker {
    match request.user_agent.as_deref().map(str::trim) {
        // Every browser of that version names its system in a comment; alone it names nobody.
        None | Some("" | "Mozilla/4.0") => Maker::Nameless,
        // A site's icon is fetched by the browser itself, with fewer headers, and so asks its Flash player.
        Some(agent)
            if claims_browser(agent)
                && !request.path.ends_with("/favicon.ico")
                && !request.headers.has(RequestHeaders::PLUGIN) =>
        {
            // Whoever saw it may not have told.
            if !request.headers.are_known() {
                return Maker::Browser;
            }
            let spoken = request.headers.has(RequestHeaders::LANGUAGE);
            let old = request.headers.has(RequestHeaders::HTTP_1_0)
                && !request.headers.has(RequestHeaders::FORWARDED)
                && request.path.starts_with('/');
            if spoken && !old && !is_formless(request) { Maker::Browser } else { Maker::FalseBrowser }
        }
        Some(_) => Maker::Program,
    }
}

/// Whether a POST carries what no form of a page makes (HTML §4.10.21: form, multipart or plain text), and no script of one
/// sent it, which would have given its `Origin`.
pub fn is_formless(request: &Http) -> bool {
    let declared = request.request.declared.as_deref();
    request.headers.types_are_known()
        && request.method == "POST"
        && request.request.len > 0
        && request.referer.is_none()
        && !request.headers.has(RequestHeaders::ORIGIN)
        && declared.is_none_or(|d| d == "application/octet-stream")
}

/// The operating system that a `User-Agent` claims, as far as it tells Windows' version.
pub fn system_of(agent: &str) -> Option<String> {
    if let Some((_, version)) = agent.split_once("Windows NT ") {
        let version: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        return Some(format!("Windows NT {version}"));
    }
    // Windows' own certificate checks tell its version truly.
    if let Some(version) = agent.strip_prefix("Microsoft-CryptoAPI/") {
        return Some(format!("Windows NT {version}"));
    }
    ["Macintosh", "X11"].into_iter().find(|s| agent.contains(s)).map(str::to_owned)
}

/// How many characters of a query are one unbroken code: the longest run of hexadecimal digits, or of base64's letters. Where
/// there is no query, base64's letters of the path, of whose slashes a code may have been made to look like folders: mixed of
/// capitals, small letters and digits, without the hyphens and underscores that join words (but `_2B` and `_2F`, which
/// stand for base64's own signs).
pub fn coded_run(path: &str) -> (usize, usize) {
    let Some((_, query)) = path.split_once('?') else {
        let code = path.replace("_2B", "").replace("_2F", "").replace('/', "");
        let mixed = |word: &&str| {
            let has =
                |is: fn(&u8) -> bool| word.as_bytes().iter().filter(|b| is(b)).count() * 10 >= word.len();
            has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
        };
        let words = code.split(|c: char| !c.is_ascii_alphanumeric());
        return (0, words.filter(mixed).map(str::len).max().unwrap_or(0));
    };
    let longest =
        |is: fn(u8) -> bool| query.as_bytes().split(|b| !is(*b)).map(<[u8]>::len).max().unwrap_or(0);
    (
        longest(|b| b.is_ascii_hexdigit()),
        longest(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'_' | b'-')),
    )
}

/// Whether a request reports what a sensor measured: in its form, or in its query where it has none.
pub fn are_readings(request: &Http) -> bool {
    let query =
        || request.path.split_once('?').is_some_and(|(_, query)| record::are_readings(query.as_bytes()));
    request.request.magic == Magic::Readings || (request.request.len == 0 && query())
}

/// Whether a query tells an Ethernet address: six pairs of hexadecimal digits between colons or hyphens.
pub fn tells_a_mac(path: &str) -> bool {
    let query =
        path.split_once('?').map_or("", |q| q.1).replace("%3A", ":").replace("%3a", ":").replace("%2D", "-");
    let bytes = query.as_bytes();
    bytes.windows(17).enumerate().any(|(at, w)| {
        let joined = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'-'));
        if joined(at.checked_sub(1).and_then(|i| bytes.get(i))) || joined(bytes.get(at + 17)) {
            return false;
        }
        let mark = w[2];
        matches!(mark, b':' | b'-')
            && w.iter().enumerate().all(|(i, b)| if i % 3 == 2 { *b == mark } else { b.is_ascii_hexdigit() })
    })
}

/// Whether a query holds a GUID (RFC 9562), by which a host, or a copy of a program on it, is told from all others.
pub fn tells_a_guid(path: &str) -> bool {
    let Some((_, query)) = path.split_once('?') else { return false };
    let query = query.replace("%2D", "-").replace("%2d", "-");
    let query = ["%7B", "%7b", "%7D", "%7d"].iter().fold(query, |q, brace| q.replace(brace, " "));
    query.split(|c: char| !c.is_ascii_hexdigit() && c != '-').any(|word| {
        let parts: Vec<usize> = word.split('-').map(str::len).collect();
        parts == [8, 4, 4, 4, 12]
    })
}

/// The path without its query.
pub fn bare_path(path: &str) -> &str {
    path.split(['?', ';', '#']).next().unwrap_or(path)
}

/// Whether what a request is for belongs to an operating system's or large publisher's own business. What the host says of the server counts
/// only where somebody else says so too, and a certificate check by what it carries.
pub fn is_housekeeping(request: &Http, card: Option<&Card>, context: &Context<'_>) -> bool {
    let host = request.host.as_deref().unwrap_or_default();
    let listed = domains::is_software_update(host) || domains::is_connectivity_check(host);
    let (from, remote) = (request.head.tuple.orig.ip, request.head.tuple.resp.ip);
    (listed && context.vouches(card, from, remote, host)) || is_certificate_check(request)
}

/// Whether a request or its answer is declared to be about certificates (RFC 6960, 5280), and its body is as short as these are and begins
/// as DER does.
fn is_certificate_check(request: &Http) -> bool {
    const LONGEST: u64 = 64 << 10;
    [&request.request, &request.response].into_iter().any(|body| {
        let declared = body.declared.as_deref().is_some_and(|d| d.contains("ocsp") || d.contains("pkix"));
        let der = body.facts.map_or(!request.headers.types_are_known(), |f| f.head().starts_with(&[0x30]));
        declared && body.len <= LONGEST && der
    })
}

/// Whether a body is declared to be a call of a programming interface, by its type.
pub fn is_interface_call(declared: Option<&str>) -> bool {
    const TYPES: [&str; 9] =
        ["json", "xml", "soap", "protobuf", "grpc", "graphql", "ocsp", "dns-message", "ipp"];
    declared.is_some_and(|d| TYPES.iter().any(|t| d.contains(t)))
}

/// Whether a body is declared to be of a type of its own, as protocols over HTTP register theirs (RFC 6838): what forms, files and hand-made code send is not.
pub fn has_a_type_of_its_own(declared: Option<&str>) -> bool {
    const ANYBODYS: [&str; 8] = [
        "octet-stream",
        "x-www-form-urlencoded",
        "zip",
        "x-zip-compressed",
        "x-gzip",
        "gzip",
        "binary",
        "x-binary",
    ];
    declared
        .and_then(|d| d.strip_prefix("application/"))
        .is_some_and(|own| !own.is_empty() && !ANYBODYS.contains(&own))
}

/// No hash is so long, in digits (*assumed*).
const DIGITS: u64 = 1024;

/// Whether a response calls itself a page, begins with 32 hexadecimal digits, and is longer than a hash.
pub fn is_page_of_digits(request: &Http) -> bool {
    let body = &request.response;
    let begins = |f: &PayloadFacts| f.head().len() >= 32 && f.head().iter().all(u8::is_ascii_hexdigit);
    body.len >= DIGITS
        && body.declared.as_deref() == Some("text/html")
        && !body.encoded
        && body.facts.as_ref().is_some_and(begins)
}

/// Whether a response calls itself a page or text and is neither, nor anything else that has a name.
pub fn is_opaque_page(request: &Http) -> bool {
    let body = &request.response;
    let declared = body.declared.as_deref().unwrap_or_default();
    if is_page_of_digits(request) {
        return true;
    }
    declared.starts_with("text/")
        && !body.encoded
        && body.magic.is_unknown()
        && body.facts.is_some_and(|f| f.is_opaque())
}

/// The host in a URL, lower case, without port.
pub fn host_of_url(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    (!bare.is_empty()).then(|| bare.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn a_browser_is_told_from_who_claims_to_be_one() {
        let of = |agent: Option<&str>, language: bool, path: &str| {
            let mut h = http(1.0, REMOTE, "GET", Some("example.com"), path);
            h.user_agent = agent.map(str::to_owned);
            if language {
                h.headers.add(RequestHeaders::LANGUAGE);
            }
            maker(&h)
        };
        let ie = Some("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1)");
        assert_eq!(of(ie, true, "/"), Maker::Browser);
        assert_eq!(of(ie, false, "/"), Maker::FalseBrowser);
        assert_eq!(of(ie, false, "/favicon.ico"), Maker::Program);
        assert_eq!(of(Some("Mozilla/4.0"), false, "/"), Maker::Nameless);
        assert_eq!(of(Some("Mozilla/5.0"), false, "/"), Maker::Program);
        for bare in ["Mozilla/4.0 (compatible; MSIE 6.0)", "Mozilla/4.0 (compatible; MSIE 6.0; Win32)"] {
            assert_eq!(of(Some(bare), false, "/"), Maker::FalseBrowser, "{bare}");
        }
        let old = |path: &str, more: u16| {
            let mut h = http(1.0, REMOTE, "GET", Some("example.com"), path);
            h.user_agent = ie.map(str::to_owned);
            h.headers.add(RequestHeaders::LANGUAGE | RequestHeaders::HTTP_1_0 | more);
            maker(&h)
        };
        assert_eq!(old("/", 0), Maker::FalseBrowser);
        assert_eq!(old("/", RequestHeaders::FORWARDED), Maker::Browser, "a proxy's");
        assert_eq!(old("http://example.com/", 0), Maker::Browser, "to a proxy");
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36 Edg/120.0";
        assert_eq!(of(Some(chrome), true, "/"), Maker::Browser);
        assert_eq!(of(Some(chrome), false, "/"), Maker::FalseBrowser);
        assert_eq!(of(None, true, "/"), Maker::Nameless);
        assert_eq!(of(Some(" "), true, "/"), Maker::Nameless);
        for program in [
            "Mozilla/5.0",
            "curl/8.0",
            "Mozilla/5.0 (Linux; U; Android 4.0.4; fr-fr)",
            "Mozilla/5.0 (compatible; bot/2.1; +http://example.com/bot.html)",
            "Mozilla/4.0 (compatible; MSIE 6.0; DynGate)",
            "Mozilla/5.0 (Linux-6.1.0; U; 64bit; en-us) Python/3.11.7 (KHTML, like Gecko) speedtest-cli/2.1.3",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Editor/1.9 Chrome/120.0 Safari/537.36",
        ] {
            assert_eq!(of(Some(program), false, "/"), Maker::Program, "{program}");
        }
    }

    #[test]
    fn types_that_somebody_registered() {
        for own in ["application/cb-encrypted", "application/x-its-request", "application/ipp"] {
            assert!(has_a_type_of_its_own(Some(own)), "{own}");
        }
        for anybodys in [
            None,
            Some("application/octet-stream"),
            Some("application/x-www-form-urlencoded"),
            Some("text/plain"),
        ] {
            assert!(!has_a_type_of_its_own(anybodys), "{anybodys:?}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(host_of_url("http://Example.com:8080/a?b"), Some("example.com".into()));
        assert_eq!(host_of_url("http://user@198.51.100.7"), Some("198.51.100.7".into()));
        assert_eq!(host_of_url("/a"), None);
        assert!(tells_a_mac("/c.asp?mac=02-00-5E-10-00-01&v=2") && tells_a_mac("/a?b=02%3a00:5e:10:00:01"));
        assert!(!tells_a_mac("/c.asp?d=2020-10-24-07-28-20") && !tells_a_mac("/02-00-5E-10-00-01"));
        assert_eq!(bare_path("/a/b.php?c=d"), "/a/b.php");
    }
}
