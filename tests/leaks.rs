//! However a socket or a server ends, its file descriptors and its background tasks end with it.

mod common;
mod process;

use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use process::{Process, becomes, bounded_thread, open_files, tasks};
use socket2::{Domain, SockRef, Type};
use sockeye::{Event, Server, Socket, SocketHandle};
use tokio::runtime::Runtime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Unix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Running,
    Paused,
}

/// A server, a connection that it has accepted, and the plain socket at the other end.
struct Connection {
    server: Server,
    socket: Socket,
    peer: Peer,
}

trait Plain: Read + Write + Send {}

impl<T: Read + Write + Send> Plain for T {}

type Peer = Box<dyn Plain>;

impl Kind {
    async fn server(self) -> Server {
        let server = Server::new();
        server.listen(self.endpoint()).await.unwrap();
        server
    }

    fn endpoint(self) -> String {
        match self {
            Self::Tcp => "127.0.0.1:0".into(),
            Self::Unix => common::socket_path(),
        }
    }

    async fn connection(self) -> Connection {
        let mut server = self.server().await;
        let peer = peer_of(&server);
        Connection { socket: server.accept().await.unwrap(), server, peer }
    }

    /// A connection whose queue is full, so that there is a background task.
    async fn full_connection(self) -> Connection {
        let before = tasks();
        let mut connection = self.connection().await;
        fill(&mut connection.socket).await;
        assert!(tasks() > before, "nobody writes in the background");
        connection
    }
}

fn peer_of(server: &Server) -> Peer {
    let address = server.address().unwrap();
    match address.ip() {
        Some(address) => Box::new(TcpStream::connect(address).unwrap()),
        None => Box::new(UnixStream::connect(address.path().unwrap()).unwrap()),
    }
}

async fn fill(socket: &mut Socket) {
    let block = vec![7; 64 * 1024];
    loop {
        while socket.write(&block) {}
        common::settle().await;
        match socket.next().now_or_never() {
            None => return,
            Some(event) => assert!(matches!(event, Some(Event::Drain)), "{event:?}"),
        }
    }
}

fn runtime(clock: Clock) -> Runtime {
    let paused = clock == Clock::Paused;
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap()
}

/// Files are counted for the whole process, so the tests go one after the other.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The first runtime opens files that stay.
    drop(runtime(Clock::Running));
    turn
}

/// Runs `case` over each kind of connection and waits until it has left nothing behind.
fn leaves_nothing(clock: Clock, case: impl AsyncFn(Kind) + Send + 'static) {
    let _turn = turn();
    bounded_thread(move || {
        for kind in [Kind::Tcp, Kind::Unix] {
            let before = open_files();
            let runtime = runtime(clock);
            runtime.block_on(async {
                let before = (open_files(), tasks());
                case(kind).await;
                becomes(&format!("files and tasks, {kind:?}"), before, || (open_files(), tasks())).await;
            });
            drop(runtime);
            assert_eq!(open_files(), before, "{kind:?}");
        }
    });
}

/// Runs `case` over each kind of connection, shuts the runtime down and drops what `case` has returned. While
/// `outlives` of that is still alive, there are to be no sockets open any more.
fn survives_its_runtime<T: 'static, S: 'static>(case: impl AsyncFn(Kind) -> T + Send + 'static, outlives: fn(T) -> S) {
    let _turn = turn();
    bounded_thread(move || {
        for kind in [Kind::Tcp, Kind::Unix] {
            let before = open_sockets();
            let runtime = runtime(Clock::Running);
            let made = runtime.block_on(case(kind));
            drop(runtime);
            let outlives = outlives(made);
            assert_eq!(open_sockets(), before, "{kind:?}");
            drop(outlives);
        }
    });
}

