//! The pipeline: from records that are durable to rows that are.
//!
//! ```text
//!  receiver (src/) ──append──▶ spool ──blocks──▶ parser ──batches──▶ fan-out ─┬─▶ batch writer ──▶ store
//!                                ▲                                            └─▶ metrics aggregator
//!                                └──────── acknowledge / read again ─────────────── batch writer
//!
//!  bucket watcher ──append──▶ spool: what changes in an account's buckets, by a snapshot in the store
//!
//!  batch writer ──faults that were met──▶ jira dispatch ──▶ store (jobs) ──▶ jira worker ──▶ Jira
//!                                                           store (tickets) ◀── ticket watch ◀─┘
//!
//!  what holds now (src/) ──▶ notifier ──▶ store (alerts, deliveries) ──▶ mail, Slack, webhooks
//!  store: what is old ──▶ retention ──▶ archives
//! ```
//!
//! From VM to VM, with a relay in front of a hub:
//!
//! ```text
//!  receiver ──▶ spool ──▶ relay ──entries──▶ Redis ──▶ stream reader ──blocks──▶ parser, as above
//!                ▲ forgets                   ▲
//!                └──── committed, wanted ────┴── batch writer
//! ```
//!
//! Data moves on bounded flume channels as [`domain::record::Block`]s and `Arc<`[`domain::batch::Batch`]`>`es;
//! control (finish, snapshots, supervision) on kameo. A stage knows its channels, not its
//! neighbours; only [`pipeline`] knows them all. When the store is slow its channel fills, every
//! stage before it waits, and the spool grows up to its bound.
//!
//! Modules in the order of the flow:

pub mod adapters;
pub mod domain;

pub mod batch_writer;
pub mod bucket_watcher;
pub mod error_log;
pub mod fan_out;
pub mod jira_dispatch;
pub mod jira_worker;
pub mod metrics_aggregator;
pub mod notifier;
pub mod parser;
pub mod pipeline;
pub mod relay;
pub mod retention;
pub mod stage;
pub mod stream_reader;
pub mod ticket_watch;
