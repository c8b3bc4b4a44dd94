"""`dyconv.ray`: batches as Ray Data hands them over, and a job of which an actor dies."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import needs, picture

import dyconv
import dyconv.ray

# Seconds that a busy machine may take to start two actors.
PATIENCE = 300

BROKEN = b"\xff\xd8\xff\xe0 no more of this file"


def objects(values: list) -> np.ndarray:
    """A read-only column as Ray hands it over."""
    column = np.empty(len(values), object)
    column[:] = values
    column.flags.writeable = False
    return column


def encoded(seed: int) -> bytes:
    """A picture as a JPEG or PNG file, each with its own size."""
    file = io.BytesIO()
    Image.fromarray(picture(30 + seed % 7, 40 + seed % 5, seed)).save(file, "JPEG" if seed % 2 else "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    return [encoded(seed) for seed in range(24)]


@pytest.fixture(scope="module")
def arrow():
    return needs("pyarrow")


def test_answers_are_those_of_the_model(folder, model, images):
    batch = {"path": objects(list("abc")), "bytes": objects(images[:3])}
    found = dyconv.ray.Classify(folder / "model.safetensors")(batch)
    assert list(found) == ["path", "label", "index", "probability", "error"], "the bytes are dropped, the path is kept"
    assert [column.dtype.kind for column in found.values()] == ["O", "U", "i", "f", "U"]
    best = [model.predict(image, top=1)[0] for image in images[:3]]
    assert list(zip(found["label"], found["index"], found["probability"])) == best
    assert list(found["error"]) == [""] * 3 and list(batch) == ["path", "bytes"]


def test_every_kind_of_column_is_read(folder, model, images, arrow):
    classify = dyconv.ray.Classify((folder / "model.safetensors").read_bytes(), column="image")
    expected = [model.predict(image, top=1)[0].probability for image in images[:3]]
    columns = {
        "objects": objects(images[:3]),
        "other bytes": objects([bytearray(images[0]), memoryview(images[1]), images[2]]),
        "fixed width": np.array(images[:3]),
        "every second": np.array([image for one in images[:3] for image in (one, b"")])[::2],
        "arrow": arrow.array(images[:3]),
        "chunked": arrow.chunked_array([images[:1], images[1:3]]),
        "list": images[:3],
    }
    for name, column in columns.items():
        found = classify({"image": column})
        assert list(found["error"]) == [""] * 3 and list(found["probability"]) == expected, name


def test_zeros_at_the_end_of_a_file_are_kept(folder):
    """A BMP whose last pixels are black; a column of fixed width seems to end before them."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "BMP")
    assert file.getvalue().endswith(bytes(64))
    found = dyconv.ray.Classify(folder / "model.safetensors")({"bytes": np.array([file.getvalue(), b"-"])})
    assert found["error"][0] == "" and found["error"][1] != ""


def test_a_bad_image_is_a_row_with_an_error(folder, images, arrow):
    for top in (1, 3):
        classify = dyconv.ray.Classify(folder / "model.safetensors", top=top)
        good = classify({"bytes": objects([images[0], images[1]])})
        mixed = classify({"bytes": objects([BROKEN, images[1], None, b""])})
        bad = classify({"bytes": objects([BROKEN, None])})
        error = mixed["error"]
        assert "JPEG" in error[0] and error[1] == "" and "no image" in error[2] and error[3] != ""
        assert mixed["index"][1] == good["index"][1] and mixed["probability"][1] == good["probability"][1]
        if top == 1:
            assert list(bad["label"]) == ["", ""] and list(bad["index"]) == [-1, -1] and np.isnan(bad["probability"]).all()
            kinds = [{name: column.dtype.type for name, column in found.items()} for found in (good, mixed, bad)]
        else:
            assert bad["label"].to_pylist() == bad["index"].to_pylist() == bad["probability"].to_pylist() == [[], []]
            kinds = [{name: getattr(column, "type", "text") for name, column in found.items()} for found in (good, mixed, bad)]
        assert kinds[0] == kinds[1] == kinds[2], "the types do not depend on what failed"


