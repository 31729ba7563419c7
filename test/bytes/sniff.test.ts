import { describe, expect, test } from 'vitest';
import { memorySource } from '../../src/bytes/memory-source.ts';
import { CONTENT_NAMES, nameContent } from '../../src/bytes/sniff.ts';
import { chooseReader } from '../../src/open.ts';
import { probeOf, refusalOf } from '../helpers/source.ts';
import { zipBytes } from '../helpers/zip-bytes.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const bytes = (...values: readonly number[]): Uint8Array =>
  Uint8Array.from([...values, ...new Array<number>(300).fill(0x81)]);
const says = (content: Uint8Array, name = 'model.pt'): string | null => nameContent(probeOf(content, name));

const tar = new Uint8Array(600);
tar.set(text('ustar'), 257);
const table = new Uint8Array(100).fill(0x81);
table.set([0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb], 92);

const CASES: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['nothing', new Uint8Array(0), /^an empty file; fetch/],
  [
    'a Git LFS pointer',
    text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n'),
    /^a Git LFS pointer, not the model of 12345 bytes; .*git lfs pull/,
  ],
  ['an HTML page', text('\n<!DOCTYPE html><html><body>Sign in</body>'), /HTML page/],
  ['an HTML page with a comment', text('<!-- x --><html>'), /HTML page/],
  ['XML', text('<?xml version="1.0"?><Error>AccessDenied</Error>'), /XML/],
  ['gzip', bytes(0x1f, 0x8b), /gzip/],
  ['7z', bytes(0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c), /7-Zip/],
  ['rar', bytes(0x52, 0x61, 0x72, 0x21, 0x1a, 7), /RAR/],
  ['xz', bytes(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), /xz/],
  ['bzip2', bytes(0x42, 0x5a, 0x68), /bzip2/],
  ['zstd', bytes(0x28, 0xb5, 0x2f, 0xfd), /Zstandard/],
  ['tar', tar, /tar archive/],
  ['PNG', bytes(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), /PNG/],
  ['JPEG', bytes(0xff, 0xd8, 0xff), /JPEG/],
  ['GIF', text('GIF89a'), /GIF/],
  ['a Linux program', text('\u007fELF'), /a program or library/],
  ['a Windows program', text('MZ\0\0'), /Windows program/],
  ['PDF', text('%PDF-1.7'), /PDF/],
  ['GGUF', text('GGUF\u0003\0\0'), /GGUF/],
  ['GGML', text('GGML\u0003\0\0'), /GGML/],
  ['npy', bytes(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59), /\.npy/],
  ['PyTorch mobile', bytes(1, 2, 3, 4, 0x50, 0x54, 0x4d, 0x46), /mobile/],
  ['TensorFlow Lite', bytes(1, 2, 3, 4, 0x54, 0x46, 0x4c, 0x33), /Lite/],
  ['a TensorFlow checkpoint index', table, /index of a TensorFlow checkpoint/],
  [
    'keras_metadata.pb',
    text('\n\u0080\u0003\u0012\u0004root"\u0014_tf_keras_sequential*\u0003{"name": "s", "class_name": "Sequential"}'),
    /keras_metadata/,
  ],
  ['a SavedModel', text('\b\u0001\u0012\u0010StatefulPartitionedCall serve'), /SavedModel/],
  ['a zip without a model', zipBytes([{ name: 'a', data: text('x') }]), /zip archive that holds no/],
  [
    'a cut zip',
    zipBytes([{ name: 'net/byteorder', data: text('little') }]).subarray(0, 49),
    /ends before its directory/,
  ],
  ['an empty zip', zipBytes([]), /empty zip/],
  ['zeros', new Uint8Array(5000), /zero bytes/],
  ['TensorFlow.js', text('{"format": "layers-model", "modelTopology": {}}'), /TensorFlow\.js/],
  ['TensorFlow.js weights', text('{"weightsManifest": [{"paths": ["group1-shard1of1.bin"]}]}'), /weights manifest/],
  ['shards of another kind', text('{"weight_map": {"a": "a.gguf"}}'), /shard index/],
  ['a description of safetensors', text('{"safetensors_version": 1}'), /description/],
  ['metadata.json', text('{"keras_version": "3.0.0"}'), /metadata\.json/],
  ['a Hugging Face config without classes', text('{"model_type": "bert"}'), /config\.json/],
  ['a notebook', text('{"cells": [{"cell_type": "code"}], "nbformat": 4}'), /notebook/],
  ['a Hugging Face config', text('{"architectures": ["BertModel"]}'), /config\.json/],
  ['other JSON', text('[1, 2]'), /JSON text/],
  ['a checkpoint list', text('model_checkpoint_path: "ckpt-1"'), /TensorFlow checkpoint/],
  ['text', text('import torch\n\nclass Net(torch.nn.Module): …\n'), /text file/],
];

describe('nameContent', () => {
  test.each(CASES)('%s', async (_, content, expected) => {
    expect(says(content)).toMatch(expected);
    // No reader takes it, so that this is what a user is told.
    const refusal = await refusalOf(chooseReader(memorySource(content, 'model.pt'), probeOf(content, 'model.pt')));
    expect(refusal.code).toBe('NOT_A_MODEL');
    expect(`${refusal.reason}; ${refusal.next}`).toContain(`it is ${says(content)}`);
  });

  test('every name of the list has a case', () => {
    const found = new Set(CASES.map(([, content]) => says(content)?.replace(/ of \d+ bytes/, '')));
    expect(CONTENT_NAMES.filter((name) => !found.has(name))).toEqual([]);
    expect([...found].filter((name) => !CONTENT_NAMES.includes(name ?? ''))).toEqual([]);
  });

  test('unknown bytes have no name', () => {
    expect(says(bytes(1, 2, 3, 4))).toBeNull();
  });
});
