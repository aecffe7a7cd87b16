//! One store, analysed here and on a cluster of real processes: equal bytes, whatever is killed.
#![allow(clippy::disallowed_methods)] // Processes are waited for.

#[path = "../../store/tests/common/s3.rs"]
mod s3;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use behaviour::{Home, Settings};
use capture::Source;
use hydrophone_cluster::analysis::{self, Analysed, Asked};
use hydrophone_cluster::engine::Engine;
use hydrophone_cluster::{Judging, nodes};
use pipeline::{Budget, Outcome, RunOptions, run, run_with};
use report::Line;
use store::Writer;
use verdict::Prior;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hydrophone-cluster");

fn samples(names: &[&str]) -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    names.iter().map(|name| Source::Path(folder.join(name))).collect()
}

/// Reads captures into a store, a run each, as several sensors would: of sites of their own where they are told apart.
fn keep(store: &Path, captures: &[&str], site: u16) {
    let home = Home::private();
    for capture in captures {
        let networks = home.networks().to_vec();
        let local = home.clone();
        let writer = Writer::begin(store, &networks, move |ip| local.contains(ip)).expect("a store");
        let mut writer = writer.in_pieces_of(500, 4_000);
        let outcome = run_with(
            &RunOptions::of(samples(&[capture])),
            |_| (),
            |record| {
                let mut record = record.clone();
                record.head_mut().site = site;
                writer.record(&record);
            },
        );
        let outcome = outcome.expect("it is read");
        let inputs = outcome.inputs.iter().map(|i| store::StoredInput {
            path: i.path.clone(),
            size: i.size,
            sha256: None,
            log: None,
            times: store::Times::default(),
        });
        let inputs = inputs.collect();
        // As in most captures, something is not read.
        let mut health = outcome.health;
        health.accounts.unread.insert(record::Unread::IpProtocol(50), 1);
        writer.finish(inputs, true, Vec::new(), Vec::new(), health).expect("it is kept");
    }
}

fn judging(shares: u32) -> Judging {
    let limits = Budget::divide(RunOptions::MEMORY, 1, false).analyst.shared(shares);
    Judging {
        home: Vec::new(),
        settings: Settings::default(),
        prior: Prior::default(),
        expectations: behaviour::Expectations::default(),
        intel: Vec::new(),
        bytes: limits.bytes,
        hosts: limits.hosts,
    }
}

fn asked(store: &Path, shares: u32, ranges: u32) -> Asked {
    Asked {
        store: store.to_owned(),
        shares,
        ranges,
        parallel: 2,
        judging: judging(shares),
        anew: false,
        patience: Duration::from_mins(1),
        attempts: 4,
    }
}

fn embedded() -> Engine {
    Engine::Embedded(nodes::runtime(None, Some(64 << 20)).expect("a runtime"))
}

fn analyse(asked: &Asked, engine: &Engine) -> anyhow::Result<Analysed> {
    let catalog = analysis::open(&asked.store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(analysis::analyse(asked, &catalog, engine, |_, _| ()))
}

/// The lines of all hosts.
fn lines(outcome: &Outcome) -> Vec<String> {
    let line = |s| Line::Host(std::borrow::Cow::Borrowed(s)).to_json().expect("JSON");
    outcome.stories.iter().map(line).collect()
}

/// What `hydrophone read STORE --shares N` says.
fn read(store: &Path, shares: u32) -> Vec<String> {
    let options = RunOptions {
        home: Some(Home::private().networks().to_vec()),
        shares,
        ..RunOptions::of(vec![Source::Path(store.to_owned())])
    };
    lines(&run(&options, |_| ()).expect("it is read"))
}

/// What an analysis left, to be compared with another one: its tables.
fn tables(store: &Path, of: &Analysed) -> Vec<Vec<u8>> {
    ["hosts.parquet", "evidence.parquet"]
        .map(|t| std::fs::read(store.join(&of.folder).join(t)).expect(t))
        .into()
}

const ALL: [&str; 4] =
    ["office-day.pcapng.zst", "kraken-old.pcapng", "kraken-mutated.pcapng", "clean-mail-server.pcapng"];

/// The captures, in the order of their days.
fn by_day() -> Vec<&'static str> {
    let mut days = ALL.to_vec();
    days.sort_by_cached_key(|c| run(&RunOptions::of(samples(&[c])), |_| ()).expect("read").health.first);
    days
}

