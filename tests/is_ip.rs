//! `is_ip` against real Node, on strings that are addresses, nearly addresses, or neither.
//!
//! Node's answers are recorded in `tests/data/is_ip.txt`, two to a hex digit. After a change to the strings record them
//! again, with Node on the path: `cargo test --test is_ip -- --ignored`.

mod node;
mod random;

use std::fs;
use std::io;
use std::path::PathBuf;

use random::Random;
use sockeye::{is_ip, is_ipv4, is_ipv6};

const COUNT: usize = 120_000;

#[test]
fn answers_as_node_was_recorded() {
    let recorded = fs::read_to_string(data_file()).unwrap();
    let answers: Vec<u8> = recorded.chars().filter_map(|digit| digit.to_digit(16)).flat_map(unpack).collect();
    compare(&strings(), &answers);
}

#[test]
fn answers_as_the_installed_node() {
    let strings = strings();
    match ask_node(&strings).unwrap() {
        Some(answers) => compare(&strings, &answers),
        None => println!("node is not on the path: compared with its recorded answers only"),
    }
}

#[test]
#[ignore = "writes tests/data/is_ip.txt"]
fn record_nodes_answers() {
    let answers = ask_node(&strings()).unwrap().unwrap();
    let digits: Vec<u8> = answers.chunks(2).map(pack).collect();
    let lines: Vec<&[u8]> = digits.chunks(120).collect();
    fs::write(data_file(), [lines.join(&b'\n'), vec![b'\n']].concat()).unwrap();
}

#[test]
fn the_strings_are_a_good_mixture() {
    let strings = strings();
    for (answer, share) in [(0, 4), (4, 10), (6, 10)] {
        let count = strings.iter().filter(|string| is_ip(string) == answer).count();
        assert!(count > COUNT / share, "{count} of {answer}");
    }
}

fn compare(strings: &[String], answers: &[u8]) {
    assert_eq!(strings.len(), answers.len());
    for (string, answer) in strings.iter().zip(answers) {
        assert_eq!(is_ip(string), *answer, "{string:?}");
        assert_eq!((is_ipv4(string), is_ipv6(string)), (*answer == 4, *answer == 6), "{string:?}");
    }
}

fn data_file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", "is_ip.txt"].iter().collect()
}

fn pack(answers: &[u8]) -> u8 {
    let packed = answers.iter().fold(0, |packed, answer| packed * 4 + answer / 2);
    b"0123456789abcdef"[usize::from(packed)]
}

fn unpack(digit: u32) -> [u8; 2] {
    [digit / 4, digit % 4].map(|half| if half == 0 { 0 } else { half as u8 * 2 })
}

/// Node's answers, asked of one process that reads one JSON string per line.
fn ask_node(strings: &[String]) -> io::Result<Option<Vec<u8>>> {
    const SCRIPT: &str = "
        const lines = require('fs').readFileSync(0, 'utf8').trimEnd().split('\\n');
        process.stdout.write(lines.map((line) => require('net').isIP(JSON.parse(line))).join(''));
    ";
    let lines: String = strings.iter().map(|string| json(string) + "\n").collect();
    let answers = node::run(SCRIPT, &lines)?;
    Ok(answers.map(|answers| answers.bytes().map(|digit| digit - b'0').collect()))
}

fn json(string: &str) -> String {
    let escape = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        control if control < ' ' => format!("\\u{:04x}", u32::from(control)),
        other => other.to_string(),
    };
    format!("\"{}\"", string.chars().map(escape).collect::<String>())
}

fn strings() -> Vec<String> {
    let mut random = Random(0x0073_6f63_6b65_7965);
    (0..COUNT).map(|_| string(&mut random)).collect()
}

fn string(random: &mut Random) -> String {
    let mut string = match random.below(8) {
        0..3 => ipv4(random),
        3..7 => ipv6(random),
        _ => noise(random),
    };
    if random.one_in(4) {
        string += &format!("%{}", zone(random));
    }
    if random.one_in(3) {
        for _ in 0..=random.below(2) {
            string = mutated(random, &string);
        }
    }
    string
}

fn ipv4(random: &mut Random) -> String {
    let count = if random.one_in(20) { random.below(7) } else { 4 };
    let parts: Vec<String> = (0..count).map(|_| decimal(random)).collect();
    parts.join(".")
}

fn decimal(random: &mut Random) -> String {
    match random.below(40) {
        0 => format!("0{}", random.below(300)),
        1 => random.below(1200).to_string(),
        2 => random.pick(&["", "00", "256", "1e1", "0x1", "-1", "+1"]).to_owned(),
        3..10 => random.pick(&["0", "1", "255", "249", "250", "199", "99", "100"]).to_owned(),
        _ => random.below(256).to_string(),
    }
}

/// Groups of which some are left out or are too many, with and without an IPv4 part.
fn ipv6(random: &mut Random) -> String {
    let tail = random.one_in(4).then(|| ipv4(random));
    let full = if tail.is_some() { 6 } else { 8 };
    let shortens = random.below(4) > 0;
    let count = match random.below(12) {
        0 => random.below(10),
        1 => full,
        _ if shortens => random.below(full),
        _ => full,
    };
    let mut groups: Vec<String> = (0..count).map(|_| hexadecimal(random)).collect();
    groups.extend(tail);
    if !shortens {
        return groups.join(":");
    }
    let (before, after) = groups.split_at(random.below(groups.len() + 1));
    format!("{}::{}", before.join(":"), after.join(":"))
}

fn hexadecimal(random: &mut Random) -> String {
    let number = random.next() as u16 >> random.below(16);
    match random.below(50) {
        0 => format!("{number:05x}"),
        1 => random.pick(&["", "g", "00000", "10000", "0x1", "-1"]).to_owned(),
        2..8 => random.pick(&["0", "0000", "ffff", "FFFF", "fe80", "00"]).to_owned(),
        8..15 => format!("{number:04x}"),
        15..25 => format!("{number:X}"),
        _ => format!("{number:x}"),
    }
}

fn zone(random: &mut Random) -> String {
    let length = random.below(12);
    let letter = |random: &mut Random| match random.below(30) {
        0 => random.pick(&["@", "%", "_", "/", "\n", "\0", "\u{e4}", "\u{1f600}", " ", "~", "["]),
        1..6 => random.pick(&["-", ".", ":"]),
        _ => random.pick(&["a", "z", "A", "Z", "0", "9", "e", "t", "h", "1"]),
    };
    (0..length).map(|_| letter(random)).collect()
}

fn noise(random: &mut Random) -> String {
    (0..random.below(20)).map(|_| random.pick(&LETTERS)).collect()
}

fn mutated(random: &mut Random, string: &str) -> String {
    let mut letters: Vec<String> = string.chars().map(String::from).collect();
    let place = random.below(letters.len() + 1);
    let is_inside = place < letters.len();
    match random.below(4) {
        0 if is_inside => drop(letters.remove(place)),
        1 if is_inside => letters.insert(place, letters[place].clone()),
        2 if is_inside => letters[place] = random.pick(&LETTERS).to_owned(),
        _ => letters.insert(place, random.pick(&LETTERS).to_owned()),
    }
    letters.concat()
}

const LETTERS: [&str; 30] = [
    "0",
    "1",
    "2",
    "5",
    "9",
    "a",
    "f",
    "A",
    "F",
    "g",
    "x",
    ":",
    ":",
    "::",
    ".",
    ".",
    "%",
    "/",
    "[",
    "]",
    "-",
    "+",
    " ",
    "\t",
    "\n",
    "\0",
    "\"",
    "\\",
    "\u{660}",
    "\u{1f600}",
];
