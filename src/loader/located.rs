//! Objects on their way into a batch: read from the Index, moved as their picture is moved.

use smallvec::SmallVec;

use super::work::Job;
use super::{Core, OutColumn};
use crate::augment::Late;
use crate::collate::Part;
use crate::data::label::{Labels, Value};
use crate::data::objects::{AttributeKind, BBOX, BoxFormat, CATEGORY, ObjectsType};
use crate::data::tensor::DType;
use crate::error::{Fault, Reason, Result};
use crate::plan::Segment;

/// What is delivered of a column of objects: what stands behind its name, and the type of the numbers. Texts are not.
pub(super) fn delivered(of: &ObjectsType) -> impl Iterator<Item = (&str, DType)> {
    let numbers = of.attributes.iter().filter_map(|attribute| match attribute.kind {
        AttributeKind::Int => Some((attribute.name.as_str(), DType::I64)),
        AttributeKind::Float => Some((attribute.name.as_str(), DType::F64)),
        AttributeKind::Text => None,
    });
    [(BBOX, DType::F32), (CATEGORY, DType::I64)].into_iter().chain(numbers)
}

impl Core {
    /// The parts of one slot, one for each of [`delivered`].
    pub(super) fn objects(
        &self,
        segment: Option<&Segment>,
        column: &OutColumn,
        jobs: &[Job],
        parts: &mut SmallVec<[Part; 2]>,
    ) -> Result<()> {
        let OutColumn::Objects { index, of, picture, joined, .. } = column else { return Ok(()) };
        let absent = |parts: &mut SmallVec<[Part; 2]>| parts.extend(delivered(of).map(|_| Part::Missing));
        let (Some(segment), Some(index)) = (segment, *index) else {
            absent(parts);
            return Ok(());
        };
        let (feed, row) = (self.feed(segment), self.row(segment));
        let refused = |fault: Fault| fault.at(feed.dataset.origin(segment.row, index));
        let stored = row.objects(index, of).map_err(|why| refused(Fault::new(Reason::Corrupt, why)))?;
        let Some(mut objects) = stored else {
            absent(parts);
            return Ok(());
        };
        let shown = picture.and_then(|picture| row.payload(picture)).map(|payload| payload.info);
        // Without their picture, parts of it are no place.
        if shown.is_none() && of.boxes == BoxFormat::CxcywhNormalized {
            absent(parts);
            return Ok(());
        }
        let (width, height) = shown.map_or((0, 0), |info| (info.width, info.height));
        objects.boxes = objects.xyxy(of.boxes, width, height).collect();
        let mut labels = Labels { objects: Some(objects) };
        // The picture's own draw, if it is among what is delivered, and decoded.
        let media = feed.columns.iter().filter(|column| matches!(column, OutColumn::Media { .. }));
        let mut moved = media.zip(jobs).filter(|(out, _)| picture.is_some() && out.index() == *picture);
        if let Some((OutColumn::Media { work, .. }, job)) = moved.next()
            && let (Some(chain), Some((_, Some(drawn)))) = (work.chain(), &job.cell.payload)
        {
            chain.labels(drawn, &mut labels).map_err(refused)?;
        }
        let objects = labels.objects.unwrap_or_default();
        let n = objects.boxes.len();
        let part = |bytes: Vec<u8>, shape: Vec<usize>| Part::Loose(Late { bytes, shape, beside: Vec::new() });
        parts.push(part(bytemuck::cast_slice(objects.boxes.as_flattened()).to_vec(), vec![n, 4]));
        let class = |class: &i64| match (joined, usize::try_from(*class)) {
            (Some(joined), Ok(class)) => joined.get(class).copied().unwrap_or(-1),
            _ => *class,
        };
        parts.push(part(
            bytemuck::pod_collect_to_vec(&objects.classes.iter().map(class).collect::<Vec<i64>>()),
            vec![n],
        ));
        for (attribute, values) in of.attributes.iter().zip(&objects.attributes) {
            let bytes = match attribute.kind {
                AttributeKind::Int => {
                    // As for a column of integers, what is absent is 0.
                    let value = |value: &Value| if let Value::Int(v) = value { *v } else { 0 };
                    bytemuck::pod_collect_to_vec(&values.iter().map(value).collect::<Vec<i64>>())
                }
                AttributeKind::Float => {
                    let value = |value: &Value| if let Value::Float(v) = value { *v } else { f64::NAN };
                    bytemuck::pod_collect_to_vec(&values.iter().map(value).collect::<Vec<f64>>())
                }
                AttributeKind::Text => continue,
            };
            parts.push(part(bytes, vec![n]));
        }
        Ok(())
    }
}
