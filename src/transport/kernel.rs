//! System calls on a connected socket that go straight to the kernel.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;

/// How much is thrown away at most: a peer that never stops sending must not hold the caller up.
const DISCARD_LIMIT: usize = 1024 * 1024;

/// A program that is not started by Rust's runtime may not ignore SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
const FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const FLAGS: libc::c_int = 0;

pub(crate) fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, FLAGS)
}

pub(crate) fn send_vectored(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        [slice] => send(socket, slice),
        _ => SockRef::from(socket).send_vectored_with_flags(slices, FLAGS),
    }
}

/// A connection that the peer has reset has no side left to shut down; the reset itself is told by the next read.
pub(crate) fn shutdown(socket: &impl AsFd) -> io::Result<()> {
    match SockRef::from(socket).shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

pub(crate) fn discard(socket: &impl AsFd) {
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 16 * 1024];
    let mut total = 0;
    while total < DISCARD_LIMIT {
        match SockRef::from(socket).recv(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => total += count,
        }
    }
}

pub(crate) fn prepare_reset(socket: &impl AsFd) {
    // A socket that cannot be told is closed with a FIN instead: there is nobody who could do more about it.
    if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot reset, closing instead");
    }
}
