//! `BlockList` against a scan over its rules, against real Node, and each of its errors.

mod node;
mod random;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use random::Random;
use sockeye::{BlockList, Error, SocketAddress};

#[test]
fn agrees_with_a_scan_while_rules_come_and_go() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let spread = [0x10, 0x100, 0x1_0000][seed as usize % 3];
        let mut list = BlockList::new();
        let mut rules = Vec::new();
        for _ in 0..150 {
            let rule = if random.one_in(3) && !rules.is_empty() {
                rules[random.below(rules.len())]
            } else {
                Rule::random(&mut random, spread)
            };
            if random.one_in(3) {
                let length = rules.len();
                rules.retain(|other| *other != rule);
                assert_eq!(rule.remove_from(&mut list), rules.len() < length, "{rule}");
            } else {
                rule.add_to(&mut list);
                rules.push(rule);
            }
            for _ in 0..20 {
                let address = address_near(&mut random, &rules, spread);
                let expected = rules.iter().any(|rule| rule.matches(address));
                assert_eq!(list.check(address), expected, "seed {seed}: {address} in {:?}", list.rules());
            }
        }
        assert_eq!(list.len(), rules.len());
        assert_eq!(list.rules(), rules.iter().rev().map(Rule::to_string).collect::<Vec<_>>());
    }
}

#[test]
fn agrees_with_a_scan_when_there_are_many_rules() {
    let mut random = Random(1);
    let mut list = BlockList::new();
    let rules: Vec<Rule> =
        (0..3_000).map(|_| Rule::random(&mut random, 0x1_0000)).filter(|rule| rule.is_small()).collect();
    rules.iter().for_each(|rule| rule.add_to(&mut list));
    let mut hits = 0;
    for _ in 0..3_000 {
        let address = address_near(&mut random, &rules, 0x1_0000);
        let expected = rules.iter().any(|rule| rule.matches(address));
        assert_eq!(list.check(address), expected, "{address}");
        hits += usize::from(expected);
    }
    assert!((300..2_700).contains(&hits), "{hits}");
}

#[test]
fn agrees_with_the_installed_node() {
    let mut random = Random(2);
    let lists: Vec<(Vec<Rule>, Vec<IpAddr>)> = (0..400)
        .map(|_| {
            let rules: Vec<_> = (0..random.below(6)).map(|_| Rule::random(&mut random, 0x40)).collect();
            let addresses = (0..40).map(|_| address_near(&mut random, &rules, 0x40)).collect();
            (rules, addresses)
        })
        .collect();
    let Some(answers) = ask_node(&lists).unwrap() else {
        println!("node is not on the path: not compared with it");
        return;
    };
    assert_eq!(answers.len(), lists.len());
    for ((rules, addresses), answer) in lists.iter().zip(answers) {
        let mut list = BlockList::new();
        rules.iter().for_each(|rule| rule.add_to(&mut list));
        let ours: String = addresses.iter().map(|address| if list.check(address) { '1' } else { '0' }).collect();
        assert_eq!(ours, answer, "{addresses:?} in {:?}", list.rules());
    }
}

#[test]
fn rules_are_read_in_nodes_words_and_in_short() {
    for (text, rule) in [
        ("Address: IPv4 10.0.0.1", "Address: IPv4 10.0.0.1"),
        ("Range: IPv6 ::1-::9", "Range: IPv6 ::1-::9"),
        ("Subnet: IPv4 10.1.2.3/8", "Subnet: IPv4 10.1.2.3/8"),
        ("10.0.0.1", "Address: IPv4 10.0.0.1"),
        ("2001:DB8::1", "Address: IPv6 2001:db8::1"),
        ("10.0.0.1-10.0.0.9", "Range: IPv4 10.0.0.1-10.0.0.9"),
        ("fe80::/10", "Subnet: IPv6 fe80::/10"),
    ] {
        let mut list = BlockList::new();
        list.add_rule(text).unwrap();
        assert_eq!(list.rules(), [rule]);
    }
}

