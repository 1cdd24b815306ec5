//! Health as an answer: as JSON of our own, or as `application/health+json` (draft-inadarei-api-health-check-06).

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use faultline_actors::domain::health::{Component, Status};
use serde_json::{Map, Value, json};

use super::Health;

const HEALTH_JSON: &str = "application/health+json";

/// What is measured of a component, beside how long that took: the member of its details, the name
/// of the measurement, and the unit.
const MEASUREMENTS: [(&str, &str, &str, &str); 7] = [
    ("application", "residentBytes", "memory", "B"),
    ("application", "uptimeSeconds", "uptime", "s"),
    ("application", "runtimeLagMilliseconds", "runtimeLag", "ms"),
    ("queues", "pendingMessages", "pendingMessages", "messages"),
    ("queues", "pendingJobs", "pendingJobs", "jobs"),
    ("spool", "usedBytes", "usedBytes", "B"),
    ("spool", "diskFreeBytes", "diskFreeBytes", "B"),
];

impl Health {
    /// In the form that `Accept` prefers; 503 where something is unhealthy.
    pub(in crate::admin) fn answer(&self, headers: &HeaderMap) -> Response {
        let code = match self.overall {
            Status::Healthy | Status::Degraded => StatusCode::OK,
            Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        };
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let vary = (header::VARY, HeaderValue::from_static("accept"));
        if !prefers_health_json(accept.unwrap_or_default()) {
            return (code, [vary], Json(self)).into_response();
        }
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(HEALTH_JSON));
        (code, [vary, content_type], self.as_health_json().to_string()).into_response()
    }

    fn as_health_json(&self) -> Value {
        let mut checks = Map::new();
        let mut output = Vec::new();
        for (name, component) in &self.components {
            if let Some(error) = &component.error {
                output.push(format!("{name}: {error}"));
            }
            let name = called(name, component);
            let took = json!(component.response_time);
            let mut add = |measurement: &str, value: &Value, unit| {
                let check = self.check(name, component, value, unit);
                checks.insert(format!("{name}:{measurement}"), json!([check]));
            };
            add("responseTime", &took, "ms");
            for (of, member, measurement, unit) in MEASUREMENTS {
                let value = component.details.as_ref().and_then(|details| details.get(member));
                if of == name
                    && let Some(value) = value.filter(|value| value.is_number())
                {
                    add(measurement, value, unit);
                }
            }
        }
        let mut answer = json!({
            "status": word(self.overall),
            "version": "1",
            "releaseId": env!("CARGO_PKG_VERSION"),
            "serviceId": "faultline",
            "checks": checks,
        });
        if !output.is_empty() {
            answer["output"] = output.join("; ").into();
        }
        answer
    }

    fn check(&self, name: &str, component: &Component, value: &Value, unit: &str) -> Value {
        let mut check = json!({
            "componentId": name,
            "componentType": kind(name),
            "observedValue": value,
            "observedUnit": unit,
            "status": word(component.status),
            "time": self.timestamp,
        });
        // It must not be there where all is well.
        if let Some(error) = &component.error {
            check["output"] = error.as_str().into();
        }
        check
    }
}

/// The store by its own name: `postgres:responseTime`.
fn called<'a>(name: &'a str, component: &'a Component) -> &'a str {
    let store = component.details.as_ref().and_then(|details| details["store"].as_str());
    if name == "database" { store.unwrap_or(name) } else { name }
}

fn kind(name: &str) -> &'static str {
    match name {
        "postgres" | "sqlite" | "redis" | "buckets" | "spool" => "datastore",
        "application" | "clock" => "system",
        _ => "component",
    }
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "pass",
        Status::Degraded => "warn",
        Status::Unhealthy => "fail",
    }
}

/// Whether that is named, and nothing else of ours is liked better.
fn prefers_health_json(accept: &str) -> bool {
    let quality_of = |wanted: &[&str]| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_wanted = wanted.contains(&parts.next().unwrap_or_default());
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            is_wanted.then(|| quality.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
        });
        ranges.fold(0.0, f64::max)
    };
    let quality = quality_of(&[HEALTH_JSON]);
    quality > 0.0 && quality >= quality_of(&["application/json"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_which_is_liked_best() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/health+json", true),
            ("application/json;q=0.5, application/health+json", true),
            ("application/health+json;q=0.5, application/json", false),
            ("application/health+json;q=0", false),
            ("text/html, application/health+json;q=0.9, */*;q=0.8", true),
        ] {
            assert_eq!(prefers_health_json(accept), expected, "{accept}");
        }
    }
}
