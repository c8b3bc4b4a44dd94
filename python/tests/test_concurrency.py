"""Threads, processes, memory."""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import pickle
import threading
import time

import numpy as np
import pytest
from samples import picture

import dyconv


def test_eight_threads_share_a_model(folder):
    model = dyconv.load(folder / "model.safetensors", threads=2)
    x = np.random.default_rng(0).standard_normal((64, *model.input_shape), np.float32)
    expected, label = model.logits(x), model.predict(folder / "cat.jpg")
    barrier, wrong = threading.Barrier(8), []

    def hammer(offset: int) -> None:
        barrier.wait()
        for i in range(60):
            at = (offset * 7 + i) % 60
            if not np.array_equal(model.logits(x[at : at + 4]), expected[at : at + 4]):
                wrong.append(("logits", offset, i))
            if i % 10 == 0 and model.predict(folder / "cat.jpg") != label:
                wrong.append(("predict", offset, i))

    threads = [threading.Thread(target=hammer, args=(i,)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == []


def test_the_interpreter_goes_on_while_a_model_works(model):
    x = np.zeros((4000, *model.input_shape), np.float32)
    span, ticks = [], []

    def work() -> None:
        span.append(time.perf_counter())
        model.logits(x)
        span.append(time.perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0)
    start, end = span
    middle = [t for t in ticks if start + (end - start) / 4 < t < end - (end - start) / 4]
    assert middle, "no line of Python ran during the middle half of the call"


def _answer(model: dyconv.Model, image: str) -> list[dyconv.Prediction]:
    return model.predict(image)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_models_travel_to_other_processes(folder, method):
    image = str(folder / "cat.jpg")
    file = dyconv.load(folder / "model.safetensors", threads=2)
    expected = file.predict(image)
    held = dyconv.load((folder / "model.safetensors").read_bytes(), threads=2)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        for model in [file, held]:
            found = list(pool.map(_answer, [model] * 4, [image] * 4, timeout=120))
            assert found == [expected] * 4


def _forked(connection) -> None:
    # The threads of the parent are not here: this would wait for them.
    connection.send(FORKED[0].predict(FORKED[1]))
    FORKED.clear()
    gc.collect()
    connection.send("dropped")


FORKED: list = []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_model_can_be_used_and_dropped_after_fork(folder):
    model = dyconv.load(folder / "model.safetensors", threads=2)
    expected = model.predict(folder / "cat.jpg")
    FORKED[:] = [model, folder / "cat.jpg"]
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_forked, args=(there,))
    child.start()
    for said in [expected, "dropped"]:
        assert here.poll(60), "the child waits for something"
        assert here.recv() == said
    child.join(60)
    assert child.exitcode == 0
    assert model.predict(folder / "cat.jpg") == expected
    FORKED.clear()


def test_pickles_are_small_where_there_is_a_file(folder, model):
    data = pickle.dumps(model)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert again.predict(folder / "cat.jpg") == model.predict(folder / "cat.jpg") and again.threads == 1
    imported = dyconv.import_(folder / "pose.onnx")
    assert pickle.loads(pickle.dumps(imported)).report == imported.report


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_memory_is_flat_over_ten_thousand_calls(folder, model):
    x = np.random.default_rng(0).standard_normal((2, *model.input_shape), np.float32)
    data, pixels = (folder / "cat.jpg").read_bytes(), picture()

    def calls(n: int) -> None:
        for _ in range(n):
            model.logits(x)
            model.predict(data)
            model.predict(pixels, top=1)
            with pytest.raises(dyconv.ImageError):
                model.predict(data[:200])

    calls(300)
    gc.collect()
    before = _resident()
    calls(2500)
    gc.collect()
    # 10,000 calls; a leak of one input each would be 60 MB.
    assert _resident() - before < 4 << 20
