//! `tell`: sinks that take what they are told, that hang, that fail and come back, and what is told by whoever was killed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::unnecessary_debug_formatting)] // Real servers have real time; TOML quotes as Rust does.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{authority, host, read_sample, until};
use serde_json::{Value, json};

/// Lines of `listen --json`: so many hosts that turned.
fn turns(many: usize) -> Vec<String> {
    let lines = read_sample("kraken-new.pcapng");
    let mut story = host(&lines, "10.20.0.13").clone();
    story.as_object_mut().unwrap().remove("type");
    let at = story["last"].clone();
    let turn = |n: usize| {
        story["host"] = format!("10.20.{}.{}", n / 256, n % 256).into();
        json!({ "type": "turn", "at": at, "before": "quiet", "found": [], "story": story }).to_string()
    };
    (0..many).map(turn).collect()
}

fn begin(dir: &Path, sinks: &str) -> Child {
    let file = dir.join("tell.toml");
    std::fs::write(&file, format!("spool = {:?}\n{sinks}", dir.join("spool"))).unwrap();
    Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
        .arg("tell")
        .arg(file)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn say(child: &mut Child, lines: &[String]) {
    let stdin = child.stdin.as_mut().unwrap();
    for line in lines {
        writeln!(stdin, "{line}").unwrap();
    }
    stdin.flush().unwrap();
}

/// Says that no more comes: its exit code, and what it said.
fn end(mut child: Child) -> (Option<i32>, String) {
    drop(child.stdin.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// A web server that keeps what it is sent.
fn web(answers: &'static str) -> (String, std::sync::mpsc::Receiver<Value>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", server.local_addr().unwrap());
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {answers}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if told.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, heard)
}

#[test]
fn every_kind_of_sink_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (url, heard) = web("204 No Content");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let sinks = format!(
        r#"
[[sink]]
name = "lines"
kind = "file"
path = "{}"
[[sink]]
name = "log"
kind = "syslog"
to = "udp://{}"
[[sink]]
name = "soc"
kind = "mail"
to = ["soc@example.com"]
from = "hydrophone@example.com"
program = "{}"
[[sink]]
name = "chat"
kind = "webhook"
url = "{url}"
form = "slack"
[[sink]]
name = "prog"
kind = "command"
run = ["/bin/sh", "-c", "cat > {}"]
level = "infected"
"#,
        at("turns.jsonl"),
        log.local_addr().unwrap(),
        at("sendmail"),
        at("command")
    );
    let mail = format!("#!/bin/sh\necho \"$@\" > {0}\ncat >> {0}\n", at("mail"));
    std::fs::write(at("sendmail"), mail).unwrap();
    Command::new("chmod").args(["755", &at("sendmail")]).status().unwrap();
    let mut child = begin(dir.path(), &sinks);
    let turn = turns(1);
    let other = r#"{"type":"capture"}"#.to_owned();
    say(&mut child, &[other, turn[0].clone(), "nonsense".to_owned()]);
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("line 3 is none of `listen --json`"), "{said}");
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!(read("turns.jsonl").trim_end(), turn[0]);
    assert_eq!(read("command").trim_end(), turn[0]);
    let mail = read("mail");
    assert!(mail.starts_with("-t -i -f hydrophone@example.com\nFrom: hydrophone@example.com\n"), "{mail}");
    let (subject, text) =
        ("10.20.0.0 is infected (Kraken (Oderoor/Bobax, 2008), spam source)", "Why: asked for ");
    assert!(mail.contains(&format!("Subject: [hydrophone] {subject}\n")) && mail.contains(text), "{mail}");
    // Whoever reads it cannot click on what it warns of.
    assert!(mail.contains("dyndns[.]org") && !mail.contains("dyndns.org"), "{mail}");
    let told = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(told["text"].as_str().unwrap().starts_with(subject), "{told}");
    let mut word = vec![0; 65_536];
    let n = log.recv(&mut word).unwrap();
    let word = String::from_utf8_lossy(&word[..n]).into_owned();
    assert!(
        word.starts_with("<162>1 2008-04-08T09:2")
            && word.contains(
                r#" turn [hydrophone@32473 host="10.20.0.0" verdict="infected" before="quiet" level_db=""#
            ),
        "{word}"
    );
}

/// A server of syslog over TLS that wants to be shown a certificate: it takes so many words of each connection, and says goodbye.
fn secure_log(dir: &Path, words: usize) -> (u16, std::sync::mpsc::Receiver<String>) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let of = |name: &str| CertificateDer::from_pem_file(dir.join(name)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(of("ca.pem")).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![of("localhost.pem")],
            PrivateKeyDer::from_pem_file(dir.join("localhost.key")).unwrap(),
        )
        .unwrap();
    let config = std::sync::Arc::new(config);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream.unwrap()));
            for _ in 0..words {
                let mut length = Vec::new();
                // Whoever does not trust it goes away.
                if stream.read_until(b' ', &mut length).is_err() || length.is_empty() {
                    break;
                }
                let length = String::from_utf8(length).unwrap().trim().parse().unwrap();
                let mut word = vec![0; length];
                stream.read_exact(&mut word).unwrap();
                told.send(String::from_utf8(word).unwrap()).unwrap();
            }
            stream.get_mut().conn.send_close_notify();
            let _ = stream.get_mut().flush();
        }
    });
    (port, heard)
}

