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

const PAD_SAME: LibraryEntry = {
  name: 'pad_same',
  text: `def pad_same(x, kernel_size, stride, dilation, value=0.0):
    """Pad as Keras' padding="same": the additional element goes to the end."""
    pads = []
    for size, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads = [total // 2, total - total // 2] + pads
    return F.pad(x, pads, value=value)
`,
};

const JOINT_SOFTMAX: LibraryEntry = {
  name: 'joint_softmax',
  text: `def joint_softmax(x, dims):
    """Softmax over several axes together."""
    e = torch.exp(x - x.amax(dim=dims, keepdim=True))
    return e / e.sum(dim=dims, keepdim=True)
`,
};

const CONSTANT: LibraryEntry = {
  name: 'Constant',
  text: `class Constant(nn.Module):
    """A fixed tensor that moves with the module and is not part of its state."""

    def __init__(self, value):
        super().__init__()
        self.register_buffer("value", value, persistent=False)

    def forward(self):
        return self.value
`,
};

const ENTRIES: readonly LibraryEntry[] = [CONSTANT, JOINT_SOFTMAX, PAD_SAME];

const byName = new Map(ENTRIES.map((entry) => [entry.name, entry]));

/** Whether a custom module or helper of this name is defined here. */
export function isInLibrary(name: string): boolean {
  return byName.has(name);
}

/** The named entries and all that they use, dependencies first, else in alphabetical order. */
export function libraryEntries(names: ReadonlySet<string>): readonly LibraryEntry[] {
  const done = new Map<string, LibraryEntry>();
  const visit = (name: string): void => {
    const entry = byName.get(name);
    if (entry === undefined || done.has(name)) return;
    for (const used of entry.uses ?? []) visit(used);
    done.set(name, entry);
  };
  for (const name of [...names].sort()) visit(name);
  return [...done.values()];
}
