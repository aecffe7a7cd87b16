//! What shippers put around a sensor's lines: a prefix of syslog's, or an envelope of Filebeat's and its like.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest that may stand before an object (*assumed*: RFC 5424's header takes at most 360 bytes, and structured data may follow it).
const LONGEST_PREFIX: usize = 1_024;

/// What stands around each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrap {
    /// Nothing.
    #[default]
    Nothing,
    /// Words before it: `<13>Nov  2 10:00:00 sensor suricata[1]: {…}` (RFC 3164 and 5424, rsyslog's files, `@cee:`).
    Prefix,
    /// An object that has it in one of its members.
    Envelope,
}

/// The members in which shippers put what they read: Filebeat's and Fluent Bit's `message` and `log` (the line as text), ECS's `event.original`,
/// Filebeat's `json` and its module's `suricata.eve` (decoded).
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    suricata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Original<'a> {
    #[serde(borrow)]
    original: &'a RawValue,
}

#[derive(Deserialize)]
struct Suricata<'a> {
    #[serde(borrow)]
    eve: &'a RawValue,
}

impl Wrap {
    /// The event of a line; none of an empty one.
    ///
    /// # Errors
    /// There is none in it; why.
    pub fn event(self, line: &[u8]) -> Result<Option<Cow<'_, [u8]>>, &'static str> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        match self {
            Self::Nothing => Ok(Some(Cow::Borrowed(line))),
            Self::Prefix => {
                behind_prefix(line).map(|l| Some(Cow::Borrowed(l))).ok_or("no object stands in it")
            }
            Self::Envelope => within(line).map(Some).ok_or("no event stands in it"),
        }
    }
}

/// What stands behind the words of a line, if that may be an object.
fn behind_prefix(line: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr(b'{', &line[..line.len().min(LONGEST_PREFIX)])?;
    let object = line[at..].trim_ascii_end();
    object.ends_with(b"}").then_some(object)
}

/// The event in an envelope: an object, or a line of text that is one.
fn within(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    let original = envelope.event.and_then(|e| serde_json::from_str::<Original<'_>>(e.get()).ok());
    let eve = envelope.suricata.and_then(|s| serde_json::from_str::<Suricata<'_>>(s.get()).ok());
    let decoded = [envelope.json, eve.map(|s| s.eve)].into_iter().flatten().map(RawValue::get);
    if let Some(object) = decoded.into_iter().find(|raw| raw.starts_with('{')) {
        return Some(Cow::Borrowed(object.as_bytes()));
    }
    let texts = [original.map(|e| e.original), envelope.message, envelope.log];
    texts.into_iter().flatten().find_map(|raw| event(raw.get()))
}

/// The event that a text is.
fn event<'a>(raw: &str) -> Option<Cow<'a, [u8]>> {
    let text: String = serde_json::from_str(raw).ok()?;
    let text = text.trim();
    // What was shipped may have come by syslog before.
    let object = if text.starts_with('{') { text.as_bytes() } else { behind_prefix(text.as_bytes())? };
    Some(Cow::Owned(object.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wrap: Wrap, line: &str) -> Result<Option<String>, &'static str> {
        Ok(wrap.event(line.as_bytes())?.map(|e| String::from_utf8_lossy(&e).into_owned()))
    }

    #[test]
    fn an_event_is_taken_out_of_what_shippers_put_around_it() {
        let eve = r#"{"event_type":"flow"}"#;
        let is = |wrap, line: &str| assert_eq!(of(wrap, line), Ok(Some(eve.to_owned())), "{line}");
        for prefix in [
            "<13>Nov  2 10:00:00 sensor suricata[123]: ",
            "<134>1 2026-11-02T10:00:00Z sensor suricata 123 - - ",
            "Nov  2 10:00:00 sensor suricata: @cee: ",
        ] {
            is(Wrap::Prefix, &format!("{prefix}{eve} "));
        }
        let text = serde_json::to_string(&format!("{eve}\n")).unwrap();
        for line in [
            format!(
                r#"{{"@timestamp":"2026-11-02T10:00:00Z","log":{{"offset":1}},"message":{text},"agent":{{"type":"filebeat"}}}}"#
            ),
            format!(r#"{{"event":{{"original":{text},"kind":"event"}},"message":"a sentence"}}"#),
            format!(r#"{{"log":{text},"stream":"stdout","time":"2026-11-02T10:00:00Z"}}"#),
            format!(r#"{{"@timestamp":"2026-11-02T10:00:00Z","json":{eve}}}"#),
            format!(r#"{{"suricata":{{"eve":{eve}}},"event":{{"kind":"event"}}}}"#),
            format!(
                r#"{{"message":{}}}"#,
                serde_json::to_string(&format!("<13>Nov  2 10:00:00 s x: {eve}")).unwrap()
            ),
        ] {
            is(Wrap::Envelope, &line);
        }
    }

    #[test]
    fn what_holds_no_event_says_so() {
        for (wrap, line) in [
            (Wrap::Prefix, "Nov  2 10:00:00 host sshd[1]: Accepted publickey for root"),
            (Wrap::Prefix, "Nov  2 10:00:00 host x[1]: {cut"),
            (Wrap::Envelope, r#"{"message":"Accepted publickey"}"#),
            (Wrap::Envelope, r#"{"message":7,"event":[],"log":{"offset":1}}"#),
            (Wrap::Envelope, "{"),
        ] {
            assert!(of(wrap, line).is_err(), "{line}");
        }
        assert_eq!(of(Wrap::Envelope, "  \n"), Ok(None));
        let far = format!("{}{{}}", "x".repeat(LONGEST_PREFIX));
        assert!(of(Wrap::Prefix, &far).is_err());
    }
}
