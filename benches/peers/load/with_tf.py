"""tf.data: TFRecords, shuffled in a buffer that holds them all, mapped on the threads of a pool of its own. Variant: `plain` without antialiasing and with the
default DCT."""
import math
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tensorflow as tf

from common import FLOOR, HOP, MELS, N_FFT, PAD, RATIO, SCALE, SHORT, SIDE, TILE, affine, doubling, files, mel_filters


def version():
    return "TensorFlow " + tf.__version__


def record(job):
    return str(pathlib.Path(job["folder"], "all.tfrecord"))


def make(job):
    paths, labels = files(job)
    with tf.io.TFRecordWriter(record(job)) as out:
        for path, label in zip(paths, labels):
            feature = {
                "media": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pathlib.Path(path).read_bytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            out.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def parsed(row):
    example = tf.io.parse_single_example(row, {"media": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)})
    return example["media"], example["label"]


def normalised(images):
    scale, shift = affine()
    return tf.cast(images, tf.float32) * scale + shift


def dct(exact):
    """TensorFlow's own default is a faster, less exact one."""
    return "INTEGER_ACCURATE" if exact else ""


def crop(antialias):
    def work(row):
        media, label = parsed(row)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(media), tf.zeros([1, 0, 4]), area_range=SCALE, aspect_ratio_range=RATIO, max_attempts=10, min_object_covered=0.0, use_image_if_no_bounding_boxes=True
        )
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.resize(tf.image.decode_and_crop_jpeg(media, window, channels=3, dct_method=dct(antialias)), [SIDE, SIDE], antialias=antialias)
        return tf.transpose(normalised(tf.image.random_flip_left_right(image)), [2, 0, 1]), label

    return work


def center(antialias):
    def work(row):
        media, label = parsed(row)
        image = tf.io.decode_jpeg(media, channels=3, dct_method=dct(antialias))
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        least = tf.minimum(height, width)
        sides = tf.stack([SHORT * height // least, SHORT * width // least])
        image = tf.image.resize(image, sides, antialias=antialias)
        top, left = (sides[0] - SIDE) // 2, (sides[1] - SIDE) // 2
        image = tf.image.crop_to_bounding_box(image, top, left, SIDE, SIDE)
        return tf.ensure_shape(tf.transpose(normalised(image), [2, 0, 1]), [3, SIDE, SIDE]), label

    return work


def cifar(_):
    def work(row):
        media, label = parsed(row)
        image = tf.ensure_shape(tf.io.decode_jpeg(media, channels=3, dct_method=dct(True)), [TILE, TILE, 3])
        image = tf.image.random_crop(tf.pad(image, [[PAD, PAD], [PAD, PAD], [0, 0]]), [TILE, TILE, 3])
        return tf.image.random_flip_left_right(image), label

    return work


def audio(_):
    taps, half = doubling()
    filters = tf.constant(mel_filters())

    def work(row):
        media, label = parsed(row)
        sound, _ = tf.audio.decode_wav(media, desired_channels=1)
        both = tf.nn.conv1d(tf.pad(sound[None], [[0, 0], [half, half], [0, 0]]), taps[:, None, :], 1, "VALID")
        sound = tf.pad(tf.reshape(both, [-1]), [[N_FFT // 2, N_FFT // 2]], mode="REFLECT")
        power = tf.square(tf.abs(tf.signal.stft(sound, N_FFT, HOP, fft_length=N_FFT)))
        return tf.transpose(tf.math.log(tf.maximum(power @ filters, FLOOR))), label

    return work


def opened(job):
    tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(job["threads"])
    workload, batch = job["workload"], job["batch"]
    count = len(files(job)[0])
    rows = tf.data.TFRecordDataset(record(job)).shuffle(count, seed=7).repeat()
    rows = rows.map({"crop": crop, "center": center, "cifar": cifar, "audio": audio}[workload](job["variant"] != "plain"), num_parallel_calls=job["threads"], deterministic=False)
    if workload == "audio":
        rows = rows.padded_batch(batch, ([MELS, None], []), padding_values=(tf.constant(math.log(FLOOR)), tf.constant(0, tf.int64)), drop_remainder=True)
    else:
        rows = rows.batch(batch, drop_remainder=True)
    if workload == "cifar":
        # Of pictures so small, a step for the whole batch is cheaper than one for each.
        rows = rows.map(lambda images, labels: (tf.transpose(normalised(images), [0, 3, 1, 2]), labels), num_parallel_calls=job["threads"])
    options = tf.data.Options()
    options.threading.private_threadpool_size = job["threads"]
    options.deterministic = False
    stream = iter(rows.prefetch(2).with_options(options))

    def epoch():
        for _ in range(count // batch):
            yield next(stream)[0]

    return epoch
