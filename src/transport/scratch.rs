//! The buffer that reads go into, one for each thread: an idle connection holds none.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

const SIZE: usize = 64 * 1024;

/// Room enough that a read rarely fills it: one that does costs another system call to find the socket empty.
const MIN_ROOM: usize = 32 * 1024;

/// From this size on a chunk is split off instead of copied. A split chunk keeps its whole block alive, so small ones,
/// which programs tend to hold on to, never are.
const SPLIT_FROM: usize = 8 * 1024;

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::default();
}

/// Lends this thread's buffer, empty and with room to read into. What `use_buffer` leaves in it is lost.
pub(crate) fn with<R>(use_buffer: impl FnOnce(&mut BytesMut) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut buffer) => {
            make_room(&mut buffer);
            let result = use_buffer(&mut buffer);
            buffer.clear();
            result
        }
        // A waker that ran inside reads another socket.
        Err(_) => use_buffer(&mut BytesMut::with_capacity(SIZE)),
    })
}

pub(crate) fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < MIN_ROOM {
        buffer.reserve(SIZE);
    }
}

/// Takes what was read out of the buffer.
pub(crate) fn take_chunk(buffer: &mut BytesMut) -> Bytes {
    if buffer.len() >= SPLIT_FROM {
        return buffer.split().freeze();
    }
    let chunk = Bytes::copy_from_slice(buffer);
    buffer.clear();
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_chunks_are_copied_and_large_ones_split_off() {
        let block = |length| {
            with(|buffer| {
                let block = buffer.as_ptr();
                buffer.extend_from_slice(&vec![7; length]);
                let chunk = take_chunk(buffer);
                assert!(buffer.is_empty() && chunk.len() == length);
                chunk.as_ptr() == block
            })
        };
        assert!(!block(100));
        assert!(block(SPLIT_FROM));
    }

    #[test]
    fn a_block_is_used_again_when_its_chunks_are_gone() {
        let address = || {
            with(|buffer| {
                buffer.extend_from_slice(&vec![7; SIZE]);
                take_chunk(buffer).as_ptr()
            })
        };
        let first = address();
        assert_eq!(address(), first);
    }

    #[test]
    fn nested_use_gets_a_buffer_of_its_own() {
        with(|outer| {
            outer.extend_from_slice(b"outer");
            with(|inner| inner.extend_from_slice(b"inner"));
            assert_eq!(&outer[..], b"outer");
        });
    }
}
