//! Values of flags, checked before any command begins.

use std::{path::PathBuf, str::FromStr, time::Duration};

use sync_core::{TreeName, guard::MaxDelete};

/// Longest time a flag takes: a year, so that no sum of times overflows.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// `NAME=PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TreeArg {
    pub(crate) name: TreeName,
    pub(crate) path: PathBuf,
}

impl FromStr for TreeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text
            .split_once('=')
            .ok_or("write NAME=PATH, for example `synapse-configs=/opt/wso2/synapse-configs`")?;
        if path.is_empty() {
            return Err("there is no path after the `=`".into());
        }
        let name = TreeName::new(name).map_err(|error| error.to_string())?;
        let path = path.into();
        Ok(Self { name, path })
    }
}

/// A node name: the rule of tree names.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    match TreeName::new(text) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(
            "a node name has 1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.` or `-`"
                .into(),
        ),
    }
}

/// `500ms`, `30s`, `15m`, `2h`, `1d`; a bare number is seconds, as rsync has it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and `ms`, `s`, `m`, `h` or `d`, for example `30m`".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let duration = number.checked_mul(unit_ms).map(Duration::from_millis);
    match duration {
        Some(duration) if duration.is_zero() => Err("it must be longer than nothing".into()),
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err("it must not be longer than a year".into()),
    }
}

/// `50` or `20%`.
pub(super) fn max_delete(text: &str) -> Result<String, String> {
    let limit: MaxDelete = text.parse().map_err(|error| format!("{error}"))?;
    Ok(limit.to_string())
}

/// Sixteen hexadecimal digits.
pub(super) fn plan(text: &str) -> Result<String, String> {
    if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a plan's id has sixteen hexadecimal digits; `apim-sync status` shows it".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_usual_units() {
        let cases = [
            ("500ms", 500),
            ("30s", 30_000),
            ("45", 45_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ];
        for (text, ms) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "m",
            "-1s",
            "1.5h",
            "1 h",
            "1w",
            "0",
            "0s",
            "366d",
            "99999999999999999999",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("18446744073709551615d").is_err());
    }

    #[test]
    fn a_tree_is_a_name_and_a_path() {
        let tree: TreeArg = "a=/x=y".parse().unwrap();
        assert_eq!(
            (tree.name.as_str(), tree.path),
            ("a", PathBuf::from("/x=y"))
        );
        for text in ["a", "a=", "=/x", "../a=/x"] {
            assert!(text.parse::<TreeArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn plans_are_sixteen_hexadecimal_digits() {
        assert_eq!(plan("0123456789ABCDEF").unwrap(), "0123456789abcdef");
        for text in ["", "0123", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(plan(text).is_err(), "{text}");
        }
    }
}
