//! Logs as long as months of them: what reading them costs.

use std::io::Write;
use std::net::Ipv4Addr;

use oorandom::Rand32;

/// Local hosts that the flows are of.
const HOSTS: u32 = 100_000;
/// Seconds that they are spread over: thirty days.
const SPAN: f64 = 30.0 * 86_400.0;
/// 2026-01-01.
const START: f64 = 1_767_225_600.0;

/// The forms in which flows can be written.
pub const FORMS: [&str; 3] = ["zeek", "zeek-json", "eve"];

struct Flow {
    ts: f64,
    took: f64,
    host: Ipv4Addr,
    port: u16,
    remote: Ipv4Addr,
    service: (&'static str, &'static str, u16),
    bytes: [u32; 2],
    answered: bool,
}

fn flow(i: u64, of: u64, rng: &mut Rand32) -> Flow {
    const SERVICES: [(&str, &str, u16); 5] = [
        ("tcp", "ssl", 443),
        ("udp", "dns", 53),
        ("tcp", "http", 80),
        ("tcp", "ssl", 443),
        ("udp", "quic", 443),
    ];
    let service = SERVICES[rng.rand_range(0..5) as usize];
    // A host returns to few remotes, and some of these are everybody's.
    let host = rng.rand_range(0..HOSTS);
    let remote = host.wrapping_mul(2_654_435_761).wrapping_add(rng.rand_range(0..8)) % 50_000;
    Flow {
        ts: START + SPAN * i as f64 / of.max(1) as f64,
        took: f64::from(rng.rand_float()) * 20.0,
        host: Ipv4Addr::from(0x0a00_0001 + host),
        port: 1024 + rng.rand_range(0..60_000) as u16,
        remote: Ipv4Addr::from(0xc612_0000 + remote),
        service,
        bytes: [rng.rand_range(40..4_000), rng.rand_range(40..200_000)],
        answered: rng.rand_range(0..50) > 0,
    }
}

/// Writes so many flows.
///
/// # Errors
/// The form is unknown, or `out` takes no more.
pub fn write(form: &str, rows: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    anyhow::ensure!(FORMS.contains(&form), "{form:?} is none of {}", FORMS.join(", "));
    let mut rng = Rand32::new(7);
    if form == "zeek" {
        writeln!(
            out,
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents"
        )?;
    }
    for i in 0..rows {
        let f = flow(i, rows, &mut rng);
        let (proto, service, port) = f.service;
        let [sent, got] = f.bytes;
        let packets = [sent / 700 + 3, if f.answered { got / 1200 + 2 } else { 0 }];
        let (state, history) = match (proto, f.answered) {
            ("tcp", true) => ("SF", "ShADadFf"),
            ("tcp", false) => ("S0", "S"),
            (_, true) => ("SF", "Dd"),
            _ => ("S0", "D"),
        };
        match form {
            "zeek" => writeln!(
                out,
                "{:.6}\tC{i:x}\t{}\t{}\t{}\t{port}\t{proto}\t{service}\t{:.6}\t{sent}\t{got}\t{state}\tT\tF\t0\t{history}\t{}\t{}\t{}\t{}\t-",
                f.ts,
                f.host,
                f.port,
                f.remote,
                f.took,
                packets[0],
                sent + 40 * packets[0],
                packets[1],
                got + 40 * packets[1]
            )?,
            "zeek-json" => writeln!(
                out,
                r#"{{"ts":{:.6},"uid":"C{i:x}","id.orig_h":"{}","id.orig_p":{},"id.resp_h":"{}","id.resp_p":{port},"proto":"{proto}","service":"{service}","duration":{:.6},"orig_bytes":{sent},"resp_bytes":{got},"conn_state":"{state}","local_orig":true,"local_resp":false,"missed_bytes":0,"history":"{history}","orig_pkts":{},"orig_ip_bytes":{},"resp_pkts":{},"resp_ip_bytes":{}}}"#,
                f.ts,
                f.host,
                f.port,
                f.remote,
                f.took,
                packets[0],
                sent + 40 * packets[0],
                packets[1],
                got + 40 * packets[1]
            )?,
            _ => {
                let at = |secs: f64| record::Timestamp((secs * 1e9) as i64).to_string().replace('Z', "+0000");
                let app = if service == "ssl" { "tls" } else { service };
                let tcp = if proto == "tcp" {
                    format!(
                        r#","tcp":{{"tcp_flags":"1b","syn":true,"fin":{0},"ack":{0},"state":"{1}"}}"#,
                        f.answered,
                        if f.answered { "closed" } else { "syn_sent" }
                    )
                } else {
                    String::new()
                };
                writeln!(
                    out,
                    r#"{{"timestamp":"{}","flow_id":{i},"event_type":"flow","src_ip":"{}","src_port":{},"dest_ip":"{}","dest_port":{port},"proto":"{}","app_proto":"{app}","flow":{{"pkts_toserver":{},"pkts_toclient":{},"bytes_toserver":{},"bytes_toclient":{},"start":"{}","end":"{}","age":1,"state":"closed","reason":"timeout","alerted":false}}{tcp}}}"#,
                    at(f.ts + f.took + 30.0),
                    f.host,
                    f.port,
                    f.remote,
                    proto.to_ascii_uppercase(),
                    packets[0],
                    packets[1],
                    sent + 54 * packets[0],
                    got + 54 * packets[1],
                    at(f.ts),
                    at(f.ts + f.took)
                )?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
