"""The Open Inference Protocol v2 over HTTP, so that clients of other model servers work unchanged.

    bytes ─► compression ─► envelope ─► infer_request ─► decode ─► model ─► infer_answer ─► bytes
             inflate        JSON | rest  one input       images             outputs, JSON | rest
    any stage raises service.errors.ServiceError ─► v2.errors ─► {"error": "…"}

`application.build_v2` answers every path under `/v2`. docs/v2.md says what is served and what not.
"""
