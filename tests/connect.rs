//! Making connections: what happens in which order, and what can go wrong on the way.

mod common;

use std::future::IntoFuture;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use common::{bounded, describe, next, rest, settle, socket_path};
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use sockeye::{
    Address, ConnectOptions, Endpoint, Error, Event, Family, IntoEndpoint, Listeners, ReadyState, Server, Socket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::Instant;

/// Longer than a label of a host name may be, so nobody is asked about it.
const UNKNOWN_HOST: &str = "seventy-letters-are-seven-more-than-a-label-of-a-host-name-can-ever-be";

async fn tcp_server() -> (Server, SocketAddr) {
    let server = Server::new();
    server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = server.address().unwrap().ip().unwrap();
    (server, address)
}

async fn unix_server() -> (Server, String) {
    let path = socket_path();
    let server = Server::new();
    server.listen(&path).await.unwrap();
    (server, path)
}

/// An address that refuses connections: it is taken, so that nobody else gets it, and nobody listens.
fn refusing() -> SocketAddr {
    static BOUND: LazyLock<TcpSocket> = LazyLock::new(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket
    });
    BOUND.local_addr().unwrap()
}

/// An address that does not answer, for as long as the rest is kept: there is a listener, but its queue is full.
#[cfg(target_os = "linux")]
async fn unanswering() -> (SocketAddr, impl Sized) {
    let listener = TcpSocket::new_v4().unwrap();
    listener.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::net::TcpStream::connect(address).await.unwrap();
    (address, (listener, client))
}

/// The events up to and with `last`.
async fn until(socket: &mut Socket, last: &str) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    while events.last().is_none_or(|event| event != last) {
        events.push(next(socket).await);
        assert_ne!(events.last().unwrap(), "nothing", "no {last:?} in {events:?}");
    }
    events
}

async fn text_of(mut socket: Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

mod endpoints {
    use super::*;

    #[tokio::test]
    async fn a_port_alone_is_one_of_localhost() {
        bounded(async {
            let mut server = Server::new();
            server.listen(0).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            let client = sockeye::connect(port).await.unwrap();
            assert!(client.remote_address().unwrap().is_loopback());
            assert_eq!(client.remote_port(), Some(port));
            assert!(server.accept().await.is_some());
        })
        .await;
    }

    #[tokio::test]
    async fn a_host_and_a_port_an_address_and_a_string_lead_to_the_same_server() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let port = address.port();
            for endpoint in [
                ("localhost", port).into_endpoint(),
                ("127.0.0.1", port).into_endpoint(),
                ("127.0.0.1".to_owned(), port).into_endpoint(),
                (Ipv4Addr::LOCALHOST, port).into_endpoint(),
                address.into_endpoint(),
                server.address().unwrap().into_endpoint(),
                format!("127.0.0.1:{port}").into_endpoint(),
                format!("localhost:{port}").parse::<Endpoint>(),
            ] {
                let client = sockeye::connect(endpoint.unwrap()).await.unwrap();
                assert_eq!(client.peer_addr(), Some(address));
                let socket = server.accept().await.unwrap();
                assert_eq!(socket.peer_addr(), client.address());
                assert_eq!(socket.address(), Some(address));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_path_is_a_unix_domain_socket() {
        bounded(async {
            let (mut server, path) = unix_server().await;
            for client in [
                sockeye::connect(&path),
                sockeye::connect(Path::new(&path)),
                sockeye::connect(server.address().unwrap()),
            ] {
                let client = client.await.unwrap();
                assert!(server.accept().await.is_some());
                assert_eq!((client.peer_addr(), client.address()), (None, None));
            }
        })
        .await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_abstract_name_is_a_unix_domain_socket_too() {
        bounded(async {
            let name = format!("\0{}", socket_path());
            let mut server = Server::new();
            server.listen(&name).await.unwrap();
            let client = sockeye::connect(&name).await.unwrap();
            server.accept().await.unwrap().end_with("hello");
            assert_eq!(text_of(client).await, "hello");
        })
        .await;
    }

    #[tokio::test]
    async fn a_bad_string_fails_through_await_and_as_an_event() {
        let error = sockeye::connect("echo.sock").await.unwrap_err();
        assert_eq!(error.code(), "ERR_INVALID_ARG_VALUE");
        let error = sockeye::connect("localhost:65536").await.unwrap_err();
        assert_eq!(error.code(), "ERR_SOCKET_BAD_PORT");
        assert_eq!(
            rest(&mut sockeye::connect("localhost:65536")).await,
            ["error Port should be >= 0 and < 65536. Received 65536.", "close true"]
        );
    }

    #[tokio::test]
    async fn a_bad_string_is_an_error_of_the_call_and_leaves_the_socket_as_it_is() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let mut socket = Socket::new();
            for (endpoint, code) in [("echo.sock", "ERR_INVALID_ARG_VALUE"), ("a:-1", "ERR_SOCKET_BAD_PORT")] {
                assert_eq!(socket.connect(endpoint).unwrap_err().code(), code);
                assert!(!socket.connecting() && !socket.destroyed());
            }
            socket.connect(address).unwrap();
            assert_eq!(until(&mut socket, "ready").await.len(), 3);
        })
        .await;
    }
}

