//! Where to connect or listen.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::address::{Address, display_path};
use crate::error::{Error, Result};

/// Where to connect or listen: a port, a host and port, an address, or a path.
///
/// A string is taken only if it can be read in just one way:
///
/// | string | meaning |
/// |---|---|
/// | `"localhost:8124"`, `"127.0.0.1:8124"`, `"[::1]:8124"` | host and port |
/// | `"/tmp/echo.sock"`, `"./echo.sock"`, `"../echo.sock"` | path of a Unix domain socket |
/// | `"\0echo"` | abstract name (Linux) |
///
/// Any other string is an error with the code `ERR_INVALID_ARG_VALUE` that says what is missing; a port above 65535 is
/// `ERR_SOCKET_BAD_PORT`. Node would read `"8124"` as a port and `"echo.sock"` as a path.
///
/// ```
/// use sockeye::Endpoint;
///
/// assert_eq!("localhost:8124".parse::<Endpoint>()?, Endpoint::Host { host: "localhost".into(), port: 8124 });
/// assert_eq!("/tmp/echo.sock".parse::<Endpoint>()?, Endpoint::Path("/tmp/echo.sock".into()));
/// assert_eq!("echo.sock".parse::<Endpoint>().unwrap_err().code(), "ERR_INVALID_ARG_VALUE");
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A port: of `localhost` to connect to, of every local address to listen on.
    Port(u16),
    /// A host name or a literal IP address, and a port.
    Host {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a Unix domain socket; an abstract name begins with a NUL byte.
    Path(PathBuf),
}

/// What can be used as an [`Endpoint`]: `8124`, `("localhost", 8124)`, a socket address, a path, or a string as
/// described [there](Endpoint).
pub trait IntoEndpoint {
    /// Converts, or says what is wrong.
    fn into_endpoint(self) -> Result<Endpoint>;
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid_endpoint(text, "it is empty"));
        }
        if ["/", "./", "../", "\0"].iter().any(|start| text.starts_with(start)) {
            return Ok(Self::Path(text.into()));
        }
        if text.starts_with(r"\\.\pipe\") || text.starts_with(r"\\?\pipe\") {
            return Err(Error::invalid_endpoint(text, "named pipes exist on Windows only"));
        }
        if let Some((host, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            let ip = host.split('%').next().unwrap_or(host);
            if Ipv6Addr::from_str(ip).is_err() {
                return Err(Error::invalid_endpoint(text, "an IPv6 address belongs between the brackets"));
            }
            return Ok(Self::Host { host: host.to_owned(), port: parse_port(text, port)? });
        }
        match text.split_once(':') {
            None => Err(Error::invalid_endpoint(text, "write host:port, or ./ before a path")),
            Some((_, port)) if port.contains(':') => {
                Err(Error::invalid_endpoint(text, "write an IPv6 address as [address]:port"))
            }
            Some((host, _)) if host.is_empty() || host.contains(['/', '\\', ' ']) => {
                Err(Error::invalid_endpoint(text, "write host:port, or ./ before a path"))
            }
            Some((host, port)) => Ok(Self::Host { host: host.to_owned(), port: parse_port(text, port)? }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => f.write_str(&display_path(path)),
        }
    }
}

macro_rules! endpoint_from {
    ($($from:ty => |$value:ident| $endpoint:expr),+ $(,)?) => {$(
        impl From<$from> for Endpoint {
            fn from($value: $from) -> Self {
                $endpoint
            }
        }

        impl IntoEndpoint for $from {
            fn into_endpoint(self) -> Result<Endpoint> {
                Endpoint::from(self).into_endpoint()
            }
        }
    )+};
}

endpoint_from! {
    u16 => |port| Self::Port(port),
    (&str, u16) => |parts| Self::Host { host: parts.0.to_owned(), port: parts.1 },
    (String, u16) => |parts| Self::Host { host: parts.0, port: parts.1 },
    (IpAddr, u16) => |parts| Self::Ip(parts.into()),
    (Ipv4Addr, u16) => |parts| Self::Ip(parts.into()),
    (Ipv6Addr, u16) => |parts| Self::Ip(parts.into()),
    SocketAddr => |address| Self::Ip(address),
    SocketAddrV4 => |address| Self::Ip(address.into()),
    SocketAddrV6 => |address| Self::Ip(address.into()),
    PathBuf => |path| Self::Path(path),
    &PathBuf => |path| Self::Path(path.clone()),
    &Path => |path| Self::Path(path.to_owned()),
    Address => |address| match address {
        Address::Ip(address) => Self::Ip(address),
        Address::Path(path) => Self::Path(path),
    },
}

