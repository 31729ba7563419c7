/** Names that exporters make up: they say nothing of the module that a tensor came from. */
const MADE_UP = /^(?:onnx::|\/|val_\d+$|\d+$|_?const)/i;

/** What ends a name that is built from a layer's: '_weight', '/kernel', '_bn_riv_0'. */
const ROLE =
  /^(.+?)[_/](?:weights?|bias(?:es)?|gamma|beta|kernel|alphas?|scale|mean|var|(?:running|moving)_(?:mean|var|variance)|w|b|s|rm|riv)(?:_\d+)?(?::\d+)?$/i;

/** A variable of TensorFlow: 'model/conv/Conv2D/ReadVariableOp:0'. */
const VARIABLE = /^(.+)\/[A-Za-z0-9]+\/ReadVariableOp(?:_\d+)?(?::\d+)?$/;

export function isMadeUp(name: string): boolean {
  return MADE_UP.test(name);
}

/** The module path and the role in a PyTorch key; undefined for another name. */
export function splitKey(name: string): { readonly path: string; readonly role: string } | undefined {
  if (isMadeUp(name) || name.includes('/') || name.includes(':')) return undefined;
  const dot = name.lastIndexOf('.');
  return dot <= 0 || dot === name.length - 1 ? undefined : { path: name.slice(0, dot), role: name.slice(dot + 1) };
}

/** The layer's path in the name of one of its tensors; undefined where the name says none. */
function stemOf(name: string): string | undefined {
  return splitKey(name)?.path ?? (VARIABLE.exec(name) ?? ROLE.exec(name))?.[1];
}

/** The path on which the names of a layer's tensors agree, names that an exporter made up apart. */
export function commonPath(names: readonly string[]): string | undefined {
  const own = names.filter((name) => !isMadeUp(name));
  const stems = new Set(own.map(stemOf));
  const [stem] = stems;
  return stems.size === 1 ? stem : undefined;
}

/**
 * The module in a node name of torch's first exporter: '/layer1/layer1.0/relu/Relu' is of 'layer1.0.relu'. undefined for
 * another name, and for a node of the root module itself.
 */
export function moduleOf(name: string | undefined, op: string): string | undefined {
  if (name?.startsWith('/') !== true) return undefined;
  const parts = name.slice(1).split('/');
  const last = parts.pop() ?? '';
  if (last !== op && !(last.startsWith(`${op}_`) && /^\d+$/.test(last.slice(op.length + 1)))) return undefined;
  const path: string[] = [];
  for (const [index, part] of parts.entries()) {
    // Modules in a list are named with the list: 'layer1', 'layer1.0'.
    const before = parts[index - 1];
    if (before !== undefined && part.startsWith(`${before}.`)) path.pop();
    path.push(part);
  }
  return path.length === 0 || path.includes('') ? undefined : path.join('.');
}
