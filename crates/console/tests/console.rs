//! A console over a sample's case, asked as browsers and others ask.
#![allow(clippy::unwrap_used)]

#[path = "../../case/tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use case::{Case, Triage, TriageState};
use common::{Run, sample};
use console::{Console, Door, Keys, Token};
use record::{Record, Timestamp};

const BOT: &str = "10.20.0.13";

static KRAKEN: LazyLock<Run> = LazyLock::new(|| Run::of(&sample("kraken-new.pcapng")));

/// A console that listens, and the token of its address.
struct Served {
    address: SocketAddr,
    token: String,
    warnings: Vec<String>,
    case: PathBuf,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    at_work: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().expect("it is stopped once").send(());
        let ended = self.at_work.take().expect("it runs").join();
        assert!(ended.is_ok() || std::thread::panicking(), "it ends when it is told to");
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Served {
    /// Over a case of a run, after something was done to its folder.
    fn of(run: &Run, change: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let case = dir.path().join("case");
        run.write(&case).unwrap();
        change(&case);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let console = Console::new(
            Case::read(&case).unwrap(),
            None,
            &[],
            Box::new(|_, _, s, only| Ok((format!("slice of {} {only:?}", s.host).into_bytes(), Vec::new()))),
            Box::new(|_, _, s| Ok(format!("bundle of {}", s.host).into_bytes())),
        )
        .unwrap();
        let door = Door::new(address, &[], Keys::Token(Token::random().unwrap()), None);
        let token = door.url().split_once("token=").unwrap().1.to_owned();
        let warnings = console.warnings().to_vec();
        let (stop, told) = tokio::sync::oneshot::channel();
        let at_work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let told = async { _ = told.await };
            runtime.block_on(console.serve(listener, door, told)).unwrap();
        });
        Self { address, token, warnings, case, stop: Some(stop), at_work: Some(at_work), _dir: dir }
    }

    fn new() -> Self {
        Self::of(&KRAKEN, |_| ())
    }

    /// Asks with these headers alone.
    fn raw(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let headers = headers.iter().fold(String::new(), |all, (n, v)| all + n + ": " + v + "\r\n");
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
        Answer { status: head[9..12].parse().unwrap(), head, body: bytes[at + 4..].to_vec() }
    }

    fn host(&self) -> String {
        self.address.to_string()
    }

    fn cookie(&self) -> String {
        format!("hydrophone={}", self.token)
    }

    /// Asks as a browser does that has the cookie.
    fn get(&self, target: &str) -> Answer {
        self.raw("GET", target, &[("host", &self.host()), ("cookie", &self.cookie())], "")
    }

    fn post(&self, target: &str, body: &str) -> Answer {
        let origin = format!("http://{}", self.address);
        self.raw(
            "POST",
            target,
            &[("host", &self.host()), ("cookie", &self.cookie()), ("origin", &origin)],
            body,
        )
    }
}

/// The targets of links on a page of this console.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("href=\"").skip(1).filter_map(|l| l.split_once('"'));
    targets.map(|l| l.0.replace("&amp;", "&")).filter(|l| l.starts_with('/')).collect()
}

