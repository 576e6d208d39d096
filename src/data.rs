//! What can be written.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

/// Anything that is bytes: what [`write`](crate::SocketHandle::write) takes.
///
/// Bytes go to the kernel straight from where they are; only what the kernel does not take at once has to be kept. An
/// owned buffer (`Vec<u8>`, `String`, [`Bytes`], ...) is then kept as it is, a borrowed one is copied. What is none of the
/// types below can be made [`Bytes`] of.
pub trait Data: Sized + sealed::Sealed {
    /// The bytes to write.
    fn as_bytes(&self) -> &[u8];

    /// What is left of the bytes from this position on, to be kept in the write queue.
    fn into_rest(self, from: usize) -> Bytes;
}

/// The queue relies on the rest being what the bytes said it is.
mod sealed {
    pub trait Sealed {}
}

macro_rules! borrowed {
    ($(($($generics:tt)*) $type:ty),+ $(,)?) => {$(
        impl<$($generics)*> sealed::Sealed for $type {}

        impl<$($generics)*> Data for $type {
            fn as_bytes(&self) -> &[u8] {
                self.as_ref()
            }

            fn into_rest(self, from: usize) -> Bytes {
                Bytes::copy_from_slice(&Data::as_bytes(&self)[from..])
            }
        }
    )+};
}

macro_rules! owned {
    ($($type:ty),+ $(,)?) => {$(
        impl sealed::Sealed for $type {}

        impl Data for $type {
            fn as_bytes(&self) -> &[u8] {
                self.as_ref()
            }

            fn into_rest(self, from: usize) -> Bytes {
                let mut bytes = Bytes::from(self);
                bytes.advance(from);
                bytes
            }
        }
    )+};
}

borrowed!((const N: usize) [u8; N], (const N: usize) &[u8; N], () &[u8], () &str, () &String, () &Vec<u8>);
owned!(Bytes, BytesMut, Vec<u8>, String, Box<[u8]>);

impl sealed::Sealed for &Bytes {}
impl sealed::Sealed for Cow<'_, str> {}
impl sealed::Sealed for Cow<'_, [u8]> {}

impl Data for &Bytes {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn into_rest(self, from: usize) -> Bytes {
        self.slice(from..)
    }
}

impl Data for Cow<'_, str> {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }

    fn into_rest(self, from: usize) -> Bytes {
        match self {
            Cow::Borrowed(text) => text.into_rest(from),
            Cow::Owned(text) => text.into_rest(from),
        }
    }
}

impl Data for Cow<'_, [u8]> {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn into_rest(self, from: usize) -> Bytes {
        match self {
            Cow::Borrowed(bytes) => bytes.into_rest(from),
            Cow::Owned(bytes) => bytes.into_rest(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: impl Data) {
        assert_eq!(data.as_bytes(), b"abcdef");
        assert_eq!(data.into_rest(2), "cdef");
    }

    #[test]
    fn everything_that_is_bytes() {
        let (string, vector, bytes) = (String::from("abcdef"), b"abcdef".to_vec(), Bytes::from_static(b"abcdef"));
        check("abcdef");
        check(&string);
        check(string);
        check(b"abcdef");
        check(*b"abcdef");
        check(&b"abcdef"[..]);
        check(&vector);
        check(vector.clone().into_boxed_slice());
        check(vector);
        check(&bytes);
        check(bytes);
        check(BytesMut::from("abcdef"));
        check(Cow::from("abcdef"));
        check(Cow::from(&b"abcdef"[..]));
    }

    #[test]
    fn an_owned_buffer_is_kept_and_not_copied() {
        let data = b"abcdef".to_vec();
        let address = data.as_ptr();
        assert_eq!(data.into_rest(0).as_ptr(), address);
    }
}
