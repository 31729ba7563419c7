import type { NormAttrs, Shape } from '../../ir/model.ts';
import { normFlag } from '../../layers/attribute.ts';
import { type Emit, type Emitted, plainAxes, type Result } from './context.ts';
import type { Ref } from './lowered.ts';

const ordered = (shape: Shape | null, rank: number): Result => ({ shape, axes: plainAxes(rank) });

/** The states that a call hands in, as the module takes them: with a leading axis of layers and directions. */
function stateArgument(emit: Emit, states: readonly Ref[], isLstm: boolean): string {
  if (states.length === 0) return '';
  const names = states.map((state) => `${emit.keras(state).name}[None]`);
  if (!isLstm) return `, ${names[0]}`;
  if (names.length < 2) return emit.refuse('an LSTM with one initial state');
  return `, (${names[0]}, ${names[1]})`;
}

/** How a recurrent layer is run: plainly, or step by step where a mask says which steps count. */
function runRecurrent(
  emit: Emit,
  module: string,
  x: Ref,
  mask: string | undefined,
  state: string,
  results: readonly Result[],
): readonly Ref[] {
  if (mask === undefined) return emit.lines(`${module}(${x.name}${state})`, results);
  const expr = `${emit.helper('masked_recurrent')}(${module}, ${x.name}, ${mask}${state})`;
  return emit.lines(expr, results, 'Masked steps keep the state and repeat the last output, as in Keras.');
}

/** What goes out: the sequence or the last state, then the states on request. */
function deliver(emit: Emit, norm: NormAttrs, output: Ref, states: readonly Ref[], mask: string | undefined): Emitted {
  const sequences = normFlag(norm, 'returnSequences');
  const shape = emit.outputShapes[0] ?? null;
  const first = states[0] as Ref;
  const main = sequences
    ? { ...output, shape, ...(mask === undefined ? {} : { mask }) }
    : emit.line(`${first.name}[-1]`, { shape, axes: plainAxes(shape?.length ?? first.axes.length - 1) });
  if (!normFlag(norm, 'returnState')) return [main];
  const handed = states.map((state, index) => {
    const own = emit.outputShapes[index + 1] ?? null;
    return emit.line(`${state.name}[-1]`, { shape: own, axes: plainAxes(own?.length ?? state.axes.length - 1) });
  });
  return [main, ...handed];
}

/** SimpleRNN, LSTM, GRU: batch first, Keras' order. */
export function emitRecurrent(emit: Emit): Emitted {
  const { norm } = emit;
  if (normFlag(norm, 'isCell')) return emit.refuse('a cell called by itself');
  if (normFlag(norm, 'zeroOutputForMask')) return emit.refuse('zero_output_for_mask');
  const [given, ...initial] = emit.inputs;
  if (given === undefined) return emit.refuse('it has no input');
  let x = emit.keras(given);
  let { mask } = given;
  const time = normFlag(norm, 'timeMajor') ? 0 : 1;
  if (mask !== undefined && time === 0) return emit.refuse('a mask on time-major data');
  if (normFlag(norm, 'goBackwards')) {
    x = emit.line(`${x.name}.flip(${time})`, ordered(x.shape, 3));
    if (mask !== undefined) mask = emit.line(`${mask}.flip(1)`, ordered(null, 2)).name;
  }
  const isLstm = emit.layer.kind === 'lstm';
  const state = stateArgument(emit, initial, isLstm);
  const three = ordered(null, 3);
  const module = emit.module();
  if (isLstm) {
    const [output, pair] = runRecurrent(emit, module, x, mask, state, [three, three]) as [Ref, Ref];
    const states = normFlag(norm, 'returnState') || !normFlag(norm, 'returnSequences') ? unpack(emit, pair, 2) : [pair];
    return deliver(emit, norm, output, states, mask);
  }
  const [output, hidden] = runRecurrent(emit, module, x, mask, state, [three, three]) as [Ref, Ref];
  return deliver(emit, norm, output, [hidden], mask);
}

/** (h, c) as two values. */
function unpack(emit: Emit, pair: Ref, count: number): readonly Ref[] {
  return emit.lines(
    pair.name,
    Array.from({ length: count }, () => ordered(null, 3)),
  );
}

