//! The chat example, as it is run from a shell, and what it meets in the field.

mod common;
mod plain;
mod process;
mod tools;

use std::io::ErrorKind;

use common::bounded;
use common::serving::endpoints;
use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use plain::{Duplex, connect, connect_narrowly, connect_to_reset};
use process::Process;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const QUESTION: &str = "* who are you, and in which room? NAME ROOM";
const STOPS: &str = "* the server stops";

/// The chat server, and where it listens.
struct Chat {
    process: Process,
    address: String,
}

/// Somebody who writes and reads lines.
enum Client {
    Plain(BufReader<Box<dyn Duplex>>),
    Netcat(Box<Process>),
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Netcat,
}

impl Chat {
    async fn start(endpoint: &str) -> Self {
        Self::start_with_idle(endpoint, "300").await
    }

    async fn start_with_idle(endpoint: &str, seconds: &str) -> Self {
        let mut process = Process::example("chat", [endpoint, seconds]);
        let line = process.line().await;
        let address = line.strip_prefix("chat on ").expect(&line).to_owned();
        Self { process, address }
    }

    async fn client(&self, kind: Kind) -> Client {
        let mut client = match kind {
            Kind::Plain => Client::Plain(BufReader::new(connect(&self.address).await)),
            Kind::Netcat => {
                let arguments = match self.address.rsplit_once(':') {
                    Some((host, port)) => vec!["-N", host, port],
                    None => vec!["-N", "-U", &self.address],
                };
                Client::Netcat(Box::new(Process::spawn(Command::new("nc").args(arguments))))
            }
        };
        assert_eq!(client.line().await, QUESTION);
        client
    }

    async fn member(&self, kind: Kind, name: &str, room: &str) -> Client {
        let mut client = self.client(kind).await;
        client.say(&format!("{name} {room}")).await;
        assert_eq!(client.line().await, format!("* welcome to {room}"));
        client
    }

    /// A member that never reads, and of which the kernel holds little.
    async fn deaf_member(&self, name: &str) -> Box<dyn Duplex> {
        let mut stream = connect_narrowly(&self.address).await;
        stream.write_all(format!("{name} lobby\n").as_bytes()).await.unwrap();
        stream
    }

    /// Tells the server to stop, and checks that it tells everybody.
    async fn stops(self, members: Vec<Client>) {
        self.process.signal(Signal::SIGINT);
        for member in members {
            assert_eq!(member.rest().await.last().map(String::as_str), Some(STOPS));
        }
        self.ends_with(0).await;
    }

    async fn ends_with(mut self, cut_off: usize) {
        assert_eq!(self.process.rest().await, [format!("stopped; {cut_off} had to be cut off")]);
        assert_eq!(self.process.exit().await.code(), Some(0));
        assert_eq!(self.process.errors().await, "");
    }
}

impl Client {
    async fn say(&mut self, line: &str) {
        match self {
            Self::Plain(stream) => stream.write_all(format!("{line}\n").as_bytes()).await.unwrap(),
            Self::Netcat(nc) => nc.tell(line).await,
        }
    }

    /// The next line, which there has to be.
    async fn line(&mut self) -> String {
        match self {
            Self::Plain(stream) => {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                line.strip_suffix('\n').expect("a whole line").to_owned()
            }
            Self::Netcat(nc) => nc.line().await,
        }
    }

    /// The lines until the server ends; then this one ends, too.
    async fn rest(self) -> Vec<String> {
        match self {
            Self::Plain(mut stream) => {
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                text.lines().map(str::to_owned).collect()
            }
            Self::Netcat(mut nc) => {
                let mut lines = vec![nc.line().await];
                while lines.last().is_some_and(|line| line != STOPS) {
                    lines.push(nc.line().await);
                }
                nc.close_stdin();
                lines.extend(nc.rest().await);
                assert!(nc.exit().await.success(), "{}", nc.errors().await);
                lines
            }
        }
    }

