"""Small Keras models in which layers meet: what no single layer shows. Each is a function that returns a model."""

import keras
from keras import layers as L
from keras import ops

COMPOSITES = {}


def composite(function):
    COMPOSITES[function.__name__.replace("_", "-")] = function
    return function


def family(name, function, **variants):
    """One composite per keyword: its value is passed to the function."""
    for key, value in variants.items():
        COMPOSITES[f"{name}-{key.replace('_', '-')}"] = lambda value=value: function(
            value
        )


def sequence(shape, *layers, dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


# --- Flatten and Reshape before what looks at features ------------------------------------------------------------


@composite
def reference_cnn_small():
    return sequence(
        (12, 10, 1),
        L.Conv2D(6, 3, padding="same", activation="relu"),
        L.BatchNormalization(momentum=0.15),
        L.Flatten(),
        L.Dense(9, activation="relu"),
        L.Dense(4, activation="softmax"),
    )


def after_flatten(between):
    return sequence((5, 4, 3), L.Conv2D(6, 2), L.Flatten(), *between(), L.Dense(3))


family(
    "flatten",
    after_flatten,
    dropout=lambda: [L.Dropout(0.4)],
    relu=lambda: [L.Activation("relu"), L.LeakyReLU(0.1)],
    batch_norm=lambda: [L.BatchNormalization(), L.ReLU()],
    layer_norm=lambda: [L.LayerNormalization()],
    rms_norm=lambda: [L.RMSNormalization()],
    prelu=lambda: [L.PReLU()],
    group_norm=lambda: [L.GroupNormalization(groups=6)],
    softmax=lambda: [L.Softmax()],
    unit_norm=lambda: [L.UnitNormalization()],
    reshape=lambda: [L.Reshape((12, 6)), L.Dense(4), L.Flatten()],
    reshape_conv=lambda: [L.Reshape((4, 3, 6)), L.Conv2D(2, 2), L.Flatten()],
    permute=lambda: [L.Reshape((6, 12)), L.Permute((2, 1)), L.Flatten()],
    repeat=lambda: [L.RepeatVector(3), L.LSTM(4)],
    rescale=lambda: [L.Rescaling(0.3, 0.1)],
    chain=lambda: [
        L.Dropout(0.1),
        L.BatchNormalization(),
        L.Activation("tanh"),
        L.LayerNormalization(),
        L.Dropout(0.2),
    ],
)


@composite
def flatten_as_output():
    return sequence((5, 4, 3), L.Conv2D(6, 2), L.Flatten())


@composite
def flatten_3d():
    return sequence((4, 3, 5, 2), L.Conv3D(4, 2), L.Flatten(), L.Dense(3))


@composite
def flatten_1d():
    return sequence((9, 3), L.Conv1D(4, 2), L.Flatten(), L.Dense(3))


@composite
def flatten_channels_first_layer():
    return sequence(
        (5, 4, 3), L.Conv2D(6, 2), L.Flatten(data_format="channels_first"), L.Dense(3)
    )


@composite
def flatten_branches():
    inputs = keras.Input((6, 5, 3))
    a = L.Flatten()(L.Conv2D(4, 3)(inputs))
    b = L.Flatten()(L.MaxPooling2D()(L.Conv2D(5, 2)(inputs)))
    c = L.GlobalAveragePooling2D()(inputs)
    x = L.Concatenate()([a, b, c])
    x = L.Dropout(0.3)(L.BatchNormalization()(x))
    return keras.Model(inputs, L.Dense(4)(x))


@composite
def flatten_branches_added():
    inputs = keras.Input((6, 5, 3))
    a = L.Flatten()(L.Conv2D(4, 3)(inputs))
    b = L.Flatten()(L.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, L.Dense(4)(L.Add()([a, b])))


@composite
def flatten_added_to_dense():
    inputs = keras.Input((4, 3, 2))
    a = L.Flatten()(L.Conv2D(2, 1)(inputs))
    b = L.Dense(24)(L.GlobalMaxPooling2D()(inputs))
    return keras.Model(inputs, L.Dense(4)(L.Add()([a, b])))


@composite
def flatten_used_twice():
    inputs = keras.Input((4, 3, 2))
    x = L.Flatten()(L.Conv2D(3, 1)(inputs))
    return keras.Model(inputs, [L.Dense(4)(x), L.Dense(2)(L.ReLU()(x)), x])


@composite
def dense_to_image():
    return sequence(
        (5,),
        L.Dense(24),
        L.Reshape((4, 3, 2)),
        L.Conv2DTranspose(3, 3, strides=2, padding="same"),
        L.Conv2D(2, 3),
    )


@composite
def autoencoder():
    return sequence(
        (8, 8, 3),
        L.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        L.Flatten(),
        L.Dense(6),
        L.Dense(64, activation="relu"),
        L.Reshape((4, 4, 4)),
        L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="sigmoid"),
    )


