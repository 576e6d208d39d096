//! One socket's core and transport under one lock, and the loop that makes the one drive the other.
//!
//! Who wakes whom: whoever changes something does it under the lock, through [`Locked`]. When the lock is released, the
//! task that waits for events is woken if there is one for it, and so are the futures whose bytes are out. Tasks are
//! started, woken and ended, and descriptors closed, only after the release.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::core::queue::MAX_SLICES;
use crate::core::stream::{Admission, Io, Stream};
use crate::data::Data;
use crate::error::{Error, Result};
use crate::references::Reference;
use crate::server::shared::Connection;
use crate::transport::Transport;

use super::extra::Extra;
use super::flush::Flush;
use super::party::Party;
use super::quiet::Turn;
use super::settings::Settings;

/// How many vectored writes one call makes at most before it leaves the rest to the background.
const WRITE_BUDGET: usize = 16;

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Where background work runs. `None` for a socket that was made outside of a runtime.
    runtime: Option<Handle>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Stream,
    pub(crate) transport: Option<Transport>,
    /// The task that asks for events or reads.
    pub(crate) consumer: Party,
    pub(crate) remote: Option<SocketAddr>,
    /// This socket's place among its server's connections.
    pub(crate) connection: Option<Connection>,
    /// A task of the server has to do with the connection, which counts until that has ended.
    pub(crate) is_served: bool,
    pub(crate) settings: Settings,
    pub(crate) extra: Option<Box<Extra>>,
    /// How often this socket has been connected again. Counters start anew each time.
    pub(crate) life: u32,
    pub(super) turn: Turn,
    pub(super) flushing: Flushing,
    /// The background task has just come to its end.
    pub(super) was_flushed: bool,
    spawn_flusher: bool,
    wake_consumer: bool,
    wake_flusher: bool,
    /// Whether what it is being connected to, or was released from without having told it, can be reset.
    pub(crate) can_reset: bool,
    /// Whether the program is to wait for this socket.
    pub(crate) is_referenced: bool,
    reference: Option<Reference>,
}

/// Who writes what is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushing {
    /// Whoever queues it, as far as the kernel takes it.
    Nobody,
    /// The same, but a task comes at the end of the turn and writes what is left then.
    Soon,
    /// Only the task.
    Task,
}

impl Shared {
    pub(crate) fn new(core: Stream) -> Arc<Self> {
        let state = State {
            core,
            transport: None,
            consumer: Party::default(),
            remote: None,
            connection: None,
            is_served: false,
            settings: Settings::default(),
            extra: None,
            life: 0,
            turn: Turn::default(),
            flushing: Flushing::Nobody,
            was_flushed: false,
            spawn_flusher: false,
            wake_consumer: false,
            wake_flusher: false,
            can_reset: true,
            is_referenced: true,
            reference: None,
        };
        Arc::new(Self { state: Mutex::new(state), runtime: Handle::try_current().ok() })
    }

    pub(crate) fn lock(self: &Arc<Self>) -> Locked<'_> {
        Locked::new(self, self.lock_mutex())
    }

    /// The connection belongs to the runtime in which it is made; the one that the socket was made in may have ended.
    pub(crate) fn runtime_for_connecting(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }

    pub(super) fn has_runtime(&self) -> bool {
        self.runtime.is_some()
    }

    /// Starts background work for this socket; `None` where there is no runtime for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let runtime = self.runtime.clone().or_else(|| Handle::try_current().ok())?;
        Some(runtime.spawn(task).abort_handle())
    }

    /// Starts the task that writes what is queued. Not to be called under the lock.
    pub(super) fn start_flusher(self: &Arc<Self>) {
        if self.spawn(Flush::new(self.clone())).is_none() {
            let mut state = self.lock();
            state.flushing = Flushing::Nobody;
            state.core.destroy(Some(Error::no_runtime()));
            state.drive();
        }
    }

    pub(super) fn lock_mutex(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state, locked. Letting go of it does what the changes call for.
pub(crate) struct Locked<'a> {
    shared: &'a Arc<Shared>,
    // Fields are dropped in this order: first the lock is released, then the consequences follow.
    state: MutexGuard<'a, State>,
    consequences: Option<Box<Consequences>>,
}

