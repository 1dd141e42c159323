//! What each operation of the table says of itself, and what it refuses.

use super::*;
use crate::augment::{OPS, Quant};

/// An operation's example. It names a file as a user would; here there is one.
fn example(entry: &OpEntry) -> String {
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizers/wordpiece.json");
    entry.example.replace("tokenizer.json", tokenizer)
}

/// Facts that suit an operation's example, and the operations that must stand in front of it.
fn setting(name: &str) -> (Info, Vec<(String, String)>) {
    let front = |list: &[(&str, &str)]| list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
    let wave = Info { rate: 11_025, channels: 2, count: 7001, ..Info::of(Format::Wav) };
    let text = Info { count: 50, ..Info::of(Format::Utf8) };
    match name {
        "sample_frames" => (clip(30, 20, 9), front(&[])),
        "resample" | "pad_trim" | "channels" | "time_crop" => (wave, front(&[])),
        "log_mel" => (wave, front(&[("resample", "{\"rate\": 16000}")])),
        "bytes_to_ids" | "chars_to_ids" | "normalize_text" | "tokenize" => (text, front(&[])),
        "token_window" => (text, front(&[("bytes_to_ids", "{}")])),
        _ => (image(70, 50), front(&[])),
    }
}

#[test]
fn every_example_builds_and_keeps_its_word() {
    let mut seen = 0;
    for entry in ops().iter() {
        let (info, mut list) = setting(entry.name);
        list.push((entry.name.to_owned(), example(entry)));
        let fake = Fake { info, margin: 2 };
        let kind = info.format.kind();
        let fused = Chain::compile(kind, named(&list), true).unwrap();
        let plain = Chain::compile(kind, named(&list), false).unwrap();
        for key in (0..8).map(Key::new) {
            // Running holds what came out against `spec` and `facts`; here the bytes of both ways.
            if fused.output().is_some_and(|o| !o.is_late()) {
                let a = run(&fused, &fake, key, &mut Tools::default(), &[1, 2], 0xAA).unwrap();
                let b = run(&plain, &fake, key, &mut Tools::default(), &[1, 2], 0x55).unwrap();
                assert!(a == b, "{}", entry.name);
            }
            let drawn = fused.draw(&info, key);
            let late = |c: &Chain| c.run_late(&drawn, b"", &fake, &Limits::default(), &mut Tools::default()).unwrap();
            let (late, again) = (late(&fused), late(&plain));
            assert_eq!(late, again);
            let Some(output) = fused.output() else {
                assert!(late.bytes.len() <= fused.bytes(&drawn), "{}", entry.name);
                continue;
            };
            for ((extent, told), got) in output.shape.iter().zip(fused.extents(&drawn)).zip(&late.shape) {
                match extent {
                    Extent::Late => {}
                    Extent::AtMost(most) => assert!(got <= most, "{}", entry.name),
                    _ => assert_eq!(*got, told, "{}", entry.name),
                }
            }
            let known = !output.shape.iter().any(|e| matches!(e, Extent::AtMost(_) | Extent::Late));
            assert!(late.bytes.len() <= fused.bytes(&drawn) && (!known || late.bytes.len() == fused.bytes(&drawn)));
        }
        assert!(!entry.summary.is_empty() && entry.version > 0);
        seen += 1;
    }
    assert_eq!(seen, OPS.len());
    assert!(seen >= 13 || !cfg!(all(feature = "image", feature = "audio", feature = "video", feature = "text")));
}

/// What says that it draws nothing gives the same for every key, and may be stored.
#[test]
fn what_draws_says_so() {
    let mut random = Vec::new();
    for entry in ops().iter() {
        let (info, _) = setting(entry.name);
        let op = build(entry.name, &example(entry));
        let first = op.draw(&info, Key::new(0));
        let differs = (1..200).any(|key| op.draw(&info, Key::new(key)) != first);
        assert!(!differs || op.is_random(), "{} draws from its key and does not say so", entry.name);
        random.extend(op.is_random().then_some(entry.name));
    }
    for name in ["random_crop", "random_resized_crop", "horizontal_flip", "pad_trim", "time_crop", "token_window"] {
        assert!(random.contains(&name) || ops().get(name).is_err(), "{random:?}");
    }
}

