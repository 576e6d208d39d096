//! What the task of a connection may end with.

use std::fmt::Display;

/// What the task that serves a connection may end with: nothing, or a `Result<(), E>` whose error can be displayed, such
/// as [`sockeye::Result`](crate::Result), [`std::io::Result`], a `Box<dyn Error + Send + Sync>`, or what `anyhow` makes.
///
/// It is implemented for these only. An error concerns this connection alone; it is logged (`tracing`, level debug).
///
/// A closure that uses `?` has to say what its errors become, since nothing else does. An `async` closure can do so in
/// its signature:
///
/// ```
/// use sockeye::{Event, Server};
///
/// let server = Server::new().on_connection(async |mut socket| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     while let Some(event) = socket.next().await {
///         if let Event::Data(chunk) = event {
///             let number: u64 = std::str::from_utf8(&chunk)?.trim().parse()?;
///             socket.write(format!("{}\n", number.saturating_mul(2)));
///         }
///     }
///     Ok(())
/// });
/// # drop(server);
/// ```
pub trait ConnectionOutput: sealed::IntoFailure {}

pub(crate) mod sealed {
    use super::Display;

    pub trait IntoFailure {
        fn into_failure(self) -> Option<impl Display>;
    }
}

impl ConnectionOutput for () {}

impl sealed::IntoFailure for () {
    fn into_failure(self) -> Option<impl Display> {
        None::<std::convert::Infallible>
    }
}

impl<E: Display> ConnectionOutput for Result<(), E> {}

impl<E: Display> sealed::IntoFailure for Result<(), E> {
    fn into_failure(self) -> Option<impl Display> {
        self.err()
    }
}
