//! The socket as tokio's `AsyncRead` and `AsyncWrite`.

mod common;

use common::{Options, Transport, on_every_transport, pattern, rest};
use futures_util::{SinkExt, StreamExt};
use sockeye::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio_util::codec::{Framed, LinesCodec};

const TOO_MUCH: usize = 32 * 1024 * 1024;

on_every_transport! {
    async fn copies_both_ways_like_any_other(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        let (mut left, mut right) = tokio::io::duplex(1000);
        let proxy = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut socket, &mut right).await.unwrap() });
        let sent = pattern(1_000_000);
        let echo = tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(&mut left);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        peer.write(&sent);
        peer.end();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        assert_eq!(proxy.await.unwrap(), (1_000_000, 1_000_000));
        echo.await.unwrap();
    }

    async fn runs_a_codec(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let mut socket = Framed::new(socket, LinesCodec::new());
        let mut peer = Framed::new(peer, LinesCodec::new());
        peer.send("one").await.unwrap();
        peer.send("two").await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), "one");
        assert_eq!(socket.next().await.unwrap().unwrap(), "two");
        socket.send("three").await.unwrap();
        assert_eq!(peer.next().await.unwrap().unwrap(), "three");
        drop(peer);
        assert!(socket.next().await.is_none());
    }

    async fn the_end_of_the_peer_leaves_this_side_open(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        peer.end_with("question");
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert_eq!(socket.read(&mut [0; 10]).await.unwrap(), 0);
        AsyncWriteExt::write_all(&mut socket, b"answer").await.unwrap();
        socket.shutdown().await.unwrap();
        text.clear();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    }

    async fn a_full_kernel_makes_the_writer_wait_and_not_the_queue_grow(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        let handle = socket.handle();
        let writer = tokio::spawn(async move {
            AsyncWriteExt::write_all(&mut socket, &pattern(TOO_MUCH)).await.unwrap();
            AsyncWriteExt::flush(&mut socket).await.unwrap();
            socket.shutdown().await.unwrap();
        });
        common::settle().await;
        assert_eq!(handle.writable_length(), 0);
        assert!(handle.bytes_written() < TOO_MUCH as u64);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received == pattern(TOO_MUCH));
        writer.await.unwrap();
    }

    async fn a_writer_waits_for_the_queue_of_others(transport: Transport) {
        let (mut socket, mut peer) = transport.pair_with(Options { high_water_mark: Some(1000), ..Options::default() }).await;
        let queued = pattern(TOO_MUCH);
        socket.write(&queued);
        let handle = socket.handle();
        let writer = tokio::spawn(async move {
            AsyncWriteExt::write_all(&mut socket, &[1; 5000]).await.unwrap();
            socket.shutdown().await.unwrap();
        });
        common::settle().await;
        assert_eq!(handle.writable_length(), TOO_MUCH, "nothing was added above the mark");
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received[..TOO_MUCH] == queued && received[TOO_MUCH..] == [1; 5000]);
        writer.await.unwrap();
    }

    async fn a_blocked_writer_survives_a_handle_that_queues_behind_it(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        let handle = socket.handle();
        let writer = tokio::spawn(async move {
            AsyncWriteExt::write_all(&mut socket, &vec![1; TOO_MUCH]).await.unwrap();
            socket
        });
        common::settle().await;
        let behind = handle.write_with(vec![2; 1000]);
        let mut received = vec![0; TOO_MUCH + 1000];
        peer.read_exact(&mut received).await.unwrap();
        behind.await.unwrap();
        drop(writer.await.unwrap());
        assert_eq!(received.iter().filter(|byte| **byte == 2).count(), 1000);
    }

    async fn what_destroyed_the_socket_is_inside_the_io_error(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        let handle = socket.handle();
        let reader = tokio::spawn(async move {
            let read = socket.read(&mut [0; 10]).await.unwrap_err();
            let written = AsyncWriteExt::write(&mut socket, b"late").await.unwrap_err();
            (read, written)
        });
        common::settle().await;
        handle.destroy_with(Error::new("EVIL", "for a reason"));
        let (read, written) = reader.await.unwrap();
        assert_eq!(Error::from(read).code(), "EVIL");
        assert_eq!(Error::from(written).code(), "ERR_STREAM_DESTROYED");
    }

    async fn writing_after_shutdown_is_an_error(transport: Transport) {
        let (mut socket, _peer) = transport.pair().await;
        socket.shutdown().await.unwrap();
        socket.shutdown().await.unwrap();
        let error = AsyncWriteExt::write(&mut socket, b"late").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(Error::from(error).code(), "ERR_STREAM_WRITE_AFTER_END");
    }

    async fn a_paused_socket_is_not_read(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.pause();
        peer.write("abc");
        let handle = socket.handle();
        let reader = tokio::spawn(async move {
            let mut bytes = [0; 3];
            socket.read_exact(&mut bytes).await.unwrap();
            bytes
        });
        common::settle().await;
        assert!(!reader.is_finished());
        handle.resume();
        assert_eq!(&reader.await.unwrap(), b"abc");
    }

    async fn an_empty_buffer_reads_nothing(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.write("abc");
        common::settle().await;
        std::future::poll_fn(|cx| {
            let mut empty = ReadBuf::new(&mut []);
            tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut socket), cx, &mut empty)
        })
        .await
        .unwrap();
        assert_eq!(socket.bytes_read(), 0);
        drop(peer);
        assert_eq!(rest(&mut socket).await, ["data 3", "end", "finish", "close false"]);
    }
}
