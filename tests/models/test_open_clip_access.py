"""What is taken of open_clip's insides is there in the installed version, and taken in one file."""

from __future__ import annotations

import re
from pathlib import Path

import open_clip

import tmal_core
from tmal_core.models import open_clip_access
from tmal_core.models.backbone import load_backbone, located

PATTERNS = (r"(?:from|import) (open_clip\.[\w.]+)", r"\.(_embeds|_pool)\(")
TAKEN = {"open_clip.model", "open_clip.pretrained", "open_clip.tokenizer", "open_clip.transformer"}


def test_every_needed_name_is_there():
    visual = load_backbone(located("data/tiny_clip"), "folder").visual
    block = visual.transformer.resblocks[0]
    places = {
        "VisionTransformer": open_clip_access.VisionTransformer,
        "a tower": visual,
        "any tower": visual,
        "a block": block,
        "its attention": block.attn,
        "its feed-forward part": block.mlp,
    }
    assert set(places) == set(open_clip_access.NEEDED)
    lacking = [f"{where}: {name}" for where, names in open_clip_access.NEEDED.items() for name in names
               if not hasattr(places[where], name)]  # fmt: skip
    assert not lacking, f"open_clip {open_clip.__version__} lacks {lacking}: adapt models/open_clip_access.py"


def test_nowhere_else():
    """Other files take what `import open_clip` gives."""
    found = {}
    for path in Path(tmal_core.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        inside = set(re.findall(r"(?:from|import) (open_clip\.[\w.]+)", text)) | set(
            re.findall(r"\.(_embeds|_pool)\(", text)
        )
        if inside:
            found[path.name] = inside
    assert found == {"open_clip_access.py": TAKEN | {"_embeds", "_pool"}}
