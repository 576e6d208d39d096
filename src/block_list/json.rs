use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::BlockList;
use super::rule::Rule;

impl Serialize for BlockList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rules.iter().rev().map(Rule::to_string))
    }
}

impl<'de> Deserialize<'de> for BlockList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Rules)
    }
}

struct Rules;

impl<'de> Visitor<'de> for Rules {
    type Value = BlockList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<BlockList, A::Error> {
        let mut newest_first = Vec::new();
        while let Some(text) = texts.next_element::<String>()? {
            newest_first.extend(Rule::parse(&text));
        }
        let mut list = BlockList::new();
        newest_first.into_iter().rev().for_each(|rule| list.add(rule));
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_array_of_rules() {
        let mut list = BlockList::new();
        list.add_address("1.2.3.4").unwrap();
        list.add_range("::1", "::9").unwrap();
        list.add_cidr("10.1.2.3/8").unwrap();
        let json = serde_json::to_string(&list).unwrap();
        assert_eq!(json, r#"["Subnet: IPv4 10.1.2.3/8","Range: IPv6 ::1-::9","Address: IPv4 1.2.3.4"]"#);
        let read: BlockList = serde_json::from_str(&json).unwrap();
        assert_eq!(read.rules(), list.rules());
        assert!(read.check("::5") && read.check("10.9.9.9") && !read.check("::a"));
    }

    #[test]
    fn ignores_strings_that_are_no_rules() {
        let json = r#"["hello", "Address: IPv4 1.2.3.4", "Address: IPv4 1.2.3.256", "Range: IPv4 2.0.0.0-1.0.0.0"]"#;
        let list: BlockList = serde_json::from_str(json).unwrap();
        assert_eq!(list.rules(), ["Address: IPv4 1.2.3.4"]);
        assert!(serde_json::from_str::<BlockList>("[1]").is_err());
        assert!(serde_json::from_str::<BlockList>("{}").is_err());
    }
}
