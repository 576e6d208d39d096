//! What `unreferenced` waits for. It is about the whole process, so each test has one of its own.

mod child;
mod common;

use std::future::pending;
use std::process::Stdio;

use child::in_processes_of_their_own;
use common::{Transport, next, rest};
use futures_util::FutureExt;
use sockeye::{
    ConnectOptions, Event, ListenOptions, LookupOptions, Server, ServerEvent, Socket, SocketHandle, SocketOptions,
    connect, unreferenced,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

/// More than the kernel and a memory pair take.
const TOO_MUCH: usize = 16 * 1024 * 1024;

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Unix, Transport::Memory];

in_processes_of_their_own! {
    async fn nothing_at_all_is_not_waited_for() {
        unreferenced().await;
        unreferenced().await;
    }

    async fn a_server_that_does_not_listen_does_not_hold() {
        let server = Server::new();
        unreferenced().await;
        server.listen("127.0.0.1:0").await.unwrap();
        server.close().await.unwrap();
        unreferenced().await;
    }

    async fn a_listening_server_holds_until_it_closes() {
        let server = Server::new();
        let waiting = tokio::spawn(unreferenced());
        waiting.await.unwrap();
        server.listen("127.0.0.1:0").await.unwrap();
        let waiting = tokio::spawn(unreferenced());
        common::settle().await;
        assert!(!waiting.is_finished());
        server.close();
        waiting.await.unwrap();
    }

    async fn a_listening_server_holds_until_it_is_dropped() {
        let server = Server::new();
        server.listen(common::socket_path()).await.unwrap();
        let waiting = tokio::spawn(unreferenced());
        common::settle().await;
        assert!(!waiting.is_finished());
        drop(server);
        waiting.await.unwrap();
    }

    async fn a_server_holds_from_the_call_of_listen_on() {
        let server = Server::new();
        let listen = server.listen("127.0.0.1:0");
        assert!(is_held());
        listen.await.unwrap();
        assert!(is_held());
    }

    async fn a_server_holds_while_it_looks_its_name_up() {
        let server = Server::new();
        let listen = server.listen("localhost:0");
        assert!(is_held());
        listen.await.unwrap();
        assert!(is_held());
        server.close();
        assert!(!is_held());
    }

    async fn a_server_that_cannot_listen_does_not_hold() {
        let first = Server::new();
        first.listen("127.0.0.1:0").await.unwrap();
        first.set_referenced(false);
        let second = Server::new();
        assert_eq!(second.listen(first.address().unwrap()).await.unwrap_err().code(), "EADDRINUSE");
        unreferenced().await;
        assert_eq!(second.listen(("a name", 0)).await.unwrap_err().code(), "ENOTFOUND");
        unreferenced().await;
    }

    async fn a_server_closed_while_it_looks_its_name_up_does_not_hold() {
        let server = Server::new();
        let listen = server.listen("localhost:0");
        server.close();
        unreferenced().await;
        assert_eq!(listen.await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");
        unreferenced().await;
    }

    async fn a_server_unreferenced_while_it_listens_does_not_hold() {
        let server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let waiting = tokio::spawn(unreferenced());
        common::settle().await;
        assert!(!waiting.is_finished());
        server.set_referenced(false);
        server.set_referenced(false);
        waiting.await.unwrap();
        assert!(server.listening());
        server.handle().set_referenced(true);
        assert!(is_held());
    }

    async fn a_server_unreferenced_before_it_listens_does_not_hold() {
        let server = Server::new();
        server.set_referenced(false);
        server.listen("127.0.0.1:0").await.unwrap();
        unreferenced().await;
        server.close().await.unwrap();
        server.listen("localhost:0").await.unwrap();
        unreferenced().await;
        server.set_referenced(true);
        assert!(is_held());
    }

    async fn a_server_that_listens_again_holds_again() {
        let server = Server::new();
        for _ in 0..3 {
            server.listen("127.0.0.1:0").await.unwrap();
            assert!(is_held());
            server.close();
            unreferenced().await;
        }
    }

    async fn a_server_closed_by_its_signal_does_not_hold() {
        let server = Server::new();
        let token = CancellationToken::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().signal(token.clone())).await.unwrap();
        assert!(is_held());
        token.cancel();
        unreferenced().await;
        assert!(!server.listening());
    }

    async fn a_closed_server_does_not_hold_though_its_connections_do() {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let client = connect(server.address().unwrap()).await.unwrap();
        client.set_referenced(false);
        let socket = server.accept().await.unwrap();
        let closed = server.close();
        assert!(is_held());
        drop(socket);
        unreferenced().await;
        closed.await.unwrap();
    }

    async fn servers_that_share_a_listener_count_each() {
        let [first, second] = [Server::new(), Server::new()];
        first.listen("127.0.0.1:0").await.unwrap();
        second.listen_on(&first).await.unwrap();
        first.close().await.unwrap();
        assert!(is_held());
        second.close().await.unwrap();
        unreferenced().await;
    }

    async fn a_connection_that_nobody_accepted_does_not_hold() {
        let server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        server.set_referenced(false);
        let client = connect(server.address().unwrap()).await.unwrap();
        client.set_referenced(false);
        unreferenced().await;
    }

    async fn an_unconnected_socket_does_not_hold() {
        let socket = Socket::new();
        unreferenced().await;
        socket.write("refused");
        unreferenced().await;
        drop(socket);
        unreferenced().await;
    }

    async fn a_connecting_socket_holds_until_it_is_destroyed() {
        let mut socket = connecting();
        let waiting = tokio::spawn(unreferenced());
        common::settle().await;
        assert!(!waiting.is_finished());
        socket.destroy();
        waiting.await.unwrap();
        assert_eq!(rest(&mut socket).await, ["close false"]);
    }

    async fn a_connecting_socket_holds_until_it_is_dropped() {
        let socket = connecting();
        assert!(is_held());
        drop(socket);
        unreferenced().await;
    }

    async fn a_connecting_socket_holds_even_if_it_is_paused() {
        let socket = connecting();
        socket.pause();
        assert!(is_held());
    }

    async fn a_dropped_socket_that_connects_with_something_to_write_holds_until_it_is_out() {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        server.set_referenced(false);
        let socket = connect(server.address().unwrap());
        socket.write("last words");
        drop(socket);
        assert!(is_held());
        unreferenced().await;
        let mut socket = server.accept().await.unwrap();
        socket.set_referenced(false);
        assert_eq!(rest(&mut socket).await, ["data 10", "end", "finish", "close false"]);
    }

    async fn a_connecting_socket_unreferenced_before_or_after_the_call_does_not_hold() {
        let socket = Socket::new();
        socket.set_referenced(false);
        socket.connect_with("never.invalid:1", ConnectOptions::new().lookup(never)).unwrap();
        unreferenced().await;

        let socket = connecting();
        assert!(is_held());
        socket.set_referenced(false);
        unreferenced().await;
    }

    async fn a_socket_that_cannot_connect_does_not_hold() {
        let mut socket = connect(common::socket_path());
        assert!(is_held());
        unreferenced().await;
        assert!(matches!(socket.next().await, Some(Event::ConnectionAttempt { .. })));
        assert!(matches!(socket.next().await, Some(Event::ConnectionAttemptFailed { .. })));
    }

    async fn a_connected_socket_holds_while_it_reads_whether_or_not_anybody_asks() {
        for transport in TRANSPORTS {
            let (socket, _peer) = pair(transport).await;
            assert!(is_held(), "{transport:?}");
            socket.end();
            assert!(is_held(), "{transport:?}");
            drop(socket);
            unreferenced().await;
        }
    }

    async fn a_paused_idle_socket_does_not_hold_until_it_resumes() {
        for transport in TRANSPORTS {
            let (socket, peer) = pair(transport).await;
            socket.pause();
            unreferenced().await;
            peer.write("unread");
            common::settle().await;
            unreferenced().await;
            socket.resume();
            assert!(is_held(), "{transport:?}");
            socket.pause();
            unreferenced().await;
        }
    }

    async fn a_paused_socket_with_something_to_write_holds_until_it_is_out() {
        for transport in TRANSPORTS {
            let (socket, mut peer) = pair(transport).await;
            socket.pause();
            assert!(!socket.write(vec![1; TOO_MUCH]));
            let waiting = tokio::spawn(unreferenced());
            common::settle().await;
            assert!(!waiting.is_finished(), "{transport:?}");
            let mut received = vec![0; TOO_MUCH];
            peer.read_exact(&mut received).await.unwrap();
            waiting.await.unwrap();
            assert!(socket.drained().now_or_never().is_some());
        }
    }

    async fn a_dropped_socket_holds_until_its_queue_is_out() {
        for transport in TRANSPORTS {
            let (socket, mut peer) = pair(transport).await;
            socket.write(vec![1; TOO_MUCH]);
            drop(socket);
            let waiting = tokio::spawn(unreferenced());
            common::settle().await;
            assert!(!waiting.is_finished(), "{transport:?}");
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), TOO_MUCH);
            waiting.await.unwrap();
        }
    }

    async fn a_dropped_socket_with_a_queue_does_not_hold_if_it_is_unreferenced() {
        for transport in TRANSPORTS {
            let (socket, _peer) = pair(transport).await;
            let handle = socket.handle();
            socket.write(vec![1; TOO_MUCH]);
            drop(socket);
            assert!(is_held(), "{transport:?}");
            handle.set_referenced(false);
            unreferenced().await;
        }
    }

    async fn a_socket_unreferenced_does_not_hold_and_referenced_does_again() {
        for transport in TRANSPORTS {
            let (socket, _peer) = pair(transport).await;
            let waiting = tokio::spawn(unreferenced());
            common::settle().await;
            assert!(!waiting.is_finished(), "{transport:?}");
            socket.set_referenced(false);
            waiting.await.unwrap();
            socket.set_referenced(true);
            assert!(is_held(), "{transport:?}");
        }
    }

    async fn a_destroyed_socket_does_not_hold_though_its_close_was_not_asked_for() {
        for transport in TRANSPORTS {
            let (mut socket, _peer) = pair(transport).await;
            socket.write(vec![1; TOO_MUCH]);
            socket.destroy();
            unreferenced().await;
            assert_eq!(rest(&mut socket).await, ["close false"]);
        }
    }

    async fn a_reset_connection_does_not_hold() {
        let (socket, mut peer) = pair(Transport::Tcp).await;
        socket.reset_and_destroy().unwrap();
        unreferenced().await;
        peer.set_referenced(true);
        assert!(is_held());
        assert_eq!(next(&mut peer).await, "error read ECONNRESET");
        unreferenced().await;
    }

    async fn a_connection_that_ended_on_both_sides_does_not_hold() {
        for transport in TRANSPORTS {
            let (mut socket, peer) = pair(transport).await;
            peer.end();
            assert!(is_held(), "{transport:?}");
            assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
            unreferenced().await;
        }
    }

    async fn a_half_open_socket_whose_peer_has_ended_holds_only_while_it_writes() {
        for transport in TRANSPORTS {
            let (mut socket, mut peer) = transport.half_open_pair().await;
            peer.set_referenced(false);
            peer.end();
            assert_eq!(next(&mut socket).await, "end");
            unreferenced().await;
            socket.write(vec![1; TOO_MUCH]);
            assert!(is_held(), "{transport:?}");
            peer.read_exact(&mut vec![0; TOO_MUCH]).await.unwrap();
            unreferenced().await;
        }
    }

    async fn both_ends_in_one_process_count() {
        for transport in TRANSPORTS {
            let (socket, peer) = transport.pair().await;
            socket.set_referenced(false);
            assert!(is_held(), "{transport:?}");
            peer.set_referenced(false);
            unreferenced().await;
        }
    }

    async fn a_socket_that_connects_again_holds_again() {
        let mut server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        server.set_referenced(false);
        let mut socket = Socket::new();
        for _ in 0..3 {
            socket.connect(server.address().unwrap()).unwrap();
            assert!(is_held());
            let accepted = server.accept().await.unwrap();
            accepted.set_referenced(false);
            socket.destroy();
            unreferenced().await;
            while socket.next().await.is_some() {}
        }
    }

    async fn a_socket_from_a_descriptor_counts() {
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        let left = Socket::from_fd(left, SocketOptions::new()).unwrap();
        assert!(is_held());
        left.set_referenced(false);
        unreferenced().await;
        let _only_written = Socket::from_fd(right, SocketOptions::new().readable(false)).unwrap();
        unreferenced().await;
    }

    async fn a_timeout_does_not_hold() {
        let (socket, _peer) = pair(Transport::Memory).await;
        socket.set_timeout(std::time::Duration::from_secs(3600));
        socket.pause();
        unreferenced().await;
    }

    async fn the_last_one_lets_go() {
        let (socket, peer) = Socket::pair(1024);
        let server = Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        let waiting = tokio::spawn(unreferenced());
        for let_go in [
            Box::new(|| socket.destroy()) as Box<dyn FnOnce()>,
            Box::new(|| drop(server.close())),
            Box::new(|| peer.destroy()),
        ] {
            common::settle().await;
            assert!(!waiting.is_finished());
            let_go();
        }
        waiting.await.unwrap();
    }

    async fn all_who_wait_are_woken() {
        let (socket, peer) = pair(Transport::Memory).await;
        let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(unreferenced())).collect();
        common::settle().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        socket.destroy();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        drop(peer);
    }

    async fn one_who_stopped_waiting_leaves_the_others_alone() {
        let (socket, _peer) = pair(Transport::Memory).await;
        let [first, second] = [(); 2].map(|()| tokio::spawn(unreferenced()));
        common::settle().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        socket.destroy();
        second.await.unwrap();
    }

    async fn the_wait_goes_on_when_something_new_has_come_meanwhile() {
        let (first, _peer) = pair(Transport::Memory).await;
        let waiting = tokio::spawn(unreferenced());
        common::settle().await;
        first.destroy();
        let (second, _peer) = pair(Transport::Memory).await;
        common::settle().await;
        assert!(!waiting.is_finished());
        second.destroy();
        waiting.await.unwrap();
    }
}