mod order {
    use super::*;

    #[tokio::test]
    async fn of_a_name_is_lookup_attempt_connect_ready() {
        bounded(async {
            let server = Server::new();
            server.listen(0).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            let mut client = sockeye::connect(("localhost", port));
            let events = until(&mut client, "ready").await;
            let lookups = events.iter().take_while(|event| event.starts_with("lookup localhost ")).count();
            assert!(lookups > 0, "{events:?}");
            let attempt = format!("connectionAttempt {}", client.peer_addr().unwrap());
            assert_eq!(events[lookups..], [attempt.as_str(), "connect", "ready"]);
            let found = format!("lookup localhost {}", client.remote_address().unwrap());
            assert!(events[..lookups].contains(&found), "{events:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn of_a_literal_address_has_no_lookup() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            for mut client in [
                sockeye::connect(address),
                sockeye::connect(("127.0.0.1", address.port())),
                sockeye::connect(address.to_string()),
            ] {
                assert_eq!(
                    until(&mut client, "ready").await,
                    [&format!("connectionAttempt {address}"), "connect", "ready"]
                );
            }
        })
        .await;
    }

    #[tokio::test]
    async fn of_a_path_is_connect_ready() {
        bounded(async {
            let (_server, path) = unix_server().await;
            assert_eq!(until(&mut sockeye::connect(&path), "ready").await, ["connect", "ready"]);
        })
        .await;
    }

    #[tokio::test]
    async fn awaiting_takes_the_events_up_to_ready() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address).await.unwrap();
            server.accept().await.unwrap().end_with("abc");
            assert_eq!(rest(&mut client).await, ["data 3", "end", "finish", "close false"]);
        })
        .await;
    }

    #[tokio::test]
    async fn awaiting_a_connected_socket_returns_it_at_once() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let client = sockeye::connect(address).await.unwrap().await.unwrap();
            let mut peer = server.accept().await.unwrap().await.unwrap();
            client.end_with("abc");
            assert_eq!(next(&mut peer).await, "data 3");
        })
        .await;
    }

    #[tokio::test]
    async fn awaiting_half_way_takes_the_rest() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            assert_eq!(next(&mut client).await, format!("connectionAttempt {address}"));
            let mut client = client.await.unwrap();
            server.accept().await.unwrap().end();
            assert_eq!(next(&mut client).await, "end");
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_is_made_although_nobody_asks_for_events() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let client = sockeye::connect(address);
            let written = client.write_with("abc");
            written.await.unwrap();
            assert!(!client.connecting());
            client.end();
            assert_eq!(text_of(server.accept().await.unwrap()).await, "abc");
        })
        .await;
    }
}

mod waiting {
    use super::*;

