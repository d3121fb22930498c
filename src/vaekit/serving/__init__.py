"""The service: a front that speaks HTTP and gRPC, and worker processes that hold the models."""
