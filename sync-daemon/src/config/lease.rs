//! `[lease]`: the lease in etcd that decides which node is active.

use std::{path::PathBuf, time::Duration};

use super::{
    check::{Result, absolute, optional, within},
    file::FileLease,
    source::{Given, Source},
};
use crate::transport::Address;

/// How long the lease lives unless told otherwise.
const TTL_S_DEFAULT: u64 = 15;
/// Shorter ones are lost to every hiccup; etcd itself gives no shorter ones.
const TTL_S_MIN: u64 = 5;
/// Longer ones keep a pair without an active for as long.
const TTL_S_MAX: u64 = 300;
/// Members of one etcd cluster.
const ENDPOINTS_MAX: usize = 16;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 512;

/// `[lease]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseConfig {
    /// The members of the etcd cluster, asked in this order.
    pub endpoints: Vec<Endpoint>,
    /// The key that its holder has: one for each pair or group.
    pub key: String,
    /// How long it lives without being renewed.
    pub ttl: Duration,
    /// What is needed to talk to members over TLS.
    pub tls: Option<LeaseTls>,
}

/// A member of an etcd cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Whether over TLS.
    pub tls: bool,
}

/// The files that TLS needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseTls {
    /// The authorities that sign the members' certificates.
    pub ca_file: PathBuf,
    /// This node's certificate and its key, where members ask for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

pub(super) fn check(source: &Source<'_>, file: Option<FileLease>) -> Result<Option<LeaseConfig>> {
    let Some(file) = file else { return Ok(None) };
    let endpoints = source.in_file("lease.endpoints", file.endpoints);
    if endpoints.value.is_empty() || endpoints.value.len() > ENDPOINTS_MAX {
        return Err(endpoints.refused(format!("give 1 to {ENDPOINTS_MAX} members of the cluster")));
    }
    let members: Vec<Endpoint> = endpoints
        .value
        .iter()
        .map(|text| endpoint(&endpoints, text))
        .collect::<Result<_>>()?;
    let key = source.in_file("lease.key", file.key);
    if key.value.is_empty() || key.value.len() > KEY_BYTES_MAX {
        return Err(key.refused(format!("a key has 1 to {KEY_BYTES_MAX} bytes")));
    }
    let path = |key, value: Option<_>| {
        let given = value.map(|value| source.in_file(key, value));
        optional(given, absolute)
    };
    let ca_file = path("lease.ca_file", file.ca_file)?;
    let certificate = path("lease.certificate_file", file.certificate_file)?;
    let private = path("lease.key_file", file.key_file)?;
    let any_tls = members.iter().any(|member| member.tls);
    let client = match (certificate, private) {
        (Some(certificate), Some(private)) => Some((certificate, private)),
        (None, None) => None,
        _ => {
            let why = "`certificate_file` and `key_file` belong together";
            return Err(source.refused("lease", why));
        }
    };
    let tls = match (ca_file, any_tls) {
        (Some(ca_file), true) => Some(LeaseTls { ca_file, client }),
        (None, false) if client.is_none() => None,
        (None, true) => {
            let why = "an https member needs `ca_file`: who signed its certificate";
            return Err(source.refused("lease", why));
        }
        (_, false) => {
            let why = "files for TLS, but no https member";
            return Err(source.refused("lease", why));
        }
    };
    let ttl_s = source.number("lease.ttl_s", file.ttl_s)?;
    let ttl_s = within(ttl_s, TTL_S_DEFAULT, TTL_S_MIN..=TTL_S_MAX)?;
    Ok(Some(LeaseConfig {
        endpoints: members,
        key: key.value,
        ttl: Duration::from_secs(ttl_s),
        tls,
    }))
}

fn endpoint(given: &Given<Vec<String>>, text: &str) -> Result<Endpoint> {
    let shown = sync_core::path::escape(text.as_bytes());
    let (tls, address) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(address), _) => (true, address),
        (None, Some(address)) => (false, address),
        (None, None) => {
            let why = format!("`{shown}` begins with neither http:// nor https://");
            return Err(given.refused(why));
        }
    };
    let address = address.trim_end_matches('/').parse();
    let address = address.map_err(|error: crate::transport::AddressError| given.refused(error))?;
    Ok(Endpoint { address, tls })
}
