//! `hydrophone serve CASE|STORE`, and of a running sensor `serve --control SOCKET`.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use case::{Case, Triage, TriageEntry};
use console::{Certificate, Console, Door, Goes, HeaderName, Keys, Tell, Token, Users};
use verdict::HostStory;

use crate::args::Serve;
use crate::status::{SaidOf, Sensor};
use crate::{Exit, Failure, evidence, interrupted, opened};

/// How often it is looked whether the program was told to end.
const LOOK: Duration = Duration::from_millis(100);

/// The case of a store, made anew by today's detectors. What people noted in an older one of the same inputs is kept.
fn analysed(args: &Serve, store: &Path) -> Result<PathBuf, Failure> {
    let place = match &args.output {
        Some(place) => place.clone(),
        None if store::is_bucket(store) => {
            let why = "a case lies on this machine: say where with -o CASE";
            return Err(Failure::usage(anyhow::anyhow!(why)));
        }
        None => store.join("case"),
    };
    let options = opened::options(store, &place, &args.read)?;
    let printing = [
        (options.json, "--json"),
        (options.markdown, "--markdown"),
        (options.all, "--all"),
        (options.against.is_some(), "--against"),
        (options.fail_on.is_some(), "--fail-on"),
        (options.judging.print_config, "--print-config"),
    ];
    if let Some((_, name)) = printing.iter().find(|(given, _)| *given) {
        return Err(Failure::usage(anyhow::anyhow!(
            "behind --: {name} is for `read`: nothing is printed here"
        )));
    }
    opened::analyse(&options)?;
    Ok(place)
}

/// A sensor behind a socket of the file system.
struct Behind(PathBuf);

impl console::Sensor for Behind {
    fn now(&self) -> anyhow::Result<(Case, Triage)> {
        let sensor = Sensor(&self.0);
        Ok((sensor.standing()?.1, sensor.triage()?))
    }

    fn goes(&self) -> anyhow::Result<Goes> {
        let status = Sensor(&self.0).status()?;
        Ok(Goes { line: status.line(), mark: status.mark() })
    }

    fn say_of(&self, host: &HostStory, said: TriageEntry) -> anyhow::Result<()> {
        let of = SaidOf { host: host.id().to_string(), state: said.state, who: said.who, note: said.note };
        Sensor(&self.0).say_of(of).map(drop)
    }
}

fn behind(control: &Path) -> Arc<dyn console::Sensor> {
    Arc::new(Behind(control.to_owned()))
}

/// Who is let in at `address`.
fn door(args: &Serve, address: SocketAddr) -> anyhow::Result<Door> {
    let tell: Tell = Arc::new(|said| {
        let _ = writeln!(anstream::stderr().lock(), "hydrophone: {}", report::clean(said));
    });
    let is_here = address.ip().is_loopback();
    let certificate = match (&args.tls_certificate, &args.tls_key) {
        (Some(chain), Some(key)) => Some(Certificate::read(chain.clone(), key.clone(), tell.clone())?),
        _ => None,
    };
    let keys = match (&args.users, &args.proxy_user) {
        (Some(users), _) => {
            ensure!(
                is_here || certificate.is_some(),
                "passwords would cross the network in clear: give --tls-certificate and --tls-key, or listen at 127.0.0.1 behind a proxy"
            );
            Keys::Users(Users::read(users, tell)?)
        }
        (None, Some(header)) => {
            ensure!(
                is_here || !args.proxy.is_empty(),
                "say with --proxy where the proxy is: whoever reaches {address} could name itself"
            );
            ensure!(
                args.proxy.iter().all(|network| network.prefix_len() > 0),
                "--proxy {}: that is everywhere; whoever reaches {address} could name itself",
                args.proxy
                    .iter()
                    .find(|network| network.prefix_len() == 0)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            );
            let header = HeaderName::try_from(header.as_str())
                .with_context(|| format!("{header:?} is no name of a header"))?;
            let here =
                || vec![IpAddr::from(Ipv4Addr::LOCALHOST).into(), IpAddr::from(Ipv6Addr::LOCALHOST).into()];
            Keys::Proxy { header, from: if args.proxy.is_empty() { here() } else { args.proxy.clone() } }
        }
        (None, None) => {
            ensure!(
                is_here,
                "the token of the printed address is for this machine alone: to listen at {address}, give --users FILE with --tls-certificate and --tls-key, or --proxy-user HEADER with --proxy NETWORK"
            );
            Keys::Token(Token::random()?)
        }
    };
    ensure!(
        !address.ip().is_unspecified() || !args.name.is_empty(),
        "say with --name what browsers call the console: at {} it has no address of its own",
        address.ip()
    );
    Ok(Door::new(address, &args.name, keys, certificate))
}

/// A console over a case, or over a store, which is analysed first; none where it was interrupted.
fn of_case(args: &Serve, input: &Path) -> Result<Option<Console>, Failure> {
    let is_store = store::is_store(input);
    if !is_store && (args.output.is_some() || !args.read.is_empty()) {
        let why = format!("{} is no store: -o and what stands behind -- are for stores", input.display());
        return Err(Failure::usage(anyhow::anyhow!(why)));
    }
    let place = if is_store { analysed(args, input)? } else { input.to_owned() };
    if is_store && interrupted().load(Ordering::Relaxed) {
        return Ok(None);
    }
    let case = Case::read(&place).map_err(Failure::input)?;
    let by = export::Reporter {
        org: "unnamed".into(),
        contact: "nobody@invalid.example".into(),
        source: None,
        anyway: false,
        is_renamed: false,
        asks_source: true,
    };
    let console = Console::new(
        case,
        args.captures.as_deref(),
        &args.zip_password,
        Box::new(evidence::slice_of),
        Box::new(move |case, captures, story| {
            let (slice, notes) = evidence::slice_of(case, captures, story, None)?;
            export::bundle(&case.capture, story, &slice, &by, notes)
        }),
    );
    console.map(Some).map_err(Failure::input)
}

pub fn run(args: &Serve) -> Result<Exit, Failure> {
    // A port that is taken is said before months are read.
    let wanted = args.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)));
    let listener = TcpListener::bind(wanted)
        .map_err(|e| match e.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!("{wanted} is taken: choose another port, or 0 for any"),
            _ => anyhow::anyhow!("cannot listen at {wanted}: {e}"),
        })
        .map_err(Failure::usage)?;
    let address = listener.local_addr().map_err(Failure::input)?;
    let door = door(args, address).map_err(Failure::usage)?;
    let console = match (&args.control, &args.case) {
        (Some(control), _) => Some(Console::of_sensor(&behind(control)).map_err(Failure::input)?),
        (None, Some(input)) => of_case(args, input)?,
        (None, None) => None,
    };
    let Some(console) = console else { return Ok(Exit::Partial) };
    // From here on the console is asked to end; until now an interrupt ends what hashes captures.
    let stop = interrupted();
    for warning in console.warnings() {
        writeln!(anstream::stderr().lock(), "hydrophone: {}", report::clean(warning))?;
    }
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", door.url())?;
    out.flush()?;
    drop(out);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::input)?;
    let stop = async move {
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
    };
    runtime.block_on(console.serve(listener, door, stop)).map_err(Failure::input)?;
    Ok(Exit::Done)
}
