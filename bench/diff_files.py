"""Writes three Keras .h5 files of about 1 GB: two with the same bytes, one with other values in its last layer."""

import json
import shutil
import sys

import h5py
import numpy as np

LAYERS, SIDE, VERSION = 4, 8192, "3.15.1"


def layer_config(index: int) -> dict:
    config = {
        "name": f"dense_{index}" if index else "dense",
        "trainable": True,
        "dtype": "float32",
        "units": SIDE,
        "activation": "relu",
        "use_bias": True,
    }
    return {"class_name": "Dense", "config": config}


def write(path: str, changed: bool) -> None:
    random = np.random.default_rng(7)
    layers = [layer_config(index) for index in range(LAYERS)]
    first = {"class_name": "InputLayer", "config": {"batch_shape": [None, SIDE], "dtype": "float32", "name": "input_layer"}}
    config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": [first, *layers]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = VERSION
        file.attrs["backend"] = "tensorflow"
        weights = file.create_group("model_weights")
        names = [layer["config"]["name"] for layer in layers]
        weights.attrs["layer_names"] = np.array(names, dtype="S")
        for index, name in enumerate(names):
            group = weights.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/kernel", f"{name}/bias"], dtype="S")
            kernel = group.create_dataset(f"{name}/kernel", (SIDE, SIDE), dtype="float32")
            for row in range(0, SIDE, 1024):
                block = random.standard_normal((1024, SIDE), dtype=np.float32)
                if changed and index == LAYERS - 1:
                    block += np.float32(0.001)
                kernel[row : row + 1024] = block
            group.create_dataset(f"{name}/bias", data=np.zeros(SIDE, np.float32))


def main() -> None:
    folder = sys.argv[1]
    write(f"{folder}/a.h5", changed=False)
    shutil.copyfile(f"{folder}/a.h5", f"{folder}/same.h5")
    write(f"{folder}/other.h5", changed=True)


main()
