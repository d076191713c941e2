"""The engines under test, by name.

`triton` is the CUDA engine: on the GPU where there is one (tensors travel there and back), else its kernels on numpy
(`numpy_triton.py`). `test_triton.py` runs them in Triton's own interpreter too, and compiles them.
"""

import importlib.util
from pathlib import Path

import numpy_triton
import torch

from search import numba_engine, torch_engine
from search.tree import Step

ENGINES = {"torch": torch_engine.run, "numba": numba_engine.run}

if importlib.util.find_spec("triton") is not None:
    from search import triton_engine

    KERNELS = numpy_triton.load_kernels(Path(triton_engine.__file__).with_name("triton_kernels.py"))

    def triton_on_numpy(plan, root, recurrent_fn):
        compiled, triton_engine.kernels, triton_engine.ON_CPU = triton_engine.kernels, KERNELS, True
        try:
            return triton_engine.run(plan, root, recurrent_fn)
        finally:
            triton_engine.kernels, triton_engine.ON_CPU = compiled, False

    def triton_on_cuda(plan, root, recurrent_fn):
        def step(embedding, action):
            return to("cuda", Step(*recurrent_fn(embedding.cpu(), action.cpu())))

        return to("cpu", triton_engine.run(to("cuda", plan), to("cuda", root), step))

    ENGINES["triton"] = triton_on_cuda if torch.cuda.is_available() else triton_on_numpy

HAVE_CHANCE = tuple(ENGINES)  # the engines that know chance nodes


def to(device, value):
    """Tensors, and NamedTuples of them, on a device; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return type(value)(*(to(device, x) for x in value)) if hasattr(value, "_fields") else value
