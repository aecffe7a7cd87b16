//! The folder: written whole or not at all.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use capture::{Captures, Opening, Seal};
use record::{HostId, Record, Segment, clean};
use report::{CaptureLine, Line, parse_lines};
use verdict::HostStory;

use crate::flows::{FlowWriter, Flows, Local};
use crate::triage;
use crate::whole::WholeFolder;

/// The lines of `--json`.
const LINES: &str = "case.jsonl";
/// The report for a browser.
const REPORT: &str = "report.html";
/// The flows.
const FLOWS: &str = "flows.sqlite";
/// The hashes of the inputs, as `sha256sum -c` reads them.
const HASHES: &str = "inputs.sha256";

/// Everything that this program puts into a case.
const OURS: [&str; 7] = [LINES, REPORT, FLOWS, HASHES, triage::FILE, triage::ASIDE, triage::LOCK];

/// Whether a path is a case: a folder that holds one, or its file.
pub fn is_case(path: &Path) -> bool {
    path.join(LINES).is_file() || path.file_name().is_some_and(|name| name == LINES)
}

/// Makes sure that `dir` can become a case: it does not exist, is empty, or is a case already and nothing else.
///
/// # Errors
/// It is or holds something else, which would be removed with it, or has no name of its own (`.`), so that nothing could be put in its
/// place as a whole.
pub fn check(dir: &Path) -> anyhow::Result<()> {
    ensure!(
        dir.file_name().is_some(),
        "{} cannot be a case: -o needs a folder with a name, for example -o case",
        dir.display()
    );
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| format!("{} cannot be a case folder", dir.display())),
        Ok(entries) => {
            let names: Vec<_> = entries.flatten().map(|e| e.file_name()).collect();
            ensure!(
                dir.join(LINES).is_file() || names.is_empty(),
                "{} is not empty and no case: choose another folder for -o",
                dir.display()
            );
            // What a person has put there, a capture perhaps.
            let other = names.iter().find(|n| !is_ours(&n.to_string_lossy()));
            other.map_or(Ok(()), |name| {
                let path = dir.join(name);
                bail!("{} is none of the case's: move it, or choose another folder for -o", path.display())
            })
        }
    }
}

/// Whether a file of a case is this program's, also one that was not written to its end.
fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || name.strip_prefix('.').is_some_and(|n| n.starts_with(triage::FILE))
}

/// Makes sure that a file or folder to be written is none of those that are read, nor holds one.
///
/// # Errors
/// It is or does.
pub fn refuse_inputs(path: &Path, inputs: impl IntoIterator<Item = PathBuf>) -> anyhow::Result<()> {
    let Ok(target) = fs::canonicalize(path) else { return Ok(()) };
    for input in inputs {
        let Ok(input) = fs::canonicalize(capture::file_of(&input)) else { continue };
        let same = input == target || (input.is_dir() && target.starts_with(&input));
        ensure!(!same, "{} is what is read: choose another name", path.display());
        ensure!(!input.starts_with(&target), "{} holds what is read: choose another name", path.display());
    }
    Ok(())
}

/// Writes a case beside its place, and moves it there as a whole when it is finished. What is dropped before leaves nothing.
pub struct CaseWriter {
    folder: WholeFolder,
    flows: Option<FlowWriter>,
    /// Whether it is of a store in which it lies: what people said in it stays, whatever comes to the store and goes.
    of_its_store: bool,
}

