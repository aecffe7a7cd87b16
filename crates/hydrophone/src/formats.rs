//! What a run is written as for other programs: `read --format`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use case::{WholeFile, WholeFolder};
use export::{Ends, EventForm, Told, ZeekLogs};
use pipeline::{ByteSize, Outcome};
use record::Record;
use report::CaptureLine;

use crate::args::{Format, Read, To};
use crate::read::lines;
use crate::{Failure, say};

/// The part of the memory budget that may be taken, beside it, to remember between whom flows went.
const ENDS_PART: u64 = 16;

/// What is written, and where.
pub struct Formats {
    files: Vec<(Format, WholeFile)>,
    zeek: Option<(ZeekLogs, WholeFolder)>,
    /// What is printed instead of the story.
    printed: Option<Format>,
    ends: Option<Ends>,
    all: bool,
}

impl Formats {
    /// Begins what was asked for, before anything is read: a place that cannot be written is told at once.
    pub fn begin(args: &Read, memory: ByteSize) -> Result<Self, Failure> {
        let wanted = &args.format;
        let (printed, placed) = divide(args).map_err(Failure::usage)?;
        if printed.is_some() && args.against.is_some() {
            let why =
                "standard output has what --against says: write the format to a file (--format NAME=FILE)";
            return Err(Failure::usage(anyhow::anyhow!(why)));
        }
        let mut made = Self { files: Vec::new(), zeek: None, printed, ends: None, all: args.all };
        for (_, path) in &placed {
            case::refuse_inputs(path, args.inputs.iter().cloned()).map_err(Failure::usage)?;
            refuse_within(path, &args.inputs).map_err(Failure::usage)?;
        }
        for (format, path) in placed {
            if format == Format::Zeek {
                check(&path).map_err(Failure::usage)?;
                let folder = WholeFolder::begin(&path).map_err(Failure::input)?;
                made.zeek = Some((ZeekLogs::new(folder.path()), folder));
            } else {
                made.files.push((format, WholeFile::begin(&path).map_err(Failure::input)?));
            }
        }
        if wanted.iter().any(|to| to.format != Format::Jsonl) {
            made.ends = Some(Ends::within(memory.0 / ENDS_PART));
        }
        Ok(made)
    }

    /// Whether there is something to take records for.
    pub const fn takes_records(&self) -> bool {
        self.ends.is_some()
    }

    /// Takes a record of the run.
    pub fn record(&mut self, record: &Record) {
        if let Some(ends) = &mut self.ends {
            ends.learn(record);
        }
        if let Some((logs, _)) = &mut self.zeek {
            logs.record(record);
        }
    }

    /// Writes the files; gives what is printed, if something is.
    pub fn finish(self, capture: &CaptureLine, outcome: &Outcome) -> Result<Option<Printed>, Failure> {
        let takes_records = self.takes_records();
        let ends = self.ends.unwrap_or_else(|| Ends::within(0));
        let told = Told { capture, stories: &outcome.stories, ends: &ends, all: self.all };
        if takes_records {
            tell_forgotten(told);
        }
        for (format, mut file) in self.files {
            let place = file.place().to_owned();
            let cannot = || format!("cannot write {}", place.display());
            write(format, told, outcome, &mut file).with_context(cannot).map_err(Failure::input)?;
            file.finish().map_err(Failure::input)?;
        }
        if let Some((logs, folder)) = self.zeek {
            let cannot = || format!("cannot write {}", folder.place().display());
            logs.finish(told).with_context(cannot).map_err(Failure::input)?;
            folder.finish().map_err(Failure::input)?;
        }
        Ok(self.printed.map(|format| Printed { format, ends, all: self.all }))
    }
}

/// What is printed instead of the story.
pub struct Printed {
    format: Format,
    ends: Ends,
    all: bool,
}