impl<'a> Locked<'a> {
    /// What the turn has gathered goes out first: nobody sees the difference to having written it at once.
    pub(super) fn new(shared: &'a Arc<Shared>, mut state: MutexGuard<'a, State>) -> Self {
        if state.turn.is_gathering {
            state.end_gathering();
        }
        Self { shared, state, consequences: None }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let state = &mut *self.state;
        if state.reference.is_none() && state.is_active() {
            state.reference = Some(Reference::new());
        }
        if state.has_consequences() {
            self.consequences = Some(Box::new(state.take_consequences(self.shared)));
        }
        state.turn.is_quiet = state.is_at_rest();
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// What has to wait for the release of the lock; it happens when this is dropped.
#[derive(Default)]
struct Consequences {
    transport: Option<Transport>,
    connection: Option<Connection>,
    abort: Option<AbortHandle>,
    reference: Option<Reference>,
    consumer: Option<Waker>,
    flusher: Option<Waker>,
    waiters: Vec<Waker>,
    flush: Option<Arc<Shared>>,
}

impl Drop for Consequences {
    fn drop(&mut self) {
        drop(self.transport.take());
        drop(self.connection.take());
        drop(self.reference.take());
        if let Some(task) = self.abort.take() {
            task.abort();
        }
        for waker in self.consumer.take().into_iter().chain(self.flusher.take()).chain(self.waiters.drain(..)) {
            waker.wake();
        }
        if let Some(shared) = self.flush.take() {
            shared.start_flusher();
        }
    }
}

impl State {
    /// Does what the core wants done, until it wants nothing more or has to wait.
    pub(crate) fn drive(&mut self) {
        while let Some(io) = self.core.next_io() {
            let Some(transport) = &mut self.transport else { return };
            match io {
                Io::Write if self.flushing == Flushing::Task => return,
                Io::Write => {
                    if !self.write_queued() {
                        return self.start_flushing();
                    }
                }
                Io::Shutdown => match transport.shutdown() {
                    Ok(()) => self.core.handle_shutdown(),
                    Err(error) => self.fail(Error::system("shutdown", error)),
                },
                Io::Release { reset } => {
                    if reset {
                        transport.prepare_reset();
                    } else if self.core.has_a_tail_to_lose(transport.can_reset()) {
                        transport.discard_unread();
                    }
                    if !self.core.is_destroyed() && !self.core.is_detached() {
                        self.can_reset = transport.can_reset();
                        let local = transport.local_address();
                        self.extra().local = local;
                    }
                    self.core.handle_released();
                    if self.core.is_detached() {
                        self.core.destroy(None);
                    }
                }
            }
        }
    }

    /// Writes `data`: straight to the kernel if nothing is before it, and into the queue what does not fit. Returns what
    /// Node's `write` returns.
    pub(crate) fn write(&mut self, data: impl Data) -> bool {
        let admission = self.core.admit();
        self.write_if(admission, data)
    }

    /// Writes what comes with an end.
    pub(crate) fn write_last(&mut self, data: impl Data) {
        let admission = self.core.admit_last();
        self.write_if(admission, data);
    }

    fn write_if(&mut self, admission: Result<Admission>, data: impl Data) -> bool {
        match admission {
            Ok(admission) => self.write_admitted(admission, data),
            Err(error) => {
                self.core.handle_misuse(error);
                self.drive();
                false
            }
        }
    }

    pub(crate) fn write_admitted(&mut self, admission: Admission, data: impl Data) -> bool {
        if admission == Admission::Direct && self.transport.is_some() {
            return self.write_directly(data);
        }
        self.core.queue(data.into_rest(0));
        self.drive();
        self.touch();
        self.core.accepts_more()
    }

    /// Activity, for the idle timer. The time is only asked for when somebody wants it.
    pub(crate) fn touch(&mut self) {
        if self.core.tracks_activity() {
            // After a timeout no timer runs; the consumer has to start one.
            self.wake_consumer |= self.core.poll_timeout().is_none();
            self.core.handle_activity(now());
        }
    }

    pub(crate) fn handle_write_error(&mut self, error: io::Error) {
        self.fail(Error::system("write", error));
    }

    /// Writes from the queue through tokio, which wakes `cx` when there is room again.
    pub(crate) fn poll_write_queued(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { core, transport: Some(transport), .. } = self else { return Poll::Ready(()) };
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = core.slices(&mut slices);
        match std::task::ready!(transport.poll_write_vectored(cx, &slices[..count])) {
            Ok(count) => self.handle_written(count),
            Err(error) => self.handle_write_error(error),
        }
        Poll::Ready(())
    }

    /// The consumer looks: a new turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.consumer.unpark();
        self.wake_consumer = false;
        self.turn.has_written = false;
    }

    /// Something happened that is no event yet: the consumer has to look for itself.
    pub(crate) fn wake_consumer(&mut self) {
        self.wake_consumer = true;
    }

    /// The socket was dropped: what is queued still goes out, unless the peer takes none of it for too long.
    pub(crate) fn abandon(&mut self) {
        self.wake_flusher = true;
        self.core.detach();
        self.drive();
    }

    /// Writes what the kernel takes. Whether everything is out.
    fn write_queued(&mut self) -> bool {
        for _ in 0..WRITE_BUDGET {
            let Self { core, transport: Some(transport), .. } = self else { return true };
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = core.slices(&mut slices);
            let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            match transport.try_write_vectored(&slices[..count]) {
                Ok(written) => {
                    self.handle_written(written);
                    if written < offered {
                        return false;
                    }
                }
                Err(error) if is_transient(&error) => return false,
                Err(error) => self.handle_write_error(error),
            }
            if !matches!(self.core.next_io(), Some(Io::Write)) {
                return true;
            }
        }
        false
    }

    /// Writing has failed. The consumer reads what has arrived and is then told; if there is none, this is the end.
    fn fail(&mut self, error: Error) {
        self.core.handle_write_error(error);
        self.wake_consumer = true;
        if self.core.is_detached() {
            self.core.destroy(None);
        }
    }

    fn handle_written(&mut self, count: usize) {
        if self.core.handle_written(count) {
            self.touch();
        }
    }

    pub(super) fn start_flushing(&mut self) {
        self.spawn_flusher |= self.flushing == Flushing::Nobody;
        self.flushing = Flushing::Task;
    }

    /// The task that writes is over.
    pub(super) fn stop_flushing(&mut self) {
        self.flushing = Flushing::Nobody;
        self.was_flushed = true;
        self.turn.has_written = false;
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Whether [`take_consequences`](Self::take_consequences) may find anything.
    pub(super) fn has_consequences(&self) -> bool {
        self.spawn_flusher
            || (self.consumer.is_waiting() && (self.wake_consumer || self.core.has_event()))
            || (self.wake_flusher || self.core.is_destroyed()) && self.is_flusher_waiting()
            || self.has_waiters()
            || (self.core.is_released() && self.holds_something())
            || (self.reference.is_some() && !self.is_active())
    }

    fn take_consequences(&mut self, shared: &Arc<Shared>) -> Consequences {
        let wake_consumer = std::mem::take(&mut self.wake_consumer) || self.core.has_event();
        let wake_flusher = std::mem::take(&mut self.wake_flusher) || self.core.is_destroyed();
        let mut consequences = Consequences::default();
        if wake_consumer {
            consequences.consumer = self.consumer.take();
        }
        if wake_flusher {
            consequences.flusher = self.extra.as_mut().and_then(|extra| extra.flusher.take());
        }
        if std::mem::take(&mut self.spawn_flusher) {
            consequences.flush = Some(shared.clone());
        }
        consequences.waiters = self.take_waiters();
        self.was_flushed = false;
        if self.core.is_released() {
            consequences.transport = self.transport.take();
            consequences.connection = self.connection.take_if(|_| !self.is_served);
            consequences.abort = self.extra.as_mut().and_then(|extra| extra.connect_task.take());
        }
        if !self.is_active() {
            consequences.reference = self.reference.take();
        }
        consequences
    }

    fn is_flusher_waiting(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.flusher.is_waiting())
    }

    fn holds_something(&self) -> bool {
        let is_connecting = || self.extra.as_ref().is_some_and(|extra| extra.connect_task.is_some());
        self.transport.is_some() || (self.connection.is_some() && !self.is_served) || is_connecting()
    }

    fn is_active(&self) -> bool {
        self.is_referenced && self.core.is_active()
    }
}

/// The time by tokio's clock, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every connection pays for it. What only some need belongs into a box.
    #[test]
    fn a_socket_stays_small() {
        assert!(size_of::<Shared>() <= 280, "{}", size_of::<Shared>());
    }
}
