//! Sockets from connections that somebody else made.

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use common::{bounded, is_quiet, next, rest};
use sockeye::{ReadyState, Socket, SocketOptions};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// Two ends of a TCP connection of the standard library's.
fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Two connected stream sockets of each kind, of which the first is to become one of ours.
fn pairs() -> [(OwnedFd, std::net::TcpStream); 2] {
    let (tcp, tcp_peer) = tcp_pair();
    let (unix, unix_peer) = std::os::unix::net::UnixStream::pair().unwrap();
    // The standard library's type is only a way to call `read` and `write` here.
    [(tcp.into(), tcp_peer), (unix.into(), OwnedFd::from(unix_peer).into())]
}

fn code(fd: impl Into<OwnedFd>) -> String {
    let error = Socket::from_fd(fd, SocketOptions::new()).unwrap_err();
    if let Some(syscall) = error.syscall() {
        assert_eq!(syscall, "open");
        assert_eq!(error.message(), format!("open {}", error.code()));
    }
    error.code().to_owned()
}

#[tokio::test]
async fn a_connected_socket_is_taken_over_whatever_its_kind() {
    bounded(async {
        let (tcp, mut tcp_peer) = tcp_pair();
        let (unix, mut unix_peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (local, remote) = (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());

        let mut tcp = Socket::from_fd(tcp, SocketOptions::new()).unwrap();
        assert_eq!((tcp.address(), tcp.peer_addr()), (Some(local), Some(remote)));
        assert!(!tcp.pending() && !tcp.connecting());
        tcp_peer.write_all(b"tcp").unwrap();
        assert_eq!(next(&mut tcp).await, "data 3");
        tcp.end_with("bye");
        let mut text = String::new();
        tcp_peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bye");
        drop(tcp_peer);
        assert_eq!(rest(&mut tcp).await, ["finish", "end", "close false"]);

        let mut unix = Socket::from_fd(OwnedFd::from(unix), SocketOptions::new()).unwrap();
        assert_eq!((unix.address(), unix.peer_addr()), (None, None));
        unix_peer.write_all(b"unix").unwrap();
        drop(unix_peer);
        assert_eq!(rest(&mut unix).await, ["data 4", "end", "finish", "close false"]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_tokio_becomes_one() {
    bounded(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let (client, mut accepted) = (Socket::from(client.unwrap()), Socket::from(accepted.unwrap().0));
        assert_eq!(client.peer_addr(), Some(address));
        client.end_with("tcp");
        assert_eq!(rest(&mut accepted).await, ["data 3", "end", "finish", "close false"]);

        let (left, right) = tokio::net::UnixStream::pair().unwrap();
        let (left, mut right) = (Socket::from(left), Socket::from(right));
        left.end_with("unix");
        assert_eq!(rest(&mut right).await, ["data 4", "end", "finish", "close false"]);
    })
    .await;
}

#[tokio::test]
async fn the_options_apply() {
    bounded(async {
        let (ours, mut theirs) = tcp_pair();
        let options = SocketOptions::new().allow_half_open(true).high_water_mark(10);
        let mut socket = Socket::from_fd(ours, options).unwrap();
        assert_eq!(socket.high_water_mark(), 10);
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(next(&mut socket).await, "end");
        assert!(is_quiet(&mut socket).await);
        socket.end_with("the answer");
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the answer");
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_is_not_readable_reads_nothing_and_closes_when_it_has_ended() {
    bounded(async {
        let (ours, mut theirs) = tcp_pair();
        let mut socket = Socket::from_fd(ours, SocketOptions::new().readable(false)).unwrap();
        theirs.write_all(b"nobody reads this").unwrap();
        assert!(is_quiet(&mut socket).await);
        assert_eq!((socket.bytes_read(), socket.ready_state().as_str()), (0, "writeOnly"));
        socket.end_with("bye");
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_is_not_writable_refuses_to_write_and_closes_when_the_peer_has_ended() {
    bounded(async {
        let (ours, mut theirs) = tcp_pair();
        let mut socket = Socket::from_fd(ours, SocketOptions::new().writable(false)).unwrap();
        assert_eq!(socket.ready_state().as_str(), "readOnly");
        assert_eq!(socket.try_write("x").unwrap_err().code(), "ERR_STREAM_WRITE_AFTER_END");
        theirs.write_all(b"abc").unwrap();
        drop(theirs);
        assert_eq!(rest(&mut socket).await, ["data 3", "end", "close false"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_is_not_readable_tells_no_end() {
    bounded(async {
        for (ours, mut theirs) in pairs() {
            let mut socket = Socket::from_fd(ours, SocketOptions::new().readable(false)).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(is_quiet(&mut socket).await);
            assert_eq!(socket.ready_state(), ReadyState::WriteOnly);
            assert!(socket.write("still "));
            assert!(is_quiet(&mut socket).await);
            socket.end_with("here");
            assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
            let mut text = String::new();
            theirs.read_to_string(&mut text).unwrap();
            assert_eq!(text, "still here");
        }
    })
    .await;
}

#[tokio::test]
async fn one_that_is_not_writable_sends_no_end_before_it_closes() {
    bounded(async {
        for allow_half_open in [false, true] {
            for (ours, mut theirs) in pairs() {
                let options = SocketOptions::new().writable(false).allow_half_open(allow_half_open);
                let mut socket = Socket::from_fd(ours, options).unwrap();
                socket.end();
                assert!(is_quiet(&mut socket).await);
                theirs.set_nonblocking(true).unwrap();
                assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
                theirs.set_nonblocking(false).unwrap();

                theirs.write_all(b"abc").unwrap();
                theirs.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(rest(&mut socket).await, ["data 3", "end", "close false"]);
                assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_to_one_that_is_not_writable_destroys_it() {
    bounded(async {
        for (ours, _theirs) in pairs() {
            let mut socket = Socket::from_fd(ours, SocketOptions::new().writable(false)).unwrap();
            assert!(!socket.write("x"));
            assert_eq!(rest(&mut socket).await, ["error write after end", "close true"]);
            assert_eq!(socket.bytes_written(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn one_that_is_neither_closes_at_once() {
    bounded(async {
        for (ours, mut theirs) in pairs() {
            let mut socket = Socket::from_fd(ours, SocketOptions::new().readable(false).writable(false)).unwrap();
            assert_eq!(rest(&mut socket).await, ["close false"]);
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn what_had_happened_before_is_seen() {
    bounded(async {
        for (ours, mut theirs) in pairs() {
            theirs.write_all(b"early").unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let mut socket = Socket::from_fd(ours, SocketOptions::new()).unwrap();
            assert_eq!((socket.ready_state(), socket.bytes_read()), (ReadyState::Open, 0));
            assert_eq!(rest(&mut socket).await, ["data 5", "end", "finish", "close false"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_signal_destroys_it() {
    bounded(async {
        for (ours, mut theirs) in pairs() {
            let token = CancellationToken::new();
            let mut socket = Socket::from_fd(ours, SocketOptions::new().signal(token.clone())).unwrap();
            assert!(is_quiet(&mut socket).await);
            token.cancel();
            assert_eq!(rest(&mut socket).await, ["error The operation was aborted", "close true"]);
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn can_connect_elsewhere_after_close() {
    bounded(async {
        let mut server = sockeye::Server::new();
        server.listen("127.0.0.1:0").await.unwrap();
        for (ours, theirs) in pairs() {
            let mut socket = Socket::from_fd(ours, SocketOptions::new().readable(false)).unwrap();
            socket.end();
            assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
            drop(theirs);
            socket.connect(server.address().unwrap()).unwrap();
            let mut socket = socket.await.unwrap();
            server.accept().await.unwrap().end_with("readable again");
            assert_eq!(rest(&mut socket).await, ["data 14", "end", "finish", "close false"]);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_connected_stream_socket_is_refused() {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    let unconnected = |domain| socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    assert_eq!(code(std::fs::File::open("/dev/null").unwrap()), "EINVAL");
    assert_eq!(code(tempfile::tempfile().unwrap()), "EINVAL");
    assert_eq!(code(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()), "EINVAL");
    assert_eq!(code(UnixDatagram::pair().unwrap().0), "EINVAL");
    assert_eq!(code(std::net::TcpListener::bind("127.0.0.1:0").unwrap()), "ENOTCONN");
    assert_eq!(code(UnixListener::bind(common::socket_path()).unwrap()), "ENOTCONN");
    assert_eq!(code(unconnected(socket2::Domain::IPV4)), "ENOTCONN");
    assert_eq!(code(unconnected(socket2::Domain::UNIX)), "ENOTCONN");
}

#[tokio::test]
async fn a_refused_descriptor_is_closed() {
    use std::io::ErrorKind::ConnectionReset;

    let path = common::socket_path();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut waiting = std::os::unix::net::UnixStream::connect(path).unwrap();
    assert_eq!(code(listener), "ENOTCONN");
    assert_eq!(waiting.read(&mut [0]).map_err(|error| error.kind()), Err(ConnectionReset));
}

#[test]
fn there_has_to_be_a_runtime() {
    for (ours, mut theirs) in pairs() {
        assert_eq!(code(ours), "ERR_NO_RUNTIME");
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the descriptor is closed");
    }
}

/// Names the case to a copy of this program that plays a child.
const ROLE: &str = "SOCKEYE_TEST_INHERITED";

#[tokio::test]
async fn a_connection_can_be_passed_to_another_process() {
    if std::env::var_os(ROLE).is_some() {
        let inherited = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let mut socket = Socket::from_fd(inherited, SocketOptions::new()).unwrap();
        let echo = socket.handle();
        socket.pipe(&echo).await.unwrap();
        return;
    }
    bounded(async {
        for (theirs, ours) in pairs() {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_connection_can_be_passed_to_another_process"])
                .env(ROLE, "1")
                .stdin(Stdio::from(theirs))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut socket = Socket::from_fd(ours, SocketOptions::new()).unwrap();
            socket.end_with("there and back");
            let mut text = String::new();
            socket.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "there and back");
            assert!(child.wait().unwrap().success());
        }
    })
    .await;
}
