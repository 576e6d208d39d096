//! Which of two things happens first.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

/// Whether the first one happens before the other; at the same time counts.
pub(crate) async fn is_before(
    first: impl Future<Output = ()>,
    mut poll_other: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> bool {
    let mut first = pin!(first);
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => poll_other(cx).map(|()| false),
    })
    .await
}
