use super::Encoding;

/// Decodes text that arrives in pieces.
///
/// This is Node's `StringDecoder`, the one that `socket.setEncoding()` puts between a socket and its data. A character
/// whose bytes are spread over several pieces comes out whole with the last of them, and so does a group of base64. All
/// pieces together give the text that [`Encoding::decode`] gives for all bytes together.
///
/// As in Node, bytes in UTF-8 that look like the beginning of a character are kept until the bytes after them have
/// come, even where it could already be said that they are wrong.
///
/// Two departures from Node, both in UTF-16, because a `String` cannot hold half of a surrogate pair: a lone surrogate
/// becomes U+FFFD; and a first half always waits for what follows it, which Node lets go when the piece ends in the
/// middle of the second half.
///
/// ```
/// use sockeye::{Encoding, StringDecoder};
///
/// let mut decoder = StringDecoder::new(Encoding::Utf8);
/// assert_eq!(decoder.push(b"5 \xe2\x82"), "5 ");
/// assert_eq!(decoder.push(b"\xac, 6 \xe2"), "€, 6 ");
/// assert_eq!(decoder.finish(), "\u{fffd}");
/// ```
#[derive(Clone, Debug)]
pub struct StringDecoder {
    encoding: Encoding,
    /// The first `waiting` of these are the beginning of something that is not complete.
    held: [u8; LONGEST],
    waiting: u8,
}

/// The most bytes that one character takes in UTF-8 and UTF-16.
const LONGEST: usize = 4;

impl StringDecoder {
    /// Makes a decoder that has seen nothing yet: Node's `new StringDecoder(encoding)`.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, held: [0; LONGEST], waiting: 0 }
    }

    /// The encoding that this decoder was made with: Node's `socket.readableEncoding`.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Takes the next bytes and returns the text that they complete: Node's `stringDecoder.write(bytes)`.
    ///
    /// The text is empty when nothing is complete yet.
    pub fn push(&mut self, mut bytes: &[u8]) -> String {
        let mut text = String::new();
        while self.waiting > 0 {
            let Some((&next, rest)) = bytes.split_first() else { return text };
            bytes = rest;
            self.push_held(next, &mut text, bytes.len());
        }
        let (complete, incomplete) = bytes.split_at(bytes.len() - unfinished(self.encoding, bytes));
        self.encoding.decode_onto(&mut text, complete);
        self.hold(incomplete);
        text
    }

    /// Ends the text and returns what is left of it: Node's `stringDecoder.end()`.
    ///
    /// That is U+FFFD for the beginning of a character, the digits for the rest of a base64 group, and otherwise
    /// nothing. The decoder can then be used for another text.
    pub fn finish(&mut self) -> String {
        let text = self.encoding.decode(&self.held[..usize::from(self.waiting)]);
        self.waiting = 0;
        text
    }

    /// Adds one byte to those that wait and decodes those that it completes. `following` is how many come after it:
    /// room for them is made at once.
    fn push_held(&mut self, next: u8, text: &mut String, following: usize) {
        let mut joined = [0; LONGEST + 1];
        let length = usize::from(self.waiting);
        joined[..length].copy_from_slice(&self.held[..length]);
        joined[length] = next;
        let joined = &joined[..=length];
        let (complete, incomplete) = joined.split_at(joined.len() - unfinished(self.encoding, joined));
        if !complete.is_empty() {
            text.reserve(LONGEST + following);
            self.encoding.decode_onto(text, complete);
        }
        self.hold(incomplete);
    }

    fn hold(&mut self, incomplete: &[u8]) {
        for (held, &byte) in self.held.iter_mut().zip(incomplete) {
            *held = byte;
        }
        self.waiting = incomplete.len() as u8;
    }
}

