use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::interval_set::Interval;
use super::parse_prefix;
use crate::address_text::AddressText;
use crate::is_ip::parse_ip;
use crate::{Error, Family, Result};

/// One rule as it was added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Address(IpAddr),
    Ipv4Range(Ipv4Addr, Ipv4Addr),
    Ipv6Range(Ipv6Addr, Ipv6Addr),
    Subnet(IpAddr, u8),
}

/// The addresses that a rule matches. An IPv6 address matches as well when it is the mapped form of a matching IPv4
/// address; that half of the relation is left to the look-up.
pub(super) struct Reach {
    pub(super) ipv4: Option<Interval<u32>>,
    pub(super) ipv6: Option<Interval<u128>>,
}

impl Rule {
    pub(super) fn range(start: IpAddr, end: IpAddr) -> Result<Self> {
        let (rule, is_ascending) = match (start, end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => (Self::Ipv4Range(start, end), start <= end),
            (IpAddr::V6(start), IpAddr::V6(end)) => (Self::Ipv6Range(start, end), start <= end),
            _ => return Err(Error::invalid_value("end", "must be of the same family as start", AddressText(end))),
        };
        if is_ascending {
            Ok(rule)
        } else {
            Err(Error::invalid_value("start", "must come before end", AddressText(start)))
        }
    }

    pub(super) fn subnet(base: IpAddr, prefix: u32) -> Result<Self> {
        let bits = match base {
            IpAddr::V4(_) => Ipv4Addr::BITS,
            IpAddr::V6(_) => Ipv6Addr::BITS,
        };
        match u8::try_from(prefix) {
            Ok(short) if prefix <= bits => Ok(Self::Subnet(base, short)),
            _ => Err(Error::out_of_range("prefix", bits, prefix)),
        }
    }

    pub(super) fn reach(self) -> Reach {
        match self {
            Self::Address(IpAddr::V4(address)) => Reach::ipv4(address, address),
            Self::Address(IpAddr::V6(address)) => Reach::ipv6_range(address, address),
            Self::Ipv4Range(start, end) => Reach::ipv4(start, end),
            Self::Ipv6Range(start, end) => Reach::ipv6_range(start, end),
            Self::Subnet(IpAddr::V4(base), prefix) => {
                let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                Reach::ipv4((base.to_bits() & !host).into(), (base.to_bits() | host).into())
            }
            Self::Subnet(IpAddr::V6(base), prefix) => {
                let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                Reach::ipv6_subnet(Interval { start: base.to_bits() & !host, end: base.to_bits() | host })
            }
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Address(address) | Self::Subnet(address, _) => address.into(),
            Self::Ipv4Range(..) => Family::Ipv4,
            Self::Ipv6Range(..) => Family::Ipv6,
        }
    }

    /// Reads what `Display` writes.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = |reason| move || Error::invalid_value("rule", reason, text);
        let (kind, rest) = text.split_once(": ").ok_or_else(invalid("has no kind"))?;
        let (family, body) = rest.split_once(' ').ok_or_else(invalid("has no family"))?;
        let rule = match kind {
            "Address" => Self::Address(parse_address(body)?),
            "Range" => Self::parse_range(body)?,
            "Subnet" => Self::parse_subnet(body)?,
            _ => return Err(invalid("must be an Address, a Range or a Subnet")()),
        };
        if rule.family().as_str() == family { Ok(rule) } else { Err(invalid("is not of the family that it names")()) }
    }

    /// Reads `address`, `start-end` or `base/prefix`.
    pub(super) fn parse_short(text: &str) -> Result<Self> {
        if text.contains('/') {
            Self::parse_subnet(text)
        } else if text.contains('-') {
            Self::parse_range(text)
        } else {
            parse_address(text).map(Self::Address)
        }
    }

    fn parse_range(text: &str) -> Result<Self> {
        let missing = || Error::invalid_value("rule", "must name both ends of a range", text);
        let (start, end) = text.split_once('-').ok_or_else(missing)?;
        Self::range(parse_address(start)?, parse_address(end)?)
    }

    fn parse_subnet(text: &str) -> Result<Self> {
        let missing = || Error::invalid_value("rule", "must have a prefix length", text);
        let (base, prefix) = text.split_once('/').ok_or_else(missing)?;
        Self::subnet(parse_address(base)?, parse_prefix(prefix).ok_or_else(missing)?)
    }
}