#[test]
fn draws_are_a_function_of_key_facts_and_name() {
    let list = vec![("random_resized_crop", "{\"size\": 16}"), ("horizontal_flip", "{}"), ("horizontal_flip", "{}")];
    let chain = Chain::compile(Kind::Image, named(&list), true).unwrap();
    let info = image(90, 80);
    let all: Vec<_> = (0..200).map(|k| chain.draw(&info, Key::new(k))).collect();
    for (k, drawn) in all.iter().enumerate().rev() {
        assert_eq!(*drawn, chain.draw(&info, Key::new(k as u64)));
    }
    assert!(all.iter().any(|d| d.draws[1] != d.draws[2]), "operations of one name must not share their randomness");
    assert!(all.windows(2).filter(|w| w[0].draws[0] == w[1].draws[0]).count() < 5);
    assert_eq!((all[0].facts.width, all[0].facts.height), (16, 16));
}

#[test]
fn wrong_parameters_are_refused_with_the_operations_name_and_a_way_out() {
    let bad = [
        ("resize", "{}"),
        ("resize", "{\"size\": 0}"),
        ("resize", "{\"size\": [3]}"),
        ("resize", "{\"size\": 4, \"mode\": \"x\"}"),
        ("center_crop", "{\"size\": 70000}"),
        ("random_crop", "{\"size\": 8, \"padding\": 8}"),
        ("random_crop", "{\"size\": 8, \"fill\": -1}"),
        ("random_resized_crop", "{\"size\": 8, \"scale\": [0.5, 0.1]}"),
        ("random_resized_crop", "{\"size\": 8, \"ratio\": [0, 1]}"),
        ("horizontal_flip", "{\"p\": 2}"),
        ("normalize", "{\"mean\": [0, 0, 0], \"std\": [1, 0, 1]}"),
        ("normalize", "{\"mean\": [0, 0], \"std\": [1, 1]}"),
        ("to", "{}"),
        ("to", "{\"dtype\": \"i64\"}"),
        ("to", "{\"dtype\": \"u8\", \"unit\": true}"),
        ("to", "{\"dtype\": \"i8\"}"),
        ("to", "{\"dtype\": \"i8\", \"scale\": 0}"),
        ("to", "{\"dtype\": \"i8\", \"scale\": 1e-60}"),
        ("to", "{\"dtype\": \"i8\", \"scale\": 1, \"zero_point\": 128}"),
        ("to", "{\"dtype\": \"u8\", \"scale\": 1, \"zero_point\": -1}"),
        ("to", "{\"dtype\": \"u8\", \"zero_point\": 1}"),
        ("to", "{\"dtype\": \"f16\", \"scale\": 1}"),
        ("to", "{\"layout\": \"nchw\", \"unit\": true}"),
        ("to", "{\"row_align\": 48}"),
        ("to", "{\"pad_multiple\": 0}"),
        ("to", "{\"pad_channels\": 70000}"),
        ("sample_frames", "{}"),
        ("sample_frames", "{\"count\": 2, \"fps\": 3}"),
        ("sample_frames", "{\"fps\": 0}"),
        ("channels", "{}"),
        ("channels", "{\"to\": \"left\"}"),
        ("channels", "{\"to\": 0}"),
        ("channels", "{\"to\": []}"),
        ("time_crop", "{}"),
        ("time_crop", "{\"seconds\": 0}"),
        ("time_crop", "{\"seconds\": 1, \"start\": -1}"),
        ("time_crop", "{\"samples\": 1, \"start\": 1, \"mode\": \"random\"}"),
        ("time_crop", "{\"samples\": 1, \"seconds\": 1}"),
        ("resample", "{\"rate\": 0}"),
        ("pad_trim", "{\"samples\": 0}"),
        ("pad_trim", "{\"samples\": 1, \"seconds\": 1}"),
        ("log_mel", "{\"n_fft\": 1}"),
        ("log_mel", "{\"hop\": 0}"),
        ("log_mel", "{\"floor\": 0}"),
        ("log_mel", "{\"power\": 3}"),
        ("log_mel", "{\"f_min\": 900, \"f_max\": 800}"),
        ("bytes_to_ids", "{\"max_len\": 0}"),
        ("chars_to_ids", "{\"alphabet\": \"aba\"}"),
        ("chars_to_ids", "{\"alphabet\": \"\"}"),
        ("chars_to_ids", "{\"unknown_id\": 1}"),
        ("chars_to_ids", "{\"pad_to\": 0}"),
        ("normalize_text", "{}"),
        ("normalize_text", "{\"form\": \"nfx\"}"),
        ("token_window", "{\"length\": 0}"),
        ("token_window", "{\"length\": 4, \"mode\": \"end\"}"),
        ("tokenize", "{}"),
        ("tokenize", "{\"file\": \"nowhere/tokenizer.json\"}"),
        ("tokenize", "{\"file\": \"Cargo.toml\"}"),
        ("tokenize", "{\"file\": \"fixtures/tokenizers/unigram.json\", \"pad\": true}"),
        ("tokenize", "{\"file\": \"fixtures/tokenizers/unigram.json\", \"max_length\": 1}"),
        ("tokenize", "{\"file\": \"fixtures/tokenizers/byte_level.json\", \"max_length\": 9, \"pad\": true}"),
        ("bytes_to_ids", "{\"pad_id\": 9007199254740994}"),
    ];
    for (name, params) in bad {
        let refusal = (ops().get(name).unwrap().build)(&serde_json::from_str(params).unwrap()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("\"{name}\"")) && refusal.contains("help: "), "{name} {params}: {refusal}");
    }
}

