//! What Faultline knows, without any input or output: formats, decisions, arithmetic. Time and
//! randomness are arguments, so everything here is tested by plain tests.

pub mod batch;
pub mod breaker;
pub mod decision;
pub mod dedupe;
pub mod error_report;
pub mod event;
pub mod fault;
pub mod fault_state;
pub mod feed;
pub mod frame;
pub mod job;
pub mod json;
pub mod ledger;
pub mod lesson;
pub mod logplex;
pub mod maxwell;
pub mod object;
pub mod original;
pub mod parse;
pub mod platform;
pub mod record;
pub mod retry;
pub mod route;
pub mod router;
pub mod rule;
pub mod secret;
pub mod severity;
pub mod shape;
pub mod storm;
pub mod text;
pub mod ticket;
pub mod time;
pub mod top;
pub mod trace;
pub mod traffic;
