//! Where an import goes: a stream file, or a stream of a broker by its address.
//!
//! ```text
//! rabbitmq-stream://USER@HOST[:PORT]/STREAM
//! rabbitmq-stream+tls://USER@HOST[:PORT]/STREAM
//! ```
//! All parts are taken as they are, without escapes. A password has no place in it: the address of a running program is
//! seen by every user of the machine, and stays in the history of the shell.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

const PLAIN: &str = "rabbitmq-stream://";
const TLS: &str = "rabbitmq-stream+tls://";
const FORM: &str = "rabbitmq-stream://USER@HOST[:PORT]/STREAM";

/// What `--to` names. The address of a broker is looked into later, so that no message of the command line repeats it.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A stream file.
    File(PathBuf),
    /// The text of an address.
    Broker(String),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.starts_with(PLAIN) || text.starts_with(TLS) {
            Self::Broker(text.to_owned())
        } else {
            Self::File(text.into())
        })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Broker(_) => f.write_str("Broker"),
        }
    }
}

/// A stream of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Who logs in; none leaves it to the configuration.
    pub user: Option<String>,
    /// Name or address of the broker.
    pub host: String,
    /// The port of its stream protocol.
    pub port: u16,
    /// Whether the connection is encrypted and the broker's certificate verified.
    pub tls: bool,
    /// The stream.
    pub stream: String,
}

/// Why an address cannot be used. None of the texts repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It holds a password.
    #[error(
        "the address holds a password, which every user of this machine can see in the list of processes; give --password-file FILE or --config FILE instead, and change that password"
    )]
    Password,
    /// There is no stream.
    #[error("the address names no stream; its form is {FORM}")]
    NoStream,
    /// There is no host.
    #[error("the address names no host; its form is {FORM}")]
    NoHost,
    /// The port is no number.
    #[error("the port in the address is no number up to 65535; its form is {FORM}")]
    Port,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (tls, rest) = match text.strip_prefix(TLS) {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix(PLAIN).ok_or(AddressError::NoHost)?),
        };
        let (authority, stream) = rest.split_once('/').unwrap_or((rest, ""));
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        // A password may hold a slash: then what looks like a port is its beginning.
        let cut_off = user.is_none() && stream.contains('@') && authority.contains(':');
        if cut_off || user.is_some_and(|user| user.contains(':')) {
            return Err(AddressError::Password);
        }
        if stream.is_empty() {
            return Err(AddressError::NoStream);
        }
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), host),
            None => (None, authority),
        };
        let (host, port) = split_port(host)?;
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        Ok(Self {
            user,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 5551 } else { 5552 }),
            tls,
            stream: stream.to_owned(),
        })
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(AddressError::Port)?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map(|port| port.parse().map_err(|_| AddressError::Port));
    Ok((host, port.transpose()?))
}

impl fmt::Display for Address {
    /// Without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { TLS } else { PLAIN };
        let Self {
            host, port, stream, ..
        } = self;
        if host.contains(':') {
            write!(f, "{scheme}[{host}]:{port}/{stream}")
        } else {
            write!(f, "{scheme}{host}:{port}/{stream}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn the_parts_are_found_and_the_rest_has_defaults() {
        let parts = |text: &str| {
            let Address {
                user,
                host,
                port,
                tls,
                stream,
            } = address(text).unwrap();
            (user.unwrap_or_default(), host, port, tls, stream)
        };
        let expect = |user: &str, host: &str, port, tls, stream: &str| {
            (user.to_owned(), host.to_owned(), port, tls, stream.to_owned())
        };
        assert_eq!(
            parts("rabbitmq-stream://ann@broker.example/cells"),
            expect("ann", "broker.example", 5552, false, "cells")
        );
        assert_eq!(
            parts("rabbitmq-stream+tls://ann@broker.example:99/a/b@c"),
            expect("ann", "broker.example", 99, true, "a/b@c")
        );
        assert_eq!(
            parts("rabbitmq-stream://broker.example/cells"),
            expect("", "broker.example", 5552, false, "cells")
        );
        assert_eq!(
            parts("rabbitmq-stream+tls://ann@[::1]/cells"),
            expect("ann", "::1", 5551, true, "cells")
        );
        assert_eq!(
            address("rabbitmq-stream://ann@[::1]:7/cells")
                .unwrap()
                .to_string(),
            "rabbitmq-stream://[::1]:7/cells"
        );
    }

    #[test]
    fn a_password_is_refused_and_repeated_nowhere() {
        for text in [
            "rabbitmq-stream://ann:s3cret@broker.example/cells",
            "rabbitmq-stream://ann:@broker.example/cells",
            "rabbitmq-stream://ann:s3/cret@broker.example/cells",
            "rabbitmq-stream+tls://:s3cret@broker.example/cells",
        ] {
            let error = address(text).unwrap_err();
            assert_eq!(error, AddressError::Password, "{text}");
            assert!(error.to_string().contains("--password-file"));
            let target: Target = text.parse().unwrap();
            assert!(!format!("{error} {error:?} {target:?}").contains("s3"));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (text, expected) in [
            ("rabbitmq-stream://ann@broker.example", AddressError::NoStream),
            ("rabbitmq-stream://ann@broker.example/", AddressError::NoStream),
            ("rabbitmq-stream:///cells", AddressError::NoHost),
            ("rabbitmq-stream://ann@/cells", AddressError::NoHost),
            ("rabbitmq-stream://broker.example:port/cells", AddressError::Port),
            ("rabbitmq-stream://broker.example:99999/cells", AddressError::Port),
            ("rabbitmq-stream://[::1]7/cells", AddressError::Port),
        ] {
            assert_eq!(address(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn whatever_is_no_address_is_a_file() {
        for text in ["out.stream", "/data/out", "rabbitmq-stream"] {
            assert_eq!(text.parse(), Ok(Target::File(text.into())));
        }
    }
}
