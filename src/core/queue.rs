//! The write queue: what a socket has accepted and the kernel has not.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// How many slices one vectored write takes at most.
pub(crate) const MAX_SLICES: usize = 16;

/// Chunks below this size are gathered into one buffer: copying them costs less than a slice each.
pub(crate) const GATHER_BELOW: usize = 4 * 1024;

/// How much room gathering begins with.
const GATHER_ROOM: usize = 512;

/// The bytes that wait to be written, and the two numbers that back-pressure is made of.
///
/// Node's accounting goes by *request*, not by byte. A write that finds nothing in progress is a request of its own;
/// what is written meanwhile becomes the next one, as a whole. [`length`](Self::length) falls when a request is out, not
/// while it is on its way. Programs see this in what `write` returns, so it is kept here.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    /// `None` while there is nothing to hold, so that an idle connection owns no buffer.
    held: Option<Box<Held>>,
    high_water_mark: usize,
    corked: u32,
    /// A write without a byte is in progress: it was the first one while there was no connection.
    has_empty_request: bool,
    /// Something without a byte was written while corked.
    holds_empty: bool,
    /// That is all there is to write now.
    empty_due: bool,
    need_drain: bool,
}

#[derive(Debug, Default)]
struct Held {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    length: usize,
    /// The size of the request in progress.
    request: usize,
    /// What of that request is still to be written.
    remaining: usize,
}

impl WriteQueue {
    pub(crate) fn new(high_water_mark: usize) -> Self {
        Self {
            held: None,
            high_water_mark,
            corked: 0,
            has_empty_request: false,
            holds_empty: false,
            empty_due: false,
            need_drain: false,
        }
    }

