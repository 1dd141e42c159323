//! What is decoded of recordings in part.

use super::*;

/// Some operation on recordings with some parameters.
fn any_audio_op(s: &mut Stream) -> (String, String) {
    let (name, params) = match s.below(8) {
        0 => ("channels", ["\"mono\"", "\"keep\"", "2", "1", "[1, 0, 1]", "[0]"][s.below(6) as usize].to_owned()),
        1 => ("time_crop", format!("{{\"samples\": {}, \"mode\": \"random\"}}", 1 + s.below(900))),
        2 => ("time_crop", format!("{{\"seconds\": 0.05, \"start\": 0.0{}}}", s.below(10))),
        3 => ("time_crop", format!("{{\"samples\": {}, \"mode\": \"center\"}}", 1 + s.below(900))),
        4 => ("resample", "{\"rate\": 16000}".into()),
        5 => ("pad_trim", format!("{{\"samples\": {}, \"mode\": \"random\"}}", 1 + s.below(900))),
        6 => ("log_mel", "{\"n_mels\": 5, \"n_fft\": 64, \"hop\": 16}".into()),
        _ => ("to", "{\"dtype\": \"f16\"}".into()),
    };
    let params = if name == "channels" { format!("{{\"to\": {params}}}") } else { params };
    (name.into(), params)
}

/// The same law for recordings: what is decoded of them is what the reference cuts, and the mix the mean.
#[test]
fn recordings_decoded_in_part_are_those_cut_from_the_whole() {
    let (mut done, mut refused, mut parts) = (0, 0, 0);
    for seed in 0..1500 {
        let mut s = Key::new(seed).named("recordings").stream();
        let channels = 1 + s.below(3) as u32;
        let rate = [8000, 11_025, 16_000][s.below(3) as usize];
        let info = Info { rate, channels, count: 1 + s.below(2000), ..Info::of(Format::Wav) };
        let mut list = Vec::new();
        for _ in 0..1 + s.below(5) {
            list.push(any_audio_op(&mut s));
            if Chain::compile(Kind::Audio, named(&list), true).is_err() {
                list.pop();
            }
        }
        let fake = Fake { info, margin: s.below(9) as u32 };
        let extra: Vec<usize> = (0..4).map(|_| s.below(2) as usize * s.below(4) as usize).collect();
        let fused = Chain::compile(Kind::Audio, named(&list), true).unwrap();
        let plain = Chain::compile(Kind::Audio, named(&list), false).unwrap();
        parts += u32::from(list.first().is_some_and(|(name, _)| name == "time_crop"));
        let a = run(&fused, &fake, Key::new(seed), &mut Tools::default(), &extra, 0xAA);
        let b = run(&plain, &fake, Key::new(seed), &mut Tools::default(), &extra, 0x55);
        match (a, b) {
            (Ok(a), Ok(b)) => {
                assert!(a == b, "seed {seed}: {info:?} through {list:?}");
                done += 1;
            }
            (Err(a), Err(b)) => {
                assert_eq!(a.reason, b.reason, "seed {seed}: {list:?}");
                refused += 1;
            }
            (a, b) => panic!("seed {seed}: {list:?}: {:?} {:?}", a.map(|v| v.len()), b.map(|v| v.len())),
        }
    }
    assert!(done > 900 && refused > 20 && parts > 200, "{done} {refused} {parts}: it does not reach what it is for");
}

/// And with real files: a part in the middle of every recording of the fixtures, through every codec.
#[test]
fn a_part_of_every_recording_is_that_of_the_whole() {
    let mut seen = 0;
    for folder in ["audio", "audio_formats"] {
        let folder = format!("{}/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let (bytes, limits) = (std::fs::read(&file).unwrap(), Limits::default());
            let codec = crate::codec::sniff(&bytes, Kind::Audio).unwrap();
            let Ok(info) = codec.probe(&bytes, &limits) else { continue };
            for list in [
                vec![("time_crop", r#"{"seconds": 0.03, "start": 0.02}"#)],
                vec![("channels", r#"{"to": "keep"}"#), ("time_crop", r#"{"samples": 700, "mode": "random"}"#)],
                vec![
                    ("time_crop", r#"{"seconds": 0.04, "mode": "center"}"#),
                    ("time_crop", r#"{"samples": 99, "start": 0.01}"#),
                ],
            ] {
                let made = [true, false].map(|fuse| {
                    let chain = Chain::compile(Kind::Audio, named(&list), fuse).unwrap();
                    let drawn = chain.draw(&info, Key::new(7));
                    chain.run_late(&drawn, &bytes, codec, &limits, &mut Tools::default()).unwrap()
                });
                assert_eq!(made[0], made[1], "{file:?}");
                assert!(!made[0].bytes.is_empty());
                seen += 1;
            }
        }
    }
    assert!(seen >= 3 * 40, "{seen}");
}

/// A decode of a part looks at no more than it: damage behind it is not seen.
#[test]
fn only_the_part_is_decoded() {
    struct Asked(std::sync::Mutex<Vec<Option<(u64, u64)>>>, Fake);
    impl Codec for Asked {
        fn format(&self) -> Format {
            Format::Wav
        }
        fn sniff(&self, _: &[u8]) -> bool {
            true
        }
        fn probe(&self, _: &[u8], _: &Limits) -> Result<Info, Fault> {
            Ok(self.1.info)
        }
        fn decode<'s>(&self, b: &'s [u8], w: Want<'_>, l: &Limits, s: &'s mut Scratch) -> Result<Decoded<'s>, Fault> {
            self.0.lock().unwrap().push(if let Want::Audio { range } = w { range } else { None });
            self.1.decode(b, w, l, s)
        }
    }
    let info = Info { rate: 8000, channels: 2, count: 80_000, ..Info::of(Format::Wav) };
    let asked = Asked(std::sync::Mutex::default(), Fake { info, margin: 0 });
    let run = |list: &[(&str, &str)]| {
        let chain = Chain::compile(Kind::Audio, named(list), true).unwrap();
        let drawn = chain.draw(&info, Key::new(1));
        chain.run_late(&drawn, b"", &asked, &Limits::default(), &mut Tools::default()).unwrap();
        asked.0.lock().unwrap().pop().unwrap()
    };
    let crop = ("time_crop", r#"{"seconds": 2, "start": 3}"#);
    let inner = ("time_crop", r#"{"seconds": 9, "start": 1.5}"#);
    let keep = ("channels", r#"{"to": "keep"}"#);
    assert_eq!(run(&[crop]), Some((24_000, 40_000)));
    assert_eq!(run(&[keep, crop, inner]), Some((36_000, 40_000)));
    assert_eq!(run(&[crop, keep]), Some((24_000, 40_000)));
    assert_eq!(run(&[("resample", r#"{"rate": 4000}"#), crop]), None);
}
