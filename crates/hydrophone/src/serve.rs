//! `hydrophone serve CASE`.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;
use case::Case;
use console::Console;

use crate::args::Serve;
use crate::{Exit, Failure, evidence};

pub fn run(args: &Serve) -> Result<Exit, Failure> {
    let case = Case::read(&args.case).map_err(Failure::input)?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)))
        .with_context(|| format!("cannot listen at 127.0.0.1:{}: choose another --port, or 0", args.port))
        .map_err(Failure::usage)?;
    let address = listener.local_addr().map_err(Failure::input)?;
    let by = export::Reporter { org: "unnamed".into(), contact: "nobody@invalid.example".into() };
    let console = Console::new(
        case,
        args.captures.as_deref(),
        &args.zip_password,
        address,
        Box::new(evidence::slice_of),
        Box::new(move |case, captures, story| {
            let (slice, notes) = evidence::slice_of(case, captures, story, None)?;
            export::bundle(&case.capture, story, &slice, &by, notes)
        }),
    )
    .map_err(Failure::input)?;
    for warning in console.warnings() {
        writeln!(anstream::stderr().lock(), "hydrophone: {}", report::clean(warning))?;
    }
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", console.url())?;
    out.flush()?;
    drop(out);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::input)?;
    // SIGINT and SIGTERM end it alike.
    let (told, asked) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let _ = ctrlc::set_handler(move || {
        if let Ok(mut told) = told.lock()
            && let Some(told) = told.take()
        {
            let _ = told.send(());
        }
    });
    let stop = async {
        let _ = asked.await;
    };
    runtime.block_on(console.serve(listener, stop)).map_err(Failure::input)?;
    Ok(Exit::Done)
}
