//! Tokenizers made from texts.
