//! The options of a connection: where from, which addresses, what settings, and what aborts it.
#![cfg(target_os = "linux")]

mod addresses;
mod common;

use std::future::{Future, pending, ready};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use addresses::{BlackHole, Refusing, always, free_port, has_ipv6, keep_alive_timer, server_beside};
use common::{bounded, describe, next, rest, settle};
use socket2::SockRef;
use sockeye::{
    ConnectOptions, Error, Event, Family, Hints, LookupOptions, Resolver, Result, Server, ServerOptions, Socket,
    SocketOptions,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

fn ip(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

async fn server() -> (Server, SocketAddr) {
    let server = Server::new();
    server.listen(("127.0.0.1", 0)).await.unwrap();
    let address = server.address().unwrap().ip().unwrap();
    (server, address)
}

/// The error of a socket, which its events end with.
async fn failure(socket: &mut Socket) -> Error {
    let mut failure = None;
    while let Some(event) = socket.next().await {
        match event {
            Event::Error(error) => failure = Some(error),
            Event::Close { had_error } => assert!(had_error),
            _ => {}
        }
    }
    failure.unwrap()
}

#[tokio::test]
async fn the_server_sees_the_local_address_and_port() {
    bounded(async {
        let (mut server, address) = server().await;
        let port = free_port("127.0.0.2");
        let options = ConnectOptions::new().local_address("127.0.0.2").local_port(port);
        let client = options.connect(address).await.unwrap();
        let local = SocketAddr::from(([127, 0, 0, 2], port));
        assert_eq!(client.address(), Some(local));
        assert_eq!(server.accept().await.unwrap().peer_addr(), Some(local));
    })
    .await;
}

#[tokio::test]
async fn either_the_local_address_or_the_local_port_can_be_left_to_the_system() {
    bounded(async {
        let (mut server, address) = server().await;
        let _client = ConnectOptions::new().local_address("127.0.0.2").connect(address).await.unwrap();
        let peer = server.accept().await.unwrap().peer_addr().unwrap();
        assert_eq!(peer.ip(), ip("127.0.0.2:0").ip());
        assert_ne!(peer.port(), 0);

        let port = free_port("0.0.0.0");
        let _client = ConnectOptions::new().local_port(port).connect(address).await.unwrap();
        assert_eq!(server.accept().await.unwrap().peer_addr(), Some(SocketAddr::from(([127, 0, 0, 1], port))));
    })
    .await;
}

#[tokio::test]
async fn a_local_address_in_use_is_named() {
    bounded(async {
        let (_server, address) = server().await;
        let options = ConnectOptions::new().local_address(address.ip()).local_port(address.port());
        let error = options.connect(address).await.unwrap_err();
        assert_eq!(error.message(), format!("bind EADDRINUSE {address}"));
        assert_eq!((error.code(), error.syscall()), ("EADDRINUSE", Some("bind")));
        assert_eq!((error.address(), error.port()), (Some("127.0.0.1"), Some(address.port())));
        assert_eq!((error.errno(), error.local()), (Some(libc::EADDRINUSE), None));
    })
    .await;
}

#[tokio::test]
async fn a_local_address_that_cannot_be_bound_is_named() {
    bounded(async {
        let (_server, address) = server().await;
        for (local, code) in [("::1", "EINVAL"), ("192.0.2.1", "EADDRNOTAVAIL")] {
            let error = ConnectOptions::new().local_address(local).connect(address).await.unwrap_err();
            assert_eq!(error.message(), format!("bind {code} {local}"));
            assert_eq!((error.code(), error.syscall()), (code, Some("bind")));
            assert_eq!((error.address(), error.port(), error.local()), (Some(local), None, None));
        }
    })
    .await;
}

#[tokio::test]
async fn a_failed_bind_is_no_attempt() {
    bounded(async {
        let (_server, address) = server().await;
        let mut socket = ConnectOptions::new().local_address("::1").connect(address);
        assert_eq!(rest(&mut socket).await, ["error bind EINVAL ::1", "close true"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_local_address_is_an_error_at_the_call() {
    bounded(async {
        let (_server, address) = server().await;
        for text in ["localhost", "127.0.0.256", ""] {
            let options = ConnectOptions::new().local_address(text);
            let mut socket = Socket::new();
            let error = socket.connect_with(address, options.clone()).unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                ("ERR_INVALID_IP_ADDRESS", &*format!("Invalid IP address: {text}"))
            );
            assert!(!socket.connecting() && !socket.destroyed());

            assert_eq!(options.clone().connect(address).await.unwrap_err().code(), "ERR_INVALID_IP_ADDRESS");
            let mut failed = options.connect(address);
            assert_eq!(rest(&mut failed).await, [format!("error Invalid IP address: {text}"), "close true".into()]);

            socket.connect(address).unwrap();
            assert_eq!(next(&mut socket).await, format!("connectionAttempt {address}"));
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_tells_the_local_port_that_was_asked_for() {
    bounded(async {
        let refusing = Refusing::new("127.0.0.1");
        let address = refusing.address();
        let port = free_port("127.0.0.2");
        let from_address = ConnectOptions::new().local_address("127.0.0.2");
        let from_port = ConnectOptions::new().local_port(port);
        for (options, local) in [
            (from_address.clone().local_port(port), Some(format!("127.0.0.2:{port}"))),
            (from_port, Some(format!("0.0.0.0:{port}"))),
            (from_address, None),
        ] {
            let mut socket = options.connect(address);
            let suffix = local.as_ref().map(|local| format!(" - Local ({local})")).unwrap_or_default();
            let error = failure(&mut socket).await;
            assert_eq!(error.message(), format!("connect ECONNREFUSED {address}{suffix}"));
            assert_eq!(error.local(), local.map(|local| ip(&local)));
            assert_eq!((error.address(), error.port()), (Some("127.0.0.1"), Some(address.port())));
        }
    })
    .await;
}

#[tokio::test]
async fn a_family_leaves_one_address_and_no_race() {
    bounded(async {
        let (server, port, _refusing) = server_beside("127.0.0.1", &["127.0.0.2"]).await;
        let options = ConnectOptions::new().lookup(always(&["::1", "127.0.0.1", "127.0.0.2"])).family(Family::Ipv4);
        let mut socket = options.connect(("name", port));
        for event in ["lookup name 127.0.0.1", &format!("connectionAttempt 127.0.0.1:{port}"), "connect", "ready"] {
            assert_eq!(next(&mut socket).await, event);
        }
        assert!(socket.auto_select_family_attempted_addresses().is_empty());
        drop(server);

        let mut socket = ConnectOptions::new()
            .lookup(always(&["127.0.0.2", "127.0.0.1"]))
            .family(Family::Ipv4)
            .connect(("name", port));
        let refused = format!("error connect ECONNREFUSED 127.0.0.2:{port}");
        assert_eq!(rest(&mut socket).await.last_chunk(), Some(&[refused, "close true".to_owned()]));
        assert!(socket.auto_select_family_attempted_addresses().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_family_without_an_address_is_not_found() {
    bounded(async {
        let options = ConnectOptions::new().lookup(always(&["127.0.0.1"])).family(Family::Ipv6);
        let error = options.connect(("name", 1)).await.unwrap_err();
        assert_eq!(error.message(), "getaddrinfo ENOTFOUND name");
    })
    .await;
}

#[tokio::test]
async fn the_family_can_be_ipv6() {
    if !has_ipv6("connecting to IPv6 only") {
        return;
    }
    bounded(async {
        let (_server, port, _refusing) = server_beside("::1", &["127.0.0.1"]).await;
        let options = ConnectOptions::new().lookup(always(&["127.0.0.1", "::1"])).family(Family::Ipv6);
        let mut socket = options.connect(("name", port));
        for event in ["lookup name ::1", &format!("connectionAttempt [::1]:{port}"), "connect", "ready"] {
            assert_eq!(next(&mut socket).await, event);
        }
        assert_eq!(socket.remote_family(), Some(Family::Ipv6));
        assert!(socket.auto_select_family_attempted_addresses().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_local_address_ends_the_race_too() {
    bounded(async {
        let (mut server, port, _refusing) = server_beside("127.0.0.1", &["127.0.0.2"]).await;
        let from = |ips: &[&str]| ConnectOptions::new().local_address("127.0.0.3").lookup(always(ips));
        let error = from(&["127.0.0.2", "127.0.0.1"]).connect(("name", port)).await.unwrap_err();
        assert_eq!(error.message(), format!("connect ECONNREFUSED 127.0.0.2:{port}"));
        let socket = from(&["127.0.0.1", "127.0.0.2"]).connect(("name", port)).await.unwrap();
        assert!(socket.auto_select_family_attempted_addresses().is_empty());
        assert_eq!(server.accept().await.unwrap().remote_address(), Some(ip("127.0.0.3:0").ip()));
    })
    .await;
}

#[tokio::test]
async fn family_and_hints_reach_the_lookup() {
    bounded(async {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let lookup = move |host, options: LookupOptions| {
            record.lock().unwrap().push((host, options));
            ready(Err(Error::new("ENONE", "none")))
        };
        let options = ConnectOptions::new().lookup(lookup);
        assert!(options.clone().connect(("one", 1)).await.is_err());
        let hints = Hints::ADDRCONFIG | Hints::ALL;
        assert!(options.clone().hints(hints).family(Family::Ipv6).connect(("two", 1)).await.is_err());
        assert!(options.family(None).connect(("127.0.0.1", 0)).await.is_err(), "nothing listens on port 0");

        let mut second = LookupOptions::default();
        (second.family, second.hints) = (Some(Family::Ipv6), hints);
        assert_eq!(*seen.lock().unwrap(), [("one".to_owned(), LookupOptions::default()), ("two".to_owned(), second)]);
    })
    .await;
}

#[tokio::test]
async fn every_address_of_a_lookup_is_told_and_tried_with_the_families_in_turn() {
    if !has_ipv6("the order of addresses of both families") {
        return;
    }
    bounded(async {
        let (port, _refusing) = addresses::refusing_beside(&["127.0.0.1", "127.0.0.2", "::1"]);
        let options = ConnectOptions::new()
            .lookup(always(&["127.0.0.1", "127.0.0.2", "::1"]))
            .auto_select_family_attempt_timeout(Duration::from_secs(60));
        let events = rest(&mut options.connect(("name", port))).await;
        let order = ["127.0.0.1", "[::1]", "127.0.0.2"].map(|ip| format!("{ip}:{port}"));
        let mut expected = ["127.0.0.1", "127.0.0.2", "::1"].map(|ip| format!("lookup name {ip}")).to_vec();
        for address in order {
            expected.push(format!("connectionAttempt {address}"));
            expected.push(format!("connectionAttemptFailed {address} ECONNREFUSED"));
        }
        expected.extend(["error ".to_owned(), "close true".to_owned()]);
        assert_eq!(events, expected);
    })
    .await;
}

#[tokio::test]
async fn the_error_of_a_lookup_passes_unchanged() {
    bounded(async {
        let lookup = |_, _| ready(Err(Error::new("EMINE", "no luck today")));
        let mut socket = ConnectOptions::new().lookup(lookup).connect("name:80");
        let Some(Event::Lookup(lookup)) = socket.next().await else { panic!("no lookup event") };
        let error = lookup.result.unwrap_err();
        assert_eq!((&*lookup.host, error.code(), error.message()), ("name", "EMINE", "no luck today"));
        let error = failure(&mut socket).await;
        assert_eq!((error.code(), error.message()), ("EMINE", "no luck today"));
    })
    .await;
}

#[tokio::test]
async fn a_lookup_without_an_address_is_not_found() {
    bounded(async {
        let mut socket = ConnectOptions::new().lookup(always(&[])).connect("name:80");
        assert_eq!(next(&mut socket).await, "lookup name ENOTFOUND");
        let error = failure(&mut socket).await;
        assert_eq!((error.code(), error.syscall(), error.hostname()), ("ENOTFOUND", Some("getaddrinfo"), Some("name")));
    })
    .await;
}

#[tokio::test]
async fn the_port_of_a_looked_up_address_does_not_count() {
    bounded(async {
        let (_server, address) = server().await;
        let lookup = |_, _| ready(Ok(vec![ip("127.0.0.1:1")]));
        let socket = ConnectOptions::new().lookup(lookup).connect(("name", address.port())).await.unwrap();
        assert_eq!(socket.peer_addr(), Some(address));
    })
    .await;
}

/// A lookup that never ends, whether it was called, and whether its future was dropped.
fn endless_lookup() -> (impl Resolver, oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let (call, called) = oneshot::channel();
    let (guard, dropped) = oneshot::channel::<()>();
    let once = Mutex::new(Some((call, guard)));
    let lookup = move |_, _| {
        let (call, guard) = once.lock().unwrap().take().unwrap();
        call.send(()).unwrap();
        async move {
            let _guard = guard;
            pending().await
        }
    };
    (lookup, called, dropped)
}

#[tokio::test(start_paused = true)]
async fn a_connect_timeout_covers_the_lookup() {
    bounded(async {
        let (lookup, _called, dropped) = endless_lookup();
        let options = ConnectOptions::new().lookup(lookup).connect_timeout(Duration::from_secs(10));
        let error = options.connect("name:80").await.unwrap_err();
        assert_eq!((error.code(), error.message()), ("ETIMEDOUT", "connect ETIMEDOUT name:80"));
        assert_eq!((error.syscall(), error.hostname(), error.port()), (Some("connect"), Some("name"), Some(80)));
        assert!(dropped.await.is_err(), "its end of the channel was kept");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_timeout_covers_all_attempts_together() {
    bounded(async {
        let black_hole = BlackHole::at("127.0.0.1", 0).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], black_hole.port()));
        let limit = Duration::from_secs(10);
        let options = ConnectOptions::new().connect_timeout(limit);
        let mut socket = options.clone().connect(address);
        socket.write("never sent");
        let start = tokio::time::Instant::now();
        let seen = rest(&mut socket).await;
        let message = format!("connect ETIMEDOUT {address}");
        assert_eq!(seen, [format!("connectionAttempt {address}"), format!("error {message}"), "close true".into()]);
        assert!((limit..limit + Duration::from_millis(10)).contains(&start.elapsed()));

        let found = options.lookup(always(&["127.0.0.1"; 2]));
        let error = found.connect(("name", address.port())).await.unwrap_err();
        assert_eq!(error.message(), format!("connect ETIMEDOUT name:{}", address.port()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_timeout_is_over_when_the_connection_is_there() {
    bounded(async {
        let (mut server, address) = server().await;
        for limit in [Duration::from_secs(1), Duration::ZERO] {
            let mut client = ConnectOptions::new().connect_timeout(limit).connect(address).await.unwrap();
            let socket = server.accept().await.unwrap();
            assert_eq!(client.timeout(), None);
            tokio::time::advance(2 * limit).await;
            socket.end_with("late");
            assert_eq!(next(&mut client).await, "data 4");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lookup_is_dropped_with_a_destroyed_socket() {
    bounded(async {
        let (lookup, called, dropped) = endless_lookup();
        let mut socket = ConnectOptions::new().lookup(lookup).connect("name:80");
        called.await.unwrap();
        assert!(socket.connecting());
        socket.destroy();
        assert!(dropped.await.is_err());
        assert_eq!(rest(&mut socket).await, ["close false"]);
    })
    .await;
}

#[tokio::test]
async fn a_lookup_is_dropped_with_a_dropped_socket() {
    bounded(async {
        let (lookup, called, dropped) = endless_lookup();
        let socket = ConnectOptions::new().lookup(lookup).connect("name:80");
        called.await.unwrap();
        drop(socket);
        assert!(dropped.await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_resolver_can_be_a_type() {
    struct Table(SocketAddr);

    impl Resolver for Table {
        fn lookup(
            &self,
            host: String,
            _: LookupOptions,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>>> + Send>> {
            let known = (host == "database").then_some(self.0);
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(known.into_iter().collect())
            })
        }
    }

    bounded(async {
        let (_server, address) = server().await;
        let options = ConnectOptions::new().lookup(Table(address));
        let socket = options.clone().connect(("database", address.port())).await.unwrap();
        assert_eq!(socket.peer_addr(), Some(address));
        assert_eq!(options.connect(("printer", 80)).await.unwrap_err().code(), "ENOTFOUND");
    })
    .await;
}

/// A connection, and a second descriptor of it to ask the kernel with.
fn probed() -> (TcpListener, TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let probe = stream.try_clone().unwrap();
    (listener, probe, Socket::from_fd(stream, SocketOptions::new()).unwrap())
}

/// Whether keep-alive is on, and its idle time in seconds, interval in seconds and count.
fn keep_alive(probe: &TcpStream) -> (bool, u64, u64, u32) {
    let socket = SockRef::from(probe);
    let (time, interval) = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
    (socket.keepalive().unwrap(), time.as_secs(), interval.as_secs(), socket.tcp_keepalive_retries().unwrap())
}

#[tokio::test]
async fn keep_alive_counts_in_whole_seconds() {
    let (_listener, fresh, _socket) = probed();
    let (on, time, interval, count) = keep_alive(&fresh);
    assert!(!on);
    for (delay, expected) in [
        (0, (true, time, interval, count)),
        (999, (true, time, interval, count)),
        (1000, (true, 1, 1, 10)),
        (5000, (true, 5, 1, 10)),
        (5999, (true, 5, 1, 10)),
    ] {
        let (_listener, probe, socket) = probed();
        socket.set_keep_alive(true, Duration::from_millis(delay));
        assert_eq!(keep_alive(&probe), expected, "{delay} ms");
    }
}

#[tokio::test]
async fn switching_keep_alive_off_restores_nothing() {
    let (_listener, probe, socket) = probed();
    socket.set_keep_alive(true, Duration::from_secs(5));
    socket.set_keep_alive(false, Duration::from_secs(9));
    assert_eq!(keep_alive(&probe), (false, 5, 1, 10));
    socket.set_keep_alive(true, Duration::ZERO);
    assert_eq!(keep_alive(&probe), (true, 5, 1, 10));
}

#[tokio::test]
async fn a_refused_connect_leaves_the_settings_as_they_are() {
    let (socket, _peer) = Socket::pair(16);
    let options = ConnectOptions::new().timeout(Duration::from_secs(1));
    assert_eq!(socket.connect_with(("127.0.0.1", 1), options).unwrap_err().code(), "EISCONN");
    assert_eq!(socket.timeout(), None);
}

#[tokio::test]
async fn no_delay_can_be_switched_on_and_off() {
    let (_listener, probe, socket) = probed();
    let no_delay = || SockRef::from(&probe).tcp_nodelay().unwrap();
    assert!(!no_delay());
    socket.set_no_delay(true);
    assert!(no_delay());
    socket.set_no_delay(false);
    assert!(!no_delay());
}

#[tokio::test]
async fn keep_alive_begins_with_the_connection_on_both_sides() {
    bounded(async {
        let server_options = ServerOptions::new().keep_alive(true).keep_alive_initial_delay(Duration::from_secs(50));
        for (server_options, options, expected) in [
            (ServerOptions::new(), ConnectOptions::new(), [None, None]),
            (
                server_options,
                ConnectOptions::new().keep_alive(true).keep_alive_initial_delay(Duration::from_secs(80)),
                [Some(80), Some(50)],
            ),
        ] {
            let mut server = Server::with_options(server_options);
            server.listen(("127.0.0.1", 0)).await.unwrap();
            let client = options.connect(server.address().unwrap()).await.unwrap();
            let accepted = server.accept().await.unwrap();
            let mut seconds = [None; 2];
            for (seconds, socket) in seconds.iter_mut().zip([&client, &accepted]) {
                let timer = keep_alive_timer(socket.address().unwrap(), socket.peer_addr().unwrap()).await;
                *seconds = timer.map(|hundredths| hundredths.div_ceil(1000) * 10);
            }
            assert_eq!(seconds, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_setting_before_the_connection_is_remembered() {
    bounded(async {
        let (_server, address) = server().await;
        let socket = Socket::new();
        socket.set_keep_alive(true, Duration::from_secs(80));
        socket.connect(address).unwrap();
        let socket = socket.await.unwrap();
        assert!(keep_alive_timer(socket.address().unwrap(), address).await.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_timeout_runs_while_connecting() {
    let (lookup, called, _dropped) = endless_lookup();
    let start = tokio::time::Instant::now();
    let options = ConnectOptions::new().lookup(lookup).timeout(Duration::from_secs(7));
    let mut socket = options.connect("name:80");
    called.await.unwrap();
    assert_eq!(next(&mut socket).await, "timeout");
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert!(socket.connecting());
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

const ABORTED: [&str; 2] = ["error The operation was aborted", "close true"];

#[tokio::test]
async fn a_signal_that_was_cancelled_before_lets_nothing_begin() {
    bounded(async {
        let (mut server, address) = server().await;
        let token = CancellationToken::new();
        token.cancel();
        let options = ConnectOptions::new().signal(token);
        let mut socket = options.clone().connect(address);
        assert!(socket.destroyed() && !socket.connecting());
        assert_eq!(rest(&mut socket).await, ABORTED);
        let error = options.connect(address).await.unwrap_err();
        assert_eq!((error.code(), error.message()), ("ABORT_ERR", "The operation was aborted"));

        let socket = sockeye::connect(address).await.unwrap();
        assert_eq!(server.accept().await.unwrap().peer_addr(), socket.address(), "no other came before");
    })
    .await;
}

#[tokio::test]
async fn a_signal_stops_the_connecting() {
    bounded(async {
        let before = alive_tasks();
        let token = CancellationToken::new();
        let (lookup, called, dropped) = endless_lookup();
        let mut socket = ConnectOptions::new().lookup(lookup).signal(token.clone()).connect("name:80");
        called.await.unwrap();
        token.cancel();
        assert!(dropped.await.is_err());
        assert_eq!(rest(&mut socket).await, ABORTED);
        settle().await;
        assert_eq!(alive_tasks(), before);
    })
    .await;
}

#[tokio::test]
async fn a_signal_closes_an_open_socket() {
    bounded(async {
        let (mut server, address) = server().await;
        let token = CancellationToken::new();
        let mut socket = ConnectOptions::new().signal(token.clone()).connect(address).await.unwrap();
        let mut peer = server.accept().await.unwrap();
        token.cancel();
        assert_eq!(rest(&mut socket).await, ABORTED);
        assert_eq!(rest(&mut peer).await, ["end", "finish", "close false"]);
    })
    .await;
}

#[tokio::test]
async fn a_signal_means_nothing_after_close_not_even_to_the_next_connection() {
    bounded(async {
        let (mut server, address) = server().await;
        let token = CancellationToken::new();
        let mut socket = ConnectOptions::new().signal(token.clone()).connect(address).await.unwrap();
        let peer = server.accept().await.unwrap();
        peer.end();
        assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
        settle().await;
        socket.connect(address).unwrap();
        let mut socket = socket.await.unwrap();
        token.cancel();
        assert!(common::is_quiet(&mut socket).await);
        assert!(!socket.destroyed());
    })
    .await;
}

#[tokio::test]
async fn the_task_that_watches_a_signal_ends_with_the_socket() {
    bounded(async {
        let (mut server, address) = server().await;
        let before = alive_tasks();
        let token = CancellationToken::new();
        let options = ConnectOptions::new().signal(token.clone());
        let mut socket = options.clone().connect(address).await.unwrap();
        assert_eq!(alive_tasks(), before + 1);
        drop(server.accept().await.unwrap());
        assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
        settle().await;
        assert_eq!(alive_tasks(), before);

        let dropped = options.connect(address).await.unwrap();
        assert_eq!(alive_tasks(), before + 1);
        drop(dropped);
        settle().await;
        assert_eq!(alive_tasks(), before);
    })
    .await;
}

#[tokio::test]
async fn an_unconnected_socket_is_aborted_too() {
    bounded(async {
        let token = CancellationToken::new();
        let mut socket = Socket::with_options(SocketOptions::new().signal(token.clone()));
        let handle = socket.handle();
        token.cancel();
        assert_eq!(socket.next().await.as_ref().map(describe).as_deref(), Some(ABORTED[0]));
        assert_eq!(handle.connect(1).unwrap_err().code(), "ERR_STREAM_DESTROYED");
        assert_eq!(rest(&mut socket).await, [ABORTED[1]]);
    })
    .await;
}
