use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says what kind of IP address a string is: `4`, `6`, or `0` when it is none (Node's `net.isIP`).
///
/// An IPv6 address may carry a zone (`fe80::1%eth0`) of letters, digits, `-`, `.` and `:`. Leading zeros in an IPv4
/// part, spaces, brackets, ports and prefix lengths make a string no address.
///
/// ```
/// use sockeye::is_ip;
///
/// assert_eq!(is_ip("::1"), 6);
/// assert_eq!(is_ip("127.0.0.1"), 4);
/// assert_eq!(is_ip("127.000.000.001"), 0);
/// assert_eq!(is_ip("127.0.0.1/24"), 0);
/// assert_eq!(is_ip("fhqwhgads"), 0);
/// ```
pub fn is_ip(input: &str) -> u8 {
    if is_ipv4(input) {
        4
    } else if is_ipv6(input) {
        6
    } else {
        0
    }
}

/// Says whether a string is an IPv4 address in dotted decimal without leading zeros (Node's `net.isIPv4`).
///
/// ```
/// use sockeye::is_ipv4;
///
/// assert!(is_ipv4("127.0.0.1"));
/// assert!(!is_ipv4("127.000.000.001"));
/// assert!(!is_ipv4("127.0.0.1/24"));
/// assert!(!is_ipv4("fhqwhgads"));
/// ```
pub fn is_ipv4(input: &str) -> bool {
    input.parse::<Ipv4Addr>().is_ok()
}

/// Says whether a string is an IPv6 address, with or without a zone (Node's `net.isIPv6`).
///
/// ```
/// use sockeye::is_ipv6;
///
/// assert!(is_ipv6("::1"));
/// assert!(is_ipv6("fe80::1%eth0"));
/// assert!(!is_ipv6("fhqwhgads"));
/// ```
pub fn is_ipv6(input: &str) -> bool {
    let (address, zone_is_valid) = match input.split_once('%') {
        Some((address, zone)) => (address, !zone.is_empty() && zone.bytes().all(is_zone_byte)),
        None => (input, true),
    };
    zone_is_valid && address.parse::<Ipv6Addr>().is_ok()
}

/// Reads an address as Node's `BlockList` and `SocketAddress` do: the zone of an IPv6 address is left out, whatever
/// stands in it.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn is_zone_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_node_does() {
        for (input, answer) in [
            ("1.2.3.4", 4),
            ("255.255.255.255", 4),
            ("256.1.1.1", 0),
            ("01.2.3.4", 0),
            ("1.2.3", 0),
            ("1.2.3.4%a", 0),
            ("1.2.3.4 ", 0),
            ("1.2.3.4\n", 0),
            ("0x7f.0.0.1", 0),
            ("", 0),
            ("::", 6),
            ("0000::", 6),
            ("00000::", 0),
            ("FE80::A", 6),
            ("1:2:3:4:5:6:7::", 6),
            ("::2:3:4:5:6:7:8", 6),
            ("1:2:3:4:5:6:7::8", 0),
            ("1:2:3:4:5:6:7:8::", 0),
            ("1:::2", 0),
            ("[::1]", 0),
            ("::1/64", 0),
            ("::ffff:1.2.3.4", 6),
            ("::ffff:1.2.3.04", 0),
            ("1:2:3:4:5::1.2.3.4", 6),
            ("1:2:3:4:5:6::1.2.3.4", 0),
            ("::1:1.2.3.4:5", 0),
            ("fe80::1%eth0", 6),
            ("fe80::1%-.:", 6),
            ("fe80::1%", 0),
            ("fe80::1%a%b", 0),
            ("fe80::1%a_b", 0),
            ("fe80::1%\u{e4}", 0),
            ("%eth0", 0),
        ] {
            assert_eq!(is_ip(input), answer, "{input:?}");
            assert_eq!(is_ipv4(input), answer == 4, "{input:?}");
            assert_eq!(is_ipv6(input), answer == 6, "{input:?}");
        }
    }

    #[test]
    fn a_zone_is_left_out() {
        for (text, address) in [
            ("1.2.3.4", Some("1.2.3.4")),
            ("1.2.3.4%lo", None),
            ("fe80::1%lo", Some("fe80::1")),
            ("fe80::1%", Some("fe80::1")),
            ("fe80::1%@ b%c", Some("fe80::1")),
            ("%lo", None),
            ("", None),
        ] {
            assert_eq!(parse_ip(text), address.map(|address| address.parse().unwrap()), "{text:?}");
        }
    }
}
