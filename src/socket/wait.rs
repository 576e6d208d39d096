//! Futures that wait for something other than the next event.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::shared::{Shared, State};
use crate::error::Result;

/// What a future waits for. All but the last also end when the socket fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// So many bytes, counted from the beginning, have reached the kernel.
    Flushed(u64),
    /// That, and nothing is corked.
    Uncorked(u64),
    /// The queue is empty after it was not.
    Flushable,
    /// The FIN is sent.
    Finished,
    /// The transport is released.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    wait: Wait,
    waker: Waker,
}

/// Ends a wait that [`Wait`] describes: `Ok` if it came true, the failure otherwise.
pub(crate) fn poll_wait(shared: &Arc<Shared>, wait: Wait, cx: &mut Context<'_>) -> Poll<Result<()>> {
    let mut state = shared.lock();
    if state.has_come_true(wait) {
        return Poll::Ready(Ok(()));
    }
    if state.has_become_impossible(wait) {
        return Poll::Ready(Err(state.core.failure()));
    }
    state.wait(wait, cx);
    Poll::Pending
}

impl State {
    pub(crate) fn wait(&mut self, wait: Wait, cx: &mut Context<'_>) {
        let waiters = &mut self.extra().waiters;
        let known = |waiter: &Waiter| waiter.wait == wait && waiter.waker.will_wake(cx.waker());
        if !waiters.iter().any(known) {
            waiters.push(Waiter { wait, waker: cx.waker().clone() });
        }
    }

    pub(crate) fn has_waiters(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| !extra.waiters.is_empty())
    }

    /// Those whose wait is over.
    pub(crate) fn take_waiters(&mut self) -> Vec<Waker> {
        if !self.has_waiters() {
            return Vec::new();
        }
        let waiters = std::mem::take(&mut self.extra().waiters);
        let (over, waiting): (Vec<_>, Vec<_>) = waiters
            .into_iter()
            .partition(|Waiter { wait, .. }| self.has_come_true(*wait) || self.has_become_impossible(*wait));
        self.extra().waiters = waiting;
        over.into_iter().map(|waiter| waiter.waker).collect()
    }

    fn has_come_true(&self, wait: Wait) -> bool {
        match wait {
            // Nothing is out before there is a connection, not even nothing.
            Wait::Flushed(position) => self.core.bytes_flushed() >= position && self.core.has_connected(),
            Wait::Uncorked(position) => {
                let is_held = self.core.is_corked() || self.core.has_write_failed();
                !is_held && self.has_come_true(Wait::Flushed(position))
            }
            Wait::Flushable => self.was_flushed,
            Wait::Finished => self.core.is_finished(),
            Wait::Closed => self.core.is_released(),
        }
    }

    fn has_become_impossible(&self, wait: Wait) -> bool {
        wait != Wait::Closed && self.core.has_failed()
    }
}
