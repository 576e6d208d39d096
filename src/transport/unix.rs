//! Unix domain sockets.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Connects at once or not at all: there is no way to go.
pub(crate) fn connect(path: &Path) -> io::Result<StdUnixStream> {
    check_length(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// The socket file of a listener, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: a file that somebody else has put in its place meanwhile is left alone.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            if let Err(error) = std::fs::remove_file(&self.path) {
                tracing::debug!(%error, path = %self.path.display(), "cannot remove the socket file");
            }
        }
    }
}

/// The permissions of a socket file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// `None` is what the process's mask gives.
    pub(crate) base: Option<u32>,
    pub(crate) readable_all: bool,
    pub(crate) writable_all: bool,
}

impl Mode {
    fn apply(self, path: &Path) -> io::Result<()> {
        let read = if self.readable_all { 0o444 } else { 0 };
        let write = if self.writable_all { 0o222 } else { 0 };
        let base = match self.base {
            None if read | write == 0 => return Ok(()),
            None => std::fs::metadata(path)?.mode(),
            Some(base) => base,
        };
        std::fs::set_permissions(path, Permissions::from_mode(base | read | write))
    }
}

/// Listens on a path. An abstract name, which begins with a NUL byte, has no file.
pub(crate) fn listen(
    path: &Path,
    backlog: i32,
    replace_stale: bool,
    mode: Mode,
) -> io::Result<(UnixListener, Option<SocketFile>)> {
    check_length(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && replace_stale && remove_stale(path, &address) => {
            socket.bind(&address)
        }
        result => result,
    }
    .map_err(name_missing_directory)?;
    let file = if is_abstract(path) {
        None
    } else {
        // The working directory may be another one by the time the file is to be removed.
        let path = std::path::absolute(path)?;
        let file = SocketFile { identity: identity(&path)?, path };
        // Nobody can connect before the socket listens, so nobody does with other permissions.
        mode.apply(&file.path)?;
        Some(file)
    };
    socket.listen(backlog)?;
    let listener = UnixListener::from_std(StdUnixListener::from(socket))?;
    Ok((listener, file))
}

/// The path that a socket is bound to; empty if it is bound to none.
pub(crate) fn path_of(address: &SockAddr) -> PathBuf {
    if let Some(name) = address.as_abstract_namespace() {
        return OsString::from_vec([b"\0", name].concat()).into();
    }
    address.as_pathname().map(Path::to_owned).unwrap_or_default()
}

fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first() == Some(&0)
}

/// Removes a socket file that nobody listens on. Whether it did: if not, the first error of binding says enough.
fn remove_stale(path: &Path, address: &SockAddr) -> bool {
    let Ok(before) = identity(path) else { return false };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    // Connecting to a file that is no socket is refused, too.
    if !is_socket {
        return false;
    }
    let connected =
        Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).and_then(|probe| probe.connect(address));
    let is_refused = connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    is_refused && identity(path).is_ok_and(|now| now == before) && std::fs::remove_file(path).is_ok()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A path that does not fit is refused here with the number that the system would give.
fn check_length(path: &Path) -> io::Result<()> {
    SockAddr::unix(path).map(drop).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Node reports a missing directory as a lack of permission.
fn name_missing_directory(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT) => io::Error::from_raw_os_error(libc::EACCES),
        _ => error,
    }
}
