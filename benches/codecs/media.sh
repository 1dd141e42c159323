#!/usr/bin/env bash
# Makes the media that `cargo bench --bench codecs` decodes: one picture, one recording and one clip in every coding that is read.
#   benches/codecs/media.sh FOLDER [PYTHON]      (ffmpeg, ImageMagick; Pillow and OpenCV in PYTHON; the photos of ../shared/data)
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
python=${2:-python3}
data=${FEEDSTOCK_DATA:-../shared/data}
mkdir -p "$out"
quiet=(-hide_banner -loglevel error -nostdin -y)

# A wall of twelve photos: 1600 x 1599 pixels. A minute and a half of spoken digits at 44.1 kHz in stereo. Ten seconds of a clip.
mapfile -t photos < <(find "$data/clothing/train" -name '*.jpg' | sort | awk 'NR % 120 == 1' | head -12)
montage "${photos[@]}" -resize 400x533^ -gravity center -extent 400x533 -tile 4x3 -geometry +0+0 "$out/wall.png"
find "$data/spoken-digits" -name '*.wav' | sort | head -200 | while read -r f; do echo "file '$(realpath "$f")'"; done >"$out/list.txt"
ffmpeg "${quiet[@]}" -f concat -safe 0 -i "$out/list.txt" -ar 44100 -ac 2 -c:a pcm_s16le "$out/pcm.wav"
clip=$(find "$data/clips" -name '*.mp4' | sort | head -1)
ffmpeg "${quiet[@]}" -i "$clip" -an -t 10 -vf scale=640:360,format=yuv420p -c:v ffv1 "$out/source.mkv"

"$python" - "$out" <<'P'
import sys
import cv2
import numpy as np
from PIL import Image

out = sys.argv[1]
wall = Image.open(f"{out}/wall.png").convert("RGB")
wall.save(f"{out}/baseline.jpg", quality=90)
wall.save(f"{out}/progressive.jpg", quality=90, progressive=True)
wall.convert("CMYK").save(f"{out}/cmyk.jpg", quality=90)
wall.save(f"{out}/photo.png")
wall.save(f"{out}/lossy.webp", quality=90)
wall.save(f"{out}/lossless.webp", lossless=True)
wall.quantize(256).save(f"{out}/photo.gif")
wall.save(f"{out}/photo.bmp")
wall.save(f"{out}/photo.tif")
wall.save(f"{out}/lzw.tif", compression="tiff_lzw")
wall.quantize(256).save(f"{out}/palette.tif")
wall.save(f"{out}/photo.qoi")
wall.save(f"{out}/photo.ppm")
# As --store raw makes it: a PPM with a header of 64 bytes.
head = f"P6\n# feedstock rgb, pixels from 64\n{wall.width:>12} {wall.height:>11}\n255\n".encode()
open(f"{out}/rgb.ppm", "wb").write(head + wall.tobytes())
wall.save(f"{out}/photo.tga", compression="tga_rle")
wall.convert("RGBA").resize((256, 256)).save(f"{out}/photo.ico", sizes=[(256, 256)])
wall.resize((1600, 1596)).save(f"{out}/photo.dds", pixel_format="DXT1")
wall.save(f"{out}/photo.avif", quality=80)
light = (np.asarray(wall, dtype=np.float32) / 255.0)[:, :, ::-1]
cv2.imwrite(f"{out}/photo.hdr", light)
few = [wall.resize((400, 400)).rotate(15 * i) for i in range(12)]
few[0].save(f"{out}/animation.gif", save_all=True, append_images=few[1:], duration=40)
few[0].save(f"{out}/animation.webp", save_all=True, append_images=few[1:], duration=40, quality=80)
few[0].save(f"{out}/animation.png", save_all=True, append_images=few[1:], duration=40)
P
ffmpeg "${quiet[@]}" -i "$out/wall.png" -pix_fmt gbrpf32le -c:v exr -compression zip16 -format half "$out/photo.exr"


sound() { ffmpeg "${quiet[@]}" -i "$out/pcm.wav" "${@:2}" "$out/$1"; }
sound adpcm.wav -c:a adpcm_ima_wav
sound sound.flac -c:a flac
sound sound.mp3 -c:a libmp3lame -b:a 192k
sound vorbis.ogg -c:a libvorbis -q:a 5
sound flac.ogg -c:a flac
sound opus.ogg -c:a libopus -b:a 128k
sound sound.aac -c:a aac -b:a 160k
sound aac.m4a -c:a aac -b:a 160k
sound alac.m4a -c:a alac
sound sound.aiff -c:a pcm_s16be
sound alac.caf -c:a alac
sound vorbis.mka -c:a libvorbis -q:a 5
sound opus.mka -c:a libopus -b:a 128k

export SVT_LOG=1
clip() { ffmpeg "${quiet[@]}" -i "$out/source.mkv" -threads 1 "${@:2}" "$out/$1"; }
clip h264.mp4 -c:v libx264 -crf 23
clip h264.mkv -c:v libx264 -crf 23
clip h265.mp4 -c:v libx265 -crf 26 -x265-params log-level=error -tag:v hvc1
clip h265.mkv -c:v libx265 -crf 26 -x265-params log-level=error
clip h265_10.mkv -c:v libx265 -crf 26 -pix_fmt yuv420p10le -x265-params log-level=error
clip vp9.webm -c:v libvpx-vp9 -crf 32 -b:v 0 -cpu-used 4
clip vp9.mp4 -c:v libvpx-vp9 -crf 32 -b:v 0 -cpu-used 4
clip av1.mp4 -c:v libsvtav1 -crf 35 -preset 8
clip av1.mkv -c:v libsvtav1 -crf 35 -preset 8
clip mjpeg.mp4 -c:v mjpeg -q:v 3 -pix_fmt yuvj420p
clip mjpeg.mkv -c:v mjpeg -q:v 3 -pix_fmt yuvj420p
clip h264_10_422.mp4 -c:v libx264 -crf 23 -pix_fmt yuv422p10le
clip prores.mov -c:v prores_ks -profile:v standard -pix_fmt yuv422p10le
clip vp8.webm -c:v libvpx -crf 20 -b:v 2M -cpu-used 4
clip mpeg4.avi -c:v mpeg4 -q:v 5 -bf 2
clip mpeg2.ts -c:v mpeg2video -q:v 5 -bf 2 -r 25
clip mpeg2.mpg -c:v mpeg2video -q:v 5 -bf 2 -r 25 -f vob
clip h264.flv -c:v libx264 -crf 23
clip wmv2.wmv -c:v wmv2 -q:v 5
clip theora.ogv -c:v libtheora -q:v 6
clip mpeg2_422.mxf -c:v mpeg2video -q:v 5 -bf 2 -r 25 -pix_fmt yuv422p
rm "$out/list.txt"