#[test]
fn a_text_that_is_no_rule_says_what_is_wrong_with_it() {
    let invalid = |reason, received| format!("The argument 'rule' {reason}. Received '{received}'");
    let order = "The argument 'start' must come before end. Received '10.0.0.2'".to_owned();
    for (text, message) in [
        ("", invalid("names an invalid IP address", "")),
        ("localhost", invalid("names an invalid IP address", "localhost")),
        ("10.0.0.256", invalid("names an invalid IP address", "10.0.0.256")),
        ("10.0.0.1-x", invalid("names an invalid IP address", "x")),
        ("10.0.0/8", invalid("names an invalid IP address", "10.0.0")),
        ("10.0.0.0/x", invalid("must have a prefix length", "10.0.0.0/x")),
        ("10.0.0.2-10.0.0.1", order),
        ("Range: IPv4 10.0.0.1", invalid("must name both ends of a range", "10.0.0.1")),
        ("Subnet: IPv4 10.0.0.0", invalid("must have a prefix length", "10.0.0.0")),
        ("Host: IPv4 10.0.0.1", invalid("must be an Address, a Range or a Subnet", "Host: IPv4 10.0.0.1")),
        ("Address: 10.0.0.1", invalid("has no family", "Address: 10.0.0.1")),
        ("Address: IPv6 10.0.0.1", invalid("is not of the family that it names", "Address: IPv6 10.0.0.1")),
    ] {
        let mut list = BlockList::new();
        let error = list.add_rule(text).unwrap_err();
        assert_eq!((error.code(), error.message()), ("ERR_INVALID_ARG_VALUE", &*message), "{text}");
        assert!(list.is_empty());
    }
    assert_eq!(BlockList::new().add_rule("::/129").unwrap_err().code(), "ERR_OUT_OF_RANGE");
}

#[test]
fn errors_have_nodes_codes_and_messages() {
    let list = &mut BlockList::new();
    let invalid = ("ERR_INVALID_ADDRESS", "Invalid socket address");
    let order = ("ERR_INVALID_ARG_VALUE", "The argument 'start' must come before end. Received '1.2.3.5'");
    let order_ipv6 = ("ERR_INVALID_ARG_VALUE", "The argument 'start' must come before end. Received '::2'");
    let families = ("ERR_INVALID_ARG_VALUE", "The argument 'end' must be of the same family as start. Received '::1'");
    let prefix = |maximum, received| {
        format!("The value of \"prefix\" is out of range. It must be >= 0 && <= {maximum}. Received {received}")
    };
    let (prefix_33, prefix_129, prefix_300) = (prefix(32, 33), prefix(128, 129), prefix(32, 300));
    let no_prefix = "The argument 'cidr' must contain a prefix length (e.g. \"10.0.0.0/8\"). Received '10.0.0.0'";
    let bad_prefix = |cidr| format!("The argument 'cidr' has an invalid prefix length. Received '{cidr}'");
    let (bad_letters, bad_sign) = (bad_prefix("10.0.0.0/x"), bad_prefix("10.0.0.0/-1"));
    let bad_nothing = bad_prefix("10.0.0.0/");
    for (result, (code, message)) in [
        (list.add_address("localhost"), invalid),
        (list.add_address(String::from("1.2.3.4%lo")), invalid),
        (list.add_address("1.2.3.4\0"), invalid),
        (list.add_range("x", "1.2.3.4"), invalid),
        (list.add_range("1.2.3.4", "x"), invalid),
        (list.add_range("1.2.3.5", "1.2.3.4"), order),
        (list.add_range("::2", "::1"), order_ipv6),
        (list.add_range("1.2.3.5", "::1"), families),
        (list.add_subnet("x", 99), invalid),
        (list.add_subnet("10.1.2.3", 33), ("ERR_OUT_OF_RANGE", &prefix_33)),
        (list.add_subnet("::1", 129), ("ERR_OUT_OF_RANGE", &prefix_129)),
        (list.add_cidr("10.0.0.0/300"), ("ERR_OUT_OF_RANGE", &prefix_300)),
        (list.add_cidr("10.0.0.0"), ("ERR_INVALID_ARG_VALUE", no_prefix)),
        (list.add_cidr("10.0.0.0/x"), ("ERR_INVALID_ARG_VALUE", &bad_letters)),
        (list.add_cidr("10.0.0.0/-1"), ("ERR_INVALID_ARG_VALUE", &bad_sign)),
        (list.add_cidr("10.0.0.0/"), ("ERR_INVALID_ARG_VALUE", &bad_nothing)),
        (list.add_cidr("x/8"), invalid),
        (list.remove_address("x").map(drop), invalid),
        (list.remove_range("1.2.3.5", "1.2.3.4").map(drop), order),
        (list.remove_subnet("10.1.2.3", 33).map(drop), ("ERR_OUT_OF_RANGE", &prefix_33)),
        (list.remove_cidr("10.0.0.0").map(drop), ("ERR_INVALID_ARG_VALUE", no_prefix)),
    ] {
        let error: Error = result.unwrap_err();
        assert_eq!((error.code(), error.message(), error.kind()), (code, message, io::ErrorKind::InvalidInput));
    }
    assert!(list.is_empty());
}