# --- padding ------------------------------------------------------------------------------------------------------


def strided(size):
    return sequence(
        (*size, 3),
        L.Conv2D(4, 3, strides=2, padding="same"),
        L.MaxPooling2D(3, strides=2, padding="same"),
        L.DepthwiseConv2D(3, strides=2, padding="same"),
    )


family("same-strides", strided, even=(16, 16), odd=(15, 13), mixed=(17, 12))


@composite
def average_pooling_borders():
    return sequence(
        (7, 8, 3),
        L.AveragePooling2D(3, strides=2, padding="same"),
        L.AveragePooling2D(2, padding="same"),
    )


@composite
def pool_then_dense():
    return sequence(
        (7, 8, 3), L.MaxPooling2D(3, strides=2, padding="same"), L.Flatten(), L.Dense(4)
    )


def transposed(arguments):
    kernel, stride, size = arguments
    return sequence(
        (*size, 3),
        L.Conv2DTranspose(4, kernel, strides=stride, padding="same"),
        L.Conv2D(2, 1),
    )


family(
    "transposed-same",
    transposed,
    k3s2=(3, 2, (5, 4)),
    k2s3=(2, 3, (5, 4)),
    k4s2=(4, 2, (3, 6)),
    k5s3=(5, 3, (4, 5)),
    k1s2=(1, 2, (4, 5)),
)


# --- axes ---------------------------------------------------------------------------------------------------------


def concatenated(axis):
    inputs = keras.Input((6, 6, 4))
    a, b = L.Conv2D(4, 3, padding="same")(inputs), L.Conv2D(4, 1)(inputs)
    return keras.Model(inputs, L.Conv2D(3, 2)(L.Concatenate(axis=axis)([a, b])))


family("concatenate-axis", concatenated, last=-1, rows=1, columns=2, third=3)


def softmaxed(axis):
    return sequence((6, 5, 4), L.Conv2D(4, 2), L.Softmax(axis=axis), L.Conv2D(3, 1))


family("softmax-axis", softmaxed, last=-1, rows=1, columns=2, several=[1, 2])


def normalised(axis):
    return sequence(
        (6, 5, 4), L.Conv2D(4, 2), L.BatchNormalization(axis=axis), L.Conv2D(3, 1)
    )


family("batch-norm-axis", normalised, last=-1, rows=1, columns=2)


@composite
def layer_norm_on_images():
    return sequence(
        (6, 5, 4),
        L.Conv2D(4, 2),
        L.LayerNormalization(),
        L.Conv2D(3, 1),
        L.LayerNormalization(axis=[1, 2, 3]),
    )


@composite
def dense_on_images():
    return sequence(
        (6, 5, 4),
        L.Conv2D(4, 2),
        L.Dense(7, activation="relu"),
        L.Conv2D(3, 1),
        L.Dense(2),
    )


