//! The state of a connection in a word.

use std::fmt;

/// The state of a connection: Node's `socket.readyState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// Being connected.
    Opening,
    /// Readable and writable. As in Node, a socket that was never connected says this too, and is `pending`.
    Open,
    /// This side has ended.
    ReadOnly,
    /// The peer has ended its side.
    WriteOnly,
    /// Neither side is open any more.
    Closed,
}

impl ReadyState {
    /// Node's word for it: `"opening"`, `"open"`, `"readOnly"`, `"writeOnly"` or `"closed"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::ReadOnly => "readOnly",
            Self::WriteOnly => "writeOnly",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ReadyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
