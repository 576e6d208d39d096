//! The encodings against themselves, against what Node was recorded to answer, and against Node itself.

#![cfg(test)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sockeye::{Encoding, StringDecoder};

use Encoding::{Ascii, Base64, Base64Url, Hex, Latin1, Utf8, Utf16Le};

const ENCODINGS: [Encoding; 7] = [Utf8, Utf16Le, Latin1, Ascii, Hex, Base64, Base64Url];

#[test]
fn every_split_gives_the_same_text() {
    let mut random = Random(1);
    for round in 0..300 {
        let encoding = ENCODINGS[round % ENCODINGS.len()];
        let bytes = random_bytes(&mut random, encoding, 10);
        let expected = encoding.decode(&bytes);
        for cuts in 0..1_u32 << bytes.len().saturating_sub(1) {
            let pieces = split(&bytes, |position| cuts >> (position - 1) & 1 == 1);
            assert_eq!(decode_pieces(encoding, &pieces).concat(), expected, "{encoding} {pieces:x?}");
        }
    }
}

#[test]
fn random_splits_give_the_same_text() {
    let mut random = Random(2);
    for round in 0..5_000 {
        let encoding = ENCODINGS[round % ENCODINGS.len()];
        let bytes = random_bytes(&mut random, encoding, 120);
        let pieces = random_pieces(&mut random, &bytes);
        assert_eq!(decode_pieces(encoding, &pieces).concat(), encoding.decode(&bytes), "{encoding} {pieces:x?}");
    }
}

#[test]
fn one_decoder_can_be_used_for_many_texts() {
    let mut random = Random(3);
    for encoding in ENCODINGS {
        let mut decoder = StringDecoder::new(encoding);
        for _ in 0..200 {
            let bytes = random_bytes(&mut random, encoding, 12);
            let text = decoder.push(&bytes) + &decoder.finish();
            assert_eq!(text, encoding.decode(&bytes), "{encoding} {bytes:x?}");
        }
    }
}

#[test]
fn utf8_agrees_with_the_standard_library() {
    let mut random = Random(4);
    for _ in 0..5_000 {
        let bytes = random_bytes(&mut random, Utf8, 60);
        assert_eq!(Utf8.decode(&bytes), String::from_utf8_lossy(&bytes), "{bytes:x?}");
    }
}

#[test]
fn text_survives_the_way_there_and_back() {
    let mut random = Random(5);
    for _ in 0..1_000 {
        let text: String = (0..random.below(30)).map(|_| random.character()).collect();
        for encoding in [Utf8, Utf16Le] {
            assert_eq!(encoding.decode(&encoding.encode(&text)), text, "{encoding}");
        }
        for encoding in [Latin1, Hex, Base64, Base64Url] {
            assert_eq!(encoding.encode(&encoding.decode(text.as_bytes())), text.as_bytes(), "{encoding} {text:?}");
        }
    }
}

#[test]
fn answers_are_those_recorded_from_node() {
    let recorded = std::fs::read_to_string(recording()).unwrap();
    let cases: Vec<_> = recorded.lines().map(|line| line.split_once('=').unwrap()).collect();
    assert!(cases.len() > 400, "{} cases", cases.len());
    for (question, answer) in cases {
        check(question, answer);
    }
}

#[test]
fn answers_are_those_of_the_node_on_this_machine() {
    let questions = questions(&mut Random(6), 6_000, 60, true);
    let Some(answers) = ask_node(&questions) else {
        println!("node v20 is not on PATH: only the recorded answers were compared");
        return;
    };
    for (question, answer) in questions.iter().zip(answers) {
        check(question, &answer);
    }
}

#[test]
#[ignore = "writes tests/data/encoding-node.txt anew, from the node v20 on PATH"]
fn record_the_answers_of_node() {
    let questions = questions(&mut Random(7), 600, 14, false);
    let answers = ask_node(&questions).expect("node v20 is on PATH");
    let lines = questions.iter().zip(answers).map(|(question, answer)| format!("{question}={answer}\n"));
    std::fs::write(recording(), lines.collect::<String>()).unwrap();
}

/// Compares one answer of Node's with sockeye's. Both are in the form that tests/data/encoding.js describes.
fn check(question: &str, answer: &str) {
    let parts: Vec<_> = question.split('|').collect();
    let [ask, encoding, operand] = parts[..] else { panic!("{question}") };
    let encoding: Encoding = encoding.parse().unwrap();
    if ask == "encode" {
        let text = String::from_utf8(from_hex(operand)).unwrap();
        assert_eq!(to_hex(&encoding.encode(&text)), answer, "{question}, that is {text:?}");
        return;
    }
    let pieces: Vec<_> = operand.split(',').map(from_hex).collect();
    let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
    let texts: Vec<_> = decode_pieces(encoding, &pieces).iter().map(|text| to_hex(text.as_bytes())).collect();
    let all = to_hex(encoding.decode(&pieces.concat()).as_bytes());
    let ours = if answer.starts_with("whole") {
        format!("whole|{}|{all}", texts.join(","))
    } else {
        // Sockeye waits for the other half of the pair, so its pieces are cut elsewhere.
        format!("torn|{}|{all}", texts.concat())
    };
    assert_eq!(ours, answer, "{question}");
}