@composite
def squeeze_and_excite():
    inputs = keras.Input((8, 7, 4))
    x = L.Conv2D(6, 3, padding="same")(inputs)
    s = L.GlobalAveragePooling2D()(x)
    s = L.Reshape((1, 1, 6))(s)
    s = L.Conv2D(3, 1, activation="relu")(s)
    s = L.Conv2D(6, 1, activation="sigmoid")(s)
    return keras.Model(inputs, L.Conv2D(2, 3)(L.Multiply()([x, s])))


@composite
def pooled_keepdims():
    inputs = keras.Input((8, 7, 4))
    s = L.GlobalMaxPooling2D(keepdims=True)(inputs)
    return keras.Model(inputs, L.Conv2D(2, 3)(L.Add()([inputs, s])))


@composite
def channels_first_chain():
    return sequence(
        (3, 9, 8),
        L.Conv2D(4, 3, data_format="channels_first", padding="same"),
        L.BatchNormalization(axis=1),
        L.Activation("relu"),
        L.AveragePooling2D(2, data_format="channels_first"),
        L.Flatten(),
        L.Dense(3),
    )


@composite
def permuted_layouts():
    return sequence(
        (6, 5, 4),
        L.Conv2D(3, 2),
        L.Permute((3, 1, 2)),
        L.Conv2D(2, 2, data_format="channels_first"),
        L.Flatten(),
        L.Dense(2),
    )


@composite
def image_as_sequence():
    return sequence(
        (6, 5, 4),
        L.Conv2D(3, 2),
        L.Reshape((20, 3)),
        L.LSTM(4, return_sequences=True),
        L.GlobalAveragePooling1D(),
    )


@composite
def image_rows_as_sequence():
    return sequence((6, 5, 4), L.Conv2D(3, 2), L.Reshape((5, 12)), L.GRU(4))


@composite
def crop_pad_upsample():
    return sequence(
        (8, 7, 3),
        L.ZeroPadding2D(((1, 2), (0, 3))),
        L.Conv2D(4, 3),
        L.Cropping2D(((1, 0), (2, 1))),
        L.UpSampling2D((2, 3)),
        L.UpSampling2D(2, interpolation="bilinear"),
    )


# --- topology -----------------------------------------------------------------------------------------------------


@composite
def residual():
    inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.BatchNormalization(scale=False)(L.Conv2D(4, 3, padding="same")(x))
    return keras.Model(
        inputs, L.Dense(3)(L.GlobalAveragePooling2D()(L.ReLU()(L.Add()([x, inputs]))))
    )


@composite
def shared_convolution():
    a, b = keras.Input((8, 8, 3)), keras.Input((6, 7, 3))
    shared, norm = L.Conv2D(4, 3), L.BatchNormalization()
    x, y = norm(shared(a)), norm(shared(b))
    return keras.Model(
        [a, b], L.Subtract()([L.GlobalMaxPooling2D()(x), L.GlobalMaxPooling2D()(y)])
    )


@composite
def shared_dense_twice_in_a_row():
    inputs = keras.Input((6,))
    dense = L.Dense(6, activation="tanh")
    return keras.Model(inputs, dense(dense(inputs)))


@composite
def siamese_nested():
    tower = keras.Sequential(
        [keras.Input((6, 6, 2)), L.Conv2D(3, 2), L.Flatten(), L.Dense(4)], name="tower"
    )
    a, b = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    return keras.Model([a, b], L.Dot(axes=-1)([tower(a), tower(b)]))


@composite
def nested_deep():
    inner = keras.Sequential(
        [keras.Input((6, 6, 3)), L.Conv2D(3, 1), L.BatchNormalization(name="bn")],
        name="inner",
    )
    middle_in = keras.Input((6, 6, 3))
    middle = keras.Model(
        middle_in, L.Add()([inner(middle_in), middle_in]), name="middle"
    )
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(L.ReLU()(middle(inputs)))))


