//! Connecting over a real network with addresses that are good, refusing, slow and dead. `.ci/netns` makes that network
//! and runs this inside; elsewhere each test says that it is left out.
//!
//! The tests run in the client's namespace, and listen in the server's.

#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use common::{describe, next, rest, settle};
use nix::sched::{CloneFlags, setns};
use sockeye::AutoSelectFamily::{Race, Serial};
use sockeye::{AutoSelectFamily, ConnectOptions, Error, Event, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// How long an attempt has. A slow address takes 600 ms.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_race_goes_around_a_dead_address() {
    over(["dead", "good"], async |network| {
        let _server = network.listen("good");
        let mut client = network.connect(Race);
        let expected = ["connectionAttempt dead", "connectionAttempt good", "connect", "ready"];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(network.attempted(&client), ["dead", "good"]);
        assert_eq!(client.peer_addr(), Some(network.address("good")));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
    })
    .await;
}

#[tokio::test]
async fn the_serial_way_gives_a_dead_address_up() {
    over(["dead", "good"], async |network| {
        let _server = network.listen("good");
        let mut client = network.connect(Serial);
        let expected =
            ["connectionAttempt dead", "connectionAttemptTimeout dead", "connectionAttempt good", "connect", "ready"];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(network.attempted(&client), ["dead", "good"]);
        assert_eq!(client.peer_addr(), Some(network.address("good")));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
    })
    .await;
}

#[tokio::test]
async fn a_race_goes_from_dead_ipv6_to_ipv4() {
    over(["dead_ipv6", "good"], async |network| {
        let _server = network.listen("good");
        let mut client = network.connect(Race);
        let expected = ["connectionAttempt dead_ipv6", "connectionAttempt good", "connect", "ready"];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(client.peer_addr(), Some(network.address("good")));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
    })
    .await;
}

#[tokio::test]
async fn families_take_turns_from_dead_ipv4_to_ipv6() {
    over(["dead", "dead_too", "good_ipv6"], async |network| {
        let _server = network.listen("good_ipv6");
        let mut client = network.connect(Race);
        let expected = ["connectionAttempt dead", "connectionAttempt good_ipv6", "connect", "ready"];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(client.peer_addr(), Some(network.address("good_ipv6")));
    })
    .await;
}