fn decode_pieces(encoding: Encoding, pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = StringDecoder::new(encoding);
    let mut texts: Vec<_> = pieces.iter().map(|piece| decoder.push(piece)).collect();
    texts.push(decoder.finish());
    texts
}

fn questions(random: &mut Random, count: usize, longest: usize, with_long_ones: bool) -> Vec<String> {
    let mut questions = Vec::new();
    for round in 0..count {
        let encoding = ENCODINGS[random.below(ENCODINGS.len())];
        // Node has another way through its code for texts that do not fit in its pool of 8 KiB.
        let longest = if with_long_ones && round % 100 == 0 { 20_000 } else { longest };
        if random.one_in(3) {
            let text = random_text(random, encoding, longest);
            questions.push(format!("encode|{encoding}|{}", to_hex(text.as_bytes())));
        } else {
            let bytes = random_bytes(random, encoding, longest);
            let pieces: Vec<_> = random_pieces(random, &bytes).into_iter().map(to_hex).collect();
            questions.push(format!("decode|{encoding}|{}", pieces.join(",")));
        }
    }
    questions
}

/// One answer for each question, or `None` when there is no Node of the version that sockeye follows.
fn ask_node(questions: &[String]) -> Option<Vec<String>> {
    let version = Command::new("node").arg("--version").output().ok()?;
    if !version.stdout.starts_with(b"v20.") {
        return None;
    }
    let mut node = Command::new("node");
    node.arg(data("encoding.js")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().unwrap();
    node.stdin.take().unwrap().write_all(questions.join("\n").as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "node failed");
    let answers: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), questions.len());
    Some(answers)
}

/// Bytes that are mostly right for the encoding and often enough wrong.
fn random_bytes(random: &mut Random, encoding: Encoding, longest: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = random.below(longest + 1);
    while bytes.len() < length {
        match encoding {
            Utf8 => random_utf8(random, &mut bytes),
            Utf16Le if random.one_in(8) => bytes.push(random.byte()),
            Utf16Le => bytes.extend(random_utf16_unit(random).to_le_bytes()),
            _ => bytes.push(random.byte()),
        }
    }
    bytes.truncate(length);
    bytes
}

fn random_utf8(random: &mut Random, bytes: &mut Vec<u8>) {
    let continuation = |random: &mut Random| 0x80 | random.byte() & 0x3f;
    let mut character = random.character().to_string().into_bytes();
    match random.below(8) {
        0 => character.truncate(1 + random.below(character.len())),
        1 => character = vec![0xc0 | random.byte() & 1, continuation(random)],
        2 => character = vec![0xe0, 0x80 | random.byte() & 0x1f, continuation(random)],
        3 => character = vec![0xed, 0xa0 | random.byte() & 0x1f, continuation(random)],
        4 => character = vec![0xf0 | random.byte() & 0x0f, continuation(random), continuation(random)],
        5 => character = vec![random.byte()],
        _ => {}
    }
    bytes.extend(character);
}

fn random_utf16_unit(random: &mut Random) -> u16 {
    let low = random.next() as u16;
    match random.below(4) {
        0 => 0xd800 | low & 0x3ff,
        1 => 0xdc00 | low & 0x3ff,
        _ => low,
    }
}

/// Text that is mostly in the form of the encoding, with everything in between that Node forgives.
fn random_text(random: &mut Random, encoding: Encoding, longest: usize) -> String {
    let odds = [2, 8, 40, 100_000][random.below(4)];
    let digits = match encoding {
        Hex => "0123456789abcdefABCDEF",
        Base64 => "ABCXYZabcxyz0189+/",
        Base64Url => "ABCXYZabcxyz0189-_",
        _ => " aZ~é",
    };
    let strange = ["=", "==", "\n", " ", "+", "_", "*", "\0", "g", "Ł", "Ľ", "š", "é", "€", "😀"];
    let digits: Vec<char> = digits.chars().collect();
    let mut text = String::new();
    for _ in 0..random.below(longest + 1) {
        if random.one_in(odds) {
            text.push_str(strange[random.below(strange.len())]);
        } else {
            text.push(digits[random.below(digits.len())]);
        }
    }
    text
}

fn random_pieces<'a>(random: &mut Random, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let odds = [1, 2, 4, 20][random.below(4)];
    let mut pieces = split(bytes, |_| random.one_in(odds));
    if random.one_in(4) {
        pieces.insert(random.below(pieces.len() + 1), &[]);
    }
    pieces
}

fn split(bytes: &[u8], mut cut_before: impl FnMut(usize) -> bool) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for position in 1..bytes.len() {
        if cut_before(position) {
            pieces.push(&bytes[start..position]);
            start = position;
        }
    }
    pieces.push(&bytes[start..]);
    pieces
}

fn recording() -> PathBuf {
    data("encoding-node.txt")
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Any character, of each length in UTF-8 equally often.
    fn character(&mut self) -> char {
        let limit = [0x80, 0x800, 0x1_0000, 0x11_0000][self.below(4)];
        char::from_u32(self.below(limit) as u32).unwrap_or('\u{d7ff}')
    }
}
