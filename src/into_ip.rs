use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::SocketAddress;
use crate::is_ip::parse_ip;

/// What an IP address can be given as: a string, an address of [`std::net`] or a [`SocketAddress`], whose port is left
/// out.
///
/// A string says its own family, so there is no counterpart of the `type` argument of Node's functions. The zone of an
/// IPv6 address (`fe80::1%eth0`) is left out, as in Node.
///
/// ```
/// use sockeye::IntoIp;
/// use std::net::{IpAddr, Ipv4Addr};
///
/// let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// assert_eq!("127.0.0.1".into_ip(), Some(localhost));
/// assert_eq!(Ipv4Addr::LOCALHOST.into_ip(), Some(localhost));
/// assert_eq!("localhost".into_ip(), None);
/// ```
pub trait IntoIp {
    /// The address, or `None` when this is no address. Functions that return a [`Result`](crate::Result) turn `None`
    /// into `ERR_INVALID_ADDRESS`.
    fn into_ip(self) -> Option<IpAddr>;
}

impl IntoIp for &str {
    fn into_ip(self) -> Option<IpAddr> {
        parse_ip(self)
    }
}

impl IntoIp for String {
    fn into_ip(self) -> Option<IpAddr> {
        parse_ip(&self)
    }
}

impl IntoIp for &String {
    fn into_ip(self) -> Option<IpAddr> {
        parse_ip(self)
    }
}

impl IntoIp for IpAddr {
    fn into_ip(self) -> Option<IpAddr> {
        Some(self)
    }
}

impl IntoIp for Ipv4Addr {
    fn into_ip(self) -> Option<IpAddr> {
        Some(self.into())
    }
}

impl IntoIp for Ipv6Addr {
    fn into_ip(self) -> Option<IpAddr> {
        Some(self.into())
    }
}

impl IntoIp for SocketAddr {
    fn into_ip(self) -> Option<IpAddr> {
        Some(self.ip())
    }
}

impl IntoIp for SocketAddrV4 {
    fn into_ip(self) -> Option<IpAddr> {
        Some((*self.ip()).into())
    }
}

impl IntoIp for SocketAddrV6 {
    fn into_ip(self) -> Option<IpAddr> {
        Some((*self.ip()).into())
    }
}

impl IntoIp for SocketAddress {
    fn into_ip(self) -> Option<IpAddr> {
        Some(self.ip())
    }
}

// A blanket implementation for references to what is `Copy` would exclude `&String`.
macro_rules! by_reference {
    ($($address:ty),+) => {
        $(impl IntoIp for &$address {
            fn into_ip(self) -> Option<IpAddr> {
                (*self).into_ip()
            }
        })+
    };
}

by_reference!(&str, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, SocketAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_holds_an_address() {
        let v4 = Ipv4Addr::new(1, 2, 3, 4);
        let v6 = Ipv6Addr::LOCALHOST;
        let socket_v4 = SocketAddrV4::new(v4, 5);
        let socket_v6 = SocketAddrV6::new(v6, 5, 0, 0);
        for (address, given) in [
            (
                IpAddr::V4(v4),
                [
                    "1.2.3.4".into_ip(),
                    (&"1.2.3.4").into_ip(),
                    String::from("1.2.3.4").into_ip(),
                    (&String::from("1.2.3.4")).into_ip(),
                    v4.into_ip(),
                    (&v4).into_ip(),
                    IpAddr::V4(v4).into_ip(),
                    socket_v4.into_ip(),
                    SocketAddr::V4(socket_v4).into_ip(),
                    (&SocketAddress::from(socket_v4)).into_ip(),
                ],
            ),
            (
                IpAddr::V6(v6),
                [
                    "::1".into_ip(),
                    "::1%lo".into_ip(),
                    String::from("::1").into_ip(),
                    (&String::from("::1")).into_ip(),
                    v6.into_ip(),
                    (&v6).into_ip(),
                    IpAddr::V6(v6).into_ip(),
                    socket_v6.into_ip(),
                    SocketAddr::V6(socket_v6).into_ip(),
                    SocketAddress::from(socket_v6).into_ip(),
                ],
            ),
        ] {
            assert_eq!(given, [Some(address); 10]);
        }
        assert_eq!("localhost".into_ip(), None);
    }
}
