//! The background task that writes what a socket has queued.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::shared::{Locked, Shared};
use crate::core::stream::Io;

/// How long a peer may take nothing of what a dropped socket still has for it, or not answer at all.
pub(crate) const LINGER: Duration = Duration::from_secs(30);

/// Writes until the queue is empty, then sends the FIN if the write side has ended, and is over. Started when a write
/// does not fit, so a connection whose peer keeps up never pays for it.
pub(crate) struct Flush {
    shared: Arc<Shared>,
    linger: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Flush {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, linger: None, is_over: false }
    }
}

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, linger, is_over } = self.get_mut();
        let mut state = shared.lock();
        while let Some(Io::Write) = state.core.next_io() {
            if state.poll_write_queued(cx).is_ready() {
                *linger = None;
                continue;
            }
            state.extra().flusher.park(cx);
            if !state.core.is_detached() {
                return Poll::Pending;
            }
            let linger = linger.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER)));
            std::task::ready!(linger.as_mut().poll(cx));
            tracing::debug!("closing a dropped socket whose peer takes nothing");
            state.core.destroy(None);
        }
        *is_over = true;
        stop(&mut state);
        state.drive();
        Poll::Ready(())
    }
}

/// The runtime may end before the queue does. A later write then starts anew, or reports that there is no runtime; for a
/// dropped socket there is no later write.
impl Drop for Flush {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.shared.lock();
        stop(&mut state);
        if state.core.is_detached() {
            state.core.destroy(None);
            state.drive();
        }
    }
}

fn stop(state: &mut Locked<'_>) {
    if let Some(extra) = &mut state.extra {
        extra.flusher.unpark();
    }
    state.stop_flushing();
}
