"""Cut graphs out of a larger ONNX graph, and join them by the names of what they hand on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["cut"]


def cut(program: onnx.ModelProto, parts: Sequence[str]) -> onnx.ModelProto:
    """Some parts of a program as one graph, in which each part takes what those before it answer.

    Args:
        program: A graph of independent parts: the inputs and outputs of each are called ``<part>/<name>``, and its free
            sizes ``<size>_<part>``.
        parts: Which of them, in the order of the computation. Outputs that another one takes are none of the result.

    Returns:
        The graph, whose inputs and outputs are called ``<name>``.

    Example:
        >>> from onnx import TensorProto, helper
        >>> names = ("double/x", "double/y", "add/x", "add/y", "add/sum")
        >>> value = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B"]) for name in names}
        >>> nodes = [
        ...     helper.make_node("Add", ["add/x", "add/y"], ["add/sum"]),
        ...     helper.make_node("Add", ["double/x", "double/x"], ["double/y"]),
        ... ]
        >>> inputs, outputs = [value[name] for name in names if name[-1] == "x"], [value["double/y"], value["add/sum"]]
        >>> graph = helper.make_graph(nodes, "g", [*inputs, value["add/y"]], outputs)
        >>> made = cut(helper.make_model(graph), ("double", "add")).graph
        >>> [(list(node.input), list(node.output)) for node in made.node]
        [(['x', 'x'], ['y']), (['x', 'y'], ['sum'])]
        >>> [one.name for one in made.input], [one.name for one in made.output]
        (['x'], ['sum'])
    """
    import onnx

    inputs, outputs = _of(program.graph.input, parts), _of(program.graph.output, parts)
    plain = {name: name.partition("/")[2] for name in (*inputs, *outputs)}
    handed = {plain[name] for name in inputs} & {plain[name] for name in outputs}
    taken: dict[str, onnx.ValueInfoProto] = {}
    for name, value in inputs.items():
        if plain[name] not in handed:
            taken.setdefault(plain[name], value)
    nodes = [program.graph.node[place] for place in _places(program.graph, parts, outputs)]
    used = {name for node in nodes for name in (*_read(node), *node.output)}
    between = [value for name, value in outputs.items() if plain[name] in handed]
    graph = onnx.GraphProto(
        name=parts[-1],
        node=nodes,
        input=taken.values(),
        output=[value for name, value in outputs.items() if plain[name] not in handed],
        initializer=[tensor for tensor in program.graph.initializer if tensor.name in used],
        value_info=[*between, *(value for value in program.graph.value_info if value.name in used)],
    )
    _rename(graph, plain)
    suffix = re.compile(rf"_(?:{'|'.join(parts)})\b")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = suffix.sub("", size.dim_param)
    _measure_inputs(graph)
    return onnx.ModelProto(
        ir_version=program.ir_version, opset_import=program.opset_import, functions=program.functions, graph=graph
    )


def _of(values: Iterable[onnx.ValueInfoProto], parts: Sequence[str]) -> dict[str, onnx.ValueInfoProto]:
    """The values of some parts by name, part by part."""
    values = list(values)
    return {value.name: value for part in parts for value in values if value.name.startswith(f"{part}/")}


def _places(graph: onnx.GraphProto, parts: Sequence[str], outputs: Iterable[str]) -> list[int]:
    """Places of the nodes behind some outputs, part by part: a part may only read what stands before it."""
    found: dict[int, None] = {}
    for part in parts:
        needed = {name for name in outputs if name.startswith(f"{part}/")}
        mine = []
        for place in range(len(graph.node) - 1, -1, -1):
            node = graph.node[place]
            if needed.intersection(node.output):
                mine.append(place)
                needed.update(_read(node))
        found |= dict.fromkeys(reversed(mine))
    return list(found)


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """The names of all values that a node reads, those that its bodies capture too."""
    yield from node.input
    for body in _bodies(node):
        for inner in body.node:
            yield from _read(inner)
        yield from (value.name for value in body.output)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _measure_inputs(graph: onnx.GraphProto) -> None:
    """Take a size from the first input that has it, wherever it was taken: the same steps of two parts become one."""
    first: dict[str, tuple[str, int]] = {}
    known: dict[str, list[str]] = {}
    for value in (*graph.input, *graph.value_info):
        known[value.name] = [size.dim_param for size in value.type.tensor_type.shape.dim]
    for value in graph.input:
        for place, size in enumerate(known[value.name]):
            first.setdefault(size, (value.name, place))
    for node in graph.node:
        ends = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type != "Shape" or ends.keys() != {"start", "end"} or ends["end"].i != ends["start"].i + 1:
            continue
        sizes = known.get(node.input[0], [])
        size = sizes[ends["start"].i] if ends["start"].i < len(sizes) else ""
        if size and size in first:
            node.input[0], ends["start"].i = first[size]
            ends["end"].i = ends["start"].i + 1


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Call values otherwise, wherever they are told or read."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
        for body in _bodies(node):
            _rename(body, names)
