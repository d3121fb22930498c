"""The gRPC host: the Open Inference Protocol beside HTTP, in the same front and with the same workers."""