/** Bidirectional: PyTorch concatenates the halves; other modes split and combine them. */
export function emitBidirectional(emit: Emit): Emitted {
  const forward = emit.children[0];
  const [given, ...initial] = emit.inputs;
  if (forward === undefined || given === undefined) return emit.refuse('the file does not say what it wraps');
  if (initial.length > 0) return emit.refuse('initial states handed to a Bidirectional');
  const { norm } = forward;
  if (normFlag(norm, 'zeroOutputForMask')) return emit.refuse('zero_output_for_mask');
  const x = emit.keras(given);
  const isLstm = forward.kind === 'lstm';
  const three = ordered(null, 3);
  const module = emit.module();
  const [output, last] = (
    given.mask === undefined
      ? emit.lines(`${module}(${x.name})`, [three, three])
      : emit.lines(
          `${emit.helper('masked_bidirectional')}(${module}, ${x.name}, ${given.mask})`,
          [three, three],
          'Masked steps keep the state and repeat the last output, as in Keras.',
        )
  ) as [Ref, Ref];
  const shape = emit.outputShapes[0] ?? null;
  const rank = shape?.length ?? 3;
  const sequences = normFlag(norm, 'returnSequences');
  const wantsStates = normFlag(norm, 'returnState');
  const hidden = isLstm && (!sequences || wantsStates) ? unpack(emit, last, 2) : [last];
  const ends = hidden[0] as Ref;
  const mode = emit.norm['mergeMode'];
  const halves = (): readonly [string, string] => {
    if (!sequences) return [`${ends.name}[0]`, `${ends.name}[1]`];
    const parts = emit.lines(`${output.name}.chunk(2, dim=-1)`, [three, three]);
    return [parts[0]?.name ?? '', parts[1]?.name ?? ''];
  };
  const main: Ref[] = [];
  const own: Result = {
    shape,
    axes: plainAxes(rank),
    ...(sequences && given.mask !== undefined ? { mask: given.mask } : {}),
  };
  if (mode === 'concat') {
    const expr = `torch.cat([${ends.name}[0], ${ends.name}[1]], dim=-1)`;
    main.push(
      sequences ? { ...output, ...own } : emit.line(expr, own, 'The last state of each direction, not the last step.'),
    );
  } else {
    const [a, b] = halves();
    if (mode === null) {
      main.push(emit.line(a, own), emit.line(b, { ...own, shape: emit.outputShapes[1] ?? shape }));
    } else {
      const expr =
        mode === 'sum' ? `${a} + ${b}` : mode === 'ave' ? `(${a} + ${b}) / 2` : mode === 'mul' ? `${a} * ${b}` : null;
      if (expr === null) return emit.refuse(`merge_mode ${String(mode)}`);
      main.push(emit.line(expr, own));
    }
  }
  if (!wantsStates) return main;
  const states = [0, 1].flatMap((direction) => hidden.map((state) => `${state.name}[${direction}]`));
  const offset = main.length;
  return [
    ...main,
    ...states.map((expr, index) => {
      const stateShape = emit.outputShapes[offset + index] ?? null;
      return emit.line(expr, { shape: stateShape, axes: plainAxes(stateShape?.length ?? 2) });
    }),
  ];
}

/** RNN over one cell or stacked cells: one module of as many layers, or a chain. */
export function emitRnnContainer(emit: Emit): Emitted {
  const { norm } = emit;
  const [given, ...initial] = emit.inputs;
  if (given === undefined) return emit.refuse('it has no input');
  if (initial.length > 0) return emit.refuse('initial states handed to an RNN over cells');
  if (given.mask !== undefined) return emit.refuse('a mask reaches an RNN over cells');
  if (normFlag(norm, 'returnState')) return emit.refuse('return_state of an RNN over cells');
  let x = emit.keras(given);
  const time = normFlag(norm, 'timeMajor') ? 0 : 1;
  if (normFlag(norm, 'goBackwards')) x = emit.line(`${x.name}.flip(${time})`, ordered(x.shape, 3));
  const three = ordered(null, 3);
  const [output] = emit.lines(`${emit.module()}(${x.name})`, [three, three]) as [Ref, Ref];
  const shape = emit.outputShapes[0] ?? null;
  if (normFlag(norm, 'returnSequences')) return [{ ...output, shape }];
  const index = time === 0 ? '[-1]' : '[:, -1]';
  return [emit.line(`${output.name}${index}`, { shape, axes: plainAxes(shape?.length ?? 2) })];
}

/** ConvLSTM: (N, T, C, …) for the module of our own, whatever Keras' format. */
export function emitConvLstm(emit: Emit): Emitted {
  const { norm } = emit;
  const [given, ...initial] = emit.inputs;
  if (given === undefined) return emit.refuse('it has no input');
  if (given.mask !== undefined) return emit.refuse('a mask reaches it');
  if (initial.length > 0 || normFlag(norm, 'returnState'))
    return emit.refuse('states handed to or taken from a ConvLSTM');
  const rank = given.axes.length;
  const isFirst = norm['dataFormat'] === 'channels_first';
  const axes = isFirst ? plainAxes(rank) : [0, 1, rank - 1, ...plainAxes(rank).slice(2, rank - 1)];
  let x = emit.arrange(emit.plain(given), axes);
  if (normFlag(norm, 'goBackwards')) x = emit.line(`${x.name}.flip(1)`, { ...x });
  const shape = emit.outputShapes[0] ?? null;
  const output = emit.line(`${emit.module()}(${x.name})`, { shape: null, axes });
  if (normFlag(norm, 'returnSequences')) return [{ ...output, shape }];
  const last = isFirst ? plainAxes(rank - 1) : [0, rank - 2, ...plainAxes(rank - 1).slice(1, rank - 2)];
  return [emit.line(`${output.name}[:, -1]`, { shape, axes: last })];
}
