//! What a connection's task may end with, and what becomes of its errors.

mod common;

use std::error::Error;
use std::fmt::{self, Debug};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};

use common::bounded;
use common::serving::{connect, endpoints, text_of};
use sockeye::{ConnectionOutput, Server, Socket};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

type BoxError = Box<dyn Error + Send + Sync>;

/// What the library logs about failed connections.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sockeye") && *metadata.level() <= Level::DEBUG
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "error" {
            self.0 += &format!(" {value:?}");
        }
    }
}

/// Serves one connection over each transport, and returns what was logged of it.
async fn logged<F, T>(listener: F) -> Vec<String>
where
    F: Fn(Socket) -> T + Clone + Send + Sync + 'static,
    T: Future<Output: ConnectionOutput> + Send + 'static,
{
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for endpoint in endpoints() {
        let server = Server::new().on_connection(listener.clone());
        server.listen(&endpoint).await.unwrap();
        let client = connect(&server.address().unwrap()).await;
        client.end_with("12\n");
        assert_eq!(text_of(client).await, "served");
        server.close().await.unwrap();
    }
    std::mem::take(&mut *log.0.lock().unwrap())
}

/// Takes a few lines of a program, with a type of its own for errors.
async fn serve<E>(socket: Socket, result: Result<(), E>) -> Result<(), E> {
    socket.end_with("served");
    result
}

/// An error that is no `std::error::Error`, as `anyhow::Error` is none.
struct Opaque;

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("opaque")
    }
}

#[tokio::test]
async fn nothing_is_no_failure() {
    bounded(async {
        assert_eq!(logged(|socket| async move { socket.end_with("served") }).await, [""; 0]);
        assert_eq!(
            logged(async |socket| {
                socket.write("served");
            })
            .await,
            [""; 0]
        );
    })
    .await;
}

#[tokio::test]
async fn a_result_of_any_error_that_can_be_displayed_is_reported() {
    bounded(async {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(logged(move |socket| serve(socket, Err(broken()))).await, ["DEBUG broken pipe"; 2]);
        let error = || sockeye::Error::new("ERR_BAD_LINE", "The line is bad.");
        let shown = format!("DEBUG {}", error());
        assert_eq!(logged(move |socket| serve(socket, Err(error()))).await, [shown.as_str(); 2]);
        assert_eq!(logged(|socket| serve(socket, Err(BoxError::from("boxed")))).await, ["DEBUG boxed"; 2]);
        assert_eq!(logged(|socket| serve(socket, Err(Opaque))).await, ["DEBUG opaque"; 2]);
        assert_eq!(logged(|socket| serve(socket, Err("text"))).await, ["DEBUG text"; 2]);
        assert_eq!(logged(|socket| serve(socket, Ok::<_, BoxError>(()))).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn closures_name_the_error_only_if_nothing_else_does() {
    bounded(async {
        // The last expression says it ...
        let copied = |mut socket: Socket| async move {
            socket.end_with("served");
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
            io::Result::Ok(())
        };
        assert_eq!(logged(copied).await, [""; 0]);
        // ... or the signature.
        let parsed = async |socket: Socket| -> Result<(), BoxError> {
            socket.end_with("served");
            let _number: u32 = "twelve".parse()?;
            Ok(())
        };
        assert_eq!(logged(parsed).await, ["DEBUG invalid digit found in string"; 2]);
    })
    .await;
}
