//! Latencies in logarithmic buckets, each at most 1/64 wide.

const STEPS: usize = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = STEPS * (64 - STEP_BITS as usize + 1);

/// Counts of nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The value that this share of the values does not exceed, or zero if there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lower_bound(index);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    let step = (value >> shift) as usize - STEPS;
    STEPS * (shift as usize + 1) + step
}

fn lower_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_within_a_64th() {
        for value in (0..64).map(|bits| 1_u64 << bits).flat_map(|value| [value - 1, value, value + value / 3]) {
            let lower = lower_bound(bucket(value));
            assert!(lower <= value && value - lower <= value / 64, "{value} {lower}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_known_values() {
        let (mut low, mut high) = (Histogram::new(), Histogram::new());
        (1..=50).for_each(|value| low.record(value));
        (51..=60).for_each(|value| high.record(value));
        low.merge(&high);
        assert_eq!((low.quantile(0.0), low.quantile(0.5), low.quantile(1.0)), (1, 30, 60));
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }
}
