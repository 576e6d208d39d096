//! Who is at the other end of a Unix domain socket.

mod common;
mod process;

use common::Transport;
use process::Process;
use sockeye::{Server, Socket, SocketOptions, connect};

#[tokio::test]
async fn both_ends_know_each_other() {
    common::bounded(async {
        let (socket, peer) = Transport::Unix.pair().await;
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        let from_fd = |fd| Socket::from_fd(fd, SocketOptions::new()).unwrap();
        for socket in [socket, peer, from_fd(left), from_fd(right)] {
            let peer = socket.peer_cred().unwrap();
            assert_eq!(peer.uid(), nix::unistd::geteuid().as_raw());
            assert_eq!(peer.gid(), nix::unistd::getegid().as_raw());
            assert_eq!(peer.pid(), Some(std::process::id().try_into().unwrap()));
        }
    })
    .await;
}

#[tokio::test]
async fn other_sockets_and_those_without_a_connection_have_none() {
    common::bounded(async {
        for transport in [Transport::Tcp, Transport::Memory] {
            let (socket, peer) = transport.pair().await;
            assert_eq!((socket.peer_cred(), peer.peer_cred()), (None, None));
        }
        assert_eq!(Socket::new().peer_cred(), None);
        let (socket, _peer) = Transport::Unix.pair().await;
        socket.destroy();
        assert_eq!(socket.peer_cred(), None);
    })
    .await;
}

const OTHER: &str = "another_process_is_told_apart";

#[tokio::test]
async fn another_process_is_told_apart() {
    if let Some(path) = process::part() {
        let mut client = connect(path).await.unwrap();
        while client.next().await.is_some() {}
        return;
    }
    common::bounded(async {
        let mut server = Server::new();
        let path = common::socket_path();
        server.listen(&path).await.unwrap();
        let child = Process::again(OTHER, &path);
        let socket = server.accept().await.unwrap();
        assert_eq!(socket.peer_cred().unwrap().pid(), Some(child.pid().as_raw()));
        drop(socket);
        child.succeeds().await;
    })
    .await;
}
