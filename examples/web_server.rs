//! A web server for the files of a directory: hyper over sockeye, as `http` stands on `net`. With TLS (rustls) if a
//! certificate and its key are given.
//!
//!     cargo run --release --example web_server -- docs localhost:8080
//!     curl http://localhost:8080/parity.md
//!
//!     openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
//!         -addext basicConstraints=CA:FALSE -keyout key.pem -out certificate.pem
//!     cargo run --release --example web_server -- docs localhost:8443 certificate.pem key.pem
//!     curl --cacert certificate.pem https://localhost:8443/parity.md
//!
//! Ctrl-C and SIGTERM stop it: requests that run are finished, for up to ten seconds; a second Ctrl-C ends it at once.
//! `MAX_CONNECTIONS` and `IDLE_SECONDS` in the environment change the limits, `LOG=debug` tells how connections end.

use std::{env, fmt, fs, io, pin::pin, str::FromStr, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sockeye::{Error, Server, ServerEvent, ServerOptions, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;
use tower_http::services::ServeDir;

/// How long a TLS handshake, the head of a request, and the end of the server may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> sockeye::Result<()> {
    let level = setting("LOG", tracing::Level::INFO)?;
    tracing_subscriber::fmt().with_max_level(level).with_target(false).init();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (site, endpoint, tls) = match &arguments[..] {
        [site, endpoint] => (site, endpoint, None),
        [site, endpoint, certificate, key] => (site, endpoint, Some(acceptor(certificate, key)?)),
        _ => return Err(Error::other("usage: web_server directory host:port [certificate key]")),
    };
    fs::read_dir(site).map_err(|error| about(site, error))?;
    // Whatever dots and slashes a request has, what is served lies within, or where a symbolic link in it points to.
    let site = ServeDir::new(site);
    let idle = Duration::from_secs(setting("IDLE_SECONDS", 60)?);
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let mut server = Server::with_options(ServerOptions::new().no_delay(true)).on_connection(move |socket: Socket| {
        socket.set_timeout(idle);
        let (tls, site, stop) = (tls.clone(), site.clone(), stopping.clone());
        async move {
            let Some(tls) = tls else { return serve(socket, site, stop).await };
            serve(timeout(PATIENCE, tls.accept(socket)).await.map_err(io::Error::from)??, site, stop).await
        }
    });
    server.set_max_connections(Some(setting("MAX_CONNECTIONS", 500)?));
    tracing::info!("listening on {}", server.listen(endpoint.as_str()).await?);

    loop {
        tokio::select! {
            event = server.next() => match event {
                Some(ServerEvent::Drop(dropped)) => tracing::warn!(?dropped, "too many connections"),
                Some(ServerEvent::Error(error)) => tracing::error!(%error, "cannot accept"),
                _ => {}
            },
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        }
    }
    let closed = server.close();
    stop.cancel();
    tracing::info!(connections = server.connections(), "stopping");
    tokio::select! {
        result = timeout(PATIENCE, closed) => match result {
            Ok(_) => tracing::info!("stopped"),
            Err(_) => tracing::warn!(connections = server.connections(), "stopped before all was done"),
        },
        _ = interrupted.recv() => {}
    }
    Ok(())
}

/// Speaks HTTP on a connection. When the server is to stop, the request that runs is the last one.
async fn serve<S>(stream: S, site: ServeDir, stop: CancellationToken) -> sockeye::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(32 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(site));
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result.map_err(Error::other),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(Error::other)
}

fn acceptor(certificate: &str, key: &str) -> sockeye::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| about(certificate, error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| about(key, error))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
    Ok(Arc::new(config.map_err(|error| about(certificate, error))?).into())
}

fn setting<T: FromStr>(name: &str, default: T) -> sockeye::Result<T> {
    let Ok(text) = env::var(name) else { return Ok(default) };
    text.parse().map_err(|_| about(name, format!("{text:?} makes no sense here")))
}

fn about(subject: &str, error: impl fmt::Display) -> Error {
    Error::other(format!("{subject}: {error}"))
}