    /// Node's `writableLength`: everything accepted, less the requests that are out.
    pub(crate) fn length(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.length)
    }

    /// What of the request in progress has not reached the kernel.
    pub(crate) fn in_progress(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.remaining)
    }

    /// Whether a request is in progress, be it without a byte.
    pub(crate) fn has_begun(&self) -> bool {
        self.in_progress() > 0 || self.has_empty_request
    }

    pub(crate) fn high_water_mark(&self) -> usize {
        self.high_water_mark
    }

    /// Whether a write may go straight to the kernel without overtaking anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.corked == 0
    }

    pub(crate) fn is_corked(&self) -> bool {
        self.corked > 0
    }

    /// Whether the next uncork is the last.
    pub(crate) fn is_corked_once(&self) -> bool {
        self.corked == 1
    }

    /// Whether anything was written that a cork holds back, be it without a byte.
    pub(crate) fn is_holding(&self) -> bool {
        self.corked > 0 && (self.not_begun() > 0 || self.holds_empty)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// Whether there is something that may be written now. While corked that is only the request in progress.
    pub(crate) fn is_sendable(&self) -> bool {
        self.in_progress() > 0 || self.empty_due
    }

    /// What `write` answers: may more come, or should the writer wait for a drain?
    pub(crate) fn accepts_more(&mut self) -> bool {
        let accepts = self.length() < self.high_water_mark || self.is_empty();
        self.need_drain |= !accepts;
        accepts
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.need_drain && self.is_empty()
    }

    pub(crate) fn take_drained(&mut self) -> bool {
        let drained = self.is_drained();
        self.need_drain &= !drained;
        drained
    }

    /// Adds a chunk behind all others.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.has_empty_request |= self.is_empty() && chunk.is_empty() && self.corked == 0;
        self.holds_empty |= chunk.is_empty() && self.corked > 0;
        if !chunk.is_empty() {
            self.held.get_or_insert_default().push(chunk);
        }
        self.start_request();
    }

    /// Adds what the kernel left over of a direct write of `total` bytes, which is then the request in progress.
    pub(crate) fn push_rest(&mut self, total: usize, rest: Bytes) {
        debug_assert!(self.is_idle() && rest.len() <= total && !rest.is_empty());
        let remaining = rest.len();
        let held = self.held.get_or_insert_default();
        held.push(rest);
        (held.length, held.request, held.remaining) = (total, total, remaining);
    }

    /// Adds a small write to the others that are to leave together, as one request, once they are all there.
    pub(crate) fn gather(&mut self, bytes: &[u8]) {
        let held = self.held.get_or_insert_with(|| Box::new(Held::gathering()));
        held.tail.extend_from_slice(bytes);
        held.length += bytes.len();
        (held.request, held.remaining) = (held.length, held.length);
    }

    pub(crate) fn cork(&mut self) {
        self.corked = self.corked.saturating_add(1);
    }

    pub(crate) fn uncork(&mut self) {
        self.corked = self.corked.saturating_sub(1);
        self.start_request();
    }

    /// Undoes every `cork`, as ending a socket does.
    pub(crate) fn uncork_all(&mut self) {
        self.corked = 0;
        self.start_request();
    }

    /// Fills `slices` with what may be written now and returns how many there are.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let Some(held) = &self.held else { return 0 };
        let mut allowed = if self.corked > 0 { held.remaining } else { usize::MAX };
        let tail = Some(held.tail.as_ref()).filter(|tail| !tail.is_empty());
        let chunks = held.chunks.iter().map(AsRef::as_ref).chain(tail);
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(chunks) {
            let chunk = &chunk[..chunk.len().min(allowed)];
            if chunk.is_empty() {
                break;
            }
            allowed -= chunk.len();
            *slot = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    /// What was accepted behind the request in progress.
    pub(crate) fn not_begun(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.length - held.request)
    }

    /// The kernel took `count` bytes from the front. Whether that completed a request.
    pub(crate) fn advance(&mut self, mut count: usize) -> bool {
        let is_corked = self.is_corked();
        self.empty_due = false;
        let Some(held) = &mut self.held else { return false };
        held.discard(count);
        let mut completed = false;
        while count > 0 && held.remaining > 0 {
            let taken = count.min(held.remaining);
            count -= taken;
            held.remaining -= taken;
            if held.remaining == 0 {
                completed = true;
                held.length -= held.request;
                held.request = 0;
                if !is_corked {
                    held.start_request();
                }
            }
        }
        debug_assert_eq!(count, 0, "more was written than was queued");
        if held.length == 0 {
            self.held = None;
        }
        completed
    }

    /// Throws everything away; what was accepted is lost.
    pub(crate) fn clear(&mut self) {
        *self = Self { corked: self.corked, ..Self::new(self.high_water_mark) };
    }

    /// There is a connection: what has no byte is out.
    pub(crate) fn finish_empty_request(&mut self) {
        self.has_empty_request = false;
        self.start_request();
    }

    fn start_request(&mut self) {
        if self.corked > 0 {
            return;
        }
        self.empty_due = std::mem::take(&mut self.holds_empty) && self.is_empty();
        if let (false, Some(held)) = (self.has_empty_request, &mut self.held) {
            held.start_request();
        }
    }
}

impl Held {
    fn gathering() -> Self {
        Self { tail: BytesMut::with_capacity(GATHER_ROOM), ..Self::default() }
    }

    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        if chunk.len() < GATHER_BELOW {
            self.tail.extend_from_slice(&chunk);
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.chunks.push_back(chunk);
    }

    fn start_request(&mut self) {
        if self.remaining == 0 {
            (self.request, self.remaining) = (self.length, self.length);
        }
    }

