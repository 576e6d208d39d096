//! The idle timeout, on a clock that stands still until nothing else can happen.

mod common;

use std::time::Duration;

use common::{Transport, next, pattern};
use sockeye::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The next event and when it came, counted from `start`.
async fn next_at(socket: &mut Socket, start: Instant) -> (String, Duration) {
    let event = next(socket).await;
    (event, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn fires_once_for_each_idle_period_and_closes_nothing() {
    let (mut socket, mut peer) = Transport::Memory.pair().await;
    let start = Instant::now();
    assert_eq!(socket.timeout(), None);
    socket.set_timeout(ms(100));
    assert_eq!(socket.timeout(), Some(ms(100)));
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(100)));
    let quiet = tokio::time::timeout(ms(1000), socket.next()).await;
    assert!(quiet.is_err(), "it comes once");

    assert!(socket.write("not dead"));
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(1200)));
    assert_eq!(next(&mut peer).await, "data 8");
    socket.end();
    assert_eq!(next(&mut socket).await, "finish");
}

#[tokio::test(start_paused = true)]
async fn is_put_off_by_reading_and_writing() {
    let (mut socket, peer) = Transport::Memory.pair().await;
    let start = Instant::now();
    socket.set_timeout(ms(100));
    tokio::spawn(async move {
        for _ in 0..3 {
            tokio::time::sleep(ms(60)).await;
            peer.write("ping");
        }
        std::future::pending::<()>().await;
    });
    for _ in 0..3 {
        assert_eq!(next(&mut socket).await, "data 4");
    }
    let handle = socket.handle();
    tokio::spawn(async move {
        tokio::time::sleep(ms(60)).await;
        handle.write("pong");
    });
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(3 * 60 + 60 + 100)));
}

#[tokio::test(start_paused = true)]
async fn comes_after_two_periods_when_the_queue_stalls() {
    let (mut socket, _peer) = Transport::Memory.pair().await;
    let start = Instant::now();
    socket.set_timeout(ms(100));
    assert!(!socket.write(pattern(10 * common::MEMORY_CAPACITY)));
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(200)));
}

#[tokio::test(start_paused = true)]
async fn does_not_come_while_the_queue_makes_progress() {
    let (mut socket, mut peer) = Transport::Memory.pair().await;
    let start = Instant::now();
    socket.set_timeout(ms(100));
    socket.write(pattern(4 * common::MEMORY_CAPACITY));
    tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(ms(90)).await;
            next(&mut peer).await;
        }
        std::future::pending::<()>().await;
    });
    assert_eq!(next_at(&mut socket, start).await, ("drain".into(), ms(3 * 90)));
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(3 * 90 + 100)));
}

#[tokio::test(start_paused = true)]
async fn can_be_changed_and_switched_off_while_somebody_waits() {
    let (mut socket, _peer) = Transport::Memory.pair().await;
    let start = Instant::now();
    socket.set_timeout(ms(10_000));
    let handle = socket.handle();
    tokio::spawn(async move {
        tokio::time::sleep(ms(50)).await;
        handle.set_timeout(ms(100));
    });
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(150)));

    socket.set_timeout(ms(100));
    socket.set_timeout(Duration::ZERO);
    assert_eq!(socket.timeout(), Some(Duration::ZERO));
    assert!(tokio::time::timeout(ms(1000), socket.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn fires_on_a_socket_that_never_was_connected_and_never_on_a_destroyed_one() {
    let mut socket = Socket::new();
    let start = Instant::now();
    socket.set_timeout(ms(20));
    assert_eq!(next_at(&mut socket, start).await, ("timeout".into(), ms(20)));
    socket.set_timeout(ms(20));
    socket.destroy();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(common::rest(&mut socket).await, ["close false"]);
}

#[tokio::test(start_paused = true)]
async fn ends_a_pipe_since_nobody_else_could_see_it() {
    let (mut socket, peer) = Transport::Memory.pair().await;
    socket.set_timeout(ms(100));
    let echo = socket.handle();
    let error = socket.pipe(&echo).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("ETIMEDOUT", std::io::ErrorKind::TimedOut));
    assert!(!socket.destroyed());
    peer.end_with("go on");
    assert_eq!(socket.pipe(&echo).await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn fails_a_read_that_waits_and_leaves_the_socket_open() {
    let (mut socket, peer) = Transport::Memory.pair().await;
    let start = Instant::now();
    socket.set_timeout(ms(100));
    for elapsed in [100, 200] {
        let error = socket.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (std::io::ErrorKind::TimedOut, ms(elapsed)));
        assert_eq!(sockeye::Error::from(error).code(), "ETIMEDOUT");
        // One for each idle period: it takes activity to begin the next.
        assert!(tokio::time::timeout(Duration::ZERO, socket.read(&mut [0; 10])).await.is_err());
        socket.write("x");
    }
    peer.write("late");
    assert_eq!(socket.read(&mut [0; 10]).await.unwrap(), 4);
    assert!(!socket.destroyed());
}

#[tokio::test]
async fn fails_a_write_that_waits_and_leaves_the_socket_open() {
    for transport in [Transport::Memory, Transport::Tcp, Transport::Unix] {
        let (mut socket, mut peer) = transport.pair().await;
        socket.set_timeout(ms(20));
        let error = AsyncWriteExt::write_all(&mut socket, &vec![7; 32 * 1024 * 1024]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{transport:?}");
        assert!(!socket.destroyed());

        // From now on there is a queue.
        assert!(!socket.write(vec![7; 32 * 1024 * 1024]));
        let error = AsyncWriteExt::write_all(&mut socket, b"x").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{transport:?}");
        socket.set_timeout(ms(20));
        assert_eq!(socket.flush().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{transport:?}");
        socket.set_timeout(ms(20));
        assert_eq!(socket.shutdown().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{transport:?}");

        socket.set_timeout(Duration::ZERO);
        let (shut_down, received) = tokio::join!(socket.shutdown(), async {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.map(|_| received.len())
        });
        shut_down.unwrap();
        assert!(received.unwrap() > 32 * 1024 * 1024, "{transport:?}");
    }
}

#[tokio::test]
async fn fails_the_reader_or_the_writer_whoever_waits() {
    let (socket, _peer) = Transport::Tcp.pair().await;
    socket.set_timeout(ms(20));
    let handle = socket.handle();
    let (mut reader, mut writer) = tokio::io::split(socket);
    // The reader waits with a timer of its own, which the writer must not take away.
    let reading = tokio::spawn(async move { reader.read_u8().await.unwrap_err().kind() });
    writer.write_all(b"something").await.unwrap();
    assert_eq!(reading.await.unwrap(), std::io::ErrorKind::TimedOut);
    handle.set_timeout(ms(20));
    let error = writer.write_all(&vec![7; 32 * 1024 * 1024]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn does_not_come_while_data_waits_to_be_read() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let (mut socket, peer) = transport.pair().await;
        peer.write("abc");
        // Until the driver has seen the data, the socket cannot know of it.
        common::settle().await;
        socket.set_timeout(Duration::from_nanos(1));
        assert_eq!(next(&mut socket).await, "data 3");
        assert_eq!(next(&mut socket).await, "timeout");
    }
}
