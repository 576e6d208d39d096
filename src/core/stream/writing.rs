//! What a program writes, on its way through the queue.

use std::io::IoSlice;

use bytes::Bytes;

use super::{Admission, Phase, Stream, WriteSide};
use crate::core::queue::MAX_SLICES;
use crate::error::Error;

impl Stream {
    /// Whether and how a write may begin. Changes nothing.
    pub(crate) fn admit(&self) -> Result<Admission, Error> {
        match (self.phase, self.write) {
            (Phase::Destroyed | Phase::Closed, _) if self.is_detached => Err(Error::destroyed("write")),
            (_, WriteSide::Ending | WriteSide::Ended | WriteSide::Delivered) if self.ended_by_peer => {
                Err(Error::ended_by_peer())
            }
            (_, WriteSide::Ending | WriteSide::Ended | WriteSide::Delivered) => Err(Error::write_after_end()),
            (Phase::Destroyed | Phase::Closed, WriteSide::Failed) if self.failed_after_end => {
                Err(Error::write_after_end())
            }
            (Phase::Destroyed | Phase::Closed, _) => Err(Error::destroyed("write")),
            (_, WriteSide::Failed) => Err(self.failure()),
            // Nobody looks for a connection before the cork is out.
            (Phase::Unconnected, _) if self.queue.is_corked() => Ok(Admission::Queue),
            (Phase::Unconnected, _) => Err(Error::socket_closed()),
            (Phase::Connecting, _) => Ok(Admission::Queue),
            (Phase::Open, _) if self.queue.is_idle() => Ok(Admission::Direct),
            (Phase::Open, _) => Ok(Admission::Queue),
        }
    }

    /// Like [`admit`](Self::admit) for what comes with an end. Only plain writes are told that the peer has ended.
    pub(crate) fn admit_last(&self) -> Result<Admission, Error> {
        match self.write {
            WriteSide::Ending | WriteSide::Ended | WriteSide::Delivered => Err(Error::write_after_end()),
            WriteSide::Writable | WriteSide::Failed => self.admit(),
        }
    }

    /// A write that [`admit`](Self::admit) refused was made all the same: Node destroys the socket with that error,
    /// unless it is destroyed already. If it never was connected, that happens when this turn is over.
    pub(crate) fn handle_misuse(&mut self, error: Error) {
        match (self.phase, self.write) {
            (_, WriteSide::Failed) => {}
            (Phase::Unconnected, WriteSide::Writable) => self.handle_write_error(error),
            _ => self.destroy(Some(error)),
        }
    }

    /// The kernel took a whole direct write.
    pub(crate) fn handle_direct_write(&mut self, length: usize) {
        self.bytes_accepted += length as u64;
        self.bytes_flushed += length as u64;
    }

    /// The kernel refused a direct write, which counts as written all the same.
    pub(crate) fn handle_direct_failure(&mut self, length: usize) {
        self.bytes_accepted += length as u64;
    }

    /// The kernel took a direct write of `length` bytes but for this rest.
    pub(crate) fn queue_rest(&mut self, length: usize, rest: Bytes) {
        self.bytes_accepted += length as u64;
        self.bytes_flushed += (length - rest.len()) as u64;
        self.queue.push_rest(length, rest);
        self.handle_request_of(length);
    }

    /// Queues a small write that is to leave together with others. Until then it counts as written.
    pub(crate) fn gather(&mut self, bytes: &[u8]) {
        self.bytes_accepted += bytes.len() as u64;
        self.queue.gather(bytes);
    }

    /// What was gathered is now to be written.
    pub(crate) fn handle_gathered(&mut self) {
        self.handle_request();
    }

    pub(crate) fn queue(&mut self, chunk: Bytes) {
        self.bytes_accepted += chunk.len() as u64;
        let is_behind_reset = self.phase == Phase::Connecting && self.reset && !self.reset_is_behind;
        self.writes_behind_reset |= is_behind_reset && !self.queue.is_corked();
        let was_sendable = self.queue.is_sendable();
        self.queue.push(chunk);
        if !was_sendable {
            self.handle_request();
        }
    }

    /// What `write` answers.
    pub(crate) fn accepts_more(&mut self) -> bool {
        let accepts = self.queue.accepts_more();
        accepts && self.write != WriteSide::Failed && !self.is_destroyed()
    }

    pub(crate) fn cork(&mut self) {
        // Once ended, nothing is to be held back any more.
        if self.write == WriteSide::Writable {
            self.queue.cork();
        }
    }

    pub(crate) fn uncork(&mut self) {
        if self.phase == Phase::Unconnected && self.queue.is_corked_once() && self.queue.is_holding() {
            return self.handle_write_error(Error::socket_closed());
        }
        // What was held back is lost by now, and stays so.
        if self.has_failed() {
            return;
        }
        let was_sendable = self.queue.is_sendable();
        self.queue.uncork();
        if !was_sendable {
            self.handle_request();
        }
    }

    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        self.queue.slices(slices)
    }

    /// The kernel took `count` queued bytes. Whether that completed a request, which counts as activity.
    pub(crate) fn handle_written(&mut self, count: usize) -> bool {
        self.bytes_flushed += count as u64;
        let completed = self.queue.advance(count);
        if completed {
            self.handle_request();
        }
        completed
    }

    pub(crate) fn handle_write_error(&mut self, error: Error) {
        self.trouble().failure = Some(error);
        self.failed_after_end = matches!(self.write, WriteSide::Ending | WriteSide::Ended | WriteSide::Delivered);
        self.write = WriteSide::Failed;
        self.failed_while_paused = self.paused || self.is_resuming;
        self.clear_queue();
    }

    pub(crate) fn handle_shutdown(&mut self) {
        self.write = WriteSide::Ended;
    }

    /// A request has begun.
    pub(super) fn handle_request(&mut self) {
        self.handle_request_of(self.queue.in_progress());
    }

    fn handle_request_of(&mut self, size: usize) {
        if let Some(idle) = &mut self.idle {
            idle.handle_request(size);
        }
    }
}
