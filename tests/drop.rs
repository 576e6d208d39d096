//! What becomes of a connection whose socket is dropped.

mod common;

use common::{Transport, next, on_every_transport, pattern, rest};
use sockeye::{ConnectOptions, Server, SocketHandle};
use tokio::io::AsyncReadExt;

const TOO_MUCH: usize = 32 * 1024 * 1024;

on_every_transport! {
    async fn everything_written_arrives_and_then_the_end(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.write(pattern(TOO_MUCH));
        drop(socket);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
    }

    async fn end_and_drop_delivers_everything(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.write(pattern(TOO_MUCH));
        socket.end_with("last");
        drop(socket);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), TOO_MUCH + 4);
        assert_eq!(&received[TOO_MUCH..], b"last");
    }

    async fn unread_data_does_not_turn_the_end_into_a_reset(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        peer.write("nobody reads this");
        common::settle().await;
        socket.write(pattern(TOO_MUCH));
        drop(socket);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
    }

    async fn what_is_corked_goes_out_too(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.cork();
        socket.write("corked");
        drop(socket);
        assert_eq!(next(&mut peer).await, "data 6");
        assert_eq!(next(&mut peer).await, "end");
    }

    async fn a_handle_left_over_is_that_of_a_closed_socket(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        let handle: SocketHandle = socket.handle();
        drop(socket);
        assert!(handle.destroyed());
        assert_eq!(handle.try_write("x").unwrap_err().code(), "ERR_STREAM_DESTROYED");
        assert!(!handle.write("x"));
        handle.closed().await;
        assert_eq!(next(&mut peer).await, "end");
    }

    async fn after_destroy_nothing_more_is_sent(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.write(pattern(TOO_MUCH));
        socket.destroy();
        drop(socket);
        let mut received = Vec::new();
        // Whether it ends or fails is the transport's business; what matters is that not everything came.
        let _ = peer.read_to_end(&mut received).await;
        assert!(received.len() < TOO_MUCH);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up_after_a_while() {
    let (socket, _peer) = Transport::Memory.pair().await;
    let handle = socket.handle();
    socket.write(pattern(TOO_MUCH));
    let start = tokio::time::Instant::now();
    drop(socket);
    handle.closed().await;
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_something_now_and_then_is_not_given_up() {
    let (socket, mut peer) = Transport::Memory.pair().await;
    socket.write(pattern(10 * common::MEMORY_CAPACITY));
    drop(socket);
    let mut received = Vec::new();
    while received.len() < 10 * common::MEMORY_CAPACITY {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        assert_ne!(peer.read_buf(&mut received).await.unwrap(), 0, "given up after {} bytes", received.len());
    }
}

#[tokio::test]
async fn dropped_while_connecting_it_says_what_it_had_to_say() {
    let mut server = Server::new();
    server.listen(("127.0.0.1", 0)).await.unwrap();
    let address = server.address().unwrap();

    let client = sockeye::connect(address.clone());
    client.write("hello");
    drop(client);
    let mut socket = server.accept().await.unwrap();
    assert_eq!(rest(&mut socket).await, ["data 5", "end", "finish", "close false"]);

    let client = ConnectOptions::new().connect(address);
    let handle = client.handle();
    drop(client);
    handle.closed().await;
    assert!(handle.destroyed() && !handle.connecting());
}
