//! How each kind of sink is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::config::{Form, Kind};
use crate::message::Message;
use crate::syslog::Syslog;

/// How long somebody may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest text that chat programs take.
const LONGEST_TEXT: usize = 12_000;

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The system's or the network's fault.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Whoever was told did not take it.
    #[error("{0}")]
    Refused(String),
}

/// Somebody who can be told.
pub struct Sink {
    kind: Kind,
    file: Option<File>,
    syslog: Syslog,
}

impl Sink {
    /// A sink of this kind; nothing is opened before there is something to tell.
    pub fn new(kind: Kind) -> Self {
        Self { kind, file: None, syslog: Syslog::default() }
    }

    /// Tells it. It may have been told when this fails: then it is told twice.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    pub fn tell(&mut self, message: &Message) -> Result<(), SinkError> {
        match &self.kind {
            Kind::File { path, rotate_bytes, keep } => {
                append(&mut self.file, path, *rotate_bytes, *keep, message)?;
            }
            Kind::Syslog { to, facility, tls } => self.syslog.tell(to, *facility, tls, message)?,
            Kind::Mail { to, from, program } => {
                let text = mail(from, to, message);
                let mut command = Command::new(program);
                command.args(["-t", "-i", "-f", from]);
                fed(command, text.as_bytes())?;
            }
            Kind::Webhook { url, form, headers } => {
                // Who is led elsewhere has told nobody.
                let config =
                    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build();
                let agent: ureq::Agent = config.into();
                let mut request = agent.post(url).header("Content-Type", "application/json");
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let body = web(*form, message).to_string();
                // The path of a webhook is its password.
                let place = url.split('/').nth(2).unwrap_or_default();
                let answer = request.send(body).map_err(|e| SinkError::Refused(format!("{place}: {e}")))?;
                if !answer.status().is_success() {
                    return Err(SinkError::Refused(format!("{place}: http status: {}", answer.status())));
                }
            }
            Kind::Command { run } => {
                let (program, args) =
                    run.split_first().ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
                let mut command = Command::new(program);
                command.args(args).env("HYDROPHONE_SUBJECT", message.subject());
                let lines: String = message.lines().flat_map(|line| [line, "\n"]).collect();
                fed(command, lines.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Appends lines to a file, of which a new one is begun when it is long.
fn append(open: &mut Option<File>, path: &Path, most: u64, keep: usize, message: &Message) -> io::Result<()> {
    let numbered = |n: usize| PathBuf::from(format!("{}.{n}", path.display()));
    // Somebody else may have taken it away, as logrotate does.
    let same = |now: &fs::Metadata| {
        let mine = open.as_ref().and_then(|file| file.metadata().ok());
        mine.is_none_or(|mine| (mine.dev(), mine.ino()) == (now.dev(), now.ino()))
    };
    let now = fs::metadata(path);
    if now.as_ref().is_ok_and(|now| !same(now)) {
        *open = None;
    }
    if now.map_or(true, |now| now.len() >= most) {
        *open = None;
        if path.exists() {
            let _ = fs::remove_file(numbered(keep));
            for n in (1..keep).rev() {
                let _ = fs::rename(numbered(n), numbered(n + 1));
            }
            if keep == 0 { fs::remove_file(path)? } else { fs::rename(path, numbered(1))? }
        }
    }
    let file = match open {
        Some(file) => file,
        None => open.insert(OpenOptions::new().create(true).append(true).open(path)?),
    };
    let lines: String = message.lines().flat_map(|line| [line, "\n"]).collect();
    let before = file.metadata()?.len();
    let written = file.write_all(lines.as_bytes());
    if written.is_err() {
        // A part of a line is none.
        let _ = file.set_len(before);
    }
    written
}

/// A mail: text alone, and lines that no server breaks.
fn mail(from: &str, to: &[String], message: &Message) -> String {
    // The packets' time stands in the text.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let date = jiff::fmt::rfc2822::to_string(&now).unwrap_or_default();
    // What is not ASCII would have to be encoded, and a subject needs none of it.
    let ascii = |text: String| -> String {
        text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).take(200).collect()
    };
    let headers = [
        format!("From: {from}"),
        format!("To: {}", to.join(", ")),
        format!("Subject: [hydrophone] {}", ascii(message.subject())),
        format!("Date: {date}"),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: 8bit".to_owned(),
    ];
    let mut body = String::new();
    for line in message.text().lines() {
        for part in folded(line, 900) {
            body.push_str(part);
            body.push('\n');
        }
        body.push('\n');
    }
    format!("{}\n\n{body}", headers.join("\n"))
}

/// A line in parts of at most so many bytes.
fn folded(mut line: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    while line.len() > most {
        let at = line.floor_char_boundary(most);
        let at = line[..at].rfind(' ').map_or(at, |space| space + 1);
        let (part, rest) = line.split_at(at.max(1));
        parts.push(part);
        line = rest;
    }
    parts.push(line);
    parts
}

/// What a web server is sent.
fn web(form: Form, message: &Message) -> serde_json::Value {
    let (subject, text) = (message.subject(), message.text());
    let short = match text.len() {
        n if n > LONGEST_TEXT => format!("{} …", &text[..text.floor_char_boundary(LONGEST_TEXT)]),
        _ => text.clone(),
    };
    match form {
        Form::Json => {
            let mut lines: Vec<serde_json::Value> =
                message.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let days: Vec<_> = lines.extract_if(.., |line| line["type"] == "day").collect();
            json!({ "subject": subject, "text": text, "turns": lines, "days": days })
        }
        // Names and addresses are no mentions and no links.
        Form::Slack => {
            let plain = short.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({ "text": format!("{subject}\n{plain}") })
        }
        Form::Teams => json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        { "type": "TextBlock", "text": subject, "weight": "bolder", "wrap": true },
                        { "type": "TextBlock", "text": short, "wrap": true },
                    ],
                },
            }],
        }),
    }
}

/// Runs a program that reads something, not for ever.
fn fed(mut command: Command, text: &[u8]) -> Result<(), SinkError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |e: io::Error| SinkError::Refused(format!("{name}: {e}"));
    // A group of its own: who interrupts us does not interrupt it, and what it began ends with it.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let begun = Instant::now();
    if let Some(mut stdin) = child.stdin.take() {
        let text = text.to_vec();
        // What a program does not want to read, it need not; nobody waits for that.
        std::thread::spawn(move || stdin.write_all(&text));
    }
    let fed = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if begun.elapsed() < TIMEOUT => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
                let _ = child.wait();
                break Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            Err(e) => break Err(e),
        }
    };
    match fed.map_err(failed)? {
        status if status.success() => Ok(()),
        status => Err(SinkError::Refused(format!("{name} ended with {status}"))),
    }
}
