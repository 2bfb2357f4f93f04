"""Writes what `ml_dtypes` and ONNX make of narrow floating-point types to `narrow.tsv`, which `ir/tests/narrow.rs` checks.

Lines are `type`, `what` and numbers, separated by tabs and spaces, all in hexadecimal:

- `decode`: for each code, the bits of its number as float32; every NaN is 7fc00000;
- `encode`, `saturate` and, for float8e8m0, `up` and `down` (saturating too): conversion from float32 as pairs
  `start:code`, ascending: numbers whose bits are `start` or more, up to the next start, become `code`. Positive numbers
  and negative ones (their bits have bit 31 set) follow each other. Between two neighbouring codes the start is found by
  bisection, since conversions are monotone.
- `half`, `half saturate`: a hash (FNV-1a, 64 bits) of the codes of all 65536 numbers of float16, in the order of their
  bits. NaN is left out, like every input that ONNX and `ml_dtypes` do not define alike.
"""

import pathlib

import ml_dtypes
import numpy as np
import onnx.numpy_helper

TYPES = {
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float4e2m1": ml_dtypes.float4_e2m1fn,
    "float6e2m3": ml_dtypes.float6_e2m3fn,
    "float6e3m2": ml_dtypes.float6_e3m2fn,
    "float8e8m0": ml_dtypes.float8_e8m0fnu,
}
INFINITY = 0x7F800000
# `ml_dtypes` and ONNX's Python do not round subnormal float32 to the nearest power of two.
LEAST_NORMAL = 0x00800000


def codes(bits, convert):
    return convert(np.array(bits, dtype=np.uint32).view(np.float32)).view(np.uint8)


def starts(first, last, convert):
    """Pairs of start and code over the bit patterns from `first` to `last`, whose codes ascend or descend."""
    low, high = (int(code) for code in codes([first, last], convert))
    found = [(first, low)]
    open_ends = [(first, low, last, high)]
    while open_ends:
        first, low, last, high = open_ends.pop()
        if low == high:
            continue
        if last - first == 1:
            found.append((last, high))
            continue
        middle = (first + last) // 2
        code = int(codes([middle], convert)[0])
        open_ends += [(first, low, middle, code), (middle, code, last, high)]
    return sorted(found)


def fnv(values):
    state = 0xCBF29CE484222325
    for value in values.tolist():
        state = (state ^ value) * 0x100000001B3 % 2**64
    return f"{state:016x}"


def lines():
    for name, dtype in TYPES.items():
        is_power = name == "float8e8m0"
        n_codes = 1 << {"float4": 4, "float6": 6}.get(name[:6], 8)
        numbers = np.arange(n_codes, dtype=np.uint8).view(dtype).astype(np.float32)
        bits = np.where(np.isnan(numbers), 0x7FC00000, numbers.view(np.uint32))
        yield name, "decode", " ".join(f"{value:08x}" for value in bits)

        def convert(x, dtype=dtype):
            return x.astype(dtype)

        def saturate(x, dtype=dtype):
            return onnx.numpy_helper.saturate_cast(x, dtype)

        def power(mode):
            return lambda x: onnx.numpy_helper.to_float8e8m0(x, True, mode)

        modes = {"encode": convert, "saturate": saturate}
        if is_power:
            modes = {"encode": convert, "saturate": power("nearest"), "up": power("up"), "down": power("down")}
        for mode, conversion in modes.items():
            least = LEAST_NORMAL if is_power else 0
            # ONNX's specification saturates infinity to the largest power of two, its Python code gives NaN.
            most = INFINITY if mode == "encode" or not is_power else INFINITY - 1
            pairs = starts(least, most, conversion)
            if not is_power:
                pairs += starts(0x80000000, 0x80000000 | INFINITY, conversion)
            yield name, mode, " ".join(f"{start:08x}:{code:02x}" for start, code in pairs)
        if not is_power:
            halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
            halves = halves[~np.isnan(halves)]
            yield name, "half", fnv(convert(halves).view(np.uint8))
            yield name, "half saturate", fnv(saturate(halves).view(np.uint8))


def main():
    with np.errstate(all="ignore"):
        text = "".join("\t".join(line) + "\n" for line in lines())
    pathlib.Path(__file__).with_name("narrow.tsv").write_text(text)


if __name__ == "__main__":
    main()
