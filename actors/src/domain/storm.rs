//! Storms: more new faults than tickets are made for. One ticket stands for all of them, and says
//! how it goes.

use std::fmt::Write as _;

use super::fault::FaultId;

/// A storm as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    pub environment: String,
    /// Its own fault, which has its ticket; `None` where faults are held back, but the storm was
    /// not begun yet.
    pub fault: Option<FaultId>,
    /// Faults that are held back now, and the titles of those met most often, with their counts.
    pub held: u64,
    pub top: Vec<(String, u64)>,
    /// New tickets of the environment within the window.
    pub recent: u64,
}

impl Storm {
    /// The ticket's summary.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("[{}] Storm: more new faults than tickets", self.environment)
    }

    /// The ticket's description, as a neutral text.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = format!(
            "More new faults turn up in {} than tickets are made for. They are counted; each gets \
             its ticket when there is room for it, those met most often first.\n\n\
             Faults held back: {}\n\n",
            self.environment, self.held
        );
        for (title, count) in &self.top {
            let _ = writeln!(text, "- {count} × {title}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticket_says_what_is_held_back() {
        let storm = Storm {
            environment: "production".to_owned(),
            fault: Some(7),
            held: 2,
            top: vec![("the door is open".to_owned(), 40), ("the gate is open".to_owned(), 3)],
            recent: 20,
        };
        assert_eq!(storm.summary(), "[production] Storm: more new faults than tickets");
        let digest = storm.digest();
        assert!(digest.contains("Faults held back: 2"), "{digest}");
        assert!(digest.ends_with("- 40 × the door is open\n- 3 × the gate is open\n"), "{digest}");
    }
}
