//! `hydrophone read`: the main job.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use capture::{Opening, Source};
use case::CaseWriter;
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::{Outcome, Progress, RunError, RunOptions, Worth, capture_line, run_with, worth};
use report::{CaptureLine, Detail, Line, terminal};
use store::{Span, Times};
use verdict::HostStory;

use crate::args::{Colour, Judging, Level, Read};
use crate::config::Config;
use crate::formats::{Formats, Printed};
use crate::geo::Geo;
use crate::keep::Planned;
use crate::{Exit, Failure, diff, find, interrupted, keep, knowledge, room, say};

/// A bar is worth showing from this many bytes on.
const LONG: u64 = 64 << 20;

pub fn run(args: &Read) -> Result<Exit, Failure> {
    let config = Config::of(&args.judging)?;
    if args.judging.print_config {
        let text = config.shown().map_err(Failure::usage)?;
        anstream::stdout().lock().write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    if let Some(case) = args.inputs.iter().find(|input| case::is_case(input)) {
        let case = case.display();
        return Err(Failure::usage(anyhow::anyhow!(
            "{case} is a case that was made before: `hydrophone explain {case} HOST` and `hydrophone serve {case}` show it, and what it was made of is judged anew by reading that"
        )));
    }
    let Analysed { outcome, capture, printed } = analyse(args, &config, true)?;
    let printed = match &args.against {
        Some(before) => {
            // What bears on the answer is said here as where stories are printed.
            outcome.notices.iter().for_each(|notice| say(notice));
            let told = diff::against(before, &outcome.stories)?;
            anstream::stdout().lock().write_all(told.as_bytes()).map_err(Failure::from)
        }
        None => print(args, &capture, &outcome, printed.as_ref()),
    };
    // Whoever reads no further asks for what was found all the same, by the exit code.
    printed.or_else(Failure::unless_nobody_reads)?;
    for failure in &outcome.failures {
        say(failure);
    }
    Ok(exit(args.fail_on, &config, &capture, &outcome))
}

/// What was read, and what is to be printed of it in place of the story.
pub struct Analysed {
    pub outcome: Outcome,
    capture: CaptureLine,
    printed: Option<Printed>,
}

/// Whose fault it is that a run could not begin.
pub fn failed(e: RunError) -> Failure {
    match e {
        RunError::Input(e) => Failure::input(e),
        RunError::Config(e) => Failure::usage(anyhow::anyhow!(e)),
        RunError::State(e) => Failure::input(e),
        RunError::Store(e) => find::failure(e),
    }
}

/// How hosts are judged, made ready.
pub struct Prepared {
    /// Everything but what is read.
    pub options: RunOptions,
    /// Where remotes are.
    pub geo: Geo,
    /// What must be told of it: what lists hold that is passed over, and memory that there is not.
    pub notices: Vec<String>,
}

/// Opens what the arguments name, so that a wrong name is told before anything is read.
pub fn prepare(args: &Judging, config: &Config) -> Result<Prepared, Failure> {
    if let Some(payoffs) = knowledge::payoffs(args.payoffs.as_deref())? {
        payoffs.put_in_use();
    }
    let expectations = knowledge::expectations(args.expect.as_deref())?;
    let (intel, mut notices) = knowledge::intel(&args.intel)?;
    let subscribers = knowledge::subscribers(args.subscribers.as_deref(), args.subscribers_key.as_deref())?;
    let (memory, less) = room::granted(config.memory().map_err(Failure::usage)?);
    notices.extend(less);
    let options = RunOptions {
        home: (!config.home.is_empty()).then(|| config.home.clone()),
        threads: config.threads,
        memory,
        settings: config.behaviour.clone(),
        prior: config.prior,
        expectations,
        intel,
        opening: Opening { stop: interrupted(), ..Opening::default() },
        shares: config.shares,
        segments_apart: config.separate_segments,
        hashes: !args.no_hashes,
        subscribers: subscribers.map(Arc::new),
        ..RunOptions::of(Vec::new())
    };
    Ok(Prepared { options, geo: Geo::open(&args.geo)?, notices })
}

/// Reads everything and writes whatever files were asked for; prints nothing but the progress. `partial` says whether a case is kept of what was read
/// before an interruption.
pub fn analyse(args: &Read, config: &Config, partial: bool) -> Result<Analysed, Failure> {
    for path in &args.inputs {
        if path.as_os_str() != "-" && !store::is_bucket(path) && !path.exists() {
            return Err(Failure::input(anyhow::anyhow!("{}: no such file or folder", path.display())));
        }
    }
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "--since {since} is not before --until {until}: nothing lies between"
        )));
    }
    if !args.site.is_empty() && !args.inputs.iter().any(|p| store::is_store(p)) {
        let why = "--site takes parts of stores (read --store), and none is read";
        return Err(Failure::usage(anyhow::anyhow!(why)));
    }
    let Prepared { mut options, geo, notices } = prepare(&args.judging, config)?;
    options.inputs = args.inputs.iter().cloned().map(Source::Path).collect();
    options.opening.passwords.clone_from(&args.zip_password);
    options.opening.hashed =
        args.output.is_some() || args.store.is_some() || args.markdown || args.html.is_some();
    (options.opening.since, options.opening.until) = (args.since, args.until);
    options.span = Span { since: args.since, until: args.until, sites: args.site.clone() };
    options.state.clone_from(&args.state);
    if let Some(path) = &args.html {
        if path.as_os_str() == "-" {
            return Err(Failure::usage(anyhow::anyhow!(
                "--html needs a file: standard output has the story"
            )));
        }
        case::refuse_inputs(path, args.inputs.iter().cloned()).map_err(Failure::usage)?;
    }
    if let Some(path) = &args.state {
        case::refuse_inputs(path, args.inputs.iter().cloned()).map_err(Failure::usage)?;
    }
    let mut writer = match &args.output {
        Some(dir) => {
            case::check(dir).map_err(Failure::usage)?;
            let writer = CaseWriter::begin(dir).map_err(Failure::input)?;
            let in_its_store = args.inputs.iter().any(|p| store::is_store(p) && dir.starts_with(p));
            Some(if in_its_store { writer.of_its_store() } else { writer })
        }
        None => None,
    };
    let mut formats = Formats::begin(args, options.memory)?;
    options.check().map_err(failed)?;
    // From here on a store expects what is to be read.
    let times = Times { since: args.since, until: args.until };
    let mut keeper = match &args.store {
        Some(dir) => {
            let (writer, said) = Planned::of(dir, &args.inputs, times)?.begin(keep::begin(
                dir,
                &args.inputs,
                config,
                options.memory,
            )?)?;
            if let Some(what) = said {
                say(&what);
            }
            Some(writer)
        }
        None => None,
    };
    let bar = bar(args);
    let progress = |p| show(&bar, p);
    let ran = if writer.is_some() || keeper.is_some() || formats.takes_records() {
        run_with(&options, progress, |record| {
            if let Some(writer) = &mut writer {
                writer.record(record);
            }
            if let Some(keeper) = &mut keeper {
                keeper.record(record);
            }
            formats.record(record);
        })
    } else {
        pipeline::run(&options, progress)
    };
    let mut outcome = ran.map_err(failed)?;
    if let Some(keeper) = keeper {
        keep::finish(keeper, times, &mut outcome);
    }
    bar.finish_and_clear();
    outcome.notices.extend(notices);
    outcome.notices.extend(knowledge::unused(&options.expectations, &outcome));
    geo.annotate(&mut outcome.stories);
    let capture = capture_line(&outcome, args.output.is_some());
    if let Some(writer) = writer.filter(|_| partial || !outcome.interrupted) {
        let replaced = writer.finish(&capture, &outcome.stories).map_err(Failure::input)?;
        if !replaced.is_empty() {
            let of: Vec<String> = replaced.iter().map(|p| report::clean(p)).collect();
            let aside = args.output.as_ref().is_some_and(|case| case.join(case::ASIDE).exists());
            let notes = if aside { format!("; notes of that are in {}", case::ASIDE) } else { String::new() };
            say(&format!("this case takes the place of one of {}{notes}", of.join(", ")));
        }
    }
    if let Some(path) = &args.html {
        let page = report::html::html(&capture, &outcome.stories);
        let mut file = case::WholeFile::begin(path).map_err(Failure::input)?;
        file.write_all(page.as_bytes())?;
        file.finish().map_err(Failure::input)?;
    }
    let printed = formats.finish(&capture, &outcome)?;
    Ok(Analysed { outcome, capture, printed })
}

