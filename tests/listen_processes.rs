//! Listening, where it takes other processes to see what comes of it.
//!
//! A process that is being started has all descriptors of this one for a moment, so that a listener can live a little
//! longer than its server. Tests that need it gone at once are not in this file.

mod child;
mod common;
mod listening;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use child::in_processes_of_their_own;
use common::{bounded, socket_path, temporary_directory};
use listening::{bound, exchange, text};
use sockeye::{Address, Endpoint, IntoListenHandle, ListenOptions, Server, connect};

in_processes_of_their_own! {
    async fn a_relative_path_is_the_one_of_when_it_was_bound() {
        let [first, second] = [temporary_directory(), temporary_directory()];
        std::env::set_current_dir(&first).unwrap();
        let mut server = Server::new();
        server.listen("./s").await.unwrap();
        assert_eq!(server.address(), Some(Address::Path("./s".into())));
        exchange(&mut server, "./s").await;

        std::env::set_current_dir(&second).unwrap();
        std::fs::write("./s", "somebody else's").unwrap();
        exchange(&mut server, first.join("s")).await;
        server.close();
        assert!(!first.join("s").exists());
        assert!(second.join("s").exists());
        assert_eq!(server.listen("./s").await.unwrap_err().code(), "EADDRINUSE");
    }

    async fn a_working_directory_that_is_gone_leaves_other_paths_alone() {
        let directory = temporary_directory();
        let gone = directory.join("gone");
        std::fs::create_dir(&gone).unwrap();
        std::env::set_current_dir(&gone).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        let mut server = Server::new();
        assert_eq!(server.listen("./s").await.unwrap_err().code(), "EACCES");
        server.listen(directory.join("s")).await.unwrap();
        exchange(&mut server, directory.join("s")).await;
        server.close();
        assert!(!directory.join("s").exists());
    }
}

const MODES: &str = "the_socket_file_has_the_mode_of_the_mask_and_the_options";

#[tokio::test]
async fn the_socket_file_has_the_mode_of_the_mask_and_the_options() {
    if child::is_for(MODES) {
        return say_modes().await;
    }
    bounded(async {
        for (umask, modes) in [
            ("022", ["755", "755", "777", "777", "600", "666", "60"]),
            ("000", ["777", "777", "777", "777", "600", "666", "60"]),
            ("077", ["700", "744", "722", "766", "600", "666", "60"]),
            ("777", ["0", "444", "222", "666", "600", "666", "60"]),
        ] {
            let child = child::command_with_umask(MODES, umask).stdout(Stdio::piped()).spawn().unwrap();
            assert_eq!(child::said(child).await, modes, "{umask}");
        }
    })
    .await;
}

/// The modes without options, readable by all, writable by all, and both; then with a mode of their own.
async fn say_modes() {
    let path = PathBuf::from(socket_path());
    let all = |readable, writable| ListenOptions::new().readable_all(readable).writable_all(writable);
    for options in [
        all(false, false),
        all(true, false),
        all(false, true),
        all(true, true),
        ListenOptions::new().mode(0o600),
        all(true, true).mode(0o600),
        ListenOptions::new().mode(0o100_060),
    ] {
        let server = Server::new();
        server.listen_with(&path, options).await.unwrap();
        child::say(format_args!("{:o}", path.metadata().unwrap().permissions().mode() & 0o777));
    }
}

const INHERITED: &str = "a_listener_passed_to_another_process_is_listened_on_there";

#[tokio::test]
async fn a_listener_passed_to_another_process_is_listened_on_there() {
    if child::is_for(INHERITED) {
        return serve_inherited().await;
    }
    bounded(async {
        let path = socket_path();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let passed = Server::new();
        passed.listen("127.0.0.1:0").await.unwrap();
        let cases: [(Endpoint, OwnedFd); 3] = [
            (tcp.local_addr().unwrap().into(), tcp.into()),
            (PathBuf::from(&path).into(), unix.into()),
            (passed.address().unwrap().into(), passed.into_listen_handle().unwrap()),
        ];
        drop(passed);
        for (endpoint, handle) in cases {
            let mut server = Server::new();
            server.listen_on(handle.try_clone().unwrap()).await.unwrap();
            exchange(&mut server, &endpoint).await;
            server.close().await.unwrap();

            let child = child::command(INHERITED).stdin(Stdio::from(handle)).stdout(Stdio::piped()).spawn().unwrap();
            for _ in 0..3 {
                let mut client = connect(&endpoint).await.unwrap();
                client.end_with("over there");
                assert_eq!(text(&mut client).await, "over there");
            }
            assert_eq!(child::said(child).await, [endpoint.to_string()]);
        }
    })
    .await;
}

async fn serve_inherited() {
    let mut server = Server::new();
    server.listen_on(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).await.unwrap();
    child::say(server.address().unwrap());
    for _ in 0..3 {
        let mut socket = server.accept().await.unwrap();
        let echo = socket.handle();
        socket.pipe(&echo).await.unwrap();
    }
}

const NO_SS: &str = "ss is not on the path: the backlog is not looked at";

#[tokio::test]
async fn the_backlog_is_511_or_what_the_options_say() {
    bounded(async {
        let limit: u32 = match std::fs::read_to_string("/proc/sys/net/core/somaxconn") {
            Ok(limit) => limit.trim().parse().unwrap(),
            Err(_) => return println!("the system's limit is unknown: the backlog is not looked at"),
        };
        let with = |backlog| ListenOptions::new().backlog(backlog);
        for (options, backlog) in [
            (ListenOptions::new(), 511),
            (with(1), 1),
            (with(7), 7),
            (with(100_000), 100_000),
            (with(u32::MAX), u32::MAX),
        ] {
            let server = Server::new();
            let listen = |form: u8| match form {
                0 => server.listen_with("127.0.0.1:0", options.clone()),
                1 => server.listen_with("localhost:0", options.clone()),
                2 => server.listen_on_with(bound("127.0.0.1:0"), options.clone()),
                _ => server.listen_on_with(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), options.clone()),
            };
            for form in 0..4 {
                listen(form).await.unwrap();
                match backlog_of(server.address().unwrap().port().unwrap()).await {
                    Some(seen) => assert_eq!(seen, backlog.min(limit), "form {form}"),
                    None => return println!("{NO_SS}"),
                }
                server.close();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_backlog_of_zero_is_the_default_as_in_node() {
    bounded(async {
        let server = Server::new();
        server.listen_with("127.0.0.1:0", ListenOptions::new().backlog(0)).await.unwrap();
        match backlog_of(server.address().unwrap().port().unwrap()).await {
            Some(seen) => assert_eq!(seen, 511),
            None => println!("{NO_SS}"),
        }
    })
    .await;
}

/// How many connections may wait at a port, as `ss` tells; `None` without it.
async fn backlog_of(port: u16) -> Option<u32> {
    let filter = format!("sport = :{port}");
    let output = tokio::process::Command::new("ss").args(["-ltnH", &filter]).kill_on_drop(true).output().await.ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut fields = text.split_whitespace();
    Some(fields.nth(2)?.parse().unwrap())
}