#[test]
fn a_server_of_syslog_over_tls_is_told_if_it_is_who_it_should_be() {
    let (dir, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    authority(dir.path(), &["localhost", "sensor"]);
    authority(others.path(), &[]);
    let (port, heard) = secure_log(dir.path(), 2);
    let sink = |name: &str, ca: &Path| {
        let at = |file: &str| dir.path().join(file);
        format!(
            "[[sink]]\nname = {name:?}\nkind = \"syslog\"\nto = \"tls://localhost:{port}\"\ntls = {{ ca = {:?}, certificate = {:?}, key = {:?} }}\n",
            ca.join("ca.pem"),
            at("sensor.pem"),
            at("sensor.key")
        )
    };
    let mut child = begin(dir.path(), &sink("siem", dir.path()));
    // The server says goodbye behind the second: the next need another connection. What is on its way then nobody acknowledges.
    for two in turns(4).chunks(2) {
        say(&mut child, two);
        for turn in two {
            let word = heard.recv_timeout(Duration::from_secs(20)).unwrap();
            let host: Value = serde_json::from_str(turn).unwrap();
            let host = format!("host={}", host["story"]["host"]);
            assert!(word.starts_with("<162>1 2008-04-08T09:2") && word.contains(&host), "{word}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    let mut child = begin(dir.path(), &sink("impostor", others.path()));
    say(&mut child, &turns(1));
    let (code, said) = end(child);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("sink impostor: ") && said.contains("invalid peer certificate"), "{said}");
    assert_eq!(lines(&dir.path().join("spool/impostor.owed")), 1);
    assert!(heard.try_recv().is_err(), "nothing was said to it");
    // In TLS 1.3 a server looks at what it is shown when the client has finished: what it refuses then was not told.
    let nobody = format!(
        "[[sink]]\nname = \"nobody\"\nkind = \"syslog\"\nto = \"tls://localhost:{port}\"\ntls = {{ ca = {:?} }}\n",
        dir.path().join("ca.pem")
    );
    let mut child = begin(dir.path(), &nobody);
    say(&mut child, &turns(1));
    let (code, said) = end(child);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("sink nobody: ") && said.contains("CertificateRequired"), "{said}");
    assert_eq!(lines(&dir.path().join("spool/nobody.owed")), 1);
    assert!(heard.try_recv().is_err(), "nothing was taken");
}

#[test]
fn a_sink_that_fails_or_hangs_loses_nothing_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let (file, hangs) = (dir.path().join("turns.jsonl"), TcpListener::bind("127.0.0.1:0").unwrap());
    // A place where nobody listens yet.
    let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sinks = format!(
        r#"
[[sink]]
name = "gone"
kind = "syslog"
to = "tcp://{place}"
[[sink]]
name = "hangs"
kind = "webhook"
url = "http://{}/"
[[sink]]
name = "lines"
kind = "file"
path = {file:?}
rotate_bytes = 400000
keep = 3
"#,
        hangs.local_addr().unwrap()
    );
    let all = turns(30);
    let mut child = begin(dir.path(), &sinks);
    say(&mut child, &all[..20]);
    let old = |n: usize| dir.path().join(format!("turns.jsonl.{n}"));
    until("the file is told at once", || lines(&file) + lines(&old(1)) + lines(&old(2)) == 20);
    assert!(lines(&old(1)) > 0, "it was rotated");
    // What was taken is struck off soon.
    until("nothing is owed to the file", || lines(&dir.path().join("spool/lines.owed")) == 0);
    // Whoever is killed owes what nobody took.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines(&dir.path().join("spool/gone.owed")), 20);
    assert_eq!(lines(&dir.path().join("spool/lines.owed")), 0);

    let mut child = begin(dir.path(), &sinks);
    say(&mut child, &all[20..]);
    std::thread::sleep(Duration::from_millis(500));
    let server = TcpListener::bind(place).unwrap();
    let (mut stream, _) = server.accept().unwrap();
    let mut heard = String::new();
    let mut part = vec![0; 65_536];
    until("all thirty come, in their order", || {
        let n = stream.read(&mut part).unwrap();
        heard.push_str(&String::from_utf8_lossy(&part[..n]));
        heard.contains("host=\"10.20.0.29\"")
    });
    let hosts: Vec<&str> = heard.match_indices("host=\"").map(|(at, _)| &heard[at + 6..at + 16]).collect();
    assert_eq!(hosts.len(), 30);
    assert_eq!(hosts.iter().take(2).collect::<Vec<_>>(), [&"10.20.0.0\"", &"10.20.0.1\""]);
    let (code, said) = end(child);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("sink gone: is reached again"), "{said}");
    assert!(said.contains("sink hangs: 0 told, 30 not told"), "{said}");
    assert_eq!(lines(&dir.path().join("spool/hangs.owed")), 30);
    // Whoever gives it another name hears of what is owed to the old one.
    let renamed = format!("[[sink]]\nname = \"lines\"\nkind = \"file\"\npath = {file:?}\n");
    let (code, said) = end(begin(dir.path(), &renamed));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("30 turns are owed to hangs, which is no sink any more"), "{said}");
    assert!(!said.contains("owed to gone"), "{said}");
}

