//! Faults in PostgreSQL: which one each shape belongs to, and what a commit adds to them.
//!
//! Shapes met before are remembered ([`Assignments`]). For new ones a lock is taken, so that hubs
//! that meet the same or similar shapes at once come to one fault: the second one waits, and finds
//! what the first has stored. Lessons (merge, split, pin) exclude commits while they are written.

use std::collections::BTreeMap;

use futures_util::future::{try_join, try_join3};
use tokio_postgres::{Transaction, types::Type};

use super::{commit::Failure, timestamp};
use crate::{
    adapters::store::{
        FaultSum, StoreError, as_i64,
        assignments::{Assignment, Assignments, TEMPLATES},
        fault_list::searched,
    },
    domain::{
        fault::{FaultId, Why},
        time::Micros,
    },
};

/// Advisory locks; any numbers that nobody else uses.
const SHAPES_LOCK: i64 = 0x666C_7432;
pub(super) const LESSONS_LOCK: i64 = 0x666C_7433;

/// Adds what a commit brings to its faults; gives these, each once.
pub(super) async fn add(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assignments: &mut Assignments,
) -> Result<Vec<FaultId>, Failure> {
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    assignments.begin(newest_lesson(transaction).await?);
    let assigned = assign(transaction, sums, assignments).await?;
    let (faults, (), ()) = try_join3(
        count_faults(transaction, sums, &assigned),
        count_shapes(transaction, sums, &assigned),
        count_hours(transaction, sums, &assigned),
    )
    .await?;
    Ok(faults)
}

