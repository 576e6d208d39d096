//! Data that arrives as text.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use common::{Transport, bounded, describe, next, on_every_transport, rest};
use sockeye::{Encoding, Event, Listeners, NextInto, Socket};
use tokio::io::AsyncReadExt;

/// An encoding, what is sent byte by byte, the text that each byte completes, and the text that the end completes.
type Case = (Encoding, &'static [u8], &'static [&'static str], &'static str);

const CASES: [Case; 12] = [
    (Encoding::Utf8, "aé€😀".as_bytes(), &["a", "", "é", "", "", "€", "", "", "", "😀"], ""),
    (Encoding::Utf8, b"a\xe2\x82", &["a", "", ""], "\u{fffd}"),
    (Encoding::Utf8, b"\xff\xc3\xc3\xa9", &["\u{fffd}", "", "\u{fffd}", "é"], ""),
    (Encoding::Utf16Le, b"a\0\x3d\xd8\0\xde\xe9\0", &["", "a", "", "", "", "😀", "", "é"], ""),
    (Encoding::Utf16Le, b"a\0b", &["", "a", ""], ""),
    (Encoding::Utf16Le, b"a\0\x3d\xd8", &["", "a", "", ""], "\u{fffd}"),
    (Encoding::Latin1, b"a\xe9\xff", &["a", "é", "ÿ"], ""),
    (Encoding::Ascii, b"a\xe9\x80", &["a", "i", "\0"], ""),
    (Encoding::Hex, b"\xca\xfe\x07", &["ca", "fe", "07"], ""),
    (Encoding::Base64, b"hello", &["", "", "aGVs", "", ""], "bG8="),
    (Encoding::Base64, b"\xfb\xff\xbf", &["", "", "+/+/"], ""),
    (Encoding::Base64Url, b"\xfb\xff\xbf\xfb", &["", "", "-_-_", ""], "-w"),
];

const ALL: [Encoding; 7] = [
    Encoding::Utf8,
    Encoding::Utf16Le,
    Encoding::Latin1,
    Encoding::Ascii,
    Encoding::Hex,
    Encoding::Base64,
    Encoding::Base64Url,
];

/// The events that come until the socket has read so many bytes and has nothing more to tell.
async fn until_read(socket: &mut Socket, total: u64) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let polled = pin!(socket.next()).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(Some(event)) => events.push(describe(&event)),
            Poll::Ready(None) => panic!("closed after {events:?}"),
            Poll::Pending if socket.bytes_read() == total => return events,
            Poll::Pending => tokio::task::yield_now().await,
        }
    }
}

fn text(text: &str) -> String {
    format!("text {text:?}")
}

