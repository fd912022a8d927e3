//! A lease and its key in etcd, over etcd's JSON gateway: take, renew, release.
//!
//! Nothing is remembered of an answer but what the caller is given. Every request
//! has a deadline; the members are asked one after the other.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::config::{Endpoint, LeaseConfig};

mod http;
mod tls;

use http::HttpError;
use tls::Tls;
pub use tls::TlsError;

/// How long one member may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A cluster and one key in it.
pub struct Etcd {
    endpoints: Vec<Endpoint>,
    key: String,
    ttl: Duration,
    tls: Option<Tls>,
}

/// A lease that has the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The lease.
    pub lease: i64,
    /// How long it lives from when it was asked for.
    pub ttl: Duration,
}

/// Who has the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// The asker.
    Ours(Held),
    /// Another: what it wrote.
    Others(String),
}

/// Why etcd could not be asked.
#[derive(Debug, Error)]
pub enum EtcdError {
    /// No member answered.
    #[error("no member of etcd answers; {member}: {source}")]
    Unreachable {
        /// The last that was asked.
        member: String,
        /// What happened there.
        source: HttpError,
    },
    /// An answer lacks what it should have.
    #[error("etcd answers {doing} with something else: no {missing}")]
    Strange {
        /// What was asked.
        doing: &'static str,
        /// What was not there.
        missing: &'static str,
    },
}

impl Etcd {
    /// Reads the files that TLS needs.
    ///
    /// # Errors
    /// When one is not what it should be.
    pub fn new(config: &LeaseConfig) -> Result<Self, TlsError> {
        Ok(Self {
            endpoints: config.endpoints.clone(),
            key: BASE64.encode(config.key.as_bytes()),
            ttl: config.ttl,
            tls: config.tls.as_ref().map(Tls::load).transpose()?,
        })
    }

    /// Takes the key for `own`, unless another has it. One that `own` has already,
    /// from an earlier life, is taken over with its lease.
    ///
    /// # Errors
    /// When etcd cannot be asked; the key may be ours all the same.
    pub async fn take(&self, own: &str) -> Result<Key, EtcdError> {
        if let Some(found) = self.look(own).await? {
            return Ok(found);
        }
        let granted = self
            .post("/v3/lease/grant", json!({ "TTL": self.ttl.as_secs() }))
            .await?;
        let held = Held {
            lease: number(&granted["ID"]).ok_or(strange("a grant", "id"))?,
            ttl: seconds(&granted["TTL"]).ok_or(strange("a grant", "time to live"))?,
        };
        let put = json!({
            "key": self.key,
            "value": BASE64.encode(own.as_bytes()),
            "lease": held.lease.to_string(),
        });
        let transaction = json!({
            "compare": [{ "key": self.key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" }],
            "success": [{ "request_put": put }],
            "failure": [{ "request_range": { "key": self.key } }],
        });
        let done = self.post("/v3/kv/txn", transaction).await?;
        if done["succeeded"] == true {
            return Ok(Key::Ours(held));
        }
        self.release(held).await?;
        let found = found(&done["responses"][0]["response_range"], own);
        found.ok_or(strange("a transaction", "key"))
    }

    /// Renews the lease; `None` where it is over, or the key is no longer its.
    ///
    /// # Errors
    /// When etcd cannot be asked.
    pub async fn renew(&self, own: &str, held: Held) -> Result<Option<Held>, EtcdError> {
        let id = held.lease.to_string();
        let kept = self
            .post("/v3/lease/keepalive", json!({ "ID": id }))
            .await?;
        // Absent where the lease is not known any more.
        let Some(ttl) = seconds(&kept["result"]["TTL"]) else {
            return Ok(None);
        };
        let renewed = Held { ttl, ..held };
        Ok(match self.look(own).await? {
            Some(Key::Ours(found)) if found.lease == held.lease => Some(renewed),
            _ => None,
        })
    }

    /// Ends the lease, and so frees the key.
    ///
    /// # Errors
    /// When etcd cannot be asked; the lease then ends by itself.
    pub async fn release(&self, held: Held) -> Result<(), EtcdError> {
        let id = held.lease.to_string();
        self.post("/v3/lease/revoke", json!({ "ID": id })).await?;
        Ok(())
    }

    async fn look(&self, own: &str) -> Result<Option<Key>, EtcdError> {
        let range = self
            .post("/v3/kv/range", json!({ "key": self.key }))
            .await?;
        let Some(key) = found(&range, own) else {
            return Ok(None);
        };
        let Key::Ours(held) = key else {
            return Ok(Some(key));
        };
        // How long a lease of an earlier life still lives is not known: nothing may
        // be concluded from it before it is renewed.
        let ttl = Duration::ZERO;
        Ok(Some(Key::Ours(Held { ttl, ..held })))
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, EtcdError> {
        let mut last = None;
        for endpoint in &self.endpoints {
            let asked = http::post(endpoint, self.tls.as_ref(), path, &body);
            let answer = timeout(ANSWER_WITHIN, asked).await;
            match answer.unwrap_or(Err(HttpError::Late(ANSWER_WITHIN))) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some((endpoint.address.to_string(), error)),
            }
        }
        let (member, source) = last.ok_or(strange("nobody", "member"))?;
        Err(EtcdError::Unreachable { member, source })
    }
}

fn strange(doing: &'static str, missing: &'static str) -> EtcdError {
    EtcdError::Strange { doing, missing }
}

/// What a range found of the key.
fn found(range: &Value, own: &str) -> Option<Key> {
    let entry = range["kvs"].get(0)?;
    let value = entry["value"].as_str().unwrap_or_default();
    let value = BASE64.decode(value.as_bytes()).unwrap_or_default();
    let value = String::from_utf8_lossy(&value).into_owned();
    match number(&entry["lease"]) {
        Some(lease) if value == own => Some(Key::Ours(Held {
            lease,
            ttl: Duration::ZERO,
        })),
        _ => Some(Key::Others(value)),
    }
}

/// The gateway writes 64-bit numbers as text.
fn number(value: &Value) -> Option<i64> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .or(value.as_i64())
}

fn seconds(value: &Value) -> Option<Duration> {
    let seconds = u64::try_from(number(value)?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
