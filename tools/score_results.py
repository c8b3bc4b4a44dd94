#!/usr/bin/env python3
"""Scores results of `dyconv eval --out` with COCO's own tools (pip install pycocotools), to compare with what eval printed.

    python tools/score_results.py person_keypoints_val2017.json results.json
"""
import contextlib
import io
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ["AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L"]

annotations, results = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(annotations)
    evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
for name, value in zip(NAMES, evaluation.stats):
    print(f"{name:5} {value:.10f}")
