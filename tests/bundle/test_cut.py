"""Cutting graphs out of a larger one."""

from onnx import TensorProto, helper

from vaekit.bundle.cut import cut


def test_a_size_that_has_no_name_is_measured_where_it_was():
    first = helper.make_tensor_value_info("a/x", TensorProto.FLOAT, [3, "B_a"])
    second = helper.make_tensor_value_info("a/y", TensorProto.FLOAT, [None, "B_a"])
    size = helper.make_tensor_value_info("a/size", TensorProto.INT64, [1])
    node = helper.make_node("Shape", ["a/y"], ["a/size"], start=0, end=1)
    graph = cut(helper.make_model(helper.make_graph([node], "g", [first, second], [size])), ["a"]).graph
    assert list(graph.node[0].input) == ["y"]
