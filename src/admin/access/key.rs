//! Secrets that Faultline makes: 256 random bits each, so that a fast hash is enough to keep them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use faultline_actors::adapters::store::access::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

const BYTES: usize = 32;
/// So that people, and scanners of repositories, know what they have found.
const TOKEN_PREFIX: &str = "flt_";

/// A secret. It never shows itself, but where it is given to whom it belongs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key([u8; BYTES]);

impl Key {
    /// A new one, from the system's generator.
    pub(crate) fn new() -> Self {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).expect("Linux has random bytes once it has started");
        Self(bytes)
    }

    /// Reads what [`Key::text`] wrote.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Reads what [`Key::token`] wrote.
    pub(crate) fn of_token(token: &str) -> Option<Self> {
        Self::of_text(token.strip_prefix(TOKEN_PREFIX)?)
    }

    pub(crate) fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// As an API token.
    pub(crate) fn token(&self) -> String {
        format!("{TOKEN_PREFIX}{}", self.text())
    }

    /// What the store knows of it.
    pub(crate) fn digest(&self) -> Digest {
        Sha256::digest(self.0).into()
    }

    /// Another secret for another purpose. Neither it nor the digest tells anything about the other
    /// one, so that it need not be kept.
    pub(crate) fn derive(&self, purpose: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(purpose.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_again_and_no_other_one() {
        let key = Key::new();
        assert!(Key::of_text(&key.text()).unwrap() == key);
        assert!(Key::of_token(&key.token()).unwrap() == key);
        assert!(Key::new() != key);
        assert_eq!(key.token().len(), 4 + 43);
        for text in ["", "flt_", "!", &key.text()[1..], &format!("{}A", key.text())] {
            assert!(Key::of_text(text).is_none(), "{text}");
        }
        assert!(Key::of_token(&key.text()).is_none());
        assert_ne!(key.derive("one"), key.derive("other"));
    }
}
