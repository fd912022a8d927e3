//! Where a node listens: `HOST:PORT`, where port 0 means any free one.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs as _},
    str::FromStr,
};

use crate::transport::{Address, AddressError};

/// A host name or IP address of this machine, and a UDP port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    host: String,
    port: u16,
}

impl Listen {
    /// The port; 0 means any free one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket address to bind: the first that the host stands for.
    ///
    /// # Errors
    /// When the host name cannot be resolved.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // Apart from port 0 the same is legal as for dialling.
        let (text, port) = match text.strip_suffix(":0") {
            Some(host) => (format!("{host}:1"), Some(0)),
            None => (text.to_owned(), None),
        };
        let address: Address = text.parse()?;
        Ok(Self {
            host: address.host().to_owned(),
            port: port.unwrap_or(address.port()),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_free_port_is_allowed_and_the_rest_is_an_address() {
        for text in ["0.0.0.0:7420", "localhost:0", "[::1]:0", "[::]:7420"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", ":0", "a b:0", "0.0.0.0", "::1:0", "host:port"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        let any: Listen = "127.0.0.1:0".parse().unwrap();
        assert_eq!(any.resolve().unwrap(), ([127, 0, 0, 1], 0).into());
    }
}
