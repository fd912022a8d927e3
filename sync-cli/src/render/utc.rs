//! A moment as a date and a time of day. Always UTC: two nodes are read side by
//! side.

const MS_A_DAY: u64 = 86_400_000;

/// `2026-11-26 14:20:11.123 UTC`.
pub(crate) fn text(unix_ms: u64) -> String {
    let (year, month, day) = date(unix_ms / MS_A_DAY);
    format!("{year:04}-{month:02}-{day:02} {} UTC", time_of_day(unix_ms))
}

/// `14:20:11.123`.
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let ms = unix_ms % MS_A_DAY;
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, ms) = (ms / 1_000 % 60, ms % 1_000);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian
/// calendar. Years are counted from March, so that the leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let since_0000_03_01 = days + 719_468;
    let (era, day) = (
        since_0000_03_01 / DAYS_IN_400_YEARS,
        since_0000_03_01 % DAYS_IN_400_YEARS,
    );
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_400, "2000-02-29 00:00:00.000 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59.000 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00.000 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59.000 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00.000 UTC"),
        ] {
            assert_eq!(text(seconds * 1_000), shown);
        }
        assert_eq!(time_of_day(61_007), "00:01:01.007");
    }
}
