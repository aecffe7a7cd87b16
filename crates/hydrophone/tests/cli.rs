//! The command line as a user meets it: exit codes, wrong flags, garbage, pipes.

mod common;

use std::io::Write;

use common::{host, hydrophone, read_json, run, sample};

fn code(args: &[&str]) -> (i32, String, String) {
    let out = hydrophone().args(args).output().expect("it runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code().expect("an exit code"), text(&out.stdout), text(&out.stderr))
}

fn path(name: &str) -> String {
    sample(name).to_str().expect("UTF-8").to_owned()
}

#[test]
fn exit_codes_say_what_happened() {
    let bot = path("kraken-new.pcapng");
    let clean = path("clean-newsreader.pcapng");
    assert_eq!(code(&["read", &bot]).0, 0);
    assert_eq!(code(&["read", &bot, "--fail-on", "likely"]).0, 1);
    assert_eq!(code(&["--version"]).0, 0);
    assert_eq!(code(&["read", &clean, "--fail-on", "suspicious"]).0, 0);
    assert_eq!(code(&["read"]).0, 2);
    assert_eq!(code(&["read", &bot, "--bogus"]).0, 2);
    assert_eq!(code(&["read", &bot, "--threads", "0"]).0, 2);
    assert_eq!(code(&["read", &bot, "--memory", "1MiB"]).0, 2);
    assert_eq!(code(&["read", &bot, "--memory", "lots"]).0, 2);
    assert_eq!(code(&["read", &bot, "--home", "300.1.2.3/8"]).0, 2);
    assert_eq!(code(&["read", "/nonexistent.pcap"]).0, 3);
    assert_eq!(code(&["behaviours", "nothing_like_it"]).0, 2);
}

#[test]
fn arguments_come_in_any_order() {
    let bot = path("kraken-blocked.pcapng");
    let a = code(&["read", "--json", &bot, "--threads", "1"]);
    let b = code(&["read", &bot, "--threads", "1", "--json"]);
    assert_eq!(a, b);
}

#[test]
fn a_truncated_capture_gives_what_it_holds_and_says_so() {
    let whole = std::fs::read(sample("kraken-new.pcapng")).expect("a sample");
    let dir = tempfile::tempdir().expect("a folder");
    let cut = dir.path().join("cut.pcapng");
    std::fs::write(&cut, &whole[..=whole.len() / 2]).expect("written");
    let (exit, out, err) = code(&["read", cut.to_str().expect("UTF-8")]);
    assert_eq!(exit, 3);
    assert!(out.contains("PARTIAL") && out.contains("INFECTED"), "{out}");
    assert!(err.contains("cut.pcapng") && err.contains("offset"), "{err}");
}

#[test]
fn garbage_is_refused_with_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, bytes) in [
        ("empty.pcap", &b""[..]),
        ("text.pcap", b"hello, I am no capture at all"),
        ("short.pcap", b"\xd4\xc3\xb2\xa1\x02"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        let (exit, _, err) = code(&["read", file.to_str().expect("UTF-8")]);
        assert_eq!(exit, 3, "{name}");
        assert!(err.contains(name), "{err}");
    }
}

#[test]
fn every_cut_and_flipped_sample_is_survived() {
    let whole = std::fs::read(sample("kraken-blocked.pcapng")).expect("a sample");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.pcapng");
    for i in 0..60usize {
        let mut bytes = whole.clone();
        if i % 2 == 0 {
            bytes.truncate(i * whole.len() / 60 + i % 7);
        } else {
            for at in (i..bytes.len()).step_by(97) {
                bytes[at] ^= 0xff;
            }
        }
        std::fs::write(&file, &bytes).expect("written");
        let (exit, _, err) = code(&["read", file.to_str().expect("UTF-8"), "--memory", "64MiB"]);
        assert!([0, 3].contains(&exit) && !err.contains("panicked"), "{i}: {exit} {err}");
    }
}

