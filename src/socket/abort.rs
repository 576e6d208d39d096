//! Destroying a socket for a reason that comes from outside: a token, or time.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::flush::LINGER;
use super::shared::Shared;
use super::wait::{Wait, poll_wait};
use crate::before::is_before;
use crate::error::Error;

/// Destroys the socket when the token is cancelled, which may have been before.
pub(crate) fn watch(shared: &Arc<Shared>, token: CancellationToken) {
    if token.is_cancelled() {
        return abort(shared);
    }
    let watched = shared.clone();
    let task = async move {
        if is_before_close(&watched, token.cancelled()).await {
            abort(&watched);
        }
    };
    if shared.spawn(task).is_none() {
        shared.lock().core.destroy(Some(Error::no_runtime()));
    }
}

/// Gives a connection that is still being made for a dropped socket up, when nobody answers for too long.
pub(crate) fn limit_connecting(shared: &Arc<Shared>) {
    let limited = shared.clone();
    // Without a runtime nothing is being connected.
    shared.spawn(async move {
        if !is_before_close(&limited, tokio::time::sleep(LINGER)).await {
            return;
        }
        let mut state = limited.lock();
        if state.core.is_connecting() {
            state.core.destroy(None);
        }
    });
}

/// Whether this happens before the socket is closed.
async fn is_before_close(shared: &Arc<Shared>, happening: impl Future<Output = ()>) -> bool {
    is_before(happening, |cx| poll_wait(shared, Wait::Closed, cx).map(drop)).await
}

fn abort(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    state.core.destroy(Some(Error::aborted()));
    state.drive();
}
