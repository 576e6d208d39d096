//! Which of the two kinds of IP address something is.

use std::fmt;
use std::net::IpAddr;

/// Which of the two kinds of IP address something is: Node's strings `'IPv4'` and `'IPv6'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// 32 bits, `127.0.0.1`.
    Ipv4,
    /// 128 bits, `::1`. An IPv4 address in its IPv6 form (`::ffff:127.0.0.1`) belongs here.
    Ipv6,
}

impl Family {
    /// `"IPv4"` or `"IPv6"`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}
