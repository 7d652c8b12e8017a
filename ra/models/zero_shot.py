"""A zero-shot recognizer from a CLIP model: image tower, and embedded class names as last layer.

Source: Radford et al., ICML 2021, section 3.1; several templates as in its section 3.1.4. The
package open_clip builds the model and is needed for the export only.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from ra.errors import UserError, first_line, unknown
from ra.files import atomic, write_text
from ra.models.user_recognizer import load_user_recognizer
from ra.settings.commands import ExportZeroShot


class ZeroShot(nn.Module):
    """Normalised images (N, 3, side, side) -> logits (N, classes): scaled cosine similarities.

    Args:
        tower: normalised images -> features (N, channels).
        text: unit vectors (classes, channels), times the scale of the logits.
    """

    text: Tensor

    def __init__(self, tower: nn.Module, text: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("text", text)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.tower(images), dim=-1) @ self.text.T


def export_zero_shot(o: ExportZeroShot) -> str:
    """Write zero_shot.pt2, a torch.export program, and recognizer.yaml, which describes it.

    Raises:
        UserError: no open_clip, an unknown name, weights that are neither in its cache nor can be
            downloaded, no class, or a model that torch.export does not follow.
    """
    classes = read_names(o.classes)
    model, tokenizer, images = _model(o.model, o.pretrained)
    with torch.no_grad():
        text = [embed(model, tokenizer, words, o.template) for words in classes.values()]
        scaled = model.logit_scale.exp() * torch.stack(text)
    side = images["size"] if isinstance(images["size"], int) else images["size"][0]
    network = ZeroShot(model.visual, scaled).eval()
    free = {0: torch.export.Dim("batch", min=1, max=2**16)}
    try:
        # Frozen only now: without gradients, attention would take a path that has none.
        program = torch.export.export(
            network, (torch.rand(2, 3, side, side),), dynamic_shapes=(free,)
        )
    except Exception as error:  # the exporter has a class of error for each of its stages
        raise UserError(f"--model {o.model}: cannot be exported ({first_line(error)})") from None
    with atomic(o.save_dir / "zero_shot.pt2") as temporary:
        torch.export.save(program, temporary)
    described = {"exported": "zero_shot.pt2", "num_classes": len(classes), "input_size": side}
    described |= {key: list(images[key]) for key in ("mean", "std")} | {"classes": list(classes)}
    write_text(o.save_dir / "recognizer.yaml", yaml.safe_dump(described, sort_keys=False))
    load_user_recognizer(o.save_dir / "recognizer.yaml")  # which tries it
    return f"export-zero-shot: {len(classes)} classes at {side} px -> {o.save_dir}/recognizer.yaml"


def read_names(path: Path) -> dict[str, str]:
    """Class -> the words for it, of a file with a line ``class`` or ``class: words`` each."""
    rows = path.read_text("utf-8", "replace").splitlines()
    lines = [row.partition(":") for row in rows if row.strip()]
    names = {name.strip(): words.strip() or name.strip() for name, _, words in lines}
    if not names or len(names) < len(lines):
        raise UserError(f"{path}: {len(lines)} lines name {len(names)} classes; a class a line")
    return names


def embed(model: Any, tokenizer: Any, words: str, templates: Sequence[str]) -> Tensor:
    """The unit vector (channels,) of a class: of the mean over the templates."""
    texts = tokenizer([template.replace("{}", words) for template in templates])
    return F.normalize(F.normalize(model.encode_text(texts), dim=-1).mean(dim=0), dim=0)


def _model(name: str, pretrained: str) -> tuple[Any, Any, dict]:
    """(CLIP model, tokenizer, size, mean and std of its images) of open_clip."""
    logging.disable()  # a failed download would say so in forty lines
    try:
        import open_clip

        tags = ["none", *open_clip.list_pretrained_tags_by_model(name)]
        if name not in open_clip.list_models():
            raise unknown("model of open_clip", name, open_clip.list_models())
        if pretrained not in tags and not os.path.isfile(pretrained):
            raise unknown(f"weights of {name}", pretrained, tags)
        weights = {"pretrained_text": False} if pretrained == "none" else {"pretrained": pretrained}
        torch.manual_seed(0)  # of random weights
        model = open_clip.create_model(name, **weights).eval()
        return model, open_clip.get_tokenizer(name), open_clip.get_model_preprocess_cfg(model)
    except ImportError as error:
        package = "'ra[zero-shot]'" if error.name == "open_clip" else error.name
        raise UserError(f"needs {error.name}; pip install {package}") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"--model {name} --pretrained {pretrained}: {first_line(error)}; without a network, "
            "download that file elsewhere and give it: --pretrained FILE"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
