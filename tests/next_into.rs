//! Reading into a buffer of one's own.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use common::{Transport, bounded, describe, on_every_transport, pattern, rest, settle};
use sockeye::{Listeners, NextInto, Server, Socket};
use tokio::sync::mpsc;

/// What comes next, as text; data is what the buffer then begins with.
async fn next_into(socket: &mut Socket, buffer: &mut [u8]) -> String {
    match socket.next_into(buffer).await {
        Some(NextInto::Data(length)) => format!("data {}", String::from_utf8_lossy(&buffer[..length])),
        Some(NextInto::Event(event)) => describe(&event),
        None => "nothing".into(),
    }
}

/// Whether nothing comes without anything further happening.
async fn is_quiet(socket: &mut Socket, buffer: &mut [u8]) -> bool {
    settle().await;
    pin!(socket.next_into(buffer)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

on_every_transport! {
    async fn data_comes_in_the_buffer_and_everything_else_as_events(transport: Transport) {
        let (mut socket, peer) = transport.half_open_pair().await;
        let mut buffer = [0; 16];
        peer.write("hello");
        assert_eq!(next_into(&mut socket, &mut buffer).await, "data hello");
        assert_eq!(buffer, *b"hello\0\0\0\0\0\0\0\0\0\0\0");
        peer.write("you");
        assert_eq!(next_into(&mut socket, &mut buffer).await, "data you");
        assert_eq!(buffer, *b"youlo\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(socket.bytes_read(), 8);
        peer.end();
        assert_eq!(next_into(&mut socket, &mut buffer).await, "end");
        assert!(is_quiet(&mut socket, &mut buffer).await);
        socket.end();
        for event in ["finish", "close false", "nothing", "nothing"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }
    }

    async fn a_small_buffer_takes_several_turns(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end_with("0123456789");
        let mut buffer = [0; 4];
        for event in ["data 0123", "data 4567", "data 89", "end", "finish", "close false"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }

        let (mut socket, peer) = transport.pair().await;
        peer.end_with("012");
        for event in ["data 0", "data 1", "data 2", "end"] {
            assert_eq!(next_into(&mut socket, &mut [0; 1]).await, event);
        }
    }

    async fn everything_arrives_whatever_the_size_of_the_buffer(transport: Transport) {
        for size in [1000, 65_536, 1_000_000] {
            let (mut socket, peer) = transport.pair().await;
            let sent = pattern(700_001);
            peer.end_with(&sent);
            let mut buffer = vec![0; size];
            let mut received = Vec::new();
            while let Some(next) = socket.next_into(&mut buffer).await {
                if let NextInto::Data(length) = next {
                    assert!((1..=size).contains(&length));
                    received.extend_from_slice(&buffer[..length]);
                }
            }
            assert!(received == sent);
            assert_eq!(socket.bytes_read(), 700_001);
        }
    }

    async fn an_empty_buffer_reads_nothing_and_events_still_come(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end_with("hello");
        assert!(is_quiet(&mut socket, &mut []).await);
        assert_eq!(socket.bytes_read(), 0);
        socket.end();
        assert_eq!(next_into(&mut socket, &mut []).await, "finish");
        assert!(is_quiet(&mut socket, &mut []).await);
        let mut buffer = [0; 16];
        for event in ["data hello", "end", "close false"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }
    }

    async fn a_drain_and_an_error_come_as_events(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        let mut buffer = [0; 16];
        let length = 16 * 1024 * 1024;
        assert!(!socket.write(pattern(length)));
        tokio::spawn(async move {
            while peer.bytes_read() < length as u64 {
                peer.next().await;
            }
            std::future::pending::<()>().await;
        });
        assert_eq!(next_into(&mut socket, &mut buffer).await, "drain");
        socket.destroy_with(sockeye::Error::new("EMINE", "enough"));
        for event in ["error enough", "close true", "nothing"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }
    }

    async fn dropping_the_future_loses_nothing(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        let mut buffer = [0; 4];
        assert!(is_quiet(&mut socket, &mut buffer).await);
        peer.end_with("abcdef");
        for _ in 0..10 {
            drop(socket.next_into(&mut buffer));
        }
        assert_eq!(next_into(&mut socket, &mut buffer).await, "data abcd");
        for _ in 0..10 {
            drop(socket.next_into(&mut buffer));
        }
        assert_eq!(next_into(&mut socket, &mut buffer).await, "data ef");
    }

    async fn can_be_mixed_with_events(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end_with("abcdef");
        assert_eq!(next_into(&mut socket, &mut [0; 4]).await, "data abcd");
        assert_eq!(rest(&mut socket).await, ["data 2", "end", "finish", "close false"]);
    }

    async fn a_paused_socket_reads_into_no_buffer(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        let mut buffer = [0; 16];
        socket.pause();
        peer.end_with("abc");
        assert!(is_quiet(&mut socket, &mut buffer).await);
        assert_eq!((socket.bytes_read(), buffer), (0, [0; 16]));
        socket.resume();
        for event in ["data abc", "end", "finish", "close false"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }
    }

    async fn on_read_gives_the_same_buffer_each_time_and_no_data(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let buffer = vec![0; 4];
        let place = buffer.as_ptr() as usize;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (reads, ends, closes) = (log.clone(), log.clone(), log.clone());
        peer.end_with("0123456789");
        let handle = socket
            .attach(
                Listeners::new()
                    .on_data(|_, _| panic!("an event beside the buffer"))
                    .on_read(buffer, move |_, bytes| {
                        assert_eq!(bytes.as_ptr() as usize, place);
                        reads.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
                        true
                    })
                    .on_end(move |_| ends.lock().unwrap().push("end".to_owned()))
                    .on_close(move |_, had_error| closes.lock().unwrap().push(format!("close {had_error}"))),
            )
            .unwrap();
        handle.closed().await;
        settle().await;
        assert_eq!(*log.lock().unwrap(), ["0123", "4567", "89", "end", "close false"]);
    }

    async fn on_read_pauses_by_returning_false(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let handle = socket
            .attach(Listeners::new().on_read(vec![0; 4], move |socket, bytes| {
                assert!(!socket.is_paused());
                tell.send(bytes.to_vec()).unwrap();
                false
            }))
            .unwrap();
        peer.end_with("0123456789");
        for (piece, read) in [("0123", 4), ("4567", 8), ("89", 10)] {
            assert_eq!(told.recv().await.unwrap(), piece.as_bytes());
            settle().await;
            assert!(handle.is_paused() && told.try_recv().is_err());
            assert_eq!(handle.bytes_read(), read);
            handle.resume();
        }
        handle.closed().await;
        assert_eq!(told.recv().await, None);
    }

    async fn on_read_with_an_empty_buffer_reads_nothing(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let handle = socket
            .attach(
                Listeners::new()
                    .on_read(Vec::new(), |_, _| panic!("a read into nothing"))
                    .on_close(move |_, had_error| tell.send(had_error).unwrap()),
            )
            .unwrap();
        peer.end_with("abc");
        settle().await;
        assert_eq!(handle.bytes_read(), 0);
        handle.destroy();
        assert_eq!(told.recv().await, Some(false));
    }
}

#[tokio::test]
async fn the_events_of_connecting_come_too() {
    bounded(async {
        let mut server = Server::new();
        server.listen(("127.0.0.1", 0)).await.unwrap();
        let address = server.address().unwrap();
        let mut socket = sockeye::connect(address.clone());
        let mut buffer = [0; 16];
        for event in [&format!("connectionAttempt {address}"), "connect", "ready"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }
        server.accept().await.unwrap().end_with("hello");
        for event in ["data hello", "end", "finish", "close false"] {
            assert_eq!(next_into(&mut socket, &mut buffer).await, event);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_comes_with_an_empty_buffer_too() {
    let (mut socket, peer) = Socket::pair(1024);
    peer.write("abc");
    socket.set_timeout(Duration::from_secs(3));
    assert_eq!(next_into(&mut socket, &mut []).await, "timeout");
    let mut buffer = [0; 16];
    assert_eq!(next_into(&mut socket, &mut buffer).await, "data abc");
    let start = tokio::time::Instant::now();
    assert_eq!(next_into(&mut socket, &mut buffer).await, "timeout");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}