@composite
def nested_flatten_inside():
    head = keras.Sequential(
        [keras.Input((5, 5, 3)), L.Flatten(), L.Dense(4)], name="head"
    )
    inputs = keras.Input((6, 6, 2))
    return keras.Model(inputs, head(L.Conv2D(3, 2)(inputs)))


@composite
def nested_flatten_leaves():
    body = keras.Sequential(
        [keras.Input((6, 6, 2)), L.Conv2D(3, 2), L.Flatten()], name="body"
    )
    inputs = keras.Input((6, 6, 2))
    return keras.Model(inputs, L.Dense(4)(body(inputs)))


@composite
def nested_with_two_outputs():
    inner_in = keras.Input((6, 6, 2))
    x = L.Conv2D(3, 2)(inner_in)
    inner = keras.Model(inner_in, [L.GlobalAveragePooling2D()(x), x], name="inner")
    inputs = keras.Input((6, 6, 2))
    pooled, image = inner(inputs)
    return keras.Model(inputs, [L.Dense(2)(pooled), L.Conv2D(2, 2)(image)])


@composite
def many_inputs_and_outputs():
    image, words, number = (
        keras.Input((8, 8, 3)),
        keras.Input((5,), dtype="int32"),
        keras.Input((2,)),
    )
    x = L.Flatten()(L.Conv2D(4, 3, strides=2)(image))
    y = L.LSTM(4)(L.Embedding(11, 3)(words))
    z = L.Concatenate()([x, y, number])
    return keras.Model(
        [image, words, number], [L.Dense(3)(z), L.Dense(1, activation="sigmoid")(y), x]
    )


@composite
def same_tensor_twice():
    inputs = keras.Input((5,))
    return keras.Model(
        inputs, L.Dense(2)(L.Concatenate()([inputs, inputs, L.Dense(3)(inputs)]))
    )


@composite
def output_is_an_inner_image():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(inputs)
    return keras.Model(inputs, [x, L.Conv2D(2, 3)(x), inputs])


@composite
def odd_names():
    return sequence(
        (4,),
        L.Dense(3, name="class"),
        L.Dense(3, name="forward"),
        L.Dense(2, name="train"),
        L.Dense(2, name="3rd.layer"),
    )


# --- normalisation ------------------------------------------------------------------------------------------------


def norm_model(options):
    return sequence(
        (6, 5, 4), L.Conv2D(4, 2), L.BatchNormalization(**options), L.Conv2D(3, 1)
    )


family(
    "batch-norm",
    norm_model,
    no_scale={"scale": False},
    no_center={"center": False},
    bare={"scale": False, "center": False},
    renorm={"renorm": True},
    frozen={"trainable": False},
    small_epsilon={"epsilon": 1e-7},
)


@composite
def batch_norm_ranks():
    inputs = keras.Input((4, 3, 5, 6))
    x = L.BatchNormalization()(inputs)
    x = L.BatchNormalization()(L.Reshape((12, 5, 6))(x))
    x = L.BatchNormalization()(L.Reshape((60, 6))(x))
    x = L.BatchNormalization()(L.Flatten()(x))
    return keras.Model(inputs, x)


# --- sequences ----------------------------------------------------------------------------------------------------


@composite
def rnn_stack():
    return sequence(
        (7, 5),
        L.LSTM(4, return_sequences=True),
        L.GRU(4, return_sequences=True),
        L.GRU(3, reset_after=False, return_sequences=True),
        L.SimpleRNN(3, activation="relu", return_sequences=True),
        L.LSTM(3, go_backwards=True),
    )


def bidirectional(options):
    inner, merge = options
    return sequence((7, 5), L.Bidirectional(inner(), merge_mode=merge), L.Dense(2))


