//! Data as text.

mod common;

use common::{Transport, next, on_every_transport, rest, settle};
use sockeye::{Encoding, Event, Listeners};
use tokio::io::AsyncReadExt;

/// All text that is still to come, and how many events it came in.
async fn text(socket: &mut sockeye::Socket) -> (String, usize) {
    let (mut text, mut events) = (String::new(), 0);
    while let Some(event) = socket.next().await {
        match event {
            Event::Text(piece) => {
                assert!(!piece.is_empty());
                text += &piece;
                events += 1;
            }
            Event::Data(chunk) => panic!("bytes in spite of the encoding: {chunk:?}"),
            _ => {}
        }
    }
    (text, events)
}

on_every_transport! {
    async fn a_character_that_is_split_over_chunks_arrives_whole(transport: Transport) {
        let said = "naïve €uro 𝄞 end";
        for encoding in [Encoding::Utf8, Encoding::Utf16Le] {
            let (mut socket, peer) = transport.pair().await;
            socket.set_encoding(encoding);
            let received = tokio::spawn(async move { text(&mut socket).await });
            for byte in encoding.encode(said) {
                peer.write([byte]);
                settle().await;
            }
            peer.end();
            let (text, events) = received.await.unwrap();
            assert_eq!(text, said);
            assert!(events <= said.chars().count(), "at most one event for each character");
        }
    }

    async fn every_encoding_gives_its_text(transport: Transport) {
        let bytes = [0xca, 0xfe, 0xba, 0xbe, 0x41];
        for (encoding, expected) in [
            (Encoding::Utf8, "\u{fffd}\u{fffd}\u{fffd}\u{fffd}A"),
            (Encoding::Latin1, "Êþº¾A"),
            (Encoding::Ascii, "J~:>A"),
            (Encoding::Hex, "cafebabe41"),
            (Encoding::Base64, "yv66vkE="),
            (Encoding::Base64Url, "yv66vkE"),
        ] {
            let (mut socket, peer) = transport.pair().await;
            socket.set_encoding(encoding);
            peer.end_with(bytes);
            assert_eq!(text(&mut socket).await.0, expected, "{encoding}");
        }
    }

    async fn what_is_incomplete_at_the_end_comes_before_end(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        socket.set_encoding(Encoding::Utf8);
        peer.end_with(b"5 \xe2\x82");
        assert_eq!(next(&mut socket).await, "text \"5 \"");
        assert_eq!(next(&mut socket).await, "text \"\u{fffd}\"");
        assert_eq!(next(&mut socket).await, "end");
        assert!(socket.write("a last word still goes out"));
        assert_eq!(rest(&mut socket).await, ["finish", "close false"]);
        drop(peer);
    }

    async fn it_can_begin_in_the_middle(transport: Transport) {
        let (mut socket, peer) = transport.pair().await;
        peer.write("bytes");
        assert_eq!(next(&mut socket).await, "data 5");
        socket.set_encoding(Encoding::Hex);
        peer.write("text");
        assert_eq!(next(&mut socket).await, "text \"74657874\"");
    }

    async fn readers_of_bytes_and_pipes_are_not_concerned(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.set_encoding(Encoding::Hex);
        peer.write("ab");
        let mut bytes = [0; 2];
        socket.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ab");
        peer.end_with("piped");
        let echo = socket.handle();
        socket.pipe(&echo).await.unwrap();
        let mut piped = String::new();
        peer.read_to_string(&mut piped).await.unwrap();
        assert_eq!(piped, "piped");
    }

    async fn a_closure_gets_it_too(transport: Transport) {
        let (mut socket, mut peer) = transport.pair().await;
        socket.set_encoding(Encoding::Base64);
        let task = tokio::spawn(
            Listeners::new()
                .on_text(|socket, text| {
                    socket.write(Encoding::Base64.encode(&text));
                    socket.write(text);
                })
                .run(socket),
        );
        peer.write("hello!");
        let mut received = [0; 14];
        peer.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"hello!aGVsbG8h");
        peer.end();
        task.await.unwrap();
    }
}
