//! One scenario's subject: its sockets, its server, what they do inside events.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use sockeye::{
    ConnectOptions, Endpoint, Error, Event, Family, ListenOptions, Server, ServerEvent, ServerHandle, ServerOptions,
    Socket, SocketOptions,
};
use tokio_util::sync::CancellationToken;

use super::records::{Records, describe};
use super::sockets::{self, Entry};

pub struct World {
    pub records: RefCell<Records>,
    sockets: RefCell<Vec<Rc<Entry>>>,
    server: Option<ServerHandle>,
    /// The server, while nobody waits for its events.
    idle_server: RefCell<Option<Server>>,
    is_listening: Cell<bool>,
    reactions: Vec<(String, Value)>,
    reacted: RefCell<HashSet<String>>,
    places: Value,
    pub signal: CancellationToken,
    /// How large the buffer that data is to be read into is; zero without one.
    pub onread: usize,
    has_signal: bool,
    is_over: Cell<bool>,
}

impl World {
    pub fn begin(command: &Value) -> Rc<Self> {
        let options = Options(&command["options"]);
        let is_server = command["isServer"] == true;
        let server = is_server.then(|| Server::with_options(options.server()));
        let reactions = command["reactions"].as_array().into_iter().flatten();
        let reactions = reactions.map(|reaction| (text(&reaction["event"]), reaction["calls"].clone())).collect();
        let signal = CancellationToken::new();
        let world = Rc::new(Self {
            records: RefCell::new(Records::new(options.has("in_order"))),
            sockets: RefCell::default(),
            server: server.as_ref().map(|server| server.handle()),
            idle_server: RefCell::new(server),
            is_listening: Cell::new(false),
            reactions,
            reacted: RefCell::default(),
            places: command["places"].clone(),
            signal: signal.clone(),
            onread: options.number("onread").unwrap_or(0),
            has_signal: options.has("signal"),
            is_over: Cell::new(false),
        });
        if !is_server {
            let socket = options.socket();
            let socket = if world.has_signal { socket.signal(signal) } else { socket };
            world.add_socket(Socket::with_options(socket));
        }
        world.watch_server();
        world
    }

    pub fn activity(&self) -> u64 {
        self.records.borrow().activity
    }

    /// A lookup takes its time elsewhere.
    pub fn is_busy(&self) -> bool {
        self.is_listening.get() || self.sockets.borrow().iter().any(|entry| entry.handle.connecting())
    }

    pub fn take(&self) -> Value {
        let mut answer = self.records.borrow_mut().take();
        let mut state: Vec<Value> = self.sockets.borrow().iter().map(|entry| entry.snapshot()).collect();
        if let Some(server) = &self.server {
            let address = server.address().map(|address| match address.ip() {
                Some(ip) => json!([ip.ip(), ip.port()]),
                None => json!(address.to_string()),
            });
            let (listening, connections) = (server.listening(), server.connections());
            state.push(
                json!({ "who": "server", "listening": listening, "connections": connections, "address": address }),
            );
        }
        answer["state"] = state.into();
        answer
    }

    /// Where the server is to be reached.
    pub fn place(&self) -> Value {
        let address = self.server.as_ref().and_then(|server| server.address());
        match &address {
            Some(address) => json!({ "port": address.port(), "path": address.path() }),
            None => json!({ "port": null }),
        }
    }

    pub fn place_named(&self, name: &str) -> Result<(Endpoint, ConnectOptions), Error> {
        let place = &self.places[name];
        let mut options = ConnectOptions::new();
        if place["family"] == 4 {
            options = options.family(Family::Ipv4);
        }
        if let Some(addresses) = place["addresses"].as_array() {
            let parse = |address: &Value| text(address).parse::<IpAddr>().ok();
            let addresses: Vec<_> = addresses.iter().filter_map(parse).map(|ip| SocketAddr::new(ip, 0)).collect();
            options = options.lookup(move |_, _| ready(Ok(addresses.clone())));
        }
        Ok((self.endpoint_named(name)?, options))
    }

