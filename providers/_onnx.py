"""The little of ONNX's file format that rewriting a graph needs, so that the `onnx` package (31 MB) is not.

Fields not named here travel along untouched: protobuf keeps what it does not know.
Source: onnx.proto3 of ONNX 1.17.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FLOAT, INT8 = 1, 3  # TensorProto.DataType

_KIND = descriptor_pb2.FieldDescriptorProto
_SHAPE: dict[str, tuple[tuple[str, int, int | str, bool], ...]] = {
    "Model": (("graph", 7, "Graph", False),),
    "Graph": (
        ("node", 1, "Node", True),
        ("name", 2, _KIND.TYPE_STRING, False),
        ("initializer", 5, "Tensor", True),
    ),
    "Node": (
        ("input", 1, _KIND.TYPE_STRING, True),
        ("output", 2, _KIND.TYPE_STRING, True),
        ("name", 3, _KIND.TYPE_STRING, False),
        ("op_type", 4, _KIND.TYPE_STRING, False),
        ("attribute", 5, "Attribute", True),
        ("domain", 7, _KIND.TYPE_STRING, False),
    ),
    "Attribute": (("name", 1, _KIND.TYPE_STRING, False), ("g", 6, "Graph", False)),
    "Tensor": (
        ("dims", 1, _KIND.TYPE_INT64, True),
        ("data_type", 2, _KIND.TYPE_INT32, False),
        ("name", 8, _KIND.TYPE_STRING, False),
        ("raw_data", 9, _KIND.TYPE_BYTES, False),
    ),
}


def parse(raw: bytes) -> Any:
    """The model in a file's bytes."""
    return _model_class().FromString(raw)


def graphs(graph: Any) -> Iterator[Any]:
    """The graph and those inside its nodes (the branches of an If)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def replace_nodes(graph: Any, nodes: list[Any]) -> None:
    """`graph.node = nodes`, which protobuf has no word for."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="trunkline_onnx.proto", package="onnx", syntax="proto2")
    for name, fields in _SHAPE.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            told = message.field.add(name=field, number=number)
            told.label = _KIND.LABEL_REPEATED if repeated else _KIND.LABEL_OPTIONAL
            if isinstance(kind, str):
                told.type, told.type_name = _KIND.TYPE_MESSAGE, f".onnx.{kind}"
            else:
                told.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx.Model"))
