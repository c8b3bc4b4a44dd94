"""Makes jpeg.tar.gz: small JPEGs of every lawful kind, each with what Pillow reads from it.

    python -m venv venv && venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    venv/bin/python make_jpeg.py

Pillow writes few kinds itself, so there is an encoder here: any sampling, any scans, any colour model and markers, baseline or
progressive (spectral selection, and one bit of successive approximation for the first coefficient). A member `name.jpg` is
followed by `name.ppm` or, where it is grey, `name.pgm`. Names are COLOURS-SAMPLING-SCANS-WIDTHxHEIGHT.
"""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
TABLE = np.clip(np.add.outer(np.arange(8), np.arange(8)) * 2 + 3, 1, 255)

# How many codes have 1 to 16 bits, and their symbols. Runs and sizes of all coefficients but the first have codes of 8 or 9 bits.
DC = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], list(range(12))
SYMBOLS = [0x00, 0xF0] + [run << 4 | size for run in range(16) for size in range(1, 11)]
AC = [0] * 7 + [120, len(SYMBOLS) - 120] + [0] * 7, SYMBOLS


def codes(table):
    found, code, symbols = {}, 0, iter(table[1])
    for length, count in enumerate(table[0], 1):
        for _ in range(count):
            found[next(symbols)] = (code, length)
            code += 1
        code <<= 1
    return found


DC_CODES, AC_CODES = codes(DC), codes(AC)
K = np.arange(8)
COSINES = np.where(K[:, None] == 0, 0.125**0.5, 0.5) * np.cos((2 * K[None] + 1) * K[:, None] * np.pi / 16)


class Bits:
    def __init__(self):
        self.bytes, self.held, self.count = bytearray(), 0, 0

    def put(self, value, length):
        self.held, self.count = self.held << length | value, self.count + length
        while self.count >= 8:
            byte = self.held >> (self.count - 8) & 255
            self.bytes += bytes([byte, 0]) if byte == 255 else bytes([byte])
            self.count -= 8
        self.held &= (1 << self.count) - 1

    def number(self, table, prefix, value):
        """A symbol whose low half is the length of a number, and the number."""
        size = abs(value).bit_length()
        self.put(*table[prefix | size])
        if size:
            self.put(value if value > 0 else value + (1 << size) - 1, size)

    def align(self):
        if self.count:
            self.put((1 << (8 - self.count)) - 1, 8 - self.count)


def segment(marker, content):
    return bytes([255, marker]) + (len(content) + 2).to_bytes(2, "big") + bytes(content)


