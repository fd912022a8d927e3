//! Where a peer listens: a host and a UDP port, as people write them.
//!
//! Parsing happens once, at the door; resolving is done by the endpoint each
//! time it dials, so that a changed DNS record is followed.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::failure::{Failure, FailureKind};

/// Bytes in a DNS name, by RFC 1035.
const HOST_BYTES_MAX: usize = 253;

/// A host (DNS name or IP address) and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host at another port.
    ///
    /// # Errors
    /// When `port` is 0.
    pub fn of_host(ip: IpAddr, port: u16) -> Result<Self, AddressError> {
        SocketAddr::new(ip.to_canonical(), port).to_string().parse()
    }

    /// The socket addresses behind the host now.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        Ok(found.collect())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no address: {reason}; write host:port, such as 192.168.10.2:7420, \
     apim-2.example.com:7420 or [2001:db8::2]:7420"
)]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|reason| AddressError {
            text: text.escape_debug().take(300).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Address, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = match port.parse() {
        Ok(0) => return Err("port 0 cannot be reached"),
        Ok(port) => port,
        Err(_) => return Err("the port is not a number from 1 to 65535"),
    };
    Ok(Address {
        host: parse_host(host)?.to_owned(),
        port,
    })
}

fn parse_host(host: &str) -> Result<&str, &'static str> {
    if let Some(bracketed) = host.strip_prefix('[') {
        let inner = bracketed
            .strip_suffix(']')
            .ok_or("the closing bracket is missing")?;
        let address: Result<Ipv6Addr, _> = inner.parse();
        return match address {
            Ok(_) => Ok(inner),
            Err(_) => Err("what is in the brackets is no IPv6 address"),
        };
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host.is_empty() {
        Err("the host is missing")
    } else if host.contains(':') {
        Err("an IPv6 address needs brackets")
    } else if host.len() > HOST_BYTES_MAX || !host.bytes().all(legal) || host.starts_with('-') {
        Err("the host is neither a DNS name nor an IP address")
    } else {
        Ok(host)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

/// This node does not know how others reach it.
#[derive(Debug, Error)]
#[error(
    "cannot tell at which address other nodes reach this one: it listens on {listen}, which \
     does not say, and there is no default route"
)]
pub struct NoAdvertisedAddress {
    listen: SocketAddr,
    source: Option<io::Error>,
}

impl From<NoAdvertisedAddress> for Failure {
    fn from(error: NoAdvertisedAddress) -> Self {
        Self::caused_by(FailureKind::Usage, "inviting", &error)
            .hint("name the address with `apim-sync invite --address HOST:PORT`")
    }
}

/// The address to give to others for a node that listens on `listen`: that
/// address, or the one of the interface with the default route where it listens
/// on all.
///
/// # Errors
/// When it listens on all interfaces and there is no default route.
pub fn advertised(listen: SocketAddr) -> Result<Address, NoAdvertisedAddress> {
    let ip = if listen.ip().is_unspecified() {
        default_route_ip(listen).map_err(|error| no_address(listen, Some(error)))?
    } else {
        listen.ip()
    };
    Address::of_host(ip, listen.port()).map_err(|_| no_address(listen, None))
}

fn no_address(listen: SocketAddr, source: Option<io::Error>) -> NoAdvertisedAddress {
    NoAdvertisedAddress { listen, source }
}

/// The local address that the routing table picks for the wide world. Nothing
/// is sent: connecting a UDP socket only looks up the route.
fn default_route_ip(listen: SocketAddr) -> io::Result<IpAddr> {
    route_ip((Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(192, 0, 2, 1), 9)).or_else(|error| {
        if listen.is_ipv6() {
            let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            route_ip((Ipv6Addr::UNSPECIFIED, 0), (documentation, 9))
        } else {
            Err(error)
        }
    })
}

fn route_ip(local: impl Into<SocketAddr>, remote: impl Into<SocketAddr>) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(local.into())?;
    socket.connect(remote.into())?;
    let ip = socket.local_addr()?.ip();
    if ip.is_loopback() || ip.is_unspecified() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "only the loopback interface is up",
        ));
    }
    Ok(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for (text, host, port) in [
            ("192.168.10.2:7420", "192.168.10.2", 7420),
            ("apim-2:1", "apim-2", 1),
            ("apim_2.example.com:65535", "apim_2.example.com", 65535),
            ("[2001:db8::2]:7420", "2001:db8::2", 7420),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "port is missing"),
            ("apim-2", "port is missing"),
            (":7420", "host is missing"),
            ("apim-2:0", "port 0"),
            ("apim-2:65536", "not a number"),
            ("apim-2:", "not a number"),
            ("2001:db8::2:7420", "brackets"),
            ("[2001:db8::2:7420", "closing bracket"),
            ("[apim-2]:7420", "no IPv6"),
            ("a b:1", "neither"),
            ("-rf:1", "neither"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_node_listening_on_one_address_advertises_it() {
        let listen: SocketAddr = "192.168.10.2:7420".parse().unwrap();
        assert_eq!(advertised(listen).unwrap().to_string(), "192.168.10.2:7420");
    }

    #[test]
    fn a_node_listening_everywhere_never_advertises_a_wildcard() {
        let listen: SocketAddr = "0.0.0.0:7420".parse().unwrap();
        // Without a default route (a closed test machine) the error says so.
        match advertised(listen) {
            Ok(address) => assert_ne!(address.host(), "0.0.0.0"),
            Err(error) => assert!(error.to_string().contains("default route")),
        }
    }
}
