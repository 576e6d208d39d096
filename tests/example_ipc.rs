//! The parent and its children, as they are run from a shell.

mod common;
mod process;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process::Process;

struct Parent {
    process: Process,
    children: BTreeSet<i32>,
}

impl Parent {
    async fn start() -> Self {
        let mut process = Process::example("ipc", [""; 0]);
        let children = BTreeSet::from([started(&process.line().await), started(&process.line().await)]);
        Self { process, children }
    }

    /// Has both children busy for ever.
    async fn occupy(&mut self) {
        self.process.tell("3600000").await;
        self.process.tell("7200000").await;
        // The children take turns, and each has answered behind what it got before.
        for _ in 0..2 {
            assert_eq!(self.process.ask("1").await, "1: 1");
        }
    }

    /// Waits for the end, and returns what it has printed meanwhile, but for the ends of its children.
    async fn ends(mut self) -> Vec<String> {
        let path = self.children.first().and_then(|child| socket_file(*child));
        let mut lines = self.process.rest().await;
        let status = self.process.exit().await;
        assert_eq!((status.code(), self.process.errors().await.as_str()), (Some(0), ""), "{lines:?}");
        for child in &self.children {
            let end = format!("child {child} has ended: exit status: 0");
            assert!(lines.contains(&end), "{end} is not in {lines:?}");
            assert!(kill(Pid::from_raw(*child), None).is_err());
        }
        lines.retain(|line| !line.starts_with("child "));
        assert!(path.is_none_or(|path| !path.parent().unwrap().exists()), "the directory is left behind");
        lines
    }
}

/// The number of the child that has started.
fn started(line: &str) -> i32 {
    line.strip_prefix("child ").and_then(|line| line.strip_suffix(" has started")).expect(line).parse().unwrap()
}

/// Where a child was told to connect to, where the system tells.
fn socket_file(child: i32) -> Option<PathBuf> {
    let arguments = std::fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
    Some(arguments.split('\0').nth(1).unwrap().into())
}

#[tokio::test]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        parent.occupy().await;
        // What takes longest comes first, and is answered last.
        for number in (0..500).rev() {
            parent.process.tell(&number.to_string()).await;
        }
        let mut answers = Vec::new();
        for _ in 0..500 {
            let line = parent.process.line().await;
            let (number, square) = line.split_once(": ").expect(&line);
            let number: u64 = number.parse().unwrap();
            assert_eq!(square.parse(), Ok(number * number));
            answers.push(number);
        }
        assert!(!answers.is_sorted_by(|a, b| a >= b), "each waited for the one before");
        answers.sort_unstable();
        assert!(answers.into_iter().eq(0..500));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_a_child_refuses_fails_with_its_reason() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        let cases = [
            ("one", "invalid digit found in string"),
            ("-1", "invalid digit found in string"),
            ("", "cannot parse integer from empty string"),
            ("4294967296", "number too large to fit in target type"),
            ("\"{}[]\u{1}€", "invalid digit found in string"),
        ];
        for (line, reason) in cases {
            assert_eq!(parent.process.ask(line).await, format!("{line} failed: {reason}"));
        }
        assert_eq!(parent.process.ask("2").await, "2: 4");
        parent.process.close_stdin();
        assert_eq!(parent.ends().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn the_socket_file_is_for_its_owner_alone() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        let Some(path) = socket_file(*parent.children.first().unwrap()) else {
            return println!("left out: the system does not tell where the socket file is");
        };
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        parent.process.close_stdin();
        parent.ends().await;
    })
    .await;
}

#[tokio::test]
async fn when_a_child_is_killed_its_requests_fail_at_once_and_others_go_on() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        for _ in 0..5 {
            parent.occupy().await;
        }
        let [first, second] = [*parent.children.first().unwrap(), *parent.children.last().unwrap()];
        let failed = kill_child(&mut parent, first, 5).await;
        for number in 1..5 {
            assert_eq!(parent.process.ask(&number.to_string()).await, format!("{number}: {}", number * number));
        }
        assert_ne!(kill_child(&mut parent, second, 5).await, failed);
        assert_eq!(parent.process.ask("1").await, "1 failed: no child is left");
        parent.process.close_stdin();
        assert_eq!(parent.ends().await, [""; 0]);
    })
    .await;
}

/// Kills a child, and returns which request has failed so many times.
async fn kill_child(parent: &mut Parent, child: i32, times: usize) -> String {
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    parent.children.remove(&child);
    let mut lines = Vec::new();
    for _ in 0..=times {
        lines.push(parent.process.line().await);
    }
    lines.sort_unstable();
    assert_eq!(lines.pop().unwrap(), format!("child {child} has ended: signal: 9 (SIGKILL)"));
    let request = lines[0].strip_suffix(" failed: the child is gone").expect(&lines[0]).to_owned();
    assert!(["3600000", "7200000"].contains(&request.as_str()));
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
    request
}

#[tokio::test]
async fn what_is_in_progress_when_it_stops_is_answered() {
    common::bounded(async {
        for signal in [None, Some(Signal::SIGINT), Some(Signal::SIGTERM)] {
            let mut parent = Parent::start().await;
            for _ in 0..4 {
                parent.process.tell("1000").await;
            }
            for _ in 0..2 {
                parent.process.ask("1").await;
            }
            match signal {
                Some(signal) => parent.process.signal(signal),
                None => parent.process.close_stdin(),
            }
            let lines = parent.ends().await;
            assert_eq!(lines, ["1000: 1000000"; 4]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_does_not_keep_it_from_stopping() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        parent.occupy().await;
        parent.process.signal(Signal::SIGTERM);
        assert_eq!(parent.ends().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn children_end_when_the_parent_is_killed() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        parent.occupy().await;
        let path = socket_file(*parent.children.first().unwrap());
        parent.process.signal(Signal::SIGKILL);
        parent.process.exit().await;
        // They have the parent's standard output, too: it ends with the last of them.
        assert_eq!(parent.process.rest().await, [""; 0]);
        if let Some(path) = path {
            std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_child_without_a_parent_fails() {
    common::bounded(async {
        let mut child = Process::example("ipc", ["./missing.sock"]);
        assert_eq!(child.exit().await.code(), Some(1));
        assert!(child.errors().await.contains("connect ENOENT ./missing.sock"));
    })
    .await;
}
