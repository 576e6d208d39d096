//! What the program is to wait for.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static WAITERS: Mutex<Vec<Waker>> = Mutex::new(Vec::new());

/// Waits until nothing is left that a Node program would wait for before it exits: no listening server and no socket
/// that is connecting, reads, or has something to write, in the whole process. `unref`erenced ones do not count.
///
/// A Rust program ends when `main` returns. Await this at its end to have it end as a Node program does.
///
/// A socket that is [paused](crate::SocketHandle::pause) and has nothing to write does not count, as in Node.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// let server = sockeye::Server::new();
/// server.listen(("127.0.0.1", 0)).await?;
/// server.set_referenced(false);
/// sockeye::unreferenced().await; // would wait for the server otherwise
/// # Ok(())
/// # }
/// ```
pub async fn unreferenced() {
    poll_fn(|cx| {
        let mut waiters = WAITERS.lock().unwrap_or_else(PoisonError::into_inner);
        if COUNT.load(Ordering::SeqCst) == 0 {
            return Poll::Ready(());
        }
        if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    })
    .await
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub(crate) struct Reference(());

impl Reference {
    pub(crate) fn new() -> Self {
        COUNT.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if COUNT.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        let waiters = std::mem::take(&mut *WAITERS.lock().unwrap_or_else(PoisonError::into_inner));
        for waiter in waiters {
            waiter.wake();
        }
    }
}
