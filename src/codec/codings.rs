//! What each format may hold, who decodes it, and what the result was held against: facts for people, no behaviour.
//!
//! `dsctl list codecs` shows them, and `cargo bench --bench codecs` makes `docs/codecs.md` of them with what decoding costs.

use crate::data::info::Format;

/// One coding in one format, as this crate reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// The format that holds it.
    pub format: Format,
    /// The coding, in the words of its standard.
    pub coding: &'static str,
    /// The crate that decodes it; "feedstock" where that is this one.
    pub krate: &'static str,
    /// Whether that is Rust alone; otherwise it brings C that is built with it, or needs the system's FFmpeg.
    pub pure_rust: bool,
    /// The crate feature that brings it.
    pub feature: &'static str,
    /// The program or library whose output it was compared with.
    pub reference: &'static str,
    /// How far it may be off.
    pub bound: &'static str,
    /// The file of the bench's media that holds it.
    pub sample: &'static str,
}

impl Coding {
    /// Whether this build has it.
    pub fn here(&self) -> bool {
        self.feature.split(", ").all(|feature| match feature {
            "image" => cfg!(feature = "image"),
            "exr" => cfg!(feature = "exr"),
            "avif" => cfg!(feature = "avif"),
            "audio" => cfg!(feature = "audio"),
            "opus" => cfg!(feature = "opus"),
            "video" => cfg!(feature = "video"),
            "av1" => cfg!(feature = "av1"),
            "ffmpeg" => cfg!(feature = "ffmpeg"),
            _ => true,
        })
    }
}

macro_rules! codings {
    ($($format:ident $coding:literal: $krate:literal $pure:literal $feature:literal, $reference:literal $bound:literal, $sample:literal;)+) => {
        &[$(Coding {
            format: Format::$format, coding: $coding, krate: $krate, pure_rust: $pure, feature: $feature,
            reference: $reference, bound: $bound, sample: $sample,
        }),+]
    };
}

