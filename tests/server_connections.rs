//! Taking connections, and how many.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{bounded, is_quiet, next, rest, socket_path};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
#[cfg(target_os = "linux")]
use nix::sys::resource::{Resource, getrlimit, setrlimit};
#[cfg(target_os = "linux")]
use sockeye::Event;
use sockeye::{Dropped, Server, ServerEvent, ServerOptions, Socket};
#[cfg(target_os = "linux")]
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Barrier, mpsc};

use common::serving::*;

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
                    async {}
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
