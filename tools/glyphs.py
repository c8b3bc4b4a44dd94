#!/usr/bin/env python3
"""Characters of real fonts as a data set: 32x32 RGB, 46 classes, train and held-out FONT FAMILIES disjoint.

Needs Pillow 13 and numpy, plus the unpacked font packages of tools/glyph_fonts.txt (see docs/results.md).

  glyphs.py scan  --fonts DIR --index index.json          find usable fonts, group look-alike families
  glyphs.py make  --index index.json --out DIR            DIR/train and DIR/val, one folder of PNG files per class
Every image depends only on (seed, split, number, index.json), not on the order or number of processes.
"""
import argparse, hashlib, json, os, re, time
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CHARS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
MERGE = ['Cc', 'Jj', 'Kk', 'Mm', 'Oo0', 'Pp', 'Ss', 'Uu', 'Vv', 'Ww', 'Xx', 'Yy', 'Zz', 'Il1']


def _classes():
    rep = {c: c for c in CHARS}
    for g in MERGE:
        for c in g:
            rep[c] = g[0]
    names = sorted(set(rep.values()))
    return names, {c: names.index(rep[c]) for c in CHARS}


CLASSES, LABEL = _classes()
SKIP = re.compile(r'symbol|dingbat|math|emoji|braille|barcode|bitmap|ornament|keyboard|music|arrows|circos|pict|outline|swash', re.I)


def draw(font, ch):
    """glyph bitmap cropped to its box, or None"""
    l, t, r, b = font.getbbox(ch)
    if r - l < 2 or b - t < 2 or r - l > 400 or b - t > 400:
        return None
    im = Image.new('L', (r - l + 4, b - t + 4), 0)
    ImageDraw.Draw(im).text((2 - l, 2 - t), ch, font=font, fill=255)
    box = im.getbbox()
    return im.crop(box) if box else None


def norm(im, n=16):
    a = np.asarray(im.resize((n, n), Image.BOX), np.float32).ravel()
    a = a - a.mean()
    return a / (np.linalg.norm(a) + 1e-6)


def scan_one(path):
    try:
        f = ImageFont.truetype(path, 48)
        fam, style = f.getname()
        if fam is None or SKIP.search(fam) or SKIP.search(os.path.basename(path)) or SKIP.search(style or ''):
            return None
        miss = [draw(f, c) for c in ('\uffff', '\u0e01\u0378'[1])]
        miss = [norm(m) for m in miss if m is not None]
        tpl, ok = np.zeros((len(CHARS), 256), np.float32), []
        for i, c in enumerate(CHARS):
            im = draw(f, c)
            if im is None:
                continue
            t = norm(im)
            if any(float(t @ m) > 0.995 for m in miss):
                continue
            tpl[i] = t
            ok.append(c)
        if len(ok) < 36:
            return None
        up = [tpl[CHARS.index(c)] for c in ok if c.isupper() and c != 'I']
        g = np.stack(up) @ np.stack(up).T if up else np.ones((1, 1))
        if (g > 0.97).sum() - len(g) > 8:          # many identical glyphs: not an alphabet
            return None
        return path, fam, style, ''.join(ok), tpl
    except Exception:
        return None


def scan(a):
    paths = sorted(os.path.join(d, f) for d, _, fs in os.walk(a.fonts) for f in fs
                   if f.lower().endswith(('.ttf', '.otf')))
    with ProcessPoolExecutor(a.jobs) as ex:
        rs = [r for r in ex.map(scan_one, paths, chunksize=8) if r]
    print(f'{len(paths)} font files, {len(rs)} with a Latin alphabet')
    T = np.stack([r[4] for r in rs])                       # fonts x chars x 256
    have = np.abs(T).sum(2) > 0
    # agreement with the consensus letter shape throws out pictogram fonts
    fams = [re.sub(r'[^a-z0-9 ]', '', r[1].lower()).strip() for r in rs]
    uf = sorted(set(fams))
    M = np.stack([T[[i for i, f in enumerate(fams) if f == u]].mean(0) for u in uf]).mean(0)
    M -= M.mean(1, keepdims=True); M /= np.linalg.norm(M, axis=1, keepdims=True)
    agree = np.einsum('fcd,cd->fc', T, M)
    score = (agree * have).sum(1) / have.sum(1)
    keep = [i for i in range(len(rs)) if score[i] >= a.min_score]
    # one group per family key; then merge groups whose glyphs are nearly identical (clones)
    key = [fams[i].split(' ')[0] if len(fams[i].split(' ')[0]) > 3 else fams[i] for i in keep]
    parent = {k: k for k in key}

    def root(k):
        while parent[k] != k:
            k = parent[k]
        return k
    flat = T[keep].reshape(len(keep), -1)
    hv = have[keep].astype(np.float32)
    sim = (flat @ flat.T) / np.maximum(hv @ hv.T, 1)
    for i in range(len(keep)):
        for j in np.nonzero(sim[i, :i] > a.clone)[0]:
            ri, rj = root(key[i]), root(key[j])
            if ri != rj:
                parent[max(ri, rj)] = min(ri, rj)
    groups = {}
    for n, i in enumerate(keep):
        path, fam, style, ok, tpl = rs[i]
        chars = []
        for c in ok:
            k = CHARS.index(c)
            if agree[i, k] < 0.2:                                          # odd glyph
                continue
            if c.islower() and c.upper() in ok:                           # small-caps fonts: drop the lower case
                u = CHARS.index(c.upper())
                if LABEL[c] != LABEL[c.upper()] and float(tpl[k] @ tpl[u]) > 0.85 and c != 'i':
                    continue
                if c in 'il' and float(tpl[k] @ tpl[u]) > 0.85:
                    continue
            chars.append(c)
        groups.setdefault(root(key[n]), []).append(
            dict(path=os.path.relpath(path, a.fonts), family=fam, style=style, chars=''.join(chars), score=round(float(score[i]), 3)))
    json.dump(dict(fonts=os.path.abspath(a.fonts), groups=groups), open(a.index, 'w'), indent=0)
    print(f'kept {sum(map(len, groups.values()))} fonts in {len(groups)} groups of families '
          f'({len(set(fams[i] for i in keep))} family names); largest group {max(map(len, groups.values()))}')


