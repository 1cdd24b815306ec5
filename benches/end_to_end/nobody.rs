//! The store that forgets knows nobody.

use std::time::Duration;

use async_trait::async_trait;
use faultline_actors::{
    adapters::store::{
        StoreError,
        access::{
            AccessError, AccessStore, Account, ApiToken, Digest, NewToken, NewUser, SessionLimits,
            User, UserChange,
        },
        trail::{Note, TrailStore},
    },
    domain::access::{Role, Scope},
};

use super::nothing::Nothing;

#[async_trait]
impl TrailStore for Nothing {
    async fn note(&self, _: Note<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl AccessStore for Nothing {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        Ok(Vec::new())
    }
    async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn account(&self, _: &str) -> Result<Option<Account>, StoreError> {
        Ok(None)
    }
    async fn add_user(&self, _: &NewUser<'_>, _: &str) -> Result<(), AccessError> {
        Ok(())
    }
    async fn change_user(
        &self,
        _: &str,
        _: &UserChange,
        _: Option<Digest>,
        _: &str,
    ) -> Result<(), AccessError> {
        Err(AccessError::NoUser)
    }
    async fn remove_user(&self, _: &str, _: &str) -> Result<(), AccessError> {
        Err(AccessError::NoUser)
    }
    async fn allow_setup(&self, _: Digest, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }
    async fn set_up(&self, _: Digest, _: &NewUser<'_>) -> Result<(), AccessError> {
        Err(AccessError::NoSetup)
    }
    async fn start_session(
        &self,
        _: &str,
        _: &str,
        _: Digest,
        _: SessionLimits,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn session(
        &self,
        _: Digest,
        _: SessionLimits,
    ) -> Result<Option<(String, Role)>, StoreError> {
        Ok(None)
    }
    async fn end_session(&self, _: Digest) -> Result<(), StoreError> {
        Ok(())
    }
    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        Ok(Vec::new())
    }
    async fn add_token(&self, _: &NewToken<'_>, _: &str) -> Result<ApiToken, AccessError> {
        Err(AccessError::TooManyTokens)
    }
    async fn revoke_token(&self, _: i64, _: &str) -> Result<(), AccessError> {
        Err(AccessError::NoToken)
    }
    async fn token(&self, _: Digest) -> Result<Option<(String, Scope)>, StoreError> {
        Ok(None)
    }
}