    fn discard(&mut self, mut count: usize) {
        while let Some(front) = self.chunks.front_mut() {
            let taken = count.min(front.len());
            front.advance(taken);
            count -= taken;
            if !front.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
        let taken = count.min(self.tail.len());
        self.tail.advance(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl WriteQueue {
        /// What has not reached the kernel, to the byte.
        fn buffered(&self) -> usize {
            self.held.as_ref().map_or(0, |held| held.length - held.request + held.remaining)
        }
    }

    fn queued(queue: &WriteQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = queue.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn length_falls_by_request() {
        let mut queue = WriteQueue::new(10);
        queue.push_rest(8, Bytes::from_static(b"fgh"));
        assert_eq!((queue.length(), queue.buffered()), (8, 3));
        assert!(queue.accepts_more());
        queue.push(Bytes::from_static(b"ij"));
        queue.push(Bytes::from_static(b"kl"));
        assert!(!queue.accepts_more());
        assert_eq!((queue.length(), queue.buffered()), (12, 7));
        assert_eq!(queued(&queue), b"fghijkl");

        queue.advance(2);
        assert_eq!((queue.length(), queue.buffered()), (12, 5));
        queue.advance(2);
        assert_eq!((queue.length(), queue.buffered()), (4, 3), "the first request is out");
        assert!(!queue.take_drained());
        queue.advance(3);
        assert_eq!((queue.length(), queue.buffered()), (0, 0));
        assert!(queue.take_drained());
        assert!(!queue.take_drained(), "once for each refusal");
        assert!(queue.held.is_none(), "an empty queue holds no memory");
    }

    #[test]
    fn drained_only_after_a_refusal() {
        let mut queue = WriteQueue::new(10);
        queue.push(Bytes::from_static(b"123456789"));
        assert!(queue.accepts_more());
        queue.advance(9);
        assert!(!queue.take_drained());
        queue.push(Bytes::from_static(b"1234567890"));
        assert!(!queue.accepts_more());
        queue.advance(10);
        assert!(queue.take_drained());
    }

    #[test]
    fn an_empty_queue_accepts_whatever_the_mark() {
        let mut queue = WriteQueue::new(0);
        assert!(queue.accepts_more());
        queue.push(Bytes::from_static(b"1"));
        assert!(!queue.accepts_more());
    }

    #[test]
    fn corked_writes_wait_and_leave_together() {
        let mut queue = WriteQueue::new(100);
        queue.push(Bytes::from_static(b"in progress"));
        queue.cork();
        queue.cork();
        queue.push(Bytes::from_static(b" held"));
        assert_eq!(queued(&queue), b"in progress");
        queue.advance(11);
        assert!(!queue.is_sendable());
        queue.push(Bytes::from_static(b" back"));
        queue.uncork();
        assert!(!queue.is_sendable());
        assert_eq!(queue.length(), 10);
        queue.uncork();
        assert_eq!(queued(&queue), b" held back");
        queue.advance(10);
        assert!(queue.is_idle());
        queue.uncork();
        assert!(queue.is_idle());
    }

    #[test]
    fn large_chunks_are_kept_and_small_ones_gathered_in_order() {
        let large = Bytes::from(vec![b'L'; GATHER_BELOW]);
        let mut queue = WriteQueue::new(100);
        let mut expected = Vec::new();
        for chunk in
            [Bytes::from_static(b"a"), Bytes::from_static(b"b"), large.clone(), Bytes::from_static(b"c"), large]
        {
            expected.extend_from_slice(&chunk);
            queue.push(chunk);
        }
        assert_eq!(queued(&queue), expected);
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        assert_eq!(queue.slices(&mut slices), 4);
        for step in [1, 1, 100, GATHER_BELOW] {
            queue.advance(step);
            expected.drain(..step);
            assert_eq!(queued(&queue), expected);
        }
    }

    #[test]
    fn more_chunks_than_slices() {
        let large = Bytes::from(vec![1; GATHER_BELOW]);
        let mut queue = WriteQueue::new(100);
        for _ in 0..MAX_SLICES + 3 {
            queue.push(large.clone());
        }
        assert_eq!(queued(&queue).len(), MAX_SLICES * GATHER_BELOW);
        queue.advance(MAX_SLICES * GATHER_BELOW);
        assert_eq!((queue.buffered(), queued(&queue).len()), (3 * GATHER_BELOW, 3 * GATHER_BELOW));
    }
}
