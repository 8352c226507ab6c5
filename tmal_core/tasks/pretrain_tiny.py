"""`tmal pretrain-tiny`: train the small CLIP that the project ships, on generated still pictures with captions.

Contrastive training as in CLIP (Radford et al., 2021, section 2.3), with one change: several pictures of a batch may
have the same caption. Each caption then stands once, and its target is spread evenly over its pictures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from tmal_core.data.synthetic.stills import batch
from tmal_core.data.synthetic.vocabulary import COLOURS, SHAPES
from tmal_core.files import atomic_path
from tmal_core.models.backbone import save_folder, tokenizer
from tmal_core.seeding import generator, seed_everything

MODEL = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CONFIG = {"model_cfg": MODEL, "preprocess_cfg": {"mean": MEAN, "std": STD}}


@dataclass(frozen=True)
class Recipe:
    """How the tiny CLIP is trained."""

    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 100
    seed: int = 0


def pretrain_tiny(folder: Path, recipe: Recipe | None = None, progress: bool = True) -> dict[str, float]:
    """Train, measure, and write the model folder with its card.

    Returns:
        What the card says: seconds, and retrieval accuracies in percent on pictures that training did not see.
    """
    recipe = recipe or Recipe()
    seed_everything(recipe.seed)
    model = open_clip.CLIP(**{k: v for k, v in MODEL.items() if k != "quick_gelu"}, quick_gelu=True).train()
    folder.mkdir(parents=True, exist_ok=True)
    save_folder(model, folder, CONFIG)  # the tokenizer is found through the folder's config
    began = time.perf_counter()
    _train(model, tokenizer(str(folder)), recipe, progress)
    seconds = time.perf_counter() - began
    save_folder(model, folder, CONFIG)
    facts = {"seconds": round(seconds), **retrieval(model.half().float().eval(), str(folder))}
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(_card(recipe, facts), encoding="utf-8")
    return facts


def normalise(pictures: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 as CLIP wants it."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@torch.no_grad()
def retrieval(model: torch.nn.Module, name: str, pictures: int = 960) -> dict[str, float]:
    """Zero-shot accuracy in percent over the 48 captions "a {colour} {shape}" (chance 2.1), and each word alone."""
    rng = generator(1, "tiny clip", "held out")
    found: list[np.ndarray] = []
    wanted: list[tuple[int, int]] = []
    while len(found) < pictures:
        images, captions = batch(rng, 64)
        for image, caption in zip(images, captions, strict=True):
            words = caption.split()
            colour = [i for i, c in enumerate(COLOURS) if c in words]
            shape = [i for i, s in enumerate(SHAPES) if s in words]
            if colour and shape:
                found.append(image)
                wanted.append((colour[0], shape[0]))
    captions = [f"{'an' if c == 'orange' else 'a'} {c} {s}" for c in COLOURS for s in SHAPES]
    text = F.normalize(model.encode_text(tokenizer(name)(captions)), dim=-1)
    image = F.normalize(model.encode_image(normalise(np.stack(found[:pictures]))), dim=-1)
    best = (image @ text.T).argmax(1)
    colour, shape = torch.tensor(wanted[:pictures]).T
    hits = {
        "colour_and_shape_pct": best == colour * len(SHAPES) + shape,
        "colour_pct": best // len(SHAPES) == colour,
        "shape_pct": best % len(SHAPES) == shape,
    }
    return {key: round(100 * hit.float().mean().item(), 1) for key, hit in hits.items()}


def _train(model: torch.nn.Module, tokenize, recipe: Recipe, progress: bool) -> None:
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1e-3, total_iters=recipe.warmup)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, recipe.steps - recipe.warmup))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [warm, cool], [recipe.warmup])
    bar = tqdm(range(recipe.steps), desc="tiny CLIP", unit="step", disable=not progress)
    for step in bar:
        pictures, captions = batch(generator(recipe.seed, "tiny clip", step), recipe.batch_size)
        loss = _loss(model, tokenize, normalise(pictures), captions)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")


def _loss(model: torch.nn.Module, tokenize, pictures: torch.Tensor, captions: list[str]) -> torch.Tensor:
    unique, ids = np.unique(captions, return_inverse=True)
    image = F.normalize(model.encode_image(pictures), dim=-1)
    text = F.normalize(model.encode_text(tokenize(unique.tolist())), dim=-1)
    logits = model.logit_scale.exp() * image @ text.T
    ids = torch.from_numpy(ids)
    to_pictures = F.one_hot(ids, len(unique)).T.float()
    to_pictures /= to_pictures.sum(1, keepdim=True)
    return (F.cross_entropy(logits, ids) + F.cross_entropy(logits.T, to_pictures)) / 2


def _card(recipe: Recipe, facts: dict[str, float]) -> str:
    return f"""# Tiny CLIP

A CLIP small enough to ship: ViT with 4 layers of width 128 on 64 x 64 pixels in patches of 16, and a text tower with
2 layers of width 64 on open_clip's tokenizer. It knows generated pictures of coloured shapes and nothing else; it
makes the diagnostic data set usable without downloads. **Do not use it on real video.**

Trained by `tmal pretrain-tiny` with {recipe}, in {facts["seconds"]} s on 2 CPU cores, weights stored as float16.

Zero-shot accuracy on 960 new pictures, 48 captions "a {{colour}} {{shape}}" (chance 2.1 %):
{facts["colour_and_shape_pct"]} % (colour alone {facts["colour_pct"]} %, shape alone {facts["shape_pct"]} %).

Licence: Apache-2.0, like the project. The training pictures are generated; no other data were used.
"""
