//! What is known of a sample beside its media.

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
}

/// The labels that travel with a sample, so that an operation that moves pixels can move them too.
///
/// Boxes, masks and keypoints join here as [`Objects`] when their sources are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// Located things in the picture, in pixels of the picture as it is at this point of the chain.
    pub objects: Option<Objects>,
}

/// Located things: boxes as `[x_min, y_min, x_max, y_max]` in pixels, edges exclusive on the right and below.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// One box each, xyxy.
    pub boxes: Vec<[f32; 4]>,
    /// One class index each.
    pub classes: Vec<i64>,
}