#[test]
fn standard_input_compressed_inputs_and_folders_say_the_same() {
    let plain = std::fs::read(sample("kraken-blocked.pcapng")).expect("a sample");
    let hosts = |out: &str| {
        out.lines().filter(|l| l.contains("\"type\":\"host\"")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (_, direct, _) = code(&["read", "--json", &path("kraken-blocked.pcapng")]);
    let piped =
        hydrophone().args(["read", "--json", "-"]).write_stdin(plain.clone()).output().expect("it runs");
    assert_eq!(hosts(&String::from_utf8_lossy(&piped.stdout)), hosts(&direct));
    let dir = tempfile::tempdir().expect("a folder");
    let inner = dir.path().join("a/b");
    std::fs::create_dir_all(&inner).expect("folders");
    std::fs::write(inner.join("x.pcapng.zst"), zstd::stream::encode_all(&plain[..], 1).expect("zstd"))
        .expect("written");
    std::fs::write(inner.join("README"), "not a capture").expect("written");
    let (exit, folder, _) = code(&["read", "--json", dir.path().to_str().expect("UTF-8")]);
    assert_eq!((exit, hosts(&folder)), (0, hosts(&direct)));
    assert!(folder.contains("passed over"));
}

#[test]
fn a_case_is_kept_explained_and_replaced_but_nothing_else_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = dir.path().join("case");
    let case = case.to_str().expect("UTF-8");
    for name in ["kraken-blocked.pcapng", "kraken-new.pcapng"] {
        assert_eq!(code(&["read", &path(name), "-o", case]).0, 0);
    }
    let hashes = std::fs::read_to_string(format!("{case}/inputs.sha256")).expect("hashes");
    assert!(hashes.contains("kraken-new.pcapng") && hashes.len() > 64);
    let (exit, out, _) = code(&["explain", case, testkit::BOT]);
    assert_eq!(exit, 0);
    for part in [
        "The bets against",
        "level +",
        "What would change it",
        "Why not more",
        "What could not be seen",
        "P0 =",
    ] {
        assert!(out.contains(part), "{part}");
    }
    let (exit, out, _) = code(&["explain", case, "10.20.0.2"]);
    assert!(exit == 0 && out.contains("nothing fired"));
    let (exit, _, err) = code(&["explain", case, "9.9.9.9"]);
    assert!(exit == 2 && err.contains(testkit::BOT), "{err}");
    let other = dir.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    std::fs::write(other.join("precious"), "x").expect("written");
    let (exit, _, err) = code(&["read", &path("kraken-new.pcapng"), "-o", other.to_str().expect("UTF-8")]);
    assert!(exit == 2 && err.contains("not empty"), "{err}");
    assert!(other.join("precious").exists());
    assert_eq!(code(&["explain", "/nonexistent", "10.0.0.1"]).0, 3);
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let (exit, shown, _) = code(&["read", "--print-config"]);
    assert_eq!(exit, 0);
    // Each entry of the first part, and each behaviour, says what it means.
    let lines: Vec<&str> = shown.lines().collect();
    let first = lines.iter().position(|l| l.is_empty()).expect("a first part");
    let bare = |at: usize| !lines[at].starts_with('#') && (at == 0 || !lines[at - 1].starts_with("# "));
    assert!((0..first).all(|at| !bare(at)), "{shown}");
    assert_eq!(shown.matches("# The budget of").count(), 1, "a behaviour's memory is another");
    let tables =
        lines.iter().enumerate().filter(|(_, l)| l.starts_with("[behaviour.") && !l[11..].contains('.'));
    let bare: Vec<&str> = tables.filter(|(at, _)| bare(*at)).map(|(_, l)| *l).collect();
    assert!(bare.is_empty(), "{bare:?}");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("hydrophone.toml");
    std::fs::write(&file, &shown).expect("written");
    let name = file.to_str().expect("UTF-8");
    assert_eq!(code(&["read", "--print-config", "-c", name]).1, shown, "what is shown is read back");
    std::fs::write(&file, "[behaviour.smtp_probe]\nwindow = \"20m\"\n").expect("written");
    assert!(code(&["read", "--print-config", "-c", name]).1.contains("20m"));
    std::fs::write(&file, "[behaviour.smtp_probe]\nwimdow = \"20m\"\n").expect("written");
    let (exit, _, err) = code(&["read", "--print-config", "-c", name]);
    assert!(exit == 2 && err.contains("wimdow"), "{err}");
}

#[test]
fn manuals_and_completions_are_printed() {
    let (_, list, _) = code(&["behaviours"]);
    assert_eq!(list.lines().count(), behaviour::CATALOGUE.len());
    let (exit, page, _) = code(&["behaviours", "same_remote_chain"]);
    assert!(exit == 0 && page.contains("## How it decides") && page.contains("P0 ="));
    assert!(code(&["completions", "bash"]).1.contains("_hydrophone"));
    assert!(code(&["man"]).1.contains(".TH"));
    let dir = tempfile::tempdir().expect("a folder");
    let pages = dir.path().join("man1");
    assert_eq!(code(&["man", "--to", pages.to_str().expect("UTF-8")]).0, 0);
    for page in ["hydrophone", "hydrophone-read", "hydrophone-store-prune"] {
        let text = std::fs::read_to_string(pages.join(format!("{page}.1"))).expect("a page");
        assert!(text.contains(".TH") && text.contains("SYNOPSIS"), "{page}");
    }
    let version = code(&["--version"]).1;
    assert!(version.starts_with(concat!("hydrophone ", env!("CARGO_PKG_VERSION"))), "{version}");
}

#[test]
fn selftest_passes() {
    let (exit, out, _) = code(&["selftest"]);
    assert_eq!(exit, 0, "{out}");
    assert!(out.ends_with("11 passed, 0 failed\n"), "{out}");
}

#[test]
fn a_broken_pipe_is_success() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
        .args(["read", "--json", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let bytes = std::fs::read(sample("kraken-blocked.pcapng")).expect("a sample");
    let _ = child.stdin.take().expect("a pipe").write_all(&bytes);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn hostile_text_does_not_reach_the_terminal() {
    use testkit::protocols::{Answer, dns};
    // A name with an escape sequence, asked often enough to be told of.
    let mut s = testkit::Script::new(1_207_645_200, 9);
    for i in 0..12 {
        dns(
            &mut s,
            60.0 * f64::from(i),
            "10.20.0.9",
            &format!("d{i}\u{1b}[31m.example"),
            Answer::Exchanger("mx.example"),
        );
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.pcapng");
    std::fs::write(&file, s.pcapng()).expect("written");
    let case = dir.path().join("case");
    let case = case.to_str().expect("UTF-8");
    let (_, out, _) = code(&["read", file.to_str().expect("UTF-8"), "--color", "never", "-o", case]);
    assert!(!out.contains('\u{1b}'));
    let (_, out, _) = code(&["explain", case, "10.20.0.9"]);
    assert!(out.contains("asked for mail exchangers"), "{out}");
    assert!(!out.contains('\u{1b}'));
}

#[test]
fn who_takes_a_case_for_something_else_is_told_what_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = dir.path().join("case");
    let (input, case) = (sample("kraken-blocked.pcapng"), case.to_str().expect("UTF-8"));
    let (code, ..) = run(&["read", "-q", input.to_str().expect("UTF-8"), "-o", case]);
    assert_eq!(code, Some(0));
    for (args, says) in
        [(["read", case].as_slice(), "explain"), (&["find", case, "192.0.2.1"], "--store STORE")]
    {
        let (code, out, err) = run(args);
        assert!(
            code == Some(2) && out.is_empty() && err.contains("is a case") && err.contains(says),
            "{err}"
        );
    }
}

#[test]
fn a_folder_without_captures_and_a_broken_one_in_it_are_no_success() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("README"), "no capture").expect("written");
    let read = || {
        let out = hydrophone().args(["read", "-q"]).arg(dir.path()).output().expect("it runs");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, err) = read();
    assert!(code == Some(3) && err.contains("no capture and no log in it"), "{err}");
    std::fs::copy(sample("kraken-blocked.pcapng"), dir.path().join("a.pcapng")).expect("copied");
    assert_eq!(read().0, Some(0), "what is called otherwise is passed over");
    std::fs::write(dir.path().join("b.pcap.gz"), "no capture either").expect("written");
    let (code, err) = read();
    assert!(code == Some(3) && err.contains("b.pcap.gz"), "{err}");
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_case_or_the_new_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = dir.path().join("case");
    let old = path("kraken-blocked.pcapng");
    let new = path("office-day.pcapng.zst");
    assert_eq!(code(&["read", &old, "-o", case.to_str().expect("UTF-8")]).0, 0);
    for i in 0..40u64 {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
            .args(["read", "--quiet", if i % 2 == 0 { &new } else { &old }, "-o"])
            .arg(&case)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        std::thread::sleep(std::time::Duration::from_millis(i * 7 % 180));
        let _ = child.kill();
        let _ = child.wait();
        let (exit, out, err) = code(&["explain", case.to_str().expect("UTF-8"), testkit::BOT]);
        assert_eq!(exit, 0, "round {i}: {err}");
        assert!(out.contains("level +"), "round {i}");
    }
}

#[test]
fn a_signal_ends_a_read_with_what_is_known() {
    let bytes = std::fs::read(sample("kraken-new.pcapng")).expect("a sample");
    for signal in ["INT", "TERM"] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
            .args(["read", "-", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        // The pipe stays open: only the signal can end it.
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(&bytes).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let id = child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &id]).status().expect("kill runs");
        assert!(sent.success());
        let out = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(3), "{signal}: {text}");
        assert!(text.contains("PARTIAL") && text.contains("INFECTED"), "{signal}: {text}");
        drop(pipe);
    }
}