impl CaseWriter {
    /// Begins a case; nothing is at its place before [`CaseWriter::finish`].
    ///
    /// # Errors
    /// `dir` cannot become a case, or nothing can be written beside it.
    pub fn begin(dir: &Path) -> anyhow::Result<Self> {
        check(dir)?;
        let folder = WholeFolder::begin(dir)?;
        let path = folder.path().join(FLOWS);
        let flows = FlowWriter::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { folder, flows: Some(flows), of_its_store: false })
    }

    /// The same of a store in which it lies: what people said in an older one stays, whatever came to the store and went.
    #[must_use]
    pub fn of_its_store(mut self) -> Self {
        self.of_its_store = true;
        self
    }

    /// Takes a record of the run.
    pub fn record(&mut self, record: &Record) {
        if let Some(flows) = &mut self.flows {
            flows.record(record);
        }
    }

    /// Writes everything else, and puts the case in its place. What people noted in an older one of the same captures is kept; gives the captures
    /// of one of others, whose notes are set aside.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn finish(mut self, capture: &CaptureLine, stories: &[HostStory]) -> anyhow::Result<Vec<String>> {
        if let Some(flows) = self.flows.take() {
            let path = self.folder.path().join(FLOWS);
            flows.finish().with_context(|| format!("cannot write {}", path.display()))?;
        }
        let put = |name: &str, text: &str| -> anyhow::Result<()> {
            let path = self.folder.path().join(name);
            let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| format!("cannot write {}", path.display()))
        };
        let mut text = Line::Capture(Cow::Borrowed(capture)).to_json()?;
        text.push('\n');
        for story in stories {
            text.push_str(&Line::Host(Cow::Borrowed(story)).to_json()?);
            text.push('\n');
        }
        put(LINES, &text)?;
        put(REPORT, &report::html::html(capture, stories))?;
        // Of captures in an archive, the archive's, once.
        let mut hashes: Vec<String> = Vec::new();
        for input in &capture.inputs {
            if let Some(hash) = &input.sha256 {
                let file = capture::file_of(Path::new(&input.path));
                hashes.push(format!("{hash}  {}\n", file.display()));
            }
        }
        hashes.dedup();
        put(HASHES, &hashes.concat())?;
        let replaced = match Case::read(self.folder.place()) {
            Ok(old) if !self.of_its_store && !old.is_of(capture) => {
                old.capture.inputs.into_iter().map(|i| i.path).collect()
            }
            _ => Vec::new(),
        };
        triage::keep(self.folder.place(), self.folder.path(), replaced.is_empty())?;
        self.folder.finish()?;
        Ok(replaced)
    }
}

