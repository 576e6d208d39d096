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
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::core::queue::MAX_SLICES;
use crate::core::stream::{Admission, Io, Stream};
use crate::data::Data;
use crate::error::{Error, Result};
use crate::references::Reference;
use crate::server::shared::Connection;
use crate::transport::Transport;

use super::flush::Flush;
use super::wait::Wait;

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
    /// The background task that writes what is queued, while there is one.
    pub(crate) flusher: Party,
    pub(crate) is_flushing: bool,
    /// The background task has just come to its end.
    pub(crate) was_flushed: bool,
    spawn_flusher: bool,
    wake_consumer: bool,
    wake_flusher: bool,
    waiters: Vec<Waiter>,
    pub(crate) settings: Settings,
    /// How often this socket has been connected again. Counters start anew each time.
    pub(crate) life: u32,
    /// The task that makes the connection.
    pub(crate) connect_task: Option<AbortHandle>,
    /// The addresses that were tried, the last one with success if there is a connection.
    pub(crate) attempted: Vec<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    /// The address of this end, after the transport was released and before that is told.
    pub(crate) local: Option<Box<SocketAddr>>,
    /// Whether what it is being connected to, or was released from without having told it, can be reset.
    pub(crate) can_reset: bool,
    /// This socket's place among its server's connections.
    pub(crate) connection: Option<Connection>,
    /// Whether the program is to wait for this socket.
    pub(crate) is_referenced: bool,
    reference: Option<Reference>,
}

/// A task that may be waiting.
#[derive(Debug, Default)]
pub(crate) struct Party {
    waker: Option<Waker>,
    waiting: bool,
}

/// Socket options that are applied to each connection this socket makes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) no_delay: bool,
    /// The initial delay, if it is on.
    pub(crate) keep_alive: Option<Duration>,
}

#[derive(Debug)]
struct Waiter {
    wait: Wait,
    waker: Waker,
}

impl Shared {
    pub(crate) fn new(core: Stream) -> Arc<Self> {
        let state = State {
            core,
            transport: None,
            consumer: Party::default(),
            flusher: Party::default(),
            is_flushing: false,
            was_flushed: false,
            spawn_flusher: false,
            wake_consumer: false,
            wake_flusher: false,
            waiters: Vec::new(),
            settings: Settings::default(),
            life: 0,
            connect_task: None,
            attempted: Vec::new(),
            remote: None,
            local: None,
            can_reset: true,
            connection: None,
            is_referenced: true,
            reference: None,
        };
        Arc::new(Self { state: Mutex::new(state), runtime: Handle::try_current().ok() })
    }

    pub(crate) fn lock(self: &Arc<Self>) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { shared: self, state, consequences: None }
    }

    /// The connection belongs to the runtime in which it is made; the one that the socket was made in may have ended.
    pub(crate) fn runtime_for_connecting(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }

    /// Starts background work for this socket; `None` where there is no runtime for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let runtime = self.runtime.clone().or_else(|| Handle::try_current().ok())?;
        Some(runtime.spawn(task).abort_handle())
    }
}

/// The state, locked. Letting go of it does what the changes call for.
pub(crate) struct Locked<'a> {
    shared: &'a Arc<Shared>,
    // Fields are dropped in this order: first the lock is released, then the consequences follow.
    state: MutexGuard<'a, State>,
    consequences: Option<Consequences>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.state.has_consequences() {
            self.consequences = Some(self.state.take_consequences(self.shared));
        }
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
        let Some(shared) = self.flush.take() else { return };
        if shared.spawn(Flush::new(shared.clone())).is_none() {
            let mut state = shared.lock();
            state.is_flushing = false;
            state.core.destroy(Some(Error::no_runtime()));
            state.drive();
        }
    }
}

