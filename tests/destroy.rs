//! Closing at once: destroy, destroy_soon, reset.

mod common;

use common::{Transport, next, on_every_transport, pattern, rest};
use sockeye::{Error, Event, ReadyState};
use tokio::io::AsyncReadExt;

const TOO_MUCH: usize = 32 * 1024 * 1024;

on_every_transport! {
    async fn destroy_emits_only_close(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.destroy();
        socket.destroy();
        assert!(socket.destroyed() && socket.pending());
        assert_eq!(socket.ready_state(), ReadyState::Closed);
        assert_eq!(rest(&mut socket).await, ["close false"]);
        assert_eq!(next(&mut peer).await, "end");
    }

    async fn destroy_with_an_error_emits_it_before_close(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.destroy_with(Error::other("boom"));
        socket.destroy_with(Error::other("too late"));
        let Some(Event::Error(error)) = socket.next().await else { panic!("an error comes first") };
        assert_eq!((error.code(), error.message()), ("", "boom"));
        assert_eq!(rest(&mut socket).await, ["close true"]);
    }

    async fn destroy_drops_what_is_queued_and_wakes_the_one_who_waits(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.write(pattern(TOO_MUCH));
        let handle = socket.handle();
        let events = tokio::spawn(async move { rest(&mut socket).await });
        common::settle().await;
        handle.destroy();
        assert_eq!(handle.writable_length(), 0);
        assert_eq!(events.await.unwrap(), ["close false"]);
        handle.closed().await;
        drop(peer);
    }

    async fn destroy_inside_data_ends_the_events(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end_with("abc");
        assert_eq!(next(&mut socket).await, "data 3");
        socket.destroy();
        assert_eq!(rest(&mut socket).await, ["close false"]);
    }

    async fn destroy_soon_flushes_and_does_not_wait_for_the_peer(transport: Transport) {
        let (mut socket, mut peer) = transport.half_open_pair().await;
        socket.write(pattern(TOO_MUCH));
        socket.destroy_soon();
        assert!(!socket.destroyed());
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
    }

    async fn counters_and_remote_address_survive_close(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        let remote = socket.peer_addr();
        assert_eq!(remote.is_some(), transport == Transport::Tcp);
        assert_eq!(socket.address(), peer.peer_addr());
        peer.end_with("12345");
        socket.write("123");
        rest(&mut socket).await;
        assert_eq!((socket.bytes_read(), socket.bytes_written()), (5, 3));
        assert_eq!((socket.peer_addr(), socket.address()), (remote, None));
    }

    async fn settings_after_close_do_nothing(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.destroy();
        rest(&mut socket).await;
        socket.set_no_delay(true);
        socket.set_keep_alive(true, std::time::Duration::from_secs(1));
        socket.set_timeout(std::time::Duration::from_secs(1));
        socket.pause();
        socket.resume();
        socket.cork();
        socket.uncork();
        socket.end();
        socket.destroy_soon();
        assert_eq!(rest(&mut socket).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_reset_reaches_the_peer_as_one() {
    for transport in [Transport::Tcp, Transport::Memory] {
        let (mut socket, mut peer) = transport.pair().await;
        socket.reset_and_destroy().unwrap();
        assert_eq!(rest(&mut socket).await, ["close false"], "the one who resets gets no error");
        let Some(Event::Error(error)) = peer.next().await else { panic!("the peer gets an error") };
        assert_eq!((error.code(), error.syscall(), error.message()), ("ECONNRESET", Some("read"), "read ECONNRESET"));
        assert_eq!(rest(&mut peer).await, ["close true"]);
    }
}

#[tokio::test]
async fn what_arrived_before_a_reset_is_read_first() {
    for transport in [Transport::Tcp, Transport::Memory] {
        let (socket, mut peer) = transport.pair().await;
        socket.write("abc");
        // The bytes have to be there before the reset overtakes them.
        common::settle().await;
        socket.reset_and_destroy().unwrap();
        let events = rest(&mut peer).await;
        assert_eq!(events, ["data 3", "error read ECONNRESET", "close true"], "{transport:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_cannot_be_reset() {
    let (socket, mut peer) = Transport::Unix.pair().await;
    assert_eq!(socket.reset_and_destroy().unwrap_err().code(), "ERR_INVALID_HANDLE_TYPE");
    assert!(!socket.destroyed());
    socket.write("still here");
    assert_eq!(next(&mut peer).await, "data 10");
}

#[tokio::test]
async fn a_socket_that_never_was_connected_has_none_of_it() {
    let mut socket = sockeye::Socket::new();
    assert_eq!((socket.ready_state(), socket.pending(), socket.connecting()), (ReadyState::Open, true, false));
    socket.destroy();
    assert_eq!(rest(&mut socket).await, ["close false"]);

    let mut socket = sockeye::Socket::new();
    socket.reset_and_destroy().unwrap();
    assert_eq!(rest(&mut socket).await, ["error Socket is closed", "close true"]);

    let mut socket = sockeye::Socket::new();
    assert!(!socket.write("x"));
    assert_eq!(rest(&mut socket).await, ["error Socket is closed", "close true"]);
}
