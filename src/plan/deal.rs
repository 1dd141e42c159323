//! The ranks that share an epoch, and what happens to the batches that do not come out even. [`Steps`](super::Steps) deals them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What happens to the batches at the end of an epoch that do not come out even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tail {
    /// Incomplete batches, and full ones that cannot be dealt to every rank, are left out (and counted).
    #[default]
    Drop,
    /// Complete: missing samples are padding with `valid = false`.
    Pad,
    /// Complete: samples from the front of the epoch's order are repeated, as a further occurrence of their row.
    Repeat,
}

/// One rank of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// This process, from 0.
    pub rank: u64,
    /// How many processes share the epoch.
    pub size: u64,
}

impl Default for World {
    fn default() -> Self {
        World { rank: 0, size: 1 }
    }
}

impl World {
    /// Checks that the rank is in the world.
    pub fn validate(&self) -> Result<()> {
        if self.size == 0 || self.rank >= self.size {
            return Err(Error::config(
                format!("rank {} of a world of {}", self.rank, self.size),
                "ranks count from 0 to world - 1, and a world has at least one",
            ));
        }
        Ok(())
    }
}