# ------------------------------------------------------------------ images
def noise(r, n=32):
    """smooth colour noise in about [0,1]"""
    a = np.zeros((n, n, 3), np.float32)
    w = 0
    for s in (2, 4, 8, 16):
        k = r.random() * (2 / s if r.random() < 0.5 else 0.7)
        im = Image.fromarray((r.random((s, s, 3)) * 255).astype(np.uint8)).resize((n, n), Image.BICUBIC)
        a += k * np.asarray(im, np.float32) / 255
        w += k
    return a / max(w, 1e-3)


YY, XX = np.mgrid[0:32, 0:32].astype(np.float32) / 31 - 0.5


def background(r, col):
    kind = r.integers(5)
    amp = r.uniform(0.05, 0.4)
    if kind == 0:
        d = np.zeros((32, 32, 1), np.float32)
    elif kind == 1:
        th = r.uniform(0, 2 * np.pi)
        d = (np.cos(th) * XX + np.sin(th) * YY)[..., None] * r.uniform(-1, 1, 3)
    elif kind == 2:
        th, fr, ph = r.uniform(0, np.pi), r.uniform(1, 6), r.uniform(0, 6.28)
        d = 0.5 * np.sin(2 * np.pi * fr * (np.cos(th) * XX + np.sin(th) * YY) + ph)[..., None] * r.uniform(-1, 1, 3)
    else:
        d = (noise(r) - 0.5) * 1.6
    return (col + amp * d).astype(np.float32)


def place(mask, r, size, dx, dy, rot, shear, asp):
    """affine-place a glyph bitmap in 32x32, 2x supersampled; size = larger side in pixels"""
    w, h = mask.size
    s = max(w, h) / (2 * size)                       # mask pixels per output (64x64) pixel
    c, q = np.cos(rot), np.sin(rot)
    A = np.array([[asp, 0], [0, 1 / asp]]) @ np.array([[1, shear], [0, 1]]) @ np.array([[c, q], [-q, c]]) * s
    o = np.array([w / 2, h / 2]) - A @ np.array([32 + 2 * dx, 32 + 2 * dy])
    if s > 1.5:
        mask = mask.filter(ImageFilter.BoxBlur(s / 3))
    out = mask.transform((64, 64), Image.AFFINE, (A[0, 0], A[0, 1], o[0], A[1, 0], A[1, 1], o[1]), Image.BILINEAR)
    return np.asarray(out.reduce(2), np.float32) / 255


