"""Scores random sets of persons and detections with pycocotools.

    pip install pycocotools==2.0.11 numpy
    python generate.py > expected.csv     # one line a set: check sums, then the ten stats
    python generate.py --time             # times pycocotools on the set of `cargo bench -p dyconv-metrics --bench oks`

The sets come from a linear congruential generator and plain arithmetic, so `sets.rs` makes the same ones bit by bit and
only the results are stored. Whoever changes one of the two files changes the other.
"""

import contextlib
import io
import sys
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SETS = 400
COCO_SIGMAS = [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
               0.089, 0.089]


class Lcg:
    def __init__(self, seed):
        self.state = seed

    def unit(self):
        """Uniform in 0..1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 11) / 2**53

    def below(self, n):
        return int(self.unit() * n)

    def chance(self, p):
        return self.unit() < p

    def between(self, low, high):
        return low + self.unit() * (high - low)

    def bell(self):
        """Of mean 0 and variance 1/3."""
        return self.unit() + self.unit() + self.unit() + self.unit() - 2.0

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


def person(rng, image, sigmas, tame):
    side = [20.0, 48.0, 96.0, 200.0][rng.below(4)] * rng.between(0.6, 1.5)
    bbox = [rng.between(-20.0, 500.0), rng.between(-20.0, 400.0), side * rng.between(0.4, 1.0), side]
    area = bbox[2] * bbox[3] * rng.between(0.4, 0.9)
    if rng.chance(0.1):
        area = [1024.0, 9216.0, 0.0, 1e-9][rng.below(4)]
    bare = rng.chance(0.1)
    keypoints = []
    for _ in sigmas:
        seen = 0 if bare else rng.below(3)
        x, y = bbox[0] + bbox[2] * rng.unit(), bbox[1] + bbox[3] * rng.unit()
        keypoints += [x, y, seen] if seen > 0 else [0.0, 0.0, 0]
    count = sum(v > 0 for v in keypoints[2::3])
    # A count that does not fit the joints must be taken as it is.
    if not tame and rng.chance(0.05):
        count = 0 if rng.chance(0.5) else 1
    return {"image_id": image, "category_id": 1, "bbox": bbox, "area": area, "keypoints": keypoints,
            "num_keypoints": count, "iscrowd": int(rng.chance(0.1))}


def near(rng, image, p, sigmas, score):
    """A detection of a person: every joint off by so many of its sigmas."""
    scale = p["bbox"][3] * [0.0, 0.5, 1.0, 2.0, 4.0, 8.0][rng.below(6)]
    keypoints = []
    for j, sigma in enumerate(sigmas):
        x, y, seen = p["keypoints"][3 * j:3 * j + 3]
        if seen == 0:
            x, y = p["bbox"][0] + p["bbox"][2] * rng.unit(), p["bbox"][1] + p["bbox"][3] * rng.unit()
        keypoints += [x + scale * sigma * rng.bell(), y + scale * sigma * rng.bell(), 1]
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score}


def stray(rng, image, joints, score):
    """A detection of nobody."""
    side = [8.0, 60.0, 300.0][rng.below(3)]
    left, top = rng.between(0.0, 500.0), rng.between(0.0, 400.0)
    keypoints = []
    for _ in range(joints):
        keypoints += [left + side * rng.unit(), top + side * rng.unit(), 1]
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score}


def make(seed, images=None):
    """A set: sigmas, image ids, persons, detections. With `images`, a large and tame one for timing."""
    rng = Lcg(seed)
    tame = images is not None
    if tame or rng.chance(0.5):
        sigmas = COCO_SIGMAS
    else:
        sigmas = [rng.between(0.02, 0.15) for _ in range([1, 4, 9, 21, 68][rng.below(5)])]
    ties = not tame and rng.chance(0.4)
    crowded = not tame and rng.chance(0.2)

    def score():
        return rng.below(6) / 8.0 if ties else rng.unit()

    ids = [3 * i + 7 for i in range(images or rng.below(12) + 1)]
    rng.shuffle(ids)
    persons, detections = [], []
    for image in ids:
        count = 2 if tame else [0, 1, 2, 3, 5, 9][rng.below(6)]
        here = [person(rng, image, sigmas, tame) for _ in range(count)]
        # The same person twice.
        if here and not tame and rng.chance(0.1):
            here.append(dict(here[0]))
        for p in here:
            copies = 3 if tame else [0, 1, 1, 2, 3][rng.below(5)]
            detections += [near(rng, image, p, sigmas, score()) for _ in range(copies)]
        strays = 2 if tame else [0, 0, 1, 3][rng.below(4)] + (25 if crowded else 0)
        detections += [stray(rng, image, len(sigmas), score()) for _ in range(strays)]
        persons += here
    rng.shuffle(persons)
    rng.shuffle(detections)
    return sigmas, ids, persons, detections


def evaluation(sigmas, ids, persons, detections):
    truth, answers = COCO(), COCO()
    common = {"images": [{"id": i} for i in ids], "categories": [{"id": 1, "name": "person"}]}
    truth.dataset = {**common, "annotations": [{**p, "id": i + 1} for i, p in enumerate(persons)]}
    truth.createIndex()
    if detections:
        answers = truth.loadRes([dict(d) for d in detections])
    else:
        answers.dataset = {**common, "annotations": []}
        answers.createIndex()
    e = COCOeval(truth, answers, "keypoints")
    e.params.kpt_oks_sigmas = np.array(sigmas)
    return e


def stats(e):
    e.evaluate()
    e.accumulate()
    # Without persons and detections there is nothing to summarise but -1.
    e.summarize()
    return [float(s) for s in e.stats]


def main():
    if sys.argv[1:] == ["--time"]:
        for images in (5000,):
            data = make(1, images)
            rounds = []
            for _ in range(3):
                with contextlib.redirect_stdout(io.StringIO()):
                    e = evaluation(*data)
                    started = time.perf_counter()
                    result = stats(e)
                    rounds.append(time.perf_counter() - started)
            print(f"{images} images, {len(data[2])} persons, {len(data[3])} detections: {min(rounds):.2f} s, {result}")
        return
    print("# Made by generate.py: seed, persons, detections, sum of scores and joints, then the stats of pycocotools")
    for seed in range(SETS):
        sigmas, ids, persons, detections = make(seed)
        total = 0.0
        for d in detections:
            total += d["score"] + d["keypoints"][0] + d["keypoints"][-2]
        with contextlib.redirect_stdout(io.StringIO()):
            result = stats(evaluation(sigmas, ids, persons, detections))
        print(",".join(map(repr, [seed, len(persons), len(detections), total, *result])))


main()
