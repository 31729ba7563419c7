"""PyTorch's side of the interop tests: loads what bnconvert wrote, runs it, and counts."""

from peer import prepare_environment, serve

prepare_environment()

import base64
import functools
import gc
import importlib.util
import json
import os
import sys

import numpy as np
import torch
from torch import nn

torch.set_num_threads(2)


def import_module(path):
    """The generated Python file as a module of its own."""
    spec = importlib.util.spec_from_file_location("generated", path)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module


def load_strictly(module_file, weights):
    """The module by its own load(), and once more by what the tests demand: weights_only and strict."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model = import_module(module_file).load(weights)
    fresh = type(model)()
    fresh.load_state_dict(state, strict=True)
    return fresh.eval(), state


def totals(model):
    """Parameters as sum(p.numel()); buffers and elements of what the state_dict holds."""
    state = model.state_dict()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {name: b for name, b in model.named_buffers() if name in state}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "buffers": sum(b.numel() for b in buffers.values()),
        "state": sum(t.numel() for t in state.values()),
        "unknown": [
            name for name in state if name not in parameters and name not in buffers
        ],
        "batchNorms": sum(
            isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()
        ),
    }


def flatten(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    return [tensor for part in value for tensor in flatten(part)]


def to_torch(array, axes):
    return torch.from_numpy(np.ascontiguousarray(np.transpose(array, axes)))


def difference(wanted, got, outputs):
    """max |difference| / max |wanted| over all outputs; shapes are compared first. NaN on our side is infinite."""
    if len(wanted) != len(got):
        raise ValueError(f"{len(got)} outputs, Keras has {len(wanted)}")
    worst = 0.0
    for index, (a, tensor, port) in enumerate(zip(wanted, got, outputs)):
        b = tensor.detach().numpy()
        a = np.transpose(a, port["axes"])
        if a.shape != b.shape:
            raise ValueError(
                f"output {index} is {list(b.shape)}, expected {list(a.shape)}"
            )
        if a.size == 0:
            continue
        if a.dtype.kind in "ib":
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
            continue
        scale = np.abs(a).max()
        gap = np.abs(a.astype("float64") - b.astype("float64")).max()
        if scale == 0:
            relative = 0.0 if gap == 0 else float("inf")
        else:
            relative = float(gap / scale)
        worst = max(worst, relative if np.isfinite(relative) else float("inf"))
    return worst


def spoil(state):
    """The state_dict with one mistake that a comparison must see, or it sees nothing; None: nothing to spoil.

    Where there is a BatchNorm, mean and variance of the first one in each other's place; else the first tensor of
    more than one element in reverse order.
    """
    for name in state:
        if name.endswith("running_mean"):
            other = f"{name[: -len('mean')]}var"
            return {**state, name: state[other], other: state[name].abs()}
    for name, tensor in state.items():
        backwards = tensor.flatten().flip(0).reshape(tensor.shape)
        if tensor.is_floating_point() and not torch.equal(backwards, tensor):
            return {**state, name: backwards}
    return None


def compare(module_file, weights, arrays, inputs, outputs):
    """Runs the converted model on Keras' inputs. `inputs` and `outputs` are the receipt's ports."""
    gc.collect()
    model, state = load_strictly(module_file, weights)
    with np.load(arrays) as stored:
        given = [
            stored[f"in{i}"]
            for i in range(sum(name.startswith("in") for name in stored.files))
        ]
        wanted = [
            stored[f"out{i}"]
            for i in range(sum(name.startswith("out") for name in stored.files))
        ]
    if any(x.dtype == "float64" for x in given):
        model.double()
    if len(inputs) != len(given) or len(outputs) != len(wanted):
        raise ValueError(
            f"the receipt names {len(inputs)} inputs and {len(outputs)} outputs, Keras has {len(given)} and {len(wanted)}"
        )
    tensors = [to_torch(x, port["axes"]) for x, port in zip(given, inputs)]
    with torch.no_grad():
        error = difference(wanted, flatten(model(*tensors)), outputs)
        spoiled = None
        wrong = spoil(state)
        if wrong is not None:
            model.load_state_dict(wrong, strict=True)
            spoiled = difference(wanted, flatten(model(*tensors)), outputs)
    constant = all(
        y.size > 1 and np.ptp(y) == 0 for y in wanted if y.dtype.kind == "f"
    ) and any(y.dtype.kind == "f" for y in wanted)
    huge = 1e30
    return {
        "error": min(error, huge),
        "control": None if spoiled is None else min(spoiled, huge),
        "totals": totals(model),
        "constant": bool(constant),
    }


def unpack_recorded(expected, arrays):
    """What Keras recorded beside a fixture, in the form that compare takes."""
    with open(expected, encoding="utf-8") as file:
        told = json.load(file)
    stored = {}
    for side, lead in (("inputs", "in"), ("outputs", "out")):
        for index, one in enumerate(told[side]):
            flat = np.frombuffer(base64.b64decode(one["data"]), dtype=one["dtype"])
            stored[f"{lead}{index}"] = flat.reshape(one["shape"])
    np.savez(arrays, **stored)


@functools.cache
def import_torchvision():
    """torchvision, beside a PyTorch build that lacks the operators of its binary part."""
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}() -> ()")
    import torchvision

    torchvision.declared = library  # the declaration lives as long as this object
    return torchvision


def vision_models():
    models = import_torchvision().models
    return models.list_models(module=models)


def vision_model(name, folder, stem, whole=False):
    """One torchvision classification model with random weights, its state_dict (and itself) saved."""
    gc.collect()
    torch.manual_seed(1)
    function = import_torchvision().models.get_model
    # The two that would initialise slowly, or warn about it, are told not to.
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = function(name, weights=None, **options)
    torch.save(model.state_dict(), f"{folder}/{stem}.pt")
    if whole:
        torch.save(model, f"{folder}/{stem}-module.pt")
    return totals(model)


class Uneven(nn.Module):
    """A convolution that pads as Keras does before a stride of 2: nothing in front, one row and column behind."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        conv.padding = (0, 0)

    def forward(self, x):
        return self.conv(nn.functional.pad(x, (0, 1, 0, 1)))


