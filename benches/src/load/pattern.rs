//! What is sent, and what must come back.

const PERIOD: usize = 1 << 16;

/// An endless stream of bytes that can be had from any offset, so that every byte that comes back is compared.
pub(crate) struct Pattern {
    /// Two periods, so that up to one period can be had in one piece.
    bytes: Vec<u8>,
}

impl Pattern {
    /// Bytes that repeat only after 64 KiB.
    pub(crate) fn varied() -> Self {
        let mut state = 1_u32;
        Self::of((0..PERIOD).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    }

    /// This, again and again. Its length has to divide 64 KiB.
    pub(crate) fn repeated(unit: &[u8]) -> Self {
        assert_eq!(PERIOD % unit.len(), 0, "the unit does not divide the period");
        Self::of(unit.iter().copied().cycle().take(PERIOD))
    }

    fn of(period: impl Iterator<Item = u8>) -> Self {
        let mut bytes: Vec<u8> = period.collect();
        bytes.extend_from_within(..);
        Self { bytes }
    }

    /// At most `length` bytes from this offset of the stream.
    pub(crate) fn at(&self, offset: u64, length: usize) -> &[u8] {
        let start = offset as usize % PERIOD;
        &self.bytes[start..start + length.min(PERIOD)]
    }

    pub(crate) fn matches(&self, offset: u64, received: &[u8]) -> bool {
        received.len() <= PERIOD && self.at(offset, received.len()) == received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_goes_on_over_the_period() {
        let pattern = Pattern::varied();
        let end = pattern.at(PERIOD as u64 - 2, 4).to_vec();
        assert_eq!(end[2..], *pattern.at(PERIOD as u64, 2));
        assert!(pattern.matches(PERIOD as u64 - 2, &end));
        assert!(!pattern.matches(PERIOD as u64 - 1, &end));
        assert!(Pattern::repeated(b"abcd").matches(6, b"cdab"));
    }
}
