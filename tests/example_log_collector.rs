//! The log collector, as it is run from a shell.

mod common;
mod process;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use process::{Process, has_openbsd_netcat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::task::JoinSet;

struct Collector {
    process: Process,
    address: SocketAddr,
    path: String,
    log: PathBuf,
}

impl Collector {
    async fn start() -> Self {
        Self::start_with(u64::MAX / 2).await
    }

    async fn start_with(max_file: u64) -> Self {
        Self::start_in(&common::temporary_directory(), max_file).await
    }

    async fn start_in(directory: &Path, max_file: u64) -> Self {
        let log = directory.join("log");
        let path = directory.join("s").to_str().unwrap().to_owned();
        let arguments = ["127.0.0.1:0", &path, log.to_str().unwrap(), &max_file.to_string()];
        let mut process = Process::example("log_collector", arguments);
        let address = process.line().await.strip_prefix("listening on ").unwrap().parse().unwrap();
        assert_eq!(process.line().await, format!("listening on {path}"));
        Self { process, address, path, log }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// One connection of each kind.
    async fn both(&self) -> [Box<dyn Connection>; 2] {
        [Box::new(self.tcp().await), Box::new(self.unix().await)]
    }

    /// Ends the collector and returns what it has collected, and what it has complained of.
    async fn stop(self, signal: Signal) -> (Vec<String>, String) {
        self.stop_cutting_off(0, signal).await
    }

    async fn stop_cutting_off(mut self, count: usize, signal: Signal) -> (Vec<String>, String) {
        self.process.signal(signal);
        assert_eq!(self.process.rest().await, [format!("stopped; {count} had to be cut off")]);
        let status = self.process.exit().await;
        let errors = self.process.errors().await;
        assert_eq!(status.code(), Some(0), "{status}: {errors}");
        assert!(!Path::new(&self.path).exists(), "the socket file is left behind");
        let complaints = errors.lines().filter(|line| !line.ends_with("messages a second"));
        (lines(&self.log), complaints.map(|line| format!("{line}\n")).collect())
    }

    /// The file before the newest.
    fn old_file(&self) -> PathBuf {
        self.log.with_extension("1")
    }
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

/// The lines of a file; each of them is whole.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut off: {:?}", text.lines().last());
    text.lines().map(str::to_owned).collect()
}

/// Messages that tell where they are from, framed in the one way and the other in turn.
fn numbered(client: usize, numbers: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let message = format!("<13>{client} {number} {}", "x".repeat(number % 200));
        let framed = match number % 2 {
            0 => format!("{} {message}", message.len()),
            _ => format!("{message}\n"),
        };
        bytes.extend_from_slice(framed.as_bytes());
    }
    bytes
}

/// How many messages came from each client; they have to be whole, in order, and without gaps.
fn counts(lines: &[String], clients: usize) -> Vec<usize> {
    let mut counts = vec![0; clients];
    for line in lines {
        let mut words = line.strip_prefix("<13>").expect(line).splitn(3, ' ');
        let client: usize = words.next().unwrap().parse().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(number, counts[client], "client {client}");
        assert_eq!(words.next(), Some("x".repeat(number % 200).as_str()), "client {client}, message {number}");
        counts[client] += 1;
    }
    counts
}

#[tokio::test]
async fn both_framings_are_understood_over_both_transports_in_any_pieces() {
    common::bounded(async {
        let long = "l".repeat(8192);
        let frames = [
            ("<34>by line\n".to_owned(), "<34>by line"),
            ("17 <13>with a length".to_owned(), "<13>with a length"),
            ("12 <13>\nlines\r\n".to_owned(), "<13> lines\r "),
            ("<13>again by line\n".to_owned(), "<13>again by line"),
            ("3 <0>5 a b c".to_owned(), "<0>\na b c"),
            (format!("8192 {long}"), &long),
            ("<\n".to_owned(), "<"),
        ];
        let collector = Collector::start().await;
        let mut expected = Vec::new();
        for mut client in collector.both().await {
            for (frame, line) in &frames {
                for byte in frame.as_bytes().chunks(if frame.len() > 100 { 1000 } else { 1 }) {
                    client.write_all(byte).await.unwrap();
                }
                expected.extend(line.lines());
            }
            ends(client).await;
        }
        let (lines, complaints) = collector.stop(Signal::SIGTERM).await;
        assert_eq!(lines, expected.iter().map(|line| line.to_string()).collect::<Vec<_>>());
        assert_eq!(complaints, "");
    })
    .await;
}

/// Ends a client, and waits until the collector has ended the connection too, by which time it has read everything.
async fn ends(mut client: impl Connection) {
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_bad_frame_ends_its_connection_with_a_reason_and_no_other() {
    common::bounded(async {
        let no_end = [b"<13>".as_slice(), &[b'x'; 9000]].concat();
        let cases: [(&[u8], &str); 9] = [
            (b"garbage\n", "it begins neither with '<' nor with a length"),
            (b"\x00\xff\x80\x01", "it begins neither with '<' nor with a length"),
            (b"\n", "it begins neither with '<' nor with a length"),
            (b"0 ", "it begins neither with '<' nor with a length"),
            (b"99999999999999999999999 x", "it, or its length, is too long"),
            (b"8193 x", "its length is no number, or too large"),
            (b"1x <", "its length is no number, or too large"),
            (b"1\xff <", "its length is no number, or too large"),
            (&no_end, "it, or its length, is too long"),
        ];
        let collector = Collector::start().await;
        let mut others = collector.both().await;
        let mut expected = Vec::new();
        for (bytes, reason) in cases {
            let mut client = collector.tcp().await;
            let address = client.local_addr().unwrap();
            client.write_all(&[b"<13>before\n", bytes].concat()).await.unwrap();
            // A reset, if it leaves bytes unread.
            let _ = client.read(&mut [0]).await;
            expected.push(format!("{address}: bad frame: {reason}"));

            let mut client = collector.unix().await;
            client.write_all(bytes).await.unwrap();
            let _ = client.read(&mut [0]).await;
            expected.push(format!("a local program: bad frame: {reason}"));
        }
        for other in &mut others {
            other.write_all(b"<13>other\n").await.unwrap();
        }
        for other in others {
            ends(other).await;
        }
        let (lines, complaints) = collector.stop(Signal::SIGINT).await;
        assert_eq!(lines[..9], ["<13>before"; 9]);
        assert_eq!(lines[9..], ["<13>other"; 2]);
        // It complains after it has closed, and so of several at the same time.
        let mut complaints: Vec<_> = complaints.lines().collect();
        complaints.sort_unstable();
        expected.sort_unstable();
        assert_eq!(complaints, expected);
    })
    .await;
}

const KILLED: &str = "a_client_that_is_killed_in_the_middle_of_a_message_costs_that_message_only";

#[tokio::test]
async fn a_client_that_is_killed_in_the_middle_of_a_message_costs_that_message_only() {
    if let Some(endpoint) = process::part() {
        let client = sockeye::connect(endpoint).await.unwrap();
        client.write_with("<13>whole\n12 <13>and cut").await.unwrap();
        process::say("sent");
        return std::future::pending().await;
    }
    common::bounded(async {
        let collector = Collector::start().await;
        for endpoint in [collector.address.to_string(), collector.path.clone()] {
            let mut client = Process::again(KILLED, endpoint);
            while client.line().await != "sent" {}
            client.signal(Signal::SIGKILL);
            client.exit().await;
        }
        // One that resets the connection instead.
        let mut client = collector.tcp().await;
        client.write_all(b"<13>whole\n<13>and cut").await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        let (lines, complaints) = collector.stop(Signal::SIGTERM).await;
        assert_eq!(lines, ["<13>whole"; 3]);
        let mut reasons: Vec<_> =
            complaints.lines().filter_map(|line| line.split_once(": ")).map(|(_, text)| text).collect();
        reasons.sort_unstable();
        let ended = "bytes remaining on stream";
        assert_eq!(reasons, [ended, ended, "read ECONNRESET"], "{complaints}");
    })
    .await;
}

#[tokio::test]
async fn everything_that_was_sent_before_the_stop_is_in_the_file() {
    const CLIENTS: usize = 8;
    const MESSAGES: usize = 3000;
    common::bounded(async {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let collector = Collector::start().await;
            let mut tasks = JoinSet::new();
            for pair in 0..CLIENTS / 2 {
                for (index, mut connection) in collector.both().await.into_iter().enumerate() {
                    tasks.spawn(async move {
                        connection.write_all(&numbered(2 * pair + index, 0..MESSAGES)).await.unwrap();
                        // Half of them stay.
                        (pair % 2 == 0).then_some(connection)
                    });
                }
            }
            let connections = tasks.join_all().await;
            let (lines, complaints) = collector.stop(signal).await;
            assert_eq!(counts(&lines, CLIENTS), [MESSAGES; CLIENTS]);
            assert_eq!(complaints, "");
            drop(connections);
        }
    })
    .await;
}

#[tokio::test]
async fn it_starts_again_after_it_was_killed() {
    common::bounded(async {
        let mut collector = Collector::start().await;
        let mut client = collector.unix().await;
        client.write_all(b"<13>before\n").await.unwrap();
        ends(client).await;
        collector.process.signal(Signal::SIGKILL);
        collector.process.exit().await;
        assert!(Path::new(&collector.path).exists());
        let again = Collector::start_in(collector.log.parent().unwrap(), u64::MAX / 2).await;
        again.unix().await.write_all(b"<13>after\n").await.unwrap();
        let (lines, _) = again.stop(Signal::SIGTERM).await;
        assert_eq!(lines.last().unwrap(), "<13>after");
    })
    .await;
}

#[tokio::test]
async fn clients_that_wait_to_be_accepted_when_it_stops_are_heard() {
    const CLIENTS: usize = 100;
    common::bounded(async {
        let collector = Collector::start().await;
        // It cannot accept meanwhile.
        collector.process.signal(Signal::SIGSTOP);
        for client in 0..CLIENTS {
            let bytes = numbered(client, 0..10);
            match client % 2 {
                0 => collector.tcp().await.write_all(&bytes).await.unwrap(),
                _ => collector.unix().await.write_all(&bytes).await.unwrap(),
            }
        }
        collector.process.signal(Signal::SIGTERM);
        collector.process.signal(Signal::SIGCONT);
        let (lines, complaints) = collector.stop(Signal::SIGTERM).await;
        assert_eq!(counts(&lines, CLIENTS), [10; CLIENTS]);
        assert_eq!(complaints, "");
    })
    .await;
}

#[tokio::test]
async fn clients_that_never_stop_do_not_keep_it_from_stopping() {
    const CLIENTS: usize = 4;
    common::bounded(async {
        let collector = Collector::start().await;
        let mut tasks = JoinSet::new();
        let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
        for pair in 0..CLIENTS / 2 {
            for (index, mut connection) in collector.both().await.into_iter().enumerate() {
                let begun = begun.clone();
                tasks.spawn(async move {
                    for number in 0.. {
                        let bytes = numbered(2 * pair + index, number * 100..(number + 1) * 100);
                        if connection.write_all(&bytes).await.is_err() {
                            return number;
                        }
                        if number == 10 {
                            begun.send(()).await.unwrap();
                        }
                    }
                    unreachable!()
                });
            }
        }
        for _ in 0..CLIENTS {
            has_begun.recv().await.unwrap();
        }
        let (lines, complaints) = collector.stop_cutting_off(CLIENTS, Signal::SIGTERM).await;
        let counts = counts(&lines, CLIENTS);
        assert!(counts.iter().all(|&count| count >= 1100), "{counts:?}");
        assert_eq!(complaints, "");
        assert!(tasks.join_all().await.iter().all(|&rounds| rounds > 10));
    })
    .await;
}

#[tokio::test]
async fn rotation_while_it_is_busy_loses_no_line() {
    const CLIENTS: usize = 4;
    const MESSAGES: usize = 3000;
    // Filled once by 1.3 MB.
    const MAX_FILE: u64 = 800_000;
    common::bounded(async {
        let collector = Collector::start_with(MAX_FILE).await;
        let mut tasks = JoinSet::new();
        for pair in 0..CLIENTS / 2 {
            for (index, mut connection) in collector.both().await.into_iter().enumerate() {
                tasks.spawn(
                    async move { connection.write_all(&numbered(2 * pair + index, 0..MESSAGES)).await.unwrap() },
                );
            }
        }
        tasks.join_all().await;
        let (log, old_file) = (collector.log.clone(), collector.old_file());
        let (newest, complaints) = collector.stop(Signal::SIGTERM).await;
        assert_eq!(complaints, "");
        assert!(log.metadata().unwrap().len() <= MAX_FILE);
        let length = old_file.metadata().unwrap().len();
        assert!((MAX_FILE - 300..=MAX_FILE).contains(&length), "{length}");
        let all = [lines(&old_file), newest].concat();
        assert_eq!(counts(&all, CLIENTS), [MESSAGES; CLIENTS]);
    })
    .await;
}

#[tokio::test]
async fn two_files_are_kept_and_a_file_that_is_there_is_continued() {
    common::bounded(async {
        let collector = Collector::start_with(26).await;
        let mut client = collector.tcp().await;
        for number in 10..50 {
            client.write_all(format!("<13>{number}:34567\n").as_bytes()).await.unwrap();
        }
        ends(client).await;
        let (log, old_file) = (collector.log.clone(), collector.old_file());
        let (newest, _) = collector.stop(Signal::SIGTERM).await;
        // Thirteen bytes with the line end: two of them fill a file.
        assert_eq!(newest, ["<13>48:34567", "<13>49:34567"]);
        assert_eq!(lines(&old_file), ["<13>46:34567", "<13>47:34567"]);
        assert_eq!(log.parent().unwrap().read_dir().unwrap().count(), 2);

        let again = Collector::start_in(log.parent().unwrap(), 1_000_000).await;
        let mut client = again.unix().await;
        client.write_all(b"<13>next\n").await.unwrap();
        ends(client).await;
        let (lines, _) = again.stop(Signal::SIGTERM).await;
        assert_eq!(lines[2..], ["<13>next"]);
    })
    .await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_an_error_that_ends_it() {
    common::bounded(async {
        let directory = common::temporary_directory();
        let path = directory.join("s");
        let missing = directory.join("missing/log");
        let arguments = |log: &Path| ["127.0.0.1:0".into(), path.clone(), log.to_owned()];
        let mut process = Process::example("log_collector", arguments(&missing));
        assert_eq!(process.exit().await.code(), Some(1));
        assert!(process.errors().await.contains("ENOENT"));

        if Path::new("/dev/full").exists() {
            let mut process = Process::example("log_collector", arguments(Path::new("/dev/full")));
            process.line().await;
            process.line().await;
            let mut client = UnixStream::connect(&path).await.unwrap();
            client.write_all(b"<13>too much\n").await.unwrap();
            assert_eq!(process.exit().await.code(), Some(1));
            assert!(process.errors().await.contains("ENOSPC"));
        }
        assert!(!path.exists());
    })
    .await;
}

#[tokio::test]
async fn logger_talks_to_it_over_tcp_and_the_socket_file() {
    common::bounded(async {
        let Ok(version) = Command::new("logger").arg("--version").output().await else {
            return println!("left out: there is no logger here");
        };
        if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
            return println!("left out: logger is not that of util-linux");
        }
        let collector = Collector::start().await;
        let port = collector.address.port().to_string();
        let tcp = ["--tcp", "--server", "127.0.0.1", "--port", &port];
        let unix = ["--socket", &collector.path];
        let mut expected = Vec::new();
        for (index, arguments) in [&tcp[..], &unix, &["--tcp", "--socket", &collector.path]].into_iter().enumerate() {
            for (framing, options) in [("lines", &[][..]), ("lengths", &["--octet-count"])] {
                let mut logger = Process::spawn(Command::new("logger").args(arguments).args(options));
                for number in 0..100 {
                    let message = format!("{index} {framing} {number}");
                    logger.tell(&message).await;
                    expected.push(message);
                }
                logger.close_stdin();
                let status = logger.exit().await;
                assert!(status.success(), "{arguments:?} {options:?}: {}", logger.errors().await);
            }
        }
        let (mut lines, complaints) = collector.stop(Signal::SIGTERM).await;
        assert_eq!(complaints, "");
        for line in &mut lines {
            assert!(line.starts_with("<13>"), "{line}");
            let start = line.len() - line.rsplitn(4, ' ').take(3).map(|word| word.len() + 1).sum::<usize>() + 1;
            *line = line[start..].to_owned();
        }
        // Each comes over a connection of its own, and those are read side by side.
        for index in 0..3 {
            for framing in ["lines", "lengths"] {
                let of = |all: &[String]| -> Vec<String> {
                    all.iter().filter(|line| line.starts_with(&format!("{index} {framing} "))).cloned().collect()
                };
                assert_eq!(of(&lines), of(&expected));
            }
        }
        assert_eq!(lines.len(), expected.len());
    })
    .await;
}

#[tokio::test]
async fn netcat_sends_messages_and_rates_are_shown() {
    common::bounded(async {
        if !has_openbsd_netcat().await {
            return println!("left out: there is no nc of OpenBSD here");
        }
        let mut collector = Collector::start().await;
        let port = collector.address.port().to_string();
        let path = collector.path.clone();
        for arguments in [vec!["-N", "127.0.0.1", &port], vec!["-N", "-U", &path]] {
            let mut nc = Process::spawn(Command::new("nc").args(&arguments));
            nc.tell("<13>from nc").await;
            nc.close_stdin();
            assert!(nc.exit().await.success());
        }
        // A rate comes with the first message after a second.
        let mut client = collector.unix().await;
        let shown = async {
            loop {
                client.write_all(b"<13>more\n").await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let line = tokio::select! {
            line = collector.process.error_line() => line,
            () = shown => unreachable!(),
        };
        assert!(line.ends_with(" messages a second"), "{line}");
        let (lines, _) = collector.stop(Signal::SIGINT).await;
        assert_eq!(lines.iter().filter(|line| *line == "<13>from nc").count(), 2);
    })
    .await;
}
