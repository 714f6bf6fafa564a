"""HTTP: the two protocols, the probes, and what their routes share.

Routes translate between bytes and `service.registry`; they run no model themselves. An error of
the domain gets its status here and nowhere else (`problems`, `v2.responses`).
"""
