//! The line that an operator pastes: `apim1-` and base32 text.
//!
//! The text carries a checksum, so that a line cut off by a terminal is told
//! from a used invitation.

use std::{fmt, str::FromStr};

use aws_lc_rs::rand;
use data_encoding::BASE32_NOPAD_NOCASE;
use sync_core::codec;
use thiserror::Error;

use crate::{
    failure::{Failure, FailureKind},
    identity::NodeId,
    transport::Address,
};

/// Says what the text is, and its version.
const PREFIX: &str = "apim1-";
/// Enough to notice every slip of the hand.
const CHECKSUM_BYTES: usize = 4;
/// The longest address, the id, the secret and the checksum, in base32, fit
/// twice.
const TEXT_BYTES_MAX: usize = 1024;

/// An invitation as it is handed over.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Where the inviter listens.
    pub address: Address,
    /// The key that the inviter must prove.
    pub inviter: NodeId,
    /// What makes the bearer welcome, once.
    pub secret: [u8; 32],
}

impl Token {
    /// A token with a new secret; `None` where the operating system gives no
    /// random numbers.
    pub(super) fn new(address: Address, inviter: NodeId) -> Option<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        Some(Self {
            address,
            inviter,
            secret,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = (self.address.to_string(), self.inviter.0, self.secret);
        let mut bytes = codec::encode(&parts);
        bytes.extend_from_slice(&checksum(&bytes));
        let text = BASE32_NOPAD_NOCASE.encode(&bytes);
        write!(f, "{PREFIX}{}", text.to_ascii_lowercase())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {:?}, secret)", self.address, self.inviter)
    }
}

/// Text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Something else was pasted.
    #[error("this is no invitation: one starts with `{PREFIX}`")]
    NotAToken,
    /// Part of it is missing or changed.
    #[error("the invitation is cut off or mistyped")]
    Damaged,
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::caused_by(FailureKind::Usage, "reading the invitation", &error)
            .hint("copy the whole line that `apim-sync invite` printed on the other node")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let text = text.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        decode(text).ok_or(TokenError::Damaged)
    }
}

fn decode(text: &str) -> Option<Token> {
    let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok()?;
    let (parts, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if *sum != checksum(parts) {
        return None;
    }
    let (address, inviter, secret): (String, [u8; 32], [u8; 32]) = codec::decode(parts).ok()?;
    Some(Token {
        address: address.parse().ok()?,
        inviter: NodeId(inviter),
        secret,
    })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::hash(bytes);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            address: "192.168.10.2:7420".parse().unwrap(),
            inviter: NodeId([1; 32]),
            secret: [2; 32],
        }
    }

    #[test]
    fn a_token_survives_copy_and_paste() {
        let text = token().to_string();
        assert!(text.starts_with("apim1-") && text.len() < 160, "{text}");
        assert_eq!(format!("  {text}\n").parse(), Ok(token()));
        let shouted = format!("apim1-{}", text["apim1-".len()..].to_uppercase());
        assert_eq!(shouted.parse(), Ok(token()));
    }

    #[test]
    fn the_form_of_a_token_is_kept_for_ever() {
        let text = "apim1-ceytsmroge3dqlrrgaxdeorxgqzdaaibaeaqcaibaeaqcaibaeaqcaib\
                    aeaqcaibaeaqcaibaeaqcaibaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaib\
                    aeaqcaibjksynna";
        assert_eq!(token().to_string(), text);
    }

    #[test]
    fn a_token_cut_off_or_mistyped_is_damaged() {
        let text = token().to_string();
        for length in PREFIX.len()..text.len() {
            let cut = &text[..length];
            assert_eq!(cut.parse::<Token>(), Err(TokenError::Damaged), "{cut}");
        }
        for position in PREFIX.len()..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[position] = if typed[position] == b'a' { b'b' } else { b'a' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(typed.parse::<Token>(), Err(TokenError::Damaged), "{typed}");
        }
    }

    #[test]
    fn other_text_is_no_token() {
        for text in ["", "hello", "apim2-abc", "cezds"] {
            assert_eq!(text.parse::<Token>(), Err(TokenError::NotAToken), "{text}");
        }
    }

    #[test]
    fn the_secret_is_not_shown_by_accident() {
        let mut token = token();
        token.secret = *b"swordfish swordfish swordfish!!!";
        assert!(!format!("{token:?}").contains("115"));
        assert_eq!(
            format!("{token:?}"),
            "Token(192.168.10.2:7420, NodeId(01010101), secret)"
        );
    }
}
