//! The operations against the programs that people compare with: Pillow, librosa, soxr.
//!
//! `fixtures/golden` holds what they made, and how; the bounds here were set before the first run, with their reasons.

use std::path::PathBuf;

use safetensors::SafeTensors;
use serde_json::Value;

use super::{Draw, Elements, Media, Op, Raster, Tools};
use crate::data::tensor::Layout;

struct Golden {
    bytes: Vec<u8>,
    cases: Value,
}

impl Golden {
    fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, meta) = SafeTensors::read_metadata(&bytes).unwrap();
        let parameters = &meta.metadata().as_ref().unwrap()["parameters"];
        let cases = serde_json::from_str(parameters).unwrap();
        Golden { bytes, cases }
    }

    fn cases(&self) -> &[Value] {
        self.cases["cases"].as_array().unwrap()
    }

    fn u8(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.u8(name);
        (shape, bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

fn build(name: &str, params: Value) -> std::sync::Arc<dyn Op> {
    (super::ops().get(name).unwrap().build)(&params).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Bound: one level of 255. Pillow and `fast_image_resize` round their weights to fixed point at different precision, and
/// each of the two passes rounds to u8. Crops are exact.
#[cfg(any(feature = "image", feature = "video"))]
#[test]
fn pixels_are_pillows_within_one_level() {
    use super::pixels;
    use crate::codec::Rect;
    use crate::data::info::{Format, Info};
    use crate::rng::Key;

    let golden = Golden::open("resize.safetensors");
    let (mut seen, mut worst) = (0, 0);
    for case in golden.cases() {
        let (source, bytes) = golden.u8(text(&case["source"]));
        let (shape, want) = golden.u8(text(&case["tensor"]));
        let (height, width) = (source[0], source[1]);
        let raster = Raster { data: Elements::U8(bytes), frames: 1, still: true, width, height, layout: Layout::Nhwc };
        let media = Media::Raster(raster);
        let info = Info { width: width as u32, height: height as u32, ..Info::of(Format::Png) };
        let number = |v: &Value| v.as_u64().unwrap() as u32;
        let mut parts = text(&case["tensor"]).split('/').skip(1);
        let (kind, label) = (parts.next().unwrap(), parts.next().unwrap());
        let size = &case["resize_wh"];
        let op = match kind {
            "resize" => build("resize", serde_json::json!({"size": [size[1], size[0]]})),
            "shorter" => build("resize", serde_json::json!({"size": label.parse::<u32>().unwrap()})),
            "center" => build("center_crop", serde_json::json!({"size": label.parse::<u32>().unwrap()})),
            _ => build("random_resized_crop", serde_json::json!({"size": [size[1], size[0]]})),
        };
        let b = &case["box_xywh"];
        let draw = match kind {
            "crop" => {
                Draw::Rect(Rect { x: number(&b[0]), y: number(&b[1]), width: number(&b[2]), height: number(&b[3]) })
            }
            _ => op.draw(&info, Key::new(0)),
        };
        let facts = op.facts(&info, &draw);
        assert_eq!([facts.height as usize, facts.width as usize], shape[..2], "{case}");
        let got = op.apply(&draw, media, &mut Tools::default()).unwrap();
        let got = pixels::raster("test", got).unwrap();
        let Elements::U8(got) = got.data else { panic!() };
        let far = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert_eq!(got.len(), want.len());
        assert!(far <= if kind == "center" { 0 } else { 1 }, "{far} levels: {case}");
        (seen, worst) = (seen + 1, worst.max(far));
    }
    assert!(seen >= 50, "{seen} cases");
    println!("{seen} cases, at most {worst} level");
}

/// Bound: 1.3e-4 relative to the reference (f64) where there is energy (above 1e-6 of the peak), 1e-6 of the peak below:
/// the transform runs in f32.
#[cfg(feature = "audio")]
#[test]
fn spectrograms_are_librosas() {
    let golden = Golden::open("mel.safetensors");
    let mut tools = Tools::default();
    let (mut seen, mut worst) = (0, 0f64);
    for case in golden.cases() {
        let set = &golden.cases["sets"][text(&case["set"])];
        let (_, wave) = golden.f32(text(&case["wave"]));
        let stem = format!("{}/{}", text(&case["wave"]).split('/').next().unwrap(), text(&case["set"]));
        for (kind, log, floor, offset) in
            [("power", "none", 0.0, 0.0), ("log10", "log10", 1e-10, 0.0), ("ln", "ln", 0.0, 1e-6)]
        {
            let op = build(
                "log_mel",
                serde_json::json!({
                    "n_fft": set["n_fft"], "hop": set["hop_length"], "n_mels": set["n_mels"], "f_min": set["fmin"],
                    "f_max": set["fmax"], "htk": set["htk"], "power": set["power"], "center": set["center"],
                    "norm": set["norm"].as_str().unwrap_or("none"), "pad_mode": set["pad_mode"],
                    "log": log, "floor": floor, "offset": offset,
                }),
            );
            let (shape, want) = golden.f32(&format!("{stem}/{kind}"));
            let media = Media::Wave(super::Wave::mono(wave.clone(), 16_000));
            let Media::Tensor { data: Elements::F32(got), shape: made } =
                op.apply(&Draw::None, media, &mut tools).unwrap()
            else {
                panic!()
            };
            assert_eq!(made, shape);
            let peak = want.iter().fold(0f64, |m, x| m.max(f64::from(*x)));
            for (got, want) in got.iter().zip(&want) {
                let (got, want) = (f64::from(*got), f64::from(*want));
                let far = (got - want).abs();
                match kind {
                    "power" if want > 1e-6 * peak => {
                        assert!(far / want <= 1.3e-4, "{stem}: {got} {want}");
                        worst = worst.max(far / want);
                    }
                    "power" => assert!(far <= 1e-6 * peak, "{stem}: {got} {want}"),
                    // Near silence f32's noise, 1e-9 of the peak, is seen through the logarithm.
                    "ln" => assert!(far <= 1.3e-4 + 1e-9 * peak.exp() / want.exp(), "{stem}: {got} {want}"),
                    _ => assert!(far <= 1.3e-4 || want < peak - 6.0, "{stem}: {got} {want}"),
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 18, "{seen} cases");
    println!("{seen} spectrograms, at most {worst:.1e} relative");
}

/// Bound: 1e-3 of full scale from the exact signal, away from the edges, in the pass band (to 0.41 of the lower rate);
/// soxr itself is within 1.1e-4. Edges: a filter that rings over a cut tone has no right answer there.
#[cfg(feature = "audio")]
#[test]
fn resampling_gives_the_exact_signal_inside() {
    let golden = Golden::open("resample.safetensors");
    let mut tools = Tools::default();
    let mut seen = 0;
    for case in golden.cases() {
        let name = text(&case["case"]);
        let (_, input) = golden.f32(&format!("{name}/input"));
        let (_, exact) = golden.f32(&format!("{name}/exact"));
        let (_, soxr) = golden.f32(&format!("{name}/soxr"));
        let op = build("resample", serde_json::json!({"rate": case["to"]}));
        let rate = case["from"].as_u64().unwrap() as u32;
        let made = op.apply(&Draw::None, Media::Wave(super::Wave::mono(input, rate)), &mut tools).unwrap();
        let Elements::F32(got) = made.into_elements() else { panic!() };
        assert_eq!(got.len(), exact.len(), "{name}");
        let edge = case["edge_samples_left_out"].as_u64().unwrap() as usize;
        let inside = edge..got.len() - edge;
        let far = |other: &[f32]| inside.clone().map(|i| (got[i] - other[i]).abs()).fold(0.0, f32::max);
        let (from_exact, from_soxr) = (far(&exact), far(&soxr));
        println!("{name}: {from_exact:.1e} from exact, {from_soxr:.1e} from soxr");
        assert!(from_exact <= 1e-3 && from_soxr <= 1e-3, "{name}: {from_exact} {from_soxr}");
        seen += 1;
    }
    assert!(seen >= 6, "{seen} cases");
}
