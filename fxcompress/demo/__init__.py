"""The main job on real input: a network trained on digit images, compressed, evaluated, saved, loaded, compared."""

from fxcompress.demo.run import run_demo as run_demo
