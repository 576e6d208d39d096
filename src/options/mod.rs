//! Options, one builder for each thing that has some.

mod connect;
mod listen;
mod server;
mod socket;

pub use connect::ConnectOptions;
pub(crate) use connect::ConnectPlan;
pub(crate) use listen::DEFAULT_BACKLOG;
pub use listen::ListenOptions;
pub use server::ServerOptions;
pub use socket::SocketOptions;

/// Node's default since v22. A smaller mark makes a fast writer wait more often, a larger one lets a slow reader cost
/// more memory.
pub(crate) const DEFAULT_HIGH_WATER_MARK: usize = 64 * 1024;
