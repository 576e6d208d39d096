//! Listening, taking connections, and closing.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use common::{bounded, is_quiet, next, rest, settle, socket_path};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
#[cfg(target_os = "linux")]
use nix::sys::resource::{Resource, getrlimit, setrlimit};
#[cfg(target_os = "linux")]
use sockeye::Event;
use sockeye::{Address, Dropped, Family, IntoEndpoint, Server, ServerEvent, ServerHandle, ServerOptions, Socket};
use tokio::io::AsyncReadExt;
#[cfg(target_os = "linux")]
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Barrier, mpsc};

/// One endpoint of each kind to listen on.
fn endpoints() -> [String; 2] {
    ["127.0.0.1:0".to_owned(), socket_path()]
}

async fn listening_on(endpoint: &str) -> (Server, Address) {
    let server = Server::new();
    server.listen(endpoint).await.unwrap();
    let address = server.address().unwrap();
    (server, address)
}

fn echoing() -> Server {
    Server::new().on_connection(|mut socket| async move {
        let echo = socket.handle();
        socket.pipe(&echo).await.map(drop)
    })
}

async fn connect(address: &Address) -> Socket {
    sockeye::connect(address.clone()).await.unwrap()
}

/// A client and the socket that the server has for it.
async fn connection(server: &mut Server) -> (Socket, Socket) {
    let client = connect(&server.address().unwrap()).await;
    (client, server.accept().await.unwrap())
}

/// Sends a question to an echoing server and checks the answer.
async fn assert_echoes(address: &Address) {
    let client = connect(address).await;
    client.end_with("ping");
    assert_eq!(text_of(client).await, "ping");
}

async fn text_of(mut socket: Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

fn describe(event: Option<&ServerEvent>) -> String {
    match event {
        Some(ServerEvent::Listening) => "listening".into(),
        Some(ServerEvent::Connection(_)) => "connection".into(),
        Some(ServerEvent::Drop(_)) => "drop".into(),
        Some(ServerEvent::Error(error)) => format!("error {}", error.message()),
        Some(ServerEvent::Close) => "close".into(),
        Some(other) => format!("{other:?}"),
        None => "nothing".into(),
    }
}

async fn event(server: &mut Server) -> String {
    describe(server.next().await.as_ref())
}

/// All events that are still to come; the server must be closed.
async fn events(server: &mut Server) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = server.next().await {
        events.push(describe(Some(&event)));
    }
    events
}

async fn has_no_event(server: &mut Server) -> bool {
    settle().await;
    server.next().now_or_never().is_none()
}

mod listening {
    use super::*;

    #[tokio::test]
    async fn on_port_zero_takes_a_free_port_of_every_address() {
        bounded(async {
            let server = Server::new();
            assert_eq!((server.address(), server.listening()), (None, false));
            server.listen(0).await.unwrap();
            assert!(server.listening());
            let address = server.address().unwrap().ip().unwrap();
            assert!(address.ip().is_unspecified() && address.port() != 0);
        })
        .await;
    }

