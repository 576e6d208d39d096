//! Peers that die, reset, fall silent or send nonsense.

mod common;
mod process;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{is_quiet, next, rest};
use futures_util::FutureExt;
use nix::sys::signal::Signal;
use process::{Process, becomes, bounded_by_the_real_clock, say};
use socket2::SockRef;
use sockeye::{Event, Server, Socket};

const RESET: [&str; 2] = ["error read ECONNRESET", "close true"];

/// What the peers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Unix,
}

const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Unix];

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
}

/// A peer that is no socket of this crate.
enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Peer {
    fn connect(endpoint: &str) -> Self {
        match endpoint.parse::<SocketAddr>() {
            Ok(address) => Self::Tcp(TcpStream::connect(address).unwrap()),
            Err(_) => Self::Unix(UnixStream::connect(endpoint).unwrap()),
        }
    }

    fn reset(self) {
        let Self::Tcp(stream) = self else { panic!("only TCP has a reset") };
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn end(&self) {
        match self {
            Self::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        }
        .unwrap();
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A connection of `server` with a plain peer.
async fn connection(server: &mut Server) -> (Socket, Peer) {
    let peer = Peer::connect(&server.address().unwrap().to_string());
    (server.accept().await.unwrap(), peer)
}

/// The socket is over and done with, and its server takes the next one as if nothing had been.
async fn goes_on(mut server: Server, mut socket: Socket) {
    assert!(socket.next().await.is_none(), "there is an event after close");
    assert!(socket.destroyed() && socket.writable_length() == 0);
    assert_eq!(server.connections(), 0);
    let (mut socket, mut peer) = connection(&mut server).await;
    peer.write_all(b"next, please").unwrap();
    assert_eq!(next(&mut socket).await, "data 12");
    socket.end_with("here");
    drop(socket);
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "here");
    server.close().await.unwrap();
}

/// Writes until the peer's kernel and this one's take nothing more and the queue is above its mark.
async fn fill(socket: &mut Socket) {
    let block = Bytes::from(vec![7; 16 * 1024]);
    loop {
        while socket.write(&block) {}
        assert!(socket.writable_length() <= socket.high_water_mark() + block.len(), "the queue has no bound");
        common::settle().await;
        match socket.next().now_or_never() {
            None => return,
            Some(event) => assert!(matches!(event, Some(Event::Drain)), "{event:?}"),
        }
    }
}

mod killed {
    use super::*;

    fn start(server: &Server, task: &str) -> Process {
        let part = format!("{task} {}", server.address().unwrap());
        Process::again("killed::the_peer_when_asked_to_be_one", part)
    }

    /// Not a test by itself: the process that the tests below kill.
    #[test]
    fn the_peer_when_asked_to_be_one() {
        let Some(part) = process::part() else { return };
        let _told = process::told();
        let (task, endpoint) = part.split_once(' ').unwrap();
        let mut peer = Peer::connect(endpoint);
        let mut block = vec![0; 64 * 1024];
        match task {
            "send" => loop {
                peer.write_all(&block).unwrap();
            },
            "receive" => loop {
                peer.read_exact(&mut block).unwrap();
            },
            "receive-some" => {
                for _ in 0..16 {
                    peer.read_exact(&mut block).unwrap();
                }
            }
            _ => {}
        }
        say("done");
        loop {
            std::thread::park();
        }
    }

    #[tokio::test]
    async fn a_peer_that_is_killed_while_idle_has_ended() {
        common::bounded(async {
            for kind in KINDS {
                let mut server = kind.server().await;
                let mut peer = start(&server, "idle");
                let mut socket = server.accept().await.unwrap();
                assert_eq!(peer.line().await, "done");
                peer.signal(Signal::SIGKILL);
                assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"], "{kind:?}");
                goes_on(server, socket).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_peer_that_is_killed_while_it_sends_has_ended_behind_what_it_sent() {
        common::bounded(async {
            for kind in KINDS {
                let mut server = kind.server().await;
                let peer = start(&server, "send");
                let mut socket = server.accept().await.unwrap();
                while socket.bytes_read() < 4 * 1024 * 1024 {
                    assert!(matches!(socket.next().await, Some(Event::Data(_))));
                }
                peer.signal(Signal::SIGKILL);
                let events = rest(&mut socket).await;
                let skip = usize::from(events[0].starts_with("data "));
                assert_eq!(events[skip..], ["end", "finish", "close false"], "{kind:?}");
                goes_on(server, socket).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_peer_that_is_killed_with_data_it_has_not_read_is_an_error() {
        common::bounded(async {
            for kind in KINDS {
                let mut server = kind.server().await;
                let mut peer = start(&server, "receive-some");
                let mut socket = server.accept().await.unwrap();
                let block = Bytes::from(vec![7; 16 * 1024]);
                loop {
                    while socket.write(&block) {}
                    tokio::select! {
                        line = peer.line() => {
                            assert_eq!(line, "done");
                            break;
                        }
                        event = socket.next() => assert!(matches!(event, Some(Event::Drain)), "{event:?}"),
                    }
                }
                fill(&mut socket).await;
                peer.signal(Signal::SIGKILL);
                let events = rest(&mut socket).await;
                assert_is_broken(&events, kind);
                goes_on(server, socket).await;
            }
        })
        .await;
    }

    /// Whether the peer has just read everything when it dies is not known here, and so neither is whether the end
    /// comes as one; but the rest follows.
    #[tokio::test]
    async fn a_peer_that_is_killed_while_it_receives_is_an_error() {
        common::bounded(async {
            for kind in KINDS {
                let mut server = kind.server().await;
                let peer = start(&server, "receive");
                let mut socket = server.accept().await.unwrap();
                let block = Bytes::from(vec![7; 16 * 1024]);
                let mut is_killed = false;
                let mut events = Vec::new();
                loop {
                    let has_room = socket.write(&block);
                    if !is_killed && socket.bytes_written() > 8 * 1024 * 1024 {
                        peer.signal(Signal::SIGKILL);
                        is_killed = true;
                    }
                    if has_room {
                        continue;
                    }
                    let Some(event) = socket.next().await else { break };
                    if !matches!(event, Event::Drain) {
                        events.push(common::describe(&event));
                    }
                }
                assert!(is_killed, "{kind:?}: {events:?}");
                if events[0] == "end" {
                    events.remove(0);
                }
                assert_is_broken(&events, kind);
                goes_on(server, socket).await;
            }
        })
        .await;
    }
}

/// The connection broke while this side was writing: it depends on the kernel whether that comes up in a read or in a
/// write.
fn assert_is_broken(events: &[String], kind: Kind) {
    let errors = ["error read ECONNRESET", "error write ECONNRESET", "error write EPIPE"];
    let [error, close] = events else { panic!("{kind:?}: {events:?}") };
    assert!(errors.contains(&error.as_str()) && close == "close true", "{kind:?}: {events:?}");
}

#[tokio::test]
async fn a_reset_is_an_error_for_who_is_idle() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, peer) = connection(&mut server).await;
        assert!(is_quiet(&mut socket).await);
        peer.reset();
        let Some(Event::Error(error)) = socket.next().await else { panic!("no error") };
        assert_eq!((error.code(), error.syscall()), ("ECONNRESET", Some("read")));
        assert!(socket.destroyed());
        assert_eq!(rest(&mut socket).await, RESET[1..]);
        goes_on(server, socket).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_an_error_also_for_who_asks_late() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, peer) = connection(&mut server).await;
        peer.reset();
        assert_eq!(rest(&mut socket).await, RESET);
        goes_on(server, socket).await;
    })
    .await;
}

#[tokio::test]
async fn what_has_arrived_before_a_reset_is_delivered_if_the_kernel_has_kept_it() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, mut peer) = connection(&mut server).await;
        peer.write_all(b"a last word").unwrap();
        peer.reset();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = Peer::Tcp(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (mut plain, _) = listener.accept().unwrap();
        peer.write_all(b"a last word").unwrap();
        peer.reset();
        let kept = plain.read(&mut [0; 100]).unwrap_or(0);

        let mut expected = vec![format!("data {kept}"), RESET[0].into(), RESET[1].into()];
        if kept == 0 {
            expected.remove(0);
        }
        if cfg!(target_os = "linux") {
            assert_eq!(kept, 11);
        }
        assert_eq!(rest(&mut socket).await, expected);
        goes_on(server, socket).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_ends_a_socket_that_is_paused_as_soon_as_it_is_resumed() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, peer) = connection(&mut server).await;
        socket.pause();
        peer.reset();
        assert!(is_quiet(&mut socket).await);
        socket.resume();
        assert_eq!(rest(&mut socket).await, RESET);
        goes_on(server, socket).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_while_data_is_queued_is_an_error_and_no_end() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, peer) = connection(&mut server).await;
        fill(&mut socket).await;
        peer.reset();
        assert_is_broken(&rest(&mut socket).await, Kind::Tcp);
        goes_on(server, socket).await;
    })
    .await;
}

