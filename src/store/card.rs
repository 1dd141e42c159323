//! The dataset card.
