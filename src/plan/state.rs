//! Where a run stands: small, and valid on any number of ranks.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::At;
use crate::data::index::hex;
use crate::error::{Error, Result};

/// The newest state format that this build reads.
pub const STATE_VERSION: u64 = 2;

/// What states say of the datasets they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The digest of the dataset's version, or one over the names and versions of a mixture's.
    pub digest: String,
    /// The fronts of a mixture's digests, by which a message can say which is another; none for a single one, or where they would be too many.
    pub sources: Vec<String>,
}

/// Hex digits that a state has of the digest of each source.
const SHORT: usize = 8;

/// Sources of which a state has them: so many fit in 1 KB.
const MOST_SOURCES: usize = 40;

impl Identity {
    /// The identity of datasets, by name and digest. The only one of no mixture has an empty name.
    pub fn of(datasets: &[(&str, &str)]) -> Self {
        if let [("", digest)] = datasets {
            return Identity { digest: (*digest).to_owned(), sources: Vec::new() };
        }
        let all = serde_json::json!(datasets).to_string();
        let short = |digest: &str| digest.chars().take(SHORT).collect();
        let sources = if datasets.len() > MOST_SOURCES { &[] } else { datasets };
        Identity {
            digest: hex(&Sha256::digest(all.as_bytes())),
            sources: sources.iter().map(|(_, digest)| short(digest)).collect(),
        }
    }
}

/// What has been handed out (not what was prefetched), as JSON of well under 1 KB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The format: 1, or 2 with [`State::sources`] or [`State::window`].
    pub format_version: u64,
    /// Digest of the dataset version; of a mixture one over all ([`Identity`]).
    pub dataset: String,
    /// Of a mixture, the front of each source's digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Digest of the recipe, without what changes no batch (threads, prefetch, memory, rank, world).
    pub recipe: String,
    /// The epoch.
    pub epoch: u64,
    /// The window of the next batch, where batches are formed in windows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub window: u64,
    /// The first batch (of the window, or of the epoch's global order) that no rank has been given.
    pub batch: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl State {
    /// The state of a place.
    pub fn new(datasets: &Identity, recipe: &str, epoch: u64, at: At) -> Self {
        let Identity { digest, sources } = datasets.clone();
        let format_version = if sources.is_empty() && at.window == 0 { 1 } else { 2 };
        let At { window, batch } = at;
        State { format_version, dataset: digest, sources, recipe: recipe.to_owned(), epoch, window, batch }
    }

    /// The first batch that no rank has been given.
    pub fn at(&self) -> At {
        At { window: self.window, batch: self.batch }
    }

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

    /// Refuses a state of another dataset version or recipe, naming which; `names` are those of a mixture's sources.
    pub fn expect(&self, datasets: &Identity, names: &[&str], recipe: &str) -> Result<()> {
        let mut differs = Vec::new();
        if self.dataset != datasets.digest {
            let pairs = self.sources.iter().zip(&datasets.sources).zip(names);
            let others: Vec<&str> = pairs.filter(|((a, b), _)| a != b).map(|(_, name)| *name).collect();
            let here = format!("(state {}, here {})", self.dataset, datasets.digest);
            differs.push(if self.sources.len() != datasets.sources.len() || others.is_empty() {
                format!("the dataset {here}")
            } else {
                format!("the dataset of {} {here}", others.join(", "))
            });
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

    fn one(digest: &str) -> Identity {
        Identity::of(&[("", digest)])
    }

    #[test]
    fn a_state_is_small_and_comes_back() {
        let digest = "d".repeat(64);
        for sources in [0, 1, 2, MOST_SOURCES, 500] {
            let names: Vec<String> = (0..sources).map(|n| format!("source {n}")).collect();
            let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), digest.as_str())).collect();
            let identity = if many.is_empty() { one(&digest) } else { Identity::of(&many) };
            let state = State::new(&identity, &"r".repeat(64), u64::MAX, At { window: u64::MAX, batch: u64::MAX });
            let json = state.to_json();
            assert!(json.len() <= 1024, "{} bytes", json.len());
            assert_eq!(State::from_json(&json).unwrap(), state);
            // What earlier builds read stays as they know it.
            let plain = State::new(&identity, "r", 3, At::batch(7));
            let json = plain.to_json();
            assert_eq!(json.contains("sources"), plain.format_version == 2);
            assert!(!json.contains("window") && State::from_json(&json).unwrap() == plain);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let state = State::new(&one("a"), "b", 0, At::default());
        assert!(state.expect(&one("a"), &[""], "b").is_ok());
        let message = state.expect(&one("a"), &[""], "c").unwrap_err().to_string();
        assert!(message.contains("recipe") && !message.contains("dataset (state"), "{message}");
        let two = |second| Identity::of(&[("x", "aaaaaaaaaa"), ("y", second)]);
        let state = State::new(&two("bbbbbbbbbb"), "r", 0, At::default());
        let names = ["x", "y"];
        assert!(state.expect(&two("bbbbbbbbbb"), &names, "r").is_ok());
        let message = state.expect(&two("cccccccccc"), &names, "r").unwrap_err().to_string();
        assert!(message.contains("the dataset of y ") && !message.contains("recipe (state"), "{message}");
        assert!(state.expect(&one("aaaaaaaaaa"), &[""], "r").is_err());
        let other = Identity::of(&[("x", "aaaaaaaaaa"), ("z", "bbbbbbbbbb")]);
        assert!(state.expect(&other, &["x", "z"], "r").is_err());
        assert!(matches!(State::from_json("{\"format_version\":9}"), Err(Error::FormatVersion { found: 9, .. })));
        assert!(matches!(State::from_json("nonsense"), Err(Error::State { .. })));
    }
}