#[test]
fn a_decompression_bomb_is_stopped_and_named() {
    // A pcapng section and a block that nobody knows: a gibibyte of nothing.
    let block: u32 = 1 << 30;
    let mut head = vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    head.extend([0xff; 8]);
    head.extend([28, 0, 0, 0]);
    head.extend(0x0bad_cafe_u32.to_le_bytes());
    head.extend(block.to_le_bytes());
    let nothing = std::io::Read::take(std::io::repeat(0), u64::from(block));
    let packed = zstd::stream::encode_all(std::io::Read::chain(&head[..], nothing), 1).expect("packed");
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("bomb.pcapng.zst");
    std::fs::write(&file, packed).expect("written");
    let (exit, _, err) = code(&["read", file.to_str().expect("UTF-8"), "--memory", "64MiB"]);
    assert_eq!(exit, 3, "{err}");
    assert!(err.contains("bomb.pcapng.zst") && err.contains("bomb"), "{err}");
}

#[test]
fn a_capture_where_a_command_stands_is_said_how_to_read() {
    let path = sample("kraken-blocked.pcapng");
    let path = path.to_str().expect("UTF-8");
    for args in [&[path][..], &["-r", path]] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(&format!("write: hydrophone read {path}")), "{err}");
    }
    // A folder that is called like a command is not what was meant.
    let place = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(place.path().join("store")).expect("made");
    let out = hydrophone().args(["store"]).current_dir(place.path()).output().expect("it runs");
    assert!(!String::from_utf8_lossy(&out.stderr).contains("to read store"), "{out:?}");
    let (code, _, err) = run(&["no-such-file.pcap"]);
    assert!(code == Some(2) && err.contains("unrecognized subcommand"), "{err}");
}