    #[tokio::test]
    async fn on_an_address_takes_that_address() {
        bounded(async {
            let server = Server::new();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = server.address().unwrap();
            assert_eq!(address.ip().unwrap().ip(), Ipv4Addr::LOCALHOST);
            assert_eq!(address.to_string(), format!("127.0.0.1:{}", address.port().unwrap()));
            assert_eq!(address.path(), None);
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_name_takes_an_address_of_it() {
        bounded(async {
            let server = Server::new();
            let listen = server.listen(("localhost", 0));
            assert!(!server.listening(), "the name is still being resolved");
            listen.await.unwrap();
            assert!(server.listening());
            assert!(server.address().unwrap().ip().unwrap().ip().is_loopback());
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_path_makes_a_socket_file() {
        bounded(async {
            let path = socket_path();
            let server = Server::new();
            server.listen(&path).await.unwrap();
            assert_eq!(server.address(), Some(Address::Path(path.clone().into())));
            assert!(Path::new(&path).exists());
            server.close().await.unwrap();
            assert!(!Path::new(&path).exists());
        })
        .await;
    }

    #[tokio::test]
    async fn on_every_address_takes_both_families() {
        bounded(async {
            let mut server = Server::new();
            server.listen(0).await.unwrap();
            let port = server.address().unwrap().port().unwrap();
            let client = sockeye::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            let socket = server.accept().await.unwrap();
            assert_eq!(socket.remote_port(), client.local_port());
            if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                let client = sockeye::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
                let socket = server.accept().await.unwrap();
                assert_eq!(socket.peer_addr(), client.address());
                assert_eq!(socket.remote_family(), Some(Family::Ipv6));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn on_an_ipv6_address_takes_that_address() {
        bounded(async {
            if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
                return;
            }
            for endpoint in [("::1", 0).into_endpoint(), "[::1]:0".into_endpoint()] {
                let mut server = Server::new();
                server.listen(endpoint.unwrap()).await.unwrap();
                let address = server.address().unwrap();
                assert_eq!(address.to_string(), format!("[::1]:{}", address.port().unwrap()));
                let (client, socket) = connection(&mut server).await;
                assert_eq!((client.remote_family(), socket.local_family()), (Some(Family::Ipv6), Some(Family::Ipv6)));
                assert_eq!((client.peer_addr(), client.address()), (socket.address(), socket.peer_addr()));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn is_an_event_when_the_future_is_not_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                drop(server.listen(&endpoint));
                assert_eq!(event(&mut server).await, "listening");
                assert!(has_no_event(&mut server).await);
            }
            let mut server = Server::new();
            drop(server.listen("localhost:0"));
            assert_eq!(event(&mut server).await, "listening");
        })
        .await;
    }

    #[tokio::test]
    async fn is_no_event_when_the_future_is_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                assert!(has_no_event(&mut server).await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn wakes_who_has_been_waiting_for_events() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                let handle = server.handle();
                let waiting = tokio::spawn(async move {
                    let first = event(&mut server).await;
                    (first, event(&mut server).await)
                });
                settle().await;
                drop(handle.listen(&endpoint));
                let _client = connect(&handle.address().unwrap()).await;
                assert_eq!(waiting.await.unwrap(), ("listening".into(), "connection".into()));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn wakes_who_has_been_waiting_for_a_connection() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                let handle = server.handle();
                let waiting = tokio::spawn(async move { server.accept().await.is_some() });
                settle().await;
                handle.listen(&endpoint).await.unwrap();
                let _client = connect(&handle.address().unwrap()).await;
                assert!(waiting.await.unwrap());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_an_event_when_the_future_is_not_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                drop(server.listen(taken.clone()));
                assert_eq!(
                    event(&mut server).await,
                    format!("error listen EADDRINUSE: address already in use {taken}")
                );
                assert!(has_no_event(&mut server).await, "no close follows");
                assert!(!server.listening());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_no_event_when_the_future_is_awaited() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                assert_eq!(server.listen(taken).await.unwrap_err().code(), "EADDRINUSE");
                assert!(has_no_event(&mut server).await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_tried_again_after_an_error() {
        bounded(async {
            for endpoint in endpoints() {
                let (other, taken) = listening_on(&endpoint).await;
                let mut server = echoing();
                drop(server.listen(taken.clone()));
                assert!(matches!(server.next().await, Some(ServerEvent::Error(_))));
                other.close().await.unwrap();
                drop(server.listen(taken.clone()));
                assert_eq!(event(&mut server).await, "listening");
                assert_echoes(&taken).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_told_although_the_next_one_has_begun() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                drop(server.listen(taken.clone()));
                drop(server.listen("127.0.0.1:0"));
                let message = format!("error listen EADDRINUSE: address already in use {taken}");
                assert_eq!(event(&mut server).await, message);
                assert_eq!(event(&mut server).await, "listening");

                let server = Server::new();
                let (first, second) = tokio::join!(server.listen(taken), server.listen("127.0.0.1:0"));
                assert_eq!(first.unwrap_err().code(), "EADDRINUSE");
                second.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_fails_is_told_although_the_server_is_closed_after_it() {
        bounded(async {
            for endpoint in endpoints() {
                let (_other, taken) = listening_on(&endpoint).await;
                let mut server = Server::new();
                drop(server.listen(taken.clone()));
                assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
                let message = format!("error listen EADDRINUSE: address already in use {taken}");
                assert_eq!(events(&mut server).await, [message.as_str(), "close"]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn twice_is_an_error_and_the_first_goes_on() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = echoing();
                let first = server.listen(&endpoint);
                let error = server.listen(&endpoint).await.unwrap_err();
                assert_eq!(error.code(), "ERR_SERVER_ALREADY_LISTEN");
                first.await.unwrap();
                let error = server.listen(0).await.unwrap_err();
                assert_eq!(error.message(), "Listen method has been called more than once without closing.");
                assert!(has_no_event(&mut server).await);
                assert_echoes(&server.address().unwrap()).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn twice_is_an_error_while_a_name_is_being_resolved() {
        bounded(async {
            let server = Server::new();
            let first = server.listen("localhost:0");
            assert_eq!(server.listen(0).await.unwrap_err().code(), "ERR_SERVER_ALREADY_LISTEN");
            first.await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn is_possible_again_straight_after_close() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                let (client, socket) = connection(&mut server).await;
                drop(server.close());
                server.listen(address.clone()).await.unwrap();
                assert_eq!(server.address(), Some(address));

                let (_other_client, _other_socket) = connection(&mut server).await;
                assert_eq!(server.connections(), 2);
                socket.end_with("old");
                assert_eq!(text_of(client).await, "old");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn again_is_told_after_the_close() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, _) = listening_on(&endpoint).await;
                drop(server.close());
                drop(server.listen(&endpoint));
                assert_eq!(event(&mut server).await, "close");
                assert_eq!(event(&mut server).await, "listening");
                assert!(has_no_event(&mut server).await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn again_and_again_always_finds_somebody_who_accepts() {
        bounded(async {
            for endpoint in endpoints() {
                let server = echoing();
                for _ in 0..50 {
                    server.listen(&endpoint).await.unwrap();
                    assert_echoes(&server.address().unwrap()).await;
                    drop(server.close());
                }
                server.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_is_closed_at_once_is_never_told() {
        bounded(async {
            for endpoint in endpoints().into_iter().chain(["localhost:0".into()]) {
                let mut server = Server::new();
                let listen = server.listen(&endpoint);
                server.close().await.unwrap();
                assert_eq!(listen.await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
                assert_eq!(events(&mut server).await, ["close"]);
                assert_eq!((server.address(), server.listening()), (None, false));
            }
        })
        .await;
    }

    #[test]
    fn needs_a_runtime() {
        let server = echoing();
        let listen = server.listen((Ipv4Addr::LOCALHOST, 0));
        let error = listen.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.code(), "ERR_NO_RUNTIME");
        assert!(!server.listening());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(bounded(async move {
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert_echoes(&server.address().unwrap()).await;
        }));
    }
}

mod taking_connections {
    use super::*;

    #[tokio::test]
    async fn one_by_one() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, address) = listening_on(&endpoint).await;
                let clients = [connect(&address).await, connect(&address).await, connect(&address).await];
                assert_eq!(server.connections(), 0, "they wait in the kernel's queue");

                let by_accept = server.accept().await.unwrap();
                let Some(ServerEvent::Connection(by_next)) = server.next().await else { panic!("no connection") };
                let Some(ServerEvent::Connection(by_stream)) = StreamExt::next(&mut server).await else {
                    panic!("no connection")
                };
                assert_eq!(server.connections(), 3);
                for (client, socket) in clients.into_iter().zip([by_accept, by_next, by_stream]) {
                    assert_eq!(socket.peer_addr(), client.address());
                    client.end_with("abc");
                    assert_eq!(text_of(socket).await, "abc");
                }
                assert_eq!(server.connections(), 0);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn loses_none_when_nobody_waits_any_longer() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, address) = listening_on(&endpoint).await;
                for _ in 0..3 {
                    assert!(server.accept().now_or_never().is_none());
                    let client = connect(&address).await;
                    client.end_with("abc");
                    assert_eq!(text_of(server.accept().await.unwrap()).await, "abc");
                }
            }
        })
        .await;
    }

    #[tokio::test]
    async fn by_a_listener_that_comes_late_takes_those_that_wait() {
        bounded(async {
            for endpoint in endpoints() {
                let (server, address) = listening_on(&endpoint).await;
                let client = connect(&address).await;
                let server = server.on_connection(|socket| async move {
                    socket.end_with("finally");
                    Ok(())
                });
                assert_eq!(text_of(client).await, "finally");
                server.close().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn each_in_a_task_of_its_own() {
        bounded(async {
            for endpoint in endpoints() {
                let barrier = Arc::new(Barrier::new(5));
                let server = Server::new().on_connection(move |socket| {
                    let barrier = barrier.clone();
                    async move {
                        barrier.wait().await;
                        socket.end_with("all here");
                        Ok(())
                    }
                });
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                let clients = join_all((0..5).map(|_| connect(&address))).await;
                for client in clients {
                    assert_eq!(text_of(client).await, "all here");
                }
                server.close().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn by_a_listener_leaves_the_other_events() {
        bounded(async {
            let mut server = echoing();
            drop(server.listen((Ipv4Addr::LOCALHOST, 0)));
            assert_echoes(&server.address().unwrap()).await;
            drop(server.close());
            assert_eq!(events(&mut server).await, ["close"]);

            drop(server.listen((Ipv4Addr::LOCALHOST, 0)));
            assert_eq!(event(&mut server).await, "listening");
            assert_echoes(&server.address().unwrap()).await;
            drop(server.close());
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn by_a_listener_needs_nobody_who_polls_the_server() {
        bounded(async {
            let server = echoing();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = server.address().unwrap();
            for _ in 0..20 {
                assert_echoes(&address).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn closes_the_connection_with_its_task() {
        bounded(async {
            for endpoint in endpoints() {
                let server = Server::new().on_connection(|socket| async move {
                    socket.write("last word");
                    Ok(())
                });
                server.listen(&endpoint).await.unwrap();
                let mut client = connect(&server.address().unwrap()).await;
                assert_eq!(rest(&mut client).await, ["data 9", "end", "finish", "close false"]);
                server.close().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn has_no_events_of_connecting() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (client, mut socket) = connection(&mut server).await;
                assert!(is_quiet(&mut socket).await);
                assert!(!socket.connecting() && !socket.pending());
                client.end();
                assert_eq!(next(&mut socket).await, "end");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn that_are_paused_reads_nothing_until_they_are_resumed() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::with_options(ServerOptions::new().pause_on_connect(true));
                server.listen(&endpoint).await.unwrap();
                let (client, mut socket) = connection(&mut server).await;
                client.end_with("abc");
                assert!(socket.is_paused());
                assert!(is_quiet(&mut socket).await);
                assert_eq!(socket.bytes_read(), 0);
                socket.resume();
                assert_eq!(next(&mut socket).await, "data 3");
                assert_eq!(socket.bytes_read(), 3);
                assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn gives_them_the_options_of_the_server() {
        bounded(async {
            for endpoint in endpoints() {
                let options = ServerOptions::new().allow_half_open(true).high_water_mark(10);
                let mut server = Server::with_options(options.no_delay(true).keep_alive(true));
                server.listen(&endpoint).await.unwrap();
                let (client, mut socket) = connection(&mut server).await;
                assert_eq!(socket.high_water_mark(), 10);
                client.end();
                assert_eq!(next(&mut socket).await, "end");
                assert!(is_quiet(&mut socket).await);
                socket.end_with("half open");
                assert_eq!(text_of(client).await, "half open");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn survives_a_listener_that_fails_or_panics() {
        bounded(async {
            for endpoint in endpoints() {
                let count = AtomicUsize::new(0);
                let server = Server::new().on_connection(move |mut socket| {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    assert_ne!(number, 0, "the listener panics, on purpose");
                    async move {
                        assert_ne!(number, 1, "the task of the listener panics, on purpose");
                        if number == 2 {
                            return Err(sockeye::Error::new("E_MINE", "the listener fails"));
                        }
                        let echo = socket.handle();
                        socket.pipe(&echo).await.map(drop)
                    }
                });
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                for _ in 0..3 {
                    let mut client = connect(&address).await;
                    assert_eq!(rest(&mut client).await, ["end", "finish", "close false"]);
                }
                assert_echoes(&address).await;
                server.close().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn counts_one_until_it_is_closed() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                assert_eq!(server.connections(), 0);
                let (client, mut socket) = connection(&mut server).await;
                assert_eq!(server.connections(), 1);
                client.end();
                assert_eq!(next(&mut socket).await, "end");
                assert_eq!(server.connections(), 1);
                assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
                assert_eq!(server.connections(), 0);

                let (_client, socket) = connection(&mut server).await;
                socket.destroy();
                assert_eq!(server.connections(), 0);
                let (_client, socket) = connection(&mut server).await;
                drop(socket);
                assert_eq!(server.connections(), 0);
            }
        })
        .await;
    }
}

mod closing {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_connections_and_leaves_them_working() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                let (client, mut socket) = connection(&mut server).await;
                let mut closed = Box::pin(server.close());
                assert_eq!((server.address(), server.listening(), server.connections()), (None, false, 1));
                assert!(has_no_event(&mut server).await);
                assert!((&mut closed).now_or_never().is_none());

                let error = sockeye::connect(address).await.unwrap_err();
                assert!(["ECONNREFUSED", "ENOENT"].contains(&error.code()), "{error}");

                client.end_with("still here");
                assert_eq!(rest(&mut socket).await, ["data 10", "end", "finish", "close false"]);
                closed.await.unwrap();
                assert_eq!(events(&mut server).await, ["close"]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn waits_for_what_a_dropped_connection_still_sends() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (mut client, socket) = connection(&mut server).await;
                let sent = common::pattern(8 * 1024 * 1024);
                socket.write(&sent);
                drop(socket);
                let mut closed = Box::pin(server.close());
                settle().await;
                assert!((&mut closed).now_or_never().is_none());
                assert_eq!(server.connections(), 1);
                let mut received = Vec::new();
                client.read_to_end(&mut received).await.unwrap();
                assert!(received == sent);
                closed.await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_waited_for_before_listening() {
        bounded(async {
            let server = Server::new();
            let mut closed = Box::pin(server.closed());
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            assert!((&mut closed).now_or_never().is_none());
            server.close().await.unwrap();
            closed.await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn ends_accept() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, _) = listening_on(&endpoint).await;
                let handle = server.handle();
                let acceptor = tokio::spawn(async move { server.accept().await.is_none() });
                settle().await;
                handle.close().await.unwrap();
                assert!(acceptor.await.unwrap());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn closes_the_connections_that_nobody_took() {
        bounded(async {
            for endpoint in endpoints() {
                let (server, address) = listening_on(&endpoint).await;
                let mut client = connect(&address).await;
                server.close().await.unwrap();
                assert!(rest(&mut client).await.last().unwrap().starts_with("close"));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_listening_is_an_error_and_a_close() {
        bounded(async {
            let mut server = Server::new();
            let error = server.close().await.unwrap_err();
            assert_eq!((error.code(), error.message()), ("ERR_SERVER_NOT_RUNNING", "Server is not running."));
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn twice_is_an_error_and_two_closes() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, _) = listening_on(&endpoint).await;
                server.close().await.unwrap();
                assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
                assert_eq!(events(&mut server).await, ["close", "close"]);
                server.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn twice_while_connections_last_is_an_error_and_one_close() {
        bounded(async {
            let mut server = listening_on("127.0.0.1:0").await.0;
            let (_client, socket) = connection(&mut server).await;
            let first = server.close();
            assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
            assert!(has_no_event(&mut server).await);
            socket.destroy();
            first.await.unwrap();
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn after_a_failed_listen_is_an_error_and_a_close() {
        bounded(async {
            let (_other, taken) = listening_on("127.0.0.1:0").await;
            let mut server = Server::new();
            server.listen(taken).await.unwrap_err();
            assert_eq!(server.close().await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_waited_for_from_other_tasks() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (_client, socket) = connection(&mut server).await;
                let waiters: Vec<_> = (0..3)
                    .map(|_| {
                        let handle = server.handle();
                        tokio::spawn(async move { handle.closed().await })
                    })
                    .collect();
                settle().await;
                drop(server.close());
                settle().await;
                assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
                drop(socket);
                for waiter in waiters {
                    waiter.await.unwrap().unwrap();
                }
                server.handle().closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn by_dropping_the_server_leaves_the_connections() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = listening_on(&endpoint).await.0;
                let (address, handle) = (server.address().unwrap(), server.handle());
                let (client, socket) = connection(&mut server).await;
                drop(server);
                assert!(address.path().is_none_or(|path| !path.exists()));
                assert_eq!((handle.listening(), handle.address(), handle.connections()), (false, None, 1));
                sockeye::connect(address).await.unwrap_err();

                client.end_with("still here");
                assert_eq!(text_of(socket).await, "still here");
                handle.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn by_dropping_a_server_with_a_listener_leaves_the_connections() {
        bounded(async {
            for endpoint in endpoints() {
                let server = echoing();
                server.listen(&endpoint).await.unwrap();
                let (address, handle) = (server.address().unwrap(), server.handle());
                let mut client = connect(&address).await;
                client.write("a");
                assert_eq!(next(&mut client).await, "data 1");
                drop(server);
                sockeye::connect(address).await.unwrap_err();
                client.end_with("b");
                assert_eq!(text_of(client).await, "b");
                handle.closed().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn leaves_a_file_that_somebody_else_has_put_in_place_of_the_socket() {
        bounded(async {
            let path = socket_path();
            let (server, _) = listening_on(&path).await;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "precious").unwrap();
            server.close().await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        })
        .await;
    }

    #[tokio::test]
    async fn leaves_the_socket_of_a_server_that_has_taken_the_path_over() {
        bounded(async {
            let path = socket_path();
            let (old, _) = listening_on(&path).await;
            std::fs::remove_file(&path).unwrap();
            let new = echoing();
            new.listen(&path).await.unwrap();
            old.close().await.unwrap();
            assert_echoes(&new.address().unwrap()).await;
        })
        .await;
    }

    #[tokio::test]
    async fn does_not_mind_a_socket_file_that_is_gone() {
        bounded(async {
            let path = socket_path();
            let (server, _) = listening_on(&path).await;
            std::fs::remove_file(&path).unwrap();
            server.close().await.unwrap();
        })
        .await;
    }
}

mod a_limit {
    use super::*;

    #[tokio::test]
    async fn drops_what_comes_above_it_and_tells_the_addresses() {
        bounded(async {
            let (mut server, address) = listening_on("127.0.0.1:0").await;
            server.set_max_connections(Some(1));
            assert_eq!(server.max_connections(), Some(1));
            let (_client, _socket) = connection(&mut server).await;
            let client = connect(&address).await;
            let Some(ServerEvent::Drop(Some(dropped))) = server.next().await else { panic!("no drop") };
            let expected = Dropped { local: address.ip().unwrap(), remote: client.address().unwrap() };
            assert_eq!(dropped, expected);
            assert_eq!(server.connections(), 1);
        })
        .await;
    }

    #[tokio::test]
    async fn has_no_addresses_to_tell_of_a_unix_domain_socket() {
        bounded(async {
            let (mut server, address) = listening_on(&socket_path()).await;
            server.set_max_connections(Some(0));
            let _client = connect(&address).await;
            assert!(matches!(server.next().await, Some(ServerEvent::Drop(None))));
        })
        .await;
    }

    #[tokio::test]
    async fn shows_the_dropped_client_connect_end_close() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = Server::new();
                server.listen(&endpoint).await.unwrap();
                server.set_max_connections(Some(0));
                let mut client = sockeye::connect(server.address().unwrap());
                let (mut seen, dropped) = tokio::join!(rest(&mut client), event(&mut server));
                assert_eq!(dropped, "drop");
                seen.retain(|event| !event.starts_with("connectionAttempt"));
                assert_eq!(seen, ["connect", "ready", "end", "finish", "close false"]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn frees_a_place_when_a_connection_closes() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, address) = listening_on(&endpoint).await;
                server.set_max_connections(Some(2));
                let (_first_client, first) = connection(&mut server).await;
                let (_second_client, _second) = connection(&mut server).await;
                let _third_client = connect(&address).await;
                assert_eq!(event(&mut server).await, "drop");
                first.destroy();
                let _fourth_client = connect(&address).await;
                assert_eq!(event(&mut server).await, "connection");
                assert_eq!(server.connections(), 1, "the one that the event brought was dropped with it");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn can_be_moved_and_lifted() {
        bounded(async {
            for endpoint in endpoints() {
                let (mut server, address) = listening_on(&endpoint).await;
                let _here = [connection(&mut server).await, connection(&mut server).await];
                server.set_max_connections(Some(1));
                assert_eq!(server.connections(), 2, "those that are there stay");
                let _dropped = connect(&address).await;
                assert_eq!(event(&mut server).await, "drop");
                server.set_max_connections(None);
                let _taken = connection(&mut server).await;
                assert_eq!(server.connections(), 3);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn of_a_server_with_a_listener_is_told_by_events() {
        bounded(async {
            for endpoint in endpoints() {
                let mut server = echoing();
                server.listen(&endpoint).await.unwrap();
                let address = server.address().unwrap();
                server.set_max_connections(Some(1));
                let mut client = connect(&address).await;
                client.write("a");
                assert_eq!(next(&mut client).await, "data 1");
                let mut dropped = connect(&address).await;
                assert_eq!(event(&mut server).await, "drop");
                assert_eq!(rest(&mut dropped).await, ["end", "finish", "close false"]);
                client.end_with("b");
                assert_eq!(text_of(client).await, "b");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn goes_on_when_nobody_asks_for_the_events() {
        bounded(async {
            let mut server = echoing();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = server.address().unwrap();
            server.set_max_connections(Some(0));
            for _ in 0..150 {
                let mut dropped = connect(&address).await;
                assert_eq!(rest(&mut dropped).await, ["end", "finish", "close false"]);
            }
            server.set_max_connections(None);
            assert_echoes(&address).await;
            server.close().await.unwrap();
            let events = events(&mut server).await;
            assert_eq!((events.len(), events.last().unwrap().as_str()), (128, "close"));
        })
        .await;
    }
}

mod programs {
    use super::*;

    async fn with_several_servers() {
        let servers: Vec<_> = (0..4).map(|_| echoing()).collect();
        for (server, endpoint) in servers.iter().zip(endpoints().into_iter().chain(endpoints())) {
            server.listen(&endpoint).await.unwrap();
        }
        let clients = (0..80).map(|index| {
            let address = servers[index % servers.len()].address().unwrap();
            tokio::spawn(async move { assert_echoes(&address).await })
        });
        for client in join_all(clients).await {
            client.unwrap();
        }
        for server in &servers {
            server.close().await.unwrap();
            assert_eq!(server.connections(), 0);
        }
    }

    #[tokio::test]
    async fn with_several_servers_on_one_thread() {
        bounded(with_several_servers()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn with_several_servers_on_several_threads() {
        bounded(with_several_servers()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn that_close_and_listen_on_several_threads_always_find_somebody_who_accepts() {
        bounded(async {
            let server = echoing();
            for _ in 0..100 {
                server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                assert_echoes(&server.address().unwrap()).await;
                drop(server.close());
            }
            server.closed().await.unwrap();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn that_close_the_server_from_within_a_connection() {
        bounded(async {
            let own_handle = Arc::new(OnceLock::<ServerHandle>::new());
            let handle = own_handle.clone();
            let server = Server::new().on_connection(move |socket| {
                drop(handle.get().unwrap().close());
                async move {
                    socket.end_with("closing time");
                    Ok(())
                }
            });
            own_handle.set(server.handle()).unwrap();
            server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let client = connect(&server.address().unwrap()).await;
            assert_eq!(text_of(client).await, "closing time");
            server.closed().await.unwrap();
        })
        .await;
    }
}

/// The server that runs out of descriptors is in a process of its own, which is this program, started again with this
/// variable set to the path of the socket that it reports to.
#[cfg(target_os = "linux")]
mod without_descriptors {
    use super::*;

    const REPORT_TO: &str = "SOCKEYE_TEST_REPORT_TO";
    const DESCRIPTORS: u64 = 40;

    #[tokio::test]
    async fn a_server_reports_it_once_and_goes_on_when_there_are_some_again() {
        const NAME: &str = "without_descriptors::a_server_reports_it_once_and_goes_on_when_there_are_some_again";
        match std::env::var(REPORT_TO) {
            Ok(path) => serve(&path, Server::new(), mpsc::unbounded_channel().1).await,
            Err(_) => bounded(exhaust(NAME)).await,
        }
    }

    #[tokio::test]
    async fn a_server_with_a_listener_does_so_too() {
        const NAME: &str = "without_descriptors::a_server_with_a_listener_does_so_too";
        match std::env::var(REPORT_TO) {
            Ok(path) => {
                let (sender, connections) = mpsc::unbounded_channel();
                let server = Server::new().on_connection(move |socket| {
                    sender.send(socket).unwrap();
                    async { Ok(()) }
                });
                serve(&path, server, connections).await;
            }
            Err(_) => bounded(exhaust(NAME)).await,
        }
    }

    /// Holds every connection until it is told to free them, and reports each event.
    async fn serve(report_to: &str, mut server: Server, mut connections: mpsc::UnboundedReceiver<Socket>) {
        let mut control = sockeye::connect(report_to).await.unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).unwrap();
        server.listen((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        control.write(format!("{}\n", server.address().unwrap()));
        let mut held = Vec::new();
        loop {
            tokio::select! {
                event = server.next() => {
                    control.write(format!("{}\n", describe(event.as_ref())));
                    if let Some(ServerEvent::Connection(socket)) = event {
                        held.push(socket);
                    }
                }
                Some(socket) = connections.recv() => {
                    control.write("connection\n");
                    held.push(socket);
                }
                command = control.next() => match command {
                    Some(Event::Data(_)) => held.clear(),
                    _ => return,
                }
            }
        }
    }

    async fn exhaust(test: &str) {
        let (mut control_server, control_address) = listening_on(&socket_path()).await;
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(REPORT_TO, control_address.path().unwrap())
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let control = control_server.accept().await.unwrap();
        let commands = control.handle();
        let mut reports = BufReader::new(control).lines();
        let address: SocketAddr = reports.next_line().await.unwrap().unwrap().parse().unwrap();

        let mut clients = Vec::new();
        loop {
            clients.push(sockeye::connect(address).await.unwrap());
            match reports.next_line().await.unwrap().unwrap().as_str() {
                "connection" => assert!((clients.len() as u64) < DESCRIPTORS),
                report => break assert_eq!(report, "error accept EMFILE"),
            }
        }
        assert!(clients.len() > 2, "there was room for {} only", clients.len() - 1);
        clients.push(sockeye::connect(address).await.unwrap());

        commands.write("free");
        for _ in 0..2 {
            assert_eq!(reports.next_line().await.unwrap().unwrap(), "connection");
        }
        commands.end();
        assert_eq!(reports.next_line().await.unwrap(), None);
        assert!(child.wait().await.unwrap().success());
    }
}
