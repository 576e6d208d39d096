//! One socket's life.

mod connecting;
mod view;
mod writing;

use std::time::{Duration, Instant};

use self::connecting::ConnectEvents;
use super::idle::Idle;
use super::queue::WriteQueue;
use crate::error::Error;
use crate::event::Event;

/// The state machine of a socket: what may be written, what is to be done next, which events are due, in which order.
///
/// ```text
///              connect()               handle_connected()
/// Unconnected ──────────► Connecting ─────────────────────► Open
///      │ destroy              │ destroy, error                │ destroy, error, or both sides are done
///      └──────────────────────┴──────► Destroyed ◄────────────┘
///                                          │ Close is delivered
///                                          ▼
///                                       Closed ── connect() ──► Connecting
///
/// The read side of Open:    Flowing ── handle_eof() ──► Ended ── End is delivered ──► Delivered
///
/// The write side of Open:   Writable ── end() ──► Ending ── queue out, FIN sent ──► Ended ── Finish ──► Delivered
///                              └─ handle_write_error(): Failed. Nothing more is sent; what has arrived is still
///                                 read, as Node would have read it before it noticed, then the socket is destroyed.
/// ```
///
/// Without `allow_half_open`, asking for the event after End ends the write side: the consumer has then dealt with End.
///
/// Events that are due are delivered in this order: those of connecting; when destroyed, Error and Close, and nothing
/// else; Drain, Finish, End, Timeout.
#[derive(Debug)]
pub(crate) struct Stream {
    phase: Phase,
    read: ReadSide,
    write: WriteSide,
    allow_half_open: bool,
    paused: bool,
    /// Resumed, and nobody has asked for events since.
    is_resuming: bool,
    timed_out: bool,
    /// Whether there is a transport that has not been released.
    held: bool,
    /// Closed at once when the write side is done, without waiting for the peer's end.
    destroy_when_finished: bool,
    reset: bool,
    /// A write or an end was there before the reset and goes out first.
    reset_is_behind: bool,
    /// A write came behind a reset that goes first, and fails.
    writes_behind_reset: bool,
    /// A write waited for the connection when the socket was destroyed. It fails with Close.
    write_was_waiting: bool,
    /// Writing failed while nothing was to be read, so nothing is read before that is told.
    failed_while_paused: bool,
    /// Writing failed when it had ended, which is what later writes are told.
    failed_after_end: bool,
    /// Nobody will ask for events any more.
    is_detached: bool,
    ended_by_peer: bool,
    closed_before_connection: bool,
    /// Whether the program is told of an error before Close.
    had_error: bool,
    /// Most sockets never have any.
    trouble: Option<Box<Trouble>>,
    queue: WriteQueue,
    /// Those that have a timeout pay for it.
    idle: Option<Box<Idle>>,
    connect_events: Option<Box<ConnectEvents>>,
    bytes_read: u64,
    bytes_accepted: u64,
    bytes_flushed: u64,
}

/// What has gone wrong.
#[derive(Debug, Default)]
struct Trouble {
    /// The error that is to be told.
    error: Option<Error>,
    /// Why writes fail: the first error there was, told or not.
    failure: Option<Error>,
    /// What was accepted and never begun.
    bytes_unbegun: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unconnected,
    Connecting,
    Open,
    Destroyed,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadSide {
    Flowing,
    Ended,
    Delivered,
    /// Seen by a reader of bytes, whose own side stays open until it is shut down.
    Taken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteSide {
    Writable,
    Ending,
    Ended,
    Delivered,
    Failed,
}

/// What the transport is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// Write [`Stream::slices`], then [`Stream::handle_written`].
    Write,
    /// Send the FIN, then [`Stream::handle_shutdown`]. Not where the transport is to be released as well, which sends it.
    Shutdown,
    /// Release the transport, with a reset if asked for; then [`Stream::handle_released`].
    Release { reset: bool },
}

/// How a write begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nothing is before it: it may go straight to the kernel.
    Direct,
    /// It takes its place in the queue.
    Queue,
}

