//! What decides. Nothing in here knows a socket, a runtime or a clock: inputs are methods, the time is an argument,
//! and what is to be done is asked for.

pub(crate) mod accept;
pub(crate) mod eyeballs;
pub(crate) mod idle;
pub(crate) mod queue;
pub(crate) mod stream;
