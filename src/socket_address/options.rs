use std::net::IpAddr;

use crate::{Family, IntoIp};

/// What a [`SocketAddress`](crate::SocketAddress) is made of: the options of Node's `new net.SocketAddress(options)`.
///
/// Nothing is checked before [`SocketAddress::new`](crate::SocketAddress::new).
///
/// ```
/// use sockeye::{Family, SocketAddress, SocketAddressOptions};
///
/// let options = SocketAddressOptions::new().family(Family::Ipv6).port(8124);
/// assert_eq!(SocketAddress::new(options)?.to_string(), "[::]:8124");
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketAddressOptions {
    pub(super) address: Given,
    pub(super) family: Option<Family>,
    pub(super) flowlabel: u32,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Given {
    #[default]
    Nothing,
    Address(IpAddr),
    NoAddress,
}

impl SocketAddressOptions {
    /// All defaults, which make `127.0.0.1:0`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The IP address (Node's `address`). Default: `127.0.0.1`, or `::` when the family is IPv6.
    #[must_use]
    pub fn address(mut self, address: impl IntoIp) -> Self {
        self.address = address.into_ip().map_or(Given::NoAddress, Given::Address);
        self
    }

    /// The family (Node's `family`). Default: the address's own, or IPv4 when no address is given. Node's default is
    /// IPv4 even then, so that an IPv6 address alone is an error.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// The IPv6 flow label, 20 bits (Node's `flowlabel`). Default: 0. An IPv4 address ignores it.
    #[must_use]
    pub fn flowlabel(mut self, flowlabel: u32) -> Self {
        self.flowlabel = flowlabel;
        self
    }

    /// The port (Node's `port`). Default: 0.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}
