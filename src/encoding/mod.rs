//! Text as bytes and back, in each of Node's encodings.

mod string_decoder;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::Error;

pub use string_decoder::StringDecoder;

/// How text is written as bytes and how bytes are read as text.
///
/// This is the `encoding` argument of Node's `socket.write()` and `socket.setEncoding()`. As in Node, the first four
/// write text down as bytes, while hex and the two base64s write bytes down as text.
/// The default is UTF-8.
///
/// An encoding is parsed from any of Node's names for it, in upper or lower case.
///
/// # Errors
///
/// Parsing any other name, the empty one included, fails with `ERR_UNKNOWN_ENCODING`. (Node takes an empty name for one
/// that was not given; here that is [`Encoding::default`].)
///
/// ```
/// use sockeye::Encoding;
///
/// let encoding: Encoding = "Binary".parse()?;
/// assert_eq!(encoding, Encoding::Latin1);
/// assert_eq!(encoding.to_string(), "latin1");
///
/// let error = "utf-7".parse::<Encoding>().unwrap_err();
/// assert_eq!((error.code(), error.message()), ("ERR_UNKNOWN_ENCODING", "Unknown encoding: utf-7"));
/// # Ok::<(), sockeye::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// UTF-8: Node's `'utf8'` and `'utf-8'`.
    #[default]
    Utf8,
    /// UTF-16, little endian, without a byte order mark: Node's `'utf16le'`, `'utf-16le'`, `'ucs2'` and `'ucs-2'`.
    Utf16Le,
    /// One byte for each of the characters U+0000 to U+00FF: Node's `'latin1'` and `'binary'`.
    Latin1,
    /// Seven bits for each character: Node's `'ascii'`. It differs from [`Latin1`](Encoding::Latin1) in decoding only,
    /// where the high bit of each byte is ignored.
    Ascii,
    /// Two lower-case digits for each byte: Node's `'hex'`.
    Hex,
    /// Base64 with `+`, `/` and padding: Node's `'base64'`.
    Base64,
    /// Base64 with `-`, `_` and no padding: Node's `'base64url'`.
    Base64Url,
}

/// All names, the canonical one of each encoding first.
const NAMES: [(&str, Encoding); 12] = [
    ("utf8", Encoding::Utf8),
    ("utf-8", Encoding::Utf8),
    ("utf16le", Encoding::Utf16Le),
    ("utf-16le", Encoding::Utf16Le),
    ("ucs2", Encoding::Utf16Le),
    ("ucs-2", Encoding::Utf16Le),
    ("latin1", Encoding::Latin1),
    ("binary", Encoding::Latin1),
    ("ascii", Encoding::Ascii),
    ("hex", Encoding::Hex),
    ("base64", Encoding::Base64),
    ("base64url", Encoding::Base64Url),
];

