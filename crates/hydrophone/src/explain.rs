//! `hydrophone explain CASE HOST`.

use std::io::Write;

use crate::args::Explain;
use crate::{Exit, Failure, case, knowledge};

pub fn run(args: &Explain) -> Result<Exit, Failure> {
    let (capture, stories) = case::read(&args.case).map_err(Failure::input)?;
    let Some(story) = stories.iter().find(|s| s.host == args.host) else {
        let known: Vec<String> = stories.iter().take(12).map(|s| s.host.to_string()).collect();
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is not a local host of this case; it has {} hosts: {}{}",
            args.host,
            stories.len(),
            known.join(", "),
            if stories.len() > known.len() { ", …" } else { "" }
        )));
    };
    let expectations = knowledge::expectations(args.expect.as_deref())?;
    let anew = args.expect.is_some().then(|| story.expecting(&expectations));
    let story = anew.as_ref().unwrap_or(story);
    anstream::stdout().lock().write_all(report::explain(&capture, story).as_bytes())?;
    Ok(Exit::Done)
}