fn print(
    args: &Read,
    capture: &CaptureLine,
    outcome: &Outcome,
    printed: Option<&Printed>,
) -> Result<(), Failure> {
    if let Some(printed) = printed {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        printed.write(capture, outcome, &mut out)?;
        out.flush()?;
        return Ok(());
    }
    if args.json {
        return print_lines(capture, outcome);
    }
    if args.markdown {
        let mut out = std::io::stdout().lock();
        out.write_all(report::markdown(capture, &outcome.stories, args.all).as_bytes())?;
        return Ok(());
    }
    let detail = if args.all { Detail::Each } else { Detail::Summary };
    print_story(capture, outcome, detail, args.color)
}

/// Prints the program's lines.
pub fn print_lines(capture: &CaptureLine, outcome: &Outcome) -> Result<(), Failure> {
    // No colours, so nothing to strip.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in lines(capture, outcome) {
        let text = line.to_json().map_err(Failure::input)?;
        writeln!(out, "{text}")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints the story.
pub fn print_story(
    capture: &CaptureLine,
    outcome: &Outcome,
    detail: Detail,
    colour: Colour,
) -> Result<(), Failure> {
    print_stories(capture, &outcome.stories, detail, colour)
}

/// Prints the stories of hosts.
pub fn print_stories(
    capture: &CaptureLine,
    stories: &[HostStory],
    detail: Detail,
    colour: Colour,
) -> Result<(), Failure> {
    let columns = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
    let columns = columns.filter(|_| std::io::stdout().is_terminal());
    let mut out = anstream::AutoStream::new(std::io::stdout(), choice(colour)).lock();
    out.write_all(terminal(capture, stories, detail, true, columns).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// When to use colour.
pub fn choice(colour: Colour) -> anstream::ColorChoice {
    match colour {
        Colour::Auto => anstream::ColorChoice::Auto,
        Colour::Always => anstream::ColorChoice::Always,
        Colour::Never => anstream::ColorChoice::Never,
    }
}

/// The program's lines: the capture, then each host.
pub fn lines<'a>(capture: &'a CaptureLine, outcome: &'a Outcome) -> impl Iterator<Item = Line<'a>> {
    let hosts = outcome.stories.iter().map(|s| Line::Host(Cow::Borrowed(s)));
    std::iter::once(Line::Capture(Cow::Borrowed(capture))).chain(hosts)
}

/// A host at the level that was asked for comes first: that is what the caller wants to know. Then what was not read, then what was lost.
pub fn exit(fail_on: Option<Level>, config: &Config, capture: &CaptureLine, outcome: &Outcome) -> Exit {
    let found = |level: Level| outcome.stories.iter().any(|s| level.is_reached(s.verdict));
    if fail_on.is_some_and(found) {
        return Exit::Found;
    }
    match worth(capture, outcome, config.max_loss_percent) {
        Worth::Whole => Exit::Done,
        Worth::Partial => Exit::Partial,
        Worth::Lossy => Exit::Losses,
    }
}

fn bar(args: &Read) -> ProgressBar {
    let sizes: Vec<Option<u64>> = args
        .inputs
        .iter()
        .map(|p| std::fs::metadata(p).ok().filter(std::fs::Metadata::is_file).map(|m| m.len()))
        .collect();
    let known = sizes.iter().all(Option::is_some) && !args.inputs.iter().any(|p| capture::is_packed(p));
    let total: u64 = sizes.iter().flatten().sum();
    if args.quiet || !std::io::stderr().is_terminal() || (known && total < LONG) {
        return ProgressBar::hidden();
    }
    let style = if known {
        ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {msg} ETA {eta}")
    } else {
        ProgressStyle::with_template("{spinner} {bytes} {msg}")
    };
    let bar = if known { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, p: Progress) {
    if bar.is_hidden() {
        return;
    }
    bar.set_position(p.bytes);
    let rate = p.packets as f64 / bar.elapsed().as_secs_f64().max(0.001);
    bar.set_message(format!(
        "{} packets, {} packets/s",
        report::human_count(p.packets),
        report::human_count(rate as u64)
    ));
}
