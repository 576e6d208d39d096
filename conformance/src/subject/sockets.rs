//! One socket of the subject, and what is done with it.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::{Value, json};
use sockeye::{Encoding, Error, Event, NextInto, Socket, SocketHandle, Written};

use super::records::describe;
use super::world::World;

pub struct Entry {
    pub who: String,
    pub handle: SocketHandle,
    socket: RefCell<Socket>,
    /// How many bytes were written: they tell where they belong.
    position: Cell<usize>,
    is_watched: Cell<bool>,
    /// The writes of which somebody wants to be told, in their order.
    written: RefCell<Vec<(usize, Written)>>,
    /// How many there have been.
    told_writes: Cell<usize>,
}

impl Entry {
    pub fn new(who: String, socket: Socket) -> Rc<Self> {
        let handle = socket.handle();
        Rc::new(Self {
            who,
            handle,
            socket: RefCell::new(socket),
            position: Cell::new(0),
            is_watched: Cell::new(false),
            written: RefCell::default(),
            told_writes: Cell::new(0),
        })
    }

    /// Asks for events, one after the other, as Node's flowing mode does. Until it is closed, or again after that.
    pub fn watch(self: &Rc<Self>, world: &Rc<World>) {
        if self.is_watched.replace(true) {
            return;
        }
        let (entry, world) = (self.clone(), world.clone());
        tokio::task::spawn_local(async move {
            let mut buffer = vec![0; world.onread];
            while let Some(next) = std::future::poll_fn(|cx| entry.poll_next(cx, &mut buffer)).await {
                match next {
                    NextInto::Data(length) => world.tell(&entry, Event::Data(buffer[..length].to_vec().into())),
                    NextInto::Event(event) => world.tell(&entry, event),
                }
            }
            entry.is_watched.set(false);
        });
    }