def compare_vision(name, weights, arrays, eps=None, uneven=False):
    """torchvision's own model with weights that were given its keys, on Keras' inputs.

    `eps` and `uneven` are what bnconvert says that the target has to be given.
    """
    gc.collect()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    with np.load(arrays) as stored:
        given, wanted = stored["in0"], stored["out0"]

    def error(values, eps, uneven):
        model = import_torchvision().models.get_model(name, weights=None)
        model.load_state_dict(values, strict=True)
        for module in list(model.modules()):
            if isinstance(module, nn.BatchNorm2d) and eps is not None:
                module.eps = eps
            for child, part in list(module.named_children()):
                if uneven and isinstance(part, nn.Conv2d) and part.stride == (2, 2):
                    setattr(module, child, Uneven(part))
        got = model.eval()(to_torch(given, [0, 3, 1, 2]))
        return difference([wanted], [got], [{"axes": [0, 1]}])

    with torch.no_grad():
        wrong = spoil(state)
        return {
            "error": error(state, eps, uneven),
            "control": min(error(wrong, eps, uneven), 1e30),
            "plain": min(error(state, None, False), 1e30),
        }


def train(module_file, weights, arrays, input_axes, modules, rate=0.01):
    """The same steps as Keras took, in training mode; the statistics afterwards."""
    model, _ = load_strictly(module_file, weights)
    model.train()
    with np.load(arrays) as stored:
        data, wanted = stored["data"], stored["wanted"]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for x, y in zip(data, wanted):
        optimizer.zero_grad()
        loss = ((model(to_torch(x, input_axes)) - torch.from_numpy(y)) ** 2).mean()
        loss.backward()
        optimizer.step()
    state = model.state_dict()
    return {
        layer: {
            "mean": state[f"{path}.running_mean"].tolist(),
            "variance": state[f"{path}.running_var"].tolist(),
            "counter": int(state[f"{path}.num_batches_tracked"]),
        }
        for layer, path in modules.items()
    }


def same_state(weights, text):
    """Whether the README's loader gives the state_dict that torch.load gives: keys in order, types, shapes, bits."""
    from pt_json_loader import load_pt_json

    a = torch.load(weights, map_location="cpu", weights_only=True)
    b = load_pt_json(text)
    if list(a) != list(b):
        raise ValueError(
            f"keys differ: {[key for key in a if key not in b][:3]} {[key for key in b if key not in a][:3]}"
        )
    for key in a:
        if (
            a[key].dtype != b[key].dtype
            or a[key].shape != b[key].shape
            or not torch.equal(a[key], b[key])
        ):
            raise ValueError(f"{key} differs")
    return {"tensors": len(a), "bytes": os.path.getsize(text)}


class Small(nn.Module):
    """Convolution, BatchNorm on two ranks, a recurrent layer's worth of linear ones: what torch.onnx is asked to write."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8, eps=1e-3, momentum=0.02)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.bn2 = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv(x)))
        x = torch.sigmoid(self.bn2(self.depthwise(torch.sigmoid(x))))
        return self.head(x.mean((2, 3)))


def export_onnx(name, folder, stem, dynamo):
    """A model as torch.onnx writes it in training form, so that no BatchNorm is folded away."""
    torch.manual_seed(1)
    if name == "small":
        model, size = Small(), 16
    else:
        model, size = import_torchvision().models.get_model(name, weights=None), 64
    arguments = (torch.randn(2, 3, size, size),)
    options = (
        {"training": torch.onnx.TrainingMode.TRAINING}
        if not dynamo
        else {"optimize": False}
    )
    model.train(not dynamo)
    torch.onnx.export(
        model,
        arguments,
        f"{folder}/{stem}.onnx",
        dynamo=dynamo,
        do_constant_folding=False,
        external_data=False,
        **options,
    )
    answer = totals(model)
    answer["norms"] = [
        {"channels": m.num_features, "eps": m.eps, "momentum": m.momentum}
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    return answer


serve(
    {
        "compare": compare,
        "unpack_recorded": unpack_recorded,
        "vision_models": vision_models,
        "vision_model": vision_model,
        "compare_vision": compare_vision,
        "train": train,
        "same_state": same_state,
        "export_onnx": export_onnx,
    }
)