impl IntoEndpoint for Endpoint {
    fn into_endpoint(self) -> Result<Endpoint> {
        match self {
            // The system would take it for a wish for an abstract name of its own choice.
            Self::Path(path) if path.as_os_str().is_empty() => Err(Error::invalid_endpoint("", "it is empty")),
            endpoint => Ok(endpoint),
        }
    }
}

impl IntoEndpoint for &Address {
    fn into_endpoint(self) -> Result<Endpoint> {
        self.clone().into_endpoint()
    }
}

impl IntoEndpoint for &Endpoint {
    fn into_endpoint(self) -> Result<Endpoint> {
        self.clone().into_endpoint()
    }
}

impl IntoEndpoint for &str {
    fn into_endpoint(self) -> Result<Endpoint> {
        self.parse()
    }
}

impl IntoEndpoint for String {
    fn into_endpoint(self) -> Result<Endpoint> {
        self.parse()
    }
}

impl IntoEndpoint for &String {
    fn into_endpoint(self) -> Result<Endpoint> {
        self.parse()
    }
}

fn parse_port(endpoint: &str, port: &str) -> Result<u16> {
    let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    match port.parse() {
        Ok(port) if is_number => Ok(port),
        Err(_) if is_number || port.strip_prefix('-').is_some_and(|rest| rest.parse::<u16>().is_ok()) => {
            Err(Error::bad_port(port))
        }
        _ => Err(Error::invalid_endpoint(endpoint, "a port is a number from 0 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_can_be_read_one_way() {
        let host = |host: &str, port| Endpoint::Host { host: host.into(), port };
        for (text, endpoint) in [
            ("localhost:8124", host("localhost", 8124)),
            ("127.0.0.1:0", host("127.0.0.1", 0)),
            ("[::1]:65535", host("::1", 65535)),
            ("[fe80::1%eth0]:80", host("fe80::1%eth0", 80)),
            ("/tmp/echo.sock", Endpoint::Path("/tmp/echo.sock".into())),
            ("./echo:1", Endpoint::Path("./echo:1".into())),
            ("../echo.sock", Endpoint::Path("../echo.sock".into())),
            ("\0echo", Endpoint::Path("\0echo".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), endpoint, "{text}");
        }
    }

    #[test]
    fn strings_that_are_refused() {
        for (text, code) in [
            ("", "ERR_INVALID_ARG_VALUE"),
            ("8124", "ERR_INVALID_ARG_VALUE"),
            ("localhost", "ERR_INVALID_ARG_VALUE"),
            ("echo.sock", "ERR_INVALID_ARG_VALUE"),
            (":8124", "ERR_INVALID_ARG_VALUE"),
            ("::1", "ERR_INVALID_ARG_VALUE"),
            ("::1:8124", "ERR_INVALID_ARG_VALUE"),
            ("[localhost]:80", "ERR_INVALID_ARG_VALUE"),
            ("[::1]", "ERR_INVALID_ARG_VALUE"),
            ("localhost:", "ERR_INVALID_ARG_VALUE"),
            ("localhost:http", "ERR_INVALID_ARG_VALUE"),
            ("localhost:+1", "ERR_INVALID_ARG_VALUE"),
            ("dir/echo:1", "ERR_INVALID_ARG_VALUE"),
            (r"\\.\pipe\echo", "ERR_INVALID_ARG_VALUE"),
            ("localhost:65536", "ERR_SOCKET_BAD_PORT"),
            ("localhost:-1", "ERR_SOCKET_BAD_PORT"),
            ("[::1]:99999999999", "ERR_SOCKET_BAD_PORT"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error.code(), code, "{text:?}: {error}");
        }
    }

    #[test]
    fn a_literal_number_is_a_port() {
        assert_eq!(8124.into_endpoint().unwrap(), Endpoint::Port(8124));
    }

    #[test]
    fn an_address_is_an_endpoint_again() {
        for text in ["127.0.0.1:80", "[::1]:80"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Endpoint::from(Address::Ip(address)).to_string(), text);
        }
    }
}
