//! Passwords: hashed with Argon2id, slowly, so that a stolen table is of little use.
//!
//! Parameters are those that OWASP's Password Storage Cheat Sheet names for Argon2id: 19 MiB of
//! memory, 2 passes, 1 lane.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use tokio::sync::Semaphore;

use crate::secret::Secret;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashed at one time: each takes a processor and 19 MiB.
const AT_ONCE: usize = 2;
/// That may wait for their turn; beyond, people are told to come again.
const WAITING: usize = 32;

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("possible parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash of a password, as a PHC string with a salt of its own. Takes tens of milliseconds.
pub(crate) fn hash(password: &Secret) -> String {
    let hash: PasswordHash = argon2()
        .hash_password(password.expose().as_bytes())
        .expect("Argon2 takes any password that is not gigabytes long");
    hash.to_string()
}

/// Whether `hash` is one of this password; the comparison takes the same time for every hash.
fn verify(password: &Secret, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    argon2().verify_password(password.expose().as_bytes(), &hash).is_ok()
}

/// Too many wait already.
#[derive(Debug)]
pub(super) struct Busy;

/// Hashes passwords on threads that may block, few at a time.
pub(super) struct Hashing {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// Of a password that nobody knows: what is checked where there is no user.
    nobody: String,
}

/// So long a login may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

impl Hashing {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            nobody: hash(&Secret::new(super::Key::new().text())),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Busy)?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Busy)?.expect("never closed");
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself, which goes on when a client goes away.
            let _held = (place, turn);
            work()
        });
        done.await.map_err(|_| Busy)
    }

    pub(super) async fn hash(&self, password: Secret) -> Result<String, Busy> {
        self.run(move || hash(&password)).await
    }

    /// Whether `hash` is one of this password. Without a hash it is not, and takes as long.
    pub(super) async fn verify(
        &self,
        password: Secret,
        hash: Option<String>,
    ) -> Result<bool, Busy> {
        let is_somebody = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        self.run(move || verify(&password, &hash) && is_somebody).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_argon2id_with_owasps_parameters() {
        let password = Secret::new("correct horse battery");
        let hash = hash(&password);
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify(&password, &hash));
        assert!(!verify(&Secret::new("correct horse batterz"), &hash));
        assert!(!verify(&password, "") && !verify(&password, "correct horse battery"));
        assert_ne!(super::hash(&password), hash, "each has its own salt");
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let hashing = Hashing::new();
        let password = Secret::new("correct horse battery");
        assert!(!hashing.verify(password.clone(), None).await.unwrap());
        let hash = hashing.hash(password.clone()).await.unwrap();
        assert!(hashing.verify(password, Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn few_wait() {
        let hashing = Hashing::new();
        let held = hashing.places.clone().acquire_many_owned(34).await.unwrap();
        assert!(hashing.hash(Secret::new("x")).await.is_err());
        drop(held);
        assert!(hashing.hash(Secret::new("x")).await.is_ok());
    }
}
