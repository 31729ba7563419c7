/**
 * Classes of `keras.layers` (Keras 2 and 3) that no family stands for, with the reason. A layer of such a class is
 * summarised from its weights, if the file holds any.
 */
export const UNCOVERED: ReadonlyMap<string, string> = new Map([
  ['AbstractRNNCell', 'base class of cells; only subclasses with code of their own are saved'],
  ['DenseFeatures', 'built from feature columns, which no config describes'],
  ['FlaxLayer', 'wraps a Flax module, which is code'],
  ['InputSpec', 'describes an input; not a layer'],
  ['JaxLayer', 'wraps a JAX function, which is code'],
  ['Layer', 'base class; only subclasses with code of their own are saved'],
  ['RandomFourierFeatures', 'an experimental kernel method of TensorFlow'],
  ['TFSMLayer', 'runs a TensorFlow SavedModel stored elsewhere'],
  ['TorchModuleWrapper', 'wraps a PyTorch module, which is stored as a pickle'],
]);
