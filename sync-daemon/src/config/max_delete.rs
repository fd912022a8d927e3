//! How many deletions the guard lets pass: `50` files or `20%` of them.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The most deletions one generation may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxDelete {
    /// That many files.
    Files(u64),
    /// That share of the tree's files, 0 to 100.
    Percent(u8),
}

/// Why text is not a [`MaxDelete`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("`{0}` is neither a number of files (`50`) nor a share of them (`20%`)")]
pub struct MaxDeleteError(String);

impl FromStr for MaxDelete {
    type Err = MaxDeleteError;

    fn from_str(text: &str) -> Result<Self, MaxDeleteError> {
        let refused = || MaxDeleteError(text.into());
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.strip_suffix('%') {
            Some(share) if digits(share) => match share.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(refused()),
            },
            None if digits(text) => text.parse().map(Self::Files).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => write!(f, "{files}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_shares_are_told_apart() {
        assert_eq!("50".parse(), Ok(MaxDelete::Files(50)));
        assert_eq!("0%".parse(), Ok(MaxDelete::Percent(0)));
        assert_eq!("100%".parse(), Ok(MaxDelete::Percent(100)));
        for text in ["", "%", "101%", "-1", "20 %", "half", "1.5%", "+3"] {
            assert_eq!(
                text.parse::<MaxDelete>(),
                Err(MaxDeleteError(text.into())),
                "{text}"
            );
        }
    }
}
