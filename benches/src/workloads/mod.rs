//! What is measured, on whom, and how the figures are shown.

/// One workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    /// Who takes part if nobody is named.
    pub(crate) peers: &'static [&'static str],
    /// Whom the others are compared with.
    pub(crate) baseline: &'static str,
    /// The figure whose ratio to the baseline's is shown.
    pub(crate) ratio_of: &'static str,
    pub(crate) columns: &'static [Column],
    /// Memory does not vary as time does; a few rounds are enough.
    pub(crate) most_rounds: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A server in this mode, under a load of this shape.
    Load { mode: &'static str, shape: &'static str, connections: usize, size: usize, answer: usize, in_flight: usize },
    /// A process that measures itself.
    Micro { what: &'static str, size: usize },
}

/// A column of the table: its head, the figure, and how many decimals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static str, pub(crate) usize);

pub(crate) fn all() -> impl Iterator<Item = &'static Workload> {
    WORKLOADS.iter()
}

const MESSAGES: &[Column] = &[
    Column("msg/s", "messages_per_s", 0),
    Column("CPU us/msg", "cpu_us", 2),
    Column("user", "user_us", 2),
    Column("system", "system_us", 2),
    Column("p50 us", "p50_us", 0),
    Column("p99 us", "p99_us", 0),
    Column("RSS MiB", "rss_mib", 1),
    Column("busy %", "busy_percent", 0),
    Column("others %", "others_percent", 0),
];
const BULK: &[Column] = &[
    Column("MB/s", "mb_per_s", 0),
    Column("CPU s/GB", "cpu_s_per_gb", 3),
    Column("CPU us/msg", "cpu_us", 2),
    Column("user", "user_us", 2),
    Column("system", "system_us", 2),
    Column("p50 us", "p50_us", 0),
    Column("p99 us", "p99_us", 0),
    Column("RSS MiB", "rss_mib", 1),
    Column("busy %", "busy_percent", 0),
    Column("others %", "others_percent", 0),
];
const CONNECTIONS: &[Column] = &[
    Column("conn/s", "messages_per_s", 0),
    Column("CPU us/conn", "cpu_us", 2),
    Column("user", "user_us", 2),
    Column("system", "system_us", 2),
    Column("p50 us", "p50_us", 0),
    Column("p99 us", "p99_us", 0),
    Column("RSS MiB", "rss_mib", 1),
    Column("busy %", "busy_percent", 0),
    Column("others %", "others_percent", 0),
];
const MEMORY: &[Column] = &[
    Column("bytes/conn idle", "idle_bytes", 0),
    Column("bytes/conn used", "used_bytes", 0),
    Column("RSS MiB", "rss_mib", 1),
    Column("conn/s", "connections_per_s", 0),
    Column("CPU us/conn", "cpu_us", 2),
];
const FAIRNESS: &[Column] = &[
    Column("p50 us", "p50_us", 0),
    Column("p99 us", "p99_us", 0),
    Column("p99/p50", "p99_over_p50", 2),
    Column("max us", "max_us", 0),
    Column("msg/s", "messages_per_s", 0),
    Column("CPU us/msg", "cpu_us", 2),
    Column("busy %", "busy_percent", 0),
    Column("others %", "others_percent", 0),
];
const BLOCK_LIST: &[Column] = &[
    Column("build ns/rule", "build_ns", 0),
    Column("check ns (text)", "check_ns", 1),
    Column("check ns (parsed)", "check_parsed_ns", 1),
];
const IS_IP: &[Column] =
    &[Column("IPv4 ns", "ipv4_ns", 1), Column("IPv6 ns", "ipv6_ns", 1), Column("neither ns", "neither_ns", 1)];

