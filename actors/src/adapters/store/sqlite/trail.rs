//! [`TrailStore`] for SQLite.

use async_trait::async_trait;
use rusqlite::params;

use super::{Sqlite, on};
use crate::adapters::{
    clock,
    store::{
        StoreError,
        trail::{Note, TrailStore},
    },
};

#[async_trait]
impl TrailStore for Sqlite {
    async fn note(&self, note: Note<'_>) -> Result<(), StoreError> {
        let texts = [note.who, note.action, note.subject].map(str::to_owned);
        let details = note.details.to_string();
        on(&self.writer, move |connection| {
            let [who, action, subject] = texts;
            connection.execute(
                "INSERT INTO audit_trail (at, who, action, subject, details)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![clock::now(), who, action, subject, details],
            )?;
            Ok(())
        })
        .await
    }
}
