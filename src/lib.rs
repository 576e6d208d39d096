//! Node.js's `net` module as a Rust library.

mod address_text;
mod block_list;
pub mod error;
mod family;
mod into_ip;
mod is_ip;
mod socket_address;

pub use block_list::BlockList;
pub use error::{Error, Result};
pub use family::Family;
pub use into_ip::IntoIp;
pub use is_ip::{is_ip, is_ipv4, is_ipv6};
pub use socket_address::{SocketAddress, SocketAddressOptions};
