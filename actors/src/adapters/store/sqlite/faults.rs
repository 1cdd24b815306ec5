//! Faults in SQLite: which one each shape belongs to, and what a commit adds to them. One process
//! writes at a time, so no lock is needed.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::{
    adapters::store::{
        FaultSum, StoreError, as_i64,
        assignments::{Assignment, Assignments, TEMPLATES},
        fault_list::searched,
    },
    domain::fault::{FaultId, Why},
};

/// Adds what a commit brings to its faults; gives these, each once.
pub(super) fn add(
    transaction: &Transaction<'_>,
    sums: &[FaultSum<'_>],
    assignments: &mut Assignments,
) -> Result<Vec<FaultId>, StoreError> {
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    let mut faults = BTreeSet::new();
    // Another process may have taught: the command line.
    let newest_lesson = "SELECT coalesce(max(id), 0) FROM audit_trail WHERE is_lesson";
    assignments.begin(transaction.prepare_cached(newest_lesson)?.query_one([], |row| row.get(0))?);
    let mut count_shape = transaction.prepare_cached(
        "UPDATE fault_shapes SET count = count + ?2, first_seen = min(first_seen, ?3),
             last_seen = max(last_seen, ?4) WHERE id = ?1",
    )?;
    let mut count_fault = transaction.prepare_cached(
        "UPDATE faults SET count = count + ?2, first_seen = min(first_seen, ?3),
             latest = CASE WHEN ?4 >= last_seen THEN ?5 ELSE latest END,
             last_seen = max(last_seen, ?4) WHERE id = ?1",
    )?;
    let mut count_hour = transaction.prepare_cached(
        "INSERT INTO fault_hours (shape, hour, count) VALUES (?1, ?2, ?3)
         ON CONFLICT (shape, hour) DO UPDATE SET count = count + excluded.count",
    )?;
    for sum in sums {
        let assigned = match assignments.get(sum) {
            Some(assigned) => assigned,
            None => assign(transaction, sum, assignments)?,
        };
        let (count, first, last) = (as_i64(sum.count), sum.first_seen, sum.last_seen);
        count_shape.execute(params![assigned.shape, count, first, last])?;
        if count_fault.execute(params![assigned.fault, count, first, last, sum.latest])? != 1 {
            let problem = "a fault that was there is gone; looking again".to_owned();
            return Err(StoreError::Unavailable(problem));
        }
        for (hour, count) in &sum.hours {
            count_hour.execute(params![assigned.shape, hour, as_i64(*count)])?;
        }
        faults.insert(assigned.fault);
    }
    Ok(faults.into_iter().collect())
}

/// A shape that is not remembered: stored already, or new.
fn assign(
    transaction: &Transaction<'_>,
    sum: &FaultSum<'_>,
    assignments: &mut Assignments,
) -> Result<Assignment, StoreError> {
    let stored = transaction
        .prepare_cached(
            "SELECT id, fault FROM fault_shapes
             WHERE environment = ?1 AND service = ?2 AND fingerprint = ?3",
        )?
        .query_row(params![sum.environment, sum.service, sum.fingerprint.to_string()], |row| {
            Ok(Assignment { shape: row.get(0)?, fault: row.get(1)? })
        })
        .optional()?;
    let assigned = match stored {
        Some(stored) => stored,
        None => store_new(transaction, sum, assignments)?,
    };
    assignments.add(sum, assigned);
    Ok(assigned)
}

/// A shape that was never met before: it joins a fault or founds one.
fn store_new(
    transaction: &Transaction<'_>,
    sum: &FaultSum<'_>,
    assignments: &mut Assignments,
) -> Result<Assignment, StoreError> {
    read_templates(transaction, assignments)?;
    let scope = (sum.environment, sum.service);
    let (fault, why) = match assignments.gathering.find(&scope, sum.template) {
        Some(found) => found,
        None => (found_fault(transaction, sum)?, Why::New),
    };
    transaction
        .prepare_cached(
            "INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template,
                 why, detail, count, first_seen, last_seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?9)",
        )?
        .execute(params![
            sum.environment,
            sum.service,
            sum.fingerprint.to_string(),
            fault,
            sum.title,
            sum.template,
            why.name(),
            why.detail(),
            sum.first_seen,
        ])?;
    let shape = transaction.last_insert_rowid();
    transaction
        .prepare_cached("INSERT INTO fault_texts (shape, fault, text) VALUES (?1, ?2, ?3)")?
        .execute(params![shape, fault, searched(sum.title, sum.template, sum.example)])?;
    assignments.gathering.add(&scope, sum.template, fault);
    assignments.newest_shape = shape;
    Ok(Assignment { shape, fault })
}

fn found_fault(transaction: &Transaction<'_>, sum: &FaultSum<'_>) -> Result<FaultId, StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, rule,
                 example, count, first_seen, last_seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?9)",
        )?
        .execute(params![
            sum.environment,
            sum.service,
            sum.fingerprint.to_string(),
            sum.kind.name(),
            sum.severity.name(),
            sum.title,
            sum.rule,
            sum.example,
            sum.first_seen,
        ])?;
    Ok(transaction.last_insert_rowid())
}

/// Reads the templates that were stored since.
fn read_templates(
    transaction: &Transaction<'_>,
    assignments: &mut Assignments,
) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, environment, service, template, fault FROM
             (SELECT * FROM fault_shapes WHERE id > ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
    )?;
    let mut rows = statement.query(params![assignments.newest_shape, TEMPLATES])?;
    while let Some(row) = rows.next()? {
        let (environment, service): (String, String) = (row.get(1)?, row.get(2)?);
        let template: String = row.get(3)?;
        let scope = (environment.as_str(), service.as_str());
        assignments.gathering.add(&scope, &template, row.get(4)?);
        assignments.newest_shape = row.get(0)?;
    }
    Ok(())
}
