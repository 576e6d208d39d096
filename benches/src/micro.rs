//! TODO
use crate::Failure;
use crate::flags::Flags;
pub(crate) fn main(_what: &str, _flags: &Flags) -> Result<(), Failure> {
    Err("todo".into())
}
