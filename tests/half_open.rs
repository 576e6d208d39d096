//! Who ends when, with and without `allow_half_open`.

mod common;

use common::{Transport, next, on_every_transport, rest};
use sockeye::ReadyState;
use tokio::io::AsyncReadExt;

on_every_transport! {
    async fn off_the_peers_end_ends_both_sides(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        peer.end_with("abc");
        assert_eq!(rest(&mut socket).await, ["data 3", "end", "finish", "close false"]);
        assert_eq!(rest(&mut peer).await, ["finish", "end", "close false"]);
    }

    async fn off_a_last_word_after_the_peers_end_goes_out(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        peer.end();
        assert_eq!(next(&mut socket).await, "end");
        assert_eq!(socket.ready_state(), ReadyState::WriteOnly);
        assert!(!socket.destroyed());
        assert!(socket.write("last word"));
        assert_eq!(next(&mut socket).await, "finish");
        assert!(!socket.destroyed());
        assert_eq!(next(&mut socket).await, "close false");

        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last word");
    }

    async fn off_a_later_write_is_an_error(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end();
        assert_eq!(next(&mut socket).await, "end");
        assert_eq!(next(&mut socket).await, "finish");
        assert_eq!(socket.try_write("late").unwrap_err().code(), "EPIPE");
        assert!(!socket.write("late"));
        assert_eq!(rest(&mut socket).await, ["error This socket has been ended by the other party", "close true"]);
    }

    async fn on_nothing_closes_until_end_is_called(transport: Transport) {
        let (mut socket, mut peer) = transport.half_open_pair().await;
        peer.end_with("question");
        assert_eq!(next(&mut socket).await, "data 8");
        assert_eq!(next(&mut socket).await, "end");
        assert_eq!(socket.ready_state(), ReadyState::WriteOnly);
        assert!(common::is_quiet(&mut socket).await);
        socket.write("answer");
        assert!(common::is_quiet(&mut socket).await);
        socket.end();
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);

        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    }

    async fn the_one_who_ends_first_still_reads(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.end_with("bye");
        assert_eq!(socket.ready_state(), ReadyState::ReadOnly);
        assert_eq!(next(&mut socket).await, "finish");
        peer.end_with("see you");
        assert_eq!(rest(&mut socket).await, ["data 7", "end", "close false"]);
        assert_eq!(socket.ready_state(), ReadyState::Closed);
    }

    async fn a_paused_socket_does_not_see_the_end(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.pause();
        peer.end_with("abc");
        assert!(common::is_quiet(&mut socket).await);
        socket.end();
        assert_eq!(next(&mut socket).await, "finish");
        assert!(common::is_quiet(&mut socket).await);
        assert_eq!((socket.bytes_read(), socket.destroyed()), (0, false));
        socket.resume();
        assert_eq!(rest(&mut socket).await, ["data 3", "end", "close false"]);
    }

    async fn a_hundred_megabytes_come_back_after_the_end(transport: Transport) {
        const SIZE: usize = 100 * 1024 * 1024;
        let (socket, mut peer) = transport.half_open_pair().await;
        // The peer reads nothing before it has ended, so everything has to wait in the socket that echoes.
        let echo = tokio::spawn(async move {
            let mut socket = socket;
            let mut events = Vec::new();
            while let Some(event) = socket.next().await {
                match &event {
                    sockeye::Event::Data(chunk) => {
                        socket.write(chunk);
                        continue;
                    }
                    sockeye::Event::End => socket.end(),
                    _ => {}
                }
                events.push(common::describe(&event));
            }
            events
        });
        let sent = common::pattern(1024 * 1024);
        for _ in 0..SIZE / sent.len() {
            peer.write_with(&sent).await.unwrap();
        }
        peer.end();
        let mut received = vec![0; sent.len()];
        for _ in 0..SIZE / sent.len() {
            peer.read_exact(&mut received).await.unwrap();
            assert!(received == sent);
        }
        assert_eq!(peer.read(&mut received).await.unwrap(), 0);
        drop(peer);
        let events = echo.await.unwrap();
        let without_drain: Vec<_> = events.iter().filter(|event| *event != "drain").collect();
        assert_eq!(without_drain, ["end", "finish", "close false"]);
    }
}
