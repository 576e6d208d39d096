//! The ordering rules as a table: steps on one side, what comes of them on the other.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Admission, Io, Stream};
use crate::error::Error;
use crate::event::Event;

/// What happens to the socket, from its program, its peer or its clock.
#[derive(Clone, Copy, Debug)]
enum Do {
    Write(usize),
    End,
    Destroy,
    DestroyWith,
    DestroySoon,
    Reset,
    Detach,
    Pause,
    Resume,
    Cork,
    Uncork,
    SetTimeout(u64),
    Connect,
    Connected,
    Refused,
    /// The peer sends bytes, its end or a reset.
    Receive(usize),
    Fin,
    Rst,
    /// The kernel takes so many bytes more.
    Room(usize),
    /// The next write to the kernel fails.
    Broken,
    Elapse(u64),
    /// The program asks for one event, or for all there are.
    Next,
    Poll,
}

use Do::*;

struct Case {
    rule: &'static str,
    half_open: bool,
    steps: &'static [Do],
    /// Events; what `write` returned, `true` or `false`; and in capitals what the transport was told.
    trace: &'static [&'static str],
}

/// A high-water mark that the table can reach.
const MARK: usize = 10;

const fn case(rule: &'static str, steps: &'static [Do], trace: &'static [&'static str]) -> Case {
    Case { rule, half_open: false, steps, trace }
}

const fn half_open(rule: &'static str, steps: &'static [Do], trace: &'static [&'static str]) -> Case {
    Case { rule, half_open: true, steps, trace }
}

#[rustfmt::skip]
const DATA_AND_THE_END_OF_IT: &[Case] = &[
    case("the peer's end: data, end, finish, close",
        &[Receive(3), Fin, Poll],
        &["data 3", "end", "CLOSE", "finish", "close false"]),
    half_open("half-open: nothing closes until end is called",
        &[Receive(3), Fin, Poll, Poll, End, Poll],
        &["data 3", "end", "CLOSE", "finish", "close false"]),
    case("a paused socket with unread data does not close",
        &[Pause, Receive(3), Fin, Poll, End, Poll, Resume, Poll],
        &["FIN", "finish", "data 3", "end", "CLOSE", "close false"]),
    case("a paused socket with an unread end does not close",
        &[Pause, Fin, End, Poll, Resume, Poll],
        &["FIN", "finish", "end", "CLOSE", "close false"]),
    case("pause and resume: the last call wins",
        &[Pause, Resume, Pause, Receive(3), Poll, Pause, Resume, Poll],
        &["data 3"]),
    case("a write inside 'end' still goes out",
        &[Fin, Next, Write(2), Poll],
        &["end", "WRITE 2", "true", "CLOSE", "finish", "close false"]),
    case("a later one is EPIPE",
        &[Fin, Next, Next, Write(2), Poll],
        &["end", "CLOSE", "finish", "false", "error This socket has been ended by the other party", "close true"]),
    case("write after end: false, then error, then close",
        &[End, Write(1), Poll, Write(1), Poll],
        &["FIN", "CLOSE", "false", "error write after end", "close true", "false"]),
    case("write after destroy: false and nothing else",
        &[Destroy, Poll, Write(1), Poll],
        &["CLOSE", "close false", "false"]),
    case("drain after a write that returned false, when the whole queue is gone",
        &[Room(0), Write(6), Write(6), Poll, Room(11), Poll, Room(1), Poll],
        &["true", "false", "WRITE 11", "WRITE 1", "drain"]),
    case("no drain after writes that returned true",
        &[Room(0), Write(6), Poll, Room(100), Poll],
        &["true", "WRITE 6"]),
    case("no drain for what the kernel takes at once",
        &[Write(100), Poll],
        &["WRITE 100", "true"]),
    case("no drain once the socket is ended",
        &[Room(0), Write(20), End, Room(20), Poll],
        &["false", "WRITE 20", "FIN", "finish"]),
    case("end waits for the queue",
        &[Room(0), Write(5), End, Poll, Room(4), Poll, Room(1), Poll],
        &["true", "WRITE 4", "WRITE 1", "FIN", "finish"]),
    case("corked writes leave together",
        &[Cork, Write(1), Write(2), Poll, Uncork],
        &["true", "true", "WRITE 3"]),
    case("end uncorks",
        &[Cork, Cork, Write(1), End, Poll],
        &["true", "WRITE 1", "FIN", "finish"]),
    case("corking after end holds nothing back",
        &[Room(0), Write(1), Write(2), End, Cork, Room(1), Room(2), Poll],
        &["true", "true", "WRITE 1", "WRITE 2", "FIN", "finish"]),
    case("ending twice is nothing",
        &[End, End, Poll, End, Fin, Poll],
        &["FIN", "finish", "end", "CLOSE", "close false"]),
    case("an empty write is accepted",
        &[Write(0), Poll],
        &["true"]),
];