/// A server for one connection: it closes with the first, echoes, and the program ends with that connection.
const PROGRAM: &str = "a_program_ends_by_itself_with_its_last_connection_as_in_node";

/// What [`program`] is in Node.
const NODE: &str = "
    const net = require('net');
    const server = net.createServer((socket) => {
        const { port } = server.address();
        server.close();
        net.connect(port, '127.0.0.1').on('error', () => {});
        socket.pipe(socket);
    });
    server.listen(0, '127.0.0.1', () => {
        const { address, port } = server.address();
        console.log(`says: ${address}:${port}`);
    });
";

#[tokio::test]
async fn a_program_ends_by_itself_with_its_last_connection_as_in_node() {
    if child::is_for(PROGRAM) {
        return program().await;
    }
    common::bounded(async {
        let ours = child::command(PROGRAM).stdout(Stdio::piped()).spawn().unwrap();
        talk(ours).await;
        let node = tokio::process::Command::new("node")
            .args(["-e", NODE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        match node {
            Ok(node) => talk(node).await,
            Err(_) => println!("node is not on the path: not compared with it"),
        }
    })
    .await;
}

async fn program() {
    let mut server = Server::new();
    server.listen("127.0.0.1:0").await.unwrap();
    let address = server.address().unwrap();
    child::say(&address);
    tokio::spawn(async move {
        while let Some(event) = server.next().await {
            let ServerEvent::Connection(mut socket) = event else { continue };
            server.close();
            drop(connect(address.clone()).await.unwrap_err());
            tokio::spawn(async move {
                let echo: SocketHandle = socket.handle();
                socket.pipe(&echo).await.unwrap();
            });
        }
    });
    unreferenced().await;
}

/// Uses the one connection that a child is there for, and sees it end behind it.
async fn talk(mut child: Child) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(address) = line.strip_prefix("says: ") {
            break address.to_owned();
        }
    };
    let mut client = connect(address.as_str()).await.unwrap();
    for _ in 0..100 {
        client.write("ping");
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
        assert_eq!(child.try_wait().unwrap(), None);
    }
    client.end();
    assert_eq!(rest(&mut client).await, ["finish", "end", "close false"]);
    while lines.next_line().await.unwrap().is_some() {}
    assert!(child.wait().await.unwrap().success());
}

fn is_held() -> bool {
    unreferenced().now_or_never().is_none()
}

/// Two connected sockets of which only the first counts.
async fn pair(transport: Transport) -> (Socket, Socket) {
    let (socket, peer) = transport.pair().await;
    peer.set_referenced(false);
    (socket, peer)
}

/// A socket that never gets beyond the lookup.
fn connecting() -> Socket {
    ConnectOptions::new().lookup(never).connect("never.invalid:1")
}

async fn never(_: String, _: LookupOptions) -> sockeye::Result<Vec<std::net::SocketAddr>> {
    pending().await
}
