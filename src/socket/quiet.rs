//! The short way: reading and writing on a connection where nothing else is going on.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use tokio::time::Sleep;

use super::shared::{Flushing, Locked, Shared, State, is_transient, now};
use super::{Read, has_passed};
use crate::core::queue::GATHER_BELOW;
use crate::data::Data;
use crate::error::{Error, Result};
use crate::transport::Transport;

/// How much one turn gathers at most.
const GATHER_LIMIT: usize = 16 * 1024;

/// What a socket remembers between two looks of its consumer.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The connection is open on both sides, and nothing is queued, due, or waited for.
    pub(super) is_quiet: bool,
    /// The last read took all there was.
    is_drained: bool,
    /// Something was written since the consumer last looked, and it has not gone to sleep.
    pub(super) has_written: bool,
    /// What was written after that is queued until the turn ends. It counts as written: whoever looks at the state finds
    /// it with the kernel.
    pub(super) is_gathering: bool,
}

/// The state of a connection on which only reading and writing goes on. Whatever does more than that needs it as
/// [`Locked`]; letting go of this one has no consequences.
pub(super) struct Quiet<'a> {
    shared: &'a Arc<Shared>,
    state: MutexGuard<'a, State>,
}

impl Shared {
    /// Writes `data` as [`State::write`] does. The first write of a turn goes to the kernel at once; small ones that
    /// follow are gathered, and go with a single call when the turn ends.
    pub(crate) fn write(self: &Arc<Self>, data: impl Data) -> bool {
        match self.lock_if_quiet() {
            Ok(quiet) => quiet.write(data),
            Err(mut state) => state.write(data),
        }
    }

    /// Like [`write`](Self::write), but misuse is an error and changes nothing.
    pub(crate) fn try_write(self: &Arc<Self>, data: impl Data) -> Result<bool> {
        match self.lock_if_quiet() {
            Ok(quiet) => Ok(quiet.write(data)),
            Err(mut state) => {
                let admission = state.core.admit()?;
                Ok(state.write_admitted(admission, data))
            }
        }
    }

    pub(super) fn lock_if_quiet(self: &Arc<Self>) -> Result<Quiet<'_>, Locked<'_>> {
        let state = self.lock_mutex();
        if state.turn.is_quiet { Ok(Quiet { shared: self, state }) } else { Err(Locked::new(self, state)) }
    }
}

impl<'a> Quiet<'a> {
    /// Reads, or leaves the consumer waiting. The error is the state for what reading brought, if that is no data, or
    /// for the idle timeout.
    pub(super) fn poll_read(
        mut self,
        cx: &mut Context<'_>,
        timer: &mut Option<Pin<Box<Sleep>>>,
        poll_read: impl FnOnce(&mut Context<'_>, &mut Transport) -> Poll<io::Result<Read>>,
    ) -> Result<Poll<usize>, Locked<'a>> {
        let state = &mut *self.state;
        let Some(transport) = state.transport.as_mut().filter(|_| !state.turn.is_gathering) else {
            return Err(self.into_locked());
        };
        state.turn.has_written = false;
        // Who is woken from waiting is so because there is something.
        let may_read = !std::mem::take(&mut state.turn.is_drained) || transport.poll_readable(cx).is_ready();
        match if may_read { poll_read(cx, transport) } else { Poll::Pending } {
            Poll::Ready(Ok(Read { count, is_all })) if count > 0 => {
                state.turn.is_drained = is_all;
                state.consumer.unpark();
                state.core.handle_read(count);
                if state.core.tracks_activity() {
                    state.core.handle_activity(now());
                }
                Ok(Poll::Ready(count))
            }
            Poll::Pending if !has_passed(timer, state.core.poll_timeout(), cx) => {
                state.consumer.park(cx);
                Ok(Poll::Pending)
            }
            Poll::Pending => Err(self.into_locked()),
            Poll::Ready(Ok(_)) => {
                let mut state = self.into_locked();
                state.core.handle_eof();
                Err(state)
            }
            Poll::Ready(Err(error)) => {
                let mut state = self.into_locked();
                state.core.handle_read_error(Error::system("read", error));
                Err(state)
            }
        }
    }

    fn write(mut self, data: impl Data) -> bool {
        let length = data.as_bytes().len();
        if self.may_gather(length) {
            self.gather(data.as_bytes());
            return true;
        }
        let state = &mut *self.state;
        let Some(transport) = state.transport.as_mut().filter(|_| !state.turn.is_gathering) else {
            return self.into_locked().write(data);
        };
        match transport.try_write(data.as_bytes()) {
            Ok(count) if count == length => {
                state.turn.has_written = !state.consumer.is_waiting();
                state.core.handle_direct_write(length);
                if state.core.tracks_activity() {
                    self.into_locked().touch();
                }
                true
            }
            written => self.into_locked().handle_direct(data, written),
        }
    }

    /// Writes what the kernel takes at once. The error is the state for everything else: waiting, or failing.
    pub(super) fn write_vectored(mut self, slices: &[IoSlice<'_>]) -> Result<usize, Locked<'a>> {
        let state = &mut *self.state;
        let Some(transport) = state.transport.as_mut().filter(|_| !state.turn.is_gathering) else {
            return Err(self.into_locked());
        };
        match transport.try_write_vectored(slices) {
            Ok(count) => {
                state.core.handle_direct_write(count);
                if state.core.tracks_activity() {
                    self.into_locked().touch();
                }
                Ok(count)
            }
            Err(error) => {
                let mut state = self.into_locked();
                if !is_transient(&error) {
                    state.handle_write_error(error);
                }
                Err(state)
            }
        }
    }

    /// Whether this is a small write behind another one of the same turn. A turn ends when the consumer looks, or when a
    /// task that was started for that purpose runs.
    fn may_gather(&self, length: usize) -> bool {
        let State { turn, core, .. } = &*self.state;
        turn.has_written
            && (1..GATHER_BELOW).contains(&length)
            && length + core.writable_length() <= GATHER_LIMIT
            && self.shared.has_runtime()
    }

    fn gather(mut self, bytes: &[u8]) {
        self.state.turn.is_gathering = true;
        self.state.core.gather(bytes);
        if self.state.flushing == Flushing::Nobody {
            self.state.flushing = Flushing::Soon;
            drop(self.state);
            self.shared.start_flusher();
        }
    }

    fn into_locked(self) -> Locked<'a> {
        Locked::new(self.shared, self.state)
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

    /// Writes what this turn has gathered.
    pub(super) fn end_gathering(&mut self) {
        self.turn.is_gathering = false;
        self.core.handle_gathered();
        self.drive();
    }

    pub(super) fn write_directly(&mut self, data: impl Data) -> bool {
        let Some(transport) = &mut self.transport else { return false };
        // The kernel is asked about nothing, too: it may know that the peer is gone.
        let written = transport.try_write(data.as_bytes());
        self.turn.has_written = !self.consumer.is_waiting();
        self.handle_direct(data, written)
    }

    /// Takes note of what the kernel said to a direct write, and queues what it did not take.
    fn handle_direct(&mut self, data: impl Data, written: io::Result<usize>) -> bool {
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