/// The kernel tells of a reset once. If that is to a write, reading goes on as if the peer had ended, which it has not.
#[tokio::test]
async fn a_reset_that_a_queued_write_is_told_of_is_an_error_and_no_end() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, mut peer) = connection(&mut server).await;
        fill(&mut socket).await;
        peer.write_all(b"a last word").unwrap();
        peer.reset();
        let error = socket.drained().await.unwrap_err();
        assert_eq!(error.code(), "ECONNRESET");
        let events = rest(&mut socket).await;
        let broken = if cfg!(target_os = "linux") { assert_starts_with_data(&events) } else { &events };
        assert_is_broken(broken, Kind::Tcp);
        goes_on(server, socket).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_that_a_direct_write_is_told_of_is_an_error_and_no_end() {
    common::bounded(async {
        let mut server = Kind::Tcp.server().await;
        let (mut socket, mut peer) = connection(&mut server).await;
        peer.write_all(b"a last word").unwrap();
        peer.reset();
        // Until the reset is here, the kernel takes what is written.
        common::settle().await;
        while socket.write("too late") {
            common::settle().await;
        }
        let events = rest(&mut socket).await;
        let broken = if cfg!(target_os = "linux") { assert_starts_with_data(&events) } else { &events };
        assert_is_broken(broken, Kind::Tcp);
        goes_on(server, socket).await;
    })
    .await;
}

