"""A web server of one machine for tests of downloads, which misbehaves on request."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files`, by path.

    Attributes:
        files: Content by path.
        cuts: How many connections are cut half-way through what is left.
        honours_range: Whether it serves the range that a request asks for.
        etag: The version that it states, if any. A range of another version is not served.
        states_length: Whether it says how long a file is.
        seen: Path and Range header of every request.
    """

    def __init__(self, files, handler):
        super().__init__(('127.0.0.1', 0), handler)
        self.files, self.cuts, self.honours_range, self.seen = files, 0, True, []
        self.etag, self.states_length = None, True
        self.url = f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.seen.append((self.path, self.headers.get('Range')))
        content, start = server.files.get(self.path), 0
        if content is None:
            return self.send_error(404)
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
        if asked and server.honours_range and self.headers.get('If-Range', server.etag) == server.etag:
            start = int(asked[1])
        body = content[start:]
        headers = {'Content-Length': str(len(body))} if server.states_length else {}
        headers |= {'ETag': server.etag} if server.etag else {}
        if server.cuts:
            server.cuts -= 1
            body = body[: len(body) // 2]
        self.answer(206 if start else 200, body, **headers)

    def answer(self, status, body=b'', **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(files, handler=Handler):
    server = FileServer(files, handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
