/** A number of elements, bytes or operations: exact, a bigint only where a safe integer cannot hold it. */
export type Count = number | bigint;

function settle(value: bigint): Count {
  const safe = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER);
  return safe ? Number(value) : value;
}

/** a + b, exactly. */
export function plus(a: Count, b: Count): Count {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return settle(BigInt(a) + BigInt(b));
}

/** a − b, exactly. */
export function minus(a: Count, b: Count): Count {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return settle(BigInt(a) - BigInt(b));
}

/** a × b, exactly. */
export function times(a: Count, b: Count): Count {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b;
    if (Number.isSafeInteger(product)) return product;
  }
  return settle(BigInt(a) * BigInt(b));
}

export function total(counts: Iterable<Count>): Count {
  let sum: Count = 0;
  for (const count of counts) sum = plus(sum, count);
  return sum;
}

/** −1, 0 or 1, for sorting. */
export function order(a: Count, b: Count): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
