"""The description of the protocol: current, and the protocol's own."""

import subprocess
import sys

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from vaekit.serving.rpc import messages


def test_the_compiled_description_is_current(tmp_path):
    """`make proto` is due if this fails."""
    folder = messages.files(messages.__package__)
    done = tmp_path / "messages.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={done}"]
    subprocess.run([*command, "open_inference.proto", "envelope.proto"], check=True, timeout=60)
    fresh = FileDescriptorSet.FromString(done.read_bytes())
    assert fresh == FileDescriptorSet.FromString(folder.joinpath(messages.COMPILED).read_bytes())


def test_the_envelope_reads_what_a_request_holds():
    request = messages.message("inference.ModelInferRequest")(model_name="m", model_version="1", id="r")
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    request.raw_input_contents.append(b"\0" * 4)
    envelope = messages.message("vaekit.Envelope").FromString(request.SerializeToString())
    assert (envelope.model_name, envelope.model_version, envelope.id) == ("m", "1", "r")
