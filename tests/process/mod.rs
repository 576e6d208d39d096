//! Other processes: the examples, and this test program once more in another part.

#![allow(dead_code, unreachable_pub)]

use std::ffi::OsStr;
use std::fmt::Debug;
use std::future::Future;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

/// Tells a copy of the test program which part to play.
const PART: &str = "SOCKEYE_TEST_PART";

/// A child process, killed when this is dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Option<ChildStderr>,
    lines: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
}

impl Process {
    /// Runs an example of this crate. Its lines are those that it prints.
    pub fn example(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::spawn(Command::new(example_path(name)).args(arguments))
    }

    /// Runs an example of this crate with these variables in its environment.
    pub fn example_with(
        name: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::spawn(Command::new(example_path(name)).args(arguments).envs(environment.iter().copied()))
    }

    /// Runs a program.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let stdout = child.stdout.take().unwrap();
        Self { stdin: child.stdin.take(), stderr: child.stderr.take(), lines: lines(stdout), child }
    }

    /// Runs this test program again, for the test `test` alone, which finds out by [`part`] what it is to do. Its lines
    /// are those that it [says](say).
    pub fn again(test: &str, part: impl AsRef<str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(PART, part.as_ref());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        Self { stdin: child.stdin.take(), stderr: None, lines: lines(stderr), child }
    }

    /// The next line that the process prints or says.
    pub async fn line(&mut self) -> String {
        match self.lines.next_line().await.unwrap() {
            Some(line) => line,
            None => {
                let status = self.exit().await;
                panic!("no further line: {status}, {}", self.errors().await)
            }
        }
    }

    /// The next line that has this in it.
    pub async fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Tells the process something.
    pub async fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Tells the process something and waits for its answer.
    pub async fn ask(&mut self, line: &str) -> String {
        self.tell(line).await;
        self.line().await
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().expect("the process has ended").try_into().unwrap())
    }

    /// Waits for the end of the process.
    pub async fn exit(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Waits for the end of the process and fails if it has failed.
    pub async fn succeeds(mut self) {
        let lines = self.rest().await;
        let status = self.exit().await;
        assert!(status.success(), "{status}\n{}", lines.join("\n"));
    }

    /// Waits for the end of a process that is to fail, and returns what it has to say about that.
    pub async fn fails(mut self) -> String {
        let status = self.exit().await;
        let errors = self.errors().await;
        assert!(status.code().is_some_and(|code| code != 0), "{status}, {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }

    /// All lines that are still to come, until the process closes its output.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    /// What the process has written to its standard error, once it has ended.
    pub async fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.stderr {
            stderr.read_to_string(&mut text).await.unwrap();
        }
        text
    }

    /// The next line that the process writes to its standard error.
    pub async fn error_line(&mut self) -> String {
        let stderr = self.stderr.as_mut().unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(stderr.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// The most memory that the process ever had resident, in KiB, where the system tells.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse().unwrap())
    }
}

/// Whether `nc` is the one that ends its side when its input ends (`-N`).
pub async fn has_openbsd_netcat() -> bool {
    let Ok(output) = Command::new("nc").arg("-h").output().await else { return false };
    let help = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&help).contains("OpenBSD")
}

fn lines(stream: impl AsyncRead + Send + Unpin + 'static) -> Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>> {
    use tokio::io::AsyncBufReadExt;
    let stream: Box<dyn AsyncRead + Send + Unpin> = Box::new(stream);
    BufReader::new(stream).lines()
}

/// Where cargo has put an example: beside the directory of the test programs.
fn example_path(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: build it first, with `cargo build --examples`", path.display());
    path
}

/// What this process is to do, if it is a copy that another one has started.
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Says something to the process that has started this one.
pub fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// What the process that has started this one tells it, as it comes in. When that one is gone, this one ends.
pub fn told() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(0);
    });
    receiver
}

/// Waits until `measure` gives `expected`, letting other tasks run meanwhile, and fails if it never does.
pub async fn becomes<T: PartialEq + Debug>(what: &str, expected: T, measure: impl Fn() -> T) {
    let start = Instant::now();
    loop {
        let value = measure();
        if value == expected {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(50), "{what}: {value:?} instead of {expected:?}");
        tokio::task::yield_now().await;
    }
}

/// How many file descriptors this process has open, where the system tells; otherwise 0.
pub fn open_files() -> usize {
    let count = |path| std::fs::read_dir(path).map(Iterator::count).ok();
    count("/proc/self/fd").or_else(|| count("/dev/fd")).unwrap_or(0)
}

/// How many tasks there are on this runtime.
pub fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Raises the limit of open files as far as it goes, and returns it.
pub fn raise_file_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // macOS reports no limit and then refuses to have none.
    let limit = if cfg!(target_os = "macos") { hard.min(10_240) } else { hard };
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
    limit
}

/// Runs a test whose clock stands still on a thread of its own, and makes it fail instead of hang. (A timeout by that
/// clock would come as soon as the test waits for anything else.)
pub fn bounded_by_the_real_clock<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    bounded_thread(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(test());
    });
}

/// Runs a blocking test on a thread of its own, and makes it fail instead of hang.
pub fn bounded_thread(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = sender.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(Duration::from_secs(60)) {
        panic!("the test hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
