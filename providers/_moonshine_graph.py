"""Makes Moonshine's graphs fast: 700 ms for 3 s of speech as shipped, 75 ms after this. It takes about a second, once per start.

As shipped, weights are int8 `q` with a scale `s` and an offset `z`, made into floats (s * q + z) on every run. Since z is a
whole multiple of s, a product with them is exactly an int8 product with zero point -z / s, which onnxruntime has as
DynamicQuantizeMatMul (it quantises the other factor as it comes). No weight is rounded again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from providers._onnx import FLOAT, INT8, graphs, parse, replace_nodes

FLOATS, BYTES = "_add_tensor", "_quantized"  # suffixes of a weight's names: the float form, and the stored one


def faster(path: str) -> bytes:
    """The rewritten ONNX model of an .ort file. ValueError if it is not made the way this knows."""
    model = parse(_as_onnx(path))
    _Rewriting(model.graph).run()
    raw: bytes = model.SerializeToString()
    return raw


def _as_onnx(path: str) -> bytes:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ONNX")
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return Path(folder, "model.onnx").read_bytes()


class _Rewriting:
    def __init__(self, top: Any) -> None:
        self._top = top
        self._tensors = {tensor.name: tensor for tensor in top.initializer}
        self._weights = {
            node.output[0]: node.output[0].removesuffix(FLOATS)
            for node in top.node
            if node.op_type == "Add" and node.output[0].endswith(FLOATS)
        }

    def run(self) -> None:
        for number, graph in enumerate(graphs(self._top)):
            graph.name = graph.name or f"graph{number}"  # the .ort format loses it, and ONNX wants one
            self._rewrite(graph)
        self._drop_unused()

    def _rewrite(self, graph: Any) -> None:
        turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
        turned = {output: weight for output, weight in turned.items() if weight in self._weights}
        nodes: list[Any] = []
        for node in graph.node:
            if node.op_type == "MatMul" and (node.input[1] in self._weights or node.input[1] in turned):
                nodes.append(self._product(node, turned))
            elif node.op_type == "Gather" and node.input[0] in self._weights:
                nodes += self._lookup(node)
            elif node.op_type != "Transpose" or node.output[0] not in turned:
                nodes.append(node)
        replace_nodes(graph, nodes)

    def _product(self, node: Any, turned: dict[str, str]) -> Any:
        left, right = node.input
        weight = self._weights[turned.get(right, right)]
        stored = self._turned(weight) if right in turned else weight + BYTES
        scale, zero = self._scale_and_zero(weight)
        node.op_type, node.domain = "DynamicQuantizeMatMul", "com.microsoft"
        del node.input[:]
        node.input.extend([left, stored, scale, zero])
        return node

    def _lookup(self, node: Any) -> list[Any]:
        """Rows of an embedding: looked up as int8, and only those rows made into floats."""
        weight, output = self._weights[node.input[0]], node.output[0]
        shapes = {other.op_type: other for other in self._top.node if other.output[0].startswith(f"{weight}_")}
        chain = [node]
        node.input[0], node.output[0] = weight + BYTES, f"{output}_bytes"
        steps = (("Cast", f"{output}_cast", None), ("Mul", f"{output}_mul", "_scale"), ("Add", output, "_zero_point"))
        for kind, result, operand in steps:
            step = type(node).FromString(shapes[kind].SerializeToString())
            step.name = f"{output}_{kind}"
            del step.input[:], step.output[:]
            step.input.extend([chain[-1].output[0], *([weight + operand] if operand else [])])
            step.output.append(result)
            chain.append(step)
        return chain

    def _scale_and_zero(self, weight: str) -> tuple[str, str]:
        """Names of two scalars: the weight's scale and its zero point."""
        scale, zero = f"{weight}_scalar_scale", f"{weight}_int8_zero"
        if zero not in self._tensors:
            step, offset = self._floats(f"{weight}_scale"), self._floats(f"{weight}_zero_point")
            steps = -float(offset / step)
            if abs(steps - round(steps)) > 1e-3 or not -128 <= round(steps) <= 127:
                raise ValueError("a weight's offset is no whole number of steps")
            self._add(scale, np.float32(step), FLOAT)
            self._add(zero, np.int8(round(steps)), INT8)
        return scale, zero

    def _turned(self, weight: str) -> str:
        name = f"{weight}_turned"
        if name not in self._tensors:
            stored = self._tensors[weight + BYTES]
            self._add(name, np.frombuffer(stored.raw_data, np.int8).reshape(tuple(stored.dims)).T, INT8)
        return name

    def _floats(self, name: str) -> np.float32:
        values = np.frombuffer(self._tensors[name].raw_data, np.float32)
        if len(values) != 1:
            raise ValueError("a weight has more than one scale")
        return np.float32(values[0])

    def _add(self, name: str, values: np.ndarray[Any, Any] | np.generic, kind: int) -> None:
        tensor = self._top.initializer.add(name=name, data_type=kind, dims=values.shape, raw_data=values.tobytes())
        self._tensors[name] = tensor

    def _drop_unused(self) -> None:
        """The steps that made floats of weights, where nothing reads them now, and tensors nothing reads."""
        unread = True
        while unread:
            read = {name for graph in graphs(self._top) for node in graph.node for name in node.input}
            unread = False
            for node in list(self._top.node):
                if node.op_type in ("Cast", "Mul", "Add") and node.output[0] not in read and _makes_floats(node):
                    self._top.node.remove(node)
                    unread = True
        for tensor in list(self._top.initializer):
            if tensor.name not in read:
                self._top.initializer.remove(tensor)


def _makes_floats(node: Any) -> bool:
    return str(node.output[0]).endswith((FLOATS, "_mul_tensor", "_cast_tensor"))
