"""A recognizer known only by its answers: an HTTP endpoint or a command, and a cache of answers.

Nothing but PNG bytes goes out and nothing but a label comes back; no gradient, no score. A key is
read from the environment when a request is made; it is in no file, log line or error message.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ra.errors import UserError
from ra.files import write_json

RETRIED = (408, 425, 429, 500, 502, 503, 504)
MUTE = 3  # so many first answers without a label mean that label_path is wrong
Answer = str | None


@dataclass(frozen=True)
class Endpoint:
    """An HTTP endpoint that is sent one image a request and answers JSON.

    Attributes:
        url: where to POST.
        label_path: keys and list positions down to the label, joined by dots: ``labels.0.name``.
        key_env: environment variable with the key; None where no key is needed.
        key_header, key_prefix: the header that carries the key, and what stands before it.
        body: JSON text in which ``"{image}"`` becomes the PNG in base64; None sends the PNG itself.
        field: name of a multipart form field for the PNG; excludes ``body``.
        per_second: requests a second, at most.
        timeout_s: the longest silence of the server, seconds.
        retries: how often a request is repeated after silence, a lost connection or an answer
            408, 425, 429 or 5xx; waits 1, 2, 4, … times ``backoff_s``, or what Retry-After asks.
    """

    url: str
    label_path: str
    key_env: str | None = None
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    body: str | None = None
    field: str | None = None
    per_second: float = 5.0
    timeout_s: float = 30.0
    retries: int = 6
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        place = urlsplit(self.url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise UserError(f"--url: '{self.url}' is no http(s) address")
        if place.username or place.password:
            raise UserError("--url: holds a user name or password; name their variable: --key-env")
        local = place.hostname in ("localhost", "127.0.0.1", "::1")
        if self.key_env and place.scheme == "http" and not local:
            raise UserError(f"--url: {place.hostname} would get the key unencrypted; use https")
        if self.body and self.field:
            raise UserError("--body and --field: an image is sent in one way; give one of them")
        if self.body and '"{image}"' not in self.body:
            raise UserError('--body: holds no "{image}" that the picture could replace')

    @property
    def identity(self) -> str:
        """What an answer depends on beside the image."""
        return json.dumps(["http", self.url, self.label_path, self.body, self.field])

    def ask(self, images: Sequence[bytes]) -> Iterator[Answer]:
        """The label of each PNG; None where the answer holds none.

        Raises:
            UserError: refused, unreachable after all retries, not JSON, or no key.
        """
        import requests  # here: other commands need not wait for it

        key = self._key()
        with self._session(key) as session:
            due = time.monotonic()
            for png in images:
                time.sleep(max(0.0, due - time.monotonic()))
                due = time.monotonic() + 1 / self.per_second
                try:
                    answer = session.post(
                        self.url,
                        timeout=self.timeout_s,
                        # A redirect could carry the key to another host.
                        allow_redirects=False,
                        **self._content(png),
                    )
                except requests.RequestException as error:
                    reason = type(error).__name__
                    raise UserError(f"{self.url}: {reason}; {self._again()}") from None
                yield self._label(answer, key)

    def _key(self) -> str | None:
        if not self.key_env:
            return None
        if not os.environ.get(self.key_env):
            raise UserError(f"environment variable {self.key_env}: not set; it holds the key")
        return os.environ[self.key_env]

    def _session(self, key: str | None):
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        retry = Retry(
            total=self.retries,
            status_forcelist=RETRIED,
            allowed_methods={"POST"},
            backoff_factor=self.backoff_s,
            backoff_max=120,
            retry_after_max=600,
            raise_on_status=False,
        )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))

        def sign(request):
            if key:
                request.headers[self.key_header] = self.key_prefix + key
            return request

        # As auth, not as a header: otherwise requests puts what ~/.netrc says in its place.
        session.auth = sign
        return session

    def _content(self, png: bytes) -> dict[str, Any]:
        if self.field:
            return {"files": {self.field: ("image.png", png, "image/png")}}
        kind, data = "image/png", png
        if self.body:
            text = base64.b64encode(png).decode()
            kind, data = "application/json", self.body.replace('"{image}"', f'"{text}"').encode()
        return {"data": data, "headers": {"Content-Type": kind}}

    def _again(self) -> str:
        return f"gave up after {self.retries + 1} tries; answers so far are kept, run it again"

    def _label(self, answer, key: str | None) -> Answer:
        shown = answer.text[:160].replace("\n", " ")
        shown = shown.replace(key, "***") if key else shown
        if answer.status_code in RETRIED:
            raise UserError(f"{self.url}: answers {answer.status_code}; {self._again()}")
        if answer.status_code != 200:
            raise UserError(f"{self.url}: answers {answer.status_code} ({shown})")
        try:
            found = answer.json()
        except ValueError:
            raise UserError(f"{self.url}: answers no JSON ({shown})") from None
        return follow(found, self.label_path)


def follow(found: Any, path: str) -> Answer:
    """What stands in JSON at ``path`` (``labels.0.name``), as text; None where nothing does."""
    for step in path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return None if found is None or isinstance(found, (dict, list)) else str(found)


@dataclass(frozen=True)
class Command:
    """A program that is given PNG files and prints one label a line, in their order.

    Attributes:
        argv: the program and its arguments; ``{files}`` stands for the files of a batch. No shell
            reads it.
        batch: files a call.
        timeout_s: longest duration of a call, seconds.
    """

    argv: tuple[str, ...]
    batch: int = 500
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if "{files}" not in self.argv:
            raise UserError("--command: holds no {files}, for which the image files are put")

    @property
    def identity(self) -> str:
        """The arguments and the content of those that are files: a new model has new answers."""
        known = [digest(Path(word).read_bytes()) for word in self.argv if os.path.isfile(word)]
        return json.dumps(["command", *self.argv, *known])

    def ask(self, images: Sequence[bytes]) -> Iterator[Answer]:
        """The label of each PNG; an empty line is None. Raises UserError where the call fails."""
        for begin in range(0, len(images), self.batch):
            part = images[begin : begin + self.batch]
            with tempfile.TemporaryDirectory(prefix="ra-black-box-") as folder:
                files = [Path(folder, f"{number:06d}.png") for number in range(len(part))]
                for file, png in zip(files, part, strict=True):
                    file.write_bytes(png)
                yield from self._call([str(file) for file in files])

    def _call(self, files: list[str]) -> list[Answer]:
        argv = [w for word in self.argv for w in (files if word == "{files}" else [word])]
        try:
            run = subprocess.run(argv, capture_output=True, text=True, timeout=self.timeout_s)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = type(error).__name__
            raise UserError(f"--command: {argv[0]} failed ({reason})") from None
        if run.returncode:
            said = (run.stderr.strip().splitlines() or ["nothing on stderr"])[-1][:200]
            raise UserError(f"--command: {argv[0]} ended with code {run.returncode} ({said})")
        lines = run.stdout.splitlines()
        if len(lines) != len(files):
            raise UserError(
                f"--command: {argv[0]} printed {len(lines)} lines for {len(files)} files; "
                "it must print one label a line"
            )
        return [line.strip() or None for line in lines]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Answers:
    """Answers of one black box, kept on disk: what was asked once is never sent again.

    Each answer is a small file ``folder/BOX/IMAGE.json``, named by the sha256 of the black box's
    settings and of the PNG, and appears whole or not at all; a killed run loses one batch at most.
    """

    def __init__(self, box: Endpoint | Command, folder: Path) -> None:
        self.box, self.folder = box, folder / digest(box.identity.encode())[:16]
        self.sent = 0

    def of(self, images: Sequence[bytes], progress=lambda items: items) -> list[Answer]:
        """The label of each PNG, in order; equal images are asked once."""
        files = [self.folder / f"{digest(png)}.json" for png in images]
        missing = {f: png for f, png in zip(files, images, strict=True) if not f.exists()}
        if missing:  # not even the key is needed otherwise
            self._ask(missing, progress)
        return [json.loads(file.read_text())["answer"] for file in files]

    def _ask(self, missing: dict[Path, bytes], progress) -> None:
        heard = False
        fresh = self.box.ask(list(missing.values()))
        for number, (file, answer) in enumerate(zip(progress(missing), fresh, strict=True), 1):
            heard = heard or answer is not None
            if number == MUTE and not heard:
                raise UserError(f"the first {MUTE} answers hold no label; check --label-path")
            write_json(file, {"answer": answer})
            self.sent += 1