/// A store of two sites.
fn two_sites(store: &Path) {
    keep(store, &ALL, 0);
    keep(store, &["kraken-new.pcapng", "clean-browser-news.pcapng"], 7);
}

#[test]
fn here_it_says_what_reading_the_store_says() {
    let dir = tempfile::tempdir().expect("a folder");
    two_sites(dir.path());
    let whole = read(dir.path(), 8);
    let bots = whole.iter().filter(|l| l.contains("\"verdict\":\"infected\"")).count();
    assert!(bots >= 2 && whole.len() > 50, "{bots} of {}", whole.len());
    for ranges in [1, 2, 8] {
        let done = analyse(&asked(dir.path(), 8, ranges), &embedded()).expect("it is analysed");
        assert!(done.records > 5_000 && done.before == 0);
        assert_eq!(lines(&done.outcome), whole, "{ranges} ranges");
        // It is published, and not done twice.
        let again = analyse(&asked(dir.path(), 8, ranges), &embedded()).expect("it is analysed");
        assert_eq!((again.records, again.before), (0, 2 * ranges as usize));
        assert_eq!(lines(&again.outcome), whole);
    }
    for shares in [1, 64] {
        let done = analyse(&asked(dir.path(), shares, 1), &embedded()).expect("it is analysed");
        assert_eq!(lines(&done.outcome), read(dir.path(), shares), "{shares} shares");
    }
}

#[test]
fn what_came_later_is_read_alone_and_says_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    // Captures of one day after the other.
    let days = by_day();
    let (last, before) = days.split_last().expect("captures");
    for capture in before {
        keep(dir.path(), &[capture], 0);
    }
    let first = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    assert!(first.from.is_none());
    keep(dir.path(), &[last], 0);
    let then = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    assert_eq!(then.from, Some(first.folder));
    let whole = Asked { anew: true, ..asked(dir.path(), 4, 2) };
    let all = analyse(&whole, &embedded()).expect("it is analysed");
    assert_eq!(all.records, first.records + then.records, "only what came was read");
    assert_eq!(lines(&then.outcome), lines(&all.outcome));
    assert_eq!(lines(&all.outcome), read(dir.path(), 4));
    // Another judgement goes on from none of them, and equals the whole.
    let mut other = asked(dir.path(), 4, 2);
    other.judging.prior = "1/10".parse().expect("a prior");
    assert_eq!(analyse(&other, &embedded()).expect("it is analysed").from, None);

    // An analysis that cannot be gone on from any more is not gone on from, and one that cannot be read is done again.
    let part = |of: &Analysed| {
        let mut parts: Vec<PathBuf> = Vec::new();
        files(&dir.path().join(&of.folder).join("parts"), &mut parts);
        parts.sort();
        parts.into_iter().rfind(|p| p.extension().is_some_and(|e| e == "parquet")).expect("a part")
    };
    spoil(&part(&all));
    let again = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    assert!(again.retried.iter().any(|why| why.contains("site0")), "{:?}", again.retried);
    assert_eq!(lines(&again.outcome), lines(&all.outcome));
}