#[rustfmt::skip]
const DESTROY_RESET_TIMEOUT: &[Case] = &[
    case("destroy: only close",
        &[Room(0), Write(20), Receive(3), Fin, Destroy, Poll],
        &["false", "CLOSE", "close false"]),
    case("destroy with an error: error, close",
        &[DestroyWith, Poll],
        &["CLOSE", "error reason", "close true"]),
    case("only the first destroy counts",
        &[Destroy, DestroyWith, Destroy, Poll, Poll],
        &["CLOSE", "close false"]),
    case("destroy between end and finish: only close",
        &[Fin, Next, Destroy, Poll],
        &["end", "CLOSE", "close false"]),
    case("a reset by the peer: error, close",
        &[Rst, Poll],
        &["CLOSE", "error read ECONNRESET", "close true"]),
    case("what arrived before a reset is read first",
        &[Receive(3), Rst, Poll],
        &["data 3", "CLOSE", "error read ECONNRESET", "close true"]),
    case("a failed write: what has arrived is read, then error, close",
        &[Receive(3), Broken, Write(5), Poll],
        &["false", "data 3", "CLOSE", "error write EPIPE", "close true"]),
    case("a failed write of a paused socket: error, close",
        &[Pause, Receive(3), Broken, Write(5), Poll],
        &["false", "CLOSE", "error write EPIPE", "close true"]),
    case("a failed write after the peer's end: end, error, close",
        &[Fin, Broken, Write(5), Poll],
        &["false", "end", "CLOSE", "error write EPIPE", "close true"]),
    case("writes after a failed write: false, and one error",
        &[Broken, Write(5), Write(5), Poll],
        &["false", "false", "CLOSE", "error write EPIPE", "close true"]),
    case("destroySoon flushes first",
        &[Room(0), Write(5), DestroySoon, Poll, Room(5), Poll],
        &["true", "WRITE 5", "CLOSE", "finish", "close false"]),
    case("destroySoon after finish: close",
        &[End, Poll, DestroySoon, Poll],
        &["FIN", "finish", "CLOSE", "close false"]),
    case("resetAndDestroy: the peer gets a reset, the caller no error",
        &[Room(0), Write(5), Reset, Poll],
        &["true", "RESET", "close false"]),
    case("timeout closes nothing, and comes once for each idle period",
        &[SetTimeout(100), Elapse(99), Poll, Elapse(1), Poll, Elapse(500), Poll, Write(1), Elapse(100), Poll],
        &["timeout", "WRITE 1", "true", "timeout"]),
    case("timeout is put off by reads and writes",
        &[SetTimeout(100), Elapse(60), Write(1), Elapse(60), Poll, Receive(1), Poll, Elapse(99), Poll, Elapse(1), Poll],
        &["WRITE 1", "true", "data 1", "timeout"]),
    case("data that has arrived comes before a timeout",
        &[SetTimeout(100), Elapse(200), Receive(1), Poll],
        &["data 1"]),
    case("a stalled queue fires after two periods",
        &[SetTimeout(100), Room(2), Write(5), Elapse(100), Poll, Elapse(100), Poll],
        &["WRITE 2", "true", "timeout"]),
    case("a queue that makes progress is not idle",
        &[SetTimeout(100), Room(2), Write(5), Elapse(100), Poll, Room(1), Elapse(100), Poll, Room(1), Elapse(100), Poll,
          Elapse(100), Poll],
        &["WRITE 2", "true", "WRITE 1", "WRITE 1", "timeout"]),
    case("a timeout of zero is none",
        &[SetTimeout(100), SetTimeout(0), Elapse(500), Poll],
        &[]),
    case("no timeout once destroyed",
        &[SetTimeout(100), Destroy, Elapse(500), Poll],
        &["CLOSE", "close false"]),
    case("dropped: what is queued goes out, then it closes without waiting for the peer",
        &[Room(0), Write(5), Detach, Room(5)],
        &["true", "WRITE 5", "CLOSE"]),
    case("dropped with nothing queued: it closes",
        &[Detach],
        &["CLOSE"]),
    case("dropped after a failed write: it closes",
        &[Broken, Write(5), Detach],
        &["false", "CLOSE"]),
];

