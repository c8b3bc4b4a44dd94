"""Makes the files of this folder: tiny pictures, and what Pillow makes of them.

    python -m venv venv && venv/bin/pip install pillow==12.3.0 numpy==2.4.6
    venv/bin/python make_pillow.py

All versions up to 12 resize rows before columns. Version 13 begins with the columns where the height shrinks much more
than the width, and so gives other pixels where the first of the two passes rounds or clips.

- resize_*: `<case>.in.png` resized and centre-cropped the way torchvision does it -> `<case>.out.png`
  (sizes of the cases are repeated in src/testdata.rs)
- modes_*: `<case>.in.png` brought to the size of an input with every interpolation in every crop mode, the way timm does
  it -> `<case>.out.png`, one below the other; `make_pillow.py timm` compares this script with timm and torchvision
- jpeg_*: a photo-like picture in several kinds of JPEG, and Pillow's decoding of each as PNG
- augment.in.png changed in every way that RandAugment and ColorJitter know, as torchvision does it on a Pillow image ->
  augment.out.png, one below the other (the order is repeated in src/augment/tests.rs)
- convert_*: PNG and WebP kinds, and Pillow's `convert("RGB")` or `convert("L")` of each as PNG
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

HERE = Path(__file__).parent


def picture(width, height, seed):
    """Smooth blobs, an edge and a little noise: like a photograph, for its size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    out = np.zeros((height, width, 3))
    for channel in range(3):
        for _ in range(5):
            cx, cy = rng.uniform(0, width), rng.uniform(0, height)
            radius = rng.uniform(0.1, 0.5) * max(width, height)
            out[..., channel] += rng.uniform(-90, 90) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / radius**2)
        out[..., channel] += 128 + 60 * (x * 2 > y + width * 0.7)
    out += rng.normal(0, 6, out.shape)
    return Image.fromarray(out.clip(0, 255).astype(np.uint8))


