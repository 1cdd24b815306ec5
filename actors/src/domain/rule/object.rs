//! Selecting what happened to objects: like changes of rows, they are no faults unless a rule says so.

use super::{
    Rule, Rules,
    change::{By, Selected, fault_by, names_of, naming},
};
use crate::domain::{
    event::Severity,
    shape::{cut, secret::without_secrets},
};

/// What is known of something that happened to an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts<'a> {
    pub environment: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    /// `created`, `changed` or `deleted`.
    pub kind: &'a str,
}

impl ObjectFacts<'_> {
    /// The key up to its last slash.
    fn folder(&self) -> &str {
        self.key.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

impl Rules {
    /// The rules that make a fault of it; `None` where it is none.
    #[must_use]
    pub fn select_object(&self, object: &ObjectFacts<'_>) -> Option<Selected> {
        if !self.has_objects {
            return None;
        }
        let selecting = self.selecting(|rule| rule.conditions.select_object(object));
        let naming = naming(&selecting)?;
        let by = fault_by(&selecting, naming).unwrap_or_else(|| By::OF_OBJECT.to_vec());
        Some(selected(names_of(&selecting), naming, &by, object))
    }
}

fn selected(rule: String, naming: &Rule, by: &[By], object: &ObjectFacts<'_>) -> Selected {
    /// Bytes of a key that the title shows.
    const SHOWN: usize = 120;
    // Two rules on one bucket are about different faults.
    let mut parts = vec![naming.name.clone()];
    let mut title = format!("{} in {}", object.kind, object.bucket);
    for by in by {
        let part = match by {
            By::Bucket => object.bucket,
            By::Kind => object.kind,
            By::Folder => object.folder(),
            By::Key => object.key,
            // Of changes; compiling refuses them here.
            By::Database | By::Table | By::Column(_) => "",
        };
        if matches!(by, By::Folder | By::Key) {
            title.push_str(&format!("/{}", cut(part, SHOWN)));
        }
        parts.push(part.to_owned());
    }
    let title = without_secrets(&title).replace(char::is_control, " ");
    Selected { rule, parts, title, severity: Severity::Info }
}