#[test]
fn what_does_not_follow_is_refused_before_the_first_batch() {
    type Refused = (Kind, &'static [(&'static str, &'static str)], &'static str);
    let bad: [Refused; 14] = [
        (Kind::Image, &[("to", "{\"layout\": \"nchw\"}"), ("resize", "{\"size\": 4}")], "x/1:resize"),
        (
            Kind::Image,
            &[("normalize", "{\"mean\": [0,0,0], \"std\": [1,1,1]}"), ("to", "{\"dtype\": \"u8\"}")],
            "x/1:to",
        ),
        (Kind::Image, &[("sample_frames", "{\"count\": 2}")], "takes clips"),
        (Kind::Video, &[("horizontal_flip", "{}"), ("sample_frames", "{\"count\": 2}")], "to the front"),
        (Kind::Audio, &[("resize", "{\"size\": 4}")], "a recording"),
        (Kind::Audio, &[("to", "{\"pad_channels\": 4}")], "pad_channels"),
        (Kind::Image, &[("to", "{\"row_align\": 64}"), ("horizontal_flip", "{}")], "at the end of the column's"),
        (Kind::Audio, &[("resample", "{\"rate\": 8000}"), ("channels", "{\"to\": 2}")], "to the front"),
        (Kind::Audio, &[("channels", "{\"to\": \"mono\"}"), ("channels", "{\"to\": 2}")], "x/1:channels"),
        (
            Kind::Audio,
            &[
                ("resample", "{\"rate\": 8000}"),
                ("pad_trim", "{\"seconds\": 1}"),
                ("time_crop", "{\"seconds\": 1, \"start\": 1}"),
            ],
            "longer than its start",
        ),
        (Kind::Audio, &[("log_mel", "{}")], "put a \"resample\" in front"),
        (Kind::Audio, &[("pad_trim", "{\"seconds\": 2}")], "put a \"resample\" in front"),
        (Kind::Audio, &[("resample", "{\"rate\": 8000}"), ("log_mel", "{\"f_max\": 7000}")], "4000 Hz"),
        (Kind::Image, &[("resize", "{\"size\": [4, 4]}"), ("center_crop", "{\"size\": 5}")], "at least 5 x 5"),
    ];
    for (kind, list, part) in bad {
        let refusal = Chain::compile(kind, named(list), true).unwrap_err().to_string();
        assert!(refusal.contains(part) && refusal.contains("help: "), "{list:?}: {refusal}");
    }
}

