"""Black boxes: a real local HTTP server that fails, stalls and limits; programs; kept answers."""

import base64
import gzip
import json
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ra.analysis.black_box.cache import AnswerCache
from ra.analysis.black_box.client import Command, Endpoint, follow
from ra.analysis.black_box.study import service
from ra.analysis.settings import BlackBoxService
from ra.cli.parser import parse
from ra.errors import UserError

KEY = "secret-7f3a"


class Server:
    """Answers each POST with the next of ``script``, then with the last one for ever.

    A script's entry is (status, headers, body), a number of seconds to say nothing, or a function
    that writes to the connection itself.
    """

    def __init__(self) -> None:
        self.script = [(200, {}, {"labels": [{"name": "cat"}]})]
        self.requests = []
        self.times = []

    def answer(self, handler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.times.append(time.monotonic())
        self.requests.append((handler.path, dict(handler.headers), body))
        entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(entry):
            return entry(handler.wfile.write)
        if not isinstance(entry, tuple):
            return time.sleep(entry)
        status, headers, content = entry
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def server():
    script = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            script.answer(self)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{listening.server_port}/v1/label"
    yield script
    listening.shutdown()
    listening.server_close()
    thread.join()


def endpoint(server, backoff_s: float = 0.01, **settings) -> Endpoint:
    quick = {"url": server.url, "label_path": "labels.0.name", "per_second": 1000, "timeout": 0.5}
    return Endpoint(BlackBoxService(**{**quick, "retries": 3, **settings}), backoff_s)


def test_an_endpoint_gets_the_png_and_gives_its_label(server):
    assert list(endpoint(server).classify([b"png-1", b"png-2"])) == ["cat", "cat"]
    assert [body for _, _, body in server.requests] == [b"png-1", b"png-2"]
    assert server.requests[0][1]["Content-Type"] == "image/png"


def test_an_image_goes_as_base64_in_json_or_as_a_form_field(server):
    list(endpoint(server, body='{"a": {"content": "{image}"}, "n": 1}').classify([b"\x89PNG"]))
    list(endpoint(server, field="picture").classify([b"\x89PNG"]))
    sent = json.loads(server.requests[0][2])
    assert base64.b64decode(sent["a"]["content"]) == b"\x89PNG" and sent["n"] == 1
    assert b'name="picture"' in server.requests[1][2] and b"\x89PNG" in server.requests[1][2]


OK = (200, {}, {"labels": [{"name": "cat"}]})


@pytest.mark.parametrize("trouble", [(503, {}, b""), (429, {}, b""), (500, {}, b"oops"), 1.0])
def test_trouble_that_passes_is_waited_for(server, trouble):
    server.script = [trouble, OK]
    assert list(endpoint(server).classify([b"x"])) == ["cat"]
    assert len(server.requests) == 2


def test_pauses_grow(server):
    server.script = [(503, {}, b"")] * 3 + [OK]
    list(endpoint(server, backoff_s=0.1).classify([b"x"]))
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert gaps[1] > 0.19 and gaps[2] > 0.39


def test_retry_after_is_heeded(server):
    server.script = [(429, {"Retry-After": "1"}, b""), OK]
    list(endpoint(server).classify([b"x"]))
    assert server.times[1] - server.times[0] >= 1


def test_the_rate_is_kept(server):
    list(endpoint(server, per_second=20).classify([b"1", b"2", b"3", b"4"]))
    assert server.times[-1] - server.times[0] >= 3 / 20 - 0.02


def test_after_the_last_try_it_says_what_to_do(server):
    server.script = [(503, {}, b"")]
    with pytest.raises(UserError, match="answers 503; gave up after 3 tries; answers so far are"):
        list(endpoint(server, retries=2).classify([b"x"]))
    assert len(server.requests) == 3


def test_a_server_that_never_answers_is_given_up(server):
    server.script = [0.6]
    with pytest.raises(UserError, match="gave up after 2 tries"):
        list(endpoint(server, timeout=0.2, retries=1).classify([b"x"]))


def test_a_refusal_ends_at_once_and_hides_the_key(server, monkeypatch):
    monkeypatch.setenv("BOX_KEY", KEY)
    server.script = [(401, {}, f"bad key {KEY}".encode())]
    with pytest.raises(UserError, match=r"answers 401 \(bad key \*\*\*\)"):
        list(endpoint(server, key_env="BOX_KEY").classify([b"x"]))
    assert len(server.requests) == 1


def test_the_key_goes_in_its_header_whatever_netrc_says(server, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("BOX_KEY", KEY)
    list(endpoint(server, key_env="BOX_KEY").classify([b"x"]))
    list(endpoint(server, key_env="BOX_KEY", key_header="X-Key", key_prefix="").classify([b"x"]))
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert server.requests[1][1]["X-Key"] == KEY
    assert "Authorization" not in server.requests[1][1]


def test_a_redirect_is_not_followed(server, monkeypatch):
    monkeypatch.setenv("BOX_KEY", KEY)
    server.script = [(307, {"Location": server.url + "/elsewhere"}, b"")]
    with pytest.raises(UserError, match="answers 307"):
        list(endpoint(server, key_env="BOX_KEY").classify([b"x"]))
    assert len(server.requests) == 1


def test_no_key_no_request(server, monkeypatch):
    monkeypatch.delenv("BOX_KEY", raising=False)
    with pytest.raises(UserError, match="BOX_KEY: not set"):
        list(endpoint(server, key_env="BOX_KEY").classify([b"x"]))
    assert not server.requests


def test_an_answer_that_is_no_json_is_shown(server):
    server.script = [(200, {}, b"<html>login</html>")]
    with pytest.raises(UserError, match="answers no JSON .<html>login"):
        list(endpoint(server).classify([b"x"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://x/y"}, "is no http"),
        ({"url": "https://me:pw@x/y"}, "holds a user name"),
        ({"url": "http://api.example.org/v1", "key_env": "K"}, "use https"),
        ({"url": "https://x/y", "label_path": None}, "--label-path: needed with --url"),
        ({"url": "https://x/y", "body": "{}"}, "holds no"),
        ({"url": "https://x/y", "body": '"{image}"', "field": "f"}, "in one way"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_sent(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        Endpoint(BlackBoxService(**{"label_path": "label", **settings}))
    assert "pw" not in str(caught.value)


def test_a_key_is_hidden_before_a_message_is_cut_and_in_labels(server, monkeypatch):
    monkeypatch.setenv("BOX_KEY", KEY)
    server.script = [(401, {}, b"x" * 155 + KEY.encode()), (200, {}, {"labels": [{"name": KEY}]})]
    with pytest.raises(UserError, match="answers 401") as caught:
        list(endpoint(server, key_env="BOX_KEY").classify([b"x"]))
    assert KEY[:4] not in str(caught.value)
    assert list(endpoint(server, key_env="BOX_KEY").classify([b"x"])) == ["***"]


def drip(*parts: bytes):
    """Sends the parts one by one, 0.1 s apart, until the other side hangs up."""

    def answer(write) -> None:
        with suppress(OSError):
            for part in parts:
                write(part)
                time.sleep(0.1)

    return answer


START = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server, where):
    start = START if where == "headers" else START + b"Content-Length: 99\r\n\r\n"
    server.script = [drip(start, *[b"x"] * 15)]
    begin = time.monotonic()
    with pytest.raises(UserError, match="TimeoutError; gave up after 1 tries"):
        list(endpoint(server, timeout=0.3, retries=0).classify([b"x"]))
    assert time.monotonic() - begin < 1


def zipped(size: int) -> tuple:
    return (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * size))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (drip(START + b"\r\n", b"x" * 3_000_000), "answers more than 1,000,000 bytes"),
        (zipped(50_000_000), "answers more than 1,000,000 bytes"),
        ((200, {"Content-Encoding": "gzip"}, b"nothing"), "DecodeError; gave up"),
        ((200, {}, b"[" * 200_000), "answers no JSON"),
        ((200, {}, b'{"labels": [{"name": "\\ud800"}]}'), "answers a label that is no text"),
        ((200, {}, b"\xff\x00\x1b[2J"), "answers no JSON"),
        ((503, {"Retry-After": "9" * 5000}, b""), "ValueError; gave up"),
        ((200, {"Retry-After": "soon"}, b""), "InvalidHeader; gave up"),
    ],
)
def test_a_hostile_answer_is_one_line_and_is_not_kept(server, tmp_path, answer, message):
    server.script = [answer]
    box = endpoint(server, retries=0, timeout=2)
    with pytest.raises(UserError, match=message) as caught:
        AnswerCache(box, tmp_path).labels([b"x"])
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_compressed_answer_is_read(server):
    whole = gzip.compress(json.dumps(OK[2]).encode())
    server.script = [(200, {"Content-Encoding": "gzip"}, whole)]
    assert list(endpoint(server).classify([b"x"])) == ["cat"]


def test_a_path_leads_to_a_label_or_to_none():
    found = {"r": [{"labels": [{"name": "cat"}, {"name": 7}]}], "empty": []}
    assert follow(found, "r.0.labels.0.name") == "cat"
    assert follow(found, "r.0.labels.1.name") == "7"
    for path in ("r.1.labels", "r.x", "empty.0", "r.0.labels", "nothing.at.all"):
        assert follow(found, path) is None


def test_what_has_an_answer_is_never_sent_again(server, tmp_path):
    first = AnswerCache(endpoint(server), tmp_path)
    assert first.labels([b"1", b"2", b"1"]) == ["cat", "cat", "cat"] and first.sent == 2
    server.script = [(200, {}, {"labels": [{"name": "dog"}]})]
    again = AnswerCache(endpoint(server, retries=9), tmp_path)
    assert again.labels([b"2", b"3", b"1"]) == ["cat", "dog", "cat"] and again.sent == 1
    assert len(server.requests) == 3
    other = AnswerCache(endpoint(server, url=server.url + "2"), tmp_path)
    assert other.labels([b"1"]) == ["dog"], "another endpoint has its own answers"


def test_a_run_that_fails_keeps_the_answers_it_paid_for(server, tmp_path):
    server.script = [OK, OK, (403, {}, b"quota")]
    with pytest.raises(UserError, match="403 .quota"):
        AnswerCache(endpoint(server), tmp_path).labels([b"1", b"2", b"3", b"4"])
    server.script = [OK]
    again = AnswerCache(endpoint(server), tmp_path)
    again.labels([b"1", b"2", b"3", b"4"])
    assert again.sent == 2


def test_kept_answers_need_neither_key_nor_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv("BOX_KEY", KEY)
    AnswerCache(endpoint(server, key_env="BOX_KEY"), tmp_path).labels([b"1"])
    monkeypatch.delenv("BOX_KEY")
    assert AnswerCache(endpoint(server, key_env="BOX_KEY"), tmp_path).labels([b"1"]) == ["cat"]
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or KEY not in file.read_text()


def test_a_wrong_path_is_noticed_after_three_images(server, tmp_path):
    box = endpoint(server, label_path="labels.0.title")
    with pytest.raises(UserError, match="check --label-path"):
        AnswerCache(box, tmp_path).labels([bytes([k]) for k in range(9)])
    assert len(server.requests) <= 4


def program(tmp_path, text: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text("import sys\nfiles = sys.argv[1:]\n" + text)
    return path


def test_a_program_gets_files_in_batches_and_no_shell(tmp_path):
    path = program(tmp_path, "for f in files[1:]: print(files[0], open(f).read(), len(files))")
    box = Command((sys.executable, str(path), "$(touch x); a b", "{files}"), batch=2)
    wanted = [f"$(touch x); a b {k} {n}" for k, n in ((1, 3), (2, 3), (3, 2))]
    assert list(box.classify([b"1", b"2", b"3"])) == wanted


def test_all_that_a_program_prints_of_a_single_file_is_its_answer(tmp_path):
    path = program(tmp_path, "print('two\\n\\n lines\\f', files[1:]) if len(files) else None")
    box = Command((sys.executable, str(path), "{file}", "--psm", "6"))
    assert list(box.classify([b"1", b"2"])) == ["two\n\n lines\f ['--psm', '6']"] * 2
    silent = Command((sys.executable, "-c", "", "{file}"))
    kept = AnswerCache(silent, tmp_path / "kept").labels([bytes([k]) for k in range(4)])
    assert kept == [""] * 4, "a picture may hold no text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print('one')", "printed 1 lines for 2 files"),
        ("sys.exit('no model')", r"ended with code 1 \(no model\)"),
        ("import time; time.sleep(30)", "failed .TimeoutExpired"),
    ],
)
def test_a_program_that_fails_is_named(tmp_path, text, message):
    path = program(tmp_path, text)
    box = Command((sys.executable, str(path), "{files}"), timeout_s=2)
    with pytest.raises(UserError, match=message):
        list(box.classify([b"1", b"2"]))


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(UserError, match="no-such-program failed"):
        list(Command(("no-such-program", "{files}")).classify([b"1"]))
    with pytest.raises(UserError, match="holds no {files} or {file}"):
        Command(("program",))


def test_a_changed_program_or_model_gets_the_images_again(tmp_path):
    path = program(tmp_path, "for f in files: print('old')")
    box = Command((sys.executable, str(path), "{files}"))
    assert AnswerCache(box, tmp_path / "kept").labels([b"1"]) == ["old"]
    program(tmp_path, "for f in files: print('new')")
    assert AnswerCache(box, tmp_path / "kept").labels([b"1"]) == ["new"]


def test_the_flags_of_the_command_line_reach_the_endpoint():
    words = ["black-box", "--data", "d", "--plain", "p", "--ra", "r", "--save-dir", "s"]
    words += ["--url", "https://x.org/y", "--label-path", "a.0", "--key-env", "K", "--field", "f"]
    words += ["--key-header", "X-Key", "--key-prefix", "", "--per-second", "2", "--timeout", "7"]
    _, settings = parse([*words, "--retries", "3"])
    box = service(settings).settings
    assert (box.url, box.label_path, box.key_env) == ("https://x.org/y", "a.0", "K")
    assert (box.key_header, box.key_prefix, box.body, box.field) == ("X-Key", "", None, "f")
    assert (box.per_second, box.timeout, box.retries) == (2, 7, 3)
