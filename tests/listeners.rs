//! Closures for events.

mod common;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Transport, bounded, describe, next, on_every_transport, rest, settle};
use sockeye::{ConnectOptions, Error, Event, Listeners, Server, Socket};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// What was called, in order, and with what.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, event: &Event) {
        self.0.lock().unwrap().push(describe(event));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// A closure for every event, each of which notes its call as the event that it stands for.
    fn listeners(&self) -> Listeners {
        let note = || {
            let calls = self.clone();
            move |event: Event| calls.note(&event)
        };
        let (lookup, attempt, failed) = (note(), note(), note());
        let (connect, ready, data, end, drain) = (note(), note(), note(), note(), note());
        let (finish, timeout, error, close) = (note(), note(), note(), note());
        Listeners::new()
            .on_lookup(move |_, found| lookup(Event::Lookup(Box::new(found))))
            .on_connection_attempt(move |_, address| attempt(Event::ConnectionAttempt { address }))
            .on_connection_attempt_failed(move |_, address, error| {
                failed(Event::ConnectionAttemptFailed { address, error });
            })
            .on_connect(move |_| connect(Event::Connect))
            .on_ready(move |_| ready(Event::Ready))
            .on_data(move |_, chunk| data(Event::Data(chunk)))
            .on_end(move |_| end(Event::End))
            .on_drain(move |_| drain(Event::Drain))
            .on_finish(move |_| finish(Event::Finish))
            .on_timeout(move |_| timeout(Event::Timeout))
            .on_error(move |_, reason| error(Event::Error(reason)))
            .on_close(move |_, had_error| close(Event::Close { had_error }))
    }
}

async fn text_of(mut socket: Socket) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

on_every_transport! {
    async fn are_called_in_the_order_of_the_events(transport: Transport) {
        let (mut by_events, peer) = transport.pair().await;
        peer.end_with("abc");
        let events = rest(&mut by_events).await;

        let (by_closures, peer) = transport.pair().await;
        peer.end_with("abc");
        let calls = Calls::default();
        calls.listeners().run(by_closures).await;
        assert_eq!(calls.take(), events);
        assert_eq!(events, ["data 3", "end", "finish", "close false"]);
    }

    async fn answer_through_the_handle(transport: Transport) {
        let (socket, peer) = transport.half_open_pair().await;
        let handle = socket
            .attach(
                Listeners::new()
                    .on_data(|socket, chunk| {
                        socket.write(chunk);
                    })
                    .on_end(|socket| socket.end_with("!")),
            )
            .unwrap();
        peer.end_with("echo");
        assert_eq!(text_of(peer).await, "echo!");
        handle.closed().await;
        assert!(handle.destroyed());
        assert_eq!((handle.bytes_read(), handle.bytes_written()), (4, 5));
    }

    async fn can_write_a_last_word_when_the_peer_has_ended(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        socket
            .attach(Listeners::new().on_end(|socket| {
                socket.write("last word");
            }))
            .unwrap();
        peer.end();
        assert_eq!(text_of(peer).await, "last word");
    }

    async fn keep_what_they_count(transport: Transport) {
        let (socket, mut peer) = transport.half_open_pair().await;
        let mut received = 0;
        let calls = Calls::default();
        let total = calls.clone();
        socket
            .attach(
                Listeners::new()
                    .on_data(move |socket, chunk| {
                        received += chunk.len();
                        socket.write(format!("{received} "));
                    })
                    .on_end(|socket| socket.end())
                    .on_close(move |_, had_error| total.note(&Event::Close { had_error })),
            )
            .unwrap();
        peer.write("12345");
        assert_eq!(next(&mut peer).await, "data 2");
        peer.end_with("67890");
        assert_eq!(text_of(peer).await, "10 ");
        settle().await;
        assert_eq!(calls.take(), ["close false"]);
    }

    async fn hear_of_an_error_and_that_it_was_the_reason(transport: Transport) {
        let (socket, _peer) = transport.pair().await;
        let calls = Calls::default();
        let run = calls.listeners().run(socket_destroyed_with(socket, Error::new("E_MINE", "my reason")));
        run.await;
        assert_eq!(calls.take(), ["error my reason", "close true"]);
    }

    async fn see_close_after_a_destroy_from_elsewhere(transport: Transport) {
        let (socket, _peer) = transport.pair().await;
        let calls = Calls::default();
        let handle = socket.attach(calls.listeners()).unwrap();
        settle().await;
        assert!(calls.take().is_empty());
        handle.destroy();
        settle().await;
        assert_eq!(calls.take(), ["close false"]);
    }

    async fn that_destroy_are_called_once_more_for_close(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let calls = Calls::default();
        let noted = calls.clone();
        let run = calls
            .listeners()
            .on_data(move |socket, chunk| {
                noted.note(&Event::Data(chunk));
                socket.destroy();
            })
            .run(socket);
        peer.end_with("abc");
        run.await;
        assert_eq!(calls.take(), ["data 3", "close false"]);
    }

    async fn that_pause_are_not_called_until_somebody_resumes(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let calls = Calls::default();
        let noted = calls.clone();
        let listeners = calls.listeners().on_data(move |socket, chunk| {
            noted.note(&Event::Data(chunk));
            socket.pause();
        });
        peer.write("abc");
        let handle = socket.attach(listeners).unwrap();
        while handle.bytes_read() == 0 {
            settle().await;
        }
        peer.end_with("de");
        settle().await;
        assert_eq!((calls.take(), handle.is_paused()), (vec!["data 3".to_owned()], true));
        handle.resume();
        while handle.bytes_read() < 5 {
            settle().await;
        }
        handle.resume();
        handle.closed().await;
        settle().await;
        assert_eq!(calls.take(), ["data 2", "end", "finish", "close false"]);
    }

    async fn hear_of_drain(transport: Transport) {
        let (socket, mut peer) = transport.half_open_pair().await;
        const SIZE: usize = 4 * 1024 * 1024;
        assert!(!socket.write(common::pattern(SIZE)));
        socket.attach(Listeners::new().on_drain(|socket| socket.end_with("drained"))).unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received.ends_with(b"drained"));
        assert_eq!(received.len(), SIZE + "drained".len());
    }

    async fn that_are_not_there_do_not_stop_anything(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        let handle = socket.attach(Listeners::new()).unwrap();
        peer.end_with(common::pattern(1024 * 1024));
        let mut events = rest(&mut peer).await;
        events.retain(|event| event != "drain");
        events.sort();
        assert_eq!(events, ["close false", "end", "finish"]);
        assert_eq!(handle.bytes_read(), 1024 * 1024);
    }

    async fn close_the_connection_when_their_future_is_dropped(transport: Transport) {
        let (socket, mut peer) = transport.half_open_pair().await;
        let handle = socket.handle();
        let calls = Calls::default();
        {
            let mut run = std::pin::pin!(calls.listeners().run(socket));
            tokio::select! {
                biased;
                () = &mut run => panic!("nobody has ended"),
                () = settle() => {}
            }
            handle.write("last word");
        }
        assert_eq!(next(&mut peer).await, "data 9");
        assert_eq!(next(&mut peer).await, "end");
        handle.closed().await;
        assert!(calls.take().is_empty());
    }

    async fn close_the_connection_when_one_panics(transport: Transport) {
        let (socket, mut peer) = transport.pair().await;
        let handle = socket.attach(Listeners::new().on_data(|_, _| panic!("a closure panics, on purpose"))).unwrap();
        peer.write("abc");
        assert_eq!(next(&mut peer).await, "end");
        handle.closed().await;
    }
}