impl State {
    /// Does what the core wants done, until it wants nothing more or has to wait.
    pub(crate) fn drive(&mut self) {
        while let Some(io) = self.core.next_io() {
            let Some(transport) = &mut self.transport else { return };
            match io {
                Io::Write if self.is_flushing => return,
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
                    } else if self.core.closes_when_written() && !self.core.has_read_end() {
                        transport.discard_unread();
                    }
                    if !self.core.is_destroyed() && !self.core.is_detached() {
                        self.can_reset = transport.can_reset();
                        self.local = transport.local_address().map(Box::new);
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
        match (admission, &mut self.transport) {
            (Admission::Direct, Some(transport)) => {
                let length = data.as_bytes().len();
                match transport.try_write(data.as_bytes()) {
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
            }
            _ => {
                self.core.queue(data.into_rest(0));
                self.drive();
            }
        }
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

    pub(crate) fn wait(&mut self, wait: Wait, cx: &mut Context<'_>) {
        let known = |waiter: &Waiter| waiter.wait == wait && waiter.waker.will_wake(cx.waker());
        if !self.waiters.iter().any(known) {
            self.waiters.push(Waiter { wait, waker: cx.waker().clone() });
        }
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

    /// The address that won the race stands last among those that were tried.
    pub(crate) fn put_winner_last(&mut self, winner: SocketAddr) {
        if let Some(index) = self.attempted.iter().position(|address| *address == winner) {
            self.attempted[index..].rotate_left(1);
        }
    }

    fn start_flushing(&mut self) {
        self.is_flushing = true;
        self.spawn_flusher = true;
    }

    /// Whether [`take_consequences`](Self::take_consequences) may find anything. Runs at the end of every operation, so
    /// it is cheap for a connection that goes about its business.
    fn has_consequences(&self) -> bool {
        self.spawn_flusher
            || (self.consumer.waiting && (self.wake_consumer || self.core.has_event()))
            || (self.flusher.waiting && (self.wake_flusher || self.core.is_destroyed()))
            || !self.waiters.is_empty()
            || (self.core.is_released() && self.holds_something())
            || self.reference.is_some() != self.is_active()
    }

    fn take_consequences(&mut self, shared: &Arc<Shared>) -> Consequences {
        let wake_consumer = std::mem::take(&mut self.wake_consumer) || self.core.has_event();
        let wake_flusher = std::mem::take(&mut self.wake_flusher) || self.core.is_destroyed();
        let mut consequences = Consequences {
            transport: None,
            connection: None,
            abort: None,
            reference: None,
            consumer: if wake_consumer { self.consumer.take() } else { None },
            flusher: if wake_flusher { self.flusher.take() } else { None },
            waiters: self.take_waiters(),
            flush: std::mem::take(&mut self.spawn_flusher).then(|| shared.clone()),
        };
        self.was_flushed = false;
        if self.core.is_released() {
            consequences.transport = self.transport.take();
            consequences.connection = self.connection.take();
            consequences.abort = self.connect_task.take();
        }
        if self.reference.is_some() != self.is_active() {
            match self.reference.take() {
                None => self.reference = Some(Reference::new()),
                reference => consequences.reference = reference,
            }
        }
        consequences
    }

    fn holds_something(&self) -> bool {
        self.transport.is_some() || self.connection.is_some() || self.connect_task.is_some()
    }

    fn is_active(&self) -> bool {
        self.is_referenced && self.core.is_active()
    }

    fn take_waiters(&mut self) -> Vec<Waker> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        let waiters = std::mem::take(&mut self.waiters);
        let (over, waiting): (Vec<_>, Vec<_>) = waiters
            .into_iter()
            .partition(|Waiter { wait, .. }| self.has_come_true(*wait) || self.has_become_impossible(*wait));
        self.waiters = waiting;
        over.into_iter().map(|waiter| waiter.waker).collect()
    }
}

impl Party {
    pub(crate) fn park(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
        self.waiting = true;
    }

    pub(crate) fn unpark(&mut self) {
        self.waiting = false;
    }

    pub(crate) fn take(&mut self) -> Option<Waker> {
        std::mem::take(&mut self.waiting).then(|| self.waker.clone()).flatten()
    }
}

impl Settings {
    /// Applies what differs from a fresh connection. What the system refuses, it refuses because the peer is gone
    /// already; reading will tell.
    pub(crate) fn apply(&self, transport: &Transport) {
        if self.no_delay {
            report(transport.set_no_delay(true));
        }
        if let Some(delay) = self.keep_alive {
            report(transport.set_keep_alive(true, delay));
        }
    }
}

/// A setting that the system refuses does no harm, and Node does not report it either.
pub(crate) fn report(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "cannot set a socket option");
    }
}

/// The time by tokio's clock, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