def noise(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MODES = ("center", "squash", "border")


def resize_and_crop(image, size, crop, interpolation="bilinear", mode="center", mean=(0.0, 0.0, 0.0)):
    """timm's transform for evaluation on a Pillow image, written out; in mode center torchvision's Resize(size) and
    CenterCrop(crop). crop is (height, width); size belongs to the shorter side of the image in mode center, else to the
    longer side of the crop."""
    w, h = image.size
    ch, cw = crop
    box_h, box_w = (side * size // max(crop) for side in crop)
    if mode == "center":
        short, long = min(w, h), max(w, h)
        long = int(size * long / short)
        w, h = (size, long) if w <= h else (long, size)
    elif mode == "squash":
        w, h = box_w, box_h
    else:
        ratio = max(h / box_h, w / box_w)
        w, h = max(round(w / ratio), 1), max(round(h / ratio), 1)
    if (w, h) != image.size:
        image = image.resize((w, h), FILTERS[interpolation])
    if cw > w or ch > h:
        left, top = max(cw - w, 0) // 2, max(ch - h, 0) // 2
        fill = tuple(round(255 * v) for v in mean) if mode == "border" else (0, 0, 0)
        padded = Image.new(image.mode, (max(cw, w), max(ch, h)), fill if image.mode == "RGB" else fill[0])
        padded.paste(image, (left, top))
        image, (w, h) = padded, padded.size
    top, left = int(round((h - ch) / 2.0)), int(round((w - cw) / 2.0))
    return image.crop((left, top, left + cw, top + ch))


def resize_cases():
    yield "down", picture(61, 47, 1), 32, (32, 32)
    yield "down_noise", noise(61, 47, 2), 32, (32, 32)
    yield "down_tall", noise(43, 90, 3), 16, (16, 16)
    yield "odd", picture(33, 57, 4), 17, (15, 13)
    yield "far_down", noise(127, 101, 5), 9, (8, 9)
    yield "up", picture(20, 20, 6), 32, (32, 32)
    yield "up_noise", noise(13, 11, 7), 31, (30, 31)
    yield "grey", picture(45, 37, 8).convert("L"), 28, (28, 28)
    yield "grey_up", noise(8, 8, 9).convert("L"), 20, (16, 16)
    yield "padded", picture(20, 14, 10), 10, (17, 16)
    yield "same", noise(32, 32, 11), 32, (32, 32)
    yield "crop_only", noise(37, 33, 12), 33, (24, 24)


def mode_cases():
    """Name, picture, size, crop, mean."""
    usual = (0.485, 0.456, 0.406)
    yield "down", picture(61, 47, 40), 32, (28, 28), usual
    yield "down_tall", noise(43, 90, 41), 20, (17, 15), usual
    yield "up", picture(20, 13, 42), 31, (29, 30), (0.5, 0.3, 0.1)
    yield "up_noise", noise(13, 11, 43), 31, (30, 31), usual
    yield "sharp", noise(37, 29, 44).point(lambda v: 255 * (v > 127)), 23, (20, 20), (0.0, 1.0, 0.7)
    yield "sharp_up", noise(9, 14, 45).point(lambda v: 255 * (v > 127)), 25, (24, 24), usual
    yield "wide_input", picture(50, 61, 46), 36, (24, 33), usual
    yield "padded", picture(20, 14, 47), 10, (17, 16), usual
    yield "ties", noise(20, 12, 48), 8, (6, 8), usual
    yield "far_down", noise(127, 101, 49), 9, (8, 9), usual
    yield "grey", picture(45, 37, 50).convert("L"), 28, (26, 27), (0.3,)
    yield "one_side", noise(32, 40, 51), 32, (30, 30), usual


def every_mode(image, size, crop, mean):
    return [resize_and_crop(image, size, crop, f, m, mean) for m in MODES for f in FILTERS]


def check_page():
    """The function printed in docs/model-file.md does the same."""
    page = (HERE.parents[2] / "docs" / "model-file.md").read_text()
    code = next(block for block in page.split("```python\n")[1:] if "def preprocess" in block).split("```")[0]
    names = {}
    exec(code, names)
    for name, image, size, crop, mean in mode_cases():
        for made, (mode, kind) in zip(every_mode(image, size, crop, mean), ((m, f) for m in MODES for f in FILTERS)):
            p = dict(image_size=crop, resize=size, crop=mode, interpolation=kind, mean=mean, std=[0.5] * len(mean))
            values = names["preprocess"](image, p).transpose(1, 2, 0) * 0.5 + np.float32(mean)
            pixels = np.asarray(made).reshape(values.shape)
            assert (np.rint(values * 255) == pixels).all(), (name, mode, kind)


def compare_with_timm(trials=3000):
    """Random sizes through this script and through timm's own transform; center with timm's and torchvision's."""
    from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
    from timm.data.transforms_factory import transforms_imagenet_eval
    from torchvision import transforms

    rng = np.random.default_rng(0)
    compared = 0
    for trial in range(trials):
        w, h = (int(v) for v in rng.integers(1, 80, 2))
        if max(w, h) > 40 * min(w, h):
            continue
        mode, interpolation = MODES[trial % 3], list(FILTERS)[trial // 3 % 4]
        image, mean = noise(w, h, trial), (0.485, 0.5, 0.3)
        square = trial % 2 == 0
        crop = (int(rng.integers(2, 60)),) * 2 if square else tuple(int(v) for v in rng.integers(2, 60, 2))
        if square:
            share = float(rng.uniform(0.5, 1.0))
            size = int(np.floor(crop[0] / share))
            theirs = transforms_imagenet_eval(
                crop, crop_pct=share, crop_mode=mode, interpolation=interpolation, mean=mean, use_prefetcher=True
            )
        else:
            # timm has no single size here; the same classes with the sizes of the box.
            size = int(rng.integers(2, 70))
            box, how = tuple(max(side * size // max(crop), 1) for side in crop), transforms.InterpolationMode(interpolation)
            if box != tuple(side * size // max(crop) for side in crop):
                continue
            theirs = {
                "center": [transforms.Resize(size, how), transforms.CenterCrop(crop)],
                "squash": [transforms.Resize(box, how), transforms.CenterCrop(crop)],
                "border": [
                    ResizeKeepRatio(box, interpolation=interpolation, longest=1.0),
                    CenterCropOrPad(crop, fill=[round(255 * v) for v in mean]),
                ],
            }[mode]
            theirs = transforms.Compose([*theirs, transforms.PILToTensor()])
        try:
            theirs = np.asarray(theirs(image)).transpose(1, 2, 0)
        except ValueError:
            continue  # a side of 0 pixels, which Pillow refuses
        ours = np.asarray(resize_and_crop(image, size, crop, interpolation, mode, mean))
        assert (ours == theirs).all(), (trial, (w, h), size, crop, mode, interpolation)
        compared += 1
    print(f"{compared} random sizes: the same pixels as timm and torchvision")


def affine(image, matrix):
    """torchvision's affine() of a Pillow image, given the inverse matrix."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def hue(image, by):
    h, s, v = image.convert("HSV").split()
    turned = np.array(h) + np.array(int(by * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert("RGB")


def rand_augment_cases(image):
    """Every op of torchvision's RandAugment at two of its 31 magnitudes."""
    w, h = image.size
    bins = 31
    for magnitude in (9, 30):
        for sign in (1, -1):
            shear = np.linspace(0.0, 0.3, bins)[magnitude] * sign
            x, y = (int(np.linspace(0.0, 150.0 / 331.0 * side, bins)[magnitude] * sign) for side in (w, h))
            factor = 1.0 + np.linspace(0.0, 0.9, bins)[magnitude] * sign
            yield affine(image, (1, shear, 0, 0, 1, 0))
            yield affine(image, (1, 0, 0, shear, 1, 0))
            yield affine(image, (1, 0, -x, 0, 1, 0))
            yield affine(image, (1, 0, 0, 0, 1, -y))
            yield image.rotate(np.linspace(0.0, 30.0, bins)[magnitude] * sign)
            yield ImageEnhance.Brightness(image).enhance(factor)
            yield ImageEnhance.Color(image).enhance(factor)
            yield ImageEnhance.Contrast(image).enhance(factor)
            yield ImageEnhance.Sharpness(image).enhance(factor)
        yield ImageOps.posterize(image, int(8 - (np.arange(bins) / ((bins - 1) / 4)).round()[magnitude]))
        yield ImageOps.solarize(image, np.linspace(255.0, 0.0, bins)[magnitude])
        yield ImageOps.autocontrast(image)
        yield ImageOps.equalize(image)


def color_jitter_cases(image):
    for factor in (0.0, 0.35, 1.6, 3.0):
        yield ImageEnhance.Brightness(image).enhance(factor)
        yield ImageEnhance.Contrast(image).enhance(factor)
        yield ImageEnhance.Color(image).enhance(factor)
    for by in (-0.5, -0.13, 0.0, 0.02, 0.3, 0.5):
        yield hue(image, by)


def main():
    check_page()
    image = picture(29, 21, 30)
    image.paste(noise(9, 9, 31), (17, 3))
    image.save(HERE / "augment.in.png", optimize=True)
    changed = [np.array(case) for cases in (rand_augment_cases, color_jitter_cases) for case in cases(image)]
    Image.fromarray(np.concatenate(changed)).save(HERE / "augment.out.png", optimize=True)

    for name, image, size, crop in resize_cases():
        image.save(HERE / f"resize_{name}.in.png", optimize=True)
        resize_and_crop(image, size, crop).save(HERE / f"resize_{name}.out.png", optimize=True)

    for name, image, size, crop, mean in mode_cases():
        image.save(HERE / f"modes_{name}.in.png", optimize=True)
        made = np.concatenate([np.array(case) for case in every_mode(image, size, crop, mean)])
        Image.fromarray(made).save(HERE / f"modes_{name}.out.png", optimize=True)

    photo = picture(75, 50, 20)
    kinds = {
        "444": (photo, dict(quality=90, subsampling="4:4:4")),
        "420": (photo, dict(quality=90, subsampling="4:2:0")),
        "422": (photo, dict(quality=90, subsampling="4:2:2")),
        "progressive": (photo, dict(quality=90, progressive=True)),
        "restart": (photo, dict(quality=90, restart_marker_blocks=3)),
        "grey": (photo.convert("L"), dict(quality=90)),
        "cmyk": (photo.convert("CMYK"), dict(quality=90)),
    }
    for name, (image, options) in kinds.items():
        path = HERE / f"jpeg_{name}.in.jpg"
        image.save(path, **options)
        decoded = Image.open(path)
        decoded.convert("L" if decoded.mode == "L" else "RGB").save(HERE / f"jpeg_{name}.out.png", optimize=True)

    small = picture(17, 13, 21)
    alpha = Image.fromarray(np.random.default_rng(22).integers(0, 256, (13, 17), dtype=np.uint8))
    rgba = small.copy()
    rgba.putalpha(alpha)
    grey_alpha = small.convert("L")
    grey_alpha.putalpha(alpha)
    palette = small.quantize(16)
    files = {
        "rgba.png": (rgba, {}, "RGB"),
        "la.png": (grey_alpha, {}, "L"),
        "palette.png": (palette, {}, "RGB"),
        "palette_transparent.png": (palette, dict(transparency=0), "RGB"),
        "one_bit.png": (small.convert("1"), {}, "L"),
        "lossless.webp": (small, dict(lossless=True), "RGB"),
        "lossless_alpha.webp": (rgba, dict(lossless=True, exact=True), "RGB"),
        "lossy.webp": (photo, dict(quality=80), "RGB"),
    }
    ink = small.convert("CMYK")
    files |= {
        "rgb.bmp": (small, {}, "RGB"),
        "palette.bmp": (palette, {}, "RGB"),
        "grey.bmp": (small.convert("L"), {}, "RGB"),
        "one_bit.bmp": (small.convert("1"), {}, "RGB"),
        "rgba.bmp": (rgba, {}, "RGB"),
        "palette.gif": (palette, {}, "RGB"),
        "interlaced.gif": (palette, dict(interlace=1), "RGB"),
        "transparent.gif": (palette, dict(transparency=3), "RGB"),
        "animation.gif": (palette, dict(save_all=True, append_images=[palette.transpose(Image.Transpose.ROTATE_180)]), "RGB"),
        "rgb.tif": (small, {}, "RGB"),
        "lzw.tif": (small, dict(compression="tiff_lzw"), "RGB"),
        "deflate.tif": (small, dict(compression="tiff_adobe_deflate"), "RGB"),
        "packbits.tif": (small, dict(compression="packbits"), "RGB"),
        "grey.tif": (small.convert("L"), {}, "L"),
        "rgba.tif": (rgba, {}, "RGB"),
        "cmyk.tif": (ink, {}, "RGB"),
        "one_bit.tif": (small.convert("1"), {}, "L"),
        "fax.tif": (small.convert("1"), dict(compression="group4"), "L"),
    }
    palette.save(HERE / "convert_palette.tif")  # of a kind that is not read
    for name, (image, options, mode) in files.items():
        path = HERE / f"convert_{name}"
        image.save(path, **options)
        Image.open(path).convert(mode).save(HERE / f"convert_{name}.out.png", optimize=True)

    deep = np.arange(13 * 17, dtype=np.uint16).reshape(13, 17) * 296
    Image.fromarray(deep).save(HERE / "convert_grey16.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(HERE / "convert_grey16.png.out.png")


if __name__ == "__main__":
    compare_with_timm() if sys.argv[1:] == ["timm"] else main()
