import hashlib
import json
import re
import shutil
import socket
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ttt_config.errors import DataError
from ttt_data.hub import LOCK_NAME, HubLock, Recipe, client, fetch, find_recipe

RECIPE = Recipe(
    name="stories",
    about="stories",
    repo="owner/stories",
    train=("train-*.txt",),
    held_out=("val.txt",),
    licence="none",
    size_bytes=0,
    separator="|",
)
SHARDS = {f"train-{n}.txt": f"shard {n} ".encode() * 50 for n in range(3)}


@pytest.fixture
def stories(hub: Any) -> object:
    hub.files = {**SHARDS, "val.txt": b"held out", "README.md": b"no"}
    hub.small = {"val.txt"}
    return hub


def sha(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()


def downloads(hub: Any) -> list[str]:
    return [
        request.removeprefix("/content/")
        for request in hub.asked
        if request.startswith("/content/")
    ]


def test_a_recipe_is_fetched_and_locked(stories: Any, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    result = fetch(RECIPE, out, progress=lambda done, total: seen.append((done, total)))
    assert [path.name for path in result.files] == ["val.txt", *SHARDS]
    assert all(path.read_bytes() == stories.files[path.name] for path in result.files)
    total = sum(map(len, SHARDS.values())) + 8
    assert (result.num_bytes, result.num_fetched_bytes) == (total, total)
    assert (result.yields, result.separator, result.folder) == ("text", "|", out)
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)
    lock = HubLock.read(out)
    assert lock is not None
    assert (lock.repo, lock.revision, lock.commit) == (
        "owner/stories",
        "main",
        stories.commit,
    )
    assert {file.path: file.sha256 for file in lock.files} == {
        name: sha(content) for name, content in (SHARDS | {"val.txt": b"held out"}).items()
    }
    assert sorted(path.name for path in out.iterdir()) == [LOCK_NAME, *SHARDS, "val.txt"]


def test_nothing_is_asked_when_all_is_there(stories: Any, tmp_path: Path) -> None:
    fetch(RECIPE, tmp_path)
    stories.asked.clear()
    assert fetch(RECIPE, tmp_path).num_fetched_bytes == 0
    assert stories.asked == []


def test_a_limit_can_be_raised_later(stories: Any, tmp_path: Path) -> None:
    assert len(fetch(RECIPE, tmp_path, limit=1).files) == 2
    assert downloads(stories) == ["val.txt", "train-0.txt"]
    assert fetch(RECIPE, tmp_path, limit=2).num_fetched_bytes == len(SHARDS["train-1.txt"])
    assert downloads(stories) == ["val.txt", "train-0.txt", "train-1.txt"]
    with pytest.raises(DataError, match=r"^limit must be 1 file or more, got 0$"):
        fetch(RECIPE, tmp_path, limit=0)


def test_an_interrupted_fetch_goes_on(stories: Any, tmp_path: Path) -> None:
    stories.die_after = [99, 300, 0, 0, 0]
    with pytest.raises(DataError, match=r"^the download of `train-0.txt` broke off at 300 of 400"):
        fetch(RECIPE, tmp_path)
    stories.asked.clear()
    assert len(fetch(RECIPE, tmp_path).files) == 4
    assert downloads(stories) == ["train-0.txt bytes=300-", "train-1.txt", "train-2.txt"]


def test_a_moved_branch_does_not_move_the_data(stories: Any, tmp_path: Path) -> None:
    fetch(RECIPE, tmp_path, limit=1)
    stories.commit = "f" * 40
    result = fetch(RECIPE, tmp_path)
    assert result.commit == "0123456789abcdef0123456789abcdef01234567"
    assert len(result.files) == 4


@pytest.mark.parametrize("name", ["val.txt", "train-1.txt"])
def test_a_file_changed_on_disk_is_refused(stories: Any, tmp_path: Path, name: str) -> None:
    fetch(RECIPE, tmp_path)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    message = (
        f"`{path}` was changed: hub.lock says sha256 {sha(stories.files[name])}, got "
        f"{sha(content)}; delete it and fetch again"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(RECIPE, tmp_path)
    fetch(RECIPE, tmp_path, verify=False)
    path.write_bytes(b"short")
    with pytest.raises(DataError, match=r"hub.lock says \d+ bytes, got 5; delete it and fetch"):
        fetch(RECIPE, tmp_path, verify=False)


def test_a_file_changed_on_the_way_is_refused(stories: Any, tmp_path: Path) -> None:
    stories.listed["train-1.txt"] = SHARDS["train-1.txt"]
    stories.files["train-1.txt"] = b"X" + SHARDS["train-1.txt"][1:]
    with pytest.raises(DataError, match=r"^`train-1.txt` was changed: expected sha256"):
        fetch(RECIPE, tmp_path)
    assert not (tmp_path / "train-1.txt").exists()


def test_a_small_file_that_changed_since_the_first_fetch_is_refused(
    stories: Any, tmp_path: Path
) -> None:
    fetch(RECIPE, tmp_path)
    (tmp_path / "val.txt").unlink()
    stories.files["val.txt"] = b"HELD OUT"
    with pytest.raises(DataError, match=r"^`val.txt` was changed: expected sha256"):
        fetch(RECIPE, tmp_path)


def test_a_small_file_that_was_there_before_is_locked_too(stories: Any, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_bytes(stories.files["val.txt"])
    assert fetch(RECIPE, tmp_path).num_fetched_bytes == sum(map(len, SHARDS.values()))
    (tmp_path / "val.txt").write_bytes(b"HELD OUT")
    with pytest.raises(DataError, match=r"val.txt` was changed: hub.lock says sha256"):
        fetch(RECIPE, tmp_path)


@pytest.mark.usefixtures("stories")
def test_a_hash_of_the_recipe_is_binding(tmp_path: Path) -> None:
    recipe = replace(RECIPE, sha256={"train-0.txt": "0" * 64})
    message = (
        f"`train-0.txt` of owner/stories was changed: the recipe says sha256 {'0' * 64}, got "
        f"{sha(SHARDS['train-0.txt'])}"
    )
    for _ in range(2):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            fetch(recipe, tmp_path / "new")
    fetch(RECIPE, tmp_path / "old")
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(recipe, tmp_path / "old")


@pytest.mark.usefixtures("stories")
def test_a_folder_belongs_to_one_recipe(tmp_path: Path) -> None:
    fetch(RECIPE, tmp_path)
    other = find_recipe("pg19", repo="me/books")
    message = f"`{tmp_path}` holds owner/stories@main, not me/books@main; choose another folder"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(other, tmp_path)


@pytest.mark.parametrize("content", [b"{", b'{"format": 2}', b"\xff"])
def test_a_damaged_lock_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_NAME).write_bytes(content)
    with pytest.raises(DataError, match=r"^cannot read `.*hub.lock`: .+; delete it to start afr"):
        fetch(RECIPE, tmp_path)


@pytest.mark.usefixtures("stories")
@pytest.mark.parametrize("change", [{"format": 2}, {"path": "../../a"}])
def test_a_lock_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    fetch(RECIPE, tmp_path)
    lock = json.loads((tmp_path / LOCK_NAME).read_text())
    (lock if "format" in change else lock["files"][0]).update(change)
    (tmp_path / LOCK_NAME).write_text(json.dumps(lock))
    with pytest.raises(DataError, match=r"hub.lock` is not a lock file of this version"):
        fetch(RECIPE, tmp_path)


def test_a_path_that_leaves_the_folder_is_refused(stories: Any, tmp_path: Path) -> None:
    stories.files = {"train-/../../x.txt": b"x"}
    message = "^`owner/stories` holds a file with an unsafe path: 'train-/../../x.txt'$"
    with pytest.raises(DataError, match=message):
        fetch(RECIPE, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repo": "owner/gone"}, "no public dataset `owner/gone` on {endpoint}"),
        ({"revision": "v9"}, "the dataset `owner/stories` has no revision `v9`"),
        (
            {"train": ("*.bin",), "held_out": ()},
            "`owner/stories` has no file *.bin; it holds README.md, train-0.txt, train-1.txt, "
            "train-2.txt",
        ),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    stories: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    expected = message.format(endpoint=stories.endpoint)
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        fetch(replace(RECIPE, **change), tmp_path)


def test_an_endpoint_that_is_no_web_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    message = "^HF_ENDPOINT must be an http or https address, got `file:///etc`$"
    with pytest.raises(DataError, match=message):
        fetch(RECIPE, tmp_path)


ALTERNATIVE = (
    "on a machine with internet run `hf download owner/stories --repo-type dataset --revision main "
    "--include 'val.txt' --include 'train-*.txt' --local-dir DIR`, copy DIR here and read that"
)


def test_without_a_connection_the_alternative_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    message = f"cannot reach {endpoint} (Connection refused); {ALTERNATIVE}"
    start = time.monotonic()
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(RECIPE, tmp_path)
    assert time.monotonic() - start < 2
    assert capfd.readouterr() == ("", "")


def test_a_name_lookup_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.CONNECT_TIMEOUT_S < 2
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait()
        raise OSError

    monkeypatch.setattr(client, "CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    with pytest.raises(DataError, match=r"^cannot reach http://hub.invalid \(no answer within"):
        fetch(RECIPE, tmp_path)
    released.set()


def test_the_offline_switch_is_obeyed(
    stories: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = f"offline, HF_HUB_OFFLINE is set; {ALTERNATIVE}"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(RECIPE, tmp_path)
    assert stories.asked == []


def test_too_little_space_is_known_beforehand(
    stories: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(100, 0, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    message = (
        f"not enough space in `{tmp_path}`: 1,208 bytes are needed, 100 are free; fetch fewer "
        "files or choose another folder"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(RECIPE, tmp_path)
    assert downloads(stories) == []


@pytest.mark.usefixtures("stories")
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match=r"^cannot (read|fetch into) `.*out.*`: .*Not a directory"):
        fetch(RECIPE, tmp_path / "out")


def test_the_missing_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = "the hub needs huggingface-hub; install the extra: pip install 'ttt-data[hf]'"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(RECIPE, tmp_path)
