#!/usr/bin/env python3
"""A small barrier that speaks Kalong's device contract, version 1, with Python's standard library alone.

It is an example for integrators and a peer for the tests of Kalong's driver: it shares no code with Kalong.
What it runs, its settings and its uploads are kept in --state, so that it can be killed at any moment.

    python3 http_device.py --port 8080 --state /tmp/barrier

Prints `listening on 127.0.0.1:<port>` once it answers; --port 0 takes any free port.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE = "/kalong/v1"
# name: (kind, writable, lowest or words, highest)
PROPERTIES = {
    "holdOpenMillis": ("integer", True, 0, 60000),
    "mode": ("words", True, ["Normal", "LockedDown"], None),
    "location": ("text", True, None, None),
    "armState": ("words", False, ["Down", "Up"], None),
    "cycles": ("integer", False, 0, 2147483647),
}
MAX_IMAGE = 64 * 1024 * 1024
FACTORY_IMAGE = b"barrier firmware 1.0.0"


class Refusal(Exception):
    """What becomes a problem document."""

    def __init__(self, status, title, detail):
        super().__init__(title)
        self.status, self.title, self.detail = status, title, detail


class Barrier:
    """The device itself. Everything that it knows is on disk; a method is a step that may be repeated."""

    def __init__(self, folder, restart_seconds):
        self.folder = folder
        self.restart_seconds = restart_seconds
        self.lock = threading.Lock()
        self.away_until = 0.0
        os.makedirs(os.path.join(folder, "images"), exist_ok=True)
        self.file = os.path.join(folder, "state.json")
        if os.path.exists(self.file):
            with open(self.file, encoding="utf-8") as file:
                self.state = json.load(file)
        else:
            digest = hashlib.sha256(FACTORY_IMAGE).hexdigest()
            with open(self.path_of(digest), "wb") as file:
                file.write(FACTORY_IMAGE)
            self.state = {
                "settings": {"holdOpenMillis": 1500, "mode": "Normal", "location": ""},
                "running": digest,
                "written": None,
                "committed": True,
                "boots": 0,
                "tested": None,
            }
        self.start()

    def start(self):
        """Begins anew. An image that nobody committed does not survive that."""
        if not self.state["committed"]:
            self.swap(committed=True)
        self.state["boots"] += 1
        self.state["tested"] = None
        self.save()

    def restart_into(self, committed):
        self.swap(committed)
        self.state["boots"] += 1
        self.state["tested"] = None
        self.save()
        self.away_until = time.monotonic() + self.restart_seconds

    def swap(self, committed):
        self.state["running"], self.state["written"] = self.state["written"], self.state["running"]
        self.state["committed"] = committed

    def save(self):
        with open(self.file + ".new", "w", encoding="utf-8") as file:
            json.dump(self.state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.file + ".new", self.file)

    def path_of(self, digest):
        return os.path.join(self.folder, "images", digest)

    # What the device shows

    def version(self):
        """The version stands in the image: `barrier firmware <version>`, whatever follows."""
        with open(self.path_of(self.state["running"]), "rb") as file:
            found = re.match(rb"barrier firmware ([0-9A-Za-z.+-]{1,63})", file.read(256))
        return found.group(1).decode() if found else "unknown"

    def identity(self):
        return {
            "contract": "v1",
            "serial": "PY-0001",
            "hardwareRevision": "r1",
            "version": self.version(),
            "digest": "sha256:" + self.state["running"],
            "bootCount": self.state["boots"],
        }

    def properties(self):
        return {**self.state["settings"], "armState": "Down", "cycles": 4711}

    def slots(self):
        named = lambda digest: "sha256:" + digest if digest else None
        return {
            "running": named(self.state["running"]),
            "written": named(self.state["written"]),
            "committed": self.state["committed"],
        }

    # What the device can be told

    def set(self, wanted):
        if not isinstance(wanted, dict):
            raise Refusal(422, "Not an object", "Send the settings as one JSON object.")
        for name, value in wanted.items():
            self.judge(name, value)
        if any(self.state["settings"][name] != value for name, value in wanted.items()):
            self.state["settings"].update(wanted)
            self.save()

    @staticmethod
    def judge(name, value):
        if name not in PROPERTIES:
            raise Refusal(422, "Unknown property", f"This device has no `{name}`: correct the DeviceModel.")
        kind, writable, low, high = PROPERTIES[name]
        if not writable:
            raise Refusal(422, "Read only", f"`{name}` can only be read: take it out of the configuration.")
        if kind == "integer" and not (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
            raise Refusal(422, "Value out of bounds", f"`{name}` takes whole numbers from {low} to {high}.")
        if kind == "words" and value not in low:
            raise Refusal(422, "Unknown word", f"`{name}` takes one of {', '.join(low)}.")
        if kind == "text" and not (isinstance(value, str) and len(value) <= 256):
            raise Refusal(422, "Not a text", f"`{name}` takes a text of at most 256 characters.")

    # Firmware

    def held(self, digest):
        if os.path.exists(self.path_of(digest)):
            size = os.path.getsize(self.path_of(digest))
            return {"received": size, "size": size, "complete": True}
        part = self.path_of(digest) + ".part"
        received = os.path.getsize(part) if os.path.exists(part) else 0
        return {"received": received, "size": None, "complete": False}

    def receive(self, digest, stream, length, first, size):
        if self.held(digest)["complete"]:
            return
        if size > MAX_IMAGE:
            raise Refusal(413, "Image too large", f"At most {MAX_IMAGE} bytes fit.")
        received = self.held(digest)["received"]
        if first not in (0, received) or first + length != size:
            raise Refusal(409, "Wrong place", f"{received} bytes are here: go on from there, to the end.")
        part = self.path_of(digest) + ".part"
        with open(part, "r+b" if os.path.exists(part) else "w+b") as file:
            file.truncate(first)
            file.seek(first)
            while length > 0:
                chunk = stream.read(min(length, 16384))
                if not chunk:
                    raise ConnectionError("the upload broke off")
                file.write(chunk)
                file.flush()
                length -= len(chunk)
            os.fsync(file.fileno())
            file.seek(0)
            right = hashlib.sha256(file.read()).hexdigest() == digest
        if not right:
            os.remove(part)
            raise Refusal(422, "Wrong digest", "The image is not the one that was announced: check the release.")
        os.replace(part, self.path_of(digest))

    def install(self, digest):
        if digest in (self.state["running"], self.state["written"]):
            return
        if not self.held(digest)["complete"]:
            raise Refusal(409, "No such image", "Send the whole image first.")
        if not self.state["committed"]:
            raise Refusal(409, "Not committed", "What runs is on trial: commit or roll back first.")
        self.state["written"] = digest
        self.save()

    def activate(self, digest):
        if digest == self.state["running"]:
            return
        if digest != self.state["written"]:
            raise Refusal(409, "Not written", "Install the image first.")
        self.restart_into(committed=False)

    def self_test(self):
        if self.state["tested"] is None:
            self.state["tested"] = "Passed"
            self.save()
            return {"result": "Running"}
        return {"result": self.state["tested"], "detail": ""}

    def commit(self):
        if not self.state["committed"]:
            self.state["committed"] = True
            self.save()

    def roll_back(self):
        if not self.state["committed"]:
            self.restart_into(committed=True)


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of the device."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    barrier: Barrier = None
    login = None

    def log_message(self, *_):
        pass

    def answer(self, status, document=None, kind="application/json"):
        body = json.dumps(document).encode() if document is not None else b""
        self.send_response(status)
        if document is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, refusal):
        document = {"type": "about:blank", "title": refusal.title, "status": refusal.status, "detail": refusal.detail}
        # The rest of an unread upload would be taken for the next request.
        self.close_connection = True
        self.answer(refusal.status, document, "application/problem+json")

    def document(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > 65536:
            raise Refusal(413, "Too long", "Send at most 64 KiB.")
        try:
            return json.loads(self.rfile.read(length) or b"{}")
        except ValueError:
            raise Refusal(400, "No JSON", "Send a JSON document.") from None

    def image_name(self):
        name = self.document().get("digest", "")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", name):
            raise Refusal(422, "No digest", "Send `digest` as sha256: and 64 hexadecimal digits.")
        return name.removeprefix("sha256:")

    def upload(self, digest):
        length = int(self.headers.get("Content-Length") or -1)
        if length < 0:
            raise Refusal(411, "Length required", "Send Content-Length.")
        first, size = 0, length
        if "Content-Range" in self.headers:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers["Content-Range"])
            if not found:
                raise Refusal(400, "Bad range", "Send bytes <first>-<last>/<size>.")
            first, size = int(found.group(1)), int(found.group(3))
        self.barrier.receive(digest, self.rfile, length, first, size)

    def handle_call(self, method):
        barrier = self.barrier
        if time.monotonic() < barrier.away_until:
            # A restarting device does not answer at all.
            self.close_connection = True
            return
        try:
            if self.login and self.headers.get("Authorization") != self.login:
                raise Refusal(401, "Unauthorised", "Check the device's Secret.")
            if not self.path.startswith(BASE + "/"):
                raise Refusal(404, "Not found", f"Everything is below {BASE}.")
            self.route(method, self.path.removeprefix(BASE))
        except Refusal as refusal:
            self.refuse(refusal)
        except ConnectionError:
            self.close_connection = True

    def route(self, method, path):
        barrier = self.barrier
        image = re.fullmatch(r"/images/([0-9a-f]{64})", path)
        if image and method == "PUT":
            # Outside the lock: an upload may take long, and the device goes on answering.
            self.upload(image.group(1))
            return self.answer(200, barrier.held(image.group(1)))
        with barrier.lock:
            if image and method == "GET":
                return self.answer(200, barrier.held(image.group(1)))
            match method, path:
                case "GET", "/identity":
                    self.answer(200, barrier.identity())
                case "GET", "/properties":
                    self.answer(200, barrier.properties())
                case "PUT", "/properties":
                    barrier.set(self.document())
                    self.answer(204)
                case "GET", "/health":
                    self.answer(200, {"codes": []})
                case "GET", "/slots":
                    self.answer(200, barrier.slots())
                case "POST", "/install":
                    barrier.install(self.image_name())
                    self.answer(200, {})
                case "POST", "/activate":
                    barrier.activate(self.image_name())
                    self.answer(202, {})
                case "POST", "/self-test":
                    self.document()
                    self.answer(200, barrier.self_test())
                case "POST", "/commit":
                    self.document()
                    barrier.commit()
                    self.answer(204)
                case "POST", "/rollback":
                    self.document()
                    barrier.roll_back()
                    self.answer(202, {})
                case _:
                    raise Refusal(404, "Not found", "This device does not have that.")
        return None

    def do_GET(self):
        self.handle_call("GET")

    def do_PUT(self):
        self.handle_call("PUT")

    def do_POST(self):
        self.handle_call("POST")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--port", type=int, default=8080)
    arguments.add_argument("--state", required=True, help="folder that it may write to")
    arguments.add_argument("--restart-seconds", type=float, default=1.0, help="how long a restart takes")
    arguments.add_argument("--login", help="user:password that it asks for")
    given = arguments.parse_args()
    Handler.barrier = Barrier(given.state, given.restart_seconds)
    if given.login:
        Handler.login = "Basic " + base64.b64encode(given.login.encode()).decode()
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    server.daemon_threads = True
    print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    if not sys.stdin.isatty():
        # Ends with whoever started it: its end of the pipe closes.
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
