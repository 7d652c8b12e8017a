"""Answers of a black box, kept on disk: an image that has an answer is never sent again."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from ra.analysis.black_box.client import Answer, Command, Endpoint
from ra.errors import UserError
from ra.files import write_json

MUTE = 3  # so many first answers without a label mean that label_path is wrong


class AnswerCache:
    """The answers of one black box in ``folder``/BOX/IMAGE.json.

    BOX and IMAGE are sha256 of the settings of the black box and of the PNG. Each file appears
    whole or not at all; a killed run loses one batch at most.
    """

    def __init__(self, box: Endpoint | Command, folder: Path) -> None:
        self.box, self.folder = box, folder / sha256(box.identity.encode()).hexdigest()[:16]
        self.sent = 0

    def labels(self, images: Sequence[bytes], progress=lambda items: items) -> list[Answer]:
        """The label of each PNG, in order; equal images are sent once."""
        files = [self.folder / f"{sha256(png).hexdigest()}.json" for png in images]
        missing = {f: png for f, png in zip(files, images, strict=True) if not f.exists()}
        if missing:  # not even the key is needed otherwise
            self._send(missing, progress)
        return [json.loads(file.read_text())["answer"] for file in files]

    def _send(self, missing: dict[Path, bytes], progress) -> None:
        labelled = False
        fresh = self.box.classify(list(missing.values()))
        for number, (file, answer) in enumerate(zip(progress(missing), fresh, strict=True), 1):
            labelled = labelled or answer is not None
            if number == MUTE and not labelled:
                raise UserError(f"the first {MUTE} answers hold no label; check --label-path")
            write_json(file, {"answer": answer})
            self.sent += 1