    /// Leaves in good order.
    async fn hang_up(self) {
        match self {
            Self::Plain(mut stream) => stream.shutdown().await.unwrap(),
            Self::Netcat(mut nc) => {
                nc.close_stdin();
                nc.exit().await;
            }
        }
    }

    /// Is killed in the middle of a line.
    async fn die_after(self, text: &str) {
        match self {
            Self::Plain(mut stream) => stream.write_all(text.as_bytes()).await.unwrap(),
            Self::Netcat(nc) => kill(nc.pid(), Signal::SIGKILL).unwrap(),
        }
    }
}

async fn kinds() -> Vec<Kind> {
    if tools::has_openbsd_netcat().await {
        return vec![Kind::Plain, Kind::Netcat];
    }
    println!("left out: there is no nc of OpenBSD here; the members are ours");
    vec![Kind::Plain]
}

#[tokio::test]
async fn members_hear_those_in_their_room_and_who_comes_and_goes() {
    bounded(async {
        for kind in kinds().await {
            for endpoint in endpoints() {
                let chat = Chat::start(&endpoint).await;
                let mut ann = chat.member(kind, "ann", "lobby").await;
                let mut carl = chat.member(kind, "carl", "attic").await;
                let mut bob = chat.member(kind, "bob", "lobby").await;
                assert_eq!(ann.line().await, "* bob is here");
                bob.say("hello, ann").await;
                assert_eq!(ann.line().await, "bob: hello, ann");
                ann.say("good morning").await;
                assert_eq!(bob.line().await, "ann: good morning");

                // Nothing of this was heard in the attic.
                let mut dora = chat.member(kind, "dora", "attic").await;
                assert_eq!(carl.line().await, "* dora is here");
                dora.say("quiet here").await;
                assert_eq!(carl.line().await, "dora: quiet here");

                bob.hang_up().await;
                assert_eq!(ann.line().await, "* bob has left: hung up");
                let bob = chat.member(kind, "bob", "lobby").await;
                assert_eq!(ann.line().await, "* bob is here");
                chat.stops(vec![ann, bob, carl, dora]).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_belongs_to_one_member_at_a_time() {
    bounded(async {
        for kind in kinds().await {
            for endpoint in endpoints() {
                let chat = Chat::start(&endpoint).await;
                let mut ann = chat.member(kind, "ann", "lobby").await;
                let mut other = chat.client(kind).await;
                for name in ["ann", "ann attic", "", " "] {
                    other.say(name).await;
                    assert_eq!(other.line().await, "* that name is taken", "{name:?}");
                }
                other.say("anna").await;
                assert_eq!(other.line().await, "* welcome to lobby", "the room if none is named");
                assert_eq!(ann.line().await, "* anna is here");
                chat.stops(vec![ann, other]).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_killed_member_had_not_finished_is_not_said() {
    bounded(async {
        for endpoint in endpoints() {
            let chat = Chat::start(&endpoint).await;
            let mut ann = chat.member(Kind::Plain, "ann", "lobby").await;
            for kind in kinds().await {
                let bob = chat.member(kind, "bob", "lobby").await;
                assert_eq!(ann.line().await, "* bob is here");
                bob.die_after("I was about to s").await;
                let line = ann.line().await;
                assert!(line.starts_with("* bob has left: "), "{line}");
                // One that has not said who it is leaves without a word.
                chat.client(kind).await.die_after("bo").await;
            }
            let mut reset = connect_to_reset(&chat.address).await;
            reset.write_all(b"bob lobby\nI was about to s").await.unwrap();
            assert_eq!(ann.line().await, "* bob is here");
            drop(reset);
            let line = ann.line().await;
            assert!(["* bob has left: hung up", "* bob has left: read ECONNRESET"].contains(&&*line), "{line}");
            chat.stops(vec![ann]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_text_arrives_as_some_that_does_no_harm() {
    bounded(async {
        for endpoint in endpoints() {
            let chat = Chat::start(&endpoint).await;
            let mut ann = chat.member(Kind::Plain, "ann", "lobby").await;
            let mut garbage = connect(&chat.address).await;
            garbage.write_all(b"b\xffb lobby\n").await.unwrap();
            assert_eq!(ann.line().await, "* b\u{fffd}b is here");
            for (bytes, text) in [
                (&b"caf\xe9\r\n"[..], "caf\u{fffd}"),
                (b"\x1b[2Jgone\x07\0\n", "[2Jgone"),
                (b"\xf0\x9f\n", "\u{fffd}"),
                ("Grüße\n".as_bytes(), "Grüße"),
                (b"\n", ""),
            ] {
                // Characters are split, too.
                let (head, tail) = bytes.split_at(bytes.len() / 2);
                for part in [head, tail] {
                    garbage.write_all(part).await.unwrap();
                }
                assert_eq!(ann.line().await, format!("b\u{fffd}b: {text}"));
            }
            let mut binary: Vec<u8> = (0..=255).cycle().take(300).filter(|byte| *byte != b'\n').collect();
            binary.push(b'\n');
            garbage.write_all(&binary).await.unwrap();
            let line = ann.line().await;
            assert!(line.starts_with("b\u{fffd}b: ") && !line.contains(char::is_control), "{line:?}");
            drop(garbage);
            assert!(ann.line().await.starts_with("* b\u{fffd}b has left: "));
            chat.stops(vec![ann]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_writes_too_long_a_line_is_told_and_out() {
    bounded(async {
        for endpoint in endpoints() {
            let chat = Chat::start(&endpoint).await;
            let mut ann = chat.member(Kind::Plain, "ann", "lobby").await;
            for end in ["", "\n"] {
                let mut bob = chat.member(Kind::Plain, "bob", "lobby").await;
                assert_eq!(ann.line().await, "* bob is here");
                let longest = "x".repeat(1024);
                bob.say(&longest).await;
                assert_eq!(ann.line().await, format!("bob: {longest}"));
                bob.say(&format!("{longest}x{end}")).await;
                assert_eq!(bob.rest().await, ["* goodbye: that line is too long"]);
                assert_eq!(ann.line().await, "* bob has left: that line is too long");
            }

            // Megabytes without an end of line, by one who does not read.
            let mut flood = chat.deaf_member("flood").await;
            assert_eq!(ann.line().await, "* flood is here");
            let error = flood.write_all(&vec![b'x'; 64 * 1024 * 1024]).await.unwrap_err();
            assert!([ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()), "{error}");
            assert_eq!(ann.line().await, "* flood has left: that line is too long");
            chat.stops(vec![ann]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_is_out() {
    bounded(async {
        for endpoint in endpoints() {
            let chat = Chat::start(&endpoint).await;
            let mut ann = chat.member(Kind::Plain, "ann", "lobby").await;
            let mut bob = chat.member(Kind::Plain, "bob", "lobby").await;
            assert_eq!(ann.line().await, "* bob is here");
            let mut deaf = chat.deaf_member("deaf").await;
            assert_eq!(ann.line().await, "* deaf is here");
            assert_eq!(bob.line().await, "* deaf is here");

            let long = "x".repeat(1000);
            let mut number = 0;
            loop {
                assert!(number < 50_000, "the deaf member is still there");
                let said = format!("{number} {long}");
                bob.say(&said).await;
                let heard = ann.line().await;
                if heard == "* deaf has left: reads too slowly" {
                    assert_eq!(ann.line().await, format!("bob: {said}"));
                    break;
                }
                assert_eq!(heard, format!("bob: {said}"));
                number += 1;
            }
            assert_eq!(bob.line().await, "* deaf has left: reads too slowly");
            ann.say("peace").await;
            assert_eq!(bob.line().await, "ann: peace");

            // What the kernel had is all that it gets.
            let mut bytes = Vec::new();
            let _reset = deaf.read_to_end(&mut bytes).await;
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&format!("{number} {long}\n")));
            chat.stops(vec![ann, bob]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_silent_is_warned_and_then_out() {
    bounded(async {
        for endpoint in endpoints() {
            let chat = Chat::start_with_idle(&endpoint, "0.05").await;
            let out = ["* are you still there?", "* goodbye: idle for too long"];
            let nobody = chat.client(Kind::Plain).await;
            assert_eq!(nobody.rest().await, out);
            let mut ann = chat.client(Kind::Plain).await;
            ann.say("ann").await;
            assert_eq!(ann.rest().await[1..], out);
            chat.stops(Vec::new()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_answers_the_warning_stays() {
    bounded(async {
        for endpoint in endpoints() {
            // A machine may be too busy to answer in time, but not in any time.
            for idle in ["0.1", "0.5", "2.5", "12"] {
                let chat = Chat::start_with_idle(&endpoint, idle).await;
                let mut ann = chat.member(Kind::Plain, "ann", "lobby").await;
                assert_eq!(ann.line().await, "* are you still there?");
                ann.say("of course").await;
                let line = ann.line().await;
                if line == "* are you still there?" {
                    break;
                }
                assert!(line.starts_with("* goodbye: ") && idle != "12", "{line}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn members_in_the_middle_of_a_talk_are_told_that_the_server_stops() {
    bounded(async {
        for endpoint in endpoints() {
            let chat = Chat::start(&endpoint).await;
            let mut ann = chat.member(Kind::Plain, "ann", "lobby").await;
            let mut talkers = Vec::new();
            for room in ["lobby", "attic"] {
                for name in ["tick", "tock"] {
                    let talker = chat.member(Kind::Plain, &format!("{name}-{room}"), room).await;
                    talkers.push(tokio::spawn(talk(talker)));
                }
            }
            while ann.line().await.starts_with('*') {}
            chat.process.signal(Signal::SIGINT);
            assert_eq!(ann.rest().await.last().unwrap(), STOPS);
            for talker in talkers {
                assert_eq!(talker.await.unwrap(), STOPS);
            }
            chat.ends_with(0).await;
        }
    })
    .await;
}

/// Answers everything until the server ends, and returns the last line that was heard.
async fn talk(talker: Client) -> String {
    let Client::Plain(stream) = talker else { unreachable!("talkers are ours") };
    let mut lines = stream.lines();
    let mut last = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        last = line;
        // When the server has ended, it still listens, or not any more.
        let _is_late = lines.get_mut().write_all(b"and another thing\n").await;
    }
    last
}

#[tokio::test]
async fn who_keeps_the_line_open_does_not_keep_the_server() {
    bounded(async {
        // Both take as long as the server waits.
        join_all(endpoints().map(async |endpoint| {
            let chat = Chat::start(&endpoint).await;
            let mut stubborn = chat.member(Kind::Plain, "stubborn", "lobby").await;
            chat.process.signal(Signal::SIGTERM);
            assert_eq!(stubborn.line().await, STOPS);
            chat.ends_with(1).await;
            assert_eq!(stubborn.rest().await, [""; 0]);
        }))
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_it_cannot_use_is_an_error() {
    bounded(async {
        for (arguments, message) in [
            (["chat.sock", "300"], "ERR_INVALID_ARG_VALUE"),
            (["localhost:65536", "300"], "ERR_SOCKET_BAD_PORT"),
            (["localhost:0", "soon"], "ParseFloatError"),
            (["localhost:0", "-1"], "negative"),
        ] {
            let errors = Process::example("chat", arguments).fails().await;
            assert!(errors.to_lowercase().contains(&message.to_lowercase()), "{arguments:?}: {errors}");
        }
        let chat = Chat::start("127.0.0.1:0").await;
        let errors = Process::example("chat", [&chat.address]).fails().await;
        assert!(errors.contains("EADDRINUSE"), "{errors}");
        chat.stops(Vec::new()).await;
    })
    .await;
}