#[test]
fn payloads_that_are_not_what_their_facts_say_are_faults() {
    let list = [("resize", "{\"size\": [8, 8]}")];
    for fuse in [true, false] {
        let chain = Chain::compile(Kind::Image, named(&list), fuse).unwrap();
        let drawn = chain.draw(&image(20, 20), Key::new(1));
        for (width, height) in [(19, 20), (20, 21), (0, 0)] {
            let (fake, mut bytes) = (Fake { info: image(width, height), margin: 0 }, [0; 192]);
            let slot = SlotMut { bytes: &mut bytes, shape: &[8, 8, 3], strides: &[], beside: None };
            let fault = chain.run(&drawn, b"", &fake, &Limits::default(), &mut Tools::default(), slot).unwrap_err();
            assert_eq!(fault.reason, Reason::Corrupt);
        }
        // A slot that is too small, and facts of nothing.
        let fake = Fake { info: image(20, 20), margin: 0 };
        let slot = SlotMut { bytes: &mut [0; 191], shape: &[8, 8, 3], strides: &[], beside: None };
        assert!(chain.run(&drawn, b"", &fake, &Limits::default(), &mut Tools::default(), slot).is_err());
        let fake = Fake { info: image(0, 0), margin: 0 };
        let fault = run(&chain, &fake, Key::new(1), &mut Tools::default(), &[], 0);
        assert!(fault.is_err());
    }
    // A thin picture whose shorter side is enlarged is refused by its size, before anything is decoded or allocated.
    let list = [("resize", "{\"size\": 224}"), ("center_crop", "{\"size\": 224}")];
    let chain = Chain::compile(Kind::Image, named(&list), true).unwrap();
    let fault =
        run(&chain, &Fake { info: image(1, 60_000_000), margin: 0 }, Key::new(1), &mut Tools::default(), &[], 0);
    let fault = fault.unwrap_err();
    assert!(fault.reason == Reason::OverLimit && fault.message.contains("x/0:resize"), "{fault}");
}

#[test]
fn labels_follow_the_pixels() {
    let list = vec![
        ("resize", "{\"size\": [20, 40]}"),
        ("center_crop", "{\"size\": [20, 20]}"),
        ("horizontal_flip", "{\"p\": 1}"),
    ];
    let chain = Chain::compile(Kind::Image, named(&list), true).unwrap();
    let objects = Objects {
        boxes: vec![[0.0, 0.0, 20.0, 20.0], [30.0, 10.0, 50.0, 40.0]],
        classes: vec![1, 2],
        ..Objects::default()
    };
    let mut labels = Labels { objects: Some(objects) };
    chain.labels(&chain.draw(&image(80, 40), Key::new(1)), &mut labels).unwrap();
    // Halved, 10 to the left, mirrored in 20: the first box lies left of the crop and is gone.
    assert_eq!(
        labels.objects,
        Some(Objects { boxes: vec![[5.0, 5.0, 15.0, 20.0]], classes: vec![2], ..Objects::default() })
    );
}

#[test]
fn text_and_late_lengths_are_delivered_by_run_late() {
    let info = Info { count: 40, ..Info::of(Format::Utf8) };
    let (fake, limits) = (Fake { info, margin: 0 }, Limits::default());
    let plain = Chain::compile(Kind::Text, Vec::new(), true).unwrap();
    assert!(plain.output().is_none());
    let late = plain.run_late(&plain.draw(&info, Key::new(0)), b"", &fake, &limits, &mut Tools::default()).unwrap();
    assert_eq!((late.bytes.len(), late.shape), (40, vec![40]));

    let ops: Vec<(String, Arc<dyn Op>)> = vec![("t/0:consonants".into(), Arc::new(Consonants))];
    let chain = Chain::compile(Kind::Text, ops, true).unwrap();
    assert!(chain.output().unwrap().is_late());
    let drawn = chain.draw(&info, Key::new(0));
    let got = chain.run_late(&drawn, b"", &fake, &limits, &mut Tools::default()).unwrap();
    assert!(got.bytes.len() < 40 && got.shape == [got.bytes.len()]);
    let slot = SlotMut { bytes: &mut [], shape: &[0], strides: &[], beside: None };
    assert!(chain.run(&drawn, b"", &fake, &limits, &mut Tools::default(), slot).is_err());
}

