//! An IP address with a port.

#[cfg(feature = "serde")]
mod json;
mod options;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

use crate::address_text::AddressText;
use crate::{Error, Family, Result};

use options::Given;
pub use options::SocketAddressOptions;

/// An IP address with a port and, for IPv6, a flow label (Node's `net.SocketAddress`).
///
/// It holds a [`std::net::SocketAddr`] and converts from and to it without loss; the scope of a link-local address
/// stays too, though Node has no name for it. [`flowlabel`](Self::flowlabel) is the label itself, while the standard
/// library's `flowinfo` holds it, with the traffic class, in network byte order.
///
/// The `Display` form is `1.2.3.4:80` or `[::1]:80`. `FromStr` reads it, and reads it without a port too, with
/// `ERR_INVALID_ADDRESS` and `ERR_SOCKET_BAD_PORT` as errors.
///
/// With the feature `serde` it is written as Node's `toJSON` writes it,
/// `{"address":"1.2.3.4","port":80,"family":"ipv4","flowlabel":0}`, which has no place for a scope. Reading takes what
/// the constructor takes: each member may be missing.
///
/// ```
/// use sockeye::{Family, SocketAddress, SocketAddressOptions};
///
/// let address = SocketAddress::new(SocketAddressOptions::new().address("::1").port(8124))?;
/// assert_eq!(address.address(), "::1");
/// assert_eq!(address.family(), Family::Ipv6);
/// assert_eq!(address.port(), 8124);
/// assert_eq!(address, "[::1]:8124".parse()?);
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketAddress(SocketAddr);

impl SocketAddress {
    /// An address from its parts (Node's `new net.SocketAddress(options)`).
    ///
    /// Errors: `ERR_INVALID_ADDRESS` when the address is a string that is no address, or is not of the given family;
    /// `ERR_OUT_OF_RANGE` when an IPv6 flow label has more than 20 bits. Node's other two are impossible here: a family
    /// is always valid (reading one from a string has `ERR_INVALID_ARG_VALUE`), and so is a port
    /// (`ERR_SOCKET_BAD_PORT`).
    ///
    /// ```
    /// use sockeye::{SocketAddress, SocketAddressOptions};
    ///
    /// let error = SocketAddress::new(SocketAddressOptions::new().address("localhost")).unwrap_err();
    /// assert_eq!(error.code(), "ERR_INVALID_ADDRESS");
    /// ```
    pub fn new(options: SocketAddressOptions) -> Result<Self> {
        let SocketAddressOptions { address, family, flowlabel, port } = options;
        let address = match (address, family) {
            (Given::Address(address), family) => Some(address).filter(|_| family.is_none_or(|it| it == address.into())),
            (Given::NoAddress, _) => None,
            (Given::Nothing, Some(Family::Ipv6)) => Some(Ipv6Addr::UNSPECIFIED.into()),
            (Given::Nothing, _) => Some(Ipv4Addr::LOCALHOST.into()),
        };
        let is_ipv6 = address.map(Family::from).or(family) == Some(Family::Ipv6);
        if is_ipv6 && flowlabel > FLOW_LABEL_MASK {
            return Err(Error::out_of_range("options.flowlabel", FLOW_LABEL_MASK, flowlabel));
        }
        match address.ok_or_else(Error::invalid_address)? {
            IpAddr::V4(address) => Ok(SocketAddrV4::new(address, port).into()),
            IpAddr::V6(address) => Ok(SocketAddrV6::new(address, port, flowlabel.to_be(), 0).into()),
        }
    }

    /// Reads `1.2.3.4:80` or `[::1]:80`; without a port it is 0. `None` when the string is neither (Node's
    /// `SocketAddress.parse`, from v26).
    ///
    /// Node reads the string as a URL does and so takes `256` for `0.0.1.0`; here an address has to be written out. The
    /// scope of a link-local address may follow as a number (`[fe80::1%2]:80`).
    ///
    /// ```
    /// use sockeye::SocketAddress;
    ///
    /// assert_eq!(SocketAddress::parse("[1::1]:1234").unwrap().port(), 1234);
    /// assert_eq!(SocketAddress::parse("123.1.2.3").unwrap().port(), 0);
    /// assert_eq!(SocketAddress::parse("123.1.2.3:"), None);
    /// assert_eq!(SocketAddress::parse("256"), None);
    /// ```
    pub fn parse(input: &str) -> Option<Self> {
        input.parse().ok()
    }

