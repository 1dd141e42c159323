//! The compiled chain.
