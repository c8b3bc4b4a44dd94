"""Arrays in, arrays out."""

from __future__ import annotations

import numpy as np
import pytest
from samples import needs


def inputs(model, batch, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, *model.input_shape), np.float32)


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 33])
def test_any_batch_gives_the_bits_of_single_inputs(model, batch):
    x = inputs(model, batch)
    found = model.logits(x)
    assert found.shape == (batch, len(model.classes)) and found.dtype == np.float32
    assert np.array_equal(found, np.concatenate([model.logits(x[i : i + 1]) for i in range(batch)]))


def test_no_inputs_give_no_outputs(model, pose):
    assert model.logits(np.zeros((0, *model.input_shape), np.float32)).shape == (0, len(model.classes))
    assert pose.logits(np.zeros((0, *pose.input_shape), np.float32)).shape == (0, 17, 16, 12)


def test_the_layout_of_an_array_does_not_matter(model):
    x = inputs(model, 3)
    expected = model.logits(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    apart = np.zeros((6, *x.shape[1:]), np.float32)
    apart[::2] = x
    odd = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not odd.flags.aligned
    for kind in [read_only, channels_last, apart[::2], odd, x[::-1][::-1], list(x)]:
        assert np.array_equal(model.logits(kind), expected)


def test_inputs_are_not_changed(model):
    x = inputs(model, 2)
    before = x.copy()
    model.logits(x)
    assert np.array_equal(x, before)


def test_tensors_of_pytorch_are_arrays(model):
    torch = needs("torch")
    x = inputs(model, 2)
    assert np.array_equal(model.logits(torch.from_numpy(x)), model.logits(x))
    last = torch.from_numpy(x).to(memory_format=torch.channels_last)
    assert np.array_equal(model.logits(last), model.logits(x))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "complex64", ">f4", "object"])
def test_another_dtype_is_an_error(model, dtype):
    with pytest.raises(TypeError, match=r"expected float32: use x\.astype"):
        model.logits(np.zeros((1, *model.input_shape), dtype))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 32), (1, 1, 32, 32), (1, 3, 32, 33), (1, 32, 32, 3), (), (0,)])
def test_another_shape_is_an_error(model, shape):
    with pytest.raises(ValueError, match=r"expected \[N, 3, 32, 32\]") as caught:
        model.logits(np.zeros(shape, np.float32))
    assert ("x[None]" in str(caught.value)) == (shape == (3, 32, 32))


def test_logits_of_the_input_are_the_prediction(folder, model):
    logits = model.logits(model.preprocess(folder / "cat.jpg")[None])[0].astype(np.float64)
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    for found in model.predict(folder / "cat.jpg"):
        assert found.probability == pytest.approx(expected[found.index], rel=1e-5)