    fn endpoint_named(&self, name: &str) -> Result<Endpoint, Error> {
        let place = &self.places[name];
        let port = &place["port"];
        if let Some(path) = place["path"].as_str() {
            return Ok(Endpoint::Path(PathBuf::from(path)));
        }
        match (place["host"].as_str(), port.as_u64().and_then(|port| u16::try_from(port).ok())) {
            (Some(host), Some(port)) => Ok(Endpoint::Host { host: host.to_owned(), port }),
            (None, Some(port)) => Ok(Endpoint::Port(port)),
            // The text of the number is what is refused.
            _ => format!("localhost:{port}").parse(),
        }
    }

    /// Does one call of the driver's.
    pub fn perform(self: &Rc<Self>, call: &Value) {
        if let Some(answer) = self.call(call, None) {
            self.records.borrow_mut().push_answer(answer);
        }
    }

    /// Does one call. `current` is the socket whose event it answers.
    fn call(self: &Rc<Self>, call: &Value, current: Option<&Rc<Entry>>) -> Option<Value> {
        let (name, argument) = (text(&call["name"]), call["argument"].as_str());
        let target = &call["target"];
        let entry = match target.as_u64() {
            Some(index) => self.sockets.borrow().get(index as usize).cloned(),
            None if target == "this" => current.cloned().or_else(|| self.sockets.borrow().first().cloned()),
            None => None,
        };
        let (who, result) = match (entry, &self.server) {
            (Some(entry), _) => (entry.who.clone(), entry.perform(self, &name, argument)),
            (None, Some(server)) if target == "server" => {
                ("server".to_owned(), self.perform_on_server(server, &name, argument))
            }
            _ => {
                let who = target.as_u64().map_or_else(|| text(target), |index| index.to_string());
                (who, Ok(Some(json!("nobody"))))
            }
        };
        match result {
            Ok(None) => None,
            Ok(Some(result)) => Some(json!({ "who": who, "call": name, "result": result })),
            Err(error) => Some(json!({ "who": who, "call": name, "throws": describe(&error) })),
        }
    }

    pub fn tell(self: &Rc<Self>, entry: &Rc<Entry>, event: Event) {
        if self.is_over.get() {
            return;
        }
        let who = &entry.who;
        // Node tells these before the writes that are out by then.
        if !matches!(event, Event::Connect | Event::Drain) {
            entry.ask_writes(self);
        }
        let name = match &event {
            Event::Data(chunk) => {
                self.records.borrow_mut().push_data(who, "data", chunk.len(), chunk);
                "data"
            }
            Event::Text(text) => {
                let length = text.encode_utf16().count();
                self.records.borrow_mut().push_data(who, "text", length, text.as_bytes());
                "data"
            }
            other => {
                let (name, record) = sockets::record(who, other);
                self.record(record);
                name
            }
        };
        self.react(name, Some(entry));
    }

    /// Takes everything down; nothing is told any more.
    pub fn finish(&self) {
        self.is_over.set(true);
        self.is_listening.set(false);
        for entry in self.sockets.borrow().iter() {
            entry.handle.destroy();
            entry.poll_once();
        }
        if let Some(server) = self.server.as_ref().filter(|server| server.listening()) {
            drop(server.close());
        }
    }

    fn perform_on_server(
        self: &Rc<Self>,
        server: &ServerHandle,
        name: &str,
        argument: Option<&str>,
    ) -> Result<Option<Value>, Error> {
        match name {
            "listen" => {
                let endpoint = self.endpoint_named(argument.unwrap_or("free"))?;
                let options = ListenOptions::new();
                let options = if self.has_signal { options.signal(self.signal.clone()) } else { options };
                let was_listening = server.listening();
                let mut listen = server.listen_with(endpoint, options);
                if was_listening {
                    // It is refused at the call, and only the future says so.
                    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
                    if let std::task::Poll::Ready(Err(error)) = pin!(&mut listen).poll(context) {
                        return Err(error);
                    }
                }
                self.is_listening.set(true);
                self.watch_server();
            }
            "close" => {
                let closed = server.close();
                self.is_listening.set(false);
                self.watch_server();
                let world = self.clone();
                tokio::task::spawn_local(async move {
                    let result = closed.await;
                    world.records.borrow_mut().push_told("server", 0, result.err().as_ref());
                });
            }
            "max_connections" => server.set_max_connections(argument.and_then(|limit| limit.parse().ok())),
            "connections" => return Ok(Some(json!(server.connections()))),
            "abort" => self.signal.cancel(),
            "ref" => server.set_referenced(true),
            "unref" => server.set_referenced(false),
            other => return Err(Error::new("UNKNOWN_CALL", other)),
        }
        Ok(None)
    }