fn socket_destroyed_with(socket: Socket, error: Error) -> Socket {
    socket.destroy_with(error);
    socket
}

mod of_a_client {
    use super::*;

    async fn listening() -> Server {
        let server = Server::new().on_connection(|socket| async move {
            socket.end_with("abc");
        });
        server.listen("127.0.0.1:0").await.unwrap();
        server
    }

    #[tokio::test]
    async fn hear_of_connecting_first() {
        bounded(async {
            let server = listening().await;
            let address = server.address().unwrap();
            let calls = Calls::default();
            calls.listeners().run(sockeye::connect(address.clone())).await;
            let attempt = format!("connectionAttempt {address}");
            let expected = [&attempt, "connect", "ready", "data 3", "end", "finish", "close false"];
            assert_eq!(calls.take(), expected);
        })
        .await;
    }

    #[tokio::test]
    async fn hear_of_the_lookup_of_a_name() {
        bounded(async {
            let server = listening().await;
            let calls = Calls::default();
            calls.listeners().run(sockeye::connect(("localhost", server.address().unwrap().port().unwrap()))).await;
            let calls = calls.take();
            assert!(calls[0].starts_with("lookup localhost "), "{calls:?}");
            assert_eq!(calls.last().unwrap(), "close false");
        })
        .await;
    }

    #[tokio::test]
    async fn hear_of_a_refusal() {
        bounded(async {
            // Taken, so that nobody else gets it, and nobody listens.
            let bound = TcpSocket::new_v4().unwrap();
            bound.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = bound.local_addr().unwrap();
            let calls = Calls::default();
            calls.listeners().run(sockeye::connect(address)).await;
            assert_eq!(
                calls.take(),
                [
                    &format!("connectionAttempt {address}"),
                    &format!("connectionAttemptFailed {address} ECONNREFUSED"),
                    &format!("error connect ECONNREFUSED {address}"),
                    "close true",
                ]
            );
        })
        .await;
    }

    #[tokio::test]
    async fn hear_of_a_bad_endpoint() {
        let calls = Calls::default();
        calls.listeners().run(sockeye::connect("localhost:65536")).await;
        assert_eq!(calls.take(), ["error Port should be >= 0 and < 65536. Received 65536.", "close true"]);
    }

    #[tokio::test]
    async fn can_write_when_it_is_connected() {
        bounded(async {
            let mut server = Server::new();
            server.listen("127.0.0.1:0").await.unwrap();
            let client = ConnectOptions::new().connect(server.address().unwrap());
            client.write("first ");
            client.attach(Listeners::new().on_connect(|socket| socket.end_with("second"))).unwrap();
            assert_eq!(text_of(server.accept().await.unwrap()).await, "first second");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn hear_of_a_timeout_each_time_it_is_armed_again() {
        let (socket, peer) = Socket::pair(1024);
        socket.set_timeout(Duration::from_secs(5));
        let calls = Calls::default();
        let noted = calls.clone();
        let listeners = calls.listeners().on_timeout(move |socket| {
            noted.note(&Event::Timeout);
            if noted.0.lock().unwrap().len() < 3 {
                socket.set_timeout(Duration::from_secs(5));
            } else {
                socket.destroy();
            }
        });
        let start = tokio::time::Instant::now();
        listeners.run(socket).await;
        assert_eq!(start.elapsed(), Duration::from_secs(15));
        assert_eq!(calls.take(), ["timeout", "timeout", "timeout", "close false"]);
        drop(peer);
    }
}
