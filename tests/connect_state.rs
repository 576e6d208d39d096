//! What a connecting socket says of itself, and programs with many of them.

mod common;

use std::future::IntoFuture;
use std::net::Ipv4Addr;
use std::time::Duration;

use common::{bounded, next, rest};
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use sockeye::{ConnectOptions, Family, Listeners, ReadyState, Server, Socket};
use tokio::time::Instant;

use common::connecting::*;

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
    /// not read in one go, so what comes and goes meanwhile can hide a line, and a connection that has just been made may
    /// still have the timer of its handshake (`01`); it is read again then.
    #[cfg(target_os = "linux")]
    async fn kernel_timers(sockets: &[Socket]) -> Vec<String> {
        let ports: Vec<_> =
            sockets.iter().map(|socket| format!("0100007F:{:04X}", socket.local_port().unwrap())).collect();
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
            let timer = |port: &String| {
                let line = lines.iter().find(|line| line[1] == port && line[3] == "01")?;
                line[5].split(':').next().filter(|kind| *kind != "01").map(str::to_owned)
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