/// Every coding that some build of this crate reads.
pub const CODINGS: &[Coding] = codings! {
    Jpeg "baseline": "libjpeg-turbo-rs" true "image", "Pillow (libjpeg-turbo)" "equal", "baseline.jpg";
    Jpeg "progressive": "libjpeg-turbo-rs" true "image", "Pillow (libjpeg-turbo)" "equal", "progressive.jpg";
    Jpeg "four inks (CMYK, YCCK)": "libjpeg-turbo-rs" true "image", "Pillow (libjpeg-turbo)" "equal", "cmyk.jpg";
    Png "Deflate": "image (png)" true "image", "Pillow" "equal", "photo.png";
    Webp "lossy (VP8)": "image (image-webp)" true "image", "Pillow (libwebp)" "equal", "lossy.webp";
    Webp "lossless (VP8L)": "image (image-webp)" true "image", "Pillow (libwebp)" "equal", "lossless.webp";
    Gif "LZW": "image (gif)" true "image", "Pillow" "equal", "photo.gif";
    Bmp "uncompressed": "image" true "image", "Pillow" "equal", "photo.bmp";
    Tiff "uncompressed": "image (tiff)" true "image", "Pillow (libtiff)" "equal", "photo.tif";
    Tiff "LZW": "image (tiff)" true "image", "Pillow (libtiff)" "equal", "lzw.tif";
    Tiff "palette": "image (tiff)" true "image", "Pillow (libtiff)" "equal", "palette.tif";
    Qoi "QOI": "image (qoi)" true "image", "Pillow" "equal", "photo.qoi";
    Pnm "raw": "image" true "image", "Pillow" "equal", "photo.ppm";
    Tga "run lengths": "image" true "image", "Pillow" "equal", "photo.tga";
    Ico "PNG": "image" true "image", "Pillow" "equal", "photo.ico";
    Hdr "RGBE": "image" true "image", "OpenCV" "1 of 255", "photo.hdr";
    Exr "half floats, ZIP": "image (exr)" true "exr", "ffmpeg" "1 of 255", "photo.exr";
    Avif "AV1": "re_rav1d" true "avif", "Pillow (libavif)" "2 of 255; 4 beyond 8 bits", "photo.avif";
    Dds "DXT1": "image" true "image", "Pillow" "1 of 255", "photo.dds";
    Rgb "8 bits, as --store raw makes it": "feedstock" true "image", "Pillow (PPM)" "equal", "rgb.ppm";
    Wav "PCM, 16 bits": "feedstock" true "audio", "ffmpeg" "equal", "pcm.wav";
    Wav "ADPCM (IMA)": "symphonia" true "audio", "ffmpeg" "equal", "adpcm.wav";
    Flac "FLAC": "symphonia" true "audio", "ffmpeg" "equal", "sound.flac";
    Mp3 "MPEG-1 layer III": "symphonia" true "audio", "ffmpeg" "2^-16", "sound.mp3";
    Ogg "Vorbis": "symphonia" true "audio", "ffmpeg" "2^-16", "vorbis.ogg";
    Ogg "Opus": "unsafe-libopus" true "opus", "ffmpeg (libopus)" "2^-16", "opus.ogg";
    Ogg "FLAC": "symphonia" true "audio", "ffmpeg" "equal", "flac.ogg";
    Aac "AAC-LC in ADTS": "symphonia" true "audio", "ffmpeg" "2^-16", "sound.aac";
    M4a "AAC-LC": "symphonia" true "audio", "ffmpeg" "2^-16", "aac.m4a";
    M4a "ALAC": "symphonia" true "audio", "ffmpeg" "equal", "alac.m4a";
    Aiff "PCM, 16 bits": "symphonia" true "audio", "ffmpeg" "equal", "sound.aiff";
    Caf "ALAC": "symphonia" true "audio", "ffmpeg" "equal", "alac.caf";
    Mka "Vorbis": "symphonia" true "audio", "ffmpeg" "2^-16", "vorbis.mka";
    Mka "Opus": "unsafe-libopus" true "opus", "ffmpeg (libopus)" "2^-16", "opus.mka";
    Mp4 "H.264": "rusty_h264-decoder" true "video", "ffmpeg" "equal planes", "h264.mp4";
    Mp4 "H.265": "rusty_h265" true "video", "ffmpeg" "equal planes", "h265.mp4";
    Mp4 "VP9": "rusty_vp9" true "video", "ffmpeg" "equal planes", "vp9.mp4";
    Mp4 "AV1": "re_rav1d" true "av1", "ffmpeg" "equal planes", "av1.mp4";
    Mp4 "Motion JPEG": "libjpeg-turbo-rs" true "video, image", "Pillow (libjpeg-turbo)" "equal", "mjpeg.mp4";
    Matroska "H.264": "rusty_h264-decoder" true "video", "ffmpeg" "equal planes", "h264.mkv";
    Matroska "H.265": "rusty_h265" true "video", "ffmpeg" "equal planes", "h265.mkv";
    Matroska "H.265, 10 bits": "rusty_h265" true "video", "ffmpeg" "equal planes", "h265_10.mkv";
    Matroska "VP9": "rusty_vp9" true "video", "ffmpeg" "equal planes", "vp9.webm";
    Matroska "AV1": "re_rav1d" true "av1", "ffmpeg" "equal planes", "av1.mkv";
    Matroska "Motion JPEG": "libjpeg-turbo-rs" true "video, image", "Pillow (libjpeg-turbo)" "equal", "mjpeg.mkv";
    Mp4 "H.264, 10 bits 4:2:2": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "h264_10_422.mp4";
    Mp4 "ProRes": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "prores.mov";
    Matroska "VP8": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "vp8.webm";
    Avi "MPEG-4 part 2": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "mpeg4.avi";
    MpegTs "MPEG-2": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "mpeg2.ts";
    MpegPs "MPEG-2": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "mpeg2.mpg";
    Flv "H.264": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "h264.flv";
    Asf "WMV 2": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "wmv2.wmv";
    Ogv "Theora": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "theora.ogv";
    Mxf "MPEG-2, 4:2:2": "FFmpeg (ffmpeg-sys-next)" false "ffmpeg", "ffmpeg" "equal planes", "mpeg2_422.mxf";
    AnimatedGif "LZW": "gif" true "image", "Pillow" "equal", "animation.gif";
    AnimatedWebp "lossy (VP8)": "image (image-webp)" true "image", "Pillow (libwebp)" "equal", "animation.webp";
    Apng "Deflate": "png" true "image", "Pillow" "equal", "animation.png";
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::CODECS;

    #[test]
    fn every_codec_has_its_codings_and_none_is_there_twice() {
        for codec in CODECS.iter().filter(|c| !matches!(c.format(), Format::Utf8 | Format::Tensor)) {
            assert!(CODINGS.iter().any(|c| c.format == codec.format()), "{} has no line here", codec.name());
        }
        for (at, coding) in CODINGS.iter().enumerate() {
            let twice = CODINGS[..at].iter().any(|c| c.sample == coding.sample);
            assert!(!twice, "{} stands for two codings", coding.sample);
            let twice = CODINGS[..at].iter().any(|c| (c.format, c.coding) == (coding.format, coding.coding));
            assert!(!twice, "{} in {} is there twice", coding.coding, coding.format.name());
        }
    }
}
