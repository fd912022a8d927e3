//! One record as a line: its body, and the signature over that.

use serde::{Deserialize, Serialize};

use super::Said;
use crate::identity::{Identity, NodeId};

/// What is signed begins with this, so that no other signature of the key fits.
const CONTEXT: &[u8] = b"apim-sync 1 audit record\n";
const SIGNATURE_KEY: &str = ",\"signature\":\"";
/// What the record before the first would have.
pub(super) const NOTHING_BEFORE: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// The newest record of a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub record: u64,
    /// The hash of its line.
    pub hash: String,
}

/// What is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Body {
    /// Records are numbered from 1.
    pub(super) record: u64,
    pub(super) unix_ms: u64,
    #[serde(flatten)]
    pub(super) said: Said,
    /// The hash of the line before.
    pub(super) previous: String,
}

impl Body {
    /// The line, without its end.
    pub(super) fn sign(&self, identity: &Identity) -> serde_json::Result<String> {
        let body = serde_json::to_string(self)?;
        let signature = identity.sign(&[CONTEXT, body.as_bytes()].concat());
        let signature = data_encoding::HEXLOWER.encode(&signature);
        let open = &body[..body.len() - 1];
        Ok(format!("{open}{SIGNATURE_KEY}{signature}\"}}"))
    }
}

/// What a line turned out to be.
pub(super) enum Read {
    /// No record at all.
    Malformed,
    /// A record that this node's key did not sign.
    Foreign(Body),
    /// A record of this node.
    Signed(Body),
}

/// Reads a line and checks its signature.
pub(super) fn read(line: &str, signer: &NodeId) -> Read {
    let Some((open, rest)) = line.rsplit_once(SIGNATURE_KEY) else {
        return Read::Malformed;
    };
    let text = format!("{open}}}");
    let (Some(signature), Ok(body)) = (rest.strip_suffix("\"}"), serde_json::from_str(&text))
    else {
        return Read::Malformed;
    };
    let signature = data_encoding::HEXLOWER.decode(signature.as_bytes());
    let message = [CONTEXT, text.as_bytes()].concat();
    match signature {
        Ok(signature) if signer.has_signed(&message, &signature) => Read::Signed(body),
        _ => Read::Foreign(body),
    }
}

/// The hash by which the next record names this one.
pub(super) fn hash(line: &str) -> String {
    blake3::hash(line.as_bytes()).to_hex().to_string()
}