#[test]
fn of_an_analysis_that_is_damaged_nothing_is_taken_and_the_one_before_it_will_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let days = by_day();
    let one = Asked { parallel: 1, ..asked(dir.path(), 4, 2) };
    let mut done = Vec::new();
    for (day, capture) in days.iter().enumerate() {
        keep(dir.path(), &[capture], 0);
        if day > 0 {
            done.push(analyse(&one, &embedded()).expect("it is analysed"));
        }
        if day == 2 {
            // The first task of the next one goes on from it and is done; the second cannot.
            let mut parts: Vec<PathBuf> = Vec::new();
            files(&dir.path().join(&done[1].folder).join("parts"), &mut parts);
            parts.sort();
            spoil(parts.iter().rfind(|p| p.extension().is_some_and(|e| e == "parquet")).expect("a part"));
        }
    }
    let [_, damaged, last] = &done[..] else { panic!("{}", done.len()) };
    assert!(last.retried.iter().any(|why| why.contains("cannot be gone on from")), "{:?}", last.retried);
    assert_ne!(last.from, Some(damaged.folder.clone()));
    assert_eq!(lines(&last.outcome), read(dir.path(), 4));
    // Asked again, it is there.
    let again = analyse(&one, &embedded()).expect("it is analysed");
    assert_eq!((again.records, lines(&again.outcome)), (0, lines(&last.outcome)));
}

/// Changes a file in its middle.
fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].iter_mut().for_each(|b| *b ^= 0x5a);
    std::fs::write(path, bytes).expect("it is written");
}

#[test]
fn what_is_told_twice_counts_as_when_it_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &[ALL[1], ALL[1], ALL[3]], 0);
    let options = RunOptions {
        home: Some(Home::private().networks().to_vec()),
        shares: 4,
        ..RunOptions::of(vec![Source::Path(dir.path().to_owned())])
    };
    let whole = run(&options, |_| ()).expect("it is read");
    assert!(whole.health.told_twice > 20, "{}", whole.health.told_twice);
    let done = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    assert_eq!(done.outcome.health.told_twice, whole.health.told_twice);
    assert_eq!(lines(&done.outcome), lines(&whole));
    assert!(
        done.outcome.notices.iter().any(|what| what.contains("COUNT TWICE")),
        "{:?}",
        done.outcome.notices
    );
}

#[test]
fn another_store_s_analysis_is_not_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    // Files of the same names and other records.
    keep(&one, &[ALL[1]], 0);
    keep(&other, &[ALL[2]], 0);
    let of_one = analyse(&asked(&one, 2, 1), &embedded()).expect("it is analysed");
    let copied = Command::new("cp").arg("-r").arg(one.join("analyses")).arg(&other).status();
    assert!(copied.expect("cp").success());
    let of_other = analyse(&asked(&other, 2, 1), &embedded()).expect("it is analysed");
    assert!(of_other.from.is_none() && of_other.before == 0);
    assert_ne!(of_other.folder, of_one.folder);
    assert_eq!(lines(&of_other.outcome), read(&other, 2));
}

#[test]
fn files_that_were_altered_are_named_even_where_they_can_be_read() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &["kraken-old.pcapng", "kraken-mutated.pcapng", "kraken-new.pcapng"], 0);
    let mut tables: Vec<PathBuf> = Vec::new();
    files(&dir.path().join("kind=http"), &mut tables);
    tables.sort();
    assert!(tables.len() > 2, "{tables:?}");
    // One has the rows of another one, and one tells of another writer: both are whole files.
    std::fs::copy(&tables[0], &tables[1]).expect("it is copied");
    let mut bytes = std::fs::read(&tables[2]).expect("it is read");
    let at = bytes.windows(10).rposition(|w| w == b"hydrophone").expect("its writer");
    bytes[at] = b'q';
    std::fs::write(&tables[2], bytes).expect("it is written");
    let done = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    let failures = done.outcome.failures.join("\n");
    for altered in &tables[1..3] {
        let name = altered.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(failures.contains(&name), "{name}: {failures}");
    }
    assert_eq!(lines(&done.outcome), read(dir.path(), 4));
    // Who asks what it found hears of them, too.
    let store = dir.path().to_str().expect("a name");
    let (_, said, code) = program(&["sql", store, "SELECT host FROM hosts"], &Env::new());
    assert!(code == Some(3) && said.contains(&done.folder) && said.contains("is damaged"), "{code:?} {said}");
}

