//! The writes of one turn: the first leaves at once, small ones that follow leave together, and nobody can tell.

mod common;

use std::io::Read;
use std::task::{Context, Waker};

use common::{bounded, next, pattern, rest};
use futures_util::FutureExt;
use sockeye::{Event, Socket, SocketHandle, SocketOptions};

/// What has arrived by now.
fn arrived(peer: &mut Socket) -> String {
    match peer.next().now_or_never() {
        Some(Some(Event::Data(chunk))) => String::from_utf8(chunk.to_vec()).unwrap(),
        Some(event) => panic!("{event:?}"),
        None => String::new(),
    }
}

fn write_each(socket: &Socket, pieces: &[&str]) {
    for piece in pieces {
        assert!(socket.write(*piece));
    }
}

#[tokio::test]
async fn the_first_leaves_at_once_and_the_rest_together_when_the_turn_ends() {
    let (socket, mut peer) = Socket::pair(1024);
    for _ in 0..3 {
        write_each(&socket, &["one ", "two ", "three"]);
        assert_eq!(arrived(&mut peer), "one ");
        assert_eq!(arrived(&mut peer), "");
        tokio::task::yield_now().await;
        assert_eq!(arrived(&mut peer), "two three");
    }
}

#[tokio::test]
async fn the_turn_ends_when_the_consumer_looks() {
    let (mut socket, mut peer) = Socket::pair(1024);
    for _ in 0..3 {
        write_each(&socket, &["one ", "two ", "three"]);
        assert!(socket.next().now_or_never().is_none());
        assert_eq!(arrived(&mut peer), "one two three");
    }
}

/// A consumer that waits has no turn that could end.
#[tokio::test]
async fn while_the_consumer_waits_each_leaves_at_once() {
    let (mut socket, mut peer) = Socket::pair(1024);
    assert!(socket.next().now_or_never().is_none());
    write_each(&socket, &["one ", "two ", "three"]);
    assert_eq!(arrived(&mut peer), "one two three");
}

#[test]
fn without_a_runtime_each_leaves_at_once() {
    let (socket, mut peer) = Socket::pair(1024);
    write_each(&socket, &["one ", "two ", "three"]);
    assert_eq!(arrived(&mut peer), "one two three");
}

#[tokio::test]
async fn whoever_looks_at_the_socket_finds_everything_written() {
    type Look = fn(&SocketHandle);
    let looks: [(&str, Look); 10] = [
        ("bytes_written", |socket| assert_eq!(socket.bytes_written(), 13)),
        ("writable_length", |socket| assert_eq!(socket.writable_length(), 0)),
        ("ready_state", |socket| assert_eq!(socket.ready_state(), sockeye::ReadyState::Open)),
        ("drained", |socket| drop(socket.drained())),
        ("cork", |socket| socket.cork()),
        ("pause", |socket| socket.pause()),
        ("write_with", |socket| drop(socket.write_with(""))),
        ("empty write", |socket| assert!(socket.write(""))),
        ("set_no_delay", |socket| socket.set_no_delay(true)),
        ("destroyed", |socket| assert!(!socket.destroyed())),
    ];
    for (name, look) in looks {
        let (socket, mut peer) = Socket::pair(1024);
        write_each(&socket, &["one ", "two ", "three"]);
        assert_eq!(arrived(&mut peer), "one ", "{name}");
        look(&socket);
        assert_eq!(arrived(&mut peer), "two three", "{name}");
    }
}

#[tokio::test]
async fn what_ends_the_connection_comes_behind_them() {
    type End = fn(Socket);
    let ends: [(&str, End); 6] = [
        ("end", |socket| socket.end()),
        ("end_with", |socket| socket.end_with("")),
        ("destroy", |socket| socket.destroy()),
        ("destroy_with", |socket| socket.destroy_with(sockeye::Error::new("E", "e"))),
        ("destroy_soon", |socket| socket.destroy_soon()),
        ("drop", drop),
    ];
    for (name, end) in ends {
        bounded(async {
            let (socket, mut peer) = Socket::pair(1024);
            write_each(&socket, &["one ", "two ", "three"]);
            end(socket);
            assert_eq!(rest(&mut peer).await[..2], ["data 13".to_owned(), "end".to_owned()], "{name}");
        })
        .await;
    }
}

#[tokio::test]
async fn order_holds_between_small_and_large_ones() {
    bounded(async {
        let (socket, mut peer) = Socket::pair(1024);
        let mut expected = Vec::new();
        for length in [1, 10, 100_000, 10, 5_000, 1, 0, 1, 4_095, 4_096, 3, 3, 30_000, 2] {
            let piece = pattern(length);
            expected.extend_from_slice(&piece);
            socket.write(piece);
        }
        socket.end();
        let mut received = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut received).await.unwrap();
        assert!(received == expected);
    })
    .await;
}

/// No more than 16 KiB wait for the end of a turn, and what the kernel then refuses counts.
#[tokio::test]
async fn the_high_water_mark_holds_within_a_turn() {
    bounded(async {
        let options = SocketOptions::new().high_water_mark(32 * 1024);
        let (mut socket, mut peer) = Socket::pair_with_options(1024, options, SocketOptions::new());
        let piece = [7; 1000];
        let accepted = (0..1000).take_while(|_| socket.write(piece)).count();
        assert!((30..60).contains(&accepted), "{accepted}");
        assert!(socket.writable_length() >= 32 * 1024);
        let reader = tokio::spawn(async move {
            let mut count = 0;
            while let Some(event) = peer.next().await {
                if let Event::Data(chunk) = event {
                    count += chunk.len();
                }
            }
            count
        });
        assert_eq!(next(&mut socket).await, "drain");
        socket.end();
        assert_eq!(reader.await.unwrap(), (accepted + 1) * 1000);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_gone_is_told_as_an_error() {
    bounded(async {
        let (mut socket, peer) = Socket::pair(1024);
        write_each(&socket, &["one ", "two "]);
        peer.reset_and_destroy().unwrap();
        drop(peer);
        let events = rest(&mut socket).await;
        assert!(events.iter().any(|event| event.starts_with("error")), "{events:?}");
        assert_eq!(events.last().unwrap(), "close true");
    })
    .await;
}

/// The end of a turn that never comes, because the runtime ends, is the end of the runtime.
#[test]
fn the_end_of_the_runtime_ends_the_turn() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = runtime.block_on(async {
        let socket = sockeye::connect(listener.local_addr().unwrap()).await.unwrap();
        write_each(&socket, &["one ", "two ", "three"]);
        socket
    });
    let (mut stream, _) = listener.accept().unwrap();
    drop(runtime);
    let mut text = [0; 13];
    stream.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"one two three");
    drop(socket);
}

#[tokio::test]
async fn a_task_that_never_looks_still_gets_its_writes_out() {
    bounded(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = sockeye::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let reader = tokio::task::spawn_blocking(move || {
            let mut text = [0; 13];
            stream.read_exact(&mut text).map(|()| text)
        });
        write_each(&socket, &["one ", "two ", "three"]);
        assert_eq!(&reader.await.unwrap().unwrap(), b"one two three");
    })
    .await;
}

#[tokio::test]
async fn futures_of_writes_become_ready_in_order() {
    bounded(async {
        let (socket, _peer) = Socket::pair(1024);
        let mut first = Box::pin(socket.write_with("one "));
        write_each(&socket, &["two "]);
        let mut last = Box::pin(socket.write_with("three"));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.poll_unpin(&mut cx).is_ready());
        assert!(last.poll_unpin(&mut cx).is_ready());
    })
    .await;
}
