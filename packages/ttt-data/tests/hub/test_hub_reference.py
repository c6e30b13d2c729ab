import re

import pytest

from ttt_config.errors import DataError
from ttt_data.hub import HubReference
from ttt_data.hub.reference import is_safe


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf://a/b", HubReference("a/b")),
        ("hf://a/b/", HubReference("a/b")),
        ("hf://datasets/a/b/c.txt", HubReference("a/b", "c.txt")),
        ("hf://a/b/c/d.parquet@v1.0", HubReference("a/b", "c/d.parquet", "v1.0")),
        (
            "hf://a-1/b.c_d@refs/convert/parquet",
            HubReference("a-1/b.c_d", "", "refs/convert/parquet"),
        ),
    ],
)
def test_references_are_read(text: str, reference: HubReference) -> None:
    assert HubReference.parse(text) == reference
    assert HubReference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://a",
        "hf:/a/b",
        "a/b",
        "hf://a/b@",
        "hf://a/b@../c",
        "hf://a/b/../c",
        "hf://a/b//c",
        "hf://a/b/c\\d",
        "hf://a/b/c\nd",
        "hf://../b",
        "hf://a/b--c",
        "hf://a/" + "b" * 96,
        "hf://a b/c",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    message = f"not a dataset on the hub: {text!r}; expected hf://owner/repo[/path][@revision]"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        HubReference.parse(text)


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("a", True),
        ("a/b c.txt", True),
        ("..a/b..", True),
        ("", False),
        (".", False),
        ("/a", False),
        ("a/..", False),
        ("./a", False),
        ("a/", False),
        ("a\0", False),
    ],
)
def test_paths_that_leave_their_folder_are_unsafe(path: str, safe: bool) -> None:
    assert is_safe(path) is safe
