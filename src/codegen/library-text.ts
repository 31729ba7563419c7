/**
 * The classes and functions that PyTorch does not have, as the generated module defines them. Each stands for a rule in
 * which the frameworks differ; the module holds only those that it uses. Text is formatted as ruff leaves it.
 */
export interface LibraryEntry {
  readonly name: string;
  /** Other entries that this one uses. */
  readonly uses?: readonly string[];
  readonly text: string;
}

export const LIBRARY: readonly LibraryEntry[] = [
  {
    name: 'pad_same',
    text: `def pad_same(x, kernel_size, stride, dilation, value=0.0):
    """Pad as Keras' padding="same": the additional element goes to the end."""
    pads = []
    for size, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads = [total // 2, total - total // 2] + pads
    return F.pad(x, pads, value=value)
`,
  },
  {
    name: 'joint_softmax',
    text: `def joint_softmax(x, dims):
    """Softmax over several axes together."""
    e = torch.exp(x - x.amax(dim=dims, keepdim=True))
    return e / e.sum(dim=dims, keepdim=True)
`,
  },
  {
    name: 'causal_mask',
    text: `def causal_mask(queries, keys, device):
    """True where a query may not look: at later keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(1)
`,
  },
  {
    name: 'attention_bias',
    text: `def attention_bias(query, key, masks=(), causal=False, heads=None):
    """0 where a query may look and -1e9 where it may not, to be added to the scores.

    A query that may look nowhere looks everywhere alike, as in Keras. \`masks\` are
    boolean and broadcast to (batch, queries, keys).
    """
    allowed = torch.ones(
        query.shape[0],
        query.shape[1],
        key.shape[1],
        dtype=torch.bool,
        device=query.device,
    )
    if causal:
        allowed = allowed.tril()
    for mask in masks:
        allowed = allowed & mask
    bias = torch.where(allowed, 0.0, -1e9).to(query.dtype)
    return bias[:, None] if heads is None else bias.repeat_interleave(heads, dim=0)
`,
  },
  {
    name: 'masked_product',
    text: `def masked_product(values, masks):
    """Keras' Multiply under masks: 1 for masked steps, 0 where every value is masked."""
    masks = [None if mask is None else mask[..., None] for mask in masks]
    pairs = list(zip(values, masks))
    factors = [x if m is None else torch.where(m, x, 1.0) for x, m in pairs]
    output = math.prod(factors[1:], start=factors[0])
    if any(m is None for m in masks):
        return output
    return torch.where(torch.stack(masks).any(dim=0), output, 0.0)
`,
  },
  {
    name: 'masked_extreme',
    text: `def masked_extreme(function, values, masks):
    """Keras' Maximum and Minimum under masks: a masked step does not take part."""
    masks = [None if mask is None else mask[..., None] for mask in masks]
    output, known = values[0], masks[0]
    for x, mask in zip(values[1:], masks[1:]):
        if mask is not None:
            x = torch.where(mask, x, output)
        if known is not None:
            output = torch.where(known, output, x)
        known = None if mask is None or known is None else known | mask
        output = function(output, x)
    return output
`,
  },
  {
    name: 'along',
    text: `def along(values, dim, x):
    """A vector as a tensor that broadcasts along one axis of x."""
    shape = [1] * x.dim()
    shape[dim] = -1
    return torch.as_tensor(values, dtype=x.dtype, device=x.device).reshape(shape)
`,
  },
  {
    name: 'masked_recurrent',
    text: `def masked_recurrent(module, x, mask, state=None, zero=False):
    """Run a recurrent module step by step.

    A step that the mask leaves out keeps the state; it repeats the last output, or
    gives zeros.
    """
    outputs = []
    output = None
    for t in range(x.shape[1]):
        keep = mask[:, t]
        y, new = module(x[:, t : t + 1], state)
        if output is None:
            output = torch.zeros_like(y)
        pairs = isinstance(new, tuple)
        new = new if pairs else (new,)
        old = [torch.zeros_like(s) for s in new] if state is None else state
        old = old if isinstance(old, (tuple, list)) else (old,)
        kept = tuple(torch.where(keep[None, :, None], n, o) for n, o in zip(new, old))
        state = kept if pairs else kept[0]
        output = torch.where(keep[:, None, None], y, output)
        outputs.append(output * keep[:, None, None] if zero else output)
    return torch.cat(outputs, dim=1), state
`,
  },
  {
    name: 'one_direction',
    text: `def one_direction(module, suffix):
    """One direction of a bidirectional nn.LSTM, nn.GRU or nn.RNN, sharing its weights."""
    args = {"bias": module.bias, "batch_first": True}
    if isinstance(module, nn.RNN):
        args["nonlinearity"] = module.nonlinearity
    single = type(module)(module.input_size, module.hidden_size, **args)
    for name, _ in list(single.named_parameters()):
        setattr(single, name, getattr(module, name + suffix))
    return single
`,
  },
  {
    name: 'masked_bidirectional',
    uses: ['masked_recurrent', 'one_direction'],
    text: `def masked_bidirectional(module, x, mask, zero=False):
    """Both directions of a bidirectional module under a mask; halves concatenated."""
    if isinstance(module, nn.RNNBase):
        ahead, back = one_direction(module, ""), one_direction(module, "_reverse")
    else:
        ahead, back = module.forward_layer, module.backward_layer
    a, s = masked_recurrent(ahead, x, mask, zero=zero)
    b, t = masked_recurrent(back, x.flip(1), mask.flip(1), zero=zero)
    output = torch.cat([a, b.flip(1)], dim=-1)
    if isinstance(s, tuple):
        return output, tuple(torch.cat(pair) for pair in zip(s, t))
    return output, torch.cat([s, t])
`,
  },
  {
    name: 'ClippedLinear',
    text: `class ClippedLinear(nn.Module):
    """The older Keras hard_sigmoid: clip(slope * x + offset, 0, 1)."""

    def __init__(self, slope, offset):
        super().__init__()
        self.slope = slope
        self.offset = offset

    def forward(self, x):
        return torch.clamp(self.slope * x + self.offset, 0, 1)
`,
  },
  {
    name: 'JointSoftmax',
    uses: ['joint_softmax'],
    text: `class JointSoftmax(nn.Module):
    """Softmax over several axes together."""

    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return joint_softmax(x, self.dims)
`,
  },
  {
    name: 'Exponential',
    text: `class Exponential(nn.Module):
    def forward(self, x):
        return torch.exp(x)
`,
  },
  {
    name: 'Squareplus',
    text: `class Squareplus(nn.Module):
    def __init__(self, b):
        super().__init__()
        self.b = b

    def forward(self, x):
        return (x + torch.sqrt(x * x + self.b)) / 2
`,
  },
  {
    name: 'SparsePlus',
    text: `class SparsePlus(nn.Module):
    def forward(self, x):
        middle = (x + 1) ** 2 / 4
        return torch.where(x <= -1, torch.zeros_like(x), torch.where(x < 1, middle, x))
`,
  },
  {
    name: 'SparseSigmoid',
    text: `class SparseSigmoid(nn.Module):
    def forward(self, x):
        return torch.clamp((x + 1) / 2, 0, 1)
`,
  },
  {
    name: 'GeneralReLU',
    text: `class GeneralReLU(nn.Module):
    """Keras' ReLU with a maximum, a slope and a threshold."""

    def __init__(self, max_value, negative_slope, threshold):
        super().__init__()
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def forward(self, x):
        high = x if self.max_value is None else torch.clamp(x, max=self.max_value)
        low = self.negative_slope * (x - self.threshold)
        return torch.where(x > self.threshold, high, low)
`,
  },
  {
    name: 'BatchNormNd',
    text: `class BatchNormNd(nn.BatchNorm1d):
    """BatchNorm for inputs of more than five axes."""

    def forward(self, x):
        return super().forward(x.flatten(2)).reshape(x.shape)
`,
  },
  {
    name: 'DropPath',
    text: `class DropPath(nn.Module):
    """Drops whole samples while training."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        shape = [x.shape[0]] + [1] * (x.dim() - 1)
        keep = torch.rand(shape, device=x.device) >= self.p
        return x * keep / (1 - self.p)
`,
  },
  {
    name: 'GaussianNoise',
    text: `class GaussianNoise(nn.Module):
    """Adds noise while training."""

    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev

    def forward(self, x):
        return x + torch.randn_like(x) * self.stddev if self.training else x
`,
  },
  {
    name: 'GaussianDropout',
    text: `class GaussianDropout(nn.Module):
    """Multiplies with noise while training."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training:
            return x
        return x * (1 + torch.randn_like(x) * math.sqrt(self.p / (1 - self.p)))
`,
  },
  {
    name: 'AxisLayerNorm',
    text: `class AxisLayerNorm(nn.LayerNorm):
    """LayerNorm over axes that are not the last ones."""

    def __init__(self, normalized_shape, dims, **args):
        super().__init__(normalized_shape, **args)
        self.dims = dims

    def forward(self, x):
        last = sorted(d % x.dim() for d in self.dims)
        order = [d for d in range(x.dim()) if d not in last] + last
        y = super().forward(x.permute(order))
        return y.permute([order.index(d) for d in range(x.dim())])
`,
  },
  {
    name: 'VarianceScaling',
    text: `class VarianceScaling(nn.Module):
    """Keras' LayerNormalization(rms_scaling=True): x is scaled but not centred."""

    def __init__(self, normalized_shape, eps, dims):
        super().__init__()
        self.eps = eps
        self.dims = dims
        self.weight = nn.Parameter(torch.ones(normalized_shape))

    def forward(self, x):
        dims = sorted(d % x.dim() for d in self.dims)
        shape = [x.shape[d] if d in dims else 1 for d in range(x.dim())]
        variance = x.var(dims, unbiased=False, keepdim=True)
        return x * self.weight.reshape(shape) / torch.sqrt(variance + self.eps)
`,
  },
  {
    name: 'UnitNorm',
    uses: ['along'],
    text: `class UnitNorm(nn.Module):
    """Divides by the Euclidean norm along the axes."""

    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        norm = x.pow(2).sum(self.dims, keepdim=True).sqrt()
        return x / norm.clamp_min(1e-12)
`,
  },
  {
    name: 'Normalization',
    text: `class Normalization(nn.Module):
    """(x - mean) / max(sqrt(variance), 1e-7), or its inverse; one axis per entry of dims."""

    def __init__(self, dims, shape, invert):
        super().__init__()
        self.dims = dims
        self.invert = invert
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))

    def spread(self, v, x):
        dims = [d % x.dim() for d in self.dims]
        return v.reshape([x.shape[d] if d in dims else 1 for d in range(x.dim())])

    def forward(self, x):
        mean = self.spread(self.mean, x)
        deviation = self.spread(self.variance, x).sqrt().clamp_min(1e-7)
        return mean + x * deviation if self.invert else (x - mean) / deviation
`,
  },
  {
    name: 'Rescaling',
    uses: ['along'],
    text: `class Rescaling(nn.Module):
    """x * scale + offset, with a number for each element of one axis."""

    def __init__(self, scale, offset, dim):
        super().__init__()
        self.scale = scale
        self.offset = offset
        self.dim = dim

    def forward(self, x):
        scale = along(self.scale, self.dim, x)
        return x * scale + along(self.offset, self.dim, x)
`,
  },
  {
    name: 'LayerScale',
    text: `class LayerScale(nn.Module):
    """A learned factor for each element of one axis."""

    def __init__(self, size, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.dim = dim

    def forward(self, x):
        shape = [1] * x.dim()
        shape[self.dim] = -1
        return x * self.weight.reshape(shape)
`,
  },
  {
    name: 'ElementPReLU',
    text: `class ElementPReLU(nn.Module):
    """PReLU with a slope for each element (1 where shared), in Keras' order of axes."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        return F.relu(x) - self.weight * F.relu(-x)
`,
  },
  {
    name: 'KerasRecurrent',
    text: `class KerasRecurrent(nn.Module):
    """Called like nn.LSTM(batch_first=True); gates in Keras' order."""

    gates = 1

    def __init__(
        self,
        input_size,
        hidden_size,
        activation,
        recurrent_activation=None,
        bias=True,
        reset_after=False,
    ):
        super().__init__()
        size = self.gates * hidden_size
        self.hidden_size = hidden_size
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.reset_after = reset_after
        self.weight_ih = nn.Parameter(torch.empty(size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(size, hidden_size))
        for name in ("bias_ih", "bias_hh") if reset_after else ("bias",):
            value = nn.Parameter(torch.zeros(size)) if bias else None
            self.register_parameter(name, value)
        for parameter in (self.weight_ih, self.weight_hh):
            nn.init.xavier_uniform_(parameter)

    def start(self, x):
        return x.new_zeros(x.shape[0], self.hidden_size)

    def forward(self, x, state=None):
        if state is None:
            state = self.start(x)
        elif isinstance(state, tuple):
            state = tuple(s[0] for s in state)
        else:
            state = state[0]
        outputs = []
        for step in x.unbind(1):
            state = self.step(step, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        last = (
            tuple(s[None] for s in state) if isinstance(state, tuple) else state[None]
        )
        return torch.stack(outputs, dim=1), last
`,
  },
  {
    name: 'KerasRNN',
    uses: ['KerasRecurrent'],
    text: `class KerasRNN(KerasRecurrent):
    """SimpleRNN with any activation."""

    def step(self, x, h):
        y = F.linear(x, self.weight_ih, self.bias) + F.linear(h, self.weight_hh)
        return self.activation(y)
`,
  },
  {
    name: 'KerasLSTM',
    uses: ['KerasRecurrent'],
    text: `class KerasLSTM(KerasRecurrent):
    """LSTM with any activations; gates i, f, c, o."""

    gates = 4

    def start(self, x):
        return super().start(x), super().start(x)

    def step(self, x, state):
        h, c = state
        y = F.linear(x, self.weight_ih, self.bias) + F.linear(h, self.weight_hh)
        i, f, g, o = y.chunk(4, dim=-1)
        kept = self.recurrent_activation(f) * c
        c = kept + self.recurrent_activation(i) * self.activation(g)
        return self.recurrent_activation(o) * self.activation(c), c
`,
  },
  {
    name: 'KerasGRU',
    uses: ['KerasRecurrent'],
    text: `class KerasGRU(KerasRecurrent):
    """GRU with any activations, or with reset_after=False; gates z, r, h."""

    gates = 3

    def step(self, x, h):
        if self.reset_after:
            xz, xr, xh = F.linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
            hz, hr, hh = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
            z = self.recurrent_activation(xz + hz)
            r = self.recurrent_activation(xr + hr)
            candidate = self.activation(xh + r * hh)
        else:
            xz, xr, xh = F.linear(x, self.weight_ih, self.bias).chunk(3, dim=-1)
            uz, ur, uh = self.weight_hh.chunk(3)
            z = self.recurrent_activation(xz + F.linear(h, uz))
            r = self.recurrent_activation(xr + F.linear(h, ur))
            candidate = self.activation(xh + F.linear(r * h, uh))
        return z * h + (1 - z) * candidate
`,
  },
  {
    name: 'RecurrentChain',
    text: `class RecurrentChain(nn.Module):
    """Recurrent modules on top of each other; the states come as a list."""

    def __init__(self, *layers):
        super().__init__()
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)

    def forward(self, x):
        states = []
        for layer in self.children():
            x, state = layer(x)
            states.append(state)
        return x, states
`,
  },
  {
    name: 'BidirectionalPair',
    text: `class BidirectionalPair(nn.Module):
    """Like nn.LSTM(bidirectional=True): halves concatenated, states forward first."""

    def __init__(self, forward_layer, backward_layer):
        super().__init__()
        self.forward_layer = forward_layer
        self.backward_layer = backward_layer

    def forward(self, x):
        a, s = self.forward_layer(x)
        b, t = self.backward_layer(x.flip(1))
        output = torch.cat([a, b.flip(1)], dim=-1)
        if isinstance(s, tuple):
            return output, tuple(torch.cat(pair) for pair in zip(s, t))
        return output, torch.cat([s, t])
`,
  },
  {
    name: 'ConvLSTM',
    uses: ['pad_same'],
    text: `class ConvLSTM(nn.Module):
    """Keras' ConvLSTM on (batch, steps, channels, ...); gates i, f, c, o."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        activation,
        recurrent_activation,
        bias=True,
    ):
        super().__init__()
        size = 4 * out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.weight_ih = nn.Parameter(torch.empty(size, in_channels, *kernel_size))
        self.weight_hh = nn.Parameter(torch.empty(size, out_channels, *kernel_size))
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(size)) if bias else None
        )
        for parameter in (self.weight_ih, self.weight_hh):
            nn.init.xavier_uniform_(parameter)

    def convolve(self, x, weight, bias, stride, dilation, padding):
        if padding == "same":
            x = pad_same(x, self.kernel_size, stride, dilation)
        conv = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel_size) - 1]
        return conv(x, weight, bias, stride=stride, dilation=dilation)

    def forward(self, x):
        outputs = []
        ones = (1,) * len(self.kernel_size)
        h = c = None
        for step in x.unbind(1):
            args = (self.bias, self.stride, self.dilation, self.padding)
            y = self.convolve(step, self.weight_ih, *args)
            if h is None:
                h = c = torch.zeros_like(y.chunk(4, dim=1)[0])
            y = y + self.convolve(h, self.weight_hh, None, ones, ones, "same")
            i, f, g, o = y.chunk(4, dim=1)
            kept = self.recurrent_activation(f) * c
            c = kept + self.recurrent_activation(i) * self.activation(g)
            h = self.recurrent_activation(o) * self.activation(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)
`,
  },
  {
    name: 'ConvLSTM1d',
    uses: ['ConvLSTM'],
    text: `class ConvLSTM1d(ConvLSTM):
    pass
`,
  },
  {
    name: 'ConvLSTM2d',
    uses: ['ConvLSTM'],
    text: `class ConvLSTM2d(ConvLSTM):
    pass
`,
  },
  {
    name: 'ConvLSTM3d',
    uses: ['ConvLSTM'],
    text: `class ConvLSTM3d(ConvLSTM):
    pass
`,
  },
  {
    name: 'attention_mask',
    text: `def attention_mask(queries, keys, window, causal, device):
    """True where a query may look; None: everywhere."""
    if window is None and not causal:
        return None
    i = torch.arange(queries, device=device)[:, None]
    j = torch.arange(keys, device=device)[None]
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device)
    if window is not None:
        mask = mask & ((i - j).abs() < window)
    return mask & (j <= i) if causal else mask
`,
  },
  {
    name: 'KerasMultiHeadAttention',
    uses: ['attention_mask'],
    text: `class KerasMultiHeadAttention(nn.Module):
    """Keras' MultiHeadAttention with options that nn.MultiheadAttention does not have."""

    def __init__(
        self,
        num_heads,
        key_dim,
        value_dim,
        query_proj,
        key_proj,
        value_proj,
        output_proj,
        gate_proj=None,
        output_shape=None,
        attention_axes=None,
        sliding_window=None,
        dropout=0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.query_proj = query_proj
        self.key_proj = key_proj
        self.gate_proj = gate_proj
        self.value_proj = value_proj
        self.output_proj = output_proj
        self.output_shape = output_shape
        self.attention_axes = attention_axes
        self.sliding_window = sliding_window
        self.dropout = dropout

    def split(self, y, size, axes):
        """(batch, positions, heads * size) to (batch, others, heads, attended, size)."""
        y = y.unflatten(-1, (self.num_heads, size))
        others = [d for d in range(1, y.dim() - 2) if d not in axes]
        y = y.permute([0, *others, y.dim() - 2, *axes, y.dim() - 1])
        return y.flatten(len(others) + 2, -2), y.shape

    def forward(self, query, value, key=None, causal=False, bias=None, empty=False):
        key = value if key is None else key
        told = self.attention_axes
        told = range(1, query.dim() - 1) if told is None else told
        axes = [d % query.dim() for d in told]
        q, shape = self.split(self.query_proj(query), self.key_dim, axes)
        k, _ = self.split(self.key_proj(key), self.key_dim, axes)
        v, _ = self.split(self.value_proj(value), self.value_dim, axes)
        lengths = (q.shape[-2], k.shape[-2])
        mask = attention_mask(*lengths, self.sliding_window, causal, q.device)
        if bias is not None:
            mask = bias if mask is None else bias.masked_fill(~mask, -1e9)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        if empty:
            y = y * (mask > -1e8).any(dim=-1, keepdim=True)
        others = [d for d in range(1, query.dim() - 1) if d not in axes]
        y = y.reshape(*shape[:-1], self.value_dim)
        order = [0, *others, query.dim() - 1, *axes, query.dim()]
        y = y.permute([order.index(d) for d in range(query.dim() + 1)]).flatten(-2)
        if self.gate_proj is not None:
            y = y * torch.sigmoid(self.gate_proj(query))
        y = self.output_proj(y)
        return y if self.output_shape is None else y.unflatten(-1, self.output_shape)
`,
  },
  {
    name: 'GroupedQueryAttention',
    uses: ['attention_mask'],
    text: `class GroupedQueryAttention(nn.Module):
    """Query heads that share key and value heads."""

    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        query_proj,
        key_proj,
        value_proj,
        output_proj,
        gate_proj=None,
        sliding_window=None,
        dropout=0.0,
    ):
        super().__init__()
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.query_proj = query_proj
        self.key_proj = key_proj
        self.gate_proj = gate_proj
        self.value_proj = value_proj
        self.output_proj = output_proj
        self.sliding_window = sliding_window
        self.dropout = dropout

    def split(self, y, heads):
        y = y.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)
        return y.repeat_interleave(self.num_query_heads // heads, dim=1)

    def forward(self, query, value, key=None, causal=False, bias=None, empty=False):
        key = value if key is None else key
        q = self.split(self.query_proj(query), self.num_query_heads)
        k = self.split(self.key_proj(key), self.num_key_value_heads)
        v = self.split(self.value_proj(value), self.num_key_value_heads)
        lengths = (q.shape[-2], k.shape[-2])
        mask = attention_mask(*lengths, self.sliding_window, causal, q.device)
        if bias is not None:
            mask = bias if mask is None else bias.masked_fill(~mask, -1e9)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        if empty:
            y = y * (mask > -1e8).any(dim=-1, keepdim=True)
        y = y.transpose(1, 2).flatten(-2)
        if self.gate_proj is not None:
            y = y * torch.sigmoid(self.gate_proj(query))
        return self.output_proj(y)
`,
  },
  {
    name: 'attend',
    text: `def attend(scores, value, causal, dropout, query_mask=None, value_mask=None):
    """Softmax of the scores over the keys, applied to the values."""
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if causal:
        hidden = torch.ones_like(hidden).triu(1)
    if value_mask is not None:
        hidden = hidden | ~value_mask[:, None]
    scores = scores - 1e9 * hidden
    y = F.dropout(scores.softmax(-1), dropout, dropout > 0) @ value
    return y if query_mask is None else y * query_mask[..., None]
`,
  },
  {
    name: 'DotAttention',
    uses: ['attend'],
    text: `class DotAttention(nn.Module):
    """Keras' Attention: scores are not divided by the square root of the width."""

    def __init__(self, score_mode, use_scale, causal=False, dropout=0.0):
        super().__init__()
        self.score_mode = score_mode
        self.causal = causal
        self.dropout = dropout
        self.scale = nn.Parameter(torch.ones(())) if use_scale else None
        if score_mode == "concat":
            self.concat_score_weight = nn.Parameter(torch.ones(()))

    def forward(self, query, value, key=None, causal=False, masks=(None, None)):
        key = value if key is None else key
        scale = 1 if self.scale is None else self.scale
        if self.score_mode == "dot":
            scores = query @ key.transpose(-2, -1) * scale
        else:
            sums = query[..., :, None, :] + key[..., None, :, :]
            scores = self.concat_score_weight * torch.tanh(scale * sums).sum(-1)
        dropout = self.dropout if self.training else 0.0
        return attend(scores, value, causal or self.causal, dropout, *masks)
`,
  },
  {
    name: 'AdditiveAttention',
    uses: ['attend'],
    text: `class AdditiveAttention(nn.Module):
    """Scores are the sum of scale * tanh(query + key)."""

    def __init__(self, dim=None, use_scale=True, causal=False, dropout=0.0):
        super().__init__()
        self.causal = causal
        self.dropout = dropout
        self.scale = nn.Parameter(torch.ones(dim)) if use_scale else None

    def forward(self, query, value, key=None, causal=False, masks=(None, None)):
        key = value if key is None else key
        terms = torch.tanh(query[..., :, None, :] + key[..., None, :, :])
        scores = (terms if self.scale is None else self.scale * terms).sum(-1)
        dropout = self.dropout if self.training else 0.0
        return attend(scores, value, causal or self.causal, dropout, *masks)
`,
  },
  {
    name: 'Discretization',
    text: `class Discretization(nn.Module):
    """Index of the bin that each number falls into."""

    def __init__(self, boundaries):
        super().__init__()
        self.boundaries = boundaries

    def forward(self, x):
        edges = torch.tensor(self.boundaries, dtype=x.dtype, device=x.device)
        return torch.bucketize(x, edges, right=True)
`,
  },
  {
    name: 'EinsumDense',
    text: `class EinsumDense(nn.Module):
    """Keras' EinsumDense with its kernel and bias as Keras has them."""

    def __init__(self, equation, kernel_shape, bias_shape):
        super().__init__()
        self.equation = equation
        self.weight = nn.Parameter(torch.empty(kernel_shape))
        bias = None if bias_shape is None else nn.Parameter(torch.zeros(bias_shape))
        self.register_parameter("bias", bias)
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x):
        y = torch.einsum(self.equation, x, self.weight)
        return y if self.bias is None else y + self.bias
`,
  },
  {
    name: 'Resize',
    text: `class Resize(nn.Module):
    """Keras' Resizing by torch.nn.functional.interpolate."""

    def __init__(self, size, mode, antialias=False):
        super().__init__()
        self.size = size
        self.mode = mode
        self.antialias = antialias

    def forward(self, x):
        args = {"mode": self.mode}
        if self.mode in ("bilinear", "bicubic"):
            args.update(align_corners=False, antialias=self.antialias)
        return F.interpolate(x, size=self.size, **args)
`,
  },
  {
    name: 'LocallyConnected',
    text: `class LocallyConnected(nn.Module):
    """A convolution with weights of its own at each position."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride, output_size, bias=True
    ):
        super().__init__()
        places = math.prod(output_size)
        size = in_channels * math.prod(kernel_size)
        self.kernel_size = kernel_size
        self.stride = stride
        self.output_size = output_size
        self.weight = nn.Parameter(torch.empty(places, size, out_channels))
        value = nn.Parameter(torch.zeros(places, out_channels)) if bias else None
        self.register_parameter("bias", value)
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x):
        flat = len(self.kernel_size) == 1
        kernel = (1, *self.kernel_size) if flat else self.kernel_size
        stride = (1, *self.stride) if flat else self.stride
        columns = F.unfold(x[:, :, None] if flat else x, kernel, stride=stride)
        y = torch.einsum("nkp,pko->npo", columns, self.weight)
        y = y if self.bias is None else y + self.bias
        return y.transpose(1, 2).unflatten(2, self.output_size)
`,
  },
];
