"""The client's side of the service: classify image files, and measure a server honestly.

    images ─► requests ─► connection ─► answers                 foldnorm predict
    arrivals ─► load ─► samples ─► step report ─► table          foldnorm bench

Needs aiohttp, Pillow and rich. Neither torch nor onnx may be imported here, nor anything
that knows a network: what a server takes is read from its metadata.
"""
