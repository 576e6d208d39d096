//! Tests in a process of their own, for what concerns the whole process.

#![allow(dead_code, unused_imports, unused_macros)]

use std::env;
use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

const TEST: &str = "SOCKEYE_TEST_IN_CHILD";

/// Whether this process was started by [`command`] for that test.
pub(crate) fn is_for(test: &str) -> bool {
    env::var(TEST).is_ok_and(|name| name == test)
}

/// Runs one test of this file alone. The process is killed when its handle is dropped.
pub(crate) fn command(test: &str) -> Command {
    with_arguments(Command::new(env::current_exe().unwrap()), test)
}

/// Like [`command`], with another file mode mask.
pub(crate) fn command_with_umask(test: &str, umask: &str) -> Command {
    command_behind(test, &format!("umask {umask}"))
}

/// Like [`command`], with something that the shell does before, in the same process.
pub(crate) fn command_behind(test: &str, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(env::current_exe().unwrap());
    with_arguments(shell, test)
}

fn with_arguments(mut command: Command, test: &str) -> Command {
    command.args(["--exact", test, "--nocapture"]).env(TEST, test).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the body of a test in a process of its own. It fails if that fails.
pub(crate) fn run(test: &str, body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = |limit| Duration::from_secs(limit);
    if is_for(test) {
        return runtime.block_on(async { tokio::time::timeout(bounded(50), body).await.expect("the test hangs") });
    }
    runtime.block_on(async {
        let output = tokio::time::timeout(bounded(60), command(test).output()).await.expect("the test hangs").unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{}\n{text}", output.status);
        assert!(text.contains("1 passed"), "no such test: {text}");
    });
}

/// Says a line to the parent.
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("\nsays: {line}");
}

/// The next line that a child says.
pub(crate) async fn line(child: &mut Child) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    loop {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(stdout.read_u8().await.expect("the child says nothing"));
        }
        if let Some(line) = String::from_utf8(line).unwrap().strip_prefix("says: ") {
            return line.trim_end().to_owned();
        }
    }
}

/// What a child said until it ended, without error.
pub(crate) async fn said(child: Child) -> Vec<String> {
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("says: ")).map(str::to_owned).collect()
}

/// Defines tests that run in a process of their own.
macro_rules! in_processes_of_their_own {
    ($($(#[$meta:meta])* async fn $name:ident() $body:block)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            child::run(stringify!($name), async $body);
        }
    )*};
}
pub(crate) use in_processes_of_their_own;
