//! What Faultline's tests and benches need.

pub mod postgres;
