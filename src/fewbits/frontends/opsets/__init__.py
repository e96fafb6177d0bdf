"""Old operator sets → a later one: node by node, by the table of what changed."""

from __future__ import annotations

from fewbits.frontends.opsets.functions import inlined
from fewbits.frontends.opsets.inference import inferred_types
from fewbits.frontends.opsets.nodes import version
from fewbits.frontends.opsets.upgrade import upgrade

__all__ = ["inferred_types", "inlined", "upgrade", "version"]
