//! What a connection's task may end with, and what becomes of its errors.

mod common;

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
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

/// Takes a few lines of a program that has errors of its own.
async fn serve(socket: Socket, result: Result<(), BoxError>) -> Result<(), BoxError> {
    socket.end_with("served");
    result
}

#[tokio::test]
async fn nothing_is_no_failure() {
    bounded(async {
        assert_eq!(logged(|socket| async move { socket.end_with("served") }).await, [""; 0]);
        let closure = async |socket: Socket| {
            socket.write("served");
        };
        assert_eq!(logged(closure).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn an_error_is_reported() {
    bounded(async {
        let error = || sockeye::Error::new("ERR_BAD_LINE", "The line is bad.");
        let shown = format!("DEBUG {}", error());
        let failing = move |socket: Socket| async move {
            socket.end_with("served");
            Err(error())
        };
        assert_eq!(logged(failing).await, [shown.as_str(); 2]);
        let own = |socket| async move { serve(socket, Err("boxed".into())).await.map_err(sockeye::Error::other) };
        assert_eq!(logged(own).await, ["DEBUG boxed"; 2]);
    })
    .await;
}

/// That this compiles is the point: nothing but `on_connection` says what the errors are.
#[tokio::test]
async fn a_closure_that_asks_need_not_name_the_error() {
    bounded(async {
        let server = Server::new().on_connection(|mut socket| async move {
            let line: u32 = "12".parse().map_err(sockeye::Error::other)?;
            let mut text = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut text).await?;
            let echo = socket.handle();
            socket.pipe(&echo).await?;
            socket.end_with(line.to_string());
            Ok(())
        });
        server.listen(("127.0.0.1", 0)).await.unwrap();
        server.close().await.unwrap();
    })
    .await;
}
