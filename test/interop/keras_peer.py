"""Keras' side of the interop tests: builds models, saves them, and says what Keras says and computes."""

from peer import prepare_environment, serve

prepare_environment()

import gc
import inspect

import keras
import numpy as np
import tensorflow as tf
from keras.src.utils import summary_utils

tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(2)

BATCH = 2
IMAGES = {
    name
    for name in dir(keras.layers)
    if name.startswith(
        (
            "Random",
            "Aut",
            "Aug",
            "Rand",
            "Cut",
            "Mix",
            "Equal",
            "Solar",
            "Contrast",
            "Center",
            "Resiz",
        )
    )
}


def lend_kernels():
    """Lets every convolution of Keras run on a CPU, where TensorFlow's kernels know neither channels_first nor, for
    the transposed ones, dilation: the same kernels on transposed data, and with the holes of the dilation filled in
    with zeros. Both are Keras' own definitions of these options.
    """
    from keras.src.backend.tensorflow import nn

    def lend(name):
        function = getattr(nn, name)
        signature = inspect.signature(function)

        def call(*args, **options):
            given = signature.bind(*args, **options)
            given.apply_defaults()
            values = dict(given.arguments)
            rank = len(values["inputs"].shape)
            if name == "conv_transpose":
                values["kernel"], values["dilation_rate"] = dilated(
                    values["kernel"], values["dilation_rate"]
                )
            if values["data_format"] != "channels_first":
                return function(**values)
            values["inputs"] = tf.transpose(values["inputs"], [0, *range(2, rank), 1])
            outputs = function(**{**values, "data_format": "channels_last"})
            return tf.transpose(outputs, [0, rank - 1, *range(1, rank - 1)])

        setattr(nn, name, call)
        setattr(keras.src.backend.nn, name, call)

    for name in ("conv", "conv_transpose"):
        lend(name)

    # Keras turns an addition of a (1, C, 1, 1) bias into bias_add and takes the last axis for the channels where it
    # happens to have C elements too. Subtracting the negative is the same number on the axis that is meant.
    add = keras.src.backend.numpy.add

    def add_where_it_stands(x1, x2):
        a, b = getattr(x1, "shape", ()), getattr(x2, "shape", ())
        if len(a) == len(b) > 2 and b[-1] == 1 and a[-1] in tuple(b):
            return keras.src.backend.numpy.subtract(
                x1, keras.src.backend.numpy.negative(x2)
            )
        return add(x1, x2)

    keras.src.backend.numpy.add = add_where_it_stands


def dilated(kernel, rate):
    """The kernel with zeros between its elements, and the rate 1."""
    kernel = tf.convert_to_tensor(kernel)
    rates = [rate] * (len(kernel.shape) - 2) if isinstance(rate, int) else rate
    for axis, step in enumerate(rates):
        size = kernel.shape[axis]
        if step > 1 and size > 1:
            wide = np.zeros(((size - 1) * step + 1, size), "float32")
            wide[np.arange(size) * step, np.arange(size)] = 1
            kernel = tf.tensordot(
                tf.constant(wide, kernel.dtype), kernel, [[1], [axis]]
            )
            kernel = tf.transpose(
                kernel, [*range(1, axis + 1), 0, *range(axis + 1, len(kernel.shape))]
            )
    return kernel, 1


lend_kernels()

# --- what Keras says ----------------------------------------------------------------------------------------------


def flat_shapes(value):
    """A shape as a list, several as a list of lists."""
    shapes = [
        [None if n is None else int(n) for n in tensor.shape]
        for tensor in keras.tree.flatten(value)
    ]
    return shapes[0] if len(shapes) == 1 else shapes


def inner_layers(layer):
    if hasattr(layer, "layers") and isinstance(layer, keras.Model):
        return [(inner.name, inner) for inner in layer.layers]
    if isinstance(layer, keras.layers.Bidirectional):
        return [
            ("forward_layer", layer.forward_layer),
            ("backward_layer", layer.backward_layer),
        ]
    if isinstance(layer, keras.layers.Wrapper):
        return [("layer", layer.layer)]
    return []


