//! Connecting that fails, or is given up.

mod common;

use common::{bounded, next, rest, settle, socket_path};
use sockeye::{Address, Error, Event, ReadyState, Socket};

use common::connecting::*;

mod giving_up {
    use super::*;

    async fn destroy(mut client: Socket) {
        let written = client.write_with("never");
        client.destroy();
        assert!(client.destroyed() && !client.connecting() && client.pending());
        assert_eq!(client.ready_state(), ReadyState::Closed);
        let mut events = rest(&mut client).await;
        // The attempt at a path is told, since it begins within the call.
        events.retain(|event| !event.starts_with("connectionAttempt "));
        assert_eq!(events, ["close false"]);
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
                    &format!("connectionAttempt {path}"),
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
