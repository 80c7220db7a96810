"""A Hugging Face Hub on loopback: just what the client asks while a model is pushed and fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
COMMIT = "c0ffee" + "0" * 34


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory: ``repositories["owner/name"]["model.safetensors"]`` are bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken = 0  # the status of every answer, if it is not 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def respond(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def respond_json(self, value: Any) -> None:
        self.respond(200, json.dumps(value).encode(), Content_Type="application/json")

    def body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):  # chunked
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def note(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        return path

    def do_HEAD(self) -> None:
        self.send_file()

    def do_GET(self) -> None:
        self.send_file()

    def send_file(self) -> None:
        path = self.note()
        repository, _, rest = path[1:].partition("/resolve/")
        revision, _, name = rest.partition("/")
        files = self.server.repositories.get(repository)
        if self.server.broken:
            self.respond(self.server.broken)
        elif files is None:
            self.respond(404, X_Error_Code="RepoNotFound")
        elif revision not in ("main", COMMIT):
            self.respond(404, X_Error_Code="RevisionNotFound")
        elif name not in files:
            self.respond(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            tag = hashlib.sha256(files[name]).hexdigest()
            self.respond(200, files[name], ETag=f'"{tag}"', X_Repo_Commit=COMMIT)

    def do_PUT(self) -> None:
        path = self.note()
        content = self.body()
        assert path == f"/large/{hashlib.sha256(content).hexdigest()}"
        self.server.large_files[path.rpartition("/")[2]] = content
        self.respond(200)

    def do_POST(self) -> None:
        path, content = self.note(), self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.respond(401)
        elif path == "/api/repos/create":
            asked = json.loads(content)
            owner = asked.get("organization") or "me"
            name = f"{owner}/{asked['name']}"
            self.server.repositories.setdefault(name, {})
            self.respond_json({"url": f"{self.server.url}/{name}"})
        elif path == "/api/validate-yaml":
            self.respond_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            self.respond_json({"files": [self.how(file) for file in json.loads(content)["files"]]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.respond_json({"objects": [self.where(o) for o in json.loads(content)["objects"]]})
        elif "/commit/" in path:
            repository = path.removeprefix("/api/models/").partition("/commit/")[0]
            files = self.server.repositories[repository]
            for line in content.splitlines():
                operation = json.loads(line)
                value = operation["value"]
                if operation["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif operation["key"] == "lfsFile":
                    files[value["path"]] = self.server.large_files[value["oid"]]
            url = f"{self.server.url}/{repository}/commit/{COMMIT}"
            self.respond_json({"commitUrl": url, "commitOid": COMMIT})
        else:
            self.respond(404)

    def how(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def where(self, wanted: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.server.url}/large/{wanted['oid']}"}
        return {"oid": wanted["oid"], "size": wanted["size"], "actions": {"upload": upload}}