impl Printed {
    /// Writes it.
    pub fn write(&self, capture: &CaptureLine, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        let told = Told { capture, stories: &outcome.stories, ends: &self.ends, all: self.all };
        write(self.format, told, outcome, out)
    }
}

fn write(format: Format, told: Told<'_>, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let form = match format {
        Format::Eve => EventForm::Eve,
        Format::Ecs => EventForm::Ecs,
        Format::Ocsf => EventForm::Ocsf,
        Format::Csv => EventForm::Csv,
        // Zeek's logs have a folder, and never come here.
        Format::Jsonl | Format::Zeek => {
            for line in lines(told.capture, outcome) {
                writeln!(out, "{}", line.to_json()?)?;
            }
            return Ok(());
        }
    };
    told.write(form, out)
}

/// A form, and its file or folder.
type Placed = (Format, PathBuf);

/// What goes to standard output, and what to which place.
fn divide(args: &Read) -> anyhow::Result<(Option<Format>, Vec<Placed>)> {
    let mut printed: Vec<Format> = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    for To { format, path } in &args.format {
        match path {
            None => {
                ensure!(
                    *format != Format::Zeek,
                    "zeek writes several logs and needs a folder: --format zeek=DIR"
                );
                printed.push(*format);
            }
            Some(path) => {
                let taken = placed.iter().any(|(_, other)| same(other, path))
                    || [&args.html, &args.state, &args.output].into_iter().flatten().any(|p| same(p, path));
                ensure!(
                    !taken,
                    "{} would be written twice: give each format a file of its own",
                    path.display()
                );
                let zeek = |f: &Format| *f == Format::Zeek;
                ensure!(
                    !zeek(format) || !placed.iter().any(|(f, _)| zeek(f)),
                    "--format zeek=DIR can be given once"
                );
                placed.push((*format, path.clone()));
            }
        }
    }
    let others = usize::from(args.json) + usize::from(args.markdown);
    ensure!(
        printed.len() + others <= 1,
        "only one can go to standard output: give the others a file, as in --format eve=FILE"
    );
    Ok((printed.pop(), placed))
}

/// Where a path leads; of one that does not exist yet by the folder that it will lie in.
fn place(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = || Some(fs::canonicalize(parent).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

fn same(a: &Path, b: &Path) -> bool {
    place(a) == place(b)
}

/// Makes sure that what is begun before reading does not lie where captures are looked for.
fn refuse_within(path: &Path, inputs: &[PathBuf]) -> anyhow::Result<()> {
    let target = place(path);
    for input in inputs.iter().filter_map(|i| fs::canonicalize(i).ok()).filter(|i| i.is_dir()) {
        ensure!(
            !target.starts_with(&input),
            "{} lies in a folder that is read: choose another place",
            path.display()
        );
    }
    Ok(())
}

/// Makes sure that a folder for Zeek's logs is a new one, or holds logs that were written here and nothing else.
fn check(dir: &Path) -> anyhow::Result<()> {
    ensure!(
        dir.file_name().is_some(),
        "{} cannot be replaced as a whole: --format zeek=DIR needs a folder with a name",
        dir.display()
    );
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| format!("{} cannot be a folder of logs", dir.display())),
        Ok(entries) => {
            let names: Vec<String> =
                entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            ensure!(
                names.is_empty() || ZeekLogs::wrote(&names),
                "{} holds what hydrophone did not write: choose another folder for --format zeek",
                dir.display()
            );
            Ok(())
        }
    }
}

/// Tells of evidence whose flows are not remembered. Those of earlier runs (`--state`) never are.
fn tell_forgotten(told: Told<'_>) {
    let without = told.without_ends();
    if without == 0 {
        return;
    }
    let why = match told.ends.forgotten() {
        0 => "an earlier run saw its flows".to_owned(),
        n => {
            format!("there was no room for the ends of {} flows (give more --memory)", report::human_count(n))
        }
    };
    say(&format!("{without} pieces of evidence are written without ports: {why}"));
}
