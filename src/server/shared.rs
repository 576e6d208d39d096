//! One server's core and listener under one lock.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::roll::Roll;
use crate::address::Address;
use crate::block_list::BlockList;
use crate::core::accept::{Accept, AcceptFailure, Verdict};
use crate::core::stream::Stream as Core;
use crate::error::{Error, Result};
use crate::options::ServerOptions;
use crate::references::Reference;
use crate::server_event::{Dropped, ServerEvent};
use crate::socket::Socket;
use crate::socket::party::Party;
use crate::socket::shared::Shared;
use crate::transport::Transport;
use crate::transport::listener::Listener;

/// How many events are kept for somebody who may never ask for them.
const MAX_EVENTS: usize = 128;

pub(crate) struct ServerShared {
    state: Mutex<ServerState>,
    options: ServerOptions,
}

pub(crate) struct ServerState {
    pub(crate) core: Accept,
    roll: Roll,
    /// Whose connections are refused.
    pub(crate) block_list: Option<Arc<BlockList>>,
    pub(crate) listener: Option<Listener>,
    events: VecDeque<Untold>,
    /// Which call of `listen` the current state comes from; each `close` counts too.
    generation: u64,
    /// Where the result of that `listen` goes.
    listening: Option<Arc<Outcome>>,
    /// Takes each connection as it comes in; without it they wait to be asked for.
    pub(crate) on_connection: Option<OnConnection>,
    /// The task that asks for events.
    pub(crate) consumer: Party,
    acceptor: Party,
    has_acceptor: bool,
    /// Waits until the system may have room for another connection.
    back_off: Option<Pin<Box<Sleep>>>,
    waiters: Vec<Waker>,
    /// How often the server has closed.
    closes: u64,
    /// The `Server` was dropped: its handles can listen no more.
    is_abandoned: bool,
    /// Whether the program is to wait for this server.
    is_referenced: bool,
    reference: Option<Reference>,
}

pub(crate) type OnConnection = Arc<dyn Fn(Socket) + Send + Sync>;

/// How a `listen` went. Its future and its event share it: whoever is asked first tells.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) generation: u64,
    result: OnceLock<Result<()>>,
}

/// What nobody has asked for yet.
#[derive(Debug)]
enum Untold {
    Outcome(Arc<Outcome>),
    Event(ServerEvent),
}

/// A connection's place among those of its server, given back when it is dropped.
pub(crate) struct Connection {
    server: Arc<ServerShared>,
    place: usize,
}

