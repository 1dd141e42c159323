//! Where a run stands: small, and valid on any number of ranks.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The state format that this build writes and the newest it reads.
pub const STATE_VERSION: u64 = 1;

/// What has been handed out (not what was prefetched), as JSON of well under 1 KB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`STATE_VERSION`] of the writer.
    pub format_version: u64,
    /// Digest of the dataset version.
    pub dataset: String,
    /// Digest of the recipe, without what changes no batch (threads, prefetch, memory, rank, world).
    pub recipe: String,
    /// The epoch.
    pub epoch: u64,
    /// The first global batch that no rank has been given.
    pub batch: u64,
}

impl State {
    /// Reads a state from JSON.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u64,
        }
        let broken = |e: serde_json::Error| Error::State {
            what: format!("it is not a loader state: {e}"),
            help: "give the file that --state-out (or Epoch::state) wrote".into(),
        };
        let version: Version = serde_json::from_str(json).map_err(broken)?;
        if version.format_version > STATE_VERSION {
            return Err(Error::FormatVersion {
                what: "the loader state",
                found: version.format_version,
                supported: STATE_VERSION,
            });
        }
        serde_json::from_str(json).map_err(broken)
    }

    /// The state as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Refuses a state of another dataset version or recipe, naming which.
    pub fn expect(&self, dataset: &str, recipe: &str) -> Result<()> {
        let mut differs = Vec::new();
        if self.dataset != dataset {
            differs.push(format!("the dataset (state {}, here {dataset})", self.dataset));
        }
        if self.recipe != recipe {
            differs.push(format!("the recipe (state {}, here {recipe})", self.recipe));
        }
        if differs.is_empty() {
            return Ok(());
        }
        Err(Error::State {
            what: format!("it was saved with another version of {}", differs.join(" and of ")),
            help: "open the dataset version and the recipe it was saved with, or start the epoch anew".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_small_and_comes_back() {
        let state = State {
            format_version: STATE_VERSION,
            dataset: "d".repeat(64),
            recipe: "r".repeat(64),
            epoch: u64::MAX,
            batch: u64::MAX,
        };
        let json = state.to_json();
        assert!(json.len() <= 1024, "{} bytes", json.len());
        assert_eq!(State::from_json(&json).unwrap(), state);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let state = State { format_version: 1, dataset: "a".into(), recipe: "b".into(), epoch: 0, batch: 0 };
        assert!(state.expect("a", "b").is_ok());
        let message = state.expect("a", "c").unwrap_err().to_string();
        assert!(message.contains("recipe") && !message.contains("dataset (state"), "{message}");
        assert!(matches!(State::from_json("{\"format_version\":9}"), Err(Error::FormatVersion { found: 9, .. })));
        assert!(matches!(State::from_json("nonsense"), Err(Error::State { .. })));
    }
}
