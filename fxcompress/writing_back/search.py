"""Looking for the attributes with which the module gives what the graph gives. The run is the judge of every choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, combinations, product

from torch import nn

from fxcompress.writing_back.guesses import Guess, Source
from fxcompress.writing_back.norms import Rescaling
from fxcompress.writing_back.witness import Outcome

LARGEST_NUMBER_OF_RUNS = 80


class Choice:
    """What is chosen for every guess, and which norms are rescaled."""

    def __init__(self, sources: dict[int, Source | None], rescaled: dict[type[nn.Module], Rescaling]) -> None:
        self.sources = sources
        self.rescaled = rescaled

    def but(self, *changes: Change) -> Choice:
        """Return this choice with some changes."""
        made = Choice(dict(self.sources), dict(self.rescaled))
        for what, value in changes:
            if isinstance(value, Rescaling):
                made.rescaled[value.owner] = value
            elif isinstance(what, int):
                made.sources[what] = value
        return made


# A guess by its place, or None for a norm; and what is chosen for it.
Change = tuple[int | None, Source | Rescaling | None]
Trial = Callable[[Choice], Outcome]


class Search:
    """Tries choices, those first that are about the module where the last run went wrong.

    Args:
        model: whose attributes are looked for.
        guesses: its uncertain attributes.
        rescalings: its norms that may be rescaled.
        trial: runs the model with a choice.
    """

    def __init__(self, model: nn.Module, guesses: list[Guess], rescalings: list[Rescaling], trial: Trial) -> None:
        self.classes = {path: type(module) for path, module in model.named_modules()}
        self.guesses = guesses
        self.rescalings = rescalings
        self.trial = trial
        self.runs = 0

    def find(self) -> tuple[Choice, Outcome]:
        """Return the best choice and what its run showed; the run that showed least is given for a failure."""
        choice = Choice({place: guess.sources[0] for place, guess in enumerate(self.guesses)}, {})
        outcome = self._run(choice)
        while outcome.why is not None:
            better = self._better(choice, outcome)
            if better is None:
                break
            choice, outcome = better
        return choice, outcome

    def _run(self, choice: Choice) -> Outcome:
        self.runs += 1
        return self.trial(choice)

    def _better(self, choice: Choice, outcome: Outcome) -> tuple[Choice, Outcome] | None:
        """Return the first choice near `choice` that comes further, None where none of those that are tried does."""
        for changes in self._changes(choice, outcome):
            if self.runs >= LARGEST_NUMBER_OF_RUNS:
                return None
            other = choice.but(*changes)
            found = self._run(other)
            if found.why is None or found.progress > outcome.progress:
                return other, found
        return None

    def _changes(self, choice: Choice, outcome: Outcome) -> Iterator[tuple[Change, ...]]:
        """Yield the changes of one thing, from the failing module outwards, then those of two that lie on its way."""
        near = self._way(outcome.path)
        rescalings: list[Change] = [
            (None, rescaling)
            for rescaling in self.rescalings
            if near and rescaling.owner is near[0] and choice.rescaled.get(rescaling.owner) != rescaling
        ]
        yield from ((change,) for change in rescalings)
        places = self._ordered(near)
        others = {place: self._others(choice, place) for place in places}
        yield from (((place, source),) for place in places for source in others[place])
        yield from ((change, (place, source)) for place in places for source in others[place] for change in rescalings)
        on_way = [place for place in places if self.guesses[place].owner in near]
        yield from chain.from_iterable(
            product(*([(place, source) for source in others[place]] for place in pair))
            for pair in combinations(on_way, 2)
        )

    def _way(self, path: str | None) -> list[type[nn.Module]]:
        """Return the classes of the module at `path` and of those around it, from the inside out."""
        if path is None:
            return []
        words = path.split(".") if path else []
        paths = [".".join(words[:end]) for end in range(len(words), -1, -1)]
        return [self.classes[one] for one in paths if one in self.classes]

    def _ordered(self, near: list[type[nn.Module]]) -> list[int]:
        """Return the guesses by their nearness to where it went wrong."""
        owners = [guess.owner for guess in self.guesses]
        return sorted(range(len(owners)), key=lambda place: near.index(owners[place]) if owners[place] in near else 99)

    def _others(self, choice: Choice, place: int) -> list[Source | None]:
        return [source for source in self.guesses[place].sources if source != choice.sources[place]]
