use super::*;

fn samples(bytes: &[u8]) -> (u32, u32, Vec<f32>) {
    let codec = codec::sniff(bytes, Kind::Audio).unwrap();
    let mut scratch = Scratch::default();
    match codec.decode(bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap() {
        Decoded::Wave(w) => (w.channels, w.rate, w.data.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn asked(options: serde_json::Value) -> Prepare {
    of(options, "audio", Feature::Audio).unwrap().0
}

/// Every recording of the fixtures that a decoder reads: FLAC and PCM give the samples back to the bit, where 24 bits (in
/// FLAC) or 32 hold them; FLAC of what has more is the nearest step of 24 bits.
#[test]
fn flac_and_pcm_lose_nothing() {
    let (flac, wav, raw) = (
        asked(json!({"audio": {"codec": "flac"}})),
        asked(json!({"audio": {"codec": "wav"}})),
        asked(json!({"store": "raw"})),
    );
    let (mut exact, mut rounded) = (0, 0);
    for (name, bytes) in files(&["audio", "digits", "audio_formats"]) {
        if codec::sniff(&bytes, Kind::Audio).and_then(|c| c.probe(&bytes, &Limits::default())).is_err() {
            continue;
        }
        let before = samples(&bytes);
        for prepare in [&wav, &raw] {
            let (made, info) = stored(prepare, Kind::Audio, &bytes).unwrap().unwrap();
            assert!(samples(&made) == before, "{name}: PCM is not the same");
            assert_eq!(info.format, Format::Wav);
        }
        let (made, info) = stored(&flac, Kind::Audio, &bytes).unwrap().unwrap();
        let after = samples(&made);
        assert_eq!((after.0, after.1, after.2.len()), (before.0, before.1, before.2.len()), "{name}");
        assert!(before.2.is_empty() || info.format == Format::Flac);
        let step = 1.0 / (1 << 23) as f32;
        if after.2 == before.2 {
            exact += 1;
            continue;
        }
        rounded += 1;
        for (a, b) in after.2.iter().zip(&before.2) {
            let clamped = b.clamp(-1.0, 1.0 - step);
            assert!((a - clamped).abs() <= step / 2.0, "{name}: {b} became {a}");
        }
    }
    assert!(exact >= 30 && rounded >= 3, "{exact} {rounded}");
}

#[test]
fn a_stored_rate_is_the_operations() {
    use crate::augment::{Draw, Media, Op, Wave, resample::Resample};
    let bytes = fixture("digits/0_ada_0.wav");
    let (channels, rate, data) = samples(&bytes);
    assert_eq!((channels, rate), (1, 8000));
    let media =
        Resample { rate: 16_000 }.apply(&Draw::None, Media::Wave(Wave::mono(data, rate)), &mut Tools::default());
    let Media::Wave(Wave { data, .. }) = media.unwrap() else { panic!() };
    let (made, info) =
        stored(&asked(json!({"store": "raw", "audio": {"rate": 16000}})), Kind::Audio, &bytes).unwrap().unwrap();
    assert!(samples(&made) == (1, 16_000, data.clone()), "raw has every bit");
    assert_eq!((info.rate, info.count), (16_000, data.len() as u64));
    // As FLAC with the source's 16 bits: the nearest steps.
    let (made, _) = stored(&asked(json!({"audio": {"rate": 16000}})), Kind::Audio, &bytes).unwrap().unwrap();
    let steps: Vec<f32> = data.iter().map(|s| (s * 32_768.0).round_ties_even() / 32_768.0).collect();
    assert!(samples(&made).2 == steps);
    let (deep, _) =
        stored(&asked(json!({"audio": {"rate": 16000, "bits": 24}})), Kind::Audio, &bytes).unwrap().unwrap();
    assert!(deep.len() > made.len());
}

#[test]
fn channels_are_kept_or_mixed_as_a_loader_does() {
    let left: Vec<f32> = (0..3000).map(|i| ((i * 37) % 2001) as f32 / 4096.0 - 0.2).collect();
    let both: Vec<f32> = left.iter().flat_map(|s| [*s, -s / 2.0]).collect();
    let (wav, _) = sound::wav(&both, 2, 8000, None, &Limits::default()).unwrap();
    let (made, info) = stored(&asked(json!({"audio": {"rate": 4000}})), Kind::Audio, &wav).unwrap().unwrap();
    assert_eq!((info.channels, info.rate, info.count), (2, 4000, 1500));
    let (mono, _) = sound::wav(&left, 1, 8000, None, &Limits::default()).unwrap();
    let (alone, _) = stored(&asked(json!({"audio": {"rate": 4000}})), Kind::Audio, &mono).unwrap().unwrap();
    let first: Vec<f32> = samples(&made).2.into_iter().step_by(2).collect();
    assert!(first == samples(&alone).2, "a channel is resampled alone");
    let (mixed, info) =
        stored(&asked(json!({"store": "raw", "audio": {"mono": true}})), Kind::Audio, &wav).unwrap().unwrap();
    assert_eq!(info.channels, 1);
    assert!(samples(&mixed).2 == crate::augment::run::mixed(&both, 2));
}

#[test]
fn depths_and_saturation() {
    let limits = Limits::default();
    let bits = |samples: &[f32]| {
        let (bytes, _) = sound::wav(samples, 1, 8000, None, &limits).unwrap();
        u16::from_le_bytes([bytes[34], bytes[35]])
    };
    assert_eq!(bits(&[0.5, -1.0, 32_767.0 / 32_768.0]), 16);
    assert_eq!(bits(&[0.5, 1.0 / (1 << 20) as f32]), 24);
    assert_eq!(bits(&[0.5, 1.0]), 32, "1 is beyond the last step");
    assert_eq!(bits(&[1e-9]), 32);
    assert_eq!(bits(&[]), 16);
    let (bytes, _) = sound::wav(&[2.0, -3.0, 1.0], 1, 8000, Some(16), &limits).unwrap();
    assert_eq!(samples(&bytes).2, [32_767.0 / 32_768.0, -1.0, 32_767.0 / 32_768.0]);
    let odd = sound::wav(&[0.0, 1.0 / (1 << 20) as f32, 0.25], 1, 8000, None, &limits).unwrap().0;
    assert_eq!((odd.len() % 2, u32::from_le_bytes([odd[4], odd[5], odd[6], odd[7]]) as usize), (0, odd.len() - 8));
    // FLAC's limits: eight channels, 20 bits of a rate.
    let wide = sound::wav(&[0.0; 90], 9, 8000, None, &limits).unwrap().0;
    let fault = stored(&asked(json!({"audio": {"codec": "flac"}})), Kind::Audio, &wide).unwrap_err();
    assert_eq!(fault.reason, Reason::Unsupported, "{fault}");
}

/// A new flacenc that writes other bytes makes datasets that differ: then raise the version in `made_by`.
#[test]
fn flac_is_frozen() {
    use sha2::{Digest, Sha256};
    let bytes = fixture("digits/0_ada_0.wav");
    let (made, _) = stored(&asked(json!({"audio": {"codec": "flac"}})), Kind::Audio, &bytes).unwrap().unwrap();
    let digest = crate::data::index::hex(&Sha256::digest(&made));
    assert_eq!(digest, "8ca9089ccb3b500485bef585853b384d9dcc3c4a4dbcc8bbe3e595e4a83ed704");
}
