//! What holds for every codec.

use super::*;

#[test]
fn a_panic_becomes_a_fault() {
    let fault = guarded::<()>("toy", || panic!("index {} out of bounds", 7)).unwrap_err();
    assert_eq!(fault.reason, Reason::DecoderPanic);
    assert_eq!(fault.message, "the toy decoder panicked: index 7 out of bounds");
    assert!(!is_guarded());
    assert_eq!(guarded("toy", || Ok(is_guarded())), Ok(true));
}

#[test]
fn a_forgotten_state_starts_anew() {
    let mut scratch = Scratch::default();
    *scratch.state::<u32>() = 5;
    assert_eq!(*scratch.state::<u32>(), 5);
    scratch.forget::<u32>();
    assert_eq!(*scratch.state::<u32>(), 0);
}

/// Every file of fixtures/hostile that is not video: sniffed and checked, it gives this reason (or decodes).
#[test]
fn hostile_files_are_refused_with_their_reason() {
    use Reason::*;
    let cases: &[(&str, Kind, Option<Reason>)] = &[
        #[cfg(feature = "image")]
        ("zero.jpg", Kind::Image, Some(Empty)),
        #[cfg(feature = "image")]
        ("truncated.jpg", Kind::Image, Some(Truncated)),
        #[cfg(feature = "image")]
        ("header_only.jpg", Kind::Image, Some(Truncated)),
        #[cfg(feature = "image")]
        ("corrupt_scan.jpg", Kind::Image, None), // every block is there; libjpeg, too, takes the noise for picture
        #[cfg(feature = "image")]
        ("not_media.jpg", Kind::Image, Some(UnknownFormat)),
        #[cfg(feature = "image")]
        ("png_named.jpg", Kind::Image, None),
        #[cfg(feature = "image")]
        ("truncated.png", Kind::Image, Some(Truncated)),
        #[cfg(feature = "image")]
        ("bad_crc.png", Kind::Image, Some(Corrupt)),
        #[cfg(feature = "image")]
        ("bomb_50000x50000.png", Kind::Image, Some(OverLimit)),
        #[cfg(feature = "image")]
        ("bomb_65500x65500.jpg", Kind::Image, Some(OverLimit)),
        #[cfg(feature = "image")]
        ("text_bomb.png", Kind::Image, None),
        #[cfg(feature = "image")]
        ("zero_size.png", Kind::Image, Some(Corrupt)),
        #[cfg(feature = "audio")]
        ("truncated.wav", Kind::Audio, Some(Truncated)),
        #[cfg(feature = "audio")]
        ("claims_4gb.wav", Kind::Audio, Some(Truncated)),
        #[cfg(feature = "audio")]
        ("zero_channels.wav", Kind::Audio, Some(Corrupt)),
        #[cfg(feature = "audio")]
        ("zero_rate.wav", Kind::Audio, Some(Corrupt)),
        #[cfg(feature = "audio")]
        ("rate_4ghz.wav", Kind::Audio, Some(Corrupt)),
        #[cfg(feature = "audio")]
        ("65535_channels.wav", Kind::Audio, Some(Corrupt)),
        #[cfg(feature = "audio")]
        ("no_samples.wav", Kind::Audio, None),
        #[cfg(feature = "audio")]
        ("random.wav", Kind::Audio, Some(UnknownFormat)),
        #[cfg(feature = "audio")]
        ("truncated.flac", Kind::Audio, Some(Truncated)),
        #[cfg(feature = "audio")]
        ("corrupt_frame.flac", Kind::Audio, Some(Corrupt)),
        #[cfg(feature = "audio")]
        ("silence_10h.flac", Kind::Audio, Some(OverLimit)),
        #[cfg(feature = "text")]
        ("invalid_utf8.txt", Kind::Text, Some(InvalidUtf8)),
        #[cfg(feature = "text")]
        ("surrogate.txt", Kind::Text, Some(InvalidUtf8)),
        #[cfg(feature = "text")]
        ("utf16.txt", Kind::Text, Some(InvalidUtf8)),
        #[cfg(feature = "text")]
        ("nul.txt", Kind::Text, Some(Corrupt)),
        #[cfg(feature = "text")]
        ("zero.txt", Kind::Text, None),
    ];
    let mut scratch = Scratch::default();
    let limits = Limits::default();
    for (name, kind, reason) in cases {
        let bytes = fixture(&format!("hostile/{name}"));
        let found = sniff(&bytes, *kind).and_then(|codec| codec.check(&bytes, Check::Decode, &limits, &mut scratch));
        assert_eq!(found.as_ref().err().map(|f| f.reason), *reason, "{name}: {found:?}");
        let most = scratch.held();
        assert!(most < 16 << 20, "{name} made the scratch grow to {most} bytes");
    }
}

#[test]
fn a_check_holds_what_its_codec_said() {
    let cases: &[(&str, Kind)] = &[
        #[cfg(feature = "image")]
        ("images/train/pants", Kind::Image),
        #[cfg(feature = "image")]
        ("images_extra", Kind::Image),
        #[cfg(feature = "audio")]
        ("audio", Kind::Audio),
        #[cfg(feature = "text")]
        ("text", Kind::Text),
    ];
    let limits = Limits::default();
    for (folder, kind) in cases {
        let path = format!("{}/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
            let (bytes, mut scratch) = (std::fs::read(&file).unwrap(), Scratch::default());
            let Ok(codec) = sniff(&bytes, *kind) else { continue };
            let Ok(info) = codec.check(&bytes, Check::Decode, &limits, &mut scratch) else { continue };
            // A vector that grows in steps has up to twice what it needs.
            let (held, said) = (scratch.held(), codec.memory(&bytes, &info));
            assert!(held <= 2 * said, "{file:?}: {held} bytes are held, {said} were said");
        }
    }
}

pub(crate) fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