#[rustfmt::skip]
const CONNECTING: &[Case] = &[
    case("connect, ready; writes from before are first",
        &[Connect, Write(1), Write(2), Connected, Next, Write(4), Poll],
        &["true", "true", "WRITE 3", "connect", "WRITE 4", "true", "ready"]),
    case("refused: error, close",
        &[Connect, Write(1), Refused, Poll],
        &["true", "error connect ECONNREFUSED", "close true"]),
    case("destroy while connecting: only close",
        &[Connect, Write(1), Destroy, Poll],
        &["true", "close false"]),
    case("destroy inside connect: ready still comes",
        &[Connect, Connected, Next, Destroy, Poll],
        &["connect", "CLOSE", "ready", "close false"]),
    case("end while connecting waits for the connection",
        &[Connect, Write(1), End, Poll, Connected, Poll],
        &["true", "WRITE 1", "FIN", "connect", "ready", "finish"]),
    case("reset while connecting: after the connection",
        &[Connect, Write(1), Reset, Poll, Connected, Poll],
        &["true", "WRITE 1", "RESET", "connect", "ready", "close false"]),
    case("the timeout runs while connecting",
        &[Connect, SetTimeout(100), Elapse(100), Poll],
        &["timeout"]),
    case("the timeout runs on a socket that never was connected",
        &[SetTimeout(100), Elapse(100), Poll],
        &["timeout"]),
    case("writing to a socket that never was connected",
        &[Write(1), Poll],
        &["false", "error Socket is closed", "close true"]),
    case("resetting a socket that never was connected",
        &[Reset, Poll],
        &["error Socket is closed", "close true"]),
    case("destroying a socket that never was connected",
        &[Destroy, Poll],
        &["close false"]),
    case("ending a socket that never was connected waits for a connection",
        &[End, Poll, Connect, Connected, Poll],
        &["FIN", "connect", "ready", "finish"]),
    case("connecting again after close: everything starts anew, but for the settings",
        &[Pause, SetTimeout(100), Destroy, Poll, Connect, Connected, Write(1), Receive(1), Poll, Elapse(100), Poll,
          Resume, Poll, Destroy, Poll],
        &["close false", "WRITE 1", "true", "connect", "ready", "timeout", "data 1", "CLOSE", "close false"]),
    case("connecting again after an error",
        &[Connect, Write(1), Refused, Poll, Connect, Write(2), Connected, Poll],
        &["true", "error connect ECONNREFUSED", "close true", "true", "WRITE 2", "connect", "ready"]),
    case("what was written before connect drains between connect and ready",
        &[Connect, Write(10), Connected, Poll],
        &["false", "WRITE 10", "connect", "drain", "ready"]),
    case("a corked write waits for the cork before it finds no connection",
        &[Cork, Write(1), Poll, Uncork, Poll],
        &["true", "error Socket is closed", "close true"]),
    case("dropped while connecting with something to say: it says it",
        &[Connect, Write(1), Detach, Connected],
        &["true", "WRITE 1", "CLOSE"]),
];

#[test]
fn data_and_the_end_of_it() {
    check(DATA_AND_THE_END_OF_IT, |half_open| Stream::open(half_open, MARK));
}

#[test]
fn destroy_reset_timeout() {
    check(DESTROY_RESET_TIMEOUT, |half_open| Stream::open(half_open, MARK));
}

#[test]
fn connecting() {
    check(CONNECTING, |half_open| Stream::unconnected(half_open, MARK));
}