/// The number of the newest lesson; none is added until the transaction ends.
async fn newest_lesson(transaction: &Transaction<'_>) -> Result<i64, Failure> {
    let lock = "SELECT pg_advisory_xact_lock_shared($1)";
    let newest = "SELECT coalesce(max(id), 0) FROM audit_trail WHERE is_lesson";
    // In two statements, sent together: the second one looks when the first has the lock.
    let (_, rows) = try_join(
        transaction.query_typed(lock, &[(&LESSONS_LOCK, Type::INT8)]),
        transaction.query_typed(newest, &[]),
    )
    .await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

async fn assign(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assignments: &mut Assignments,
) -> Result<Vec<Assignment>, Failure> {
    let mut assigned: Vec<Option<Assignment>> =
        sums.iter().map(|sum| assignments.get(sum)).collect();
    if assigned.contains(&None) {
        transaction
            .query_typed("SELECT pg_advisory_xact_lock($1)", &[(&SHAPES_LOCK, Type::INT8)])
            .await?;
        read_templates(transaction, assignments).await?;
        find_stored(transaction, sums, &mut assigned).await?;
        store_new(transaction, sums, &mut assigned, assignments).await?;
        for (sum, assignment) in sums.iter().zip(&assigned) {
            if let Some(assignment) = assignment {
                assignments.add(sum, *assignment);
            }
        }
    }
    Ok(assigned.into_iter().flatten().collect())
}

/// Reads the templates that this or another hub has stored since.
async fn read_templates(
    transaction: &Transaction<'_>,
    assignments: &mut Assignments,
) -> Result<(), Failure> {
    let rows = transaction
        .query_typed(
            "SELECT id, environment, service, template, fault FROM fault_shapes WHERE id > $1
             ORDER BY id DESC LIMIT $2",
            &[(&assignments.newest_shape, Type::INT8), (&TEMPLATES, Type::INT8)],
        )
        .await?;
    for row in rows.iter().rev() {
        let scope: (&str, &str) = (row.get(1), row.get(2));
        assignments.gathering.add(&scope, row.get(3), row.get(4));
        assignments.newest_shape = row.get(0);
    }
    Ok(())
}

fn texts(sums: &[&FaultSum<'_>], get: fn(&FaultSum<'_>) -> String) -> Vec<String> {
    sums.iter().map(|sum| get(sum)).collect()
}

/// Shapes that are stored but not remembered.
async fn find_stored(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assigned: &mut [Option<Assignment>],
) -> Result<(), Failure> {
    let unknown: Vec<usize> = (0..sums.len()).filter(|index| assigned[*index].is_none()).collect();
    let wanted: Vec<&FaultSum<'_>> = unknown.iter().map(|index| &sums[*index]).collect();
    let rows = transaction
        .query_typed(
            "SELECT wanted.at, shape.id, shape.fault
             FROM unnest($1::text[], $2::text[], $3::text[])
                 WITH ORDINALITY AS wanted (environment, service, fingerprint, at)
             JOIN fault_shapes AS shape USING (environment, service, fingerprint)",
            &[
                (&texts(&wanted, |sum| sum.environment.to_owned()), Type::TEXT_ARRAY),
                (&texts(&wanted, |sum| sum.service.to_owned()), Type::TEXT_ARRAY),
                (&texts(&wanted, |sum| sum.fingerprint.to_string()), Type::TEXT_ARRAY),
            ],
        )
        .await?;
    for row in rows {
        let at = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        if let Some(index) = unknown.get(at) {
            assigned[*index] = Some(Assignment { shape: row.get(1), fault: row.get(2) });
        }
    }
    Ok(())
}

/// Shapes that nobody has met before: each joins a fault or founds one.
async fn store_new(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assigned: &mut [Option<Assignment>],
    assignments: &mut Assignments,
) -> Result<(), Failure> {
    let new: Vec<usize> = (0..sums.len()).filter(|index| assigned[*index].is_none()).collect();
    if new.is_empty() {
        return Ok(());
    }
    let (faults, shapes) = try_join(
        reserve(transaction, "faults", new.len()),
        reserve(transaction, "fault_shapes", new.len()),
    )
    .await?;
    let mut founders = Vec::new();
    let mut joined = Vec::new();
    for ((index, shape), free) in new.iter().zip(shapes).zip(faults) {
        let sum = &sums[*index];
        let scope = (sum.environment, sum.service);
        let found = assignments.gathering.find(&scope, sum.template);
        let (fault, why) = found.unwrap_or((free, Why::New));
        if why == Why::New {
            founders.push((fault, sum));
        }
        assignments.gathering.add(&scope, sum.template, fault);
        assignments.newest_shape = assignments.newest_shape.max(shape);
        assigned[*index] = Some(Assignment { shape, fault });
        joined.push((Assignment { shape, fault }, why, sum));
    }
    try_join3(
        add_founded(transaction, &founders),
        add_shapes(transaction, &joined),
        add_texts(transaction, &joined),
    )
    .await?;
    Ok(())
}

/// Numbers of rows to come, in ascending order.
async fn reserve(
    transaction: &Transaction<'_>,
    table: &str,
    count: usize,
) -> Result<Vec<i64>, Failure> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let sql = "SELECT nextval(pg_get_serial_sequence($1, 'id')) FROM generate_series(1, $2)";
    let rows = transaction.query_typed(sql, &[(&table, Type::TEXT), (&count, Type::INT8)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn add_founded(
    transaction: &Transaction<'_>,
    founders: &[(FaultId, &FaultSum<'_>)],
) -> Result<(), Failure> {
    let ids: Vec<i64> = founders.iter().map(|(fault, _)| *fault).collect();
    let sums: Vec<&FaultSum<'_>> = founders.iter().map(|(_, sum)| *sum).collect();
    transaction
        .query_typed(
            "INSERT INTO faults (id, environment, service, fingerprint, kind, severity, title, rule,
                 example, count, first_seen, last_seen)
             OVERRIDING SYSTEM VALUE
             SELECT id, environment, service, fingerprint, kind, severity, title, rule, example, 0,
                 seen, seen
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                 $7::text[], $8::text[], $9::text[], $10::timestamptz[]) AS new (id, environment,
                 service, fingerprint, kind, severity, title, rule, example, seen)",
            &[
                (&ids, Type::INT8_ARRAY),
                (&texts(&sums, |sum| sum.environment.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.service.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.fingerprint.to_string()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.kind.name().to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.severity.name().to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.title.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.rule.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.example.to_owned()), Type::TEXT_ARRAY),
                (&times(&sums, |sum| sum.first_seen), Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

async fn add_shapes(
    transaction: &Transaction<'_>,
    joined: &[(Assignment, Why, &FaultSum<'_>)],
) -> Result<(), Failure> {
    let ids: Vec<i64> = joined.iter().map(|(assignment, ..)| assignment.shape).collect();
    let faults: Vec<i64> = joined.iter().map(|(assignment, ..)| assignment.fault).collect();
    let whys: Vec<&str> = joined.iter().map(|(_, why, _)| why.name()).collect();
    let details: Vec<&str> = joined.iter().map(|(_, why, _)| why.detail()).collect();
    let sums: Vec<&FaultSum<'_>> = joined.iter().map(|(.., sum)| *sum).collect();
    transaction
        .query_typed(
            "INSERT INTO fault_shapes (id, environment, service, fingerprint, fault, title, template,
                 why, detail, count, first_seen, last_seen)
             OVERRIDING SYSTEM VALUE
             SELECT id, environment, service, fingerprint, fault, title, template, why, detail, 0,
                 seen, seen
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                 $7::text[], $8::text[], $9::text[], $10::timestamptz[]) AS new (id, environment,
                 service, fingerprint, fault, title, template, why, detail, seen)",
            &[
                (&ids, Type::INT8_ARRAY),
                (&texts(&sums, |sum| sum.environment.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.service.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.fingerprint.to_string()), Type::TEXT_ARRAY),
                (&faults, Type::INT8_ARRAY),
                (&texts(&sums, |sum| sum.title.to_owned()), Type::TEXT_ARRAY),
                (&texts(&sums, |sum| sum.template.to_owned()), Type::TEXT_ARRAY),
                (&whys, Type::TEXT_ARRAY),
                (&details, Type::TEXT_ARRAY),
                (&times(&sums, |sum| sum.first_seen), Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

/// What searches look through.
async fn add_texts(
    transaction: &Transaction<'_>,
    joined: &[(Assignment, Why, &FaultSum<'_>)],
) -> Result<(), Failure> {
    let ids: Vec<i64> = joined.iter().map(|(assignment, ..)| assignment.shape).collect();
    let faults: Vec<i64> = joined.iter().map(|(assignment, ..)| assignment.fault).collect();
    let text = |sum: &FaultSum<'_>| searched(sum.title, sum.template, sum.example);
    let texts: Vec<String> = joined.iter().map(|(.., sum)| text(sum)).collect();
    transaction
        .query_typed(
            "INSERT INTO fault_texts (shape, fault, text)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])",
            &[(&ids, Type::INT8_ARRAY), (&faults, Type::INT8_ARRAY), (&texts, Type::TEXT_ARRAY)],
        )
        .await?;
    Ok(())
}

fn times(sums: &[&FaultSum<'_>], get: fn(&FaultSum<'_>) -> Micros) -> Vec<jiff::Timestamp> {
    sums.iter().map(|sum| timestamp(get(sum))).collect()
}

/// Adds to the faults, each row once, locking them in one order; gives them.
async fn count_faults(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assigned: &[Assignment],
) -> Result<Vec<FaultId>, Failure> {
    let mut deltas: BTreeMap<FaultId, (i64, Micros, Micros, &str)> = BTreeMap::new();
    for (sum, Assignment { fault, .. }) in sums.iter().zip(assigned) {
        let first = (0, sum.first_seen, sum.last_seen, sum.latest);
        let (count, first_seen, last_seen, latest) = deltas.entry(*fault).or_insert(first);
        *count += as_i64(sum.count);
        *first_seen = sum.first_seen.min(*first_seen);
        if sum.last_seen > *last_seen {
            (*last_seen, *latest) = (sum.last_seen, sum.latest);
        }
    }
    let ids: Vec<i64> = deltas.keys().copied().collect();
    let counts: Vec<i64> = deltas.values().map(|delta| delta.0).collect();
    let first: Vec<_> = deltas.values().map(|delta| timestamp(delta.1)).collect();
    let last: Vec<_> = deltas.values().map(|delta| timestamp(delta.2)).collect();
    let latest: Vec<&str> = deltas.values().map(|delta| delta.3).collect();
    let rows = transaction
        .query_typed(
            "WITH locked AS MATERIALIZED
                 (SELECT id FROM faults WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)
             UPDATE faults SET
                 count = faults.count + delta.count,
                 first_seen = least(faults.first_seen, delta.first_seen),
                 last_seen = greatest(faults.last_seen, delta.last_seen),
                 latest = CASE WHEN delta.last_seen >= faults.last_seen THEN delta.latest
                     ELSE faults.latest END
             FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::text[])
                 AS delta (id, count, first_seen, last_seen, latest)
             JOIN locked USING (id)
             WHERE faults.id = delta.id RETURNING faults.id",
            &[
                (&ids, Type::INT8_ARRAY),
                (&counts, Type::INT8_ARRAY),
                (&first, Type::TIMESTAMPTZ_ARRAY),
                (&last, Type::TIMESTAMPTZ_ARRAY),
                (&latest, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    if rows.len() != ids.len() {
        let problem = "a fault that was there is gone; looking again".to_owned();
        return Err(Failure::Other(StoreError::Unavailable(problem)));
    }
    Ok(ids)
}

async fn count_shapes(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assigned: &[Assignment],
) -> Result<(), Failure> {
    let ids: Vec<i64> = assigned.iter().map(|assignment| assignment.shape).collect();
    let counts: Vec<i64> = sums.iter().map(|sum| as_i64(sum.count)).collect();
    let sums: Vec<&FaultSum<'_>> = sums.iter().collect();
    transaction
        .query_typed(
            "UPDATE fault_shapes SET
                 count = fault_shapes.count + delta.count,
                 first_seen = least(fault_shapes.first_seen, delta.first_seen),
                 last_seen = greatest(fault_shapes.last_seen, delta.last_seen)
             FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
                 AS delta (id, count, first_seen, last_seen)
             WHERE fault_shapes.id = delta.id",
            &[
                (&ids, Type::INT8_ARRAY),
                (&counts, Type::INT8_ARRAY),
                (&times(&sums, |sum| sum.first_seen), Type::TIMESTAMPTZ_ARRAY),
                (&times(&sums, |sum| sum.last_seen), Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

/// Adds to the hours of shapes. Whoever adds to a shape holds its fault; sorted all the same.
async fn count_hours(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assigned: &[Assignment],
) -> Result<(), Failure> {
    let mut hours: Vec<(i64, jiff::Timestamp, i64)> = Vec::with_capacity(sums.len());
    for (sum, Assignment { shape, .. }) in sums.iter().zip(assigned) {
        let of_sum = sum.hours.iter();
        hours.extend(of_sum.map(|(hour, count)| (*shape, timestamp(*hour), as_i64(*count))));
    }
    hours.sort_unstable();
    let shapes: Vec<i64> = hours.iter().map(|(shape, ..)| *shape).collect();
    let starts: Vec<jiff::Timestamp> = hours.iter().map(|(_, hour, _)| *hour).collect();
    let counts: Vec<i64> = hours.iter().map(|(.., count)| *count).collect();
    transaction
        .query_typed(
            "INSERT INTO fault_hours (shape, hour, count)
             SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[])
             ON CONFLICT (shape, hour) DO UPDATE SET count = fault_hours.count + excluded.count",
            &[
                (&shapes, Type::INT8_ARRAY),
                (&starts, Type::TIMESTAMPTZ_ARRAY),
                (&counts, Type::INT8_ARRAY),
            ],
        )
        .await?;
    Ok(())
}
