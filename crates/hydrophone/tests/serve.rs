//! `serve` beyond this machine: who is let in, over TLS, by a password or by a proxy; and what is refused before anybody is.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{authority, hydrophone, run, sample, serve};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Her password is `listening: all day`; `htpasswd -nbB` wrote it.
const ANNA: &str = "anna:$2y$05$KJyONiZg0nieKLF2DpN91u4N2arJEM9RHhYuP5c/O3x1HbtK5D5/q\n";
/// `anna:listening: all day`.
const SAYS: &str = "authorization: Basic YW5uYTpsaXN0ZW5pbmc6IGFsbCBkYXk=";

fn case(dir: &Path) -> String {
    let case = dir.join("case").to_str().unwrap().to_owned();
    let sample = sample("kraken-new.pcapng");
    assert!(hydrophone().args(["read", "-q", "-o", &case]).arg(sample).output().unwrap().status.success());
    case
}

fn question(host: &str, with: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n{with}\r\nconnection: close\r\n\r\n")
}

/// Asks for the board over TLS, trusting this authority: the answer, and the certificate that was shown.
fn asks(ca: &Path, port: &str, with: &str) -> Result<(String, CertificateDer<'static>), std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    let mut stream = StreamOwned::new(session, socket);
    stream.write_all(question(&format!("localhost:{port}"), with).as_bytes())?;
    let mut text = String::new();
    // A server may go without a word of goodbye.
    let _ = stream.read_to_string(&mut text);
    let shown = stream.conn.peer_certificates().and_then(|c| c.first()).unwrap().clone().into_owned();
    Ok((text, shown))
}

#[test]
fn over_tls_who_knows_a_password_comes_in_and_a_certificate_may_be_renewed() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), &["localhost"]);
    let case = case(dir.path());
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("users"), ANNA).unwrap();
    let (certificate, key, users) = (at("localhost.pem"), at("localhost.key"), at("users"));
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key, "--name", "localhost"];
    let args = [&["--listen", "127.0.0.1:0", "--users", &users][..], &tls, &[&case]].concat();
    let (mut served, url) = serve(&args);
    let port =
        url.strip_prefix("https://localhost:").and_then(|u| u.strip_suffix('/')).expect(&url).to_owned();
    let (refused, first) = asks(dir.path(), &port, "accept: */*").unwrap();
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("www-authenticate: Basic"), "{refused}");
    let (board, _) = asks(dir.path(), &port, SAYS).unwrap();
    assert!(board.starts_with("HTTP/1.1 200") && board.contains("10.20.0.13"), "{board}");
    // In clear nobody is answered.
    let mut clear = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    clear.write_all(question(&format!("localhost:{port}"), SAYS).as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = clear.read_to_end(&mut text);
    assert!(!text.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&text));

    // Renewed, it is shown from then on; half written, the last one stays.
    authority(dir.path(), &["localhost"]);
    let (board, second) = asks(dir.path(), &port, SAYS).unwrap();
    assert!(board.starts_with("HTTP/1.1 200") && first != second);
    std::fs::write(&certificate, "-----BEGIN").unwrap();
    let (board, third) = asks(dir.path(), &port, SAYS).unwrap();
    assert!(board.starts_with("HTTP/1.1 200") && second == third);

    assert!(Command::new("kill").arg(served.0.id().to_string()).status().unwrap().success());
    assert_eq!(served.0.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    served.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("the certificate stays what it was: ") && said.contains("holds no certificate"),
        "{said}"
    );
}

#[test]
fn behind_a_proxy_its_word_counts() {
    let dir = tempfile::tempdir().unwrap();
    let case = case(dir.path());
    let args = ["--port", "0", "--name", "soc.example.org", "--proxy-user", "X-Remote-User", &case];
    let (_served, url) = serve(&args);
    let at = url.strip_prefix("http://").and_then(|u| u.strip_suffix('/')).expect(&url);
    let asks = |with: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(question("soc.example.org", with).as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(asks("accept: */*").starts_with("HTTP/1.1 401"));
    assert!(asks("x-remote-user: bob").contains("Which hosts are bots?"));
}

#[test]
fn what_would_let_in_anybody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), &["localhost", "other"]);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("users"), ANNA).unwrap();
    std::fs::write(at("plain"), "anna:secret\n").unwrap();
    let (users, plain, missing) = (at("users"), at("plain"), at("missing"));
    let (certificate, key, other) = (at("localhost.pem"), at("localhost.key"), at("other.key"));
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
    let everywhere = ["--listen", "0.0.0.0:0"];
    for (args, why) in [
        (vec![], "is for this machine alone"),
        (vec!["--users", &users], "would cross the network in clear"),
        (vec!["--users", &users, tls[0], tls[1], tls[2], tls[3]], "say with --name"),
        (
            vec!["--users", &plain, tls[0], tls[1], tls[2], tls[3]],
            "line 1: the password of \"anna\" is not kept by bcrypt",
        ),
        (vec!["--users", &missing, tls[0], tls[1], tls[2], tls[3]], "cannot read "),
        (vec!["--users", &users, tls[0], tls[1], tls[2], &other], "do not serve"),
        (vec!["--users", &users, tls[0], &missing, tls[2], tls[3]], "cannot read certificates of "),
        (vec!["--users", &users, tls[0], tls[1]], "--tls-key"),
        (vec!["--name", "a", "--proxy-user", "X-Remote-User"], "say with --proxy where the proxy is"),
        (
            vec!["--name", "a", "--proxy-user", "X", "--proxy", "10.0.0.1,0.0.0.0/0"],
            "--proxy 0.0.0.0/0: that is everywhere",
        ),
        (vec!["--name", "https://a", "--proxy-user", "X", "--proxy", "10.0.0.1"], "a name is wanted"),
        (vec!["--name", "a", "--proxy-user", "X Y", "--proxy", "10.0.0.1"], "is no name of a header"),
        (vec!["--proxy-user", "X-Remote-User", "--proxy", "10.0.0.1"], "--name"),
        (vec!["--users", &users, "--name", "a", "--proxy-user", "X"], "cannot be used with"),
        (vec!["--port", "1"], "cannot be used with"),
    ] {
        let args = [&["serve"][..], &everywhere, &args, &["case"]].concat();
        let (code, _, err) = run(&args);
        assert!(code == Some(2) && err.contains(why), "{args:?}: {code:?} {err}");
    }
}