#[test]
fn a_capture_is_explained_and_cut_without_a_case_and_a_host_by_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let day = sample("office-day.pcapng.zst");
    let day = day.to_str().expect("UTF-8");
    let (code, out, err) = run(&["explain", day, "pc-03"]);
    assert!(code == Some(0) && out.starts_with("10.20.0.13  INFECTED"), "{out}{err}");
    assert!(out.contains("starting from 1 host in 1,000 (-30.0 dB): over 99.9 % probable"), "{out}");
    let (code, out, err) = run(&["explain", day, "pc-03", "--", "--prior", "1/10"]);
    assert!(code == Some(0) && out.contains("starting from 1 host in 10"), "{out}{err}");
    let (code, _, err) = run(&["explain", day, "pc-99"]);
    assert!(
        code == Some(2) && err.contains("nobody in this case is called \"pc-99\": it knows pc-"),
        "{err}"
    );
    let slice = dir.path().join("slice.pcapng");
    let slice = slice.to_str().expect("UTF-8");
    let (code, _, err) = run(&["carve", day, "PC-03", "-w", slice]);
    assert_eq!(code, Some(0), "{err}");
    let lines = read_json(&[slice]);
    assert_eq!(host(&lines, testkit::BOT)["verdict"], "infected");
    let readme = dir.path().join("README");
    std::fs::write(&readme, "no capture\n").expect("written");
    let (code, out, err) = run(&["explain", readme.to_str().expect("UTF-8"), "10.0.0.1"]);
    assert!(code == Some(3) && out.is_empty() && err.lines().count() == 1, "{out}{err}");
    let (code, _, err) = run(&["explain", "no-such-case", "10.0.0.1"]);
    assert!(code == Some(3) && err.contains("no-such-case"), "{err}");
}

