import type { Probe } from './source.ts';

/** Files told by their first bytes: what they are, and what to do next. */
const SIGNATURES: readonly (readonly [offset: number, bytes: string, name: string])[] = [
  [0, '\x1f\x8b', 'a gzip file; unpack it first (gunzip)'],
  [0, '7z\xbc\xaf\x27\x1c', 'a 7-Zip archive; unpack it first'],
  [0, 'Rar!\x1a\x07', 'a RAR archive; unpack it first'],
  [0, '\xfd7zXZ\x00', 'an xz file; unpack it first (unxz)'],
  [0, 'BZh', 'a bzip2 file; unpack it first (bunzip2)'],
  [0, '\x28\xb5\x2f\xfd', 'a Zstandard file; unpack it first (unzstd)'],
  [257, 'ustar', 'a tar archive that holds no PyTorch model; unpack it first (tar -xf)'],
  [0, '\x89PNG\r\n\x1a\n', 'a PNG picture, not a model'],
  [0, '\xff\xd8\xff', 'a JPEG picture, not a model'],
  [0, 'GIF8', 'a GIF picture, not a model'],
  [0, '%PDF-', 'a PDF document, not a model'],
  [0, '\x7fELF', 'a program or library, not a model'],
  [0, 'MZ', 'a Windows program or library, not a model'],
  [0, 'GGUF', 'a GGUF file of llama.cpp, which is not read; use the safetensors file behind it'],
  [0, 'GGML', 'a GGML file of llama.cpp, which is not read; use the safetensors file behind it'],
  [0, '\x93NUMPY', 'a single NumPy array (.npy), not a model'],
  [4, 'PTMF', 'a PyTorch mobile file (flatbuffer), which is not read; save the state_dict with torch.save'],
  [4, 'TFL3', 'a TensorFlow Lite model, which is not read; use the Keras model behind it'],
];

/** How the shards of a distributed checkpoint of PyTorch become one file. */
export function mergeAdvice(folder: string): string {
  return `merge it into one file with python -m torch.distributed.checkpoint.format_utils dcp_to_torch ${folder} model.pt`;
}

/** The last eight bytes of a table in LevelDB's format. */
const TABLE_MAGIC = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];

/** JSON texts told by a key: the first that occurs decides. */
const JSON_KINDS: readonly (readonly [key: string, name: string])[] = [
  ['modelTopology', 'a TensorFlow.js model, which is not read; use the Keras model behind it'],
  ['weightsManifest', 'a TensorFlow.js weights manifest, which is not read; use the Keras model behind it'],
  ['nbformat', 'a Jupyter notebook, not a model'],
  ['weight_map', 'a shard index without safetensors, PyTorch or Keras shards'],
  ['safetensors_version', 'a description of a safetensors file, not the file'],
  ['keras_version', 'a Keras metadata.json; name the .keras file or the weights'],
  ['architectures', 'a Hugging Face config.json, not the model; name the .safetensors or .bin file'],
  ['model_type', 'a Hugging Face config.json, not the model; name the .safetensors or .bin file'],
];

/** Files told by more than a few bytes at one place. */
const OTHERS = {
  empty: 'an empty file; fetch or save it again',
  pointer: "a Git LFS pointer, not the model; fetch it with 'git lfs pull'",
  checkpointIndex:
    'the index of a TensorFlow checkpoint, which is not read; load it in TensorFlow and save .keras or .h5',
  checkpointList:
    'the list of a TensorFlow checkpoint, which is not read; load it in TensorFlow and save .keras or .h5',
  kerasMetadata: 'the keras_metadata.pb of a TensorFlow SavedModel, which is not read; save the model as .keras or .h5',
  savedModel: 'the graph of a TensorFlow SavedModel, which is not read; save the model as .keras or .h5',
  zip: 'a zip archive that holds no Keras or PyTorch model',
  cutZip: 'a zip archive that ends before its directory; fetch it again',
  emptyZip: 'an empty zip archive',
  zeros: 'a file that starts with nothing but zero bytes; fetch it again',
  html: 'an HTML page, not the model: the download gave a web page; fetch the raw file',
  xml: 'an XML document, not a model',
  json: 'a JSON text that holds no model',
  text: 'a text file, not a model',
} as const;

/** Everything that a file is named as, each once. */
export const CONTENT_NAMES: readonly string[] = [
  ...new Set([
    ...Object.values(OTHERS),
    ...SIGNATURES.map(([, , name]) => name),
    ...JSON_KINDS.map(([, name]) => name),
  ]),
];

/** What a file is that no reader takes, as a noun phrase and the next step; null when nothing is known about it. */
export function nameContent(probe: Probe): string | null {
  const { head, tail, size } = probe;
  if (size === 0) return OTHERS.empty;
  const text = latin1(head);
  if (text.startsWith('version https://git-lfs')) {
    const bytes = /^version [^\n]*\n(?:[^\n]*\n)*?size (\d+)/.exec(text)?.[1];
    return bytes === undefined ? OTHERS.pointer : OTHERS.pointer.replace(';', ` of ${bytes} bytes;`);
  }
  for (const [offset, bytes, name] of SIGNATURES) if (text.startsWith(bytes, offset)) return name;
  if (tail.byteLength >= 8 && TABLE_MAGIC.every((byte, index) => tail[tail.byteLength - 8 + index] === byte)) {
    return OTHERS.checkpointIndex;
  }
  if (text.startsWith('PK\x03\x04')) return latin1(tail).includes('PK\x05\x06') ? OTHERS.zip : OTHERS.cutZip;
  if (text.startsWith('PK\x05\x06')) return OTHERS.emptyZip;
  if (text.startsWith('\x0a') && text.includes('root') && text.includes('{"')) return OTHERS.kerasMetadata;
  if (
    probe.name === 'saved_model.pb' ||
    (text.startsWith('\x08\x01\x12') && /saved_model|StatefulPartitioned|serve/.test(text))
  ) {
    return OTHERS.savedModel;
  }
  if (head.every((byte) => byte === 0)) return OTHERS.zeros;
  return nameText(text, head, tail);
}

function nameText(text: string, head: Uint8Array, tail: Uint8Array): string | null {
  const start = text.replace(/^\xef\xbb\xbf/, '').trimStart();
  if (/^(?:<!--|<!doctype html|<html|<head)/i.test(start) || (start.startsWith('<') && /<html/i.test(start))) {
    return OTHERS.html;
  }
  if (start.startsWith('<?xml')) return OTHERS.xml;
  if (/^\s*[{[]/.test(start) && isText(head)) {
    const both = text + latin1(tail);
    return JSON_KINDS.find(([key]) => both.includes(`"${key}"`))?.[1] ?? OTHERS.json;
  }
  if (start.startsWith('model_checkpoint_path:')) return OTHERS.checkpointList;
  return isText(head) ? OTHERS.text : null;
}

/** No control characters but those of text. Cut UTF-8 at the end of the probe does no harm. */
function isText(bytes: Uint8Array): boolean {
  if (bytes.some((byte) => byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d && byte !== 0x0c))
    return false;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.byteLength; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}
