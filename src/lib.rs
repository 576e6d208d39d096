//! Node.js's `net` module as a Rust library: TCP and IPC servers and clients on tokio, with the behaviour of Node v20.
//! It brings what a network program otherwise writes by hand: a write queue with a high-water mark, half-open policy,
//! idle timeouts, connection limits, graceful close, racing connection attempts, errors that name the address, and one
//! type for TCP and Unix domain sockets.
//!
//! Three manuals go into detail: [coming from Node](coming_from_node) has each idiom of Node's documentation beside its
//! Rust form; [coming from tokio](coming_from_tokio) says what each piece replaces; [operating] is about load balancers,
//! systemd and containers.
//!
//! # A server and a client
//!
//! ```
//! use sockeye::{Server, Socket};
//!
//! async fn start_echo() -> sockeye::Result<Server> {
//!     let server = Server::new().on_connection(|mut socket: Socket| async move {
//!         socket.write("hello\r\n");
//!         let echo = socket.handle();
//!         socket.pipe(&echo).await.map(drop)
//!     });
//!     server.listen("127.0.0.1:0").await?;
//!     Ok(server)
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> sockeye::Result<()> {
//! # let server = start_echo().await?;
//! # drop(sockeye::connect(server.address().unwrap()).await?);
//! # Ok(())
//! # }
//! ```
//!
//! The server stops listening when it is dropped; a program that does nothing else ends with `server.closed().await`.
//!
//! ```
//! use sockeye::{Event, IntoEndpoint};
//!
//! async fn greet(endpoint: impl IntoEndpoint) -> sockeye::Result<()> {
//!     let mut client = sockeye::connect(endpoint).await?;
//!     client.write("world!\r\n");
//!     while let Some(event) = client.next().await {
//!         match event {
//!             Event::Data(chunk) => { print!("{}", chunk.escape_ascii()); client.end(); }
//!             Event::End => println!("disconnected from server"),
//!             Event::Error(error) => return Err(error),
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> sockeye::Result<()> {
//! # let server = Server::new().on_connection(|mut socket| async move {
//! #     socket.write("hello\r\n");
//! #     let echo = socket.handle();
//! #     socket.pipe(&echo).await.map(drop)
//! # });
//! # use sockeye::Server;
//! # server.listen("127.0.0.1:0").await?;
//! # greet(server.address().unwrap()).await
//! # }
//! ```
//!
//! Where to connect or listen is one [`Endpoint`]: a port (`8124`), a host and port (`"localhost:8124"`), an address of
//! [`std::net`], or a path (`"/tmp/echo.sock"`).
//!
//! # Four ways to read
//!
//! A [`Socket`] is the one place where a connection is read. Use one of these at a time:
//!
//! - [`Socket::next`], or the socket as a [`Stream`](futures_core::Stream), gives [`Event`]s in Node's order. With
//!   [`Socket::next_into`] the bytes go into a buffer of yours.
//! - [`Socket::pipe`] passes everything on to another socket, or back to the same one.
//! - The socket is a tokio [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite), so codecs,
//!   TLS and HTTP libraries run over it.
//! - [`Socket::attach`] hands it to a task that calls closures, one for each event: [`Listeners`].
//!
//! Nothing is read while nobody asks. What the peer sends then stays with the kernel, which holds the peer up.
//!
//! # Writing
//!
//! [`write`](SocketHandle::write) hands the bytes to the kernel in the call and never waits. What the kernel does not
//! take is queued, and leaves in the background without anybody polling. When the queue has reached the high-water mark
//! (64 KiB) `write` returns `false`. The bytes are accepted all the same; to bound the memory, wait for
//! [`Event::Drain`] or [`drained`](SocketHandle::drained) before the next write.
//! [`write_with`](SocketHandle::write_with) tells when these bytes have reached the kernel,
//! [`try_write`](SocketHandle::try_write) returns misuse as an error, and [`cork`](SocketHandle::cork) gathers small
//! pieces.
//!
//! Everything but reading is on [`SocketHandle`]. It is `Clone`, and any task can hold one: [`Socket::handle`].
//!
//! # Ends
//!
//! Each side ends on its own. [`end`](SocketHandle::end) ends this side behind what was written ([`Event::Finish`]);
//! [`Event::End`] says that the peer has ended its own. By default this side then ends too, after a chance for a last
//! word; with [`allow_half_open`](SocketOptions::allow_half_open) it stays open until `end` is called. When both sides
//! have ended, the socket closes. [`destroy`](SocketHandle::destroy) closes at once and drops what is queued.
//! [`Event::Close`] is the last event, always.
//!
//! # Errors
//!
//! There is one [`Error`], with Node's [`code`](Error::code) (`"ECONNREFUSED"`, `"ERR_SERVER_ALREADY_LISTEN"`), Node's
//! message (`connect ECONNREFUSED 127.0.0.1:1`), and the address. It converts from and to [`std::io::Error`]. A socket
//! that fails gives [`Event::Error`], then [`Event::Close`]. Unlike in Node, an error that nobody looks at does not end
//! the program.
//!
//! # Drop, cancel, and when nobody polls
//!
//! | | dropped | its future is cancelled | nobody polls |
//! |---|---|---|---|
//! | [`Socket`] | ends and closes behind what was written; gives up connecting if nothing was | `next`, `pipe`: nothing is lost | writes go on; nothing is read; ends and timeouts are not noticed |
//! | [`SocketHandle`] | nothing happens | `drained`, `closed`, [`Written`]: nothing is taken back | |
//! | `connect(..)`, awaited ([`Connecting`]) | as the socket | the socket is dropped | connecting goes on, and what was written follows |
//! | [`Server`] | stops listening; connections stay | `next`, `accept`: no connection is lost | with `on_connection` it accepts; without, clients wait in the kernel's queue |
//! | `listen(..)`, `close()` ([`Listen`], [`Closed`]) | nothing happens | nothing happens | they take effect in the call |
//! | [`close_within`](ServerHandle::close_within) | nobody is cut off | nobody is cut off | it ends connections in the call |
//!
//! Background work needs a tokio runtime, and stops with it.
//!
//! # Where it departs from Node
//!
//! Addresses of a name [race](AutoSelectFamily::Race) instead of being given up when slow; the high-water mark is 64
//! KiB; a limit of zero connections takes none; a string is an endpoint only if it can be read in one way. The
//! [manual](coming_from_node#what-is-different-and-why) gives the reasons, docs/parity.md every member of Node's
//! documentation and where it differs.
//!
//! With the feature `serde`, [`BlockList`] and [`SocketAddress`] are read from and written to Node's JSON forms.

#![forbid(unsafe_code)]
#![warn(
    clippy::dbg_macro,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::todo,
    clippy::unwrap_used
)]

