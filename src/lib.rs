//! Node.js's `net` module as a Rust library.

pub mod encoding;
pub mod error;

pub use encoding::Encoding;
pub use error::{Error, Result};