def encode(planes, sampling, scans, ids=None, jfif=False, adobe=None, progressive=False, restart=0, stray=b"", extra=b""):
    """`planes` are of full size. `scans` are pairs: components, and None or (first, last, high, low) of a progressive scan."""
    height, width = planes[0].shape
    ids = ids or list(range(1, len(planes) + 1))
    across, down = max(h for h, _ in sampling), max(v for _, v in sampling)
    columns, rows = -(-width // (8 * across)), -(-height // (8 * down))
    blocks, inside = [], []
    for plane, (h, v) in zip(planes, sampling):
        whole = ((0, rows * 8 * down - height), (0, columns * 8 * across - width))
        whole = np.pad(np.asarray(plane, float), whole, mode="edge")
        # One that is sampled at a fraction (2 of 3) is not lawful here.
        fine = whole.reshape(rows * 8 * v, down // v, columns * 8 * h, across // h).mean((1, 3)) - 128
        tiles = fine.reshape(rows * v, 8, columns * h, 8).transpose(0, 2, 1, 3)
        blocks.append(np.round(COSINES @ tiles @ COSINES.T / TABLE).astype(int).reshape(rows * v, columns * h, 64)[..., ZIGZAG])
        inside.append((-(-(-(-height * v // down)) // 8), -(-(-(-width * h // across)) // 8)))
    out = bytearray(b"\xff\xd8")
    if jfif:
        out += segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    out += stray
    if adobe is not None:
        out += segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    out += extra + segment(0xDB, bytes([0]) + bytes(int(TABLE.reshape(64)[i]) for i in ZIGZAG)) + stray
    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(planes)])
    out += segment(0xC2 if progressive else 0xC0, frame + b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in zip(ids, sampling)))
    out += segment(0xC4, bytes([0x00]) + bytes(DC[0]) + bytes(DC[1])) + segment(0xC4, bytes([0x10]) + bytes(AC[0]) + bytes(AC[1]))
    if restart:
        out += segment(0xDD, restart.to_bytes(2, "big"))
    out += stray
    for components, part in scans:
        first, last, high, low = part or (0, 63, 0, 0)
        out += segment(
            0xDA,
            bytes([len(components)]) + b"".join(bytes([ids[c], 0]) for c in components) + bytes([first, last, high << 4 | low]),
        )
        if len(components) == 1:
            c = components[0]
            units = [[(c, y, x)] for y in range(inside[c][0]) for x in range(inside[c][1])]
        else:
            units = [
                [(c, my * sampling[c][1] + y, mx * sampling[c][0] + x)
                 for c in components for y in range(sampling[c][1]) for x in range(sampling[c][0])]
                for my in range(rows) for mx in range(columns)
            ]
        bits, before = Bits(), [0] * len(planes)
        for i, unit in enumerate(units):
            if restart and i and i % restart == 0:
                bits.align()
                bits.bytes += bytes([255, 0xD0 + (i // restart - 1) % 8])
                before = [0] * len(planes)
            for c, y, x in unit:
                block = [int(v) for v in blocks[c][y, x]]
                if first == 0 and high:
                    bits.put(block[0] >> low & 1, 1)
                elif first == 0:
                    bits.number(DC_CODES, 0, (block[0] >> low) - before[c])
                    before[c] = block[0] >> low
                start = max(first, 1)
                end = max((k for k in range(start, last + 1) if block[k]), default=start - 1)
                run = 0
                for k in range(start, end + 1):
                    if block[k] == 0:
                        run += 1
                        continue
                    while run > 15:
                        bits.put(*AC_CODES[0xF0])
                        run -= 16
                    bits.number(AC_CODES, run << 4, block[k])
                    run = 0
                if start <= last and end < last:
                    bits.put(*AC_CODES[0x00])
        bits.align()
        out += bits.bytes
    return bytes(out + b"\xff\xd9")


def picture(width, height, seed):
    """Smooth blobs, an edge and a little noise: like a photograph, for its size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    out = np.zeros((height, width, 3))
    for channel in range(3):
        for _ in range(4):
            cx, cy = rng.uniform(0, width), rng.uniform(0, height)
            radius = rng.uniform(0.2, 0.6) * max(width, height)
            out[..., channel] += rng.uniform(-90, 90) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / radius**2)
        out[..., channel] += 110 + 60 * (x * 2 > y + width * 0.7)
    return (out + rng.normal(0, 2, out.shape)).clip(0, 255)


def ycc(rgb):
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return [y, 128 + (b - y) / 1.772, 128 + (r - y) / 1.402]


def each(rgb):
    return [rgb[..., c] for c in range(3)]


def scripts(n):
    """Scans, by name, of `n` components; those that are progressive say which coefficients they bring."""
    alone = [[c] for c in range(n)]
    together = list(range(n))
    found = {"one": [(together, None)], "restart": [(together, None)]}
    found["progressive"] = [(together, (0, 0, 0, 1))]
    found["progressive"] += [(c, band) for band in ((1, 5, 0, 0), (6, 63, 0, 0)) for c in alone]
    found["progressive"] += [(together, (0, 0, 1, 0))]
    if n > 1:
        found["each"] = [(c, None) for c in alone]
        found["each-backwards"] = found["each"][::-1]
        found["first-rest"] = [([0], None), (together[1:], None)]
        found["progressive-each"] = [(c, band) for c in alone for band in ((0, 0, 0, 0), (1, 63, 0, 0))]
    return found


SAMPLINGS = {
    "444": [(1, 1), (1, 1), (1, 1)],
    "422": [(2, 1), (1, 1), (1, 1)],
    "440": [(1, 2), (1, 1), (1, 1)],
    "420": [(2, 2), (1, 1), (1, 1)],
    "411": [(4, 1), (1, 1), (1, 1)],
    "441": [(1, 4), (1, 1), (1, 1)],
    "410": [(4, 2), (1, 1), (1, 1)],
    "444-by-2": [(2, 1), (2, 1), (2, 1)],
    "422-by-2": [(2, 2), (1, 2), (1, 2)],
    "chroma-finer": [(1, 1), (2, 2), (2, 2)],
    "chroma-wider": [(1, 1), (2, 1), (2, 1)],
    "chroma-higher": [(1, 1), (1, 2), (1, 2)],
    "chroma-crossed": [(1, 2), (2, 1), (2, 1)],
    "chroma-differs": [(2, 2), (2, 1), (1, 2)],
}

SIZES = [(1, 1), (2, 3), (17, 9), (40, 24), (8, 8), (33, 40), (7, 16), (16, 16), (39, 17), (3, 31), (24, 1), (9, 33)]


def cases():
    sizes = 0
    for name, sampling in SAMPLINGS.items():
        for script, scans in scripts(3).items():
            for _ in range(2):
                width, height = SIZES[sizes % len(SIZES)]
                # As many sizes as steps have nothing in common, so that every kind meets all of them in turn.
                sizes += 5 if sizes % 7 else 6
                options = {"progressive": "progressive" in script, "restart": 2 if script == "restart" else 0}
                rgb = picture(width, height, sizes)
                yield f"ycc-{name}-{script}-{width}x{height}", encode(ycc(rgb), sampling, scans, jfif=True, **options)
    p = picture(41, 27, 7)
    inks = each(p) + [p[..., 1] // 2 + 100]
    rgb_ids = list(b"RGB")
    colours = {
        "grey": ([p[..., 0]], [{"jfif": True}, {}, {"adobe": 0}, {"adobe": 1}, {"ids": [7]}]),
        "ycc": (ycc(p), [
            {}, {"adobe": 1}, {"adobe": 2}, {"adobe": 7}, {"jfif": True, "adobe": 0}, {"jfif": True, "adobe": 1},
            {"ids": [0, 1, 2]}, {"ids": [0, 1, 2], "jfif": True}, {"ids": [9, 5, 7]}, {"ids": rgb_ids, "jfif": True},
            {"ids": rgb_ids, "adobe": 1}, {"jfif": True, "extra": segment(0xEE, b"Ado")},
            {"jfif": True, "extra": segment(0xEE, b"http://ns.adobe.com/xap/1.0/\0<x/>")},
        ]),
        "rgb": (each(p), [{"adobe": 0}, {"ids": rgb_ids}, {"ids": rgb_ids, "adobe": 0}]),
        "cmyk": (inks, [{}, {"adobe": 0}, {"jfif": True}]),
        "ycck": (ycc(p) + inks[3:], [{"adobe": 2}, {"adobe": 1}, {"adobe": 2, "jfif": True}]),
    }
    for name, (planes, models) in colours.items():
        n = len(planes)
        finer = {"11": [(1, 1)] * n, "21": [(2, 1)] + [(1, 1)] * (n - 1), "22": [(2, 2)] + [(1, 1)] * (n - 1)}
        if n == 4:
            finer["22-and-black"] = [(2, 2), (1, 1), (1, 1), (2, 2)]
        for i, model in enumerate(models):
            for sampling, factors in finer.items():
                for script in ("one", "progressive") if n == 1 else ("one", "each", "progressive"):
                    if i > 0 and sampling not in ("11", "22"):
                        continue
                    options = {"progressive": "progressive" in script, **model}
                    yield f"{name}{i}-{sampling}-{script}-41x27", encode(planes, factors, scripts(n)[script], **options)
    for script in ("one", "each", "progressive"):
        for name, junk in (("stray", b"\0stray"), ("fill", b"\xff\xff\xff"), ("stuffed", b"\xff\0\1")):
            options = {"progressive": "progressive" in script, "stray": junk, "jfif": True}
            yield f"ycc-420-{script}-{name}-41x27", encode(ycc(p), SAMPLINGS["420"], scripts(3)[script], **options)
    photo = picture(72, 54, 11)
    for name in ("444", "422", "420", "440", "411"):
        for script in ("one", "each", "progressive"):
            options = {"progressive": "progressive" in script, "jfif": True}
            yield f"photo-{name}-{script}-72x54", encode(ycc(photo), SAMPLINGS[name], scripts(3)[script], **options)


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def main():
    # Bytes that do not depend on the hour.
    with open(HERE / "jpeg.tar.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            count = 0
            for name, content in cases():
                image = Image.open(io.BytesIO(content))
                grey = image.mode == "L"
                image = image.convert("L" if grey else "RGB")
                add(archive, f"{name}.jpg", content)
                header = f"{'P5' if grey else 'P6'}\n{image.width} {image.height}\n255\n".encode()
                add(archive, f"{name}.{'pgm' if grey else 'ppm'}", header + image.tobytes())
                count += 1
    print(count, "JPEGs,", (HERE / "jpeg.tar.gz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