family(
    "bidirectional",
    bidirectional,
    lstm_concat=(lambda: L.LSTM(4), "concat"),
    lstm_sequence_sum=(lambda: L.LSTM(4, return_sequences=True), "sum"),
    gru_multiply=(lambda: L.GRU(4), "mul"),
    gru_average=(lambda: L.GRU(3, return_sequences=True), "ave"),
)


@composite
def encoder_decoder():
    a, b = keras.Input((6, 4)), keras.Input((5, 4))
    _, h, c = L.LSTM(3, return_state=True)(a)
    x = L.LSTM(3, return_sequences=True)(b, initial_state=[h, c])
    return keras.Model([a, b], L.TimeDistributed(L.Dense(2))(x))


@composite
def text_classifier():
    inputs = keras.Input((9,), dtype="int32")
    x = L.Embedding(13, 6)(inputs)
    x = L.Conv1D(5, 3, activation="relu")(x)
    return keras.Model(inputs, L.Dense(2)(L.GlobalMaxPooling1D()(x)))


@composite
def masked_embedding():
    inputs = keras.Input((9,), dtype="int32")
    return keras.Model(inputs, L.LSTM(4)(L.Embedding(13, 6, mask_zero=True)(inputs)))


def tokens(steps=8, empty=3):
    """An input of tokens, and with its last ones 0: what a padded sequence looks like."""
    inputs = keras.Input((steps - empty,), dtype="int32")
    return inputs, L.Concatenate(axis=1)([inputs, inputs[:, :empty] * 0])


def words(x, width=6):
    return L.Embedding(9, width, mask_zero=True)(x)


def post_norm_blocks(options):
    blocks, first, dropout = options
    inputs, x = tokens()
    x = words(x)
    for _ in range(blocks):
        a = L.MultiHeadAttention(2, 3, dropout=dropout)(x, x)
        x = L.LayerNormalization()(L.Add()([x, a] if first else [a, x]))
        y = L.Dense(6)(L.Dense(12, activation="relu")(x))
        x = L.LayerNormalization()(L.Add()([x, y]))
    return keras.Model(inputs, [L.Dense(3)(L.GlobalAveragePooling1D()(x)), L.GRU(3)(x)])


family(
    "mask-post-norm",
    post_norm_blocks,
    one=(1, True, 0.0),
    two=(2, True, 0.0),
    two_reversed=(2, False, 0.0),
    dropout=(2, True, 0.1),
)


@composite
def mask_pre_norm():
    inputs, x = tokens()
    x = words(x)
    for _ in range(2):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(2, 3)(y, y)])
        x = L.Add()([x, L.Dense(6, activation="relu")(L.LayerNormalization()(x))])
    return keras.Model(inputs, L.LSTM(3)(x))


@composite
def mask_two_attentions():
    """Whichever attention runs first takes the mask away."""
    inputs, x = tokens()
    x = words(x)
    a = L.MultiHeadAttention(2, 3)(x, x)
    b = L.MultiHeadAttention(1, 3)(x, x, use_causal_mask=True)
    c = L.MultiHeadAttention(2, 2)(L.Dense(6, activation="tanh")(a), x)
    return keras.Model(inputs, [L.Concatenate()([a, b]), a, c, L.GRU(3)(x)])


@composite
def mask_two_memories():
    a, x = tokens()
    b, y = tokens(7, 2)
    x, y = words(x), words(y)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)]))
    for _ in range(2):
        y = L.LayerNormalization()(L.Add()([L.MultiHeadAttention(2, 3)(y, x), y]))
    return keras.Model([a, b], y)


@composite
def mask_under_another_name():
    """Dropout, Identity and a linear activation give the tensor that they take; a Dense does not."""
    inputs, x = tokens()
    x = words(x)
    y = L.Activation("linear")(L.Identity()(L.Dropout(0.1)(x)))
    z = L.Dense(6)(x)
    a = L.MultiHeadAttention(2, 3)(y, y)
    b = L.GRU(3)(L.Add()([a, x]))
    return keras.Model(inputs, [b, L.GRU(3)(L.Add()([a, z]))])


