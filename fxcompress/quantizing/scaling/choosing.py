"""Which sites of a graph are scaled, and which layers none is found for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch.fx import GraphModule, Node

from fxcompress.contract import PassContext
from fxcompress.quantizing.scaling.sites import Finder, Site, inserted_sites
from fxcompress.text import listing
from fxcompress.weights.layer_rows import Layer


@dataclass(frozen=True)
class Chosen:
    """The sites to scale, in the order of the graph, and by their weights' paths why other layers are left alone."""

    sites: list[Site]
    left: dict[str, str]

    def name_others(self, context: PassContext) -> None:
        """Name in notes the layers that are left alone, and why; layers with one reason share a note."""
        for why in dict.fromkeys(self.left.values()):
            names = [path for path, reason in self.left.items() if reason == why]
            context.note(f"{listing(names)}: no scales fold, {why}")


def chosen_sites(module: GraphModule, nodes: Collection[Node], *, insert: bool, between_layers: bool = False) -> Chosen:
    """Return sites for the layers among `nodes`, none of which is in two: those that fold, then those to insert.

    Where two calls could take the scales off, it is the one nearest to the layers.

    Args:
        between_layers: only linears and convolutions among `nodes` take scales off.
    """
    finder, wanted = Finder(module), set(nodes)
    layers = {node: layer for node in module.graph.nodes if node in wanted and (layer := finder.layer(node))}
    taken: set[Node] = set()
    sites: list[Site] = []
    for start in reversed(list(layers) if between_layers else list(module.graph.nodes)):
        site = finder.site_of(start)
        if isinstance(site, Site) and {layer.node for layer in site.layers} <= set(layers) - taken:
            sites.insert(0, site)
            taken |= {layer.node for layer in site.layers}
    rest = [layer for node, layer in layers.items() if node not in taken]
    if insert:
        made = inserted_sites(finder, rest)
        return Chosen(sites + made, {})
    return Chosen(sites, {layer.path: _why(finder, layer) for layer in rest})


def _why(finder: Finder, layer: Layer) -> str:
    """Return what hinders the scales of what `layer` reads."""
    found = finder.site_of(layer.source)
    if isinstance(found, str):
        return found
    if isinstance(found, Site):
        return "a layer that reads the same is not to be changed"
    return "what gives its input takes none off"
