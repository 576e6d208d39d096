//! From one socket into another.

mod common;

use common::{Transport, on_every_transport, pattern, rest};
use tokio::io::AsyncReadExt;

const TOO_MUCH: usize = 32 * 1024 * 1024;

on_every_transport! {
    async fn echoes_and_passes_the_end_on(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        let echo = tokio::spawn(async move {
            let handle = socket.handle();
            socket.pipe(&handle).await.unwrap()
        });
        let sent = pattern(TOO_MUCH);
        peer.write(&sent);
        peer.end();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        assert_eq!(echo.await.unwrap(), TOO_MUCH as u64);
    }

    async fn reads_no_more_than_the_destination_takes(transport: Transport) {
        let (mut source, feeder) = transport.pair().await;
        let (destination, mut reader) = Transport::Memory.pair().await;
        let source_handle = source.handle();
        feeder.write(pattern(TOO_MUCH));
        feeder.end();
        let pipe = tokio::spawn(async move { source.pipe(&destination).await.unwrap() });
        while source_handle.bytes_read() < 2 * common::MEMORY_CAPACITY as u64 {
            tokio::task::yield_now().await;
        }
        common::settle().await;
        let most = 2 * common::MEMORY_CAPACITY + 64 * 1024;
        assert!(source_handle.bytes_read() <= most as u64, "{} bytes were read", source_handle.bytes_read());
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
        assert_eq!(pipe.await.unwrap(), TOO_MUCH as u64);
    }

    async fn two_of_them_make_a_proxy_that_keeps_half_open(transport: Transport) {
        let (mut front, mut client) = transport.half_open_pair().await;
        let (mut back, mut server) = transport.half_open_pair().await;
        let proxy = tokio::spawn(async move {
            let (to_front, to_back) = (front.handle(), back.handle());
            tokio::try_join!(front.pipe(&to_back), back.pipe(&to_front)).unwrap()
        });
        client.end_with("question");
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        server.end_with("the answer");
        text.clear();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "the answer");
        assert_eq!(proxy.await.unwrap(), (8, 10));
    }

    async fn joins_two_sockets_and_keeps_half_open(transport: Transport) {
        let (mut front, mut client) = transport.pair().await;
        let (mut back, mut server) = transport.pair().await;
        let proxy = tokio::spawn(async move { front.pipe_bidirectional(&mut back).await });
        client.end_with("question");
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        let answer = pattern(TOO_MUCH);
        server.end_with(&answer);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert!(received == answer);
        assert_eq!(proxy.await.unwrap().unwrap(), (8, TOO_MUCH as u64));
    }

    async fn joins_two_sockets_until_one_fails_and_lets_the_others_peer_know(transport: Transport) {
        for from_the_front in [true, false] {
            let (mut front, mut client) = transport.pair().await;
            let (mut back, mut server) = transport.pair().await;
            let counts = (front.handle(), back.handle());
            let proxy = tokio::spawn(async move { front.pipe_bidirectional(&mut back).await });
            client.write("half a question");
            assert_eq!(common::next(&mut server).await, "data 15");
            server.write("half an answer");
            assert_eq!(common::next(&mut client).await, "data 14");
            let (failing, other) = if from_the_front { (client, server) } else { (server, client) };
            if transport == Transport::Unix {
                failing.destroy();
                drop(failing);
                // Its end looks like any other; what comes too late tells.
                let mut other = other;
                assert_eq!(common::next(&mut other).await, "end");
                while !counts.0.destroyed() {
                    other.write("too late");
                    tokio::task::yield_now().await;
                }
                assert_eq!(proxy.await.unwrap().unwrap_err().code(), "EPIPE");
            } else {
                failing.reset_and_destroy().unwrap();
                assert_eq!(proxy.await.unwrap().unwrap_err().message(), "read ECONNRESET");
                let mut other = other;
                assert_eq!(rest(&mut other).await, ["error read ECONNRESET", "close true"]);
            }
            assert!(counts.0.destroyed() && counts.1.destroyed());
            assert!(counts.0.bytes_read() >= 15 && counts.1.bytes_read() >= 14);
        }
    }

    async fn joins_two_sockets_until_one_is_idle_for_too_long(transport: Transport) {
        let (mut front, _client) = transport.pair().await;
        let (mut back, _server) = transport.pair().await;
        back.set_timeout(std::time::Duration::from_millis(1));
        let error = front.pipe_bidirectional(&mut back).await.unwrap_err();
        assert_eq!(error.code(), "ETIMEDOUT");
        assert!(front.destroyed() && back.destroyed());
    }

    async fn joins_two_sockets_again_after_it_was_cancelled(transport: Transport) {
        let (mut front, client) = transport.half_open_pair().await;
        let (mut back, mut server) = transport.half_open_pair().await;
        let sent = pattern(4 * 1024 * 1024);
        client.end_with(&sent);
        let received = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            server.end_with("thanks");
            received
        });
        loop {
            tokio::select! {
                biased;
                result = front.pipe_bidirectional(&mut back) => {
                    result.unwrap();
                    break;
                }
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(received.await.unwrap() == sent);
        assert_eq!((front.bytes_read(), back.bytes_read()), (4 * 1024 * 1024, 6));
    }

    async fn fails_when_the_source_is_destroyed(transport: Transport) {
        let (mut source, _feeder) = transport.pair().await;
        let (destination, _reader) = transport.pair().await;
        let handle = source.handle();
        let pipe = tokio::spawn(async move { (source.pipe(&destination).await, destination) });
        common::settle().await;
        handle.destroy();
        let (result, destination) = pipe.await.unwrap();
        assert_eq!(result.unwrap_err().code(), "ERR_STREAM_PREMATURE_CLOSE");
        assert!(!destination.destroyed(), "as in Node, the destination is not ended by a failure");
    }

    async fn fails_when_the_destination_is_destroyed(transport: Transport) {
        let (mut source, feeder) = transport.pair().await;
        let (destination, _reader) = transport.pair().await;
        destination.destroy();
        feeder.write("x");
        let error = source.pipe(&destination).await.unwrap_err();
        assert_eq!(error.code(), "ERR_STREAM_DESTROYED");
        assert!(!source.destroyed());
    }

    async fn loses_nothing_when_it_is_cancelled(transport: Transport) {
        let (mut source, feeder) = transport.pair().await;
        let (destination, mut reader) = transport.pair().await;
        let sent = pattern(4 * 1024 * 1024);
        feeder.write(&sent);
        feeder.end();
        let received = tokio::spawn(async move {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.unwrap();
            received
        });
        let mut attempts = 0;
        loop {
            attempts += 1;
            tokio::select! {
                biased;
                result = source.pipe(&destination) => {
                    result.unwrap();
                    break;
                }
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(attempts > 1);
        assert!(received.await.unwrap() == sent);
    }

    async fn goes_on_with_the_events_that_follow(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end_with("abc");
        let echo = socket.handle();
        assert_eq!(socket.pipe(&echo).await.unwrap(), 3);
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
    }
}

#[tokio::test]
async fn joins_a_socket_with_one_that_is_still_connecting() {
    common::bounded(async {
        let (mut server, address) = common::connecting::tcp_server().await;
        let (mut front, mut client) = Transport::Tcp.pair().await;
        client.write("early");
        let mut back = sockeye::connect(address);
        let proxy = tokio::spawn(async move { front.pipe_bidirectional(&mut back).await });
        let mut upstream = server.accept().await.unwrap();
        let echo = tokio::spawn(async move {
            let handle = upstream.handle();
            upstream.pipe(&handle).await
        });
        assert_eq!(common::next(&mut client).await, "data 5");
        client.end();
        assert_eq!(proxy.await.unwrap().unwrap(), (5, 5));
        echo.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn joins_a_socket_with_one_that_cannot_connect() {
    common::bounded(async {
        let (mut front, mut client) = Transport::Tcp.pair().await;
        let refusing = common::connecting::refusing();
        let mut back = sockeye::connect(refusing);
        let error = front.pipe_bidirectional(&mut back).await.unwrap_err();
        assert_eq!(error.message(), format!("connect ECONNREFUSED {refusing}"));
        assert_eq!(rest(&mut client).await, ["error read ECONNRESET", "close true"]);
    })
    .await;
}

#[tokio::test]
async fn gives_up_connecting_when_the_first_socket_fails() {
    common::bounded(async {
        let (mut front, client) = Transport::Tcp.pair().await;
        let mut back = sockeye::ConnectOptions::new().lookup(|_, _| std::future::pending()).connect("name:80");
        let handle = back.handle();
        let proxy = tokio::spawn(async move { front.pipe_bidirectional(&mut back).await });
        client.reset_and_destroy().unwrap();
        assert_eq!(proxy.await.unwrap().unwrap_err().message(), "read ECONNRESET");
        assert!(handle.destroyed() && !handle.connecting());
    })
    .await;
}