#[test]
fn a_damaged_file_is_named_and_everything_else_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &ALL[1..3], 0);
    let mut tables: Vec<PathBuf> = Vec::new();
    files(&dir.path().join("kind=http"), &mut tables);
    let victim = tables.first().expect("a table of requests");
    let mut bytes = std::fs::read(victim).expect("it is read");
    // All of its columns, and not what says where they are.
    let columns = bytes.len() / 2;
    bytes[4..columns].iter_mut().for_each(|b| *b ^= 0x5a);
    std::fs::write(victim, bytes).expect("it is written");
    let done = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    let name = victim.file_name().expect("a name").to_string_lossy().into_owned();
    let failures = done.outcome.failures.join("\n");
    assert!(failures.contains(&name) && failures.contains("is damaged"), "{failures}");
    assert_eq!(lines(&done.outcome), read(dir.path(), 4));
    // It stays damaged, and what comes later is read alone all the same.
    keep(dir.path(), &ALL[..1], 0);
    let then = analyse(&asked(dir.path(), 4, 2), &embedded()).expect("it is analysed");
    assert_eq!(then.from, Some(done.folder));
    assert!(then.outcome.failures.join("\n").contains(&name));
    assert_eq!(lines(&then.outcome), read(dir.path(), 4));
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()) {
        if path.is_dir() { files(&path, all) } else { all.push(path) }
    }
}

