//! Points in time, and how they are written.
//!
//! The calendar is twenty lines here instead of a crate: events need two fixed formats, in UTC, and nothing else (no
//! zones, no parsing, no clock).

use std::fmt;
use std::time::Duration;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Nanoseconds since 1970-01-01T00:00:00Z. Reaches to the year 2554 (2^64 ns are 584 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

/// A point in time as the calendar and the clock show it, UTC, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1970 to 2554.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 to 999,999,999.
    pub nanosecond: u64,
}

// === impl Timestamp ===

impl Timestamp {
    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / NANOSECONDS_PER_SECOND
    }

    /// This much later; the last representable point where it would lie beyond it.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).map_or(u64::MAX, |ns| self.0.saturating_add(ns)))
    }

    /// As the calendar and the clock show it.
    #[must_use]
    pub const fn civil(self) -> Civil {
        let seconds = self.seconds();
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let in_day = seconds % SECONDS_PER_DAY;
        Civil {
            year,
            month,
            day,
            hour: in_day / 3600,
            minute: in_day / 60 % 60,
            second: in_day % 60,
            nanosecond: self.0 % NANOSECONDS_PER_SECOND,
        }
    }

    /// `HH:MM:SS.mmm`, UTC, cut to the millisecond.
    #[must_use]
    pub fn clock(self) -> impl fmt::Display {
        let Civil { year: _, month: _, day: _, hour, minute, second, nanosecond } = self.civil();
        let millisecond = nanosecond / 1_000_000;
        fmt::from_fn(move |f| write!(f, "{hour:02}:{minute:02}:{second:02}.{millisecond:03}"))
    }
}

/// `2006-01-02T15:04:05.000000Z`: KubeArmor's `UpdatedTime`, cut to the microsecond.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, nanosecond } = self.civil();
        let microsecond = nanosecond / 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microsecond:06}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// The year is taken to begin on 1 March, so that the leap day comes last: then the day of the year gives the month by a
/// line through (0, 31, 61, 92, 122, 153, ...), `(153 * month + 2) / 5`, and 400 years are always 146,097 days.
const fn date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_PER_400_YEARS: u64 = 400 * 365 + 97;
    const DAYS_PER_100_YEARS: u64 = 100 * 365 + 24;
    const DAYS_PER_4_YEARS: u64 = 4 * 365 + 1;
    /// 0000-03-01 to 1970-01-01.
    const DAYS_TO_1970: u64 = 719_468;

    let days = days_since_1970 + DAYS_TO_1970;
    let era = days / DAYS_PER_400_YEARS;
    let of_era = days % DAYS_PER_400_YEARS;
    // The three divisions take out the leap days before this day: one in 4 years, none in 100, one in 400.
    let year_of_era =
        (of_era - of_era / (DAYS_PER_4_YEARS - 1) + of_era / DAYS_PER_100_YEARS - of_era / (DAYS_PER_400_YEARS - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) = if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> String {
        Timestamp::from_nanoseconds(seconds * NANOSECONDS_PER_SECOND).to_string()
    }

    #[test]
    fn known_dates_are_written_as_known() {
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(1_790_000_000), "2026-09-21T14:13:20.000000Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59.000000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_nanoseconds(u64::MAX).to_string(), "2554-07-21T23:34:33.709551Z");
    }

    #[test]
    fn every_day_to_the_year_2554_follows_the_day_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(400) || (year.is_multiple_of(4) && !year.is_multiple_of(100)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=u64::MAX / NANOSECONDS_PER_SECOND / SECONDS_PER_DAY {
            assert_eq!(date(days), (year, month, day), "day {days}");
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn fractions_are_cut_not_rounded() {
        let time = Timestamp::from_nanoseconds(1_790_000_000_999_999_999);
        assert_eq!(time.to_string(), "2026-09-21T14:13:20.999999Z");
        assert_eq!(time.clock().to_string(), "14:13:20.999");
    }

    #[test]
    fn adding_stops_at_the_last_point() {
        let last = Timestamp::from_nanoseconds(u64::MAX);
        assert_eq!(last.saturating_add(Duration::from_nanos(1)), last);
        assert_eq!(Timestamp::default().saturating_add(Duration::MAX), last);
        assert_eq!(Timestamp::default().saturating_add(Duration::from_secs(2)).seconds(), 2);
    }
}
