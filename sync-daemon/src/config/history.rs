//! `[history]`: how much is kept of earlier generations.

use sync_fs::archive::ArchiveLimits;

use super::{
    ConfigError,
    file::{FileBytes, FileHistory},
    source::{Given, Source},
};

/// More generations than anybody looks through; their log is bounded anyway.
const GENERATIONS_MAX: u64 = 100_000;
/// The largest `bytes` (1 TiB).
const BYTES_MAX: u64 = 1 << 40;

pub(super) fn history(
    source: &Source<'_>,
    file: FileHistory,
) -> Result<ArchiveLimits, ConfigError> {
    let default = ArchiveLimits::default();
    let generations = source.number("history.generations", file.generations)?;
    let bytes = source.bytes("history.bytes", file.bytes)?;
    Ok(ArchiveLimits {
        generations: match generations {
            Some(given) => bounded(&given, GENERATIONS_MAX, "generations")?,
            None => default.generations,
        },
        bytes: match bytes {
            Some(given) => {
                let value = parse(&given.value).ok_or_else(|| {
                    let value = sync_core::path::escape(given.value.as_bytes());
                    given.refused(format!(
                        "`{value}` is no size: write a number of bytes, or one with KiB, MiB, GiB"
                    ))
                })?;
                if value > BYTES_MAX {
                    return Err(given.refused("it is more than 1024GiB"));
                }
                value
            }
            None => default.bytes,
        },
    })
}

fn bounded(given: &Given<u64>, most: u64, what: &str) -> Result<usize, ConfigError> {
    let fits = usize::try_from(given.value)
        .ok()
        .filter(|_| given.value <= most);
    fits.ok_or_else(|| given.refused(format!("more than {most} {what}")))
}

/// A number of bytes, with a unit or without.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl Source<'_> {
    /// A size, from the variable of `key` or else from the file, where it may be a
    /// number or a text.
    fn bytes(
        &self,
        key: &'static str,
        value: Option<toml::Spanned<FileBytes>>,
    ) -> Result<Option<Given<String>>, ConfigError> {
        let as_text = |value: toml::Spanned<FileBytes>| {
            let span = value.span();
            let text = match value.into_inner() {
                FileBytes::Number(number) => number.to_string(),
                FileBytes::Text(text) => text,
            };
            toml::Spanned::new(span, text)
        };
        self.text_or_none(key, value.map(as_text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_or_without_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("1GiB", Some(1 << 30)),
            ("20 MiB", Some(20 << 20)),
            ("3KiB", Some(3 << 10)),
            ("1GB", None),
            ("GiB", None),
            ("-1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }
}