    /// The next event, with data in a buffer, if there is one for it.
    fn poll_next(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Option<NextInto>> {
        let mut socket = self.socket.borrow_mut();
        if buffer.is_empty() {
            return pin!(socket.next()).poll(cx).map(|event| event.map(NextInto::Event));
        }
        pin!(socket.next_into(buffer)).poll(cx)
    }

    /// Asks after writes before the next event is told, as a program would that cares for their order.
    pub fn ask_writes(&self, world: &Rc<World>) {
        let _ = self.poll_written(world, &mut Context::from_waker(Waker::noop()));
    }

    /// Asks after all writes in their order, as a program would that cares for it. Ready when there are none.
    fn poll_written(&self, world: &Rc<World>, cx: &mut Context<'_>) -> Poll<()> {
        self.written.borrow_mut().retain_mut(|(number, written)| match Pin::new(written).poll(cx) {
            Poll::Ready(result) => {
                world.records.borrow_mut().push_told(&self.who, *number, result.err().as_ref());
                false
            }
            Poll::Pending => true,
        });
        if self.written.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What Node's method returns, if that says something.
    pub fn perform(
        self: &Rc<Self>,
        world: &Rc<World>,
        name: &str,
        argument: Option<&str>,
    ) -> Result<Option<Value>, Error> {
        let handle = &self.handle;
        let number = argument.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        match name {
            "connect" => {
                let (endpoint, options) = world.place_named(argument.unwrap_or("peer"))?;
                let result = handle.connect_with(endpoint, options);
                self.watch(world);
                result?;
                self.position.set(0);
            }
            "write" => return Ok(Some(json!(handle.write(self.bytes(number))))),
            "write_told" => {
                let told = self.told_writes.replace(self.told_writes.get() + 1);
                self.written.borrow_mut().push((told, handle.write_with(self.bytes(number))));
                let (entry, world) = (self.clone(), world.clone());
                tokio::task::spawn_local(std::future::poll_fn(move |cx| entry.poll_written(&world, cx)));
            }
            "end" if argument.is_none() => handle.end(),
            "end" => handle.end_with(self.bytes(number)),
            "destroy" => handle.destroy(),
            "destroy_error" => handle.destroy_with(Error::new("TEST", "reason")),
            "destroy_soon" => handle.destroy_soon(),
            "reset" => handle.reset_and_destroy()?,
            "pause" => handle.pause(),
            "resume" => handle.resume(),
            "cork" => handle.cork(),
            "uncork" => handle.uncork(),
            "set_timeout" => handle.set_timeout(Duration::from_millis(number as u64)),
            "set_encoding" => self.socket.borrow_mut().set_encoding(encoding(argument.unwrap_or_default())),
            "set_no_delay" => handle.set_no_delay(argument == Some("true")),
            "set_keep_alive" => handle.set_keep_alive(number != 0, Duration::from_millis(number as u64)),
            "address" => {
                let address = handle.address();
                return Ok(Some(address.map_or(json!("none"), |at| json!([at.ip(), at.port()]))));
            }
            "abort" => world.signal.cancel(),
            "ref" => handle.set_referenced(true),
            "unref" => handle.set_referenced(false),
            other => return Err(Error::new("UNKNOWN_CALL", other)),
        }
        Ok(None)
    }

    pub fn snapshot(&self) -> Value {
        let handle = &self.handle;
        let attempted = handle.auto_select_family_attempted_addresses();
        let attempted: Vec<_> = attempted.iter().map(ToString::to_string).collect();
        json!({
            "who": self.who,
            "readyState": handle.ready_state().as_str(),
            "connecting": handle.connecting(),
            "pending": handle.pending(),
            "destroyed": handle.destroyed(),
            "bytesRead": handle.bytes_read(),
            "bytesWritten": handle.bytes_written(),
            "writableLength": handle.writable_length(),
            "paused": handle.is_paused(),
            "timeout": handle.timeout().map(|timeout| timeout.as_millis() as u64),
            "localAddress": handle.local_address(),
            "localPort": handle.local_port(),
            "remoteAddress": handle.remote_address(),
            "remotePort": handle.remote_port(),
            "attempted": if attempted.is_empty() { Value::Null } else { json!(attempted) },
        })
    }

    fn bytes(&self, count: usize) -> Vec<u8> {
        let start = self.position.replace(self.position.get() + count);
        let cycle: Vec<u8> = (0..251).collect();
        let mut bytes = Vec::with_capacity(count + cycle.len());
        bytes.extend_from_slice(&cycle[start % cycle.len()..]);
        while bytes.len() < count {
            bytes.extend_from_slice(&cycle);
        }
        bytes.truncate(count);
        bytes
    }

    /// Looks for an event once, to be told of the end of the scenario.
    pub fn poll_once(&self) {
        let _ = self.poll_next(&mut Context::from_waker(Waker::noop()), &mut []);
    }
}

/// An event as a record, but for data.
pub fn record(who: &str, event: &Event) -> (&'static str, Value) {
    let bare = |name| (name, json!({ "who": who, "ev": name }));
    match event {
        Event::Lookup(lookup) => {
            let (address, error) = match &lookup.result {
                Ok(address) => (json!(address), None),
                Err(error) => (Value::Null, Some(describe(error))),
            };
            let record = json!({ "who": who, "ev": "lookup", "host": lookup.host, "address": address, "error": error });
            ("lookup", record)
        }
        Event::ConnectionAttempt { address } => {
            let (name, port) = name_and_port(address);
            ("", json!({ "who": who, "ev": "connectionAttempt", "address": name, "port": port }))
        }
        Event::ConnectionAttemptFailed { address, error } => {
            let (name, port) = name_and_port(address);
            let error = describe(error);
            let event = "connectionAttemptFailed";
            ("", json!({ "who": who, "ev": event, "address": name, "port": port, "error": error }))
        }
        Event::Connect => bare("connect"),
        Event::Ready => bare("ready"),
        Event::End => bare("end"),
        Event::Drain => bare("drain"),
        Event::Finish => bare("finish"),
        Event::Timeout => bare("timeout"),
        Event::Error(error) => ("error", json!({ "who": who, "ev": "error", "error": describe(error) })),
        Event::Close { had_error } => ("close", json!({ "who": who, "ev": "close", "hadError": had_error })),
        other => ("", json!({ "who": who, "ev": format!("{other:?}") })),
    }
}

fn name_and_port(address: &sockeye::Address) -> (String, Option<u16>) {
    match address.ip() {
        Some(ip) => (ip.ip().to_string(), address.port()),
        None => (address.to_string(), None),
    }
}

fn encoding(name: &str) -> Encoding {
    match name {
        "hex" => Encoding::Hex,
        "base64" => Encoding::Base64,
        "base64url" => Encoding::Base64Url,
        "ascii" => Encoding::Ascii,
        "latin1" => Encoding::Latin1,
        "utf16le" => Encoding::Utf16Le,
        _ => Encoding::Utf8,
    }
}
