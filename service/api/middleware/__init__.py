"""What wraps every request (its id, its log line), and `/v1` (ETag, the fast way to a route).

Plain ASGI, in the order in which `service.app` puts it together. No route and no model is known
here.
"""
