//! When written bytes are out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::shared::Shared;
use super::wait::{Wait, poll_wait};
use crate::error::{Error, Result};

/// Becomes ready when the bytes of a [`write_with`](crate::SocketHandle::write_with) have reached the kernel.
///
/// The write does not depend on it: it may be dropped, and need not be polled.
#[derive(Debug)]
#[must_use = "it only tells when the bytes are out; use `write` if that does not matter"]
pub struct Written {
    shared: Arc<Shared>,
    /// Positions count from the beginning of this life of the socket.
    life: u32,
    wait: Wait,
    refused: Option<Error>,
}

impl Written {
    pub(crate) fn new(shared: Arc<Shared>, life: u32, wait: Wait, refused: Option<Error>) -> Self {
        Self { shared, life, wait, refused }
    }
}

impl Future for Written {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let is_again = self.shared.lock().life != self.life;
        match &self.refused {
            Some(error) => Poll::Ready(Err(error.clone())),
            None if is_again => Poll::Ready(Err(Error::destroyed("write"))),
            None => poll_wait(&self.shared, self.wait, cx),
        }
    }
}
