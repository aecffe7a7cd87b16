//! `hydrophone explain CASE HOST`.

use std::io::Write;

use crate::args::Explain;
use crate::{Exit, Failure, knowledge, opened};

pub fn run(args: &Explain) -> Result<Exit, Failure> {
    let opened = opened::open(&args.case, &args.read)?;
    let case = &opened.case;
    let story = case.host(&args.host).map_err(Failure::usage)?;
    let expectations = knowledge::expectations(args.expect.as_deref())?;
    let anew = args.expect.is_some().then(|| story.expecting(&expectations));
    let story = anew.as_ref().unwrap_or(story);
    let mut out = anstream::stdout().lock();
    out.write_all(report::explain(&case.capture, story).as_bytes())?;
    let others: Vec<String> = case
        .stories
        .iter()
        .filter(|s| s.host == story.host && s.id() != story.id())
        .map(|s| s.id().to_string())
        .collect();
    if !others.is_empty() {
        writeln!(out, "\nOther machines had this address: ask for {}", others.join(" or "))?;
    }
    Ok(if opened.complete { Exit::Done } else { Exit::Partial })
}