def test_lists_of_classes(folder, model, images, arrow):
    found = dyconv.ray.Classify(folder / "model.safetensors", top=99)({"bytes": objects(images[:2])})
    rows = [model.predict(image, top=99) for image in images[:2]]
    assert len(rows[0]) == len(model.classes)
    assert found["label"].to_pylist() == [[one.label for one in row] for row in rows]
    assert found["index"].to_pylist() == [[one.index for one in row] for row in rows]
    assert found["probability"].to_pylist() == [[one.probability for one in row] for row in rows]


def test_keypoints(folder, pose, images, arrow):
    boxes = [[[4.0, 5.0, 20.0, 18.0], [1.0, 2.0, 30.0, 20.0]], [], [[0.0, 0.0, -1.0, 5.0]], None, [[4.0, 5.0, 20.0, 18.0]]]
    ask = dyconv.ray.Keypoints(folder / "pose.safetensors", boxes="boxes")
    batch = {"bytes": objects([*images[:4], BROKEN]), "boxes": objects(boxes)}
    found = ask(batch)
    rows = found["keypoints"].to_pylist()
    assert rows[0] == [[list(joint[1:]) for joint in person] for person in pose.keypoints(images[0], boxes[0])]
    assert rows[1:] == [[], [], [], []]
    assert [bool(error) for error in found["error"]] == [False, False, True, True, True]
    assert "above 0" in found["error"][2] and "no boxes" in found["error"][3]
    assert found["boxes"] is batch["boxes"], "boxes are kept"
    nobody = ask({"bytes": objects(images[:2]), "boxes": objects([[], []])})
    assert nobody["keypoints"].type == found["keypoints"].type
    whole = dyconv.ray.Keypoints(folder / "pose.safetensors")({"bytes": objects(images[:1])})
    assert whole["keypoints"].to_pylist()[0] == [[list(joint[1:]) for joint in pose.keypoints(images[0])[0]]]


def test_what_is_wrong_with_the_job_is_said_at_once(folder, images):
    path = folder / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="absent.safetensors"):
        dyconv.ray.Classify(folder / "absent.safetensors")
    with pytest.raises(dyconv.Error, match="17 keypoints.*dyconv.ray.Keypoints"):
        dyconv.ray.Classify(folder / "pose.safetensors")
    with pytest.raises(dyconv.Error, match="classes.*dyconv.ray.Classify"):
        dyconv.ray.Keypoints(path)
    with pytest.raises(ValueError, match="top=0: expected a whole number"):
        dyconv.ray.Classify(path, top=0)
    classify = dyconv.ray.Classify(path)
    with pytest.raises(ValueError, match="no column `bytes`, only `image`, `path`"):
        classify({"image": objects(images[:1]), "path": objects(["a"])})
    with pytest.raises(ValueError, match="has a column `label` already.*rename_columns"):
        classify({"bytes": objects(images[:1]), "label": np.array([3])})
    with pytest.raises(TypeError, match="holds str, expected the bytes"):
        classify({"bytes": objects(["cat.jpg"])})


def test_ray_is_not_needed(folder, images):
    code = (
        "import pickle, sys; classify, batch = pickle.load(sys.stdin.buffer); answers = classify(batch); "
        "assert 'ray' not in sys.modules and 'pyarrow' not in sys.modules; print(answers['index'][0])"
    )
    classify = dyconv.ray.Classify(folder / "model.safetensors")
    said = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((classify, {"bytes": objects(images[:1])})),
        check=True,
        capture_output=True,
        cwd=folder,
    )
    assert int(said.stdout) == classify({"bytes": objects(images[:1])})["index"][0]


@pytest.fixture(scope="module")
def data(arrow):
    """Ray Data on two cores of this machine."""
    ray = needs("ray")
    needs("ray.data")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    yield ray.data
    ray.shutdown()


def watched() -> type:
    """`Classify` that tells its process, and goes on when an actor has been killed. Ray sends a class made here by value."""

    class Watched(dyconv.ray.Classify):
        def __init__(self, model: Path, folder: Path) -> None:
            super().__init__(model)
            self.folder = folder
            (folder / f"{os.getpid()}.here").touch()

        def __call__(self, batch):
            answers = super().__call__(batch)
            (self.folder / f"{os.getpid()}.works").touch()
            end = time.monotonic() + PATIENCE
            while not (self.folder / "killed").exists() and time.monotonic() < end:
                time.sleep(0.02)
            return answers | {"process": np.full(len(answers["index"]), os.getpid())}

    return Watched


