//! `hydrophone check`: what `listen` would do, and what stands in its way.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use behaviour::{CATALOGUE, Home};
use capture::{Listening, Live};
use pipeline::{ByteSize, Followed, PacketKeeper};

use crate::args::Listen;
use crate::config::Config;
use crate::inbox;
use crate::listen::{keeping, listening, named};
use crate::read::{Prepared, failed, prepare};
use crate::{Exit, Failure, chain, rights};

/// What would be done, and what stands in the way of it.
#[derive(Default)]
struct Found {
    does: Vec<(&'static str, String)>,
    problems: Vec<String>,
}

impl Found {
    fn does(&mut self, what: &'static str, how: impl Into<String>) {
        self.does.push((what, how.into()));
    }

    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// Takes what came out, or puts down why nothing did.
    fn of<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.problem(chain(&failure.error))).ok()
    }
}

/// Looks at everything that `listen` would open, and opens what can be closed again.
pub fn run(args: &Listen) -> Result<Exit, Failure> {
    let mut found = Found::default();
    if let Some(config) = found.of(Config::of(&args.judging)) {
        judging(args, &config, &mut found);
    }
    for at in &args.netflow {
        port(*at, &mut found);
    }
    args.pipe.iter().for_each(|path| pipe(path, &mut found));
    logs(&args.follow, &mut found);
    lines(args, &mut found);
    keeps(args, &mut found);
    tells(args, &mut found);
    becomes(args, &mut found);
    let mut out = anstream::stdout().lock();
    for (what, how) in &found.does {
        writeln!(out, "{what:<11} {how}")?;
    }
    if found.problems.is_empty() {
        writeln!(out, "nothing stands in its way")?;
        return Ok(Exit::Done);
    }
    writeln!(out, "what stands in its way:")?;
    for problem in &found.problems {
        writeln!(out, "- {problem}")?;
    }
    Ok(Exit::Usage)
}

/// Interfaces, how hosts are judged, and what is remembered.
fn judging(args: &Listen, config: &Config, found: &mut Found) {
    let prepared = found.of(prepare(&args.judging, config));
    let memory = match &prepared {
        Some(prepared) => Some(prepared.options.memory),
        None => found.of(config.memory().map_err(Failure::usage)),
    };
    let whole = memory.and_then(|memory| found.of(listening(args, memory).map_err(Failure::usage)));
    for (name, filter) in whole.iter().flat_map(|l| &l.interfaces) {
        // Each by itself, so that all that cannot be heard are told.
        let alone = Listening {
            interfaces: vec![(name.clone(), filter.clone())],
            exporters: Vec::new(),
            pipes: Vec::new(),
            ends: false,
            ring: 1 << 20,
            promiscuous: false,
        };
        match Live::open(&alone, Arc::default()) {
            Ok(live) => {
                let notices = live.notices();
                let state = if notices.is_empty() { "" } else { ", which is down" };
                let left_out =
                    if args.filter.is_some() || args.bpf_file.is_some() { ", through a filter" } else { "" };
                let others = if args.no_promiscuous { ", without frames for others" } else { "" };
                found.does("listens to", format!("{name}{state}{left_out}{others}"));
            }
            Err(e) => found.problem(e.to_string()),
        }
    }
    if let Some(listening) = whole.filter(|l| !l.interfaces.is_empty()) {
        let memory = memory.unwrap_or(ByteSize(0));
        found.does(
            "memory",
            format!("{memory}, of which {} for the kernel's rings", ByteSize(listening.ring as u64)),
        );
    }
    let Some(Prepared { mut options, notices, .. }) = prepared else { return };
    let home = match &options.home {
        Some(home) => home.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        None => format!("the private networks ({})", Home::private().networks().len()),
    };
    found.does(
        "judges",
        format!("hosts of {home} by {} behaviours, starting from {}", CATALOGUE.len(), options.prior),
    );
    if args.judging.expect.is_some() || !args.judging.intel.is_empty() {
        found.does(
            "knows",
            format!("{} expectations, {} indicators", options.expectations.list.len(), options.intel.len()),
        );
    }
    for what in notices {
        found.does("but", what);
    }
    options.state.clone_from(&args.state);
    if let Some(path) = &args.state {
        match options.goes_on_from() {
            Ok(Some(past)) => {
                let last = past.last.map(|t| t.to_string()).unwrap_or_default();
                found
                    .does("goes on", format!("from {}, which knows everything until {last}", path.display()));
            }
            Ok(None) => found.does("remembers", format!("in {}, which it makes", path.display())),
            Err(e) => found.problem(chain(&failed(e).error)),
        }
    }
}

fn port(at: SocketAddr, found: &mut Found) {
    match UdpSocket::bind(at) {
        Ok(_) => found.does("takes", format!("flows that exporters send to UDP {at}")),
        Err(e) => found.problem(format!("UDP {at}: {e} (it may be a hydrophone that runs)")),
    }
}

/// A pipe is not opened: whoever writes to it would be ended when it is closed.
fn pipe(path: &Path, found: &mut Found) {
    let is_pipe = Listening::is_standard_input(path)
        || std::fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo());
    if is_pipe {
        found.does("takes", format!("the capture that is written to {}", named(path)));
    } else {
        found.problem(format!("{} is no pipe (mkfifo makes one)", path.display()));
    }
}

