//! One error type for everything that can fail.

mod system;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed, in Node's terms: a [code](Error::code) to branch on, a [message](Error::message) to read, and
/// the address that was involved.
///
/// An error of the operating system has its name as code (`ECONNREFUSED`), the call that failed as
/// [`syscall`](Error::syscall) and the number as [`errno`](Error::errno); misuse has one of Node's `ERR_...` codes.
/// When several addresses were tried and all failed, [`errors`](Error::errors) holds one error for each (Node's
/// `AggregateError`).
///
/// Errors are cheap to clone: the same one can be delivered as an event and to every pending write. They convert from
/// and to [`io::Error`] and keep their kind.
///
/// ```
/// let error = sockeye::Error::from(std::io::Error::from_raw_os_error(111));
/// assert_eq!(error.code(), "ECONNREFUSED");
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ConnectionRefused);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    code: Cow<'static, str>,
    message: String,
    kind: io::ErrorKind,
    errno: Option<i32>,
    syscall: Option<&'static str>,
    address: Option<String>,
    port: Option<u16>,
    hostname: Option<String>,
    local: Option<SocketAddr>,
    errors: Vec<Error>,
    source: Option<Source>,
}

type Source = Arc<dyn std::error::Error + Send + Sync>;

impl Error {
    /// An error with a code and a message of your own, for example to [destroy](crate::SocketHandle::destroy_with) a
    /// socket with. Its kind is [`io::ErrorKind::Other`].
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            code: code.into(),
            message: message.into(),
            kind: io::ErrorKind::Other,
            errno: None,
            syscall: None,
            address: None,
            port: None,
            hostname: None,
            local: None,
            errors: Vec::new(),
            source: None,
        }))
    }

    /// Wraps any error; [`source`](std::error::Error::source) gives it back. The code is empty, the message is the
    /// wrapped error's.
    pub fn other(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source: Source = source.into().into();
        let mut error = Self::new("", source.to_string());
        error.edit().source = Some(source);
        error
    }

    /// The name to branch on: `"ECONNRESET"`, `"ERR_STREAM_WRITE_AFTER_END"`, ... Empty for an error that has none (one
    /// that was made by [`Error::other`]).
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Node's message, such as `connect ECONNREFUSED 127.0.0.1:1`. Empty, as in Node, when several addresses failed;
    /// the `Display` form then lists them.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The nearest [`io::ErrorKind`].
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind
    }

    /// The operating system's error number (positive), when the operating system said no.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The call that failed: `"connect"`, `"listen"`, `"bind"`, `"accept"`, `"read"`, `"write"`, `"shutdown"` or
    /// `"getaddrinfo"`.
    pub fn syscall(&self) -> Option<&str> {
        self.0.syscall
    }

    /// The address or path that could not be connected to or listened on.
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }

    /// The port that belongs to [`address`](Error::address).
    pub fn port(&self) -> Option<u16> {
        self.0.port
    }

    /// The host name that could not be resolved, or not be connected to in time.
    pub fn hostname(&self) -> Option<&str> {
        self.0.hostname.as_deref()
    }

    /// The address that the failed attempt was bound to (Node's `localAddress` and `localPort`).
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// One error for each address, when several were tried and all failed; otherwise empty.
    pub fn errors(&self) -> &[Error] {
        &self.0.errors
    }

    /// `write EPIPE`: a system call on an open socket failed.
    pub(crate) fn system(syscall: &'static str, error: io::Error) -> Self {
        Self::describe(syscall, error, |code, _| format!("{syscall} {code}"))
    }

    /// `connect ECONNREFUSED 127.0.0.1:1`: an attempt to reach `target` failed.
    pub(crate) fn connect(syscall: &'static str, error: io::Error, target: Target<'_>) -> Self {
        Self::describe(syscall, error, |code, _| format!("{syscall} {code} {target}")).at(target)
    }

    /// An attempt that may have been bound: ` - Local (127.0.0.1:4000)` is then added.
    pub(crate) fn connect_from(error: io::Error, remote: SocketAddr, local: Option<SocketAddr>) -> Self {
        let mut error = Self::connect("connect", error, Target::Ip(remote));
        if let Some(local) = local.filter(|local| local.port() != 0) {
            let inner = error.edit();
            inner.message += &format!(" - Local ({})", Target::Ip(local));
            inner.local = Some(local);
        }
        error
    }

    pub(crate) fn connect_timed_out(remote: SocketAddr) -> Self {
        Self::connect("connect", io::Error::from_raw_os_error(libc::ETIMEDOUT), Target::Ip(remote))
    }

    /// `listen EADDRINUSE: address already in use 127.0.0.1:8124`: `target` could not be listened on.
    pub(crate) fn listen(error: io::Error, target: Target<'_>) -> Self {
        Self::describe("listen", error, |code, text| format!("listen {code}: {text} {target}")).at(target)
    }

    /// `listen EINVAL: invalid argument`: what was given cannot be listened on.
    pub(crate) fn listen_on(error: io::Error) -> Self {
        Self::describe("listen", error, |code, text| format!("listen {code}: {text}"))
    }

    /// `getaddrinfo ENOTFOUND example.invalid`.
    pub(crate) fn lookup(code: &'static str, host: &str) -> Self {
        let mut error = Self::with_kind(code, format!("getaddrinfo {code} {host}"), io::ErrorKind::NotFound);
        let inner = error.edit();
        inner.syscall = Some("getaddrinfo");
        inner.hostname = Some(host.to_owned());
        error
    }

    /// All addresses failed. `None` when there was no attempt at all.
    pub(crate) fn aggregate(mut errors: Vec<Error>) -> Option<Self> {
        if errors.len() < 2 {
            return errors.pop();
        }
        let mut error = Self::with_kind(errors[0].0.code.clone(), String::new(), errors[0].kind());
        error.edit().errors = errors;
        Some(error)
    }

    pub(crate) fn with_kind(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        kind: io::ErrorKind,
    ) -> Self {
        let mut error = Self::new(code, message);
        error.edit().kind = kind;
        error
    }

    fn describe(syscall: &'static str, error: io::Error, message: impl FnOnce(&str, &str) -> String) -> Self {
        let error = Self::from(error);
        let text = match error.errno() {
            Some(errno) => system::text(errno).unwrap_or("unknown error"),
            None => error.message(),
        };
        let message = message(error.code(), text);
        let mut described = error.clone();
        let inner = described.edit();
        inner.message = message;
        inner.syscall = Some(syscall);
        described
    }

    fn at(mut self, target: Target<'_>) -> Self {
        let inner = self.edit();
        match target {
            Target::Ip(address) => {
                inner.address = Some(address.ip().to_string());
                inner.port = (address.port() != 0).then(|| address.port());
            }
            Target::Host(host, port) => {
                inner.hostname = Some(host.to_owned());
                inner.port = Some(port);
            }
            Target::Path(path) => inner.address = Some(path.to_owned()),
        }
        self
    }

    fn edit(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

/// The errors that Node names, each with its message.
impl Error {
    pub(crate) fn write_after_end() -> Self {
        Self::with_kind("ERR_STREAM_WRITE_AFTER_END", "write after end", io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn ended_by_peer() -> Self {
        Self::with_kind("EPIPE", "This socket has been ended by the other party", io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn destroyed(method: &str) -> Self {
        let message = format!("Cannot call {method} after a stream was destroyed");
        Self::with_kind("ERR_STREAM_DESTROYED", message, io::ErrorKind::NotConnected)
    }

    pub(crate) fn socket_closed() -> Self {
        Self::with_kind("ERR_SOCKET_CLOSED", "Socket is closed", io::ErrorKind::NotConnected)
    }

    pub(crate) fn closed_before_connection() -> Self {
        Self::with_kind(
            "ERR_SOCKET_CLOSED_BEFORE_CONNECTION",
            "Socket closed before the connection was established",
            io::ErrorKind::ConnectionAborted,
        )
    }

    pub(crate) fn premature_close() -> Self {
        Self::with_kind("ERR_STREAM_PREMATURE_CLOSE", "Premature close", io::ErrorKind::UnexpectedEof)
    }

    /// For those who wait and cannot see the event.
    pub(crate) fn timed_out() -> Self {
        Self::with_kind("ETIMEDOUT", "The socket was idle for too long", io::ErrorKind::TimedOut)
    }

    pub(crate) fn aborted() -> Self {
        Self::with_kind("ABORT_ERR", "The operation was aborted", io::ErrorKind::ConnectionAborted)
    }

    pub(crate) fn invalid_ip_address(text: &str) -> Self {
        Self::with_kind("ERR_INVALID_IP_ADDRESS", format!("Invalid IP address: {text}"), io::ErrorKind::InvalidInput)
    }

    pub(crate) fn ip_blocked(remote: SocketAddr) -> Self {
        let message = format!("IP({}) is blocked by net.BlockList", remote.ip());
        Self::with_kind("ERR_IP_BLOCKED", message, io::ErrorKind::PermissionDenied).at(Target::Ip(remote))
    }

    pub(crate) fn attempt_timeout_out_of_range(timeout: Duration) -> Self {
        let message = format!(
            "The value of \"autoSelectFamilyAttemptTimeout\" is out of range. It must be >= 1 && <= 2147483647. \
             Received {}",
            timeout.as_millis()
        );
        Self::with_kind("ERR_OUT_OF_RANGE", message, io::ErrorKind::InvalidInput)
    }

    pub(crate) fn already_connected() -> Self {
        Self::with_kind("EISCONN", "connect EISCONN", io::ErrorKind::InvalidInput)
    }

    pub(crate) fn invalid_handle_type() -> Self {
        Self::with_kind("ERR_INVALID_HANDLE_TYPE", "This handle type cannot be sent", io::ErrorKind::Unsupported)
    }

    pub(crate) fn already_listening() -> Self {
        Self::with_kind(
            "ERR_SERVER_ALREADY_LISTEN",
            "Listen method has been called more than once without closing.",
            io::ErrorKind::InvalidInput,
        )
    }

    pub(crate) fn not_running() -> Self {
        Self::with_kind("ERR_SERVER_NOT_RUNNING", "Server is not running.", io::ErrorKind::NotConnected)
    }

    pub(crate) fn bad_port(port: &str) -> Self {
        let message = format!("Port should be >= 0 and < 65536. Received {port}.");
        Self::with_kind("ERR_SOCKET_BAD_PORT", message, io::ErrorKind::InvalidInput)
    }

    pub(crate) fn invalid_endpoint(endpoint: &str, reason: &str) -> Self {
        let message = format!("The endpoint {endpoint:?} is invalid: {reason}");
        Self::with_kind("ERR_INVALID_ARG_VALUE", message, io::ErrorKind::InvalidInput)
    }

    pub(crate) fn unknown_encoding(name: &str) -> Self {
        Self::with_kind("ERR_UNKNOWN_ENCODING", format!("Unknown encoding: {name}"), io::ErrorKind::InvalidInput)
    }

    pub(crate) fn no_runtime() -> Self {
        Self::with_kind(
            "ERR_NO_RUNTIME",
            "There is no tokio runtime here: call this from within one",
            io::ErrorKind::Unsupported,
        )
    }
}

/// The errors of [`BlockList`](crate::BlockList) and [`SocketAddress`](crate::SocketAddress).
impl Error {
    pub(crate) fn invalid_address() -> Self {
        Self::with_kind("ERR_INVALID_ADDRESS", "Invalid socket address", io::ErrorKind::InvalidInput)
    }

    pub(crate) fn invalid_value(name: &str, reason: &str, received: impl fmt::Display) -> Self {
        let what = if name.contains('.') { "property" } else { "argument" };
        let message = format!("The {what} '{name}' {reason}. Received '{received}'");
        Self::with_kind("ERR_INVALID_ARG_VALUE", message, io::ErrorKind::InvalidInput)
    }

    pub(crate) fn out_of_range(name: &str, maximum: u32, received: impl fmt::Display) -> Self {
        let message =
            format!("The value of \"{name}\" is out of range. It must be >= 0 && <= {maximum}. Received {received}");
        Self::with_kind("ERR_OUT_OF_RANGE", message, io::ErrorKind::InvalidInput)
    }
}

/// What an attempt was directed at, in the form in which messages name it.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    Ip(SocketAddr),
    Host(&'a str, u16),
    Path(&'a str),
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Node writes neither brackets around an IPv6 address nor a port of zero.
            Self::Ip(address) if address.port() == 0 => write!(f, "{}", address.ip()),
            Self::Ip(address) => write!(f, "{}:{}", address.ip(), address.port()),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, error) in self.0.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            "" => write!(f, "Error({self})"),
            code => write!(f, "Error({code}: {self})"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if let Some(errno) = error.raw_os_error() {
            let name = system::name(errno);
            let code = name.map_or_else(|| Cow::Owned(format!("E{errno}")), Cow::Borrowed);
            let message = format!("{code}: {}", system::text(errno).unwrap_or("unknown error"));
            let mut system = Self::with_kind(code, message, error.kind());
            system.edit().errno = Some(errno);
            return system;
        }
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => {
                let kind = error.kind();
                let mut other = Self::other(error);
                other.edit().kind = kind;
                other
            }
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_nodes() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let in_use = || io::Error::from_raw_os_error(libc::EADDRINUSE);
        let v4: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let v6: SocketAddr = "[::]:44107".parse().unwrap();
        let zero: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let path = Target::Path("/tmp/echo.sock");
        for (error, message) in [
            (Error::connect("connect", refused(), Target::Ip(v4)), "connect ECONNREFUSED 127.0.0.1:1"),
            (Error::connect("connect", refused(), Target::Ip(zero)), "connect ECONNREFUSED 127.0.0.1"),
            (Error::connect("connect", refused(), path), "connect ECONNREFUSED /tmp/echo.sock"),
            (Error::listen(in_use(), Target::Ip(v6)), "listen EADDRINUSE: address already in use :::44107"),
            (Error::listen(in_use(), path), "listen EADDRINUSE: address already in use /tmp/echo.sock"),
            (Error::system("read", io::Error::from_raw_os_error(libc::ECONNRESET)), "read ECONNRESET"),
            (Error::lookup("ENOTFOUND", "x.invalid"), "getaddrinfo ENOTFOUND x.invalid"),
        ] {
            assert_eq!(error.message(), message);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn an_aggregate_keeps_its_parts() {
        let part = |text: &str| Error::with_kind("ECONNREFUSED", text, io::ErrorKind::ConnectionRefused);
        let error = Error::aggregate(vec![part("a"), part("b")]).unwrap();
        assert_eq!((error.code(), error.message(), error.errors().len()), ("ECONNREFUSED", "", 2));
        assert_eq!(error.to_string(), "a, b");
        assert_eq!(Error::aggregate(vec![part("a")]).unwrap().message(), "a");
        assert!(Error::aggregate(vec![]).is_none());
    }

    #[test]
    fn debug_has_the_code_if_there_is_one() {
        assert_eq!(format!("{:?}", Error::write_after_end()), "Error(ERR_STREAM_WRITE_AFTER_END: write after end)");
        assert_eq!(format!("{:?}", Error::other("too bad")), "Error(too bad)");
    }

    #[test]
    fn survives_the_way_through_io_error() {
        let before = Error::write_after_end();
        let through = io::Error::from(before.clone());
        assert_eq!(through.kind(), io::ErrorKind::BrokenPipe);
        let after = Error::from(through);
        assert_eq!((after.code(), after.message()), (before.code(), before.message()));

        let plain = Error::from(io::Error::new(io::ErrorKind::TimedOut, "too slow"));
        assert_eq!((plain.code(), plain.message(), plain.kind()), ("", "too slow", io::ErrorKind::TimedOut));
        assert_eq!(io::Error::from(plain).kind(), io::ErrorKind::TimedOut);
    }
}
