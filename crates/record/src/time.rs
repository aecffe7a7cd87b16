use std::fmt;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment of packet time: nanoseconds since 1970-01-01T00:00:00Z. It may be negative; captures lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The earliest moment that can be written.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment that can be written.
    pub const MAX: Self = Self(i64::MAX);

    /// Makes a moment from whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Returns the time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0).cast_unsigned())
    }

    /// Returns when the calendar's day of this moment began, in UTC.
    pub fn day(self) -> Self {
        Self(self.0.saturating_sub(self.split_days().1))
    }

    /// Returns the moment `after` this one, held at the end of time instead of wrapping.
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Returns the moment `before` this one, held at the beginning of time instead of wrapping.
    pub fn minus(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(before.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Seconds since the epoch, with fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Reads what [`fmt::Display`] writes, also without a fraction of the second.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let mut parts = date.rsplitn(3, '-');
        let (day, month): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let year: i64 = parts.next()?.parse().ok()?;
        let is_leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
        let longest = match month {
            2 => 28 + i64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let within =
            (-9999..=9999).contains(&year) && (1..=12).contains(&month) && (1..=longest).contains(&day);
        if !within {
            return None;
        }
        let y = year - i64::from(month <= 2);
        let era = y.div_euclid(400);
        let yoe = y.rem_euclid(400);
        let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let number = |text: &str| -> Option<i64> {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
        };
        let (mut secs, mut parts) = (0i64, 0);
        for (part, below) in clock.split(':').zip([24, 60, 61]) {
            secs = secs * 60 + number(part).filter(|n| *n < below)?;
            parts += 1;
        }
        if parts < 3 || clock.matches(':').count() > 2 || fraction.len() > 9 {
            return None;
        }
        let scale = 10i64.pow(9 - fraction.len() as u32);
        let secs = i128::from(days.checked_mul(86_400)?.checked_add(secs)?);
        let nanos = secs * 1_000_000_000 + i128::from(number(fraction)? * scale);
        // The first moment of all is written without what lies below its microsecond: it is read back as itself.
        let least = i128::from(i64::MIN);
        let nanos = if (least - 1000..least).contains(&nanos) { least } else { nanos };
        Some(Self(i64::try_from(nanos).ok()?))
    }

    /// Days since the epoch and nanoseconds within that day.
    fn split_days(self) -> (i64, i64) {
        const DAY: i64 = 86_400_000_000_000;
        (self.0.div_euclid(DAY), self.0.rem_euclid(DAY))
    }
}

/// RFC 3339 in UTC, with microseconds: `2008-04-08T09:00:00.123456Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, nanos) = self.split_days();
        // Civil date from a day count: H. Hinnant, "chrono-compatible low-level date algorithms".
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        let secs = nanos / 1_000_000_000;
        let micros = nanos % 1_000_000_000 / 1000;
        let (h, m, s) = (secs / 3600, secs / 60 % 60, secs % 60);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, h),
            (14..16, m),
            (17..19, s),
            (20..26, micros),
        ];
        for (place, mut number) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit += number.rem_euclid(10) as u8;
                number /= 10;
            }
        }
        // In one piece: a report holds hundreds of thousands of them.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// As its text where people read it, exactly elsewhere.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

/// From its text, in which nothing lies below a microsecond, or from what is exact.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("not a time of the form 2008-04-08T09:00:00.000000Z: {text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_time_are_read_back() {
        for t in [Timestamp::MIN, Timestamp::MAX, Timestamp::MIN.day(), Timestamp(i64::MIN + 5_000)] {
            let again = Timestamp::parse(&t.to_string()).expect("it is read");
            assert!(again.0.abs_diff(t.0) < 1000, "{t} {again}");
        }
        assert_eq!(Timestamp::parse("1677-09-21T00:12:43.145223Z"), None, "before all time");
        assert_eq!(Timestamp::parse("9000000000000000000-01-01T00:00:00Z"), None, "no year");
    }

    #[test]
    fn a_moment_reads_as_rfc_3339() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_secs(1_207_000_000).to_string(), "2008-03-31T21:46:40.000000Z");
        assert_eq!(Timestamp(951_826_554_123_456_789).to_string(), "2000-02-29T12:15:54.123456Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999999Z");
        for secs in [0, 951_826_554, 1_207_000_000, -86_400 * 700, 4_102_444_800] {
            let t = Timestamp(secs * 1_000_000_000 + 123_456_000);
            assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
        }
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.minus(Duration::from_secs(1)), Timestamp::MIN);
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert!(!Timestamp::MIN.to_string().is_empty());
        assert!(!Timestamp::MAX.to_string().is_empty());
    }
}
