//! What is known of a sample beside its media.

pub use super::objects::Objects;

/// One cell of a small column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent.
    Null,
    /// An integer, or an index into a class list.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
}

impl Value {
    /// Whether the cell is absent.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// As JSON, by what it is: a class is a number.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Int(v) => (*v).into(),
            Value::Float(v) => (*v).into(),
            Value::Bool(v) => (*v).into(),
            Value::Text(v) => v.as_str().into(),
        }
    }
}

/// The labels that travel with a sample, so that an operation that moves pixels can move them too.
///
/// Masks and keypoints join here when their sources are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// Located things in the picture: xyxy ([`BoxFormat::Xyxy`](super::objects::BoxFormat)) in pixels of the picture as it is at this point of
    /// the chain.
    pub objects: Option<Objects>,
}