    #[tokio::test]
    async fn that_is_given_up_loses_no_event() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            let mut events = Vec::new();
            while events.last().is_none_or(|event| event != "ready") {
                match client.next().now_or_never() {
                    Some(event) => events.push(describe(&event.unwrap())),
                    None => tokio::task::yield_now().await,
                }
            }
            assert_eq!(events, [&format!("connectionAttempt {address}"), "connect", "ready"]);
        })
        .await;
    }

    #[tokio::test]
    async fn for_a_connection_that_is_given_up_gives_the_connection_up() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let client = sockeye::connect(address);
            let handle = client.handle();
            assert!(client.into_future().now_or_never().is_none());
            assert!(handle.destroyed());
            handle.closed().await;
        })
        .await;
    }
}

mod writing_early {
    use super::*;

    async fn goes_out_first_and_in_order(mut server: Server) {
        let mut client = sockeye::connect(server.address().unwrap());
        assert!(client.write("1 "));
        let second = client.write_with("2 ");
        assert!(client.try_write("3 ").unwrap());
        assert_eq!((client.bytes_written(), client.writable_length()), (6, 6));
        until(&mut client, "connect").await;
        client.write("4 ");
        assert_eq!(next(&mut client).await, "ready");
        client.end_with("5");
        second.await.unwrap();
        assert_eq!(text_of(server.accept().await.unwrap()).await, "1 2 3 4 5");
        assert_eq!((client.bytes_written(), client.writable_length()), (9, 0));
    }

    #[tokio::test]
    async fn goes_out_first_and_in_order_over_tcp() {
        bounded(async { goes_out_first_and_in_order(tcp_server().await.0).await }).await;
    }

    #[tokio::test]
    async fn goes_out_first_and_in_order_over_a_unix_domain_socket() {
        bounded(async { goes_out_first_and_in_order(unix_server().await.0).await }).await;
    }

    #[tokio::test]
    async fn the_futures_of_the_writes_become_ready_in_order() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let client = sockeye::connect(address);
            let order = std::sync::Mutex::new(Vec::new());
            let writes: Vec<_> = (0..5).map(|index| (index, client.write_with([b'x'; 1000]))).collect();
            join_all(writes.into_iter().map(|(index, written)| {
                let order = &order;
                async move {
                    written.await.unwrap();
                    order.lock().unwrap().push(index);
                }
            }))
            .await;
            assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        })
        .await;
    }

    #[tokio::test]
    async fn more_than_the_high_water_mark_is_answered_with_false_and_drains() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = ConnectOptions::new().high_water_mark(10).connect(address);
            assert!(client.write("123456789"));
            assert!(!client.write("0"));
            assert_eq!(until(&mut client, "drain").await[1..], ["connect", "ready", "drain"]);
            client.end();
            assert_eq!(text_of(server.accept().await.unwrap()).await, "1234567890");
        })
        .await;
    }

    #[tokio::test]
    async fn end_waits_for_the_connection() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            client.end_with("bye");
            assert!(client.connecting());
            assert_eq!(client.try_write("late").unwrap_err().code(), "ERR_STREAM_WRITE_AFTER_END");
            assert_eq!(text_of(server.accept().await.unwrap()).await, "bye");
            assert_eq!(rest(&mut client).await[1..], ["connect", "ready", "finish", "end", "close false"]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_socket_that_is_dropped_while_connecting_still_sends_what_was_written() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            sockeye::connect(address).write("last will");
            assert_eq!(text_of(server.accept().await.unwrap()).await, "last will");
        })
        .await;
    }

    #[tokio::test]
    async fn is_not_taken_for_sent_when_the_connection_has_failed() {
        bounded(async {
            let mut client = sockeye::connect(refusing());
            client.write("lost");
            assert_eq!(rest(&mut client).await.last().unwrap(), "close true");
            assert_eq!(client.drained().await.unwrap_err().code(), "ECONNREFUSED");
            let error = Error::from(client.flush().await.unwrap_err());
            assert_eq!(error.code(), "ECONNREFUSED");
        })
        .await;
    }

    #[tokio::test]
    async fn to_nobody_fails_with_the_reason() {
        bounded(async {
            let client = sockeye::connect(refusing());
            let first = client.write_with("a");
            let second = client.write_with("b");
            assert_eq!(client.drained().await.unwrap_err().code(), "ECONNREFUSED");
            assert_eq!(first.await.unwrap_err().code(), "ECONNREFUSED");
            assert_eq!(second.await.unwrap_err().code(), "ECONNREFUSED");
        })
        .await;
    }
}