/// What the environment tells a process.
type Env = Vec<(&'static str, String)>;

/// A process that is gone when it is dropped.
struct Process(Child);

impl Process {
    fn begin(args: &[&str], env: &Env) -> Self {
        let mut program = Command::new(PROGRAM);
        program.args(args).envs(env.iter().cloned()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = program.spawn();
        Self(child.expect("it begins"))
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(done.expect("kill").success(), "{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A scheduler and executors, on loopback.
struct Cluster {
    at: SocketAddr,
    work: tempfile::TempDir,
    scheduler: Option<Process>,
    executors: Vec<Process>,
    env: Env,
}

impl Cluster {
    fn begin() -> Self {
        Self::begin_in(Vec::new())
    }

    fn begin_in(env: Env) -> Self {
        let at = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let work = tempfile::tempdir().expect("a folder");
        let mut cluster = Self { at, work, scheduler: None, executors: Vec::new(), env };
        cluster.serve();
        cluster.join();
        cluster.join();
        cluster
    }

    fn serve(&mut self) {
        self.scheduler = Some(Process::begin(&["scheduler", "--bind", &self.at.to_string()], &self.env));
        let begun = Instant::now();
        while TcpStream::connect(self.at).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the scheduler does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn join(&mut self) {
        self.join_with(&[]);
    }

    fn join_with(&mut self, more: &[&str]) {
        let work = self.work.path().display().to_string();
        let at = self.at.to_string();
        let args = [&["executor", "--scheduler", &at, "--work", &work, "--memory", "128MiB"], more].concat();
        self.executors.push(Process::begin(&args, &self.env));
    }

    fn engine(&self) -> Engine {
        Engine::cluster(self.at.to_string())
    }
}

#[test]
fn in_a_bucket_it_says_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = s3::Server::start(&dir.path().join("served"));
    let in_bucket = dir.path().join("served").join(s3::BUCKET).join("of/two");
    two_sites(&in_bucket);
    let on_disk = analyse(&asked(&in_bucket, 8, 4), &embedded()).expect("it is analysed");
    let expected = tables(&in_bucket, &on_disk);
    let env = server.env(dir.path());
    let cluster = Cluster::begin_in(env.clone());
    let url = format!("df://{}", cluster.at);
    for more in [&[][..], &["--cluster", &url][..]] {
        std::fs::remove_dir_all(in_bucket.join("analyses")).expect("it is there");
        let args =
            [&["analyse", "s3://sensors/of/two", "--json", "--shares", "8", "--ranges", "4"], more].concat();
        let (found, said, code) = program(&args, &env);
        assert_eq!(code, Some(0), "{said}");
        let told: Vec<&str> = found.lines().filter(|l| l.contains("\"type\":\"host\"")).collect();
        assert_eq!(told, lines(&on_disk.outcome), "{more:?}: {said}");
        assert_eq!(tables(&in_bucket, &on_disk), expected, "{more:?}: equal bytes");
    }
    let question = "SELECT host, count(*) AS n FROM conn GROUP BY host ORDER BY n DESC, host LIMIT 3";
    let there =
        program(&["sql", "s3://sensors/of/two", question, "--format", "csv", "--cluster", &url], &env);
    assert_eq!(there.0, sql(&in_bucket, question, &[]), "{}", there.1);
}

#[test]
fn a_cluster_says_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    two_sites(dir.path());
    let here = analyse(&asked(dir.path(), 8, 4), &embedded()).expect("it is analysed");
    let expected = tables(dir.path(), &here);
    let cluster = Cluster::begin();
    let there =
        analyse(&Asked { anew: true, ..asked(dir.path(), 8, 4) }, &cluster.engine()).expect("it is analysed");
    assert_eq!(there.folder, here.folder);
    assert_eq!(lines(&there.outcome), lines(&here.outcome));
    assert_eq!(tables(dir.path(), &there), expected, "equal bytes");
    assert!(there.retried.is_empty(), "{:?}", there.retried);
}

/// What the program answers.
fn sql(store: &Path, question: &str, more: &[&str]) -> String {
    let store = store.display().to_string();
    let out = Command::new(PROGRAM).args(["sql", &store, question, "--format", "csv"]).args(more).output();
    let out = out.expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

#[test]
fn people_ask_by_sql_here_and_there() {
    let dir = tempfile::tempdir().expect("a folder");
    two_sites(dir.path());
    let done = analyse(&asked(dir.path(), 8, 2), &embedded()).expect("it is analysed");
    let infected =
        sql(dir.path(), "SELECT host FROM hosts WHERE verdict = 'infected' ORDER BY site, host", &[]);
    let told = done.outcome.stories.iter().filter(|s| s.verdict.name() == "infected").count();
    assert_eq!(infected.lines().count(), 1 + told, "{infected}");
    let mail = "SELECT host, count(*) AS n FROM conn WHERE resp_p = 25 AND is_primary AND site = 7 GROUP BY host ORDER BY n DESC, host";
    let here = sql(dir.path(), mail, &[]);
    assert!(here.starts_with("host,n\n") && here.lines().count() > 1, "{here}");
    let cluster = Cluster::begin();
    assert_eq!(sql(dir.path(), mail, &["--cluster", &format!("df://{}", cluster.at)]), here);
    for question in ["DROP TABLE conn", "SET a = b", "nonsense"] {
        let store = dir.path().display().to_string();
        let out = Command::new(PROGRAM).args(["sql", &store, question]).output().expect("it runs");
        assert_eq!(out.status.code(), Some(2), "{question}");
        assert!(!out.stderr.is_empty());
    }
}

/// What is done to a cluster that works.
fn survives(what: impl FnOnce(&mut Cluster) + Send) {
    let dir = tempfile::tempdir().expect("a folder");
    two_sites(dir.path());
    let here = analyse(&asked(dir.path(), 16, 16), &embedded()).expect("it is analysed");
    let expected = tables(dir.path(), &here);
    let mut cluster = Cluster::begin();
    let engine = cluster.engine();
    let asked = Asked {
        anew: true,
        // So many that everybody is at work.
        parallel: 8,
        patience: Duration::from_secs(20),
        attempts: 8,
        ..asked(dir.path(), 16, 16)
    };
    let begun = Instant::now();
    let there = std::thread::scope(|scope| {
        let working = scope.spawn(|| analyse(&asked, &engine));
        // Some of the tasks are done.
        let parts = dir.path().join(&here.folder).join("parts");
        let files = |of: std::fs::DirEntry| std::fs::read_dir(of.path()).map_or(0, Iterator::count);
        let some = || std::fs::read_dir(&parts).map_or(0, |all| all.flatten().map(files).sum::<usize>());
        while some() < 4 || dir.path().join(&here.folder).join("MANIFEST.json").exists() {
            assert!(begun.elapsed() < Duration::from_mins(1) && !working.is_finished(), "nothing is done");
            std::thread::sleep(Duration::from_millis(10));
        }
        what(&mut cluster);
        working.join().expect("it does not panic")
    });
    let there = there.expect("it is analysed");
    assert_eq!(tables(dir.path(), &there), expected, "equal bytes");
    assert_eq!(lines(&there.outcome), lines(&here.outcome));
    assert!(begun.elapsed() < Duration::from_mins(4), "{:?}", there.retried);
}

#[test]
fn an_executor_that_is_killed_takes_nothing_with_it() {
    survives(|cluster| cluster.executors[0].signal("-KILL"));
}

#[test]
fn an_executor_that_ends_takes_nothing_with_it() {
    survives(|cluster| cluster.executors[0].signal("-TERM"));
}

#[test]
fn an_executor_that_is_stopped_holds_nothing_up() {
    survives(|cluster| cluster.executors[0].signal("-STOP"));
}

#[test]
fn executors_that_come_back_go_on() {
    survives(|cluster| {
        cluster.executors.clear();
        std::thread::sleep(Duration::from_secs(2));
        cluster.join();
        cluster.join();
    });
}

#[test]
fn a_scheduler_that_comes_back_goes_on() {
    survives(|cluster| {
        cluster.scheduler = None;
        cluster.executors.clear();
        std::thread::sleep(Duration::from_secs(1));
        cluster.serve();
        cluster.join();
        cluster.join();
    });
}

#[test]
fn where_nobody_is_it_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &ALL[1..2], 0);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let asked = Asked { attempts: 2, ..asked(dir.path(), 2, 1) };
    let begun = Instant::now();
    let refused = analyse(&asked, &Engine::cluster(nobody.to_string())).map(|_| ()).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains(&nobody.to_string()) && refused.contains("given up after 2"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    // And what went wrong before does not stand in the way.
    assert!(analyse(&asked, &embedded()).is_ok());
}

#[test]
fn where_all_are_gone_for_good_it_ends_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    two_sites(dir.path());
    let mut cluster = Cluster::begin();
    let asked = Asked { attempts: 2, patience: Duration::from_secs(20), ..asked(dir.path(), 8, 4) };
    cluster.executors.clear();
    let begun = Instant::now();
    let gone = format!("{:#}", analyse(&asked, &cluster.engine()).map(|_| ()).unwrap_err());
    assert!(gone.contains("given up after 2"), "{gone}");
    cluster.scheduler = None;
    let gone = format!("{:#}", analyse(&asked, &cluster.engine()).map(|_| ()).unwrap_err());
    assert!(gone.contains(&cluster.at.to_string()), "{gone}");
    assert!(begun.elapsed() < Duration::from_mins(3));
    assert!(analyse(&asked, &embedded()).is_ok());
}

#[test]
fn a_scheduler_that_answers_nothing_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &ALL[1..2], 0);
    let cluster = Cluster::begin();
    let asked = Asked { attempts: 1, patience: Duration::from_hours(1), ..asked(dir.path(), 2, 1) };
    cluster.scheduler.as_ref().expect("it serves").signal("-STOP");
    let begun = Instant::now();
    let silent = format!("{:#}", analyse(&asked, &cluster.engine()).map(|_| ()).unwrap_err());
    assert!(silent.contains("does not answer") || silent.contains("is gone"), "{silent}");
    assert!(begun.elapsed() < Duration::from_secs(90), "{silent}");
}

#[test]
fn an_executor_that_judges_otherwise_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &ALL[1..2], 0);
    let payoffs = dir.path().join("payoffs.toml");
    std::fs::write(&payoffs, "[generated_names]\nexact_name = 5.0\n").expect("it is written");
    let mut cluster = Cluster::begin();
    cluster.executors.clear();
    cluster.join_with(&["--payoffs", payoffs.to_str().expect("a name")]);
    let asked = Asked { attempts: 1, ..asked(dir.path(), 2, 1) };
    let refused = format!("{:#}", analyse(&asked, &cluster.engine()).map(|_| ()).unwrap_err());
    assert!(refused.contains("edition") || refused.contains("payoffs"), "{refused}");
}