on_every_transport! {
    async fn what_is_split_over_chunks_arrives_whole_and_the_rest_before_the_end(transport: Transport) {
        for (encoding, bytes, texts, last) in CASES {
            let (mut socket, peer) = transport.pair().await;
            socket.set_encoding(encoding);
            for (index, (byte, completed)) in bytes.iter().zip(texts).enumerate() {
                peer.write([*byte]);
                let events = until_read(&mut socket, index as u64 + 1).await;
                let expected: Vec<_> = [*completed].into_iter().filter(|text| !text.is_empty()).map(text).collect();
                assert_eq!(events, expected, "{encoding}, byte {index} of {bytes:x?}");
            }
            peer.end();
            let mut expected: Vec<_> = [last].into_iter().filter(|text| !text.is_empty()).map(text).collect();
            expected.extend(["end", "finish", "close false"].map(str::to_owned));
            assert_eq!(rest(&mut socket).await, expected, "{encoding} {bytes:x?}");
            assert_eq!(socket.bytes_read(), bytes.len() as u64);
        }
    }

    async fn all_pieces_together_are_the_text(transport: Transport) {
        let sent = common::pattern(300_000);
        for encoding in ALL {
            let (mut socket, peer) = transport.pair().await;
            socket.set_encoding(encoding);
            peer.end_with(&sent);
            let mut received = String::new();
            while let Some(event) = socket.next().await {
                match event {
                    Event::Text(text) => {
                        assert!(!text.is_empty());
                        received += &text;
                    }
                    Event::Data(_) => panic!("bytes in place of text"),
                    _ => {}
                }
            }
            assert!(received == encoding.decode(&sent), "{encoding}");
            assert_eq!(socket.bytes_read(), sent.len() as u64);
        }
    }

    async fn what_an_encoding_encodes_arrives_as_the_same_text(transport: Transport) {
        for (encoding, sent) in [
            (Encoding::Utf8, "aé€😀"),
            (Encoding::Utf16Le, "aé€😀"),
            (Encoding::Latin1, "aéÿ"),
            (Encoding::Ascii, "abc"),
            (Encoding::Hex, "cafe07"),
            (Encoding::Base64, "+/+/bG8="),
            (Encoding::Base64Url, "-_-_bG8"),
        ] {
            let (mut socket, peer) = transport.pair().await;
            socket.set_encoding(encoding);
            peer.write(encoding.encode(sent));
            peer.end();
            let mut received = String::new();
            while let Some(event) = socket.next().await {
                if let Event::Text(text) = event {
                    received += &text;
                }
            }
            assert_eq!(received, sent, "{encoding}");
        }
    }

    async fn can_be_set_and_changed_in_the_middle(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.write("abc");
        assert_eq!(next(&mut socket).await, "data 3");
        socket.set_encoding(Encoding::Hex);
        peer.write("abc");
        assert_eq!(next(&mut socket).await, text("616263"));
        socket.set_encoding(Encoding::Utf8);
        peer.write("abc");
        assert_eq!(next(&mut socket).await, text("abc"));
        assert_eq!(socket.bytes_read(), 9);
    }

    async fn other_events_keep_their_places(transport: Transport) {
        let (mut socket, peer) = transport.half_open_pair().await;
        socket.set_encoding(Encoding::Utf8);
        peer.write(b"a\xe2\x82");
        assert_eq!(next(&mut socket).await, text("a"));
        socket.end();
        assert_eq!(next(&mut socket).await, "finish");
        peer.end();
        assert_eq!(rest(&mut socket).await, [&text("\u{fffd}"), "end", "close false"]);
    }

    async fn without_half_open_a_last_word_after_the_rest_and_the_end_goes_out(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.set_encoding(Encoding::Utf8);
        peer.end_with(b"\xe2\x82");
        assert_eq!(next(&mut socket).await, text("\u{fffd}"));
        assert!(socket.write("after the rest, "));
        assert_eq!(next(&mut socket).await, "end");
        assert!(socket.write("after the end"));
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
        let mut received = String::new();
        peer.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "after the rest, after the end");
    }

    async fn a_destroyed_socket_tells_no_rest(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.set_encoding(Encoding::Utf8);
        peer.write(b"a\xe2\x82");
        assert_eq!(next(&mut socket).await, text("a"));
        socket.destroy();
        assert_eq!(rest(&mut socket).await, ["close false"]);
    }

    async fn a_pause_holds_text_and_rest_back(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.set_encoding(Encoding::Base64);
        socket.pause();
        peer.end_with("hello");
        assert!(common::is_quiet(&mut socket).await);
        assert_eq!(socket.bytes_read(), 0);
        socket.resume();
        let expected = [&text("aGVs"), &text("bG8="), "end", "finish", "close false"];
        assert_eq!(rest(&mut socket).await, expected);
    }

    async fn does_not_concern_a_pipe(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.set_encoding(Encoding::Hex);
        peer.end_with(b"a\xe2\x82");
        let echo = socket.handle();
        assert_eq!(socket.pipe(&echo).await.unwrap(), 3);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"a\xe2\x82");
    }

    async fn does_not_concern_readers_of_bytes(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.set_encoding(Encoding::Hex);
        peer.end_with(b"a\xe2\x82");
        let mut received = Vec::new();
        socket.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"a\xe2\x82");
    }

    async fn does_not_concern_reading_into_a_buffer(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.set_encoding(Encoding::Hex);
        peer.end_with(b"a\xe2\x82");
        let mut buffer = [0; 16];
        let Some(NextInto::Data(length)) = socket.next_into(&mut buffer).await else { panic!("no data") };
        assert_eq!(&buffer[..length], b"a\xe2\x82");
        assert_eq!(rest(&mut socket).await, ["end", "finish", "close false"]);
    }

    async fn the_end_behind_a_rest_reaches_whoever_reads_on(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.set_encoding(Encoding::Utf8);
        peer.end_with(b"\xe2\x82");
        assert_eq!(next(&mut socket).await, text("\u{fffd}"));
        let Some(NextInto::Event(event)) = socket.next_into(&mut [0; 16]).await else { panic!("no event") };
        assert_eq!(describe(&event), "end");
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
    }

    async fn a_pipe_behind_a_rest_passes_the_end_on(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        let (destination, mut other) = transport.pair().await;
        socket.set_encoding(Encoding::Utf8);
        peer.end_with(b"\xe2\x82");
        assert_eq!(next(&mut socket).await, text("\u{fffd}"));
        assert_eq!(socket.pipe(&destination).await.unwrap(), 0);
        assert!(destination.try_write("late").is_err(), "the destination was ended");
        assert_eq!(next(&mut other).await, "end");
    }

    async fn arrives_at_on_text(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.set_encoding(Encoding::Utf8);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (texts, ends) = (log.clone(), log.clone());
        let handle = socket
            .attach(
                Listeners::new()
                    .on_data(|_, _| panic!("bytes in place of text"))
                    .on_text(move |socket, text| {
                        texts.lock().unwrap().push(text);
                        socket.write("thanks");
                    })
                    .on_end(move |_| ends.lock().unwrap().push("end".to_owned())),
            )
            .unwrap();
        peer.write("h\u{e9}");
        assert_eq!(next(&mut peer).await, "data 6");
        peer.end_with(b"\xe2\x82");
        handle.closed().await;
        assert_eq!(*log.lock().unwrap(), ["hé", "\u{fffd}", "end"]);
    }
}

#[tokio::test]
async fn without_an_encoding_on_text_is_not_called() {
    bounded(async {
        let (socket, peer) = Socket::pair(1024);
        let data = Arc::new(Mutex::new(Vec::new()));
        let log = data.clone();
        let handle = socket
            .attach(
                Listeners::new()
                    .on_text(|_, _| panic!("text without an encoding"))
                    .on_data(move |_, chunk| log.lock().unwrap().extend_from_slice(&chunk)),
            )
            .unwrap();
        peer.end_with("bytes");
        handle.closed().await;
        assert_eq!(*data.lock().unwrap(), b"bytes");
    })
    .await;
}