impl Encoding {
    /// The bytes that `text` stands for: Node's `Buffer.from(text, encoding)`.
    ///
    /// This never fails. What an encoding cannot express is treated as Node treats it:
    ///
    /// - Latin-1 and ASCII keep the low byte of each UTF-16 code unit, so `"é"` is `E9` and `"Ł"` (U+0141) is `41`.
    /// - Hex stops before the first pair that is not two hex digits; a single last digit is dropped.
    /// - Both base64s accept both alphabets, skip every other character, stop at the first `=` and drop a single last
    ///   digit.
    /// - In hex and base64, too, only the low byte of a UTF-16 code unit counts: `"Ł"` is read as `"A"`.
    ///
    /// ```
    /// use sockeye::Encoding;
    ///
    /// assert_eq!(Encoding::Utf16Le.encode("hi"), &b"h\0i\0"[..]);
    /// assert_eq!(Encoding::Hex.encode("cafe0x"), &[0xca, 0xfe][..]);
    /// assert_eq!(Encoding::Base64.encode("aGVs\r\nbG8"), &b"hello"[..]);
    /// ```
    pub fn encode(self, text: &str) -> Bytes {
        match self {
            Self::Utf8 => Bytes::copy_from_slice(text.as_bytes()),
            Self::Latin1 | Self::Ascii if text.is_ascii() => Bytes::copy_from_slice(text.as_bytes()),
            Self::Latin1 | Self::Ascii => low_bytes(text).collect(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Hex => bytes_from_hex(text).into(),
            Self::Base64 | Self::Base64Url => bytes_from_base64(text).into(),
        }
    }

    /// The text that `bytes` stand for: Node's `buffer.toString(encoding)`.
    ///
    /// This never fails. In UTF-8, each sequence that is cut short or wrong becomes one U+FFFD, as far as it could have
    /// been the beginning of a character; in UTF-16, a single last byte is dropped. ASCII ignores the high bit of each
    /// byte. To decode text that arrives in pieces, use a [`StringDecoder`].
    ///
    /// One departure from Node: a `String` cannot hold half of a surrogate pair, so a lone surrogate in UTF-16 becomes
    /// U+FFFD.
    ///
    /// ```
    /// use sockeye::Encoding;
    ///
    /// assert_eq!(Encoding::Utf8.decode(b"caf\xc3\xa9 \xe2\x82!"), "café \u{fffd}!");
    /// assert_eq!(Encoding::Base64.decode(b"hello"), "aGVsbG8=");
    /// ```
    pub fn decode(self, bytes: &[u8]) -> String {
        let mut text = String::new();
        self.decode_onto(&mut text, bytes);
        text
    }

    fn decode_onto(self, text: &mut String, bytes: &[u8]) {
        match self {
            Self::Utf8 => append_utf8(text, bytes),
            Self::Latin1 | Self::Ascii if bytes.is_ascii() => append_utf8(text, bytes),
            Self::Latin1 => text.extend(bytes.iter().map(|&byte| char::from(byte))),
            Self::Ascii => text.extend(bytes.iter().map(|&byte| char::from(byte & 0x7f))),
            Self::Utf16Le => append_utf16(text, bytes),
            Self::Hex => append_hex(text, bytes),
            Self::Base64 => append_base64(text, bytes, BASE64, true),
            Self::Base64Url => append_base64(text, bytes, BASE64_URL, false),
        }
    }
}

impl FromStr for Encoding {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|&(_, encoding)| encoding).ok_or_else(|| Error::unknown_encoding(name))
    }
}

/// Writes Node's canonical name, such as `utf16le`.
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Utf8 => "utf8",
            Self::Utf16Le => "utf16le",
            Self::Latin1 => "latin1",
            Self::Ascii => "ascii",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        })
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &[u8; 16] = b"0123456789abcdef";

fn low_bytes(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.encode_utf16().map(|unit| unit.to_le_bytes()[0])
}

fn bytes_from_hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut digits = low_bytes(text).map(|digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    });
    while let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) {
        bytes.push(high << 4 | low);
    }
    bytes
}

fn bytes_from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0_u32;
    let mut waiting = 0;
    for digit in low_bytes(text).take_while(|&digit| digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        waiting += 6;
        if waiting >= 8 {
            waiting -= 8;
            bytes.push((bits >> waiting) as u8);
        }
    }
    bytes
}

