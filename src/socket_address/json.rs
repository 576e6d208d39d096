use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::{SocketAddress, SocketAddressOptions};
use crate::Family;

#[derive(serde::Serialize, serde::Deserialize)]
struct Json<'a> {
    address: Option<Cow<'a, str>>,
    #[serde(default)]
    port: u16,
    family: Option<Cow<'a, str>>,
    #[serde(default)]
    flowlabel: u32,
}

impl Serialize for SocketAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let family = match self.family() {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        Json {
            address: Some(self.address().into()),
            port: self.port(),
            family: Some(family.into()),
            flowlabel: self.flowlabel(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SocketAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        let mut options = SocketAddressOptions::new().port(json.port).flowlabel(json.flowlabel);
        if let Some(address) = json.address {
            options = options.address(address.as_ref());
        }
        if let Some(family) = json.family {
            options = options.family(family.parse().map_err(D::Error::custom)?);
        }
        Self::new(options).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_node_writes() {
        for (text, json) in [
            ("1.2.3.4:80", r#"{"address":"1.2.3.4","port":80,"family":"ipv4","flowlabel":0}"#),
            ("[::ffff:7b7b:7b7b]:0", r#"{"address":"::ffff:123.123.123.123","port":0,"family":"ipv6","flowlabel":0}"#),
        ] {
            let address: SocketAddress = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&address).unwrap(), json);
            assert_eq!(serde_json::from_str::<SocketAddress>(json).unwrap(), address);
        }
    }

    #[test]
    fn reads_what_the_constructor_takes() {
        for (json, text) in [
            ("{}", "127.0.0.1:0"),
            (r#"{"family":"IPv6","flowlabel":7}"#, "[::]:0"),
            (r#"{"address":"::1","port":9}"#, "[::1]:9"),
        ] {
            assert_eq!(serde_json::from_str::<SocketAddress>(json).unwrap().to_string(), text);
        }
        for (json, error) in [
            (r#"{"address":"x"}"#, "Invalid socket address"),
            (r#"{"family":"ipv5"}"#, "The property 'options.family' is invalid. Received 'ipv5'"),
            (r#"{"port":65536}"#, "invalid value: integer `65536`, expected u16"),
        ] {
            let found = serde_json::from_str::<SocketAddress>(json).unwrap_err().to_string();
            assert!(found.starts_with(error), "{found}");
        }
    }
}
