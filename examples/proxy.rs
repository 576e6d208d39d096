//! A proxy from one endpoint to another, each of them TCP or a Unix domain socket.
//!
//!     cargo run --release --example proxy -- localhost:8081 localhost:8080
//!     cargo run --release --example proxy -- /tmp/echo.sock localhost:8124
//!     cargo run --release --example proxy -- 0.0.0.0:8081 localhost:8080 blocked.txt
//!
//! The last one refuses the peers that `blocked.txt` names, with a rule on each line: `192.0.2.1`, `10.0.0.1-10.0.0.9`,
//! `fe80::/10`, or in Node's words `Subnet: IPv4 10.0.0.0/8`. SIGHUP reads it again.
//!
//! Ctrl-C and SIGTERM stop it: no more connections are taken, and the open ones have ten seconds to end, before they
//! are cut off; a second Ctrl-C does so at once. `MAX_CONNECTIONS` and `IDLE_SECONDS` in the environment change the limits.

use std::{env, fmt, fs, str::FromStr, time::Duration};

use sockeye::{BlockList, ConnectOptions, Endpoint, Error, Server, ServerEvent, ServerOptions, Socket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> sockeye::Result<()> {
    tracing_subscriber::fmt().with_target(false).init();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (listen, target, rules) = match &arguments[..] {
        [listen, target] => (listen, target, None),
        [listen, target, rules] => (listen, target, Some(rules)),
        _ => return Err(Error::other("usage: proxy endpoint target [file of rules]")),
    };
    let target: Endpoint = target.parse()?;
    let idle = Duration::from_secs(setting("IDLE_SECONDS", 300)?);
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hung_up = signal(SignalKind::hangup())?;

    let cut_off = CancellationToken::new();
    let upstream = ConnectOptions::new()
        .signal(cut_off.clone())
        .connect_timeout(Duration::from_secs(10)) // for all addresses of the target, which race
        .timeout(idle)
        .no_delay(true)
        .keep_alive(true);
    let mut options = ServerOptions::new().no_delay(true).keep_alive(true);
    if let Some(path) = rules {
        options = options.block_list(read_rules(path)?);
    }
    let mut server = Server::with_options(options).on_connection(move |client| {
        client.set_timeout(idle);
        forward(client, upstream.clone().connect(target.clone()))
    });
    server.set_max_connections(Some(setting("MAX_CONNECTIONS", 400)?)); // each takes two descriptors, of mostly 1024
    tracing::info!("listening on {}", server.listen(listen.as_str()).await?);

    loop {
        tokio::select! {
            event = server.next() => match event {
                Some(ServerEvent::Drop(dropped)) => tracing::warn!(?dropped, "too many connections"),
                Some(ServerEvent::Blocked(client)) => tracing::info!(%client, "blocked"),
                Some(ServerEvent::Error(error)) => tracing::error!(%error),
                _ => {}
            },
            _ = hung_up.recv() => match rules.map(|path| read_rules(path)) {
                Some(Ok(list)) => {
                    let rules = list.len();
                    server.set_block_list(Some(list.into()));
                    tracing::info!(rules, "read the rules again");
                }
                Some(Err(error)) => tracing::error!(%error, "the old rules stay"),
                None => {}
            },
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        }
    }
    let closed = server.close();
    tracing::info!(connections = server.connections(), "stopping");
    let has_finished = tokio::select! {
        result = timeout(Duration::from_secs(10), closed) => result.is_ok(),
        _ = interrupted.recv() => false,
    };
    if !has_finished {
        tracing::warn!(connections = server.connections(), "cutting off what is left");
        cut_off.cancel();
        server.closed().await?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Passes on what comes, in both directions, each until its end.
async fn forward(mut client: Socket, mut upstream: Socket) -> sockeye::Result<()> {
    let start = Instant::now();
    let result = client.pipe_bidirectional(&mut upstream).await;
    let time = start.elapsed();
    let peer = client.peer_addr().map(tracing::field::display); // none, over a Unix domain socket
    let (sent, received) = (client.bytes_read(), upstream.bytes_read());
    match &result {
        Ok(_) => tracing::info!(peer, sent, received, ?time, "closed"),
        Err(error) => tracing::warn!(peer, sent, received, ?time, %error, "failed"),
    }
    result.map(drop)
}

fn read_rules(path: &str) -> sockeye::Result<BlockList> {
    let mut list = BlockList::new();
    for (index, line) in fs::read_to_string(path).map_err(|error| about(path, error))?.lines().enumerate() {
        let rule = line.split('#').next().unwrap_or_default().trim();
        if !rule.is_empty() {
            list.add_rule(rule).map_err(|error| about(format!("{path}:{}", index + 1), error))?;
        }
    }
    Ok(list)
}

fn setting<T: FromStr>(name: &str, default: T) -> sockeye::Result<T> {
    let Ok(text) = env::var(name) else { return Ok(default) };
    text.parse().map_err(|_| about(name, format!("{text:?} makes no sense here")))
}

fn about(subject: impl fmt::Display, error: impl fmt::Display) -> Error {
    Error::other(format!("{subject}: {error}"))
}