fn append_utf8(text: &mut String, bytes: &[u8]) {
    // Checking the whole at once is several times faster than walking it in chunks, and nearly always enough.
    if let Ok(valid) = std::str::from_utf8(bytes) {
        return text.push_str(valid);
    }
    text.reserve(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

fn append_utf16(text: &mut String, bytes: &[u8]) {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    text.extend(char::decode_utf16(units).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

fn append_hex(text: &mut String, bytes: &[u8]) {
    text.reserve(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

fn append_base64(text: &mut String, bytes: &[u8], alphabet: &[u8; 64], padded: bool) {
    text.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let missing = 3 - group.len();
        let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * missing);
        for digit in 0..=group.len() {
            text.push(char::from(alphabet[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
        if padded {
            text.extend(std::iter::repeat_n('=', missing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_nodes() {
        for (name, encoding) in NAMES {
            assert_eq!(name.parse::<Encoding>().unwrap(), encoding);
            assert_eq!(name.to_uppercase().parse::<Encoding>().unwrap(), encoding);
            assert_eq!(encoding.to_string().parse::<Encoding>().unwrap(), encoding);
        }
        let canonical = ["UTF-8", "UCS2", "Binary", "ASCII", "hex", "base64", "base64URL"]
            .map(|name| name.parse::<Encoding>().unwrap().to_string());
        assert_eq!(canonical, ["utf8", "utf16le", "latin1", "ascii", "hex", "base64", "base64url"]);
        assert_eq!(format!("{:>6}", Encoding::Hex), "   hex");
    }

    #[test]
    fn other_names_are_unknown() {
        for name in ["", "utf 8", " utf8", "utf16", "utf-16", "latin-1", "us-ascii", "buffer", "base-64", "X\"y"] {
            let error = name.parse::<Encoding>().unwrap_err();
            assert_eq!(error.code(), "ERR_UNKNOWN_ENCODING");
            assert_eq!(error.message(), format!("Unknown encoding: {name}"));
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn text_becomes_bytes() {
        use Encoding::*;
        for (encoding, text, bytes) in [
            (Utf8, "é😀", &b"\xc3\xa9\xf0\x9f\x98\x80"[..]),
            (Utf16Le, "é😀", b"\xe9\0\x3d\xd8\0\xde"),
            (Latin1, "aéŁ😀", b"a\xe9\x41\x3d\0"),
            (Ascii, "aéŁ😀", b"a\xe9\x41\x3d\0"),
            (Hex, "", b""),
            (Hex, "ABcd", b"\xab\xcd"),
            (Hex, "abc", b"\xab"),
            (Hex, "abzz12", b"\xab"),
            (Hex, "ab c", b"\xab"),
            (Hex, "abcz12", b"\xab"),
            (Hex, "Łł", b"\xab"),
            (Hex, "12😀", b"\x12"),
        ] {
            assert_eq!(encoding.encode(text), bytes, "{encoding} {text:?}");
        }
    }

    #[test]
    fn base64_is_read_leniently() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("YQ==", b"a"),
            ("YQ", b"a"),
            ("YR", b"a"),
            ("Y", b""),
            ("YWI", b"ab"),
            ("YWJjY", b"abc"),
            ("Y*W\r\nJé j", b"abc"),
            ("YQ==YQ==", b"a"),
            ("=YWJj", b""),
            ("Y=Q=", b""),
            ("Y Q = =", b"a"),
            ("+/-_", b"\xfb\xff\xbf"),
            ("YWJŁ", b"ab\x40"),
            ("YW😀JjYWJj", b"a"),
        ] {
            assert_eq!(Encoding::Base64.encode(text), bytes, "{text:?}");
            assert_eq!(Encoding::Base64Url.encode(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn bytes_become_text() {
        use Encoding::*;
        for (encoding, bytes, text) in [
            (Utf8, &b"\xef\xbb\xbf\xc3\xa9"[..], "\u{feff}é"),
            (Utf8, b"\xe2\x82a", "\u{fffd}a"),
            (Utf8, b"\xc0\x80", "\u{fffd}\u{fffd}"),
            (Utf8, b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
            (Utf8, b"\xf0\x90\x80\xf0", "\u{fffd}\u{fffd}"),
            (Utf16Le, b"\x3d\xd8\0\xdea", "😀"),
            (Utf16Le, b"\x3d\xd8a\0\0\xde", "\u{fffd}a\u{fffd}"),
            (Utf16Le, b"\x3d\xd8\x3d\xd8\0\xde", "\u{fffd}😀"),
            (Latin1, b"a\x80\xff", "a\u{80}ÿ"),
            (Ascii, b"a\xe2\x80", "ab\0"),
            (Hex, b"\0\x9f\xff", "009fff"),
            (Base64, b"\xfb\xff\xbf", "+/+/"),
            (Base64Url, b"\xfb\xff\xbf", "-_-_"),
            (Base64, b"ab", "YWI="),
            (Base64Url, b"ab", "YWI"),
            (Base64, b"a", "YQ=="),
            (Base64Url, b"a", "YQ"),
            (Base64, b"", ""),
        ] {
            assert_eq!(encoding.decode(bytes), text, "{encoding} {bytes:x?}");
        }
    }
}
