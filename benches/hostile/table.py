"""What becomes of hostile input: makes each kind in a folder of its own, ingests it with a good row beside it, and prints a Markdown table of outcome and reason
codes. A run that takes longer than 60 s, or 2 GiB of memory, ends the script: nothing here may.

    python3 benches/hostile/table.py target/ci/dsctl fixtures > docs/hostile.md

Needs root for the device and the foreign owner; without it these rows say so.
"""
import gzip
import io
import json
import os
import pathlib
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile

DSCTL, FIXTURES = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
PNG = (FIXTURES / "objects/coco/images/train/a.png").read_bytes()
GOOD = {"good.png": PNG}
KINDS = []


def kind(name, flags=(), files=None, then=None, root=".", label=None):
    KINDS.append((name, list(flags), files or {}, then, root))


def media():
    for file in sorted((FIXTURES / "hostile").iterdir()):
        of = {"image": "png jpg", "audio": "wav flac", "video": "mp4 mkv", "text": "txt"}
        which = next(k for k, ends in of.items() if file.suffix[1:] in ends.split())
        kind(f"media: `{file.name}`", ["--kind", which] if which != "text" else ["--format", "text"], {file.name: file.read_bytes()})


def tar(*members, cut=None):
    """A tar of (name, bytes) or of what is done to a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data, *more in (("c/good.png", PNG), ("README", b"beside"), *members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in (more[0] if more else {}).items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()[:cut]


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data, *more in (("c/good.png", PNG), ("README", b"beside"), *members):
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                info.external_attr = 0o100644 << 16
                for key, value in (more[0] if more else {}).items():
                    setattr(info, key, value)
                archive.writestr(info, data)
    return out.getvalue()


def archives():
    """Each beside a picture in a class folder, and a file that is none."""

    def one(name, bytes_, file="x.tar", flags=("--format", "folder", "--kind", "image")):
        kind(f"archive: {name}", flags, {file: bytes_}, root=file)

    def changed(bytes_, what, by):
        """The last of some bytes, changed: in a ZIP that of the directory."""
        at = bytes_.rindex(what)
        return bytes_[:at] + by + bytes_[at + len(what):]

    one("tar, `../` in a path", tar(("../../x.png", PNG)))
    one("tar, an absolute path", tar(("/etc/x.png", PNG)))
    one("tar, a link out of it", tar(("c/l.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})))
    one("tar, a hard link", tar(("c/l.png", b"", {"type": tarfile.LNKTYPE, "linkname": "c/good.png"})))
    one("tar, a device", tar(("c/d.png", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})))
    one("tar, a FIFO", tar(("c/f.png", b"", {"type": tarfile.FIFOTYPE})))
    one("tar, a sparse file", tar(("c/s.png", PNG, {"type": tarfile.GNUTYPE_SPARSE})))
    one("tar, one name twice", tar(("c/a.png", b"old"), ("c/a.png", PNG)))
    one("tar, a file that is a folder, too", tar(("c/a.png", PNG), ("c/a.png/b.png", PNG)))
    one("tar, a name of 100,000 bytes", tar(("c/" + "x" * 100_000 + ".png", PNG)))
    one("tar, a name that is not UTF-8", tar(("c/caf\udce9.png", PNG)))
    one("tar, cut within a member", tar(("c/a.png", PNG))[: 512 * 5 + 600 + len(PNG) // 512 * 512])
    one("tar, without an end", tar(("c/a.png", PNG)).rstrip(b"\0"))
    one("tar, a header damaged", tar(("c/a.png", PNG)).replace(b"c/a.png", b"c/b.png"))
    one("tar, a size of 8 EiB", tar(("c/a.png", PNG)).replace(b"c/a.png" + bytes(93) + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % len(PNG), b"c/a.png" + bytes(93) + b"0000644\0" + b"0000000\0" * 2 + b"77777777777\0"))
    one("tar, 200,000 empty members", many())
    one("tar, an archive within it", tar(("c/in.tar", tar())))
    one("tar.gz, a bomb of zeros", gzip.compress(tar() + bytes(300 << 20)), "x.tar.gz")
    one("tar.gz, cut", gzip.compress(tar(("c/a.png", PNG)), mtime=0)[:-20], "x.tar.gz")
    one("tar.gz, no tar inside", gzip.compress(b"text\n" * 1000, mtime=0), "x.tar.gz")
    one("ZIP, `../` in a path", zipped(("../../x.png", PNG)), "x.zip")
    one("ZIP, `..\\` in a path", zipped(("..\\..\\x.png", PNG)), "x.zip")
    one("ZIP, an absolute path", zipped(("/etc/x.png", PNG)), "x.zip")
    one("ZIP, a drive letter", zipped(("C:\\x.png", PNG)), "x.zip")
    one("ZIP, a name with NUL", zipped(("c/aXb.png", PNG)).replace(b"aXb", b"a\0b"), "x.zip")
    one("ZIP, a link out of it", zipped(("c/l.png", b"/etc/passwd", {"external_attr": 0o120777 << 16})), "x.zip")
    one("ZIP, encrypted", changed(zipped(("c/e.png", PNG)), b"\x14\0\0\0\x08\0", b"\x14\0\1\0\x08\0"), "x.zip")
    one("ZIP, compressed by LZMA", zipped(("c/a.png", PNG), method=zipfile.ZIP_LZMA), "x.zip")
    one("ZIP, one name twice", zipped(("c/a.png", b"old"), ("c/a.png", PNG)), "x.zip")
    one("ZIP, another name in front of the member", changed(zipped(("c/a.png", PNG)), b"c/a.png", b"c/z.png"), "x.zip")
    one("ZIP, a checksum that is wrong", damaged_zip(), "x.zip")
    one("ZIP, members that share their bytes", overlapping(), "x.zip")
    one("ZIP, 4 GiB of zeros in a picture", zipped_zeros(), "x.zip")
    one("ZIP, without its directory", zipped(("c/a.png", PNG))[:-60], "x.zip")
    one("ZIP, empty", b"PK\5\6" + bytes(18), "x.zip")
    wds = ("--format", "webdataset")
    one("WebDataset, one suffix twice", tar(("a.png", PNG), ("a.cls", b"1"), ("a.PNG", PNG)), flags=wds)
    one("WebDataset, a key that comes again", tar(("a.png", PNG), ("b.png", PNG), ("a.cls", b"1")), flags=wds)
    one("WebDataset, a pickle", tar(("a.png", PNG), ("a.pyd", b"cos\nsystem\n(S'true'\ntR.")), flags=wds)
    one("WebDataset, JSON 100,000 deep", tar(("a.png", PNG), ("a.json", b"[" * 100_000)), flags=wds)


def many():
    header = bytearray(tar()[:512])
    out = bytearray(tar()[: 512 * 4 + (len(PNG) - 1) // 512 * 512])
    for n in range(200_000):
        header[:100] = b"c/%d.png" % n + bytes(100 - len(b"c/%d.png" % n))
        header[124:136] = b"00000000000\0"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        out += header
    return bytes(out) + bytes(1024)


def damaged_zip():
    whole = bytearray(zipped(("c/a.png", PNG), method=zipfile.ZIP_STORED))
    whole[whole.rindex(PNG) + len(PNG) // 2] ^= 1
    return bytes(whole)


def overlapping():
    whole = zipped(("c/k.png", bytes(1 << 20)))
    at, end = whole.index(b"PK\1\2"), whole.rindex(b"PK\5\6")
    entry = whole[whole.rindex(b"PK\1\2"):end]
    more = b"".join(entry.replace(b"k.png", b"%05d" % n) for n in range(1000))
    directory = whole[at:end] + more
    count = struct.pack("<HH", 1003, 1003)
    return whole[:at] + directory + b"PK\5\6" + bytes(4) + count + struct.pack("<IIH", len(directory), at, 0)


def zipped_zeros():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/good.png", PNG)
        archive.writestr("README", b"beside")
        with archive.open("c/bomb.png", "w", force_zip64=True) as member:
            member.write(PNG)
            for _ in range(64):
                member.write(bytes(64 << 20))
    return out.getvalue()


def names():
    image = ["--kind", "image"]
    kind("name: a line feed", image, {"a\nb.png": PNG, **GOOD})
    kind("name: a terminal's escape sequence", image, {"a\x1b[2Jb.png": PNG, **GOOD})
    kind("name: not UTF-8", image, GOOD, lambda d: open(os.fsencode(d) + b"/caf\xe9.png", "wb").write(PNG))
    kind("name: 255 bytes", image, {"x" * 251 + ".png": PNG, **GOOD})
    kind("name: like an option (`--help.png`)", image, {"--help.png": PNG, **GOOD})
    kind("name: a hidden file", image, {".hidden.png": PNG, **GOOD})
    kind("folders: 70 deep", image, {"/".join(["d"] * 70) + "/a.png": PNG, **GOOD})
    kind("folders: one that is called `x.png`", image, {"x.png/inside.txt": b"x", **GOOD})


def files():
    image = ["--kind", "image"]

    def sock(d):
        s = socket.socket(socket.AF_UNIX)
        s.bind(str(d / "s.png"))

    def device(d):
        os.mknod(d / "null.png", 0o666 | 0o020000, os.makedev(1, 3))

    def sparse(d):
        with open(d / "sparse.png", "wb") as f:
            f.write(PNG)
            f.truncate(1 << 42)

    kind("file: a link out of the source", image, GOOD, lambda d: (d / "l.png").symlink_to("/etc/passwd"))
    kind("file: a link to a file within", image, GOOD, lambda d: (d / "l.png").symlink_to("good.png"))
    kind("file: a link to nowhere", image, GOOD, lambda d: (d / "l.png").symlink_to("nowhere"))
    kind("file: a link to itself", image, GOOD, lambda d: (d / "l.png").symlink_to("l.png"))
    kind("folder: a link to the one above", image, GOOD, lambda d: (d / "loop").symlink_to(".."))
    kind("file: a FIFO", image, GOOD, lambda d: os.mkfifo(d / "f.png"))
    kind("file: a socket", image, GOOD, sock)
    kind("file: a device", image, GOOD, device)
    kind("file: a sparse one of 4 TiB", image, GOOD, sparse)
    kind("file: empty", image, {"e.png": b"", **GOOD})
    kind("file: one byte", image, {"e.png": b"\x89", **GOOD})
    kind("file: an archive called `.png`", image, {"z.png": b"PK\x03\x04" + b"\0" * 100, **GOOD})
    kind("file: a program called `.png`", image, {"z.png": b"\x7fELF" + b"\0" * 100, **GOOD})
    kind("file: HTML called `.jpg`", image, {"z.jpg": b"<html><script>alert(1)</script>", **GOOD})


def manifests():
    def csv(name, text, flags=()):
        kind(f"manifest: {name}", ["--kind", "image", *flags], {"m.csv": text if isinstance(text, bytes) else text.encode(), **GOOD}, root="m.csv")

    head = "file_name,label\ngood.png,a\n"
    csv("`../` in a path", head + "../x.png,a\n")
    csv("an absolute path", head + "/etc/passwd,a\n")
    csv("a drive letter", head + "C:\\x.png,a\n")
    csv("a path with NUL", head + "a\0b.png,a\n")
    csv("a file that is not there", head + "no.png,a\n")
    csv("a folder in place of a file", head + ".,a\n")
    csv("a row too short", head + "good.png\n")
    csv("a row too long", head + "good.png,a,b,c\n")
    csv("a quote that is not closed", head + '"good.png,a\n')
    csv("two columns of one name", "file_name,label,label\ngood.png,a,b\n")
    csv("no header", b"")
    csv("UTF-16", (head).encode("utf-16"))
    csv("Latin-1", head.encode() + b"good.png,caf\xe9\n")
    csv("a line of 64 MiB", head.encode() + b"good.png," + b"x" * (64 << 20) + b"\n")
    csv("a class that is empty", head + "good.png,\n")
    csv("a split called `../../x`", "file_name,label,split\ngood.png,a,../../x\n")

    def jsonl(name, line):
        kind(f"JSONL: {name}", ["--kind", "image"], {"m.jsonl": b'{"file_name": "good.png"}\n' + line + b"\n", **GOOD}, root="m.jsonl")

    jsonl("lists 100,000 deep", b'{"file_name": "good.png", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    jsonl("a number of 1e999", b'{"file_name": "good.png", "x": 1e999}')
    jsonl("half a line", b'{"file_name": "good.p')
    jsonl("a list in place of an object", b"[1, 2]")
    jsonl("the path is a number", b'{"file_name": 7}')


def labels():
    box = "<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    good = {"good.png": PNG, "good.xml": f"<annotation>{box}</annotation>".encode(), "bad.png": PNG}

    def voc(name, xml):
        kind(f"VOC: {name}", ["--format", "voc"], {**good, "bad.xml": xml if isinstance(xml, bytes) else xml.encode()})

    laughs = "".join(f'<!ENTITY l{i} "{"&l%d;" % (i - 1) * 10}">' for i in range(1, 10))
    voc("a billion laughs", f'<!DOCTYPE a [<!ENTITY l0 "lol">{laughs}]><annotation><filename>&l9;</filename></annotation>')
    voc("an entity of a file", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>')
    voc("elements 1,000,000 deep", "<a>" * 1_000_000)
    voc("not XML", b"\0\1\2")
    voc("a coordinate of NaN", f"<annotation>{box.replace('<xmin>1', '<xmin>NaN')}</annotation>")
    voc("no class", f"<annotation>{box.replace('<name>a</name>', '')}</annotation>")
    voc("100,000 objects", "<annotation>" + box * 100_000 + "</annotation>")

    def coco(name, images='{"id": 1, "file_name": "good.png"}', annotations="", more=""):
        text = f'{{"images": [{images}], "categories": [{{"id": 1, "name": "a"}}], "annotations": [{annotations}]{more}}}'
        kind(f"COCO: {name}", ["--format", "coco"], {"c.json": text.encode(), **GOOD})

    good_box = '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}'
    coco("`../` in a file_name", '{"id": 1, "file_name": "good.png"}, {"id": 2, "file_name": "../../etc/passwd"}', good_box)
    coco("an annotation of no picture", annotations=good_box + ', {"image_id": 9, "category_id": 1, "bbox": [1, 1, 5, 5]}')
    coco("a bbox of three numbers", '{"id": 1, "file_name": "good.png"}, {"id": 2, "file_name": "x.png"}', good_box.replace("[1, 1, 5, 5]", "[1, 1, 5]"))
    coco("NaN in a bbox", annotations=good_box.replace("[1,", "[NaN,"))
    coco("lists 100,000 deep", annotations=good_box, more=', "info": ' + "[" * 100_000 + "]" * 100_000)
    coco("one picture twice", '{"id": 1, "file_name": "good.png"}, {"id": 2, "file_name": "good.png"}', good_box)
    kind("COCO: cut off", ["--format", "coco"], {"c.json": b'{"images": [{"id": 1, "file_name": "good.png"}], "annot', **GOOD})

    def yolo(name, rows, yaml="train: .\nnames: [a, b]\n"):
        kind(f"YOLO: {name}", ["--format", "yolo"], {"data.yaml": yaml.encode(), "good.txt": b"0 0.5 0.5 1 1\n", "bad.png": PNG, "bad.txt": rows.encode(), **GOOD})

    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))
    yolo("aliases that blow up", "", bomb + "names: *m\ntrain: .\n")
    yolo("a class of 4,000,000,000 in names", "", "train: .\nnames: {4000000000: a}\n")
    yolo("a class beyond names", "7 0.5 0.5 1 1\n")
    yolo("a box in pixels", "0 320 240 10 10\n")
    yolo("boxes and polygons", "0 0.5 0.5 1 1\n0 0.1 0.1 0.2 0.2 0.3 0.1\n")
    yolo("`nan`", "0 nan 0.5 1 1\n")
    yolo("train leads up", "", "train: ../../../etc\nnames: [a]\n")


def limits():
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))


def run(name, flags, contents, then, root, base):
    source, dataset = base / "source", base / "dataset"
    source.mkdir()
    try:
        for file, content in contents.items():
            path = source / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if then:
            then(source)
    except OSError as error:
        return f"(not made here: {error})", ""
    command = [DSCTL, "ingest", source / root, dataset, "--json", "--quiet", "--max-errors", "100%", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limits)
    refused = []
    for file in (dataset / ".dsctl/quarantine").glob("*.jsonl"):
        refused += [json.loads(line) for line in file.read_text().splitlines()]
    reasons = ", ".join(sorted({f"`{r['reason']}`" for r in refused}))
    if done.returncode < 0 or done.returncode not in (0, 2, 5):
        raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stderr}")
    summary = json.loads(done.stdout) if done.stdout.strip() else {}
    if done.returncode == 0:
        rows = summary.get("rows", 0)
        return f"{rows} taken, {len(refused)} refused", reasons
    message = summary.get("error", done.stderr).split("\n")[0]
    short = message.replace(str(source), "SOURCE").replace("|", "\\|")
    return f"nothing committed, exit code {done.returncode}", reasons or short[:160]


def main():
    for make in (media, names, files, manifests, labels, archives):
        make()
    print(f"# Hostile input\n\n{len(KINDS)} kinds, each ingested with `--max-errors 100%` and, but for the media, with a good picture beside it (in archives, within them), by `benches/hostile/table.py`: within 60 s and 2 GiB of memory each, no crash among them.")
    print("\n| kind | outcome | reasons |\n|---|---|---|")
    for name, flags, contents, then, root in KINDS:
        with tempfile.TemporaryDirectory() as base:
            outcome, reasons = run(name, flags, contents, then, root, pathlib.Path(base))
        print(f"| {name} | {outcome} | {reasons} |", flush=True)


main()
