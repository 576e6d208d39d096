//! What can be asked of a stream without changing it.

use std::time::Duration;

use super::{Phase, ReadSide, Stream, WriteSide};
use crate::error::Error;
use crate::ready_state::ReadyState;

impl Stream {
    /// No event will come any more: Close was delivered.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        matches!(self.phase, Phase::Destroyed | Phase::Closed)
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.is_detached
    }

    pub(crate) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// Whether connecting is still going on or has not been told to its end.
    pub(crate) fn is_settling(&self) -> bool {
        self.phase == Phase::Connecting || self.connect_events.is_some()
    }

    /// The connection is over as far as the operating system knows.
    pub(crate) fn is_released(&self) -> bool {
        !self.held && !matches!(self.phase, Phase::Unconnected | Phase::Connecting)
    }

    /// Whether connecting has come to a connection. True of a socket that was not asked to connect.
    pub(crate) fn has_connected(&self) -> bool {
        self.phase != Phase::Connecting && !self.closed_before_connection
    }

    pub(crate) fn is_pending(&self) -> bool {
        !self.held
    }

    /// Whether something is going on that a program would wait for.
    pub(crate) fn is_active(&self) -> bool {
        match self.phase {
            Phase::Connecting => true,
            Phase::Open => self.wants_read() || self.next_io().is_some() || !self.queue.is_empty(),
            Phase::Unconnected | Phase::Destroyed | Phase::Closed => false,
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether what was written last may still be under way when the socket closes, so that unread input must not turn the
    /// close into a reset. Where there are no resets, this matters only to those who close for that reason.
    pub(crate) fn has_a_tail_to_lose(&self, can_reset: bool) -> bool {
        let is_written = self.is_finished() || !self.is_destroyed();
        is_written && !self.has_read_end() && (can_reset || self.destroy_when_finished)
    }

    pub(crate) fn has_read_end(&self) -> bool {
        self.read != ReadSide::Flowing
    }

    /// Whether the FIN is sent.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.write, WriteSide::Ended | WriteSide::Delivered)
    }

    pub(crate) fn ready_state(&self) -> ReadyState {
        let alive = !self.is_destroyed();
        let readable = alive && !self.is_end_told();
        let writable = alive && self.write == WriteSide::Writable;
        match (self.phase, readable, writable) {
            (Phase::Connecting, ..) => ReadyState::Opening,
            (_, true, true) => ReadyState::Open,
            (_, true, false) => ReadyState::ReadOnly,
            (_, false, true) => ReadyState::WriteOnly,
            (_, false, false) => ReadyState::Closed,
        }
    }

    pub(super) fn first_failure(&self) -> Option<&Error> {
        self.trouble.as_ref()?.failure.as_ref()
    }

    /// Why writes fail: the error that destroyed the socket, or that it is destroyed.
    pub(crate) fn failure(&self) -> Error {
        self.failure_of("write")
    }

    pub(crate) fn failure_of(&self, method: &str) -> Error {
        match self.first_failure() {
            Some(error) => error.clone(),
            // What a cork held back was not waiting for the connection.
            None if self.closed_before_connection && (self.write_was_waiting || !self.queue.is_corked()) => {
                Error::closed_before_connection()
            }
            None => Error::destroyed(method),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.is_destroyed() || self.write == WriteSide::Failed
    }

    pub(crate) fn has_write_failed(&self) -> bool {
        self.write == WriteSide::Failed
    }

    /// How many of the accepted bytes have reached the kernel.
    pub(crate) fn bytes_flushed(&self) -> u64 {
        self.bytes_flushed
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// How many bytes were ever accepted: the position of the next write.
    pub(crate) fn bytes_accepted(&self) -> u64 {
        self.bytes_accepted
    }

    /// Node's `bytesWritten`: what was accepted, less what was thrown away before it was begun.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_accepted - self.trouble.as_ref().map_or(0, |trouble| trouble.bytes_unbegun)
    }

    pub(crate) fn is_corked(&self) -> bool {
        self.queue.is_corked()
    }

    /// Whether a write would have to wait for others, or for an uncork.
    pub(crate) fn is_queueing(&self) -> bool {
        !self.queue.is_idle()
    }

    pub(crate) fn writable_length(&self) -> usize {
        self.queue.length()
    }

    pub(crate) fn high_water_mark(&self) -> usize {
        self.queue.high_water_mark()
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.idle.as_ref()?.timeout()
    }
}