/// How many bytes at the end must wait for more. Always fewer than [`LONGEST`].
fn unfinished(encoding: Encoding, bytes: &[u8]) -> usize {
    match encoding {
        Encoding::Utf8 => unfinished_utf8(bytes),
        Encoding::Utf16Le => unfinished_utf16(bytes),
        Encoding::Base64 | Encoding::Base64Url => bytes.len() % 3,
        Encoding::Latin1 | Encoding::Ascii | Encoding::Hex => 0,
    }
}

fn unfinished_utf8(bytes: &[u8]) -> usize {
    let mut last = bytes.iter().rev().take(LONGEST).zip(1..);
    let Some((first, present)) = last.find(|(byte, _)| **byte & 0xc0 != 0x80) else { return 0 };
    let announced = match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    if present < announced { present } else { 0 }
}

fn unfinished_utf16(bytes: &[u8]) -> usize {
    let odd = bytes.len() % 2;
    match bytes[..bytes.len() - odd] {
        [.., _, 0xd8..=0xdb] => 2 + odd,
        _ => odd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_whole() {
        use Encoding::*;
        type Case = (Encoding, &'static [&'static [u8]], &'static [&'static str]);
        let table: &[Case] = &[
            (Utf8, &[b"a", b"bc", b""], &["a", "bc", "", ""]),
            (Utf8, &[b"\xf0", b"\x9f", b"\x98", b"\x80a"], &["", "", "", "😀a", ""]),
            (Utf8, &[b"a\xe2", b"\x82\xacb\xc3", b"\xa9"], &["a", "€b", "é", ""]),
            (Utf8, &[b"\xe2", b"\x82"], &["", "", "\u{fffd}"]),
            (Utf8, &[b"\xed", b"\xa0"], &["", "", "\u{fffd}\u{fffd}"]),
            (Utf8, &[b"\xed", b"\xa0\x80", b"A"], &["", "\u{fffd}\u{fffd}\u{fffd}", "A", ""]),
            (Utf8, &[b"\xf5", b"\x80", b"A\x80"], &["", "", "\u{fffd}\u{fffd}A\u{fffd}", ""]),
            (Utf8, &[b"\xc3", b"\xc3", b"\xa9"], &["", "\u{fffd}", "é", ""]),
            (Utf8, &[b"\xf0\x90\x80", b"\xf0"], &["", "\u{fffd}", "\u{fffd}"]),
            (Utf8, &[b"\xff", b"\x80"], &["\u{fffd}", "\u{fffd}", ""]),
            (Utf16Le, &[b"a", b"\0b", b"\0"], &["", "a", "b", ""]),
            (Utf16Le, &[b"\x3d\xd8", b"\0", b"\xdea"], &["", "", "😀", ""]),
            (Utf16Le, &[b"\x3d\xd8\0", b"\xde"], &["", "😀", ""]),
            (Utf16Le, &[b"\x3d\xd8", b"\x3d\xd8", b"\0\xde"], &["", "\u{fffd}", "😀", ""]),
            (Utf16Le, &[b"\x3d\xd8\0"], &["", "\u{fffd}"]),
            (Base64, &[b"a", b"bc", b"d"], &["", "YWJj", "", "ZA=="]),
            (Base64Url, &[b"abcd", b"e", b""], &["YWJj", "", "", "ZGU"]),
            (Latin1, &[b"\xe2", b"\x82"], &["â", "\u{82}", ""]),
            (Ascii, &[b"\xe2", b"\x82"], &["b", "\u{2}", ""]),
            (Hex, &[b"\xe2", b"\x82"], &["e2", "82", ""]),
        ];
        for (encoding, pieces, expected) in table {
            let mut decoder = StringDecoder::new(*encoding);
            let mut texts: Vec<String> = pieces.iter().map(|piece| decoder.push(piece)).collect();
            texts.push(decoder.finish());
            assert_eq!(&texts, expected, "{encoding} {pieces:x?}");
            assert_eq!(decoder.finish(), "", "{encoding} {pieces:x?}: finish() leaves nothing behind");
        }
    }

    #[test]
    fn a_decoder_is_small() {
        assert!(size_of::<StringDecoder>() <= 8);
    }
}
