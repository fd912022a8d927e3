//! The address of a message broker as Andes (the broker of API Manager 2.x)
//! reads it: `amqp://USER:PASSWORD@CLIENT/HOST?brokerlist='tcp://HOST:PORT'`.

use std::{fmt::Write as _, ops::Range};

use crate::{
    secret::{MASK, Secret},
    setup::authority,
};

/// The parts of an address that the setup decides, where they stand in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BrokerUrl<'t> {
    text: &'t str,
    /// `USER:PASSWORD`.
    user_info: Range<usize>,
    /// `HOST:PORT` of every broker.
    brokers: Vec<Range<usize>>,
}

impl<'t> BrokerUrl<'t> {
    /// Reads an address; `None` where it is none.
    #[must_use]
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let rest = text.strip_prefix("amqp://")?;
        let start = text.len() - rest.len();
        let query = text.find('?')?;
        let at = start + text[start..query].rfind('@')?;
        let list = query + text[query..].find("brokerlist='")? + "brokerlist='".len();
        let mut brokers = Vec::new();
        let mut from = list;
        while let Some(found) = text[from..].find("tcp://") {
            let begin = from + found + "tcp://".len();
            let end = text[begin..]
                .find(['?', ';', '\'', '&'])
                .map_or(text.len(), |index| begin + index);
            brokers.push(begin..end);
            from = end;
        }
        (!brokers.is_empty()).then_some(Self {
            text,
            user_info: start..at,
            brokers,
        })
    }

    /// `USER:PASSWORD` as it is written.
    #[must_use]
    pub(crate) fn user_info(&self) -> &'t str {
        &self.text[self.user_info.clone()]
    }

    /// Where the password stands, if there is one.
    #[must_use]
    pub(crate) fn password(&self) -> Option<Range<usize>> {
        let colon = self.user_info().find(':')?;
        Some(self.user_info.start + colon + 1..self.user_info.end)
    }

    /// `HOST:PORT` of every broker.
    pub(crate) fn brokers(&self) -> impl Iterator<Item = &'t str> {
        self.brokers.iter().map(|range| &self.text[range.clone()])
    }

    /// The same address with another user and, instead of the first broker,
    /// another one; everything else stays as it is written.
    #[must_use]
    pub(crate) fn with(&self, user_info: &str, broker: &str) -> String {
        let first = self.brokers[0].clone();
        let mut text = self.text.to_owned();
        text.replace_range(first, broker);
        text.replace_range(self.user_info.clone(), user_info);
        text
    }

    /// The address without its password.
    #[must_use]
    pub(crate) fn shown(&self) -> String {
        let mut text = self.text.to_owned();
        // Without a colon nothing tells the user from the password.
        let hidden = self.password().unwrap_or(self.user_info.clone());
        text.replace_range(hidden, MASK);
        text
    }
}

/// `USER:PASSWORD` as a URL holds it: Andes reads it through `java.net.URI`,
/// which decodes percent signs.
#[must_use]
pub(crate) fn user_info(user: &str, password: &Secret) -> String {
    format!("{}:{}", encoded(user), encoded(password.expose()))
}

/// The address of a broker on another machine, tried again when it is away.
#[must_use]
pub(crate) fn with_retries(user_info: &str, client: &str, host: &str, port: u16) -> String {
    let broker = authority(host, port);
    format!(
        "amqp://{user_info}@{client}?brokerlist='tcp://{broker}?retries='5'%26connectdelay='50''"
    )
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = "amqp://admin:admin@clientid/carbon?brokerlist='tcp://localhost:5672'";

    #[test]
    fn user_and_broker_change_and_the_rest_stays() {
        let url = BrokerUrl::parse(STOCK).unwrap();
        assert_eq!(url.user_info(), "admin:admin");
        assert_eq!(url.brokers().collect::<Vec<_>>(), ["localhost:5672"]);
        let user = user_info("admin", &Secret::new("p@ss:/'\"%"));
        assert_eq!(
            url.with(&user, "localhost:5673"),
            "amqp://admin:p%40ss%3A%2F%27%22%25@clientid/carbon?brokerlist='tcp://localhost:5673'"
        );
        assert_eq!(
            url.shown(),
            "amqp://admin:***@clientid/carbon?brokerlist='tcp://localhost:5672'"
        );
    }

    #[test]
    fn an_address_with_retries_is_read_again() {
        let text = with_retries("a:b", "clientid/carbon", "fe80::1", 5673);
        assert!(
            text.ends_with("?brokerlist='tcp://[fe80::1]:5673?retries='5'%26connectdelay='50''")
        );
        let url = BrokerUrl::parse(&text).unwrap();
        assert_eq!(url.brokers().collect::<Vec<_>>(), ["[fe80::1]:5673"]);
    }

    #[test]
    fn what_is_no_address_is_not_read() {
        for text in [
            "",
            "amqp://",
            "amqp://a:b@c/d?x='tcp://h:1'",
            "tcp://localhost:5672",
        ] {
            assert_eq!(BrokerUrl::parse(text), None, "{text}");
        }
        let two = "amqp://a:b@c/d?brokerlist='tcp://h:1;tcp://i:2?retries='5''";
        let url = BrokerUrl::parse(two).unwrap();
        assert_eq!(url.brokers().collect::<Vec<_>>(), ["h:1", "i:2"]);
    }
}
