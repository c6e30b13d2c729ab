import fcntl
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from ttt_config.errors import DataError
from ttt_data.hub import transfer
from ttt_data.hub.transfer import download, part_of

CONTENT = bytes(range(256)) * 4


def address(hub: Any, name: str = "a.bin") -> str:
    hub.files.setdefault(name, CONTENT)
    return f"{hub.endpoint}/content/{name}"


def fetch(url: str, target: Path, **options: Any) -> str:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    wanted: dict[str, Any] = {"num_bytes": len(CONTENT), "sha256": sha256, **options}
    return download(url, target, **wanted)


def test_a_whole_file_arrives_under_its_name_only(hub: Any, tmp_path: Path) -> None:
    seen: list[int] = []
    target = tmp_path / "new/a.bin"
    digest = fetch(address(hub), target, sha256=None, on_progress=seen.append)
    assert target.read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert list(target.parent.iterdir()) == [target]
    assert seen == list(range(64, 1025, 64))


def test_what_is_there_is_not_asked_for_again(hub: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    part_of(target).write_bytes(CONTENT[:300])
    fetch(address(hub), target)
    assert target.read_bytes() == CONTENT
    assert hub.asked == ["/content/a.bin bytes=300-"]


def test_broken_connections_are_resumed(hub: Any, tmp_path: Path) -> None:
    hub.die_after = [100, 200, 0, 0, 300]
    fetch(address(hub), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [request.partition("=")[2] for request in hub.asked] == [
        "",
        "100-",
        "300-",
        "300-",
        "300-",
        "600-",
    ]


def test_a_download_that_does_not_move_is_given_up_and_goes_on_later(
    hub: Any, tmp_path: Path
) -> None:
    target = tmp_path / "a.bin"
    hub.die_after = [100, 0, 0, 0]
    message = (
        "the download of `a.bin` broke off at 100 of 1,024 bytes (the connection was closed); run "
        "the same command again to go on from there"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(address(hub), target)
    assert not target.exists()
    fetch(address(hub), target)
    assert target.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(hub: Any, tmp_path: Path) -> None:
    hub.answers = [503, 429, 200]
    fetch(address(hub), tmp_path / "a.bin")
    hub.answers = [500] * 3
    with pytest.raises(DataError, match=r"broke off at 0 of .*\(the server answered 500\)"):
        fetch(address(hub), tmp_path / "b.bin")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(hub: Any, tmp_path: Path, status: int) -> None:
    hub.answers = [status]
    with pytest.raises(
        DataError, match=f"^cannot download `a.bin`: the server answered {status} [A-Z].+$"
    ):
        fetch(address(hub), tmp_path / "a.bin")


def test_a_server_without_ranges_sends_all_again(hub: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    part_of(target).write_bytes(b"x" * 300)
    hub.ignores_ranges = True
    fetch(address(hub), target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_byte_is_refused_and_not_kept(hub: Any, tmp_path: Path) -> None:
    changed = CONTENT[:-1] + b"x"
    hub.files["a.bin"] = changed
    message = (
        f"`a.bin` was changed: expected sha256 {hashlib.sha256(CONTENT).hexdigest()}, got "
        f"{hashlib.sha256(changed).hexdigest()}; it was not kept"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(address(hub), tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT + b"x", "`a.bin` was changed: it is longer than the 1,024 bytes expected"),
        (CONTENT[:-1], "`a.bin` was changed: it is shorter than the 1,024 bytes expected"),
    ],
)
def test_another_length_is_refused(hub: Any, tmp_path: Path, content: bytes, message: str) -> None:
    hub.files["a.bin"] = content
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fetch(address(hub), tmp_path / "a.bin")
    assert part_of(tmp_path / "a.bin").read_bytes() == b""


def test_a_part_that_is_too_long_is_dropped(hub: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    part_of(target).write_bytes(b"x" * 2000)
    fetch(address(hub), target)
    assert target.read_bytes() == CONTENT


def test_an_empty_file_needs_no_request(hub: Any, tmp_path: Path) -> None:
    fetch(address(hub), tmp_path / "a.bin", num_bytes=0, sha256=None)
    assert (tmp_path / "a.bin").read_bytes() == b""
    assert hub.asked == []


def test_two_downloads_of_one_file_do_not_mix(hub: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with part_of(target).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        message = f"`{part_of(target)}` is being downloaded by another process; wait for it"
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            fetch(address(hub), target)


def test_a_full_disk_is_named_and_not_retried(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "part_of", lambda _: Path("/dev/full"))
    with pytest.raises(DataError, match=r"^cannot write `/dev/full`: No space left on device$"):
        fetch(address(hub), tmp_path / "a.bin")
    assert len(hub.asked) == 1


def test_a_redirect_to_a_file_is_not_followed(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "repo", "x")
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"unknown url type: file"):
        fetch(secret.as_uri(), tmp_path / "a.bin")