    /// The address as Node writes it, without port and scope: `"127.0.0.1"`, `"::1"`, `"::ffff:1.2.3.4"` (Node's
    /// `address`). [`ip`](Self::ip) gives it as a value.
    pub fn address(&self) -> String {
        AddressText(self.ip()).to_string()
    }

    /// The address as a value.
    pub fn ip(&self) -> IpAddr {
        self.0.ip()
    }

    /// IPv4 or IPv6 (Node's `family`, which is in small letters: `'ipv4'`).
    pub fn family(&self) -> Family {
        self.0.into()
    }

    /// The IPv6 flow label, 20 bits; 0 for IPv4 (Node's `flowlabel`).
    pub fn flowlabel(&self) -> u32 {
        match self.0 {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => u32::from_be(address.flowinfo()) & FLOW_LABEL_MASK,
        }
    }

    /// The port (Node's `port`).
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}

const FLOW_LABEL_MASK: u32 = (1 << 20) - 1;

/// `127.0.0.1:0`, Node's `new net.SocketAddress()`.
impl Default for SocketAddress {
    fn default() -> Self {
        Self::from((Ipv4Addr::LOCALHOST, 0))
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port();
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{}:{port}", address.ip()),
            SocketAddr::V6(address) if address.scope_id() == 0 => write!(f, "[{}]:{port}", AddressText(self.ip())),
            SocketAddr::V6(address) => write!(f, "[{}%{}]:{port}", AddressText(self.ip()), address.scope_id()),
        }
    }
}

impl FromStr for SocketAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(address) = parse_with_port(text).or_else(|| parse_without_port(text)) {
            return Ok(Self(address));
        }
        match text.rsplit_once(':') {
            Some((address, port)) if is_number(port) && parse_without_port(address).is_some() => {
                Err(Error::bad_port(port))
            }
            _ => Err(Error::invalid_address()),
        }
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl From<SocketAddrV4> for SocketAddress {
    fn from(address: SocketAddrV4) -> Self {
        Self(address.into())
    }
}

