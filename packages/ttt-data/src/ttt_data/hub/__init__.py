"""Datasets from the Hugging Face hub: named recipes, `hf://` references, verified downloads.

    fetch(find_recipe("fineweb10b-gpt2"), "data/fineweb", limit=2)

A lock file beside the data pins the commit and the hash of every file, so that what was fetched
once is the same for ever, needs no network again, and is refused when it changes.
"""

from ttt_data.hub.fetch import FetchResult, Progress, fetch
from ttt_data.hub.lock import LOCK_NAME, HubLock
from ttt_data.hub.materialize import HubFiles, materialize
from ttt_data.hub.recipes import RECIPES, Recipe, find_recipe
from ttt_data.hub.reference import HubReference
from ttt_data.hub.tokenizer import hub_tokenizer, is_hub_name

__all__ = [
    "LOCK_NAME",
    "RECIPES",
    "FetchResult",
    "HubFiles",
    "HubLock",
    "HubReference",
    "Progress",
    "Recipe",
    "fetch",
    "find_recipe",
    "hub_tokenizer",
    "is_hub_name",
    "materialize",
]