#[test]
fn takes_addresses_in_every_form() {
    let mut list = BlockList::new();
    let socket: SocketAddr = "1.2.3.4:80".parse().unwrap();
    let address = SocketAddress::from(socket);
    list.add_address(address).unwrap();
    list.add_range(Ipv4Addr::new(2, 0, 0, 0), "2.0.0.9").unwrap();
    list.add_subnet(Ipv6Addr::LOCALHOST, 128).unwrap();
    list.add_cidr("fe80::1%eth0/64").unwrap();
    assert!(list.check(socket) && list.check(address) && list.check(socket.ip()) && list.check("1.2.3.4"));
    assert!(list.check(String::from("2.0.0.5")) && list.check(Ipv6Addr::LOCALHOST) && list.check("fe80::9%lo"));
    assert!(!list.check("2.0.0.10") && !list.check("1.2.3.4%lo") && !list.check("") && !list.check("localhost"));
    assert_eq!(
        list.rules(),
        ["Subnet: IPv6 fe80::1/64", "Subnet: IPv6 ::1/128", "Range: IPv4 2.0.0.0-2.0.0.9", "Address: IPv4 1.2.3.4"]
    );

    let original = list.clone();
    list.clear();
    assert!(list.is_empty() && list.rules().is_empty() && !list.check("1.2.3.4"));
    assert!(original.len() == 4 && original.check("1.2.3.4"));
}

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Address(IpAddr),
    Range(IpAddr, IpAddr),
    Subnet(IpAddr, u8),
}

impl Rule {
    fn random(random: &mut Random, spread: usize) -> Self {
        let address = address(random, spread);
        match random.below(3) {
            0 => Self::Address(address),
            1 => {
                let mut other = self::address(random, spread);
                while other.is_ipv4() != address.is_ipv4() {
                    other = self::address(random, spread);
                }
                Self::Range(address.min(other), address.max(other))
            }
            _ => {
                let bits = bits(address);
                let most = if random.one_in(6) { bits } else { 8 };
                Self::Subnet(address, bits - random.below(usize::from(most) + 1) as u8)
            }
        }
    }

    fn is_small(&self) -> bool {
        match *self {
            Self::Address(_) => true,
            Self::Range(..) => false,
            Self::Subnet(base, prefix) => prefix + 8 >= bits(base),
        }
    }

    fn matches(&self, address: IpAddr) -> bool {
        match *self {
            Self::Address(other) => other.to_canonical() == address.to_canonical(),
            Self::Range(start, end) if start.is_ipv4() == address.is_ipv4() => (start..=end).contains(&address),
            Self::Range(start, end) => {
                let [start, end, address] = [start, end, address].map(|address| address.to_canonical());
                start.is_ipv4() && end.is_ipv4() && address.is_ipv4() && (start..=end).contains(&address)
            }
            Self::Subnet(base, prefix) => {
                let address = match (base, address) {
                    (IpAddr::V6(_), IpAddr::V4(address)) => address.to_ipv6_mapped().into(),
                    (IpAddr::V4(_), IpAddr::V6(_)) => address.to_canonical(),
                    _ => address,
                };
                common_prefix(base, address).is_some_and(|common| common >= prefix.into())
            }
        }
    }

    fn add_to(&self, list: &mut BlockList) {
        let added = match *self {
            Self::Address(address) => list.add_address(address),
            Self::Range(start, end) => list.add_range(start, end),
            Self::Subnet(base, prefix) => list.add_subnet(base, prefix),
        };
        assert!(added.is_ok(), "{self}");
    }

