"""`POST /v2/models/{name}/infer`: from the body to tensors, and from scores to the answer.

    body ─► compression ─► envelope ─► request ─► route ─► response ─► body
            inflate        JSON | rest  input, outputs      outputs, JSON | rest

Only `route` knows the state, the queue and the clock; the others are pure functions of bytes.
"""