impl ServerShared {
    pub(crate) fn new(mut options: ServerOptions) -> Arc<Self> {
        let state = ServerState {
            core: Accept::default(),
            roll: Roll::default(),
            block_list: options.block_list.take(),
            listener: None,
            events: VecDeque::new(),
            generation: 0,
            listening: None,
            on_connection: None,
            consumer: Party::default(),
            acceptor: Party::default(),
            has_acceptor: false,
            back_off: None,
            waiters: Vec::new(),
            closes: 0,
            is_abandoned: false,
            is_referenced: true,
            reference: None,
        };
        Arc::new(Self { state: Mutex::new(state), options })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen.
    pub(crate) fn start(&self) -> Result<Arc<Outcome>> {
        let mut state = self.lock();
        if state.is_abandoned {
            return Err(Error::not_running());
        }
        if !state.core.start() {
            return Err(Error::already_listening());
        }
        // A server that begins to listen gives no reference back.
        let _none = state.update_reference();
        state.generation += 1;
        let outcome = Arc::new(Outcome { generation: state.generation, result: OnceLock::new() });
        state.listening = Some(outcome.clone());
        Ok(outcome)
    }

    /// Takes the result of listening, unless the server was closed meanwhile.
    pub(crate) fn settle(self: &Arc<Self>, outcome: &Arc<Outcome>, result: Result<Listener>) {
        let mut state = self.lock();
        if state.generation != outcome.generation {
            drop(state);
            // The listener, if there is one, removes its file; that is not to happen under the lock.
            return drop(result);
        }
        match result {
            Ok(listener) => {
                state.core.handle_listening();
                state.listener = Some(listener);
                outcome.set(Ok(()));
            }
            Err(error) => {
                state.core.handle_listen_error();
                outcome.set(Err(error));
            }
        }
        state.push(Untold::Outcome(outcome.clone()));
        let wakers = state.take_wakers();
        let reference = state.update_reference();
        drop(state);
        drop(reference);
        wake(wakers);
        self.ensure_acceptor();
    }

    pub(crate) fn set_referenced(&self, referenced: bool) {
        let mut state = self.lock();
        state.is_referenced = referenced;
        let reference = state.update_reference();
        drop(state);
        drop(reference);
    }

    /// Ready when the server was closed since that `listen`, or the `listen` failed.
    pub(crate) fn poll_over(&self, outcome: &Outcome, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.generation != outcome.generation || !state.core.is_open() {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Where the server listens, as soon as that `listen` has come to its end.
    pub(crate) fn poll_outcome(&self, outcome: &Arc<Outcome>, cx: &mut Context<'_>) -> Poll<Result<Address>> {
        let mut state = self.lock();
        match outcome.result.get() {
            Some(result) => {
                state.events.retain(|event| !event.is_of(outcome));
                let is_current = state.generation == outcome.generation;
                let listener = state.listener.as_ref().filter(|_| is_current);
                let address = listener.and_then(Listener::address);
                Poll::Ready(result.clone().and(address.ok_or_else(Error::not_running)))
            }
            None => {
                state.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Stops listening. Whether the server was open.
    pub(crate) fn close(&self) -> bool {
        self.close_locked(self.lock())
    }

    /// Stops listening, unless it is not that `listen` any more that the server is open by.
    pub(crate) fn close_outcome(&self, outcome: &Outcome) {
        let state = self.lock();
        if state.generation == outcome.generation {
            self.close_locked(state);
        }
    }

    fn close_locked(&self, mut state: MutexGuard<'_, ServerState>) -> bool {
        let was_open = state.core.close();
        state.generation += 1;
        state.forget_listening();
        let listener = state.listener.take();
        let reference = state.update_reference();
        state.back_off = None;
        state.check_closed();
        let wakers = state.take_wakers();
        drop(state);
        drop((listener, reference));
        wake(wakers);
        was_open
    }

    pub(crate) fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.close();
    }

    /// Which close to wait for: the one that is due, or the one that has been.
    pub(crate) fn close_to_come(&self) -> u64 {
        let state = self.lock();
        if state.is_over() { state.closes } else { state.closes + 1 }
    }

    pub(crate) fn poll_closed(&self, close: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closes >= close {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    pub(crate) fn poll_event(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        let mut state = self.lock();
        state.consumer.unpark();
        if let Some(event) = state.take_event() {
            return Poll::Ready(Some(event));
        }
        if state.is_over() {
            return Poll::Ready(None);
        }
        if state.on_connection.is_none() {
            if let Poll::Ready(event) = state.poll_accept(self, cx) {
                return Poll::Ready(Some(event));
            }
        }
        state.consumer.park(cx);
        Poll::Pending
    }

    /// Starts the task that accepts, if connections are to be taken as they come in and none runs yet.
    pub(crate) fn ensure_acceptor(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.on_connection.is_none() || state.listener.is_none() || state.has_acceptor {
            return;
        }
        state.has_acceptor = true;
        drop(state);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(Acceptor { shared: self.clone(), may_restart: false })),
            Err(_) => self.lock().has_acceptor = false,
        }
    }

    /// The sockets of the open connections, in the order in which these were accepted.
    pub(crate) fn sockets(&self) -> Vec<Arc<Shared>> {
        let mut sockets = self.lock().roll.sockets();
        sockets.sort_unstable_by_key(|(number, _)| *number);
        sockets.into_iter().map(|(_, socket)| socket).collect()
    }
}

impl ServerState {
    fn make_socket(&mut self, server: &Arc<ServerShared>, transport: Transport, remote: Option<SocketAddr>) -> Socket {
        let options = &server.options;
        let settings = options.settings();
        settings.apply(&transport);
        let shared = Shared::new(Core::open(options.allow_half_open, options.high_water_mark));
        let mut state = shared.lock();
        if options.pause_on_connect {
            state.core.pause();
        }
        state.transport = Some(transport);
        state.settings = settings;
        state.remote = remote;
        state.connection = Some(Connection { server: server.clone(), place: self.roll.enter(&shared) });
        drop(state);
        Socket::from_shared(shared)
    }

    /// Takes the next connection, or what became of it.
    fn poll_accept(&mut self, shared: &Arc<ServerShared>, cx: &mut Context<'_>) -> Poll<ServerEvent> {
        loop {
            if let Some(back_off) = &mut self.back_off {
                ready!(back_off.as_mut().poll(cx));
                self.back_off = None;
            }
            let Some(listener) = &self.listener else { return Poll::Pending };
            match ready!(listener.poll_accept(cx)) {
                Ok((transport, remote)) => {
                    let block_list = self.block_list.as_deref();
                    let blocked = || remote.filter(|peer| block_list.is_some_and(|list| list.check(*peer)));
                    return Poll::Ready(match self.core.handle_connection(blocked) {
                        Verdict::Accept => ServerEvent::Connection(self.make_socket(shared, transport, remote)),
                        Verdict::Drop => ServerEvent::Drop(
                            transport.local_address().zip(remote).map(|(local, remote)| Dropped { local, remote }),
                        ),
                        Verdict::Block(peer) => ServerEvent::Blocked(peer),
                    });
                }
                Err(error) => match self.core.handle_accept_error(&error) {
                    AcceptFailure::Retry => {}
                    AcceptFailure::BackOff { pause, report } => {
                        self.back_off = Some(Box::pin(sleep_until(Instant::now() + pause)));
                        if report {
                            return Poll::Ready(ServerEvent::Error(Error::system("accept", error)));
                        }
                    }
                },
            }
        }
    }

    /// Takes or gives back the server's share in what the program waits for. What is given back is to be dropped after
    /// the lock.
    fn update_reference(&mut self) -> Option<Reference> {
        let is_active = self.is_referenced && self.core.is_open();
        match &self.reference {
            None if is_active => self.reference = Some(Reference::new()),
            Some(_) if !is_active => return self.reference.take(),
            _ => {}
        }
        None
    }

    fn take_event(&mut self) -> Option<ServerEvent> {
        Some(match self.events.pop_front()? {
            Untold::Event(event) => event,
            Untold::Outcome(outcome) => match outcome.result.get() {
                Some(Err(error)) => ServerEvent::Error(error.clone()),
                _ => ServerEvent::Listening,
            },
        })
    }

    fn push(&mut self, event: Untold) {
        if self.events.len() == MAX_EVENTS {
            let lost = self.events.pop_front();
            tracing::debug!(?lost, "nobody asks for the server's events");
        }
        self.events.push_back(event);
    }

    /// A server that is closed before its `Listening` was told never tells it.
    fn forget_listening(&mut self) {
        if let Some(outcome) = self.listening.take() {
            outcome.set(Err(Error::not_running()));
            if matches!(outcome.result.get(), Some(Ok(()))) {
                self.events.retain(|event| !event.is_of(&outcome));
            }
        }
    }

    /// Whether the server was closed and nothing is left of it.
    fn is_over(&self) -> bool {
        self.closes > 0 && !self.core.is_open() && !self.core.is_closing()
    }

    fn check_closed(&mut self) {
        if self.core.take_closed() {
            self.closes += 1;
            self.push(Untold::Event(ServerEvent::Close));
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>) {
        if !self.waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            self.waiters.push(cx.waker().clone());
        }
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = std::mem::take(&mut self.waiters);
        wakers.extend(self.consumer.take());
        wakers.extend(self.acceptor.take());
        wakers
    }
}

impl Outcome {
    /// The first result counts.
    fn set(&self, result: Result<()>) {
        let _ = self.result.set(result);
    }
}

impl Untold {
    fn is_of(&self, outcome: &Arc<Outcome>) -> bool {
        matches!(self, Self::Outcome(other) if Arc::ptr_eq(other, outcome))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.server.lock();
        state.core.handle_disconnection();
        let left = state.roll.leave(self.place);
        let wakers = if state.core.is_closing() {
            state.check_closed();
            state.take_wakers()
        } else {
            Vec::new()
        };
        drop(state);
        drop(left);
        wake(wakers);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// The background task of a server that takes connections as they come in.
struct Acceptor {
    shared: Arc<ServerShared>,
    /// Whether another one may take its place: not if this one ends because its runtime does.
    may_restart: bool,
}

impl Future for Acceptor {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, may_restart } = self.get_mut();
        loop {
            let mut state = shared.lock();
            state.acceptor.unpark();
            let (Some(on_connection), Some(_)) = (state.on_connection.clone(), &state.listener) else {
                *may_restart = true;
                return Poll::Ready(());
            };
            let Poll::Ready(event) = state.poll_accept(shared, cx) else {
                state.acceptor.park(cx);
                return Poll::Pending;
            };
            if let ServerEvent::Connection(socket) = event {
                drop(state);
                // A listener that panics costs its own connection only.
                *may_restart = true;
                on_connection(socket);
                *may_restart = false;
                continue;
            }
            // With `on_connection`, many a program never asks for events.
            if let ServerEvent::Error(error) = &event {
                tracing::warn!(%error, "cannot accept");
            }
            state.push(Untold::Event(event));
            let consumer = state.consumer.take();
            drop(state);
            wake(consumer);
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.shared.lock().has_acceptor = false;
        if self.may_restart {
            // After a panic, or if listening has begun again since this task saw that it was over.
            self.shared.ensure_acceptor();
        }
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
