//! The short way: reading and writing on a connection where nothing else is going on.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::ReadTo;
use super::shared::{Consequences, Flushing, Locked, Shared, State, is_transient, now};
use crate::core::queue::GATHER_BELOW;
use crate::data::Data;
use crate::error::Error;

/// How much one turn gathers at most.
const GATHER_LIMIT: usize = 16 * 1024;

/// What a socket remembers between two looks of its consumer.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The connection is open on both sides and nothing is queued, due, or waited for. It stays so until somebody takes
    /// the state to change it, so reading and writing need not look at anything else.
    is_quiet: bool,
    /// Since the consumer last looked, something was written, and it has not gone to sleep.
    has_written: bool,
    /// What was written after that is queued until the turn ends. It counts as written: whoever looks at the state finds
    /// it with the kernel.
    is_gathering: bool,
}

impl Turn {
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    pub(super) fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    /// The next write goes straight to the kernel again.
    pub(super) fn begin(&mut self) {
        self.has_written = false;
    }
}

impl Shared {
    /// Writes `data` as [`State::write`] does. The first write of a turn goes to the kernel at once; small ones that
    /// follow are gathered, and go with a single call when the turn ends.
    pub(crate) fn write(self: &Arc<Self>, data: impl Data) -> bool {
        let mut locked = self.lock_as_it_is();
        if locked.state.turn.is_quiet {
            return locked.write_quietly(data);
        }
        locked.write(data)
    }
}

impl Locked<'_> {
    /// Reads, as long as the connection stays quiet. Otherwise returns `None`, and what reading brought is in the state.
    pub(super) fn poll_read_quietly(&mut self, cx: &mut Context<'_>, read_to: &mut ReadTo<'_>) -> Option<Poll<usize>> {
        let state = &mut *self.state;
        let (true, Some(transport)) = (state.turn.is_quiet, &mut state.transport) else { return None };
        state.turn.begin();
        match read_to.poll_read(transport, cx) {
            Poll::Ready(Ok(count)) if count > 0 => {
                state.consumer.unpark();
                state.core.handle_read(count);
                if state.core.tracks_activity() {
                    state.core.handle_activity(now());
                }
                Some(Poll::Ready(count))
            }
            Poll::Ready(Ok(_)) => {
                self.core.handle_eof();
                None
            }
            Poll::Ready(Err(error)) => {
                self.core.handle_read_error(Error::system("read", error));
                None
            }
            Poll::Pending => Some(Poll::Pending),
        }
    }

    /// The consumer waits. This changes nothing for anybody else.
    pub(super) fn park(&mut self, cx: &Context<'_>) {
        self.state.consumer.park(cx);
    }

    /// Ends the turn for what it has gathered.
    pub(super) fn write_gathered(&mut self) {
        if !std::mem::take(&mut self.state.turn.is_gathering) {
            return;
        }
        self.state.core.handle_gathered();
        self.drive();
        self.state.turn.is_quiet = self.state.is_at_rest();
    }

    fn write_quietly(&mut self, data: impl Data) -> bool {
        let length = data.as_bytes().len();
        if self.may_gather(length) {
            self.gather(data.as_bytes());
            return true;
        }
        self.write_gathered();
        let state = &mut *self.state;
        let (true, Some(transport)) = (state.turn.is_quiet && length > 0, &mut state.transport) else {
            return self.write(data);
        };
        let written = transport.try_write(data.as_bytes());
        if !matches!(written, Ok(count) if count == length) {
            return self.handle_direct(data, written);
        }
        state.turn.has_written = !state.consumer.is_waiting();
        state.core.handle_direct_write(length);
        if state.core.tracks_activity() {
            self.touch();
        }
        true
    }

    /// Whether this is a small write behind another one of the same turn. A turn ends when the consumer looks, or when a
    /// task that was started for that purpose runs.
    fn may_gather(&self, length: usize) -> bool {
        let State { turn, core, .. } = &*self.state;
        turn.has_written
            && length < GATHER_BELOW
            && length + core.writable_length() <= GATHER_LIMIT
            && self.shared.has_runtime()
    }

    fn gather(&mut self, bytes: &[u8]) {
        let state = &mut *self.state;
        state.turn.is_gathering = true;
        state.core.gather(bytes);
        if state.flushing == Flushing::Nobody {
            state.flushing = Flushing::Soon;
            self.consequences = Some(Consequences::flush(self.shared));
        }
    }
}

impl State {
    /// Whether reading and writing is all that is going on.
    pub(super) fn is_at_rest(&self) -> bool {
        self.core.is_flowing()
            && self.transport.is_some()
            && self.flushing != Flushing::Task
            && !self.has_waiters()
            && !self.has_consequences()
    }

    pub(super) fn write_directly(&mut self, data: impl Data) -> bool {
        let length = data.as_bytes().len();
        match &mut self.transport {
            Some(transport) if length > 0 => {
                let written = transport.try_write(data.as_bytes());
                self.handle_direct(data, written)
            }
            _ => self.handle_direct(data, Ok(0)),
        }
    }

    /// Takes note of what the kernel said to a direct write, and queues what it did not take.
    pub(super) fn handle_direct(&mut self, data: impl Data, written: std::io::Result<usize>) -> bool {
        let length = data.as_bytes().len();
        match written {
            Ok(count) if count == length => self.core.handle_direct_write(length),
            Err(error) if !is_transient(&error) => {
                self.core.handle_direct_failure(length);
                self.handle_write_error(error);
            }
            partial => {
                self.core.queue_rest(length, data.into_rest(partial.unwrap_or(0)));
                self.start_flushing();
            }
        }
        self.touch();
        self.core.accepts_more()
    }
}
