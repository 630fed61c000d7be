"""A server on this machine that answers as the Hugging Face hub does, for one repository and one commit."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0de"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        api, files = f"/api/models/{self.server.repository}", f"/{self.server.repository}/resolve/{COMMIT}/"
        path = self.path.partition("?")[0]
        if path in (f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self.reply_json({"id": self.server.repository, "sha": COMMIT, "siblings": self.names("rfilename")})
        elif path == f"{api}/tree/{COMMIT}":
            self.reply_json([{"type": "file", "size": 1, "oid": "0" * 40} | name for name in self.names("path")])
        elif path.startswith(files) and {"name": path.removeprefix(files)} in self.names("name"):
            self.send_file(path.removeprefix(files))
        else:
            self.reply(b"", 404)

    do_GET = do_HEAD

    def names(self, key: str) -> list[dict[str, str]]:
        files = (file for file in sorted(self.server.folder.rglob("*")) if file.is_file())
        return [{key: file.relative_to(self.server.folder).as_posix()} for file in files]

    def send_file(self, name: str) -> None:
        self.reply((self.server.folder / name).read_bytes())
        if self.command == "GET":
            self.server.sent.append(name)

    def reply_json(self, content: object) -> None:
        self.reply(json.dumps(content).encode())

    def reply(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path, repository: str) -> Iterator[ThreadingHTTPServer]:
    """Serves the files of a folder as branch main; the server's list ``sent`` collects the files fetched."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.folder, server.repository, server.sent = folder, repository, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
