//! The memory that a thread decodes in.

use std::any::{Any, TypeId};
use std::collections::HashMap;

/// A thread's reusable memory for decoding: plain buffers, and whatever decoder state a codec wants to keep.
#[derive(Default)]
pub struct Scratch {
    /// For pixels and other bytes.
    pub bytes: Vec<u8>,
    /// For samples.
    pub floats: Vec<f32>,
    /// For presentation times.
    pub times: Vec<i64>,
    /// Decoder states by type.
    states: HashMap<TypeId, Box<dyn Any + Send>, xxhash_rust::xxh3::Xxh3DefaultBuilder>,
}

impl Scratch {
    /// The state of a type, made by `Default` at first use.
    pub fn state<T: Any + Send + Default>(&mut self) -> &mut T {
        let state = self.states.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(T::default()));
        state.downcast_mut().expect("the map's key is the type")
    }

    /// Bytes that the plain buffers hold, used or not. Decoder states are not counted.
    pub fn held(&self) -> u64 {
        let bytes = self.bytes.capacity() + self.floats.capacity() * size_of::<f32>();
        (bytes + self.times.capacity() * size_of::<i64>()) as u64
    }

    /// Drops the state of a type: what a decoder that panicked may have left half changed is never used again.
    pub fn forget<T: Any>(&mut self) {
        self.states.remove(&TypeId::of::<T>());
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch")
            .field("bytes", &self.bytes.capacity())
            .field("floats", &self.floats.capacity())
            .finish()
    }
}