#[test]
fn counters_and_states() {
    let mut bench = Bench::new(Stream::open(true, MARK));
    bench.run(&[Room(4), Write(6), Write(3)]);
    let stream = &bench.stream;
    assert_eq!((stream.bytes_accepted(), stream.bytes_flushed(), stream.writable_length()), (9, 4, 9));
    assert_eq!(stream.ready_state().as_str(), "open");
    bench.run(&[Receive(5), Fin, Poll]);
    assert_eq!(bench.stream.ready_state().as_str(), "writeOnly");
    bench.run(&[End]);
    assert_eq!(bench.stream.ready_state().as_str(), "closed");
    bench.run(&[Destroy, Poll]);
    let stream = &bench.stream;
    assert_eq!(stream.bytes_read(), 5);
    assert_eq!((stream.bytes_written(), stream.bytes_flushed()), (6, 4), "what was never begun is not counted");
    assert!(stream.is_pending() && stream.is_destroyed());
}

#[test]
fn why_a_pending_write_fails() {
    let mut bench = Bench::new(Stream::unconnected(false, MARK));
    bench.run(&[Connect, Write(1), Destroy]);
    assert_eq!(bench.stream.failure().code(), "ERR_SOCKET_CLOSED_BEFORE_CONNECTION");
    for (steps, code) in [
        (&[Room(0), Write(1), Destroy][..], "ERR_STREAM_DESTROYED"),
        (&[Room(0), Write(1), DestroyWith], "TEST"),
        (&[Broken, Write(1)], "EPIPE"),
    ] {
        let mut bench = Bench::new(Stream::open(false, MARK));
        bench.run(steps);
        assert_eq!(bench.stream.failure().code(), code);
    }
}

#[test]
fn what_a_late_write_is_told() {
    for (steps, code) in [
        (&[Destroy][..], "ERR_STREAM_DESTROYED"),
        (&[End, Destroy], "ERR_STREAM_WRITE_AFTER_END"),
        (&[Destroy, End], "ERR_STREAM_WRITE_AFTER_END"),
        (&[DestroyWith, End], "ERR_STREAM_DESTROYED"),
        (&[Destroy, DestroySoon], "ERR_STREAM_DESTROYED"),
        (&[End, Fin, Poll], "EPIPE"),
        (&[Fin, Next, End], "EPIPE"),
    ] {
        let mut bench = Bench::new(Stream::open(false, MARK));
        bench.run(steps);
        assert_eq!(bench.stream.admit().unwrap_err().code(), code, "{steps:?}");
    }
}

#[test]
fn connecting_is_refused_when_it_makes_no_sense() {
    for (steps, code) in
        [(&[Connect][..], "EISCONN"), (&[Connect, Connected], "EISCONN"), (&[Destroy], "ERR_STREAM_DESTROYED")]
    {
        let mut bench = Bench::new(Stream::unconnected(false, MARK));
        bench.run(steps);
        assert_eq!(bench.stream.connect().unwrap_err().code(), code);
    }
}

fn check(cases: &[Case], stream: impl Fn(bool) -> Stream) {
    for case in cases {
        let mut bench = Bench::new(stream(case.half_open));
        bench.run(case.steps);
        assert_eq!(bench.trace, case.trace, "{}: {:?}", case.rule, case.steps);
    }
}

/// A stream with a transport, a program and a clock that do as they are told.
struct Bench {
    stream: Stream,
    now: Instant,
    room: usize,
    broken: bool,
    /// Bytes, or the end (0), or a reset (`None`).
    incoming: VecDeque<Option<usize>>,
    trace: Vec<String>,
}

impl Bench {
    fn new(stream: Stream) -> Self {
        let incoming = VecDeque::new();
        Self { stream, now: Instant::now(), room: usize::MAX, broken: false, incoming, trace: Vec::new() }
    }

