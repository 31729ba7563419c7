import { describe, expect, test } from 'vitest';
import { assignment, returning } from '../../src/codegen/python.ts';

/** Layouts as ruff format gives them at 88 columns, eight columns in. */
const lines = (text: string): string[] => text.split('\n').slice(1, -1);

describe('long statements', () => {
  test('one operator before a call breaks inside the call', () => {
    expect(
      assignment(
        'x',
        'very_long_name_of_a_value_1 * torch.tensor([0.5, 0.83333, 1.1666666, 1.5], device=xxxxx.device)',
        8,
      ),
    ).toEqual(
      lines(`
        x = very_long_name_of_a_value_1 * torch.tensor(
            [0.5, 0.83333, 1.1666666, 1.5], device=xxxxx.device
        )
`),
    );
  });

  test('one operator between two calls breaks the first one that does not fit', () => {
    expect(
      assignment(
        'x',
        'self.average_pooling2d_with_name(average_input_number_one) / self.average_pooling2d_with_name(ones)',
        8,
      ),
    ).toEqual(
      lines(`
        x = self.average_pooling2d_with_name(
            average_input_number_one
        ) / self.average_pooling2d_with_name(ones)
`),
    );
  });

  test('several operators stand below each other in parentheses', () => {
    expect(
      assignment(
        'x',
        'concatenate_long_name_one_very_long_name * 0.12345678 + 0.123456789 - concatenate_long_name_one',
        8,
      ),
    ).toEqual(
      lines(`
        x = (
            concatenate_long_name_one_very_long_name * 0.12345678
            + 0.123456789
            - concatenate_long_name_one
        )
`),
    );
  });

  test('an operand in parentheses is broken itself', () => {
    expect(
      assignment('keras_long_name_more', '(concatenate_long_name_one + concatenate_long_name_two_more) / 2.12345', 8),
    ).toEqual(
      lines(`
        keras_long_name_more = (
            concatenate_long_name_one + concatenate_long_name_two_more
        ) / 2.12345
`),
    );
  });

  test('a chain of calls goes into parentheses, on one line where it fits', () => {
    const chain = 'normalization_1.unflatten(1, (4, 4, 7)).permute(0, 2, 3, 1).flatten(1, 2, 3)';
    expect(assignment('xxxxxxxxxxxx', chain, 8)).toEqual(
      lines(`
        xxxxxxxxxxxx = (
            ${chain}
        )
`),
    );
  });

  test('a chain of calls is broken before its dots where it does not fit', () => {
    expect(
      returning(
        'self.concatenate_long_name(concatenate_long_name).permute(0, 2, 3, 1).flatten(1).uuuuuuuuuuuuuuu(7)',
        8,
      ),
    ).toEqual(
      lines(`
        return (
            self.concatenate_long_name(concatenate_long_name)
            .permute(0, 2, 3, 1)
            .flatten(1)
            .uuuuuuuuuuuuuuu(7)
        )
`),
    );
  });

  test('a chain inside brackets needs no parentheses', () => {
    expect(
      assignment(
        'x',
        'torch.cat([concatenate_long_name[:, 0:24].unflatten(1, (4, 3, 2)).permute(0, 2, 3, 1).flatten(1), concatenate], dim=1)',
        8,
      ),
    ).toEqual(
      lines(`
        x = torch.cat(
            [
                concatenate_long_name[:, 0:24]
                .unflatten(1, (4, 3, 2))
                .permute(0, 2, 3, 1)
                .flatten(1),
                concatenate,
            ],
            dim=1,
        )
`),
    );
  });

  test('what follows the brackets stays behind them', () => {
    expect(
      assignment('keras_long_name', 'self.multi_head_attention_layer(query, key, value, need_weights=False)[0]', 8),
    ).toEqual(
      lines(`
        keras_long_name = self.multi_head_attention_layer(
            query, key, value, need_weights=False
        )[0]
`),
    );
  });
});