def image(r, font, ch, others):
    m = draw(font, ch)
    size = r.uniform(18, 29)
    rot, sh, asp = r.uniform(-0.3, 0.3), r.uniform(-0.25, 0.25), np.exp(r.uniform(-0.2, 0.2))
    al = place(m, r, size, r.uniform(-2, 2), r.uniform(-2, 2), rot, sh, asp)
    fg = r.random(3)
    while True:                                                          # readable contrast, either sign
        bg = r.random(3)
        d = (fg - bg) @ (0.3, 0.59, 0.11)
        if abs(d) > 0.25:
            break
    im = background(r, bg)
    for _ in range(r.integers(0, 2)):                                    # neighbours that reach into the picture
        o = draw(font, others[r.integers(len(others))])
        if o is None:
            continue
        th = r.choice([0, np.pi]) + rot + r.normal() * 0.2 if r.random() < 0.8 else r.uniform(0, 6.28)
        dist = size * 0.5 + r.uniform(6, 12)
        ao = place(o, r, size * r.uniform(0.8, 1.1), dist * np.cos(th), dist * np.sin(th), rot, sh, asp)[..., None]
        im = im * (1 - ao) + ao * fg
    f = fg + (noise(r) - 0.5) * r.uniform(0, 0.4) if r.random() < 0.4 else fg
    al = al[..., None] * r.uniform(0.75, 1)
    im = im * (1 - al) + al * f
    im = Image.fromarray((np.clip(im, 0, 1) * 255).astype(np.uint8))
    if r.random() < 0.6:
        im = im.filter(ImageFilter.GaussianBlur(r.uniform(0.3, 1.0)))
    x = np.asarray(im, np.float32) + r.normal(0, r.uniform(0, 14), (32, 32, 3))
    return np.clip(x, 0, 255).astype(np.uint8)


def plan(seed, split, n, groups, names):
    """(label, font, char) of every image: label uniform, then group, font, char uniform"""
    r = np.random.default_rng([seed, split, 7])
    by = {}                                       # label -> group -> [(font, chars)]
    for g in names:
        for f in groups[g]:
            for c in f['chars']:
                by.setdefault(LABEL[c], {}).setdefault(g, {}).setdefault(f['path'], (f, []))[1].append(c)
    out = []
    for i in range(n):
        y = int(r.integers(len(CLASSES)))
        gs = by[y]
        g = list(gs)[r.integers(len(gs))]
        fs = list(gs[g].values())
        f, cs = fs[r.integers(len(fs))]
        out.append((i, y, f['path'], cs[r.integers(len(cs))], f['chars']))
    return out


def work(job):
    root, seed, split, part = job
    xs = []
    part = sorted(part, key=lambda p: p[2])
    cur = font = None
    for i, y, path, ch, others in part:
        if path != cur:
            font, cur = ImageFont.truetype(os.path.join(root, path), 48), path
        xs.append((i, image(np.random.default_rng([seed, split, 8, i]), font, ch, others)))
    return xs


def make(a):
    t0 = time.time()
    ix = json.load(open(a.index))
    groups = ix['groups']
    names = sorted(groups)
    np.random.default_rng([a.seed, 9]).shuffle(names)
    nt = round(len(names) * a.val_share)
    sets = dict(train=(names[nt:], a.train), val=(names[:nt], a.val))
    res = {}
    for s, (split, (gs, n)) in enumerate(sets.items()):
        p = sorted(plan(a.seed, s, n, groups, gs), key=lambda p: p[2])
        k = a.jobs * 4
        jobs = [(a.fonts or ix['fonts'], a.seed, s, p[j * len(p) // k:(j + 1) * len(p) // k]) for j in range(k)]
        x = np.zeros((n, 32, 32, 3), np.uint8)
        with ProcessPoolExecutor(a.jobs) as ex:
            for part in ex.map(work, jobs):
                for i, im in part:
                    x[i] = im
        y = np.zeros(n, np.int64)
        for i, l, *_ in p:
            y[i] = l
        res[split] = (x, y)
        fams = {f['family'] for g in gs for f in groups[g]}
        print(f'{split}: {n} images, {len(gs)} groups, {len(fams)} family names, {sum(len(groups[g]) for g in gs)} fonts, {time.time() - t0:.0f} s')
    for split, (x, y) in res.items():
        sums = [hashlib.sha256(v.tobytes()).hexdigest()[:16] for v in (x, y)]
        print(f'{split}: SHA-256 of all pixels {sums[0]}, of all labels {sums[1]}')
        folders = [os.path.join(a.out, split, f'{c:02d}-{CLASSES[c]}') for c in range(len(CLASSES))]
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
        for i in range(len(x)):
            Image.fromarray(x[i]).save(os.path.join(folders[y[i]], f'{i:06d}.png'))
    print(f'{time.time() - t0:.0f} s')


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('cmd', choices=['scan', 'make'])
    p.add_argument('--fonts'); p.add_argument('--index', default='index.json')
    p.add_argument('--out')
    p.add_argument('--seed', type=int, default=0); p.add_argument('--jobs', type=int, default=2)
    p.add_argument('--train', type=int, default=40000); p.add_argument('--val', type=int, default=8000)
    p.add_argument('--val-share', type=float, default=0.25)
    p.add_argument('--min-score', type=float, default=0.5); p.add_argument('--clone', type=float, default=0.93)
    a = p.parse_args()
    scan(a) if a.cmd == 'scan' else make(a)