    fn run(&mut self, steps: &[Do]) {
        for &step in steps {
            match step {
                Write(length) => self.write(length),
                End => self.stream.end(),
                Destroy => self.stream.destroy(None),
                DestroyWith => self.stream.destroy(Some(Error::new("TEST", "reason"))),
                DestroySoon => self.stream.destroy_soon(),
                Reset => self.stream.reset_and_destroy(),
                Detach => self.stream.detach(),
                Pause => self.stream.pause(),
                Resume => self.stream.resume(),
                Cork => self.stream.cork(),
                Uncork => self.stream.uncork(),
                SetTimeout(ms) => self.stream.set_timeout(Duration::from_millis(ms), self.now),
                Connect => self.stream.connect().unwrap(),
                Connected => {
                    self.stream.handle_connected();
                    self.drive();
                    self.stream.handle_connected_reset();
                }
                Refused => self.stream.handle_connect_error(system("connect", libc::ECONNREFUSED)),
                Receive(length) => self.incoming.push_back(Some(length)),
                Fin => self.incoming.push_back(Some(0)),
                Rst => self.incoming.push_back(None),
                Room(length) => self.room = length,
                Broken => self.broken = true,
                Elapse(ms) => self.now += Duration::from_millis(ms),
                Next => {
                    self.next();
                }
                Poll => while self.next() {},
            }
            self.drive();
        }
    }

    fn write(&mut self, length: usize) {
        let chunk = |length| Bytes::from(vec![b'x'; length]);
        match self.stream.admit() {
            Ok(Admission::Direct) if self.broken => self.break_down(),
            Ok(Admission::Direct) => {
                let taken = length.min(self.room);
                self.take(taken);
                match length - taken {
                    0 => self.stream.handle_direct_write(length),
                    rest => self.stream.queue_rest(length, chunk(rest)),
                }
            }
            Ok(Admission::Queue) => self.stream.queue(chunk(length)),
            Err(error) => self.stream.handle_misuse(error),
        }
        if self.stream.tracks_activity() {
            self.stream.handle_activity(self.now);
        }
        self.drive();
        let accepts_more = self.stream.accepts_more();
        self.trace.push(accepts_more.to_string());
    }

    fn drive(&mut self) {
        while let Some(io) = self.stream.next_io() {
            match io {
                Io::Write if self.room == 0 => return,
                Io::Write if self.broken => self.break_down(),
                Io::Write => {
                    let mut slices = [io::IoSlice::new(&[]); crate::core::queue::MAX_SLICES];
                    let count = self.stream.slices(&mut slices);
                    let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
                    let taken = offered.min(self.room);
                    self.take(taken);
                    if self.stream.handle_written(taken) {
                        self.stream.handle_activity(self.now);
                    }
                }
                Io::Shutdown => {
                    self.trace.push("FIN".into());
                    self.stream.handle_shutdown();
                }
                Io::Release { reset } => {
                    self.trace.push(if reset { "RESET" } else { "CLOSE" }.into());
                    self.stream.handle_released();
                }
            }
        }
    }

    fn next(&mut self) -> bool {
        self.stream.handle_consumer();
        self.drive();
        loop {
            let had_event = self.stream.has_event();
            let event = self.stream.poll_event();
            assert_eq!(event.is_some(), had_event, "has_event() and poll_event() disagree");
            self.drive();
            if let Some(event) = event {
                self.tell(&event);
                return true;
            }
            if self.stream.wants_read() {
                match self.incoming.pop_front() {
                    Some(Some(0)) => self.stream.handle_eof(),
                    Some(Some(length)) => {
                        self.stream.handle_read(length);
                        self.stream.handle_activity(self.now);
                        self.trace.push(format!("data {length}"));
                        return true;
                    }
                    Some(None) => self.stream.handle_read_error(system("read", libc::ECONNRESET)),
                    None => self.stream.handle_read_blocked(),
                }
                self.drive();
                if self.stream.has_event() {
                    continue;
                }
            }
            match self.stream.poll_timeout() {
                Some(deadline) if deadline <= self.now => self.stream.handle_timeout(self.now),
                _ => return false,
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        self.trace.push(match event {
            Event::Error(error) => format!("error {}", error.message()),
            Event::Close { had_error } => format!("close {had_error}"),
            other => format!("{other:?}").to_lowercase(),
        });
    }

    fn take(&mut self, length: usize) {
        if length > 0 {
            self.room -= length;
            self.trace.push(format!("WRITE {length}"));
        }
    }

    fn break_down(&mut self) {
        self.stream.handle_write_error(system("write", libc::EPIPE));
    }
}

fn system(syscall: &'static str, errno: i32) -> Error {
    Error::system(syscall, io::Error::from_raw_os_error(errno))
}