    fn remove_from(&self, list: &mut BlockList) -> bool {
        let removed = match *self {
            Self::Address(address) => list.remove_address(address),
            Self::Range(start, end) => list.remove_range(start, end),
            Self::Subnet(base, prefix) => list.remove_cidr(&format!("{base}/{prefix}")),
        };
        matches!(removed, Ok(true))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address(address) => write!(f, "Address: {} {address}", family(address)),
            Self::Range(start, end) => write!(f, "Range: {} {start}-{end}", family(start)),
            Self::Subnet(base, prefix) => write!(f, "Subnet: {} {base}/{prefix}", family(base)),
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn common_prefix(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        _ => None,
    }
}

/// Addresses that lie close together in few places, among them both ends of each family and of the mapped addresses.
fn address(random: &mut Random, spread: usize) -> IpAddr {
    let offset = random.below(spread) as u32;
    let ipv4 = match random.below(8) {
        0 => Ipv4Addr::from_bits(offset),
        1 => Ipv4Addr::from_bits(u32::MAX - offset),
        _ => Ipv4Addr::from_bits(0x0a00_0000 + offset),
    };
    let around_mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().to_bits();
    match random.below(12) {
        0..4 => ipv4.into(),
        4..7 => ipv4.to_ipv6_mapped().into(),
        7 => Ipv6Addr::from_bits(around_mapped - 1 - u128::from(offset)).into(),
        8 => Ipv6Addr::from_bits(around_mapped + (1 << 32) + u128::from(offset)).into(),
        9 => Ipv6Addr::from_bits(u128::from(offset & 0xff)).into(),
        10 => Ipv6Addr::from_bits(u128::MAX - u128::from(offset)).into(),
        _ => Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(offset)).into(),
    }
}

/// An address that has a fair chance to be the first or the last one that a rule matches, or the one beyond.
fn address_near(random: &mut Random, rules: &[Rule], spread: usize) -> IpAddr {
    if rules.is_empty() || random.one_in(2) {
        return address(random, spread);
    }
    let edge = match rules[random.below(rules.len())] {
        Rule::Address(address) | Rule::Subnet(address, _) => address,
        Rule::Range(start, end) => [start, end][random.below(2)],
    };
    let step = random.below(3);
    match edge {
        IpAddr::V4(edge) => Ipv4Addr::from_bits(edge.to_bits().wrapping_add(step as u32).wrapping_sub(1)).into(),
        IpAddr::V6(edge) => Ipv6Addr::from_bits(edge.to_bits().wrapping_add(step as u128).wrapping_sub(1)).into(),
    }
}

/// For each list a line of zeros and ones, one for each address.
fn ask_node(lists: &[(Vec<Rule>, Vec<IpAddr>)]) -> io::Result<Option<Vec<String>>> {
    const SCRIPT: &str = "
        const net = require('net');
        const family = (address) => (net.isIPv6(address) ? 'ipv6' : 'ipv4');
        const add = {
            Address: (list, address) => list.addAddress(address, family(address)),
            Range: (list, range) => list.addRange(...range.split('-'), family(range.split('-')[0])),
            Subnet: (list, cidr) => {
                const [base, prefix] = cidr.split('/');
                list.addSubnet(base, Number(prefix), family(base));
            },
        };
        const answer = (line) => {
            const list = new net.BlockList();
            const [rules, addresses] = line.split(';');
            for (const rule of rules.split(',').filter(Boolean)) {
                const [, kind, text] = rule.match(/^(\\w+): \\w+ (.*)$/);
                add[kind](list, text);
            }
            return addresses.split(',').map((address) => Number(list.check(address, family(address)))).join('');
        };
        const lines = require('fs').readFileSync(0, 'utf8').trimEnd().split('\\n');
        console.log(lines.map(answer).join('\\n'));
    ";
    let join = |texts: Vec<String>| texts.join(",");
    let lines: String = lists
        .iter()
        .map(|(rules, addresses)| {
            let rules = join(rules.iter().map(Rule::to_string).collect());
            let addresses = join(addresses.iter().map(IpAddr::to_string).collect());
            format!("{rules};{addresses}\n")
        })
        .collect();
    let answers = node::run(SCRIPT, &lines)?;
    Ok(answers.map(|answers| answers.lines().map(String::from).collect()))
}
