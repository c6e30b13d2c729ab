import re

import pytest

from ttt_config.errors import DataError
from ttt_data.hub import RECIPES, find_recipe
from ttt_data.hub.client import RemoteFile


def files(*paths: str) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(path, 1) for path in paths)


def test_recipes_are_complete() -> None:
    assert list(RECIPES) == ["tinystories", "fineweb10b-gpt2", "fineweb-edu", "pg19"]
    for name, recipe in RECIPES.items():
        assert name == recipe.name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", recipe.repo)
        assert re.fullmatch(r"[0-9a-f]{40}", recipe.revision)
        assert recipe.about
        assert recipe.licence
        assert recipe.size_bytes > 1e9
        assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in recipe.sha256.values())
        known = files(*recipe.sha256)
        assert sorted(file.path for file in recipe.select(known)) == sorted(recipe.sha256)


def test_shards_are_chosen_in_order_and_held_out_ones_always() -> None:
    recipe = find_recipe("fineweb10b-gpt2")
    listed = files(
        *(f"fineweb_train_{n:06d}.bin" for n in range(1, 104)), "fineweb_val_000000.bin", "x.md"
    )
    assert [file.path for file in recipe.select(listed, 2)] == [
        "fineweb_val_000000.bin",
        "fineweb_train_000001.bin",
        "fineweb_train_000002.bin",
    ]
    assert len(recipe.select(listed)) == 104


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tinystories", "TinyStories-train.txt"),
        ("fineweb-edu", "sample/10BT/000_00000.parquet"),
        ("pg19", "data/train-00000-of-00023-5263dc4323e881d2.parquet"),
        ("pg19", "data/validation-00000-of-00001-0f92e2337f79aeac.parquet"),
        ("pg19", "data/test-00000-of-00001-29a571947c0b5ccc.parquet"),
    ],
)
def test_patterns_match_the_names_on_the_hub(name: str, path: str) -> None:
    assert RECIPES[name].select(files(path, "README.md")) == files(path)


def test_another_repository_loses_the_pins() -> None:
    recipe = find_recipe("pg19", repo="me/books")
    assert (recipe.repo, recipe.revision, recipe.sha256) == ("me/books", "main", {})
    assert find_recipe("tinystories", revision="v2").sha256 == {}
    assert find_recipe("tinystories") is RECIPES["tinystories"]


def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    message = (
        "unknown recipe `tinystorys`, expected one of tinystories, fineweb10b-gpt2, fineweb-edu, "
        "pg19; did you mean `tinystories`?"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        find_recipe("tinystorys")
