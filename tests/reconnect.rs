//! Connecting the same socket again.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Transport, bounded, describe, next, pattern, rest};
use sockeye::{Address, ConnectOptions, Encoding, Listeners, ReadyState, Server, Socket};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

const KINDS: [Transport; 2] = [Transport::Tcp, Transport::Unix];

async fn listen(transport: Transport) -> (Server, Address) {
    let server = Server::new();
    match transport {
        Transport::Tcp => server.listen("127.0.0.1:0").await.unwrap(),
        Transport::Unix => server.listen(common::socket_path()).await.unwrap(),
        Transport::Memory => unreachable!("nobody connects to memory"),
    };
    let address = server.address().unwrap();
    (server, address)
}

/// Where nobody listens.
fn refusing(transport: Transport) -> (Address, Option<socket2::Socket>) {
    if transport == Transport::Unix {
        return (Address::Path(common::socket_path().into()), None);
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (Address::Ip(address), Some(socket))
}

/// The events of connecting.
fn connecting(address: &Address) -> Vec<String> {
    vec![format!("connectionAttempt {address}"), "connect".into(), "ready".into()]
}

/// Connects and waits until that is done.
async fn reconnect(socket: &mut Socket, server: &mut Server, address: &Address) -> Socket {
    socket.connect(address.clone()).unwrap();
    for event in connecting(address) {
        assert_eq!(next(socket).await, event);
    }
    server.accept().await.unwrap()
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn works_any_number_of_times_with_all_events_each_time() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            for round in 1..=5 {
                let mut peer = reconnect(&mut socket, &mut server, &address).await;
                assert!(!socket.pending() && !socket.destroyed());
                assert_eq!((socket.ready_state(), socket.peer_addr()), (ReadyState::Open, address.ip()));
                assert!(socket.write(pattern(10 * round)));
                peer.end_with(pattern(round));
                let data = format!("data {round}");
                assert_eq!(rest(&mut socket).await, [&data, "end", "finish", "close false"]);
                assert_eq!(socket.next().await.as_ref().map(describe), None);
                assert_eq!((socket.bytes_read(), socket.bytes_written()), (round as u64, 10 * round as u64));
                assert!(socket.pending() && socket.destroyed());
                let data = format!("data {}", 10 * round);
                assert_eq!(rest(&mut peer).await, ["finish".to_owned(), data, "end".into(), "close false".into()]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_counters_and_addresses_start_anew_at_the_call() {
    bounded(async {
        let (mut server, address) = listen(Transport::Tcp).await;
        let mut socket = Socket::new();
        let peer = reconnect(&mut socket, &mut server, &address).await;
        socket.write("abc");
        peer.end_with("abcdef");
        rest(&mut socket).await;
        assert_eq!((socket.bytes_read(), socket.bytes_written()), (6, 3));
        assert_eq!(socket.peer_addr(), address.ip());

        socket.connect(address).unwrap();
        assert_eq!((socket.bytes_read(), socket.bytes_written(), socket.peer_addr()), (0, 0, None));
        assert!(socket.connecting() && socket.pending() && !socket.destroyed());
        assert_eq!(socket.ready_state(), ReadyState::Opening);
    })
    .await;
}

#[tokio::test]
async fn the_encoding_stays() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            socket.set_encoding(Encoding::Hex);
            for _ in 0..2 {
                reconnect(&mut socket, &mut server, &address).await.end_with([0xca, 0xfe]);
                assert_eq!(rest(&mut socket).await, ["text \"cafe\"", "end", "finish", "close false"]);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_timeout_stays() {
    let (mut server, address) = listen(Transport::Unix).await;
    let mut socket = Socket::new();
    socket.set_timeout(Duration::from_secs(9));
    for _ in 0..2 {
        let peer = reconnect(&mut socket, &mut server, &address).await;
        assert_eq!(socket.timeout(), Some(Duration::from_secs(9)));
        let start = tokio::time::Instant::now();
        assert_eq!(next(&mut socket).await, "timeout");
        assert_eq!(start.elapsed(), Duration::from_secs(9));
        peer.end();
        assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_does_not_run_between_two_connections() {
    let (mut server, address) = listen(Transport::Unix).await;
    let mut socket = Socket::new();
    socket.set_timeout(Duration::from_secs(9));
    reconnect(&mut socket, &mut server, &address).await.end();
    assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let _peer = reconnect(&mut socket, &mut server, &address).await;
    let start = tokio::time::Instant::now();
    assert_eq!(next(&mut socket).await, "timeout");
    assert_eq!(start.elapsed(), Duration::from_secs(9));
}

#[tokio::test]
async fn the_options_and_the_pause_stay() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = ConnectOptions::new().allow_half_open(true).high_water_mark(1234).connect(address.clone());
            for event in connecting(&address) {
                assert_eq!(next(&mut socket).await, event);
            }
            drop(server.accept().await.unwrap());
            assert_eq!(next(&mut socket).await, "end");
            assert!(common::is_quiet(&mut socket).await);
            socket.pause();
            socket.end();
            assert_eq!(rest(&mut socket).await, ["finish", "close false"]);

            let peer = reconnect(&mut socket, &mut server, &address).await;
            assert_eq!(socket.high_water_mark(), 1234);
            peer.end_with("abc");
            assert!(socket.is_paused() && common::is_quiet(&mut socket).await);
            socket.resume();
            assert_eq!(next(&mut socket).await, "data 3");
            assert_eq!(next(&mut socket).await, "end");
            assert!(common::is_quiet(&mut socket).await, "half-open is still allowed");
        }
    })
    .await;
}

#[tokio::test]
async fn works_after_an_error() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let (nobody, _guard) = refusing(transport);
            let mut socket = Socket::new();
            for _ in 0..2 {
                socket.connect(nobody.clone()).unwrap();
                let events = rest(&mut socket).await;
                assert!(events[events.len() - 2].starts_with("error connect E"), "{events:?}");
                assert_eq!(events.last().unwrap(), "close true");
                let late = socket.try_write("late").unwrap_err();
                assert_eq!(late.code(), "ERR_STREAM_DESTROYED");

                reconnect(&mut socket, &mut server, &address).await.end();
                assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn works_after_destroy() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            for _ in 0..3 {
                let mut peer = reconnect(&mut socket, &mut server, &address).await;
                socket.destroy();
                assert_eq!(rest(&mut socket).await, ["close false"]);
                assert_eq!(rest(&mut peer).await, ["end", "finish", "close false"]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn can_go_to_another_kind_of_endpoint() {
    bounded(async {
        let (mut tcp, tcp_address) = listen(Transport::Tcp).await;
        let (mut unix, unix_address) = listen(Transport::Unix).await;
        let mut socket = Socket::new();
        for _ in 0..2 {
            for (server, address) in [(&mut tcp, &tcp_address), (&mut unix, &unix_address)] {
                let peer = reconnect(&mut socket, server, address).await;
                assert_eq!(socket.peer_addr(), address.ip());
                assert_eq!(socket.address().is_some(), address.ip().is_some());
                peer.end();
                rest(&mut socket).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn is_refused_until_close_was_delivered() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            let _peer = reconnect(&mut socket, &mut server, &address).await;
            socket.destroy();
            let error = socket.connect(address.clone()).unwrap_err();
            assert_eq!(error.message(), "Cannot call connect after a stream was destroyed");
            assert_eq!(error.code(), "ERR_STREAM_DESTROYED");
            assert_eq!(rest(&mut socket).await, ["close false"]);
            reconnect(&mut socket, &mut server, &address).await;
        }
    })
    .await;
}

#[tokio::test]
async fn is_refused_while_connecting_or_open_and_changes_nothing() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = sockeye::connect(address.clone());
            socket.write("early");
            let refused = || {
                let error = socket.connect(address.clone()).unwrap_err();
                (error.code().to_owned(), error.kind())
            };
            let expected = ("EISCONN".to_owned(), std::io::ErrorKind::InvalidInput);
            assert_eq!(refused(), expected);
            while socket.connecting() {
                tokio::task::yield_now().await;
            }
            assert_eq!(refused(), expected);
            for event in connecting(&address) {
                assert_eq!(next(&mut socket).await, event);
            }
            assert_eq!(socket.bytes_written(), 5);
            assert_eq!(next(&mut server.accept().await.unwrap()).await, "data 5");
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_endpoint_leaves_the_socket_closed() {
    bounded(async {
        let (mut server, address) = listen(Transport::Tcp).await;
        let mut socket = Socket::new();
        reconnect(&mut socket, &mut server, &address).await.end();
        rest(&mut socket).await;
        assert_eq!(socket.connect("localhost:65536").unwrap_err().code(), "ERR_SOCKET_BAD_PORT");
        assert_eq!(socket.next().await.as_ref().map(describe), None);
        assert_eq!(socket.bytes_written(), 0);
        reconnect(&mut socket, &mut server, &address).await;
    })
    .await;
}

#[tokio::test]
async fn what_one_connection_left_queued_does_not_go_to_the_next() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            let _peer = reconnect(&mut socket, &mut server, &address).await;
            assert!(!socket.write(pattern(16 * 1024 * 1024)));
            socket.destroy();
            assert_eq!(rest(&mut socket).await, ["close false"]);
            assert_eq!(socket.try_write("between").unwrap_err().code(), "ERR_STREAM_DESTROYED");

            socket.connect(address.clone()).unwrap();
            assert_eq!((socket.writable_length(), socket.bytes_written()), (0, 0));
            socket.write("first, ");
            let written = socket.write_with("second");
            assert_eq!(socket.bytes_written(), 13);
            let mut peer = server.accept().await.unwrap();
            written.await.unwrap();
            socket.end_with(", third");
            let mut text = String::new();
            peer.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "first, second, third");
        }
    })
    .await;
}

#[tokio::test]
async fn a_queue_is_flushed_on_each_connection() {
    bounded(async {
        let sent = pattern(8 * 1024 * 1024);
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            for _ in 0..3 {
                let peer = reconnect(&mut socket, &mut server, &address).await;
                assert!(!socket.write(&sent));
                // Destroyed with a flush going on, which has to come to its end before the next one.
                socket.destroy();
                assert_eq!(rest(&mut socket).await, ["close false"]);
                drop(peer);

                let mut peer = reconnect(&mut socket, &mut server, &address).await;
                assert!(!socket.write(&sent));
                socket.end();
                let mut received = Vec::new();
                peer.read_to_end(&mut received).await.unwrap();
                assert!(received == sent);
                drop(peer);
                assert_eq!(rest(&mut socket).await, ["finish", "end", "close false"]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_of_the_connection_before_fails() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            let _peer = reconnect(&mut socket, &mut server, &address).await;
            let written = socket.write_with(pattern(16 * 1024 * 1024));
            socket.destroy();
            assert_eq!(rest(&mut socket).await, ["close false"]);
            let _peer = reconnect(&mut socket, &mut server, &address).await;
            let Poll::Ready(result) = poll_once(written) else { panic!("it can only have failed") };
            assert_eq!(result.unwrap_err().code(), "ERR_STREAM_DESTROYED");
        }
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_the_close_is_told_of_it() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            let _peer = reconnect(&mut socket, &mut server, &address).await;
            let handle = socket.handle();
            let mut closed = pin!(handle.closed());
            assert!(poll_once(closed.as_mut()).is_pending());
            socket.destroy();
            assert_eq!(rest(&mut socket).await, ["close false"]);
            socket.connect(address).unwrap();
            assert!(poll_once(closed.as_mut()).is_ready());
        }
    })
    .await;
}

#[tokio::test]
async fn a_handle_can_do_it_while_the_socket_waits() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = Socket::new();
            let handle = socket.handle();
            let (tell, mut told) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                while !tell.is_closed() {
                    while let Some(event) = socket.next().await {
                        let _ = tell.send(describe(&event));
                    }
                    tokio::task::yield_now().await;
                }
            });
            for _ in 0..3 {
                common::settle().await;
                handle.connect(address.clone()).unwrap();
                server.accept().await.unwrap().end();
                let mut expected = connecting(&address);
                expected.extend(["end", "finish", "close false"].map(str::to_owned));
                for event in expected {
                    assert_eq!(told.recv().await.unwrap(), event);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn can_be_awaited() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let mut socket = sockeye::connect(address.clone()).await.unwrap();
            for _ in 0..2 {
                server.accept().await.unwrap().end();
                assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
                socket.connect(address.clone()).unwrap();
                socket = socket.await.unwrap();
            }
            assert_eq!(socket.ready_state(), ReadyState::Open);
        }
    })
    .await;
}