const ECHO_PEERS: &[&str] = &[
    "epoll",
    "sockeye-events",
    "sockeye-pipe",
    "sockeye-async",
    "sockeye-listeners",
    "tokio",
    "tokio-64k",
    "sockeye-events-mt",
    "sockeye-pipe-mt",
    "sockeye-async-mt",
    "sockeye-listeners-mt",
    "tokio-mt",
    "tokio-64k-mt",
    "libuv",
    "go",
    "node",
    "node26",
    "bun",
    "deno",
];
const BULK_PEERS: &[&str] = &[
    "epoll",
    "epoll-16k",
    "sockeye-events",
    "sockeye-pipe",
    "sockeye-async",
    "sockeye-listeners",
    "tokio",
    "tokio-64k",
    "sockeye-events-mt",
    "sockeye-pipe-mt",
    "sockeye-async-mt",
    "tokio-mt",
    "tokio-64k-mt",
    "libuv",
    "go",
    "node",
    "node26",
    "bun",
    "deno",
];
const SINGLE_PEERS: &[&str] = &[
    "epoll",
    "sockeye-events",
    "sockeye-pipe",
    "sockeye-async",
    "sockeye-listeners",
    "tokio",
    "tokio-64k",
    "libuv",
    "go",
    "node",
    "node26",
    "bun",
    "deno",
];
const SCRIPTS: &[&str] = &["sockeye", "node", "node26", "bun", "deno"];

const ECHO: Workload = Workload {
    name: "echo-100",
    title: "echo of 64 B on 100 connections, one in flight on each",
    kind: Kind::Load { mode: "echo", shape: "closed", connections: 100, size: 64, answer: 64, in_flight: 1 },
    peers: ECHO_PEERS,
    baseline: "epoll",
    ratio_of: "cpu_us",
    columns: MESSAGES,
    most_rounds: usize::MAX,
};

const PROXY: Workload = Workload {
    name: "proxy",
    title: "16 KiB passed on to an echo server and back, on 50 connections, four in flight on each",
    kind: Kind::Load {
        mode: "proxy",
        shape: "closed",
        connections: 50,
        size: 16 << 10,
        answer: 16 << 10,
        in_flight: 4,
    },
    peers: &[
        "epoll",
        "epoll-16k",
        "epoll-splice",
        "sockeye-pipe",
        "sockeye-async",
        "tokio",
        "tokio-64k",
        "sockeye-pipe-mt",
        "tokio-mt",
        "haproxy",
        "go",
        "node",
        "node26",
        "bun",
        "deno",
    ],
    columns: BULK,
    ..ECHO
};

const IDLE: Workload = Workload {
    name: "idle-10k",
    title: "10,000 idle connections",
    kind: Kind::Load { mode: "echo", shape: "idle", connections: 10_000, size: 64, answer: 64, in_flight: 1 },
    peers: SINGLE_PEERS,
    // An epoll loop keeps a few words for a connection; a ratio to that says nothing.
    baseline: "tokio",
    ratio_of: "idle_bytes",
    columns: MEMORY,
    most_rounds: 2,
};

const BLOCK_LIST_10: Workload = Workload {
    name: "blocklist-10",
    title: "a block list of 10 rules",
    kind: Kind::Micro { what: "blocklist", size: 10 },
    peers: SCRIPTS,
    baseline: "sockeye",
    ratio_of: "check_ns",
    columns: BLOCK_LIST,
    most_rounds: 3,
};

