"""Sphinx's settings. The pages of methods, networks and claims are made by ``method_pages``, ``net_pages`` and ``claim_pages``."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Manyviews"
author = "The Manyviews authors"
copyright = author
version = release = importlib.metadata.version("manyviews")

extensions = ["myst_parser", "method_pages", "net_pages", "claim_pages"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = "Manyviews"
html_copy_source = False
html_show_sphinx = False