/// Life: beginning, ending, being destroyed.
impl Stream {
    pub(crate) fn unconnected(allow_half_open: bool, high_water_mark: usize) -> Self {
        Self {
            phase: Phase::Unconnected,
            read: ReadSide::Flowing,
            write: WriteSide::Writable,
            allow_half_open,
            paused: false,
            is_resuming: false,
            timed_out: false,
            held: false,
            destroy_when_finished: false,
            reset: false,
            reset_is_behind: false,
            writes_behind_reset: false,
            write_was_waiting: false,
            failed_while_paused: false,
            failed_after_end: false,
            is_detached: false,
            ended_by_peer: false,
            closed_before_connection: false,
            had_error: false,
            trouble: None,
            queue: WriteQueue::new(high_water_mark),
            idle: None,
            connect_events: None,
            bytes_read: 0,
            bytes_accepted: 0,
            bytes_flushed: 0,
        }
    }

    /// A connection that somebody else established.
    pub(crate) fn open(allow_half_open: bool, high_water_mark: usize) -> Self {
        Self { phase: Phase::Open, held: true, ..Self::unconnected(allow_half_open, high_water_mark) }
    }

    /// A connection of which one side or the other is not used.
    pub(crate) fn open_partly(mut self, readable: bool, writable: bool) -> Self {
        if !readable {
            self.read = ReadSide::Taken;
        }
        if !writable {
            self.write = WriteSide::Delivered;
        }
        self
    }

    /// Ends the write side, behind everything that was written. Does nothing when it has ended already.
    pub(crate) fn end(&mut self) {
        // A socket that was destroyed without an error takes note of an end, which later writes are told of.
        let counts = !self.is_destroyed() || self.first_failure().is_none();
        if self.phase == Phase::Unconnected && self.queue.is_holding() {
            return self.handle_write_error(Error::socket_closed());
        }
        if self.write == WriteSide::Writable && counts {
            self.write = WriteSide::Ending;
            self.queue.uncork_all();
        }
    }

    /// Ends the write side and closes as soon as that is done, without waiting for the peer.
    pub(crate) fn destroy_soon(&mut self) {
        if self.is_destroyed() {
            return;
        }
        self.end();
        self.destroy_when_finished = true;
        if self.write == WriteSide::Delivered {
            self.destroy(None);
        }
    }

    /// Nobody will ask for events any more: what is queued goes out, then the transport is released.
    pub(crate) fn detach(&mut self) {
        self.is_detached = true;
        match self.phase {
            Phase::Open if self.write != WriteSide::Failed => self.destroy_soon(),
            Phase::Connecting if !self.queue.is_empty() => self.destroy_soon(),
            _ => self.destroy(None),
        }
    }

    /// Drops everything and closes. Only the first call has an effect. A failure that was not told yet never is.
    pub(crate) fn destroy(&mut self, error: Option<Error>) {
        if self.is_destroyed() {
            return;
        }
        self.had_error = error.is_some();
        if let Some(error) = error {
            let trouble = self.trouble();
            trouble.failure.get_or_insert_with(|| error.clone());
            trouble.error = Some(error);
        }
        self.closed_before_connection = self.phase == Phase::Connecting;
        self.write_was_waiting = self.closed_before_connection && self.queue.has_begun();
        // Node emits 'connect' and 'ready' in one go: who destroys in between still gets the second.
        if !self.is_ready_next() {
            self.forget_connecting();
        }
        self.phase = Phase::Destroyed;
        self.clear_queue();
        if let Some(idle) = &mut self.idle {
            idle.clear();
        }
        self.timed_out = false;
    }

