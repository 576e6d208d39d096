//! A task that may be waiting.

use std::task::{Context, Waker};

/// A task that may be waiting, with its last waker.
#[derive(Debug, Default)]
pub(crate) struct Party {
    waker: Option<Waker>,
    waiting: bool,
}

impl Party {
    pub(crate) fn park(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
        self.waiting = true;
    }

    pub(crate) fn unpark(&mut self) {
        self.waiting = false;
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The waker, if the task waits; it then waits no more.
    pub(crate) fn take(&mut self) -> Option<Waker> {
        std::mem::take(&mut self.waiting).then(|| self.waker.clone()).flatten()
    }
}