def layer_rows(layer, path):
    """One row for the layer and one for each below it: path, type, count, shape of each call, first to last."""
    nodes = layer._inbound_nodes
    own = {
        "path": path,
        "type": type(layer).__name__,
        "count": layer.count_params(),
        "shapes": [flat_shapes(node.output_tensors) for node in nodes],
    }
    below = [
        row
        for name, inner in inner_layers(layer)
        for row in layer_rows(inner, f"{path}/{name}")
    ]
    return [own, *below]


def says(model):
    """Totals and rows as Keras counts them."""
    return {
        "total": int(model.count_params()),
        "trainable": int(summary_utils.count_params(model.trainable_weights)),
        "nonTrainable": int(summary_utils.count_params(model.non_trainable_weights)),
        "layers": [
            row for layer in model.layers for row in layer_rows(layer, layer.name)
        ],
    }


# --- values -------------------------------------------------------------------------------------------------------


def every_layer(layer):
    """The layer and all layers inside it, wrappers and nested models included, each once."""
    seen, waiting = {}, [layer]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        waiting.extend(one._flatten_layers(include_self=False, recursive=False))
    return list(seen.values())


def batch_norms(model):
    return [
        layer
        for layer in every_layer(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def prepare_batch_norms(model, inputs, rng):
    """Statistics from one training pass with momentum 0, jittered by 20 %; gamma and beta random."""
    norms = batch_norms(model)
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        size = norm.moving_mean.shape
        if norm.gamma is not None:
            norm.gamma.assign(rng.uniform(0.6, 1.4, size))
        if norm.beta is not None:
            norm.beta.assign(rng.normal(0, 0.2, size))
        norm.momentum = 0.0
    model(inputs, training=True)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        size = norm.moving_mean.shape
        # A fifth of the deviation, not of the mean: a channel whose mean is large would else leave the range that its
        # layers were measured on, and a hundred layers later float32 alone decides what comes out.
        deviation = np.sqrt(np.array(norm.moving_variance) + 1e-3)
        norm.moving_mean.assign(
            np.array(norm.moving_mean) + 0.2 * deviation * rng.uniform(-1, 1, size)
        )
        norm.moving_variance.assign(
            np.array(norm.moving_variance) * rng.uniform(0.8, 1.2, size) + 1e-3
        )
    return len(norms)


def randomise(model, rng):
    """Random values in every float weight: scales near 1, statistics positive, the rest small."""
    for variable in model.weights:
        name, shape = variable.name, variable.shape
        if not str(keras.backend.standardize_dtype(variable.dtype)).startswith("float"):
            continue
        if "variance" in name or "stddev" in name:
            values = rng.uniform(0.5, 1.5, shape)
        elif "gamma" in name or name == "scale":
            values = rng.uniform(0.6, 1.4, shape)
        elif len(shape) < 2:
            values = rng.normal(0, 0.3, shape)
        else:
            values = rng.normal(0, 1, shape) * min(
                0.5, 1.5 / np.sqrt(np.prod(shape) / max(1, shape[-1]))
            )
        variable.assign(np.asarray(values, "float32"))
    for layer in every_layer(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # what it computes with is derived from the variables, as after loading


def random_input(tensor, rng, high=None, images=False, text=None):
    """Values for one model input: BATCH samples."""
    shape = [
        BATCH if axis == 0 and n is None else (n or 7)
        for axis, n in enumerate(tensor.shape)
    ]
    dtype = (
        keras.backend.standardize_dtype(tensor.dtype)
        if tensor.dtype != "string"
        else "string"
    )
    if dtype == "string":
        return rng.choice(text or ["a", "b", "c", "d e"], size=shape).astype(object)
    if dtype == "bool":
        return rng.uniform(size=shape) < 0.6
    if dtype.startswith(("int", "uint")):
        return rng.integers(0, high or 3, size=shape).astype(dtype)
    if images:
        return rng.uniform(0, 255, size=shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def run_and_save(model, inputs, file):
    """Runs the model in inference mode and writes inputs and outputs side by side. Returns the outputs' shapes."""
    given = [tf.constant(x) for x in inputs]
    outputs = [
        np.array(y)
        for y in keras.tree.flatten(
            model(given if len(given) > 1 else given[0], training=False)
        )
    ]
    # NumPy has no bfloat16 of its own: a file would hold it as bytes without a meaning.
    outputs = [
        y.astype("float32") if y.dtype.name == "bfloat16" else y for y in outputs
    ]
    for index, output in enumerate(outputs):
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise ValueError(f"Keras' own output {index} is not finite")
    arrays = {f"in{i}": x for i, x in enumerate(inputs) if x.dtype != object}
    np.savez(file, **arrays, **{f"out{i}": y for i, y in enumerate(outputs)})
    return [list(output.shape) for output in outputs]


# --- jobs ---------------------------------------------------------------------------------------------------------


def applications():
    """Names of the functions of keras.applications that build a model."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [
        name
        for name, function in functions
        if "weights" in inspect.signature(function).parameters
    ]


def in_float64(model):
    """The same model with the same weights, computing in float64."""
    double = keras.models.model_from_json(
        model.to_json().replace('"float32"', '"float64"')
    )
    double.set_weights(model.get_weights())
    for layer in double.layers:
        if isinstance(layer, keras.layers.Rescaling):  # TensorFlow makes float32 of a list
            layer.scale = tf.constant(layer.scale, "float64")
        if isinstance(layer, keras.layers.Normalization):  # the file has float32
            layer.mean = tf.cast(tf.cast(layer.mean, "float32"), "float64")
            layer.variance = tf.cast(tf.cast(layer.variance, "float32"), "float64")
    return double


def application(name, folder, stem, seed=1, run=True, double=False):
    """Builds one model of keras.applications, saves STEM.h5 and STEM.keras, and runs it into STEM.npz.

    `double` runs the saved float32 weights in float64.
    """
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    function = getattr(keras.applications, name)
    options = {"weights": None}
    if "classifier_activation" in inspect.signature(function).parameters:
        options["classifier_activation"] = None
    model = function(**options)
    answer = {
        "says": says(model),
        "batchNorms": len(batch_norms(model)),
        "outputs": None,
    }
    if run:
        # Some take pixels and scale them inside; the others expect what their preprocess_input gives.
        pixels = any(
            isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization))
            for layer in model.layers
        )
        low, high = (0, 255) if pixels else (-1, 1)
        shape = (BATCH, *[n or 224 for n in model.input_shape[1:]])
        prepare_batch_norms(
            model, tf.constant(rng.uniform(low, high, shape).astype("float32")), rng
        )
        inputs = [rng.uniform(low, high, shape).astype("float32")]
        if double:
            inputs = [x.astype("float64") for x in inputs]
        runner = in_float64(model) if double else model
        answer["outputs"] = run_and_save(runner, inputs, f"{folder}/{stem}.npz")
        del runner
    model.save(f"{folder}/{stem}.keras")
    model.save(f"{folder}/{stem}.h5")
    return answer


def call_cell(layer, tensors):
    """A recurrent cell called alone: its states are the rest of the inputs, grouped as its state_size."""
    sizes = (
        layer.state_size
        if isinstance(layer.state_size, (list, tuple))
        else [layer.state_size]
    )
    flat, states = list(tensors[1:]), []
    for size in sizes:
        many = len(size) if isinstance(size, (list, tuple)) else 0
        states.append([flat.pop(0) for _ in range(many)] if many else flat.pop(0))
    return layer(tensors[0], states)


def layer_case(case, folder, stem, seed=1):
    """One layer from its config between Input and output; every size but the batch is given."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    inputs = [
        keras.Input(
            batch_shape=[
                None if axis == 0 else (n or 7) for axis, n in enumerate(one["shape"])
            ],
            dtype=one["dtype"],
        )
        for one in case["inputs"]
    ]
    layer = keras.saving.deserialize_keras_object(
        {
            "module": case["module"],
            "class_name": case["className"],
            "config": case["config"],
            "registered_name": None,
        },
        safe_mode=False,
    )
    if case.get("note") == "cell":
        output = call_cell(layer, inputs)
    elif case["spread"]:
        output = layer(*inputs, **case["callKwargs"])
    else:
        output = layer(inputs[0] if len(inputs) == 1 else inputs, **case["callKwargs"])
    model = keras.Model(inputs, keras.tree.flatten(output))
    return finish(
        model,
        folder,
        stem,
        rng,
        high=case["config"].get("input_dim"),
        images=case["class"] in IMAGES,
    )


def finish(model, folder, stem, rng, **values):
    """Fills, saves as STEM.keras and runs a small model."""
    randomise(model, rng)
    inputs = [random_input(tensor, rng, **values) for tensor in model.inputs]
    norms = prepare_batch_norms(model, inputs if len(inputs) > 1 else inputs[0], rng)
    outputs = run_and_save(model, inputs, f"{folder}/{stem}.npz")
    model.save(f"{folder}/{stem}.keras")
    return {"says": says(model), "batchNorms": norms, "outputs": outputs}


def composites():
    from composites import COMPOSITES

    return list(COMPOSITES)


def composite(name, folder, stem, seed=1):
    """One of the small models of composites.py."""
    from composites import COMPOSITES

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    return finish(COMPOSITES[name](), folder, stem, rng)


def training_model():
    """BatchNorm on ranks 4 and 2 with three momenta; no Dropout, so that both frameworks see the same values."""
    x = inputs = keras.Input((8, 6, 3))
    x = keras.layers.Conv2D(5, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.15, name="bn_conv")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(7, name="dense")(x)
    x = keras.layers.BatchNormalization(name="bn_dense")(x)
    x = keras.layers.Activation("tanh", name="tanh")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn_last")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="out")(x))


def train(folder, stem, steps=20, batch=16, rate=0.01, seed=1):
    """Saves a model, trains it further on fixed data with plain gradient descent, and says the statistics before and after."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = training_model()
    first = rng.normal(size=(batch, 8, 6, 3)).astype("float32")
    randomise(model, rng)
    prepare_batch_norms(model, first, rng)
    model.save(f"{folder}/{stem}.keras")
    data = rng.normal(size=(steps, batch, 8, 6, 3)).astype("float32")
    wanted = rng.normal(size=(steps, batch, 2)).astype("float32")
    np.savez(f"{folder}/{stem}.npz", data=data, wanted=wanted)
    norms = sorted(batch_norms(model), key=lambda norm: norm.name)
    read = lambda: {
        norm.name: {
            "momentum": norm.momentum,
            "mean": np.array(norm.moving_mean).tolist(),
            "variance": np.array(norm.moving_variance).tolist(),
        }
        for norm in norms
    }
    before = read()
    for x, y in zip(data, wanted):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(tf.constant(x), training=True) - y))
        weights = [weight.value for weight in model.trainable_weights]
        for weight, gradient in zip(
            model.trainable_weights, tape.gradient(loss, weights)
        ):
            weight.assign_sub(rate * gradient)
    # Values per channel that each BatchNorm averages over.
    return {
        "before": before,
        "after": read(),
        "counts": {"bn_conv": batch * 8 * 6, "bn_dense": batch, "bn_last": batch},
    }


serve(
    {
        "applications": applications,
        "application": application,
        "layer_case": layer_case,
        "composites": composites,
        "composite": composite,
        "train": train,
    }
)
