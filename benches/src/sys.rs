//! The system calls that std and tokio do not offer, for Linux.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

pub(crate) const IN: u32 = libc::EPOLLIN as u32;
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
pub(crate) const FAILED: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub(crate) fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is new and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; batch] })
    }

    pub(crate) fn add(&self, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub(crate) fn modify(&self, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn control(&self, what: i32, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token as u64 };
        // SAFETY: `event` lives for the call, which copies it.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd, &mut event) }).map(drop)
    }

    /// Waits, and says how many events there are to be had from [`event`](Self::event).
    pub(crate) fn wait(&mut self, timeout_ms: i32) -> io::Result<usize> {
        let (events, room) = (self.events.as_mut_ptr(), self.events.len() as i32);
        // SAFETY: the kernel writes at most `room` events to the vector, which has as many.
        match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, room, timeout_ms) }) {
            Ok(count) => Ok(count as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Waits like [`wait`](Self::wait), but asks again and again for a millisecond before it sleeps. Who writes to a
    /// process that sleeps has to wake it up, so loads do not sleep while they are served.
    pub(crate) fn wait_awake(&mut self, timeout_ms: i32) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            match self.wait(0)? {
                0 if start.elapsed() > Duration::from_millis(1) => return self.wait(timeout_ms),
                0 => std::hint::spin_loop(),
                count => return Ok(count),
            }
        }
    }

    pub(crate) fn event(&self, index: usize) -> (usize, u32) {
        let event = self.events[index];
        (event.u64 as usize, event.events)
    }
}

/// A non-blocking read; `None` if there is nothing.
pub(crate) fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: pointer and length are those of the slice.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    unless_blocked(count)
}

/// A non-blocking write; `None` if there is no room.
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length are those of the slice.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    unless_blocked(count)
}

fn unless_blocked(count: isize) -> io::Result<Option<usize>> {
    if count >= 0 {
        return Ok(Some(count as usize));
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        error => Err(error),
    }
}

/// Moves at most `length` bytes from one descriptor to another, one of which is a pipe; `None` if there is nothing, or no
/// room.
pub(crate) fn splice(from: RawFd, to: RawFd, length: usize) -> io::Result<Option<usize>> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: null pointers ask for no offsets.
    unless_blocked(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), length, flags) })
}

/// A pipe: the end to read, and the end to write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors, which are new and ours.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// The next waiting connection of a non-blocking listener.
pub(crate) fn accept(listener: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: null pointers ask for no address.
    let fd =
        unsafe { libc::accept4(listener, ptr::null_mut(), ptr::null_mut(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) };
    match unless_blocked(fd as isize)? {
        // SAFETY: the descriptor is new and ours.
        Some(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })),
        None => Ok(None),
    }
}

/// A non-blocking listener on loopback with a long queue. Port 0 lets the system choose.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = stream_socket()?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    bind(fd, Ipv4Addr::LOCALHOST, port)?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd, 4096) })?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A connection to a port on loopback, in blocking mode, from the given address.
pub(crate) fn connect(source: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let socket = stream_socket()?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    if source != Ipv4Addr::LOCALHOST {
        // The port is then chosen by connect, which can share it between destinations.
        set_option(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
        bind(fd, source, 0)?;
    }
    let address = socket_address(Ipv4Addr::LOCALHOST, port);
    // SAFETY: `address` lives for the call, and the length is its own.
    check(unsafe { libc::connect(fd, (&raw const address).cast(), mem::size_of_val(&address) as u32) })?;
    Ok(socket)
}

pub(crate) fn set_no_delay(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)
}

fn stream_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the descriptor is new and ours.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?)) }
}

fn bind(fd: RawFd, address: Ipv4Addr, port: u16) -> io::Result<()> {
    let address = socket_address(address, port);
    // SAFETY: `address` lives for the call, and the length is its own.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), mem::size_of_val(&address) as u32) }).map(drop)
}

fn socket_address(address: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    }
}

fn set_option(fd: RawFd, level: i32, option: i32) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: `on` lives for the call, and the length is its own.
    check(unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), mem::size_of_val(&on) as u32) })
        .map(drop)
}

/// Keeps the calling thread, and what it starts from now on, on these cores. Safe between fork and exec.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a zeroed set is the empty set; CPU_SET writes within it for the core numbers that `cores()` gives.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for &core in cores {
            libc::CPU_SET(core, &mut set);
        }
        check(libc::sched_setaffinity(0, mem::size_of_val(&set), &set)).map(drop)
    }
}

/// The cores that this process may use.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    // SAFETY: as in `pin`; the kernel writes within the set.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        check(libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set))?;
        Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &set)).collect())
    }
}

/// Raises the limit of open descriptors as far as it goes, up to `wanted`, and says where it is then.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives for the calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        let raised = libc::rlimit { rlim_cur: wanted, rlim_max: wanted.max(limit.rlim_max) };
        if limit.rlim_cur < wanted && libc::setrlimit(libc::RLIMIT_NOFILE, &raised) != 0 {
            limit.rlim_cur = limit.rlim_max.min(wanted);
            check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
        }
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
    }
    Ok(limit.rlim_cur)
}

/// Has the kernel kill this process when its parent is gone. Safe between fork and exec.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// The CPU time of all threads of a process, also of those that are gone, in nanoseconds. It may be any process.
pub(crate) fn process_cpu_time(pid: u32) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut clock = 0;
    // SAFETY: `clock` and `time` live for the calls.
    unsafe {
        match libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) {
            0 => check(libc::clock_gettime(clock, &mut time))?,
            error => return Err(io::Error::from_raw_os_error(error)),
        };
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
