//! A list of addresses that shall not be talked to.

mod interval_set;
#[cfg(feature = "serde")]
mod json;
mod rule;

use std::net::IpAddr;

use crate::{Error, IntoIp, Result};

use interval_set::{Interval, IntervalSet};
use rule::{Reach, Rule};

/// A list of addresses, ranges and subnets, and a quick answer to whether an address is in one of them (Node's
/// `net.BlockList`).
///
/// An IPv6 address that is the mapped form of an IPv4 address (`::ffff:10.0.0.1`) matches rules for that IPv4 address,
/// and the other way round. As in Node, an IPv6 range matches IPv4 addresses only when both its ends are mapped
/// addresses, while every subnet that holds mapped addresses does.
///
/// A check takes time logarithmic in the number of rules and allocates nothing; adding a rule takes about as long,
/// removing one takes time proportional to the number of rules. Dropping the list drops the rules; a clone is
/// independent of its original. To change a list that others are reading, wrap it in a lock or swap an `Arc` of it.
///
/// Unlike Node's methods these take no `type` argument, because a string says its own family: what Node refuses with
/// `ERR_INVALID_ADDRESS` because the type does not fit is accepted here.
///
/// With the feature `serde` a list is written as its [`rules`](Self::rules) (Node's `toJSON`) and read from them
/// (Node's `fromJSON`): strings that are no rules are ignored, and the order stays.
///
/// ```
/// let mut block_list = sockeye::BlockList::new();
/// block_list.add_address("123.123.123.123")?;
/// block_list.add_range("10.0.0.1", "10.0.0.10")?;
/// block_list.add_subnet("8592:757c:efae:4e45::", 64)?;
///
/// assert!(block_list.check("123.123.123.123"));
/// assert!(block_list.check("10.0.0.3"));
/// assert!(!block_list.check("222.111.111.222"));
///
/// // IPv6 notation for IPv4 addresses works:
/// assert!(block_list.check("::ffff:7b7b:7b7b"));
/// assert!(block_list.check("::ffff:123.123.123.123"));
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BlockList {
    rules: Vec<Rule>,
    ipv4: IntervalSet<u32>,
    ipv6: IntervalSet<u128>,
}