#[test]
fn only_who_has_the_token_and_asks_this_address_comes_in() {
    let served = Served::new();
    let (host, cookie) = (served.host(), served.cookie());
    let asked = |target: &str, headers: &[(&str, &str)]| served.raw("GET", target, headers, "");
    let stranger = asked("/", &[("host", &host)]);
    assert!(stranger.status == 401 && !stranger.text().contains(BOT), "{}", stranger.head);
    for target in
        ["/static/console.js", "/help", "/no/such", &format!("/host/{BOT}"), "/?token=", "/?token=0"]
    {
        assert_eq!(asked(target, &[("host", &host)]).status, 401, "{target}");
    }
    for elsewhere in
        ["evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", &format!("evil.example.{host}")]
    {
        let answer = asked("/", &[("host", elsewhere), ("cookie", &cookie)]);
        assert_eq!(answer.status, 421, "{elsewhere}");
    }
    assert_eq!(asked("/", &[("host", &host), ("cookie", &cookie), ("origin", "null")]).status, 403);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let answer = served.raw(method, "/", &[("host", &host), ("cookie", &cookie)], "");
        assert_eq!(answer.status, 405, "{method}");
    }
    let entry = asked(&format!("/host/{BOT}?token={}&x=1", served.token), &[("host", &host)]);
    assert_eq!(
        (entry.status, entry.header("location")),
        (303, Some("/host/10.20.0.13")),
        "the token leaves the address"
    );
    let kept = entry.header("set-cookie").unwrap();
    assert!(
        kept.starts_with(&cookie) && kept.contains("HttpOnly") && kept.contains("SameSite=Strict"),
        "{kept}"
    );
    let head = served.raw("HEAD", "/", &[("host", &host), ("cookie", &cookie)], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for answer in [
        &stranger,
        &entry,
        &head,
        &served.get("/"),
        &served.get("/no/such"),
        &served.get("/static/console.js"),
    ] {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn every_link_leads_to_a_page_and_no_host_is_made_up() {
    let served = Served::new();
    assert!(served.warnings.is_empty(), "{:?}", served.warnings);
    let views = ["", "/flow", "/dns", "/web", "/mail", "/beacon", "/mail-volume", "/peers"];
    let mut targets: Vec<String> =
        ["/", "/help", "/table/flow", "/table/dns", "/table/web", "/table/mail"].map(str::to_owned).into();
    for story in &KRAKEN.stories {
        targets.extend(views.iter().map(|v| format!("/host/{}{v}", story.id())));
    }
    let evidence: Vec<String> = links(&served.get(&format!("/host/{BOT}")).text());
    let evidence = evidence.into_iter().filter(|l| l.contains("/evidence/"));
    targets.extend(evidence.step_by(4));
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        let answer = served.get(&target);
        assert_eq!(answer.status, 200, "{target}");
        let kind = |l: &str| l.split('/').nth(1).unwrap_or_default().to_owned();
        // A link of each kind on each page; following all of them would be thousands.
        let mut of_page = std::collections::BTreeSet::new();
        for link in links(&answer.text()).into_iter().filter(|l| of_page.insert(kind(l))) {
            if seen.insert(link.clone()) {
                assert_eq!(served.get(&link).status, 200, "{link} on {target}");
            }
        }
    }
    assert!(
        seen.iter().any(|l| l.starts_with("/flow/")) && seen.iter().any(|l| l.starts_with("/packet/")),
        "{seen:?}"
    );
    for target in [
        "/host/10.9.9.9",
        "/host/10.9.9.9/flow",
        "/host/10.9.9.9/slice.pcapng",
        "/host/10.9.9.9/bundle.zip",
        "/host/",
        "/host/nonsense",
        "/host/10.20.0.13@vlan3",
        "/host/10.20.0.13/nonsense",
        "/host/10.20.0.13/evidence/nonsense",
        "/host/10.20.0.13/flow/1",
        "/table/nonsense",
        "/table/flow.xml",
        "/table/nonsense.csv",
        "/remote/",
        "/remote/nonsense",
        "/table",
        "/flow/",
        "/flow/0",
        "/flow/999999",
        "/flow/999999/slice.pcapng",
        "/packet/0",
        "/packet/99999999",
        "/packet/x",
        "/packet/1099511627777",
        "/packet/16777216:1",
        "/static/../Cargo.toml",
        "/no/such",
    ] {
        assert_eq!(served.get(target).status, 404, "{target}");
    }
}

#[test]
fn hostile_queries_are_answered_and_shown_as_text() {
    const SCRIPT: &str = "%3Cscript%3Ealert(1)%3C/script%3E%22%27";
    let served = Served::new();
    let pages = ["/", "/table/flow", "/table/dns", "/table/web", "/table/mail", "/host/10.20.0.13"];
    let views =
        ["flow", "dns", "web", "mail", "beacon", "mail-volume", "peers"].map(|v| format!("/host/{BOT}/{v}"));
    let most = u64::MAX;
    for page in pages.iter().map(ToString::to_string).chain(views) {
        for query in [
            format!(
                "q={SCRIPT}&sort={SCRIPT}&desc={SCRIPT}&page={SCRIPT}&from={SCRIPT}&to={SCRIPT}&remote={SCRIPT}&{SCRIPT}"
            ),
            format!("page={most}&from={}&to={}", i64::MIN, i64::MAX),
            format!("page=-1&from={}&to={}&desc=0", i64::MAX, i64::MIN),
            "q=%00%ff%80'%3B--&sort=id%3BDROP%20TABLE%20flow&remote=::".into(),
            format!("q={}", "a".repeat(10_000)),
            format!("q=nonsense:{SCRIPT}"),
            "&&==&%&q=%&a=%4".into(),
        ] {
            let answer = served.get(&format!("{page}?{query}"));
            assert_eq!(answer.status, 200, "{page}?{query}");
            assert!(!answer.text().contains("<script>alert"), "{page}?{query}");
        }
    }
    for path in
        ["/host/", "/flow/", "/packet/", "/table/", "/host/10.20.0.13/", "/host/10.20.0.13/evidence/", "/"]
    {
        let answer = served.get(&format!("{path}{SCRIPT}"));
        assert!(answer.status == 404 && !answer.text().contains("<script>alert"), "{path}: {}", answer.head);
    }
}

#[test]
fn words_from_the_wire_are_text_on_every_page() {
    const WORDS: &str = "<script>alert(1)</script>\"'><img src=x>\u{202e}\u{1b}[31m";
    let mut run = KRAKEN.clone();
    for record in &mut run.records {
        match record {
            Record::Dns(dns) => dns.query = WORDS.into(),
            Record::Http(http) => {
                (http.path, http.user_agent, http.host) =
                    (WORDS.into(), Some(WORDS.into()), Some(WORDS.into()));
            }
            Record::Smtp(smtp) => smtp.helo = Some(WORDS.into()),
            _ => {}
        }
    }
    for story in &mut run.stories {
        story.names.host_names = vec![WORDS.into()];
        story.evidence.iter_mut().for_each(|e| _ = e.evidence.facts.insert("host".into(), WORDS.into()));
    }
    run.capture.notices = vec![WORDS.into()];
    let served = Served::of(&run, |_| ());
    let mut shown = 0;
    let evidence = run.stories[0].evidence[0].evidence.id();
    for page in [
        "/",
        "/table/flow",
        "/table/dns",
        "/table/web",
        "/table/mail",
        "/host/10.20.0.13",
        "/host/10.20.0.13/dns",
        "/host/10.20.0.13/beacon",
        "/host/10.20.0.13/peers",
        &format!("/host/10.20.0.13/evidence/{evidence}"),
    ] {
        let answer = served.get(page);
        let text = answer.text();
        assert_eq!(answer.status, 200, "{page}");
        for raw in ["<script>alert", "<img", "\u{202e}", "\u{1b}"] {
            let at = text.find(raw);
            assert!(
                at.is_none(),
                "{page}: {:?}",
                at.map(|at| text[at.saturating_sub(120)..].chars().take(200).collect::<String>())
            );
        }
        shown += usize::from(text.contains("&lt;script&gt;alert(1)"));
    }
    assert!(shown >= 8, "{shown} pages show the words");
}

#[test]
fn tables_and_the_board_come_in_pages_of_a_hundred() {
    let mut run = KRAKEN.clone();
    let bot = run.stories[0].clone();
    run.stories = (0..230u8)
        .map(|n| verdict::HostStory { host: [10, 20, 1, n].into(), flows: u64::from(n), ..bot.clone() })
        .collect();
    let served = Served::of(&run, |_| ());
    let rows = |target: &str| {
        let text = served.get(target).text();
        (text.matches("<tr data-row").count(), text.contains("rel=\"prev\""), text.contains("rel=\"next\""))
    };
    assert_eq!(rows("/"), (100, false, true));
    assert_eq!(rows("/?page=2"), (30, true, false));
    assert_eq!(rows("/?page=3").0, 0);
    assert_eq!(rows("/?q=10.20.1.22"), (11, false, false), "10.20.1.22 and 10.20.1.220 to 229");
    let all = (run.capture.flows.tcp + run.capture.flows.udp + run.capture.flows.other) as usize;
    assert_eq!(rows("/table/flow"), (100, false, true));
    assert_eq!(rows("/table/flow?page=1"), (all - 100, true, false));
    let first = |target: &str| {
        served
            .get(target)
            .text()
            .split("class=\"mono\"><a href=\"/host/")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (first("/?sort=flows"), first("/?sort=flows&desc=0")),
        ("10.20.1.229".into(), "10.20.1.0".into())
    );
}

#[test]
fn packets_of_a_capture_that_is_gone_are_said_to_be() {
    let mut run = KRAKEN.clone();
    run.capture.inputs[0].absolute = Some("/nowhere/gone.pcapng".into());
    let served = Served::of(&run, |_| ());
    assert!(served.warnings.iter().any(|w| w.contains("gone.pcapng is gone")), "{:?}", served.warnings);
    let flow =
        links(&served.get("/table/flow").text()).into_iter().find(|l| l.starts_with("/flow/")).unwrap();
    for target in ["/", &flow, &format!("{flow}?follow=1")] {
        let answer = served.get(target);
        assert!(answer.status == 200 && answer.text().contains("gone.pcapng is gone"), "{target}");
    }
    let slices = [
        format!("{flow}/slice.pcapng"),
        format!("/host/{BOT}/slice.pcapng"),
        format!("/host/{BOT}/bundle.zip"),
    ];
    for target in slices.iter().map(String::as_str).chain(["/packet/1"]) {
        let answer = served.get(target);
        assert!(answer.status == 409 && answer.text().contains("gone.pcapng is gone"), "{target}");
    }
    // Plots and tables need no packets.
    for view in ["beacon", "mail-volume", "peers", "flow"] {
        assert_eq!(served.get(&format!("/host/{BOT}/{view}")).status, 200, "{view}");
    }
}

#[test]
fn plots_and_tables_without_flows_say_so_and_the_story_stays() {
    let served = Served::of(&KRAKEN, |case| std::fs::remove_file(case.join("flows.sqlite")).unwrap());
    for view in ["beacon", "mail-volume", "peers", "flow", "dns", "web", "mail"] {
        let answer = served.get(&format!("/host/{BOT}/{view}"));
        assert!(
            answer.status == 409 && answer.text().contains("has no flows: read the capture again"),
            "{view}"
        );
    }
    assert_eq!((served.get("/table/flow").status, served.get("/flow/1").status), (409, 404));
    assert_eq!(
        (served.get("/").status, served.get(&format!("/host/{BOT}")).status, served.get("/packet/1").status),
        (200, 200, 200)
    );
}

#[test]
fn a_table_goes_to_other_programs_as_it_is_searched() {
    let served = Served::new();
    let shown = served.get(&format!("/host/{BOT}/web?q=kind:http&sort=bytes&desc=1"));
    let links = links(&shown.text());
    let of = |ending: &str| links.iter().find(|l| l.contains(ending)).expect("a link").replace("&amp;", "&");
    let json = served.get(&of(".json"));
    assert_eq!(json.header("content-type"), Some("application/json"));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json.body).unwrap();
    assert!(rows.len() > 3 && rows.iter().all(|r| r["kind"] == "http" && r["host"] == BOT), "{rows:?}");
    let bytes: Vec<u64> = rows.iter().map(|r| r["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.is_sorted_by(|a, b| a >= b), "{bytes:?}");
    assert!(Timestamp::parse(rows[0]["ts"].as_str().unwrap()).is_some());
    let csv = served.get(&of(".csv"));
    assert_eq!(
        csv.header("content-disposition"),
        Some("attachment; filename=\"hydrophone-10-20-0-13-web.csv\"")
    );
    let mut table = csv::Reader::from_reader(csv.body.as_slice());
    assert_eq!(table.headers().unwrap().get(0), Some("ts"));
    assert_eq!(table.records().count(), rows.len());
    assert_eq!(served.get("/table/flow.csv?q=nonsense:1").status, 400);
    assert_eq!(served.get("/table/flow.json?q=resp_p:1").text(), "[]");
}

#[test]
fn who_else_met_a_remote_is_a_page() {
    let served = Served::new();
    let page = served.get("/remote/198.18.52.11").text();
    assert!(page.contains(&format!("/host/{BOT}\"")) && page.contains("infected"), "{page}");
    assert!(page.contains("Evidence that names it") && page.contains("/evidence/"), "{page}");
    let quiet = served.get("/remote/10.20.0.2").text();
    assert!(quiet.contains(&format!("/host/{BOT}/flow")), "the resolver met it too");
    assert!(served.get("/remote/203.0.113.200").text().contains("No flow of the case"));
}

#[test]
fn what_is_wanted_is_written_down_with_what_it_leads_to() {
    let served = Served::new();
    let evidence = links(&served.get(&format!("/host/{BOT}")).text());
    let mut pages = evidence.iter().filter(|l| l.contains("/evidence/")).map(|l| served.get(l).text());
    let names = pages.find(|p| p.contains("generated_names/")).expect("the names");
    let text =
        names.split("<pre>").nth(1).and_then(|t| t.split("</pre>").next()).unwrap().replace("&quot;", "\"");
    assert!(text.starts_with("[[expect]]") && text.contains("behaviours = [\"generated_names\"]"), "{text}");
    let expectations = behaviour::Expectations::parse(&text).expect("it is a file of expectations");
    let story = KRAKEN.stories.iter().find(|s| s.host.to_string() == BOT).unwrap();
    let then = story.expecting_too(&expectations);
    assert!(then.level_db < story.level_db);
    assert!(names.contains(&format!("{:+.1} dB", then.level_db)), "{names}");
}

#[test]
fn files_are_handed_out_under_names_of_their_own() {
    let served = Served::new();
    let slice = served.get(&format!("/host/{BOT}/slice.pcapng?evidence=abc"));
    assert_eq!(slice.text(), "slice of 10.20.0.13 Some(\"abc\")");
    assert_eq!(
        slice.header("content-disposition"),
        Some("attachment; filename=\"hydrophone-10-20-0-13.pcapng\"")
    );
    let bundle = served.get(&format!("/host/{BOT}/bundle.zip"));
    assert_eq!(
        (bundle.text().as_str(), bundle.header("content-type")),
        ("bundle of 10.20.0.13", Some("application/zip"))
    );
    let flow = links(&served.get(&format!("/host/{BOT}/flow?q=service:smtp")).text())
        .into_iter()
        .find(|l| l.starts_with("/flow/"))
        .unwrap();
    let page = served.get(&flow).text();
    let packets = served.get(&format!("{flow}/slice.pcapng"));
    let path = served.case.with_file_name("flow.pcapng");
    std::fs::write(&path, &packets.body).unwrap();
    let again = Run::of(&path);
    assert_eq!(
        again.capture.packets as usize,
        page.matches("href=\"/packet/").count(),
        "those that are listed"
    );
    let flows = &again.capture.flows;
    assert_eq!((flows.tcp, flows.udp, flows.other), (1, 0, 0), "and no others");
}

#[test]
fn what_people_say_is_kept_and_shown_and_nothing_else_changes() {
    let served = Served::new();
    let to = format!("/host/{BOT}/triage");
    let said = served.post(&to, "state=escalated&who=Ada+L&note=%3Cb%3Elook%3C%2Fb%3E%0D%0Atwice");
    assert_eq!((said.status, said.header("location")), (303, Some("/host/10.20.0.13#triage")));
    let kept = Triage::read(&served.case).unwrap();
    let entry = &kept.of(BOT)[0];
    assert_eq!(
        (entry.state, entry.who.as_str(), entry.note.as_str()),
        (TriageState::Escalated, "Ada L", "<b>look</b>\r\ntwice")
    );
    let page = served.get(&format!("/host/{BOT}")).text();
    assert!(page.contains("&lt;b&gt;look&lt;/b&gt; / twice") && !page.contains("<b>look"));
    let board = |q: &str| served.get(&format!("/?q={q}")).text().matches("<tr data-row").count();
    assert_eq!((board("state:escalated"), board("state:closed")), (1, 0));
    for (target, body, status) in [
        (to.as_str(), "state=nonsense&who=Ada", 400),
        (&to, "state=noted&who=+++", 400),
        (&to, "", 400),
        ("/host/10.9.9.9/triage", "state=noted&who=Ada", 404),
        ("/host/10.20.0.13", "state=noted&who=Ada", 405),
        ("/", "", 405),
        (&to, &format!("state=noted&who=Ada&note={}", "x".repeat(70_000)), 413),
    ] {
        assert_eq!(served.post(target, body).status, status, "{target} {}", &body[..body.len().min(40)]);
    }
    // From another site's page, without the cookie, or with the token in the address: it is not kept.
    let (host, cookie, here) = (served.host(), served.cookie(), format!("http://{}", served.address));
    let body = "state=closed&who=Eve";
    for (headers, target, status) in [
        (vec![("host", &*host), ("cookie", &cookie)], to.clone(), 403),
        (vec![("host", &host), ("cookie", &cookie), ("origin", "http://evil.example")], to.clone(), 403),
        (vec![("host", &host), ("origin", &here)], to.clone(), 401),
        (vec![("host", &host), ("origin", &here)], format!("{to}?token={}", served.token), 401),
    ] {
        assert_eq!(served.raw("POST", &target, &headers, body).status, status);
    }
    assert_eq!(served.get(&format!("{to}?{body}")).status, 404, "asking changes nothing");
    assert_eq!(Triage::read(&served.case).unwrap(), kept);
}

#[test]
fn days_of_more_than_a_window_are_leafed_through() {
    let day = |d: i64| Timestamp::from_secs(1_199_145_600 + d * 86_400);
    let told = |d, verdict, level_db| verdict::DayLevel { day: day(d), verdict, level_db, evidence: 1 };
    let mut run = KRAKEN.clone();
    let bot = run.stories.iter_mut().find(|s| s.host.to_string() == BOT).unwrap();
    bot.heard = vec![[day(0), day(120)]];
    bot.calendar = vec![
        told(1, verdict::Verdict::Suspicious, 12.0),
        told(98, verdict::Verdict::Infected, 139.5),
        told(120, verdict::Verdict::Infected, 41.0),
    ];
    let served = Served::of(&run, |_| ());
    assert!(links(&served.get("/").text()).contains(&"/calendar".to_owned()), "there are days to look at");
    let last = served.get("/calendar").text();
    assert!(last.contains("I +140") && last.contains("I +41") && !last.contains("S +12"), "{last}");
    let leafed = links(&last);
    let earlier = leafed.iter().find(|l| l.starts_with("/calendar?")).expect("earlier days");
    assert!(!last.contains("later days"));
    let day = leafed.iter().find(|l| l.contains("from=")).expect("a day leads to its story");
    assert!(served.get(day).text().contains("Only from"));
    // The days between, on which nothing was told, are passed over.
    let page = served.get(earlier).text();
    assert!(
        page.contains("S +12") && page.contains("later days") && !page.contains("earlier days"),
        "{page}"
    );
    let later = links(&page).into_iter().find(|l| l.starts_with("/calendar?")).expect("later days");
    assert!(served.get(&later).text().contains("I +140"));
    assert_eq!(served.get("/calendar?until=nonsense").status, 200);
}

#[test]
fn a_machine_of_two_addresses_has_the_days_of_both() {
    let day = |d: i64| Timestamp::from_secs(1_207_612_800 + d * 86_400);
    let told = |d, level_db| verdict::DayLevel {
        day: day(d),
        verdict: verdict::Verdict::Infected,
        level_db,
        evidence: 1,
    };
    let mut run = KRAKEN.clone();
    let mut bot = run.stories.iter().find(|s| s.host.to_string() == BOT).unwrap().clone();
    bot.heard = vec![[day(0), day(3)]];
    bot.calendar = vec![told(0, 90.0), told(1, 40.0)];
    let mut other = bot.clone();
    (other.host, other.part_of) = ("fd00::13".parse().unwrap(), Some(bot.id()));
    other.calendar = vec![told(1, 50.0), told(2, 60.0)];
    run.stories = vec![bot, other];
    let page = Served::of(&run, |_| ()).get("/calendar").text();
    let levels: Vec<&str> = page.split("I +").skip(1).filter_map(|t| t.get(..2)).collect();
    assert_eq!(levels, ["90", "50", "60"], "{page}");
    assert!(page.contains("/host/fd00::13?from="), "a day leads to the address that had it");
}
