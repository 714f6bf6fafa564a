"""The Open Inference Protocol v2 over HTTP, so that clients of other model servers work unchanged.

`application.build_v2` answers every path under `/v2`; `infer` is the room of its one hot path.
Errors have the protocol's own shape, `responses` makes them. docs/v2.md says what is served.
No model is run here, and nothing of `v1` is imported.
"""