fn lines(args: &Listen, found: &mut Found) {
    let (Some(named), Some(folder)) = (&args.eve_socket, &args.eve_folder) else { return };
    let (socket, datagrams) = inbox::socket_of(named);
    if inbox::is_answered(&socket) {
        return found
            .problem(format!("somebody takes EVE at {} already: a hydrophone that runs", socket.display()));
    }
    let Some(most) = found.of(inbox::allowed(args.eve_size).map_err(Failure::usage)) else { return };
    let kind = if datagrams { "unix_dgram" } else { "unix_stream" };
    found.does(
        "takes",
        format!(
            "EVE at {} ({kind}), which is kept in {}, at most {most} of it",
            socket.display(),
            folder.display()
        ),
    );
    let at = socket.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    if let Some(folder) = at {
        found.problem(format!("there is no folder {}", folder.display()));
    }
}

fn logs(named: &[PathBuf], found: &mut Found) {
    let mut logs = match Followed::open(named, Vec::new(), (false, None), 0, 1 << 20) {
        Ok(logs) => logs,
        Err(_) if named.len() > 1 => {
            return named.iter().for_each(|path| logs(std::slice::from_ref(path), found));
        }
        Err(e) => return found.problem(e.to_string()),
    };
    let files = logs.files();
    for path in named {
        let of = files.iter().filter(|f| f.path == *path || f.path.parent() == Some(path));
        let names: Vec<String> =
            of.filter_map(|f| Some(f.path.file_name()?.to_string_lossy().into_owned())).collect();
        let names = if names.is_empty() { "no log yet".to_owned() } else { names.join(", ") };
        found.does("follows", format!("{}: {names}", path.display()));
    }
    let stands_in_the_way = |n: &String| n.contains("tried again") || n.contains("logs are followed");
    logs.news().into_iter().filter(stands_in_the_way).for_each(|n| found.problem(n));
}

/// What is kept, and where it is asked after.
fn keeps(args: &Listen, found: &mut Found) {
    if let Some(store) = &args.store {
        let is_there = store::is_bucket(store) || store::is_store(store);
        if is_there || is_free(store) {
            found.does("keeps", format!("records in {}", store.display()));
        } else {
            found.problem(format!("{} is no store, and something lies in it", store.display()));
        }
    }
    if let Some(folder) = &args.keep_packets {
        // One that is not there is made by whoever keeps something in it.
        let opened = keeping(args, folder).and_then(|keeping| {
            if folder.exists() {
                PacketKeeper::open(keeping).map(drop).map_err(Failure::usage)
            } else {
                Ok(())
            }
        });
        match opened {
            Ok(()) => {
                found.does(
                    "keeps",
                    format!("packets in {}, at most {} of them", folder.display(), args.keep_size),
                );
            }
            Err(e) => {
                found.problem(format!("packets cannot be kept in {}: {}", folder.display(), chain(&e.error)));
            }
        }
    }
    if let Some(path) = &args.control {
        if UnixStream::connect(path).is_ok() {
            found.problem(format!("somebody answers at {} already: a hydrophone that runs", path.display()));
        } else {
            found.does("answers", format!("`hydrophone status --control {}`", path.display()));
        }
    }
    if let Some(at) = args.metrics {
        if at.ip().is_loopback() {
            found.does("answers", format!("Prometheus at {at}"));
        } else {
            found.problem(format!("--metrics {at}: metrics are told on loopback alone (127.0.0.1:PORT)"));
        }
    }
    let within: Vec<PathBuf> =
        args.state.iter().chain(&args.control).filter_map(|p| p.parent().map(Path::to_owned)).collect();
    for folder in within.iter().filter(|f| !f.as_os_str().is_empty() && !f.is_dir()) {
        found.problem(format!("there is no folder {}", folder.display()));
    }
}

/// Whether nothing lies there.
fn is_free(path: &Path) -> bool {
    std::fs::read_dir(path).map_or_else(|_| !path.exists(), |mut entries| entries.next().is_none())
}

fn tells(args: &Listen, found: &mut Found) {
    let Some(path) = &args.tell else { return };
    match tell::Config::file(path) {
        Ok(config) => {
            let names: Vec<String> =
                config.sinks.iter().map(|s| format!("{} (from {} on)", s.name, s.level)).collect();
            found.does("tells", names.join(", "));
        }
        Err(e) => found.problem(chain(&e.into())),
    }
}

fn becomes(args: &Listen, found: &mut Found) {
    match (&args.user, rights::is_root()) {
        (Some(name), true) if rights::is_user(name) => found.does("becomes", name),
        (Some(name), true) => found.problem(format!("--user {name}: there is no such user")),
        (Some(name), false) => found.problem(format!("--user {name}: only root can become somebody else")),
        (None, true) => {
            found.does("stays", "root, without root's rights but that of writing: name a user by --user");
        }
        (None, false) => {}
    }
    if args.no_sandbox {
        found.does("keeps", "the rights to open files and sockets and to run programs (--no-sandbox)");
    }
}