mod giving_up {
    use super::*;

    async fn destroy(mut client: Socket) {
        let written = client.write_with("never");
        client.destroy();
        assert!(client.destroyed() && !client.connecting() && client.pending());
        assert_eq!(client.ready_state(), ReadyState::Closed);
        assert_eq!(rest(&mut client).await, ["close false"]);
        assert_eq!(written.await.unwrap_err().code(), "ERR_SOCKET_CLOSED_BEFORE_CONNECTION");
        client.closed().await;
        assert_eq!(client.bytes_written(), 0);
    }

    #[tokio::test]
    async fn before_the_attempt_leaves_only_close() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            destroy(sockeye::connect(address)).await;
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_path_leaves_only_close() {
        bounded(async {
            let (_server, path) = unix_server().await;
            destroy(sockeye::connect(&path)).await;
        })
        .await;
    }

    #[tokio::test]
    async fn while_resolving_leaves_only_close() {
        bounded(async {
            destroy(sockeye::connect(("localhost", refusing().port()))).await;
            destroy(sockeye::connect((UNKNOWN_HOST, 80))).await;
        })
        .await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn during_the_attempt_leaves_only_close() {
        bounded(async {
            let (address, _full) = unanswering().await;
            let mut client = sockeye::connect(address);
            assert_eq!(next(&mut client).await, format!("connectionAttempt {address}"));
            assert!(common::is_quiet(&mut client).await);
            destroy(client).await;
        })
        .await;
    }

    #[tokio::test]
    async fn when_the_connection_is_there_but_not_told_leaves_only_close() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            client.write_with("abc").await.unwrap();
            client.destroy();
            assert_eq!(rest(&mut client).await, ["close false"]);
            assert_eq!(text_of(server.accept().await.unwrap()).await, "abc");
        })
        .await;
    }

    #[tokio::test]
    async fn between_connect_and_ready_still_brings_ready() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            until(&mut client, "connect").await;
            client.destroy();
            assert_eq!(rest(&mut client).await, ["ready", "close false"]);
        })
        .await;
    }

    #[tokio::test]
    async fn for_a_reason_brings_the_reason() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            let written = client.write_with("never");
            client.destroy_with(Error::new("E_MINE", "no longer needed"));
            assert_eq!(written.await.unwrap_err().code(), "E_MINE");
            assert_eq!(rest(&mut client).await, ["error no longer needed", "close true"]);
        })
        .await;
    }

    #[tokio::test]
    async fn makes_the_await_fail() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let client = sockeye::connect(address);
            client.destroy();
            assert_eq!(client.await.unwrap_err().code(), "ERR_SOCKET_CLOSED_BEFORE_CONNECTION");
        })
        .await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn ends_the_wait_of_others() {
        bounded(async {
            let (address, _full) = unanswering().await;
            let client = sockeye::connect(address);
            let handle = client.handle();
            let waiter = tokio::spawn(async move { client.await.map(drop) });
            settle().await;
            handle.destroy();
            assert_eq!(waiter.await.unwrap().unwrap_err().code(), "ERR_SOCKET_CLOSED_BEFORE_CONNECTION");
            handle.closed().await;
        })
        .await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn by_dropping_the_socket_closes_it() {
        bounded(async {
            let (address, _full) = unanswering().await;
            let client = sockeye::connect(address);
            let handle = client.handle();
            settle().await;
            drop(client);
            handle.closed().await;
            assert!(handle.destroyed());
            assert_eq!(handle.try_write("late").unwrap_err().code(), "ERR_STREAM_DESTROYED");
        })
        .await;
    }

    #[tokio::test]
    async fn with_a_reset_waits_for_the_connection() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            client.reset_and_destroy().unwrap();
            assert!(client.connecting() && !client.destroyed());
            assert_eq!(
                rest(&mut client).await,
                [&format!("connectionAttempt {address}"), "connect", "ready", "close false"]
            );
            let mut peer = server.accept().await.unwrap();
            assert_eq!(rest(&mut peer).await, ["error read ECONNRESET", "close true"]);
        })
        .await;
    }

    #[tokio::test]
    async fn with_a_reset_and_no_connection_brings_the_reason() {
        bounded(async {
            let mut client = sockeye::connect(refusing());
            client.reset_and_destroy().unwrap();
            assert_eq!(rest(&mut client).await.last().unwrap(), "close true");
        })
        .await;
    }
}

