//! `faultline recount`: compares the statistics by day with what is there, counted anew.
//!
//! Events are counted in the store, and in archives of the same day; a day of which events are in
//! neither, or in both, or on their way from one to the other, is not compared. Ends of jobs are counted in
//! the audit trail, on the days that it tells of as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use faultline_actors::{
    adapters::{
        archive::{Manifest, Reader},
        clock,
        store::{
            Store,
            retention::{Counted, CountedJobs, GoneDay, Recount, RestoredDay, Stage},
            statistics::Days,
        },
    },
    domain::retention::{day_of, oldest_kept},
};
use jiff::{ToSpan, civil::Date};

use crate::{cli::say, config::Config, open_store};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Days (2026-11-22, in UTC); all of which there are events in the store by default.
    #[arg(long, value_name = "DAY")]
    day: Vec<Date>,
    /// Archives whose events count as well, unless they are restored.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    archive: Vec<PathBuf>,
    /// Make the statistics say what is there.
    #[arg(long)]
    repair: bool,
}

/// Says each difference; fails where there is one and it was not repaired.
///
/// # Errors
/// When the store or an archive cannot be read.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let store = open_store(&config.store)?;
    let mut archives: BTreeMap<Date, Vec<(PathBuf, Manifest)>> = BTreeMap::new();
    for path in arguments.archive {
        let manifest = Manifest::read(&path)?;
        archives.entry(manifest.day).or_default().push((path, manifest));
    }
    let mut days: BTreeSet<Date> = arguments.day.into_iter().collect();
    if days.is_empty() {
        days.extend(store.event_days().await?.into_iter().map(|it| it.day));
        days.extend(archives.keys());
    }
    let mut differ = 0;
    for day in &days {
        let given = archives.get(day).map_or(&[][..], Vec::as_slice);
        let Some(recount) = count_day(&*store, *day, given).await? else { continue };
        let differences = recount.differences();
        for one in &differences {
            say(&told(one));
        }
        differ += differences.len();
        if arguments.repair && !differences.is_empty() {
            store.correct(&differences).await?;
        }
    }
    differ += recount_jobs(&*store, &days, config, arguments.repair).await?;
    let what = if arguments.repair { "differences repaired" } else { "differences" };
    say(&format!("{} days compared: {differ} {what}", days.len()));
    let is_well = differ == 0 || arguments.repair;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the statistics say of a day, and what is there; `None` where that cannot be known.
async fn count_day(
    store: &dyn Store,
    day: Date,
    archives: &[(PathBuf, Manifest)],
) -> anyhow::Result<Option<Recount<Counted>>> {
    let before = Left::of(store, day).await?;
    let mut wanted = match before.wanted(archives) {
        Ok(wanted) => wanted,
        Err(why) => {
            say(&format!("{day}: not compared, {why}"));
            return Ok(None);
        }
    };
    let mut recount = store.recount(Days { since: day, until: day }).await?;
    // Events that have left or come back meanwhile may have been counted or not.
    if Left::of(store, day).await? != before {
        say(&format!("{day}: not compared, some of its events are leaving or coming back"));
        return Ok(None);
    }
    for (path, manifest) in archives {
        // Once, however often it is given.
        if wanted.remove(&manifest.id.to_string()) {
            let found = count_archive(path).with_context(|| path.display().to_string())?;
            recount.found.extend(found);
        }
    }
    Ok(Some(recount))
}

/// What has left of a day, and what of that is back.
#[derive(PartialEq)]
struct Left {
    gone: Vec<GoneDay>,
    back: Vec<RestoredDay>,
}

impl Left {
    async fn of(store: &dyn Store, day: Date) -> anyhow::Result<Self> {
        let mut back = store.restored_days().await?;
        back.retain(|it| it.day == day);
        Ok(Self { gone: store.gone_between(Days { since: day, until: day }).await?, back })
    }

    /// The archives whose events must be counted beside the store's, or why that would be wrong.
    fn wanted(&self, archives: &[(PathBuf, Manifest)]) -> Result<BTreeSet<String>, String> {
        if let Some(back) = self.back.iter().find(|back| back.restored != back.events) {
            let RestoredDay { file, restored, events, .. } = back;
            return Err(format!("{restored} of {events} events of {file} are back"));
        }
        let mut wanted = BTreeSet::new();
        for gone in &self.gone {
            if gone.stage != Stage::Dropped {
                return Err("its events are on their way out".to_owned());
            }
            if is_elsewhere(gone) || self.back.iter().any(|back| back.archive == gone.id) {
                continue;
            }
            if !archives.iter().any(|(_, manifest)| manifest.id.to_string() == gone.id) {
                let file = gone.file.as_ref();
                let place = file.map_or("dropped".to_owned(), |file| format!("in {file}"));
                return Err(format!("{} of its events are {place}", gone.events));
            }
            wanted.insert(gone.id.clone());
        }
        Ok(wanted)
    }
}

/// Whether its events are in other archives.
fn is_elsewhere(gone: &GoneDay) -> bool {
    gone.events == 0
        || gone.kept_in.is_some()
        || gone.file.is_none() && gone.restored == gone.events
}

fn count_archive(path: &Path) -> std::io::Result<Vec<Counted>> {
    const CHUNK: usize = 10_000;
    let (_, mut reader) = Reader::open(path)?;
    let mut sums: BTreeMap<Counted, (i64, i64)> = BTreeMap::new();
    while let Some(events) = reader.next_chunk(CHUNK)? {
        for event in events {
            let group = Counted {
                day: day_of(event.received_at),
                environment: event.environment,
                service: event.service,
                kind: event.kind,
                severity: event.severity,
                source: event.source,
                events: 0,
                messages: 0,
            };
            let sum = sums.entry(group).or_default();
            *sum = (sum.0 + 1, sum.1 + i64::from(event.messages));
        }
    }
    let counted = |(group, (events, messages))| Counted { events, messages, ..group };
    Ok(sums.into_iter().map(counted).collect())
}

/// As far back as the audit trail is kept: by the settings, for it may be about to go, and by what the
/// store finds. Gives how many differ.
async fn recount_jobs(
    store: &dyn Store,
    days: &BTreeSet<Date>,
    config: &Config,
    is_repaired: bool,
) -> anyhow::Result<usize> {
    let (Some(&first), Some(&until)) = (days.first(), days.last()) else { return Ok(0) };
    let keep = config.retention.audit_trail;
    let kept = (!keep.is_zero()).then(|| oldest_kept(keep, clock::now()).saturating_add(1.day()));
    let since = kept.map_or(first, |kept| kept.max(first));
    if since > until {
        return Ok(0);
    }
    let recount = store.recount_jobs(Days { since, until }).await?;
    let is_asked = |one: &CountedJobs| days.contains(&one.day);
    let differences: Vec<CountedJobs> =
        recount.differences().into_iter().filter(is_asked).collect();
    for CountedJobs { day, environment, action, outcome, count } in &differences {
        say(&format!("{day}: jobs {environment}/{action}/{outcome}: {count:+}"));
    }
    if is_repaired && !differences.is_empty() {
        store.correct_jobs(&differences).await?;
    }
    Ok(differences.len())
}

fn told(one: &Counted) -> String {
    let Counted { day, environment, service, kind, severity, source, events, messages } = one;
    format!(
        "{day}: events {environment}/{service}/{kind}/{severity}/{source}: {events:+}, messages \
         {messages:+}"
    )
}