impl From<SocketAddrV6> for SocketAddress {
    fn from(address: SocketAddrV6) -> Self {
        Self(address.into())
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for SocketAddress {
    fn from(parts: (I, u16)) -> Self {
        Self(parts.into())
    }
}

impl From<SocketAddress> for SocketAddr {
    fn from(address: SocketAddress) -> Self {
        address.0
    }
}

/// Fails with `ERR_INVALID_ADDRESS` for an IPv6 address, mapped or not.
impl TryFrom<SocketAddress> for SocketAddrV4 {
    type Error = Error;

    fn try_from(address: SocketAddress) -> Result<Self> {
        match address.0 {
            SocketAddr::V4(address) => Ok(address),
            SocketAddr::V6(_) => Err(Error::invalid_address()),
        }
    }
}

/// Fails with `ERR_INVALID_ADDRESS` for an IPv4 address.
impl TryFrom<SocketAddress> for SocketAddrV6 {
    type Error = Error;

    fn try_from(address: SocketAddress) -> Result<Self> {
        match address.0 {
            SocketAddr::V4(_) => Err(Error::invalid_address()),
            SocketAddr::V6(address) => Ok(address),
        }
    }
}

fn parse_with_port(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

fn parse_without_port(text: &str) -> Option<SocketAddr> {
    parse_with_port(&format!("{text}:0"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SocketAddressOptions {
        SocketAddressOptions::new()
    }

    #[test]
    fn defaults_are_nodes() {
        for (options, text, family, flowlabel) in [
            (options(), "127.0.0.1:0", Family::Ipv4, 0),
            (options().family(Family::Ipv4), "127.0.0.1:0", Family::Ipv4, 0),
            (options().family(Family::Ipv6), "[::]:0", Family::Ipv6, 0),
            (options().address("::1"), "[::1]:0", Family::Ipv6, 0),
            (options().address("1.2.3.4").flowlabel(5), "1.2.3.4:0", Family::Ipv4, 0),
            (options().address("1.2.3.4").flowlabel(u32::MAX), "1.2.3.4:0", Family::Ipv4, 0),
            (options().family(Family::Ipv6).flowlabel(0xfffff), "[::]:0", Family::Ipv6, 0xfffff),
            (options().address("FE80::0:1%eth9").port(65535), "[fe80::1]:65535", Family::Ipv6, 0),
            (options().address("::102:304").family(Family::Ipv6), "[::1.2.3.4]:0", Family::Ipv6, 0),
        ] {
            let address = SocketAddress::new(options).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!((address.family(), address.flowlabel()), (family, flowlabel), "{text}");
        }
        assert_eq!(SocketAddress::new(options()).unwrap(), SocketAddress::default());
    }

    #[test]
    fn errors_are_nodes() {
        let invalid = ("ERR_INVALID_ADDRESS", "Invalid socket address");
        let out_of_range = (
            "ERR_OUT_OF_RANGE",
            "The value of \"options.flowlabel\" is out of range. It must be >= 0 && <= 1048575. Received 1048576",
        );
        for (options, error) in [
            (options().address("x"), invalid),
            (options().address(""), invalid),
            (options().address("1.2.3.4").family(Family::Ipv6), invalid),
            (options().address("::1").family(Family::Ipv4), invalid),
            (options().address("x").family(Family::Ipv6), invalid),
            (options().family(Family::Ipv6).flowlabel(1 << 20), out_of_range),
            (options().address("x").family(Family::Ipv6).flowlabel(1 << 20), out_of_range),
        ] {
            let found = SocketAddress::new(options).unwrap_err();
            assert_eq!((found.code(), found.message()), error);
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for text in ["1.2.3.4:0", "1.2.3.4:65535", "[::1]:80", "[::ffff:1.2.3.4]:80", "[::1.2.3.4]:1", "[fe80::1%7]:1"]
        {
            assert_eq!(text.parse::<SocketAddress>().unwrap().to_string(), text);
        }
        for (text, same) in [("1.2.3.4", "1.2.3.4:0"), ("[FE80::1]", "[fe80::1]:0"), ("[::1]:080", "[::1]:80")] {
            assert_eq!(SocketAddress::parse(text).unwrap().to_string(), same);
        }
        for (text, code) in [
            ("1.2.3.4:65536", "ERR_SOCKET_BAD_PORT"),
            ("[::1]:99999999999999999999", "ERR_SOCKET_BAD_PORT"),
            ("1.2.3.4:-1", "ERR_INVALID_ADDRESS"),
            ("1.2.3.4:+1", "ERR_INVALID_ADDRESS"),
            ("1.2.3.4:", "ERR_INVALID_ADDRESS"),
            ("1.2.3.4:1:99999", "ERR_INVALID_ADDRESS"),
            ("1.2.3.4 ", "ERR_INVALID_ADDRESS"),
            ("[1.2.3.4]:1", "ERR_INVALID_ADDRESS"),
            ("[fe80::1%eth0]:1", "ERR_INVALID_ADDRESS"),
            ("::1", "ERR_INVALID_ADDRESS"),
            ("localhost:80", "ERR_INVALID_ADDRESS"),
            ("256", "ERR_INVALID_ADDRESS"),
            ("", "ERR_INVALID_ADDRESS"),
        ] {
            assert_eq!(text.parse::<SocketAddress>().unwrap_err().code(), code, "{text}");
            assert_eq!(SocketAddress::parse(text), None);
        }
    }

    #[test]
    fn converts_without_loss() {
        let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0x1234_5678_u32.to_be(), 3);
        assert_eq!(SocketAddr::from(SocketAddress::from(SocketAddr::V4(v4))), SocketAddr::V4(v4));
        assert_eq!(SocketAddrV4::try_from(SocketAddress::from(v4)).unwrap(), v4);
        assert_eq!(SocketAddrV6::try_from(SocketAddress::from(v6)).unwrap(), v6);
        assert_eq!(SocketAddrV4::try_from(SocketAddress::from(v6)).unwrap_err().code(), "ERR_INVALID_ADDRESS");
        assert_eq!(SocketAddrV6::try_from(SocketAddress::from(v4)).unwrap_err().code(), "ERR_INVALID_ADDRESS");
        assert_eq!(SocketAddress::from(v6).flowlabel(), 0x45678);
        assert_eq!(SocketAddress::from((Ipv4Addr::LOCALHOST, 80)), SocketAddress::from(v4));
    }

    #[test]
    fn a_flow_label_stands_in_network_byte_order() {
        let address = SocketAddress::new(options().family(Family::Ipv6).flowlabel(0x12345)).unwrap();
        assert_eq!(SocketAddrV6::try_from(address).unwrap().flowinfo().to_ne_bytes(), [0x00, 0x01, 0x23, 0x45]);
    }
}
