"""A recognizer known only by its answers: an HTTP endpoint or a command.

PNG bytes go out, a label comes back: no gradient, no score. The key is read from the environment
when a request is made; no file, log line or error message holds it.
"""

import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from ra.analysis.settings import BlackBoxService
from ra.errors import UserError

RETRIED = (408, 425, 429, 500, 502, 503, 504)
LARGEST = 1_000_000  # bytes of an answer
Answer = str | None


@dataclass(frozen=True)
class Endpoint:
    """An HTTP endpoint that takes one image a request and answers JSON.

    Attributes:
        settings: address, key, format and limits. A timeout covers the whole of a request, from
            the connection to the last byte. After one, a lost connection or an answer 408, 425,
            429 or 5xx the request is repeated.
        backoff_s: pauses before that are 1, 2, 4, … times this, or what Retry-After says.
    """

    settings: BlackBoxService
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        o = self.settings
        place = urlsplit(o.url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise UserError(f"--url: '{o.url}' is no http(s) address")
        if place.username or place.password:
            raise UserError("--url: holds a user name or password; name their variable: --key-env")
        local = place.hostname in ("localhost", "127.0.0.1", "::1")
        if o.key_env and place.scheme == "http" and not local:
            raise UserError(f"--url: {place.hostname} would get the key unencrypted; use https")
        if not o.label_path:
            raise UserError("--label-path: needed with --url; where the label is in the answer")
        if o.body and o.field:
            raise UserError("--body and --field: an image is sent in one way; give one of them")
        if o.body and '"{image}"' not in o.body:
            raise UserError('--body: holds no "{image}" that the picture could replace')

    @property
    def identity(self) -> str:
        """What an answer depends on beside the image."""
        o = self.settings
        return json.dumps(["http", o.url, o.label_path, o.body, o.field])

    def classify(self, images: Sequence[bytes]) -> Iterator[Answer]:
        """The label of each PNG; None where the answer holds none.

        Raises:
            UserError: refused, unreachable after all retries, an answer that is too large or not
                JSON, or no key.
        """
        import requests  # here: other commands need not wait for it

        key = self._key()

        def sign(request):
            if key:
                request.headers[self.settings.key_header] = self.settings.key_prefix + key
            return request

        with requests.Session() as session:
            # As auth, not as a header: otherwise requests puts what ~/.netrc says in its place.
            session.auth = sign
            due = time.monotonic()
            for png in images:
                time.sleep(max(0.0, due - time.monotonic()))
                due = time.monotonic() + 1 / self.settings.per_second
                yield self._label(*self._answer(session, png), key)

    def _key(self) -> str | None:
        if not self.settings.key_env:
            return None
        if not os.environ.get(self.settings.key_env):
            raise UserError(
                f"environment variable {self.settings.key_env}: not set; it holds the key"
            )
        return os.environ[self.settings.key_env]

    def _answer(self, session, png: bytes) -> tuple[int, bytes]:
        """(status, body) of the first answer that a retry would not change."""
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        for number in range(self.settings.retries + 1):
            pause = min(self.backoff_s * 2**number, 120)
            try:
                status, wanted, body = within(self.settings.timeout, self._post, session, png)
                if status not in RETRIED:
                    return status, body
                trouble, pause = f"answers {status}", wanted or pause
            except (RequestException, HTTPError, TimeoutError, ValueError, OverflowError) as error:
                trouble = type(error).__name__
            if number < self.settings.retries:
                time.sleep(pause)
        tries = f"gave up after {self.settings.retries + 1} tries"
        raise self._error(f"{trouble}; {tries}; answers so far are kept, run it again")

    def _error(self, text: str) -> UserError:
        return UserError(f"{self.settings.url}: {text}")

    def _post(self, session, png: bytes) -> tuple[int, float | None, bytes]:
        """(status, seconds that Retry-After demands, body) of one request."""
        from urllib3.util import Retry

        # A redirect could carry the key to another host.
        options = {"timeout": self.settings.timeout, "allow_redirects": False, "stream": True}
        with session.post(self.settings.url, **options, **self._content(png)) as answer:
            wanted = Retry(retry_after_max=600).get_retry_after(answer)
            # Bounded after decompression too.
            return answer.status_code, wanted, answer.raw.read(LARGEST + 1, decode_content=True)

    def _content(self, png: bytes) -> dict[str, Any]:
        o = self.settings
        if o.field:
            return {"files": {o.field: ("image.png", png, "image/png")}}
        if not o.body:
            return {"data": png, "headers": {"Content-Type": "image/png"}}
        data = o.body.replace('"{image}"', f'"{base64.b64encode(png).decode()}"').encode()
        return {"data": data, "headers": {"Content-Type": "application/json"}}

    def _label(self, status: int, body: bytes, key: str | None) -> Answer:
        text = body.decode(errors="replace")
        text = text.replace(key, "***") if key else text  # before anything is cut or stored
        shown = "".join(c if c.isprintable() else " " for c in text[:160])
        if status != 200:
            raise self._error(f"answers {status} ({shown})")
        if len(body) > LARGEST:
            raise self._error(f"answers more than {LARGEST:,} bytes ({shown})")
        try:
            label = follow(json.loads(text), self.settings.label_path)
            (label or "").encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and no file can
            raise UserError(
                f"{self.settings.url}: answers a label that is no text ({shown})"
            ) from None
        except (ValueError, RecursionError):
            raise self._error(f"answers no JSON ({shown})") from None
        return label


def within(seconds: float, call: Callable, *arguments: Any) -> Any:
    """What ``call`` returns or raises, or TimeoutError after ``seconds``.

    A socket's timeout counts from byte to byte: a server that sends one now and then outlasts it.
    """
    future: Future = Future()

    def work() -> None:
        try:
            future.set_result(call(*arguments))
        except Exception as error:
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future.result(seconds)


def follow(found: Any, path: str) -> Answer:
    """The value at ``path`` (``labels.0.name``) of JSON, as text; None where there is none."""
    for step in path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return None if found is None or isinstance(found, (dict, list)) else str(found)


@dataclass(frozen=True)
class Command:
    """A program that takes PNG files and prints one label a line, in their order.

    Attributes:
        argv: the program and its arguments; ``{files}`` stands for the files of a batch. With
            ``{file}`` it is called for each file, and all that it prints is the answer. There is
            no shell.
        batch: files a call.
        timeout_s: longest duration of a call, seconds.
    """

    argv: tuple[str, ...]
    batch: int = 500
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if not {"{files}", "{file}"} & {*self.argv}:
            raise UserError("--command: holds no {files} or {file}, where the image files are put")

    @property
    def identity(self) -> str:
        """The arguments and the content of those that are files: a new model has new answers."""
        files = [Path(word) for word in self.argv if os.path.isfile(word)]
        known = [sha256(file.read_bytes()).hexdigest() for file in files]
        return json.dumps(["command", *self.argv, *known])

    def classify(self, images: Sequence[bytes]) -> Iterator[Answer]:
        """The label of each PNG; it may be empty. Raises UserError where the call fails."""
        batch = self.batch if "{files}" in self.argv else 1
        for begin in range(0, len(images), batch):
            part = images[begin : begin + batch]
            with tempfile.TemporaryDirectory(prefix="ra-black-box-") as folder:
                files = [Path(folder, f"{number:06d}.png") for number in range(len(part))]
                for file, png in zip(files, part, strict=True):
                    file.write_bytes(png)
                yield from self._call([str(file) for file in files])

    def _call(self, files: list[str]) -> list[Answer]:
        places = ("{files}", "{file}")
        argv = [w for word in self.argv for w in (files if word in places else [word])]
        try:
            run = subprocess.run(
                argv, capture_output=True, timeout=self.timeout_s, text=True, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = type(error).__name__
            raise UserError(f"--command: {argv[0]} failed ({reason})") from None
        if run.returncode:
            said = (run.stderr.strip().splitlines() or ["nothing on stderr"])[-1][:200]
            raise UserError(f"--command: {argv[0]} ended with code {run.returncode} ({said})")
        if "{files}" not in self.argv:
            return [run.stdout.strip()]
        lines = run.stdout.splitlines()
        if len(lines) != len(files):
            raise UserError(
                f"--command: {argv[0]} printed {len(lines)} lines for {len(files)} files; "
                "it must print one label a line"
            )
        return [line.strip() for line in lines]
