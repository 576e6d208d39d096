//! Socket options of a connection that its program has asked for.

use std::io;
use std::time::Duration;

use crate::transport::Transport;

/// Socket options that are applied to each connection a socket makes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) no_delay: bool,
    /// The initial delay in seconds, if it is on.
    keep_alive: Option<u32>,
}

impl Settings {
    pub(crate) fn new(no_delay: bool, keep_alive: bool, initial_delay: Duration) -> Self {
        let mut settings = Self { no_delay, keep_alive: None };
        settings.set_keep_alive(keep_alive, initial_delay);
        settings
    }

    /// The delay counts in whole seconds.
    pub(crate) fn set_keep_alive(&mut self, enable: bool, initial_delay: Duration) {
        self.keep_alive = enable.then(|| initial_delay.as_secs().try_into().unwrap_or(u32::MAX));
    }

    /// Applies what differs from a fresh connection. What the system refuses, it refuses because the peer is gone
    /// already; reading will tell.
    pub(crate) fn apply(&self, transport: &Transport) {
        if self.no_delay {
            report(transport.set_no_delay(true));
        }
        if let Some(seconds) = self.keep_alive {
            report(transport.set_keep_alive(true, Duration::from_secs(seconds.into())));
        }
    }
}

/// A setting that the system refuses does no harm, and Node does not report it either.
pub(crate) fn report(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "cannot set a socket option");
    }
}
