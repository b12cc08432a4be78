"""A stand-in for the hub on this machine: the parts of its protocol that huggingface_hub uses."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_standin_token_of_the_tests"
# What the hub accepts of a card; it refuses others.
_PIPELINES = {"visual-question-answering", None}


@dataclass
class Repo:
    """A repository: commits are whole sets of files."""

    private: bool = False
    gated: bool = False
    commits: dict = field(default_factory=dict)  # sha -> {path: bytes}
    refs: dict = field(default_factory=dict)  # branch or tag -> sha
    messages: list = field(default_factory=list)

    def commit(self, files, branch="main", message=""):
        self.messages.append(message)
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[sha], self.refs[branch] = dict(files), sha
        return sha

    def at(self, revision):
        """The sha of a revision, or None."""
        return self.refs.get(revision, revision if revision in self.commits else None)


class Hub:
    """The server's state."""

    def __init__(self):
        self.repos, self.lfs, self.requests, self.address = {}, {}, [], ""
        self.bodies = {}  # path in a repository -> what is sent in the place of its content
        self.faults = {}  # how a request begins, such as "PUT /lfs" -> what takes a handler instead

    def environment(self, home):
        """Variables by which a process takes this for the hub; nobody is logged in."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": "",
        }

    def add(self, name, files, branch="main", **options):
        """Put a repository there; another branch of one that is there."""
        repo = self.repos.setdefault(name, Repo(**options))
        repo.commit({".gitattributes": b"", **files}, branch, f"files of {branch}")
        return repo


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def _send(self, status, content=b"", headers=None):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _fail(self, status, code, message=""):
        headers = {"X-Error-Code": code, "X-Error-Message": message or code}
        self._send(status, {"error": message or code}, headers)

    def _handle(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(f"{self.command} /{path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        for beginning, fault in self.hub.faults.items():
            if self.hub.requests[-1].startswith(beginning):
                return fault(self)
        parts = path.split("/")
        if self.command == "POST" and path == "api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if self.command == "PUT" and parts[0] == "lfs":
            self.hub.lfs[parts[1]] = body
            return self._send(200)
        if self.command == "POST" and not self.known:
            return self._fail(401, "", "Invalid username or password.")
        if path == "api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if path.startswith("api/models/"):
            return self._api(parts[2:], body)
        return self._resolve(parts)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _validate(self, content):
        metadata = yaml.safe_load(content.split("---")[1])
        errors = []
        if metadata.get("pipeline_tag") not in _PIPELINES:
            errors.append({"message": f"pipeline_tag {metadata['pipeline_tag']} is unknown"})
        for model in metadata.get("model-index", []):
            for result in model["results"]:
                if not ({"type"} <= result["task"].keys() and result["metrics"][0]["value"]):
                    errors.append({"message": "model-index is wrong"})
                if not {"type", "name"} <= result["dataset"].keys():
                    errors.append({"message": "model-index has no dataset"})
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def _create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] == "others":
            return self._fail(403, "", f"You don't have the rights to create {name}")
        status = 409 if name in self.hub.repos else 200
        private = asked.get("private") or asked.get("visibility") == "private"
        if status == 200:
            self.hub.add(name, {".gitattributes": b""}, private=bool(private))
        return self._send(status, {"url": f"{self.hub.address}/{name}", "id": name})

    def _repo(self, parts, extra):
        """The repository that a path begins with, and its rest; None where it is refused."""
        for length in (2, 1):
            name = "/".join(parts[:length])
            repo = self.hub.repos.get(name)
            if repo is not None and (len(parts) == length or parts[length] in extra):
                if repo.private and not self.known:
                    break
                return name, repo, parts[length:]
        self._fail(404 if self.known else 401, "RepoNotFound", "Repository not found")
        return None

    def _batch(self, asked):
        objects = []
        for one in asked["objects"]:
            upload = {"href": f"{self.hub.address}/lfs/{one['oid']}", "header": {}}
            objects.append({**one, "actions": {"upload": upload}})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _api(self, parts, body):
        found = self._repo(parts, ("revision", "tree", "preupload", "commit", "branch"))
        if found is None:
            return None
        name, repo, rest = found
        what, revision = rest[0] if rest else "revision", "/".join(rest[1:]) or "main"
        if what == "branch":
            status = 409 if revision in repo.refs else 201
            repo.refs.setdefault(revision, repo.refs["main"])
            return self._send(status, {})
        sha = repo.at(revision)
        if sha is None:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.commits[sha]
        if what == "revision":
            siblings = [{"rfilename": path} for path in files]
            info = {"id": name, "modelId": name, "sha": sha, "siblings": siblings}
            return self._send(200, {**info, "private": repo.private, "gated": repo.gated})
        if what == "tree":
            return self._send(200, [self._entry(path, files[path]) for path in files])
        if what == "preupload":
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return self._send(200, {"files": modes})
        return self._commit(name, repo, revision, dict(files), body)

    def _entry(self, path, content):
        entry = {"type": "file", "path": path, "oid": _etag(content), "size": len(content)}
        if path.endswith(".safetensors"):
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            entry["lfs"] = {**lfs, "pointerSize": 100}
        return entry

    def _commit(self, name, repo, branch, files, body):
        message = ""
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                message = value["summary"]
            elif operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.lfs[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files, branch, message)
        url = f"{self.hub.address}/{name}/commit/{sha}"
        self._send(200, {"success": True, "commitOid": sha, "commitUrl": url})

    def _resolve(self, parts):
        found = self._repo(parts, ("resolve",))
        if found is None:
            return None
        _, repo, (_, *rest) = found
        revision, path = rest[0], "/".join(rest[1:])
        if repo.gated and not self.known:
            return self._fail(401, "GatedRepo", "Access to this model is restricted.")
        sha = repo.at(revision)
        if sha is None:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        headers = {"X-Repo-Commit": sha}
        if path not in repo.commits[sha]:
            headers |= {"X-Error-Code": "EntryNotFound"}
            return self._send(404, b"Entry not found", headers)
        content = repo.commits[sha][path]
        etag = _etag(content)
        if path.endswith(".safetensors"):
            etag = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        content = self.hub.bodies.get(path, content) if self.command == "GET" else content
        return self._send(200, content, {**headers, "ETag": f'"{etag}"'})


def _etag(content):
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving():
    """A hub that serves on a port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
