"""`prefetch(array, place)`, for compiled loops: has the cache line of array[place] brought, without waiting for it.

A loop that will need many places all over a large array asks for them first: their waits for memory overlap.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _prefetch(_: Any, array: Any, place: Any) -> Any:
    """The types of a call, and what writes its instruction; numba calls it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = context.make_array(array)(context, builder, arguments[0])
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        address = builder.bitcast(builder.gep(values.data, [arguments[1]]), byte)
        builder.call(call, [address, *(ir.Constant(flag, value) for value in (0, 3, 1))])  # to read, kept, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_prefetch)