#[test]
fn a_bounded_column_is_padded_with_the_operations_value() {
    let list = [("bytes_to_ids", "{\"max_len\": 6, \"pad_id\": -7}")];
    let chain = Chain::compile(Kind::Text, named(&list), true).unwrap();
    assert_eq!(chain.output().unwrap().shape, [Extent::Bounded(Fact::Count)]);
    let info = Info { count: 4, ..Info::of(Format::Utf8) };
    let bytes = run(&chain, &Fake { info, margin: 0 }, Key::new(0), &mut Tools::default(), &[3], 1).unwrap();
    let ids: Vec<i64> = bytes.as_chunks::<8>().0.iter().map(|b| i64::from_ne_bytes(*b)).collect();
    assert!(ids[..4].iter().all(|i| (97..123).contains(i)) && ids[4..] == [-7, -7, -7], "{ids:?}");
}

#[cfg(feature = "audio")]
#[test]
fn recordings_and_tensors_become_narrower_with_their_padding() {
    let info = Info { rate: 8000, channels: 1, count: 900, ..Info::of(Format::Wav) };
    let fake = Fake { info, margin: 0 };
    let out = |list: &[(&str, &str)]| {
        let chain = Chain::compile(Kind::Audio, named(list), true).unwrap();
        let output = chain.output().unwrap().clone();
        (run(&chain, &fake, Key::new(1), &mut Tools::default(), &[0, 3], 7).unwrap(), output)
    };
    let mel = [("resample", "{\"rate\": 8000}"), ("log_mel", "{\"n_mels\": 4, \"n_fft\": 200, \"hop\": 80}")];
    let wide: Vec<f32> = bytemuck::pod_collect_to_vec(&out(&mel).0);
    for (params, dtype) in [
        ("{\"dtype\": \"f16\"}", DType::F16),
        ("{\"dtype\": \"bf16\"}", DType::BF16),
        ("{\"dtype\": \"i8\", \"scale\": 0.2, \"zero_point\": 60}", DType::I8),
        ("{\"dtype\": \"f32\"}", DType::F32),
    ] {
        let (bytes, output) = out(&[mel[0], mel[1], ("to", params)]);
        assert_eq!((output.dtype, bytes.len()), (dtype, wide.len() * dtype.size()));
        let quant = Quant { scale: 0.2, zero_point: 60 };
        for (x, got) in wide.iter().zip(bytes.chunks_exact(dtype.size())) {
            let want = match dtype {
                DType::F16 => half::f16::from_f32(*x).to_ne_bytes().to_vec(),
                DType::BF16 => half::bf16::from_f32(*x).to_ne_bytes().to_vec(),
                DType::I8 => vec![quant.value(*x, -128, 127) as u8],
                _ => x.to_ne_bytes().to_vec(),
            };
            assert_eq!(got, want, "{x} as {}", dtype.name());
        }
        // Three frames of padding behind the spectrogram: log_mel's floor, in the new type.
        assert!(
            output.pad < 0.0
                || dtype == DType::I8 && output.pad == f64::from(quant.value(wide[wide.len() - 1], -128, 127))
        );
    }
    let (bytes, output) = out(&[("to", "{\"dtype\": \"f16\"}")]);
    assert_eq!((bytes.len(), output.dtype), (1800, DType::F16));
    let chain = |list: &[(&str, &str)]| Chain::compile(Kind::Audio, named(list), true).unwrap_err().to_string();
    assert!(chain(&[("to", "{\"layout\": \"nchw\"}")]).contains("a layout"));
    assert!(chain(&[("to", "{\"dtype\": \"f16\"}"), ("to", "{\"dtype\": \"f32\"}")]).contains("x/1:to"));
    assert!(chain(&[("to", "{\"dtype\": \"f16\"}"), mel[1]]).contains("x/1:log_mel"));
}

#[test]
fn a_draw_that_changes_nothing_is_lowered_to_keep_or_less() {
    let op = build("horizontal_flip", "{\"p\": 0}");
    assert_eq!(op.lower(&op.draw(&image(4, 4), Key::new(1))), Lowered::Keep);
}
