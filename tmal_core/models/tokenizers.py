"""Texts to tokens, as the text tower of a model was taught to read them; nothing is fetched.

Most models read by OpenAI's tokenizer, which comes with open_clip. SigLIP and others have one of their own, on Hugging
Face: its files belong beside the weights, or into the model's folder where it has one, and the package transformers
reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import open_clip
from torch import Tensor

from tmal_core.errors import WeightsError
from tmal_core.models.backbone import model_config
from tmal_core.models.open_clip_access import HFTokenizer
from tmal_core.runtime.weights_files import weights_folder

FOLDER = "tokenizers"
"""In the folder of weights."""
FILE = "tokenizer.json"


def tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """The tokenizer of a model of open_clip's: list of strings -> (n, context) int64, the model's own context.

    Args:
        name: as of `load_backbone`.

    Raises:
        WeightsError: its files are missing, cannot be read, or the package that reads them is.
    """
    folder, text = Path(name), model_config(name)["text_cfg"]
    if not (wanted := text.get("hf_tokenizer_name")):
        return open_clip.get_tokenizer(f"local-dir:{name}" if folder.is_dir() else name)
    place = folder if folder.is_dir() else weights_folder() / FOLDER / wanted.replace("/", "--")
    if not (place / FILE).is_file():
        remedy = f"Put {FILE} and tokenizer_config.json of huggingface.co/{wanted} there; frames alone need none."
        raise WeightsError(f"the tokenizer of {name} in {place}", f"no {FILE}", remedy)
    own = {"context_length": text.get("context_length", 77), "tokenizer_mode": text.get("tokenizer_mode")}
    try:
        return HFTokenizer(str(place), local_files_only=True, **own, **text.get("tokenizer_kwargs", {}))
    except ImportError as error:
        remedy = "Install it: pip install 'tmal-core[tokenizers]'."
        raise WeightsError(f"the package transformers, which reads the tokenizer of {name}", "none", remedy) from error
    except Exception as error:  # it has no error of its own for a file that is damaged
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise WeightsError(f"the tokenizer of {wanted} in {place}", got, "Replace its files.") from error