impl BlockList {
    /// The private, loopback and link-local subnets of both families, for [`add_cidr`](Self::add_cidr) (Node's
    /// `BlockList.PRIVATE_RANGES`, from v26).
    ///
    /// ```
    /// use sockeye::BlockList;
    ///
    /// let mut block_list = BlockList::new();
    /// for cidr in BlockList::PRIVATE_RANGES {
    ///     block_list.add_cidr(cidr)?;
    /// }
    /// assert!(block_list.check("192.168.0.1"));
    /// assert!(!block_list.check("8.8.8.8"));
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub const PRIVATE_RANGES: [&str; 8] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "::1/128",
        "169.254.0.0/16",
        "fe80::/10",
        "fc00::/7",
    ];

    /// An empty list, which matches nothing (Node's `new net.BlockList()`).
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for one address (Node's `addAddress`).
    ///
    /// Errors: `ERR_INVALID_ADDRESS` when a string is no address.
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_address(std::net::Ipv6Addr::LOCALHOST)?;
    /// assert!(block_list.check("::1"));
    /// assert_eq!(block_list.add_address("localhost").unwrap_err().code(), "ERR_INVALID_ADDRESS");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn add_address(&mut self, address: impl IntoIp) -> Result<()> {
        self.add(Rule::Address(ip(address)?));
        Ok(())
    }

    /// Adds a rule for all addresses from `start` to `end`, both included (Node's `addRange`).
    ///
    /// Errors: `ERR_INVALID_ADDRESS` when a string is no address; `ERR_INVALID_ARG_VALUE` when `end` comes before
    /// `start` or belongs to the other family (Node calls the latter `ERR_INVALID_ADDRESS` for strings, and takes two
    /// [`SocketAddress`](crate::SocketAddress)es of different families).
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_range("10.0.0.1", "10.0.0.10")?;
    /// assert!(block_list.check("10.0.0.10"));
    /// assert_eq!(block_list.add_range("10.0.0.2", "10.0.0.1").unwrap_err().code(), "ERR_INVALID_ARG_VALUE");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn add_range(&mut self, start: impl IntoIp, end: impl IntoIp) -> Result<()> {
        self.add(Rule::range(ip(start)?, ip(end)?)?);
        Ok(())
    }

    /// Adds a rule for all addresses that share their first `prefix` bits with `base` (Node's `addSubnet`).
    ///
    /// The other bits of `base` do not matter, but stay in [`rules`](Self::rules).
    ///
    /// Errors: `ERR_INVALID_ADDRESS` when a string is no address; `ERR_OUT_OF_RANGE` when `prefix` is above 32 for IPv4
    /// or 128 for IPv6.
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_subnet("10.1.2.3", 8)?;
    /// assert!(block_list.check("10.200.0.1"));
    /// assert_eq!(block_list.rules(), ["Subnet: IPv4 10.1.2.3/8"]);
    /// assert_eq!(block_list.add_subnet("10.0.0.0", 33).unwrap_err().code(), "ERR_OUT_OF_RANGE");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn add_subnet(&mut self, base: impl IntoIp, prefix: u8) -> Result<()> {
        self.add(Rule::subnet(ip(base)?, prefix.into())?);
        Ok(())
    }

    /// Adds a rule for a subnet that is written as `base/prefix` (Node's `addCIDR`, from v26).
    ///
    /// Errors: `ERR_INVALID_ARG_VALUE` when there is no prefix or it is no number, otherwise those of
    /// [`add_subnet`](Self::add_subnet).
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_cidr("2001:db8::/32")?;
    /// assert!(block_list.check("2001:db8::1"));
    /// assert_eq!(block_list.add_cidr("2001:db8::").unwrap_err().code(), "ERR_INVALID_ARG_VALUE");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn add_cidr(&mut self, cidr: &str) -> Result<()> {
        self.add(parse_cidr(cidr)?);
        Ok(())
    }

    /// Adds a rule that stands in a text, as a line of a file does: in Node's words, as [`rules`](Self::rules) gives
    /// them, or as an address, a range `start-end` or a subnet `base/prefix` alone.
    ///
    /// Errors: `ERR_INVALID_ARG_VALUE` when it is none of these, or a range ends before it starts; `ERR_OUT_OF_RANGE`
    /// when a prefix is too long. The message names the part that is wrong.
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// for rule in ["Subnet: IPv4 10.0.0.0/8", "192.0.2.1", "2001:db8::1-2001:db8::9", "fe80::/10"] {
    ///     block_list.add_rule(rule)?;
    /// }
    /// assert!(block_list.check("2001:db8::5"));
    /// assert_eq!(block_list.add_rule("10.0.0.0/33").unwrap_err().code(), "ERR_OUT_OF_RANGE");
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn add_rule(&mut self, rule: &str) -> Result<()> {
        self.add(if rule.contains(": ") { Rule::parse(rule) } else { Rule::parse_short(rule) }?);
        Ok(())
    }

    /// Says whether an address matches a rule; a string that is no address matches none (Node's `check`).
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_subnet("0.0.0.0", 0)?;
    /// assert!(block_list.check("10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap()));
    /// assert!(!block_list.check("::1"));
    /// assert!(!block_list.check("localhost"));
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn check(&self, address: impl IntoIp) -> bool {
        match address.into_ip() {
            Some(IpAddr::V4(address)) => self.ipv4.contains(address.to_bits()),
            Some(IpAddr::V6(address)) => {
                let is_mapped_match =
                    address.to_ipv4_mapped().is_some_and(|mapped| self.ipv4.contains(mapped.to_bits()));
                is_mapped_match || self.ipv6.contains(address.to_bits())
            }
            None => false,
        }
    }

    /// The rules in Node's words, the newest first; one that was added twice stands there twice (Node's `rules`).
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_address("1.2.3.4")?;
    /// block_list.add_range("::1", "::9")?;
    /// assert_eq!(block_list.rules(), ["Range: IPv6 ::1-::9", "Address: IPv4 1.2.3.4"]);
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn rules(&self) -> Vec<String> {
        self.rules.iter().rev().map(Rule::to_string).collect()
    }

    /// The number of rules, each counted as often as it was added (Node's `size`, from v26).
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Says whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Removes all rules (Node's `clear`, from v26).
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes the rule that [`add_address`](Self::add_address) made for this address, however often it was added, and
    /// says whether there was one (Node's `removeAddress`, from v26). Ranges and subnets that hold the address stay.
    ///
    /// Errors: those of [`add_address`](Self::add_address).
    ///
    /// ```
    /// let mut block_list = sockeye::BlockList::new();
    /// block_list.add_address("1.2.3.4")?;
    /// assert!(block_list.remove_address("1.2.3.4")?);
    /// assert!(!block_list.remove_address("1.2.3.4")?);
    /// assert!(!block_list.check("1.2.3.4"));
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn remove_address(&mut self, address: impl IntoIp) -> Result<bool> {
        Ok(self.remove(Rule::Address(ip(address)?)))
    }

    /// Removes the rule that [`add_range`](Self::add_range) made for exactly these ends, however often it was added,
    /// and says whether there was one (Node's `removeRange`, from v26).
    ///
    /// Errors: those of [`add_range`](Self::add_range).
    pub fn remove_range(&mut self, start: impl IntoIp, end: impl IntoIp) -> Result<bool> {
        Ok(self.remove(Rule::range(ip(start)?, ip(end)?)?))
    }

    /// Removes the rule that [`add_subnet`](Self::add_subnet) or [`add_cidr`](Self::add_cidr) made for exactly this
    /// base and prefix, however often it was added, and says whether there was one (Node's `removeSubnet`, from v26).
    ///
    /// Errors: those of [`add_subnet`](Self::add_subnet).
    pub fn remove_subnet(&mut self, base: impl IntoIp, prefix: u8) -> Result<bool> {
        Ok(self.remove(Rule::subnet(ip(base)?, prefix.into())?))
    }

    /// Does what [`remove_subnet`](Self::remove_subnet) does with a subnet that is written as `base/prefix` (Node's
    /// `removeCIDR`, from v26).
    ///
    /// Errors: those of [`add_cidr`](Self::add_cidr).
    pub fn remove_cidr(&mut self, cidr: &str) -> Result<bool> {
        Ok(self.remove(parse_cidr(cidr)?))
    }

    fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
        let Reach { ipv4, ipv6 } = rule.reach();
        if let Some(interval) = ipv4 {
            self.ipv4.insert(interval);
        }
        if let Some(interval) = ipv6 {
            self.ipv6.insert(interval);
        }
    }

    fn remove(&mut self, rule: Rule) -> bool {
        let length = self.rules.len();
        self.rules.retain(|other| *other != rule);
        if self.rules.len() == length {
            return false;
        }
        // The interval that the rule lies in may be the union of many rules. They all lie within it, so those that are
        // left put together again what shall stay.
        let reach = rule.reach();
        let ipv4 = reach.ipv4.and_then(|interval| self.ipv4.take(interval.start));
        let ipv6 = reach.ipv6.and_then(|interval| self.ipv6.take(interval.start));
        for other in &self.rules {
            let reach = other.reach();
            if let Some(interval) = common(ipv4, reach.ipv4) {
                self.ipv4.insert(interval);
            }
            if let Some(interval) = common(ipv6, reach.ipv6) {
                self.ipv6.insert(interval);
            }
        }
        true
    }
}