/// A case, read back.
pub struct Case {
    /// Its folder.
    pub dir: PathBuf,
    /// The capture as a whole.
    pub capture: CaptureLine,
    /// The local hosts, strongest first.
    pub stories: Vec<HostStory>,
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// It is none.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = if dir.is_dir() { dir.join(LINES) } else { dir.to_owned() };
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is no case: make one with `hydrophone read CAPTURE -o {}`",
                dir.display(),
                dir.display()
            )
        })?;
        let Self { capture, stories, .. } = Self::of_lines(&text).map_err(|e| {
            anyhow::anyhow!("{} cannot be understood ({e}): read the capture again with -o", path.display())
        })?;
        let counted: u64 = capture.hosts.values().sum();
        ensure!(
            counted <= stories.len() as u64,
            "{} tells of {} of {counted} hosts: it was cut; read the capture again with -o",
            path.display(),
            stories.len()
        );
        let dir = if dir.is_dir() { dir.to_owned() } else { dir.parent().unwrap_or(dir).to_owned() };
        Ok(Self { dir, capture, stories })
    }

    /// A case that lies nowhere: what lines of `--json` tell.
    ///
    /// # Errors
    /// They are none, or none of them is of a capture.
    pub fn of_lines(text: &str) -> anyhow::Result<Self> {
        let (mut capture, mut stories) = (None, Vec::new());
        for line in parse_lines(text).map_err(anyhow::Error::msg)? {
            match line {
                Line::Capture(c) => capture = Some(c.into_owned()),
                Line::Host(h) => stories.push(h.into_owned()),
                // Told while it was listened; what came of it stands in the host's own line.
                Line::Turn(_) | Line::Day(_) => {}
            }
        }
        let capture = capture.context("there is no line of type \"capture\"")?;
        Ok(Self { dir: PathBuf::new(), capture, stories })
    }

    /// Whether it was made of these captures, or of some of them: a store grows. Of those without a hash, as streams are, that is not known.
    fn is_of(&self, capture: &CaptureLine) -> bool {
        let hashes =
            |c: &CaptureLine| c.inputs.iter().map(|i| i.sha256.clone()).collect::<Option<BTreeSet<_>>>();
        hashes(&self.capture).zip(hashes(capture)).is_some_and(|(before, now)| before.is_subset(&now))
    }

    /// Makes sure that a file may be written: it is none of the case's, and none of its captures.
    ///
    /// # Errors
    /// It is one of them.
    pub fn may_write(&self, path: &Path) -> anyhow::Result<()> {
        let captures =
            self.capture.inputs.iter().map(|i| PathBuf::from(i.absolute.as_ref().unwrap_or(&i.path)));
        refuse_inputs(path, captures)?;
        let dir = fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let within = fs::canonicalize(path).is_ok_and(|p| p.starts_with(&dir));
        ensure!(!within, "{} belongs to the case: choose another name", path.display());
        Ok(())
    }

    /// The story of a host by its address (`10.0.0.5`, `10.0.0.5@TIME`, `10.0.0.5@vlan12`), its name or the first part of that, or its Ethernet address.
    ///
    /// # Errors
    /// The case has none, or several of this name; tells which.
    pub fn host(&self, who: &str) -> anyhow::Result<&HostStory> {
        let no_address = match who.parse() {
            Ok(which) => return self.story(which),
            Err(why) => why,
        };
        let is_called = |name: &String| {
            let short = || name.split_once('.').map(|(short, _)| short);
            name.eq_ignore_ascii_case(who) || short().is_some_and(|short| short.eq_ignore_ascii_case(who))
        };
        let names = |s: &HostStory| s.names.host_names.iter().chain(&s.names.macs).any(is_called);
        let called: Vec<&HostStory> = self.stories.iter().filter(|s| names(s)).collect();
        match called[..] {
            [] if who.contains(['@', ':']) => bail!("{no_address}"),
            [] => {
                let all = self.stories.iter().filter_map(|s| s.names.host_names.first());
                let known: Vec<String> = all.take(12).map(|n| clean(n)).collect();
                let known = if known.is_empty() {
                    "it knows no names".to_owned()
                } else {
                    format!("it knows {}", known.join(", "))
                };
                bail!("nobody in this case is called {who:?}: {known}")
            }
            // Of one machine's addresses the strongest.
            [first, ..] if called.iter().all(|s| s.part_of == Some(first.id()) || s.id() == first.id()) => {
                Ok(first)
            }
            _ => {
                let all: Vec<String> = called.iter().map(|s| s.id().to_string()).collect();
                bail!("several hosts are called {who:?}: ask for {}", all.join(" or "))
            }
        }
    }

    /// The story of a host; where several machines had its address, that of the one that is asked for, or else the strongest.
    ///
    /// # Errors
    /// The case has none; tells which it has.
    pub fn story(&self, which: HostId) -> anyhow::Result<&HostStory> {
        let host = which.address;
        let known = |s: &&HostStory| s.host == host;
        let in_segment = |s: &&HostStory| which.segment.is_none_or(|wanted| s.segment == Some(wanted));
        let mut of_host = self.stories.iter().filter(known).filter(in_segment).peekable();
        if of_host.peek().is_none() && self.stories.iter().any(|s| known(&s)) {
            let all: Vec<String> = self.stories.iter().filter(known).map(|s| s.id().to_string()).collect();
            let segment = which.segment.map(|s| s.to_string()).unwrap_or_default();
            bail!("{host} was not seen in {segment}: ask for {}", all.join(" or "));
        }
        if let Some(at) = which.at
            && of_host.peek().is_some()
        {
            let known: Vec<String> = of_host.clone().map(|s| s.id().to_string()).collect();
            return of_host.find(|s| s.is_of(at)).with_context(|| {
                format!("nobody is known to have had {host} at {at}: ask for {}", known.join(" or "))
            });
        }
        of_host.next().with_context(|| {
            let known: Vec<String> = self.stories.iter().take(12).map(HostStory::label).collect();
            format!(
                "{host} is not a local host of this case; it has {} hosts: {}{}",
                self.stories.len(),
                known.join(", "),
                if self.stories.len() > known.len() { ", …" } else { "" }
            )
        })
    }

    /// A host as its flows know it.
    pub fn local(&self, s: &HostStory) -> Local {
        let segment = match s.segment {
            // Where they are not apart, and where it is not known which.
            None | Some(Segment::Others) => None,
            Some(Segment::Untagged) => Some(String::new()),
            Some(tagged) => Some(tagged.to_string()),
        };
        Local { host: s.host, segment }
    }

    /// The flows.
    ///
    /// # Errors
    /// The case has none, as those made by older versions, or they cannot be read.
    pub fn flows(&self) -> anyhow::Result<Flows> {
        let path = self.dir.join(FLOWS);
        ensure!(path.is_file(), "{} has no flows: read the capture again with -o", self.dir.display());
        Flows::open(&path)
            .with_context(|| format!("{} is damaged: read the capture again with -o", path.display()))
    }

    /// The captures that the case was made of, in the order of packet numbers; each is still what it was, byte for byte, which costs reading
    /// it once. `moved` is a folder that they lie in now.
    ///
    /// # Errors
    /// One is gone, was standard input, or is another: names it and what to do.
    pub fn captures(&self, moved: Option<&Path>, zip_passwords: &[String]) -> anyhow::Result<Captures> {
        let mut checked: Vec<PathBuf> = Vec::new();
        let mut paths = Vec::new();
        // Logs stand behind captures, and hold no packets.
        let captures = self.capture.inputs.iter().filter(|i| i.log.is_none());
        ensure!(
            captures.clone().next().is_some() || self.capture.inputs.is_empty(),
            "what proves this case lies in logs, which hold no packets: `hydrophone explain` shows the command for each line"
        );
        for input in captures {
            let typed = PathBuf::from(input.absolute.as_ref().unwrap_or(&input.path));
            let path = moved.map_or_else(|| typed.clone(), |dir| within(dir, &typed));
            let file = capture::file_of(&path);
            let size =
                input.size.with_context(|| format!("{} was a stream: its packets are gone", input.path))?;
            let found = fs::metadata(&file).with_context(|| {
                format!("{} is gone: say where it lies now with --captures FOLDER", path.display())
            })?;
            ensure!(
                found.len() == size,
                "{} has {} bytes and had {size}: it is not the capture of this case; read it anew with -o",
                file.display(),
                found.len()
            );
            if let Some(hash) = &input.sha256
                && !checked.contains(&file)
            {
                let now = Seal::default()
                    .whole(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                ensure!(
                    now == *hash,
                    "{} has changed since this case was made (SHA-256 {now}, was {hash}); read it anew with -o",
                    file.display()
                );
                checked.push(file);
            }
            paths.push(path);
        }
        Ok(Captures { paths, opening: Opening { passwords: zip_passwords.to_vec(), ..Opening::default() } })
    }
}

/// Where a capture lies in another folder: by its name, or for one in an archive by the archive's.
fn within(dir: &Path, typed: &Path) -> PathBuf {
    let parts: Vec<_> = typed.components().collect();
    let tail = |n: usize| dir.join(parts.iter().skip(parts.len().saturating_sub(n)).collect::<PathBuf>());
    (1..=parts.len()).map(tail).find(|p| capture::file_of(p).is_file()).unwrap_or_else(|| tail(1))
}
