"""The Python side of the benchmarks: makes inputs that only h5py can make, and does what a user would do in Python."""

import json
import os
import sys
from pathlib import Path


def versions() -> None:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = [f"Python {platform.python_version()}"]
    for name in ("keras", "tensorflow", "tensorflow-cpu", "torch", "h5py", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            pass
    print(", ".join(found))


def names(path: str) -> None:
    """Names and shapes, as a short h5py script prints them."""
    import h5py

    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                print(name, item.shape, item.dtype) if hasattr(item, "shape") else None
            )
        )


def summary(path: str) -> None:
    import keras

    keras.models.load_model(path).summary()


def make(path: str, side: int, layers: int, storage: str) -> None:
    """A Keras .h5 of square Dense layers: `sparse` (no block on the disk), `plain` or `gzip` (h5py's own chunks)."""
    import h5py
    import numpy as np

    words = [f"dense_{index}" if index else "dense" for index in range(layers)]
    shared = {"trainable": True, "dtype": "float32"}
    configs = [
        {
            "class_name": "InputLayer",
            "config": {
                "batch_shape": [None, side],
                "dtype": "float32",
                "name": "input_layer",
            },
        }
    ]
    for word in words:
        config = {
            "name": word,
            **shared,
            "units": side,
            "activation": "relu",
            "use_bias": True,
        }
        configs.append({"class_name": "Dense", "config": config})
    rows = max(1, (64 << 20) // (side * 4))
    block = np.random.default_rng(7).standard_normal(
        (min(rows, side), side), dtype=np.float32
    )
    if storage == "gzip":
        # Trained weights hardly shrink; these keep half of their bits, so that there is something to inflate.
        block = (block.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {
                "class_name": "Sequential",
                "config": {"name": "sequential", "layers": configs},
            }
        )
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["backend"] = "tensorflow"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array(words, dtype="S")
        for word in words:
            group = weights.create_group(word)
            group.attrs["weight_names"] = np.array(
                [f"{word}/kernel", f"{word}/bias"], dtype="S"
            )
            if storage == "sparse":
                creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
                links.set_create_intermediate_group(True)
                space = h5py.h5s.create_simple((side, side))
                h5py.h5d.create(
                    group.id,
                    f"{word}/kernel".encode(),
                    h5py.h5t.IEEE_F32LE,
                    space,
                    creation,
                    links,
                )
            else:
                options = (
                    {"compression": "gzip", "compression_opts": 1}
                    if storage == "gzip"
                    else {}
                )
                kernel = group.create_dataset(
                    f"{word}/kernel", (side, side), dtype="float32", **options
                )
                for row in range(0, side, len(block)):
                    count = min(len(block), side - row)
                    kernel[row : row + count] = block[:count]
            group.create_dataset(f"{word}/bias", data=np.zeros(side, np.float32))
    # What is still on its way to the disk would be waited for by whoever is measured first.
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def convert(source: str, target: str) -> None:
    """The script that people write: read, transpose, save, read back and compare."""
    import h5py
    import numpy as np
    import torch

    state = {}
    with h5py.File(source, "r") as file:
        weights = file["model_weights"]
        for layer in weights.attrs["layer_names"]:
            layer = layer.decode() if isinstance(layer, bytes) else layer
            for name in weights[layer].attrs["weight_names"]:
                name = name.decode() if isinstance(name, bytes) else name
                array = weights[layer][name][()]
                key = f"{layer}.weight" if name.endswith("kernel") else f"{layer}.bias"
                state[key] = torch.from_numpy(
                    np.ascontiguousarray(array.T) if array.ndim == 2 else array
                )
    torch.save(state, target)
    back = torch.load(target, weights_only=True)
    assert all(torch.equal(back[key], state[key]) for key in state)


def main() -> None:
    command, *words = sys.argv[1:]
    if command == "make":
        path, side, layers, storage = words
        make(str(Path(path)), int(side), int(layers), storage)
    else:
        {"versions": versions, "names": names, "summary": summary, "convert": convert}[
            command
        ](*words)


main()
