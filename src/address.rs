//! Where a server listens, or what a connection was attempted to.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of a server, or of a connection attempt: an IP address with a port, or a path.
///
/// Stands for what Node's `server.address()` returns. Its `Display` form is an [`Endpoint`](crate::Endpoint) again:
/// `127.0.0.1:8124`, `[::1]:8124`, `/tmp/echo.sock`; an abstract name is written with a leading `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address.
    Ip(SocketAddr),
    /// The path of a Unix domain socket; an abstract name begins with a NUL byte.
    Path(PathBuf),
}

impl Address {
    /// The port, of a TCP address.
    pub fn port(&self) -> Option<u16> {
        self.ip().map(|address| address.port())
    }

    /// The TCP address.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Path(_) => None,
        }
    }

    /// The path of a Unix domain socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Ip(_) => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => f.write_str(&display_path(path)),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// A path as messages show it: a NUL byte, which begins an abstract name, would be invisible.
pub(crate) fn display_path(path: &Path) -> String {
    path.to_string_lossy().replace('\0', "@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_people_type_it() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        for (address, text) in [
            (ip("127.0.0.1:80"), "127.0.0.1:80"),
            (ip("[::1]:80"), "[::1]:80"),
            (Address::Path("/tmp/a.sock".into()), "/tmp/a.sock"),
            (Address::Path("\0name".into()), "@name"),
        ] {
            assert_eq!(address.to_string(), text);
        }
    }
}
