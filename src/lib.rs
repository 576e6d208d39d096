//! Node.js's `net` module as a Rust library: TCP and IPC servers and clients with Node's behaviour, on tokio.

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
pub(crate) mod listeners;
pub(crate) mod options;
pub(crate) mod pipe;
pub(crate) mod ready_state;
pub(crate) mod resolve;
pub(crate) mod server;
pub(crate) mod server_event;
pub(crate) mod socket;
pub(crate) mod socket_address;
pub(crate) mod transport;

pub use crate::address::Address;
pub use crate::block_list::BlockList;
pub use crate::connect::connect;
pub use crate::data::Data;
pub use crate::encoding::{Encoding, StringDecoder};
pub use crate::endpoint::{Endpoint, IntoEndpoint};
pub use crate::error::{Error, Result};
pub use crate::event::{Event, Lookup};
pub use crate::family::Family;
pub use crate::into_ip::IntoIp;
pub use crate::is_ip::{is_ip, is_ipv4, is_ipv6};
pub use crate::listen::Listen;
pub use crate::listeners::Listeners;
pub use crate::options::{ConnectOptions, ServerOptions, SocketOptions};
pub use crate::pipe::Pipe;
pub use crate::ready_state::ReadyState;
pub use crate::server::Server;
pub use crate::server::handle::{Closed, ServerHandle};
pub use crate::server_event::{Dropped, ServerEvent};
pub use crate::socket::Socket;
pub use crate::socket::connecting::Connecting;
pub use crate::socket::handle::SocketHandle;
pub use crate::socket::written::Written;
pub use crate::socket_address::{SocketAddress, SocketAddressOptions};
