"""A real server on loopback whose answers are scripted, and the command line in front of it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from training.cli.app import app


class ScriptedServer(ThreadingHTTPServer):
    """Gives each request the next answer of a script, and the last one from then on."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = []  # (status, headers, body)
        self.requests = []  # (path, headers, body)
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def problem(self, status, detail, **headers):
        self.script.append((status, headers, json.dumps({"detail": detail}).encode()))

    def prediction(self, label="cat", images=1):
        top = [{"index": 3, "label": label, "probability": 1.0}]
        rows = [{"index": 3, "label": label, "probability": 1.0, "top": top}] * images
        body = json.dumps({"model": {"name": "m"}, "predictions": rows}).encode()
        self.script.append((200, {}, body))

    def next_answer(self, request):
        with self.lock:
            self.requests.append(request)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, body = self.server.next_answer((self.path, self.headers, content))
        if status is None:  # hang up
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(b"the server decodes it")
    return path


@pytest.fixture
def foldnorm():
    """Run a command; returns click's result, whose exception has the message."""

    def run(*arguments):
        return CliRunner().invoke(app, list(map(str, arguments)))

    return run
