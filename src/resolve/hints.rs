use std::ops::{BitOr, BitOrAssign};

/// Flags for the system's name lookup: Node's `hints` option, a sum of `dns.ADDRCONFIG`, `dns.V4MAPPED` and `dns.ALL`.
///
/// ```
/// use sockeye::Hints;
///
/// let hints = Hints::ADDRCONFIG | Hints::V4MAPPED;
/// assert!(hints.contains(Hints::V4MAPPED) && !hints.contains(Hints::ALL));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hints(i32);

impl Hints {
    /// No flags: the default.
    pub const NONE: Self = Self(0);
    /// Only addresses of families that the machine has addresses of its own of.
    pub const ADDRCONFIG: Self = Self(libc::AI_ADDRCONFIG);
    /// If IPv6 is asked for and there is none, IPv4 addresses in their mapped form.
    pub const V4MAPPED: Self = Self(libc::AI_V4MAPPED);
    /// With [`V4MAPPED`](Self::V4MAPPED): the mapped IPv4 addresses beside the IPv6 ones.
    pub const ALL: Self = Self(libc::AI_ALL);

    /// Whether all flags of `other` are set here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn bits(self) -> i32 {
        self.0
    }
}

impl BitOr for Hints {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Hints {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}
