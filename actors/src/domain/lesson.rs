//! What people teach: which fault a shape belongs to, against what the similarity said.

use super::fault::FaultId;

/// A correction. It holds for the shapes it names, for ever, and for later ones similar to them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lesson {
    /// Both are one: all shapes and counts of `fault` go to `into`.
    Merge { fault: FaultId, into: FaultId },
    /// The shape is a fault of its own.
    Split { fault: FaultId, fingerprint: String },
    /// Reports that name this fingerprint belong to the fault.
    Pin { fault: FaultId, name: String },
}

impl Lesson {
    /// The word for it in the audit trail.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::Merge { .. } => "fault.merge",
            Self::Split { .. } => "fault.split",
            Self::Pin { .. } => "fault.pin",
        }
    }

    /// The fault that it is about.
    #[must_use]
    pub fn fault(&self) -> FaultId {
        match self {
            Self::Merge { fault, .. } | Self::Split { fault, .. } | Self::Pin { fault, .. } => {
                *fault
            }
        }
    }
}

/// Why a lesson cannot be learnt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unteachable {
    #[error("there is no fault {0}")]
    NoFault(FaultId),
    #[error("fault {0} was merged into {1}")]
    Merged(FaultId, FaultId),
    #[error("a fault cannot be merged into itself")]
    Itself,
    #[error("faults of different environments or services stay apart")]
    Elsewhere,
    #[error("fault {0} has no shape {1}")]
    NoShape(FaultId, String),
    #[error("its only shape cannot be split off")]
    OnlyShape,
    #[error("a name of 1 to 200 bytes without NUL is needed")]
    Name,
    #[error("{0:?} belongs to fault {1} already")]
    Pinned(String, FaultId),
}