/// How many sockets this process has open. (Handles keep their runtime's files too, which are no sockets.)
fn open_sockets() -> usize {
    let Ok(files) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// Waits until `count` fewer files are open than `before`.
async fn closes(count: usize, before: usize) {
    becomes("files", before - count, open_files).await;
}

mod a_socket {
    use super::*;

    #[test]
    fn that_is_dropped_with_an_empty_queue() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server, socket, mut peer } = kind.connection().await;
            let before = open_files();
            socket.write("a word");
            drop(socket);
            closes(1, before).await;
            assert_eq!(server.connections(), 0);
            let mut text = String::new();
            peer.read_to_string(&mut text).unwrap();
            assert_eq!(text, "a word");
        });
    }

    #[test]
    fn that_is_read_to_its_end() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server: _server, mut socket, peer } = kind.connection().await;
            drop(peer);
            let before = open_files();
            assert_eq!(common::rest(&mut socket).await, ["end", "finish", "close false"]);
            closes(1, before).await;
        });
    }

    #[test]
    fn that_is_dropped_with_a_full_queue_and_a_peer_that_reads_later() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server, socket, mut peer } = kind.full_connection().await;
            let (written, before) = (socket.bytes_written(), open_files());
            drop(socket);
            common::settle().await;
            assert_eq!((open_files(), server.connections()), (before, 1));
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::new();
                peer.read_to_end(&mut bytes).unwrap();
                bytes.len() as u64
            });
            assert_eq!(read.await.unwrap(), written);
        });
    }

    #[test]
    fn that_is_dropped_with_a_full_queue_and_a_peer_that_never_reads() {
        leaves_nothing(Clock::Paused, async |kind| {
            let Connection { server, socket, peer } = kind.full_connection().await;
            let (handle, before) = (socket.handle(), open_files());
            drop(socket);
            tokio::time::sleep(Duration::from_secs(29)).await;
            assert_eq!((open_files(), handle.destroyed()), (before, false));
            tokio::time::sleep(Duration::from_secs(2)).await;
            // Should the kernel have made room meanwhile, the limit counts from there.
            while !handle.destroyed() {
                tokio::time::sleep(Duration::from_secs(31)).await;
            }
            closes(1, before).await;
            assert_eq!(server.connections(), 0);
            drop(peer);
        });
    }

    #[test]
    fn that_is_dropped_with_a_full_queue_and_a_peer_that_goes_away() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server, socket, peer } = kind.full_connection().await;
            let handle = socket.handle();
            drop(socket);
            let before = open_files();
            drop(peer);
            // The peer's file and the socket's.
            closes(2, before).await;
            assert_eq!(server.connections(), 0);
            assert!(handle.destroyed());
        });
    }

    #[test]
    fn that_is_destroyed_while_its_queue_is_written_and_never_asked_again() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server, socket, mut peer } = kind.full_connection().await;
            let (files, tasks_before) = (open_files(), tasks());
            socket.destroy();
            closes(1, files).await;
            becomes("tasks", tasks_before - 1, tasks).await;
            assert_eq!(server.connections(), 0);
            drop(socket);
            let rest = tokio::task::spawn_blocking(move || peer.read_to_end(&mut Vec::new()));
            let _ = rest.await.unwrap();
        });
    }

    #[test]
    fn that_its_peer_resets() {
        leaves_nothing(Clock::Running, async |kind| {
            if kind == Kind::Unix {
                return;
            }
            let mut server = kind.server().await;
            for is_full in [false, true] {
                let peer = TcpStream::connect(server.address().unwrap().ip().unwrap()).unwrap();
                let mut socket = server.accept().await.unwrap();
                if is_full {
                    fill(&mut socket).await;
                }
                SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
                let before = open_files();
                drop(peer);
                let events = common::rest(&mut socket).await;
                assert_eq!(events.last().unwrap(), "close true");
                closes(2, before).await;
            }
        });
    }

    #[test]
    fn that_resets_its_peer() {
        leaves_nothing(Clock::Running, async |kind| {
            for is_full in [false, true] {
                let Connection { server: _server, socket, peer: _peer } =
                    if is_full { kind.full_connection().await } else { kind.connection().await };
                let before = open_files();
                let refused = socket.reset_and_destroy().is_err();
                assert_eq!(refused, kind == Kind::Unix);
                if refused {
                    socket.destroy();
                }
                closes(1, before).await;
            }
        });
    }

    #[test]
    fn whose_handles_outlive_it() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server, socket, peer } = kind.connection().await;
            let handles: Vec<SocketHandle> = (0..10).map(|_| socket.handle()).collect();
            let before = open_files();
            drop(socket);
            closes(1, before).await;
            drop((server, peer));
            assert!(handles.iter().all(|handle| !handle.write("nobody is there")));
        });
    }

    #[test]
    fn whose_handles_outlive_it_tells_them_that_it_is_closed() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server: _server, socket, peer: _peer } = kind.connection().await;
            let handle = socket.handle();
            drop(socket);
            handle.closed().await;
            assert_eq!((handle.destroyed(), handle.ready_state()), (true, sockeye::ReadyState::Closed));
            assert_eq!(handle.try_write("late").unwrap_err().code(), "ERR_STREAM_DESTROYED");
        });
    }

    #[test]
    fn that_is_given_to_listeners() {
        leaves_nothing(Clock::Running, async |kind| {
            let Connection { server: _server, socket, peer } = kind.connection().await;
            let handle = socket.attach(sockeye::Listeners::new()).unwrap();
            drop(peer);
            handle.closed().await;
        });
    }

    #[test]
    fn that_is_dropped_while_it_connects() {
        leaves_nothing(Clock::Running, async |kind| {
            let server = kind.server().await;
            for polls in 0..5 {
                let socket = sockeye::connect(server.address().unwrap());
                assert!(socket.connecting());
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
            }
        });
    }

    #[test]
    fn that_is_dropped_while_it_connects_to_who_does_not_answer() {
        leaves_nothing(Clock::Running, async |kind| {
            if kind == Kind::Unix {
                return;
            }
            let silent = Silent::new();
            let socket = sockeye::connect(silent.address);
            common::settle().await;
            assert!(socket.connecting());
            let before = open_files();
            drop(socket);
            closes(1, before).await;
        });
    }

    #[test]
    fn that_is_destroyed_while_it_connects_to_who_does_not_answer() {
        leaves_nothing(Clock::Running, async |kind| {
            if kind == Kind::Unix {
                return;
            }
            let silent = Silent::new();
            let mut socket = sockeye::connect(silent.address);
            socket.write("lost");
            common::settle().await;
            let before = open_files();
            socket.destroy();
            closes(1, before).await;
            assert_eq!(common::rest(&mut socket).await, ["close false"]);
        });
    }

    /// What was written before the drop goes out if it can, and the limit holds here too.
    #[test]
    fn that_is_dropped_with_a_write_while_it_connects_to_who_does_not_answer() {
        leaves_nothing(Clock::Paused, async |kind| {
            if kind == Kind::Unix {
                return;
            }
            let silent = Silent::new();
            let socket = sockeye::connect(silent.address);
            socket.write("lost");
            common::settle().await;
            let (handle, before) = (socket.handle(), open_files());
            drop(socket);
            tokio::time::sleep(Duration::from_secs(29)).await;
            assert_eq!((open_files(), handle.destroyed()), (before, false));
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(handle.destroyed(), "the socket goes on connecting");
            closes(1, before).await;
        });
    }

    #[test]
    fn that_is_dropped_with_a_write_while_it_connects() {
        leaves_nothing(Clock::Running, async |kind| {
            let mut server = kind.server().await;
            let socket = sockeye::connect(server.address().unwrap());
            socket.write("a word");
            drop(socket);
            let mut socket = server.accept().await.unwrap();
            assert_eq!(common::rest(&mut socket).await, ["data 6", "end", "finish", "close false"]);
        });
    }

    #[test]
    fn whose_connect_future_is_dropped() {
        leaves_nothing(Clock::Running, async |kind| {
            let server = kind.server().await;
            let address = server.address().unwrap();
            drop(sockeye::connect(address.clone()).into_future());
            for polls in 0..5 {
                let mut connecting = std::pin::pin!(sockeye::connect(address.clone()).into_future());
                for _ in 0..polls {
                    let _ = connecting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    tokio::task::yield_now().await;
                }
            }
            if let Some(address) = address.ip() {
                let mut connecting = std::pin::pin!(sockeye::connect(("localhost", address.port())).into_future());
                assert!(connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
        });
    }

    #[test]
    fn that_cannot_connect() {
        leaves_nothing(Clock::Running, async |kind| {
            let address = kind.server().await.address().unwrap();
            let error = sockeye::connect(address).await.unwrap_err();
            assert_eq!(error.code(), if kind == Kind::Tcp { "ECONNREFUSED" } else { "ENOENT" });
        });
    }

    #[test]
    fn that_outlives_its_runtime() {
        survives_its_runtime(
            async |kind| kind.connection().await,
            |Connection { server, socket, peer }| {
                drop(socket);
                drop(server);
                drop(peer);
            },
        );
    }

    #[test]
    fn that_outlives_its_runtime_with_a_full_queue() {
        survives_its_runtime(async |kind| kind.full_connection().await, drop);
    }

    #[test]
    fn that_outlives_its_runtime_with_a_full_queue_and_is_outlived_by_a_handle() {
        survives_its_runtime(
            async |kind| kind.full_connection().await,
            |Connection { server, socket, peer }| {
                let handle = socket.handle();
                drop((server, socket, peer));
                handle
            },
        );
    }

    #[test]
    fn that_is_dropped_with_a_full_queue_before_its_runtime_and_is_outlived_by_a_handle() {
        survives_its_runtime(
            async |kind| {
                let Connection { socket, peer, .. } = kind.full_connection().await;
                let handle = socket.handle();
                drop(socket);
                common::settle().await;
                assert!(!handle.destroyed());
                (handle, peer)
            },
            |(handle, peer)| {
                drop(peer);
                handle
            },
        );
    }

    #[test]
    fn that_outlives_its_runtime_while_it_connects_and_is_outlived_by_a_handle() {
        survives_its_runtime(
            async |kind| {
                let server = kind.server().await;
                let socket = sockeye::connect(server.address().unwrap());
                (socket, server)
            },
            |(socket, server)| {
                let handle = socket.handle();
                drop((socket, server));
                handle
            },
        );
    }

    /// Somebody who listens but has no room for another connection, so that connecting to it takes forever.
    struct Silent {
        address: SocketAddr,
        _listener: socket2::Socket,
        _clients: Vec<socket2::Socket>,
    }

    impl Silent {
        fn new() -> Self {
            let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            let clients = (0..8).map(|_| {
                let client = socket2::Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
                let _ = client.connect(&address);
                client
            });
            Self { _clients: clients.collect(), address: address.as_socket().unwrap(), _listener: listener }
        }
    }
}

mod a_server {
    use super::*;

    #[test]
    fn that_is_dropped() {
        leaves_nothing(Clock::Running, async |kind| {
            let server = kind.server().await;
            let (address, handle, before) = (server.address().unwrap(), server.handle(), open_files());
            drop(server);
            assert_eq!(open_files(), before - 1);
            assert!(!handle.listening() && handle.address().is_none());
            assert!(!address.path().is_some_and(Path::exists), "the socket file is left behind");
        });
    }

    #[test]
    fn that_is_dropped_with_connections_nobody_has_accepted() {
        leaves_nothing(Clock::Running, async |kind| {
            let server = kind.server().await;
            let mut peers: Vec<_> = (0..3).map(|_| peer_of(&server)).collect();
            let path = server.address().unwrap().path().map(Path::to_owned);
            drop(server);
            assert!(!path.is_some_and(|path| path.exists()), "the socket file is left behind");
            for peer in &mut peers {
                assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
            }
        });
    }

    #[test]
    fn that_is_dropped_with_connections_that_go_on() {
        leaves_nothing(Clock::Running, async |kind| {
            let server = Server::new().on_connection(|mut socket| async move {
                let echo = socket.handle();
                socket.pipe(&echo).await.map(drop)
            });
            server.listen(kind.endpoint()).await.unwrap();
            let tasks_before = tasks();
            let mut peers: Vec<_> = (0..3).map(|_| peer_of(&server)).collect();
            becomes("connections", 3, || server.connections()).await;
            let handle = server.handle();
            drop(server);
            // The three connections have their tasks, and the one that accepts is gone.
            becomes("tasks", tasks_before + 2, tasks).await;
            let mut peers = tokio::task::spawn_blocking(move || {
                for peer in &mut peers {
                    peer.write_all(b"still there?").unwrap();
                    let mut answer = [0; 12];
                    peer.read_exact(&mut answer).unwrap();
                    assert_eq!(&answer, b"still there?");
                }
                peers
            })
            .await
            .unwrap();
            peers.clear();
            handle.closed().await.unwrap();
        });
    }

    #[test]
    fn that_is_closed_and_listens_again() {
        leaves_nothing(Clock::Running, async |kind| {
            let server = Server::new().on_connection(|_| async {});
            for _ in 0..3 {
                let endpoint = kind.endpoint();
                server.listen(&endpoint).await.unwrap();
                let before = open_files();
                server.close().await.unwrap();
                assert_eq!(open_files(), before - 1);
                assert!(!Path::new(&endpoint).exists());
            }
        });
    }

    #[test]
    fn that_is_dropped_while_it_resolves_a_name() {
        leaves_nothing(Clock::Running, async |kind| {
            if kind == Kind::Unix {
                return;
            }
            let server = Server::new();
            let listen = server.listen("localhost:0");
            drop(server);
            assert_eq!(listen.await.unwrap_err().code(), "ERR_SERVER_NOT_RUNNING");

            let server = Server::new();
            drop(server.listen("localhost:0"));
            tokio::task::yield_now().await;
            drop(server);
        });
    }

    #[test]
    fn that_cannot_listen() {
        leaves_nothing(Clock::Running, async |kind| {
            let owner = kind.server().await;
            let server = Server::new();
            let before = open_files();
            let error = server.listen(owner.address().unwrap()).await.unwrap_err();
            assert_eq!((error.code(), open_files()), ("EADDRINUSE", before));
            let path = owner.address().unwrap().path().map(Path::to_owned);
            drop(server);
            assert!(path.is_none_or(|path| path.exists()), "the owner's socket file is gone");
        });
    }

    /// In a process of its own, since a stack that overflows takes all other tests with it.
    #[test]
    fn that_outlives_its_runtime_and_is_outlived_by_a_handle() {
        if process::part().is_none() {
            let test = "a_server::that_outlives_its_runtime_and_is_outlived_by_a_handle";
            let _turn = turn();
            bounded_thread(move || {
                runtime(Clock::Running).block_on(async { Process::again(test, "run").succeeds().await })
            });
            return;
        }
        survives_its_runtime(
            async |kind| {
                let server = Server::new().on_connection(|mut socket| async move {
                    let echo = socket.handle();
                    socket.pipe(&echo).await.map(drop)
                });
                server.listen(kind.endpoint()).await.unwrap();
                let peers: Vec<_> = (0..3).map(|_| peer_of(&server)).collect();
                becomes("connections", 3, || server.connections()).await;
                (server, peers)
            },
            |(server, peers)| {
                let (handle, path) = (server.handle(), server.address().unwrap().path().map(Path::to_owned));
                drop((server, peers));
                assert!(!path.is_some_and(|path| path.exists()), "the socket file is left behind");
                handle
            },
        );
    }
}
