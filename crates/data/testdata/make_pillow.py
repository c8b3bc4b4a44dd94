"""Makes the files of this folder: tiny pictures, and what Pillow makes of them.

    python -m venv venv && venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    venv/bin/python make_pillow.py

- resize_*: `<case>.in.png` resized and centre-cropped the way torchvision does it -> `<case>.out.png`
  (sizes of the cases are repeated in src/testdata.rs)
- jpeg_*: a photo-like picture in several kinds of JPEG, and Pillow's decoding of each as PNG
- augment.in.png changed in every way that RandAugment and ColorJitter know, as torchvision does it on a Pillow image ->
  augment.out.png, one below the other (the order is repeated in src/augment/tests.rs)
- convert_*: PNG and WebP kinds, and Pillow's `convert("RGB")` or `convert("L")` of each as PNG
"""

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


def resize_and_crop(image, size, crop):
    """torchvision.transforms.Resize(size) and CenterCrop(crop) on a Pillow image, written out. crop is (height, width)."""
    w, h = image.size
    short, long = min(w, h), max(w, h)
    long = int(size * long / short)
    w, h = (size, long) if w <= h else (long, size)
    if (w, h) != image.size:
        image = image.resize((w, h), Image.Resampling.BILINEAR)
    ch, cw = crop
    if cw > w or ch > h:
        left, top = max(cw - w, 0) // 2, max(ch - h, 0) // 2
        padded = Image.new(image.mode, (max(cw, w), max(ch, h)))
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
    image = picture(29, 21, 30)
    image.paste(noise(9, 9, 31), (17, 3))
    image.save(HERE / "augment.in.png", optimize=True)
    changed = [np.array(case) for cases in (rand_augment_cases, color_jitter_cases) for case in cases(image)]
    Image.fromarray(np.concatenate(changed)).save(HERE / "augment.out.png", optimize=True)

    for name, image, size, crop in resize_cases():
        image.save(HERE / f"resize_{name}.in.png", optimize=True)
        resize_and_crop(image, size, crop).save(HERE / f"resize_{name}.out.png", optimize=True)

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
    main()
