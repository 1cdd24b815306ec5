//! TLS to PostgreSQL, by `sslmode`, against a real server.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::time::Duration;

use faultline_actors::adapters::store::{Store, postgres};
use faultline_testkit::postgres::Postgres;

/// Whether the store can be reached with these parameters in its URL; why not otherwise.
async fn reaches(server: &Postgres, host: &str, parameters: &str) -> Result<(), String> {
    let url = format!("postgres://postgres@{host}:{}/postgres?{parameters}", server.port());
    let limit = Duration::from_secs(10);
    let store = postgres::Postgres::new(&url, 2, limit, limit).unwrap();
    store.ping().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_connection_is_as_safe_as_sslmode_says() {
    let server = Postgres::start_with_tls("localhost");
    let trusting = format!("sslmode=verify-full&sslrootcert={}", server.certificate().display());
    for parameters in ["sslmode=disable", "", "sslmode=require", &trusting] {
        assert_eq!(reaches(&server, "localhost", parameters).await, Ok(()), "{parameters}");
    }
    let stranger = reaches(&server, "localhost", "sslmode=verify-full").await.unwrap_err();
    assert!(
        stranger.contains("UnknownIssuer") || stranger.contains("unknown issuer"),
        "{stranger}"
    );
    let elsewhere = reaches(&server, "127.0.0.1", &trusting).await.unwrap_err();
    assert!(elsewhere.contains("not valid for"), "{elsewhere}");
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered_and_missed_where_it_is_required() {
    let server = Postgres::start_with_tls("localhost");
    let url = format!("postgres://postgres@localhost:{}/postgres", server.port());
    let limit = Duration::from_secs(10);
    let store = postgres::Postgres::new(&url, 2, limit, limit).unwrap();
    store.ping().await.unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'faultline' AND ssl";
    assert_eq!(server.number(encrypted).await, 1);

    let plain = Postgres::start();
    let refused = reaches(&plain, "localhost", "sslmode=require").await.unwrap_err();
    assert!(refused.contains("does not support TLS"), "{refused}");
}