mod failing {
    use super::*;

    #[tokio::test]
    async fn refused_tells_the_attempt_and_the_reason() {
        bounded(async {
            let address = refusing();
            let mut client = sockeye::connect(address);
            assert_eq!(
                rest(&mut client).await,
                [
                    &format!("connectionAttempt {address}"),
                    &format!("connectionAttemptFailed {address} ECONNREFUSED"),
                    &format!("error connect ECONNREFUSED {address}"),
                    "close true",
                ]
            );
            let error = sockeye::connect(address).await.unwrap_err();
            assert_eq!(error.code(), "ECONNREFUSED");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            assert_eq!(std::io::Error::from_raw_os_error(error.errno().unwrap()).kind(), error.kind());
            assert_eq!(error.syscall(), Some("connect"));
            assert_eq!((error.address(), error.port()), (Some("127.0.0.1"), Some(address.port())));
            assert_eq!((error.hostname(), error.local(), error.errors().len()), (None, None, 0));
        })
        .await;
    }

    #[tokio::test]
    async fn the_socket_is_destroyed_when_the_error_is_told() {
        bounded(async {
            let mut client = sockeye::connect(refusing());
            loop {
                match client.next().await.unwrap() {
                    Event::ConnectionAttempt { .. } | Event::ConnectionAttemptFailed { .. } => {}
                    Event::Error(_) => break,
                    event => panic!("{event:?}"),
                }
            }
            assert!(client.destroyed() && !client.connecting() && client.pending());
            assert_eq!(client.ready_state(), ReadyState::Closed);
            assert_eq!(client.peer_addr(), None);
            assert_eq!(rest(&mut client).await, ["close true"]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_failed_attempt_names_its_address() {
        bounded(async {
            let address = refusing();
            let mut client = sockeye::connect(address);
            client.next().await;
            match client.next().await {
                Some(Event::ConnectionAttemptFailed { address: failed, error }) => {
                    assert_eq!(failed, Address::Ip(address));
                    assert_eq!(error.port(), Some(address.port()));
                }
                event => panic!("{event:?}"),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn port_zero_is_refused_without_a_port_in_the_message() {
        bounded(async {
            let error = sockeye::connect("127.0.0.1:0").await.unwrap_err();
            assert_eq!((error.message(), error.port()), ("connect ECONNREFUSED 127.0.0.1", None));
        })
        .await;
    }

    #[tokio::test]
    async fn an_unknown_host_is_told_by_the_lookup_first() {
        bounded(async {
            let message = format!("getaddrinfo ENOTFOUND {UNKNOWN_HOST}");
            assert_eq!(
                rest(&mut sockeye::connect((UNKNOWN_HOST, 80))).await,
                [&format!("lookup {UNKNOWN_HOST} ENOTFOUND"), &format!("error {message}"), "close true"]
            );
            let error = sockeye::connect(format!("{UNKNOWN_HOST}:80")).await.unwrap_err();
            assert_eq!((error.code(), error.message()), ("ENOTFOUND", message.as_str()));
            assert_eq!((error.syscall(), error.hostname()), (Some("getaddrinfo"), Some(UNKNOWN_HOST)));
            assert_eq!((error.address(), error.port()), (None, None));
        })
        .await;
    }

    #[tokio::test]
    async fn a_missing_path_is_told_without_a_port() {
        bounded(async {
            let path = socket_path();
            assert_eq!(
                rest(&mut sockeye::connect(&path)).await,
                [
                    &format!("connectionAttemptFailed {path} ENOENT"),
                    &format!("error connect ENOENT {path}"),
                    "close true",
                ]
            );
            let error = sockeye::connect(&path).await.unwrap_err();
            assert_eq!((error.code(), error.syscall()), ("ENOENT", Some("connect")));
            assert_eq!((error.address(), error.port()), (Some(path.as_str()), None));
        })
        .await;
    }

    #[tokio::test]
    async fn a_path_without_a_listener_refuses() {
        bounded(async {
            let path = socket_path();
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let error = sockeye::connect(&path).await.unwrap_err();
            assert_eq!(error.message(), format!("connect ECONNREFUSED {path}"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_invalid() {
        bounded(async {
            let path = format!("/{}", "long".repeat(50));
            let error = sockeye::connect(&path).await.unwrap_err();
            assert_eq!(error.message(), format!("connect EINVAL {path}"));
            assert_eq!((error.code(), error.address()), ("EINVAL", Some(path.as_str())));
        })
        .await;
    }

    #[tokio::test]
    async fn a_second_connect_is_refused_and_changes_nothing() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            assert_eq!(client.connect(address).unwrap_err().code(), "EISCONN");
            until(&mut client, "ready").await;
            assert_eq!(client.connect(address).unwrap_err().code(), "EISCONN");
            client.end_with("abc");
            let peer = server.accept().await.unwrap();
            assert_eq!(peer.connect(address).unwrap_err().code(), "EISCONN");
            assert_eq!(text_of(peer).await, "abc");
            assert_eq!(server.connections(), 0);
        })
        .await;
    }

    #[tokio::test]
    async fn a_destroyed_socket_does_not_connect_before_its_close() {
        let mut socket = Socket::new();
        socket.destroy();
        assert_eq!(socket.connect(refusing()).unwrap_err().code(), "ERR_STREAM_DESTROYED");
        assert_eq!(rest(&mut socket).await, ["close false"]);
        socket.connect(refusing()).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_nobody_connects_cannot_be_awaited() {
        assert_eq!(Socket::new().await.unwrap_err().code(), "ERR_SOCKET_CLOSED");
    }

    #[tokio::test]
    async fn one_failure_leaves_the_others_alone() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let (good, refused, unknown) = tokio::join!(
                sockeye::connect(address),
                sockeye::connect(refusing()),
                sockeye::connect((UNKNOWN_HOST, 80))
            );
            assert_eq!(refused.unwrap_err().code(), "ECONNREFUSED");
            assert_eq!(unknown.unwrap_err().code(), "ENOTFOUND");
            good.unwrap().end_with("fine");
            assert_eq!(text_of(server.accept().await.unwrap()).await, "fine");
        })
        .await;
    }
}

mod state {
    use super::*;

    type State = (bool, bool, bool, ReadyState);

    fn of(socket: &Socket) -> State {
        (socket.connecting(), socket.pending(), socket.destroyed(), socket.ready_state())
    }

    #[tokio::test]
    async fn from_before_the_connection_to_after_the_close() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut socket = Socket::new();
            assert_eq!(of(&socket), (false, true, false, ReadyState::Open));
            assert_eq!((socket.address(), socket.peer_addr()), (None, None));

            socket.connect(address).unwrap();
            assert_eq!(of(&socket), (true, true, false, ReadyState::Opening));
            assert_eq!((socket.address(), socket.peer_addr()), (None, None));
            assert_eq!((socket.remote_address(), socket.remote_port(), socket.remote_family()), (None, None, None));

            until(&mut socket, "connect").await;
            assert_eq!(of(&socket), (false, false, false, ReadyState::Open));
            until(&mut socket, "ready").await;
            let local = socket.address().unwrap();
            assert_eq!(socket.local_address(), Some(Ipv4Addr::LOCALHOST.into()));
            assert_eq!(socket.local_port(), Some(local.port()));
            assert_eq!(socket.local_family(), Some(Family::Ipv4));
            assert_eq!(socket.peer_addr(), Some(address));
            assert_eq!(socket.remote_address(), Some(address.ip()));
            assert_eq!(socket.remote_port(), Some(address.port()));
            assert_eq!(socket.remote_family(), Some(Family::Ipv4));
            let peer = server.accept().await.unwrap();
            assert_eq!((peer.address(), peer.peer_addr()), (Some(address), Some(local)));

            socket.destroy();
            assert_eq!(of(&socket), (false, true, true, ReadyState::Closed));
            assert_eq!(rest(&mut socket).await, ["close false"]);
            assert_eq!(of(&socket), (false, true, true, ReadyState::Closed));
            assert_eq!((socket.address(), socket.local_address(), socket.local_port()), (None, None, None));
            assert_eq!(socket.local_family(), None);
            assert_eq!((socket.peer_addr(), socket.remote_family()), (Some(address), Some(Family::Ipv4)));
        })
        .await;
    }

    #[tokio::test]
    async fn of_a_unix_domain_socket_has_no_addresses() {
        bounded(async {
            let (_server, path) = unix_server().await;
            let mut socket = sockeye::connect(&path);
            assert_eq!(of(&socket), (true, true, false, ReadyState::Opening));
            until(&mut socket, "ready").await;
            assert_eq!(of(&socket), (false, false, false, ReadyState::Open));
            assert_eq!((socket.address(), socket.peer_addr()), (None, None));
            assert_eq!((socket.local_family(), socket.remote_family()), (None, None));
        })
        .await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn is_opening_for_as_long_as_nobody_answers() {
        bounded(async {
            let (address, _full) = unanswering().await;
            let mut socket = sockeye::connect(address);
            assert_eq!(next(&mut socket).await, format!("connectionAttempt {address}"));
            assert!(common::is_quiet(&mut socket).await);
            assert_eq!(of(&socket), (true, true, false, ReadyState::Opening));
            assert_eq!((socket.address(), socket.peer_addr()), (None, None));
        })
        .await;
    }
}

mod settings {
    use super::*;

    /// The kinds of timer that the kernel keeps for the connections of these sockets: `02` is keep-alive. The table is
    /// not read in one go, so what comes and goes meanwhile can hide a line; it is read again then.
    #[cfg(target_os = "linux")]
    async fn kernel_timers(sockets: &[Socket]) -> Vec<String> {
        let ports: Vec<_> =
            sockets.iter().map(|socket| format!("0100007F:{:04X}", socket.local_port().unwrap())).collect();
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
            let timer = |port: &String| {
                let line = lines.iter().find(|line| line[1] == port && line[3] == "01")?;
                Some(line[5].split(':').next()?.to_owned())
            };
            if let Some(timers) = ports.iter().map(timer).collect() {
                return timers;
            }
            tokio::task::yield_now().await;
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn keep_alive_is_remembered_and_applied() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            let minute = Duration::from_secs(60);
            let plain = sockeye::connect(address);
            let withdrawn = ConnectOptions::new().keep_alive(true).connect(address);
            withdrawn.set_keep_alive(false, Duration::ZERO);
            let by_option = ConnectOptions::new().keep_alive(true).keep_alive_initial_delay(minute).connect(address);
            let before_connect = Socket::new();
            before_connect.set_keep_alive(true, minute);
            before_connect.connect(address).unwrap();
            let while_connecting = sockeye::connect(address);
            while_connecting.set_keep_alive(true, minute);

            let sockets = [plain, withdrawn, by_option, before_connect, while_connecting];
            let sockets = try_join_all(sockets.map(IntoFuture::into_future)).await.unwrap();
            assert_eq!(kernel_timers(&sockets).await, ["00", "00", "02", "02", "02"]);
            for socket in &sockets {
                socket.set_keep_alive(false, Duration::ZERO);
            }
            assert_eq!(kernel_timers(&sockets).await, ["00"; 5]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_pause_before_the_connection_counts() {
        bounded(async {
            let (mut server, address) = tcp_server().await;
            let mut client = sockeye::connect(address);
            client.pause();
            until(&mut client, "ready").await;
            server.accept().await.unwrap().end_with("abc");
            assert!(common::is_quiet(&mut client).await);
            assert_eq!((client.is_paused(), client.bytes_read()), (true, 0));
            client.resume();
            assert_eq!(next(&mut client).await, "data 3");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_fires_on_a_socket_that_nobody_connects() {
        let mut socket = Socket::new();
        socket.set_timeout(Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(next(&mut socket).await, "timeout");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert!(!socket.destroyed());
        socket.destroy();
        assert_eq!(rest(&mut socket).await, ["close false"]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_timeout_runs_while_connecting_and_closes_nothing() {
        let (address, _full) = unanswering().await;
        let mut client = ConnectOptions::new().timeout(Duration::from_secs(5)).connect(address);
        assert_eq!(client.timeout(), Some(Duration::from_secs(5)));
        let start = Instant::now();
        assert_eq!(next(&mut client).await, format!("connectionAttempt {address}"));
        assert_eq!(next(&mut client).await, "timeout");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert!(client.connecting() && !client.destroyed());
        client.destroy();
        assert_eq!(rest(&mut client).await, ["close false"]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_timeout_ends_the_await() {
        let (address, _full) = unanswering().await;
        let error = ConnectOptions::new().timeout(Duration::from_secs(5)).connect(address).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("ETIMEDOUT", std::io::ErrorKind::TimedOut));
    }
}

mod programs {
    use super::*;

    const CLIENTS: usize = 40;

    async fn with_many_clients_at_once() {
        let server = Server::new().on_connection(|mut socket: Socket| async move {
            let echo = socket.handle();
            socket.pipe(&echo).await.map(drop)
        });
        server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.address().unwrap();
        let clients = (0..CLIENTS).map(|index| {
            let address = address.clone();
            tokio::spawn(async move {
                let client = sockeye::connect(address);
                client.end_with(format!("client {index}"));
                assert_eq!(text_of(client.await.unwrap()).await, format!("client {index}"));
            })
        });
        for client in join_all(clients).await {
            client.unwrap();
        }
        server.close().await.unwrap();
    }

    #[tokio::test]
    async fn with_many_clients_on_one_thread() {
        bounded(with_many_clients_at_once()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn with_many_clients_on_several_threads() {
        bounded(with_many_clients_at_once()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn that_destroy_while_connecting_on_several_threads() {
        bounded(async {
            let (_server, address) = tcp_server().await;
            for _ in 0..200 {
                let mut client = sockeye::connect(address);
                let handle = client.handle();
                let destroyer = tokio::spawn(async move { handle.destroy() });
                let events = rest(&mut client).await;
                destroyer.await.unwrap();
                assert_eq!(events.last().unwrap(), "close false", "{events:?}");
                assert_eq!(events.iter().filter(|event| event.starts_with("close")).count(), 1);
            }
        })
        .await;
    }

    #[test]
    fn without_a_runtime_get_an_error_and_no_panic() {
        let mut client = sockeye::connect(refusing());
        assert!(client.destroyed());
        let events = rest(&mut client).now_or_never().unwrap();
        assert_eq!(events, ["error There is no tokio runtime here: call this from within one", "close true"]);

        let error = Socket::new().connect(refusing()).unwrap_err();
        assert_eq!(error.code(), "ERR_NO_RUNTIME");
        let error = sockeye::connect(refusing()).attach(Listeners::new()).unwrap_err();
        assert_eq!(error.code(), "ERR_NO_RUNTIME");
    }

    #[test]
    fn that_tried_without_a_runtime_can_connect_within_one() {
        let socket = Socket::new();
        assert_eq!(socket.connect(refusing()).unwrap_err().code(), "ERR_NO_RUNTIME");
        assert!(!socket.destroyed(), "an error of the call leaves the socket as it is");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(bounded(async {
            let (_server, address) = tcp_server().await;
            socket.connect(address).unwrap();
            assert_eq!(socket.await.unwrap().peer_addr(), Some(address));
        }));
    }

    #[test]
    fn that_make_the_socket_before_the_runtime_can_connect_within_it() {
        let socket = Socket::new();
        socket.set_timeout(Duration::from_secs(600));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(bounded(async {
            let (mut server, address) = tcp_server().await;
            socket.connect(address).unwrap();
            socket.end_with("abc");
            assert_eq!(text_of(server.accept().await.unwrap()).await, "abc");
        }));
    }
}
