//! The admin listener of a relay: health, metrics and ledger of what is handed over.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use faultline_actors::{
    adapters::clock,
    domain::health::Settings,
    pipeline::handover::{Handover, Line},
    stage::Live,
};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{
    Open, Surroundings,
    access::{Gate, Role, guard::guard, require},
    health::{
        Health, Probe,
        gather::{application, maxwell, oldest_age, redis, spool, tls},
        readiness,
    },
    metrics::{update_build, update_handoff, update_partner, update_spool, without_statistics},
};
use crate::{config::Config, problem::Problem, receiver::stdin::Reading, reload::Reload};

/// What the handlers share.
pub struct RelayAdmin {
    gate: Arc<Gate>,
    handover: Arc<Handover>,
    prometheus: PrometheusHandle,
    process: metrics_process::Collector,
    reading: Option<Arc<Reading>>,
    started: Instant,
    health: Live<Settings>,
    spool_directory: PathBuf,
}

impl RelayAdmin {
    #[must_use]
    pub fn new(
        config: &Config,
        surroundings: Surroundings,
        handover: Arc<Handover>,
        prometheus: PrometheusHandle,
        reading: Option<Arc<Reading>>,
        reload: &Reload,
    ) -> Arc<Self> {
        let health = Live::new(config.health.clone());
        reload.follow({
            let health = health.clone();
            move |config| health.set(config.health.clone())
        });
        Arc::new(Self {
            gate: Gate::following(&config.admin, surroundings, reload),
            handover,
            prometheus,
            process: metrics_process::Collector::default(),
            reading,
            started: Instant::now(),
            health,
            spool_directory: config.spool.dir.clone(),
        })
    }
}

/// The routes of a relay's admin listener.
pub fn router(admin: &Arc<RelayAdmin>) -> Router {
    let health = Router::new().route("/health", get(health)).route("/api/health", get(health));
    let mut protected = Router::new().route("/api/ledger", get(ledger));
    let mut open = Router::new();
    if admin.gate.opens(Open::Health) {
        open = health;
    } else {
        protected = protected.merge(health);
    }
    let viewer = (admin.gate.clone(), Role::Viewer);
    let protected = protected.route_layer(middleware::from_fn_with_state(viewer, require));
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(protected)
        .merge(open)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not possible here")
        })
        .with_state(admin.clone());
    guard(router, admin.gate.clone())
}

async fn ready(State(admin): State<Arc<RelayAdmin>>, probe: Query<Probe>) -> Response {
    readiness(admin.handover.spool(), &admin.gate.leaving, &probe)
}

async fn health(State(admin): State<Arc<RelayAdmin>>, headers: HeaderMap) -> Response {
    let (started, settings) = (Instant::now(), &admin.health.get());
    let spool = spool(admin.handover.spool(), &admin.spool_directory);
    let mut components = BTreeMap::from([
        ("spool", spool.evaluate(settings)),
        ("redis", redis(&admin.handover.state()).evaluate()),
        ("application", application(admin.started).evaluate(settings)),
    ]);
    if let Some(tls) = tls(&admin.gate.certificates) {
        components.insert("tls", tls.evaluate());
    }
    if let Some(reading) = &admin.reading {
        components.insert("maxwell", maxwell(reading, None).evaluate(clock::now()));
    }
    Health::new(components, started).answer(&headers)
}

/// One line a source, in messages: `received = committed + in_flight`.
async fn ledger(State(admin): State<Arc<RelayAdmin>>) -> Result<Response, Problem> {
    let Some(lines) = admin.handover.ledger() else {
        let detail = "Redis was not reached yet, so what hubs have committed is not known";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let balanced = lines.iter().all(|(_, line)| line.imbalance() == 0);
    let origin = admin.handover.origin().to_string();
    let sources: BTreeMap<&str, Line> =
        lines.into_iter().map(|(source, line)| (source.name(), line)).collect();
    let answer = serde_json::json!({ "origin": origin, "sources": sources, "balanced": balanced });
    Ok(Json(answer).into_response())
}

async fn metrics(
    State(admin): State<Arc<RelayAdmin>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    without_statistics(&admin.gate, &headers, || {
        admin.update_gauges();
        admin.prometheus.render()
    })
    .await
}

impl RelayAdmin {
    fn update_gauges(&self) {
        self.process.collect();
        metrics::gauge!("faultline_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        update_build("relay");
        let spool = self.handover.spool();
        update_spool(spool, &self.spool_directory, oldest_age(spool));
        update_handoff(&self.handover.state());
        update_partner("redis", &self.handover.calls().look(clock::now()));
        metrics::gauge!("faultline_stream_outstanding_limit_bytes")
            .set(self.handover.outstanding_limit() as f64);
        let Some(lines) = self.handover.ledger() else { return };
        let imbalance = lines.iter().map(|(_, line)| line.imbalance().abs()).sum::<i128>();
        metrics::gauge!("faultline_ledger_imbalance_messages").set(imbalance as f64);
        for (source, line) in lines {
            let source = source.name();
            for (outcome, count) in [
                ("received", line.received),
                ("handed_over", line.handed_over),
                ("committed", line.committed),
            ] {
                metrics::counter!(
                    "faultline_messages_total", "source" => source, "outcome" => outcome
                )
                .absolute(count);
            }
            metrics::gauge!("faultline_messages_in_flight", "source" => source)
                .set(line.in_flight as f64);
        }
    }
}
