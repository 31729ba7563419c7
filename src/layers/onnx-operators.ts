/**
 * Operators of the ONNX standard: name, the operator sets in which each became another version, and the defaults of its
 * attributes as JSON. Written by fixtures/make/onnx_operators.py from the schemas of onnx 1.23.2 (operator set 28).
 */
export const ONNX_OPERATORS = `
Abs 1,6,13
Acos 7,22
Acosh 9,22
Add 1,6,7,13,14 broadcast=0
AffineGrid 20 align_corners=0
And 1,7 broadcast=0
ArgMax 1,11,12,13 axis=0 keepdims=1 select_last_index=0
ArgMin 1,11,12,13 axis=0 keepdims=1 select_last_index=0
Asin 7,22
Asinh 9,22
Atan 7,22
Atanh 9,22
Attention 23,24,25 is_causal=0 left_window_size=-1 qk_matmul_output_mode=0 right_window_size=-1 softcap=0
AveragePool 1,7,10,11,19,22 auto_pad="NOTSET" ceil_mode=0 count_include_pad=0
BatchNormalization 1,6,7,9,14,15 epsilon=1e-05 is_test=0 momentum=0.9 spatial=1 training_mode=0
Bernoulli 15,22
BitCast 26
BitShift 11,28
BitwiseAnd 18
BitwiseNot 18
BitwiseOr 18
BitwiseXor 18
BlackmanWindow 17 output_datatype=1 periodic=1
Cast 1,6,9,13,19,21,23,24,25,28 round_mode="up" saturate=1
CastLike 15,19,21,23,24,25 round_mode="up" saturate=1
CausalConvWithState 27 activation="none"
Ceil 1,6,13
Celu 12,28 alpha=1
CenterCropPad 18
Clip 1,6,11,12,13 max=3.4028235e+38 min=-3.4028235e+38
Col2Im 18
Compress 9,11,28
Concat 1,4,11,13
ConcatFromSequence 11 new_axis=0
Constant 1,9,11,12,13,19,21,23,24,25
ConstantOfShape 9,20,21,23,24,25
Conv 1,11,22 auto_pad="NOTSET" group=1
ConvInteger 10 auto_pad="NOTSET" group=1
ConvTranspose 1,11,22 auto_pad="NOTSET" group=1
Cos 7,22
Cosh 9,22
CumProd 26 exclusive=0 reverse=0
CumSum 11,14 exclusive=0 reverse=0
DFT 17,20 axis=1 inverse=0 onesided=0
DeformConv 19,22 group=1 offset_group=1
DepthToSpace 1,11,13,28 mode="DCR"
DequantizeLinear 10,13,19,21,23,24,25,28 axis=1 block_size=0 output_dtype=0
Det 11,22
Div 1,6,7,13,14 broadcast=0
Dropout 1,6,7,10,12,13,22 is_test=0 ratio=0.5
DynamicQuantizeLinear 11
Einsum 12,28
Elu 1,6,22 alpha=1
Equal 1,7,11,13,19 broadcast=0
Erf 9,13
Exp 1,6,13
Expand 8,13
EyeLike 9,22 k=0
Flatten 1,9,11,13,21,23,24,25 axis=1
Floor 1,6,13
GRU 1,3,7,14,22 direction="forward" layout=0 linear_before_reset=0 output_sequence=0
Gather 1,11,13 axis=0
GatherElements 11,13 axis=0
GatherND 11,12,13 batch_dims=0
Gelu 20 approximate="none"
Gemm 1,6,7,9,11,13 alpha=1 beta=1 broadcast=0 transA=0 transB=0
GlobalAveragePool 1,22
GlobalLpPool 1,2,22 p=2
GlobalMaxPool 1,22
Greater 1,7,9,13 broadcast=0
GreaterOrEqual 12,16
GridSample 16,20,22 align_corners=0 mode="bilinear"@16;"linear"@20 padding_mode="zeros"
GroupNormalization 18,21 epsilon=1e-05 stash_type=1
HammingWindow 17 output_datatype=1 periodic=1
HannWindow 17 output_datatype=1 periodic=1
HardSigmoid 1,6,22 alpha=0.2 beta=0.5
HardSwish 14,22
Hardmax 1,11,13 axis=1@1;-1@13
Identity 1,13,14,16,19,21,23,24,25
If 1,11,13,16,19,21,23,24,25
ImageDecoder 20 pixel_format="RGB"
InstanceNormalization 1,6,22 epsilon=1e-05
IsInf 10,20 detect_negative=1 detect_positive=1
IsNaN 9,13,20
LRN 1,13 alpha=0.0001 beta=0.75 bias=1
LSTM 1,7,14,22 direction="forward" input_forget=0 layout=0 output_sequence=0
LayerNormalization 17 axis=-1 epsilon=1e-05 stash_type=1
LeakyRelu 1,6,16 alpha=0.01
Less 1,7,9,13 broadcast=0
LessOrEqual 12,16
LinearAttention 27 chunk_size=64 scale=0 update_rule="gated_delta"
Log 1,6,13
LogSoftmax 1,11,13 axis=1@1;-1@13
Loop 1,11,13,16,19,21,23,24,25
LpNormalization 1,22 axis=-1 p=2
LpPool 1,2,11,18,22 auto_pad="NOTSET" ceil_mode=0 p=2
MatMul 1,9,13
MatMulInteger 10
Max 1,6,8,12,13
MaxPool 1,8,10,11,12,22 auto_pad="NOTSET" ceil_mode=0 storage_order=0
MaxRoiPool 1,22 spatial_scale=1
MaxUnpool 9,11,22
Mean 1,6,8,13
MeanVarianceNormalization 9,13 axes=[0,2,3]
MelWeightMatrix 17 output_datatype=1
Min 1,6,8,12,13
Mish 18,22
Mod 10,13,28 fmod=0
Mul 1,6,7,13,14 broadcast=0
Multinomial 7,22 dtype=6 sample_size=1
Neg 1,6,13
NegativeLogLikelihoodLoss 12,13,22 reduction="mean"
NonMaxSuppression 10,11 center_point_box=0
NonZero 9,13
Not 1
OneHot 9,11,28 axis=-1
Optional 15,28
OptionalGetElement 15,18,28
OptionalHasElement 15,18,28
Or 1,7 broadcast=0
PRelu 1,6,7,9,16
Pad 1,2,11,13,18,19,21,23,24,25 mode="constant" value=0
Pow 1,7,12,13,15 broadcast=0
QLinearConv 10 auto_pad="NOTSET" group=1
QLinearMatMul 10,21
QuantizeLinear 10,13,19,21,23,24,25,28 axis=1 block_size=0 output_dtype=0 precision=0 saturate=1
RMSNormalization 23 axis=-1 epsilon=1e-05 stash_type=1
RNN 1,7,14,22 activations=["Tanh","Tanh"] direction="forward" layout=0 output_sequence=0
RandomNormal 1,22 dtype=1 mean=0 scale=1
RandomNormalLike 1,22 mean=0 scale=1
RandomUniform 1,22 dtype=1 high=1 low=0
RandomUniformLike 1,22 high=1 low=0
Range 11,27 stash_type=1
Reciprocal 1,6,13
ReduceL1 1,11,13,18 keepdims=1 noop_with_empty_axes=0
ReduceL2 1,11,13,18 keepdims=1 noop_with_empty_axes=0
ReduceLogSum 1,11,13,18,28 keepdims=1 noop_with_empty_axes=0
ReduceLogSumExp 1,11,13,18,28 keepdims=1 noop_with_empty_axes=0
ReduceMax 1,11,12,13,18,20 keepdims=1 noop_with_empty_axes=0
ReduceMean 1,11,13,18 keepdims=1 noop_with_empty_axes=0
ReduceMin 1,11,12,13,18,20 keepdims=1 noop_with_empty_axes=0
ReduceProd 1,11,13,18 keepdims=1 noop_with_empty_axes=0
ReduceSum 1,11,13 keepdims=1 noop_with_empty_axes=0
ReduceSumSquare 1,11,13,18 keepdims=1 noop_with_empty_axes=0
RegexFullMatch 20
Relu 1,6,13,14
Reshape 1,5,13,14,19,21,23,24,25 allowzero=0
Resize 10,11,13,18,19 antialias=0 coordinate_transformation_mode="half_pixel" cubic_coeff_a=-0.75 exclude_outside=0 extrapolation_value=0 keep_aspect_ratio_policy="stretch" mode="nearest" nearest_mode="round_prefer_floor"
ReverseSequence 10,28 batch_axis=1 time_axis=0
RoiAlign 10,16,22 coordinate_transformation_mode="half_pixel" mode="avg" output_height=1 output_width=1 sampling_ratio=0 spatial_scale=1
RotaryEmbedding 23 interleaved=0 rotary_embedding_dim=0
Round 11,22
STFT 17 onesided=1
Scan 8,9,11,16,19,21,23,24,25
Scatter 9,11 axis=0
ScatterElements 11,13,16,18 axis=0 reduction="none"
ScatterND 11,13,16,18 reduction="none"
Selu 1,6,22 alpha=1.6732@1;1.6732632@6 gamma=1.0507@1;1.050701@6
SequenceAt 11
SequenceConstruct 11
SequenceEmpty 11
SequenceErase 11
SequenceInsert 11
SequenceLength 11
SequenceMap 17
Shape 1,13,15,19,21,23,24,25 start=0
Shrink 9 bias=0 lambd=0.5
Sigmoid 1,6,13
Sign 9,13
Sin 7,22
Sinh 9,22
Size 1,13,19,21,23,24,25
Slice 1,10,11,13
Softmax 1,11,13 axis=1@1;-1@13
SoftmaxCrossEntropyLoss 12,13 reduction="mean"
Softplus 1,22
Softsign 1,22
SpaceToDepth 1,13,28 mode="DCR"
Split 1,2,11,13,18 axis=0
SplitToSequence 11,24 axis=0 keepdims=1
Sqrt 1,6,13
Squeeze 1,11,13,21,23,24,25
StringConcat 20
StringNormalizer 10 case_change_action="NONE" is_case_sensitive=0
StringSplit 20
Sub 1,6,7,13,14 broadcast=0
Sum 1,6,8,13
SwiGLU 28 alpha=1
Swish 24 alpha=1
Tan 7,22
Tanh 1,6,13
TensorScatter 24 axis=-2 mode="linear"
TfIdfVectorizer 9
ThresholdedRelu 10,22 alpha=1
Tile 1,6,13
TopK 1,10,11,24 axis=-1 largest=1 sorted=1
Transpose 1,13,21,23,24,25
Trilu 14 upper=1
Unique 11,28 sorted=1
Unsqueeze 1,11,13,21,23,24,25
Upsample 1,7,9,10 mode="nearest"
Where 9,16
Xor 1,7 broadcast=0
`;