def kill_one(folder: Path, killed: list[int]) -> None:
    """Waits until there are two actors of which one works, and kills that."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        working = sorted(folder.glob("*.works"))
        if working and len(list(folder.glob("*.here"))) >= 2:
            killed.append(int(working[0].stem))
            os.kill(killed[0], signal.SIGKILL)
            break
        time.sleep(0.02)
    (folder / "killed").touch()


def test_a_killed_actor_changes_nothing(data, folder, images, program, tmp_path):
    """Two actors, of which one dies at work: no row is lost, twice or out of order, and the bits are those of the program."""
    contents = [*images[:10], BROKEN, *images[10:]]
    paths = []
    for i, content in enumerate(contents):
        paths.append(str(tmp_path / f"{i:02}.image"))
        Path(paths[-1]).write_bytes(content)
    table = data.from_items([{"path": path, "bytes": content} for path, content in zip(paths, contents)], override_num_blocks=8)
    pool = data.ActorPoolStrategy(size=2)
    arguments = (folder / "model.safetensors", tmp_path)
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(tmp_path, killed))
    killer.start()
    answers = table.map_batches(watched(), fn_constructor_args=arguments, compute=pool, batch_size=2, num_cpus=1)
    rows = answers.take_all()
    killer.join()
    assert len(killed) == 1, "there were no two actors"

    run = [program, "predict", str(folder / "model.safetensors"), *paths, "--top", "1", "--json"]
    said = json.loads(subprocess.run(run, capture_output=True).stdout)
    assert [row["path"] for row in rows] == paths
    for row, element in zip(rows, said):
        if "error" in element:
            assert element["error"] == row["error"].replace("the image", element["image"])
            assert (row["label"], row["index"]) == ("", -1) and math.isnan(row["probability"])
        else:
            (best,) = element["answers"]
            assert (row["label"], row["index"], row["error"]) == (best["class"], best["index"], "")
            assert np.float32(row["probability"]) == np.float32(best["probability"])
    assert [row["path"] for row in rows if row["error"]] == [paths[10]]
    processes = {row["process"] for row in rows}
    assert processes and killed[0] not in processes, "what the killed actor did not hand over was done again"


def test_blocks_have_the_same_columns(data, folder, images):
    """Also a block of nothing but bad images, and one of images without persons."""
    ray = needs("ray")
    boxes = [[], [], [[4.0, 5.0, 20.0, 18.0]], [[4.0, 5.0, 20.0, 18.0]]]
    table = data.from_items(
        [{"bytes": image, "boxes": box} for image, box in zip([BROKEN, BROKEN, *images[:2]], boxes)], override_num_blocks=2
    )
    jobs = [
        (dyconv.ray.Classify, "model.safetensors", {}),
        (dyconv.ray.Classify, "model.safetensors", {"top": 2}),
        (dyconv.ray.Keypoints, "pose.safetensors", {"boxes": "boxes"}),
    ]
    for kind, model, options in jobs:
        answers = table.map_batches(
            kind,
            fn_constructor_args=[folder / model],
            fn_constructor_kwargs=options,
            compute=data.ActorPoolStrategy(size=1),
            batch_size=2,
        ).drop_columns(["boxes"])
        blocks = [ray.get(ref) for bundle in answers.iter_internal_ref_bundles() for ref in bundle.block_refs]
        schemas = [block.schema for block in blocks if block.num_rows]
        assert len(schemas) == 2 and schemas[0].equals(schemas[1]), (kind, options, schemas)
        assert [bool(error) for block in blocks for error in block["error"].to_pylist()] == [True, True, False, False]


def test_a_missing_model_ends_the_job_with_its_name(data, folder, images):
    table = data.from_items([{"bytes": images[0]}])
    answers = table.map_batches(
        dyconv.ray.Classify,
        fn_constructor_args=[folder / "absent.safetensors"],
        compute=data.ActorPoolStrategy(size=1),
    )
    with pytest.raises(Exception, match="absent.safetensors"):
        answers.take_all()
