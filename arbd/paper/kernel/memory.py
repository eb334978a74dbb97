"""Records and columns at addresses, for compiled code: an address is one number to hand on, an array is seven.

The engine's functions are small and call each other at every event. Handing arrays on, and counting references to
them, took most of its time; an address costs nothing. Nothing checks bounds, here as in all compiled code: whoever
calls the engine (`sweeping`) makes the tables, and keeps them alive meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import numpy_support

from arbd.paper.market.loops import LANES


def record_at(dtype: np.dtype[Any]) -> Any:
    """A compiled function (address, index) that gives the record at that place of a table of such records."""
    record = numpy_support.from_dtype(dtype)
    size = dtype.itemsize

    @intrinsic
    def at(typing_context: Any, address: Any, index: Any) -> Any:
        del typing_context, address, index

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            offset = builder.mul(arguments[1], context.get_constant(types.int64, size))
            return builder.inttoptr(builder.add(arguments[0], offset), context.get_value_type(record))

        return record(types.int64, types.int64), generate

    return at


def knows(name: str) -> Any:
    """A compiled function (record) that is true when the record's type has a field of this name.

    It is a constant to the compiler: code for other types of records is left out, not branched around.
    """

    @intrinsic
    def known(typing_context: Any, record: Any) -> Any:
        del typing_context
        has = name in record.fields

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del builder, signature, arguments
            return context.get_constant(types.boolean, has)

        return types.boolean(record), generate

    return known


def _pointer(context: Any, builder: Any, kind: Any, address: Any, index: Any) -> Any:
    start = builder.inttoptr(address, context.get_value_type(types.CPointer(kind)))  # type: ignore[no-untyped-call]
    return builder.gep(start, [index])


def _reader(kind: Any, wide: Any) -> Any:
    @intrinsic
    def at(typing_context: Any, address: Any, index: Any) -> Any:
        del typing_context, address, index

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            value = builder.load(_pointer(context, builder, kind, *arguments))
            return context.cast(builder, value, kind, wide)

        return wide(types.int64, types.int64), generate

    return at


def _writer(kind: Any, wide: Any) -> Any:
    @intrinsic
    def put(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        del typing_context, address, index, value

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            narrow = context.cast(builder, arguments[2], wide, kind)
            builder.store(narrow, _pointer(context, builder, kind, *arguments[:2]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, wide), generate

    return put


# Of columns of float64, int64, int32 and uint64, the value at (address, index), and how it is set.
float_at, put_float = _reader(types.float64, types.float64), _writer(types.float64, types.float64)
int_at, put_int = _reader(types.int64, types.int64), _writer(types.int64, types.int64)
small_at, put_small = _reader(types.int32, types.int64), _writer(types.int32, types.int64)
word_at, put_word = _reader(types.uint64, types.uint64), _writer(types.uint64, types.uint64)
byte_at = _reader(types.uint8, types.int64)


@intrinsic
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """How many zero bits are below the lowest one bit of a uint64: one instruction, which NumPy has no name for."""
    del typing_context, word

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))

    return types.int64(types.uint64), generate


def _mask(kind: Any, compare: Any) -> Any:
    """A compiled function (address, index, level): a bit for each of the LANES values from there on that passes."""
    count = LANES

    @intrinsic
    def mask(typing_context: Any, address: Any, index: Any, level: Any) -> Any:
        del typing_context, address, index, level

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            start = _pointer(context, builder, kind, arguments[0], arguments[1])
            lanes = ir.VectorType(context.get_value_type(kind), count)
            values = builder.load(builder.bitcast(start, lanes.as_pointer()), align=8)
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), arguments[2], ir.Constant(ir.IntType(32), 0))
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
            levels = builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), first_lane)
            passed = builder.bitcast(compare(builder, values, levels), ir.IntType(count))
            return builder.zext(passed, ir.IntType(64))

        return types.int64(types.int64, types.int64, kind), generate

    return mask


# Vector code, of columns of float64 and int64; no comparison holds for NaN.
at_least = _mask(types.float64, lambda builder, a, b: builder.fcmp_ordered(">=", a, b))
at_most = _mask(types.float64, lambda builder, a, b: builder.fcmp_ordered("<=", a, b))
before = _mask(types.int64, lambda builder, a, b: builder.icmp_signed("<", a, b))


@intrinsic
def fetch(typing_context: Any, address: Any) -> Any:
    """Have the line of memory at an address on its way into the caches; any address will do."""
    del typing_context, address

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        bytes_, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [bytes_, whole, whole, whole])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        read, keep, data = (ir.Constant(whole, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(arguments[0], bytes_), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def bits_in(typing_context: Any, word: Any) -> Any:
    """How many bits of an int64 are set."""
    del typing_context, word

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), generate