fn parse_address(text: &str) -> Result<IpAddr> {
    parse_ip(text).ok_or_else(|| Error::invalid_value("rule", "names an invalid IP address", text))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = self.family();
        match *self {
            Self::Address(address) => write!(f, "Address: {family} {}", AddressText(address)),
            Self::Ipv4Range(start, end) => write!(f, "Range: {family} {start}-{end}"),
            Self::Ipv6Range(start, end) => {
                write!(f, "Range: {family} {}-{}", AddressText(start.into()), AddressText(end.into()))
            }
            Self::Subnet(base, prefix) => write!(f, "Subnet: {family} {}/{prefix}", AddressText(base)),
        }
    }
}

impl Reach {
    fn ipv4(start: Ipv4Addr, end: Ipv4Addr) -> Self {
        Self { ipv4: Some(Interval { start: start.to_bits(), end: end.to_bits() }), ipv6: None }
    }

    /// To Node an IPv4 address cannot be compared with an IPv6 address that is not mapped, so a range reaches IPv4
    /// addresses only when both its ends are mapped.
    fn ipv6_range(start: Ipv6Addr, end: Ipv6Addr) -> Self {
        let ipv4 = start.to_ipv4_mapped().zip(end.to_ipv4_mapped());
        Self {
            ipv4: ipv4.map(|(start, end)| Interval { start: start.to_bits(), end: end.to_bits() }),
            ipv6: Some(Interval { start: start.to_bits(), end: end.to_bits() }),
        }
    }

    /// A subnet, unlike a range, reaches IPv4 addresses also when it is wider than the mapped addresses.
    fn ipv6_subnet(subnet: Interval<u128>) -> Self {
        let mapped = Interval {
            start: Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().to_bits(),
            end: Ipv4Addr::BROADCAST.to_ipv6_mapped().to_bits(),
        };
        let common = Interval { start: subnet.start.max(mapped.start), end: subnet.end.min(mapped.end) };
        let ipv4 = |mapped: u128| Ipv6Addr::from_bits(mapped).to_ipv4_mapped().map(Ipv4Addr::to_bits);
        Self {
            ipv4: ipv4(common.start).zip(ipv4(common.end)).map(|(start, end)| Interval { start, end }),
            ipv6: Some(subnet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_rule() {
        for text in [
            "",
            "Address: IPv4",
            "Address: IPv4 ",
            "Address: IPv6 1.2.3.4",
            "Address: IPv4 ::1",
            "Address: ipv4 1.2.3.4",
            "address: IPv4 1.2.3.4",
            "Host: IPv4 1.2.3.4",
            "Range: IPv4 1.2.3.4",
            "Range: IPv4 1.2.3.4-1.2.3.3",
            "Range: IPv4 1.2.3.4-::1",
            "Subnet: IPv4 1.2.3.4",
            "Subnet: IPv4 1.2.3.4/33",
            "Subnet: IPv4 1.2.3.4/-1",
            "Subnet: IPv4 1.2.3.4/+1",
            "Subnet: IPv4 1.2.3.4/",
            "Subnet: IPv6 ::/99999999999999999999",
        ] {
            assert_eq!(Rule::parse(text).ok(), None, "{text:?}");
        }
    }

    #[test]
    fn text_and_back() {
        for text in [
            "Address: IPv4 1.2.3.4",
            "Address: IPv6 ::1.2.3.4",
            "Address: IPv6 ::ffff:1.2.3.4",
            "Range: IPv4 1.2.3.4-1.2.3.4",
            "Range: IPv6 ::-ffff::",
            "Subnet: IPv4 10.1.2.3/8",
            "Subnet: IPv6 fe80::1/128",
            "Subnet: IPv6 ::/0",
        ] {
            assert_eq!(Rule::parse(text).unwrap().to_string(), text);
        }
    }
}
