/**
 * Sums over subsets and supersets of small sets, each set an index (bit i for member i) into an array of 2^n numbers.
 * All in place, n · 2^n additions instead of 4^n.
 */

/** Each entry becomes the sum of the entries of its subsets, itself included. */
export function sumSubsets(values: Float64Array): void {
  forEachPair(values.length, (without, having) => {
    values[having] = (values[having] ?? 0) + (values[without] ?? 0);
  });
}

/** Each entry becomes the sum of the entries of its supersets, itself included. */
export function sumSupersets(values: Float64Array): void {
  forEachPair(values.length, (without, having) => {
    values[without] = (values[without] ?? 0) + (values[having] ?? 0);
  });
}

/** Takes {@link sumSupersets} back. */
export function unsumSupersets(values: Float64Array): void {
  forEachPair(values.length, (without, having) => {
    values[without] = (values[without] ?? 0) - (values[having] ?? 0);
  });
}

/** For one member after the other, each set without it and the same set with it. */
function forEachPair(size: number, visit: (without: number, having: number) => void): void {
  for (let member = 1; member < size; member *= 2) {
    for (let block = 0; block < size; block += 2 * member) {
      for (let set = block; set < block + member; set += 1) visit(set, set + member);
    }
  }
}