    /// Asks for the server's events until it is closed, or again after that.
    fn watch_server(self: &Rc<Self>) {
        let Some(mut server) = self.idle_server.borrow_mut().take() else { return };
        let world = self.clone();
        tokio::task::spawn_local(async move {
            while let Some(event) = server.next().await {
                world.tell_of_server(event);
            }
            *world.idle_server.borrow_mut() = Some(server);
            if world.server.as_ref().is_some_and(|server| server.listening()) {
                world.watch_server();
            }
        });
    }

    fn tell_of_server(self: &Rc<Self>, event: ServerEvent) {
        if self.is_over.get() {
            return;
        }
        let (name, record) = match event {
            ServerEvent::Connection(socket) => {
                self.record(json!({ "who": "server", "ev": "connection" }));
                let entry = self.add_socket(socket);
                return self.react("connection", Some(&entry));
            }
            ServerEvent::Listening => ("listening", json!({ "who": "server", "ev": "listening" })),
            ServerEvent::Close => ("server_close", json!({ "who": "server", "ev": "close" })),
            ServerEvent::Error(error) => {
                ("server_error", json!({ "who": "server", "ev": "error", "error": describe(&error) }))
            }
            ServerEvent::Drop(Some(dropped)) => {
                let at = |address: std::net::SocketAddr| json!([address.ip(), address.port()]);
                let (local, remote) = (at(dropped.local), at(dropped.remote));
                ("drop", json!({ "who": "server", "ev": "drop", "local": local, "remote": remote }))
            }
            ServerEvent::Drop(None) => ("drop", json!({ "who": "server", "ev": "drop" })),
            other => ("", json!({ "who": "server", "ev": format!("{other:?}") })),
        };
        self.is_listening.set(false);
        self.record(record);
        self.react(name, None);
    }

    fn add_socket(self: &Rc<Self>, socket: Socket) -> Rc<Entry> {
        let entry = Entry::new(format!("s{}", self.sockets.borrow().len()), socket);
        self.sockets.borrow_mut().push(entry.clone());
        entry.watch(self);
        entry
    }

    fn react(self: &Rc<Self>, event: &str, entry: Option<&Rc<Entry>>) {
        let key = format!("{} {event}", entry.map_or("server", |entry| &entry.who));
        if self.is_over.get() || self.reacted.borrow().contains(&key) {
            return;
        }
        for (_, calls) in self.reactions.iter().filter(|(name, _)| name == event) {
            self.reacted.borrow_mut().insert(key.clone());
            for call in calls.as_array().into_iter().flatten() {
                if let Some(record) = self.call(call, entry) {
                    self.record(record);
                }
            }
        }
    }

    fn record(&self, record: Value) {
        self.records.borrow_mut().push(record);
    }
}

struct Options<'a>(&'a Value);

impl Options<'_> {
    fn socket(&self) -> SocketOptions {
        SocketOptions::new().allow_half_open(self.has("allow_half_open")).high_water_mark(self.high_water_mark())
    }

    fn server(&self) -> ServerOptions {
        let delay = self.number("keep_alive_initial_delay").unwrap_or(0);
        ServerOptions::new()
            .allow_half_open(self.has("allow_half_open"))
            .high_water_mark(self.high_water_mark())
            .pause_on_connect(self.has("pause_on_connect"))
            .no_delay(self.has("no_delay"))
            .keep_alive(self.has("keep_alive"))
            .keep_alive_initial_delay(Duration::from_millis(delay as u64))
    }

    fn high_water_mark(&self) -> usize {
        self.number("high_water_mark").unwrap_or(64 * 1024)
    }

    fn has(&self, name: &str) -> bool {
        self.0.as_array().is_some_and(|options| options.iter().any(|option| option == name))
    }

    fn number(&self, name: &str) -> Option<usize> {
        let mut options = self.0.as_array()?.iter().filter_map(Value::as_str);
        options.find_map(|option| option.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