    /// Sends a reset instead of a FIN and closes; while connecting, as soon as there is a connection.
    pub(crate) fn reset_and_destroy(&mut self) {
        match self.phase {
            Phase::Unconnected => self.destroy(Some(Error::socket_closed())),
            Phase::Connecting if !self.reset => {
                self.reset = true;
                self.reset_is_behind = self.queue.has_begun() || self.write != WriteSide::Writable;
            }
            Phase::Connecting => {}
            Phase::Open => {
                self.reset = true;
                self.destroy(None);
            }
            Phase::Destroyed | Phase::Closed => {}
        }
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.is_resuming |= self.paused;
        self.paused = false;
    }
}

/// Reading and time.
impl Stream {
    pub(crate) fn wants_read(&self) -> bool {
        self.phase == Phase::Open && self.held && self.read == ReadSide::Flowing && !self.paused
    }

    pub(crate) fn handle_read(&mut self, count: usize) {
        self.bytes_read += count as u64;
    }

    pub(crate) fn handle_eof(&mut self) {
        // The kernel tells of a reset once. If a write was told, reading sees an end that the peer never sent.
        let is_reset = self.write == WriteSide::Failed && self.failure().code() == "ECONNRESET";
        if is_reset {
            return self.destroy_failed();
        }
        self.read = ReadSide::Ended;
    }

    /// Everything that has arrived is read. If writing has failed, there is nothing more to wait for.
    pub(crate) fn handle_read_blocked(&mut self) {
        if self.write == WriteSide::Failed {
            self.destroy_failed();
        }
    }

    pub(crate) fn handle_read_error(&mut self, error: Error) {
        let error = self.first_failure().cloned().unwrap_or(error);
        self.destroy(Some(error));
    }

    /// Somebody who reads bytes, not events, has seen the end.
    pub(crate) fn take_end(&mut self) {
        if self.read == ReadSide::Ended {
            self.read = ReadSide::Taken;
        }
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration, now: Instant) {
        self.timed_out = false;
        if !self.is_destroyed() {
            self.idle.get_or_insert_default().set(timeout, now);
        }
    }

    pub(crate) fn tracks_activity(&self) -> bool {
        self.idle.as_ref().is_some_and(|idle| idle.is_set())
    }

