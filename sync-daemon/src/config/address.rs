//! `HOST:PORT`, checked without asking the network.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use thiserror::Error;

/// A host name or IP address, and a UDP port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    host: Box<str>,
    port: u16,
}

/// Why text is not an [`Address`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressError {
    /// Nothing after a colon, or no colon.
    #[error("no port: write HOST:PORT, for example `192.168.10.2:7420`")]
    NoPort,
    /// The port is not a number of 16 bits.
    #[error("`{0}` is not a port (0 to 65535)")]
    Port(String),
    /// The host is neither a name nor an IP address.
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    /// An IPv6 address whose end cannot be told from the port.
    #[error("an IPv6 address needs brackets: `[::1]:7420`")]
    Brackets,
}

impl Address {
    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 means any free one, when listening.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        if port.is_empty() {
            return Err(AddressError::NoPort);
        }
        let port = parse_port(port)?;
        let host = parse_host(host)?.into();
        Ok(Self { host, port })
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits => Ok(port),
        _ => Err(AddressError::Port(text.into())),
    }
}

fn parse_host(text: &str) -> Result<&str, AddressError> {
    let refused = || AddressError::Host(text.into());
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(refused)?;
        return match inner.parse::<Ipv6Addr>() {
            Ok(_) => Ok(inner),
            Err(_) => Err(refused()),
        };
    }
    if text.contains(':') {
        return Err(AddressError::Brackets);
    }
    if is_host_name(text) {
        Ok(text)
    } else {
        Err(refused())
    }
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63, 253 in all;
/// a name of digits and dots only must be an IPv4 address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric {
        return text.parse::<std::net::Ipv4Addr>().is_ok();
    }
    text.len() <= 253 && text.split('.').all(label)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_come_back_as_they_were() {
        for text in [
            "0.0.0.0:7420",
            "apim-2:7420",
            "apim-2.example.org:1",
            "[::1]:7420",
            "my_host:0",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        let cases = [
            ("apim-2", AddressError::NoPort),
            ("apim-2:", AddressError::NoPort),
            ("apim-2:http", AddressError::Port("http".into())),
            ("apim-2:+80", AddressError::Port("+80".into())),
            ("apim-2:70000", AddressError::Port("70000".into())),
            (":7420", AddressError::Host(String::new())),
            ("1.2.3:7420", AddressError::Host("1.2.3".into())),
            ("300.1.1.1:7420", AddressError::Host("300.1.1.1".into())),
            ("a b:7420", AddressError::Host("a b".into())),
            ("-a:7420", AddressError::Host("-a".into())),
            ("::1:7420", AddressError::Brackets),
            ("[::g]:7420", AddressError::Host("[::g]".into())),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
