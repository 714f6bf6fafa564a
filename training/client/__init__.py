"""The client's side of the service: classify image files, and measure a server honestly.

    images ─► payloads ─► connection ─► answers           foldnorm predict
    arrivals ─► load ─► samples ─► step report ─► table    foldnorm bench

Needs aiohttp, rich and typer: neither torch nor onnx.
"""
