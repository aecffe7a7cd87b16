//! `hydrophone triage`: what people say of the hosts that a running sensor tells of.

use std::io::Write;

use record::clean;

use crate::args::Triage;
use crate::status::{SaidOf, Sensor};
use crate::{Exit, Failure};

pub fn run(args: &Triage) -> Result<Exit, Failure> {
    let sensor = Sensor(&args.control);
    let mut out = anstream::stdout().lock();
    let (Some(host), Some(state)) = (&args.host, args.state) else {
        let said = sensor.triage().map_err(Failure::input)?;
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&said).map_err(Failure::input)?)?;
            return Ok(Exit::Done);
        }
        for (host, entries) in said.all() {
            for entry in entries {
                let note =
                    if entry.note.is_empty() { String::new() } else { format!(": {}", clean(&entry.note)) };
                let (state, who, when) = (entry.state.name(), clean(&entry.who), clean(&entry.when));
                writeln!(out, "{}  {state} by {who}, {when}{note}", clean(host))?;
            }
        }
        return Ok(Exit::Done);
    };
    let (host, note) = (host.clone(), args.note.clone().unwrap_or_default());
    let who = args.who.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let said = SaidOf { host, state, who, note };
    let host = sensor.say_of(said).map_err(Failure::input)?;
    writeln!(out, "{host} is {}", state.name())?;
    Ok(Exit::Done)
}
