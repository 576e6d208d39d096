//! What needs no server: block lists and `is_ip`. `peers/micro.mjs` does the same on Node, Bun and Deno.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use sockeye::{BlockList, is_ip};

use crate::Failure;
use crate::flags::Flags;
use crate::load::figures;

const QUERIES: usize = 1024;
const LEAST_TIME: Duration = Duration::from_millis(100);

/// `micro blocklist --size RULES` or `micro is-ip`: prints the sample as JSON.
pub(crate) fn main(what: &str, flags: &Flags) -> Result<(), Failure> {
    let sample = match what {
        "blocklist" => block_list(flags.required("size")?)?,
        "is-ip" => figures([
            ("ipv4_ns", time_is_ip(&["127.0.0.1", "10.0.0.1", "192.168.100.200", "255.255.255.255"])),
            ("ipv6_ns", time_is_ip(&["::1", "fe80::1", "2001:db8:85a3::8a2e:370:7334", "2001:db8:1:2:3:4:5:6"])),
            ("neither_ns", time_is_ip(&["localhost", "127.000.000.001", "example.com", "2001:db8::g"])),
        ]),
        _ => return Err(format!("nothing called {what:?} is measured").into()),
    };
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// Rules 16 addresses apart, half of them single addresses, the others ranges and subnets of four. Half of the queries
/// meet a rule.
fn block_list(rules: usize) -> Result<crate::load::Sample, Failure> {
    let texts: Vec<_> = (0..rules as u32).map(|rule| (address(rule * 16), address(rule * 16 + 3))).collect();
    let build = || -> Result<BlockList, Failure> {
        let mut list = BlockList::new();
        for (rule, (first, last)) in texts.iter().enumerate() {
            match rule % 4 {
                2 => list.add_range(first.as_str(), last.as_str())?,
                3 => list.add_subnet(first.as_str(), 30)?,
                _ => list.add_address(first.as_str())?,
            }
        }
        Ok(list)
    };
    let list = build()?;
    let build_ns = time(rules, || drop(black_box(build())));
    let mut state = 1_u32;
    let queries: Vec<String> = (0..QUERIES as u32)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            address(state % rules as u32 * 16 + index % 2 * 8)
        })
        .collect();
    let parsed: Vec<IpAddr> = queries.iter().map(|query| query.parse()).collect::<Result<_, _>>()?;
    if (0..QUERIES).any(|index| list.check(parsed[index]) != (index % 2 == 0)) {
        return Err("the block list gives wrong answers".into());
    }
    let check_ns = time(QUERIES, || {
        for query in &queries {
            black_box(list.check(query.as_str()));
        }
    });
    let check_parsed_ns = time(QUERIES, || {
        for query in &parsed {
            black_box(list.check(*query));
        }
    });
    Ok(figures([("build_ns", build_ns), ("check_ns", check_ns), ("check_parsed_ns", check_parsed_ns)]))
}

fn address(offset: u32) -> String {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + offset).to_string()
}

fn time_is_ip(texts: &[&str]) -> f64 {
    time(texts.len() * 256, || {
        for text in texts.iter().cycle().take(texts.len() * 256) {
            black_box(is_ip(black_box(text)));
        }
    })
}

/// Nanoseconds of one call, where `run` makes so many.
fn time(calls: usize, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || start.elapsed() < LEAST_TIME {
        run();
        rounds += 1;
    }
    start.elapsed().as_nanos() as f64 / (rounds * calls) as f64
}
