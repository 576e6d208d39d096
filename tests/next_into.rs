//! Reading into a buffer of the caller's.

mod common;

use common::{Transport, describe, on_every_transport, pattern, settle};
use sockeye::{Event, Listeners, NextInto, Socket};
use tokio::sync::mpsc;

/// What comes next, as text: `bytes 3`, or the event.
async fn next_into(socket: &mut Socket, buffer: &mut [u8]) -> String {
    match socket.next_into(buffer).await {
        Some(NextInto::Data(length)) => format!("bytes {length}"),
        Some(NextInto::Event(event)) => describe(&event),
        None => "nothing".into(),
    }
}

on_every_transport! {
    async fn the_same_buffer_is_filled_again_and_again(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        let sent = pattern(100_000);
        peer.end_with(&sent);
        let mut buffer = [0; 1000];
        let mut received = Vec::new();
        let mut events = Vec::new();
        while let Some(next) = socket.next_into(&mut buffer).await {
            match next {
                NextInto::Data(length) => {
                    assert!((1..=buffer.len()).contains(&length));
                    received.extend_from_slice(&buffer[..length]);
                }
                NextInto::Event(event) => events.push(describe(&event)),
            }
        }
        assert!(received == sent);
        assert_eq!(events, ["end", "finish", "close false"]);
        assert_eq!(socket.bytes_read(), 100_000);
    }

    async fn an_empty_buffer_reads_nothing_and_still_gets_events(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.end_with("abc");
        settle().await;
        socket.end();
        assert_eq!(next_into(&mut socket, &mut []).await, "finish");
        assert_eq!(socket.bytes_read(), 0);
        assert_eq!(next_into(&mut socket, &mut [0; 2]).await, "bytes 2");
        assert_eq!(next_into(&mut socket, &mut [0; 2]).await, "bytes 1");
        assert_eq!(next_into(&mut socket, &mut [0; 2]).await, "end");
        assert_eq!(next_into(&mut socket, &mut [0; 2]).await, "close false");
        assert_eq!(next_into(&mut socket, &mut [0; 2]).await, "nothing");
    }

    async fn both_ways_of_asking_can_take_turns(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.write("abcdef");
        assert_eq!(next_into(&mut socket, &mut [0; 2]).await, "bytes 2");
        assert!(matches!(socket.next().await, Some(Event::Data(chunk)) if chunk == "cdef"));
    }

    async fn a_listener_that_returns_false_pauses(transport: Transport) {
        let (socket, peer) = transport.pair().await;
        let handle = socket.handle();
        let (tell, mut told) = mpsc::unbounded_channel();
        let listeners = Listeners::new()
            .on_data(|_, _| panic!("there is no data beside what is read"))
            .on_read(vec![0; 4], move |_, bytes| {
                tell.send(bytes.to_vec()).unwrap();
                bytes[0] != b'e'
            });
        let task = tokio::spawn(listeners.run(socket));
        peer.end_with("abcdefghij");
        assert_eq!(told.recv().await.unwrap(), b"abcd");
        assert_eq!(told.recv().await.unwrap(), b"efgh");
        settle().await;
        assert!(told.try_recv().is_err());
        assert!(handle.is_paused());
        handle.resume();
        assert_eq!(told.recv().await.unwrap(), b"ij");
        task.await.unwrap();
        assert!(handle.destroyed(), "end and close came as usual");
    }
}
