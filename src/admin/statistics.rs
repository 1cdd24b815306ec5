//! `GET /api/statistics`: how much there was, day by day.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use faultline_actors::adapters::store::statistics::{By, DayCount, Days, JobDayCount};
use jiff::{ToSpan, civil::Date};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Admin, Asked, asked, away, page::word};
use crate::problem::Problem;

/// Days in one answer.
const MOST: i32 = 366;
/// Days where none are asked for.
const USUAL: i32 = 30;

/// Which days.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// The first day (`2026-11-22`, in UTC); 30 days before the last by default.
    since: Option<String>,
    /// The last day; today by default. At most 366 days are possible.
    until: Option<String>,
    /// What events are told apart by: `day` (not at all), `environment`, `service`, `severity`,
    /// `kind` or `source`.
    by: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Statistics {
    /// Events that were stored, by the day on which they were received. `key` is one of the hundred
    /// with most events; the others are `(others)`.
    days: Vec<DayCount>,
    /// How jobs ended: one that died and was done later counts as both.
    jobs: Vec<JobDayCount>,
}

/// Events and ends of jobs by day.
#[utoipa::path(get, path = "/api/statistics", tag = "statistics", params(List),
    responses((status = 200, body = Statistics), Problem))]
pub(super) async fn statistics(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<Statistics>, Problem> {
    let list = asked(query)?;
    let by = word("by", list.by.as_deref(), By::from_name, &By::ALL.map(By::name))?;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let days = days_of(&list, today)?;
    let jobs = admin.store.job_statistics(days).await.map_err(away)?;
    let days = admin.store.statistics(days, by.unwrap_or_default()).await.map_err(away)?;
    Ok(Json(Statistics { days, jobs }))
}

fn days_of(list: &List, today: Date) -> Result<Days, Problem> {
    let refused = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let day = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => {
            let date: Option<Date> = text.parse().ok();
            // As the stores write days: neither can hold others.
            let date = date.filter(|date| date.year() > 0 && date.to_string() == *text);
            let problem = || refused(format!("{name}={text:?}: a day is needed, as 2026-11-22"));
            date.map(Some).ok_or_else(problem)
        }
    };
    let until = day("until", &list.until)?.unwrap_or(today);
    let usual = until.saturating_sub((USUAL - 1).days());
    let since = day("since", &list.since)?.unwrap_or(usual);
    let count = (until - since).get_days();
    if !(0..MOST).contains(&count) {
        return Err(refused(format!(
            "since={since}, until={until}: 1 to {MOST} days are possible"
        )));
    }
    Ok(Days { since, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(since: Option<&str>, until: Option<&str>) -> Option<(String, String)> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let list = List { since: own(since), until: own(until), by: None };
        let days = days_of(&list, "2026-11-22".parse().unwrap()).ok()?;
        Some((days.since.to_string(), days.until.to_string()))
    }

    #[test]
    fn days_are_bounded() {
        let are = |since: &str, until: &str| Some((since.to_owned(), until.to_owned()));
        assert_eq!(days(None, None), are("2026-10-24", "2026-11-22"));
        assert_eq!(days(Some("2026-11-22"), None), are("2026-11-22", "2026-11-22"));
        assert_eq!(days(None, Some("2026-01-30")), are("2026-01-01", "2026-01-30"));
        assert_eq!(days(Some("2025-11-22"), None), are("2025-11-22", "2026-11-22"));
        for (since, until) in [
            ("2025-11-21", "2026-11-22"),
            ("2026-11-23", "2026-11-22"),
            ("-009999-01-01", "2026-11-22"),
            ("20261122", "2026-11-22"),
            ("today", "2026-11-22"),
        ] {
            assert_eq!(days(Some(since), Some(until)), None, "{since}");
        }
    }
}