static WORKLOADS: &[Workload] = &[
    ECHO,
    Workload {
        name: "echo-1000",
        title: "echo of 64 B on 1,000 connections, one in flight on each",
        kind: Kind::Load { mode: "echo", shape: "closed", connections: 1_000, size: 64, answer: 64, in_flight: 1 },
        ..ECHO
    },
    Workload {
        name: "echo-16k",
        title: "echo of 16 KiB on 50 connections, four in flight on each",
        kind: Kind::Load {
            mode: "echo",
            shape: "closed",
            connections: 50,
            size: 16 << 10,
            answer: 16 << 10,
            in_flight: 4,
        },
        peers: BULK_PEERS,
        columns: BULK,
        ..ECHO
    },
    Workload {
        name: "churn",
        title: "connect, one message of 64 B, its echo, close; 64 at a time",
        kind: Kind::Load { mode: "churn", shape: "churn", connections: 64, size: 64, answer: 64, in_flight: 1 },
        peers: SINGLE_PEERS,
        columns: CONNECTIONS,
        ..ECHO
    },
    Workload {
        name: "chatty",
        title: "each request of 64 B answered by 32 writes of 16 B, on 100 connections",
        kind: Kind::Load { mode: "chatty", shape: "closed", connections: 100, size: 64, answer: 512, in_flight: 1 },
        peers: &[
            "epoll",
            "sockeye-events",
            "sockeye-async",
            "sockeye-listeners",
            "sockeye-cork",
            "tokio",
            "tokio-bufwriter",
            "libuv",
            "go",
            "node",
            "node26",
            "bun",
            "deno",
        ],
        ..ECHO
    },
    Workload {
        name: "broadcast",
        title: "one message of 64 B written to 1,000 connections; per delivery, latency until the last one has it",
        kind: Kind::Load {
            mode: "broadcast",
            shape: "broadcast",
            connections: 1_000,
            size: 64,
            answer: 64,
            in_flight: 1,
        },
        peers: &[
            "epoll",
            "sockeye-events",
            "sockeye-listeners",
            "tokio",
            "sockeye-events-mt",
            "tokio-mt",
            "libuv",
            "go",
            "node",
            "node26",
            "bun",
            "deno",
        ],
        ..ECHO
    },
    PROXY,
    Workload {
        name: "proxy-bulk",
        title: "1 MiB passed on to an echo server and back, on 10 connections, one in flight on each",
        kind: Kind::Load {
            mode: "proxy",
            shape: "closed",
            connections: 10,
            size: 1 << 20,
            answer: 1 << 20,
            in_flight: 1,
        },
        ..PROXY
    },
    IDLE,
    Workload {
        name: "idle-100k",
        title: "100,000 idle connections",
        kind: Kind::Load { mode: "echo", shape: "idle", connections: 100_000, size: 64, answer: 64, in_flight: 1 },
        most_rounds: 1,
        ..IDLE
    },
    BLOCK_LIST_10,
    Workload {
        name: "blocklist-1k",
        title: "a block list of 1,000 rules",
        kind: Kind::Micro { what: "blocklist", size: 1_000 },
        ..BLOCK_LIST_10
    },
    Workload {
        name: "blocklist-1m",
        title: "a block list of 1,000,000 rules",
        kind: Kind::Micro { what: "blocklist", size: 1_000_000 },
        ..BLOCK_LIST_10
    },
    Workload {
        name: "is-ip",
        title: "is_ip",
        kind: Kind::Micro { what: "is-ip", size: 1 },
        ratio_of: "ipv4_ns",
        columns: IS_IP,
        ..BLOCK_LIST_10
    },
    Workload {
        name: "fairness",
        title: "echo of 64 B on 1,000 busy connections, servers with two threads",
        kind: Kind::Load { mode: "echo", shape: "closed", connections: 1_000, size: 64, answer: 64, in_flight: 1 },
        peers: &[
            "epoll",
            "sockeye-events-mt",
            "sockeye-pipe-mt",
            "sockeye-async-mt",
            "sockeye-listeners-mt",
            "tokio-mt",
            "tokio-64k-mt",
            "sockeye-events-fair",
            "sockeye-pipe-fair",
            "tokio-fair",
            "sockeye-events-cores",
            "sockeye-pipe-cores",
            "tokio-cores",
            "go-mt",
        ],
        ratio_of: "p99_us",
        columns: FAIRNESS,
        ..ECHO
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::servers::{CHATTY_PIECE, CHATTY_PIECES, REQUEST};

    #[test]
    fn names_are_unique_and_baselines_take_part() {
        let names: BTreeSet<_> = all().map(|workload| workload.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(all().all(|workload| workload.peers.contains(&workload.baseline)));
        assert!(all().all(|workload| workload.columns.iter().any(|column| column.1 == workload.ratio_of)));
    }

    #[test]
    fn chatty_answers_have_the_length_that_the_load_expects() {
        for workload in all() {
            if let Kind::Load { mode: "chatty", size, answer, .. } = workload.kind {
                assert_eq!((size, answer), (REQUEST, CHATTY_PIECES * CHATTY_PIECE.len()));
            }
        }
    }
}
