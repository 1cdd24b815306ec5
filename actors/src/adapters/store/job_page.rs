//! Lists of jobs, a page at a time.

use std::time::{Duration, Instant};

use super::{
    StoreError,
    jobs::{JobFilter, JobId, JobStore, StoredJob},
};

/// A page of a list of jobs.
#[derive(Clone, Debug)]
pub struct JobPage {
    pub jobs: Vec<StoredJob>,
    /// The next page starts below this job.
    pub next: Option<JobId>,
    /// The time was over before the page was full.
    pub is_cut: bool,
}

/// Jobs among which a text is looked for at a time.
const WINDOW: u32 = 2_000;

/// The newest jobs of a filter, and where to go on. Texts have no index: the search goes through a
/// filter's jobs window by window, for about as long as `budget`, and the next page goes on there.
///
/// # Errors
/// When the store does not answer.
pub async fn job_page(
    store: &(impl JobStore + ?Sized),
    filter: &JobFilter,
    limit: u32,
    budget: Duration,
) -> Result<JobPage, StoreError> {
    if filter.text.is_none() {
        let mut jobs = store.jobs(filter, limit.saturating_add(1)).await?;
        let has_more = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        let next = jobs.last().filter(|_| has_more).map(|job| job.id);
        return Ok(JobPage { jobs, next, is_cut: false });
    }
    let started = Instant::now();
    let mut filter = filter.clone();
    let mut page = JobPage { jobs: Vec::new(), next: None, is_cut: false };
    while let Some(from) = store.job_window(&filter, WINDOW).await? {
        filter.from = Some(from);
        let wanted = limit.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(limit));
        page.jobs.extend(store.jobs(&filter, wanted).await?);
        filter.before = Some(from);
        filter.from = None;
        if page.jobs.len() >= limit as usize {
            page.next = page.jobs.last().map(|job| job.id);
            break;
        }
        if started.elapsed() > budget {
            (page.next, page.is_cut) = (Some(from), true);
            break;
        }
    }
    Ok(page)
}