#[test]
fn the_words_move_with_what_one_believed_before() {
    let mail = sample("clean-mail-server.pcapng");
    let mail = mail.to_str().expect("UTF-8");
    let verdict = |args: &[&str]| host(&read_json(args), "10.20.0.25")["verdict"].clone();
    assert_eq!(verdict(&[mail]), "quiet");
    assert_eq!(verdict(&[mail, "--prior", "1/10"]), "suspicious");
    let (_, out, _) = run(&["read", mail, "--prior", "10%", "--color", "never"]);
    assert!(
        out.contains("10.20.0.25 is suspicious") && out.contains("starting from 1 host in 10 (--prior)"),
        "{out}"
    );
    let capture = &read_json(&[mail, "--prior", "1/10"])[0];
    assert_eq!(capture["prior_db"], -9.5);
    let (code, _, err) = run(&["read", mail, "--prior", "often"]);
    assert!(code == Some(2) && err.contains("is no share of hosts: write 1/1000"), "{err}");
    // What was remembered under another prior is not gone on from.
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    let state = state.to_str().expect("UTF-8");
    run(&["read", mail, "--state", state, "--quiet", "--prior", "1/10"]);
    let other = sample("kraken-blocked.pcapng");
    let (code, _, err) = run(&["read", other.to_str().expect("UTF-8"), "--state", state, "--quiet"]);
    assert!(
        code == Some(3) && err.contains("under a prior of 1 host in 10: say --prior 1/10"),
        "{code:?} {err}"
    );
}

#[test]
fn lines_fit_the_terminal_and_cut_no_number() {
    // A terminal of its own; what is said does not depend on its width.
    for name in ["kraken-new.pcapng", "office-day.pcapng.zst", "clean-browser-news.pcapng"] {
        let path = sample(name);
        let at = |columns: usize| {
            let program = assert_cmd::cargo::cargo_bin!("hydrophone");
            let line = format!(
                "stty cols {columns} rows 50; {} read {} --color never --quiet",
                program.display(),
                path.display()
            );
            let out = std::process::Command::new("script")
                .args(["-qec", &line, "/dev/null"])
                .output()
                .expect("it runs");
            String::from_utf8(out.stdout).expect("UTF-8").replace('\r', "")
        };
        // Swimlanes belong to a width.
        let said = |text: &str| {
            let lane = |l: &&str| {
                l.contains("··")
                    || l.contains("──")
                    || l.trim_end().ends_with('Z') && l.trim().matches('Z').count() == 2
            };
            let words = text.lines().filter(|l| !lane(l)).flat_map(str::split_whitespace);
            words.map(str::to_owned).collect::<Vec<String>>()
        };
        let wide = at(400);
        for columns in [60, 80, 120] {
            let text = at(columns);
            let longest = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
            assert!(longest <= columns, "{name} {columns}: {longest}\n{text}");
            assert!(longest > columns / 2, "{name} {columns}: {text}");
            // The path of the capture alone may be longer than a line.
            let (wide, narrow) = (said(&wide), said(&text));
            let lost: Vec<&String> =
                wide.iter().filter(|w| !narrow.contains(w) && !w.contains('/')).collect();
            assert!(lost.is_empty(), "{name} {columns}: {lost:?}\n{text}");
        }
    }
}

