//! The system's clock: the one place where time comes from outside. Everything that decides takes
//! it as an argument.

use crate::domain::time::Micros;

/// The present.
#[must_use]
pub fn now() -> Micros {
    jiff::Timestamp::now().as_microsecond()
}
