//! Node.js's `net` module as a Rust library.

pub mod error;
mod family;
mod is_ip;

pub use error::{Error, Result};
pub use family::Family;
pub use is_ip::{is_ip, is_ipv4, is_ipv6};