#[test]
fn another_home_than_the_store_is_filed_by_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &ALL[1..2], 0);
    let mut other = asked(dir.path(), 2, 1);
    other.judging.home = vec!["192.0.2.0/24".parse().expect("a network")];
    let refused = analyse(&other, &embedded()).map(|_| ()).unwrap_err().to_string();
    assert!(
        refused.contains("filed by the local networks 10.0.0.0/8") && refused.contains("--store NEW"),
        "{refused}"
    );
}

/// What the program prints, what it says, and how it ends.
fn program(args: &[&str], env: &Env) -> (String, String, Option<i32>) {
    let ran = Command::new(PROGRAM)
        .args(args)
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = |of: Vec<u8>| String::from_utf8(of).expect("text");
    (text(ran.stdout), text(ran.stderr), ran.status.code())
}

#[test]
fn the_program_says_what_it_finds_and_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    keep(dir.path(), &ALL[1..2], 0);
    let (store, here) = (dir.path().to_str().expect("a name"), Env::new());
    let (found, said, code) = program(&["analyse", store], &here);
    assert!(found.contains("infected") && said.contains("records were analysed"), "{found}{said}");
    assert_eq!(code, Some(0));
    let (found, said, code) = program(&["analyse", store, "--prior", "1/10", "--json"], &here);
    assert!(
        found.lines().all(|l| l.starts_with('{')) && found.contains("\"verdict\":\"infected\""),
        "{found}"
    );
    assert!(code == Some(0) && !said.is_empty());
    let (rows, _, code) =
        program(&["sql", store, "SELECT host, verdict FROM hosts", "--format", "csv"], &here);
    assert!(code == Some(0) && rows.starts_with("host,verdict") && rows.contains(",infected"), "{rows}");
    let alone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let alone = alone.to_string();
    let config = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path.display().to_string()
    };
    let strange = config("strange.toml", "[behavour.spam_run]\nconnections = 5\n");
    let apart = config("apart.toml", "separate_segments = true\n");
    // A configuration of `read` says how hosts are judged; who asks rightly and gets no answer hears it by another code.
    let likely = config("likely.toml", "version = 2\nprior = \"1/10\"\nshares = 4\n");
    let (found, said, code) = program(&["analyse", store, "--config", &likely, "--json"], &here);
    assert!(found.contains("\"prior_db\":-9.5") && code == Some(0), "{found}{said}");
    let (_, said, code) =
        program(&["analyse", store, "--anew", "--cluster", &alone, "--attempts", "1"], &here);
    assert!(code == Some(3) && said.contains("did not come to its end"), "{code:?} {said}");
    for (args, why) in [
        (vec!["analyse", store, "--shares", "128"], "128"),
        (vec!["analyse", store, "--ranges", "3"], "3"),
        (vec!["analyse", store, "--prior", "2"], "is no share of hosts"),
        (vec!["analyse", "/nowhere"], "/nowhere"),
        (vec!["sql", store, "SELECT 1; DROP TABLE conn"], "single SQL statement"),
        (vec!["sql", store, "SELECT nothing FROM conn"], "nothing"),
        (vec!["executor", "--scheduler", &alone], "there is no scheduler at 127.0.0.1"),
        (vec!["analyse", store, "--config", &strange], "behavour"),
        (vec!["analyse", store, "--config", &apart], "separate_segments is for"),
    ] {
        let (found, said, code) = program(&args, &here);
        assert!(
            found.is_empty() && said.contains(why) && code == Some(2),
            "{args:?}: {found}{said} {code:?}"
        );
    }
}
