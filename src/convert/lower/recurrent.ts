import type { NormAttrs, Shape } from '../../ir/model.ts';
import { normFlag } from '../../layers/attribute.ts';
import { type Emit, type Emitted, plainAxes, type Result, type TargetPattern } from './context.ts';
import type { Ref } from './lowered.ts';
import { givenBy, releaseOf } from './mask.ts';

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
  isLstm: boolean,
): readonly Ref[] {
  const three = ordered(null, 3);
  const results = isLstm ? [three, three, three] : [three, three];
  const pattern = isLstm ? LSTM_TARGETS : PLAIN_TARGETS;
  if (mask === undefined) return emit.lines(`${module}(${x.name}${state})`, results, undefined, pattern);
  const zero = zeroArgument(emit.norm);
  const expr = `${emit.helper('masked_recurrent')}(${module}, ${x.name}, ${mask}${state}${zero})`;
  return emit.lines(expr, results, MASK_COMMENT, pattern);
}

const LSTM_TARGETS: TargetPattern = { text: '{0}, ({1}, {2})', hints: ['sequence', 'h', 'c'] };
const PLAIN_TARGETS: TargetPattern = { text: '{0}, {1}', hints: ['sequence', 'h'] };
const MASK_COMMENT = 'Masked steps keep the state, as in Keras.';

/** A layer by itself repeats the last output at masked steps, or gives zeros on request. */
function zeroArgument(norm: NormAttrs): string {
  return normFlag(norm, 'zeroOutputForMask') ? ', zero=True' : '';
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
  const [given, ...initial] = emit.inputs;
  if (given === undefined) return emit.refuse('it has no input');
  let x = emit.keras(given);
  const handed = given.mask;
  // Keras 3 fills the argument of a layer's mask only where the call has one tensor; its output has the mask all the same.
  const isStated = givenBy(emit.call.attrs, emit.inputs).named.has('mask');
  const isFilled = initial.length === 0 || isStated || releaseOf(emit.model) === 'keras2';
  let mask = isFilled ? handed : undefined;
  const time = normFlag(norm, 'timeMajor') ? 0 : 1;
  if (mask !== undefined && time === 0) return emit.refuse('a mask on time-major data');
  if (normFlag(norm, 'goBackwards')) {
    x = emit.line(`${x.name}.flip(${time})`, ordered(x.shape, 3));
    if (mask !== undefined) mask = emit.line(`${mask}.flip(1)`, { ...ordered(null, 2), named: 'mask' }).name;
  }
  const isLstm = emit.layer.kind === 'lstm';
  const state = stateArgument(emit, initial, isLstm);
  const [output, ...states] = runRecurrent(emit, emit.module(), x, mask, state, isLstm) as [Ref, ...Ref[]];
  // A layer that walks backwards hands the mask on as it came.
  return deliver(emit, norm, output, states, handed);
}

/** Bidirectional: PyTorch concatenates the halves; other modes split and combine them. */
export function emitBidirectional(emit: Emit): Emitted {
  const forward = emit.children[0];
  const [given, ...initial] = emit.inputs;
  if (forward === undefined || given === undefined) return emit.refuse('the file does not say what it wraps');
  if (initial.length > 0) return emit.refuse('initial states handed to a Bidirectional');
  const { norm } = forward;
  const x = emit.keras(given);
  const isLstm = forward.kind === 'lstm';
  const three = ordered(null, 3);
  const module = emit.module();
  const results = isLstm ? [three, three, three] : [three, three];
  const pattern = isLstm ? LSTM_TARGETS : PLAIN_TARGETS;
  // Whatever its layers' own configuration says: with return_sequences, both give zeros at masked steps.
  const call =
    given.mask === undefined
      ? `${module}(${x.name})`
      : `${emit.helper('masked_bidirectional')}(${module}, ${x.name}, ${given.mask}${normFlag(norm, 'returnSequences') ? ', zero=True' : ''})`;
  const comment = given.mask === undefined ? undefined : MASK_COMMENT;
  const [output, ...hidden] = emit.lines(call, results, comment, pattern) as [Ref, ...Ref[]];
  const shape = emit.outputShapes[0] ?? null;
  const rank = shape?.length ?? 3;
  const sequences = normFlag(norm, 'returnSequences');
  const wantsStates = normFlag(norm, 'returnState');
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