#[test]
fn an_outbreak_is_few_messages_and_what_nobody_takes_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (url, heard) = web("200 OK");
    let (refusing, _kept) = web("500 Internal Server Error");
    let sinks = format!(
        r#"
[[sink]]
name = "chat"
kind = "webhook"
url = "{url}"
burst = 3
per_s = 2
[[sink]]
name = "refuses"
kind = "webhook"
url = "{refusing}"
patience_s = 2
"#
    );
    let mut child = begin(dir.path(), &sinks);
    say(&mut child, &turns(200));
    let (mut told, mut messages) = (0, 0);
    while told < 200 {
        let message = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        let of = message["turns"].as_array().unwrap().len();
        told += of;
        messages += 1;
        if messages > 3 {
            // What is left over may be one, which is told as itself.
            let several = message["subject"].as_str().unwrap().contains("hosts turned: ");
            assert_eq!(several, of > 1, "{}", message["subject"]);
        }
    }
    assert_eq!(told, 200, "each once");
    assert!(messages <= 9, "{messages} messages of an outbreak");
    let aside = dir.path().join("spool/refuses.aside");
    until("what is refused is put aside", || lines(&aside) == 200);
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("sink refuses: is not reached, and is tried again: ")
            && said.contains("http status: 500"),
        "{said}"
    );
}

#[test]
fn a_wrong_file_is_told_and_a_test_tells_nobody_later() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tell.toml");
    std::fs::write(&file, "spool = \"x\"\n[[sink]]\nname = \"a\"\nkind = \"fax\"\n").unwrap();
    let (code, _, said) = common::run(&["tell", file.to_str().unwrap()]);
    assert!(
        code == Some(2) && said.contains("tell.toml: ") && said.contains("unknown variant `fax`"),
        "{said}"
    );
    let turned = dir.path().join("turns");
    let sinks = format!(
        "spool = {:?}\n[[sink]]\nname = \"a\"\nkind = \"file\"\npath = {turned:?}\n",
        dir.path().join("spool")
    );
    std::fs::write(&file, sinks).unwrap();
    let (code, _, said) = common::run(&["tell", "--test", file.to_str().unwrap()]);
    assert!(code == Some(0) && said.contains("sink a: 1 told, 0 not told"), "{said}");
    assert!(std::fs::read_to_string(turned).unwrap().contains("a-test-of-hydrophone"));
    assert!(!dir.path().join("spool").exists());
}

#[test]
fn what_is_no_line_ends_nothing_and_a_spool_is_one_process_s() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("turns.jsonl");
    let (elsewhere, _kept) = web("302 Found\r\nLocation: /elsewhere");
    let sinks = format!(
        "[[sink]]\nname = \"lines\"\nkind = \"file\"\npath = {file:?}\n[[sink]]\nname = \"moved\"\nkind = \"webhook\"\nurl = \"{elsewhere}\"\n"
    );
    let all = turns(3);
    // What was killed while it wrote.
    std::fs::create_dir(dir.path().join("spool")).unwrap();
    std::fs::write(dir.path().join("spool/lines.owed"), &all[0][..3000]).unwrap();
    let mut child = begin(dir.path(), &sinks);
    say(&mut child, &all[..1]);
    child.stdin.as_mut().unwrap().write_all(b"\xff\xfe\n").unwrap();
    until("the first is told", || lines(&file) == 1);
    // As logrotate does.
    std::fs::rename(&file, dir.path().join("turns.old")).unwrap();
    std::fs::write(&file, "").unwrap();
    say(&mut child, &all[1..2]);
    until("the second is told in the new file", || lines(&file) == 1);
    let (code, _, said) = common::run(&["tell", dir.path().join("tell.toml").to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("another process tells the sinks of this spool"), "{said}");
    // Nobody says that no more comes: it is asked to end.
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{said}");
    assert!(said.contains("line 2 is none of") && said.contains("http status: 302"), "{said}");
    // The path of a webhook is a secret.
    assert!(!said.contains("/hook"), "{said}");
    assert_eq!(lines(&dir.path().join("spool/moved.owed")), 2);
    for path in [file, dir.path().join("turns.old")] {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()));
    }
}
