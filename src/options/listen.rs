use tokio_util::sync::CancellationToken;

/// How to listen: the options of Node's `server.listen(options)`, but for where, which is the
/// [endpoint](crate::Endpoint).
///
/// Node's `exclusive` has no counterpart: it is about workers of a cluster, and there is none here. A listener is never
/// shared, unless it is [passed on](crate::ServerHandle::listen_on).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// use sockeye::{ListenOptions, Server};
/// use tokio_util::sync::CancellationToken;
///
/// let token = CancellationToken::new();
/// let server = Server::new();
/// server.listen_with("127.0.0.1:0", ListenOptions::new().backlog(10).signal(token.clone())).await?;
/// // Later, when you want to close the server:
/// token.cancel();
/// server.closed().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub(crate) backlog: u32,
    pub(crate) replace_stale: bool,
    pub(crate) mode: Option<u32>,
    pub(crate) readable_all: bool,
    pub(crate) writable_all: bool,
    pub(crate) ipv6_only: bool,
    pub(crate) reuse_port: bool,
    pub(crate) signal: Option<CancellationToken>,
}

/// Node's default, and not 512.
pub(crate) const DEFAULT_BACKLOG: u32 = 511;

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            replace_stale: false,
            mode: None,
            readable_all: false,
            writable_all: false,
            ipv6_only: false,
            reuse_port: false,
            signal: None,
        }
    }

    /// How many connections may wait to be accepted. 511 by default, also for 0; the system may allow fewer. Node's `backlog`.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether to replace a socket file that nobody listens on, such as a process leaves that was killed. Off by default:
    /// a path that exists is `EADDRINUSE`. What is no socket, and what somebody listens on, stays and is `EADDRINUSE` in
    /// any case; to find out, a connection is made and closed. Two servers that begin on one path at the same moment may
    /// both succeed, so use it where there is one. Not in Node.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// use sockeye::{ListenOptions, Server};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("echo.sock");
    /// drop(std::os::unix::net::UnixListener::bind(&path)?); // leaves its file behind
    /// let server = Server::new();
    /// assert_eq!(server.listen(&path).await.unwrap_err().code(), "EADDRINUSE");
    /// server.listen_with(&path, ListenOptions::new().replace_stale(true)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace_stale(mut self, replace: bool) -> Self {
        self.replace_stale = replace;
        self
    }

    /// Which permissions the socket file has, such as `0o600` for its owner alone, whatever the process's file mode mask
    /// says. They are set before the server listens, so that nobody slips in meanwhile. None by default: the mask
    /// decides. Who connects needs the permission to write. Only the lowest nine bits count, and only for a path with a
    /// file. Not in Node.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sockeye::Result<()> {
    /// # use std::os::unix::fs::PermissionsExt;
    /// use sockeye::{ListenOptions, Server};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("control.sock");
    /// let server = Server::new();
    /// server.listen_with(&path, ListenOptions::new().mode(0o600)).await?;
    /// # assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode & 0o777);
        self
    }

    /// Whether everybody may read the socket file. Off by default: [`mode`](Self::mode) or the process's
    /// file mode mask decides. Node's `readableAll`.
    pub fn readable_all(mut self, readable: bool) -> Self {
        self.readable_all = readable;
        self
    }

    /// Whether everybody may write the socket file, which is what connecting takes. Off by default:
    /// [`mode`](Self::mode) or the process's file mode mask decides. Node's `writableAll`.
    pub fn writable_all(mut self, writable: bool) -> Self {
        self.writable_all = writable;
        self
    }

    /// Whether an IPv6 address is not to take IPv4 connections too. Off by default, so that `::` takes both. Node's
    /// `ipv6Only`.
    pub fn ipv6_only(mut self, only: bool) -> Self {
        self.ipv6_only = only;
        self
    }

    /// Whether several servers, in this process or others of the same user, may listen on the port at once; the system
    /// then spreads the connections over them. Off by default. Systems that cannot do that refuse with `ENOTSUP`. Only
    /// for TCP. Node's `reusePort`, as of v23.
    ///
    /// With it, each core can have a runtime and a server of its own, which share nothing:
    ///
    /// ```no_run
    /// use sockeye::{ListenOptions, Server};
    ///
    /// fn serve() -> sockeye::Result<()> {
    ///     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    ///     runtime.block_on(async {
    ///         let server = Server::new().on_connection(|mut socket| async move {
    ///             let echo = socket.handle();
    ///             socket.pipe(&echo).await.map(drop)
    ///         });
    ///         server.listen_with(8124, ListenOptions::new().reuse_port(true)).await?;
    ///         server.closed().await
    ///     })
    /// }
    ///
    /// let cores = std::thread::available_parallelism()?.get();
    /// let threads: Vec<_> = (0..cores).map(|_| std::thread::spawn(serve)).collect();
    /// for thread in threads {
    ///     thread.join().expect("a server has panicked")?;
    /// }
    /// # sockeye::Result::<()>::Ok(())
    /// ```
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// A token whose cancellation [closes](crate::ServerHandle::close) the server, also if it was cancelled before.
    /// None by default. It costs a task while the server listens. Node's `signal`.
    pub fn signal(mut self, signal: CancellationToken) -> Self {
        self.signal = Some(signal);
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}
