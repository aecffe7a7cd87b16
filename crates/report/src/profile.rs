//! What a host is and does every day, in words: the same for pages and for the terminal.

use record::{clean, defang, defang_text, human_bytes, human_count, shortened};
use verdict::{FileSeen, HostStory, Place, Profile, RemoteSeen, ServiceSeen, Word};

/// Words of a kind that are shown.
const SHOWN: usize = 6;
/// Clients of a service that are counted.
const COUNTED: u32 = 16;
/// Characters of one.
const LONGEST: usize = 120;

/// The rest of what is known of it, by a word for each kind. What is not known is left out.
pub fn facts(s: &HostStory) -> Vec<(&'static str, Vec<String>)> {
    let p = &s.profile;
    let systems = p
        .systems
        .iter()
        .map(|sys| format!("{}, by {} ({})", defang_text(&sys.name), sys.by, times(sys.times)));
    let names = s.names.host_names.iter().map(|n| clean(n));
    let names =
        names.chain(p.workstations.iter().map(|w| format!("{} when it logs on", defang_text(&w.value))));
    let all = [
        ("system", systems.collect()),
        ("names", names.collect()),
        ("users", words(&p.users)),
        ("Ethernet", s.names.macs.clone()),
        ("programs", words(&p.agents)),
        ("TLS fingerprints (JA4)", words(&p.ja4)),
        ("uses", p.uses.iter().map(used).collect()),
        ("offers", p.offers.iter().map(offered).collect()),
    ];
    all.into_iter().filter(|(_, values): &(_, Vec<String>)| !values.is_empty()).map(cut).collect()
}

fn cut((what, mut values): (&'static str, Vec<String>)) -> (&'static str, Vec<String>) {
    if values.len() > SHOWN {
        values.truncate(SHOWN);
        values.push("and more".to_owned());
    }
    (what, values)
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{} times", human_count(n)) }
}

fn words(all: &[Word]) -> Vec<String> {
    let word = |w: &Word| format!("{} ({})", shortened(&defang_text(&w.value), LONGEST), times(w.times));
    all.iter().map(word).collect()
}

fn flows(n: u64) -> String {
    format!("{} {}", human_count(n), if n == 1 { "flow" } else { "flows" })
}

/// `dns (udp): 12 flows, 1.2 kB out, 4 kB back`.
fn used(u: &ServiceSeen) -> String {
    format!("{} ({}): {}, {}", named(&u.service), u.transport, flows(u.flows), moved(u.bytes))
}

fn offered(o: &ServiceSeen) -> String {
    let clients = o.clients.unwrap_or(0);
    let to = match clients {
        1 => "1 client".to_owned(),
        n if n >= COUNTED => format!("at least {n} clients"),
        n => format!("{n} clients"),
    };
    format!("{} on {}/{} to {to}: {}", named(&o.service), o.transport, o.port.unwrap_or(0), flows(o.flows))
}

/// What a service is called where people read: Zeek's word, but for those that are none.
pub fn named(service: &str) -> &str {
    match service {
        "unknown" => "connections without data",
        "opaque" => "something opaque",
        "unrecognised" => "something not recognised",
        known => known,
    }
}

/// Bytes each way.
fn moved([out, back]: [u64; 2]) -> String {
    format!("{} out, {} back", human_bytes(out), human_bytes(back))
}

/// A remote with its name, and where it is if that is known.
pub fn remote(s: &HostStory, r: &RemoteSeen) -> String {
    let name = r.name.as_deref().map(|n| format!(" ({})", defang(n))).unwrap_or_default();
    let place = s.places.get(&r.address).map(|p| format!(", {}", place(p))).unwrap_or_default();
    format!("{}{name}{place}", defang(&r.address.to_string()))
}

/// `AS64500 Example Net, NL`.
pub fn place(p: &Place) -> String {
    let network = match (p.asn, &p.organisation) {
        (Some(n), Some(name)) => Some(format!("AS{n} {}", defang_text(name))),
        (Some(n), None) => Some(format!("AS{n}")),
        (None, Some(name)) => Some(defang_text(name)),
        (None, None) => None,
    };
    network.into_iter().chain(p.country.as_deref().map(defang_text)).collect::<Vec<_>>().join(", ")
}

/// The system in a word, if the host itself says which.
pub fn system(p: &Profile) -> Option<String> {
    p.system().filter(|s| s.is_said).map(|s| defang_text(&s.name))
}

/// The same, with what passed between them.
pub fn talk(s: &HostStory, r: &RemoteSeen) -> String {
    format!("{}: {}, {}", remote(s, r), flows(r.flows), moved(r.bytes))
}

/// With whom a file was exchanged.
pub fn file_remote(f: &FileSeen) -> String {
    f.remote.map_or_else(|| "somebody behind a proxy".to_owned(), |ip| defang(&ip.to_string()))
}

/// What a file is, in words.
pub fn kind(f: &FileSeen) -> &str {
    match f.kind.as_str() {
        "none" => "something not recognised",
        "pe" => "Windows program (PE)",
        "elf" => "Linux program (ELF)",
        "mach-o" => "macOS program (Mach-O)",
        "zip" => "zip archive (or Office, Java, Android)",
        "gzip" => "gzip archive",
        "rar" => "RAR archive",
        "7z" => "7-Zip archive",
        "cab" => "Windows cabinet",
        "ole" => "Office document or installer (OLE)",
        "pdf" => "PDF document",
        "script" => "script (#!)",
        "windows-script" => "script for Windows",
        "sealed-pe" => "Windows program under a key",
        "java-class" => "Java class",
        "flash" => "Flash",
        "rtf" => "RTF document",
        "lnk" => "Windows shortcut (LNK)",
        "packed" => "archive of Unix (xz, bzip2, Zstandard, lzip)",
        "package" => "package (Debian, RPM)",
        "firmware" => "firmware of a device",
        known => known,
    }
}

/// `received pe "setup.exe" (120 kB) from 198[.]51.100.7 by http, SHA-256 …`.
pub fn file(f: &FileSeen) -> String {
    let (way, with) = if f.sent { ("sent", "to") } else { ("received", "from") };
    let name = f
        .name
        .as_deref()
        .map(|n| format!(" \"{}\"", shortened(&defang_text(n), LONGEST)))
        .unwrap_or_default();
    let by =
        if f.carrier == "unknown" { "alone on a connection".to_owned() } else { format!("by {}", f.carrier) };
    let sum = f.sha256.as_ref().map(|s| format!(", SHA-256 {s}")).unwrap_or_default();
    let part = if f.whole { "" } else { ", not all of which was seen" };
    let often = if f.times > 1 { format!(", {}", times(f.times)) } else { String::new() };
    format!(
        "{way} {}{name} ({}{part}) {with} {} {by}{often}{sum}",
        kind(f),
        human_bytes(f.len),
        file_remote(f)
    )
}
