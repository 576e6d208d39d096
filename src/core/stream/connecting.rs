//! How a socket comes to be connected.

use std::collections::VecDeque;

use super::{Phase, Stream, Trouble, WriteSide};
use crate::address::Address;
use crate::error::Error;
use crate::event::{Event, Lookup};

/// What connecting has to tell. It is boxed where it is used, since most sockets are done with it or never began.
#[derive(Debug, Default)]
pub(super) struct ConnectEvents {
    events: VecDeque<Event>,
}

impl Stream {
    /// Begins to connect, again if need be: a closed socket then starts anew, but keeps its settings.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        match self.phase {
            Phase::Unconnected => {}
            Phase::Connecting | Phase::Open => return Err(Error::already_connected()),
            Phase::Destroyed => return Err(Error::destroyed("connect")),
            Phase::Closed if self.is_detached => return Err(Error::destroyed("connect")),
            Phase::Closed => {
                let fresh = Self::unconnected(self.allow_half_open, self.queue.high_water_mark());
                let idle = std::mem::take(&mut self.idle);
                *self = Self { paused: self.paused, idle, ..fresh };
            }
        }
        self.phase = Phase::Connecting;
        Ok(())
    }

    pub(crate) fn handle_lookup(&mut self, lookup: Lookup) {
        self.connect_event(Event::Lookup(Box::new(lookup)));
    }

    pub(crate) fn handle_attempt(&mut self, address: Address) {
        self.connect_event(Event::ConnectionAttempt { address });
    }

    pub(crate) fn handle_attempt_failed(&mut self, address: Address, error: Error) {
        self.connect_event(Event::ConnectionAttemptFailed { address, error });
    }

    pub(crate) fn handle_attempt_timeout(&mut self, address: Address) {
        self.connect_event(Event::ConnectionAttemptTimeout { address });
    }

    pub(crate) fn handle_connected(&mut self) {
        debug_assert_eq!(self.phase, Phase::Connecting);
        self.connect_event(Event::Connect);
        self.connect_event(Event::Ready);
        self.phase = Phase::Open;
        self.held = true;
        if self.reset && !self.reset_is_behind {
            let failure = self.writes_behind_reset.then(Error::socket_closed);
            let bytes_unbegun = self.bytes_accepted;
            self.trouble = Some(Box::new(Trouble { error: None, failure, bytes_unbegun }));
            self.queue.clear();
            self.destroy_and_tell(None);
            // To what was written behind it, there never was one.
            self.closed_before_connection = self.writes_behind_reset;
            return;
        }
        self.queue.finish_empty_request();
        self.handle_request();
    }

    /// Does the reset that was asked for while connecting. What was written before is with the kernel by now, as far as
    /// it fits.
    pub(crate) fn handle_connected_reset(&mut self) {
        if self.reset {
            if self.write == WriteSide::Writable && self.queue.take_drained() {
                let events = &mut self.connect_events.get_or_insert_default().events;
                let ready = events.pop_back();
                events.extend([Event::Drain].into_iter().chain(ready));
            }
            self.destroy_and_tell(None);
        }
    }

    pub(crate) fn handle_connect_error(&mut self, error: Error) {
        self.destroy_and_tell(Some(error));
    }

    /// Destroys, and still tells what happened while connecting.
    fn destroy_and_tell(&mut self, error: Option<Error>) {
        let events = std::mem::take(&mut self.connect_events);
        self.destroy(error);
        self.connect_events = events;
    }

    fn connect_event(&mut self, event: Event) {
        if self.phase == Phase::Connecting {
            self.connect_events.get_or_insert_default().events.push_back(event);
        }
    }

    pub(super) fn poll_connect_event(&mut self) -> Option<Event> {
        let events = &mut self.connect_events.as_mut()?.events;
        let event = events.pop_front();
        if events.is_empty() {
            self.connect_events = None;
        }
        event
    }

    /// Connecting has come to nothing. That a path was attempted is told within the call, so it stays told.
    pub(super) fn forget_connecting(&mut self) {
        let Some(connecting) = &mut self.connect_events else { return };
        let is_told = |event: &Event| matches!(event, Event::ConnectionAttempt { address: Address::Path(_) });
        connecting.events.retain(is_told);
        if connecting.events.is_empty() {
            self.connect_events = None;
        }
    }

    pub(super) fn is_ready_next(&self) -> bool {
        let next = self.connect_events.as_ref().and_then(|connecting| connecting.events.front());
        matches!(next, Some(Event::Ready))
    }
}
