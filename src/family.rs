//! Which of the two kinds of IP address something is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::{Error, Result};

/// Which of the two kinds of IP address something is: Node's strings `'IPv4'` and `'IPv6'`.
///
/// It is written as Node writes it and read in any case. Anything else is `ERR_INVALID_ARG_VALUE`.
///
/// ```
/// use sockeye::Family;
///
/// assert_eq!(Family::Ipv6.to_string(), "IPv6");
/// assert_eq!("ipv4".parse::<Family>()?, Family::Ipv4);
/// assert_eq!("ipv5".parse::<Family>().unwrap_err().code(), "ERR_INVALID_ARG_VALUE");
/// # Ok::<(), sockeye::Error>(())
/// ```
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

impl FromStr for Family {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Ipv4, Self::Ipv6]
            .into_iter()
            .find(|family| family.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::invalid_value("options.family", "is invalid", text))
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        Self::from(&address)
    }
}

impl From<&IpAddr> for Family {
    fn from(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl From<SocketAddr> for Family {
    fn from(address: SocketAddr) -> Self {
        Self::from(address.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_nodes_words() {
        for (text, family) in [
            ("IPv4", Some(Family::Ipv4)),
            ("ipv4", Some(Family::Ipv4)),
            ("IPV6", Some(Family::Ipv6)),
            ("", None),
            ("4", None),
            ("IPv5", None),
        ] {
            assert_eq!(text.parse::<Family>().ok(), family, "{text}");
        }
        let error = "ipv5".parse::<Family>().unwrap_err();
        assert_eq!(error.message(), "The property 'options.family' is invalid. Received 'ipv5'");
        assert_eq!(format!("[{:>6}]", Family::Ipv6), "[  IPv6]");
    }

    #[test]
    fn an_address_has_one() {
        for (text, family) in [("1.2.3.4", Family::Ipv4), ("::ffff:1.2.3.4", Family::Ipv6)] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Family::from(address), family);
            assert_eq!(Family::from(&address), family);
            assert_eq!(Family::from(SocketAddr::new(address, 1)), family);
        }
    }
}