fn ip(address: impl IntoIp) -> Result<IpAddr> {
    address.into_ip().ok_or_else(Error::invalid_address)
}

fn parse_cidr(cidr: &str) -> Result<Rule> {
    let Some((base, prefix)) = cidr.rsplit_once('/') else {
        return Err(Error::invalid_value("cidr", "must contain a prefix length (e.g. \"10.0.0.0/8\")", cidr));
    };
    match parse_prefix(prefix) {
        Some(prefix) => Rule::subnet(ip(base)?, prefix),
        None => Err(Error::invalid_value("cidr", "has an invalid prefix length", cidr)),
    }
}

fn parse_prefix(text: &str) -> Option<u32> {
    // `parse` alone would also take a plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// What a rule contributes to a merged interval. Inserting a rule that lies elsewhere would change nothing, but cost a
/// look-up for each rule of the list.
fn common<T: interval_set::Number>(merged: Option<Interval<T>>, part: Option<Interval<T>>) -> Option<Interval<T>> {
    let merged = merged?;
    part.filter(|part| merged.contains(*part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rules: &[&str]) -> BlockList {
        let mut list = BlockList::new();
        rules.iter().for_each(|rule| list.add(Rule::parse(rule).unwrap()));
        list
    }

    /// Each answer is Node's, for the addresses at the head of the table.
    #[test]
    fn mapped_addresses_and_rules_of_the_other_family() {
        let addresses = ["1.1.1.1", "::ffff:1.1.1.1", "255.255.255.255", "::ffff:255.255.255.255", "::1.1.1.1"];
        for (rule, answers) in [
            ("Address: IPv4 1.1.1.1", [true, true, false, false, false]),
            ("Address: IPv6 ::ffff:1.1.1.1", [true, true, false, false, false]),
            ("Address: IPv6 ::1.1.1.1", [false, false, false, false, true]),
            ("Range: IPv4 0.0.0.0-255.255.255.255", [true, true, true, true, false]),
            ("Range: IPv6 ::ffff:0.0.0.1-::ffff:2.2.2.2", [true, true, false, false, false]),
            ("Range: IPv6 ::-ffff::", [false, true, false, true, true]),
            ("Range: IPv6 ::-::ffff:2.2.2.2", [false, true, false, false, true]),
            ("Range: IPv6 ::ffff:0.0.0.1-ffff::", [false, true, false, true, false]),
            ("Subnet: IPv4 1.1.1.1/0", [true, true, true, true, false]),
            ("Subnet: IPv4 1.1.1.1/1", [true, true, false, false, false]),
            ("Subnet: IPv6 ::ffff:1.1.1.1/0", [true, true, true, true, true]),
            ("Subnet: IPv6 ::ffff:1.1.1.1/80", [true, true, true, true, true]),
            ("Subnet: IPv6 ::ffff:1.1.1.1/81", [true, true, true, true, false]),
            ("Subnet: IPv6 ::ffff:1.1.1.1/96", [true, true, true, true, false]),
            ("Subnet: IPv6 ::ffff:1.1.1.1/97", [true, true, false, false, false]),
            ("Subnet: IPv6 ::ffff:1.1.1.1/128", [true, true, false, false, false]),
            ("Subnet: IPv6 ::fffe:0:0/96", [false, false, false, false, false]),
        ] {
            let list = list(&[rule]);
            assert_eq!(addresses.map(|address| list.check(address)), answers, "{rule}");
        }
    }

    #[test]
    fn a_removed_rule_leaves_what_others_cover() {
        let mut list = list(&[
            "Subnet: IPv4 10.0.0.0/8",
            "Range: IPv4 9.0.0.0-10.0.0.9",
            "Address: IPv4 10.0.1.1",
            "Address: IPv6 ::ffff:10.0.2.2",
            "Address: IPv4 11.0.0.0",
            "Subnet: IPv4 10.0.0.0/8",
        ]);
        assert!(list.remove_subnet("10.0.0.0", 8).unwrap());
        assert_eq!(list.len(), 4);
        for (address, answer) in [
            ("8.255.255.255", false),
            ("9.0.0.0", true),
            ("10.0.0.9", true),
            ("10.0.0.10", false),
            ("10.0.1.1", true),
            ("::ffff:10.0.1.1", true),
            ("10.0.2.2", true),
            ("::ffff:10.0.2.2", true),
            ("10.0.2.3", false),
            ("11.0.0.0", true),
        ] {
            assert_eq!(list.check(address), answer, "{address}");
        }
        assert!(!list.remove_subnet("10.0.0.0", 8).unwrap());
        assert!(!list.remove_address("::ffff:10.0.1.1").unwrap());
        assert!(list.remove_address("::ffff:10.0.2.2").unwrap());
        assert!(!list.check("10.0.2.2"));
        assert!(!list.check("::ffff:10.0.2.2"));
    }

    #[test]
    fn is_what_threads_may_share() {
        fn check<T: Clone + Send + Sync + std::fmt::Debug + Default>() {}
        check::<BlockList>();
    }
}
