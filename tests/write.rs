//! Writing: straight to the kernel, the queue, drain, cork, and when bytes are out.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::{Options, Transport, next, on_every_transport, pattern, rest};
use sockeye::Event;
use tokio::io::AsyncReadExt;

/// More than any kernel buffers on the way.
const TOO_MUCH: usize = 32 * 1024 * 1024;

on_every_transport! {
    async fn what_the_kernel_takes_at_once_is_no_reason_to_wait(transport: Transport) {
        let (socket, mut peer) = transport.pair_with(Options { high_water_mark: Some(10), ..Options::default() }).await;
        assert!(socket.write("more than the high-water mark"));
        assert_eq!((socket.writable_length(), socket.bytes_written()), (0, 29));
        assert_eq!(next(&mut peer).await, "data 29");
        assert_eq!(peer.bytes_read(), 29);
    }

    async fn drain_comes_after_a_refusal_when_the_queue_is_gone(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        assert!(!socket.write(pattern(TOO_MUCH)));
        assert_eq!(socket.writable_length(), TOO_MUCH, "counted as a whole until it is out");
        assert!(common::is_quiet(&mut socket).await);
        let received = tokio::spawn(async move {
            let mut received = vec![0; TOO_MUCH];
            peer.read_exact(&mut received).await.unwrap();
            (peer, received)
        });
        assert_eq!(next(&mut socket).await, "drain");
        assert_eq!((socket.writable_length(), socket.bytes_written()), (0, TOO_MUCH as u64));
        let (_peer, received) = received.await.unwrap();
        assert!(received == pattern(TOO_MUCH));
        assert!(socket.write("again"));
        assert!(common::is_quiet(&mut socket).await);
    }

    async fn a_queue_is_written_though_nobody_polls_the_socket(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        for chunk in pattern(TOO_MUCH).chunks(1024 * 1024) {
            socket.write(chunk);
        }
        socket.end();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
        assert_eq!(socket.writable_length(), 0);
    }

    async fn a_handle_writes_at_once_from_another_task(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        let handle = socket.handle();
        tokio::spawn(async move { handle.write("from elsewhere") }).await.unwrap();
        assert_eq!(next(&mut peer).await, "data 14");
        drop(socket);
    }

    async fn a_handle_writes_from_a_thread_outside_of_the_runtime(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        let handle = socket.handle();
        let thread = std::thread::spawn(move || {
            assert!(!handle.write(pattern(TOO_MUCH)));
            handle.end();
        });
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
        thread.join().unwrap();
        drop(socket);
    }

    async fn writes_from_many_tasks_arrive_whole(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        for task in 0..8u8 {
            let handle = socket.handle();
            tokio::spawn(async move {
                for _ in 0..100 {
                    handle.write(vec![task; 10_000]);
                    tokio::task::yield_now().await;
                }
            });
        }
        let mut counts = [0; 8];
        let mut piece = [0; 10_000];
        for _ in 0..800 {
            peer.read_exact(&mut piece).await.unwrap();
            assert!(piece.iter().all(|byte| *byte == piece[0]));
            counts[usize::from(piece[0])] += 1;
        }
        assert_eq!(counts, [100; 8]);
    }

    async fn corked_writes_leave_in_one_piece(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.cork();
        for _ in 0..100 {
            assert!(socket.write("0123456789"));
        }
        assert_eq!((socket.writable_length(), socket.bytes_written()), (1000, 1000));
        assert!(common::is_quiet(&mut peer).await);
        socket.uncork();
        assert_eq!(socket.writable_length(), 0);
        assert_eq!(next(&mut peer).await, "data 1000");
    }

    async fn a_last_piece_goes_with_the_end(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.write("first ");
        socket.end_with("last");
        socket.end();
        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "first last");
    }

    async fn futures_of_writes_become_ready_in_order(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        let order = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|index| {
                let written = socket.write_with(vec![0; 1024 * 1024]);
                let order = order.clone();
                tokio::spawn(async move {
                    written.await.unwrap();
                    assert_eq!(order.fetch_add(1, Ordering::SeqCst), index);
                })
            })
            .collect();
        assert!(order.load(Ordering::SeqCst) < 20, "the kernel cannot have taken everything");
        let mut received = vec![0; 20 * 1024 * 1024];
        peer.read_exact(&mut received).await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
    }

    async fn a_write_future_fails_with_what_destroyed_the_socket(transport: Transport) {
        let (socket, _peer) = transport.pair().await;
        let small = socket.write_with("small");
        let large = socket.write_with(vec![0; TOO_MUCH]);
        let behind = socket.write_with("behind");
        socket.destroy_with(sockeye::Error::new("EVIL", "for a reason"));
        small.await.unwrap();
        assert_eq!(large.await.unwrap_err().code(), "EVIL");
        assert_eq!(behind.await.unwrap_err().code(), "EVIL");
        assert_eq!(socket.write_with("late").await.unwrap_err().code(), "ERR_STREAM_DESTROYED");
    }

    async fn misuse_destroys_and_try_write_only_says_so(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        assert!(socket.try_write("before").unwrap());
        socket.end();
        assert_eq!(socket.try_write("after").unwrap_err().code(), "ERR_STREAM_WRITE_AFTER_END");
        assert!(!socket.destroyed());
        assert!(!socket.write("after"));
        assert!(socket.destroyed());
        assert_eq!(rest(&mut socket).await, ["error write after end", "close true"]);
        assert_eq!(socket.try_write("after").unwrap_err().code(), "ERR_STREAM_WRITE_AFTER_END");
        assert!(!socket.write("after"));
        assert_eq!(rest(&mut socket).await, [""; 0]);
        assert_eq!(next(&mut peer).await, "data 6");
    }

    async fn memory_is_bounded_by_the_high_water_mark_for_those_who_wait(transport: Transport) {
        let mark = 100_000;
        let (mut socket, mut peer) = transport.pair_with(Options { high_water_mark: Some(mark), ..Options::default() }).await;
        let writer = tokio::spawn(async move {
            let chunk = Bytes::from(pattern(10_000));
            let mut most = 0;
            for _ in 0..2_000 {
                if !socket.write(&chunk) {
                    while !matches!(socket.next().await, Some(Event::Drain)) {}
                }
                most = most.max(socket.writable_length());
            }
            socket.end();
            most
        });
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), 20_000_000);
        assert!(writer.await.unwrap() < mark + 10_000);
    }

    async fn drained_waits_for_what_was_written(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        socket.drained().await.unwrap();
        socket.write(pattern(TOO_MUCH));
        let mut received = vec![0; TOO_MUCH];
        let (drained, read) = tokio::join!(socket.drained(), peer.read_exact(&mut received));
        drained.unwrap();
        read.unwrap();
        assert_eq!(socket.writable_length(), 0);
    }
}

#[test]
fn a_write_without_a_runtime_for_the_background_is_an_error() {
    let (mut socket, _peer) = sockeye::Socket::pair(16);
    assert!(socket.write("fits"));
    socket.write("this does not fit any more");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events = runtime.block_on(rest(&mut socket));
    assert_eq!(events, ["error There is no tokio runtime here: call this from within one", "close true"]);
}