    pub(crate) fn handle_activity(&mut self, now: Instant) {
        if let (false, Some(idle)) = (self.is_destroyed(), &mut self.idle) {
            idle.handle_activity(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.idle.as_ref()?.deadline()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let in_progress = self.queue.in_progress();
        self.timed_out |= self.idle.as_mut().is_some_and(|idle| idle.handle_timeout(now, in_progress));
    }

    /// Takes a timeout as something else than an event.
    pub(crate) fn take_timeout(&mut self) -> bool {
        std::mem::take(&mut self.timed_out)
    }
}

/// What comes out.
impl Stream {
    pub(crate) fn next_io(&self) -> Option<Io> {
        if !self.held {
            return None;
        }
        if self.is_destroyed() {
            return Some(Io::Release { reset: self.reset });
        }
        match self.write {
            WriteSide::Failed => None,
            _ if self.queue.is_sendable() => Some(Io::Write),
            // Closing sends the FIN, too.
            WriteSide::Ending if self.destroy_when_finished || self.is_end_told() => Some(Io::Release { reset: false }),
            WriteSide::Ending => Some(Io::Shutdown),
            WriteSide::Ended | WriteSide::Delivered if self.destroy_when_finished => Some(Io::Release { reset: false }),
            _ => None,
        }
    }

    pub(crate) fn handle_released(&mut self) {
        self.held = false;
        if self.write == WriteSide::Ending && !self.is_destroyed() {
            self.write = WriteSide::Ended;
        }
    }

    /// The consumer asks for its next event, so it has dealt with the last one.
    pub(crate) fn handle_consumer(&mut self) {
        self.is_resuming = false;
        if self.phase != Phase::Open || self.read != ReadSide::Delivered {
            return;
        }
        if !self.allow_half_open {
            self.end();
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if !self.has_event() {
            return None;
        }
        if self.has_failed_unconnected() {
            self.destroy_failed();
        }
        // What was written before the connection is out by the time that 'connect' is told.
        if self.is_ready_next()
            && self.phase == Phase::Open
            && self.write == WriteSide::Writable
            && self.queue.take_drained()
        {
            return Some(Event::Drain);
        }
        if let Some(event) = self.poll_connect_event() {
            return Some(event);
        }
        if self.is_over() {
            self.destroy_failed();
        }
        if self.phase == Phase::Destroyed {
            return Some(self.poll_last_event());
        }
        if self.phase != Phase::Open && !self.timed_out {
            return None;
        }
        if self.write == WriteSide::Writable && self.queue.take_drained() {
            return Some(Event::Drain);
        }
        if self.write == WriteSide::Ended {
            self.write = WriteSide::Delivered;
            return Some(Event::Finish);
        }
        if self.read == ReadSide::Ended {
            self.read = ReadSide::Delivered;
            self.ended_by_peer = !self.allow_half_open;
            return Some(Event::End);
        }
        self.take_timeout().then_some(Event::Timeout)
    }

    /// Whether [`poll_event`](Self::poll_event) would give something.
    pub(crate) fn has_event(&self) -> bool {
        let of_this_phase = match (self.phase, self.read, self.write) {
            // Almost always.
            (Phase::Open, ReadSide::Flowing, WriteSide::Writable) => self.queue.is_drained(),
            (Phase::Open, ReadSide::Ended, _) | (Phase::Open, _, WriteSide::Ended) | (Phase::Destroyed, ..) => true,
            (Phase::Open, _, WriteSide::Writable) => self.queue.is_drained(),
            (Phase::Open, ..) => self.is_over(),
            (Phase::Unconnected | Phase::Connecting, ..) => self.has_failed_unconnected(),
            (Phase::Closed, ..) => false,
        };
        of_this_phase || self.timed_out || self.connect_events.is_some()
    }

    /// Whether the connection is open on both sides, and nothing is queued, held back or due.
    pub(crate) fn is_flowing(&self) -> bool {
        self.wants_read()
            && self.write == WriteSide::Writable
            && self.queue.is_idle()
            && !self.has_event()
            && !self.reset
            && !self.is_detached
    }

    /// Both sides are done and told, or the write side failed and there is nothing left to read.
    fn is_over(&self) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        match self.write {
            WriteSide::Delivered => self.is_end_told() || self.destroy_when_finished,
            WriteSide::Failed => self.paused || self.failed_while_paused || self.is_end_told(),
            WriteSide::Writable | WriteSide::Ending | WriteSide::Ended => false,
        }
    }

    /// A write on a socket that never was connected has failed. It is told when the program has had its say.
    fn has_failed_unconnected(&self) -> bool {
        matches!(self.phase, Phase::Unconnected | Phase::Connecting) && self.write == WriteSide::Failed
    }

    /// Destroys for the reason for which writing has failed, if it has.
    fn destroy_failed(&mut self) {
        self.destroy(self.first_failure().cloned());
    }

    fn is_end_told(&self) -> bool {
        matches!(self.read, ReadSide::Delivered | ReadSide::Taken)
    }

    fn poll_last_event(&mut self) -> Event {
        if let Some(error) = self.trouble.as_mut().and_then(|trouble| trouble.error.take()) {
            return Event::Error(error);
        }
        if self.write_was_waiting {
            self.trouble().failure.get_or_insert_with(Error::closed_before_connection);
        }
        self.phase = Phase::Closed;
        Event::Close { had_error: self.had_error }
    }

    /// What was accepted and never begun no longer counts as written, as in Node.
    fn clear_queue(&mut self) {
        let unbegun = self.queue.not_begun();
        if unbegun > 0 {
            self.trouble().bytes_unbegun += unbegun as u64;
        }
        self.queue.clear();
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests;
