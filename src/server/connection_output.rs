//! What the task of a connection may end with.

use crate::error::{Error, Result};

/// What the task that serves a connection may end with: nothing, or a [`sockeye::Result<()>`](crate::Result).
///
/// It is implemented for these two only, so that a closure which uses `?` need not say what its errors become. An error
/// concerns this connection alone; it is logged (`tracing`, level debug). Those of other kinds are wrapped by
/// [`Error::other`]:
///
/// ```
/// use sockeye::{Error, Event, Server};
///
/// let server = Server::new().on_connection(|mut socket| async move {
///     while let Some(event) = socket.next().await {
///         if let Event::Data(chunk) = event {
///             let text = std::str::from_utf8(&chunk).map_err(Error::other)?;
///             let number: u64 = text.trim().parse().map_err(Error::other)?;
///             socket.write(format!("{}\n", number.saturating_mul(2)));
///         }
///     }
///     Ok(())
/// });
/// # drop(server);
/// ```
pub trait ConnectionOutput: sealed::IntoFailure {}

pub(crate) mod sealed {
    use super::Error;

    pub trait IntoFailure {
        fn into_failure(self) -> Option<Error>;
    }
}

impl ConnectionOutput for () {}

impl sealed::IntoFailure for () {
    fn into_failure(self) -> Option<Error> {
        None
    }
}

impl ConnectionOutput for Result<()> {}

impl sealed::IntoFailure for Result<()> {
    fn into_failure(self) -> Option<Error> {
        self.err()
    }
}