@composite
def mask_grouped_attention():
    inputs, x = tokens()
    x = words(x)
    layers = [
        L.GroupQueryAttention(3, 4, 2),
        L.GroupQueryAttention(3, 4, 2, dropout=0.1),
    ]
    y = [layer(x, x) for layer in layers]
    return keras.Model(inputs, [*y, L.GRU(3)(L.Add()([*y, x]))])


@composite
def mask_into_a_nested_attention():
    """A nested model that is called with masked values takes their masks as well."""
    i, j = keras.Input((8, 6)), keras.Input((8, 6))
    inner = keras.Model([i, j], L.MultiHeadAttention(2, 3)(i, j), name="inner")
    inputs, x = tokens()
    x = words(x)
    a = inner([x, L.Dense(6)(x)])
    return keras.Model(inputs, [a, L.GRU(3)(L.Add()([x, a])), L.GRU(3)(a)])


def attended(options):
    inputs, x = tokens()
    x = words(x)
    layer = L.MultiHeadAttention(2, 3, **options.get("layer", {}))
    return keras.Model(inputs, layer(x, x, **options.get("call", {})))


family(
    "mask-attention",
    attended,
    plain={},
    dropout={"layer": {"dropout": 0.2}},
    dropout_causal={"layer": {"dropout": 0.2}, "call": {"use_causal_mask": True}},
    dropout_no_bias={"layer": {"dropout": 0.2, "use_bias": False}},
    dropout_wide={"layer": {"dropout": 0.2, "value_dim": 5, "output_shape": 4}},
    scores={"call": {"return_attention_scores": True}},
    scores_causal={"call": {"return_attention_scores": True, "use_causal_mask": True}},
)


@composite
def mask_initial_states():
    a, x = tokens()
    b, y = tokens(7, 2)
    _, h, c = L.LSTM(4, return_state=True)(words(x))
    _, g = L.GRU(4, return_state=True)(words(x))
    y = words(y)
    z = L.LSTM(4, return_sequences=True)(y, initial_state=[h, c])
    s = L.GRU(4, return_sequences=True, go_backwards=True)(y, initial_state=g)
    ends = [
        L.GlobalAveragePooling1D()(z),
        L.LSTM(3)(s),
        L.SimpleRNN(4)(y, initial_state=g),
    ]
    return keras.Model([a, b], [z, s, *ends])


@composite
def mask_merged():
    a, x = tokens()
    b, y = tokens(8, 2)
    x, y, z = words(x), words(y), L.Embedding(9, 6)(y)
    merges = [L.Add(), L.Average(), L.Multiply(), L.Maximum(), L.Concatenate()]
    pairs = [(x, y), (x, z), (z, x), (x, L.Dense(6)(x))]
    joined = [merge([p, q]) for merge in merges for p, q in pairs]
    long = L.Concatenate(axis=1)([x, y])
    return keras.Model([a, b], [L.GRU(2)(value) for value in [*joined, long]])


@composite
def mask_kept():
    """What hands a mask on, among others a wrapped Dense, and what ends it."""
    inputs, x = tokens()
    x = words(x)
    layers = [
        L.SpectralNormalization(L.Dense(6)),
        L.SpectralNormalization(L.Conv1D(6, 3)),
        L.Rescaling(0.5, 0.1),
        L.Normalization(mean=0.1, variance=2.0),
        L.Identity(),
        L.RMSNormalization(),
        L.UnitNormalization(),
        L.GroupNormalization(2),
        L.TimeDistributed(L.Dense(6)),
        L.Permute((1, 2)),
    ]
    return keras.Model(inputs, [L.GRU(2)(layer(x)) for layer in layers])