#[test]
fn what_people_read_holds_nothing_that_becomes_a_link() {
    let leads = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let host = bare.split([':', '/']).next().unwrap_or_default();
        let is_public =
            |ip: std::net::Ipv4Addr| !ip.is_private() && !ip.is_multicast() && !ip.is_unspecified();
        let named = [".com", ".net", ".org", ".info", ".biz"].iter().any(|end| host.ends_with(end));
        named || host.parse().is_ok_and(is_public) || (bare.contains("://") && !bare.starts_with("hxxp"))
    };
    assert!(leads("198.18.52.11:80,") && leads("(mx.google.com)") && leads("http://a"));
    assert!(!leads("10.0.0.1") && !leads("mx.google[.]com;") && !leads("hxxp://a[.]example/x.php"));
    let samples = std::fs::read_dir(sample("")).expect("samples").flatten().map(|e| e.path());
    for path in samples.filter(|p| p.to_string_lossy().contains(".pcapng")) {
        let path = path.to_str().expect("UTF-8");
        for args in [&["read", path, "-a", "--color", "never"][..], &["read", path, "--markdown"]] {
            let (_, out, _) = run(args);
            let links: Vec<&str> = out.split_whitespace().filter(|w| leads(w)).collect();
            assert!(links.is_empty(), "{args:?}: {links:?}");
        }
    }
}

#[test]
fn a_ticket_says_of_what_and_by_what() {
    let path = sample("kraken-blocked.pcapng");
    let (_, out, _) = run(&["read", path.to_str().expect("UTF-8"), "--markdown"]);
    let dir = tempfile::tempdir().expect("a folder");
    let case = dir.path().join("case");
    let lines = read_json(&[path.to_str().expect("UTF-8"), "-o", case.to_str().expect("UTF-8")]);
    let sum = lines[0]["inputs"][0]["sha256"].as_str().expect("a case has it");
    assert!(out.contains(&format!("- kraken-blocked.pcapng, SHA-256 {sum}")), "{out}");
    assert!(out.contains("Captured 2008-04-08T") && out.contains(env!("CARGO_PKG_VERSION")), "{out}");
}

#[test]
fn what_bears_on_an_answer_is_said_however_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let whole = sample("kraken-new.pcapng");
    let (case, part, state, expect) = (at("case"), at("part.pcapng"), at("state"), at("expect.toml"));
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&part, &bytes[..400_000]).unwrap();
    let whole = whole.to_str().unwrap();
    assert_eq!(run(&["read", "-q", whole, "-o", &case]).0, Some(0));

    // Nothing that must be told is swallowed where verdicts are compared.
    let typo = "[[expect]]\nname = \"lab\"\nwho = [\"10.20.0.31\"]\nbehaviours = []\nwhy = \"x\"\nowner = \"x\"\nuntil = \"2099-01-01\"\n";
    std::fs::write(&expect, typo).unwrap();
    let (code, out, err) = run(&["read", "-q", whole, "--against", &case, "--expect", &expect]);
    assert!(code == Some(0) && out.contains("0 of 2 verdicts differ"), "{out}{err}");
    assert!(err.contains("nothing fulfilled the expectation 'lab'"), "{err}");

    // A capture that ended early stays one, whatever is read after it.
    let next = sample("clean-browser-news.pcapng");
    let first = read_json(&[&part, "--state", &state]);
    let second = read_json(&[next.to_str().unwrap(), "--state", &state]);
    for lines in [&first, &second] {
        assert_eq!(lines[0]["complete"], false);
        assert_eq!(host(lines, "10.20.0.2")["verdict"], "inconclusive");
    }
    let packets = |lines: &[serde_json::Value]| lines[0]["packets"].as_u64().unwrap();
    assert!(packets(&second) > packets(&first));

    // What lacks is said of who lacks it.
    let cut = at("cut");
    assert_eq!(run(&["read", "-q", &part, "-o", &cut]).0, Some(3));
    let (_, out, _) = run(&["diff", &case, &cut]);
    assert!(
        out.starts_with(&format!("! {cut} is PARTIAL (")) && out.contains("ends at offset 400000"),
        "{out}"
    );

    // Whoever reads no further hears by the exit code what was found.
    for (args, code) in [(&["--fail-on", "infected", whole][..], 1), (&[part.as_str()], 3), (&[whole], 0)] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hydrophone"))
            .args(["read", "-q"])
            .args(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}");
    }
    let (_, few, _) = run(&["read", "-q", whole, "--markdown"]);
    let (_, all, _) = run(&["read", "-q", whole, "--markdown", "--all"]);
    assert!(few.contains("Other hosts: 1 quiet.") && !few.contains("| 10.20.0.2 | quiet"), "{few}");
    assert!(all.contains("| 10.20.0.2 | quiet"), "{all}");
}
