//! Node.js's `net` module as a Rust library.

pub mod error;

pub use error::{Error, Result};