#[tokio::test]
async fn listeners_go_on_if_on_close_connects_again() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let log = Arc::new(Mutex::new(Vec::new()));
            let (connects, closes) = (log.clone(), log.clone());
            let target = address.clone();
            let listeners = Listeners::new().on_connect(move |_| connects.lock().unwrap().push("connect")).on_close(
                move |socket, had_error| {
                    assert!(!had_error);
                    let mut log = closes.lock().unwrap();
                    log.push("close");
                    if log.len() < 6 {
                        socket.connect(target.clone()).unwrap();
                    }
                },
            );
            let socket = sockeye::connect(address);
            let loop_ends = tokio::spawn(listeners.run(socket));
            for _ in 0..3 {
                server.accept().await.unwrap().end();
            }
            loop_ends.await.unwrap();
            assert_eq!(*log.lock().unwrap(), ["connect", "close"].repeat(3));
        }
    })
    .await;
}

#[tokio::test]
async fn listeners_end_at_close_and_their_socket_with_them() {
    bounded(async {
        for transport in KINDS {
            let (mut server, address) = listen(transport).await;
            let (tell, mut closed) = mpsc::unbounded_channel();
            let listeners = Listeners::new().on_close(move |_, had_error| tell.send(had_error).unwrap());
            let handle = sockeye::connect(address.clone()).attach(listeners).unwrap();
            server.accept().await.unwrap().end();
            assert_eq!(closed.recv().await, Some(false));
            assert_eq!(closed.recv().await, None);
            assert_eq!(handle.connect(address).unwrap_err().code(), "ERR_STREAM_DESTROYED");
        }
    })
    .await;
}
