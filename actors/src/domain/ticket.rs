//! Tickets: what Faultline writes in the tracker, in words that no tracker's format has touched.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A ticket to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The project's key: `OPS`.
    pub project: String,
    /// By name: `Bug`.
    pub issue_type: String,
    /// One line.
    pub summary: String,
    /// Paragraphs between empty lines; code between lines of three backquotes.
    pub description: String,
    #[serde(default)]
    pub labels: Vec<String>,
    /// By name: `High`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// By name.
    #[serde(default)]
    pub components: Vec<String>,
    /// An account id (Cloud) or user name (Data Center).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Further fields, by id: `customfield_10001`.
    #[serde(default)]
    pub fields: Map<String, Value>,
}
