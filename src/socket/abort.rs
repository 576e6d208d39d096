//! Destroying a socket by a token.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_util::sync::CancellationToken;

use super::shared::{Shared, Wait, poll_wait};
use crate::error::Error;

/// Destroys the socket when the token is cancelled, which may have been before.
pub(crate) fn watch(shared: &Arc<Shared>, token: CancellationToken) {
    if token.is_cancelled() {
        return abort(shared);
    }
    let watched = shared.clone();
    let task = async move {
        let mut cancelled = pin!(token.cancelled());
        let cancelled_first = poll_fn(|cx: &mut Context<'_>| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            poll_wait(&watched, Wait::Closed, cx).map(|_| false)
        });
        if cancelled_first.await {
            abort(&watched);
        }
    };
    if shared.spawn(task).is_none() {
        shared.lock().core.destroy(Some(Error::no_runtime()));
    }
}

fn abort(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    state.core.destroy(Some(Error::aborted()));
    state.drive();
}
