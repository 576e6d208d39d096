//! Listening on what a service manager passes on, as docs/operating.md shows it.

mod child;
mod common;
mod listening;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use common::{bounded, socket_path};
use listenfd::ListenFd;
use listening::text;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockeye::{Endpoint, Server, connect};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

const PASSED: &str = "a_program_listens_on_what_systemd_passes_and_takes_who_has_come_before_it";

/// What systemd does in the new process: the listener becomes descriptor 3, and the environment says for whom it is.
const AS_SYSTEMD_DOES: &str = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$";

#[tokio::test]
async fn a_program_listens_on_what_systemd_passes_and_takes_who_has_come_before_it() {
    if child::is_for(PASSED) {
        return serve().await;
    }
    bounded(async {
        let path = socket_path();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let endpoints: [(Endpoint, OwnedFd); 2] =
            [(tcp.local_addr().unwrap().into(), tcp.into()), (Path::new(&path).into(), unix.into())];
        for (endpoint, listener) in endpoints {
            // The manager keeps the listener while the program is stopped and started again: nobody is refused.
            for _ in 0..2 {
                let mut before = connect(&endpoint).await.unwrap();
                let stdin = Stdio::from(listener.try_clone().unwrap());
                let program = start(child::command_behind(PASSED, AS_SYSTEMD_DOES).stdin(stdin));
                assert_eq!(text(&mut before).await, "hello");
                let mut client = connect(&endpoint).await.unwrap();
                assert_eq!(text(&mut client).await, "hello");
                assert_eq!(stop(program).await, [format!("listening on {endpoint}")]);
            }
        }
        assert!(Path::new(&path).exists(), "the socket file is the manager's");
    })
    .await;
}

const OTHERS: &str = "what_was_passed_to_another_process_is_left_alone";

#[tokio::test]
async fn what_was_passed_to_another_process_is_left_alone() {
    if child::is_for(OTHERS) {
        return serve().await;
    }
    bounded(async {
        for environment in ["LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_PID=$$", "LISTEN_FDS=0 LISTEN_PID=$$"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let passed = listener.local_addr().unwrap().to_string();
            let script = format!("exec 3<&0 </dev/null; export {environment}");
            let mut program = start(child::command_behind(OTHERS, &script).stdin(Stdio::from(OwnedFd::from(listener))));
            let said = child::line(&mut program).await;
            let own = said.strip_prefix("listening on ").unwrap();
            assert_ne!(own, passed);
            assert_eq!(text(&mut connect(own).await.unwrap()).await, "hello");
            stop(program).await;
        }
    })
    .await;
}

const ACTIVATED: &str = "systemd_socket_activate_starts_a_program_with_its_first_client";

#[tokio::test]
async fn systemd_socket_activate_starts_a_program_with_its_first_client() {
    if child::is_for(ACTIVATED) {
        return serve().await;
    }
    bounded(async {
        let path = socket_path();
        let program = child::command(ACTIVATED);
        let mut activate = Command::new("systemd-socket-activate");
        activate.args(["--listen", &path]);
        for (name, value) in program.as_std().get_envs() {
            activate.arg("--setenv").arg([name, value.unwrap()].join("=".as_ref()));
        }
        activate.arg(program.as_std().get_program()).args(program.as_std().get_args());
        activate.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(mut program) = activate.spawn() else {
            return println!("left out: there is no systemd-socket-activate here");
        };
        let mut client = loop {
            match connect(&path).await {
                Ok(client) => break client,
                // It does not listen yet.
                Err(error) => assert!(["ENOENT", "ECONNREFUSED"].contains(&error.code()), "{error}"),
            }
            assert_eq!(program.try_wait().unwrap(), None);
            tokio::task::yield_now().await;
        };
        assert_eq!(text(&mut client).await, "hello");
        assert_eq!(stop(program).await, [format!("listening on {path}")]);
    })
    .await;
}

/// The program: greets everybody, and goes on until SIGTERM.
async fn serve() {
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let server = Server::new().on_connection(|socket| async move {
        socket.end_with("hello");
        Ok(())
    });
    let mut passed = ListenFd::from_env();
    if let Some(listener) = passed.take_tcp_listener(0).unwrap_or_default() {
        server.listen_on(listener).await.unwrap();
    } else if let Some(listener) = passed.take_unix_listener(0).unwrap_or_default() {
        server.listen_on(listener).await.unwrap();
    } else {
        server.listen("127.0.0.1:0").await.unwrap();
    }
    child::say(format_args!("listening on {}", server.address().unwrap()));
    terminated.recv().await;
    server.close().await.unwrap();
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Stops a program as systemd does, and returns what it had to say.
async fn stop(program: Child) -> Vec<String> {
    kill(Pid::from_raw(program.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    child::said(program).await
}