@composite
def mask_dot_attention():
    inputs, x = tokens()
    x = L.LSTM(5, return_sequences=True)(words(x))
    a, b = L.Attention()([x, x]), L.AdditiveAttention()([x, x])
    ends = [
        L.GlobalAveragePooling1D()(a),
        L.GRU(3)(b),
        L.GRU(3)(L.Concatenate()([x, a])),
    ]
    return keras.Model(inputs, [a, b, *ends])


@composite
def time_distributed_convolution():
    return sequence(
        (4, 8, 7, 3),
        L.TimeDistributed(L.Conv2D(4, 3)),
        L.TimeDistributed(L.Flatten()),
        L.LSTM(3),
    )


@composite
def time_distributed_norm():
    return sequence(
        (4, 6),
        L.TimeDistributed(L.Dense(5)),
        L.TimeDistributed(L.BatchNormalization()),
        L.Flatten(),
        L.Dense(2),
    )


@composite
def convolutional_lstm():
    return sequence(
        (3, 6, 5, 2),
        L.ConvLSTM2D(4, 3, padding="same", return_sequences=True),
        L.ConvLSTM2D(2, 2),
        L.Flatten(),
        L.Dense(2),
    )


@composite
def transformer_block():
    inputs = keras.Input((7, 8))
    x = L.LayerNormalization(epsilon=1e-6)(inputs)
    x = L.Add()([inputs, L.MultiHeadAttention(2, 4)(x, x)])
    y = L.Dense(8)(L.Dense(16, activation="gelu")(L.LayerNormalization()(x)))
    return keras.Model(inputs, L.GlobalAveragePooling1D()(L.Add()([x, y])))


@composite
def cross_attention():
    a, b = keras.Input((7, 8)), keras.Input((5, 6))
    x = L.MultiHeadAttention(2, 4, value_dim=3)(a, b)
    y = L.GroupQueryAttention(4, 4, 2)(x, x)
    return keras.Model([a, b], L.Attention()([y, a]))


# --- operations and activations -----------------------------------------------------------------------------------


@composite
def operations():
    inputs = keras.Input((6, 5, 4))
    x = L.Conv2D(4, 2)(inputs)
    x = x * 2.0 + 1.0 - x / 3.0
    y = ops.mean(x, axis=(1, 2))
    z = ops.reshape(x, (-1, 80))
    ends = [ops.relu(x), ops.elu(x), ops.elu(x, 0.5), ops.celu(x, alpha=0.7)]
    return keras.Model(inputs, [L.Dense(3)(y), L.Dense(2)(z), *ends])


@composite
def operations_axes():
    inputs = keras.Input((6, 5, 4))
    x = L.Conv2D(4, 2)(inputs)
    a = ops.concatenate([x, x], axis=-1)
    b = ops.transpose(x, (0, 2, 1, 3))
    c = ops.max(x, axis=-1, keepdims=True)
    return keras.Model(inputs, [L.Conv2D(2, 1)(a), L.Conv2D(2, 1)(b), x * c])


@composite
def slices():
    inputs = keras.Input((6, 5, 4))
    x = L.Conv2D(4, 2)(inputs)
    return keras.Model(inputs, [L.Conv2D(2, 1)(x[:, 1:3, :, :]), x[:, :, ::2, 0]])


@composite
def activations():
    inputs = keras.Input((6,))
    names = [
        "relu",
        "relu6",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "softsign",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "exponential",
        "mish",
        "leaky_relu",
        "linear",
        "log_softmax",
        "softmax",
    ]
    return keras.Model(inputs, [L.Dense(4, activation=name)(inputs) for name in names])


@composite
def advanced_activations():
    inputs = keras.Input((6, 5, 4))
    x = L.Conv2D(4, 2)(inputs)
    layers = [
        L.PReLU(),
        L.PReLU(shared_axes=[1, 2]),
        L.LeakyReLU(0.2),
        L.ELU(0.7),
        L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
    ]
    return keras.Model(inputs, [L.Conv2D(2, 1)(layer(x)) for layer in layers])
