//! Counts, sizes and times, written for people.

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `1,234 files`.
pub(crate) fn counted(number: u64, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{} {noun}", count(number))
}

/// `1 file` or `1,234 files`.
pub(crate) fn files(number: u64) -> String {
    counted(number, "file", "files")
}

/// `812 B`, `4.10 kB`, `18.5 MB`: decimal units, three digits.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `0.3 ms`, `12 ms`, `1.25 s`, `3 min 20 s`, `2 h 5 min`, `4 d 2 h`.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match value {
        v if v < 0.001 => format!("{:.1} ms", v * 1_000.0),
        v if v < 0.9995 => format!("{:.0} ms", v * 1_000.0),
        v if v < 59.995 => format!("{v:.2} s"),
        _ if whole < 3_600 => pair((whole / 60, "min"), (whole % 60, "s")),
        _ if whole < 86_400 => pair((whole / 3_600, "h"), (whole / 60 % 60, "min")),
        _ => pair((whole / 86_400, "d"), (whole / 3_600 % 24, "h")),
    }
}

/// The larger unit, and the smaller where it is not zero.
fn pair((large, unit): (u64, &str), (small, small_unit): (u64, &str)) -> String {
    match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    }
}

/// Bytes a second; nothing where no time passed.
pub(crate) fn rate(number: u64, seconds: f64) -> Option<String> {
    (seconds > 0.0).then(|| format!("{}/s", bytes((number as f64 / seconds) as u64)))
}

/// The first eight digits of a root or an id: enough to compare by eye.
pub(crate) fn short(hexadecimal: &str) -> &str {
    hexadecimal.get(..8).unwrap_or(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(
            (files(1).as_str(), files(2).as_str()),
            ("1 file", "2 files")
        );
    }

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_999, "10.0 kB"),
            (18_534_000, "18.5 MB"),
            (999_999, "1.00 MB"),
            (1 << 40, "1.10 TB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn times_use_the_unit_that_fits() {
        let cases = [
            (0.0, "0.0 ms"),
            (0.000_28, "0.3 ms"),
            (0.012, "12 ms"),
            (0.9996, "1.00 s"),
            (1.25, "1.25 s"),
            (200.0, "3 min 20 s"),
            (900.0, "15 min"),
            (7_500.0, "2 h 5 min"),
            (352_800.0, "4 d 2 h"),
        ];
        for (value, text) in cases {
            assert_eq!(seconds(value), text);
        }
    }
}
