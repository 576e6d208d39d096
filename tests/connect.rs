//! Connecting: to what, which events in which order, and what is written before.

mod common;

use std::future::IntoFuture;
use std::net::Ipv4Addr;
use std::path::Path;

use common::{bounded, describe, next, rest, socket_path};
use futures_util::FutureExt;
use futures_util::future::join_all;
use sockeye::{ConnectOptions, Endpoint, Error, IntoEndpoint, Server, Socket};
use tokio::io::AsyncWriteExt;

use common::connecting::*;

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
    async fn of_a_path_is_attempt_connect_ready() {
        bounded(async {
            let (_server, path) = unix_server().await;
            let attempt = format!("connectionAttempt {path}");
            assert_eq!(until(&mut sockeye::connect(&path), "ready").await, [attempt.as_str(), "connect", "ready"]);
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
            assert_eq!(until(&mut client, "drain").await[1..], ["connect", "drain"]);
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
