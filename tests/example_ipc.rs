//! The parent and its children, as they are run from a shell.

mod common;
mod process;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
        self.process.tell("sleep 3600").await;
        self.process.tell("sleep 7200").await;
        // The children take turns, and each has answered behind what it got before.
        for _ in 0..2 {
            assert!(self.process.ask("sum 1").await.starts_with("sum 1 = 1, by "));
        }
    }

    /// Waits for the end, and returns what it has printed meanwhile, but for the ends of its children.
    async fn ends(mut self) -> Vec<String> {
        let path = socket_file(*self.children.first().unwrap());
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
        for number in 0..500 {
            parent.process.tell(&format!("sum {number} 1 1")).await;
        }
        let mut answers = BTreeSet::new();
        let mut by = BTreeSet::new();
        for _ in 0..500 {
            let line = parent.process.line().await;
            let (sum, answer) = line.split_once(" = ").expect(&line);
            let (result, child) = answer.split_once(", by ").unwrap();
            let number: u64 = sum.split(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(result.parse(), Ok(number + 2));
            assert!(answers.insert(number));
            by.insert(child.parse().unwrap());
        }
        assert_eq!(by, parent.children);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_a_child_refuses_fails_with_its_reason() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        let reason = "there is no such method, or not with these numbers";
        for line in ["product 1 2", "sum one", "sleep", "", "\"{}[]\u{1}€"] {
            let expected = format!("{line} failed: Error(ERR_REQUEST: {reason})");
            assert_eq!(parent.process.ask(line).await, expected);
        }
        assert!(parent.process.ask("sum").await.starts_with("sum = 0, by "));
        parent.process.close_stdin();
        assert_eq!(parent.ends().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn the_socket_file_is_for_its_owner_alone_and_strangers_are_turned_away() {
    common::bounded(async {
        let mut parent = Parent::start().await;
        let child = *parent.children.first().unwrap();
        let Some(path) = socket_file(child) else {
            return println!("left out: the system does not tell where the socket file is");
        };
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        let mut stranger = sockeye::connect(&path).await.unwrap();
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        assert!(parent.process.line().await.starts_with(&format!("child {child} has ended")));
        parent.children.remove(&child);
        parent.children.insert(started(&parent.process.line().await));
        while stranger.next().await.is_some() {}
        assert_eq!(stranger.bytes_read(), 0);
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
        let killed = *parent.children.first().unwrap();
        kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
        let end = format!("child {killed} has ended: signal: 9 (SIGKILL)");
        let gone = format!(" failed: Error(ERR_CHILD_GONE: child {killed} is gone)");
        let mut lines = Vec::new();
        for _ in 0..6 {
            lines.push(parent.process.line().await);
        }
        lines.sort_unstable();
        assert_eq!(lines[0], end);
        let request = lines[1].strip_suffix(&gone).expect(&lines[1]).to_owned();
        assert!(["sleep 3600", "sleep 7200"].contains(&request.as_str()));
        assert_eq!(lines[1..], vec![format!("{request}{gone}"); 5]);

        parent.children.remove(&killed);
        let other = *parent.children.first().unwrap();
        parent.process.tell("sum 1 2").await;
        let mut lines = [parent.process.line().await, parent.process.line().await];
        lines.sort_unstable();
        let new = started(&lines[0]);
        assert!(![killed, other].contains(&new));
        assert!(lines[1].starts_with("sum 1 2 = 3, by "), "{}", lines[1]);
        let by = [parent.process.ask("sum 3").await, parent.process.ask("sum 3").await];
        assert_eq!(BTreeSet::from(by), BTreeSet::from([other, new].map(|child| format!("sum 3 = 3, by {child}"))));
    })
    .await;
}

#[tokio::test]
async fn what_is_in_progress_when_it_stops_is_answered() {
    common::bounded(async {
        for signal in [None, Some(Signal::SIGINT), Some(Signal::SIGTERM)] {
            let mut parent = Parent::start().await;
            for _ in 0..4 {
                parent.process.tell("sleep 1").await;
            }
            for _ in 0..2 {
                parent.process.ask("sum 1").await;
            }
            match signal {
                Some(signal) => parent.process.signal(signal),
                None => parent.process.close_stdin(),
            }
            let lines = parent.ends().await;
            assert_eq!(lines.len(), 4);
            assert!(lines.iter().all(|line| line.starts_with("sleep 1 = null, by ")), "{lines:?}");
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