fn assert_starts_with_data(events: &[String]) -> &[String] {
    assert_eq!(events[0], "data 11", "{events:?}");
    &events[1..]
}

/// A Unix domain socket has no reset, but says that the peer has closed with something unread.
#[tokio::test]
async fn a_peer_that_closes_with_data_unread_is_an_error() {
    common::bounded(async {
        for kind in KINDS {
            let mut server = kind.server().await;
            let (mut socket, mut peer) = connection(&mut server).await;
            socket.write("never read");
            // Once the first byte is here, the others are too.
            peer.read_exact(&mut [0]).unwrap();
            drop(peer);
            assert_eq!(rest(&mut socket).await, RESET, "{kind:?}");
            goes_on(server, socket).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_no_more_than_the_mark_and_destroy_frees_that() {
    common::bounded(async {
        for kind in KINDS {
            let mut server = kind.server().await;
            let (mut socket, peer) = connection(&mut server).await;
            fill(&mut socket).await;
            let witness = Arc::new(vec![7; 1024 * 1024]);
            let chunk = Bytes::from_owner(SharedBytes(witness.clone()));
            assert!(!socket.write(chunk));
            assert_eq!(Arc::strong_count(&witness), 2);
            socket.destroy();
            assert_eq!((socket.writable_length(), Arc::strong_count(&witness)), (0, 1), "{kind:?}");
            assert_eq!(rest(&mut socket).await, ["close false"], "{kind:?}");
            drop(peer);
            goes_on(server, socket).await;
        }
    })
    .await;
}

struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn a_peer_that_reads_only_after_a_long_time_gets_everything() {
    common::bounded(async {
        for kind in KINDS {
            let mut server = kind.server().await;
            let (mut socket, mut peer) = connection(&mut server).await;
            fill(&mut socket).await;
            socket.end_with("that was all");
            let total = socket.bytes_written();
            let reading = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                peer.read_to_end(&mut bytes).unwrap();
                bytes
            });
            assert_eq!(rest(&mut socket).await, ["finish", "end", "close false"], "{kind:?}");
            let bytes = reading.join().unwrap();
            assert!(bytes.ends_with(b"\x07that was all"));
            assert_eq!(bytes.len() as u64, total, "{kind:?}");
            goes_on(server, socket).await;
        }
    })
    .await;
}

#[test]
fn a_peer_that_says_nothing_times_out_and_the_socket_can_be_ended() {
    bounded_by_the_real_clock(async || {
        for kind in KINDS {
            let mut server = kind.server().await;
            let (mut socket, mut peer) = connection(&mut server).await;
            let start = tokio::time::Instant::now();
            socket.set_timeout(Duration::from_secs(20));
            assert_eq!(next(&mut socket).await, "timeout", "{kind:?}");
            assert_eq!(start.elapsed().as_secs(), 20);
            assert!(!socket.destroyed());
            socket.end();
            assert_eq!(next(&mut socket).await, "finish", "{kind:?}");
            // The peer learns of it, and ends too.
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
            socket.set_timeout(Duration::ZERO);
            drop(peer);
            assert_eq!(rest(&mut socket).await, ["end", "close false"], "{kind:?}");
            goes_on(server, socket).await;
        }
    });
}

#[test]
fn a_peer_that_says_nothing_even_when_it_is_ended_times_out_again_and_can_be_destroyed() {
    bounded_by_the_real_clock(async || {
        for kind in KINDS {
            let mut server = kind.server().await;
            let (mut socket, mut peer) = connection(&mut server).await;
            socket.set_timeout(Duration::from_secs(20));
            assert_eq!(next(&mut socket).await, "timeout", "{kind:?}");
            socket.end();
            assert_eq!(next(&mut socket).await, "finish", "{kind:?}");
            assert!(is_quiet(&mut socket).await);
            socket.set_timeout(Duration::from_secs(5));
            assert_eq!(next(&mut socket).await, "timeout", "{kind:?}");
            socket.destroy();
            assert_eq!(rest(&mut socket).await, ["close false"], "{kind:?}");
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
            goes_on(server, socket).await;
        }
    });
}

#[test]
fn a_peer_that_never_reads_times_out_and_can_be_destroyed() {
    bounded_by_the_real_clock(async || {
        for kind in KINDS {
            let mut server = kind.server().await;
            let (mut socket, peer) = connection(&mut server).await;
            fill(&mut socket).await;
            let start = tokio::time::Instant::now();
            socket.set_timeout(Duration::from_secs(20));
            assert_eq!(next(&mut socket).await, "timeout", "{kind:?}");
            // A queue that has moved since the last look gets a second period.
            assert!([20, 40].contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
            socket.destroy();
            assert_eq!(rest(&mut socket).await, ["close false"], "{kind:?}");
            drop(peer);
            goes_on(server, socket).await;
        }
    });
}

#[tokio::test]
async fn peers_that_send_garbage_and_vanish_leave_the_echo_server_alone() {
    common::bounded(async {
        for kind in KINDS {
            let server = Server::new().on_connection(|mut socket| async move {
                let echo = socket.handle();
                socket.write("hello\r\n");
                socket.pipe(&echo).await.map(drop)
            });
            server.listen(kind.endpoint()).await.unwrap();
            let endpoint = server.address().unwrap().to_string();
            let garbage = |length: usize| -> Vec<u8> { common::pattern(length).iter().map(|byte| !byte).collect() };
            for length in [0, 1, 100, 100_000] {
                let mut peer = Peer::connect(&endpoint);
                peer.write_all(&garbage(length)).unwrap();
                drop(peer);

                let mut peer = Peer::connect(&endpoint);
                peer.write_all(&garbage(length)).unwrap();
                peer.end();
                drop(peer);

                if kind == Kind::Tcp {
                    let mut peer = Peer::connect(&endpoint);
                    peer.write_all(&garbage(length)).unwrap();
                    peer.reset();
                }
            }
            becomes("connections", 0, || server.connections()).await;

            let echoed = tokio::task::spawn_blocking(move || {
                let mut peer = Peer::connect(&endpoint);
                peer.write_all(b"is anybody there?").unwrap();
                peer.end();
                let mut text = String::new();
                peer.read_to_string(&mut text).unwrap();
                text
            });
            assert_eq!(echoed.await.unwrap(), "hello\r\nis anybody there?", "{kind:?}");
            server.close().await.unwrap();
        }
    })
    .await;
}
