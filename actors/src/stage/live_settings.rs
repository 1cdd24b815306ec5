//! Settings that can change while the program runs.
//!
//! `reload ──set──▶ Live<Settings> ──get──▶ whoever works by them`
//!
//! Whoever works by them asks for them at the beginning of a piece of work, and keeps what it was
//! given to the end of it: so nothing is done half by the old settings and half by the new ones.

use std::sync::Arc;

use tokio::sync::watch;

/// A value that is seen by all its clones, and can be replaced. Large ones are held as `Arc<T>`, so
/// that `get` copies a pointer only.
#[derive(Clone, Debug)]
pub struct Live<T> {
    value: Arc<watch::Sender<T>>,
}

impl<T: Clone> Live<T> {
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value: Arc::new(watch::Sender::new(value)) }
    }

    /// The value as it is now.
    #[must_use]
    pub fn get(&self) -> T {
        self.value.borrow().clone()
    }

    /// Replaces the value, for all clones at once.
    pub fn set(&self, value: T) {
        self.value.send_replace(value);
    }

    /// Sees the value now, and with `changed().await` the next one: for those who must do something
    /// when it changes. Who waits for `changed` may be dropped at any time.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<T> {
        self.value.subscribe()
    }
}

impl<T: Clone + Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Clone> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_see_the_new_value_and_who_has_the_old_one_keeps_it() {
        let one = Live::new(Arc::new("old".to_owned()));
        let other = one.clone();
        let kept = other.get();
        one.set(Arc::new("new".to_owned()));
        assert_eq!((kept.as_str(), other.get().as_str()), ("old", "new"));
    }

    #[tokio::test]
    async fn who_watches_hears_of_a_change() {
        let live = Live::new(1);
        live.set(2);
        let mut watch = live.watch();
        assert!(!watch.has_changed().unwrap(), "what was before is no change");
        let setter = live.clone();
        let set = tokio::spawn(async move { setter.set(3) });
        watch.changed().await.unwrap();
        assert_eq!(*watch.borrow_and_update(), 3);
        set.await.unwrap();
    }
}