pub(crate) mod address;
pub(crate) mod address_text;
pub(crate) mod auto_select_family;
pub(crate) mod before;
pub(crate) mod block_list;
pub(crate) mod connect;
pub(crate) mod core;
pub(crate) mod data;
pub(crate) mod encoding;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod family;
pub(crate) mod into_ip;
pub(crate) mod is_ip;
pub(crate) mod listen;
pub(crate) mod listen_handle;
pub(crate) mod listeners;
pub(crate) mod options;
pub(crate) mod pipe;
pub(crate) mod ready_state;
pub(crate) mod references;
pub(crate) mod resolve;
pub(crate) mod server;
pub(crate) mod server_event;
pub(crate) mod socket;
pub(crate) mod socket_address;
pub(crate) mod transport;

pub use crate::address::Address;
pub use crate::auto_select_family::{
    AutoSelectFamily, default_auto_select_family, default_auto_select_family_attempt_timeout,
    set_default_auto_select_family, set_default_auto_select_family_attempt_timeout,
};
pub use crate::block_list::BlockList;
pub use crate::connect::{connect, create_connection};
pub use crate::data::Data;
pub use crate::encoding::{Encoding, StringDecoder};
pub use crate::endpoint::{Endpoint, IntoEndpoint};
pub use crate::error::{Error, Result};
pub use crate::event::{Event, Lookup};
pub use crate::family::Family;
pub use crate::into_ip::IntoIp;
pub use crate::is_ip::{is_ip, is_ipv4, is_ipv6};
pub use crate::listen::Listen;
pub use crate::listen_handle::IntoListenHandle;
pub use crate::listeners::Listeners;
pub use crate::options::{ConnectOptions, ListenOptions, ServerOptions, SocketOptions};
pub use crate::pipe::Pipe;
pub use crate::ready_state::ReadyState;
pub use crate::references::unreferenced;
pub use crate::resolve::{Hints, LookupOptions, Resolver};
pub use crate::server::connection_output::ConnectionOutput;
pub use crate::server::handle::{Closed, ServerHandle};
pub use crate::server::{Server, create_server};
pub use crate::server_event::{Dropped, ServerEvent};
pub use crate::socket::Socket;
pub use crate::socket::connecting::Connecting;
pub use crate::socket::handle::SocketHandle;
pub use crate::socket::next_into::NextInto;
pub use crate::socket::written::Written;
pub use crate::socket_address::{SocketAddress, SocketAddressOptions};

#[doc = include_str!("../docs/coming-from-node.md")]
pub mod coming_from_node {}

#[doc = include_str!("../docs/coming-from-tokio.md")]
pub mod coming_from_tokio {}

#[doc = include_str!("../docs/operating.md")]
pub mod operating {}
