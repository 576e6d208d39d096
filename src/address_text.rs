use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Writes an address as Node does, which differs from the standard library for what lies in `::/96`: Node writes
/// `::1.2.3.4`, not `::102:304`.
pub(crate) struct AddressText(pub(crate) IpAddr);

impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let IpAddr::V6(address) = self.0 {
            let bits = address.to_bits();
            if bits > u16::MAX.into() {
                if let Ok(ipv4) = u32::try_from(bits) {
                    return write!(f, "::{}", Ipv4Addr::from_bits(ipv4));
                }
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_node_writes() {
        for (input, text) in [
            ("1.2.3.4", "1.2.3.4"),
            ("::FFFF:1.2.3.4", "::ffff:1.2.3.4"),
            ("::ffff:0:0", "::ffff:0.0.0.0"),
            ("::102:304", "::1.2.3.4"),
            ("::1:0", "::0.1.0.0"),
            ("::0.0.0.5", "::5"),
            ("::", "::"),
            ("::1:0:0", "::1:0:0"),
            ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
            ("::ffff:0:1.2.3.4", "::ffff:0:102:304"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
            ("0:2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
            ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"),
        ] {
            assert_eq!(AddressText(input.parse().unwrap()).to_string(), text);
        }
    }
}
