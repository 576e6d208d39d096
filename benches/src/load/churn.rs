//! Connections that come, ask once, and go.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::pattern::Pattern;
use super::{Plan, Recorder, Sample, measure, source};
use crate::Failure;
use crate::sys::{self, Epoll};

pub(super) fn run(plan: &Plan) -> Result<Sample, Failure> {
    let threads = plan.cores.len().clamp(1, plan.connections);
    let pattern = Pattern::varied();
    measure(plan, threads, |index, recorder| {
        let mut churn = Churn {
            plan,
            pattern: &pattern,
            epoll: Epoll::new(256)?,
            slots: Vec::new(),
            // Each thread has source addresses of its own.
            next: index as u64,
            step: threads as u64,
        };
        churn.run(plan.connections / threads, recorder)
    })
}

struct Churn<'a> {
    plan: &'a Plan,
    pattern: &'a Pattern,
    epoll: Epoll,
    slots: Vec<Slot>,
    next: u64,
    step: u64,
}

struct Slot {
    fd: OwnedFd,
    started: Instant,
    received: u64,
}

impl Churn<'_> {
    fn run(&mut self, slots: usize, recorder: &mut Recorder<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        for token in 0..slots {
            let slot = self.open(token)?;
            self.slots.push(slot);
        }
        recorder.ready();
        while recorder.goes_on() {
            for index in 0..self.epoll.wait_awake(50)? {
                let (token, _) = self.epoll.event(index);
                self.receive(token, &mut buffer, recorder)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, token: usize) -> io::Result<Slot> {
        let started = Instant::now();
        let fd = sys::connect(source(self.next), self.plan.port)?;
        self.next += self.step;
        if sys::send(fd.as_raw_fd(), self.pattern.at(0, self.plan.size))? != Some(self.plan.size) {
            return Err(io::Error::other("there was no room for the message"));
        }
        self.epoll.add(fd.as_raw_fd(), token, sys::IN)?;
        Ok(Slot { fd, started, received: 0 })
    }

    fn receive(&mut self, token: usize, buffer: &mut [u8], recorder: &mut Recorder<'_>) -> io::Result<()> {
        let slot = &mut self.slots[token];
        let Some(count) = sys::recv(slot.fd.as_raw_fd(), buffer)? else { return Ok(()) };
        if count == 0 || !self.pattern.matches(slot.received, &buffer[..count]) {
            return Err(io::Error::other("the server has answered something else"));
        }
        slot.received += count as u64;
        if slot.received >= self.plan.answer as u64 {
            recorder.record(1, slot.started.elapsed());
            // Closes the old connection, after the new one is there.
            self.slots[token] = self.open(token)?;
        }
        Ok(())
    }
}