#[tokio::test]
async fn the_second_address_starts_at_once_when_the_first_refuses() {
    over(["refusing", "good"], async |network| {
        let _server = network.listen("good");
        for pace in [Race, Serial] {
            // Longer than the test may take: nothing waits for it.
            let mut client = network
                .connect_with(network.options(pace).auto_select_family_attempt_timeout(Duration::from_secs(3600)));
            let expected = [
                "connectionAttempt refusing",
                "connectionAttemptFailed refusing ECONNREFUSED",
                "connectionAttempt good",
                "connect",
                "ready",
            ];
            assert_eq!(network.until_ready(&mut client).await, expected);
            assert_eq!(network.attempted(&client), ["refusing", "good"]);
            client.destroy();
            assert_eq!(rest(&mut client).await, ["close false"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_address_wins_the_race_against_one_that_refuses() {
    over(["slow", "refusing"], async |network| {
        let _server = network.listen("slow");
        let mut client = network.connect(Race);
        let expected = [
            "connectionAttempt slow",
            "connectionAttempt refusing",
            "connectionAttemptFailed refusing ECONNREFUSED",
            "connect",
            "ready",
        ];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(network.attempted(&client), ["refusing", "slow"], "the winner is last");
        assert_eq!(client.peer_addr(), Some(network.address("slow")));
    })
    .await;
}

#[tokio::test]
async fn a_slow_address_wins_the_race_against_a_dead_one() {
    over(["slow", "dead"], async |network| {
        let _server = network.listen("slow");
        let mut client = network.connect(Race);
        let expected = ["connectionAttempt slow", "connectionAttempt dead", "connect", "ready"];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(network.attempted(&client), ["dead", "slow"], "the winner is last");
        assert_eq!(client.peer_addr(), Some(network.address("slow")));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
    })
    .await;
}

#[tokio::test]
async fn the_serial_way_fails_with_a_slow_address_and_one_that_refuses() {
    over(["slow", "refusing"], async |network| {
        let _server = network.listen("slow");
        let mut client = network.connect(Serial);
        let expected = [
            "connectionAttempt slow",
            "connectionAttemptTimeout slow",
            "connectionAttempt refusing",
            "connectionAttemptFailed refusing ECONNREFUSED",
        ];
        let (events, error) = network.until_error(&mut client).await;
        assert_eq!(events, expected);
        network.assert_aggregate(&error, [("slow", "ETIMEDOUT"), ("refusing", "ECONNREFUSED")]);
        assert_eq!(rest(&mut client).await, ["close true"]);
        settle().await;
        assert!(network.held().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_serial_way_fails_with_a_slow_address_and_a_dead_one() {
    over(["slow", "dead"], async |network| {
        let _server = network.listen("slow");
        let mut client = network.connect(Serial);
        let expected = [
            "connectionAttempt slow",
            "connectionAttemptTimeout slow",
            "connectionAttempt dead",
            "connectionAttemptFailed dead ETIMEDOUT",
        ];
        let (events, error) = network.until_error(&mut client).await;
        assert_eq!(events, expected);
        network.assert_aggregate(&error, [("slow", "ETIMEDOUT"), ("dead", "ETIMEDOUT")]);
        assert_eq!(rest(&mut client).await, ["close true"]);
        settle().await;
        assert!(network.held().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_serial_way_gives_the_last_slow_address_its_time() {
    over(["slow", "slow_too"], async |network| {
        let (_server, _server_too) = (network.listen("slow"), network.listen("slow_too"));
        let mut client = network.connect(Serial);
        let expected = [
            "connectionAttempt slow",
            "connectionAttemptTimeout slow",
            "connectionAttempt slow_too",
            "connect",
            "ready",
        ];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(client.peer_addr(), Some(network.address("slow_too")));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
    })
    .await;
}

#[tokio::test]
async fn a_race_between_slow_addresses_leaves_one_connection() {
    over(["slow", "slow_too"], async |network| {
        let (server, server_too) = (network.listen("slow"), network.listen("slow_too"));
        // Half of what a slow address takes, so that start, first and second are equally far apart.
        let options = network.options(Race).auto_select_family_attempt_timeout(Duration::from_millis(300));
        let mut client = network.connect_with(options);
        client.write("hello");
        let expected = ["connectionAttempt slow", "connectionAttempt slow_too", "connect", "ready"];
        assert_eq!(network.until_ready(&mut client).await, expected);
        assert_eq!(client.peer_addr(), Some(network.address("slow")));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
        client.end();
        assert_eq!(received(&server).await, "hello");

        // The network keeps the order, so whatever there is of the loser is there before this.
        let mut marker = TcpStream::connect(network.address("slow_too")).await.unwrap();
        marker.write_all(b"marker").await.unwrap();
        marker.shutdown().await.unwrap();
        loop {
            match received(&server_too).await.as_str() {
                "marker" => break,
                text => assert_eq!(text, "", "the loser carries nothing"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_loser_that_is_connected_too_is_closed_unused() {
    over(["slow", "slow_too"], async |network| {
        let (server, server_too) = (network.listen("slow"), network.listen("slow_too"));
        let mut client = network.connect(Race);
        client.write("hello");
        while network.describe(&next(&mut client).await) != "connectionAttempt slow_too" {}
        // Blocks the only thread of the runtime: nobody gets to choose until the kernel has both connections.
        let deadline = Instant::now() + Duration::from_secs(5);
        while network.held() != ["ESTABLISHED", "ESTABLISHED"] {
            assert!(Instant::now() < deadline, "sockets: {:?}", network.held());
            thread::yield_now();
        }
        assert_eq!((next(&mut client).await, next(&mut client).await), ("connect".into(), "ready".into()));
        settle().await;
        assert_eq!(network.held(), ["ESTABLISHED"]);
        client.end();
        let mut both = [received(&server).await, received(&server_too).await];
        let winner = network.attempted(&client).pop();
        assert_eq!(client.peer_addr().map(|address| network.describe(&address.to_string())), winner);
        if winner.as_deref() == Some("slow_too") {
            both.reverse();
        }
        assert_eq!(both, ["hello", ""]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_attempts_to_reach_dead_addresses() {
    over(["dead", "dead_too"], async |network| {
        let idle = Duration::from_millis(50);
        let mut client = network.connect_with(network.options(Race).timeout(idle));
        // The timeout and the second attempt come from different timers.
        let mut events = Vec::new();
        while events.len() < 3 {
            let event = network.describe(&next(&mut client).await);
            if !event.starts_with("lookup") {
                events.push(event);
            }
        }
        events.sort();
        assert_eq!(events, ["connectionAttempt dead", "connectionAttempt dead_too", "timeout"]);
        assert!(client.connecting());
        assert_eq!(network.held(), ["SYN_SENT", "SYN_SENT"]);
        client.destroy();
        assert_eq!(rest(&mut client).await, ["close false"]);
        settle().await;
        assert!(network.held().is_empty());
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_attempts_when_the_socket_is_dropped() {
    over(["dead", "dead_too"], async |network| {
        let mut client = network.connect(Race);
        while network.describe(&next(&mut client).await) != "connectionAttempt dead_too" {}
        assert_eq!(network.held(), ["SYN_SENT", "SYN_SENT"]);
        drop(client);
        settle().await;
        assert!(network.held().is_empty());
    })
    .await;
}

/// Some addresses with the names that `.ci/netns` gave them, and a port that only one test uses.
struct Network {
    addresses: Vec<(&'static str, SocketAddr)>,
}

/// Runs a test with these addresses, if they are there.
async fn over<const N: usize>(names: [&'static str; N], test: impl AsyncFnOnce(Network)) {
    static PORT: AtomicU16 = AtomicU16::new(8000);
    // One test at a time: the kernel's table of sockets shows some twice while others come and go.
    static TURN: Mutex<()> = Mutex::const_new(());
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let mut addresses = Vec::new();
    for name in names {
        let Some(ip) = variable(name) else {
            say(&format!("left out, as there is no address that is {name}; .ci/netns may make one"));
            return;
        };
        addresses.push((name, SocketAddr::new(ip.parse().unwrap(), port)));
    }
    let _turn = TURN.lock().await;
    tokio::time::timeout(Duration::from_secs(10), test(Network { addresses })).await.expect("the test hangs");
}

fn say(text: &str) {
    // The test runner names a test's thread after the test.
    println!("{}: {text}", thread::current().name().unwrap_or_default());
}

fn variable(name: &str) -> Option<String> {
    env::var(format!("SOCKEYE_NETNS_{}", name.to_uppercase())).ok()
}

impl Network {
    fn address(&self, name: &str) -> SocketAddr {
        self.addresses.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn listen(&self, name: &str) -> TcpListener {
        let namespace = File::open(variable("server").unwrap()).unwrap();
        let address = self.address(name);
        // A thread has a namespace of its own, and a socket stays in the one where it was made.
        let listener = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            std::net::TcpListener::bind(address).unwrap()
        });
        let listener = listener.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        TcpListener::from_std(listener).unwrap()
    }

    fn options(&self, pace: AutoSelectFamily) -> ConnectOptions {
        let found: Vec<SocketAddr> =
            self.addresses.iter().map(|(_, address)| SocketAddr::new(address.ip(), 0)).collect();
        ConnectOptions::new()
            .auto_select_family(pace)
            .auto_select_family_attempt_timeout(ATTEMPT_TIMEOUT)
            .lookup(move |_, _| ready(Ok(found.clone())))
    }

    fn connect(&self, pace: AutoSelectFamily) -> Socket {
        self.connect_with(self.options(pace))
    }

    fn connect_with(&self, options: ConnectOptions) -> Socket {
        options.connect(("server.test", self.addresses[0].1.port()))
    }

    /// The events of connecting, without the lookups, which are checked here.
    async fn until_ready(&self, client: &mut Socket) -> Vec<String> {
        let (events, error) = self.events(client).await;
        assert!(error.is_none(), "{error:?} after {events:?}");
        events
    }

    async fn until_error(&self, client: &mut Socket) -> (Vec<String>, Error) {
        let (events, error) = self.events(client).await;
        let error = error.unwrap_or_else(|| panic!("no error, but {events:?}"));
        (events, error)
    }

    async fn events(&self, client: &mut Socket) -> (Vec<String>, Option<Error>) {
        let start = Instant::now();
        for (name, _) in &self.addresses {
            assert_eq!(self.describe(&next(client).await), format!("lookup server.test {name}"));
        }
        let mut events = Vec::new();
        loop {
            let event = client.next().await.unwrap();
            let took = start.elapsed().as_millis();
            if let Event::Error(error) = event {
                say(&format!("{took} ms: {events:?}, then {error}"));
                return (events, Some(error));
            }
            events.push(self.describe(&describe(&event)));
            if let Event::Ready = event {
                say(&format!("{took} ms: {events:?}"));
                return (events, None);
            }
        }
    }

    fn attempted(&self, client: &Socket) -> Vec<String> {
        let attempted = client.auto_select_family_attempted_addresses();
        attempted.iter().map(|address| self.describe(&address.to_string())).collect()
    }

    /// The text with names in place of addresses.
    fn describe(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (name, address)| {
            text.replace(&address.to_string(), name).replace(&address.ip().to_string(), name)
        })
    }

    fn assert_aggregate<const N: usize>(&self, error: &Error, parts: [(&str, &str); N]) {
        assert_eq!((error.code(), error.message()), (parts[0].1, ""));
        assert_eq!(error.errors().len(), N, "{error}");
        for (error, (name, code)) in error.errors().iter().zip(parts) {
            let address = self.address(name);
            assert_eq!(error.message(), format!("connect {code} {address}"));
            assert_eq!((error.code(), error.syscall()), (code, Some("connect")));
            assert_eq!((error.address(), error.port()), (Some(&*address.ip().to_string()), Some(address.port())));
        }
    }

    /// The states of the sockets that this process has to any of the addresses.
    fn held(&self) -> Vec<String> {
        let port = format!(":{:04X}", self.addresses[0].1.port());
        let mut states = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                // What is closed already and only waits for its peer belongs to no process: it has no inode.
                let (remote, state, inode) = (fields[2], fields[3], fields[9]);
                if remote.ends_with(&port) && inode != "0" {
                    states.push(match state {
                        "01" => "ESTABLISHED".to_owned(),
                        "02" => "SYN_SENT".to_owned(),
                        other => other.to_owned(),
                    });
                }
            }
        }
        states
    }
}

/// All that comes over the next connection, which the peer has to end or to reset.
async fn received(server: &TcpListener) -> String {
    let (mut connection, _) = server.accept().await.unwrap();
    let mut received = String::new();
    match connection.read_to_string(&mut received).await {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => received,
    }
}
