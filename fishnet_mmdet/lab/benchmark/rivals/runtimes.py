"""The runtimes of ONNX files that the benchmark knows, as data. Each is optional."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

Run = Callable[[], Sequence[np.ndarray]]
"""One forward pass; returns the levels, which the next pass may overwrite."""


class NotOffered(Exception):
    """A number format that a runtime does not have, or not on this processor; the message says which."""


class Runtime(NamedTuple):
    """A runtime in a number format.

    Attributes:
        package: Name of the package, as it is installed and imported.
        open: Takes the ONNX file, the images (N, 3, H, W) and the number of threads; returns a pass over these images.
        lacks: Why the runtime has no such number format at all; empty if it has.
    """

    package: str
    open: Callable[[Path, np.ndarray, int], Run] | None
    lacks: str = ''

    @property
    def is_installed(self) -> bool:
        """Whether the package can be imported."""
        return find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """Version of the installed package."""
        return version(self.package)


def open_onnxruntime(file: Path, images: np.ndarray, threads: int) -> Run:
    """Opens a file with onnxruntime's own CPU kernels, for the shape of these images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Otherwise idle threads would go on spinning in the turn of the next contender.
    options.add_session_config_entry('session.force_spinning_stop', '1')
    for name, size in zip(('batch', 'height', 'width'), (images.shape[0], *images.shape[2:]), strict=True):
        options.add_free_dimension_override_by_name(name, size)
    session = onnxruntime.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    return lambda: session.run(None, {'image': images})


def open_openvino(file: Path, images: np.ndarray, threads: int, precision: str) -> Run:
    """Opens a file with OpenVINO's CPU plugin, for the shape of these images.

    Args:
        file: The ONNX file.
        images: The images.
        threads: Number of threads.
        precision: 'f32' or 'bf16'.

    Raises:
        NotOffered: OpenVINO finds no instructions for bfloat16 in this processor.
    """
    import openvino

    core = openvino.Core()
    if precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        raise NotOffered('OpenVINO finds no bfloat16 instructions in this processor')
    model = core.read_model(file)
    model.reshape({'image': list(images.shape)})
    settings = dict(PERFORMANCE_HINT='LATENCY', NUM_STREAMS=1, INFERENCE_NUM_THREADS=threads)
    compiled = core.compile_model(model, 'CPU', settings | dict(INFERENCE_PRECISION_HINT=precision))
    request = compiled.create_infer_request()

    def run() -> list[np.ndarray]:
        request.infer({'image': images}, share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return run


RUNTIMES: dict[str, Runtime] = {
    'onnxruntime': Runtime('onnxruntime', open_onnxruntime),
    'onnxruntime-bf16': Runtime('onnxruntime', None, lacks='onnxruntime has no bfloat16 convolution for CPUs'),
    'openvino': Runtime('openvino', lambda *given: open_openvino(*given, 'f32')),
    'openvino-bf16': Runtime('openvino', lambda *given: open_openvino(*given, 'bf16')),
}
"""By the form's name on the command line."""
