//! Names with several addresses: which are tried, in which order, and what comes of it.
#![cfg(target_os = "linux")]

mod addresses;
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use addresses::{
    BlackHole, Refusing, always, attempts_are, has_ipv6, refusing_beside, server_beside, server_beside_black_hole,
};
use common::{bounded, next, rest};
use sockeye::{AutoSelectFamily, ConnectOptions, Event, Socket};

/// Options whose lookup finds these addresses. The next address is tried only when one has failed.
fn patient(ips: &[&str]) -> ConnectOptions {
    ConnectOptions::new().lookup(always(ips)).auto_select_family_attempt_timeout(Duration::from_secs(3600))
}

/// Options whose lookup finds these addresses, with the shortest attempt timeout.
fn hasty(ips: &[&str]) -> ConnectOptions {
    ConnectOptions::new().lookup(always(ips)).auto_select_family_attempt_timeout(Duration::from_millis(1))
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

async fn until_ready(socket: &mut Socket) -> Vec<String> {
    let mut events = Vec::new();
    while events.last().is_none_or(|event| event != "ready") {
        let event = next(socket).await;
        assert_ne!(event, "nothing", "after {events:?}");
        events.push(event);
    }
    events
}

/// The defaults are the process's, so one test has to do everything that changes them.
#[tokio::test]
async fn the_defaults_can_be_changed_for_the_whole_process() {
    bounded(async {
        let timeout = sockeye::default_auto_select_family_attempt_timeout;
        let set_timeout = sockeye::set_default_auto_select_family_attempt_timeout;
        assert_eq!(sockeye::default_auto_select_family(), AutoSelectFamily::Race);
        assert_eq!(AutoSelectFamily::default(), AutoSelectFamily::Race);
        assert_eq!(timeout(), Duration::from_millis(250));

        for value in [AutoSelectFamily::Serial, AutoSelectFamily::Off, AutoSelectFamily::Race] {
            sockeye::set_default_auto_select_family(value);
            assert_eq!(sockeye::default_auto_select_family(), value);
        }
        for (given, used) in [(1, 10), (10, 10), (700, 700)] {
            set_timeout(Duration::from_millis(given)).unwrap();
            assert_eq!(timeout(), Duration::from_millis(used));
        }
        for refused in [Duration::ZERO, Duration::from_micros(999), Duration::from_millis(1 << 31)] {
            assert_eq!(set_timeout(refused).unwrap_err().code(), "ERR_OUT_OF_RANGE");
            assert_eq!(timeout(), Duration::from_millis(700));
        }

        // Every other test of this file says what it wants itself, so it does not mind.
        sockeye::set_default_auto_select_family(AutoSelectFamily::Serial);
        set_timeout(Duration::from_millis(10)).unwrap();
        let (_server, port, _black_hole) = server_beside_black_hole("127.0.0.1", "127.0.0.2").await;
        let options = ConnectOptions::new().lookup(always(&["127.0.0.2", "127.0.0.1"]));
        let events = until_ready(&mut options.connect(("name", port))).await;
        assert!(events.contains(&format!("connectionAttemptTimeout 127.0.0.2:{port}")), "{events:?}");

        sockeye::set_default_auto_select_family(AutoSelectFamily::Race);
        set_timeout(Duration::from_millis(250)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_attempt_timeout_of_zero_is_out_of_range() {
    bounded(async {
        for refused in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
            let options = ConnectOptions::new().auto_select_family_attempt_timeout(refused);
            let socket = Socket::new();
            let error = socket.connect_with(("127.0.0.1", 1), options.clone()).unwrap_err();
            assert_eq!((error.code(), error.kind()), ("ERR_OUT_OF_RANGE", std::io::ErrorKind::InvalidInput));
            assert!(!socket.connecting() && !socket.destroyed());
            assert_eq!(options.connect(("127.0.0.1", 1)).await.unwrap_err().code(), "ERR_OUT_OF_RANGE");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_address_is_followed_by_the_next() {
    bounded(async {
        for mode in [AutoSelectFamily::Race, AutoSelectFamily::Serial] {
            let (mut server, port, _refusing) = server_beside("127.0.0.1", &["127.0.0.2"]).await;
            let (refuses, works) = (address("127.0.0.2", port), address("127.0.0.1", port));
            let mut socket = patient(&["127.0.0.2", "127.0.0.1"]).auto_select_family(mode).connect(("name", port));
            assert_eq!(
                until_ready(&mut socket).await,
                [
                    "lookup name 127.0.0.2".to_owned(),
                    "lookup name 127.0.0.1".to_owned(),
                    format!("connectionAttempt {refuses}"),
                    format!("connectionAttemptFailed {refuses} ECONNREFUSED"),
                    format!("connectionAttempt {works}"),
                    "connect".to_owned(),
                    "ready".to_owned(),
                ]
            );
            assert_eq!(socket.auto_select_family_attempted_addresses(), [refuses, works]);
            assert_eq!(socket.peer_addr(), Some(works));
            server.accept().await.unwrap().end();
            assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_works_is_the_only_one_tried() {
    bounded(async {
        for mode in [AutoSelectFamily::Race, AutoSelectFamily::Serial] {
            let mut server = sockeye::Server::new();
            server.listen(("0.0.0.0", 0)).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            let mut socket = patient(&["127.0.0.1", "127.0.0.2"]).auto_select_family(mode).connect(("name", port));
            let works = address("127.0.0.1", port);
            assert_eq!(
                until_ready(&mut socket).await[2..],
                [format!("connectionAttempt {works}"), "connect".to_owned(), "ready".to_owned()]
            );
            assert_eq!(socket.auto_select_family_attempted_addresses(), [works]);

            assert_eq!(server.accept().await.unwrap().peer_addr(), socket.address());
            let last = sockeye::connect(works).await.unwrap();
            assert_eq!(server.accept().await.unwrap().peer_addr(), last.address(), "no other came in between");
        }
    })
    .await;
}

#[tokio::test]
async fn off_only_the_first_address_is_tried() {
    bounded(async {
        let (server, port, _refusing) = server_beside("127.0.0.1", &["127.0.0.2"]).await;
        let off = |ips: &[&str]| patient(ips).auto_select_family(AutoSelectFamily::Off).connect(("name", port));
        let refuses = address("127.0.0.2", port);
        let mut socket = off(&["127.0.0.2", "127.0.0.1"]);
        assert_eq!(
            rest(&mut socket).await,
            [
                "lookup name 127.0.0.2".to_owned(),
                format!("connectionAttempt {refuses}"),
                format!("connectionAttemptFailed {refuses} ECONNREFUSED"),
                format!("error connect ECONNREFUSED {refuses}"),
                "close true".to_owned(),
            ]
        );
        assert!(socket.auto_select_family_attempted_addresses().is_empty());

        let socket = off(&["127.0.0.1", "127.0.0.2"]).await.unwrap();
        assert!(socket.auto_select_family_attempted_addresses().is_empty());
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn if_all_fail_the_error_has_all_the_reasons() {
    bounded(async {
        for mode in [AutoSelectFamily::Race, AutoSelectFamily::Serial] {
            let ips = ["127.0.0.1", "127.0.0.2"];
            let (port, _refusing) = refusing_beside(&ips);
            let mut socket = patient(&ips).auto_select_family(mode).connect(("name", port));
            let error = loop {
                match socket.next().await.unwrap() {
                    Event::Error(error) => break error,
                    event => assert!(!matches!(event, Event::Close { .. })),
                }
            };
            assert_eq!((error.code(), error.message()), ("ECONNREFUSED", ""));
            assert_eq!((error.syscall(), error.address(), error.port()), (None, None, None));
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            let messages = ips.map(|ip| format!("connect ECONNREFUSED {ip}:{port}"));
            assert_eq!(error.errors().iter().map(|error| error.message()).collect::<Vec<_>>(), messages);
            assert_eq!(error.to_string(), messages.join(", "));
            let attempted = ips.map(|ip| address(ip, port));
            assert_eq!(socket.auto_select_family_attempted_addresses(), attempted);
            assert_eq!(rest(&mut socket).await, ["close true"]);
            assert_eq!(socket.auto_select_family_attempted_addresses(), attempted);
            assert_eq!(socket.peer_addr(), None);
        }
    })
    .await;
}

#[tokio::test]
async fn an_aggregate_survives_the_way_through_await() {
    bounded(async {
        let ips = ["127.0.0.1", "127.0.0.2"];
        let (port, _refusing) = refusing_beside(&ips);
        let error = patient(&ips).connect(("name", port)).await.unwrap_err();
        assert_eq!((error.code(), error.errors().len()), ("ECONNREFUSED", 2));
        let through = sockeye::Error::from(std::io::Error::from(error));
        assert_eq!((through.code(), through.errors().len()), ("ECONNREFUSED", 2));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_address_is_tried_once() {
    bounded(async {
        let (port, _refusing) = refusing_beside(&["127.0.0.1", "127.0.0.2"]);
        let mut socket = patient(&["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"]).connect(("name", port));
        let events = rest(&mut socket).await;
        let attempts: Vec<_> = events.iter().filter(|event| event.starts_with("connectionAttempt ")).collect();
        assert_eq!(
            attempts,
            [&format!("connectionAttempt 127.0.0.1:{port}"), &format!("connectionAttempt 127.0.0.2:{port}")]
        );
    })
    .await;
}

#[tokio::test]
async fn a_single_address_fails_with_a_plain_error() {
    bounded(async {
        let refusing = Refusing::new("127.0.0.1");
        let port = refusing.address().port();
        for ips in [&["127.0.0.1"][..], &["127.0.0.1", "127.0.0.1"]] {
            let mut socket = patient(ips).connect(("name", port));
            let events = rest(&mut socket).await;
            let refused = format!("error connect ECONNREFUSED 127.0.0.1:{port}");
            assert_eq!(events.last_chunk(), Some(&[refused, "close true".to_owned()]));
            assert!(socket.auto_select_family_attempted_addresses().is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_ipv6_address_is_followed_by_ipv4() {
    if !has_ipv6("a refused IPv6 address and one of IPv4 that works") {
        return;
    }
    bounded(async {
        let (_server, port, _refusing) = server_beside("127.0.0.1", &["::1"]).await;
        let mut socket = patient(&["::1", "127.0.0.1"]).connect(("name", port));
        assert_eq!(
            until_ready(&mut socket).await[2..],
            [
                format!("connectionAttempt [::1]:{port}"),
                format!("connectionAttemptFailed [::1]:{port} ECONNREFUSED"),
                format!("connectionAttempt 127.0.0.1:{port}"),
                "connect".to_owned(),
                "ready".to_owned(),
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_slow_attempt_gets_company() {
    bounded(async {
        let (mut server, port, _black_hole) = server_beside_black_hole("127.0.0.1", "127.0.0.2").await;
        let (slow, works) = (address("127.0.0.2", port), address("127.0.0.1", port));
        let mut socket =
            hasty(&["127.0.0.2", "127.0.0.1"]).auto_select_family(AutoSelectFamily::Race).connect(("name", port));
        assert_eq!(
            until_ready(&mut socket).await[2..],
            [
                format!("connectionAttempt {slow}"),
                format!("connectionAttempt {works}"),
                "connect".to_owned(),
                "ready".to_owned()
            ]
        );
        assert_eq!(socket.auto_select_family_attempted_addresses(), [slow, works]);
        assert_eq!(server.accept().await.unwrap().peer_addr(), socket.address());
    })
    .await;
}

#[tokio::test]
async fn serially_a_slow_attempt_is_given_up() {
    bounded(async {
        let (_server, port, _black_hole) = server_beside_black_hole("127.0.0.1", "127.0.0.2").await;
        let (slow, works) = (address("127.0.0.2", port), address("127.0.0.1", port));
        let mut socket =
            hasty(&["127.0.0.2", "127.0.0.1"]).auto_select_family(AutoSelectFamily::Serial).connect(("name", port));
        assert_eq!(
            until_ready(&mut socket).await[2..],
            [
                format!("connectionAttempt {slow}"),
                format!("connectionAttemptTimeout {slow}"),
                format!("connectionAttempt {works}"),
                "connect".to_owned(),
                "ready".to_owned(),
            ]
        );
        assert_eq!(socket.auto_select_family_attempted_addresses(), [slow, works]);
        attempts_are(slow, 0).await;
    })
    .await;
}

#[tokio::test]
async fn serially_an_attempt_that_was_given_up_is_one_of_the_reasons() {
    bounded(async {
        let (port, _black_hole, _refusing) = loop {
            let refusing = Refusing::new("127.0.0.1");
            let port = refusing.address().port();
            if let Ok(black_hole) = BlackHole::at("127.0.0.2", port).await {
                break (port, black_hole, refusing);
            }
        };
        let error = hasty(&["127.0.0.2", "127.0.0.1"])
            .auto_select_family(AutoSelectFamily::Serial)
            .connect(("name", port))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "ETIMEDOUT");
        assert_eq!(
            error.to_string(),
            format!("connect ETIMEDOUT 127.0.0.2:{port}, connect ECONNREFUSED 127.0.0.1:{port}")
        );
    })
    .await;
}

#[tokio::test]
async fn the_attempts_that_lose_are_closed() {
    bounded(async {
        let (_server, port, _black_hole) = server_beside_black_hole("127.0.0.1", "127.0.0.2").await;
        let slow = address("127.0.0.2", port);
        let mut socket =
            hasty(&["127.0.0.2", "127.0.0.1"]).auto_select_family(AutoSelectFamily::Race).connect(("name", port));
        until_ready(&mut socket).await;
        attempts_are(slow, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_destroyed_socket_gives_up_every_attempt() {
    bounded(async {
        let (port, _black_holes) = loop {
            let first = BlackHole::at("127.0.0.1", 0).await.unwrap();
            let port = first.port();
            if let Ok(second) = BlackHole::at("127.0.0.2", port).await {
                break (port, [first, second]);
            }
        };
        let all = ["127.0.0.1", "127.0.0.2"].map(|ip| address(ip, port));
        let mut socket =
            hasty(&["127.0.0.1", "127.0.0.2"]).auto_select_family(AutoSelectFamily::Race).connect(("name", port));
        for _ in 0..2 {
            next(&mut socket).await;
        }
        for slow in all {
            assert_eq!(next(&mut socket).await, format!("connectionAttempt {slow}"));
        }
        for slow in all {
            attempts_are(slow, 1).await;
        }
        socket.destroy();
        for slow in all {
            attempts_are(slow, 0).await;
        }
        assert_eq!(rest(&mut socket).await, ["close false"]);
    })
    .await;
}
